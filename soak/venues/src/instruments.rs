//! The instruments a simulated venue lists: names, prices and steps that look like the real ones.
//!
//! Venue-neutral: a venue builds its own spelling from base and quote.

use crate::text::parse_decimal;

/// One instrument: what it is called, in which steps it trades and where its price starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstrumentSpec {
    /// For example `BTC`.
    pub base: String,
    /// For example `USDT`.
    pub quote: String,
    /// The starting price, in ticks.
    pub price_ticks: i64,
    /// The price step, in units of `10^-price_decimals`.
    pub tick: i64,
    /// Digits after the point of a price.
    pub price_decimals: usize,
    /// The quantity step, in units of `10^-qty_decimals`.
    pub lot: i64,
    /// Digits after the point of a quantity.
    pub qty_decimals: usize,
}

impl InstrumentSpec {
    /// From decimal text, for example `("BTC", "USDT", "64210.50", "0.01", "0.00001")`.
    ///
    /// `None` if a number is not a plain positive decimal, has more than 8 decimals, or the price is under 100 ticks
    /// (there would be no room for a book).
    pub fn new(base: &str, quote: &str, price: &str, tick: &str, lot: &str) -> Option<Self> {
        let (price, from) = parse_decimal(price)?;
        let (tick, price_decimals) = parse_decimal(tick)?;
        let (lot, qty_decimals) = parse_decimal(lot)?;
        if tick <= 0 || lot <= 0 || price_decimals > 8 || qty_decimals > 8 || from > 8 {
            return None;
        }
        let price = crate::text::rescale(i128::from(price), from, price_decimals);
        let price_ticks = i64::try_from(price).ok()? / tick;
        let spec = Self {
            base: base.to_owned(),
            quote: quote.to_owned(),
            price_ticks,
            tick,
            price_decimals,
            lot,
            qty_decimals,
        };
        (price_ticks >= 100).then_some(spec)
    }

    /// The canonical name, `BASE-QUOTE`.
    pub fn symbol(&self) -> String {
        format!("{}-{}", self.base, self.quote)
    }
}

/// The 50 default instruments against one quote currency, most traded first.
pub fn default_instruments(quote: &str) -> Vec<InstrumentSpec> {
    DEFAULTS
        .iter()
        .map(|[base, price, tick, lot]| {
            InstrumentSpec::new(base, quote, price, tick, lot).expect("the table below is checked by a test")
        })
        .collect()
}

/// Base, price, tick, lot. Prices of some day in the past, steps as venues choose them for such prices.
const DEFAULTS: [[&str; 4]; 50] = [
    ["BTC", "64210.50", "0.01", "0.00001"],
    ["ETH", "3120.45", "0.01", "0.0001"],
    ["SOL", "148.32", "0.01", "0.001"],
    ["BNB", "582.10", "0.01", "0.001"],
    ["XRP", "0.5874", "0.0001", "1"],
    ["DOGE", "0.12345", "0.00001", "1"],
    ["ADA", "0.4521", "0.0001", "0.1"],
    ["AVAX", "28.41", "0.01", "0.01"],
    ["LINK", "13.872", "0.001", "0.01"],
    ["DOT", "6.213", "0.001", "0.01"],
    ["LTC", "72.35", "0.01", "0.001"],
    ["BCH", "412.70", "0.1", "0.001"],
    ["TRX", "0.1312", "0.0001", "0.1"],
    ["UNI", "8.135", "0.001", "0.01"],
    ["ATOM", "6.542", "0.001", "0.01"],
    ["ETC", "21.37", "0.01", "0.01"],
    ["XLM", "0.1042", "0.0001", "1"],
    ["NEAR", "5.143", "0.001", "0.1"],
    ["APT", "8.940", "0.001", "0.01"],
    ["FIL", "4.872", "0.001", "0.01"],
    ["ARB", "0.7421", "0.0001", "0.1"],
    ["OP", "1.873", "0.001", "0.01"],
    ["SUI", "1.0342", "0.0001", "0.1"],
    ["INJ", "24.310", "0.001", "0.01"],
    ["AAVE", "98.42", "0.01", "0.001"],
    ["MKR", "2451.0", "0.1", "0.0001"],
    ["RUNE", "4.512", "0.001", "0.1"],
    ["GRT", "0.1923", "0.0001", "1"],
    ["ALGO", "0.1412", "0.0001", "1"],
    ["ICP", "9.231", "0.001", "0.01"],
    ["HBAR", "0.07123", "0.00001", "1"],
    ["VET", "0.02734", "0.00001", "0.1"],
    ["SAND", "0.3421", "0.0001", "1"],
    ["MANA", "0.3512", "0.0001", "1"],
    ["AXS", "5.872", "0.001", "0.01"],
    ["EGLD", "32.15", "0.01", "0.01"],
    ["XTZ", "0.7820", "0.0001", "0.1"],
    ["THETA", "1.412", "0.001", "0.1"],
    ["EOS", "0.5621", "0.0001", "0.1"],
    ["FTM", "0.6012", "0.0001", "1"],
    ["GALA", "0.02314", "0.00001", "1"],
    ["CRV", "0.3124", "0.0001", "0.1"],
    ["LDO", "1.632", "0.001", "0.01"],
    ["IMX", "1.423", "0.001", "0.01"],
    ["STX", "1.782", "0.001", "0.1"],
    ["TIA", "6.3210", "0.0001", "0.1"],
    ["SEI", "0.3821", "0.0001", "0.1"],
    ["PEPE", "0.00001012", "0.00000001", "1"],
    ["WIF", "2.143", "0.001", "0.01"],
    ["SHIB", "0.00001723", "0.00000001", "1"],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_fifty_different_and_valid() {
        let all = default_instruments("USDT");
        let mut symbols: Vec<_> = all.iter().map(InstrumentSpec::symbol).collect();
        symbols.sort();
        symbols.dedup();
        assert_eq!(symbols.len(), 50);
        assert_eq!(all[0].price_ticks, 6_421_050);
    }

    #[test]
    fn a_price_without_room_for_a_book_is_refused() {
        assert_eq!(InstrumentSpec::new("A", "B", "0.5", "0.01", "1"), None);
        assert_eq!(InstrumentSpec::new("A", "B", "x", "0.01", "1"), None);
        assert!(InstrumentSpec::new("A", "B", "1.5", "0.01", "1").is_some());
    }
}
