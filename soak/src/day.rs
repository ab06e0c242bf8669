//! A day in the life of the gateway over real sockets: the shipped topology with its orders, a load that follows a day
//! (quiet, busy, bursts at ten times), faults from a seeded plan, and at the end a verdict for each promise.
//!
//! The day is as long as it is asked to be. Venues and gateway share this process, so its memory is that of both.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use engine::consumer::Consumer;
use fastrand::Rng;
use shards::consumers::Registry;
use shards::host::{HostView as _, RealHost};
use shards::launch::{Ended, Factory, Gateway, launch};
use shards::live::Board;
use shards::report::timeline::Point;
use shards::topology::{self, Against, Topology};
use simvenues::{Fault, How, RestFault, Target};

use crate::ledger::{Ledger, Observer};
use crate::lines::equal_books;

/// The shipped topology.
const SHIPPED: &str = include_str!("../../topology.yaml");
/// How long the start, and recovery at the end, may take.
const WAIT_MAX: Duration = Duration::from_mins(2);
/// How often memory, latencies and losses are noted, at the least; a day has about a thousand points.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// The share of its usual rate that the market has in each hour of the day, in percent: Asia, Europe, America.
const HOURS: [u32; 24] =
    [60, 70, 60, 40, 30, 25, 30, 60, 100, 110, 90, 80, 90, 130, 180, 200, 170, 130, 100, 80, 70, 60, 50, 50];
/// How many times the rate of its hour a burst has.
const BURST: u32 = 10;

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The length of the day.
    pub duration: Duration,
    /// Instruments of each of the three venues, 3 to 50.
    pub instruments: usize,
    /// Messages a second of each instrument at 100 percent.
    pub rate: u32,
    /// Of market, faults and bursts.
    pub seed: u64,
    /// Time between two faults.
    pub fault_every: Duration,
    /// A directory for journal, recording and picture.
    pub home: PathBuf,
    /// Growth of memory, drift of latency and descriptors decide, too. Not in short runs.
    pub strict: bool,
}

/// What was seen at a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    second: f64,
    rss_mib: f64,
    point: Point,
}

/// One promise.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which.
    pub promise: &'static str,
    /// What was seen.
    pub seen: String,
    /// Whether it held; `None` where nothing is promised in so short a run.
    pub held: Option<bool>,
}

/// The outcome.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// One row a promise.
    pub rows: Vec<Row>,
    /// Where the picture is.
    pub picture: PathBuf,
}

impl Verdict {
    /// Whether every promise held.
    pub fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.held != Some(false))
    }

    /// As a table.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for Row { promise, seen, held } in &self.rows {
            let held = match held {
                Some(true) => "held",
                Some(false) => "BROKEN",
                None => "-",
            };
            let _ = writeln!(text, "{promise:<22} {held:<7} {seen}");
        }
        let _ = writeln!(text, "picture: {}", self.picture.display());
        text + if self.is_good() { "pass\n" } else { "FAIL\n" }
    }
}

/// Runs it.
///
/// # Errors
/// What kept it from starting or from ending, in words.
pub fn run(options: &Options) -> Result<Verdict, String> {
    std::fs::create_dir_all(&options.home).map_err(|error| error.to_string())?;
    let mut topology = topology_of(options)?;
    topology.report.dir = options.home.join("report");
    let observer = Observer::default();
    let made = observer.clone();
    let registry = Registry::built_in(&options.home);
    let gateway = launch(topology, &|plan, catalog| {
        if plan.kind != "auditor" {
            return registry.make(plan, catalog).map_err(|error| error.to_string());
        }
        let observer = made.clone();
        Ok(Box::new(move || Box::new(observer.clone()) as Box<dyn Consumer>) as Factory)
    });
    let mut gateway = gateway.map_err(|error| error.to_string())?;
    let mut day = Day {
        board: Board::default(),
        samples: Vec::new(),
        rng: Rng::with_seed(options.seed ^ 0xda7),
        faults: 0,
        began: Instant::now(),
    };
    let outcome = day.through(options, &mut gateway);
    let files = descriptors();
    let venue_fills = gateway.simulation.server(0).map_or(0, |server| server.faults().fills().len() as u64);
    let books: Vec<_> = (0..3).map(|provider| equal_books(&gateway, provider, &observer.ledger())).collect();
    let spans = trades_accounted(&gateway, &observer.ledger());
    let ended = gateway.stop();
    let files_before = outcome?;
    let picture = options.home.join("day.svg");
    std::fs::write(&picture, picture_of(&day.samples)).map_err(|error| error.to_string())?;
    let seen = Seen { files: (files_before, files), venue_fills, books, spans };
    let rows = rows_of(options, &day, &observer.ledger(), &ended, &seen);
    Ok(Verdict { rows, picture })
}

/// What was read before the gateway stopped.
struct Seen {
    files: (usize, usize),
    venue_fills: u64,
    books: Vec<(usize, usize)>,
    /// Trades of the venues in the spans seen; those seen or declared missing.
    spans: (u64, u64),
}

struct Day {
    board: Board,
    samples: Vec<Sample>,
    rng: Rng,
    faults: u64,
    began: Instant,
}

impl Day {
    /// From the first proof to the quiet end. Returns the descriptors that were open at the beginning.
    fn through(&mut self, options: &Options, gateway: &mut Gateway) -> Result<usize, String> {
        self.wait(gateway, "all books proved")?;
        let files = descriptors();
        self.began = Instant::now();
        let mut fault_at = options.fault_every;
        let mut burst_until = Duration::ZERO;
        let mut rate_now = 0;
        let sample_every = SAMPLE_EVERY.max(options.duration / 1_000);
        let mut sample_at = Duration::ZERO;
        loop {
            let at = self.began.elapsed();
            if at >= options.duration {
                break;
            }
            let share = at.as_secs_f64() / options.duration.as_secs_f64();
            let hour = HOURS[((share * 24.0) as usize).min(23)];
            if burst_until < at && self.rng.u32(0..2_000) == 0 {
                burst_until = at + Duration::from_millis(self.rng.u64(200..2_000));
            }
            let rate = options.rate * hour * if at < burst_until { BURST } else { 1 } / 100;
            if rate != rate_now {
                rate_now = rate;
                set_rate(gateway, f64::from(rate.max(1)));
            }
            // The last tenth is without, so that everything can be compared at the end.
            if at >= fault_at && share < 0.9 {
                fault_at = at + options.fault_every;
                self.fault(gateway);
            }
            if at >= sample_at {
                sample_at = at + sample_every;
                let point = self.board.point(&gateway.collector, at.as_nanos() as u64);
                self.samples.push(Sample { second: at.as_secs_f64(), rss_mib: rss_mib(), point });
            }
            self.poll(gateway)?;
        }
        set_rate(gateway, f64::from(options.rate.clamp(1, 20)));
        for provider in 0..3 {
            if let Some(server) = gateway.simulation.server(provider) {
                server.faults().inject(Fault::Clear);
            }
        }
        self.wait(gateway, "recovery at the end")?;
        // A shutdown that was announced may still come.
        let quiet = Instant::now();
        while quiet.elapsed() < Duration::from_secs(4) {
            self.poll(gateway)?;
        }
        self.wait(gateway, "recovery at the end")?;
        set_rate(gateway, 0.0);
        let quiet = Instant::now();
        while quiet.elapsed() < Duration::from_secs(3) {
            self.poll(gateway)?;
        }
        Ok(files)
    }

    fn fault(&mut self, gateway: &Gateway) {
        let provider = self.rng.usize(0..3);
        let Some(server) = gateway.simulation.server(provider) else { return };
        let rest = |kind, count| Fault::Rest { path: String::new(), kind, count };
        let fault = match self.rng.u8(0..9) {
            0 => Fault::Disconnect(Target::Oldest, How::Drop),
            1 => Fault::Disconnect(Target::Newest, How::CloseFrame(1001)),
            2 => rest(RestFault::Status { status: 429, retry_after_s: 1 }, 3),
            3 => rest(RestFault::Html(200), 2),
            4 => Fault::Garbage(Target::Oldest),
            5 => Fault::DuplicateFrame(Target::Oldest),
            6 => Fault::CutFrame(Target::Oldest),
            7 => Fault::UnknownEvent(Target::All),
            _ => Fault::PlannedShutdown { target: Target::Oldest, after_ns: 2_000_000_000 },
        };
        server.faults().inject(fault);
        self.faults += 1;
    }

    fn poll(&mut self, gateway: &mut Gateway) -> Result<(), String> {
        std::thread::sleep(Duration::from_millis(5));
        gateway.collector.collect();
        let board = &mut self.board;
        gateway.poll_statuses(|status| board.take(status));
        while gateway.poll_report().is_some() {}
        gateway.fallen().map_or(Ok(()), |shard| Err(format!("shard {shard} fell")))
    }

    fn wait(&mut self, gateway: &mut Gateway, what: &str) -> Result<(), String> {
        let began = Instant::now();
        let proved = |board: &Board| {
            board.providers().count() == 3
                && board.providers().all(|status| status.books > 0 && status.books_proved == status.books)
        };
        while !proved(&self.board) {
            if began.elapsed() > WAIT_MAX {
                let states =
                    self.board.providers().map(|status| (status.provider, status.books_proved, status.books));
                let states: Vec<_> = states.collect();
                return Err(format!("no {what} within {} s: {states:?}", WAIT_MAX.as_secs()));
            }
            self.poll(gateway)?;
        }
        Ok(())
    }
}

fn set_rate(gateway: &Gateway, rate: f64) {
    for provider in 0..3 {
        if let Some(server) = gateway.simulation.server(provider) {
            server.set_rate(rate);
        }
    }
}

/// Trades between the first one seen and the venue's last one, of all instruments; and how many of them were seen or
/// declared missing.
fn trades_accounted(gateway: &Gateway, ledger: &Ledger) -> (u64, u64) {
    let (mut there, mut accounted) = (0, 0);
    for provider in 0..3 {
        let Some(server) = gateway.simulation.server(provider) else { continue };
        for truth in server.truth() {
            let key = crate::ledger::key(engine::ids::ProviderId(provider as u8), &truth.symbol);
            if let (Some(log), Some(last)) = (ledger.trades.get(&key), truth.trade_id_last) {
                there += (last + 1).saturating_sub(log.first);
                accounted += log.seen_total + log.missing_total;
            }
        }
    }
    (there, accounted)
}

fn rows_of(options: &Options, day: &Day, ledger: &Ledger, ended: &Ended, seen: &Seen) -> Vec<Row> {
    let row = |promise, seen: String, held| Row { promise, seen, held };
    let strictly = |held: bool| options.strict.then_some(held);
    let mut rows = Vec::new();
    // The first third warms up: pools touch their memory, books grow to their size.
    let later = &day.samples[day.samples.len() / 3..];
    let points: Vec<_> = later.iter().map(|sample| (sample.second / 3_600.0, sample.rss_mib)).collect();
    let (slope, error) = slope(&points);
    let rss = day.samples.last().map_or(0.0, |sample| sample.rss_mib);
    rows.push(row(
        "memory",
        format!("{rss:.0} MiB, slope {slope:+.1} +- {error:.1} MiB/h (95 %)"),
        strictly(slope - error <= 0.05 * rss.max(1.0)),
    ));
    let out: Vec<_> = ended.providers.iter().flat_map(|provider| &provider.outstanding).collect();
    rows.push(row(
        "pools balanced",
        format!("{} slots out at the end {out:?}", out.len()),
        Some(out.is_empty()),
    ));
    let unbalanced = ended.providers.iter().filter_map(shards::report_of::ProviderSummary::unbalanced);
    let merges = ended.mergers.iter().filter_map(shards::report_of::MergerSummary::unbalanced);
    let unbalanced: Vec<String> = unbalanced.chain(merges).collect();
    rows.push(row("counters add up", unbalanced.join("; "), Some(unbalanced.is_empty())));
    let failures: u64 =
        ended.providers.iter().map(|provider| provider.counts.verification_failures_total).sum();
    let verified: u64 = ended.providers.iter().map(|provider| provider.counts.verified_total).sum();
    rows.push(row(
        "books verified",
        format!("{verified} by a second snapshot, {failures} wrong"),
        Some(failures == 0),
    ));
    let fills: u64 = ended
        .providers
        .iter()
        .filter_map(|provider| provider.orders.as_ref())
        .flat_map(|orders| orders.status.accounts())
        .map(|account| account.counts.fills_total)
        .sum();
    rows.push(row(
        "critical events",
        format!("{} fills at the venue, {fills} told", seen.venue_fills),
        Some(fills >= seen.venue_fills),
    ));
    let (there, accounted) = seen.spans;
    let missing: u64 = ledger.trades.values().map(|log| log.missing_total).sum();
    let gaps = ledger.gaps.len();
    rows.push(row(
        "gaps declared",
        format!(
            "{there} trades of the venues, {accounted} seen or declared ({missing} missing, {gaps} gaps)"
        ),
        Some(there == accounted && there > 0),
    ));
    rows.push(row(
        "order of streams",
        format!("{:?}", ledger.violations),
        Some(ledger.violations.is_empty()),
    ));
    let (equal, all) = seen.books.iter().fold((0, 0), |sum, books| (sum.0 + books.0, sum.1 + books.1));
    rows.push(row("books", format!("{equal} of {all} are the venues' at the end"), Some(equal == all)));
    let typical = |part: &[Sample]| {
        let mut p99: Vec<u64> = part.iter().map(|sample| sample.point.latency_ns_p99).collect();
        p99.sort_unstable();
        p99.get(p99.len() / 2).map_or(0.0, |ns| *ns as f64 / 1_000.0)
    };
    let eighth = day.samples.len() / 8;
    // The same hours of the night: the load of both is alike.
    let (first, last) =
        (typical(&day.samples[..eighth]), typical(&day.samples[day.samples.len() - eighth..]));
    rows.push(row(
        "latency drift",
        format!("p99 {first:.0} us in the first eighth, {last:.0} us in the last"),
        strictly(last <= 3.0 * first.max(100.0)),
    ));
    let (before, after) = seen.files;
    rows.push(row(
        "file descriptors",
        format!("{before} at the start, {after} at the end"),
        strictly(after <= before + 12),
    ));
    let disk_mib = size_of_directory(&options.home) as f64 / f64::from(1 << 20);
    rows.push(row(
        "disk",
        format!("{disk_mib:.1} MiB of journal, recording and report"),
        strictly(disk_mib < 65_536.0),
    ));
    let panicked = &ended.panicked;
    let shown = format!("{panicked:?}, {} faults injected", day.faults);
    rows.push(row("shards that fell", shown, Some(panicked.is_empty())));
    rows
}

/// Slope of a line through points, and half of its confidence interval of 95 %.
fn slope(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    if count < 3.0 {
        return (0.0, f64::INFINITY);
    }
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|point| point.0), mean(|point| point.1));
    let xx: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    let xy: f64 = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let slope = xy / xx;
    let residual: f64 = points.iter().map(|(x, y)| (y - y_mean - slope * (x - x_mean)).powi(2)).sum();
    (slope, 1.96 * (residual / (count - 2.0) / xx).sqrt())
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Memory of this process that is in RAM; 0 where the host does not say.
fn rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1_024.0
}

fn size_of_directory(path: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(facts) if facts.is_dir() => size_of_directory(&entry.path()),
        Ok(facts) => facts.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// Memory, latency and losses over time, one under the other.
fn picture_of(samples: &[Sample]) -> String {
    let value = |get: fn(&Sample) -> f64| samples.iter().map(get).collect::<Vec<f64>>();
    let panels = [
        ("RSS, MiB", vec![value(|at| at.rss_mib)]),
        (
            "receive to delivered, us: p50, p99",
            vec![
                value(|at| at.point.latency_ns_p50 as f64 / 1e3),
                value(|at| at.point.latency_ns_p99 as f64 / 1e3),
            ],
        ),
        ("events dropped so far", vec![value(|at| at.point.dropped_total as f64)]),
    ];
    let end = samples.last().map_or(1.0, |sample| sample.second.max(1e-9));
    let mut svg =
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 640\" font-family=\"sans-serif\" \
                   font-size=\"13\"><rect width=\"900\" height=\"640\" fill=\"white\"/>\n"
            .to_owned();
    for (number, (title, curves)) in panels.iter().enumerate() {
        let top = 30.0 + number as f64 * 205.0;
        let most = curves.iter().flatten().copied().fold(1e-9, f64::max);
        let _ = writeln!(
            svg,
            "<text x=\"60\" y=\"{:.0}\">{title}; at most {most:.1}; {end:.0} s</text><rect x=\"60\" y=\"{top:.0}\" \
             width=\"820\" height=\"160\" fill=\"none\" stroke=\"#bbb\"/>",
            top - 8.0
        );
        for (curve, colour) in curves.iter().zip(["#1f5fa8", "#c04a1e"]) {
            let points = samples.iter().zip(curve).map(|(sample, value)| {
                let (x, y) = (60.0 + 820.0 * sample.second / end, top + 160.0 * (1.0 - value / most));
                format!("{x:.1},{y:.1}")
            });
            let points: Vec<String> = points.collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.3\"/>",
                points.join(" ")
            );
        }
    }
    svg + "</svg>\n"
}

/// The shipped topology with as many instruments, on the first and the last core of this process, and one consumer more,
/// which believes nothing.
fn topology_of(options: &Options) -> Result<Topology, String> {
    if !(3..=50).contains(&options.instruments) {
        return Err(format!("--instruments {}: 3 to 50 fit", options.instruments));
    }
    let cores = RealHost.cores().ok_or("this host does not say which cores it has")?;
    let mut allowed: Vec<u32> = cores.allowed.iter().collect();
    allowed.sort_unstable();
    let (Some(first), Some(last)) = (allowed.first(), allowed.last()) else {
        return Err("this process runs on no core".to_owned());
    };
    let subscription = |name: &str| {
        format!(
            "      - {{provider: {name}, instruments: all, channels: [trade, book, ticker], delivery: {{trade: lossless, \
             book: book, ticker: latest}}, book_depth: full}}\n"
        )
    };
    let auditor = format!(
        "consumers:\n  - name: auditor\n    kind: auditor\n    shard: strategies\n    trading: false\n    on_panic: \
         disable\n    subscriptions:\n{}{}{}",
        subscription("binance"),
        subscription("kraken"),
        subscription("coinbase")
    );
    let mut text = String::new();
    let mut lines = SHIPPED.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "instruments: [" {
            let mut names = Vec::new();
            for line in lines.by_ref() {
                names.extend(
                    line.trim_end_matches(']').split(',').map(str::trim).filter(|name| !name.is_empty()),
                );
                if line.ends_with(']') {
                    break;
                }
            }
            names.truncate(options.instruments);
            let _ = writeln!(text, "    instruments: [{}]", names.join(", "));
            continue;
        }
        match line.trim() {
            "consumers:" => text += &auditor,
            _ if line.starts_with("    core: 0") => {
                let _ = writeln!(text, "    core: {first}");
            }
            _ if line.starts_with("    core: 1") => {
                let _ = writeln!(text, "    core: {last}");
            }
            _ if line.starts_with("  seed: ") => {
                let _ = writeln!(text, "  seed: {}", options.seed);
            }
            _ => {
                text += line;
                text.push('\n');
            }
        }
    }
    let kinds = ["stats", "printer", "recorder", "maker", "taker", "auditor"];
    let against = Against { cores: Some(&cores), consumer_kinds: &kinds, simulated_lists: None };
    topology::read("day.yaml", &text, against).map_err(|errors| errors.to_string())
}
