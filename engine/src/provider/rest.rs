//! REST requests of one provider: in order of importance, within the venue's weight, and obeying what it answers.

use std::collections::VecDeque;

use fastrand::Rng;

use crate::ids::{Listing, StreamId};
use crate::time::ReceiveTime;
use crate::venue::RestRequest;

/// Requests under way at once.
const IN_FLIGHT_MAX: usize = 4;
/// First pause before a request is tried again, in nanoseconds; it doubles with each failure.
const RETRY_NS_MIN: u64 = 200_000_000;
/// Longest pause, in nanoseconds.
const RETRY_NS_MAX: u64 = 60_000_000_000;
/// Pause after a 429 that names none, in seconds.
const LIMITED_PAUSE_S: u64 = 10;
/// Pause after a 418 that names none, in seconds: the shortest ban that Binance documents.
const BANNED_PAUSE_S: u64 = 120;
/// Longest pause that an answer can make us take, in seconds: the longest ban that Binance documents, three days.
const PAUSE_S_MAX: u64 = 259_200;

/// Names a request between its sending and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RestId(pub u64);

/// What a request is for, most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// The instrument list.
    Instruments,
    /// Trades missing in a stream.
    Trades(StreamId),
    /// A book's snapshot.
    Snapshot(Listing),
    /// The facts of one instrument.
    Instrument(Listing),
    /// A second snapshot of a book that lives.
    Verification(Listing),
    /// The best prices of a book that lives.
    Top(Listing),
    /// Trades behind the last one of a stream that is silent.
    LaterTrades(StreamId),
}

crate::counters! {
    /// REST requests of one provider.
    pub struct RestCounts {
        /// Requests sent.
        sent_total,
        /// Weight of those, in the venue's units.
        weight_total,
        /// Answers that could be used.
        succeeded_total,
        /// Requests without an answer that could be used.
        failed_total,
        /// Answers with status 429 or 418.
        limited_total,
    }
}

#[derive(Debug)]
struct Waiting {
    purpose: Purpose,
    request: RestRequest,
    not_before: ReceiveTime,
}

#[derive(Debug)]
struct InFlight {
    id: RestId,
    purpose: Purpose,
    request: RestRequest,
}

/// The queue.
#[derive(Debug)]
pub struct RestQueue {
    waiting: Vec<Waiting>,
    in_flight: Vec<InFlight>,
    failures: Vec<(Purpose, u32)>,
    next_id: u64,
    weight_max: u32,
    window_ns: u64,
    /// When what was sent within the last window, and its weight, oldest first.
    spent: VecDeque<(ReceiveTime, u32)>,
    weight_used: u32,
    paused_until: ReceiveTime,
    counts: RestCounts,
}

impl RestQueue {
    /// A queue that spends at most `weight_max` in any `window_s` seconds, wherever the venue's own windows begin.
    pub fn new(weight_max: u32, window_s: u64) -> Self {
        Self {
            waiting: Vec::new(),
            in_flight: Vec::new(),
            failures: Vec::new(),
            next_id: 1,
            weight_max: weight_max.max(1),
            window_ns: window_s.max(1).saturating_mul(1_000_000_000),
            spent: VecDeque::new(),
            weight_used: 0,
            paused_until: ReceiveTime::default(),
            counts: RestCounts::default(),
        }
    }

    /// Puts a request in the queue; one for the same purpose takes the place of the one that waits.
    pub fn ask(&mut self, purpose: Purpose, request: RestRequest, now: ReceiveTime) {
        let pause_ns =
            self.failures.iter().find(|(of, _)| *of == purpose).map_or(0, |&(_, count)| pause_ns(count));
        self.put(Waiting { purpose, request, not_before: now.plus_ns(pause_ns) });
    }

    fn put(&mut self, waiting: Waiting) {
        self.waiting.retain(|other| other.purpose != waiting.purpose);
        let at = self.waiting.partition_point(|other| other.purpose <= waiting.purpose);
        self.waiting.insert(at, waiting);
    }

    /// The next request that may be sent now: the most important that is due and fits the window.
    pub fn next(&mut self, now: ReceiveTime) -> Option<(RestId, RestRequest)> {
        if self.in_flight.len() >= IN_FLIGHT_MAX || now < self.paused_until {
            return None;
        }
        let at = self.waiting.iter().position(|waiting| now >= waiting.not_before)?;
        while let Some(&(_, weight)) =
            self.spent.front().filter(|(at, _)| now.since_ns(*at) >= self.window_ns)
        {
            self.spent.pop_front();
            self.weight_used -= weight;
        }
        let weight = self.waiting[at].request.weight;
        // A request heavier than the whole grant goes alone in its window, else it would never go.
        if self.weight_used > 0 && self.weight_used.saturating_add(weight) > self.weight_max {
            return None;
        }
        self.weight_used = self.weight_used.saturating_add(weight);
        self.spent.push_back((now, weight));
        let Waiting { purpose, request, .. } = self.waiting.remove(at);
        let id = RestId(self.next_id);
        self.next_id += 1;
        self.counts.sent_total += 1;
        self.counts.weight_total += u64::from(weight);
        self.in_flight.push(InFlight { id, purpose, request: request.clone() });
        Some((id, request))
    }

    /// The path of a request under way.
    pub fn path_of(&self, id: RestId) -> Option<&str> {
        self.in_flight.iter().find(|of| of.id == id).map(|of| of.request.path.as_str())
    }

    /// Takes a request out of those under way: it was answered, or will not be.
    pub fn take(&mut self, id: RestId) -> Option<(Purpose, RestRequest)> {
        let at = self.in_flight.iter().position(|request| request.id == id)?;
        let InFlight { purpose, request, .. } = self.in_flight.remove(at);
        Some((purpose, request))
    }

    /// An answer was used: the next failure for its purpose starts with a short pause again.
    pub fn succeeded(&mut self, purpose: Purpose) {
        self.counts.succeeded_total += 1;
        self.failures.retain(|(of, _)| *of != purpose);
    }

    /// An answer came and was of no use: the next request for its purpose waits like one that failed.
    pub fn unusable(&mut self, purpose: Purpose) {
        self.failed(purpose);
    }

    /// Counts a failure and returns how many there were in a row.
    fn failed(&mut self, purpose: Purpose) -> u32 {
        self.counts.failed_total += 1;
        if let Some((_, count)) = self.failures.iter_mut().find(|(of, _)| *of == purpose) {
            *count += 1;
            return *count;
        }
        self.failures.push((purpose, 1));
        1
    }

    /// A request failed: it goes again after a pause that doubles, with jitter.
    pub fn again(&mut self, purpose: Purpose, request: RestRequest, now: ReceiveTime, random: &mut Rng) {
        let count = self.failed(purpose);
        let pause_ns = pause_ns(count);
        let not_before = now.plus_ns(pause_ns / 2 + random.u64(0..=pause_ns / 2));
        if !self.waiting.iter().any(|waiting| waiting.purpose == purpose) {
            self.put(Waiting { purpose, request, not_before });
        }
    }

    /// A request failed and is not tried again.
    pub fn given_up(&mut self) {
        self.counts.failed_total += 1;
    }

    /// Obeys a 429 or 418: nothing is sent until the time is over. Returns the pause in seconds.
    pub fn pause_for(&mut self, status: u16, retry_after_s: Option<u64>, now: ReceiveTime) -> Option<u64> {
        let seconds = match status {
            429 => retry_after_s.unwrap_or(LIMITED_PAUSE_S),
            418 => retry_after_s.unwrap_or(BANNED_PAUSE_S),
            _ => return None,
        };
        let seconds = seconds.clamp(1, PAUSE_S_MAX);
        self.counts.limited_total += 1;
        self.paused_until = self.paused_until.max(now.plus_ns(seconds * 1_000_000_000));
        Some(seconds)
    }

    /// When [`next`](Self::next) may have something.
    pub fn deadline(&self, now: ReceiveTime) -> Option<ReceiveTime> {
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            return None;
        }
        let first = self.waiting.iter().map(|waiting| waiting.not_before).min()?;
        let mut at = first.max(self.paused_until);
        if at <= now {
            // Due but not sent: the window is spent.
            at = self.spent.front().map_or(now, |(sent, _)| sent.plus_ns(self.window_ns));
        }
        Some(at)
    }

    /// What was counted.
    pub const fn counts(&self) -> &RestCounts {
        &self.counts
    }
}

fn pause_ns(failures: u32) -> u64 {
    RETRY_NS_MIN.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(RETRY_NS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(weight: u32) -> RestRequest {
        RestRequest { path: format!("/w{weight}"), weight }
    }

    fn at(ms: u64) -> ReceiveTime {
        ReceiveTime::from_ns(ms * 1_000_000)
    }

    #[test]
    fn the_list_goes_before_snapshots_and_each_purpose_waits_once() {
        let mut queue = RestQueue::new(1_000, 60);
        queue.ask(Purpose::Snapshot(Listing(1)), request(5), at(0));
        queue.ask(Purpose::Snapshot(Listing(1)), request(6), at(0));
        queue.ask(Purpose::Instruments, request(20), at(0));
        let sent: Vec<u32> =
            std::iter::from_fn(|| queue.next(at(0))).map(|(_, request)| request.weight).collect();
        assert_eq!(sent, [20, 6]);
    }

    #[test]
    fn the_window_is_not_overspent_and_opens_again() {
        let mut queue = RestQueue::new(100, 60);
        for listing in 0..4 {
            queue.ask(Purpose::Snapshot(Listing(listing)), request(40), at(0));
        }
        let (first, _) = queue.next(at(0)).expect("within the grant");
        let (second, _) = queue.next(at(0)).expect("within the grant");
        assert_eq!(queue.next(at(59_999)), None);
        assert_eq!(queue.deadline(at(1)), Some(at(60_000)));
        queue.take(first);
        queue.take(second);
        assert!(queue.next(at(60_000)).is_some());
    }

    #[test]
    fn no_time_of_a_windows_length_is_overspent_wherever_it_begins() {
        let mut queue = RestQueue::new(100, 60);
        let mut sent: Vec<(u64, u32)> = Vec::new();
        for ms in (0..600_000).step_by(500) {
            queue.ask(Purpose::Snapshot(Listing(0)), request(30), at(ms));
            // Nothing for a while in between, so that windows that began with a first use would begin late.
            if ms % 97_000 < 50_000 {
                continue;
            }
            if let Some((id, request)) = queue.next(at(ms)) {
                queue.take(id);
                sent.push((ms, request.weight));
            }
        }
        assert!(sent.len() > 15, "{sent:?}");
        for &(from, _) in &sent {
            let within = sent.iter().filter(|(ms, _)| (from..from + 60_000).contains(ms));
            assert!(within.map(|(_, weight)| weight).sum::<u32>() <= 100, "from {from}: {sent:?}");
        }
    }

    #[test]
    fn no_more_than_four_are_under_way() {
        let mut queue = RestQueue::new(1_000, 60);
        for listing in 0..6 {
            queue.ask(Purpose::Snapshot(Listing(listing)), request(1), at(0));
        }
        assert_eq!(std::iter::from_fn(|| queue.next(at(0))).count(), IN_FLIGHT_MAX);
    }

    #[test]
    fn a_429_stops_everything_for_as_long_as_it_says() {
        let mut queue = RestQueue::new(1_000, 60);
        queue.ask(Purpose::Instruments, request(1), at(0));
        assert_eq!(queue.pause_for(429, Some(3), at(0)), Some(3));
        assert_eq!(queue.pause_for(500, Some(9), at(0)), None);
        assert_eq!(queue.next(at(2_999)), None);
        assert_eq!(queue.deadline(at(1)), Some(at(3_000)));
        assert!(queue.next(at(3_000)).is_some());
        assert_eq!(queue.pause_for(418, None, at(0)), Some(BANNED_PAUSE_S));
    }

    #[test]
    fn a_failure_is_tried_again_after_a_pause_that_doubles() {
        let mut queue = RestQueue::new(1_000, 60);
        let mut random = Rng::with_seed(1);
        queue.ask(Purpose::Instruments, request(1), at(0));
        let mut now = at(0);
        for failure in 1..=4_u32 {
            let (id, _) = queue.next(now).expect("due");
            let (purpose, request) = queue.take(id).expect("under way");
            queue.again(purpose, request, now, &mut random);
            let due = queue.deadline(now).expect("it waits");
            let pause_ns = due.since_ns(now);
            let whole_ns = RETRY_NS_MIN << (failure - 1);
            assert!(pause_ns >= whole_ns / 2 && pause_ns <= whole_ns, "failure {failure}: {pause_ns}");
            now = due;
        }
    }
}
