//! Findings as a table for people and as JSON for programs.

use std::fmt::Write as _;

use super::check::{Finding, Severity, exit_code};

/// Columns from which the fix has a column of its own; below, it is on the lines under its row.
const WIDE_COLUMNS: usize = 120;
/// Narrower than this no table can be read.
const COLUMNS_MIN: usize = 60;

impl Severity {
    /// The word of the table.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Note => "note",
            Severity::Unknown => "unknown",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// An aligned table of at most `columns` columns: Check, Required, Current, Severity, Fix.
pub fn table(findings: &[Finding], columns: usize) -> String {
    let columns = columns.max(COLUMNS_MIN);
    let wide = columns >= WIDE_COLUMNS;
    let widest = |head: &str, cell: fn(&Finding) -> usize| {
        findings.iter().map(cell).max().unwrap_or(0).max(head.len())
    };
    let check = widest("Check", |finding| finding.check.len());
    let severity = "Severity".len();
    // Two spaces between columns. What remains is shared out: in a wide table the fix gets the larger half.
    let gaps = if wide { 8 } else { 6 };
    let rest = columns.saturating_sub(check + severity + gaps);
    let half = if wide { rest / 4 } else { rest / 2 };
    let required = widest("Required", |finding| finding.required.chars().count()).min(half);
    let current = widest("Current", |finding| finding.current.chars().count()).min(half);
    let fix = if wide { rest - required - current } else { columns - 4 };

    let mut text = String::new();
    let mut row = |cells: [&str; 5]| {
        let [of_check, of_required, of_current, of_severity, of_fix] = cells;
        let (left, right) = (wrapped(of_required, required), wrapped(of_current, current));
        let last = if wide { wrapped(of_fix, fix) } else { Vec::new() };
        for index in 0..left.len().max(right.len()).max(last.len()).max(1) {
            let cell = |lines: &[String]| lines.get(index).cloned().unwrap_or_default();
            let (first, fourth) = if index == 0 { (of_check, of_severity) } else { ("", "") };
            let line = format!(
                "{first:check$}  {:required$}  {:current$}  {fourth:severity$}  {}",
                cell(&left),
                cell(&right),
                cell(&last)
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if !wide && !of_fix.is_empty() {
            for line in wrapped(of_fix, fix) {
                let _ = writeln!(text, "    {line}");
            }
        }
    };
    row(["Check", "Required", "Current", "Severity", if wide { "Fix" } else { "" }]);
    for finding in findings {
        let narrow_fix = format!("Fix: {}", finding.fix);
        let of_fix = if wide || finding.fix.is_empty() { finding.fix.as_str() } else { narrow_fix.as_str() };
        row([finding.check, &finding.required, &finding.current, finding.severity.name(), of_fix]);
    }
    let count = |severity: Severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let _ = writeln!(
        text,
        "{} errors, {} warnings, {} unknown, {} notes",
        count(Severity::Error),
        count(Severity::Warning),
        count(Severity::Unknown),
        count(Severity::Note)
    );
    text
}

/// The same as one JSON object: `{"exit_code": 0, "findings": [{"check": ..., "severity": "ok", ...}]}`.
pub fn json(findings: &[Finding]) -> String {
    let object = serde_json::json!({ "exit_code": exit_code(findings), "findings": findings });
    format!("{object:#}")
}

/// The text with lines of at most `columns` characters. What follows a break stands under the last column of its line, and the
/// trunk of a drawn tree goes on beside it.
pub fn narrowed(text: &str, columns: usize) -> String {
    let mut narrow = String::with_capacity(text.len() + text.len() / 8);
    for line in text.lines() {
        if line.chars().count() <= columns {
            let _ = writeln!(narrow, "{line}");
            continue;
        }
        // The last gap of two blanks in the left half: columns and branches end with one.
        let half = line.char_indices().nth(columns / 2).map_or(line.len(), |(at, _)| at);
        let begin = line[..half].rfind("  ").map_or(0, |at| at + 2);
        let under: String = line[..begin].chars().map(|c| if c == '|' { c } else { ' ' }).collect();
        for (index, part) in wrapped(&line[begin..], columns - begin).iter().enumerate() {
            let lead = if index == 0 { &line[..begin] } else { under.as_str() };
            let _ = writeln!(narrow, "{lead}{part}");
        }
    }
    narrow
}

/// Lines of at most `width` characters, broken between words; a longer word is cut.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        let used = line.chars().count();
        if used > 0 && used + 1 + word.len() <= width {
            line.push(' ');
        } else if used > 0 {
            lines.push(std::mem::take(&mut line));
        }
        while word.len() > width {
            lines.push(word.drain(..width).collect());
        }
        line.extend(word);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// `1 consumer`, `6 consumers`: of nouns whose plural ends in s.
pub fn numbered(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_goes_on_under_its_own_column() {
        let text = "core 0\n|-- md0\n|       binance: 50 instruments x 4 channels\n     1.5 MiB  ring of 8192 events held\n";
        assert_eq!(
            narrowed(text, 31),
            "core 0\n|-- md0\n|       binance: 50 instruments\n|       x 4 channels\n     1.5 MiB  ring of 8192\n              events held\n"
        );
        assert_eq!(narrowed(text, usize::MAX), text);
        assert_eq!(
            narrowed(&"x".repeat(25), 10),
            "xxxxxxxxxx\nxxxxxxxxxx\nxxxxx\n",
            "a word without gaps is cut"
        );
    }

    #[test]
    fn cells_break_between_words_and_never_exceed_their_width() {
        assert_eq!(wrapped("a bb ccc", 4), ["a bb", "ccc"]);
        assert_eq!(wrapped("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrapped("", 3), Vec::<String>::new());
    }
}
