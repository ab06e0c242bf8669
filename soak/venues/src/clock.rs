//! Time inside a simulated venue: units, the market's clock, which may run faster than the caller's, and timers on it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A millisecond.
pub(crate) const MS_NS: u64 = 1_000_000;
/// A second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;
/// A market further behind than this is skipped ahead: the thread cannot keep up, and catching up would make a burst.
pub(crate) const LAG_NS_MAX: u64 = 2 * SECOND_NS;
/// Market events and timers handled in one poll, so that sockets get their turn.
pub(crate) const STEPS_PER_POLL_MAX: usize = 20_000;

/// Market time as a function of the caller's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MarketClock {
    start_ns: u64,
    speed: f64,
}

impl MarketClock {
    /// `speed` seconds of the market pass in one of the caller, from `start_ns` on, when both clocks agree.
    pub(crate) fn new(start_ns: u64, speed: f64) -> Self {
        Self { start_ns, speed: speed.max(0.001) }
    }

    pub(crate) fn market_ns(&self, now_ns: u64) -> u64 {
        let elapsed_ns = now_ns.saturating_sub(self.start_ns);
        if self.speed == 1.0 { now_ns } else { self.start_ns + (elapsed_ns as f64 * self.speed) as u64 }
    }

    pub(crate) fn caller_ns(&self, market_ns: u64) -> u64 {
        if self.speed == 1.0 || market_ns == u64::MAX {
            return market_ns;
        }
        self.start_ns + (market_ns.saturating_sub(self.start_ns) as f64 / self.speed) as u64 + 1
    }
}

/// When a thing that is published once in a period is due, after `time_ns`. The `count` things of its kind are spread over
/// the period, this one being the `index`-th.
pub(crate) fn next_due_ns(period_ns: u64, index: usize, count: usize, time_ns: u64) -> u64 {
    let phase_ns = period_ns * index as u64 / count as u64;
    (time_ns - phase_ns) / period_ns * period_ns + period_ns + phase_ns
}

/// What a venue publishes at a time of its own; `T` says what.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    heap: BinaryHeap<Reverse<(u64, T)>>,
}

/// What a venue does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next<T> {
    /// Nothing is due.
    Wait,
    /// Makes the market's event of this time.
    Event(u64),
    /// Publishes what was to be published at this time.
    Timer(u64, T),
}

impl<T: Ord> Timers<T> {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new() }
    }

    pub(crate) fn set(&mut self, due_ns: u64, timer: T) {
        self.heap.push(Reverse((due_ns, timer)));
    }

    /// When the next timer is due.
    pub(crate) fn next_ns(&self) -> u64 {
        self.heap.peek().map_or(u64::MAX, |Reverse((due_ns, _))| *due_ns)
    }

    /// What comes first up to `until_ns`: the market's next event, which is at `event_ns`, or a timer, which is taken.
    pub(crate) fn next(&mut self, event_ns: u64, until_ns: u64) -> Next<T> {
        let timer_ns = self.next_ns();
        if event_ns.min(timer_ns) > until_ns {
            return Next::Wait;
        }
        if event_ns <= timer_ns {
            return Next::Event(event_ns);
        }
        self.heap.pop().map_or(Next::Wait, |Reverse((due_ns, timer))| Next::Timer(due_ns, timer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_before_timers_of_their_time_and_nothing_before_it_is_due() {
        let mut timers = Timers::new();
        timers.set(30, 'b');
        timers.set(20, 'a');
        assert_eq!((timers.next_ns(), timers.next(20, 19)), (20, Next::Wait));
        assert_eq!(timers.next(20, 40), Next::Event(20));
        assert_eq!(timers.next(21, 40), Next::Timer(20, 'a'));
        assert_eq!(timers.next(50, 30), Next::Timer(30, 'b'));
        assert_eq!((timers.next(50, 40), timers.next_ns()), (Next::Wait, u64::MAX));
    }

    #[test]
    fn things_of_a_kind_are_spread_over_the_period() {
        let due: Vec<u64> = (0..4).map(|index| next_due_ns(100, index, 4, 1_030)).collect();
        assert_eq!(due, [1_100, 1_125, 1_050, 1_075]);
    }
}
