//! Where lossless events wait for a full ring: one queue a stream, all in one slab.
//!
//! Half of it is for whoever comes first. The other half is divided equally between the streams that may wait here, so that
//! a loud one cannot fill what a quiet one needs.

use crate::event::Event;

/// Parts whose memory is taken at start; a larger spill grows on its first use, which is no longer the path.
const RESERVE: usize = 8_192;

const NONE: u32 = u32::MAX;

/// What waits of one stream, oldest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    head: u32,
    tail: u32,
    /// Parts in it.
    pub parts: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self { head: NONE, tail: NONE, parts: 0 }
    }
}

/// The slab.
#[derive(Debug)]
pub(super) struct Spill {
    slots: Vec<(Event, u32)>,
    free: u32,
    max: usize,
    /// Parts that wait.
    used: usize,
    /// Parts that wait beyond what their streams may hold in any case.
    common_used: usize,
    /// Parts that each stream may hold in any case.
    own: usize,
    /// Most parts that ever waited.
    pub used_max: usize,
}

impl Spill {
    pub fn new(max: usize) -> Self {
        Self {
            slots: Vec::with_capacity(max.min(RESERVE)),
            free: NONE,
            max,
            used: 0,
            common_used: 0,
            own: max / 2,
            used_max: 0,
        }
    }

    /// So many streams may wait here. What waits already stays.
    pub fn divide<'a>(&mut self, streams: usize, queues: impl Iterator<Item = &'a Queue>) {
        self.own = self.max / 2 / streams.max(1);
        self.common_used = queues.map(|queue| queue.parts.saturating_sub(self.own)).sum();
    }

    pub fn used(&self) -> usize {
        self.used
    }

    /// Whether `count` parts more fit at all, whoever they are of.
    pub fn fits(&self, count: usize) -> bool {
        self.used + count <= self.max
    }

    /// Whether a stream may add `count` parts.
    pub fn admits(&self, queue: &Queue, count: usize) -> bool {
        let beyond = (queue.parts + count).saturating_sub(self.own);
        let more = beyond - queue.parts.saturating_sub(self.own);
        let common = self.max - self.max / 2;
        // An event that is larger than the common half may wait alone.
        self.fits(count) && (more == 0 || self.common_used + more <= common || self.used == 0)
    }

    pub fn push(&mut self, queue: &mut Queue, event: &Event) {
        let slot = if self.free == NONE {
            self.slots.push((*event, NONE));
            self.slots.len() as u32 - 1
        } else {
            let slot = self.free;
            self.free = self.slots[slot as usize].1;
            self.slots[slot as usize] = (*event, NONE);
            slot
        };
        if queue.parts == 0 {
            queue.head = slot;
        } else {
            self.slots[queue.tail as usize].1 = slot;
        }
        queue.tail = slot;
        self.common_used += usize::from(queue.parts >= self.own);
        queue.parts += 1;
        self.used += 1;
        self.used_max = self.used_max.max(self.used);
    }

    /// Parts of the oldest event.
    pub fn front_parts(&self, queue: &Queue) -> usize {
        let (mut slot, mut parts) = (queue.head, 1);
        while !self.slots[slot as usize].0.completes() {
            slot = self.slots[slot as usize].1;
            parts += 1;
        }
        parts
    }

    /// The oldest part.
    pub fn pop(&mut self, queue: &mut Queue) -> Option<Event> {
        if queue.parts == 0 {
            return None;
        }
        let slot = queue.head;
        let (event, next) = self.slots[slot as usize];
        (self.slots[slot as usize].1, self.free) = (self.free, slot);
        queue.head = next;
        queue.parts -= 1;
        self.used -= 1;
        self.common_used -= usize::from(queue.parts >= self.own);
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn random_operations_agree_with_a_queue_for_each_stream() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (max, streams) = (random.usize(4..60), random.usize(1..6));
            let mut spill = Spill::new(max);
            let mut queues = vec![Queue::default(); streams];
            spill.divide(streams, queues.iter());
            let mut model = vec![VecDeque::new(); streams];
            for sequence in 0..1_000 {
                let stream = random.usize(0..streams);
                if random.bool() {
                    let own = max / 2 / streams;
                    let admitted = spill.admits(&queues[stream], 1);
                    if model[stream].len() < own {
                        assert!(admitted, "seed {seed}: what is a stream's own is kept for it");
                    }
                    if admitted {
                        let mut event = Event::default();
                        event.header.sequence_last = sequence;
                        spill.push(&mut queues[stream], &event);
                        model[stream].push_back(sequence);
                    }
                } else {
                    let popped = spill.pop(&mut queues[stream]).map(|event| event.header.sequence_last);
                    assert_eq!(popped, model[stream].pop_front(), "seed {seed}");
                }
                let used: usize = model.iter().map(VecDeque::len).sum();
                assert_eq!(spill.used(), used, "seed {seed}");
                assert!(used <= max, "seed {seed}");
                assert_eq!(queues[stream].parts, model[stream].len(), "seed {seed}");
            }
        }
    }
}
