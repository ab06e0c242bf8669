//! The collecting side of the latency histograms: one [`Collector`] on one thread off the data path.
//!
//! It empties the shards' exchange rings ([`crate::stages`]), adds the intervals up per shard and stage,
//! keeps the last interval for a status line, and appends each interval to a log. What becomes of the
//! totals (table, files, picture) is [`crate::report`]'s.

use std::io::Write;
use std::time::{Duration, SystemTime};

use crate::report::interval_log::{IntervalLog, LogState};
use crate::report::timeline::{Outlier, Outliers};
use crate::report::total::StageTotal;
use crate::report::{DisturbanceKind, RunReport, ShardIdentity, ShardReport};
use crate::stages::{CollectorEnd, Stage, StageLayout, StageSet};

/// One instant on both clocks, so that monotonic nanoseconds can be shown as wall time.
#[derive(Clone, Copy, Debug)]
pub struct RunStart {
    /// Wall time of the start.
    pub at: SystemTime,
    /// The same instant on the monotonic clock that the shards record with, in nanoseconds.
    pub ns: u64,
}

/// One stage of one shard over its last interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveStage {
    /// The stage's name.
    pub stage: String,
    /// How many latencies the interval had; never 0.
    pub count: u64,
    /// Median, in nanoseconds.
    pub latency_ns_p50: u64,
    /// 99th percentile, in nanoseconds.
    pub latency_ns_p99: u64,
    /// The largest, in nanoseconds.
    pub latency_ns_max: u64,
}

/// The last interval of one shard, for a status line.
#[derive(Clone, Copy, Debug)]
pub struct LiveShard<'a> {
    /// Who it is.
    pub identity: &'a ShardIdentity,
    /// How long the interval was, in nanoseconds; 0 before the first one has come.
    pub interval_ns: u64,
    /// Its stages that had anything to count.
    pub stages: &'a [LiveStage],
}

/// One registered shard.
#[derive(Debug)]
struct CollectedShard {
    identity: ShardIdentity,
    end: CollectorEnd,
    totals: Vec<StageTotal>,
    live: Vec<LiveStage>,
    live_interval_ns: u64,
    ended: bool,
}

/// Adds up what the shards record. Lives on one thread and is called about as often as intervals end.
#[derive(Debug)]
pub struct Collector {
    start: RunStart,
    shards: Vec<CollectedShard>,
    log: Option<IntervalLog<Box<dyn Write + Send>>>,
    interval: StageTotal,
    outliers: Outliers,
}

impl Collector {
    /// A collector without shards and without a log.
    pub fn new(start: RunStart) -> Self {
        Self {
            start,
            shards: Vec::new(),
            log: None,
            interval: StageTotal::new(),
            outliers: Outliers::default(),
        }
    }

    /// Appends every interval to `log` from now on.
    pub fn set_log(&mut self, log: IntervalLog<Box<dyn Write + Send>>) {
        self.log = Some(log);
    }

    /// Adds a shard. The order is the order of the report.
    pub fn register(&mut self, identity: ShardIdentity, end: CollectorEnd) {
        let totals = (0..end.layout().cell_count()).map(|_| StageTotal::new()).collect();
        self.shards.push(CollectedShard {
            identity,
            end,
            totals,
            live: Vec::new(),
            live_interval_ns: 0,
            ended: false,
        });
    }

    /// Takes what the shards have sent and gives the sets back. Returns how many sets there were.
    ///
    /// A log that cannot be written is given up, which [`Collector::log_state`] tells; the totals go on.
    pub fn collect(&mut self) -> usize {
        let mut taken = Vec::new();
        for (index, shard) in self.shards.iter_mut().enumerate() {
            // Asked before the ring is emptied: what was sent before the end is then surely seen.
            let ended = shard.end.is_ended();
            while let Some(set) = shard.end.take() {
                taken.push((index, set));
            }
            shard.ended = ended;
        }
        // The log is read in order of time. The sort is stable, so each shard's own order stays.
        taken.sort_by_key(|(_, set)| set.start_ns());
        let count = taken.len();
        for (index, set) in taken {
            let shard = &mut self.shards[index];
            shard.add(&set, &mut self.interval, self.start, self.log.as_mut());
            shard.offer_outliers(&set, self.start, &mut self.outliers);
            shard.end.give_back(set);
        }
        if count > 0
            && let Some(log) = &mut self.log
        {
            log.flush();
        }
        count
    }

    /// Whether every shard has finished and all it sent was taken.
    pub fn is_finished(&self) -> bool {
        self.shards.iter().all(|shard| shard.ended)
    }

    /// The last interval of every shard.
    pub fn live(&self) -> impl Iterator<Item = LiveShard<'_>> {
        self.shards.iter().map(|shard| LiveShard {
            identity: &shard.identity,
            interval_ns: shard.live_interval_ns,
            stages: &shard.live,
        })
    }

    /// Every shard, stage and total that has anything in it, in the order of the report.
    pub fn totals(&self) -> impl Iterator<Item = (&ShardIdentity, String, &StageTotal)> {
        self.shards
            .iter()
            .flat_map(|shard| shard.named_totals().map(move |(stage, total)| (&shard.identity, stage, total)))
    }

    /// The shards of a [`RunReport`], with their stages and without counters, which others know.
    pub fn shard_reports(&self) -> Vec<ShardReport> {
        let report = |shard: &CollectedShard| {
            let stages = shard.named_totals().map(|(stage, total)| total.summary(&stage)).collect();
            ShardReport::new(shard.identity.clone(), stages)
        };
        self.shards.iter().map(report).collect()
    }

    /// Writes into the report what the collector itself knows: shards, stages, and counts that were cut.
    pub fn fill(&self, report: &mut RunReport) {
        report.shards = self.shard_reports();
        report.interval_log = self.log.as_ref().map(|log| log.state().to_string());
        for shard in &self.shards {
            let saturated_count = shard.totals.iter().map(StageTotal::saturated_count).sum();
            report.disturb(
                DisturbanceKind::HistogramSaturated,
                Some(&shard.identity.name),
                saturated_count,
                "latencies that a full bucket did not count",
            );
        }
    }

    /// The intervals with the longest latencies.
    pub fn outliers(&self) -> &Outliers {
        &self.outliers
    }

    /// How the log fares; `None` without a log.
    pub fn log_state(&self) -> Option<&LogState> {
        self.log.as_ref().map(IntervalLog::state)
    }
}

impl CollectedShard {
    /// The totals that have anything in them, with their names.
    fn named_totals(&self) -> impl Iterator<Item = (String, &StageTotal)> {
        let totals = self.totals.iter().enumerate().filter(|(_, total)| total.count() > 0);
        totals.map(|(index, total)| (self.end.layout().cell_name(index), total))
    }

    fn add(
        &mut self,
        set: &StageSet,
        interval: &mut StageTotal,
        start: RunStart,
        mut log: Option<&mut IntervalLog<Box<dyn Write + Send>>>,
    ) {
        let interval_ns = set.end_ns().saturating_sub(set.start_ns());
        self.live_interval_ns = interval_ns;
        self.live.clear();
        for index in 0..self.totals.len() {
            gather(interval, set, self.end.layout(), index);
            if interval.count() == 0 {
                continue;
            }
            self.totals[index].add(interval);
            let stage = self.end.layout().cell_name(index);
            if let Some(log) = log.as_deref_mut() {
                log.append(
                    &self.identity.name,
                    &stage,
                    Duration::from_nanos(set.start_ns().saturating_sub(start.ns)),
                    Duration::from_nanos(interval_ns),
                    interval.histogram(),
                );
            }
            self.live.push(LiveStage {
                stage,
                count: interval.count(),
                latency_ns_p50: interval.latency_ns_at(50.0),
                latency_ns_p99: interval.latency_ns_at(99.0),
                latency_ns_max: interval.latency_ns_at(100.0),
            });
        }
    }
}

impl CollectedShard {
    /// Offers the stages of the interval that [`CollectedShard::add`] has just put into `live`.
    fn offer_outliers(&self, set: &StageSet, start: RunStart, outliers: &mut Outliers) {
        let ms = |ns: u64| ns.saturating_sub(start.ns) / 1_000_000;
        // Each consumer's own handler is in `handler`; the venue's clock is not ours.
        let told =
            |stage: &&LiveStage| !stage.stage.contains(':') && stage.stage != Stage::VenueToReceive.name();
        for stage in self.live.iter().filter(told) {
            outliers.offer(&Outlier {
                from_ms: ms(set.start_ns()),
                to_ms: ms(set.end_ns()),
                shard: self.identity.name.clone(),
                stage: stage.stage.clone(),
                count: stage.count,
                latency_ns_p99: stage.latency_ns_p99,
                latency_ns_max: stage.latency_ns_max,
                beside: Vec::new(),
            });
        }
    }
}

/// Puts one stage of one set into `interval`, with its parts: the shard records each call of a consumer, and each order of
/// a provider, once, and here they come together.
fn gather(interval: &mut StageTotal, set: &StageSet, layout: &StageLayout, index: usize) {
    interval.reset();
    interval.add_cell(&set.cells()[index]);
    if let Some(&stage) = Stage::ALL.get(index) {
        for part in layout.parts_of(stage) {
            interval.add_cell(&set.cells()[part]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::ShardStages;

    fn identity(name: &str) -> ShardIdentity {
        ShardIdentity { name: name.to_owned(), core: Some(0), role: "provider".to_owned() }
    }

    fn collector() -> Collector {
        Collector::new(RunStart { at: SystemTime::UNIX_EPOCH, ns: 0 })
    }

    fn counts(collector: &Collector) -> Vec<(String, String, u64)> {
        let of = |(shard, stage, total): (&ShardIdentity, String, &StageTotal)| {
            (shard.name.clone(), stage, total.count())
        };
        collector.totals().map(of).collect()
    }

    #[test]
    fn intervals_add_up_as_if_there_were_one_histogram() {
        let (mut shard, end) = ShardStages::new(&StageLayout::default(), 10, 0);
        let mut collector = collector();
        collector.register(identity("p0"), end);
        let mut random = fastrand::Rng::with_seed(7);
        let mut oracle = StageSet::new(&StageLayout::default());
        for now_ns in 0..5_000 {
            let latency_ns = random.u64(..) >> random.u32(25..64);
            shard.record(Stage::Turn, latency_ns);
            oracle.record(Stage::Turn, latency_ns);
            shard.turn(now_ns);
            if now_ns % 97 == 0 {
                collector.collect();
            }
        }
        assert!(shard.exchanges_deferred() > 0, "the collector was slow in this test");
        shard.finish(5_000);
        while !collector.is_finished() {
            collector.collect();
        }
        let (_, stage, total) = collector.totals().next().expect("one stage was recorded");
        let oracle = &oracle.cells()[Stage::COUNT - 1];
        assert_eq!(stage, "turn");
        assert_eq!(total.count(), 5_000);
        assert_eq!(total.latency_ns_at(100.0), oracle.latency_ns_max());
        assert_eq!(total.summary("turn").over_count, oracle.over_count());
        let buckets = |value, count: u64| (value, count);
        let ours: Vec<_> = total
            .histogram()
            .iter_recorded()
            .map(|bucket| buckets(bucket.value_iterated_to(), bucket.count_at_value()))
            .collect();
        let expected: Vec<_> = oracle
            .histogram()
            .iter_recorded()
            .map(|bucket| buckets(bucket.value_iterated_to(), u64::from(bucket.count_at_value())))
            .collect();
        assert_eq!(ours, expected);
    }

    #[test]
    fn a_shard_on_its_own_thread_and_a_slow_collector_lose_nothing() {
        const RECORDS: u64 = 200_000;
        let (mut shard, end) = ShardStages::new(&StageLayout::new(["alpha"]), 50, 0);
        let mut collector = collector();
        collector.register(identity("p0"), end);
        let thread = std::thread::spawn(move || {
            for now_ns in 0..RECORDS {
                shard.record(Stage::ReceiveToDecoded, now_ns % 1_000);
                shard.record_own(0, 100);
                shard.turn(now_ns);
            }
            shard.finish(RECORDS);
        });
        while !collector.is_finished() {
            collector.collect();
            std::thread::sleep(Duration::from_millis(2));
        }
        thread.join().expect("the shard does not panic");
        let expected = ["receive_to_decoded", "handler", "handler:alpha"];
        assert_eq!(counts(&collector), expected.map(|stage| ("p0".to_owned(), stage.to_owned(), RECORDS)));
    }

    #[test]
    fn consumers_are_counted_by_name_and_together() {
        let (mut shard, end) = ShardStages::new(&StageLayout::new(["alpha", "beta"]), 10, 0);
        let mut collector = collector();
        collector.register(identity("c0"), end);
        shard.record_own(0, 100);
        shard.record_own(1, 300);
        shard.record_own(1, 300);
        shard.exchange(10);
        assert_eq!(collector.collect(), 1);
        let expected = [("handler", 3), ("handler:alpha", 1), ("handler:beta", 2)];
        let expected = expected.map(|(stage, count)| ("c0".to_owned(), stage.to_owned(), count));
        assert_eq!(counts(&collector), expected);
        assert!(!collector.is_finished());
    }

    #[test]
    fn the_live_view_is_the_last_interval_only() {
        let (mut shard, end) = ShardStages::new(&StageLayout::default(), 10, 0);
        let mut collector = collector();
        collector.register(identity("p0"), end);
        shard.record_n(Stage::Turn, 1_000_000, 5);
        shard.record(Stage::ReceiveToDecoded, 5);
        shard.exchange(10);
        shard.record_n(Stage::Turn, 100, 3);
        shard.exchange(30);
        collector.collect();
        let live: Vec<_> = collector.live().collect();
        assert_eq!(live.len(), 1);
        assert_eq!(live[0].interval_ns, 20);
        let expected = LiveStage {
            stage: "turn".to_owned(),
            count: 3,
            latency_ns_p50: 100,
            latency_ns_p99: 100,
            latency_ns_max: 100,
        };
        assert_eq!(live[0].stages, [expected]);
    }

    #[test]
    fn percentiles_stay_below_the_largest_seen() {
        let (mut shard, end) = ShardStages::new(&StageLayout::default(), 10, 0);
        let mut collector = collector();
        collector.register(identity("p0"), end);
        shard.record(Stage::Turn, 1_000_001);
        shard.exchange(10);
        collector.collect();
        let summary = &collector.shard_reports()[0].stages[0];
        assert_eq!(summary.latency_ns_max, 1_000_001);
        assert_eq!((summary.latency_ns_p50, summary.latency_ns_p99_99), (1_000_001, 1_000_001));
        assert_eq!(summary.latency_ns_min, 999_424, "the lower end of its bucket");
    }
}
