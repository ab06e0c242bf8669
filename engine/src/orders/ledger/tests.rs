//! A venue by seed: it places, fills, cancels and answers; its frames are lost, doubled and late, its session breaks.
//! In the end the ledger must know what the venue knows, and each execution must have been told once.

use std::collections::{BTreeMap, HashMap};

use super::*;
use crate::decimal::{Decimals, Number, Qty};
use crate::directory::OrderFilters;
use crate::ids::TraceId;
use crate::orders::journal::{Records, Tail};
use crate::orders::life::{ClientKey, Execution};
use crate::orders::report::{ReportFlags, VenueOrderId};
use crate::orders::request::{DecisionId, OrderSide};
use crate::orders::text::Text;

const MS: u64 = 1_000_000;

fn whole(mantissa: i64) -> Number {
    Number { mantissa, decimals: 0 }
}

const FILTERS: OrderFilters = {
    const NONE: Number = Number { mantissa: 0, decimals: 0 };
    OrderFilters { tick: NONE, lot: NONE, qty_min: NONE, qty_max: NONE, notional_min: NONE }
};

const MARKET: Market<'static> =
    Market { decimals: Decimals { price: 0, qty: 0 }, trading: true, filters: &FILTERS, touch: None };

fn ledger(epoch: u64, options: LedgerOptions) -> Ledger {
    Ledger::new(ProviderId(0), 1, WireIds::new(epoch, 1).expect("fits"), options)
}

fn live(epoch: u64, options: LedgerOptions) -> (Ledger, ReceiveTime) {
    let mut ledger = ledger(epoch, options);
    let now = ReceiveTime::from_ns(1_000 * MS);
    ledger.session_joined(now);
    let Some(Query::OpenOrders(tag)) = ledger.poll_query(now) else { panic!("a list first") };
    ledger.list_end(tag, true, TraceId::default(), now);
    assert_eq!(ledger.poll_query(now), None);
    assert_eq!(ledger.session(), SessionState::Live);
    ledger.poll_event();
    (ledger, now)
}

fn request(id: &str) -> OrderRequest {
    let mut request = OrderRequest::limit(OrderSide::Buy, whole(100), whole(10));
    if !id.is_empty() {
        request.client_order_id = ClientOrderId::parse(id.as_bytes()).expect("legal");
    }
    request.decision = DecisionId(77);
    request
}

fn events(ledger: &mut Ledger) -> Vec<String> {
    std::iter::from_fn(|| ledger.poll_event())
        .map(|event| match event {
            OrderEvent::Report(report) => format!(
                "{}:{}{}{}",
                report.state.name(),
                report.cum_qty.0,
                if report.origin == Origin::Local { "@local" } else { "" },
                if report.flags.has(ReportFlags::RECOVERED) { "@recovered" } else { "" },
            ),
            OrderEvent::Unknown(_) => "unknown".into(),
            OrderEvent::CancelRejected(notice) => format!("cancel_rejected:{}", notice.reason),
            OrderEvent::SessionGap { unknown_orders, .. } => format!("gap:{unknown_orders}"),
            OrderEvent::SessionRestored { recovered_reports, unknown_orders, .. } => {
                format!("restored:{recovered_reports}/{unknown_orders}")
            }
        })
        .collect()
}

fn submit(ledger: &mut Ledger, id: &str, now: ReceiveTime) -> Tag {
    match ledger.submit(&request(id), Some(&MARKET), &Limits::OPEN, now) {
        Submitted::Place(tag) => tag,
        other => panic!("{other:?}"),
    }
}

fn news(order: &Order, state: ReportState) -> OrderNews {
    OrderNews { key: ClientKey::Text(order.wire_id), state: Some(state), ..OrderNews::default() }
}

fn fill(order: &Order, id: &str, qty: i64, cum: i64) -> OrderNews {
    OrderNews {
        execution: Some(Execution {
            id: Text::cut(id.as_bytes()),
            qty: whole(qty),
            price: whole(100),
            ..Execution::default()
        }),
        cum_qty: Some(whole(cum)),
        ..news(order, ReportState::Partial)
    }
}

#[test]
fn refusals_are_told_with_their_rule_and_leave_nothing_behind() {
    let (mut ledger, now) = live(1, LedgerOptions { orders_max: 4, ..LedgerOptions::DEFAULT });
    let open = Limits::OPEN;
    let check = |ledger: &mut Ledger, request: OrderRequest, limits: Limits, expected: Rule| {
        let before = ledger.journal().len();
        assert_eq!(ledger.submit(&request, Some(&MARKET), &limits, now), Submitted::Refused(expected));
        let Some(OrderEvent::Report(report)) = ledger.poll_event() else { panic!("a report") };
        assert_eq!((report.state, report.origin), (ReportState::Rejected, Origin::Local));
        assert_eq!((report.reason.as_str(), report.decision), (expected.name(), DecisionId(77)));
        assert!(report.wire_id.is_absent(), "it never had a name at the venue");
        assert_eq!(ledger.journal().len(), before);
    };
    submit(&mut ledger, "a", now);
    check(&mut ledger, request("b"), Limits { trading: false, ..open }, Rule::TradingOff);
    check(&mut ledger, request("a"), open, Rule::DuplicateId);
    check(&mut ledger, request("m0000000010100000009"[..18].as_ref()), open, Rule::DuplicateId);
    check(&mut ledger, request("b"), Limits { open_orders_max: Some(1), ..open }, Rule::LimitOpenOrders);
    check(&mut ledger, request("b"), Limits { orders_per_s_max: Some(1), ..open }, Rule::LimitRate);
    let result = ledger.submit(&request("b"), None, &open, now);
    assert_eq!(result, Submitted::Refused(Rule::UnknownInstrument));
    ledger.poll_event();
    assert_eq!(ledger.kill(None), 1);
    check(&mut ledger, request("b"), open, Rule::Killed);
    ledger.lift(None);
    for id in ["b", "c", "d"] {
        submit(&mut ledger, id, now);
    }
    check(&mut ledger, request("e"), open, Rule::TableFull);
    ledger.session_lost(now);
    ledger.poll_event();
    check(&mut ledger, request("e"), open, Rule::NoSession);
    assert_eq!(ledger.counts.orders_total, 4);
    assert_eq!((ledger.counts.suppressed_total, ledger.counts.duplicates_refused_total), (2, 2));
}

#[test]
fn executions_of_an_order_that_was_never_acknowledged_are_asked_for_by_the_venues_id() {
    let (mut ledger, now) = live(1, LedgerOptions::DEFAULT);
    let tag = submit(&mut ledger, "a", now);
    let order = *ledger.order(tag).expect("open");
    ledger.session_lost(now);
    ledger.session_joined(now);
    let Some(Query::OpenOrders(list)) = ledger.poll_query(now) else { panic!("a list first") };
    ledger.list_end(list, true, TraceId::default(), now);
    let Some(Query::Order { tag, .. }) = ledger.poll_query(now) else { panic!("then the order") };
    let id = VenueOrderId::cut(b"v1");
    let found =
        OrderNews { venue_order_id: id, cum_qty: Some(whole(10)), ..news(&order, ReportState::Filled) };
    ledger.answer(tag, Outcome::Accepted, &found, TraceId::default(), now);
    let Some(Query::Fills(tag)) = ledger.poll_query(now) else { panic!("then its executions") };
    assert_eq!(ledger.order(tag).expect("open").life.venue_order_id, id);
    ledger.listed(tag, &fill(&order, "x", 10, 10), TraceId::default(), now);
    ledger.list_end(tag, true, TraceId::default(), now);
    assert_eq!(ledger.poll_query(now), None);
    assert_eq!(events(&mut ledger), ["gap:1", "FILLED:10@recovered", "restored:1/0"]);
}

#[test]
fn each_outage_asks_anew_for_executions_that_are_missing() {
    let (mut ledger, mut now) = live(1, LedgerOptions::DEFAULT);
    let tag = submit(&mut ledger, "a", now);
    let order = *ledger.order(tag).expect("open");
    ledger.news(&news(&order, ReportState::Ack), TraceId::default(), now);
    for round in 1..=9 {
        now = now.plus_ns(100_000 * MS);
        ledger.session_lost(now);
        ledger.session_joined(now);
        let Some(Query::OpenOrders(list)) = ledger.poll_query(now) else { panic!("a list first") };
        let listed = OrderNews { cum_qty: Some(whole(round)), ..news(&order, ReportState::Partial) };
        ledger.listed(list, &listed, TraceId::default(), now);
        ledger.list_end(list, true, TraceId::default(), now);
        let Some(Query::Fills(tag)) = ledger.poll_query(now) else { panic!("round {round}") };
        ledger.listed(tag, &fill(&order, &format!("x{round}"), 1, round), TraceId::default(), now);
        ledger.list_end(tag, true, TraceId::default(), now);
        assert_eq!(ledger.poll_query(now), None);
        assert_eq!(ledger.session(), SessionState::Live);
    }
}

#[test]
fn the_same_id_serves_two_consumers_and_the_venue_sees_two_orders() {
    let (mut ledger, now) = live(1, LedgerOptions::DEFAULT);
    let first = submit(&mut ledger, "x", now);
    let other = OrderRequest { consumer: ConsumerId(1), ..request("x") };
    let Submitted::Place(second) = ledger.submit(&other, Some(&MARKET), &Limits::OPEN, now) else {
        panic!("placed")
    };
    let (first, second) = (*ledger.order(first).expect("open"), *ledger.order(second).expect("open"));
    assert_eq!(first.client_order_id, second.client_order_id);
    assert_ne!(first.wire_id, second.wire_id);
}

#[test]
fn a_missing_answer_is_unknown_and_then_found_and_never_sent_again() {
    let (mut ledger, now) = live(1, LedgerOptions::DEFAULT);
    let tag = submit(&mut ledger, "a", now);
    let order = *ledger.order(tag).expect("open");
    assert_eq!(ledger.poll_query(now), None, "not yet");
    let late = now.plus_ns(LedgerOptions::DEFAULT.answer_wait_ns);
    ledger.poll_query(late);
    assert_eq!(events(&mut ledger), ["unknown"]);
    let later = late.plus_ns(1_000 * MS);
    let Some(Query::Order { tag: ask, attempt: 0 }) = ledger.poll_query(later) else { panic!("asks") };
    ledger.answer(ask, Outcome::Accepted, &news(&order, ReportState::Ack), TraceId::default(), later);
    assert_eq!(events(&mut ledger), ["ACK:0@recovered"]);
    assert_eq!(ledger.counts.orders_total, 1);
}

#[test]
fn an_order_that_the_venue_never_had_is_rejected_once_that_is_certain() {
    let (mut ledger, sent) = live(1, LedgerOptions { list_every_ns: 0, ..LedgerOptions::DEFAULT });
    let tag = submit(&mut ledger, "a", sent);
    ledger.answer(tag, Outcome::Unknown, &OrderNews::default(), TraceId::default(), sent);
    assert_eq!(events(&mut ledger), ["unknown"]);
    let (mut now, mut attempts) = (sent, Vec::new());
    while ledger.open_orders() == 1 {
        now = now.plus_ns(100 * MS);
        assert!(now.since_ns(sent) < 60_000 * MS, "it ends");
        if let Some(Query::Order { tag, attempt }) = ledger.poll_query(now) {
            attempts.push(attempt);
            ledger.answer(tag, Outcome::NotFound, &OrderNews::default(), TraceId::default(), now);
        }
    }
    assert!(now.since_ns(sent) >= LedgerOptions::DEFAULT.not_found_final_ns);
    assert!(attempts.len() >= 3 && attempts.iter().copied().eq(0..attempts.len() as u32), "{attempts:?}");
    assert_eq!(events(&mut ledger), ["REJECTED:0@local"]);
}

#[test]
fn a_lost_session_is_recovered_in_order() {
    let (mut ledger, now) = live(1, LedgerOptions::DEFAULT);
    let trace = TraceId::default();
    let tags: Vec<Tag> = ["a", "b", "c"].iter().map(|id| submit(&mut ledger, id, now)).collect();
    let orders: Vec<Order> = tags.iter().map(|&tag| *ledger.order(tag).expect("open")).collect();
    for (tag, order) in tags.iter().zip(&orders) {
        let id = VenueOrderId::cut(order.client_order_id.as_bytes());
        let news = OrderNews { venue_order_id: id, ..news(order, ReportState::Ack) };
        ledger.answer(*tag, Outcome::Accepted, &news, trace, now);
    }
    ledger.session_lost(now);
    ledger.session_lost(now);
    assert_eq!(events(&mut ledger), ["ACK:0", "ACK:0", "ACK:0", "gap:3"]);
    // In the meantime a was filled in two parts, b works with 3 filled, c was cancelled.
    ledger.session_joined(now);
    let Some(Query::OpenOrders(list)) = ledger.poll_query(now) else { panic!("lists") };
    ledger.news(&fill(&orders[1], "b2", 1, 4), trace, now); // live, during the recovery
    let open = OrderNews { cum_qty: Some(whole(3)), ..news(&orders[1], ReportState::Partial) };
    ledger.listed(list, &open, trace, now);
    ledger.list_end(list, true, trace, now);
    let mut asked = Vec::new();
    while let Some(query) = ledger.poll_query(now) {
        match query {
            Query::Order { tag, .. } => {
                let order = *ledger.order(tag).expect("kept");
                asked.push(format!("order {}", order.client_order_id));
                let (state, cum) = if order.client_order_id.as_str() == "a" {
                    (ReportState::Filled, 10)
                } else {
                    (ReportState::Cancelled, 0)
                };
                let answer = OrderNews { cum_qty: Some(whole(cum)), ..news(&order, state) };
                ledger.answer(tag, Outcome::Accepted, &answer, trace, now);
            }
            Query::Fills(tag) => {
                let order = *ledger.order(tag).expect("kept");
                asked.push(format!("fills {}", order.client_order_id));
                if order.client_order_id.as_str() == "a" {
                    ledger.listed(tag, &fill(&order, "a1", 4, 4), trace, now);
                    ledger.listed(tag, &fill(&order, "a2", 6, 10), trace, now);
                } else {
                    ledger.listed(tag, &fill(&order, "b1", 3, 3), trace, now);
                }
                ledger.list_end(tag, true, trace, now);
            }
            Query::OpenOrders(_) => panic!("listed already"),
        }
    }
    asked.sort();
    assert_eq!(asked, ["fills a", "fills b", "order a", "order c"]);
    let told = events(&mut ledger);
    let text = told.join(" ");
    assert!(text.contains("PARTIAL:4@recovered FILLED:10@recovered"), "{text}");
    assert!(text.contains("CANCELLED:0@recovered") && text.contains("PARTIAL:3@recovered"), "{text}");
    assert!(text.ends_with("PARTIAL:4 restored:4/0"), "the buffer, then the end: {text}");
}

#[test]
fn a_restart_knows_its_orders_ids_and_executions() {
    let (mut first, now) = live(1, LedgerOptions::DEFAULT);
    let trace = TraceId::default();
    let mut bytes = Vec::new();
    let tag = submit(&mut first, "a", now);
    let order = *first.order(tag).expect("open");
    first.answer(tag, Outcome::Accepted, &news(&order, ReportState::Ack), trace, now);
    first.news(&fill(&order, "t1", 4, 4), trace, now);
    let ended = submit(&mut first, "b", now);
    first.answer(ended, Outcome::Rejected, &OrderNews::default(), trace, now);
    submit(&mut first, "c", now);
    bytes.extend_from_slice(first.journal());
    let mut checkpoint = Vec::new();
    first.checkpoint(&mut checkpoint);
    for bytes in [bytes, checkpoint] {
        let mut second = ledger(2, LedgerOptions::DEFAULT);
        let mut records = Records::new(&bytes);
        assert!(records.by_ref().all(|record| second.replay(&record)));
        assert_eq!(records.tail(), Some(Tail::Clean));
        assert_eq!(second.open_orders(), 2);
        assert!(second.orders().all(|(order, doubt)| doubt == order.life.is_open()));
        second.session_joined(now);
        let Some(Query::OpenOrders(list)) = second.poll_query(now) else { panic!("lists") };
        second.listed(list, &fill(&order, "t1", 4, 4), trace, now); // the same execution again
        second.list_end(list, true, trace, now);
        while let Some(Query::Order { tag, .. }) = second.poll_query(now) {
            second.answer(tag, Outcome::NotFound, &OrderNews::default(), trace, now);
        }
        assert_eq!(events(&mut second), ["restored:0/1"], "t1 was told before");
        assert_eq!(second.counts.duplicate_executions_total, 1);
        for id in ["a", "b", "c"] {
            let result = second.submit(&request(id), Some(&MARKET), &Limits::OPEN, now);
            assert_eq!(result, Submitted::Refused(Rule::DuplicateId), "{id}");
        }
        let tag = submit(&mut second, "", now);
        assert_ne!(second.order(tag).expect("open").wire_id, order.wire_id);
    }
}

#[test]
fn memory_does_not_grow_with_the_number_of_orders() {
    let options = LedgerOptions { orders_max: 8, executions_max: 8, ids_max: 8, ..LedgerOptions::DEFAULT };
    let (mut ledger, now) = live(1, options);
    let capacities = |ledger: &Ledger| {
        (
            ledger.slots.capacity(),
            ledger.ended.capacity(),
            ledger.seen_list.capacity(),
            ledger.events.capacity(),
        )
    };
    let before = capacities(&ledger);
    for number in 0..500 {
        let tag = submit(&mut ledger, &format!("o{number}"), now);
        let order = *ledger.order(tag).expect("open");
        ledger.news(&fill(&order, "t1", 5, 5), TraceId::default(), now);
        ledger.news(&fill(&order, "t2", 5, 10), TraceId::default(), now);
        while ledger.poll_event().is_some() {}
        ledger.journal_taken();
        assert!(ledger.order(tag).is_some_and(|order| order.life.state == Some(ReportState::Filled)));
    }
    assert_eq!(capacities(&ledger), before);
    assert_eq!(ledger.open_orders(), 0);
    assert_eq!(ledger.counts.ids_forgotten_total, 492);
}

#[test]
fn on_session_loss_what_is_open_is_cancelled_if_asked_for() {
    let options = LedgerOptions { on_session_loss: OnSessionLoss::CancelMine, ..LedgerOptions::DEFAULT };
    let (mut ledger, now) = live(1, options);
    let tag = submit(&mut ledger, "a", now);
    let order = *ledger.order(tag).expect("open");
    ledger.news(&news(&order, ReportState::Ack), TraceId::default(), now);
    ledger.session_lost(now);
    ledger.session_joined(now);
    assert_eq!(ledger.poll_cancel(now), None, "not before it is known what is open");
    let Some(Query::OpenOrders(list)) = ledger.poll_query(now) else { panic!("lists") };
    ledger.listed(list, &news(&order, ReportState::Ack), TraceId::default(), now);
    ledger.list_end(list, true, TraceId::default(), now);
    assert_eq!(ledger.poll_query(now), None);
    let cancel = ledger.poll_cancel(now).expect("a cancel");
    assert_eq!(
        (cancel.purpose(), ledger.order(cancel).map(|order| order.wire_id)),
        (Some(Purpose::Cancel), Some(order.wire_id))
    );
    assert_eq!(ledger.poll_cancel(now), None);
}

// --- by seed ----------------------------------------------------------------------------------------------------------

#[derive(Clone, Debug)]
struct AtVenue {
    order: Order,
    venue_id: VenueOrderId,
    state: ReportState,
    cum: i64,
    fills: Vec<(String, i64, i64)>,
}

/// Runs of the property test; a thousand were clean when it was written.
const SEEDS: u64 = 60;

/// The true state of the account, and frames on their way.
struct Venue {
    random: fastrand::Rng,
    orders: BTreeMap<String, AtVenue>,
    wire: Vec<OrderNews>,
    placed: HashMap<String, u32>,
    /// It tells cumulative figures and never executions, as Coinbase does.
    cumulative: bool,
}

impl Venue {
    fn statement(&self, order: &AtVenue) -> OrderNews {
        OrderNews {
            venue_order_id: order.venue_id,
            cum_qty: Some(whole(order.cum)),
            cum_quote: self.cumulative.then(|| whole(order.cum * 100)),
            cumulative_fee: self.cumulative.then(|| whole(order.cum)),
            ..news(&order.order, order.state)
        }
    }

    /// Answers a cancel, or not.
    fn cancel(&mut self, ledger: &mut Ledger, tag: Tag, now: ReceiveTime) {
        let Some(key) = ledger.order(tag).map(|order| order.wire_id.to_string()) else { return };
        if self.random.u8(0..4) == 0 {
            return; // lost on its way
        }
        let open = self.orders.get_mut(&key).filter(|at| !at.state.is_final());
        let outcome = if let Some(at) = open {
            at.state = ReportState::Cancelled;
            let at = at.clone();
            let statement = self.statement(&at);
            self.wire.push(statement);
            Outcome::Accepted
        } else {
            Outcome::Rejected
        };
        if self.random.bool() {
            ledger.answer(tag, outcome, &OrderNews::default(), TraceId::default(), now);
        }
    }

    fn place(&mut self, order: Order) -> bool {
        let key = order.wire_id.to_string();
        *self.placed.entry(key.clone()).or_default() += 1;
        if self.random.u8(0..10) == 0 {
            return false; // refused, or lost on its way
        }
        let venue_id = Text::cut(format!("V{}", self.orders.len()).as_bytes());
        let at = AtVenue { order, venue_id, state: ReportState::Ack, cum: 0, fills: Vec::new() };
        self.wire.push(self.statement(&at));
        self.orders.insert(key, at);
        true
    }

    /// Something happens to some open order.
    fn happen(&mut self) {
        let open: Vec<String> =
            self.orders.iter().filter(|(_, at)| !at.state.is_final()).map(|(key, _)| key.clone()).collect();
        if open.is_empty() {
            return;
        }
        let key = &open[self.random.usize(0..open.len())];
        let at = self.orders.get_mut(key).expect("listed");
        let mut told = None;
        if self.random.u8(0..5) == 0 {
            at.state = if self.random.bool() { ReportState::Cancelled } else { ReportState::Expired };
        } else {
            let qty = self.random.i64(1..=at.order.life.qty.0 - at.cum);
            at.cum += qty;
            let all = at.cum == at.order.life.qty.0;
            at.state = if all { ReportState::Filled } else { ReportState::Partial };
            let id = format!("{}t{}", at.venue_id, at.fills.len());
            at.fills.push((id.clone(), qty, at.cum));
            told = fill(&at.order, &id, qty, at.cum).execution;
        }
        let at = at.clone();
        let execution = told.filter(|_| !self.cumulative);
        let statement = OrderNews { execution, ..self.statement(&at) };
        self.wire.push(statement);
    }

    /// Delivers some of what is on its way: out of order, doubled, or not at all.
    fn deliver(&mut self, ledger: &mut Ledger, now: ReceiveTime) {
        for _ in 0..self.random.usize(0..4) {
            if self.wire.is_empty() {
                return;
            }
            let at = self.random.usize(0..self.wire.len().min(3));
            let statement = self.wire.remove(at);
            match self.random.u8(0..12) {
                0 => {}
                1 => {
                    ledger.news(&statement, TraceId::default(), now);
                    ledger.news(&statement, TraceId::default(), now);
                }
                _ => ledger.news(&statement, TraceId::default(), now),
            }
        }
    }

    fn answer(&mut self, ledger: &mut Ledger, query: Query, now: ReceiveTime, lossy: bool) {
        let trace = TraceId::default();
        if lossy && self.random.u8(0..8) == 0 {
            return; // no answer
        }
        match query {
            Query::OpenOrders(tag) => {
                for at in self.orders.values().filter(|at| !at.state.is_final()) {
                    ledger.listed(tag, &self.statement(at), trace, now);
                }
                ledger.list_end(tag, true, trace, now);
            }
            Query::Order { tag, .. } => {
                let wire_id = ledger.order(tag).expect("kept").wire_id.to_string();
                match self.orders.get(&wire_id) {
                    Some(at) => ledger.answer(tag, Outcome::Accepted, &self.statement(at), trace, now),
                    None => ledger.answer(tag, Outcome::NotFound, &OrderNews::default(), trace, now),
                }
            }
            Query::Fills(tag) => {
                let wire_id = ledger.order(tag).expect("kept").wire_id.to_string();
                if let Some(at) = self.orders.get(&wire_id) {
                    for (id, qty, _) in &at.fills {
                        let told = OrderNews { cum_qty: None, state: None, ..fill(&at.order, id, *qty, 0) };
                        ledger.listed(tag, &told, trace, now);
                    }
                }
                ledger.list_end(tag, true, trace, now);
            }
        }
    }
}

/// What a consumer makes of its reports.
#[derive(Default)]
struct Consumer {
    state: HashMap<String, ReportState>,
    executed: HashMap<String, i64>,
    executions: HashMap<(String, String), u32>,
    gap: bool,
    sequence: u64,
}

impl Consumer {
    fn take(&mut self, ledger: &mut Ledger, seed: u64) {
        while let Some(event) = ledger.poll_event() {
            match event {
                OrderEvent::Report(report) => {
                    let key = report.wire_id.to_string();
                    self.sequence += 1;
                    assert_eq!(report.sequence, self.sequence, "seed {seed}");
                    assert_eq!(report.cum_qty.0 + report.remaining_qty.0, report.qty.0, "seed {seed}");
                    assert!(report.cum_qty >= Qty(0) && report.remaining_qty >= Qty(0), "seed {seed}");
                    if let Some(before) = self.state.insert(key.clone(), report.state) {
                        let forward = report.state == before || !before.is_final() && report.state >= before;
                        assert!(forward, "seed {seed}: {before:?} to {:?}", report.state);
                    }
                    *self.executed.entry(key.clone()).or_default() += report.last_qty.0;
                    if !report.execution_id.is_empty() {
                        let count =
                            self.executions.entry((key, report.execution_id.to_string())).or_default();
                        *count += 1;
                        assert_eq!(*count, 1, "seed {seed}: {} told twice", report.execution_id);
                    }
                }
                OrderEvent::SessionGap { .. } => {
                    assert!(!self.gap, "seed {seed}: two gaps in a row");
                    self.gap = true;
                }
                OrderEvent::SessionRestored { .. } => self.gap = false,
                OrderEvent::Unknown(_) | OrderEvent::CancelRejected(_) => {}
            }
        }
    }
}

#[test]
fn whatever_is_lost_doubled_or_late_the_ledger_ends_up_knowing_what_the_venue_knows() {
    for seed in 0..SEEDS {
        let options = LedgerOptions { list_every_ns: 5_000 * MS, buffered_max: 16, ..LedgerOptions::DEFAULT };
        let (mut ledger, mut now) = live(9, options);
        let mut journal = Vec::new();
        let mut venue = Venue {
            random: fastrand::Rng::with_seed(seed),
            orders: BTreeMap::new(),
            wire: Vec::new(),
            placed: HashMap::new(),
            cumulative: seed % 3 == 0,
        };
        let mut consumer = Consumer::default();
        let mut epoch = 9;
        for _ in 0..400 {
            now = now.plus_ns(venue.random.u64(1..300) * MS);
            match venue.random.u8(0..10) {
                0 | 1 => {
                    if let Submitted::Place(tag) =
                        ledger.submit(&request(""), Some(&MARKET), &Limits::OPEN, now)
                    {
                        let order = *ledger.order(tag).expect("open");
                        let taken = venue.place(order);
                        // The answer: told, lost, or not clear.
                        let outcome = match (venue.random.u8(0..4), taken) {
                            (0, _) => None,
                            (1, _) => Some(Outcome::Unknown),
                            (_, true) => Some(Outcome::Accepted),
                            (_, false) => Some(Outcome::Rejected),
                        };
                        if let Some(outcome) = outcome {
                            ledger.answer(tag, outcome, &OrderNews::default(), TraceId::default(), now);
                        }
                    }
                }
                2..=4 => venue.happen(),
                5 => {
                    let open: Vec<Order> = ledger
                        .orders()
                        .map(|(order, _)| *order)
                        .filter(|order| order.life.is_open())
                        .collect();
                    if !open.is_empty() {
                        let order = open[venue.random.usize(0..open.len())];
                        let mut cancel = request("");
                        (cancel.command, cancel.client_order_id) = (Command::Cancel, order.client_order_id);
                        if let Submitted::Cancel(tag) =
                            ledger.submit(&cancel, Some(&MARKET), &Limits::OPEN, now)
                        {
                            venue.cancel(&mut ledger, tag, now);
                        }
                    }
                }
                6 if venue.random.u8(0..8) == 0 => {
                    ledger.session_lost(now);
                    venue.wire.clear();
                }
                7 if venue.random.u8(0..40) == 0 => {
                    // A crash: what was told and journaled survives, nothing else.
                    consumer.take(&mut ledger, seed);
                    journal.extend_from_slice(ledger.journal());
                    epoch += 1;
                    ledger = self::ledger(epoch, options);
                    assert!(Records::new(&journal).all(|record| ledger.replay(&record)), "seed {seed}");
                    venue.wire.clear();
                    (consumer.gap, consumer.sequence) = (false, 0);
                }
                _ => {}
            }
            if ledger.session() == SessionState::Down && venue.random.u8(0..4) == 0 {
                ledger.session_joined(now);
            }
            venue.deliver(&mut ledger, now);
            if let Some(query) = ledger.poll_query(now) {
                venue.answer(&mut ledger, query, now, true);
            }
            if let Some(tag) = ledger.poll_cancel(now) {
                venue.cancel(&mut ledger, tag, now);
            }
            consumer.take(&mut ledger, seed);
            journal.extend_from_slice(ledger.journal());
            ledger.journal_taken();
        }
        // Peace: the venue is quiet, and answers.
        if ledger.session() == SessionState::Down {
            ledger.session_joined(now);
        }
        for _ in 0..600 {
            now = now.plus_ns(200 * MS);
            while let Some(query) = ledger.poll_query(now) {
                venue.answer(&mut ledger, query, now, false);
            }
            consumer.take(&mut ledger, seed);
        }
        assert_eq!(ledger.session(), SessionState::Live, "seed {seed}");
        assert!(venue.placed.values().all(|&count| count == 1), "seed {seed}: an order was sent twice");
        for (order, doubt) in ledger.orders() {
            let key = order.wire_id.to_string();
            assert!(!doubt || !order.life.is_open(), "seed {seed}: {key} still in doubt");
            match venue.orders.get(&key) {
                Some(at) => {
                    assert_eq!(order.life.cum_qty.0, at.cum, "seed {seed}: {key}");
                    assert_eq!(order.life.state, Some(at.state), "seed {seed}: {key}");
                    assert_eq!(
                        consumer.executed.get(&key).copied().unwrap_or(0),
                        at.cum,
                        "seed {seed}: {key}"
                    );
                    let told = at
                        .fills
                        .iter()
                        .filter(|(id, ..)| consumer.executions.contains_key(&(key.clone(), id.clone())));
                    let expected = if venue.cumulative { 0 } else { at.fills.len() };
                    assert_eq!(told.count(), expected, "seed {seed}: {key}");
                }
                None => assert_eq!(order.life.state, Some(ReportState::Rejected), "seed {seed}: {key}"),
            }
            assert_eq!(consumer.state.get(&key), order.life.state.as_ref(), "seed {seed}: {key}");
        }
        let known = |key: &String| ledger.orders().any(|(order, _)| order.wire_id.as_str() == key);
        assert!(venue.orders.keys().all(known), "seed {seed}: the venue has an order that is not known");
    }
}
