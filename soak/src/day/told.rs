//! What the consumers that trade were told of their orders, counted beside them: what the gateway says that it told, and what
//! the venue did, must be the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::consumer::{Consumer, Context};
use engine::event::Event;
use engine::ids::ConsumerId;
use engine::orders::OrderEvent;
use shards::orders::account::Account;

use super::venues::QTY_DECIMALS;

/// Instruments that one consumer trades, at the most; more only cost an allocation.
const INSTRUMENTS_MAX: usize = 4;

/// By provider and consumer: what came.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub accounts: BTreeMap<(u8, u16), Account>,
    /// By provider: executed quantity, in units of 10 to the minus [`QTY_DECIMALS`].
    pub qty: BTreeMap<u8, i128>,
    /// Events of orders, all in all.
    pub events_total: u64,
}

impl Told {
    fn take(&mut self, event: &OrderEvent) {
        let provider = event.provider().0;
        self.events_total += 1;
        if let OrderEvent::Report(report) = event
            && report.last_qty.0 > 0
        {
            let scale = 10_i128.pow(QTY_DECIMALS - u32::from(report.decimals.qty));
            *self.qty.entry(provider).or_default() += i128::from(report.last_qty.0) * scale;
        }
        let Some(consumer) = event.consumer() else { return };
        let account = self.accounts.entry((provider, consumer.0));
        account.or_insert_with(|| Account::new(ConsumerId(consumer.0), INSTRUMENTS_MAX)).note(event);
    }
}

/// What all of them write into.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(Arc<Mutex<Told>>);

impl Tally {
    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same consumer, with a witness.
    pub(super) fn beside(&self, consumer: Box<dyn Consumer>) -> Box<dyn Consumer> {
        Box::new(Witnessed { consumer, tally: self.clone() })
    }
}

struct Witnessed {
    consumer: Box<dyn Consumer>,
    tally: Tally,
}

impl Consumer for Witnessed {
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        self.consumer.on_event(event, context);
    }

    fn on_order_event(&mut self, event: &OrderEvent, context: &mut Context<'_>) {
        self.tally.told().take(event);
        self.consumer.on_order_event(event, context);
    }

    fn on_batch_end(&mut self, context: &mut Context<'_>) {
        self.consumer.on_batch_end(context);
    }

    fn timer_every_ns(&self) -> Option<u64> {
        self.consumer.timer_every_ns()
    }

    fn on_timer(&mut self, context: &mut Context<'_>) {
        self.consumer.on_timer(context);
    }

    fn on_stop(&mut self, context: &mut Context<'_>) {
        self.consumer.on_stop(context);
    }

    fn skips_stale(&self) -> bool {
        self.consumer.skips_stale()
    }

    fn summary(&self) -> Vec<(String, String)> {
        self.consumer.summary()
    }
}
