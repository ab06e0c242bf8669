//! The command `soak rolls`, short: the running gateway over real sockets loses nothing while every line is rolled.

use std::time::Duration;

use soak::rolls::{Options, run};

#[test]
fn the_running_gateway_loses_nothing_while_every_line_is_rolled_under_load() {
    let verdict = run(&Options { rate: 100, duration: Duration::from_secs(8), seed: 1 })
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(verdict.is_good(), "\n{}", verdict.table());
    assert!(verdict.rows.iter().all(|row| row.rolled_total >= 2), "\n{}", verdict.table());
    let compared = verdict.latencies.iter();
    assert!(compared.flat_map(|stage| [stage.quiet_ns[0], stage.rolls_ns[0]]).all(|p50_ns| p50_ns > 0));
}
