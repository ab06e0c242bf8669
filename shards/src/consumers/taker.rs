//! An example strategy: a taker that follows trades. After `run` trades of one side in a row it takes `qty` on that side
//! with an order that fills at once or not at all, and waits for what became of it.
//!
//! On nothing but the public API. It is an example of it, and no way to earn money.

use engine::consumer::{Consumer, Context};
use engine::decimal::Number;
use engine::event::{Body, Event, Side};
use engine::ids::{InstrumentId, ProviderId, StreamId};
use engine::orders::{DecisionId, OrderEvent, OrderRequest, OrderSide, TimeInForce};
use engine::time::ReceiveTime;

use super::own::{OwnOptions, find_stream};
use super::{ConsumerConfig, ConsumerError, Maker};

/// Between two orders at least so long, in nanoseconds.
const PAUSE_NS: u64 = 500_000_000;

/// Takes what others take.
#[derive(Clone, Debug)]
pub struct Taker {
    provider: ProviderId,
    stream: StreamId,
    instrument: InstrumentId,
    qty: Number,
    tick: Number,
    slip_ticks: i64,
    run: u32,
    /// The side of the last trades, and how many there were.
    seen: (Side, u32),
    /// The order that is on its way.
    waits_for: Option<DecisionId>,
    not_before: ReceiveTime,
    decisions: u64,
    gaps: u64,
}

/// Reads its options: `provider`, `symbol`, `qty`, `tick`, `slip_ticks`, `run`.
///
/// # Errors
/// [`ConsumerError::Options`]
pub fn factory(config: &ConsumerConfig) -> Result<Maker, ConsumerError> {
    let mut options = OwnOptions::new(&config.options);
    let provider: String = options.must("provider", "a provider's name")?;
    let symbol: String = options.must("symbol", "one of its symbols")?;
    let qty = options.number("qty")?;
    let tick = options.number("tick")?;
    let slip_ticks = options.must("slip_ticks", "ticks")?;
    let run = options.must("run", "a count of trades")?;
    options.close()?;
    let is_trade = |facts: &engine::catalog::StreamFacts| facts.channel == engine::channel::Channel::Trade;
    let (provider, stream, facts) =
        find_stream(&config.catalog, &provider, &symbol, "trade channel", is_trade)?;
    let taker = Taker {
        provider,
        stream,
        instrument: facts.instrument,
        qty,
        tick,
        slip_ticks,
        run,
        seen: (Side::Buy, 0),
        waits_for: None,
        not_before: ReceiveTime::default(),
        decisions: 0,
        gaps: 0,
    };
    Ok(Box::new(move || Box::new(taker.clone())))
}

impl Taker {
    /// The last trade's price, and some ticks worse: a limit, so that a thin book costs no more than that.
    fn order(&self, side: Side, price: i64, decimals: u8) -> Option<OrderRequest> {
        let tick = self.tick.at(decimals).ok()?;
        let (side, price) = match side {
            Side::Buy => (OrderSide::Buy, (price / tick + self.slip_ticks) * tick),
            Side::Sell => (OrderSide::Sell, (price / tick - self.slip_ticks) * tick),
        };
        Some(OrderRequest {
            provider: self.provider,
            instrument: self.instrument,
            time_in_force: TimeInForce::ImmediateOrCancel,
            decision: DecisionId(self.decisions),
            ..OrderRequest::limit(side, Number { mantissa: price, decimals }, self.qty)
        })
    }
}

impl Consumer for Taker {
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        if (event.header.provider, event.header.stream) != (self.provider, self.stream) {
            return;
        }
        let trade = match &event.body {
            Body::Trade(trade) => trade,
            Body::Gap(_) => {
                // Unseen trades may have ended the run.
                self.seen.1 = 0;
                self.gaps += 1;
                return;
            }
            _ => return,
        };
        let (side, count) = self.seen;
        self.seen = (trade.taker_side, if trade.taker_side == side { count + 1 } else { 1 });
        if self.seen.1 < self.run || self.waits_for.is_some() || context.now() < self.not_before {
            return;
        }
        self.decisions += 1;
        let Some(order) = self.order(trade.taker_side, trade.price.0, event.header.decimals.price) else {
            return;
        };
        if context.place(order).is_ok() {
            self.waits_for = Some(order.decision);
            self.not_before = context.now().plus_ns(PAUSE_NS);
        }
        self.seen.1 = 0;
    }

    fn on_order_event(&mut self, event: &OrderEvent, _: &mut Context<'_>) {
        if let OrderEvent::Report(report) = event
            && report.state.is_final()
            && self.waits_for == Some(report.decision)
        {
            self.waits_for = None;
        }
    }

    fn summary(&self) -> Vec<(String, String)> {
        vec![("decisions".to_owned(), self.decisions.to_string()), ("gaps".to_owned(), self.gaps.to_string())]
    }
}
