//! An example strategy: a market maker that keeps one bid and one ask around the proved book.
//!
//! On nothing but the public API. It quotes `edge_ticks` behind the best prices, moves a quote that is more than
//! `move_ticks` off, quotes one side only at its position limit, and keeps still whenever the book is not proved or the
//! session with the venue is gone. It is an example of the API, and no way to earn money.

use engine::book::Replica;
use engine::consumer::{Consumer, Context};
use engine::decimal::{Decimals, Number};
use engine::event::{BookStatus, Event};
use engine::ids::{InstrumentId, ProviderId, StreamId};
use engine::orders::{
    ClientOrderId, DecisionId, ExecReport, OrderEvent, OrderRequest, OrderSide, ReportState,
};
use engine::time::ReceiveTime;

use super::own::{OwnOptions, find_stream};
use super::{ConsumerConfig, ConsumerError, Maker as Make};

/// After a refusal, so long nothing is quoted on that side, in nanoseconds.
const PAUSE_NS: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quote {
    None,
    /// Asked for, under this decision; not heard of yet.
    Asked(DecisionId),
    /// In the book.
    Works(ClientOrderId),
    /// Its cancel was asked for.
    Leaves,
}

#[derive(Clone, Debug)]
struct Side {
    side: OrderSide,
    quote: Quote,
    price: i64,
    decision: DecisionId,
    not_before: ReceiveTime,
}

/// One bid and one ask.
#[derive(Clone, Debug)]
pub struct Maker {
    provider: ProviderId,
    stream: StreamId,
    instrument: InstrumentId,
    qty: Number,
    tick: Number,
    edge_ticks: i64,
    move_ticks: i64,
    position_max_quotes: i64,
    sides: [Side; 2],
    /// Filled quantity bought less sold, in quotes: a partial fill counts when its order has ended.
    position_qty: i64,
    session: bool,
    decisions: u64,
}

/// Reads its options: `provider`, `symbol`, `qty`, `tick`, `edge_ticks`, `move_ticks`, `position_max_quotes`.
///
/// # Errors
/// [`ConsumerError::Options`]
pub fn factory(config: &ConsumerConfig) -> Result<Make, ConsumerError> {
    let mut options = OwnOptions::new(&config.options);
    let provider: String = options.must("provider", "a provider's name")?;
    let symbol: String = options.must("symbol", "one of its symbols")?;
    let qty = options.number("qty")?;
    let tick = options.number("tick")?;
    let (edge_ticks, move_ticks) =
        (options.must("edge_ticks", "ticks")?, options.must("move_ticks", "ticks")?);
    let position_max_quotes = options.must("position_max_quotes", "a count of quotes")?;
    options.close()?;
    let (provider, stream, facts) =
        find_stream(&config.catalog, &provider, &symbol, "book", |facts| facts.channel.is_book())?;
    let instrument = facts.instrument;
    let side = |side| Side {
        side,
        quote: Quote::None,
        price: 0,
        decision: DecisionId(0),
        not_before: ReceiveTime::default(),
    };
    let sides = [side(OrderSide::Buy), side(OrderSide::Sell)];
    let maker = Maker {
        provider,
        stream,
        instrument,
        qty,
        tick,
        edge_ticks,
        move_ticks,
        position_max_quotes,
        sides,
        position_qty: 0,
        session: true,
        decisions: 0,
    };
    Ok(Box::new(move || Box::new(maker.clone())))
}

impl Maker {
    /// Where a quote belongs now: `edge_ticks` behind the best price of its own side, on the tick.
    fn price(&self, side: OrderSide, book: &Replica) -> Option<(i64, Decimals)> {
        let decimals = book.book().decimals();
        let tick = self.tick.at(decimals.price).ok()?;
        let (bid, ask) = (book.book().bids.best()?.price.0, book.book().asks.best()?.price.0);
        Some(match side {
            OrderSide::Buy => ((bid / tick - self.edge_ticks) * tick, decimals),
            OrderSide::Sell => ((self.edge_ticks - (-ask).div_euclid(tick)) * tick, decimals),
        })
    }

    fn quote(&mut self, at: usize, context: &mut Context<'_>) {
        let book = context.book(self.provider, self.stream);
        let proved = book.filter(|book| book.is_whole() && book.status() == BookStatus::Proved);
        let side = self.sides[at].side;
        let wanted = proved.and_then(|book| self.price(side, book)).filter(|_| self.session);
        let signed = if side == OrderSide::Buy { 1 } else { -1 };
        let full = self.position_qty * signed >= self.position_max_quotes * self.qty.mantissa;
        let tick = wanted.and_then(|(_, decimals)| self.tick.at(decimals.price).ok()).unwrap_or(1);
        let slot = &mut self.sides[at];
        match (slot.quote, wanted) {
            (Quote::None, Some((price, decimals))) if !full && context.now() >= slot.not_before => {
                self.decisions += 1;
                slot.decision = DecisionId(self.decisions * 2 + at as u64);
                let price_number = Number { mantissa: price, decimals: decimals.price };
                let order = OrderRequest {
                    provider: self.provider,
                    instrument: self.instrument,
                    post_only: true,
                    decision: slot.decision,
                    ..OrderRequest::limit(side, price_number, self.qty)
                };
                if context.place(order).is_ok() {
                    (slot.quote, slot.price) = (Quote::Asked(slot.decision), price);
                }
            }
            (Quote::Works(id), Some((price, _)))
                if (price - slot.price).abs() > self.move_ticks * tick
                    && context.cancel(self.provider, id, slot.decision).is_ok() =>
            {
                slot.quote = Quote::Leaves;
            }
            _ => {}
        }
    }

    fn report(&mut self, report: &ExecReport) {
        let Some(slot) = self.sides.iter_mut().find(|slot| slot.decision == report.decision) else { return };
        if !report.state.is_final() {
            if matches!(slot.quote, Quote::Asked(_)) {
                slot.quote = Quote::Works(report.client_order_id);
            }
            return;
        }
        slot.quote = Quote::None;
        if report.state == ReportState::Rejected {
            slot.not_before = report.receive_time.plus_ns(PAUSE_NS);
        }
        let filled = Number { mantissa: report.cum_qty.0, decimals: report.decimals.qty };
        let signed = if report.side == OrderSide::Buy { 1 } else { -1 };
        self.position_qty += signed * filled.trimmed().at(self.qty.decimals).unwrap_or(0);
    }
}

impl Consumer for Maker {
    fn on_event(&mut self, _: &Event, _: &mut Context<'_>) {}

    // Once a batch: of many changes of the book only the last one matters.
    fn on_batch_end(&mut self, context: &mut Context<'_>) {
        for at in 0..self.sides.len() {
            self.quote(at, context);
        }
    }

    fn on_order_event(&mut self, event: &OrderEvent, _: &mut Context<'_>) {
        match event {
            OrderEvent::Report(report) => self.report(report),
            OrderEvent::SessionGap { provider, .. } if *provider == self.provider => self.session = false,
            OrderEvent::SessionRestored { provider, .. } if *provider == self.provider => self.session = true,
            // The quote may work on: its final report says so sooner or later.
            _ => {}
        }
    }
}
