//! Verification of a book whose venue gives no number to join a REST answer by: its best prices against the venue's.
//!
//! The rule. A sample begins with the best prices of our book and keeps the range of those that it has until
//! [`AFTER_NS`] after the answer; the question leaves [`BEFORE_NS`] after the beginning, since answers may be that old.
//! The sample agrees if the answer's best bid lies within the range of ours, and its best ask likewise: updates come in
//! batches, so a price of the moment may never have been sent, but one beyond all that we had is not explained by time. One
//! sample that agrees verifies the book. Only [`SAMPLES`] in a row that do not give it up.

use super::Pipeline;
use crate::book::Book;
use crate::book::BookFeed;
use crate::decimal::{Decimals, power_of_ten};
use crate::event::{BookReason, BookStatus, Level};
use crate::ids::{Listing, StreamId};
use crate::probe::Probe;
use crate::raw::{BookMessage, Message, Raw};
use crate::time::ReceiveTime;
use crate::venue::Venue;

/// Between the beginning of a sample and its question, in nanoseconds.
const BEFORE_NS: u64 = 1_000_000_000;
/// Between the answer and the comparison, in nanoseconds: what the answer knew may still be on its way to us.
const AFTER_NS: u64 = 2_000_000_000;
/// An answer that has not come by then never will, in nanoseconds.
const ANSWER_NS_MAX: u64 = 30_000_000_000;
/// Samples in a row that must disagree.
const SAMPLES: u32 = 3;

/// A price with as many digits behind the point as any can have.
type Wide = i128;

fn wide(level: Level, decimals: Decimals) -> Wide {
    Wide::from(level.price.0) * Wide::from(power_of_ten(18 - decimals.price.min(18)))
}

/// The best prices of one side over a while.
#[derive(Clone, Copy, Debug, Default)]
struct Range {
    low_high: Option<(Wide, Wide)>,
    /// The side was empty at times.
    empty: bool,
}

impl Range {
    fn add(&mut self, best: Option<Wide>) {
        match (best, &mut self.low_high) {
            (None, _) => self.empty = true,
            (Some(price), Some((low, high))) => (*low, *high) = (price.min(*low), price.max(*high)),
            (Some(price), none) => *none = Some((price, price)),
        }
    }

    fn has(&self, best: Option<Wide>) -> bool {
        match best {
            None => self.empty,
            Some(price) => self.low_high.is_some_and(|(low, high)| low <= price && price <= high),
        }
    }
}

/// What a sample waits for.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Its own past.
    Before { since: ReceiveTime },
    /// The answer.
    Asked { since: ReceiveTime },
    /// What the answer knew.
    After { since: ReceiveTime, bid: Option<Wide>, ask: Option<Wide> },
}

/// The verification of one book by its best prices.
#[derive(Debug)]
pub(super) struct TopCheck {
    listing: Listing,
    stream: StreamId,
    phase: Phase,
    bids: Range,
    asks: Range,
    disagreed_count: u32,
}

impl TopCheck {
    /// The book has changed.
    #[inline]
    fn note(&mut self, book: &Book) {
        let decimals = book.decimals();
        self.bids.add(book.bids.iter().next().map(|level| wide(*level, decimals)));
        self.asks.add(book.asks.iter().next().map(|level| wide(*level, decimals)));
    }

    fn begin_sample(&mut self, book: &Book, now: ReceiveTime) {
        self.phase = Phase::Before { since: now };
        (self.bids, self.asks) = (Range::default(), Range::default());
        self.note(book);
    }
}

impl<V: Venue> Pipeline<V> {
    /// Begins to verify a proved book by its best prices. Returns whether it can be, and none is being verified so.
    pub fn begin_top_check(&mut self, listing: Listing, now: ReceiveTime) -> bool {
        let stream = self.directory.streams_of(listing).find(|(channel, _)| channel.is_book());
        let (Some((_, stream)), Some(Some(feed))) = (stream, self.books.get(listing.index())) else {
            return false;
        };
        if self.top.is_some() || feed.snapshot_by_rest() || feed.status() != BookStatus::Proved {
            return false;
        }
        let phase = Phase::Before { since: now };
        let mut top = TopCheck {
            listing,
            stream,
            phase,
            bids: Range::default(),
            asks: Range::default(),
            disagreed_count: 0,
        };
        top.begin_sample(feed.book(), now);
        self.top = Some(top);
        true
    }

    /// Goes on with it: the instrument whose best prices are to be asked for now, if it is time.
    pub fn poll_top_check(&mut self, now: ReceiveTime, probe: &mut impl Probe) -> Option<Listing> {
        let top = self.top.as_mut()?;
        match top.phase {
            Phase::Before { since } if now.since_ns(since) >= BEFORE_NS => {
                top.phase = Phase::Asked { since: now };
                return Some(top.listing);
            }
            Phase::Asked { since } if now.since_ns(since) >= ANSWER_NS_MAX => self.top = None,
            Phase::After { since, bid, ask } if now.since_ns(since) >= AFTER_NS => {
                let agrees = top.bids.has(bid) && top.asks.has(ask);
                self.judge_top(agrees, now, probe);
            }
            _ => {}
        }
        None
    }

    /// When [`poll_top_check`](Self::poll_top_check) has something to do.
    pub fn top_check_deadline(&self) -> Option<ReceiveTime> {
        Some(match self.top.as_ref()?.phase {
            Phase::Before { since } => since.plus_ns(BEFORE_NS),
            Phase::Asked { since } => since.plus_ns(ANSWER_NS_MAX),
            Phase::After { since, .. } => since.plus_ns(AFTER_NS),
        })
    }

    /// The answer for a check by best prices will not come.
    pub fn end_top_check(&mut self, listing: Listing) {
        if self.top.as_ref().is_some_and(|top| top.listing == listing) {
            self.top = None;
        }
    }

    fn judge_top(&mut self, agrees: bool, now: ReceiveTime, probe: &mut impl Probe) {
        let Some(top) = &mut self.top else { return };
        let (listing, stream) = (top.listing, top.stream);
        if agrees {
            self.counts.verified_total += 1;
            self.top = None;
            return;
        }
        self.counts.top_disagreements_total += 1;
        top.disagreed_count += 1;
        if top.disagreed_count < SAMPLES {
            if let Some(Some(feed)) = self.books.get(listing.index()) {
                top.begin_sample(feed.book(), now);
            }
            return;
        }
        self.top = None;
        self.counts.verification_failures_total += 1;
        self.break_books_of(&[stream], BookReason::VerificationFailed, now, probe);
    }

    /// A book by REST of a venue whose books come in the stream: the answer to the question for the best prices.
    pub(super) fn take_top(&mut self, message: &Message, book: &BookMessage, raw: &Raw) {
        self.counts.stale_total += 1;
        if let Some(Some(feed)) = self.books.get_mut(message.listing.index()) {
            feed.counts.stale_total += 1;
        }
        let Some(top) = &mut self.top else { return };
        if top.listing == message.listing && matches!(top.phase, Phase::Asked { .. }) {
            // Whatever the order of the rows.
            let bid = raw.bids_of(book).iter().map(|level| wide(*level, message.decimals)).max();
            let ask = raw.asks_of(book).iter().map(|level| wide(*level, message.decimals)).min();
            top.phase = Phase::After { since: raw.receive_time, bid, ask };
        }
    }

    /// The book of `listing` has changed.
    #[inline]
    pub(super) fn note_top(&mut self, listing: Listing) {
        let Some(top) = &mut self.top else { return };
        if top.listing == listing
            && let Some(feed) = self.books.get(listing.index()).and_then(Option::<BookFeed>::as_ref)
        {
            top.note(feed.book());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_agrees_within_the_range_of_ours_and_not_beyond() {
        let mut range = Range::default();
        range.add(Some(100));
        range.add(Some(104));
        for (price, agrees) in [(99, false), (100, true), (102, true), (104, true), (105, false)] {
            assert_eq!(range.has(Some(price)), agrees, "{price}");
        }
        assert!(!range.has(None), "our side was never empty");
        range.add(None);
        assert!(range.has(None));
    }
}
