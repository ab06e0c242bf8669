//! `meltica simulate`: a simulated venue by itself.

use std::net::SocketAddr;

use simvenues::{BinanceConfig, Product, VenueConfig};

use super::{EXIT_FAILED, EXIT_OK};

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
}

impl Arguments {
    /// Runs it.
    pub fn run(self) -> u8 {
        let product = match self.venue {
            VenueName::Binance => Product::Spot,
            VenueName::BinanceUsdm => Product::UsdM,
        };
        let mut config = BinanceConfig::of(product);
        config.messages_per_instrument_per_s = self.rate;
        config.seed = self.seed;
        config.speed = self.speed;
        let instruments = config.instruments.len();
        let outcome = simvenues::run_alone(self.listen, VenueConfig::Binance(config), |address, _| {
            println!(
                "{:?} simulated on ws://{address} and http://{address}, {instruments} instruments",
                self.venue
            );
        });
        match outcome {
            Ok(()) => EXIT_OK,
            Err(error) => {
                eprintln!("meltica: simulate failed on {}: {error}; is the port in use?", self.listen);
                EXIT_FAILED
            }
        }
    }
}
