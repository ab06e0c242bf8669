//! The way of order events to one consumer shard: a ring, and behind it a reserve. Nothing is ever dropped here.
//!
//! A ring that is full means a consumer shard that does not turn. What it cannot take waits in the reserve, whose memory is
//! taken at start; the first event that has to wait raises an alarm. While the reserve is more than half full, no orders are
//! taken from that shard, so that it cannot outrun its own reports. Reports that the venue sends all the same make the
//! reserve grow beyond its memory rather than be lost.

use std::collections::VecDeque;

use engine::orders::OrderEvent;
use engine::ring::Sender;

use crate::machine::idle::Waker;

engine::counters! {
    /// What went to one consumer shard.
    pub struct CriticalCounts {
        /// Events that entered the ring.
        delivered_total,
        /// Of those: that had to wait for room.
        spilled_total,
        /// Times that the reserve began to fill: alarms.
        alarms_total,
        /// Most events that waited at once.
        waiting_max,
    }
}

/// The sending side of one critical ring.
pub struct CriticalLane {
    /// Index of the shard it leads to.
    pub shard: u8,
    sender: Sender<OrderEvent>,
    reserve: VecDeque<OrderEvent>,
    reserve_events: usize,
    waker: Waker,
    alarm: bool,
    /// What was counted.
    pub counts: CriticalCounts,
}

impl CriticalLane {
    /// A lane whose reserve holds four rings.
    pub fn new(shard: u8, sender: Sender<OrderEvent>, waker: Waker) -> Self {
        let reserve_events = sender.capacity() * 4;
        Self {
            shard,
            sender,
            reserve: VecDeque::with_capacity(reserve_events),
            reserve_events,
            waker,
            alarm: false,
            counts: CriticalCounts::default(),
        }
    }

    /// Sends an event, now or when there is room.
    #[inline]
    pub fn push(&mut self, event: &OrderEvent) {
        if self.reserve.is_empty() && self.sender.has_room(1) {
            self.sender.push(*event);
            self.counts.delivered_total += 1;
        } else {
            self.spill(event);
        }
    }

    #[cold]
    fn spill(&mut self, event: &OrderEvent) {
        if self.reserve.is_empty() {
            self.alarm = true;
            self.counts.alarms_total += 1;
        }
        self.reserve.push_back(*event);
        self.counts.spilled_total += 1;
        self.counts.waiting_max = self.counts.waiting_max.max(self.reserve.len() as u64);
    }

    /// Makes what was pushed visible and wakes the shard. Returns whether anything moved.
    #[inline]
    pub fn flush(&mut self) -> bool {
        while !self.reserve.is_empty() && self.sender.has_room(1) {
            let Some(event) = self.reserve.pop_front() else { break };
            self.sender.push(event);
            self.counts.delivered_total += 1;
        }
        let published = self.sender.publish();
        if published {
            self.waker.wake();
        }
        published
    }

    /// Whether events wait for room.
    pub fn is_behind(&self) -> bool {
        !self.reserve.is_empty()
    }

    /// Whether orders of that shard must wait.
    pub fn holds_orders(&self) -> bool {
        self.reserve.len() * 2 > self.reserve_events
    }

    /// Events that wait.
    pub fn waiting(&self) -> usize {
        self.reserve.len()
    }

    /// Whether the reserve began to fill since the last call.
    pub fn take_alarm(&mut self) -> bool {
        std::mem::take(&mut self.alarm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ids::ProviderId;
    use engine::orders::ExecReport;
    use engine::ring::ring;

    fn event(sequence: u64) -> OrderEvent {
        OrderEvent::Report(ExecReport { sequence, provider: ProviderId(1), ..ExecReport::default() })
    }

    #[test]
    fn a_shard_that_does_not_turn_loses_nothing_and_raises_one_alarm() {
        let (sender, mut receiver) = ring(4);
        let mut lane = CriticalLane::new(2, sender, Waker::new().expect("an eventfd"));
        let mut random = fastrand::Rng::with_seed(1);
        let (mut pushed, mut seen) = (0, Vec::new());
        // Far more than ring and reserve hold, while nobody takes anything.
        for _ in 0..100 {
            pushed += 1;
            lane.push(&event(pushed));
            lane.flush();
        }
        assert!(lane.is_behind() && lane.holds_orders() && lane.take_alarm() && !lane.take_alarm());
        while seen.len() < 300 {
            if pushed < 300 && random.bool() {
                pushed += 1;
                lane.push(&event(pushed));
            }
            lane.flush();
            receiver.drain(random.usize(0..5), |event| {
                if let OrderEvent::Report(report) = event {
                    seen.push(report.sequence);
                }
            });
        }
        assert_eq!(seen, (1..=300).collect::<Vec<u64>>(), "all, once, in order");
        assert!(!lane.is_behind() && !lane.holds_orders());
        assert_eq!(lane.counts.delivered_total, 300);
        assert!(lane.counts.waiting_max >= 96);
    }
}
