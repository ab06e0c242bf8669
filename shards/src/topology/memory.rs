//! The sums of a topology: parts of an event, slots of a ring, bytes of everything that is taken at start.
//!
//! Sizes of slots are the design's (events at most 192 bytes, reports at most 384) and stand here once.

use std::fmt::Write as _;

use super::plan::{Role, Subscription, Topology};

/// Book levels in one event slot: 192 bytes less the header, 16 bytes a level (price and quantity, an i64 each).
pub const LEVELS_PER_PART: u64 = 6;
/// One market event.
pub const EVENT_SLOT_BYTES: u64 = 192;
/// One report, control or session event.
pub const CRITICAL_SLOT_BYTES: u64 = 384;
/// One order request.
pub const ORDER_SLOT_BYTES: u64 = 256;
/// One frame or raw: position, length, times and stream of bytes that stay in the read buffer.
pub const FRAME_SLOT_BYTES: u64 = 128;
/// One merged event: a fragment a provider, in parts of event slots; eight providers.
pub const MERGED_SLOT_BYTES: u64 = 8 * EVENT_SLOT_BYTES;
/// Slots of the largest merged event: the window, then a fragment a provider.
pub const MERGED_PARTS_MAX: u64 = 1 + engine::event::MERGED_PROVIDERS_MAX as u64;
/// One level of a kept book: price and quantity.
pub const LEVEL_BYTES: u64 = 16;
/// Read buffer of one connection. Long enough for the largest snapshot a venue sends in one frame.
pub const READ_BUFFER_BYTES: u64 = 256 * 1024;
/// Memory that an executor gives to the kernel: 64 KiB of I/O memory, registered three times (measured).
pub const EXECUTOR_BYTES: u64 = 3 * 64 * 1024;
/// One stage histogram: 2 digits, u32 counts (measured 15 KiB).
pub const HISTOGRAM_BYTES: u64 = 15 * 1024;
/// Stages with a histogram on each shard.
pub const STAGES: u64 = 8;

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
    /// Its size.
    pub bytes: u64,
}

/// Everything that the data path takes at start. The total is [`MemoryBudget::total_bytes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    /// Items in the order of the file.
    pub items: Vec<MemoryItem>,
}

impl MemoryBudget {
    /// Sum of all items.
    pub fn total_bytes(&self) -> u64 {
        self.items.iter().map(|item| item.bytes).sum()
    }

    /// One line an item and the total, as printed before start.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for item in &self.items {
            let _ = writeln!(text, "{:>12}  {}", shown_bytes(item.bytes), item.what);
        }
        let _ = writeln!(text, "{:>12}  together", shown_bytes(self.total_bytes()));
        text
    }
}

/// Sums what the topology takes at start.
///
/// Every provider and merge shard has rings to every consumer shard, and every provider shard to every merge shard:
/// subscriptions may change while running, memory may not.
pub fn memory_budget(topology: &Topology) -> MemoryBudget {
    let mut items = Vec::new();
    let mut add = |what: String, bytes: u64| items.push(MemoryItem { what, bytes });
    let is_provider = |role: &Role| matches!(role, Role::Provider { .. });
    let providers = topology.shards.iter().filter(|shard| is_provider(&shard.role)).count() as u64;
    let mergers =
        topology.shards.iter().filter(|shard| matches!(shard.role, Role::Merger { .. })).count() as u64;
    let consumers = topology.shards.len() as u64 - providers - mergers;

    for shard in &topology.shards {
        let name = &shard.name;
        if let Role::Provider { pools, .. } | Role::Merger { pools, .. } = shard.role {
            let bytes = u64::from(pools.frames + pools.raws) * FRAME_SLOT_BYTES
                + u64::from(pools.events) * EVENT_SLOT_BYTES
                + u64::from(pools.merged) * MERGED_SLOT_BYTES
                + u64::from(pools.order_requests) * ORDER_SLOT_BYTES
                + u64::from(pools.execution_reports) * CRITICAL_SLOT_BYTES;
            add(format!("shard {name}: six pools"), bytes);
        }
        if let Role::Provider { order_ring_requests, .. } = shard.role {
            let bytes = consumers * u64::from(order_ring_requests) * ORDER_SLOT_BYTES;
            add(format!("shard {name}: {consumers} order rings of {order_ring_requests}"), bytes);
        }
        if let Some(rings) = shard.rings() {
            let senders =
                if matches!(shard.role, Role::Consumer { .. }) { providers + mergers } else { providers };
            let ring = u64::from(rings.ring_events) * EVENT_SLOT_BYTES
                + u64::from(rings.critical_ring_events) * CRITICAL_SLOT_BYTES;
            add(
                format!(
                    "shard {name}: {senders} rings of {} events and {} critical",
                    rings.ring_events, rings.critical_ring_events
                ),
                senders * ring,
            );
            let spill = u64::from(rings.spill_events) * EVENT_SLOT_BYTES;
            add(format!("shard {name}: {senders} spills of {} events", rings.spill_events), senders * spill);
        }
    }
    for provider in &topology.providers {
        let name = &provider.name;
        if let Some(book) = provider.book {
            let books = provider.instruments.len() as u64;
            let bytes = books * 2 * u64::from(book.depth_max) * LEVEL_BYTES;
            add(format!("provider {name}: {books} books of 2 x {} levels", book.depth_max), bytes);
        }
        let lines = u64::from(provider.lines);
        add(format!("provider {name}: {lines} read buffers"), lines * READ_BUFFER_BYTES);
        let streams = (provider.instruments.len() * provider.channels.len()) as u64;
        let held = streams * u64::from(provider.reorder.held_events_max) * size_of::<u32>() as u64;
        add(
            format!("provider {name}: {streams} streams, {} held each", provider.reorder.held_events_max),
            held,
        );
        let receivers = mergers + consumers;
        add(
            format!("provider {name}: latest event of {streams} streams for {receivers} shards"),
            streams * receivers * EVENT_SLOT_BYTES,
        );
    }
    let shards = topology.shards.len() as u64;
    add(format!("{shards} executors and the control shard"), (shards + 1) * EXECUTOR_BYTES);
    add(format!("histograms: {STAGES} stages on {shards} shards"), shards * STAGES * HISTOGRAM_BYTES);
    MemoryBudget { items }
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
