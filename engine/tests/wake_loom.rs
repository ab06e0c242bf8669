//! Every interleaving of "publish, then wake if asleep" with "announce, look again, sleep", by loom.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p engine --test wake_loom --release` (with a target directory of its own:
//! `--cfg loom` rebuilds the dependencies).
#![cfg(loom)]

use engine::wake::SleepFlag;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use loom::thread;

/// What the model needs of a flag, so that the broken ones below run through the same model.
trait Flag: Send + Sync + 'static {
    fn new() -> Self;
    fn announce(&self);
    fn retract(&self);
    fn must_wake(&self) -> bool;
}

impl Flag for SleepFlag {
    fn new() -> Self {
        Self::new()
    }
    fn announce(&self) {
        self.announce();
    }
    fn retract(&self) {
        self.retract();
    }
    fn must_wake(&self) -> bool {
        self.must_wake()
    }
}

/// The same protocol with either fence left out.
struct Broken<const RECEIVER_FENCE: bool, const SENDER_FENCE: bool>(AtomicBool);

impl<const R: bool, const S: bool> Flag for Broken<R, S> {
    fn new() -> Self {
        Self(AtomicBool::new(false))
    }
    fn announce(&self) {
        self.0.store(true, Ordering::Release);
        if R {
            fence(Ordering::SeqCst);
        }
    }
    fn retract(&self) {
        self.0.swap(false, Ordering::AcqRel);
    }
    fn must_wake(&self) -> bool {
        if S {
            fence(Ordering::SeqCst);
        }
        self.0.load(Ordering::Relaxed)
            && self.0.compare_exchange(true, false, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }
}

/// A ring is its tail (release store, acquire load, as in `rtrb`); an eventfd is a count of kicks.
///
/// The receiver tries to sleep `sleeps` times. It may stay asleep only if nothing was published that it has not
/// seen, or somebody kicks it. A kick that comes while it is awake is lost on purpose: a busy shard's own poll may
/// swallow it.
fn model<F: Flag>(senders: usize, sleeps: usize) {
    let mut builder = loom::model::Builder::new();
    // Two senders and two sleeps did not end within minutes in full. A lost wake is a matter of two switches at the
    // wrong places; four are explored (five, half a minute, passed as well).
    builder.preemption_bound = (senders > 1).then_some(4);
    builder.check(move || {
        let flag = Arc::new(F::new());
        let tails: Arc<Vec<AtomicUsize>> = Arc::new((0..senders).map(|_| AtomicUsize::new(0)).collect());
        let kicks = Arc::new(AtomicUsize::new(0));

        let threads: Vec<_> = (0..senders)
            .map(|sender| {
                let (flag, tails, kicks) = (flag.clone(), tails.clone(), kicks.clone());
                thread::spawn(move || {
                    tails[sender].store(1, Ordering::Release);
                    if flag.must_wake() {
                        kicks.fetch_add(1, Ordering::AcqRel);
                    }
                })
            })
            .collect();

        let mut seen = 0;
        let mut asleep = false;
        for _ in 0..sleeps {
            flag.announce();
            let now = tails.iter().map(|tail| tail.load(Ordering::Acquire)).sum();
            if now == seen {
                asleep = true;
                break;
            }
            seen = now;
            flag.retract();
            kicks.store(0, Ordering::Release);
        }

        for thread in threads {
            thread.join().unwrap();
        }
        let published: usize = tails.iter().map(|tail| tail.load(Ordering::Acquire)).sum();
        let kicked = kicks.load(Ordering::Acquire) > 0;
        assert!(
            !asleep || seen == published || kicked,
            "a receiver that sleeps with events in its rings is kicked"
        );
    });
}

/// Whether loom finds an interleaving in which the wake is lost.
fn loses_a_wake<F: Flag>() -> bool {
    std::panic::catch_unwind(|| model::<F>(1, 1)).is_err()
}

#[test]
fn no_wake_is_lost_with_one_sender() {
    model::<SleepFlag>(1, 3);
}

#[test]
fn no_wake_is_lost_with_two_senders() {
    model::<SleepFlag>(2, 2);
}

#[test]
fn leaving_out_either_fence_is_caught() {
    assert!(!loses_a_wake::<Broken<true, true>>(), "the copy with both fences is the real protocol");
    assert!(loses_a_wake::<Broken<false, true>>(), "the receiver's fence is needed");
    assert!(loses_a_wake::<Broken<true, false>>(), "the sender's fence is needed");
    assert!(loses_a_wake::<Broken<false, false>>());
}
