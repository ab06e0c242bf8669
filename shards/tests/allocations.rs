//! No thread of the data path allocates once it is warm: a gateway over the loopback, under an allocator that counts. The
//! order path is on it, but for what its journal hands to the kernel.

#![cfg(feature = "simulate")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engine::consumer::{Consumer, Context};
use engine::event::Event;
use engine::ids::InstrumentId;
use engine::orders::{OrderEvent, OrderRequest, OrderSide};
use engine::time::ReceiveTime;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use shards::host::{HostView as _, RealHost};
use shards::launch::{Factory, Gateway, launch};
use shards::live::Board;
use shards::topology::{self, Against};

/// Counts what a thread allocates while it is watched.
struct Counting;

/// Threads are found by the name that the shard gives them.
static WATCHING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// Where the first few came from.
static PLACES: Mutex<Vec<String>> = Mutex::new(Vec::new());
const PLACES_MAX: usize = 64;
/// Allocations of the journal for one batch of records that it hands to the kernel, at most: the batch's copy, the task that
/// writes it and what the runtime keeps of the write. It is off the path of orders under `durability: batch`.
const PER_BATCH_MAX: u64 = 12;
/// Allocations of one pass of the runtime's reactor, at most: its timers. There are passes only while files are under way.
const PER_PASS_MAX: u64 = 3;

thread_local! {
    /// Whether this thread is of the data path; set by the consumer, and by name for providers.
    static OURS: Cell<Option<bool>> = const { Cell::new(None) };
    /// The backtrace allocates itself.
    static LOOKING: Cell<bool> = const { Cell::new(false) };
}

#[cold]
fn note() {
    if LOOKING.replace(true) {
        return;
    }
    let ours = OURS.get().unwrap_or_else(|| {
        let name = std::thread::current().name().map(str::to_owned);
        let ours = name.is_some_and(|name| name.starts_with("md") || name.starts_with("watch"));
        OURS.set(Some(ours));
        ours
    });
    if ours {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut places) = PLACES.lock()
            && places.len() < PLACES_MAX
        {
            places.push(Backtrace::force_capture().to_string());
        }
    }
    LOOKING.set(false);
}

// SAFETY: every call is handed on unchanged to the system's allocator, whose contract is the same; what is counted beside
// it touches no memory of the call, and its own allocations are kept from counting by `LOOKING`.
#[allow(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if WATCHING.load(Ordering::Relaxed) {
            note();
        }
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if WATCHING.load(Ordering::Relaxed) {
            note();
        }
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Reports that the trading consumer got.
static REPORTS: AtomicU64 = AtomicU64::new(0);
/// Between two of its orders, in nanoseconds: the venue takes 50 in 10 s.
const ORDER_EVERY_NS: u64 = 250_000_000;

/// Reads every event and the book behind it, and keeps nothing. Where it may trade it places an order that rests, cancels
/// it when the venue has it, and places the next.
#[derive(Default)]
struct Reader {
    sum: u64,
    trades: bool,
    open: bool,
    not_before: ReceiveTime,
}

impl Consumer for Reader {
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        let book = context.book(event.header.provider, event.header.stream);
        self.sum += book.map_or(1, |book| book.sequence() % 3);
        if self.trades && !self.open && context.now() >= self.not_before {
            let order = OrderRequest::limit_text(OrderSide::Buy, "30000.00", "0.01").expect("numbers");
            self.open = context.place(OrderRequest { instrument: InstrumentId(0), ..order }).is_ok();
        }
    }

    fn on_order_event(&mut self, event: &OrderEvent, context: &mut Context<'_>) {
        let OrderEvent::Report(report) = event else { return };
        REPORTS.fetch_add(1, Ordering::Relaxed);
        if report.state.is_final() {
            self.open = false;
            self.not_before = context.now().plus_ns(ORDER_EVERY_NS);
        } else {
            let asked = context.cancel(report.provider, report.client_order_id, report.decision);
            asked.expect("there is room for one");
        }
    }

    fn summary(&self) -> Vec<(String, String)> {
        vec![("sum".to_owned(), self.sum.to_string())]
    }
}

fn topology_text(endpoints: &str, home: &std::path::Path) -> String {
    let cores = RealHost.cores().expect("a Linux host says which cores it has");
    let mut allowed: Vec<u32> = cores.allowed.iter().collect();
    allowed.sort_unstable();
    let (first, last) = (allowed[0], *allowed.last().expect("this process runs on a core"));
    let simulated = if endpoints == "simulated" {
        "simulated: {seed: 1, messages_per_instrument_per_s: 500, speed: 1.0, book_levels: 500}"
    } else {
        ""
    };
    let trades = endpoints == "simulated";
    let (orders, journal) = if trades {
        let journal = format!(
            "journal: {{dir: {}/journal, durability: batch, rotate_mib: 64, keep: 2}}",
            home.display()
        );
        ("orders: {enabled: true, on_session_loss: keep, on_stop: cancel_mine}", journal)
    } else {
        ("", String::new())
    };
    format!(
        "version: 1
host: shared
shards:
  - {{name: md0, core: {first}, role: provider, pools: {{frames: 200, raws: 200, events: 300, merged: 50, order_requests: 20, execution_reports: 20}}, order_ring_requests: 64}}
  - {{name: watch, core: {last}, role: consumer, ring_events: 8192, critical_ring_events: 64, spill_events: 8192}}
{simulated}
providers:
  - name: one
    venue: binance
    product: spot
    shard: md0
    endpoints: {endpoints}
    lines: 1
    instruments: [BTC-USDT, ETH-USDT, SOL-USDT, BNB-USDT, XRP-USDT, DOGE-USDT, ADA-USDT, AVAX-USDT]
    channels: [trade, book, ticker, {{kline: 1m}}]
    book: {{depth_max: 10000, snapshot_limit: 1000, verify_s: 180}}
    rest_weight_share: 0.8
    {orders}
    reorder: {{lateness_ms: 150, flush_ms: 50, held_events_max: 200}}
merges: []
consumers:
  - name: reader
    kind: reader
    shard: watch
    trading: {trades}
    on_panic: disable
    subscriptions:
      - {{provider: one, instruments: all, channels: [trade, book, ticker, {{kline: 1m}}], delivery: {{trade: lossless, book: book, ticker: latest, kline: latest}}, book_depth: full}}
{journal}
control: {{listen: 127.0.0.1:0, core: any}}
report: {{dir: report, interval_ms: 200}}
"
    )
}

/// Looks after the gateway until `done` holds.
fn wait(gateway: &mut Gateway, board: &mut Board, what: &str, done: impl Fn(&Board) -> bool) {
    let began = Instant::now();
    while !done(board) {
        gateway.collector.collect();
        gateway.poll_statuses(|status| board.take(status));
        assert_eq!(gateway.fallen(), None);
        assert!(began.elapsed() < Duration::from_mins(2), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What warm shards do within 30,000 events.
struct Watched {
    allocations: u64,
    frames: u64,
    reports: u64,
    /// Batches that the journal wrote.
    batches: u64,
    /// Passes of the runtime's reactor.
    passes: u64,
    places: Vec<String>,
}

/// Runs a gateway until it is warm, and watches it.
fn watched(endpoints: &str) -> Watched {
    let cores = RealHost.cores();
    let against = Against { cores: cores.as_ref(), consumer_kinds: &["reader"], simulated_lists: None };
    let home = std::env::temp_dir().join(format!("meltica-allocations-{}", std::process::id()));
    let topology = topology::read("test.yaml", &topology_text(endpoints, &home), against)
        .unwrap_or_else(|errors| panic!("{errors}"));
    let trades = endpoints == "simulated";
    let make = |_: &topology::ConsumerPlan, _: &Arc<engine::catalog::Catalog>| {
        let reader = move || Reader { trades, ..Reader::default() };
        Ok(Box::new(move || Box::new(reader()) as Box<dyn Consumer>) as Factory)
    };
    let mut gateway = launch(topology, &make).unwrap_or_else(|error| panic!("{error}"));
    let mut board = Board::default();
    let received = |board: &Board| board.consumers().map(|shard| shard.received_total).sum::<u64>();
    let frames = |board: &Board| board.providers().map(|status| status.counts.frames_total).sum::<u64>();
    wait(&mut gateway, &mut board, "proved books", |board| {
        board.providers().any(|status| status.books == 8 && status.books_proved == 8)
    });
    wait(&mut gateway, &mut board, "warmth", |board| received(board) > 20_000);
    let reported = || REPORTS.load(Ordering::Relaxed);
    wait(&mut gateway, &mut board, "warmth of orders", |_| !trades || reported() >= 20);
    // The frames between two statuses are looked at, and the allocations within them: no frame too many is counted.
    let from_frames = frames(&board);
    wait(&mut gateway, &mut board, "a status", |board| frames(board) > from_frames);
    let from_frames = frames(&board);
    PLACES.lock().expect("nobody panicked with it").clear();
    ALLOCATIONS.store(0, Ordering::SeqCst);
    WATCHING.store(true, Ordering::SeqCst);
    let (from, from_reports) = (received(&board), reported());
    let batches = |board: &Board| board.orders().map(|status| status.journal.batches_total).sum::<u64>();
    let from_batches = batches(&board);
    let passes = |gateway: &Gateway| -> u64 {
        gateway.loop_counters().map(|(_, counters)| counters.passes.load(Ordering::Relaxed)).sum()
    };
    let from_passes = passes(&gateway);
    wait(&mut gateway, &mut board, "30,000 events", |board| received(board) > from + 30_000);
    WATCHING.store(false, Ordering::SeqCst);
    let watched = Watched {
        allocations: ALLOCATIONS.load(Ordering::SeqCst),
        frames: frames(&board) - from_frames,
        reports: reported() - from_reports,
        batches: batches(&board) - from_batches,
        passes: passes(&gateway) - from_passes,
        places: std::mem::take(&mut *PLACES.lock().expect("nobody panicked with it")),
    };
    let ended = gateway.stop();
    assert!(ended.panicked.is_empty(), "{:?}", ended.panicked);
    let _ = std::fs::remove_dir_all(&home);
    watched
}

/// A venue that speaks TLS, and the file with the certificate of its authority.
fn tls_venue() -> (simvenues::Server, std::path::PathBuf) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("self-signed");
    let file = std::env::temp_dir().join(format!("meltica-allocations-{}.pem", std::process::id()));
    std::fs::write(&file, certificate.pem()).expect("a temporary file");
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("signed");
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a certificate");
    let bases = ["BTC", "ETH", "SOL", "BNB", "XRP", "DOGE", "ADA", "AVAX"];
    let all = simvenues::default_instruments("USDT").into_iter();
    let venue = simvenues::BinanceConfig {
        instruments: all.filter(|spec| bases.contains(&&*spec.base)).collect(),
        messages_per_instrument_per_s: 500.0,
        book_levels: 500,
        ..simvenues::BinanceConfig::default()
    };
    let options = simvenues::Options { tls: Some(Arc::new(config)), first: None };
    let address = "127.0.0.1:0".parse().expect("an address");
    let server = simvenues::start_with(address, simvenues::VenueConfig::Binance(venue), options);
    (server.expect("a free port"), file)
}

/// One test, not three: what is watched belongs to the whole process.
#[test]
fn warm_shards_allocate_nothing_and_over_tls_rustls_alone_does() {
    let plain = watched("simulated");
    assert!(plain.reports >= 20, "orders and reports were watched too: {}", plain.reports);
    let Watched { allocations, reports, batches, passes, .. } = plain;
    eprintln!("{reports} reports, {batches} batches, {passes} passes, {allocations} allocations");
    // A status is some milliseconds old: a batch more may have been written.
    let most = PER_BATCH_MAX * (batches + 2) + PER_PASS_MAX * passes;
    assert!(allocations <= most, "{allocations} in {batches} batches and {passes} passes");
    for place in &plain.places {
        // A pass of the runtime's reactor while a batch is under way: its own timer and submissions; no turn of ours runs in
        // it. How frames are written depends on how much debug information the build has: by path of function, or of file.
        let runtime = [
            "glommio::reactor",
            "glommio::sys",
            "glommio::timer",
            "/src/reactor.rs",
            "/src/sys/",
            "/src/timer/",
        ];
        let of_runtime = runtime.iter().any(|part| place.contains(part));
        let of_journal = place.contains("orders::journal") || place.contains("orders/journal");
        assert!(of_journal || of_runtime, "an allocation beside the journal's:\n{place}");
    }

    let (server, ca) = tls_venue();
    let port = server.address().port();
    let tls = watched(&format!(
        "{{websocket: 'wss://localhost:{port}', rest: 'https://localhost:{port}', ca_file: '{}'}}",
        ca.display()
    ));
    let _ = std::fs::remove_file(&ca);
    // rustls takes one for each record that it decrypts; the venue puts one frame or more into a record.
    assert!(
        tls.allocations > 0 && tls.allocations <= tls.frames,
        "{} in {} frames",
        tls.allocations,
        tls.frames
    );
    for place in &tls.places {
        assert!(place.contains("rustls"), "an allocation of ours:\n{place}");
    }
    eprintln!("over TLS: {} allocations in {} frames", tls.allocations, tls.frames);

    // The negative of the measurement: the watch does see what a shard allocates.
    ALLOCATIONS.store(0, Ordering::SeqCst);
    WATCHING.store(true, Ordering::SeqCst);
    let seen =
        std::thread::Builder::new().name("md-allocates".to_owned()).spawn(|| drop(Box::new([0_u8; 4_096])));
    seen.expect("a thread").join().expect("it ends");
    WATCHING.store(false, Ordering::SeqCst);
    assert!(ALLOCATIONS.load(Ordering::SeqCst) > 0);
}
