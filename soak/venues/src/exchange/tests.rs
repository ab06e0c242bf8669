//! Orders against a seeded market: each rule by itself, then thousands of random orders against the sums that must hold.

use super::*;
use crate::instruments::default_instruments;
use crate::market::{Market, MarketConfig};

const START_NS: u64 = 1_783_000_000_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;
const ACCOUNT: AccountId = AccountId(0);

struct Desk {
    market: Market,
    exchange: Exchange,
    now_ns: u64,
}

impl Desk {
    fn new(config: TradingConfig) -> Self {
        let instruments = default_instruments("USDT")[..3].to_vec();
        let market_config = MarketConfig {
            venue: "desk",
            instruments: instruments.clone(),
            book_levels: 60,
            seed: config.seed,
            events_per_instrument_per_s: 100.0,
            update_id_gaps: false,
        };
        let market = Market::new(&market_config, START_NS);
        Self { market, exchange: Exchange::new(&config, &instruments, START_NS), now_ns: START_NS }
    }

    fn top(&self) -> crate::market::Top {
        self.market.instruments()[0].book.top()
    }

    fn place(&mut self, order: &NewOrder) -> Result<Placed, Reject> {
        self.exchange.place(ACCOUNT, order, &self.market, self.now_ns)
    }

    /// Lets the market run.
    fn pass(&mut self, seconds: u64) {
        let until_ns = self.now_ns + seconds * SECOND_NS;
        while let Some(event) = self.market.step(until_ns) {
            self.now_ns = event.time_ns;
            self.exchange.market_event(&self.market, self.now_ns);
        }
        self.now_ns = until_ns;
    }

    fn reports(&mut self) -> Vec<Report> {
        std::iter::from_fn(|| self.exchange.poll_report(self.now_ns)).collect()
    }

    fn kinds(&mut self) -> Vec<ReportKind> {
        self.reports().iter().map(|report| report.kind).collect()
    }
}

/// A limit order for BTC at so many ticks, with so many lots.
fn limit(id: &str, side: Side, ticks: i64, lots: i64) -> NewOrder {
    NewOrder {
        client_id: Some(id.to_owned()),
        instrument: 0,
        side,
        kind: Kind::Limit,
        time_in_force: TimeInForce::Gtc,
        post_only: false,
        price: Decimal { mantissa: ticks, decimals: 2 },
        qty: Decimal { mantissa: lots, decimals: 5 },
    }
}

fn quiet() -> Desk {
    Desk::new(TradingConfig::default())
}

#[test]
fn a_taker_pays_the_markets_prices_level_by_level_and_its_fee() {
    let mut desk = quiet();
    let asks: Vec<_> = desk.market.instruments()[0].book.asks.iter().take(2).collect();
    let order = limit("a", Side::Bid, asks[1].price, asks[0].qty + 1);
    let placed = desk.place(&order).unwrap();
    assert_eq!(placed.order.status, Status::Filled);
    let fills: Vec<_> = placed.fills.iter().map(|fill| (fill.price, fill.qty, fill.maker)).collect();
    assert_eq!(fills, [(asks[0].price, asks[0].qty, false), (asks[1].price, 1, false)]);
    let spec = desk.exchange.spec(0).clone();
    let cost =
        Amount::of_value(&spec, asks[0].price, asks[0].qty) + Amount::of_value(&spec, asks[1].price, 1);
    let balances: std::collections::BTreeMap<_, _> = desk.exchange.balances(ACCOUNT).collect();
    let start = Amount::whole(1_000_000_000);
    assert_eq!(balances["USDT"], Balance { total: start - cost, held: Amount::ZERO });
    let bought = Amount::of_lots(&spec, asks[0].qty + 1);
    let fees = Amount::of_lots(&spec, asks[0].qty).millionths(1_000, 8)
        + Amount::of_lots(&spec, 1).millionths(1_000, 8);
    assert_eq!(balances["BTC"].total, start + bought - fees);
    assert_eq!(desk.kinds(), [ReportKind::New, ReportKind::Trade, ReportKind::Trade]);
    // What was taken is gone.
    let again = limit("b", Side::Bid, asks[0].price, 100);
    assert_eq!(desk.place(&again).unwrap().order.status, Status::New);
}

#[test]
fn each_reason_to_refuse_is_its_own() {
    let mut desk = Desk::new(TradingConfig {
        open_orders_max: 2,
        order_limits: vec![OrderLimit { interval_ns: 10 * SECOND_NS, max: 3 }],
        ..TradingConfig::default()
    });
    let top = desk.top();
    let base = limit("a", Side::Bid, top.bid.price - 500, 1_000);
    let check = |desk: &mut Desk, order: NewOrder, expected: Reject| {
        assert_eq!(desk.place(&order).map(|placed| placed.order), Err(expected));
    };
    let decimal = |text| Decimal::parse(text).unwrap();
    check(&mut desk, NewOrder { price: decimal("64000.001"), ..base.clone() }, Reject::Tick);
    check(&mut desk, NewOrder { qty: decimal("0.000001"), ..base.clone() }, Reject::Lot);
    check(&mut desk, NewOrder { qty: decimal("0"), ..base.clone() }, Reject::Range);
    check(&mut desk, NewOrder { qty: decimal("0.00001"), ..base.clone() }, Reject::Notional);
    check(&mut desk, NewOrder { qty: decimal("900000"), ..base.clone() }, Reject::Funds);
    check(
        &mut desk,
        NewOrder { price: Decimal { mantissa: top.ask.price, decimals: 2 }, post_only: true, ..base.clone() },
        Reject::WouldTake,
    );
    let id = desk.place(&base).unwrap().order.id;
    check(&mut desk, base.clone(), Reject::DuplicateClientId(id));
    desk.place(&limit("b", Side::Bid, top.bid.price - 500, 1_000)).unwrap();
    check(&mut desk, limit("c", Side::Bid, top.bid.price - 500, 1_000), Reject::OpenOrders);
    desk.exchange.cancel_all(ACCOUNT, None, desk.now_ns);
    desk.place(&base).expect("the id is free again");
    check(&mut desk, limit("d", Side::Bid, top.bid.price - 500, 1_000), Reject::Rate(0));
    assert_eq!(desk.exchange.order_usage(ACCOUNT, desk.now_ns), [(10 * SECOND_NS, 3, 3)]);
    desk.now_ns += 10 * SECOND_NS;
    desk.place(&limit("d", Side::Bid, top.bid.price - 500, 1_000)).unwrap();
    assert_eq!(desk.exchange.truth().orders.len(), 4, "what was refused is no order");
}

#[test]
fn ioc_fok_and_market_orders_end_at_once() {
    let mut desk = quiet();
    let ask = desk.top().ask;
    let ioc = NewOrder { time_in_force: TimeInForce::Ioc, ..limit("i", Side::Bid, ask.price, ask.qty + 5) };
    let order = desk.place(&ioc).unwrap().order;
    assert_eq!((order.status, order.end, order.left()), (Status::Expired, Some(End::UnfilledIoc), 5));
    let bid = desk.top().bid;
    let fok = NewOrder { time_in_force: TimeInForce::Fok, ..limit("f", Side::Ask, bid.price, bid.qty + 5) };
    let order = desk.place(&fok).unwrap().order;
    assert_eq!((order.status, order.end, order.filled), (Status::Expired, Some(End::UnfilledFok), 0));
    let fok =
        NewOrder { qty: Decimal { mantissa: bid.qty, decimals: 5 }, client_id: Some("g".into()), ..fok };
    assert_eq!(desk.place(&fok).unwrap().order.status, Status::Filled);
    let market = NewOrder { kind: Kind::Market, ..limit("m", Side::Ask, 0, 7) };
    assert_eq!(desk.place(&market).unwrap().order.status, Status::Filled);
    let balance = desk.exchange.balances(ACCOUNT).all(|(_, balance)| balance.held == Amount::ZERO);
    assert!(balance, "nothing is held for ended orders");
}

#[test]
fn a_resting_order_is_filled_by_the_market_at_its_own_price() {
    let mut desk = quiet();
    let bid = desk.top().bid;
    let order = desk.place(&limit("r", Side::Bid, bid.price, 3_000)).unwrap().order;
    assert_eq!((order.status, order.ahead), (Status::New, bid.qty));
    desk.pass(60);
    let order = desk.exchange.find(ACCOUNT, None, OrderRef::Id(order.id)).unwrap().clone();
    assert_eq!(order.status, Status::Filled, "{order:?}");
    let fills: Vec<_> = desk.exchange.fills(ACCOUNT).collect();
    assert!(fills.iter().all(|fill| fill.maker && fill.price == bid.price), "{fills:?}");
    assert_eq!(fills.iter().map(|fill| fill.qty).sum::<i64>(), 3_000);
}

#[test]
fn two_clients_meet_by_price_then_time() {
    let mut desk = Desk::new(TradingConfig { accounts: 2, ..TradingConfig::default() });
    let top = desk.top();
    assert!(top.ask.price - top.bid.price > 1, "there is room between: {top:?}");
    let price = top.bid.price + 1;
    let first = desk.place(&limit("1", Side::Bid, price, 100)).unwrap().order.id;
    let second = desk.place(&limit("2", Side::Bid, price, 100)).unwrap().order.id;
    let sell = limit("s", Side::Ask, price, 150);
    let placed = desk.exchange.place(AccountId(1), &sell, &desk.market, desk.now_ns).unwrap();
    assert_eq!(placed.order.status, Status::Filled);
    let makers: Vec<_> = desk.exchange.fills(ACCOUNT).map(|fill| (fill.order, fill.qty)).collect();
    assert_eq!(makers, [(first, 100), (second, 50)]);
    let takers: Vec<_> = desk.exchange.fills(AccountId(1)).map(|fill| fill.trade_id).collect();
    let shared: Vec<_> = desk.exchange.fills(ACCOUNT).map(|fill| fill.trade_id).collect();
    assert_eq!(takers, shared, "a match is one trade");
}

#[test]
fn cancels_tell_never_from_ended() {
    let mut desk = quiet();
    let order = limit("c", Side::Ask, desk.top().ask.price + 900, 100);
    let id = desk.place(&order).unwrap().order.id;
    let now_ns = desk.now_ns;
    let exchange = &mut desk.exchange;
    assert_eq!(exchange.cancel(ACCOUNT, None, OrderRef::Client("x"), None, now_ns), Err(Unknown::Never));
    assert_eq!(exchange.cancel(ACCOUNT, Some(1), OrderRef::Id(id), None, now_ns), Err(Unknown::Never));
    let cancelled = exchange.cancel(ACCOUNT, Some(0), OrderRef::Client("c"), Some("why"), now_ns).unwrap();
    assert_eq!((cancelled.status, cancelled.cancel_id.as_deref()), (Status::Canceled, Some("why")));
    assert_eq!(exchange.cancel(ACCOUNT, None, OrderRef::Id(id), None, now_ns), Err(Unknown::Ended(id)));
    assert_eq!(desk.kinds(), [ReportKind::New, ReportKind::Canceled]);
}

#[test]
fn each_fault_of_reports_does_what_it_says() {
    let run = |fault: OrderFault| {
        let mut desk = quiet();
        desk.exchange.fault(&fault, desk.now_ns);
        let ask = desk.top().ask;
        let answer = desk.place(&limit("a", Side::Bid, ask.price, 1_000.min(ask.qty))).unwrap().answer;
        let now = desk.kinds();
        desk.now_ns += SECOND_NS;
        (answer, now, desk.kinds())
    };
    use ReportKind::{New, Trade};
    let told = vec![New, Trade];
    assert_eq!(run(OrderFault::Clear), (Answer::Now, told.clone(), vec![]));
    assert_eq!(run(OrderFault::AckLost { count: 1 }), (Answer::Never, told.clone(), vec![]));
    assert_eq!(run(OrderFault::ErrorAfterAccept { count: 1 }), (Answer::ServerError, told.clone(), vec![]));
    assert_eq!(run(OrderFault::KillSession { count: 1 }), (Answer::Drop, told.clone(), vec![]));
    assert_eq!(run(OrderFault::SlowAck { delay_ns: 7, count: 1 }), (Answer::After(7), told.clone(), vec![]));
    assert_eq!(run(OrderFault::DuplicateReport { count: 1 }), (Answer::Now, vec![New, New, Trade], vec![]));
    assert_eq!(run(OrderFault::OutOfOrderReports { count: 1 }), (Answer::Now, vec![Trade, New], vec![]));
    assert_eq!(run(OrderFault::FillReportLost { count: 1 }), (Answer::Now, vec![New], vec![]));
    let (answer, now, _) = run(OrderFault::ReportBeforeAck { count: 1 });
    assert!(matches!(answer, Answer::After(_)));
    assert_eq!(now, told);
}

#[test]
fn an_outage_drops_and_refuses_sessions_and_fills_meanwhile() {
    let mut desk = quiet();
    desk.place(&limit("r", Side::Bid, desk.top().bid.price - 900, 1_000)).unwrap();
    let now_ns = desk.now_ns;
    desk.exchange.fault(&OrderFault::FillDuringOutage { percent: 40, for_ns: SECOND_NS }, now_ns);
    assert!(desk.exchange.take_kill() && !desk.exchange.take_kill());
    assert!(!desk.exchange.is_reachable(now_ns) && desk.exchange.is_reachable(now_ns + SECOND_NS));
    assert_eq!(desk.exchange.truth().orders[0].filled, 400);
    desk.exchange.fault(&OrderFault::ClockSkew { by_ms: -1_500, for_ns: 5 }, now_ns);
    assert_eq!(desk.exchange.clock_ms(now_ns), now_ns / 1_000_000 - 1_500);
    assert_eq!(desk.exchange.clock_ms(now_ns + 5), now_ns / 1_000_000);
}

/// Random orders, cancels and faults; then everything must add up.
fn random_run(seed: u64, fee_asset: FeeAsset) -> TradingTruth {
    let config = TradingConfig {
        seed,
        accounts: 2,
        fee_asset,
        fault_permille: 200,
        funds: 200_000,
        ..TradingConfig::default()
    };
    let mut desk = Desk::new(config);
    let mut rng = Rng::with_seed(seed);
    for step in 0..1_500 {
        let instrument = rng.usize(0..3);
        let top = desk.market.instruments()[instrument].book.top();
        let spec = desk.exchange.spec(instrument).clone();
        let side = if rng.bool() { Side::Bid } else { Side::Ask };
        let near = if side == Side::Bid { top.bid } else { top.ask };
        let lots = 10 * rng.i64(1..50) * 10_i64.pow(u32::try_from(spec.qty_decimals).unwrap() - 3);
        let order = NewOrder {
            client_id: rng.bool().then(|| format!("c{}", rng.u32(0..400))),
            instrument,
            side,
            kind: if rng.u8(0..10) == 0 { Kind::Market } else { Kind::Limit },
            time_in_force: rng
                .choice([TimeInForce::Gtc, TimeInForce::Gtc, TimeInForce::Ioc, TimeInForce::Fok])
                .unwrap(),
            post_only: false,
            price: Decimal {
                mantissa: (near.price + rng.i64(-40..40)) * spec.tick,
                decimals: spec.price_decimals,
            },
            qty: Decimal { mantissa: lots * spec.lot, decimals: spec.qty_decimals },
        };
        let account = AccountId(rng.usize(0..2));
        let _ = desk.exchange.place(account, &order, &desk.market, desk.now_ns); // refusals belong to it
        if rng.u8(0..4) == 0 {
            let name = format!("c{}", rng.u32(0..400));
            let _ = desk.exchange.cancel(account, None, OrderRef::Client(&name), None, desk.now_ns);
        }
        if step % 10 == 0 {
            desk.pass(1);
        }
        desk.reports();
    }
    for account in [AccountId(0), AccountId(1)] {
        for (asset, balance) in desk.exchange.balances(account) {
            let held: Amount = desk
                .exchange
                .open_orders(account, None)
                .filter(|order| {
                    let spec = desk.exchange.spec(order.instrument);
                    asset == if order.side == Side::Bid { &spec.quote } else { &spec.base }
                })
                .map(|order| order.held)
                .sum();
            assert_eq!(balance.held, held, "seed {seed}: {asset}");
            let mut total = Amount::whole(200_000);
            for fill in desk.exchange.fills(account) {
                let spec = desk.exchange.spec(fill.instrument);
                let sign = if fill.side == Side::Bid { 1 } else { -1 };
                if asset == spec.base {
                    total += Amount(Amount::of_lots(spec, fill.qty).0 * sign);
                }
                if asset == spec.quote {
                    total += Amount(-fill.value.0 * sign);
                }
                if asset == fill.fee_asset {
                    total -= fill.fee;
                }
            }
            assert_eq!(balance.total, total, "seed {seed}: {asset}");
        }
    }
    let truth = desk.exchange.truth();
    for order in &truth.orders {
        let fills: Vec<_> = truth.fills.iter().filter(|fill| fill.order == order.id).collect();
        assert_eq!(fills.iter().map(|fill| fill.qty).sum::<i64>(), order.filled, "seed {seed}");
        assert_eq!(fills.iter().map(|fill| fill.value).sum::<Amount>(), order.filled_value);
        assert_eq!(order.status == Status::Filled, order.filled == order.qty, "seed {seed}");
        let worse = |price: i64| order.side.sign() * price > order.side.sign() * order.price;
        assert!(
            order.kind == Kind::Market || !fills.iter().any(|fill| worse(fill.price)),
            "seed {seed}: {order:?}"
        );
        assert!(order.status.is_open() || order.held == Amount::ZERO, "seed {seed}");
    }
    truth
}

#[test]
fn money_and_quantities_add_up_after_random_orders() {
    for seed in 0..6 {
        let fee_asset = if seed % 2 == 0 { FeeAsset::Received } else { FeeAsset::Quote };
        let truth = random_run(seed, fee_asset);
        assert!(truth.fills.len() > 300, "seed {seed}: {}", truth.fills.len());
        assert!(truth.fills.iter().any(|fill| fill.maker) && truth.fills.iter().any(|fill| !fill.maker));
        let end = |status| truth.orders.iter().any(|order| order.status == status);
        assert!(end(Status::Filled) && end(Status::Expired) && end(Status::Canceled), "seed {seed}");
    }
}

#[test]
fn two_runs_of_one_seed_are_the_same() {
    assert_eq!(random_run(3, FeeAsset::Quote), random_run(3, FeeAsset::Quote));
    assert_ne!(random_run(3, FeeAsset::Quote), random_run(4, FeeAsset::Quote));
}
