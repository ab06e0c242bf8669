//! The price that an asset has on all venues: a function of seed, asset and time, the same wherever it is asked.
//!
//! Each venue's market is drawn towards it by its own takers and makers, so prices of one asset move together and are
//! never quite equal. Smooth noise of a few periods; slow enough that a market with a few events a second follows.

/// Periods (seconds) and the greatest deviation that each adds, as a part of the price.
const WAVES: [(u64, f64); 3] = [(86_400, 0.01), (3_600, 0.0015), (300, 0.0004)];
/// The greatest lasting difference of a venue's prices, as a part of the price.
const OFFSET_MAX: f64 = 0.0002;

/// Where the price of one asset on one venue is drawn to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reference {
    asset: u64,
    offset: f64,
}

impl Reference {
    pub(crate) fn new(seed: u64, base: &str, venue: &str) -> Self {
        let asset = hash_text(seed, base);
        Self { asset, offset: OFFSET_MAX * unit(hash_text(asset, venue)) }
    }

    /// The price in ticks, if it started at `start`.
    pub(crate) fn price(&self, start: i64, time_ns: u64) -> i64 {
        let waves = WAVES.iter().map(|(period_s, height)| {
            let at = time_ns as f64 / 1e9 / *period_s as f64;
            let (number, part) = (at.floor(), at - at.floor());
            let value = |number: f64| unit(mix(self.asset ^ period_s << 40 ^ number as u64));
            // Flat at both ends, so that the path has no corners.
            let weight = part * part * (3.0 - 2.0 * part);
            height * (value(number) * (1.0 - weight) + value(number + 1.0) * weight)
        });
        start + (start as f64 * (self.offset + waves.sum::<f64>())) as i64
    }
}

/// From -1 to 1.
fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// Another number, as if by chance. (The finisher of `SplitMix64`.)
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ value >> 31
}

pub(crate) fn hash_text(seed: u64, text: &str) -> u64 {
    text.bytes().fold(mix(seed), |hash, byte| mix(hash ^ u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_NS: u64 = 1_783_000_000_000_000_000;

    #[test]
    fn the_path_moves_slowly_within_its_bounds_and_venues_differ_by_little() {
        let start = 10_000_000;
        let (one, other) = (Reference::new(7, "BTC", "one"), Reference::new(7, "BTC", "other"));
        let mut before = one.price(start, START_NS);
        let mut seen = vec![before];
        for second in 1..200_000 {
            let time_ns = START_NS + second * 1_000_000_000;
            let price = one.price(start, time_ns);
            // A tenth of a basis point a second at the most.
            assert!((price - before).abs() <= start / 100_000, "{before} {price}");
            assert!((price - start).abs() < start / 80);
            assert!((price - other.price(start, time_ns)).abs() <= start / 2000);
            before = price;
            seen.push(price);
        }
        let (low, high) = (seen.iter().min().unwrap(), seen.iter().max().unwrap());
        assert!(high - low > start / 500, "it moves: {low} {high}");
        assert_ne!(one.price(start, START_NS), Reference::new(8, "BTC", "one").price(start, START_NS));
    }
}
