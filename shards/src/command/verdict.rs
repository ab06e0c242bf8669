//! What a run is judged by when it has ended: counts into the report, a line for each thing that is worth one, and whether all
//! adds up.
//!
//! Knows what the shards left ([`Ended`]) and what they told last ([`Board`]); prints nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use engine::consumer::FanOutSamples;
use engine::ids::{ConsumerId, InstrumentId};
use serde_json::{Value, json};

use crate::launch::Ended;
use crate::live::Board;
use crate::log::Level;
use crate::orders::status::{OrdersSummary, scaled};
use crate::report::table::latency;
use crate::report::{DisturbanceKind, RunReport};
use crate::report_of::OutputSummary;
use crate::status::{OutputStatus, POOL_NAMES};
use crate::topology::{HostMode, ProviderPlan, Role, Topology, numbered};

/// What is said beside the table, and whether it is bad.
pub(super) struct Verdict {
    pub(super) lines: Vec<(Level, String)>,
    pub(super) failed: bool,
    /// A shard that sent events has left no counts.
    senders_lost: bool,
    /// What became of the events of each way from a sender to a shard.
    ways: Vec<Way>,
}

/// A way from a provider or merge shard to a shard.
struct Way {
    from: String,
    to: String,
    /// In the order of [`WAY_COUNTS`].
    counts: [u64; WAY_COUNTS.len()],
}

/// What is offered is the sum of the others.
const WAY_COUNTS: [&str; 6] = ["offered", "delivered", "unchanged", "coalesced", "dropped", "in flight"];

/// Facts of a consumer that are shown on exit; `report.json` has all.
const FACTS_SHOWN: usize = 6;

impl Verdict {
    fn say(&mut self, line: String) {
        self.lines.push((Level::Info, line));
    }

    /// Not well. Whether the run fails for it is said beside the call.
    fn warn(&mut self, line: String) {
        self.lines.push((Level::Warn, line));
    }

    /// The ways as a table: a head, then a line each.
    pub(super) fn ways_table(&self) -> Vec<String> {
        let widest = |head: &str, cell: fn(&Way) -> &String| {
            self.ways.iter().map(|way| cell(way).chars().count()).max().unwrap_or(0).max(head.len())
        };
        let (from, to) = (widest("from", |way| &way.from), widest("to", |way| &way.to));
        // As wide as what is in it: the shipped topology's table fits 80 columns.
        let mut wide = WAY_COUNTS.map(str::len);
        for way in &self.ways {
            for (wide, count) in wide.iter_mut().zip(&way.counts) {
                *wide = (*wide).max(count.to_string().len());
            }
        }
        let row = |left: &str, right: &str, cells: [String; WAY_COUNTS.len()]| {
            let cells: Vec<String> =
                cells.iter().zip(wide).map(|(cell, wide)| format!("{cell:>wide$}")).collect();
            format!("{left:<from$} {right:<to$} {}", cells.join(" "))
        };
        let mut lines = vec![row("from", "to", WAY_COUNTS.map(str::to_owned))];
        lines.extend(self.ways.iter().map(|way| row(&way.from, &way.to, way.counts.map(|n| n.to_string()))));
        lines
    }

    /// The ways as sentences, for machines that read lines.
    pub(super) fn way_sentences(&self) -> impl Iterator<Item = String> {
        self.ways.iter().map(|way| {
            let parts = WAY_COUNTS[1..].iter().zip(&way.counts[1..]);
            let parts: Vec<String> = parts.map(|(name, count)| format!("{name} {count}")).collect();
            format!("{} to {}: offered {} = {}", way.from, way.to, way.counts[0], parts.join(" + "))
        })
    }

    /// What a provider's capture came to. One with holes is said, and does not fail the run.
    fn captured(&mut self, provider: &str, capture: &Value) {
        let whole = capture["complete"] == true;
        let error = capture["error"].as_str().map_or(String::new(), |error| format!(": {error}"));
        let said = format!(
            "{provider}: captured {} frames and {} answers into {}{}",
            capture["frames_total"],
            capture["answers_total"],
            capture["dir"].as_str().unwrap_or_default(),
            if whole {
                String::new()
            } else {
                format!(
                    "; {} messages found no room, the disk refused {}{error}",
                    capture["lost_total"], capture["refused_by_disk_total"]
                )
            },
        );
        self.lines.push((if whole { Level::Info } else { Level::Warn }, said));
    }

    /// What became of orders: a line a consumer, and what is not well. Returns the facts for the report.
    fn orders(&mut self, topology: &Topology, provider: &str, orders: &OrdersSummary) -> Value {
        let consumer = |id: ConsumerId| {
            let plan = topology.consumers.get(id.index());
            plan.map_or_else(|| id.to_string(), |plan| plan.name.clone())
        };
        let symbol = |id: InstrumentId| topology.symbols.get(id.index()).cloned().unwrap_or_default();
        for account in orders.status.accounts() {
            let counts = account.counts;
            if counts.values().iter().all(|count| *count == 0) {
                continue;
            }
            let mut line = format!(
                "{} at {provider}: {} orders, {} acks, {} fills, {} filled, {} cancelled, {} rejected, {} refused",
                consumer(account.consumer),
                counts.orders_total,
                counts.acks_total,
                counts.fills_total,
                counts.filled_total,
                counts.cancelled_total,
                counts.rejected_total,
                counts.refused_total
            );
            let refusals = account.refusals.all().map(|(rule, count)| format!("{count} {}", rule.name()));
            let refusals: Vec<String> = refusals.collect();
            if !refusals.is_empty() {
                let _ = write!(line, " ({})", refusals.join(", "));
            }
            for position in account.positions() {
                let average = position.price_average();
                let at = average.map_or_else(String::new, |price| {
                    format!(" at {}", scaled(price, position.decimals.price))
                });
                let qty = scaled(position.qty, position.decimals.qty);
                let _ = write!(line, "; {} {qty}{at}", symbol(position.instrument));
            }
            self.say(line);
        }
        let status = &orders.status;
        if status.open_orders > 0 {
            self.warn(format!(
                "{} orders of {provider} may be working on ({} of them unknown); the journal knows them",
                status.open_orders, status.unknown_orders
            ));
        }
        if let Some(reason) = &orders.journal_failure {
            self.warn(format!("orders of {provider}: {reason}"));
            self.failed = true;
        }
        orders.facts(consumer, symbol)
    }

    /// A provider whose shard fell, or did not end: what it had done when it last told, and what that leaves open.
    fn lost(&mut self, plan: &ProviderPlan, shard: &str, board: &Board, index: usize) {
        self.failed = true;
        let name = &plan.name;
        let Some(status) = board.providers().find(|status| usize::from(status.provider) == index) else {
            self.warn(format!("provider {name} was lost with shard {shard} before it told anything"));
            return;
        };
        let outputs = &status.outputs[..usize::from(status.output_count)];
        let sum = |get: fn(&OutputStatus) -> u64| outputs.iter().map(get).sum::<u64>();
        let pools = POOL_NAMES.iter().zip(status.pools).filter(|(_, (out, _))| *out > 0);
        let pools: Vec<String> = pools.map(|(pool, (out, all))| format!("{out} of {all} {pool}")).collect();
        self.warn(format!(
            "provider {name} was lost with shard {shard}: at its last status it had taken {} messages, delivered {} \
             events and held {} (slots out: {}); what it held, and what came since, is lost",
            status.counts.messages_total,
            sum(|output| output.counts.delivered_total),
            sum(|output| output.in_flight),
            if pools.is_empty() { "none".to_owned() } else { pools.join(", ") },
        ));
        if let Some(orders) = board.orders().find(|orders| usize::from(orders.provider) == index) {
            self.warn(format!(
                "{} orders of {name} may be working on ({} of them unknown); the journal knows them",
                orders.open_orders, orders.unknown_orders
            ));
        }
    }

    /// Slots that nobody gave back: how many of which type, and where they were taken.
    fn still_out(&mut self, whose: &str, slots: &[String]) {
        let mut counts = BTreeMap::new();
        for slot in slots {
            *counts.entry(slot).or_insert(0) += 1;
        }
        let lines = counts
            .into_iter()
            .map(|(slot, count)| (Level::Warn, format!("{whose}: {count} still out: {slot}")));
        self.lines.extend(lines);
    }

    /// Checks that a shard got what others sent to it.
    fn check_received(&mut self, shard: &str, sent: u64, received: u64, left: u64) {
        if self.senders_lost {
            // What they sent is known to nobody.
            let shown = format!("{shard}: received {received} event parts, {left} are left in its rings");
            return self.say(shown);
        }
        if sent != received + left {
            self.warn(format!(
                "shard {shard} received {received} of {sent} event parts, {left} are left in its rings"
            ));
            self.failed = true;
        }
    }
}

/// Fills what became of the events of a provider or merge shard on its ways out; `pushed` counts by receiving shard.
fn fill_outputs(
    report: &mut RunReport,
    verdict: &mut Verdict,
    topology: &Topology,
    pushed: &mut [u64],
    (shard, name): (&str, &str),
    summaries: &[OutputSummary],
) -> Value {
    let mut outputs = Vec::new();
    for (to, state, counts, in_flight) in summaries {
        pushed[to.index()] += state.pushed_total;
        let to = &topology.shards[to.index()].name;
        let detail = format!("{name} to {to}");
        report.disturb(DisturbanceKind::RingFull, Some(shard), state.full_total, &detail);
        outputs.push(serde_json::json!({
            "to": to,
            "offered_total": counts.offered_total,
            "delivered_total": counts.delivered_total,
            "unchanged_total": counts.unchanged_total,
            "coalesced_total": counts.coalesced_total,
            "dropped_total": counts.dropped_total,
            "in_flight": in_flight,
            "spill_depth_max": state.spill_depth_max,
            "ring_capacity": state.ring_capacity,
            "pushed_total": state.pushed_total,
        }));
        verdict.ways.push(Way {
            from: name.to_owned(),
            to: to.clone(),
            counts: [
                counts.offered_total,
                counts.delivered_total,
                counts.unchanged_total,
                counts.coalesced_total,
                counts.dropped_total,
                *in_flight,
            ],
        });
    }
    Value::Array(outputs)
}

/// Fills what the shards counted into the report and checks that it adds up.
pub(super) fn fill(report: &mut RunReport, topology: &Topology, board: &Board, ended: &Ended) -> Verdict {
    use DisturbanceKind as Kind;
    let mut verdict = Verdict { lines: Vec::new(), failed: false, senders_lost: false, ways: Vec::new() };
    let spins = topology.host == HostMode::Dedicated;
    for (shard, usage, counters) in &ended.usage {
        let name = &topology.shard(*shard).name;
        if let Some(usage) = usage {
            report.add_usage(name, *usage, spins);
        }
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        report.disturb(Kind::LongTurns, Some(name), read(&counters.turns_long), "turns above 1 ms");
        if let Some(shard) = report.shard_mut(name) {
            for (key, counter) in [
                ("loop_turns_total", &counters.turns),
                ("loop_turns_idle_total", &counters.turns_idle),
                ("loop_turns_long_total", &counters.turns_long),
                ("loop_turn_ns_max", &counters.turn_ns_max),
                ("loop_sleeps_total", &counters.sleeps),
                ("loop_sleeps_woken_by_sender_total", &counters.sleeps_woken_by_sender),
                ("loop_sleeps_woken_by_socket_total", &counters.sleeps_woken_by_socket),
            ] {
                shard.counters.insert(key.to_owned(), read(counter));
            }
        }
    }
    let mut streams = Vec::new();
    let mut providers = serde_json::Map::new();
    let mut letters = Vec::new();
    let mut pushed: Vec<u64> = vec![0; topology.shards.len()];
    for (index, plan) in topology.providers.iter().enumerate() {
        if !ended.providers.iter().any(|summary| usize::from(summary.index) == index) {
            verdict.senders_lost = true;
            verdict.lost(plan, &topology.shard(plan.shard).name, board, index);
        }
    }
    let mergers = topology.shards.iter().filter(|shard| matches!(shard.role, Role::Merger { .. })).count();
    verdict.senders_lost |= ended.mergers.len() < mergers;
    for summary in &ended.providers {
        let plan = &topology.providers[usize::from(summary.index)];
        let shard = topology.shard(plan.shard).name.clone();
        for (state, count) in &summary.books_by_state {
            *report.books_by_state.entry(state.clone()).or_insert(0) += count;
        }
        let counts = &summary.counts;
        report.disturb(Kind::Reconnects, Some(&shard), summary.lost_total, &plan.name);
        report.disturb(Kind::Gaps, Some(&shard), counts.gaps_total, &plan.name);
        report.disturb(Kind::Resyncs, Some(&shard), counts.resyncs_total, &plan.name);
        let order_pools = summary.orders.iter().flat_map(|orders| &orders.status.pools);
        let pool_empty_total =
            counts.pool_empty_total + order_pools.map(|usage| usage.empty_total).sum::<u64>();
        report.disturb(Kind::PoolEmpty, Some(&shard), pool_empty_total, &plan.name);
        let outputs =
            fill_outputs(report, &mut verdict, topology, &mut pushed, (&shard, &plan.name), &summary.outputs);
        if let Some(reason) = summary.unbalanced() {
            verdict.warn(format!("counters of provider {} do not add up: {reason}", plan.name));
            verdict.failed = true;
        }
        verdict.still_out(&format!("provider {}", plan.name), &summary.outstanding);
        if let Some(races) = summary.raced() {
            verdict.say(format!("{}: {races}", plan.name));
        }
        let mut facts = summary.facts.clone();
        facts["outputs"] = outputs;
        if let Some(capture) = facts.get("capture") {
            verdict.captured(&plan.name, capture);
        }
        if let Some(orders) = &summary.orders {
            facts["orders"] = verdict.orders(topology, &plan.name, orders);
        }
        if let Some(start) = board.start_of(summary.index) {
            facts["start"] = start;
        }
        providers.insert(plan.name.clone(), facts);
        streams.extend(summary.streams.iter().cloned());
        letters.extend(summary.letters.iter().cloned());
    }
    let mut mergers = serde_json::Map::new();
    for summary in &ended.mergers {
        let name = &topology.shards[usize::from(summary.index)].name;
        let sent = pushed[usize::from(summary.index)];
        verdict.check_received(name, sent, summary.received_total, summary.left_total);
        let outputs =
            fill_outputs(report, &mut verdict, topology, &mut pushed, (name, name), &summary.outputs);
        report.disturb(Kind::PoolEmpty, Some(name), summary.counts.no_slot_total, "events of merges");
        let (totals, _) = summary.totals();
        verdict.say(format!(
            "{name}: {} merged = {} complete windows + {} best prices; {} suppressed, {} late",
            summary.counts.merged_total,
            totals.windows_complete_total,
            totals.best_changes_total,
            numbered(totals.windows_partial_total as usize, "partial window"),
            numbered(totals.late_total as usize, "event")
        ));
        let missing = topology.providers.iter().zip(&summary.missed_by_provider);
        let missing: Vec<String> = missing
            .filter(|(_, missed)| **missed > 0)
            .map(|(plan, missed)| format!("{} in {missed}", plan.name))
            .collect();
        if !missing.is_empty() {
            verdict.say(format!("{name}: missing in suppressed windows: {}", missing.join(", ")));
        }
        if let Some(reason) = summary.unbalanced() {
            verdict.warn(format!("counters of merge shard {name} do not add up: {reason}"));
            verdict.failed = true;
        }
        verdict.still_out(&format!("merge shard {name}"), &summary.outstanding);
        let mut facts = summary.facts.clone();
        facts["outputs"] = outputs;
        mergers.insert(name.clone(), facts);
        letters.extend(summary.letters.iter().cloned());
    }
    let mut consumers = Vec::new();
    let mut shards = serde_json::Map::new();
    for summary in &ended.consumers {
        let name = &topology.shards[usize::from(summary.index)].name;
        let sent = pushed[usize::from(summary.index)];
        verdict.check_received(name, sent, summary.received_total, summary.left_total);
        consumers.extend(summary.consumers.iter().cloned());
        shards.insert(name.clone(), summary.facts.clone());
        letters.extend(summary.letters.iter().cloned());
        for (consumer, facts) in &summary.said {
            if !facts.is_empty() {
                let shown = facts.iter().take(FACTS_SHOWN);
                let mut words: Vec<String> = shown.map(|(key, value)| format!("{key} {value}")).collect();
                if facts.len() > FACTS_SHOWN {
                    words.push(format!("{} more in report.json", facts.len() - FACTS_SHOWN));
                }
                // What has commas of its own is told apart by more.
                let between = if words.iter().any(|word| word.contains(", ")) { "; " } else { ", " };
                verdict.say(format!("{consumer}: {}", words.join(between)));
            }
        }
    }
    let spans = FanOutSamples::join(ended.consumers.iter().map(|summary| &summary.fan_out));
    report.delivery = json!({ "shards": shards, "first_to_last_across_shards": fan_out_json(&spans) });
    if let (Some(first), Some(last)) = (spans.first(), spans.last()) {
        verdict.say(format!(
            "first to last consumer over all shards, {} sampled events: min {}, p95 {}, max {}",
            spans.len(),
            latency(*first),
            latency(percentile(&spans, 95)),
            latency(*last)
        ));
    }
    for letter in &mut letters {
        name_letter(topology, letter);
    }
    providers.insert("dead_letters".to_owned(), Value::Array(letters));
    report.providers = Value::Object(providers);
    report.mergers = Value::Object(mergers);
    report.streams = Value::Array(streams);
    report.consumers = Value::Array(consumers);
    verdict
}

/// The value that `percent` of the ascending `spans` do not exceed; 0 of none.
fn percentile(spans: &[u64], percent: usize) -> u64 {
    let rank = (spans.len() * percent).div_ceil(100).max(1);
    spans.get(rank - 1).copied().unwrap_or(0)
}

fn fan_out_json(spans: &[u64]) -> Value {
    json!({
        "unit": "ns",
        "sampled_count": spans.len(),
        "min": percentile(spans, 0),
        "p50": percentile(spans, 50),
        "p95": percentile(spans, 95),
        "p99": percentile(spans, 99),
        "max": percentile(spans, 100),
    })
}

/// Puts names in place of a dead letter's numbers. What is no provider of the topology is a merge shard, in their order.
fn name_letter(topology: &Topology, letter: &mut Value) {
    let number = |key: &str| letter[key].as_u64().and_then(|number| usize::try_from(number).ok());
    let provider = number("provider").and_then(|number| {
        if let Some(plan) = topology.providers.get(number) {
            return Some((plan.name.clone(), Some(plan.product.venue().to_owned())));
        }
        let mut mergers = topology.shards.iter().filter(|shard| shard.role_name() == "merger");
        mergers.nth(number - topology.providers.len()).map(|shard| (shard.name.clone(), None))
    });
    let shard = number("shard").and_then(|number| topology.shards.get(number)).map(|plan| plan.name.clone());
    let consumer =
        number("consumer").and_then(|number| topology.consumers.get(number)).map(|plan| plan.name.clone());
    let (provider, venue) = provider.unzip();
    letter["provider"] = json!(provider);
    letter["venue"] = json!(venue.flatten());
    letter["shard"] = json!(shard);
    letter["consumer"] = json!(consumer);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_a_table_for_people_and_sentences_for_machines() {
        let mut verdict = Verdict { lines: Vec::new(), failed: false, senders_lost: false, ways: Vec::new() };
        let way = |from: &str, counts| Way { from: from.to_owned(), to: "strategies".to_owned(), counts };
        verdict.ways = vec![
            way("binance", [4_964, 4_825, 139, 0, 0, 0]),
            way("kraken", [12_345_678, 12_345_671, 1, 2, 0, 4]),
        ];
        let expected = [
            "from    to          offered delivered unchanged coalesced dropped in flight",
            "binance strategies     4964      4825       139         0       0         0",
            "kraken  strategies 12345678  12345671         1         2       0         4",
        ];
        assert_eq!(verdict.ways_table(), expected);
        assert_eq!(
            verdict.way_sentences().next().as_deref(),
            Some(
                "binance to strategies: offered 4964 = delivered 4825 + unchanged 139 + coalesced 0 + dropped 0 + in flight 0"
            )
        );
    }

    #[test]
    fn slots_that_are_out_are_counted_by_type_and_place() {
        let mut verdict = Verdict { lines: Vec::new(), failed: false, senders_lost: false, ways: Vec::new() };
        let slots =
            ["WsFrame, taken at a.rs:1:2", "ProviderRaw, taken at b.rs:3:4", "WsFrame, taken at a.rs:1:2"];
        verdict.still_out("provider one", &slots.map(str::to_owned));
        let expected = [
            "provider one: 1 still out: ProviderRaw, taken at b.rs:3:4",
            "provider one: 2 still out: WsFrame, taken at a.rs:1:2",
        ];
        assert_eq!(verdict.lines, expected.map(|line| (Level::Warn, line.to_owned())));
    }
}
