//! The way to one consumer shard: its ring, what waits before it, and who goes first.
//!
//! Below the ring's mark every event goes straight in. Above it a stream that may coalesce waits for the end of the turn,
//! and what has no room waits: lossless events in the [`spill`](super::spill), the newest or a due snapshot in the stream's
//! own lane. Whatever waits is served in turn by consumer and stream ([`share`](super::share)), and while anything has
//! found no room nothing enters past it.

use super::share::{Fairness, Turns};
use super::spill::{Queue, Spill};
use super::{BookSource, LaneCounts, OutputState};
use crate::dead_letter::{DeadLetter, DeadLetters, DeadReason, Priority};
use crate::event::{Body, BookReason, BookStatus, Event, Flags, Gap, GapReason, Header, Proof};
use crate::ids::{ConsumerId, ShardId, StreamId};
use crate::ring::Sender;
use crate::routing::{Delivery, Route, RoutingTable};

/// One stream's waiting room before one ring.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Final klines and, last, the newest event in its parts (rule `latest`).
    pub pending: Vec<Event>,
    /// A snapshot is due: updates collapsed, were dropped, or have nothing to follow.
    book_pending: bool,
    /// Levels a side of that snapshot.
    book_depth: usize,
    /// Parts that it had when it was built last and found no room: it is not built again before there is as much.
    book_parts: usize,
    /// Depth of the book that the shard holds once it has taken all that is before it; `None` if it holds none that
    /// updates could follow.
    pub synced: Option<usize>,
    /// The shard was told that its book does not fit the ring.
    refused: bool,
    /// Dropped events not yet declared.
    undeclared: Option<Undeclared>,
    /// What waits of it in the spill.
    spilled: Queue,
    /// Offered events in there: its Gaps are not.
    spilled_events: u64,
    /// Whether anything of it waits.
    queued: bool,
    /// Its places in the turns.
    places: Vec<usize>,
    pub counts: LaneCounts,
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
    /// It has more.
    Later,
}

/// The way to one consumer shard.
#[derive(Debug)]
pub(super) struct Output {
    pub shard: ShardId,
    pub market: Sender<Event>,
    spill: Spill,
    pub lanes: Vec<Lane>,
    /// Lanes that wait, and whose turn it is among them.
    waiting: usize,
    turns: Turns,
    /// Something waits for room: until the next flush what comes now comes after it.
    blocked: bool,
    /// Free slots above the mark: below it the ring has more than these.
    headroom: usize,
    full_total: u64,
}

/// Final klines of one stream that may wait; the oldest is dropped, with a Gap, when there are more. At the shortest
/// interval of one second this is how long a shard may stand still.
pub const FINALS_MAX: usize = 8;

impl Output {
    pub fn new(shard: ShardId, market: Sender<Event>, spill_max: usize) -> Self {
        let mut output = Self {
            shard,
            market,
            spill: Spill::new(spill_max),
            lanes: Vec::new(),
            waiting: 0,
            turns: Turns::new(Fairness::DEFAULT),
            blocked: false,
            headroom: 0,
            full_total: 0,
        };
        output.set_fairness(Fairness::DEFAULT);
        output
    }

    /// How the ring is shared; before anything waits, and routes are [`divide`](Self::divide)d again.
    pub fn set_fairness(&mut self, fairness: Fairness) {
        let capacity = self.market.capacity();
        let permille = usize::from(fairness.high_water_permille.min(1_000));
        self.headroom = capacity - capacity * permille / 1_000;
        self.turns = Turns::new(fairness);
        self.lanes.iter_mut().for_each(|lane| lane.places.clear());
    }

    pub fn state(&self) -> OutputState {
        OutputState {
            ring_depth: self.market.depth(),
            ring_capacity: self.market.capacity(),
            spill_depth: self.spill.used(),
            spill_depth_max: self.spill.used_max,
            waiting_streams: self.waiting,
            full_total: self.full_total,
            pushed_total: self.market.pushed_total(),
        }
    }

    /// Makes room for the lanes of streams up to `stream`.
    pub fn reserve(&mut self, stream: StreamId) {
        while self.lanes.len() <= stream.index() {
            self.lanes.push(Lane::default());
        }
    }

    /// Routes have changed: turns are by consumer and stream as they are now, and so is the spill.
    #[cold]
    pub fn divide(&mut self, number: usize, routing: &RoutingTable) {
        let mut held: Vec<(StreamId, Vec<Option<ConsumerId>>, bool)> = routing
            .to(number)
            .map(|(stream, route)| {
                let mut holders: Vec<_> = routing.holders(stream, number).map(Some).collect();
                if holders.is_empty() {
                    holders.push(None);
                }
                (stream, holders, route.delivery == Delivery::Lossless)
            })
            .collect();
        // What still waits of a route that has ended.
        let routed: Vec<_> = held.iter().map(|(stream, ..)| *stream).collect();
        let queued = self.lanes.iter().enumerate().filter(|(_, lane)| lane.queued);
        let ended = queued.map(|(stream, _)| StreamId(stream as u32));
        held.extend(
            ended.filter(|stream| !routed.contains(stream)).map(|stream| (stream, vec![None], false)),
        );
        let mut before: Vec<_> = self.lanes.iter_mut().map(|lane| std::mem::take(&mut lane.places)).collect();
        let lanes = &mut self.lanes;
        self.turns.divide(
            held.iter().map(|(stream, holders, _)| (*stream, &holders[..])),
            |stream, places| {
                lanes[stream.index()].places = places;
                std::mem::take(&mut before[stream.index()])
            },
        );
        for lane in self.lanes.iter().filter(|lane| lane.queued) {
            self.turns.wait(&lane.places);
        }
        let lossless = held.iter().filter(|(.., is_lossless)| *is_lossless);
        let queues = self.lanes.iter_mut().map(|lane| &mut lane.spilled);
        self.spill.divide(lossless.map(|(stream, holders, _)| (*stream, &holders[..])), queues);
    }

    fn lane(&mut self, stream: StreamId) -> &mut Lane {
        &mut self.lanes[stream.index()]
    }

    fn push(&mut self, parts: &[Event]) {
        for part in parts {
            self.market.push(*part);
        }
    }

    /// Whether something waits, for room or for its share.
    #[inline]
    pub fn is_congested(&self) -> bool {
        self.waiting > 0
    }

    #[inline]
    pub fn offer(&mut self, route: &Route, parts: &[Event], letters: &mut DeadLetters) {
        let congested = self.is_congested();
        let lane = &mut self.lanes[parts[0].header.stream.index()];
        lane.counts.offered_total += 1;
        let follows = match parts[0].body {
            Body::BookUpdate(_) => lane.synced == Some(route.book_depth),
            _ => true,
        };
        if follows && !congested && self.market.has_room(parts.len() + self.headroom) {
            lane.enters(route, &parts[0]);
            self.push(parts);
            return;
        }
        self.press(route, parts, follows, letters);
    }

    /// The ring is above its mark, something waits, or there is no book that an update could follow.
    #[cold]
    fn press(&mut self, route: &Route, parts: &[Event], follows: bool, letters: &mut DeadLetters) {
        if !follows {
            self.wait(route, parts, follows, letters);
            return;
        }
        let count = parts.len();
        self.blocked |= !self.market.has_room(count);
        let may_enter = route.delivery == Delivery::Lossless || self.market.has_room(count + self.headroom);
        let lane = &mut self.lanes[parts[0].header.stream.index()];
        if self.blocked {
            self.full_total += 1;
        } else if !lane.queued {
            if may_enter {
                lane.enters(route, &parts[0]);
                self.push(parts);
                return;
            }
            lane.counts.throttled_total += 1;
        }
        self.wait(route, parts, follows, letters);
    }

    /// An update changes nothing that this route shows.
    #[inline]
    pub fn unchanged(&mut self, route: &Route, stream: StreamId) {
        let lane = &mut self.lanes[stream.index()];
        lane.counts.offered_total += 1;
        lane.counts.unchanged_total += 1;
        if lane.synced != Some(route.book_depth) && lane.undeclared.is_none() {
            self.want_snapshot(route.book_depth, stream);
        }
    }

    /// The event waits, by the rule of its route.
    fn wait(&mut self, route: &Route, parts: &[Event], follows: bool, letters: &mut DeadLetters) {
        let (stream, count) = (parts[0].header.stream, parts.len());
        let oversize = count > self.market.capacity();
        let lane = &mut self.lanes[stream.index()];
        lane.book_depth = route.book_depth;
        let is_lossless = route.delivery == Delivery::Lossless;
        let fits = self.spill.fits(count) && !oversize;
        // With its Gap, if there is one to declare first.
        let total = count + usize::from(lane.undeclared.is_some());
        let admitted = fits && self.spill.admits(&lane.spilled, total);
        if let Some(undeclared) = lane.undeclared
            && is_lossless
            && admitted
            && !lane.book_pending
        {
            lane.undeclared = None;
            self.spill.push(&mut lane.spilled, &undeclared.event());
        }
        match route.delivery {
            Delivery::Lossless if lane.undeclared.is_some() => {
                lane.counts.over_share_total += u64::from(fits);
                self.drop_event(&parts[0], letters);
            }
            // A snapshot is due that will contain this.
            Delivery::Lossless if lane.book_pending || !follows => {
                lane.counts.coalesced_total += 1;
                self.want_snapshot(route.book_depth, stream);
            }
            Delivery::Lossless if admitted => {
                // The route became lossless while something waited under another rule: that goes first.
                let before = lane.pending.drain(..);
                let before = before.inspect(|part| lane.spilled_events += u64::from(part.completes()));
                for part in before {
                    self.spill.push(&mut lane.spilled, &part);
                }
                lane.spilled_events += 1;
                for part in parts {
                    self.spill.push(&mut lane.spilled, part);
                }
                if matches!(parts[0].body, Body::BookSnapshot(_)) {
                    lane.synced = Some(route.book_depth);
                }
                self.blocked = true;
                self.queue(stream);
            }
            Delivery::Lossless => {
                lane.counts.over_share_total += u64::from(fits);
                self.drop_event(&parts[0], letters);
            }
            Delivery::Latest if oversize => self.drop_event(&parts[0], letters),
            Delivery::Latest => self.replace_pending(parts, letters),
            Delivery::Book => {
                lane.counts.coalesced_total += 1;
                self.want_snapshot(route.book_depth, stream);
            }
        }
    }

    fn queue(&mut self, stream: StreamId) {
        let lane = &mut self.lanes[stream.index()];
        if std::mem::replace(&mut lane.queued, true) {
            return;
        }
        self.waiting += 1;
        self.turns.wait(&lane.places);
    }

    /// A snapshot is to stand for what this lane did not get.
    #[cold]
    pub fn want_snapshot(&mut self, depth: usize, stream: StreamId) {
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

    /// Gives room to the streams that wait, an event at a time in their turns, until `parts_max` parts have gone. Returns how
    /// many have.
    #[cold]
    pub fn relieve(
        &mut self,
        books: &mut impl BookSource,
        parts_max: usize,
        parts: &mut Vec<Event>,
        letters: &mut DeadLetters,
    ) -> usize {
        let begun = self.market.pushed_total();
        let given = |market: &Sender<Event>| (market.pushed_total() - begun) as usize;
        while given(&self.market) < parts_max {
            let lanes = &self.lanes;
            let waits = |stream: StreamId| lanes[stream.index()].queued;
            let Some(stream) = self.turns.next(waits) else { break };
            let before = self.market.pushed_total();
            let served = self.serve(stream, books, parts, letters);
            self.turns.spend(self.market.pushed_total() - before);
            match served {
                Served::Done => {
                    self.lane(stream).queued = false;
                    self.waiting -= 1;
                }
                Served::Later => {}
                // It keeps its turn until it has room.
                Served::NoRoom => break,
            }
        }
        self.blocked = self.waiting > 0;
        given(&self.market)
    }

    /// Moves the oldest event of a lane's spill into the ring. Returns whether there was room.
    fn unspill(&mut self, stream: StreamId) -> bool {
        let lane = &mut self.lanes[stream.index()];
        let count = self.spill.front_parts(&lane.spilled);
        if !self.market.has_room(count) {
            return false;
        }
        for _ in 0..count {
            let part = self.spill.pop(&mut lane.spilled).expect("its parts were counted just now");
            if is_marker(&part) {
                lane.counts.gap_markers_total += 1;
            } else if part.completes() {
                lane.spilled_events -= 1;
                lane.counts.delivered_total += 1;
            }
            self.market.push(part);
        }
        true
    }

    /// Serves one lane an event: first what it must say about the past, then what waits.
    fn serve(
        &mut self,
        stream: StreamId,
        books: &mut impl BookSource,
        parts: &mut Vec<Event>,
        letters: &mut DeadLetters,
    ) -> Served {
        let lane = &mut self.lanes[stream.index()];
        if lane.spilled.parts > 0 {
            if !self.unspill(stream) {
                return Served::NoRoom;
            }
        } else if let Some(undeclared) = lane.undeclared {
            if !self.market.has_room(1) {
                return Served::NoRoom;
            }
            lane.undeclared = None;
            lane.counts.gap_markers_total += 1;
            self.market.push(undeclared.event());
        } else if let Some(last) = lane.pending.iter().position(Event::completes) {
            if !self.market.has_room(last + 1) {
                return Served::NoRoom;
            }
            for part in lane.pending.drain(..=last) {
                self.market.push(part);
            }
            lane.counts.delivered_total += 1;
        } else if lane.book_pending {
            // Without room none is built, except to see whether one that was refused fits now.
            if !lane.refused && !self.market.has_room(lane.book_parts.max(1)) {
                return Served::NoRoom;
            }
            books.conflated(stream, lane.book_depth, parts);
            if parts.len() > self.market.capacity() {
                return self.refuse(stream, &parts[0], letters);
            }
            if !self.market.has_room(parts.len()) {
                lane.book_parts = parts.len();
                return Served::NoRoom;
            }
            (lane.book_pending, lane.refused, lane.book_parts) = (false, false, 0);
            if let Some(first) = parts.first() {
                lane.counts.conflated_snapshots_total += 1;
                lane.synced = matches!(first.body, Body::BookSnapshot(_)).then_some(lane.book_depth);
            }
            self.push(parts);
        }
        if self.lane(stream).has_more() { Served::Later } else { Served::Done }
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

impl Lane {
    /// An event of it goes into the ring without waiting.
    #[inline]
    fn enters(&mut self, route: &Route, first: &Event) {
        if matches!(first.body, Body::BookSnapshot(_)) {
            (self.synced, self.book_pending, self.refused) = (Some(route.book_depth), false, false);
        }
        self.counts.delivered_total += 1;
    }

    /// The shard has given the stream up: what it holds of it is nothing that updates could follow, and a snapshot that is due
    /// is due to nobody. Built all the same, it would count as what the shard holds when it comes back.
    pub fn ended(&mut self) {
        (self.synced, self.book_pending, self.refused, self.book_parts) = (None, false, false, 0);
    }

    fn has_more(&self) -> bool {
        self.spilled.parts > 0 || self.undeclared.is_some() || !self.pending.is_empty() || self.book_pending
    }

    /// Events of it that wait before the ring.
    pub fn in_flight(&self) -> u64 {
        self.spilled_events + logical(&self.pending)
    }
}

impl Undeclared {
    /// The Gap that declares it.
    fn event(self) -> Event {
        let Self { from, to, event_count, header } = self;
        let header =
            Header { flags: Flags::WHOLE, part: 0, sequence_first: from, sequence_last: to, ..header };
        Event { header, body: Body::Gap(Gap { from, to, event_count, reason: GapReason::SlowConsumer }) }
    }
}

/// Whether an event of the spill is a Gap of ours; nobody else gives this reason.
fn is_marker(event: &Event) -> bool {
    matches!(&event.body, Body::Gap(gap) if gap.reason == GapReason::SlowConsumer)
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
