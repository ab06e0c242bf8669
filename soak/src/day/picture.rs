//! A day as a table, one row a sample, and the picture that is drawn from the table: what was drawn once can be drawn again.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use shards::report::sheet::{Mark, Scale, Series, Sheet};

use super::{Fault, Sample};

/// Columns of numbers. The last column has the faults since the row before: `binance:Dropped kraken:Cut`.
const NUMBERS: [&str; 10] = [
    "second",
    "rss_mib",
    "messages_per_s",
    "threads_waiting",
    "latency_ns_p50",
    "latency_ns_p99",
    "latency_ns_max",
    "dropped_total",
    "gaps_total",
    "books_proved",
];

/// The table, as CSV; `venues` by number.
pub(super) fn table_of(samples: &[Sample], faults: &[Fault], venues: &[String]) -> String {
    let mut table = format!("{},faults\n", NUMBERS.join(","));
    let mut faults = faults.iter().peekable();
    for (number, Sample { second, rss_mib, messages_per_s, waiting, point }) in samples.iter().enumerate() {
        let _ = write!(
            table,
            "{second:.3},{rss_mib:.2},{messages_per_s:.1},{waiting:.3},{},{},{},{},{},{},",
            point.latency_ns_p50,
            point.latency_ns_p99,
            point.latency_ns_max,
            point.dropped_total,
            point.gaps_total,
            point.books_proved
        );
        let mut between = "";
        let is_last = number + 1 == samples.len();
        while let Some(Fault { provider, trouble, .. }) =
            faults.next_if(|fault| fault.second <= *second || is_last)
        {
            let venue = venues.get(*provider).map_or("?", String::as_str);
            let _ = write!(table, "{between}{venue}:{trouble:?}");
            between = " ";
        }
        table.push('\n');
    }
    table
}

/// Draws the table of a day as `.svg` beside it; returns where.
///
/// # Errors
/// What is wrong with the table, or with a file, in words.
pub fn draw(table: &Path) -> Result<PathBuf, String> {
    let at = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(table).map_err(|error| at(table, &error))?;
    let svg = picture_of(&text).map_err(|error| at(table, &error))?;
    let picture = table.with_extension("svg");
    std::fs::write(&picture, svg).map_err(|error| at(&picture, &error))?;
    Ok(picture)
}

/// One row: its numbers by column, and venue and name of each fault.
type Row<'a> = ([f64; NUMBERS.len()], Vec<(&'a str, &'a str)>);

/// The picture of a table.
fn picture_of(table: &str) -> Result<String, String> {
    let rows = rows_of(table)?;
    let column = |number: usize| -> Vec<(u64, f64)> {
        rows.iter().map(|(numbers, _)| (ms(numbers[0]), numbers[number])).collect()
    };
    let one = |number, name| Series { name, points: column(number) };
    // A sample more than there are: the last one lies just before the end.
    let end_s = match &rows[..] {
        [.., (before, _), (last, _)] => 2.0 * last[0] - before[0],
        _ => 0.0,
    };
    let faults_total: usize = rows.iter().map(|(_, faults)| faults.len()).sum();
    let title = format!("A day of the gateway in {:.0} minutes, with {faults_total} faults", end_s / 60.0);
    let mut sheet = Sheet::new(&title, ms(end_s));
    sheet.panel("memory of the gateway (RSS), MiB", Scale::Linear, &[one(1, "")]);
    let latencies = [one(4, "p50"), one(5, "p99"), one(6, "longest")];
    sheet.panel("receive to delivered, logarithmic", Scale::Latency, &latencies);
    sheet.panel("messages of venues per second", Scale::Linear, &[one(2, "")]);
    sheet.panel("so far, count", Scale::Linear, &[one(7, "events dropped"), one(8, "gaps declared")]);
    sheet.panel("books proved, count", Scale::Linear, &[one(9, "")]);
    sheet.panel("threads that waited for a core, mean", Scale::Linear, &[one(3, "")]);
    sheet.heading("faults, by venue");
    let mut lanes: Vec<(&str, Vec<Mark>)> = Vec::new();
    for (numbers, faults) in &rows {
        for &(venue, what) in faults {
            let from_ms = ms(numbers[0]);
            let mark = Mark { from_ms, to_ms: from_ms, count: 1, what: what.to_owned(), strength: 0.9 };
            match lanes.iter_mut().find(|(known, _)| *known == venue) {
                Some((_, marks)) => marks.push(mark),
                None => lanes.push((venue, vec![mark])),
            }
        }
    }
    lanes.sort_by_key(|(venue, _)| *venue);
    if lanes.is_empty() {
        sheet.note("none");
    }
    for (venue, marks) in &lanes {
        sheet.lane(venue, marks);
    }
    Ok(sheet.into_svg())
}

fn ms(second: f64) -> u64 {
    (second * 1e3) as u64
}

fn rows_of(table: &str) -> Result<Vec<Row<'_>>, String> {
    let mut lines = table.lines();
    if lines.next() != Some(format!("{},faults", NUMBERS.join(",")).as_str()) {
        return Err("the first line does not name the columns of a day".to_owned());
    }
    let rows = lines.enumerate().map(|(number, line)| {
        let bad = |what: &str| format!("line {}: {what}", number + 2);
        let mut fields = line.split(',');
        let mut numbers = [0.0; NUMBERS.len()];
        for (place, name) in numbers.iter_mut().zip(NUMBERS) {
            let field = fields.next().unwrap_or_default();
            *place = field
                .parse()
                .ok()
                .filter(|value: &f64| value.is_finite() && *value >= 0.0)
                .ok_or_else(|| bad(&format!("{name} is {field:?}, not a number")))?;
        }
        let faults = fields.next().ok_or_else(|| bad("no column of faults"))?;
        let faults = faults.split_whitespace().map(|fault| fault.split_once(':').ok_or(fault));
        let faults = faults.collect::<Result<_, _>>();
        Ok((numbers, faults.map_err(|fault| bad(&format!("{fault:?} is not venue:fault")))?))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::day::plan::Trouble;
    use shards::report::timeline::Point;

    fn table() -> String {
        let samples: Vec<Sample> = (0..=60_u32)
            .map(|minute| Sample {
                second: f64::from(minute) * 60.0,
                rss_mib: 70.0 + f64::from(minute),
                messages_per_s: 4_000.0,
                waiting: 0.25,
                point: Point {
                    latency_ns_p50: 94_000,
                    latency_ns_p99: 582_000,
                    latency_ns_max: if minute == 30 { 1_257_387_200 } else { 4_915_000 },
                    gaps_total: u64::from(minute) / 9,
                    books_proved: 150,
                    ..Point::default()
                },
            })
            .collect();
        let fault = |second, provider, trouble| Fault { second, provider, trouble };
        let faults = [
            fault(61.0, 1, Trouble::Cut),
            fault(62.0, 0, Trouble::Closed),
            fault(3_700.0, 1, Trouble::Garbage),
        ];
        table_of(&samples, &faults, &["binance".to_owned(), "kraken".to_owned()])
    }

    #[test]
    fn a_day_is_drawn_from_its_table_with_a_scale_for_each_panel() {
        let table = table();
        assert!(table.contains(
            "\n120.000,72.00,4000.0,0.250,94000,582000,4915000,0,0,150,kraken:Cut binance:Closed\n"
        ));
        assert!(table.ends_with(",kraken:Garbage\n"), "the last row has what is left");
        let svg = picture_of(&table).expect("a picture");
        let labels: Vec<&str> = svg
            .lines()
            .filter(|line| line.contains("text-anchor=\"end\""))
            .filter_map(|line| line.strip_suffix("</text>")?.rsplit_once('>').map(|(_, label)| label))
            .collect();
        let expected = "0|50|100|150|10 µs|100 µs|1 ms|10 ms|100 ms|1 s|10 s|0|1000|2000|3000|4000|0|2|4|6|0|50|100|150|\
                        0|0.05|0.10|0.15|0.20|0.25|binance|kraken";
        assert_eq!(labels.join("|"), expected);
        for text in
            [">memory of the gateway (RSS), MiB<", ">events dropped<", ">p99<", ">60 min<", "with 3 faults"]
        {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn a_table_that_is_none_says_where() {
        let table = table();
        for (broken, expected) in [
            ("second,rss\n".to_owned(), "the first line does not name the columns of a day"),
            (table.replace("\n120.000,72.00,", "\n120.000,NaN,"), "line 4: rss_mib is \"NaN\", not a number"),
            (table.replace("kraken:Cut", "Cut"), "line 4: \"Cut\" is not venue:fault"),
            (table.replace(",150,kraken:Cut binance:Closed", ",150"), "line 4: no column of faults"),
        ] {
            assert_eq!(picture_of(&broken).expect_err("broken"), expected);
        }
    }
}
