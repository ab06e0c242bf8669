//! A run over time: one point a second with what was counted so far and how late events were, and the intervals with the
//! longest latencies, each with what disturbed its shard meanwhile.

use serde::{Deserialize, Serialize};

use super::Incident;

/// Points of a timeline; when there are more, every second one goes and the period doubles.
pub const POINTS_MAX: usize = 3_600;
/// Outliers that a run keeps for each shard and stage.
pub const OUTLIERS_MAX: usize = 8;

/// The run at one moment. Totals count from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// When, in milliseconds after the start.
    pub at_ms: u64,
    /// Messages of venues.
    pub messages_total: u64,
    /// Events that consumer shards took.
    pub received_total: u64,
    /// Events lost to full rings.
    pub dropped_total: u64,
    /// Events that a newer one replaced.
    pub coalesced_total: u64,
    /// Holes in streams.
    pub gaps_total: u64,
    /// Books built again.
    pub resyncs_total: u64,
    /// Connections lost.
    pub lines_lost_total: u64,
    /// Books proved now.
    pub books_proved: u32,
    /// The fullest ring, in thousandths.
    pub ring_permille_max: u32,
    /// Median, 99th percentile and maximum of `receive_to_delivered`, the worst of all shards since the point before, in
    /// nanoseconds; 0 where nothing was delivered.
    pub latency_ns_p50: u64,
    /// See [`Point::latency_ns_p50`].
    pub latency_ns_p99: u64,
    /// See [`Point::latency_ns_p50`].
    pub latency_ns_max: u64,
}

/// A run over time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// Points, by time.
    pub points: Vec<Point>,
}

impl Timeline {
    /// Adds a point; a long run keeps fewer of them.
    pub fn push(&mut self, point: Point) {
        if self.points.len() == POINTS_MAX {
            // Totals need no care; the latencies of a point that goes belong to the one after it.
            let pairs = self.points.chunks_exact(2).map(|pair| Point {
                latency_ns_p50: pair[0].latency_ns_p50.max(pair[1].latency_ns_p50),
                latency_ns_p99: pair[0].latency_ns_p99.max(pair[1].latency_ns_p99),
                latency_ns_max: pair[0].latency_ns_max.max(pair[1].latency_ns_max),
                ring_permille_max: pair[0].ring_permille_max.max(pair[1].ring_permille_max),
                ..pair[1]
            });
            self.points = pairs.collect();
        }
        self.points.push(point);
    }
}

/// An interval with one of the longest latencies of its shard and stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlier {
    /// Begin of the interval, in milliseconds after the start.
    pub from_ms: u64,
    /// Its end.
    pub to_ms: u64,
    /// The shard.
    pub shard: String,
    /// The stage.
    pub stage: String,
    /// How many latencies the interval had.
    pub count: u64,
    /// Its 99th percentile, in nanoseconds.
    pub latency_ns_p99: u64,
    /// Its longest, in nanoseconds.
    pub latency_ns_max: u64,
    /// What overlaps it, in words: `long_turns x2 on md0`. A latency began at most its own length before its interval.
    pub beside: Vec<String>,
}

/// The intervals with the longest latencies, while a run goes on.
#[derive(Clone, Debug, Default)]
pub struct Outliers(Vec<Outlier>);

impl Outliers {
    /// Takes note of an interval.
    pub fn offer(&mut self, interval: &Outlier) {
        let same = |one: &Outlier| one.shard == interval.shard && one.stage == interval.stage;
        if self.0.iter().filter(|one| same(one)).count() < OUTLIERS_MAX {
            self.0.push(interval.clone());
            return;
        }
        let least = self.0.iter_mut().filter(|one| same(one)).min_by_key(|one| one.latency_ns_max);
        if let Some(least) = least
            && least.latency_ns_max < interval.latency_ns_max
        {
            *least = interval.clone();
        }
    }

    /// All of them, the longest first, with what overlaps each.
    pub fn beside(&self, incidents: &[Incident]) -> Vec<Outlier> {
        let mut outliers = self.0.clone();
        outliers.sort_by_key(|one| std::cmp::Reverse(one.latency_ns_max));
        for outlier in &mut outliers {
            let began_ms = outlier.from_ms.saturating_sub(outlier.latency_ns_max / 1_000_000);
            let overlaps = |one: &&Incident| one.from_ms <= outlier.to_ms && one.to_ms >= began_ms;
            let mut sums: Vec<(&str, &str, u64)> = Vec::new();
            for incident in incidents.iter().filter(overlaps) {
                let (what, shard) = (incident.what.name(), incident.shard.as_str());
                match sums.iter_mut().find(|(w, s, _)| (*w, *s) == (what, shard)) {
                    Some((_, _, count)) => *count += incident.count,
                    None => sums.push((what, shard, incident.count)),
                }
            }
            // The shard itself first: others explain it only through its rings.
            sums.sort_by_key(|(_, shard, _)| *shard != outlier.shard);
            outlier.beside =
                sums.iter().map(|(what, shard, count)| format!("{what} x{count} on {shard}")).collect();
        }
        outliers
    }
}

/// What stood beside an outlier, by shard, the outlier's own first: `strategies: involuntary_switches x1040, long_turns x9`.
/// [`Outlier::beside`] names the shard each time, which is for machines.
pub fn beside_by_shard(beside: &[String]) -> Vec<String> {
    let mut shards: Vec<(&str, Vec<&str>)> = Vec::new();
    for one in beside {
        let (what, shard) = one.rsplit_once(" on ").unwrap_or((one, ""));
        match shards.iter_mut().find(|(known, _)| *known == shard) {
            Some((_, all)) => all.push(what),
            None => shards.push((shard, vec![what])),
        }
    }
    shards.into_iter().map(|(shard, all)| format!("{shard}: {}", all.join(", "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::DisturbanceKind as Kind;

    fn outlier(from_ms: u64, shard: &str, latency_ms: u64) -> Outlier {
        Outlier {
            from_ms,
            to_ms: from_ms + 1_000,
            shard: shard.to_owned(),
            stage: "turn".to_owned(),
            count: 9,
            latency_ns_p99: 1,
            latency_ns_max: latency_ms * 1_000_000,
            beside: Vec::new(),
        }
    }

    #[test]
    fn the_longest_stay_and_each_names_what_overlaps_it() {
        let mut outliers = Outliers::default();
        for second in 0..20 {
            outliers.offer(&outlier(second * 1_000, "a", second));
        }
        outliers.offer(&outlier(0, "b", 1));
        let incident = |from_ms, to_ms, shard: &str, what, count| Incident {
            from_ms,
            to_ms,
            shard: shard.to_owned(),
            what,
            count,
            detail: String::new(),
        };
        let incidents = [
            incident(18_000, 18_050, "b", Kind::MinorFaults, 4),
            incident(19_100, 19_150, "a", Kind::LongTurns, 2),
            incident(19_500, 19_550, "a", Kind::LongTurns, 1),
            incident(20_001, 20_050, "a", Kind::LongTurns, 7),
        ];
        let found = outliers.beside(&incidents);
        assert_eq!(found.len(), OUTLIERS_MAX + 1);
        assert_eq!(found[0].latency_ns_max, 19_000_000);
        assert_eq!(found[0].beside, ["long_turns x3 on a"]);
        assert_eq!(found[1].beside, ["minor_faults x4 on b"], "the one of second 18");
        assert_eq!((found.last().unwrap().shard.as_str(), found.last().unwrap().beside.len()), ("b", 0));
    }

    #[test]
    fn a_long_run_keeps_its_whole_length_and_its_worst_latency() {
        let mut timeline = Timeline::default();
        for second in 0..POINTS_MAX as u64 * 3 {
            let latency_ns_max = if second == 100 { 5_000 } else { 10 };
            timeline.push(Point {
                at_ms: second * 1_000,
                messages_total: second,
                latency_ns_max,
                ..Point::default()
            });
        }
        assert!(timeline.points.len() <= POINTS_MAX);
        assert_eq!(timeline.points.last().map(|point| point.messages_total), Some(POINTS_MAX as u64 * 3 - 1));
        assert!(timeline.points.iter().any(|point| point.latency_ns_max == 5_000));
        assert!(timeline.points.is_sorted_by_key(|point| point.at_ms));
    }

    #[test]
    fn what_was_beside_is_said_by_shard() {
        let beside =
            ["long_turns x3 on a", "minor_faults x4 on b on c", "minor_faults x1 on a"].map(str::to_owned);
        assert_eq!(
            beside_by_shard(&beside),
            ["a: long_turns x3, minor_faults x1", "c: minor_faults x4 on b"],
            "a name is what follows the last `on`"
        );
        assert!(beside_by_shard(&[]).is_empty());
    }
}
