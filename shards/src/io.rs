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
}
