//! The interval log: every interval of every stage, in HdrHistogram's own log format (V2, deflate), tagged
//! `<shard>.<stage>`, so that `HistogramLogProcessor`, `HistogramLogAnalyzer` and the like read it.
//!
//! Writing may fail and the disk may fill while the gateway trades: the log is then given up with a
//! reason, and nothing else is disturbed.

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError, Tag};

use super::files::file_name_part;

/// Bytes after which the log ends, so that a run of weeks does not fill the disk.
///
/// A line has about 900 bytes at two million latencies an interval (measured) and less with fewer, so this is
/// 2.7 hours of 30 busy stages at one second an interval. A longer run takes longer intervals.
pub const LOG_BYTES_MAX: u64 = 256 << 20;

/// How a log fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogState {
    /// Everything was written.
    Open,
    /// The size limit was reached; later intervals are missing.
    Full,
    /// Writing failed; later intervals are missing.
    Failed(String),
}

impl fmt::Display for LogState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("complete"),
            Self::Full => write!(f, "ended at its size limit of {} MiB", LOG_BYTES_MAX >> 20),
            Self::Failed(error) => write!(f, "given up: {error}"),
        }
    }
}

/// Appends intervals to `writer`.
pub struct IntervalLog<W: Write> {
    writer: CountingWriter<W>,
    serializer: V2DeflateSerializer,
    bytes_max: u64,
    state: LogState,
}

impl<W: Write> IntervalLog<W> {
    /// Writes the header. `started_at` is what the intervals' start times count from.
    ///
    /// # Errors
    ///
    /// What `writer` says.
    pub fn new(writer: W, started_at: SystemTime) -> io::Result<Self> {
        Self::with_bytes_max(writer, started_at, LOG_BYTES_MAX)
    }

    fn with_bytes_max(writer: W, started_at: SystemTime, bytes_max: u64) -> io::Result<Self> {
        let mut writer = CountingWriter { writer, bytes: 0 };
        let mut serializer = V2DeflateSerializer::new();
        // The version line is what the C and Java readers look for; the legend makes it a CSV.
        IntervalLogWriterBuilder::new()
            .add_comment("[Meltica interval log: latencies in nanoseconds, one tag per shard and stage]")
            .add_comment("[Histogram log format version 1.3]")
            .with_start_time(started_at)
            .with_base_time(started_at)
            .begin_log_with(&mut writer, &mut serializer)?;
        writeln!(
            writer,
            "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
        )?;
        Ok(Self { writer, serializer, bytes_max, state: LogState::Open })
    }

    /// Appends one interval: `start` after the log's start time, `duration` long.
    pub fn append(
        &mut self,
        shard: &str,
        stage: &str,
        start: Duration,
        duration: Duration,
        histogram: &Histogram<u64>,
    ) {
        if self.state != LogState::Open {
            return;
        }
        if self.writer.bytes >= self.bytes_max {
            self.state = LogState::Full;
            return;
        }
        // A tag must not hold a comma, a space or a line end: the readers split at them.
        let tag = format!("{}.{}", file_name_part(shard), file_name_part(stage));
        if let Err(error) = self.write(&tag, start, duration, histogram) {
            self.state = LogState::Failed(error);
        }
    }

    fn write(
        &mut self,
        tag: &str,
        start: Duration,
        duration: Duration,
        histogram: &Histogram<u64>,
    ) -> Result<(), String> {
        // A writer borrows its output, so one is built per line; without headers it writes nothing itself.
        let mut writer = IntervalLogWriterBuilder::new()
            .begin_log_with(&mut self.writer, &mut self.serializer)
            .map_err(|error| error.to_string())?;
        let tag = Tag::new(tag).ok_or_else(|| format!("`{tag}` cannot be a tag"))?;
        writer.write_histogram(histogram, start, duration, Some(tag)).map_err(|error| match error {
            IntervalLogWriterError::IoError(error) => error.to_string(),
            IntervalLogWriterError::SerializeError(error) => error.to_string(),
        })
    }

    /// Makes what was appended visible to readers of the file.
    pub fn flush(&mut self) {
        if self.state == LogState::Open
            && let Err(error) = self.writer.flush()
        {
            self.state = LogState::Failed(error.to_string());
        }
    }

    /// How the log fares.
    pub fn state(&self) -> &LogState {
        &self.state
    }
}

impl<W: Write> fmt::Debug for IntervalLog<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntervalLog")
            .field("bytes", &self.writer.bytes)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Counts what passes through.
struct CountingWriter<W: Write> {
    writer: W,
    bytes: u64,
}

impl<W: Write> Write for CountingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use base64_decode::decode;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    /// Standard base64, for reading back; the crate has no other need of it.
    mod base64_decode {
        pub fn decode(text: &str) -> Vec<u8> {
            const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let mut bytes = Vec::new();
            let (mut bits, mut bit_count) = (0_u32, 0);
            for symbol in text.bytes().filter(|&symbol| symbol != b'=') {
                let value = ALPHABET.iter().position(|&known| known == symbol).expect("base64");
                bits = bits << 6 | value as u32;
                bit_count += 6;
                if bit_count >= 8 {
                    bit_count -= 8;
                    bytes.push((bits >> bit_count) as u8);
                }
            }
            bytes
        }
    }

    fn histogram(values: &[u64]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 60_000_000_000, 2).unwrap();
        for &value in values {
            histogram.record(value).unwrap();
        }
        histogram
    }

    #[test]
    fn the_log_reads_back() {
        let started_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_318_200_250);
        let first = histogram(&[100, 2_000, 2_000, 59_000_000_000]);
        let second = histogram(&[7]);
        let mut bytes = Vec::new();
        let mut log = IntervalLog::new(&mut bytes, started_at).unwrap();
        let second_long = Duration::from_secs(1);
        log.append("p0", "turn", Duration::ZERO, second_long, &first);
        log.append("c 0", "handler:al,pha", Duration::from_millis(1_500), second_long, &second);
        log.flush();
        assert_eq!(*log.state(), LogState::Open);

        let entries: Vec<_> = IntervalLogIterator::new(&bytes).map(|entry| entry.unwrap()).collect();
        let start = Duration::from_millis(1_795_318_200_250);
        assert_eq!(entries[0], LogEntry::StartTime(start));
        assert_eq!(entries[1], LogEntry::BaseTime(start));
        assert_eq!(entries.len(), 4);
        let expected = [
            ("p0.turn", Duration::ZERO, first),
            ("c-0.handler-al-pha", Duration::from_millis(1_500), second),
        ];
        for (entry, (tag, start, histogram)) in entries[2..].iter().zip(expected) {
            let LogEntry::Interval(interval) = entry else { panic!("{entry:?} is no interval") };
            assert_eq!(interval.tag(), Tag::new(tag));
            assert_eq!(interval.start_timestamp(), start);
            assert_eq!(interval.duration(), second_long);
            assert_eq!(interval.max(), histogram.max() as f64);
            let encoded = decode(interval.encoded_histogram());
            let read: Histogram<u64> = Deserializer::new().deserialize(&mut encoded.as_slice()).unwrap();
            assert_eq!(read, histogram);
        }
    }

    #[test]
    fn a_full_disk_ends_the_log_and_nothing_else() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut log = IntervalLog::new(io::BufWriter::new(full), SystemTime::UNIX_EPOCH).unwrap();
        log.append("p0", "turn", Duration::ZERO, Duration::from_secs(1), &histogram(&[1]));
        log.flush();
        assert!(matches!(log.state(), LogState::Failed(reason) if reason.contains("No space left")));
        log.append("p0", "turn", Duration::ZERO, Duration::from_secs(1), &histogram(&[1]));
        assert!(log.state().to_string().starts_with("given up: No space left"));
    }

    #[test]
    fn the_size_limit_ends_the_log_at_a_whole_line() {
        let mut bytes = Vec::new();
        let mut log = IntervalLog::with_bytes_max(&mut bytes, SystemTime::UNIX_EPOCH, 600).unwrap();
        for second in 0..100 {
            let start = Duration::from_secs(second);
            log.append("p0", "turn", start, Duration::from_secs(1), &histogram(&[1, 2, 3]));
        }
        assert_eq!(*log.state(), LogState::Full);
        assert!(bytes.len() < 1_000, "{}", bytes.len());
        assert!(bytes.ends_with(b"\n"));
        assert!(IntervalLogIterator::new(&bytes).all(|entry| entry.is_ok()));
    }
}
