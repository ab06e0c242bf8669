//! What a provider shard has to reach the outside, shared by its providers and their order entry.

use engine::dispatch::RELIEF_PARTS_MAX;

use crate::machine::clock::Clock;
use crate::machine::idle::Waker;
use crate::machine::place::Place;
use crate::machine::poller::Poller;
use crate::machine::resolve::Resolver;
use crate::stages::ShardStages;

/// What a shard's providers share.
pub struct Io {
    /// The sockets of the shard.
    pub poller: Poller,
    /// Names.
    pub resolver: Resolver,
    /// Wakes this shard.
    pub waker: Waker,
    /// The clock.
    pub clock: Clock,
    /// The histograms.
    pub stages: ShardStages,
    /// How far this turn has come.
    pub budget: Budget,
}

impl Io {
    /// Reads the clock, in nanoseconds: what lasted since the last look of this turn was a step at `place`.
    #[inline]
    pub fn look(&mut self, place: Place) -> u64 {
        let now_ns = self.clock.now();
        self.looked(place, now_ns);
        now_ns
    }

    /// The same where the clock was read for something else.
    #[inline]
    pub fn looked(&mut self, place: Place, now_ns: u64) {
        self.stages.step(place, now_ns.saturating_sub(self.budget.seen_ns));
        self.budget.seen_ns = now_ns;
    }
}

/// No socket is read any more in a turn that has lasted so long, in nanoseconds; what is left comes in the next.
const TURN_NS_MAX: u64 = 300_000;

/// What a turn has: the time for reading sockets, looked at with the clock reads that there are anyway, and the parts of what
/// waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    until_ns: u64,
    seen_ns: u64,
    /// What the last turn left has had nothing of this one.
    is_owed: bool,
    /// Parts of what waits for room that may still be given out, by all providers of the shard together.
    pub relief_parts: usize,
}

impl Budget {
    /// A turn begins.
    #[inline]
    pub const fn begin(&mut self, now_ns: u64) {
        *self = Self {
            until_ns: now_ns + TURN_NS_MAX,
            seen_ns: now_ns,
            is_owed: true,
            relief_parts: RELIEF_PARTS_MAX,
        };
    }

    /// Whether what the last turn left may go on: one line of one provider in each turn, whatever the others took, and more
    /// while there is time.
    #[inline]
    pub const fn may_go_on(&mut self) -> bool {
        std::mem::replace(&mut self.is_owed, false) || !self.is_over()
    }

    /// Whether the time is used up, as of the last look.
    #[inline]
    pub const fn is_over(&self) -> bool {
        self.seen_ns >= self.until_ns
    }
}
