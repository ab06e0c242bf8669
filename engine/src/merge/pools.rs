//! The pools that a merge shard's path takes from.

use crate::event::Event;
use crate::pool::Pool;
use crate::pools::PoolSizes;

use super::window::MergedEvent;

/// The pools that a merge shard's path takes from.
#[derive(Debug)]
pub struct MergePools {
    /// Events that wait until every input has passed their time.
    pub events: Pool<Event>,
    /// Open windows.
    pub merged: Pool<MergedEvent>,
}

impl MergePools {
    /// Pools of these sizes; all memory is taken here.
    pub fn new(sizes: &PoolSizes) -> Self {
        Self {
            events: Pool::new("CanonicalEvent", sizes.events, Event::default),
            merged: Pool::new("MergedEvent", sizes.merged, MergedEvent::default),
        }
    }
}
