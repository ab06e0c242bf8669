use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::token::{Purpose, signer};
use crate::clock::MS_NS;
use crate::coinbase::{CoinbaseConfig, CoinbaseProduct, SECOND_NS, trading};
use crate::exchange::{AccountId, ApiKey, Exchange, KeyKind, OrderFault};
use crate::faults::{Fault, VenueFault};
use crate::output::ConnectionId;
use crate::world::{START_NS, World};

const ORDERS: &str = "/api/v3/brokerage/orders";

fn world() -> World {
    let config = CoinbaseConfig {
        messages_per_instrument_per_s: 0.0,
        book_levels: 100,
        ..CoinbaseConfig::of(CoinbaseProduct::Advanced)
    };
    World::of(Box::new(config.build(START_NS)), 16 << 20)
}

fn key(world: &World, kind: KeyKind) -> ApiKey {
    world.site.keys().into_iter().find(|key| key.kind == kind).expect("issued")
}

fn token(key: &ApiKey, now_s: u64, change: impl FnOnce(&mut Value, &mut Value)) -> String {
    let algorithm = if key.kind == KeyKind::Es256 { "ES256" } else { "EdDSA" };
    let mut header =
        json!({"alg": algorithm, "typ": "JWT", "kid": key.name, "nonce": "00112233445566778899aabbccddeeff"});
    let mut claims = json!({"sub": key.name, "iss": "cdp", "nbf": now_s, "exp": now_s + 120});
    change(&mut header, &mut claims);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let payload = format!("{}.{}", part(&header), part(&claims));
    format!("{payload}.{}", key.token_sign(payload.as_bytes()))
}

fn with_token(world: &mut World, token: &str, method: &str, target: &str, body: &str) -> (u16, Value) {
    let answer = world.rest_raw(&format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    if answer.is_empty() {
        return (0, Value::Null);
    }
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head[9..12].parse().expect("a status"), serde_json::from_str(body).unwrap_or(Value::Null))
}

fn rest(world: &mut World, method: &str, target: &str, body: &str) -> (u16, Value) {
    let key = key(world, KeyKind::Es256);
    let path = target.split('?').next().expect("a path");
    let uri = format!("{method} api.coinbase.com{path}");
    let token = token(&key, world.now_ns / SECOND_NS, |_, claims| claims["uri"] = uri.into());
    with_token(world, &token, method, target, body)
}

fn resting(client_id: &str) -> Value {
    json!({"client_order_id": client_id, "product_id": "BTC-USD", "side": "BUY",
        "order_configuration": {"limit_limit_gtc": {"base_size": "0.01", "limit_price": "50000.1", "post_only": false}}})
}

fn place(world: &mut World, order: &Value) -> Value {
    let (status, body) = rest(world, "POST", ORDERS, &order.to_string());
    assert_eq!(status, 200, "{body}");
    body
}

/// A connection with the `user` channel.
fn joined(world: &mut World) -> ConnectionId {
    let key = key(world, KeyKind::Ed25519);
    let id = world.connect("/");
    let jwt = token(&key, world.now_ns / SECOND_NS, |_, _| {});
    world.send_frame(
        id,
        1,
        json!({"type": "subscribe", "channel": "user", "jwt": jwt}).to_string().as_bytes(),
    );
    id
}

fn states(frames: &[Value]) -> Vec<(&str, &str)> {
    let orders = frames.iter().filter(|frame| frame["channel"] == "user").map(|frame| &frame["events"][0]);
    orders
        .filter_map(|event| Some((event["type"].as_str()?, event["orders"][0]["status"].as_str()?)))
        .collect()
}

#[test]
fn the_computed_vectors_are_accepted_at_their_time_only() {
    const NAME: &str =
        "organizations/00000000-0000-0000-0000-000000000001/apiKeys/00000000-0000-0000-0000-000000000002";
    let payload = |algorithm: &str| {
        let header = format!(
            r#"{{"alg":"{algorithm}","typ":"JWT","kid":"{NAME}","nonce":"00112233445566778899aabbccddeeff"}}"#
        );
        let claims = format!(
            r#"{{"sub":"{NAME}","iss":"cdp","nbf":1783000000,"exp":1783000120,"uri":"GET api.coinbase.com/api/v3/brokerage/accounts"}}"#
        );
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    };
    // Public keys of RFC 6979, A.2.5, and of RFC 8032, test 1.
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
    };
    let point = bytes(
        "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb67903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
    );
    let ed25519 = bytes("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    for (kind, public, algorithm, signature) in [
        (
            KeyKind::Es256,
            point,
            "ES256",
            "DebQD3qTboaVSIhXFtZKvQMfx51nk6XC7xyf-lXEXgNHwUwrj5kkH8GbFodpLZBKkXjsUtlQVFA57Nf8oejFWg",
        ),
        (
            KeyKind::Ed25519,
            ed25519,
            "EdDSA",
            "_otUhdXGd4JedThVC35CvYhR3jAMtEzjDWOGYK-9xDEfPrKG23e2nurEwHq3-0d1qv_JpLBoq5Dpt_wQGedMBw",
        ),
    ] {
        let mut exchange = Exchange::new(&trading(), &crate::default_instruments("USD")[..1], START_NS);
        exchange.put_key(ApiKey::known(kind, NAME, Vec::new(), public));
        let token = format!("{}.{signature}", payload(algorithm));
        let good = |token: &str, path, at_s: u64| {
            let purpose = Purpose::Rest("GET", "localhost", path);
            signer(&exchange, token, purpose, at_s * SECOND_NS).map(|key| key.account)
        };
        let path = "/api/v3/brokerage/accounts";
        assert_eq!(good(&token, path, 1_783_000_000), Some(AccountId(0)), "{algorithm}");
        assert_eq!(good(&token, path, 1_782_999_999), None, "not yet");
        assert_eq!(good(&token, path, 1_783_000_120), None, "not any more");
        assert_eq!(good(&token, "/api/v3/brokerage/orders", 1_783_000_000), None, "for another path");
        let other = if algorithm == "ES256" { "EdDSA" } else { "ES256" };
        assert_eq!(good(&format!("{}.{signature}", payload(other)), path, 1_783_000_000), None);
    }
}

#[test]
fn tokens_that_are_wrong_in_any_part_are_refused() {
    let mut world = world();
    let key = key(&world, KeyKind::Es256);
    let now_s = world.now_ns / SECOND_NS;
    let target = "/api/v3/brokerage/orders/historical/batch?limit=1";
    let uri = "GET localhost/api/v3/brokerage/orders/historical/batch";
    let mut check = |status: u16, change: fn(&mut Value, &mut Value)| {
        let token = token(&key, now_s, |header, claims| {
            claims["uri"] = uri.into();
            change(header, claims);
        });
        assert_eq!(with_token(&mut world, &token, "GET", target, "").0, status);
    };
    check(200, |_, _| {});
    check(401, |header, _| header["nonce"] = "short".into());
    check(401, |header, _| header["kid"] = "nobody".into());
    check(401, |header, _| header["alg"] = "EdDSA".into());
    check(401, |_, claims| claims["sub"] = "nobody".into());
    check(401, |_, claims| claims["iss"] = "other".into());
    check(401, |_, claims| claims["exp"] = json!(claims["nbf"].as_u64().unwrap() + 121));
    check(401, |_, claims| claims["nbf"] = json!(claims["nbf"].as_u64().unwrap() + 1));
    check(401, |_, claims| claims["uri"] = "POST localhost/api/v3/brokerage/orders/historical/batch".into());
    let id = world.connect("/");
    world.send_frame(id, 1, br#"{"type":"subscribe","channel":"user","jwt":"a.b.c"}"#);
    assert_eq!(world.events(id)[0]["message"], "authentication failure");
}

#[test]
fn an_order_is_answered_told_and_found() {
    let mut world = world();
    let id = joined(&mut world);
    world.pass(25);
    let frames = world.events(id);
    assert_eq!(frames[0]["events"], json!([{"type": "snapshot", "orders": []}]));
    assert!(frames[1]["events"][0]["subscriptions"]["user"].is_array(), "{frames:?}");
    let placed = place(&mut world, &resting("one"));
    assert_eq!(
        (&placed["success"], &placed["failure_reason"]),
        (&json!(true), &json!("UNKNOWN_FAILURE_REASON"))
    );
    let order_id = placed["success_response"]["order_id"].as_str().expect("an id").to_owned();
    assert_eq!(states(&world.events(id)), [("update", "PENDING"), ("update", "OPEN")]);
    // The same id again is the same order, whatever else is asked.
    let mut again = resting("one");
    again["side"] = "SELL".into();
    assert_eq!(place(&mut world, &again), placed);
    assert_eq!(world.site.trading().orders.len(), 1);

    world.site.fault(&Fault::Venue(VenueFault::Orders(OrderFault::Fill { percent: 40 })), world.now_ns);
    world.pass(1);
    let frames = world.events(id);
    let order = &frames[0]["events"][0]["orders"][0];
    assert_eq!(
        (&order["cumulative_quantity"], &order["leaves_quantity"], &order["number_of_fills"]),
        (&json!("0.004"), &json!("0.006"), &json!("1"))
    );
    assert_eq!(order["filled_value"], "200.0004");
    let found = rest(&mut world, "GET", &format!("{ORDERS}/historical/{order_id}"), "").1;
    assert_eq!(
        (&found["order"]["status"], &found["order"]["filled_size"]),
        (&json!("OPEN"), &json!("0.004"))
    );
    let fills = rest(&mut world, "GET", &format!("{ORDERS}/historical/fills?order_ids={order_id}"), "").1;
    assert_eq!(
        (&fills["fills"][0]["size"], &fills["fills"][0]["liquidity_indicator"]),
        (&json!("0.004"), &json!("MAKER"))
    );

    let cancel = json!({"order_ids": [order_id, "nothing"]}).to_string();
    let (_, answer) = rest(&mut world, "POST", &format!("{ORDERS}/batch_cancel"), &cancel);
    let done: Vec<_> =
        answer["results"].as_array().expect("a list").iter().map(|it| &it["success"]).collect();
    assert_eq!(done, [true, false]);
    assert_eq!(answer["results"][1]["failure_reason"], "UNKNOWN_CANCEL_ORDER");
    let frames = world.events(id);
    assert_eq!(states(&frames), [("update", "CANCEL_QUEUED"), ("update", "CANCELLED")]);
    assert_eq!(frames[1]["events"][0]["orders"][0]["leaves_quantity"], "0");
    assert_eq!(rest(&mut world, "GET", &format!("{ORDERS}/historical/nothing"), "").0, 404);
}

#[test]
fn every_refusal_has_the_venues_reason() {
    let mut world = world();
    let mut check = |pointer: &str, value: Value, reason: &str, preview: &str| {
        let mut order = resting("two");
        *order.pointer_mut(pointer).expect("a field") = value;
        let body = place(&mut world, &order);
        let error = &body["error_response"];
        assert_eq!((&body["success"], &error["error"]), (&json!(false), &json!(reason)), "{pointer}");
        assert_eq!(error["preview_failure_reason"], preview);
        world.pass(100);
    };
    let none = "UNKNOWN_PREVIEW_FAILURE_REASON";
    let field = |name: &str| format!("/order_configuration/limit_limit_gtc/{name}");
    check("/product_id", "BTC-X".into(), "INVALID_PRODUCT_ID", none);
    check(
        &field("limit_price"),
        "50000.001".into(),
        "INVALID_PRICE_PRECISION",
        "PREVIEW_INVALID_PRICE_PRECISION",
    );
    check(&field("base_size"), "0.000001".into(), "INVALID_SIZE_PRECISION", "PREVIEW_INVALID_SIZE_PRECISION");
    check(&field("base_size"), "900000".into(), "INSUFFICIENT_FUND", "PREVIEW_INSUFFICIENT_FUND");
    check(&field("base_size"), "0".into(), "UNKNOWN_FAILURE_REASON", "PREVIEW_INVALID_BASE_SIZE_TOO_SMALL");
    let crossing = json!({"base_size": "0.01", "limit_price": "90000", "post_only": true});
    check(
        "/order_configuration/limit_limit_gtc",
        crossing,
        "INVALID_LIMIT_PRICE_POST_ONLY",
        "PREVIEW_INVALID_LIMIT_PRICE_POST_ONLY",
    );
    check("/order_configuration", json!({"market_market_fok": {}}), "UNSUPPORTED_ORDER_CONFIGURATION", none);
    for (name, value) in
        [("client_order_id", json!("")), ("side", json!("UP")), ("order_configuration", json!({}))]
    {
        let mut order = resting("three");
        order[name] = value;
        let (status, body) = rest(&mut world, "POST", ORDERS, &order.to_string());
        assert_eq!((status, &body["error"]), (400, &json!("INVALID_ARGUMENT")), "{name}");
    }
    assert_eq!(world.site.trading().orders, []);
}

#[test]
fn lists_have_pages_and_snapshots_have_batches() {
    let mut world = world();
    for count in 0..50 {
        place(&mut world, &resting(&format!("o{count}")));
        world.pass(50);
    }
    let target = |rest: &str| {
        format!("{ORDERS}/historical/batch?order_status=OPEN&product_ids=BTC-USD&limit=30{rest}")
    };
    let (_, first) = rest(&mut world, "GET", &target(""), "");
    assert_eq!((&first["has_next"], &first["orders"][0]["client_order_id"]), (&json!(true), &json!("o49")));
    let cursor = format!("&cursor={}", first["cursor"].as_str().expect("a cursor"));
    let (_, second) = rest(&mut world, "GET", &target(&cursor), "");
    assert_eq!(
        (&second["has_next"], &second["orders"][0]["client_order_id"]),
        (&json!(false), &json!("o19"))
    );
    let id = joined(&mut world);
    let sizes = |frames: &[Value]| -> Vec<usize> {
        let orders = frames.iter().filter_map(|frame| frame["events"][0]["orders"].as_array());
        orders.map(Vec::len).collect()
    };
    assert_eq!(sizes(&world.events(id)), [50, 0]);
    let statuses: Vec<u16> = (0..40).map(|_| rest(&mut world, "GET", &target(""), "").0).collect();
    assert!(statuses.contains(&429), "30 a second");
}

#[test]
fn faults_of_answers_and_of_the_session() {
    let mut world = world();
    let id = joined(&mut world);
    let arm =
        |world: &mut World, fault| world.site.fault(&Fault::Venue(VenueFault::Orders(fault)), world.now_ns);
    let order = |own: &str| resting(own).to_string();
    arm(&mut world, OrderFault::ErrorAfterAccept { count: 1 });
    assert_eq!(rest(&mut world, "POST", ORDERS, &order("a")).0, 502);
    arm(&mut world, OrderFault::AckLost { count: 1 });
    assert_eq!(rest(&mut world, "POST", ORDERS, &order("b")).0, 0);
    arm(&mut world, OrderFault::SlowAck { delay_ns: 100 * MS_NS, count: 1 });
    assert_eq!(rest(&mut world, "POST", ORDERS, &order("c")).0, 0);
    arm(&mut world, OrderFault::KillSession { count: 1 });
    assert_eq!(rest(&mut world, "POST", ORDERS, &order("d")).0, 0);
    assert_eq!(world.site.trading().orders.len(), 4, "all of them were taken");
    assert!(place(&mut world, &resting("a"))["success"] == true, "found again by its id");
    assert_eq!(world.site.trading().orders.len(), 4);

    arm(&mut world, OrderFault::FillDuringOutage { percent: 50, for_ns: SECOND_NS });
    world.pass(1);
    assert!(world.site.ending(id).is_some());
    world.site.closed(id);
    let id = joined(&mut world);
    assert_eq!(world.events(id)[0]["type"], "error");
    world.pass(1_000);
    let id = joined(&mut world);
    let frames = world.events(id);
    assert_eq!(frames[0]["events"][0]["orders"][3]["cumulative_quantity"], "0.005");
}
