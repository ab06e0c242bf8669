//! Orders of the running gateway at three simulated venues, under load and through storms of lost sessions.
//!
//! One consumer a venue places orders that rest, takes with others and cancels, and notes all that it hears. It is idle
//! first; then the market floods a shard whose other consumer is slow, so that the rings of market data are full; then
//! sessions are lost, one after the other, and what rests is filled while nobody listens. In the end the venues say what is
//! true: every order, its state, its fills; no report may be missing, and what was recovered is what happened meanwhile.

mod trader;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine::consumer::{Consumer, Context};
use engine::event::Event;
use shards::host::{HostView as _, RealHost};
use shards::launch::{Factory, Gateway, launch};
use shards::report::table::latency;
use shards::stages::Stage;
use shards::topology::{self, Against, Topology};
use simvenues::exchange::{OrderFault, TradingTruth};
use simvenues::{Fault, VenueFault};

use self::trader::{Notes, Trader};
use crate::running::{Run, Told, between, latencies};

/// Venues: name, product, quote asset, how books are kept.
const VENUES: [(&str, &str, &str, &str); 3] = [
    ("binance", "spot", "USDT", "depth_max: 1000, snapshot_limit: 1000"),
    ("kraken", "spot", "USD", "depth_max: 100"),
    ("coinbase", "advanced", "USD", "depth_max: 1000"),
];
/// Messages a second of each of the nine instruments in the quiet market.
const RATE_QUIET: f64 = 20.0;
/// How long a session is out.
const OUTAGE_NS: u64 = 150_000_000;
/// How long the slow consumer is at each event while it is slow.
const SLOW: Duration = Duration::from_micros(400);
/// How long one thing may take. Long, because test machines are busy, and Kraken's limit on questions makes a recovery wait
/// after many outages in a row.
const WAIT_MAX: Duration = Duration::from_mins(4);

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sessions to lose, over all venues.
    pub disconnects: u32,
    /// A quarter of it quiet, a quarter overloaded, the rest for the storms, which take as long as they need.
    pub duration: Duration,
    /// Messages a second of each of the nine instruments in the overload.
    pub rate: u32,
    /// Of the market.
    pub seed: u64,
    /// A directory for the journal; removed at the end.
    pub home: PathBuf,
}

/// What came of one venue.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// The provider's name.
    pub provider: &'static str,
    /// Orders that the venue accepted.
    pub orders: usize,
    /// Fills there.
    pub fills: usize,
    /// Reports that the consumer got.
    pub reports: u64,
    /// Sessions that were cut.
    pub outages: u32,
    /// Pairs of `SessionGap` and `SessionRestored` that the consumer got for them.
    pub pairs: u32,
    /// Fills at the venue during the outages.
    pub filled_meanwhile: usize,
    /// Recovered reports by the count of `SessionRestored`.
    pub recovered: u64,
}

/// Latencies of one stage, idle and overloaded: percentiles 50, 99, 99.9 and the largest, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// The stage.
    pub stage: Stage,
    /// Without load.
    pub idle_ns: [u64; 4],
    /// With full rings and a slow consumer.
    pub overload_ns: [u64; 4],
}

/// The outcome.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// By provider.
    pub rows: Vec<Row>,
    /// By stage.
    pub latencies: Vec<Compared>,
    /// How often an event of market data found its ring full in the overload.
    pub ring_full_total: u64,
    /// Reports that were delivered meanwhile.
    pub overload_reports: u64,
    /// What must not be.
    pub broken: Vec<String>,
}

impl Verdict {
    /// Whether nothing was lost, and the overload was one.
    pub fn is_good(&self) -> bool {
        self.broken.is_empty() && self.ring_full_total > 0 && self.overload_reports > 0
    }

    /// As tables.
    pub fn table(&self) -> String {
        let mut text =
            "provider  orders  fills  reports  outages  pairs  filled meanwhile  recovered\n".to_owned();
        for row in &self.rows {
            let _ = writeln!(
                text,
                "{:<9} {:>6} {:>6} {:>8} {:>8} {:>6} {:>17} {:>10}",
                row.provider,
                row.orders,
                row.fills,
                row.reports,
                row.outages,
                row.pairs,
                row.filled_meanwhile,
                row.recovered
            );
        }
        let _ =
            writeln!(text, "{:<20} {:<9} {:>8} {:>8} {:>8} {:>8}", "stage", "", "p50", "p99", "p99.9", "max");
        for compared in &self.latencies {
            for (name, figures) in [("idle", compared.idle_ns), ("overload", compared.overload_ns)] {
                let [p50, p99, p99_9, max] = figures.map(latency);
                let stage = compared.stage.name();
                let _ = writeln!(text, "{stage:<20} {name:<9} {p50:>8} {p99:>8} {p99_9:>8} {max:>8}");
            }
        }
        let _ = writeln!(
            text,
            "overload: rings found full {} times, {} reports delivered",
            self.ring_full_total, self.overload_reports
        );
        for line in &self.broken {
            let _ = writeln!(text, "BROKEN: {line}");
        }
        text + if self.is_good() { "good: no report lost, states as at the venues\n" } else { "BAD\n" }
    }
}

/// Runs it.
///
/// # Errors
/// What kept it from starting, or from going on, in words.
pub fn run(options: &Options) -> Result<Verdict, String> {
    let notes: Vec<Notes> = VENUES.iter().map(|_| Notes::default()).collect();
    let is_slow = Arc::new(AtomicBool::new(false));
    let (made, slow) = (notes.clone(), Arc::clone(&is_slow));
    let mut gateway = launch(topology_of(options)?, &move |plan, _| {
        let number = VENUES.iter().position(|(name, ..)| *name == plan.name);
        let own = number.map(|number| (number, made[number].clone()));
        let slow = Arc::clone(&slow);
        Ok(Box::new(move || match &own {
            Some((number, notes)) => Box::new(Trader::new(*number, notes.clone())) as Box<dyn Consumer>,
            None => Box::new(Slow(Arc::clone(&slow))),
        }) as Factory)
    })
    .map_err(|error| error.to_string())?;
    let mut run =
        Orders { told: Told::default(), notes, is_slow, rows: Vec::new(), overload_reports: 0, full: 0 };
    let outcome = run.through(options, &mut gateway);
    let ended = gateway.stop();
    let latencies = outcome?;
    if let Some((shard, reason)) = ended.panicked.first() {
        return Err(format!("shard {shard}: {reason}"));
    }
    let mut broken = Vec::new();
    for (number, row) in run.rows.iter_mut().enumerate() {
        let truth = truth(&gateway, number);
        (row.orders, row.fills) = (truth.orders.len(), truth.fills.len());
        run.notes[number].judge(row, &truth, &mut broken);
    }
    let _ = std::fs::remove_dir_all(&options.home);
    let Orders { rows, full, overload_reports, .. } = run;
    Ok(Verdict { rows, latencies, ring_full_total: full, overload_reports, broken })
}

/// What venue number `venue` knows.
fn truth(gateway: &Gateway, venue: usize) -> TradingTruth {
    gateway.simulation.server(venue).map(|server| server.faults().trading()).unwrap_or_default()
}

struct Orders {
    told: Told,
    notes: Vec<Notes>,
    is_slow: Arc<AtomicBool>,
    rows: Vec<Row>,
    overload_reports: u64,
    full: u64,
}

impl Run for Orders {
    const WAIT_MAX: Duration = WAIT_MAX;

    fn told(&mut self) -> &mut Told {
        &mut self.told
    }

    fn why(&self) -> String {
        let notes: Vec<String> = self.notes.iter().map(|at| format!("{:?}", at.lock())).collect();
        format!("; {}", notes.join("; "))
    }
}

impl Orders {
    fn through(&mut self, options: &Options, gateway: &mut Gateway) -> Result<Vec<Compared>, String> {
        self.rows = VENUES.iter().map(|&(provider, ..)| Row { provider, ..Row::default() }).collect();
        self.wait(gateway, "orders at every venue", |run| run.notes.iter().all(|at| at.lock().reports > 4))?;
        let zero = latencies(gateway, STAGES);
        self.pass(gateway, options.duration / 4)?;
        let idle = latencies(gateway, STAGES);
        let (reports, full) = (self.reports(), self.ring_full());
        self.load(gateway, f64::from(options.rate), true);
        self.pass(gateway, options.duration / 4)?;
        self.wait(gateway, "full rings and reports", |run| {
            run.ring_full() > full && run.reports() > reports
        })?;
        (self.overload_reports, self.full) = (self.reports() - reports, self.ring_full() - full);
        let overload = latencies(gateway, STAGES);
        self.load(gateway, RATE_QUIET, false);
        let (began, storms_take) = (Instant::now(), options.duration / 2);
        for storm in 0..options.disconnects {
            while began.elapsed() < storms_take * storm / options.disconnects {
                self.pass(gateway, Duration::from_millis(10))?;
            }
            self.cut(gateway, storm as usize % VENUES.len())?;
            if (storm + 1).is_multiple_of(20) {
                eprintln!(
                    "{} of {} sessions cut in {} s",
                    storm + 1,
                    options.disconnects,
                    began.elapsed().as_secs()
                );
            }
        }
        for notes in &self.notes {
            notes.lock().holds_still = true;
        }
        self.wait(gateway, "answers", |run| run.notes.iter().all(|at| at.lock().is_settled()))?;
        let stages = STAGES.iter().enumerate().map(|(at, &stage)| Compared {
            stage,
            idle_ns: between(&zero[at], &idle[at]),
            overload_ns: between(&idle[at], &overload[at]),
        });
        Ok(stages.collect())
    }

    /// Cuts the sessions of one venue and fills what rests there while nobody listens.
    fn cut(&mut self, gateway: &mut Gateway, venue: usize) -> Result<(), String> {
        self.wait(gateway, "a resting order", |run| {
            let mut notes = run.notes[venue].lock();
            notes.holds_still |= notes.is_live && notes.resting() > 0;
            notes.holds_still
        })?;
        self.wait(gateway, "answers", |run| run.notes[venue].lock().is_settled())?;
        let before = truth(gateway, venue).fills.len();
        let (pairs, recovered) = {
            let notes = self.notes[venue].lock();
            (notes.pairs, notes.recovered)
        };
        let fault = OrderFault::FillDuringOutage { percent: 100, for_ns: OUTAGE_NS };
        if let Some(server) = gateway.simulation.server(venue) {
            server.faults().inject(Fault::Venue(VenueFault::Orders(fault)));
        }
        self.wait(gateway, "a session after the outage", |run| run.notes[venue].lock().pairs > pairs)?;
        let filled = truth(gateway, venue).fills.len() - before;
        let mut notes = self.notes[venue].lock();
        if notes.recovered - recovered != filled as u64 {
            let counted = notes.recovered - recovered;
            notes.broken.push(format!("{filled} fills in an outage, {counted} recovered"));
        }
        notes.holds_still = false;
        drop(notes);
        self.rows[venue].outages += 1;
        self.rows[venue].filled_meanwhile += filled;
        Ok(())
    }

    fn load(&self, gateway: &Gateway, rate: f64, slow: bool) {
        self.is_slow.store(slow, Ordering::Relaxed);
        for venue in 0..VENUES.len() {
            if let Some(server) = gateway.simulation.server(venue) {
                server.set_rate(rate);
            }
        }
    }

    fn reports(&self) -> u64 {
        self.notes.iter().map(|notes| notes.lock().reports).sum()
    }

    fn ring_full(&self) -> u64 {
        let outputs = self.told.board.providers().flat_map(|at| &at.outputs[..usize::from(at.output_count)]);
        outputs.map(|output| output.state.full_total).sum()
    }
}

/// What is compared.
const STAGES: [Stage; 3] = [Stage::SubmitToWritten, Stage::WrittenToAck, Stage::ReportToDelivered];

/// A consumer that takes its time over each event, while it is told to.
struct Slow(Arc<AtomicBool>);

impl Consumer for Slow {
    fn on_event(&mut self, _: &Event, _: &mut Context<'_>) {
        if self.0.load(Ordering::Relaxed) {
            std::thread::sleep(SLOW);
        }
    }
}

fn topology_of(options: &Options) -> Result<Topology, String> {
    let cores = RealHost.cores().ok_or("this host does not say which cores it has")?;
    let mut allowed: Vec<u32> = cores.allowed.iter().collect();
    allowed.sort_unstable();
    let (Some(first), Some(last)) = (allowed.first(), allowed.last()) else {
        return Err("this process runs on no core".to_owned());
    };
    let (mut providers, mut traders, mut slow) = (String::new(), String::new(), String::new());
    for (name, product, quote, book) in VENUES {
        let _ = writeln!(
            providers,
            "  - {{name: {name}, venue: {name}, product: {product}, shard: md0, endpoints: simulated, lines: 1, instruments: \
             [BTC-{quote}, ETH-{quote}, SOL-{quote}], channels: [trade, book], book: {{{book}, verify_s: 180}}, \
             rest_weight_share: 0.8, orders: {{enabled: true, on_session_loss: keep, on_stop: cancel_mine}}, reorder: \
             {{lateness_ms: 150, flush_ms: 50, held_events_max: 200}}}}"
        );
        let _ = writeln!(
            traders,
            "  - {{name: {name}, kind: trader, shard: strategies, trading: true, on_panic: disable, subscriptions: [{{provider: \
             {name}, instruments: [SOL-{quote}], channels: [trade], delivery: {{trade: lossless}}}}]}}"
        );
        let _ = writeln!(
            slow,
            "      - {{provider: {name}, instruments: all, channels: [trade, book], delivery: {{trade: lossless, book: book}}, \
             book_depth: 20}}"
        );
    }
    let text = format!(
        "version: 1\nhost: shared\nshards:\n  - {{name: md0, core: {first}, role: provider, pools: {{frames: 200, raws: 200, \
         events: 300, merged: 50, order_requests: 20, execution_reports: 20}}, order_ring_requests: 64}}\n  - {{name: \
         strategies, core: {last}, role: consumer, ring_events: 512, critical_ring_events: 64, spill_events: 512}}\n\
         simulated: {{seed: {seed}, messages_per_instrument_per_s: {RATE_QUIET}, speed: 1.0, book_levels: 200}}\n\
         providers:\n{providers}merges: []\nconsumers:\n{traders}  - name: slow\n    kind: trader\n    shard: strategies\n    \
         trading: false\n    on_panic: disable\n    subscriptions:\n{slow}journal: {{dir: {home}/journal, durability: batch, \
         rotate_mib: 16, keep: 2}}\ncontrol: {{listen: 127.0.0.1:0, core: any}}\nreport: {{dir: {home}/report, interval_ms: \
         200}}\n",
        seed = options.seed,
        home = options.home.display(),
    );
    let against = Against { cores: Some(&cores), consumer_kinds: &["trader"], simulated_lists: None };
    topology::read("orders.yaml", &text, against).map_err(|errors| errors.to_string())
}
