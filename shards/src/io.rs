//! What a provider shard has to reach the outside, shared by its providers and their order entry.

use crate::machine::clock::Clock;
use crate::machine::idle::Waker;
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

/// No socket is read any more in a turn that has lasted so long, in nanoseconds; what is left comes in the next.
const TURN_NS_MAX: u64 = 300_000;

/// The time that a turn has for reading sockets, looked at with the clock reads that there are anyway.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    until_ns: u64,
    seen_ns: u64,
}

impl Budget {
    /// A turn begins.
    #[inline]
    pub const fn begin(&mut self, now_ns: u64) {
        (self.until_ns, self.seen_ns) = (now_ns + TURN_NS_MAX, now_ns);
    }

    /// It is `now_ns`.
    #[inline]
    pub const fn look(&mut self, now_ns: u64) {
        self.seen_ns = now_ns;
    }

    /// Whether it is used up, as of the last look.
    #[inline]
    pub const fn is_over(&self) -> bool {
        self.seen_ns >= self.until_ns
    }
}
