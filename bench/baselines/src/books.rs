//! Ten changes to a book of 1,000 levels a side: our sorted arrays, a `BTreeMap` a side, a `HashMap` a side.
//!
//! Each also tells its best levels afterwards; a `HashMap` has to look at all of them, so it is not asked to.

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;

use bench::levels::{book, changes};
use engine::book::Cut;
use engine::event::Level;

use crate::{Case, Group};

const DEPTH: usize = 1_000;
/// Updates that take turns, so that levels come and go.
const UPDATES: u64 = 64;

type Update = (Vec<Level>, Vec<Level>);

fn updates(from: i64, to: i64) -> Vec<Update> {
    (0..UPDATES)
        .map(|seed| (changes(-1, 5, from, to, seed * 2), changes(1, 5, from, to, seed * 2 + 1)))
        .collect()
}

fn ours(list: Vec<Update>) -> Case {
    let mut book = book(DEPTH);
    let mut cut = Cut::default();
    Case::new("ours, sorted arrays", move || {
        for (bids, asks) in &list {
            black_box(book.apply(bids, asks, &mut cut));
            black_box((book.bids.best(), book.asks.best()));
        }
    })
}

fn trees(list: Vec<Update>) -> Case {
    let from = book(DEPTH);
    let side = |levels: Vec<&Level>| -> BTreeMap<i64, i64> {
        levels.iter().map(|level| (level.price.0, level.qty.0)).collect()
    };
    let (mut bids, mut asks) = (side(from.bids.iter().collect()), side(from.asks.iter().collect()));
    let apply = |side: &mut BTreeMap<i64, i64>, levels: &[Level]| {
        for level in levels {
            if level.qty.0 == 0 {
                side.remove(&level.price.0);
            } else {
                side.insert(level.price.0, level.qty.0);
            }
        }
    };
    Case::new("BTreeMap", move || {
        for update in &list {
            apply(&mut bids, &update.0);
            apply(&mut asks, &update.1);
            black_box((bids.last_key_value(), asks.first_key_value()));
        }
    })
}

fn hashes(list: Vec<Update>) -> Case {
    let from = book(DEPTH);
    let side = |levels: Vec<&Level>| -> HashMap<i64, i64> {
        levels.iter().map(|level| (level.price.0, level.qty.0)).collect()
    };
    let (mut bids, mut asks) = (side(from.bids.iter().collect()), side(from.asks.iter().collect()));
    let apply = |side: &mut HashMap<i64, i64>, levels: &[Level]| {
        for level in levels {
            if level.qty.0 == 0 {
                side.remove(&level.price.0);
            } else {
                side.insert(level.price.0, level.qty.0);
            }
        }
    };
    Case::new("HashMap (knows no best)", move || {
        for update in &list {
            apply(&mut bids, &update.0);
            apply(&mut asks, &update.1);
            black_box((bids.len(), asks.len()));
        }
    })
}

/// Near the touch, and deep.
pub fn groups() -> Vec<Group> {
    [("within 10 ticks of the touch", 0, 10), ("100-900 ticks deep", 100, 900)]
        .into_iter()
        .map(|(name, from, to)| {
            let list = updates(from, to);
            let cases = vec![ours(list.clone()), trees(list.clone()), hashes(list)];
            Group::new(format!("book, 10 changes {name}"), UPDATES as usize, cases)
        })
        .collect()
}
