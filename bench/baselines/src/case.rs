//! A case is one way to do a piece of work; a group is the ways to do the same piece.

use std::time::Instant;

/// One way to do the work.
pub struct Case {
    /// Whose way.
    pub name: &'static str,
    /// Does the work once.
    pub run: Box<dyn FnMut()>,
}

impl Case {
    /// A case of a name.
    pub fn new(name: &'static str, run: impl FnMut() + 'static) -> Self {
        Self { name, run: Box::new(run) }
    }
}

/// Ways to do the same work. The first is ours.
pub struct Group {
    /// What the work is.
    pub name: String,
    /// What one run of it handles: frames, messages, events.
    pub items: usize,
    /// Ours, then the others.
    pub cases: Vec<Case>,
}

impl Group {
    /// A group of a name whose runs handle `items` items.
    pub fn new(name: impl Into<String>, items: usize, cases: Vec<Case>) -> Self {
        Self { name: name.into(), items, cases }
    }
}

/// Nanoseconds an item of each case: the median of `rounds`, in each of which all cases have their turn.
///
/// By turns, so that what disturbs the machine for longer than a turn disturbs all of them.
pub fn measure(group: &mut Group, rounds: usize, turn_ns: u64) -> Vec<f64> {
    let repeats: Vec<u64> = group.cases.iter_mut().map(|case| repeats_for(case, turn_ns)).collect();
    let mut seen = vec![Vec::with_capacity(rounds); group.cases.len()];
    for _ in 0..rounds {
        for ((case, &repeats), seen) in group.cases.iter_mut().zip(&repeats).zip(&mut seen) {
            let started = Instant::now();
            for _ in 0..repeats {
                (case.run)();
            }
            let ns = started.elapsed().as_nanos() as f64;
            seen.push(ns / (repeats * group.items as u64) as f64);
        }
    }
    seen.iter_mut()
        .map(|seen| {
            seen.sort_by(f64::total_cmp);
            seen[seen.len() / 2]
        })
        .collect()
}

/// How often a case runs in `turn_ns`; warms it too.
fn repeats_for(case: &mut Case, turn_ns: u64) -> u64 {
    let mut repeats = 1;
    loop {
        let started = Instant::now();
        for _ in 0..repeats {
            (case.run)();
        }
        let ns = started.elapsed().as_nanos() as u64;
        if ns >= turn_ns / 4 {
            return (repeats * turn_ns / ns.max(1)).max(1);
        }
        repeats *= 2;
    }
}

/// Allocations of one run of each case, after they are warm.
pub fn allocations(group: &mut Group) -> Vec<u64> {
    group
        .cases
        .iter_mut()
        .map(|case| {
            (case.run)();
            allocation_counter::measure(|| (case.run)()).count_total
        })
        .collect()
}
