//! The command `soak day`, short: a day in fifteen seconds, with faults and orders. Nothing of time is asserted.

use std::time::Duration;

use soak::day::{Options, run};

#[test]
fn a_short_day_with_faults_and_orders_keeps_its_promises() {
    let home = std::env::temp_dir().join(format!("meltica-day-{}", std::process::id()));
    std::fs::create_dir_all(&home).expect("a directory");
    let arguments = format!("day --instruments 5 --rate 10 --home {} --venues", home.display());
    let options = Options {
        duration: Duration::from_secs(15),
        instruments: 5,
        rate: 10,
        compressed: false,
        seed: 1,
        fault_every: Duration::from_millis(1_500),
        home: home.clone(),
        strict: false,
        venues: (env!("CARGO_BIN_EXE_soak").into(), arguments.split(' ').map(str::to_owned).collect()),
    };
    let verdict = run(&options).unwrap_or_else(|error| panic!("{error}"));
    eprintln!("{}", verdict.table());
    assert!(verdict.is_good(), "\n{}", verdict.table());
    let picture = std::fs::read_to_string(&verdict.picture).expect("a picture");
    assert!(
        picture.ends_with("</svg>\n") && picture.contains(">memory of the gateway (RSS), MiB<"),
        "{picture}"
    );
    let drawn_again = soak::day::picture::draw(&home.join("day.csv")).expect("the table is kept");
    assert_eq!(std::fs::read_to_string(drawn_again).expect("a picture"), picture);
    let _ = std::fs::remove_dir_all(home);
}
