//! Verification of a live book: a second snapshot, brought to the same update number and compared.
//!
//! The live book goes on meanwhile. From the moment the snapshot is asked for, the updates are kept beside; when it is
//! there, a shadow book takes it and those updates, and at the same number both must agree wherever both know the
//! venue's book. Levels beyond what the live book's own snapshot reached were never known to it: finding them is an
//! extension, not a failure.

use super::{Book, BookSide, Cut};
use crate::event::Level;

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Both agree wherever both know the book; the live book lacks `unknown_count` levels that it could not know.
    Equal {
        /// Levels of the shadow beyond what the live book's snapshot reached.
        unknown_count: usize,
    },
    /// They differ where both should know the book.
    Different {
        /// Levels that differ.
        count: usize,
        /// The first of them, from the touch outwards, as the shadow has it.
        first: Level,
    },
}

/// How far from the touch a book knows its venue's: the worst prices of the snapshot that it started from. A side
/// without a bound is known whole, because its snapshot had fewer levels than were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Bids at or above this price.
    pub bid: Option<i64>,
    /// Asks at or below this price.
    pub ask: Option<i64>,
}

impl Reach {
    /// What a snapshot of `bids` and `asks` levels shows when `asked` levels a side were asked for.
    pub fn of(book: &Book, bids: usize, asks: usize, asked: usize) -> Self {
        let worst = |side: &BookSide, count: usize| {
            (count >= asked).then(|| side.iter().last().map(|level| level.price.0)).flatten()
        };
        Self { bid: worst(&book.bids, bids), ask: worst(&book.asks, asks) }
    }

    const fn knows_bid(&self, price: i64) -> bool {
        match self.bid {
            Some(worst) => price >= worst,
            None => true,
        }
    }

    const fn knows_ask(&self, price: i64) -> bool {
        match self.ask {
            Some(worst) => price <= worst,
            None => true,
        }
    }
}

/// Compares a live book with a shadow at the same update number and scale.
pub fn compare(live: &Book, live_reach: &Reach, shadow: &Book, shadow_reach: &Reach) -> Comparison {
    let mut found = Found::default();
    side(
        &live.bids,
        &shadow.bids,
        |price| live_reach.knows_bid(price),
        |price| shadow_reach.knows_bid(price),
        &mut found,
    );
    side(
        &live.asks,
        &shadow.asks,
        |price| live_reach.knows_ask(price),
        |price| shadow_reach.knows_ask(price),
        &mut found,
    );
    match found.first {
        Some(first) => Comparison::Different { count: found.count, first },
        None => Comparison::Equal { unknown_count: found.unknown_count },
    }
}

#[derive(Default)]
struct Found {
    count: usize,
    first: Option<Level>,
    unknown_count: usize,
}

impl Found {
    fn differs(&mut self, level: Level) {
        self.count += 1;
        self.first.get_or_insert(level);
    }
}

/// Walks both sides from the touch outwards, together: a search for each level took a millisecond for 5,000 a side.
fn side(
    live: &BookSide,
    shadow: &BookSide,
    live_knows: impl Fn(i64) -> bool,
    shadow_knows: impl Fn(i64) -> bool,
    found: &mut Found,
) {
    let extra = |level: &Level, found: &mut Found| {
        if shadow_knows(level.price.0) {
            found.differs(Level { qty: crate::decimal::Qty(0), ..*level });
        }
    };
    let mut lives = live.iter().peekable();
    for level in shadow.iter() {
        while let Some(live_level) = lives.next_if(|other| live.rank(other.price) > live.rank(level.price)) {
            extra(live_level, found);
        }
        let same = lives.next_if(|other| other.price == level.price);
        if same.map(|other| other.qty) != Some(level.qty) {
            if same.is_none() && !live_knows(level.price.0) {
                found.unknown_count += 1;
            } else if shadow_knows(level.price.0) {
                found.differs(*level);
            }
        }
    }
    lives.for_each(|level| extra(level, found));
}

/// A verification under way for one book.
#[derive(Debug)]
pub struct Shadow {
    book: Book,
    reach: Reach,
    last: u64,
    /// Updates since the snapshot was asked for: last number, bids, asks.
    kept: Vec<Kept>,
    loaded: bool,
}

#[derive(Debug)]
struct Kept {
    first: u64,
    last: u64,
    bids: Vec<Level>,
    asks: Vec<Level>,
}

/// Updates kept beside a live book at most: a minute at ten a second. Beyond it the verification is given up.
pub const KEPT_MAX: usize = 600;

impl Shadow {
    /// A verification that begins now, of a book with `depth_max` levels a side.
    pub fn new(depth_max: usize) -> Self {
        Self {
            book: Book::new(depth_max, 0),
            reach: Reach::default(),
            last: 0,
            kept: Vec::new(),
            loaded: false,
        }
    }

    /// Keeps an update that the live book has applied. Returns whether there was room.
    pub fn keep(&mut self, first: u64, last: u64, bids: &[Level], asks: &[Level]) -> bool {
        if self.loaded {
            self.apply(first, last, bids, asks);
            return true;
        }
        if self.kept.len() >= KEPT_MAX {
            return false;
        }
        self.kept.push(Kept { first, last, bids: bids.to_vec(), asks: asks.to_vec() });
        true
    }

    /// Takes the snapshot: levels at update number `number`, of which `asked` a side were asked for. Returns whether
    /// the updates kept follow it without a hole.
    pub fn load(
        &mut self,
        number: u64,
        decimals: crate::decimal::Decimals,
        bids: &[Level],
        asks: &[Level],
        asked: usize,
    ) -> bool {
        self.book.load(decimals, bids, asks);
        self.reach = Reach::of(&self.book, bids.len(), asks.len(), asked);
        self.last = number;
        self.loaded = true;
        let kept = std::mem::take(&mut self.kept);
        let joins =
            kept.iter().find(|update| update.last > number).is_none_or(|update| update.first <= number + 1);
        for update in kept {
            self.apply(update.first, update.last, &update.bids, &update.asks);
        }
        joins
    }

    fn apply(&mut self, _: u64, last: u64, bids: &[Level], asks: &[Level]) {
        if last > self.last {
            self.book.apply(bids, asks, &mut Cut::default());
            self.last = last;
        }
    }

    /// Whether it has its snapshot.
    pub const fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Whether it has a snapshot and stands at `number`: the moment to compare.
    pub const fn stands_at(&self, number: u64) -> bool {
        self.loaded && self.last == number
    }

    /// Compares the live book with it.
    pub fn compare(&self, live: &Book, live_reach: &Reach) -> Comparison {
        compare(live, live_reach, &self.book, &self.reach)
    }

    /// The book that it has become, and how far it reaches.
    pub fn into_book(self) -> (Book, Reach) {
        (self.book, self.reach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decimal::{Decimals, Price, Qty};

    fn levels(text: &str) -> Vec<Level> {
        text.split_whitespace()
            .map(|word| {
                let (price, qty) = word.split_once('x').expect("price x qty");
                Level {
                    price: Price(price.parse().expect("a price")),
                    qty: Qty(qty.parse().expect("a quantity")),
                }
            })
            .collect()
    }

    fn book(bids: &str, asks: &str) -> Book {
        let mut book = Book::new(100, 10);
        book.apply(&levels(bids), &levels(asks), &mut Cut::default());
        book
    }

    /// A live book that reaches to bid 90, a shadow from a snapshot that reaches to bid 80.
    fn check(live: &str, shadow: &str, expected: Comparison) {
        let reach = |bid| Reach { bid: Some(bid), ask: None };
        let found = compare(&book(live, "110x1"), &reach(90), &book(shadow, "110x1"), &reach(80));
        assert_eq!(found, expected, "{live} / {shadow}");
    }

    #[test]
    fn equal_books_are_equal() {
        check("100x1 95x2 90x3", "90x3 95x2 100x1", Comparison::Equal { unknown_count: 0 });
    }

    #[test]
    fn levels_beyond_the_live_books_reach_are_no_failure() {
        check("100x1 95x2 90x3", "100x1 95x2 90x3 85x7 80x9", Comparison::Equal { unknown_count: 2 });
        check("100x1 90x3 70x5", "100x1 90x3", Comparison::Equal { unknown_count: 0 });
    }

    #[test]
    fn a_quantity_a_missing_or_an_extra_level_is_a_failure() {
        let different = |text: &str| Comparison::Different { count: 1, first: levels(text)[0] };
        check("100x1 95x2 90x3", "100x1 95x5 90x3", different("95x5"));
        check("100x1 90x3", "100x1 95x5 90x3", different("95x5"));
        check("100x1 95x2 90x3", "100x1 90x3", different("95x0"));
        check("100x1 90x3 85x4", "100x1 90x3 85x6", different("85x6"));
    }

    #[test]
    fn a_shadow_takes_the_updates_after_its_snapshot_and_only_those() {
        let mut shadow = Shadow::new(100);
        for (number, update) in [(5, "100x5"), (6, "100x6"), (7, "99x7")] {
            assert!(shadow.keep(number, number, &levels(update), &[]));
        }
        assert!(!shadow.stands_at(7));
        assert!(shadow.load(5, Decimals::default(), &levels("100x5"), &levels("110x1"), 1_000));
        assert!(shadow.stands_at(7));
        assert!(shadow.keep(8, 8, &levels("98x8"), &[]));
        let expected = book("100x6 99x7 98x8", "110x1");
        let whole = Reach::default();
        assert_eq!(shadow.compare(&expected, &whole), Comparison::Equal { unknown_count: 0 });
    }

    #[test]
    fn a_snapshot_from_before_the_updates_kept_does_not_join() {
        let mut shadow = Shadow::new(100);
        shadow.keep(10, 12, &levels("100x5"), &[]);
        assert!(!shadow.load(5, Decimals::default(), &levels("100x5"), &[], 1_000));
    }
}
