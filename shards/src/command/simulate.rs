//! `meltica simulate`: a simulated venue by itself.

use std::net::SocketAddr;

use simvenues::VenueConfig;

use super::{EXIT_FAILED, EXIT_OK};
use crate::launch::simulated_default;
use crate::topology::Product;

/// Runs a simulated venue by itself until it is killed.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Which venue.
    venue: VenueName,
    /// Where it listens; port 0 is any free one, which it prints.
    #[arg(long, default_value = "127.0.0.1:9443")]
    listen: SocketAddr,
    /// Messages a second of each instrument.
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// The same seed gives the same market.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Simulated seconds in a real one.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum VenueName {
    Binance,
    BinanceUsdm,
    Kraken,
    Coinbase,
    CoinbaseExchange,
}

impl VenueName {
    const fn product(self) -> Product {
        match self {
            Self::Binance => Product::BinanceSpot,
            Self::BinanceUsdm => Product::BinanceUsdm,
            Self::Kraken => Product::KrakenSpot,
            Self::Coinbase => Product::CoinbaseAdvanced,
            Self::CoinbaseExchange => Product::CoinbaseExchange,
        }
    }
}

impl Arguments {
    /// Runs it.
    pub fn run(self) -> u8 {
        let product = self.venue.product();
        let mut config = simulated_default(product);
        // The three have the same settings of a market, and each its own type for them.
        macro_rules! set {
            ($config:expr) => {{
                $config.messages_per_instrument_per_s = self.rate;
                $config.seed = self.seed;
                $config.speed = self.speed;
                $config.instruments.len()
            }};
        }
        let instruments = match &mut config {
            VenueConfig::Binance(config) => set!(config),
            VenueConfig::Kraken(config) => set!(config),
            VenueConfig::Coinbase(config) => set!(config),
        };
        let outcome = simvenues::run_alone(self.listen, config, |address, _| {
            outln!(
                "{} {} simulated on ws://{address} and http://{address}, {instruments} instruments",
                product.venue(),
                product.name()
            );
        });
        match outcome {
            Ok(()) => EXIT_OK,
            Err(error) => {
                errln!("meltica: simulate failed on {}: {error}; is the port in use?", self.listen);
                EXIT_FAILED
            }
        }
    }
}
