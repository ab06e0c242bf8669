//! Books and updates of any size, the same at every run.

use engine::book::{Book, Cut};
use engine::decimal::{Decimals, Price, Qty};
use engine::event::Level;
use fastrand::Rng;

/// Ticks of the best ask of [`book`]; the best bid is one below.
pub const TOUCH: i64 = 6_183_764;

/// Scale of all of it: prices like `61837.64`, quantities like `0.02000000`.
pub const DECIMALS: Decimals = Decimals { price: 2, qty: 8 };

/// A book of `depth` levels a side, one tick apart, with room for twice as many.
pub fn book(depth: usize) -> Book {
    let mut book = Book::new(depth * 4, depth * 4);
    book.clear(DECIMALS);
    let side = |step: i64| -> Vec<Level> {
        (0..depth as i64)
            .map(|index| Level { price: Price(touch(step) + step * index), qty: Qty(1_000_000 + index) })
            .collect()
    };
    book.apply(&side(-1), &side(1), &mut Cut::default());
    book
}

fn touch(step: i64) -> i64 {
    if step < 0 { TOUCH - 1 } else { TOUCH }
}

/// Changes to one side of [`book`]: bids with `step` -1, asks with 1.
///
/// `count` levels at `from..to` ticks from the touch. One in five removes its level, so that levels are also inserted;
/// what the seed decides is the same at every run.
pub fn changes(step: i64, count: usize, from: i64, to: i64, seed: u64) -> Vec<Level> {
    let mut random = Rng::with_seed(seed);
    (0..count)
        .map(|_| Level {
            price: Price(touch(step) + step * random.i64(from..to)),
            qty: Qty(if random.u8(0..5) == 0 { 0 } else { random.i64(1..1_000_000_000) }),
        })
        .collect()
}
