//! Time inside a simulated venue: units, and the market's clock, which may run faster than the caller's.

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
