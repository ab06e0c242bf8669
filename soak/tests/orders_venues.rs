//! The engine's order gateways against simulated venues, one suite for all: each kind of order, of key, of refusal and of
//! fault. What consumers are told must be what the venue did. Runs by seed with everything at once are in `orders.rs`.
//!
//! [`VENUES`] says in what the venues differ. What only one of them has comes last.

use engine::orders::ledger::SessionState;
use engine::orders::report::ReportFlags;
use engine::orders::secret::Secret;
use engine::orders::venue::OrderGateway;
use engine::orders::venue::binance::{BinanceKey, BinanceOrders};
use engine::orders::venue::coinbase::{CoinbaseKey, CoinbaseOrders, LIVE_HOST};
use engine::orders::venue::kraken::{KrakenKey, KrakenOrders};
use engine::orders::{ClientOrderId, Command, OrderEvent, OrderRequest, OrderSide, Submitted, TimeInForce};
use fastrand::Rng;
use simvenues::exchange::{ApiKey, KeyKind, Status};
use simvenues::{
    BinanceConfig, CoinbaseConfig, CoinbaseProduct, Fault, How, InstrumentSpec, KrakenConfig, OrderFault,
    Product, RestFault, Target, TradingConfig, VenueConfig, default_instruments,
};
use soak::desk::Desk;
use soak::sim::{MS_NS, SECOND_NS};

/// A refusal as a venue words it.
type Refusal = (i32, &'static str);

/// What an order of the desk comes to: its states, and the last report's words.
type End = (&'static [&'static str], Refusal);

/// Of whom a venue's own cancel of everything is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CancelAll {
    Instrument,
    Account,
    /// There is none.
    Absent,
}

/// A venue, and in what it differs from the others.
struct Venue {
    name: &'static str,
    quote: &'static str,
    /// Where the private connection is opened.
    target: &'static str,
    symbol: fn(&InstrumentSpec) -> String,
    config: fn(Market) -> VenueConfig,
    /// Kinds of keys; the first is the usual one.
    keys: &'static [KeyKind],
    gateway: fn(&ApiKey) -> Box<dyn OrderGateway>,

    /// What fees of a buyer are paid in, as reports say it.
    fee_asset: &'static str,
    /// Executions are told by their sums.
    combined: bool,
    /// How an immediate order ends that finds nothing more.
    unfilled: &'static str,
    /// A maker's order that would take.
    post_only: End,
    cancel_all: CancelAll,
    /// A cancel of what is filled already.
    too_late: Refusal,
    /// A price between ticks, a quantity between lots, too little money, more than there is.
    wrong: [Refusal; 4],
    /// Answers come on the private connection, and are lost with it.
    answers_by_session: bool,
    wrong_clock: WrongClock,
}

/// What follows when the venue's clock is off by so much.
struct WrongClock {
    by_ms: i64,
    order: Refusal,
    /// Of the private connection; `None`: it does not look at the clock.
    session: Option<i32>,
}

/// What all venues' markets are made of here.
struct Market {
    seed: u64,
    instruments: Vec<InstrumentSpec>,
    messages_per_instrument_per_s: f64,
    book_levels: usize,
    fault_permille: u32,
}

const BINANCE: Venue = Venue {
    name: "Binance",
    quote: "USDT",
    target: "/ws-api/v3",
    symbol: |spec| format!("{}{}", spec.base, spec.quote),
    config: |Market { seed, instruments, messages_per_instrument_per_s, book_levels, fault_permille }| {
        VenueConfig::Binance(BinanceConfig {
            instruments,
            seed,
            messages_per_instrument_per_s,
            book_levels,
            trading: Some(TradingConfig { fault_permille, ..simvenues::binance::trading() }),
            ..BinanceConfig::of(Product::Spot)
        })
    },
    keys: &[KeyKind::Text, KeyKind::Ed25519],
    gateway: |key| {
        let signer = match key.kind {
            KeyKind::Ed25519 => BinanceKey::ed25519_pem(&secret(key)),
            _ => BinanceKey::hmac(&secret(key)),
        };
        Box::new(BinanceOrders::new(key.name.as_bytes(), signer.expect("a key"), 2_000))
    },
    fee_asset: "BTC",
    combined: false,
    unfilled: "EXPIRED",
    post_only: (&["REJECTED"], (-2010, "Order would immediately match and take.")),
    cancel_all: CancelAll::Instrument,
    too_late: (-2011, "Unknown order sent."),
    wrong: [
        (-1013, "Filter failure: PRICE_FILTER"),
        (-1013, "Filter failure: LOT_SIZE"),
        (-1013, "Filter failure: NOTIONAL"),
        (-2010, "Account has insufficient balance for requested action."),
    ],
    answers_by_session: true,
    wrong_clock: WrongClock {
        by_ms: 10_000,
        order: (-1021, "Timestamp for this request is outside of the recvWindow."),
        session: Some(-1021),
    },
};

const KRAKEN: Venue = Venue {
    name: "Kraken",
    quote: "USD",
    target: "/v2",
    symbol: |spec| format!("{}/{}", spec.base, spec.quote),
    config: |Market { seed, instruments, messages_per_instrument_per_s, book_levels, fault_permille }| {
        VenueConfig::Kraken(KrakenConfig {
            instruments,
            seed,
            messages_per_instrument_per_s,
            book_levels,
            trading: Some(TradingConfig { fault_permille, ..simvenues::kraken::trading() }),
            ..KrakenConfig::default()
        })
    },
    keys: &[KeyKind::Bytes],
    gateway: |key| {
        let signer = KrakenKey::new(&secret(key)).expect("a key");
        Box::new(KrakenOrders::new(key.name.as_bytes(), signer))
    },
    fee_asset: "USD",
    combined: false,
    unfilled: "CANCELLED",
    post_only: (&["ACK", "CANCELLED"], (0, "Post only order")),
    cancel_all: CancelAll::Account,
    too_late: (0, "EOrder:Unknown order"),
    wrong: [
        (0, "EOrder:Tick size check failed"),
        (0, "EGeneral:Invalid arguments:order_qty"),
        (0, "EOrder:Cost minimum not met"),
        (0, "EOrder:Insufficient funds"),
    ],
    answers_by_session: true,
    wrong_clock: WrongClock { by_ms: 10_000, order: (0, "EService:Deadline elapsed"), session: None },
};

const COINBASE: Venue = Venue {
    name: "Coinbase",
    quote: "USD",
    target: "/",
    symbol: InstrumentSpec::symbol,
    config: |Market { seed, instruments, messages_per_instrument_per_s, book_levels, fault_permille }| {
        VenueConfig::Coinbase(CoinbaseConfig {
            instruments,
            seed,
            messages_per_instrument_per_s,
            book_levels,
            trading: Some(TradingConfig { fault_permille, ..simvenues::coinbase::trading() }),
            ..CoinbaseConfig::of(CoinbaseProduct::Advanced)
        })
    },
    keys: &[KeyKind::Es256, KeyKind::Ed25519],
    gateway: |key| {
        let signer = CoinbaseKey::new(&secret(key)).expect("a key");
        Box::new(CoinbaseOrders::new(key.name.as_bytes(), signer, LIVE_HOST))
    },
    fee_asset: "",
    combined: true,
    unfilled: "CANCELLED",
    post_only: (&["REJECTED"], (0, "INVALID_LIMIT_PRICE_POST_ONLY")),
    cancel_all: CancelAll::Absent,
    too_late: (0, "UNKNOWN_CANCEL_ORDER"),
    wrong: [
        (0, "INVALID_PRICE_PRECISION"),
        (0, "INVALID_SIZE_PRECISION"),
        (0, "UNKNOWN_FAILURE_REASON"),
        (0, "INSUFFICIENT_FUND"),
    ],
    answers_by_session: false, // they come on the connection of the request
    wrong_clock: WrongClock { by_ms: -3_000, order: (401, ""), session: Some(0) },
};

const VENUES: [&Venue; 3] = [&BINANCE, &KRAKEN, &COINBASE];

fn secret(key: &ApiKey) -> Secret {
    Secret::new(key.secret_text.clone().into_bytes())
}

impl Venue {
    /// A desk with a live session and a key of this kind.
    fn desk_with(&self, seed: u64, kind: KeyKind, fault_permille: u32) -> Desk {
        println!("{}, seed {seed}", self.name); // shown where a test fails
        let specs = default_instruments(self.quote)[..3].to_vec();
        let market = Market {
            seed,
            instruments: specs.clone(),
            messages_per_instrument_per_s: 100.0,
            book_levels: 100,
            fault_permille,
        };
        let mut desk = Desk::new(seed, (self.config)(market), specs, self.target, self.symbol, |site| {
            let key = site.keys().into_iter().find(|key| key.kind == kind).expect("issued at the start");
            (self.gateway)(&key)
        });
        desk.settle();
        desk
    }

    fn desk(&self, seed: u64) -> Desk {
        self.desk_with(seed, self.keys[0], 0)
    }

    /// One resting order and one taker under a fault, then the end with all its comparisons.
    fn under(&self, fault: OrderFault) -> Desk {
        let mut desk = self.desk(6);
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
}

fn limit(side: OrderSide, price: &str, qty: &str) -> OrderRequest {
    OrderRequest::limit_text(side, price, qty).expect("numbers")
}

/// An order that rests: a buyer well below the market.
fn resting() -> OrderRequest {
    limit(OrderSide::Buy, "50000.00", "0.01")
}

#[track_caller]
fn check_end(desk: &Desk, order: ClientOrderId, (states, (code, text)): End) {
    let last = *desk.reports(order).last().expect("told");
    assert_eq!((&desk.states(order)[..], last.code, last.reason.as_str()), (states, code, text));
}

#[test]
fn orders_of_each_kind_reach_their_ends_with_keys_of_each_kind() {
    for venue in VENUES {
        for kind in venue.keys {
            let mut desk = venue.desk_with(1, *kind, 0);
            let [(bid, _), (ask, ask_qty)] = desk.touch(0);
            let taker = desk.place(0, limit(OrderSide::Buy, &ask, &ask_qty));
            desk.pass_ms(50);
            assert_eq!(desk.states(taker), ["ACK", "FILLED"]);
            let fill = desk.reports(taker)[1];
            assert_eq!((fill.price, fill.fee_asset.as_str()), (fill.last_price, venue.fee_asset));
            assert!(fill.fee.mantissa > 0, "{fill:?}");
            assert_eq!(fill.flags.has(ReportFlags::COMBINED), venue.combined, "{fill:?}");

            let large = limit(OrderSide::Sell, &bid, "5000");
            let ioc = desk.place(0, OrderRequest { time_in_force: TimeInForce::ImmediateOrCancel, ..large });
            let fok = desk.place(0, OrderRequest { time_in_force: TimeInForce::FillOrKill, ..large });
            let [(bid, _), _] = desk.touch(1);
            let crossing = limit(OrderSide::Sell, &bid, "1");
            let post_only = desk.place(1, OrderRequest { post_only: true, ..crossing });
            let market = desk.place(1, OrderRequest::market(OrderSide::Sell, crossing.qty));
            desk.pass_ms(50);
            assert_eq!(desk.states(ioc).last(), Some(&venue.unfilled));
            assert_eq!(desk.states(fok), ["ACK", venue.unfilled]);
            check_end(&desk, post_only, venue.post_only);
            assert_eq!(desk.states(market).last(), Some(&"FILLED"));

            let maker = desk.place(1, OrderRequest { post_only: true, ..limit(OrderSide::Buy, &bid, "1") });
            desk.run_for("a fill by the market", 120, |desk| desk.states(maker).last() == Some(&"FILLED"));
            desk.finish();
        }
    }
}

#[test]
fn cancels_of_one_and_of_all_end_what_rests_and_a_question_changes_nothing() {
    for venue in VENUES {
        let mut desk = venue.desk(2);
        let first = desk.place(0, resting());
        let second = desk.place(0, resting());
        let third = desk.place(1, limit(OrderSide::Buy, "2000", "0.5"));
        desk.pass_ms(5);
        assert!(matches!(desk.cancel(first), Submitted::Cancel(_)));
        let query =
            OrderRequest { command: Command::Query, client_order_id: second, ..OrderRequest::default() };
        assert!(matches!(desk.submit(0, query), Submitted::Query(_)));
        desk.pass_ms(5);
        assert_eq!(desk.states(first), ["ACK", "CANCELLED"]);
        assert_eq!(desk.states(second), ["ACK"], "nothing new");
        if venue.cancel_all != CancelAll::Absent {
            desk.cancel_all_at_venue(0);
            desk.pass_ms(5);
            assert_eq!(desk.states(second), ["ACK", "CANCELLED"]);
            let others_too = venue.cancel_all == CancelAll::Account;
            assert_eq!(desk.states(third).last(), Some(if others_too { &"CANCELLED" } else { &"ACK" }));
        }
        desk.finish();
        assert_eq!(desk.states(third), ["ACK", "CANCELLED"]);
    }
}

#[test]
fn a_cancel_that_comes_too_late_is_refused_and_the_fill_is_told() {
    for venue in VENUES {
        let mut desk = venue.desk(3);
        let order = desk.place(0, resting());
        desk.pass_ms(5);
        desk.order_fault(OrderFault::FillReportLost { count: 1 });
        desk.order_fault(OrderFault::Fill { percent: 100 });
        assert!(matches!(desk.cancel(order), Submitted::Cancel(_)));
        desk.run_for("the fill", 20, |desk| desk.states(order).last() == Some(&"FILLED"));
        let refusals = desk.events.iter().filter_map(|event| match event {
            OrderEvent::CancelRejected(notice) => Some((notice.code, notice.reason.as_str())),
            _ => None,
        });
        assert_eq!(refusals.collect::<Vec<_>>(), [venue.too_late]);
        desk.finish();
    }
}

#[test]
fn refusals_carry_the_venues_words() {
    for venue in VENUES {
        let mut desk = venue.desk(4);
        let requests =
            [("50000.001", "0.01"), ("50000", "0.010001"), ("0.01", "0.00001"), ("50000", "900000")];
        for ((price, qty), refusal) in requests.into_iter().zip(venue.wrong) {
            let order = desk.place(0, limit(OrderSide::Buy, price, qty));
            desk.pass_ms(5);
            check_end(&desk, order, (&["REJECTED"], refusal));
        }
        assert_eq!(desk.site.trading().orders, []);
        desk.finish();
    }
}

#[test]
fn each_fault_of_an_answer_is_settled_by_asking_and_nothing_is_sent_twice() {
    for venue in VENUES {
        let faults = [
            OrderFault::AckLost { count: 2 },
            OrderFault::SlowAck { delay_ns: 5 * SECOND_NS, count: 2 },
            OrderFault::ErrorAfterAccept { count: 2 },
            OrderFault::ReportBeforeAck { count: 2 },
        ];
        let killed = (!venue.answers_by_session).then_some(OrderFault::KillSession { count: 2 });
        for fault in faults.into_iter().chain(killed) {
            let desk = venue.under(fault);
            assert_eq!(desk.ledger.counts.session_gaps_total, 0);
            assert_eq!(desk.site.trading().orders.len(), 2);
        }
    }
}

#[test]
fn each_fault_of_a_report_is_told_once_and_in_order() {
    for venue in VENUES {
        for fault in [
            OrderFault::DuplicateReport { count: 4 },
            OrderFault::OutOfOrderReports { count: 2 },
            OrderFault::FillReportLost { count: 2 },
        ] {
            let desk = venue.under(fault);
            assert_eq!(desk.ledger.counts.session_gaps_total, 0);
        }
    }
}

#[test]
fn a_session_that_dies_instead_of_an_answer_is_recovered() {
    for venue in VENUES.into_iter().filter(|venue| venue.answers_by_session) {
        let desk = venue.under(OrderFault::KillSession { count: 1 });
        assert_eq!(desk.ledger.counts.session_gaps_total, 1);
        let restored = |event: &OrderEvent| matches!(event, OrderEvent::SessionRestored { .. });
        assert!(desk.events.iter().any(restored));
    }
}

#[test]
fn fills_during_an_outage_are_recovered_and_marked() {
    for venue in VENUES {
        let mut desk = venue.desk(7);
        let order = desk.place(0, resting());
        desk.pass_ms(5);
        desk.order_fault(OrderFault::FillDuringOutage { percent: 40, for_ns: 3 * SECOND_NS });
        desk.run_for("the recovered fill", 10, |desk| desk.states(order).last() == Some(&"PARTIAL"));
        let report = *desk.reports(order).last().expect("there is one");
        assert!(report.flags.has(ReportFlags::RECOVERED), "{report:?}");
        assert_eq!(desk.ledger.counts.session_gaps_total, 1);
        desk.finish();
    }
}

#[test]
fn a_wrong_clock_refuses_what_carries_a_time_and_all_comes_back() {
    for venue in VENUES {
        let WrongClock { by_ms, order: refusal, session } = venue.wrong_clock;
        let mut desk = venue.desk(8);
        desk.order_fault(OrderFault::ClockSkew { by_ms, for_ns: 3 * SECOND_NS });
        let order = desk.place(0, resting());
        desk.pass_ms(5);
        check_end(&desk, order, (&["REJECTED"], refusal));
        desk.site.fault(&Fault::Disconnect(Target::All, How::Drop), desk.now_ns);
        desk.pass_ms(1_000);
        let mut codes = desk.refused.clone();
        codes.dedup();
        assert_eq!(codes, Vec::from_iter(session));
        desk.pass_ms(3_000);
        desk.settle();
        let order = desk.place(0, resting());
        desk.pass_ms(5);
        assert_eq!(desk.states(order), ["ACK"]);
        desk.finish();
    }
}

// --- of one venue -----------------------------------------------------------------------------------------------------

#[test]
fn binance_limits_the_number_of_orders_and_says_so() {
    let mut desk = BINANCE.desk(5);
    desk.place(0, resting());
    desk.pass_ms(5);
    assert_eq!(desk.used, Some((1, 100)));
    let ids: Vec<_> = (0..100).map(|_| desk.place(0, resting())).collect();
    desk.pass_ms(5);
    assert_eq!(desk.used, Some((100, 100)));
    let refused = desk.reports(ids[99]);
    assert_eq!((desk.states(ids[99]), refused[0].code), (vec!["REJECTED"], -1015));
    desk.finish();
}

#[test]
fn binance_by_seed_over_all_faults_loses_nothing_and_is_sent_nothing_twice() {
    for seed in 0..12 {
        let mut desk = BINANCE.desk_with(seed, KeyKind::Text, 300);
        let mut rng = Rng::with_seed(seed);
        let mut placed = Vec::new();
        for _ in 0..150 {
            if desk.ledger.session() == SessionState::Live {
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

#[test]
fn coinbases_running_number_shows_that_a_frame_is_missing() {
    let mut desk = COINBASE.desk(9);
    desk.order_fault(OrderFault::AckLost { count: 1 });
    desk.site.fault(&Fault::SkipSequence(Target::All), desk.now_ns);
    let order = desk.place(0, resting());
    desk.pass_ms(1_000);
    desk.settle();
    assert_eq!((desk.states(order), desk.ledger.counts.session_gaps_total), (vec!["ACK"], 1));
    desk.finish();
}

#[test]
fn krakens_token_is_asked_for_again_when_it_is_not_given() {
    let mut desk = KRAKEN.desk(10);
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
