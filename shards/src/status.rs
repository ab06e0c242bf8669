//! What shards tell the supervisor while they run: plain copies, a few times a second, over rings of their own.
//!
//! A shard never waits for it: when the supervisor is slow, a status is skipped and the next one is newer.

use engine::consumer::SeatCounts;
use engine::dispatch::{LaneCounts, OutputState};
use engine::merge::{MergeCounts, MergerCounts};
use engine::orders::outbox::OutboxCounts;
use engine::pipeline::{PipelineCounts, Race};
use engine::provider::{CareCounts, RestCounts};

use crate::orders::status::OrdersStatus;
use crate::topology::bounds::{MERGES_MAX, NAME_CHARS_MAX, PROVIDERS_MAX};

/// Shards that one provider or merge shard can feed and that its status shows.
pub const OUTPUTS_MAX: usize = 16;
/// Consumers that one shard can host.
pub const SEATS_MAX: usize = 64;
/// Rings of one consumer shard that its status shows.
pub const RINGS_MAX: usize = 16;
/// Books that are not proved and that a status names.
pub const UNPROVED_MAX: usize = 16;
/// Lines of a provider whose races a status shows: four, their spare one, and those of a second and third group.
pub const RACES_MAX: usize = 16;
/// The pools of which a status tells the use, in its order.
pub const POOL_NAMES: [&str; 3] = ["frames", "raws", "events"];
/// The pools of a merge shard of which a status tells the use, in its order.
pub const MERGER_POOL_NAMES: [&str; 2] = ["events", "merged"];
/// Statuses that wait for the supervisor.
pub const STATUS_RING: usize = 16;
/// Between two statuses of a shard, in nanoseconds.
pub const STATUS_EVERY_NS: u64 = 200_000_000;

/// What stands between a provider and one consumer shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutputStatus {
    /// Index of the shard that it leads to.
    pub shard: u8,
    /// The ring and the spill.
    pub state: OutputState,
    /// What became of the events.
    pub counts: LaneCounts,
    /// Events that wait before the ring.
    pub in_flight: u64,
}

/// One provider now.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProviderStatus {
    /// Its index in the topology.
    pub provider: u8,
    /// What its pipeline counted.
    pub counts: PipelineCounts,
    /// What its REST queue counted.
    pub rest: RestCounts,
    /// What was asked about streams that fell silent.
    pub care: CareCounts,
    /// Connections in all.
    pub connections: u8,
    /// Connections on which frames flow and every subscription is taken.
    pub connections_live: u8,
    /// Connections lost so far.
    pub lost_total: u64,
    /// Books in all.
    pub books: u32,
    /// Books that are proved.
    pub books_proved: u32,
    /// One bit for each of the first 64 connections: live, and every subscription taken.
    pub lines_live: u64,
    /// How the first lines fared against the others that carry the same streams.
    pub races: [Race; RACES_MAX],
    /// Listings of the first books that are not proved; `u16::MAX` where there are fewer.
    pub books_unproved: [u16; UNPROVED_MAX],
    /// The routing version in force.
    pub routing_version: u32,
    /// Slots out and slots in all, in the order of [`POOL_NAMES`].
    pub pools: [(u32, u32); POOL_NAMES.len()],
    /// Dead letters written.
    pub letters_total: u64,
    /// How many of `outputs` are used.
    pub output_count: u8,
    /// The ways to consumer shards.
    pub outputs: [OutputStatus; OUTPUTS_MAX],
}

/// One consumer now.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeatStatus {
    /// What it did.
    pub counts: SeatCounts,
    /// Whether it is up.
    pub up: bool,
}

/// What waits in one ring of a consumer shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct RingStatus {
    /// The number of the provider or merge shard that fills it, once anything has come.
    pub provider: Option<u8>,
    /// Event parts in it.
    pub events: u32,
    /// Since when the oldest of them had been received, in nanoseconds; 0 when it is empty.
    pub oldest_ns: u64,
    /// The longest that the oldest one had waited when the shard came to it, in nanoseconds.
    pub oldest_ns_max: u64,
}

/// One consumer shard now.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerStatus {
    /// Its index in the topology.
    pub shard: u8,
    /// Event parts taken off its rings.
    pub received_total: u64,
    /// Requests of its consumers, and those that were refused on this side.
    pub outbox: OutboxCounts,
    /// How many of `rings` are used.
    pub ring_count: u8,
    /// Its rings.
    pub rings: [RingStatus; RINGS_MAX],
    /// How many of `seats` are used.
    pub seat_count: u8,
    /// Its consumers.
    pub seats: [SeatStatus; SEATS_MAX],
}

/// One merge rule now.
#[derive(Clone, Copy, Debug, Default)]
pub struct RuleStatus {
    /// Its name, with zeros behind it.
    name: [u8; NAME_CHARS_MAX],
    /// What became of its windows and best prices, over all its instruments.
    pub counts: MergeCounts,
    /// Events in its open windows.
    pub open_events: u64,
}

impl RuleStatus {
    /// Of a rule with a name of the topology's form, before anything is counted.
    pub fn named(name: &str) -> Self {
        let mut status = Self::default();
        status.name.iter_mut().zip(name.bytes()).for_each(|(slot, byte)| *slot = byte);
        status
    }

    /// The rule's name.
    pub fn name(&self) -> &str {
        let end = self.name.iter().position(|&byte| byte == 0).unwrap_or(NAME_CHARS_MAX);
        std::str::from_utf8(&self.name[..end]).unwrap_or("?")
    }
}

/// One merge shard now.
#[derive(Clone, Copy, Debug)]
pub struct MergerStatus {
    /// Its index in the topology.
    pub shard: u8,
    /// Events and markers taken off its rings.
    pub received_total: u64,
    /// What it did with them.
    pub counts: MergerCounts,
    /// What became of windows and best prices, over all rules, those that were ended included.
    pub merges: MergeCounts,
    /// Events in open windows.
    pub open_events: u64,
    /// Providers that are not waited for because they did not pass in time.
    pub inputs_lagging: u8,
    /// How many of `rules` are in force.
    pub rule_count: u8,
    /// The rules, in the order in which they began.
    pub rules: [RuleStatus; MERGES_MAX],
    /// The routing version in force.
    pub routing_version: u32,
    /// Slots out and slots in all, in the order of [`MERGER_POOL_NAMES`].
    pub pools: [(u32, u32); MERGER_POOL_NAMES.len()],
    /// Dead letters written.
    pub letters_total: u64,
    /// By provider number: suppressed windows that lacked it.
    pub missed_by_provider: [u64; PROVIDERS_MAX],
    /// How many of `outputs` are used.
    pub output_count: u8,
    /// The ways to consumer shards.
    pub outputs: [OutputStatus; OUTPUTS_MAX],
}

/// What a shard tells.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::large_enum_variant, reason = "copied into a ring a few times a second")]
pub enum Status {
    /// Of a provider.
    Provider(ProviderStatus),
    /// Of a merge shard.
    Merger(MergerStatus),
    /// Of a consumer shard.
    Consumer(ConsumerStatus),
    /// Of a provider's order entry.
    Orders(OrdersStatus),
}
