//! Binance in the tests: its configuration, and a client that follows the documented procedure.

use serde_json::Value;

use super::super::*;
use crate::instruments::default_instruments;
use crate::world::{START_NS, World};

pub(in crate::binance) fn config(product: Product, rate: f64) -> BinanceConfig {
    BinanceConfig {
        instruments: default_instruments("USDT")[..3].to_vec(),
        messages_per_instrument_per_s: rate,
        ..BinanceConfig::of(product)
    }
}

impl World {
    pub(super) fn new(config: BinanceConfig) -> Self {
        let output_bytes_max = config.limits.output_bytes_max;
        Self::of(Box::new(config.build(START_NS)), output_bytes_max)
    }

    pub(super) fn spot(rate: f64) -> Self {
        Self::new(config(Product::Spot, rate))
    }
}

pub(super) fn mantissa(text: &Value, decimals: usize) -> i64 {
    let text = text.as_str().expect("decimals are strings");
    let (_, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert_eq!(fraction.len(), decimals, "{text}");
    text.replace('.', "").parse().unwrap()
}

/// A book that follows the venue's documented procedure. Written from the documents, not from the code above.
#[derive(Default)]
pub(super) struct Follower {
    product: Option<Product>,
    last: u64,
    pub(super) applied: u64,
    bids: std::collections::BTreeMap<i64, i64>,
    asks: std::collections::BTreeMap<i64, i64>,
}

impl Follower {
    pub(super) fn decimals(truth: &BookTruth) -> (usize, usize) {
        (truth.price_decimals, truth.qty_decimals)
    }

    pub(super) fn levels(
        side: &mut std::collections::BTreeMap<i64, i64>,
        levels: &Value,
        decimals: (usize, usize),
    ) {
        for level in levels.as_array().unwrap() {
            let (price, qty) = (mantissa(&level[0], decimals.0), mantissa(&level[1], decimals.1));
            if qty == 0 {
                side.remove(&price)
            } else {
                side.insert(price, qty)
            };
        }
    }

    pub(super) fn snapshot(product: Product, body: &Value, truth: &BookTruth) -> Self {
        let mut follower =
            Self { product: Some(product), last: body["lastUpdateId"].as_u64().unwrap(), ..Self::default() };
        Self::levels(&mut follower.bids, &body["bids"], Self::decimals(truth));
        Self::levels(&mut follower.asks, &body["asks"], Self::decimals(truth));
        follower
    }

    /// `Err`: a gap.
    pub(super) fn apply(&mut self, event: &Value, truth: &BookTruth) -> Result<(), String> {
        let (first, last) = (event["U"].as_u64().unwrap(), event["u"].as_u64().unwrap());
        assert!(first <= last);
        match (self.product.unwrap(), self.applied) {
            (Product::Spot, _) if last <= self.last => return Ok(()),
            (Product::UsdM, 0) if last < self.last => return Ok(()),
            (Product::Spot, _) if first > self.last + 1 => {
                return Err(format!("{first} after {}", self.last));
            }
            // USD-M leaves ids unused, so a snapshot taken between two updates lies in neither; it is continued by
            // the update whose `pu` it is.
            (Product::UsdM, 0) if first > self.last && event["pu"].as_u64().unwrap() > self.last => {
                return Err(format!("{first} after snapshot {}", self.last));
            }
            (Product::UsdM, 1..) if event["pu"].as_u64().unwrap() != self.last => {
                return Err(format!("pu {} after {}", event["pu"], self.last));
            }
            _ => {}
        }
        self.applied += 1;
        self.last = last;
        Self::levels(&mut self.bids, &event["b"], Self::decimals(truth));
        Self::levels(&mut self.asks, &event["a"], Self::decimals(truth));
        let (bid, ask) = (self.bids.last_key_value().unwrap().0, self.asks.first_key_value().unwrap().0);
        assert!(bid < ask, "crossed");
        Ok(())
    }

    pub(super) fn assert_equals(&self, truth: &BookTruth) {
        assert_eq!(self.last, truth.update_id);
        let bids: Vec<_> = self.bids.iter().rev().map(|(price, qty)| (*price, *qty)).collect();
        let asks: Vec<_> = self.asks.iter().map(|(price, qty)| (*price, *qty)).collect();
        assert_eq!(bids, truth.bids);
        assert_eq!(asks, truth.asks);
    }
}
