//! Sleep flag of one shard: a receiver says that it is about to sleep, a sender learns whether it must wake it.
//!
//! Knows nothing of rings, eventfds or clocks. Whoever sleeps does so between [`SleepFlag::announce`] and
//! [`SleepFlag::retract`]; whoever publishes calls [`SleepFlag::must_wake`] once per batch, and wakes only when
//! the answer is `true`. That keeps the wake (6-9 us of system call for the sender) off the path of a busy receiver.
//!
//! ```text
//! receiver                                  sender
//! announce():  flag = true                  publish to the ring
//!              fence(SeqCst) ---------------fence(SeqCst)   :must_wake()
//! look at the rings again                   flag?
//! sleep, unless something is there          if it was set: clear it, wake
//! retract():   flag = false
//! ```
//!
//! This is Dekker's pattern: each side writes its own word and then reads the other's. Without both fences each may
//! read the old value, and the receiver sleeps on a full ring. `tests/wake_loom.rs` proves both directions: with the
//! fences no interleaving loses a wake, and without either of them loom finds one that does.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Whether one receiver sleeps. One receiver, any number of senders; shared by reference.
///
/// On cache lines of its own: senders read it once per batch, and must not be disturbed by what lies next to it.
#[derive(Debug)]
#[cfg_attr(not(loom), repr(align(128)))]
pub struct SleepFlag {
    sleeping: AtomicBool,
}

impl SleepFlag {
    /// A flag of a receiver that is awake.
    #[must_use]
    pub fn new() -> Self {
        Self { sleeping: AtomicBool::new(false) }
    }

    /// The receiver is about to sleep. It must look at everything that senders publish once more after this call
    /// and before it sleeps.
    pub fn announce(&self) {
        self.sleeping.store(true, Ordering::Release); // pairs with Acquire in `must_wake`
        fence(Ordering::SeqCst); // pairs with the fence in `must_wake`
    }

    /// The receiver is awake: senders need not wake it.
    pub fn retract(&self) {
        // A sender that saw the flag just before may still wake: one spurious wake, never a lost one. A swap and not a
        // store, so that a sender that took this sleep comes before the next announcement by what each has read, and
        // not only by an argument about modification order, which loom does not model. No sleep notices the cost.
        self.sleeping.swap(false, Ordering::AcqRel);
    }

    /// Called by a sender after it published: whether this sender has to wake the receiver.
    ///
    /// `true` once per announced sleep, however many senders ask.
    #[must_use = "`true` obliges this sender to wake the receiver; nobody else will"]
    pub fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst); // pairs with the fence in `announce`
        // Read first: a busy receiver's line stays shared between the senders' caches. Then one sender takes it.
        // Acquire, so that the wake comes after whatever the receiver did before it announced this very sleep, such as
        // swallowing an earlier wake.
        self.sleeping.load(Ordering::Relaxed)
            && self.sleeping.compare_exchange(true, false, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }
}

impl Default for SleepFlag {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_announced_sleep_is_woken_by_one_sender() {
        let flag = SleepFlag::new();
        assert!(!flag.must_wake());
        flag.announce();
        assert!(flag.must_wake());
        assert!(!flag.must_wake());
    }

    #[test]
    fn a_retracted_sleep_needs_no_wake() {
        let flag = SleepFlag::new();
        flag.announce();
        flag.retract();
        assert!(!flag.must_wake());
    }
}
