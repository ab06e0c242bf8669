//! Neither the event nor the context leads to a slot of a pool, nor to the books of the shard as a whole.

use engine::consumer::{Consumer, Context};
use engine::event::Event;
use engine::pool::Handle;
use engine::raw::Raw;

struct Thief {
    stolen: Option<Handle<Raw>>,
}

impl Consumer for Thief {
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        self.stolen = Some(event.handle());
        let _ = context.replicas;
        let _ = context.pools();
    }
}

fn main() {}
