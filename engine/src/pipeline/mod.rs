//! The way of one provider's frame: decode, order, check, dispatch. Read it from [`Pipeline::frame`] down.
//!
//! Knows no connection: live, replay and simulation hand it frames and REST bodies, and ask it what it wants fetched.

mod book;
mod counts;
mod lines;

pub use counts::{PipelineCounts, Tally};

use std::collections::VecDeque;

use crate::book::verify::Shadow;
use crate::book::{BookFeed, FeedOptions};
use crate::channel::Channel;
use crate::dead_letter::{DeadLetter, DeadReason, Priority};
use crate::directory::Directory;
use crate::dispatch::Dispatcher;
use crate::event::{Body, Event, Flags, Gap, GapReason, Header, Level, SCHEMA_VERSION};
use crate::ids::{LineId, Listing, StreamId, TraceId};
use crate::pool::{Handle, Taken};
use crate::pools::{PoolSizes, Pools};
use crate::probe::{PathStage, Probe};
use crate::raw::{Content, DecodeError, Decoded, Message, Notice, Numbers, Raw};
use crate::routing::{Delivery, Route};
use crate::sequence::{Hold, Patience, Reorder, Sequence, Verdict};
use crate::time::{ReceiveTime, VenueTime};
use crate::venue::{BookRule, SequenceRule, Venue};

/// How long a stream waits for trades that are fetched by REST, in nanoseconds.
const FILL_NS_MAX: u64 = 5_000_000_000;
/// Trades that are fetched at most; a longer hole is declared at once. One answer of Binance holds as many.
const FILL_TRADES_MAX: u64 = 1_000;

/// Widenings that one frame may need: price and quantity, digit by digit, with room to spare.
const WIDENINGS_MAX: usize = 64;

/// What a pipeline is made of.
#[derive(Clone, Copy, Debug)]
pub struct PipelineOptions {
    /// Capacities of its pools.
    pub pools: PoolSizes,
    /// How long streams wait for what is missing.
    pub patience: Patience,
    /// Levels a side of a book, at most.
    pub book_depth_max: usize,
    /// Levels a side whose memory is taken when a book is made.
    pub book_reserve: usize,
    /// Updates of one book that may wait for its snapshot.
    pub book_waiting_max: usize,
    /// Dead letters kept.
    pub letters_max: usize,
    /// Connections that carry the same streams, those kept for a roll included: 1 means that nothing is redundant.
    pub lines: u8,
    /// Levels a side that a REST snapshot is asked for.
    pub snapshot_levels: usize,
    /// Whether trades that are missing are fetched by REST where the venue offers it. Not in a replay.
    pub fill_trades: bool,
    /// Of `count` shards that read the same session, this one keeps the instruments whose listing is `index` modulo
    /// `count`. Live: `(0, 1)`.
    pub share: (u16, u16),
    /// Where every stream of an open directory goes: output number and levels of a collapsed book.
    pub route_all_to: Option<usize>,
}

/// What the pipeline wants from the venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// A book snapshot by REST.
    Snapshot(Listing),
    /// A new subscription of this stream, because its snapshot comes in the stream: on this line, or on every line that
    /// carries it.
    Resubscribe(StreamId, Option<LineId>),
    /// Trades that are missing, by REST.
    Trades {
        /// The stream.
        stream: StreamId,
        /// First id missing.
        from: u64,
        /// Last id missing.
        to: u64,
    },
}

/// What became of a frame, for the connection that it came on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameOutcome {
    /// Data, or nothing of interest.
    Done,
    /// The connection's business.
    Notice(Notice),
    /// It could not be decoded; counted, and a dead letter written.
    Undecodable(DecodeError),
}

/// Whether a frame may be taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// No pool slot is free; read the connection again before this deadline.
    Wait {
        /// When the wait ends.
        deadline: ReceiveTime,
    },
}

/// One stream between decoder and dispatcher.
#[derive(Debug)]
struct StreamState {
    channel: Channel,
    listing: Listing,
    sequence: Sequence,
    reorder: Reorder<Waiting>,
    /// Connection that its last message came on.
    line: Option<LineId>,
    /// Another line may still fill a hole.
    may_fill: bool,
    /// Until when a REST answer may still fill one.
    filling_until: Option<ReceiveTime>,
    /// The line whose message was published last, and what that was: for streams that several lines carry.
    published: Published,
    /// Nobody wants it any more: what still comes of it is not used.
    ended: bool,
}

/// The last message of a stream that was published, where several lines carry it.
#[derive(Clone, Copy, Debug, Default)]
struct Published {
    line: Option<LineId>,
    number: u64,
    venue_time: VenueTime,
    receive_time: ReceiveTime,
}

/// A message that came before its turn.
#[derive(Debug)]
struct Waiting {
    event: Handle<Event>,
    /// Whether it is to be published, or has only its place in the sequence.
    published: bool,
}

/// What of a connection matters to the order of its streams.
#[derive(Clone, Copy, Debug, Default)]
struct LineState {
    frames: u64,
    connection_sequence: Option<u64>,
    race: Race,
}

/// How a line fared against the others that carry the same streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Race {
    /// Messages that it brought first.
    pub won_total: u64,
    /// Messages of those that another line brought later.
    pub confirmed_total: u64,
    /// How much later, in nanoseconds, over all of those.
    pub margin_ns_total: u64,
    /// How much later at most, in nanoseconds.
    pub margin_ns_max: u64,
}

/// Decodes, orders, checks and dispatches the frames of one provider.
#[derive(Debug)]
pub struct Pipeline<V> {
    /// The venue's decoder.
    pub venue: V,
    /// Instruments and streams.
    pub directory: Directory,
    /// The way to the rings.
    pub dispatcher: Dispatcher,
    options: PipelineOptions,
    pools: Pools,
    streams: Vec<StreamState>,
    books: Vec<Option<BookFeed>>,
    /// What shards see of each book, by listing.
    views: Vec<book::Views>,
    /// Books that other lines keep, by listing; only where the stream brings the snapshot.
    standby: Vec<Vec<lines::Standby>>,
    /// The line whose book is published, by listing; only where the stream brings the snapshot.
    active_line: Vec<Option<LineId>>,
    /// The verification under way, if one is.
    shadow: Option<(Listing, Box<Shadow>)>,
    /// Books give up a hole at once: the wait for another line is over.
    impatient: bool,
    /// What is held is not looked at again before.
    look_at: ReceiveTime,
    /// Whether a snapshot of the book is under way, by listing.
    snapshot_wanted: Vec<bool>,
    lines: Vec<LineState>,
    wants: VecDeque<Want>,
    counts: PipelineCounts,
    errors: Tally,
    skipped: Tally,
    /// The raw that the next frame is decoded into.
    raw: Option<Handle<Raw>>,
    /// The raw for frames that found the pool empty: nothing may keep it.
    reserve: Raw,
    raw_waiting_since: Option<ReceiveTime>,
    /// The wait for a raw has timed out and none has come free since: frames go on without one, at full speed, so that
    /// books that wait do not hold up every other stream.
    raw_given_up: bool,
    /// Parts of the event that is being dispatched.
    parts: Vec<Event>,
    bids: Vec<Level>,
    asks: Vec<Level>,
    view_bids: Vec<Level>,
    view_asks: Vec<Level>,
    /// Receive time of the oldest event since the last flush.
    batch_since: Option<ReceiveTime>,
}

impl<V: Venue> Pipeline<V> {
    /// A pipeline for the instruments and streams of `directory`. All memory of its pools is taken here.
    ///
    /// # Panics
    /// If `share` names none of its shards: a share is `index < count`.
    pub fn new(venue: V, directory: Directory, dispatcher: Dispatcher, options: PipelineOptions) -> Self {
        let (index, count) = options.share;
        assert!(index < count, "a share is one of those that there are");
        let pools = Pools::new(&options.pools);
        let mut pipeline = Self {
            venue,
            directory,
            dispatcher,
            options,
            pools,
            streams: Vec::new(),
            books: Vec::new(),
            views: Vec::new(),
            standby: Vec::new(),
            active_line: Vec::new(),
            shadow: None,
            impatient: false,
            look_at: ReceiveTime::default(),
            snapshot_wanted: Vec::new(),
            lines: vec![LineState::default(); usize::from(options.lines).max(1)],
            wants: VecDeque::new(),
            counts: PipelineCounts::default(),
            errors: Tally::default(),
            skipped: Tally::default(),
            raw: None,
            reserve: Raw::default(),
            raw_waiting_since: None,
            raw_given_up: false,
            parts: Vec::with_capacity(crate::event::book_parts(options.book_reserve, options.book_reserve)),
            bids: Vec::with_capacity(options.book_reserve),
            asks: Vec::with_capacity(options.book_reserve),
            view_bids: Vec::with_capacity(options.book_reserve),
            view_asks: Vec::with_capacity(options.book_reserve),
            batch_since: None,
        };
        pipeline.adopt_streams();
        pipeline
    }

    /// Whether a frame may be taken: a slot for it is reserved. When the wait for one has lasted 100 ms, the answer is
    /// yes, with a counted error, until a slot is free again: frames are then decoded where nothing can keep them.
    #[inline]
    pub fn readiness(&mut self, now: ReceiveTime) -> Readiness {
        if self.raw.is_some() { Readiness::Ready } else { self.reserve_raw(now) }
    }

    #[cold]
    fn reserve_raw(&mut self, now: ReceiveTime) -> Readiness {
        if self.raw_given_up {
            self.raw = self.pools.raws.take();
            self.raw_given_up = self.raw.is_none();
            self.counts.pool_timeouts_total += u64::from(self.raw_given_up);
            return Readiness::Ready;
        }
        match self.pools.raws.take_patiently(&mut self.raw_waiting_since, now) {
            Taken::Handle(raw) => self.raw = Some(raw),
            Taken::Wait { deadline } => return Readiness::Wait { deadline },
            Taken::TimedOut => {
                self.raw_given_up = true;
                self.counts.pool_timeouts_total += 1;
            }
        }
        Readiness::Ready
    }

    /// Takes one text frame of `line`. The payload may be changed.
    pub fn frame(
        &mut self,
        line: LineId,
        payload: &mut [u8],
        at: ReceiveTime,
        probe: &mut impl Probe,
    ) -> FrameOutcome {
        let state = &mut self.lines[line.index()];
        state.frames += 1;
        let trace = TraceId::new(line, state.frames);
        self.counts.frames_total += 1;
        self.decode_and_apply(trace, at, payload, probe, |venue, payload, directory, raw| {
            venue.decode(payload, directory, raw)
        })
    }

    /// Takes the body of the answer to a GET of `path`. The body may be changed.
    pub fn rest(
        &mut self,
        path: &str,
        body: &mut [u8],
        at: ReceiveTime,
        probe: &mut impl Probe,
    ) -> FrameOutcome {
        self.counts.rest_bodies_total += 1;
        let trace = TraceId::new(LineId(u8::MAX), self.counts.rest_bodies_total);
        self.decode_and_apply(trace, at, body, probe, |venue, body, directory, raw| {
            venue.decode_rest(path, body, directory, raw)
        })
    }

    #[inline]
    fn decode_and_apply(
        &mut self,
        trace: TraceId,
        at: ReceiveTime,
        payload: &mut [u8],
        probe: &mut impl Probe,
        mut decode: impl FnMut(&mut V, &mut [u8], &mut Directory, &mut Raw) -> Result<Decoded, DecodeError>,
    ) -> FrameOutcome {
        let mut slot = self.raw.take().or_else(|| self.pools.raws.take());
        let mut reserve = std::mem::take(&mut self.reserve);
        let raw: &mut Raw = match &mut slot {
            Some(handle) => handle,
            None => &mut reserve,
        };
        let mut decoded = self.decode_once(payload, raw, trace, at, &mut decode);
        for _ in 0..WIDENINGS_MAX {
            let Err(DecodeError::Wider { listing, decimals }) = decoded else { break };
            self.directory.widen(listing, decimals);
            self.counts.widenings_total += 1;
            decoded = self.decode_once(payload, raw, trace, at, &mut decode);
        }
        let decoded_after_ns = probe.now().since_ns(at);
        probe.stage(PathStage::Decoded, decoded_after_ns);
        if self.streams.len() < self.directory.streams().len() {
            self.adopt_streams();
        }
        // Of a frame that is broken the number is not to be relied on either; the next one's shows that it is missing.
        let is_readable = decoded.as_ref().err().is_none_or(|error| !may_hide_an_update(error));
        let next_on_line = match raw.connection_sequence {
            Some(number) if is_readable => self.connection_number(trace.line(), number, at, probe),
            _ => true,
        };
        let outcome = match decoded {
            Err(error) => {
                let outcome = self.reject(error, payload, trace, at);
                if may_hide_an_update(&error) && self.venue.book_rule().is_blind() {
                    self.break_books_on(trace.line(), crate::event::BookReason::UpdateUndecodable, at, probe);
                }
                outcome
            }
            Ok(Decoded::Notice(notice)) => self.notice(notice),
            // An older number on its connection: the frame was seen before.
            Ok(Decoded::Data) if !next_on_line => {
                let kept = raw.messages.iter().filter(|message| self.keeps(message.listing)).count() as u64;
                self.counts.messages_total += kept;
                self.counts.stale_total += kept;
                FrameOutcome::Done
            }
            Ok(Decoded::Data) => {
                self.batch_since.get_or_insert(at);
                let held = self.apply_all(raw, saturated(decoded_after_ns), probe);
                if held {
                    self.hold(&mut slot, &reserve);
                }
                FrameOutcome::Done
            }
        };
        if let Some(mut handle) = slot {
            Raw::reset(&mut handle);
            self.raw = Some(handle);
        }
        Raw::reset(&mut reserve);
        self.reserve = reserve;
        outcome
    }

    #[inline]
    fn decode_once(
        &mut self,
        payload: &mut [u8],
        raw: &mut Raw,
        trace: TraceId,
        at: ReceiveTime,
        decode: &mut impl FnMut(&mut V, &mut [u8], &mut Directory, &mut Raw) -> Result<Decoded, DecodeError>,
    ) -> Result<Decoded, DecodeError> {
        Raw::reset(raw);
        raw.trace = trace;
        raw.receive_time = at;
        decode(&mut self.venue, payload, &mut self.directory, raw)
    }

    /// Applies every message of a raw. Returns whether the raw must be kept for a book that waits.
    #[inline]
    fn apply_all(&mut self, raw: &Raw, decoded_after_ns: u32, probe: &mut impl Probe) -> bool {
        let mut held = false;
        for message in &raw.messages {
            if matches!(message.content, Content::TradeBefore(_)) {
                self.skipped.add("trade_before");
            }
            if !self.keeps(message.listing) {
                continue;
            }
            if self.streams[message.stream.index()].ended {
                self.skipped.add("unsubscribed");
                continue;
            }
            self.counts.messages_total += 1;
            if usize::from(raw.trace.line().0) < self.lines.len() {
                self.streams[message.stream.index()].line = Some(raw.trace.line());
            }
            match &message.content {
                Content::Trade(trade) => {
                    let fetched = raw.trace.line() == LineId(u8::MAX);
                    let flags = if fetched { Flags::WHOLE.with(Flags::RECOVERED) } else { Flags::WHOLE };
                    self.ordered(raw, message, Body::Trade(*trade), flags, decoded_after_ns, probe);
                }
                Content::TradeBefore(trade) => self.unpublished(raw, message, *trade),
                Content::Ticker(ticker) => {
                    self.ordered(raw, message, Body::Ticker(*ticker), Flags::WHOLE, decoded_after_ns, probe);
                }
                Content::Kline(kline, last) => {
                    let flags = if *last { Flags::WHOLE.with(Flags::FINAL) } else { Flags::WHOLE };
                    self.ordered(raw, message, Body::Kline(*kline), flags, decoded_after_ns, probe);
                }
                Content::Book(book)
                    if matches!(
                        self.streams[message.stream.index()].channel,
                        Channel::PartialBook { .. }
                    ) =>
                {
                    self.partial_book(raw, message, book, decoded_after_ns, probe);
                }
                Content::Book(book) => held |= self.book(raw, message, book, decoded_after_ns, probe),
            }
        }
        held
    }

    /// Orders a message that is one event of one part, and publishes what is next.
    #[inline]
    fn ordered(
        &mut self,
        raw: &Raw,
        message: &Message,
        body: Body,
        flags: Flags,
        decoded_after_ns: u32,
        probe: &mut impl Probe,
    ) {
        let redundant = self.options.lines > 1;
        let stream = &mut self.streams[message.stream.index()];
        stream.sequence.counts.offered_total += 1;
        if redundant && stream.is_echo(raw.trace.line(), message) {
            return self.echo(raw, message);
        }
        let numbers = stream.number(&message.numbers);
        let verdict = stream.sequence.verdict(numbers.first, numbers.last);
        let ordered_after_ns = saturated(probe.now().since_ns(raw.receive_time));
        probe.stage(PathStage::Ordered, u64::from(ordered_after_ns));
        let mut header = self.header(raw, message, numbers, flags);
        (header.decoded_after_ns, header.ordered_after_ns) = (decoded_after_ns, ordered_after_ns);
        header.enqueued_after_ns = ordered_after_ns;
        match verdict {
            Verdict::Apply => {
                if redundant {
                    self.won(raw, message, numbers.last);
                }
                self.streams[message.stream.index()].sequence.advance(numbers.last);
                self.publish(Event { header, body });
                if !self.streams[message.stream.index()].reorder.is_empty() {
                    self.release(message.stream);
                }
            }
            Verdict::Stale if redundant => self.echo(raw, message),
            Verdict::Stale => self.count_stale(message.stream),
            Verdict::Hole { from, to } => self.hole(Event { header, body }, true, from, to),
        }
    }

    /// A line brought a message before the others.
    fn won(&mut self, raw: &Raw, message: &Message, number: u64) {
        let line = raw.trace.line();
        if let Some(state) = self.lines.get_mut(line.index()) {
            state.race.won_total += 1;
        }
        let (venue_time, receive_time) = (message.venue_time, raw.receive_time);
        self.streams[message.stream.index()].published =
            Published { line: Some(line), number, venue_time, receive_time };
    }

    /// A line brought what another has brought before.
    fn echo(&mut self, raw: &Raw, message: &Message) {
        self.count_stale(message.stream);
        let Published { line, number, venue_time, receive_time } =
            self.streams[message.stream.index()].published;
        let same = if message.numbers == Numbers::NONE {
            venue_time == message.venue_time
        } else {
            number == message.numbers.last
        };
        let Some(line) = line.filter(|line| same && *line != raw.trace.line()) else { return };
        if let Some(state) = self.lines.get_mut(line.index()) {
            let margin_ns = raw.receive_time.since_ns(receive_time);
            state.race.confirmed_total += 1;
            state.race.margin_ns_total += margin_ns;
            state.race.margin_ns_max = state.race.margin_ns_max.max(margin_ns);
        }
    }

    /// A trade that happened before its subscription. Where the stream begins with it, it is not published but has its
    /// place among the ids. Where trades of the stream were published before, it is one that another line has yet to
    /// bring, or that was missed while there was none: it is published, marked as recovered, else it would be lost.
    #[cold]
    fn unpublished(&mut self, raw: &Raw, message: &Message, trade: crate::event::Trade) {
        let stream = &mut self.streams[message.stream.index()];
        stream.sequence.counts.offered_total += 1;
        let verdict = stream.sequence.verdict(trade.id, trade.id);
        let published = self.options.fill_trades && stream.sequence.counts.applied_total > 0;
        let flags = if published { Flags::WHOLE.with(Flags::RECOVERED) } else { Flags::WHOLE };
        let header = self.header(raw, message, Numbers::single(trade.id), flags);
        self.judged(Event { header, body: Body::Trade(trade) }, published, verdict);
    }

    /// Does with an event, published or not, what its verdict says.
    #[cold]
    fn judged(&mut self, event: Event, published: bool, verdict: Verdict) {
        match verdict {
            Verdict::Apply => {
                self.pass(event, published);
                self.release(event.header.stream);
            }
            Verdict::Stale => self.count_stale(event.header.stream),
            Verdict::Hole { from, to } => self.hole(event, published, from, to),
        }
    }

    fn count_stale(&mut self, stream: StreamId) {
        self.streams[stream.index()].sequence.counts.stale_total += 1;
        self.counts.stale_total += 1;
    }

    /// The event's turn has come.
    fn pass(&mut self, event: Event, published: bool) {
        let sequence = &mut self.streams[event.header.stream.index()].sequence;
        if published {
            sequence.advance(event.header.sequence_last);
            self.publish(event);
        } else {
            sequence.begin_after(event.header.sequence_last);
            self.counts.unpublished_total += 1;
        }
    }

    /// Numbers are missing before `event`: waits for them if they can still come, else declares the hole.
    #[cold]
    fn hole(&mut self, event: Event, published: bool, from: u64, to: u64) {
        let stream = event.header.stream;
        self.ask_for_trades(&event.header, from, to);
        let state = &mut self.streams[stream.index()];
        if state.may_fill || state.filling_until.is_some() {
            let (first, last) = (event.header.sequence_first, event.header.sequence_last);
            let slot = self.pools.events.take();
            self.counts.pool_empty_total += u64::from(slot.is_none());
            let full = match slot {
                None => true,
                Some(mut slot) => {
                    *slot = event;
                    let waiting = Waiting { event: slot, published };
                    match state.reorder.hold(first, last, event.header.receive_time, waiting) {
                        Hold::Held => {
                            state.sequence.counts.held_total += 1;
                            return;
                        }
                        Hold::Duplicate(_) => return self.count_stale(stream),
                        Hold::Full(_) => true,
                    }
                }
            };
            // Too many wait: give up the oldest hole, and with it perhaps this one.
            if full && !state.reorder.is_empty() {
                self.give_up_hole(stream);
                return self.reoffer(event, published);
            }
        }
        self.declare(&event.header, from, to);
        self.pass(event, published);
    }

    /// Asks for trades that no other line can bring, where the venue offers them by id.
    #[cold]
    fn ask_for_trades(&mut self, header: &Header, from: u64, to: u64) {
        let state = &mut self.streams[header.stream.index()];
        let fetchable =
            self.options.fill_trades && state.channel == Channel::Trade && to - from < FILL_TRADES_MAX;
        if state.may_fill || state.filling_until.is_some() || !fetchable {
            return;
        }
        if self.venue.trades_request(&self.directory, state.listing, from, to).is_some() {
            state.filling_until = Some(header.receive_time.plus_ns(FILL_NS_MAX));
            self.counts.fills_asked_total += 1;
            self.wants.push_back(Want::Trades { stream: header.stream, from, to });
        }
    }

    /// The answer to a request for missing trades was taken, or there is none: what is still missing is declared.
    pub fn trades_filled(&mut self, stream: StreamId) {
        self.streams[stream.index()].filling_until = None;
        while self.streams[stream.index()].reorder.front().is_some() && !self.streams[stream.index()].may_fill
        {
            self.give_up_hole(stream);
        }
    }

    /// Offers an event again after a hole was given up.
    fn reoffer(&mut self, event: Event, published: bool) {
        let sequence = &self.streams[event.header.stream.index()].sequence;
        let verdict = sequence.verdict(event.header.sequence_first, event.header.sequence_last);
        self.judged(event, published, verdict);
    }

    /// Declares the first hole of a stream and publishes what waited behind it: at least one message, if any waits.
    fn give_up_hole(&mut self, stream: StreamId) {
        let state = &mut self.streams[stream.index()];
        let hole = state.reorder.front_hole(&state.sequence);
        let header = state.reorder.front().map(|waiting| waiting.event.header);
        if let (Some((from, to)), Some(header)) = (hole, header) {
            self.declare(&header, from, to);
            self.streams[stream.index()].sequence.begin_after(to);
        }
        self.release(stream);
    }

    /// Publishes what waited and is next now.
    fn release(&mut self, stream: StreamId) {
        loop {
            let state = &mut self.streams[stream.index()];
            let mut stale = 0;
            let ready = state.reorder.next_ready(&mut state.sequence, |_| stale += 1);
            self.counts.stale_total += stale;
            let Some((_, _, Waiting { event, published })) = ready else { return };
            self.pass(*event, published);
        }
    }

    /// Publishes a Gap in the stream of `header`, before the event that showed it.
    fn declare(&mut self, header: &Header, from: u64, to: u64) {
        self.streams[header.stream.index()].sequence.counts.gap_total += 1;
        self.counts.gaps_total += 1;
        let header = Header { sequence_first: from, sequence_last: to, flags: Flags::WHOLE, ..*header };
        let gap = Gap { from, to, event_count: 0, reason: GapReason::Sequence };
        self.publish(Event { header, body: Body::Gap(gap) });
    }

    /// Hands one event of one part to the dispatcher.
    #[inline]
    fn publish(&mut self, event: Event) {
        self.counts.events_total += 1;
        // Built in place: a pooled slot here would only be one more copy. What must wait gets one.
        let mut event = event;
        event.header.routing_version = self.dispatcher.routing.version();
        self.dispatcher.offer(std::slice::from_ref(&event));
    }

    /// Whether this shard keeps an instrument's messages.
    #[inline]
    fn keeps(&self, listing: Listing) -> bool {
        let (index, count) = self.options.share;
        listing.0 % count == index
    }

    /// The header of an event that `message` became.
    #[inline]
    fn header(&self, raw: &Raw, message: &Message, numbers: Numbers, flags: Flags) -> Header {
        Header {
            trace: raw.trace,
            sequence_first: numbers.first,
            sequence_last: numbers.last,
            venue_time: message.venue_time,
            receive_time: raw.receive_time,
            stream: message.stream,
            routing_version: 0,
            decoded_after_ns: 0,
            ordered_after_ns: 0,
            enqueued_after_ns: 0,
            instrument: self.directory.instrument(message.listing).id,
            part: 0,
            flags,
            decimals: message.decimals,
            provider: self.directory.provider(),
            schema: SCHEMA_VERSION,
        }
    }

    /// Checks the number of a frame on its connection, where the venue numbers frames. Returns whether it is new; a jump
    /// breaks every book of the connection.
    fn connection_number(
        &mut self,
        line: LineId,
        number: u64,
        at: ReceiveTime,
        probe: &mut impl Probe,
    ) -> bool {
        let Some(state) = self.lines.get_mut(line.index()) else { return true };
        match state.connection_sequence {
            Some(last) if number <= last => return false,
            Some(last) if number > last + 1 => {
                state.connection_sequence = Some(number);
                self.counts.connection_gaps_total += 1;
                self.break_books_on(line, crate::event::BookReason::ConnectionGap, at, probe);
            }
            _ => state.connection_sequence = Some(number),
        }
        true
    }

    /// Counts a frame that could not be decoded and keeps its first bytes.
    #[cold]
    fn reject(
        &mut self,
        error: DecodeError,
        payload: &[u8],
        trace: TraceId,
        at: ReceiveTime,
    ) -> FrameOutcome {
        self.counts.decode_errors_total += 1;
        self.errors.add(error.name());
        let mut letter = DeadLetter::new(DeadReason::Undecodable(error.name()), Priority::Low, at, trace);
        letter.provider = Some(self.directory.provider());
        self.dispatcher.letters.write(letter.with_excerpt(payload));
        FrameOutcome::Undecodable(error)
    }

    fn notice(&mut self, notice: Notice) -> FrameOutcome {
        self.skipped.add(notice.name());
        if let Notice::Accepted { stream: Some(stream), depth: Some(depth), .. } = &notice {
            let listing = self.directory.carries(*stream).listing;
            if let Some(Some(book)) = self.books.get_mut(listing.index()) {
                book.set_depth(usize::from(*depth));
            }
            for standby in self.standby.get_mut(listing.index()).into_iter().flatten() {
                standby.feed.set_depth(usize::from(*depth));
            }
        }
        FrameOutcome::Notice(notice)
    }

    /// Makes the state of streams that the directory has learned since.
    #[cold]
    fn adopt_streams(&mut self) {
        for index in self.streams.len()..self.directory.streams().len() {
            let stream = StreamId(index as u32);
            let carried = self.directory.carries(stream);
            let rule = self.venue.sequence_rule(carried.channel);
            let held_max = if carried.channel.is_trade() { self.options.patience.held_max } else { 0 };
            self.streams.push(StreamState {
                channel: carried.channel,
                listing: carried.listing,
                sequence: Sequence::new(rule),
                reorder: Reorder::new(held_max),
                line: None,
                may_fill: self.options.lines > 1,
                filling_until: None,
                published: Published::default(),
                ended: false,
            });
            if self.books.len() <= carried.listing.index() {
                self.books.resize_with(carried.listing.index() + 1, || None);
                self.views.resize_with(carried.listing.index() + 1, book::Views::default);
                self.snapshot_wanted.resize(carried.listing.index() + 1, false);
                self.standby.resize_with(carried.listing.index() + 1, Vec::new);
                self.active_line.resize(carried.listing.index() + 1, None);
            }
            if carried.channel.is_book() && self.books[carried.listing.index()].is_none() {
                self.books[carried.listing.index()] = Some(self.new_book());
            }
            if let Some(output) = self.options.route_all_to {
                let route = Route { output, delivery: Delivery::Lossless, book_depth: usize::MAX };
                self.dispatcher.routing.add(stream, route);
            }
            self.dispatcher.reserve(stream);
        }
    }

    fn new_book(&self) -> BookFeed {
        let options = FeedOptions {
            depth_max: self.options.book_depth_max,
            reserve: self.options.book_reserve,
            waiting_max: self.options.book_waiting_max,
            snapshot_levels: self.options.snapshot_levels,
            checksum: self.venue.checksum(),
        };
        BookFeed::new(self.venue.book_rule(), options)
    }

    /// Says whether another live line may still bring what a stream misses.
    pub fn set_may_fill(&mut self, stream: StreamId, may_fill: bool) {
        if let Some(state) = self.streams.get_mut(stream.index()) {
            state.may_fill = may_fill;
        }
    }

    /// How each line fared against the others.
    pub fn races(&self) -> impl Iterator<Item = Race> + '_ {
        self.lines.iter().map(|line| line.race)
    }

    /// Adds a stream of an instrument that the directory has, or gives the one that there is.
    #[cold]
    pub fn add_stream(&mut self, listing: Listing, channel: Channel) -> StreamId {
        let stream = self.directory.add_stream(listing, channel);
        self.adopt_streams();
        stream
    }

    /// A stream is subscribed at the venue from now on: it begins anew, wherever its numbers stand.
    #[cold]
    pub fn begin_stream(&mut self, stream: StreamId) {
        self.forget_stream(stream);
        self.streams[stream.index()].ended = false;
    }

    /// A stream is subscribed at the venue no longer: what waits of it is let go, its book is unloaded, and what is still
    /// on its way is not used.
    #[cold]
    pub fn end_stream(&mut self, stream: StreamId) {
        self.forget_stream(stream);
        self.streams[stream.index()].ended = true;
    }

    fn forget_stream(&mut self, stream: StreamId) {
        while !self.streams[stream.index()].reorder.is_empty() {
            self.give_up_hole(stream);
        }
        let state = &mut self.streams[stream.index()];
        state.sequence.restart();
        state.line = None;
        let (channel, listing) = (state.channel, state.listing);
        if channel.is_book()
            && let Some(Some(feed)) = self.books.get_mut(listing.index())
            && (feed.is_loaded() || feed.waiting() > 0)
        {
            let unusable_before = feed.counts.unusable_total;
            feed.give_up(crate::event::BookStatus::Syncing);
            self.counts.unusable_total += feed.counts.unusable_total - unusable_before;
            self.snapshot_wanted[listing.index()] = false;
        }
    }

    /// Ends a read batch: publishes to the rings. `published` is called with each output that has something new.
    pub fn flush(&mut self, probe: &mut impl Probe, published: impl FnMut(usize)) {
        if let Some(since) = self.batch_since.take() {
            probe.stage(PathStage::Enqueued, probe.now().since_ns(since));
        }
        let mut source = book::Source {
            directory: &self.directory,
            books: &self.books,
            streams: &self.streams,
            version: self.dispatcher.routing.version(),
            bids: &mut self.bids,
            asks: &mut self.asks,
            now: probe.now(),
        };
        self.dispatcher.flush(&mut source, published);
    }

    /// Gives up holes that have waited too long. Call it when [`deadline`](Self::deadline) has come, or as often as you
    /// like: it looks once in `flush_ns`, so that turns of a busy shard do not go through all streams.
    pub fn timeout(&mut self, now: ReceiveTime, probe: &mut impl Probe) {
        if now < self.look_at {
            return;
        }
        self.look_at = now.plus_ns(self.options.patience.flush_ns);
        for index in 0..self.streams.len() {
            loop {
                let state = &self.streams[index];
                let patience = self.patience_of(state);
                if state.reorder.is_empty()
                    || state.reorder.overdue(&state.sequence, &patience, now).is_none()
                {
                    break;
                }
                self.streams[index].filling_until = None;
                self.give_up_hole(StreamId(index as u32));
            }
        }
        self.give_up_book_holes(now, probe);
    }

    fn patience_of(&self, state: &StreamState) -> Patience {
        let lateness_ns =
            if state.filling_until.is_some() { FILL_NS_MAX } else { self.options.patience.lateness_ns };
        Patience { lateness_ns, ..self.options.patience }
    }

    /// When the next hole is given up: when it is overdue, and what is held is looked at again.
    pub fn deadline(&self) -> Option<ReceiveTime> {
        let streams = self.streams.iter();
        let holes = streams.filter_map(|stream| stream.reorder.deadline(&self.patience_of(stream)));
        holes.chain(self.book_hole_deadline()).min().map(|overdue| overdue.max(self.look_at))
    }

    /// The end of the input: what waits for missing numbers is published, with its Gaps.
    pub fn finish(&mut self) {
        for index in 0..self.streams.len() {
            while !self.streams[index].reorder.is_empty() {
                self.give_up_hole(StreamId(index as u32));
            }
        }
    }

    /// Whether it wants something fetched.
    pub fn has_wants(&self) -> bool {
        !self.wants.is_empty()
    }

    /// What it wants fetched, one at a time.
    pub fn poll_want(&mut self) -> Option<Want> {
        self.wants.pop_front()
    }

    /// Whether a snapshot of the instrument's book is wanted, or under way.
    pub fn snapshot_wanted(&self, listing: Listing) -> bool {
        self.snapshot_wanted.get(listing.index()).is_some_and(|wanted| *wanted)
    }

    /// The book of an instrument, if one of its streams makes one.
    pub fn book_of(&self, listing: Listing) -> Option<&BookFeed> {
        self.books.get(listing.index())?.as_ref()
    }

    /// What was counted of a stream's order.
    pub fn sequence_counts(&self, stream: StreamId) -> crate::sequence::SequenceCounts {
        self.streams[stream.index()].sequence.counts
    }

    /// Messages that streams published and books took, for the sum of [`PipelineCounts`].
    pub fn messages_applied(&self) -> u64 {
        let streams = self.streams.iter().map(|stream| stream.sequence.counts.applied_total);
        let books = self.books.iter().flatten().chain(self.standby_books());
        streams.sum::<u64>()
            + books.map(|book| book.counts.snapshot_total + book.counts.applied_total).sum::<u64>()
    }

    /// Messages that wait now: trades for the numbers before them, book updates for their snapshot.
    pub fn messages_waiting(&self) -> u64 {
        let streams = self.streams.iter().map(|stream| stream.reorder.len());
        let books = self.books.iter().flatten().chain(self.standby_books()).map(BookFeed::waiting);
        (streams.sum::<usize>() + books.sum::<usize>()) as u64
    }

    /// What was counted.
    pub const fn counts(&self) -> &PipelineCounts {
        &self.counts
    }

    /// Frames that could not be decoded, by reason.
    pub const fn errors(&self) -> &Tally {
        &self.errors
    }

    /// Frames that were understood and not used, by name.
    pub const fn skipped(&self) -> &Tally {
        &self.skipped
    }

    /// Its pools.
    pub const fn pools(&self) -> &Pools {
        &self.pools
    }

    /// What it was made of.
    pub const fn options(&self) -> &PipelineOptions {
        &self.options
    }

    /// Lets go of every pooled slot, so that what is still out afterwards is somebody else's.
    pub fn release_slots(&mut self) {
        self.raw = None;
        for book in self.books.iter_mut().flatten() {
            self.counts.unusable_total += book.close();
        }
        self.finish();
    }
}

impl BookRule {
    /// Whether an update that is missing would not show in those that follow: nothing numbers or sums them up.
    const fn is_blind(self) -> bool {
        matches!(self, Self::StreamSnapshotConnection | Self::StreamSnapshotUnnumbered)
    }
}

impl StreamState {
    /// Whether a message of a stream without numbers repeats what another line has brought: not newer by the venue's
    /// time, or, without a time, not of the line that is listened to.
    fn is_echo(&self, line: LineId, message: &Message) -> bool {
        if self.sequence_rule() != SequenceRule::Arrival || message.numbers != Numbers::NONE {
            return false;
        }
        let Some(heard) = self.published.line else { return false };
        heard != line && message.venue_time <= self.published.venue_time
    }

    /// A line is gone: another may be listened to.
    fn forget_line(&mut self, line: LineId) {
        if self.published.line == Some(line) {
            self.published.line = None;
        }
    }

    /// The venue's numbers, or the stream's own where it has none.
    #[inline]
    fn number(&mut self, numbers: &Numbers) -> Numbers {
        if matches!(self.sequence_rule(), SequenceRule::Arrival) && *numbers == Numbers::NONE {
            return Numbers::single(self.sequence.own_number());
        }
        *numbers
    }

    const fn sequence_rule(&self) -> SequenceRule {
        self.sequence.rule()
    }
}

/// Whether a frame that was refused may have held a book update. Channels and symbols that nobody asked for did not.
const fn may_hide_an_update(error: &DecodeError) -> bool {
    !matches!(error, DecodeError::UnknownChannel | DecodeError::UnknownSymbol)
}

/// A duration in a header's 32 bits: more than 4.29 s counts as that.
#[inline]
pub(crate) fn saturated(ns: u64) -> u32 {
    u32::try_from(ns).unwrap_or(u32::MAX)
}
