//! The venue through its front door: bytes of HTTP and WebSocket into a [`Site`](crate::site::Site), frames out.

pub(super) mod world;

use serde_json::{Value, json};

use self::world::{Follower, config, mantissa};
use super::*;
use crate::faults::{Fault, How, RestFault, Target};
use crate::output::Ending;
use crate::venue::Reason;
use crate::world::{Frame, START_NS, World};

fn snapshot_and_updates_give_the_book(product: Product, stream: &str, path: &str) {
    let mut world = World::new(config(product, 200.0));
    let id = world.connect(&format!("/stream?streams={stream}"));
    world.pass(700);
    let truth = world.site.book("ETH-USDT").unwrap();
    let (status, body) = world.rest(path);
    assert_eq!(status, 200);
    let mut follower = Follower::snapshot(product, &body, &truth);
    world.pass(2000);
    world.site.set_rate(0.0, world.now_ns);
    world.pass(1500);
    for event in world.events(id) {
        assert_eq!(event["stream"], stream);
        follower.apply(&event["data"], &truth).unwrap();
    }
    assert!(follower.applied >= 3, "{}", follower.applied);
    follower.assert_equals(&world.site.book("ETH-USDT").unwrap());
}

#[test]
fn the_documented_procedure_gives_the_true_book_on_spot() {
    for stream in ["ethusdt@depth@100ms", "ethusdt@depth"] {
        snapshot_and_updates_give_the_book(Product::Spot, stream, "/api/v3/depth?symbol=ETHUSDT&limit=5000");
    }
}

#[test]
fn the_documented_procedure_gives_the_true_book_on_futures() {
    for stream in ["ethusdt@depth@0ms", "ethusdt@depth@100ms", "ethusdt@depth", "ethusdt@depth@500ms"] {
        snapshot_and_updates_give_the_book(Product::UsdM, stream, "/fapi/v1/depth?symbol=ETHUSDT&limit=1000");
    }
}

#[test]
fn updates_are_adjacent_and_trades_consecutive_and_the_truth_says_what_was_sent() {
    let mut world = World::spot(100.0);
    let id = world.connect("/stream?streams=btcusdt@trade/btcusdt@depth@100ms/btcusdt@bookTicker");
    world.pass(5000);
    let events = world.events(id);
    let of = |stream: &str| -> Vec<&Value> {
        events.iter().filter(|event| event["stream"] == stream).map(|event| &event["data"]).collect()
    };
    let updates = of("btcusdt@depth@100ms");
    assert!(updates.windows(2).all(|pair| pair[1]["U"].as_u64() == pair[0]["u"].as_u64().map(|u| u + 1)));
    for side in updates.iter().flat_map(|update| [&update["b"], &update["a"]]) {
        let prices: Vec<_> = side.as_array().unwrap().iter().map(|level| mantissa(&level[0], 8)).collect();
        assert!(prices.windows(2).all(|pair| pair[0] != pair[1]), "each price once, sorted: {prices:?}");
    }
    let trades = of("btcusdt@trade");
    assert!(trades.windows(2).all(|pair| pair[1]["t"].as_u64() == pair[0]["t"].as_u64().map(|t| t + 1)));
    let tickers = of("btcusdt@bookTicker");
    assert!(tickers.windows(2).all(|pair| pair[1]["u"].as_u64() > pair[0]["u"].as_u64()));
    assert!(tickers.iter().all(|ticker| ticker.get("e").is_none() && ticker["s"] == "BTCUSDT"));

    let truth = &world.site.truth()[0];
    assert_eq!(truth.symbol, "BTC-USDT");
    assert_eq!(truth.trade_id_first, trades[0]["t"].as_u64());
    assert_eq!(truth.trade_id_last, trades[trades.len() - 1]["t"].as_u64());
    assert_eq!(truth.trades_published_total, trades.len() as u64);
    assert_eq!(truth.update_id_published, updates[updates.len() - 1]["u"].as_u64());
    assert_eq!(truth.updates_published_total, updates.len() as u64);
    let stats = world.site.stats();
    assert_eq!(stats.sent_by_stream_total["trade"], trades.len() as u64);
    assert_eq!(stats.subscriptions, 3);
}

#[test]
fn the_rate_is_about_what_was_asked_for() {
    for rate in [2.0, 20.0, 400.0] {
        let mut world = World::spot(rate);
        let id = world.connect("/stream?streams=btcusdt@trade/btcusdt@depth@100ms/btcusdt@bookTicker");
        world.pass(60_000);
        let per_s = world.events(id).len() as f64 / 60.0;
        assert!((per_s / rate - 1.0).abs() < 0.3, "asked {rate}, got {per_s}");
    }
}

#[test]
fn the_same_seed_and_calls_give_the_same_bytes() {
    let run = |seed| {
        let mut world = World::new(BinanceConfig { seed, ..config(Product::Spot, 50.0) });
        let id = world
            .connect("/stream?streams=btcusdt@trade/btcusdt@depth@100ms/ethusdt@kline_1s/solusdt@ticker");
        world.pass(3000);
        world.take(id)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn raw_connections_get_bare_events_and_microseconds_on_request() {
    let mut world = World::spot(200.0);
    let id = world.connect("/ws/btcusdt@trade?timeUnit=MICROSECOND");
    world.pass(1000);
    let events = world.events(id);
    assert!(!events.is_empty());
    for event in events {
        assert_eq!(event["e"], "trade");
        let lag_us = world.now_ns / 1000 - event["T"].as_u64().unwrap();
        assert!(lag_us < 1_100_000, "{event}");
        assert_eq!(event["E"].as_u64().unwrap() - event["T"].as_u64().unwrap(), 1000);
    }
}

#[test]
fn all_streams_deliver_their_own_form() {
    let mut world = World::spot(100.0);
    let streams = [
        ("aggTrade", "aggTrade"),
        ("depth5@100ms", ""),
        ("depth20", ""),
        ("ticker", "24hrTicker"),
        ("miniTicker", "24hrMiniTicker"),
        ("kline_1s", "kline"),
        ("kline_1m", "kline"),
        ("kline_1d", "kline"),
    ];
    let names: Vec<String> = streams.iter().map(|(name, _)| format!("solusdt@{name}")).collect();
    let id = world.connect(&format!("/stream?streams={}", names.join("/")));
    world.pass(5000);
    let events = world.events(id);
    for (name, kind) in streams {
        let mine: Vec<_> =
            events.iter().filter(|event| event["stream"] == format!("solusdt@{name}")).collect();
        assert!(!mine.is_empty(), "nothing on {name}");
        for event in mine {
            let data = &event["data"];
            if kind.is_empty() {
                let depth = if name == "depth20" { 20 } else { 5 };
                assert_eq!(data["bids"].as_array().unwrap().len(), depth);
                assert!(data["lastUpdateId"].is_u64());
            } else {
                assert_eq!((data["e"].as_str(), data["s"].as_str()), (Some(kind), Some("SOLUSDT")));
            }
        }
    }
}

#[test]
fn a_bar_is_shown_open_then_closed_once_and_its_trades_add_up() {
    let mut world = World::spot(100.0);
    let id = world.connect("/stream?streams=btcusdt@kline_1s/btcusdt@trade");
    world.pass(6000);
    let events = world.events(id);
    let mut closed = 0;
    for bar in events.iter().map(|event| &event["data"]["k"]).filter(|bar| bar["x"] == true).skip(1) {
        closed += 1;
        let (open, close) = (bar["t"].as_u64().unwrap(), bar["T"].as_u64().unwrap());
        assert_eq!(close - open, 999);
        let trades: Vec<_> = events
            .iter()
            .map(|event| &event["data"])
            .filter(|data| data["e"] == "trade" && (open..=close).contains(&data["T"].as_u64().unwrap()))
            .collect();
        assert_eq!(bar["n"].as_u64(), Some(trades.len() as u64));
        let volume: i64 = trades.iter().map(|trade| mantissa(&trade["q"], 8)).sum();
        assert_eq!(mantissa(&bar["v"], 8), volume);
    }
    assert!(closed >= 3, "{closed}");
}

#[test]
fn control_frames_are_answered_as_documented() {
    let mut world = World::spot(0.0);
    let id = world.connect("/ws");
    let mut check = |request: &str, expected: Value| {
        world.now_ns += SECOND_NS;
        assert_eq!(world.ask(id, request), expected, "{request}");
    };
    check(
        r#"{"method":"SUBSCRIBE","params":["btcusdt@trade","nosuch@trade","btcusdt@depth@100ms"],"id":1}"#,
        json!({"result":null,"id":1}),
    );
    check(
        r#"{"method":"UNSUBSCRIBE","params":["btcusdt@depth@100ms"],"id":"a1"}"#,
        json!({"result":null,"id":"a1"}),
    );
    check(
        r#"{"method":"LIST_SUBSCRIPTIONS","id":-3}"#,
        json!({"result":["btcusdt@trade","nosuch@trade"],"id":-3}),
    );
    check(r#"{"method":"GET_PROPERTY","params":["combined"],"id":4}"#, json!({"result":false,"id":4}));
    check(r#"{"method":"SET_PROPERTY","params":["combined",true],"id":5}"#, json!({"result":null,"id":5}));
    check(r#"{"method":"GET_PROPERTY","params":["combined"],"id":null}"#, json!({"result":true,"id":null}));
    check(
        r#"{"method":"SET_PROPERTY","params":["combined",1],"id":7}"#,
        json!({"code":1,"msg":"Invalid value type: expected Boolean","id":7}),
    );
    check(
        r#"{"method":"SET_PROPERTY","params":["other",true],"id":8}"#,
        json!({"code":0,"msg":"Unknown property","id":8}),
    );
    let mut code = |request: &str| {
        world.now_ns += SECOND_NS;
        world.ask(id, request)["code"].as_i64()
    };
    assert_eq!(code("{\"method\":"), Some(3));
    assert_eq!(code("[1]"), Some(2));
    assert_eq!(code(r#"{"id":1}"#), Some(2));
    assert_eq!(code(r#"{"method":"DANCE","id":1}"#), Some(2));
    assert_eq!(code(r#"{"method":"SUBSCRIBE","id":1}"#), Some(2));
    assert_eq!(code(r#"{"method":"SUBSCRIBE","params":["a"],"id":1.5}"#), Some(2));
    assert_eq!(world.site.stats().client_errors_total, 8);
}

#[test]
fn an_unsubscribed_stream_falls_silent_and_the_combined_property_wraps() {
    let mut world = World::spot(200.0);
    let id = world.connect("/ws/btcusdt@trade");
    world.ask(id, r#"{"method":"SET_PROPERTY","params":["combined",true],"id":1}"#);
    world.pass(1000);
    let events = world.events(id);
    assert!(!events.is_empty());
    assert!(events.iter().all(|event| event["stream"] == "btcusdt@trade"));
    world.ask(id, r#"{"method":"UNSUBSCRIBE","params":["btcusdt@trade"],"id":2}"#);
    world.pass(1000);
    assert_eq!(world.events(id), [] as [Value; 0]);
}

#[test]
fn a_connection_holds_1024_streams_and_not_one_more() {
    let mut world = World::spot(0.0);
    let id = world.connect("/stream");
    let names: Vec<String> = (0..1024).map(|index| format!("a{index}@trade")).collect();
    let request = json!({"method":"SUBSCRIBE","params":names,"id":1}).to_string();
    assert_eq!(world.ask(id, &request), json!({"result":null,"id":1}));
    let more = r#"{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":2}"#;
    assert_eq!(world.ask(id, more)["code"], 2);
    // Again the same ones: they are there already.
    assert_eq!(world.ask(id, &request), json!({"result":null,"id":1}));
}

#[test]
fn a_client_that_sends_too_much_is_disconnected_with_1008() {
    let mut world = World::spot(0.0);
    let id = world.connect("/ws");
    for _ in 0..3 {
        world.send_frame(id, 9, b"x");
        world.send_frame(id, 10, b"");
        if world.site.ending(id).is_some() {
            break;
        }
    }
    let frames = world.frames(id);
    assert_eq!(frames.len(), 4, "{frames:?}");
    assert_eq!(frames[0], Frame::Pong(b"x".to_vec()));
    assert_eq!(frames[3], Frame::Close(1008));
    assert_eq!(world.site.ending(id), Some(Ending::AfterFlush(Reason::IncomingLimit)));
}

#[test]
fn five_frames_in_each_second_are_allowed() {
    let mut world = World::spot(0.0);
    let id = world.connect("/ws");
    for _ in 0..4 {
        for _ in 0..5 {
            world.send_frame(id, 9, b"");
        }
        world.now_ns += SECOND_NS;
    }
    assert_eq!(world.site.ending(id), None);
    assert_eq!(world.frames(id).len(), 20);
}

#[test]
fn pings_come_every_20_seconds_and_a_client_without_pongs_is_dropped_after_60() {
    let mut world = World::spot(0.0);
    let (good, bad, unsolicited) = (world.connect("/ws"), world.connect("/ws"), world.connect("/ws"));
    for round in 1..=3 {
        world.pass(20_000);
        let frames = world.frames(good);
        let [Frame::Ping(payload)] = &frames[..] else { panic!("round {round}: {frames:?}") };
        world.send_frame(good, 10, payload);
        world.send_frame(unsolicited, 10, b"");
    }
    world.pass(20_000);
    assert_eq!(world.site.ending(good), None);
    for id in [bad, unsolicited] {
        assert_eq!(world.site.ending(id), Some(Ending::AfterFlush(Reason::PongTimeout)));
        assert_eq!(world.frames(id).pop(), Some(Frame::Close(1008)));
    }
}

#[test]
fn a_connection_is_told_and_then_ended_at_its_greatest_age() {
    let limits = BinanceLimits {
        age_ns_max: 10 * SECOND_NS,
        shutdown_notice_ns: 4 * SECOND_NS,
        ..BinanceLimits::of(Product::Spot)
    };
    let mut world = World::new(BinanceConfig { limits, ..config(Product::Spot, 0.0) });
    let (combined, raw) = (world.connect("/stream"), world.connect("/ws"));
    world.pass(5_900);
    assert_eq!(world.frames(raw), []);
    world.pass(200);
    let time = (START_NS + 6 * SECOND_NS) / MS_NS;
    assert_eq!(world.events(raw), [json!({"e":"serverShutdown","E":time})]);
    assert_eq!(
        world.events(combined),
        [json!({"stream":"!serverShutdown","data":{"e":"serverShutdown","E":time}})]
    );
    world.pass(4_000);
    assert_eq!(world.frames(raw), [Frame::Close(1001)]);
    assert_eq!(world.site.ending(raw), Some(Ending::AfterFlush(Reason::Age)));
}

#[test]
fn the_301st_connection_in_five_minutes_is_refused() {
    let mut world = World::spot(0.0);
    for _ in 0..300 {
        let id = world.connect("/ws");
        world.site.closed(id);
    }
    let (_, answer) = world.upgrade("/ws");
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("Retry-After: "));
    world.now_ns += 300 * SECOND_NS;
    world.connect("/ws");
    assert_eq!(world.site.stats().connections_refused_total, 1);
}

#[test]
fn wrong_paths_are_not_found() {
    let mut world = World::spot(0.0);
    assert!(world.upgrade("/wss").1.starts_with("HTTP/1.1 404 "));
    assert_eq!(world.rest("/api/v1/depth?symbol=BTCUSDT").0, 404);
    assert_eq!(world.rest("/api/v3/nosuch").0, 404);
}

#[test]
fn rest_errors_have_the_venues_codes() {
    let mut world = World::spot(0.0);
    let mut check = |target: &str, code: i64| {
        let (status, body) = world.rest(&format!("/api/v3/{target}"));
        assert_eq!((status, body["code"].as_i64()), (400, Some(code)), "{target}: {body}");
    };
    check("depth", -1102);
    check("depth?symbol=", -1102);
    check("depth?symbol=NOSUCH", -1121);
    check("depth?symbol=btcusdt", -1100);
    check("depth?symbol=BTCUSDT&limit=x", -1100);
    check("depth?symbol=BTCUSDT&limit=0", -1130);
    check("klines?symbol=BTCUSDT&interval=7m", -1120);
    check("exchangeInfo?symbols=BTCUSDT", -1100);
    check("exchangeInfo?symbols=%5B%22NOSUCH%22%5D", -1121);
}

#[test]
fn rest_market_data_fits_the_streams() {
    let mut world = World::spot(100.0);
    let id = world.connect("/ws/btcusdt@trade");
    world.pass(3000);
    let sent = world.events(id);
    let (_, recent) = world.rest("/api/v3/trades?symbol=BTCUSDT&limit=5");
    assert_eq!(recent.as_array().unwrap().len(), 5);
    assert_eq!(recent[4]["id"], sent[sent.len() - 1]["t"]);
    assert_eq!(recent[4]["price"], sent[sent.len() - 1]["p"]);
    let from = sent[0]["t"].as_u64().unwrap();
    let (_, history) =
        world.rest(&format!("/api/v3/historicalTrades?symbol=BTCUSDT&fromId={from}&limit=1000"));
    let ids =
        |list: &[Value], key: &str| -> Vec<u64> { list.iter().map(|it| it[key].as_u64().unwrap()).collect() };
    assert_eq!(ids(history.as_array().unwrap(), "id"), ids(&sent, "t"));
    let (_, aggregated) = world.rest("/api/v3/aggTrades?symbol=BTCUSDT&limit=3");
    assert_eq!(aggregated[2]["l"], sent[sent.len() - 1]["t"]);
    let (_, bars) = world.rest("/api/v3/klines?symbol=BTCUSDT&interval=1m");
    assert_eq!(bars[0].as_array().unwrap().len(), 12);
    let (_, ticker) = world.rest("/api/v3/ticker/bookTicker?symbol=BTCUSDT");
    let (_, depth) = world.rest("/api/v3/depth?symbol=BTCUSDT&limit=5");
    assert_eq!(depth["bids"].as_array().unwrap().len(), 5);
    assert_eq!((&ticker["bidPrice"], &ticker["askQty"]), (&depth["bids"][0][0], &depth["asks"][0][1]));
    let (_, time) = world.rest("/api/v3/time");
    assert_eq!(time["serverTime"].as_u64(), Some(world.now_ns / MS_NS));
}

#[test]
fn exchange_info_lists_the_steps_of_both_products() {
    let mut world = World::spot(0.0);
    let (_, info) = world.rest("/api/v3/exchangeInfo?symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D");
    assert_eq!(info["symbols"].as_array().unwrap().len(), 2);
    let symbol = &info["symbols"][0];
    assert_eq!((&symbol["baseAsset"], &symbol["quoteAsset"]), (&json!("BTC"), &json!("USDT")));
    assert_eq!(symbol["filters"][0]["tickSize"], "0.01000000");
    assert_eq!(symbol["filters"][1]["stepSize"], "0.00001000");
    let mut futures = World::new(config(Product::UsdM, 0.0));
    let (_, info) = futures.rest("/fapi/v1/exchangeInfo");
    assert_eq!(info["symbols"].as_array().unwrap().len(), 3);
    assert_eq!(info["symbols"][0]["filters"][0]["tickSize"], "0.01");
    assert_eq!(info["symbols"][0]["pricePrecision"], 2);
}

#[test]
fn a_route_of_the_futures_is_part_of_the_path_and_none_of_spots() {
    for route in ["/public", "/market"] {
        let mut futures = World::new(config(Product::UsdM, 100.0));
        let id = futures.connect(&format!("{route}/stream?streams=btcusdt@bookTicker"));
        futures.pass(2_000);
        assert!(!futures.events(id).is_empty(), "{route}");
        let path = format!("{route}/stream");
        let (_, answer) = World::spot(0.0).upgrade(&path);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
}

#[test]
fn request_weight_is_counted_refused_and_then_banned() {
    let limits = BinanceLimits { refusals_before_ban: 2, ..BinanceLimits::of(Product::Spot) };
    let mut world = World::new(BinanceConfig { limits, ..config(Product::Spot, 0.0) });
    let request = "GET /api/v3/depth?symbol=BTCUSDT&limit=5000 HTTP/1.1\r\nHost: x\r\n\r\n";
    for count in 1..=24 {
        let answer = world.rest_raw(request);
        assert!(answer.contains(&format!("X-MBX-USED-WEIGHT-1M: {}\r\n", count * 250)), "{count}");
    }
    for _ in 0..2 {
        let answer = world.rest_raw(request);
        assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("Retry-After: "), "{answer}");
        assert!(answer.contains("\"code\":-1003"));
    }
    assert!(world.rest_raw(request).starts_with("HTTP/1.1 418 "));
    world.now_ns += 60 * SECOND_NS;
    assert_eq!(world.rest("/api/v3/ping").0, 418, "still banned in the next minute");
    world.now_ns += 60 * SECOND_NS;
    assert_eq!(world.rest("/api/v3/ping"), (200, json!({})));
}

#[test]
fn keep_alive_answers_several_requests_and_close_closes() {
    let mut world = World::spot(0.0);
    let id = world.site.open(world.now_ns).unwrap();
    let one = "GET /api/v3/ping HTTP/1.1\r\nHost: x\r\n\r\n";
    world.site.receive(id, format!("{one}{}", &one[..10]).as_bytes(), world.now_ns);
    world.site.receive(id, &one.as_bytes()[10..], world.now_ns);
    let answers = String::from_utf8(world.take(id)).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2);
    assert_eq!(world.site.ending(id), None);
    let last = "GET /api/v3/ping HTTP/1.1\r\nConnection: close\r\n\r\n";
    world.site.receive(id, last.as_bytes(), world.now_ns);
    assert_eq!(world.site.ending(id), Some(Ending::AfterFlush(Reason::Http)));
}

#[test]
fn a_dropped_update_is_a_gap_for_the_documented_procedure() {
    let mut world = World::spot(200.0);
    let id = world.connect("/ws/btcusdt@depth@100ms");
    let truth = world.site.book("BTC-USDT").unwrap();
    let (_, body) = world.rest("/api/v3/depth?symbol=BTCUSDT&limit=1000");
    let mut follower = Follower::snapshot(Product::Spot, &body, &truth);
    world.pass(500);
    world.site.fault(
        &Fault::Venue(VenueFault::DropUpdates { symbol: "BTC-USDT".to_owned(), count: 1 }),
        world.now_ns,
    );
    world.pass(1000);
    let gaps = world.events(id).iter().filter(|event| follower.apply(event, &truth).is_err()).count();
    assert!(gaps > 0);
}

#[test]
fn a_stale_snapshot_is_older_than_what_was_buffered() {
    let mut world = World::spot(200.0);
    let symbol = "BTC-USDT".to_owned();
    world.site.fault(&Fault::Venue(VenueFault::StaleSnapshots { symbol, count: 1 }), world.now_ns);
    world.pass(1000);
    let id = world.connect("/ws/btcusdt@depth@100ms");
    world.pass(300);
    let first = world.events(id)[0]["U"].as_u64().unwrap();
    let (_, stale) = world.rest("/api/v3/depth?symbol=BTCUSDT&limit=5");
    let (_, fresh) = world.rest("/api/v3/depth?symbol=BTCUSDT&limit=5");
    assert!(stale["lastUpdateId"].as_u64().unwrap() < first - 1);
    assert!(fresh["lastUpdateId"].as_u64().unwrap() >= first - 1);
}

#[test]
fn connection_faults_do_what_they_say() {
    let mut world = World::spot(200.0);
    let symbol_streams = "/stream?streams=btcusdt@trade/btcusdt@bookTicker";
    let inject = |world: &mut World, fault: Fault| world.site.fault(&fault, world.now_ns);

    let dropped = world.connect(symbol_streams);
    inject(&mut world, Fault::Disconnect(Target::Newest, How::Drop));
    assert_eq!(world.site.ending(dropped), Some(Ending::Abort(Reason::Fault)));
    world.site.closed(dropped);

    let closed = world.connect(symbol_streams);
    inject(&mut world, Fault::Disconnect(Target::All, How::CloseFrame(1012)));
    assert_eq!(world.frames(closed).pop(), Some(Frame::Close(1012)));
    world.site.closed(closed);
    assert_eq!(world.site.stats().disconnects_total["fault"], 2);

    inject(&mut world, Fault::RefuseConnections { for_ns: SECOND_NS });
    assert_eq!(world.site.open(world.now_ns), None);
    world.pass(1000);
    inject(&mut world, Fault::RejectUpgrades { status: 503, for_ns: SECOND_NS });
    assert!(world.upgrade("/ws").1.starts_with("HTTP/1.1 503 "));
    world.pass(1000);

    let silent = world.connect(symbol_streams);
    inject(&mut world, Fault::Silence { target: Target::Newest, for_ns: 2 * SECOND_NS });
    world.pass(1900);
    assert_eq!(world.take(silent), b"");
    world.pass(1000);
    assert!(!world.events(silent).is_empty());

    inject(&mut world, Fault::DuplicateFrame(Target::Newest));
    world.pass(1000);
    let events = world.events(silent);
    assert_eq!(events[0], events[1]);

    inject(&mut world, Fault::UnknownEvent(Target::Newest));
    assert_eq!(world.events(silent)[0]["data"]["e"], "noveltyUpdate");

    inject(&mut world, Fault::Garbage(Target::Newest));
    let bytes = world.take(silent);
    assert!(serde_json::from_slice::<Value>(&bytes[2..]).is_err());

    inject(&mut world, Fault::PlannedShutdown { target: Target::Newest, after_ns: SECOND_NS });
    assert_eq!(world.events(silent)[0]["stream"], "!serverShutdown");
    assert_eq!(world.site.ending(silent), None);
    world.pass(1000);
    assert_eq!(world.site.ending(silent), Some(Ending::AfterFlush(Reason::Fault)));
    world.site.closed(silent);

    let cut = world.connect(symbol_streams);
    inject(&mut world, Fault::CutFrame(Target::Newest));
    world.pass(1000);
    let bytes = world.take(cut);
    let announced =
        if bytes[1] == 126 { usize::from(bytes[2]) << 8 | usize::from(bytes[3]) } else { bytes[1].into() };
    assert!(bytes.len() > 10 && bytes.len() < announced);
    assert_eq!(world.site.ending(cut), Some(Ending::AfterFlush(Reason::Fault)));
    world.site.closed(cut);

    let oversized = world.connect(symbol_streams);
    inject(&mut world, Fault::OversizedHeader(Target::Newest));
    world.pass(1000);
    assert_eq!(world.take(oversized), [0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0]);
}

#[test]
fn rest_faults_do_what_they_say() {
    let mut world = World::spot(0.0);
    let request = "GET /api/v3/depth?symbol=BTCUSDT HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut faulty = |kind: RestFault| {
        world.site.fault(&Fault::Rest { path: "depth".to_owned(), kind, count: 1 }, world.now_ns);
        assert_eq!(world.rest("/api/v3/ping").0, 200, "only depth fails");
        world.rest_raw(request)
    };
    assert!(faulty(RestFault::Status { status: 418, retry_after_s: 9 }).contains("Retry-After: 9\r\n"));
    assert!(faulty(RestFault::Status { status: 500, retry_after_s: 0 }).starts_with("HTTP/1.1 500 "));
    assert!(faulty(RestFault::Html(502)).contains("<html>"));
    let truncated = faulty(RestFault::TruncatedJson);
    let (_, body) = truncated.split_once("\r\n\r\n").unwrap();
    assert!(truncated.contains(&format!("Content-Length: {}\r\n", body.len())));
    assert!(serde_json::from_str::<Value>(body).is_err());
    assert_eq!(faulty(RestFault::NoAnswer), "");
    let cut = faulty(RestFault::CutAnswer);
    assert!(!cut.ends_with('}') && cut.starts_with("HTTP/1.1 200 OK"));
    assert_eq!(world.rest("/api/v3/depth?symbol=BTCUSDT").0, 200, "the faults are used up");

    let fault = Fault::Rest { path: String::new(), kind: RestFault::Delay(SECOND_NS), count: 1 };
    world.site.fault(&fault, world.now_ns);
    let id = world.site.open(world.now_ns).unwrap();
    world.site.receive(id, format!("{request}{request}").as_bytes(), world.now_ns);
    world.pass(990);
    assert_eq!(world.take(id), b"");
    world.pass(20);
    let answers = String::from_utf8(world.take(id)).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "the second request waited behind the first");
}

#[test]
fn speed_makes_the_market_pass_faster_but_not_the_heartbeat() {
    let mut world = World::new(BinanceConfig { speed: 60.0, ..config(Product::Spot, 20.0) });
    let id = world.connect("/ws/btcusdt@kline_1m");
    world.pass(5000);
    let closed: Vec<u64> = world
        .events(id)
        .iter()
        .filter(|event| event["k"]["x"] == true)
        .map(|event| event["k"]["t"].as_u64().unwrap())
        .collect();
    assert!((4..=6).contains(&closed.len()), "{closed:?}");
    assert!(closed.windows(2).all(|pair| pair[1] == pair[0] + 60_000), "{closed:?}");
}

#[test]
fn nothing_is_due_when_the_market_stands_still_but_bars_and_pings() {
    let mut world = World::spot(0.0);
    world.connect("/ws");
    world.pass(3000);
    assert!(world.site.next_wake_ns() > world.now_ns);
    assert!(world.site.next_wake_ns() - world.now_ns <= SECOND_NS);
}
