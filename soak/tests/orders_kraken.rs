//! The engine's order gateway for Kraken against a simulated Kraken: each kind of order, each refusal, each fault. What
//! consumers are told must be what the venue did. Runs by seed are in `orders.rs`.

use engine::orders::ledger::SessionState;
use engine::orders::report::ReportFlags;
use engine::orders::secret::Secret;
use engine::orders::venue::kraken::{KrakenKey, KrakenOrders};
use engine::orders::{Command, OrderEvent, OrderRequest, OrderSide, Submitted, TimeInForce};
use simvenues::exchange::Status;
use simvenues::{
    Fault, How, InstrumentSpec, KrakenConfig, OrderFault, RestFault, Target, VenueConfig, default_instruments,
};
use soak::desk::Desk;
use soak::sim::SECOND_NS;

fn desk(seed: u64) -> Desk<KrakenOrders> {
    let specs = default_instruments("USD")[..3].to_vec();
    let config = KrakenConfig {
        instruments: specs.clone(),
        seed,
        messages_per_instrument_per_s: 100.0,
        book_levels: 100,
        ..KrakenConfig::default()
    };
    let symbol = |spec: &InstrumentSpec| format!("{}/{}", spec.base, spec.quote);
    let mut desk = Desk::new(seed, VenueConfig::Kraken(config), specs, "/v2", symbol, |site| {
        let key = site.keys()[0].clone();
        let secret = Secret::new(key.secret_text.into_bytes());
        KrakenOrders::new(key.name.as_bytes(), KrakenKey::new(&secret).expect("a key"))
    });
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
fn orders_of_each_kind_reach_their_ends() {
    let mut desk = desk(1);
    let [(bid, _), (ask, ask_qty)] = desk.touch(0);
    let taker = desk.place(0, limit(OrderSide::Buy, &ask, &ask_qty));
    desk.pass_ms(5);
    assert_eq!(desk.states(taker), ["ACK", "FILLED"]);
    let fill = desk.reports(taker)[1];
    assert_eq!((fill.price, fill.fee_asset.as_str()), (fill.last_price, "USD"));
    assert!(fill.fee.mantissa > 0, "{fill:?}");

    let large = limit(OrderSide::Sell, &bid, "5000");
    let ioc = desk.place(0, OrderRequest { time_in_force: TimeInForce::ImmediateOrCancel, ..large });
    let fok = desk.place(0, OrderRequest { time_in_force: TimeInForce::FillOrKill, ..large });
    let [(bid, _), _] = desk.touch(1);
    let crossing = limit(OrderSide::Sell, &bid, "1");
    let post_only = desk.place(1, OrderRequest { post_only: true, ..crossing });
    let market = desk.place(1, OrderRequest::market(OrderSide::Sell, crossing.qty));
    desk.pass_ms(5);
    assert_eq!(desk.states(ioc).last(), Some(&"CANCELLED"));
    assert_eq!(desk.states(fok), ["ACK", "CANCELLED"]);
    let refused = *desk.reports(post_only).last().expect("told");
    assert_eq!((refused.state.name(), refused.reason.as_str()), ("CANCELLED", "Post only order"));
    assert_eq!(desk.states(market).last(), Some(&"FILLED"));

    let maker = desk.place(1, OrderRequest { post_only: true, ..limit(OrderSide::Buy, &bid, "1") });
    desk.run_for("a fill by the market", 120, |desk| desk.states(maker).last() == Some(&"FILLED"));
    desk.finish();
}

#[test]
fn cancels_of_one_and_of_all_end_what_rests_and_a_question_changes_nothing() {
    let mut desk = desk(2);
    let first = desk.place(0, resting());
    let second = desk.place(0, resting());
    desk.pass_ms(5);
    assert!(matches!(desk.cancel(first), Submitted::Cancel(_)));
    let query = OrderRequest { command: Command::Query, client_order_id: second, ..OrderRequest::default() };
    assert!(matches!(desk.submit(0, query), Submitted::Query(_)));
    desk.pass_ms(5);
    assert_eq!((desk.states(first), desk.states(second)), (vec!["ACK", "CANCELLED"], vec!["ACK"]));
    let third = desk.place(1, limit(OrderSide::Buy, "2000", "0.5"));
    desk.pass_ms(5);
    desk.cancel_all_at_venue(0); // of the whole account here
    desk.pass_ms(5);
    assert_eq!(
        (desk.states(second), desk.states(third)),
        (vec!["ACK", "CANCELLED"], vec!["ACK", "CANCELLED"])
    );
    desk.finish();
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
    let refused = |event: &OrderEvent| matches!(event, OrderEvent::CancelRejected(notice) if notice.reason.as_str() == "EOrder:Unknown order");
    assert!(desk.events.iter().any(refused));
    desk.finish();
}

#[test]
fn refusals_carry_the_venues_texts() {
    let mut desk = desk(4);
    for (request, text) in [
        (limit(OrderSide::Buy, "50000.001", "0.01"), "EOrder:Tick size check failed"),
        (limit(OrderSide::Buy, "50000", "0.010001"), "EGeneral:Invalid arguments:order_qty"),
        (limit(OrderSide::Buy, "0.01", "0.00001"), "EOrder:Cost minimum not met"),
        (limit(OrderSide::Buy, "50000", "900000"), "EOrder:Insufficient funds"),
    ] {
        let id = desk.place(0, request);
        desk.pass_ms(5);
        assert_eq!((desk.states(id), desk.reports(id)[0].reason.as_str()), (vec!["REJECTED"], text));
    }
    assert_eq!(desk.site.trading().orders, []);
    desk.finish();
}

/// One resting order and one taker under a fault, then the end with all its comparisons.
fn under(fault: OrderFault) -> Desk<KrakenOrders> {
    let mut desk = desk(6);
    desk.order_fault(fault);
    let [_, (ask, _)] = desk.touch(0);
    desk.place(0, limit(OrderSide::Buy, &ask, "0.002"));
    desk.pass_ms(5);
    if desk.ledger.session() == SessionState::Live {
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
fn a_frame_that_is_missing_is_noticed_by_the_running_number() {
    let mut desk = desk(9);
    desk.order_fault(OrderFault::AckLost { count: 1 });
    desk.site.fault(&Fault::SkipSequence(Target::All), desk.now_ns);
    let order = desk.place(0, resting());
    desk.pass_ms(1_000);
    desk.settle();
    assert_eq!((desk.states(order), desk.ledger.counts.session_gaps_total), (vec!["ACK"], 1));
    desk.finish();
}

#[test]
fn fills_during_an_outage_are_recovered_and_marked() {
    let mut desk = desk(7);
    let order = desk.place(0, resting());
    desk.pass_ms(5);
    desk.order_fault(OrderFault::FillDuringOutage { percent: 40, for_ns: 3 * SECOND_NS });
    desk.run_for("the recovered fill", 10, |desk| desk.states(order).last() == Some(&"PARTIAL"));
    let report = *desk.reports(order).last().expect("there is one");
    assert!(report.flags.has(ReportFlags::RECOVERED), "{report:?}");
    assert_eq!(desk.ledger.counts.session_gaps_total, 1);
    desk.finish();
}

#[test]
fn a_wrong_clock_refuses_orders_by_their_deadline_and_not_the_session() {
    let mut desk = desk(8);
    desk.order_fault(OrderFault::ClockSkew { by_ms: 10_000, for_ns: 3 * SECOND_NS });
    let order = desk.place(0, resting());
    desk.pass_ms(5);
    let reason = desk.reports(order)[0].reason;
    assert_eq!((desk.states(order), reason.as_str()), (vec!["REJECTED"], "EService:Deadline elapsed"));
    desk.site.fault(&Fault::Disconnect(Target::All, How::Drop), desk.now_ns);
    desk.pass_ms(5);
    desk.settle();
    desk.pass_ms(3_000);
    let order = desk.place(0, resting());
    desk.pass_ms(5);
    assert_eq!(desk.states(order), ["ACK"]);
    desk.finish();
}

#[test]
fn a_token_that_is_not_given_is_asked_for_again() {
    let mut desk = desk(10);
    let order = desk.place(0, resting());
    desk.pass_ms(5);
    let kind = RestFault::Status { status: 502, retry_after_s: 0 };
    desk.site.fault(&Fault::Rest { path: "GetWebSocketsToken".to_owned(), kind, count: 2 }, desk.now_ns);
    desk.site.fault(&Fault::Disconnect(Target::All, How::Drop), desk.now_ns);
    desk.pass_ms(5);
    desk.settle();
    assert_eq!((desk.refused.len(), desk.states(order)), (2, vec!["ACK"]));
    desk.finish();
}
