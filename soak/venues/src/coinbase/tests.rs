//! Both products through the front door: bytes of HTTP and WebSocket into a [`Site`](crate::site::Site), frames out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::faults::{Fault, Target};
use crate::instruments::default_instruments;
use crate::output::Ending;
use crate::venue::Reason;
use crate::world::{Frame, START_NS, World};

fn config(product: CoinbaseProduct, rate: f64) -> CoinbaseConfig {
    let wanted = ["BTC", "ETH", "PEPE"];
    let all = default_instruments("USD").into_iter();
    CoinbaseConfig {
        instruments: all.filter(|spec| wanted.contains(&spec.base.as_str())).collect(),
        messages_per_instrument_per_s: rate,
        ..CoinbaseConfig::of(product)
    }
}

fn world_of(config: CoinbaseConfig) -> World {
    let output_bytes_max = config.limits.output_bytes_max;
    World::of(Box::new(config.build(START_NS)), output_bytes_max)
}

fn advanced(rate: f64) -> World {
    world_of(config(CoinbaseProduct::Advanced, rate))
}

fn exchange(rate: f64) -> World {
    world_of(config(CoinbaseProduct::Exchange, rate))
}

fn send(world: &mut World, id: ConnectionId, request: &Value) {
    world.send_frame(id, 1, request.to_string().as_bytes());
}

fn subscribe(world: &mut World, id: ConnectionId, channel: &str, products: &[&str]) {
    send(world, id, &json!({"type":"subscribe","channel":channel,"product_ids":products}));
}

/// A decimal at a number of digits; fewer in the text are zeros.
fn mantissa(text: &Value, decimals: usize) -> i64 {
    let text = text.as_str().expect("decimals are strings");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert!(fraction.len() <= decimals, "{text}");
    format!("{whole}{fraction:0<decimals$}").parse().unwrap()
}

/// A book from full snapshots and absolute changes.
#[derive(Default)]
struct Follower {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
    updates: u64,
}

impl Follower {
    fn set(&mut self, side: &Value, price: &Value, qty: &Value, truth: &BookTruth) {
        let levels = match side.as_str().unwrap() {
            "bid" | "buy" => &mut self.bids,
            "offer" | "sell" => &mut self.asks,
            other => panic!("no side {other}"),
        };
        let (price, qty) = (mantissa(price, truth.price_decimals), mantissa(qty, truth.qty_decimals));
        if qty == 0 {
            levels.remove(&price)
        } else {
            levels.insert(price, qty)
        };
    }

    fn advanced(&mut self, event: &Value, truth: &BookTruth) {
        if event["type"] == "snapshot" {
            *self = Self::default();
        } else {
            self.updates += 1;
        }
        for row in event["updates"].as_array().unwrap() {
            self.set(&row["side"], &row["price_level"], &row["new_quantity"], truth);
        }
    }

    fn exchange(&mut self, message: &Value, truth: &BookTruth) {
        if message["type"] == "snapshot" {
            for (side, key) in [("buy", "bids"), ("sell", "asks")] {
                for row in message[key].as_array().unwrap() {
                    self.set(&json!(side), &row[0], &row[1], truth);
                }
            }
            return;
        }
        self.updates += 1;
        for row in message["changes"].as_array().unwrap() {
            self.set(&row[0], &row[1], &row[2], truth);
        }
    }

    fn assert_equals(&self, truth: &BookTruth) {
        assert!(self.updates > 20, "{}", self.updates);
        let bids: Vec<_> = self.bids.iter().rev().map(|(price, qty)| (*price, *qty)).collect();
        let asks: Vec<_> = self.asks.iter().map(|(price, qty)| (*price, *qty)).collect();
        assert_eq!(bids, truth.bids);
        assert_eq!(asks, truth.asks);
    }
}

fn assert_no_hole(frames: &[Value]) {
    for (index, frame) in frames.iter().enumerate() {
        assert_eq!(frame["sequence_num"], index, "{frame}");
    }
}

#[test]
fn advanced_snapshot_and_updates_give_the_true_book_and_numbers_have_no_hole() {
    let mut world = advanced(100.0);
    let id = world.connect("/");
    for channel in ["heartbeats", "level2", "market_trades", "ticker", "ticker_batch", "candles", "status"] {
        let products: &[&str] = if channel == "heartbeats" { &[] } else { &["BTC-USD", "PEPE-USD"] };
        subscribe(&mut world, id, channel, products);
    }
    world.pass(6000);
    world.site.set_rate(0.0, world.now_ns);
    world.pass(500);
    let frames = world.events(id);
    assert_no_hole(&frames);
    for symbol in ["BTC-USD", "PEPE-USD"] {
        let truth = world.site.book(symbol).unwrap();
        let mut follower = Follower::default();
        let events = frames.iter().filter(|frame| frame["channel"] == "l2_data");
        for event in events.flat_map(|frame| frame["events"].as_array().unwrap()) {
            if event["product_id"] == symbol {
                follower.advanced(event, &truth);
            }
        }
        follower.assert_equals(&truth);
    }
    let channels =
        ["heartbeats", "market_trades", "ticker", "ticker_batch", "candles", "status", "subscriptions"];
    for channel in channels {
        assert!(frames.iter().any(|frame| frame["channel"] == channel), "nothing on {channel}");
    }
    let acks: Vec<_> = frames.iter().filter(|frame| frame["channel"] == "subscriptions").collect();
    assert_eq!(acks.len(), 7, "one for each request");
    let last = &acks[6]["events"][0]["subscriptions"];
    assert_eq!(last["level2"], json!(["BTC-USD", "PEPE-USD"]));
    assert_eq!(last["heartbeats"], json!(["heartbeats"]));
}

#[test]
fn advanced_data_come_before_the_acknowledgement() {
    let mut world = advanced(0.0);
    let id = world.connect("/");
    subscribe(&mut world, id, "level2", &["BTC-USD"]);
    let first = world.events(id);
    assert_eq!(
        (&first[0]["channel"], &first[0]["events"][0]["type"]),
        (&json!("l2_data"), &json!("snapshot"))
    );
    assert_eq!(first.len(), 1);
    world.pass(100);
    let ack = world.events(id);
    assert_eq!(ack[0]["channel"], "subscriptions");
    assert_eq!(ack[0]["sequence_num"], 1);
    assert_eq!(ack[0]["events"], json!([{"subscriptions":{"level2":["BTC-USD"]}}]));
}

#[test]
fn advanced_trades_come_in_batches_newest_first_after_a_snapshot_of_recent_ones() {
    let mut world = advanced(50.0);
    let id = world.connect("/");
    subscribe(&mut world, id, "market_trades", &["ETH-USD"]);
    world.pass(10_000);
    let frames: Vec<_> = world.events(id).into_iter().filter(|it| it["channel"] == "market_trades").collect();
    let ids = |frame: &Value| -> Vec<u64> {
        let trades = frame["events"][0]["trades"].as_array().unwrap();
        trades.iter().map(|trade| trade["trade_id"].as_str().unwrap().parse().unwrap()).collect()
    };
    assert_eq!(frames[0]["events"][0]["type"], "snapshot");
    assert!(frames.iter().all(|frame| ids(frame).windows(2).all(|pair| pair[0] == pair[1] + 1)));
    let last_known = ids(&frames[0])[0];
    let mut live: Vec<u64> = frames[1..].iter().flat_map(ids).filter(|id| *id > last_known).collect();
    live.sort_unstable();
    assert!(live.len() > 20);
    assert!(live.iter().zip(last_known + 1..).all(|(id, expected)| *id == expected));
    assert!(frames.len() <= 42, "four batches a second: {}", frames.len());
    assert_eq!(world.site.truth()[1].trade_id_last, live.last().copied());
}

#[test]
fn both_products_name_the_makers_side_of_a_trade() {
    let listing = Listing::new(&default_instruments("USD")[0]);
    let trade = Trade { id: 7, group: 9, price: 100, qty: 3, taker: Side::Bid, time_ns: START_NS };
    let mut b = Vec::new();
    encode::advanced_trades(&mut b, &listing, std::iter::once(&trade));
    encode::matched(&mut b, &listing, "match", &trade, 1);
    let text = String::from_utf8(b).unwrap();
    assert!(text.contains("\"side\":\"SELL\"") && text.contains("\"side\":\"sell\""), "{text}");
}

#[test]
fn a_connection_that_does_not_subscribe_within_five_seconds_is_closed() {
    for mut world in [advanced(0.0), exchange(0.0)] {
        let id = world.connect("/");
        world.pass(4900);
        assert_eq!(world.site.ending(id), None);
        world.pass(200);
        assert_eq!(world.frames(id), [Frame::Close(1008)]);
        assert_eq!(world.site.ending(id), Some(Ending::AfterFlush(Reason::Idle)));
    }
}

#[test]
fn an_idle_connection_is_closed_after_90_seconds_unless_it_has_heartbeats() {
    let mut world = advanced(0.0);
    let (quiet, alive) = (world.connect("/"), world.connect("/"));
    subscribe(&mut world, quiet, "market_trades", &["BTC-USD"]);
    subscribe(&mut world, alive, "heartbeats", &[]);
    world.pass(91_000);
    assert_eq!(world.site.ending(quiet), Some(Ending::AfterFlush(Reason::Idle)));
    assert_eq!(world.site.ending(alive), None);
    let beats: Vec<_> = world.events(alive).into_iter().filter(|it| it["channel"] == "heartbeats").collect();
    assert!((89..=91).contains(&beats.len()), "{}", beats.len());
    let counters: Vec<_> =
        beats.iter().map(|it| it["events"][0]["heartbeat_counter"].as_u64().unwrap()).collect();
    assert!(counters.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

#[test]
fn advanced_refusals_are_error_frames_and_leave_the_socket_open() {
    let mut world = advanced(0.0);
    let id = world.connect("/");
    let mut error = |request: Value| {
        world.now_ns += SECOND_NS / 2;
        let answer = world.ask(id, &request.to_string());
        assert_eq!(answer["type"], "error");
        answer["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        error(json!({"type":"subscribe","channel":"level9","product_ids":["BTC-USD"]})),
        "level9 is not a valid channel"
    );
    assert_eq!(
        error(json!({"type":"subscribe","channel":"level2","product_ids":["FOO-USD"]})),
        "FOO-USD is not a valid product"
    );
    assert_eq!(
        error(json!({"type":"subscribe","channels":["level2"],"product_ids":["BTC-USD"]})),
        "channel is required"
    );
    assert_eq!(error(json!({"type":"subscribe","channel":"level2"})), "product_ids is required");
    assert_eq!(error(json!({"type":"subscribe","channel":"user"})), "authentication failure");
    assert_eq!(error(json!({"type":"dance"})), "type must be subscribe or unsubscribe");
    assert_eq!(world.site.ending(id), None);
    assert_eq!(world.site.stats().client_errors_total, 6);
}

#[test]
fn a_usdc_product_is_answered_under_the_name_of_its_usd_twin() {
    let mut world = advanced(0.0);
    let id = world.connect("/");
    subscribe(&mut world, id, "level2", &["BTC-USDC"]);
    assert_eq!(world.events(id)[0]["events"][0]["product_id"], "BTC-USD");
}

#[test]
fn unsubscribing_without_products_ends_the_whole_channel() {
    let mut world = advanced(100.0);
    let id = world.connect("/");
    subscribe(&mut world, id, "level2", &["BTC-USD", "ETH-USD"]);
    world.pass(1000);
    world.events(id);
    send(&mut world, id, &json!({"type":"unsubscribe","channel":"level2"}));
    world.pass(1000);
    let frames = world.events(id);
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0]["events"], json!([{"subscriptions":{}}]));
}

#[test]
fn a_deep_book_is_one_frame_of_megabytes() {
    let config = CoinbaseConfig { book_levels: 20_000, ..config(CoinbaseProduct::Advanced, 10.0) };
    let mut world = world_of(config);
    let id = world.connect("/");
    subscribe(&mut world, id, "level2", &["BTC-USD"]);
    let texts = world.texts(id);
    assert_eq!(texts.len(), 1);
    assert!(texts[0].len() > 4_000_000, "{}", texts[0].len());
    assert_eq!(texts[0].matches("\"side\":\"offer\"").count(), 20_000);
}

#[test]
fn a_skipped_frame_is_one_hole_in_the_connections_numbers() {
    let mut world = advanced(100.0);
    let (hit, spared) = (world.connect("/"), world.connect("/"));
    for id in [hit, spared] {
        subscribe(&mut world, id, "level2", &["BTC-USD"]);
    }
    world.pass(500);
    world.site.fault(&Fault::SkipSequence(Target::Oldest), world.now_ns);
    world.pass(500);
    let numbers: Vec<u64> =
        world.events(hit).iter().map(|frame| frame["sequence_num"].as_u64().unwrap()).collect();
    let holes: Vec<_> = numbers.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step != 1).collect();
    assert_eq!(holes, [2]);
    let frames = world.events(spared);
    assert_no_hole(&frames);
}

#[test]
fn connections_and_messages_are_limited_to_eight_a_second() {
    let mut world = advanced(0.0);
    let ids: Vec<_> = (0..8).map(|_| world.connect("/")).collect();
    assert!(world.upgrade("/").1.starts_with("HTTP/1.1 429 "));
    for id in &ids {
        subscribe(&mut world, *id, "heartbeats", &[]);
    }
    let request = json!({"type":"subscribe","channel":"heartbeats"}).to_string();
    assert_eq!(world.ask(ids[0], &request)["message"], "rate limit exceeded");
    world.now_ns += SECOND_NS;
    world.connect("/");
}

#[test]
fn the_exchange_feed_gives_the_true_book_matches_and_increasing_sequences() {
    let mut world = exchange(100.0);
    let id = world.connect("/");
    let channels =
        json!(["level2_batch", "matches", {"name":"ticker","product_ids":["ETH-USD"]}, "heartbeat"]);
    send(&mut world, id, &json!({"type":"subscribe","product_ids":["BTC-USD"],"channels":channels}));
    let first = world.events(id);
    assert_eq!(
        first[0],
        json!({"type":"subscriptions","channels":[
            {"name":"level2_batch","product_ids":["BTC-USD"]},{"name":"matches","product_ids":["BTC-USD"]},
            {"name":"ticker","product_ids":["ETH-USD"]},{"name":"heartbeat","product_ids":["BTC-USD"]}]})
    );
    let kinds: Vec<_> = first[1..].iter().map(|it| it["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["snapshot", "last_match", "ticker"]);
    world.pass(5000);
    world.site.set_rate(0.0, world.now_ns);
    world.pass(100);
    let all: Vec<Value> = first.into_iter().chain(world.events(id)).collect();
    let of = |kind: &str| all.iter().filter(|it| it["type"] == kind).collect::<Vec<_>>();

    let truth = world.site.book("BTC-USD").unwrap();
    let mut follower = Follower::default();
    for message in all.iter().filter(|it| it["type"] == "snapshot" || it["type"] == "l2update") {
        follower.exchange(message, &truth);
    }
    follower.assert_equals(&truth);

    let matches = of("match");
    let from = of("last_match")[0]["trade_id"].as_u64().unwrap() + 1;
    assert!(matches.len() > 50);
    assert!(matches.iter().zip(from..).all(|(it, id)| it["trade_id"] == id), "no hole");
    let sequences: Vec<_> = matches.iter().map(|it| it["sequence"].as_u64().unwrap()).collect();
    assert!(sequences.windows(2).all(|pair| pair[1] > pair[0]));
    let beats = of("heartbeat");
    assert!((4..=6).contains(&beats.len()), "{}", beats.len());
    assert!(
        beats.windows(2).all(|pair| pair[1]["last_trade_id"].as_u64() >= pair[0]["last_trade_id"].as_u64())
    );
    assert!(of("ticker").len() > 20);
    assert_eq!(world.site.truth()[0].trades_published_total, matches.len() as u64);
}

#[test]
fn exchange_refusals_name_a_reason() {
    let mut world = exchange(0.0);
    let id = world.connect("/");
    let mut reason = |request: Value| {
        let answer = world.ask(id, &request.to_string());
        assert_eq!((&answer["type"], &answer["message"]), (&json!("error"), &json!("Failed to subscribe")));
        answer["reason"].as_str().unwrap().to_owned()
    };
    let full = json!({"type":"subscribe","product_ids":["BTC-USD"],"channels":["full"]});
    assert!(reason(full).contains("require authentication"));
    let product = json!({"type":"subscribe","product_ids":["FOO-USD"],"channels":["ticker"]});
    assert_eq!(reason(product), "FOO-USD is not a valid product");
    assert_eq!(reason(json!({"type":"subscribe","product_ids":["BTC-USD"]})), "No channels provided");
    assert_eq!(reason(json!({"type":"subscribe","channels":["ticker"]})), "No product IDs provided");
}

#[test]
fn dropped_trades_and_updates_are_missing() {
    for mut world in [advanced(100.0), exchange(100.0)] {
        let id = world.connect("/");
        subscribe(&mut world, id, "market_trades", &["BTC-USD"]);
        send(&mut world, id, &json!({"type":"subscribe","product_ids":["BTC-USD"],"channels":["matches"]}));
        let symbol = "BTC-USD".to_owned();
        let fault = Fault::Venue(VenueFault::DropTrades { symbol, count: 3 });
        world.pass(1000);
        world.site.fault(&fault, world.now_ns);
        world.pass(4000);
        let mut ids: Vec<u64> = Vec::new();
        for frame in world.events(id) {
            ids.extend(frame["trade_id"].as_u64());
            for trade in frame["events"][0]["trades"].as_array().into_iter().flatten() {
                ids.push(trade["trade_id"].as_str().unwrap().parse().unwrap());
            }
        }
        ids.sort_unstable();
        ids.dedup();
        let missing: u64 = ids.windows(2).map(|pair| pair[1] - pair[0] - 1).sum();
        assert_eq!(missing, 3, "{}", world.site.name());
    }
}

#[test]
fn the_rate_is_about_what_was_asked_for() {
    for rate in [4.0, 30.0, 100.0] {
        let mut world = advanced(rate);
        let id = world.connect("/");
        for channel in ["level2", "market_trades", "ticker"] {
            subscribe(&mut world, id, channel, &["BTC-USD"]);
        }
        world.pass(60_000);
        let per_s = world.events(id).len() as f64 / 60.0;
        assert!((per_s / rate - 1.0).abs() < 0.3, "asked {rate}, got {per_s}");
    }
}

#[test]
fn rest_of_advanced_trade_fits_the_streams() {
    let mut world = advanced(100.0);
    world.pass(1000);
    let base = "/api/v3/brokerage";
    let (_, products) = world.rest(&format!("{base}/market/products"));
    assert_eq!(
        (&products["num_products"], &products["products"][0]["product_id"]),
        (&json!(3), &json!("BTC-USD"))
    );
    assert_eq!(products["products"][0]["price_increment"], "0.01");
    assert_eq!(products["products"][0]["alias_to"], json!(["BTC-USDC"]));
    let (_, book) = world.rest(&format!("{base}/market/product_book?product_id=BTC-USD&limit=5"));
    assert_eq!(book["pricebook"]["bids"].as_array().unwrap().len(), 5);
    let truth = world.site.book("BTC-USD").unwrap();
    assert_eq!(mantissa(&book["pricebook"]["bids"][0]["price"], truth.price_decimals), truth.bids[0].0);
    let (_, ticker) = world.rest(&format!("{base}/market/products/BTC-USD/ticker?limit=2"));
    assert_eq!(ticker["trades"].as_array().unwrap().len(), 2);
    assert_eq!(ticker["best_bid"], book["pricebook"]["bids"][0]["price"]);
    let (_, time) = world.rest(&format!("{base}/time"));
    assert_eq!(time["epochSeconds"], (world.now_ns / SECOND_NS).to_string());
    assert_eq!(world.rest(&format!("{base}/market/products/FOO-USD")).0, 404);
    for _ in 0..5 {
        world.rest(&format!("{base}/time"));
    }
    let (status, body) = world.rest(&format!("{base}/time"));
    assert_eq!((status, &body["errors"][0]["id"]), (429, &json!("rate_limit_exceeded")));
}

#[test]
fn rest_of_the_exchange_fits_the_feed() {
    let mut world = exchange(100.0);
    world.pass(1000);
    let (_, products) = world.rest("/products");
    assert_eq!((&products[0]["id"], &products[0]["quote_increment"]), (&json!("BTC-USD"), &json!("0.01")));
    let (_, book) = world.rest("/products/BTC-USD/book?level=2");
    let truth = world.site.book("BTC-USD").unwrap();
    assert_eq!(book["asks"].as_array().unwrap().len(), truth.asks.len());
    assert!(book["sequence"].is_u64());
    let (_, trades) = world.rest("/products/BTC-USD/trades?limit=3");
    let newest = trades[0]["trade_id"].as_u64().unwrap();
    assert_eq!(newest, world.site.truth()[0].trade_id_market);
    let (_, older) = world.rest(&format!("/products/BTC-USD/trades?limit=1&after={newest}"));
    assert_eq!(older[0]["trade_id"], newest - 1);
    assert_eq!(world.rest("/products/FOO-USD/book"), (404, json!({"message":"NotFound"})));
    assert_eq!(world.rest("/products/BTC-USD/book?level=3").0, 401);
}
