//! Frames of megabytes: read in pieces of any size they give the same events, frames of other connections in between give
//! theirs, and one too long to be taken costs its own book only.

use std::collections::BTreeMap;

use engine::directory::Directory;
use engine::dispatch::Dispatcher;
use engine::event::{Body, BookReason, BookStatus, Event};
use engine::ids::{LineId, ProviderId, ShardId, StreamId};
use engine::pipeline::{FrameOutcome, Pipeline, PipelineOptions};
use engine::pools::PoolSizes;
use engine::ring::{Receiver, ring};
use engine::sequence::Patience;
use engine::time::{FixedClock, ReceiveTime};
use engine::venue::coinbase::{Coinbase, Product};

const NOW: ReceiveTime = ReceiveTime::from_ns(1_000_000_000);
const SENT: &str = "2026-08-24T10:00:00.000000Z";

fn rig(product: Product) -> (Pipeline<Coinbase>, Receiver<Event>) {
    let mut dispatcher = Dispatcher::new(16);
    let (sender, receiver) = ring(1 << 15);
    let output = dispatcher.add_output(ShardId(0), sender, 64);
    let options = PipelineOptions {
        pools: PoolSizes::SPEC,
        patience: Patience::SPEC,
        book_depth_max: 65_536,
        book_reserve: 1_024,
        book_waiting_max: 100,
        letters_max: 16,
        lines: 1,
        snapshot_levels: 1_000,
        fill_trades: false,
        share: (0, 1),
        route_all_to: Some(output),
    };
    let directory = Directory::open(ProviderId(0));
    let mut pipeline = Pipeline::new(Coinbase::new(product), directory, dispatcher, options);
    pipeline.set_line_count(2);
    (pipeline, receiver)
}

/// Rows of a snapshot whose digits grow on the way, so that the scale is too narrow more than once.
fn advanced_snapshot(product: &str, number: u64, levels: usize) -> String {
    let rows: Vec<String> = (0..2 * levels)
        .map(|row| {
            let (side, price) =
                if row < levels { ("bid", 90_000 - row) } else { ("offer", 90_001 + row - levels) };
            let digits = if row % 1_000 == 999 { ".125" } else { ".5" };
            format!(
                r#"{{"side":"{side}","event_time":"{SENT}","price_level":"{price}{digits}","new_quantity":"{row}.25"}}"#
            )
        })
        .collect();
    format!(
        r#"{{"channel":"l2_data","timestamp":"{SENT}","sequence_num":{number},"events":[{{"type":"snapshot","product_id":"{product}","updates":[{}]}}]}}"#,
        rows.join(",")
    )
}

fn advanced_update(product: &str, number: u64, qty: u64) -> String {
    format!(
        r#"{{"channel":"l2_data","timestamp":"{SENT}","sequence_num":{number},"events":[{{"type":"update","product_id":"{product}","updates":[{{"side":"bid","event_time":"{SENT}","price_level":"90000.5","new_quantity":"{qty}"}}]}}]}}"#
    )
}

fn exchange_snapshot(product: &str, levels: usize) -> String {
    let rows = |from: usize, down: bool| {
        let row = |row: usize| format!(r#"["{}.5","{row}.25"]"#, if down { from - row } else { from + row });
        (0..levels).map(row).collect::<Vec<_>>().join(",")
    };
    let (bids, asks) = (rows(90_000, true), rows(90_001, false));
    format!(
        r#"{{"type":"snapshot","product_id":"{product}","asks":[{asks}],"bids":[{bids}],"time":"{SENT}"}}"#
    )
}

fn exchange_update(product: &str, qty: u64) -> String {
    format!(
        r#"{{"type":"l2update","product_id":"{product}","changes":[["buy","90000.5","{qty}"]],"time":"{SENT}"}}"#
    )
}

/// Events by stream, as text.
fn published(
    pipeline: &mut Pipeline<Coinbase>,
    receiver: &mut Receiver<Event>,
) -> BTreeMap<StreamId, Vec<String>> {
    pipeline.flush(&mut FixedClock(NOW), |_| {});
    let mut streams: BTreeMap<StreamId, Vec<String>> = BTreeMap::new();
    receiver.drain(usize::MAX, |event| {
        streams.entry(event.header.stream).or_default().push(format!("{event:?}"));
    });
    streams
}

/// Hands over `long` in pieces on line 0, and of `others`, on line 1, one after each piece.
fn run(
    product: Product,
    long: &str,
    others: &[String],
    piece: usize,
) -> (BTreeMap<StreamId, Vec<String>>, u64) {
    let (mut pipeline, mut receiver) = rig(product);
    let mut clock = FixedClock(NOW);
    let mut others = others.iter();
    let mut other = |pipeline: &mut Pipeline<Coinbase>| {
        let Some(text) = others.next() else { return false };
        let outcome = pipeline.frame(LineId(1), &mut text.clone().into_bytes(), NOW, &mut FixedClock(NOW));
        assert_eq!(outcome, FrameOutcome::Done);
        true
    };
    // The streams get their numbers in this order, whatever the pieces.
    other(&mut pipeline);
    let mut bytes = long.to_owned().into_bytes();
    let outcome = loop {
        match pipeline.frame_piece(LineId(0), &mut bytes, piece, NOW, &mut clock) {
            Some(outcome) => break outcome,
            None => {
                other(&mut pipeline);
            }
        }
    };
    assert_eq!(outcome, FrameOutcome::Done);
    while other(&mut pipeline) {}
    let pieces = pipeline.counts().pieces_total;
    (published(&mut pipeline, &mut receiver), pieces)
}

fn same_events_at_any_size(product: Product, long: &str, others: &[String]) {
    let (whole, pieces) = run(product, long, others, usize::MAX);
    assert_eq!(pieces, 0);
    assert!(whole.len() == 2 && whole.values().all(|events| events.len() > 10), "both books are there");
    for piece in [1_000, 4_096, 10_007, 65_536, long.len() - 1] {
        let (found, pieces) = run(product, long, others, piece);
        assert!(pieces as usize >= (long.len() / (piece + 200)).max(2), "{piece}: {pieces} pieces");
        assert!(found == whole, "pieces of {piece} bytes give other events");
    }
}

#[test]
fn an_advanced_snapshot_gives_the_same_events_in_pieces_of_any_size() {
    let long = advanced_snapshot("BTC-USD", 0, 3_000);
    let mut others = vec![advanced_snapshot("ETH-USD", 0, 20)];
    others.extend((1..40).map(|number| advanced_update("ETH-USD", number, 3 * number)));
    same_events_at_any_size(Product::Advanced, &long, &others);
}

#[test]
fn an_exchange_snapshot_gives_the_same_events_in_pieces_of_any_size() {
    let long = exchange_snapshot("BTC-USD", 5_000);
    let mut others = vec![exchange_snapshot("ETH-USD", 20)];
    others.extend((1..40).map(|number| exchange_update("ETH-USD", 3 * number)));
    same_events_at_any_size(Product::Exchange, &long, &others);
}

#[test]
fn a_broken_long_frame_is_an_error_whatever_the_pieces() {
    let long = advanced_snapshot("BTC-USD", 0, 1_000);
    for piece in [1_000, 65_536, usize::MAX] {
        let (mut pipeline, _receiver) = rig(Product::Advanced);
        let mut bytes = long.as_bytes()[..long.len() - 3].to_vec();
        let outcome = loop {
            if let Some(outcome) =
                pipeline.frame_piece(LineId(0), &mut bytes, piece, NOW, &mut FixedClock(NOW))
            {
                break outcome;
            }
        };
        assert!(matches!(outcome, FrameOutcome::Undecodable(_)), "{piece}: {outcome:?}");
        assert_eq!(pipeline.counts().decode_errors_total, 1);
    }
}

#[test]
fn a_connection_that_ends_in_the_midst_of_a_frame_leaves_nothing_behind() {
    let (mut pipeline, mut receiver) = rig(Product::Advanced);
    let mut bytes = advanced_snapshot("BTC-USD", 0, 1_000).into_bytes();
    assert_eq!(pipeline.frame_piece(LineId(0), &mut bytes, 1_000, NOW, &mut FixedClock(NOW)), None);
    pipeline.give_up_frame(LineId(0));
    assert_eq!(pipeline.counts().halves_given_up_total, 1);
    let mut again = advanced_snapshot("BTC-USD", 0, 10).into_bytes();
    pipeline.line_opened(LineId(0));
    pipeline.frame(LineId(0), &mut again, NOW, &mut FixedClock(NOW));
    let events = published(&mut pipeline, &mut receiver);
    assert!(events.values().flatten().all(|event| !event.contains("89000")), "only the second is published");
    assert_eq!(events.len(), 1);
}

#[test]
fn a_frame_too_long_to_be_taken_costs_its_own_book_only() {
    let (mut pipeline, mut receiver) = rig(Product::Advanced);
    let clock = &mut FixedClock(NOW);
    for (number, product) in (0..).zip(["BTC-USD", "ETH-USD"]) {
        let mut bytes = advanced_snapshot(product, number, 10).into_bytes();
        assert_eq!(pipeline.frame(LineId(0), &mut bytes, NOW, clock), FrameOutcome::Done);
    }
    let _ = published(&mut pipeline, &mut receiver);
    let head = &advanced_snapshot("BTC-USD", 2, 10).into_bytes()[..400];
    let outcome = pipeline.oversized(LineId(0), head, 60 << 20, NOW, clock);
    let FrameOutcome::Undecodable(error) = outcome else { panic!("{outcome:?}") };
    assert!(error.to_string().contains("62914560 bytes"), "{error}");
    let mut next = advanced_update("ETH-USD", 3, 7).into_bytes();
    assert_eq!(pipeline.frame(LineId(0), &mut next, NOW, clock), FrameOutcome::Done);
    pipeline.flush(clock, |_| {});
    let mut seen = Vec::new();
    receiver.drain(usize::MAX, |event| {
        seen.push(match event.body {
            Body::BookState { status, reason, .. } => format!("{} {}", status.name(), reason.name()),
            _ => event.kind().name().to_owned(),
        });
    });
    let suspect = format!("{} {}", BookStatus::Suspect.name(), BookReason::Oversized.name());
    assert_eq!(seen.first(), Some(&suspect), "{seen:?}");
    assert_eq!(seen.len(), 2, "the other book goes on: {seen:?}");
    let counts = pipeline.counts();
    assert_eq!((counts.oversized_total, counts.connection_gaps_total, counts.gaps_total), (1, 0, 0));
}
