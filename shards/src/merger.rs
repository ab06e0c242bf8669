//! A merge shard: drains the rings of providers into the engine's merger and sends what it joins to consumer shards.
//!
//! Rules and routes change at the beginning of a turn, as the control thread says ([`commands`]). What is joined, and when a
//! window is complete, is decided in `engine::merge`; this file moves events and tells how it stands.

pub mod commands;

use engine::event::Event;
use engine::ids::ProviderId;
use engine::merge::Merger;
use engine::ring::Receiver;
use engine::time::ReceiveTime;

use crate::control::link::{Numbered, ShardEnd};
use crate::machine::clock::Clock;
use crate::machine::executor::Turn;
use crate::machine::idle::Waker;
use crate::report_of::MergerSummary;
use crate::stages::{ShardStages, Stage};
use crate::status::{MergerStatus, OUTPUTS_MAX, OutputStatus, RuleStatus, STATUS_EVERY_NS, Status};
use crate::topology::bounds::{MERGES_MAX, PROVIDERS_MAX};

/// Events taken off one ring before the next has its turn.
const EVENTS_PER_DRAIN_MAX: usize = 256;
/// While events wait for a full ring of a consumer shard, it is tried again after this time, in nanoseconds.
const LOOK_AGAIN_NS: u64 = 1_000_000;

/// A shard with its merge rules.
pub struct MergerShard {
    index: u8,
    merger: Merger,
    /// By the merger's input number: whose it is, and its ring.
    rings: Vec<(ProviderId, Receiver<Event>)>,
    /// Wakes the consumer shard behind each output.
    wakers: Vec<Waker>,
    clock: Clock,
    stages: ShardStages,
    statuses: rtrb::Producer<Status>,
    status_at_ns: u64,
    /// When a full ring is tried again; `u64::MAX` while none is full.
    look_again_ns: u64,
    received_total: u64,
    /// By provider number: suppressed windows that lacked it.
    missed_by_provider: Vec<u64>,
    wire: ShardEnd,
}

impl MergerShard {
    /// A shard of the topology's number `index`. The merger has one input for each ring, in their order, and its rules
    /// and routes; `wakers` are those of its outputs.
    pub fn new(
        index: u8,
        merger: Merger,
        rings: Vec<(ProviderId, Receiver<Event>)>,
        wakers: Vec<Waker>,
        stages: ShardStages,
        statuses: rtrb::Producer<Status>,
        wire: ShardEnd,
    ) -> Self {
        Self {
            index,
            merger,
            rings,
            wakers,
            clock: Clock::new(),
            stages,
            statuses,
            status_at_ns: 0,
            look_again_ns: u64::MAX,
            received_total: 0,
            missed_by_provider: vec![0; PROVIDERS_MAX],
            wire,
        }
    }

    /// Joins what the providers left, until they are gone and the rings are empty or `deadline_ns` has come, and sends
    /// it. Windows that are still open are discarded. Returns what it counted.
    pub fn finish(mut self, deadline_ns: u64) -> MergerSummary {
        loop {
            let gone = self.rings.iter().all(|(_, ring)| ring.is_abandoned());
            let taken = self.drain();
            let now_ns = self.clock.now();
            self.timeout(now_ns);
            self.publish(now_ns);
            let empty = self.rings.iter().all(|(_, ring)| ring.is_empty());
            if gone && empty || now_ns >= deadline_ns {
                break;
            }
            if taken == 0 {
                std::thread::yield_now();
            }
        }
        self.merger.finish(ReceiveTime::from_ns(self.clock.now()));
        loop {
            let now_ns = self.clock.now();
            self.publish(now_ns);
            if !self.merger.dispatcher.is_congested() || now_ns >= deadline_ns {
                break;
            }
            std::thread::yield_now();
        }
        let left = self.rings.iter().map(|(_, ring)| ring.depth() as u64).sum();
        let summary =
            MergerSummary::of(self.index, &self.merger, self.received_total, left, &self.missed_by_provider);
        self.stages.finish(self.clock.now());
        summary
    }

    #[inline]
    fn drain(&mut self) -> usize {
        let mut taken = 0;
        for (input, (_, ring)) in self.rings.iter_mut().enumerate() {
            if ring.is_empty() {
                continue;
            }
            let now = ReceiveTime::from_ns(self.clock.now());
            let merger = &mut self.merger;
            let room = merger.room(input).min(EVENTS_PER_DRAIN_MAX);
            taken += ring.drain(room, |event| merger.on_event(input, event, now));
        }
        self.received_total += taken as u64;
        taken
    }

    /// Whether a wait was over.
    #[inline]
    fn timeout(&mut self, now_ns: u64) -> bool {
        let now = ReceiveTime::from_ns(now_ns);
        let due = self.merger.deadline().is_some_and(|at| now >= at);
        if due {
            self.merger.timeout(now);
        }
        due
    }

    #[inline]
    fn publish(&mut self, now_ns: u64) {
        let (wakers, stages) = (&self.wakers, &mut self.stages);
        self.merger.flush(|output| {
            wakers[output].wake();
        });
        self.merger.drain_latencies(|ns| stages.record(Stage::ReceiveToMerged, ns));
        while let Some(suppressed) = self.merger.poll_suppressed() {
            for provider in &suppressed.missing {
                self.missed_by_provider[provider.index()] += 1;
            }
        }
        let congested = self.merger.dispatcher.is_congested();
        self.look_again_ns = if congested { now_ns + LOOK_AGAIN_NS } else { u64::MAX };
    }

    #[cold]
    fn command(&mut self, Numbered { number, command }: Numbered) {
        let (rings, wakers) = (&mut self.rings, &mut self.wakers);
        let reply = commands::obey(
            &mut self.merger,
            command,
            |provider, ring| rings.push((provider, ring)),
            |opened| wakers.push(opened.waker),
        );
        self.wire.reply(number, reply);
    }

    fn tell(&mut self) {
        let merger = &self.merger;
        let (merges, open_events) = merger.totals();
        let lagging = (0..self.rings.len()).filter(|&input| merger.is_lagging(input)).count();
        let mut status = MergerStatus {
            shard: self.index,
            received_total: self.received_total,
            counts: *merger.counts(),
            merges,
            open_events,
            inputs_lagging: lagging as u8,
            rule_count: merger.rules().count().min(MERGES_MAX) as u8,
            rules: [RuleStatus::default(); MERGES_MAX],
            routing_version: merger.dispatcher.routing.version(),
            pools: [merger.pools().events.usage(), merger.pools().merged.usage()]
                .map(|usage| (usage.out as u32, usage.capacity as u32)),
            letters_total: merger.dispatcher.letters.written_total(),
            missed_by_provider: [0; PROVIDERS_MAX],
            output_count: self.wakers.len().min(OUTPUTS_MAX) as u8,
            outputs: [OutputStatus::default(); OUTPUTS_MAX],
        };
        status.missed_by_provider.copy_from_slice(&self.missed_by_provider);
        for (slot, (rule, streams)) in status.rules.iter_mut().zip(merger.rules()) {
            *slot = RuleStatus::named(&rule.name);
            for &stream in streams {
                let (counts, open) = merger.merge_counts(stream);
                slot.counts.add(&counts);
                slot.open_events += open;
            }
        }
        for (output, (slot, shard)) in status.outputs.iter_mut().zip(merger.dispatcher.shards()).enumerate() {
            let (counts, in_flight) = merger.dispatcher.output_counts(output);
            let state = merger.dispatcher.output_state(output);
            *slot = OutputStatus { shard: shard.0, state, counts, in_flight };
        }
        // A supervisor that is behind gets the next one.
        let _ = self.statuses.push(Status::Merger(status));
    }
}

impl Turn for MergerShard {
    fn turn(&mut self, now_ns: u64) -> usize {
        let mut worked = 0;
        while let Some(command) = self.wire.take() {
            self.command(command);
            worked += 1;
        }
        self.wire.flush();
        worked += self.drain();
        worked += usize::from(self.timeout(now_ns));
        self.publish(now_ns);
        if now_ns >= self.status_at_ns {
            self.status_at_ns = now_ns + STATUS_EVERY_NS;
            self.tell();
        }
        if worked > 0 {
            let took_ns = self.clock.now().saturating_sub(now_ns);
            self.stages.record(Stage::Turn, took_ns);
        }
        self.stages.turn(now_ns);
        worked
    }

    fn next_deadline_ns(&self) -> Option<u64> {
        let merger = self.merger.deadline().map_or(u64::MAX, ReceiveTime::ns);
        Some(merger.min(self.status_at_ns).min(self.look_again_ns))
    }

    /// A ring whose events the merger has no room for yet is no reason to stay awake: room comes with another input's
    /// events, or with the deadline.
    fn ring_waiting(&self) -> bool {
        let waits = |(input, (_, ring)): (usize, &(ProviderId, Receiver<Event>))| {
            !ring.is_empty() && self.merger.room(input) > 0
        };
        self.wire.has_command() || self.rings.iter().enumerate().any(waits)
    }
}
