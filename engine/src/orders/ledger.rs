//! The orders of one provider: which exist, where each stands, and what consumers are told.
//!
//! Owned by the provider's shard. It knows no socket and no file: [`submit`](Ledger::submit) says what to send,
//! [`journal`](Ledger::journal) what to write before that, [`poll_event`](Ledger::poll_event) what to tell. How unknown
//! outcomes are settled and sessions recovered stands in `ledger/recovery.rs`. All tables are bounded and taken at the start.

mod recovery;
mod restore;
mod shell;
mod table;
mod tag;

pub use recovery::{Outcome, Query, SessionState};
pub use tag::{Purpose, Tag};

use std::collections::VecDeque;

use crate::ids::{ConsumerId, ProviderId};
use crate::time::ReceiveTime;

use super::check::{Limits, Market, Rate, Rule, check};
use super::id::{ClientOrderId, WireId, WireIds};
use super::index::Index;
use super::journal::{self, Record};
use super::life::{Life, OrderNews};
use super::order::Order;
use super::report::{ExecReport, OrderEvent, OrderNotice, Origin, ReportState};
use super::request::{Command, OrderRequest};

crate::counters! {
    /// What a provider's ledger did.
    pub struct LedgerCounts {
        /// New orders that left the checks.
        orders_total,
        /// New orders refused before the wire.
        refused_total,
        /// Of those: because the trading or the kill switch said so.
        suppressed_total,
        /// Of those: because the id was used before.
        duplicates_refused_total,
        /// Execution reports made.
        reports_total,
        /// Of those: found by asking the venue.
        recovered_reports_total,
        /// Statements of the venue that said nothing new.
        stale_news_total,
        /// Executions that came again.
        duplicate_executions_total,
        /// Statements of the venue that broke a rule and were not believed.
        contradictions_total,
        /// Statements about orders that are not in the table.
        foreign_news_total,
        /// Outcomes that were not known in time.
        unknown_total,
        /// Questions that the venue was asked about orders.
        queries_total,
        /// Sessions lost.
        session_gaps_total,
        /// News that came while a recovery had no more room for them: it began anew.
        recoveries_restarted_total,
        /// Used ids that had to be forgotten: the same id would be accepted again.
        ids_forgotten_total,
        /// Executions that could not be remembered: one that came again would be caught by the quantities only.
        executions_unremembered_total,
    }
}

/// What happens to open orders when a session was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnSessionLoss {
    /// They go on.
    Keep,
    /// They are cancelled as soon as the venue can be reached again.
    CancelMine,
}

/// Sizes and waits of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerOptions {
    /// Orders kept: open ones, and ended ones for whose sake late news are still understood. At most 2^20.
    pub orders_max: usize,
    /// Client order ids of consumers that are remembered as used.
    pub ids_max: usize,
    /// Executions remembered, over all orders kept.
    pub executions_max: usize,
    /// Statements buffered while a session is recovered.
    pub buffered_max: usize,
    /// Consumers, by number.
    pub consumers_max: usize,
    /// How long an answer may take before its outcome is unknown, in nanoseconds.
    pub answer_wait_ns: u64,
    /// How long after the send "no such order" can be believed, in nanoseconds: longer than the venue may still place it.
    pub not_found_final_ns: u64,
    /// Pause before the venue is asked again, in nanoseconds. Doubles up to 32 times this.
    pub ask_every_ns: u64,
    /// How often the open orders are compared with the venue's while all is well, in nanoseconds; 0 for never.
    pub list_every_ns: u64,
    /// What happens to open orders when a session was lost.
    pub on_session_loss: OnSessionLoss,
}

impl LedgerOptions {
    /// 4,096 orders, 65,536 ids and executions, unknown after 3 s, not found after 15 s, compared every minute.
    pub const DEFAULT: Self = Self {
        orders_max: 4_096,
        ids_max: 65_536,
        executions_max: 65_536,
        buffered_max: 4_096,
        consumers_max: 64,
        answer_wait_ns: 3_000_000_000,
        not_found_final_ns: 15_000_000_000,
        ask_every_ns: 500_000_000,
        list_every_ns: 60_000_000_000,
        on_session_loss: OnSessionLoss::Keep,
    };
}

/// What to do with a request that was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// Write the journal, then send this new order.
    Place(Tag),
    /// Send the cancel of this order.
    Cancel(Tag),
    /// Its cancel leaves through [`Ledger::poll_cancel`]: as many orders.
    CancelAll(u32),
    /// Ask where this order stands.
    Query(Tag),
    /// Nothing leaves; the consumer is told.
    Refused(Rule),
}

/// Whether an order is to be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cancel {
    No,
    Wanted,
    Sent,
}

#[derive(Clone, Debug)]
struct Slot {
    order: Order,
    generation: u32,
    used: bool,
    /// Who ended it.
    ended_by: Origin,
    cancel: Cancel,
    /// Its outcome is unknown: the venue is asked.
    doubt: bool,
    /// The consumer was told so.
    doubt_told: bool,
    /// It was sent, and the venue has not said a word since.
    waits: bool,
    sent_at: ReceiveTime,
    told_at: ReceiveTime,
    /// When to ask; meaningful while in doubt, waiting, or missing executions.
    ask_at: ReceiveTime,
    asks: u32,
    not_found: u32,
    /// A question about it is under way.
    asking: bool,
    /// Times that its executions were asked for.
    fill_asks: u32,
    /// How many of those were not answered.
    fill_failures: u32,
    /// The session in which the venue last answered about it.
    answered: u64,
    /// The list that it was last seen in.
    listed: u32,
    /// What the venue said in a list or an answer, kept until the executions behind it are known.
    held: Option<OrderNews>,
    /// First of its remembered executions.
    executions: u32,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    key: [u64; 4],
    next: u32,
}

/// No entry.
const NONE: u32 = u32::MAX;

#[derive(Clone, Debug)]
struct Seat {
    open: u32,
    killed: bool,
    rate: Rate,
}

/// The orders of one provider.
#[derive(Debug)]
pub struct Ledger {
    provider: ProviderId,
    shard: u8,
    options: LedgerOptions,
    ids: WireIds,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Ended orders, the oldest first.
    ended: VecDeque<u32>,
    open: u32,
    by_client: Index<3>,
    by_wire: Index<3>,
    by_venue: Index<5>,
    seen: Index<4>,
    seen_list: Vec<Seen>,
    seen_free: Vec<u32>,
    used: Index<3>,
    used_order: VecDeque<[u64; 3]>,
    seats: Vec<Seat>,
    killed: bool,
    events: VecDeque<OrderEvent>,
    journal: Vec<u8>,
    /// Position of the journal's first byte in this run.
    journal_start: u64,
    /// Cancels and questions go by REST where there is no session.
    reaches_without_session: bool,
    sequence: u64,
    cancels_wanted: u32,
    session: recovery::Session,
    /// What was counted.
    pub counts: LedgerCounts,
}

const fn client_key(consumer: ConsumerId, words: [u64; 3]) -> [u64; 3] {
    // An id's last word holds two bytes.
    [words[0], words[1], words[2] | (consumer.0 as u64) << 32]
}

fn words<const W: usize>(bytes: &[u8]) -> [u64; W] {
    let mut words = [0; W];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks(8)) {
        let mut eight = [0; 8];
        eight[..chunk.len()].copy_from_slice(chunk);
        *word = u64::from_le_bytes(eight);
    }
    words
}

fn uuid_key(uuid: &super::id::Uuid) -> [u64; 3] {
    let [first, second] = words(&uuid.0);
    [first, second, u64::MAX]
}

impl Ledger {
    /// An empty ledger for the run of `ids`. All its memory is taken here. Before anything else, the journal of former
    /// runs goes through [`replay`](Self::replay).
    pub fn new(provider: ProviderId, shard: u8, ids: WireIds, options: LedgerOptions) -> Self {
        let orders_max = options.orders_max.clamp(1, 1 << Tag::SLOT_BITS);
        Self {
            provider,
            shard,
            ids,
            slots: Vec::with_capacity(orders_max),
            free: Vec::with_capacity(orders_max),
            ended: VecDeque::with_capacity(orders_max),
            open: 0,
            by_client: Index::new(orders_max),
            // Each order stands in it twice: by text and by UUID.
            by_wire: Index::new(orders_max * 2),
            by_venue: Index::new(orders_max),
            seen: Index::new(options.executions_max),
            seen_list: Vec::with_capacity(options.executions_max),
            seen_free: Vec::with_capacity(options.executions_max),
            used: Index::new(options.ids_max),
            used_order: VecDeque::with_capacity(options.ids_max),
            seats: (0..options.consumers_max)
                .map(|_| Seat { open: 0, killed: false, rate: Rate::new() })
                .collect(),
            killed: false,
            events: VecDeque::with_capacity(orders_max * 2),
            journal: Vec::with_capacity(64 * journal::RECORD_BYTES_MAX),
            journal_start: 0,
            reaches_without_session: false,
            sequence: 0,
            cancels_wanted: 0,
            session: recovery::Session::new(options.buffered_max),
            counts: LedgerCounts::default(),
            options: LedgerOptions { orders_max, ..options },
        }
    }

    // --- what comes out -------------------------------------------------------------------------------------------

    /// The next event for a consumer, in order. Take all of them in every turn.
    #[inline]
    pub fn poll_event(&mut self) -> Option<OrderEvent> {
        self.events.pop_front()
    }

    /// Records to append to the journal; before an order of this turn is sent, if the journal is `sync`.
    pub fn journal(&self) -> &[u8] {
        &self.journal
    }

    /// The records were handed over.
    pub fn journal_taken(&mut self) {
        self.journal_written(usize::MAX);
    }

    /// The order that a tag names; `None` if it is gone or the tag names none.
    pub fn order(&self, tag: Tag) -> Option<&Order> {
        self.slot_of(tag).map(|slot| &self.slots[slot as usize].order)
    }

    /// Orders that may be working.
    pub const fn open_orders(&self) -> u32 {
        self.open
    }

    /// All orders kept, with whether each is in doubt.
    pub fn orders(&self) -> impl Iterator<Item = (&Order, bool)> + '_ {
        self.slots.iter().filter(|slot| slot.used).map(|slot| (&slot.order, slot.doubt))
    }

    /// The order of a consumer's id.
    pub fn find(&self, consumer: ConsumerId, id: &ClientOrderId) -> Option<&Order> {
        let slot = self.by_client.get(&client_key(consumer, id.words()))?;
        Some(&self.slots[slot as usize].order)
    }

    fn slot_of(&self, tag: Tag) -> Option<u32> {
        let slot = self.slots.get(tag.slot() as usize)?;
        let same = slot.used && tag == Tag::new(tag.purpose()?, tag.slot(), slot.generation);
        same.then_some(tag.slot())
    }

    fn tag(&self, purpose: Purpose, slot: u32) -> Tag {
        Tag::new(purpose, slot, self.slots[slot as usize].generation)
    }

    // --- requests -------------------------------------------------------------------------------------------------

    /// Checks a request and, if nothing is wrong with it, makes it an order or finds the one it names.
    ///
    /// `market` is what is known of its instrument, `None` if the provider does not trade it. Whatever is refused is told
    /// to the consumer as a REJECTED report of local origin (a refused cancel: as a notice).
    pub fn submit(
        &mut self,
        request: &OrderRequest,
        market: Option<&Market<'_>>,
        limits: &Limits,
        now: ReceiveTime,
    ) -> Submitted {
        let result = match request.command {
            Command::Place => self.place(request, market, limits, now),
            Command::Cancel => self.cancel(request, now),
            Command::Query => self.query(request),
            Command::CancelAll => Ok(Submitted::CancelAll(self.cancel_all(Some(request.consumer)))),
        };
        result.unwrap_or_else(|rule| {
            self.refused(request, rule, now);
            Submitted::Refused(rule)
        })
    }

    fn place(
        &mut self,
        request: &OrderRequest,
        market: Option<&Market<'_>>,
        limits: &Limits,
        now: ReceiveTime,
    ) -> Result<Submitted, Rule> {
        if !limits.trading {
            return Err(Rule::TradingOff);
        }
        let seat = self.seats.get(request.consumer.index()).ok_or(Rule::TradingOff)?;
        if self.killed || seat.killed {
            return Err(Rule::Killed);
        }
        if !self.session.is_live() {
            return Err(Rule::NoSession);
        }
        let key = client_key(request.consumer, request.client_order_id.words());
        // One that looks like an id of ours would meet ours one day.
        if !request.client_order_id.is_absent()
            && (self.by_client.get(&key).is_some()
                || self.used.get(&key).is_some()
                || WireId::decode(&request.client_order_id).is_some())
        {
            return Err(Rule::DuplicateId);
        }
        let market = market.ok_or(Rule::UnknownInstrument)?;
        let checked = check(request, market, limits)?;
        if limits.open_orders_max.is_some_and(|most| seat.open >= most) {
            return Err(Rule::LimitOpenOrders);
        }
        if limits.orders_per_s_max.is_some_and(|most| !seat.rate.allows(most, now)) {
            return Err(Rule::LimitRate);
        }
        if self.free.is_empty() && self.slots.len() == self.options.orders_max && self.ended.is_empty() {
            return Err(Rule::TableFull);
        }
        let wire_id = self.ids.make().ok_or(Rule::IdsExhausted)?;
        let given = request.client_order_id;
        let order = Order {
            client_order_id: if given.is_absent() { wire_id } else { given },
            wire_id,
            consumer: request.consumer,
            provider: self.provider,
            instrument: request.instrument,
            listing: request.listing,
            side: request.side,
            kind: request.kind,
            time_in_force: request.time_in_force,
            post_only: request.post_only,
            price: checked.price,
            decision: request.decision,
            trace: request.trace,
            life: Life::new(checked.qty, market.decimals),
        };
        journal::append(&Record::Intent(order), &mut self.journal);
        let slot = self.enter(order);
        let entry = &mut self.slots[slot as usize];
        (entry.sent_at, entry.told_at, entry.waits) = (now, now, true);
        entry.ask_at = now.plus_ns(self.options.answer_wait_ns);
        let ask_at = entry.ask_at;
        self.session.ask_by(ask_at);
        self.seats[request.consumer.index()].rate.note(now);
        self.counts.orders_total += 1;
        Ok(Submitted::Place(self.tag(Purpose::Place, slot)))
    }

    fn cancel(&mut self, request: &OrderRequest, now: ReceiveTime) -> Result<Submitted, Rule> {
        let slot = self.named(request)?;
        if !self.slots[slot as usize].order.life.is_open() {
            return Err(Rule::OrderEnded);
        }
        if !self.can_reach() {
            self.want_cancel(slot); // it leaves when the session is back
            return Ok(Submitted::CancelAll(1));
        }
        self.cancel_sent(slot, now);
        Ok(Submitted::Cancel(self.tag(Purpose::Cancel, slot)))
    }

    fn cancel_sent(&mut self, slot: u32, now: ReceiveTime) {
        let entry = &mut self.slots[slot as usize];
        if entry.cancel == Cancel::Wanted {
            self.cancels_wanted -= 1;
        }
        entry.cancel = Cancel::Sent;
        if !entry.waits {
            entry.waits = true;
            entry.ask_at = now.plus_ns(self.options.answer_wait_ns);
        }
        let ask_at = entry.ask_at;
        self.session.ask_by(ask_at);
    }

    fn query(&mut self, request: &OrderRequest) -> Result<Submitted, Rule> {
        let slot = self.named(request)?;
        if !self.can_reach() {
            return Err(Rule::NoSession);
        }
        Ok(Submitted::Query(self.tag(Purpose::Order, slot)))
    }

    fn named(&self, request: &OrderRequest) -> Result<u32, Rule> {
        let key = client_key(request.consumer, request.client_order_id.words());
        self.by_client.get(&key).ok_or(Rule::UnknownId)
    }

    fn want_cancel(&mut self, slot: u32) -> bool {
        let entry = &mut self.slots[slot as usize];
        let wants = entry.used && entry.order.life.is_open() && entry.cancel == Cancel::No;
        if wants {
            entry.cancel = Cancel::Wanted;
            self.cancels_wanted += 1;
        }
        wants
    }

    /// Marks the open orders of one consumer, or all, for cancelling, and says how many.
    pub fn cancel_all(&mut self, scope: Option<ConsumerId>) -> u32 {
        let mut count = 0;
        for slot in 0..self.slots.len() {
            if scope.is_none_or(|consumer| self.slots[slot].order.consumer == consumer) {
                count += u32::from(self.want_cancel(slot as u32));
            }
        }
        count
    }

    /// The kill switch: cancels what is open in the scope, and refuses new orders until [`lift`](Self::lift).
    pub fn kill(&mut self, scope: Option<ConsumerId>) -> u32 {
        match scope {
            None => self.killed = true,
            Some(consumer) => {
                if let Some(seat) = self.seats.get_mut(consumer.index()) {
                    seat.killed = true;
                }
            }
        }
        self.cancel_all(scope)
    }

    /// Ends a kill of the same scope.
    pub fn lift(&mut self, scope: Option<ConsumerId>) {
        match scope {
            None => self.killed = false,
            Some(consumer) => {
                if let Some(seat) = self.seats.get_mut(consumer.index()) {
                    seat.killed = false;
                }
            }
        }
    }

    /// The next order whose cancel is to be sent now. As many in a turn as the venue's rate allows.
    pub fn poll_cancel(&mut self, now: ReceiveTime) -> Option<Tag> {
        if self.cancels_wanted == 0 || !self.can_reach() {
            return None;
        }
        let slot = self.slots.iter().position(|slot| slot.used && slot.cancel == Cancel::Wanted)? as u32;
        self.cancel_sent(slot, now);
        Some(self.tag(Purpose::Cancel, slot))
    }

    #[cold]
    fn refused(&mut self, request: &OrderRequest, rule: Rule, now: ReceiveTime) {
        let reason = rule.reason();
        if request.command != Command::Place {
            self.events.push_back(OrderEvent::CancelRejected(OrderNotice {
                consumer: request.consumer,
                provider: self.provider,
                client_order_id: request.client_order_id,
                decision: request.decision,
                code: 0,
                reason,
                receive_time: now,
            }));
            return;
        }
        self.counts.refused_total += 1;
        match rule {
            Rule::TradingOff | Rule::Killed => self.counts.suppressed_total += 1,
            Rule::DuplicateId => self.counts.duplicates_refused_total += 1,
            _ => {}
        }
        self.sequence += 1;
        self.counts.reports_total += 1;
        self.events.push_back(OrderEvent::Report(ExecReport {
            state: ReportState::Rejected,
            origin: Origin::Local,
            side: request.side,
            provider: self.provider,
            consumer: request.consumer,
            instrument: request.instrument,
            sequence: self.sequence,
            decision: request.decision,
            order_trace: request.trace,
            receive_time: now,
            client_order_id: request.client_order_id,
            reason,
            ..ExecReport::default()
        }));
    }
}

#[cfg(test)]
mod tests;
