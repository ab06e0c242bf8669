//! `cargo run --release` prints, in one run, each stage beside the ways that others take it, and the ratios that SPEC's
//! SC-001, SC-003 and SC-008 are read off. An argument keeps the groups whose names contain it; `quick` takes less time.
//!
//! `cargo run --release -- --minutes 30` is SC-001 alone, by the clock: the pipeline and one that pools nothing beside each
//! other, 3 x 50 instruments, 1,000 events a second.

use baselines::pooling::Pace;
use baselines::{case, groups, pooling};

/// Turns a case has, each of `TURN_NS`: far shorter than a time slice of the scheduler, so that on a busy host the median
/// turn is one that nobody interrupted.
const ROUNDS: usize = 401;
const TURN_NS: u64 = 200_000;

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--minutes") {
        let minutes: Option<f64> = arguments.get(at + 1).and_then(|minutes| minutes.parse().ok());
        let Some(minutes) = minutes.filter(|minutes| (0.0..100_000.0).contains(minutes)) else {
            eprintln!("baselines: --minutes MINUTES, for example --minutes 30");
            std::process::exit(2);
        };
        return for_minutes(minutes);
    }
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
        print_pooling("pipeline, pooled", pooling::pooled(events, Pace::Free), events);
        print_pooling("pipeline, unpooled", pooling::unpooled(events, Pace::Free), events);
    }
}

/// Both pipelines at SPEC's pace, each on a thread of its own: allocations are counted by thread.
fn for_minutes(minutes: f64) {
    let events = (minutes * 60.0 * f64::from(pooling::EVENTS_PER_S)) as usize;
    let pooled = std::thread::spawn(move || pooling::pooled(events, Pace::Real));
    let unpooled = std::thread::spawn(move || pooling::unpooled(events, Pace::Real));
    for (name, thread) in [("pipeline, pooled", pooled), ("pipeline, unpooled", unpooled)] {
        print_pooling(name, thread.join().expect("it does not panic"), events);
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
