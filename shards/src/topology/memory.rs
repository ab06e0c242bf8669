//! The sums of a topology: parts of an event, slots of a ring, bytes of everything that is taken at start and may be
//! taken later.
//!
//! Who has what follows `launch`: pools, rings, spills and books belong to a provider, not to its shard; a shard has a ring
//! only from those whose events its consumers want. `shards/tests/memory.rs` compares the sum with what a gateway takes.

use std::fmt::Write as _;

use engine::book::BookFeed;
use engine::event::{Event, Level};
use engine::merge::MergedEvent;
use engine::orders::{OrderEvent, OrderRequest};
use engine::pools::{FRAME_BYTES, RAW_LEVELS, RAW_MESSAGES, WsFrame};
use engine::raw::{Message, Raw};

use super::books::{book_reserve, book_sizes};
use super::plan::{MergePlan, Pools, ProviderPlan, Role, ShardIndex, Subscription, Topology};
use super::venues::connections;
use crate::stages::{SETS_PER_SHARD, Stage};

/// Book levels in one event slot: 192 bytes less the header, 16 bytes a level (price and quantity, an i64 each).
pub const LEVELS_PER_PART: u64 = 6;
/// One market event.
pub const EVENT_SLOT_BYTES: u64 = size_of::<Event>() as u64;
/// What a pool keeps beside a value: its number and generation, and the ledger's entry with the place of the last use.
const SLOT_BYTES: u64 = 48;
/// Slots of the largest merged event: the window, then a fragment a provider.
pub const MERGED_PARTS_MAX: u64 = 1 + engine::event::MERGED_PROVIDERS_MAX as u64;
/// One level of a kept book: price and quantity.
pub const LEVEL_BYTES: u64 = size_of::<Level>() as u64;
/// Read buffer and outbox of one connection, 256 KiB each, and the text of a subscription. A longer message grows the
/// first while it is read, to 64 MiB.
pub const CONNECTION_BYTES: u64 = (2 * 256 + 64) * 1024;
/// What a shard has beside the rest: its runtime, decoders, statuses and wires to the control thread (measured).
pub const SHARD_BYTES: u64 = 640 * 1024;
/// Lossless events for which a spill has room at start (`engine::dispatch`); beyond it grows.
const SPILL_RESERVE: u64 = 8_192;
/// One event that waits in a stream's reorder buffer: its handle, numbers and whether it is published.
const HELD_BYTES: u64 = 48;
/// State of one stream on its way to one shard.
const LANE_BYTES: u64 = 400;
/// Parts kept of a stream for the rule `latest`: final klines, one more, and a partial book of 20 levels a side.
const LATEST_PARTS: u64 = 20;
/// Memory that an executor gives to the kernel: 64 KiB of I/O memory, registered three times (measured).
pub const EXECUTOR_BYTES: u64 = 3 * 64 * 1024;
/// One stage histogram of a shard: 2 digits, u32 counts (measured 15 KiB).
pub const HISTOGRAM_BYTES: u64 = 15 * 1024;
/// Histograms of one stage: the sets that its shard exchanges, and the total with counts twice as wide.
const HISTOGRAMS_PER_STAGE: u64 = SETS_PER_SHARD as u64 + 2;
/// Stages with a histogram on each shard, consumers of the shard not counted.
pub const STAGES: u64 = Stage::COUNT as u64;

/// Order entry of one provider beside its rings: 4,096 orders, 65,536 ids and executions, the journal's buffer, read
/// buffer (measured; the same at every venue).
pub const ORDER_ENTRY_BYTES: u64 = 28 << 20;
/// Bytes of a block of a capture: one good write.
pub const CAPTURE_BLOCK_BYTES: usize = 256 << 10;
/// Blocks of one provider's capture: 32 MiB, twice the longest message, or some seconds of a stalled disk.
pub const CAPTURE_BLOCK_COUNT: usize = 128;
/// Own histograms of a provider that trades: until ready, until written, the system call, until the first answer.
const ORDER_HISTOGRAMS: u64 = 4;

/// Event slots that a snapshot of `levels` a side takes. A part holds levels of one side only.
pub fn snapshot_parts(levels: u64) -> u64 {
    2 * levels.div_ceil(LEVELS_PER_PART)
}

/// Event slots that a ring needs for a largest event of `parts`.
///
/// Twice: an event enters whole or not at all, so while one is being read the next must find room, or a book
/// that is resynchronised would wait for a ring that never gets empty enough.
pub fn ring_events_min(parts: u64) -> u64 {
    2 * parts
}

/// One line of the memory budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryItem {
    /// What it is, with the sum in words.
    pub what: String,
    /// What is taken at start.
    pub bytes: u64,
    /// What it may grow to. Not less than `bytes`.
    pub bytes_max: u64,
}

/// Everything that the data path takes. The totals are [`MemoryBudget::total_bytes`] and [`MemoryBudget::total_bytes_max`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    /// Items in the order of the file.
    pub items: Vec<MemoryItem>,
}

impl MemoryBudget {
    /// What all items take at start.
    pub fn total_bytes(&self) -> u64 {
        self.items.iter().map(|item| item.bytes).sum()
    }

    /// What all items may grow to.
    pub fn total_bytes_max(&self) -> u64 {
        self.items.iter().map(|item| item.bytes_max).sum()
    }

    /// One line an item and the totals, as printed by `topology check`.
    pub fn render(&self) -> String {
        let mut text = format!("{:>12}  {:>12}\n", "at start", "at most");
        let mut line = |bytes, bytes_max, what: &str| {
            let _ = writeln!(text, "{:>12}  {:>12}  {what}", shown_bytes(bytes), shown_bytes(bytes_max));
        };
        for item in &self.items {
            line(item.bytes, item.bytes_max, &item.what);
        }
        line(self.total_bytes(), self.total_bytes_max(), "together");
        text
    }

    fn add(&mut self, what: String, bytes: u64) {
        self.add_growing(what, bytes, bytes);
    }

    fn add_growing(&mut self, what: String, bytes: u64, bytes_max: u64) {
        self.items.push(MemoryItem { what, bytes, bytes_max: bytes_max.max(bytes) });
    }

    /// Rings and spills on the way from a sender to each of `receivers`, and the lanes of its streams.
    fn add_ways(&mut self, topology: &Topology, from: &str, streams: u64, receivers: &[ShardIndex]) {
        for &shard in receivers {
            let plan = topology.shard(shard);
            let Some(rings) = plan.rings() else { continue };
            let to = format!("{from} to shard {}", plan.name);
            let (ring, spill) = (u64::from(rings.ring_events), u64::from(rings.spill_events));
            self.add(format!("{to}: ring of {ring} events"), ring * EVENT_SLOT_BYTES);
            let reserved = spill.min(SPILL_RESERVE);
            self.add_growing(
                format!("{to}: spill of {spill} events"),
                reserved * EVENT_SLOT_BYTES,
                spill * EVENT_SLOT_BYTES,
            );
            let lanes = streams * LANE_BYTES;
            self.add_growing(
                format!("{to}: {streams} lanes, with their latest events"),
                lanes,
                lanes + streams * LATEST_PARTS * EVENT_SLOT_BYTES,
            );
        }
    }

    /// The memory of the executors, which the kernel maps.
    pub fn executor_bytes(&self) -> u64 {
        let executors = self.items.iter().filter(|item| item.what.ends_with(EXECUTORS));
        executors.map(|item| item.bytes).sum()
    }
}

/// How the item of the executors ends.
const EXECUTORS: &str = "executors and the control shard";

/// Sums what the topology takes.
pub fn memory_budget(topology: &Topology) -> MemoryBudget {
    let mut budget = MemoryBudget { items: Vec::new() };
    for provider in &topology.providers {
        add_provider(&mut budget, topology, provider);
        if provider.trades() {
            add_orders(&mut budget, topology, provider);
        }
    }
    for (index, shard) in topology.shards.iter().enumerate() {
        let index = ShardIndex(index as u8);
        match shard.role {
            Role::Merger { pools, .. } => {
                let own: Vec<&MergePlan> =
                    topology.merges.iter().filter(|merge| merge.shard == index).collect();
                let streams =
                    own.iter().map(|merge| merge.inputs.first().map_or(0, |(_, list)| list.len())).sum();
                add_merger(&mut budget, topology, index, pools, streams);
            }
            Role::Consumer { .. } => add_copies(&mut budget, topology, index),
            Role::Provider { .. } => {}
        }
    }
    let shards = topology.shards.len() as u64;
    budget.add(format!("{} {EXECUTORS}", shards + 1), (shards + 1) * EXECUTOR_BYTES);
    budget.add(format!("runtimes, statuses and wires of {shards} shards"), shards * SHARD_BYTES);
    let traders = topology.providers.iter().filter(|provider| provider.trades()).count() as u64;
    let consumer_shards = topology.shards.iter().filter(|shard| matches!(shard.role, Role::Consumer { .. }));
    // Of orders: those of the provider's shard, and one of reports on each shard of consumers.
    let of_orders = traders * (ORDER_HISTOGRAMS + consumer_shards.count() as u64);
    let histograms = shards * STAGES + topology.consumers.len() as u64 + of_orders;
    budget.add(
        format!("histograms: {STAGES} stages on {shards} shards, one a consumer, {of_orders} of orders"),
        histograms * HISTOGRAMS_PER_STAGE * HISTOGRAM_BYTES,
    );
    budget
}

fn add_provider(budget: &mut MemoryBudget, topology: &Topology, plan: &ProviderPlan) {
    let name = format!("provider {}", plan.name);
    let Role::Provider { pools, .. } = topology.shard(plan.shard).role else { return };
    let frame = SLOT_BYTES + (size_of::<WsFrame>() + FRAME_BYTES) as u64;
    let raw = SLOT_BYTES + (size_of::<Raw>() + RAW_MESSAGES * size_of::<Message>()) as u64;
    let raw = raw + 2 * RAW_LEVELS as u64 * LEVEL_BYTES;
    let bytes = u64::from(pools.frames) * frame
        + u64::from(pools.raws) * raw
        + u64::from(pools.events) * (SLOT_BYTES + EVENT_SLOT_BYTES);
    budget
        .add(format!("{name}: {} frames, {} raws, {} events", pools.frames, pools.raws, pools.events), bytes);
    if plan.capture.is_some() {
        budget.add(
            format!("{name}: blocks of the capture"),
            (CAPTURE_BLOCK_BYTES * CAPTURE_BLOCK_COUNT) as u64,
        );
    }
    let connections = connections(plan) as u64;
    budget.add(format!("{name}: buffers of {connections} connections"), connections * CONNECTION_BYTES);
    let (depth_max, reserve, _) = book_sizes(plan);
    let (depth_max, reserve) = (depth_max as u64, reserve as u64);
    // Beside the books, snapshots are cut into parts, those of this turn and those left to the next, and views into levels.
    let scratch = |levels: u64| 2 * snapshot_parts(levels) * EVENT_SLOT_BYTES + 4 * levels * LEVEL_BYTES;
    if let Some(book) = plan.book {
        let books = plan.instruments.len() as u64;
        let one = size_of::<BookFeed>() as u64;
        // Where each line proves its own books, another line's stand beside the published ones.
        let copies = if book.snapshot_limit.is_some() { 1 } else { u64::from(plan.lines) + 1 };
        budget.add_growing(
            format!("{name}: {books} books of 2 x {} levels", book.depth_max),
            books * (one + 2 * reserve * LEVEL_BYTES) + scratch(reserve),
            copies * books * (one + 2 * depth_max * LEVEL_BYTES) + scratch(depth_max),
        );
    }
    let streams = (plan.instruments.len() * plan.channels.len()) as u64;
    let held = u64::from(plan.reorder.held_events_max);
    budget.add(format!("{name}: {streams} streams, {held} events held each"), streams * held * HELD_BYTES);
    budget.add_ways(topology, &name, streams, &receivers_of(topology, plan));
}

/// Order entry of one provider: its tables, and the rings between it and each shard of consumers.
fn add_orders(budget: &mut MemoryBudget, topology: &Topology, plan: &ProviderPlan) {
    let Role::Provider { order_ring_requests, .. } = topology.shard(plan.shard).role else { return };
    let name = format!("provider {}", plan.name);
    budget.add(format!("{name}: orders, their ids and executions, journal"), ORDER_ENTRY_BYTES);
    let requests = u64::from(order_ring_requests);
    let mut rings = 0;
    for shard in &topology.shards {
        let Some(sizes) = shard.rings().filter(|_| matches!(shard.role, Role::Consumer { .. })) else {
            continue;
        };
        // A critical ring has a reserve of four times its size.
        rings += requests * size_of::<OrderRequest>() as u64
            + 5 * u64::from(sizes.critical_ring_events) * size_of::<OrderEvent>() as u64;
    }
    budget
        .add(format!("{name}: rings of {requests} order requests, critical rings and their reserves"), rings);
}

fn add_merger(
    budget: &mut MemoryBudget,
    topology: &Topology,
    index: ShardIndex,
    pools: Pools,
    streams: usize,
) {
    let name = format!("shard {}", topology.shard(index).name);
    let merged = SLOT_BYTES + size_of::<MergedEvent>() as u64;
    let bytes = u64::from(pools.events) * (SLOT_BYTES + EVENT_SLOT_BYTES) + u64::from(pools.merged) * merged;
    budget.add(format!("{name}: {} events, {} merged events", pools.events, pools.merged), bytes);
    let wants = |subscription: &Subscription| match subscription {
        Subscription::Merged { merge, .. } => topology.merges[usize::from(merge.0)].shard == index,
        Subscription::Market { .. } => false,
    };
    let receivers = consumer_shards(topology, wants);
    budget.add_ways(topology, &name, streams as u64, &receivers);
}

/// The copies of books that a consumer shard keeps: one an instrument, as deep as its deepest subscriber wants.
fn add_copies(budget: &mut MemoryBudget, topology: &Topology, index: ShardIndex) {
    let mut depths = std::collections::BTreeMap::new();
    for (_, consumer) in topology.consumers_on(index) {
        for subscription in &consumer.subscriptions {
            let Subscription::Market { provider, instruments, book_depth: Some(depth), .. } = subscription
            else {
                continue;
            };
            for &instrument in instruments {
                let deepest = depths.entry((*provider, instrument)).or_insert(0);
                *deepest = depth.levels.max(*deepest);
            }
        }
    }
    if depths.is_empty() {
        return;
    }
    let bytes =
        |levels: &dyn Fn(u32) -> u64| depths.values().map(|&depth| 2 * levels(depth) * LEVEL_BYTES).sum();
    let reserved = |depth: u32| book_reserve(depth as usize) as u64;
    let what = format!("shard {}: copies of {} books", topology.shard(index).name, depths.len());
    budget.add_growing(what, bytes(&reserved), bytes(&|depth| u64::from(depth)));
}

/// The shards to which a provider has a ring.
fn receivers_of(topology: &Topology, plan: &ProviderPlan) -> Vec<ShardIndex> {
    let is_plan = |index: super::plan::ProviderIndex| topology.provider(index).name == plan.name;
    let merges = topology.merges.iter().filter(|merge| merge.inputs.iter().any(|(input, _)| is_plan(*input)));
    let mut receivers: Vec<ShardIndex> = merges.map(|merge| merge.shard).collect();
    receivers.extend(consumer_shards(topology, |subscription| match subscription {
        Subscription::Market { provider, .. } => is_plan(*provider),
        Subscription::Merged { .. } => false,
    }));
    receivers.sort_unstable();
    receivers.dedup();
    receivers
}

/// The shards with a consumer that wants something of what `wants` says.
fn consumer_shards(topology: &Topology, wants: impl Fn(&Subscription) -> bool) -> Vec<ShardIndex> {
    let consumers = topology.consumers.iter().filter(|consumer| consumer.subscriptions.iter().any(&wants));
    let mut shards: Vec<ShardIndex> = consumers.map(|consumer| consumer.shard).collect();
    shards.sort_unstable();
    shards.dedup();
    shards
}

/// Parts of the largest event that a subscription can bring.
pub fn largest_event_parts(subscription: &Subscription) -> u64 {
    match subscription {
        Subscription::Market { book_depth: Some(depth), .. } => snapshot_parts(u64::from(depth.levels)),
        Subscription::Market { .. } => 1,
        Subscription::Merged { .. } => MERGED_PARTS_MAX,
    }
}

/// `12.3 MiB`.
pub(super) fn shown_bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_takes_whole_parts_of_each_side() {
        for (levels, parts) in [(1, 2), (6, 2), (7, 4), (50, 18), (10_000, 3334)] {
            assert_eq!(snapshot_parts(levels), parts, "{levels} levels");
        }
        assert_eq!(ring_events_min(snapshot_parts(50)), 36);
    }

    #[test]
    fn bytes_are_shown_in_the_unit_that_fits() {
        assert_eq!(shown_bytes(1023), "1023 B");
        assert_eq!(shown_bytes(1536), "1.5 KiB");
        assert_eq!(shown_bytes(3 << 20), "3.0 MiB");
    }
}
