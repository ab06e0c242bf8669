//! The control endpoint of a whole gateway over loopback: a simulated venue, two consumer shards, and operators.

#![cfg(feature = "simulate")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::channel::Channel;
use engine::consumer::{Consumer, Context};
use engine::control::Wanted;
use engine::event::control::Outcome;
use engine::event::{Body, Event, Flags};
use engine::ids::ProviderId;
use engine::provider::Happening;
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

/// What one consumer saw.
#[derive(Debug, Default)]
struct Seen {
    events: AtomicU64,
    /// Its next event is too much for it.
    falls: AtomicBool,
    notes: Mutex<Vec<Note>>,
}

/// What is worth keeping of an event.
#[derive(Clone, Debug, PartialEq)]
enum Note {
    First { symbol: String, channel: String, conflated: bool, kind: &'static str },
    Ack(u64),
    Result { request: u64, outcome: Outcome, version: u32 },
}

impl Seen {
    fn notes(&self) -> MutexGuard<'_, Vec<Note>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn first_of(&self, symbol: &str, channel: &str) -> Option<Note> {
        let is_it = |note: &&Note| matches!(note, Note::First { symbol: s, channel: c, .. } if s == symbol && c == channel);
        self.notes().iter().find(is_it).cloned()
    }
}

/// Notes the first event of each stream and everything critical; asks for a stream when told to.
struct Watcher {
    seen: Arc<Seen>,
    known: Vec<(u8, u32)>,
    asks: bool,
}

impl Consumer for Watcher {
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        match event.body {
            Body::ControlAck(ack) => return self.seen.notes().push(Note::Ack(ack.request)),
            Body::ControlResult(result) => {
                let (request, outcome, version) = (result.request, result.outcome, result.routing_version);
                return self.seen.notes().push(Note::Result { request, outcome, version });
            }
            _ => {}
        }
        self.seen.events.fetch_add(1, Ordering::Relaxed);
        assert!(!self.seen.falls.swap(false, Ordering::Relaxed), "too much for it");
        let key = (event.header.provider.0, event.header.stream.0);
        if !self.known.contains(&key) {
            self.known.push(key);
            let facts =
                context.catalog().stream(event.header.provider, event.header.stream).expect("it is named");
            self.seen.notes().push(Note::First {
                symbol: facts.symbol.clone(),
                channel: facts.channel.to_string(),
                conflated: event.header.flags.has(Flags::CONFLATED),
                kind: event.kind().name(),
            });
        }
        if std::mem::take(&mut self.asks) {
            let wanted = Wanted::new(ProviderId(0), "ETH-USDT", Channel::Trade).expect("short");
            context.subscribe(wanted).expect("the first request");
        }
    }
}

/// A gateway with two consumers, its venue, and what they saw.
struct World {
    venue: Server,
    gateway: Gateway,
    board: Board,
    control: Control,
    seen: Vec<Arc<Seen>>,
    /// Lines that another one has taken over from.
    rolled: u32,
}

/// Sent always; only one gateway asks for it.
const TOKEN: &str = "correct horse";

const TOPOLOGY: &str = "
version: 1
host: shared
shards:
  - {name: md0, core: 0, role: provider, pools: {frames: 200, raws: 200, events: 300, merged: 50, order_requests: 20, execution_reports: 20}, order_ring_requests: 64}
  - {name: one, core: 0, role: consumer, ring_events: 8192, critical_ring_events: 256, spill_events: 8192}
  - {name: two, core: 0, role: consumer, ring_events: 8192, critical_ring_events: 256, spill_events: 8192}
providers:
  - name: binance
    venue: binance
    product: spot
    shard: md0
    endpoints: {websocket: 'ws://ADDRESS', rest: 'http://ADDRESS'}
    lines: 1
    instruments: [BTC-USDT, ETH-USDT]
    channels: [trade, book]
    book: {depth_max: 1000, snapshot_limit: 100, verify_s: 180}
    rest_weight_share: 0.8
    reorder: {lateness_ms: 150, flush_ms: 50, held_events_max: 200}
merges: []
consumers:
  - name: alpha
    kind: watcher
    shard: one
    trading: true
    on_panic: restart
    subscriptions:
      - {provider: binance, instruments: [BTC-USDT], channels: [trade, book], delivery: {trade: lossless, book: book}, book_depth: 20}
  - name: beta
    kind: watcher
    shard: two
    trading: false
    on_panic: restart
    subscriptions:
      - {provider: binance, instruments: [BTC-USDT], channels: [trade], delivery: {trade: lossless}}
control: {listen: '127.0.0.1:0', core: any}
report: {dir: report, interval_ms: 1000}
";

impl World {
    fn new(beta_asks: bool) -> Self {
        Self::with(beta_asks, "core: any")
    }

    fn with(beta_asks: bool, control: &str) -> Self {
        let mut config = BinanceConfig::of(Product::Spot);
        config.instruments = default_instruments("USDT")
            .into_iter()
            .filter(|spec| ["BTC-USDT", "ETH-USDT", "SOL-USDT"].contains(&spec.symbol().as_str()))
            .collect();
        config.messages_per_instrument_per_s = 100.0;
        config.book_levels = 100;
        let venue = simvenues::start(SocketAddr::from(([127, 0, 0, 1], 0)), VenueConfig::Binance(config))
            .expect("a free port");
        let text = TOPOLOGY.replace("ADDRESS", &venue.address().to_string()).replace("core: any", control);
        let against = Against { cores: None, consumer_kinds: &["watcher"], simulated_lists: None };
        let topology = read("test", &text, against).unwrap_or_else(|errors| panic!("{errors}"));
        let seen: Vec<Arc<Seen>> = vec![Arc::default(), Arc::default()];
        let shared = seen.clone();
        let mut gateway = launch(topology, &|plan, _| {
            let seen = Arc::clone(&shared[usize::from(plan.name == "beta")]);
            let asks = beta_asks && plan.name == "beta";
            let make: Factory =
                Box::new(move || Box::new(Watcher { seen: Arc::clone(&seen), known: Vec::new(), asks }));
            Ok(make)
        })
        .unwrap_or_else(|error| panic!("{error}"));
        let control = Control::start(gateway.take_control().expect("not taken yet")).expect("a free port");
        let mut world = Self { venue, gateway, board: Board::default(), control, seen, rolled: 0 };
        world.until("ready", |world| world.get("/readyz").0 == 200);
        world
    }

    fn show(&mut self) {
        let Self { gateway, board, .. } = self;
        gateway.collector.collect();
        gateway.poll_statuses(|status| board.take(status));
        while let Some(report) = gateway.poll_report() {
            self.rolled += u32::from(matches!(
                report.happening,
                shards::happened::Happened::Feed(Happening::Rolled { .. })
            ));
        }
        assert_eq!(self.gateway.fallen(), None);
        self.control.show(View::of(&self.gateway.collector, self.gateway.loop_counters(), &self.board, 1));
    }

    /// Waits until `is_so`.
    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            self.show();
            if is_so(self) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{what}: not within {PATIENCE:?}; {:?}", self.get("/readyz"));
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        ask(self.control.address(), method, path, body, Some(TOKEN)).expect("the endpoint answers")
    }

    fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, None)
    }

    fn change(&self, method: &str, consumer: &str, symbols: Value, channels: Value) -> (u16, Value) {
        let body = json!({
            "consumer": consumer, "provider": "binance", "instruments": symbols, "channels": channels,
        });
        self.send(method, "/subscriptions", Some(&body))
    }

    fn venue_streams(&self) -> usize {
        self.venue.stats().subscriptions
    }

    /// Events dropped, gaps, lost lines and resyncs so far: what a change must not add to.
    fn disturbances(&self) -> u64 {
        let dropped = |status: &shards::status::ProviderStatus| {
            status.outputs.iter().map(|output| output.counts.dropped_total).sum::<u64>()
        };
        self.board
            .providers()
            .map(|status| {
                dropped(status) + status.counts.gaps_total + status.lost_total + status.counts.resyncs_total
            })
            .sum()
    }

    fn end(mut self) {
        self.control.stop();
        let ended = self.gateway.stop();
        assert!(ended.panicked.is_empty(), "{:?}", ended.panicked);
        for provider in &ended.providers {
            assert_eq!(provider.unbalanced(), None);
        }
    }
}

#[test]
fn a_stream_begins_under_load_for_one_consumer_and_ends_at_the_venue_with_its_last_user() {
    let mut world = World::new(false);
    let before = (world.venue_streams(), world.disturbances());
    assert_eq!(before.0, 4, "two instruments, two channels");

    // An instrument that no connection carries, and that the provider did not know.
    let began = Instant::now();
    let (status, answer) = world.change("POST", "beta", json!(["SOL-USDT"]), json!(["trade", "book"]));
    assert_eq!(
        (status, &answer["changed"], &answer["streams_changed"]),
        (200, &json!(true), &json!(2)),
        "{answer}"
    );
    let version = answer["routing_version"].as_u64().expect("a number");
    assert!(version > 1);
    world.until("a trade of SOL", |world| world.seen[1].first_of("SOL-USDT", "trade").is_some());
    eprintln!("first event {:?} after the request was sent", began.elapsed());
    world.until("a book of SOL", |world| world.seen[1].first_of("SOL-USDT", "book 100ms").is_some());
    world.until("proved", |world| world.get("/readyz").0 == 200);
    assert_eq!(world.venue_streams(), before.0 + 2);
    assert!(world.seen[0].first_of("SOL-USDT", "trade").is_none(), "nobody else asked for it");

    // Again: nothing changes.
    let (status, again) = world.change("POST", "beta", json!(["SOL-USDT"]), json!(["trade", "book"]));
    assert_eq!(
        (status, &again["changed"], again["routing_version"].as_u64()),
        (200, &json!(false), Some(version))
    );

    // A second user; then the first one goes: the venue notices nothing.
    let (status, _) = world.change("POST", "alpha", json!(["SOL-USDT"]), json!(["trade"]));
    assert_eq!(status, 200);
    world.until("a trade of SOL for alpha", |world| world.seen[0].first_of("SOL-USDT", "trade").is_some());
    let (status, _) = world.change("DELETE", "beta", json!(["SOL-USDT"]), json!(["trade"]));
    assert_eq!((status, world.venue_streams()), (200, before.0 + 2));
    let events = world.seen[0].events.load(Ordering::Relaxed);
    world.until("more for alpha", |world| world.seen[0].events.load(Ordering::Relaxed) > events + 50);

    // The last user goes.
    let (status, _) = world.change("DELETE", "alpha", json!(["SOL-USDT"]), json!(["trade"]));
    assert_eq!(status, 200);
    let (status, _) = world.change("DELETE", "beta", json!(["SOL-USDT"]), json!(["book"]));
    assert_eq!(status, 200);
    world.until("unsubscribed at the venue", |world| world.venue_streams() == before.0);
    let (status, again) = world.change("DELETE", "beta", json!(["SOL-USDT"]), json!(["book"]));
    assert_eq!((status, &again["changed"]), (200, &json!(false)));

    // And it comes back, with a book that is proved anew.
    let (status, _) = world.change("POST", "alpha", json!(["SOL-USDT"]), json!(["book"]));
    assert_eq!(status, 200);
    world.until("proved again", |world| {
        world.get("/readyz").0 == 200 && world.seen[0].first_of("SOL-USDT", "book 100ms").is_some()
    });
    assert_eq!(world.disturbances(), before.1, "nothing was dropped, lost or resynchronised meanwhile");
    world.end();
}

#[test]
fn a_newcomer_to_a_running_book_begins_with_a_snapshot_and_hears_of_its_commands() {
    let mut world = World::new(true);
    world.until("the stream that beta asked for from inside", |world| {
        world.seen[1].first_of("ETH-USDT", "trade").is_some()
    });
    let told = |note: &Note| matches!(note, Note::Result { request: 1, outcome: Outcome::Done, .. });
    world.until("its result", |world| world.seen[1].notes().iter().any(told));
    assert!(world.seen[1].notes().contains(&Note::Ack(1)));

    let (status, answer) = world.change("POST", "beta", json!(["BTC-USDT"]), json!(["book"]));
    assert_eq!(status, 200, "{answer}");
    world.until("the book", |world| world.seen[1].first_of("BTC-USDT", "book 100ms").is_some());
    let first = world.seen[1].first_of("BTC-USDT", "book 100ms");
    assert!(
        matches!(first, Some(Note::First { conflated: true, kind: "BookSnapshot", .. })),
        "it runs already, so it begins with a snapshot: {first:?}"
    );
    world.end();
}

#[test]
fn what_does_not_fit_is_refused_with_what_would_and_changes_nothing() {
    let world = World::new(false);
    let (_, before) = world.get("/subscriptions");
    let check = |method: &str, path: &str, body: Value, status: u16, fits: &str| {
        let (found, answer) = world.send(method, path, Some(&body));
        assert_eq!(found, status, "{method} {path} {body}: {answer}");
        let text = answer["fits"].as_str().unwrap_or_default();
        assert!(text.contains(fits), "{method} {path} {body}: {answer}");
    };
    let order = |key: &str, value: Value| {
        let mut body = json!({
            "consumer": "beta", "provider": "binance", "instruments": ["ETH-USDT"], "channels": ["book"],
        });
        body[key] = value;
        body
    };
    let subscriptions = "/subscriptions";
    check("POST", subscriptions, order("consumer", json!("gamma")), 404, "alpha, beta");
    check("POST", subscriptions, order("provider", json!("kraken")), 404, "binance");
    check("POST", subscriptions, order("instruments", json!(["NOPE-USDT"])), 422, "a symbol that it trades");
    check("POST", subscriptions, order("instruments", json!(["ETH-USDT", "NOPE-USDT"])), 422, "trades");
    check("POST", subscriptions, order("instruments", json!("btc")), 400, "all");
    check("POST", subscriptions, order("channels", json!(["kline 7m"])), 422, "kline");
    check("POST", subscriptions, order("channels", json!(["book 1000ms"])), 422, "book 100ms");
    check("POST", subscriptions, order("delivery", json!({ "book": "latest" })), 422, "book");
    check("POST", subscriptions, order("book_depth", json!(5000)), 422, "1000");
    check("POST", subscriptions, order("colour", json!(1)), 400, "consumer");
    check("POST", subscriptions, json!([]), 400, "consumer");
    check("PUT", "/consumers/gamma/trading", json!({ "trading": "on" }), 404, "alpha");
    check("PUT", "/consumers/beta/trading", json!({ "trading": 7 }), 400, "on");
    check("POST", "/kill", json!({}), 400, "all");
    check("GET", "/nowhere", json!({}), 404, "GET /status");
    check("POST", "/status", json!({}), 405, "GET");
    assert_eq!(world.get("/subscriptions").1, before);
    world.end();
}

#[test]
fn lines_are_rolled_on_command_and_a_second_command_adds_nothing() {
    let mut world = World::new(false);
    let name = world.get("/status").1["providers"][0]["name"].as_str().expect("a name").to_owned();
    let path = format!("/providers/{name}/roll");
    let before = world.disturbances();
    let (status, answer) = world.send("POST", &path, None);
    assert_eq!((status, &answer), (200, &json!({ "provider": name, "lines": 1, "under_way": false })));
    let (status, answer) = world.send("POST", &path, None);
    assert_eq!((status, &answer), (200, &json!({ "provider": name, "lines": 1, "under_way": true })));
    world.until("the roll", |world| world.rolled == 1);
    // When it is over, it can be asked for again.
    let mut again = false;
    world.until("another roll", |world| {
        again |= world.send("POST", &path, None).1["under_way"] == json!(false);
        again
    });
    world.until("the second", |world| world.rolled == 2);
    assert_eq!(world.disturbances(), before, "nothing is lost by it");
    let (status, answer) = world.send("POST", "/providers/nobody/roll", None);
    assert_eq!((status, answer["fits"].as_str()), (404, Some(name.as_str())));
    world.end();
}

#[test]
fn switches_move_at_once_and_every_document_is_there() {
    let mut world = World::new(false);
    let may_trade = |world: &World| [0, 1].map(|consumer| world.gateway.switches.may_trade(consumer));
    assert_eq!(may_trade(&world), [true, false]);
    let on = json!({ "trading": "on" });
    assert_eq!(world.send("PUT", "/consumers/beta/trading", Some(&on)).1["changed"], json!(true));
    assert_eq!(world.send("PUT", "/consumers/beta/trading", Some(&on)).1["changed"], json!(false));
    assert_eq!(may_trade(&world), [true, true]);
    world.send("POST", "/kill", Some(&json!({ "consumer": "all" })));
    assert_eq!(may_trade(&world), [false, false]);
    world.send("DELETE", "/kill", Some(&json!({ "consumer": "all" })));
    world.send("POST", "/kill", Some(&json!({ "consumer": "alpha" })));
    assert_eq!(may_trade(&world), [false, true]);
    let done = |note: &Note| matches!(note, Note::Result { request: 0, outcome: Outcome::Done, .. });
    world.until("alpha heard of it", |world| world.seen[0].notes().iter().any(done));

    assert_eq!(world.get("/healthz").0, 200);
    assert_eq!(world.get("/dead-letters").1["shards"].as_array().map(Vec::len), Some(3));
    // One row for each stream and shard that anything came of, and no figure below another.
    world.until("a trade came", |world| world.seen[0].events.load(Ordering::Relaxed) > 50);
    let streams = world.get("/streams").1;
    let streams = streams["streams"].as_array().expect("an array");
    assert!(!streams.is_empty());
    for stream in streams {
        let figure = |name: &str| stream[name].as_u64().unwrap_or_else(|| panic!("{name} of {stream}"));
        assert!(
            figure("events_total") > 0 && figure("latency_ns_p50") <= figure("latency_ns_p99"),
            "{stream}"
        );
        assert!(figure("latency_ns_p99") <= figure("latency_ns_max"), "{stream}");
        assert!(stream["symbol"].is_string() && stream["channel"].is_string(), "{stream}");
    }
    let status = world.get("/status").1;
    assert_eq!(status["consumers"][0]["killed"], json!(true));
    let document = world.get("/openapi.json").1;
    assert!(document["paths"]["/subscriptions"]["post"].is_object());
    assert!(document["paths"]["/streams"]["get"]["responses"]["200"]["content"].is_object());
    assert_eq!(document["paths"]["/providers/{name}/roll"]["post"]["parameters"][0]["name"], "name");

    // Every family once, with help and type, and every sample of a family that was declared.
    let (_, text) = world.get("/metrics");
    let text = text.as_str().expect("not JSON");
    let mut families: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(!families.contains(&name), "{name} twice");
            assert!(!help.is_empty());
            families.push(name);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert_eq!(rest.split(' ').next(), families.last().copied());
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
            assert_eq!(series.split('{').next(), families.last().copied(), "{line}");
        }
    }
    assert!(families.len() > 50, "{families:?}");

    // The dashboard asks only for what there is.
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/grafana/meltica.json");
    let dashboard = std::fs::read_to_string(file).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut asked = 0;
    for target in panels.iter().flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default()) {
        let query = target["expr"].as_str().expect("a query").to_owned();
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in words.filter(|word| word.starts_with("meltica_")) {
            assert!(families.contains(&name), "{name} of {query:?} is no metric");
            asked += 1;
        }
    }
    assert!(asked > 10);
    world.end();
}

#[test]
fn a_dead_letter_names_what_whose_and_why_at_the_endpoint_and_in_the_report() {
    let mut world = World::new(false);
    world.seen[0].falls.store(true, Ordering::Relaxed);
    let of_one = |world: &World| {
        let (_, found) = world.get("/dead-letters");
        let shards = found["shards"].as_array().cloned().unwrap_or_default();
        shards.into_iter().find(|shard| shard["shard"] == "one").expect("the shard")
    };
    world.until("a letter", |world| of_one(world)["letters"] != json!([]));
    let found = of_one(&world);
    let letter = &found["letters"][0];
    let expected = json!({
        "reason": "handler_panicked", "provider": "binance", "venue": "binance", "symbol": "BTC-USDT",
        "consumer": "alpha",
    });
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(letter[key], *value, "{key} of {letter}");
    }
    assert!(["trade", "book 100ms"].map(Value::from).contains(&letter["channel"]), "{letter}");
    assert!(
        letter["trace"].as_str().is_some_and(|trace| trace.contains(|c| ('1'..='f').contains(&c))),
        "{letter}"
    );
    assert!(
        ["Trade", "BookUpdate", "BookSnapshot", "BookState"].map(Value::from).contains(&letter["excerpt"]),
        "{letter}"
    );
    assert_eq!((&found["written_total"], &found["evicted_total"]), (&json!(1), &json!(0)));
    world.control.stop();
    let ended = world.gateway.stop();
    let dumped: Vec<_> = ended.consumers.iter().flat_map(|shard| &shard.letters).collect();
    assert_eq!(dumped.len(), 1);
    for key in ["reason", "symbol", "channel", "trace", "excerpt", "at_ns"] {
        assert_eq!(dumped[0][key], letter[key], "{key}");
    }
}

#[test]
fn a_token_is_asked_for_and_a_flood_of_half_requests_does_not_reach_the_data_path() {
    let file = std::env::temp_dir().join(format!("meltica-token-{}", std::process::id()));
    std::fs::write(&file, format!("{TOKEN}\n")).expect("a temporary file");
    let mut world = World::with(false, &format!("core: any, token_file: '{}'", file.display()));
    let _ = std::fs::remove_file(&file);
    let address = world.control.address();
    for wrong in [None, Some("correct hors"), Some("correct horsf"), Some("")] {
        assert_eq!(
            ask(address, "GET", "/status", None, wrong).map(|(status, _)| status),
            Ok(401),
            "{wrong:?}"
        );
    }
    let before = world.disturbances();
    let mut clients = Vec::new();
    for _ in 0..1_000 {
        let mut client = std::net::TcpStream::connect(address).expect("it listens");
        let _ = std::io::Write::write_all(&mut client, b"GET /sta");
        clients.push(client);
    }
    // Malformed, endless, and cut off: each costs its own connection and nothing else.
    let huge = format!("POST /merges HTTP/1.1\r\nContent-Length: {}\r\n\r\n", u64::MAX);
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(1 << 20));
    for bytes in [&b"\x16\x03\x01\x02\x00"[..], b"GET\r\n\r\n", huge.as_bytes(), long.as_bytes(), b"\r\n"] {
        let mut client = std::net::TcpStream::connect(address).expect("it listens");
        // It may be cut off while this is written.
        let _ = std::io::Write::write_all(&mut client, bytes);
        clients.push(client);
    }
    let events = world.seen[0].events.load(Ordering::Relaxed);
    world.until("data goes on", |world| {
        // The endpoint has no place for this request itself now, so only the gateway is looked at.
        world.seen[0].events.load(Ordering::Relaxed) > events + 200
    });
    drop(clients);
    world.until("it answers again", |world| {
        ask(world.control.address(), "GET", "/healthz", None, Some(TOKEN))
            .is_ok_and(|(status, _)| status == 200)
    });
    assert_eq!(world.disturbances(), before);
    world.end();
}
