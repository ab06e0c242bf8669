//! The topology of the simulated gateway, and what its control thread knows at the start.

use std::sync::Arc;

use engine::catalog::{Catalog, ProviderFacts};
use engine::directory::Directory;
use shards::control::controller::{MergerMirror, Start};
use shards::control::link::{ShardEnd, wire};
use shards::machine::idle::Waker;
use shards::orders::switches::Switches;
use shards::topology::{self, Against, Role, ShardIndex, Topology};

use super::super::{MERGED, MERGER, OBSERVER, PROVIDERS};

/// What the simulated gateway is, as an operator would write it. Rings are as large as the seed says.
const TEXT: &str = include_str!("topology.yaml");

/// The topology; the catalog has its names then, and the merge shard.
pub(in crate::whole) fn plan(catalog: &mut Catalog) -> Topology {
    let against = Against { cores: None, consumer_kinds: &["auditor"], simulated_lists: None };
    let topology =
        topology::read("simulation.yaml", TEXT, against).unwrap_or_else(|errors| panic!("{errors}"));
    catalog.symbols.clone_from(&topology.symbols);
    let merger = &topology.shards[usize::from(MERGER.0)];
    catalog.providers.push(ProviderFacts {
        name: merger.name.clone(),
        venue: "merge".to_owned(),
        streams: Vec::new(),
    });
    topology
}

/// What the controller starts with: nobody holds anything, and no way is open but that to the observer. The rings that it makes
/// have these sizes: slots, and parts that may wait.
pub(super) fn start(
    mut topology: Topology,
    (ring_events, spill_events): (usize, usize),
    catalog: Arc<Catalog>,
    directories: Vec<Directory>,
    switches: Arc<Switches>,
) -> (Start, Vec<Option<ShardEnd>>) {
    for shard in &mut topology.shards {
        if let Role::Consumer { rings } = &mut shard.role {
            (rings.ring_events, rings.spill_events) = (ring_events as u32, spill_events as u32);
        }
    }
    for (directory, plan) in directories.iter().zip(&topology.providers) {
        let ours = directory.instruments().iter().map(|instrument| instrument.id.0);
        assert!(ours.eq(plan.instruments.iter().map(|listed| listed.id.0)), "both number instruments alike");
    }
    let (mut wires, mut ends) = (Vec::new(), Vec::new());
    for shard in 0..topology.shards.len() {
        // The observer belongs to the simulation: nobody speaks to its shard.
        let made = (shard != usize::from(OBSERVER.0)).then(|| {
            let (control, shard) = wire(Waker::new().expect("this process may have an eventfd"));
            (control, shard)
        });
        let (control, shard) = made.unzip();
        wires.push(control);
        ends.push(shard);
    }
    let Role::Merger { pools, .. } = topology.shards[usize::from(MERGER.0)].role else {
        panic!("the merge shard has its role")
    };
    let mirror = MergerMirror::new(ShardIndex(MERGER.0), MERGED, vec![OBSERVER.0], pools.merged as usize);
    assert_eq!(directories.len(), PROVIDERS);
    let start = Start {
        topology,
        catalog,
        providers: directories.into_iter().map(|directory| (directory, vec![OBSERVER.0])).collect(),
        held: Vec::new(),
        mergers: vec![mirror],
        wires,
        switches,
    };
    (start, ends)
}
