//! Whose doing a long turn was: the shard's own, or that of whoever took its core.
//!
//! Off unless somebody asks ([`super::executor::LoopCounters::audit`]): the shard then asks the kernel before and after each
//! turn for its time on a core, a system call each, and every few milliseconds, between two turns, for its switches and
//! faults. A turn that was long on the clock and short on the core was not the shard's doing.
//!
//! [`LongTurns`] is the small one that is always on, for the report of a run: it asks ten times a second and after each long
//! turn, and so knows how long a turn was on its core at the least.

use std::fs::File;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use rustix::time::{ClockId, clock_gettime};

use super::executor::LONG_TURN_NS;
use super::place::{Place, Step};
use crate::machine::usage::{ThreadUsage, current_tid};

/// Long turns that are kept; more are counted.
const KEPT_MAX: usize = 4_096;
/// Between two questions for switches and faults, which cost some 30 us.
const ASK_EVERY_NS: u64 = 10_000_000;
/// Between two looks of [`CoreTime`]; one costs 0.3 us.
const LOOK_EVERY_NS: u64 = 100_000_000;
/// Buckets of [`Lengths`]: powers of two of nanoseconds, up to 9 minutes.
const BUCKETS: usize = 40;

/// Whose doing a long turn was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was on its core for more than [`LONG_TURN_NS`].
    Own,
    /// Another thread had the core.
    Taken,
    /// A page came from the disk.
    MajorFault,
    /// It slept in a system call.
    Blocked,
    /// Off the core and the kernel of this machine did not do it: a hypervisor's doing.
    Stolen,
}

impl Cause {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Own => "own work",
            Self::Taken => "another thread had the core",
            Self::MajorFault => "a page came from the disk",
            Self::Blocked => "slept in a system call",
            Self::Stolen => "not on the core, no switch seen: the hypervisor had it",
        }
    }
}

/// A turn above [`LONG_TURN_NS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongTurn {
    /// When it began, by the process' monotonic clock.
    pub began_ns: u64,
    /// How long it took.
    pub took_ns: u64,
    /// How much of that the thread was on a core.
    pub on_core_ns: u64,
    /// What the turn says that it did; 1 and long is one big piece.
    pub done: usize,
    /// The longest of its steps.
    pub step: Step,
    /// What the kernel counted, since at most `ASK_EVERY_NS` before the turn.
    pub usage: ThreadUsage,
}

impl LongTurn {
    /// Whose doing it was.
    pub fn cause(&self) -> Cause {
        let some = |count: Option<u64>| count.unwrap_or(0) > 0;
        // A millisecond of own work is too much, whatever else happened.
        if self.on_core_ns > LONG_TURN_NS {
            Cause::Own
        } else if some(self.usage.major_faults) {
            Cause::MajorFault
        } else if some(self.usage.involuntary_switches) {
            Cause::Taken
        } else if some(self.usage.voluntary_switches) {
            Cause::Blocked
        } else {
            Cause::Stolen
        }
    }
}

/// The longest of some turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Longest {
    /// How long it took, in nanoseconds.
    pub took_ns: u64,
    /// How much of that the thread was on a core, at the least.
    pub on_core_ns: u64,
    /// What the turn says that it did.
    pub done: usize,
    /// The longest of its steps.
    pub step: Step,
}

/// Turns above [`LONG_TURN_NS`] since somebody asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LongSince {
    /// Those that were on their core for more than that: our own work.
    pub own_count: u64,
    /// The longest on a core, or of several that were not on one, by the clock.
    pub longest: Option<Longest>,
}

/// Where a shard notes its long turns, always.
#[derive(Debug, Default)]
pub struct LongTurns(Mutex<LongSince>);

impl LongTurns {
    /// What was noted since the last time.
    pub fn take(&self) -> LongSince {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Never waits: who reads has the lock for a copy of a few words, and the turn is counted elsewhere too.
    #[cold]
    pub fn note(&self, turn: Longest) {
        let Ok(mut since) = self.0.try_lock() else { return };
        since.own_count += u64::from(turn.on_core_ns > LONG_TURN_NS);
        let length = |turn: &Longest| (turn.on_core_ns, turn.took_ns);
        if since.longest.is_none_or(|longest| length(&longest) < length(&turn)) {
            since.longest = Some(turn);
        }
    }
}

/// How long the calling thread was away from its core, looked at now and then.
#[derive(Debug)]
pub struct CoreTime {
    at_ns: u64,
    on_core_ns: u64,
}

impl CoreTime {
    /// From now on.
    pub fn begin(now_ns: u64) -> Self {
        Self { at_ns: now_ns, on_core_ns: on_core_ns() }
    }

    /// Begins anew where the last look was long ago: who is away then is not away in the next long turn.
    #[inline]
    pub fn keep(&mut self, now_ns: u64) {
        if now_ns >= self.at_ns + LOOK_EVERY_NS {
            *self = Self::begin(now_ns);
        }
    }

    /// How much of a turn that ended now and took `took_ns` the thread was on a core, at the least.
    #[cold]
    pub fn of_turn(&mut self, took_ns: u64, now_ns: u64) -> u64 {
        let now = Self::begin(now_ns);
        let passed_ns = now_ns.saturating_sub(self.at_ns);
        let away_ns = passed_ns.saturating_sub(now.on_core_ns.saturating_sub(self.on_core_ns));
        *self = now;
        took_ns.saturating_sub(away_ns)
    }
}

/// How long turns were that did something, by powers of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lengths {
    counts: [u64; BUCKETS],
    on_core: [u64; BUCKETS],
}

impl Default for Lengths {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], on_core: [0; BUCKETS] }
    }
}

impl Lengths {
    fn record(&mut self, took_ns: u64, on_core_ns: u64) {
        let bucket = |ns: u64| (ns.max(1).ilog2() as usize).min(BUCKETS - 1);
        self.counts[bucket(took_ns)] += 1;
        self.on_core[bucket(on_core_ns)] += 1;
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        for (sum, own) in [(&mut self.counts, &other.counts), (&mut self.on_core, &other.on_core)] {
            sum.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
        }
    }

    /// `(below, turns by the clock, turns by time on the core)`, from the first bucket with turns to the last; `below` in
    /// nanoseconds.
    pub fn rows(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        let used = |at: &usize| self.counts[*at] + self.on_core[*at] > 0;
        let (first, last) = ((0..BUCKETS).find(used), (0..BUCKETS).rfind(used));
        let range = first.unwrap_or(0)..last.map_or(0, |last| last + 1);
        range.map(|at| (1 << (at + 1), self.counts[at], self.on_core[at]))
    }
}

/// Turns with a step above this are counted by what the step was, in nanoseconds.
pub const LONG_STEP_NS: u64 = LONG_TURN_NS / 4;
/// Places that [`Steps`] tells apart; a shard has fewer.
const PLACES_MAX: usize = 32;

/// What the longest steps of turns were, of those above [`LONG_STEP_NS`]: by place, how many turns and the longest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    rows: [(Place, u64, u64); PLACES_MAX],
    used: usize,
}

impl Default for Steps {
    fn default() -> Self {
        Self { rows: [(Place::Starting, 0, 0); PLACES_MAX], used: 0 }
    }
}

impl Steps {
    fn record(&mut self, place: Place, count: u64, longest_ns: u64) {
        let at = self.rows[..self.used].iter().position(|row| row.0 == place).unwrap_or_else(|| {
            // A place more than there is room for is not told from the last one.
            if self.used < PLACES_MAX {
                self.rows[self.used].0 = place;
                self.used += 1;
            }
            self.used - 1
        });
        self.rows[at].1 += count;
        self.rows[at].2 = self.rows[at].2.max(longest_ns);
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        other.rows().for_each(|(place, count, longest_ns)| self.record(place, count, longest_ns));
    }

    /// `(place, turns, the longest step in nanoseconds)`.
    pub fn rows(&self) -> impl Iterator<Item = (Place, u64, u64)> + '_ {
        self.rows[..self.used].iter().copied()
    }
}

/// What was noted so far.
#[derive(Clone, Debug, Default)]
pub struct Noted {
    /// Long turns, oldest first.
    pub long: Vec<LongTurn>,
    /// Long turns that were not kept.
    pub more_total: u64,
    /// All turns that did something.
    pub lengths: Lengths,
    /// Their long steps.
    pub steps: Steps,
}

/// Where a shard notes its long turns and who asked for them reads.
#[derive(Debug)]
pub struct TurnAudit {
    noted: Mutex<Noted>,
    /// The kernel's own trace, where each long turn leaves a line.
    marker: Option<File>,
}

impl Default for TurnAudit {
    fn default() -> Self {
        let noted = Mutex::new(Noted { long: Vec::with_capacity(KEPT_MAX), ..Noted::default() });
        Self { noted, marker: None }
    }
}

impl TurnAudit {
    /// Each long turn also leaves a line in `marker`, the kernel's `trace_marker`, as soon as it has ended: what the kernel
    /// traced before that line is what happened in the turn.
    #[must_use]
    pub fn with_marker(self, marker: Option<File>) -> Self {
        Self { marker, ..self }
    }

    /// Takes what was noted since the last time.
    pub fn take(&self) -> Noted {
        let fresh = Self::default().noted.into_inner().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner), fresh)
    }

    fn mark(&self, took_ns: u64, on_core_ns: u64, step: Step) {
        let Some(mut marker) = self.marker.as_ref() else { return };
        let line = format!(
            "meltica turn took_ns={took_ns} on_core_ns={on_core_ns} step_ns={} step={:?}\n",
            step.took_ns, step.place
        );
        // Without a trace there is nothing to mark.
        let _ = marker.write_all(line.as_bytes());
    }

    fn note(&self, lengths: &mut Lengths, steps: &mut Steps, long: Option<LongTurn>) {
        // Whoever reads has the lock for a copy of a few words. Lengths can be said later; a long turn is rare.
        let mut noted = match long {
            Some(_) => self.noted.lock().unwrap_or_else(PoisonError::into_inner),
            None => match self.noted.try_lock() {
                Ok(noted) => noted,
                Err(_) => return,
            },
        };
        noted.lengths.add(lengths);
        noted.steps.add(steps);
        (*lengths, *steps) = (Lengths::default(), Steps::default());
        if let Some(long) = long {
            if noted.long.len() < KEPT_MAX {
                noted.long.push(long);
            } else {
                noted.more_total += 1;
            }
        }
    }
}

/// The books that a shard keeps while it is audited.
#[derive(Debug)]
pub struct Account {
    thread: u32,
    usage: ThreadUsage,
    asked_ns: u64,
    on_core_ns: u64,
    lengths: Lengths,
    steps: Steps,
}

impl Account {
    /// For the calling thread, from the next turn on.
    pub fn open(now_ns: u64) -> Self {
        let thread = current_tid();
        let usage = ThreadUsage::read(thread);
        let (lengths, steps) = (Lengths::default(), Steps::default());
        Self { thread, usage, asked_ns: now_ns, on_core_ns: on_core_ns(), lengths, steps }
    }

    /// A turn is about to begin.
    pub fn begin(&mut self, now_ns: u64) {
        if now_ns >= self.asked_ns + ASK_EVERY_NS {
            self.asked_ns = now_ns;
            self.usage = ThreadUsage::read(self.thread);
        }
        self.on_core_ns = on_core_ns();
    }

    /// A turn has ended.
    pub fn settle(&mut self, audit: &TurnAudit, (from_ns, to_ns): (u64, u64), done: usize, step: Step) {
        let took_ns = to_ns.saturating_sub(from_ns);
        let on_core_ns = on_core_ns().saturating_sub(self.on_core_ns);
        if done > 0 {
            self.lengths.record(took_ns, on_core_ns);
        }
        if step.took_ns > LONG_STEP_NS {
            self.steps.record(step.place, 1, step.took_ns);
        }
        if took_ns <= LONG_TURN_NS {
            if done > 0 && to_ns >= self.asked_ns + ASK_EVERY_NS {
                audit.note(&mut self.lengths, &mut self.steps, None);
            }
            return;
        }
        audit.mark(took_ns, on_core_ns, step);
        let now = ThreadUsage::read(self.thread);
        let usage = now.since(&self.usage);
        (self.usage, self.asked_ns) = (now, to_ns);
        let long = LongTurn { began_ns: from_ns, took_ns, on_core_ns, done, step, usage };
        audit.note(&mut self.lengths, &mut self.steps, Some(long));
    }
}

/// Time that the calling thread was on a core.
fn on_core_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::machine::clock::Clock;

    const STEP: Step = Step { place: Place::Provider(3), took_ns: 5 };

    /// One turn of `work`, audited.
    fn audited(work: impl FnOnce()) -> Noted {
        let audit = TurnAudit::default();
        let clock = Clock::new();
        let mut account = Account::open(clock.now());
        account.begin(clock.now());
        let from_ns = clock.now();
        work();
        account.settle(&audit, (from_ns, clock.now()), 1, STEP);
        audit.take()
    }

    #[test]
    fn work_is_the_shards_own_and_sleep_is_not() {
        let worked = audited(|| {
            let (before, mut sum) = (on_core_ns(), 0_u64);
            while on_core_ns() < before + 3 * LONG_TURN_NS {
                sum = std::hint::black_box(sum + 1);
            }
        });
        let [turn] = worked.long[..] else { panic!("{worked:?}") };
        assert_eq!((turn.cause(), turn.step, turn.done), (Cause::Own, STEP, 1));
        let slept = audited(|| std::thread::sleep(Duration::from_millis(5)));
        let [turn] = slept.long[..] else { panic!("{slept:?}") };
        assert_ne!(turn.cause(), Cause::Own);
        assert!(turn.took_ns > turn.on_core_ns);
        assert!(turn.usage.voluntary_switches >= Some(1), "{turn:?}");
        assert_eq!(slept.lengths.rows().map(|(_, turns, _)| turns).sum::<u64>(), 1);
    }

    #[test]
    fn what_was_away_from_the_core_is_not_own_work() {
        let (clock, long) = (Clock::new(), LongTurns::default());
        let note = |work: &dyn Fn()| {
            let from_ns = clock.now();
            let mut core = CoreTime::begin(from_ns);
            work();
            let now_ns = clock.now();
            let took_ns = now_ns - from_ns;
            let on_core_ns = core.of_turn(took_ns, now_ns);
            long.note(Longest { took_ns, on_core_ns, done: 1, step: STEP });
            (took_ns, on_core_ns)
        };
        let (took_ns, on_core_ns) = note(&|| std::thread::sleep(Duration::from_millis(20)));
        assert!(on_core_ns < took_ns, "{on_core_ns} of {took_ns}");
        let worked = note(&|| {
            let before = super::on_core_ns();
            while super::on_core_ns() < before + 30 * LONG_TURN_NS {}
        });
        let since = long.take();
        assert_eq!(since.longest.map(|turn| (turn.took_ns, turn.on_core_ns)), Some(worked));
        assert!(since.own_count >= 1, "{since:?}");
        assert_eq!(long.take(), LongSince::default());
    }

    #[test]
    fn causes_are_told_apart_by_what_the_kernel_counted() {
        let turn = |on_core_ns, usage| LongTurn {
            began_ns: 0,
            took_ns: 2 * LONG_TURN_NS,
            on_core_ns,
            done: 1,
            step: STEP,
            usage,
        };
        let none = ThreadUsage::default();
        let (taken, slept) = (
            ThreadUsage { involuntary_switches: Some(1), ..none },
            ThreadUsage { voluntary_switches: Some(1), ..none },
        );
        let disk = ThreadUsage { major_faults: Some(1), ..taken };
        assert_eq!(turn(LONG_TURN_NS + 1, disk).cause(), Cause::Own);
        assert_eq!(turn(1, disk).cause(), Cause::MajorFault);
        assert_eq!(turn(1, taken).cause(), Cause::Taken);
        assert_eq!(turn(1, slept).cause(), Cause::Blocked);
        assert_eq!(turn(1, none).cause(), Cause::Stolen);
    }

    #[test]
    fn lengths_are_counted_by_powers_of_two() {
        let mut lengths = Lengths::default();
        assert_eq!(lengths.rows().count(), 0);
        for (took_ns, on_core_ns) in [(1_000, 700), (1_023, 1_023), (1_024, 600), (u64::MAX, 0)] {
            lengths.record(took_ns, on_core_ns);
        }
        let rows: Vec<_> = lengths.rows().filter(|(_, turns, own)| turns + own > 0).collect();
        assert_eq!(rows, [(2, 0, 1), (1_024, 2, 3), (2_048, 1, 0), (1 << 40, 1, 0)]);
    }

    #[test]
    fn long_steps_are_counted_by_what_they_were() {
        let (audit, clock) = (TurnAudit::default(), Clock::new());
        let mut account = Account::open(clock.now());
        let steps =
            [(0, 1), (0, LONG_STEP_NS), (1, LONG_STEP_NS + 7), (2, LONG_STEP_NS + 9), (1, LONG_STEP_NS + 8)];
        for (provider, took_ns) in steps {
            let step = Step { place: Place::Provider(provider), took_ns };
            account.begin(clock.now());
            account.settle(&audit, (0, LONG_TURN_NS), 1, step);
        }
        account.settle(&audit, (0, LONG_TURN_NS + 1), 1, STEP);
        let expected = [(Place::Provider(1), 2, LONG_STEP_NS + 8), (Place::Provider(2), 1, LONG_STEP_NS + 9)];
        assert_eq!(audit.take().steps.rows().collect::<Vec<_>>(), expected);
        assert_eq!(audit.take().steps, Steps::default());
        let mut many = Steps::default();
        (0..100).for_each(|provider| many.record(Place::Provider(provider), 1, 1));
        assert_eq!((many.rows().count(), many.rows().map(|row| row.1).sum::<u64>()), (PLACES_MAX, 100));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let audit = TurnAudit::default();
        let long = audited(|| std::thread::sleep(Duration::from_millis(2))).long[0];
        let began = Instant::now();
        for _ in 0..KEPT_MAX + 3 {
            audit.note(&mut Lengths::default(), &mut Steps::default(), Some(long));
        }
        let noted = audit.take();
        assert_eq!((noted.long.len(), noted.more_total), (KEPT_MAX, 3), "{:?}", began.elapsed());
        assert_eq!(audit.take().long.len(), 0);
    }
}
