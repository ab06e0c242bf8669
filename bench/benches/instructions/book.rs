//! Changes to a book: near the touch, deep in it, with Kraken's checksum, and in a consumer's copy.

use std::hint::black_box;

use bench::levels::{DECIMALS, book, changes};
use engine::book::{Book, Cut, Digits, Replica};
use engine::event::{Body, BookStatus, Event, Header, Level, Parts, Proof};
use engine::venue::kraken::checksum::checksum;
use iai_callgrind::{library_benchmark, library_benchmark_group};

use crate::at_most;

type Work = (Book, Vec<Level>, Vec<Level>, Cut);

/// Five changes a side between `from` and `to` ticks from the touch, on a book of `depth` levels a side.
fn ten(depth: usize, from: i64, to: i64) -> Work {
    (book(depth), changes(-1, 5, from, to, 1), changes(1, 5, from, to, 2), Cut::default())
}

fn deep() -> Work {
    ten(5_000, 2_000, 4_000)
}

fn near() -> Work {
    ten(1_000, 0, 8)
}

#[library_benchmark]
#[bench::of_10_near_the_touch(args = (), setup = near, config = at_most(940))]
#[bench::of_10_deep(args = (), setup = deep, config = at_most(113_800))]
fn book_update((mut book, bids, asks, mut cut): Work) -> Work {
    black_box(book.apply(black_box(&bids), black_box(&asks), &mut cut));
    black_box(book.is_crossed());
    (book, bids, asks, cut)
}

/// With the digits of the checksum before.
fn summed() -> (Work, Box<Digits>) {
    let (work, mut digits) = (near(), Box::default());
    checksum(work.0.asks.iter(), work.0.bids.iter(), &mut digits);
    (work, digits)
}

#[library_benchmark]
#[bench::of_10(args = (), setup = summed, config = at_most(3300))]
fn book_update_with_checksum(
    ((mut book, bids, asks, mut cut), mut digits): (Work, Box<Digits>),
) -> (Work, Box<Digits>) {
    black_box(book.apply(black_box(&bids), black_box(&asks), &mut cut));
    black_box(checksum(book.asks.iter(), book.bids.iter(), &mut digits));
    ((book, bids, asks, cut), digits)
}

/// A copy of a book and the parts of an update with five levels a side.
fn replica() -> (Replica, Vec<Event>) {
    let (from, bids, asks, _) = near();
    let header = Header { decimals: DECIMALS, sequence_first: 8, sequence_last: 8, ..Header::default() };
    let events = |bids: &[Level], asks: &[Level], body: fn(engine::event::BookPart) -> Body| -> Vec<Event> {
        Parts::new(bids, asks, BookStatus::Proved, Proof::Continuity)
            .map(|(flags, part)| Event { header: Header { flags, ..header }, body: body(part) })
            .collect()
    };
    let (mut all_bids, mut all_asks) = (Vec::new(), Vec::new());
    from.copy_best(1_000, &mut all_bids, &mut all_asks);
    let mut replica = Replica::new(10_000, 10_000);
    for event in events(&all_bids, &all_asks, Body::BookSnapshot) {
        replica.apply(&event);
    }
    (replica, events(&bids, &asks, Body::BookUpdate))
}

#[library_benchmark]
#[bench::of_10_levels(args = (), setup = replica, config = at_most(1130))]
fn replica_apply((mut replica, events): (Replica, Vec<Event>)) -> (Replica, Vec<Event>) {
    for event in &events {
        replica.apply(black_box(event));
    }
    (replica, events)
}

library_benchmark_group!(
    name = book_group;
    benchmarks = book_update, book_update_with_checksum, replica_apply
);
