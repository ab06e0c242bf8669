//! The way of one provider's frame: decode, order, check, dispatch. Read it from [`Pipeline::frame`] down.
//!
//! Knows no connection: live, replay and simulation hand it frames and REST bodies, and ask it what it wants fetched.

mod book;
mod counts;
mod frames;
mod join;
mod later;
mod lines;
mod order;
mod pace;
mod streams;
mod top;

pub use counts::{PipelineCounts, Tally};
pub use pace::{SILENCE_NS_MIN, Silence};

use std::collections::VecDeque;

use crate::book::BookFeed;
use crate::book::verify::Shadow;
use crate::channel::Channel;
use crate::directory::Directory;
use crate::dispatch::{Dispatcher, RELIEF_PARTS_MAX};
use crate::event::{Body, BookReason, Event, Flags, Header, Level, SCHEMA_VERSION};
use crate::ids::{LineId, Listing, StreamId};
use crate::pool::Handle;
use crate::pools::{PoolSizes, Pools};
use crate::probe::{PathStage, Probe};
use crate::raw::{Content, DecodeError, Message, Notice, Numbers, Raw};
use crate::sequence::Patience;
use crate::time::ReceiveTime;
use crate::venue::Venue;

use frames::Half;
use streams::StreamState;

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

/// What of a connection matters to the order of its streams.
#[derive(Debug, Default)]
struct LineState {
    frames: u64,
    connection_sequence: Option<u64>,
    race: Race,
    /// Streams of which an older line has yet to bring what this one has brought.
    ahead: Vec<join::Ahead>,
    /// When it last brought something.
    heard_at: ReceiveTime,
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
pub struct Pipeline<V: Venue> {
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
    /// The verification by best prices under way, if one is.
    top: Option<top::TopCheck>,
    /// What turns have left.
    later: later::Later,
    /// Updates that waited are being applied: each of them need not look for the next.
    is_applying: bool,
    /// Books give up a hole at once: the wait for another line is over.
    impatient: bool,
    /// What is held is not looked at again before.
    look_at: ReceiveTime,
    /// Whether a snapshot of the book is under way, by listing.
    snapshot_wanted: Vec<bool>,
    lines: Vec<LineState>,
    /// Frames that are read in pieces, by line.
    halves: Vec<Option<Half<V::Progress>>>,
    /// A REST body that is read in pieces.
    rest_half: Option<Half<V::Progress>>,
    wants: VecDeque<Want>,
    counts: PipelineCounts,
    errors: Tally,
    skipped: Tally,
    /// The raw that the next frame is decoded into.
    raw: Option<Handle<Raw>>,
    /// The raw for frames that found the pool empty: nothing may keep it.
    reserve: Option<Box<Raw>>,
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
            top: None,
            later: later::Later::default(),
            is_applying: false,
            impatient: false,
            look_at: ReceiveTime::default(),
            snapshot_wanted: Vec::new(),
            lines: (0..options.lines.max(1)).map(|_| LineState::default()).collect(),
            halves: (0..options.lines.max(1)).map(|_| None).collect(),
            rest_half: None,
            wants: VecDeque::new(),
            counts: PipelineCounts::default(),
            errors: Tally::default(),
            skipped: Tally::default(),
            raw: None,
            reserve: Some(Box::default()),
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
                self.lines[raw.trace.line().index()].heard_at = raw.receive_time;
                let stream = &mut self.streams[message.stream.index()];
                stream.line = Some(raw.trace.line());
                stream.pace.note(raw.receive_time);
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
                Content::Book(book) => {
                    if !book.snapshot && self.numbers_lie(raw, message) {
                        // It follows what is true again, and waits for the next snapshot like what comes after it.
                        let at = raw.receive_time;
                        self.break_books_of(&[message.stream], BookReason::SequenceGap, at, probe);
                    }
                    held |= self.book(raw, message, book, decoded_after_ns, probe);
                }
            }
        }
        held
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

    /// How each line fared against the others.
    pub fn races(&self) -> impl Iterator<Item = Race> + '_ {
        self.lines.iter().map(|line| line.race)
    }

    /// Ends a read batch: publishes to the rings. `published` is called with each output that has something new.
    pub fn flush(&mut self, probe: &mut impl Probe, published: impl FnMut(usize)) {
        self.flush_within(probe, RELIEF_PARTS_MAX, published);
    }

    /// The same with a limit on what waits for room ([`Dispatcher::flush_within`]). Returns how many parts of that it gave out.
    pub fn flush_within(
        &mut self,
        probe: &mut impl Probe,
        relief_parts: usize,
        published: impl FnMut(usize),
    ) -> usize {
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
        let given = self.dispatcher.flush_within(&mut source, relief_parts, published);
        self.later.flushed();
        given
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

    /// The last number of a stream that was published.
    pub fn last_number(&self, stream: StreamId) -> Option<u64> {
        self.streams[stream.index()].sequence.last()
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
        (streams.sum::<usize>() + books.sum::<usize>() + self.left_events()) as u64
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
        self.halves.fill_with(|| None);
        self.rest_half = None;
        self.finish_books();
        for book in self.books.iter_mut().flatten() {
            self.counts.unusable_total += book.close();
        }
        self.finish();
    }
}

/// A duration in a header's 32 bits: more than 4.29 s counts as that.
#[inline]
pub(crate) fn saturated(ns: u64) -> u32 {
    u32::try_from(ns).unwrap_or(u32::MAX)
}
