//! Every fuzz target of the shards on the stable toolchain. With coverage they run by `scripts/fuzz.sh` (cargo-fuzz).

#[path = "../../../engine/tests/fuzz/driver.rs"]
mod driver;
mod targets;

macro_rules! run {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let target = targets::TARGETS.iter().find(|target| target.name == stringify!($name));
            driver::drive(target.expect("a target of that name"));
        }
    )*
        #[test]
        fn every_target_runs() {
            let run = [$(stringify!($name)),*];
            assert_eq!(targets::TARGETS.map(|target| target.name), run);
        }
    };
}

run! { topology control_http control_orders rest_response recording }
