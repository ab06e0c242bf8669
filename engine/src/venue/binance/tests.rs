//! Fixtures, written after the documents, and both decoders against each other on all of them, whole and damaged.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::*;
use crate::decimal::Number;
use crate::event::{Level, TickerFields};
use crate::ids::{InstrumentId, ProviderId};
use crate::raw::{Content, Message, Notice};

/// A text frame, or the body of the answer to a GET.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Frame,
    Get(String),
}

/// Which decoder to use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum By {
    Both,
    Tape,
}

/// Decodes as the engine does: widens where that is wanted, and decodes the same bytes again.
pub(super) fn decode(
    venue: &mut Binance,
    directory: &mut Directory,
    source: &Source,
    by: By,
    text: &[u8],
) -> (Result<Decoded, DecodeError>, Raw) {
    let mut raw = Raw::default();
    let mut bytes = text.to_vec();
    for _ in 0..40 {
        raw.reset();
        let decoded = match (source, by) {
            (Source::Get(path), _) => venue.decode_rest(path, &mut bytes, directory, &mut raw),
            (Source::Frame, By::Both) => venue.decode(&mut bytes, directory, &mut raw),
            (Source::Frame, By::Tape) => venue.decode_general(&mut bytes, directory, &mut raw),
        };
        let Err(DecodeError::Wider { listing, decimals }) = decoded else {
            if decoded.is_err() {
                raw.reset();
            }
            return (decoded, raw);
        };
        assert_eq!(bytes, text, "a frame that must be decoded again is as it was");
        directory.widen(listing, decimals);
    }
    panic!("still too narrow: {}", String::from_utf8_lossy(text));
}

/// What a reader of the fixtures can check by eye.
fn show(directory: &Directory, decoded: &Result<Decoded, DecodeError>, raw: &Raw) -> String {
    let mut text = match decoded {
        Err(error) => return format!("error: {error}\n"),
        Ok(Decoded::Notice(notice)) => return format!("notice: {notice:?}\n"),
        Ok(Decoded::Data) => String::new(),
    };
    for message in &raw.messages {
        let Message { stream, listing, decimals, numbers, venue_time, content } = message;
        let price = |price: crate::decimal::Price| Number { mantissa: price.0, decimals: decimals.price };
        let qty = |qty: crate::decimal::Qty| Number { mantissa: qty.0, decimals: decimals.qty };
        let symbol = &directory.instrument(*listing).symbol;
        let channel = directory.carries(*stream).channel;
        let _ = write!(text, "{symbol} {channel}, {}..={}", numbers.first, numbers.last);
        if let Some(previous) = numbers.previous {
            let _ = write!(text, " after {previous}");
        }
        let _ = writeln!(text, ", {} ns", venue_time.ns().map_or("no".to_owned(), |ns| ns.to_string()));
        let _ = match content {
            Content::Trade(trade) | Content::TradeBefore(trade) => {
                let kind = if matches!(content, Content::Trade(_)) { "trade" } else { "unpublished trade" };
                let (price, qty) = (price(trade.price), qty(trade.qty));
                writeln!(text, "  {kind} {}: taker {:?} {qty} at {price}", trade.id, trade.taker_side)
            }
            Content::Ticker(ticker) => {
                for (field, line) in [
                    (
                        TickerFields::BEST,
                        format!(
                            "bid {} at {}, ask {} at {}",
                            qty(ticker.bid_qty),
                            price(ticker.bid),
                            qty(ticker.ask_qty),
                            price(ticker.ask)
                        ),
                    ),
                    (TickerFields::LAST, format!("last {}", price(ticker.last))),
                    (TickerFields::LAST_QTY, format!("last quantity {}", qty(ticker.last_qty))),
                    (
                        TickerFields::RANGE,
                        format!(
                            "open {}, high {}, low {}",
                            price(ticker.open),
                            price(ticker.high),
                            price(ticker.low)
                        ),
                    ),
                    (TickerFields::VOLUME, format!("volume {}", qty(ticker.volume))),
                ] {
                    if ticker.fields.has(field) {
                        let _ = writeln!(text, "  {line}");
                    }
                }
                Ok(())
            }
            Content::Kline(kline, last) => writeln!(
                text,
                "  {} from {} to {}, final {last}\n  open {}, high {}, low {}, close {}\n  volume {}, taken {}, quote {}, trades {}",
                kline.interval.name(),
                kline.open_time.raw_ns(),
                kline.close_time.raw_ns(),
                price(kline.open),
                price(kline.high),
                price(kline.low),
                price(kline.close),
                qty(kline.volume),
                qty(kline.taker_buy_volume),
                Number { mantissa: kline.quote_volume.mantissa, decimals: kline.quote_volume.decimals },
                kline.trade_count
            ),
            Content::Book(book) => {
                let mut lines = |side: &str, levels: &[Level]| {
                    for level in levels {
                        let _ = writeln!(text, "  {side} {} at {}", qty(level.qty), price(level.price));
                    }
                };
                lines("bid", raw.bids_of(book));
                lines("ask", raw.asks_of(book));
                writeln!(text, "  {}", if book.snapshot { "snapshot" } else { "update" })
            }
        };
    }
    text
}

struct Fixture {
    name: String,
    product: Product,
    source: Source,
    text: Vec<u8>,
    expected: String,
}

/// Fixture files: a comment with the source, `spot|usdm ws` or `spot|usdm GET <path>`, the text, what it becomes.
fn fixtures() -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/venue/binance/fixtures");
    let mut paths: Vec<PathBuf> =
        folder.read_dir().expect("fixtures").map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    let fixtures = paths.into_iter().map(|path| {
        let file = std::fs::read_to_string(&path).expect("text");
        let mut parts = file.splitn(4, '\n');
        let mut part = || parts.next().expect("four parts").to_owned();
        assert!(part().starts_with("# "), "{} says where it is from", path.display());
        let kind = part();
        let (product, source) = kind.split_once(' ').expect("product and source");
        Fixture {
            name: path.display().to_string(),
            product: if product == "spot" { Product::Spot } else { Product::UsdM },
            source: match source.strip_prefix("GET ") {
                Some(path) => Source::Get(path.to_owned()),
                None => Source::Frame,
            },
            text: part().into_bytes(),
            expected: part(),
        }
    });
    fixtures.collect()
}

/// Every fixture decodes to what stands in it. `MELTICA_WRITE_FIXTURES=1` writes what it becomes, to be read before it
/// is committed.
#[test]
fn every_fixture_decodes_to_what_is_written_beside_it() {
    let write = std::env::var_os("MELTICA_WRITE_FIXTURES").is_some();
    let fixtures = fixtures();
    assert!(fixtures.len() > 40);
    for fixture in fixtures {
        for by in [By::Both, By::Tape] {
            let mut venue = Binance::new(fixture.product);
            let mut directory = Directory::open(ProviderId(0));
            let (decoded, raw) = decode(&mut venue, &mut directory, &fixture.source, by, &fixture.text);
            let found = show(&directory, &decoded, &raw);
            if write {
                let file = std::fs::read_to_string(&fixture.name).expect("text");
                let head: Vec<&str> = file.split('\n').take(3).collect();
                std::fs::write(&fixture.name, format!("{}\n{found}", head.join("\n"))).expect("written");
            } else {
                assert_eq!(found, fixture.expected, "{} by {by:?}", fixture.name);
            }
        }
    }
}

/// One seeded change of a frame: cut, a byte changed, removed, or doubled, a number or a field moved or repeated.
fn mutate(random: &mut fastrand::Rng, frame: &mut Vec<u8>) {
    if frame.is_empty() {
        return;
    }
    let at = random.usize(..frame.len());
    match random.u8(..8) {
        0 => frame.truncate(at),
        1 => frame[at] = random.u8(..),
        2 => frame[at] = *random.choice(b"0123456789.-eE\"\\,:[]{} tfn").expect("a byte"),
        3 => drop(frame.remove(at)),
        4 => frame.insert(at, *random.choice(b"0019.-\"\\, []{}").expect("a byte")),
        5 => frame[at] ^= 1 << random.u8(..8),
        _ => {
            // A field with its comma: repeated, or moved to elsewhere.
            let commas: Vec<usize> = (0..frame.len()).filter(|&at| frame[at] == b',').collect();
            if let [_, .., _] = commas[..] {
                let one = random.usize(..commas.len() - 1);
                let field = frame[commas[one]..commas[one + 1]].to_vec();
                if random.bool() {
                    frame.drain(commas[one]..commas[one + 1]);
                }
                let commas: Vec<usize> = (0..frame.len()).filter(|&at| frame[at] == b',').collect();
                let to = random.choice(commas).unwrap_or(0);
                frame.splice(to..to, field);
            }
        }
    }
}

/// Both ways from the same state to the same end; gives back what it was, and what the first decoder did.
fn check_agreement(
    product: Product,
    directory: &Directory,
    frame: &[u8],
) -> (Result<Decoded, DecodeError>, Fallbacks) {
    let (mut one, mut other) = (Binance::new(product), Binance::new(product));
    let (mut one_knows, mut other_knows) = (directory.clone(), directory.clone());
    let (scanned, raw) = decode(&mut one, &mut one_knows, &Source::Frame, By::Both, frame);
    let (parsed, expected) = decode(&mut other, &mut other_knows, &Source::Frame, By::Tape, frame);
    let text = String::from_utf8_lossy(frame);
    assert_eq!(scanned, parsed, "{text}");
    assert_eq!(
        (&raw.messages, &raw.bids, &raw.asks),
        (&expected.messages, &expected.bids, &expected.asks),
        "{text}"
    );
    (scanned, one.fallbacks())
}

#[test]
fn damaged_frames_are_the_same_to_both_decoders_and_panic_none() {
    let fixtures: Vec<Fixture> =
        fixtures().into_iter().filter(|fixture| matches!(fixture.source, Source::Frame)).collect();
    let mut random = fastrand::Rng::with_seed(20_261_121);
    let open = Directory::open(ProviderId(0));
    let mut closed = Directory::closed(ProviderId(0));
    let listing = closed.add("BTCUSDT", "BTC-USDT", InstrumentId(0)).expect("listed");
    closed.add_stream(listing, Channel::Book { speed_ms: 100 });
    closed.add_stream(listing, Channel::Trade);
    let (mut fine, mut broken, mut scanned) = (0, 0, 0);
    for round in 0..60_000 {
        let fixture = &fixtures[round % fixtures.len()];
        let mut frame = fixture.text.clone();
        for _ in 0..=random.usize(..3) {
            mutate(&mut random, &mut frame);
        }
        let directory = if round % 3 == 0 { &closed } else { &open };
        let (decoded, fallbacks) = check_agreement(fixture.product, directory, &frame);
        match decoded {
            Ok(_) => fine += 1,
            Err(_) => broken += 1,
        }
        scanned += fallbacks.scanned_frames;
    }
    assert!(
        fine > 5_000 && broken > 20_000 && scanned > 1_000,
        "{fine} fine, {broken} broken, {scanned} scanned"
    );
}

#[test]
fn rest_bodies_that_are_damaged_panic_nothing() {
    let fixtures: Vec<Fixture> =
        fixtures().into_iter().filter(|fixture| matches!(fixture.source, Source::Get(_))).collect();
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..10_000 {
        let fixture = &fixtures[round % fixtures.len()];
        let mut body = fixture.text.clone();
        mutate(&mut random, &mut body);
        let mut venue = Binance::new(fixture.product);
        let mut directory = Directory::open(ProviderId(0));
        let _ = decode(&mut venue, &mut directory, &fixture.source, By::Both, &body);
    }
}

/// A closed directory with BTCUSDT and the given channels.
fn closed(channels: &[&str]) -> (Directory, Listing) {
    let mut directory = Directory::closed(ProviderId(0));
    let listing = directory.add("BTCUSDT", "BTC-USDT", InstrumentId(0)).expect("listed");
    for channel in channels {
        directory.add_stream(listing, channel.parse().expect("a channel"));
    }
    (directory, listing)
}

const UPDATE: &str =
    r#"{"e":"depthUpdate","E":1783000000200,"s":"BTCUSDT","U":1,"u":2,"b":[["1.5","2"]],"a":[]}"#;

/// The channel that a frame belongs to in a directory with `channels`; `None` if it belongs to none.
fn check_channel(channels: &[&str], frame: &str, expected: Option<&str>) {
    let (mut directory, _) = closed(channels);
    let (decoded, raw) =
        decode(&mut Binance::spot(), &mut directory, &Source::Frame, By::Both, frame.as_bytes());
    assert_eq!(decoded, Ok(Decoded::Data), "{frame}");
    let found = raw.messages.first().map(|message| directory.carries(message.stream).channel.to_string());
    assert_eq!(found.as_deref(), expected, "{channels:?} {frame}");
    let (again, _) = check_agreement(Product::Spot, &closed(channels).0, frame.as_bytes());
    assert_eq!(again, decoded);
    if expected.is_none() {
        assert!(raw.bids.is_empty() && raw.asks.is_empty(), "levels of nobody's message are not kept");
    }
}

#[test]
fn a_book_update_belongs_to_the_stream_of_its_name_or_else_to_the_book_that_there_is() {
    let wrapped = |name: &str| format!(r#"{{"stream":"{name}","data":{UPDATE}}}"#);
    check_channel(&["book 100ms", "book 1000ms"], &wrapped("btcusdt@depth"), Some("book 1000ms"));
    check_channel(&["book 100ms", "book 1000ms"], &wrapped("btcusdt@depth@100ms"), Some("book 100ms"));
    check_channel(&["book 100ms"], &wrapped("btcusdt@depth"), Some("book 100ms"));
    check_channel(&["book 100ms"], UPDATE, Some("book 100ms"));
    check_channel(&["trade"], UPDATE, None);
    check_channel(&["trade"], &wrapped("btcusdt@depth"), None);
    let partial = r#"{"stream":"btcusdt@depth5","data":{"lastUpdateId":1,"bids":[["1","1"]],"asks":[]}}"#;
    check_channel(&["partial_book 5 1000ms", "book 100ms"], partial, Some("partial_book 5 1000ms"));
    check_channel(&["partial_book 5 100ms", "book 100ms"], partial, None);
}

#[test]
fn in_a_replay_a_snapshot_that_comes_first_and_the_updates_are_of_one_stream() {
    let mut directory = Directory::open(ProviderId(0));
    let mut venue = Binance::spot();
    let path = Source::Get("/api/v3/depth?symbol=BTCUSDT".to_owned());
    let body = br#"{"lastUpdateId":1,"bids":[["1.5","2"]],"asks":[]}"#;
    let (_, snapshot) = decode(&mut venue, &mut directory, &path, By::Both, body);
    let wrapped = format!(r#"{{"stream":"btcusdt@depth@100ms","data":{UPDATE}}}"#);
    for frame in [UPDATE, &wrapped] {
        let (_, update) = decode(&mut venue, &mut directory, &Source::Frame, By::Both, frame.as_bytes());
        assert_eq!(update.messages[0].stream, snapshot.messages[0].stream, "{frame}");
    }
}

#[test]
fn a_symbol_that_nobody_listed_is_an_error() {
    let frame = UPDATE.replace("BTCUSDT", "ETHUSDT");
    let (directory, _) = closed(&["book 100ms"]);
    let (decoded, fallbacks) = check_agreement(Product::Spot, &directory, frame.as_bytes());
    assert_eq!((decoded, fallbacks), (Err(DecodeError::UnknownSymbol), Fallbacks::default()));
}

#[test]
fn nobody_falls_back_unseen() {
    let trade = r#"{"e":"trade","E":1,"s":"BTCUSDT","t":1,"p":"1","q":"1","T":1,"m":true,"M":true}"#;
    let (mut directory, _) = closed(&["trade"]);
    let mut venue = Binance::spot();
    for frame in [trade, &trade.replace(",\"M\":true", ",\"Z\":1"), r#"{"result":null,"id":1}"#, "{"] {
        let _ = venue.decode(&mut frame.as_bytes().to_vec(), &mut directory, &mut Raw::default());
    }
    assert_eq!(venue.fallbacks(), Fallbacks { hot_frames: 2, scanned_frames: 1 });
}

#[test]
fn times_are_in_the_unit_of_the_connection() {
    let frame = r#"{"e":"trade","E":1783000000123456,"s":"BTCUSDT","t":1,"p":"1","q":"1","T":1783000000122000,"m":true,"M":true}"#;
    let mut venue = Binance::spot().with_time_unit(TimeUnit::Microseconds);
    assert_eq!(venue.websocket_path(), "/stream?timeUnit=MICROSECOND");
    let (mut directory, _) = closed(&["trade"]);
    for by in [By::Both, By::Tape] {
        let (_, raw) = decode(&mut venue, &mut directory, &Source::Frame, by, frame.as_bytes());
        assert_eq!(raw.messages[0].venue_time.ns(), Some(1_783_000_000_122_000_000));
    }
}

#[test]
fn requests_name_the_symbol_the_limit_and_the_weight() {
    let (directory, listing) = closed(&[]);
    let get = |request: Option<RestRequest>| request.map(|request| (request.path, request.weight));
    let some = |path: &str, weight| Some((path.to_owned(), weight));
    let (spot, usdm) = (Binance::spot(), Binance::usdm());
    let depth = |venue: &Binance, levels| get(venue.snapshot_request(&directory, listing, levels));
    assert_eq!(depth(&spot, 1), some("/api/v3/depth?symbol=BTCUSDT&limit=100", 5));
    assert_eq!(depth(&spot, 1000), some("/api/v3/depth?symbol=BTCUSDT&limit=1000", 50));
    assert_eq!(depth(&spot, 1001), some("/api/v3/depth?symbol=BTCUSDT&limit=5000", 250));
    assert_eq!(depth(&spot, 99_999), some("/api/v3/depth?symbol=BTCUSDT&limit=5000", 250));
    assert_eq!(depth(&usdm, 5000), some("/fapi/v1/depth?symbol=BTCUSDT&limit=1000", 20));
    let trades = |venue: &Binance, from, to| get(venue.trades_request(&directory, listing, from, to));
    assert_eq!(trades(&spot, 10, 14), some("/api/v3/historicalTrades?symbol=BTCUSDT&fromId=10&limit=5", 25));
    assert_eq!(
        trades(&spot, 0, u64::MAX),
        some("/api/v3/historicalTrades?symbol=BTCUSDT&fromId=0&limit=1000", 25)
    );
    assert_eq!(trades(&usdm, 10, 14), None);
    assert_eq!(spot.venue_symbol("BTC-USDT"), "BTCUSDT");
    assert_eq!(usdm.venue_symbol("BTC-USDT-261225"), "BTCUSDT_261225");
}

#[test]
fn a_symbol_beyond_ascii_is_percent_encoded_and_read_back() {
    let mut directory = Directory::closed(ProviderId(0));
    let listing = directory.add("测试USDT", "测试-USDT", InstrumentId(0)).expect("listed");
    directory.add_stream(listing, Channel::Book { speed_ms: 100 });
    let mut venue = Binance::spot();
    let request = venue.snapshot_request(&directory, listing, 5).expect("a request");
    assert_eq!(request.path, "/api/v3/depth?symbol=%E6%B5%8B%E8%AF%95USDT&limit=100");
    let body = br#"{"lastUpdateId":1,"bids":[],"asks":[]}"#;
    let (decoded, raw) = decode(&mut venue, &mut directory, &Source::Get(request.path), By::Both, body);
    assert_eq!((decoded, raw.messages.len()), (Ok(Decoded::Data), 1));
}

const LIST: &str = r#"{"symbols":[
 {"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","baseAssetPrecision":8,"quoteAsset":"USDT","quoteAssetPrecision":8,
  "isSpotTradingAllowed":true,"filters":[
  {"filterType":"PRICE_FILTER","minPrice":"0.01000000","maxPrice":"1000000.00000000","tickSize":"0.01000000"},
  {"filterType":"LOT_SIZE","minQty":"0.00001000","maxQty":"9000.00000000","stepSize":"0.00001000"},
  {"filterType":"NOTIONAL","minNotional":"5.00000000"},{"filterType":"NEW_ONE"}]},
 {"symbol":"SHIBUSDT","status":"SOMETHING_NEW","baseAsset":"SHIB","baseAssetPrecision":2,"quoteAsset":"USDT","quotePrecision":8,"filters":[]},
 {"symbol":"OFFUSDT","status":"TRADING","baseAsset":"OFF","baseAssetPrecision":8,"quoteAsset":"USDT","quotePrecision":8,
  "isSpotTradingAllowed":false},
 {"symbol":"BROKEN","status":"TRADING"}]}"#;

/// Takes [`LIST`] and tells the instrument as `symbol, price and quantity decimals, trading, filters`.
pub(super) fn listed(directory: &Directory, listing: Listing) -> String {
    let instrument = directory.instrument(listing);
    let filters = &instrument.filters;
    format!(
        "{} {}/{}{} trading {}: tick {} lot {} qty {}..{} notional {}",
        instrument.symbol,
        instrument.decimals.price,
        instrument.decimals.qty,
        if instrument.decimals_known { "" } else { "?" },
        instrument.trading,
        filters.tick,
        filters.lot,
        filters.qty_min,
        filters.qty_max,
        filters.notional_min
    )
}

#[test]
fn the_list_tells_a_closed_directory_about_its_own_instruments() {
    let mut directory = Directory::closed(ProviderId(0));
    let mut add = |symbol: &str| directory.add(symbol, symbol, InstrumentId(0)).expect("listed");
    let [btc, shib, off, other] = ["BTCUSDT", "SHIBUSDT", "OFFUSDT", "OTHER"].map(&mut add);
    let list = Source::Get("/api/v3/exchangeInfo".to_owned());
    let (decoded, raw) = decode(&mut Binance::spot(), &mut directory, &list, By::Both, LIST.as_bytes());
    assert_eq!((decoded, raw.messages.len(), directory.instruments().len()), (Ok(Decoded::Data), 0, 4));
    assert_eq!(
        listed(&directory, btc),
        "BTC-USDT 8/8 trading true: tick 0.01 lot 0.00001 qty 0.00001..9000 notional 5"
    );
    assert_eq!(listed(&directory, shib), "SHIB-USDT 8/2 trading false: tick 0 lot 0 qty 0..0 notional 0");
    assert!(directory.instrument(off).trading, "leveraged tokens are not allowed as spot, and trade");
    assert!(!directory.instrument(other).decimals_known);

    directory.add("BROKEN", "BROKEN", InstrumentId(0)).expect("listed");
    let (decoded, _) = decode(&mut Binance::spot(), &mut directory, &list, By::Both, LIST.as_bytes());
    assert_eq!(decoded, Err(DecodeError::Missing { field: "baseAsset" }), "what is broken and ours is told");
}

#[test]
fn an_open_directory_takes_the_facts_of_what_appears_later() {
    let mut directory = Directory::open(ProviderId(0));
    let mut venue = Binance::spot();
    let list = Source::Get("/api/v3/exchangeInfo".to_owned());
    let (decoded, _) = decode(&mut venue, &mut directory, &list, By::Both, LIST.as_bytes());
    assert_eq!((decoded, directory.instruments().len()), (Ok(Decoded::Data), 0));
    let frame = r#"{"e":"trade","E":1,"s":"SHIBUSDT","t":1,"p":"0.00001234","q":"123456789.00000000","T":1,"m":true,"M":true}"#;
    let (_, raw) = decode(&mut venue, &mut directory, &Source::Frame, By::Both, frame.as_bytes());
    let message = &raw.messages[0];
    assert_eq!(
        listed(&directory, message.listing),
        "SHIB-USDT 8/2 trading false: tick 0 lot 0 qty 0..0 notional 0"
    );
    let Content::Trade(trade) = message.content else { panic!("a trade") };
    assert_eq!((trade.price.0, trade.qty.0), (1_234, 12_345_678_900));
}

#[test]
fn usdm_lists_the_instruments_own_digits_and_delivery_dates() {
    let list = r#"{"symbols":[{"symbol":"BTCUSDT_261225","contractType":"CURRENT_QUARTER","status":"PENDING_TRADING",
     "baseAsset":"BTC","quoteAsset":"USDT","pricePrecision":1,"quantityPrecision":3,"baseAssetPrecision":8,"quotePrecision":8,
     "filters":[{"tickSize":"0.10","filterType":"PRICE_FILTER"},{"notional":"5","filterType":"MIN_NOTIONAL"}]}]}"#;
    let mut directory = Directory::closed(ProviderId(0));
    let listing = directory.add("BTCUSDT_261225", "?", InstrumentId(0)).expect("listed");
    let path = Source::Get("/fapi/v1/exchangeInfo".to_owned());
    let (decoded, _) = decode(&mut Binance::usdm(), &mut directory, &path, By::Both, list.as_bytes());
    assert_eq!(decoded, Ok(Decoded::Data));
    assert_eq!(
        listed(&directory, listing),
        "BTC-USDT-261225 1/3 trading false: tick 0.1 lot 0 qty 0..0 notional 5"
    );
}

#[test]
fn limits_and_endpoints_are_those_of_the_product() {
    for product in [Product::Spot, Product::UsdM, Product::UsdMMarket] {
        let venue = Binance::new(product);
        let limits = venue.limits();
        assert!(limits.streams_per_message_max <= limits.streams_max);
        for endpoints in [Some(venue.live()), venue.testnet()].into_iter().flatten() {
            assert!(endpoints.websocket.starts_with("wss://") && endpoints.rest.starts_with("https://"));
        }
        assert!(venue.websocket_path().ends_with("/stream"));
    }
}

#[test]
fn a_refusal_keeps_the_venues_words_as_far_as_they_fit() {
    let text = format!(r#"{{"code":-1003,"msg":"{}"}}"#, "é".repeat(100));
    let mut venue = Binance::spot();
    let (decoded, _) =
        decode(&mut venue, &mut Directory::open(ProviderId(0)), &Source::Frame, By::Both, text.as_bytes());
    let Ok(Decoded::Notice(Notice::Refused { code: -1003, reason, .. })) = decoded else {
        panic!("{decoded:?}")
    };
    assert_eq!(reason.as_str(), "é".repeat(60));
}
