//! The command `soak overload`, short: counts only, no time is asserted.

use std::time::Duration;

use soak::overload::{Options, run};

#[test]
fn a_sleeping_consumer_gets_its_promise_of_every_stream_and_a_healthy_one_everything() {
    let options = Options { rate: 200, times: 3, duration: Duration::from_secs(6), seed: 1 };
    let verdict = run(&options).unwrap_or_else(|error| panic!("{error}"));
    assert!(verdict.is_good(), "\n{}", verdict.table());
    let [lossless, latest, book] = &verdict.classes[..] else { panic!("three rules") };
    assert!(lossless.dropped_total > 0, "\n{}", verdict.table());
    assert!(latest.coalesced_total > 0 && book.coalesced_total > 0 && book.snapshots_total > 0);
    assert!(verdict.classes.iter().all(|class| class.streams == 10));
}
