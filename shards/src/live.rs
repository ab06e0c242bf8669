//! The status line of a running gateway: what an operator looks at first, once a second.

use std::fmt::Write as _;

use engine::orders::ledger::SessionState;
use engine::provider::Happening;

use crate::collect::Collector;
use crate::happened::{Happened, Report};
use crate::orders::account::Refusals;
use crate::orders::status::{ACCOUNTS_MAX, OrdersStatus, session_name};
use crate::report::table::latency;
use crate::report::timeline::Point;
use crate::stages::Stage;
use crate::status::{ConsumerStatus, MergerStatus, OutputStatus, ProviderStatus, Status};
use crate::topology::bounds::PROVIDERS_MAX;
use crate::topology::{Topology, numbered};

/// The newest status of every shard.
#[derive(Debug, Default)]
pub struct Board {
    providers: Vec<Option<ProviderStatus>>,
    mergers: Vec<Option<MergerStatus>>,
    consumers: Vec<Option<ConsumerStatus>>,
    orders: Vec<Option<OrdersStatus>>,
    /// Providers whose books have all been proved: how many, after how long, with what of the venue's limits.
    proofs: Vec<Proof>,
    /// Messages counted when the last line was made, and when that was.
    before: Option<(u64, u64)>,
    /// By shard: suppressed windows of which an operator was told, by provider too.
    told: Vec<Option<MissedWindows>>,
    /// By provider: refused orders of which an operator was told, by account.
    refused: Vec<Option<[Refusals; ACCOUNTS_MAX]>>,
}

/// Suppressed windows of a merge shard, and by provider those that lacked it.
type MissedWindows = (u64, [u64; PROVIDERS_MAX]);

/// A provider's first time with all its books proved.
#[derive(Debug)]
struct Proof {
    provider: u8,
    books: usize,
    after_ns: u64,
    rest_requests: u64,
    rest_weight: u64,
    messages: u64,
}

impl Board {
    /// Takes note of what happened. Once the books of the last provider that has any are proved, the line that says so.
    pub fn first_proof(&mut self, topology: &Topology, report: &Report) -> Option<String> {
        let Happened::Feed(Happening::BooksProved { books, after_ns, rest_requests, rest_weight, messages }) =
            report.happening
        else {
            return None;
        };
        let provider = report.provider;
        self.proofs.push(Proof { provider, books, after_ns, rest_requests, rest_weight, messages });
        let wanted = topology.providers.iter().filter(|plan| plan.book.is_some()).count();
        if self.proofs.len() != wanted {
            return None;
        }
        let books: usize = self.proofs.iter().map(|proof| proof.books).sum();
        let after_ns = self.proofs.iter().map(|proof| proof.after_ns).max().unwrap_or(0);
        self.proofs.sort_by_key(|proof| proof.provider);
        let weights = self.proofs.iter().map(|proof| {
            let plan = &topology.providers[usize::from(proof.provider)];
            format!("{} {}", plan.name, proof.rest_weight)
        });
        let weights: Vec<String> = weights.collect();
        Some(format!(
            "all {books} books proved after {:.2} s, REST weight used: {}",
            after_ns as f64 / 1e9,
            weights.join(", ")
        ))
    }

    /// How long a provider took until all its books were proved, and what that took of the venue's limits: for
    /// `report.json`. `None` if they never were.
    pub fn start_of(&self, provider: u8) -> Option<serde_json::Value> {
        let proof = self.proofs.iter().find(|proof| proof.provider == provider)?;
        Some(serde_json::json!({
            "books": proof.books,
            "proved_after_ns": proof.after_ns,
            "rest_requests": proof.rest_requests,
            "rest_weight": proof.rest_weight,
            "subscription_messages": proof.messages,
        }))
    }

    /// Takes a status; it replaces the one before.
    pub fn take(&mut self, status: Status) {
        match status {
            Status::Provider(status) => *slot(&mut self.providers, status.provider) = Some(status),
            Status::Merger(status) => *slot(&mut self.mergers, status.shard) = Some(status),
            Status::Consumer(status) => *slot(&mut self.consumers, status.shard) = Some(status),
            Status::Orders(status) => *slot(&mut self.orders, status.provider) = Some(status),
        }
    }

    /// The statuses of all providers.
    pub fn providers(&self) -> impl Iterator<Item = &ProviderStatus> {
        self.providers.iter().flatten()
    }

    /// The statuses of all merge shards.
    pub fn mergers(&self) -> impl Iterator<Item = &MergerStatus> {
        self.mergers.iter().flatten()
    }

    /// The statuses of all consumer shards.
    pub fn consumers(&self) -> impl Iterator<Item = &ConsumerStatus> {
        self.consumers.iter().flatten()
    }

    /// The statuses of order entry, of the providers that trade.
    pub fn orders(&self) -> impl Iterator<Item = &OrdersStatus> {
        self.orders.iter().flatten()
    }

    /// The name and a line for each merge shard that suppressed windows since this was asked last: how many, and who was missing. A
    /// provider that is away costs a line a period and not one a window.
    pub fn suppressed(&mut self, topology: &Topology) -> Vec<(String, String)> {
        let mut lines = Vec::new();
        for merger in self.mergers.iter().flatten() {
            let total = merger.merges.windows_partial_total;
            let told = slot(&mut self.told, merger.shard);
            let (before, missed_before) = told.unwrap_or((0, [0; PROVIDERS_MAX]));
            if total == before {
                continue;
            }
            *told = Some((total, merger.missed_by_provider));
            let missing = topology.providers.iter().enumerate().filter_map(|(index, plan)| {
                let missed = merger.missed_by_provider[index] - missed_before[index];
                (missed > 0).then(|| format!("{} in {missed}", plan.name))
            });
            let missing: Vec<String> = missing.collect();
            let name = topology.shards[usize::from(merger.shard)].name.clone();
            let (new, missing) = (numbered((total - before) as usize, "window"), missing.join(", "));
            lines.push((name, format!("{new} suppressed ({total} in all); missing: {missing}")));
        }
        lines
    }

    /// The provider, the rule's word and a line for each consumer and rule by which orders were refused since this was asked last: why, and what
    /// to do about it. A consumer that goes on asking costs a line a period and not one an order.
    pub fn refused(&mut self, topology: &Topology) -> Vec<(String, &'static str, String)> {
        let mut lines = Vec::new();
        for status in self.orders.iter().flatten() {
            let told = slot(&mut self.refused, status.provider).get_or_insert_default();
            for (account, told) in status.accounts().zip(told) {
                let consumer = topology.consumers.get(account.consumer.index());
                let consumer = consumer.map_or("a former consumer", |plan| plan.name.as_str());
                for (rule, count) in account.refusals.since(*told) {
                    let orders = numbered(count as usize, "order");
                    let remedy = rule.remedy().replace('`', "");
                    let why = rule.why().replace('`', "");
                    let text = format!("{orders} of {consumer} refused: {why}; {remedy} ({})", rule.name());
                    let provider = topology.providers[usize::from(status.provider)].name.clone();
                    lines.push((provider, rule.name(), text));
                }
                *told = account.refusals;
            }
        }
        lines
    }

    /// The run as it stands, for its timeline. `run_ns` is how long it runs.
    pub fn point(&self, collector: &Collector, run_ns: u64) -> Point {
        let mut sums = Sums::default();
        let mut point = Point { at_ms: run_ns / 1_000_000, ..Point::default() };
        for provider in self.providers() {
            sums.add(provider);
            point.messages_total += provider.counts.messages_total;
        }
        for merger in self.mergers() {
            sums.add_outputs(&merger.outputs[..usize::from(merger.output_count)]);
        }
        point.received_total = self.consumers().map(|shard| shard.received_total).sum();
        point.dropped_total = sums.dropped;
        point.coalesced_total = sums.coalesced;
        point.gaps_total = sums.gaps;
        point.resyncs_total = sums.resyncs;
        point.lines_lost_total = sums.lost;
        point.books_proved = sums.books_proved;
        point.ring_permille_max = sums.ring_permille_max;
        let delivered = Stage::ReceiveToDelivered.name();
        for stage in collector.live().flat_map(|shard| shard.stages).filter(|stage| stage.stage == delivered)
        {
            point.latency_ns_p50 = point.latency_ns_p50.max(stage.latency_ns_p50);
            point.latency_ns_p99 = point.latency_ns_p99.max(stage.latency_ns_p99);
            point.latency_ns_max = point.latency_ns_max.max(stage.latency_ns_max);
        }
        point
    }

    /// The line, within 80 columns while all is well: what is not well is added. `run_ns` is how long it runs.
    pub fn line(&mut self, topology: &Topology, collector: &Collector, run_ns: u64) -> String {
        let messages: u64 = self.providers().map(|provider| provider.counts.messages_total).sum();
        let (before, at_ns) = self.before.replace((messages, run_ns)).unwrap_or((0, 0));
        let seconds = (run_ns.saturating_sub(at_ns)).max(1) as f64 / 1e9;
        let rate = messages.saturating_sub(before) as f64 / seconds;
        let delivered = Stage::ReceiveToDelivered.name();
        let lag_ns = collector.live().flat_map(|shard| shard.stages).filter(|stage| stage.stage == delivered);
        let lag_ns = lag_ns.map(|stage| stage.latency_ns_p99).max();
        let mut line = format!("{} {:>6.0} msg/s", clock(run_ns), rate);
        let _ = match lag_ns {
            Some(lag_ns) => write!(line, "  lag p99 {:>6}", latency(lag_ns)),
            None => write!(line, "  lag p99 {:>6}", "-"),
        };
        let mut sums = Sums::default();
        for provider in self.providers() {
            sums.add(provider);
        }
        for merger in self.mergers() {
            sums.add_outputs(&merger.outputs[..usize::from(merger.output_count)]);
        }
        let _ = write!(line, "  books {}/{} proved", sums.books_proved, sums.books);
        if sums.lines_live < sums.lines {
            let _ = write!(line, "  lines {}/{}", sums.lines_live, sums.lines);
        }
        if self.mergers().next().is_some() {
            let merged: u64 = self.mergers().map(|merger| merger.counts.merged_total).sum();
            let partial: u64 = self.mergers().map(|merger| merger.merges.windows_partial_total).sum();
            let _ = write!(line, "  merged {merged} (partial {partial})");
        }
        for (value, name) in [
            (sums.gaps, "gaps"),
            (sums.resyncs, "resyncs"),
            (sums.coalesced, "coalesced"),
            (sums.dropped, "dropped"),
            (sums.errors, "undecodable"),
            (sums.lost, "lost lines"),
        ] {
            if value > 0 || matches!(name, "gaps" | "dropped") {
                let _ = write!(line, "  {name} {value}");
            }
        }
        let (mut orders, mut fills, mut open, mut unknown) = (0, 0, 0, 0);
        for entry in self.orders() {
            orders += entry.ledger.orders_total;
            fills += entry.accounts().map(|account| account.counts.fills_total).sum::<u64>();
            open += entry.open_orders;
            unknown += entry.unknown_orders;
        }
        if self.orders().next().is_some() {
            let _ = write!(line, "  orders {orders}  fills {fills}  open {open}");
        }
        if unknown > 0 {
            let _ = write!(line, "  unknown {unknown}");
        }
        for entry in self.orders().filter(|entry| entry.session != SessionState::Live) {
            let name = &topology.providers[usize::from(entry.provider)].name;
            let _ = write!(line, "  [{name} orders {}]", session_name(entry.session));
        }
        for entry in self.orders().filter(|entry| entry.journal_failed) {
            let _ =
                write!(line, "  [{} JOURNAL FAILED]", topology.providers[usize::from(entry.provider)].name);
        }
        let panics: u64 = self
            .consumers()
            .flat_map(|shard| &shard.seats[..usize::from(shard.seat_count)])
            .map(|seat| seat.counts.panics_total)
            .sum();
        if panics > 0 {
            let _ = write!(line, "  panics {panics}");
        }
        let silent = self.providers().filter(|provider| provider.connections_live == 0);
        for provider in silent {
            let _ = write!(line, "  [{} down]", topology.providers[usize::from(provider.provider)].name);
        }
        line
    }
}

#[derive(Default)]
struct Sums {
    books: u32,
    books_proved: u32,
    lines: u32,
    lines_live: u32,
    gaps: u64,
    resyncs: u64,
    coalesced: u64,
    dropped: u64,
    errors: u64,
    lost: u64,
    ring_permille_max: u32,
}

impl Sums {
    fn add(&mut self, provider: &ProviderStatus) {
        self.books += provider.books;
        self.books_proved += provider.books_proved;
        self.lines += u32::from(provider.connections);
        self.lines_live += u32::from(provider.connections_live);
        self.gaps += provider.counts.gaps_total;
        self.resyncs += provider.counts.resyncs_total;
        self.errors += provider.counts.decode_errors_total;
        self.lost += provider.lost_total;
        self.add_outputs(&provider.outputs[..usize::from(provider.output_count)]);
    }

    fn add_outputs(&mut self, outputs: &[OutputStatus]) {
        for output in outputs {
            self.coalesced += output.counts.coalesced_total;
            self.dropped += output.counts.dropped_total;
            let (depth, capacity) = (output.state.ring_depth as u64, output.state.ring_capacity as u64);
            self.ring_permille_max = self.ring_permille_max.max((depth * 1_000 / capacity.max(1)) as u32);
        }
    }
}

fn slot<T>(list: &mut Vec<Option<T>>, index: u8) -> &mut Option<T> {
    let index = usize::from(index);
    if list.len() <= index {
        list.resize_with(index + 1, || None);
    }
    &mut list[index]
}

/// `mm:ss`, or `h:mm:ss` beyond an hour.
fn clock(run_ns: u64) -> String {
    let seconds = run_ns / 1_000_000_000;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes:02}:{seconds:02}")
    }
}
