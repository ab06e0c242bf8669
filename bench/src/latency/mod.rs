//! `bench latency`: how long a message takes from the moment that it was meant to leave to a consumer's handler, through
//! the gateway as it runs: socket, frame, decode, order, book, ring, host.
//!
//! Open loop: messages leave by a schedule whatever became of those before, and latency counts from the schedule, so that a
//! stall costs every message that it delays. Between a row and the next the raw round trip of a cache line between the two
//! cores is taken: on virtual machines it moves, and every figure that crosses cores moves with it.
//!
//! On two cores the sender runs in the consumer's core's own turns (three spinning threads do not fit); with a third core, or
//! parked, it has a thread of its own.

pub mod fan_out;
pub mod load;
pub mod reader;
pub mod schedule;
pub mod sender;
pub mod venue;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use engine::consumer::Consumer;
use hdrhistogram::Histogram;
use shards::host::{HostView as _, RealHost};
use shards::launch::{Ended, Factory, launch};
use shards::topology::{self, Against};

use crate::counting;
use crate::idle::ThreadFigures;
use crate::rig::symbols;
use crate::round_trip;
use fan_out::FanOut;
use load::{Load, Pace, RECORDED_SYMBOL, Recording};
use reader::{Reader, Results, Seen};
use schedule::{Frames, Schedule};
use sender::{Sender, Shared};
use venue::Venue;

/// Instruments of each row.
const INSTRUMENTS: usize = 16;
/// After the last message was sent, until what is under way must have come.
const TAIL: Duration = Duration::from_millis(300);
/// How long a row may take to connect.
const CONNECT_MAX: Duration = Duration::from_secs(20);

/// One row's setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Messages a second; of a recording they follow from its pace.
    pub rate: u64,
    /// The pace of a recording; `None` for messages made here.
    pub pace: Option<Pace>,
    /// Consumers, divided between the shards.
    pub consumers: usize,
    /// Consumer shards; on cores of their own as far as there are any, if they do not spin.
    pub shards: usize,
    /// Shards spin on cores of their own; else they park.
    pub spin: bool,
    /// `wss://`.
    pub tls: bool,
    /// Measured time.
    pub duration: Duration,
    /// Time before that.
    pub warm_up: Duration,
}

/// One row's outcome.
pub struct Row {
    /// What was set.
    pub setting: Setting,
    /// Over all consumers.
    pub seen: Seen,
    /// Messages that came to the first consumer after the warm-up.
    pub messages: u64,
    /// Messages that should have.
    pub expected: u64,
    /// Allocations of the threads of the data path after the warm-up.
    pub allocations: u64,
    /// Time on a core of provider and consumer thread a message, in nanoseconds.
    pub cpu_ns_per_message: u64,
    /// Memory of the process at the end, in MiB.
    pub rss_mib: u64,
    /// From the first consumer's handler to the last one's; `None` for one consumer.
    pub fan_out: Option<FanOut>,
    /// Percentiles of the gateway's own stages: shard, stage, p50, p99, in nanoseconds. The warm-up is in them.
    pub stages: Vec<(String, String, u64, u64)>,
    /// What each shard's thread did in the whole run.
    pub threads: Vec<ThreadFigures>,
    /// Round trip of a cache line before and after, in nanoseconds.
    pub round_trip_ns: (u64, u64),
}

impl Row {
    /// Messages a second that came.
    pub fn rate(&self) -> f64 {
        let (first_ns, last_ns) = self.seen.span_ns;
        if last_ns <= first_ns {
            return 0.0;
        }
        (self.messages.saturating_sub(1)) as f64 * 1e9 / (last_ns - first_ns) as f64
    }

    /// Whether the gateway kept up: everything came, at the rate that was asked for.
    pub fn kept_up(&self) -> bool {
        self.messages == self.expected
            && (self.setting.pace.is_some() || self.rate() > 0.97 * self.setting.rate as f64)
    }
}

/// The heading of [`line()`].
pub const HEADING: &str = "    rate  cons  mode  link |     achieved |  intended -> handler (us)           |  wire -> handler (us)      |  receive -> handler (us)   | \
    CPU/msg  alloc  RSS | round trip\n    /s                     |           /s |    p50     p99   p99.9       max   |    p50     p99   p99.9     |    p50     p99   p99.9     | \
         ns          MiB | ns before/after";

/// A row as a line.
pub fn line(row: &Row) -> String {
    let us = |histogram: &Histogram<u64>, quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
    let three = |histogram: &Histogram<u64>| {
        format!("{:>6.2} {:>7.2} {:>7.1}", us(histogram, 0.5), us(histogram, 0.99), us(histogram, 0.999))
    };
    let setting = &row.setting;
    let mut text = format!(
        "{:>8} {:>5}  {:<5} {:<4} | {:>12.0} | {} {:>9.1}   | {}     | {}     | {:>7} {:>6} {:>4} | {}/{}",
        setting.pace.map_or_else(|| setting.rate.to_string(), |pace| pace.to_string()),
        setting.consumers,
        if setting.spin { "spin" } else { "park" },
        if setting.tls { "wss" } else { "ws" },
        row.rate(),
        three(&row.seen.intended),
        row.seen.intended.max() as f64 / 1e3,
        three(&row.seen.wire),
        three(&row.seen.receive),
        row.cpu_ns_per_message,
        row.allocations,
        row.rss_mib,
        row.round_trip_ns.0,
        row.round_trip_ns.1,
    );
    if row.messages != row.expected {
        let _ = write!(text, "  {} of {} messages came, {} gaps", row.messages, row.expected, row.seen.gaps);
    }
    text
}

/// Runs one row, with the recording if the setting has a pace.
///
/// # Errors
/// What kept it from running, in words.
pub fn run(setting: Setting, recording: Option<&Recording>) -> Result<Row, String> {
    let cores = RealHost.cores().ok_or("this host does not say which cores it has")?;
    let mut allowed: Vec<u32> = cores.allowed.iter().collect();
    allowed.sort_unstable();
    let [first, second, rest @ ..] = allowed.as_slice() else {
        return Err("two cores are needed".to_owned());
    };
    counting::reset();
    let before_ns = round_trip::round_trip_ns(*first as usize, *second as usize);
    let recorded = match setting.pace {
        Some(pace) => Some((pace, recording.ok_or("a pace wants a recording")?)),
        None => None,
    };
    let names = recorded.map_or_else(|| symbols(INSTRUMENTS), |_| vec![RECORDED_SYMBOL.to_owned()]);
    let (load, messages, warm) = if let Some((pace, recording)) = recorded {
        let load = Load::Recorded(recording.at_pace(pace, setting.duration.as_nanos() as u64));
        let (messages, warm) = load.recorded().expect("it is one");
        (load, messages, warm)
    } else {
        let schedule = Schedule { instruments: INSTRUMENTS as u64, rate: setting.rate };
        let of = |time: Duration| (time.as_secs_f64() * setting.rate as f64) as u64;
        let warm = of(setting.warm_up);
        (Load::Made(schedule, Frames::new(schedule, &names)), warm + of(setting.duration), warm)
    };
    let shared = Arc::new(Shared::new(Arc::new(load), messages, warm, setting.consumers));
    let identity = if setting.tls { Some(Identity::new()?) } else { None };
    let tls = identity.as_ref().map(|identity| Arc::clone(&identity.config));
    let venue = Venue::start(&names, tls, recorded.map(|(_, recording)| recording.snapshot.clone()))
        .map_err(|error| format!("the venue: {error}"))?;
    let consumer_cores = if setting.spin { &allowed[1..2] } else { &allowed[1..] };
    let text = topology_text(&setting, &names, (*first, consumer_cores), venue.address, identity.as_ref());
    let kinds = ["reader"];
    let against = Against { cores: Some(&cores), consumer_kinds: &kinds, simulated_lists: None };
    let topology = topology::read("bench.yaml", &text, against).map_err(|error| error.to_string())?;
    let sender = Sender::new(Arc::clone(&shared), venue.subscribed);
    let mut sender = Some(sender);
    let own_thread = if !setting.spin || !rest.is_empty() {
        let sender = sender.take().expect("there is one sender");
        Some(SenderThread::start(sender, setting.spin.then(|| rest.first().copied()).flatten()))
    } else {
        None
    };
    let results = Results::default();
    // Made once, on the shard; the sender goes with the first.
    let sender = Arc::new(Mutex::new(sender));
    let mut gateway = launch(topology, &|plan, _| {
        let (shared, results, sender) = (Arc::clone(&shared), Arc::clone(&results), Arc::clone(&sender));
        let is_first = plan.name == "reader0";
        Ok(Box::new(move || {
            let sender =
                if is_first { sender.lock().unwrap_or_else(PoisonError::into_inner).take() } else { None };
            Box::new(Reader::new(Arc::clone(&shared), sender, Arc::clone(&results))) as Box<dyn Consumer>
        }) as Factory)
    })
    .map_err(|error| error.to_string())?;
    let began = Instant::now();
    let mut reported = String::new();
    while !shared.has_ended() {
        gateway.collector.collect();
        gateway.poll_statuses(drop);
        while let Some(report) = gateway.poll_report() {
            let _ = writeln!(reported, "{:?}", report.happening);
        }
        if shared.sent() == 0 && began.elapsed() > CONNECT_MAX {
            gateway.stop();
            return Err(format!("the gateway did not connect:\n{reported}"));
        }
        // Seldom: this thread takes its time from the cores that are measured.
        thread::sleep(Duration::from_millis(250));
    }
    thread::sleep(TAIL);
    counting::end();
    let rss_mib = rss_mib();
    let tids: Vec<_> = gateway.threads().map(|(shard, tid, _)| (shard, tid)).collect();
    let ran = began.elapsed();
    let ended = gateway.stop();
    gateway.collector.collect();
    drop(own_thread);
    if let Some((shard, reason)) = ended.panicked.first() {
        return Err(format!("shard {shard}: {reason}"));
    }
    let stages = gateway.collector.totals().map(|(identity, stage, total)| {
        let at = |percentile| total.latency_ns_at(percentile);
        (identity.name.clone(), stage, at(50.0), at(99.0))
    });
    let stages = stages.collect();
    let threads = ended.usage.iter().filter_map(|(shard, usage, counters)| {
        let tid = tids.iter().find(|(of, _)| of == shard)?.1;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Some(ThreadFigures {
            name: gateway.topology.shard(*shard).name.clone(),
            tid,
            cpu_ns: usage.as_ref()?.cpu_ns?,
            ran,
            turns: read(&counters.turns),
            turns_idle: read(&counters.turns_idle),
            sleeps: read(&counters.sleeps),
        })
    });
    let threads = threads.collect();
    let fan_out = FanOut::of(&setting, &gateway, &ended);
    let all = results.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let messages = all.iter().map(|seen| seen.intended.len()).min().unwrap_or(0);
    let expected = shared.messages - shared.warm;
    let seen = joined(all).ok_or("no consumer stopped")?;
    Ok(Row {
        setting,
        messages,
        expected,
        seen,
        allocations: counting::allocations(),
        cpu_ns_per_message: cpu_ns(&ended) / shared.messages.max(1),
        rss_mib,
        fan_out,
        stages,
        threads,
        round_trip_ns: (before_ns, round_trip::round_trip_ns(*first as usize, *second as usize)),
    })
}

fn joined(all: Vec<Seen>) -> Option<Seen> {
    all.into_iter().reduce(|mut one, other| {
        for (into, from) in [
            (&mut one.intended, &other.intended),
            (&mut one.wire, &other.wire),
            (&mut one.receive, &other.receive),
        ] {
            into.add(from).expect("histograms of one kind");
        }
        one.span_ns = (one.span_ns.0.min(other.span_ns.0), one.span_ns.1.max(other.span_ns.1));
        one.gaps += other.gaps;
        one
    })
}

fn cpu_ns(ended: &Ended) -> u64 {
    ended.usage.iter().filter_map(|(_, usage, _)| usage.as_ref()?.cpu_ns).sum()
}

/// Resident memory of this process.
fn rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1_024
}

/// A sender with a thread of its own.
struct SenderThread {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl SenderThread {
    fn start(mut sender: Sender, core: Option<u32>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            if let Some(core) = core {
                round_trip::pin(core as usize);
            }
            while !stopped.load(Ordering::Relaxed) {
                sender.turn();
                if core.is_none() {
                    // Others want its core; what it is late by is in the figures.
                    thread::sleep(Duration::from_micros(50));
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for SenderThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A certificate for 127.0.0.1 and the file of its authority, removed when dropped.
struct Identity {
    config: Arc<rustls::ServerConfig>,
    ca_file: PathBuf,
}

impl Identity {
    fn new() -> Result<Self, String> {
        let words = |error: &dyn std::fmt::Display| format!("a certificate: {error}");
        let key = rcgen::KeyPair::generate().map_err(|error| words(&error))?;
        let params =
            rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).map_err(|error| words(&error))?;
        let certificate = params.self_signed(&key).map_err(|error| words(&error))?;
        let ca_file = std::env::temp_dir().join(format!("meltica-bench-{}.pem", std::process::id()));
        std::fs::write(&ca_file, certificate.pem()).map_err(|error| words(&error))?;
        let key =
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| words(&error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key)
            })
            .map_err(|error| words(&error))?;
        Ok(Self { config: Arc::new(config), ca_file })
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.ca_file);
    }
}

fn topology_text(
    setting: &Setting,
    names: &[String],
    (provider_core, consumer_cores): (u32, &[u32]),
    address: std::net::SocketAddr,
    identity: Option<&Identity>,
) -> String {
    // A ring as small as its books allow: what sender and receiver touch stays in their caches.
    let (channels, delivery, depth, ring_events) = match setting.pace {
        None => ("trade, book", "trade: lossless, book: book", 1_000, 2_048),
        Some(_) => ("trade, book, ticker", "trade: lossless, book: book, ticker: lossless", 10_000, 8_192),
    };
    let host = if setting.spin { "dedicated" } else { "shared" };
    let path = counting::NAMES;
    let symbols: Vec<String> =
        names.iter().map(|name| format!("{}-USDT", name.trim_end_matches("USDT"))).collect();
    let symbols = symbols.join(", ");
    let endpoints = match identity {
        None => format!("{{websocket: \"ws://{address}\", rest: \"http://{address}\"}}"),
        Some(identity) => format!(
            "{{websocket: \"wss://{address}\", rest: \"https://{address}\", ca_file: {}}}",
            identity.ca_file.display()
        ),
    };
    let consumer_shards = (0..setting.shards).map(|number| {
        let core = consumer_cores[number % consumer_cores.len()];
        format!(
            "  - {{name: {path}readers{number}, core: {core}, role: consumer, ring_events: {ring_events}, critical_ring_events: 64, \
             spill_events: 65536}}\n"
        )
    });
    let mut text = format!(
        "version: 1
host: {host}
shards:
  - {{name: {path}md0, core: {provider_core}, role: provider, pools: {{frames: 200, raws: 200, events: 300, merged: 50, order_requests: 20, execution_reports: 20}}, order_ring_requests: 64}}
{}providers:
  - name: venue
    venue: binance
    product: spot
    shard: {path}md0
    endpoints: {endpoints}
    lines: 1
    instruments: [{symbols}]
    channels: [{channels}]
    book: {{depth_max: {depth}, snapshot_limit: 1000, verify_s: 300}}
    rest_weight_share: 0.8
    reorder: {{lateness_ms: 150, flush_ms: 50, held_events_max: 200}}
merges: []
consumers:
",
        consumer_shards.collect::<String>()
    );
    for number in 0..setting.consumers {
        let _ = write!(
            text,
            "  - name: reader{number}
    kind: reader
    shard: {path}readers{}
    trading: false
    on_panic: disable
    subscriptions:
      - {{provider: venue, instruments: all, channels: [{channels}], delivery: {{{delivery}}}, book_depth: full}}
",
            number % setting.shards
        );
    }
    text += "control: {listen: 127.0.0.1:0, core: any}\nreport: {dir: report, interval_ms: 200}\n";
    text
}
