//! Simulated venues: servers on loopback that speak the protocols of real venues, with a market of their own.
//!
//! They are the other side of every test that matters: the gateway connects to them as to the real ones, and they know
//! the truth. So this crate shares no code with the gateway's adapters; one misreading of a protocol cannot be made
//! twice.
//!
//! ```text
//! market, exchange (seeded, no I/O) -> venue protocol (binance, coinbase, kraken) -> site (HTTP, WebSocket, faults) -> server (sockets)
//! ```
//!
//! Everything but [`server`] is without I/O and takes the time as an argument: a whole gateway can be simulated in one
//! thread on top of [`site::Site`].

pub mod binance;
mod clock;
pub mod coinbase;
pub mod exchange;
pub mod faults;
mod frames;
pub mod http;
pub mod instruments;
pub mod kraken;
mod limits;
pub mod market;
pub mod output;
mod scale;
pub mod server;
mod sessions;
pub mod site;
mod text;
mod topics;
pub mod venue;
#[cfg(test)]
mod world;

pub use binance::{BinanceConfig, BinanceLimits, Product};
pub use coinbase::{CoinbaseConfig, CoinbaseLimits, CoinbaseProduct};
pub use exchange::{OrderFault, TradingConfig, TradingTruth};
pub use faults::{Fault, How, RestFault, Target, VenueFault};
pub use instruments::{InstrumentSpec, default_instruments};
pub use kraken::{KrakenConfig, KrakenLimits};
pub use server::{Driven, FaultHandle, Options, Server, driven, run_alone, start, start_with};
pub use venue::{BookTruth, InstrumentTruth, Stats};

/// Which venue to simulate, and how.
#[derive(Clone, Debug, PartialEq)]
pub enum VenueConfig {
    /// Binance, spot or USD-M.
    Binance(BinanceConfig),
    /// Kraken spot, WebSocket v2.
    Kraken(KrakenConfig),
    /// Coinbase, Advanced Trade or Exchange.
    Coinbase(CoinbaseConfig),
}

impl VenueConfig {
    /// The venue, with its clock at `start_ns` (nanoseconds since 1970).
    pub fn build(self, start_ns: u64) -> Box<dyn venue::Venue> {
        match self {
            Self::Binance(config) => Box::new(config.build(start_ns)),
            Self::Kraken(config) => Box::new(config.build(start_ns)),
            Self::Coinbase(config) => Box::new(config.build(start_ns)),
        }
    }

    /// Bytes that a client may leave unread before it is disconnected.
    pub fn output_bytes_max(&self) -> usize {
        match self {
            Self::Binance(config) => config.limits.output_bytes_max,
            Self::Kraken(config) => config.limits.output_bytes_max,
            Self::Coinbase(config) => config.limits.output_bytes_max,
        }
    }
}
