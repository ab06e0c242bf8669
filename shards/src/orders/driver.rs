//! Order entry of one provider on its shard: order rings in, critical rings out, the desk between them, its journal beside.
//!
//! Read it from [`Orders::turn`]. Everything that decides is in `engine::orders::desk`.
//!
//! The end, in order: requests that still come are refused; what the topology says is cancelled and its reports awaited for
//! a while; reports go into their rings; the connection is closed; the journal is written out and synced. Consumers drain
//! their critical rings after that, and only then end.

use std::collections::VecDeque;
use std::sync::{Arc, mpsc};

use engine::connection::Lost;
use engine::directory::Directory;
use engine::ids::{ConsumerId, InstrumentId, Listing};
use engine::orders::check::{Limits, Market, Rule, Touch};
use engine::orders::desk::{Desk, Turn};
use engine::orders::ledger::{SessionState, Submitted};
use engine::orders::outbox::refusal;
use engine::orders::venue::OrderGateway;
use engine::orders::{ClientOrderId, Command, OrderEvent, OrderRequest, Origin, ReportState};
use engine::pipeline::Pipeline;
use engine::pool::Taken;
use engine::pools::OrderPools;
use engine::ring::Receiver;
use engine::time::ReceiveTime;
use engine::venue::Venue;

use super::account::Account;
use super::chance::Chance;
use super::critical::CriticalLane;
use super::journal::JournalWriter;
use super::keep::{Keeper, Kept};
use super::session::Session;
use super::status::{OrdersStatus, OrdersSummary};
use super::switches::Switches;
use crate::happened::{Happened, OrdersHappening, Report};
use crate::io::Io;
use crate::machine::poller::Ready;
use crate::topology::{Durability, OnStop};

/// Requests taken off one ring in a turn, at most.
const REQUESTS_PER_TURN_MAX: usize = 32;
/// Orders whose way is timed at once; beyond, some are not.
const TIMED_MAX: usize = 256;

/// What is known of a provider's instruments and their books.
pub trait Markets {
    /// The instruments.
    fn directory(&self) -> &Directory;
    /// The best prices of one.
    fn touch(&self, listing: Listing) -> Option<Touch>;
}

impl<V: Venue> Markets for Pipeline<V> {
    fn directory(&self) -> &Directory {
        &self.directory
    }

    fn touch(&self, listing: Listing) -> Option<Touch> {
        let feed = self.book_of(listing)?;
        let best = |level: Option<engine::event::Level>| level.map(|level| level.price).unwrap_or_default();
        let book = feed.book();
        Some(Touch { status: feed.status(), bid: best(book.bids.best()), ask: best(book.asks.best()) })
    }
}

/// A provider's order entry of any venue.
pub trait Trade {
    /// Takes a report of the poller that is of this one's tokens.
    fn ready(&mut self, ready: Ready, markets: &dyn Markets, io: &mut Io) -> usize;
    /// Takes requests, does what is due, sends and tells. Returns how much it did.
    fn turn(&mut self, now_ns: u64, markets: &dyn Markets, io: &mut Io) -> usize;
    /// When a turn is needed although nothing comes.
    fn deadline_ns(&self) -> u64;
    /// Whether requests wait in a ring.
    fn has_requests(&self) -> bool;
    /// How it stands.
    fn status(&self) -> OrdersStatus;
    /// Begins the end: from here on every request is refused.
    fn stop(&mut self, now_ns: u64);
    /// Whether nothing is left to do before [`finish`](Self::finish).
    fn is_quiet(&self) -> bool;
    /// The last act: closes the connection and the journal. Returns what it counted.
    fn finish(&mut self, io: &mut Io) -> OrdersSummary;
}

/// What one consumer is to this provider.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    /// Its number.
    pub consumer: ConsumerId,
    /// Index of its shard's lane.
    pub lane: usize,
    /// Its limits; the switch in them is the one at start.
    pub limits: Limits,
}

/// A provider's own histograms: their indexes in the layout of its shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct OrderCells {
    /// Of [`Stage::SubmitToReady`](crate::stages::Stage::SubmitToReady).
    pub to_ready: usize,
    /// Of [`Stage::ReadyToWritten`](crate::stages::Stage::ReadyToWritten).
    pub ready_to_written: usize,
    /// Of [`Stage::SubmitToWritten`](crate::stages::Stage::SubmitToWritten).
    pub to_written: usize,
    /// Of [`Stage::WrittenToAck`](crate::stages::Stage::WrittenToAck).
    pub to_ack: usize,
}

/// What [`Orders`] is made of beside its desk.
pub struct Parts {
    /// Index of the provider in the topology.
    pub index: u8,
    /// The sockets.
    pub session: Session,
    /// Rings of requests, each with the lane of its shard.
    pub inputs: Vec<(usize, Receiver<OrderRequest>)>,
    /// Ways to the consumer shards.
    pub lanes: Vec<CriticalLane>,
    /// All consumers of the topology that are on those shards.
    pub seats: Vec<Seat>,
    /// Who may trade.
    pub switches: Arc<Switches>,
    /// Where intents and outcomes are written.
    pub journal: JournalWriter,
    /// When an order may leave.
    pub durability: Durability,
    /// What happens to open orders at the end.
    pub on_stop: OnStop,
    /// Time and chance.
    pub chance: Chance,
    /// Where requests and reports lie while they pass.
    pub pools: OrderPools,
    /// Its histograms.
    pub cells: OrderCells,
    /// To the supervisor.
    pub reports: mpsc::Sender<Report>,
}

/// An order whose bytes have not left yet.
#[derive(Clone, Copy, Debug)]
struct Unwritten {
    wire_id: ClientOrderId,
    submitted_at: ReceiveTime,
    /// When its bytes were ready; 0 before.
    ready_ns: u64,
    /// The journal's position that must be durable before it leaves.
    position: u64,
}

/// Order entry of one provider.
pub struct Orders<G> {
    parts: Parts,
    desk: Desk<G>,
    accounts: Vec<Account>,
    /// Listing by instrument number; `u16::MAX` for none.
    listing_of: Vec<u16>,
    switches_version: u64,
    /// By seat: how often its consumer was lost, as far as the desk knows.
    losses: Vec<u64>,
    keeper: Keeper,
    unwritten: VecDeque<Unwritten>,
    unanswered: VecDeque<(ClientOrderId, u64)>,
    /// Something came for the desk since it last looked.
    due: bool,
    deadline_ns: u64,
    stopping: bool,
    refused_total: u64,
    /// Since when a request waits for a slot.
    request_waits: Option<ReceiveTime>,
    /// A report that waits for a slot, and since when.
    report_waits: (Option<OrderEvent>, Option<ReceiveTime>),
    /// Reports that were told although no slot came free: nothing of an order is ever dropped.
    unpooled_total: u64,
}

impl<G: OrderGateway> Orders<G> {
    /// Order entry over a desk that has begun its run.
    pub fn new(desk: Desk<G>, parts: Parts) -> Self {
        let mut orders = Self {
            accounts: parts.seats.iter().map(|seat| Account::new(seat.consumer, 64)).collect(),
            desk,
            listing_of: Vec::new(),
            switches_version: 0,
            losses: vec![0; parts.seats.len()],
            parts,
            keeper: Keeper::default(),
            unwritten: VecDeque::with_capacity(TIMED_MAX),
            unanswered: VecDeque::with_capacity(TIMED_MAX),
            due: true,
            deadline_ns: 0,
            stopping: false,
            refused_total: 0,
            request_waits: None,
            report_waits: (None, None),
            unpooled_total: 0,
        };
        for seat in orders.parts.seats.clone() {
            orders.desk.set_limits(seat.consumer, seat.limits);
        }
        orders
    }

    fn say(&self, happening: OrdersHappening) {
        // The supervisor is gone only while the process ends.
        let _ = self
            .parts
            .reports
            .send(Report { provider: self.parts.index, happening: Happened::Orders(happening) });
    }

    /// Follows the switches: they were moved since the last look.
    #[cold]
    fn follow_switches(&mut self, now: ReceiveTime) {
        // The version first: a switch that moves meanwhile is seen by the next look.
        self.switches_version = self.parts.switches.version();
        let switches = Arc::clone(&self.parts.switches);
        if switches.killed_all() {
            self.desk.kill(None, now);
        } else {
            self.desk.lift(None);
        }
        for (number, &seat) in self.parts.seats.iter().enumerate() {
            let consumer = seat.consumer.index();
            let losses = switches.losses(consumer);
            if std::mem::replace(&mut self.losses[number], losses) != losses {
                self.desk.consumer_lost(seat.consumer, now);
            }
            self.desk.set_trading(seat.consumer, switches.trading(consumer), now);
            if switches.killed_alone(consumer) {
                self.desk.kill(Some(seat.consumer), now);
            } else {
                self.desk.lift(Some(seat.consumer));
            }
        }
        self.due = true;
    }

    #[inline]
    fn take_requests(&mut self, now_ns: u64, markets: &dyn Markets, io: &mut Io) -> usize {
        let mut taken = 0;
        for input in 0..self.parts.inputs.len() {
            if self.parts.lanes[self.parts.inputs[input].0].holds_orders() {
                continue; // it cannot hear what became of those it has
            }
            for _ in 0..REQUESTS_PER_TURN_MAX {
                if self.parts.inputs[input].1.is_empty() {
                    break;
                }
                let now = ReceiveTime::from_ns(io.clock.now().max(now_ns));
                let slot = match self.parts.pools.requests.take_patiently(&mut self.request_waits, now) {
                    Taken::Handle(slot) => Some(slot),
                    Taken::Wait { .. } => return taken, // it stays in its ring, which fills
                    Taken::TimedOut => None,
                };
                let Some(request) = self.parts.inputs[input].1.pop() else { break };
                taken += 1;
                if self.parts.switches.version() != self.switches_version {
                    self.follow_switches(now);
                }
                let Some(mut slot) = slot else {
                    self.refused_total += 1;
                    self.tell(&refusal(&request, Rule::PoolEmpty, now));
                    continue;
                };
                *slot = request;
                self.submit(&slot, now, markets);
            }
        }
        taken
    }

    fn submit(&mut self, request: &OrderRequest, now: ReceiveTime, markets: &dyn Markets) {
        self.due = true;
        if self.stopping || self.keeper.failed && request.command == Command::Place {
            let rule = if self.stopping { Rule::Stopping } else { Rule::JournalFull };
            self.refused_total += 1;
            self.tell(&refusal(request, rule, now));
            return;
        }
        let directory = markets.directory();
        let listing = self.listing(request.instrument, directory);
        let market = listing.map(|listing| {
            let instrument = directory.instrument(listing);
            Market {
                decimals: instrument.decimals,
                trading: instrument.trading,
                filters: &instrument.filters,
                touch: markets.touch(listing),
            }
        });
        let request = OrderRequest { listing: listing.unwrap_or_default(), ..*request };
        let mut turn = Turn { now, directory, stamps: &mut self.parts.chance };
        if let Submitted::Place(tag) = self.desk.submit(&request, market.as_ref(), &mut turn) {
            if let Some(account) = account_of(&mut self.accounts, request.consumer) {
                account.counts.orders_total += 1;
            }
            let position = match self.parts.durability {
                Durability::Sync => self.desk.journal_end(),
                Durability::Batch => 0,
            };
            if let Some(order) = self.desk.ledger().order(tag)
                && self.unwritten.len() < TIMED_MAX
            {
                let (wire_id, submitted_at) = (order.wire_id, request.submitted_at);
                self.unwritten.push_back(Unwritten { wire_id, submitted_at, ready_ns: 0, position });
            }
        }
    }

    fn listing(&mut self, instrument: InstrumentId, directory: &Directory) -> Option<Listing> {
        if self.listing_of.is_empty() || self.listing_of.get(instrument.index()) == Some(&u16::MAX) {
            // At the first order, and while one is asked for that is not listed: the directory may have grown.
            self.listing_of.fill(u16::MAX);
            for (number, listed) in directory.instruments().iter().enumerate() {
                if self.listing_of.len() <= listed.id.index() {
                    self.listing_of.resize(listed.id.index() + 1, u16::MAX);
                }
                self.listing_of[listed.id.index()] = number as u16;
            }
        }
        let found = *self.listing_of.get(instrument.index())?;
        (found != u16::MAX).then_some(Listing(found))
    }

    /// Lets the desk decide, then takes all that it has.
    fn work(&mut self, now: ReceiveTime, markets: &dyn Markets, io: &mut Io) -> usize {
        self.due = false;
        let mut turn = Turn { now, directory: markets.directory(), stamps: &mut self.parts.chance };
        self.desk.on_timer(&mut turn);
        let made = self.parts.session.call(&mut self.desk, &mut turn, io);
        let by_frame = self.desk.places_by_frame();
        if made > 0 && !by_frame {
            // Before answers are taken: one that has come already must not be earlier than what it answers.
            self.note_ready(io);
            self.note_written(io);
        }
        let ended = self.parts.session.take_answers(&mut self.desk, io);
        if ended > 0 {
            let mut turn = Turn { now, directory: markets.directory(), stamps: &mut self.parts.chance };
            self.desk.on_timer(&mut turn);
        }
        if by_frame {
            self.note_ready(io);
        }
        let sent = self.parts.session.serve(&mut self.desk, io);
        if sent > 0 && by_frame {
            self.note_written(io);
        }
        self.tell_all(io);
        let desk_ns = self.desk.deadline().map_or(u64::MAX, ReceiveTime::ns);
        self.deadline_ns = desk_ns.min(self.parts.session.deadline_ns());
        sent.min(1) + made + ended
    }

    /// Orders whose bytes lie ready: those that need not wait for the disk.
    fn note_ready(&mut self, io: &mut Io) {
        let waits = |order: &&mut Unwritten| order.ready_ns == 0;
        let mut fresh = self.unwritten.iter_mut().rev().take_while(waits).peekable();
        if fresh.peek().is_none() {
            return;
        }
        let now_ns = io.clock.now();
        for order in fresh.filter(|order| order.position <= self.keeper.durable) {
            order.ready_ns = now_ns;
            let took_ns = now_ns.saturating_sub(order.submitted_at.ns());
            io.stages.record_own(self.parts.cells.to_ready, took_ns);
        }
    }

    /// Orders whose bytes have left: those that need not wait for the disk.
    fn note_written(&mut self, io: &mut Io) {
        let now_ns = io.clock.now();
        while let Some(order) = self.unwritten.front() {
            if order.position > self.keeper.durable {
                return;
            }
            let cells = self.parts.cells;
            io.stages.record_own(cells.to_written, now_ns.saturating_sub(order.submitted_at.ns()));
            if order.ready_ns > 0 {
                io.stages.record_own(cells.ready_to_written, now_ns.saturating_sub(order.ready_ns));
            }
            if self.unanswered.len() == TIMED_MAX {
                self.unanswered.pop_front();
            }
            self.unanswered.push_back((order.wire_id, now_ns));
            self.unwritten.pop_front();
        }
    }

    /// Passes on what the desk has to say.
    fn tell_all(&mut self, io: &mut Io) {
        while let Some(event) = self.report_waits.0.take().or_else(|| self.desk.poll_event()) {
            // Events that are no reports (sessions, notices) are rare and small: they pass by value.
            let mut slot = None;
            if let OrderEvent::Report(report) = &event {
                let now = ReceiveTime::from_ns(io.clock.now());
                match self.parts.pools.reports.take_patiently(&mut self.report_waits.1, now) {
                    Taken::Handle(mut free) => {
                        *free = *report;
                        slot = Some(free);
                    }
                    Taken::Wait { .. } => {
                        self.report_waits.0 = Some(event);
                        self.due = true;
                        return;
                    }
                    Taken::TimedOut => self.unpooled_total += 1,
                }
            }
            let event = match &slot {
                Some(slot) => OrderEvent::Report(**slot),
                None => event,
            };
            match &event {
                OrderEvent::Report(report) if report.origin == Origin::Venue => {
                    let known = self.unanswered.iter().position(|(wire_id, _)| *wire_id == report.wire_id);
                    if let Some((_, written_ns)) = known.and_then(|at| self.unanswered.remove(at)) {
                        let took_ns = report.receive_time.ns().saturating_sub(written_ns);
                        io.stages.record_own(self.parts.cells.to_ack, took_ns);
                    }
                }
                OrderEvent::Report(report) if report.state == ReportState::Rejected => {
                    self.refused_total += 1;
                }
                OrderEvent::SessionGap { unknown_orders, .. } => {
                    let lost = self.desk.last_lost();
                    let reason = lost.map(ToString::to_string).unwrap_or_default();
                    let code = lost.map_or("session", Lost::name);
                    self.say(OrdersHappening::SessionLost { unknown_orders: *unknown_orders, reason, code });
                }
                OrderEvent::SessionRestored {
                    session,
                    checked_orders,
                    recovered_reports,
                    unknown_orders,
                    foreign_orders,
                    ..
                } => self.say(OrdersHappening::SessionReady {
                    session: *session,
                    checked_orders: *checked_orders,
                    recovered_reports: *recovered_reports,
                    unknown_orders: *unknown_orders,
                    foreign_orders: *foreign_orders,
                }),
                OrderEvent::Report(_) | OrderEvent::Unknown(_) | OrderEvent::CancelRejected(_) => {}
            }
            self.tell(&event);
            drop(slot); // each shard has its copy
        }
    }

    /// Into the rings of those whom it concerns.
    fn tell(&mut self, event: &OrderEvent) {
        let Some(consumer) = event.consumer() else {
            for lane in &mut self.parts.lanes {
                lane.push(event);
            }
            return;
        };
        if let Some(account) = account_of(&mut self.accounts, consumer) {
            account.note(event);
        }
        // An order of a consumer that the topology no longer has stays in the journal and the counts.
        if let Some(seat) = self.parts.seats.iter().find(|seat| seat.consumer == consumer) {
            self.parts.lanes[seat.lane].push(event);
        }
    }

    /// Hands over what the journal has to write, and takes note of what is durable.
    fn keep_journal(&mut self, now_ns: u64) -> usize {
        let kept = self.keeper.turn(&mut self.parts.journal, &mut self.desk, now_ns);
        self.due |= kept != Kept::Same;
        if kept == Kept::Failed {
            let reason = self.parts.journal.failure().unwrap_or_default().to_owned();
            self.say(OrdersHappening::JournalFailed { reason });
        }
        usize::from(kept != Kept::Same)
    }

    fn flush_lanes(&mut self) -> usize {
        let mut moved = 0;
        for at in 0..self.parts.lanes.len() {
            let lane = &mut self.parts.lanes[at];
            moved += usize::from(lane.flush());
            if lane.take_alarm() {
                let (shard, waiting) = (lane.shard, lane.waiting());
                self.say(OrdersHappening::CriticalRingFull { shard, waiting });
            }
        }
        moved
    }
}

fn account_of(accounts: &mut [Account], consumer: ConsumerId) -> Option<&mut Account> {
    accounts.iter_mut().find(|account| account.consumer == consumer)
}

impl<G: OrderGateway> Trade for Orders<G> {
    #[inline]
    fn ready(&mut self, ready: Ready, markets: &dyn Markets, io: &mut Io) -> usize {
        self.parts.session.handle_ready(ready, &mut self.desk, io);
        let now = ReceiveTime::from_ns(io.clock.now());
        self.work(now, markets, io);
        self.flush_lanes();
        1
    }

    #[inline]
    fn turn(&mut self, now_ns: u64, markets: &dyn Markets, io: &mut Io) -> usize {
        if self.parts.switches.version() != self.switches_version {
            self.follow_switches(ReceiveTime::from_ns(now_ns));
        }
        let mut worked = self.take_requests(now_ns, markets, io);
        if self.parts.session.has_more() {
            self.parts.session.read(&mut self.desk, io);
            self.due = true;
        }
        // Under `batch` an order does not wait for its journal: its bytes leave before the journal takes the turn's time.
        if self.due && self.parts.durability == Durability::Batch {
            let now = ReceiveTime::from_ns(now_ns.max(io.clock.now()));
            worked += self.work(now, markets, io);
        }
        worked += self.keep_journal(now_ns);
        if self.due || now_ns >= self.deadline_ns {
            let now = ReceiveTime::from_ns(now_ns.max(io.clock.now()));
            worked += self.work(now, markets, io);
        }
        worked + self.flush_lanes()
    }

    fn deadline_ns(&self) -> u64 {
        if self.due || self.parts.session.has_more() {
            return 0;
        }
        // A full ring is looked at again soon; nobody wakes a sender.
        let behind = self.parts.lanes.iter().any(CriticalLane::is_behind);
        let sync_ns = self.parts.journal.sync_due_ns().unwrap_or(u64::MAX);
        if behind { 1 } else { self.deadline_ns.min(sync_ns) }
    }

    fn has_requests(&self) -> bool {
        let takes = |lane: usize| !self.parts.lanes[lane].holds_orders();
        self.parts.switches.version() != self.switches_version
            || self.parts.inputs.iter().any(|(lane, ring)| takes(*lane) && !ring.is_empty())
    }

    fn status(&self) -> OrdersStatus {
        OrdersStatus::of(
            self.parts.index,
            &self.desk,
            &self.accounts,
            &self.parts.lanes,
            self.parts.journal.counts,
            self.keeper.failed,
        )
        .with_pools(
            [self.parts.pools.requests.usage(), self.parts.pools.reports.usage()],
            self.unpooled_total,
        )
    }

    fn stop(&mut self, now_ns: u64) {
        self.stopping = true;
        if self.parts.on_stop == OnStop::CancelMine {
            self.desk.cancel_all(None, ReceiveTime::from_ns(now_ns));
            self.due = true;
        }
    }

    fn is_quiet(&self) -> bool {
        let reachable = self.desk.session() == SessionState::Live;
        let cancelling =
            self.parts.on_stop == OnStop::CancelMine && reachable && self.desk.ledger().open_orders() > 0;
        let journal = &self.parts.journal;
        !cancelling
            && !journal.is_writing()
            && (self.keeper.failed || self.desk.journal().is_empty())
            && self.desk.bytes_to_send().is_empty()
    }

    fn finish(&mut self, io: &mut Io) -> OrdersSummary {
        let now = ReceiveTime::from_ns(io.clock.now());
        for input in 0..self.parts.inputs.len() {
            while let Some(request) = self.parts.inputs[input].1.pop() {
                self.refused_total += 1;
                self.tell(&refusal(&request, Rule::Stopping, now));
            }
        }
        self.tell_all(io);
        while self.report_waits.0.is_some() {
            std::thread::yield_now();
            self.tell_all(io);
        }
        self.flush_lanes();
        self.parts.session.close(&self.desk, io);
        let journal = self.parts.journal.finish(self.desk.journal());
        self.desk.journal_written(self.desk.journal().len());
        let pools = &self.parts.pools;
        let outstanding = pools.requests.outstanding().into_iter().chain(pools.reports.outstanding());
        let outstanding = outstanding.map(|slot| slot.to_string()).collect();
        OrdersSummary::of(self.status(), journal, outstanding)
    }
}
