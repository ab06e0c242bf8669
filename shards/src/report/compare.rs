//! Two runs beside each other: what got better or worse beyond noise.
//!
//! **The noise rule.** A run is a row of intervals, and a figure of a stage has one value in each (its median, its 99th
//! percentile). Two runs differ in it if the medians of those values are further apart than half of each run's distance
//! between its quartiles, added up, and further than [`CHANGE_MIN`] of the first: the middle halves of the two do not
//! overlap then. The first [`WARM_UP_MS`] of each run do not count, nor does a figure with fewer than [`INTERVALS_MIN`] intervals.

use serde::Serialize;
use serde_json::Value;

use super::RunReport;
use super::read::{Interval, LeftBehind, tag_of};

/// What a change is at the least, as a part of the first run's value.
pub const CHANGE_MIN: f64 = 0.05;
/// The beginning of a run, which is not like the rest: connections, snapshots, first touches of memory.
pub const WARM_UP_MS: u64 = 2_000;
/// Intervals that a run must have for a figure.
pub const INTERVALS_MIN: usize = 5;

/// What became of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Beyond noise.
    Worse,
    /// Beyond noise.
    Better,
    /// Within noise.
    Same,
    /// Too few intervals to tell.
    Unknown,
}

impl Outcome {
    /// The word of the tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::Better => "better",
            Self::Same => "same",
            Self::Unknown => "unknown",
        }
    }
}

/// One figure of both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The shard, or the provider of a counter.
    pub of: String,
    /// The stage and its figure, or the counter.
    pub what: String,
    /// The value of the first run: nanoseconds, or a count.
    pub first: f64,
    /// The value of the second run.
    pub second: f64,
    /// What a difference must exceed.
    pub noise: f64,
    /// What became of it.
    pub outcome: Outcome,
    /// It is a latency in nanoseconds.
    pub is_latency: bool,
}

impl Change {
    /// The change as a part of the first value: 0.5 is half as much again. `None` from zero.
    pub fn relative(&self) -> Option<f64> {
        (self.first > 0.0).then(|| (self.second - self.first) / self.first)
    }
}

/// A figure of an interval, and its name.
type Figure = (&'static str, fn(&Interval) -> f64);

/// Compares two runs: figures of stages that both have, then what was lost or disturbed.
pub fn compare(first: &LeftBehind, second: &LeftBehind) -> Vec<Change> {
    const FIGURES: [Figure; 2] =
        [("p50", |one| one.latency_ns_p50 as f64), ("p99", |one| one.latency_ns_p99 as f64)];
    let mut changes = Vec::new();
    for shard in &first.report.shards {
        let Some(other) = second.report.shards.iter().find(|other| other.name == shard.name) else {
            continue;
        };
        for stage in
            shard.stages.iter().filter(|stage| other.stages.iter().any(|two| two.stage == stage.stage))
        {
            let tag = tag_of(&shard.name, &stage.stage);
            for (name, figure) in FIGURES {
                let values = |run: &LeftBehind| -> Vec<f64> {
                    run.of_tag(&tag).filter(|one| one.from_ms >= WARM_UP_MS).map(figure).collect()
                };
                let (a, b) = (Spread::of(values(first)), Spread::of(values(second)));
                let what = format!("{} {name}", stage.stage);
                changes.push(change(shard.name.clone(), what, a, b));
            }
        }
    }
    changes.extend(counters(&first.report, &second.report));
    changes.sort_by_key(|change| change.outcome);
    changes
}

/// How many are worse, better, within noise and not to be told.
pub fn counted(changes: &[Change]) -> String {
    let count = |outcome: Outcome| changes.iter().filter(|change| change.outcome == outcome).count();
    format!(
        "{} worse, {} better, {} within noise, {} with too few intervals",
        count(Outcome::Worse),
        count(Outcome::Better),
        count(Outcome::Same),
        count(Outcome::Unknown)
    )
}

fn change(of: String, what: String, a: Option<Spread>, b: Option<Spread>) -> Change {
    let (Some(a), Some(b)) = (a, b) else {
        return Change {
            of,
            what,
            first: 0.0,
            second: 0.0,
            noise: 0.0,
            outcome: Outcome::Unknown,
            is_latency: true,
        };
    };
    let noise = (a.half_quartiles + b.half_quartiles).max(a.median * CHANGE_MIN);
    let moved = b.median - a.median;
    let outcome = if moved.abs() <= noise {
        Outcome::Same
    } else if moved > 0.0 {
        Outcome::Worse
    } else {
        Outcome::Better
    };
    Change { of, what, first: a.median, second: b.median, noise, outcome, is_latency: true }
}

/// Middle and width of a figure over the intervals of a run.
#[derive(Clone, Copy, Debug)]
struct Spread {
    median: f64,
    half_quartiles: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        if values.len() < INTERVALS_MIN {
            return None;
        }
        values.sort_by(f64::total_cmp);
        let at = |part: f64| values[((values.len() - 1) as f64 * part).round() as usize];
        Some(Self { median: at(0.5), half_quartiles: (at(0.75) - at(0.25)) / 2.0 })
    }
}

/// Counters in which any at all is bad: they have no intervals, so their noise is what a count of that size has by chance
/// (twice its root), per second of the run.
fn counters(first: &RunReport, second: &RunReport) -> Vec<Change> {
    let seconds = |report: &RunReport| (report.run_ns as f64 / 1e9).max(1e-9);
    let mut changes = Vec::new();
    let mut add = |of: &str, what: &str, a: f64, b: f64| {
        if a == 0.0 && b == 0.0 {
            return;
        }
        // Compared at the length of the second run.
        let scale = seconds(second) / seconds(first);
        let (expected, noise) = (a * scale, 2.0 * (a * scale * scale + b).sqrt());
        let outcome = if (b - expected).abs() <= noise {
            Outcome::Same
        } else if b > expected {
            Outcome::Worse
        } else {
            Outcome::Better
        };
        let (of, what) = (of.to_owned(), what.to_owned());
        changes.push(Change { of, what, first: expected, second: b, noise, outcome, is_latency: false });
    };
    for (name, provider) in providers(first) {
        let other = providers(second).find(|(other, _)| *other == name).map(|(_, provider)| provider);
        let Some(other) = other else { continue };
        for counter in ["gaps_total", "resyncs_total", "decode_errors_total"] {
            let of = |provider: &Value| provider["counts"][counter].as_f64().unwrap_or(0.0);
            add(name, counter, of(provider), of(other));
        }
        for counter in ["dropped_total", "coalesced_total"] {
            let of = |provider: &Value| -> f64 {
                let outputs = provider["outputs"].as_array().into_iter().flatten();
                outputs.map(|output| output[counter].as_f64().unwrap_or(0.0)).sum()
            };
            add(name, counter, of(provider), of(other));
        }
    }
    for shard in &first.shards {
        for kind in super::DisturbanceKind::ALL {
            let of = |report: &RunReport| -> f64 {
                let all = report.disturbances.iter();
                let own = all.filter(|one| one.what == *kind && one.shard.as_deref() == Some(&shard.name));
                own.map(|one| one.count as f64).sum()
            };
            let named_above = matches!(kind.name(), "gaps" | "resyncs");
            if !named_above && second.shards.iter().any(|other| other.name == shard.name) {
                add(&shard.name, kind.name(), of(first), of(second));
            }
        }
    }
    changes
}

/// The providers of a report, by name.
pub fn providers(report: &RunReport) -> impl Iterator<Item = (&str, &Value)> {
    let all = report.providers.as_object().into_iter().flatten();
    all.filter(|(_, provider)| provider.get("counts").is_some())
        .map(|(name, provider)| (name.as_str(), provider))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::tests::fixed_report;
    use super::*;

    /// A run whose one stage has these medians, a second each, after a warm-up of two.
    fn run(medians_us: &[u64]) -> LeftBehind {
        let report = fixed_report();
        let intervals = medians_us.iter().enumerate().map(|(second, us)| Interval {
            tag: "binance.receive_to_decoded".to_owned(),
            from_ms: 1_000 * second as u64 + WARM_UP_MS,
            length_ms: 1_000,
            count: 1_000,
            latency_ns_p50: us * 1_000,
            latency_ns_p99: us * 10_000,
            latency_ns_max: us * 100_000,
        });
        let mut intervals: Vec<Interval> = intervals.collect();
        // What the warm-up has must not count.
        intervals.insert(0, Interval { from_ms: 0, latency_ns_p50: 1 << 40, ..intervals[0].clone() });
        LeftBehind { directory: PathBuf::new(), report, intervals, percentiles_svg: None, notes: Vec::new() }
    }

    fn outcome(first: &[u64], second: &[u64]) -> Outcome {
        let changes = compare(&run(first), &run(second));
        changes.iter().find(|change| change.what == "receive_to_decoded p50").unwrap().outcome
    }

    #[test]
    fn only_what_leaves_the_spread_of_the_intervals_is_a_change() {
        let steady = [100, 101, 99, 100, 102, 98, 100];
        assert_eq!(outcome(&steady, &steady), Outcome::Same);
        assert_eq!(outcome(&steady, &[104; 7]), Outcome::Same, "below 5 %");
        assert_eq!(outcome(&steady, &[120; 7]), Outcome::Worse);
        assert_eq!(outcome(&steady, &[80; 7]), Outcome::Better);
        let wild = [20, 180, 60, 140, 100, 30, 170];
        assert_eq!(outcome(&wild, &[130; 7]), Outcome::Same, "half of the quartiles is 55 us");
        assert_eq!(outcome(&wild, &[300; 7]), Outcome::Worse);
        assert_eq!(outcome(&steady[..4], &[300; 7]), Outcome::Unknown, "four intervals prove nothing");
    }

    #[test]
    fn counters_are_compared_at_equal_length_and_by_the_chance_of_their_size() {
        let (first, mut second) = (run(&[1; 7]), run(&[1; 7]));
        second.report.run_ns = first.report.run_ns / 2;
        let with = |run: &mut LeftBehind, dropped: u64| {
            run.report.providers = serde_json::json!({ "dead_letters": [], "binance": {
                "counts": { "gaps_total": 0 }, "outputs": [{ "dropped_total": dropped }],
            } });
        };
        let told = |a: u64, b: u64| {
            let (mut first, mut second) = (first.clone(), second.clone());
            with(&mut first, a);
            with(&mut second, b);
            let changes = compare(&first, &second);
            changes.iter().find(|change| change.what == "dropped_total").map(|change| change.outcome)
        };
        assert_eq!(told(0, 0), None, "nothing to tell");
        assert_eq!(told(1_000, 500), Some(Outcome::Same), "half the time, half the drops");
        assert_eq!(told(0, 3), Some(Outcome::Same), "3 may be chance");
        assert_eq!(told(0, 50), Some(Outcome::Worse));
        assert_eq!(told(1_000, 100), Some(Outcome::Better));
    }

    #[test]
    fn what_got_worse_comes_first() {
        let changes = compare(&run(&[100; 7]), &run(&[300; 7]));
        assert_eq!(changes[0].outcome, Outcome::Worse);
        assert_eq!(changes[0].relative(), Some(2.0));
        assert!(changes.is_sorted_by_key(|change| change.outcome));
    }
}
