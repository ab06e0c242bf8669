//! The verdict of a day: one row a promise, with what was seen.
//!
//! A row breaks by what we did. What a busy host does to latencies is told apart by how long our threads waited for a core.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;
use shards::launch::Ended;
use shards::orders::account::AccountCounts;

use super::host::size_of_directory;
use super::told::Told;
use super::venues::Orders;
use super::{Day, Options, Sample};
use crate::ledger::Ledger;

/// The part of a day that warms up: rings, spills and books touch their memory when they are fuller than ever before, and
/// the loudest hour ends here.
const WARM_PERCENT: usize = 70;
/// Growth of memory that is none, in MiB over the time looked at, and as a share of the whole.
const GROWTH_MIB_MAX: f64 = 4.0;
const GROWTH_SHARE_MAX: f64 = 0.02;
/// Samples are put together into so many, so that what lasts a few seconds counts once.
const BLOCKS: usize = 40;
/// Descriptors that may be open more at the end: connections that a roll or a question just opened.
const FILES_MORE_MAX: usize = 12;
/// How many times as late as in the first hours events may be in the last ones, and what is never late.
const DRIFT_MAX: f64 = 3.0;
const LATE_NEVER_US: f64 = 100.0;
/// From here on the host was busier in the last hours than in the first, and latencies cannot be compared.
const BUSIER: f64 = 1.3;

/// One promise.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which.
    pub promise: &'static str,
    /// What was seen.
    pub seen: String,
    /// Whether it held; `None` where nothing can be said.
    pub held: Option<bool>,
}

/// The outcome.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// One row a promise.
    pub rows: Vec<Row>,
    /// Where the picture is.
    pub picture: PathBuf,
}

impl Verdict {
    /// Whether every promise held.
    pub fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.held != Some(false))
    }

    /// As a table.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for Row { promise, seen, held } in &self.rows {
            let held = match held {
                Some(true) => "held",
                Some(false) => "BROKEN",
                None => "-",
            };
            let _ = writeln!(text, "{promise:<18} {held:<7} {seen}");
        }
        let _ = writeln!(text, "picture: {}", self.picture.display());
        text + if self.is_good() { "pass\n" } else { "FAIL\n" }
    }
}

/// What was asked at the end.
pub(super) struct Seen {
    /// What kept the day from its end.
    pub outcome: Result<(), String>,
    pub files_after: usize,
    /// By venue, after the gateway stopped.
    pub orders: Vec<Orders>,
}

/// All rows.
pub(super) fn rows_of(
    options: &Options,
    day: &Day,
    ledger: &Ledger,
    told: &Told,
    ended: &Ended,
    seen: &Seen,
) -> Vec<Row> {
    let mut rows = vec![came_to_its_end(day, ended, seen), load(day), memory(options, &day.samples)];
    rows.extend(balances(ended));
    rows.extend(proofs(day, ended));
    rows.extend(critical(ended, told, seen));
    rows.extend(streams(day, ledger));
    rows.push(latency(options, &day.samples));
    let (before, after) = (day.files_before, seen.files_after);
    rows.push(Row {
        promise: "file descriptors",
        seen: format!("{before} at the start, {after} at the end"),
        held: options.strict.then_some(after <= before + FILES_MORE_MAX),
    });
    rows.push(disk(options));
    rows
}

fn came_to_its_end(day: &Day, ended: &Ended, seen: &Seen) -> Row {
    let fallen: Vec<String> = ended.panicked.iter().map(|(shard, why)| format!("{shard}: {why}")).collect();
    let problems: Vec<&str> =
        seen.outcome.as_ref().err().into_iter().chain(&fallen).map(String::as_str).collect();
    let text =
        if problems.is_empty() { "no shard fell, all recovered".to_owned() } else { problems.join("; ") };
    Row {
        promise: "faults survived",
        seen: format!("{} faults, lines lost by venue {:?}; {text}", day.faults.len(), day.lost),
        held: Some(problems.is_empty()),
    }
}

fn load(day: &Day) -> Row {
    let messages = day.samples.last().map_or(0, |sample| sample.point.messages_total);
    let most = day.samples.iter().map(|sample| sample.messages_per_s).fold(0.0, f64::max);
    let (frames, skipped) = day.venues;
    Row {
        promise: "load",
        seen: format!(
            "{messages} messages taken, at most {most:.0} a second; {frames} frames sent, {skipped:.1} s of market skipped \
             by venues that were late"
        ),
        held: Some(messages > 0),
    }
}

fn memory(options: &Options, samples: &[Sample]) -> Row {
    let later = &samples[samples.len() * WARM_PERCENT / 100..];
    let points: Vec<_> = later.iter().map(|sample| (sample.second / 3_600.0, sample.rss_mib)).collect();
    let hours = points.last().map_or(0.0, |last| last.0) - points.first().map_or(0.0, |first| first.0);
    let rss = samples.last().map_or(0.0, |sample| sample.rss_mib);
    let text = |slope: &str| format!("{rss:.0} MiB at the end, {slope}");
    let Some((slope, error)) = slope(&points) else {
        return Row { promise: "memory", seen: text("too short for a slope"), held: None };
    };
    let growth = (slope - error) * hours;
    Row {
        promise: "memory",
        seen: text(&format!("slope {slope:+.2} +- {error:.2} MiB/h (95 %) over {:.0} minutes", hours * 60.0)),
        held: options.strict.then_some(growth <= GROWTH_MIB_MAX.max(GROWTH_SHARE_MAX * rss)),
    }
}

/// Slope of a line through points, and half of its confidence interval of 95 %. Neighbours are put together first, and what
/// they still have in common makes the interval wider: memory comes in steps. `None` for too few points.
pub(super) fn slope(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let size = points.len().div_ceil(BLOCKS).max(1);
    let sum = |block: &[(f64, f64)]| {
        let (x, y) = block.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (x / block.len() as f64, y / block.len() as f64)
    };
    let blocks: Vec<(f64, f64)> = points.chunks(size).map(sum).collect();
    let count = blocks.len() as f64;
    if blocks.len() < 8 {
        return None;
    }
    let (x_mean, y_mean) = sum(&blocks);
    let xx: f64 = blocks.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    let xy: f64 = blocks.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let slope = xy / xx;
    let rest: Vec<f64> = blocks.iter().map(|(x, y)| y - y_mean - slope * (x - x_mean)).collect();
    let square: f64 = rest.iter().map(|rest| rest * rest).sum();
    let common: f64 = rest.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let alike = if square > 0.0 { (common / square).clamp(0.0, 0.95) } else { 0.0 };
    // 2.1: Student's t for eight blocks is 2.4, for forty 2.02.
    let error = 2.1 * (square / (count - 2.0) / xx).sqrt() * ((1.0 + alike) / (1.0 - alike)).sqrt();
    Some((slope, error))
}

fn balances(ended: &Ended) -> [Row; 2] {
    let providers = ended.providers.iter().flat_map(|provider| &provider.outstanding);
    let out: Vec<_> = providers.chain(ended.mergers.iter().flat_map(|merger| &merger.outstanding)).collect();
    let unbalanced = ended.providers.iter().filter_map(shards::report_of::ProviderSummary::unbalanced);
    let merges = ended.mergers.iter().filter_map(shards::report_of::MergerSummary::unbalanced);
    let mut unbalanced: Vec<String> = unbalanced.chain(merges).collect();
    let delivered = ended.providers.iter().flat_map(|provider| &provider.outputs);
    let delivered: u64 = delivered.map(|(_, _, counts, _)| counts.delivered_total).sum();
    let left: u64 = ended.consumers.iter().map(|shard| shard.left_total).sum();
    if left > 0 {
        unbalanced.push(format!("{left} parts left in rings"));
    }
    let text =
        if unbalanced.is_empty() { format!("{delivered} events delivered") } else { unbalanced.join("; ") };
    [
        Row {
            promise: "pools balanced",
            seen: format!("{} slots out at the end {out:?}", out.len()),
            held: Some(out.is_empty()),
        },
        Row { promise: "counters add up", seen: text, held: Some(unbalanced.is_empty()) },
    ]
}

fn proofs(day: &Day, ended: &Ended) -> [Row; 2] {
    let counts = ended.providers.iter().map(|provider| &provider.counts);
    let failures: u64 = counts.clone().map(|counts| counts.verification_failures_total).sum();
    let verified: u64 = counts.map(|counts| counts.verified_total).sum();
    let books = ended.providers.iter().filter_map(|provider| provider.facts["books"].as_array()).flatten();
    let count = |book: &Value, name: &str| book["counts"][name].as_u64().unwrap_or(0);
    let (all, fitted) = books.fold((0, 0), |sum, book| {
        (sum.0 + count(book, "checksum_total"), sum.1 + count(book, "checksum_ok_total"))
    });
    let (wrong, lies) = (all - fitted, day.lies);
    [
        Row {
            promise: "checksums",
            seen: format!("{all} compared, {wrong} wrong; {lies} times they were made to be, at the most"),
            held: Some(all > 0 && wrong <= lies),
        },
        Row {
            promise: "books verified",
            seen: format!("{verified} by a second look, {failures} wrong"),
            held: Some(failures == 0),
        },
    ]
}

/// What the consumers were told of orders: as much as the gateway says that it told, and what the venues did.
fn critical(ended: &Ended, told: &Told, seen: &Seen) -> [Row; 2] {
    let mut sent = AccountCounts::default();
    let mut differing = Vec::new();
    let mut fills = 0;
    for (provider, orders) in ended.providers.iter().filter_map(|one| Some((one.index, one.orders.as_ref()?)))
    {
        for account in orders.status.accounts() {
            let received = told.accounts.get(&(provider, account.consumer.0)).map(|account| account.counts);
            let received = received.unwrap_or_default();
            // What was refused before the wire is told on the shard itself and does not pass the provider.
            let (ours, theirs) = (kinds(&account.counts), kinds(&received));
            if ours != theirs {
                differing.push(format!(
                    "provider {provider} consumer {}: sent {ours:?}, came {theirs:?}",
                    account.consumer.0
                ));
            }
            sent.acks_total += account.counts.acks_total;
            fills += account.counts.fills_total;
        }
    }
    for (provider, at_venue) in seen.orders.iter().enumerate() {
        let came = told.qty.get(&(provider as u8)).copied().unwrap_or(0);
        if came != at_venue.qty {
            differing.push(format!("provider {provider}: {} filled at the venue, {came} told", at_venue.qty));
        }
    }
    let sum = |get: fn(&Orders) -> u64| seen.orders.iter().map(get).sum::<u64>();
    let (orders, open, twice) = (sum(|one| one.orders), sum(|one| one.open), sum(|one| one.twice));
    let text = format!(
        "{} told, {} acks and {fills} fills of them; {} fills at the venues; {}",
        told.events_total,
        sent.acks_total,
        sum(|one| one.fills),
        if differing.is_empty() { "sent = received, to the unit".to_owned() } else { differing.join("; ") }
    );
    [
        Row {
            promise: "critical events",
            seen: text,
            held: Some(differing.is_empty() && told.events_total > 0),
        },
        Row {
            promise: "orders",
            seen: format!("{orders} at the venues, {open} open at the end, {twice} ids used twice"),
            held: Some(orders > 0 && open == 0 && twice == 0),
        },
    ]
}

fn kinds(counts: &AccountCounts) -> [u64; 7] {
    [
        counts.acks_total,
        counts.fills_total,
        counts.filled_total,
        counts.cancelled_total,
        counts.expired_total,
        counts.rejected_total,
        counts.recovered_total,
    ]
}

fn streams(day: &Day, ledger: &Ledger) -> [Row; 3] {
    let (there, accounted) = day.spans;
    let missing: u64 = ledger.trades.values().map(|log| log.missing_total).sum();
    let recovered: u64 = ledger.trades.values().map(|log| log.recovered_total).sum();
    let gaps: Vec<u64> =
        (0..3).map(|provider| ledger.gaps_total.get(&provider).copied().unwrap_or(0)).collect();
    let dropped = day.samples.last().map_or(0, |sample| sample.point.dropped_total);
    // A full ring is a cause, too.
    let uncaused: Vec<usize> = (0..3)
        .filter(|&provider| gaps[provider] > 0 && day.losing[provider] + day.lost[provider] + dropped == 0)
        .collect();
    let (equal, all) = day.books;
    [
        Row {
            promise: "gaps declared",
            seen: format!(
                "{there} trades of the venues, {accounted} seen or declared ({missing} missing in {gaps:?} gaps by venue, \
                 {recovered} fetched); without a cause at {uncaused:?}"
            ),
            held: Some(there == accounted && there > 0 && uncaused.is_empty()),
        },
        Row {
            promise: "order of streams",
            seen: format!("{} violations {:?}", ledger.violations.len(), ledger.violations),
            held: Some(ledger.violations.is_empty()),
        },
        Row {
            promise: "books",
            seen: format!("{equal} of {all} are the venues' at the end"),
            held: Some(equal == all && all > 0),
        },
    ]
}

fn latency(options: &Options, samples: &[Sample]) -> Row {
    // Nothing was delivered in some, at the very start.
    let told: Vec<Sample> =
        samples.iter().filter(|sample| sample.point.latency_ns_p99 > 0).copied().collect();
    let eighth = told.len() / 8;
    let typical = |part: &[Sample], get: fn(&Sample) -> f64| {
        let mut values: Vec<f64> = part.iter().map(get).collect();
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    };
    // The same hours of the night: the load of both is alike.
    let parts = [&told[..eighth], &told[told.len() - eighth..]];
    let p99 = parts.map(|part| typical(part, |sample| sample.point.latency_ns_p99 as f64 / 1e3));
    let p50 = parts.map(|part| typical(part, |sample| sample.point.latency_ns_p50 as f64 / 1e3));
    let waiting = parts.map(|part| typical(part, |sample| sample.waiting));
    let drifts = |[first, last]: [f64; 2]| last > DRIFT_MAX * first.max(LATE_NEVER_US);
    let busier = waiting[1] > BUSIER * waiting[0];
    let held = match (drifts(p99) || drifts(p50), busier) {
        (false, _) => Some(true),
        (true, false) => Some(false),
        (true, true) => None,
    };
    let note = if held.is_none() { ": the host was busier, nothing can be said" } else { "" };
    Row {
        promise: "latency drift",
        seen: format!(
            "p50 {:.0} and {:.0} us, p99 {:.0} and {:.0} us in the first and the last eighth; {:.2} and {:.2} threads waited \
             for a core{note}",
            p50[0], p50[1], p99[0], p99[1], waiting[0], waiting[1]
        ),
        held: if options.strict { held } else { None },
    }
}

/// The journal is bounded by its files; a recording is not, and grows with the market.
fn disk(options: &Options) -> Row {
    /// Of the shipped topology: three providers, four files each and the next one under way, of 16 MiB.
    const JOURNAL_MIB_MAX: f64 = 3.0 * 5.0 * 16.0;
    let mib = |name: &str| size_of_directory(&options.home.join(name)) as f64 / f64::from(1 << 20);
    let [journal, recording, report] = ["journal", "recordings", "report"].map(mib);
    let per_hour = recording / (options.duration.as_secs_f64() / 3_600.0);
    Row {
        promise: "disk",
        seen: format!(
            "journal {journal:.1} MiB of {JOURNAL_MIB_MAX:.0} at the most, recording {recording:.1} MiB ({per_hour:.0} an \
             hour), reports {report:.1} MiB"
        ),
        held: Some(journal <= JOURNAL_MIB_MAX && recording > 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory over an hour that grows by so much, and jitters by a MiB around it.
    fn slope_of(growth_mib: f64) -> (f64, f64) {
        let point = |at: u32| {
            let hour = f64::from(at) / 1_000.0;
            (hour, 200.0 + growth_mib * hour + f64::from(at * 7_919 % 13) / 13.0)
        };
        slope(&(0..1_000).map(point).collect::<Vec<_>>()).expect("points enough")
    }

    #[test]
    fn a_leak_has_a_slope_that_its_error_does_not_reach() {
        let (slope, error) = slope_of(20.0);
        assert!((slope - 20.0).abs() < 0.5 && error < 0.5, "{slope} +- {error}");
        let (slope, error) = slope_of(0.0);
        assert!(slope.abs() <= error + 0.05, "{slope} +- {error}");
    }

    #[test]
    fn one_step_of_memory_is_no_leak_for_certain() {
        let step = |at: u32| (f64::from(at) / 1_000.0, if at < 500 { 200.0 } else { 204.0 });
        let (slope, error) = slope(&(0..1_000).map(step).collect::<Vec<_>>()).expect("points enough");
        assert!(slope > 0.0 && slope - error < 4.0, "{slope} +- {error}");
    }

    #[test]
    fn a_minute_has_no_slope() {
        assert_eq!(slope(&[(0.0, 1.0), (0.1, 2.0)]), None);
    }
}
