//! Binance: Spot, and USD-M futures.
//!
//! `README.md` beside this file has the venue's quirks with their sources. The hot shapes are read by `scan`; what
//! surprises it is read by `decode`, which knows every shape and names every error. Both fill a [`Raw`] through
//! `sink`, so they cannot disagree on what a field means.

mod decode;
#[cfg(test)]
mod recordings;
mod rest;
mod scan;
mod sink;
mod subscribe;
mod symbols;
#[cfg(test)]
mod tests;

use crate::book::BookRule;
use crate::channel::Channel;
use crate::directory::Directory;
use crate::ids::{Listing, StreamId};
use crate::json::Tape;
use crate::raw::{DecodeError, Decoded, Raw};
use crate::time::VenueTime;
use crate::venue::{ConnectionLimits, Endpoints, Fallbacks, RestRequest, SequenceRule, Venue};

use sink::Sink;
use symbols::Symbols;

/// Which market, and for USD-M which of its two routes: since 2026-04-23 a connection carries the channels of its
/// route only, and a subscription to one of the other route is acknowledged and stays silent.
///
/// Source: Binance Futures announcement of 2026-03-06 ("Important WebSocket Change Notice"); the channels of each route
/// from the public client libraries (ccxt #28083, binance-public-data #472).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Spot.
    Spot,
    /// USD-M futures, route `/public`: trades, books, best prices.
    UsdM,
    /// USD-M futures, route `/market`: aggregate trades, klines, day statistics.
    UsdMMarket,
}

impl Product {
    /// Whether it is one of the futures routes, which share REST, numbers and shapes.
    const fn is_usdm(self) -> bool {
        matches!(self, Self::UsdM | Self::UsdMMarket)
    }
}

/// Unit of every time field of a connection; it is asked for in the URL and not told in the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeUnit {
    /// The venue's default.
    #[default]
    Milliseconds,
    /// `timeUnit=MICROSECOND`. Spot only.
    Microseconds,
}

impl TimeUnit {
    const fn time(self, value: u64) -> VenueTime {
        match self {
            Self::Milliseconds => VenueTime::from_ms(value),
            Self::Microseconds => VenueTime::from_us(value),
        }
    }
}

/// Binance's protocol on one connection, or for one replay.
#[derive(Debug)]
pub struct Binance {
    product: Product,
    time_unit: TimeUnit,
    tape: Tape,
    symbols: Symbols,
    fallbacks: Fallbacks,
}

impl Binance {
    /// The protocol of `product`, with times in milliseconds.
    pub fn new(product: Product) -> Self {
        Self {
            product,
            time_unit: TimeUnit::default(),
            tape: Tape::default(),
            symbols: Symbols::default(),
            fallbacks: Fallbacks::default(),
        }
    }

    /// Spot.
    pub fn spot() -> Self {
        Self::new(Product::Spot)
    }

    /// USD-M futures, route `/public`.
    pub fn usdm() -> Self {
        Self::new(Product::UsdM)
    }

    /// With times in `time_unit`. USD-M knows milliseconds only.
    #[must_use]
    pub fn with_time_unit(mut self, time_unit: TimeUnit) -> Self {
        self.time_unit = time_unit;
        self
    }

    /// The first decoder alone: `None` is a surprise; then `raw` may hold anything.
    fn decode_scanned(
        &mut self,
        frame: &[u8],
        directory: &mut Directory,
        raw: &mut Raw,
    ) -> Option<Result<Decoded, DecodeError>> {
        let sink =
            Sink { product: self.product, unit: self.time_unit, symbols: &mut self.symbols, directory, raw };
        let decoded = scan::frame(frame, sink)?;
        if decoded.is_ok() {
            self.fallbacks.hot_frames += 1;
            self.fallbacks.scanned_frames += 1;
        }
        Some(decoded.map(|()| Decoded::Data))
    }

    /// The second decoder alone.
    fn decode_general(
        &mut self,
        frame: &mut [u8],
        directory: &mut Directory,
        raw: &mut Raw,
    ) -> Result<Decoded, DecodeError> {
        raw.messages.clear();
        raw.bids.clear();
        raw.asks.clear();
        let sink =
            Sink { product: self.product, unit: self.time_unit, symbols: &mut self.symbols, directory, raw };
        let parsed = self.tape.parse(frame)?;
        let (decoded, hot) = decode::frame(parsed.root(), sink)?;
        self.fallbacks.hot_frames += u64::from(hot);
        Ok(decoded)
    }
}

impl Venue for Binance {
    /// Frames are short; the body of a book snapshot is not.
    type Progress = scan::Depth;

    fn name(&self) -> &'static str {
        match self.product {
            Product::Spot => "binance",
            Product::UsdM => "binance_usdm",
            Product::UsdMMarket => "binance_usdm_market",
        }
    }

    /// Spot: binance-spot-api-docs, web-socket-streams.md and rest-api.md, commit a5e0bc3 of 2026-07-21. USD-M:
    /// developers.binance.com, "Websocket Market Streams" (read 2026-11) and the recorded `exchangeInfo` of 2021 for the
    /// weight; newer pages may allow 1024 streams, we stay at the older 200; connects are Spot's, unconfirmed. No document bounds the bytes of a message or
    /// the names in it: those two are ours, as is the silence, three pings on Spot and one on USD-M.
    fn limits(&self) -> ConnectionLimits {
        let spot = ConnectionLimits {
            streams_max: 1024,
            messages_per_s_max: 5,
            message_bytes_max: 4096,
            streams_per_message_max: 200,
            age_s_max: 24 * 60 * 60,
            silence_ms_max: 3 * 20_000,
            ping_every_ms: 0,
            connects_max: 300,
            connects_window_s: 5 * 60,
            rest_weight_max: 6000,
            rest_window_s: 60,
        };
        match self.product {
            Product::Spot => spot,
            Product::UsdM | Product::UsdMMarket => ConnectionLimits {
                streams_max: 200,
                messages_per_s_max: 10,
                silence_ms_max: 3 * 60_000 + 20_000,
                rest_weight_max: 2400,
                ..spot
            },
        }
    }

    fn live(&self) -> Endpoints {
        match self.product {
            Product::Spot => {
                Endpoints { websocket: "wss://stream.binance.com:9443", rest: "https://api.binance.com" }
            }
            Product::UsdM | Product::UsdMMarket => {
                Endpoints { websocket: "wss://fstream.binance.com", rest: "https://fapi.binance.com" }
            }
        }
    }

    fn testnet(&self) -> Option<Endpoints> {
        Some(match self.product {
            Product::Spot => Endpoints {
                websocket: "wss://stream.testnet.binance.vision",
                rest: "https://testnet.binance.vision",
            },
            Product::UsdM | Product::UsdMMarket => Endpoints {
                websocket: "wss://fstream.binancefuture.com",
                rest: "https://testnet.binancefuture.com",
            },
        })
    }

    /// Always the combined form: partial books and Spot's best prices carry no symbol or no type of their own.
    fn websocket_path(&self) -> String {
        let path = match self.product {
            Product::Spot => "/stream",
            Product::UsdM => "/public/stream",
            Product::UsdMMarket => "/market/stream",
        };
        match self.time_unit {
            TimeUnit::Milliseconds => path.to_owned(),
            TimeUnit::Microseconds => format!("{path}?timeUnit=MICROSECOND"),
        }
    }

    fn venue_symbol(&self, symbol: &str) -> String {
        symbols::venue_symbol(symbol, self.product)
    }

    fn supports(&self, channel: Channel) -> Result<(), &'static str> {
        subscribe::supports(channel, self.product)
    }

    /// Ticker, day statistics and klines: by update id or event time, of which only the order counts.
    fn sequence_rule(&self, channel: Channel) -> SequenceRule {
        if channel.is_trade() { SequenceRule::Contiguous } else { SequenceRule::Monotonic }
    }

    fn book_rule(&self) -> BookRule {
        if self.product.is_usdm() { BookRule::RestSnapshotChained } else { BookRule::RestSnapshotRange }
    }

    fn subscribe(
        &self,
        directory: &Directory,
        streams: &[StreamId],
        request: u64,
        text: &mut Vec<u8>,
    ) -> usize {
        subscribe::message("SUBSCRIBE", self.product, &self.limits(), directory, streams, request, text)
    }

    fn unsubscribe(
        &self,
        directory: &Directory,
        streams: &[StreamId],
        request: u64,
        text: &mut Vec<u8>,
    ) -> usize {
        subscribe::message("UNSUBSCRIBE", self.product, &self.limits(), directory, streams, request, text)
    }

    /// Nothing: the venue pings.
    fn ping(&self, _request: u64, _text: &mut Vec<u8>) {}

    fn instruments_request(&self) -> RestRequest {
        rest::instruments_request(self.product)
    }

    fn instrument_request(&self, directory: &Directory, listing: Listing) -> Option<RestRequest> {
        rest::instrument_request(self.product, &directory.instrument(listing).venue_symbol)
    }

    fn snapshot_request(&self, directory: &Directory, listing: Listing, depth: usize) -> Option<RestRequest> {
        Some(rest::snapshot_request(self.product, &directory.instrument(listing).venue_symbol, depth))
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
        match self.decode_scanned(frame, directory, raw) {
            Some(decoded) => decoded,
            None => self.decode_general(frame, directory, raw),
        }
    }

    fn decode_rest(
        &mut self,
        path: &str,
        body: &mut [u8],
        directory: &mut Directory,
        raw: &mut Raw,
    ) -> Result<Decoded, DecodeError> {
        // All of it in one piece.
        let mut progress = scan::Depth::default();
        let decoded = self.decode_rest_piece(path, body, directory, raw, &mut progress, usize::MAX)?;
        Ok(decoded.expect("a piece of any length has no end before the body's"))
    }

    fn decode_rest_piece(
        &mut self,
        path: &str,
        body: &mut [u8],
        directory: &mut Directory,
        raw: &mut Raw,
        progress: &mut scan::Depth,
        bytes_max: usize,
    ) -> Result<Option<Decoded>, DecodeError> {
        let mut sink = Sink {
            product: self.product,
            unit: TimeUnit::default(),
            symbols: &mut self.symbols,
            directory,
            raw,
        };
        let symbol = || rest::snapshot_symbol(path);
        if let Some(decoded) = scan::depth(body, symbol, progress, &mut sink, bytes_max) {
            return decoded.map(|has_ended| has_ended.then_some(Decoded::Data));
        }
        sink.raw.messages.clear();
        sink.raw.bids.clear();
        sink.raw.asks.clear();
        let parsed = self.tape.parse(body)?;
        rest::body(path, parsed.root(), sink).map(Some)
    }

    fn fallbacks(&self) -> Fallbacks {
        self.fallbacks
    }
}
