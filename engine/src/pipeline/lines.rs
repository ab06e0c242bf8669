//! Books where several lines carry the same stream, and their verification.
//!
//! Where updates are numbered over all connections (Binance) one book takes them from whichever line is first, and a
//! hole waits for the other line as long as the stream's patience lasts. Where they are not (Kraken, Coinbase) each line
//! keeps and proves a book of its own; one is published, and when it breaks or its line is lost, another one that is
//! proved takes over with a snapshot marked `switched`, not with a Gap.

use super::{Pipeline, Want};
use crate::book::BookFeed;
use crate::book::verify::{Comparison, Shadow};
use crate::event::{Body, BookReason, BookStatus, Event, Flags, Header};
use crate::ids::{LineId, Listing, StreamId};
use crate::probe::Probe;
use crate::raw::{BookMessage, Message, Numbers, Raw};
use crate::time::ReceiveTime;
use crate::venue::Venue;

/// A book that a line keeps beside the published one.
#[derive(Debug)]
pub(super) struct Standby {
    line: LineId,
    pub(super) feed: BookFeed,
    /// A new subscription is under way.
    wanted: bool,
}

impl<V: Venue> Pipeline<V> {
    /// What several lines mean for a book message: `Some(held)` if it is dealt with here.
    pub(super) fn redundant(&mut self, raw: &Raw, message: &Message, book: &BookMessage) -> Option<bool> {
        let line = raw.trace.line();
        let feed = self.books.get(message.listing.index())?.as_ref()?;
        if feed.snapshot_by_rest() {
            let is_early = !book.snapshot && feed.hole_before(&message.numbers);
            if is_early && self.is_joining(line, message.stream) {
                self.counts.stale_total += 1;
                self.leave_to_older(line, message.stream, message.numbers.last, raw.receive_time);
                return Some(false);
            }
            let may_fill = self.streams[message.stream.index()].may_fill && !self.impatient;
            let waits = may_fill && is_early && feed.may_wait();
            if !is_early && !book.snapshot && feed.status() == BookStatus::Proved {
                self.joined(line, message.stream);
            }
            return waits.then_some(true);
        }
        let active = &mut self.active_line[message.listing.index()];
        match *active {
            Some(active) if active != line => {
                self.offer_standby(line, raw, message, book);
                Some(false)
            }
            _ => {
                *active = Some(line);
                None
            }
        }
    }

    /// Offers a message to the book of a line that is not published.
    fn offer_standby(&mut self, line: LineId, raw: &Raw, message: &Message, book: &BookMessage) {
        let listing = message.listing;
        let at = match self.standby[listing.index()].iter().position(|standby| standby.line == line) {
            Some(at) => at,
            None => self.add_standby(line, listing),
        };
        let standby = &mut self.standby[listing.index()][at];
        let before = (standby.feed.counts.unusable_total, standby.feed.counts.stale_total);
        let _ = standby.feed.offer(message, book, raw);
        self.counts.unusable_total += standby.feed.counts.unusable_total - before.0;
        self.counts.stale_total += standby.feed.counts.stale_total - before.1;
        if standby.feed.is_loaded() {
            standby.wanted = false;
        } else if !std::mem::replace(&mut standby.wanted, true) {
            self.wants.push_back(Want::Resubscribe(message.stream, Some(line)));
        }
        let published = self.books[listing.index()].as_ref().map(BookFeed::status);
        if published != Some(BookStatus::Proved)
            && self.standby[listing.index()][at].feed.status() == BookStatus::Proved
        {
            let header = self.header(raw, message, Numbers::NONE, Flags::WHOLE);
            self.switch(&header, listing);
        }
    }

    #[cold]
    fn add_standby(&mut self, line: LineId, listing: Listing) -> usize {
        let mut feed = self.new_book();
        if let Some(depth) = self.books[listing.index()].as_ref().and_then(BookFeed::depth) {
            feed.set_depth(depth);
        }
        self.standby[listing.index()].push(Standby { line, feed, wanted: true });
        self.standby[listing.index()].len() - 1
    }

    /// The books that are not published.
    pub(super) fn standby_books(&self) -> impl Iterator<Item = &BookFeed> + '_ {
        self.standby.iter().flatten().map(|standby| &standby.feed)
    }

    /// Publishes the proved book of another line in place of the one that broke. Returns whether there is one.
    pub(super) fn switch(&mut self, header: &Header, listing: Listing) -> bool {
        let proved = |standby: &Standby| standby.feed.status() == BookStatus::Proved;
        let Some(at) = self.standby[listing.index()].iter().position(proved) else { return false };
        let from = self.take_over(header, listing, at);
        // What broke is now the other line's; it has asked for its new snapshot, or its line is gone.
        self.standby[listing.index()][at].wanted = true;
        if let Some(from) = from {
            self.wants.push_back(Want::Resubscribe(header.stream, Some(from)));
        }
        true
    }

    /// Publishes one more of the books of `to` in place of that of `from`, which goes on beside it: a line that is about to end
    /// gives its books away one by one, so that no turn has the snapshots of all of them. Returns whether there was one.
    pub fn hand_over(&mut self, from: LineId, to: LineId, at: ReceiveTime) -> bool {
        let is_ready = |standby: &Standby| standby.line == to && standby.feed.status() == BookStatus::Proved;
        let next = (0..self.active_line.len()).find_map(|index| {
            let is_old = self.active_line[index] == Some(from);
            let standby = self.standby[index].iter().position(is_ready).filter(|_| is_old)?;
            let listing = Listing(index as u16);
            let book = self.directory.streams_of(listing).find(|(channel, _)| channel.is_book());
            book.map(|(_, stream)| (listing, stream, standby))
        });
        let Some((listing, stream, standby)) = next else { return false };
        self.finish_publishing(listing);
        self.forget_shadow(listing);
        let header = self.bare_header(stream, listing, at);
        self.take_over(&header, listing, standby);
        true
    }

    /// Publishes a standby book in place of the one that was. Returns the line of that one.
    fn take_over(&mut self, header: &Header, listing: Listing, at: usize) -> Option<LineId> {
        let standby = &mut self.standby[listing.index()][at];
        let published = self.books.get_mut(listing.index())?.as_mut()?;
        let from = self.active_line[listing.index()].replace(standby.line);
        std::mem::swap(published, &mut standby.feed);
        if let Some(from) = from {
            standby.line = from;
        }
        self.counts.switches_total += 1;
        let number = self.streams[header.stream.index()].sequence.own_number();
        let position = match self.books[listing.index()].as_ref().map_or(0, BookFeed::last) {
            0 => number,
            last => last,
        };
        let header = Header { sequence_first: position, sequence_last: position, ..*header };
        self.publish_book(&header, listing, Flags::SWITCHED, Some(BookReason::LineSwitched));
        from
    }

    /// Gives up the books that `line` keeps and that are not published.
    pub(super) fn break_standby_on(&mut self, line: LineId) {
        for listing in &mut self.standby {
            for standby in listing.iter_mut().filter(|standby| standby.line == line) {
                let before = standby.feed.counts.unusable_total;
                standby.feed.give_up(BookStatus::Suspect);
                self.counts.unusable_total += standby.feed.counts.unusable_total - before;
            }
        }
    }

    /// Gives up the book of one instrument that `line` keeps and that is not published, and asks for its snapshot.
    pub(super) fn break_standby(&mut self, line: LineId, listing: Listing, stream: StreamId) {
        for standby in self.standby[listing.index()].iter_mut().filter(|standby| standby.line == line) {
            let before = standby.feed.counts.unusable_total;
            standby.feed.give_up(BookStatus::Suspect);
            self.counts.unusable_total += standby.feed.counts.unusable_total - before;
            standby.wanted = true;
            self.wants.push_back(Want::Resubscribe(stream, Some(line)));
        }
    }

    /// A line is gone. Books among its streams that no other line carries (`alone`) are stale; of the others another
    /// line's takes over.
    pub fn line_lost(
        &mut self,
        line: LineId,
        streams: &[StreamId],
        alone: &[StreamId],
        reason: BookReason,
        at: ReceiveTime,
        probe: &mut impl Probe,
    ) {
        self.forget_joins(line);
        self.break_standby_on(line);
        for listing in &mut self.standby {
            listing.retain(|standby| standby.line != line);
        }
        let mut broken: Vec<StreamId> = Vec::new();
        for &stream in streams {
            let state = &mut self.streams[stream.index()];
            state.forget_line(line);
            if alone.contains(&stream) {
                state.pace.pause();
            }
            let listing = state.listing.index();
            let active = self.active_line.get(listing).copied().flatten();
            if alone.contains(&stream) || active == Some(line) {
                broken.push(stream);
            }
        }
        self.break_books_of(&broken, reason, at, probe);
        for active in &mut self.active_line {
            // Nobody took over: the first line that brings something is the next to be published.
            if *active == Some(line) {
                *active = None;
            }
        }
        for listing in &mut self.standby {
            listing.retain(|standby| standby.line != line);
        }
    }

    /// Whether every book that `line` carries is proved, published or not.
    pub fn line_is_proved(&self, line: LineId, streams: &[StreamId]) -> bool {
        streams.iter().all(|stream| {
            let state = &self.streams[stream.index()];
            if !state.channel.is_book() {
                return true;
            }
            let listing = state.listing.index();
            let published = self.books[listing].as_ref();
            if published.is_none_or(BookFeed::snapshot_by_rest) || self.active_line[listing] == Some(line) {
                return published.is_some_and(|feed| feed.status() == BookStatus::Proved);
            }
            let own = self.standby[listing].iter().find(|standby| standby.line == line);
            own.is_some_and(|standby| standby.feed.status() == BookStatus::Proved)
        })
    }

    /// Whether the book of `stream`, as `line` keeps it, has none of the snapshots that come in the stream.
    pub fn lacks_snapshot(&self, stream: StreamId, line: LineId) -> bool {
        let state = &self.streams[stream.index()];
        if !state.channel.is_book() || state.ended || !self.keeps(state.listing) {
            return false;
        }
        let listing = state.listing.index();
        let Some(published) = self.books[listing].as_ref().filter(|feed| !feed.snapshot_by_rest()) else {
            return false;
        };
        if self.active_line[listing].is_none_or(|active| active == line) {
            return !published.is_loaded();
        }
        let own = self.standby[listing].iter().find(|standby| standby.line == line);
        own.is_none_or(|standby| !standby.feed.is_loaded())
    }

    /// What follows an applied update: others that wait for it, and the shadow that follows the book.
    #[inline]
    pub(super) fn after_update(
        &mut self,
        header: &Header,
        message: &Message,
        raw: &Raw,
        book: &BookMessage,
        probe: &mut impl Probe,
    ) {
        self.note_top(message.listing);
        if let Some((listing, shadow)) = &mut self.shadow
            && *listing == message.listing
        {
            let Numbers { first, last, .. } = message.numbers;
            if shadow.keep(first, last, raw.bids_of(book), raw.asks_of(book)) {
                self.compare_shadow(header, probe);
            } else {
                self.shadow = None;
            }
        }
        if self.options.lines > 1
            && !self.is_applying
            && self.books[message.listing.index()].as_ref().is_some_and(|feed| feed.waiting() > 0)
        {
            self.apply_awaited(message.listing, probe);
        }
    }

    /// Gives up the wait of books for an update that another line was to bring.
    pub(super) fn give_up_book_holes(&mut self, now: ReceiveTime, probe: &mut impl Probe) {
        if self.options.lines <= 1 {
            return;
        }
        for listing in 0..self.books.len() {
            let Some(feed) = &self.books[listing] else { continue };
            let overdue = |since: ReceiveTime| now.since_ns(since) >= self.options.patience.lateness_ns;
            if feed.status() == BookStatus::Proved && feed.waiting_since().is_some_and(overdue) {
                self.impatient = true;
                self.apply_awaited(Listing(listing as u16), probe);
                self.impatient = false;
            }
        }
    }

    /// When the next such wait is over.
    pub(super) fn book_hole_deadline(&self) -> Option<ReceiveTime> {
        if self.options.lines <= 1 {
            return None;
        }
        let waiting = self.books.iter().flatten().filter(|feed| feed.status() == BookStatus::Proved);
        let since = waiting.filter_map(BookFeed::waiting_since).min()?;
        Some(since.plus_ns(self.options.patience.lateness_ns))
    }

    /// Begins to verify a proved book whose snapshots come by REST: ask for one now. Returns whether it can be verified
    /// and nothing else is being verified.
    pub fn begin_verification(&mut self, listing: Listing) -> bool {
        let Some(Some(feed)) = self.books.get(listing.index()) else { return false };
        if self.shadow.is_some() || !feed.snapshot_by_rest() || feed.status() != BookStatus::Proved {
            return false;
        }
        self.shadow = Some((listing, Box::new(Shadow::new(self.options.book_depth_max))));
        true
    }

    /// Whether a verification has its snapshot and the book has not come to the same number.
    pub fn verification_waits(&self, listing: Listing) -> bool {
        self.shadow.as_ref().is_some_and(|(of, shadow)| *of == listing && shadow.is_loaded())
    }

    /// Ends a verification whose book never came to the snapshot's number. Returns whether the two differ: then the stream
    /// has lost something, else only the venue's number has moved.
    pub fn end_waiting_verification(&mut self, listing: Listing) -> bool {
        let Some((_, shadow)) = self.shadow.take_if(|(of, _)| *of == listing) else { return false };
        let Some(feed) = self.book_of(listing) else { return false };
        let differs = matches!(shadow.compare(feed.book(), feed.reach()), Comparison::Different { .. });
        if !differs {
            self.counts.verified_total += 1;
        }
        differs
    }

    /// The snapshot for a verification will not come.
    pub fn end_verification(&mut self, listing: Listing) {
        self.forget_shadow(listing);
    }

    pub(super) fn forget_shadow(&mut self, listing: Listing) {
        self.end_top_check(listing);
        if self.shadow.as_ref().is_some_and(|(of, _)| *of == listing) {
            self.shadow = None;
        }
    }

    /// A snapshot of a book that lives: the one that its verification has asked for.
    pub(super) fn take_shadow(
        &mut self,
        message: &Message,
        book: &BookMessage,
        raw: &Raw,
        probe: &mut impl Probe,
    ) {
        self.counts.stale_total += 1;
        let Some(Some(feed)) = self.books.get_mut(message.listing.index()) else { return };
        feed.counts.stale_total += 1;
        let last = feed.last();
        let Some((listing, shadow)) = &mut self.shadow else { return };
        if *listing != message.listing || message.decimals != feed.book().decimals() {
            return;
        }
        let number = message.numbers.last;
        let (bids, asks) = (raw.bids_of(book), raw.asks_of(book));
        if !shadow.load(number, message.decimals, bids, asks, self.options.snapshot_levels) {
            self.shadow = None;
            return;
        }
        let header = self.header(raw, message, Numbers::single(last), Flags::WHOLE);
        self.compare_shadow(&header, probe);
    }

    /// Gives up a book whose verification came to nothing that can be: it wants a new snapshot.
    #[cold]
    fn give_up_unverified(&mut self, header: &Header, listing: Listing) {
        if let Some(Some(feed)) = self.books.get_mut(listing.index()) {
            let unusable_before = feed.counts.unusable_total;
            feed.give_up(BookStatus::Suspect);
            self.counts.unusable_total += feed.counts.unusable_total - unusable_before;
        }
        self.broken(header, listing, BookReason::VerificationFailed, None);
    }

    /// Compares the shadow with the live book once both stand at the same number.
    fn compare_shadow(&mut self, header: &Header, _: &mut impl Probe) {
        let Some((listing, shadow)) = &self.shadow else { return };
        let listing = *listing;
        let Some(Some(feed)) = self.books.get(listing.index()) else { return };
        if !shadow.stands_at(feed.last()) {
            return;
        }
        let found = shadow.compare(feed.book(), feed.reach());
        let Some((_, shadow)) = self.shadow.take() else { return };
        let (proof, last) = (feed.proof(), feed.last());
        let failed = matches!(found, Comparison::Different { .. });
        if failed {
            self.counts.verification_failures_total += 1;
        } else {
            self.counts.verified_total += 1;
        }
        if found == (Comparison::Equal { unknown_count: 0 }) {
            return;
        }
        let header = Header { sequence_first: last, sequence_last: last, ..*header };
        let (book, reach) = shadow.into_book();
        if book.is_crossed() {
            // An update that the shadow joined lied about its number: neither of the two can be trusted.
            return self.give_up_unverified(&header, listing);
        }
        if failed {
            let body = Body::BookState {
                status: BookStatus::Suspect,
                proof,
                reason: BookReason::VerificationFailed,
            };
            self.publish(Event { header, body });
        }
        // The shadow is newer from its snapshot on and knows at least as much: it takes the live book's place.
        if let Some(Some(feed)) = self.books.get_mut(listing.index()) {
            feed.adopt(book, reach);
        }
        self.publish_book(&header, listing, Flags::default(), failed.then_some(BookReason::Joined));
    }
}
