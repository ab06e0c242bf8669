//! Consumers of one shard see the same event: none can change it for the next.

use engine::consumer::{Consumer, Context};
use engine::event::Event;

struct Changer;

impl Consumer for Changer {
    fn on_event(&mut self, event: &Event, _: &mut Context<'_>) {
        event.header.sequence_last = 0;
    }
}

fn main() {}
