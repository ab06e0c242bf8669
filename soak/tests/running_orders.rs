//! Orders through the running gateway, overloaded and without sessions for a while; `soak orders` is the long form.

use std::time::Duration;

use soak::orders::{Options, run};

#[test]
fn no_report_is_lost_under_load_and_through_outages() {
    let home = std::env::temp_dir().join(format!("meltica-running-orders-{}", std::process::id()));
    let options = Options { disconnects: 6, duration: Duration::from_secs(12), rate: 400, seed: 1, home };
    let verdict = run(&options).unwrap_or_else(|error| panic!("{error}"));
    println!("{}", verdict.table());
    assert!(verdict.is_good(), "{}", verdict.table());
    for row in &verdict.rows {
        assert_eq!((row.outages, row.recovered >= 2), (2, true), "{row:?}");
        assert_eq!(row.recovered, row.filled_meanwhile as u64, "{row:?}");
    }
}
