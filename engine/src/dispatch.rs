//! From one provider to the rings: routes each event, clones it once per interested consumer shard, and applies the
//! delivery rule when a ring is full.
//!
//! | rule | a full ring means |
//! |---|---|
//! | lossless | the event waits in a bounded spill; when that is full it is dropped, and a Gap says so in the stream |
//! | latest | the newest event of the stream waits, and final klines before it; the others count as coalesced |
//! | book | updates collapse; one snapshot of the book follows when it fits whole |
//!
//! For every stream and shard `offered = delivered + coalesced + dropped + unchanged + in flight` holds at any time.
//!
//! - Nobody overtakes: once something waits for a ring, all that comes after it waits too, until the next flush. The
//!   spill and the waiting streams are served in turn, so neither starves the other.
//! - A copy of a book follows updates only after a snapshot that went to the same shard at the same depth. A new route,
//!   a deeper one and a lane that dropped something therefore begin with a snapshot.
//! - An event larger than the whole ring can never be delivered. It is dropped at once, with its Gap and a dead letter,
//!   and holds up nobody; a book that does not fit says `stale` instead. A topology refuses such rings.

use std::collections::VecDeque;

use crate::dead_letter::{DeadLetter, DeadLetters, DeadReason, Priority};
use crate::event::{Body, BookReason, BookStatus, Event, Flags, Gap, GapReason, Header, Proof};
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
        /// Book updates that change nothing among the levels that the shard asked for.
        unchanged_total,
        /// Snapshots sent in place of coalesced updates, or to begin with; not offered by anybody.
        conflated_snapshots_total,
        /// Gaps sent for dropped events; not offered by anybody.
        gap_markers_total,
    }
}

/// One stream's waiting room before one ring.
#[derive(Debug, Default)]
struct Lane {
    /// Final klines and, last, the newest event in its parts (rule `latest`).
    pending: Vec<Event>,
    /// A snapshot is due: updates collapsed, were dropped, or have nothing to follow.
    book_pending: bool,
    /// Levels a side of that snapshot.
    book_depth: usize,
    /// Depth of the book that the shard holds once it has taken all that is before it; `None` if it holds none that
    /// updates could follow.
    synced: Option<usize>,
    /// The shard was told that its book does not fit the ring.
    refused: bool,
    /// Dropped events not yet declared.
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

/// What came of serving a lane that waits.
enum Served {
    /// Nothing of it waits any more.
    Done,
    /// The ring has too little room.
    NoRoom,
    /// Something of it must go first that stands elsewhere.
    Later,
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
    /// Whether a waiting lane is to be served next, or the spill.
    lane_is_next: bool,
    full_total: u64,
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

/// Parts of spill whose memory is taken at start; a larger spill grows on its first use, which is no longer the path.
const SPILL_RESERVE: usize = 8_192;

/// Lanes served for one output in one turn, so that a long queue does not make a long turn.
const LANES_PER_TURN_MAX: usize = 64;

/// Final klines of one stream that may wait; the oldest is dropped, with a Gap, when there are more. At the shortest
/// interval of one second this is how long a shard may stand still.
pub const FINALS_MAX: usize = 8;

impl Output {
    fn lane(&mut self, stream: StreamId) -> &mut Lane {
        &mut self.lanes[stream.index()]
    }

    fn push(&mut self, parts: &[Event]) {
        for part in parts {
            self.market.push(*part);
        }
    }

    /// Whether something waits for room, so that whatever comes now comes after it.
    #[inline]
    fn is_congested(&self) -> bool {
        !self.spill.is_empty() || !self.waiting.is_empty()
    }

    #[inline]
    fn offer(&mut self, route: &Route, parts: &[Event], letters: &mut DeadLetters) {
        let congested = self.is_congested();
        let lane = &mut self.lanes[parts[0].header.stream.index()];
        lane.counts.offered_total += 1;
        let follows = match parts[0].body {
            Body::BookUpdate(_) => lane.synced == Some(route.book_depth),
            _ => true,
        };
        if follows && !congested && self.market.has_room(parts.len()) {
            if matches!(parts[0].body, Body::BookSnapshot(_)) {
                (lane.synced, lane.book_pending, lane.refused) = (Some(route.book_depth), false, false);
            }
            lane.counts.delivered_total += 1;
            self.push(parts);
            return;
        }
        self.full_total += u64::from(follows);
        self.wait(route, parts, follows, letters);
    }

    /// An update changes nothing that this route shows.
    #[inline]
    fn unchanged(&mut self, route: &Route, stream: StreamId) {
        let lane = &mut self.lanes[stream.index()];
        lane.counts.offered_total += 1;
        lane.counts.unchanged_total += 1;
        if lane.synced != Some(route.book_depth) && lane.undeclared.is_none() {
            self.want_snapshot(route.book_depth, stream);
        }
    }

    /// The ring is full, others wait already, or there is no book that an update could follow.
    #[cold]
    fn wait(&mut self, route: &Route, parts: &[Event], follows: bool, letters: &mut DeadLetters) {
        let (stream, count) = (parts[0].header.stream, parts.len());
        let oversize = count > self.market.capacity();
        let fits_spill = self.spill.len() + count <= self.spill_max && !oversize;
        let lane = self.lane(stream);
        lane.book_depth = route.book_depth;
        match route.delivery {
            Delivery::Lossless if lane.undeclared.is_some() => self.drop_event(&parts[0], letters),
            // A snapshot is due that will contain this.
            Delivery::Lossless if lane.book_pending || !follows => {
                lane.counts.coalesced_total += 1;
                self.want_snapshot(route.book_depth, stream);
            }
            Delivery::Lossless if fits_spill => {
                if !lane.pending.is_empty() {
                    // The route became lossless while something waited under another rule: that goes first.
                    let before = std::mem::take(&mut lane.pending);
                    lane.spilled += logical(&before);
                    self.spill.extend(before);
                }
                let lane = self.lane(stream);
                lane.spilled += 1;
                if matches!(parts[0].body, Body::BookSnapshot(_)) {
                    lane.synced = Some(route.book_depth);
                }
                self.spill.extend(parts);
                self.spill_depth_max = self.spill_depth_max.max(self.spill.len());
            }
            Delivery::Lossless => self.drop_event(&parts[0], letters),
            Delivery::Latest if oversize => self.drop_event(&parts[0], letters),
            Delivery::Latest => self.replace_pending(parts, letters),
            Delivery::Book => {
                lane.counts.coalesced_total += 1;
                self.want_snapshot(route.book_depth, stream);
            }
        }
    }

    fn queue(&mut self, stream: StreamId) {
        if !std::mem::replace(&mut self.lane(stream).queued, true) {
            self.waiting.push_back(stream);
        }
    }

    /// A snapshot is to stand for what this lane did not get.
    #[cold]
    fn want_snapshot(&mut self, depth: usize, stream: StreamId) {
        let lane = self.lane(stream);
        (lane.book_pending, lane.book_depth, lane.synced) = (true, depth, None);
        self.queue(stream);
    }

    /// Drops an event and remembers to say so in its stream. What was built from the stream needs a new beginning.
    fn drop_event(&mut self, event: &Event, letters: &mut DeadLetters) {
        let header = &event.header;
        let shard = self.shard;
        let lane = self.lane(header.stream);
        lane.counts.dropped_total += 1;
        if matches!(event.body, Body::BookUpdate(_) | Body::BookSnapshot(_) | Body::BookState { .. }) {
            (lane.book_pending, lane.synced) = (true, None);
        }
        if let Some(undeclared) = &mut lane.undeclared {
            undeclared.from = undeclared.from.min(header.sequence_first);
            undeclared.to = undeclared.to.max(header.sequence_last);
            undeclared.event_count += 1;
        } else {
            let (from, to) = (header.sequence_first, header.sequence_last);
            lane.undeclared = Some(Undeclared { from, to, event_count: 1, header: *header });
            let mut letter =
                DeadLetter::new(DeadReason::SlowConsumer, Priority::Low, header.receive_time, header.trace);
            letter.provider = Some(header.provider);
            letter.stream = Some(header.stream);
            letter.shard = Some(shard);
            letters.write(letter);
        }
        self.queue(header.stream);
    }

    /// The newest event of a stream takes the place of the one that waits, unless that is the last word on its interval.
    fn replace_pending(&mut self, parts: &[Event], letters: &mut DeadLetters) {
        let new = &parts[0];
        let stream = new.header.stream;
        let lane = self.lane(stream);
        let is_final = |event: &Event| event.header.flags.has(Flags::FINAL);
        if let Some(at) = lane.pending.iter().rposition(|event| event.header.flags.has(Flags::FIRST)) {
            let waiting = &lane.pending[at];
            let same_interval = opens(waiting) == opens(new);
            if is_final(waiting) && same_interval && !is_final(new) {
                lane.counts.coalesced_total += 1;
                return;
            }
            if !is_final(waiting) || same_interval {
                lane.counts.coalesced_total += 1;
                lane.pending.truncate(at);
            }
        }
        lane.pending.extend_from_slice(parts);
        let oldest = lane.pending[0];
        let finals = lane.pending.iter().filter(|event| is_final(event)).count();
        if finals > FINALS_MAX {
            lane.pending.remove(0);
            self.drop_event(&oldest, letters);
        }
        self.queue(stream);
    }

    /// Serves what waits as far as the ring has room: the oldest of the spill and the oldest waiting lane in turn.
    #[cold]
    fn relieve(&mut self, books: &mut impl BookSource, parts: &mut Vec<Event>, letters: &mut DeadLetters) {
        let mut lanes = self.waiting.len().min(LANES_PER_TURN_MAX);
        loop {
            if self.lane_is_next && lanes > 0 {
                lanes -= 1;
                let Some(stream) = self.waiting.pop_front() else { continue };
                match self.serve(stream, books, parts, letters) {
                    Served::Done => {
                        self.lane(stream).queued = false;
                        self.lane_is_next = false;
                    }
                    Served::NoRoom => {
                        self.waiting.push_front(stream);
                        return;
                    }
                    Served::Later => self.waiting.push_back(stream),
                }
                continue;
            }
            self.lane_is_next = true;
            let Some(last) = self.spill.iter().position(Event::completes) else {
                if lanes == 0 || self.waiting.is_empty() {
                    return;
                }
                continue;
            };
            if !self.market.has_room(last + 1) {
                self.lane_is_next = false;
                return;
            }
            let stream = self.spill[0].header.stream;
            for _ in 0..=last {
                let part = self.spill.pop_front().expect("counted just now");
                self.market.push(part);
            }
            let lane = self.lane(stream);
            lane.spilled -= 1;
            lane.counts.delivered_total += 1;
        }
    }

    /// Serves one lane: first what it must say about the past, then what waits.
    fn serve(
        &mut self,
        stream: StreamId,
        books: &mut impl BookSource,
        parts: &mut Vec<Event>,
        letters: &mut DeadLetters,
    ) -> Served {
        let lane = &mut self.lanes[stream.index()];
        if lane.spilled > 0 {
            return Served::Later;
        }
        if let Some(Undeclared { from, to, event_count, header }) = lane.undeclared {
            if !self.market.has_room(1) {
                return Served::NoRoom;
            }
            let flags = Flags::WHOLE;
            let header = Header { flags, part: 0, sequence_first: from, sequence_last: to, ..header };
            let gap = Gap { from, to, event_count, reason: GapReason::SlowConsumer };
            lane.undeclared = None;
            lane.counts.gap_markers_total += 1;
            self.market.push(Event { header, body: Body::Gap(gap) });
        }
        while let Some(last) = lane.pending.iter().position(Event::completes) {
            if !self.market.has_room(last + 1) {
                return Served::NoRoom;
            }
            for part in lane.pending.drain(..=last) {
                self.market.push(part);
            }
            lane.counts.delivered_total += 1;
        }
        if !lane.book_pending {
            return Served::Done;
        }
        books.conflated(stream, lane.book_depth, parts);
        if parts.len() > self.market.capacity() {
            return self.refuse(stream, &parts[0], letters);
        }
        if !self.market.has_room(parts.len()) {
            return Served::NoRoom;
        }
        (lane.book_pending, lane.refused) = (false, false);
        if let Some(first) = parts.first() {
            lane.counts.conflated_snapshots_total += 1;
            lane.synced = matches!(first.body, Body::BookSnapshot(_)).then_some(lane.book_depth);
        }
        self.push(parts);
        Served::Done
    }

    /// The book does not fit the ring at all: says so once, and tries again when it changes.
    #[cold]
    fn refuse(&mut self, stream: StreamId, first: &Event, letters: &mut DeadLetters) -> Served {
        if !self.lane(stream).refused {
            if !self.market.has_room(1) {
                return Served::NoRoom;
            }
            self.lane(stream).refused = true;
            let header = Header { flags: Flags::WHOLE, part: 0, ..first.header };
            let (status, reason) = (BookStatus::Stale, BookReason::Silent);
            self.market.push(Event { header, body: Body::BookState { status, proof: Proof::None, reason } });
            let mut letter =
                DeadLetter::new(DeadReason::SlowConsumer, Priority::Low, header.receive_time, header.trace);
            letter.stream = Some(stream);
            letter.shard = Some(self.shard);
            letters.write(letter);
        }
        Served::Done
    }
}

/// Events among parts.
fn logical(parts: &[Event]) -> u64 {
    parts.iter().filter(|part| part.completes()).count() as u64
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
            lane_is_next: false,
            full_total: 0,
        });
        let lanes = self.outputs.iter().map(|output| output.lanes.len()).max().unwrap_or(0);
        if let Some(last) = lanes.checked_sub(1) {
            self.reserve(StreamId(last as u32));
        }
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
                lane.synced = None;
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
    pub fn flush(&mut self, books: &mut impl BookSource, mut published: impl FnMut(usize)) {
        self.forget_ended();
        self.welcome_begun(books);
        for (number, output) in self.outputs.iter_mut().enumerate() {
            if output.is_congested() {
                output.relieve(books, &mut self.parts, &mut self.letters);
            }
            if output.market.publish() {
                published(number);
            }
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
        let output = &self.outputs[output];
        OutputState {
            ring_depth: output.market.depth(),
            ring_capacity: output.market.capacity(),
            spill_depth: output.spill.len(),
            spill_depth_max: output.spill_depth_max,
            waiting_streams: output.waiting.len(),
            full_total: output.full_total,
            pushed_total: output.market.pushed_total(),
        }
    }

    /// What became of a stream's events for an output, and how many are in flight before the ring.
    pub fn lane_counts(&self, output: usize, stream: StreamId) -> (LaneCounts, u64) {
        match self.outputs[output].lanes.get(stream.index()) {
            Some(lane) => (lane.counts, lane.spilled + logical(&lane.pending)),
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
