//! The tools around a run, as a user types them, on a topology that `topology plan` proposes for this host.

#![cfg(feature = "simulate")]

mod scratch;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use scratch::Scratch;

fn meltica(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meltica"));
    command.args(arguments).current_dir(dir).stdin(Stdio::null());
    command
}

fn done(dir: &Path, arguments: &[&str], code: i32) -> Output {
    let output = meltica(dir, arguments).output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    output
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("what is printed is UTF-8")
}

/// The only directory in `report/`, without the file of the address.
fn runs(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join("report")).expect("a run makes it").flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| format!("report/{}", entry.file_name().to_string_lossy()))
        .collect();
    names.sort();
    names
}

#[test]
fn from_a_proposal_to_a_comparison_of_two_runs() {
    let scratch = Scratch::new("way");
    let dir = &scratch.0;
    let plan = done(
        dir,
        &[
            "topology",
            "plan",
            "--shared",
            "--venues",
            "binance,kraken",
            "--instruments",
            "2",
            "--consumers",
            "1",
        ],
        0,
    );
    let plan = text(&plan);
    assert!(plan.contains("# What it takes at start:") && plan.contains("together"), "{plan}");
    fs::write(dir.join("topology.yaml"), &plan).expect("the scratch directory can be written");
    done(dir, &["topology", "check"], 0);
    let picture = text(&done(dir, &["topology", "explain"], 0));
    assert!(picture.contains("kraken: kraken spot, simulated; 2 instruments"), "{picture}");
    let doctor = text(&done(dir, &["doctor", "--json"], 0));
    let doctor: serde_json::Value = serde_json::from_str(&doctor).expect("it is JSON");
    for check in ["time", "C-states", "NIC queues", "machine", "locked memory"] {
        let findings = doctor["findings"].as_array().expect("a list");
        assert!(findings.iter().any(|finding| finding["check"] == check), "{check}");
    }
    let script = text(&done(dir, &["doctor", "--fix-script"], 0));
    fs::write(dir.join("fix.sh"), &script).expect("the scratch directory can be written");
    let syntax =
        Command::new("sh").args(["-n", "fix.sh"]).current_dir(dir).status().expect("there is a shell");
    assert!(syntax.success(), "{script}");

    let mut run = meltica(dir, &["run", "--duration", "8s"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let begun = Instant::now();
    while !dir.join("report/control-address").exists() {
        assert!(begun.elapsed() < Duration::from_mins(1), "the run did not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    let top = text(&done(dir, &["top", "--once"], 0));
    for part in ["msg/s", "SHARD", "md0", "binance > strategies0", "CONSUMER", "consumer0", "q quit"] {
        assert!(top.contains(part), "{part} in\n{top}");
    }
    assert!(run.wait().expect("it ends by itself").code().is_some_and(|code| code == 0));
    let first = runs(dir).pop().expect("the run left a directory");
    let shown = text(&done(dir, &["report", &first], 0));
    assert!(shown.contains("receive_to_delivered") && shown.contains("Longest deliveries:"), "{shown}");
    let page = fs::read_to_string(dir.join(&first).join("report.html")).expect("it was written");
    for part in ["The run over time", "messages of venues", "receive to delivered", "<td>strategies0</td>"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("has no timeline"), "a run of some seconds has points");
    assert!(
        fs::read_to_string(dir.join(&first).join("timeline.svg")).is_ok_and(|svg| svg.starts_with("<svg"))
    );
    let report: serde_json::Value =
        serde_json::from_str(&text(&done(dir, &["report", &first, "--json"], 0))).expect("it is JSON");
    assert!(report["outliers"].as_array().is_some_and(|outliers| !outliers.is_empty()));
    assert!(report["timeline"]["points"].as_array().is_some_and(|points| points.len() >= 3));

    let same = text(&done(dir, &["report", &first, &first], 0));
    assert!(same.starts_with("0 worse, 0 better, "), "a run does not differ from itself: {same}");
    assert!(dir.join(&first).join("comparison.html").exists());
}

#[test]
fn what_cannot_be_shown_is_said() {
    let scratch = Scratch::new("wrong");
    let dir = &scratch.0;
    for (arguments, said) in [
        (&["report", "nowhere"][..], "cannot read nowhere/report.json"),
        (&["top", "--once"], "no run found: report/control-address"),
        (&["doctor", "none.yaml"], "none.yaml"),
        (&["topology", "plan", "--instruments", "51"], "51 instruments: 1 to 50 fit"),
        (&["topology", "plan", "--venues", "okx"], "fits: binance/spot, binance/usdm"),
    ] {
        let output = done(dir, arguments, 2);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(said), "{arguments:?}: {error}");
    }
}

#[test]
fn the_command_line_completes_and_documents_itself() {
    let scratch = Scratch::new("definition");
    let dir = &scratch.0;
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&done(dir, &["completions", shell], 0));
        for command in ["doctor", "top", "report", "topology"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    let page = text(&done(dir, &["man"], 0));
    assert!(page.contains(".TH meltica 1") || page.contains(".TH Meltica 1"), "{page}");
    done(dir, &["man", "--dir", "pages"], 0);
    for name in ["meltica.1", "meltica-doctor.1", "meltica-topology-plan.1"] {
        assert!(dir.join("pages").join(name).exists(), "{name}");
    }
    let version = text(&done(dir, &["--version"], 0));
    assert!(
        version.starts_with("meltica ") && version.contains("commit ") && version.contains("features: "),
        "{version}"
    );
}
