//! The streams of a provider: what is kept of each between decoder and dispatcher, and their beginning and end.

use super::join::LineSet;
use super::pace::Pace;
use super::{Pipeline, book};
use crate::book::{BookFeed, FeedOptions};
use crate::channel::Channel;
use crate::event::Event;
use crate::ids::{LineId, Listing, StreamId};
use crate::pool::Handle;
use crate::raw::{Message, Numbers};
use crate::routing::{Delivery, Route};
use crate::sequence::{Reorder, Sequence};
use crate::time::{ReceiveTime, VenueTime};
use crate::venue::{SequenceRule, Venue};

/// One stream between decoder and dispatcher.
#[derive(Debug)]
pub(super) struct StreamState {
    pub(super) channel: Channel,
    pub(super) listing: Listing,
    pub(super) sequence: Sequence,
    pub(super) reorder: Reorder<Waiting>,
    /// Connection that its last message came on.
    pub(super) line: Option<LineId>,
    /// Lines that bring everything that follows what was published.
    pub(super) joined: LineSet,
    /// Another line may still fill a hole.
    pub(super) may_fill: bool,
    /// Until when a REST answer may still fill one.
    pub(super) filling_until: Option<ReceiveTime>,
    /// The line whose message was published last, and what that was: for streams that several lines carry.
    pub(super) published: Published,
    /// How often it says something.
    pub(super) pace: Pace,
    /// Nobody wants it any more: what still comes of it is not used.
    pub(super) ended: bool,
    /// Of a book whose updates are numbered: by line, the numbers of the last one that came on it, and its time.
    heard: Vec<(LineId, Numbers, VenueTime)>,
}

/// The last message of a stream that was published, where several lines carry it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Published {
    pub(super) line: Option<LineId>,
    pub(super) number: u64,
    pub(super) venue_time: VenueTime,
    pub(super) receive_time: ReceiveTime,
}

/// A message that came before its turn.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) event: Handle<Event>,
    /// Whether it is to be published, or has only its place in the sequence.
    pub(super) published: bool,
}

impl StreamState {
    /// Whether a message of a stream without numbers repeats what another line has brought: not newer by the venue's
    /// time, or, without a time, not of the line that is listened to.
    pub(super) fn is_echo(&self, line: LineId, message: &Message) -> bool {
        if self.sequence_rule() != SequenceRule::Arrival || message.numbers != Numbers::NONE {
            return false;
        }
        let Some(heard) = self.published.line else { return false };
        heard != line && message.venue_time <= self.published.venue_time
    }

    /// Whether the numbers of a book's update go back, or over others, on the line that it came on. No venue sends that on one
    /// connection, so this one's numbers, or those before it, are not true: what waits under them would join at a place where it
    /// does not belong, and nothing would show it. A frame sent twice is the same numbers of the same time again; the same
    /// numbers of another time are a lie by just as much as one update has.
    #[inline]
    pub(super) fn goes_back(&mut self, line: LineId, message: &Message) -> bool {
        let (numbers, venue_time) = (message.numbers, message.venue_time);
        let Some(heard) = self.heard.iter_mut().find(|heard| heard.0 == line) else {
            self.heard.push((line, numbers, venue_time));
            return false;
        };
        let (_, before, time_before) = std::mem::replace(heard, (line, numbers, venue_time));
        numbers.first <= before.last && (numbers, venue_time) != (before, time_before)
    }

    /// A connection begins anew: so may its numbers.
    pub(super) fn forget_numbers(&mut self, line: LineId) {
        self.heard.retain(|heard| heard.0 != line);
    }

    /// A line is gone: another may be listened to.
    pub(super) fn forget_line(&mut self, line: LineId) {
        self.forget_numbers(line);
        if self.published.line == Some(line) {
            self.published.line = None;
        }
    }

    /// The venue's numbers, or the stream's own where it has none.
    #[inline]
    pub(super) fn number(&mut self, numbers: &Numbers) -> Numbers {
        if matches!(self.sequence_rule(), SequenceRule::Arrival) && *numbers == Numbers::NONE {
            return Numbers::single(self.sequence.own_number());
        }
        *numbers
    }

    pub(super) const fn sequence_rule(&self) -> SequenceRule {
        self.sequence.rule()
    }
}

impl<V: Venue> Pipeline<V> {
    /// Makes the state of streams that the directory has learned since.
    #[cold]
    pub(super) fn adopt_streams(&mut self) {
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
                joined: LineSet::default(),
                may_fill: self.options.lines > 1,
                filling_until: None,
                published: Published::default(),
                pace: Pace::default(),
                ended: false,
                heard: Vec::with_capacity(usize::from(self.options.lines) + 1),
            });
            if self.books.len() <= carried.listing.index() {
                self.books.resize_with(carried.listing.index() + 1, || None);
                self.views.resize_with(carried.listing.index() + 1, book::Views::default);
                self.snapshot_wanted.resize(carried.listing.index() + 1, false);
                self.standby.resize_with(carried.listing.index() + 1, Vec::new);
                self.active_line.resize(carried.listing.index() + 1, None);
                self.later.reserve(self.books.len());
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

    pub(super) fn new_book(&self) -> BookFeed {
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

    /// The venue does not trade an instrument any more: its book says so, and its streams end. Returns those that did.
    #[cold]
    pub fn delist(&mut self, listing: Listing, at: ReceiveTime) -> Vec<StreamId> {
        let streams: Vec<StreamId> = self.directory.streams_of(listing).map(|(_, stream)| stream).collect();
        self.counts.delisted_total += 1;
        for &stream in &streams {
            let state = &self.streams[stream.index()];
            if state.channel.is_book() && !state.ended {
                self.give_up_delisted(stream, listing, at);
            }
            self.end_stream(stream);
        }
        streams
    }

    /// Whether anything of an instrument was ever used.
    pub fn was_heard(&self, listing: Listing) -> bool {
        let mut streams = self.directory.streams_of(listing).map(|(_, stream)| &self.streams[stream.index()]);
        streams.any(|stream| stream.sequence.counts.applied_total > 0)
            || self.book_of(listing).is_some_and(|book| book.counts.snapshot_total > 0)
    }

    fn forget_stream(&mut self, stream: StreamId) {
        while !self.streams[stream.index()].reorder.is_empty() {
            self.give_up_hole(stream);
        }
        self.finish_publishing(self.streams[stream.index()].listing);
        let state = &mut self.streams[stream.index()];
        state.sequence.restart();
        state.line = None;
        state.joined.clear();
        state.pace.pause();
        let (channel, listing) = (state.channel, state.listing);
        if channel.is_book()
            && let Some(Some(feed)) = self.books.get_mut(listing.index())
        {
            // Also where nothing is loaded: a snapshot that is under way now comes to a stream that has ended, or to none, and
            // a wish that stood on would keep a book that begins again from asking, for ever.
            self.snapshot_wanted[listing.index()] = false;
            if feed.is_loaded() || feed.waiting() > 0 {
                let unusable_before = feed.counts.unusable_total;
                feed.give_up(crate::event::BookStatus::Syncing);
                self.counts.unusable_total += feed.counts.unusable_total - unusable_before;
            }
        }
    }
}
