//! Orders through the running gateway, over loopback sockets, against a simulated venue whose truth is compared.

#![cfg(feature = "simulate")]

mod keys;
mod rig;

use engine::ids::InstrumentId;
use engine::orders::report::ReportFlags;
use engine::orders::{OrderEvent, OrderKind, OrderRequest, OrderSide, Origin, ReportState, TimeInForce};
use simvenues::exchange::OrderFault;
use simvenues::{Fault, VenueFault, exchange};

use shards::live::Board;
use shards::status::Status;

use rig::{Do, Home, Rig, VENUES, Venue, buy, named, text, venue};

/// Below every price of the simulated market, and above the least notional: it rests.
const LOW: &str = "30000.00";
/// Above every price: it takes.
const HIGH: &str = "64900.00";

#[test]
fn an_order_fills_and_another_rests_until_it_is_cancelled() {
    for plan in VENUES {
        let home = Home::new(&format!("fills-{}", plan.name));
        fills_and_rests(&plan.start(11), &home);
    }
}

fn fills_and_rests(venue: &Venue, home: &Home) {
    eprintln!("at {}", venue.plan.name);
    let mut rig = Rig::simple(venue, home);
    let take = OrderRequest { time_in_force: TimeInForce::ImmediateOrCancel, ..buy(1, HIGH, "0.002") };
    rig.placed(take);
    rig.ends(1);
    let last = *rig.reports(1).last().expect("it ended");
    assert_eq!((last.state, last.cum_qty, last.remaining_qty.0), (ReportState::Filled, last.qty, 0));
    // Coinbase tells sums of executions, without their ids.
    let tells_executions = venue.plan.name != "coinbase";
    assert!(last.last_price.0 > 0 && tells_executions != last.execution_id.is_empty());
    assert!(!tells_executions || !last.fee_asset.is_empty());
    // The sum of its executions is the whole.
    let executed: i64 = rig.reports(1).iter().map(|report| report.last_qty.0).sum();
    assert_eq!(executed, last.qty.0);

    let first = rig.placed(named("mine1", buy(2, LOW, "0.01")));
    assert_eq!((first.state, first.origin), (ReportState::Ack, Origin::Venue));
    assert_eq!(first.client_order_id.as_str(), "mine1");
    rig.ask(Do::Cancel(first.client_order_id));
    rig.ends(2);
    assert_eq!(rig.states(2).0, ["ACK", "CANCELLED"]);

    // The venue never saw our own name, and has both orders in the same states.
    let orders = venue.faults().orders();
    assert_eq!(orders.len(), 2);
    if venue.plan.name == "binance" {
        // The other venues get our number as a UUID.
        assert_eq!(orders[0].client_id, last.wire_id.as_str());
        assert_eq!(orders[1].client_id, first.wire_id.as_str());
    }
    let states = orders.iter().map(|order| order.status).collect::<Vec<_>>();
    assert_eq!(states, [exchange::Status::Filled, exchange::Status::Canceled]);

    // No answer is noted as earlier than what it answers, also where it came while the shard did something else.
    let to_ack = |rig: &Rig| {
        let mut totals = rig.gateway.collector.totals();
        let of = totals.find(|(_, name, total)| name.starts_with("written_to_ack:") && total.count() == 2);
        of.map(|(.., total)| total.latency_ns_at(0.0))
    };
    rig.wait("both acks in the histogram", |rig| to_ack(rig).is_some());
    assert!(to_ack(&rig) > Some(0));

    let ended = rig.stop();
    let summary = ended.providers[0].orders.as_ref().expect("it traded");
    assert_eq!(summary.journal_failure, None);
    let account = summary.status.accounts().next().expect("the script's");
    assert_eq!((account.counts.orders_total, account.counts.acks_total), (2, 2));
    assert_eq!((account.counts.filled_total, account.counts.cancelled_total), (1, 1));
    let position = account.positions().next().expect("BTC");
    assert_eq!(position.qty, i128::from(last.qty.0));
}

#[test]
fn what_cannot_leave_is_refused_here_with_the_rules_name() {
    let (venue, home) = (venue(12), Home::new("refused"));
    let key = home.key(&venue);
    let orders =
        format!("enabled: true, keys: {{file: {}}}, on_session_loss: keep, on_stop: keep", key.display());
    let limits =
        "trading: true\n    limits: {qty_max: 1, notional_max: 50000, open_orders_max: 1, collar_bp: 100}";
    let mut rig = Rig::start(&text(&venue, &home.0, &orders, limits));
    rig.placed(named("used", buy(1, LOW, "0.01")));
    let market = OrderRequest { kind: OrderKind::Market, ..buy(0, "0", "0.01") };
    let table: [(&str, OrderRequest); 14] = [
        ("price_tick", buy(0, "30000.005", "0.01")),
        ("price_positive", buy(0, "0", "0.01")),
        ("price_scale", buy(0, "30000.0000000001", "0.01")),
        ("qty_positive", buy(0, LOW, "0")),
        ("qty_lot", buy(0, LOW, "0.0000001")),
        ("notional_min", buy(0, LOW, "0.00001")),
        ("unknown_instrument", OrderRequest { instrument: InstrumentId(77), ..buy(0, LOW, "0.01") }),
        ("duplicate_id", named("used", buy(0, LOW, "0.01"))),
        ("limit_qty", buy(0, LOW, "1.01")),
        ("limit_notional", buy(0, "60000.00", "0.99")),
        ("limit_open_orders", buy(0, LOW, "0.01")),
        ("limit_collar", OrderRequest { side: OrderSide::Sell, ..buy(0, LOW, "0.01") }),
        (
            "combination",
            OrderRequest { post_only: true, time_in_force: TimeInForce::FillOrKill, ..buy(0, LOW, "0.01") },
        ),
        ("combination", OrderRequest { post_only: true, ..market }),
    ];
    for (number, (rule, request)) in table.into_iter().enumerate() {
        let decision = 100 + number as u64;
        let report = rig.placed(OrderRequest { decision: engine::orders::DecisionId(decision), ..request });
        assert_eq!((report.state, report.origin), (ReportState::Rejected, Origin::Local), "{rule}");
        assert_eq!(report.reason.to_string(), rule);
    }
    let unknown = engine::orders::ClientOrderId::parse(b"never").expect("legal");
    rig.ask(Do::Cancel(unknown));
    rig.ask(Do::Query(unknown));
    rig.wait("two notices", |rig| {
        let refused = |event: &&OrderEvent| matches!(event, OrderEvent::CancelRejected(notice) if notice.reason.to_string() == "unknown_id");
        rig.heard().iter().filter(refused).count() == 2
    });
    assert_eq!(venue.faults().orders().len(), 1, "only the first one left");
    let topology = rig.gateway.topology.clone();
    let ended = rig.stop();
    let status = ended.providers[0].orders.as_ref().expect("it traded").status;
    let refusals = status.accounts().next().expect("the script's").refusals;
    let told: Vec<(&str, u32)> = refusals.all().map(|(rule, count)| (rule.name(), count)).collect();
    assert_eq!((told.len(), told.iter().map(|(_, count)| count).sum::<u32>()), (13, 14), "{told:?}");
    assert!(told.contains(&("combination", 2)), "{told:?}");

    // An operator is told once, with what to do.
    let mut board = Board::default();
    board.take(Status::Orders(status));
    let lines = board.refused(&topology);
    let expected = "2 orders of script refused: kind, time in force, price and post-only do not go together; post-only: a limit order, \
                    good till cancelled; a market order: no price, not fill or kill (combination)";
    assert!(lines.contains(&("binance".to_owned(), "combination", expected.to_owned())), "{lines:#?}");
    assert_eq!(lines.len(), 13);
    board.take(Status::Orders(status));
    assert_eq!(board.refused(&topology), []);
}

#[test]
fn a_provider_without_orders_says_so() {
    let (venue, home) = (venue(13), Home::new("no-keys"));
    let with = text(&venue, &home.0, "enabled: false, on_session_loss: keep, on_stop: keep", "trading: true");
    let cores = shards::host::HostView::cores(&shards::host::RealHost);
    let against = shards::topology::Against {
        cores: cores.as_ref(),
        consumer_kinds: &["script"],
        simulated_lists: None,
    };
    let topology =
        shards::topology::read("t.yaml", &with, against).unwrap_or_else(|errors| panic!("{errors}"));
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    struct Once(std::sync::Arc<std::sync::Mutex<Vec<OrderEvent>>>, bool);
    impl engine::consumer::Consumer for Once {
        fn on_event(&mut self, _: &engine::event::Event, context: &mut engine::consumer::Context<'_>) {
            if !std::mem::replace(&mut self.1, true) {
                context.place(buy(1, LOW, "0.01")).expect("room");
            }
        }
        fn on_order_event(&mut self, event: &OrderEvent, _: &mut engine::consumer::Context<'_>) {
            self.0.lock().expect("nobody panics").push(*event);
        }
    }
    let made = std::sync::Arc::clone(&heard);
    let mut gateway = shards::launch::launch(topology, &move |_, _| {
        let made = std::sync::Arc::clone(&made);
        Ok(Box::new(move || {
            Box::new(Once(std::sync::Arc::clone(&made), false)) as Box<dyn engine::consumer::Consumer>
        }) as shards::launch::Factory)
    })
    .unwrap_or_else(|error| panic!("{error}"));
    let began = std::time::Instant::now();
    while heard.lock().expect("nobody panics").is_empty() {
        assert!(began.elapsed() < rig::WAIT_MAX, "no refusal came");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let first = heard.lock().expect("nobody panics")[0];
    assert!(
        matches!(first, OrderEvent::Report(report) if report.reason.to_string() == "no_keys"),
        "{first:?}"
    );
    gateway.stop();
    assert!(venue.faults().orders().is_empty());
}

#[test]
fn fills_during_an_outage_are_recovered_between_gap_and_restored() {
    for plan in VENUES {
        let home = Home::new(&format!("outage-{}", plan.name));
        outage(&plan.start(14), &home);
    }
}

fn outage(venue: &Venue, home: &Home) {
    eprintln!("at {}", venue.plan.name);
    let mut rig = Rig::simple(venue, home);
    rig.placed(buy(1, LOW, "0.01"));
    rig.placed(buy(2, LOW, "0.02"));
    let before = rig.heard().len();
    venue.faults().inject(Fault::Venue(VenueFault::Orders(OrderFault::FillDuringOutage {
        percent: 100,
        for_ns: 300_000_000,
    })));
    rig.wait("the session", |rig| {
        let restored = |event: &OrderEvent| matches!(event, OrderEvent::SessionRestored { .. });
        rig.heard()[before..].iter().any(restored)
    });
    let heard = rig.heard();
    let mut words = Vec::new();
    for event in &heard[before..] {
        match event {
            OrderEvent::SessionGap { unknown_orders, .. } => words.push(format!("gap {unknown_orders}")),
            OrderEvent::Report(report) => {
                assert!(report.flags.has(ReportFlags::RECOVERED), "{report:?}");
                words.push(report.state.name().to_owned());
            }
            OrderEvent::SessionRestored { recovered_reports, unknown_orders, .. } => {
                assert_eq!((*recovered_reports, *unknown_orders), (2, 0));
                words.push("restored".to_owned());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(words, ["gap 2", "FILLED", "FILLED", "restored"]);
    assert!(rig.said.iter().any(|line| line.contains("session lost")), "{:?}", rig.said);
    rig.stop();
}

#[test]
fn an_answer_that_is_lost_is_asked_for_and_the_order_is_sent_once() {
    for plan in VENUES {
        let home = Home::new(&format!("lost-{}", plan.name));
        lost_answers(&plan.start(15), &home);
    }
}

fn lost_answers(venue: &Venue, home: &Home) {
    eprintln!("at {}", venue.plan.name);
    let mut rig = Rig::simple(venue, home);
    for (number, fault) in [
        OrderFault::AckLost { count: 1 },
        OrderFault::ErrorAfterAccept { count: 1 },
        OrderFault::KillSession { count: 1 },
        OrderFault::ReportBeforeAck { count: 1 },
    ]
    .into_iter()
    .enumerate()
    {
        venue.faults().inject(Fault::Venue(VenueFault::Orders(fault.clone())));
        let decision = 1 + number as u64;
        let first = rig.placed(buy(decision, LOW, "0.01"));
        assert_eq!(first.state, ReportState::Ack, "{fault:?}");
        rig.wait("the session", |rig| {
            rig.board.orders().any(|status| status.session == engine::orders::ledger::SessionState::Live)
        });
    }
    let orders = venue.faults().orders();
    assert_eq!(orders.len(), 4, "each was sent once");
    rig.ask(Do::CancelAll);
    for decision in 1..=4 {
        rig.ends(decision);
        assert_eq!(rig.states(decision).0.last(), Some(&"CANCELLED"));
    }
    rig.stop();
}

#[test]
fn switches_hold_orders_back_and_the_kill_switch_cancels() {
    for plan in VENUES {
        let home = Home::new(&format!("switches-{}", plan.name));
        switches(&plan.start(16), &home);
    }
}

fn switches(venue: &Venue, home: &Home) {
    eprintln!("at {}", venue.plan.name);
    let mut rig = Rig::simple(venue, home);
    rig.placed(buy(1, LOW, "0.01"));
    rig.gateway.switches.set_trading(0, false);
    let report = rig.placed(buy(2, LOW, "0.01"));
    assert_eq!((report.origin, report.reason.to_string()), (Origin::Local, "trading_off".to_owned()));
    // An order that works goes on working, and can be cancelled.
    rig.gateway.switches.set_trading(0, true);
    assert_eq!(rig.placed(buy(3, LOW, "0.01")).state, ReportState::Ack);
    rig.gateway.switches.set_killed(None, true);
    rig.ends(1);
    rig.ends(3);
    assert_eq!(rig.states(3).0, ["ACK", "CANCELLED"]);
    let report = rig.placed(buy(4, LOW, "0.01"));
    assert_eq!((report.origin, report.state), (Origin::Local, ReportState::Rejected));
    rig.wait("the count of what was held back", |rig| {
        let counts = rig.board.consumers().next().map(|shard| shard.outbox);
        counts.is_some_and(|counts| (counts.requests_total, counts.suppressed_total) == (2, 2))
    });
    rig.gateway.switches.set_killed(None, false);
    assert_eq!(rig.placed(buy(5, LOW, "0.01")).state, ReportState::Ack);
    assert_eq!(venue.faults().orders().len(), 3, "nothing leaked");
    rig.stop();
}

#[test]
fn a_restart_knows_its_orders_and_uses_no_id_again() {
    for plan in VENUES {
        let home = Home::new(&format!("restart-{}", plan.name));
        restart(&plan.start(17), &home);
    }
}

fn restart(venue: &Venue, home: &Home) {
    eprintln!("at {}", venue.plan.name);
    let mut rig = Rig::simple(venue, home);
    rig.placed(named("first", buy(1, LOW, "0.01")));
    rig.placed(named("second", buy(2, LOW, "0.02")));
    let ended = rig.stop();
    assert_eq!(ended.providers[0].orders.as_ref().map(|orders| orders.status.open_orders), Some(2));
    // While nobody looks, one of them fills a half.
    venue.faults().inject(Fault::Venue(VenueFault::Orders(OrderFault::Fill { percent: 50 })));
    let mut rig = Rig::simple(venue, home);
    rig.wait("what happened meanwhile", |rig| rig.reports(1).len() + rig.reports(2).len() >= 2);
    for decision in [1, 2] {
        let report = rig.reports(decision)[0];
        assert_eq!(report.state, ReportState::Partial);
        assert!(report.flags.has(ReportFlags::RECOVERED));
        assert_eq!(report.cum_qty.0 * 2, report.qty.0);
    }
    let report = rig.placed(named("first", buy(3, LOW, "0.01")));
    assert_eq!(report.reason.to_string(), "duplicate_id", "also after a restart");
    rig.ask(Do::CancelAll);
    rig.ends(1);
    rig.ends(2);
    rig.placed(buy(4, LOW, "0.01"));
    let mut ids: Vec<String> = venue.faults().orders().into_iter().map(|order| order.client_id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3, "three orders, three ids");
    rig.stop();
}

#[test]
fn a_consumer_that_panics_leaves_no_orders_behind_and_trades_no_more() {
    for (on_panic, seed) in [("disable", 31), ("restart", 32)] {
        let (venue, home) = (venue(seed), Home::new(&format!("panic-{on_panic}")));
        let key = home.key(&venue);
        let orders =
            format!("enabled: true, keys: {{file: {}}}, on_session_loss: keep, on_stop: keep", key.display());
        let topology = text(&venue, &home.0, &orders, "trading: true");
        let mut rig = Rig::start(&topology.replace("on_panic: disable", &format!("on_panic: {on_panic}")));
        rig.placed(buy(1, LOW, "0.01"));
        rig.placed(buy(2, LOW, "0.02"));
        rig.ask(Do::Panic);
        rig.wait("the cancels at the venue", |_| {
            venue.faults().orders().iter().all(|order| order.status == exchange::Status::Canceled)
        });
        assert!(!rig.gateway.switches.trading(0), "its switch is off");
        if on_panic == "restart" {
            // The fresh one may not trade before somebody says so.
            let report = rig.placed(buy(3, LOW, "0.01"));
            assert_eq!((report.origin, report.reason.to_string()), (Origin::Local, "trading_off".to_owned()));
            rig.gateway.switches.set_trading(0, true);
            assert_eq!(rig.placed(buy(4, LOW, "0.01")).state, ReportState::Ack);
        }
        let ended = rig.stop();
        let status = ended.providers[0].orders.as_ref().expect("it traded").status;
        assert_eq!(status.accounts().next().map(|account| account.counts.cancelled_total), Some(2));
    }
}
