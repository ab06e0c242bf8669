//! What the simulated Kraken sends has the same shape as what the venue sent when it was recorded: the same keys in the
//! same order, the same types, the same number of digits after the point.

mod common;

use std::collections::BTreeMap;

use common::{Client, START_NS, recording, shape};
use simvenues::{InstrumentSpec, KrakenConfig, VenueConfig};

/// By kind of message, its shapes. (Of a book update, one side is always empty.)
fn shapes(messages: impl Iterator<Item = String>) -> BTreeMap<String, Vec<String>> {
    let mut shapes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for text in messages {
        let message: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let word = |key: &str| message[key].as_str().unwrap_or("").to_owned();
        let kind = match (message["method"].as_str(), message.get("error")) {
            (Some(method), Some(_)) => format!("{method} refused"),
            (Some("subscribe"), None) => {
                format!("subscribe {}", message["result"]["channel"].as_str().unwrap_or("?"))
            }
            (Some(method), None) => method.to_owned(),
            (None, _) => format!("{} {}", word("channel"), word("type")),
        };
        let shape = shape(&text);
        let known = shapes.entry(kind).or_default();
        if !known.contains(&shape) {
            known.push(shape);
        }
    }
    shapes
}

/// What our venue sends for these requests.
fn simulated(spec: InstrumentSpec, requests: &[&str]) -> BTreeMap<String, Vec<String>> {
    let config = KrakenConfig {
        instruments: vec![spec],
        messages_per_instrument_per_s: 100.0,
        ..KrakenConfig::default()
    };
    let mut client = Client::connect(VenueConfig::Kraken(config), "/v2");
    for request in requests {
        client.send(request);
    }
    client.pass(START_NS + 5_000_000_000);
    shapes(client.texts().into_iter())
}

fn check(name: &str, spec: InstrumentSpec, requests: &[&str], kinds: &[&str]) {
    let Some(recorded) = recording(name) else { return };
    let recorded = shapes(recorded.into_iter().filter(|(source, _)| source == "ws").map(|(_, text)| text));
    let simulated = simulated(spec, requests);
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
fn books_of_bitcoin_look_like_the_recorded_ones() {
    let spec = InstrumentSpec::new("BTC", "USD", "63000.0", "0.1", "0.00000001").unwrap();
    let request = r#"{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":10}}"#;
    let kinds = ["status update", "subscribe book", "book snapshot", "book update", "heartbeat "];
    check("kraken/v2_book10_btcusd_20260801_resubs.tsv", spec, &[request], &kinds);
}

#[test]
fn books_of_a_cheap_asset_look_like_the_recorded_ones() {
    let spec = InstrumentSpec::new("XRP", "USD", "1.08100", "0.00001", "0.00000001").unwrap();
    let request = r#"{"method":"subscribe","params":{"channel":"book","symbol":["XRP/USD"],"depth":25}}"#;
    let kinds = ["subscribe book", "book snapshot", "book update"];
    check("kraken/v2_book25_xrpusd_20260802.tsv.gz", spec, &[request], &kinds);
}

#[test]
fn trades_acknowledgements_and_refusals_look_like_the_recorded_ones() {
    let spec = InstrumentSpec::new("BTC", "USD", "63000.0", "0.1", "0.00000001").unwrap();
    let requests = [
        r#"{"method":"subscribe","req_id":1,"params":{"channel":"trade","symbol":["BTC/USD"],"snapshot":true}}"#,
        r#"{"method":"subscribe","req_id":1,"params":{"channel":"ticker","symbol":["BTC/USD"]}}"#,
        r#"{"method":"subscribe","req_id":1,"params":{"channel":"ohlc","symbol":["BTC/USD"],"interval":1}}"#,
        r#"{"method":"subscribe","req_id":0,"params":{"channel":"trade","symbol":["WWW/USD"]}}"#,
        r#"{"method":"ping","req_id":1}"#,
        r#"{"method":"ping","req_id":0,"params":{}}"#,
    ];
    let kinds = [
        "trade snapshot",
        "trade update",
        "subscribe trade",
        "subscribe ticker",
        "subscribe ohlc",
        "subscribe refused",
        "pong",
        "ping refused",
    ];
    check("kraken/samples_kraken-async-rs.tsv", spec, &requests, &kinds);
}
