//! What a handler may look at and ask for while it is called.

use super::Replicas;
use crate::book::Replica;
use crate::catalog::Catalog;
use crate::control::{Ask, MergeWanted, Requests, RequestsFull, Wanted};
use crate::ids::{ConsumerId, ProviderId, StreamId, TraceId};
use crate::orders::id::ClientOrderId;
use crate::orders::outbox::{Outbox, OutboxFull};
use crate::orders::request::{Command, DecisionId, OrderRequest};
use crate::time::ReceiveTime;

/// What a handler may use beside the event.
#[derive(Debug)]
pub struct Context<'a> {
    pub(super) now: ReceiveTime,
    pub(super) catalog: &'a Catalog,
    pub(super) replicas: &'a Replicas,
    pub(super) consumer: ConsumerId,
    /// The frame that is being handled.
    pub(super) trace: TraceId,
    pub(super) requests: &'a mut Requests,
    pub(super) outbox: &'a mut Outbox,
}

impl Context<'_> {
    /// When this batch began, by the clock of receive times.
    pub const fn now(&self) -> ReceiveTime {
        self.now
    }

    /// Names behind the numbers.
    pub const fn catalog(&self) -> &Catalog {
        self.catalog
    }

    /// The number of the consumer that is called.
    pub const fn consumer(&self) -> ConsumerId {
        self.consumer
    }

    /// The book of a stream that some consumer of this shard subscribed to. Look at its
    /// [`status`](Replica::status) before you trust it.
    pub fn book(&self, provider: ProviderId, stream: StreamId) -> Option<&Replica> {
        self.replicas.get(provider, stream)
    }

    /// Asks to receive a stream from now on. Returns the request's number, which `ControlAck` and `ControlResult` carry;
    /// the first event comes some milliseconds later, and a book begins with a snapshot.
    ///
    /// # Errors
    /// [`RequestsFull`]
    pub fn subscribe(&mut self, wanted: Wanted) -> Result<u64, RequestsFull> {
        self.requests.ask(self.consumer, Ask::Subscribe(wanted))
    }

    /// Asks to receive a stream no longer. Events that are on their way still come.
    ///
    /// # Errors
    /// [`RequestsFull`]
    pub fn unsubscribe(&mut self, wanted: Wanted) -> Result<u64, RequestsFull> {
        self.requests.ask(self.consumer, Ask::Unsubscribe(wanted))
    }

    /// Asks to receive what a merge rule joins, and for the rule if there is none of its name. Merged streams go under a
    /// provider number of the merge shard; the catalog names them after the rule.
    ///
    /// # Errors
    /// [`RequestsFull`]
    pub fn merged_subscribe(&mut self, wanted: MergeWanted) -> Result<u64, RequestsFull> {
        self.requests.ask(self.consumer, Ask::Merge(Box::new(wanted)))
    }

    /// Asks to receive the merged streams of a rule no longer. A rule that a consumer asked for ends with its last one.
    ///
    /// # Errors
    /// [`RequestsFull`]
    pub fn merged_unsubscribe(&mut self, rule: &str) -> Result<u64, RequestsFull> {
        self.requests.ask(self.consumer, Ask::Unmerge(rule.to_owned()))
    }

    /// Moves the own trading switch.
    ///
    /// # Errors
    /// [`RequestsFull`]
    pub fn set_trading(&mut self, on: bool) -> Result<u64, RequestsFull> {
        self.requests.ask(self.consumer, Ask::Trading(on))
    }

    /// Sends a new order: one of [`OrderRequest::limit`] or [`OrderRequest::market`] with provider and instrument set, and
    /// whatever else differs. Whatever becomes of it comes back as events that carry its `decision`; what does not leave,
    /// as a REJECTED report of local origin whose reason names the rule.
    ///
    /// # Errors
    /// [`OutboxFull`]: it was not taken, and nothing will be told of it.
    pub fn place(&mut self, request: OrderRequest) -> Result<(), OutboxFull> {
        self.send(OrderRequest { command: Command::Place, ..request })
    }

    /// Asks for the end of an order of this consumer.
    ///
    /// # Errors
    /// [`OutboxFull`]
    pub fn cancel(
        &mut self,
        provider: ProviderId,
        id: ClientOrderId,
        decision: DecisionId,
    ) -> Result<(), OutboxFull> {
        let named = OrderRequest { provider, client_order_id: id, decision, ..OrderRequest::default() };
        self.send(OrderRequest { command: Command::Cancel, ..named })
    }

    /// Asks for the end of all open orders of this consumer at a provider.
    ///
    /// # Errors
    /// [`OutboxFull`]
    pub fn cancel_all(&mut self, provider: ProviderId, decision: DecisionId) -> Result<(), OutboxFull> {
        self.send(OrderRequest { command: Command::CancelAll, provider, decision, ..OrderRequest::default() })
    }

    /// Has the venue asked where an order of this consumer stands; news of it come as reports.
    ///
    /// # Errors
    /// [`OutboxFull`]
    pub fn query(
        &mut self,
        provider: ProviderId,
        id: ClientOrderId,
        decision: DecisionId,
    ) -> Result<(), OutboxFull> {
        let named = OrderRequest { provider, client_order_id: id, decision, ..OrderRequest::default() };
        self.send(OrderRequest { command: Command::Query, ..named })
    }

    #[inline]
    fn send(&mut self, mut request: OrderRequest) -> Result<(), OutboxFull> {
        request.consumer = self.consumer;
        request.submitted_at = self.now;
        if request.trace == TraceId::default() {
            request.trace = self.trace;
        }
        self.outbox.submit(&request, self.now)
    }
}
