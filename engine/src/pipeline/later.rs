//! Work that a message leaves for the turns after: large books are published one ring at a time, and updates that waited for a
//! snapshot are applied a few at a time.
//!
//! A book of 10,000 levels a side is 3,334 parts for each ring; the books of a line that is lost, or of a connection with a hole,
//! all change hands with one frame. Measured by levels, not by time, so that the same input gives the same turns. What each
//! stream is sent, and in which order, does not depend on it: whatever would change a book or add to its stream before all of
//! it is out [finishes](Pipeline::finish_publishing) it first, and whoever hands over frames
//! [waits](Pipeline::has_work_left) until there is nothing left.

use std::collections::VecDeque;

use super::Pipeline;
use super::book::fill;
use crate::event::{Body, BookReason, BookStatus, Event, Flags, Header, Parts};
use crate::ids::Listing;
use crate::probe::Probe;
use crate::time::ReceiveTime;
use crate::venue::Venue;

/// Levels that are given to rings in one turn before the rest is left to the next; the book that reaches it is given to its ring
/// whole. 8,192 levels take some 70 us, and a book of 10,000 a side twice that.
const LEVELS_PER_TURN: usize = 8_192;
/// What an update that waited counts as, in levels: 64 of them a turn.
const LEVELS_PER_UPDATE: usize = LEVELS_PER_TURN / 64;

/// A book of which some rings, or the updates that waited for it, have yet to have their turn.
#[derive(Debug)]
struct Left {
    listing: Listing,
    header: Header,
    marks: Flags,
    /// What is said behind it.
    state: Option<BookReason>,
    /// The depth whose turn it is, in the order of [`Views::depths`](super::book::Views::depths), and the first of its routes
    /// that has not got it.
    depth: usize,
    route: usize,
    /// The parts of that depth are there.
    is_built: bool,
    /// It is out, and what is said behind it.
    is_published: bool,
    /// Updates waited for it.
    is_awaited: bool,
}

impl Left {
    fn of(listing: Listing) -> Self {
        Self {
            listing,
            header: Header::default(),
            marks: Flags::default(),
            state: None,
            depth: 0,
            route: 0,
            is_built: false,
            is_published: false,
            is_awaited: false,
        }
    }
}

/// What is left, oldest first.
#[derive(Debug, Default)]
pub(super) struct Later {
    /// Nothing is ever left where nobody goes on with it.
    is_on: bool,
    queue: VecDeque<Left>,
    /// The book of the first, for the rings that have yet to get it.
    parts: Vec<Event>,
    /// Levels given to rings since the last flush.
    levels: usize,
}

impl Later {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// When the oldest of what is not out was received.
    pub fn oldest(&self) -> Option<ReceiveTime> {
        self.queue.iter().filter(|left| !left.is_published).map(|left| left.header.receive_time).min()
    }

    fn has(&self, listing: Listing) -> bool {
        self.queue.iter().any(|left| left.listing == listing)
    }

    /// A turn has ended.
    #[inline]
    pub const fn flushed(&mut self) {
        self.levels = 0;
    }

    /// Makes room for one book of each instrument, and one more that was finished out of turn.
    pub fn reserve(&mut self, listings: usize) {
        self.queue.reserve((2 * listings).saturating_sub(self.queue.len()));
    }
}

impl<V: Venue> Pipeline<V> {
    /// From now on a turn that would be long leaves work: the caller looks at [`has_work_left`](Self::has_work_left).
    pub fn work_in_turns(&mut self) {
        self.later.is_on = true;
        let reserve = self.options.book_reserve;
        self.later.parts.reserve(crate::event::book_parts(reserve, reserve));
    }

    /// Whether a turn has left work: hand over no frame before [`go_on`](Self::go_on) has done it.
    #[inline]
    pub fn has_work_left(&self) -> bool {
        !self.later.is_empty()
    }

    /// Does one turn's part of what is left.
    #[cold]
    pub fn go_on(&mut self, probe: &mut impl Probe) {
        let mut levels = 0;
        while levels < LEVELS_PER_TURN
            && let Some(left) = self.later.queue.front()
        {
            if !left.is_published {
                levels += self.publish_next();
                continue;
            }
            let Some(left) = self.later.queue.pop_front() else { return };
            if left.is_awaited {
                let updates_max = (LEVELS_PER_TURN - levels).div_ceil(LEVELS_PER_UPDATE);
                let updates = self.apply_waiting(left.listing, updates_max, probe);
                levels += updates * LEVELS_PER_UPDATE;
                if updates == updates_max {
                    self.later.queue.push_front(left);
                }
            }
        }
    }

    /// Publishes all of a book, and `state` behind it. Returns whether that is left for later, because this turn has had enough.
    pub(super) fn publish_book(
        &mut self,
        header: &Header,
        listing: Listing,
        marks: Flags,
        state: Option<BookReason>,
    ) -> bool {
        self.finish_publishing(listing);
        self.follow_routes(listing, header.stream);
        if self.later.is_on {
            self.later.levels += self.levels_of(header, listing);
            if self.later.levels > LEVELS_PER_TURN {
                let left = Left { header: *header, marks, state, ..Left::of(listing) };
                self.later.queue.push_back(left);
                self.counts.books_in_turns_total += 1;
                return true;
            }
        }
        self.publish_whole(header, listing, marks);
        if let Some(reason) = state {
            self.publish_state(header, listing, reason);
        }
        false
    }

    /// Publishes a book that a snapshot has replaced, and applies the updates that waited for it.
    pub(super) fn publish_replaced(&mut self, header: &Header, listing: Listing, probe: &mut impl Probe) {
        let is_proved = self.book_of(listing).is_some_and(|feed| feed.status() == BookStatus::Proved);
        let state = is_proved.then_some(BookReason::Joined);
        if !self.publish_book(header, listing, Flags::default(), state) {
            self.apply_awaited(listing, probe);
        } else if let Some(left) = self.later.queue.back_mut() {
            left.is_awaited = true;
        }
    }

    /// Applies the updates that waited, as many as this turn may.
    pub(super) fn apply_awaited(&mut self, listing: Listing, probe: &mut impl Probe) {
        if !self.later.is_on {
            self.apply_waiting(listing, usize::MAX, probe);
            return;
        }
        let updates_max = LEVELS_PER_TURN.saturating_sub(self.later.levels).div_ceil(LEVELS_PER_UPDATE);
        let updates = self.apply_waiting(listing, updates_max, probe);
        self.later.levels += updates * LEVELS_PER_UPDATE;
        if updates == updates_max && self.book_of(listing).is_some_and(|feed| feed.waiting() > 0) {
            let left = Left { is_published: true, is_awaited: true, ..Left::of(listing) };
            self.later.queue.push_back(left);
        }
    }

    /// Levels that a book is for all its rings together.
    fn levels_of(&self, header: &Header, listing: Listing) -> usize {
        let Some(feed) = self.book_of(listing) else { return 0 };
        let routes = self.dispatcher.routing.of(header.stream).iter();
        let (bids, asks) = (feed.book().bids.len(), feed.book().asks.len());
        routes.map(|route| bids.min(route.book_depth) + asks.min(route.book_depth)).sum()
    }

    /// Gives the first of what is left to one more ring. Returns how many levels that were.
    fn publish_next(&mut self) -> usize {
        let Self { books, views, dispatcher, later, bids, asks, .. } = self;
        let Some(left) = later.queue.front_mut() else { return 0 };
        let feed = books.get(left.listing.index()).and_then(Option::as_ref);
        let depth = views.get(left.listing.index()).and_then(|views| views.depths().nth(left.depth));
        if let (Some(feed), Some(depth)) = (feed, depth) {
            if !left.is_built {
                let version = dispatcher.routing.version();
                let decimals = feed.book().decimals();
                let header = Header { decimals, routing_version: version, ..left.header };
                feed.book().copy_best(depth, bids, asks);
                later.parts.clear();
                let levels = Parts::new(bids, asks, feed.status(), feed.proof());
                fill(&mut later.parts, &header, levels, Body::BookSnapshot, left.marks);
                let shown = &mut views[left.listing.index()].depths;
                if let Some(view) = shown.iter_mut().find(|view| view.depth() == depth) {
                    view.reset(feed.book());
                }
                left.is_built = true;
            }
            return if let Some(next) = dispatcher.offer_next(depth, &later.parts, left.route) {
                left.route = next;
                later.parts.len() * crate::event::LEVELS_PER_PART
            } else {
                (left.depth, left.route, left.is_built) = (left.depth + 1, 0, false);
                0
            };
        }
        self.counts.events_total += 1;
        left.is_published = true;
        let (listing, header, state) = (left.listing, left.header, left.state);
        if let Some(reason) = state {
            self.publish_state(&header, listing, reason);
        }
        0
    }

    /// Publishes the rest of an instrument's book now: it is about to change, or something is to be said behind it.
    #[inline]
    pub(super) fn finish_publishing(&mut self, listing: Listing) {
        if !self.later.is_empty() {
            self.finish_listing(listing);
        }
    }

    #[cold]
    fn finish_listing(&mut self, listing: Listing) {
        while let Some(at) =
            self.later.queue.iter().position(|left| left.listing == listing && !left.is_published)
        {
            if at > 0 {
                // The parts are those of another.
                self.later.queue[0].is_built = false;
                self.later.queue.swap(0, at);
            }
            self.publish_next();
        }
    }

    /// As [`finish_publishing`](Self::finish_publishing), and applies what waited: a message of the instrument has come.
    #[inline]
    pub(super) fn finish_left(&mut self, listing: Listing, probe: &mut impl Probe) {
        if !self.later.is_empty() && self.later.has(listing) {
            self.finish_one(listing, probe);
        }
    }

    #[cold]
    fn finish_one(&mut self, listing: Listing, probe: &mut impl Probe) {
        self.finish_listing(listing);
        let mut is_awaited = false;
        self.later.queue.retain(|left| {
            is_awaited |= left.listing == listing && left.is_awaited;
            left.listing != listing
        });
        if is_awaited {
            self.apply_waiting(listing, usize::MAX, probe);
        }
    }

    /// Publishes the rest of all books that are left: the routes are about to change, or it is the end.
    #[cold]
    pub fn finish_books(&mut self) {
        while let Some(left) = self.later.queue.iter().find(|left| !left.is_published) {
            self.finish_listing(left.listing);
        }
    }
}
