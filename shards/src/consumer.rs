//! A consumer shard: drains its rings in batches and lends each event to the consumers that want it.

pub mod commands;

use std::sync::Arc;

use engine::consumer::Host;
use engine::event::Event;
use engine::ids::{ProviderId, StreamId};
use engine::orders::OrderEvent;
use engine::ring::Receiver;
use engine::time::ReceiveTime;

use crate::control::link::{Numbered, ShardEnd};
use crate::machine::clock::Clock;
use crate::machine::executor::Turn;
use crate::machine::idle::Waker;
use crate::orders::consumer_end::ConsumerEnd;
use crate::orders::switches::Switches;
use crate::probe::ShardProbe;
use crate::report_of::ConsumerShardSummary;
use crate::stages::{ShardStages, Stage};
use crate::status::{ConsumerStatus, RINGS_MAX, RingStatus, SEATS_MAX, STATUS_EVERY_NS, SeatStatus, Status};

/// Events taken off one ring before the next has its turn.
const EVENTS_PER_DRAIN_MAX: usize = 256;

/// News of orders taken off one ring before the next has its turn.
const CRITICAL_PER_DRAIN_MAX: usize = 64;

/// Between two looks at the clock while a batch is handled, in event parts.
const EVENTS_PER_LOOK: usize = 8;
/// A batch ends early when it has taken this long, in nanoseconds, and the next one begins with the ring after: a slow handler
/// must not keep the shard from its timers, its status and the order to stop, and no turn of ours takes a millisecond.
const BATCH_NS_MAX: u64 = 500_000;

/// One ring, and how long what was in it had waited.
struct Ring {
    receiver: Receiver<Event>,
    /// Whose events come by it.
    provider: Option<ProviderId>,
    oldest_ns_max: u64,
}

impl Ring {
    const fn new(receiver: Receiver<Event>) -> Self {
        Self { receiver, provider: None, oldest_ns_max: 0 }
    }

    fn status(&self, now_ns: u64) -> RingStatus {
        let oldest = self.receiver.front();
        RingStatus {
            provider: self.provider.map(|provider| provider.0),
            events: self.receiver.depth() as u32,
            oldest_ns: oldest.map_or(0, |event| now_ns.saturating_sub(event.header.receive_time.ns())),
            oldest_ns_max: self.oldest_ns_max,
        }
    }
}

/// A shard with its consumers.
pub struct ConsumerShard {
    index: u8,
    host: Host,
    rings: Vec<Ring>,
    /// The ring that is served first in the next turn.
    ring_first: usize,
    clock: Clock,
    stages: ShardStages,
    statuses: rtrb::Producer<Status>,
    status_at_ns: u64,
    received_total: u64,
    wire: ShardEnd,
    critical: Vec<Receiver<OrderEvent>>,
    /// By provider: what wakes its shard.
    order_wakers: Vec<Waker>,
    /// Where a consumer that panicked loses its right to trade.
    switches: Option<Arc<Switches>>,
    /// By provider: its own histogram of reports.
    reports: Vec<Option<usize>>,
}

impl ConsumerShard {
    /// A shard of the topology's number `index`, with its consumers and the rings that end here.
    pub fn new(
        index: u8,
        host: Host,
        rings: Vec<Receiver<Event>>,
        stages: ShardStages,
        statuses: rtrb::Producer<Status>,
        wire: ShardEnd,
    ) -> Self {
        let clock = Clock::new();
        Self {
            index,
            host,
            rings: rings.into_iter().map(Ring::new).collect(),
            ring_first: 0,
            clock,
            stages,
            statuses,
            status_at_ns: 0,
            received_total: 0,
            wire,
            critical: Vec::new(),
            order_wakers: Vec::new(),
            switches: None,
            reports: Vec::new(),
        }
    }

    /// The same, with what it needs for orders, and by provider its own histogram of reports.
    #[must_use]
    pub fn with_orders(mut self, end: ConsumerEnd, reports: Vec<Option<usize>>) -> Self {
        self.host.set_outbox(end.outbox);
        (self.critical, self.order_wakers, self.switches) = (end.critical, end.wakers, Some(end.switches));
        self.reports = reports;
        self
    }

    /// Drains what the senders left, until they are gone and the rings are empty or `deadline_ns` has come. Returns
    /// what it counted.
    pub fn finish(mut self, deadline_ns: u64) -> ConsumerShardSummary {
        loop {
            let gone = self.rings.iter().all(|ring| ring.receiver.is_abandoned())
                && self.critical.iter().all(Receiver::is_abandoned);
            let now_ns = self.clock.now();
            let taken = self.drain_critical() + self.drain(now_ns);
            if gone && taken == 0 || now_ns >= deadline_ns {
                break;
            }
            if taken == 0 {
                std::thread::yield_now();
            }
        }
        let now_ns = self.clock.now();
        self.host.stop(ReceiveTime::from_ns(now_ns));
        let left = self.rings.iter().map(|ring| ring.receiver.depth() as u64).sum();
        let rings: Vec<_> = self.rings.iter().map(|ring| ring.status(now_ns)).collect();
        let summary = ConsumerShardSummary::of(self.index, &self.host, self.received_total, left, &rings);
        self.stages.finish(now_ns);
        summary
    }

    #[inline]
    fn drain(&mut self, now_ns: u64) -> usize {
        let mut taken = 0;
        let count = self.rings.len();
        self.host.begin_turn();
        for step in 0..count {
            let at = (self.ring_first + step) % count;
            let ring = &mut self.rings[at];
            let mut probe = ShardProbe::new(&self.clock, &mut self.stages);
            let host = &mut self.host;
            let clock = &self.clock;
            let mut until_look = EVENTS_PER_LOOK;
            let (provider, oldest_ns_max) = (&mut ring.provider, &mut ring.oldest_ns_max);
            let (mut is_oldest, mut is_over) = (true, false);
            taken += ring.receiver.drain_while(EVENTS_PER_DRAIN_MAX, |event| {
                if std::mem::take(&mut is_oldest) {
                    *provider = Some(event.header.provider);
                    *oldest_ns_max =
                        (*oldest_ns_max).max(now_ns.saturating_sub(event.header.receive_time.ns()));
                }
                host.deliver(event, &mut probe);
                if host.is_turn_over() {
                    is_over = true;
                    return false;
                }
                until_look -= 1;
                if until_look > 0 {
                    return true;
                }
                until_look = EVENTS_PER_LOOK;
                is_over = clock.now().saturating_sub(now_ns) >= BATCH_NS_MAX;
                !is_over
            });
            if is_over {
                // The next turn begins with the ring after this one.
                self.ring_first = at + 1;
                break;
            }
        }
        self.received_total += taken as u64;
        self.host.batch_end(taken, ReceiveTime::from_ns(now_ns));
        taken
    }

    /// News of orders, before any market data: all that are there.
    #[inline]
    fn drain_critical(&mut self) -> usize {
        let mut taken = 0;
        for ring in &mut self.critical {
            let mut probe = ShardProbe::new(&self.clock, &mut self.stages).with_reports(&self.reports);
            let host = &mut self.host;
            taken += ring.drain(CRITICAL_PER_DRAIN_MAX, |event| host.deliver_order(event, &mut probe));
        }
        taken
    }

    /// Tells consumers what was refused on this side, and wakes those who have got orders.
    #[inline]
    fn settle_orders(&mut self) -> usize {
        let mut probe = ShardProbe::new(&self.clock, &mut self.stages);
        let told = self.host.deliver_refusals(&mut probe);
        let wakers = &self.order_wakers;
        self.host.outbox_mut().wake(|provider| {
            if let Some(waker) = wakers.get(provider.index()) {
                waker.wake();
            }
        });
        while let Some(consumer) = self.host.poll_fallen() {
            if let Some(switches) = &self.switches {
                switches.consumer_lost(consumer.index());
            }
        }
        told
    }

    #[cold]
    fn command(&mut self, Numbered { number, command }: Numbered) {
        if let Some(reply) = commands::obey(self, command) {
            self.wire.reply(number, reply);
        }
    }

    fn tell(&mut self, now_ns: u64) {
        let mut status = ConsumerStatus {
            shard: self.index,
            received_total: self.received_total,
            outbox: self.host.outbox().counts,
            ring_count: self.rings.len().min(RINGS_MAX) as u8,
            rings: [RingStatus::default(); RINGS_MAX],
            seat_count: 0,
            seats: [SeatStatus::default(); SEATS_MAX],
        };
        for (slot, ring) in status.rings.iter_mut().zip(&self.rings) {
            *slot = ring.status(now_ns);
        }
        for (slot, (_, counts, up)) in status.seats.iter_mut().zip(self.host.seats()) {
            *slot = SeatStatus { counts: *counts, up };
            status.seat_count += 1;
        }
        // A supervisor that is behind gets the next one.
        let _ = self.statuses.push(Status::Consumer(status));
    }
}

impl commands::Seats for ConsumerShard {
    fn host(&mut self) -> &mut Host {
        &mut self.host
    }

    fn add_ring(&mut self, ring: Receiver<Event>) {
        self.rings.push(Ring::new(ring));
    }

    fn drain(&mut self) -> usize {
        Self::drain(self, self.clock.now())
    }

    fn welcome(&mut self, seat: usize, place: (ProviderId, StreamId), depth: usize, version: u32) {
        self.host.welcome(seat, place, depth, version, &mut ShardProbe::new(&self.clock, &mut self.stages));
    }

    fn show(&mut self, seat: usize, event: &Event) {
        self.host.show(seat, event, &mut ShardProbe::new(&self.clock, &mut self.stages));
    }
}

impl Turn for ConsumerShard {
    fn turn(&mut self, now_ns: u64) -> usize {
        let mut taken = 0;
        while let Some(command) = self.wire.take() {
            self.command(command);
            taken += 1;
        }
        taken += self.drain_critical();
        taken += self.drain(now_ns);
        taken += self.settle_orders();
        self.wire.flush();
        commands::pass_on_requests(&mut self.host, &mut self.wire);
        if now_ns >= self.status_at_ns {
            self.status_at_ns = now_ns + STATUS_EVERY_NS;
            self.tell(now_ns);
        }
        if taken > 0 {
            let took_ns = self.clock.now().saturating_sub(now_ns);
            self.stages.record(Stage::Turn, took_ns);
        }
        self.stages.turn(now_ns);
        taken
    }

    fn next_deadline_ns(&self) -> Option<u64> {
        let timer = self.host.deadline().map_or(u64::MAX, ReceiveTime::ns);
        Some(timer.min(self.status_at_ns))
    }

    fn ring_waiting(&self) -> bool {
        self.wire.has_command()
            || self.rings.iter().any(|ring| !ring.receiver.is_empty())
            || self.critical.iter().any(|ring| !ring.is_empty())
    }
}
