//! The book half of the pipeline: offers book messages to their feeds and publishes what becomes of them.

use super::frames::Place;
use super::streams::StreamState;
use super::{LineState, Pipeline, Want, saturated};
use crate::book::{BookFeed, Outcome, View, rescale};
use crate::directory::Directory;
use crate::dispatch::{BookSource, Dispatcher};
use crate::event::{
    Body, BookPart, BookReason, BookStatus, Event, Flags, Gap, GapReason, Header, Level, Parts,
    SCHEMA_VERSION,
};
use crate::ids::{LineId, Listing, StreamId};
use crate::pool::Handle;
use crate::probe::{PathStage, Probe};
use crate::raw::{BookMessage, Message, Numbers, Raw};
use crate::routing::RoutingTable;
use crate::time::{ReceiveTime, VenueTime};
use crate::venue::Venue;

impl<V: Venue> Pipeline<V> {
    /// Offers a book message to its feed and publishes the outcome. Returns whether the raw must be kept.
    #[inline]
    pub(super) fn book(
        &mut self,
        raw: &Raw,
        message: &Message,
        book: &BookMessage,
        decoded_after_ns: u32,
        probe: &mut impl Probe,
    ) -> bool {
        self.finish_left(message.listing, probe);
        if book.snapshot && raw.trace.line() == LineId(u8::MAX) && !self.waits(message.listing) {
            self.take_top(message, book, raw);
            return false;
        }
        if self.options.lines > 1
            && let Some(held) = self.redundant(raw, message, book)
        {
            return held;
        }
        let Some(Some(feed)) = self.books.get_mut(message.listing.index()) else {
            self.counts.unusable_total += 1;
            return false;
        };
        if book.snapshot && feed.status() == BookStatus::Proved && feed.snapshot_by_rest() {
            // One that was asked for while the market was quiet may find the book proved: left standing, the wish would keep
            // the next one from being asked for, and a book that broke would wait for ever.
            self.snapshot_wanted[message.listing.index()] = false;
            self.take_shadow(message, book, raw, probe);
            return false;
        }
        // Before the book changes: what a new route was sent to begin with is the book as it was.
        self.views[message.listing.index()].follow_routes(
            &self.dispatcher.routing,
            message.stream,
            feed,
            self.options.book_depth_max,
        );
        let unusable_before = feed.counts.unusable_total;
        let outcome = feed.offer(message, book, raw);
        self.counts.unusable_total += feed.counts.unusable_total - unusable_before;
        if book.snapshot {
            // It came, whatever it is worth: if it is worth nothing, another is wanted below.
            self.snapshot_wanted[message.listing.index()] = false;
        }
        let ordered_after_ns = saturated(probe.now().since_ns(raw.receive_time));
        probe.stage(PathStage::Ordered, u64::from(ordered_after_ns));
        let numbers = if message.numbers == Numbers::NONE {
            match outcome {
                Outcome::Replaced | Outcome::Applied | Outcome::Joined => {
                    Numbers::single(self.streams[message.stream.index()].sequence.own_number())
                }
                _ => Numbers::single(self.streams[message.stream.index()].sequence.last_own_number()),
            }
        } else {
            message.numbers
        };
        let mut header = self.header(raw, message, numbers, Flags::WHOLE);
        header.decoded_after_ns = decoded_after_ns;
        (header.ordered_after_ns, header.enqueued_after_ns) = (ordered_after_ns, ordered_after_ns);
        match outcome {
            Outcome::Applied => {
                self.publish_update(&header, message.listing, raw, book);
                self.after_update(&header, message, raw, book, probe);
            }
            Outcome::Stale => self.counts.stale_total += 1,
            Outcome::Wait => {
                self.want_snapshot(message.listing, message.stream);
                return true;
            }
            Outcome::Unusable => self.want_snapshot(message.listing, message.stream),
            Outcome::Joined => {
                self.publish_state(&header, message.listing, BookReason::Joined);
                self.publish_update(&header, message.listing, raw, book);
                self.after_update(&header, message, raw, book, probe);
            }
            Outcome::Confirmed => {
                self.counts.stale_total += 1;
                self.publish_state(&header, message.listing, BookReason::Joined);
            }
            Outcome::Replaced => {
                self.note_top(message.listing);
                self.publish_replaced(&header, message.listing, probe);
            }
            Outcome::Broken { reason, missing } => {
                self.broken(&header, message.listing, reason, missing);
                // The update that showed the hole is part of what follows the next snapshot.
                return reason == BookReason::SequenceGap && self.waits(message.listing);
            }
        }
        false
    }

    /// Whether the numbers of an update that just came cannot be those of a line that tells the truth.
    #[inline]
    pub(super) fn numbers_lie(&mut self, raw: &Raw, message: &Message) -> bool {
        let line = raw.trace.line();
        let numbered = message.numbers != Numbers::NONE && self.waits(message.listing);
        numbered && line != LineId(u8::MAX) && self.streams[message.stream.index()].goes_back(line, message)
    }

    fn waits(&self, listing: Listing) -> bool {
        self.book_of(listing).is_some_and(BookFeed::snapshot_by_rest)
    }

    /// Applies updates that waited, `updates_max` at most. Returns how many.
    pub(super) fn apply_waiting(
        &mut self,
        listing: Listing,
        updates_max: usize,
        probe: &mut impl Probe,
    ) -> usize {
        self.is_applying = true;
        let mut updates = 0;
        while updates < updates_max
            && let Some(held) = self.books[listing.index()].as_mut().and_then(BookFeed::next_waiting)
        {
            let message = held.messages[0].clone();
            let Some(book) = message.as_book() else { continue };
            if self.book(&held, &message, book, 0, probe)
                && let Some(Some(feed)) = self.books.get_mut(listing.index())
            {
                feed.hold_first(held);
                break;
            }
            updates += 1;
        }
        self.is_applying = false;
        updates
    }

    /// Keeps the raw that was just applied for its book; gives back one that cannot be kept.
    #[cold]
    pub(super) fn hold(&mut self, place: Place) -> Option<Place> {
        match place {
            Place::Pooled(raw) => {
                if let [message] = &raw.messages[..] {
                    let listing = message.listing;
                    self.keep(listing, raw);
                    return None;
                }
                // Venues whose frames carry several book messages bring their snapshots in the stream and never wait.
                self.counts.unusable_total += self.kept_messages(&raw);
                Some(Place::Pooled(raw))
            }
            Place::Reserve(raw) => {
                // Decoded without a slot: nothing can keep it. The next update shows the hole.
                self.counts.pool_empty_total += 1;
                self.counts.unusable_total += self.kept_messages(&raw);
                Some(Place::Reserve(raw))
            }
        }
    }

    /// Book messages of a raw that this shard keeps.
    fn kept_messages(&self, raw: &Raw) -> u64 {
        let is_kept = |message: &&Message| message.as_book().is_some() && self.keeps(message.listing);
        raw.messages.iter().filter(is_kept).count() as u64
    }

    fn keep(&mut self, listing: Listing, raw: Handle<Raw>) {
        let Some(Some(feed)) = self.books.get_mut(listing.index()) else { return };
        if !feed.may_wait() {
            let unusable_before = feed.counts.unusable_total;
            feed.drop_oldest_waiting();
            self.counts.unusable_total += feed.counts.unusable_total - unusable_before;
        }
        if feed.may_wait() {
            feed.hold(raw);
        } else {
            // Nothing may wait at all.
            feed.counts.unusable_total += 1;
            self.counts.unusable_total += 1;
        }
    }

    fn want_snapshot(&mut self, listing: Listing, stream: StreamId) {
        if std::mem::replace(&mut self.snapshot_wanted[listing.index()], true) {
            return;
        }
        let by_rest = self.waits(listing);
        let line = self.active_line[listing.index()];
        self.wants.push_back(if by_rest { Want::Snapshot(listing) } else { Want::Resubscribe(stream, line) });
    }

    /// Whether a book waits for an update to begin with, or to be proved by, and none comes: asking for a snapshot helps.
    pub fn is_quiet(&self, listing: Listing) -> bool {
        let quiet = |feed: &BookFeed| {
            feed.snapshot_by_rest() && feed.status() != BookStatus::Proved && feed.waiting() == 0
        };
        !self.snapshot_wanted(listing) && self.book_of(listing).is_some_and(quiet)
    }

    /// Asks for a snapshot of a book that is [quiet](Self::is_quiet): the first, or one to confirm the first by.
    pub fn ask_for_snapshot(&mut self, listing: Listing) {
        let book = self.directory.streams_of(listing).find(|(channel, _)| channel.is_book());
        if let Some((_, stream)) = book {
            self.want_snapshot(listing, stream);
        }
    }

    /// Says of a book that is given up that it broke again and again, and is asked for ever more rarely.
    #[cold]
    pub fn mark_unprovable(&mut self, stream: StreamId, at: ReceiveTime) {
        let listing = self.streams[stream.index()].listing;
        self.finish_publishing(listing);
        self.counts.unprovable_total += 1;
        if self.book_of(listing).is_some_and(|feed| feed.status() == BookStatus::Suspect) {
            let last = self.book_position(stream);
            let mut header = self.bare_header(stream, listing, at);
            (header.sequence_first, header.sequence_last) = (last, last);
            self.publish_state(&header, listing, BookReason::Unprovable);
        }
    }

    /// Gives up the book of an instrument that is not traded any more, and says so.
    #[cold]
    pub(super) fn give_up_delisted(&mut self, stream: StreamId, listing: Listing, at: ReceiveTime) {
        self.finish_publishing(listing);
        self.forget_shadow(listing);
        let last = self.book_position(stream);
        let mut header = self.bare_header(stream, listing, at);
        (header.sequence_first, header.sequence_last) = (last, last);
        let Some(Some(feed)) = self.books.get_mut(listing.index()) else { return };
        let unusable_before = feed.counts.unusable_total;
        feed.give_up(BookStatus::Stale);
        self.counts.unusable_total += feed.counts.unusable_total - unusable_before;
        self.snapshot_wanted[listing.index()] = false;
        self.publish_state(&header, listing, BookReason::Delisted);
    }

    #[cold]
    pub(super) fn broken(
        &mut self,
        header: &Header,
        listing: Listing,
        reason: BookReason,
        missing: Option<(u64, u64)>,
    ) {
        self.counts.resyncs_total += 1;
        self.forget_shadow(listing);
        if self.switch(header, listing) {
            // Another line's book is proved: the reader sees a snapshot of it and no gap. The broken one syncs anew.
            return;
        }
        if let Some((from, to)) = missing {
            self.counts.gaps_total += 1;
            let gap = Gap { from, to, event_count: 0, reason: GapReason::Sequence };
            let header = Header { sequence_first: from, sequence_last: to, ..*header };
            self.publish(Event { header, body: Body::Gap(gap) });
        }
        self.publish_state(header, listing, reason);
        self.want_snapshot(listing, header.stream);
    }

    /// Gives up every book of this provider.
    #[cold]
    pub fn break_books(&mut self, reason: BookReason, at: ReceiveTime, probe: &mut impl Probe) {
        let all: Vec<StreamId> = (0..self.streams.len()).map(|index| StreamId(index as u32)).collect();
        self.break_books_of(&all, reason, at, probe);
    }

    /// Gives up the books that come on `line`, and those of which nothing came yet.
    #[cold]
    pub(super) fn break_books_on(
        &mut self,
        line: LineId,
        reason: BookReason,
        at: ReceiveTime,
        probe: &mut impl Probe,
    ) {
        let comes_on_it = |state: &StreamState| match self.active_line.get(state.listing.index()) {
            Some(Some(active)) => *active == line,
            _ => state.line.is_none_or(|seen| seen == line),
        };
        let streams = self.streams.iter().enumerate().filter(|(_, state)| comes_on_it(state));
        let streams: Vec<StreamId> = streams.map(|(index, _)| StreamId(index as u32)).collect();
        self.break_standby_on(line);
        self.break_books_of(&streams, reason, at, probe);
    }

    /// Gives up the book of one stream as `line` keeps it, published or not.
    #[cold]
    pub(super) fn break_book_on(
        &mut self,
        line: LineId,
        stream: StreamId,
        reason: BookReason,
        at: ReceiveTime,
        probe: &mut impl Probe,
    ) {
        let listing = self.streams[stream.index()].listing;
        if self.active_line[listing.index()].is_none_or(|active| active == line) {
            self.break_books_of(&[stream], reason, at, probe);
        } else {
            self.break_standby(line, listing, stream);
        }
    }

    /// Gives up the books among `streams`: their connection lost frames, or is lost itself.
    #[cold]
    pub fn break_books_of(
        &mut self,
        streams: &[StreamId],
        reason: BookReason,
        at: ReceiveTime,
        _: &mut impl Probe,
    ) {
        let status = match reason {
            BookReason::ConnectionLost | BookReason::Silent => BookStatus::Stale,
            _ => BookStatus::Suspect,
        };
        for &stream in streams {
            let StreamState { channel, listing, .. } = self.streams[stream.index()];
            if !channel.is_book() || !self.keeps(listing) {
                continue;
            }
            self.finish_publishing(listing);
            let last = self.book_position(stream);
            self.forget_shadow(listing);
            let mut header = self.bare_header(stream, listing, at);
            (header.sequence_first, header.sequence_last) = (last, last);
            let Some(Some(feed)) = self.books.get_mut(listing.index()) else { continue };
            let is_news = feed.is_loaded() || feed.status() != status;
            let unusable_before = feed.counts.unusable_total;
            // Also where it is no news: what waits came on the connection that is gone.
            feed.give_up(status);
            self.counts.unusable_total += feed.counts.unusable_total - unusable_before;
            if is_news {
                self.counts.resyncs_total += 1;
                if self.switch(&header, listing) {
                    continue;
                }
                self.publish_state(&header, listing, reason);
            }
            if status == BookStatus::Stale {
                self.snapshot_wanted[listing.index()] = false;
            } else if is_news {
                self.snapshot_wanted[listing.index()] = false;
                self.want_snapshot(listing, stream);
            }
        }
    }

    /// The number that the book of a stream stands at: the venue's, or the stream's own where it has none.
    fn book_position(&self, stream: StreamId) -> u64 {
        let state = &self.streams[stream.index()];
        book_position(state, self.books.get(state.listing.index()).and_then(Option::as_ref))
    }

    /// A connection shook hands: its frames are numbered anew.
    pub fn line_opened(&mut self, line: LineId) {
        self.lines[line.index()].connection_sequence = None;
        self.forget_joins(line);
        self.streams.iter_mut().for_each(|stream| stream.forget_numbers(line));
    }

    /// Makes room for so many connections.
    pub fn set_line_count(&mut self, count: usize) {
        self.lines.resize_with(count.max(1), LineState::default);
        self.halves.resize_with(count.max(1), || None);
    }

    pub(super) fn bare_header(&self, stream: StreamId, listing: Listing, at: ReceiveTime) -> Header {
        bare_header(&self.directory, stream, listing, at)
    }

    pub(super) fn publish_state(&mut self, header: &Header, listing: Listing, reason: BookReason) {
        let Some(Some(feed)) = self.books.get(listing.index()) else { return };
        let body = Body::BookState { status: feed.status(), proof: feed.proof(), reason };
        self.publish(Event { header: Header { flags: Flags::WHOLE, ..*header }, body });
    }

    /// Publishes the levels of an update and those that left the book with it: to each shard as far down as it asked.
    #[inline]
    fn publish_update(&mut self, header: &Header, listing: Listing, raw: &Raw, book: &BookMessage) {
        self.counts.events_total += 1;
        let Self { books, views, dispatcher, parts, bids, asks, view_bids, view_asks, .. } = self;
        let (Some(Some(feed)), Some(views)) = (books.get(listing.index()), views.get_mut(listing.index()))
        else {
            return;
        };
        let (status, proof, cut) = (feed.status(), feed.proof(), feed.cut());
        let (mut all_bids, mut all_asks) = (raw.bids_of(book), raw.asks_of(book));
        let decimals = feed.book().decimals();
        if !cut.is_empty() || header.decimals != decimals {
            bids.clear();
            bids.extend_from_slice(all_bids);
            asks.clear();
            asks.extend_from_slice(all_asks);
            if header.decimals != decimals {
                // Decoded before the scale grew: it waited for a snapshot. A reader's book is at the scale of ours.
                let fits =
                    rescale(bids, header.decimals, decimals) && rescale(asks, header.decimals, decimals);
                debug_assert!(fits, "the book took the same levels");
            }
            bids.extend_from_slice(&cut.bids);
            asks.extend_from_slice(&cut.asks);
            (all_bids, all_asks) = (bids, asks);
        }
        let header = Header { decimals, routing_version: dispatcher.routing.version(), ..*header };
        if !views.whole.is_empty() || views.depths.is_empty() {
            parts.clear();
            let levels = Parts::new(all_bids, all_asks, status, proof);
            fill(parts, &header, levels, Body::BookUpdate, Flags::default());
            views.offer_whole(dispatcher, parts);
        }
        for view in &mut views.depths {
            if !view.update(feed.book(), all_bids, all_asks, view_bids, view_asks) {
                dispatcher.unchanged_at(view.depth(), header.stream);
                continue;
            }
            parts.clear();
            let levels = Parts::new(view_bids, view_asks, status, proof);
            fill(parts, &header, levels, Body::BookUpdate, Flags::default());
            dispatcher.offer_at(view.depth(), parts);
        }
    }

    /// Has a view of a book for each depth that is asked for now. Who publishes all of a book does so first: a shard that is sent
    /// nothing of a book that takes the place of another would apply the updates of the one to its copy of the other.
    pub(super) fn follow_routes(&mut self, listing: Listing, stream: StreamId) {
        let Self { books, views, dispatcher, options, .. } = self;
        if let (Some(Some(feed)), Some(views)) = (books.get(listing.index()), views.get_mut(listing.index()))
        {
            views.follow_routes(&dispatcher.routing, stream, feed, options.book_depth_max);
        }
    }

    /// Publishes all of a book at once: to each shard as far down as it asked.
    pub(super) fn publish_whole(&mut self, header: &Header, listing: Listing, marks: Flags) {
        self.counts.events_total += 1;
        let Self { books, views, dispatcher, parts, bids, asks, .. } = self;
        let (Some(Some(feed)), Some(views)) = (books.get(listing.index()), views.get_mut(listing.index()))
        else {
            return;
        };
        let version = dispatcher.routing.version();
        let header = Header { decimals: feed.book().decimals(), routing_version: version, ..*header };
        for depth in views.depths() {
            feed.book().copy_best(depth, bids, asks);
            parts.clear();
            let levels = Parts::new(bids, asks, feed.status(), feed.proof());
            fill(parts, &header, levels, Body::BookSnapshot, marks);
            dispatcher.offer_at(depth, parts);
        }
        for view in &mut views.depths {
            view.reset(feed.book());
        }
    }

    /// Publishes a complete list of the best levels, which needs no book of ours.
    pub(super) fn partial_book(
        &mut self,
        raw: &Raw,
        message: &Message,
        book: &BookMessage,
        decoded_after_ns: u32,
        probe: &mut impl Probe,
    ) {
        let stream = &mut self.streams[message.stream.index()];
        stream.sequence.counts.offered_total += 1;
        let numbers = stream.number(&message.numbers);
        if matches!(stream.sequence.verdict(numbers.first, numbers.last), crate::sequence::Verdict::Stale) {
            stream.sequence.counts.stale_total += 1;
            self.counts.stale_total += 1;
            return;
        }
        stream.sequence.advance(numbers.last);
        let mut header = self.header(raw, message, numbers, Flags::WHOLE);
        header.decoded_after_ns = decoded_after_ns;
        header.ordered_after_ns = saturated(probe.now().since_ns(raw.receive_time));
        header.enqueued_after_ns = header.ordered_after_ns;
        probe.stage(PathStage::Ordered, u64::from(header.ordered_after_ns));
        let parts =
            Parts::new(raw.bids_of(book), raw.asks_of(book), BookStatus::Proved, crate::event::Proof::None);
        self.parts.clear();
        fill(&mut self.parts, &header, parts, Body::BookSnapshot, Flags::default());
        self.publish_parts();
    }

    #[inline]
    fn publish_parts(&mut self) {
        self.counts.events_total += 1;
        let version = self.dispatcher.routing.version();
        for part in &mut self.parts {
            part.header.routing_version = version;
        }
        self.dispatcher.offer(&self.parts);
    }
}

/// The number that a book stands at.
fn book_position(state: &StreamState, feed: Option<&BookFeed>) -> u64 {
    match feed.map_or(0, BookFeed::last) {
        0 => state.sequence.last_own_number(),
        last => last,
    }
}

/// The depths at which shards want one book, and a view for each that is not all of it.
#[derive(Debug, Default)]
pub(super) struct Views {
    /// Version and number of changes of the routes that these are the depths of.
    routes: Option<(u32, u64)>,
    /// Depths that reach as far as the book ever does: those shards are sent every update as it came, without a number
    /// left out.
    whole: Vec<usize>,
    pub(super) depths: Vec<View>,
}

impl Views {
    /// Has a view for each depth that the routes of `stream` ask for now, and no others.
    #[inline]
    fn follow_routes(&mut self, routing: &RoutingTable, stream: StreamId, feed: &BookFeed, depth_max: usize) {
        let routes = Some((routing.version(), routing.changes_total()));
        if self.routes != routes {
            self.routes = routes;
            self.adopt(routing, stream, feed, depth_max);
        }
    }

    /// The depths at which a book is published.
    pub(super) fn depths(&self) -> impl Iterator<Item = usize> + '_ {
        // Nobody wants it: counted as that.
        let none = (self.whole.is_empty() && self.depths.is_empty()).then_some(usize::MAX);
        let whole = none.into_iter().chain(self.whole.iter().copied());
        whole.chain(self.depths.iter().map(View::depth))
    }

    /// Offers an event to the shards that see the whole book.
    #[inline]
    fn offer_whole(&self, dispatcher: &mut Dispatcher, parts: &[Event]) {
        if self.whole.is_empty() {
            // Nobody wants it: counted as that.
            dispatcher.offer_at(usize::MAX, parts);
        }
        for depth in &self.whole {
            dispatcher.offer_at(*depth, parts);
        }
    }

    #[cold]
    fn adopt(&mut self, routing: &RoutingTable, stream: StreamId, feed: &BookFeed, depth_max: usize) {
        let routes = routing.of(stream);
        let whole = routes.iter().map(|route| route.book_depth).filter(|depth| *depth >= depth_max);
        self.whole.clear();
        self.whole.extend(whole);
        self.whole.sort_unstable();
        self.whole.dedup();
        self.depths.retain(|view| view.depth() < depth_max);
        self.depths.retain(|view| routes.iter().any(|route| route.book_depth == view.depth()));
        for route in routes.iter().filter(|route| route.book_depth < depth_max) {
            if self.depths.iter().all(|view| view.depth() != route.book_depth) {
                let mut view = View::new(route.book_depth);
                view.reset(feed.book());
                self.depths.push(view);
            }
        }
    }
}

/// Appends the parts of a book event under one header.
#[inline]
pub(super) fn fill(
    events: &mut Vec<Event>,
    header: &Header,
    parts: Parts<'_>,
    body: fn(BookPart) -> Body,
    marks: Flags,
) {
    for (number, (flags, part)) in parts.enumerate() {
        let header = Header { flags: flags.with(marks), part: number as u16, ..*header };
        events.push(Event { header, body: body(part) });
    }
}

/// A header for an event that no message caused.
fn bare_header(directory: &Directory, stream: StreamId, listing: Listing, at: ReceiveTime) -> Header {
    Header {
        venue_time: VenueTime::ABSENT,
        receive_time: at,
        stream,
        instrument: directory.instrument(listing).id,
        flags: Flags::WHOLE,
        decimals: directory.instrument(listing).decimals,
        provider: directory.provider(),
        schema: SCHEMA_VERSION,
        ..Header::default()
    }
}

/// The provider's books as the dispatcher sees them when updates have collapsed.
pub(super) struct Source<'a> {
    pub directory: &'a Directory,
    pub books: &'a [Option<BookFeed>],
    pub streams: &'a [StreamState],
    pub version: u32,
    pub bids: &'a mut Vec<Level>,
    pub asks: &'a mut Vec<Level>,
    pub now: ReceiveTime,
}

impl BookSource for Source<'_> {
    fn conflated(&mut self, stream: StreamId, depth: usize, parts: &mut Vec<Event>) {
        parts.clear();
        let Some(state) = self.streams.get(stream.index()) else { return };
        let listing = state.listing;
        if !state.channel.is_book() {
            return;
        }
        let mut header = bare_header(self.directory, stream, listing, self.now);
        header.routing_version = self.version;
        let Some(Some(feed)) = self.books.get(listing.index()) else { return };
        let position = book_position(state, Some(feed));
        (header.sequence_first, header.sequence_last) = (position, position);
        header.decimals = feed.book().decimals();
        // A snapshot that no update has joined yet is sent as what it is: the update that joins it will follow.
        if !feed.is_loaded() {
            let body = Body::BookState {
                status: feed.status(),
                proof: feed.proof(),
                reason: BookReason::Subscribed,
            };
            parts.push(Event { header, body });
            return;
        }
        feed.book().copy_best(depth, self.bids, self.asks);
        let levels = Parts::new(self.bids, self.asks, feed.status(), feed.proof());
        fill(parts, &header, levels, Body::BookSnapshot, Flags::CONFLATED);
    }
}
