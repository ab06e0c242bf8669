//! What the host takes from a loop that does nothing: the floor under every percentile of a spinning shard.
//!
//! A pinned thread reads the clock again and again and handles, as it were, a message that is due at a fixed pace. By how
//! much it comes too late is what interrupts, the hypervisor and other threads took; no gateway on that core can be better.

use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use shards::machine::clock::Clock;

use crate::round_trip::pin;

/// The longest delay that is told apart, in nanoseconds.
const DELAY_NS_MAX: u64 = 10_000_000_000;
/// A loop that was away for longer than this was stopped by somebody: a pass of it takes some 20 ns.
const STALL_NS: u64 = 2_000;

/// What one core did to a bare loop.
#[derive(Clone, Debug)]
pub struct Stalls {
    /// The core.
    pub core: u32,
    /// How late messages that were due at a fixed pace would have been, in nanoseconds.
    pub delay: Histogram<u64>,
    /// Times that the loop was away for more than 2 us.
    pub stalls: u64,
    /// Time that it was away in those, in nanoseconds.
    pub away_ns: u64,
    /// Time that it ran, in nanoseconds.
    pub ran_ns: u64,
}

/// Runs a bare loop on each of `cores` at the same time; messages are due `rate` times a second.
pub fn measure(cores: &[u32], rate: u64, time: Duration) -> Vec<Stalls> {
    thread::scope(|scope| {
        let loops: Vec<_> =
            cores.iter().map(|&core| scope.spawn(move || bare_loop(core, rate, time))).collect();
        loops.into_iter().map(|handle| handle.join().expect("it only counts")).collect()
    })
}

fn bare_loop(core: u32, rate: u64, time: Duration) -> Stalls {
    pin(core as usize);
    let mut delay = Histogram::new_with_bounds(1, DELAY_NS_MAX, 3).expect("bounds that a histogram takes");
    let clock = Clock::new();
    let every_ns = 1_000_000_000 / rate.max(1);
    let begin_ns = clock.now();
    let end_ns = begin_ns + time.as_nanos() as u64;
    let (mut stalls, mut away_ns) = (0, 0);
    let mut due_ns = begin_ns + every_ns;
    let mut last_ns = begin_ns;
    while last_ns < end_ns {
        let now_ns = clock.now();
        if now_ns.saturating_sub(last_ns) > STALL_NS {
            stalls += 1;
            away_ns += now_ns - last_ns;
        }
        last_ns = now_ns;
        while due_ns <= now_ns {
            delay.saturating_record(now_ns - due_ns);
            due_ns += every_ns;
        }
    }
    Stalls { core, delay, stalls, away_ns, ran_ns: last_ns - begin_ns }
}

/// One core's outcome as a line.
pub fn line(stalls: &Stalls) -> String {
    let us = |quantile: f64| stalls.delay.value_at_quantile(quantile) as f64 / 1e3;
    let seconds = stalls.ran_ns as f64 / 1e9;
    format!(
        "bare loop on core {}: late by p50 {:.2} us, p99 {:.2}, p99.9 {:.1}, max {:.1}; stopped {:.0} times a second for more than 2 us, \
         {:.2} % of the time",
        stalls.core,
        us(0.5),
        us(0.99),
        us(0.999),
        stalls.delay.max() as f64 / 1e3,
        stalls.stalls as f64 / seconds,
        100.0 * stalls.away_ns as f64 / stalls.ran_ns as f64,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_that_was_due_is_counted_and_the_time_adds_up() {
        let all = measure(&[0], 10_000, Duration::from_millis(50));
        let [one] = all.as_slice() else { panic!("one core was asked for") };
        let due = one.ran_ns / 100_000;
        assert!(one.delay.len().abs_diff(due) <= 1, "{} of {due}", one.delay.len());
        assert!(one.away_ns <= one.ran_ns);
        assert!(line(one).starts_with("bare loop on core 0: late by"));
    }
}
