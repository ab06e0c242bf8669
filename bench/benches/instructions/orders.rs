//! Orders to bytes and reports from bytes, by venue and signature; 32 events of two providers through a merge.

use bench::joining::{Join, Joined};
use bench::trading::{Desk, Signed};
use iai_callgrind::{library_benchmark, library_benchmark_group};

use crate::at_most;

#[library_benchmark]
#[bench::binance_hmac(args = (Signed::BinanceHmac), setup = Desk::new, config = at_most(27_850))]
#[bench::binance_ed25519(args = (Signed::BinanceEd25519), setup = Desk::new, config = at_most(258_980))]
#[bench::kraken_token(args = (Signed::KrakenToken), setup = Desk::new, config = at_most(1780))]
#[bench::coinbase_prepared(args = (Signed::CoinbasePrepared), setup = Desk::new, config = at_most(3090))]
#[bench::coinbase_fresh(args = (Signed::CoinbaseFresh), setup = Desk::new, config = at_most(263_820))]
fn order(mut desk: Desk) -> Desk {
    desk.place();
    desk
}

#[library_benchmark]
#[bench::binance(args = (Signed::BinanceHmac), setup = Desk::new, config = at_most(15_930))]
#[bench::kraken(args = (Signed::KrakenToken), setup = Desk::new, config = at_most(21_860))]
#[bench::coinbase(args = (Signed::CoinbasePrepared), setup = Desk::new, config = at_most(15_490))]
fn report(mut desk: Desk) -> Desk {
    desk.report();
    desk
}

#[library_benchmark]
#[bench::windows_of_32(args = (Joined::Windows), setup = Join::new, config = at_most(23_390))]
#[bench::best_prices_of_32(args = (Joined::BestPrices), setup = Join::new, config = at_most(31_190))]
fn merge(mut join: Join) -> Join {
    join.run();
    join
}

library_benchmark_group!(name = orders_group; benchmarks = order, report, merge);
