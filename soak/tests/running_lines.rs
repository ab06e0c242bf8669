//! The command `soak lines`, short: the running gateway over real sockets loses nothing while its lines are ended in turn.

use std::time::Duration;

use soak::lines::{Options, run};

#[test]
fn the_running_gateway_loses_nothing_while_one_line_after_the_other_is_ended() {
    let options = Options { disconnects: 12, duration: Duration::from_secs(20), rate: 20, seed: 1 };
    let verdict = run(&options).unwrap_or_else(|error| panic!("{error}"));
    assert!(verdict.is_good(), "\n{}", verdict.table());
    assert!(verdict.rows.iter().all(|row| row.lost_total + row.rolled_total > 0), "\n{}", verdict.table());
}
