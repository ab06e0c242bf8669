//! Fixtures decode to what lies beside them; recorded and mutated frames decode alike in both decoders; recorded books
//! end as an independent program found them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::PathBuf;

use super::{Coinbase, Product, Progress, Scanned};
use crate::channel::Channel;
use crate::decimal::{Number, Sum};
use crate::directory::Directory;
use crate::event::{Level, TickerFields};
use crate::ids::{InstrumentId, ProviderId, StreamId};
use crate::raw::{Content, DecodeError, Decoded, Message, Notice, Raw};
use crate::venue::Venue;

// --- a frame's events as text --------------------------------------------------------------------------------------

fn print_message(raw: &Raw, message: &Message, directory: &Directory, out: &mut String) {
    let decimals = message.decimals;
    let price = |mantissa: i64| Number { mantissa, decimals: decimals.price }.to_string();
    let qty = |mantissa: i64| Number { mantissa, decimals: decimals.qty }.to_string();
    let levels = |levels: &[Level]| {
        let levels: Vec<String> =
            levels.iter().map(|level| format!("{}x{}", price(level.price.0), qty(level.qty.0))).collect();
        levels.join(" ")
    };
    let stream = directory.carries(message.stream);
    assert_eq!(stream.listing, message.listing);
    let symbol = &directory.instrument(message.listing).symbol;
    let (number, time) = (message.numbers.last, message.venue_time.raw_ns());
    write!(out, "  {symbol} {} #{number} @{time} ", stream.channel).unwrap();
    match &message.content {
        Content::Trade(trade) | Content::TradeBefore(trade) => {
            let before = matches!(message.content, Content::TradeBefore(_));
            let word = if before { "before" } else { "trade" };
            let side = trade.taker_side;
            write!(out, "{word} {} taker {side:?} {}x{}", trade.id, price(trade.price.0), qty(trade.qty.0))
        }
        Content::Ticker(ticker) => {
            let mut text = String::new();
            if ticker.fields.has(TickerFields::BEST) {
                let (bid, ask) = (price(ticker.bid.0), price(ticker.ask.0));
                write!(text, "{bid}x{} {ask}x{} ", qty(ticker.bid_qty.0), qty(ticker.ask_qty.0)).unwrap();
            }
            if ticker.fields.has(TickerFields::RANGE) {
                let (open, high, low) = (price(ticker.open.0), price(ticker.high.0), price(ticker.low.0));
                write!(text, "open {open} high {high} low {low} ").unwrap();
            }
            if ticker.fields.has(TickerFields::VOLUME) {
                write!(text, "volume {} ", qty(ticker.volume.0)).unwrap();
            }
            if ticker.fields.has(TickerFields::LAST_QTY) {
                write!(text, "last_qty {} ", qty(ticker.last_qty.0)).unwrap();
            }
            write!(out, "{text}last {}", price(ticker.last.0))
        }
        Content::Kline(kline, last) => write!(
            out,
            "{}..{} open {} high {} low {} close {} volume {} final {last}",
            kline.open_time.raw_ns(),
            kline.close_time.raw_ns(),
            price(kline.open.0),
            price(kline.high.0),
            price(kline.low.0),
            price(kline.close.0),
            qty(kline.volume.0)
        ),
        Content::Book(book) => {
            let word = if book.snapshot { "snapshot" } else { "update" };
            write!(out, "{word} bids [{}] asks [{}]", levels(raw.bids_of(book)), levels(raw.asks_of(book)))
        }
    }
    .unwrap();
    out.push('\n');
}

fn print(number: usize, result: &Result<Decoded, DecodeError>, raw: &Raw, directory: &Directory) -> String {
    let mut out = format!("frame {number}");
    if let Some(sequence) = raw.connection_sequence {
        write!(out, " connection {sequence}").unwrap();
    }
    match result {
        Ok(Decoded::Data) => {
            out.push('\n');
            for message in &raw.messages {
                print_message(raw, message, directory, &mut out);
            }
        }
        Ok(Decoded::Notice(notice)) => writeln!(out, " {notice:?}").unwrap(),
        Err(error) => writeln!(out, " error: {error}").unwrap(),
    }
    out
}

// --- decoding --------------------------------------------------------------------------------------------------------

/// Decodes as a connection does: in pieces, and again after widening a scale.
fn decode(
    venue: &mut Coinbase,
    frame: &[u8],
    directory: &mut Directory,
    raw: &mut Raw,
    bytes_max: usize,
) -> Result<Decoded, DecodeError> {
    loop {
        raw.reset();
        let (mut bytes, mut progress) = (frame.to_vec(), Progress::None);
        let result = loop {
            match venue.decode_piece(&mut bytes, directory, raw, &mut progress, bytes_max) {
                Ok(None) => {}
                Ok(Some(decoded)) => break Ok(decoded),
                Err(error) => break Err(error),
            }
        };
        match result {
            Err(DecodeError::Wider { listing, decimals }) => {
                assert_ne!(directory.instrument(listing).decimals, decimals);
                directory.widen(listing, decimals);
            }
            result => return result,
        }
    }
}

/// Runs both decoders on a frame and wants one result. Says whether the scanner read it.
fn agree(venue: &mut Coinbase, frame: &[u8], directory: &Directory) -> bool {
    let (mut scan_directory, mut scan_raw) = (directory.clone(), Raw::default());
    let (mut walk_directory, mut walk_raw) = (directory.clone(), Raw::default());
    let Some(scanned) = venue.scan(frame, &mut scan_directory, &mut scan_raw, Progress::None, usize::MAX)
    else {
        return false;
    };
    let Scanned::Done(scales) = scanned else { panic!("a piece that has no end") };
    let scanned = scales.finish().map(|()| Decoded::Data);
    let (hot, walked) = venue.walk(&mut frame.to_vec(), &mut walk_directory, &mut walk_raw);
    let text = String::from_utf8_lossy(frame);
    assert_eq!(scanned, walked, "{text}");
    assert!(hot, "{text}");
    if scanned.is_ok() {
        assert_eq!(scan_raw.connection_sequence, walk_raw.connection_sequence, "{text}");
        assert_eq!(scan_raw.messages, walk_raw.messages, "{text}");
        assert_eq!((scan_raw.bids, scan_raw.asks), (walk_raw.bids, walk_raw.asks), "{text}");
        assert_eq!(scan_directory.streams(), walk_directory.streams(), "{text}");
    }
    true
}

// --- fixtures --------------------------------------------------------------------------------------------------------

fn check_fixture(product: Product, frames: &str, expected: &str) {
    let (mut venue, mut directory) = (Coinbase::new(product), Directory::open(ProviderId(0)));
    // The widest texts first, so that the expected file shows one scale throughout.
    let (mut raw, mut found) = (Raw::default(), String::new());
    for pass in 0..2 {
        found.clear();
        for (index, frame) in frames.lines().enumerate() {
            let result = decode(&mut venue, frame.as_bytes(), &mut directory, &mut raw, usize::MAX);
            found.push_str(&print(index + 1, &result, &raw, &directory));
            if pass == 1 {
                agree(&mut venue, frame.as_bytes(), &directory);
            }
        }
    }
    assert!(found == expected, "found:\n{found}");
}

#[test]
fn a_list_of_subscriptions_names_our_streams_whatever_else_it_holds() {
    for (product, frame, expected) in [
        (
            Product::Advanced,
            r#"{"channel":"subscriptions","sequence_num":3,"events":[{"subscriptions":{"level2":["B-USD"],"x":5}}]}"#,
            1,
        ),
        (
            Product::Advanced,
            r#"{"channel":"subscriptions","sequence_num":4,"events":[{"subscriptions":{}}]}"#,
            0,
        ),
        (Product::Advanced, r#"{"channel":"subscriptions","sequence_num":5,"events":[]}"#, 0),
        (Product::Advanced, r#"{"channel":"subscriptions","sequence_num":6}"#, 0),
        (
            Product::Exchange,
            r#"{"type":"subscriptions","channels":[{"name":"level2","product_ids":["B-USD"]},{"name":"x"}]}"#,
            1,
        ),
        (Product::Exchange, r#"{"type":"subscriptions","channels":5}"#, 0),
    ] {
        let (mut venue, mut directory) = (Coinbase::new(product), Directory::closed(ProviderId(0)));
        let listing = directory.add("B-USD", "B-USD", InstrumentId(0)).expect("short");
        let book = directory.add_stream(listing, Channel::Book { speed_ms: 0 });
        venue.carried.push(StreamId(99)); // of the list before
        let mut raw = Raw::default();
        let decoded = decode(&mut venue, frame.as_bytes(), &mut directory, &mut raw, usize::MAX);
        assert_eq!(decoded, Ok(Decoded::Notice(Notice::Carried)), "{frame}");
        assert_eq!(venue.carried(), &[book][..expected], "{frame}");
    }
}

#[test]
fn advanced_frames_decode_to_the_events_beside_them() {
    check_fixture(
        Product::Advanced,
        include_str!("fixtures/advanced.jsonl"),
        include_str!("fixtures/advanced.events"),
    );
}

#[test]
fn exchange_frames_decode_to_the_events_beside_them() {
    check_fixture(
        Product::Exchange,
        include_str!("fixtures/exchange.jsonl"),
        include_str!("fixtures/exchange.events"),
    );
}

#[test]
fn a_status_closes_a_listed_product_and_lists_none() {
    let (mut venue, mut directory) = (Coinbase::new(Product::Advanced), Directory::open(ProviderId(0)));
    let status =
        include_str!("fixtures/advanced.jsonl").lines().find(|line| line.contains("offline")).unwrap();
    let mut raw = Raw::default();
    decode(&mut venue, status.as_bytes(), &mut directory, &mut raw, usize::MAX).expect("a notice");
    assert!(directory.instruments().is_empty());
    let listing = directory.add("ETH-USD", "ETH-USD", InstrumentId(0)).expect("listed");
    decode(&mut venue, status.as_bytes(), &mut directory, &mut raw, usize::MAX).expect("a notice");
    assert!(!directory.instrument(listing).trading);
}

#[test]
fn an_unknown_product_costs_the_others_nothing() {
    let (mut venue, mut directory) = (Coinbase::new(Product::Advanced), Directory::closed(ProviderId(0)));
    let listing = directory.add("BTC-USD", "BTC-USD", InstrumentId(0)).expect("listed");
    directory.add_stream(listing, crate::channel::Channel::Book { speed_ms: 0 });
    let mut raw = Raw::default();
    let mut check = |frame: &str, expected: Result<usize, DecodeError>| {
        let result = decode(&mut venue, frame.as_bytes(), &mut directory, &mut raw, usize::MAX);
        assert_eq!(result.map(|_| raw.messages.len()), expected, "{frame}");
        assert_eq!(raw.connection_sequence, Some(7), "{frame}");
    };
    let event = |id: &str| {
        let row = r#"{"side":"bid","event_time":"2026-11-21T01:00:00.39Z","price_level":"3010.1","new_quantity":"2"}"#;
        format!(r#"{{"type":"update","product_id":"{id}","updates":[{row}]}}"#)
    };
    let frame = |events: &str| {
        let time = "2026-11-21T01:00:00.4Z";
        format!(r#"{{"channel":"l2_data","timestamp":"{time}","sequence_num":7,"events":[{events}]}}"#)
    };
    check(&frame(&format!("{},{}", event("ETH-USD"), event("BTC-USD"))), Ok(1));
    check(&frame(&format!("{},{}", event("BTC-USD"), event("ETH-USD"))), Ok(1));
    check(&frame(&event("ETH-USD")), Err(DecodeError::UnknownSymbol));
    check(&frame(""), Ok(0));
    // A listed product whose trades nobody wants.
    let trades = event("BTC-USD").replace("updates", "trades").replace("product_id\":\"BTC-USD\",\"", "");
    let trade = r#"{"trade_id":"1","product_id":"BTC-USD","price":"1","size":"1","side":"BUY","time":"2026-11-21T01:00:00Z"}"#;
    let trades = format!("{}[{trade}]}}", &trades[..trades.find('[').unwrap()]);
    check(&frame(&trades).replace("l2_data", "market_trades"), Ok(0));
}

// --- REST ------------------------------------------------------------------------------------------------------------

/// Decodes `body` as the answer to `path` and gives the messages as text.
fn check_rest(product: Product, directory: &mut Directory, path: &str, body: &str, expected: &str) {
    let (mut venue, mut raw) = (Coinbase::new(product), Raw::default());
    let result = loop {
        raw.reset();
        match venue.decode_rest(path, &mut body.as_bytes().to_vec(), directory, &mut raw) {
            Err(DecodeError::Wider { listing, decimals }) => directory.widen(listing, decimals),
            result => break result,
        }
    };
    assert_eq!(print(1, &result, &raw, directory).trim_start_matches("frame 1").trim(), expected, "{path}");
}

#[test]
fn answers_decode_by_the_path_that_was_asked() {
    let mut directory = Directory::open(ProviderId(0));
    let listing = directory.listing(b"BTC-USD").expect("learned");
    let advanced = Coinbase::new(Product::Advanced);
    let path = advanced.snapshot_request(&directory, listing, 50).expect("offered").path;
    assert_eq!(path, "/api/v3/brokerage/market/product_book?product_id=BTC-USD&limit=50");
    check_rest(
        Product::Advanced,
        &mut directory,
        &path,
        r#"{"pricebook":{"product_id":"BTC-USD","bids":[{"price":"64210.5","size":"0.5"}],"asks":[{"price":"64210.51","size":"1.25"}],"time":"2026-11-21T01:00:00Z"},"last":"1","mid_market":"1","spread_bps":"1","spread_absolute":"0.01"}"#,
        "BTC-USD book #0 @1795222800000000000 snapshot bids [64210.50x0.50] asks [64210.51x1.25]",
    );
    assert_eq!(advanced.trades_request(&directory, listing, 5, 7), None);

    let exchange = Coinbase::new(Product::Exchange);
    let path = exchange.snapshot_request(&directory, listing, 50).expect("offered").path;
    assert_eq!(path, "/products/BTC-USD/book?level=2");
    check_rest(
        Product::Exchange,
        &mut directory,
        &path,
        r#"{"sequence":13051505638,"bids":[["64210.5","0.50",2]],"asks":[["64210.51","1.25",1]],"time":"2026-11-21T01:00:00Z"}"#,
        "BTC-USD book #0 @1795222800000000000 snapshot bids [64210.50x0.50] asks [64210.51x1.25]",
    );
    let path = |from, to| exchange.trades_request(&directory, listing, from, to).map(|request| request.path);
    assert_eq!(path(5, 7).as_deref(), Some("/products/BTC-USD/trades?after=8&limit=3"));
    assert_eq!(path(5, 9_999).as_deref(), Some("/products/BTC-USD/trades?after=1005&limit=1000"));
    assert_eq!(path(7, 5), None);
    let path = path(5, 6).expect("offered");
    check_rest(
        Product::Exchange,
        &mut directory,
        &path,
        r#"[{"time":"2026-11-21T01:00:01Z","trade_id":6,"price":"64210.5","size":"0.2","side":"buy"},{"time":"2026-11-21T01:00:00Z","trade_id":5,"price":"64210.51","size":"0.1","side":"sell"}]"#,
        "BTC-USD trade #5 @1795222800000000000 trade 5 taker Buy 64210.51x0.10\n  BTC-USD trade #6 @1795222801000000000 trade 6 taker Sell 64210.50x0.20",
    );
    check_rest(Product::Exchange, &mut directory, "/time", "{}", "error: unknown channel or event type");
    check_rest(Product::Advanced, &mut directory, "/products", "[]", "error: unknown channel or event type");
}

#[test]
fn a_product_list_tells_steps_and_whether_it_trades() {
    let check = |product, path: &str, body: &str| {
        let mut directory = Directory::closed(ProviderId(0));
        let ids =
            ["BTC-USD", "ETH-USD"].map(|symbol| directory.add(symbol, symbol, InstrumentId(0)).unwrap());
        let (mut venue, mut raw) = (Coinbase::new(product), Raw::default());
        assert_eq!(venue.instruments_request().path, path);
        let decoded = venue.decode_rest(path, &mut body.as_bytes().to_vec(), &mut directory, &mut raw);
        assert_eq!(decoded, Ok(Decoded::Data));
        assert_eq!(directory.instruments().len(), 2, "what was not asked for is not listed");
        let (bitcoin, ether) = (directory.instrument(ids[0]), directory.instrument(ids[1]));
        assert!(bitcoin.trading && !ether.trading);
        let filters = bitcoin.filters;
        let all = [filters.tick, filters.lot, filters.qty_min, filters.qty_max, filters.notional_min];
        let all = all.map(|number| number.to_string());
        assert_eq!(all, ["0.01", "0.00000001", "0.0001", "3400", "1"]);
        assert_eq!((bitcoin.decimals.price, bitcoin.decimals.qty, bitcoin.decimals_known), (2, 8, false));
    };
    check(
        Product::Advanced,
        "/api/v3/brokerage/market/products",
        r#"{"products":[{"product_id":"BTC-USD","base_increment":"0.00000001","quote_increment":"0.001","price_increment":"0.01","base_min_size":"0.0001","base_max_size":"3400","quote_min_size":"1","status":"online","trading_disabled":false},{"product_id":"ETH-USD","base_increment":"0.1","quote_increment":"0.01","status":"online","trading_disabled":true},{"product_id":"XRP-USD","status":"online"}]}"#,
    );
    check(
        Product::Exchange,
        "/products",
        r#"[{"id":"BTC-USD","base_increment":"0.00000001","quote_increment":"0.01","base_min_size":"0.0001","base_max_size":"3400","min_market_funds":"1","status":"online","trading_disabled":false},{"id":"ETH-USD","base_increment":"0.1","quote_increment":"0.01","status":"delisted"}]"#,
    );
}

// --- mutated frames -----------------------------------------------------------------------------------------------

/// Changes `frame` a little: digits by others, bytes replaced, removed or doubled, or its end cut off.
fn mutate(frame: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    let digits: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at].is_ascii_digit()).collect();
    if !digits.is_empty() && random.bool() {
        for _ in 0..random.usize(1..4) {
            let at = digits[random.usize(..digits.len())];
            match random.u8(..4) {
                0 => bytes.insert(at, b'0' + random.u8(..10)),
                1 => bytes[at] = b'.',
                _ => bytes[at] = b'0' + random.u8(..10),
            }
        }
        return bytes;
    }
    for _ in 0..random.usize(1..4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.usize(..bytes.len());
        match random.u8(..8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, frame[random.usize(..frame.len())]),
            3 => bytes[at] = random.u8(..),
            4 => {
                // A run of the frame copied elsewhere: fields twice, rows in rows.
                let from = random.usize(..frame.len());
                let run = frame[from..(from + random.usize(1..60)).min(frame.len())].to_vec();
                bytes.splice(at..at, run);
            }
            _ => bytes[at] = b"0123456789.-eE\"\\:,[]{} bx"[random.usize(..25)],
        }
    }
    bytes
}

fn check_mutations<'a>(product: Product, frames: impl Iterator<Item = &'a [u8]>, rounds: usize, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut venue = Coinbase::new(product);
    let (mut scanned, mut all) = (0, 0);
    for frame in frames {
        let mut directory = Directory::open(ProviderId(0));
        let mut raw = Raw::default();
        // Half of the rounds know the product and its scale.
        let known = decode(&mut venue, frame, &mut directory, &mut raw, usize::MAX).is_ok();
        let readable = agree(&mut venue, frame, &directory);
        for round in 0..rounds {
            let bytes = mutate(frame, &mut random);
            let fresh = Directory::open(ProviderId(0));
            let directory = if known && round % 2 == 0 { &directory } else { &fresh };
            scanned += usize::from(agree(&mut venue, &bytes, directory));
            all += usize::from(readable);
            // And through the front door, whole and in pieces.
            let (mut one, mut two) = (directory.clone(), directory.clone());
            let (mut whole, mut pieces) = (Raw::default(), Raw::default());
            let first = decode(&mut venue, &bytes, &mut one, &mut whole, usize::MAX);
            let second = decode(&mut venue, &bytes, &mut two, &mut pieces, random.usize(..200));
            assert_eq!(first, second, "{}", String::from_utf8_lossy(&bytes));
            if first.is_ok() {
                assert_eq!(whole.messages, pieces.messages, "{}", String::from_utf8_lossy(&bytes));
                assert_eq!((whole.bids, whole.asks), (pieces.bids, pieces.asks));
            }
        }
    }
    assert!(
        scanned * 10 > all,
        "the mutations leave some frames to the scanner: {scanned} of {all}, seed {seed}"
    );
}

#[test]
fn mutated_fixtures_decode_alike_or_not_at_all() {
    let lines = |text: &'static str| text.lines().map(str::as_bytes);
    check_mutations(Product::Advanced, lines(include_str!("fixtures/advanced.jsonl")), 600, 1);
    check_mutations(Product::Exchange, lines(include_str!("fixtures/exchange.jsonl")), 600, 2);
}

// --- recordings ----------------------------------------------------------------------------------------------------

fn captures() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/captures");
    let root = std::env::var_os("MELTICA_CAPTURES").map_or_else(|| default.into(), PathBuf::from);
    if root.join("coinbase").is_dir() {
        return Some(root);
    }
    eprintln!("SKIPPED: no recordings at {}; set MELTICA_CAPTURES", root.display());
    None
}

/// The messages of a recording: how they came, and what they are.
fn recording(root: &std::path::Path, name: &str) -> Vec<(String, Vec<u8>)> {
    let bytes = std::fs::read(root.join("coinbase").join(name)).expect("a recording");
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("gzip");
    } else {
        text = String::from_utf8(bytes).expect("text");
    }
    let message = |line: &str| {
        let mut columns = line.splitn(3, '\t').skip(1);
        (columns.next().unwrap().to_owned(), columns.next().unwrap().as_bytes().to_vec())
    };
    text.lines().map(message).collect()
}

const RECORDINGS: [(Product, &str); 6] = [
    (Product::Advanced, "advanced_l2_btcusd_20260824_trimmed.tsv"),
    (Product::Exchange, "exchange_btcusd_20260704_trimmed.tsv"),
    (Product::Exchange, "exchange_multi_20210417.tsv.gz"),
    (Product::Exchange, "samples_crypto-msg-parser.tsv"),
    (Product::Advanced, "samples_jkorf.tsv"),
    (Product::Advanced, "samples_nautilus.tsv"),
];

#[test]
fn both_decoders_read_every_recorded_frame_alike_and_the_scanner_reads_nearly_all() {
    let Some(root) = captures() else { return };
    let (mut hot, mut scanned) = (0, 0);
    for (product, name) in RECORDINGS {
        let (mut venue, mut directory) = (Coinbase::new(product), Directory::open(ProviderId(0)));
        let mut raw = Raw::default();
        for (way, frame) in recording(&root, name) {
            let text = String::from_utf8_lossy(&frame);
            if way != "ws" {
                continue;
            }
            agree(&mut venue, &frame, &directory);
            let result = decode(&mut venue, &frame, &mut directory, &mut raw, usize::MAX);
            // The samples have private channels, full-channel messages and one candle without its fields.
            let other = ["\"futures_balance_summary\"", "\"user\",", "\"type\":\"open\""];
            if other.iter().any(|part| text.contains(part)) && !text.contains("\"subscriptions\"") {
                assert_eq!(result, Err(DecodeError::UnknownChannel), "{text}");
            } else if text.contains(r#"[{ "product_id": "ETH-USDT" }]"#) {
                assert_eq!(result, Err(DecodeError::Missing { field: "start" }), "{text}");
            } else {
                assert!(result.is_ok(), "{result:?} {text}");
            }
            assert_eq!(raw.connection_sequence.is_some(), product == Product::Advanced, "{text}");
            agree(&mut venue, &frame, &directory);
        }
        hot += venue.fallbacks().hot_frames;
        scanned += venue.fallbacks().scanned_frames;
        if !name.starts_with("samples") {
            assert!(venue.fallbacks().hot_frames > 10, "{name}: {:?}", venue.fallbacks());
        }
    }
    assert!(hot > 6_500 && scanned * 100 >= hot * 99, "{scanned} of {hot}");
}

#[test]
fn mutated_recordings_decode_alike_or_not_at_all() {
    let Some(root) = captures() else { return };
    for (seed, (product, name)) in RECORDINGS.into_iter().enumerate() {
        let frames = recording(&root, name);
        let short: Vec<_> = frames.iter().filter(|(_, frame)| frame.len() < 4_000).collect();
        let step = (short.len() / 40).max(1);
        let some = short.iter().step_by(step).map(|(_, frame)| &frame[..]);
        check_mutations(product, some, 60, 100 + seed as u64);
    }
}

#[test]
fn the_recorded_product_list_is_read() {
    let Some(root) = captures() else { return };
    let [(way, body)] = &recording(&root, "exchange_rest_products_20210417.tsv")[..] else {
        panic!("one line")
    };
    let (mut venue, mut directory) = (Coinbase::new(Product::Exchange), Directory::open(ProviderId(0)));
    let path = way.strip_prefix("rest:").expect("an answer");
    let decoded = venue.decode_rest(path, &mut body.clone(), &mut directory, &mut Raw::default());
    assert_eq!(decoded, Ok(Decoded::Data));
    let list: serde_json::Value = serde_json::from_slice(body).expect("JSON");
    let list = list.as_array().expect("a list");
    assert!(list.len() > 100);
    for product in list {
        let listing =
            venue.products.listing(&mut directory, product["id"].as_str().unwrap().as_bytes()).unwrap();
        let instrument = directory.instrument(listing);
        assert_eq!(instrument.filters.tick.to_string(), product["quote_increment"].as_str().unwrap());
        assert_eq!(instrument.filters.lot.to_string(), product["base_increment"].as_str().unwrap());
        let closed = product["trading_disabled"] == true || product["cancel_only"] == true;
        assert_eq!(instrument.trading, product["status"] == "online" && !closed);
    }
}

/// A book of a test: bids and asks as mantissas.
#[derive(Default)]
struct Book {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
}

fn apply(side: &mut BTreeMap<i64, i64>, levels: &[Level]) {
    for level in levels {
        if level.qty.0 == 0 {
            side.remove(&level.price.0);
        } else {
            side.insert(level.price.0, level.qty.0);
        }
    }
}

/// Plays a recording and compares its last books and its trades with what an independent program found.
fn check_session(product: Product, name: &str, bytes_max: usize) {
    let Some(root) = captures() else { return };
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(root.join("EXPECTED.json")).unwrap()).unwrap();
    let expected = &expected[format!("coinbase/{name}")];
    let frames = recording(&root, name);
    let (mut venue, mut directory) = (Coinbase::new(product), Directory::open(ProviderId(0)));
    let mut raw = Raw::default();
    // Once to learn the widest texts, so that the books keep one scale.
    for (_, frame) in &frames {
        decode(&mut venue, frame, &mut directory, &mut raw, usize::MAX).expect("decodes");
    }
    let mut books: BTreeMap<String, Book> = BTreeMap::new();
    // Count, quantity, quantity that takers bought, first and last id.
    let mut trades: BTreeMap<String, (u64, i128, i128, u64, u64)> = BTreeMap::new();
    for (_, frame) in &frames {
        decode(&mut venue, frame, &mut directory, &mut raw, bytes_max).expect("decodes");
        for message in &raw.messages {
            let symbol = &directory.instrument(message.listing).symbol;
            match &message.content {
                Content::Book(levels) => {
                    let book = books.entry(symbol.clone()).or_default();
                    if levels.snapshot {
                        *book = Book::default();
                    }
                    apply(&mut book.bids, raw.bids_of(levels));
                    apply(&mut book.asks, raw.asks_of(levels));
                }
                Content::Trade(trade) | Content::TradeBefore(trade) => {
                    let before = matches!(message.content, Content::TradeBefore(_));
                    let kind = if before { "last_match" } else { "match" };
                    let sums = trades.entry(format!("{symbol} {kind}")).or_insert((0, 0, 0, trade.id, 0));
                    let bought = trade.taker_side == crate::event::Side::Buy;
                    sums.0 += 1;
                    sums.1 += i128::from(trade.qty.0);
                    sums.2 += if bought { i128::from(trade.qty.0) } else { 0 };
                    sums.4 = trade.id;
                }
                Content::Ticker(_) => {}
                Content::Kline(..) => panic!("no klines here"),
            }
        }
    }
    let text = |mantissa: i128, decimals: u8| Sum { mantissa, decimals }.trimmed().to_string();
    assert_eq!(books.len(), expected["books"].as_object().unwrap().len());
    for (symbol, book) in &books {
        let decimals = directory.instruments().iter().find(|i| i.symbol == *symbol).unwrap().decimals;
        let end = &expected["books"][symbol]["final"];
        let sum = |side: &BTreeMap<i64, i64>| side.values().map(|&qty| i128::from(qty)).sum::<i128>();
        let (bid, ask) = (book.bids.last_key_value().unwrap(), book.asks.first_key_value().unwrap());
        assert_eq!(text((*bid.0).into(), decimals.price), end["bid"].as_str().unwrap(), "{symbol}");
        assert_eq!(text((*bid.1).into(), decimals.qty), end["bid_qty"].as_str().unwrap(), "{symbol}");
        assert_eq!(text((*ask.0).into(), decimals.price), end["ask"].as_str().unwrap(), "{symbol}");
        assert_eq!(text((*ask.1).into(), decimals.qty), end["ask_qty"].as_str().unwrap(), "{symbol}");
        assert_eq!(book.bids.len() as u64, end["bid_levels"].as_u64().unwrap(), "{symbol}");
        assert_eq!(book.asks.len() as u64, end["ask_levels"].as_u64().unwrap(), "{symbol}");
        assert_eq!(text(sum(&book.bids), decimals.qty), end["sum_bid_qty"].as_str().unwrap(), "{symbol}");
        assert_eq!(text(sum(&book.asks), decimals.qty), end["sum_ask_qty"].as_str().unwrap(), "{symbol}");
    }
    assert_eq!(trades.len(), expected["trades"].as_object().unwrap().len());
    for (name, (count, qty, bought, first, last)) in &trades {
        let symbol = name.split_once(' ').unwrap().0;
        let decimals = directory.instruments().iter().find(|i| i.symbol == symbol).unwrap().decimals;
        let end = &expected["trades"][name];
        assert_eq!(*count, end["count"].as_u64().unwrap(), "{name}");
        assert_eq!((*first, *last), (end["first_id"].as_u64().unwrap(), end["last_id"].as_u64().unwrap()));
        assert_eq!(text(*qty, decimals.qty), end["sum_qty"].as_str().unwrap(), "{name}");
        assert_eq!(text(*bought, decimals.qty), end["taker_buy"][1].as_str().unwrap(), "{name}");
    }
}

#[test]
fn recorded_sessions_end_with_the_books_and_trades_that_were_expected() {
    for bytes_max in [usize::MAX, 1_000] {
        check_session(Product::Advanced, "advanced_l2_btcusd_20260824_trimmed.tsv", bytes_max);
        check_session(Product::Exchange, "exchange_btcusd_20260704_trimmed.tsv", bytes_max);
        check_session(Product::Exchange, "exchange_multi_20210417.tsv.gz", bytes_max);
    }
}
