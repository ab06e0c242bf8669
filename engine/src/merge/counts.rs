//! What a merge shard counts, and what it tells of windows that were not published.

use crate::event::MERGED_PROVIDERS_MAX;
use crate::ids::{ProviderId, StreamId};
use crate::time::ReceiveTime;

crate::counters! {
    /// What a merge shard did with what came.
    pub struct MergerCounts {
        /// Events that came; each is one of: unwanted, duplicate, best price, held for its turn.
        events_total,
        /// Events of streams, or of kinds, that no rule joins.
        unwanted_total,
        /// Events that came twice.
        duplicates_total,
        /// Events taken for best bids and offers, and for nothing else.
        best_total,
        /// Events held for their turn.
        held_total,
        /// Events whose turn came.
        released_total,
        /// Events dropped because no slot was free.
        no_slot_total,
        /// Markers that came.
        markers_total,
        /// Times that the wait for an input was ended by patience.
        forced_by_patience_total,
        /// Times that the wait for an input was ended because another held as much as it may.
        forced_by_room_total,
        /// Merged events offered to consumers.
        merged_total,
        /// Time from the moment a window was over, or a best price came, until the merged event was offered, in nanoseconds.
        latency_ns_total,
        /// The longest such time, in nanoseconds.
        latency_ns_max,
        /// Suppressed windows of which the shard was not told in time.
        suppressed_untold_total,
    }
}

crate::counters! {
    /// What became of the events of one merged stream: `events = late + no slot + complete + partial + discarded + open now`.
    pub struct MergeCounts {
        /// Events that reached the rule.
        events_total,
        /// Events for a span that was closed.
        late_total,
        /// Events that found no slot for a window.
        no_slot_total,
        /// Events in complete windows.
        complete_events_total,
        /// Events in partial windows.
        partial_events_total,
        /// Events in windows that were discarded with their rule.
        discarded_events_total,
        /// Windows opened.
        windows_opened_total,
        /// Windows in which every provider was: one merged event each.
        windows_complete_total,
        /// Windows that lacked a provider: suppressed.
        windows_partial_total,
        /// Windows discarded with their rule.
        windows_discarded_total,
        /// Changes of the best bid and offer: one merged event each.
        best_changes_total,
    }
}

/// A window that was not published because a provider was missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppressed {
    /// The merged stream.
    pub stream: StreamId,
    /// The merge id that it would have had.
    pub merge_id: u64,
    /// Receive time of its first event.
    pub opened: ReceiveTime,
    /// Its end.
    pub closed: ReceiveTime,
    /// Events that were in it.
    pub event_count: u32,
    /// Who was missing.
    pub missing: heapless::Vec<ProviderId, MERGED_PROVIDERS_MAX>,
}
