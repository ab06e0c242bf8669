//! The raw round trip of a cache line between two cores: the measure beside every figure that crosses cores.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// Pins the calling thread. Best effort: where it is not granted, a figure is that of the host as it is.
pub fn pin(core: usize) {
    core_affinity::set_for_current(core_affinity::CoreId { id: core });
}

/// Nanoseconds of one round trip, the median of many. Uses threads of its own, so that the caller's pinning stays.
pub fn round_trip_ns(one: usize, other: usize) -> u64 {
    const ROUNDS: u64 = 20_000;
    let (to, back) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(other);
            for round in 1..=ROUNDS {
                while to.load(Ordering::Acquire) != round {
                    std::hint::spin_loop();
                }
                back.store(round, Ordering::Release);
            }
        });
        let asked = scope.spawn(|| {
            pin(one);
            let mut seen = Vec::with_capacity(ROUNDS as usize);
            for round in 1..=ROUNDS {
                let started = Instant::now();
                to.store(round, Ordering::Release);
                while back.load(Ordering::Acquire) != round {
                    std::hint::spin_loop();
                }
                seen.push(started.elapsed().as_nanos() as u64);
            }
            seen.sort_unstable();
            seen[seen.len() / 2]
        });
        asked.join().expect("it only counts")
    })
}
