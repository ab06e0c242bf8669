//! After warm-up nothing is allocated from a frame's bytes to a consumer's handler: decode, order, book, views, dispatch,
//! ring, host; and from an order request to its bytes, and from a report's bytes to the consumer's event. Counted, not
//! believed. One test in this file, so that no other thread allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::catalog::Catalog;
use engine::channel::{Channel, Interval};
use engine::consumer::{Consumer, Context, Host, OnPanic};
use engine::decimal::Decimals;
use engine::directory::{Directory, OrderFilters};
use engine::dispatch::{Dispatcher, Fairness};
use engine::event::Event;
use engine::ids::{ConsumerId, InstrumentId, LineId, ProviderId, ShardId};
use engine::orders::check::{BookPolicy, Limits, Market};
use engine::orders::ledger::{LedgerOptions, SessionState};
use engine::orders::secret::Secret;
use engine::orders::venue::Stamp;
use engine::orders::venue::binance::{BinanceKey, BinanceOrders};
use engine::orders::{
    DecisionId, Desk, DeskOptions, OrderEvent, OrderRequest, OrderSide, Submitted, Tag, Turn, WireId, WireIds,
};
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
    assert_eq!(orders(4_000), 0, "allocations in 2,000 orders");
}

/// Appends an unmasked text frame.
fn server_frame(text: std::fmt::Arguments<'_>, out: &mut Vec<u8>) {
    use std::io::Write;
    let start = out.len();
    out.extend_from_slice(&[0x81, 126, 0, 0]);
    out.write_fmt(text).expect("a vector takes all");
    out.resize(out.len().max(start + 4 + 126), b' '); // a shorter one has a shorter header
    let length = ((out.len() - start - 4) as u16).to_be_bytes();
    out[start + 2..start + 4].copy_from_slice(&length);
}

/// Allocations in the second half of `count` orders: placed, acknowledged, filled in two.
fn orders(count: u64) -> u64 {
    const EPOCH_MS: u64 = 1_783_000_000_000;
    let mut directory = Directory::closed(ProviderId(0));
    let listing = directory.add("BTCUSDT", "BTC-USDT", InstrumentId(0)).expect("a symbol");
    directory.instrument_mut(listing).decimals = Decimals { price: 2, qty: 8 };
    let filters = OrderFilters::default();
    let market =
        Market { decimals: Decimals { price: 2, qty: 8 }, trading: true, filters: &filters, touch: None };
    let key = BinanceKey::hmac(&Secret::new(b"secret".to_vec())).expect("a key");
    let ledger = LedgerOptions { orders_max: 512, executions_max: 2_048, ..LedgerOptions::DEFAULT };
    let options = DeskOptions { ledger, ..DeskOptions::new("venue.test", "/ws-api/v3") };
    let ids = WireIds::new(9, 0).expect("fits");
    let mut desk = Desk::new(ProviderId(0), 0, ids, BinanceOrders::new(b"api", key, 5_000), options);
    desk.set_limits(ConsumerId(0), Limits { book: BookPolicy::Ignore, ..Limits::OPEN });
    let mut stamps = || Stamp { unix_ms: EPOCH_MS, nonce: 1, random: 1 };
    let mut now = ReceiveTime::from_ns(1_000_000_000);
    desk.begin(now);
    let mut bytes = Vec::with_capacity(8 << 10);
    // The session: a handshake, the clock, the stream, the list.
    for round in 0..8 {
        desk.on_timer(&mut Turn { now, directory: &directory, stamps: &mut stamps });
        if desk.poll_connect().is_some() {
            desk.connected(now);
        }
        let sent = desk.bytes_to_send().len();
        bytes.clear();
        match round {
            0 => {
                let request = String::from_utf8_lossy(desk.bytes_to_send()).into_owned();
                let key = request.split("Sec-WebSocket-Key: ").nth(1).and_then(|rest| rest.lines().next());
                let accept = tungstenite::handshake::derive_accept_key(key.expect("a key").as_bytes());
                bytes.extend_from_slice(format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes());
            }
            1 => server_frame(
                format_args!(
                    r#"{{"id":{},"status":200,"result":{{"serverTime":{EPOCH_MS}}}}}"#,
                    Tag::session(2).0
                ),
                &mut bytes,
            ),
            2 => server_frame(
                format_args!(
                    r#"{{"id":{},"status":200,"result":{{"subscriptionId":0}}}}"#,
                    Tag::session(0).0
                ),
                &mut bytes,
            ),
            3 => {
                let list = 5_u64 << 48 | 1 << 20; // the first list of open orders
                server_frame(format_args!(r#"{{"id":{list},"status":200,"result":[]}}"#), &mut bytes);
            }
            _ => {}
        }
        desk.sent(sent);
        desk.received(&bytes, now);
    }
    assert_eq!(desk.session(), SessionState::Live);
    let mut request = OrderRequest::limit_text(OrderSide::Buy, "64000.5", "0.003").expect("numbers");
    let (mut before, mut reports) = (0, 0);
    for number in 1..=count {
        if number == count / 2 {
            before = ALLOCATIONS.load(Ordering::Relaxed);
        }
        now = now.plus_ns(1_000_000);
        let mut turn = Turn { now, directory: &directory, stamps: &mut stamps };
        request.decision = DecisionId(number);
        let Submitted::Place(tag) = desk.submit(&request, Some(&market), &mut turn) else {
            panic!("order {number} was refused")
        };
        let sent = desk.bytes_to_send().len();
        assert!(sent > 100, "the bytes are ready");
        desk.sent(sent);
        let id = WireId { epoch: 9, shard: 0, counter: number }.encode();
        bytes.clear();
        server_frame(
            format_args!(
                r#"{{"id":{},"status":200,"result":{{"symbol":"BTCUSDT","orderId":{number},"orderListId":-1,"clientOrderId":"{}","transactTime":{EPOCH_MS}}}}}"#,
                tag.0,
                id.as_str()
            ),
            &mut bytes,
        );
        for (fill, filled, state) in [(1, "0.001", "PARTIALLY_FILLED"), (2, "0.003", "FILLED")] {
            let qty = if fill == 1 { "0.001" } else { "0.002" };
            server_frame(
                format_args!(
                    r#"{{"subscriptionId":0,"event":{{"e":"executionReport","s":"BTCUSDT","c":"{}","C":"","x":"TRADE","X":"{state}","r":"NONE","i":{number},"l":"{qty}","z":"{filled}","L":"64000.5","n":"0.1","N":"USDT","T":{EPOCH_MS},"t":{},"m":true,"Z":"64.0"}}}}"#,
                    id.as_str(),
                    number * 2 + fill
                ),
                &mut bytes,
            );
        }
        desk.received(&bytes, now);
        while let Some(event) = desk.poll_event() {
            reports += u64::from(matches!(event, OrderEvent::Report(_)));
        }
        desk.journal_written(desk.journal().len());
        desk.journal_durable(desk.journal_end());
        desk.on_timer(&mut turn);
    }
    let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(reports, 3 * count, "acknowledged, filled in part, filled");
    allocated
}
