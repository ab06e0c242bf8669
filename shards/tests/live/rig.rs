//! A gateway on this machine's cores with consumers that are watched, and its venues.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use engine::consumer::Consumer;
use shards::host::{HostView as _, RealHost};
use shards::launch::{Ended, Factory, Gateway, launch};
use shards::live::Board;
use shards::topology::{self, Against};
use simvenues::{
    BinanceConfig, CoinbaseConfig, CoinbaseProduct, KrakenConfig, Options, Server, VenueConfig,
    default_instruments, start_with,
};

use crate::ledger::Observer;

/// A wait that lasts longer has failed. Long, because test machines are busy.
pub const WAIT_MAX: Duration = Duration::from_mins(1);
/// Names that consumers of these tests may have in `kind`.
const KINDS: [&str; 3] = ["observer", "special", "other"];

/// A provider of the topology.
pub struct ProviderSpec {
    pub name: &'static str,
    /// binance, kraken or coinbase.
    pub venue: &'static str,
    pub address: SocketAddr,
    /// `None` speaks plain text; else the host's name and the CA's file.
    pub tls: Option<(&'static str, std::path::PathBuf)>,
}

/// A consumer shard of the topology with one consumer, which subscribes to everything of every provider.
#[derive(Clone)]
pub struct ConsumerSpec {
    pub shard: &'static str,
    pub kind: &'static str,
    pub ring_events: u32,
    pub spill_events: u32,
    pub book_depth: &'static str,
    pub on_panic: &'static str,
}

impl ConsumerSpec {
    pub fn observer() -> Self {
        Self {
            shard: "watch",
            kind: "observer",
            ring_events: 8_192,
            spill_events: 8_192,
            book_depth: "full",
            on_panic: "disable",
        }
    }
}

/// The cores that this process may use: the first for providers, the last for consumers.
pub fn cores() -> (u32, u32) {
    let cores = RealHost.cores().expect("a Linux host says which cores it has");
    let mut allowed: Vec<u32> = cores.allowed.iter().collect();
    allowed.sort_unstable();
    (allowed[0], *allowed.last().expect("this process runs on a core"))
}

/// The text of a topology: one provider shard, and a shard for each consumer.
#[allow(clippy::format_push_string, reason = "a test's text, made once")]
pub fn topology_text(providers: &[ProviderSpec], consumers: &[ConsumerSpec]) -> String {
    let (first, last) = cores();
    let mut text = format!(
        "version: 1\nhost: shared\nshards:\n  - {{name: md0, core: {first}, role: provider, pools: {{frames: 200, \
         raws: 200, events: 300, merged: 50, order_requests: 20, execution_reports: 20}}, order_ring_requests: 64}}\n"
    );
    for ConsumerSpec { shard, ring_events, spill_events, .. } in consumers {
        text += &format!(
            "  - {{name: {shard}, core: {last}, role: consumer, ring_events: {ring_events}, \
             critical_ring_events: 64, spill_events: {spill_events}}}\n"
        );
    }
    text += "providers:\n";
    for ProviderSpec { name, venue, address, tls } in providers {
        let port = address.port();
        let endpoints = match tls {
            None => format!("{{websocket: ws://{address}, rest: http://{address}}}"),
            Some((host, ca)) => format!(
                "{{websocket: wss://{host}:{port}, rest: https://{host}:{port}, ca_file: {}}}",
                ca.display()
            ),
        };
        let (product, quote, limit) = match *venue {
            "binance" => ("spot", "USDT", " snapshot_limit: 1000,"),
            "kraken" => ("spot", "USD", ""),
            _ => ("advanced", "USD", ""),
        };
        text += &format!(
            "  - {{name: {name}, venue: {venue}, product: {product}, shard: md0, endpoints: {endpoints}, lines: 1, \
             instruments: [BTC-{quote}, ETH-{quote}, SOL-{quote}], channels: [trade, book, ticker], \
             book: {{depth_max: 1000,{limit} verify_s: 180}}, rest_weight_share: {:.2}, \
             reorder: {{lateness_ms: 150, flush_ms: 50, held_events_max: 200}}}}\n",
            0.9 / providers.len() as f64 - 0.005,
        );
    }
    text += "merges: []\nconsumers:\n";
    for ConsumerSpec { shard, kind, book_depth, on_panic, .. } in consumers {
        text += &format!(
            "  - name: {shard}_{kind}\n    kind: {kind}\n    shard: {shard}\n    trading: false\n    \
             on_panic: {on_panic}\n    subscriptions:\n"
        );
        for ProviderSpec { name, .. } in providers {
            text += &format!(
                "      - {{provider: {name}, instruments: all, channels: [trade, book, ticker], \
                 delivery: {{trade: lossless, book: book, ticker: latest}}, book_depth: {book_depth}}}\n"
            );
        }
    }
    text + "control: {listen: 127.0.0.1:0, core: any}\nreport: {dir: report, interval_ms: 1000}\n"
}

/// A venue of any kind with three instruments.
pub fn venue_of(venue: &str, seed: u64, options: Options) -> Server {
    let address = "127.0.0.1:0".parse().expect("an address");
    let listed = |quote: &str| -> Vec<_> {
        let all = default_instruments(quote).into_iter();
        all.filter(|spec| ["BTC", "ETH", "SOL"].contains(&&*spec.base)).collect()
    };
    let config = match venue {
        "binance" => return venue_at(address, seed, 50.0, options),
        "kraken" => VenueConfig::Kraken(KrakenConfig {
            instruments: listed("USD"),
            seed,
            messages_per_instrument_per_s: 50.0,
            book_levels: 1_200,
            ..KrakenConfig::default()
        }),
        _ => VenueConfig::Coinbase(CoinbaseConfig {
            instruments: listed("USD"),
            seed,
            messages_per_instrument_per_s: 50.0,
            book_levels: 200,
            ..CoinbaseConfig::of(CoinbaseProduct::Advanced)
        }),
    };
    start_with(address, config, options).expect("a free port")
}

/// A venue with three instruments.
pub fn venue(seed: u64, rate: f64) -> Server {
    venue_with(seed, rate, Options::default())
}

/// The same with options.
pub fn venue_with(seed: u64, rate: f64, options: Options) -> Server {
    venue_at("127.0.0.1:0".parse().expect("an address"), seed, rate, options)
}

/// The same at an address.
pub fn venue_at(address: SocketAddr, seed: u64, rate: f64, options: Options) -> Server {
    let wanted = ["BTC", "ETH", "SOL"];
    let instruments =
        default_instruments("USDT").into_iter().filter(|spec| wanted.contains(&&*spec.base)).collect();
    let config = BinanceConfig {
        instruments,
        seed,
        messages_per_instrument_per_s: rate,
        book_levels: 200,
        ..BinanceConfig::default()
    };
    start_with(address, VenueConfig::Binance(config), options).expect("a free port")
}

pub fn plain(name: &'static str, server: &Server) -> ProviderSpec {
    ProviderSpec { name, venue: "binance", address: server.address(), tls: None }
}

/// A running gateway that is watched.
pub struct Rig {
    pub gateway: Gateway,
    pub board: Board,
    /// What providers told: name and words.
    pub happened: Vec<(String, String)>,
    /// Observers by their consumers' names.
    pub observers: BTreeMap<String, Observer>,
}

impl Rig {
    /// Starts it; `special` makes the consumers that are no observers.
    pub fn start(
        providers: &[ProviderSpec],
        consumers: &[ConsumerSpec],
        special: impl Fn(&str) -> Box<dyn Consumer> + Clone + Send + 'static,
    ) -> Self {
        let text = topology_text(providers, consumers);
        let cores = RealHost.cores();
        let against = Against { cores: cores.as_ref(), consumer_kinds: &KINDS, simulated_lists: None };
        let topology =
            topology::read("test.yaml", &text, against).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        let observers = std::cell::RefCell::new(BTreeMap::new());
        let gateway = launch(topology, &|plan, _| {
            let name = plan.name.clone();
            if plan.kind == "observer" {
                let observer = Observer::default();
                observers.borrow_mut().insert(name, observer.clone());
                let observe = move || Box::new(observer.clone()) as Box<dyn Consumer>;
                return Ok(Box::new(observe) as Factory);
            }
            let (special, kind) = (special.clone(), plan.kind.clone());
            Ok(Box::new(move || special(&kind)) as Factory)
        })
        .unwrap_or_else(|error| panic!("{error}"));
        Self { gateway, board: Board::default(), happened: Vec::new(), observers: observers.into_inner() }
    }

    /// One observer on its own shard.
    pub fn observed(providers: &[ProviderSpec]) -> Self {
        Self::start(providers, &[ConsumerSpec::observer()], |kind| panic!("no consumer {kind}"))
    }

    /// The only observer.
    pub fn observer(&self) -> Observer {
        self.observers.values().next().expect("there is an observer").clone()
    }

    pub fn poll(&mut self) {
        self.gateway.collector.collect();
        let board = &mut self.board;
        self.gateway.poll_statuses(|status| board.take(status));
        while let Some(report) = self.gateway.poll_report() {
            let provider = self.gateway.topology.providers[usize::from(report.provider)].name.clone();
            self.happened.push((provider, report.happening.to_string()));
        }
    }

    /// Polls until `done` holds.
    pub fn wait(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        loop {
            self.poll();
            if done(self) {
                return;
            }
            assert!(
                began.elapsed() < WAIT_MAX,
                "{what} did not happen; {:?}; {:?}; violations {:?}",
                self.happened,
                self.board.providers().map(|status| status.counts).collect::<Vec<_>>(),
                self.observers.values().map(|seen| seen.ledger().violations.clone()).collect::<Vec<_>>(),
            );
            assert_eq!(self.gateway.fallen(), None, "no shard falls");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether every book of every provider is proved.
    pub fn all_proved(&self) -> bool {
        let providers = self.gateway.topology.providers.len();
        self.board.providers().count() == providers
            && self.board.providers().all(|status| status.books > 0 && status.books_proved == status.books)
    }

    pub fn wait_proved(&mut self) {
        self.wait("all books proved", Self::all_proved);
    }

    /// Whether a provider told something that contains `words`.
    pub fn was_told(&self, provider: &str, words: &str) -> bool {
        self.happened.iter().any(|(name, text)| name == provider && text.contains(words))
    }

    /// Stops the venue's market and waits until the observer has its books and its last trades.
    pub fn wait_equal(&mut self, server: &Server) {
        server.set_rate(0.0);
        let observer = self.observer();
        let differs = std::cell::RefCell::new(String::new());
        let begun = Instant::now();
        self.wait("books and trades as the venue has them", |_| {
            let ledger = observer.ledger();
            for truth in server.truth() {
                let book = server.book(&truth.symbol).expect("it is listed");
                let compared = ledger.books.get(&truth.symbol).map(|copy| copy.compare(&book));
                let last = ledger.trades.get(&truth.symbol).map(|log| log.last);
                if compared != Some(Ok(())) || last != truth.trade_id_last {
                    *differs.borrow_mut() = format!("{}: {compared:?}, last trade {last:?}", truth.symbol);
                    assert!(begun.elapsed() < WAIT_MAX / 2, "{}", differs.borrow());
                    return false;
                }
            }
            true
        });
    }

    /// Stops it and checks that everything adds up.
    pub fn finish(mut self) -> Ended {
        for (name, observer) in &self.observers {
            let violations = observer.ledger().violations.clone();
            assert!(violations.is_empty(), "{name}: {violations:#?}");
        }
        let ended = self.gateway.stop();
        assert!(ended.panicked.is_empty(), "{:?}", ended.panicked);
        let mut pushed: BTreeMap<usize, u64> = BTreeMap::new();
        for provider in &ended.providers {
            assert_eq!(provider.unbalanced(), None);
            assert_eq!(provider.outstanding, Vec::<String>::new());
            for (shard, state, ..) in &provider.outputs {
                *pushed.entry(shard.index()).or_default() += state.pushed_total;
            }
        }
        for consumer in &ended.consumers {
            let sent = pushed.remove(&usize::from(consumer.index)).unwrap_or_default();
            assert_eq!(sent, consumer.received_total + consumer.left_total, "shard {}", consumer.index);
        }
        assert!(pushed.is_empty(), "{pushed:?}");
        ended
    }
}
