//! How a venue prints an instrument's ticks and lots: as decimal numbers with so many digits after the point.

use crate::instruments::InstrumentSpec;
use crate::market::{Instrument, Level, Levels};
use crate::text::POW10;
use crate::venue::BookTruth;

/// From ticks and lots to the mantissas of the numbers that are printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub price_decimals: usize,
    pub qty_decimals: usize,
    price_factor: i64,
    qty_factor: i64,
}

impl Scale {
    /// With at least as many digits as the instrument's steps have.
    pub(crate) fn new(spec: &InstrumentSpec, price_decimals: usize, qty_decimals: usize) -> Self {
        Self {
            price_decimals,
            qty_decimals,
            price_factor: spec.tick * POW10[price_decimals - spec.price_decimals],
            qty_factor: spec.lot * POW10[qty_decimals - spec.qty_decimals],
        }
    }

    #[inline]
    pub(crate) fn price(&self, ticks: i64) -> i64 {
        ticks * self.price_factor
    }

    #[inline]
    pub(crate) fn qty(&self, lots: i64) -> i64 {
        lots * self.qty_factor
    }

    /// A sum of lots.
    pub(crate) fn volume(&self, lots: i128) -> i128 {
        lots * i128::from(self.qty_factor)
    }

    /// The true book of an instrument, in the numbers that the venue prints.
    pub(crate) fn book(&self, instrument: &Instrument) -> BookTruth {
        let side = |levels: &Levels| {
            levels.iter().map(|Level { price, qty }| (self.price(price), self.qty(qty))).collect()
        };
        BookTruth {
            update_id: instrument.last_update_id,
            price_decimals: self.price_decimals,
            qty_decimals: self.qty_decimals,
            bids: side(&instrument.book.bids),
            asks: side(&instrument.book.asks),
        }
    }
}
