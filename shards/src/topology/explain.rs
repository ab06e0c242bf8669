//! `topology explain`: a file as a picture in text: cores, the shards on them, their sockets and rings.

use std::fmt::Write as _;

use super::check::{EXECUTOR_MEMLOCK_BYTES, MEMLOCK_BYTES_MIN};
use super::memory::{memory_budget, shown_bytes};
use super::numbered;
use super::plan::{Endpoints, HostMode, Role, ShardIndex, ShardPlan, Subscription, Topology};
use crate::host::{HostFacts, HostView, siblings};

/// Bytes of one huge page on x86-64 and, mostly, on `AArch64`.
const HUGE_PAGE_BYTES: u64 = 2 << 20;

/// The picture, in lines of at most 100 columns for names of usual length.
pub fn explain(topology: &Topology, host: &dyn HostView) -> String {
    let facts = HostFacts::gather(host);
    let mut text = String::new();
    let idle = match topology.host {
        HostMode::Dedicated => "dedicated: every shard spins on a core of its own",
        HostMode::Shared => "shared: a shard without work parks",
    };
    let _ = writeln!(text, "{}\n{idle}\n", topology.file);
    let mut cores: Vec<u32> = topology.shards.iter().map(|shard| shard.core).collect();
    cores.sort_unstable();
    cores.dedup();
    for core in cores {
        let _ = writeln!(text, "core {core}{}", core_facts(core, &facts, host));
        let shards: Vec<(ShardIndex, &ShardPlan)> =
            (0..).map(ShardIndex).zip(&topology.shards).filter(|(_, shard)| shard.core == core).collect();
        for (at, (index, shard)) in shards.iter().enumerate() {
            let last = at + 1 == shards.len();
            let (branch, trunk) = if last { ("`-- ", "    ") } else { ("|-- ", "|   ") };
            let _ = writeln!(text, "{branch}{}  ({})", shard.name, shard.role_name());
            let mut lines = Vec::new();
            match shard.role {
                Role::Provider { .. } => provider_lines(topology, *index, &mut lines),
                Role::Merger { .. } => merger_lines(topology, *index, &mut lines),
                Role::Consumer { .. } => consumer_lines(topology, *index, &mut lines),
            }
            for line in lines {
                let _ = writeln!(text, "{trunk}    {line}");
            }
        }
        text.push('\n');
    }
    let control = topology.control.core.map_or("any core".to_owned(), |core| format!("core {core}"));
    let _ = writeln!(
        text,
        "not pinned: supervisor, control endpoint ({}, {control}), files\n",
        topology.control.listen
    );
    text.push_str(&memory_text(topology));
    text
}

/// What a topology takes at start, locked and in huge pages.
pub fn memory_text(topology: &Topology) -> String {
    let budget = memory_budget(topology);
    let mut text = budget.render();
    let executors = topology.shards.len() as u64 + 1;
    let locked = (executors * EXECUTOR_MEMLOCK_BYTES).max(MEMLOCK_BYTES_MIN);
    let _ = writeln!(
        text,
        "{:>12}  {:>12}  of it locked by the kernel for {executors} executors (LimitMEMLOCK)",
        shown_bytes(locked),
        ""
    );
    let pages = budget.total_bytes().div_ceil(HUGE_PAGE_BYTES);
    let _ =
        writeln!(text, "{:>12}  {:>12}  huge pages are asked for; {pages} would hold everything", "no", "");
    text
}

/// `  (isolated, node 0, sibling 4)`.
fn core_facts(core: u32, facts: &HostFacts, host: &dyn HostView) -> String {
    let mut words = Vec::new();
    match &facts.isolated {
        Some(set) if set.contains(core) => words.push("isolated".to_owned()),
        Some(_) => words.push("not isolated".to_owned()),
        None => {}
    }
    if facts.nodes.len() > 1 {
        let node = facts.nodes.iter().find(|(_, cores)| cores.contains(core));
        words.extend(node.map(|(node, _)| format!("node {node}")));
    }
    let others: Vec<u32> =
        siblings(host, core).map_or_else(Vec::new, |of| of.iter().filter(|other| *other != core).collect());
    words.extend(others.iter().map(|other| format!("sibling {other}")));
    let exists = facts.cores.as_ref().is_none_or(|cores| cores.online.contains(core));
    if !exists {
        words = vec!["this host has no such core".to_owned()];
    }
    if words.is_empty() { String::new() } else { format!("  ({})", words.join(", ")) }
}

fn provider_lines(topology: &Topology, index: ShardIndex, lines: &mut Vec<String>) {
    for (number, plan) in topology.providers_on(index) {
        let streams = plan.instruments.len() * plan.channels.len();
        let endpoint = match &plan.endpoints {
            Endpoints::Simulated => "simulated",
            Endpoints::Live => "live",
            Endpoints::Testnet => "test network",
            Endpoints::Explicit { .. } => "its own URLs",
        };
        lines.push(format!(
            "{}: {} {}, {endpoint}; {} instruments x {} channels = {streams} streams",
            plan.name,
            plan.product.venue(),
            plan.product.name(),
            plan.instruments.len(),
            plan.channels.len()
        ));
        let book =
            plan.book.map_or(String::new(), |book| format!("; books of {} levels a side", book.depth_max));
        let sockets = numbered(usize::from(plan.lines), "WebSocket line");
        lines.push(format!("  sockets: {sockets} and REST{book}"));
        for (to, shard) in (0..).map(ShardIndex).zip(&topology.shards) {
            let Some(rings) = shard.rings() else { continue };
            let takers = takers(topology, to, number);
            if !takers.is_empty() {
                lines.push(format!(
                    "  ={}=> {} (core {}): {}",
                    ring_shown(rings.ring_events),
                    shard.name,
                    shard.core,
                    takers.join(", ")
                ));
            }
        }
    }
}

/// `8192 events`, between the signs of a pipe.
fn ring_shown(events: u32) -> String {
    format!(" {events} events =")
}

/// Who on shard `to` takes anything of a provider: consumers, or merge rules.
fn takers(topology: &Topology, to: ShardIndex, provider: super::plan::ProviderIndex) -> Vec<String> {
    let consumers = topology.consumers_on(to).filter(|(_, plan)| {
        plan.subscriptions
            .iter()
            .any(|one| matches!(one, Subscription::Market { provider: from, .. } if *from == provider))
    });
    let consumers = consumers.map(|(_, plan)| plan.name.clone());
    let merges = topology
        .merges
        .iter()
        .filter(|merge| merge.shard == to && merge.inputs.iter().any(|(from, _)| *from == provider));
    consumers.chain(merges.map(|merge| format!("merge {}", merge.name))).collect()
}

fn merger_lines(topology: &Topology, index: ShardIndex, lines: &mut Vec<String>) {
    for (number, merge) in topology.merges.iter().enumerate().filter(|(_, merge)| merge.shard == index) {
        let inputs: Vec<&str> =
            merge.inputs.iter().map(|(provider, _)| topology.provider(*provider).name.as_str()).collect();
        let how = if merge.kind.is_best() {
            "best bid and offer at every change".to_owned()
        } else {
            format!("in windows of {} s", merge.window_s)
        };
        lines.push(format!("{}: joins {}, {how}", merge.name, inputs.join(", ")));
        for (to, shard) in (0..).map(ShardIndex).zip(&topology.shards) {
            let takers: Vec<&str> = topology
                .consumers_on(to)
                .filter(|(_, plan)| {
                    plan.subscriptions.iter().any(
                        |one| matches!(one, Subscription::Merged { merge, .. } if usize::from(merge.0) == number),
                    )
                })
                .map(|(_, plan)| plan.name.as_str())
                .collect();
            if let Some(rings) = shard.rings().filter(|_| !takers.is_empty()) {
                lines.push(format!(
                    "  ={}=> {} (core {}): {}",
                    ring_shown(rings.ring_events),
                    shard.name,
                    shard.core,
                    takers.join(", ")
                ));
            }
        }
    }
}

fn consumer_lines(topology: &Topology, index: ShardIndex, lines: &mut Vec<String>) {
    for (_, plan) in topology.consumers_on(index) {
        let trading = if plan.trading { ", may trade" } else { "" };
        lines.push(format!(
            "{}: {}, {}{trading}",
            plan.name,
            plan.kind,
            numbered(plan.subscriptions.len(), "subscription")
        ));
    }
    if let Some(rings) = topology.shard(index).rings() {
        lines.push(format!(
            "each sender has a ring of {} events and a spill of {} before it",
            rings.ring_events, rings.spill_events
        ));
    }
}
