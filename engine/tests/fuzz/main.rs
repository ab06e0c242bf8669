//! Every fuzz target of the engine on the stable toolchain. With coverage they run by `scripts/fuzz.sh` (cargo-fuzz).

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

run! { frame handshake binance_spot binance_usdm kraken coinbase_advanced coinbase_exchange rest order_reports decimal journal events }
