//! What the pipeline wants fetched, and what becomes of the venue's answers.

use super::rest::Purpose;
use super::resync::Again;
use super::{Happening, PIECE_BYTES_MAX, Provider, RestId};
use crate::ids::{Listing, StreamId};
use crate::pipeline::{FrameOutcome, Want};
use crate::probe::Probe;
use crate::raw::Notice;
use crate::time::ReceiveTime;
use crate::venue::{RestRequest, Venue};

impl<V: Venue> Provider<V> {
    pub(super) fn want(&mut self, want: Want, now: ReceiveTime) {
        match want {
            Want::Snapshot(listing) => {
                let levels = self.options.snapshot_levels;
                let request = self.pipeline.venue.snapshot_request(&self.pipeline.directory, listing, levels);
                if let Some(request) = request {
                    self.rest.ask(Purpose::Snapshot(listing), request, now);
                }
            }
            // A line that is gone subscribes all anew when it is back; nothing has failed.
            Want::Resubscribe(stream, line) if !self.is_live_on(stream, line) => {}
            Want::Resubscribe(stream, line) => {
                let again = self.resyncs.broke(stream, line, now);
                if again.is_hopeless() {
                    self.give_time(stream, again, now);
                } else {
                    self.resubscribe(stream, line);
                }
            }
            Want::Trades { stream, from, to } => {
                let listing = self.pipeline.directory.carries(stream).listing;
                let request = self.pipeline.venue.trades_request(&self.pipeline.directory, listing, from, to);
                match request {
                    Some(request) => self.rest.ask(Purpose::Trades(stream), request, now),
                    None => self.pipeline.trades_filled(stream),
                }
            }
        }
    }

    /// A book broke again and again: it says so, and what we know of the instrument is doubted. A checksum that never fits
    /// may be one over digits that the venue's precision has changed.
    #[cold]
    fn give_time(&mut self, stream: StreamId, again: Again, now: ReceiveTime) {
        self.pipeline.mark_unprovable(stream, now);
        let listing = self.pipeline.directory.carries(stream).listing;
        let request = self.pipeline.venue.instrument_request(&self.pipeline.directory, listing);
        if let Some(request) = request {
            self.rest.ask(Purpose::Instrument(listing), request, now);
        }
        let (name, pause_s) = (self.stream_name(stream), again.pause_ns / 1_000_000_000);
        self.happened(Happening::Unprovable { stream: name, failures: again.failures_in_a_row, pause_s });
    }

    /// The next REST request that may be sent now.
    pub fn poll_rest(&mut self, now: ReceiveTime) -> Option<(RestId, RestRequest)> {
        self.rest.next(now)
    }

    /// The venue answered a request. The body may be changed. Returns whether it is dealt with: a long body is read in pieces, so
    /// call again, with the same, in the next turn.
    #[must_use = "a long body is read in pieces"]
    pub fn rest_answered(
        &mut self,
        id: RestId,
        status: u16,
        retry_after_s: Option<u64>,
        body: &mut [u8],
        now: ReceiveTime,
        probe: &mut impl Probe,
    ) -> bool {
        let Some(path) = self.rest.path_of(id) else { return true };
        let mut outcome = None;
        if status == 200 {
            outcome = self.pipeline.rest_piece(path, body, PIECE_BYTES_MAX, now, probe);
            if outcome.is_none() {
                return false;
            }
        }
        self.answered(id, status, retry_after_s, body, outcome, now);
        true
    }

    /// An answer was read to its end; `outcome` is what came of a body of status 200.
    fn answered(
        &mut self,
        id: RestId,
        status: u16,
        retry_after_s: Option<u64>,
        body: &[u8],
        outcome: Option<FrameOutcome>,
        now: ReceiveTime,
    ) {
        let Some((purpose, request)) = self.rest.take(id) else { return };
        // A snapshot lets go of what waited for it, so slots may be free now.
        self.stalled_until = self.stalled_until.map(|_| now);
        if let Some(seconds) = self.rest.pause_for(status, retry_after_s, now) {
            self.happened(Happening::RestPaused { status, seconds });
        }
        if let (Purpose::Instrument(listing), 400 | 404) = (purpose, status) {
            return self.instrument_refused(listing, purpose, request, now);
        }
        let Some(outcome) = outcome else {
            let text = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
            self.rest_failed_for(purpose, request, format!("HTTP {status}: {text}"), now);
            return;
        };
        match outcome {
            FrameOutcome::Done => match purpose {
                // The book could not use it and wants another: not at once, or it would spend everybody's weight.
                Purpose::Snapshot(listing) if self.pipeline.snapshot_wanted(listing) => {
                    self.rest.unusable(purpose);
                }
                _ => self.rest.succeeded(purpose),
            },
            FrameOutcome::Notice(Notice::Refused { code, reason, .. }) => {
                if let Purpose::Instrument(listing) = purpose
                    && self.pipeline.venue.is_unknown_instrument(&reason)
                {
                    return self.instrument_refused(listing, purpose, request, now);
                }
                self.rest_failed_for(purpose, request, format!("{reason} ({code})"), now);
                return;
            }
            FrameOutcome::Notice(_) => {}
            FrameOutcome::Undecodable(error) => {
                self.rest_failed_for(purpose, request, error.to_string(), now);
                return;
            }
        }
        match purpose {
            Purpose::Instruments => {
                self.listed = true;
                self.lists_total += 1;
                self.name_unlisted();
                self.look_for_delisted(now);
            }
            Purpose::Instrument(listing) => {
                self.known_at_venue(listing);
                self.look_for_delisted(now);
            }
            Purpose::Trades(stream) => self.pipeline.trades_filled(stream),
            Purpose::LaterTrades(stream) => self.later_trades_came(stream, now),
            Purpose::Verification(listing) => self.compare_later(listing, now),
            Purpose::Snapshot(_) | Purpose::Top(_) => {}
        }
    }

    /// The venue does not know an instrument that it was asked about: it is asked once more, and then believed.
    fn instrument_refused(
        &mut self,
        listing: Listing,
        purpose: Purpose,
        request: RestRequest,
        now: ReceiveTime,
    ) {
        if self.unknown_at_venue(listing, now) {
            self.rest.again(purpose, request, now, &mut self.rng);
        } else {
            self.rest.succeeded(purpose);
        }
    }

    /// There is no answer to a request.
    pub fn rest_failed(&mut self, id: RestId, reason: String, now: ReceiveTime) {
        if let Some((purpose, request)) = self.rest.take(id) {
            self.rest_failed_for(purpose, request, reason, now);
        }
    }

    #[cold]
    fn rest_failed_for(&mut self, purpose: Purpose, request: RestRequest, reason: String, now: ReceiveTime) {
        let path = request.path.split('?').next().unwrap_or_default().to_owned();
        match purpose {
            // Not worth a second try: the next one comes in its time, and a hole in trades is declared.
            Purpose::Verification(listing) => {
                self.pipeline.end_verification(listing);
                self.rest.given_up();
                self.happened(Happening::RestFailed { path, reason });
                return;
            }
            Purpose::Top(listing) => {
                self.pipeline.end_top_check(listing);
                self.rest.given_up();
                self.happened(Happening::RestFailed { path, reason });
                return;
            }
            Purpose::LaterTrades(_) | Purpose::Instrument(_) => {
                self.rest.given_up();
                self.happened(Happening::RestFailed { path, reason });
                return;
            }
            Purpose::Trades(stream) => {
                self.pipeline.trades_filled(stream);
                self.rest.given_up();
                self.happened(Happening::RestFailed { path, reason });
                return;
            }
            Purpose::Instruments | Purpose::Snapshot(_) => {}
        }
        // Without a list the widest text sets each scale: the gateway works, so it does not wait for a second try.
        self.listed |= purpose == Purpose::Instruments;
        self.lists_failed_total += u64::from(purpose == Purpose::Instruments);
        self.rest.again(purpose, request, now, &mut self.rng);
        self.happened(Happening::RestFailed { path, reason });
    }
}
