//! Kraken Spot: WebSocket v2 market data and public REST.
//!
//! Prices and quantities are bare JSON numbers whose digits count (the checksum covers them), so nothing here may pass
//! through a float: the scanner reads the text, and the general decoder works on a copy whose numbers are quoted. The
//! quirks, with their sources, are in this folder's README. Orders and the private channels are not here.

pub mod checksum;
mod decode;
#[cfg(test)]
mod replay_tests;
mod rest;
mod scanner;
mod subscribe;
mod symbols;
#[cfg(test)]
mod tests;

use crate::book::BookRule;
use crate::channel::Channel;
use crate::directory::Directory;
use crate::ids::{Listing, StreamId};
use crate::json::{Tape, quote_numbers};
use crate::raw::{DecodeError, Decoded, Notice, Raw};
use crate::venue::{ConnectionLimits, Endpoints, Fallbacks, RestRequest, SequenceRule, Venue};

use self::subscribe::Method;
use self::symbols::Pairs;

/// Book depths that the venue offers, in levels a side. Another one shows only in the venue's answer.
///
/// Source: docs.kraken.com, `book` channel of WebSocket v2, 2026-05-27.
pub const DEPTHS: [u16; 5] = [10, 25, 100, 500, 1000];

/// The venue offers no such book depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Kraken has no book of depth {0}; one of 10, 25, 100, 500, 1000")]
pub struct UnknownDepth(pub u16);

/// The protocol of Kraken Spot for one connection or one replay.
#[derive(Debug)]
pub struct Kraken {
    depth: u16,
    tape: Tape,
    /// Copy of the frame under the general decoder, numbers quoted.
    quoted: Vec<u8>,
    pairs: Pairs,
    fallbacks: Fallbacks,
}

impl Default for Kraken {
    /// With the venue's own default depth, 10.
    fn default() -> Self {
        Self {
            depth: DEPTHS[0],
            tape: Tape::with_capacity(QUOTED_BYTES),
            quoted: Vec::with_capacity(QUOTED_BYTES),
            pairs: Pairs::default(),
            fallbacks: Fallbacks::default(),
        }
    }
}

/// Room for a frame with quoted numbers: a book snapshot of depth 1000 has 2,000 levels of about 45 bytes.
const QUOTED_BYTES: usize = 2_000 * 48;

impl Kraken {
    /// With book subscriptions of `depth` levels a side.
    ///
    /// # Errors
    /// [`UnknownDepth`] if it is none of [`DEPTHS`].
    pub fn new(depth: u16) -> Result<Self, UnknownDepth> {
        if DEPTHS.contains(&depth) { Ok(Self { depth, ..Self::default() }) } else { Err(UnknownDepth(depth)) }
    }

    /// Levels a side that it subscribes to. What was granted stands in the venue's answer.
    pub const fn depth(&self) -> u16 {
        self.depth
    }

    /// Decodes by the general decoder alone.
    #[inline(never)]
    fn decode_by_tape(
        &mut self,
        frame: &[u8],
        directory: &mut Directory,
        raw: &mut Raw,
    ) -> Result<Decoded, DecodeError> {
        quote_numbers(frame, &mut self.quoted)?;
        let parsed = self.tape.parse(&mut self.quoted)?;
        decode::Decoder { directory, pairs: &mut self.pairs, raw }.frame(parsed.root())
    }
}

impl Venue for Kraken {
    type Progress = ();

    fn name(&self) -> &'static str {
        "kraken"
    }

    /// Sources: docs.kraken.com, WebSocket v2 and rate limit guides, 2026-05-27; what is marked ours, the venue does not
    /// publish.
    fn limits(&self) -> ConnectionLimits {
        ConnectionLimits {
            // Ours: 100 instruments with five channels each.
            streams_max: 500,
            // Ours: the venue's limit is dynamic and unpublished; its error is "Exceeded msg rate".
            messages_per_s_max: 10,
            // Ours: see `STREAMS_PER_MESSAGE_MAX`.
            message_bytes_max: 4_096,
            streams_per_message_max: subscribe::STREAMS_PER_MESSAGE_MAX,
            age_s_max: 0,
            // A heartbeat comes every second in which nothing else does, once anything is subscribed.
            silence_ms_max: 10_000,
            // The venue closes a connection without activity after about a minute and asks for a ping every 15-30 s.
            ping_every_ms: 15_000,
            // About 150 in a rolling ten minutes, then a ban of ten minutes.
            connects_max: 150,
            connects_window_s: 600,
            // About one public call a second for one address; calls have no weights.
            rest_weight_max: 10,
            rest_window_s: 10,
        }
    }

    fn live(&self) -> Endpoints {
        Endpoints { websocket: "wss://ws.kraken.com", rest: "https://api.kraken.com" }
    }

    /// None: the beta host matches real orders, and has no REST.
    fn testnet(&self) -> Option<Endpoints> {
        None
    }

    fn websocket_path(&self) -> String {
        "/v2".to_owned()
    }

    fn venue_symbol(&self, symbol: &str) -> String {
        symbols::from_canonical(symbol)
    }

    fn supports(&self, channel: Channel) -> Result<(), &'static str> {
        subscribe::supports(channel)
    }

    fn sequence_rule(&self, channel: Channel) -> SequenceRule {
        if channel.is_trade() { SequenceRule::Contiguous } else { SequenceRule::Arrival }
    }

    fn book_rule(&self) -> BookRule {
        BookRule::StreamSnapshotChecksum
    }

    fn checksum(&self) -> Option<crate::book::Checksum> {
        Some(|book, digits| checksum::checksum(book.asks.iter(), book.bids.iter(), digits))
    }

    /// The `instrument` channel tells when a pair is not traded any more. Its snapshot of all pairs is not asked for: the list
    /// comes by REST. Source: docs.kraken.com, `instrument` channel, 2026-05-27.
    fn greeting(&self, index: usize, text: &mut Vec<u8>) -> bool {
        if index > 0 {
            return false;
        }
        text.extend_from_slice(
            br#"{"method":"subscribe","params":{"channel":"instrument","snapshot":false},"req_id":0}"#,
        );
        true
    }

    fn subscribe(
        &self,
        directory: &Directory,
        streams: &[StreamId],
        request: u64,
        text: &mut Vec<u8>,
    ) -> usize {
        subscribe::message(Method::Subscribe, self.depth, directory, streams, request, text)
    }

    fn unsubscribe(
        &self,
        directory: &Directory,
        streams: &[StreamId],
        request: u64,
        text: &mut Vec<u8>,
    ) -> usize {
        subscribe::message(Method::Unsubscribe, self.depth, directory, streams, request, text)
    }

    fn ping(&self, request: u64, text: &mut Vec<u8>) {
        subscribe::ping(request, text);
    }

    fn instruments_request(&self) -> RestRequest {
        rest::instruments_request()
    }

    fn instrument_request(&self, directory: &Directory, listing: Listing) -> Option<RestRequest> {
        Some(rest::instrument_request(directory, listing))
    }

    fn is_unknown_instrument(&self, reason: &str) -> bool {
        reason.contains(rest::UNKNOWN_PAIR)
    }

    fn snapshot_request(&self, directory: &Directory, listing: Listing, depth: usize) -> Option<RestRequest> {
        Some(rest::snapshot_request(directory, listing, depth))
    }

    fn trades_request(&self, directory: &Directory, listing: Listing, _: u64, _: u64) -> Option<RestRequest> {
        Some(rest::trades_request(directory, listing))
    }

    #[inline]
    fn decode(
        &mut self,
        frame: &mut [u8],
        directory: &mut Directory,
        raw: &mut Raw,
    ) -> Result<Decoded, DecodeError> {
        if frame == decode::HEARTBEAT {
            return Ok(Decoded::Notice(Notice::Heartbeat));
        }
        if scanner::scan(frame, directory, raw).is_some() {
            self.fallbacks.hot_frames += 1;
            self.fallbacks.scanned_frames += 1;
            return Ok(Decoded::Data);
        }
        raw.messages.clear();
        raw.bids.clear();
        raw.asks.clear();
        let decoded = self.decode_by_tape(frame, directory, raw)?;
        self.fallbacks.hot_frames += u64::from(decode::is_hot(raw));
        Ok(decoded)
    }

    fn decode_rest(
        &mut self,
        path: &str,
        body: &mut [u8],
        directory: &mut Directory,
        raw: &mut Raw,
    ) -> Result<Decoded, DecodeError> {
        quote_numbers(body, &mut self.quoted)?;
        let parsed = self.tape.parse(&mut self.quoted)?;
        rest::Answer { directory, pairs: &mut self.pairs, raw }.decode(path, parsed.root())
    }

    fn fallbacks(&self) -> Fallbacks {
        self.fallbacks
    }
}
