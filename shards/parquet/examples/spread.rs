//! Two questions to a Parquet file of a recording: the spread of each minute, and how long after the venue's time things came.
//!
//! `cargo run --release -p meltica-parquet --example spread -- OUT.parquet`; `docs/spread.py` asks the same of `DuckDB` or `pyarrow`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use parquet::data_type::Decimal;
use parquet::errors::Result;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;

const MINUTE_NS: i64 = 60_000_000_000;
/// The file's decimals count in 10^-18.
const ONE: i128 = 1_000_000_000_000_000_000;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: spread OUT.parquet");
        return ExitCode::from(2);
    };
    match answer(Path::new(&path)) {
        Ok(lines) => {
            for line in lines {
                println!("{line}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("spread: cannot read {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

/// The mantissa of one of the file's numbers.
pub fn decimal(number: &Decimal) -> i128 {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(number.data());
    i128::from_be_bytes(bytes)
}

/// Columns of a row by name.
struct Cells<'a>(&'a Row);

impl Cells<'_> {
    fn field(&self, name: &str) -> Option<&Field> {
        self.0.get_column_iter().find(|(column, _)| *column == name).map(|(_, field)| field)
    }

    fn text(&self, name: &str) -> &str {
        match self.field(name) {
            Some(Field::Str(text)) => text,
            _ => "",
        }
    }

    fn number(&self, name: &str) -> Option<i64> {
        match self.field(name) {
            Some(Field::Long(number)) => Some(*number),
            _ => None,
        }
    }

    fn decimal(&self, name: &str) -> Option<i128> {
        match self.field(name) {
            Some(Field::Decimal(number)) => Some(decimal(number)),
            _ => None,
        }
    }
}

/// The answers, a line each: exact until they are printed.
pub fn answer(path: &Path) -> Result<Vec<String>> {
    let reader = SerializedFileReader::new(File::open(path)?)?;
    let wanted = ["provider", "symbol", "kind", "venue_time", "receive_time", "bid", "ask"];
    let schema = reader.metadata().file_metadata().schema();
    let fields = schema.get_fields().iter().filter(|field| wanted.contains(&field.name())).cloned().collect();
    let projection = Type::group_type_builder(schema.name()).with_fields(fields).build()?;
    let mut spreads: BTreeMap<(i64, String, String), Vec<i128>> = BTreeMap::new();
    let mut delays: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for row in reader.get_row_iter(Some(projection))? {
        let row = row?;
        let cells = Cells(&row);
        let provider = cells.text("provider").to_owned();
        let received = cells.number("receive_time");
        let one_row = ["Trade", "Ticker"].contains(&cells.text("kind"));
        if let (true, Some(received), Some(venue)) = (one_row, received, cells.number("venue_time")) {
            delays.entry(provider.clone()).or_default().push(received - venue);
        }
        let best = (cells.decimal("bid"), cells.decimal("ask"));
        if let ("Ticker", Some(received), (Some(bid), Some(ask))) = (cells.text("kind"), received, best) {
            let key = (received.div_euclid(MINUTE_NS), provider, cells.text("symbol").to_owned());
            spreads.entry(key).or_default().push(ask - bid);
        }
    }
    let spread_lines = spreads.into_iter().map(|((minute, provider, symbol), spreads)| {
        let count = spreads.len();
        let (least, most) = (spreads.iter().min().copied(), spreads.iter().max().copied());
        let mean = spreads.iter().sum::<i128>() / count as i128;
        let [least, most, mean] = [least.unwrap_or(0), most.unwrap_or(0), mean].map(two_digits);
        format!(
            "{} {provider} {symbol}: {count} tickers, spread {least} to {most}, mean {mean}",
            clock(minute)
        )
    });
    let delay_lines = delays.into_iter().map(|(provider, mut delays)| {
        delays.sort_unstable();
        let [least, median, most] = [0, (delays.len() - 1) / 2, delays.len() - 1].map(|at| tenths(delays[at]));
        let count = delays.len();
        format!("{provider}: trades and tickers received after the venue's time, in us: least {least}, median {median}, most {most} of {count}")
    });
    Ok(spread_lines.chain(delay_lines).collect())
}

fn two_digits(value: i128) -> String {
    let cents = (value + ONE / 200).div_euclid(ONE / 100);
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// Microseconds, to a tenth.
fn tenths(ns: i64) -> String {
    let tenths = (ns + 50).div_euclid(100);
    format!("{}{}.{}", if tenths < 0 { "-" } else { "" }, tenths.abs() / 10, tenths.abs() % 10)
}

/// `2026-11-21 03:30` of minutes since the Unix epoch.
fn clock(minute: i64) -> String {
    let (days, minute) = (minute.div_euclid(1440), minute.rem_euclid(1440));
    // Days to a date of the Gregorian calendar, in eras of 400 years that begin in March.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", minute / 60, minute % 60)
}
