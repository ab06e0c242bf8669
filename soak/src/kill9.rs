//! `kill -9` at random moments while orders work: after each restart the journal and the venue say the same.
//!
//! The venue lives in this process and outlives the gateway, which is a child: this same program with `gateway`. The maker
//! and the taker trade. After the last kill the gateway runs once more to its regular end, which cancels all that it knows;
//! whatever is open at the venue after that was forgotten.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use engine::orders::{ClientOrderId, WireId};
use simvenues::{
    BinanceConfig, Options as VenueOptions, Server, VenueConfig, default_instruments, start_with,
};

/// The gateway must trade within this time after its start. Long, because test machines are busy.
const TRADES_WITHIN: Duration = Duration::from_mins(1);

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

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Kills.
    pub kills: u32,
    /// Of those: with orders open at the venue.
    pub kills_with_open_orders: u32,
    /// Orders that the venue accepted.
    pub orders: usize,
    /// Fills there.
    pub fills: usize,
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
        let mut text = format!(
            "{} kills, {} of them with orders open; {} orders and {} fills at the venue\n",
            self.kills, self.kills_with_open_orders, self.orders, self.fills
        );
        for line in &self.broken {
            let _ = writeln!(text, "BROKEN: {line}");
        }
        if self.is_good() {
            text += "no id twice, no order forgotten\n";
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
    let venue = venue(options.seed)?;
    std::fs::create_dir_all(&options.home).map_err(|error| error.to_string())?;
    let topology = write_topology(&venue, options)?;
    let mut verdict = Verdict::default();
    for _ in 0..options.times {
        let before = venue.faults().orders().len();
        let mut child = start(options, &topology, None)?;
        let traded = wait(TRADES_WITHIN, || venue.faults().orders().len() > before || ended(&mut child));
        if !traded || ended(&mut child) {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("the gateway did not trade after kill {}: {}", verdict.kills, log(options)));
        }
        std::thread::sleep(Duration::from_micros(random.u64(0..400_000)));
        child.kill().map_err(|error| error.to_string())?;
        let _ = child.wait();
        verdict.kills += 1;
        let open = venue.faults().orders().iter().filter(|order| order.status.is_open()).count();
        verdict.kills_with_open_orders += u32::from(open > 0);
    }
    // One that a crash lost is believed lost after 15 s.
    let mut last = start(options, &topology, Some("22s"))?;
    let status = last.wait().map_err(|error| error.to_string())?;
    if !status.success() {
        verdict.broken.push(format!("the last run ended with {status}: {}", log(options)));
    }
    judge(&venue, &mut verdict);
    if verdict.is_good() {
        let _ = std::fs::remove_dir_all(&options.home);
    }
    Ok(verdict)
}

fn judge(venue: &Server, verdict: &mut Verdict) {
    let truth = venue.faults().trading();
    (verdict.orders, verdict.fills) = (truth.orders.len(), truth.fills.len());
    let mut ids = BTreeSet::new();
    let mut runs = BTreeSet::new();
    for order in &truth.orders {
        if !ids.insert(&order.client_id) {
            verdict.broken.push(format!("id {} was used twice", order.client_id));
        }
        if order.status.is_open() {
            verdict.broken.push(format!("order {} is open and was forgotten", order.client_id));
        }
        match ClientOrderId::parse(order.client_id.as_bytes()).ok().as_ref().and_then(WireId::decode) {
            Some(id) => drop(runs.insert(id.epoch)),
            None => verdict.broken.push(format!("id {} is not ours", order.client_id)),
        }
    }
    if runs.len() <= verdict.kills as usize {
        verdict.broken.push(format!("{} runs traded under {} numbers", verdict.kills + 1, runs.len()));
    }
}

fn venue(seed: u64) -> Result<Server, String> {
    let instruments = default_instruments("USDT").into_iter();
    let config = BinanceConfig {
        instruments: instruments.filter(|spec| ["BTC", "ETH"].contains(&&*spec.base)).collect(),
        seed,
        book_levels: 200,
        ..BinanceConfig::default()
    };
    let address = "127.0.0.1:0".parse().expect("an address");
    start_with(address, VenueConfig::Binance(config), VenueOptions::default())
        .map_err(|error| error.to_string())
}

fn write_topology(venue: &Server, options: &Options) -> Result<PathBuf, String> {
    let key = venue.faults().keys().into_iter().next().ok_or("the venue issued no key")?;
    let key_path = options.home.join("venue.key");
    let write = |path: &Path, text: &str| std::fs::write(path, text).map_err(|error| error.to_string());
    write(&key_path, &format!("{}\n{}\n", key.name, key.secret_text))?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&key_path, private).map_err(|error| error.to_string())?;
    let (address, home, durability) = (venue.address(), options.home.display(), options.durability);
    let text = format!(
        "version: 1
host: shared
shards:
  - {{name: md0, core: 0, role: provider, pools: {{frames: 200, raws: 200, events: 300, merged: 50, order_requests: 20, execution_reports: 20}}, order_ring_requests: 64}}
  - {{name: strategies, core: 0, role: consumer, ring_events: 8192, critical_ring_events: 64, spill_events: 8192}}
providers:
  - name: binance
    venue: binance
    product: spot
    shard: md0
    endpoints: {{websocket: ws://{address}, rest: http://{address}}}
    lines: 1
    instruments: [BTC-USDT, ETH-USDT]
    channels: [trade, book]
    book: {{depth_max: 1000, snapshot_limit: 1000, verify_s: 180}}
    rest_weight_share: 0.8
    orders: {{enabled: true, keys: {{file: {key}}}, on_session_loss: keep, on_stop: cancel_mine}}
    reorder: {{lateness_ms: 150, flush_ms: 50, held_events_max: 200}}
merges: []
consumers:
  - name: maker
    kind: maker
    shard: strategies
    trading: true
    on_panic: disable
    options: {{provider: binance, symbol: BTC-USDT, qty: 0.001, tick: 0.01, edge_ticks: 0, move_ticks: 5, position_max_quotes: 50}}
    subscriptions:
      - {{provider: binance, instruments: [BTC-USDT], channels: [book], delivery: {{book: book}}, book_depth: 50}}
  - name: taker
    kind: taker
    shard: strategies
    trading: true
    on_panic: disable
    options: {{provider: binance, symbol: ETH-USDT, qty: 0.01, tick: 0.01, slip_ticks: 20, run: 2}}
    subscriptions:
      - {{provider: binance, instruments: [ETH-USDT], channels: [trade], delivery: {{trade: lossless}}}}
journal: {{dir: {home}/journal, durability: {durability}, rotate_mib: 1, keep: 2}}
control: {{listen: 127.0.0.1:0, core: any}}
report: {{dir: {home}/report, interval_ms: 1000}}
",
        key = key_path.display()
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
