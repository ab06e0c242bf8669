//! A consumer shard's end of order entry: one way out, and what comes back of each provider that trades.

use std::sync::Arc;

use engine::ids::ProviderId;
use engine::orders::{OrderEvent, Outbox};
use engine::ring::Receiver;

use super::switches::Switches;
use crate::machine::idle::Waker;
use crate::stages::{Stage, StageLayout};

/// What a consumer shard needs for orders.
pub struct ConsumerEnd {
    /// Its way out.
    pub outbox: Outbox,
    /// What comes back.
    pub critical: Vec<Receiver<OrderEvent>>,
    /// By provider: what wakes its shard.
    pub wakers: Vec<Waker>,
    /// Who may trade.
    pub switches: Arc<Switches>,
    /// Providers that trade, each with its name and kind of signature.
    pub ways: Vec<(ProviderId, String)>,
}

impl ConsumerEnd {
    /// A histogram of reports for each provider, and by provider its index.
    pub fn layout(&self, mut layout: StageLayout) -> (StageLayout, Vec<Option<usize>>) {
        let mut own = Vec::new();
        for (provider, way) in &self.ways {
            let (with, index) = layout.with(Stage::ReportToDelivered, way);
            layout = with;
            own.resize(own.len().max(provider.index() + 1), None);
            own[provider.index()] = Some(index);
        }
        (layout, own)
    }
}
