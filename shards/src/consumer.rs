//! A consumer shard: drains its rings in batches and lends each event to the consumers that want it.

use engine::consumer::Host;
use engine::event::Event;
use engine::ring::Receiver;
use engine::time::ReceiveTime;

use crate::machine::clock::Clock;
use crate::machine::executor::Turn;
use crate::probe::ShardProbe;
use crate::report_of::ConsumerShardSummary;
use crate::stages::{ShardStages, Stage};
use crate::status::{ConsumerStatus, SEATS_MAX, STATUS_EVERY_NS, SeatStatus, Status};

/// Events taken off one ring before the next has its turn.
const EVENTS_PER_DRAIN_MAX: usize = 256;

/// Between two looks at the clock while a batch is handled, in event parts.
const EVENTS_PER_LOOK: usize = 8;
/// A batch ends early when its handlers have taken this long, in nanoseconds: a slow one must not keep the shard from its
/// timers, its status and the order to stop.
const BATCH_NS_MAX: u64 = 10_000_000;

/// A shard with its consumers.
pub struct ConsumerShard {
    index: u8,
    host: Host,
    rings: Vec<Receiver<Event>>,
    clock: Clock,
    stages: ShardStages,
    statuses: rtrb::Producer<Status>,
    status_at_ns: u64,
    received_total: u64,
}

impl ConsumerShard {
    /// A shard of the topology's number `index`, with its consumers and the rings that end here.
    pub fn new(
        index: u8,
        host: Host,
        rings: Vec<Receiver<Event>>,
        stages: ShardStages,
        statuses: rtrb::Producer<Status>,
    ) -> Self {
        Self { index, host, rings, clock: Clock::new(), stages, statuses, status_at_ns: 0, received_total: 0 }
    }

    /// Drains what the senders left, until they are gone and the rings are empty or `deadline_ns` has come. Returns
    /// what it counted.
    pub fn finish(mut self, deadline_ns: u64) -> ConsumerShardSummary {
        loop {
            let gone = self.rings.iter().all(Receiver::is_abandoned);
            let now_ns = self.clock.now();
            let taken = self.drain(now_ns);
            if gone && taken == 0 || now_ns >= deadline_ns {
                break;
            }
            if taken == 0 {
                std::thread::yield_now();
            }
        }
        let now_ns = self.clock.now();
        self.host.stop(ReceiveTime::from_ns(now_ns));
        let left = self.rings.iter().map(|ring| ring.depth() as u64).sum();
        let summary = ConsumerShardSummary::of(self.index, &self.host, self.received_total, left);
        self.stages.finish(now_ns);
        summary
    }

    #[inline]
    fn drain(&mut self, now_ns: u64) -> usize {
        let mut taken = 0;
        for ring in &mut self.rings {
            let mut probe = ShardProbe::new(&self.clock, &mut self.stages);
            let host = &mut self.host;
            let clock = &self.clock;
            let mut until_look = EVENTS_PER_LOOK;
            taken += ring.drain_while(EVENTS_PER_DRAIN_MAX, |event| {
                host.deliver(event, &mut probe);
                until_look -= 1;
                if until_look > 0 {
                    return true;
                }
                until_look = EVENTS_PER_LOOK;
                clock.now().saturating_sub(now_ns) < BATCH_NS_MAX
            });
        }
        self.received_total += taken as u64;
        self.host.batch_end(taken, ReceiveTime::from_ns(now_ns));
        taken
    }

    fn tell(&mut self) {
        let mut status = ConsumerStatus {
            shard: self.index,
            received_total: self.received_total,
            seat_count: 0,
            seats: [SeatStatus::default(); SEATS_MAX],
        };
        for (slot, (_, counts, up)) in status.seats.iter_mut().zip(self.host.seats()) {
            *slot = SeatStatus { counts: *counts, up };
            status.seat_count += 1;
        }
        // A supervisor that is behind gets the next one.
        let _ = self.statuses.push(Status::Consumer(status));
    }
}

impl Turn for ConsumerShard {
    fn turn(&mut self, now_ns: u64) -> usize {
        let taken = self.drain(now_ns);
        if now_ns >= self.status_at_ns {
            self.status_at_ns = now_ns + STATUS_EVERY_NS;
            self.tell();
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
        self.rings.iter().any(|ring| !ring.is_empty())
    }
}
