//! `cargo run --release` prints, in one run, each stage beside the ways that others take it, and the ratios that SPEC's
//! SC-001, SC-003 and SC-008 are read off. An argument keeps the groups whose names contain it; `quick` takes less time.

use baselines::{case, groups, pooling};

/// Turns a case has, each of `TURN_NS`: far shorter than a time slice of the scheduler, so that on a busy host the median
/// turn is one that nobody interrupted.
const ROUNDS: usize = 401;
const TURN_NS: u64 = 200_000;

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "quick");
    arguments.retain(|argument| argument != "quick");
    let wanted =
        |name: &str| arguments.is_empty() || arguments.iter().any(|part| name.contains(part.as_str()));
    let rounds = if quick { 101 } else { ROUNDS };
    println!("median of {rounds} turns of {} us, cases by turns; allocations of one run", TURN_NS / 1_000);
    println!("{:<44} {:<26} {:>10} {:>7} {:>7}", "work", "way", "ns/item", "ratio", "allocs");
    for mut group in groups() {
        if !wanted(&group.name) {
            continue;
        }
        let times = case::measure(&mut group, rounds, TURN_NS);
        let allocations = case::allocations(&mut group);
        for ((case, ns), allocations) in group.cases.iter().zip(&times).zip(allocations) {
            println!(
                "{:<44} {:<26} {:>10.1} {:>6.2}x {:>7}",
                group.name,
                case.name,
                ns,
                ns / times[0],
                allocations
            );
        }
    }
    if wanted("allocations") {
        let events = if quick { pooling::EVENTS / 20 } else { pooling::EVENTS };
        print_pooling("pipeline, pooled", pooling::pooled(events), events);
        print_pooling("pipeline, unpooled", pooling::unpooled(events), events);
    }
}

fn print_pooling(name: &str, taken: pooling::Taken, events: usize) {
    println!(
        "allocations of {events} messages, {} symbols, {} consumers: {name:<20} {:>10} ({:.3} a message, {} bytes)",
        pooling::SYMBOLS,
        pooling::CONSUMERS,
        taken.count,
        taken.count as f64 / events as f64,
        taken.bytes,
    );
}
