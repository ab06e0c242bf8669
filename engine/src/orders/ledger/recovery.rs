//! What is unknown, and how it becomes known: answers, questions to the venue, sessions lost and restored.
//!
//! An order whose outcome is unknown is never sent again; the venue is asked by its id until it answers. After a lost
//! session: every open order is unknown; the private stream is joined again and what it says is buffered; open orders are
//! listed; those that are missing there are asked for one by one; executions that are missing are fetched; then the buffer
//! is replayed and the session is restored. The same comparison runs on a timer, since healthy connections lose frames
//! too. [`poll_query`](Ledger::poll_query) says what to ask next.

use crate::ids::TraceId;
use crate::time::ReceiveTime;

use super::{Cancel, Ledger, OnSessionLoss, Purpose, Tag, words};
use crate::orders::check::Rule;
use crate::orders::life::OrderNews;
use crate::orders::report::{OrderEvent, Reason, ReportFlags, ReportState};

/// Times that missing executions are asked for before the order is told without them.
const FILL_ASKS_MAX: u32 = 5;
/// Times that such a question may go unanswered, beside those.
const FILL_FAILURES_MAX: u32 = 20;
/// Times that an order is asked for before the session is restored without it.
const RECOVERY_ASKS_MAX: u32 = 3;
/// "No such order" must be said this often, with a pause between: queries can lag behind the matching engine.
const NOT_FOUND_MIN: u32 = 3;

/// What the answer to a request says. Which answers of a venue mean what stands in the venue's `decode.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Done, or taken on. Of a query: found.
    Accepted,
    /// Definitely not done.
    Rejected,
    /// Done or not: the venue does not know, or did not say.
    Unknown,
    /// The venue has no such order (queries and cancels).
    NotFound,
    /// The question was not answered (queries): ask again.
    Failed,
}

/// What to ask the venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// Its list of our open orders.
    OpenOrders(Tag),
    /// Where an order stands.
    Order {
        /// The order.
        tag: Tag,
        /// How often the venue has said that it has no such order: where it keeps open and closed orders apart, even
        /// numbers ask the one place and odd ones the other.
        attempt: u32,
    },
    /// The executions of an order.
    Fills(Tag),
}

/// Where the session with the venue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionState {
    /// There is none.
    Down,
    /// Open orders are being listed.
    Listing,
    /// Orders are being asked for.
    Checking,
    /// All that the venue did has been told.
    Live,
}

type At = (TraceId, ReceiveTime);

#[derive(Debug)]
pub(super) struct Session {
    state: SessionState,
    number: u64,
    /// A gap was told and not yet ended.
    gap: bool,
    list: u32,
    list_started: ReceiveTime,
    list_at: ReceiveTime,
    /// When the first order may have to be asked for; never later than that.
    ask_at: ReceiveTime,
    buffer: Vec<(OrderNews, At)>,
    buffered_max: usize,
    checked: u32,
    foreign: u32,
    recovered_before: u64,
}

const NEVER: ReceiveTime = ReceiveTime::from_ns(u64::MAX);

impl Session {
    pub(super) fn new(buffered_max: usize) -> Self {
        Self {
            state: SessionState::Down,
            number: 0,
            gap: false,
            list: 0,
            list_started: ReceiveTime::default(),
            list_at: NEVER,
            ask_at: NEVER,
            buffer: Vec::with_capacity(buffered_max),
            buffered_max,
            checked: 0,
            foreign: 0,
            recovered_before: 0,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.state == SessionState::Live
    }

    /// The open orders are compared no later than that.
    pub(super) fn list_by(&mut self, at: ReceiveTime) {
        self.list_at = self.list_at.min(at);
    }

    /// The list under way may take until then.
    pub(super) fn list_waits_until(&mut self, is_this: bool, at: ReceiveTime) {
        if is_this {
            self.list_at = self.list_at.max(at);
        }
    }

    /// An order that the list counted as foreign is one of ours.
    pub(super) fn adopted(&mut self, now: ReceiveTime) {
        self.foreign = self.foreign.saturating_sub(1);
        self.ask_by(now);
    }

    pub(super) fn ask_by(&mut self, at: ReceiveTime) {
        self.ask_at = self.ask_at.min(at);
    }
}

impl Ledger {
    /// Where the session stands.
    pub const fn session(&self) -> SessionState {
        self.session.state
    }

    /// When [`poll_query`](Self::poll_query) may have something to ask; `None` while there is no session.
    pub fn deadline(&self) -> Option<ReceiveTime> {
        match self.session.state {
            SessionState::Down => None,
            SessionState::Listing => Some(self.session.list_at),
            SessionState::Checking => Some(self.session.ask_at),
            SessionState::Live => Some(self.session.ask_at.min(self.session.list_at)),
        }
    }

    /// The connection that carries orders or reports is gone.
    pub fn session_lost(&mut self, now: ReceiveTime) {
        if self.session.state == SessionState::Down {
            return;
        }
        self.session.state = SessionState::Down;
        self.session.buffer.clear();
        for slot in self.slots.iter_mut().filter(|slot| slot.used && slot.order.life.is_open()) {
            (slot.doubt, slot.asking, slot.ask_at) = (true, false, now);
        }
        if !self.session.gap {
            self.session.gap = true;
            self.counts.session_gaps_total += 1;
            self.events.push_back(OrderEvent::SessionGap {
                provider: self.provider,
                session: self.session.number,
                unknown_orders: self.open,
                receive_time: now,
            });
        }
    }

    /// The private stream is joined: what it says from here on goes through [`news`](Self::news). Recovery begins.
    pub fn session_joined(&mut self, now: ReceiveTime) {
        self.session_lost(now);
        self.session.number += 1;
        self.session.recovered_before = self.counts.recovered_reports_total;
        self.list_again(now);
        for slot in self.slots.iter_mut().filter(|slot| slot.used) {
            (slot.asks, slot.not_found, slot.asking, slot.ask_at) = (0, 0, false, now);
            if slot.sent_at == ReceiveTime::default() {
                slot.sent_at = now; // a former run sent it, perhaps just now
            }
        }
    }

    fn list_again(&mut self, now: ReceiveTime) {
        self.session.state = SessionState::Listing;
        self.session.list_at = now;
        self.session.buffer.clear();
        (self.session.checked, self.session.foreign) = (0, 0);
    }

    /// A statement that nobody asked for: the private stream.
    pub fn news(&mut self, news: &OrderNews, trace: TraceId, now: ReceiveTime) {
        match self.session.state {
            SessionState::Live => self.live_news(news, (trace, now)),
            // Recovery will ask; nothing is lost by not listening before it has begun.
            SessionState::Down => self.counts.stale_news_total += 1,
            SessionState::Listing | SessionState::Checking => {
                if self.session.buffer.len() < self.session.buffered_max {
                    self.session.buffer.push((*news, (trace, now)));
                } else {
                    self.counts.recoveries_restarted_total += 1;
                    self.list_again(now);
                }
            }
        }
    }

    fn live_news(&mut self, news: &OrderNews, at: At) {
        let Some(slot) = self.resolve(news) else {
            self.counts.foreign_news_total += 1;
            return;
        };
        self.slots[slot as usize].waits = false;
        if self.apply(slot, news, ReportFlags::default(), at) {
            let entry = &mut self.slots[slot as usize];
            if entry.held.is_none() && (news.state.is_some() || news.execution.is_some()) {
                entry.doubt = false;
            }
        } else {
            self.doubt(slot, at.1);
        }
    }

    pub(super) fn doubt(&mut self, slot: u32, ask_at: ReceiveTime) {
        let entry = &mut self.slots[slot as usize];
        if !entry.order.life.is_open() {
            return;
        }
        (entry.doubt, entry.waits, entry.asking, entry.ask_at) = (true, false, false, ask_at);
        self.session.ask_by(ask_at);
    }

    fn doubt_and_tell(&mut self, slot: u32, code: i32, reason: Reason, now: ReceiveTime) {
        self.doubt(slot, now.plus_ns(self.options.ask_every_ns));
        let entry = &mut self.slots[slot as usize];
        if entry.doubt && !entry.doubt_told {
            entry.doubt_told = true;
            self.counts.unknown_total += 1;
            let notice = self.notice(slot, code, reason, now);
            self.events.push_back(OrderEvent::Unknown(notice));
        }
    }

    fn later(&mut self, slot: u32, now: ReceiveTime) {
        let entry = &mut self.slots[slot as usize];
        entry.asking = false;
        entry.ask_at = now.plus_ns(self.options.ask_every_ns << entry.asks.min(5));
        let ask_at = entry.ask_at;
        self.session.ask_by(ask_at);
    }

    // --- answers --------------------------------------------------------------------------------------------------

    /// The answer to the request `tag`. `news` is what it says of the order (state, ids, reason), as far as it does.
    pub fn answer(&mut self, tag: Tag, outcome: Outcome, news: &OrderNews, trace: TraceId, now: ReceiveTime) {
        if tag.purpose() == Some(Purpose::OpenOrders) {
            if outcome != Outcome::Accepted && tag == self.list_tag() {
                self.session.list_at = now.plus_ns(self.options.ask_every_ns);
            }
            return;
        }
        let Some(slot) = self.slot_of(tag) else { return };
        let at = (trace, now);
        match tag.purpose() {
            Some(Purpose::Place) => self.placed(slot, outcome, news, at),
            Some(Purpose::Cancel) => self.cancelled(slot, outcome, news, at),
            Some(Purpose::Order) => match outcome {
                Outcome::Accepted => self.settle(slot, news, at),
                Outcome::NotFound => self.not_found(slot, now),
                Outcome::Rejected | Outcome::Unknown | Outcome::Failed => self.later(slot, now),
            },
            Some(Purpose::Fills) => {
                // Not answered is not "there are none": a venue that is out of breath is asked again.
                let entry = &mut self.slots[slot as usize];
                if entry.fill_failures < FILL_FAILURES_MAX {
                    entry.fill_failures += 1;
                    entry.fill_asks = entry.fill_asks.saturating_sub(1);
                }
                self.later(slot, now);
            }
            _ => {}
        }
    }

    fn placed(&mut self, slot: u32, outcome: Outcome, news: &OrderNews, at: At) {
        match outcome {
            Outcome::Accepted => {
                self.slots[slot as usize].waits = false;
                let state = news.state.or(Some(ReportState::Ack));
                if self.apply(slot, &OrderNews { state, ..*news }, ReportFlags::default(), at) {
                    self.slots[slot as usize].doubt = false;
                } else {
                    self.doubt(slot, at.1);
                }
            }
            // The stream has already told of an order that the answer denies: ask.
            Outcome::Rejected if self.slots[slot as usize].order.life.state.is_some() => {
                self.counts.contradictions_total += 1;
                self.doubt(slot, at.1);
            }
            Outcome::Rejected => {
                let news = OrderNews { state: Some(ReportState::Rejected), ..*news };
                self.apply(slot, &news, ReportFlags::default(), at);
            }
            Outcome::Unknown | Outcome::NotFound | Outcome::Failed => {
                self.doubt_and_tell(slot, news.code, news.reason, at.1);
            }
        }
    }

    fn cancelled(&mut self, slot: u32, outcome: Outcome, news: &OrderNews, at: At) {
        match outcome {
            Outcome::Accepted => {
                // The answer to the order itself may still be missing.
                let entry = &mut self.slots[slot as usize];
                entry.waits &= entry.order.life.state.is_none();
                if news.state.is_some() && !self.apply(slot, news, ReportFlags::default(), at) {
                    self.doubt(slot, at.1);
                }
            }
            Outcome::Rejected | Outcome::NotFound => {
                self.slots[slot as usize].cancel = Cancel::No;
                let notice = self.notice(slot, news.code, news.reason, at.1);
                self.events.push_back(OrderEvent::CancelRejected(notice));
                // Perhaps it has ended, and the report of that is on its way or lost.
                self.doubt(slot, at.1.plus_ns(self.options.ask_every_ns));
            }
            Outcome::Unknown | Outcome::Failed => {
                self.doubt_and_tell(slot, news.code, news.reason, at.1);
            }
        }
    }

    /// One entry of a list that was asked for: an open order, an order, an execution.
    pub fn listed(&mut self, tag: Tag, news: &OrderNews, trace: TraceId, now: ReceiveTime) {
        let found = self.resolve(news);
        match tag.purpose() {
            Some(Purpose::OpenOrders) if tag == self.list_tag() => {
                if let Some(slot) = found {
                    self.slots[slot as usize].listed = self.session.list;
                    self.settle(slot, news, (trace, now));
                } else {
                    self.session.foreign += 1;
                }
            }
            Some(Purpose::Order) if found.is_some() && found == self.slot_of(tag) => {
                if let Some(slot) = found {
                    self.settle(slot, news, (trace, now));
                }
            }
            Some(Purpose::Fills) if found.is_some() && found == self.slot_of(tag) => {
                if let Some(slot) = found {
                    self.apply(slot, news, ReportFlags::RECOVERED, (trace, now));
                }
            }
            _ => {}
        }
    }

    /// The list that was asked for has ended. `complete` unless the venue has more of it than it sent.
    pub fn list_end(&mut self, tag: Tag, complete: bool, trace: TraceId, now: ReceiveTime) {
        match tag.purpose() {
            Some(Purpose::OpenOrders) if tag == self.list_tag() => self.open_orders_listed(complete, now),
            Some(Purpose::Order) => {
                if let Some(slot) = self.slot_of(tag).filter(|&slot| self.slots[slot as usize].asking) {
                    if complete { self.not_found(slot, now) } else { self.later(slot, now) }
                }
            }
            Some(Purpose::Fills) => {
                let Some(slot) = self.slot_of(tag) else { return };
                if let Some(held) = self.slots[slot as usize].held.take() {
                    self.slots[slot as usize].asking = false;
                    self.settle(slot, &held, (trace, now));
                } else {
                    self.later(slot, now);
                }
            }
            _ => {}
        }
    }

    pub(super) fn list_tag(&self) -> Tag {
        Tag::new(Purpose::OpenOrders, 0, self.session.list)
    }

    fn open_orders_listed(&mut self, complete: bool, now: ReceiveTime) {
        let (round, started) = (self.session.list, self.session.list_started);
        if self.session.state == SessionState::Listing {
            self.session.state = SessionState::Checking;
            self.session.ask_at = now;
        } else if complete {
            for slot in 0..self.slots.len() as u32 {
                let entry = &self.slots[slot as usize];
                let absent = entry.used
                    && entry.order.life.is_open()
                    && entry.listed != round
                    && entry.told_at < started
                    && entry.sent_at < started;
                if absent {
                    self.doubt(slot, now);
                }
            }
        }
        self.session.list_at = match self.options.list_every_ns {
            0 => NEVER,
            every_ns => now.plus_ns(every_ns),
        };
    }

    /// The venue said where an order stands, because it was asked.
    fn settle(&mut self, slot: u32, news: &OrderNews, at: At) {
        let number = self.session.number;
        let entry = &mut self.slots[slot as usize];
        (entry.asking, entry.waits, entry.not_found, entry.answered) = (false, false, 0, number);
        let life = entry.order.life;
        let missing = news.cum_qty.is_some_and(|cum| {
            cum.at(life.decimals.qty).is_ok_and(|cum| cum > life.executed_qty.0 && cum <= life.qty.0)
        });
        let explained = news.cumulative_fee.is_some()
            || news.execution.is_some()
            || missing && self.told_by_stream(slot, news);
        let entry = &mut self.slots[slot as usize];
        if missing && !explained && entry.fill_asks < FILL_ASKS_MAX {
            entry.held = Some(*news);
            entry.ask_at = if entry.fill_asks == 0 {
                at.1
            } else {
                at.1.plus_ns(self.options.ask_every_ns << entry.fill_asks.min(5))
            };
            let ask_at = entry.ask_at;
            if life.venue_order_id.is_empty() && !news.venue_order_id.is_empty() {
                // Venues are asked for executions by their own name for the order.
                entry.order.life.venue_order_id = news.venue_order_id;
                self.by_venue.insert(words(news.venue_order_id.as_bytes()), slot);
            }
            self.session.ask_by(ask_at);
            return;
        }
        if !self.apply(slot, news, ReportFlags::RECOVERED, at) {
            self.later(slot, at.1);
            return;
        }
        let entry = &mut self.slots[slot as usize];
        (entry.doubt, entry.doubt_told, entry.asks) = (false, false, 0);
        if entry.order.life.is_open() && entry.cancel == Cancel::Sent {
            entry.cancel = Cancel::Wanted; // it was lost, or refused
            self.cancels_wanted += 1;
        }
    }

    /// Tells the executions that the private stream has brought since it was joined (Kraken begins with the last 50), if
    /// they are all that is missing: then nobody need ask for them.
    fn told_by_stream(&mut self, slot: u32, news: &OrderNews) -> bool {
        let life = self.slots[slot as usize].order.life;
        let mut missing = news.cum_qty.and_then(|cum| cum.at(life.decimals.qty).ok()).unwrap_or_default()
            - life.executed_qty.0;
        for (told, _) in &self.session.buffer {
            if let Some(execution) = &told.execution
                && self.resolve(told) == Some(slot)
                && self.seen.get(&Self::execution_key(slot, &execution.id)).is_none()
            {
                missing -= execution.qty.at(life.decimals.qty).unwrap_or_default();
            }
        }
        if missing > 0 {
            return false;
        }
        let buffer = std::mem::take(&mut self.session.buffer);
        for (told, at) in &buffer {
            if told.execution.is_some() && self.resolve(told) == Some(slot) {
                self.apply(slot, told, ReportFlags::RECOVERED, *at);
            }
        }
        self.session.buffer = buffer;
        let life = &self.slots[slot as usize].order.life;
        news.cum_qty
            .and_then(|cum| cum.at(life.decimals.qty).ok())
            .is_some_and(|cum| cum <= life.executed_qty.0)
    }

    fn not_found(&mut self, slot: u32, now: ReceiveTime) {
        let number = self.session.number;
        let entry = &mut self.slots[slot as usize];
        entry.not_found += 1;
        entry.answered = number;
        let life = &entry.order.life;
        let never_arrived = life.is_open()
            && life.state.is_none()
            && entry.not_found >= NOT_FOUND_MIN
            && now.since_ns(entry.sent_at) >= self.options.not_found_final_ns;
        if never_arrived {
            self.end_locally(slot, Rule::NeverArrived, now);
        } else {
            self.later(slot, now);
        }
    }

    // --- questions ------------------------------------------------------------------------------------------------

    /// What to ask the venue now. Call until `None`, as the venue's rate allows; each answer goes to
    /// [`answer`](Self::answer) or [`listed`](Self::listed) and [`list_end`](Self::list_end).
    pub fn poll_query(&mut self, now: ReceiveTime) -> Option<Query> {
        let state = self.session.state;
        if state == SessionState::Down {
            return None;
        }
        if now >= self.session.list_at && state != SessionState::Checking {
            self.session.list += 1;
            self.session.list_started = now;
            self.session.list_at = now.plus_ns(self.options.answer_wait_ns);
            self.session.foreign = 0;
            return Some(Query::OpenOrders(self.list_tag()));
        }
        if state == SessionState::Listing || state == SessionState::Live && now < self.session.ask_at {
            return None;
        }
        self.session.ask_at = NEVER;
        let (mut query, mut blocked) = (None, false);
        for slot in 0..self.slots.len() as u32 {
            self.look(slot, now, &mut query);
            let entry = &self.slots[slot as usize];
            blocked |= entry.used
                && (entry.held.is_some()
                    || entry.doubt
                        && entry.order.life.is_open()
                        && entry.answered != self.session.number
                        && entry.asks <= RECOVERY_ASKS_MAX);
        }
        if query.is_none() && state == SessionState::Checking && !blocked {
            self.restored(now);
        }
        query
    }

    /// Whether an order must be asked for, and when.
    fn look(&mut self, slot: u32, now: ReceiveTime, query: &mut Option<Query>) {
        let entry = &self.slots[slot as usize];
        if !entry.used {
            return;
        }
        let open = entry.order.life.is_open();
        if open && entry.waits && !entry.doubt && now >= entry.ask_at {
            self.doubt_and_tell(slot, 0, Reason::cut(b"no answer in time"), now);
        }
        let entry = &mut self.slots[slot as usize];
        if entry.fill_asks >= FILL_ASKS_MAX
            && now >= entry.ask_at
            && let Some(held) = entry.held.take()
        {
            self.settle(slot, &held, (TraceId::default(), now)); // told without its executions
        }
        let entry = &mut self.slots[slot as usize];
        let open = entry.order.life.is_open();
        let misses =
            entry.held.is_some() || entry.order.life.misses_executions() && entry.fill_asks < FILL_ASKS_MAX;
        let asks_order = open && entry.doubt && entry.held.is_none();
        if !(asks_order || misses) {
            if open && entry.waits {
                let ask_at = entry.ask_at;
                self.session.ask_by(ask_at);
            }
            return;
        }
        if now < entry.ask_at || query.is_some() {
            let ask_at = entry.ask_at;
            self.session.ask_by(ask_at);
            return;
        }
        entry.asking = true;
        entry.ask_at = now.plus_ns(self.options.answer_wait_ns);
        self.session.ask_at = self.session.ask_at.min(entry.ask_at);
        self.counts.queries_total += 1;
        if asks_order {
            entry.asks += 1;
            self.session.checked += 1;
            let attempt = entry.not_found;
            *query = Some(Query::Order { tag: self.tag(Purpose::Order, slot), attempt });
        } else {
            entry.fill_asks += 1;
            *query = Some(Query::Fills(self.tag(Purpose::Fills, slot)));
        }
    }

    fn restored(&mut self, now: ReceiveTime) {
        self.session.state = SessionState::Live;
        let mut buffer = std::mem::take(&mut self.session.buffer);
        for (news, at) in buffer.drain(..) {
            self.live_news(&news, at);
        }
        self.session.buffer = buffer;
        let lost = self.session.gap;
        self.session.gap = false;
        let unknown_orders =
            self.slots.iter().filter(|slot| slot.used && slot.doubt && slot.order.life.is_open()).count()
                as u32;
        self.events.push_back(OrderEvent::SessionRestored {
            provider: self.provider,
            session: self.session.number,
            checked_orders: self.session.checked,
            recovered_reports: (self.counts.recovered_reports_total - self.session.recovered_before) as u32,
            unknown_orders,
            foreign_orders: self.session.foreign,
            receive_time: now,
        });
        if lost && self.options.on_session_loss == OnSessionLoss::CancelMine {
            self.cancel_all(None);
        }
    }
}
