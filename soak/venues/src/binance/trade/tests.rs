//! Requests as a client writes them, signed here by hand, against the whole venue.

use serde_json::{Value, json};

use super::params::Params;
use crate::binance::Product;
use crate::binance::tests::world::config;
use crate::clock::MS_NS;
use crate::exchange::keys::{hex, hmac_sha256};
use crate::exchange::{ApiKey, KeyKind, OrderFault};
use crate::faults::{Fault, VenueFault};
use crate::output::ConnectionId;
use crate::venue::Venue as _;
use crate::world::{Frame, START_NS, World};

fn world() -> World {
    let config = config(Product::Spot, 0.0);
    World::of(Box::new(config.build(START_NS)), 1 << 20)
}

fn key(world: &World, kind: KeyKind) -> ApiKey {
    world.site.keys().into_iter().find(|key| key.kind == kind).expect("issued")
}

fn sign(key: &ApiKey, payload: &str) -> String {
    match key.kind {
        KeyKind::Ed25519 => key.ed25519_sign(payload.as_bytes()),
        _ => hex(&hmac_sha256(key.secret(), payload.as_bytes())),
    }
}

/// A request with its signature; `params` are in the order of their names but for `apiKey`.
fn signed(world: &World, key: &ApiKey, method: &str, params: &[(&str, &str)]) -> String {
    let timestamp = (world.now_ns / MS_NS).to_string();
    let mut all = vec![("apiKey", key.name.as_str()), ("timestamp", &timestamp)];
    all.extend(params);
    all.sort_unstable();
    let payload: Vec<String> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let signature = sign(key, &payload.join("&"));
    let mut params: serde_json::Map<String, Value> =
        all.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
    params.insert("signature".to_owned(), signature.into());
    json!({"id": 7, "method": method, "params": params}).to_string()
}

fn ask(
    world: &mut World,
    id: ConnectionId,
    key: &ApiKey,
    method: &str,
    params: &[(&str, &str)],
) -> Vec<Value> {
    let request = signed(world, key, method, params);
    world.send_frame(id, 1, request.as_bytes());
    world.events(id)
}

fn error(answers: &[Value]) -> (u64, i64) {
    let answer = &answers[0];
    (answer["status"].as_u64().expect("a status"), answer["error"]["code"].as_i64().unwrap_or(0))
}

const RESTING: [(&str, &str); 7] = [
    ("newClientOrderId", "own-1"),
    ("price", "50000.00"),
    ("quantity", "0.01000"),
    ("side", "BUY"),
    ("symbol", "BTCUSDT"),
    ("timeInForce", "GTC"),
    ("type", "LIMIT"),
];

fn with<'a>(base: &[(&'a str, &'a str)], name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut params: Vec<_> = base.iter().copied().filter(|(other, _)| *other != name).collect();
    params.push((name, value));
    params
}

#[test]
fn the_documented_payloads_are_what_is_signed() {
    // Documented in binance-spot-api-docs, web-socket-api.md and rest-api.md, commit a5e0bc3.
    let secret = b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";
    let signature = "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24";
    let frame = json!({"symbol": "BTCUSDT", "side": "SELL", "type": "LIMIT", "timeInForce": "GTC",
        "quantity": "0.01000000", "price": "52000.00", "recvWindow": 100, "timestamp": 1_645_423_376_532_u64,
        "apiKey": "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A", "signature": signature});
    let params = Params::of_frame(Some(&frame)).unwrap();
    assert_eq!(hex(&hmac_sha256(secret, params.payload())), signature);
    for (query, body, signature) in [
        (
            "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC",
            "quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559&signature=x",
            // Nothing stands between query and body.
            "0fd168b8ddb4876a0358a8d14d0c9f3da0e9b20c5d52b2a00fcf7d1c602f9a77",
        ),
        (
            "symbol=%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559&signature=x",
            "",
            "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3",
        ),
    ] {
        let params = Params::of_rest(query, body.as_bytes()).unwrap();
        assert_eq!(hex(&hmac_sha256(secret, params.payload())), signature, "{query}");
    }
}

#[test]
fn an_order_is_answered_and_told_to_who_is_subscribed() {
    for kind in [KeyKind::Text, KeyKind::Ed25519] {
        let mut world = world();
        let key = key(&world, kind);
        let id = world.connect("/ws-api/v3");
        let answers = ask(&mut world, id, &key, "userDataStream.subscribe.signature", &[]);
        assert_eq!(answers[0]["result"], json!({"subscriptionId": 0}), "{answers:?}");
        let again = ask(&mut world, id, &key, "userDataStream.subscribe.signature", &[]);
        assert_eq!(error(&again), (400, -2035));
        let answers = ask(&mut world, id, &key, "order.place", &RESTING);
        let [answer, report, position] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!((&answer["id"], &answer["status"]), (&json!(7), &json!(200)));
        assert_eq!(answer["result"]["status"], "NEW");
        assert_eq!(answer["rateLimits"][0]["count"], 1);
        let event = &report["event"];
        assert_eq!(
            (&event["e"], &event["x"], &event["X"]),
            (&json!("executionReport"), &json!("NEW"), &json!("NEW"))
        );
        assert_eq!((&event["c"], &event["C"], &event["t"]), (&json!("own-1"), &json!(""), &json!(-1)));
        assert_eq!(
            position["event"]["B"][1],
            json!({"a": "USDT", "f": "999999500.00000000", "l": "500.00000000"})
        );

        let answers = ask(
            &mut world,
            id,
            &key,
            "order.cancel",
            &[("origClientOrderId", "own-1"), ("symbol", "BTCUSDT")],
        );
        assert_eq!(answers[0]["result"]["origClientOrderId"], "own-1");
        let event = &answers[1]["event"];
        assert_eq!(
            (&event["x"], &event["C"]),
            (&json!("CANCELED"), &json!("own-1")),
            "the cancel's id replaced it"
        );
        assert_ne!(event["c"], "own-1");
        let answers = ask(&mut world, id, &key, "userDataStream.unsubscribe", &[]);
        assert_eq!(answers[1]["event"]["e"], "eventStreamTerminated");
        assert_eq!(ask(&mut world, id, &key, "order.place", &RESTING).len(), 1, "nobody listens");
    }
}

#[test]
fn every_refusal_has_the_venues_code() {
    let mut world = world();
    let key = key(&world, KeyKind::Text);
    let id = world.connect("/ws-api/v3");
    let mut check = |params: &[(&str, &str)], code: i64| {
        let answers = ask(&mut world, id, &key, "order.place", params);
        assert_eq!(error(&answers), (400, code), "{params:?}: {answers:?}");
    };
    check(&with(&RESTING, "symbol", "NOPE"), -1121);
    check(&with(&RESTING, "side", "UP"), -1117);
    check(&with(&RESTING, "type", "STOP"), -1116);
    check(&with(&RESTING, "timeInForce", "GTD"), -1115);
    check(&with(&RESTING, "type", "LIMIT_MAKER"), -1106);
    check(&with(&RESTING, "price", "5e4"), -1100);
    check(&with(&RESTING, "price", "50000.000000001"), -1111);
    check(&with(&RESTING, "price", "50000.001"), -1013);
    check(&with(&RESTING, "quantity", ""), -1102);
    check(&with(&RESTING, "newClientOrderId", "a.b"), -1100);
    check(&with(&RESTING, "surprise", "1"), -1104);
    check(&with(&RESTING, "recvWindow", "60001"), -1131);
    let mut reused = signed(&world, &key, "order.place", &RESTING);
    assert_eq!(world.ask(id, &reused)["status"], 200);
    assert_eq!(error(&ask(&mut world, id, &key, "order.place", &RESTING)), (400, -2010));
    world.pass(5_010);
    reused = reused.replace("own-1", "own-2");
    let answer = world.ask(id, &reused);
    assert_eq!(answer["error"]["code"], -1021, "{answer}");
    let tampered = signed(&world, &key, "order.place", &RESTING).replace("50000.00", "50001.00");
    assert_eq!(world.ask(id, &tampered)["error"]["code"], -1022);
    let unknown = signed(&world, &key, "order.place", &RESTING).replace(&key.name, "nobody");
    assert_eq!(world.ask(id, &unknown)["error"]["code"], -2015);
    assert_eq!(world.ask(id, "{")["error"]["code"], -1135);
    assert_eq!(
        error(&ask(&mut world, id, &key, "order.cancel", &[("orderId", "1"), ("symbol", "BTCUSDT")])),
        (400, -2011)
    );
    assert_eq!(
        error(&ask(&mut world, id, &key, "order.status", &[("orderId", "1"), ("symbol", "BTCUSDT")])),
        (400, -2013)
    );
    assert_eq!(
        error(&ask(&mut world, id, &key, "openOrders.cancelAll", &[("symbol", "ETHUSDT")])),
        (400, -2011)
    );
}

#[test]
fn after_a_log_on_requests_need_no_key() {
    let mut world = world();
    let id = world.connect("/ws-api/v3");
    let hmac = key(&world, KeyKind::Text);
    let bare = |world: &World, params: Value| {
        let mut params = params;
        params["timestamp"] = json!(world.now_ns / MS_NS);
        json!({"id": "b", "method": "openOrders.status", "params": params}).to_string()
    };
    assert_eq!(world.ask(id, &bare(&world, json!({})))["error"]["code"], -1102);
    assert_eq!(ask(&mut world, id, &hmac, "session.logon", &[])[0]["status"], 401, "Ed25519 only");
    let key = key(&world, KeyKind::Ed25519);
    let answers = ask(&mut world, id, &key, "session.logon", &[]);
    assert_eq!(answers[0]["result"]["apiKey"], key.name);
    assert_eq!(world.ask(id, &bare(&world, json!({})))["result"], json!([]));
    let subscribed = world.ask(id, r#"{"id":1,"method":"userDataStream.subscribe"}"#);
    assert_eq!(subscribed["result"]["subscriptionId"], 0);
    world.send_frame(id, 1, br#"{"id":2,"method":"session.logout"}"#);
    let answers = world.events(id);
    assert_eq!(answers[0]["result"]["apiKey"], Value::Null);
    assert_eq!(answers[1]["event"]["e"], "eventStreamTerminated");
}

/// A signed REST request: (status, body).
fn rest(world: &mut World, key: &ApiKey, method: &str, path: &str, query: &str) -> (u16, Value) {
    let payload = format!("{query}&timestamp={}", world.now_ns / MS_NS);
    let payload = payload.trim_start_matches('&');
    let signature = sign(key, payload).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let answer = world.rest_raw(&format!(
        "{method} {path}?{payload}&signature={signature} HTTP/1.1\r\nHost: x\r\nX-MBX-APIKEY: {}\r\n\r\n",
        key.name
    ));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(
        path != "/api/v3/order" || method != "POST" || head.contains("X-MBX-ORDER-COUNT-10S: "),
        "{head}"
    );
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
}

#[test]
fn rest_does_the_same_with_its_own_signature() {
    for kind in [KeyKind::Text, KeyKind::Ed25519] {
        let mut world = world();
        let key = key(&world, kind);
        let order = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.01&price=50000&newClientOrderId=r-1";
        let (status, placed) = rest(&mut world, &key, "POST", "/api/v3/order", order);
        assert_eq!((status, &placed["status"]), (200, &json!("NEW")), "{placed}");
        let named = "symbol=BTCUSDT&origClientOrderId=r-1";
        let (_, found) = rest(&mut world, &key, "GET", "/api/v3/order", named);
        assert_eq!((&found["orderId"], &found["isWorking"]), (&placed["orderId"], &json!(true)));
        let (_, open) = rest(&mut world, &key, "GET", "/api/v3/openOrders", "");
        assert_eq!(open.as_array().map(Vec::len), Some(1));
        world.site.fault(&Fault::Venue(VenueFault::Orders(OrderFault::Fill { percent: 50 })), world.now_ns);
        let (_, trades) = rest(&mut world, &key, "GET", "/api/v3/myTrades", "symbol=BTCUSDT");
        assert_eq!((&trades[0]["qty"], &trades[0]["isMaker"]), (&json!("0.00500000"), &json!(true)));
        let (_, cancelled) = rest(&mut world, &key, "DELETE", "/api/v3/openOrders", "symbol=BTCUSDT");
        assert_eq!(
            (&cancelled[0]["status"], &cancelled[0]["executedQty"]),
            (&json!("CANCELED"), &json!("0.00500000"))
        );
        let (status, body) = rest(&mut world, &key, "DELETE", "/api/v3/order", named);
        assert_eq!((status, &body["code"]), (400, &json!(-2011)));
        let (_, account) = rest(&mut world, &key, "GET", "/api/v3/account", "");
        assert!(account["balances"].as_array().is_some_and(|it| it.iter().any(|it| it["asset"] == "BTC")));
        let (status, body) = world.rest("/api/v3/account?timestamp=1");
        assert_eq!((status, &body["code"]), (401, &json!(-2014)), "no key");
    }
}

#[test]
fn faults_of_answers_reach_both_ways_in() {
    let mut world = world();
    let key = key(&world, KeyKind::Text);
    let id = world.connect("/ws-api/v3");
    let arm =
        |world: &mut World, fault| world.site.fault(&Fault::Venue(VenueFault::Orders(fault)), world.now_ns);
    let place = |world: &mut World, own: &'static str| {
        ask(world, id, &key, "order.place", &with(&RESTING, "newClientOrderId", own))
    };
    arm(&mut world, OrderFault::ErrorAfterAccept { count: 1 });
    assert_eq!(error(&place(&mut world, "a")), (504, -1007));
    arm(&mut world, OrderFault::AckLost { count: 1 });
    assert_eq!(place(&mut world, "b"), [] as [Value; 0]);
    arm(&mut world, OrderFault::SlowAck { delay_ns: 100 * MS_NS, count: 1 });
    assert_eq!(place(&mut world, "c"), [] as [Value; 0]);
    world.pass(110);
    assert_eq!(world.events(id)[0]["result"]["clientOrderId"], "c");
    arm(&mut world, OrderFault::ErrorAfterAccept { count: 1 });
    let order = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.01&price=50000";
    assert_eq!(rest(&mut world, &key, "POST", "/api/v3/order", order).0, 504);
    assert_eq!(world.site.trading().orders.len(), 4, "all of them were taken");
    arm(&mut world, OrderFault::KillSession { count: 1 });
    world.send_frame(
        id,
        1,
        signed(&world, &key, "order.place", &with(&RESTING, "newClientOrderId", "k")).as_bytes(),
    );
    assert!(world.site.ending(id).is_some());
    world.site.closed(id);
    arm(&mut world, OrderFault::FillDuringOutage { percent: 0, for_ns: 1_000 * MS_NS });
    assert!(world.upgrade("/ws-api/v3").1.starts_with("HTTP/1.1 503"));
    world.pass(1_000);
    let id = world.connect("/ws-api/v3");
    let pings = |frame: &Frame| matches!(frame, Frame::Ping(_));
    world.pass(21_000);
    assert!(world.frames(id).iter().any(pings), "it is pinged as other connections are");
}

#[test]
fn too_much_weight_is_refused_with_the_time_to_come_back() {
    let mut config = config(Product::Spot, 0.0);
    config.limits.weight_per_minute_max = 100;
    let venue = config.build(START_NS);
    assert!(venue.exchange().is_some());
    let mut world = World::of(Box::new(venue), 1 << 20);
    let key = key(&world, KeyKind::Text);
    let id = world.connect("/ws-api/v3");
    assert_eq!(ask(&mut world, id, &key, "openOrders.status", &[])[0]["status"], 200);
    let answers = ask(&mut world, id, &key, "openOrders.status", &[]);
    assert_eq!(error(&answers), (429, -1003));
    assert!(answers[0]["error"]["data"]["retryAfter"].as_u64() > Some(world.now_ns / MS_NS));
    assert_eq!(ask(&mut world, id, &key, "order.place", &RESTING)[0]["status"], 200, "orders weigh nothing");
}
