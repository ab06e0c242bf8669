//! How a simulated Kraken is made: with which limits, and its order entry.

use super::Kraken;
use crate::clock::SECOND_NS;
use crate::exchange::{Amount, FeeAsset, KeyKind, Status, TradingConfig, Unique};
use crate::instruments::{InstrumentSpec, default_instruments};

/// The limits of the venue. Defaults are the venue's own where it publishes them.
///
/// Source: docs.kraken.com, rate limit and reconnection guides, pages of 2026.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KrakenLimits {
    /// Frames that a client may send in one second before it gets errors. The venue publishes no number.
    pub incoming_per_s_max: u32,
    /// WebSocket connections that may be opened in ten minutes. (All clients count as one address.)
    pub connections_per_10_minutes_max: u32,
    /// How long an address that opened more is banned, nanoseconds.
    pub ban_ns: u64,
    /// A connection without subscriptions whose client is silent for this long is closed, nanoseconds.
    pub idle_ns_max: u64,
    /// Nanoseconds between heartbeats.
    pub heartbeat_every_ns: u64,
    /// One REST call is allowed in this time on average, nanoseconds.
    pub rest_call_every_ns: u64,
    /// REST calls allowed at once.
    pub rest_burst: u32,
    /// One private REST call of a key is allowed in this time on average, nanoseconds.
    pub private_call_every_ns: u64,
    /// Private REST calls of a key allowed at once; questions for trades count twice.
    pub private_burst: u32,
    /// Most of the rate counter of an account and pair, in thousandths.
    pub rate_counter_max: u64,
    /// What goes off it in a second, in thousandths.
    pub rate_counter_decay_per_s: u64,
    /// How long a token can be used that no subscription keeps alive, nanoseconds.
    pub token_ns_max: u64,
    /// Bytes that a client may leave unread before it is disconnected.
    pub output_bytes_max: usize,
}

impl Default for KrakenLimits {
    fn default() -> Self {
        Self {
            incoming_per_s_max: 100,
            connections_per_10_minutes_max: 150,
            ban_ns: 600 * SECOND_NS,
            idle_ns_max: 60 * SECOND_NS,
            heartbeat_every_ns: SECOND_NS,
            rest_call_every_ns: SECOND_NS,
            rest_burst: 5,
            // Of the tier "intermediate", as the counter is.
            private_call_every_ns: 2 * SECOND_NS,
            private_burst: 20,
            rate_counter_max: 125_000,
            rate_counter_decay_per_s: 2_340,
            token_ns_max: 900 * SECOND_NS,
            output_bytes_max: 16 << 20,
        }
    }
}

/// How a simulated Kraken is made.
#[derive(Clone, Debug, PartialEq)]
pub struct KrakenConfig {
    /// What is listed.
    pub instruments: Vec<InstrumentSpec>,
    /// Messages per second of each instrument, for a client with `trade`, `ticker` (`bbo`) and `book` (10) of it.
    pub messages_per_instrument_per_s: f64,
    /// The only source of chance.
    pub seed: u64,
    /// How many seconds of market time pass in a second. All times in messages are market time; limits of connections
    /// and heartbeats are the caller's time.
    pub speed: f64,
    /// Levels a side in the true book.
    pub book_levels: usize,
    /// Limits.
    pub limits: KrakenLimits,
    /// Order entry; `None` for market data only.
    pub trading: Option<TradingConfig>,
}

impl Default for KrakenConfig {
    fn default() -> Self {
        Self {
            instruments: default_instruments("USD"),
            messages_per_instrument_per_s: 20.0,
            seed: 1,
            speed: 1.0,
            book_levels: 1200,
            limits: KrakenLimits::default(),
            trading: Some(trading()),
        }
    }
}

/// Order entry as the venue has it: a key for REST, fees in the quote asset, what an immediate order leaves is cancelled.
///
/// Source: docs.kraken.com, pages of 2026; how the rest of an immediate order is told is not documented.
pub fn trading() -> TradingConfig {
    TradingConfig {
        keys: vec![KeyKind::Bytes],
        maker_ppm: 1_600,
        taker_ppm: 2_600,
        fee_asset: FeeAsset::Quote,
        fee_decimals: 5,
        notional_min: Amount::new(5, 1),
        open_orders_max: 80,
        unique: Unique::OpenOfAccount,
        unfilled: Status::Canceled,
        post_only_accepted: true,
        ..TradingConfig::default()
    }
}

impl KrakenConfig {
    /// The venue, with its clock at `start_ns` (nanoseconds since 1970).
    pub fn build(self, start_ns: u64) -> Kraken {
        Kraken::new(self, start_ns)
    }
}
