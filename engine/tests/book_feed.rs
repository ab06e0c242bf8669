//! Books by the venues' documented steps, and what a consumer's copy makes of what is published.
//!
//! One word is one message: `S100` a snapshot at 100, `D101-103` an update, `/95` behind it its `pu`, `,b10=1,a11=0` its
//! levels; `lost` loses the connection. The expectation is what a consumer shard is delivered. After every word each copy,
//! of all levels and of the best two, equals the book of the feed as far down as it goes.

use std::fmt::Write;

use engine::book::BookRule;
use engine::book::{Book, Replica};
use engine::channel::Channel;
use engine::dispatch::Dispatcher;
use engine::event::{Body, BookReason, BookStatus, Event, Flags};
use engine::ids::{LineId, Listing, ShardId};
use engine::pipeline::{Pipeline, PipelineOptions, Want};
use engine::ring::{Receiver, ring};
use engine::routing::{Delivery, Route};
use engine::testing::{self, TextVenue, stream};
use engine::time::{FixedClock, ReceiveTime};

const BOOK: Channel = Channel::Book { speed_ms: 0 };
/// Levels that the second shard asked for.
const VIEW_DEPTH: usize = 2;

/// A pipeline before two shards, one with all levels and one with few, and the copies that they build.
struct Rig {
    pipeline: Pipeline<TextVenue>,
    outputs: Vec<(Receiver<Event>, Replica, usize)>,
    clock: FixedClock,
}

impl Rig {
    fn new(rule: BookRule, options: PipelineOptions, symbols: &[&str]) -> Self {
        let mut dispatcher = Dispatcher::new(8);
        let mut outputs = Vec::new();
        for (shard, depth) in [usize::MAX, VIEW_DEPTH].into_iter().enumerate() {
            let (sender, receiver) = ring(4_096);
            let output = dispatcher.add_output(ShardId(shard as u8), sender, 4_096);
            for instrument in 0..symbols.len() {
                let route = Route { output, delivery: Delivery::Book, book_depth: depth };
                dispatcher.routing.add(stream(instrument, BOOK), route);
            }
            outputs.push((receiver, Replica::new(depth, 16), depth));
        }
        let pipeline = testing::pipeline(rule, symbols, dispatcher, options);
        Self { pipeline, outputs, clock: FixedClock(ReceiveTime::from_ns(1)) }
    }

    /// Offers one word and returns what the first shard was delivered.
    fn offer(&mut self, word: &str) -> Vec<String> {
        if word == "lost" {
            let at = self.clock.0;
            self.pipeline.break_books(BookReason::ConnectionLost, at, &mut self.clock);
        } else {
            let (number, word) = match word.split_once('.') {
                Some((number, rest)) if word.starts_with('#') => (format!("{number} "), rest),
                _ => (String::new(), word),
            };
            let (kind, rest) = word.split_at(1);
            let text = format!("{number}{kind} AAA {}", rest.replace(',', " ").replace('/', " p"));
            let at = self.clock.0;
            let mut bytes = text.clone().into_bytes();
            if kind == "S" && self.pipeline.book_of(Listing(0)).expect("a book").snapshot_by_rest() {
                self.pipeline.rest("/book/AAA", &mut bytes, at, &mut self.clock);
            } else {
                self.pipeline.frame(LineId(0), &mut bytes, at, &mut self.clock);
            }
        }
        self.pipeline.flush(&mut self.clock, |_| {});
        self.check_sum();
        self.delivered()
    }

    fn delivered(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        let feed = self.pipeline.book_of(Listing(0)).expect("a book");
        for (number, (receiver, replica, depth)) in self.outputs.iter_mut().enumerate() {
            receiver.drain(usize::MAX, |event| {
                if event.header.stream != stream(0, BOOK) {
                    return;
                }
                replica.apply(event);
                if number == 0 && event.completes() {
                    said.push(name(event));
                }
            });
            assert!(replica.is_whole());
            assert_eq!(replica.status(), feed.status(), "copy {depth}");
            if feed.is_loaded() {
                assert_eq!(levels(replica.book(), *depth), levels(feed.book(), *depth), "copy {depth}");
                assert_eq!(replica.book().bids.len(), feed.book().bids.len().min(*depth));
            }
        }
        said
    }

    fn check_sum(&self) {
        let counts = self.pipeline.counts();
        let sum = self.pipeline.messages_applied() + self.pipeline.messages_waiting();
        let sum = sum + counts.stale_total + counts.unusable_total + counts.unpublished_total;
        assert_eq!(counts.messages_total, sum, "{counts:?}");
    }

    fn wants(&mut self) -> Vec<Want> {
        std::iter::from_fn(|| self.pipeline.poll_want()).collect()
    }
}

/// Levels at one scale for all, so that books of different scale can be compared.
fn levels(book: &Book, depth: usize) -> Vec<(i64, i64)> {
    let price = 10_i64.pow(u32::from(4 - book.decimals().price));
    let qty = 10_i64.pow(u32::from(4 - book.decimals().qty));
    let sides = book.bids.iter().take(depth).chain(book.asks.iter().take(depth));
    sides.map(|level| (level.price.0 * price, level.qty.0 * qty)).collect()
}

fn name(event: &Event) -> String {
    let header = &event.header;
    match event.body {
        Body::BookSnapshot(_) => format!("S{}", header.sequence_last),
        Body::BookUpdate(_) => format!("D{}", header.sequence_last),
        Body::BookState { status, reason, .. } => format!("{}({})", status.name(), reason.name()),
        Body::Gap(gap) => format!("gap({}-{})", gap.from, gap.to),
        _ => "?".to_owned(),
    }
}

fn check(rule: BookRule, input: &str, expected: &str) -> Rig {
    let mut rig = Rig::new(rule, testing::options(), &["AAA"]);
    let said: Vec<String> = input.split_whitespace().flat_map(|word| rig.offer(word)).collect();
    assert_eq!(said.join(" "), expected, "{input}");
    rig
}

const SPOT: BookRule = BookRule::RestSnapshotRange;
const USDM: BookRule = BookRule::RestSnapshotChained;

#[test]
fn the_worked_example_of_binance_spot() {
    let mut rig = check(
        SPOT,
        "D157-160 D161-165,b10=1 D166-170,a11=1 S162,b9=1,a12=1 D172-175",
        "S162 proved(joined) D165 D170 gap(171-171) suspect(sequence_gap)",
    );
    let feed = rig.pipeline.book_of(Listing(0)).expect("a book");
    assert_eq!((feed.counts.stale_total, feed.counts.applied_total, feed.counts.gap_total), (1, 2, 1));
    assert_eq!(feed.waiting(), 1, "the update that showed the hole may follow the next snapshot");
    assert_eq!(rig.wants(), [Want::Snapshot(Listing(0)); 2], "once to begin, once after the hole");
    assert_eq!(rig.offer("S171,b9=1").join(" "), "S171 proved(joined) D175");
}

#[test]
fn a_snapshot_before_the_first_update_held_is_asked_for_again() {
    let mut rig = check(SPOT, "D157-160 S155", "");
    assert_eq!(rig.wants().len(), 2);
    assert_eq!(rig.offer("S158").join(" "), "S158 proved(joined) D160");
}

#[test]
fn spot_updates_are_stale_inside_adjacent_or_after_a_hole() {
    check(SPOT, "D90-100 S100", "S100");
    check(SPOT, "D90-100 S100 D101-101", "S100 proved(joined) D101");
    check(SPOT, "D101-103 S100", "S100 proved(joined) D103");
    check(SPOT, "D99-103 S100 D104-104 D105-109", "S100 proved(joined) D103 D104 D109");
    // A frame sent twice is no news; numbers that go back or over others on one connection are not true.
    check(SPOT, "D99-103 S100 D104-104 D104-104 D105-105", "S100 proved(joined) D103 D104 D105");
    check(SPOT, "D99-103 S100 D102-104", "S100 proved(joined) D103 suspect(sequence_gap)");
    check(SPOT, "D99-103 S100 D104-104 D101-102", "S100 proved(joined) D103 D104 suspect(sequence_gap)");
    check(SPOT, "D99-103 S100 D105-106", "S100 proved(joined) D103 gap(104-104) suspect(sequence_gap)");
    check(SPOT, "S100 S101 D101-101 D102-102", "S100 S101 proved(joined) D102");
    check(SPOT, "S100 S100 D101-101", "S100 proved(joined) D101");
    check(SPOT, "S101 S100 D102-102", "S101 proved(joined) D102");
}

#[test]
fn what_waited_behind_a_hole_follows_the_next_snapshot() {
    check(
        SPOT,
        "D101-101 D103-103 D104-104 S100 S102 D105-105",
        "S100 proved(joined) D101 gap(102-102) suspect(sequence_gap) S102 proved(joined) D103 D104 D105",
    );
}

#[test]
fn usdm_updates_are_chained_by_pu() {
    check(USDM, "D90-94/89 D98-100/94 S100 D105-107/100", "S100 proved(joined) D100 D107");
    check(USDM, "D98-102/94 S100 D110-112/102", "S100 proved(joined) D102 D112");
    check(
        USDM,
        "D98-102/94 S100 D110-112/103",
        "S100 proved(joined) D102 gap(103-109) suspect(sequence_gap)",
    );
    check(USDM, "D98-102/94 S100 D98-102/94 D103-104/102", "S100 proved(joined) D102 D104");
    // The snapshot stands exactly where the update before ended.
    check(USDM, "D103-105/100 S100 D106-107/105", "S100 proved(joined) D105 D107");
    check(USDM, "S100 D103-105/100", "S100 proved(joined) D105");
    check(USDM, "D103-105/101 S100", "");
}

#[test]
fn a_venue_s_largest_numbers_are_numbers() {
    let max = u64::MAX;
    let last = max - 1;
    check(SPOT, &format!("D1-{max} S5"), &format!("S5 proved(joined) D{max}"));
    check(SPOT, &format!("D1-{last} S5 D{max}-{max}"), &format!("S5 proved(joined) D{last} D{max}"));
    check(
        USDM,
        &format!("D1-{last}/0 S{last} D{max}-{max}/{last}"),
        &format!("S{last} proved(joined) D{last} D{max}"),
    );
}

#[test]
fn a_crossed_book_is_given_up() {
    check(
        SPOT,
        "S100,b10=1,a11=1 D101-101,b9=1 D102-102,b11=1 D103-103,b9=2",
        "S100 proved(joined) D101 suspect(crossed)",
    );
}

#[test]
fn a_snapshot_that_is_worth_nothing_is_asked_for_again_and_again() {
    let mut rig = check(SPOT, "D101-101 S100,b12=1,a11=1", "suspect(crossed)");
    assert_eq!(rig.wants().len(), 2);
    assert_eq!(rig.offer("S100,b13=1,a11=1").join(" "), "suspect(crossed)");
    assert_eq!(rig.wants().len(), 1);
    assert_eq!(rig.offer("S100,b10=1,a11=1").join(" "), "S100 proved(joined) D101");
}

#[test]
fn a_stream_s_snapshot_with_a_wrong_checksum_is_resubscribed_each_time() {
    let mut rig = check(BookRule::StreamSnapshotChecksum, "S-,b10=1,a11=1,c1", "suspect(checksum_mismatch)");
    for _ in 0..3 {
        assert_eq!(rig.wants(), [Want::Resubscribe(stream(0, BOOK), None)]);
        assert_eq!(rig.offer("S-,b10=1,a11=1,c1").join(" "), "suspect(checksum_mismatch)");
    }
    assert_eq!(rig.offer("D-,b9=1").join(" "), "", "an update without a snapshot is no book");
}

#[test]
fn levels_cut_by_the_venue_s_depth_are_removed_from_copies() {
    // The snapshot has two levels a side, so the depth is two.
    let rule = BookRule::StreamSnapshotChecksum;
    let mut rig = check(
        rule,
        "S-,b10=1,b9=1,a11=1,a12=1 D-,b8=1 D-,b9.5=1,a11.5=2 D-,b10=0",
        "S1 proved(joined) D2 D3 D4",
    );
    let sum = |rig: &Rig| testing::checksum(rig.pipeline.book_of(Listing(0)).expect("a book").book());
    // What the checksum will be after the next update is known by a second rig.
    let mut other = check(
        rule,
        "S-,b10=1,b9=1,a11=1,a12=1 D-,b8=1 D-,b9.5=1,a11.5=2 D-,b10=0 D-,b9.7=3",
        "S1 proved(joined) D2 D3 D4 D5",
    );
    let right = sum(&other);
    assert_eq!(rig.offer(&format!("D-,b9.7=3,c{right}")).join(" "), "D5");
    assert_eq!(other.offer(&format!("D-,b9.8=3,c{right}")).join(" "), "suspect(checksum_mismatch)");
    let counts = rig.pipeline.book_of(Listing(0)).expect("a book").counts;
    assert_eq!((counts.checksum_total, counts.checksum_ok_total), (1, 1));
}

#[test]
fn a_hole_in_a_connection_s_numbers_breaks_the_books_of_that_connection() {
    let rule = BookRule::StreamSnapshotConnection;
    let mut rig = Rig::new(rule, PipelineOptions { lines: 2, ..testing::options() }, &["AAA", "BBB"]);
    for (line, text) in [(0, "#1 S AAA - b1=1"), (1, "#1 S BBB - b1=1"), (0, "#2 D AAA - b2=1")] {
        let at = rig.clock.0;
        rig.pipeline.frame(LineId(line), &mut text.as_bytes().to_vec(), at, &mut rig.clock);
    }
    let status = |rig: &Rig, number| rig.pipeline.book_of(Listing(number)).expect("a book").status();
    assert_eq!((status(&rig, 0), status(&rig, 1)), (BookStatus::Proved, BookStatus::Proved));
    assert_eq!(rig.offer("#4.D-,b3=1").join(" "), "S1 proved(joined) D2 suspect(connection_gap)");
    assert_eq!((status(&rig, 0), status(&rig, 1)), (BookStatus::Suspect, BookStatus::Proved));
    assert_eq!(rig.pipeline.counts().connection_gaps_total, 1);
    assert_eq!(rig.wants(), [Want::Resubscribe(stream(0, BOOK), Some(LineId(0)))]);
    assert_eq!(rig.offer("#5.S-,b4=1").join(" "), "S3 proved(joined)");
    assert_eq!(rig.offer("#5.D-,b5=1").join(" "), "", "the frame was there before");
    rig.pipeline.line_opened(LineId(0));
    assert_eq!(rig.offer("#1.D-,b6=1").join(" "), "D4");
}

#[test]
fn an_update_that_cannot_be_read_breaks_a_book_that_nothing_numbers() {
    let mut rig = check(BookRule::StreamSnapshotUnnumbered, "S-,b1=1 D-,b2=1", "S1 proved(joined) D2");
    assert_eq!(rig.offer("D-,b3=x").join(" "), "suspect(update_undecodable)");
    // One that its own numbers or checksum would show is left to them.
    let mut rig = check(SPOT, "S100 D101-101", "S100 proved(joined) D101");
    assert_eq!(rig.offer("D102-102,b3=x").join(" "), "");
    assert_eq!(rig.offer("D103-103").join(" "), "gap(102-102) suspect(sequence_gap)");
}

#[test]
fn a_scale_that_widens_while_updates_wait_changes_no_book() {
    let mut rig = check(
        SPOT,
        "D101-101,b10.1=1,a11=1 D102-102,b10.2=1 S100,b9.125=1.5,a12=1 D103-103,b10.1=0",
        "S100 proved(joined) D101 D102 D103",
    );
    assert_eq!(rig.offer("D104-104,b10.1234=2").join(" "), "D104");
    assert!(rig.pipeline.counts().widenings_total >= 3);
}

#[test]
fn a_lost_connection_makes_a_book_stale_until_it_is_proved_again() {
    let mut rig = check(
        SPOT,
        "D101-101 S100 lost lost D150-150 lost D201-201 S200 D202-202",
        "S100 proved(joined) D101 stale(connection_lost) S200 proved(joined) D201 D202",
    );
    let counts = rig.pipeline.book_of(Listing(0)).expect("a book").counts;
    assert_eq!((counts.unusable_total, counts.gap_total), (1, 0), "150 waited on a connection that is gone");
    assert_eq!(rig.wants().len(), 3, "each connection asks for its own snapshot");
}

#[test]
fn what_does_not_fit_the_book_is_said_to_be_gone() {
    let options = PipelineOptions { book_depth_max: 3, ..testing::options() };
    let mut rig = Rig::new(SPOT, options, &["AAA"]);
    let mut random = fastrand::Rng::with_seed(3);
    rig.offer("D101-101");
    rig.offer("S100,b10=1,b9=1,b8=1,b7=1,a20=1,a21=1");
    for number in 102..1_500 {
        let mut word = format!("D{number}-{number}");
        for _ in 0..random.usize(0..5) {
            let (price, qty) = (random.u32(1..19), random.u32(0..3));
            let (side, price) = if random.bool() { ('b', price) } else { ('a', price + 20) };
            write!(word, ",{side}{price}={qty}").expect("a string takes all");
        }
        // After every update, `offer` compares both copies with the feed's book.
        assert_eq!(rig.offer(&word).join(" "), format!("D{number}"));
    }
    assert!(rig.pipeline.book_of(Listing(0)).expect("a book").counts.depth_limited_total > 100);
}

#[test]
fn more_updates_than_may_wait_push_out_the_oldest() {
    let options = PipelineOptions { book_waiting_max: 2, ..testing::options() };
    let mut rig = Rig::new(SPOT, options, &["AAA"]);
    let said: Vec<_> =
        "D101-101 D102-102 D103-103 S100 S101".split(' ').flat_map(|word| rig.offer(word)).collect();
    assert_eq!(said.join(" "), "S101 proved(joined) D102 D103");
    assert_eq!(rig.pipeline.book_of(Listing(0)).expect("a book").counts.snapshot_too_old_total, 1);
}

#[test]
fn a_copy_ignores_updates_until_its_snapshot_and_after_a_gap() {
    let mut rig = check(SPOT, "D101-101 S100,b5=1", "S100 proved(joined) D101");
    let mut events = Vec::new();
    rig.pipeline.frame(LineId(0), &mut b"D AAA 102-102 b6=1".to_vec(), rig.clock.0, &mut rig.clock.clone());
    rig.pipeline.flush(&mut rig.clock, |_| {});
    rig.outputs[0].0.drain(10, |event| events.push(*event));
    let mut copy = Replica::new(10, 10);
    copy.apply(&events[0]);
    assert_eq!((copy.status(), copy.book().bids.len()), (BookStatus::Syncing, 0));
    let mut gap = events[0];
    gap.body = Body::Gap(engine::event::Gap {
        from: 1,
        to: 2,
        event_count: 1,
        reason: engine::event::GapReason::SlowConsumer,
    });
    gap.header.flags = Flags::WHOLE;
    let (_, copy, _) = &mut rig.outputs[0];
    copy.apply(&gap);
    copy.apply(&events[0]);
    assert_eq!((copy.status(), copy.update_total()), (BookStatus::Suspect, 1));
}
