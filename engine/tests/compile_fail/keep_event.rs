//! An event is borrowed for the handler's length: it cannot be kept.

use engine::consumer::{Consumer, Context};
use engine::event::Event;

struct Keeper<'a> {
    kept: Option<&'a Event>,
}

impl<'a> Consumer for Keeper<'a> {
    fn on_event(&mut self, event: &Event, _: &mut Context<'_>) {
        self.kept = Some(event);
    }
}

fn main() {}
