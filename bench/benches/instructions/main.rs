//! Instruction counts of every stage, each with its limit. A bench above its limit fails the run.
//!
//! `cargo bench -p bench --bench instructions`; needs valgrind and the runner (`scripts/install-tools.sh runner`).
//! Counts hold for the pinned compiler, the `bench` profile and no `RUSTFLAGS`. README.md says how to accept a change.

// The macros of iai-callgrind expand to items without documentation.
#![allow(missing_docs, clippy::pedantic)]

mod book;
mod codec;
mod decode;
mod dispatch;
mod frame;
mod orders;
mod pipeline;
mod sequence;

use iai_callgrind::{Callgrind, EventKind, LibraryBenchmarkConfig, main};

use book::book_group;
use codec::codec_group;
use decode::decode_group;
use dispatch::dispatch_group;
use frame::frame_group;
use orders::orders_group;
use pipeline::pipeline_group;
use sequence::sequence_group;

/// The limit of one bench: at most so many instructions.
pub fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(EventKind::Ir, instructions)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

main!(
    library_benchmark_groups = frame_group,
    decode_group,
    sequence_group,
    book_group,
    dispatch_group,
    pipeline_group,
    codec_group,
    orders_group
);
