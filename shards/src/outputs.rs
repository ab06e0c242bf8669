//! The way from one shard to another as its topology sizes it, for providers and merge shards, at start and later.

use engine::dispatch::{Dispatcher, Fairness};
use engine::event::Event;
use engine::ids::ShardId;
use engine::ring::Sender;

use crate::topology::RingSizes;

/// Adds the way to a shard with what its topology says about waiting for it; gives its number.
pub fn add_output(
    dispatcher: &mut Dispatcher,
    shard: ShardId,
    sender: Sender<Event>,
    rings: RingSizes,
) -> usize {
    let output = dispatcher.add_output(shard, sender, rings.spill_events as usize);
    let RingSizes { high_water_permille, burst_events, .. } = rings;
    dispatcher.set_fairness(output, Fairness { high_water_permille, burst_events });
    output
}
