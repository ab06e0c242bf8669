//! Subscriptions added over HTTP under load: how long until the first event, and whether anybody else noticed.
//!
//! A simulated venue carries more instruments than the gateway was started with. One consumer receives what was there from
//! the start; another gets the rest added one by one through the control endpoint, and each has its time measured.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::consumer::{Consumer, Context};
use engine::event::Event;
use shards::control::thread::Control;
use shards::control::view::View;
use shards::host::{HostView as _, RealHost};
use shards::launch::{Factory, Gateway, launch};
use shards::live::Board;
use shards::report_of::ProviderSummary;
use shards::topology::{self, Against, Topology};
use simvenues::{BinanceConfig, Product, VenueConfig, default_instruments};

/// How long the start, and each first event, may take.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// Names of the phases, in their order.
const PHASES: [&str; 3] = ["before", "during", "after"];
/// Instruments that the gateway starts with; the venue has some more.
const CARRIED: usize = 20;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Instruments that are added, each with trades, book and ticker.
    pub instruments: usize,
    /// How long each of the three phases lasts.
    pub phase: Duration,
    /// Messages a second of each instrument.
    pub rate: u32,
    /// Of the market.
    pub seed: u64,
}

/// The others in one phase.
#[derive(Clone, Debug, Default)]
pub struct Others {
    /// From bytes read to handler, in nanoseconds: median, 99th percentile, largest.
    pub latency_ns: (u64, u64, u64),
    /// Event parts a second.
    pub events_per_s: f64,
    /// Gaps, resyncs, lost lines and dropped events in this phase.
    pub disturbances: u64,
}

/// The outcome.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// By added instrument: from the request to the answer, and to the first event of any of its streams.
    pub added: Vec<(String, Duration, Duration)>,
    /// By phase.
    pub others: Vec<Others>,
}

impl Verdict {
    /// Whether everything came and nobody else was disturbed.
    pub fn is_good(&self) -> bool {
        !self.added.is_empty() && self.others.iter().all(|others| others.disturbances == 0)
    }

    /// As a table.
    pub fn table(&self) -> String {
        let mut text = "added       answered ms  first event ms\n".to_owned();
        for (symbol, answered, first) in &self.added {
            let (answered, first) = (answered.as_secs_f64() * 1e3, first.as_secs_f64() * 1e3);
            let _ = writeln!(text, "{symbol:<11} {answered:>11.1} {first:>15.1}");
        }
        text += "others   events/s   p50 us   p99 us   max us  disturbances\n";
        for (phase, others) in PHASES.iter().zip(&self.others) {
            let (p50, p99, max) = others.latency_ns;
            let us = |ns: u64| ns as f64 / 1e3;
            let _ = writeln!(
                text,
                "{phase:<8} {:>8.0} {:>8.1} {:>8.1} {:>8.1} {:>13}",
                others.events_per_s,
                us(p50),
                us(p99),
                us(max),
                others.disturbances
            );
        }
        text + if self.is_good() { "good: everything came, nobody else was disturbed\n" } else { "BAD\n" }
    }
}

/// What the consumers saw.
#[derive(Debug, Default)]
struct Seen {
    /// Of the one that was there: latencies of the phase under way, in nanoseconds.
    latencies: Vec<u64>,
    /// Of the newcomer: the first event of each symbol.
    first: BTreeMap<String, Instant>,
}

struct Watch {
    seen: Arc<Mutex<Seen>>,
    newcomer: bool,
}

impl Consumer for Watch {
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        if event.kind().name().starts_with("Control") {
            return;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.newcomer {
            seen.latencies.push(context.now().since_ns(event.header.receive_time));
        } else if let Some(facts) = context.catalog().stream(event.header.provider, event.header.stream)
            && !seen.first.contains_key(&facts.symbol)
        {
            seen.first.insert(facts.symbol.clone(), Instant::now());
        }
    }
}

/// Runs it.
///
/// # Errors
/// What kept it from starting, or what did not come, in words.
pub fn run(options: &Options) -> Result<Verdict, String> {
    let mut config = BinanceConfig::of(Product::Spot);
    let all = default_instruments("USDT");
    config.instruments = all.iter().take(CARRIED + options.instruments).cloned().collect();
    config.messages_per_instrument_per_s = f64::from(options.rate);
    config.book_levels = 300;
    config.seed = options.seed;
    let symbols: Vec<String> = config.instruments.iter().map(simvenues::InstrumentSpec::symbol).collect();
    if symbols.len() <= CARRIED {
        return Err(format!("--instruments: 1 to {}", all.len().saturating_sub(CARRIED)));
    }
    let (carried, added) = symbols.split_at(CARRIED);
    let venue = simvenues::start(SocketAddr::from(([127, 0, 0, 1], 0)), VenueConfig::Binance(config))
        .map_err(|error| error.to_string())?;
    let topology = topology_of(venue.address(), carried)?;
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let mut gateway = launch(topology, &|plan, _| {
        let (seen, newcomer) = (Arc::clone(&seen), plan.name == "newcomer");
        Ok(Box::new(move || Box::new(Watch { seen: Arc::clone(&seen), newcomer }) as Box<dyn Consumer>)
            as Factory)
    })
    .map_err(|error| error.to_string())?;
    let start = gateway.take_control().ok_or("the control was taken")?;
    let control = Control::start(start).map_err(|error| error.to_string())?;
    let mut run = Run { gateway, board: Board::default(), control, seen };
    run.wait("all books proved", |run| {
        run.board.providers().any(|status| status.books > 0 && status.books_proved == status.books)
    })?;
    let mut verdict = Verdict { added: Vec::new(), others: Vec::new() };
    run.begin_phase();
    let mut before = run.disturbances();
    for phase in 0..PHASES.len() {
        let began = Instant::now();
        if phase == 1 {
            let pause = options.phase / added.len() as u32;
            for symbol in added {
                verdict.added.push(run.add(symbol)?);
                run.rest(pause);
            }
        } else {
            run.rest(options.phase);
        }
        let now = run.disturbances();
        verdict.others.push(Others { disturbances: now - before, ..run.end_phase(began.elapsed()) });
        before = now;
    }
    run.control.stop();
    let ended = run.gateway.stop();
    if let Some((shard, reason)) = ended.panicked.first() {
        return Err(format!("shard {shard}: {reason}"));
    }
    if let Some(reason) = ended.providers.iter().find_map(ProviderSummary::unbalanced) {
        return Err(format!("counters do not add up: {reason}"));
    }
    Ok(verdict)
}

struct Run {
    gateway: Gateway,
    board: Board,
    control: Control,
    seen: Arc<Mutex<Seen>>,
}

impl Run {
    fn poll(&mut self) {
        let Self { gateway, board, .. } = self;
        gateway.collector.collect();
        gateway.poll_statuses(|status| board.take(status));
        while gateway.poll_report().is_some() {}
        self.control.show(View::of(&self.gateway.collector, self.gateway.loop_counters(), &self.board, 1));
    }

    fn rest(&mut self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            self.poll();
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        let began = Instant::now();
        loop {
            self.poll();
            if done(self) {
                return Ok(());
            }
            if let Some(shard) = self.gateway.fallen() {
                return Err(format!("shard {shard} fell"));
            }
            if began.elapsed() > WAIT_MAX {
                return Err(format!("no {what} within {} s", WAIT_MAX.as_secs()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Adds an instrument over HTTP; gives the time to the answer and to the first event.
    fn add(&mut self, symbol: &str) -> Result<(String, Duration, Duration), String> {
        let body = format!(
            "{{\"consumer\":\"newcomer\",\"provider\":\"binance\",\"instruments\":[\"{symbol}\"],\
             \"channels\":[\"trade\",\"book\",\"ticker\"]}}"
        );
        let began = Instant::now();
        post(self.control.address(), "/v1/subscriptions", &body)?;
        let answered = began.elapsed();
        let first = |run: &Self| {
            let seen = run.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.first.get(symbol).copied()
        };
        self.wait(&format!("event of {symbol}"), |run| first(run).is_some())?;
        let first = first(self).map_or(Duration::ZERO, |at| at.saturating_duration_since(began));
        Ok((symbol.to_owned(), answered, first))
    }

    fn begin_phase(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Room for a long phase, so that its growth is no latency.
        seen.latencies = Vec::with_capacity(1 << 22);
    }

    fn end_phase(&self, lasted: Duration) -> Others {
        let mut latencies = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut seen.latencies, Vec::with_capacity(1 << 22))
        };
        latencies.sort_unstable();
        let at = |permille: usize| {
            let last = latencies.len().saturating_sub(1);
            latencies.get((latencies.len() * permille / 1_000).min(last)).copied().unwrap_or(0)
        };
        let events_per_s = latencies.len() as f64 / lasted.as_secs_f64();
        Others { latency_ns: (at(500), at(990), at(1_000)), events_per_s, disturbances: 0 }
    }

    /// What a change must not add to.
    fn disturbances(&self) -> u64 {
        let one = |status: &shards::status::ProviderStatus| {
            let dropped: u64 = status.outputs.iter().map(|output| output.counts.dropped_total).sum();
            dropped + status.counts.gaps_total + status.counts.resyncs_total + status.lost_total
        };
        self.board.providers().map(one).sum()
    }
}

/// Sends a JSON body; anything but 200 is an error with the answer.
fn post(address: SocketAddr, path: &str, body: &str) -> Result<(), String> {
    let words = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&address, WAIT_MAX).map_err(words)?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).map_err(words)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(words)?;
    if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer) }
}

/// One provider with two consumers, on the first and the last core of this process.
fn topology_of(venue: SocketAddr, carried: &[String]) -> Result<Topology, String> {
    let cores = RealHost.cores().ok_or("this host does not say which cores it has")?;
    let mut allowed: Vec<u32> = cores.allowed.iter().collect();
    allowed.sort_unstable();
    let (Some(first), Some(last)) = (allowed.first(), allowed.last()) else {
        return Err("this process runs on no core".to_owned());
    };
    let shard = |name: &str| {
        format!(
            "  - {{name: {name}, core: {last}, role: consumer, ring_events: 16384, critical_ring_events: 64, \
             spill_events: 16384}}\n"
        )
    };
    let consumer = |name: &str, shard: &str, instruments: &str| {
        format!(
            "  - {{name: {name}, kind: watch, shard: {shard}, trading: false, on_panic: disable, subscriptions: \
             [{{provider: binance, instruments: {instruments}, channels: [trade, book, ticker], delivery: \
             {{trade: lossless, book: book, ticker: latest}}, book_depth: 50}}]}}\n"
        )
    };
    let text = format!(
        "version: 1\nhost: shared\nshards:\n  - {{name: md0, core: {first}, role: provider, pools: {{frames: 200, raws: \
         200, events: 300, merged: 50, order_requests: 20, execution_reports: 20}}, order_ring_requests: 64}}\n{}{}\
         providers:\n  - {{name: binance, venue: binance, product: spot, shard: md0, endpoints: {{websocket: \
         'ws://{venue}', rest: 'http://{venue}'}}, lines: 1, instruments: [{}], channels: [trade, book, ticker], book: \
         {{depth_max: 1000, snapshot_limit: 1000, verify_s: 180}}, rest_weight_share: 0.8, reorder: {{lateness_ms: 150, \
         flush_ms: 50, held_events_max: 200}}}}\nmerges: []\nconsumers:\n{}{}control: {{listen: 127.0.0.1:0, core: \
         any}}\nreport: {{dir: report, interval_ms: 1000}}\n",
        shard("old"),
        shard("new"),
        carried.join(", "),
        consumer("others", "old", "all"),
        consumer("newcomer", "new", &format!("[{}]", carried[0])),
    );
    let against = Against { cores: Some(&cores), consumer_kinds: &["watch"], simulated_lists: None };
    topology::read("subscribe.yaml", &text, against).map_err(|errors| errors.to_string())
}
