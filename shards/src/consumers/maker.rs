//! An example strategy: a market maker that keeps one bid and one ask around the proved book.
//!
//! On nothing but the public API, as an example of it and no way to earn money. It quotes `edge_ticks` behind the best
//! prices, moves a quote that is more than `move_ticks` off, quotes one side only at its position limit, and keeps still
//! while the book is not proved or the session with the venue is gone.

use engine::book::Replica;
use engine::consumer::{Consumer, Context};
use engine::decimal::{Decimals, Number};
use engine::event::{BookStatus, Event};
use engine::orders::{
    ClientOrderId, DecisionId, ExecReport, OrderEvent, OrderRequest, OrderSide, ReportState,
};
use engine::time::ReceiveTime;

use super::own::{OwnOptions, Traded};
use super::{ConsumerConfig, ConsumerError, Maker as Make};

/// After a refusal, so long nothing is quoted on that side, in nanoseconds.
const PAUSE_NS: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Quote {
    #[default]
    None,
    Asked,
    Works(ClientOrderId),
    Leaves,
}

#[derive(Clone, Debug, Default)]
struct Side {
    quote: Quote,
    price: i64,
    decision: DecisionId,
    not_before: ReceiveTime,
}

/// One bid and one ask.
#[derive(Clone, Debug)]
pub struct Maker {
    at: Traded,
    edge_ticks: i64,
    move_ticks: i64,
    position_max_quotes: i64,
    sides: [Side; 2],
    /// Filled quantity bought less sold: a partial fill counts when its order has ended.
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
    let maker = Maker {
        at: options.traded(&config.catalog, "book", |facts| facts.channel.is_book())?,
        edge_ticks: options.must("edge_ticks", "ticks")?,
        move_ticks: options.must("move_ticks", "ticks")?,
        position_max_quotes: options.must("position_max_quotes", "a count of quotes")?,
        sides: Default::default(),
        position_qty: 0,
        session: true,
        decisions: 0,
    };
    options.close()?;
    Ok(Box::new(move || Box::new(maker.clone())))
}

impl Maker {
    /// Where a quote belongs now: `edge_ticks` behind the best price of its own side, on the tick. With the tick.
    fn price(&self, side: OrderSide, book: &Replica) -> Option<(i64, i64, Decimals)> {
        let decimals = book.book().decimals();
        let tick = self.at.tick.at(decimals.price).ok()?;
        let (bid, ask) = (book.book().bids.best()?.price.0, book.book().asks.best()?.price.0);
        let price = match side {
            OrderSide::Buy => (bid / tick - self.edge_ticks) * tick,
            OrderSide::Sell => (self.edge_ticks - (-ask).div_euclid(tick)) * tick,
        };
        Some((price, tick, decimals))
    }

    fn quote(&mut self, index: usize, context: &mut Context<'_>) {
        let (side, signed) = [(OrderSide::Buy, 1), (OrderSide::Sell, -1)][index];
        let book = context.book(self.at.provider, self.at.stream).filter(|_| self.session);
        let proved = book.filter(|book| book.is_whole() && book.status() == BookStatus::Proved);
        let Some((price, tick, decimals)) = proved.and_then(|book| self.price(side, book)) else { return };
        let full = self.position_qty * signed >= self.position_max_quotes * self.at.qty.mantissa;
        let slot = &mut self.sides[index];
        match slot.quote {
            Quote::None if !full && context.now() >= slot.not_before => {
                self.decisions += 1;
                slot.decision = DecisionId(self.decisions);
                let price_number = Number { mantissa: price, decimals: decimals.price };
                let order = self.at.limit(side, price_number, slot.decision);
                if context.place(OrderRequest { post_only: true, ..order }).is_ok() {
                    (slot.quote, slot.price) = (Quote::Asked, price);
                }
            }
            Quote::Works(id)
                if (price - slot.price).abs() > self.move_ticks * tick
                    && context.cancel(self.at.provider, id, slot.decision).is_ok() =>
            {
                slot.quote = Quote::Leaves;
            }
            _ => {}
        }
    }

    fn report(&mut self, report: &ExecReport) {
        let Some(slot) = self.sides.iter_mut().find(|slot| slot.decision == report.decision) else { return };
        if !report.state.is_final() {
            if slot.quote == Quote::Asked {
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
        self.position_qty += signed * filled.trimmed().at(self.at.qty.decimals).unwrap_or(0);
    }
}

impl Consumer for Maker {
    fn on_event(&mut self, _: &Event, _: &mut Context<'_>) {}

    // Once a batch: of many changes of the book only the last one matters.
    fn on_batch_end(&mut self, context: &mut Context<'_>) {
        (0..2).for_each(|index| self.quote(index, context));
    }

    fn on_order_event(&mut self, event: &OrderEvent, _: &mut Context<'_>) {
        match event {
            OrderEvent::Report(report) => self.report(report),
            OrderEvent::SessionGap { provider, .. } if *provider == self.at.provider => self.session = false,
            OrderEvent::SessionRestored { provider, .. } if *provider == self.at.provider => {
                self.session = true;
            }
            _ => {}
        }
    }
}
