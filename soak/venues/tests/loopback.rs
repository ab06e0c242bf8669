//! The whole server over real sockets: a client library that is not ours, and REST by hand.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use simvenues::{BinanceConfig, Fault, How, Options, Server, Target, VenueConfig, start, start_with};
use tungstenite::{Message, WebSocket};

/// A test that hangs must fail.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

fn server(rate: f64) -> Server {
    let config = BinanceConfig { messages_per_instrument_per_s: rate, ..BinanceConfig::default() };
    start("127.0.0.1:0".parse().unwrap(), VenueConfig::Binance(config)).unwrap()
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

fn get(address: SocketAddr, target: &str) -> Value {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(READ_TIMEOUT)).unwrap();
    write!(socket, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    serde_json::from_str(body).unwrap()
}

#[test]
fn an_order_over_a_real_socket_is_in_the_truth_that_the_handle_gives() {
    use simvenues::exchange::keys::{hex, hmac_sha256};
    let server = server(0.0);
    let handle = server.faults();
    let key = handle.keys().into_iter().find(|key| key.kind == simvenues::exchange::KeyKind::Text).unwrap();
    let mut socket = connect(server.address(), "/ws-api/v3");
    let mut ask = |method: &str, params: &[(&str, &str)]| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let timestamp = now.as_millis().to_string();
        let mut params: BTreeMap<&str, &str> = params.iter().copied().collect();
        params.extend([("apiKey", key.name.as_str()), ("timestamp", timestamp.as_str())]);
        let payload: Vec<String> = params.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let signature = hex(&hmac_sha256(key.secret(), payload.join("&").as_bytes()));
        params.insert("signature", &signature);
        let request = serde_json::json!({"id": 1, "method": method, "params": params});
        socket.send(Message::text(request.to_string())).unwrap();
        next_json(&mut socket)
    };
    assert_eq!(ask("userDataStream.subscribe.signature", &[])["status"], 200);
    let params = [
        ("newClientOrderId", "real-1"),
        ("quantity", "0.5"),
        ("side", "SELL"),
        ("symbol", "ETHUSDT"),
        ("type", "MARKET"),
    ];
    let answer = ask("order.place", &params);
    assert_eq!(answer["result"]["status"], "FILLED", "{answer}");
    let event = next_json(&mut socket);
    assert_eq!((&event["event"]["x"], &event["event"]["c"]), (&"NEW".into(), &"real-1".into()));
    let orders = handle.orders();
    assert_eq!((orders.len(), orders[0].client_id.as_str()), (1, "real-1"));
    assert_eq!(handle.fills().iter().map(|fill| fill.qty).sum::<i64>(), orders[0].filled);
}

type Side = BTreeMap<i64, i64>;

fn apply(side: &mut Side, levels: &Value) {
    for level in levels.as_array().unwrap() {
        let value = |index: usize| level[index].as_str().unwrap().replace('.', "").parse::<i64>().unwrap();
        if value(1) == 0 {
            side.remove(&value(0))
        } else {
            side.insert(value(0), value(1))
        };
    }
}

#[test]
fn a_snapshot_over_rest_and_the_streamed_updates_give_the_true_book() {
    let server = server(200.0);
    let address = server.address();
    let mut socket = connect(address, "/stream");
    let subscribe = r#"{"method":"SUBSCRIBE","params":["btcusdt@depth@100ms"],"id":1}"#;
    socket.send(Message::text(subscribe)).unwrap();
    assert_eq!(next_json(&mut socket), serde_json::json!({"result":null,"id":1}));

    let mut buffered = vec![next_json(&mut socket)];
    let snapshot = get(address, "/api/v3/depth?symbol=BTCUSDT&limit=5000");
    let mut last = snapshot["lastUpdateId"].as_u64().unwrap();
    let (mut bids, mut asks) = (Side::new(), Side::new());
    apply(&mut bids, &snapshot["bids"]);
    apply(&mut asks, &snapshot["asks"]);
    while buffered.len() < 10 {
        buffered.push(next_json(&mut socket));
    }
    server.set_rate(0.0);
    let truth = loop {
        let truth = server.book("BTC-USDT").unwrap();
        if buffered.last().unwrap()["data"]["u"].as_u64() == Some(truth.update_id) {
            break truth;
        }
        buffered.push(next_json(&mut socket));
    };
    for event in &buffered {
        let (first, id) = (event["data"]["U"].as_u64().unwrap(), event["data"]["u"].as_u64().unwrap());
        if id <= last {
            continue;
        }
        assert!(first <= last + 1, "a gap: {first} after {last}");
        last = id;
        apply(&mut bids, &event["data"]["b"]);
        apply(&mut asks, &event["data"]["a"]);
    }
    assert_eq!(last, truth.update_id);
    assert_eq!(bids.into_iter().rev().collect::<Vec<_>>(), truth.bids);
    assert_eq!(asks.into_iter().collect::<Vec<_>>(), truth.asks);
    server.stop();
}

#[test]
fn many_clients_get_all_that_the_server_says_it_sent() {
    let server = server(50.0);
    let mut sockets: Vec<_> = (0..5).map(|_| connect(server.address(), "/ws/ethusdt@trade")).collect();
    let mut ids: Vec<Vec<u64>> = vec![Vec::new(); sockets.len()];
    for (socket, ids) in sockets.iter_mut().zip(&mut ids) {
        while ids.len() < 20 {
            ids.push(next_json(socket)["t"].as_u64().unwrap());
        }
        assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ids:?}");
    }
    let truth = server.truth().into_iter().find(|truth| truth.symbol == "ETH-USDT").unwrap();
    assert_eq!(truth.trade_id_first, ids.iter().map(|ids| ids[0]).min());
    assert!(truth.trade_id_last >= ids.iter().map(|ids| ids[19]).max());
    let stats = server.stats();
    assert_eq!((stats.connections_open, stats.subscriptions), (5, 5));
    assert!(stats.sent_by_stream_total["trade"] >= 100);
}

#[test]
fn the_same_over_tls() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let options = Options { tls: Some(Arc::new(config)), first: None };
    let venue = BinanceConfig { messages_per_instrument_per_s: 500.0, ..BinanceConfig::default() };
    let server = start_with("127.0.0.1:0".parse().unwrap(), VenueConfig::Binance(venue), options).unwrap();

    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let session = rustls::ClientConnection::new(Arc::new(client), "localhost".try_into().unwrap()).unwrap();
    let socket = TcpStream::connect(server.address()).unwrap();
    socket.set_read_timeout(Some(READ_TIMEOUT)).unwrap();
    let stream = rustls::StreamOwned::new(session, socket);
    let (mut socket, _) = tungstenite::client("ws://localhost/ws/btcusdt@trade", stream).unwrap();
    let mut last = None;
    for _ in 0..200 {
        let Message::Text(text) = socket.read().unwrap() else { continue };
        let id = serde_json::from_str::<Value>(&text).unwrap()["t"].as_u64().unwrap();
        assert!(last.is_none_or(|last| id == last + 1));
        last = Some(id);
    }
    server.faults().inject(Fault::Disconnect(Target::All, How::CloseFrame(1001)));
    let code = loop {
        if let Message::Close(Some(frame)) = socket.read().unwrap() {
            break u16::from(frame.code);
        }
    };
    assert_eq!(code, 1001);
}

#[test]
fn a_fault_from_another_thread_disconnects_and_is_counted() {
    let server = server(0.0);
    let mut socket = connect(server.address(), "/ws");
    server.faults().inject(Fault::Disconnect(Target::All, How::CloseFrame(1001)));
    assert!(matches!(socket.read().unwrap(), Message::Close(Some(frame)) if u16::from(frame.code) == 1001));
    assert!(socket.read().is_err());
    // The answer to the close may still be on its way; the disconnect itself was the server's and is counted.
    assert_eq!(server.stats().disconnects_total["fault"], 1);
    assert_eq!(server.stats().connections_open, 0);
}

#[test]
fn a_client_that_does_not_read_is_disconnected() {
    let mut config = BinanceConfig { messages_per_instrument_per_s: 2000.0, ..BinanceConfig::default() };
    config.limits.output_bytes_max = 64 * 1024;
    let server = start("127.0.0.1:0".parse().unwrap(), VenueConfig::Binance(config)).unwrap();
    let names: Vec<String> = simvenues::default_instruments("USDT")
        .iter()
        .map(|it| format!("{}usdt@depth@100ms", it.base.to_lowercase()))
        .collect();
    let socket = connect(server.address(), &format!("/stream?streams={}", names.join("/")));
    // The kernel's buffers must fill first; nothing here reads.
    while !server.stats().disconnects_total.contains_key("slow_client") {
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(socket);
}
