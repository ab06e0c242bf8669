//! The consumer shard's half of the way out: requests of its consumers into the order rings, and what is refused on the spot.
//!
//! The switch is asked first, here, on the consumer's own side: what it holds back enters no ring. Everything else
//! (ids, filters, limits) is checked by the provider's shard, which owns the orders. Nothing here allocates after start.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::ids::{ConsumerId, ProviderId};
use crate::ring::Sender;
use crate::time::ReceiveTime;

use super::check::Rule;
use super::report::{ExecReport, OrderEvent, OrderNotice, Origin, ReportState};
use super::request::{Command, OrderRequest};

/// Local refusals of one shard's consumers that may wait for the end of the batch.
pub const REFUSALS_MAX: usize = 256;

/// Who may trade now. Asked before each new order; may be shared with whoever moves the switches.
pub trait MayTrade: Send + Sync {
    /// Whether a new order of this consumer may leave.
    fn may_trade(&self, consumer: ConsumerId) -> bool;
}

/// Too many refusals wait to be told: the request was not taken, and nothing will be told of it. Ask again after the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{REFUSALS_MAX} refusals wait to be told already")]
pub struct OutboxFull;

crate::counters! {
    /// What became of the requests of one shard's consumers.
    pub struct OutboxCounts {
        /// Requests that entered an order ring.
        requests_total,
        /// New orders that a switch held back on this side.
        suppressed_total,
        /// Requests for a provider that has no orders.
        no_keys_total,
        /// Requests that found their ring full.
        ring_full_total,
        /// Requests for a provider whose shard has ended.
        stopping_total,
    }
}

/// Order rings of one consumer shard.
#[derive(Default)]
pub struct Outbox {
    switch: Option<Arc<dyn MayTrade>>,
    /// By provider; `None` where it has no orders.
    lanes: Vec<Option<Lane>>,
    refusals: VecDeque<OrderEvent>,
    /// What was counted.
    pub counts: OutboxCounts,
}

struct Lane {
    sender: Sender<OrderRequest>,
    /// Its shard has not been woken since something entered.
    sleeps: bool,
}

impl Outbox {
    /// Without rings: each request is refused until they are added.
    pub fn new(switch: Arc<dyn MayTrade>) -> Self {
        Self {
            switch: Some(switch),
            lanes: Vec::new(),
            refusals: VecDeque::with_capacity(REFUSALS_MAX),
            counts: OutboxCounts::default(),
        }
    }

    /// Adds the ring to a provider.
    pub fn connect(&mut self, provider: ProviderId, sender: Sender<OrderRequest>) {
        if self.lanes.len() <= provider.index() {
            self.lanes.resize_with(provider.index() + 1, || None);
        }
        self.lanes[provider.index()] = Some(Lane { sender, sleeps: false });
    }

    /// Takes a request. Each one is answered by events to its consumer: what does not leave, by a REJECTED report of
    /// local origin whose reason is the rule's name (a cancel or query: by a notice).
    ///
    /// # Errors
    /// [`OutboxFull`]
    pub fn submit(&mut self, request: &OrderRequest, now: ReceiveTime) -> Result<(), OutboxFull> {
        let allowed = |switch: &Arc<dyn MayTrade>| switch.may_trade(request.consumer);
        if request.command == Command::Place && !self.switch.as_ref().is_some_and(allowed) {
            self.refuse(request, Rule::TradingOff, now)?;
            self.counts.suppressed_total += 1;
            return Ok(());
        }
        let Some(lane) = self.lanes.get_mut(request.provider.index()).and_then(Option::as_mut) else {
            self.refuse(request, Rule::NoKeys, now)?;
            self.counts.no_keys_total += 1;
            return Ok(());
        };
        if lane.sender.is_abandoned() {
            self.refuse(request, Rule::Stopping, now)?;
            self.counts.stopping_total += 1;
            return Ok(());
        }
        if !lane.sender.has_room(1) {
            self.refuse(request, Rule::RingFull, now)?;
            self.counts.ring_full_total += 1;
            return Ok(());
        }
        lane.sender.push(*request);
        lane.sender.publish();
        lane.sleeps = true;
        self.counts.requests_total += 1;
        Ok(())
    }

    /// Calls `wake` for each provider that got requests since the last call.
    #[inline]
    pub fn wake(&mut self, mut wake: impl FnMut(ProviderId)) {
        for (provider, lane) in self.lanes.iter_mut().enumerate() {
            if let Some(lane) = lane
                && std::mem::take(&mut lane.sleeps)
            {
                wake(ProviderId(provider as u8));
            }
        }
    }

    /// The oldest refusal that was not told yet.
    #[inline]
    pub fn poll_refusal(&mut self) -> Option<OrderEvent> {
        self.refusals.pop_front()
    }

    /// Refusals that were not told yet.
    pub fn refusals(&self) -> usize {
        self.refusals.len()
    }

    #[cold]
    fn refuse(&mut self, request: &OrderRequest, rule: Rule, now: ReceiveTime) -> Result<(), OutboxFull> {
        if self.refusals.len() >= REFUSALS_MAX {
            return Err(OutboxFull);
        }
        self.refusals.push_back(refusal(request, rule, now));
        Ok(())
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// What a consumer is told of a request that does not leave its own shard. Such reports have the number 0: they are none
/// of the provider's.
pub fn refusal(request: &OrderRequest, rule: Rule, now: ReceiveTime) -> OrderEvent {
    let reason = rule.reason();
    if request.command != Command::Place {
        return OrderEvent::CancelRejected(OrderNotice {
            consumer: request.consumer,
            provider: request.provider,
            client_order_id: request.client_order_id,
            decision: request.decision,
            code: 0,
            reason,
            receive_time: now,
        });
    }
    OrderEvent::Report(ExecReport {
        state: ReportState::Rejected,
        origin: Origin::Local,
        side: request.side,
        provider: request.provider,
        consumer: request.consumer,
        instrument: request.instrument,
        decision: request.decision,
        order_trace: request.trace,
        receive_time: now,
        client_order_id: request.client_order_id,
        reason,
        ..ExecReport::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::request::{DecisionId, OrderSide};
    use crate::ring::ring;
    use std::sync::atomic::{AtomicBool, Ordering};

    struct Switch(AtomicBool);
    impl MayTrade for Switch {
        fn may_trade(&self, consumer: ConsumerId) -> bool {
            consumer == ConsumerId(3) && self.0.load(Ordering::Relaxed)
        }
    }

    fn request(command: Command) -> OrderRequest {
        let request = OrderRequest::limit_text(OrderSide::Buy, "100", "1").expect("numbers");
        OrderRequest { command, consumer: ConsumerId(3), decision: DecisionId(77), ..request }
    }

    fn reason(event: Option<&OrderEvent>) -> String {
        match event {
            Some(OrderEvent::Report(report)) => {
                assert_eq!((report.state, report.origin), (ReportState::Rejected, Origin::Local));
                assert_eq!(report.decision, DecisionId(77));
                report.reason.to_string()
            }
            Some(OrderEvent::CancelRejected(notice)) => format!("cancel {}", notice.reason),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn what_the_switch_holds_back_enters_no_ring_and_is_told() {
        let switch = Arc::new(Switch(AtomicBool::new(false)));
        let mut outbox = Outbox::new(Arc::clone(&switch) as Arc<dyn MayTrade>);
        let (sender, mut receiver) = ring(2);
        outbox.connect(ProviderId(0), sender);
        let now = ReceiveTime::from_ns(5);
        outbox.submit(&request(Command::Place), now).expect("taken");
        assert!(receiver.is_empty(), "an order left although the switch is off");
        assert_eq!(reason(outbox.poll_refusal().as_ref()), "trading_off");
        // A cancel takes risk away: it leaves whatever the switch says.
        outbox.submit(&request(Command::Cancel), now).expect("taken");
        assert_eq!(receiver.pop().map(|request| request.command), Some(Command::Cancel));
        switch.0.store(true, Ordering::Relaxed);
        outbox.submit(&request(Command::Place), now).expect("taken");
        assert_eq!(receiver.pop(), Some(request(Command::Place)));
        assert_eq!((outbox.counts.requests_total, outbox.counts.suppressed_total), (2, 1));
        let mut woken = Vec::new();
        outbox.wake(|provider| woken.push(provider));
        outbox.wake(|provider| woken.push(provider));
        assert_eq!(woken, [ProviderId(0)], "once for both");
    }

    #[test]
    fn a_full_ring_and_a_provider_without_keys_refuse_by_name() {
        let mut outbox = Outbox::new(Arc::new(Switch(AtomicBool::new(true))));
        let (sender, _receiver) = ring(1);
        outbox.connect(ProviderId(0), sender);
        let now = ReceiveTime::from_ns(5);
        for _ in 0..2 {
            outbox.submit(&request(Command::Place), now).expect("taken");
        }
        assert_eq!(reason(outbox.poll_refusal().as_ref()), "ring_full");
        let other = OrderRequest { provider: ProviderId(4), ..request(Command::Cancel) };
        outbox.submit(&other, now).expect("taken");
        assert_eq!(reason(outbox.poll_refusal().as_ref()), "cancel no_keys");
        assert!(outbox.poll_refusal().is_none());
    }

    #[test]
    fn refusals_are_bounded_and_the_caller_is_told() {
        let mut outbox = Outbox::new(Arc::new(Switch(AtomicBool::new(false))));
        let now = ReceiveTime::from_ns(5);
        for _ in 0..REFUSALS_MAX {
            assert_eq!(outbox.submit(&request(Command::Place), now), Ok(()));
        }
        assert_eq!(outbox.submit(&request(Command::Place), now), Err(OutboxFull));
        assert_eq!(outbox.counts.suppressed_total, REFUSALS_MAX as u64);
    }
}
