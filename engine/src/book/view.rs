//! The best levels of a book as one consumer shard wants them: exact at all times, and silent about the rest.
//!
//! A shard that asked for 50 levels a side must hold the venue's best 50, not 50 that were the best once and what
//! changed since. So a view is told every change of the book and says what it means for the best levels: those set,
//! those that left, and those that came up from below because one above them went. An update that changes nothing there
//! is not sent at all, which is most of them: a venue's book moves mainly where nobody looks.

use super::{Book, BookSide};
use crate::decimal::{Decimals, Qty};
use crate::event::Level;

/// Levels a side whose memory a view takes when it is made; a deeper one grows on first use.
const RESERVE: usize = 1_024;

/// The best `depth` levels a side of a book.
#[derive(Debug)]
pub struct View {
    depth: usize,
    /// What the reader has.
    copy: Book,
}

impl View {
    /// A view of nothing yet: [`reset`](Self::reset) it before the first update.
    pub fn new(depth: usize) -> Self {
        Self { depth, copy: Book::new(depth, depth.min(RESERVE)) }
    }

    /// Levels a side, at most.
    pub const fn depth(&self) -> usize {
        self.depth
    }

    /// What its readers have.
    pub const fn copy(&self) -> &Book {
        &self.copy
    }

    /// The book was replaced, or the reader has nothing yet: what to send is the best levels of `book`.
    pub fn reset(&mut self, book: &Book) {
        self.copy.clear(book.decimals());
        for (copy, side) in [(&mut self.copy.bids, &book.bids), (&mut self.copy.asks, &book.asks)] {
            let visible = side.levels.len().min(self.depth);
            copy.levels.extend_from_slice(&side.levels[side.levels.len() - visible..]);
        }
    }

    /// The levels `bids` and `asks` of `book` were set, changed or removed, and nothing else was; `book` is as it stands
    /// after that. Leaves what to send in `bids_out` and `asks_out`, removals first, and returns whether there is any.
    #[inline]
    pub fn update(
        &mut self,
        book: &Book,
        bids: &[Level],
        asks: &[Level],
        bids_out: &mut Vec<Level>,
        asks_out: &mut Vec<Level>,
    ) -> bool {
        if book.decimals() != self.copy.decimals() {
            self.rescale(book.decimals());
        }
        change(&mut self.copy.bids, &book.bids, self.depth, bids, bids_out);
        change(&mut self.copy.asks, &book.asks, self.depth, asks, asks_out);
        !bids_out.is_empty() || !asks_out.is_empty()
    }

    /// The book has changed its scale, so the levels it shares with the view fit the new one.
    #[cold]
    fn rescale(&mut self, decimals: Decimals) {
        let fits = self.copy.rescale(decimals);
        debug_assert!(fits, "the book holds the same levels and did fit");
    }
}

/// Brings one side of a view up to its book and writes down what that took.
#[inline]
fn change(copy: &mut BookSide, side: &BookSide, depth: usize, changed: &[Level], out: &mut Vec<Level>) {
    out.clear();
    let rank = |level: &Level| level.price.0.wrapping_mul(side.sign);
    // A side with fewer levels than the view may hold shows all there are.
    let edge_before = match copy.levels.first() {
        Some(worst) if copy.levels.len() >= depth => rank(worst),
        _ => i64::MIN,
    };
    // All below the edge: the best levels are what they were. The usual case, decided without touching the book.
    if depth == 0 || changed.iter().all(|level| rank(level) < edge_before) {
        return;
    }
    let visible = side.levels.len().min(depth);
    let best = &side.levels[side.levels.len() - visible..];
    let edge_after = match best.first() {
        Some(worst) if side.levels.len() > depth => rank(worst),
        _ => i64::MIN,
    };
    // Removals go first, so that a reader with room for `depth` levels never has to hold more.
    for level in changed.iter().filter(|level| rank(level) >= edge_before) {
        let is_visible = rank(level) >= edge_after && side.place(level.price).is_ok();
        if !is_visible && let Ok(at) = copy.place(level.price) {
            copy.levels.remove(at);
            out.push(Level { qty: Qty(0), ..*level });
        }
    }
    let pushed_out = copy.levels.partition_point(|level| rank(level) < edge_after);
    out.extend(copy.levels.drain(..pushed_out).map(|level| Level { qty: Qty(0), ..level }));
    for level in changed.iter().filter(|level| rank(level) >= edge_before.max(edge_after)) {
        let Ok(at) = side.place(level.price) else { continue };
        // What the book has now: an update may name a level twice.
        let level = side.levels[at];
        match copy.place(level.price) {
            Ok(at) if copy.levels[at].qty == level.qty => continue,
            Ok(at) => copy.levels[at].qty = level.qty,
            Err(at) => copy.levels.insert(at, level),
        }
        out.push(level);
    }
    // What is left of the best levels came up from below the old edge.
    let came_up = visible - copy.levels.len();
    out.extend(best[..came_up].iter().rev());
    copy.levels.extend_from_slice(&best[..came_up]);
    copy.levels.rotate_right(came_up);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::Cut;
    use crate::decimal::Price;
    use std::collections::BTreeMap;

    fn level(price: i64, qty: i64) -> Level {
        Level { price: Price(price), qty: Qty(qty) }
    }

    type Map = BTreeMap<i64, i64>;

    fn apply(map: &mut Map, levels: &[Level]) {
        for level in levels {
            if level.qty.0 == 0 {
                map.remove(&level.price.0);
            } else {
                map.insert(level.price.0, level.qty.0);
            }
        }
    }

    fn best_bids(map: &Map, depth: usize) -> Map {
        map.iter().rev().take(depth).map(|(price, qty)| (*price, *qty)).collect()
    }

    fn best_asks(map: &Map, depth: usize) -> Map {
        map.iter().take(depth).map(|(price, qty)| (*price, *qty)).collect()
    }

    /// What a reader had, and what it was sent, is what a map of the whole book says the best levels are; and what was
    /// sent is nothing more than the difference.
    #[test]
    fn a_view_is_the_best_levels_of_a_map_before_and_after_every_update() {
        for seed in 0..60 {
            let mut random = fastrand::Rng::with_seed(seed);
            let depth = random.usize(1..12);
            let spread = random.i64(3..80);
            let mut book = Book::new(10_000, 64);
            let mut view = View::new(depth);
            let (mut all_bids, mut all_asks) = (Map::new(), Map::new());
            let (mut seen_bids, mut seen_asks) = (Map::new(), Map::new());
            let (mut bids_out, mut asks_out, mut cut) = (Vec::new(), Vec::new(), Cut::default());
            view.reset(&book);
            for step in 0..1_500 {
                let mut some = |base: i64, sign: i64| -> Vec<Level> {
                    let count = random.usize(0..7);
                    (0..count).map(|_| level(base + sign * random.i64(0..spread), random.i64(0..4))).collect()
                };
                let (bids, asks) = (some(1_000, -1), some(1_001, 1));
                book.apply(&bids, &asks, &mut cut);
                apply(&mut all_bids, &bids);
                apply(&mut all_asks, &asks);
                let changed = view.update(&book, &bids, &asks, &mut bids_out, &mut asks_out);
                let (bids, asks) = (best_bids(&all_bids, depth), best_asks(&all_asks, depth));
                assert_eq!(changed, bids != seen_bids || asks != seen_asks, "seed {seed} step {step}");
                for (seen, sent, best) in
                    [(&mut seen_bids, &bids_out, &bids), (&mut seen_asks, &asks_out, &asks)]
                {
                    for level in sent {
                        apply(seen, std::slice::from_ref(level));
                        assert!(seen.len() <= depth, "a reader needs no more room: seed {seed} step {step}");
                    }
                    assert_eq!(seen, best, "seed {seed} step {step}");
                    let mut prices: Vec<_> = sent.iter().map(|level| level.price).collect();
                    prices.sort_unstable();
                    prices.dedup();
                    assert_eq!(prices.len(), sent.len(), "each level once: seed {seed} step {step}");
                }
            }
        }
    }

    #[test]
    fn a_level_that_comes_up_is_sent_and_one_pushed_out_is_removed() {
        let mut book = Book::new(100, 10);
        let (mut cut, mut bids, mut asks) = (Cut::default(), Vec::new(), Vec::new());
        book.apply(&[level(10, 1), level(9, 2), level(8, 3)], &[], &mut cut);
        let mut view = View::new(2);
        view.reset(&book);
        let change = [level(10, 0)];
        book.apply(&change, &[], &mut cut);
        assert!(view.update(&book, &change, &[], &mut bids, &mut asks));
        assert_eq!((&bids[..], &asks[..]), (&[level(10, 0), level(8, 3)][..], &[][..]));
        let change = [level(11, 5)];
        book.apply(&change, &[], &mut cut);
        assert!(view.update(&book, &change, &[], &mut bids, &mut asks));
        assert_eq!(bids, [level(8, 0), level(11, 5)]);
        let change = [level(8, 9), level(3, 1), level(7, 0)];
        book.apply(&change, &[], &mut cut);
        assert!(!view.update(&book, &change, &[], &mut bids, &mut asks), "all below the second level");
    }

    #[test]
    fn a_view_follows_the_scale_of_its_book() {
        let mut book = Book::new(100, 10);
        let (mut cut, mut bids, mut asks) = (Cut::default(), Vec::new(), Vec::new());
        book.clear(Decimals { price: 0, qty: 0 });
        book.apply(&[level(10, 1), level(9, 2)], &[], &mut cut);
        let mut view = View::new(1);
        view.reset(&book);
        assert!(book.rescale(Decimals { price: 1, qty: 0 }));
        let change = [level(101, 1)];
        book.apply(&change, &[], &mut cut);
        assert!(view.update(&book, &change, &[], &mut bids, &mut asks));
        assert_eq!(bids, [level(100, 0), level(101, 1)]);
        assert_eq!(view.copy().decimals(), Decimals { price: 1, qty: 0 });
    }
}
