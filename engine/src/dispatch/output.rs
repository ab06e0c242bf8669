//! The way to one consumer shard: its ring, what waits before it, and who goes first.
//!
//! Below the ring's mark every event goes straight in. Above it a stream that may coalesce has its share of what the shard
//! takes, and what its consumer has left of its own ([`share`](super::share)); lossless events need none. What has no room, or no share, waits: lossless events
//! in the [`spill`](super::spill), the newest or a due snapshot in the stream's own lane. Streams that wait are served one
//! after the other, an event each.

use std::collections::VecDeque;

use super::share::{Fairness, For, Part, Purse, Shares, WHOLE};
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
    /// Whether it stands in the output's queue of lanes that wait.
    queued: bool,
    /// Whether its rule was `lossless` when something had to wait: it needs no share.
    lossless: bool,
    part: Part,
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
    /// It has more, or it has had its share.
    Later,
}

/// Streams that wait, each at most once, served in turn: one of those that have saved something of their share, one of the
/// others, and so on. Whoever comes and goes, with one thing to be served each time, does not stand behind those that always
/// have more, and those do not stand behind ever new ones that come and go.
#[derive(Debug, Default)]
struct Waiting {
    /// By class: without savings, and with them.
    classes: [VecDeque<StreamId>; 2],
    /// Whose turn it is.
    next: usize,
}

impl Waiting {
    fn len(&self) -> usize {
        self.classes[0].len() + self.classes[1].len()
    }

    fn reserve(&mut self, streams: usize) {
        for class in &mut self.classes {
            class.reserve(streams.saturating_sub(class.len()));
        }
    }

    fn push(&mut self, stream: StreamId, has_saved: bool) {
        self.classes[usize::from(has_saved)].push_back(stream);
    }

    /// The next one, and its class for [`put_back`](Self::put_back).
    fn pop(&mut self) -> Option<(StreamId, usize)> {
        let class = if self.classes[self.next].is_empty() { 1 - self.next } else { self.next };
        self.next = 1 - class;
        self.classes[class].pop_front().map(|stream| (stream, class))
    }

    /// It keeps its place, and is the next one again.
    fn put_back(&mut self, stream: StreamId, class: usize) {
        self.next = class;
        self.classes[class].push_front(stream);
    }
}

/// The way to one consumer shard.
#[derive(Debug)]
pub(super) struct Output {
    pub shard: ShardId,
    pub market: Sender<Event>,
    spill: Spill,
    pub lanes: Vec<Lane>,
    waiting: Waiting,
    /// Something waits for room: until the next flush what comes now comes after it.
    blocked: bool,
    /// The first of `waiting` needs more room than there was: it keeps its place until it has it, and was served for this.
    head_waits: Option<For>,
    pub shares: Shares,
    full_total: u64,
}

/// Lanes looked at for one output in one turn, so that a long queue does not make a long turn.
const LOOKS_PER_TURN_MAX: usize = 16_384;

/// Parts that one output is given of what waits in one turn, and an event more: one shard that comes back must not keep
/// the others from theirs. 4,096 take about 100 us.
const PARTS_PER_TURN_MAX: u64 = 4_096;

/// Final klines of one stream that may wait; the oldest is dropped, with a Gap, when there are more. At the shortest
/// interval of one second this is how long a shard may stand still.
pub const FINALS_MAX: usize = 8;

impl Output {
    pub fn new(shard: ShardId, market: Sender<Event>, spill_max: usize) -> Self {
        let shares = Shares::new(Fairness::DEFAULT, market.capacity());
        Self {
            shard,
            market,
            spill: Spill::new(spill_max),
            lanes: Vec::new(),
            waiting: Waiting { classes: [VecDeque::new(), VecDeque::new()], next: 1 },
            blocked: false,
            head_waits: None,
            shares,
            full_total: 0,
        }
    }

    pub fn state(&self) -> OutputState {
        OutputState {
            ring_depth: self.market.depth(),
            ring_capacity: self.market.capacity(),
            spill_depth: self.spill.used(),
            spill_depth_max: self.spill.used_max,
            waiting_streams: self.waiting.len(),
            full_total: self.full_total,
            pushed_total: self.market.pushed_total(),
        }
    }

    /// Makes room for the lanes of streams up to `stream`.
    pub fn reserve(&mut self, stream: StreamId) {
        while self.lanes.len() <= stream.index() {
            self.lanes.push(Lane::default());
        }
        self.waiting.reserve(self.lanes.len());
    }

    /// Routes have changed: the shares of consumers are equal, and those of the streams of each.
    #[cold]
    pub fn divide(&mut self, number: usize, routing: &RoutingTable) {
        let mut consumers: Vec<Option<ConsumerId>> = Vec::new();
        // Streams of each consumer, and those of them under `lossless`.
        let mut counts: Vec<(usize, usize)> = Vec::new();
        let mut held: Vec<(StreamId, Vec<u16>, bool)> = Vec::new();
        for (stream, route) in routing.to(number) {
            let is_lossless = route.delivery == Delivery::Lossless;
            let mut holders: Vec<_> = routing.holders(stream, number).map(Some).collect();
            if holders.is_empty() {
                holders.push(None);
            }
            let members = holders.into_iter().map(|holder| {
                let known = consumers.iter().position(|&consumer| consumer == holder);
                let member = known.unwrap_or_else(|| {
                    consumers.push(holder);
                    counts.push((0, 0));
                    consumers.len() - 1
                });
                counts[member].0 += 1;
                counts[member].1 += usize::from(is_lossless);
                member as u16
            });
            held.push((stream, members.collect(), is_lossless));
        }
        self.shares.set_members(&consumers);
        let spillers = counts.iter().filter(|(_, lossless)| *lossless > 0).count();
        self.spill.divide(consumers.len(), spillers);
        let mut held = held.into_iter().peekable();
        for (stream, lane) in self.lanes.iter_mut().enumerate() {
            let (members, is_lossless) = match held.next_if(|(of, ..)| of.index() == stream) {
                Some((_, members, is_lossless)) => (members, is_lossless),
                None => (Vec::new(), false),
            };
            let of = |count: fn(&(usize, usize)) -> usize| {
                let counts = &counts;
                let parts = members.iter().map(move |&member| (member, count(&counts[usize::from(member)])));
                parts.collect::<Vec<_>>()
            };
            self.shares.set_part(&mut lane.part, &of(|(all, _)| *all), lane.queued);
            let lossless = of(|(_, lossless)| *lossless);
            // Of several consumers, the one with the fewest streams to share its pool with.
            let pool = lossless.iter().min_by_key(|(_, streams)| *streams).map_or(0, |&(member, _)| member);
            let weights = lossless.iter().map(|&(_, streams)| WHOLE / (spillers * streams).max(1) as u64);
            let weight = if is_lossless { weights.sum() } else { 0 };
            self.spill.assign(&mut lane.spilled, weight, usize::from(pool));
        }
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
        self.waiting.len() > 0
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
        if follows && !congested && self.market.has_room(parts.len() + self.shares.headroom) {
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
        let above_mark = !self.market.has_room(count + self.shares.headroom);
        if above_mark && !self.blocked {
            self.shares.advance(self.market.taken_total());
        }
        let lane = &mut self.lanes[parts[0].header.stream.index()];
        let lossless = route.delivery == Delivery::Lossless;
        let shared = above_mark && !lossless;
        if self.blocked {
            self.full_total += 1;
        } else if !lane.queued {
            let purse = if shared { self.shares.allows(&mut lane.part, false) } else { None };
            if !shared || purse.is_some() {
                if let Some(purse) = purse {
                    self.shares.spend(&mut lane.part, purse, count);
                }
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
        (lane.book_depth, lane.lossless) = (route.book_depth, route.delivery == Delivery::Lossless);
        let fits = self.spill.fits(count) && !oversize;
        // With its Gap, if there is one to declare first.
        let total = count + usize::from(lane.undeclared.is_some());
        let admitted = fits && self.spill.admits(&lane.spilled, total);
        if let Some(undeclared) = lane.undeclared
            && lane.lossless
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
        let has_saved = self.shares.has_saved(&mut lane.part, false);
        self.shares.waits(&lane.part, true);
        self.waiting.push(stream, has_saved);
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

    /// Gives room to the streams that wait, an event each in turn: first to those that have something of their share left,
    /// as their consumer has, then to any of such a consumer, then to those that need none ([`For`]).
    #[cold]
    pub fn relieve(
        &mut self,
        books: &mut impl BookSource,
        parts: &mut Vec<Event>,
        letters: &mut DeadLetters,
    ) {
        self.shares.advance(self.market.taken_total());
        self.blocked = true;
        if self.head_waits.is_some() && !self.market.has_room(1) {
            return;
        }
        let begun = self.market.pushed_total();
        let mut whom = self.head_waits.unwrap_or(For::Share);
        // Lanes since one of them got anything: after a whole round of either class without, there is no more to give.
        let mut fruitless = 0;
        for _ in 0..LOOKS_PER_TURN_MAX {
            let pushed = self.market.pushed_total();
            if fruitless >= 2 * self.waiting.len() {
                let Some(next) = whom.next() else { break };
                (whom, fruitless) = (next, 0);
            }
            if pushed - begun >= PARTS_PER_TURN_MAX {
                break;
            }
            let Some((stream, class)) = self.waiting.pop() else { break };
            // As much in a row as it is given a turn, so that one with a large share is not behind as many looks.
            let enough = pushed + self.shares.of_a_turn(&self.lanes[stream.index()].part, whom);
            let served = loop {
                let before = self.market.pushed_total();
                let served = self.serve(stream, whom, books, parts, letters);
                let now = self.market.pushed_total();
                if !matches!(served, Served::Later) || now == before || now >= enough {
                    break served;
                }
            };
            match served {
                Served::Done => {
                    let lane = &mut self.lanes[stream.index()];
                    lane.queued = false;
                    self.shares.waits(&lane.part, false);
                }
                Served::NoRoom => {
                    self.waiting.put_back(stream, class);
                    self.head_waits = Some(whom);
                    return;
                }
                Served::Later => {
                    let has_saved = self.shares.has_saved(&mut self.lanes[stream.index()].part, true);
                    self.waiting.push(stream, has_saved);
                }
            }
            if self.head_waits.take().is_some() {
                whom = For::Share;
            }
            fruitless = if self.market.pushed_total() > pushed { 0 } else { fruitless + 1 };
        }
        self.blocked = self.spill.used() > 0;
    }

    /// Moves the oldest event of a lane's spill into the ring. Returns whether there was room.
    fn unspill(&mut self, stream: StreamId, purse: Option<Purse>) -> bool {
        let lane = &mut self.lanes[stream.index()];
        let count = self.spill.front_parts(&lane.spilled);
        if !self.market.has_room(count) {
            return false;
        }
        if let Some(purse) = purse {
            self.shares.spend(&mut lane.part, purse, count);
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

    /// Serves one lane: first what it must say about the past, then what waits.
    fn serve(
        &mut self,
        stream: StreamId,
        whom: For,
        books: &mut impl BookSource,
        parts: &mut Vec<Event>,
        letters: &mut DeadLetters,
    ) -> Served {
        let above_mark = !self.market.has_room(1 + self.shares.headroom);
        let lane = &mut self.lanes[stream.index()];
        let purse = match whom {
            // Shares come first below the mark too: what one turn takes may be more than there is above it.
            For::Anybody if !above_mark || lane.lossless => None,
            _ => match self.shares.purse(&mut lane.part, whom) {
                Some(purse) => Some(purse),
                None => return Served::Later,
            },
        };
        if lane.spilled.parts > 0 {
            let moved = self.unspill(stream, purse);
            return if !moved {
                Served::NoRoom
            } else if self.lane(stream).has_more() {
                Served::Later
            } else {
                Served::Done
            };
        }
        let lane = &mut self.lanes[stream.index()];
        if let Some(undeclared) = lane.undeclared {
            if !self.market.has_room(1) {
                return Served::NoRoom;
            }
            lane.undeclared = None;
            lane.counts.gap_markers_total += 1;
            if let Some(purse) = purse {
                self.shares.spend(&mut lane.part, purse, 1);
            }
            self.market.push(undeclared.event());
        }
        while let Some(last) = lane.pending.iter().position(Event::completes) {
            if !self.market.has_room(last + 1) {
                return Served::NoRoom;
            }
            for part in lane.pending.drain(..=last) {
                self.market.push(part);
            }
            if let Some(purse) = purse {
                self.shares.spend(&mut lane.part, purse, last + 1);
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
        if let Some(purse) = purse {
            self.shares.spend(&mut lane.part, purse, parts.len());
        }
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

impl Lane {
    /// An event of it goes into the ring without waiting.
    #[inline]
    fn enters(&mut self, route: &Route, first: &Event) {
        if matches!(first.body, Body::BookSnapshot(_)) {
            (self.synced, self.book_pending, self.refused) = (Some(route.book_depth), false, false);
        }
        self.counts.delivered_total += 1;
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
