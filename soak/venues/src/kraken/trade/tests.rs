use serde_json::{Value, json};

use crate::clock::MS_NS;
use crate::exchange::keys::{from_base64, hmac_sha512, sha256};
use crate::exchange::{ApiKey, KeyKind, OrderFault};
use crate::faults::{Fault, VenueFault};
use crate::kraken::{KrakenConfig, KrakenLimits, SECOND_NS};
use crate::output::ConnectionId;
use crate::world::{START_NS, World};

fn world_with(limits: KrakenLimits) -> World {
    let config = KrakenConfig {
        messages_per_instrument_per_s: 0.0,
        book_levels: 100,
        limits,
        ..KrakenConfig::default()
    };
    World::of(Box::new(config.build(START_NS)), 1 << 20)
}

fn world() -> World {
    world_with(KrakenLimits::default())
}

fn sign(key: &ApiKey, path: &str, nonce: &str, body: &str) -> String {
    use base64::Engine as _;
    let inner = sha256(format!("{nonce}{body}").as_bytes());
    let signature = hmac_sha512(key.secret(), &[path.as_bytes(), &inner].concat());
    base64::engine::general_purpose::STANDARD.encode(signature)
}

fn post(world: &mut World, name: &str, path: &str, body: &str, signature: &str) -> Value {
    let answer = world.rest_raw(&format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAPI-Key: {name}\r\nAPI-Sign: {signature}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    serde_json::from_str(answer.split_once("\r\n\r\n").expect("a head").1).expect("JSON")
}

/// A signed call with the next nonce.
fn call(world: &mut World, nonce: u64, call: &str, fields: &str) -> Value {
    let key = world.site.keys()[0].clone();
    let path = format!("/0/private/{call}");
    let body = format!("nonce={nonce}{fields}");
    let signature = sign(&key, &path, &nonce.to_string(), &body);
    post(world, &key.name, &path, &body, &signature)
}

fn token(world: &mut World, nonce: u64) -> String {
    call(world, nonce, "GetWebSocketsToken", "")["result"]["token"].as_str().expect("a token").to_owned()
}

fn send(world: &mut World, id: ConnectionId, text: &str) -> Vec<Value> {
    world.send_frame(id, 1, text.as_bytes());
    world.events(id)
}

/// A connection that has joined `executions`, and its token.
fn joined(world: &mut World) -> (ConnectionId, String) {
    let token = token(world, 1);
    let id = world.connect("/v2");
    world.events(id);
    let frames = send(
        world,
        id,
        &format!(
            r#"{{"method":"subscribe","params":{{"channel":"executions","snap_trades":true,"ratecounter":true,"token":"{token}"}},"req_id":1}}"#
        ),
    );
    assert_eq!(frames[0]["result"]["maxratecount"], 125, "{frames:?}");
    assert_eq!((&frames[1]["type"], &frames[1]["sequence"]), (&json!("snapshot"), &json!(1)));
    (id, token)
}

/// `add_order` with these parameters beside those of an order that rests.
fn order(token: &str, cl_ord_id: &str, more: &str) -> String {
    format!(
        r#"{{"method":"add_order","params":{{"order_type":"limit","side":"buy","symbol":"BTC/USD","order_qty":0.01,"limit_price":50000.10,"cl_ord_id":"{cl_ord_id}"{more},"token":"{token}"}},"req_id":42}}"#
    )
}

fn kinds(frames: &[Value]) -> Vec<&str> {
    frames.iter().filter_map(|frame| frame["data"][0]["exec_type"].as_str()).collect()
}

#[test]
fn the_documented_signatures_are_accepted_and_others_refused() {
    let secret = from_base64(
        "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg==",
    );
    let key = ApiKey::known(KeyKind::Bytes, "k", secret.expect("base 64"), Vec::new());
    let body = "nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25";
    let signature =
        "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ==";
    assert!(key.kraken_verifies("/0/private/AddOrder", "1616492376594", body.as_bytes(), signature));
    assert!(!key.kraken_verifies("/0/private/AddOrder", "1616492376595", body.as_bytes(), signature));
    assert!(!key.kraken_verifies("/0/private/AddOrde", "1616492376594", body.as_bytes(), signature));

    let mut world = world();
    let error = |answer: &Value| answer["error"][0].as_str().map(str::to_owned).unwrap_or_default();
    assert_eq!(error(&call(&mut world, 7, "Balance", "")), "");
    assert_eq!(error(&call(&mut world, 7, "Balance", "")), "EAPI:Invalid nonce");
    assert_eq!(error(&call(&mut world, 8, "Nothing", "")), "EGeneral:Unknown method");
    let name = world.site.keys()[0].name.clone();
    let path = "/0/private/Balance";
    assert_eq!(error(&post(&mut world, &name, path, "nonce=9", signature)), "EAPI:Invalid signature");
    assert_eq!(error(&post(&mut world, "nobody", path, "nonce=9", signature)), "EAPI:Invalid key");
}

#[test]
fn an_order_is_answered_and_told_with_running_numbers() {
    let mut world = world();
    let (id, token) = joined(&mut world);
    let frames = send(&mut world, id, &order(&token, "own-1", r#","post_only":true"#));
    assert_eq!((&frames[0]["req_id"], &frames[0]["success"]), (&json!(42), &json!(true)), "{frames:?}");
    let order_id = frames[0]["result"]["order_id"].as_str().expect("an id").to_owned();
    assert_eq!(kinds(&frames), ["pending_new", "new"]);
    assert_eq!((&frames[1]["sequence"], &frames[2]["sequence"]), (&json!(2), &json!(3)));
    assert_eq!(frames[1]["data"][0]["limit_price"], json!(50000.10));
    assert_eq!(frames[2]["data"][0].get("symbol"), None, "only what changed");

    world.site.fault(&Fault::Venue(VenueFault::Orders(OrderFault::Fill { percent: 100 })), world.now_ns);
    world.pass(1);
    let frames = world.events(id);
    assert_eq!(kinds(&frames), ["trade", "filled"]);
    let (trade, filled) = (&frames[0]["data"][0], &frames[1]["data"][0]);
    assert_eq!(trade["order_status"], "partially_filled", "although it is complete");
    assert_eq!((&trade["fees"][0]["asset"], &trade["liquidity_ind"]), (&json!("USD"), &json!("m")));
    assert_eq!(filled["cum_qty"], json!(0.01));
    assert_eq!(filled["cum_cost"], json!(500.001));

    let history = call(&mut world, 2, "TradesHistory", "");
    assert_eq!(history["result"]["count"], 1);
    let execution = &history["result"]["trades"][trade["exec_id"].as_str().expect("an id")];
    assert_eq!((&execution["ordertxid"], &execution["maker"]), (&json!(order_id), &json!(true)));
    let queried = call(&mut world, 3, "QueryOrders", &format!("&txid={order_id}"));
    assert_eq!(queried["result"][&order_id]["status"], "closed");
    let closed = call(&mut world, 4, "ClosedOrders", "&cl_ord_id=own-1");
    assert_eq!(closed["result"]["closed"][&order_id]["vol_exec"], "0.01000000");
    assert_eq!(call(&mut world, 5, "OpenOrders", "")["result"], json!({"open": {}}));
    assert_eq!(call(&mut world, 6, "QueryOrders", "&txid=OABCDE")["error"][0], "EOrder:Unknown order");
    assert_eq!(call(&mut world, 7, "QueryTrades", "&txid=TABCDE")["result"], json!({}));
}

#[test]
fn cancels_have_one_answer_for_each_order() {
    let mut world = world();
    let (id, token) = joined(&mut world);
    for own in ["a", "b", "c"] {
        send(&mut world, id, &order(&token, own, ""));
    }
    let cancel = format!(
        r#"{{"method":"cancel_order","params":{{"cl_ord_id":["a","nobody","b"],"token":"{token}"}},"req_id":7}}"#
    );
    let frames = send(&mut world, id, &cancel);
    let answers: Vec<bool> = frames.iter().filter_map(|frame| frame["success"].as_bool()).collect();
    assert_eq!(answers, [true, false, true]);
    assert_eq!(frames[1]["error"], "EOrder:Unknown order");
    assert_eq!(kinds(&frames), ["canceled", "canceled"]);
    assert_eq!(frames[3]["data"][0]["reason"], "User requested");
    let frames = send(
        &mut world,
        id,
        &format!(r#"{{"method":"cancel_all","params":{{"token":"{token}"}},"req_id":8}}"#),
    );
    assert_eq!(frames[0]["result"]["count"], 1);
}

#[test]
fn every_refusal_has_the_venues_text() {
    let mut world = world();
    let (id, token) = joined(&mut world);
    let mut check = |frame: &str, text: &str| {
        let frames = send(&mut world, id, frame);
        assert_eq!((&frames[0]["success"], &frames[0]["error"]), (&json!(false), &json!(text)), "{frame}");
    };
    let base = order(&token, "own-1", "");
    check(&base.replace("BTC/USD", "WWW/USD"), "Currency pair not supported WWW/USD");
    check(&base.replace("50000.10", "\"50000.10\""), "Limit_price field must be a number_float");
    check(&base.replace("50000.10", "50000.001"), "EOrder:Tick size check failed");
    check(&base.replace("0.01,", "0.000001,"), "EGeneral:Invalid arguments:order_qty");
    check(&base.replace("50000.10", "0.10"), "EOrder:Cost minimum not met");
    check(&base.replace("0.01,", "900000,"), "EOrder:Insufficient funds");
    check(&base.replace("\"limit\"", "\"iceberg\""), "EGeneral:Invalid arguments:order_type");
    check(&base.replace("own-1", "longer-than-eighteen"), "EGeneral:Invalid arguments:cl_ord_id");
    check(&base.replace(&token, "other"), "EAuth:Invalid token");
    check(&base.replace(&format!(",\"token\":\"{token}\""), ""), "Token(s) not found");
    let deadline = |at: &str| order(&token, "own-1", &format!(r#","deadline":"{at}""#));
    check(&deadline("2020-01-01T00:00:00.000Z"), "EService:Deadline elapsed");
    check(&deadline("2100-01-01T00:00:00.000Z"), "EGeneral:Invalid arguments:deadline");
    assert_eq!(send(&mut world, id, &base)[0]["success"], true);
    let frames = send(&mut world, id, &base);
    assert_eq!(frames[0]["error"], "EOrder:cl_ord_id already in use");
    // Post-only orders that would take are accepted and then cancelled, without ever being live.
    let crossing = order(&token, "own-2", r#","post_only":true"#).replace("50000.10", "90000");
    let frames = send(&mut world, id, &crossing);
    assert_eq!((&frames[0]["success"], kinds(&frames)), (&json!(true), vec!["pending_new", "canceled"]));
    assert_eq!(frames[2]["data"][0]["reason"], "Post only order");
}

#[test]
fn the_counter_grows_with_young_cancels_and_decays() {
    let mut world = world();
    let (id, token) = joined(&mut world);
    let cancel = |own: &str| {
        format!(
            r#"{{"method":"cancel_order","params":{{"cl_ord_id":["{own}"],"token":"{token}"}},"req_id":7}}"#
        )
    };
    // Each order and its cancel at once: 1 and 8.
    for count in 0..13 {
        let own = format!("o{count}");
        assert_eq!(send(&mut world, id, &order(&token, &own, ""))[0]["success"], true, "{count}");
        send(&mut world, id, &cancel(&own));
    }
    for count in 0..8 {
        assert_eq!(send(&mut world, id, &order(&token, &format!("p{count}"), ""))[0]["success"], true);
    }
    assert_eq!(send(&mut world, id, &order(&token, "q", ""))[0]["error"], "EOrder:Rate limit exceeded");
    assert_eq!(send(&mut world, id, &cancel("p0"))[0]["success"], true, "cancels are let in");
    world.pass(4_000);
    world.events(id);
    assert_eq!(send(&mut world, id, &order(&token, "q", ""))[0]["success"], true);
    // Calls by REST have a counter of their own: one went for the token, history costs two.
    for nonce in 0..9 {
        assert_eq!(call(&mut world, 10 + nonce, "TradesHistory", "")["error"], json!([]), "{nonce}");
    }
    assert_eq!(call(&mut world, 30, "TradesHistory", "")["error"], json!([]));
    assert_eq!(call(&mut world, 31, "OpenOrders", "")["error"][0], "EAPI:Rate limit exceeded");
    world.pass(2_000);
    assert_eq!(call(&mut world, 32, "OpenOrders", "")["error"], json!([]), "one came back");
}

#[test]
fn faults_of_answers_and_of_the_session() {
    let mut world = world();
    let (id, token) = joined(&mut world);
    let arm =
        |world: &mut World, fault| world.site.fault(&Fault::Venue(VenueFault::Orders(fault)), world.now_ns);
    arm(&mut world, OrderFault::ErrorAfterAccept { count: 1 });
    let frames = send(&mut world, id, &order(&token, "a", ""));
    assert_eq!((&frames[0]["error"], kinds(&frames).len()), (&json!("EService:Unavailable"), 2));
    arm(&mut world, OrderFault::AckLost { count: 1 });
    assert_eq!(kinds(&send(&mut world, id, &order(&token, "b", ""))), ["pending_new", "new"]);
    arm(&mut world, OrderFault::SlowAck { delay_ns: 100 * MS_NS, count: 1 });
    assert_eq!(send(&mut world, id, &order(&token, "c", "")).len(), 2, "reports alone");
    world.pass(110);
    assert_eq!(world.events(id)[0]["result"]["cl_ord_id"], "c");
    arm(&mut world, OrderFault::KillSession { count: 1 });
    world.send_frame(id, 1, order(&token, "d", "").as_bytes());
    assert!(world.site.ending(id).is_some());
    world.site.closed(id);
    assert_eq!(world.site.trading().orders.len(), 4, "all of them were taken");

    arm(&mut world, OrderFault::FillDuringOutage { percent: 100, for_ns: SECOND_NS });
    assert_eq!(call(&mut world, 2, "GetWebSocketsToken", "")["error"][0], "EService:Unavailable");
    let id = world.connect("/v2");
    world.events(id);
    let subscribe = |token: &str| {
        format!(
            r#"{{"method":"subscribe","params":{{"channel":"executions","snap_trades":true,"token":"{token}"}},"req_id":1}}"#
        )
    };
    assert_eq!(send(&mut world, id, &subscribe(&token))[0]["error"], "EService:Unavailable");
    world.pass(1_000);
    world.events(id);
    let frames = send(&mut world, id, &subscribe(&token));
    let rows = frames[1]["data"].as_array().expect("rows");
    assert_eq!(rows.len(), 4, "executions that nobody was told: {rows:?}");
    assert!(rows.iter().all(|row| row["exec_type"] == "trade" && row.get("cum_qty").is_none()));
}

#[test]
fn a_token_ends_unless_a_subscription_keeps_it() {
    let mut world = world();
    let (id, kept) = joined(&mut world);
    let unused = token(&mut world, 2);
    world.pass(901_000);
    world.events(id);
    assert_eq!(send(&mut world, id, &order(&unused, "a", ""))[0]["error"], "EAuth:Invalid token");
    assert_eq!(send(&mut world, id, &order(&kept, "a", ""))[0]["success"], true);
    send(&mut world, id, r#"{"method":"unsubscribe","params":{"channel":"executions"},"req_id":3}"#);
    assert_eq!(send(&mut world, id, &order(&kept, "b", ""))[0]["error"], "EAuth:Invalid token");
}
