//! Consumers that come with the program. (Placeholder until the branch lands.)
use std::path::Path;
use std::sync::Arc;

use engine::consumer::{Catalog, Consumer, Context};
use engine::event::Event;

use crate::launch::Factory;
use crate::topology::ConsumerPlan;

/// Names.
pub const KINDS: &[&str] = &["stats", "printer", "recorder"];

/// Registry.
pub struct Registry;

impl Registry {
    /// Built-ins.
    pub fn built_in(_: &Path) -> Self {
        Self
    }

    /// Makes.
    pub fn make(&self, _: &ConsumerPlan, _: &Arc<Catalog>) -> Result<Factory, String> {
        Ok(Box::new(|| Box::new(Counter(0))))
    }
}

struct Counter(u64);

impl Consumer for Counter {
    fn on_event(&mut self, _: &Event, _: &mut Context<'_>) {
        self.0 += 1;
    }
    fn summary(&self) -> Vec<(String, String)> {
        vec![("events".to_owned(), self.0.to_string())]
    }
}
