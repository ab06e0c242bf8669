//! The venue's suite over recordings: every checksum, every frame by both decoders, and frames that were damaged.
//!
//! Recordings stay outside of the repository; `EXPECTED.json` beside them holds what an independent program found.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::checksum::checksum;
use super::tests::{decode, decode_both, frames, live, print};
use super::*;
use crate::book::{BookFeed, Digits, FeedOptions, Outcome};
use crate::decimal::{Decimals, Number, Price, Qty};
use crate::event::Level;
use crate::ids::{InstrumentId, ProviderId};
use crate::raw::Content;

/// The folder of recordings, or `None` with a loud word.
fn captures() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let path = std::env::var_os("MELTICA_CAPTURES").map_or(default, PathBuf::from);
    if path.join("EXPECTED.json").exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: no recordings at {} (set MELTICA_CAPTURES)", path.display());
    None
}

/// Lines of a recording: where it came from (`ws` or `rest:PATH`) and what it says.
fn lines(captures: &Path, name: &str) -> Vec<(String, Vec<u8>)> {
    let bytes = std::fs::read(captures.join(name)).expect("a recording");
    let mut text = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut text).expect("gzip");
    } else {
        text = bytes;
    }
    let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(|line| {
        let mut parts = line.splitn(3, |&byte| byte == b'\t').skip(1);
        let source = String::from_utf8(parts.next().expect("a source").to_vec()).expect("text");
        (source, parts.next().expect("a payload").to_vec())
    });
    lines.collect()
}

fn expected(captures: &Path) -> Json {
    let text = std::fs::read_to_string(captures.join("EXPECTED.json")).expect("expectations");
    serde_json::from_str(&text).expect("JSON")
}

const V2_BOOKS: [&str; 4] = [
    "kraken/v2_book10_btcusd_20260801_resubs.tsv",
    "kraken/v2_book25_btcusd_20260802.tsv.gz",
    "kraken/v2_book25_xrpusd_20260802.tsv.gz",
    "kraken/v2_doc_checksum_example.tsv",
];

const V1: &str = "kraken/v1_multi_20210417.tsv.gz";
const V1_PAIRS: &str = "kraken/v1_rest_assetpairs_20210417.tsv";

const SAMPLES: [&str; 5] = [
    "kraken/samples_crypto-msg-parser.tsv",
    "kraken/samples_gocryptotrader_v1.tsv",
    "kraken/samples_jkorf.tsv",
    "kraken/samples_kraken-async-rs.tsv",
    "kraken/samples_nautilus.tsv",
];

/// A book as simple as can be, to prove the checksum with.
#[derive(Default)]
struct Book {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
    /// Levels a side; `None` never cuts.
    depth: Option<usize>,
}

impl Book {
    fn apply(&mut self, snapshot: bool, bids: &[Level], asks: &[Level]) {
        if snapshot {
            self.bids.clear();
            self.asks.clear();
        }
        for (side, levels) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
            for level in levels {
                if level.qty.0 == 0 {
                    side.remove(&level.price.0);
                } else {
                    side.insert(level.price.0, level.qty.0);
                }
            }
        }
        while self.bids.len() > self.depth.unwrap_or(usize::MAX) {
            self.bids.pop_first();
        }
        while self.asks.len() > self.depth.unwrap_or(usize::MAX) {
            self.asks.pop_last();
        }
    }

    /// The ten best asks and bids.
    fn best(&self) -> (Vec<Level>, Vec<Level>) {
        let level = |(&price, &qty): (&i64, &i64)| Level { price: Price(price), qty: Qty(qty) };
        (self.asks.iter().take(10).map(level).collect(), self.bids.iter().rev().take(10).map(level).collect())
    }

    fn checksum(&self) -> u32 {
        let (asks, bids) = self.best();
        checksum(&asks, &bids, &mut Digits::default())
    }

    /// The checksum of a program that keeps numbers as floats and prints them so.
    fn checksum_by_floats(&self, decimals: Decimals) -> u32 {
        let (asks, bids) = self.best();
        let mut text = String::new();
        for level in asks.iter().chain(&bids) {
            for (mantissa, decimals) in [(level.price.0, decimals.price), (level.qty.0, decimals.qty)] {
                let float: f64 = Number { mantissa, decimals }.to_string().parse().expect("a number");
                text += float.to_string().replace('.', "").trim_start_matches('0');
            }
        }
        crc32fast::hash(text.as_bytes())
    }

    fn crossed(&self) -> bool {
        match (self.bids.last_key_value(), self.asks.first_key_value()) {
            (Some((bid, _)), Some((ask, _))) => bid >= ask,
            _ => false,
        }
    }
}

/// What was counted over one recording of one book, under the names of `EXPECTED.json`.
#[derive(Debug, Default)]
struct Counts {
    snapshots: u64,
    updates: u64,
    rows: u64,
    checksums: u64,
    checksums_ok: u64,
    never_truncating_ok: u64,
    floats_ok: u64,
    crossed: u64,
    last_checksum: u64,
}

impl Counts {
    fn check(&self, name: &str, expected: &Json) {
        for (key, found) in [
            ("snapshots", self.snapshots),
            ("updates", self.updates),
            ("rows", self.rows),
            ("checksums", self.checksums),
            ("checksums_ok", self.checksums_ok),
            ("mutant_never_truncating_ok", self.never_truncating_ok),
            ("mutant_float_numbers_ok", self.floats_ok),
            ("crossed_after_apply", self.crossed),
            ("final_checksum", self.last_checksum),
        ] {
            // The documentation's example has no updates.
            if let Some(expected) = expected.get(key) {
                assert_eq!(found, expected.as_u64().expect("a count"), "{name}: {key}");
            }
        }
        assert_eq!(self.checksums, self.checksums_ok, "{name}");
    }

    /// Applies one message to the book, to one that is never cut, and compares.
    fn count(&mut self, book: &Book, uncut: &Book, decimals: Decimals, checksum: u32) {
        self.checksums += 1;
        self.checksums_ok += u64::from(book.checksum() == checksum);
        self.never_truncating_ok += u64::from(uncut.checksum() == checksum);
        self.floats_ok += u64::from(book.checksum_by_floats(decimals) == checksum);
        self.crossed += u64::from(book.crossed());
        self.last_checksum = u64::from(checksum);
    }
}

#[test]
fn every_recorded_checksum_verifies_and_no_shortcut_does() {
    let Some(captures) = captures() else { return };
    let expectations = expected(&captures);
    let (mut total, mut fallbacks) = (0, Fallbacks::default());
    for name in V2_BOOKS {
        let (mut kraken, mut raw) = (Kraken::default(), Raw::default());
        let mut directory = Directory::open(ProviderId(0));
        let (mut book, mut uncut, mut counts) = (Book::default(), Book::default(), Counts::default());
        let mut granted = None;
        for (_, mut frame) in lines(&captures, name) {
            let outcome = decode(&mut kraken, &mut directory, &mut raw, |kraken, directory, raw| {
                kraken.decode(&mut frame, directory, raw)
            });
            match outcome.expect("a good frame") {
                Decoded::Notice(Notice::Accepted { depth, stream, .. }) => {
                    assert!(stream.is_some());
                    granted = depth.map(usize::from);
                }
                Decoded::Notice(_) => {}
                Decoded::Data => {
                    let [message] = &raw.messages[..] else { panic!("one message a frame") };
                    let Content::Book(said) = &message.content else { panic!("a book") };
                    let (bids, asks) = (raw.bids_of(said), raw.asks_of(said));
                    counts.rows += (bids.len() + asks.len()) as u64;
                    if said.snapshot {
                        counts.snapshots += 1;
                        book.depth = granted.or(Some(bids.len().max(asks.len())));
                    } else {
                        counts.updates += 1;
                    }
                    book.apply(said.snapshot, bids, asks);
                    uncut.apply(said.snapshot, bids, asks);
                    let checksum = said.checksum.expect("always there");
                    counts.count(&book, &uncut, message.decimals, checksum);
                }
            }
        }
        let [instrument] = directory.instruments() else { panic!("one instrument") };
        let said = &expectations[name]["books"][&instrument.venue_symbol];
        counts.check(name, said);
        let best = |mantissa: Option<&i64>, decimals| {
            Number { mantissa: *mantissa.expect("a level"), decimals }.trimmed().to_string()
        };
        assert_eq!(best(book.bids.keys().next_back(), instrument.decimals.price), said["final"]["bid"]);
        assert_eq!(best(book.asks.keys().next(), instrument.decimals.price), said["final"]["ask"]);
        if name != V2_BOOKS[3] {
            total += counts.checksums_ok;
            fallbacks.hot_frames += kraken.fallbacks().hot_frames;
            fallbacks.scanned_frames += kraken.fallbacks().scanned_frames;
        }
    }
    assert_eq!(total, 3_500);
    assert_eq!(fallbacks.hot_frames, 3_500);
    assert!(fallbacks.scanned_frames * 100 >= fallbacks.hot_frames * 99, "{fallbacks:?}");
}

/// The same through the engine's own book, which is what runs live.
#[test]
fn the_engines_book_stays_proved_over_every_recording() {
    let Some(captures) = captures() else { return };
    for (name, checksums) in V2_BOOKS.into_iter().zip([301, 2_052, 1_147, 1]) {
        let (mut kraken, mut raw) = (Kraken::default(), Raw::default());
        let mut directory = Directory::open(ProviderId(0));
        let options = FeedOptions {
            depth_max: 1_000,
            reserve: 100,
            waiting_max: 0,
            snapshot_levels: usize::MAX,
            checksum: kraken.checksum(),
        };
        let mut feed = BookFeed::new(kraken.book_rule(), options);
        for (_, mut frame) in lines(&captures, name) {
            let outcome = decode(&mut kraken, &mut directory, &mut raw, |kraken, directory, raw| {
                kraken.decode(&mut frame, directory, raw)
            });
            if let Ok(Decoded::Notice(Notice::Accepted { depth: Some(depth), .. })) = outcome {
                feed.set_depth(usize::from(depth));
            }
            for message in &raw.messages {
                let Content::Book(book) = &message.content else { panic!("a book") };
                let outcome = feed.offer(message, book, &raw);
                assert!(matches!(outcome, Outcome::Replaced | Outcome::Applied), "{name}: {outcome:?}");
            }
        }
        let (total, ok) = (feed.counts.checksum_total, feed.counts.checksum_ok_total);
        assert_eq!((total, ok, feed.counts.resync_total), (checksums, checksums, 0), "{name}");
    }
}

/// The older protocol has the same checksum: digits of the ten best of each side, asks first. It is refused as a feed.
#[test]
fn every_checksum_of_the_older_protocol_verifies() {
    let Some(captures) = captures() else { return };
    let expectations = expected(&captures);
    let mut books: BTreeMap<String, (Book, Book, Counts)> = BTreeMap::new();
    for (_, frame) in lines(&captures, V1) {
        let (mut kraken, mut directory, mut raw) = (Kraken::default(), live(), Raw::default());
        let outcome = decode_both(&mut kraken, &mut directory, &mut raw, &frame);
        assert_eq!(outcome, Err(DecodeError::UnknownChannel));

        let Json::Array(parts) = serde_json::from_slice(&frame).expect("JSON") else { continue };
        let [_, said @ .., channel, pair] = &parts[..] else { panic!("four parts or five") };
        if !channel.as_str().expect("a channel").starts_with("book") {
            continue;
        }
        let (book, uncut, counts) = books.entry(pair.as_str().expect("a pair").to_owned()).or_default();
        book.depth = Some(1_000);
        let mut decimals = Decimals::default();
        let mut checksum = None;
        counts.updates += u64::from(said[0].get("as").is_none());
        for object in said {
            let snapshot = object.get("as").is_some();
            counts.snapshots += u64::from(snapshot);
            let mut side = |name: &str| -> Vec<Level> {
                let rows = object.get(name).and_then(Json::as_array).into_iter().flatten();
                let level = |row: &Json| {
                    let number = |at: usize| {
                        Number::parse(row[at].as_str().expect("text").as_bytes()).expect("a number")
                    };
                    let (price, qty) = (number(0), number(1));
                    decimals = Decimals { price: price.decimals, qty: qty.decimals };
                    Level { price: Price(price.mantissa), qty: Qty(qty.mantissa) }
                };
                rows.map(level).collect()
            };
            let (bids, asks) = if snapshot { (side("bs"), side("as")) } else { (side("b"), side("a")) };
            if !snapshot {
                counts.rows += (bids.len() + asks.len()) as u64;
            }
            book.apply(snapshot, &bids, &asks);
            uncut.apply(snapshot, &bids, &asks);
            checksum = object.get("c").and_then(Json::as_str).or(checksum);
        }
        if let Some(checksum) = checksum {
            counts.count(book, uncut, decimals, checksum.parse().expect("a checksum"));
        }
    }
    assert_eq!(books.len(), expectations[V1]["books"].as_object().expect("books").len());
    for (pair, (_, _, counts)) in books {
        let said = &expectations[V1]["books"][&pair];
        counts.check(&pair, said);
    }
}

/// Whether a recorded frame is of the protocol and the channels that are decoded here.
fn is_ours(frame: &[u8]) -> bool {
    let value: Json = serde_json::from_slice(frame).expect("JSON");
    if let Some(channel) = value.get("channel") {
        let ours = ["book", "trade", "ticker", "ohlc", "instrument", "status", "heartbeat"];
        return ours.contains(&channel.as_str().expect("text"));
    }
    let method = value.get("method").and_then(Json::as_str);
    value.get("error").is_some() || matches!(method, Some("subscribe" | "unsubscribe" | "pong"))
}

#[test]
fn every_sample_is_decoded_or_refused_with_a_reason() {
    let Some(captures) = captures() else { return };
    let (mut decoded, mut refused) = (0, 0);
    for name in SAMPLES {
        let (mut kraken, mut raw) = (Kraken::default(), Raw::default());
        let mut directory = Directory::open(ProviderId(0));
        for (_, frame) in lines(&captures, name).into_iter().filter(|(source, _)| source == "ws") {
            let outcome = decode_both(&mut kraken, &mut directory, &mut raw, &frame);
            let shown = String::from_utf8_lossy(&frame);
            match outcome {
                // A sample that its source cut down to nothing but a symbol and an interval.
                Err(DecodeError::Missing { field: "interval_begin" }) => {
                    assert!(!shown.contains("open"), "{shown}");
                    refused += 1;
                }
                Err(error) => {
                    assert_eq!(error, DecodeError::UnknownChannel, "{shown}");
                    assert!(!is_ours(&frame), "{shown}");
                    refused += 1;
                }
                Ok(_) => {
                    assert!(is_ours(&frame), "{shown}");
                    assert!(!print(&outcome, &directory, &raw).is_empty(), "{shown}");
                    decoded += 1;
                }
            }
        }
    }
    assert!(decoded >= 30 && refused >= 40, "{decoded} decoded, {refused} refused");
}

#[test]
fn recorded_rest_answers_are_decoded() {
    let Some(captures) = captures() else { return };
    let (mut kraken, mut raw) = (Kraken::default(), Raw::default());
    let mut directory = Directory::open(ProviderId(0));
    let list = lines(&captures, V1_PAIRS);
    let [(_, list)] = &list[..] else { panic!("one answer") };
    let outcome = kraken.decode_rest("/0/public/AssetPairs", &mut list.clone(), &mut directory, &mut raw);
    assert_eq!(outcome, Ok(Decoded::Data));

    let (mut levels, mut refused) = (0, 0);
    for (source, body) in SAMPLES.iter().flat_map(|name| lines(&captures, name)) {
        let Some(path) = source.strip_prefix("rest:") else { continue };
        // Where the source does not say, it is a book.
        let path = if path == "?" { "/0/public/Depth" } else { path.split(' ').next_back().expect("a path") };
        let outcome = decode(&mut kraken, &mut directory, &mut raw, |kraken, directory, raw| {
            kraken.decode_rest(path, &mut body.clone(), directory, raw)
        });
        match path {
            "/0/public/Depth" => {
                assert_eq!(outcome, Ok(Decoded::Data));
                assert_eq!(directory.instrument(raw.messages[0].listing).venue_symbol, "BTC/USD");
                assert_eq!(
                    raw.messages[0].decimals,
                    Decimals { price: 1, qty: 8 },
                    "the list's, not the text's"
                );
                levels += raw.bids.len() + raw.asks.len();
            }
            "/0/public/AssetPairs" => assert!(outcome.is_ok(), "{outcome:?}"),
            _ => {
                assert_eq!(outcome, Err(DecodeError::UnknownChannel), "{path}");
                refused += 1;
            }
        }
    }
    assert!(levels > 6 && refused > 5, "{levels} levels, {refused} refused");
}

#[test]
fn the_names_of_a_pair_follow_from_one_another_over_a_whole_list() {
    let Some(captures) = captures() else { return };
    let list = lines(&captures, V1_PAIRS);
    let value: Json = serde_json::from_slice(&list[0].1).expect("JSON");
    let pairs = value["result"].as_object().expect("pairs");
    let mut directory = Directory::closed(ProviderId(0));
    let mut named = Vec::new();
    for pair in pairs.values() {
        let Some(wsname) = pair["wsname"].as_str() else { continue };
        let symbol = symbols::from_wsname(wsname).expect("a slash");
        assert_eq!(symbols::rest_name(&symbol), pair["altname"].as_str().expect("a name"), "{wsname}");
        assert!(!symbol.contains("XBT") && !symbol.contains("XDG"), "{symbol}");
        directory.add(&symbol, &symbol.replace('/', "-"), InstrumentId(0)).expect("listed");
        named.push(pair);
    }
    assert!(named.len() > 200, "{}", named.len());

    let (mut kraken, mut raw) = (Kraken::default(), Raw::default());
    kraken
        .decode_rest("/0/public/AssetPairs", &mut list[0].1.clone(), &mut directory, &mut raw)
        .expect("the list");
    for (pair, instrument) in named.iter().zip(directory.instruments()) {
        assert!(instrument.decimals_known && instrument.trading, "{pair}");
        assert_eq!(u64::from(instrument.decimals.price), pair["pair_decimals"], "{pair}");
        assert_eq!(u64::from(instrument.decimals.qty), pair["lot_decimals"], "{pair}");
        assert_eq!(
            instrument.filters.qty_min.to_string(),
            pair["ordermin"].as_str().expect("text"),
            "{pair}"
        );
    }
}

/// Damages a frame in one to three places.
fn damage(random: &mut fastrand::Rng, frame: &[u8]) -> Vec<u8> {
    const SPICE: &[u8] = br#"{}[]",:.-+eE019 \nulltrue"#;
    let mut bytes = frame.to_vec();
    for _ in 0..random.usize(1..=3) {
        if bytes.is_empty() {
            break;
        }
        let at = random.usize(..bytes.len());
        match random.u8(..7) {
            0 => bytes.truncate(at),
            1 => bytes[at] = random.u8(..),
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, SPICE[random.usize(..SPICE.len())]),
            4 => bytes[at] = SPICE[random.usize(..SPICE.len())],
            5 => bytes[at] = b'0' + random.u8(..10),
            _ => {
                let to = (at + random.usize(..40)).min(bytes.len());
                let piece = bytes[at..to].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

/// Damages frames by seed and wants both decoders to agree on each, over an open and a closed directory. Returns how
/// many still meant something, and how many did not.
fn check_damaged(frames: &[Vec<u8>], rounds: usize, seed: u64) -> (usize, usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut kraken, mut raw) = (Kraken::default(), Raw::default());
    let mut open = Directory::open(ProviderId(0));
    for frame in frames {
        let _ = decode_both(&mut kraken, &mut open, &mut raw, frame);
    }
    let (mut good, mut bad) = (0, 0);
    for round in 0..rounds {
        let frame = &frames[random.usize(..frames.len())];
        let bytes = damage(&mut random, frame);
        let mut directory = if round % 2 == 0 { live() } else { open.clone() };
        match decode_both(&mut kraken, &mut directory, &mut raw, &bytes) {
            Ok(_) => good += 1,
            Err(_) => bad += 1,
        }
        let mut bytes = bytes;
        for path in ["/0/public/AssetPairs", "/0/public/Depth?pair=XBTUSD", "/0/public/Trades?pair=XBTUSD"] {
            raw.reset();
            let _ = kraken.decode_rest(path, &mut bytes, &mut directory, &mut raw);
        }
    }
    (good, bad)
}

#[test]
fn damaged_fixtures_are_an_error_or_the_same_to_both_decoders_and_never_a_panic() {
    let frames: Vec<_> = frames().into_iter().map(|(_, frame)| frame.into_bytes()).collect();
    let (good, bad) = check_damaged(&frames, 20_000, 1);
    assert!(good > 1_000 && bad > 1_000, "{good} good, {bad} bad");
}

#[test]
fn damaged_recordings_are_an_error_or_the_same_to_both_decoders_and_never_a_panic() {
    let Some(captures) = captures() else { return };
    let (mut good, mut bad) = (0, 0);
    for name in V2_BOOKS.into_iter().chain(SAMPLES) {
        let frames: Vec<_> = lines(&captures, name)
            .into_iter()
            .filter(|(source, frame)| source == "ws" && frame.len() < 4_096)
            .map(|(_, frame)| frame)
            .take(400)
            .collect();
        let counted = check_damaged(&frames, 4_000, 2);
        (good, bad) = (good + counted.0, bad + counted.1);
    }
    assert!(good > 1_000 && bad > 1_000, "{good} good, {bad} bad");
}

#[test]
fn frames_of_other_venues_are_refused() {
    let Some(captures) = captures() else { return };
    for name in ["binance/samples_jkorf.tsv", "coinbase/samples_jkorf.tsv"] {
        for (_, frame) in lines(&captures, name) {
            let (mut kraken, mut directory, mut raw) = (Kraken::default(), live(), Raw::default());
            let outcome = decode_both(&mut kraken, &mut directory, &mut raw, &frame);
            assert!(raw.messages.is_empty(), "{outcome:?} {}", String::from_utf8_lossy(&frame));
        }
    }
}

#[test]
fn recorded_books_by_both_decoders() {
    let Some(captures) = captures() else { return };
    for name in V2_BOOKS {
        let (mut kraken, mut raw) = (Kraken::default(), Raw::default());
        let mut directory = Directory::open(ProviderId(0));
        for (_, frame) in lines(&captures, name) {
            let outcome = decode_both(&mut kraken, &mut directory, &mut raw, &frame);
            assert!(outcome.is_ok(), "{outcome:?}");
        }
    }
}
