//! Kraken Spot.
pub mod checksum;
