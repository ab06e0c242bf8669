//! The consumer that trades, and what it has heard.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::consumer::{Consumer, Context};
use engine::decimal::Number;
use engine::event::Event;
use engine::ids::{InstrumentId, ProviderId};
use engine::orders::{
    ClientOrderId, DecisionId, ExecReport, OrderEvent, OrderRequest, OrderSide, Origin, TimeInForce,
};
use engine::time::ReceiveTime;
use simvenues::exchange::TradingTruth;

use super::Row;

/// Between two orders, in nanoseconds: Binance takes 50 in 10 s.
const ORDER_EVERY_NS: u64 = 300_000_000;
/// Orders that rest at once.
const RESTING_MAX: usize = 3;
/// Far below every price of the simulated market: it rests when it buys, and takes when it sells.
const LOW: &str = "30000.00";
/// Far above: it takes when it buys.
const HIGH: &str = "66000.00";
/// Quantity of order number 0, in units of 0.00001; each further one has one unit more, by which it is known again.
const QTY_FIRST: i64 = 1_000;

/// One order as its reports tell it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    id: ClientOrderId,
    qty: i64,
    cum_qty: i64,
    is_final: bool,
    /// The venue has, or had it.
    accepted: bool,
}

/// What was heard of one venue.
#[derive(Debug, Default)]
pub struct Heard {
    /// Reports.
    pub reports: u64,
    /// `SessionGap` with its `SessionRestored`.
    pub pairs: u32,
    /// Recovered reports, by the counts of `SessionRestored`.
    pub recovered: u64,
    /// A session stands.
    pub is_live: bool,
    /// Nothing is placed or cancelled while this is set.
    pub holds_still: bool,
    /// What must not be.
    pub broken: Vec<String>,
    placed: u64,
    cancels: Vec<DecisionId>,
    sequence: u64,
    recovered_since_gap: u64,
    orders: BTreeMap<DecisionId, Seen>,
}

/// [`Heard`], shared with the run.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<Mutex<Heard>>);

impl Notes {
    /// What was heard so far.
    pub fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares with the venue at the end.
    pub fn judge(&self, row: &mut Row, truth: &TradingTruth, broken: &mut Vec<String>) {
        let heard = self.lock();
        (row.reports, row.pairs, row.recovered) = (heard.reports, heard.pairs, heard.recovered);
        let mut say = |line: String| broken.push(format!("{}: {line}", row.provider));
        heard.broken.iter().cloned().for_each(&mut say);
        if row.pairs < row.outages || !heard.is_live {
            say(format!("{} outages, {} pairs", row.outages, row.pairs));
        }
        let seen: Vec<&Seen> = heard.orders.values().filter(|order| order.accepted).collect();
        let mut orders: Vec<_> = truth.orders.iter().collect();
        // Each has its own quantity, and the later the larger.
        orders.sort_by_key(|order| order.qty);
        if seen.len() != orders.len() {
            say(format!("{} orders there, {} known here", orders.len(), seen.len()));
        }
        for (seen, order) in seen.iter().zip(orders) {
            let same = i128::from(seen.cum_qty) * i128::from(order.qty)
                == i128::from(order.filled) * i128::from(seen.qty);
            if !same || seen.is_final == order.status.is_open() {
                let mut line = String::new();
                let _ = write!(
                    line,
                    "{seen:?}, and there {:?} with {} of {}",
                    order.status, order.filled, order.qty
                );
                say(line);
            }
        }
    }
}

impl Heard {
    /// Every order is answered, and so is every cancel.
    pub fn is_settled(&self) -> bool {
        self.is_live && self.orders.len() as u64 == self.placed && self.cancels.is_empty()
    }

    /// Orders that work.
    pub fn resting(&self) -> usize {
        self.orders.values().filter(|order| !order.is_final).count()
    }

    fn report(&mut self, report: &ExecReport) {
        self.reports += 1;
        self.recovered_since_gap +=
            u64::from(report.flags.has(engine::orders::report::ReportFlags::RECOVERED));
        if report.sequence > 0 {
            if report.sequence != self.sequence + 1 && self.sequence > 0 {
                self.broken.push(format!("report {} after {}", report.sequence, self.sequence));
            }
            self.sequence = report.sequence;
        }
        let seen = self.orders.entry(report.decision).or_insert(Seen {
            id: report.client_order_id,
            qty: report.qty.0,
            cum_qty: 0,
            is_final: false,
            accepted: false,
        });
        if seen.is_final || report.cum_qty.0 < seen.cum_qty {
            self.broken.push(format!("after its end, or backwards: {report:?}"));
        }
        seen.accepted |= report.origin == Origin::Venue && report.state.name() != "REJECTED";
        (seen.cum_qty, seen.is_final) = (report.cum_qty.0, report.state.is_final());
        if seen.is_final {
            self.cancels.retain(|decision| *decision != report.decision);
        }
    }
}

/// Places, takes and cancels in turn.
pub struct Trader {
    provider: ProviderId,
    notes: Notes,
    not_before: ReceiveTime,
}

impl Trader {
    /// At venue number `venue`.
    pub fn new(venue: usize, notes: Notes) -> Self {
        Self { provider: ProviderId(venue as u8), notes, not_before: ReceiveTime::default() }
    }
}

impl Consumer for Trader {
    fn on_event(&mut self, _: &Event, _: &mut Context<'_>) {}

    fn timer_every_ns(&self) -> Option<u64> {
        Some(2_000_000)
    }

    fn on_timer(&mut self, context: &mut Context<'_>) {
        let mut heard = self.notes.lock();
        if heard.holds_still || !heard.is_live || context.now() < self.not_before {
            return;
        }
        self.not_before = context.now().plus_ns(ORDER_EVERY_NS);
        let resting = heard.orders.iter().filter(|(_, order)| !order.is_final);
        let oldest = resting.map(|(decision, order)| (*decision, order.id)).next();
        if heard.resting() >= RESTING_MAX
            && let Some((decision, id)) = oldest.filter(|(decision, _)| !heard.cancels.contains(decision))
            && context.cancel(self.provider, id, decision).is_ok()
        {
            heard.cancels.push(decision);
        }
        let number = heard.placed;
        let qty = Number { mantissa: QTY_FIRST + number as i64, decimals: 5 };
        let (side, price, takes) = match number % 4 {
            1 => (OrderSide::Buy, HIGH, true),
            3 => (OrderSide::Sell, LOW, true),
            _ => (OrderSide::Buy, LOW, false),
        };
        let price = Number::parse(price.as_bytes()).expect("a constant");
        let order = OrderRequest {
            provider: self.provider,
            // The first symbol of each quote asset is that of BTC, in the order of the file.
            instrument: context.catalog().providers[self.provider.index()]
                .streams
                .iter()
                .find(|facts| facts.symbol.starts_with("BTC-"))
                .map_or(InstrumentId(0), |facts| facts.instrument),
            decision: DecisionId(number + 1),
            time_in_force: if takes {
                TimeInForce::ImmediateOrCancel
            } else {
                TimeInForce::GoodTillCancelled
            },
            ..OrderRequest::limit(side, price, qty)
        };
        if context.place(order).is_ok() {
            heard.placed += 1;
        }
    }

    fn on_order_event(&mut self, event: &OrderEvent, _: &mut Context<'_>) {
        if event.provider() != self.provider {
            return;
        }
        let mut heard = self.notes.lock();
        match event {
            OrderEvent::Report(report) => heard.report(report),
            OrderEvent::CancelRejected(notice) => {
                heard.cancels.retain(|decision| *decision != notice.decision);
            }
            OrderEvent::Unknown(_) => {}
            OrderEvent::SessionGap { .. } => {
                (heard.is_live, heard.recovered_since_gap) = (false, 0);
            }
            OrderEvent::SessionRestored { recovered_reports, unknown_orders, .. } => {
                if heard.is_live {
                    heard.broken.push("a session was restored that was not lost".to_owned());
                }
                if u64::from(*recovered_reports) != heard.recovered_since_gap || *unknown_orders > 0 {
                    let line = format!("{event:?} after {} recovered reports", heard.recovered_since_gap);
                    heard.broken.push(line);
                }
                heard.pairs += u32::from(heard.reports > 0);
                heard.recovered += u64::from(*recovered_reports);
                heard.is_live = true;
            }
        }
    }
}
