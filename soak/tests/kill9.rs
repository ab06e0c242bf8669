//! A few kills in CI; `soak kill9 --times 100` is the long form.

use std::path::PathBuf;

use soak::kill9::{Options, run};

fn check(durability: &'static str, seed: u64) {
    let home = std::env::temp_dir().join(format!("meltica-kill9-{}-{durability}", std::process::id()));
    let _ = std::fs::remove_dir_all(&home);
    let program = PathBuf::from(env!("CARGO_BIN_EXE_soak"));
    let verdict =
        run(&Options { times: 3, seed, durability, program, home }).unwrap_or_else(|error| panic!("{error}"));
    assert!(verdict.is_good(), "seed {seed}: {}", verdict.table());
    assert!(verdict.rows.iter().all(|row| row.orders > 3), "{}", verdict.table());
}

#[test]
fn a_kill_forgets_no_order_where_the_disk_comes_first() {
    check("sync", 1);
}

#[test]
fn a_kill_forgets_no_order_where_records_follow_in_batches() {
    check("batch", 2);
}
