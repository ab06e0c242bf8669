//! Where the lines of a run go: standard error, with a status line that is rewritten in place on a terminal.

use std::io::{IsTerminal, Write};
use std::time::SystemTime;

use super::columns_of;
use crate::happened::Report;
use crate::log::{Format, Level, Line, Log, Source};
use crate::topology::{Topology, TopologyErrors};

/// Erases the status line.
const ERASE: &str = "\r\x1b[2K";

/// Standard error, and what of its lines was not shown.
#[derive(Debug)]
pub(super) struct Screen {
    log: Log,
    /// The status line is rewritten in place.
    rewrites: bool,
    /// The cursor stands behind a status line.
    behind_status: bool,
}

impl Screen {
    pub(super) fn new(format: Format) -> Self {
        let rewrites = format == Format::Text && std::io::stderr().is_terminal();
        Self { log: Log::new(format), rewrites, behind_status: false }
    }

    /// Why a topology was refused: for people as compilers print it.
    pub(super) fn problems(&mut self, errors: &TopologyErrors) {
        match self.log.format() {
            Format::Text => errln!("{errors}"),
            Format::Json => self.own(Level::Error, "topology", &errors.to_string()),
        }
    }

    /// A line of the gateway's own.
    pub(super) fn own(&mut self, level: Level, operation: &'static str, message: &str) {
        let line = self.log.always(&Line::own(level, operation, message), SystemTime::now());
        self.print(&line);
    }

    /// Lines that stand below each other, for people.
    pub(super) fn table(&mut self, head: &str, lines: &[String]) {
        self.print(head);
        for line in lines {
            self.print(&format!("  {line}"));
        }
    }

    /// A line of a shard, always shown.
    pub(super) fn named(
        &mut self,
        level: Level,
        name: &str,
        operation: &'static str,
        message: &str,
        code: Option<&str>,
    ) {
        let code = code.map(str::to_owned);
        let line = Line { level, source: Source::Named(name), operation, message, code };
        let line = self.log.always(&line, SystemTime::now());
        self.print(&line);
    }

    /// What a provider tells, if not too often.
    pub(super) fn happened(&mut self, topology: &Topology, report: &Report, now_ns: u64) {
        let message = report.happening.to_string();
        let line = Line {
            level: if report.is_warning() { Level::Warn } else { Level::Info },
            source: Source::Named(&topology.providers[usize::from(report.provider)].name),
            operation: report.happening.operation(),
            message: &message,
            code: report.happening.code(),
        };
        if let Some(line) = self.log.limited(&line, now_ns, SystemTime::now()) {
            self.print(&line);
        }
    }

    /// Says what was not shown, as [`Log::catch_up`].
    pub(super) fn catch_up(&mut self, all: bool, now_ns: u64) {
        for line in self.log.catch_up(all, now_ns, SystemTime::now()) {
            self.print(&line);
        }
    }

    /// The status line.
    pub(super) fn status(&mut self, line: &str) {
        if !self.rewrites {
            return self.own(Level::Info, "status", line);
        }
        let mut screen = std::io::stderr().lock();
        // A closed terminal is no reason to stop trading.
        let _ = write!(screen, "{ERASE}{}", cut(line, columns_of(&screen)));
        let _ = screen.flush();
        self.behind_status = true;
    }

    /// What follows stands below the last status line.
    pub(super) fn leave_status_line(&mut self) {
        if std::mem::take(&mut self.behind_status) {
            errln!("");
        }
    }

    fn print(&mut self, line: &str) {
        let erase = if std::mem::take(&mut self.behind_status) { ERASE } else { "" };
        // A file or the journal keeps one line one line.
        let columns = if self.rewrites { columns_of(&std::io::stderr()) } else { usize::MAX };
        errln!("{erase}{}", folded(line, columns));
    }
}

/// The beginning of a line that fits: one that wraps would not be erased by the next.
fn cut(line: &str, columns: usize) -> &str {
    line.char_indices().nth(columns.saturating_sub(1)).map_or(line, |(at, _)| &line[..at])
}

/// Text whose lines are broken between words where they are too long; what follows is indented. A word that is longer than a line
/// stays whole: it is a path, and somebody will copy it.
fn folded(text: &str, columns: usize) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, line) in text.lines().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let mut used = 0;
        for (index, word) in line.split(' ').enumerate() {
            let width = word.chars().count();
            if index > 0 && used + 1 + width > columns {
                out.push_str("\n    ");
                used = 4;
            } else if index > 0 {
                out.push(' ');
                used += 1;
            }
            out.push_str(word);
            used += width;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_what_fits_stays_as_it_is() {
        assert_eq!(folded("  one  two", 10), "  one  two");
        assert_eq!(folded("one two three four", 9), "one two\n    three\n    four");
        assert_eq!(folded("a /a/very/long/path b", 8), "a\n    /a/very/long/path\n    b");
        assert_eq!(folded("one two\nthree", usize::MAX), "one two\nthree");
    }

    #[test]
    fn a_status_line_leaves_the_last_column_free() {
        assert_eq!(cut("abc", 4), "abc");
        assert_eq!(cut("abcd", 4), "abc");
    }
}
