//! Where lossless events wait for a full ring: one queue a stream, all in one slab.
//!
//! Half of it is for whoever comes first. A quarter is divided equally between the consumers, for whichever of their
//! streams comes first, and a quarter between the consumers and equally between the streams of each: a loud one cannot fill
//! what a quiet one needs, nor a consumer with many what one with few needs.

use crate::event::Event;
use crate::ids::{ConsumerId, StreamId};

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
    /// Parts that it may hold in any case.
    own: usize,
    /// Its consumer's pool.
    pool: usize,
    /// Parts that are held out of that.
    pooled: usize,
    /// Parts that are held out of what is for whoever comes first.
    common: usize,
}

impl Default for Queue {
    /// All of the spill is its own until that is divided.
    fn default() -> Self {
        Self { head: NONE, tail: NONE, parts: 0, own: usize::MAX, pool: 0, pooled: 0, common: 0 }
    }
}

/// What the streams of one consumer share.
#[derive(Clone, Copy, Debug, Default)]
struct Pool {
    max: usize,
    used: usize,
}

/// The slab.
#[derive(Debug)]
pub(super) struct Spill {
    slots: Vec<(Event, u32)>,
    free: u32,
    max: usize,
    /// Parts that wait.
    used: usize,
    /// Parts that wait out of what is for whoever comes first.
    common_used: usize,
    pools: Vec<Pool>,
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
            pools: Vec::new(),
            used_max: 0,
        }
    }

    /// Routes have changed: who holds each stream under `lossless`, in the order of streams, and the queues of all streams.
    /// What waits already stays.
    pub fn divide<'a>(
        &mut self,
        lossless: impl Iterator<Item = (StreamId, &'a [Option<ConsumerId>])> + Clone,
        queues: impl Iterator<Item = &'a mut Queue>,
    ) {
        let mut streams_of: Vec<(Option<ConsumerId>, usize)> = Vec::new();
        for &consumer in lossless.clone().flat_map(|(_, holders)| holders) {
            match streams_of.iter_mut().find(|(known, _)| *known == consumer) {
                Some((_, streams)) => *streams += 1,
                None => streams_of.push((consumer, 1)),
            }
        }
        let quarter = self.max / 4 / streams_of.len().max(1);
        self.pools = vec![Pool { max: quarter, used: 0 }; streams_of.len().max(1)];
        self.common_used = 0;
        let mut lossless = lossless.peekable();
        for (stream, queue) in queues.enumerate() {
            let holders =
                lossless.next_if(|(of, _)| of.index() == stream).map_or(&[][..], |(_, holders)| holders);
            let pools =
                holders.iter().filter_map(|holder| streams_of.iter().position(|(known, _)| known == holder));
            let own = pools.clone().map(|pool| quarter / streams_of[pool].1).sum();
            // Of several consumers, the one with the fewest streams to share its pool with.
            let pool = pools.min_by_key(|&pool| streams_of[pool].1).unwrap_or(0);
            self.assign(queue, own, pool);
        }
    }

    /// A queue has so many parts of its own, and this consumer's pool.
    fn assign(&mut self, queue: &mut Queue, own: usize, pool: usize) {
        queue.own = own;
        queue.pool = pool;
        let beyond = queue.parts.saturating_sub(queue.own);
        let pool = &mut self.pools[pool];
        queue.pooled = beyond.min(pool.max.saturating_sub(pool.used));
        pool.used += queue.pooled;
        queue.common = beyond - queue.pooled;
        self.common_used += queue.common;
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
        let (own, pooled) = (queue.own_left(), self.pool_left(queue));
        let more = count.saturating_sub(own).saturating_sub(pooled);
        // An event that is larger than all that may wait alone.
        self.fits(count)
            && (more == 0 || self.common_used + more <= self.max - self.max / 2 || self.used == 0)
    }

    fn pool_left(&self, queue: &Queue) -> usize {
        self.pools.get(queue.pool).map_or(0, |pool| pool.max.saturating_sub(pool.used))
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
        if queue.own_left() == 0 {
            if self.pool_left(queue) > 0 {
                queue.pooled += 1;
                self.pools[queue.pool].used += 1;
            } else {
                queue.common += 1;
                self.common_used += 1;
            }
        }
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
        if queue.common > 0 {
            queue.common -= 1;
            self.common_used -= 1;
        } else if queue.pooled > 0 {
            queue.pooled -= 1;
            self.pools[queue.pool].used -= 1;
        }
        Some(event)
    }
}

impl Queue {
    /// Parts of its own that are free.
    fn own_left(&self) -> usize {
        self.own.saturating_sub(self.parts - self.pooled - self.common)
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
            let consumers = random.usize(1..=streams.min(2));
            let holders: Vec<_> =
                (0..streams).map(|stream| [Some(ConsumerId((stream % consumers) as u16))]).collect();
            let held = holders.iter().enumerate().map(|(stream, held)| (StreamId(stream as u32), &held[..]));
            spill.divide(held, queues.iter_mut());
            let of =
                |stream: usize| (0..streams).filter(|other| other % consumers == stream % consumers).count();
            let mut model = vec![VecDeque::new(); streams];
            for sequence in 0..1_000 {
                let stream = random.usize(0..streams);
                if random.bool() {
                    let admitted = spill.admits(&queues[stream], 1);
                    if model[stream].len() < max / 4 / consumers / of(stream) {
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
                let pooled: usize = queues.iter().map(|queue| queue.pooled).sum();
                assert_eq!(spill.pools.iter().map(|pool| pool.used).sum::<usize>(), pooled, "seed {seed}");
                assert_eq!(
                    queues.iter().map(|queue| queue.common).sum::<usize>(),
                    spill.common_used,
                    "seed {seed}"
                );
            }
        }
    }
}
