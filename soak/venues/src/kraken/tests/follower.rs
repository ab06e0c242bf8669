//! A client's book, kept by the venue's documented procedure. Written from the documents, not from the code under test:
//! digits are taken from the frame's text, and the checksum is computed bit by bit.

use std::collections::BTreeMap;

use crate::venue::BookTruth;

/// One side: price digits to quantity digits, both as mantissas.
type Side = BTreeMap<u64, u64>;

pub(super) struct Follower {
    depth: usize,
    decimals: (usize, usize),
    bids: Side,
    asks: Side,
    pub(super) updates: u64,
    pub(super) mismatches: u64,
    pub(super) one_sided: bool,
    /// Levels that were cut off and came back.
    pub(super) returned: u64,
    cut: [std::collections::BTreeSet<u64>; 2],
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = !0u32;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xEDB8_8320 } else { sum >> 1 };
        }
    }
    !sum
}

/// The text between `after` and the next `end`.
fn between<'a>(text: &'a str, after: &str, end: char) -> &'a str {
    let from = text.find(after).unwrap_or_else(|| panic!("no {after} in {text}")) + after.len();
    &text[from..from + text[from..].find(end).expect("an end")]
}

impl Follower {
    pub(super) fn new(depth: usize, truth: &BookTruth) -> Self {
        Self {
            depth,
            decimals: (truth.price_decimals, truth.qty_decimals),
            bids: Side::new(),
            asks: Side::new(),
            updates: 0,
            mismatches: 0,
            one_sided: true,
            returned: 0,
            cut: Default::default(),
        }
    }

    /// Digits at the pair's precision, padded if the text has fewer.
    fn digits(text: &str, decimals: usize) -> u64 {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        assert!(fraction.len() <= decimals, "{text}");
        format!("{whole}{fraction:0<decimals$}").parse().unwrap()
    }

    fn take(&mut self, text: &str, bids: bool) {
        let decimals = self.decimals;
        for level in text.split("\"price\":").skip(1) {
            let (price, rest) = level.split_once(",\"qty\":").unwrap();
            let qty = Self::digits(rest.split('}').next().unwrap(), decimals.1);
            let price = Self::digits(price, decimals.0);
            if self.cut[usize::from(bids)].remove(&price) && qty > 0 {
                self.returned += 1;
            }
            let side = if bids { &mut self.bids } else { &mut self.asks };
            if qty == 0 {
                side.remove(&price)
            } else {
                side.insert(price, qty)
            };
        }
    }

    pub(super) fn apply(&mut self, text: &str) {
        if !text.starts_with("{\"channel\":\"book\"") {
            return;
        }
        if text.contains("\"type\":\"snapshot\"") {
            self.bids.clear();
            self.asks.clear();
        } else {
            self.updates += 1;
            self.one_sided &= text.contains("\"bids\":[],") ^ text.contains("\"asks\":[],");
        }
        self.take(between(text, "\"asks\":", ']'), false);
        self.take(between(text, "\"bids\":", ']'), true);
        while self.asks.len() > self.depth {
            self.cut[0].extend(self.asks.pop_last().map(|(price, _)| price));
        }
        while self.bids.len() > self.depth {
            self.cut[1].extend(self.bids.pop_first().map(|(price, _)| price));
        }
        let asks = self.asks.iter().take(10);
        let best = asks.chain(self.bids.iter().rev().take(10));
        let digits: Vec<String> =
            best.flat_map(|(price, qty)| [price.to_string(), qty.to_string()]).collect();
        let expected: u32 = between(text, "\"checksum\":", ',').parse().unwrap();
        self.mismatches += u64::from(crc32(digits.concat().as_bytes()) != expected);
    }

    pub(super) fn assert_equals(&self, truth: &BookTruth) {
        let mantissas = |(price, qty): (&u64, &u64)| (*price as i64, *qty as i64);
        let bids: Vec<_> = self.bids.iter().rev().map(mantissas).collect();
        let asks: Vec<_> = self.asks.iter().map(mantissas).collect();
        assert_eq!(bids, truth.bids[..self.depth.min(truth.bids.len())]);
        assert_eq!(asks, truth.asks[..self.depth.min(truth.asks.len())]);
    }
}
