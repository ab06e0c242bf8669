//! One frame out of bytes that were read: header, rules of the protocol, UTF-8.

use std::hint::black_box;

use bench::{messages, wire};
use engine::frame::{Frame, FrameReader};
use iai_callgrind::{library_benchmark, library_benchmark_group};

use crate::at_most;

/// A reader that has read one message before, with the bytes of the next in it.
fn reader(bytes: Vec<u8>) -> Box<FrameReader> {
    let mut reader = Box::new(FrameReader::new(64 << 10, 1 << 20));
    for _ in 0..2 {
        assert_eq!(reader.feed(&bytes), bytes.len());
        let first = reader.next().map(|frame| frame.is_some());
        assert_eq!(first, Ok(true));
    }
    assert_eq!(reader.feed(&bytes), bytes.len());
    reader
}

fn short() -> Box<FrameReader> {
    let mut message = messages::binance_trade("BTCUSDT", 3_735_683_259);
    message.resize(200, b' ');
    reader(wire::text(&message))
}

fn long() -> Box<FrameReader> {
    let mut message = messages::binance_update_of("BTCUSDT", 7, 20);
    message.resize(2_048, b' ');
    reader(wire::text(&message))
}

fn fragmented() -> Box<FrameReader> {
    let mut message = messages::binance_update_of("BTCUSDT", 7, 20);
    message.resize(2_048, b' ');
    reader(wire::fragmented(&message, 4))
}

fn batch() -> Box<FrameReader> {
    let messages: Vec<Vec<u8>> = (0..32).map(|id| messages::binance_trade("BTCUSDT", 1 << 31 | id)).collect();
    let bytes = wire::batch(messages.iter().map(Vec::as_slice));
    let mut reader = Box::new(FrameReader::new(64 << 10, 1 << 20));
    assert_eq!(reader.feed(&bytes), bytes.len());
    reader
}

#[library_benchmark]
#[bench::text_200_bytes(args = (), setup = short, config = at_most(230))]
#[bench::text_2_kib(args = (), setup = long, config = at_most(490))]
#[bench::text_2_kib_in_4_fragments(args = (), setup = fragmented, config = at_most(2290))]
fn frame(mut reader: Box<FrameReader>) -> Box<FrameReader> {
    match black_box(reader.next()) {
        Ok(Some(Frame::Text(text))) => {
            #[cfg(feature = "slowdown")]
            black_box(text.to_vec());
            black_box(text);
        }
        other => panic!("{other:?}"),
    }
    reader
}

#[library_benchmark]
#[bench::of_32_trades(args = (), setup = batch, config = at_most(6680))]
fn frames(mut reader: Box<FrameReader>) -> Box<FrameReader> {
    while let Ok(Some(frame)) = reader.next() {
        black_box(frame);
    }
    reader
}

library_benchmark_group!(name = frame_group; benchmarks = frame, frames);
