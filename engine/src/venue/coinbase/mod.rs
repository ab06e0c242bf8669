//! Coinbase: market data of Advanced Trade (`advanced-trade-ws`, `api/v3`) and of the Exchange feed (`ws-feed`).
//!
//! Two protocols over one matching engine: product ids, sides and times are alike, envelopes, numbers and limits are not.
//! The quirks, with their sources, are in this folder's README. Orders and the private channels are not here.

mod advanced;
mod build;
mod exchange;
mod rest;
mod subscribe;
mod symbols;
#[cfg(test)]
mod tests;

use self::advanced::Level2;
use self::exchange::Snapshot;
use self::subscribe::Wish;
use self::symbols::Products;
use crate::book::BookRule;
use crate::channel::Channel;
use crate::directory::Directory;
use crate::ids::{Listing, StreamId};
use crate::json::{Tape, Value};
use crate::raw::{DecodeError, Decoded, Notice, Raw};
use crate::venue::{ConnectionLimits, Endpoints, Fallbacks, Head, RestRequest, SequenceRule, Venue};

/// Which of the two protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Advanced Trade: numbered connections, `offer`, batches.
    Advanced,
    /// The Exchange feed: a message a frame, per-product sequences, books without numbers.
    Exchange,
}

/// The protocol of one product for one connection or one replay.
#[derive(Debug)]
pub struct Coinbase {
    product: Product,
    tape: Tape,
    products: Products,
    fallbacks: Fallbacks,
    /// Streams that the last list of subscriptions named.
    carried: Vec<StreamId>,
}

/// What is kept of a frame between two of its pieces.
#[derive(Debug, Default)]
pub enum Progress {
    /// Nothing of the frame was read.
    #[default]
    None,
    /// An `l2_data` frame of Advanced Trade.
    Advanced(Level2),
    /// A `snapshot` of Exchange.
    Exchange(Snapshot),
}

/// How far a scanner came.
#[derive(Debug)]
enum Scanned {
    /// To the end of the frame.
    Done(build::Scales),
    /// To the end of a piece of it.
    More(Progress),
}

impl Coinbase {
    /// The protocol of `product`.
    pub fn new(product: Product) -> Self {
        Self {
            product,
            tape: Tape::default(),
            products: Products::default(),
            fallbacks: Fallbacks::default(),
            carried: Vec::new(),
        }
    }

    /// Which product it is.
    pub const fn product(&self) -> Product {
        self.product
    }

    /// The scanner: `None` if it met anything unexpected.
    #[inline]
    fn scan(
        &mut self,
        frame: &[u8],
        directory: &mut Directory,
        raw: &mut Raw,
        progress: Progress,
        bytes_max: usize,
    ) -> Option<Scanned> {
        let products = &self.products;
        match progress {
            Progress::None => match self.product {
                Product::Advanced => advanced::scan(frame, products, directory, raw, bytes_max),
                Product::Exchange => exchange::scan(frame, products, directory, raw, bytes_max),
            },
            Progress::Advanced(level2) => {
                advanced::scan_on(frame, level2, products, directory, raw, bytes_max)
            }
            Progress::Exchange(snapshot) => exchange::scan_on(frame, snapshot, raw, bytes_max),
        }
    }

    /// The general decoder: everything but the hot shapes, and the name of every error.
    #[cold]
    fn walk(
        &mut self,
        frame: &mut [u8],
        directory: &mut Directory,
        raw: &mut Raw,
    ) -> (bool, Result<Decoded, DecodeError>) {
        build::forget(raw);
        let parsed = match self.tape.parse(frame) {
            Ok(parsed) => parsed,
            Err(error) => return (false, Err(error)),
        };
        let root = parsed.root();
        let (hot, decoded) = match self.product {
            Product::Advanced => advanced::walk(root, &self.products, directory, raw),
            Product::Exchange => exchange::walk(root, &self.products, directory, raw),
        };
        if let Ok(Decoded::Notice(Notice::Carried)) = decoded {
            self.carried.clear();
            // What of a list is not as documented is passed over.
            let _ = match self.product {
                Product::Advanced => advanced::carried(root, directory, &mut self.carried),
                Product::Exchange => exchange::carried(root, directory, &mut self.carried),
            };
        }
        (hot, decoded)
    }
}

impl Venue for Coinbase {
    type Progress = Progress;

    fn name(&self) -> &'static str {
        "coinbase"
    }

    fn carried(&self) -> &[StreamId] {
        &self.carried
    }

    /// Sources: docs.cdp.coinbase.com, Advanced Trade WebSocket rate limits (8 connections and 8 unauthenticated messages
    /// a second and address) and overview (heartbeats each second), 2026-07; Exchange rate limits (8 requests and 100
    /// messages a second and address on the feed, 10 requests a second on public REST), 2026-08. Advanced Trade's 10
    /// public REST calls a second are from an older page. What a connection carries and a message holds is not
    /// documented: those numbers are ours.
    fn limits(&self) -> ConnectionLimits {
        ConnectionLimits {
            streams_max: 1_000,
            messages_per_s_max: match self.product {
                Product::Advanced => 8,
                Product::Exchange => 100,
            },
            message_bytes_max: subscribe::MESSAGE_BYTES_MAX,
            streams_per_message_max: subscribe::STREAMS_PER_MESSAGE_MAX,
            age_s_max: 0,
            silence_ms_max: 5_000,
            ping_every_ms: 0,
            connects_max: 8,
            connects_window_s: 1,
            rest_weight_max: 10,
            rest_window_s: 1,
        }
    }

    fn live(&self) -> Endpoints {
        match self.product {
            Product::Advanced => Endpoints {
                websocket: "wss://advanced-trade-ws.coinbase.com",
                rest: "https://api.coinbase.com",
            },
            Product::Exchange => Endpoints {
                websocket: "wss://ws-feed.exchange.coinbase.com",
                rest: "https://api.exchange.coinbase.com",
            },
        }
    }

    /// Advanced Trade's sandbox gives canned answers and has no market data.
    fn testnet(&self) -> Option<Endpoints> {
        match self.product {
            Product::Advanced => None,
            Product::Exchange => Some(Endpoints {
                websocket: "wss://ws-feed-public.sandbox.exchange.coinbase.com",
                rest: "https://api-public.sandbox.exchange.coinbase.com",
            }),
        }
    }

    fn websocket_path(&self) -> String {
        "/".to_owned()
    }

    fn venue_symbol(&self, symbol: &str) -> String {
        symbol.to_owned()
    }

    fn supports(&self, channel: Channel) -> Result<(), &'static str> {
        subscribe::wire_name(self.product, channel).map(|_| ())
    }

    /// Trade ids have no holes: 73 matches of 6 products recorded on Exchange in 2021, and the frames of Advanced Trade in
    /// ccxt issue 27606 (2025-12-31). Exchange documents that the feed may drop matches and that heartbeats' last trade
    /// id shows it, so there a hole is a loss; for Advanced Trade "no holes" is not documented.
    fn sequence_rule(&self, channel: Channel) -> SequenceRule {
        match (self.product, channel) {
            (_, Channel::Trade) => SequenceRule::Contiguous,
            (Product::Exchange, Channel::Ticker) => SequenceRule::Monotonic,
            _ => SequenceRule::Arrival,
        }
    }

    fn book_rule(&self) -> BookRule {
        match self.product {
            Product::Advanced => BookRule::StreamSnapshotConnection,
            Product::Exchange => BookRule::StreamSnapshotUnnumbered,
        }
    }

    fn greeting(&self, index: usize, text: &mut Vec<u8>) -> bool {
        if self.product == Product::Exchange || index > 0 {
            return false;
        }
        subscribe::greeting(text);
        true
    }

    /// Advanced Trade names one channel a message: streams sorted by channel make few messages.
    fn subscribe(
        &self,
        directory: &Directory,
        streams: &[StreamId],
        _request: u64,
        text: &mut Vec<u8>,
    ) -> usize {
        subscribe::write(self.product, Wish::Subscribe, directory, streams, text)
    }

    fn unsubscribe(
        &self,
        directory: &Directory,
        streams: &[StreamId],
        _request: u64,
        text: &mut Vec<u8>,
    ) -> usize {
        subscribe::write(self.product, Wish::Unsubscribe, directory, streams, text)
    }

    /// Neither product has one.
    fn ping(&self, _request: u64, _text: &mut Vec<u8>) {}

    fn instruments_request(&self) -> RestRequest {
        rest::instruments_request(self.product)
    }

    fn instrument_request(&self, directory: &Directory, listing: Listing) -> Option<RestRequest> {
        Some(rest::instrument_request(self.product, &directory.instrument(listing).venue_symbol))
    }

    fn snapshot_request(&self, directory: &Directory, listing: Listing, depth: usize) -> Option<RestRequest> {
        let symbol = &directory.instrument(listing).venue_symbol;
        Some(rest::snapshot_request(self.product, symbol, depth))
    }

    fn trades_request(
        &self,
        directory: &Directory,
        listing: Listing,
        from: u64,
        to: u64,
    ) -> Option<RestRequest> {
        rest::trades_request(self.product, &directory.instrument(listing).venue_symbol, from, to)
    }

    fn decode(
        &mut self,
        frame: &mut [u8],
        directory: &mut Directory,
        raw: &mut Raw,
    ) -> Result<Decoded, DecodeError> {
        match self.decode_piece(frame, directory, raw, &mut Progress::None, usize::MAX)? {
            Some(decoded) => Ok(decoded),
            // A piece of that size has no end but the frame's.
            None => Err(DecodeError::Json),
        }
    }

    #[inline]
    fn decode_piece(
        &mut self,
        frame: &mut [u8],
        directory: &mut Directory,
        raw: &mut Raw,
        progress: &mut Progress,
        bytes_max: usize,
    ) -> Result<Option<Decoded>, DecodeError> {
        let from = std::mem::take(progress);
        let (hot, result) = match self.scan(frame, directory, raw, from, bytes_max) {
            Some(Scanned::More(so_far)) => {
                *progress = so_far;
                return Ok(None);
            }
            Some(Scanned::Done(scales)) => {
                let result = scales.finish().map(|()| Decoded::Data);
                self.fallbacks.scanned_frames += u64::from(!is_wider(&result));
                (true, result)
            }
            None => self.walk(frame, directory, raw),
        };
        // A frame that needs a wider scale comes again and is counted then.
        self.fallbacks.hot_frames += u64::from(hot && !is_wider(&result));
        result.map(Some)
    }

    fn decode_head(&self, head: &[u8], directory: &Directory) -> Head {
        match self.product {
            Product::Advanced => advanced::head(head, directory),
            Product::Exchange => exchange::head(head, directory),
        }
    }

    fn decode_rest(
        &mut self,
        path: &str,
        body: &mut [u8],
        directory: &mut Directory,
        raw: &mut Raw,
    ) -> Result<Decoded, DecodeError> {
        let parsed = self.tape.parse(body)?;
        rest::walk(self.product, path, parsed.root(), &mut self.products, directory, raw)
    }

    fn fallbacks(&self) -> Fallbacks {
        self.fallbacks
    }
}

fn is_wider(result: &Result<Decoded, DecodeError>) -> bool {
    matches!(result, Err(DecodeError::Wider { .. }))
}

/// `{"type":"error","message":"..","reason":".."}`: the same in both products as far as is known.
///
/// The socket may stay open after it, and the subscription is then not there. Source of the shape: Exchange
/// documentation, 2026-08; of Advanced Trade only field reports.
#[cold]
fn refusal(root: Value) -> Result<Decoded, DecodeError> {
    if root.get("type").and_then(Value::str) != Some("error") {
        return Err(DecodeError::UnknownChannel);
    }
    let mut reason = heapless::String::new();
    for (field, join) in [("message", ""), ("reason", ": ")] {
        let text = root.get(field).and_then(Value::str).unwrap_or_default();
        let join = if text.is_empty() { "" } else { join };
        for letter in join.chars().chain(text.chars()) {
            if reason.push(letter).is_err() {
                break;
            }
        }
    }
    Ok(Decoded::Notice(Notice::Refused { request: None, code: 0, reason }))
}
