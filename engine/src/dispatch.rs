//! From one provider to the rings: routes each event, clones it once per interested consumer shard, and applies the
//! delivery rule when a ring is full.
//!
//! | rule | a full ring means |
//! |---|---|
//! | lossless | the event waits in a bounded spill; when that is full it is dropped, and a Gap says so in the stream |
//! | latest | the newest event of the stream waits, and final klines before it; the others count as coalesced |
//! | book | updates collapse; one snapshot of the book follows when it fits whole |
//!
//! Above the ring's mark a stream under `latest` or `book` waits for the end of the turn, and half of the spill is divided
//! between the lossless streams. Of what waits, consumers of the shard have equal shares, whatever their streams
//! ([`Fairness`]): none gets less than the smaller of a quarter of its demand and an equal share of what the shard takes.
//!
//! For every stream and shard `offered = delivered + coalesced + dropped + unchanged + in flight` holds at any time.
//!
//! - Nobody overtakes: once something waits for room, all that comes after it waits too, until the next flush. Streams
//!   that wait are served in turn.
//! - A copy of a book follows updates only after a snapshot that went to the same shard at the same depth. A new route,
//!   a deeper one and a lane that dropped something therefore begin with a snapshot.
//! - An event larger than the whole ring can never be delivered. It is dropped at once, with its Gap and a dead letter,
//!   and holds up nobody; a book that does not fit says `stale` instead. A topology refuses such rings.

mod output;
mod share;
mod spill;

use crate::dead_letter::DeadLetters;
use crate::event::{Body, Event};
use crate::ids::{ShardId, StreamId};
use crate::ring::Sender;
use crate::routing::{Delivery, Route, RoutingTable};

pub use output::FINALS_MAX;
use output::Output;
pub use share::Fairness;

crate::counters! {
    /// What became of the events of one stream for one consumer shard. Logical events, not parts.
    pub struct LaneCounts {
        /// Events offered.
        offered_total,
        /// Events put into the ring.
        delivered_total,
        /// Events that a newer one, or a snapshot, stands for.
        coalesced_total,
        /// Events dropped and declared by a Gap.
        dropped_total,
        /// Book updates that change nothing among the levels that the shard asked for.
        unchanged_total,
        /// Snapshots sent in place of coalesced updates, or to begin with; not offered by anybody.
        conflated_snapshots_total,
        /// Gaps sent for dropped events; not offered by anybody.
        gap_markers_total,
        /// Events that waited although there was room: their stream had used its share. The others say what became of them.
        throttled_total,
        /// Of the dropped events, those whose stream held its share of the spill.
        over_share_total,
    }
}

/// Builds the parts of a snapshot of a stream's book, at most so many levels a side, for a lane whose updates collapsed.
/// A `BookState` instead where no book is loaded, so that a snapshot will follow by itself; nothing for a stream that has
/// no book.
pub trait BookSource {
    /// See the trait. `parts` is to be cleared first.
    fn conflated(&mut self, stream: StreamId, depth: usize, parts: &mut Vec<Event>);
}

/// A source for providers without books.
impl BookSource for () {
    fn conflated(&mut self, _: StreamId, _: usize, parts: &mut Vec<Event>) {
        parts.clear();
    }
}

/// Parts of what waits for room that one turn gives out, over all rings, and an event more: a ring that has room again must not
/// keep the sockets from their turn. 1,024 take about 25 us, a whole book of 10,000 levels a side behind them 80 more.
pub const RELIEF_PARTS_MAX: usize = 1_024;

/// Routes the events of one provider.
#[derive(Debug)]
pub struct Dispatcher {
    /// Which stream goes where. Change it between turns only.
    pub routing: RoutingTable,
    outputs: Vec<Output>,
    /// What could not be delivered.
    pub letters: DeadLetters,
    unrouted_total: u64,
    /// Changes of the routes when the streams of each output were counted.
    counted_changes: u64,
    /// The ring that is given room first next time.
    relieved_first: usize,
    /// Reused for snapshots of collapsed books.
    parts: Vec<Event>,
}

/// What an output has before it now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputState {
    /// Events in the ring or staged.
    pub ring_depth: usize,
    /// Events that fit the ring.
    pub ring_capacity: usize,
    /// Parts that wait in the spill.
    pub spill_depth: usize,
    /// Most parts that ever waited there.
    pub spill_depth_max: usize,
    /// Streams that wait for room.
    pub waiting_streams: usize,
    /// Events that met a full ring.
    pub full_total: u64,
    /// Parts put into the ring so far: what the receiving shard must count too.
    pub pushed_total: u64,
}

impl Dispatcher {
    /// A dispatcher without outputs that keeps `letters_max` dead letters.
    pub fn new(letters_max: usize) -> Self {
        Self {
            routing: RoutingTable::new(),
            outputs: Vec::new(),
            letters: DeadLetters::new(letters_max),
            unrouted_total: 0,
            counted_changes: 0,
            relieved_first: 0,
            parts: Vec::new(),
        }
    }

    /// Adds the way to a consumer shard and returns its number for [`Route::output`]. `spill_max` counts parts.
    pub fn add_output(&mut self, shard: ShardId, market: Sender<Event>, spill_max: usize) -> usize {
        self.outputs.push(Output::new(shard, market, spill_max));
        let lanes = self.outputs.iter().map(|output| output.lanes.len()).max().unwrap_or(0);
        if let Some(last) = lanes.checked_sub(1) {
            self.reserve(StreamId(last as u32));
        }
        self.outputs.len() - 1
    }

    /// How an output's ring and spill are shared between its streams; [`Fairness::DEFAULT`] before.
    pub fn set_fairness(&mut self, output: usize, fairness: Fairness) {
        self.outputs[output].set_fairness(fairness);
        self.counted_changes = 0;
    }

    /// Makes room for the lanes of streams up to `stream`: when a stream is added, never on the path.
    pub fn reserve(&mut self, stream: StreamId) {
        for output in &mut self.outputs {
            output.reserve(stream);
        }
        for route in self.routing.of(stream) {
            if route.delivery == Delivery::Latest {
                self.outputs[route.output].lanes[stream.index()].pending.reserve(LATEST_PARTS);
            }
        }
    }

    /// Offers one event, in all its parts, to every shard that wants its stream.
    #[inline]
    pub fn offer(&mut self, parts: &[Event]) {
        self.offer_where(parts, |_| true);
    }

    /// As [`offer`](Self::offer), to the shards that want this many levels a side of a book. A book's update is another
    /// event at every depth; who offers one offers all that [`routing`](Self::routing) asks for.
    #[inline]
    pub fn offer_at(&mut self, depth: usize, parts: &[Event]) {
        self.offer_where(parts, |route| route.book_depth == depth);
    }

    /// An update of `stream` changes nothing among the best `depth` levels: the shards that want those are not sent one.
    #[inline]
    pub fn unchanged_at(&mut self, depth: usize, stream: StreamId) {
        self.forget_ended();
        for route in self.routing.of(stream).iter().filter(|route| route.book_depth == depth) {
            self.outputs[route.output].unchanged(route, stream);
        }
    }

    /// Offers the book event `parts` to one shard: the first that wants `depth` levels a side from the route number `from` on.
    /// Returns the number of the route behind it; `None` where there is no more.
    pub fn offer_next(&mut self, depth: usize, parts: &[Event], from: usize) -> Option<usize> {
        self.forget_ended();
        let routes = self.routing.of(parts.first()?.header.stream);
        let at = from + routes.get(from..)?.iter().position(|route| route.book_depth == depth)?;
        self.outputs[routes[at].output].offer(&routes[at], parts, &mut self.letters);
        Some(at + 1)
    }

    #[inline]
    fn offer_where(&mut self, parts: &[Event], wants: impl Fn(&Route) -> bool) {
        self.forget_ended();
        let Some(first) = parts.first() else { return };
        let routes = self.routing.of(first.header.stream);
        if routes.is_empty() {
            self.unrouted_total += 1;
        }
        for route in routes.iter().filter(|route| wants(route)) {
            self.outputs[route.output].offer(route, parts, &mut self.letters);
        }
    }

    /// Offers a marker to one output. Returns whether it went: not while anything waits for that ring, which the marker
    /// would overtake, and not into a full ring, which is not idle. No lane counts it.
    pub fn offer_marker(&mut self, output: usize, marker: Event) -> bool {
        let output = &mut self.outputs[output];
        let room = !output.is_congested() && output.market.has_room(1);
        if room {
            output.market.push(marker);
        }
        room
    }

    /// Shards that gave up a stream follow it no longer, whatever they subscribe to later.
    #[inline]
    fn forget_ended(&mut self) {
        while let Some((stream, output)) = self.routing.next_ended() {
            if let Some(lane) = self.outputs[output].lanes.get_mut(stream.index()) {
                lane.ended();
            }
        }
    }

    /// New routes of streams whose book is there already begin with a snapshot of it.
    #[inline]
    fn welcome_begun(&mut self, books: &mut impl BookSource) {
        while let Some((stream, output)) = self.routing.next_begun() {
            self.reserve(stream);
            let Some(&Route { book_depth, .. }) = self.routing.route(stream, output) else { continue };
            if self.outputs[output].lanes[stream.index()].synced == Some(book_depth) {
                continue;
            }
            books.conflated(stream, book_depth, &mut self.parts);
            if self.parts.first().is_some_and(|first| matches!(first.body, Body::BookSnapshot(_))) {
                self.outputs[output].want_snapshot(book_depth, stream);
            }
        }
    }

    /// Ends a read batch: serves what waits and publishes what is staged. `published` is called with the number of each
    /// output that has something new, so that a sleeping shard is woken once.
    #[inline]
    pub fn flush(&mut self, books: &mut impl BookSource, published: impl FnMut(usize)) {
        self.flush_within(books, RELIEF_PARTS_MAX, published);
    }

    /// [`flush`](Self::flush) for one of several that share a turn: of what waits it gives out `relief_parts` parts at most,
    /// over all rings, and an event more; nothing at 0. Returns how many it gave out.
    #[inline]
    pub fn flush_within(
        &mut self,
        books: &mut impl BookSource,
        relief_parts: usize,
        mut published: impl FnMut(usize),
    ) -> usize {
        self.forget_ended();
        self.welcome_begun(books);
        if self.counted_changes != self.routing.changes_total() {
            self.count_streams();
        }
        let given = if self.is_congested() { self.relieve(books, relief_parts) } else { 0 };
        for (number, output) in self.outputs.iter_mut().enumerate() {
            if output.market.publish() {
                published(number);
            }
        }
        given
    }

    /// Gives room to what waits, each turn beginning with another ring. Returns how many parts it gave out.
    #[cold]
    fn relieve(&mut self, books: &mut impl BookSource, relief_parts: usize) -> usize {
        let count = self.outputs.len();
        let first = self.relieved_first % count;
        self.relieved_first = (first + 1) % count;
        let mut given = 0;
        for number in (first..count).chain(0..first) {
            let output = &mut self.outputs[number];
            if output.is_congested() && given < relief_parts {
                given += output.relieve(books, relief_parts - given, &mut self.parts, &mut self.letters);
            }
        }
        given
    }

    /// Routes have changed: the shares too.
    #[cold]
    fn count_streams(&mut self) {
        self.counted_changes = self.routing.changes_total();
        for (number, output) in self.outputs.iter_mut().enumerate() {
            output.divide(number, &self.routing);
        }
    }

    /// Whether every ring has room for `count` parts and nothing waits: what a replay asks before it goes on.
    pub fn has_room(&mut self, count: usize) -> bool {
        self.outputs.iter_mut().all(|output| !output.is_congested() && output.market.has_room(count))
    }

    /// Whether anything waits for room.
    pub fn is_congested(&self) -> bool {
        self.outputs.iter().any(Output::is_congested)
    }

    /// Events that nobody subscribed to.
    pub const fn unrouted_total(&self) -> u64 {
        self.unrouted_total
    }

    /// The consumer shards, in the order of their output numbers.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.outputs.iter().map(|output| output.shard)
    }

    /// What stands before a consumer shard now.
    pub fn output_state(&self, output: usize) -> OutputState {
        self.outputs[output].state()
    }

    /// What became of a stream's events for an output, and how many are in flight before the ring.
    pub fn lane_counts(&self, output: usize, stream: StreamId) -> (LaneCounts, u64) {
        match self.outputs[output].lanes.get(stream.index()) {
            Some(lane) => (lane.counts, lane.in_flight()),
            None => (LaneCounts::default(), 0),
        }
    }

    /// The sum of [`lane_counts`](Self::lane_counts) over all streams.
    pub fn output_counts(&self, output: usize) -> (LaneCounts, u64) {
        let mut total = (LaneCounts::default(), 0);
        for index in 0..self.outputs[output].lanes.len() {
            let (counts, in_flight) = self.lane_counts(output, StreamId(index as u32));
            total.0.add(&counts);
            total.1 += in_flight;
        }
        total
    }
}

/// Parts that the rule `latest` may keep: final klines, one more for a moment, and a partial book of 20 levels a side.
const LATEST_PARTS: usize = FINALS_MAX + 1 + crate::event::book_parts(20, 20);
