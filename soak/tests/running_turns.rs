//! The command `soak turns`, short: whatever the host does to the shards, resyncs, snapshots and rolls come, every turn is
//! counted and every long one has its cause.

use std::time::Duration;

use soak::turns::{Options, run};

#[test]
fn every_long_turn_has_a_cause_and_everything_came_that_makes_turns_long() {
    let marker = std::env::temp_dir().join(format!("meltica-marker-{}", std::process::id()));
    std::fs::write(&marker, "").unwrap();
    let duration = Duration::from_secs(8);
    let options =
        Options { rate: 50, duration, every: duration, seed: 1, bare: true, marker: Some(marker.clone()) };
    let verdict = run(&options).unwrap_or_else(|error| panic!("{error}"));
    // How long turns are is not for a test: this host has other work.
    assert!(verdict.is_whole(), "\n{}", verdict.table());
    assert_eq!(verdict.rows.keys().map(String::as_str).collect::<Vec<_>>(), ["md0", "watch"]);
    let bare = verdict.bare.as_ref().expect("it was asked for");
    let turned = |row: &soak::turns::Row| row.lengths.rows().map(|(_, turns, _)| turns).sum::<u64>() > 1_000;
    assert!(!bare.is_empty() && bare.values().all(turned), "\n{}", verdict.table());
    let long: u64 = verdict.rows.values().map(|row| row.long.iter().sum::<u64>()).sum();
    assert_eq!(verdict.shown.len() as u64, long, "\n{}", verdict.table());
    let marked = std::fs::read_to_string(&marker).unwrap();
    std::fs::remove_file(&marker).unwrap();
    let lines = marked.lines().filter(|line| line.starts_with("meltica turn took_ns="));
    // One that ended after the last look was marked all the same.
    assert!(lines.count() as u64 >= long, "\n{marked}\n{}", verdict.table());
}
