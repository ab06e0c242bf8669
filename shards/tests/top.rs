//! `meltica top` on a real terminal beside a running gateway: it shows, keys do what its last line says, it leaves nothing behind.
//!
//! And the other end of a pipe: nobody who stops reading ends a gateway.

#![cfg(all(feature = "simulate", feature = "top"))]

mod scratch;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use scratch::Scratch;

/// A gateway on a topology that fits this host.
fn gateway(dir: &Path, duration: &str, stderr: Stdio) -> Child {
    let meltica = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meltica"));
        command.current_dir(dir).stdin(Stdio::null());
        command
    };
    let plan = meltica()
        .args(["topology", "plan", "--shared", "--venues", "binance,kraken", "--instruments", "3"])
        .output()
        .expect("the binary runs");
    fs::write(dir.join("topology.yaml"), plan.stdout).expect("the scratch directory can be written");
    meltica()
        .args(["run", "--duration", duration])
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .expect("the binary runs")
}

fn wait_for_address(dir: &Path) {
    let begun = Instant::now();
    while !dir.join("report/control-address").exists() {
        assert!(begun.elapsed() < Duration::from_mins(1), "the run did not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Steps of a user at a terminal of that size; what the terminal saw.
fn at_terminal(dir: &Path, size: [&str; 2], steps: &[Value]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terminal.py");
    let mut terminal = Command::new("python3")
        .arg(script)
        .args(size)
        .args([env!("CARGO_BIN_EXE_meltica"), "top", "--every-ms", "200"])
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is what the gates need too");
    let mut stdin = terminal.stdin.take().expect("it is piped");
    for step in steps {
        writeln!(stdin, "{step}").expect("it reads all steps first");
    }
    drop(stdin);
    let output = terminal.wait_with_output().expect("it ends by itself");
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

#[test]
fn top_shows_sorts_and_looks_deeper_and_leaves_the_terminal_as_it_was() {
    let scratch = Scratch::new("keys");
    let dir = &scratch.0;
    let mut run = gateway(dir, "1h", Stdio::null());
    wait_for_address(dir);
    for size in [["80", "24"], ["140", "40"]] {
        let steps = [
            json!({"wait": "strategies"}),
            json!({"press": "2"}),
            json!({"wait": "s sort  r reverse"}),
            json!({"press": "s"}),
            json!({"wait": "SHARDv"}),
            json!({"press": "\r"}),
            json!({"wait": "esc back"}),
            json!({"press": "\x1b"}),
            json!({"wait": "enter details"}),
            json!({"press": "q"}),
        ];
        let seen = at_terminal(dir, size, &steps);
        if let Ok(keep) = std::env::var("MELTICA_KEEP_SCREENS") {
            fs::write(Path::new(&keep).join(format!("top-{}.json", size[0])), seen.to_string())
                .expect("a place to keep it");
        }
        assert_eq!(seen["code"], 0, "{size:?}: {seen}");
        assert_eq!(seen["restored"], true, "{size:?}: the terminal's modes");
        let screens = seen["screens"].as_array().expect("a list");
        for (screen, part) in
            screens.iter().zip(["strategies", "s sort  r reverse", "SHARDv", "esc back", "enter details"])
        {
            assert!(
                screen.as_str().is_some_and(|screen| screen.contains(part)),
                "{size:?}: {part} in {screen}"
            );
        }
        let all = seen["written"].as_str().expect("a text");
        let count = |code: &str| all.matches(code).count();
        assert_eq!(
            (count("\x1b[?1049h"), count("\x1b[?1049l")),
            (1, 1),
            "{size:?}: the screen of before comes back"
        );
        let (hidden, shown) = (all.rfind("\x1b[?25l"), all.rfind("\x1b[?25h"));
        assert!(shown > hidden, "{size:?}: the cursor is shown again");
    }
    Command::new("kill").args(["-TERM", &run.id().to_string()]).status().expect("there is a kill");
    assert_eq!(run.wait().expect("it stops").code(), Some(0));
}

#[test]
fn a_reader_that_leaves_ends_no_gateway() {
    let scratch = Scratch::new("pipe");
    let dir = &scratch.0;
    let mut run = gateway(dir, "4s", Stdio::piped());
    let mut said = BufReader::new(run.stderr.take().expect("it is piped"));
    let mut line = String::new();
    said.read_line(&mut line).expect("it says something at once");
    assert!(line.starts_with("meltica "), "{line}");
    drop(said);
    assert_eq!(run.wait().expect("it ends by itself").code(), Some(0), "as if somebody had read");
    let reports = fs::read_dir(dir.join("report")).expect("it was made").flatten();
    let mut reports = reports.filter(|entry| entry.path().join("report.json").exists());
    assert!(reports.next().is_some(), "the report was written");

    let mut help = Command::new(env!("CARGO_BIN_EXE_meltica"))
        .args([
            "report",
            &fs::read_dir(dir.join("report"))
                .expect("it is there")
                .flatten()
                .find(|entry| entry.path().is_dir())
                .expect("a run")
                .path()
                .display()
                .to_string(),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    drop(help.stdout.take());
    let mut error = String::new();
    help.stderr.take().expect("it is piped").read_to_string(&mut error).expect("UTF-8");
    assert_eq!(help.wait().expect("it ends").code(), Some(0), "{error}");
    assert!(!error.contains("panicked"), "{error}");
}
