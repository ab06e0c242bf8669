//! The whole order entry against simulated venues, by seed: all faults of order entry, lost connections, dying processes,
//! switches. Duplicates sent 0, switch leaks 0, reports lost 0, final states and positions equal to the venue's; each is
//! checked while it runs or at its end ([`soak::trade`]).

use engine::orders::desk::Durability;
use engine::orders::ledger::SessionState;
use engine::orders::secret::Secret;
use engine::orders::venue::OrderGateway;
use engine::orders::venue::binance::{BinanceKey, BinanceOrders};
use engine::orders::venue::coinbase::{CoinbaseKey, CoinbaseOrders, LIVE_HOST};
use engine::orders::venue::kraken::{KrakenKey, KrakenOrders};
use engine::orders::{ClientOrderId, OrderKind, OrderRequest, OrderSide, TimeInForce};
use simvenues::exchange::KeyKind;
use simvenues::site::Site;
use simvenues::{
    BinanceConfig, CoinbaseConfig, CoinbaseProduct, Fault, How, InstrumentSpec, KrakenConfig, OrderFault,
    Product, Target, TradingConfig, VenueConfig, default_instruments,
};
use soak::sim::{MS_NS, SECOND_NS};
use soak::trade::{CONSUMERS, Setup, Trade};

/// Quantities of the three instruments, some tens to thousands of the quote asset each.
const QUANTITIES: [&str; 3] = ["0.002", "0.05", "1"];

fn binance(seed: u64, durability: Durability, fault_permille: u32) -> Setup<BinanceOrders> {
    let specs = default_instruments("USDT")[..3].to_vec();
    let config = BinanceConfig {
        instruments: specs.clone(),
        seed,
        messages_per_instrument_per_s: 20.0,
        book_levels: 100,
        trading: Some(TradingConfig { fault_permille, ..simvenues::binance::trading() }),
        ..BinanceConfig::of(Product::Spot)
    };
    let gateway = |site: &Site| {
        let keys = site.keys();
        let key = keys.iter().find(|key| key.kind == KeyKind::Text).expect("issued at the start");
        let secret = Secret::new(key.secret_text.clone().into_bytes());
        BinanceOrders::new(key.name.as_bytes(), BinanceKey::hmac(&secret).expect("a key"), 2_000)
    };
    Setup {
        config: VenueConfig::Binance(config),
        specs,
        path: "/ws-api/v3",
        symbol: |spec: &InstrumentSpec| format!("{}{}", spec.base, spec.quote),
        gateway,
        durability,
    }
}

fn kraken(seed: u64, durability: Durability, fault_permille: u32) -> Setup<KrakenOrders> {
    let specs = default_instruments("USD")[..3].to_vec();
    let mut config = KrakenConfig {
        instruments: specs.clone(),
        seed,
        messages_per_instrument_per_s: 20.0,
        book_levels: 100,
        trading: Some(TradingConfig { fault_permille, ..simvenues::kraken::trading() }),
        ..KrakenConfig::default()
    };
    // The venue's own limit (0.5 calls a second) makes the recovery of dozens of orders take minutes: each is asked for
    // alone. It is met here too, but less often.
    config.limits.private_call_every_ns = SECOND_NS / 5;
    let gateway = |site: &Site| {
        let key = site.keys()[0].clone();
        let secret = Secret::new(key.secret_text.into_bytes());
        KrakenOrders::new(key.name.as_bytes(), KrakenKey::new(&secret).expect("a key"))
    };
    Setup {
        config: VenueConfig::Kraken(config),
        specs,
        path: "/v2",
        symbol: |spec: &InstrumentSpec| format!("{}/{}", spec.base, spec.quote),
        gateway,
        durability,
    }
}

fn coinbase(seed: u64, durability: Durability, fault_permille: u32) -> Setup<CoinbaseOrders> {
    let specs = default_instruments("USD")[..3].to_vec();
    let config = CoinbaseConfig {
        instruments: specs.clone(),
        seed,
        messages_per_instrument_per_s: 20.0,
        book_levels: 100,
        trading: Some(TradingConfig { fault_permille, ..simvenues::coinbase::trading() }),
        ..CoinbaseConfig::of(CoinbaseProduct::Advanced)
    };
    let gateway = |site: &Site| {
        let keys = site.keys();
        let key = keys.iter().find(|key| key.kind == KeyKind::Ed25519).expect("issued at the start");
        let secret = Secret::new(key.secret_text.clone().into_bytes());
        CoinbaseOrders::new(key.name.as_bytes(), CoinbaseKey::new(&secret).expect("a key"), LIVE_HOST)
    };
    Setup {
        config: VenueConfig::Coinbase(config),
        specs,
        path: "/",
        symbol: InstrumentSpec::symbol,
        gateway,
        durability,
    }
}

/// A random order of a random consumer, and sometimes the cancel of one.
fn trade_once<G: OrderGateway>(trade: &mut Trade<G>, placed: &mut Vec<(u16, ClientOrderId)>) {
    let consumer = trade.rng.u16(0..CONSUMERS);
    let instrument = trade.rng.usize(0..3);
    let touch = trade.touch(instrument);
    let (side, near) = if trade.rng.bool() { (OrderSide::Buy, 0) } else { (OrderSide::Sell, 1) };
    let take = usize::from(trade.rng.u8(0..3) == 0);
    let limit = OrderRequest::limit_text(side, &touch[near ^ take], QUANTITIES[instrument]).expect("numbers");
    let request = match trade.rng.u8(0..10) {
        0 => OrderRequest::market(side, limit.qty),
        1..4 => OrderRequest { time_in_force: TimeInForce::ImmediateOrCancel, ..limit },
        _ => OrderRequest { kind: OrderKind::Limit, ..limit },
    };
    placed.extend(trade.place(consumer, instrument, request).map(|id| (consumer, id)));
    if trade.rng.u8(0..4) == 0
        && let Some((consumer, id)) = trade.rng.choice(placed.iter().copied())
    {
        trade.cancel(consumer, id);
    }
}

/// A random thing that goes wrong, or a switch that somebody turns.
fn disturb<G: OrderGateway>(trade: &mut Trade<G>) {
    match trade.rng.u8(0..60) {
        0 => trade.site.fault(&Fault::Disconnect(Target::All, How::Drop), trade.now_ns),
        1 => trade.order_fault(OrderFault::FillDuringOutage { percent: 50, for_ns: SECOND_NS }),
        2 => trade.order_fault(OrderFault::Fill { percent: 30 }),
        3 => trade.order_fault(OrderFault::ClockSkew { by_ms: -3_000, for_ns: 500 * MS_NS }),
        4 => trade.kill(true),
        5 | 6 => trade.kill(false),
        7 => trade.set_trading(0, false),
        8 | 9 => trade.set_trading(0, true),
        10 => trade.order_fault(OrderFault::AckLost { count: 1 }),
        11 => trade.order_fault(OrderFault::KillSession { count: 1 }),
        _ => {}
    }
}

fn all_faults<G: OrderGateway>(setup: fn(u64, Durability, u32) -> Setup<G>) {
    let (seeds, mut orders, mut fills, mut gaps, mut recovered) = (10, 0, 0, 0, 0);
    for seed in 0..seeds {
        let durability = if seed % 2 == 0 { Durability::Batch } else { Durability::Sync };
        let mut trade = Trade::new(seed, setup(seed, durability, 300));
        trade.settle();
        let mut placed = Vec::new();
        for _ in 0..150 {
            trade_once(&mut trade, &mut placed);
            disturb(&mut trade);
            let pause_ms = trade.rng.u64(1..400);
            trade.pass_ms(pause_ms);
        }
        trade.kill(false);
        trade.finish();
        let truth = trade.site.trading();
        orders += truth.orders.len() as u64;
        fills += truth.fills.len() as u64;
        gaps += trade.tally.gaps;
        recovered += trade.tally.recovered;
    }
    let counts =
        [("orders", orders, 30), ("fills", fills, 15), ("gaps", gaps, 1), ("recovered", recovered, 5)];
    for (name, count, least) in counts {
        assert!(count > least * seeds, "{count} {name} in {seeds} runs: little was tried");
    }
}

#[test]
fn all_faults_by_seed_lose_nothing_and_send_nothing_twice() {
    all_faults(binance);
}

#[test]
fn all_faults_by_seed_at_kraken() {
    all_faults(kraken);
}

#[test]
fn all_faults_by_seed_at_coinbase() {
    all_faults(coinbase);
}

fn processes_die<G: OrderGateway>(setup: fn(u64, Durability, u32) -> Setup<G>) {
    let (mut restarts, mut sent) = (0, 0);
    for seed in 100..110 {
        let mut trade = Trade::new(seed, setup(seed, Durability::Sync, 100));
        trade.settle();
        let mut placed = Vec::new();
        for _ in 0..10 {
            for _ in 0..trade.rng.u8(1..12) {
                trade_once(&mut trade, &mut placed);
                let pause_ms = trade.rng.u64(0..40);
                trade.pass_ms(pause_ms);
            }
            trade.restart();
            if trade.rng.bool() {
                trade.order_fault(OrderFault::Fill { percent: 50 });
            }
            let pause_ms = trade.rng.u64(0..3_000);
            trade.pass_ms(pause_ms);
        }
        trade.finish();
        restarts += trade.tally.restarts;
        sent += trade.tally.sent;
    }
    // Kraken allows few questions, so its sessions come back later.
    assert!(restarts == 100 && sent > 200, "{restarts} {sent}");
}

#[test]
fn a_process_that_dies_knows_its_orders_again_and_reuses_no_id() {
    processes_die(binance);
}

#[test]
fn a_process_that_dies_at_kraken() {
    processes_die(kraken);
}

#[test]
fn a_process_that_dies_at_coinbase() {
    processes_die(coinbase);
}

fn journals_lose<G: OrderGateway>(setup: fn(u64, Durability, u32) -> Setup<G>) -> u64 {
    let (mut adopted, mut sent) = (0, 0);
    for seed in 200..210 {
        let mut trade = Trade::new(seed, setup(seed, Durability::Batch, 0));
        trade.settle();
        let mut placed = Vec::new();
        for _ in 0..5 {
            for _ in 0..6 {
                trade_once(&mut trade, &mut placed);
                trade.pass_ms(1);
            }
            trade.restart();
            trade.settle();
            adopted += trade.desk.counts.adopted_total;
        }
        trade.finish();
        sent += trade.tally.sent;
    }
    assert!(sent > 100, "{sent}");
    adopted
}

#[test]
fn a_batched_journal_loses_records_and_open_orders_are_adopted() {
    assert!(journals_lose(binance) > 0);
}

#[test]
fn a_batched_journal_loses_records_at_kraken() {
    assert!(journals_lose(kraken) > 0);
}

#[test]
fn a_batched_journal_loses_records_at_coinbase() {
    assert!(journals_lose(coinbase) > 0);
}

/// `pause_ms` after each: recoveries take questions, and the venue counts them.
fn two_hundred_disconnects<G: OrderGateway>(setup: Setup<G>, pause_ms: u64) {
    let mut trade = Trade::new(300, setup);
    trade.settle();
    let (gaps_before, restored_before) = (trade.tally.gaps, trade.tally.restored);
    let mut recovered_rounds = 0;
    for _ in 0..200 {
        let [bid, _] = trade.touch(0);
        let below = bid.split('.').next().expect("digits").parse::<u64>().expect("whole") - 500;
        let request = OrderRequest::limit_text(OrderSide::Buy, &below.to_string(), "0.004").expect("numbers");
        let order = trade.place(0, 0, request).expect("there is a session");
        trade.pass_ms(50);
        let before = trade.tally.recovered;
        trade.order_fault(OrderFault::FillDuringOutage { percent: 60, for_ns: SECOND_NS / 2 });
        trade.run_for("the gap", 5, |trade| trade.desk.session() != SessionState::Live);
        trade.settle();
        recovered_rounds += u64::from(trade.tally.recovered > before);
        trade.cancel(0, order);
        trade.pass_ms(pause_ms);
    }
    assert_eq!((trade.tally.gaps - gaps_before, trade.tally.restored - restored_before), (200, 200));
    assert!(recovered_rounds >= 195, "{recovered_rounds}");
    trade.finish();
}

#[test]
fn two_hundred_disconnects_with_fills_during_the_outage_pair_their_marks() {
    two_hundred_disconnects(binance(300, Durability::Batch, 0), 1_500);
}

#[test]
fn two_hundred_disconnects_at_kraken() {
    let mut setup = kraken(300, Durability::Batch, 0);
    if let VenueConfig::Kraken(config) = &mut setup.config {
        config.limits.connections_per_10_minutes_max = 10_000; // outages so close together would reach it
    }
    two_hundred_disconnects(setup, 12_000);
}

#[test]
fn two_hundred_disconnects_at_coinbase() {
    two_hundred_disconnects(coinbase(300, Durability::Batch, 0), 1_500);
}
