//! The command `soak turns`, short: whatever the host does to the shards, resyncs, snapshots and rolls come, every turn is
//! counted and every long one has its cause.

use std::time::Duration;

use soak::turns::{Options, run};

#[test]
fn every_long_turn_has_a_cause_and_everything_came_that_makes_turns_long() {
    let verdict = run(&Options { rate: 50, duration: Duration::from_secs(8), seed: 1, bare: true })
        .unwrap_or_else(|error| panic!("{error}"));
    // How long turns are is not for a test: this host has other work.
    assert!(verdict.is_whole(), "\n{}", verdict.table());
    assert_eq!(verdict.rows.keys().map(String::as_str).collect::<Vec<_>>(), ["md0", "watch"]);
    let bare = verdict.bare.as_ref().expect("it was asked for");
    let turned = |row: &soak::turns::Row| row.lengths.rows().map(|(_, turns, _)| turns).sum::<u64>() > 1_000;
    assert!(!bare.is_empty() && bare.values().all(turned), "\n{}", verdict.table());
    let long: u64 = verdict.rows.values().map(|row| row.long.iter().sum::<u64>()).sum();
    assert_eq!(verdict.shown.len() as u64, long, "\n{}", verdict.table());
}
