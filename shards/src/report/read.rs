//! A report directory read back: `report.json`, the intervals of `intervals.hlog`, the percentile files.
//!
//! What a directory holds is input from outside: a file that is cut or of another make is an error that names it, or, for what
//! a report can do without, a note.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::files::file_name_part;
use super::{REPORT_FORMAT, RunReport};

/// Bytes of the longest file that is read: the interval log ends at 256 MiB, and a line more.
const FILE_BYTES_MAX: u64 = 272 << 20;

/// One interval of one stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    /// `<shard>.<stage>`, as file names have it.
    pub tag: String,
    /// Begin, in milliseconds after the start.
    pub from_ms: u64,
    /// Length in milliseconds.
    pub length_ms: u64,
    /// Latencies.
    pub count: u64,
    /// Median, in nanoseconds.
    pub latency_ns_p50: u64,
    /// 99th percentile.
    pub latency_ns_p99: u64,
    /// The longest.
    pub latency_ns_max: u64,
}

/// What a run left.
#[derive(Clone, Debug)]
pub struct LeftBehind {
    /// Where it is.
    pub directory: PathBuf,
    /// The report.
    pub report: RunReport,
    /// The intervals, by time; empty without a log.
    pub intervals: Vec<Interval>,
    /// The picture of the percentiles, if it is there.
    pub percentiles_svg: Option<String>,
    /// What is missing or could not be read, in words.
    pub notes: Vec<String>,
}

/// Why a directory could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file could not be read.
    #[error(
        "cannot read {path}: {source}; a report directory is one that `meltica run` wrote, as report/2026-11-21T03-30-00Z"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `report.json` is not one.
    #[error("{path} is not a report: {reason}")]
    Report {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

impl LeftBehind {
    /// Reads a directory.
    ///
    /// # Errors
    ///
    /// [`ReadError`]: without `report.json` there is no report.
    pub fn read(directory: &Path) -> Result<Self, ReadError> {
        let path = directory.join("report.json");
        let text = read_text(&path).map_err(|source| ReadError::File { path: path.clone(), source })?;
        let report: RunReport = serde_json::from_str(&text)
            .map_err(|error| ReadError::Report { path: path.clone(), reason: error.to_string() })?;
        if report.format > REPORT_FORMAT {
            let reason = format!("its format is {}, this program reads up to {REPORT_FORMAT}", report.format);
            return Err(ReadError::Report { path, reason });
        }
        let mut notes = Vec::new();
        let log = directory.join("intervals.hlog");
        let intervals = match read_text(&log) {
            Ok(text) => intervals(&text, &mut notes),
            Err(error) => {
                notes.push(format!(
                    "without {}: {error}; nothing is known of single intervals",
                    log.display()
                ));
                Vec::new()
            }
        };
        if let Some(state) = report.interval_log.as_deref().filter(|state| *state != "complete") {
            notes.push(format!("the interval log is not whole: {state}"));
        }
        if report.incidents_dropped_total > 0 {
            notes.push(format!(
                "{} incidents before those shown were not kept",
                report.incidents_dropped_total
            ));
        }
        let percentiles_svg = read_text(&directory.join("percentiles.svg")).ok();
        Ok(Self { directory: directory.to_owned(), report, intervals, percentiles_svg, notes })
    }

    /// The intervals of one stage.
    pub fn of_tag<'a>(&'a self, tag: &'a str) -> impl Iterator<Item = &'a Interval> {
        self.intervals.iter().filter(move |interval| interval.tag == tag)
    }

    /// The points of a stage's percentile file: (log10 of 1/(1-p), nanoseconds), both rising; empty where there is no such file.
    pub fn percentile_points(&self, shard: &str, stage: &str) -> Vec<(f64, u64)> {
        let name = format!("{}.{}.hgrm", file_name_part(shard), file_name_part(stage));
        let Ok(text) = read_text(&self.directory.join(name)) else { return Vec::new() };
        let mut points = Vec::new();
        for line in text.lines().skip(2).filter(|line| !line.starts_with('#')) {
            let mut words = line.split_whitespace().map(str::parse::<f64>);
            let (Some(Ok(us)), Some(Ok(quantile)), Some(Ok(count))) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            // The last row is the maximum: one latency among `count`.
            let across = if quantile < 1.0 { -(1.0 - quantile).log10() } else { count.max(1.0).log10() };
            points.push((across, (us * 1e3) as u64));
        }
        points
    }
}

/// The tag of a stage in the log.
pub fn tag_of(shard: &str, stage: &str) -> String {
    format!("{}.{}", file_name_part(shard), file_name_part(stage))
}

fn read_text(path: &Path) -> io::Result<String> {
    let bytes = fs::metadata(path)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has {bytes} bytes, up to {FILE_BYTES_MAX} are read")));
    }
    fs::read_to_string(path)
}

fn intervals(text: &str, notes: &mut Vec<String>) -> Vec<Interval> {
    let mut found = Vec::new();
    let mut bad = 0_u64;
    let mut deserializer = Deserializer::new();
    // A run that was killed leaves half a line at the end: each line is read by itself.
    for line in text.lines().filter(|line| !line.starts_with(['#', '"'])) {
        let line = format!("{line}\n");
        let mut entries = IntervalLogIterator::new(line.as_bytes());
        let read = entries.next().and_then(Result::ok).and_then(|entry| {
            let LogEntry::Interval(interval) = entry else { return None };
            let bytes = STANDARD.decode(interval.encoded_histogram()).ok()?;
            let histogram: Histogram<u64> = deserializer.deserialize(&mut bytes.as_slice()).ok()?;
            Some(Interval {
                tag: interval.tag()?.as_str().to_owned(),
                from_ms: interval.start_timestamp().as_millis() as u64,
                length_ms: interval.duration().as_millis() as u64,
                count: histogram.len(),
                latency_ns_p50: histogram.value_at_quantile(0.5),
                latency_ns_p99: histogram.value_at_quantile(0.99),
                latency_ns_max: histogram.max(),
            })
        });
        match read {
            Some(interval) => found.push(interval),
            None => bad += 1,
        }
    }
    if bad > 0 {
        notes.push(format!("{bad} lines of the interval log could not be read"));
    }
    found.sort_by_key(|interval| interval.from_ms);
    found
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::interval_log::IntervalLog;
    use super::*;

    #[test]
    fn what_was_logged_is_read_back_and_a_cut_line_is_noted() {
        let mut written = Vec::new();
        let mut log = IntervalLog::new(&mut written, SystemTime::UNIX_EPOCH).unwrap();
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 2).unwrap();
        (1..=100).for_each(|value| histogram.record(value * 1_000).unwrap());
        for second in 0..3 {
            log.append(
                "md0",
                "handler:a b",
                Duration::from_secs(second),
                Duration::from_millis(999),
                &histogram,
            );
        }
        drop(log);
        let text = String::from_utf8(written).unwrap();
        let mut notes = Vec::new();
        let found = intervals(&text[..text.len() - 20], &mut notes);
        assert_eq!(found.len(), 2);
        assert_eq!(notes, ["1 lines of the interval log could not be read"]);
        let one = &found[1];
        assert_eq!(
            (one.tag.as_str(), one.from_ms, one.length_ms, one.count),
            ("md0.handler-a-b", 1_000, 999, 100)
        );
        assert!((49_000..51_000).contains(&one.latency_ns_p50), "{one:?}");
        assert_eq!(tag_of("md0", "handler:a b"), one.tag);
    }

    #[test]
    fn a_directory_without_a_report_is_an_error_that_names_the_file() {
        let error = LeftBehind::read(Path::new("/nonexistent")).unwrap_err();
        assert!(error.to_string().starts_with("cannot read /nonexistent/report.json: "), "{error}");
    }
}
