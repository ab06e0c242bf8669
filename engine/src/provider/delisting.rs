//! Instruments that the venue ceases to trade while we listen: their streams end, and nobody else's.
//!
//! Three signs lead here. The venue says so itself (Kraken's `instrument` channel); a subscription is refused; or a stream
//! falls silent. The last two only raise the question, which the venue answers by REST: an instrument that it does not know,
//! in [`UNKNOWN_COUNT`] answers, or calls delisted, is gone. A halt is none of this: its streams stay.

use super::rest::Purpose;
use super::{Happening, Provider};
use crate::ids::Listing;
use crate::raw::Notice;
use crate::time::ReceiveTime;
use crate::venue::Venue;

/// Answers in a row that do not know an instrument, before that is believed.
const UNKNOWN_COUNT: u32 = 2;
/// Between two questions about one instrument, in nanoseconds.
const QUESTION_NS_MIN: u64 = 60_000_000_000;

/// What is known of one instrument's end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    asked_at: Option<ReceiveTime>,
    unknown_count: u32,
    ended: bool,
    was_halted: bool,
}

impl<V: Venue> Provider<V> {
    fn standing(&mut self, listing: Listing) -> &mut Standing {
        if self.standings.len() <= listing.index() {
            self.standings.resize(listing.index() + 1, Standing::default());
        }
        &mut self.standings[listing.index()]
    }

    /// Asks the venue for the facts of an instrument, unless that was done lately.
    pub(super) fn ask_about(&mut self, listing: Listing, now: ReceiveTime) {
        let standing = *self.standing(listing);
        let lately = standing.asked_at.is_some_and(|asked| now.since_ns(asked) < QUESTION_NS_MIN);
        if standing.ended || lately {
            return;
        }
        if let Some(request) = self.pipeline.venue.instrument_request(&self.pipeline.directory, listing) {
            self.standing(listing).asked_at = Some(now);
            self.rest.ask(Purpose::Instrument(listing), request, now);
        }
    }

    /// The venue does not know the instrument. Returns whether it should be asked once more.
    pub(super) fn unknown_at_venue(&mut self, listing: Listing, now: ReceiveTime) -> bool {
        let standing = self.standing(listing);
        standing.unknown_count += 1;
        if standing.unknown_count < UNKNOWN_COUNT {
            return true;
        }
        self.delist(listing, now);
        false
    }

    /// The venue knows the instrument.
    pub(super) fn known_at_venue(&mut self, listing: Listing) {
        self.standing(listing).unknown_count = 0;
    }

    /// The venue has told facts about instruments: looks for those that are traded no more.
    pub(super) fn look_for_delisted(&mut self, now: ReceiveTime) {
        for index in 0..self.pipeline.directory.instruments().len() {
            let listing = Listing(index as u16);
            let instrument = self.pipeline.directory.instrument(listing);
            let (trading, delisted) = (instrument.trading, instrument.delisted);
            if delisted {
                self.delist(listing, now);
                continue;
            }
            let was_heard = self.pipeline.was_heard(listing);
            let standing = self.standing(listing);
            if was_heard && standing.was_halted == trading {
                standing.was_halted = !trading;
                let symbol = self.pipeline.directory.instrument(listing).symbol.clone();
                self.happened(Happening::Halted { symbol, halted: !trading });
            }
        }
    }

    /// What the connection's business says about instruments.
    pub(super) fn notice_of_instruments(&mut self, notice: &Notice, now: ReceiveTime) {
        if matches!(notice, Notice::Skipped("instrument")) {
            self.look_for_delisted(now);
        }
    }

    /// Ends the streams of an instrument. One that was never heard is not delisted: it is unlisted, which was said already.
    #[cold]
    fn delist(&mut self, listing: Listing, now: ReceiveTime) {
        if self.standing(listing).ended || !self.pipeline.was_heard(listing) {
            return;
        }
        self.standing(listing).ended = true;
        let streams = self.pipeline.delist(listing, now);
        for &stream in &streams {
            self.resyncs.forget(stream);
            if let Some(carried) = self.carried.get_mut(stream.index()) {
                *carried = false;
            }
            for connection in &mut self.connections {
                if connection.streams().contains(&stream) {
                    connection.change(false, stream, now);
                }
            }
        }
        let instrument = self.pipeline.directory.instrument_mut(listing);
        instrument.trading = false;
        let (symbol, venue_symbol) = (instrument.symbol.clone(), instrument.venue_symbol.clone());
        self.happened(Happening::Delisted { symbol, venue_symbol, streams: streams.len() });
    }

    /// A stream of the instrument is wanted again.
    pub(super) fn wanted_again(&mut self, listing: Listing) {
        *self.standing(listing) = Standing::default();
        self.pipeline.directory.instrument_mut(listing).delisted = false;
    }
}
