//! The orders of one provider: which exist, where each stands, and what consumers are told.
//!
//! Owned by the provider's shard. It knows no socket and no file: [`submit`](Ledger::submit) says what to send,
//! [`journal`](Ledger::journal) what to write before that, [`poll_event`](Ledger::poll_event) what to tell. How unknown
//! outcomes are settled and sessions recovered stands in `recovery.rs`. All tables are bounded and taken at the start.

mod recovery;

pub use recovery::{Outcome, Query, SessionState};

use std::collections::VecDeque;

use crate::decimal::Price;
use crate::ids::{ConsumerId, InstrumentId, Listing, ProviderId, TraceId};
use crate::time::{ReceiveTime, VenueTime};

use super::check::{Limits, Market, Rate, Rule, check};
use super::id::{ClientOrderId, WireId, WireIds};
use super::index::Index;
use super::journal::{self, Record};
use super::life::{ClientKey, Life, OrderNews, Step};
use super::report::{
    ExecReport, ExecutionId, OrderEvent, OrderNotice, Origin, Reason, ReportFlags, ReportState,
};
use super::request::{Command, DecisionId, OrderKind, OrderRequest, OrderSide, TimeInForce};
use super::text::Text;

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

/// An order: what was asked, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Order {
    /// The consumer's name for it.
    pub client_order_id: ClientOrderId,
    /// What the venue knows it by.
    pub wire_id: ClientOrderId,
    /// Whose order.
    pub consumer: ConsumerId,
    /// Through whom.
    pub provider: ProviderId,
    /// The thing traded.
    pub instrument: InstrumentId,
    /// The same in the provider's directory.
    pub listing: Listing,
    /// Buy or sell.
    pub side: OrderSide,
    /// Limit or market.
    pub kind: OrderKind,
    /// How long it works.
    pub time_in_force: TimeInForce,
    /// Refused rather than filled at once.
    pub post_only: bool,
    /// Limit price; zero for a market order.
    pub price: Price,
    /// The consumer's decision behind it.
    pub decision: DecisionId,
    /// The frame that the decision rested on.
    pub trace: TraceId,
    /// Quantity, and where it stands.
    pub life: Life,
}

/// What a request is about. Fits the 53 bits that every JSON reader keeps; venues echo it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// A new order.
    Place = 1,
    /// The end of one.
    Cancel,
    /// Where one stands.
    Order,
    /// The executions of one.
    Fills,
    /// All open ones.
    OpenOrders,
    /// The end of all on an instrument.
    CancelAll,
    /// The session itself: log on, subscribe, token.
    Session,
}

/// Names a request, and its order, in the answer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Tag(pub u64);

impl Tag {
    const SLOT_BITS: u32 = 20;
    const GENERATION_BITS: u32 = 28;

    pub(super) const fn new(purpose: Purpose, slot: u32, generation: u32) -> Self {
        let generation = generation as u64 & ((1 << Self::GENERATION_BITS) - 1);
        Self(
            (purpose as u64) << (Self::SLOT_BITS + Self::GENERATION_BITS)
                | generation << Self::SLOT_BITS
                | slot as u64,
        )
    }

    /// For requests of the session itself; `number` is the shell's own.
    pub const fn session(number: u32) -> Self {
        Self::new(Purpose::Session, 0, number)
    }

    /// For a request to cancel everything on an instrument.
    pub const fn cancel_all(listing: Listing) -> Self {
        Self::new(Purpose::CancelAll, listing.0 as u32, 0)
    }

    /// What the request was about; `None` if it is no tag of ours.
    pub const fn purpose(self) -> Option<Purpose> {
        Some(match self.0 >> (Self::SLOT_BITS + Self::GENERATION_BITS) {
            1 => Purpose::Place,
            2 => Purpose::Cancel,
            3 => Purpose::Order,
            4 => Purpose::Fills,
            5 => Purpose::OpenOrders,
            6 => Purpose::CancelAll,
            7 => Purpose::Session,
            _ => return None,
        })
    }

    pub(super) const fn slot(self) -> u32 {
        (self.0 & ((1 << Self::SLOT_BITS) - 1)) as u32
    }

    /// The number that the shell gave a request of the session.
    pub const fn number(self) -> u32 {
        (self.0 >> Self::SLOT_BITS & ((1 << Self::GENERATION_BITS) - 1)) as u32
    }
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
        self.journal.clear();
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
        if !self.session.is_live() {
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
        if !self.session.is_live() {
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
        if self.cancels_wanted == 0 || !self.session.is_live() {
            return None;
        }
        let slot = self.slots.iter().position(|slot| slot.used && slot.cancel == Cancel::Wanted)? as u32;
        self.cancel_sent(slot, now);
        Some(self.tag(Purpose::Cancel, slot))
    }

    #[cold]
    fn refused(&mut self, request: &OrderRequest, rule: Rule, now: ReceiveTime) {
        let reason = Reason::cut(rule.name().as_bytes());
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

    // --- the table ------------------------------------------------------------------------------------------------

    /// Enters an order. There is room: a free slot, a new one, or that of the oldest ended order.
    fn enter(&mut self, order: Order) -> u32 {
        if self.free.is_empty() && self.slots.len() == self.options.orders_max {
            self.retire_oldest();
        }
        let generation = self.free.last().map_or(0, |&slot| self.slots[slot as usize].generation + 1);
        let entry = Slot {
            order,
            generation,
            used: true,
            ended_by: Origin::Venue,
            cancel: Cancel::No,
            doubt: false,
            doubt_told: false,
            waits: false,
            sent_at: ReceiveTime::default(),
            told_at: ReceiveTime::default(),
            ask_at: ReceiveTime::default(),
            asks: 0,
            not_found: 0,
            asking: false,
            fill_asks: 0,
            answered: 0,
            listed: 0,
            held: None,
            executions: NONE,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = entry;
                slot
            }
            None => {
                self.slots.push(entry);
                (self.slots.len() - 1) as u32
            }
        };
        let key = client_key(order.consumer, order.client_order_id.words());
        self.by_client.insert(key, slot);
        self.by_wire.insert(order.wire_id.words(), slot);
        self.by_wire.insert(uuid_key(&order.wire_id.uuid()), slot);
        if order.client_order_id != order.wire_id {
            self.use_id(key); // ids of ours are never made twice anyway
        }
        self.open += 1;
        if let Some(seat) = self.seats.get_mut(order.consumer.index()) {
            seat.open += 1;
        }
        slot
    }

    fn use_id(&mut self, key: [u64; 3]) {
        if self.used.get(&key).is_some() {
            return;
        }
        if self.used.is_full()
            && let Some(oldest) = self.used_order.pop_front()
        {
            self.used.remove(&oldest);
            self.counts.ids_forgotten_total += 1;
        }
        if self.used.insert(key, 0) {
            self.used_order.push_back(key);
        }
    }

    fn retire_oldest(&mut self) {
        let Some(slot) = self.ended.pop_front() else { return };
        let entry = &mut self.slots[slot as usize];
        entry.used = false;
        let (order, mut node) = (entry.order, entry.executions);
        entry.executions = NONE;
        entry.held = None;
        self.by_client.remove(&client_key(order.consumer, order.client_order_id.words()));
        self.by_wire.remove(&order.wire_id.words());
        self.by_wire.remove(&uuid_key(&order.wire_id.uuid()));
        if !order.life.venue_order_id.is_empty() {
            self.by_venue.remove(&words(order.life.venue_order_id.as_bytes()));
        }
        while node != NONE {
            let seen = self.seen_list[node as usize];
            self.seen.remove(&seen.key);
            self.seen_free.push(node);
            node = seen.next;
        }
        self.free.push(slot);
    }

    fn execution_key(&self, slot: u32, id: &ExecutionId) -> [u64; 4] {
        let [first, second, third] = words(id.as_bytes());
        [first, second, third, u64::from(slot)]
    }

    fn remember(&mut self, slot: u32, id: &ExecutionId) {
        let key = self.execution_key(slot, id);
        let seen = Seen { key, next: self.slots[slot as usize].executions };
        let node = match self.seen_free.pop() {
            Some(node) => {
                self.seen_list[node as usize] = seen;
                node
            }
            None if self.seen_list.len() < self.options.executions_max => {
                self.seen_list.push(seen);
                (self.seen_list.len() - 1) as u32
            }
            None => {
                self.counts.executions_unremembered_total += 1;
                return;
            }
        };
        self.seen.insert(key, node);
        self.slots[slot as usize].executions = node;
    }

    /// The order that a statement is about: by our id, else by the venue's.
    fn resolve(&self, news: &OrderNews) -> Option<u32> {
        let by_key = match news.key {
            ClientKey::Absent => None,
            ClientKey::Text(id) => self.by_wire.get(&id.words()),
            ClientKey::Uuid(uuid) => self.by_wire.get(&uuid_key(&uuid)),
        };
        by_key.or_else(|| {
            if news.venue_order_id.is_empty() {
                return None;
            }
            self.by_venue.get(&words(news.venue_order_id.as_bytes()))
        })
    }

    /// Applies a statement to its order and tells the consumer what is new. False if it was not believed.
    fn apply(&mut self, slot: u32, news: &OrderNews, flags: ReportFlags, at: (TraceId, ReceiveTime)) -> bool {
        let fresh = match &news.execution {
            Some(execution) => self.seen.get(&self.execution_key(slot, &execution.id)).is_none(),
            None => true,
        };
        let entry = &mut self.slots[slot as usize];
        let had_venue_id = !entry.order.life.venue_order_id.is_empty();
        let was_open = entry.order.life.is_open();
        let step = entry.order.life.apply(news, fresh);
        let life = entry.order.life;
        if !had_venue_id && !life.venue_order_id.is_empty() {
            self.by_venue.insert(words(life.venue_order_id.as_bytes()), slot);
        }
        if !fresh {
            self.counts.duplicate_executions_total += 1;
        }
        let step = match step {
            Ok(step) => step,
            Err(_) => {
                self.counts.contradictions_total += 1;
                return false;
            }
        };
        let entry = &mut self.slots[slot as usize];
        if entry.ended_by == Origin::Local && !was_open && step.is_some() {
            // We had given it up, and the venue has it after all.
            self.counts.contradictions_total += 1;
        }
        entry.told_at = at.1;
        let Some(step) = step else {
            self.counts.stale_news_total += 1;
            return true;
        };
        if let Some(execution) = news.execution.as_ref().filter(|_| fresh) {
            self.remember(slot, &execution.id);
        }
        self.report(slot, Origin::Venue, news, &Step { flags: step.flags.with(flags), ..step }, at);
        if was_open && !life.is_open() {
            self.ended(slot, Origin::Venue);
        }
        if life.misses_executions() {
            let ask_at = at.1.plus_ns(self.options.ask_every_ns);
            let entry = &mut self.slots[slot as usize];
            if !entry.asking {
                entry.ask_at = ask_at;
            }
            self.session.ask_by(ask_at);
        }
        true
    }

    fn ended(&mut self, slot: u32, by: Origin) {
        let entry = &mut self.slots[slot as usize];
        entry.ended_by = by;
        (entry.doubt, entry.waits, entry.held) = (false, false, None);
        if entry.cancel == Cancel::Wanted {
            self.cancels_wanted -= 1;
        }
        entry.cancel = Cancel::No;
        let consumer = entry.order.consumer;
        self.ended.push_back(slot);
        self.open -= 1;
        if let Some(seat) = self.seats.get_mut(consumer.index()) {
            seat.open = seat.open.saturating_sub(1);
        }
    }

    /// Tells the consumer, and writes it down.
    fn report(
        &mut self,
        slot: u32,
        origin: Origin,
        news: &OrderNews,
        step: &Step,
        at: (TraceId, ReceiveTime),
    ) {
        let order = self.slots[slot as usize].order;
        let life = order.life;
        self.sequence += 1;
        self.counts.reports_total += 1;
        self.counts.recovered_reports_total += u64::from(step.flags.has(ReportFlags::RECOVERED));
        self.events.push_back(OrderEvent::Report(ExecReport {
            cum_quote: life.cum_quote,
            state: life.state.unwrap_or(ReportState::Ack),
            origin,
            flags: step.flags,
            liquidity: step.liquidity,
            side: order.side,
            decimals: life.decimals,
            provider: order.provider,
            consumer: order.consumer,
            instrument: order.instrument,
            code: news.code,
            sequence: self.sequence,
            decision: order.decision,
            order_trace: order.trace,
            trace: at.0,
            venue_time: news.venue_time,
            receive_time: at.1,
            price: order.price,
            qty: life.qty,
            last_price: step.last_price,
            last_qty: step.last_qty,
            cum_qty: life.cum_qty,
            remaining_qty: life.remaining(),
            fee: step.fee,
            fee_asset: step.fee_asset,
            client_order_id: order.client_order_id,
            wire_id: order.wire_id,
            venue_order_id: life.venue_order_id,
            execution_id: step.execution_id,
            reason: news.reason,
        }));
        let record =
            Record::Progress { wire_id: order.wire_id, origin, life, execution_id: step.execution_id };
        journal::append(&record, &mut self.journal);
    }

    /// Ends an order that never arrived at the venue.
    fn end_locally(&mut self, slot: u32, reason: &[u8], now: ReceiveTime) {
        self.slots[slot as usize].order.life.state = Some(ReportState::Rejected);
        let news =
            OrderNews { reason: Text::cut(reason), venue_time: VenueTime::ABSENT, ..OrderNews::default() };
        self.report(slot, Origin::Local, &news, &Step::default(), (TraceId::default(), now));
        self.ended(slot, Origin::Local);
    }

    fn notice(&self, slot: u32, code: i32, reason: Reason, now: ReceiveTime) -> OrderNotice {
        let order = &self.slots[slot as usize].order;
        OrderNotice {
            consumer: order.consumer,
            provider: order.provider,
            client_order_id: order.client_order_id,
            decision: order.decision,
            code,
            reason,
            receive_time: now,
        }
    }

    // --- the journal ----------------------------------------------------------------------------------------------

    /// Takes in one record of the journal, oldest first. Orders that were open are in doubt until the venue was asked.
    ///
    /// False if the table is too small for the orders that may be working: start with a larger one, or they are lost
    /// sight of.
    pub fn replay(&mut self, record: &Record) -> bool {
        match record {
            Record::Begin { .. } => {}
            Record::Used { consumer, id } => self.use_id(client_key(*consumer, id.words())),
            Record::Intent(order) => {
                self.ids.seen(&order.wire_id);
                if self.by_wire.get(&order.wire_id.words()).is_some() {
                    return true; // a checkpoint repeats what stands in an older file
                }
                let full = self.free.is_empty() && self.slots.len() == self.options.orders_max;
                if full && self.ended.is_empty() {
                    return false;
                }
                let slot = self.enter(*order);
                self.slots[slot as usize].doubt = true;
                self.took_life(slot, Origin::Venue);
            }
            Record::Progress { wire_id, origin, life, execution_id } => {
                let Some(slot) = self.by_wire.get(&wire_id.words()) else { return true };
                let was_open = self.slots[slot as usize].order.life.is_open();
                self.slots[slot as usize].order.life = *life;
                if !execution_id.is_empty()
                    && self.seen.get(&self.execution_key(slot, execution_id)).is_none()
                {
                    self.remember(slot, execution_id);
                }
                if was_open {
                    self.took_life(slot, *origin);
                }
            }
        }
        true
    }

    fn took_life(&mut self, slot: u32, origin: Origin) {
        let life = self.slots[slot as usize].order.life;
        if !life.venue_order_id.is_empty() {
            self.by_venue.insert(words(life.venue_order_id.as_bytes()), slot);
        }
        if !life.is_open() {
            self.ended(slot, origin);
        }
    }

    /// Writes what a new file must begin with, so that older ones are not needed: the run, used ids, orders and their
    /// executions.
    pub fn checkpoint(&self, out: &mut Vec<u8>) {
        let begin = Record::Begin { epoch: self.ids.epoch(), shard: self.shard, provider: self.provider };
        journal::append(&begin, out);
        for key in &self.used_order {
            let mut bytes = [0; 24];
            for (chunk, word) in bytes.chunks_mut(8).zip([key[0], key[1], key[2] & 0xFFFF_FFFF]) {
                chunk.copy_from_slice(&word.to_le_bytes());
            }
            let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            if let Ok(id) = ClientOrderId::parse(&bytes[..length]) {
                let consumer = ConsumerId((key[2] >> 32) as u16);
                journal::append(&Record::Used { consumer, id }, out);
            }
        }
        // Ended ones first, the oldest first: so they are retired in the same order after a restart.
        let open = (0..self.slots.len() as u32)
            .filter(|&slot| self.slots[slot as usize].used && self.slots[slot as usize].order.life.is_open());
        for slot in self.ended.iter().copied().chain(open) {
            let entry = &self.slots[slot as usize];
            let born = Life::new(entry.order.life.qty, entry.order.life.decimals);
            journal::append(&Record::Intent(Order { life: born, ..entry.order }), out);
            let (wire_id, origin, life) = (entry.order.wire_id, entry.ended_by, entry.order.life);
            let mut node = entry.executions;
            while node != NONE {
                let seen = self.seen_list[node as usize];
                let mut bytes = [0; 24];
                for (chunk, word) in bytes.chunks_mut(8).zip(seen.key) {
                    chunk.copy_from_slice(&word.to_le_bytes());
                }
                let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
                let execution_id = ExecutionId::cut(&bytes[..length]);
                journal::append(&Record::Progress { wire_id, origin, life, execution_id }, out);
                node = seen.next;
            }
            if entry.executions == NONE {
                let execution_id = ExecutionId::EMPTY;
                journal::append(&Record::Progress { wire_id, origin, life, execution_id }, out);
            }
        }
    }

    /// The first record of a run; the journal's own order is then the order of the runs.
    pub fn begin(&mut self) {
        let record = Record::Begin { epoch: self.ids.epoch(), shard: self.shard, provider: self.provider };
        journal::append(&record, &mut self.journal);
    }
}

#[cfg(test)]
mod tests;
