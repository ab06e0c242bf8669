//! What the status says beyond providers and consumers: shards with their loops and latencies, merge shards, orders, incidents.

use engine::ids::{ConsumerId, InstrumentId};
use engine::merge::MergeCounts;
use serde_json::{Map, Value, json};

use super::view::View;
use crate::orders::account::AccountCounts;
use crate::orders::status::OrdersStatus;
use crate::status::OutputStatus;
use crate::topology::{ShardIndex, Topology};
use crate::watch::place_words;

/// Every shard: its loop, its thread, its latencies of the last interval.
pub(super) fn shards(topology: &Topology, view: &View) -> Value {
    let one = |(index, (name, counters)): (usize, &(String, super::view::LoopView))| {
        let plan = topology.shards.iter().zip(0..).find(|(plan, _)| plan.name == *name);
        let standing = view.standings.get(index);
        let usage = standing.map(|standing| standing.usage).unwrap_or_default();
        let stages = view.stages.iter().filter(|(shard, _)| shard == name).flat_map(|(_, stages)| stages);
        let stages = stages.map(|stage| {
            json!({
                "stage": stage.stage,
                "count": stage.count,
                "latency_ns_p50": stage.latency_ns_p50,
                "latency_ns_p99": stage.latency_ns_p99,
                "latency_ns_max": stage.latency_ns_max,
            })
        });
        let place =
            plan.and_then(|(_, number)| Some(place_words(topology, ShardIndex(number), counters.place?)));
        json!({
            "name": name,
            "role": plan.map(|(plan, _)| plan.role_name()),
            "core": plan.map(|(plan, _)| plan.core),
            "turns_total": counters.turns_total,
            "turns_idle_total": counters.turns_idle_total,
            "turns_long_total": counters.turns_long_total,
            "turn_ns_max": counters.turn_ns_max,
            "busy_ns_total": counters.busy_ns_total,
            "sleeps_total": counters.sleeps_total,
            "place": place,
            "stalled_ms": standing.map(|standing| standing.stalled_ns / 1_000_000),
            "stalls_total": standing.map(|standing| standing.stalls_total),
            "pinned": standing.map(|standing| standing.pinned),
            "involuntary_switches_total": usage.involuntary_switches,
            "migrations_total": usage.migrations,
            "minor_faults_total": usage.minor_faults,
            "major_faults_total": usage.major_faults,
            "stages": stages.collect::<Vec<_>>(),
        })
    };
    view.loops.iter().enumerate().map(one).collect()
}

/// Every merge shard.
pub(super) fn mergers(topology: &Topology, view: &View) -> Value {
    let one = |status: &crate::status::MergerStatus| {
        json!({
            "name": topology.shards[usize::from(status.shard)].name,
            "rules": status.rule_count,
            "by_rule": status.rules[..usize::from(status.rule_count)].iter().map(|rule| {
                let names = MergeCounts::LIST.iter().map(|(name, _)| (*name).to_owned());
                let mut counts: Map<String, Value> =
                    names.zip(rule.counts.values().map(Value::from)).collect();
                counts.insert("name".to_owned(), json!(rule.name()));
                counts.insert("open_events".to_owned(), json!(rule.open_events));
                counts
            }).collect::<Vec<_>>(),
            "routing_version": status.routing_version,
            "received_total": status.received_total,
            "merged_total": status.counts.merged_total,
            "windows_complete_total": status.merges.windows_complete_total,
            "windows_partial_total": status.merges.windows_partial_total,
            "late_total": status.merges.late_total,
            "open_events": status.open_events,
            "inputs_lagging": status.inputs_lagging,
            "outputs": outputs(topology, &status.outputs[..usize::from(status.output_count)]),
        })
    };
    view.mergers.iter().map(one).collect()
}

/// The ways from a provider or merge shard to others.
pub(super) fn outputs(topology: &Topology, outputs: &[OutputStatus]) -> Value {
    let one = |output: &OutputStatus| {
        let counts = &output.counts;
        json!({
            "shard": topology.shards[usize::from(output.shard)].name,
            "ring_events": output.state.ring_depth,
            "ring_capacity_events": output.state.ring_capacity,
            "spill_events": output.state.spill_depth,
            "ring_full_total": output.state.full_total,
            "offered_total": counts.offered_total,
            "delivered_total": counts.delivered_total,
            "unchanged_total": counts.unchanged_total,
            "coalesced_total": counts.coalesced_total,
            "dropped_total": counts.dropped_total,
            "in_flight": output.in_flight,
        })
    };
    outputs.iter().map(one).collect()
}

/// Order entry of each provider that trades: how it stands, what was counted over all of its consumers, and each of them.
pub(super) fn orders(topology: &Topology, view: &View) -> Value {
    let one = |status: &OrdersStatus| {
        let consumer = |id: ConsumerId| topology.consumers.get(id.index()).map(|plan| plan.name.clone());
        let symbol = |id: InstrumentId| topology.symbols.get(id.index()).map(ToString::to_string);
        let mut facts = status.facts(
            |id| consumer(id).unwrap_or_else(|| id.to_string()),
            |id| symbol(id).unwrap_or_else(|| id.to_string()),
        );
        facts["name"] = json!(topology.providers[usize::from(status.provider)].name);
        facts["connection"] = json!(status.connection);
        facts["journal_failed"] = json!(status.journal_failed);
        for (index, (name, _)) in AccountCounts::LIST.iter().enumerate() {
            let sum: u64 = status.accounts().map(|account| account.counts.values()[index]).sum();
            facts[*name] = json!(sum);
        }
        facts
    };
    view.orders.iter().map(one).collect()
}

/// The newest incidents, newest first.
pub(super) fn incidents(view: &View) -> Value {
    serde_json::to_value(&view.incidents).unwrap_or_default()
}
