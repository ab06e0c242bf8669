//! What is fuzzed in the engine: one function a target, which panics on a finding. Nothing here knows who makes the bytes.

use engine::codec;
use engine::directory::Directory;
use engine::frame::handshake::{Answer, AnswerReader};
use engine::ids::{ConsumerId, InstrumentId, ProviderId};
use engine::orders::id::ClientOrderId;
use engine::orders::journal::{self, RECORD_BYTES_MAX, Record, Records, Tail};
use engine::raw::{DecodeError, Decoded, Raw};
use engine::venue::Venue;
use engine::venue::binance::Binance;
use engine::venue::coinbase::{Coinbase, Product};
use engine::venue::kraken::Kraken;

use super::driver::Target;

#[path = "../frame/against.rs"]
mod against;
#[path = "number.rs"]
mod number;
#[path = "reports.rs"]
mod reports;
#[path = "../frame/wire.rs"]
#[allow(dead_code, reason = "shared with the tests of the frame layer, which use all of it")]
mod wire;

/// All of them.
pub const TARGETS: [Target; 12] = [
    Target { name: "frame", run: frame, seeds: frame_seeds, runs: 100_000 },
    Target { name: "handshake", run: handshake, seeds: handshake_seeds, runs: 100_000 },
    Target {
        name: "binance_spot",
        run: |data| alike(Binance::spot, data),
        seeds: || binance_seeds("spot"),
        runs: 40_000,
    },
    Target {
        name: "binance_usdm",
        run: |data| alike(Binance::usdm, data),
        seeds: || binance_seeds("usdm"),
        runs: 40_000,
    },
    Target { name: "kraken", run: |data| alike(Kraken::default, data), seeds: kraken_seeds, runs: 40_000 },
    Target {
        name: "coinbase_advanced",
        run: |data| alike(|| Coinbase::new(Product::Advanced), data),
        seeds: || lines(include_str!("../../src/venue/coinbase/fixtures/advanced.jsonl")),
        runs: 40_000,
    },
    Target {
        name: "coinbase_exchange",
        run: |data| alike(|| Coinbase::new(Product::Exchange), data),
        seeds: || lines(include_str!("../../src/venue/coinbase/fixtures/exchange.jsonl")),
        runs: 40_000,
    },
    Target { name: "rest", run: rest, seeds: rest_seeds, runs: 40_000 },
    Target { name: "order_reports", run: reports::order_reports, seeds: reports::seeds, runs: 40_000 },
    Target { name: "decimal", run: number::decimal, seeds: number::seeds, runs: 300_000 },
    Target { name: "journal", run: journal, seeds: journal_seeds, runs: 50_000 },
    Target { name: "events", run: events, seeds: event_seeds, runs: 100_000 },
];

// --- frames ----------------------------------------------------------------------------------------------------------

/// A seed for how the bytes are chopped, then what the server sent: the same to us and to tungstenite.
fn frame(data: &[u8]) -> bool {
    let Some((chops, stream)) = data.split_first_chunk() else { return false };
    let mut random = fastrand::Rng::with_seed(u64::from_le_bytes(*chops));
    !matches!(against::check(stream, &mut random), against::End::Failed(_))
}

fn frame_seeds() -> Vec<Vec<u8>> {
    use wire::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, close, frame};
    let euro = "€100".as_bytes();
    let streams = [
        [frame(FIN | TEXT, b"{}"), frame(FIN | PING, b"12"), frame(FIN | BINARY, &[0; 130])].concat(),
        [frame(TEXT, &euro[..1]), frame(FIN | PONG, b""), frame(FIN | CONTINUATION, &euro[1..])].concat(),
        [frame(FIN | TEXT, &[b'x'; 1_000]), close(1000, b"bye"), frame(FIN | TEXT, b"late")].concat(),
        [frame(BINARY, b"\xff"), frame(CONTINUATION, b""), frame(FIN, b"\xfe"), frame(FIN | CLOSE, b"")]
            .concat(),
        frame(FIN | TEXT, "\u{10ffff}ß".as_bytes()),
        // 4 GiB, RSV bits, a mask: never taken, and one flipped bit away from what is.
        vec![FIN | TEXT, 127, 0, 0, 0, 1, 0, 0, 0, 0],
        frame(FIN | TEXT | 0x40, b"compressed"),
        vec![FIN | TEXT, 0x81, 1, 2, 3, 4, 5],
    ];
    streams.iter().enumerate().map(|(index, stream)| [&[index as u8; 8][..], stream].concat()).collect()
}

const KEY: [u8; 16] = *b"the sample nonce";

/// The answer to an upgrade, whole and byte by byte: the same, and never more memory than its bounds.
fn handshake(data: &[u8]) -> bool {
    let whole = match AnswerReader::new(KEY).feed(data) {
        Answer::Accepted { leftover } => Some(leftover.len()),
        _ => None,
    };
    let mut reader = AnswerReader::new(KEY);
    let mut accepted = None;
    for at in 0..data.len() {
        match reader.feed(&data[at..=at]) {
            Answer::NeedMore => {}
            Answer::Accepted { .. } => {
                accepted = Some(data.len() - at - 1);
                break;
            }
            _ => break,
        }
    }
    // What is behind a whole head in the same bytes may break a rule of the head's length first, never the other way round.
    if whole.is_some() {
        assert_eq!(whole, accepted, "in pieces as in one");
    }
    assert!(!matches!(reader.end(), Answer::NeedMore));
    whole.is_some()
}

fn handshake_seeds() -> Vec<Vec<u8>> {
    let ok = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    [
        ok.to_owned(),
        format!("{ok}\u{1}\u{2}"),
        ok.replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nslow".to_owned(),
        "HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n".to_owned(),
    ]
    .map(String::into_bytes)
    .to_vec()
}

// --- decode ----------------------------------------------------------------------------------------------------------

/// Decodes as a connection does: in pieces of `piece_bytes`, and again after a scale was widened.
fn decode<V: Venue>(
    venue: &mut V,
    directory: &mut Directory,
    frame: &[u8],
    piece_bytes: usize,
) -> (Result<Decoded, DecodeError>, Raw) {
    let mut raw = Raw::default();
    let mut bytes = frame.to_vec();
    for _ in 0..64 {
        raw.reset();
        let mut progress = V::Progress::default();
        let decoded = loop {
            match venue.decode_piece(&mut bytes, directory, &mut raw, &mut progress, piece_bytes) {
                Ok(None) => {}
                Ok(Some(decoded)) => break Ok(decoded),
                Err(error) => break Err(error),
            }
        };
        let Err(DecodeError::Wider { listing, decimals }) = decoded else { return (decoded, raw) };
        assert_eq!(bytes, frame, "a frame that must be decoded again is as it was");
        directory.widen(listing, decimals);
    }
    panic!("still too narrow: {}", String::from_utf8_lossy(frame));
}

/// Instruments and scales that a directory knows.
fn known(directory: &Directory) -> Vec<(String, engine::decimal::Decimals)> {
    directory.instruments().iter().map(|it| (it.venue_symbol.clone(), it.decimals)).collect()
}

/// A byte of options, then a frame: by the scanner and, behind a blank that no scanner takes, by the general decoder; whole
/// and in pieces. All must say the same.
fn alike<V: Venue>(make: impl Fn() -> V, data: &[u8]) -> bool {
    let Some((&options, frame)) = data.split_first() else { return false };
    let mut directory = Directory::open(ProviderId(0));
    if options & 1 == 1 {
        // Closed: two instruments, one of them without a book.
        directory = Directory::closed(ProviderId(0));
        for (index, symbol) in ["BTC-USDT", "ETH-USD"].into_iter().enumerate() {
            let venue_symbol = make().venue_symbol(symbol);
            let listing = directory.add(&venue_symbol, symbol, InstrumentId(index as u16)).expect("short");
            directory.add_stream(listing, engine::channel::Channel::Trade);
            if index == 0 {
                directory.add_stream(listing, engine::channel::Channel::Book { speed_ms: 100 });
            }
        }
    }
    let shown = String::from_utf8_lossy(frame);
    let (mut scanning, mut general) = (make(), make());
    let (mut scanned_knows, mut general_knows, mut pieces_knows) =
        (directory.clone(), directory.clone(), directory);
    let (scanned, raw) = decode(&mut scanning, &mut scanned_knows, frame, usize::MAX);
    let spaced = [b" ", frame].concat();
    let (expected, expected_raw) = decode(&mut general, &mut general_knows, &spaced, usize::MAX);
    assert_eq!(general.fallbacks().scanned_frames, 0, "a scanner took a blank: {shown}");
    let piece_bytes = 1 + usize::from(options >> 1);
    let (pieces, pieces_raw) = decode(&mut make(), &mut pieces_knows, frame, piece_bytes);
    for (name, found, found_raw, knows) in [
        ("general", &expected, &expected_raw, &general_knows),
        ("pieces", &pieces, &pieces_raw, &pieces_knows),
    ] {
        assert_eq!(&scanned, found, "{name}: {shown}");
        if scanned.is_ok() {
            assert_eq!(raw.messages, found_raw.messages, "{name}: {shown}");
            assert_eq!((&raw.bids, &raw.asks), (&found_raw.bids, &found_raw.asks), "{name}: {shown}");
            assert_eq!(raw.connection_sequence, found_raw.connection_sequence, "{name}: {shown}");
            assert_eq!(known(&scanned_knows), known(knows), "{name}: {shown}");
        }
    }
    let _ = scanning.decode_head(&frame[..frame.len().min(512)], &scanned_knows);
    scanned.is_ok()
}

/// With options before each: open and whole, closed, in pieces.
fn with_options(frames: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    frames.flat_map(|frame| [0, 1, 14].map(|options| [&[options], &frame[..]].concat())).collect()
}

fn lines(text: &str) -> Vec<Vec<u8>> {
    with_options(text.lines().map(|line| line.as_bytes().to_vec()))
}

/// The fixtures of Binance are: a comment, the product and where it came from, the bytes, what they become.
const BINANCE: [&str; 14] = [
    include_str!("../../src/venue/binance/fixtures/agg_trade_spot.txt"),
    include_str!("../../src/venue/binance/fixtures/agg_trade_usdm.txt"),
    include_str!("../../src/venue/binance/fixtures/book_ticker_spot.txt"),
    include_str!("../../src/venue/binance/fixtures/book_ticker_usdm.txt"),
    include_str!("../../src/venue/binance/fixtures/depth_spot.txt"),
    include_str!("../../src/venue/binance/fixtures/depth_usdm.txt"),
    include_str!("../../src/venue/binance/fixtures/escapes.txt"),
    include_str!("../../src/venue/binance/fixtures/kline.txt"),
    include_str!("../../src/venue/binance/fixtures/mini_ticker.txt"),
    include_str!("../../src/venue/binance/fixtures/partial_spot.txt"),
    include_str!("../../src/venue/binance/fixtures/partial_usdm.txt"),
    include_str!("../../src/venue/binance/fixtures/trade_spot.txt"),
    include_str!("../../src/venue/binance/fixtures/trade_usdm.txt"),
    include_str!("../../src/venue/binance/fixtures/subscriptions.txt"),
];

fn binance_seeds(product: &str) -> Vec<Vec<u8>> {
    let of_product =
        BINANCE.iter().filter(|fixture| fixture.lines().nth(1).is_some_and(|kind| kind.starts_with(product)));
    with_options(of_product.map(|fixture| fixture.lines().nth(2).expect("a frame").as_bytes().to_vec()))
}

fn kraken_seeds() -> Vec<Vec<u8>> {
    let frames = [
        include_str!("../../src/venue/kraken/fixtures/book_snapshot.json"),
        include_str!("../../src/venue/kraken/fixtures/book_update.json"),
        include_str!("../../src/venue/kraken/fixtures/book_update_bare.json"),
        include_str!("../../src/venue/kraken/fixtures/trade_snapshot.json"),
        include_str!("../../src/venue/kraken/fixtures/trade_update.json"),
        include_str!("../../src/venue/kraken/fixtures/ticker_update.json"),
        include_str!("../../src/venue/kraken/fixtures/ohlc_update.json"),
        include_str!("../../src/venue/kraken/fixtures/subscribe_accepted.json"),
        include_str!("../../src/venue/kraken/fixtures/subscribe_refused.json"),
        include_str!("../../src/venue/kraken/fixtures/heartbeat.json"),
        include_str!("../../src/venue/kraken/fixtures/status_online.json"),
    ];
    with_options(frames.iter().map(|frame| frame.trim_end().as_bytes().to_vec()))
}

// --- REST --------------------------------------------------------------------------------------------------------------

/// A path, a line feed, and the body of its answer, to each venue that might have asked: the same twice, and no panic.
fn rest(data: &[u8]) -> bool {
    fn answered<V: Venue>(make: impl Fn() -> V, path: &str, body: &[u8]) -> bool {
        let decoded = [(); 2].map(|()| {
            let mut directory = Directory::open(ProviderId(0));
            let mut venue = make();
            let (mut raw, mut bytes) = (Raw::default(), body.to_vec());
            let mut decoded = Err(DecodeError::Json);
            for _ in 0..64 {
                raw.reset();
                decoded = venue.decode_rest(path, &mut bytes, &mut directory, &mut raw);
                let Err(DecodeError::Wider { listing, decimals }) = decoded else { break };
                assert_eq!(bytes, body, "a body that must be decoded again is as it was");
                directory.widen(listing, decimals);
            }
            assert!(!matches!(decoded, Err(DecodeError::Wider { .. })), "still too narrow");
            (decoded, raw.messages, known(&directory))
        });
        assert_eq!(decoded[0], decoded[1]);
        matches!(decoded[0].0, Ok(Decoded::Data))
    }
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Some((path, body)) = text.split_once('\n') else { return false };
    let body = body.as_bytes();
    answered(Binance::spot, path, body)
        | answered(Binance::usdm, path, body)
        | answered(Kraken::default, path, body)
        | answered(|| Coinbase::new(Product::Advanced), path, body)
        | answered(|| Coinbase::new(Product::Exchange), path, body)
}

fn rest_seeds() -> Vec<Vec<u8>> {
    let binance = [
        include_str!("../../src/venue/binance/fixtures/rest_depth_spot.txt"),
        include_str!("../../src/venue/binance/fixtures/rest_depth_usdm.txt"),
        include_str!("../../src/venue/binance/fixtures/rest_trades.txt"),
        include_str!("../../src/venue/binance/fixtures/rest_agg_trades.txt"),
        include_str!("../../src/venue/binance/fixtures/rest_error.txt"),
    ];
    let mut seeds: Vec<Vec<u8>> = binance
        .iter()
        .map(|fixture| {
            let mut lines = fixture.lines().skip(1);
            let (_, path) = lines.next().and_then(|kind| kind.split_once(" GET ")).expect("a GET");
            format!("{path}\n{}", lines.next().expect("a body")).into_bytes()
        })
        .collect();
    let others = [
        ("/0/public/AssetPairs", include_str!("../../src/venue/kraken/fixtures/rest_AssetPairs.json")),
        ("/0/public/Depth?pair=XBTUSD", include_str!("../../src/venue/kraken/fixtures/rest_Depth.json")),
        ("/0/public/Trades?pair=XBTUSD", include_str!("../../src/venue/kraken/fixtures/rest_Trades.json")),
        (
            "/products",
            r#"[{"id":"BTC-USD","base_increment":"0.00000001","quote_increment":"0.01","base_min_size":"0.0001","min_market_funds":"1","status":"online","trading_disabled":false}]"#,
        ),
    ];
    seeds.extend(others.map(|(path, body)| format!("{path}\n{body}").into_bytes()));
    seeds
}

// --- what is on disk ---------------------------------------------------------------------------------------------------

/// A byte of options, then the bytes of a journal; or, with the lowest bit set, bodies of records of one byte's length
/// each, to which lengths and checksums are made, since no mutation would find them.
fn journal(data: &[u8]) -> bool {
    let Some((&options, data)) = data.split_first() else { return false };
    let mut bytes = data.to_vec();
    if options & 1 == 1 {
        bytes.clear();
        let mut rest = data;
        while let Some((&length, after)) = rest.split_first() {
            let (body, after) =
                after.split_at(usize::from(length).min(after.len()).min(RECORD_BYTES_MAX - 8));
            bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
            bytes.extend_from_slice(body);
            rest = after;
        }
    }
    let mut records = Records::new(&bytes);
    let mut read = Vec::new();
    let mut at_before = 0;
    loop {
        read.extend(records.by_ref());
        match records.tail().expect("it has ended") {
            Tail::Clean => break,
            Tail::Torn { at } => {
                assert!((at_before..bytes.len()).contains(&at));
                break;
            }
            Tail::Damaged { at, resumes_at } => {
                assert!(at >= at_before && at < resumes_at && resumes_at < bytes.len());
                at_before = resumes_at;
                records.resume(resumes_at);
            }
        }
    }
    // What was read can be written, and reads as the same again.
    let mut written = Vec::new();
    for record in &read {
        journal::append(record, &mut written);
    }
    let mut again = Records::new(&written);
    assert_eq!(again.by_ref().collect::<Vec<Record>>(), read);
    assert_eq!(again.tail(), Some(Tail::Clean));
    !read.is_empty()
}

fn journal_seeds() -> Vec<Vec<u8>> {
    let id = ClientOrderId::parse(b"m1abc").expect("an id");
    let mut bytes = vec![0];
    journal::append(&Record::Begin { epoch: 7, shard: 1, provider: ProviderId(2) }, &mut bytes);
    journal::append(&Record::Used { consumer: ConsumerId(3), id }, &mut bytes);
    let mut padded = bytes.clone();
    padded.resize(513, 0);
    journal::append(&Record::Used { consumer: ConsumerId(4), id }, &mut padded);
    // The bodies alone, of each kind: BEGIN, INTENT, PROGRESS, USED.
    let mut bodies = vec![1];
    let mut rest = &bytes[1..];
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let (body, after) = after.split_at(usize::from(head[0]));
        bodies.push(head[0]);
        bodies.extend_from_slice(body);
        rest = after;
    }
    let kinds = (2..4).map(|kind| {
        let mut body = [&[1, 120, kind][..], &[1; 119]].concat();
        body[40..44].fill(0);
        body
    });
    [bytes, padded, bodies].into_iter().chain(kinds).collect()
}

/// Events as a recording holds them: what decodes can be encoded, and is the same event then.
fn events(data: &[u8]) -> bool {
    let (mut rest, mut count) = (data, 0);
    while !rest.is_empty() {
        let left = rest.len();
        let Ok(event) = codec::decode(&mut rest) else { break };
        assert!(rest.len() < left, "an event takes bytes");
        let mut bytes = Vec::new();
        codec::encode_content(&event, &mut bytes);
        codec::encode_place(&event, &mut bytes);
        assert_eq!(codec::decode(&mut &bytes[..]), Ok(event));
        count += 1;
    }
    count > 0
}

fn event_seeds() -> Vec<Vec<u8>> {
    use engine::decimal::{Price, Qty};
    use engine::event::{Body, Event, Gap, GapReason, Side, Ticker, Trade};
    let bodies = [
        Body::Gap(Gap { from: 3, to: 9, event_count: 7, reason: GapReason::SlowConsumer }),
        Body::Trade(Trade { price: Price(6_421_010), qty: Qty(5), id: 77, taker_side: Side::Sell }),
        Body::Ticker(Ticker::default()),
    ];
    let mut all = Vec::new();
    let mut seeds = Vec::new();
    for body in bodies {
        let mut event = Event { body, ..Event::default() };
        event.header.schema = engine::event::SCHEMA_VERSION;
        event.header.sequence_last = 300;
        let mut bytes = Vec::new();
        codec::encode_content(&event, &mut bytes);
        codec::encode_place(&event, &mut bytes);
        all.extend_from_slice(&bytes);
        seeds.push(bytes);
    }
    seeds.push(all);
    seeds
}
