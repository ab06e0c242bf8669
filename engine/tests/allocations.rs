//! After warm-up nothing is allocated from a frame's bytes to a consumer's handler: decode, order, book, views, dispatch,
//! ring, host. Counted, not believed. One test in this file, so that no other thread allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::channel::{Channel, Interval};
use engine::consumer::{Catalog, Consumer, Context, Host, OnPanic};
use engine::directory::Directory;
use engine::dispatch::{Dispatcher, Fairness};
use engine::event::Event;
use engine::ids::{ConsumerId, InstrumentId, LineId, ProviderId, ShardId};
use engine::pipeline::Pipeline;
use engine::ring::ring;
use engine::routing::{Delivery, Route};
use engine::testing;
use engine::time::{FixedClock, ReceiveTime};
use engine::venue::binance::Binance;

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to `System` unchanged, which keeps the contract of `GlobalAlloc`; the counter touches no
// memory but its own and allocates nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract, and it is passed on as it is.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract, and `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps `realloc`'s contract, and `pointer` came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts what it is shown.
#[derive(Default)]
struct Counter(u64);

impl Consumer for Counter {
    fn on_event(&mut self, _: &Event, _: &mut Context<'_>) {
        self.0 += 1;
    }
}

/// Frames of a Binance-like session: trade, best prices, kline, and a diff of 20 levels, in turn.
fn session(count: u64) -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(5);
    let mut frames = Vec::new();
    for number in 1..=count {
        let price = 64_000 + random.u32(0..100);
        frames.push(match number % 4 {
            0 => {
                let mut side = |base: u32, sign: i32| -> String {
                    let levels = (0..10).map(|_| {
                        let price = base as i32 + sign * random.i32(1..400);
                        format!("[\"{price}.00000000\",\"{}.50000000\"]", random.u32(0..4))
                    });
                    levels.collect::<Vec<_>>().join(",")
                };
                let (bids, asks) = (side(64_000, -1), side(64_001, 1));
                format!("{{\"stream\":\"btcusdt@depth@100ms\",\"data\":{{\"e\":\"depthUpdate\",\"E\":1783000000200,\"s\":\"BTCUSDT\",\"U\":{number},\"u\":{},\"b\":[{bids}],\"a\":[{asks}]}}}}", number + 3)
            }
            1 => format!("{{\"stream\":\"btcusdt@trade\",\"data\":{{\"e\":\"trade\",\"E\":1783000000123,\"s\":\"BTCUSDT\",\"t\":{},\"p\":\"{price}.51000000\",\"q\":\"0.00125000\",\"T\":1783000000122,\"m\":true,\"M\":true}}}}", number / 4),
            2 => format!("{{\"stream\":\"btcusdt@bookTicker\",\"data\":{{\"u\":{number},\"s\":\"BTCUSDT\",\"b\":\"{price}.50000000\",\"B\":\"1.84210000\",\"a\":\"{price}.51000000\",\"A\":\"0.55100000\"}}}}"),
            _ => format!("{{\"stream\":\"btcusdt@kline_1m\",\"data\":{{\"e\":\"kline\",\"E\":{number},\"s\":\"BTCUSDT\",\"k\":{{\"t\":1782999960000,\"T\":1783000019999,\"s\":\"BTCUSDT\",\"i\":\"1m\",\"f\":1,\"L\":9,\"o\":\"64200.00000000\",\"c\":\"{price}.51000000\",\"h\":\"64215.00000000\",\"l\":\"64198.10000000\",\"v\":\"12.41250000\",\"n\":90,\"x\":false,\"q\":\"796938.11230000\",\"V\":\"7.00000000\",\"Q\":\"449450.00000000\",\"B\":\"0\"}}}}}}"),
        }.into_bytes());
    }
    frames
}

#[test]
fn nothing_is_allocated_per_event_after_warm_up() {
    let mut directory = Directory::closed(ProviderId(0));
    let listing = directory.add("BTCUSDT", "BTC-USDT", InstrumentId(0)).expect("a short symbol");
    let book = Channel::Book { speed_ms: 100 };
    let streams = [Channel::Trade, Channel::Ticker, Channel::Kline(Interval::M1), book]
        .map(|channel| (channel, directory.add_stream(listing, channel)));
    let mut dispatcher = Dispatcher::new(16);
    let mut shards = Vec::new();
    // The third ring is so small that everything in it waits and collapses; the fourth is above its mark all the time, so
    // that every stream has its share only.
    for (number, depth, capacity) in [(0, usize::MAX, 1 << 12), (1, 50, 1 << 12), (2, 5, 16), (3, 5, 256)] {
        let (sender, receiver) = ring(capacity);
        let output = dispatcher.add_output(ShardId(number), sender, 64);
        if number == 3 {
            dispatcher.set_fairness(output, Fairness { high_water_permille: 100, burst_events: 1 });
        }
        let mut host = Host::new(Arc::new(Catalog::default()), 8);
        let seat =
            host.add("counter", ConsumerId(0), OnPanic::Disable, Box::new(|| Box::new(Counter::default())));
        for (channel, stream) in streams {
            let route = Route { output, delivery: Delivery::default_of(channel), book_depth: depth };
            dispatcher.routing.add(stream, route);
            host.subscribe(seat, ProviderId(0), stream, channel.is_book().then_some((1_000, 1_000)));
        }
        shards.push((receiver, host));
    }
    let mut options = testing::options();
    options.book_reserve = 1_000;
    let mut pipeline = Pipeline::new(Binance::spot(), directory, dispatcher, options);
    let mut clock = FixedClock(ReceiveTime::from_ns(1));
    let (warm_up, measured) = (2_000, 20_000);
    let mut frames = session(warm_up + measured);
    let mut snapshot = br#"{"lastUpdateId":3,"bids":[["64000.00000000","1.00000000"]],"asks":[["64001.00000000","3.00000000"]]}"#.to_vec();
    pipeline.rest("/api/v3/depth?symbol=BTCUSDT&limit=1000", &mut snapshot, clock.0, &mut clock);
    let mut before = 0;
    for (number, frame) in frames.iter_mut().enumerate() {
        if number as u64 == warm_up {
            before = ALLOCATIONS.load(Ordering::Relaxed);
        }
        assert_eq!(pipeline.readiness(clock.0), engine::pipeline::Readiness::Ready);
        pipeline.frame(LineId(0), frame, clock.0, &mut clock);
        if number % 8 == 7 {
            pipeline.flush(&mut clock, |_| {});
            for (number_of, (receiver, host)) in shards.iter_mut().enumerate() {
                let count_max = [usize::MAX, usize::MAX, 3, 5][number_of];
                let count = receiver.drain(count_max, |event| host.deliver(event, &mut clock));
                host.batch_end(count, clock.0);
            }
        }
    }
    let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
    let (held_back, _) = pipeline.dispatcher.output_counts(3);
    assert!(held_back.throttled_total > 1_000, "{held_back:?}");
    let counts = pipeline.counts();
    assert_eq!(
        (counts.decode_errors_total, counts.gaps_total, counts.resyncs_total),
        (0, 0, 0),
        "{counts:?}"
    );
    assert!(shards.iter().all(|(_, host)| host.delivered_total() > 4_000));
    assert_eq!(allocated, 0, "allocations in {measured} frames");
}
