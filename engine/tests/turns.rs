//! Turns are bounded by counts: a REST body is read in pieces, a large book reaches one ring a turn, the books of a line that is
//! lost change hands over several turns, and updates that waited are applied a few a turn. None of it changes what a stream is
//! sent, nor its order.

use engine::channel::Channel;
use engine::directory::Directory;
use engine::dispatch::Dispatcher;
use engine::event::{BookReason, Event, book_parts};
use engine::ids::{LineId, Listing, ProviderId, ShardId, StreamId};
use engine::pipeline::{FrameOutcome, Pipeline, PipelineOptions};
use engine::pools::PoolSizes;
use engine::ring::{Receiver, ring};
use engine::routing::{Delivery, Route};
use engine::sequence::Patience;
use engine::time::{FixedClock, ReceiveTime};
use engine::venue::Venue;
use engine::venue::binance::Binance;
use engine::venue::coinbase::{Coinbase, Product};

const NOW: ReceiveTime = ReceiveTime::from_ns(1_000_000_000);
const SENT: &str = "2026-08-24T10:00:00.000000Z";
const PATH: &str = "/api/v3/depth?symbol=BTCUSDT&limit=5000";
/// Levels a side of a large book: more than a turn gives out.
const LARGE: usize = 10_000;
/// What the rings of [`Rig::new`] are sent of a book, in levels a side: two have all of it.
const DEPTHS: [usize; 4] = [usize::MAX, 50, usize::MAX, 1_000];

struct Rig<V: Venue> {
    pipeline: Pipeline<V>,
    receivers: Vec<Receiver<Event>>,
    clock: FixedClock,
}

impl<V: Venue> Rig<V> {
    /// Streams of books and trades of `symbols`, to a ring for each of [`DEPTHS`].
    fn new(venue: V, symbols: &[&str], lines: u8) -> Self {
        let mut dispatcher = Dispatcher::new(16);
        let mut receivers = Vec::new();
        for shard in 0..DEPTHS.len() as u8 {
            let (sender, receiver) = ring(1 << 16);
            dispatcher.add_output(ShardId(shard), sender, 64);
            receivers.push(receiver);
        }
        let mut directory = Directory::open(ProviderId(0));
        for symbol in symbols {
            let listing = directory.listing(symbol.as_bytes()).expect("learned");
            for channel in [Channel::Book { speed_ms: 0 }, Channel::Trade] {
                directory.add_stream(listing, channel);
            }
        }
        let options = PipelineOptions {
            pools: PoolSizes::SPEC,
            patience: Patience::SPEC,
            book_depth_max: 65_536,
            book_reserve: 1_024,
            book_waiting_max: 180,
            letters_max: 16,
            lines,
            snapshot_levels: 5_000,
            fill_trades: false,
            share: (0, 1),
            route_all_to: None,
        };
        let mut pipeline = Pipeline::new(venue, directory, dispatcher, options);
        pipeline.set_line_count(2);
        for stream in 0..pipeline.directory.streams().len() as u32 {
            for (output, book_depth) in DEPTHS.into_iter().enumerate() {
                let route = Route { output, delivery: Delivery::Lossless, book_depth };
                pipeline.dispatcher.routing.add(StreamId(stream), route);
            }
        }
        let mut rig = Self { pipeline, receivers, clock: FixedClock(NOW) };
        // New routes are welcomed with the books that are there: none.
        rig.turn();
        rig
    }

    fn frame(&mut self, line: u8, text: &str) {
        let mut bytes = text.as_bytes().to_vec();
        let outcome = self.pipeline.frame(LineId(line), &mut bytes, NOW, &mut self.clock);
        assert_eq!(outcome, FrameOutcome::Done, "{}", &text[..text.len().min(200)]);
    }

    /// Ends the turn; what it gave each ring.
    fn turn(&mut self) -> Vec<Vec<String>> {
        self.pipeline.flush(&mut self.clock, |_| {});
        let drained = self.receivers.iter_mut().map(|receiver| {
            let mut events = Vec::new();
            receiver.drain(usize::MAX, |event| events.push(format!("{event:?}")));
            events
        });
        drained.collect()
    }

    /// Turns until nothing is left; what each gave each ring, and the first one, which has passed.
    fn turns(&mut self) -> Vec<Vec<Vec<String>>> {
        let mut turns = vec![self.turn()];
        while self.pipeline.has_work_left() {
            self.pipeline.go_on(&mut self.clock);
            turns.push(self.turn());
            assert!(turns.len() < 1_000, "it comes to an end");
        }
        turns
    }
}

fn sum(turns: &[Vec<Vec<String>>]) -> Vec<Vec<String>> {
    let ring = |ring: usize| turns.iter().flat_map(|turn| turn[ring].iter().cloned()).collect();
    (0..DEPTHS.len()).map(ring).collect()
}

fn coinbase(symbols: &[&str], lines: u8) -> Rig<Coinbase> {
    Rig::new(Coinbase::new(Product::Advanced), symbols, lines)
}

fn coinbase_frame(kind: &str, product: &str, number: u64, rows: &[String]) -> String {
    format!(
        r#"{{"channel":"l2_data","timestamp":"{SENT}","sequence_num":{number},"events":[{{"type":"{kind}","product_id":"{product}","updates":[{}]}}]}}"#,
        rows.join(",")
    )
}

fn row(side: &str, price: usize, qty: usize) -> String {
    format!(
        r#"{{"side":"{side}","event_time":"{SENT}","price_level":"{price}.5","new_quantity":"{qty}.25"}}"#
    )
}

fn coinbase_snapshot(product: &str, number: u64, levels: usize) -> String {
    let bids = (0..levels).map(|at| row("bid", 90_000 - at, at + 1));
    let asks = (0..levels).map(|at| row("offer", 90_001 + at, at + 1));
    coinbase_frame("snapshot", product, number, &bids.chain(asks).collect::<Vec<_>>())
}

fn coinbase_update(product: &str, number: u64, qty: usize) -> String {
    coinbase_frame("update", product, number, &[row("bid", 90_000, qty)])
}

/// Levels whose digits grow on the way, so that the scale is too narrow more than once.
fn binance_body(number: u64, levels: usize) -> String {
    let rows = |ask: bool| {
        let row = |at: usize| {
            let price = if ask { 20_000 + at } else { 20_000 - at };
            let digits = if at % 1_000 == 999 { ".125" } else { ".50" };
            format!(r#"["{price}{digits}","{at}.25"]"#)
        };
        (1..=levels).map(row).collect::<Vec<_>>().join(",")
    };
    format!(r#"{{"lastUpdateId":{number},"bids":[{}],"asks":[{}]}}"#, rows(false), rows(true))
}

fn binance_update(number: u64) -> String {
    format!(
        r#"{{"stream":"btcusdt@depth","data":{{"e":"depthUpdate","E":1700000000000,"s":"BTCUSDT","U":{number},"u":{number},"b":[["19999.500","{number}.00"]],"a":[]}}}}"#
    )
}

fn binance_trade(number: u64) -> String {
    format!(
        r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":1700000000000,"s":"BTCUSDT","t":{number},"p":"20000.5","q":"1.5","T":1700000000000,"m":true,"M":true}}}}"#
    )
}

/// A body in pieces of `bytes_max`, with `between` frames after each, then what is left of them.
fn body_in_pieces(body: &str, bytes_max: usize, frames: &[String]) -> (Vec<Vec<String>>, u64) {
    let mut rig = Rig::new(Binance::spot(), &["BTCUSDT"], 1);
    let mut frames = frames.iter();
    for frame in frames.by_ref().take(5) {
        rig.frame(0, frame);
    }
    let mut bytes = body.as_bytes().to_vec();
    let mut turns = Vec::new();
    let outcome = loop {
        if let Some(outcome) = rig.pipeline.rest_piece(PATH, &mut bytes, bytes_max, NOW, &mut rig.clock) {
            break outcome;
        }
        if let Some(frame) = frames.next() {
            rig.frame(0, frame);
        }
        turns.push(rig.turn());
    };
    assert_eq!(outcome, FrameOutcome::Done);
    for frame in frames {
        rig.frame(0, frame);
    }
    turns.push(rig.turn());
    let counts = rig.pipeline.counts();
    assert_eq!((counts.rest_bodies_total, counts.decode_errors_total), (1, 0));
    assert_eq!(counts.resyncs_total, 0, "what came in between joins the snapshot");
    (sum(&turns), counts.pieces_total)
}

/// Without what tells when each event's frame was: frames come at other times among the pieces.
fn sorted(mut rings: Vec<Vec<String>>) -> Vec<Vec<String>> {
    for ring in &mut rings {
        ring.sort();
    }
    rings
}

#[test]
fn a_rest_body_gives_the_same_events_in_pieces_of_any_size() {
    let body = binance_body(50, 4_000);
    // With the widest digits first, so that an event has the same scale wherever the body ends; and alone, so that the body
    // widens it on its way.
    let mut updates: Vec<String> = (40..90).map(binance_update).collect();
    updates.insert(3, binance_trade(7));
    for frames in [updates, Vec::new()] {
        let (whole, pieces) = body_in_pieces(&body, usize::MAX, &frames);
        assert_eq!(pieces, 0);
        assert!(whole.iter().all(|ring| ring.len() > frames.len() / 2 + 10), "the book is there");
        // A space in front is a surprise to the scanner: the other decoder says the same.
        let (general, _) = body_in_pieces(&format!(" {body}"), usize::MAX, &frames);
        assert!(general == whole, "both decoders read the same book");
        for bytes_max in [2_000, 4_096, 10_007, 65_536, body.len() - 1] {
            let (found, pieces) = body_in_pieces(&body, bytes_max, &frames);
            assert!(
                pieces as usize >= (body.len() / (bytes_max + 100)).max(1),
                "{bytes_max}: {pieces} pieces"
            );
            for (ring, (found, whole)) in sorted(found).iter().zip(&sorted(whole.clone())).enumerate() {
                let differs = found.iter().zip(whole).find(|(found, whole)| found != whole);
                assert_eq!(differs, None, "ring {ring}, pieces of {bytes_max} bytes");
                assert_eq!(found.len(), whole.len(), "ring {ring}, pieces of {bytes_max} bytes");
            }
        }
    }
}

#[test]
fn a_rest_body_that_is_cut_is_an_error_whatever_the_pieces() {
    let body = binance_body(50, 4_000);
    for bytes_max in [2_000, 65_536, usize::MAX] {
        let mut rig = Rig::new(Binance::spot(), &["BTCUSDT"], 1);
        let mut bytes = body.as_bytes()[..body.len() - 3].to_vec();
        let outcome = loop {
            let outcome = rig.pipeline.rest_piece(PATH, &mut bytes, bytes_max, NOW, &mut rig.clock);
            if let Some(outcome) = outcome {
                break outcome;
            }
        };
        assert!(matches!(outcome, FrameOutcome::Undecodable(_)), "{bytes_max}: {outcome:?}");
        assert!(rig.turn().iter().all(Vec::is_empty), "nothing of it is published");
    }
}

#[test]
fn a_large_book_reaches_one_ring_a_turn_and_each_ring_all_of_it() {
    let snapshot = coinbase_snapshot("BTC-USD", 0, LARGE);
    let mut whole = coinbase(&["BTC-USD"], 1);
    whole.frame(0, &snapshot);
    let expected = whole.turn();
    assert!(!whole.pipeline.has_work_left(), "who does not go on is left nothing");
    assert_eq!(expected[0].len(), book_parts(LARGE, LARGE) + 1, "the book, and that it is proved");

    let mut rig = coinbase(&["BTC-USD"], 1);
    rig.pipeline.work_in_turns();
    rig.frame(0, &snapshot);
    let turns = rig.turns();
    for turn in &turns {
        let large = turn.iter().filter(|ring| ring.len() >= book_parts(LARGE, LARGE)).count();
        assert!(large <= 1, "{:?}", turn.iter().map(Vec::len).collect::<Vec<_>>());
        let parts: usize = turn.iter().map(Vec::len).sum();
        assert!(parts <= book_parts(LARGE, LARGE) + book_parts(8_192, 0) + DEPTHS.len(), "{parts} parts");
    }
    assert!(sum(&turns) == expected, "the rings get the same");
    assert_eq!(rig.pipeline.counts().books_in_turns_total, 1);
    assert_eq!(rig.pipeline.counts().events_total, whole.pipeline.counts().events_total);
    // The views that follow it are those of the book.
    for rig in [&mut whole, &mut rig] {
        rig.frame(0, &coinbase_update("BTC-USD", 1, 77));
    }
    assert!(rig.turn() == whole.turn());
}

#[test]
fn a_small_book_is_out_with_its_frame() {
    let mut rig = coinbase(&["BTC-USD"], 1);
    rig.pipeline.work_in_turns();
    rig.frame(0, &coinbase_snapshot("BTC-USD", 0, 100));
    assert!(!rig.pipeline.has_work_left());
    assert!(rig.turn().iter().all(|ring| ring.len() > 10));
}

#[test]
fn what_concerns_a_book_that_is_half_out_comes_behind_all_of_it() {
    let acts: [fn(&mut Rig<Coinbase>); 4] = [
        |rig| rig.frame(0, &coinbase_update("BTC-USD", 1, 77)),
        |rig| rig.frame(0, &coinbase_snapshot("BTC-USD", 1, LARGE / 2)),
        |rig| rig.pipeline.break_books(BookReason::ConnectionLost, NOW, &mut rig.clock),
        |rig| rig.pipeline.finish(),
    ];
    for (number, act) in acts.into_iter().enumerate() {
        for steps in 0..4 {
            let mut found = Vec::new();
            for in_turns in [false, true] {
                let mut rig = coinbase(&["BTC-USD", "ETH-USD"], 1);
                if in_turns {
                    rig.pipeline.work_in_turns();
                }
                rig.frame(0, &coinbase_snapshot("BTC-USD", 0, LARGE));
                let mut turns = vec![rig.turn()];
                for _ in 0..steps {
                    rig.pipeline.go_on(&mut rig.clock);
                    turns.push(rig.turn());
                }
                act(&mut rig);
                turns.extend(rig.turns());
                found.push(sum(&turns));
            }
            assert!(found[0] == found[1], "act {number} after {steps} steps");
        }
    }
}

/// Ten books on two lines, all proved on both; the line that is published is lost.
fn lose_a_line(symbols: &[&str], levels: usize, in_turns: bool) -> Vec<Vec<Vec<String>>> {
    let mut rig = coinbase(symbols, 2);
    if in_turns {
        rig.pipeline.work_in_turns();
    }
    for (number, product) in (0..).zip(symbols) {
        for line in 0..2 {
            rig.frame(line, &coinbase_snapshot(product, number, levels + usize::from(line)));
            rig.turns();
        }
    }
    let streams: Vec<StreamId> = (0..rig.pipeline.directory.streams().len() as u32).map(StreamId).collect();
    let (lost, reason) = (LineId(0), BookReason::ConnectionLost);
    rig.pipeline.line_lost(lost, &streams, &[], reason, NOW, &mut rig.clock);
    let turns = rig.turns();
    assert_eq!(rig.pipeline.counts().switches_total, symbols.len() as u64);
    for listing in 0..symbols.len() as u16 {
        let book = rig.pipeline.book_of(Listing(listing)).expect("there");
        assert_eq!(book.book().bids.len(), levels + 1, "the book of the line that stays");
    }
    turns
}

#[test]
fn the_books_of_a_lost_line_change_hands_over_several_turns() {
    let symbols: Vec<String> = (0..10).map(|number| format!("A{number}-USD")).collect();
    let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
    for (levels, turns_min) in [(5_000, 20), (100, 1)] {
        let at_once = lose_a_line(&symbols, levels, false);
        assert_eq!(at_once.len(), 1);
        let turns = lose_a_line(&symbols, levels, true);
        assert!(turns.len() >= turns_min, "{levels} levels: {} turns", turns.len());
        let parts_max = book_parts(8_192, 0) + book_parts(levels + 1, levels + 1) + 2 * DEPTHS.len();
        for turn in &turns {
            let parts: usize = turn.iter().map(Vec::len).sum();
            // Small books may be out at once, with what is said behind each.
            assert!(parts <= parts_max + 4 * symbols.len(), "{levels} levels: {parts} parts");
        }
        assert!(sum(&turns) == at_once[0], "{levels} levels: the rings get the same, in the same order");
    }
}

/// Found by a fresh seed of the whole gateway: the line that was published had been silent since a shard subscribed, so nothing had
/// looked at its route when another line took over. The shard was sent no snapshot, and the updates of the one book went into its
/// copy of the other, which called itself proved.
#[test]
fn a_shard_that_came_while_a_line_was_silent_is_sent_the_book_that_takes_over() {
    for (in_turns, levels) in [(false, 100), (true, 100), (true, LARGE)] {
        for hands_over in [false, true] {
            let mut rig = coinbase(&["BTC-USD"], 2);
            if in_turns {
                rig.pipeline.work_in_turns();
            }
            let stream = StreamId(0);
            rig.pipeline.dispatcher.routing.remove(stream, 1);
            for line in 0..2 {
                rig.frame(line, &coinbase_snapshot("BTC-USD", 0, levels + usize::from(line)));
                rig.turns();
            }
            let route = Route { output: 1, delivery: Delivery::Book, book_depth: 7 };
            rig.pipeline.dispatcher.routing.add(stream, route);
            let welcome = rig.turn();
            assert!(welcome[1][0].contains("BookSnapshot"), "{welcome:?}");
            // What the new line has, and the old one never said.
            rig.frame(1, &coinbase_update("BTC-USD", 1, 77));
            assert!(rig.turn().iter().all(Vec::is_empty), "nothing of the other line's book is published");
            if hands_over {
                assert!(rig.pipeline.hand_over(LineId(0), LineId(1), NOW));
            } else {
                let reason = BookReason::ConnectionLost;
                rig.pipeline.line_lost(LineId(0), &[stream], &[], reason, NOW, &mut rig.clock);
            }
            let sent = sum(&rig.turns());
            assert!(sent[1][0].contains("BookSnapshot"), "levels {levels}: {:?}", sent[1]);
            rig.frame(1, &coinbase_update("BTC-USD", 2, 78));
            let update = rig.turn();
            assert!(update[1].len() == 1 && update[1][0].contains("BookUpdate"), "{update:?}");
        }
    }
}

#[test]
fn updates_that_waited_are_applied_a_few_a_turn() {
    let run = |in_turns: bool| {
        let mut rig = Rig::new(Binance::spot(), &["BTCUSDT"], 1);
        if in_turns {
            rig.pipeline.work_in_turns();
        }
        for number in 51..=220 {
            rig.frame(0, &binance_update(number));
        }
        rig.turn();
        let mut body = binance_body(50, 100).into_bytes();
        assert_eq!(rig.pipeline.rest(PATH, &mut body, NOW, &mut rig.clock), FrameOutcome::Done);
        let turns = rig.turns();
        rig.frame(0, &binance_update(221));
        let last = rig.turn();
        assert_eq!(rig.pipeline.counts().resyncs_total, 0);
        assert_eq!(rig.pipeline.messages_waiting(), 0);
        (turns, last)
    };
    let (at_once, last) = run(false);
    assert_eq!(at_once.len(), 1);
    let (turns, last_in_turns) = run(true);
    assert!(turns.len() >= 3, "{} turns for 170 updates", turns.len());
    for turn in &turns {
        let updates = turn[0].iter().filter(|event| event.contains("BookUpdate")).count();
        assert!(updates <= 65, "{updates} updates in a turn");
    }
    assert!(sum(&turns) == at_once[0] && last == last_in_turns, "the rings get the same");
}
