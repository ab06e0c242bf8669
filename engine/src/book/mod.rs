//! A price-level book: two sorted arrays with the touch at the hot end.
//!
//! Most changes happen near the touch, so the best level stands last: inserting there moves a few levels and searching
//! from there finds the place in a few steps. Capacity is taken when the book is made, so updates never allocate.

mod digits;
mod feed;
mod replica;
pub mod verify;
mod view;

pub use digits::Digits;
pub(crate) use feed::rescale;
pub use feed::{BookCounts, BookFeed, BookRule, Checksum, FeedOptions, Outcome};
pub use replica::Replica;
pub use view::View;

use crate::decimal::{Decimals, Price, Qty, power_of_ten};
use crate::event::Level;

/// Levels looked at one by one from the touch before a binary search takes over.
const NEAR_LEVELS: usize = 8;

/// Levels looked at from the level before towards the touch, before the search begins at the touch.
const AHEAD_LEVELS: usize = 4;

/// Levels beyond its largest depth that a side may hold while an update is applied. The update's levels come in any order:
/// one that is set before another is removed must not push out a third one, which the venue will not name again.
const SLACK_LEVELS: usize = 1_000;

/// One side of a book.
#[derive(Clone, Debug, Default)]
pub struct BookSide {
    /// Worst first, best last.
    levels: Vec<Level>,
    /// 1 for bids (the highest price is best), -1 for asks.
    sign: i64,
    depth_max: usize,
}

/// Where the level before stood, within one update: the next one is mostly a few steps from it, however deep both are.
///
/// Binance Spot names the levels of a side best first, in all of 4,122 recorded sides; USD-M by rising price, in all of 4,692,
/// so its bids worst first; of Kraken's 1,456 sides 948 are best first, and the rest in any order (recordings of 2024 and 2026).
#[derive(Clone, Copy)]
struct Finger {
    rank: i64,
    /// All levels below this index are worse, and all others as good or better.
    at: usize,
}

impl Finger {
    /// Nothing is known: the search begins at the touch.
    const TOUCH: Self = Self { rank: i64::MAX, at: usize::MAX };
}

/// What one level did to a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applied {
    /// Set, changed or removed.
    Done,
    /// A removal of a level that is not there: normal at every venue.
    Absent,
    /// The side was full; its worst level went.
    Evicted(Level),
    /// The side is full and this level is worse than all of it.
    Beyond,
}

impl BookSide {
    fn new(sign: i64, depth_max: usize, reserve: usize) -> Self {
        // A full side grows beyond its depth for as long as an update is applied.
        Self {
            levels: Vec::with_capacity(reserve.min(depth_max.saturating_add(SLACK_LEVELS))),
            sign,
            depth_max,
        }
    }

    /// Levels held.
    pub fn len(&self) -> usize {
        self.levels.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// The best level.
    #[inline]
    pub fn best(&self) -> Option<Level> {
        self.levels.last().copied()
    }

    /// All levels, best first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Level> + '_ {
        self.levels.iter().rev()
    }

    /// Grows with how good a price is, on either side.
    #[inline]
    const fn rank(&self, price: Price) -> i64 {
        price.0.wrapping_mul(self.sign)
    }

    /// Where `price` stands, or would stand.
    #[inline]
    fn place(&self, price: Price) -> Result<usize, usize> {
        self.place_below(self.levels.len(), self.rank(price))
    }

    /// Where `rank` stands, or would stand, among the worst `below` levels.
    #[inline]
    fn place_below(&self, below: usize, rank: i64) -> Result<usize, usize> {
        let levels = self.levels.get(..below).unwrap_or(&self.levels);
        let (far, near) = levels.split_at(levels.len().saturating_sub(NEAR_LEVELS));
        for (index, level) in near.iter().enumerate().rev() {
            let found = self.rank(level.price);
            if found <= rank {
                let at = far.len() + index;
                return if found == rank { Ok(at) } else { Err(at + 1) };
            }
        }
        far.binary_search_by(|level| self.rank(level.price).cmp(&rank))
    }

    /// Where `rank` stands, or would stand, if no level below index `from` is as good.
    #[inline]
    fn place_above(&self, from: usize, rank: i64) -> Result<usize, usize> {
        for (index, level) in self.levels.iter().enumerate().skip(from).take(AHEAD_LEVELS) {
            let found = self.rank(level.price);
            if found >= rank {
                return if found == rank { Ok(index) } else { Err(index) };
            }
        }
        self.place_below(self.levels.len(), rank)
    }

    #[inline]
    fn apply(&mut self, level: Level, finger: &mut Finger) -> Applied {
        let rank = self.rank(level.price);
        let place = if rank < finger.rank {
            self.place_below(finger.at, rank)
        } else {
            self.place_above(finger.at, rank)
        };
        *finger = Finger { rank, at: place.unwrap_or_else(|at| at) };
        match (place, level.qty.0 == 0) {
            (Ok(at), false) => self.levels[at].qty = level.qty,
            (Ok(at), true) => {
                self.levels.remove(at);
            }
            (Err(_), true) => return Applied::Absent,
            (Err(at), false) if self.is_stuffed() => return self.evict(at, level, finger),
            (Err(at), false) => self.levels.insert(at, level),
        }
        Applied::Done
    }

    /// Inserts at `at` into a side that is full: the worst level goes, be it this one.
    #[cold]
    fn evict(&mut self, at: usize, level: Level, finger: &mut Finger) -> Applied {
        if at == 0 {
            return Applied::Beyond;
        }
        let worst = self.levels.remove(0);
        self.levels.insert(at - 1, level);
        finger.at = at - 1;
        Applied::Evicted(worst)
    }

    fn is_stuffed(&self) -> bool {
        self.levels.len() >= self.depth_max.saturating_add(SLACK_LEVELS.min(self.depth_max))
    }

    /// Puts in order what stands in the place of the levels, best first as venues list a side: all of a snapshot. Where a
    /// price is named twice the last one counts. Returns how many levels went because the side is at its largest depth.
    ///
    /// Inserting them one by one, each best first before all others, moved every level once for each one after it: 25 ms for
    /// 10,000 levels a side.
    fn arrange(&mut self) -> u64 {
        self.levels.reverse();
        let sign = self.sign;
        let rank = |level: &Level| level.price.0.wrapping_mul(sign);
        if !self.levels.is_sorted_by(|worse, better| rank(worse) < rank(better)) {
            self.sort();
        }
        self.levels.retain(|level| level.qty.0 != 0);
        let excess = self.levels.len().saturating_sub(self.depth_max);
        self.levels.drain(..excess);
        excess as u64
    }

    /// A side that is not listed best first: no venue's, in the recordings.
    #[cold]
    fn sort(&mut self) {
        let sign = self.sign;
        let rank = |level: &Level| level.price.0.wrapping_mul(sign);
        // Stable, so that of equal prices the one that was named last stands first, and stays.
        self.levels.sort_by_key(rank);
        self.levels.dedup_by_key(|level| rank(level));
    }

    /// Cuts the worst levels beyond `depth` and hands each to `cut`.
    fn truncate(&mut self, depth: usize, mut cut: impl FnMut(Level)) {
        if self.levels.len() > depth {
            let excess = self.levels.len() - depth;
            for level in self.levels.drain(..excess) {
                cut(level);
            }
        }
    }
}

/// Levels that went out of a book without the venue's saying so: they must be removed from copies of it too.
#[derive(Debug, Default)]
pub struct Cut {
    /// Bids, with quantity zero.
    pub bids: Vec<Level>,
    /// Asks, with quantity zero.
    pub asks: Vec<Level>,
}

impl Cut {
    /// Whether nothing was cut.
    pub fn is_empty(&self) -> bool {
        self.bids.is_empty() && self.asks.is_empty()
    }

    fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }

    /// Forgets what the same update put back: a level that was evicted and then named again.
    #[cold]
    fn keep_absent(&mut self, book: &Book) {
        self.bids.retain(|level| book.bids.place(level.price).is_err());
        self.asks.retain(|level| book.asks.place(level.price).is_err());
    }
}

/// What an update did beyond setting levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpdateFacts {
    /// Removals of levels that were not there.
    pub absent_count: u64,
    /// Levels refused or evicted because a side is at its largest depth.
    pub depth_limited_count: u64,
}

/// A book of one instrument at one scale.
///
/// ```
/// use engine::book::{Book, Cut};
/// use engine::decimal::{Decimals, Price, Qty};
/// use engine::event::Level;
///
/// let level = |price, qty| Level { price: Price(price), qty: Qty(qty) };
/// let mut book = Book::new(2, 2); // two levels a side
/// book.load(Decimals { price: 1, qty: 0 }, &[level(999, 5), level(998, 7)], &[level(1_001, 4)]);
///
/// // Absolute levels; zero removes. What the depth pushed out is told, so that a smaller copy elsewhere can follow.
/// let mut cut = Cut::default();
/// book.apply(&[level(1_000, 1)], &[level(1_001, 0), level(1_002, 6)], &mut cut);
/// assert_eq!((book.bids.best(), book.asks.best()), (Some(level(1_000, 1)), Some(level(1_002, 6))));
/// assert_eq!(cut.bids, [level(998, 0)]);
/// assert!(!book.is_crossed());
/// ```
#[derive(Clone, Debug)]
pub struct Book {
    /// Buyers.
    pub bids: BookSide,
    /// Sellers.
    pub asks: BookSide,
    decimals: Decimals,
}

impl Book {
    /// Holds up to `depth_max` levels a side from now on, if that is more than before.
    pub fn deepen(&mut self, depth_max: usize) {
        for side in [&mut self.bids, &mut self.asks] {
            side.depth_max = side.depth_max.max(depth_max);
        }
    }

    /// An empty book that will hold at most `depth_max` levels a side, with memory for `reserve` of them taken now.
    pub fn new(depth_max: usize, reserve: usize) -> Self {
        Self {
            bids: BookSide::new(1, depth_max, reserve),
            asks: BookSide::new(-1, depth_max, reserve),
            decimals: Decimals::default(),
        }
    }

    /// Scale of its prices and quantities.
    pub const fn decimals(&self) -> Decimals {
        self.decimals
    }

    /// Forgets all levels and takes the scale of those to come.
    pub fn clear(&mut self, decimals: Decimals) {
        self.bids.levels.clear();
        self.asks.levels.clear();
        self.decimals = decimals;
    }

    /// Takes over a snapshot: these levels, best first, and no others. Returns how many did not fit the largest depth.
    pub fn load(&mut self, decimals: Decimals, bids: &[Level], asks: &[Level]) -> u64 {
        self.clear(decimals);
        self.bids.levels.extend_from_slice(bids);
        self.asks.levels.extend_from_slice(asks);
        self.bids.arrange() + self.asks.arrange()
    }

    /// Changes the scale of all levels. Returns whether every value fits; if not, the book is empty afterwards.
    #[cold]
    pub fn rescale(&mut self, decimals: Decimals) -> bool {
        let fits = self.try_rescale(decimals).is_some();
        if !fits {
            self.clear(decimals);
        }
        self.decimals = decimals;
        fits
    }

    fn try_rescale(&mut self, decimals: Decimals) -> Option<()> {
        let price = power_of_ten(decimals.price.checked_sub(self.decimals.price)?);
        let qty = power_of_ten(decimals.qty.checked_sub(self.decimals.qty)?);
        for level in self.bids.levels.iter_mut().chain(&mut self.asks.levels) {
            level.price = Price(level.price.0.checked_mul(price)?);
            level.qty = Qty(level.qty.0.checked_mul(qty)?);
        }
        Some(())
    }

    /// Applies absolute levels in the order given; zero removes. What had to leave because the book is at its largest
    /// depth stands in `cut` afterwards.
    #[inline]
    pub fn apply(&mut self, bids: &[Level], asks: &[Level], cut: &mut Cut) -> UpdateFacts {
        let mut facts = self.apply_part(bids, asks, cut);
        facts.depth_limited_count += self.settle(cut);
        if !cut.is_empty() {
            cut.keep_absent(self);
        }
        facts
    }

    /// As [`apply`](Self::apply), for an update that has more parts: the sides may stay beyond their depth until
    /// [`settle`](Self::settle).
    #[inline]
    pub fn apply_part(&mut self, bids: &[Level], asks: &[Level], cut: &mut Cut) -> UpdateFacts {
        cut.clear();
        let mut facts = UpdateFacts::default();
        for (side, levels, gone) in
            [(&mut self.bids, bids, &mut cut.bids), (&mut self.asks, asks, &mut cut.asks)]
        {
            let mut finger = Finger::TOUCH;
            for &level in levels {
                match side.apply(level, &mut finger) {
                    Applied::Done => {}
                    Applied::Absent => facts.absent_count += 1,
                    Applied::Beyond => {
                        facts.depth_limited_count += 1;
                        gone.push(Level { qty: Qty(0), ..level });
                    }
                    Applied::Evicted(worst) => {
                        facts.depth_limited_count += 1;
                        gone.push(Level { qty: Qty(0), ..worst });
                    }
                }
            }
        }
        facts
    }

    /// Cuts both sides to their largest depth: the update is whole. Returns how many levels went.
    #[inline]
    pub fn settle(&mut self, cut: &mut Cut) -> u64 {
        let before = self.bids.len() + self.asks.len();
        let (bids_max, asks_max) = (self.bids.depth_max, self.asks.depth_max);
        self.bids.truncate(bids_max, |level| cut.bids.push(Level { qty: Qty(0), ..level }));
        self.asks.truncate(asks_max, |level| cut.asks.push(Level { qty: Qty(0), ..level }));
        (before - self.bids.len() - self.asks.len()) as u64
    }

    /// Cuts both sides to `depth` levels; what went stands in `cut` beside what did before.
    #[inline]
    pub fn truncate(&mut self, depth: usize, cut: &mut Cut) {
        self.bids.truncate(depth, |level| cut.bids.push(Level { qty: Qty(0), ..level }));
        self.asks.truncate(depth, |level| cut.asks.push(Level { qty: Qty(0), ..level }));
    }

    /// Whether the best bid reaches the best ask: an error of the venue, the feed or ours.
    #[inline]
    pub fn is_crossed(&self) -> bool {
        match (self.bids.best(), self.asks.best()) {
            (Some(bid), Some(ask)) => bid.price >= ask.price,
            _ => false,
        }
    }

    /// Copies the best `depth` levels a side, best first, into lists that are cleared first.
    pub fn copy_best(&self, depth: usize, bids: &mut Vec<Level>, asks: &mut Vec<Level>) {
        bids.clear();
        bids.extend(self.bids.iter().take(depth));
        asks.clear();
        asks.extend(self.asks.iter().take(depth));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn level(price: i64, qty: i64) -> Level {
        Level { price: Price(price), qty: Qty(qty) }
    }

    #[test]
    fn a_snapshot_makes_the_book_that_its_levels_one_by_one_make() {
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            // One by one, a level that goes makes no room again for those that the side had no place for.
            let is_deep = random.bool();
            let (depth_max, qty_min) = if is_deep { (100, 0) } else { (random.usize(1..60), 1) };
            let mut bids: Vec<Level> =
                (0..random.usize(0..90)).map(|_| level(random.i64(1..70), random.i64(qty_min..9))).collect();
            if random.bool() {
                // As venues list them.
                bids.sort_by_key(|level| std::cmp::Reverse(level.price));
            }
            let asks: Vec<Level> = bids.iter().map(|l| level(1_000 - l.price.0, l.qty.0)).collect();
            let (mut loaded, mut built) = (Book::new(depth_max, 8), Book::new(depth_max, 8));
            loaded.apply(&[level(5_000, 1)], &[], &mut Cut::default());
            let cut_count = loaded.load(Decimals { price: 1, qty: 2 }, &bids, &asks);
            built.apply(&bids, &asks, &mut Cut::default());
            assert_eq!(loaded.bids.levels, built.bids.levels, "seed {seed}");
            assert_eq!(loaded.asks.levels, built.asks.levels, "seed {seed}");
            let mut prices: Vec<_> =
                bids.iter().filter(|level| level.qty.0 > 0).map(|level| level.price).collect();
            prices.sort_unstable();
            prices.dedup();
            if !is_deep {
                assert_eq!(cut_count, 2 * prices.len().saturating_sub(depth_max) as u64, "seed {seed}");
            }
            assert_eq!(loaded.decimals(), Decimals { price: 1, qty: 2 });
        }
    }

    #[test]
    fn random_updates_agree_with_a_map() {
        for seed in 0..30 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut book = Book::new(10_000, 64);
            let (mut bids, mut asks) = (BTreeMap::new(), BTreeMap::new());
            let mut cut = Cut::default();
            for _ in 0..2_000 {
                let mut update: Vec<Level> =
                    (0..random.usize(0..24)).map(|_| level(random.i64(1..300), random.i64(0..4))).collect();
                match random.u8(..4) {
                    0 => update.sort_by_key(|level| level.price),
                    1 => update.sort_by_key(|level| std::cmp::Reverse(level.price)),
                    _ => {}
                }
                let mirrored: Vec<Level> = update.iter().map(|l| level(1_000 - l.price.0, l.qty.0)).collect();
                let facts = book.apply(&update, &mirrored, &mut cut);
                let mut absent = 0;
                for (side, levels) in [(&mut bids, &update), (&mut asks, &mirrored)] {
                    for l in levels {
                        if l.qty.0 == 0 {
                            absent += u64::from(side.remove(&l.price).is_none());
                        } else {
                            side.insert(l.price, l.qty);
                        }
                    }
                }
                assert_eq!(
                    facts,
                    UpdateFacts { absent_count: absent, depth_limited_count: 0 },
                    "seed {seed}"
                );
            }
            let found: Vec<_> = book.bids.iter().map(|l| (l.price, l.qty)).collect();
            assert_eq!(found, bids.iter().rev().map(|(p, q)| (*p, *q)).collect::<Vec<_>>(), "seed {seed}");
            let found: Vec<_> = book.asks.iter().map(|l| (l.price, l.qty)).collect();
            assert_eq!(found, asks.iter().map(|(p, q)| (*p, *q)).collect::<Vec<_>>(), "seed {seed}");
        }
    }

    #[test]
    fn a_full_side_keeps_its_best_levels_and_says_what_went() {
        let mut book = Book::new(3, 3);
        let mut cut = Cut::default();
        let facts =
            book.apply(&[level(10, 1), level(9, 1), level(8, 1), level(11, 1), level(7, 1)], &[], &mut cut);
        assert_eq!(book.bids.iter().map(|l| l.price.0).collect::<Vec<_>>(), [11, 10, 9]);
        assert_eq!(facts.depth_limited_count, 2);
        assert_eq!(cut.bids, [level(7, 0), level(8, 0)]);
    }

    #[test]
    fn a_level_that_was_evicted_and_put_back_by_one_update_is_not_said_to_be_gone() {
        let mut book = Book::new(2, 2);
        let mut cut = Cut::default();
        book.apply(&[level(10, 1), level(9, 1)], &[], &mut cut);
        book.apply(&[level(11, 1), level(10, 0), level(9, 4)], &[], &mut cut);
        assert_eq!(book.bids.iter().copied().collect::<Vec<_>>(), [level(11, 1), level(9, 4)]);
        assert!(cut.is_empty(), "{cut:?}");
    }

    #[test]
    fn a_full_side_that_gets_a_level_before_it_loses_another_keeps_its_worst() {
        let mut book = Book::new(2, 2);
        let mut cut = Cut::default();
        book.apply(&[level(10, 1), level(9, 1)], &[], &mut cut);
        book.apply(&[level(11, 1), level(10, 0)], &[], &mut cut);
        assert_eq!(book.bids.iter().copied().collect::<Vec<_>>(), [level(11, 1), level(9, 1)]);
        assert!(cut.is_empty(), "{cut:?}");
    }

    #[test]
    fn truncation_cuts_the_worst_levels_of_each_side() {
        let mut book = Book::new(100, 10);
        let mut cut = Cut::default();
        book.apply(
            &[level(3, 1), level(1, 1), level(2, 1)],
            &[level(4, 1), level(6, 1), level(5, 1)],
            &mut cut,
        );
        book.truncate(2, &mut cut);
        assert_eq!(cut.bids, [level(1, 0)]);
        assert_eq!(cut.asks, [level(6, 0)]);
        assert_eq!((book.bids.len(), book.asks.len()), (2, 2));
    }

    #[test]
    fn a_book_is_crossed_when_its_sides_touch() {
        let mut book = Book::new(10, 10);
        let mut cut = Cut::default();
        book.apply(&[level(10, 1)], &[level(11, 1)], &mut cut);
        assert!(!book.is_crossed());
        book.apply(&[level(11, 1)], &[], &mut cut);
        assert!(book.is_crossed());
    }

    #[test]
    fn rescaling_is_exact_or_refused() {
        let mut book = Book::new(10, 10);
        book.clear(Decimals { price: 1, qty: 0 });
        book.apply(&[level(10, 7)], &[], &mut Cut::default());
        assert!(book.rescale(Decimals { price: 3, qty: 2 }));
        assert_eq!(book.bids.best(), Some(level(1_000, 700)));
        assert!(!book.rescale(Decimals { price: 18, qty: 18 }) || book.bids.best().is_some());
        let mut book = Book::new(10, 10);
        book.apply(&[level(i64::MAX / 2, 7)], &[], &mut Cut::default());
        assert!(!book.rescale(Decimals { price: 1, qty: 0 }));
        assert!(book.bids.is_empty());
    }
}
