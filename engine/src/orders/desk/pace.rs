//! How fast orders may leave, and what time it is at the venue.

use crate::time::ReceiveTime;

use crate::orders::venue::Stamp;

/// Pause after a refusal for the rate that names none, in milliseconds: within Binance's shortest window of 10 s.
const LIMITED_PAUSE_MS: u64 = 1_000;
/// Longest pause that an answer can make us take, in milliseconds: the longest ban that Binance documents, three days.
const PAUSE_MS_MAX: u64 = 259_200_000;
/// How often the venue's clock is asked for, in nanoseconds.
const CLOCK_EVERY_NS: u64 = 60_000_000_000;
/// Pause before it is asked for again when no answer came, in nanoseconds.
const CLOCK_AGAIN_NS: u64 = 5_000_000_000;

/// The venue's limit of new orders: what it last said of it, and what was sent since.
///
/// The venue's windows begin when they begin; ours is taken to begin with the answer that told of it, which is late
/// rather than early: what it counts is never less than what the venue counts.
#[derive(Debug)]
pub(super) struct Pace {
    headroom_percent: u32,
    limit: u32,
    used: u32,
    window_ns: u64,
    told_at: ReceiveTime,
    paused_until: ReceiveTime,
}

impl Pace {
    pub(super) fn new(headroom_percent: u32) -> Self {
        Self {
            headroom_percent: headroom_percent.min(90),
            limit: u32::MAX,
            used: 0,
            window_ns: 0,
            told_at: ReceiveTime::default(),
            paused_until: ReceiveTime::default(),
        }
    }

    /// Whether one more order may leave.
    pub(super) fn allows(&self, now: ReceiveTime) -> bool {
        if now < self.paused_until {
            return false;
        }
        if self.limit == u32::MAX || now.since_ns(self.told_at) >= self.window_ns {
            return true;
        }
        let reserve = u64::from(self.limit) * u64::from(self.headroom_percent) / 100;
        u64::from(self.used) < u64::from(self.limit) - reserve
    }

    /// One has left.
    pub(super) fn note(&mut self, now: ReceiveTime) {
        if now.since_ns(self.told_at) >= self.window_ns {
            (self.used, self.told_at) = (0, now);
        }
        self.used = self.used.saturating_add(1);
    }

    /// The venue's own count.
    pub(super) fn told(&mut self, used: u32, limit: u32, window_ms: u64, now: ReceiveTime) {
        let window_ns = window_ms.saturating_mul(1_000_000);
        // Orders that are under way are not in the venue's count yet: within a window it only grows.
        let same_window = now.since_ns(self.told_at) < window_ns && self.limit == limit;
        if same_window && used <= self.used {
            return;
        }
        (self.used, self.limit, self.window_ns) = (used, limit, window_ns);
        self.told_at = now;
    }

    /// The venue refused for the rate.
    pub(super) fn limited(&mut self, wait_ms: Option<u64>, now: ReceiveTime) {
        let wait_ms = wait_ms.unwrap_or(LIMITED_PAUSE_MS).clamp(1, PAUSE_MS_MAX);
        self.paused_until = self.paused_until.max(now.plus_ns(wait_ms * 1_000_000));
    }
}

/// The venue's clock beside ours.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// A local stamp and when it was made: local wall time at any other moment follows.
    local_ms: u64,
    local_at: ReceiveTime,
    ahead_ms: i64,
    asked_at: Option<ReceiveTime>,
    told: bool,
    ask_at: ReceiveTime,
}

impl Clock {
    pub(super) const fn ahead_ms(&self) -> i64 {
        self.ahead_ms
    }

    /// Whether the venue has answered since it was last asked.
    pub(super) const fn is_told(&self) -> bool {
        self.told
    }

    /// The venue's time, as far as the last stamp tells.
    pub(super) const fn venue_ms(&self, now: ReceiveTime) -> u64 {
        let local_ms = self.local_ms + now.since_ns(self.local_at) / 1_000_000;
        local_ms.saturating_add_signed(self.ahead_ms)
    }

    /// A local stamp, by the venue's clock.
    pub(super) fn stamp(&mut self, local: Stamp, now: ReceiveTime) -> Stamp {
        (self.local_ms, self.local_at) = (local.unix_ms, now);
        Stamp { unix_ms: local.unix_ms.saturating_add_signed(self.ahead_ms), ..local }
    }

    pub(super) fn is_due(&self, now: ReceiveTime) -> bool {
        now >= self.ask_at
    }

    pub(super) const fn deadline(&self) -> ReceiveTime {
        self.ask_at
    }

    /// The question has left.
    pub(super) fn asked(&mut self, now: ReceiveTime) {
        (self.asked_at, self.told) = (Some(now), false);
        self.ask_at = now.plus_ns(CLOCK_AGAIN_NS);
    }

    /// Not asked before `now`: the session begins, or the venue said that our time is wrong.
    pub(super) fn ask_now(&mut self, now: ReceiveTime) {
        self.ask_at = now;
    }

    /// What the venue's clock showed, half way between question and answer as far as anybody knows.
    pub(super) fn told(&mut self, venue_ms: u64, now: ReceiveTime) {
        let Some(asked_at) = self.asked_at.take() else { return };
        self.told = true;
        let middle = asked_at.plus_ns(now.since_ns(asked_at) / 2);
        let local_ms = if middle >= self.local_at {
            self.local_ms + middle.since_ns(self.local_at) / 1_000_000
        } else {
            self.local_ms - (self.local_at.since_ns(middle) / 1_000_000).min(self.local_ms)
        };
        let ahead = i128::from(venue_ms) - i128::from(local_ms);
        self.ahead_ms = i64::try_from(ahead).unwrap_or(0);
        self.ask_at = now.plus_ns(CLOCK_EVERY_NS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> ReceiveTime {
        ReceiveTime::from_ns(1_000_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn orders_stop_before_the_venue_says_so_and_go_on_in_the_next_window() {
        let mut pace = Pace::new(10);
        assert!(pace.allows(at(0)), "no limit is known");
        pace.told(1, 20, 10_000, at(0));
        let mut sent = 1;
        while pace.allows(at(sent)) {
            pace.note(at(sent));
            sent += 1;
        }
        assert_eq!(sent, 18, "two of twenty are kept free");
        pace.told(5, 20, 10_000, at(100)); // an old count
        assert!(!pace.allows(at(9_999)));
        assert!(pace.allows(at(10_000)));
        pace.note(at(10_000));
        pace.told(18, 20, 10_000, at(10_001)); // others trade on the account too
        assert!(!pace.allows(at(10_002)));
    }

    #[test]
    fn a_refusal_for_the_rate_pauses_as_long_as_it_says() {
        let mut pace = Pace::new(10);
        pace.limited(Some(3_000), at(0));
        assert!(!pace.allows(at(2_999)));
        assert!(pace.allows(at(3_000)));
        pace.limited(None, at(4_000));
        assert!(!pace.allows(at(4_999)) && pace.allows(at(5_000)));
    }

    #[test]
    fn stamps_follow_the_venues_clock() {
        for (venue_ahead_ms, answer_ms) in [(0_i64, 0), (2_500, 40), (-90_000, 200)] {
            let mut clock = Clock::default();
            let local = |ms: u64| Stamp { unix_ms: 1_783_000_000_000 + ms, nonce: ms, random: 0 };
            clock.stamp(local(0), at(0));
            clock.asked(at(0));
            let venue_ms = (1_783_000_000_000 + answer_ms / 2_u64).saturating_add_signed(venue_ahead_ms);
            clock.told(venue_ms, at(answer_ms));
            assert_eq!(clock.ahead_ms(), venue_ahead_ms);
            let stamp = clock.stamp(local(700), at(700));
            assert_eq!(stamp.unix_ms, 1_783_000_000_700_u64.saturating_add_signed(venue_ahead_ms));
            assert!(!clock.is_due(at(700)) && clock.is_due(at(61_000)));
        }
    }
}
