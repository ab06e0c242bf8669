//! The whole way of a frame inside the engine, without a clock: decode, order, check, dispatch, publish.

use std::hint::black_box;

use bench::messages::{self, KrakenBook};
use bench::rig::{Rig, RigOptions};
use engine::channel::Channel;
use engine::time::{FixedClock, ReceiveTime};
use engine::venue::binance::Binance;
use engine::venue::kraken::Kraken;
use iai_callgrind::{library_benchmark, library_benchmark_group};

use crate::at_most;

/// A pipeline that is warm, and the frames of one read.
type Work<V> = (Rig<V>, Vec<Vec<u8>>);

const BATCH: u64 = 32;

fn options<'a>(symbols: &'a [&'a str], channels: &'a [Channel], rings: usize) -> RigOptions<'a> {
    RigOptions { symbols, channels, rings, ring_events: 1 << 14 }
}

/// Feeds all but the last [`BATCH`] frames, and leaves those.
fn warm<V: engine::venue::Venue>(mut rig: Rig<V>, mut frames: Vec<Vec<u8>>) -> Work<V> {
    let mut clock = FixedClock::default();
    let batch = frames.split_off(frames.len() - BATCH as usize);
    for mut frame in frames {
        rig.frame(&mut frame, ReceiveTime::default(), &mut clock);
    }
    rig.pipeline.flush(&mut clock, |_| ());
    rig.drain();
    (rig, batch)
}

fn trades(rings: usize) -> Work<Binance> {
    let rig = Rig::new(Binance::spot(), &options(&["BTCUSDT"], &[Channel::Trade], rings));
    warm(rig, (1..=2 * BATCH).map(|id| messages::binance_trade("BTCUSDT", id)).collect())
}

fn best() -> Work<Binance> {
    let rig = Rig::new(Binance::spot(), &options(&["BTCUSDT"], &[Channel::Ticker], 1));
    warm(rig, (1..=2 * BATCH).map(|id| messages::binance_best("BTCUSDT", id)).collect())
}

fn updates() -> Work<Binance> {
    let channels = [Channel::Book { speed_ms: 100 }];
    let mut rig = Rig::new(Binance::spot(), &options(&["BTCUSDT"], &channels, 1));
    let mut clock = FixedClock::default();
    let mut frames: Vec<Vec<u8>> =
        (1..=2 * BATCH).map(|number| messages::binance_update_of("BTCUSDT", number, 5)).collect();
    let mut first = frames.remove(0);
    rig.frame(&mut first, ReceiveTime::default(), &mut clock);
    let path = "/api/v3/depth?symbol=BTCUSDT&limit=1000";
    rig.rest(path, &mut messages::binance_snapshot(0, 1_000), &mut clock);
    warm(rig, frames)
}

fn kraken() -> Work<Kraken> {
    let mut rig = Rig::new(Kraken::default(), &options(&["BTC/USD"], &[Channel::Book { speed_ms: 0 }], 1));
    let mut book = KrakenBook::new("BTC/USD", 10, 1);
    rig.frame(&mut book.snapshot(), ReceiveTime::default(), &mut FixedClock::default());
    warm(rig, (1..=2 * BATCH).map(|_| book.update(1)).collect())
}

fn run<V: engine::venue::Venue>((mut rig, mut frames): Work<V>) -> Work<V> {
    let mut clock = FixedClock::default();
    for frame in &mut frames {
        rig.frame(black_box(frame), ReceiveTime::default(), &mut clock);
    }
    rig.pipeline.flush(&mut clock, |output| {
        black_box(output);
    });
    (rig, frames)
}

#[library_benchmark]
#[bench::of_32_trades_to_1_ring(args = (1), setup = trades, config = at_most(53_660))]
#[bench::of_32_trades_to_4_rings(args = (4), setup = trades, config = at_most(68_210))]
fn pipeline_trades(work: Work<Binance>) -> Work<Binance> {
    run(work)
}

#[library_benchmark]
#[bench::of_32_best_prices(args = (), setup = best, config = at_most(54_810))]
#[bench::of_32_updates_of_10_levels(args = (), setup = updates, config = at_most(253_450))]
fn pipeline_binance(work: Work<Binance>) -> Work<Binance> {
    run(work)
}

#[library_benchmark]
#[bench::of_32_updates_of_2_levels_with_checksum(args = (), setup = kraken, config = at_most(144_340))]
fn pipeline_kraken(work: Work<Kraken>) -> Work<Kraken> {
    run(work)
}

library_benchmark_group!(
    name = pipeline_group;
    benchmarks = pipeline_trades, pipeline_binance, pipeline_kraken
);
