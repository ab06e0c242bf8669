//! A venue as a world has it twice: our adapter, and what simulates the venue.

use engine::venue::binance::{self, Binance};
use engine::venue::coinbase::{self, Coinbase};
use engine::venue::kraken::Kraken;
use simvenues::{BinanceConfig, CoinbaseConfig, KrakenConfig, VenueConfig};

/// The venue of a world: ours and the simulated one.
pub struct Twin<V> {
    /// Our adapter.
    pub venue: V,
    /// What simulates the venue. Its instruments, seed and rate are set by the world.
    pub config: VenueConfig,
    /// Canonical quote of the instruments.
    pub quote: &'static str,
    /// Channels by the engine's names.
    pub channels: &'static [&'static str],
    /// Levels a side that a book of ours is cut to; what the truth has beyond is not compared.
    pub depth: usize,
}

impl Twin<Kraken> {
    /// Kraken with books of 100.
    pub fn kraken() -> Self {
        let config = KrakenConfig { book_levels: 150, ..KrakenConfig::default() };
        Self {
            venue: Kraken::new(100).expect("a depth of the venue"),
            config: VenueConfig::Kraken(config),
            quote: "USD",
            channels: &["trade", "book", "ticker"],
            depth: 100,
        }
    }
}

impl Twin<Coinbase> {
    /// Coinbase Advanced Trade.
    pub fn coinbase() -> Self {
        let config =
            CoinbaseConfig { book_levels: 200, ..CoinbaseConfig::of(simvenues::CoinbaseProduct::Advanced) };
        Self {
            venue: Coinbase::new(coinbase::Product::Advanced),
            config: VenueConfig::Coinbase(config),
            quote: "USD",
            channels: &["trade", "book", "ticker"],
            depth: usize::MAX,
        }
    }
}

impl Twin<Binance> {
    /// Binance, spot or USD-M.
    pub fn binance(product: simvenues::Product) -> Self {
        let config = BinanceConfig { book_levels: 200, ..BinanceConfig::of(product) };
        let (product, channels): (_, &'static [&'static str]) = match product {
            simvenues::Product::Spot => (binance::Product::Spot, &["trade", "book 100ms", "ticker"]),
            simvenues::Product::UsdM => (binance::Product::UsdM, &["agg_trade", "book 100ms", "ticker"]),
        };
        Self {
            venue: Binance::new(product),
            config: VenueConfig::Binance(config),
            quote: "USDT",
            channels,
            depth: usize::MAX,
        }
    }
}
