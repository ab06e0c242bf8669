//! The report on disk: `report/<start time>/` with `report.json`, one `.hgrm` percentile file per shard and
//! stage, `intervals.hlog` and `percentiles.svg`.
//!
//! Each file appears whole or not at all. What goes wrong is a [`ReportError`] that names the path; a full
//! disk at exit must not hide how the run went, which the exit table has printed by then.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hdrhistogram::Histogram;

use super::interval_log::IntervalLog;
use super::picture::{Curve, Picture};
use super::total::StageTotal;
use super::{RunReport, ShardIdentity, utc};

/// Reports that may start in the same second beside each other.
const SAME_SECOND_MAX: u32 = 100;

/// What a value in nanoseconds is divided by in `.hgrm` files, whose values are microseconds.
const HGRM_SCALE_NS_PER_US: f64 = 1_000.0;

/// Lines per halving of the distance to 100 % in `.hgrm` files, which is HdrHistogram's own default.
const HGRM_TICKS_PER_HALF: u32 = 5;

/// Why a report was not written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The directory could not be made.
    #[error(
        "cannot create the report directory {path}: {source}; report.dir or --report-dir names another place"
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Every name for this second is taken.
    #[error("{path} and {SAME_SECOND_MAX} more names for this second are taken")]
    Taken {
        /// The first of them.
        path: PathBuf,
    },
    /// A file could not be written. Nothing of it is left.
    #[error("cannot write {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The directory of one run's report.
#[derive(Debug)]
pub struct ReportDirectory {
    path: PathBuf,
}

impl ReportDirectory {
    /// Makes `<parent>/<start time UTC>`, for example `report/2026-11-21T03-30-00Z`, or with `-2`, `-3` and so
    /// on where a run of the same second was first. Done at the start of a run, so that an unwritable place
    /// is known before the run and not after it.
    ///
    /// # Errors
    ///
    /// [`ReportError::Directory`], [`ReportError::Taken`].
    pub fn create(parent: &Path, started_at: SystemTime) -> Result<Self, ReportError> {
        fs::create_dir_all(parent)
            .map_err(|source| ReportError::Directory { path: parent.to_owned(), source })?;
        let name = utc::file_name(started_at);
        for attempt in 1..=SAME_SECOND_MAX {
            let path = parent.join(if attempt == 1 { name.clone() } else { format!("{name}-{attempt}") });
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(ReportError::Directory { path, source }),
            }
        }
        Err(ReportError::Taken { path: parent.join(name) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens `intervals.hlog`, for whoever collects the intervals.
    ///
    /// # Errors
    ///
    /// [`ReportError::File`].
    pub fn interval_log(
        &self,
        started_at: SystemTime,
    ) -> Result<IntervalLog<Box<dyn Write + Send>>, ReportError> {
        let path = self.path.join("intervals.hlog");
        let log = File::create(&path).and_then(|file| {
            let writer: Box<dyn Write + Send> = Box::new(BufWriter::new(file));
            let mut log = IntervalLog::new(writer, started_at)?;
            log.flush();
            Ok(log)
        });
        log.map_err(|source| ReportError::File { path, source })
    }

    /// Writes everything but the interval log, which is written as the run goes; `totals` are every shard's stages. Returns
    /// the files written.
    ///
    /// `report.json` comes first: if the disk fills up, it is what remains.
    ///
    /// # Errors
    ///
    /// [`ReportError::File`] of the first file that failed; those before it stay.
    pub fn write<'a>(
        &self,
        report: &RunReport,
        totals: impl Iterator<Item = (&'a ShardIdentity, String, &'a StageTotal)>,
    ) -> Result<Vec<PathBuf>, ReportError> {
        let mut files = Vec::new();
        let mut json = serde_json::to_string_pretty(report).map_err(|error| ReportError::File {
            path: self.path.join("report.json"),
            source: error.into(),
        })?;
        json.push('\n');
        files.push(self.write_file("report.json", &json)?);
        let mut names = HashSet::new();
        let mut curves = Vec::new();
        for (shard, stage, total) in totals {
            let name = format!("{}.{}", file_name_part(&shard.name), file_name_part(&stage));
            let name = unused(name, &mut names);
            files.push(self.write_file(&format!("{name}.hgrm"), &percentiles_us(total.histogram()))?);
            curves.push(Curve::new(&shard.name, &stage, total));
        }
        let picture = Picture::of_run(report, curves);
        files.push(self.write_file("percentiles.svg", &picture.to_svg())?);
        Ok(files)
    }

    fn write_file(&self, name: &str, text: &str) -> Result<PathBuf, ReportError> {
        let path = self.path.join(name);
        let partial = self.path.join(format!("{name}.partial"));
        let written = File::create(&partial)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&partial, &path));
        match written {
            Ok(()) => Ok(path),
            Err(source) => {
                let _ = fs::remove_file(&partial); // the error to tell is the first one
                Err(ReportError::File { path, source })
            }
        }
    }
}

/// A histogram of nanoseconds as HdrHistogram's `outputPercentileDistribution` prints it, with values in
/// microseconds: the format of its plotters.
///
/// Source: HdrHistogram 2.1.11, `AbstractHistogram.outputPercentileDistribution`. It prints as many decimals
/// as the histogram has digits; here it is always three, so that nanoseconds show.
pub fn percentiles_us(histogram: &Histogram<u64>) -> String {
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let us = |ns: u64| ns as f64 / HGRM_SCALE_NS_PER_US;
    for (percentile, value_ns, count) in percentile_steps(histogram) {
        let (value, quantile) = (us(value_ns), percentile / 100.0);
        let _ = if percentile < 100.0 {
            writeln!(text, "{value:12.3} {quantile:14.12} {count:10} {:14.2}", 1.0 / (1.0 - quantile))
        } else {
            writeln!(text, "{value:12.3} {quantile:14.12} {count:10}")
        };
    }
    let (mean, deviation) =
        (histogram.mean() / HGRM_SCALE_NS_PER_US, histogram.stdev() / HGRM_SCALE_NS_PER_US);
    // An array of n buckets has n + 1 halves of sub-buckets.
    let sub_bucket_count = 2 * histogram.distinct_values() / (usize::from(histogram.buckets()) + 1);
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ =
        writeln!(text, "#[Max     = {:12.3}, Total count    = {:12}]", us(histogram.max()), histogram.len());
    let _ = writeln!(text, "#[Buckets = {:12}, SubBuckets     = {sub_bucket_count:12}]", histogram.buckets());
    text
}

/// The rows of a percentile file: percentile, upper end of its bucket in nanoseconds, count up to there.
///
/// Steps as HdrHistogram's `PercentileIterator` does, in per cent: the crate's own iterator counts in
/// fractions, whose sums miss round percentiles by a last digit and then show the next bucket's value.
fn percentile_steps(histogram: &Histogram<u64>) -> Vec<(f64, u64, u64)> {
    let total_count = histogram.len();
    let mut rows = Vec::new();
    let (mut count, mut percentile) = (0, 0.0_f64);
    for bucket in histogram.iter_recorded() {
        let value_ns = bucket.value_iterated_to();
        count += bucket.count_at_value();
        while 100.0 * count as f64 / total_count as f64 >= percentile && percentile < 100.0 {
            rows.push((percentile, value_ns, count));
            let halvings = (100.0 / (100.0 - percentile)).log2().floor();
            percentile += 100.0 / (f64::from(HGRM_TICKS_PER_HALF) * (halvings + 1.0).exp2());
            if count == total_count {
                // The largest bucket has one row of its own, whatever comes between it and 100 %.
                break;
            }
        }
        if count == total_count {
            rows.push((100.0, value_ns, count));
            break;
        }
    }
    rows
}

/// A name as a part of a file name or tag: letters, digits, `_` and `-`; anything else becomes `-`.
pub(super) fn file_name_part(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '-' }).collect()
}

/// `name`, or with a number where another name became the same file name.
fn unused(name: String, taken: &mut HashSet<String>) -> String {
    let mut candidate = name.clone();
    let mut number = 1;
    while !taken.insert(candidate.clone()) {
        number += 1;
        candidate = format!("{name}-{number}");
    }
    candidate
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::super::tests::fixed_report;
    use super::*;
    use crate::collect::{Collector, RunStart};
    use crate::stages::{ShardStages, Stage, StageLayout};

    /// A directory under the build's temporary one, removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("meltica-report-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn start() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_231_807)
    }

    /// Two shards with a few thousand latencies, collected into `directory`'s log.
    fn collected(directory: &ReportDirectory) -> Collector {
        let mut collector = Collector::new(RunStart { at: start(), ns: 0 });
        collector.set_log(directory.interval_log(start()).unwrap());
        for (name, consumers) in [("p0", vec![]), ("c/0", vec!["a b", "a.b"])] {
            let consumer_count = consumers.len();
            let (mut shard, end) = ShardStages::new(&StageLayout::new(consumers), 1_000, 0);
            let identity =
                ShardIdentity { name: name.to_owned(), core: Some(0), role: "provider".to_owned() };
            collector.register(identity, end);
            for now_ns in 0..3_000 {
                shard.record(Stage::ReceiveToDecoded, 100 + now_ns);
                (0..consumer_count).for_each(|index| shard.record_own(index, 50));
                shard.turn(now_ns);
            }
            shard.finish(3_000);
        }
        while !collector.is_finished() {
            collector.collect();
        }
        collector
    }

    #[test]
    fn a_run_leaves_all_its_files() {
        let scratch = Scratch::new("all");
        let directory = ReportDirectory::create(&scratch.0.join("report"), start()).unwrap();
        assert_eq!(directory.path().file_name().unwrap(), "2026-11-21T03-30-07Z");
        let collector = collected(&directory);
        let mut report = fixed_report();
        collector.fill(&mut report);
        assert_eq!(report.interval_log.as_deref(), Some("complete"));
        let files = directory.write(&report, collector.totals()).unwrap();
        let mut found: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        let expected = [
            "c-0.handler-a-b-2.hgrm",
            "c-0.handler-a-b.hgrm",
            "c-0.handler.hgrm",
            "c-0.receive_to_decoded.hgrm",
            "intervals.hlog",
            "p0.receive_to_decoded.hgrm",
            "percentiles.svg",
            "report.json",
        ];
        assert_eq!(found, expected);
        assert_eq!(files.len(), expected.len() - 1, "the log was there before");
        let json = fs::read_to_string(directory.path().join("report.json")).unwrap();
        assert_eq!(serde_json::from_str::<RunReport>(&json).unwrap(), report);
        let log = fs::read(directory.path().join("intervals.hlog")).unwrap();
        let intervals = hdrhistogram::serialization::interval_log::IntervalLogIterator::new(&log)
            .map(|entry| entry.unwrap())
            .filter(|entry| {
                matches!(entry, hdrhistogram::serialization::interval_log::LogEntry::Interval(_))
            });
        assert_eq!(intervals.count(), 3 + 3 * 4, "three intervals of one and of four stages");
    }

    #[test]
    fn a_second_run_in_the_same_second_gets_its_own_directory() {
        let scratch = Scratch::new("same");
        let names = [(); 3].map(|()| ReportDirectory::create(&scratch.0, start()).unwrap().path);
        let names = names.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        assert_eq!(names, ["2026-11-21T03-30-07Z", "2026-11-21T03-30-07Z-2", "2026-11-21T03-30-07Z-3"]);
    }

    #[test]
    fn a_place_that_cannot_hold_a_directory_is_an_error_with_its_path() {
        let scratch = Scratch::new("nodir");
        let parent = scratch.0.join("file");
        fs::write(&parent, "").unwrap();
        let error = ReportDirectory::create(&parent, start()).unwrap_err();
        assert!(matches!(&error, ReportError::Directory { path, .. } if *path == parent), "{error}");
    }

    #[test]
    fn a_full_disk_is_an_error_and_leaves_no_half_file() {
        let scratch = Scratch::new("full");
        let directory = ReportDirectory::create(&scratch.0, start()).unwrap();
        let collector = collected(&directory);
        symlink("/dev/full", directory.path().join("report.json.partial")).unwrap();
        let error = directory.write(&fixed_report(), collector.totals()).unwrap_err();
        assert!(error.to_string().contains("report.json: No space left"), "{error}");
        assert!(!directory.path().join("report.json").exists());
        assert!(!directory.path().join("report.json.partial").exists());
    }

    #[test]
    fn a_directory_that_was_removed_is_an_error() {
        let scratch = Scratch::new("gone");
        let directory = ReportDirectory::create(&scratch.0, start()).unwrap();
        let collector = collected(&directory);
        fs::remove_dir_all(directory.path()).unwrap();
        assert!(matches!(
            directory.write(&fixed_report(), collector.totals()),
            Err(ReportError::File { .. })
        ));
        assert!(matches!(directory.interval_log(start()), Err(ReportError::File { .. })));
    }

    #[test]
    fn a_percentile_file_parses_back_to_the_histogram() {
        let mut random = fastrand::Rng::with_seed(11);
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 2).unwrap();
        for _ in 0..20_000 {
            histogram.record(random.u64(..) >> random.u32(30..64)).unwrap();
        }
        let text = percentiles_us(&histogram);
        assert!(text.starts_with("       Value     Percentile TotalCount 1/(1-Percentile)\n\n"), "{text}");
        let (rows, footer): (Vec<_>, Vec<_>) = text.lines().skip(2).partition(|line| !line.starts_with('#'));
        let mut last = (0.0, 0.0, 0);
        for row in &rows {
            let fields: Vec<f64> = row.split_whitespace().map(|field| field.parse().unwrap()).collect();
            let (value_us, quantile, count) = (fields[0], fields[1], fields[2] as u64);
            assert!(value_us >= last.0 && quantile >= last.1 && count >= last.2, "{row}");
            let value_ns = (value_us * 1_000.0).round() as u64;
            assert_eq!(histogram.count_between(0, value_ns), count, "{row}");
            assert_eq!(histogram.highest_equivalent(value_ns), value_ns, "{row}");
            assert!(count as f64 / 20_000.0 >= quantile - 1e-12, "{row}");
            match fields.get(3) {
                // Two decimals of the file against twelve of the quantile.
                Some(&inverse) => assert!((1.0 / (1.0 - quantile) / inverse - 1.0).abs() < 0.01, "{row}"),
                None => assert_eq!(quantile, 1.0),
            }
            last = (value_us, quantile, count);
        }
        assert_eq!(last.2, 20_000);
        assert!(rows.len() > 40, "{}", rows.len());
        assert_eq!(footer.len(), 3);
        assert!(footer[1].ends_with(", Total count    =        20000]"), "{}", footer[1]);
        assert_eq!(footer[2], "#[Buckets =           29, SubBuckets     =          256]");
    }

    #[test]
    fn the_percentile_file_of_fixed_data() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 2).unwrap();
        for value in [100, 100, 200, 1_000] {
            histogram.record(value).unwrap();
        }
        assert_eq!(percentiles_us(&histogram), HGRM);
    }

    /// Compared with what HdrHistogram 2.1.11 for Java prints for the same values, but for its two decimals.
    const HGRM: &str = "       Value     Percentile TotalCount 1/(1-Percentile)

       0.100 0.000000000000          2           1.00
       0.100 0.100000000000          2           1.11
       0.100 0.200000000000          2           1.25
       0.100 0.300000000000          2           1.43
       0.100 0.400000000000          2           1.67
       0.100 0.500000000000          2           2.00
       0.200 0.550000000000          3           2.22
       0.200 0.600000000000          3           2.50
       0.200 0.650000000000          3           2.86
       0.200 0.700000000000          3           3.33
       0.200 0.750000000000          3           4.00
       1.003 0.775000000000          4           4.44
       1.003 1.000000000000          4
#[Mean    =        0.350, StdDeviation   =        0.378]
#[Max     =        1.003, Total count    =            4]
#[Buckets =           29, SubBuckets     =          256]
";
}
