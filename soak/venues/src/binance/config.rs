//! How a simulated Binance is made: which product, with which limits, and its order entry.

use super::Binance;
use crate::clock::SECOND_NS;
use crate::exchange::{OrderLimit, TradingConfig};
use crate::instruments::{InstrumentSpec, default_instruments};

/// Which product of the venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Spot, `/api/v3`.
    Spot,
    /// Perpetual futures margined in USD, `/fapi/v1`.
    UsdM,
}

impl Product {
    /// Periods of the book streams, milliseconds.
    pub(super) fn speeds(self) -> &'static [u64] {
        match self {
            Self::Spot => &[100, 1000],
            Self::UsdM => &[0, 100, 250, 500],
        }
    }

    /// The period of a book stream whose name does not say one.
    pub(super) fn speed_default_ms(self) -> u64 {
        match self {
            Self::Spot => 1000,
            Self::UsdM => 250,
        }
    }

    /// The period of `1s` bars; the longer ones are published every second time.
    pub(super) fn bars_period_ns(self) -> u64 {
        match self {
            Self::Spot => SECOND_NS,
            Self::UsdM => SECOND_NS / 4,
        }
    }
}

/// The limits of the venue. Defaults are the venue's own.
///
/// Source: binance-spot-api-docs, web-socket-streams.md and rest-api.md, commit a5e0bc3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinanceLimits {
    /// Frames that a client may send in one second, pings and pongs included.
    pub incoming_per_s_max: u32,
    /// Streams of one connection.
    pub streams_max: usize,
    /// WebSocket connections that may be opened in five minutes. (All clients count as one address.)
    pub connections_per_5_minutes_max: u32,
    /// Nanoseconds between pings.
    pub ping_every_ns: u64,
    /// A ping unanswered for this long ends the connection, nanoseconds.
    pub pong_within_ns: u64,
    /// The greatest age of a connection, nanoseconds.
    pub age_ns_max: u64,
    /// The notice before that, nanoseconds. (The venue promises no time.)
    pub shutdown_notice_ns: u64,
    /// REST request weight in one minute.
    pub weight_per_minute_max: u32,
    /// Requests refused with 429 in one minute before the address is banned.
    pub refusals_before_ban: u32,
    /// How long a ban (418) lasts, seconds.
    pub ban_s: u64,
    /// Bytes that a client may leave unread before it is disconnected.
    pub output_bytes_max: usize,
}

impl BinanceLimits {
    /// The limits of a product.
    pub fn of(product: Product) -> Self {
        Self {
            incoming_per_s_max: if product == Product::Spot { 5 } else { 10 },
            streams_max: 1024,
            connections_per_5_minutes_max: 300,
            ping_every_ns: 20 * SECOND_NS,
            pong_within_ns: 60 * SECOND_NS,
            age_ns_max: 24 * 3600 * SECOND_NS,
            shutdown_notice_ns: 60 * SECOND_NS,
            weight_per_minute_max: if product == Product::Spot { 6000 } else { 2400 },
            refusals_before_ban: 20,
            ban_s: 120,
            output_bytes_max: 16 << 20,
        }
    }
}

/// How a simulated Binance is made.
#[derive(Clone, Debug, PartialEq)]
pub struct BinanceConfig {
    /// Spot or USD-M.
    pub product: Product,
    /// What is listed.
    pub instruments: Vec<InstrumentSpec>,
    /// Messages per second of each instrument, for a client with `trade`, `bookTicker` and `depth@100ms` of it.
    pub messages_per_instrument_per_s: f64,
    /// The only source of chance.
    pub seed: u64,
    /// How many seconds of market time pass in a second. All times in messages are market time; limits of connections
    /// are the caller's time.
    pub speed: f64,
    /// Levels a side in the true book.
    pub book_levels: usize,
    /// Limits.
    pub limits: BinanceLimits,
    /// Order entry; `None`, or USD-M: market data only. The seed of its keys and ids is mixed with that of the market.
    pub trading: Option<TradingConfig>,
}

impl Default for BinanceConfig {
    fn default() -> Self {
        Self {
            product: Product::Spot,
            instruments: default_instruments("USDT"),
            messages_per_instrument_per_s: 20.0,
            seed: 1,
            speed: 1.0,
            book_levels: 500,
            limits: BinanceLimits::of(Product::Spot),
            trading: Some(trading()),
        }
    }
}

/// An account of Binance Spot: fees of 0.1 % in what is received, a HMAC and an Ed25519 key, and the limits on unfilled
/// orders that `exchangeInfo` prints.
///
/// Source: binance-spot-api-docs, rest-api.md and enums.md, commit a5e0bc3.
pub fn trading() -> TradingConfig {
    TradingConfig {
        order_limits: vec![
            OrderLimit { interval_ns: 10 * SECOND_NS, max: 100 },
            OrderLimit { interval_ns: 24 * 3600 * SECOND_NS, max: 200_000 },
        ],
        fills_give_back: true,
        ..TradingConfig::default()
    }
}

impl BinanceConfig {
    /// The defaults of one product.
    pub fn of(product: Product) -> Self {
        Self { product, limits: BinanceLimits::of(product), ..Self::default() }
    }

    /// The venue, with its clock at `start_ns` (nanoseconds since 1970).
    pub fn build(self, start_ns: u64) -> Binance {
        Binance::new(self, start_ns)
    }
}
