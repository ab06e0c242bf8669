//! What the supervisor of a run notes by time: the watchdog's incidents and the timeline.

use crate::collect::Collector;
use crate::launch::Gateway;
use crate::machine::place::Place;
use crate::report::timeline::Timeline;
use crate::report::{DisturbanceKind, RunReport};
use crate::topology::{HostMode, OnStall, ShardIndex};
use crate::watch::{Sight, Stall, Watch, long_words, place_words, sight};

/// A stall that began or ended.
pub(super) struct Notice {
    pub(super) shard: String,
    /// What an operator reads.
    pub(super) text: String,
    /// It ended.
    pub(super) over: bool,
    /// The run must end for it.
    pub(super) ends: bool,
}

/// Notes what happens to the shards of one run.
#[derive(Debug)]
pub(super) struct Observer {
    pub(super) watch: Watch,
    pub(super) timeline: Timeline,
    /// The shards in the watchdog's order.
    shards: Vec<ShardIndex>,
}

impl Observer {
    pub(super) fn new(gateway: &Gateway) -> Self {
        let topology = &gateway.topology;
        let shards: Vec<ShardIndex> = gateway.threads().map(|(shard, ..)| shard).collect();
        let names = shards.iter().map(|shard| {
            let plan = topology.shard(*shard);
            (plan.name.clone(), Some(plan.core))
        });
        let stall_ns = u64::from(topology.watchdog.stall_ms) * 1_000_000;
        let watch = Watch::new(names, topology.host == HostMode::Dedicated, stall_ns);
        Self { watch, timeline: Timeline::default(), shards }
    }

    /// Looks at every shard. Returns a notice for each stall that began or ended.
    pub(super) fn look(&mut self, gateway: &Gateway, run_ns: u64) -> Vec<Notice> {
        let ask = self.watch.asks_kernel(run_ns);
        self.look_at(gateway, run_ns, ask)
    }

    /// The last look, while the shards still run: what the kernel did since it was asked last is part of the run too.
    pub(super) fn look_at_last(&mut self, gateway: &Gateway, run_ns: u64) {
        self.look_at(gateway, run_ns, true);
    }

    fn look_at(&mut self, gateway: &Gateway, run_ns: u64, ask: bool) -> Vec<Notice> {
        let sights = gateway.threads().map(|(shard, thread, counters)| {
            let long = long_words(&gateway.topology, shard, &counters.long.take());
            Sight { long_words: long, ..sight(counters, thread, ask) }
        });
        let sights: Vec<_> = sights.collect();
        let stalls = self.watch.look(run_ns, &sights);
        stalls.into_iter().map(|stall| self.notice(gateway, stall)).collect()
    }

    fn notice(&self, gateway: &Gateway, stall: Stall) -> Notice {
        let topology = &gateway.topology;
        let shard = self.shards[stall.shard];
        let (name, stalled_ms) = (topology.shard(shard).name.clone(), stall.stalled_ns / 1_000_000);
        if stall.over {
            let text = format!("turns again after {stalled_ms} ms");
            return Notice { shard: name, text, over: true, ends: false };
        }
        let mut place = place_words(topology, shard, stall.place);
        if stall.place == Place::Idle {
            place += " (the kernel gives it no core, or a wake was lost)";
        }
        let text = format!("stalled: no turn for {stalled_ms} ms; last known place: {place}");
        Notice { shard: name, text, over: false, ends: topology.watchdog.then == OnStall::Abort }
    }

    /// Puts what was noted into the report.
    pub(super) fn fill(self, report: &mut RunReport, collector: &Collector) {
        let (incidents, dropped_total) = self.watch.finish();
        // Counted by the shards or the kernel for the whole run elsewhere; these two only the watchdog knows.
        for what in [DisturbanceKind::Stalls, DisturbanceKind::LostPinning] {
            for incident in incidents.iter().filter(|incident| incident.what == what) {
                report.disturb(what, Some(&incident.shard), incident.count, &incident.detail);
            }
        }
        report.outliers = collector.outliers().beside(&incidents);
        report.incidents = incidents;
        report.incidents_dropped_total = dropped_total;
        report.timeline = self.timeline;
    }
}
