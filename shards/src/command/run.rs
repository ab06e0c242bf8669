//! `meltica run`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use engine::consumer::FanOutSamples;
use engine::ids::{ConsumerId, InstrumentId};
use serde_json::{Value, json};

use super::ctl::ADDRESS_FILE;
use super::observe::Observer;
use super::{EXIT_FAILED, EXIT_OK, EXIT_REFUSED, columns, read_topology};
use crate::consumers;
use crate::control::thread::Control;
use crate::control::view::View;
use crate::happened::Report;
use crate::host::RealHost;
use crate::launch::{Ended, Gateway, launch};
use crate::live::Board;
use crate::machine::clock::Clock;
use crate::orders::status::{OrdersSummary, scaled};
use crate::report::files::ReportDirectory;
use crate::report::table::{TableStyle, exit_text, latency};
use crate::report::{DisturbanceKind, RunReport};
use crate::report_of::OutputSummary;
use crate::status::{OutputStatus, POOL_NAMES};
use crate::topology::{HostMode, ProviderPlan, Role, Topology, check, memory};

/// How often the supervisor looks at everything.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Between two status lines, in nanoseconds.
const LINE_EVERY_NS: u64 = 1_000_000_000;
/// Between two lines about suppressed windows, in nanoseconds.
const SUPPRESSED_EVERY_NS: u64 = 10_000_000_000;

/// Runs the gateway that a topology describes, until a signal comes or the time is over.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The topology.
    #[arg(long, default_value = "topology.yaml")]
    topology: PathBuf,
    /// Ends the run after this time, for example 10s, 500ms, 5m.
    #[arg(long, value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Where each run gets a directory of its own [default: the topology's].
    #[arg(long)]
    report_dir: Option<PathBuf>,
    /// The report as one JSON object on standard output; everything else goes to standard error.
    #[arg(long)]
    json: bool,
}

/// `10s`, `500ms`, `5m`, `2h`; a bare number is seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let value: f64 = text[..digits].parse().map_err(|_| "no number; 10s, 500ms, 5m or 2h fit".to_owned())?;
    let unit = match &text[digits..] {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        unit => return Err(format!("unknown unit {unit:?}; ms, s, m or h fit")),
    };
    Duration::try_from_secs_f64(value * unit).map_err(|error| error.to_string())
}

/// Set by signals.
struct Signals {
    /// SIGINT or SIGTERM: end.
    asked: Arc<AtomicBool>,
    /// SIGUSR1: the kill switch of all, for when the control endpoint cannot be reached.
    kill: Arc<AtomicBool>,
}

/// Signals are taken one after the other on a thread of their own: of two that come at once two handlers could each find that
/// none came before, and then neither would end the process.
fn watch_signals() -> std::io::Result<Signals> {
    use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
    let asked = Arc::new(AtomicBool::new(false));
    let kill = Arc::new(AtomicBool::new(false));
    let mut pending = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
    let (asking, killing) = (Arc::clone(&asked), Arc::clone(&kill));
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in pending.forever() {
            if signal == SIGUSR1 {
                killing.store(true, Ordering::Relaxed);
            } else if asking.swap(true, Ordering::Relaxed) {
                // The second one ends the process at once, whatever else it waits for.
                signal_hook::low_level::exit(i32::from(EXIT_FAILED));
            }
        }
    })?;
    Ok(Signals { asked, kill })
}

impl Arguments {
    /// Runs it.
    pub fn run(self) -> u8 {
        let mut topology = match read_topology(&self.topology) {
            Ok(topology) => topology,
            Err(errors) => {
                errln!("{errors}");
                return EXIT_REFUSED;
            }
        };
        if let Some(directory) = &self.report_dir {
            topology.report.dir.clone_from(directory);
        }
        let findings = check::check(&topology, &RealHost);
        if check::exit_code(&findings) != 0 {
            errln!("meltica: {} does not fit this host; nothing was started", self.topology.display());
            err!("{}", crate::topology::table(&findings, columns()));
            return EXIT_REFUSED;
        }
        let started_at = SystemTime::now();
        let directory = match ReportDirectory::create(&topology.report.dir, started_at) {
            Ok(directory) => directory,
            Err(error) => {
                errln!("meltica: {error}");
                return EXIT_REFUSED;
            }
        };
        let signals = match watch_signals() {
            Ok(signals) => signals,
            Err(error) => {
                errln!("meltica: cannot watch for signals: {error}");
                return EXIT_REFUSED;
            }
        };
        introduce(&topology);
        let registry = consumers::Registry::built_in(directory.path());
        let mut gateway = match launch(topology, &|plan, catalog| {
            registry.make(plan, catalog).map_err(|error| error.to_string())
        }) {
            Ok(gateway) => gateway,
            Err(error) => {
                errln!("meltica: nothing was started: {error}");
                return EXIT_REFUSED;
            }
        };
        match directory.interval_log(started_at) {
            Ok(log) => gateway.collector.set_log(log),
            Err(error) => errln!("meltica: no interval log: {error}"),
        }
        for (name, cores) in gateway.affinities() {
            let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
            errln!("  {name} runs on core {}", cores.join(","));
        }
        let start = gateway.take_control().expect("a gateway that has just started still has it");
        let mut control = match Control::start(start) {
            Ok(control) => control,
            Err(error) => {
                errln!("meltica: {error}");
                let observer = Observer::new(&gateway);
                let ended = gateway.stop();
                self.report(&mut gateway, &directory, &Board::default(), ended, None, observer);
                return EXIT_REFUSED;
            }
        };
        errln!("  control endpoint: http://{}", control.address());
        let address_file = gateway.report_parent().join(ADDRESS_FILE);
        if let Err(error) = std::fs::write(&address_file, format!("{}\n", control.address())) {
            errln!("meltica: {} was not written: {error}", address_file.display());
        }
        let mut board = Board::default();
        let mut observer = Observer::new(&gateway);
        let fallen = self.supervise(&mut gateway, &mut board, &control, &signals, &mut observer);
        control.stop();
        let _ = std::fs::remove_file(&address_file);
        let ended = gateway.stop();
        self.report(&mut gateway, &directory, &board, ended, fallen, observer)
    }

    /// Looks after the shards until the run is over. Returns what ended it, if neither time nor a signal did.
    fn supervise(
        &self,
        gateway: &mut Gateway,
        board: &mut Board,
        control: &Control,
        signals: &Signals,
        observer: &mut Observer,
    ) -> Option<String> {
        let clock = Clock::new();
        let terminal = std::io::stderr().is_terminal();
        let mut line_at_ns = gateway.started_ns + LINE_EVERY_NS;
        let mut suppressed_at_ns = gateway.started_ns + SUPPRESSED_EVERY_NS;
        let end_ns = self.duration.map(|duration| gateway.started_ns + duration.as_nanos() as u64);
        loop {
            std::thread::sleep(LOOK_EVERY);
            let now_ns = clock.now();
            gateway.collector.collect();
            gateway.poll_statuses(|status| board.take(status));
            while let Some(report) = gateway.poll_report() {
                say(&gateway.topology, &report, terminal);
                if let Some(line) = board.first_proof(&gateway.topology, &report) {
                    errln!("{line}");
                }
            }
            if let Some(shard) = gateway.fallen() {
                return Some(format!("shard {shard} panicked"));
            }
            let run_ns = now_ns - gateway.started_ns;
            for (line, ends) in observer.look(gateway, run_ns) {
                errln!("{}{line}", if terminal { "\r\x1b[2K" } else { "" });
                if ends {
                    return Some(line);
                }
            }
            control.show(
                View::of(&gateway.collector, gateway.loop_counters(), board, run_ns).watched(&observer.watch),
            );
            if now_ns >= line_at_ns {
                line_at_ns += LINE_EVERY_NS;
                observer.timeline.push(board.point(&gateway.collector, run_ns));
                let line = board.line(&gateway.topology, &gateway.collector, now_ns - gateway.started_ns);
                let mut screen = std::io::stderr().lock();
                // A closed terminal is no reason to stop trading.
                let _ = if terminal {
                    write!(screen, "\r\x1b[2K{}", cut(&line, super::columns_of(&screen)))
                } else {
                    writeln!(screen, "{line}")
                };
                let _ = screen.flush();
            }
            if signals.kill.swap(false, Ordering::Relaxed) {
                let moved = gateway.switches.set_killed(None, true);
                let state = if moved { "is on" } else { "was on already" };
                errln!("SIGUSR1: the kill switch of all {state}; meltica ctl kill --undo ends it");
            }
            if now_ns >= suppressed_at_ns {
                suppressed_at_ns = now_ns + SUPPRESSED_EVERY_NS;
                let erase = if terminal { "\r\x1b[2K" } else { "" };
                for line in board.suppressed(&gateway.topology) {
                    errln!("{erase}{line}");
                }
            }
            if signals.asked.load(Ordering::Relaxed) || end_ns.is_some_and(|end_ns| now_ns >= end_ns) {
                if terminal {
                    errln!("");
                }
                return None;
            }
        }
    }

    fn report(
        &self,
        gateway: &mut Gateway,
        directory: &ReportDirectory,
        board: &Board,
        ended: Ended,
        fallen: Option<String>,
        observer: Observer,
    ) -> u8 {
        let stopped_ns = Clock::new().now();
        while gateway.collector.collect() > 0 {}
        let file = &gateway.topology.file;
        let run_ns = stopped_ns - gateway.started_ns;
        let mut report = RunReport::new(file, gateway.started_at, SystemTime::now(), run_ns);
        gateway.collector.fill(&mut report);
        let verdict = fill(&mut report, &gateway.topology, board, &ended);
        observer.fill(&mut report, &gateway.collector);
        while let Some(happened) = gateway.poll_report() {
            say(&gateway.topology, &happened, false);
        }
        let text = exit_text(&report, TableStyle { columns: columns(), colour: false });
        let mut code = EXIT_OK;
        if self.json {
            match serde_json::to_string(&report) {
                Ok(json) => outln!("{json}"),
                Err(error) => errln!("meltica: the report cannot be printed: {error}"),
            }
        } else {
            out!("{text}");
        }
        let say_all = |lines: &[String]| lines.iter().for_each(|line| errln!("{line}"));
        say_all(&verdict.lines);
        match directory.write(&report, gateway.collector.totals()) {
            Ok(files) => errln!("{} files in {}", files.len(), directory.path().display()),
            Err(error) => {
                errln!("meltica: the report could not be written: {error}");
                code = EXIT_FAILED;
            }
        }
        if let Some(reason) = fallen {
            errln!("meltica: {reason}; the gateway has stopped");
            code = EXIT_FAILED;
        }
        for (shard, reason) in &ended.panicked {
            errln!("meltica: shard {shard}: {reason}");
            code = EXIT_FAILED;
        }
        if verdict.failed { EXIT_FAILED } else { code }
    }
}

/// What is said beside the table, and whether it is bad.
struct Verdict {
    lines: Vec<String>,
    failed: bool,
    /// A shard that sent events has left no counts.
    senders_lost: bool,
}

impl Verdict {
    /// What a provider's capture came to. One with holes is said, and does not fail the run.
    fn captured(&mut self, provider: &str, capture: &Value) {
        let whole = capture["complete"] == true;
        let error = capture["error"].as_str().map_or(String::new(), |error| format!(": {error}"));
        self.lines.push(format!(
            "{}{provider}: captured {} frames and {} answers into {}{}",
            if whole { "" } else { "meltica: " },
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
        ));
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
            for position in account.positions() {
                let average = position.price_average();
                let at = average.map_or_else(String::new, |price| {
                    format!(" at {}", scaled(price, position.decimals.price))
                });
                let qty = scaled(position.qty, position.decimals.qty);
                let _ = write!(line, "; {} {qty}{at}", symbol(position.instrument));
            }
            self.lines.push(line);
        }
        let status = &orders.status;
        if status.open_orders > 0 {
            self.lines.push(format!(
                "meltica: {} orders of {provider} may be working on ({} of them unknown); the journal knows them",
                status.open_orders, status.unknown_orders
            ));
        }
        if let Some(reason) = &orders.journal_failure {
            self.lines.push(format!("meltica: orders of {provider}: {reason}"));
            self.failed = true;
        }
        orders.facts(consumer, symbol)
    }

    /// A provider whose shard fell, or did not end: what it had done when it last told, and what that leaves open.
    fn lost(&mut self, plan: &ProviderPlan, shard: &str, board: &Board, index: usize) {
        self.failed = true;
        let name = &plan.name;
        let Some(status) = board.providers().find(|status| usize::from(status.provider) == index) else {
            self.lines.push(format!(
                "meltica: provider {name} was lost with shard {shard} before it told anything"
            ));
            return;
        };
        let outputs = &status.outputs[..usize::from(status.output_count)];
        let sum = |get: fn(&OutputStatus) -> u64| outputs.iter().map(get).sum::<u64>();
        let pools = POOL_NAMES.iter().zip(status.pools).filter(|(_, (out, _))| *out > 0);
        let pools: Vec<String> = pools.map(|(pool, (out, all))| format!("{out} of {all} {pool}")).collect();
        self.lines.push(format!(
            "meltica: provider {name} was lost with shard {shard}: at its last status it had taken {} messages, delivered {} \
             events and held {} (slots out: {}); what it held, and what came since, is lost",
            status.counts.messages_total,
            sum(|output| output.counts.delivered_total),
            sum(|output| output.in_flight),
            if pools.is_empty() { "none".to_owned() } else { pools.join(", ") },
        ));
        if let Some(orders) = board.orders().find(|orders| usize::from(orders.provider) == index) {
            self.lines.push(format!(
                "meltica: {} orders of {name} may be working on ({} of them unknown); the journal knows them",
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
        let lines =
            counts.into_iter().map(|(slot, count)| format!("meltica: {whose}: {count} still out: {slot}"));
        self.lines.extend(lines);
    }

    /// Checks that a shard got what others sent to it.
    fn check_received(&mut self, shard: &str, sent: u64, received: u64, left: u64) {
        if self.senders_lost {
            // What they sent is known to nobody.
            let shown = format!("{shard}: received {received} event parts, {left} are left in its rings");
            return self.lines.push(shown);
        }
        if sent != received + left {
            self.lines.push(format!(
                "meltica: shard {shard} received {received} of {sent} event parts, {left} are left in its rings"
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
        verdict.lines.push(format!(
            "{name} to {to}: offered {} = delivered {} + unchanged {} + coalesced {} + dropped {} + in flight {in_flight}",
            counts.offered_total,
            counts.delivered_total,
            counts.unchanged_total,
            counts.coalesced_total,
            counts.dropped_total
        ));
    }
    Value::Array(outputs)
}

/// Fills what the shards counted into the report and checks that it adds up.
fn fill(report: &mut RunReport, topology: &Topology, board: &Board, ended: &Ended) -> Verdict {
    use DisturbanceKind as Kind;
    let mut verdict = Verdict { lines: Vec::new(), failed: false, senders_lost: false };
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
            verdict
                .lines
                .push(format!("meltica: counters of provider {} do not add up: {reason}", plan.name));
            verdict.failed = true;
        }
        verdict.still_out(&format!("provider {}", plan.name), &summary.outstanding);
        if let Some(races) = summary.raced() {
            verdict.lines.push(format!("{}: {races}", plan.name));
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
        verdict.lines.push(format!(
            "{name}: {} merged = {} complete windows + {} best prices; {} partial windows suppressed, {} late events",
            summary.counts.merged_total,
            totals.windows_complete_total,
            totals.best_changes_total,
            totals.windows_partial_total,
            totals.late_total
        ));
        let missing = topology.providers.iter().zip(&summary.missed_by_provider);
        let missing: Vec<String> = missing
            .filter(|(_, missed)| **missed > 0)
            .map(|(plan, missed)| format!("{} in {missed}", plan.name))
            .collect();
        if !missing.is_empty() {
            verdict.lines.push(format!("{name}: missing in suppressed windows: {}", missing.join(", ")));
        }
        if let Some(reason) = summary.unbalanced() {
            verdict.lines.push(format!("meltica: counters of merge shard {name} do not add up: {reason}"));
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
                let words: Vec<String> = facts.iter().map(|(key, value)| format!("{key} {value}")).collect();
                verdict.lines.push(format!("{consumer}: {}", words.join(", ")));
            }
        }
    }
    let spans = FanOutSamples::join(ended.consumers.iter().map(|summary| &summary.fan_out));
    report.delivery = json!({ "shards": shards, "first_to_last_across_shards": fan_out_json(&spans) });
    if let (Some(first), Some(last)) = (spans.first(), spans.last()) {
        verdict.lines.push(format!(
            "first to last consumer over all shards, {} sampled events: min {}, p95 {}, max {}",
            spans.len(),
            latency(*first),
            latency(percentile(&spans, 95)),
            latency(*last)
        ));
    }
    letters.iter_mut().for_each(|letter| name_letter(topology, letter));
    providers.insert("dead_letters".to_owned(), Value::Array(letters));
    report.providers = Value::Object(providers);
    report.mergers = Value::Object(mergers);
    report.streams = Value::Array(streams);
    report.consumers = Value::Array(consumers);
    verdict
}

/// The value that `percent` of the ascending `spans` do not exceed; 0 of none.
pub(crate) fn percentile(spans: &[u64], percent: usize) -> u64 {
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

/// What is about to run, in a few lines.
fn introduce(topology: &Topology) {
    let venues: Vec<&str> = topology.providers.iter().map(|provider| provider.name.as_str()).collect();
    errln!(
        "meltica {}: {} provider(s) ({}), {} streams, {} consumer(s), {:.1} MiB of pools, rings and books",
        env!("CARGO_PKG_VERSION"),
        topology.providers.len(),
        venues.join(", "),
        topology.stream_count(),
        topology.consumers.len(),
        memory::memory_budget(topology).total_bytes() as f64 / f64::from(1 << 20),
    );
}

/// The beginning of a line that fits: one that wraps would not be erased by the next.
fn cut(line: &str, columns: usize) -> &str {
    line.char_indices().nth(columns.saturating_sub(1)).map_or(line, |(at, _)| &line[..at])
}

fn say(topology: &Topology, report: &Report, terminal: bool) {
    let provider = &topology.providers[usize::from(report.provider)].name;
    let erase = if terminal { "\r\x1b[2K" } else { "" };
    errln!("{erase}[{provider}] {}", report.happening);
}

/// Puts names in place of a dead letter's numbers. What is no provider of the topology is a merge shard, in their order.
fn name_letter(topology: &Topology, letter: &mut Value) {
    let number = |key: &str| letter[key].as_u64().and_then(|number| usize::try_from(number).ok());
    let provider = number("provider").and_then(|number| match topology.providers.get(number) {
        Some(plan) => Some((plan.name.clone(), Some(plan.product.venue().to_owned()))),
        None => {
            let mut mergers = topology.shards.iter().filter(|shard| shard.role_name() == "merger");
            mergers.nth(number - topology.providers.len()).map(|shard| (shard.name.clone(), None))
        }
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
    fn slots_that_are_out_are_counted_by_type_and_place() {
        let mut verdict = Verdict { lines: Vec::new(), failed: false, senders_lost: false };
        let slots =
            ["WsFrame, taken at a.rs:1:2", "ProviderRaw, taken at b.rs:3:4", "WsFrame, taken at a.rs:1:2"];
        verdict.still_out("provider one", &slots.map(str::to_owned));
        assert_eq!(
            verdict.lines,
            [
                "meltica: provider one: 1 still out: ProviderRaw, taken at b.rs:3:4",
                "meltica: provider one: 2 still out: WsFrame, taken at a.rs:1:2",
            ]
        );
    }
}
