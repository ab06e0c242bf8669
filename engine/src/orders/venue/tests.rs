//! What every venue's order entry must do: requests are whole JSON or forms with every field, the signature is over what
//! is sent, nothing allocates once warm, no key shows, damaged input is no panic.

use serde_json::{Value, json};

use super::binance::{BinanceKey, BinanceOrders};
use super::coinbase::{CoinbaseOrders, LIVE_HOST};
use super::kraken::{KrakenKey, KrakenOrders};
use super::*;
use crate::decimal::{Decimals, Price, Qty};
use crate::ids::{InstrumentId, ProviderId};
use crate::orders::id::WireId;
use crate::orders::ledger::Purpose;
use crate::orders::life::Life;
use crate::orders::report::VenueOrderId;
use crate::orders::request::{DecisionId, OrderKind, OrderSide, TimeInForce};
use crate::orders::secret::Secret;

/// Feeds 3,000 damaged copies of `text`: cut, with bytes changed, doubled or dropped. Nothing may panic.
pub(in crate::orders) fn mutate(text: &str, mut decode: impl FnMut(&mut [u8], &mut Vec<Incoming>) -> bool) {
    let mut incoming = Vec::new();
    assert!(decode(&mut text.as_bytes().to_vec(), &mut incoming), "{text}");
    let mut refused = 0;
    for seed in 0..3_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(0..bytes.len());
            match random.u8(0..4) {
                0 => bytes[at] = random.u8(..),
                1 => bytes[at] = *random.choice(b"\"{}[],:0-9.eE").expect("not empty"),
                2 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, *random.choice(b"9\"-.}").expect("not empty")),
            }
        }
        incoming.clear();
        refused += usize::from(!decode(&mut bytes, &mut incoming));
    }
    assert!(refused > 500, "damage is seen: {refused} of 3000");
}

const STAMP: Stamp = Stamp { unix_ms: 1_783_000_000_000, nonce: 1_783_000_000_000_000_000, random: 7 };

fn tag() -> Tag {
    Tag::new(Purpose::Place, 12, 34)
}

fn directory(venue_symbol: &str) -> (Directory, Listing) {
    let mut directory = Directory::closed(ProviderId(0));
    let listing = directory.add(venue_symbol, "BTC-USD", InstrumentId(0)).expect("listed");
    (directory, listing)
}

fn order(listing: Listing) -> Order {
    let wire_id = WireId { epoch: 1_783_000_000, shard: 1, counter: 42 }.encode();
    Order {
        client_order_id: wire_id,
        wire_id,
        consumer: crate::ids::ConsumerId(0),
        provider: ProviderId(0),
        instrument: InstrumentId(0),
        listing,
        side: OrderSide::Buy,
        kind: OrderKind::Limit,
        time_in_force: TimeInForce::GoodTillCancelled,
        post_only: false,
        price: Price(6_400_050),
        decision: DecisionId(1),
        trace: crate::ids::TraceId::default(),
        life: Life::new(Qty(100_000), Decimals { price: 2, qty: 8 }),
    }
}

fn binance() -> BinanceOrders {
    let key = BinanceKey::hmac(&Secret::new(super::binance::sign::tests::SECRET.to_vec())).expect("a key");
    BinanceOrders::new(super::binance::sign::tests::API_KEY, key, 2_000)
}

fn kraken() -> KrakenOrders {
    let key = KrakenKey::new(&Secret::new(super::kraken::sign::tests::SECRET.to_vec())).expect("a key");
    let mut gateway = KrakenOrders::new(b"public", key);
    let mut token = br#"{"error":[],"result":{"token":"TOKEN","expires":900}}"#.to_vec();
    gateway.decode_http(Tag::session(0), 200, &mut token, &mut Vec::new()).expect("a token");
    gateway
}

fn coinbase() -> CoinbaseOrders {
    CoinbaseOrders::new(b"organizations/o/apiKeys/k", super::coinbase::sign::tests::es256(), LIVE_HOST)
}

fn body(out: &Outgoing) -> Value {
    serde_json::from_slice(&out.body)
        .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&out.body)))
}

#[test]
fn binance_signs_the_sorted_parameters_that_it_sends() {
    let (directory, listing) = directory("BTCUSDT");
    let (mut gateway, mut out) = (binance(), Outgoing::new());
    let check = |out: &Outgoing, method: &str, expected: Value| {
        let frame = body(out);
        assert_eq!((frame["method"].as_str(), frame["id"].as_u64()), (Some(method), Some(tag().0)));
        let mut params = frame["params"].as_object().expect("an object").clone();
        let signature = params.remove("signature").expect("signed");
        assert_eq!(Value::Object(params.clone()), expected);
        let mut pairs: Vec<(String, String)> = params
            .into_iter()
            .map(|(name, value)| (name, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            .collect();
        pairs.sort();
        let payload: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let key =
            BinanceKey::hmac(&Secret::new(super::binance::sign::tests::SECRET.to_vec())).expect("a key");
        let mut signed = Vec::new();
        key.sign(payload.join("&").as_bytes(), &mut signed);
        assert_eq!(signature.as_str().map(str::as_bytes), Some(&signed[..]));
    };
    let api_key = String::from_utf8_lossy(super::binance::sign::tests::API_KEY).into_owned();
    let base = order(listing);
    let place = |kind: &str| {
        json!({"apiKey": api_key, "newClientOrderId": base.wire_id.as_str(), "newOrderRespType": "ACK",
            "price": "64000.5", "quantity": "0.001", "recvWindow": 2_000, "side": "BUY", "symbol": "BTCUSDT",
            "timestamp": 1_783_000_000_000_u64, "type": kind})
    };
    gateway.place(tag(), &base, &directory, &STAMP, &mut out).expect("encodes");
    let mut expected = place("LIMIT");
    expected["timeInForce"] = "GTC".into();
    check(&out, "order.place", expected);
    let post_only = Order { post_only: true, side: OrderSide::Sell, ..base };
    gateway.place(tag(), &post_only, &directory, &STAMP, &mut out).expect("encodes");
    let mut expected = place("LIMIT_MAKER");
    expected["side"] = "SELL".into();
    check(&out, "order.place", expected);
    let market = Order { kind: OrderKind::Market, price: Price(0), ..base };
    gateway.place(tag(), &market, &directory, &STAMP, &mut out).expect("encodes");
    let mut expected = place("MARKET");
    expected.as_object_mut().expect("an object").remove("price");
    check(&out, "order.place", expected);

    let named = |field: &str, value: Value| {
        json!({"apiKey": api_key, field: value, "recvWindow": 2_000, "symbol": "BTCUSDT",
            "timestamp": 1_783_000_000_000_u64})
    };
    gateway.cancel(tag(), &base, &directory, &STAMP, &mut out).expect("encodes");
    check(&out, "order.cancel", named("origClientOrderId", base.wire_id.as_str().into()));
    let mut known = base;
    known.life.venue_order_id = VenueOrderId::cut(b"28000000123");
    gateway.query(tag(), 0, &known, &directory, &STAMP, &mut out).expect("encodes");
    check(&out, "order.status", named("orderId", 28_000_000_123_u64.into()));
    gateway.fills(tag(), &known, &directory, &STAMP, &mut out).expect("encodes");
    check(&out, "myTrades", named("orderId", 28_000_000_123_u64.into()));
    gateway.open_orders(tag(), &STAMP, &mut out).expect("encodes");
    assert_eq!(body(&out)["method"], "openOrders.status");
    assert_eq!(gateway.join(0, &STAMP, &mut out), Ok(true));
    assert_eq!(body(&out)["method"], "userDataStream.subscribe.signature");
    assert_eq!(gateway.join(1, &STAMP, &mut out), Ok(false));
}

#[test]
fn kraken_sends_numbers_and_its_token() {
    let (directory, listing) = directory("BTC/USD");
    let (mut gateway, mut out) = (kraken(), Outgoing::new());
    let base = Order { post_only: true, ..order(listing) };
    gateway.place(tag(), &base, &directory, &STAMP, &mut out).expect("encodes");
    let text = String::from_utf8_lossy(&out.body).into_owned();
    assert!(text.contains("\"order_qty\":0.001,\"limit_price\":64000.5,"), "{text}");
    assert_eq!(
        body(&out),
        json!({"method": "add_order", "req_id": tag().0, "params": {"order_type": "limit", "side": "buy",
            "symbol": "BTC/USD", "order_qty": 0.001, "limit_price": 64000.5, "time_in_force": "gtc",
            "post_only": true, "cl_ord_id": base.wire_id.as_str(), "deadline": "2026-07-02T13:46:45.000Z",
            "token": "TOKEN"}})
    );
    gateway.cancel(tag(), &base, &directory, &STAMP, &mut out).expect("encodes");
    assert_eq!(body(&out)["params"], json!({"cl_ord_id": [base.wire_id.as_str()], "token": "TOKEN"}));
    gateway.cancel_all(listing, &directory, &STAMP, &mut out).expect("encodes");
    assert_eq!(body(&out)["params"], json!({"token": "TOKEN"}));
    for (attempt, path) in [(0, "/0/private/OpenOrders"), (1, "/0/private/ClosedOrders")] {
        gateway.query(tag(), attempt, &base, &directory, &STAMP, &mut out).expect("encodes");
        assert_eq!((out.transport, String::from_utf8_lossy(&out.path).as_ref()), (Transport::Post, path));
        let form = format!("nonce=1783000000000000000&cl_ord_id={}", base.wire_id);
        assert_eq!(String::from_utf8_lossy(&out.body), form);
    }
    assert_eq!(gateway.join(0, &STAMP, &mut out), Ok(true));
    assert_eq!(gateway.join(1, &STAMP, &mut out), Err(EncodeError::NoToken), "each connection has its own");
}

#[test]
fn coinbase_uses_a_prepared_token_once_and_a_uuid() {
    let (directory, listing) = directory("BTC-USD");
    let (mut gateway, mut out) = (coinbase(), Outgoing::new());
    let base = order(listing);
    assert!(gateway.wants_token(&STAMP));
    gateway.prepare(&STAMP);
    assert!(!gateway.wants_token(&STAMP));
    assert!(gateway.wants_token(&Stamp { unix_ms: STAMP.unix_ms + 100_000, ..STAMP }), "too old soon");
    gateway.place(tag(), &base, &directory, &STAMP, &mut out).expect("encodes");
    let first = out.headers.clone();
    assert!(gateway.wants_token(&STAMP));
    assert_eq!(
        body(&out),
        json!({"client_order_id": String::from_utf8_lossy(&base.wire_id.uuid().text()), "product_id": "BTC-USD",
            "side": "BUY", "order_configuration": {"limit_limit_gtc": {"base_size": "0.001",
            "limit_price": "64000.5", "post_only": false}}})
    );
    gateway.place(tag(), &base, &directory, &Stamp { random: 8, ..STAMP }, &mut out).expect("encodes");
    assert_ne!(out.headers, first, "one request, one token");
    for (kind, time_in_force, name) in [
        (OrderKind::Market, TimeInForce::GoodTillCancelled, "market_market_ioc"),
        (OrderKind::Limit, TimeInForce::ImmediateOrCancel, "sor_limit_ioc"),
        (OrderKind::Limit, TimeInForce::FillOrKill, "limit_limit_fok"),
    ] {
        let order = Order { kind, time_in_force, ..base };
        gateway.place(tag(), &order, &directory, &STAMP, &mut out).expect("encodes");
        assert!(body(&out)["order_configuration"][name].is_object(), "{name}");
    }
    assert!(gateway.cancel(tag(), &base, &directory, &STAMP, &mut out).is_err(), "the venue's id is needed");
    gateway.query(tag(), 0, &base, &directory, &STAMP, &mut out).expect("encodes");
    assert_eq!(
        String::from_utf8_lossy(&out.path),
        "/api/v3/brokerage/orders/historical/batch?limit=250&product_ids=BTC-USD"
    );
    let mut known = base;
    known.life.venue_order_id = VenueOrderId::cut(b"a1b2");
    gateway.cancel(tag(), &known, &directory, &STAMP, &mut out).expect("encodes");
    assert_eq!(body(&out), json!({"order_ids": ["a1b2"]}));
    gateway.query(tag(), 0, &known, &directory, &STAMP, &mut out).expect("encodes");
    assert_eq!(String::from_utf8_lossy(&out.path), "/api/v3/brokerage/orders/historical/a1b2");
}

/// How an order works, as each venue says it. Binance: type, time in force. Kraken: type, time in force, post only, price.
/// Coinbase: configuration, post only, price.
#[test]
fn how_an_order_works_is_said_in_each_venue_s_words() {
    fn check(
        (side, kind, time_in_force, post_only): (OrderSide, OrderKind, TimeInForce, bool),
        at_binance: [Option<&str>; 2],
        at_kraken: &Value,
        at_coinbase: &Value,
    ) {
        let (directory, listing) = directory("BTCUSD");
        let mut order = Order { side, kind, time_in_force, post_only, ..order(listing) };
        if kind == OrderKind::Market {
            order.price = Price(0);
        }
        let says = |gateway: &mut dyn OrderGateway| {
            let mut out = Outgoing::new();
            gateway.place(tag(), &order, &directory, &STAMP, &mut out).expect("encodes");
            body(&out)
        };
        let (upper, lower) = if side == OrderSide::Buy { ("BUY", "buy") } else { ("SELL", "sell") };

        let params = &says(&mut binance())["params"];
        assert_eq!(params["side"], upper, "{order:?}");
        assert_eq!([params["type"].as_str(), params["timeInForce"].as_str()], at_binance, "{order:?}");
        assert_eq!(params.get("price").is_some(), kind == OrderKind::Limit, "{order:?}");

        let mut params = says(&mut kraken())["params"].as_object().expect("an object").clone();
        assert_eq!(params.remove("side"), Some(lower.into()), "{order:?}");
        for named_always in ["symbol", "order_qty", "cl_ord_id", "deadline", "token"] {
            assert!(params.remove(named_always).is_some(), "{named_always} of {order:?}");
        }
        assert_eq!(&Value::Object(params), at_kraken, "{order:?}");

        let said = says(&mut coinbase());
        assert_eq!((&said["side"], &said["order_configuration"]), (&upper.into(), at_coinbase), "{order:?}");
    }
    use OrderKind::{Limit, Market};
    use OrderSide::{Buy, Sell};
    use TimeInForce::{FillOrKill, GoodTillCancelled, ImmediateOrCancel};
    let price = 64000.5;
    let (base_size, limit_price) = ("0.001", "64000.5");
    check(
        (Buy, Limit, GoodTillCancelled, false),
        [Some("LIMIT"), Some("GTC")],
        &json!({"order_type": "limit", "limit_price": price, "time_in_force": "gtc"}),
        &json!({"limit_limit_gtc": {"base_size": base_size, "limit_price": limit_price, "post_only": false}}),
    );
    check(
        (Sell, Limit, GoodTillCancelled, true),
        [Some("LIMIT_MAKER"), None],
        &json!({"order_type": "limit", "limit_price": price, "time_in_force": "gtc", "post_only": true}),
        &json!({"limit_limit_gtc": {"base_size": base_size, "limit_price": limit_price, "post_only": true}}),
    );
    check(
        (Sell, Limit, ImmediateOrCancel, false),
        [Some("LIMIT"), Some("IOC")],
        &json!({"order_type": "limit", "limit_price": price, "time_in_force": "ioc"}),
        &json!({"sor_limit_ioc": {"base_size": base_size, "limit_price": limit_price}}),
    );
    check(
        (Buy, Limit, FillOrKill, false),
        [Some("LIMIT"), Some("FOK")],
        &json!({"order_type": "limit", "limit_price": price, "time_in_force": "fok"}),
        &json!({"limit_limit_fok": {"base_size": base_size, "limit_price": limit_price}}),
    );
    check(
        (Sell, Market, GoodTillCancelled, false),
        [Some("MARKET"), None],
        &json!({"order_type": "market"}),
        &json!({"market_market_ioc": {"base_size": base_size}}),
    );
}

/// Once the venue's id is known it is what cancels and questions go by; the one cancel of everything is for one instrument only
/// where the venue has that.
#[test]
fn cancels_and_questions_go_by_the_venue_s_id_where_it_is_known() {
    let (directory, listing) = directory("BTCUSD");
    let mut known = order(listing);
    known.life.venue_order_id = VenueOrderId::cut(b"OABC-123");
    let mut out = Outgoing::new();
    let form = |out: &Outgoing| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&out.path), text(&out.body).replace("nonce=1783000000000000000", "nonce"))
    };

    let mut gateway = kraken();
    gateway.cancel(tag(), &known, &directory, &STAMP, &mut out).expect("encodes");
    assert_eq!(body(&out)["params"], json!({"order_id": ["OABC-123"], "token": "TOKEN"}));
    gateway.query(tag(), 0, &known, &directory, &STAMP, &mut out).expect("encodes");
    let named = "nonce&trades=true&txid=OABC-123".to_owned();
    assert_eq!(form(&out), ("/0/private/QueryOrders".to_owned(), named.clone()));
    // The order has named no executions yet: it is asked which they are.
    gateway.fills(tag(), &known, &directory, &STAMP, &mut out).expect("encodes");
    assert_eq!(form(&out), ("/0/private/QueryOrders".to_owned(), named));
    gateway.fills(tag(), &order(listing), &directory, &STAMP, &mut out).expect("encodes");
    assert_eq!(form(&out), ("/0/private/TradesHistory".to_owned(), "nonce".to_owned()));
    gateway.open_orders(tag(), &STAMP, &mut out).expect("encodes");
    assert_eq!(form(&out), ("/0/private/OpenOrders".to_owned(), "nonce".to_owned()));

    let mut gateway = binance();
    gateway.cancel_all(listing, &directory, &STAMP, &mut out).expect("encodes");
    let said = body(&out);
    assert_eq!(
        (&said["method"], &said["params"]["symbol"]),
        (&"openOrders.cancelAll".into(), &"BTCUSD".into())
    );
    assert_eq!(said["id"], Tag::cancel_all(listing).0);
    assert!(
        gateway.fills(tag(), &order(listing), &directory, &STAMP, &mut out).is_err(),
        "executions are asked for by the venue's id"
    );

    let mut gateway = coinbase();
    assert!(gateway.cancel_all(listing, &directory, &STAMP, &mut out).is_err(), "one by one");
    assert!(gateway.fills(tag(), &known, &directory, &STAMP, &mut out).is_err(), "an order says its sums");
    for (step, channel) in [(0, "user"), (1, "heartbeats")] {
        assert_eq!(gateway.join(step, &STAMP, &mut out), Ok(true));
        let said = body(&out);
        assert_eq!((&said["type"], &said["channel"]), (&"subscribe".into(), &channel.into()));
        assert_eq!(said["jwt"].as_str().map(|token| token.split('.').count()), Some(3));
    }
    assert_eq!(gateway.join(2, &STAMP, &mut out), Ok(false));
}

#[test]
fn nothing_secret_shows_when_a_gateway_is_printed() {
    let text = format!("{:?} {:?} {:?}", binance(), kraken(), coinbase());
    for secret in ["NhqPtmdS", "kQH5HW", "TOKEN", "C9AFA9D8", "c9afa9d8"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn a_request_allocates_nothing_once_warm() {
    let (directory, listing) = directory("BTCUSDT");
    let base = order(listing);
    let (mut binance, mut kraken, mut coinbase) = (binance(), kraken(), coinbase());
    let gateways: [&mut dyn OrderGateway; 3] = [&mut binance, &mut kraken, &mut coinbase];
    for gateway in gateways {
        let mut out = Outgoing::new();
        let capacities = |out: &Outgoing| (out.path.capacity(), out.headers.capacity(), out.body.capacity());
        let before = capacities(&out);
        for _ in 0..10 {
            gateway.place(tag(), &base, &directory, &STAMP, &mut out).expect("encodes");
        }
        assert_eq!(capacities(&out), before, "{}", gateway.name());
    }
}
