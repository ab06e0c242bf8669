//! 32 events of two providers through a merge: ours, and what one writes first, a map of vectors.

use std::collections::HashMap;
use std::hint::black_box;

use bench::joining::{Join, Joined};
use engine::decimal::{Price, Qty};
use engine::event::Event;

use crate::{Case, Group};

const EVENTS: u64 = 32;
/// Of a window, as [`Join`] has it.
const WINDOW_EVENTS: usize = 1_000;
const WINDOW_NS: u64 = 10_000_000_000;
const STEP_NS: u64 = 2_000_000;

/// Windows, and best prices.
pub fn groups() -> Vec<Group> {
    let ours = |joined| {
        let mut join = Join::new(joined);
        Case::new("ours", move || {
            black_box(join.run());
        })
    };
    vec![
        Group::new("merge, windows of trades", EVENTS as usize, vec![ours(Joined::Windows), windows()]),
        Group::new("merge, best prices", EVENTS as usize, vec![ours(Joined::BestPrices), best_prices()]),
    ]
}

/// A vector an instrument, which becomes the merged event when it is full or old.
fn windows() -> Case {
    let (mut open, mut next) = (HashMap::<&str, (u64, Vec<Event>)>::new(), 0);
    Case::new("HashMap of Vec", move || {
        for _ in 0..EVENTS {
            next += 1;
            let now_ns = next * STEP_NS;
            let (began_ns, events) =
                open.entry(black_box("BTC-USDT")).or_insert_with(|| (now_ns, Vec::new()));
            events.push(black_box(Event::default()));
            if events.len() == WINDOW_EVENTS || now_ns - *began_ns >= WINDOW_NS {
                black_box(std::mem::take(events));
                *began_ns = now_ns;
            }
        }
    })
}

/// The last best prices of each provider; all are looked through at every change.
fn best_prices() -> Case {
    let (mut last, mut next) = (HashMap::<(&str, u64), [(Price, Qty); 2]>::new(), 0_u64);
    Case::new("HashMap of best prices", move || {
        let mut published = Vec::new();
        for _ in 0..EVENTS {
            next += 1;
            let bid = (Price(6_000_000 + (next % 97) as i64), Qty(1));
            last.insert((black_box("BTC-USDT"), next % 2), [bid, (Price(6_100_000), Qty(1))]);
            let of =
                |side: usize| last.iter().map(move |(from, sides)| (sides[side].0, sides[side].1, from.1));
            let (bid, ask) = (of(0).max_by_key(|best| best.0), of(1).min_by_key(|best| best.0));
            black_box((bid, ask));
            published.push(Event::default());
        }
        black_box(published);
    })
}
