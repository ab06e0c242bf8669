//! Events as bytes, for recorders and replay hashes.

use std::hint::black_box;

use engine::codec::{EVENT_BYTES_MAX, encode_content, encode_place};
use engine::event::{Body, BookPart, BookStatus, Event, LEVELS_PER_PART, Level, Proof};
use iai_callgrind::{library_benchmark, library_benchmark_group};

use crate::at_most;
use crate::dispatch::trade;

type Work = (Event, Vec<u8>);

fn of_trade() -> Work {
    (trade(7), Vec::with_capacity(EVENT_BYTES_MAX))
}

fn of_part() -> Work {
    let part = BookPart {
        status: BookStatus::Proved,
        proof: Proof::Continuity,
        bid_count: 3,
        ask_count: 3,
        levels: [Level::default(); LEVELS_PER_PART],
    };
    (Event { body: Body::BookUpdate(part), ..trade(7) }, Vec::with_capacity(EVENT_BYTES_MAX))
}

#[library_benchmark]
#[bench::trade(args = (), setup = of_trade, config = at_most(340))]
#[bench::book_part(args = (), setup = of_part, config = at_most(510))]
fn encode((event, mut bytes): Work) -> Work {
    encode_content(black_box(&event), &mut bytes);
    encode_place(black_box(&event), &mut bytes);
    (event, bytes)
}

library_benchmark_group!(name = codec_group; benchmarks = encode);
