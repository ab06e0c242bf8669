//! Delivery under pressure, by seed: small rings, random drains, all classes at once. A failure prints its seed.

use std::collections::HashMap;
use std::fmt::Write;

use engine::book::BookRule;
use engine::book::{Book, Replica};
use engine::channel::{Channel, Interval};
use engine::dispatch::Dispatcher;
use engine::event::{Body, BookStatus, Event, Flags, GapReason};
use engine::ids::{LineId, Listing, ShardId, StreamId};
use engine::pipeline::PipelineOptions;
use engine::ring::{Receiver, ring};
use engine::routing::{Delivery, Route};
use engine::testing::{self, stream};
use engine::time::{FixedClock, ReceiveTime};

const BOOK: Channel = Channel::Book { speed_ms: 0 };
const KLINE: Channel = Channel::Kline(Interval::M1);

type Levels = Vec<(i64, i64)>;

fn best(book: &Book, depth: usize) -> (Levels, Levels) {
    let side = |levels: &mut dyn Iterator<Item = &engine::event::Level>| -> Levels {
        levels.take(depth).map(|level| (level.price.0, level.qty.0)).collect()
    };
    (side(&mut book.bids.iter()), side(&mut book.asks.iter()))
}

/// What one shard was delivered.
struct Shard {
    receiver: Receiver<Event>,
    depth: usize,
    replica: Replica,
    trade_last: u64,
    trades: u64,
    trades_missed: u64,
    ticker_last: u64,
    kline_last: (u64, bool),
    finals: Vec<u64>,
    finals_missed: u64,
    delivered: HashMap<StreamId, u64>,
    in_parts: Option<StreamId>,
}

impl Shard {
    fn take(&mut self, event: &Event, seed: u64) {
        let header = &event.header;
        assert_eq!(
            header.flags.has(Flags::FIRST),
            self.in_parts.is_none(),
            "an event enters whole: seed {seed}"
        );
        assert!(self.in_parts.is_none_or(|open| open == header.stream), "seed {seed}");
        self.in_parts = (!event.completes()).then_some(header.stream);
        *self.delivered.entry(header.stream).or_default() += u64::from(event.completes());
        match &event.body {
            Body::Trade(trade) => {
                assert_eq!(trade.id, self.trade_last + 1, "in order, nothing missing unsaid: seed {seed}");
                self.trade_last = trade.id;
                self.trades += 1;
            }
            Body::Gap(gap) if header.stream == stream(0, Channel::Trade) => {
                assert_eq!(
                    (gap.reason, gap.from),
                    (GapReason::SlowConsumer, self.trade_last + 1),
                    "seed {seed}"
                );
                assert_eq!(gap.event_count, gap.to - gap.from + 1, "seed {seed}");
                self.trades_missed += gap.event_count;
                self.trade_last = gap.to;
            }
            Body::Gap(gap) if header.stream == stream(0, KLINE) => self.finals_missed += gap.event_count,
            Body::Ticker(_) => {
                assert!(header.sequence_last > self.ticker_last, "seed {seed}");
                self.ticker_last = header.sequence_last;
            }
            Body::Kline(kline) => {
                let is_final = header.flags.has(Flags::FINAL);
                let now = (kline.open_time.raw_ns(), is_final);
                assert!(now >= self.kline_last, "seed {seed}");
                self.kline_last = now;
                if is_final {
                    self.finals.push(now.0);
                }
            }
            _ => self.replica.apply(event),
        }
    }
}

fn simulate(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut dispatcher = Dispatcher::new(8);
    let mut shards = Vec::new();
    for number in 0..3 {
        let depth = [usize::MAX, 3, 1][random.usize(0..3)];
        // The largest event: both sides of a book of 20 prices.
        let (sender, receiver) = ring(random.usize(8..40));
        let output = dispatcher.add_output(ShardId(number), sender, random.usize(1..20));
        let book = if random.bool() { Delivery::Book } else { Delivery::Lossless };
        for (channel, delivery) in [
            (Channel::Trade, Delivery::Lossless),
            (BOOK, book),
            (Channel::Ticker, Delivery::Latest),
            (KLINE, Delivery::Latest),
        ] {
            dispatcher.routing.add(stream(0, channel), Route { output, delivery, book_depth: depth });
        }
        shards.push(Shard {
            receiver,
            depth,
            replica: Replica::new(depth, 16),
            trade_last: 0,
            trades: 0,
            trades_missed: 0,
            ticker_last: 0,
            kline_last: (0, false),
            finals: Vec::new(),
            finals_missed: 0,
            delivered: HashMap::new(),
            in_parts: None,
        });
    }
    let options = PipelineOptions { book_depth_max: 20, ..testing::options() };
    let mut pipeline = testing::pipeline(BookRule::RestSnapshotRange, &["AAA"], dispatcher, options);
    let mut clock = FixedClock(ReceiveTime::from_ns(1));
    // Every book that the venue had, by its number.
    let mut history: HashMap<u64, (Levels, Levels)> = HashMap::new();
    let (mut trade, mut ticker, mut bar, mut update) = (0_u64, 0_u64, 1_u64, 100_u64);
    let mut finals = Vec::new();
    let quiet_from = 1_500;
    for step in 0..quiet_from + 200 {
        let quiet = step >= quiet_from;
        for _ in 0..if quiet { 0 } else { random.usize(0..6) } {
            let text = match random.u8(0..12) {
                0..=3 => {
                    trade += 1;
                    format!("T AAA {trade}")
                }
                4 | 5 => {
                    ticker += random.u64(1..4);
                    format!("Q AAA {ticker}")
                }
                6 => format!("K AAA {bar}"),
                7 => {
                    bar += 1;
                    finals.push(bar - 1);
                    format!("K AAA {} final", bar - 1)
                }
                8 if random.u8(0..8) == 0 => {
                    update += 5;
                    format!("D AAA {update}-{update}")
                }
                _ => {
                    let mut text = format!("D AAA {}-{}", update + 1, update + 2);
                    for _ in 0..random.usize(0..5) {
                        let (price, qty) = (random.u32(1..11), random.u32(0..4));
                        let side =
                            if random.bool() { format!("b{price}") } else { format!("a{}", price + 20) };
                        write!(text, " {side}={qty}").expect("a string takes all");
                    }
                    update += 2;
                    text
                }
            };
            pipeline.frame(LineId(0), &mut text.into_bytes(), clock.0, &mut clock);
            while pipeline.poll_want().is_some() {
                let body = format!("S AAA {update} b1=1 b2=5 a21=1 a22=1 a23=1");
                pipeline.rest("/book/AAA", &mut body.into_bytes(), clock.0, &mut clock);
            }
            let feed = pipeline.book_of(Listing(0)).expect("a book");
            if feed.is_loaded() {
                history.insert(feed.last(), best(feed.book(), usize::MAX));
            }
        }
        pipeline.flush(&mut clock, |_| {});
        for (output, shard) in shards.iter_mut().enumerate() {
            let drains = if quiet { usize::MAX } else { random.usize(0..12) };
            let mut events = Vec::new();
            if quiet || random.u8(0..3) == 0 {
                shard.receiver.drain(drains, |event| events.push(*event));
            }
            for event in &events {
                shard.take(event, seed);
                let replica = &shard.replica;
                if replica.is_whole() && replica.status() == BookStatus::Proved {
                    let (bids, asks) = &history[&replica.sequence()];
                    let depth = shard.depth.min(20);
                    let cut = |side: &Levels| side.iter().take(depth).copied().collect::<Levels>();
                    assert_eq!(
                        best(replica.book(), usize::MAX),
                        (cut(bids), cut(asks)),
                        "seed {seed} step {step}"
                    );
                }
            }
            for channel in [Channel::Trade, BOOK, Channel::Ticker, KLINE] {
                let (counts, in_flight) = pipeline.dispatcher.lane_counts(output, stream(0, channel));
                let ends = counts.delivered_total + counts.coalesced_total + counts.dropped_total;
                let ends = ends + counts.unchanged_total + in_flight;
                assert_eq!(counts.offered_total, ends, "seed {seed} step {step} {channel}");
            }
        }
    }
    assert!(!pipeline.dispatcher.is_congested(), "nothing waits forever: seed {seed}");
    for (output, shard) in shards.iter().enumerate() {
        assert_eq!((shard.trade_last, shard.trades + shard.trades_missed), (trade, trade), "seed {seed}");
        assert_eq!(shard.ticker_last, ticker, "the newest arrives: seed {seed}");
        assert_eq!(shard.finals.len() as u64 + shard.finals_missed, finals.len() as u64, "seed {seed}");
        assert!(shard.finals.iter().all(|bar| finals.contains(bar)), "seed {seed}");
        let feed = pipeline.book_of(Listing(0)).expect("a book");
        assert_eq!(shard.replica.status(), feed.status(), "seed {seed} shard {output}");
        if feed.is_loaded() {
            assert_eq!(best(shard.replica.book(), usize::MAX), best(feed.book(), shard.depth), "seed {seed}");
        }
        for channel in [Channel::Trade, BOOK, Channel::Ticker, KLINE] {
            let (counts, _) = pipeline.dispatcher.lane_counts(output, stream(0, channel));
            let entered =
                counts.delivered_total + counts.conflated_snapshots_total + counts.gap_markers_total;
            let seen = shard.delivered.get(&stream(0, channel)).copied().unwrap_or(0);
            assert_eq!(seen, entered, "seed {seed} {channel}");
        }
    }
}

#[test]
fn under_any_pressure_order_sums_and_books_hold() {
    for seed in 0..60 {
        simulate(seed);
    }
}

/// A pipeline before one ring of `capacity`, whose book goes to `depth` levels.
fn one(capacity: usize, depth: usize) -> (engine::pipeline::Pipeline<testing::TextVenue>, Receiver<Event>) {
    let mut dispatcher = Dispatcher::new(8);
    let (sender, receiver) = ring(capacity);
    let output = dispatcher.add_output(ShardId(0), sender, 64);
    for (channel, delivery) in
        [(BOOK, Delivery::Book), (testing::PARTIAL, Delivery::Lossless), (Channel::Trade, Delivery::Lossless)]
    {
        dispatcher.routing.add(stream(0, channel), Route { output, delivery, book_depth: depth });
    }
    (
        testing::pipeline(BookRule::StreamSnapshotUnnumbered, &["AAA"], dispatcher, testing::options()),
        receiver,
    )
}

fn feed(pipeline: &mut engine::pipeline::Pipeline<testing::TextVenue>, text: &str) {
    let mut clock = FixedClock(ReceiveTime::from_ns(1));
    pipeline.frame(LineId(0), &mut text.as_bytes().to_vec(), clock.0, &mut clock);
    pipeline.flush(&mut clock, |_| {});
}

fn drained(receiver: &mut Receiver<Event>) -> Vec<Event> {
    let mut events = Vec::new();
    receiver.drain(usize::MAX, |event| events.push(*event));
    events
}

#[test]
fn an_event_larger_than_its_ring_is_declared_and_holds_up_nobody() {
    let (mut pipeline, mut receiver) = one(2, usize::MAX);
    let levels: Vec<String> = (1..=30).map(|price| format!("b{price}=1")).collect();
    let levels = levels.join(" ");
    feed(&mut pipeline, &format!("P AAA 1 {levels}"));
    feed(&mut pipeline, "T AAA 1");
    let kinds: Vec<_> = drained(&mut receiver).iter().map(Event::kind).collect();
    assert_eq!(kinds, [engine::event::Kind::Gap, engine::event::Kind::Trade]);
    feed(&mut pipeline, &format!("S AAA - {levels}"));
    feed(&mut pipeline, "T AAA 2");
    feed(&mut pipeline, "D AAA - b1=2");
    let events = drained(&mut receiver);
    assert!(matches!(events[0].body, Body::BookState { status: BookStatus::Stale, .. }), "{events:?}");
    assert!(matches!(events[1].body, Body::Trade(_)));
    assert!(!pipeline.dispatcher.is_congested());
}

#[test]
fn a_new_or_deeper_route_begins_with_a_snapshot_and_a_removed_one_begins_anew() {
    let (mut pipeline, mut receiver) = one(64, 1);
    feed(&mut pipeline, "S AAA - b1=1 b2=1 b3=1 a4=1");
    let mut replica = Replica::new(100, 10);
    let mut follow =
        |pipeline: &mut engine::pipeline::Pipeline<testing::TextVenue>, text: &str, depth: usize| {
            feed(pipeline, text);
            for event in &drained(&mut receiver) {
                replica.apply(event);
            }
            let book = pipeline.book_of(Listing(0)).expect("a book").book();
            assert_eq!(best(replica.book(), 100), best(book, depth), "{text}");
        };
    follow(&mut pipeline, "D AAA - b3=2", 1);
    let route = |book_depth| Route { output: 0, delivery: Delivery::Book, book_depth };
    pipeline.dispatcher.routing.add(stream(0, BOOK), route(2));
    follow(&mut pipeline, "Q AAA 1", 2);
    follow(&mut pipeline, "D AAA - b3=0", 2);
    assert!(pipeline.dispatcher.routing.remove(stream(0, BOOK), 0));
    feed(&mut pipeline, "D AAA - b5=5 a4=0 a6=1");
    pipeline.dispatcher.routing.add(stream(0, BOOK), route(2));
    follow(&mut pipeline, "D AAA - b1=9", 2);
    let (counts, _) = pipeline.dispatcher.lane_counts(0, stream(0, BOOK));
    assert_eq!(counts.conflated_snapshots_total, 2, "one for the deeper route, one for the new one");
}

/// Found by `soak simulate`: a shard that stood gave up a book while a snapshot of it waited for room. The snapshot was built when
/// there was room, and when the shard took the book again at the same depth it was sent updates that it could not follow, for ever.
#[test]
fn a_snapshot_that_is_due_when_its_route_ends_is_due_no_more() {
    let (mut pipeline, mut receiver) = one(8, 2);
    feed(&mut pipeline, "S AAA - b1=1 a4=1");
    for id in 1..=8 {
        feed(&mut pipeline, &format!("T AAA {id}"));
    }
    feed(&mut pipeline, "D AAA - b1=2");
    assert!(pipeline.dispatcher.is_congested(), "the book waits behind a full ring");
    assert!(pipeline.dispatcher.routing.remove(stream(0, BOOK), 0));
    drained(&mut receiver);
    feed(&mut pipeline, "D AAA - b1=3");
    feed(&mut pipeline, "D AAA - b1=4");
    let of_book = |event: &Event| event.header.stream == stream(0, BOOK);
    assert!(!drained(&mut receiver).iter().any(of_book), "nobody wants it");
    assert!(!pipeline.dispatcher.is_congested());
    let route = Route { output: 0, delivery: Delivery::Book, book_depth: 2 };
    pipeline.dispatcher.routing.add(stream(0, BOOK), route);
    feed(&mut pipeline, "D AAA - b1=5");
    let mut replica = Replica::new(100, 10);
    drained(&mut receiver).iter().filter(|event| of_book(event)).for_each(|event| replica.apply(event));
    let book = pipeline.book_of(Listing(0)).expect("a book").book();
    assert_eq!(best(replica.book(), 100), best(book, 2), "it begins with a snapshot");
}
