//! What the supervisor saw last: plain copies that the control thread reads whenever somebody asks.

use std::sync::atomic::Ordering;

use crate::collect::{Collector, LiveStage};
use crate::launch::Gateway;
use crate::live::Board;
use crate::machine::executor::LoopCounters;
use crate::orders::status::OrdersStatus;
use crate::status::{ConsumerStatus, ProviderStatus};

/// The whole gateway at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// How long it has run, in nanoseconds.
    pub run_ns: u64,
    /// The newest status of each provider.
    pub providers: Vec<ProviderStatus>,
    /// The newest status of each consumer shard.
    pub consumers: Vec<ConsumerStatus>,
    /// The newest status of order entry, of each provider that trades.
    pub orders: Vec<OrdersStatus>,
    /// By shard name: the stages of its last interval.
    pub stages: Vec<(String, Vec<LiveStage>)>,
    /// By shard name and stage: how many latencies were recorded since the start.
    pub stage_counts: Vec<(String, String, u64)>,
    /// By shard name: the loop.
    pub loops: Vec<(String, LoopView)>,
}

/// The counters of one shard's loop.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoopView {
    /// Turns.
    pub turns_total: u64,
    /// Turns above 1 ms.
    pub turns_long_total: u64,
    /// The longest turn, in nanoseconds.
    pub turn_ns_max: u64,
    /// Sleeps.
    pub sleeps_total: u64,
}

impl LoopView {
    fn of(counters: &LoopCounters) -> Self {
        Self {
            turns_total: counters.turns.load(Ordering::Relaxed),
            turns_long_total: counters.turns_long.load(Ordering::Relaxed),
            turn_ns_max: counters.turn_ns_max.load(Ordering::Relaxed),
            sleeps_total: counters.sleeps.load(Ordering::Relaxed),
        }
    }
}

impl View {
    /// The gateway as the supervisor sees it now.
    pub fn of(gateway: &Gateway, board: &Board, run_ns: u64) -> Self {
        let loops = gateway.loop_counters();
        let mut view = Self::of_collector(&gateway.collector);
        view.run_ns = run_ns;
        view.providers = board.providers().copied().collect();
        view.consumers = board.consumers().copied().collect();
        view.orders = board.orders().copied().collect();
        view.loops = loops.map(|(name, counters)| (name.to_owned(), LoopView::of(counters))).collect();
        view
    }

    fn of_collector(collector: &Collector) -> Self {
        let stages = collector.live().map(|shard| (shard.identity.name.clone(), shard.stages.to_vec()));
        let counts = collector.totals();
        Self {
            stages: stages.collect(),
            stage_counts: counts
                .filter(|(_, _, total)| total.count() > 0)
                .map(|(identity, stage, total)| (identity.name.clone(), stage, total.count()))
                .collect(),
            ..Self::default()
        }
    }
}
