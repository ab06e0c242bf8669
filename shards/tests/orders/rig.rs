//! A gateway that trades at a simulated venue outside of it, and a consumer that does what the test says.

use std::collections::VecDeque;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engine::consumer::{Consumer, Context};
use engine::event::Event;
use engine::ids::{InstrumentId, ProviderId};
use engine::orders::{ClientOrderId, DecisionId, ExecReport, OrderEvent, OrderRequest, OrderSide};
use shards::host::{HostView as _, RealHost};
use shards::launch::{Ended, Factory, Gateway, launch};
use shards::live::Board;
use shards::topology::{self, Against};
use simvenues::{
    BinanceConfig, CoinbaseConfig, CoinbaseProduct, InstrumentSpec, KrakenConfig, Options, Server,
    VenueConfig, default_instruments, start_with,
};

/// A wait that lasts longer has failed. Long, because test machines are busy.
pub const WAIT_MAX: Duration = Duration::from_mins(1);

/// What the scripted consumer is told to do.
pub enum Do {
    Place(OrderRequest),
    Cancel(ClientOrderId),
    CancelAll,
    Query(ClientOrderId),
    Panic,
}

/// The two ends of the script.
#[derive(Clone, Default)]
pub struct Script {
    todo: Arc<Mutex<VecDeque<Do>>>,
    heard: Arc<Mutex<Vec<OrderEvent>>>,
}

impl Consumer for Script {
    fn on_event(&mut self, _: &Event, _: &mut Context<'_>) {}

    fn timer_every_ns(&self) -> Option<u64> {
        Some(1_000_000)
    }

    fn on_timer(&mut self, context: &mut Context<'_>) {
        loop {
            let next = self.todo.lock().expect("nobody panics with it").pop_front();
            let Some(next) = next else { return };
            let decision = DecisionId(1_000);
            let done = match next {
                Do::Place(request) => context.place(request),
                Do::Cancel(id) => context.cancel(ProviderId(0), id, decision),
                Do::CancelAll => context.cancel_all(ProviderId(0), decision),
                Do::Query(id) => context.query(ProviderId(0), id, decision),
                Do::Panic => panic!("this is the panic that the test asks for"),
            };
            done.expect("a test asks for less than the outbox holds");
        }
    }

    fn on_order_event(&mut self, event: &OrderEvent, _: &mut Context<'_>) {
        self.heard.lock().expect("nobody panics with it").push(*event);
    }
}

/// A directory of its own with a key file, removed when it goes.
pub struct Home(pub PathBuf);

impl Home {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("meltica-orders-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    /// Writes the venue's first key as the topology wants it, and says where.
    pub fn key(&self, venue: &Venue) -> PathBuf {
        let key = venue.faults().keys().into_iter().next().expect("the venue issues keys");
        let path = self.0.join("venue.key");
        std::fs::write(&path, format!("{}\n{}\n", key.name, key.secret_text)).expect("our directory");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("our file");
        path
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A venue, as the topology and the tests see it.
pub struct Plan {
    pub name: &'static str,
    product: &'static str,
    pub quote: &'static str,
    book: &'static str,
    config: fn(Vec<InstrumentSpec>, u64) -> VenueConfig,
}

const RATE: f64 = 20.0;
const LEVELS: usize = 200;

pub const BINANCE: Plan = Plan {
    name: "binance",
    product: "spot",
    quote: "USDT",
    book: "{depth_max: 1000, snapshot_limit: 1000, verify_s: 180}",
    config: |instruments, seed| {
        VenueConfig::Binance(BinanceConfig {
            instruments,
            seed,
            messages_per_instrument_per_s: RATE,
            book_levels: LEVELS,
            ..BinanceConfig::default()
        })
    },
};

pub const KRAKEN: Plan = Plan {
    name: "kraken",
    product: "spot",
    quote: "USD",
    book: "{depth_max: 100, verify_s: 180}",
    config: |instruments, seed| {
        VenueConfig::Kraken(KrakenConfig {
            instruments,
            seed,
            messages_per_instrument_per_s: RATE,
            book_levels: LEVELS,
            ..KrakenConfig::default()
        })
    },
};

pub const COINBASE: Plan = Plan {
    name: "coinbase",
    product: "advanced",
    quote: "USD",
    book: "{depth_max: 1000, verify_s: 180}",
    config: |instruments, seed| {
        VenueConfig::Coinbase(CoinbaseConfig {
            instruments,
            seed,
            messages_per_instrument_per_s: RATE,
            book_levels: LEVELS,
            ..CoinbaseConfig::of(CoinbaseProduct::Advanced)
        })
    },
};

/// Every venue that trades.
pub const VENUES: [Plan; 3] = [BINANCE, KRAKEN, COINBASE];

/// A running simulated venue.
pub struct Venue {
    server: Server,
    pub plan: Plan,
}

impl Deref for Venue {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Plan {
    /// A venue that trades BTC, ETH and SOL.
    pub fn start(self, seed: u64) -> Venue {
        let wanted = ["BTC", "ETH", "SOL"];
        let instruments = default_instruments(self.quote).into_iter();
        let instruments = instruments.filter(|spec| wanted.contains(&&*spec.base)).collect();
        let address = "127.0.0.1:0".parse().expect("an address");
        let config = (self.config)(instruments, seed);
        Venue { server: start_with(address, config, Options::default()).expect("a free port"), plan: self }
    }
}

/// A simulated Binance.
pub fn venue(seed: u64) -> Venue {
    BINANCE.start(seed)
}

/// A topology with one provider and one scripted consumer. `orders` and `consumer` are more keys of theirs.
pub fn text(venue: &Venue, home: &Path, orders: &str, consumer: &str) -> String {
    let cores = RealHost.cores().expect("a Linux host says which cores it has");
    let mut allowed: Vec<u32> = cores.allowed.iter().collect();
    allowed.sort_unstable();
    let (first, last) = (allowed[0], allowed[allowed.len() - 1]);
    let (address, home) = (venue.address(), home.display());
    let Plan { name, product, quote, book, .. } = venue.plan;
    format!(
        "version: 1
host: shared
shards:
  - {{name: md0, core: {first}, role: provider, pools: {{frames: 200, raws: 200, events: 300, merged: 50, order_requests: 20, execution_reports: 20}}, order_ring_requests: 64}}
  - {{name: strategies, core: {last}, role: consumer, ring_events: 8192, critical_ring_events: 64, spill_events: 8192}}
providers:
  - name: {name}
    venue: {name}
    product: {product}
    shard: md0
    endpoints: {{websocket: ws://{address}, rest: http://{address}}}
    lines: 1
    instruments: [BTC-{quote}, ETH-{quote}]
    channels: [trade, book]
    book: {book}
    rest_weight_share: 0.8
    orders: {{{orders}}}
    reorder: {{lateness_ms: 150, flush_ms: 50, held_events_max: 200}}
merges: []
consumers:
  - name: script
    kind: script
    shard: strategies
    on_panic: disable
    {consumer}
    subscriptions:
      - {{provider: {name}, instruments: all, channels: [book], delivery: {{book: book}}, book_depth: 50}}
journal: {{dir: {home}/journal, durability: sync, rotate_mib: 1, keep: 2}}
control: {{listen: 127.0.0.1:0, core: any}}
report: {{dir: {home}/report, interval_ms: 1000}}
"
    )
}

/// A running gateway.
pub struct Rig {
    pub gateway: Gateway,
    pub board: Board,
    pub said: Vec<String>,
    script: Script,
}

impl Rig {
    pub fn start(text: &str) -> Self {
        let cores = RealHost.cores();
        let against = Against { cores: cores.as_ref(), consumer_kinds: &["script"], simulated_lists: None };
        let topology =
            topology::read("test.yaml", text, against).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        let script = Script::default();
        let made = script.clone();
        let gateway = launch(topology, &move |_, _| {
            let made = made.clone();
            Ok(Box::new(move || Box::new(made.clone()) as Box<dyn Consumer>) as Factory)
        })
        .unwrap_or_else(|error| panic!("{error}"));
        let mut rig = Self { gateway, board: Board::default(), said: Vec::new(), script };
        rig.wait("the session and the books", |rig| {
            rig.heard().iter().any(|event| matches!(event, OrderEvent::SessionRestored { .. }))
                && rig.board.providers().any(|status| status.books_proved == 2)
        });
        rig
    }

    /// A rig with trading on, keys from a file, and orders that stay when it ends.
    pub fn simple(venue: &Venue, home: &Home) -> Self {
        let key = home.key(venue);
        let orders =
            format!("enabled: true, keys: {{file: {}}}, on_session_loss: keep, on_stop: keep", key.display());
        Self::start(&text(venue, &home.0, &orders, "trading: true"))
    }

    pub fn ask(&self, todo: Do) {
        self.script.todo.lock().expect("nobody panics with it").push_back(todo);
    }

    pub fn heard(&self) -> Vec<OrderEvent> {
        self.script.heard.lock().expect("nobody panics with it").clone()
    }

    /// Reports of a decision.
    pub fn reports(&self, decision: u64) -> Vec<ExecReport> {
        let of = |event: OrderEvent| match event {
            OrderEvent::Report(report) if report.decision == DecisionId(decision) => Some(report),
            _ => None,
        };
        self.heard().into_iter().filter_map(of).collect()
    }

    /// The states that were reported for a decision, and the last report's reason.
    pub fn states(&self, decision: u64) -> (Vec<&'static str>, String) {
        let reports = self.reports(decision);
        let reason = reports.last().map(|report| report.reason.to_string()).unwrap_or_default();
        (reports.iter().map(|report| report.state.name()).collect(), reason)
    }

    /// Places and waits for the first report; returns it.
    pub fn placed(&mut self, request: OrderRequest) -> ExecReport {
        let decision = request.decision.0;
        self.ask(Do::Place(request));
        self.wait("a report of the order", |rig| !rig.reports(decision).is_empty());
        self.reports(decision)[0]
    }

    pub fn ends(&mut self, decision: u64) {
        self.wait("the order's end", |rig| {
            rig.reports(decision).last().is_some_and(|report| report.state.is_final())
        });
    }

    pub fn wait(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        loop {
            self.gateway.collector.collect();
            let board = &mut self.board;
            self.gateway.poll_statuses(|status| board.take(status));
            while let Some(report) = self.gateway.poll_report() {
                self.said.push(report.happening.to_string());
            }
            if done(self) {
                return;
            }
            assert!(
                began.elapsed() < WAIT_MAX,
                "{what} did not come; heard {:#?}; said {:?}",
                self.heard().iter().rev().take(5).collect::<Vec<_>>(),
                self.said
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn stop(mut self) -> Ended {
        let ended = self.gateway.stop();
        assert!(ended.panicked.is_empty(), "{:?}", ended.panicked);
        ended
    }
}

/// A buyer's limit order for BTC.
pub fn buy(decision: u64, price: &str, qty: &str) -> OrderRequest {
    let request = OrderRequest::limit_text(OrderSide::Buy, price, qty).expect("numbers");
    OrderRequest { instrument: InstrumentId(0), decision: DecisionId(decision), ..request }
}

/// The same with an id of our own.
pub fn named(id: &str, request: OrderRequest) -> OrderRequest {
    let client_order_id = ClientOrderId::parse(id.as_bytes()).expect("legal");
    OrderRequest { client_order_id, ..request }
}
