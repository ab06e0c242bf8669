//! The sum of many intervals of one stage: what a report's figures, percentile files and curves are made of.

use hdrhistogram::Histogram;

use super::StageSummary;
use crate::stages::{LATENCY_NS_MAX, SIGNIFICANT_DIGITS, Stage, StageCell};

/// The sum of many intervals of one stage on one shard.
///
/// ```
/// use shards::report::total::StageTotal;
/// use shards::stages::{Stage, StageLayout, StageSet};
///
/// let mut interval = StageSet::new(&StageLayout::default());
/// interval.record_n(Stage::ReceiveToDelivered, 2_000, 99);
/// interval.record(Stage::ReceiveToDelivered, 1_234_567);
///
/// let mut total = StageTotal::new();
/// total.add_cell(&interval.cells()[Stage::ReceiveToDelivered as usize]);
/// assert_eq!(total.count(), 100);
/// // The upper end of a bucket, two digits exact: 2,000 lies in one that ends at 2,007.
/// assert_eq!(total.latency_ns_at(99.0), 2_007);
/// assert_eq!(total.latency_ns_at(100.0), 1_234_567, "the largest one is exact");
/// ```
#[derive(Clone, Debug)]
pub struct StageTotal {
    histogram: Histogram<u64>,
    latency_ns_max: u64,
    over_count: u64,
    saturated_count: u64,
}

impl StageTotal {
    /// An empty total, with the range and precision of the shards' histograms.
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS)
            .expect("the bounds are constants that the histogram accepts");
        Self { histogram, latency_ns_max: 0, over_count: 0, saturated_count: 0 }
    }

    /// Adds one interval of a shard.
    pub fn add_cell(&mut self, cell: &StageCell) {
        let mut added_count = 0;
        for bucket in cell.histogram().iter_recorded() {
            let count = u64::from(bucket.count_at_value());
            self.histogram.saturating_record_n(bucket.value_iterated_to(), count);
            added_count += count;
        }
        self.latency_ns_max = self.latency_ns_max.max(cell.latency_ns_max());
        self.over_count += cell.over_count();
        self.saturated_count += cell.histogram().len().saturating_sub(added_count);
    }

    /// Adds another total.
    pub fn add(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("all totals have one range");
        self.latency_ns_max = self.latency_ns_max.max(other.latency_ns_max);
        self.over_count += other.over_count;
        self.saturated_count += other.saturated_count;
    }

    /// Empties it.
    pub fn reset(&mut self) {
        self.histogram.reset();
        self.latency_ns_max = 0;
        self.over_count = 0;
        self.saturated_count = 0;
    }

    /// The counts.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// How many latencies there were.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// How many latencies a bucket of a shard could not count any more (over 4 billion of one value in
    /// one interval, which takes a collector that stands still for minutes).
    pub fn saturated_count(&self) -> u64 {
        self.saturated_count
    }

    /// The latency that `percentile` per cent did not exceed, in nanoseconds: the upper end of its bucket,
    /// but never above the largest one seen; that one, exactly, for 100. 0 when there are none.
    pub fn latency_ns_at(&self, percentile: f64) -> u64 {
        if percentile >= 100.0 {
            return self.latency_ns_max;
        }
        self.histogram.value_at_percentile(percentile).min(self.latency_ns_max)
    }

    /// The figures of the exit table.
    pub fn summary(&self, stage: &str) -> StageSummary {
        StageSummary {
            stage: stage.to_owned(),
            unit: Stage::UNIT.to_owned(),
            count: self.count(),
            latency_ns_min: self.histogram.min(),
            latency_ns_p50: self.latency_ns_at(50.0),
            latency_ns_p90: self.latency_ns_at(90.0),
            latency_ns_p99: self.latency_ns_at(99.0),
            latency_ns_p99_9: self.latency_ns_at(99.9),
            latency_ns_p99_99: self.latency_ns_at(99.99),
            latency_ns_max: self.latency_ns_max,
            // Rounded to what means something, which also keeps JSON short and exact.
            latency_ns_mean: (self.histogram.mean() * 100.0).round() / 100.0,
            over_count: self.over_count,
        }
    }
}

impl Default for StageTotal {
    fn default() -> Self {
        Self::new()
    }
}
