//! The true book of one instrument: price levels in ticks and lots.
//!
//! Each side is a sorted vector with its best level last, because nearly all changes happen near the best price,
//! where an insertion moves few levels.

/// Buy or sell; for a level, the side of the resting orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Buyers: the best is the highest price.
    Bid,
    /// Sellers: the best is the lowest price.
    Ask,
}

impl Side {
    /// The other side.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Bid => Self::Ask,
            Self::Ask => Self::Bid,
        }
    }

    /// `1` where a better price is a higher one, else `-1`.
    pub fn sign(self) -> i64 {
        match self {
            Self::Bid => 1,
            Self::Ask => -1,
        }
    }
}

/// One price level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Ticks.
    pub price: i64,
    /// Lots; never 0 in a book.
    pub qty: i64,
}

/// One side of a book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    side: Side,
    /// From the worst to the best.
    sorted: Vec<Level>,
}

impl Levels {
    pub(crate) fn new(side: Side, capacity: usize) -> Self {
        Self { side, sorted: Vec::with_capacity(capacity) }
    }

    /// How many levels there are.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether the side holds no level.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The best level.
    pub fn best(&self) -> Option<Level> {
        self.sorted.last().copied()
    }

    /// The level farthest from the best.
    pub fn worst(&self) -> Option<Level> {
        self.sorted.first().copied()
    }

    /// The level `depth` places behind the best (0 is the best).
    pub fn at(&self, depth: usize) -> Option<Level> {
        self.sorted.len().checked_sub(depth + 1).map(|index| self.sorted[index])
    }

    /// Lots at a price, 0 if there is no such level.
    pub fn qty(&self, price: i64) -> i64 {
        self.find(price).map_or(0, |index| self.sorted[index].qty)
    }

    /// From the best to the worst.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Level> + '_ {
        self.sorted.iter().rev().copied()
    }

    /// Sets the lots of a price; 0 removes the level.
    pub(crate) fn set(&mut self, price: i64, qty: i64) {
        match self.find(price) {
            Ok(index) if qty == 0 => drop(self.sorted.remove(index)),
            Ok(index) => self.sorted[index].qty = qty,
            Err(_) if qty == 0 => {}
            Err(index) => self.sorted.insert(index, Level { price, qty }),
        }
    }

    fn find(&self, price: i64) -> Result<usize, usize> {
        let sign = self.side.sign();
        // The best levels are the ones asked for: look there before halving the whole side.
        if let Some(last) = self.sorted.last() {
            match (sign * price).cmp(&(sign * last.price)) {
                std::cmp::Ordering::Greater => return Err(self.sorted.len()),
                std::cmp::Ordering::Equal => return Ok(self.sorted.len() - 1),
                std::cmp::Ordering::Less => {}
            }
        }
        self.sorted.binary_search_by_key(&(sign * price), |level| sign * level.price)
    }
}

/// Both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Book {
    /// Buyers.
    pub bids: Levels,
    /// Sellers.
    pub asks: Levels,
}

impl Book {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { bids: Levels::new(Side::Bid, capacity), asks: Levels::new(Side::Ask, capacity) }
    }

    /// One side.
    pub fn side(&self, side: Side) -> &Levels {
        match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        }
    }

    pub(crate) fn side_mut(&mut self, side: Side) -> &mut Levels {
        match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        }
    }

    /// Best bid and best ask. A simulated market never runs out of levels on a side.
    pub fn top(&self) -> Top {
        Top {
            bid: self.bids.best().expect("the market refills both sides"),
            ask: self.asks.best().expect("the market refills both sides"),
        }
    }
}

/// Best bid and best ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Top {
    /// Highest buyer.
    pub bid: Level,
    /// Lowest seller.
    pub ask: Level,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_stay_sorted_with_the_best_first_in_iteration() {
        for (side, best_first) in [(Side::Bid, [12, 10, 7]), (Side::Ask, [7, 10, 12])] {
            let mut levels = Levels::new(side, 4);
            for price in [10, 7, 12, 11] {
                levels.set(price, price * 2);
            }
            levels.set(11, 0);
            levels.set(99, 0);
            assert_eq!(levels.iter().map(|level| level.price).collect::<Vec<_>>(), best_first);
            assert_eq!(levels.best().unwrap().price, best_first[0]);
            assert_eq!(levels.worst().unwrap().price, best_first[2]);
            assert_eq!(levels.at(1), Some(Level { price: 10, qty: 20 }));
            assert_eq!(levels.at(3), None);
            assert_eq!((levels.qty(7), levels.qty(11)), (14, 0));
        }
    }
}
