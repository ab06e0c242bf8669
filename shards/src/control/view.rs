//! What the supervisor saw last: plain copies that the control thread reads whenever somebody asks.

use std::sync::atomic::Ordering;

use crate::collect::{Collector, LiveStage};
use crate::live::Board;
use crate::machine::executor::LoopCounters;
use crate::machine::place::Place;
use crate::orders::status::OrdersStatus;
use crate::report::Incident;
use crate::status::{ConsumerStatus, MergerStatus, ProviderStatus};
use crate::watch::{Standing, Watch};

/// Incidents that the status shows.
const INCIDENTS_SHOWN: usize = 24;

/// The whole gateway at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// How long it has run, in nanoseconds.
    pub run_ns: u64,
    /// The newest status of each provider.
    pub providers: Vec<ProviderStatus>,
    /// The newest status of each merge shard.
    pub mergers: Vec<MergerStatus>,
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
    /// In the order of `loops`: what the watchdog knows.
    pub standings: Vec<Standing>,
    /// The newest incidents, newest first.
    pub incidents: Vec<Incident>,
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
    /// Turns that did nothing.
    pub turns_idle_total: u64,
    /// Time in turns that did something, in nanoseconds.
    pub busy_ns_total: u64,
    /// Where the shard is.
    pub place: Option<Place>,
}

impl LoopView {
    fn of(counters: &LoopCounters) -> Self {
        Self {
            turns_total: counters.turns.load(Ordering::Relaxed),
            turns_long_total: counters.turns_long.load(Ordering::Relaxed),
            turn_ns_max: counters.turn_ns_max.load(Ordering::Relaxed),
            sleeps_total: counters.sleeps.load(Ordering::Relaxed),
            turns_idle_total: counters.turns_idle.load(Ordering::Relaxed),
            busy_ns_total: counters.busy_ns.load(Ordering::Relaxed),
            place: Some(counters.place.get()),
        }
    }
}

impl View {
    /// The gateway as the supervisor sees it now; `loops` are the counters of each shard's loop, by its name.
    pub fn of<'a>(
        collector: &Collector,
        loops: impl Iterator<Item = (&'a str, &'a LoopCounters)>,
        board: &Board,
        run_ns: u64,
    ) -> Self {
        let mut view = Self::of_collector(collector);
        view.run_ns = run_ns;
        view.providers = board.providers().copied().collect();
        view.consumers = board.consumers().copied().collect();
        view.orders = board.orders().copied().collect();
        view.mergers = board.mergers().copied().collect();
        view.loops = loops.map(|(name, counters)| (name.to_owned(), LoopView::of(counters))).collect();
        view
    }

    /// The same with what the watchdog knows; it watches the shards in the order of `loops`.
    #[must_use]
    pub fn watched(mut self, watch: &Watch) -> Self {
        self.standings = (0..self.loops.len()).map(|shard| watch.standing(shard)).collect();
        self.incidents = watch.newest(INCIDENTS_SHOWN).cloned().collect();
        self
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
