//! The venue through its front door: bytes of HTTP and WebSocket into a [`Site`](crate::site::Site), frames out.

mod follower;

use serde_json::{Value, json};

use self::follower::Follower;
use super::*;
use crate::clock::MS_NS;
use crate::faults::{Fault, Target};
use crate::instruments::default_instruments;
use crate::output::Ending;
use crate::venue::Reason;
use crate::world::{Frame, START_NS, World};

fn config(rate: f64) -> KrakenConfig {
    let wanted = ["BTC", "ETH", "PEPE"];
    let all = default_instruments("USD").into_iter();
    KrakenConfig {
        instruments: all.filter(|spec| wanted.contains(&spec.base.as_str())).collect(),
        messages_per_instrument_per_s: rate,
        ..KrakenConfig::default()
    }
}

fn world(rate: f64) -> World {
    World::of(Box::new(config(rate).build(START_NS)), 16 << 20)
}

/// Connects and drops the status message.
fn connect(world: &mut World) -> ConnectionId {
    let id = world.connect("/v2");
    assert_eq!(world.events(id).len(), 1);
    id
}

fn subscribe(world: &mut World, id: ConnectionId, params: Value) -> Vec<Value> {
    let request = json!({"method":"subscribe","params":params,"req_id":7}).to_string();
    world.send_frame(id, 1, request.as_bytes());
    world.events(id)
}

fn venue_fault(world: &mut World, fault: VenueFault) {
    world.site.fault(&Fault::Venue(fault), world.now_ns);
}

#[test]
fn snapshot_updates_and_truncation_give_the_true_book_and_every_checksum() {
    for (depth, symbol, canonical) in [
        (10, "BTC/USD", "BTC-USD"),
        (25, "PEPE/USD", "PEPE-USD"),
        (100, "ETH/USD", "ETH-USD"),
        (500, "BTC/USD", "BTC-USD"),
        (1000, "BTC/USD", "BTC-USD"),
    ] {
        let mut world = world(300.0);
        let id = connect(&mut world);
        world.pass(300);
        let request =
            json!({"method":"subscribe","params":{"channel":"book","symbol":[symbol],"depth":depth}});
        world.send_frame(id, 1, request.to_string().as_bytes());
        let mut follower = Follower::new(depth, &world.site.book(canonical).unwrap());
        world.pass(4000);
        for text in world.texts(id) {
            follower.apply(&text);
        }
        assert!(follower.one_sided, "an update has one side, as recorded");
        assert!(follower.updates > 200, "{depth}: {}", follower.updates);
        assert_eq!(follower.mismatches, 0, "{depth}");
        assert!(follower.returned > 0, "no level fell out and came back at depth {depth}");
        follower.assert_equals(&world.site.book(canonical).unwrap());
    }
}

#[test]
fn the_first_frame_is_a_status_with_a_large_connection_id() {
    let mut world = world(0.0);
    let id = world.connect("/v2");
    let frames = world.events(id);
    assert_eq!(frames[0]["channel"], "status");
    assert_eq!(frames[0]["data"][0]["system"], "online");
    assert!(frames[0]["data"][0]["connection_id"].as_u64().unwrap() > 1 << 63);
    assert!(world.upgrade("/").1.starts_with("HTTP/1.1 404 "), "the first version is not simulated");
}

#[test]
fn each_symbol_gets_its_own_acknowledgement_or_refusal() {
    let mut world = world(0.0);
    let id = connect(&mut world);
    let symbols = ["BTC/USD", "FOO/USD", "XBT/USD", "ETH/USD"];
    let answers = subscribe(&mut world, id, json!({"channel":"book","symbol":symbols,"depth":25}));
    let acks: Vec<_> = answers.iter().filter(|it| it["method"] == "subscribe").collect();
    assert_eq!(acks.len(), 4);
    for (ack, symbol) in acks.iter().zip(symbols) {
        assert_eq!(ack["req_id"], 7);
        assert!(ack["time_in"].as_str().unwrap() < ack["time_out"].as_str().unwrap());
        if ack["success"] == true {
            assert_eq!(ack["result"], json!({"channel":"book","depth":25,"snapshot":true,"symbol":symbol}));
        } else {
            assert_eq!(ack["symbol"], symbol);
            assert_eq!(ack["error"], format!("Currency pair not supported {symbol}"));
        }
    }
    assert_eq!(acks.iter().map(|it| it["success"] == true).collect::<Vec<_>>(), [true, false, false, true]);
    let snapshots: Vec<_> = answers[4..].iter().map(|it| &it["data"][0]["symbol"]).collect();
    assert_eq!(snapshots, ["BTC/USD", "ETH/USD"], "snapshots follow");

    let mut refusal = |params: Value| {
        let answers = subscribe(&mut world, id, params);
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(answers[0]["success"], false);
        answers[0]["error"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        refusal(json!({"channel":"book","symbol":["BTC/USD"],"depth":11})),
        "Subscription depth not supported"
    );
    assert_eq!(
        refusal(json!({"channel":"ohlc","symbol":["BTC/USD"],"interval":7})),
        "Subscription ohlc interval not supported"
    );
    assert_eq!(refusal(json!({"channel":"book","symbol":["BTC/USD"],"depth":25})), "Already subscribed");
    assert_eq!(refusal(json!({"channel":"level9","symbol":["BTC/USD"]})), "Unsupported event");
    assert_eq!(refusal(json!({"channel":"trade","symbol":[]})), "Symbol(s) missing");
    assert_eq!(world.site.stats().client_errors_total, 7);
}

#[test]
fn a_ping_is_answered_and_broken_requests_are_refused() {
    let mut world = world(0.0);
    let id = connect(&mut world);
    let pong = world.ask(id, r#"{"method":"ping","req_id":3}"#);
    assert_eq!(
        (&pong["method"], &pong["req_id"], &pong["success"]),
        (&json!("pong"), &json!(3), &Value::Null)
    );
    let mut error = |text: &str| world.ask(id, text)["error"].as_str().unwrap().to_owned();
    let text = "Unsupported field: 'params' for the given msg type: ping";
    assert_eq!(error(r#"{"method":"ping","params":{}}"#), text);
    assert_eq!(error("{\"method\":"), "Malformed request");
    assert_eq!(error(r#"{"method":"dance","req_id":1}"#), "Unsupported event");
    assert_eq!(error(r#"{"req_id":"x"}"#), "Req_id field must be an integer");
}

#[test]
fn unsubscribing_ends_a_stream_and_subscribing_again_gives_a_new_snapshot() {
    let mut world = world(200.0);
    let id = connect(&mut world);
    subscribe(&mut world, id, json!({"channel":"book","symbol":["BTC/USD"]}));
    let mut unsubscribe = |depth: u64| {
        let params = json!({"channel":"book","symbol":["BTC/USD"],"depth":depth});
        world.ask(id, &json!({"method":"unsubscribe","params":params}).to_string())
    };
    assert_eq!(unsubscribe(25)["error"], "Subscription Not Found");
    let ack = unsubscribe(10);
    assert_eq!((&ack["success"], &ack["result"]["depth"]), (&json!(true), &json!(10)));
    world.pass(900);
    assert_eq!(world.events(id).iter().filter(|event| event["channel"] == "book").count(), 0);
    let again = subscribe(&mut world, id, json!({"channel":"book","symbol":["BTC/USD"]}));
    assert_eq!(again[1]["type"], "snapshot");
}

#[test]
fn all_channels_deliver_their_own_form() {
    let mut world = world(100.0);
    let id = connect(&mut world);
    let symbol = ["BTC/USD"];
    // Until there are more trades than a snapshot shows.
    world.pass(3000);
    let first = subscribe(&mut world, id, json!({"channel":"instrument"}));
    assert_eq!(first[1]["data"]["pairs"].as_array().unwrap().len(), 3);
    assert_eq!(first[1]["data"]["pairs"][0]["price_increment"], 0.01);
    let trades = subscribe(&mut world, id, json!({"channel":"trade","symbol":symbol,"snapshot":true}));
    assert_eq!(trades[1]["data"].as_array().unwrap().len(), 50);
    let ticker = json!({"channel":"ticker","symbol":symbol,"event_trigger":"bbo"});
    assert_eq!(subscribe(&mut world, id, ticker)[1]["type"], "snapshot");
    let bars = subscribe(&mut world, id, json!({"channel":"ohlc","symbol":symbol,"interval":5}));
    assert_eq!(bars[0]["result"]["warnings"].as_array().unwrap().len(), 1);
    assert_eq!(bars[1]["data"][0]["interval"], 5);
    world.pass(5000);
    let events = world.events(id);
    let of = |channel: &str| -> Vec<&Value> {
        let mine = events.iter().filter(|event| event["channel"] == channel);
        mine.flat_map(|event| event["data"].as_array().into_iter().flatten()).collect()
    };
    let live: Vec<u64> = of("trade").iter().map(|trade| trade["trade_id"].as_u64().unwrap()).collect();
    let last = trades[1]["data"][49]["trade_id"].as_u64().unwrap();
    assert!(live.len() > 20);
    assert!(live.iter().zip(last + 1..).all(|(id, expected)| *id == expected), "no hole after the snapshot");
    let truth = &world.site.truth()[0];
    assert_eq!((truth.trade_id_first, truth.trade_id_last), (Some(live[0]), live.last().copied()));
    assert_eq!(truth.trades_published_total, live.len() as u64);
    assert!(of("ticker").len() > of("ohlc").len());
    assert!(of("ticker").iter().all(|it| it["bid"].as_f64() < it["ask"].as_f64()));
    for bar in of("ohlc") {
        assert!(bar["interval_begin"].as_str().unwrap().ends_with(":00.000000000Z"), "{bar}");
    }
}

#[test]
fn numbers_are_bare_and_have_all_their_digits() {
    let mut world = world(100.0);
    let id = connect(&mut world);
    subscribe(&mut world, id, json!({"channel":"book","symbol":["PEPE/USD"]}));
    world.pass(3000);
    let texts = world.texts(id);
    let removal = texts.iter().any(|text| text.contains("\"qty\":0.000}"));
    assert!(removal, "a level is removed with all zeros");
    for text in texts.iter().filter(|text| text.contains("book")) {
        for number in text.split("\"price\":").skip(1) {
            let (price, rest) = number.split_once(",\"qty\":").unwrap();
            assert_eq!(price.split_once('.').unwrap().1.len(), 8, "{price}");
            let qty = rest.split('}').next().unwrap();
            assert_eq!(
                qty.split_once('.').unwrap().1.len(),
                3,
                "{qty}: as many as leave room for a day's volume"
            );
        }
    }
}

#[test]
fn heartbeats_come_every_second_once_something_is_subscribed() {
    let mut world = world(0.0);
    let id = connect(&mut world);
    world.pass(3000);
    assert_eq!(world.events(id), [] as [Value; 0]);
    subscribe(&mut world, id, json!({"channel":"trade","symbol":["BTC/USD"]}));
    world.pass(5000);
    let events = world.events(id);
    assert_eq!(events, vec![json!({"channel":"heartbeat"}); 5]);
    world.pass(120_000);
    assert_eq!(world.site.ending(id), None, "a subscription keeps the connection");
}

#[test]
fn a_silent_connection_without_subscriptions_is_closed_after_a_minute() {
    let mut world = world(0.0);
    let (silent, pinging) = (connect(&mut world), connect(&mut world));
    for _ in 0..2 {
        world.pass(30_000);
        if world.site.ending(silent).is_none() {
            world.ask(pinging, r#"{"method":"ping"}"#);
        }
    }
    assert_eq!(world.frames(silent), [Frame::Close(1000)]);
    assert_eq!(world.site.ending(silent), Some(Ending::AfterFlush(Reason::Idle)));
    assert_eq!(world.site.ending(pinging), None);
}

#[test]
fn the_151st_connection_in_ten_minutes_bans_the_address_for_ten() {
    let mut world = world(0.0);
    for _ in 0..150 {
        let id = world.connect("/v2");
        world.site.closed(id);
    }
    let (_, answer) = world.upgrade("/v2");
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("Retry-After: 600"), "{answer}");
    world.now_ns += 599 * SECOND_NS;
    assert!(world.upgrade("/v2").1.starts_with("HTTP/1.1 429 "));
    world.now_ns += SECOND_NS;
    connect(&mut world);
}

#[test]
fn a_lie_is_one_wrong_checksum_and_the_book_goes_on() {
    let mut world = world(300.0);
    let id = connect(&mut world);
    let request = json!({"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"]}});
    world.send_frame(id, 1, request.to_string().as_bytes());
    let mut follower = Follower::new(10, &world.site.book("BTC-USD").unwrap());
    world.pass(500);
    venue_fault(&mut world, VenueFault::LieChecksum { symbol: "BTC-USD".to_owned(), count: 1 });
    world.pass(1000);
    for text in world.texts(id) {
        follower.apply(&text);
    }
    assert_eq!(follower.mismatches, 1);
    follower.assert_equals(&world.site.book("BTC-USD").unwrap());
    assert_eq!(world.site.stats().faults_total, 1);
}

#[test]
fn a_dropped_update_is_found_by_the_checksum_and_a_new_snapshot_repairs_it() {
    let mut world = world(300.0);
    let id = connect(&mut world);
    let request = json!({"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"]}});
    world.send_frame(id, 1, request.to_string().as_bytes());
    let mut follower = Follower::new(10, &world.site.book("BTC-USD").unwrap());
    venue_fault(&mut world, VenueFault::DropUpdates { symbol: "BTC-USD".to_owned(), count: 20 });
    world.pass(1000);
    for text in world.texts(id) {
        follower.apply(&text);
    }
    assert!(follower.mismatches > 0);
    let unsubscribe = json!({"method":"unsubscribe","params":{"channel":"book","symbol":["BTC/USD"]}});
    world.send_frame(id, 1, unsubscribe.to_string().as_bytes());
    world.texts(id);
    world.send_frame(id, 1, request.to_string().as_bytes());
    follower.mismatches = 0;
    world.pass(500);
    for text in world.texts(id) {
        follower.apply(&text);
    }
    assert_eq!(follower.mismatches, 0);
}

#[test]
fn dropped_trades_leave_a_hole_in_the_ids() {
    let mut world = world(300.0);
    let id = connect(&mut world);
    subscribe(&mut world, id, json!({"channel":"trade","symbol":["BTC/USD"]}));
    world.pass(500);
    venue_fault(&mut world, VenueFault::DropTrades { symbol: "BTC-USD".to_owned(), count: 2 });
    world.pass(1000);
    let events = world.events(id);
    let ids: Vec<u64> = events
        .iter()
        .flat_map(|event| event["data"].as_array().into_iter().flatten())
        .map(|trade| trade["trade_id"].as_u64().unwrap())
        .collect();
    let missing: u64 = ids.windows(2).map(|pair| pair[1] - pair[0] - 1).sum();
    assert_eq!(missing, 2);
}

#[test]
fn a_planned_shutdown_is_announced_by_a_status() {
    let mut world = world(0.0);
    let id = connect(&mut world);
    let fault = Fault::PlannedShutdown { target: Target::All, after_ns: SECOND_NS };
    world.site.fault(&fault, world.now_ns);
    assert_eq!(world.events(id)[0]["data"][0]["system"], "maintenance");
    world.pass(1000);
    assert_eq!(world.site.ending(id), Some(Ending::AfterFlush(Reason::Fault)));
}

#[test]
fn the_rate_is_about_what_was_asked_for() {
    for rate in [5.0, 100.0] {
        let mut world = world(rate);
        let id = connect(&mut world);
        let symbol = ["BTC/USD"];
        subscribe(&mut world, id, json!({"channel":"trade","symbol":symbol}));
        subscribe(&mut world, id, json!({"channel":"ticker","symbol":symbol,"event_trigger":"bbo"}));
        subscribe(&mut world, id, json!({"channel":"book","symbol":symbol}));
        world.pass(60_000);
        let data = world.events(id).iter().filter(|event| event["channel"] != "heartbeat").count();
        let per_s = data as f64 / 60.0;
        assert!((per_s / rate - 1.0).abs() < 0.25, "asked {rate}, got {per_s}");
    }
}

#[test]
fn the_same_seed_and_calls_give_the_same_bytes() {
    let run = |seed| {
        let config = KrakenConfig { seed, ..config(50.0) };
        let mut world = World::of(Box::new(config.build(START_NS)), 16 << 20);
        let id = connect(&mut world);
        subscribe(&mut world, id, json!({"channel":"book","symbol":["BTC/USD","PEPE/USD"]}));
        world.pass(2000);
        world.take(id)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn rest_answers_have_the_venues_envelope_and_names() {
    let mut world = world(100.0);
    let id = connect(&mut world);
    subscribe(&mut world, id, json!({"channel":"trade","symbol":["BTC/USD"]}));
    world.pass(2000);
    let live = world.events(id);
    let (status, pairs) = world.rest("/0/public/AssetPairs");
    assert_eq!((status, &pairs["error"]), (200, &json!([])));
    let pair = &pairs["result"]["XXBTZUSD"];
    assert_eq!((&pair["wsname"], &pair["altname"]), (&json!("XBT/USD"), &json!("XBTUSD")));
    assert_eq!((&pair["base"], &pair["quote"]), (&json!("XXBT"), &json!("ZUSD")));
    assert_eq!((&pair["pair_decimals"], &pair["lot_decimals"]), (&json!(2), &json!(8)));
    assert_eq!(pairs["result"]["PEPEUSD"]["tick_size"], "0.00000001");

    let (_, depth) = world.rest("/0/public/Depth?pair=XBTUSD&count=3");
    let book = &depth["result"]["XXBTZUSD"];
    assert_eq!(book["asks"].as_array().unwrap().len(), 3);
    assert_eq!(book["bids"][0].as_array().unwrap().len(), 3);

    let last_live =
        live.iter().rfind(|event| event["channel"] == "trade").unwrap()["data"].as_array().unwrap();
    let (_, trades) = world.rest("/0/public/Trades?pair=XXBTZUSD");
    let rows = trades["result"]["XXBTZUSD"].as_array().unwrap();
    assert_eq!(rows.last().unwrap()[6], last_live.last().unwrap()["trade_id"]);
    let last = trades["result"]["last"].as_str().unwrap().to_owned();
    let (_, none) = world.rest(&format!("/0/public/Trades?pair=XXBTZUSD&since={last}"));
    assert_eq!(none["result"], json!({"XXBTZUSD":[],"last":last}));

    let (_, unknown) = world.rest("/0/public/Depth?pair=FOOUSD");
    assert_eq!(unknown, json!({"error":["EQuery:Unknown asset pair"]}));
    let (_, limited) = world.rest("/0/public/Time");
    assert_eq!(limited, json!({"error":["EAPI:Rate limit exceeded"]}), "the sixth call at once");
    world.now_ns += 2 * SECOND_NS;
    let (_, time) = world.rest("/0/public/Time");
    assert_eq!(time["result"]["unixtime"], world.now_ns / SECOND_NS);
    assert_eq!(time["result"]["rfc1123"], "Thu,  2 Jul 26 13:46:44 +0000");
    let (_, status) = world.rest("/0/public/SystemStatus");
    assert_eq!(status["result"], json!({"status":"online","timestamp":"2026-07-02T13:46:44Z"}));
    world.now_ns += 2 * SECOND_NS;
    let (_, ticker) = world.rest("/0/public/Ticker?pair=XBTUSD");
    assert_eq!(ticker["result"]["XXBTZUSD"]["a"].as_array().unwrap().len(), 3);
    assert_eq!(world.rest("/0/public/Nothing").0, 404);
    assert!(world.now_ns > START_NS + 2000 * MS_NS);
}
