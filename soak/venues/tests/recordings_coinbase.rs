//! What the simulated Coinbase sends has the same shape as what the venue sent when it was recorded: the same keys in
//! the same order, the same types. Digits are compared where the venue prints a fixed number of them.

mod common;

use std::collections::BTreeMap;

use common::{Client, START_NS, recording, shape};
use simvenues::{CoinbaseConfig, CoinbaseProduct, InstrumentSpec, VenueConfig};

/// By kind of message, its shapes.
fn shapes(messages: impl Iterator<Item = String>, digits: bool) -> BTreeMap<String, Vec<String>> {
    let mut shapes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for text in messages {
        let message: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let word = |value: &serde_json::Value| value.as_str().unwrap_or("").to_owned();
        let kind = match message["channel"].as_str() {
            Some(channel) => format!("{channel} {}", word(&message["events"][0]["type"])),
            None => word(&message["type"]),
        };
        let mut shape = shape(&text);
        if !digits {
            // Zeros at the end are left out, so the number of digits says nothing.
            let quoted = |part: &str| part.parse::<u32>().map_or(part.to_owned(), |_| "decimal".to_owned());
            shape = shape.split('"').map(quoted).collect::<Vec<_>>().join("\"");
        }
        let known = shapes.entry(kind).or_default();
        if !known.contains(&shape) {
            known.push(shape);
        }
    }
    shapes
}

fn check(name: &str, product: CoinbaseProduct, requests: &[&str], digits: bool, kinds: &[&str]) {
    let Some(recorded) = recording(name) else { return };
    let recorded = recorded.into_iter().filter(|(source, _)| source == "ws").map(|(_, text)| text);
    // An optional field that newer messages do not have.
    let recorded = shapes(recorded.map(|text| text.replace("\"client_id\":\"\",", "")), digits);
    let config = CoinbaseConfig {
        instruments: vec![InstrumentSpec::new("BTC", "USD", "78000.00", "0.01", "0.00000001").unwrap()],
        messages_per_instrument_per_s: 50.0,
        ..CoinbaseConfig::of(product)
    };
    let mut client = Client::connect(VenueConfig::Coinbase(config), "/");
    for request in requests {
        client.send(request);
    }
    client.pass(START_NS + 5_000_000_000);
    let simulated = shapes(client.texts().into_iter(), digits);
    for kind in kinds {
        let ours = simulated.get(*kind).unwrap_or_else(|| panic!("{kind} is not simulated"));
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
fn books_of_advanced_trade_look_like_the_recorded_ones() {
    let request = r#"{"type":"subscribe","channel":"level2","product_ids":["BTC-USD"]}"#;
    let kinds = ["l2_data snapshot", "l2_data update", "subscriptions "];
    let name = "coinbase/advanced_l2_btcusd_20260824_trimmed.tsv";
    check(name, CoinbaseProduct::Advanced, &[request], false, &kinds);
}

#[test]
fn other_channels_of_advanced_trade_look_like_the_recorded_ones() {
    let requests = [
        r#"{"type":"subscribe","channel":"heartbeats"}"#,
        r#"{"type":"subscribe","channel":"market_trades","product_ids":["BTC-USD"]}"#,
        r#"{"type":"subscribe","channel":"ticker","product_ids":["BTC-USD"]}"#,
        r#"{"type":"subscribe","channel":"ticker_batch","product_ids":["BTC-USD"]}"#,
        r#"{"type":"subscribe","channel":"candles","product_ids":["BTC-USD"]}"#,
        r#"{"type":"subscribe","channel":"status","product_ids":["BTC-USD"]}"#,
    ];
    let kinds =
        ["heartbeats ", "market_trades update", "ticker snapshot", "candles snapshot", "status snapshot"];
    check("coinbase/samples_jkorf.tsv", CoinbaseProduct::Advanced, &requests, false, &kinds);
}

#[test]
fn books_of_the_exchange_look_like_the_recorded_ones() {
    let request = r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["level2_batch"]}"#;
    let kinds = ["snapshot", "l2update"];
    let name = "coinbase/exchange_btcusd_20260704_trimmed.tsv";
    check(name, CoinbaseProduct::Exchange, &[request], true, &kinds);
}

#[test]
fn matches_of_the_exchange_look_like_the_recorded_ones() {
    let request = r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["matches"]}"#;
    let kinds = ["last_match", "match", "subscriptions"];
    check("coinbase/exchange_multi_20210417.tsv.gz", CoinbaseProduct::Exchange, &[request], false, &kinds);
}
