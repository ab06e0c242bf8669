//! `kill -9` at random moments while orders work: after each restart the journal and the venue say the same.
//!
//! The three venues live in this process and outlive the gateway, which is a child: this same program with `gateway`. A
//! maker and a taker trade at each. After the last kill the gateway runs once more to its regular end, which cancels all
//! that it knows; whatever is open at a venue after that was forgotten. Then the journal is read as a restart would read
//! it, and each order in it is compared with the venue's: its end, and what was filled, so positions too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use engine::orders::journal::{Record, Records, Tail};
use engine::orders::life::Life;
use engine::orders::{ClientOrderId, WireId};
use simvenues::{
    BinanceConfig, CoinbaseConfig, KrakenConfig, Options as VenueOptions, Server, VenueConfig,
    default_instruments, start_with,
};

/// The gateway must trade within this time after its start. Long, because test machines are busy.
const TRADES_WITHIN: Duration = Duration::from_mins(1);

/// Venues: name, product, quote asset, how books are kept.
const VENUES: [(&str, &str, &str, &str); 3] = [
    ("binance", "spot", "USDT", "depth_max: 1000, snapshot_limit: 1000, verify_s: 180"),
    ("kraken", "spot", "USD", "depth_max: 100, verify_s: 180"),
    ("coinbase", "advanced", "USD", "depth_max: 1000, verify_s: 180"),
];
/// The simulated Kraken takes a private call in this time, in nanoseconds, so that a hundred starts need no hour: the venue's
/// own limit, one in one to three seconds, is met by `soak orders`.
const KRAKEN_CALL_EVERY_NS: u64 = 100_000_000;

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Kills.
    pub times: u32,
    /// Of the moments and the market.
    pub seed: u64,
    /// `sync` or `batch`.
    pub durability: &'static str,
    /// This program, which runs the gateway when its first argument is `gateway`.
    pub program: PathBuf,
    /// A directory for topology, key, journal and reports; removed at the end if all is well.
    pub home: PathBuf,
}

/// What came of one venue.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Its name.
    pub provider: &'static str,
    /// Kills with orders open there.
    pub kills_with_open_orders: u32,
    /// Orders that it accepted.
    pub orders: usize,
    /// Fills there.
    pub fills: usize,
    /// Runs that ordered there.
    pub runs: usize,
    /// Orders that the journal does not hold: none with `sync`.
    pub unknown: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Kills.
    pub kills: u32,
    /// How long the gateway took from its start to orders at every venue, in milliseconds: median and longest.
    pub start_ms: [u64; 2],
    /// By venue.
    pub rows: Vec<Row>,
    /// What must not be.
    pub broken: Vec<String>,
}

impl Verdict {
    /// Whether nothing was broken.
    pub fn is_good(&self) -> bool {
        self.broken.is_empty()
    }

    /// A few lines for people.
    pub fn table(&self) -> String {
        let [median, longest] = self.start_ms;
        let mut text = format!(
            "{} kills; orders at every venue {median} ms after a start (median), {longest} ms (longest)\n",
            self.kills
        );
        text += "provider  orders  fills  runs  kills with open orders  not in the journal\n";
        for row in &self.rows {
            let _ = writeln!(
                text,
                "{:<9} {:>6} {:>6} {:>5} {:>23} {:>19}",
                row.provider, row.orders, row.fills, row.runs, row.kills_with_open_orders, row.unknown
            );
        }
        for line in &self.broken {
            let _ = writeln!(text, "BROKEN: {line}");
        }
        if self.is_good() {
            text += "no id twice, no order forgotten, ends and fills as at the venues\n";
        }
        text
    }
}

/// Runs it.
///
/// # Errors
/// What kept it from running, in words.
pub fn run(options: &Options) -> Result<Verdict, String> {
    let mut random = fastrand::Rng::with_seed(options.seed);
    let venues = (0..VENUES.len()).map(|at| venue(at, options.seed)).collect::<Result<Vec<_>, _>>()?;
    std::fs::create_dir_all(&options.home).map_err(|error| error.to_string())?;
    let topology = write_topology(&venues, options)?;
    let rows = VENUES.iter().map(|&(provider, ..)| Row { provider, ..Row::default() });
    let mut verdict = Verdict { rows: rows.collect(), ..Verdict::default() };
    let mut starts_ms = Vec::new();
    for _ in 0..options.times {
        let before: Vec<usize> = venues.iter().map(orders_at).collect();
        let began = Instant::now();
        let mut child = start(options, &topology, None)?;
        let traded = wait(TRADES_WITHIN, || {
            venues.iter().zip(&before).all(|(venue, &before)| orders_at(venue) > before) || ended(&mut child)
        });
        if !traded || ended(&mut child) {
            let _ = child.kill();
            let _ = child.wait();
            let now: Vec<usize> = venues.iter().map(orders_at).collect();
            return Err(format!(
                "the gateway did not trade everywhere after kill {}: {before:?}, {now:?}; {}",
                verdict.kills,
                log(options)
            ));
        }
        starts_ms.push(began.elapsed().as_millis() as u64);
        std::thread::sleep(Duration::from_micros(random.u64(0..400_000)));
        child.kill().map_err(|error| error.to_string())?;
        let _ = child.wait();
        verdict.kills += 1;
        for (row, venue) in verdict.rows.iter_mut().zip(&venues) {
            let open = venue.faults().orders().iter().any(|order| order.status.is_open());
            row.kills_with_open_orders += u32::from(open);
        }
        if verdict.kills.is_multiple_of(10) {
            eprintln!("kill {} of {}", verdict.kills, options.times);
        }
    }
    starts_ms.sort_unstable();
    verdict.start_ms =
        [starts_ms.get(starts_ms.len() / 2), starts_ms.last()].map(|ms| ms.copied().unwrap_or_default());
    // One that a crash lost is believed lost after 15 s, at Coinbase after 30 s.
    let mut last = start(options, &topology, Some("40s"))?;
    let status = last.wait().map_err(|error| error.to_string())?;
    if !status.success() {
        verdict.broken.push(format!("the last run ended with {status}: {}", log(options)));
    }
    let Verdict { kills, rows, broken, .. } = &mut verdict;
    for (row, venue) in rows.iter_mut().zip(&venues) {
        judge(venue, row, *kills, options, broken)?;
    }
    if verdict.is_good() {
        let _ = std::fs::remove_dir_all(&options.home);
    }
    Ok(verdict)
}

fn orders_at(venue: &Server) -> usize {
    venue.faults().orders().len()
}

fn judge(
    venue: &Server,
    row: &mut Row,
    kills: u32,
    options: &Options,
    broken: &mut Vec<String>,
) -> Result<(), String> {
    let truth = venue.faults().trading();
    (row.orders, row.fills) = (truth.orders.len(), truth.fills.len());
    let journal = journal(&options.home.join("journal").join(row.provider))?;
    // Coinbase knows an order by a UUID made of our id.
    let by_uuid: BTreeMap<String, ClientOrderId> =
        journal.keys().map(|id| (String::from_utf8_lossy(&id.uuid().text()).into_owned(), *id)).collect();
    let mut say = |line: String| broken.push(format!("{}: {line}", row.provider));
    let (mut ids, mut runs) = (BTreeSet::new(), BTreeSet::new());
    for order in &truth.orders {
        if !ids.insert(&order.client_id) {
            say(format!("id {} was used twice", order.client_id));
        }
        if order.status.is_open() {
            say(format!("order {} is open and was forgotten", order.client_id));
        }
        let named = by_uuid.get(&order.client_id).copied();
        let id = named.or_else(|| ClientOrderId::parse(order.client_id.as_bytes()).ok());
        if let Some(id) = id.as_ref().and_then(WireId::decode) {
            runs.insert(id.epoch);
        } else if order.client_id.len() != 36 {
            say(format!("id {} is not ours", order.client_id));
        }
        let Some(life) = id.and_then(|id| journal.get(&id)) else {
            row.unknown += 1;
            continue;
        };
        let same = i128::from(life.cum_qty.0) * i128::from(order.qty)
            == i128::from(order.filled) * i128::from(life.qty.0);
        if !same || life.is_open() != order.status.is_open() {
            say(format!("{life:?}, and there {:?} with {} of {}", order.status, order.filled, order.qty));
        }
    }
    row.runs = runs.len();
    if options.durability == "sync" && row.unknown > 0 {
        say(format!("{} orders are not in the journal, though it came first", row.unknown));
    }
    if row.runs + row.unknown <= kills as usize {
        say(format!("{} runs traded under {} numbers", kills + 1, row.runs));
    }
    Ok(())
}

/// What the journal says of each order, as a restart reads it: the files in their order, the last word counts.
fn journal(directory: &Path) -> Result<BTreeMap<ClientOrderId, Life>, String> {
    let io = |error: std::io::Error| format!("{}: {error}", directory.display());
    let entries = std::fs::read_dir(directory).map_err(io)?;
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(io)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "journal"));
    paths.sort_unstable();
    let mut orders = BTreeMap::new();
    for path in paths {
        let bytes = std::fs::read(&path).map_err(io)?;
        let mut records = Records::new(&bytes);
        for record in records.by_ref() {
            match record {
                Record::Intent(order) => {
                    orders.entry(order.wire_id).or_insert(order.life);
                }
                Record::Progress { wire_id, life, .. } => drop(orders.insert(wire_id, life)),
                Record::Begin { .. } | Record::Used { .. } => {}
            }
        }
        if let Some(Tail::Damaged { at, .. }) = records.tail() {
            return Err(format!("{}: damaged at {at}", path.display()));
        }
    }
    Ok(orders)
}

fn venue(at: usize, seed: u64) -> Result<Server, String> {
    let (name, _, quote, _) = VENUES[at];
    let instruments = default_instruments(quote).into_iter();
    let instruments: Vec<_> = instruments.filter(|spec| ["BTC", "ETH"].contains(&&*spec.base)).collect();
    let book_levels = 200;
    let config = match name {
        "binance" => {
            VenueConfig::Binance(BinanceConfig { instruments, seed, book_levels, ..BinanceConfig::default() })
        }
        "kraken" => {
            let mut config = KrakenConfig { instruments, seed, book_levels, ..KrakenConfig::default() };
            config.limits.private_call_every_ns = KRAKEN_CALL_EVERY_NS;
            // A hundred starts in some minutes are not what the venue's limit of 150 connections in ten minutes is for.
            config.limits.connections_per_10_minutes_max = u32::MAX;
            VenueConfig::Kraken(config)
        }
        _ => VenueConfig::Coinbase(CoinbaseConfig {
            instruments,
            seed,
            book_levels,
            ..CoinbaseConfig::default()
        }),
    };
    let address = "127.0.0.1:0".parse().expect("an address");
    start_with(address, config, VenueOptions::default()).map_err(|error| error.to_string())
}

fn write_topology(venues: &[Server], options: &Options) -> Result<PathBuf, String> {
    let write = |path: &Path, text: &str| std::fs::write(path, text).map_err(|error| error.to_string());
    let (home, durability) = (options.home.display(), options.durability);
    let (mut providers, mut consumers) = (String::new(), String::new());
    for (venue, (name, product, quote, book)) in venues.iter().zip(VENUES) {
        let key = venue.faults().keys().into_iter().next().ok_or("the venue issued no key")?;
        let key_path = options.home.join(format!("{name}.key"));
        write(&key_path, &format!("{}\n{}\n", key.name, key.secret_text))?;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&key_path, private).map_err(|error| error.to_string())?;
        let (address, key) = (venue.address(), key_path.display());
        let _ = write!(
            providers,
            "  - name: {name}
    venue: {name}
    product: {product}
    shard: md0
    endpoints: {{websocket: ws://{address}, rest: http://{address}}}
    lines: 1
    instruments: [BTC-{quote}, ETH-{quote}]
    channels: [trade, book]
    book: {{{book}}}
    rest_weight_share: 0.8
    orders: {{enabled: true, keys: {{file: {key}}}, on_session_loss: keep, on_stop: cancel_mine}}
    reorder: {{lateness_ms: 150, flush_ms: 50, held_events_max: 200}}
"
        );
        let _ = write!(
            consumers,
            "  - name: {name}_maker
    kind: maker
    shard: strategies
    trading: true
    on_panic: disable
    options: {{provider: {name}, symbol: BTC-{quote}, qty: 0.001, tick: 0.01, edge_ticks: 0, move_ticks: 50, position_max_quotes: 50}}
    subscriptions:
      - {{provider: {name}, instruments: [BTC-{quote}], channels: [book], delivery: {{book: book}}, book_depth: 50}}
  - name: {name}_taker
    kind: taker
    shard: strategies
    trading: true
    on_panic: disable
    options: {{provider: {name}, symbol: ETH-{quote}, qty: 0.01, tick: 0.01, slip_ticks: 20, run: 2}}
    subscriptions:
      - {{provider: {name}, instruments: [ETH-{quote}], channels: [trade], delivery: {{trade: lossless}}}}
"
        );
    }
    let text = format!(
        "version: 1
host: shared
shards:
  - {{name: md0, core: 0, role: provider, pools: {{frames: 200, raws: 200, events: 300, merged: 50, order_requests: 20, execution_reports: 20}}, order_ring_requests: 64}}
  - {{name: strategies, core: 0, role: consumer, ring_events: 8192, critical_ring_events: 64, spill_events: 8192}}
providers:
{providers}merges: []
consumers:
{consumers}journal: {{dir: {home}/journal, durability: {durability}, rotate_mib: 16, keep: 1000}}
control: {{listen: 127.0.0.1:0, core: any}}
report: {{dir: {home}/report, interval_ms: 1000}}
"
    );
    let path = options.home.join("topology.yaml");
    write(&path, &text)?;
    Ok(path)
}

fn start(options: &Options, topology: &Path, duration: Option<&str>) -> Result<Child, String> {
    let log = std::fs::File::create(options.home.join("gateway.log")).map_err(|error| error.to_string())?;
    let mut command = Command::new(&options.program);
    command.arg("gateway").arg("--topology").arg(topology);
    if let Some(duration) = duration {
        command.args(["--duration", duration]);
    }
    command.current_dir(&options.home).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().map_err(|error| format!("{}: {error}", options.program.display()))
}

fn ended(child: &mut Child) -> bool {
    !matches!(child.try_wait(), Ok(None))
}

fn log(options: &Options) -> String {
    std::fs::read_to_string(options.home.join("gateway.log")).unwrap_or_default()
}

fn wait(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !done() {
        if began.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}
