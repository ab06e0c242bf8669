//! Exact amounts of an asset: fixed point with 18 decimals, wide enough for a price times a quantity.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

use crate::instruments::InstrumentSpec;
use crate::text::{POW10, put_signed, put_trimmed, rescale};

/// Digits after the point of an [`Amount`].
const DECIMALS: usize = 18;

/// So much of an asset, in units of `10^-18`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(pub i128);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Of `mantissa * 10^-decimals`.
    pub fn new(mantissa: i128, decimals: usize) -> Self {
        Self(rescale(mantissa, decimals, DECIMALS))
    }

    /// Whole units of the asset.
    pub fn whole(units: u64) -> Self {
        Self::new(i128::from(units), 0)
    }

    /// So many lots of an instrument, in its base asset.
    pub fn of_lots(spec: &InstrumentSpec, lots: i64) -> Self {
        Self::new(i128::from(lots) * i128::from(spec.lot), spec.qty_decimals)
    }

    /// What so many lots cost at a price in ticks, in the quote asset.
    pub fn of_value(spec: &InstrumentSpec, ticks: i64, lots: i64) -> Self {
        let mantissa = i128::from(ticks) * i128::from(spec.tick) * i128::from(lots) * i128::from(spec.lot);
        Self::new(mantissa, spec.price_decimals + spec.qty_decimals)
    }

    /// So many millionths of it, cut to `decimals` digits after the point.
    #[must_use]
    pub fn millionths(self, ppm: u32, decimals: usize) -> Self {
        // Divided first by what the result is cut to, so that large amounts do not overflow.
        let unit = i128::from(POW10[DECIMALS - decimals]);
        Self(
            (self.0 / 1_000_000 * i128::from(ppm) + self.0 % 1_000_000 * i128::from(ppm) / 1_000_000) / unit
                * unit,
        )
    }

    /// With exactly so many (at most 18) digits after the point; further ones are cut.
    pub fn text(self, decimals: usize) -> String {
        let mut text = Vec::new();
        put_signed(&mut text, rescale(self.0, DECIMALS, decimals), decimals);
        String::from_utf8(text).expect("digits")
    }

    /// With the digits that it needs, at most `decimals`.
    pub fn trimmed(self, decimals: usize) -> String {
        let mut text = Vec::new();
        put_trimmed(&mut text, rescale(self.0, DECIMALS, decimals), decimals);
        String::from_utf8(text).expect("digits")
    }
}

impl Add for Amount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Amount {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Neg for Amount {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl SubAssign for Amount {
    fn sub_assign(&mut self, other: Self) {
        self.0 -= other.0;
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_fees_are_exact() {
        let spec = InstrumentSpec::new("BTC", "USDT", "64210.50", "0.01", "0.00001").unwrap();
        let value = Amount::of_value(&spec, 6_421_051, 123);
        assert_eq!((value.text(8), value.trimmed(8)), ("78.97892730".to_owned(), "78.9789273".to_owned()));
        assert_eq!(value.millionths(1_000, 8).text(10), "0.0789789200");
        assert_eq!(Amount::of_lots(&spec, 123).millionths(1_000, 8).text(8), "0.00000123");
        let all = Amount::whole(1_000_000_000_000);
        assert_eq!(all.millionths(999_999, 8).text(0), "999999000000");
        assert_eq!((-value).text(2), "-78.97");
    }
}
