//! Kinds of streams, and which part of a book's change a subscriber of some depth gets.
//!
//! A subscriber sees the best `depth` levels a side. It is told about every change inside of them, and about levels
//! that come (back) into them; it is not told when a level falls out of them because better ones came.
//!
//! Source: docs.kraken.com, book channel and checksum guide, pages of 2026-05-27; recordings of August 2026.

use super::encode::CHECKSUM_LEVELS;
use crate::market::{Book, Level, LevelChange, Levels, Side};

/// Depths that can be subscribed to.
pub(super) const DEPTHS: [usize; 5] = [10, 25, 100, 500, 1000];
/// Bars that can be subscribed to: minutes, and the index of the market's interval. (The venue also has 10080 and
/// 21600.)
pub(super) const MINUTES: [(u64, usize); 7] =
    [(1, 1), (5, 3), (15, 4), (30, 5), (60, 6), (240, 8), (1440, 12)];

const FIRST_BOOK: usize = 3;
const FIRST_OHLC: usize = FIRST_BOOK + DEPTHS.len();
/// Kinds of streams of one instrument.
pub(super) const KINDS: usize = FIRST_OHLC + MINUTES.len();

/// A kind of stream. The numbers are indices into the tables above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Trade,
    /// On every trade.
    TickerTrades,
    /// On every trade and every change of the best prices.
    TickerBbo,
    Book(usize),
    Ohlc(usize),
}

impl Kind {
    pub(super) fn index(self) -> usize {
        match self {
            Self::Trade => 0,
            Self::TickerTrades => 1,
            Self::TickerBbo => 2,
            Self::Book(depth) => FIRST_BOOK + depth,
            Self::Ohlc(interval) => FIRST_OHLC + interval,
        }
    }

    /// As a label of counters.
    pub(super) fn label(index: usize) -> String {
        match index {
            0 => "trade".to_owned(),
            1 => "ticker@trades".to_owned(),
            2 => "ticker@bbo".to_owned(),
            FIRST_BOOK..FIRST_OHLC => format!("book{}", DEPTHS[index - FIRST_BOOK]),
            _ => format!("ohlc_{}", MINUTES[index - FIRST_OHLC].0),
        }
    }
}

/// What subscribers of all depths saw of a book: the end of what is visible, and the best levels.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// By side and depth, the price of the last visible level; `None` if all levels are visible.
    edges: [[Option<i64>; DEPTHS.len()]; 2],
    best: [[Option<Level>; CHECKSUM_LEVELS]; 2],
}

impl View {
    pub(super) fn of(book: &Book) -> Self {
        let edges = |levels: &Levels| DEPTHS.map(|depth| levels.at(depth - 1).map(|level| level.price));
        let best = |levels: &Levels| std::array::from_fn(|place| levels.at(place));
        Self { edges: [edges(&book.bids), edges(&book.asks)], best: [best(&book.bids), best(&book.asks)] }
    }

    pub(super) fn edge(&self, side: Side, depth_index: usize) -> Option<i64> {
        self.edges[usize::from(side == Side::Ask)][depth_index]
    }

    /// The levels that a checksum covers, from the best on.
    pub(super) fn best(&self, side: Side) -> impl Iterator<Item = Level> + '_ {
        self.best[usize::from(side == Side::Ask)].iter().copied().flatten()
    }
}

/// What a subscriber of `depth` levels is told of a side after `changes`: changed levels that it saw or sees now (0: the
/// level is gone), in their order, then levels that it did not see before and that did not change. `old` is the edge
/// before the changes; `levels` the side after them.
pub(super) fn visible_changes(
    changes: &[LevelChange],
    levels: &Levels,
    side: Side,
    depth: usize,
    old: Option<i64>,
    into: &mut Vec<Level>,
) {
    let within =
        |price: i64, edge: Option<i64>| edge.is_none_or(|edge| side.sign() * price >= side.sign() * edge);
    let new = levels.at(depth - 1).map(|level| level.price);
    for change in changes.iter().filter(|change| change.side == side) {
        if within(change.price, old) || within(change.price, new) {
            into.push(Level { price: change.price, qty: change.qty });
        }
    }
    if old.is_none() {
        return;
    }
    let sent = into.len();
    for place in (0..depth).rev() {
        let Some(level) = levels.at(place) else { continue };
        if within(level.price, old) {
            break;
        }
        if !into[..sent].iter().any(|it| it.price == level.price) {
            into.push(level);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_index_and_label() {
        let mut labels: Vec<_> = (0..KINDS).map(Kind::label).collect();
        labels.sort();
        labels.dedup();
        assert_eq!(labels.len(), KINDS);
        for (minutes, interval) in MINUTES {
            assert_eq!(crate::market::INTERVALS[interval].1, minutes * 60);
        }
    }

    #[test]
    fn levels_that_fall_out_are_not_deleted_and_come_back_with_their_quantity() {
        let mut levels = Levels::new(Side::Ask, 8);
        for price in 1..=4 {
            levels.set(price * 10, price);
        }
        let mut check = |price, qty, expected: &[(i64, i64)]| {
            let old = levels.at(1).map(|level| level.price);
            levels.set(price, qty);
            let change = LevelChange { side: Side::Ask, price, qty };
            let mut told = Vec::new();
            visible_changes(&[change], &levels, Side::Ask, 2, old, &mut told);
            let told: Vec<_> = told.iter().map(|level| (level.price, level.qty)).collect();
            assert_eq!(told, expected, "{price} {qty}");
        };
        check(15, 7, &[(15, 7)]); // 20 falls out
        check(20, 9, &[]); // behind the edge
        check(15, 0, &[(15, 0), (20, 9)]); // 20 comes back, as it is now
        check(30, 1, &[]);
        check(10, 0, &[(10, 0), (30, 1)]);
    }
}
