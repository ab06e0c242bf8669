//! The report as text: what `meltica run` prints on exit.
//!
//! Plain ASCII in fixed columns, for 80 columns or, from [`WIDE_COLUMNS`] on, with full names and counts.
//! Colour only where the caller says that a terminal reads it.

use std::fmt::Write;
use std::time::Duration;

use super::timeline::beside_by_shard;
use super::{RunReport, ShardReport, StageSummary};

/// From this width on the table has its wide form.
pub const WIDE_COLUMNS: usize = 132;

/// How the text is laid out.
#[derive(Clone, Copy, Debug)]
pub struct TableStyle {
    /// Columns of the terminal; below 80 the table is as for 80.
    pub columns: usize,
    /// Whether to use ANSI colours.
    pub colour: bool,
}

/// The whole exit text: the run, the table, and what disturbed it.
pub fn exit_text(report: &RunReport, style: TableStyle) -> String {
    let mut text = String::new();
    let commit = report.commit.as_ref().map(|commit| format!(" ({commit})")).unwrap_or_default();
    line(&mut text, &format!("Meltica {}{commit}, {}", report.version, report.topology));
    let run = Duration::from_nanos(report.run_ns);
    line(&mut text, &format!("{} to {}, {}", report.started_at, report.stopped_at, duration(run)));
    line(&mut text, &report.host.line());
    text.push('\n');
    text.push_str(&stage_table(&report.shards, style));
    text.push('\n');
    notes(&mut text, report);
    disturbances(&mut text, report, style);
    outliers(&mut text, report, style);
    text
}

/// The table alone: one row per shard and stage.
pub fn stage_table(shards: &[ShardReport], style: TableStyle) -> String {
    let columns = Columns::for_width(style.columns);
    let mut text = String::new();
    let heads = ["p50", "p90", "p99", "p99.9", "p99.99", "max"].map(str::to_owned);
    let head = columns.row("shard", "stage", "count", &heads);
    line(&mut text, &paint(&head, BOLD, style.colour));
    line(&mut text, &paint(&"-".repeat(columns.width()), DIM, style.colour));
    for shard in shards {
        for (index, (stage, shown)) in in_families(&shard.stages).into_iter().enumerate() {
            // Once per shard: the eye finds the groups. A name that is too long stands above its group, whole.
            let mut name = if index == 0 { shard.name.as_str() } else { "" };
            if name.chars().count() > columns.shard {
                line(&mut text, &fitted(name, columns.width()));
                name = "";
            }
            line(&mut text, &columns.stage_row(name, stage, shown));
        }
    }
    if shards.iter().all(|shard| shard.stages.is_empty()) {
        line(&mut text, "(no latencies were recorded)");
    }
    text
}

/// The stages in their order, those of one owner (`handler:maker`) below the stage of all, where there is one, and then by the
/// owner alone: `  maker`.
pub(super) fn in_families(stages: &[StageSummary]) -> Vec<(&StageSummary, String)> {
    let whole = |name: &str| stages.iter().any(|stage| stage.stage == name);
    let family = |stage: &StageSummary| {
        stage.stage.split_once(':').map(|(of, owner)| (of.to_owned(), owner.to_owned()))
    };
    let mut rows = Vec::with_capacity(stages.len());
    for stage in stages {
        match family(stage) {
            Some((of, _)) if whole(&of) => {}
            _ => rows.push((stage, stage.stage.clone())),
        }
        let own = stages.iter().filter_map(|member| Some((member, family(member)?)));
        rows.extend(
            own.filter(|(_, (of, _))| *of == stage.stage)
                .map(|(member, (_, owner))| (member, format!("  {owner}"))),
        );
    }
    rows
}

/// A latency with three digits and its unit: `97ns`, `1.23us`, `45.6us`, `412us`, `61.5s`.
pub fn latency(latency_ns: u64) -> String {
    let (digits, unit) = latency_parts(latency_ns);
    format!("{digits}{unit}")
}

/// Widths of the columns.
struct Columns {
    shard: usize,
    stage: usize,
    count: usize,
    latency: usize,
    wide: bool,
}

impl Columns {
    fn for_width(columns: usize) -> Self {
        if columns >= WIDE_COLUMNS {
            Self { shard: 24, stage: 30, count: 17, latency: 9, wide: true }
        } else {
            Self { shard: 10, stage: 20, count: 6, latency: 6, wide: false }
        }
    }

    fn width(&self) -> usize {
        self.shard + 1 + self.stage + 1 + self.count + 6 * (1 + self.latency)
    }

    fn stage_row(&self, shard: &str, stage: &StageSummary, shown: String) -> String {
        let latencies = [
            stage.latency_ns_p50,
            stage.latency_ns_p90,
            stage.latency_ns_p99,
            stage.latency_ns_p99_9,
            stage.latency_ns_p99_99,
            stage.latency_ns_max,
        ];
        let latencies = latencies.map(|latency_ns| {
            let (digits, unit) = latency_parts(latency_ns);
            // Units below each other: `s` under the `s` of `us`.
            if self.wide { format!("{digits} {unit:>2}") } else { format!("{digits}{unit}") }
        });
        let count = if self.wide { grouped(stage.count) } else { short_count(stage.count) };
        self.row(shard, &shown, &count, &latencies)
    }

    fn row(&self, shard: &str, stage: &str, count: &str, latencies: &[String; 6]) -> String {
        let mut row = format!(
            "{:<shard_width$} {:<stage_width$} {count:>count_width$}",
            fitted(shard, self.shard),
            fitted(stage, self.stage),
            shard_width = self.shard,
            stage_width = self.stage,
            count_width = self.count,
        );
        for latency in latencies {
            let _ = write!(row, " {latency:>width$}", width = self.latency);
        }
        row
    }
}

fn notes(text: &mut String, report: &RunReport) {
    if !report.books_by_state.is_empty() {
        let states: Vec<_> =
            report.books_by_state.iter().map(|(state, count)| format!("{count} {state}")).collect();
        line(text, &format!("Books: {}.", states.join(", ")));
    }
    if !report.venue_clock_error_ns.is_empty() {
        let errors = report.venue_clock_error_ns.iter();
        let errors: Vec<_> = errors.map(|(name, &ns)| format!("{name} {}", latency(ns))).collect();
        line(
            text,
            &format!("venue_to_receive compares two clocks, which may differ by {}.", errors.join(", ")),
        );
    }
    let over_count: u64 =
        report.shards.iter().flat_map(|shard| &shard.stages).map(|one| one.over_count).sum();
    if over_count > 0 {
        line(text, &format!("{over_count} latencies were over 60 s and count as 60 s below max."));
    }
}

fn disturbances(text: &mut String, report: &RunReport, style: TableStyle) {
    if report.disturbances.is_empty() {
        line(text, "Nothing disturbed the run.");
        return;
    }
    line(text, &paint("Disturbed by:", BOLD, style.colour));
    for one in &report.disturbances {
        let shard = one.shard.as_deref().map(|shard| format!("{shard}: ")).unwrap_or_default();
        let lead = format!("  {:<20} {:>10}  ", one.what.name(), grouped(one.count));
        let detail = format!("{shard}{}", one.detail);
        for (index, part) in wrapped(&detail, style.columns.max(80) - lead.len()).iter().enumerate() {
            if index == 0 {
                line(text, &format!("{}{part}", paint(&lead, YELLOW, style.colour)));
            } else {
                line(text, &format!("{}{part}", " ".repeat(lead.len())));
            }
        }
    }
}

/// Outliers that the text shows.
const OUTLIERS_SHOWN: usize = 3;
/// What the text shows beside each; report.json has all.
const BESIDE_SHOWN: usize = 4;

/// The intervals in which events were latest, and what happened to the shards meanwhile.
fn outliers(text: &mut String, report: &RunReport, style: TableStyle) {
    let delivered = crate::stages::Stage::ReceiveToDelivered.name();
    let latest: Vec<_> =
        report.outliers.iter().filter(|one| one.stage == delivered).take(OUTLIERS_SHOWN).collect();
    if latest.is_empty() {
        return;
    }
    line(text, &paint("Longest deliveries:", BOLD, style.colour));
    for one in latest {
        let lead = format!("  at {:>7.1} s  {:>7}  ", one.from_ms as f64 / 1e3, latency(one.latency_ns_max));
        let mut beside = beside_by_shard(&one.beside[..one.beside.len().min(BESIDE_SHOWN)]).join("; ");
        if one.beside.is_empty() {
            beside = format!("{}: nothing was seen beside it", one.shard);
        } else if one.beside.len() > BESIDE_SHOWN {
            let _ = write!(beside, "; and {} more", one.beside.len() - BESIDE_SHOWN);
        }
        let own = format!("{}: ", one.shard);
        let detail =
            if beside.starts_with(&own) { beside } else { format!("{own}nothing of its own; {beside}") };
        for (index, part) in wrapped(&detail, style.columns.max(80) - lead.len()).iter().enumerate() {
            let lead = if index == 0 { lead.clone() } else { " ".repeat(lead.len()) };
            line(text, &format!("{lead}{part}"));
        }
    }
}

const BOLD: &str = "1";
const DIM: &str = "2";
const YELLOW: &str = "33";

fn paint(text: &str, code: &str, colour: bool) -> String {
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Appends a line without blanks at its end.
fn line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

/// Three digits of a latency, and the unit they are in.
fn latency_parts(latency_ns: u64) -> (String, &'static str) {
    if latency_ns < 1_000 {
        return (latency_ns.to_string(), "ns");
    }
    let mut scaled = latency_ns as f64 / 1e3;
    for unit in ["us", "ms"] {
        // The next unit begins where three digits would round to 1000.
        if scaled < 999.5 {
            return (three_digits(scaled), unit);
        }
        scaled /= 1e3;
    }
    (three_digits(scaled), "s")
}

/// `1.23`, `12.3`, `123`, and whole numbers above.
fn three_digits(value: f64) -> String {
    let decimals = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// A count in at most six characters: `999999`, `4.17M`, `12.5G`.
fn short_count(count: u64) -> String {
    if count < 1_000_000 {
        return count.to_string();
    }
    let mut scaled = count as f64 / 1e6;
    for unit in ["M", "G", "T"] {
        if scaled < 999.5 {
            return format!("{}{unit}", three_digits(scaled));
        }
        scaled /= 1e3;
    }
    format!("{}P", three_digits(scaled))
}

/// A count with separated thousands: `12,345,678`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `83.4 s`, `12 min 3 s`, `5 h 2 min`.
fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// At most `width` characters, the last a `~` where something was cut, and no control characters: a
/// name must not move the cursor.
pub fn fitted(text: &str, width: usize) -> String {
    let mut fitted: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if fitted.chars().count() > width {
        fitted = fitted.chars().take(width - 1).collect();
        fitted.push('~');
    }
    fitted
}

/// Lines of at most `width` characters, broken at blanks; a longer word is cut.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let word = fitted(word, width);
        let last = lines.last_mut().expect("there is always a line");
        if last.is_empty() {
            *last = word;
        } else if last.chars().count() + 1 + word.chars().count() <= width {
            last.push(' ');
            last.push_str(&word);
        } else {
            lines.push(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::DisturbanceKind;
    use super::super::tests::fixed_report;
    use super::*;

    #[test]
    fn latencies_have_three_digits_and_never_more_than_six_characters() {
        let check = |latency_ns, expected: &str| assert_eq!(latency(latency_ns), expected, "{latency_ns}");
        check(0, "0ns");
        check(999, "999ns");
        check(1_000, "1.00us");
        check(9_994, "9.99us");
        check(9_996, "10.0us");
        check(99_949, "99.9us");
        check(99_951, "100us");
        check(999_499, "999us");
        check(999_500, "1.00ms");
        check(12_345_678, "12.3ms");
        check(999_600_000, "1.00s");
        check(61_500_000_000, "61.5s");
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..10_000 {
            let text = latency(random.u64(..) >> random.u32(24..64));
            assert!(text.len() <= 6, "{text}");
        }
    }

    #[test]
    fn counts_are_short_or_grouped() {
        let check = |count, short: &str, long: &str| {
            assert_eq!((short_count(count).as_str(), grouped(count).as_str()), (short, long));
        };
        check(0, "0", "0");
        check(999_999, "999999", "999,999");
        check(1_000_000, "1.00M", "1,000,000");
        check(999_600_000, "1.00G", "999,600,000");
        check(12_500_000_000, "12.5G", "12,500,000,000");
        check(u64::MAX, "18447P", "18,446,744,073,709,551,615");
    }

    #[test]
    fn durations_read_as_people_say_them() {
        assert_eq!(duration(Duration::from_millis(1_250)), "1.2 s");
        assert_eq!(duration(Duration::from_secs(723)), "12 min 3 s");
        assert_eq!(duration(Duration::from_secs(18_121)), "5 h 2 min");
    }

    #[test]
    fn details_are_wrapped_and_cannot_move_the_cursor() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("", 7), [""]);
        assert_eq!(wrapped("overlongword x", 6), ["overl~", "x"]);
        assert_eq!(fitted("a\x1b[2Jb", 20), "a?[2Jb");
    }

    const NARROW: &str = "\
Meltica 0.1.0 (9e57cbc), topology.yaml
2026-11-21T03:30:07Z to 2026-11-21T03:31:30Z, 1 min 23 s
Intel(R) Xeon(R) Processor, 2 CPUs, virtual, Linux 6.18.2, clock tsc

shard      stage                 count    p50    p90    p99  p99.9 p99.99    max
--------------------------------------------------------------------------------
binance    receive_to_decoded    4.17M   97ns  121ns  405ns 1.23us 9.95us  412us
           receive_to_enqueued   4.17M  181ns  240ns  790ns 3.60us 45.6us 3.91ms
           turn                    812 2.41us 5.10us 9.99us  100us 1.00ms 12.3ms
strategies-of-the-first-desk
           receive_to_delivered  12.5G  412ns  655ns 1.48us 8.12us 61.0us 3.94ms
           handler:market-make~      9    0ns    1ns  999ns 1.00us  1.00s  61.5s

Books: 50 proved.
venue_to_receive compares two clocks, which may differ by binance 1.20ms.
Disturbed by:
  involuntary_switches         41  binance: another thread ran on the core
  reconnects                    1  kraken line 2: close code 1006
";

    const WIDE: &str = "\
shard                    stage                                      count       p50       p90       p99     p99.9    p99.99       max
-------------------------------------------------------------------------------------------------------------------------------------
binance                  receive_to_decoded                     4,172,500     97 ns    121 ns    405 ns   1.23 us   9.95 us    412 us
                         receive_to_enqueued                    4,172,498    181 ns    240 ns    790 ns   3.60 us   45.6 us   3.91 ms
                         turn                                         812   2.41 us   5.10 us   9.99 us    100 us   1.00 ms   12.3 ms
strategies-of-the-first-desk
                         receive_to_delivered              12,500,000,000    412 ns    655 ns   1.48 us   8.12 us   61.0 us   3.94 ms
                         handler:market-maker-eth                       9      0 ns      1 ns    999 ns   1.00 us   1.00  s   61.5  s
";

    fn style(columns: usize) -> TableStyle {
        TableStyle { columns, colour: false }
    }

    #[test]
    fn at_80_columns() {
        let text = exit_text(&fixed_report(), style(80));
        assert_eq!(text, NARROW);
        assert!(text.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn at_140_columns() {
        let text = stage_table(&fixed_report().shards, style(140));
        assert_eq!(text, WIDE);
        assert!(text.lines().all(|line| line.chars().count() <= 140));
    }

    #[test]
    fn stages_of_one_owner_stand_below_the_stage_of_all_with_their_whole_name() {
        let mut report = fixed_report();
        let like = report.shards[0].stages[0].clone();
        let named = |name: &str| StageSummary { stage: name.to_owned(), ..like.clone() };
        let names = [
            "written_to_ack",
            "turn",
            "written_to_ack:binance-hmac",
            "written_to_ack:coinbase-es256",
            "handler:a",
        ];
        report.shards.truncate(1);
        report.shards[0].stages = names.map(named).to_vec();
        let text = stage_table(&report.shards, style(80));
        let shown: Vec<&str> = text.lines().skip(2).map(|line| line[11..31].trim_end()).collect();
        assert_eq!(shown, ["written_to_ack", "  binance-hmac", "  coinbase-es256", "turn", "handler:a"]);
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let coloured = exit_text(&fixed_report(), TableStyle { columns: 80, colour: true });
        assert!(coloured.contains("\x1b[33m"));
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once("\x1b[") {
            plain.push_str(before);
            rest = after.split_once('m').expect("a code ends with m").1;
        }
        plain.push_str(rest);
        assert_eq!(plain, NARROW);
    }

    #[test]
    fn an_empty_run_says_so() {
        let mut report = fixed_report();
        report.shards.clear();
        report.disturbances.clear();
        let text = exit_text(&report, style(0));
        assert!(text.contains("(no latencies were recorded)"), "{text}");
        assert!(text.ends_with("Nothing disturbed the run.\n"), "{text}");
    }

    #[test]
    fn what_is_over_the_range_is_said() {
        let mut report = fixed_report();
        report.shards[0].stages[0].over_count = 2;
        report.disturb(DisturbanceKind::Gaps, None, 3, "x");
        assert!(exit_text(&report, style(80)).contains("\n2 latencies were over 60 s"));
    }
}
