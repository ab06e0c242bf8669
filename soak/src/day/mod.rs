//! A day in the life of the gateway over real sockets: the shipped topology with its orders, a load that follows a day
//! (quiet, busy, bursts at ten times), faults from a seeded plan (`plan`), and at the end a verdict for each promise
//! ([`verdict`]).
//!
//! The day is as long as it is asked to be. The venues have a process of their own ([`venues`]), so memory and descriptors are
//! the gateway's and those of one consumer that checks every event.

mod host;
pub mod picture;
mod plan;
mod told;
pub mod venues;
pub mod verdict;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use engine::consumer::Consumer;
use engine::ids::ProviderId;
use shards::consumers::Registry;
use shards::host::{HostView as _, RealHost};
use shards::launch::{Factory, Gateway, launch};
use shards::live::Board;
use shards::report::timeline::Point;
use shards::topology::{self, Against, Topology};

use self::host::{descriptors, rss_mib, waited_ns};
use self::plan::{Plan, Trouble};
use self::told::Tally;
use self::venues::Venues;
use self::verdict::Verdict;
use crate::ledger::{Ledger, Observer, key};

/// The shipped topology.
const SHIPPED: &str = include_str!("../../../topology.yaml");
/// How long the start may take.
const START_MAX: Duration = Duration::from_mins(3);
/// How long recovery at the end may take: a book that broke again and again is asked for only after 300 s, and twice where the
/// first answer fails.
const RECOVERY_MAX: Duration = Duration::from_secs(700);
/// How long what was sent may take to arrive when the market stands still.
const ARRIVAL_MAX: Duration = Duration::from_mins(1);
/// How often memory, latencies and losses are noted, at the least; a day has about a thousand points.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// Seconds of a day.
const DAY_S: f64 = 86_400.0;

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The length of the day.
    pub duration: Duration,
    /// Instruments of each of the three venues, 3 to 50.
    pub instruments: usize,
    /// Messages a second of each instrument at 100 percent, in a day of 24 hours.
    pub rate: u32,
    /// Whether a shorter day has all the messages of 24 hours: so many times the rate.
    pub compressed: bool,
    /// Of market, faults and bursts.
    pub seed: u64,
    /// Time between two faults.
    pub fault_every: Duration,
    /// A directory for journal, recording, picture, and the table that it is drawn from.
    pub home: PathBuf,
    /// Growth of memory, drift of latency and descriptors decide, too. Not in short runs.
    pub strict: bool,
    /// This program, which is also the venues' process, and what it is told for that.
    pub venues: (PathBuf, Vec<String>),
}

impl Options {
    /// Messages a second of each instrument at 100 percent.
    pub fn rate_per_s(&self) -> f64 {
        let times = if self.compressed { DAY_S / self.duration.as_secs_f64() } else { 1.0 };
        f64::from(self.rate) * times
    }
}

/// What was seen at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub second: f64,
    pub rss_mib: f64,
    /// Of venues, since the sample before.
    pub messages_per_s: f64,
    /// Threads of this process that were ready and had no core, in the mean since the sample before.
    pub waiting: f64,
    pub point: Point,
}

/// What went wrong, when, and at which venue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    second: f64,
    provider: usize,
    trouble: Trouble,
}

/// Runs it.
///
/// # Errors
/// What kept it from starting, in words. What kept it from ending is a row of the verdict.
pub fn run(options: &Options) -> Result<Verdict, String> {
    std::fs::create_dir_all(options.home.join("report")).map_err(|error| error.to_string())?;
    let mut topology = topology_of(options)?;
    let mut command = Command::new(&options.venues.0);
    command.args(&options.venues.1);
    let mut venues = Venues::start(command)?;
    venues.attach(&mut topology);
    let (observer, tally) = (Observer::default(), Tally::default());
    observer.ledger().brief = true;
    let (made, beside) = (observer.clone(), tally.clone());
    let registry = Registry::built_in(&options.home.join("report"));
    let gateway = launch(topology, &|plan, catalog| {
        let trades = plan.trading;
        if plan.kind == "auditor" {
            let observer = made.clone();
            return Ok(Box::new(move || Box::new(observer.clone()) as Box<dyn Consumer>) as Factory);
        }
        let make = registry.make(plan, catalog).map_err(|error| error.to_string())?;
        let beside = beside.clone();
        Ok(Box::new(move || if trades { beside.beside(make()) } else { make() }) as Factory)
    });
    let mut gateway = gateway.map_err(|error| error.to_string())?;
    let names: Vec<String> = gateway.topology.providers.iter().map(|plan| plan.name.clone()).collect();
    let mut day = Day::default();
    let mut outcome = day.through(options, &mut gateway, &mut venues, &observer);
    let files_after = descriptors();
    let ended = gateway.stop();
    let mut orders = Vec::new();
    for provider in 0..venues.count() {
        let asked = venues.orders(provider);
        if let (Err(error), true) = (&asked, outcome.is_ok()) {
            outcome = Err(error.clone());
        }
        orders.push(asked.unwrap_or_default());
    }
    let table = options.home.join("day.csv");
    std::fs::write(&table, picture::table_of(&day.samples, &day.faults, &names))
        .map_err(|error| format!("{}: {error}", table.display()))?;
    let picture = picture::draw(&table)?;
    let seen = verdict::Seen { outcome, files_after, orders };
    let rows = verdict::rows_of(options, &day, &observer.ledger(), &tally.told(), &ended, &seen);
    Ok(Verdict { rows, picture })
}

/// The process of the venues, until its input ends.
///
/// # Errors
/// What kept it from starting.
pub fn run_venues(options: &Options) -> Result<(), String> {
    venues::serve(&topology_of(options)?, &options.home)
}

/// A day under way.
#[derive(Default)]
pub(crate) struct Day {
    board: Board,
    pub samples: Vec<Sample>,
    pub faults: Vec<Fault>,
    /// By venue: those that may have cost a stream something.
    pub losing: [u64; 3],
    /// Checksums that a venue was made to get wrong, and frames that were cut or doubled.
    pub lies: u64,
    pub files_before: usize,
    /// Books that are the venues' at the end, with their last trade; and all.
    pub books: (usize, usize),
    /// Trades of the venues in the spans seen; those seen or declared missing.
    pub spans: (u64, u64),
    /// Frames of the venues, and seconds of market that they skipped because they could not keep up.
    pub venues: (u64, f64),
    /// By venue: connections lost.
    pub lost: [u64; 3],
}

impl Day {
    /// From the first proof to the quiet end.
    fn through(
        &mut self,
        options: &Options,
        gateway: &mut Gateway,
        venues: &mut Venues,
        observer: &Observer,
    ) -> Result<(), String> {
        self.wait(gateway, START_MAX, "all books proved at the start")?;
        self.files_before = descriptors();
        let mut plan = Plan::new(options.seed, options.duration, options.rate_per_s(), options.fault_every);
        let sample_every = SAMPLE_EVERY.max(options.duration / 1_000);
        let (began, mut rate_now, mut sample_at) = (Instant::now(), 0.0, Duration::ZERO);
        let mut before = (0.0, waited_ns(), self.messages_total());
        loop {
            let at = began.elapsed();
            if at >= options.duration {
                break;
            }
            let rate = plan.rate_at(at);
            if rate.total_cmp(&rate_now).is_ne() {
                rate_now = rate;
                venues.set_rate(rate)?;
            }
            if let Some((provider, trouble, chance)) = plan.trouble_at(at, venues.count()) {
                venues.trouble(provider, trouble, chance)?;
                self.note(at, provider, trouble);
            }
            if at >= sample_at {
                sample_at = at + sample_every;
                let (second, waited, messages) = (at.as_secs_f64(), waited_ns(), self.messages_total());
                let seconds = (second - before.0).max(1e-3);
                self.samples.push(Sample {
                    second,
                    rss_mib: rss_mib(),
                    messages_per_s: messages.saturating_sub(before.2) as f64 / seconds,
                    waiting: waited.saturating_sub(before.1) as f64 / 1e9 / seconds,
                    point: self.board.point(&gateway.collector, at.as_nanos() as u64),
                });
                before = (second, waited, messages);
            }
            self.poll(gateway)?;
        }
        venues.set_rate(options.rate_per_s().clamp(1.0, 20.0))?;
        venues.calm()?;
        self.wait(gateway, RECOVERY_MAX, "recovery at the end")?;
        // A shutdown that was announced may still come. What changes from now on is copied, to be compared.
        observer.ledger().brief = false;
        self.poll_for(gateway, Duration::from_secs(6))?;
        self.wait(gateway, RECOVERY_MAX, "recovery at the end")?;
        self.poll_for(gateway, Duration::from_secs(5))?;
        venues.set_rate(0.0)?;
        let still = Instant::now();
        loop {
            self.poll_for(gateway, Duration::from_secs(1))?;
            self.compare(gateway, venues, &observer.ledger())?;
            let same = self.books.0 == self.books.1 && self.spans.0 == self.spans.1;
            if same || still.elapsed() > ARRIVAL_MAX {
                break;
            }
        }
        for provider in 0..venues.count() {
            let (frames, skipped) = venues.stats(provider)?;
            self.venues = (self.venues.0 + frames, self.venues.1 + skipped);
        }
        for status in self.board.providers() {
            if let Some(lost) = self.lost.get_mut(usize::from(status.provider)) {
                *lost = status.lost_total;
            }
        }
        Ok(())
    }

    fn note(&mut self, at: Duration, provider: usize, trouble: Trouble) {
        self.faults.push(Fault { second: at.as_secs_f64(), provider, trouble });
        self.losing[provider] += u64::from(trouble.may_lose());
        self.lies += u64::from(matches!(trouble, Trouble::Checksum | Trouble::Cut | Trouble::Doubled));
    }

    fn messages_total(&self) -> u64 {
        self.board.providers().map(|status| status.counts.messages_total).sum()
    }

    /// Books and trades of the consumer beside those of the venues, while the market stands still.
    fn compare(&mut self, gateway: &Gateway, venues: &mut Venues, ledger: &Ledger) -> Result<(), String> {
        (self.books, self.spans) = ((0, 0), (0, 0));
        for (provider, plan) in gateway.topology.providers.iter().enumerate() {
            let depth = plan.book.map_or(usize::MAX, |book| book.depth_max as usize);
            for (symbol, trade_last) in venues.trades(provider)? {
                let name = key(ProviderId(provider as u8), &symbol);
                let log = ledger.trades.get(&name);
                if let (Some(log), Some(last)) = (log, trade_last) {
                    self.spans.0 += (last + 1).saturating_sub(log.first);
                    self.spans.1 += log.seen_total + log.missing_total;
                }
                self.books.1 += 1;
                let Some(copy) = ledger.books.get(&name) else { continue };
                let mut book = venues.book(provider, &symbol)?;
                if provider > 0 {
                    // No venue number that books could be compared by.
                    book.update_id = copy.sequence;
                }
                book.bids.truncate(depth);
                book.asks.truncate(depth);
                let same = copy.compare(&book).is_ok() && log.map(|log| log.last) == trade_last;
                self.books.0 += usize::from(same);
            }
        }
        Ok(())
    }

    fn poll_for(&mut self, gateway: &mut Gateway, time: Duration) -> Result<(), String> {
        let began = Instant::now();
        while began.elapsed() < time {
            self.poll(gateway)?;
        }
        Ok(())
    }

    fn poll(&mut self, gateway: &mut Gateway) -> Result<(), String> {
        std::thread::sleep(Duration::from_millis(5));
        gateway.collector.collect();
        let board = &mut self.board;
        gateway.poll_statuses(|status| board.take(status));
        while gateway.poll_report().is_some() {}
        gateway.fallen().map_or(Ok(()), |shard| Err(format!("shard {shard} fell")))
    }

    fn wait(&mut self, gateway: &mut Gateway, limit: Duration, what: &str) -> Result<(), String> {
        let began = Instant::now();
        let proved = |board: &Board| {
            board.providers().count() == 3
                && board.providers().all(|status| status.books > 0 && status.books_proved == status.books)
        };
        while !proved(&self.board) {
            if began.elapsed() > limit {
                let states =
                    self.board.providers().map(|status| (status.provider, status.books_proved, status.books));
                let states: Vec<_> = states.collect();
                return Err(format!("no {what} within {} s: {states:?}", limit.as_secs()));
            }
            self.poll(gateway)?;
        }
        Ok(())
    }
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
    let home = options.home.display();
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
            written
                if ["dir: journal", "dir: report", "dir: recordings"]
                    .iter()
                    .any(|dir| written.starts_with(dir)) =>
            {
                let (indent, name) = line.split_once("dir: ").unwrap_or_default();
                let name = name.split(' ').next().unwrap_or_default();
                let _ = writeln!(text, "{indent}dir: {home}/{name}");
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
