//! What a provider captures is what `meltica replay` reads: the binary runs against simulated venues, then replays its captures.

#![cfg(feature = "simulate")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A directory of this test alone, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("meltica-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the temporary directory can be written");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn meltica(dir: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_meltica"))
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    output
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON on standard output")
}

/// Rows of an index: file, frames, answers, lost.
fn rows(dir: &Path) -> Vec<(String, u64, u64, u64)> {
    let index = fs::read_to_string(dir.join("index.tsv")).expect("the index");
    let number = |text: &str| text.parse::<u64>().expect("a number");
    index
        .lines()
        .skip(1)
        .map(|row| {
            let row: Vec<&str> = row.split('\t').collect();
            (row[0].to_owned(), number(row[3]), number(row[4]), number(row[5]))
        })
        .collect()
}

#[test]
fn what_three_venues_sent_is_replayed_frame_for_frame() {
    let scratch = Scratch::new("capture");
    let dir = &scratch.0;
    let arguments =
        ["topology", "plan", "--shared", "--venues", "binance,kraken,coinbase", "--instruments", "3"];
    let plan = String::from_utf8(meltica(dir, &arguments).stdout).expect("UTF-8");
    let with_capture = plan.replace(
        "\n    rest_weight_share:",
        "\n    capture: {dir: captures, rotate_mib: 1, keep: 1000}\n    rest_weight_share:",
    );
    assert_eq!(with_capture.matches("capture:").count(), 3, "{plan}");
    fs::write(dir.join("topology.yaml"), with_capture).expect("the scratch directory can be written");
    let run = meltica(dir, &["run", "--duration", "6s", "--json"]);
    let report = json(&run);
    for (provider, venue) in [("binance", "binance"), ("kraken", "kraken"), ("coinbase", "coinbase")] {
        let facts = &report["providers"][provider]["capture"];
        assert_eq!(facts["complete"], true, "{provider}: {facts}");
        let frames_total = facts["frames_total"].as_u64().expect("a count");
        assert!(frames_total > 50, "{provider}: {facts}");
        let captured = dir.join(facts["dir"].as_str().expect("a path"));
        let rows = rows(&captured);
        assert_eq!(rows.iter().map(|row| row.1).sum::<u64>(), frames_total, "{provider}: {rows:?}");
        assert!(rows.iter().all(|row| row.3 == 0), "{provider}: {rows:?}");
        let mut files: Vec<String> =
            rows.iter().map(|row| captured.join(&row.0).display().to_string()).collect();
        files.sort();
        let mut arguments = vec!["replay", "--venue", venue, "--json"];
        arguments.extend(files.iter().map(String::as_str));
        let replayed = json(&meltica(dir, &arguments));
        let answers: u64 = rows.iter().map(|row| row.2).sum();
        assert_eq!(replayed["ws"].as_u64(), Some(frames_total), "{provider}: {replayed}");
        assert_eq!(replayed["rest"].as_u64(), Some(answers), "{provider}: {replayed}");
        assert_eq!(replayed["decode_errors"], 0, "{provider}: {replayed}");
        assert_eq!(replayed["events"]["Gap"], 0, "{provider}: {replayed}");
    }
}
