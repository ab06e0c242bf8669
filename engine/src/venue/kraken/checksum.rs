//! Kraken's book checksum: CRC-32 over the digits of the ten best levels of each side.
//!
//! The venue's rule: asks by rising price, then bids by falling price, ten of each or as many as there are, whatever
//! the depth of the subscription; per level the price and the quantity, printed with the pair's fixed decimals, the
//! point removed and the leading zeros removed. A fixed number of decimals without the point is the mantissa itself,
//! so no decimal is formatted here; levels must be held at the venue's precision for that pair and no finer.
//!
//! Source: docs.kraken.com, guide "Spot WS book (v2)", 2026-05-27; the three documented vectors are tests below, and
//! 3500 of 3500 recorded checksums of August 2026 verify (see the tests of this venue).

use crate::book::Digits;
use crate::event::Level;

/// Levels of each side that the checksum covers.
pub const LEVELS: usize = 10;

/// The checksum of a book of which `asks` and `bids` give the levels, best first. No more than ten are taken of each.
/// `digits` keeps what was written for the books before this one, so that only levels that changed are written anew.
#[inline]
pub fn checksum<'a>(
    asks: impl IntoIterator<Item = &'a Level>,
    bids: impl IntoIterator<Item = &'a Level>,
    digits: &mut Digits,
) -> u32 {
    digits.clear();
    for level in asks.into_iter().take(LEVELS) {
        digits.push(level);
    }
    for level in bids.into_iter().take(LEVELS) {
        digits.push(level);
    }
    crc32fast::hash(digits.text())
}

#[cfg(test)]
mod tests {
    use super::checksum as checksum_with;
    use super::*;
    use crate::decimal::{Decimals, Price, Qty, parse};

    fn checksum(asks: &[Level], bids: &[Level]) -> u32 {
        checksum_with(asks, bids, &mut Digits::default())
    }

    /// Levels of `price qty | price qty`.
    fn levels(text: &str, decimals: Decimals) -> Vec<Level> {
        let level = |pair: &str| {
            let (price, qty) = pair.trim().split_once(' ').expect("price and quantity");
            Level {
                price: Price(parse(price.as_bytes(), decimals.price).expect("a price")),
                qty: Qty(parse(qty.as_bytes(), decimals.qty).expect("a quantity")),
            }
        };
        text.split('|').map(level).collect()
    }

    const BTC: Decimals = Decimals { price: 1, qty: 8 };
    const MATIC: Decimals = Decimals { price: 4, qty: 8 };

    const BTC_ASKS: &str = "45285.2 0.00100000 | 45286.4 1.54571953 | 45286.6 1.54571109 | 45289.6 1.54560911 \
        | 45290.2 0.15890660 | 45291.8 1.54553491 | 45294.7 0.04454749 | 45296.1 0.35380000 | 45297.5 0.09945542 \
        | 45299.5 0.18772827";
    const BTC_BIDS: &str = "45283.5 0.10000000 | 45283.4 1.54582015 | 45282.1 0.10000000 | 45281.0 0.10000000 \
        | 45280.3 1.54592586 | 45279.0 0.07990000 | 45277.6 0.03310103 | 45277.5 0.30000000 | 45277.3 1.54602737 \
        | 45276.6 0.15445238";
    // Trailing zeros are missing, as in the documentation: the checksum needs them all the same.
    const MATIC_ASKS: &str = "0.5668 4410.79769741 | 0.5669 4655.40412487 | 0.567 49844.89424998 \
        | 0.5671 24306.41678 | 0.5672 29783.25223475 | 0.5673 57234.71239278 | 0.5674 45065.04744 \
        | 0.5675 5912.76380354 | 0.5676 42514.92434778 | 0.5677 36304.0847022";
    const MATIC_BIDS: &str = "0.5666 4831.75496356 | 0.5665 6658.22734739 | 0.5664 18724.91513344 \
        | 0.5663 11563.92544914 | 0.5662 14006.65365711 | 0.5661 17454.85679807 | 0.566 18097.1547 \
        | 0.5659 33644.89175666 | 0.5658 148.3464 | 0.5657 606.70854372";

    #[test]
    fn the_documented_checksums_are_met() {
        assert_eq!(checksum(&levels(BTC_ASKS, BTC), &levels(BTC_BIDS, BTC)), 3_310_070_434);
        let asks = levels(MATIC_ASKS, MATIC);
        let mut bids = levels(MATIC_BIDS, MATIC);
        assert_eq!(checksum(&asks, &bids), 2_439_117_997);
        let update = levels("0.5657 1098.3947558", MATIC)[0];
        *bids.last_mut().expect("ten bids") = update;
        assert_eq!(checksum(&asks, &bids), 2_114_181_697);
    }

    #[test]
    fn a_scale_other_than_the_pairs_gives_another_checksum() {
        let finer = Decimals { price: 2, qty: 8 };
        assert_ne!(checksum(&levels(BTC_ASKS, finer), &levels(BTC_BIDS, finer)), 3_310_070_434);
    }

    #[test]
    fn levels_beyond_the_tenth_do_not_count_and_fewer_than_ten_do() {
        let (mut asks, mut bids) = (levels(BTC_ASKS, BTC), levels(BTC_BIDS, BTC));
        asks.push(levels("45300.0 1.00000000", BTC)[0]);
        bids.push(levels("45200.0 1.00000000", BTC)[0]);
        assert_eq!(checksum(&asks, &bids), 3_310_070_434);

        let digits = b"45285210000045283510000000";
        assert_eq!(checksum(&asks[..1], &bids[..1]), crc32fast::hash(digits));
        assert_eq!(checksum(&[], &[]), crc32fast::hash(b""));
    }

    #[test]
    fn what_was_kept_of_other_books_changes_no_checksum() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut kept = Digits::default();
        let (mut asks, mut bids) = (levels(BTC_ASKS, BTC), levels(BTC_BIDS, BTC));
        for _ in 0..2_000 {
            let side = if random.bool() { &mut asks } else { &mut bids };
            let at = random.usize(..side.len());
            match random.u8(..4) {
                0 => side[at].qty = Qty(random.i64(..) >> random.u32(..63)),
                1 => side[at].price = Price(452_000 + random.i64(..40)),
                2 => side.rotate_left(at),
                _ => side[at] = Level::default(),
            }
            assert_eq!(checksum_with(&asks, &bids, &mut kept), checksum(&asks, &bids));
        }
    }

    #[test]
    fn mantissas_are_printed_in_full_and_without_leading_zeros() {
        let powers = (0..19).map(|exponent| 10_i64.pow(exponent)).flat_map(|it| [it - 1, it, it + 1, it * 9]);
        let mut random = fastrand::Rng::with_seed(3);
        let others = (0..10_000).map(|_| random.i64(0..) >> random.u32(0..63));
        for mantissa in powers.chain(others).chain([123_456_789, i64::MAX - 1, i64::MAX]) {
            let level = Level { price: Price(mantissa), qty: Qty(7) };
            let text = if mantissa == 0 { "7".to_owned() } else { format!("{mantissa}7") };
            assert_eq!(checksum(&[level], &[]), crc32fast::hash(text.as_bytes()), "{mantissa}");
        }
        let widest = [Level { price: Price(i64::MAX), qty: Qty(i64::MIN) }; 12];
        let text = "92233720368547758079223372036854775808".repeat(20);
        assert_eq!(checksum(&widest, &widest), crc32fast::hash(text.as_bytes()));
    }
}
