//! A recording of every kind of event becomes a Parquet file from which the example's questions are answered.

#[path = "../../tests/scratch/mod.rs"]
mod scratch;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use engine::catalog::{Catalog, ProviderFacts, StreamFacts};
use engine::channel::{Channel, Interval};
use engine::decimal::{Decimals, Price, Qty};
use engine::event::{
    Amount, BestLeg, Body, BookPart, BookReason, BookStatus, Event, Flags, Gap, GapReason, Header, Kline,
    LEVELS_PER_PART, Level, MergedBbo, Proof, SCHEMA_VERSION, Side, Ticker, TickerFields, Trade,
};
use engine::ids::{InstrumentId, LineId, ProviderId, StreamId, TraceId};
use engine::time::{ReceiveTime, VenueTime};
use meltica_parquet::{COLUMNS, ConvertError, convert};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use shards::consumers::recorder::format::{End, FileFacts, Lost, Tag, put_event, record};

use scratch::Scratch;

#[path = "../examples/spread.rs"]
#[allow(dead_code)] // `main` is for `cargo run --example spread`
mod spread;

/// Receive time zero by the host's clock.
const ZERO_UNIX_NS: u64 = 1_795_231_800_000_000_000;
/// A minute, by both clocks.
const MINUTE_NS: u64 = 60_000_000_000;

fn facts() -> FileFacts {
    let stream = |channel| StreamFacts {
        symbol: "BTC-USDT".to_owned(),
        venue_symbol: "BTCUSDT".to_owned(),
        instrument: InstrumentId(0),
        channel,
    };
    let channels =
        [Channel::Trade, Channel::Book { speed_ms: 100 }, Channel::Ticker, Channel::Kline(Interval::M1)];
    let provider = ProviderFacts {
        name: "spot".to_owned(),
        venue: "binance".to_owned(),
        streams: channels.map(stream).to_vec(),
    };
    FileFacts {
        index: 0,
        recorder: "disk".to_owned(),
        started_at: "2026-11-21T03:30:00Z".to_owned(),
        program: "0".to_owned(),
        zero_unix_ns: Some(ZERO_UNIX_NS),
        catalog: Catalog { providers: vec![provider], symbols: vec!["BTC-USDT".to_owned()] },
    }
}

/// An event that the venue dates `after_ns` before it reached us.
fn event(stream: u32, receive_ns: u64, after_ns: u64, body: Body) -> Event {
    let header = Header {
        trace: TraceId::new(LineId(1), 7),
        sequence_first: 10,
        sequence_last: 12,
        venue_time: VenueTime::from_ns(ZERO_UNIX_NS + receive_ns - after_ns),
        receive_time: ReceiveTime::from_ns(receive_ns),
        stream: StreamId(stream),
        decoded_after_ns: 500,
        flags: Flags::WHOLE,
        decimals: Decimals { price: 2, qty: 8 },
        provider: ProviderId(0),
        instrument: InstrumentId(0),
        schema: SCHEMA_VERSION,
        ..Header::default()
    };
    Event { header, body }
}

fn ticker(receive_ns: u64, bid: i64, ask: i64) -> Event {
    let ticker = Ticker {
        bid: Price(bid),
        bid_qty: Qty(100_000_000),
        ask: Price(ask),
        ask_qty: Qty(200_000_000),
        fields: TickerFields::BEST,
        ..Ticker::default()
    };
    event(2, receive_ns, 2_000_000, Body::Ticker(ticker))
}

/// Every kind that a recorder is given, over two minutes.
fn session() -> Vec<Event> {
    let trade = Trade { price: Price(6_421_010), qty: Qty(i64::MAX), id: 99, taker_side: Side::Sell };
    let mut part = BookPart {
        status: BookStatus::Proved,
        proof: Proof::Continuity,
        bid_count: 2,
        ask_count: 1,
        levels: [Level::default(); LEVELS_PER_PART],
    };
    for (index, level) in part.levels[..3].iter_mut().enumerate() {
        *level = Level { price: Price(100 + index as i64), qty: Qty(index as i64) };
    }
    let empty = BookPart { bid_count: 0, ask_count: 0, ..part };
    let kline = Kline {
        open_time: VenueTime::from_ns(ZERO_UNIX_NS),
        close_time: VenueTime::from_ns(ZERO_UNIX_NS + MINUTE_NS - 1),
        open: Price(1),
        high: Price(4),
        low: Price(-1),
        close: Price(2),
        volume: Qty(5),
        taker_buy_volume: Qty(0),
        quote_volume: Amount { mantissa: 125, decimals: 1 },
        trade_count: 3,
        interval: Interval::M1,
    };
    let gap = Gap { from: 5, to: 9, event_count: 0, reason: GapReason::Sequence };
    let leg = BestLeg {
        price: Price(7),
        qty: Qty(8),
        decimals: Decimals { price: 0, qty: 1 },
        provider: ProviderId(0),
        proof: Proof::None,
    };
    let state = Body::BookState {
        status: BookStatus::Suspect,
        proof: Proof::Continuity,
        reason: BookReason::Crossed,
    };
    vec![
        event(0, 1_000, 500, Body::Trade(trade)),
        event(1, 2_000, 500, Body::BookSnapshot(part)),
        event(1, 3_000, 500, Body::BookUpdate(empty)),
        event(1, 3_500, 500, state),
        event(3, 4_000, 500, Body::Kline(kline)),
        event(0, 5_000, 500, Body::Gap(gap)),
        event(0, 6_000, 500, Body::MergedBbo(MergedBbo { bid: Some(leg), ..MergedBbo::default() })),
        ticker(10_000_000, 10_000, 10_010),
        ticker(20_000_000, 10_000, 10_030),
        ticker(MINUTE_NS + 10_000_000, 10_000, 10_004),
    ]
}

/// A recording with a hole in its middle.
fn recording(dir: &Path, events: &[Event]) -> PathBuf {
    let mut bytes = facts().encode();
    let (before, after) = events.split_at(events.len() / 2);
    // A record holds so much and no more; a recorder's blocks are 256 KiB.
    let blocks = |events: &[Event]| {
        let block = |events: &[Event]| {
            let mut payload = Vec::new();
            for event in events {
                put_event(event, &mut payload);
            }
            record(Tag::Events, &payload)
        };
        events.chunks(1_000).flat_map(block).collect::<Vec<u8>>()
    };
    bytes.extend(blocks(before));
    let lost = Lost { parts: 3, first_receive_ns: 4_001, last_receive_ns: 4_999 };
    bytes.extend(record(Tag::Lost, &lost.payload()));
    bytes.extend(blocks(after));
    let end = End { closed: true, parts: events.len() as u64, lost_parts: 3 };
    bytes.extend(record(Tag::End, &end.payload()));
    let path = dir.join("recording");
    fs::create_dir_all(&path).expect("the scratch directory can be written");
    fs::write(path.join("000000.rec"), bytes).expect("the scratch directory can be written");
    path
}

fn rows(path: &Path) -> Vec<Row> {
    let reader =
        SerializedFileReader::new(fs::File::open(path).expect("it was written")).expect("it is Parquet");
    assert_eq!(reader.metadata().file_metadata().schema_descr().num_columns(), COLUMNS.len());
    reader.get_row_iter(None).expect("it has rows").map(|row| row.expect("a whole row")).collect()
}

/// What a row has, column by column, without what is absent.
fn shown(row: &Row, columns: &[&str]) -> Vec<String> {
    columns
        .iter()
        .map(|column| {
            let (_, field) =
                row.get_column_iter().find(|(name, _)| name == column).expect("there is such a column");
            match field {
                Field::Null => "-".to_owned(),
                Field::Str(text) => text.clone(),
                Field::Decimal(number) => spread::decimal(number).to_string(),
                other => other.to_string(),
            }
        })
        .collect()
}

const E18: i128 = 1_000_000_000_000_000_000;

#[test]
fn every_event_and_every_hole_has_its_rows() {
    let scratch = Scratch::new("rows");
    let out = scratch.0.join("out.parquet");
    let written = convert(&[recording(&scratch.0, &session())], &out).expect("the recording is whole");
    assert_eq!((written.extent.parts, written.holes, written.rows), (10, 1, 13));
    let rows = rows(&out);
    let kinds: Vec<String> = rows.iter().map(|row| shown(row, &["kind"]).remove(0)).collect();
    let mut expected =
        vec!["Trade", "BookSnapshot", "BookSnapshot", "BookSnapshot", "BookUpdate", "BookState"];
    expected.extend(["KlineSummary", "Hole", "Gap", "MergedBbo", "Ticker", "Ticker", "Ticker"]);
    assert_eq!(kinds, expected);
    let check = |row: usize, columns: &[&str], expected: &[&str]| {
        assert_eq!(shown(&rows[row], columns), expected, "row {row}");
    };
    let names = ["provider", "venue", "symbol", "venue_symbol", "channel", "line", "frame", "sequence_first"];
    check(0, &names, &["spot", "binance", "BTC-USDT", "BTCUSDT", "trade", "1", "7", "10"]);
    // The most that a number of ours can be, exactly.
    let most = (i128::from(i64::MAX) * 10_000_000_000).to_string();
    let price = (64_210 * E18 + E18 / 10).to_string();
    check(0, &["side", "price", "qty", "trade_id", "bid"], &["sell", &price, &most, "99", "-"]);
    let receive_time = (ZERO_UNIX_NS + 1_000).to_string();
    let venue_time = (ZERO_UNIX_NS + 500).to_string();
    check(0, &["receive_time", "venue_time", "receive_ns"], &[&receive_time, &venue_time, "1000"]);
    let level = ["side", "price", "qty", "status", "first", "last"];
    check(1, &level, &["bid", &E18.to_string(), "0", "proved", "true", "true"]);
    check(3, &level, &["ask", &(E18 / 100 * 102).to_string(), "20000000000", "proved", "true", "true"]);
    check(4, &level, &["-", "-", "-", "proved", "true", "true"]);
    check(5, &["status", "proof", "reason"], &["suspect", "continuity", "crossed"]);
    let low = (-E18 / 100).to_string();
    let quote = (E18 / 10 * 125).to_string();
    check(6, &["low", "quote_volume", "taker_buy_volume", "trade_count"], &[&low, &quote, "-", "3"]);
    check(7, &["provider", "detail"], &["-", "3 event parts lost by the recorder, received 4001 to 4999 ns"]);
    check(8, &["gap_from", "gap_to", "gap_events", "reason"], &["5", "9", "-", "sequence"]);
    check(9, &["bid", "ask", "detail"], &[&(7 * E18).to_string(), "-", "bid of spot, ask of nobody"]);
}

#[test]
fn a_long_recording_is_written_in_groups() {
    let scratch = Scratch::new("groups");
    let out = scratch.0.join("out.parquet");
    let events: Vec<Event> =
        (0..70_000).map(|n| ticker(n * 1_000_000 + 2_000_000, 10_000, 10_001 + (n % 7) as i64)).collect();
    let written = convert(&[recording(&scratch.0, &events)], &out).expect("the recording is whole");
    assert_eq!(written.rows, 70_001);
    assert!(written.bytes * 2 < written.extent.bytes, "it compresses: {written:?}");
    let reader =
        SerializedFileReader::new(fs::File::open(&out).expect("it was written")).expect("it is Parquet");
    assert_eq!(reader.metadata().num_row_groups(), 2);
    assert_eq!(rows(&out).len(), 70_001);
}

#[test]
fn what_cannot_be_written_leaves_nothing_behind() {
    let scratch = Scratch::new("refused");
    let dir = &scratch.0;
    let recorded = recording(dir, &session());
    let there = dir.join("there.parquet");
    fs::write(&there, "mine").expect("the scratch directory can be written");
    let refused = |paths: &[PathBuf], out: &Path| convert(paths, out).expect_err("it is refused").to_string();
    assert!(
        refused(std::slice::from_ref(&recorded), &there)
            .ends_with("exists already; remove it, or name another file")
    );
    assert_eq!(fs::read_to_string(&there).expect("it is there"), "mine");
    let nowhere = refused(std::slice::from_ref(&recorded), &dir.join("no/out.parquet"));
    assert!(nowhere.starts_with("cannot write ") && nowhere.contains("No such file"), "{nowhere}");
    let out = dir.join("out.parquet");
    assert!(refused(&[dir.join("none")], &out).starts_with("cannot read "));
    fs::write(recorded.join("000000.rec"), "MELT").expect("the scratch directory can be written");
    assert!(matches!(convert(&[recorded], &out), Err(ConvertError::NoHead { .. })));
    let left: Vec<_> =
        fs::read_dir(dir).expect("it is there").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.len(), 2, "the recording and the file that was there: {left:?}");
}

#[test]
fn the_example_answers_its_two_questions() {
    let scratch = Scratch::new("example");
    let out = scratch.0.join("out.parquet");
    convert(&[recording(&scratch.0, &session())], &out).expect("the recording is whole");
    let answer = spread::answer(&out).expect("the file can be read");
    assert_eq!(
        answer,
        [
            "2026-11-21 03:30 spot BTC-USDT: 2 tickers, spread 0.10 to 0.30, mean 0.20",
            "2026-11-21 03:31 spot BTC-USDT: 1 tickers, spread 0.04 to 0.04, mean 0.04",
            "spot: trades and tickers received after the venue's time, in us: least 0.5, median 2000.0, most 2000.0 of 4",
        ]
    );
}

/// The same questions to `DuckDB`, or `pyarrow`; neither is needed to build or test anything else.
#[test]
fn the_script_of_the_book_gives_the_same_answers() {
    let scratch = Scratch::new("script");
    let out = scratch.0.join("out.parquet");
    convert(&[recording(&scratch.0, &session())], &out).expect("the recording is whole");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spread.py");
    let python = std::env::var("MELTICA_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut tried = 0;
    for library in ["duckdb", "pyarrow"] {
        let run =
            |arguments: &[&str]| -> Option<Output> { Command::new(&python).args(arguments).output().ok() };
        if !run(&["-c", &format!("import {library}")]).is_some_and(|output| output.status.success()) {
            eprintln!(
                "SKIPPED: docs/spread.py with {library}: {python} has no {library} (MELTICA_PYTHON names another)"
            );
            continue;
        }
        tried += 1;
        let paths = [script.to_string_lossy(), out.to_string_lossy()];
        let output = run(&[&paths[0], &paths[1], "--with", library]).expect("it was there a moment ago");
        assert!(output.status.success(), "{library}: {}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        let answer = spread::answer(&out).expect("the file can be read");
        assert_eq!(said.lines().collect::<Vec<_>>(), answer, "{library}");
    }
    eprintln!("docs/spread.py was run with {tried} libraries");
}
