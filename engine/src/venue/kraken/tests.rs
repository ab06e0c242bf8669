//! The venue's suite without recordings: fixtures beside their expectations, refusals, and what a list teaches.
//!
//! `fixtures/*.json` are whole frames (or REST bodies, `rest_<call>.json`) written after the venue's documents and
//! checked against recordings; `*.expected` is what they mean, one line each, in the words of [`print`].

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::*;
use crate::decimal::{Decimals, Number};
use crate::event::Level;
use crate::ids::{InstrumentId, ProviderId};
use crate::raw::{Content, Message};

/// What a frame became, in words.
pub fn print(outcome: &Result<Decoded, DecodeError>, directory: &Directory, raw: &Raw) -> String {
    let mut text = String::new();
    match outcome {
        Ok(Decoded::Data) => {}
        Ok(Decoded::Notice(notice)) => writeln!(text, "{notice:?}").expect("memory"),
        Err(error) => return format!("{error:?}\n"),
    }
    for message in &raw.messages {
        print_message(&mut text, message, directory, raw);
    }
    text
}

fn print_message(text: &mut String, message: &Message, directory: &Directory, raw: &Raw) {
    let Decimals { price, qty } = message.decimals;
    let at = |mantissa: i64, decimals: u8| Number { mantissa, decimals }.to_string();
    let instrument = directory.instrument(message.listing);
    let carried = directory.carries(message.stream);
    assert_eq!(carried.listing, message.listing);
    write!(text, "{} {}", instrument.venue_symbol, carried.channel).expect("memory");
    match message.venue_time.ns() {
        Some(ns) => write!(text, " at {ns}").expect("memory"),
        None => text.push_str(" at no time"),
    }
    let numbers = message.numbers;
    write!(text, " numbers {}..={} {:?}: ", numbers.first, numbers.last, numbers.previous).expect("memory");
    match &message.content {
        Content::Trade(trade) | Content::TradeBefore(trade) => {
            let before = if matches!(message.content, Content::TradeBefore(_)) { " before" } else { "" };
            let (price, qty) = (at(trade.price.0, price), at(trade.qty.0, qty));
            write!(text, "{:?}{before} {price} x {qty} id {}", trade.taker_side, trade.id).expect("memory");
        }
        Content::Ticker(ticker) => {
            let prices = [ticker.bid, ticker.ask, ticker.last, ticker.open, ticker.high, ticker.low];
            let prices = prices.map(|value| at(value.0, price)).join(" ");
            let qtys = [ticker.bid_qty, ticker.ask_qty, ticker.last_qty, ticker.volume];
            let qtys = qtys.map(|value| at(value.0, qty)).join(" ");
            write!(
                text,
                "bid ask last open high low {prices}, bid ask last volume {qtys}, {:?}",
                ticker.fields
            )
            .expect("memory");
        }
        Content::Kline(kline, last) => {
            let prices =
                [kline.open, kline.high, kline.low, kline.close].map(|value| at(value.0, price)).join(" ");
            let (open_time, close_time) = (kline.open_time.raw_ns(), kline.close_time.raw_ns());
            write!(
                text,
                "{open_time}..={close_time} {prices} volume {} trades {} final {last}",
                at(kline.volume.0, qty),
                kline.trade_count
            )
            .expect("memory");
        }
        Content::Book(book) => {
            let side = |levels: &[Level]| {
                let level = |it: &Level| format!("{} x {}", at(it.price.0, price), at(it.qty.0, qty));
                levels.iter().map(level).collect::<Vec<_>>().join(", ")
            };
            let kind = if book.snapshot { "snapshot" } else { "update" };
            let (bids, asks) = (side(raw.bids_of(book)), side(raw.asks_of(book)));
            write!(text, "{kind} checksum {:?} bids [{bids}] asks [{asks}]", book.checksum).expect("memory");
        }
    }
    text.push('\n');
}

/// What the directory knows, in words.
fn print_facts(directory: &Directory) -> String {
    let mut text = String::new();
    for it in directory.instruments() {
        let filters = it.filters;
        writeln!(
            text,
            "{} {} {:?} known {} trading {} tick {} lot {} qty {}.. notional {}..",
            it.venue_symbol,
            it.symbol,
            it.decimals,
            it.decimals_known,
            it.trading,
            filters.tick,
            filters.lot,
            filters.qty_min,
            filters.notional_min
        )
        .expect("memory");
    }
    text
}

/// Decodes as the engine does: widened and again, for as long as the scale is the trouble.
pub fn decode(
    kraken: &mut Kraken,
    directory: &mut Directory,
    raw: &mut Raw,
    mut step: impl FnMut(&mut Kraken, &mut Directory, &mut Raw) -> Result<Decoded, DecodeError>,
) -> Result<Decoded, DecodeError> {
    loop {
        raw.reset();
        match step(kraken, directory, raw) {
            Err(DecodeError::Wider { listing, decimals }) => {
                let before = directory.instrument(listing).decimals;
                directory.widen(listing, decimals);
                assert_ne!(directory.instrument(listing).decimals, before, "widening makes progress");
            }
            outcome => return outcome,
        }
    }
}

/// [`decode`] of a frame, by both decoders; asserts that they agree, and that the frame is left as it was.
pub fn decode_both(
    kraken: &mut Kraken,
    directory: &mut Directory,
    raw: &mut Raw,
    frame: &[u8],
) -> Result<Decoded, DecodeError> {
    let (mut tape_directory, mut tape_raw) = (directory.clone(), Raw::default());
    let by_tape = decode(kraken, &mut tape_directory, &mut tape_raw, |kraken, directory, raw| {
        kraken.decode_by_tape(frame, directory, raw)
    });
    let mut bytes = frame.to_vec();
    let outcome =
        decode(kraken, directory, raw, |kraken, directory, raw| kraken.decode(&mut bytes, directory, raw));
    let shown = String::from_utf8_lossy(frame);
    assert_eq!(bytes, frame, "whoever must decode again can");
    assert_eq!(outcome, by_tape, "{shown}");
    assert_eq!(print_facts(directory), print_facts(&tape_directory), "{shown}");
    if outcome.is_ok() {
        assert_eq!(raw.messages, tape_raw.messages, "{shown}");
        assert_eq!((&raw.bids, &raw.asks), (&tape_raw.bids, &tape_raw.asks), "{shown}");
    }
    outcome
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/venue/kraken/fixtures")
}

/// Names and texts of the fixtures that are frames.
pub fn frames() -> Vec<(String, String)> {
    let mut frames = Vec::new();
    for entry in std::fs::read_dir(fixtures()).expect("fixtures") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "json") {
            frames.push((name, std::fs::read_to_string(&path).expect("a fixture").trim_end().to_owned()));
        }
    }
    frames.sort();
    assert!(frames.len() >= 20, "the fixtures are where they should be");
    frames
}

#[test]
fn every_fixture_means_what_stands_beside_it() {
    for (name, frame) in frames() {
        let (mut kraken, mut raw) = (Kraken::default(), Raw::default());
        let mut directory = Directory::open(ProviderId(0));
        let outcome = match name.strip_prefix("rest_") {
            None => decode_both(&mut kraken, &mut directory, &mut raw, frame.as_bytes()),
            Some(call) => {
                if call != "AssetPairs" {
                    directory.listing(b"BTC/USD").expect("learned");
                }
                let path = format!("/0/public/{call}?pair=XBTUSD");
                decode(&mut kraken, &mut directory, &mut raw, |kraken, directory, raw| {
                    kraken.decode_rest(&path, &mut frame.clone().into_bytes(), directory, raw)
                })
            }
        };
        let found = print(&outcome, &directory, &raw);
        let path = fixtures().join(&name).with_extension("expected");
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn the_scanner_reads_the_hot_fixtures_once_their_streams_are_known() {
    for (name, frame) in frames() {
        let hot = ["book_", "trade_", "ticker_"].iter().any(|prefix| name.starts_with(prefix));
        let (mut kraken, mut raw) = (Kraken::default(), Raw::default());
        let mut directory = Directory::open(ProviderId(0));
        let mut bytes = frame.into_bytes();
        let mut again = || {
            let _ = decode(&mut kraken, &mut directory, &mut raw, |kraken, directory, raw| {
                kraken.decode(&mut bytes, directory, raw)
            });
            kraken.fallbacks()
        };
        if name.starts_with("rest_") {
            continue;
        }
        let (first, second) = (again(), again());
        assert_eq!(first.hot_frames, u64::from(hot), "{name}");
        assert_eq!(second.hot_frames, 2 * u64::from(hot), "{name}");
        let scanned = hot && name != "book_update_other_order";
        assert_eq!(second.scanned_frames - first.scanned_frames, u64::from(scanned), "{name}");
    }
}

/// A directory as live: BTC/USD with its facts and with all streams, ETH/USD without any.
pub fn live() -> Directory {
    let mut directory = Directory::closed(ProviderId(0));
    let listing = directory.add("BTC/USD", "BTC-USD", InstrumentId(0)).expect("listed");
    directory.instrument_mut(listing).decimals = Decimals { price: 1, qty: 8 };
    directory.instrument_mut(listing).decimals_known = true;
    for channel in ["book", "trade", "ticker", "kline 1m"] {
        directory.add_stream(listing, channel.parse().expect("a channel"));
    }
    directory.add("ETH/USD", "ETH-USD", InstrumentId(1)).expect("listed");
    directory
}

#[test]
fn what_is_wrong_with_a_frame_is_named() {
    let book = |symbol: &str, bids: &str, tail: &str| {
        format!(
            r#"{{"channel":"book","type":"update","data":[{{"symbol":"{symbol}","bids":[{bids}],"asks":[]{tail}}}]}}"#
        )
    };
    let trade = |fields: &str| format!(r#"{{"channel":"trade","type":"update","data":[{{{fields}}}]}}"#);
    for (frame, expected) in [
        (String::new(), "Json"),
        ("{".to_owned(), "Json"),
        ("[]".to_owned(), "UnknownChannel"),
        ("7".to_owned(), "UnknownChannel"),
        ("{}".to_owned(), "UnknownChannel"),
        (r#"{"channel":7}"#.to_owned(), "UnknownChannel"),
        (r#"{"channel":null}"#.to_owned(), r#"Invalid { field: "channel" }"#),
        (r#"{"channel":"level3","type":"update","data":[]}"#.to_owned(), "UnknownChannel"),
        (r#"{"channel":"executions","type":"update","data":[]}"#.to_owned(), "UnknownChannel"),
        (r#"{"method":"add_order","success":true,"result":{}}"#.to_owned(), "UnknownChannel"),
        (r#"{"event":"heartbeat"}"#.to_owned(), "UnknownChannel"),
        (r#"{"channel":"book","data":[]}"#.to_owned(), r#"Missing { field: "type" }"#),
        (r#"{"channel":"book","type":"delta","data":[]}"#.to_owned(), r#"Invalid { field: "type" }"#),
        (r#"{"channel":"book","type":"update"}"#.to_owned(), r#"Missing { field: "data" }"#),
        (r#"{"channel":"book","type":"update","data":{}}"#.to_owned(), r#"Invalid { field: "data" }"#),
        (r#"{"channel":"status","type":"update","data":[]}"#.to_owned(), r#"Missing { field: "data" }"#),
        (book("FOO/USD", "", r#","checksum":1"#), "UnknownSymbol"),
        (book("BTC/USD", "", ""), r#"Missing { field: "checksum" }"#),
        (book("BTC/USD", "", r#","checksum":4294967296"#), r#"Invalid { field: "checksum" }"#),
        (book("BTC/USD", "", r#","checksum":1.0"#), r#"Invalid { field: "checksum" }"#),
        (
            book("BTC/USD", "", r#","checksum":1,"timestamp":"yesterday""#),
            r#"Invalid { field: "timestamp" }"#,
        ),
        (book("BTC/USD", r#"{"qty":1}"#, r#","checksum":1"#), r#"Missing { field: "price" }"#),
        (book("BTC/USD", r#"{"price":-1,"qty":1}"#, r#","checksum":1"#), r#"Invalid { field: "price" }"#),
        (book("BTC/USD", r#"{"price":1,"qty":null}"#, r#","checksum":1"#), r#"Invalid { field: "qty" }"#),
        (book("BTC/USD", r#"{"price":01,"qty":1}"#, r#","checksum":1"#), "Json"),
        (
            book("BTC/USD", r#"{"price":"x","qty":1}"#, r#","checksum":1"#),
            r#"Decimal { field: "price", error: Malformed }"#,
        ),
        (
            book("BTC/USD", r#"{"price":1,"qty":92233720368.54775808}"#, r#","checksum":1"#),
            r#"Decimal { field: "qty", error: Overflow }"#,
        ),
        (trade(r#""symbol":"BTC/USD","side":"buy","price":1,"qty":1"#), r#"Missing { field: "trade_id" }"#),
        (
            trade(r#""symbol":"BTC/USD","side":"both","price":1,"qty":1,"trade_id":1"#),
            r#"Invalid { field: "side" }"#,
        ),
        (
            trade(r#""symbol":"BTC/USD","side":"buy","price":1,"qty":1,"trade_id":1"#),
            r#"Missing { field: "timestamp" }"#,
        ),
        (
            r#"{"channel":"ohlc","type":"update","data":[{"symbol":"BTC/USD","interval":2}]}"#.to_owned(),
            r#"Invalid { field: "interval" }"#,
        ),
        (r#"{"method":"subscribe","success":true}"#.to_owned(), r#"Missing { field: "result" }"#),
    ] {
        let (mut kraken, mut directory, mut raw) = (Kraken::default(), live(), Raw::default());
        let outcome = decode_both(&mut kraken, &mut directory, &mut raw, frame.as_bytes());
        assert_eq!(outcome.map_err(|error| format!("{error:?}")), Err(expected.to_owned()), "{frame}");
    }
}

#[test]
fn a_frame_with_too_many_trades_is_refused_and_not_cut() {
    let one = r#"{"symbol":"BTC/USD","side":"buy","price":1.0,"qty":1.00000000,"ord_type":"limit","trade_id":1,"timestamp":"2026-11-21T01:00:01Z"}"#;
    for (count, fits) in
        [(crate::raw::MESSAGES_PER_RAW_MAX, true), (crate::raw::MESSAGES_PER_RAW_MAX + 1, false)]
    {
        let frame =
            format!(r#"{{"channel":"trade","type":"update","data":[{}]}}"#, vec![one; count].join(","));
        let (mut kraken, mut directory, mut raw) = (Kraken::default(), live(), Raw::default());
        let outcome = decode_both(&mut kraken, &mut directory, &mut raw, frame.as_bytes());
        assert_eq!(outcome, if fits { Ok(Decoded::Data) } else { Err(DecodeError::TooMany) });
    }
}

#[test]
fn a_stream_that_nobody_asked_for_is_no_error_and_no_message() {
    let (mut kraken, mut directory, mut raw) = (Kraken::default(), live(), Raw::default());
    let frame = br#"{"channel":"book","type":"update","data":[{"symbol":"ETH/USD","bids":[],"asks":[],"checksum":1}]}"#;
    assert_eq!(decode_both(&mut kraken, &mut directory, &mut raw, frame), Ok(Decoded::Data));
    assert!(raw.messages.is_empty());
}

#[test]
fn a_digit_beyond_the_known_scale_asks_for_a_wider_one() {
    let (mut kraken, mut directory, mut raw) = (Kraken::default(), live(), Raw::default());
    let mut frame = br#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":64210.45,"qty":1.00000000}],"asks":[],"checksum":1}]}"#.to_vec();
    let listing = directory.find(b"BTC/USD").expect("listed");
    let wider = DecodeError::Wider { listing, decimals: Decimals { price: 2, qty: 8 } };
    assert_eq!(kraken.decode(&mut frame, &mut directory, &mut raw), Err(wider));
    assert_eq!(kraken.fallbacks(), Fallbacks::default(), "what is decoded again is counted once");
    assert_eq!(decode_both(&mut kraken, &mut directory, &mut raw, &frame), Ok(Decoded::Data));
    assert_eq!(raw.bids[0].price.0, 6_421_045);
}

fn fixture(name: &str) -> Vec<u8> {
    frames().into_iter().find(|(found, _)| found == name).expect("a fixture").1.into_bytes()
}

const BTC_FACTS: &str = "BTC/USD BTC-USD Decimals { price: 1, qty: 8 } known true trading true tick 0.1 lot 0.00000001 qty 0.0001.. notional 0.";

#[test]
fn both_lists_tell_the_same_about_a_listed_pair_and_list_nothing() {
    let mut raw = Raw::default();
    for list in ["instrument_snapshot", "rest_AssetPairs"] {
        for mut directory in [Directory::closed(ProviderId(0)), Directory::open(ProviderId(0))] {
            directory.add("BTC/USD", "BTC/USD", InstrumentId(0)).expect("listed");
            let mut kraken = Kraken::default();
            let outcome = if list == "rest_AssetPairs" {
                kraken.decode_rest("/0/public/AssetPairs", &mut fixture(list), &mut directory, &mut raw)
            } else {
                kraken.decode(&mut fixture(list), &mut directory, &mut raw)
            };
            assert!(outcome.is_ok() && raw.messages.is_empty(), "{outcome:?}");
            let facts = print_facts(&directory);
            assert!(facts.starts_with(BTC_FACTS), "{facts}");
            assert_eq!(directory.instruments().len(), 1);
        }
    }
}

#[test]
fn an_open_directory_learns_the_facts_of_pairs_that_appear_later() {
    let (mut kraken, mut raw) = (Kraken::default(), Raw::default());
    let mut directory = Directory::open(ProviderId(0));
    let outcome =
        kraken.decode_rest("/0/public/AssetPairs", &mut fixture("rest_AssetPairs"), &mut directory, &mut raw);
    assert_eq!(outcome, Ok(Decoded::Data));
    assert!(directory.instruments().is_empty());
    // REST's own key is known from the list, so the answer alone tells its pair.
    let outcome = kraken.decode_rest("/0/public/Depth", &mut fixture("rest_Depth"), &mut directory, &mut raw);
    assert_eq!(outcome, Ok(Decoded::Data));
    let facts = print_facts(&directory);
    assert!(facts.starts_with(BTC_FACTS), "{facts}");
    let doge = kraken.pairs.listing(&mut directory, b"DOGE/EUR").expect("learned");
    let doge = directory.instrument(doge);
    assert_eq!((doge.symbol.as_str(), doge.decimals.price, doge.trading), ("DOGE-EUR", 7, false));
}

#[test]
fn a_configured_canonical_symbol_stays() {
    let (mut kraken, mut raw) = (Kraken::default(), Raw::default());
    let mut directory = Directory::closed(ProviderId(0));
    let listing = directory.add("BTC/USD", "XBT-USD", InstrumentId(0)).expect("listed");
    kraken.decode(&mut fixture("instrument_snapshot"), &mut directory, &mut raw).expect("the list");
    assert_eq!(directory.instrument(listing).symbol, "XBT-USD");
}

#[test]
fn one_bad_pair_is_named_and_the_others_are_learned() {
    let text = String::from_utf8(fixture("rest_AssetPairs")).expect("text");
    let mut body = text.replacen(r#""pair_decimals":7"#, r#""pair_decimals":"many""#, 1).into_bytes();
    let (mut kraken, mut raw) = (Kraken::default(), Raw::default());
    let mut directory = Directory::closed(ProviderId(0));
    directory.add("DOGE/EUR", "DOGE-EUR", InstrumentId(0)).expect("listed");
    directory.add("BTC/USD", "BTC-USD", InstrumentId(1)).expect("listed");
    let outcome = kraken.decode_rest("/0/public/AssetPairs", &mut body, &mut directory, &mut raw);
    assert_eq!(outcome, Err(DecodeError::Invalid { field: "pair_decimals" }));
    let known: Vec<_> = directory.instruments().iter().map(|it| it.decimals_known).collect();
    assert_eq!(known, [false, true]);
}

#[test]
fn requests_name_the_pair_as_rest_does() {
    let (kraken, mut directory) = (Kraken::default(), Directory::closed(ProviderId(0)));
    let listing =
        directory.add(&kraken.venue_symbol("BTC-DOGE"), "BTC-DOGE", InstrumentId(0)).expect("listed");
    let path = |request: Option<RestRequest>| request.expect("offered").path;
    assert_eq!(directory.instrument(listing).venue_symbol, "BTC/DOGE");
    assert_eq!(
        path(kraken.snapshot_request(&directory, listing, 10)),
        "/0/public/Depth?pair=XBTXDG&count=10"
    );
    assert_eq!(
        path(kraken.snapshot_request(&directory, listing, 10_000)),
        "/0/public/Depth?pair=XBTXDG&count=500"
    );
    assert_eq!(
        path(kraken.trades_request(&directory, listing, 1, 2)),
        "/0/public/Trades?pair=XBTXDG&count=1000"
    );
    assert_eq!(kraken.instruments_request().path, "/0/public/AssetPairs");
}

#[test]
fn other_answers_and_other_pairs_are_refused() {
    for (path, body, expected) in [
        ("/0/public/Ticker", r#"{"error":[],"result":{}}"#, DecodeError::UnknownChannel),
        ("/0/private/AddOrder", "{}", DecodeError::UnknownChannel),
        ("/0/public/Depth", "{}", DecodeError::Missing { field: "result" }),
        ("/0/public/Depth", r#"{"error":[],"result":{"X":{}}}"#, DecodeError::UnknownSymbol),
        ("/0/public/Depth?pair=XBTUSD", r#"{"result":{"X":{}}}"#, DecodeError::Missing { field: "bids" }),
        (
            "/0/public/Depth?pair=XBTUSD",
            r#"{"result":{"X":{"bids":[["1"]],"asks":[]}}}"#,
            DecodeError::Missing { field: "volume" },
        ),
        (
            "/0/public/Trades?pair=XBTUSD",
            r#"{"result":{"last":"1"}}"#,
            DecodeError::Missing { field: "result" },
        ),
        (
            "/0/public/Trades?pair=XBTUSD",
            r#"{"result":{"X":[["1","1",1,"b","l",""]]}}"#,
            DecodeError::Missing { field: "trade_id" },
        ),
        ("/0/public/AssetPairs", r#"{"result":[]}"#, DecodeError::Invalid { field: "result" }),
        ("/0/public/AssetPairs", "<html>", DecodeError::Json),
    ] {
        let (mut kraken, mut directory, mut raw) = (Kraken::default(), live(), Raw::default());
        let outcome = kraken.decode_rest(path, &mut body.as_bytes().to_vec(), &mut directory, &mut raw);
        assert_eq!(outcome, Err(expected), "{path} {body}");
    }
}

#[test]
fn depths_that_the_venue_has_and_no_others() {
    for depth in DEPTHS {
        assert_eq!(Kraken::new(depth).map(|kraken| kraken.depth()), Ok(depth));
    }
    for depth in [0, 20, 50, 5_000] {
        assert_eq!(Kraken::new(depth).map(|kraken| kraken.depth()), Err(UnknownDepth(depth)));
    }
}

#[test]
fn long_words_of_the_venue_are_cut_between_letters() {
    let words = "é".repeat(200);
    let frame = format!(r#"{{"method":"subscribe","success":false,"error":"{words}"}}"#);
    let (mut kraken, mut directory, mut raw) = (Kraken::default(), live(), Raw::default());
    let outcome = decode_both(&mut kraken, &mut directory, &mut raw, frame.as_bytes());
    let Ok(Decoded::Notice(Notice::Refused { reason, .. })) = outcome else { panic!("{outcome:?}") };
    assert_eq!(reason.as_str(), "é".repeat(60));
}
