//! How much one provider shard carries, from memory: no socket, no TLS. `cargo bench -p bench --bench throughput`.
//!
//! The sender is the main thread: bytes of 16 KiB reads through the frame layer and the pipeline to 1 or 4 rings, with
//! a clock read where a live shard reads it. Another thread drains all rings; a full ring makes the sender wait, and the
//! waiting is in the figure. Each row is the median of several runs; beside it stands the raw round trip of a cache line
//! between the two cores, which moves on virtual machines and moves every figure with it. `undisturbed` is the median
//! read of 16 KiB that met no full ring: it holds on a host whose cores others use too, where the rate does not.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bench::messages::{self, KrakenBook};
use bench::rig::{Rig, RigOptions, symbols};
use bench::round_trip::{pin, round_trip_ns};
use bench::{capture, wire};
use engine::channel::Channel;
use engine::event::Event;
use engine::frame::{Frame, FrameReader};
use engine::probe::{PathStage, Probe};
use engine::ring::{Receiver, STAGED_MAX};
use engine::time::{Clock, ReceiveTime};
use engine::venue::Venue;
use engine::venue::binance::Binance;
use engine::venue::kraken::Kraken;
use shards::replay::{ReplayOptions, replay};

const RUNS: usize = 5;
/// Messages of a run.
const MESSAGES: usize = 1_000_000;
/// Messages that are made, and sent again under new numbers where their numbers matter.
const READ_BYTES: usize = 16 << 10;

/// The clock of a shard, without histograms.
struct Tsc(quanta::Clock);

impl Clock for Tsc {
    fn now(&self) -> ReceiveTime {
        ReceiveTime::from_ns(self.0.delta_as_nanos(0, self.0.raw()))
    }
}

impl Probe for Tsc {
    fn stage(&mut self, _: PathStage, ns: u64) {
        black_box(ns);
    }

    fn handler(&mut self, _: usize, _: u64) {}
}

/// Drains all rings until told to stop; returns how many events came.
fn drain(mut receivers: Vec<Receiver<Event>>, stop: &AtomicBool) -> u64 {
    pin(1);
    let mut taken = 0;
    loop {
        let stopping = stop.load(Ordering::Acquire);
        let mut now = 0;
        for receiver in &mut receivers {
            now += receiver.drain(1_024, |event| {
                black_box(event.header.sequence_last);
            });
        }
        taken += now as u64;
        if now == 0 {
            if stopping {
                return taken;
            }
            std::hint::spin_loop();
        }
    }
}

/// Reads of whole frames, at most [`READ_BYTES`] each.
fn reads(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut reads: Vec<Vec<u8>> = vec![Vec::new()];
    for frame in frames {
        let bytes = wire::text(frame);
        let last = reads.last_mut().expect("there is always one");
        if last.len() + bytes.len() > READ_BYTES {
            reads.push(bytes);
        } else {
            last.extend(bytes);
        }
    }
    reads
}

struct Row {
    seconds: f64,
    events: u64,
    /// Of a read in which no ring was full, per message, the median: what it takes where nobody else wants the cores.
    median_ns: f64,
}

/// All reads through frame layer, pipeline and rings.
fn run<V: Venue>(mut rig: Rig<V>, first: &mut [u8], reads: &[Vec<u8>]) -> Row {
    let receivers = std::mem::take(&mut rig.receivers);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let drained = scope.spawn(|| drain(receivers, &stop));
        pin(0);
        let mut clock = Tsc(quanta::Clock::new());
        let mut reader = FrameReader::new(64 << 10, 4 << 20);
        if !first.is_empty() {
            rig.frame(first, clock.now(), &mut clock);
        }
        let mut each_ns = Vec::with_capacity(reads.len());
        let started = Instant::now();
        for bytes in reads {
            let mut bytes = &bytes[..];
            let (began, mut frames, mut waited) = (Instant::now(), 0_u32, false);
            while !bytes.is_empty() {
                bytes = &bytes[reader.feed(bytes)..];
                let at = clock.now();
                while let Some(frame) = reader.next().expect("a good frame") {
                    let Frame::Text(text) = frame else { panic!("a text") };
                    while !rig.pipeline.dispatcher.has_room(STAGED_MAX) {
                        waited = true;
                        rig.pipeline.flush(&mut clock, |_| ());
                        std::hint::spin_loop();
                    }
                    rig.frame(text, at, &mut clock);
                    frames += 1;
                }
                rig.pipeline.flush(&mut clock, |_| ());
            }
            if !waited && frames > 0 {
                each_ns.push(began.elapsed().as_nanos() as f64 / f64::from(frames));
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        stop.store(true, Ordering::Release);
        each_ns.sort_by(f64::total_cmp);
        let median_ns = each_ns.get(each_ns.len() / 2).copied().unwrap_or(f64::NAN);
        Row { seconds, events: drained.join().expect("the drain does not panic"), median_ns }
    })
}

/// Runs `make` several times and prints the median.
fn report(name: &str, messages: usize, mut make: impl FnMut() -> Row) {
    let before = round_trip_ns(0, 1);
    let mut rows: Vec<Row> = (0..RUNS).map(|_| make()).collect();
    let after = round_trip_ns(0, 1);
    rows.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
    let row = &rows[rows.len() / 2];
    let (best, worst) = (&rows[0], &rows[rows.len() - 1]);
    let rate = |row: &Row| messages as f64 / row.seconds / 1e6;
    println!(
        "{name:<52} {:>6.2} M messages/s ({:.2}-{:.2}), {:>5.0} ns each; undisturbed {:>5.0} ns, {:.2} M/s; {} events, round trip {before}/{after} ns",
        rate(row),
        rate(worst),
        rate(best),
        row.seconds * 1e9 / messages as f64,
        row.median_ns,
        1e3 / row.median_ns,
        row.events,
    );
}

fn main() {
    // `cargo bench` and `cargo test` pass arguments of their own harness.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    if wanted("trades") {
        trades();
    }
    if wanted("books") {
        books();
    }
    if wanted("replay") {
        replays();
    }
}

fn trades() {
    let names = symbols(50);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let frames: Vec<Vec<u8>> =
        (0..MESSAGES).map(|n| messages::binance_trade(names[n % 50], 1_000_000 + (n / 50) as u64)).collect();
    let reads = reads(&frames);
    for rings in [1, 4] {
        let options =
            RigOptions { symbols: &names, channels: &[Channel::Trade], rings, ring_events: 1 << 14 };
        report(&format!("trades, 50 symbols, {rings} ring(s)"), MESSAGES, || {
            run(Rig::new(Binance::spot(), &options), &mut [], &reads)
        });
    }
}

fn books() {
    let count = MESSAGES / 5;
    let channels = [Channel::Book { speed_ms: 100 }];
    let options = RigOptions { symbols: &["BTCUSDT"], channels: &channels, rings: 1, ring_events: 1 << 14 };
    let mut frames: Vec<Vec<u8>> =
        (1..=count as u64).map(|number| messages::binance_update_of("BTCUSDT", number, 5)).collect();
    let binance = reads(&frames[1..]);
    report("Binance books, updates of 10 levels, 1 ring", count, || {
        let mut rig = Rig::new(Binance::spot(), &options);
        let mut clock = engine::time::FixedClock::default();
        rig.frame(&mut frames[0].clone(), ReceiveTime::default(), &mut clock);
        let path = "/api/v3/depth?symbol=BTCUSDT&limit=1000";
        rig.rest(path, &mut messages::binance_snapshot(0, 1_000), &mut clock);
        rig.pipeline.flush(&mut clock, |_| ());
        rig.drain();
        run(rig, &mut [], &binance)
    });
    let channels = [Channel::Book { speed_ms: 0 }];
    let options = RigOptions { symbols: &["BTC/USD"], channels: &channels, rings: 1, ring_events: 1 << 14 };
    for levels in [1, 5] {
        let mut book = KrakenBook::new("BTC/USD", 10, 1);
        let snapshot = book.snapshot();
        frames = (0..count).map(|_| book.update(levels)).collect();
        let kraken = reads(&frames);
        let name = format!("Kraken books, updates of {} levels, checksum, 1 ring", 2 * levels);
        report(&name, count, || run(Rig::new(Kraken::default(), &options), &mut snapshot.clone(), &kraken));
    }
}

fn replays() {
    for name in ["binance/spot_btcusdt_20240808.tsv.gz", "binance/usdm_btcusdt_20240808.tsv.gz"] {
        let Some(folder) = capture::folder() else {
            eprintln!("SKIPPED: no recordings; set MELTICA_CAPTURES");
            return;
        };
        let options = ReplayOptions { files: vec![folder.join(name)], shards: 1 };
        let mut times: Vec<Duration> = Vec::new();
        let mut frames = 0;
        for _ in 0..RUNS {
            let started = Instant::now();
            let outcome = if name.contains("usdm") {
                replay(&options, Binance::usdm)
            } else {
                replay(&options, Binance::spot)
            };
            times.push(started.elapsed());
            frames = outcome.expect("a recording that replays").fallbacks().hot_frames;
        }
        times.sort_unstable();
        let seconds = times[RUNS / 2].as_secs_f64();
        println!(
            "replay {name:<45} {:>6.2} M frames/s, gzip and hashes included",
            frames as f64 / seconds / 1e6
        );
    }
}
