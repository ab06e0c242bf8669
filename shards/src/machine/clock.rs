//! The two clocks of a shard: monotonic nanoseconds for durations, epoch nanoseconds for what venues are told.
//!
//! The monotonic one is the time stamp counter, scaled by quanta (9 ns a read; `Instant::now` is 20), counted from
//! an origin that all threads of the process share, so that a time taken on one shard can be compared on another.
//! Reads are not fenced: one taken on another core "later" may be some 50 ns smaller in about a tenth of the cases.
//! Differences are therefore saturating ([`elapsed_ns`]), never plain subtractions.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Calibrated once: calibration takes about half a millisecond.
static SHARED: OnceLock<(quanta::Clock, u64)> = OnceLock::new();

/// The process' monotonic clock. Cheap to clone; each shard keeps its own copy.
#[derive(Clone, Debug)]
pub struct Clock {
    counter: quanta::Clock,
    /// Raw counter value of nanosecond zero.
    origin: u64,
}

impl Clock {
    /// The process' clock; the first call calibrates it and fixes the origin.
    #[must_use]
    pub fn new() -> Self {
        let (counter, origin) = SHARED.get_or_init(|| {
            let counter = quanta::Clock::new();
            let origin = counter.raw();
            (counter, origin)
        });
        Self { counter: counter.clone(), origin: *origin }
    }

    /// Nanoseconds since the process' origin, the first `Clock::new` of the process.
    #[inline]
    #[must_use]
    pub fn now(&self) -> u64 {
        self.counter.delta_as_nanos(self.origin, self.counter.raw())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// From `start_ns` to `end_ns`, and zero if a read on another core made `end_ns` the smaller one.
#[inline]
#[must_use]
pub const fn elapsed_ns(start_ns: u64, end_ns: u64) -> u64 {
    end_ns.saturating_sub(start_ns)
}

/// Nanoseconds since the Unix epoch by the host's clock, for requests to venues and for reports.
///
/// Read from the kernel each time: the counter drifts by some 17 ppm against it and knows nothing of its steps.
#[must_use]
pub fn wall_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clocks_of_a_process_have_one_origin() {
        let (here, there) = (Clock::new(), std::thread::spawn(Clock::new).join().unwrap());
        let first = here.now();
        let second = there.now();
        let third = here.now();
        assert!(first <= second, "one thread reads in order, whichever clone it reads");
        assert!(second <= third);
    }

    #[test]
    fn a_difference_across_cores_is_never_negative() {
        assert_eq!(elapsed_ns(150, 100), 0);
        assert_eq!(elapsed_ns(100, 150), 50);
    }

    #[test]
    fn the_wall_clock_counts_from_the_epoch_in_nanoseconds() {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let wall_s = wall_ns() / 1_000_000_000;
        assert!((seconds..=seconds + 60).contains(&wall_s));
    }
}
