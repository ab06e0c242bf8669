//! One consumer on its shard: what it counts, how it falls, and how it comes back.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Catalog, Consumer, Context, MakeConsumer, OnPanic, Replicas};
use crate::control::Requests;
use crate::event::Event;
use crate::ids::{ConsumerId, TraceId};
use crate::orders::outbox::Outbox;
use crate::time::ReceiveTime;

/// First pause before a consumer that panicked is made anew, in nanoseconds.
pub(super) const RESTART_PAUSE_NS: u64 = 10_000_000;
/// Longest such pause, in nanoseconds.
const RESTART_PAUSE_NS_MAX: u64 = 10_000_000_000;

/// A handler that takes this long is slow, in nanoseconds: a thousand times what an event costs us.
const SLOW_NS: u64 = 1_000_000;

crate::counters! {
    /// What one consumer did.
    pub struct SeatCounts {
        /// Event parts handled.
        events_total,
        /// Handlers that panicked.
        panics_total,
        /// Times it was made anew after a panic.
        restarts_total,
        /// Event parts that came while it was down.
        missed_total,
        /// Event parts of an older routing version that it asked not to see.
        stale_skipped_total,
        /// Time spent in its handlers, in nanoseconds.
        busy_ns_total,
        /// Its longest handler, in nanoseconds.
        busy_ns_max,
        /// Handlers that took a millisecond or longer.
        slow_total,
        /// Turns that ended early because it had used its share of the turn's time.
        share_used_total,
        /// News of orders handled.
        order_events_total,
    }
}

/// One consumer on its shard.
pub(super) struct Seat {
    pub name: String,
    pub id: ConsumerId,
    pub make: MakeConsumer,
    pub consumer: Option<Box<dyn Consumer>>,
    pub on_panic: OnPanic,
    pub timer_every_ns: Option<u64>,
    pub timer_at: ReceiveTime,
    pub restart_at: Option<ReceiveTime>,
    /// It fell, and nobody asked yet ([`super::Host::poll_fallen`]).
    pub has_fallen: bool,
    pub pause_ns: u64,
    /// By provider: market data sent under an older version is not shown. Empty for a seat that sees all.
    pub version_min: Vec<u32>,
    /// Time spent in its handlers in this turn, in nanoseconds.
    pub turn_ns: u64,
    pub counts: SeatCounts,
}

/// What all seats of a shard use.
pub(super) struct Shared<'a> {
    pub catalog: &'a Catalog,
    pub replicas: &'a Replicas,
    pub requests: &'a mut Requests,
    pub outbox: &'a mut Outbox,
}

impl Seat {
    /// Whether an event was sent under an older version than this consumer wants to see.
    #[cold]
    pub fn is_stale(&self, event: &Event) -> bool {
        let version_min = self.version_min.get(event.header.provider.index()).copied().unwrap_or(0);
        event.header.routing_version < version_min && event.kind().is_market_data()
    }

    /// Makes the consumer anew. If that panics it is as if its first handler had.
    #[cold]
    pub fn restart(&mut self, now: ReceiveTime) {
        self.restart_at = None;
        let make = &self.make;
        match catch_unwind(AssertUnwindSafe(make)) {
            Ok(consumer) => {
                self.counts.restarts_total += 1;
                self.consumer = Some(consumer);
            }
            Err(_) => self.fell(now),
        }
    }

    /// A handler panicked: its state cannot be trusted.
    #[cold]
    pub fn fell(&mut self, now: ReceiveTime) {
        self.counts.panics_total += 1;
        self.has_fallen = true;
        // Dropping it may panic as well.
        let broken = self.consumer.take();
        let _ = catch_unwind(AssertUnwindSafe(move || drop(broken)));
        if self.on_panic == OnPanic::Restart {
            self.restart_at = Some(now.plus_ns(self.pause_ns));
            self.pause_ns = (self.pause_ns * 2).min(RESTART_PAUSE_NS_MAX);
        }
    }

    /// Counts a handler that took so long. Returns whether it has used `share_ns` of the turn with it.
    #[inline]
    pub fn spent(&mut self, busy_ns: u64, share_ns: u64) -> bool {
        let before = self.turn_ns;
        self.turn_ns += busy_ns;
        self.counts.busy_ns_total += busy_ns;
        self.counts.busy_ns_max = self.counts.busy_ns_max.max(busy_ns);
        self.counts.slow_total += u64::from(busy_ns >= SLOW_NS);
        let uses_up = before < share_ns && self.turn_ns >= share_ns;
        self.counts.share_used_total += u64::from(uses_up);
        uses_up
    }

    /// Calls a handler that is not of an event. Returns whether it panicked.
    pub fn call(
        &mut self,
        now: ReceiveTime,
        shared: &mut Shared<'_>,
        handler: impl FnOnce(&mut dyn Consumer, &mut Context<'_>),
    ) -> bool {
        let Some(consumer) = &mut self.consumer else { return false };
        let mut context = Context {
            now,
            catalog: shared.catalog,
            replicas: shared.replicas,
            consumer: self.id,
            trace: TraceId::default(),
            requests: shared.requests,
            outbox: shared.outbox,
        };
        if catch_unwind(AssertUnwindSafe(|| handler(&mut **consumer, &mut context))).is_ok() {
            return false;
        }
        self.fell(now);
        true
    }
}
