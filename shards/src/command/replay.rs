//! `meltica replay`.

use std::path::PathBuf;

use engine::venue::{binance, coinbase, kraken};

use super::{EXIT_FAILED, EXIT_OK, EXIT_REFUSED};
use crate::replay::{ReplayError, ReplayOptions, ReplayOutcome, replay, replay_recording};

/// Replays recorded sessions through the engine that runs live.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Whose frames they are.
    #[arg(long, required_unless_present = "recording")]
    venue: Option<VenueName>,
    /// The files are what a recorder wrote: directories of recordings, or their files in order.
    #[arg(long, conflicts_with_all = ["venue", "product", "shards"])]
    recording: bool,
    /// Which of the venue's products [binance: spot, usdm; coinbase: advanced, exchange].
    #[arg(long)]
    product: Option<String>,
    /// Shards to run it on; the result does not depend on it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    shards: u16,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
    /// Capture files, plain or .gz, in the order of the session; with --recording: recordings.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// A venue whose captures can be replayed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum VenueName {
    Binance,
    Coinbase,
    Kraken,
}

impl Arguments {
    /// Runs it.
    pub fn run(self) -> u8 {
        let Some(venue) = self.venue else { return self.run_recording() };
        let product = self.product.clone().unwrap_or_else(|| match venue {
            VenueName::Binance | VenueName::Kraken => "spot".to_owned(),
            VenueName::Coinbase => "advanced".to_owned(),
        });
        let options = ReplayOptions { files: self.files.clone(), shards: self.shards };
        let outcome: Result<ReplayOutcome, ReplayError> = match (venue, product.as_str()) {
            (VenueName::Binance, "spot") => {
                replay(&options, || binance::Binance::new(binance::Product::Spot))
            }
            (VenueName::Binance, "usdm") => {
                replay(&options, || binance::Binance::new(binance::Product::UsdM))
            }
            (VenueName::Kraken, "spot") => replay(&options, kraken::Kraken::default),
            (VenueName::Coinbase, "advanced") => {
                replay(&options, || coinbase::Coinbase::new(coinbase::Product::Advanced))
            }
            (VenueName::Coinbase, "exchange") => {
                replay(&options, || coinbase::Coinbase::new(coinbase::Product::Exchange))
            }
            (venue, product) => {
                let fits = match venue {
                    VenueName::Binance => "spot, usdm",
                    VenueName::Kraken => "spot",
                    VenueName::Coinbase => "advanced, exchange",
                };
                errln!("meltica: replay: {venue:?} has no product {product:?}; fits: {fits}");
                return EXIT_REFUSED;
            }
        };
        match outcome {
            Ok(outcome) if self.json => outln!("{}", outcome.to_json(&product)),
            Ok(outcome) => out!("{}", outcome.to_text(&product)),
            Err(error) => {
                errln!("meltica: replay failed: {error}");
                return EXIT_FAILED;
            }
        }
        EXIT_OK
    }

    /// A recording with holes is shown as far as it goes, and fails.
    fn run_recording(&self) -> u8 {
        match replay_recording(&self.files) {
            Ok(outcome) => {
                if self.json {
                    outln!("{}", outcome.to_json());
                } else {
                    out!("{}", outcome.to_text());
                }
                if outcome.holes.is_empty() { EXIT_OK } else { EXIT_FAILED }
            }
            Err(error) => {
                errln!("meltica: replay failed: {error}");
                EXIT_FAILED
            }
        }
    }
}
