//! What the engine asks of a venue, and the list of venues.
//!
//! A venue is one folder: its wire format to our types and back. It knows no socket, no ring and no consumer; it
//! states its rules (how a book joins its snapshot, which numbers must follow which) and the engine applies them.

pub mod binance;
pub mod coinbase;
pub mod kraken;

use crate::book::BookRule;
use crate::directory::Directory;
use crate::ids::{Listing, StreamId};
use crate::raw::{DecodeError, Decoded, Raw};

/// How the numbers of a stream follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceRule {
    /// Each number is the last one plus one: trade ids.
    Contiguous,
    /// Numbers grow; jumps mean nothing: `bookTicker` update ids.
    Monotonic,
    /// The venue gives none; arrival is the order.
    Arrival,
}

/// A GET that the venue's REST interface answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestRequest {
    /// Path and query, for example `/api/v3/depth?symbol=BTCUSDT&limit=1000`. The answer is decoded by it.
    pub path: String,
    /// What it costs of the venue's limit, in the venue's units.
    pub weight: u32,
}

/// What a venue asks of one connection. Each venue states the source of its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Streams that one connection may carry.
    pub streams_max: usize,
    /// Messages that a client may send in one second, pings and pongs included.
    pub messages_per_s_max: u32,
    /// Bytes of a message that a client may send.
    pub message_bytes_max: usize,
    /// Streams that one subscription message may name.
    pub streams_per_message_max: usize,
    /// Age at which the venue closes a connection, in seconds; 0 if it does not.
    pub age_s_max: u64,
    /// Silence after which a connection is dead: the venue pings or beats more often than this. In milliseconds.
    pub silence_ms_max: u64,
    /// How often the client must send an application ping, in milliseconds; 0 if the venue pings.
    pub ping_every_ms: u64,
    /// New connections that one address may open within `connects_window_s`.
    pub connects_max: u32,
    /// See `connects_max`.
    pub connects_window_s: u64,
    /// REST weight (or calls, where the venue counts calls) that one address may use within `rest_window_s`.
    pub rest_weight_max: u32,
    /// See `rest_weight_max`.
    pub rest_window_s: u64,
}

/// Where a venue is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// WebSocket URL up to and without the path, for example `wss://stream.binance.com:9443`.
    pub websocket: &'static str,
    /// REST URL up to and without the path.
    pub rest: &'static str,
}

/// A venue's protocol. One value serves one provider, with all its connections, or one replay.
pub trait Venue {
    /// What is kept of a frame or a body between two of its pieces; `()` where both are always decoded whole.
    type Progress: Default + std::fmt::Debug;

    /// The name in `topology.yaml`, metrics and errors.
    fn name(&self) -> &'static str;

    /// The venue's limits for a connection and for REST.
    fn limits(&self) -> ConnectionLimits;

    /// Real endpoints.
    fn live(&self) -> Endpoints;

    /// The venue's test endpoints, if it has any.
    fn testnet(&self) -> Option<Endpoints>;

    /// Path and query of the WebSocket upgrade.
    fn websocket_path(&self) -> String;

    /// The venue's spelling of a canonical symbol where that needs no list (`BTC-USDT` to `BTCUSDT`).
    fn venue_symbol(&self, symbol: &str) -> String;

    /// Whether the venue carries `channel`; if not, which it carries instead, for the error message.
    ///
    /// # Errors
    /// What would fit.
    fn supports(&self, channel: crate::channel::Channel) -> Result<(), &'static str>;

    /// All streams of ours that a connection carries, as the last [`Notice::Carried`](crate::raw::Notice::Carried) said.
    fn carried(&self) -> &[StreamId] {
        &[]
    }

    /// How the numbers of a stream that is no book follow one another.
    fn sequence_rule(&self, channel: crate::channel::Channel) -> SequenceRule;

    /// How its books are made and checked.
    fn book_rule(&self) -> BookRule;

    /// The venue's checksum of a book, where it sends one.
    fn checksum(&self) -> Option<crate::book::Checksum> {
        None
    }

    /// Writes the text of the message number `index`, from 0, that a new connection sends before its subscriptions;
    /// `false` if there is none of that number.
    fn greeting(&self, _index: usize, _text: &mut Vec<u8>) -> bool {
        false
    }

    /// Writes the text of one message that subscribes some of `streams` (from the front) and returns how many it
    /// named: as many as one message may.
    fn subscribe(
        &self,
        directory: &Directory,
        streams: &[StreamId],
        request: u64,
        text: &mut Vec<u8>,
    ) -> usize;

    /// As [`subscribe`](Self::subscribe), to end them.
    fn unsubscribe(
        &self,
        directory: &Directory,
        streams: &[StreamId],
        request: u64,
        text: &mut Vec<u8>,
    ) -> usize;

    /// Writes the application-level ping, where the venue wants one.
    fn ping(&self, request: u64, text: &mut Vec<u8>);

    /// The request for the instrument list.
    fn instruments_request(&self) -> RestRequest;

    /// The request for the facts of one instrument, where the venue offers it. An answer 400 or 404, or a refusal that
    /// [says so](Self::is_unknown_instrument), means that there is no such instrument.
    fn instrument_request(&self, _directory: &Directory, _listing: Listing) -> Option<RestRequest> {
        None
    }

    /// Whether a refusal, in an answer of status 200, says that there is no such instrument. Others may be about our pace.
    fn is_unknown_instrument(&self, _reason: &str) -> bool {
        false
    }

    /// The request for a book snapshot of at least `depth` levels a side (or the most the venue has), where the venue
    /// offers one.
    fn snapshot_request(&self, directory: &Directory, listing: Listing, depth: usize) -> Option<RestRequest>;

    /// The request for trades `from..=to` (at most what one answer holds, from `from` on), where the venue offers it.
    fn trades_request(
        &self,
        directory: &Directory,
        listing: Listing,
        from: u64,
        to: u64,
    ) -> Option<RestRequest>;

    /// Decodes one text frame into `raw`, which is empty. The frame's bytes may be changed.
    ///
    /// # Errors
    /// [`DecodeError`]. Never panics, whatever the bytes are. `raw` may then hold anything.
    fn decode(
        &mut self,
        frame: &mut [u8],
        directory: &mut Directory,
        raw: &mut Raw,
    ) -> Result<Decoded, DecodeError>;

    /// As [`decode`](Self::decode), for frames too long for one turn (a snapshot of megabytes): reads at most about
    /// `bytes_max` bytes more and answers `None` while the frame has not ended.
    ///
    /// Until then each call is given the same frame, `raw` and `progress`, untouched. The first call of a frame has an
    /// empty `raw` and a default `progress`; other frames may be decoded in between, with those of their own.
    ///
    /// # Errors
    /// As [`decode`](Self::decode). A frame that the scanner cannot read is decoded whole, in one call.
    fn decode_piece(
        &mut self,
        frame: &mut [u8],
        directory: &mut Directory,
        raw: &mut Raw,
        _progress: &mut Self::Progress,
        _bytes_max: usize,
    ) -> Result<Option<Decoded>, DecodeError> {
        self.decode(frame, directory, raw).map(Some)
    }

    /// What the first bytes of a frame say that is longer than we take: whose it is, so that nobody else suffers.
    fn decode_head(&self, _head: &[u8], _directory: &Directory) -> Head {
        Head::default()
    }

    /// Decodes the body of the answer to a GET of `path` into `raw` (book snapshot, trades) or into the directory
    /// (instrument list: canonical symbol, decimals, filters, trading or not, for those listed; an open directory
    /// lists none of it but takes the facts of symbols that appear later).
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    fn decode_rest(
        &mut self,
        path: &str,
        body: &mut [u8],
        directory: &mut Directory,
        raw: &mut Raw,
    ) -> Result<Decoded, DecodeError>;

    /// As [`decode_rest`](Self::decode_rest), for bodies too long for one turn, by the rules of
    /// [`decode_piece`](Self::decode_piece).
    ///
    /// # Errors
    /// As [`decode_rest`](Self::decode_rest). A body that the scanner cannot read is decoded whole, in one call.
    fn decode_rest_piece(
        &mut self,
        path: &str,
        body: &mut [u8],
        directory: &mut Directory,
        raw: &mut Raw,
        _progress: &mut Self::Progress,
        _bytes_max: usize,
    ) -> Result<Option<Decoded>, DecodeError> {
        self.decode_rest(path, body, directory, raw).map(Some)
    }

    /// Frames that the scanner could not read and the general decoder took over, and all that were tried: nobody
    /// falls back unseen.
    fn fallbacks(&self) -> Fallbacks;
}

/// What is known of a frame that was not read whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Number of the frame on its connection, where the venue counts frames.
    pub connection_sequence: Option<u64>,
    /// The instrument whose book it is for.
    pub listing: Option<Listing>,
}

/// How often each of a venue's two decoders was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fallbacks {
    /// Frames of hot shapes (data of a channel that has a scanner).
    pub hot_frames: u64,
    /// Those of them that the scanner read.
    pub scanned_frames: u64,
}
