//! The memory sum of `topology check` against what a gateway really takes: live bytes of the whole process after the
//! launch, counted by an allocator. Nothing is connected, so nothing has grown.

use std::alloc::{GlobalAlloc, Layout, System};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use engine::consumer::{Consumer, Context};
use engine::event::Event;
use shards::host::{HostView as _, RealHost};
use shards::launch::{Factory, launch};
use shards::topology::{self, Against, memory};

/// Bytes that are allocated and not yet freed, on all threads.
static LIVE: AtomicI64 = AtomicI64::new(0);

struct Counting;

// SAFETY: every call is handed on unchanged to the system's allocator, whose contract is the same; what is counted beside
// it touches no memory of the call.
#[allow(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size as i64 - layout.size() as i64, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Keeps nothing.
struct Deaf;

impl Consumer for Deaf {
    fn on_event(&mut self, _: &Event, _: &mut Context<'_>) {}
}

/// Two providers on one shard, one of them with two lines, a merge, and two consumer shards of which one wants books.
/// Nobody listens at the endpoints.
fn topology_text(home: &std::path::Path) -> String {
    let cores = RealHost.cores().expect("a Linux host says which cores it has");
    let core = cores.allowed.iter().next().expect("this process runs on a core");
    let home = home.display();
    format!(
        "version: 1
host: shared
shards:
  - {{name: md0, core: {core}, role: provider, pools: {{frames: 200, raws: 300, events: 400, merged: 50, order_requests: 20, execution_reports: 20}}, order_ring_requests: 64}}
  - {{name: merge0, core: {core}, role: merger, pools: {{frames: 16, raws: 16, events: 1000, merged: 500, order_requests: 1, execution_reports: 1}}, ring_events: 2048, critical_ring_events: 64, spill_events: 1024}}
  - {{name: one, core: {core}, role: consumer, ring_events: 8192, critical_ring_events: 64, spill_events: 4096}}
  - {{name: two, core: {core}, role: consumer, ring_events: 4096, critical_ring_events: 64, spill_events: 16384}}
providers:
  - name: binance
    venue: binance
    product: spot
    shard: md0
    endpoints: {{websocket: 'ws://127.0.0.1:9', rest: 'http://127.0.0.1:9'}}
    lines: 2
    instruments: [BTC-USDT, ETH-USDT, SOL-USDT, BNB-USDT, XRP-USDT, DOGE-USDT, ADA-USDT, AVAX-USDT]
    channels: [trade, book, ticker, {{kline: 1m}}]
    book: {{depth_max: 10000, snapshot_limit: 1000, verify_s: 180}}
    rest_weight_share: 0.8
    reorder: {{lateness_ms: 150, flush_ms: 50, held_events_max: 200}}
  - name: kraken
    venue: kraken
    product: spot
    shard: md0
    endpoints: {{websocket: 'ws://127.0.0.1:9', rest: 'http://127.0.0.1:9'}}
    lines: 1
    instruments: [BTC-USD, ETH-USD, SOL-USD]
    channels: [trade, book, ticker]
    book: {{depth_max: 100, verify_s: 180}}
    rest_weight_share: 0.8
    orders: {{enabled: true, keys: {{file: {home}/key}}, on_session_loss: keep, on_stop: keep}}
    reorder: {{lateness_ms: 150, flush_ms: 50, held_events_max: 100}}
merges:
  - {{name: best, shard: merge0, kind: bbo, inputs: {{binance: [BTC-USDT, ETH-USDT], kraken: [BTC-USD, ETH-USD]}}, window_s: 10, count: 1000, partial: suppress}}
consumers:
  - name: first
    kind: deaf
    shard: one
    trading: false
    on_panic: disable
    subscriptions:
      - {{provider: binance, instruments: all, channels: [trade, book, ticker, {{kline: 1m}}], delivery: {{trade: lossless, book: book, ticker: latest, kline: latest}}, book_depth: full}}
      - {{provider: kraken, instruments: all, channels: [trade, book], delivery: {{trade: lossless, book: book}}, book_depth: 50}}
  - name: second
    kind: deaf
    shard: two
    trading: false
    on_panic: disable
    subscriptions:
      - {{provider: binance, instruments: [BTC-USDT], channels: [trade], delivery: {{trade: lossless}}}}
      - {{merge: best, delivery: latest}}
journal: {{dir: {home}/journal, durability: batch, rotate_mib: 1, keep: 2}}
control: {{listen: 127.0.0.1:0, core: any}}
report: {{dir: report, interval_ms: 60000}}
"
    )
}

#[test]
fn the_sum_is_what_a_gateway_takes_at_start() {
    let home = std::env::temp_dir().join(format!("meltica-memory-{}", std::process::id()));
    std::fs::create_dir_all(&home).expect("a temporary directory");
    // A key that no venue knows: 64 bytes in base 64.
    std::fs::write(home.join("key"), format!("name\n{}AA==\n", "A".repeat(84))).expect("our directory");
    std::fs::set_permissions(home.join("key"), std::fs::Permissions::from_mode(0o600)).expect("our file");
    let against = Against { cores: None, consumer_kinds: &["deaf"], simulated_lists: None };
    let topology = topology::read("test.yaml", &topology_text(&home), against)
        .unwrap_or_else(|errors| panic!("{errors}"));
    let budget = memory::memory_budget(&topology);
    // What the kernel maps for the executors is not of this allocator.
    let said: u64 = budget.total_bytes() - budget.executor_bytes();
    // Clocks and the like, which the first gateway of a process makes.
    let _ = shards::machine::clock::Clock::new();
    let before = LIVE.load(Ordering::SeqCst);
    let make = || Box::new(|| Box::new(Deaf) as Box<dyn Consumer>) as Factory;
    let mut gateway = launch(topology, &|_, _| Ok(make())).unwrap_or_else(|error| panic!("{error}"));
    // Every shard has made what is its own when it first tells its status.
    let mut told = std::collections::BTreeSet::new();
    let began = Instant::now();
    while told.len() < 6 {
        gateway.poll_statuses(|status| {
            told.insert(format!("{status:?}").chars().take(40).collect::<String>());
        });
        assert!(began.elapsed() < Duration::from_mins(1), "{told:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let taken = LIVE.load(Ordering::SeqCst) - before;
    gateway.stop();
    let share = taken as f64 / said as f64;
    eprintln!("taken {taken}, said {said}\n{}", budget.render());
    assert!(
        (0.85..=1.05).contains(&share),
        "the gateway took {taken} bytes, the sum says {said}:\n{}",
        budget.render()
    );
}
