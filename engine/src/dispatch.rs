//! From one provider to the rings: routes each event, clones it once per interested consumer shard, and applies the
//! delivery rule when a ring is full.
//!
//! | rule | a full ring means |
//! |---|---|
//! | lossless | the event waits in a bounded spill; when that is full it is dropped, and a Gap says so in the stream |
//! | latest | the newest event of the stream waits; the older ones count as coalesced |
//! | book | updates collapse; one snapshot of the proved book follows when it fits whole |
//!
//! For every stream and shard `offered = delivered + coalesced + dropped + in flight` holds at any time.

use std::collections::VecDeque;

use crate::dead_letter::{DeadLetter, DeadLetters, DeadReason, Priority};
use crate::event::{Body, Event, Flags, Gap, GapReason, Header};
use crate::ids::{ShardId, StreamId};
use crate::ring::Sender;
use crate::routing::{Delivery, Route, RoutingTable};

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
        /// Snapshots sent in place of coalesced updates; not offered by anybody.
        conflated_snapshots_total,
        /// Gaps sent for dropped events; not offered by anybody.
        gap_markers_total,
    }
}

/// One stream's waiting room before one ring.
#[derive(Debug, Default)]
struct Lane {
    /// The newest event, in its parts (rule `latest`).
    pending: Vec<Event>,
    /// Updates collapsed; a snapshot is due (rule `book`).
    book_pending: bool,
    /// Levels a side of that snapshot.
    book_depth: usize,
    /// Dropped events not yet declared (rule `lossless`).
    undeclared: Option<Undeclared>,
    /// Events of it in the spill.
    spilled: u64,
    /// Whether it stands in the output's queue of lanes that wait.
    queued: bool,
    counts: LaneCounts,
}

/// Events that were dropped and of which the stream does not say so yet.
#[derive(Clone, Copy, Debug)]
struct Undeclared {
    from: u64,
    to: u64,
    event_count: u64,
    /// Of the first one dropped.
    header: Header,
}

/// The way to one consumer shard.
#[derive(Debug)]
struct Output {
    shard: ShardId,
    market: Sender<Event>,
    /// Parts of events that wait, in order.
    spill: VecDeque<Event>,
    spill_max: usize,
    spill_depth_max: usize,
    lanes: Vec<Lane>,
    /// Streams that wait for room, first come first served; each at most once.
    waiting: VecDeque<StreamId>,
    full_total: u64,
}

/// Builds the parts of a snapshot of a stream's book, at most so many levels a side, for a lane whose updates collapsed.
/// The body is a `BookState` where the book is not proved.
pub trait BookSource {
    /// See the trait.
    fn conflated(&mut self, stream: StreamId, depth: usize, parts: &mut Vec<Event>);
}

/// A source for providers without books.
impl BookSource for () {
    fn conflated(&mut self, _: StreamId, _: usize, _: &mut Vec<Event>) {}
}

/// Parts of spill whose memory is taken at start; a larger spill grows on its first use, which is no longer the path.
const SPILL_RESERVE: usize = 8_192;

/// Lanes served for one output in one turn, so that a long queue does not make a long turn.
const LANES_PER_TURN_MAX: usize = 64;

impl Output {
    fn lane(&mut self, stream: StreamId) -> &mut Lane {
        &mut self.lanes[stream.index()]
    }

    fn push(&mut self, parts: &[Event]) {
        for part in parts {
            self.market.push(*part);
        }
    }

    #[inline]
    fn offer(&mut self, route: &Route, parts: &[Event], letters: &mut DeadLetters) {
        let stream = parts[0].header.stream;
        let lane = &mut self.lanes[stream.index()];
        lane.counts.offered_total += 1;
        let free = match route.delivery {
            Delivery::Lossless => self.spill.is_empty() && !lane.queued,
            Delivery::Latest | Delivery::Book => !lane.queued,
        };
        if free && self.market.has_room(parts.len()) {
            lane.counts.delivered_total += 1;
            self.push(parts);
            return;
        }
        self.full_total += 1;
        self.wait(route, parts, letters);
    }

    /// The ring is full, or others of the stream wait already.
    #[cold]
    fn wait(&mut self, route: &Route, parts: &[Event], letters: &mut DeadLetters) {
        let stream = parts[0].header.stream;
        let room = self.spill.len() + parts.len() <= self.spill_max;
        let lane = self.lane(stream);
        match route.delivery {
            Delivery::Lossless if room && lane.undeclared.is_none() => {
                lane.spilled += 1;
                self.spill.extend(parts);
                self.spill_depth_max = self.spill_depth_max.max(self.spill.len());
                return;
            }
            Delivery::Lossless => {
                let header = &parts[0].header;
                lane.counts.dropped_total += 1;
                if let Some(undeclared) = &mut lane.undeclared {
                    undeclared.to = undeclared.to.max(header.sequence_last);
                    undeclared.event_count += 1;
                } else {
                    let (from, to) = (header.sequence_first, header.sequence_last);
                    lane.undeclared = Some(Undeclared { from, to, event_count: 1, header: *header });
                    let mut letter = DeadLetter::new(
                        DeadReason::SlowConsumer,
                        Priority::Low,
                        header.receive_time,
                        header.trace,
                    );
                    letter.provider = Some(header.provider);
                    letter.stream = Some(stream);
                    letter.shard = Some(self.shard);
                    letters.write(letter);
                }
            }
            Delivery::Latest => {
                // A final kline is the last word on its interval: what follows waits for the next one.
                let keeps = lane.pending.first().is_some_and(|event| event.header.flags.has(Flags::FINAL))
                    && lane.pending.first().is_some_and(|event| opens(event) != opens(&parts[0]));
                if !lane.pending.is_empty() {
                    lane.counts.coalesced_total += 1;
                }
                if !keeps {
                    lane.pending.clear();
                    lane.pending.extend_from_slice(parts);
                }
            }
            Delivery::Book => {
                lane.counts.coalesced_total += 1;
                lane.book_pending = true;
                lane.book_depth = route.book_depth;
            }
        }
        let lane = self.lane(stream);
        if !std::mem::replace(&mut lane.queued, true) {
            self.waiting.push_back(stream);
        }
    }

    /// Serves what waits, oldest first, as far as the ring has room.
    #[cold]
    fn relieve(&mut self, books: &mut impl BookSource, parts: &mut Vec<Event>) {
        while let Some(count) = self.spill.iter().position(Event::completes).map(|at| at + 1) {
            if !self.market.has_room(count) {
                return;
            }
            let stream = self.spill[0].header.stream;
            for _ in 0..count {
                let part = self.spill.pop_front().expect("counted just now");
                self.market.push(part);
            }
            let lane = self.lane(stream);
            lane.spilled = lane.spilled.saturating_sub(1);
            lane.counts.delivered_total += 1;
        }
        for _ in 0..self.waiting.len().min(LANES_PER_TURN_MAX) {
            let Some(stream) = self.waiting.pop_front() else { return };
            if !self.serve(stream, books, parts) {
                self.waiting.push_front(stream);
                return;
            }
            self.lane(stream).queued = false;
        }
    }

    /// Serves one lane. Returns whether it is done.
    fn serve(&mut self, stream: StreamId, books: &mut impl BookSource, parts: &mut Vec<Event>) -> bool {
        let lane = &mut self.lanes[stream.index()];
        if let Some(Undeclared { from, to, event_count, header }) = lane.undeclared {
            if !self.market.has_room(1) {
                return false;
            }
            let header =
                Header { flags: Flags::WHOLE, part: 0, sequence_first: from, sequence_last: to, ..header };
            let gap = Gap { from, to, event_count, reason: GapReason::SlowConsumer };
            let marker = Event { header, body: Body::Gap(gap) };
            lane.undeclared = None;
            lane.counts.gap_markers_total += 1;
            self.market.push(marker);
        }
        let lane = &mut self.lanes[stream.index()];
        if !lane.pending.is_empty() {
            if !self.market.has_room(lane.pending.len()) {
                return false;
            }
            for part in lane.pending.drain(..) {
                self.market.push(part);
            }
            lane.counts.delivered_total += 1;
        }
        if lane.book_pending {
            books.conflated(stream, lane.book_depth, parts);
            if !self.market.has_room(parts.len()) {
                return false;
            }
            lane.book_pending = false;
            lane.counts.conflated_snapshots_total += 1;
            for part in &*parts {
                self.market.push(*part);
            }
        }
        true
    }
}

/// The opening time of a kline.
fn opens(event: &Event) -> Option<u64> {
    match &event.body {
        Body::Kline(kline) => kline.open_time.ns(),
        _ => None,
    }
}

/// Routes the events of one provider.
#[derive(Debug)]
pub struct Dispatcher {
    /// Which stream goes where. Change it between turns only.
    pub routing: RoutingTable,
    outputs: Vec<Output>,
    /// What could not be delivered.
    pub letters: DeadLetters,
    unrouted_total: u64,
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
}

impl Dispatcher {
    /// A dispatcher without outputs that keeps `letters_max` dead letters.
    pub fn new(letters_max: usize) -> Self {
        Self {
            routing: RoutingTable::new(),
            outputs: Vec::new(),
            letters: DeadLetters::new(letters_max),
            unrouted_total: 0,
            parts: Vec::new(),
        }
    }

    /// Adds the way to a consumer shard and returns its number for [`Route::output`]. `spill_max` counts parts.
    pub fn add_output(&mut self, shard: ShardId, market: Sender<Event>, spill_max: usize) -> usize {
        self.outputs.push(Output {
            shard,
            market,
            spill: VecDeque::with_capacity(spill_max.min(SPILL_RESERVE)),
            spill_max,
            spill_depth_max: 0,
            lanes: Vec::new(),
            waiting: VecDeque::new(),
            full_total: 0,
        });
        self.outputs.len() - 1
    }

    /// Makes room for the lanes of streams up to `stream`: when a stream is added, never on the path.
    pub fn reserve(&mut self, stream: StreamId) {
        for output in &mut self.outputs {
            while output.lanes.len() <= stream.index() {
                output.lanes.push(Lane::default());
            }
            let lanes = output.lanes.len();
            output.waiting.reserve(lanes.saturating_sub(output.waiting.len()));
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
        let Some(first) = parts.first() else { return };
        let routes = self.routing.of(first.header.stream);
        if routes.is_empty() {
            self.unrouted_total += 1;
        }
        for route in routes {
            self.outputs[route.output].offer(route, parts, &mut self.letters);
        }
    }

    /// Offers a marker to one output. Returns whether it went: not while anything waits for that ring, which the marker
    /// would overtake, and not into a full ring, which is not idle. No lane counts it.
    pub fn offer_marker(&mut self, output: usize, marker: Event) -> bool {
        let output = &mut self.outputs[output];
        let room = output.spill.is_empty() && output.waiting.is_empty() && output.market.has_room(1);
        if room {
            output.market.push(marker);
        }
        room
    }

    /// Ends a read batch: serves what waits and publishes what is staged. `published` is called with the number of each
    /// output that has something new, so that a sleeping shard is woken once.
    #[inline]
    pub fn flush(&mut self, books: &mut impl BookSource, mut published: impl FnMut(usize)) {
        for (number, output) in self.outputs.iter_mut().enumerate() {
            if !output.spill.is_empty() || !output.waiting.is_empty() {
                output.relieve(books, &mut self.parts);
            }
            if output.market.publish() {
                published(number);
            }
        }
    }

    /// Whether every ring has room for `count` parts and nothing waits: what a replay asks before it goes on.
    pub fn has_room(&mut self, count: usize) -> bool {
        self.outputs.iter_mut().all(|output| {
            output.spill.is_empty() && output.waiting.is_empty() && output.market.has_room(count)
        })
    }

    /// Whether anything waits for room.
    pub fn is_congested(&self) -> bool {
        self.outputs.iter().any(|output| !output.spill.is_empty() || !output.waiting.is_empty())
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
        let output = &self.outputs[output];
        OutputState {
            ring_depth: output.market.depth(),
            ring_capacity: output.market.capacity(),
            spill_depth: output.spill.len(),
            spill_depth_max: output.spill_depth_max,
            waiting_streams: output.waiting.len(),
            full_total: output.full_total,
        }
    }

    /// What became of a stream's events for an output, and how many are in flight before the ring.
    pub fn lane_counts(&self, output: usize, stream: StreamId) -> (LaneCounts, u64) {
        match self.outputs[output].lanes.get(stream.index()) {
            Some(lane) => (lane.counts, lane.spilled + u64::from(!lane.pending.is_empty())),
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

/// Parts of the largest event that the rule `latest` may keep: a partial book of 20 levels a side.
const LATEST_PARTS: usize = crate::event::book_parts(20, 20);
