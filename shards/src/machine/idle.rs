//! What a shard does when a turn found nothing: keep spinning, or sleep until a socket, a sender or a deadline.
//!
//! `Spin` is the production policy: it owns its core, and nobody ever has to wake it. `Park` is for hosts that are
//! shared: it spins a little, since the next event is often near, and then makes one wait over the shard's sockets
//! and one eventfd. A sender publishes a batch and calls [`Waker::wake`] once; the flag of [`engine::wake`] tells it
//! whether the eventfd must be written at all. No wake can be lost: `engine/tests/wake_loom.rs` shows it.
//!
//! Measured on the two-core VM under other load: a parked shard with nothing to do takes 0.02 % of a core, one with a
//! deadline each millisecond 1.5 %; from publishing to the turn 25-40 us (p50) asleep and 0.25 us spinning; the sender
//! pays 9-14 us for a wake, some 20 ns when none is needed.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use engine::wake::SleepFlag;
use rustix::event::{EventfdFlags, eventfd};

use super::clock::elapsed_ns;
use super::poller::{Poller, Waiter, Woken};

/// How a shard idles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdlePolicy {
    /// Never sleep. For a core of its own.
    Spin,
    /// Sleep after a while without work.
    Park {
        /// How long to keep turning before sleeping. A sleep and its wake cost the sender 6-9 us and the event
        /// 20-40 us, so it should be some multiple of that.
        spin_ns: u64,
        /// The longest sleep, whatever the deadline says; it bounds how long a stop or a counter may wait.
        sleep_ns_max: u64,
    },
}

impl IdlePolicy {
    /// Park with the values that the shipped topology uses.
    pub const PARK: Self = Self::Park { spin_ns: 50_000, sleep_ns_max: 100_000_000 };
}

/// Wakes one shard. Cloned to everyone who sends to it.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    flag: SleepFlag,
    eventfd: OwnedFd,
}

impl Waker {
    /// The waker of one shard, made before the shards start so that rings can be wired.
    pub fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Shared { flag: SleepFlag::new(), eventfd })))
    }

    /// Wakes the shard if it sleeps. Call it once per batch, after publishing. Says whether it had to.
    ///
    /// Costs a fence and a read while the receiver is awake.
    #[inline]
    pub fn wake(&self) -> bool {
        let must_wake = self.0.flag.must_wake();
        if must_wake {
            self.kick();
        }
        must_wake
    }

    #[cold]
    fn kick(&self) {
        // The counter is never read back (`Waiter::watch_wakes`), so that it could only overflow, and make this
        // fail with `WouldBlock`, after 2^64 kicks. No other failure is possible on an eventfd that is open.
        let _ = rustix::io::write(&self.0.eventfd, &1u64.to_ne_bytes());
    }
}

/// The idle policy of one running shard.
#[derive(Debug)]
pub struct Idle {
    policy: IdlePolicy,
    waker: Waker,
    waiter: Waiter,
    /// When the current run of idle turns began.
    idle_since_ns: Option<u64>,
}

/// What an idle turn led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idled {
    /// Turn again at once.
    Spun,
    /// It slept, and this ended it.
    Slept(Woken),
    /// It was about to sleep and then saw that something had come.
    Stayed,
}

impl Idle {
    /// The policy over the sockets of `poller`, woken through `waker`.
    pub fn new(policy: IdlePolicy, waker: Waker, poller: &Poller) -> io::Result<Self> {
        let waiter = poller.waiter();
        if policy != IdlePolicy::Spin {
            waiter.watch_wakes(&waker.0.eventfd)?;
        }
        Ok(Self { policy, waker, waiter, idle_since_ns: None })
    }

    /// The policy.
    pub fn policy(&self) -> IdlePolicy {
        self.policy
    }

    /// A turn did something: the next idle run starts from zero.
    #[inline]
    pub fn busy(&mut self) {
        self.idle_since_ns = None;
    }

    /// A turn that started at `now_ns` did nothing. Sleeps if the policy says so, until `deadline_ns` at the latest.
    ///
    /// `something_came` is asked once more after the intention to sleep is visible to senders; it must look at
    /// everything that senders publish before they call [`Waker::wake`].
    ///
    /// # Errors
    ///
    /// What the kernel says about the wait; none is expected while the set is open.
    #[inline]
    pub fn idle(
        &mut self,
        now_ns: u64,
        deadline_ns: Option<u64>,
        something_came: impl FnOnce() -> bool,
    ) -> io::Result<Idled> {
        let IdlePolicy::Park { spin_ns, sleep_ns_max } = self.policy else {
            std::hint::spin_loop();
            return Ok(Idled::Spun);
        };
        let since_ns = *self.idle_since_ns.get_or_insert(now_ns);
        if elapsed_ns(since_ns, now_ns) < spin_ns {
            std::hint::spin_loop();
            return Ok(Idled::Spun);
        }
        let sleep_ns =
            deadline_ns.map_or(sleep_ns_max, |deadline| elapsed_ns(now_ns, deadline).min(sleep_ns_max));
        self.sleep(sleep_ns, something_came)
    }

    #[cold]
    fn sleep(&mut self, sleep_ns: u64, something_came: impl FnOnce() -> bool) -> io::Result<Idled> {
        if sleep_ns == 0 {
            return Ok(Idled::Stayed); // the deadline is due: the turn handles it
        }
        let flag = &self.waker.0.flag;
        flag.announce();
        if something_came() {
            flag.retract();
            return Ok(Idled::Stayed);
        }
        let woken = self.waiter.wait(Duration::from_nanos(sleep_ns));
        self.waker.0.flag.retract();
        let woken = woken?;
        // After a deadline there is most likely nothing to spin for: sleep again at once. After a wake there is.
        if woken != Woken::Deadline {
            self.busy();
        }
        Ok(Idled::Slept(woken))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::machine::clock::Clock;
    use crate::machine::poller::{Interest, Token};
    use crate::machine::testing::{WAIT_MAX, socket_pair};

    const NO_SPIN: IdlePolicy = IdlePolicy::Park { spin_ns: 0, sleep_ns_max: WAIT_MAX.as_nanos() as u64 };

    fn parked(policy: IdlePolicy) -> (Idle, Waker, Poller) {
        let (poller, waker) = (Poller::new().unwrap(), Waker::new().unwrap());
        (Idle::new(policy, waker.clone(), &poller).unwrap(), waker, poller)
    }

    #[test]
    fn spin_never_sleeps() {
        let (mut idle, waker, _poller) = parked(IdlePolicy::Spin);
        assert_eq!(idle.idle(0, None, || false).unwrap(), Idled::Spun);
        assert!(!waker.wake(), "nobody has to wake it");
    }

    #[test]
    fn park_spins_first_and_counts_from_the_first_idle_turn() {
        let (mut idle, _waker, _poller) = parked(IdlePolicy::Park { spin_ns: 100, sleep_ns_max: 1000 });
        assert_eq!(idle.idle(50, None, || false).unwrap(), Idled::Spun);
        assert_eq!(idle.idle(149, None, || false).unwrap(), Idled::Spun);
        assert_eq!(idle.idle(150, None, || false).unwrap(), Idled::Slept(Woken::Deadline));
        idle.busy();
        assert_eq!(idle.idle(160, None, || false).unwrap(), Idled::Spun);
    }

    #[test]
    fn a_due_deadline_is_not_slept_on() {
        let (mut idle, _waker, _poller) = parked(NO_SPIN);
        assert_eq!(idle.idle(1000, Some(1000), || false).unwrap(), Idled::Stayed);
        assert_eq!(idle.idle(1000, Some(10), || false).unwrap(), Idled::Stayed);
    }

    #[test]
    fn what_came_before_the_sleep_prevents_it() {
        let (mut idle, waker, _poller) = parked(NO_SPIN);
        assert_eq!(idle.idle(0, None, || true).unwrap(), Idled::Stayed);
        assert!(!waker.wake(), "it is awake again");
    }

    #[test]
    fn a_deadline_ends_the_sleep() {
        let (mut idle, _waker, _poller) = parked(NO_SPIN);
        assert_eq!(idle.idle(0, Some(200_000), || false).unwrap(), Idled::Slept(Woken::Deadline));
    }

    #[test]
    fn a_socket_ends_the_sleep() {
        let (mut idle, _waker, mut poller) = parked(NO_SPIN);
        let (client, mut server) = socket_pair();
        poller.add(&client, Token(0), Interest::Read).unwrap();
        let writer = std::thread::spawn(move || server.write_all(b"x").map(|()| server));
        assert_eq!(idle.idle(0, None, || false).unwrap(), Idled::Slept(Woken::Socket));
        let _server = writer.join().unwrap().unwrap();
        assert_eq!(poller.poll().unwrap(), 1, "the turn still sees the socket");
    }

    #[test]
    fn a_sender_ends_the_sleep_and_only_the_first_has_to_wake() {
        let (mut idle, waker, mut poller) = parked(NO_SPIN);
        for _ in 0..3 {
            // `something_came` runs when the flag is up: the sender is certain to see it.
            let slept = idle.idle(0, None, || {
                assert!(waker.wake());
                assert!(!waker.wake());
                false
            });
            assert_eq!(slept.unwrap(), Idled::Slept(Woken::Sender));
        }
        assert_eq!(poller.poll().unwrap(), 0, "a wake is reported once");
    }

    #[test]
    fn a_wake_beside_a_ready_socket_leaves_only_the_socket_to_the_turn() {
        let (_idle, waker, mut poller) = parked(NO_SPIN);
        let (client, mut server) = socket_pair();
        poller.add(&client, Token(4), Interest::Read).unwrap();
        waker.0.flag.announce();
        assert!(waker.wake());
        assert_eq!(poller.poll().unwrap(), 0);
        waker.0.flag.announce();
        assert!(waker.wake());
        server.write_all(b"x").unwrap();
        crate::machine::testing::until("the byte is there", || (poller.poll().unwrap() == 1).then_some(()));
        assert_eq!(poller.event(0).map(|ready| ready.token), Some(Token(4)));
        assert_eq!(poller.event(1), None);
    }

    /// 100,000 round trips between two parked shards, with pauses of random length, so that each side is met
    /// spinning, about to sleep, and asleep. A lost wake shows as a sleep that the test's bound ends.
    #[test]
    fn no_wake_is_lost_in_random_ping_pong() {
        const ROUNDS: u64 = 100_000;
        let words: Arc<[AtomicU64; 2]> = Arc::default();
        let wakers = [Waker::new().unwrap(), Waker::new().unwrap()];
        let side = |me: usize| {
            let (words, wakers) = (words.clone(), wakers.clone());
            move || {
                let clock = Clock::new();
                let poller = Poller::new().unwrap();
                let policy = IdlePolicy::Park { spin_ns: 2_000, sleep_ns_max: WAIT_MAX.as_nanos() as u64 };
                let mut idle = Idle::new(policy, wakers[me].clone(), &poller).unwrap();
                let mut random = fastrand::Rng::with_seed(7 + me as u64);
                let mut sleeps = 0u64;
                for round in 1..=ROUNDS {
                    if me == 0 {
                        words[1].store(round, Ordering::Release);
                        wakers[1].wake();
                    }
                    while words[me].load(Ordering::Acquire) != round {
                        let came = || words[me].load(Ordering::Acquire) == round;
                        let idled = idle.idle(clock.now(), None, came).unwrap();
                        assert_ne!(idled, Idled::Slept(Woken::Deadline), "lost a wake in round {round}");
                        sleeps += u64::from(matches!(idled, Idled::Slept(_)));
                    }
                    idle.busy();
                    for _ in 0..random.u32(0..2_000) {
                        std::hint::spin_loop();
                    }
                    if me == 1 {
                        words[0].store(round, Ordering::Release);
                        wakers[0].wake();
                    }
                }
                sleeps
            }
        };
        let sides = [std::thread::spawn(side(0)), std::thread::spawn(side(1))];
        let sleeps: u64 = sides.into_iter().map(|side| side.join().unwrap()).sum();
        assert!(sleeps > 0, "the test met a sleeping side at all");
    }
}
