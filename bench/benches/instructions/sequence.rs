//! The order of one stream: 32 messages in their turn, and 32 of which every fourth comes three places late.

use std::hint::black_box;

use engine::sequence::{Hold, Reorder, Sequence, Verdict};
use engine::time::ReceiveTime;
use engine::venue::SequenceRule;
use iai_callgrind::{library_benchmark, library_benchmark_group};

use crate::at_most;

type Stream = (Sequence, Reorder<u64>, Vec<u64>);

fn stream(numbers: Vec<u64>) -> Stream {
    let mut sequence = Sequence::new(SequenceRule::Contiguous);
    sequence.begin_after(999);
    (sequence, Reorder::new(200), numbers)
}

fn in_order() -> Stream {
    stream((1_000..1_032).collect())
}

/// 1001 1002 1003 1000, 1005 1006 1007 1004, ...
fn reordered() -> Stream {
    stream((0..8).flat_map(|group| [1, 2, 3, 0].map(|place| 1_000 + group * 4 + place)).collect())
}

#[library_benchmark]
#[bench::of_32_in_order(args = (), setup = in_order, config = at_most(840))]
#[bench::of_32_reordered(args = (), setup = reordered, config = at_most(2680))]
fn sequence((mut sequence, mut reorder, numbers): Stream) -> Stream {
    let mut published = 0;
    for &number in &numbers {
        match sequence.verdict(number, number) {
            Verdict::Apply => {
                sequence.advance(number);
                published += 1;
                if !reorder.is_empty() {
                    while let Some((_, last, _)) = reorder.next_ready(&mut sequence, |_| ()) {
                        sequence.advance(last);
                        published += 1;
                    }
                }
            }
            Verdict::Stale => {}
            Verdict::Hole { .. } => {
                let held = reorder.hold(number, number, ReceiveTime::from_ns(1), number);
                assert_eq!(held, Hold::Held);
            }
        }
    }
    assert_eq!(black_box(published), numbers.len());
    (sequence, reorder, numbers)
}

library_benchmark_group!(name = sequence_group; benchmarks = sequence);
