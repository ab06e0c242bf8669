//! A book that the context lends goes on changing after the handler: it cannot be kept.

use engine::book::Replica;
use engine::consumer::{Consumer, Context};
use engine::event::Event;

struct Keeper<'a> {
    kept: Option<&'a Replica>,
}

impl<'a> Consumer for Keeper<'a> {
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        self.kept = context.book(event.header.provider, event.header.stream);
    }
}

fn main() {}
