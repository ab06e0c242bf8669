//! What a pipeline counts.

crate::counters! {
    /// Counters of one provider's pipeline. Every message is accounted for, at any time:
    /// `messages = applied + stale + unusable + unpublished + waiting`, where `applied` is the sum over
    /// streams and books and `waiting` is what streams and books hold now
    /// ([`Pipeline::messages_applied`](super::Pipeline::messages_applied),
    /// [`Pipeline::messages_waiting`](super::Pipeline::messages_waiting)).
    pub struct PipelineCounts {
        /// Text frames taken.
        frames_total,
        /// REST bodies taken.
        rest_bodies_total,
        /// Venue messages in them that this shard keeps.
        messages_total,
        /// Events handed to the dispatcher, Gaps and book states included. Logical events, not parts.
        events_total,
        /// Frames and bodies that could not be decoded.
        decode_errors_total,
        /// Messages already covered by what was published.
        stale_total,
        /// Messages that a book could not use: no snapshot, or broken.
        unusable_total,
        /// Trades that have their place among the ids and are not published.
        unpublished_total,
        /// Holes declared in streams, books included.
        gaps_total,
        /// Holes in the numbers of a connection's frames.
        connection_gaps_total,
        /// Book snapshots wanted anew because a check failed.
        resyncs_total,
        /// Snapshots published because another line's book took over.
        switches_total,
        /// Messages of a line that joins, left to the older one that was behind it.
        left_to_older_total,
        /// Requests for missing trades.
        fills_asked_total,
        /// Books compared with a second snapshot, or with the venue's best prices, and found equal.
        verified_total,
        /// Samples of best prices that disagreed with the venue's. One alone means nothing.
        top_disagreements_total,
        /// Books that broke again and again, each time that was said.
        unprovable_total,
        /// Instruments that the venue ceased to trade while their streams were heard.
        delisted_total,
        /// Books compared with a second snapshot and found different.
        verification_failures_total,
        /// Times an instrument's scale grew.
        widenings_total,
        /// Pieces of frames and bodies that were too long for one turn.
        pieces_total,
        /// Books that were published over several turns, because one had enough without them.
        books_in_turns_total,
        /// Frames of which only some pieces were read when their connection ended.
        halves_given_up_total,
        /// Frames too long to be taken; their books were given up.
        oversized_total,
        /// Takes that found a pool empty when something had to be kept.
        pool_empty_total,
        /// Frames that were decoded without a slot after 100 ms of waiting for one.
        pool_timeouts_total,
    }
}

/// Counts by a name that is known at compile time. A handful of names, off the path of data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(Vec<(&'static str, u64)>);

impl Tally {
    /// Adds one.
    pub fn add(&mut self, name: &'static str) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => self.0.push((name, 1)),
        }
    }

    /// All names seen, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().copied()
    }

    /// The sum.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }
}
