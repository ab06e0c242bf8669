//! The pace of a stream: how often it says something, and whether it has been silent for longer than that explains.

use super::Pipeline;
use crate::ids::StreamId;
use crate::time::ReceiveTime;
use crate::venue::Venue;

/// Messages after which a stream has a rate of its own.
const SEEN_MIN: u32 = 100;
/// Silences are measured in this many of the stream's own mean intervals. At random arrivals (Poisson) a silence of 20
/// mean intervals comes once in e^20, half a billion; real markets pause more than that, and a pause costs one question.
const INTERVALS_MAX: u64 = 20;
/// No shorter silence is of interest, in nanoseconds: the heartbeats of a connection tell more about it by then.
pub const SILENCE_NS_MIN: u64 = 10_000_000_000;
/// The mean is over about so many intervals.
const MEAN_OVER: u64 = 64;

/// How often a stream says something.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    seen_count: u32,
    last_at: ReceiveTime,
    interval_ns_mean: u64,
}

impl Pace {
    /// A message came. Several of one time count as one.
    #[inline]
    pub fn note(&mut self, at: ReceiveTime) {
        let interval_ns = at.since_ns(self.last_at);
        if interval_ns == 0 {
            return;
        }
        match self.seen_count {
            0 => {}
            1 => self.interval_ns_mean = interval_ns,
            _ => {
                self.interval_ns_mean =
                    self.interval_ns_mean - self.interval_ns_mean / MEAN_OVER + interval_ns / MEAN_OVER;
            }
        }
        self.last_at = at;
        self.seen_count = self.seen_count.saturating_add(1);
    }

    /// Its connections are gone: the silence that follows is theirs.
    pub fn pause(&mut self) {
        *self = Self::default();
    }

    /// The silence until `now`, if it is longer than the pace explains.
    fn silence(&self, now: ReceiveTime) -> Option<Silence> {
        let ns_max = self.interval_ns_mean.saturating_mul(INTERVALS_MAX).max(SILENCE_NS_MIN);
        let ns = now.since_ns(self.last_at);
        (self.seen_count >= SEEN_MIN && ns > ns_max).then_some(Silence { ns, ns_max, since: self.last_at })
    }
}

/// A stream has said nothing for longer than its pace explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// How long, in nanoseconds.
    pub ns: u64,
    /// What its pace explains, in nanoseconds.
    pub ns_max: u64,
    /// Its last message.
    pub since: ReceiveTime,
}

impl<V: Venue> Pipeline<V> {
    /// Whether a stream has been silent for longer than its own pace explains. Not if it never had one.
    pub fn silence(&self, stream: StreamId, now: ReceiveTime) -> Option<Silence> {
        let state = self.streams.get(stream.index())?;
        if state.ended { None } else { state.pace.silence(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> ReceiveTime {
        ReceiveTime::from_ns(ms * 1_000_000)
    }

    fn paced(count: u64, every_ms: u64) -> (Pace, u64) {
        let mut pace = Pace::default();
        for number in 1..=count {
            pace.note(at(number * every_ms));
        }
        (pace, count * every_ms)
    }

    #[test]
    fn a_fast_stream_is_silent_after_the_floor_and_a_slow_one_after_twenty_intervals() {
        let (fast, end) = paced(200, 100);
        assert_eq!(fast.silence(at(end + 10_000)), None);
        assert!(fast.silence(at(end + 10_001)).is_some());
        let (slow, end) = paced(200, 60_000);
        assert_eq!(slow.silence(at(end + 20 * 60_000)), None);
        assert!(slow.silence(at(end + 21 * 60_000)).is_some());
    }

    #[test]
    fn a_stream_of_few_messages_has_no_pace() {
        let (few, end) = paced(u64::from(SEEN_MIN) - 1, 100);
        assert_eq!(few.silence(at(end + 1_000_000)), None);
    }

    #[test]
    fn messages_of_one_time_are_one() {
        let mut pace = Pace::default();
        for number in 1..=200_u64 {
            for _ in 0..50 {
                pace.note(at(number * 1_000));
            }
        }
        assert_eq!(pace.interval_ns_mean, 1_000_000_000);
    }

    #[test]
    fn the_mean_follows_a_stream_that_slows_down() {
        let (mut pace, mut now) = paced(200, 100);
        for _ in 0..400 {
            now += 5_000;
            pace.note(at(now));
        }
        assert_eq!(pace.silence(at(now + 90_000)), None);
        assert!(pace.silence(at(now + 101_000)).is_some());
    }
}
