//! What a run leaves behind: the report, as plain data, and the ways to show it.
//!
//! [`RunReport`] is filled by whoever ran ([`crate::collect::Collector::fill`], the shards, the supervisor),
//! then printed ([`table`]) and written ([`files`]: `report.json`, percentile files, [`picture`]). Nothing
//! here knows how a shard works, and nothing here is on the data path.

pub mod compare;
pub mod files;
pub mod host;
pub mod html;
pub mod interval_log;
pub mod picture;
pub mod read;
pub mod sheet;
pub mod table;
pub mod timeline;
pub mod timeline_picture;
pub mod total;
pub mod utc;

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::machine::usage::ThreadUsage;

use host::HostFacts;
use timeline::{Outlier, Timeline};

/// Version of the shape of `report.json`; it grows when a field changes its meaning or goes.
pub const REPORT_FORMAT: u32 = 1;

/// Everything a run has to say when it ends; `report.json` is this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// [`REPORT_FORMAT`].
    pub format: u32,
    /// Version of the program.
    pub version: String,
    /// Commit that was built, if the build knew it (environment variable `MELTICA_COMMIT`).
    pub commit: Option<String>,
    /// The topology file that was run.
    pub topology: String,
    /// When the run started, wall time, `2026-11-21T03:30:00Z`.
    pub started_at: String,
    /// When the run stopped, wall time.
    pub stopped_at: String,
    /// How long it ran, in nanoseconds of the monotonic clock.
    pub run_ns: u64,
    /// The machine.
    pub host: HostFacts,
    /// Every shard with its stages and counters.
    pub shards: Vec<ShardReport>,
    /// By provider: how far our clock and the venue's may be apart, in nanoseconds. `venue_to_receive` is
    /// worth no more than this.
    pub venue_clock_error_ns: BTreeMap<String, u64>,
    /// How many books ended in which state.
    pub books_by_state: BTreeMap<String, u64>,
    /// The streams, as their owner describes them.
    pub streams: Value,
    /// The providers, as their owner describes them.
    pub providers: Value,
    /// The merge shards, as their owner describes them.
    pub mergers: Value,
    /// The consumers, as their owner describes them.
    pub consumers: Value,
    /// By consumer shard: its rings and the latency of each stream; and how long one event took to reach all shards.
    #[serde(default)]
    pub delivery: Value,
    /// What makes the figures worse than the program is, or explains them. Only what happened.
    pub disturbances: Vec<Disturbance>,
    /// How the interval log fared; absent without one.
    pub interval_log: Option<String>,
    /// The run over time.
    #[serde(default)]
    pub timeline: Timeline,
    /// What disturbed which shard, and when.
    #[serde(default)]
    pub incidents: Vec<Incident>,
    /// Incidents that came before these and were not kept.
    #[serde(default)]
    pub incidents_dropped_total: u64,
    /// The intervals with the longest latencies, the longest first.
    #[serde(default)]
    pub outliers: Vec<Outlier>,
}

impl RunReport {
    /// A report of a run that started and stopped then, on this host, with nothing filled in yet.
    pub fn new(topology: &str, started_at: SystemTime, stopped_at: SystemTime, run_ns: u64) -> Self {
        Self {
            format: REPORT_FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("MELTICA_COMMIT").map(str::to_owned),
            topology: topology.to_owned(),
            started_at: utc::text(started_at),
            stopped_at: utc::text(stopped_at),
            run_ns,
            host: HostFacts::read(),
            shards: Vec::new(),
            venue_clock_error_ns: BTreeMap::new(),
            books_by_state: BTreeMap::new(),
            streams: Value::Null,
            providers: Value::Null,
            mergers: Value::Null,
            consumers: Value::Null,
            delivery: Value::Null,
            disturbances: Vec::new(),
            interval_log: None,
            timeline: Timeline::default(),
            incidents: Vec::new(),
            incidents_dropped_total: 0,
            outliers: Vec::new(),
        }
    }

    /// The shard of that name.
    pub fn shard_mut(&mut self, name: &str) -> Option<&mut ShardReport> {
        self.shards.iter_mut().find(|shard| shard.name == name)
    }

    /// Adds a disturbance if it happened at all: a count of 0 is silent.
    pub fn disturb(&mut self, what: DisturbanceKind, shard: Option<&str>, count: u64, detail: &str) {
        if count > 0 {
            let shard = shard.map(str::to_owned);
            self.disturbances.push(Disturbance { what, shard, count, detail: detail.to_owned() });
        }
    }

    /// Puts what a shard's thread used into its place, and what of it disturbed the run into the list.
    ///
    /// `used` is the difference over the run ([`ThreadUsage::since`]). A voluntary switch disturbs a
    /// spinning shard, which should never sleep; a parked one sleeps by design, so `spins` decides.
    pub fn add_usage(&mut self, shard: &str, used: ThreadUsage, spins: bool) {
        use DisturbanceKind as Kind;
        let rows = [
            (Kind::InvoluntarySwitches, used.involuntary_switches, "another thread ran on the core"),
            (
                Kind::VoluntarySwitches,
                used.voluntary_switches.filter(|_| spins),
                "the thread slept though it should spin",
            ),
            (Kind::MajorFaults, used.major_faults, "memory came from disk"),
            (Kind::MinorFaults, used.minor_faults, "memory touched for the first time"),
            (Kind::Migrations, used.migrations, "the thread moved to another core"),
        ];
        for (what, count, detail) in rows {
            self.disturb(what, Some(shard), count.unwrap_or(0), detail);
        }
        if let Some(report) = self.shard_mut(shard) {
            report.usage = Some(used);
        }
    }
}

/// Who a shard is, for every table and file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardIdentity {
    /// Its name in the topology, unique in the run.
    pub name: String,
    /// The core it is pinned to; absent where the host is shared and it is not pinned.
    pub core: Option<u32>,
    /// What it does, in the topology's words: `provider`, `merger+consumer`.
    pub role: String,
}

/// One shard of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardReport {
    /// Its name in the topology.
    pub name: String,
    /// The core it was pinned to.
    pub core: Option<u32>,
    /// What it did.
    pub role: String,
    /// Its stages that have data, in the order of the path, then its consumers.
    pub stages: Vec<StageSummary>,
    /// Its counters, by name.
    pub counters: BTreeMap<String, u64>,
    /// What its thread used over the run.
    pub usage: Option<ThreadUsage>,
}

impl ShardReport {
    /// A shard with its stages; counters and usage come from elsewhere.
    pub fn new(identity: ShardIdentity, stages: Vec<StageSummary>) -> Self {
        let ShardIdentity { name, core, role } = identity;
        Self { name, core, role, stages, counters: BTreeMap::new(), usage: None }
    }
}

/// The figures of one stage on one shard. All are off by less than 1 %, but the maximum and
/// the counts, which are exact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageSummary {
    /// Name of the stage, or `handler:<consumer>`.
    pub stage: String,
    /// Unit of all latencies: `ns`.
    pub unit: String,
    /// How many latencies were recorded.
    pub count: u64,
    /// The smallest.
    pub latency_ns_min: u64,
    /// Median.
    pub latency_ns_p50: u64,
    /// 90th percentile.
    pub latency_ns_p90: u64,
    /// 99th percentile.
    pub latency_ns_p99: u64,
    /// 99.9th percentile.
    pub latency_ns_p99_9: u64,
    /// 99.99th percentile.
    pub latency_ns_p99_99: u64,
    /// The largest.
    pub latency_ns_max: u64,
    /// Arithmetic mean, to a hundredth.
    pub latency_ns_mean: f64,
    /// How many were longer than the histogram's 60 s.
    pub over_count: u64,
}

/// Declares [`DisturbanceKind`] from one list: variant, name, doc.
macro_rules! disturbances {
    ($( $(#[doc = $doc:literal])+ $variant:ident = $name:literal, )+) => {
        /// What can disturb a run.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum DisturbanceKind {
            $( $(#[doc = $doc])+ #[serde(rename = $name)] $variant, )+
        }

        impl DisturbanceKind {
            /// Every kind.
            pub const ALL: &'static [DisturbanceKind] = &[$( DisturbanceKind::$variant, )+];

            /// The name in the report: `involuntary_switches`.
            pub const fn name(self) -> &'static str {
                match self { $( DisturbanceKind::$variant => $name, )+ }
            }
        }
    };
}

disturbances! {
    /// The scheduler took the core away.
    InvoluntarySwitches = "involuntary_switches",
    /// A spinning shard slept or blocked.
    VoluntarySwitches = "voluntary_switches",
    /// Page faults that waited for a disk.
    MajorFaults = "major_faults",
    /// Page faults served from memory.
    MinorFaults = "minor_faults",
    /// Moves of a thread to another core.
    Migrations = "migrations",
    /// A ring had no room.
    RingFull = "ring_full",
    /// A pool had no slot.
    PoolEmpty = "pool_empty",
    /// A connection to a venue was lost and made again, beyond the planned rolls.
    Reconnects = "reconnects",
    /// Numbers missing in a stream.
    Gaps = "gaps",
    /// Books discarded and built again.
    Resyncs = "resyncs",
    /// Turns of a shard's loop above the limit of 1 ms.
    LongTurns = "long_turns",
    /// A shard that did not turn for longer than the watchdog allows.
    Stalls = "stalls",
    /// A thread that was pinned to its core and may run elsewhere since.
    LostPinning = "lost_pinning",
    /// Intervals prolonged because the collector was late.
    LateCollector = "late_collector",
    /// Latencies that a bucket at its limit of 4 billion did not count.
    HistogramSaturated = "histogram_saturated",
}

/// Something that happened to the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disturbance {
    /// What.
    pub what: DisturbanceKind,
    /// Where, if it was one shard.
    pub shard: Option<String>,
    /// How often; never 0.
    pub count: u64,
    /// What it means, or which stream, pool or ring it was.
    pub detail: String,
}

/// Something that disturbed one shard, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Not before this, in milliseconds after the start.
    pub from_ms: u64,
    /// Not after this.
    pub to_ms: u64,
    /// Which shard.
    pub shard: String,
    /// What.
    pub what: DisturbanceKind,
    /// How often; never 0.
    pub count: u64,
    /// More of it, in words; may be empty.
    pub detail: String,
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;

    /// A report with fixed figures, of the shape that a real run has.
    pub(crate) fn fixed_report() -> RunReport {
        let started_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_231_807);
        let run = Duration::from_millis(83_450);
        let mut report = RunReport::new("topology.yaml", started_at, started_at + run, run.as_nanos() as u64);
        report.version = "0.1.0".to_owned();
        report.commit = Some("9e57cbc".to_owned());
        report.host = HostFacts {
            kernel: Some("6.18.2".to_owned()),
            cpu_model: Some("Intel(R) Xeon(R) Processor".to_owned()),
            cpus_online: Some(2),
            clock_source: Some("tsc".to_owned()),
            virtual_machine: Some(true),
        };
        let stage = |stage: &str, count, [p50, p90, p99, p99_9, p99_99, max]: [u64; 6]| StageSummary {
            stage: stage.to_owned(),
            unit: "ns".to_owned(),
            count,
            latency_ns_min: 61,
            latency_ns_p50: p50,
            latency_ns_p90: p90,
            latency_ns_p99: p99,
            latency_ns_p99_9: p99_9,
            latency_ns_p99_99: p99_99,
            latency_ns_max: max,
            latency_ns_mean: p50 as f64 + 8.25,
            over_count: 0,
        };
        let provider =
            ShardIdentity { name: "binance".to_owned(), core: Some(0), role: "provider".to_owned() };
        let consumer = ShardIdentity {
            name: "strategies-of-the-first-desk".to_owned(),
            core: None,
            role: "consumer".to_owned(),
        };
        report.shards = vec![
            ShardReport::new(
                provider,
                vec![
                    stage("receive_to_decoded", 4_172_500, [97, 121, 405, 1_230, 9_950, 412_345]),
                    stage("receive_to_enqueued", 4_172_498, [181, 240, 790, 3_600, 45_600, 3_912_000]),
                    stage("turn", 812, [2_410, 5_100, 9_990, 99_950, 999_500, 12_345_678]),
                ],
            ),
            ShardReport::new(
                consumer,
                vec![
                    stage(
                        "receive_to_delivered",
                        12_500_000_000,
                        [412, 655, 1_480, 8_120, 61_000, 3_940_000],
                    ),
                    stage("handler:market-maker-eth", 9, [0, 1, 999, 1_000, 1_000_000_000, 61_500_000_000]),
                ],
            ),
        ];
        report.shards[0].counters.insert("frames_total".to_owned(), 4_172_500);
        report.venue_clock_error_ns.insert("binance".to_owned(), 1_200_000);
        report.books_by_state.insert("proved".to_owned(), 50);
        report.streams = serde_json::json!([{"symbol": "BTC-USDT", "count": 12}]);
        report.disturb(DisturbanceKind::Gaps, Some("binance"), 0, "never happened");
        let used = ThreadUsage {
            voluntary_switches: Some(3),
            involuntary_switches: Some(41),
            minor_faults: Some(0),
            ..ThreadUsage::default()
        };
        report.add_usage("binance", used, false);
        report.disturb(DisturbanceKind::Reconnects, None, 1, "kraken line 2: close code 1006");
        report
    }

    #[test]
    fn the_report_survives_json() {
        let report = fixed_report();
        let text = serde_json::to_string_pretty(&report).unwrap();
        assert!(text.contains("\"what\": \"involuntary_switches\""), "{text}");
        assert_eq!(serde_json::from_str::<RunReport>(&text).unwrap(), report);
    }

    #[test]
    fn only_what_happened_is_a_disturbance() {
        let report = fixed_report();
        let found: Vec<_> = report.disturbances.iter().map(|one| (one.what, one.count)).collect();
        let expected = [(DisturbanceKind::InvoluntarySwitches, 41), (DisturbanceKind::Reconnects, 1)];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_spinning_shard_that_slept_was_disturbed() {
        let mut report = fixed_report();
        report.disturbances.clear();
        let used = ThreadUsage { voluntary_switches: Some(3), ..ThreadUsage::default() };
        report.add_usage("binance", used, true);
        assert_eq!(report.disturbances[0].what, DisturbanceKind::VoluntarySwitches);
        assert_eq!(report.shards[0].usage, Some(used));
    }

    #[test]
    fn the_kinds_are_called_the_same_in_json_and_in_the_table() {
        for &kind in DisturbanceKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
