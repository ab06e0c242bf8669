//! A consumer that looks at the clock for each message and keeps nothing but histograms.

use std::sync::{Arc, Mutex, PoisonError};

use engine::consumer::{Consumer, Context};
use engine::event::{Body, Event};
use hdrhistogram::Histogram;
use shards::machine::clock::Clock;

use super::sender::{Sender, Shared};
use crate::counting;

/// The longest latency that is told apart, in nanoseconds.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Significant digits.
const DIGITS: u8 = 3;

/// What one reader saw after the warm-up; latencies in nanoseconds.
#[derive(Clone, Debug)]
pub struct Seen {
    /// From the moment that a message was meant to leave to the handler.
    pub intended: Histogram<u64>,
    /// From the moment that it was handed to the sender's socket.
    pub wire: Histogram<u64>,
    /// From the moment that the gateway had read its bytes.
    pub receive: Histogram<u64>,
    /// When the first came, and the last.
    pub span_ns: (u64, u64),
    /// Gaps.
    pub gaps: u64,
}

impl Seen {
    fn new() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS).expect("bounds that a histogram takes");
        Self {
            intended: histogram(),
            wire: histogram(),
            receive: histogram(),
            span_ns: (u64::MAX, 0),
            gaps: 0,
        }
    }
}

/// Where readers leave what they saw when they stop.
pub type Results = Arc<Mutex<Vec<Seen>>>;

/// A consumer; one of them may send the schedule from its timer, on its own core.
pub struct Reader {
    shared: Arc<Shared>,
    clock: Clock,
    seen: Seen,
    sender: Option<Sender>,
    results: Results,
}

impl Reader {
    /// A reader, with the sender that shares its core.
    pub fn new(shared: Arc<Shared>, sender: Option<Sender>, results: Results) -> Self {
        Self { shared, clock: Clock::new(), seen: Seen::new(), sender, results }
    }
}

impl Consumer for Reader {
    fn on_event(&mut self, event: &Event, _: &mut Context<'_>) {
        let now_ns = self.clock.now();
        let Some(index) = self.shared.load.index_of(event) else {
            self.seen.gaps += u64::from(matches!(event.body, Body::Gap(_)));
            return;
        };
        if index < self.shared.warm {
            return;
        }
        counting::begin();
        let since = |begin_ns: u64| now_ns.saturating_sub(begin_ns);
        self.seen.intended.saturating_record(since(self.shared.intended_ns(index)));
        self.seen.wire.saturating_record(since(self.shared.sent_ns(index)));
        self.seen.receive.saturating_record(since(event.header.receive_time.ns()));
        let (first_ns, _) = self.seen.span_ns;
        self.seen.span_ns = (first_ns.min(now_ns), now_ns);
        if index + 1 == self.shared.messages && self.shared.reader_ended() {
            counting::end();
        }
    }

    fn timer_every_ns(&self) -> Option<u64> {
        // In every turn: a sender on this core sends whenever it can.
        self.sender.is_some().then_some(1)
    }

    fn on_timer(&mut self, _: &mut Context<'_>) {
        if let Some(sender) = &mut self.sender {
            sender.turn();
        }
    }

    fn on_stop(&mut self, _: &mut Context<'_>) {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).push(self.seen.clone());
    }
}
