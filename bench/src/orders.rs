//! `bench orders`: how long an order takes from its consumer to the socket, and a report from the socket to its consumer,
//! by the gateway's own stages, through the gateway as it runs.
//!
//! One consumer sends market orders at a pace to a simulated venue, which acknowledges and fills each. Where shards spin, the
//! venue has its turns on the consumer's core, as the sender of `bench latency` has: a thread of its own would take one of
//! the two cores just when a shard must answer. Its own time is in no stage, but a report that comes while it works waits
//! for the end of its turn.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use engine::consumer::{Consumer, Context};
use engine::decimal::Number;
use engine::event::Event;
use engine::ids::{InstrumentId, ProviderId};
use engine::orders::{DecisionId, OrderEvent, OrderRequest, OrderSide, ReportState};
use engine::time::ReceiveTime;
use shards::host::{HostView as _, RealHost};
use shards::launch::{Factory, launch};
use shards::report::total::StageTotal;
use shards::topology::{self, Against};
use simvenues::{BinanceConfig, Driven, Product, VenueConfig};

use crate::round_trip;

/// What is traded: 0.001 BTC.
const QTY: Number = Number { mantissa: 1, decimals: 3 };
/// By how much the venue's limits on orders are raised.
const LIMITS_TIMES: u32 = 1_000;
/// Before the first order; books are proved by then.
const LEAD: Duration = Duration::from_secs(2);
/// After the last order.
const TAIL: Duration = Duration::from_millis(500);

/// How a run is set.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Orders a second; requests are limited to 100 a second.
    pub per_s: u64,
    /// Messages of market data a second beside them. On a provider that has none everything is cold: a core takes some 10 us
    /// to wake its wide registers.
    pub messages_per_s: f64,
    /// How long.
    pub time: Duration,
    /// Shards spin on cores of their own; else they park, and the venue has a thread.
    pub spin: bool,
    /// Sign with Ed25519 instead of HMAC.
    pub ed25519: bool,
}

/// What a run came to.
pub struct Outcome {
    /// How it was set.
    pub setting: Setting,
    /// Orders sent, acknowledged and filled.
    pub orders: [u64; 3],
    /// The stages of orders and reports that were counted.
    pub stages: Vec<(String, StageTotal)>,
    /// Round trip of a cache line before and after, in nanoseconds.
    pub round_trip_ns: (u64, u64),
}

/// Sent, acknowledged, filled.
#[derive(Debug, Default)]
struct Counts([AtomicU64; 3]);

impl Counts {
    fn add(&self, index: usize) {
        self.0[index].fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends orders, and moves the venue where that has no thread.
struct Trader {
    venue: Option<Driven>,
    every_ns: u64,
    next_at: ReceiveTime,
    end_at: ReceiveTime,
    time_ns: u64,
    traded: Option<(ProviderId, InstrumentId)>,
    decisions: u64,
    counts: Arc<Counts>,
}

impl Consumer for Trader {
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        if self.traded.is_none() {
            self.traded = Some((event.header.provider, event.header.instrument));
            self.next_at = context.now().plus_ns(LEAD.as_nanos() as u64);
            self.end_at = self.next_at.plus_ns(self.time_ns);
        }
    }

    fn on_order_event(&mut self, event: &OrderEvent, _: &mut Context<'_>) {
        if let OrderEvent::Report(report) = event {
            match report.state {
                ReportState::Ack => self.counts.add(1),
                ReportState::Filled => self.counts.add(2),
                _ => {}
            }
        }
    }

    fn timer_every_ns(&self) -> Option<u64> {
        Some(1) // in every turn
    }

    fn on_timer(&mut self, context: &mut Context<'_>) {
        // The order first: it counts from the beginning of the shard's turn.
        self.trade(context);
        if let Some(venue) = &mut self.venue {
            // A venue that is broken answers nothing, which the counts show.
            let _ = venue.turn();
        }
    }
}

impl Trader {
    fn trade(&mut self, context: &mut Context<'_>) {
        let Some((provider, instrument)) = self.traded else { return };
        let now = context.now();
        if now < self.next_at || now >= self.end_at {
            return;
        }
        self.next_at = self.next_at.plus_ns(self.every_ns);
        self.decisions += 1;
        // By turns, so that neither side of the account runs out.
        let side = if self.decisions.is_multiple_of(2) { OrderSide::Sell } else { OrderSide::Buy };
        let order = OrderRequest {
            provider,
            instrument,
            decision: DecisionId(self.decisions),
            ..OrderRequest::market(side, QTY)
        };
        if context.place(order).is_ok() {
            self.counts.add(0);
        }
    }
}

/// A directory for key and journal, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("meltica-bench-orders-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The simulated venue, wherever it has its turns.
enum Venue {
    Driven(Box<Driven>),
    Thread(simvenues::Server),
}

/// Runs one setting.
///
/// # Errors
/// What kept it from running, in words.
pub fn run(setting: Setting) -> Result<Outcome, String> {
    let cores = RealHost.cores().ok_or("this host does not say which cores it has")?;
    let mut allowed: Vec<u32> = cores.allowed.iter().collect();
    allowed.sort_unstable();
    let [first, second, ..] = allowed[..] else { return Err("two cores are needed".to_owned()) };
    let round_trip = || round_trip::round_trip_ns(first as usize, second as usize);
    let before_ns = round_trip();
    let words = |error: std::io::Error| format!("the simulated venue: {error}");
    let mut config = BinanceConfig::of(Product::Spot);
    config.instruments.truncate(1);
    config.messages_per_instrument_per_s = setting.messages_per_s;
    // The pace is the caller's, not that of one account.
    for limit in config.trading.iter_mut().flat_map(|trading| &mut trading.order_limits) {
        limit.max *= LIMITS_TIMES;
    }
    let (config, listen) = (VenueConfig::Binance(config), SocketAddr::from(([127, 0, 0, 1], 0)));
    let (venue, address, keys) = if setting.spin {
        let venue = simvenues::driven(listen, config).map_err(words)?;
        let (address, keys) = (venue.address().map_err(words)?, venue.keys());
        (Venue::Driven(Box::new(venue)), address, keys)
    } else {
        let server = simvenues::start(listen, config).map_err(words)?;
        let (address, keys) = (server.address(), server.faults().keys());
        (Venue::Thread(server), address, keys)
    };
    let scratch = Scratch::new()?;
    let key_file = scratch.0.join("binance.key");
    let pem = |text: &str| text.starts_with("-----BEGIN");
    let key = keys
        .iter()
        .find(|key| pem(&key.secret_text) == setting.ed25519)
        .ok_or("the venue has no such key")?;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&key_file)
        .and_then(|mut file| writeln!(file, "{}\n{}", key.name, key.secret_text))
        .map_err(|error| format!("{}: {error}", key_file.display()))?;
    let text = topology_text(&setting, (first, second), address, &key_file, &scratch.0);
    let kinds = ["trader"];
    let against = Against { cores: Some(&cores), consumer_kinds: &kinds, simulated_lists: None };
    let topology = topology::read("bench.yaml", &text, against).map_err(|error| error.to_string())?;
    let counts = Arc::new(Counts::default());
    let (driven, _server) = match venue {
        Venue::Driven(venue) => (Some(*venue), None),
        Venue::Thread(server) => (None, Some(server)),
    };
    let driven = Arc::new(Mutex::new(driven));
    let mut gateway = launch(topology, &|_, _| {
        let (driven, counts) = (Arc::clone(&driven), Arc::clone(&counts));
        Ok(Box::new(move || {
            Box::new(Trader {
                venue: driven.lock().unwrap_or_else(PoisonError::into_inner).take(),
                every_ns: 1_000_000_000 / setting.per_s.max(1),
                next_at: ReceiveTime::default(),
                end_at: ReceiveTime::default(),
                time_ns: setting.time.as_nanos() as u64,
                traded: None,
                decisions: 0,
                counts: Arc::clone(&counts),
            }) as Box<dyn Consumer>
        }) as Factory)
    })
    .map_err(|error| error.to_string())?;
    let mut reported = String::new();
    let end = Instant::now() + LEAD + setting.time + TAIL + Duration::from_secs(1);
    while Instant::now() < end {
        gateway.collector.collect();
        gateway.poll_statuses(drop);
        while let Some(report) = gateway.poll_report() {
            let _ = writeln!(reported, "{:?}", report.happening);
        }
        thread::sleep(Duration::from_millis(250)); // seldom: this thread takes its time from the cores that are measured
    }
    let ended = gateway.stop();
    gateway.collector.collect();
    if let Some((shard, reason)) = ended.panicked.first() {
        return Err(format!("shard {shard}: {reason}"));
    }
    let orders = [0, 1, 2].map(|index| counts.0[index].load(Ordering::Relaxed));
    if orders[2] == 0 {
        return Err(format!("no order of {} was filled:\n{reported}", orders[0]));
    }
    let of_orders = |stage: &str| STAGES.contains(&stage);
    let totals = gateway.collector.totals().filter(|(_, stage, total)| of_orders(stage) && total.count() > 0);
    let stages = totals.map(|(_, stage, total)| {
        let mut sum = StageTotal::new();
        sum.add(total);
        (stage, sum)
    });
    Ok(Outcome { setting, orders, stages: stages.collect(), round_trip_ns: (before_ns, round_trip()) })
}

/// What is shown, in this order of the way.
const STAGES: [&str; 5] =
    ["submit_to_ready", "ready_to_written", "submit_to_written", "written_to_ack", "report_to_delivered"];

/// An outcome as lines.
pub fn table(outcome: &Outcome) -> String {
    let Setting { per_s, messages_per_s, spin, ed25519, .. } = outcome.setting;
    let mut text = format!(
        "{per_s} orders and {messages_per_s} messages a second, {}, {}: {} sent, {} acknowledged, {} filled; round trip {}/{} ns before/after\n",
        if spin { "spin, the venue on the consumer's core" } else { "park, the venue on a thread" },
        if ed25519 { "Ed25519" } else { "HMAC" },
        outcome.orders[0],
        outcome.orders[1],
        outcome.orders[2],
        outcome.round_trip_ns.0,
        outcome.round_trip_ns.1,
    );
    for name in STAGES {
        for (stage, total) in outcome.stages.iter().filter(|(stage, _)| stage == name) {
            let us = |percentile: f64| total.latency_ns_at(percentile) as f64 / 1e3;
            let _ = writeln!(
                text,
                "  {stage:<20} {:>7} counted  p50 {:>8.2} us  p90 {:>8.2}  p99 {:>8.2}  max {:>9.1}",
                total.count(),
                us(50.0),
                us(90.0),
                us(99.0),
                us(100.0),
            );
        }
    }
    text
}

fn topology_text(
    setting: &Setting,
    (provider_core, consumer_core): (u32, u32),
    address: SocketAddr,
    key_file: &Path,
    scratch: &Path,
) -> String {
    let host = if setting.spin { "dedicated" } else { "shared" };
    format!(
        "version: 1
host: {host}
shards:
  - {{name: md0, core: {provider_core}, role: provider, pools: {{frames: 200, raws: 200, events: 300, merged: 50, order_requests: 20, execution_reports: 20}}, order_ring_requests: 64}}
  - {{name: trading, core: {consumer_core}, role: consumer, ring_events: 2048, critical_ring_events: 256, spill_events: 4096}}
providers:
  - name: venue
    venue: binance
    product: spot
    shard: md0
    endpoints: {{websocket: \"ws://{address}\", rest: \"http://{address}\"}}
    lines: 1
    instruments: [BTC-USDT]
    channels: [trade, book]
    book: {{depth_max: 1000, snapshot_limit: 1000, verify_s: 300}}
    rest_weight_share: 0.5
    orders: {{enabled: true, keys: {{file: \"{}\"}}, websocket: \"ws://{address}\", on_session_loss: keep, on_stop: cancel_mine}}
    reorder: {{lateness_ms: 150, flush_ms: 50, held_events_max: 200}}
merges: []
consumers:
  - name: trader
    kind: trader
    shard: trading
    trading: true
    limits: {{qty_max: 1, orders_per_s_max: 1000}}
    on_panic: disable
    subscriptions:
      - {{provider: venue, instruments: all, channels: [trade, book], delivery: {{trade: lossless, book: book}}, book_depth: 10}}
journal: {{dir: \"{}\", durability: batch, rotate_mib: 16, keep: 4}}
control: {{listen: \"127.0.0.1:0\", core: any}}
report: {{dir: report, interval_ms: 200}}
",
        key_file.display(),
        scratch.join("journal").display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_filled_and_their_stages_counted() {
        let setting = Setting {
            per_s: 20,
            messages_per_s: 20.0,
            time: Duration::from_secs(1),
            spin: false,
            ed25519: false,
        };
        let outcome = run(setting).expect("two cores, and a venue");
        let [sent, acknowledged, filled] = outcome.orders;
        assert!(sent >= 10 && acknowledged == sent && filled == sent, "{:?}", outcome.orders);
        for name in STAGES {
            assert!(outcome.stages.iter().any(|(stage, _)| stage == name), "{name} was not counted");
        }
        assert!(table(&outcome).contains("report_to_delivered"));
    }
}
