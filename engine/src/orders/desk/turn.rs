//! What leaves the desk: the session's own requests, orders, cancels, questions; and when to look again.

use crate::connection::Lost;
use crate::decimal::Price;
use crate::directory::Directory;
use crate::ids::{ConsumerId, TraceId};
use crate::orders::check::Rule;
use crate::orders::ledger::{Outcome, Purpose, Query, SessionState, Tag};
use crate::orders::life::{Life, OrderNews};
use crate::orders::order::Order;
use crate::orders::request::{Command, DecisionId, OrderRequest, TimeInForce};
use crate::orders::venue::{EncodeError, JoinStep, OrderGateway, Stamp, Transport};
use crate::time::ReceiveTime;

use super::lane::{HttpCall, Method, Rank, Want};
use super::{Desk, Durability, Stamps};

/// Time for the venue to take the session, in nanoseconds.
const JOIN_NS_MAX: u64 = 10_000_000_000;
/// Time for the venue to tell its clock before the session is asked for without, in nanoseconds.
const CLOCK_NS_MAX: u64 = 2_000_000_000;
/// Pause before a cancel that could not leave is tried again, in nanoseconds.
const CANCEL_AGAIN_NS: u64 = 50_000_000;
/// Journal that may wait for the file: no order is taken on beyond this. About 4,000 records.
const JOURNAL_BYTES_MAX: usize = 1 << 20;

/// What the shell brings to a call.
pub struct Turn<'a> {
    /// Now.
    pub now: ReceiveTime,
    /// What is known of the provider's instruments.
    pub directory: &'a Directory,
    /// Wall clock and chance.
    pub stamps: &'a mut dyn Stamps,
}

impl std::fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("now", &self.now).finish_non_exhaustive()
    }
}

/// How far the session on the private connection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Join {
    /// There is no connection.
    #[default]
    Idle,
    /// The venue's clock is asked for, so that signed requests carry a time that it takes.
    Clock { until: ReceiveTime, deadline: ReceiveTime },
    /// This step is next.
    Step { step: u32, deadline: ReceiveTime },
    /// The answer to the step before this one is awaited.
    Answer { next: u32, deadline: ReceiveTime },
    /// All steps are done; the venue is to say that we are in.
    Welcome { deadline: ReceiveTime },
    /// We are in.
    Done,
}

impl Join {
    fn deadline(self) -> Option<ReceiveTime> {
        match self {
            Self::Idle | Self::Done => None,
            Self::Clock { until, deadline } => Some(until.min(deadline)),
            Self::Step { deadline, .. } | Self::Answer { deadline, .. } | Self::Welcome { deadline } => {
                Some(deadline)
            }
        }
    }
}

impl<G: OrderGateway> Desk<G> {
    fn stamp(&mut self, turn: &mut Turn<'_>) -> Stamp {
        self.clock.stamp(turn.stamps.stamp(), turn.now)
    }

    pub(super) fn work(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        self.last_now = now;
        if let Err(lost) = self.link.timeout(now) {
            self.lose(lost, now);
        }
        while let Some(id) = self.lane.expired(now) {
            self.counts.calls_timed_out_total += 1;
            self.take_answer(id, 0, None, &mut [], now);
        }
        self.adopt(turn);
        self.go_on_joining(turn);
        while let Some(&(position, tag)) = self.held.front() {
            if position > self.journal_durable {
                break;
            }
            self.held.pop_front();
            self.send_place(tag, turn);
        }
        if self.gateway.wants_token(&Stamp { unix_ms: self.clock.venue_ms(now), nonce: 0, random: 0 }) {
            let stamp = self.stamp(turn);
            self.gateway.prepare(&stamp);
        }
        self.note_reach();
        self.send_cancels(turn);
        self.ask(turn);
    }

    pub(super) fn next_deadline(&self) -> Option<ReceiveTime> {
        let now = self.last_now;
        let asks = self.ledger.deadline().map(|at| at.max(self.lane.ask_at()));
        let clock = (self.join == Join::Done && self.gateway.has_clock()).then(|| self.clock.deadline());
        let cancels = (self.ledger.cancels_wanted() > 0 && self.ledger.can_reach())
            .then(|| now.plus_ns(CANCEL_AGAIN_NS));
        let all = [
            self.link.deadline(),
            self.lane.deadline(),
            self.lane.pause_end(now),
            self.join.deadline(),
            asks,
            clock,
            cancels,
        ];
        all.into_iter().flatten().min()
    }

    // --- the session ----------------------------------------------------------------------------------------------

    /// The handshake is done.
    pub(super) fn link_opened(&mut self, now: ReceiveTime) {
        self.counts.connections_total += 1;
        let deadline = now.plus_ns(JOIN_NS_MAX);
        self.join = if self.gateway.has_clock() {
            self.clock.ask_now(now);
            Join::Clock { until: now.plus_ns(CLOCK_NS_MAX), deadline }
        } else {
            Join::Step { step: 0, deadline }
        };
    }

    fn go_on_joining(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        if !self.link.is_live() {
            return;
        }
        if self.gateway.has_clock() && self.clock.is_due(now) {
            self.stamp(turn); // the venue's answer is compared with our clock of now
            self.gateway.clock(&mut self.out);
            if self.link.send(&self.out.body).is_ok() {
                self.clock.asked(now);
            }
        }
        if let Join::Clock { until, deadline } = self.join
            && (now >= until || self.clock.is_told())
        {
            self.join = Join::Step { step: 0, deadline };
        }
        while let Join::Step { step, deadline } = self.join {
            if self.gateway.join_step(step) == JoinStep::Call {
                self.lane.put(Want { rank: Rank::Session, tag: Tag::session(step), attempt: 0 });
                self.join = Join::Answer { next: step + 1, deadline };
                break;
            }
            let stamp = self.stamp(turn);
            match self.gateway.join(step, &stamp, &mut self.out) {
                Ok(true) => {}
                Ok(false) => {
                    self.join = Join::Welcome { deadline };
                    break;
                }
                Err(error) => {
                    self.lose(Lost::Handshake(error.to_string()), now);
                    return;
                }
            }
            if self.link.send(&self.out.body).is_err() {
                self.lose(Lost::OutboxFull, now);
                return;
            }
            let waits = self.gateway.join_step(step) == JoinStep::SendAndWait;
            let next = step + 1;
            self.join =
                if waits { Join::Answer { next, deadline } } else { Join::Step { step: next, deadline } };
        }
        if !matches!(self.join, Join::Clock { .. }) && self.join.deadline().is_some_and(|at| now >= at) {
            self.lose(Lost::NoAck, now);
        }
    }

    /// Tells the ledger whether cancels and questions reach the venue now.
    pub(super) fn note_reach(&mut self) {
        self.ledger.set_reach(self.join == Join::Done || self.gateway.works_without_session());
    }

    /// The session is over, whoever ended it.
    pub(super) fn lose(&mut self, lost: Lost, now: ReceiveTime) {
        if self.link.is_over() {
            return;
        }
        self.counts.connections_lost_total += 1;
        self.link.lost(&lost, now);
        self.last_lost = Some(lost);
        self.join = Join::Idle;
        self.lane.remove(|want| want.rank == Rank::Session);
        self.drop_unsent(None, Rule::NoSession, now);
        self.ledger.session_lost(now);
        self.note_reach();
    }

    // --- orders ---------------------------------------------------------------------------------------------------

    /// What keeps a new order from leaving that the ledger knows nothing of.
    pub(super) fn cannot_place(&self, request: &OrderRequest, now: ReceiveTime) -> Option<Rule> {
        if request.command != Command::Place || self.ledger.session() != SessionState::Live {
            return None;
        }
        if self.ledger.journal().len() > JOURNAL_BYTES_MAX {
            return Some(Rule::JournalFull);
        }
        let full = !self.gateway.by_frame(Purpose::Place) && self.lane.is_full();
        (full || !self.pace.allows(now)).then_some(Rule::VenueRate)
    }

    pub(super) fn place(&mut self, tag: Tag, turn: &mut Turn<'_>) {
        self.pace.note(turn.now);
        let position = self.ledger.journal_end();
        if self.options.durability == Durability::Sync && position > self.journal_durable {
            self.counts.held_total += 1;
            self.held.push_back((position, tag));
        } else {
            self.send_place(tag, turn);
        }
    }

    fn send_place(&mut self, tag: Tag, turn: &mut Turn<'_>) {
        if !self.gateway.by_frame(Purpose::Place) {
            if !self.lane.put(Want { rank: Rank::Place, tag, attempt: 0 }) {
                self.unsent(tag, Rule::VenueRate, turn.now);
            }
            return;
        }
        let written = self.write(tag, 0, false, turn);
        match written {
            Ok(()) if self.link.send(&self.out.body).is_ok() => {}
            Ok(()) => self.unsent(tag, Rule::SendFull, turn.now),
            Err(error) => self.cannot_write(tag, error, turn.now),
        }
    }

    /// Ends orders of the scope that have not left: they wait for the disk, or for a call.
    pub(super) fn drop_unsent(&mut self, scope: Option<ConsumerId>, rule: Rule, now: ReceiveTime) {
        let Self { ledger, held, lane, scratch, .. } = self;
        let in_scope = |tag: Tag| {
            ledger.order(tag).is_none_or(|order| scope.is_none_or(|consumer| order.consumer == consumer))
        };
        scratch.clear();
        held.retain(|&(_, tag)| {
            let drops = in_scope(tag);
            if drops {
                scratch.push(tag);
            }
            !drops
        });
        while let Some(want) = lane.remove(|want| want.rank == Rank::Place && in_scope(want.tag)) {
            scratch.push(want.tag);
        }
        self.counts.unsent_total += scratch.len() as u64;
        for &tag in scratch.iter() {
            ledger.not_sent(tag, rule, now);
        }
    }

    fn unsent(&mut self, tag: Tag, rule: Rule, now: ReceiveTime) {
        self.counts.unsent_total += 1;
        self.ledger.not_sent(tag, rule, now);
    }

    pub(super) fn cancel(&mut self, tag: Tag, turn: &mut Turn<'_>) {
        // An order that has not left needs no cancel.
        let held = self.held.iter().position(|(_, held)| held.is_same_order(tag));
        let waits = held.and_then(|at| self.held.remove(at)).map(|(_, tag)| tag).or_else(|| {
            let want = self.lane.remove(|want| want.rank == Rank::Place && want.tag.is_same_order(tag));
            want.map(|want| want.tag)
        });
        if let Some(tag) = waits {
            self.unsent(tag, Rule::CancelledUnsent, turn.now);
            return;
        }
        self.request(Want { rank: Rank::Cancel, tag, attempt: 0 }, turn);
    }

    pub(super) fn send_cancels(&mut self, turn: &mut Turn<'_>) {
        // One that cannot leave is wanted again: each is tried once.
        for _ in 0..self.ledger.cancels_wanted() {
            let Some(tag) = self.ledger.poll_cancel(turn.now) else { return };
            self.cancel(tag, turn);
        }
    }

    // --- questions ------------------------------------------------------------------------------------------------

    fn ask(&mut self, turn: &mut Turn<'_>) {
        while self.lane.may_ask(turn.now) {
            let want = match self.ledger.poll_query(turn.now) {
                None => return,
                Some(Query::OpenOrders(tag)) => Want { rank: Rank::List, tag, attempt: 0 },
                Some(Query::Order { tag, attempt }) => Want { rank: Rank::Query, tag, attempt },
                Some(Query::Fills(tag)) => Want { rank: Rank::Query, tag, attempt: 0 },
            };
            if !self.joins(&want) {
                self.lane.asked();
            }
            self.request(want, turn);
        }
    }

    /// Whether a question will leave in a call that others wait for already, and so costs none of its own.
    fn joins(&self, want: &Want) -> bool {
        let Self { gateway, ledger, lane, .. } = self;
        let batch_of = |tag: Tag| ledger.order(tag).and_then(|order| gateway.batch(tag, order));
        let Some(batch) = batch_of(want.tag) else { return false };
        let waiting = lane.count(|other| {
            other.rank == Rank::Query && batch_of(other.tag).is_some_and(|of| of.kind == batch.kind)
        });
        !waiting.is_multiple_of(batch.orders_max)
    }

    /// Takes what waits and can be asked together with `want` out of the lane.
    fn gather(&mut self, want: &Want) {
        let Self { gateway, ledger, lane, batch, .. } = self;
        batch.clear();
        batch.push(want.tag);
        let batch_of = |tag: Tag| ledger.order(tag).and_then(|order| gateway.batch(tag, order));
        let Some(first) = batch_of(want.tag) else { return };
        while batch.len() < first.orders_max {
            let next = lane.remove(|other| {
                other.rank == Rank::Query && batch_of(other.tag).is_some_and(|of| of.kind == first.kind)
            });
            let Some(next) = next else { return };
            if !batch.contains(&next.tag) {
                batch.push(next.tag);
            }
        }
    }

    pub(super) fn query(&mut self, tag: Tag, attempt: u32, turn: &mut Turn<'_>) {
        self.request(Want { rank: Rank::Query, tag, attempt }, turn);
    }

    /// Sends a request by frame where that goes, else puts it in the lane.
    fn request(&mut self, want: Want, turn: &mut Turn<'_>) {
        let now = turn.now;
        let by_frame = want.tag.purpose().is_some_and(|purpose| self.gateway.by_frame(purpose));
        if !by_frame || self.join != Join::Done && self.gateway.works_without_session() {
            // A request of which there is one already is not asked twice.
            self.lane.remove(|other| other.tag == want.tag && other.attempt == want.attempt);
            if !self.lane.put(want) {
                self.cannot_leave(want.tag, now);
            }
            return;
        }
        let written = self.write(want.tag, want.attempt, false, turn);
        match written {
            Ok(()) if self.link.send(&self.out.body).is_ok() => {}
            Ok(()) => self.cannot_leave(want.tag, now),
            Err(error) => self.cannot_write(want.tag, error, now),
        }
    }

    /// There is no room for it now.
    fn cannot_leave(&mut self, tag: Tag, now: ReceiveTime) {
        match tag.purpose() {
            Some(Purpose::Place) => self.unsent(tag, Rule::VenueRate, now),
            Some(Purpose::Cancel) => self.ledger.postpone_cancel(tag),
            _ => self.ledger.answer(tag, Outcome::Failed, &OrderNews::default(), TraceId::default(), now),
        }
    }

    /// It cannot be said to this venue, or not now.
    fn cannot_write(&mut self, tag: Tag, error: EncodeError, now: ReceiveTime) {
        self.counts.unsupported_total += u64::from(matches!(error, EncodeError::Unsupported(_)));
        match tag.purpose() {
            Some(Purpose::Place) => {
                let rule = match error {
                    EncodeError::Unsupported(_) => Rule::Unsupported,
                    EncodeError::NoToken => Rule::NoToken,
                };
                self.unsent(tag, rule, now);
            }
            // Coinbase cancels by its own id only: once the order was asked for, it is known.
            Some(Purpose::Cancel) => self.ledger.ask_before_cancel(tag, now),
            _ => self.ledger.answer(tag, Outcome::Failed, &OrderNews::default(), TraceId::default(), now),
        }
    }

    /// The next call of the lane, signed.
    pub(super) fn next_call(&mut self, turn: &mut Turn<'_>) -> Option<HttpCall<'_>> {
        let (want, method) = loop {
            let want = self.lane.next(turn.now)?;
            self.gather(&want);
            let written = if self.batch.len() > 1 {
                self.write_batch(turn)
            } else {
                self.write(want.tag, want.attempt, true, turn)
            };
            if let Err(error) = written {
                for at in 0..self.batch.len() {
                    self.cannot_write(self.batch[at], error, turn.now);
                }
                self.due = true;
                continue;
            }
            break match self.out.transport {
                Transport::Get => (want, Method::Get),
                Transport::Post => (want, Method::Post),
                Transport::Delete => (want, Method::Delete),
                // A gateway that writes a frame here has no such call.
                Transport::Frame => {
                    let error = EncodeError::Unsupported("this request over HTTP");
                    self.cannot_write(want.tag, error, turn.now);
                    self.due = true;
                    continue;
                }
            };
        };
        let id = self.lane.start(&want, turn.now);
        self.counts.calls_total += 1;
        let out = &self.out;
        Some(HttpCall { id, method, path: &out.path, headers: &out.headers, body: &out.body })
    }

    /// Writes the questions of `self.batch` to `self.out` as one.
    fn write_batch(&mut self, turn: &mut Turn<'_>) -> Result<(), EncodeError> {
        let stamp = self.stamp(turn);
        let Self { gateway, ledger, out, batch, .. } = self;
        out.by_http = true;
        gateway.query_batch(batch, ledger, &stamp, out)
    }

    /// Writes the request of a tag to `self.out`.
    fn write(
        &mut self,
        tag: Tag,
        attempt: u32,
        by_http: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), EncodeError> {
        const GONE: EncodeError = EncodeError::Unsupported("a request about an order that is gone");
        let stamp = self.stamp(turn);
        let Self { gateway, ledger, out, .. } = self;
        out.by_http = by_http;
        let directory = turn.directory;
        let order = ledger.order(tag);
        match tag.purpose() {
            Some(Purpose::Place) => gateway.place(tag, order.ok_or(GONE)?, directory, &stamp, out),
            Some(Purpose::Cancel) => gateway.cancel(tag, order.ok_or(GONE)?, directory, &stamp, out),
            Some(Purpose::Order) => gateway.query(tag, attempt, order.ok_or(GONE)?, directory, &stamp, out),
            Some(Purpose::Fills) => gateway.fills(tag, order.ok_or(GONE)?, directory, &stamp, out),
            Some(Purpose::OpenOrders) => gateway.open_orders(tag, &stamp, out),
            Some(Purpose::Session) => gateway.join(tag.number(), &stamp, out).map(|_| ()),
            Some(Purpose::CancelAll) | None => Err(GONE),
        }
    }

    // --- orders of former runs ------------------------------------------------------------------------------------

    /// Takes on orders that the venue listed and that carry ids of ours, though no journal knows them.
    fn adopt(&mut self, turn: &Turn<'_>) {
        while let Some(news) = self.adoptable.pop() {
            let Some((order, directory)) = news.terms.zip(Some(turn.directory)) else { continue };
            let Some(listing) = directory.find(order.symbol.as_bytes()) else { continue };
            let Some(wire_id) = self.ledger.wire_id_of(&news) else { continue };
            let instrument = directory.instrument(listing);
            let decimals = instrument.decimals;
            let (Ok(price), Ok(qty)) = (order.price.at(decimals.price), order.qty.at(decimals.qty)) else {
                continue;
            };
            if qty <= 0 {
                continue;
            }
            let order = Order {
                client_order_id: wire_id,
                wire_id,
                consumer: crate::orders::ADOPTED,
                provider: self.ledger.provider(),
                instrument: instrument.id,
                listing,
                side: order.side,
                kind: order.kind,
                time_in_force: TimeInForce::GoodTillCancelled,
                post_only: false,
                price: Price(price),
                decision: DecisionId::default(),
                trace: TraceId::default(),
                life: Life::new(crate::decimal::Qty(qty), decimals),
            };
            if self.ledger.adopt(&order, turn.now) {
                self.counts.adopted_total += 1;
            }
        }
    }
}
