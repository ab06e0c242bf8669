//! The engine's order gateway for Binance against a simulated Binance: each kind of order, each refusal, each fault, and
//! runs by seed with all of them. What consumers are told must be what the venue did.

use engine::orders::secret::Secret;
use engine::orders::venue::binance::{BinanceKey, BinanceOrders};
use engine::orders::{Command, OrderEvent, OrderRequest, OrderSide, Submitted, TimeInForce};
use fastrand::Rng;
use simvenues::exchange::{KeyKind, Status};
use simvenues::{
    BinanceConfig, Fault, How, OrderFault, Product, Target, TradingConfig, VenueConfig, default_instruments,
};
use soak::desk::Desk;
use soak::sim::{MS_NS, SECOND_NS};

fn desk_with(seed: u64, kind: KeyKind, trading: TradingConfig) -> Desk<BinanceOrders> {
    let specs = default_instruments("USDT")[..3].to_vec();
    let config = BinanceConfig {
        instruments: specs.clone(),
        seed,
        messages_per_instrument_per_s: 100.0,
        book_levels: 100,
        trading: Some(trading),
        ..BinanceConfig::of(Product::Spot)
    };
    let symbol = |spec: &simvenues::InstrumentSpec| format!("{}{}", spec.base, spec.quote);
    Desk::new(seed, VenueConfig::Binance(config), specs, "/ws-api/v3", symbol, |site| {
        let keys = site.keys();
        let key = keys.iter().find(|key| key.kind == kind).expect("issued at the start");
        let secret = Secret::new(key.secret_text.clone().into_bytes());
        let signer = match kind {
            KeyKind::Ed25519 => BinanceKey::ed25519_pem(&secret),
            _ => BinanceKey::hmac(&secret),
        };
        BinanceOrders::new(key.name.as_bytes(), signer.expect("a key"), 2_000)
    })
}

fn desk(seed: u64) -> Desk<BinanceOrders> {
    let mut desk = desk_with(seed, KeyKind::Text, simvenues::binance::trading());
    desk.settle();
    desk
}

fn limit(side: OrderSide, price: &str, qty: &str) -> OrderRequest {
    OrderRequest::limit_text(side, price, qty).expect("numbers")
}

/// An order that rests: a buyer well below the market.
fn resting() -> OrderRequest {
    limit(OrderSide::Buy, "50000.00", "0.01")
}

#[test]
fn orders_of_each_kind_reach_their_ends_with_keys_of_both_kinds() {
    for kind in [KeyKind::Text, KeyKind::Ed25519] {
        let mut desk = desk_with(1, kind, simvenues::binance::trading());
        desk.settle();
        let [(bid, _), (ask, ask_qty)] = desk.touch(0);
        let buy = limit(OrderSide::Buy, &ask, &ask_qty);
        let taker = desk.place(0, buy);
        desk.pass_ms(5);
        assert_eq!(desk.states(taker), ["ACK", "FILLED"]);
        let fill = desk.reports(taker)[1];
        assert_eq!((fill.price, fill.fee_asset.as_str()), (fill.last_price, "BTC"));
        assert!(fill.fee.mantissa > 0, "{fill:?}");

        let large = OrderRequest::limit_text(OrderSide::Sell, &bid, "5000").expect("numbers");
        let ioc = desk.place(0, OrderRequest { time_in_force: TimeInForce::ImmediateOrCancel, ..large });
        let fok = desk.place(0, OrderRequest { time_in_force: TimeInForce::FillOrKill, ..large });
        let [(bid, _), _] = desk.touch(1);
        let crossing = limit(OrderSide::Sell, &bid, "1");
        let post_only = desk.place(1, OrderRequest { post_only: true, ..crossing });
        let market = desk.place(1, OrderRequest::market(OrderSide::Sell, crossing.qty));
        desk.pass_ms(5);
        assert_eq!(desk.states(ioc).last(), Some(&"EXPIRED"));
        assert_eq!(desk.states(fok), ["ACK", "EXPIRED"]);
        let refused = desk.reports(post_only);
        assert_eq!((desk.states(post_only), refused[0].code), (vec!["REJECTED"], -2010));
        assert_eq!(desk.states(market).last(), Some(&"FILLED"));

        let maker = desk.place(1, OrderRequest { post_only: true, ..limit(OrderSide::Buy, &bid, "1") });
        desk.run_for("a fill by the market", 120, |desk| desk.states(maker).last() == Some(&"FILLED"));
        assert!(desk.used.is_some_and(|(used, limit)| used > 0 && limit == 100), "{:?}", desk.used);
        desk.finish();
    }
}

#[test]
fn cancels_of_one_and_of_all_end_what_rests_and_a_question_changes_nothing() {
    let mut desk = desk(2);
    let first = desk.place(0, resting());
    let second = desk.place(0, resting());
    let third = desk.place(1, limit(OrderSide::Buy, "2000", "0.5"));
    desk.pass_ms(5);
    assert!(matches!(desk.cancel(first), Submitted::Cancel(_)));
    desk.pass_ms(5);
    assert_eq!(desk.states(first), ["ACK", "CANCELLED"]);
    desk.cancel_all_at_venue(0);
    desk.pass_ms(5);
    assert_eq!((desk.states(second), desk.states(third)), (vec!["ACK", "CANCELLED"], vec!["ACK"]));
    let query = OrderRequest { command: Command::Query, client_order_id: third, ..OrderRequest::default() };
    assert!(matches!(desk.submit(1, query), Submitted::Query(_)));
    desk.pass_ms(5);
    assert_eq!(desk.states(third), ["ACK"], "nothing new");
    desk.finish();
    assert_eq!(desk.states(third), ["ACK", "CANCELLED"]);
}

#[test]
fn a_cancel_that_comes_too_late_is_refused_and_the_fill_is_told() {
    let mut desk = desk(3);
    let order = desk.place(0, resting());
    desk.pass_ms(5);
    desk.order_fault(OrderFault::FillReportLost { count: 1 });
    desk.order_fault(OrderFault::Fill { percent: 100 });
    assert!(matches!(desk.cancel(order), Submitted::Cancel(_)));
    desk.run_for("the fill", 20, |desk| desk.states(order).last() == Some(&"FILLED"));
    assert!(
        desk.events
            .iter()
            .any(|event| matches!(event, OrderEvent::CancelRejected(notice) if notice.code == -2011))
    );
    desk.finish();
}

#[test]
fn refusals_carry_the_venues_codes() {
    let mut desk = desk(4);
    let [_, (ask, _)] = desk.touch(0);
    for (request, code, text) in [
        (limit(OrderSide::Buy, "50000.001", "0.01"), -1013, "Filter failure: PRICE_FILTER"),
        (limit(OrderSide::Buy, "50000", "0.010001"), -1013, "Filter failure: LOT_SIZE"),
        (limit(OrderSide::Buy, "50000", "0.00001"), -1013, "Filter failure: NOTIONAL"),
        (
            limit(OrderSide::Buy, "50000", "900000"),
            -2010,
            "Account has insufficient balance for requested action.",
        ),
        (
            OrderRequest { post_only: true, ..limit(OrderSide::Buy, &ask, "0.01") },
            -2010,
            "Order would immediately match and take.",
        ),
    ] {
        let id = desk.place(0, request);
        desk.pass_ms(5);
        let reports = desk.reports(id);
        assert_eq!(desk.states(id), ["REJECTED"], "{text}");
        assert_eq!((reports[0].code, reports[0].reason.as_str()), (code, text));
    }
    assert_eq!(desk.site.trading().orders, []);
    desk.finish();
}

#[test]
fn the_limit_on_orders_refuses_and_says_so() {
    let mut desk = desk(5);
    let ids: Vec<_> = (0..101).map(|_| desk.place(0, resting())).collect();
    desk.pass_ms(5);
    assert_eq!(desk.used, Some((100, 100)));
    let refused = desk.reports(ids[100]);
    assert_eq!((desk.states(ids[100]), refused[0].code), (vec!["REJECTED"], -1015));
    desk.finish();
}

/// One resting order and one taker under a fault, then the end with all its comparisons.
fn under(fault: OrderFault) -> Desk<BinanceOrders> {
    let mut desk = desk(6);
    desk.order_fault(fault);
    let [_, (ask, _)] = desk.touch(0);
    desk.place(0, limit(OrderSide::Buy, &ask, "0.002"));
    desk.pass_ms(5);
    if desk.ledger.session() == engine::orders::ledger::SessionState::Live {
        desk.place(0, resting());
    }
    desk.pass_ms(30_000);
    desk.finish();
    assert_eq!(desk.site.trading().orders[0].status, Status::Filled);
    desk
}

#[test]
fn each_fault_of_an_answer_is_settled_by_asking_and_nothing_is_sent_twice() {
    for fault in [
        OrderFault::AckLost { count: 2 },
        OrderFault::SlowAck { delay_ns: 5 * SECOND_NS, count: 2 },
        OrderFault::ErrorAfterAccept { count: 2 },
        OrderFault::ReportBeforeAck { count: 2 },
    ] {
        let desk = under(fault);
        assert_eq!(desk.ledger.counts.session_gaps_total, 0);
        assert_eq!(desk.site.trading().orders.len(), 2);
    }
}

#[test]
fn each_fault_of_a_report_is_told_once_and_in_order() {
    for fault in [
        OrderFault::DuplicateReport { count: 4 },
        OrderFault::OutOfOrderReports { count: 2 },
        OrderFault::FillReportLost { count: 2 },
    ] {
        let desk = under(fault);
        assert_eq!(desk.ledger.counts.session_gaps_total, 0);
    }
}

#[test]
fn a_session_that_dies_instead_of_an_answer_is_recovered() {
    let desk = under(OrderFault::KillSession { count: 1 });
    assert_eq!(desk.ledger.counts.session_gaps_total, 1);
    let restored = |event: &OrderEvent| matches!(event, OrderEvent::SessionRestored { .. });
    assert!(desk.events.iter().any(restored));
}

#[test]
fn fills_during_an_outage_are_recovered_and_marked() {
    let mut desk = desk(7);
    let order = desk.place(0, resting());
    desk.pass_ms(5);
    desk.order_fault(OrderFault::FillDuringOutage { percent: 40, for_ns: 3 * SECOND_NS });
    desk.run_for("the recovered fill", 10, |desk| desk.states(order).last() == Some(&"PARTIAL"));
    let report = *desk.reports(order).last().expect("there is one");
    assert!(report.flags.has(engine::orders::report::ReportFlags::RECOVERED), "{report:?}");
    assert_eq!(desk.ledger.counts.session_gaps_total, 1);
    desk.finish();
}

#[test]
fn a_wrong_clock_refuses_orders_and_the_session_and_both_come_back() {
    let mut desk = desk(8);
    desk.order_fault(OrderFault::ClockSkew { by_ms: 10_000, for_ns: 3 * SECOND_NS });
    let order = desk.place(0, resting());
    desk.pass_ms(5);
    assert_eq!((desk.states(order), desk.reports(order)[0].code), (vec!["REJECTED"], -1021));
    desk.site.fault(&Fault::Disconnect(Target::All, How::Drop), desk.now_ns);
    desk.pass_ms(1_000);
    assert!(desk.refused.contains(&-1021), "{:?}", desk.refused);
    desk.settle();
    let order = desk.place(0, resting());
    desk.pass_ms(5);
    assert_eq!(desk.states(order), ["ACK"]);
    desk.finish();
}

#[test]
fn runs_by_seed_over_all_faults_lose_nothing_and_send_nothing_twice() {
    for seed in 0..12 {
        let trading = TradingConfig { fault_permille: 300, ..simvenues::binance::trading() };
        let mut desk = desk_with(seed, KeyKind::Text, trading);
        desk.settle();
        let mut rng = Rng::with_seed(seed);
        let mut placed = Vec::new();
        for _ in 0..150 {
            if desk.ledger.session() == engine::orders::ledger::SessionState::Live {
                let instrument = rng.usize(0..3);
                let touch = desk.touch(instrument);
                let (side, near) = if rng.bool() { (OrderSide::Buy, 0) } else { (OrderSide::Sell, 1) };
                let take = usize::from(rng.u8(0..3) == 0);
                let (price, _) = &touch[near ^ take];
                let base = limit(side, price, ["0.002", "0.05", "1"][instrument]);
                let request = match rng.u8(0..10) {
                    0 => OrderRequest::market(side, base.qty),
                    1..4 => OrderRequest { time_in_force: TimeInForce::ImmediateOrCancel, ..base },
                    _ => base,
                };
                placed.push(desk.place(instrument, request));
                if rng.u8(0..4) == 0 {
                    desk.cancel(*rng.choice(&placed).expect("not empty"));
                }
            }
            match rng.u8(0..60) {
                0 => desk.site.fault(&Fault::Disconnect(Target::All, How::Drop), desk.now_ns),
                1 => desk.order_fault(OrderFault::FillDuringOutage { percent: 50, for_ns: SECOND_NS }),
                2 => desk.order_fault(OrderFault::Fill { percent: 30 }),
                3 => desk.order_fault(OrderFault::ClockSkew { by_ms: -3_000, for_ns: 500 * MS_NS }),
                _ => {}
            }
            desk.pass_ms(rng.u64(1..400));
        }
        desk.finish();
        let truth = desk.site.trading();
        assert!(truth.orders.len() > 60 && truth.fills.len() > 30, "seed {seed}: a run with little in it");
        assert!(desk.ledger.counts.session_gaps_total > 0, "seed {seed}");
    }
}
