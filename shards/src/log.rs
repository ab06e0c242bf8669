//! Lines for the operator: one for people (`[binance] line 0 failed: reason (code)`), or one JSON object for machines.
//!
//! What a provider tells is limited by provider and operation, [`LINES_BURST`] at once and then one every [`LINE_EVERY_NS`]: a venue
//! that fails a thousand times a second must not fill a disk. What was not shown is counted, and said with the next line of its kind
//! or, when none comes, by [`Log::catch_up`]. Knows nothing of where lines go.
//!
//! The fields of a JSON line do not change their names: `time` (UTC, milliseconds), `level`, `source` (a provider, a shard, or
//! `meltica`), `operation`, `message`, and where they say something `code` and `suppressed`.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::json;

use crate::report::utc;

/// Lines of one provider and operation that are shown at once.
pub const LINES_BURST: u64 = 20;
/// After that, between two of them, in nanoseconds.
pub const LINE_EVERY_NS: u64 = 5_000_000_000;

/// Who reads the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// People.
    #[default]
    Text,
    /// Machines: one JSON object a line.
    Json,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Info,
    /// Not well; the gateway goes on.
    Warn,
    /// What was asked for did not happen, or the run does not end with code 0 for it.
    Error,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Whose line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// A provider's or a shard's, by name.
    Named(&'a str),
    /// The gateway's own.
    Meltica,
}

/// One line before it is written.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// How bad it is.
    pub level: Level,
    /// Whose it is.
    pub source: Source<'a>,
    /// What was being done, from a small set of words: `line`, `rest`, `book`, ...
    pub operation: &'static str,
    /// For people. It may have several lines, as a list of problems has.
    pub message: &'a str,
    /// The venue's number, or our word for what went wrong.
    pub code: Option<String>,
}

impl<'a> Line<'a> {
    /// A line of the gateway itself.
    pub const fn own(level: Level, operation: &'static str, message: &'a str) -> Self {
        Self { level, source: Source::Meltica, operation, message, code: None }
    }
}

/// What was shown of one provider's operation.
#[derive(Debug)]
struct Shown {
    /// Lines that may still be shown at once.
    left: u64,
    /// When `left` last grew.
    grew_ns: u64,
    /// Lines that were not shown since the last that was.
    suppressed: u64,
    level: Level,
}

/// Writes lines and limits them.
#[derive(Debug)]
pub struct Log {
    format: Format,
    shown: BTreeMap<(String, &'static str), Shown>,
}

impl Log {
    /// Nothing was shown yet.
    pub const fn new(format: Format) -> Self {
        Self { format, shown: BTreeMap::new() }
    }

    /// Who reads it.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// A line that is always shown, without a line break at its end.
    pub fn always(&self, line: &Line<'_>, at: SystemTime) -> String {
        self.text(line, 0, at)
    }

    /// A line that comes as often as something happens; `None` if there were too many of its source and operation.
    /// `now_ns` is monotonic.
    pub fn limited(&mut self, line: &Line<'_>, now_ns: u64, at: SystemTime) -> Option<String> {
        let Source::Named(name) = line.source else { return Some(self.always(line, at)) };
        let fresh = Shown { left: LINES_BURST, grew_ns: now_ns, suppressed: 0, level: line.level };
        let shown = self.shown.entry((name.to_owned(), line.operation)).or_insert(fresh);
        shown.grow(now_ns);
        shown.level = line.level;
        if shown.left == 0 {
            shown.suppressed += 1;
            return None;
        }
        shown.left -= 1;
        let suppressed = std::mem::take(&mut shown.suppressed);
        Some(self.text(line, suppressed, at))
    }

    /// A line for each provider and operation of which lines were not shown, once another might be again; with `all`, at the end,
    /// for each.
    pub fn catch_up(&mut self, all: bool, now_ns: u64, at: SystemTime) -> Vec<String> {
        let mut due = Vec::new();
        for ((name, operation), shown) in &mut self.shown {
            shown.grow(now_ns);
            if shown.suppressed > 0 && (all || shown.left > 0) {
                shown.left = shown.left.saturating_sub(1);
                due.push((name.clone(), *operation, std::mem::take(&mut shown.suppressed), shown.level));
            }
        }
        let lines = due.into_iter().map(|(name, operation, suppressed, level)| {
            let message = format!("{operation}: more of the same");
            let source = Source::Named(&name);
            self.text(&Line { level, source, operation, message: &message, code: None }, suppressed, at)
        });
        lines.collect()
    }

    fn text(&self, line: &Line<'_>, suppressed: u64, at: SystemTime) -> String {
        if self.format == Format::Json {
            return json_line(line, suppressed, at);
        }
        let more = match suppressed {
            0 => String::new(),
            1 => " [1 line like it was not shown]".to_owned(),
            count => format!(" [{count} lines like it were not shown]"),
        };
        let message = line.message;
        match (line.source, line.level) {
            (Source::Named(name), _) => format!("[{name}] {message}{more}"),
            (Source::Meltica, Level::Info) => format!("{message}{more}"),
            (Source::Meltica, Level::Warn | Level::Error) => format!("meltica: {message}{more}"),
        }
    }
}

impl Shown {
    fn grow(&mut self, now_ns: u64) {
        let grown = now_ns.saturating_sub(self.grew_ns) / LINE_EVERY_NS;
        self.left = (self.left + grown).min(LINES_BURST);
        self.grew_ns += grown * LINE_EVERY_NS;
    }
}

fn json_line(line: &Line<'_>, suppressed: u64, at: SystemTime) -> String {
    let source = match line.source {
        Source::Named(name) => name,
        Source::Meltica => "meltica",
    };
    let mut object = json!({
        "time": utc::text_ms(at),
        "level": line.level.name(),
        "source": source,
        "operation": line.operation,
        "message": line.message.trim(),
    });
    if let Some(code) = &line.code {
        object["code"] = json!(code);
    }
    if suppressed > 0 {
        object["suppressed"] = json!(suppressed);
    }
    object.to_string()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn at() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_795_231_800_007)
    }

    fn failed(name: &str) -> Line<'_> {
        Line {
            level: Level::Warn,
            source: Source::Named(name),
            operation: "rest",
            message: "GET /depth failed: \"no\"\nanswer",
            code: Some("HTTP 500".to_owned()),
        }
    }

    #[test]
    fn people_read_the_source_in_brackets_and_only_bad_news_of_the_gateway_with_its_name() {
        let log = Log::new(Format::Text);
        let check = |line: &Line<'_>, expected: &str| assert_eq!(log.always(line, at()), expected);
        check(
            &Line { message: "GET /depth failed: no", ..failed("binance") },
            "[binance] GET /depth failed: no",
        );
        check(&Line::own(Level::Info, "start", "six shards"), "six shards");
        check(&Line::own(Level::Error, "report", "the disk is full"), "meltica: the disk is full");
    }

    #[test]
    fn machines_read_one_object_a_line_whatever_the_message_holds() {
        let line = Log::new(Format::Json).always(&failed("binance"), at());
        assert!(!line.contains('\n'), "{line}");
        let object: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let expected = json!({
            "time": "2026-11-21T03:30:00.007Z", "level": "warn", "source": "binance", "operation": "rest",
            "message": "GET /depth failed: \"no\"\nanswer", "code": "HTTP 500",
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn a_storm_shows_its_beginning_then_a_line_a_period_and_counts_the_rest() {
        let mut log = Log::new(Format::Json);
        let mut shown = Vec::new();
        let (mut storm_lines, step_ns) = (0u64, 10_000_000);
        for now_ns in (0..=2 * LINE_EVERY_NS).step_by(step_ns) {
            storm_lines += 1;
            shown.extend(log.limited(&failed("binance"), now_ns, at()));
        }
        assert_eq!(shown.len() as u64, LINES_BURST + 2);
        // Another provider, and another operation, have their own share.
        assert!(log.limited(&failed("kraken"), 0, at()).is_some());
        assert!(log.limited(&Line { operation: "line", ..failed("binance") }, 0, at()).is_some());
        assert!(log.catch_up(false, 2 * LINE_EVERY_NS, at()).is_empty(), "none may be shown yet");
        let last = log.catch_up(true, 2 * LINE_EVERY_NS, at());
        assert_eq!(last.len(), 1);
        shown.extend(last);
        let suppressed = shown.iter().map(|line| {
            let object: serde_json::Value = serde_json::from_str(line).expect("JSON");
            object["suppressed"].as_u64().unwrap_or(0)
        });
        assert_eq!(suppressed.sum::<u64>() + LINES_BURST + 2, storm_lines, "each is shown or counted");
    }

    #[test]
    fn what_was_not_shown_is_said_when_the_storm_is_over() {
        let mut log = Log::new(Format::Text);
        for _ in 0..LINES_BURST + 3 {
            let _ = log.limited(&failed("binance"), 0, at());
        }
        let lines = log.catch_up(false, LINE_EVERY_NS, at());
        assert_eq!(lines, ["[binance] rest: more of the same [3 lines like it were not shown]"]);
        assert!(log.catch_up(true, 9 * LINE_EVERY_NS, at()).is_empty(), "said once");
    }
}
