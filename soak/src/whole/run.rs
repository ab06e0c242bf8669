//! Runs of the whole gateway: one seed, many seeds, and the shortest story of one that failed.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::chaos::{Kind, Mix, Told};
use super::{Options, Whole};
use crate::sim::{SECOND_NS, START_NS};

/// Lines of a story.
const STORY_LINES_MAX: usize = 20;
/// Time that is spent on a shorter story.
const SHORTEN_MAX: Duration = Duration::from_mins(1);

/// What one run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Stands for everything that its consumers saw: the same seed gives the same.
    pub hash: u64,
    /// Steps of the simulation.
    pub steps: u64,
    /// Things that went wrong, on purpose.
    pub faults: u64,
    /// Event parts that consumers saw.
    pub events: u64,
    /// Parts of merged events among them, and of best prices.
    pub merged: u64,
    /// Books compared with those that the providers ever had.
    pub books: u64,
    /// Gaps seen.
    pub gaps: u64,
    /// Critical events told to the consumers that trade.
    pub critical: u64,
    /// Processes that trade which died, those whose host lost its power counted.
    pub crashes: u64,
    /// Of those: with their host.
    pub power_cuts: u64,
    /// Bytes of torn journals that were cut off.
    pub torn_bytes: u64,
    /// Journals whose disk was full.
    pub full_disks: u64,
    /// Files that journals began while they ran.
    pub rotations: u64,
    /// Orders that a journal had to know after a crash, and did.
    pub remembered: u64,
    /// Handlers that panicked.
    pub panics: u64,
    /// Changes that the control shard carried out, and those that it refused.
    pub changes: u64,
    /// See [`changes`](Self::changes).
    pub refused: u64,
    /// Changes that no shard had answered after five seconds.
    pub unanswered: u64,
    /// Requests of consumers' own.
    pub own_requests: u64,
    /// Recordings that were read back, event parts in them, parts that they declare lost, and their files without an end.
    pub recordings: u64,
    /// See [`recordings`](Self::recordings).
    pub recorded: u64,
    /// See [`recordings`](Self::recordings).
    pub recorded_lost: u64,
    /// See [`recordings`](Self::recordings).
    pub recorded_torn: u64,
    /// Lines from which another took over, on command or by notice of the venue.
    pub rolled: u64,
    /// Times that what was in force was compared with what the control shard says.
    pub compared: u64,
    /// Simulated time, in nanoseconds.
    pub simulated_ns: u64,
}

impl Summary {
    fn add(&mut self, other: &Self) {
        self.hash = self.hash.rotate_left(7) ^ other.hash;
        self.steps += other.steps;
        self.faults += other.faults;
        self.events += other.events;
        self.merged += other.merged;
        self.books += other.books;
        self.gaps += other.gaps;
        self.critical += other.critical;
        self.crashes += other.crashes;
        self.power_cuts += other.power_cuts;
        self.torn_bytes += other.torn_bytes;
        self.full_disks += other.full_disks;
        self.rotations += other.rotations;
        self.remembered += other.remembered;
        self.panics += other.panics;
        self.changes += other.changes;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        self.own_requests += other.own_requests;
        self.compared += other.compared;
        self.recordings += other.recordings;
        self.recorded += other.recorded;
        self.recorded_lost += other.recorded_lost;
        self.recorded_torn += other.recorded_torn;
        self.rolled += other.rolled;
        self.simulated_ns += other.simulated_ns;
    }
}

/// A run that broke a promise.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Of the run.
    pub seed: u64,
    /// What could go wrong in it.
    pub mix: Mix,
    /// Which promise, in words.
    pub what: String,
    /// What went wrong before, on purpose.
    pub story: Vec<Told>,
    /// Whether the story was shortened to these parts.
    pub short: bool,
    /// When it was seen.
    pub at_ns: u64,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let second = |at_ns: u64| (at_ns - START_NS) as f64 / SECOND_NS as f64;
        writeln!(f, "seed {}: {}", self.seed, self.what)?;
        let skipped = self.story.len().saturating_sub(STORY_LINES_MAX);
        if skipped > 0 {
            writeln!(f, "  ... {skipped} before")?;
        }
        for told in &self.story[skipped..] {
            writeln!(f, "  {:8.3} s  {}", second(told.at_ns), told.what)?;
        }
        writeln!(f, "  {:8.3} s  seen; with {:?}", second(self.at_ns), self.mix.kinds())?;
        write!(f, "again: soak simulate --seeds 1 --from {} --mix {}", self.seed, self.mix.0)?;
        if self.short {
            let numbers: Vec<_> = self.story.iter().map(|told| told.number.to_string()).collect();
            write!(f, " --only {}", numbers.join(","))?;
        }
        Ok(())
    }
}

/// Runs one seed.
///
/// # Errors
/// The promise that was broken.
pub fn simulate(options: &Options) -> Result<Summary, Box<Failure>> {
    let mut whole = Whole::new(options.clone());
    let until_ns = START_NS + options.chaos_ns;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        whole.run_until(until_ns, true, |_| false)?;
        whole.finish()
    }));
    let outcome = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned())
    });
    match outcome {
        Ok(()) => Ok(whole.summary()),
        Err(what) => Err(Box::new(Failure {
            seed: options.seed,
            mix: whole.mix,
            short: options.only.is_some(),
            what,
            story: std::mem::take(&mut whole.chaos.story),
            at_ns: whole.now_ns,
        })),
    }
}

/// The same failure with as little going wrong as still leads to one, as far as a minute of looking gets.
pub fn shorten(options: &Options, failure: Box<Failure>) -> Box<Failure> {
    let began = Instant::now();
    let mut shortest = failure;
    let attempt = |shortest: &mut Box<Failure>, mix: Mix, only: Option<Vec<u32>>| {
        if began.elapsed() > SHORTEN_MAX {
            return false;
        }
        let shorter = simulate(&Options { mix: Some(mix), only, ..options.clone() }).err();
        let found = shorter.is_some();
        if let Some(shorter) = shorter {
            *shortest = shorter;
        }
        found
    };
    for kind in Kind::ALL {
        if shortest.mix.has(kind) {
            let mix = shortest.mix.without(kind);
            attempt(&mut shortest, mix, options.only.clone());
        }
    }
    let mut part = shortest.story.len().div_ceil(2);
    while part > 0 {
        let mut from = 0;
        while from < shortest.story.len() {
            let until = (from + part).min(shortest.story.len());
            let outside = |index: &usize| !(from..until).contains(index);
            let kept = (0..shortest.story.len()).filter(outside).map(|index| shortest.story[index].number);
            let (mix, only) = (shortest.mix, Some(kept.collect()));
            if !attempt(&mut shortest, mix, only) {
                from = until;
            }
        }
        part /= 2;
    }
    shortest
}

/// The outcome of many seeds.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The first seed.
    pub from: u64,
    /// Seeds run.
    pub seeds: u64,
    /// The sum over them.
    pub sum: Summary,
    /// Real time.
    pub took: Duration,
    /// The first that failed, shortened.
    pub failure: Option<Box<Failure>>,
}

impl Verdict {
    /// Whether all promises held.
    pub const fn is_good(&self) -> bool {
        self.failure.is_none()
    }

    /// A few lines for people.
    pub fn table(&self) -> String {
        let Self { from, seeds, sum, took, failure } = self;
        let second = took.as_secs_f64().max(1e-9);
        let mut text = format!(
            "{seeds} seeds from {from} in {second:.1} s: {:.2} seeds, {:.0} steps, {:.0} faults a second; {:.0} \
             simulated seconds\n{} event parts seen, {} of them merged, {} books compared, {} gaps, {} critical \
             events, {} handlers panicked; hash {:016x}\n{} crashes of who trades, {} of them power cuts, {} torn bytes \
             cut, {} full disks, {} rotations, {} orders remembered\n{} changes by the control shard, {} refused, {} not \
             answered in 5 s, {} requests of consumers; compared with what is in force {} times\n{} \
             recordings read back: {} event parts, {} declared lost, {} torn files; {} lines rolled\n",
            *seeds as f64 / second,
            sum.steps as f64 / second,
            sum.faults as f64 / second,
            sum.simulated_ns as f64 / SECOND_NS as f64,
            sum.events,
            sum.merged,
            sum.books,
            sum.gaps,
            sum.critical,
            sum.panics,
            sum.hash,
            sum.crashes,
            sum.power_cuts,
            sum.torn_bytes,
            sum.full_disks,
            sum.rotations,
            sum.remembered,
            sum.changes,
            sum.refused,
            sum.unanswered,
            sum.own_requests,
            sum.compared,
            sum.recordings,
            sum.recorded,
            sum.recorded_lost,
            sum.recorded_torn,
            sum.rolled,
        );
        match failure {
            Some(failure) => {
                let _ = writeln!(text, "BROKEN: {failure}");
            }
            None => text += "every promise held\n",
        }
        text
    }
}

/// Runs seeds from `from` on, until `seeds` are done, `time` is over, or one fails.
pub fn simulate_many(
    from: u64,
    seeds: u64,
    time: Option<Duration>,
    mix: Option<Mix>,
    only: Option<Vec<u32>>,
) -> Verdict {
    let began = Instant::now();
    let mut verdict =
        Verdict { from, seeds: 0, sum: Summary::default(), took: Duration::ZERO, failure: None };
    while verdict.seeds < seeds && time.is_none_or(|time| began.elapsed() < time) {
        let options =
            Options { mix, only: only.clone(), ..Options::with_seed(from.wrapping_add(verdict.seeds)) };
        verdict.seeds += 1;
        match simulate(&options) {
            Ok(summary) => verdict.sum.add(&summary),
            Err(failure) => {
                verdict.failure = Some(shorten(&options, failure));
                break;
            }
        }
    }
    verdict.took = began.elapsed();
    verdict
}

impl Whole {
    fn summary(&self) -> Summary {
        let mut summary = Summary {
            steps: self.steps_total,
            faults: self.chaos.faults_total,
            simulated_ns: self.now_ns - START_NS,
            critical: self.news.iter().map(|news| news.len() as u64).sum(),
            ..Summary::default()
        };
        if let Some(trade) = &self.trade {
            let tally = &trade.tally;
            (summary.crashes, summary.power_cuts) = (tally.restarts, tally.power_cuts);
            (summary.torn_bytes, summary.full_disks) = (tally.cut_bytes, tally.journal_failures);
            (summary.rotations, summary.remembered) = (tally.rotations, tally.remembered);
        }
        if let Some(control) = &self.control {
            (summary.changes, summary.refused) = control.counts();
            (summary.unanswered, summary.compared) = (control.unanswered(), control.compared_total);
        }
        if let Some(recording) = &self.recording {
            let tally = recording.tally;
            (summary.recordings, summary.recorded) = (tally.recordings, tally.read);
            (summary.recorded_lost, summary.recorded_torn) = (tally.lost, tally.torn);
        }
        for seated in self.shards.iter().flat_map(|shard| &shard.seated) {
            let audit = seated.audit.borrow();
            summary.own_requests += audit.asked.len() as u64;
            summary.hash = summary.hash.rotate_left(5) ^ audit.hash;
            summary.events += audit.seen_total;
            summary.merged += audit.merged_total;
            summary.books += audit.books_total;
            summary.gaps += audit.gaps_total;
        }
        summary.rolled = self.feeds.iter().map(|feed| feed.rolled_total()).sum();
        let seats = self.shards.iter().flat_map(|shard| shard.host.seats());
        summary.panics = seats.map(|(_, counts, _)| counts.restarts_total).sum();
        summary
    }
}
