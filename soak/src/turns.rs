//! How long turns are under load with resyncs, snapshots of megabytes and rolls in between: every turn above 1 ms of the
//! running gateway's shards, with whose doing it was.
//!
//! The promise: none by our own doing. What the kernel or the hypervisor does to a shard's thread is listed beside, with what
//! the kernel counted, and breaks no promise of ours. The audit costs a system call or two a turn.
//!
//! A hypervisor may take a core without the guest's kernel knowing: then it counts as ours here. What share of the count that
//! is shows in a loop that does nothing, audited in the same way (`--bare`), and in the longest step of each turn.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::consumer::{Consumer, Context};
use engine::event::{Body, BookStatus, Event, Kind};
use engine::ids::{ProviderId, StreamId};
use engine::provider::Happening;
use engine::time::ReceiveTime;
use shards::command::ctl::ask;
use shards::control::thread::Control;
use shards::happened::Happened;
use shards::launch::{Factory, Gateway, launch};
use shards::live::Board;
use shards::machine::audit::{Cause, LONG_STEP_NS, Lengths, LongTurn, Noted, Steps, TurnAudit};
use shards::machine::clock::Clock;
use shards::report::table::latency;
use shards::topology::ShardIndex;
use shards::watch::{place_words, step_words};
use simvenues::{Fault, Target, VenueFault};

use crate::lines::{Market, topology_of};

mod bare;

/// Simulated venues.
const VENUES: usize = 3;
/// Levels a side of the venues' books: Coinbase's snapshots of them have 2.6 MB each, and it sends ten in a row.
const BOOK_LEVELS: u32 = 10_000;
/// How long the start may take.
const WAIT_MAX: Duration = Duration::from_mins(2);
/// A book that takes longer to be proved again is named.
const PROVED_NS_MAX: u64 = 1_000_000_000;
/// Long turns of the table; the others are in its sums.
const SHOWN_MAX: usize = 60;

/// What to do.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Messages a second of each of the 30 instruments.
    pub rate: u32,
    /// For so long.
    pub duration: Duration,
    /// Between two disturbances; a shorter run has eight of them.
    pub every: Duration,
    /// Of the market.
    pub seed: u64,
    /// Before it, for as long, what the host does to a loop that does nothing.
    pub bare: bool,
    /// The kernel's `trace_marker`: each long turn leaves a line in it ([`TurnAudit::with_marker`]).
    pub marker: Option<PathBuf>,
}

/// A long turn, as the table shows it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// When it began, after the audit did, in milliseconds.
    pub at_ms: u64,
    /// Whose.
    pub shard: String,
    /// The turn.
    pub turn: LongTurn,
    /// The longest of its steps, in the topology's words.
    pub step: String,
    /// What was done to the gateway before, and how long before.
    pub after: String,
}

/// What came of one shard.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Turns that did something, by length.
    pub lengths: Lengths,
    /// What their long steps were.
    pub steps: Steps,
    /// Long turns by cause, in the order of [`CAUSES`].
    pub long: [u64; CAUSES.len()],
    /// The longest by the clock and by time on a core, in nanoseconds, of the long ones.
    pub longest_ns: (u64, u64),
    /// Long turns that were not kept, so that nobody knows why.
    pub more_total: u64,
}

impl Row {
    /// Adds what was noted; returns the long turns of it.
    fn take(&mut self, noted: Noted) -> Vec<LongTurn> {
        self.lengths.add(&noted.lengths);
        self.steps.add(&noted.steps);
        self.more_total += noted.more_total;
        for turn in &noted.long {
            let cause = CAUSES.iter().position(|cause| *cause == turn.cause());
            self.long[cause.expect("the list has every cause")] += 1;
            self.longest_ns.0 = self.longest_ns.0.max(turn.took_ns);
            self.longest_ns.1 = self.longest_ns.1.max(turn.on_core_ns);
        }
        noted.long
    }
}

/// The order of [`Row::long`].
pub const CAUSES: [Cause; 5] = [Cause::Own, Cause::Taken, Cause::MajorFault, Cause::Blocked, Cause::Stolen];

/// The outcome.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// By shard.
    pub rows: BTreeMap<String, Row>,
    /// Long turns, the longest on a core first.
    pub shown: Vec<Shown>,
    /// Turns with a long step by what it was, most first: shard and place in words, how many, the longest in nanoseconds.
    pub steps: Vec<(String, u64, u64)>,
    /// By core, what the host did to a loop that does nothing, if that was asked for.
    pub bare: Option<BTreeMap<String, Row>>,
    /// What was done to the gateway, by kind.
    pub disturbed: BTreeMap<String, u64>,
    /// Messages a second that the gateway took.
    pub messages_per_s: f64,
    /// Books that were asked for anew.
    pub resyncs_total: u64,
    /// Lines that another took over from.
    pub rolled_total: u64,
    /// Book snapshots at the consumer, parts of them.
    pub snapshot_parts_total: u64,
    /// By provider: how long each book that was not proved any more took to be proved again, as its consumer saw it, in
    /// nanoseconds, the shortest first.
    pub proved_again_ns: BTreeMap<String, Vec<u64>>,
    /// Those that took longer than a second, in words.
    pub slow_books: Vec<String>,
    /// Lines that were lost, which nobody asked for, in words.
    pub lost: Vec<String>,
    /// Time that the hypervisor gave this machine's cores to others, in milliseconds; `None` where it does not say.
    pub stolen_ms: Option<u64>,
}

impl Verdict {
    /// Turns above 1 ms by our doing, those of unknown cause among them.
    pub fn own_total(&self) -> u64 {
        self.rows.values().map(|row| row.long[0] + row.more_total).sum()
    }

    /// No long turn was ours, in a run that had what it was to have.
    pub fn is_good(&self) -> bool {
        self.own_total() == 0 && self.is_whole()
    }

    /// Whether resyncs, snapshots and rolls came, books were proved again, and every shard was audited.
    pub fn is_whole(&self) -> bool {
        let turned = self.rows.values().all(|row| row.lengths.rows().next().is_some());
        turned
            && !self.proved_again_ns.is_empty()
            && self.resyncs_total > 0
            && self.rolled_total > 0
            && self.snapshot_parts_total > 0
    }

    /// As tables.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:.0} messages/s, {} resyncs, {} lines rolled, {} parts of snapshots\n",
            self.messages_per_s, self.resyncs_total, self.rolled_total, self.snapshot_parts_total
        );
        for (what, count) in &self.disturbed {
            let _ = writeln!(text, "  {count:>4} x {what}");
        }
        for (provider, took) in &self.proved_again_ns {
            let at = |permille: usize| latency(took[(took.len() - 1) * permille / 1_000]);
            let _ = writeln!(
                text,
                "{provider:<12} {} books proved again: p50 {}, p99 {}, longest {}",
                took.len(),
                at(500),
                at(990),
                at(1_000)
            );
        }
        for line in self.slow_books.iter().chain(&self.lost) {
            let _ = writeln!(text, "{line}");
        }
        let stolen = self.stolen_ms.map_or("unknown".to_owned(), |ms| format!("{ms} ms"));
        let _ = writeln!(text, "stolen by the hypervisor, all cores: {stolen}");
        text += &rows_table(&self.rows);
        let _ = writeln!(text, "\nturns with a step above {}, by the longest", latency(LONG_STEP_NS));
        for (what, count, longest_ns) in &self.steps {
            let _ = writeln!(text, "{count:>8} {what}, at most {}", latency(*longest_ns));
        }
        if let Some(bare) = &self.bare {
            text += "\nand of a loop that does nothing, for as long, before it\n";
            text += &rows_table(bare);
        }
        for shown in self.shown.iter().take(SHOWN_MAX) {
            let usage = &shown.turn.usage;
            let counted = |name: &str, count: Option<u64>| {
                count.filter(|count| *count > 0).map_or(String::new(), |count| format!(", {count} {name}"))
            };
            let _ = writeln!(
                text,
                "at {:>8.3} s {:<8} took {:>7}, on core {:>7}: {}; {} done, {}{}{}{}; {}",
                shown.at_ms as f64 / 1e3,
                shown.shard,
                latency(shown.turn.took_ns),
                latency(shown.turn.on_core_ns),
                shown.turn.cause().words(),
                shown.turn.done,
                shown.step,
                counted("involuntary switches", usage.involuntary_switches),
                counted("minor faults", usage.minor_faults),
                counted("major faults", usage.major_faults),
                shown.after,
            );
        }
        if self.shown.len() > SHOWN_MAX {
            let _ = writeln!(text, "and {} more, shorter on the core", self.shown.len() - SHOWN_MAX);
        }
        text + &match (self.is_whole(), self.own_total()) {
            (false, _) => "BAD: not everything happened that was to happen\n".to_owned(),
            (true, 0) => "good: no turn above 1 ms by our doing\n".to_owned(),
            (true, count) => format!("BAD: {count} turns above 1 ms by our doing\n"),
        }
    }
}

/// Runs it.
///
/// # Errors
/// What kept it from starting, in words.
pub fn run(options: &Options) -> Result<Verdict, String> {
    let market = Market {
        lines: 1,
        rate: options.rate,
        seed: options.seed,
        book_depth: "full",
        book_levels: BOOK_LEVELS,
    };
    let bare = options.bare.then(|| bare::run(options.duration)).transpose()?;
    let seen = Arc::new(Seen::default());
    let counted = Arc::clone(&seen);
    let mut gateway = launch(topology_of(&market)?, &|_, _| {
        let counted = Arc::clone(&counted);
        Ok(Box::new(move || {
            Box::new(Watcher { seen: Arc::clone(&counted), broken: BTreeMap::new() }) as Box<dyn Consumer>
        }) as Factory)
    })
    .map_err(|error| error.to_string())?;
    let start = gateway.take_control().ok_or("the control endpoint is taken")?;
    let mut control = Control::start(start).map_err(|error| error.to_string())?;
    let mut run = Run::default();
    let outcome = run.through(options, &mut gateway, &control, &seen);
    control.stop();
    let ended = gateway.stop();
    if let Some((shard, reason)) = ended.panicked.first() {
        return Err(format!("shard {shard}: {reason}"));
    }
    outcome.map(|verdict| Verdict { bare, ..verdict })
}

#[derive(Default)]
struct Run {
    board: Board,
    rolled: u64,
    /// Lines that were lost, and when by the process' clock.
    lost: Vec<(u64, String)>,
    clock: Clock,
    /// By the process' clock, oldest first.
    disturbances: Vec<(u64, String)>,
    long: Vec<(ShardIndex, LongTurn)>,
    rows: BTreeMap<String, Row>,
}

impl Run {
    fn through(
        &mut self,
        options: &Options,
        gateway: &mut Gateway,
        control: &Control,
        seen: &Seen,
    ) -> Result<Verdict, String> {
        let began = Instant::now();
        while !self.is_proved() {
            if began.elapsed() > WAIT_MAX {
                return Err(format!("not all books proved within {} s", WAIT_MAX.as_secs()));
            }
            self.pass(gateway, Duration::from_millis(20))?;
        }
        let clock = self.clock.clone();
        seen.snapshot_parts.store(0, Ordering::Relaxed);
        drop(seen.take());
        let stolen_before = stolen_ms();
        let (messages, resyncs) = self.counts();
        let audit_ns = clock.now();
        for (_, _, counters) in gateway.threads() {
            let marker = options.marker.as_ref().map(|path| OpenOptions::new().append(true).open(path));
            let marker = marker.transpose().map_err(|error| format!("--marker: {error}"))?;
            counters.audit.get_or_init(|| TurnAudit::default().with_marker(marker));
        }
        let began = Instant::now();
        let every = options.every.min(options.duration / 8);
        for number in 0.. {
            if began.elapsed() >= options.duration {
                break;
            }
            // The quiet time before the first is part of it.
            self.pass(gateway, every)?;
            let what = disturb(gateway, control, number)?;
            self.disturbances.push((clock.now(), what));
        }
        let seconds = began.elapsed().as_secs_f64();
        let (messages_after, _) = self.counts();
        // What the last one leads to.
        self.pass(gateway, Duration::from_secs(2))?;
        let (_, resyncs_after) = self.counts();
        let mut disturbed = BTreeMap::new();
        for (_, what) in &self.disturbances {
            *disturbed.entry(what.clone()).or_insert(0) += 1;
        }
        let proved = seen.take();
        let slow = |book: &ProvedAgain| {
            format!(
                "book {} of {} broke at {:.3} s, {}, and was proved again after {}",
                book.stream.0,
                gateway.topology.providers[book.provider.index()].name,
                book.since_ns.saturating_sub(audit_ns) as f64 / 1e9,
                self.after(book.since_ns),
                latency(book.took_ns)
            )
        };
        let slow_books = proved.iter().filter(|book| book.took_ns > PROVED_NS_MAX).map(slow).collect();
        Ok(Verdict {
            shown: self.shown(gateway, audit_ns),
            steps: self.steps(gateway),
            bare: None,
            rows: std::mem::take(&mut self.rows),
            disturbed,
            messages_per_s: (messages_after - messages) as f64 / seconds,
            resyncs_total: resyncs_after - resyncs,
            rolled_total: self.rolled,
            snapshot_parts_total: seen.snapshot_parts.load(Ordering::Relaxed),
            slow_books,
            lost: self
                .lost
                .iter()
                .map(|(at_ns, what)| {
                    let at_s = at_ns.saturating_sub(audit_ns) as f64 / 1e9;
                    format!("lost at {at_s:.3} s, {}: {what}", self.after(*at_ns))
                })
                .collect(),
            proved_again_ns: proved_again(gateway, &proved),
            stolen_ms: stolen_ms().zip(stolen_before).map(|(after, before)| after.saturating_sub(before)),
        })
    }

    fn is_proved(&self) -> bool {
        let proved = |books: usize, proved: usize| books > 0 && books == proved;
        self.board.providers().count() == VENUES
            && self.board.providers().all(|at| proved(at.books as usize, at.books_proved as usize))
    }

    /// Messages and resyncs of all providers so far.
    fn counts(&self) -> (u64, u64) {
        self.board.providers().fold((0, 0), |(messages, resyncs), status| {
            (messages + status.counts.messages_total, resyncs + status.counts.resyncs_total)
        })
    }

    fn pass(&mut self, gateway: &mut Gateway, time: Duration) -> Result<(), String> {
        let began = Instant::now();
        while began.elapsed() < time {
            gateway.collector.collect();
            let board = &mut self.board;
            gateway.poll_statuses(|status| board.take(status));
            while let Some(report) = gateway.poll_report() {
                match &report.happening {
                    Happened::Feed(Happening::Rolled { .. }) => self.rolled += 1,
                    Happened::Feed(Happening::Lost(line, lost, _)) => {
                        let name = &gateway.topology.providers[usize::from(report.provider)].name;
                        self.lost.push((self.clock.now(), format!("line {} of {name}: {lost}", line.0)));
                    }
                    _ => {}
                }
            }
            for (shard, _, counters) in gateway.threads() {
                let Some(audit) = counters.audit.get() else { continue };
                let noted = audit.take();
                let row = self.rows.entry(gateway.topology.shard(shard).name.clone()).or_default();
                self.long.extend(row.take(noted).into_iter().map(|turn| (shard, turn)));
            }
            if let Some(shard) = gateway.fallen() {
                return Err(format!("shard {shard} fell"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// What was done to the gateway before, and how long before.
    fn after(&self, now_ns: u64) -> String {
        let before = self.disturbances.iter().rev().find(|(at_ns, _)| *at_ns <= now_ns);
        before.map_or("before anything was done to it".to_owned(), |(at_ns, what)| {
            format!("{} ms after {what}", (now_ns - at_ns) / 1_000_000)
        })
    }

    /// The long steps in words, the most frequent first.
    fn steps(&self, gateway: &Gateway) -> Vec<(String, u64, u64)> {
        let topology = &gateway.topology;
        let mut steps = Vec::new();
        for (shard, ..) in gateway.threads() {
            let name = &topology.shard(shard).name;
            let rows = self.rows.get(name).into_iter().flat_map(|row| row.steps.rows());
            steps.extend(rows.map(|(place, count, longest_ns)| {
                (format!("{name}: {}", place_words(topology, shard, place)), count, longest_ns)
            }));
        }
        steps.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
        steps
    }

    /// The long turns in words, the longest on a core first.
    fn shown(&self, gateway: &Gateway, audit_ns: u64) -> Vec<Shown> {
        let mut long = self.long.clone();
        long.sort_by_key(|(_, turn)| std::cmp::Reverse((turn.on_core_ns, turn.took_ns)));
        let shown = long.into_iter().map(|(shard, turn)| {
            let after = self.after(turn.began_ns + turn.took_ns);
            Shown {
                at_ms: turn.began_ns.saturating_sub(audit_ns) / 1_000_000,
                shard: gateway.topology.shard(shard).name.clone(),
                step: step_words(&gateway.topology, shard, turn.step),
                turn,
                after,
            }
        });
        shown.collect()
    }
}

/// Lengths of turns, and those above 1 ms by cause, of each shard.
fn rows_table(rows: &BTreeMap<String, Row>) -> String {
    let mut text =
        "\nturns that did something, by length\nshard              below      turns  by time on the core\n"
            .to_owned();
    for (shard, row) in rows {
        for (below_ns, turns, own) in row.lengths.rows() {
            let _ = writeln!(text, "{shard:<12} {:>11} {turns:>10} {own:>21}", latency(below_ns));
        }
    }
    text += "\nturns above 1 ms\n";
    for (shard, row) in rows {
        let (longest, on_core) = row.longest_ns;
        let _ = writeln!(
            text,
            "{shard:<12} {} in all, longest {}, most on a core {}",
            row.long.iter().sum::<u64>() + row.more_total,
            latency(longest),
            latency(on_core)
        );
        for (cause, count) in CAUSES.iter().zip(row.long).filter(|(_, count)| *count > 0) {
            let _ = writeln!(text, "  {count:>6} {}", cause.words());
        }
        if row.more_total > 0 {
            let _ = writeln!(text, "  {:>6} not kept", row.more_total);
        }
    }
    text
}

/// Does the next thing to the gateway; says what.
fn disturb(gateway: &Gateway, control: &Control, number: usize) -> Result<String, String> {
    let inject = |provider: usize, fault: Fault| {
        if let Some(server) = gateway.simulation.server(provider) {
            server.faults().inject(fault);
        }
    };
    let dropped = |provider: usize| {
        let plan = &gateway.topology.providers[provider];
        let listed = &plan.instruments[number / 4 % plan.instruments.len()];
        let symbol = gateway.topology.symbol(listed.id).to_owned();
        Fault::Venue(VenueFault::DropUpdates { symbol, count: 1 })
    };
    Ok(match number % 4 {
        0 => {
            inject(0, dropped(0));
            "an update that Binance left out".to_owned()
        }
        1 => {
            inject(1, dropped(1));
            "an update that Kraken left out".to_owned()
        }
        2 => {
            inject(2, Fault::SkipSequence(Target::All));
            "a message that Coinbase left out, ten books anew".to_owned()
        }
        _ => {
            for plan in &gateway.topology.providers {
                let path = format!("/providers/{}/roll", plan.name);
                let (status, answer) = ask(control.address(), "POST", &path, None, None)?;
                // On a busy host a line may have been lost just now: then there is none to roll.
                if status != 200 && status != 409 {
                    return Err(format!("POST {path}: HTTP {status}: {answer}"));
                }
            }
            "a roll of every line".to_owned()
        }
    })
}

/// Time of all cores that the hypervisor gave to others. Source: proc.rst of Linux 6.18, field 8 of `cpu`, in ticks of 10 ms.
fn stolen_ms() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    Some(line.split_whitespace().nth(7)?.parse::<u64>().ok()? * 10)
}

/// Times by the name of their provider.
fn proved_again(gateway: &Gateway, proved: &[ProvedAgain]) -> BTreeMap<String, Vec<u64>> {
    let mut named: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for book in proved {
        let name = gateway.topology.providers[book.provider.index()].name.clone();
        named.entry(name).or_default().push(book.took_ns);
    }
    for times in named.values_mut() {
        times.sort_unstable();
    }
    named
}

/// What the consumer saw.
#[derive(Default)]
struct Seen {
    snapshot_parts: AtomicU64,
    proved_again: Mutex<Vec<ProvedAgain>>,
}

/// A book that was not proved any more was proved again.
#[derive(Clone, Copy, Debug)]
struct ProvedAgain {
    provider: ProviderId,
    stream: StreamId,
    /// Since when it was not, by the process' clock.
    since_ns: u64,
    took_ns: u64,
}

impl Seen {
    fn take(&self) -> Vec<ProvedAgain> {
        std::mem::take(&mut *self.proved_again.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A consumer that counts parts of snapshots and takes the time of books that are not proved.
struct Watcher {
    seen: Arc<Seen>,
    /// Since when a book is not, by the bytes that showed it.
    broken: BTreeMap<(ProviderId, StreamId), ReceiveTime>,
}

impl Consumer for Watcher {
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        let header = &event.header;
        self.seen.snapshot_parts.fetch_add(u64::from(event.kind() == Kind::BookSnapshot), Ordering::Relaxed);
        match is_proved(event) {
            Some(true) => {
                if let Some(since) = self.broken.remove(&(header.provider, header.stream)) {
                    let took_ns = context.now().since_ns(since);
                    let (provider, stream, since_ns) = (header.provider, header.stream, since.ns());
                    let mut proved = self.seen.proved_again.lock().unwrap_or_else(PoisonError::into_inner);
                    proved.push(ProvedAgain { provider, stream, since_ns, took_ns });
                }
            }
            Some(false) => {
                self.broken.entry((header.provider, header.stream)).or_insert(header.receive_time);
            }
            None => {}
        }
    }
}

/// Whether the book that an event is of is proved, as it says itself; a snapshot that stands for what a full ring did not take
/// says it for the states among that.
fn is_proved(event: &Event) -> Option<bool> {
    let status = match event.body {
        Body::BookState { status, .. } => status,
        Body::BookSnapshot(part) | Body::BookUpdate(part) if event.completes() => part.status,
        _ => return None,
    };
    Some(status == BookStatus::Proved)
}

#[cfg(test)]
mod tests {
    use engine::event::{BookPart, BookReason, Flags, Header, LEVELS_PER_PART, Level, Proof};

    use super::*;

    #[test]
    fn a_book_says_in_each_event_whether_it_is_proved() {
        let levels = [Level::default(); LEVELS_PER_PART];
        let part = |status| BookPart { status, proof: Proof::None, bid_count: 0, ask_count: 0, levels };
        let state = |status| Body::BookState { status, proof: Proof::None, reason: BookReason::Joined };
        let (proved, stale, whole) = (BookStatus::Proved, BookStatus::Stale, Flags::WHOLE);
        for (flags, body, expected) in [
            (whole, state(proved), Some(true)),
            (whole, state(stale), Some(false)),
            (whole, Body::BookSnapshot(part(proved)), Some(true)),
            (Flags::CONFLATED, Body::BookSnapshot(part(proved)), None), // the last part says it
            (whole, Body::BookSnapshot(part(stale)), Some(false)),
            (whole, Body::BookUpdate(part(proved)), Some(true)),
        ] {
            let event = Event { header: Header { flags, ..Header::default() }, body };
            assert_eq!(is_proved(&event), expected, "{event:?}");
        }
    }
}
