//! What the simulated venue sends has the same shape as what the venue sent when it was recorded: the same keys, the
//! same types, the same number of decimals.
//!
//! Recordings are not part of the repository. They are looked for in `MELTICA_CAPTURES`, or beside the workspace.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use simvenues::site::Site;
use simvenues::{BinanceConfig, VenueConfig};

const START_NS: u64 = 1_783_000_000_000_000_000;

fn captures() -> PathBuf {
    std::env::var_os("MELTICA_CAPTURES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures"),
        PathBuf::from,
    )
}

/// (source, payload) of each line of a recording; `None` if it is not there.
fn recording(name: &str) -> Option<Vec<(String, Value)>> {
    let path = captures().join(name);
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("SKIPPED: no recording {} (set MELTICA_CAPTURES)", path.display());
        return None;
    };
    let line = |line: &str| {
        let mut parts = line.splitn(3, '\t').skip(1);
        let source = parts.next().expect("three columns").to_owned();
        (source, serde_json::from_str(parts.next().expect("three columns")).expect("JSON"))
    };
    Some(text.lines().map(line).collect())
}

/// Keys and types. Of an array, the first element stands for all; text is told apart by being a decimal, with how many
/// digits after the point, or not.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) => if number.is_i64() || number.is_u64() { "int" } else { "float" }.to_owned(),
        Value::String(text) => match text.split_once('.') {
            Some((whole, digits)) if whole.parse::<u64>().is_ok() && digits.parse::<u64>().is_ok() => {
                format!("decimal{}", digits.len())
            }
            _ => "text".to_owned(),
        },
        Value::Array(items) => format!("[{}]", items.first().map_or(String::new(), shape)),
        Value::Object(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|(key, value)| format!("{key}:{}", shape(value))).collect();
            format!("{{{}}}", fields.join(","))
        }
    }
}

/// By kind of message, its shapes; book updates with an empty side are left out, they show less.
fn shapes(messages: impl Iterator<Item = (String, Value)>) -> BTreeMap<String, Vec<String>> {
    let mut shapes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (source, message) in messages {
        let kind = match message["stream"].as_str() {
            Some(stream) => stream.split_once('@').map_or(stream, |(_, kind)| kind).to_owned(),
            None if source.contains("/depth") => "rest depth".to_owned(),
            None => message["e"].as_str().unwrap_or("?").to_owned(),
        };
        let shape = shape(&message);
        let known = shapes.entry(kind).or_default();
        if !shape.contains("[]") && !known.contains(&shape) {
            known.push(shape);
        }
    }
    shapes
}

/// What our venue sends on these streams of its first instrument, and one snapshot.
fn simulated(target: &str) -> BTreeMap<String, Vec<String>> {
    let config = BinanceConfig { messages_per_instrument_per_s: 100.0, ..BinanceConfig::default() };
    let mut site = Site::new(VenueConfig::Binance(config).build(START_NS), 1 << 24);
    let id = site.open(START_NS).unwrap();
    let upgrade = format!(
        "GET {target} HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n\r\n"
    );
    site.receive(id, upgrade.as_bytes(), START_NS);
    let head = site.unsent(id).len();
    site.sent(id, head);
    for step in 1..500 {
        site.poll(START_NS + step * 10_000_000);
    }
    let mut messages = Vec::new();
    let mut bytes = site.unsent(id);
    while let &[0x81, short, high, low, ..] = bytes {
        let (length, head) = if short == 126 {
            (usize::from(u16::from_be_bytes([high, low])), 4)
        } else {
            (usize::from(short), 2)
        };
        messages.push(("ws".to_owned(), serde_json::from_slice(&bytes[head..head + length]).unwrap()));
        bytes = &bytes[head + length..];
    }
    let rest = site.open(START_NS).unwrap();
    site.receive(rest, b"GET /api/v3/depth?symbol=BTCUSDT HTTP/1.1\r\n\r\n", START_NS + 5_000_000_000);
    let answer = String::from_utf8(site.unsent(rest).to_vec()).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    messages.push(("rest:/api/v3/depth".to_owned(), serde_json::from_str(body).unwrap()));
    shapes(messages.into_iter())
}

fn check(name: &str, target: &str, kinds: &[&str]) {
    let Some(recorded) = recording(name) else { return };
    let recorded = shapes(recorded.into_iter());
    let simulated = simulated(target);
    for kind in kinds {
        let ours = simulated.get(*kind).unwrap_or_else(|| panic!("{kind} is not simulated"));
        assert!(!ours.is_empty(), "{kind}");
        for shape in ours {
            assert!(
                recorded[*kind].contains(shape),
                "{name}, {kind}: {shape} is none of {:#?}",
                recorded[*kind]
            );
        }
    }
}

#[test]
fn combined_streams_and_snapshots_look_like_the_recorded_ones() {
    let streams = "btcusdt@depth@100ms/btcusdt@bookTicker/btcusdt@kline_1m/btcusdt@aggTrade";
    let kinds = ["depth@100ms", "bookTicker", "kline_1m", "aggTrade", "rest depth"];
    check("binance/spot_multi_20211012.tsv", &format!("/stream?streams={streams}"), &kinds);
}

#[test]
fn raw_updates_and_snapshots_look_like_the_recorded_ones() {
    let kinds = ["depthUpdate", "rest depth"];
    check("binance/spot_btcusdt_20260704_trimmed.tsv", "/ws/btcusdt@depth@100ms", &kinds);
}
