//! One provider's order entry, whole: requests and bytes in, bytes, HTTP calls, journal records and order events out.
//!
//! ```text
//! OrderRequest -> Desk::submit -> Ledger (checks, intent) -> journal -> [durable] -> gateway -> frame or HTTP call
//! OrderEvent  <- Desk::poll_event <- Ledger <- gateway <- Desk::received / Desk::http_answer
//! ```
//!
//! It opens no socket and no file and reads no clock. The shell that owns it does, in this order:
//!
//! 1. at the start: [`replay`](Desk::replay) with the bytes of the journal, then [`begin`](Desk::begin);
//! 2. when something happened: [`submit`](Desk::submit), [`connected`](Desk::connected), [`received`](Desk::received),
//!    [`disconnected`](Desk::disconnected), [`http_answer`](Desk::http_answer), [`journal_durable`](Desk::journal_durable);
//! 3. after each of those, and at [`deadline`](Desk::deadline): [`on_timer`](Desk::on_timer), where all else is decided;
//! 4. then it takes what there is: [`poll_event`](Desk::poll_event), [`journal`](Desk::journal),
//!    [`bytes_to_send`](Desk::bytes_to_send), [`poll_http`](Desk::poll_http), [`poll_connect`](Desk::poll_connect),
//!    [`poll_disconnect`](Desk::poll_disconnect).
//!
//! A connection that was asked for and could not be opened is reported with `disconnected`; it is asked for again after a
//! pause. An HTTP call always ends with one `http_answer`, status 0 if it failed.

mod answers;
mod lane;
mod link;
mod pace;
mod turn;

use std::collections::VecDeque;

use crate::connection::Lost;
use crate::ids::{ConsumerId, LineId, ProviderId, TraceId};
use crate::time::ReceiveTime;

use super::check::{Limits, Market, Rule};
use super::id::WireIds;
use super::journal::{Records, Tail};
use super::ledger::{Ledger, LedgerOptions, OnSessionLoss, Purpose, SessionState, Submitted, Tag};
use super::life::OrderNews;
use super::report::OrderEvent;
use super::request::OrderRequest;
use super::venue::{Incoming, OrderGateway, Outgoing, Stamp};

pub use lane::{CallId, HttpCall, Method};
pub use link::Connect;
pub use turn::Turn;

use lane::Lane;
use link::Link;
use pace::{Clock, Pace};

/// What the engine has not: a wall clock and chance.
pub trait Stamps {
    /// A stamp by the local clock. Each has a larger nonce than all before it, over restarts, and fresh random bits.
    fn stamp(&mut self) -> Stamp;
}

impl<F: FnMut() -> Stamp> Stamps for F {
    fn stamp(&mut self) -> Stamp {
        self()
    }
}

/// What a kill -9 may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Nothing: an order leaves when its intent is on the disk.
    Sync,
    /// The journal's last records: orders leave at once. Those that the journal lost are found at the venue and adopted.
    Batch,
}

/// Sizes, waits and names of a desk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeskOptions {
    /// Of the ledger.
    pub ledger: LedgerOptions,
    /// When an order may leave.
    pub durability: Durability,
    /// What happens to a consumer's open orders when it is gone.
    pub on_consumer_loss: OnSessionLoss,
    /// What the handshake of the private connection names, with its port.
    pub host: String,
    /// Path of the private connection, with its query.
    pub path: String,
    /// Number of the private connection within the provider: it stands in the traces of reports.
    pub line: LineId,
    /// Largest message of the private connection, in bytes.
    pub message_bytes_max: usize,
    /// Questions to the venue within a second, so that a recovery leaves room for orders and market data.
    pub queries_per_s_max: u32,
    /// Share of the venue's order limit that is kept free, in percent.
    pub headroom_percent: u32,
    /// Seed of the frames' masks and of the pauses between connections.
    pub seed: u64,
}

impl DeskOptions {
    /// For a private connection to `host` and `path`; the rest are defaults: batch, 10 questions a second, 10 % headroom.
    pub fn new(host: &str, path: &str) -> Self {
        Self {
            ledger: LedgerOptions::DEFAULT,
            durability: Durability::Batch,
            on_consumer_loss: OnSessionLoss::CancelMine,
            host: host.to_owned(),
            path: path.to_owned(),
            line: LineId(0),
            message_bytes_max: 4 << 20,
            queries_per_s_max: 10,
            headroom_percent: 10,
            seed: 0,
        }
    }
}

crate::counters! {
    /// What a desk did, beside what its [`Ledger`] counts.
    pub struct DeskCounts {
        /// Private connections opened.
        connections_total,
        /// Private connections lost, or not opened.
        connections_lost_total,
        /// Sessions or requests without a number that the venue refused.
        refused_total,
        /// Frames received.
        frames_total,
        /// Frames and answers that could not be decoded. Each makes us compare all orders with the venue's.
        undecodable_total,
        /// HTTP calls made.
        calls_total,
        /// HTTP calls without an answer in time.
        calls_timed_out_total,
        /// Answers of venues with 429 or 418, and refusals for the rate.
        limited_total,
        /// Orders that were ended here after the checks because they could not leave.
        unsent_total,
        /// Orders that waited for the disk.
        held_total,
        /// Requests that are no part of the venue's protocol.
        unsupported_total,
        /// Orders of former runs that the journal did not hold, found at the venue.
        adopted_total,
    }
}

/// What a journal held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Records read.
    pub records: u64,
    /// Records for which the table of orders was too small: start with a larger one.
    pub refused: u64,
    /// How it ended. After damage in the middle the rest was read too; that somebody must look at.
    pub tail: Tail,
}

/// Order entry of one provider. `G` speaks for the venue.
#[derive(Debug)]
pub struct Desk<G> {
    ledger: Ledger,
    gateway: G,
    options: DeskOptions,
    link: Link,
    lane: Lane,
    pace: Pace,
    clock: Clock,
    limits: Vec<Limits>,
    join: turn::Join,
    /// Orders found at the venue that wait to be taken on.
    adoptable: Vec<OrderNews>,
    scratch: Vec<Tag>,
    /// The questions of the call that is written.
    batch: Vec<Tag>,
    last_now: ReceiveTime,
    /// Orders whose intent is not yet durable: (the position that contains it, the order).
    held: VecDeque<(u64, Tag)>,
    journal_durable: u64,
    out: Outgoing,
    incoming: Vec<Incoming>,
    frames: u64,
    last_lost: Option<Lost>,
    last_refusal: Option<OrderNews>,
    /// There is something to decide at once.
    due: bool,
    /// What was counted.
    pub counts: DeskCounts,
}

impl<G: OrderGateway> Desk<G> {
    /// For one account. `ids` is of a run that no journal holds yet. All memory is taken here and in the first requests.
    pub fn new(provider: ProviderId, shard: u8, ids: WireIds, gateway: G, options: DeskOptions) -> Self {
        let ledger_options =
            LedgerOptions { not_found_final_ns: gateway.not_found_final_ns(), ..options.ledger };
        Self {
            ledger: Ledger::new(provider, shard, ids, ledger_options),
            link: Link::new(&options),
            lane: Lane::new(gateway.calls_max(), options.queries_per_s_max),
            pace: Pace::new(options.headroom_percent),
            clock: Clock::default(),
            limits: vec![Limits { trading: false, ..Limits::OPEN }; options.ledger.consumers_max],
            join: turn::Join::default(),
            adoptable: Vec::with_capacity(answers::ADOPTABLE_MAX),
            scratch: Vec::with_capacity(options.ledger.orders_max),
            batch: Vec::with_capacity(64),
            last_now: ReceiveTime::default(),
            held: VecDeque::with_capacity(options.ledger.orders_max),
            journal_durable: 0,
            out: Outgoing::new(),
            incoming: Vec::with_capacity(256),
            frames: 0,
            last_lost: None,
            last_refusal: None,
            due: false,
            counts: DeskCounts::default(),
            gateway,
            options,
        }
    }

    // --- start ----------------------------------------------------------------------------------------------------

    /// Takes in the journal of former runs, oldest file first, before [`begin`](Self::begin).
    pub fn replay(&mut self, journal: &[u8]) -> Replayed {
        let (mut records, mut refused, mut damaged) = (0, 0, None);
        let mut reader = Records::new(journal);
        loop {
            for record in reader.by_ref() {
                records += 1;
                refused += u64::from(!self.ledger.replay(&record));
            }
            let tail = reader.tail().unwrap_or(Tail::Clean);
            if let Tail::Damaged { resumes_at, .. } = tail {
                damaged.get_or_insert(tail);
                reader.resume(resumes_at);
                continue;
            }
            return Replayed { records, refused, tail: damaged.unwrap_or(tail) };
        }
    }

    /// The run begins: its first record stands in the [`journal`](Self::journal), and the connection is asked for.
    pub fn begin(&mut self, now: ReceiveTime) {
        self.ledger.begin();
        self.link.start(now);
        self.due = true;
    }

    // --- requests -------------------------------------------------------------------------------------------------

    /// Checks a request and sends it, or says why not. What is refused is told to its consumer too.
    ///
    /// `market` is what is known of the instrument, `None` if this provider does not trade it. Under
    /// [`Durability::Batch`] the bytes of a new order are ready when this returns.
    pub fn submit(
        &mut self,
        request: &OrderRequest,
        market: Option<&Market<'_>>,
        turn: &mut Turn<'_>,
    ) -> Submitted {
        let mut limits = self.limits.get(request.consumer.index()).copied();
        let limits = limits.get_or_insert(Limits { trading: false, ..Limits::OPEN });
        let submitted = match self.cannot_place(request, turn.now) {
            Some(rule) => self.ledger.refuse(request, rule, turn.now),
            None => self.ledger.submit(request, market, limits, turn.now),
        };
        match submitted {
            Submitted::Place(tag) => self.place(tag, turn),
            Submitted::Cancel(tag) => self.cancel(tag, turn),
            Submitted::Query(tag) => self.query(tag, 0, turn),
            Submitted::CancelAll(_) => {
                self.drop_unsent(Some(request.consumer), Rule::CancelledUnsent, turn.now);
                self.send_cancels(turn);
            }
            Submitted::Refused(_) => {}
        }
        submitted
    }

    /// The limits of a consumer; its trading switch is one of them. Without any, its switch is off.
    pub fn set_limits(&mut self, consumer: ConsumerId, limits: Limits) {
        if let Some(own) = self.limits.get_mut(consumer.index()) {
            *own = limits;
        }
    }

    /// Whether new orders leave by the private connection, and not by calls.
    pub fn places_by_frame(&self) -> bool {
        self.gateway.by_frame(Purpose::Place)
    }

    /// The limits of a consumer.
    pub fn limits(&self, consumer: ConsumerId) -> Option<&Limits> {
        self.limits.get(consumer.index())
    }

    /// Turns a consumer's trading switch. Off: new orders are refused from here on, also those that wait for the disk or
    /// for a call. What is open stays open.
    pub fn set_trading(&mut self, consumer: ConsumerId, on: bool, now: ReceiveTime) {
        if let Some(limits) = self.limits.get_mut(consumer.index()) {
            limits.trading = on;
        }
        if !on {
            self.drop_unsent(Some(consumer), Rule::TradingOff, now);
        }
    }

    /// The kill switch: no order of the scope leaves from here on, and what is open is cancelled. Says how many those are.
    pub fn kill(&mut self, scope: Option<ConsumerId>, now: ReceiveTime) -> u32 {
        self.drop_unsent(scope, Rule::Killed, now);
        self.due = true;
        self.ledger.kill(scope)
    }

    /// Ends a kill of the same scope.
    pub fn lift(&mut self, scope: Option<ConsumerId>) {
        self.ledger.lift(scope);
    }

    /// Cancels what is open in the scope, and says how many orders those are.
    pub fn cancel_all(&mut self, scope: Option<ConsumerId>, now: ReceiveTime) -> u32 {
        self.drop_unsent(scope, Rule::CancelledUnsent, now);
        self.due = true;
        self.ledger.cancel_all(scope)
    }

    /// A consumer is gone for good (it panicked, it was taken off): its switch is off, and
    /// [`DeskOptions::on_consumer_loss`] says whether its orders are cancelled.
    pub fn consumer_lost(&mut self, consumer: ConsumerId, now: ReceiveTime) -> u32 {
        self.set_trading(consumer, false, now);
        match self.options.on_consumer_loss {
            OnSessionLoss::Keep => 0,
            OnSessionLoss::CancelMine => self.cancel_all(Some(consumer), now),
        }
    }

    // --- the private connection -----------------------------------------------------------------------------------

    /// A socket to be opened, with TLS if the endpoint has it; asked once.
    pub fn poll_connect(&mut self) -> Option<Connect<'_>> {
        self.link.poll_connect()
    }

    /// Whether the socket is to be closed now. The session is over already; `disconnected` need not be called.
    pub fn poll_disconnect(&mut self) -> bool {
        self.link.poll_disconnect()
    }

    /// The socket is open.
    pub fn connected(&mut self, now: ReceiveTime) {
        if let Err(lost) = self.link.opened(now) {
            self.lose(lost, now);
        }
        self.due = true;
    }

    /// Bytes came from the socket. All of them are taken.
    pub fn received(&mut self, bytes: &[u8], now: ReceiveTime) {
        self.take_bytes(bytes, now);
        self.due = true;
    }

    /// The socket is gone, or could not be opened.
    pub fn disconnected(&mut self, lost: Lost, now: ReceiveTime) {
        self.lose(lost, now);
        self.link.closed_by_peer();
        self.due = true;
    }

    /// Bytes for the socket.
    #[inline]
    pub fn bytes_to_send(&self) -> &[u8] {
        self.link.pending()
    }

    /// The socket took the first `count` of [`bytes_to_send`](Self::bytes_to_send).
    #[inline]
    pub fn sent(&mut self, count: usize) {
        self.link.written(count);
    }

    // --- REST -----------------------------------------------------------------------------------------------------

    /// The next HTTP call to make, at the provider's REST endpoint for trading. Signed here and now, so make it now.
    pub fn poll_http(&mut self, turn: &mut Turn<'_>) -> Option<HttpCall<'_>> {
        self.next_call(turn)
    }

    /// The answer to a call, or status 0 if none came. `retry_after_s` is the header of that name.
    pub fn http_answer(
        &mut self,
        id: CallId,
        status: u16,
        retry_after_s: Option<u64>,
        body: &mut [u8],
        now: ReceiveTime,
    ) {
        self.take_answer(id, status, retry_after_s, body, now);
        self.due = true;
    }

    // --- time -----------------------------------------------------------------------------------------------------

    /// Does what is due: connects, joins, asks, cancels, gives up waiting. Call it after each input and at
    /// [`deadline`](Self::deadline).
    pub fn on_timer(&mut self, turn: &mut Turn<'_>) {
        self.due = false;
        self.work(turn);
    }

    /// When [`on_timer`](Self::on_timer) has something to do. In the past: at once.
    pub fn deadline(&self) -> Option<ReceiveTime> {
        if self.due { Some(ReceiveTime::default()) } else { self.next_deadline() }
    }

    // --- what comes out -------------------------------------------------------------------------------------------

    /// The next event for a consumer, in order. Reports name their consumer; marks of the session are for all of them.
    #[inline]
    pub fn poll_event(&mut self) -> Option<OrderEvent> {
        self.ledger.poll_event()
    }

    /// Records to append to the journal, in order.
    #[inline]
    pub fn journal(&self) -> &[u8] {
        self.ledger.journal()
    }

    /// Position behind the last record of [`journal`](Self::journal), in bytes of this run.
    pub const fn journal_end(&self) -> u64 {
        self.ledger.journal_end()
    }

    /// The first `bytes` of [`journal`](Self::journal) were handed to the file.
    pub fn journal_written(&mut self, bytes: usize) {
        self.ledger.journal_written(bytes);
    }

    /// All before `position`, in bytes of this run, will survive a kill -9.
    pub fn journal_durable(&mut self, position: u64) {
        self.journal_durable = self.journal_durable.max(position);
        self.due |= !self.held.is_empty();
    }

    /// What a new journal file must begin with, so that older ones are not needed. Bytes of no position.
    pub fn checkpoint(&self, out: &mut Vec<u8>) {
        self.ledger.checkpoint(out);
    }

    /// The orders.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Where the session stands.
    pub const fn session(&self) -> SessionState {
        self.ledger.session()
    }

    /// The word for what the private connection does, for status lines.
    pub const fn connection_name(&self) -> &'static str {
        self.link.state_name()
    }

    /// Why the private connection was lost last.
    pub const fn last_lost(&self) -> Option<&Lost> {
        self.last_lost.as_ref()
    }

    /// What the venue said when it refused the session last: code and text.
    pub const fn last_refusal(&self) -> Option<&OrderNews> {
        self.last_refusal.as_ref()
    }

    /// How far the venue's clock is ahead of ours, in milliseconds; 0 until it was asked.
    pub const fn clock_ahead_ms(&self) -> i64 {
        self.clock.ahead_ms()
    }

    fn trace(&self) -> TraceId {
        TraceId::new(self.options.line, self.frames)
    }
}
