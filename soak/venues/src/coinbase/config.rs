//! How a simulated Coinbase is made: which product, with which limits, and its order entry.

use super::Coinbase;
use crate::clock::{MS_NS, SECOND_NS};
use crate::exchange::{Amount, FeeAsset, KeyKind, KeyNames, Status, TradingConfig, Unique};
use crate::instruments::{InstrumentSpec, default_instruments};

/// Which product of the venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoinbaseProduct {
    /// Advanced Trade: a running number for each connection.
    Advanced,
    /// Exchange: a running number for each product.
    Exchange,
}

impl CoinbaseProduct {
    /// Names of the channels, by kind.
    pub(super) fn channels(self) -> &'static [&'static str] {
        match self {
            Self::Advanced => &["level2", "market_trades", "ticker", "ticker_batch", "candles", "status"],
            Self::Exchange => &["level2_batch", "matches", "ticker", "ticker_batch", "heartbeat"],
        }
    }
}

/// The limits of the venue. Defaults are the venue's own.
///
/// Source: docs.cdp.coinbase.com, rate limit pages of Advanced Trade and Exchange, 2026.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoinbaseLimits {
    /// A connection that has not subscribed by then is closed, nanoseconds.
    pub subscribe_within_ns: u64,
    /// A connection to which nothing was sent for this long is closed, nanoseconds (Advanced Trade).
    pub idle_ns_max: u64,
    /// New connections per second. (All clients count as one address.)
    pub connections_per_s_max: u32,
    /// Frames of all clients per second before they get errors.
    pub messages_per_s_max: u32,
    /// REST calls per second on average.
    pub rest_per_s_max: u32,
    /// REST calls allowed at once.
    pub rest_burst: u32,
    /// Private REST calls per second of an account, on average and at once.
    pub private_per_s_max: u32,
    /// Nanoseconds between heartbeats.
    pub heartbeat_every_ns: u64,
    /// An acknowledgement of Advanced Trade comes this long after the first data, nanoseconds.
    pub ack_after_ns: u64,
    /// Bytes that a client may leave unread before it is disconnected; a snapshot must fit.
    pub output_bytes_max: usize,
}

impl CoinbaseLimits {
    /// The limits of a product.
    pub fn of(product: CoinbaseProduct) -> Self {
        let advanced = product == CoinbaseProduct::Advanced;
        Self {
            subscribe_within_ns: 5 * SECOND_NS,
            idle_ns_max: 90 * SECOND_NS,
            connections_per_s_max: 8,
            messages_per_s_max: if advanced { 8 } else { 100 },
            rest_per_s_max: 10,
            rest_burst: if advanced { 10 } else { 15 },
            private_per_s_max: 30, // of an older page
            heartbeat_every_ns: SECOND_NS,
            ack_after_ns: 20 * MS_NS,
            output_bytes_max: 64 << 20,
        }
    }
}

/// How a simulated Coinbase is made.
#[derive(Clone, Debug, PartialEq)]
pub struct CoinbaseConfig {
    /// Which feed.
    pub product: CoinbaseProduct,
    /// What is listed.
    pub instruments: Vec<InstrumentSpec>,
    /// Messages per second of each instrument, for a client with its trades, ticker and book.
    pub messages_per_instrument_per_s: f64,
    /// The only source of chance.
    pub seed: u64,
    /// How many seconds of market time pass in a second. All times in messages are market time; limits of connections
    /// and heartbeats are the caller's time.
    pub speed: f64,
    /// Levels a side in the true book, all of which are sent: tens of thousands make snapshots of megabytes. Products
    /// whose price has fewer steps get fewer.
    pub book_levels: usize,
    /// Limits.
    pub limits: CoinbaseLimits,
    /// Order entry of Advanced Trade; `None` for market data only.
    pub trading: Option<TradingConfig>,
}

/// Order entry as the venue has it: a key of each kind, fees in the quote asset, ids that count for ever.
///
/// Source: docs.cdp.coinbase.com, pages of 2026; how the rest of an immediate order is told is not documented.
pub fn trading() -> TradingConfig {
    TradingConfig {
        keys: vec![KeyKind::Es256, KeyKind::Ed25519],
        key_names: KeyNames::Organization,
        maker_ppm: 4_000,
        taker_ppm: 6_000,
        fee_asset: FeeAsset::Quote,
        fee_decimals: 8,
        notional_min: Amount::whole(1),
        open_orders_max: 500,
        unique: Unique::Ever,
        unfilled: Status::Canceled,
        ..TradingConfig::default()
    }
}

impl Default for CoinbaseConfig {
    fn default() -> Self {
        Self::of(CoinbaseProduct::Advanced)
    }
}

impl CoinbaseConfig {
    /// The defaults of one product.
    pub fn of(product: CoinbaseProduct) -> Self {
        Self {
            product,
            instruments: default_instruments("USD"),
            messages_per_instrument_per_s: 20.0,
            seed: 1,
            speed: 1.0,
            book_levels: 1000,
            limits: CoinbaseLimits::of(product),
            trading: Some(trading()),
        }
    }

    /// The venue, with its clock at `start_ns` (nanoseconds since 1970).
    pub fn build(self, start_ns: u64) -> Coinbase {
        Coinbase::new(self, start_ns)
    }
}
