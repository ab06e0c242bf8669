//! Merge rules that come and go over a running gateway: two simulated venues, a merge shard, two consumers, an operator.

#![cfg(feature = "simulate")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::consumer::{Consumer, Context};
use engine::control::{MergeWanted, WantedRule};
use engine::event::control::{Command, Outcome};
use engine::event::{Body, BookStatus, Event, Proof};
use engine::ids::ProviderId;
use engine::merge::{BboSource, MergeKind};
use serde_json::{Value, json};
use shards::command::ctl::ask;
use shards::control::thread::Control;
use shards::control::view::View;
use shards::launch::{Factory, Gateway, launch};
use shards::live::Board;
use shards::topology::{Against, read};
use simvenues::{BinanceConfig, Product, Server, VenueConfig, default_instruments};

/// How long a thing may take before the test gives up. Nothing is asserted about how long it did take.
const PATIENCE: Duration = Duration::from_mins(1);
const POOLS: &str =
    "{frames: 200, raws: 200, events: 600, merged: 3, order_requests: 20, execution_reports: 20}";

/// What one consumer saw.
#[derive(Debug, Default)]
struct Seen {
    /// By rule or provider, and symbol: events that were complete.
    events: BTreeMap<(String, String), u64>,
    /// Answers of the control bus.
    acks: Vec<(u64, Command)>,
    results: Vec<(u64, Command, Outcome, u32)>,
    /// Proved legs of the newest best bid and offer that came from books.
    proved_legs: usize,
    wrong: Vec<String>,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Seen>>);

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, rule: &str, symbol: &str) -> u64 {
        self.seen().events.get(&(rule.to_owned(), symbol.to_owned())).copied().unwrap_or(0)
    }

    fn has_result(&self, wanted: (u64, Command, Outcome)) -> bool {
        self.seen().results.iter().any(|&(number, command, outcome, _)| (number, command, outcome) == wanted)
    }
}

/// What a consumer does from inside, in its batches.
#[derive(Clone, Default)]
struct Orders(Arc<Mutex<Vec<Inside>>>);

enum Inside {
    Join(MergeWanted),
    Leave(&'static str),
    Trade(bool),
}

struct Watcher {
    shared: Shared,
    orders: Orders,
}

impl Consumer for Watcher {
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        let mut seen = self.shared.seen();
        match event.body {
            Body::ControlAck(ack) => return seen.acks.push((ack.request, ack.command)),
            Body::ControlResult(result) => {
                let (request, command, outcome) = (result.request, result.command, result.outcome);
                return seen.results.push((request, command, outcome, result.routing_version));
            }
            Body::Merged(head) if head.providers_present != head.providers_expected => {
                seen.wrong.push("a partial window".to_owned());
            }
            Body::MergedBbo(best) => {
                let proved = best
                    .legs()
                    .iter()
                    .filter(|leg| leg.status == BookStatus::Proved && leg.proof == Proof::Continuity);
                seen.proved_legs = proved.count();
            }
            _ => {}
        }
        let Some(facts) = context.catalog().stream(event.header.provider, event.header.stream) else {
            return seen.wrong.push(format!("no name for {}", event.header.stream));
        };
        if event.completes() {
            *seen.events.entry((facts.venue_symbol.clone(), facts.symbol.clone())).or_default() += 1;
        }
    }

    fn timer_every_ns(&self) -> Option<u64> {
        Some(10_000_000)
    }

    fn on_timer(&mut self, context: &mut Context<'_>) {
        for order in self.orders.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let asked = match order {
                Inside::Join(wanted) => context.merged_subscribe(wanted),
                Inside::Leave(rule) => context.merged_unsubscribe(rule),
                Inside::Trade(on) => context.set_trading(on),
            };
            asked.expect("few requests wait");
        }
    }
}

struct World {
    venues: Vec<Server>,
    gateway: Gateway,
    board: Board,
    control: Control,
    alpha: Shared,
    beta: Shared,
    inside: Orders,
}

fn venue(seed: u64) -> Server {
    let mut config = BinanceConfig::of(Product::Spot);
    config.instruments = default_instruments("USDT")
        .into_iter()
        .filter(|spec| ["BTC-USDT", "ETH-USDT", "SOL-USDT"].contains(&spec.symbol().as_str()))
        .collect();
    config.messages_per_instrument_per_s = 50.0;
    config.book_levels = 100;
    config.seed = seed;
    simvenues::start(SocketAddr::from(([127, 0, 0, 1], 0)), VenueConfig::Binance(config))
        .expect("a free port")
}

fn topology_text(venues: &[Server]) -> String {
    let mut text = format!(
        "version: 1\nhost: shared\nshards:\n  \
         - {{name: md0, core: 0, role: provider, pools: {POOLS}, order_ring_requests: 64}}\n  \
         - {{name: merge0, core: 0, role: merger, pools: {POOLS}, ring_events: 4096, \
         critical_ring_events: 64, spill_events: 4096}}\n  \
         - {{name: merge1, core: 0, role: merger, pools: {POOLS}, ring_events: 4096, \
         critical_ring_events: 64, spill_events: 4096}}\n  \
         - {{name: one, core: 0, role: consumer, ring_events: 4096, critical_ring_events: 64, spill_events: 4096}}\n  \
         - {{name: two, core: 0, role: consumer, ring_events: 4096, critical_ring_events: 64, spill_events: 4096}}\n\
         providers:\n"
    );
    for (name, server) in ["left", "right"].iter().zip(venues) {
        let address = server.address();
        let _ = writeln!(
            text,
            "  - {{name: {name}, venue: binance, product: spot, shard: md0, endpoints: {{websocket: \
             ws://{address}, rest: http://{address}}}, lines: 1, instruments: [BTC-USDT, ETH-USDT], \
             channels: [trade, book], book: {{depth_max: 1000, snapshot_limit: 100, verify_s: 180}}, \
             rest_weight_share: 0.4, reorder: {{lateness_ms: 150, flush_ms: 50, held_events_max: 200}}}}"
        );
    }
    text + "merges:\n  \
         - {name: fixed, shard: merge0, kind: trade, inputs: {left: [BTC-USDT], right: [BTC-USDT]}, \
         window_s: 1, count: 1000, partial: suppress}\n\
         consumers:\n  \
         - {name: alpha, kind: watcher, shard: one, trading: false, on_panic: disable, subscriptions: [\
         {merge: fixed, delivery: lossless}, \
         {provider: left, instruments: [ETH-USDT], channels: [trade], delivery: {trade: lossless}}]}\n  \
         - {name: beta, kind: watcher, shard: two, trading: false, on_panic: disable, subscriptions: [\
         {provider: left, instruments: [BTC-USDT], channels: [trade], delivery: {trade: lossless}}]}\n\
         control: {listen: 127.0.0.1:0, core: any}\nreport: {dir: report, interval_ms: 1000}\n"
}

impl World {
    fn new() -> Self {
        let venues = vec![venue(1), venue(2)];
        let against = Against { cores: None, consumer_kinds: &["watcher"], simulated_lists: None };
        let text = topology_text(&venues);
        let topology = read("test", &text, against).unwrap_or_else(|errors| panic!("{errors}"));
        let (alpha, beta, inside) = (Shared::default(), Shared::default(), Orders::default());
        let mut gateway = launch(topology, &|plan, _| {
            let is_beta = plan.name == "beta";
            let shared = if is_beta { beta.clone() } else { alpha.clone() };
            let orders = if is_beta { inside.clone() } else { Orders::default() };
            let make: Factory =
                Box::new(move || Box::new(Watcher { shared: shared.clone(), orders: orders.clone() }));
            Ok(make)
        })
        .unwrap_or_else(|error| panic!("{error}"));
        let control = Control::start(gateway.take_control().expect("not taken yet")).expect("a free port");
        let mut world = Self { venues, gateway, board: Board::default(), control, alpha, beta, inside };
        world.until("ready", |world| world.get("/readyz").0 == 200);
        world
    }

    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let Self { gateway, board, .. } = self;
            gateway.collector.collect();
            gateway.poll_statuses(|status| board.take(status));
            while gateway.poll_report().is_some() {}
            assert_eq!(self.gateway.fallen(), None);
            self.control.show(View::of(
                &self.gateway.collector,
                self.gateway.loop_counters(),
                &self.board,
                1,
            ));
            if is_so(self) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let (alpha, beta) = (format!("{:?}", self.alpha.seen()), format!("{:?}", self.beta.seen()));
        panic!("{what}: not within {PATIENCE:?}; {:?}\n{alpha}\n{beta}", self.get("/merges"));
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        ask(self.control.address(), method, path, Some(body), None).expect("the endpoint answers")
    }

    fn get(&self, path: &str) -> (u16, Value) {
        ask(self.control.address(), "GET", path, None, None).expect("the endpoint answers")
    }

    /// Streams subscribed at both venues.
    fn venue_streams(&self) -> usize {
        self.venues.iter().map(|venue| venue.stats().subscriptions).sum()
    }

    fn order(&self, order: Inside) {
        self.inside.0.lock().unwrap_or_else(PoisonError::into_inner).push(order);
    }

    fn end(mut self) {
        self.control.stop();
        let ended = self.gateway.stop();
        assert!(ended.panicked.is_empty(), "{:?}", ended.panicked);
        let mut pushed: BTreeMap<usize, u64> = BTreeMap::new();
        for provider in &ended.providers {
            assert_eq!((provider.unbalanced(), provider.outstanding.len()), (None, 0));
        }
        for merger in &ended.mergers {
            assert_eq!((merger.unbalanced(), merger.outstanding.len()), (None, 0), "{merger:?}");
            let (totals, _) = merger.totals();
            let made = totals.windows_complete_total + totals.best_changes_total;
            assert_eq!(merger.counts.merged_total, made, "ended rules are counted too");
        }
        let providers = ended.providers.iter().map(|provider| &provider.outputs);
        for (shard, state, counts, in_flight) in
            providers.chain(ended.mergers.iter().map(|merger| &merger.outputs)).flatten()
        {
            *pushed.entry(shard.index()).or_default() += state.pushed_total;
            assert_eq!((counts.dropped_total, *in_flight), (0, 0), "to shard {shard}");
        }
        let received = ended.mergers.iter().map(|merger| (merger.index, merger.received_total));
        let received =
            received.chain(ended.consumers.iter().map(|shard| (shard.index, shard.received_total)));
        for (shard, received) in received {
            assert_eq!(pushed.remove(&usize::from(shard)).unwrap_or(0), received, "shard {shard}");
        }
        for shared in [&self.alpha, &self.beta] {
            assert!(shared.seen().wrong.is_empty(), "{:?}", shared.seen().wrong);
        }
    }
}

fn windows(name: &str, symbol: &str) -> Value {
    json!({
        "name": name, "kind": "trade", "inputs": { "left": [symbol], "right": [symbol] },
        "window_s": 1, "count": 1000, "partial": "suppress",
    })
}

#[test]
fn a_rule_begins_at_the_venues_and_ends_there_and_nobody_else_notices() {
    let mut world = World::new();
    let before = world.venue_streams();
    assert_eq!(before, 8, "two venues, two instruments, two channels");
    world.until("windows of the rule of the topology", |world| world.alpha.count("fixed", "BTC-USDT") >= 1);

    // An instrument that no connection carries.
    let mut rule = windows("sol", "SOL-USDT");
    rule["consumer"] = json!("beta");
    // No ring leads to this shard yet, and none leads away from it.
    rule["shard"] = json!("merge1");
    let (status, answer) = world.send("POST", "/v1/merges", &rule);
    assert_eq!((status, &answer["streams_changed"]), (200, &json!(1)), "{answer}");
    assert_eq!(world.venue_streams(), before + 2, "it was subscribed before the answer, or is asked for");
    world.until("its windows", |world| world.beta.count("sol", "SOL-USDT") >= 2);
    assert!(world.beta.has_result((0, Command::Merge, Outcome::Done)));
    assert_eq!(world.beta.seen().acks, [(0, Command::Merge)]);
    let (status, again) = world.send("POST", "/merges", &rule);
    assert_eq!((status, &again["changed"]), (200, &json!(false)), "idempotent");
    let (status, _) = world.send("POST", "/merges", &{
        let mut other = rule.clone();
        other["count"] = json!(2);
        other
    });
    assert_eq!(status, 409, "another rule of the same name");

    // A stream that a merge shard reads does not end with its last consumer.
    let one = |instrument: &str, channels: &[&str]| json!({ "consumer": "beta", "provider": "left", "instruments": [instrument], "channels": channels });
    world.send("POST", "/subscriptions", &one("SOL-USDT", &["trade"]));
    world.until("trades of SOL", |world| world.beta.count("SOLUSDT", "SOL-USDT") >= 1);
    assert_eq!(world.send("DELETE", "/subscriptions", &one("SOL-USDT", &["trade"])).0, 200);
    assert_eq!(world.send("DELETE", "/subscriptions", &one("BTC-USDT", &["trade"])).0, 200);
    let seen = [world.alpha.count("fixed", "BTC-USDT"), world.beta.count("sol", "SOL-USDT")];
    world.until("windows of both go on", |world| {
        world.alpha.count("fixed", "BTC-USDT") >= seen[0] + 2
            && world.beta.count("sol", "SOL-USDT") >= seen[1] + 2
    });
    assert_eq!(world.venue_streams(), before + 2);
    // Metrics and status know each rule by its name, as long as it is in force.
    let rule_total = |world: &World, name: &str| {
        let (_, text) = world.get("/metrics");
        let series =
            format!("meltica_merge_rule_windows_complete_total{{shard=\"merge1\",rule=\"{name}\"}} ");
        text.as_str().expect("text").lines().find_map(|line| line.strip_prefix(&series)?.parse::<f64>().ok())
    };
    world.until("its metrics", |world| rule_total(world, "sol").is_some_and(|total| total >= 2.0));
    let status = world.get("/status").1;
    let shown = &status["mergers"][1]["by_rule"][0];
    assert_eq!(shown["name"], "sol", "{status}");
    assert!(shown["windows_complete_total"].as_u64() >= Some(2), "{shown}");
    assert_eq!(rule_total(&world, "fixed"), None, "that one is the other shard's");

    // A second consumer of the same rule, then nobody; the rule stays until it is ended.
    let merged = |consumer: &str| json!({ "consumer": consumer, "merge": "sol" });
    assert_eq!(world.send("POST", "/subscriptions", &merged("alpha")).1["streams_changed"], json!(1));
    assert_eq!(world.send("POST", "/subscriptions", &merged("alpha")).1["streams_changed"], json!(0));
    world.until("windows for alpha", |world| world.alpha.count("sol", "SOL-USDT") >= 1);
    let (_, list) = world.get("/subscriptions");
    let held = list["consumers"][0]["streams"].as_array().expect("a list");
    assert!(held.iter().any(|stream| stream["merge"] == "sol" && stream["provider"] == "merge1"), "{list}");
    assert_eq!(world.send("DELETE", "/subscriptions", &merged("alpha")).1["streams_changed"], json!(1));
    let (_, list) = world.get("/merges");
    assert_eq!(list["shards"][1]["rules"][0]["consumers"][0]["name"], json!("beta"), "{list}");

    assert_eq!(world.send("DELETE", "/merges", &json!({ "name": "sol" })).1["changed"], json!(true));
    assert_eq!(world.send("DELETE", "/merges", &json!({ "name": "sol" })).1["changed"], json!(false));
    world.until("unsubscribed at the venues", |world| world.venue_streams() == before);
    world.until("beta hears that it lost them", |world| {
        world.beta.has_result((0, Command::Unsubscribe, Outcome::Done))
    });
    let (_, list) = world.get("/merges");
    assert_eq!(list["shards"][1]["rules"], json!([]));
    world.until("its metrics end", |world| rule_total(world, "sol").is_none());
    let before = world.alpha.count("fixed", "BTC-USDT");
    world.until("the other rule goes on", |world| world.alpha.count("fixed", "BTC-USDT") >= before + 2);
    // Its name is free again, and its windows begin anew.
    assert_eq!(world.send("POST", "/merges", &rule).0, 200);
    let before = world.beta.count("sol", "SOL-USDT");
    world.until("windows again", |world| world.beta.count("sol", "SOL-USDT") > before);
    world.end();
}

#[test]
fn best_prices_come_from_proved_books_when_a_consumer_asks_for_them_from_inside() {
    let mut world = World::new();
    let before = world.venue_streams();
    let inputs = |symbol: &str| {
        vec![(ProviderId(0), vec![symbol.to_owned()]), (ProviderId(1), vec![symbol.to_owned()])]
    };
    let rule = WantedRule {
        kind: MergeKind::Bbo(BboSource::BEST_OF_BOOK),
        inputs: inputs("SOL-USDT"),
        window_ns: 0,
        count: 0,
        leg_age_ns_max: u64::MAX,
    };
    let wanted = MergeWanted { name: "inside".to_owned(), rule: Some(rule), delivery: None };
    world.order(Inside::Join(wanted.clone()));
    world.until("best prices of two proved books", |world| {
        world.beta.count("inside", "SOL-USDT") >= 5 && world.beta.seen().proved_legs == 2
    });
    assert!(world.beta.has_result((1, Command::Merge, Outcome::Done)));
    assert_eq!(world.venue_streams(), before + 2);
    world.until("the new books are proved", |world| world.get("/readyz").0 == 200);

    world.order(Inside::Join(wanted));
    world.until("again: unchanged", |world| world.beta.has_result((2, Command::Merge, Outcome::Unchanged)));
    let nobody = MergeWanted { name: "nothing".to_owned(), rule: None, delivery: None };
    world.order(Inside::Join(nobody));
    world.until("no such rule", |world| world.beta.has_result((3, Command::Merge, Outcome::Refused)));
    let fixed = MergeWanted { name: "fixed".to_owned(), rule: None, delivery: None };
    world.order(Inside::Join(fixed));
    world.until("a rule that was there", |world| world.beta.count("fixed", "BTC-USDT") >= 1);
    world.order(Inside::Trade(true));
    world.until("its own switch", |world| world.gateway.switches.may_trade(1));

    // Its rule ends with it; the rule of the topology stays.
    world.order(Inside::Leave("inside"));
    world.order(Inside::Leave("fixed"));
    world.until("both given up", |world| world.beta.has_result((7, Command::Unsubscribe, Outcome::Done)));
    world.until("unsubscribed at the venues", |world| world.venue_streams() == before);
    let (_, list) = world.get("/merges");
    assert_eq!(list["shards"][0]["rules"][0]["name"], json!("fixed"), "{list}");
    assert_eq!(list["shards"][0]["rules"].as_array().map(Vec::len), Some(1));
    let before = world.alpha.count("fixed", "BTC-USDT");
    world.until("windows for alpha", |world| world.alpha.count("fixed", "BTC-USDT") > before);
    world.end();
}

#[test]
fn a_bad_rule_is_refused_with_what_would_fit_and_nothing_is_half_applied() {
    let mut world = World::new();
    let (before, streams) = (world.get("/merges").1, world.venue_streams());
    let check = |key: &str, value: Value, status: u16, fits: &str| {
        let mut body = windows("bad", "SOL-USDT");
        body[key] = value;
        let (found, answer) = world.send("POST", "/merges", &body);
        assert_eq!(found, status, "{body}: {answer}");
        assert!(answer["fits"].as_str().unwrap_or_default().contains(fits), "{body}: {answer}");
    };
    check("inputs", json!({ "left": ["SOL-USDT"] }), 422, "2 to 8");
    check("inputs", json!({}), 422, "2 to 8");
    check("inputs", json!({ "left": ["SOL-USDT"], "middle": ["SOL-USDT"] }), 404, "left, right");
    check("inputs", json!({ "left": ["SOL-USDT"], "right": ["NOPE-USDT"] }), 422, "a symbol that it trades");
    check(
        "inputs",
        json!({ "left": ["SOL-USDT", "BTC-USDT"], "right": ["SOL-USDT"] }),
        422,
        "2, as the first",
    );
    check("inputs", json!({ "left": [], "right": [] }), 422, "BASE-QUOTE");
    check("inputs", json!({ "left": ["sol"], "right": ["sol"] }), 422, "BASE-QUOTE");
    let four = ["BTC-USDT", "ETH-USDT", "SOL-USDT", "SOL-USDT"];
    check("inputs", json!({ "left": four, "right": four }), 422, "2 more, 3 in all");
    check("window_s", json!(0), 422, "1 to 3600");
    check("window_s", json!(3_601), 422, "1 to 3600");
    check("count", json!(1), 422, "2 (one event a provider)");
    check("kind", json!("book"), 422, "trade, ticker");
    check("kind", json!("kline"), 422, "kline 1m");
    check("kind", json!("kline 7m"), 422, "kline 1m");
    check("leg_age_ms", json!(5), 422, "bbo");
    check("consumer", json!("gamma"), 404, "alpha, beta");
    check("shard", json!("md0"), 422, "merge0, merge1");
    check("name", json!("Not A Name"), 422, "a-z");
    check("name", json!("fixed"), 409, "another name");
    check("delivery", json!("book"), 422, "lossless or latest");
    check("partial", json!("emit"), 422, "suppress");
    check("colour", json!(1), 400, "inputs");
    let (status, answer) =
        world.send("POST", "/subscriptions", &json!({ "consumer": "beta", "merge": "bad" }));
    assert_eq!((status, &answer["fits"]), (404, &json!("fixed")));
    let mut after = world.get("/merges").1;
    after["routing_version"] = before["routing_version"].clone();
    assert_eq!((after, world.venue_streams()), (before, streams));
    let before = world.alpha.count("fixed", "BTC-USDT");
    world.until("the rule in force goes on", |world| world.alpha.count("fixed", "BTC-USDT") > before + 1);
    assert_eq!(
        world.send("POST", "/merges", &windows("good", "SOL-USDT")).0,
        200,
        "the same with good values"
    );
    world.end();
}
