//! The screen in memory, from a status of the shape that a gateway gives.

use serde_json::json;

use super::*;

fn status(second: u64, stalled: bool) -> Value {
    let total = |per_second: u64| per_second * second;
    let output = |shard: &str, depth: u64, dropped: u64| {
        json!({
            "shard": shard, "ring_events": depth, "ring_capacity_events": 8192, "spill_events": 0,
            "ring_full_total": 0, "offered_total": total(1000), "delivered_total": total(1000),
            "unchanged_total": total(10), "coalesced_total": 0, "dropped_total": dropped, "in_flight": 0,
        })
    };
    let stage = |name: &str, p50: u64, p99: u64, max: u64| json!({ "stage": name, "count": 1000, "latency_ns_p50": p50, "latency_ns_p99": p99, "latency_ns_max": max });
    let shard = |name: &str, role: &str, core: u64, stages: Value| {
        json!({
            "name": name, "role": role, "core": core, "turns_total": total(20_000), "turns_idle_total": total(15_000),
            "turns_long_total": 3, "turn_ns_max": 2_500_000, "busy_ns_total": total(250_000_000),
            "sleeps_total": 0, "place": "idle", "stalled_ms": 0, "stalls_total": 0, "pinned": true,
            "involuntary_switches_total": 17, "migrations_total": 0, "minor_faults_total": 4,
            "major_faults_total": 0, "stages": stages,
        })
    };
    let mut strategies = shard(
        "strategies",
        "consumer",
        1,
        json!([
            stage("receive_to_delivered", 70_000, 2_100_000, 9_000_000),
            stage("handler", 900, 4_000, 50_000),
            stage("handler:momentum", 800, 3_000, 40_000),
        ]),
    );
    if stalled {
        strategies["stalled_ms"] = json!(2_600);
        strategies["place"] = json!("in the handler of consumer momentum");
    }
    json!({
        "version": "0.1.0", "uptime_ms": 60_000 + second * 1_000, "routing_version": 3, "killed_all": false,
        "ready": !stalled,
        "providers": [
            {
                "name": "binance", "lines": 2, "lines_live": if stalled { 1 } else { 2 }, "books": 50, "books_proved": 50,
                "messages_total": total(3_400), "gaps_total": 0, "resyncs_total": 1, "decode_errors_total": 0,
                "lines_lost_total": 0, "routing_version": 3,
                "pools": [{ "name": "frames", "out": 3, "capacity": 200 }, { "name": "events", "out": 12, "capacity": 300 }],
                "outputs": [output("strategies", 512, 0), output("recording", 0, total(5))],
            },
            {
                "name": "kraken", "lines": 1, "lines_live": 1, "books": 20, "books_proved": 20,
                "messages_total": total(600), "gaps_total": 2, "resyncs_total": 0, "decode_errors_total": 0,
                "lines_lost_total": 0, "routing_version": 3, "pools": [], "outputs": [output("strategies", 1, 0)],
            },
        ],
        "consumers": [
            {
                "name": "momentum", "shard": "strategies", "up": !stalled, "events_total": total(2_000), "panics_total": 0,
                "busy_ns_total": total(2_000_000), "busy_ns_max": 40_000, "missed_total": 0, "streams": 100,
                "trading": true, "killed": false, "may_trade": true,
            },
        ],
        "shards": [shard("md0", "provider", 0, json!([stage("turn", 5_000, 80_000, 900_000)])), strategies],
        "mergers": [],
        "rings": [{ "from": "kraken", "shard": "strategies", "events": 1, "oldest_ns": 77_000, "oldest_ns_max": 90_000 }],
        "incidents": [
            { "from_ms": 60_500, "to_ms": 60_550, "shard": "md0", "what": "long_turns", "count": 2, "detail": "" },
            { "from_ms": 59_000, "to_ms": 60_000, "shard": "strategies", "what": "lost_pinning", "count": 1, "detail": "may run on 0-1 now" },
        ],
    })
}

fn model(stalled: bool) -> Model {
    let mut model = Model::default();
    for second in 1..=2 {
        model.take(&status(second, stalled && second == 2));
    }
    model
}

fn shown(model: &mut Model, columns: u16, lines: u16) -> String {
    let text = as_text(model, columns, lines);
    for line in text.lines() {
        assert!(line.chars().count() <= usize::from(columns), "{line}");
    }
    println!("{text}");
    text
}

/// The cells of the row that begins with `name`, split at blanks.
fn row<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let line = text.lines().find(|line| line.trim_start_matches(['!', ' ']).starts_with(name));
    line.unwrap_or_else(|| panic!("no row {name} in\n{text}")).split_whitespace().collect()
}

#[test]
fn the_overview_has_everything_that_matters_at_80_columns() {
    let text = shown(&mut model(false), 80, 24);
    assert!(text.starts_with("meltica 0.1.0  up 0:01:02  ready\n4000 msg/s  lag p99 2.10ms  books 70/70 proved  gaps 2  dropped 10"), "{text}");
    assert_eq!(row(&text, "md0")[..4], ["md0", "0", "20000", "75.0%"]);
    assert_eq!(row(&text, "binance ")[..5], ["binance", "2/2", "3400", "50/50", "0"]);
    assert_eq!(row(&text, "binance > strategies")[3..6], ["1000", "512/8192", "6.2%"]);
    assert!(row(&text, "binance > strategies").contains(&"512ms"), "512 events at 1000 a second: {text}");
    assert!(row(&text, "kraken > strategies").contains(&"77.0us"), "measured: {text}");
    let momentum = row(&text, "momentum");
    assert!(momentum.contains(&"1.00us") && momentum.contains(&"2.10ms"), "{momentum:?}");
    assert_eq!(text.lines().count(), 24, "the foot is on the last line");
    assert!(text.lines().last().unwrap().contains("q quit"));
}

#[test]
fn a_wide_screen_shows_more_of_each() {
    let text = shown(&mut model(false), 140, 48);
    for head in ["PLACE", "ROLE", "UNDECODABLE", "FRAMES", "UNCHANGED/S", "STREAMS", "TRADING"] {
        assert!(text.contains(head), "{head} in\n{text}");
    }
    assert!(row(&text, "binance ").contains(&"12/300"), "slots of the events pool");
}

#[test]
fn what_is_not_well_is_marked() {
    let mut model = model(true);
    let text = shown(&mut model, 140, 48);
    assert!(text.contains("NOT READY"));
    let marked = |name: &str| text.lines().any(|line| line.starts_with("! ") && line[2..].starts_with(name));
    for name in ["strategies", "binance ", "binance > recording", "momentum"] {
        assert!(marked(name), "{name} in\n{text}");
    }
    assert!(!marked("md0") && !marked("kraken"));
    assert!(text.contains("since 2.60s") && text.contains("in the handler of consumer momentum"));
    model.silent = Some((7, "connection refused".to_owned()));
    assert!(shown(&mut model, 80, 24).contains("NO ANSWER for 7 s: connection refused"));
}

#[test]
fn keys_choose_sort_and_look_deeper() {
    let mut model = model(false);
    let press = |model: &mut Model, code| assert!(pressed(model, KeyEvent::new(code, KeyModifiers::NONE)));
    press(&mut model, KeyCode::Char('3'));
    press(&mut model, KeyCode::Char('s'));
    press(&mut model, KeyCode::Char('s'));
    press(&mut model, KeyCode::Char('s'));
    let text = shown(&mut model, 80, 24);
    assert!(text.contains("DEPTHv"), "sorted by depth, the deepest first: {text}");
    let rings: Vec<&str> =
        text.lines().filter(|line| line.contains(" > ")).map(|line| &line[2..12]).collect();
    assert_eq!(rings, ["binance > ", "kraken > s", "binance > "]);
    press(&mut model, KeyCode::Char('r'));
    assert!(shown(&mut model, 80, 24).contains("DEPTH^"));
    press(&mut model, KeyCode::Down);
    press(&mut model, KeyCode::Enter);
    let text = shown(&mut model, 80, 24);
    assert!(text.contains("kraken > strategies") && text.contains("ring_capacity_events: 8192"), "{text}");
    press(&mut model, KeyCode::Esc);
    press(&mut model, KeyCode::Esc);
    assert_eq!(model.view, View::Overview);
    press(&mut model, KeyCode::BackTab);
    let text = shown(&mut model, 80, 24);
    assert!(text.contains("lost_pinning") && text.contains("60.50 s"), "{text}");
    assert!(!pressed(&mut model, KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE)));
}

#[test]
fn the_view_of_latencies_has_each_stage_and_a_curve() {
    let mut model = model(false);
    model.show(View::Latency);
    let text = shown(&mut model, 80, 24);
    assert!(text.contains("the highest is 2.10ms") && text.contains('█'), "{text}");
    assert_eq!(row(&text, "handler:momentum")[1..], ["strategies", "1000", "800ns", "3.00us", "40.0us"]);
}

#[test]
fn a_small_screen_keeps_the_selected_row_in_sight() {
    let mut model = model(false);
    model.row = 7;
    let text = shown(&mut model, 80, 12);
    assert!(text.contains("momentum"), "{text}");
    model.row = 0;
    assert!(shown(&mut model, 80, 12).contains("lines more"));
    assert!(shown(&mut model, 30, 5).contains("a larger window"));
}

#[test]
fn a_gateway_that_says_less_or_was_started_anew_is_shown_too() {
    let mut model = Model::default();
    shown(&mut model, 80, 24);
    model.take(&json!({ "version": "0.0.9", "providers": [{ "name": "old" }], "orders": { "open": 3 } }));
    let text = shown(&mut model, 80, 24);
    assert!(text.contains("old") && !text.contains("ORDERS"), "{text}");
    model.take(&status(50, false));
    model.take(&status(1, false));
    assert!(shown(&mut model, 80, 24).contains("- msg/s"), "no rate over a restart");
}

#[test]
fn orders_stand_by_provider_and_by_consumer() {
    let mut model = Model::default();
    for second in 1..=2 {
        let mut status = status(second, false);
        status["orders"] = json!([{
            "name": "binance", "session": "live", "open_orders": 2, "unknown_orders": 0, "orders_total": 40 * second,
            "acks_total": 39 * second, "fills_total": 5, "rejected_total": 1, "refused_total": 0, "journal_failed": false,
            "accounts": [{
                "consumer": "maker", "counts": { "unknown_total": 0, "acks_total": 39 * second, "fills_total": 5 },
                "positions": [{ "symbol": "BTC-USDT", "qty": "0.003" }],
            }],
        }]);
        model.take(&status);
    }
    model.view = View::Consumers;
    let text = shown(&mut model, 120, 24);
    assert_eq!(row(&text, "binance  ")[..8], ["binance", "live", "2", "0", "40", "78", "5", "1"]);
    let maker = row(&text, "binance < maker");
    assert_eq!(maker[..5], ["binance", "<", "maker", "0", "78"]);
    assert_eq!(maker[maker.len() - 2..], ["0.003", "BTC-USDT"]);
}
