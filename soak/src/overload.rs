//! Overload on the running gateway: a simulated venue at a multiple of what a shard with two sleeping consumers takes, one of
//! a single stream and one of all others, with a healthy consumer of the same streams on a shard beside it. Counts what each
//! delivery rule delivered and dropped, holds both consumers and every stream against the promise of fairness, and compares
//! the healthy consumer's latency with a run in which nobody sleeps.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::consumer::{Consumer, Context};
use engine::dispatch::Fairness;
use engine::event::{Body, Event, book_parts};
use serde_json::Value;
use shards::host::{HostView as _, RealHost};
use shards::launch::{Ended, Factory, Gateway, launch};
use shards::live::Board;
use shards::report::table::latency;
use shards::report::total::StageTotal;
use shards::stages::Stage;
use shards::topology::{self, Against, Topology};

use crate::running::between;

/// Streams that a run can count; the topology has fewer.
const STREAMS_MAX: usize = 256;
/// How long the start, and the filling of the sleeper's ring, may take.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// After the first thing had to wait, until what is counted is the overload alone.
const SETTLE: Duration = Duration::from_secs(1);
/// How far a sleeper may be behind its own pace before it forgets that.
const BEHIND_MAX: Duration = Duration::from_millis(20);
/// Slots of the sleepers' ring: of all that they took in the measured time, so much may have entered it before.
const RING_PARTS: u64 = 1_024;
/// Levels a side of their books.
const BOOK_DEPTH: usize = 20;
/// By how many parts a consumer may be behind its equal share, and a stream by twice that, however long the time: a burst
/// that another has saved, and two of the largest events.
const BEHIND_PARTS: u64 =
    Fairness::DEFAULT.burst_events as u64 + 2 * book_parts(BOOK_DEPTH, BOOK_DEPTH) as u64;
/// Index of the two consumer shards in the topology.
const SHARDS: [usize; 2] = [1, 2];
const SLEEPER: usize = 0;
const HEALTHY: usize = 1;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Messages a second of each of the ten instruments.
    pub rate: u32,
    /// How many times what the sleeper takes.
    pub times: u32,
    /// Time of the idle run, and as long of overload.
    pub duration: Duration,
    /// Of the market.
    pub seed: u64,
}

/// What became of one delivery rule's events on the way to the sleeper, over the whole run.
#[derive(Clone, Debug, Default)]
pub struct Class {
    /// `lossless`, `latest` or `book`, with its channel.
    pub name: &'static str,
    /// Events offered.
    pub offered_total: u64,
    /// Events put into the ring.
    pub delivered_total: u64,
    /// Events that a newer one, or a snapshot, stands for.
    pub coalesced_total: u64,
    /// Events dropped and declared.
    pub dropped_total: u64,
    /// Snapshots in place of coalesced updates.
    pub snapshots_total: u64,
    /// Gaps that declared drops.
    pub gap_markers_total: u64,
    /// Streams, in the time of overload.
    pub streams: usize,
    /// Parts a second that all of them asked for.
    pub demand_per_s: f64,
    /// Parts a second that all of them got.
    pub got_per_s: f64,
    /// The smallest that a stream got of what it was promised; 1 and more is kept.
    pub kept_min: f64,
}

/// What a consumer of the overloaded shard got in the measured time.
#[derive(Clone, Debug)]
pub struct Kept {
    /// `one` or `many`, for its streams.
    pub name: &'static str,
    /// Its streams.
    pub streams: usize,
    /// Parts that they brought.
    pub demand: u64,
    /// The smaller of a quarter of those and an equal share of what the shard took.
    pub promised: u64,
    /// Parts that it got.
    pub got: u64,
}

/// The outcome.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// By consumer of the overloaded shard.
    pub consumers: Vec<Kept>,
    /// By delivery rule.
    pub classes: Vec<Class>,
    /// Parts a second of all streams, and those that the sleeper took.
    pub parts_per_s: (f64, f64),
    /// Percentiles 50, 99, 99.9 and the largest of the healthy consumer's latency, in nanoseconds: idle, and in overload.
    pub healthy_ns: [[u64; 4]; 2],
    /// Streams that got less than promised, sums that do not add up, losses of the healthy consumer.
    pub violations: Vec<String>,
}

impl Verdict {
    /// Whether every promise was kept while the sleeper was overloaded.
    pub fn is_good(&self) -> bool {
        let (asked, taken) = self.parts_per_s;
        let pressed = self.classes.iter().any(|class| class.coalesced_total + class.dropped_total > 0);
        self.violations.is_empty() && taken > 0.0 && asked > taken && pressed
    }

    /// As tables.
    pub fn table(&self) -> String {
        let (asked, taken) = self.parts_per_s;
        let mut text = format!(
            "asked for {asked:.0} parts/s, the sleeper took {taken:.0}\n\
             rule      offered delivered coalesced  dropped snapshots   gaps | streams  asked/s    got/s  kept at least\n"
        );
        for class in &self.classes {
            let _ = writeln!(
                text,
                "{:<9} {:>7} {:>9} {:>9} {:>8} {:>9} {:>6} | {:>7} {:>8.0} {:>8.0} {:>7.2} of promised",
                class.name,
                class.offered_total,
                class.delivered_total,
                class.coalesced_total,
                class.dropped_total,
                class.snapshots_total,
                class.gap_markers_total,
                class.streams,
                class.demand_per_s,
                class.got_per_s,
                class.kept_min,
            );
        }
        for kept in &self.consumers {
            let Kept { name, streams, demand, promised, got } = kept;
            let part = *got as f64 / (*promised).max(1) as f64;
            let _ = writeln!(
                text,
                "consumer {name:<5} {streams:>3} streams: asked for {demand}, promised {promised}, got {got}: {part:.2} of promised"
            );
        }
        let _ = writeln!(
            text,
            "{:<18} {:>8} {:>8} {:>8} {:>8}",
            "healthy consumer", "p50", "p99", "p99.9", "max"
        );
        for (name, figures) in ["idle", "overload"].iter().zip(self.healthy_ns) {
            let [p50, p99, p99_9, max] = figures.map(latency);
            let _ = writeln!(text, "{name:<18} {p50:>8} {p99:>8} {p99_9:>8} {max:>8}");
        }
        for violation in &self.violations {
            let _ = writeln!(text, "violated: {violation}");
        }
        text + if self.is_good() { "good: everybody got what is promised\n" } else { "BAD\n" }
    }
}

/// Runs it: an idle run, and one of overload.
///
/// # Errors
/// What kept it from starting, in words.
pub fn run(options: &Options) -> Result<Verdict, String> {
    let idle = one(options, 0)?;
    let parts_per_s = idle.parts[HEALTHY].iter().sum::<u64>() as f64 / idle.seconds;
    if parts_per_s < 1.0 {
        return Err("the simulated venue sends nothing".to_owned());
    }
    let loaded = one(options, (f64::from(options.times) * 1e9 / parts_per_s) as u64)?;
    let mut violations = Vec::new();
    for ended in [&idle.ended, &loaded.ended] {
        violations.extend(ended.providers.iter().filter_map(shards::report_of::ProviderSummary::unbalanced));
    }
    let consumers = loaded.consumers(&mut violations);
    let classes = loaded.classes(&mut violations);
    let per_s = |consumer: usize| loaded.parts[consumer].iter().sum::<u64>() as f64 / loaded.seconds;
    Ok(Verdict {
        consumers,
        classes,
        parts_per_s: (per_s(HEALTHY), per_s(SLEEPER)),
        healthy_ns: [idle.healthy_ns, loaded.healthy_ns],
        violations,
    })
}

/// What one run came to.
struct Ran {
    /// By consumer: parts of each stream in the measured time.
    parts: [Vec<u64>; 2],
    seconds: f64,
    healthy_ns: [u64; 4],
    ended: Ended,
}

impl Ran {
    /// What each of the two sleepers may have of all that entered their ring in the measured time and was taken.
    fn share(&self) -> u64 {
        self.parts[SLEEPER].iter().sum::<u64>().saturating_sub(RING_PARTS) / 2
    }

    /// Both sleepers, held against the promise.
    fn consumers(&self, violations: &mut Vec<String>) -> Vec<Kept> {
        let [got, asked] = &self.parts;
        let Some(provider) = self.ended.providers.first() else { return Vec::new() };
        let one = |(name, is_one): (&'static str, bool)| {
            let streams = provider.streams.iter().enumerate();
            let held: Vec<usize> =
                streams.filter(|(_, facts)| is_the_one(facts) == is_one).map(|(at, _)| at).collect();
            let sum = |parts: &[u64]| held.iter().map(|&at| parts[at]).sum::<u64>();
            let (demand, got) = (sum(asked), sum(got));
            let promised = (demand / 4).min(self.share());
            if held.is_empty() || got + BEHIND_PARTS < promised {
                violations.push(format!("consumer {name}: got {got} of {promised}"));
            }
            Kept { name, streams: held.len(), demand, promised, got }
        };
        [("one", true), ("many", false)].map(one).into()
    }

    /// By rule: sums, and every stream held against the promise.
    fn classes(&self, violations: &mut Vec<String>) -> Vec<Class> {
        let [got, asked] = &self.parts;
        let Some(provider) = self.ended.providers.first() else { return Vec::new() };
        let output = |shard: usize| {
            provider.outputs.iter().position(|(found, ..)| usize::from(found.0) == SHARDS[shard])
        };
        let (Some(sleeper), Some(healthy)) = (output(SLEEPER), output(HEALTHY)) else { return Vec::new() };
        let lost = &provider.outputs[healthy].2;
        if lost.coalesced_total + lost.dropped_total > 0 {
            violations.push(format!(
                "the healthy consumer: {} coalesced, {} dropped",
                lost.coalesced_total, lost.dropped_total
            ));
        }
        let many = provider.streams.len().saturating_sub(1).max(1) as u64;
        let mut classes = Vec::new();
        for (name, channel) in [("lossless", "trade"), ("latest", "ticker"), ("book", "book")] {
            let mut class = Class { name, kept_min: f64::INFINITY, ..Class::default() };
            for (stream, facts) in provider.streams.iter().enumerate() {
                if !facts["channel"].as_str().is_some_and(|found| found.starts_with(channel)) {
                    continue;
                }
                class.add(&facts["lanes"][sleeper]);
                class.streams += 1;
                class.demand_per_s += asked[stream] as f64 / self.seconds;
                class.got_per_s += got[stream] as f64 / self.seconds;
                let part = if is_the_one(facts) { self.share() } else { self.share() / many };
                let promised = (asked[stream] / 4).min(part);
                if promised > 0 {
                    class.kept_min = class.kept_min.min(got[stream] as f64 / promised as f64);
                }
                if got[stream] + 2 * BEHIND_PARTS < promised {
                    let symbol = facts["symbol"].as_str().unwrap_or("?");
                    violations.push(format!("{symbol} {channel}: got {} of {promised}", got[stream]));
                }
            }
            if class.dropped_total > 0 && (name != "lossless" || class.gap_markers_total == 0) {
                violations.push(format!("{name}: {} dropped without a Gap", class.dropped_total));
            }
            classes.push(class);
        }
        classes
    }
}

/// Whether a stream is the single one of the consumer `one`.
fn is_the_one(facts: &Value) -> bool {
    facts["symbol"] == "BTC-USDT" && facts["channel"] == "trade"
}

impl Class {
    fn add(&mut self, lane: &Value) {
        let count = |name: &str| lane[name].as_u64().unwrap_or(0);
        self.offered_total += count("offered_total");
        self.delivered_total += count("delivered_total");
        self.coalesced_total += count("coalesced_total");
        self.dropped_total += count("dropped_total");
        self.snapshots_total += count("conflated_snapshots_total");
        self.gap_markers_total += count("gap_markers_total");
    }
}

/// One run; the sleeper sleeps so long for each part, from the moment that all books are proved.
fn one(options: &Options, sleep_ns: u64) -> Result<Ran, String> {
    let counted = [Arc::new(Counted::default()), Arc::new(Counted::default())];
    let made = counted.clone();
    let mut gateway = launch(topology_of(options)?, &|plan, _| {
        let counted = Arc::clone(&made[if plan.name == "healthy" { HEALTHY } else { SLEEPER }]);
        Ok(Box::new(move || Box::new(Counter { counted: Arc::clone(&counted) }) as Box<dyn Consumer>)
            as Factory)
    })
    .map_err(|error| error.to_string())?;
    let measured = measure(options, &mut gateway, &counted, sleep_ns);
    // The end drains the rings: nobody sleeps any more.
    counted[SLEEPER].sleep_ns.store(0, Ordering::Relaxed);
    let ended = gateway.stop();
    if let Some((shard, reason)) = ended.panicked.first() {
        return Err(format!("shard {shard}: {reason}"));
    }
    let (parts, seconds, healthy_ns) = measured?;
    Ok(Ran { parts, seconds, healthy_ns, ended })
}

type Measured = ([Vec<u64>; 2], f64, [u64; 4]);

fn measure(
    options: &Options,
    gateway: &mut Gateway,
    counted: &[Arc<Counted>; 2],
    sleep_ns: u64,
) -> Result<Measured, String> {
    let mut board = Board::default();
    let began = Instant::now();
    let mut wait = |gateway: &mut Gateway, time: Duration, done: &dyn Fn(&Board) -> bool| loop {
        gateway.collector.collect();
        gateway.poll_statuses(|status| board.take(status));
        while gateway.poll_report().is_some() {}
        if let Some(shard) = gateway.fallen() {
            return Err(format!("shard {shard} fell"));
        }
        if done(&board) {
            return Ok(true);
        }
        if began.elapsed() > time {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let proved = |board: &Board| board.providers().any(|at| at.books > 0 && at.books_proved == at.books);
    if !wait(gateway, WAIT_MAX, &proved)? {
        return Err(format!("books not proved within {} s", WAIT_MAX.as_secs()));
    }
    if sleep_ns > 0 {
        counted[SLEEPER].sleep_ns.store(sleep_ns, Ordering::Relaxed);
        let pressed = |board: &Board| {
            let outputs = board.providers().flat_map(|at| &at.outputs[..usize::from(at.output_count)]);
            let mut sleepers = outputs.filter(|output| usize::from(output.shard) == SHARDS[SLEEPER]);
            sleepers.any(|output| output.state.waiting_streams > 0)
        };
        if !wait(gateway, began.elapsed() + WAIT_MAX, &pressed)? {
            return Err(format!("the sleeper is not overloaded within {} s", WAIT_MAX.as_secs()));
        }
    }
    wait(gateway, began.elapsed() + SETTLE, &|_| false)?;
    let (stage, parts, since) = (delivered(gateway), counted.each_ref().map(|one| one.now()), Instant::now());
    wait(gateway, began.elapsed() + options.duration, &|_| false)?;
    let seconds = since.elapsed().as_secs_f64();
    let mut after = counted.each_ref().map(|one| one.now());
    for (after, before) in after.iter_mut().flatten().zip(parts.iter().flatten()) {
        *after -= before;
    }
    Ok((after, seconds, between(&stage, &delivered(gateway))))
}

/// Latencies of the healthy consumer's shard so far, from the bytes read to the handler.
fn delivered(gateway: &Gateway) -> StageTotal {
    let mut sum = StageTotal::new();
    let totals = gateway.collector.totals();
    let stage = Stage::ReceiveToDelivered.name();
    for (_, _, total) in totals.filter(|(shard, name, _)| *name == stage && shard.name == "healthy") {
        sum.add(total);
    }
    sum
}

/// Parts that the consumers of a shard handled, by stream, and how long they sleep for each.
#[derive(Debug)]
struct Counted {
    parts: [AtomicU64; STREAMS_MAX],
    sleep_ns: AtomicU64,
    /// When the shard is done with what it has.
    due: Mutex<Instant>,
}

impl Default for Counted {
    fn default() -> Self {
        let due = Mutex::new(Instant::now());
        Self { parts: [const { AtomicU64::new(0) }; STREAMS_MAX], sleep_ns: AtomicU64::new(0), due }
    }
}

impl Counted {
    fn now(&self) -> Vec<u64> {
        self.parts.iter().map(|parts| parts.load(Ordering::Relaxed)).collect()
    }
}

/// A consumer that counts, and sleeps if it is told to.
struct Counter {
    counted: Arc<Counted>,
}

impl Consumer for Counter {
    fn on_event(&mut self, event: &Event, _: &mut Context<'_>) {
        // Our own Gaps are no answer to anybody's demand.
        if !matches!(event.body, Body::Gap(_)) {
            self.counted.parts[event.header.stream.index()].fetch_add(1, Ordering::Relaxed);
        }
        let sleep_ns = self.counted.sleep_ns.load(Ordering::Relaxed);
        if sleep_ns == 0 {
            return;
        }
        let now = Instant::now();
        // Sleeps are longer than asked for; the pace is kept over several.
        let mut due = self.counted.due.lock().unwrap_or_else(PoisonError::into_inner);
        if now > *due + BEHIND_MAX {
            *due = now;
        }
        *due += Duration::from_nanos(sleep_ns);
        std::thread::sleep(due.saturating_duration_since(now));
    }
}

/// One simulated venue with ten instruments, two sleepers on one shard, of one stream and of all others, and a healthy
/// consumer of all streams on another.
fn topology_of(options: &Options) -> Result<Topology, String> {
    let cores = RealHost.cores().ok_or("this host does not say which cores it has")?;
    let first = cores.allowed.iter().min().ok_or("this process runs on no core")?;
    let last = cores.allowed.iter().max().unwrap_or(first);
    let shard = |name: &str, slots: usize| {
        format!(
            "  - {{name: {name}, core: {last}, role: consumer, ring_events: {slots}, critical_ring_events: 64, spill_events: {slots}}}\n"
        )
    };
    let consumer = |name: &str, shard: &str, subscriptions: &[(&str, &str)]| {
        let rules = [("trade", "lossless"), ("book", "book"), ("ticker", "latest")];
        let subscriptions = subscriptions.iter().map(|(instruments, channels)| {
            let rules = rules.iter().filter(|(channel, _)| channels.contains(channel));
            let rules: Vec<_> = rules.map(|(channel, rule)| format!("{channel}: {rule}")).collect();
            let depth = if channels.contains("book") { format!(", book_depth: {BOOK_DEPTH}") } else { String::new() };
            format!(
                "      - {{provider: binance, instruments: {instruments}, channels: [{channels}], delivery: {{{}}}{depth}}}\n",
                rules.join(", ")
            )
        });
        format!(
            "  - name: {name}\n    kind: counter\n    shard: {shard}\n    trading: false\n    on_panic: disable\n    \
             subscriptions:\n{}",
            subscriptions.collect::<String>()
        )
    };
    let (others, all) = (
        "[ETH-USDT, SOL-USDT, BNB-USDT, XRP-USDT, DOGE-USDT, ADA-USDT, AVAX-USDT, LINK-USDT, DOT-USDT]",
        "trade, book, ticker",
    );
    let text = format!(
        "version: 1\nhost: shared\nshards:\n  - {{name: md0, core: {first}, role: provider, pools: {{frames: 200, raws: 200, \
         events: 300, merged: 50, order_requests: 20, execution_reports: 20}}, order_ring_requests: 64}}\n{}{}simulated: \
         {{seed: {}, messages_per_instrument_per_s: {}, speed: 1.0, book_levels: 300}}\nproviders:\n  - {{name: binance, venue: \
         binance, product: spot, shard: md0, endpoints: simulated, lines: 1, instruments: [BTC-USDT, ETH-USDT, SOL-USDT, \
         BNB-USDT, XRP-USDT, DOGE-USDT, ADA-USDT, AVAX-USDT, LINK-USDT, DOT-USDT], channels: [trade, book, ticker], book: \
         {{depth_max: 1000, snapshot_limit: 1000, verify_s: 180}}, rest_weight_share: 0.8, reorder: {{lateness_ms: 150, \
         flush_ms: 50, held_events_max: 200}}}}\nmerges: []\nconsumers:\n{}{}control: {{listen: 127.0.0.1:0, core: \
         any}}\nreport: {{dir: report, interval_ms: 200}}\n",
        shard("sleepers", RING_PARTS as usize),
        shard("healthy", 16_384),
        options.seed,
        options.rate,
        consumer("one", "sleepers", &[("[BTC-USDT]", "trade")])
            + &consumer("many", "sleepers", &[(others, all), ("[BTC-USDT]", "book, ticker")]),
        consumer("healthy", "healthy", &[("all", all)]),
    );
    let against = Against { cores: Some(&cores), consumer_kinds: &["counter"], simulated_lists: None };
    topology::read("overload.yaml", &text, against).map_err(|errors| errors.to_string())
}
