//! The same cases under divan: `cargo bench`. `ratios` compares them by turns; divan shows how each one spreads.

use std::cell::RefCell;

use baselines::{Group, groups};

thread_local! {
    static GROUPS: RefCell<Vec<Group>> = RefCell::new(groups());
}

fn main() {
    divan::main();
}

/// Group and case as `number.number`, with their names.
fn cases() -> Vec<String> {
    GROUPS.with_borrow(|groups| {
        let mut names = Vec::new();
        for (number, group) in groups.iter().enumerate() {
            for (case, way) in group.cases.iter().enumerate() {
                names.push(format!("{number}.{case} {}: {}", group.name, way.name));
            }
        }
        names
    })
}

#[divan::bench(args = cases())]
fn stage(bencher: divan::Bencher, name: &str) {
    let place = name.split(' ').next().and_then(|place| place.split_once('.')).expect("group.case");
    let (group, case) =
        (place.0.parse::<usize>().expect("a group"), place.1.parse::<usize>().expect("a case"));
    let items = GROUPS.with_borrow(|groups| groups[group].items);
    bencher.counter(divan::counter::ItemsCount::new(items)).bench_local(|| {
        GROUPS.with_borrow_mut(|groups| (groups[group].cases[case].run)());
    });
}
