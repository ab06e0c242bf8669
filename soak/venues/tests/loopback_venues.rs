//! Kraken and Coinbase over real sockets, with a client library that is not ours.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use simvenues::{
    CoinbaseConfig, CoinbaseProduct, Fault, KrakenConfig, Server, Target, VenueConfig, VenueFault, start,
};
use tungstenite::{Message, WebSocket};

/// A test that hangs must fail.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

fn serve(venue: VenueConfig) -> Server {
    start("127.0.0.1:0".parse().unwrap(), venue).unwrap()
}

fn connect(address: SocketAddr, target: &str) -> WebSocket<TcpStream> {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(READ_TIMEOUT)).unwrap();
    tungstenite::client(format!("ws://{address}{target}"), socket).unwrap().0
}

fn next_json(socket: &mut WebSocket<TcpStream>) -> Value {
    loop {
        if let Message::Text(text) = socket.read().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// Prices and quantities as text, so that no digit is lost.
type Side = BTreeMap<i64, i64>;

/// A decimal at a number of digits; fewer in the text are zeros.
fn mantissa(text: &str, decimals: usize) -> i64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<decimals$}").parse().unwrap()
}

#[test]
fn kraken_serves_a_book_and_lies_when_it_is_told_to() {
    let config = KrakenConfig { messages_per_instrument_per_s: 100.0, ..KrakenConfig::default() };
    let server = serve(VenueConfig::Kraken(config));
    let mut socket = connect(server.address(), "/v2");
    assert_eq!(next_json(&mut socket)["channel"], "status");
    let request =
        r#"{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD","NO/USD"]},"req_id":9}"#;
    socket.send(Message::text(request)).unwrap();
    let (good, bad) = (next_json(&mut socket), next_json(&mut socket));
    assert_eq!((&good["success"], &good["req_id"]), (&Value::from(true), &Value::from(9)));
    assert_eq!(bad["error"], "Currency pair not supported NO/USD");
    let snapshot = next_json(&mut socket);
    assert_eq!(snapshot["data"][0]["bids"].as_array().unwrap().len(), 10);
    let lie = VenueFault::LieChecksum { symbol: "BTC-USD".to_owned(), count: 1 };
    server.faults().inject(Fault::Venue(lie));
    let (mut updates, mut heartbeats) = (0, 0);
    while updates < 50 || heartbeats < 2 {
        match next_json(&mut socket)["channel"].as_str().unwrap() {
            "book" => updates += 1,
            "heartbeat" => heartbeats += 1,
            other => panic!("{other}"),
        }
    }
    let stats = server.stats();
    assert_eq!((stats.faults_total, stats.subscriptions, stats.client_errors_total), (1, 1, 1));
    assert!(server.truth()[0].updates_published_total >= 50);
}

#[test]
fn coinbase_serves_a_large_book_in_one_frame_and_numbers_without_holes() {
    let config = CoinbaseConfig {
        messages_per_instrument_per_s: 50.0,
        book_levels: 10_000,
        ..CoinbaseConfig::default()
    };
    let server = serve(VenueConfig::Coinbase(config));
    let mut socket = connect(server.address(), "/");
    for channel in ["heartbeats", "level2"] {
        let request = format!(r#"{{"type":"subscribe","channel":"{channel}","product_ids":["BTC-USD"]}}"#);
        socket.send(Message::text(request)).unwrap();
    }
    let (mut bids, mut asks) = (Side::new(), Side::new());
    let truth = server.book("BTC-USD").unwrap();
    assert_eq!(truth.bids.len(), 10_000);
    let mut sequence = 0u64;
    let mut read = |socket: &mut WebSocket<TcpStream>| {
        let frame = next_json(socket);
        assert_eq!(frame["sequence_num"], sequence);
        sequence += 1;
        for event in frame["events"].as_array().unwrap() {
            for row in event["updates"].as_array().into_iter().flatten() {
                let side = if row["side"] == "bid" { &mut bids } else { &mut asks };
                let price = mantissa(row["price_level"].as_str().unwrap(), truth.price_decimals);
                match mantissa(row["new_quantity"].as_str().unwrap(), truth.qty_decimals) {
                    0 => side.remove(&price),
                    qty => side.insert(price, qty),
                };
            }
        }
        frame["channel"].as_str().unwrap().to_owned()
    };
    let mut updates = 0;
    while updates < 50 {
        updates += usize::from(read(&mut socket) == "l2_data");
    }
    server.set_rate(0.0);
    // Two heartbeats later, the last batch has certainly come.
    for _ in 0..2 {
        while read(&mut socket) != "heartbeats" {}
    }
    let truth = server.book("BTC-USD").unwrap();
    assert_eq!(bids.into_iter().rev().collect::<Vec<_>>(), truth.bids);
    assert_eq!(asks.into_iter().collect::<Vec<_>>(), truth.asks);

    server.faults().inject(Fault::SkipSequence(Target::All));
    // A heartbeat may have been on its way before the fault was armed.
    let hole = loop {
        let found = next_json(&mut socket)["sequence_num"].as_u64().unwrap();
        if found != sequence {
            break found - sequence;
        }
        sequence += 1;
    };
    assert_eq!(hole, 1);
}

#[test]
fn the_exchange_feed_serves_matches_without_holes() {
    let config = CoinbaseConfig {
        messages_per_instrument_per_s: 100.0,
        ..CoinbaseConfig::of(CoinbaseProduct::Exchange)
    };
    let server = serve(VenueConfig::Coinbase(config));
    let mut socket = connect(server.address(), "/");
    let request = r#"{"type":"subscribe","product_ids":["SOL-USD"],"channels":["matches"]}"#;
    socket.send(Message::text(request)).unwrap();
    assert_eq!(next_json(&mut socket)["type"], "subscriptions");
    let mut last = next_json(&mut socket)["trade_id"].as_u64().unwrap();
    for _ in 0..30 {
        let id = next_json(&mut socket)["trade_id"].as_u64().unwrap();
        assert_eq!(id, last + 1);
        last = id;
    }
}
