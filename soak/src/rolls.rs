//! Rolls under load: every connection of the running gateway is replaced while it carries a busy market, by the operator's
//! own command over the control endpoint. Counts what came, and compares latencies with a quiet time of the same length.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::consumer::{Consumer, Context};
use engine::event::{Body, BookStatus, Event};
use engine::ids::{ProviderId, StreamId};
use shards::command::ctl::ask;
use shards::control::thread::Control;
use shards::launch::{Factory, Gateway, launch};
use shards::report::table::latency;
use shards::stages::Stage;

use crate::lines::{Market, topology_of};
use crate::running::{Run, Told, between, latencies};

/// Simulated venues.
const VENUES: usize = 3;
/// How long the start, and the last roll, may take.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// Between two commands to roll everything; a shorter time of rolls has two of them.
const ROLL_EVERY: Duration = Duration::from_secs(10);
/// What is compared.
const STAGES: [Stage; 2] = [Stage::ReceiveToOrdered, Stage::ReceiveToDelivered];
/// Violations kept; more say nothing new.
const VIOLATIONS_MAX: usize = 20;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Messages a second of each of the 30 instruments.
    pub rate: u32,
    /// Time without rolls, and as long with them.
    pub duration: Duration,
    /// Of the market.
    pub seed: u64,
}

/// What the consumer at the far end saw of a venue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Trades.
    pub trades_total: u64,
    /// Gap events.
    pub gaps_total: u64,
    /// Books that were announced suspect or stale.
    pub disturbed_total: u64,
}

/// What came of one venue.
#[derive(Clone, Debug)]
pub struct Row {
    /// The provider's name.
    pub provider: String,
    /// Messages a second in the time of rolls.
    pub messages_per_s: f64,
    /// Lines that were to be rolled.
    pub asked_total: u64,
    /// Lines that another one took over from.
    pub rolled_total: u64,
    /// Lines lost, those of the rolls left out.
    pub lost_total: u64,
    /// Events dropped on their way to the consumer.
    pub dropped_total: u64,
    /// At the consumer.
    pub seen: Seen,
}

/// Latencies of one stage, without rolls and with them.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The stage's name.
    pub stage: &'static str,
    /// Percentiles of the quiet time: 50, 99, 99.9, and the largest, in nanoseconds.
    pub quiet_ns: [u64; 4],
    /// The same of the time of rolls.
    pub rolls_ns: [u64; 4],
}

/// The outcome.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// By provider.
    pub rows: Vec<Row>,
    /// By stage.
    pub latencies: Vec<Compared>,
    /// Promises that were broken: duplicates, trades out of order.
    pub violations: Vec<String>,
}

impl Verdict {
    /// Whether every line was rolled as often as it was told to, nothing was lost and nothing came twice.
    pub fn is_good(&self) -> bool {
        let seamless = |row: &Row| {
            row.asked_total > 0
                && row.rolled_total == row.asked_total
                && row.lost_total + row.dropped_total == 0
                && row.seen.gaps_total + row.seen.disturbed_total == 0
                && row.seen.trades_total > 0
        };
        self.violations.is_empty() && self.rows.len() == VENUES && self.rows.iter().all(seamless)
    }

    /// As tables.
    pub fn table(&self) -> String {
        let mut text =
            "provider     msg/s  asked  rolled  lost  dropped     trades  gaps  disturbed\n".to_owned();
        for row in &self.rows {
            let _ = writeln!(
                text,
                "{:<9} {:>8.0} {:>6} {:>7} {:>5} {:>8} {:>10} {:>5} {:>10}",
                row.provider,
                row.messages_per_s,
                row.asked_total,
                row.rolled_total,
                row.lost_total,
                row.dropped_total,
                row.seen.trades_total,
                row.seen.gaps_total,
                row.seen.disturbed_total
            );
        }
        let _ =
            writeln!(text, "{:<22} {:<6} {:>8} {:>8} {:>8} {:>8}", "stage", "", "p50", "p99", "p99.9", "max");
        for compared in &self.latencies {
            for (name, figures) in [("quiet", &compared.quiet_ns), ("rolls", &compared.rolls_ns)] {
                let [p50, p99, p99_9, max] = figures.map(latency);
                let _ =
                    writeln!(text, "{:<22} {name:<6} {p50:>8} {p99:>8} {p99_9:>8} {max:>8}", compared.stage);
            }
        }
        for violation in &self.violations {
            let _ = writeln!(text, "violated: {violation}");
        }
        text + if self.is_good() { "good: every line rolled, no gap, no duplicate\n" } else { "BAD\n" }
    }
}

/// Runs it.
///
/// # Errors
/// What kept it from starting, or from becoming quiet, in words.
pub fn run(options: &Options) -> Result<Verdict, String> {
    let market =
        Market { lines: 1, rate: options.rate, seed: options.seed, book_depth: "20", book_levels: 300 };
    let watched = Watched::default();
    let made = watched.clone();
    let mut gateway = launch(topology_of(&market)?, &|_, _| {
        let watched = made.clone();
        Ok(Box::new(move || {
            Box::new(Watcher { watched: watched.clone(), last: BTreeMap::new() }) as Box<dyn Consumer>
        }) as Factory)
    })
    .map_err(|error| error.to_string())?;
    let start = gateway.take_control().ok_or("the control endpoint is taken")?;
    let mut control = Control::start(start).map_err(|error| error.to_string())?;
    let mut run = Rolls { told: Told::default(), asked: [0; VENUES] };
    let outcome = run.through(options, &mut gateway, &control, &watched);
    control.stop();
    let ended = gateway.stop();
    if let Some((shard, reason)) = ended.panicked.first() {
        return Err(format!("shard {shard}: {reason}"));
    }
    let (mut rows, latencies) = outcome?;
    for (row, summary) in rows.iter_mut().zip(&ended.providers) {
        row.lost_total = summary.lost_total;
        row.dropped_total = summary.outputs.iter().map(|(_, _, counts, _)| counts.dropped_total).sum();
    }
    let violations = watched.lock().violations.clone();
    Ok(Verdict { rows, latencies, violations })
}

struct Rolls {
    told: Told,
    asked: [u64; VENUES],
}

impl Run for Rolls {
    const WAIT_MAX: Duration = WAIT_MAX;

    fn told(&mut self) -> &mut Told {
        &mut self.told
    }
}

impl Rolls {
    fn through(
        &mut self,
        options: &Options,
        gateway: &mut Gateway,
        control: &Control,
        watched: &Watched,
    ) -> Result<(Vec<Row>, Vec<Compared>), String> {
        self.wait(gateway, "all books proved", |run| {
            run.told.board.providers().count() == VENUES
                && run.told.board.providers().all(|at| at.books > 0 && at.books_proved == at.books)
        })?;
        // What the start disturbed is not what is looked for.
        *watched.lock() = Notes::default();
        let zero = latencies(gateway, STAGES);
        self.pass(gateway, options.duration)?;
        let quiet = latencies(gateway, STAGES);
        let messages = self.messages();
        let began = Instant::now();
        let every = ROLL_EVERY.min(options.duration / 2);
        while began.elapsed() < options.duration {
            self.roll_all(gateway, control)?;
            self.pass(gateway, every)?;
        }
        let seconds = began.elapsed().as_secs_f64();
        let rates = self
            .messages()
            .into_iter()
            .zip(messages)
            .map(|(after, before)| (after - before) as f64 / seconds);
        let rates: Vec<f64> = rates.collect();
        self.wait(gateway, "end of the rolls", |run| run.told.rolled == run.asked)?;
        let rolls = latencies(gateway, STAGES);
        let stages = STAGES.iter().enumerate();
        let compared = stages.map(|(at, stage)| Compared {
            stage: stage.name(),
            quiet_ns: between(&zero[at], &quiet[at]),
            rolls_ns: between(&quiet[at], &rolls[at]),
        });
        let notes = watched.lock();
        let rows = gateway.topology.providers.iter().enumerate().map(|(index, plan)| Row {
            provider: plan.name.clone(),
            messages_per_s: rates[index],
            asked_total: self.asked[index],
            rolled_total: self.told.rolled[index],
            lost_total: 0,
            dropped_total: 0,
            seen: notes.seen[index],
        });
        Ok((rows.collect(), compared.collect()))
    }

    /// Tells every provider to roll, as `meltica ctl roll` does. Those still at it are left alone.
    fn roll_all(&mut self, gateway: &Gateway, control: &Control) -> Result<(), String> {
        for (index, plan) in gateway.topology.providers.iter().enumerate() {
            let path = format!("/providers/{}/roll", plan.name);
            let (status, answer) = ask(control.address(), "POST", &path, None, None)?;
            if status != 200 {
                return Err(format!("POST {path}: HTTP {status}: {answer}"));
            }
            if answer["under_way"].as_bool() == Some(false) {
                self.asked[index] += answer["lines"].as_u64().unwrap_or(0);
            }
        }
        Ok(())
    }

    fn messages(&self) -> [u64; VENUES] {
        let mut messages = [0; VENUES];
        for status in self.told.board.providers() {
            messages[usize::from(status.provider)] = status.counts.messages_total;
        }
        messages
    }
}

/// What the consumer notes.
#[derive(Debug, Default)]
struct Notes {
    seen: [Seen; VENUES],
    violations: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Watched(Arc<Mutex<Notes>>);

impl Watched {
    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A consumer that checks the continuity of trades and the state of books, and keeps no copy of them: it must keep pace
/// with a busy market.
struct Watcher {
    watched: Watched,
    /// The last trade of each stream.
    last: BTreeMap<(ProviderId, StreamId), u64>,
}

impl Consumer for Watcher {
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        let header = &event.header;
        let stream = (header.provider, header.stream);
        let provider = header.provider.index();
        match &event.body {
            Body::Trade(trade) => {
                let last = self.last.insert(stream, trade.id);
                let mut notes = self.watched.lock();
                notes.seen[provider].trades_total += 1;
                if let Some(last) = last.filter(|last| trade.id != last + 1)
                    && notes.violations.len() < VIOLATIONS_MAX
                {
                    let name =
                        context.catalog().stream(stream.0, stream.1).map_or("?", |facts| &facts.symbol);
                    notes
                        .violations
                        .push(format!("provider {provider}, {name}: trade {} after {last}", trade.id));
                }
            }
            Body::Gap(gap) => {
                self.last.insert(stream, gap.to);
                self.watched.lock().seen[provider].gaps_total += 1;
            }
            Body::BookState { status: BookStatus::Suspect | BookStatus::Stale, .. } => {
                self.watched.lock().seen[provider].disturbed_total += 1;
            }
            _ => {}
        }
    }
}
