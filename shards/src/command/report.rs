//! `meltica report`: what a run left, as tables, one page and pictures; two runs beside each other.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::{EXIT_FAILED, EXIT_OK, EXIT_REFUSED, columns};
use crate::report::compare::{CHANGE_MIN, Change, INTERVALS_MIN, Outcome, WARM_UP_MS, compare, counted};
use crate::report::html::{comparison_page, page};
use crate::report::read::LeftBehind;
use crate::report::table::{TableStyle, exit_text, fitted, grouped, latency, wrapped};
use crate::report::timeline_picture::timeline_svg;

/// What a run left behind as tables and one page; with a second directory, what got better or worse.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A report directory, as report/2026-11-21T03-30-00Z.
    directory: PathBuf,
    /// Another one, of a later run, to compare with it.
    second: Option<PathBuf>,
    /// Where the page goes [default: report.html in DIRECTORY, comparison.html in SECOND].
    #[arg(long)]
    out: Option<PathBuf>,
    /// The report, or the comparison, as JSON on standard output; no page is written unless --out says where.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// Runs it.
    pub fn run(self) -> u8 {
        let read = |directory: &Path| {
            LeftBehind::read(directory).map_err(|error| {
                errln!("meltica: {error}");
                EXIT_REFUSED
            })
        };
        let first = match read(&self.directory) {
            Ok(first) => first,
            Err(code) => return code,
        };
        let second = match self.second.as_deref().map(read).transpose() {
            Ok(second) => second,
            Err(code) => return code,
        };
        match &second {
            None => self.one(&first),
            Some(second) => self.two(&first, second),
        }
    }

    fn one(&self, run: &LeftBehind) -> u8 {
        if self.json {
            return Self::print(&run.report).max(self.page(None, || page(run)));
        }
        out!("{}", exit_text(&run.report, TableStyle { columns: columns(), colour: false }));
        for note in &run.notes {
            outln!("Note: {note}.");
        }
        let picture = write(&run.directory.join("timeline.svg"), &timeline_svg(&run.report));
        self.page(Some(run.directory.join("report.html")), || page(run)).max(picture)
    }

    fn two(&self, first: &LeftBehind, second: &LeftBehind) -> u8 {
        let changes = compare(first, second);
        let rule = rule();
        let html = || comparison_page(first, second, &changes, &rule);
        if self.json {
            return Self::print(&changes).max(self.page(None, html));
        }
        out!("{}", shown(&changes, columns()));
        outln!("\n{}", wrapped(&rule, columns()).join("\n"));
        for (name, run) in [("first", first), ("second", second)] {
            for note in &run.notes {
                outln!("Note on the {name}: {note}.");
            }
        }
        self.page(Some(second.directory.join("comparison.html")), html)
    }

    fn print(value: &impl serde::Serialize) -> u8 {
        match serde_json::to_string_pretty(value) {
            Ok(text) => {
                outln!("{text}");
                EXIT_OK
            }
            Err(error) => {
                errln!("meltica: it cannot be printed: {error}");
                EXIT_FAILED
            }
        }
    }

    fn page(&self, usual: Option<PathBuf>, html: impl FnOnce() -> String) -> u8 {
        let Some(path) = self.out.clone().or(usual) else { return EXIT_OK };
        write(&path, &html())
    }
}

fn write(path: &Path, text: &str) -> u8 {
    match fs::write(path, text) {
        Ok(()) => {
            errln!("wrote {}", path.display());
            EXIT_OK
        }
        Err(error) => {
            errln!("meltica: cannot write {}: {error}; --out names another place", path.display());
            EXIT_FAILED
        }
    }
}

fn rule() -> String {
    format!(
        "A latency changed if the medians of the two runs' intervals are further apart than half of each run's distance \
         between its quartiles, added up, and than {:.0} %; the first {} s and figures with fewer than {INTERVALS_MIN} intervals do \
         not count. A counter changed if it differs by more than twice what a count of its size does by chance.",
        CHANGE_MIN * 100.0,
        WARM_UP_MS / 1_000
    )
}

/// Columns of a comparison whose cells stand apart; in fewer they stand close.
const APART_COLUMNS: usize = 100;

/// The changes as a table: what is worse first, what is the same only as a count.
fn shown(changes: &[Change], columns: usize) -> String {
    let mut text = String::new();
    let rows: Vec<&Change> =
        changes.iter().filter(|change| matches!(change.outcome, Outcome::Worse | Outcome::Better)).collect();
    let wide = |of: fn(&Change) -> &str, least: usize| {
        rows.iter().map(|change| of(change).chars().count()).max().unwrap_or(0).max(least)
    };
    let (of, mut what) = (wide(|change| &change.of, 2), wide(|change| &change.what, 4));
    let (gap, value) = if columns < APART_COLUMNS { (" ", 7) } else { ("  ", 9) };
    // The outcome, two values, the change, and five gaps.
    let others = 6 + of + 2 * value + value.max(8) + 5 * gap.len();
    what = what.min(columns.saturating_sub(others).max(20));
    let mut row = |cells: [&str; 6]| {
        let [outcome, whose, which, first, second, change] = cells;
        let which = fitted(which, what);
        let line = [
            format!("{outcome:6}"),
            format!("{whose:of$}"),
            format!("{which:what$}"),
            format!("{first:>value$}"),
            format!("{second:>value$}"),
            format!("{change:>0$}", value.max(8)),
        ];
        let _ = writeln!(text, "{}", line.join(gap));
    };
    if !rows.is_empty() {
        row(["", "of", "what", "first", "second", "change"]);
    }
    for change in &rows {
        let value = |value: f64| {
            if change.is_latency { latency(value as u64) } else { grouped(value.round() as u64) }
        };
        let relative = change.relative().map_or("new".to_owned(), |part| match part {
            // From here on percent are read worse than times.
            9.0.. => format!("x{:.1}", 1.0 + part),
            _ => format!("{:+.1}%", part * 100.0),
        });
        let (first, second) = (value(change.first), value(change.second));
        row([change.outcome.name(), &change.of, &change.what, &first, &second, &relative]);
    }
    text.push_str(&counted(changes));
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_fits_80_columns_and_says_how_many_times_where_it_is_many() {
        let change = |what: &str, first, second| Change {
            of: "strategies".to_owned(),
            what: what.to_owned(),
            is_latency: true,
            first,
            second,
            noise: 0.0,
            outcome: Outcome::Worse,
        };
        let changes = [
            change("submit_to_written:coinbase-es256 p50", 24_400.0, 299_000.0),
            change("written_to_ack:a-provider-with-a-long-name-es256 p99", 100_000.0, 150_000.0),
            change("turn p50", 0.0, 1.0),
        ];
        let expected = "\
       of         what                                    first  second   change
worse  strategies submit_to_written:coinbase-es256 p50   24.4us   299us    x12.3
worse  strategies written_to_ack:a-provider-with-a-lon~   100us   150us   +50.0%
worse  strategies turn p50                                  0ns     1ns      new
";
        let text = shown(&changes, 80);
        // A literal that begins with `\` has no blanks before its first word.
        assert!(text.trim_start().starts_with(expected), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(shown(&changes, 140).contains("with-a-long-name-es256 p99"), "there is room");
    }
}
