//! Order of one stream: says for each message whether it is next, old, or after a hole, and holds what came early.
//!
//! Knows nothing of sockets, venues or books. A venue maps its own numbers to `first..=last`; this module only compares
//! them. Messages in sequence never touch the reorder buffer.

use crate::time::ReceiveTime;
use crate::venue::SequenceRule;

/// What the caller does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next one: publish it.
    Apply,
    /// Already covered by what was published: drop it and count it, venues resend.
    Stale,
    /// Numbers are missing before it.
    Hole {
        /// First number missing.
        from: u64,
        /// Last number missing.
        to: u64,
    },
}

/// How long and how much a stream waits for what is missing (SPEC F-21).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Longest wait for a missing number, in nanoseconds.
    pub lateness_ns: u64,
    /// Between two looks at streams that wait, in nanoseconds: a hole may last so much longer.
    pub flush_ns: u64,
    /// Messages held by one stream at most.
    pub held_max: usize,
}

impl Patience {
    /// SPEC's figures: 150 ms, 50 ms, 200 messages.
    pub const SPEC: Self = Self { lateness_ns: 150_000_000, flush_ns: 50_000_000, held_max: 200 };
}

/// Counts of one stream; they add up: `offered = applied + stale + held now`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceCounts {
    /// Messages given to it.
    pub offered_total: u64,
    /// Messages published in order.
    pub applied_total: u64,
    /// Messages already covered.
    pub stale_total: u64,
    /// Messages that had to wait.
    pub held_total: u64,
    /// Holes declared.
    pub gap_total: u64,
}

/// The running number of one stream.
#[derive(Debug)]
pub struct Sequence {
    rule: SequenceRule,
    /// Last number published; `None` before the first.
    last: Option<u64>,
    /// Numbers of its own, where the venue has none.
    own: u64,
    /// What was counted.
    pub counts: SequenceCounts,
}

impl Sequence {
    /// A stream of which nothing was seen.
    pub const fn new(rule: SequenceRule) -> Self {
        Self {
            rule,
            last: None,
            own: 0,
            counts: SequenceCounts {
                offered_total: 0,
                applied_total: 0,
                stale_total: 0,
                held_total: 0,
                gap_total: 0,
            },
        }
    }

    /// Compares a message with what was published. Changes nothing.
    #[inline]
    pub fn verdict(&self, first: u64, last: u64) -> Verdict {
        let Some(published) = self.last else { return Verdict::Apply };
        match self.rule {
            SequenceRule::Monotonic | SequenceRule::Contiguous if last <= published => Verdict::Stale,
            SequenceRule::Contiguous if first > published + 1 => {
                Verdict::Hole { from: published + 1, to: first - 1 }
            }
            _ => Verdict::Apply,
        }
    }

    /// Takes note that everything up to `last` is published.
    #[inline]
    pub fn advance(&mut self, last: u64) {
        self.counts.applied_total += 1;
        self.last = Some(last);
    }

    /// Takes note of the last number before the subscription, without publishing anything. An older one changes nothing.
    pub fn begin_after(&mut self, last: u64) {
        self.last = Some(self.last.map_or(last, |known| known.max(last)));
    }

    /// The next number of its own: for streams that the venue does not number.
    #[inline]
    pub fn own_number(&mut self) -> u64 {
        self.own += 1;
        self.own
    }

    /// The last number of its own, 0 before the first.
    pub const fn last_own_number(&self) -> u64 {
        self.own
    }

    /// How its numbers follow one another.
    pub const fn rule(&self) -> SequenceRule {
        self.rule
    }

    /// Last number published.
    pub const fn last(&self) -> Option<u64> {
        self.last
    }

    /// Forgets the position: the venue started its numbers anew.
    pub fn restart(&mut self) {
        self.last = None;
    }
}

/// Messages of one stream that came before their turn, in sequence.
#[derive(Debug)]
pub struct Reorder<T> {
    held: Vec<Held<T>>,
    held_max: usize,
}

#[derive(Debug)]
struct Held<T> {
    first: u64,
    last: u64,
    since: ReceiveTime,
    message: T,
}

/// What became of a message that was to be held.
#[derive(Debug, PartialEq, Eq)]
pub enum Hold<T> {
    /// It waits.
    Held,
    /// The same one waits already.
    Duplicate(T),
    /// As many wait as may: the oldest hole must be given up first.
    Full(T),
}

impl<T> Reorder<T> {
    /// Room for `held_max` messages; taken here.
    pub fn new(held_max: usize) -> Self {
        Self { held: Vec::with_capacity(held_max), held_max }
    }

    /// Holds a message until its turn.
    pub fn hold(&mut self, first: u64, last: u64, since: ReceiveTime, message: T) -> Hold<T> {
        let at = self.held.partition_point(|held| held.first < first);
        if self.held.get(at).is_some_and(|held| held.first == first && held.last >= last) {
            return Hold::Duplicate(message);
        }
        if self.held.len() == self.held_max {
            return Hold::Full(message);
        }
        self.held.insert(at, Held { first, last, since, message });
        Hold::Held
    }

    /// Takes the message whose turn it is, after those that became old are dropped through `stale`.
    pub fn next_ready(&mut self, sequence: &mut Sequence, mut stale: impl FnMut(T)) -> Option<(u64, u64, T)> {
        loop {
            let front = self.held.first()?;
            match sequence.verdict(front.first, front.last) {
                Verdict::Hole { .. } => return None,
                Verdict::Apply => {
                    let held = self.held.remove(0);
                    return Some((held.first, held.last, held.message));
                }
                Verdict::Stale => {
                    sequence.counts.stale_total += 1;
                    stale(self.held.remove(0).message);
                }
            }
        }
    }

    /// The hole before the first held message, once that has waited longer than it may: give it up.
    pub fn overdue(&self, sequence: &Sequence, patience: &Patience, now: ReceiveTime) -> Option<(u64, u64)> {
        let oldest = self.held.iter().map(|held| held.since).min()?;
        if now.since_ns(oldest) < patience.lateness_ns {
            return None;
        }
        self.front_hole(sequence)
    }

    /// The hole before the first held message, overdue or not.
    pub fn front_hole(&self, sequence: &Sequence) -> Option<(u64, u64)> {
        let front = self.held.first()?;
        match sequence.verdict(front.first, front.last) {
            Verdict::Hole { from, to } => Some((from, to)),
            Verdict::Apply | Verdict::Stale => None,
        }
    }

    /// The first held message.
    pub fn front(&self) -> Option<&T> {
        self.held.first().map(|held| &held.message)
    }

    /// When the first hole becomes overdue.
    pub fn deadline(&self, patience: &Patience) -> Option<ReceiveTime> {
        self.held.iter().map(|held| held.since).min().map(|since| since.plus_ns(patience.lateness_ns))
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offers numbers in turn (`5` or `5-7`), with patience for holes of `held_max` messages, and writes what is
    /// published, `gap(a-b)` for holes given up, `old(n)` for what was covered. `!` lets the lateness pass.
    fn check(rule: SequenceRule, input: &str, expected: &str) {
        let mut sequence = Sequence::new(rule);
        let mut reorder = Reorder::new(3);
        let mut now = ReceiveTime::from_ns(1);
        let mut seen: Vec<String> = Vec::new();
        let range =
            |first: u64, last: u64| if first == last { first.to_string() } else { format!("{first}-{last}") };
        for word in input.split_whitespace() {
            if word == "!" {
                now = now.plus_ns(Patience::SPEC.lateness_ns);
                while let Some((from, to)) = reorder.overdue(&sequence, &Patience::SPEC, now) {
                    seen.push(format!("gap({})", range(from, to)));
                    sequence.begin_after(to);
                    while let Some((first, last, ())) = reorder.next_ready(&mut sequence, |()| ()) {
                        sequence.advance(last);
                        seen.push(range(first, last));
                    }
                }
                continue;
            }
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let (first, last) = (first.parse().unwrap(), last.parse().unwrap());
            match sequence.verdict(first, last) {
                Verdict::Apply => {
                    sequence.advance(last);
                    seen.push(range(first, last));
                    while let Some((first, last, ())) = reorder.next_ready(&mut sequence, |()| ()) {
                        sequence.advance(last);
                        seen.push(range(first, last));
                    }
                }
                Verdict::Stale => seen.push(format!("old({})", range(first, last))),
                Verdict::Hole { .. } => match reorder.hold(first, last, now, ()) {
                    Hold::Held => {}
                    Hold::Duplicate(()) => seen.push(format!("again({})", range(first, last))),
                    Hold::Full(()) => seen.push(format!("full({})", range(first, last))),
                },
            }
        }
        assert_eq!(seen.join(" "), expected, "{input}");
    }

    #[test]
    fn contiguous_numbers_pass_and_old_ones_are_dropped() {
        check(SequenceRule::Contiguous, "7 8 9 8 10", "7 8 9 old(8) 10");
        check(SequenceRule::Contiguous, "1-3 4-6 2-5 6-8", "1-3 4-6 old(2-5) 6-8");
    }

    #[test]
    fn what_comes_early_waits_and_leaves_in_order() {
        check(SequenceRule::Contiguous, "1 4 3 2 5", "1 2 3 4 5");
        check(SequenceRule::Contiguous, "1 3 3 2", "1 again(3) 2 3");
    }

    #[test]
    fn a_hole_is_given_up_when_the_lateness_has_passed() {
        check(SequenceRule::Contiguous, "1 4 6 ! 7", "1 gap(2-3) 4 gap(5) 6 7");
        check(SequenceRule::Contiguous, "1 4 ! 2 3 5", "1 gap(2-3) 4 old(2) old(3) 5");
    }

    #[test]
    fn no_more_wait_than_may() {
        check(SequenceRule::Contiguous, "1 3 5 7 9 2", "1 full(9) 2 3");
    }

    #[test]
    fn growing_numbers_may_jump() {
        check(SequenceRule::Monotonic, "5 9 9 7 20", "5 9 old(9) old(7) 20");
    }

    #[test]
    fn without_numbers_arrival_is_the_order() {
        check(SequenceRule::Arrival, "5 3 3", "5 3 3");
    }
}
