//! The replay contract: every capture file gives the figures that an independent program found in it, and the same hash
//! on one shard and on two.
//!
//! The comparison is the captures' own `compare.py`; it and they stay outside of this repository.

use std::path::PathBuf;
use std::process::Command;

/// The recordings: `MELTICA_CAPTURES`, or `../shared/captures` beside the workspace.
fn captures() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let path = std::env::var_os("MELTICA_CAPTURES").map_or_else(beside, PathBuf::from);
    if path.join("compare.py").is_file() {
        return Some(path);
    }
    eprintln!("SKIPPED: no recordings at {}; the replay contract is not checked", path.display());
    None
}

fn check(venue: &str, files: usize) {
    let Some(captures) = captures() else { return };
    let compare = Command::new("python3")
        .arg(captures.join("compare.py"))
        .args(["--bin", env!("CARGO_BIN_EXE_meltica"), "--venue", venue])
        .output()
        .expect("python3 is there");
    let text = String::from_utf8_lossy(&compare.stdout);
    assert!(compare.status.success(), "{text}{}", String::from_utf8_lossy(&compare.stderr));
    assert!(text.contains(&format!("{files} files, 0 differences")), "{text}");
}

#[test]
fn every_binance_capture_replays_to_the_expected_figures() {
    check("binance", 7);
}

#[test]
fn every_kraken_capture_replays_to_the_expected_figures() {
    check("kraken", 4);
}

#[test]
fn every_coinbase_capture_replays_to_the_expected_figures() {
    check("coinbase", 3);
}
