//! The only place where shards meet: a ring with one sender and one receiver, over `rtrb`.
//!
//! The sender stages events and publishes them once per read batch: on cores that do not share a cache this carries
//! three times as many events as publishing each (measured: 32 against 10 million a second).
//! What happens when a ring is full is not decided here; [`dispatch`](crate::dispatch) does.
//!
//! ```
//! let (mut sender, mut receiver) = engine::ring::ring::<u64>(4);
//!
//! // Three items enter together or not at all: ask first.
//! assert!(sender.has_room(3));
//! (1..=3).for_each(|item| sender.push(item));
//! assert_eq!(receiver.pop(), None, "staged, not yet published");
//! sender.publish();
//! assert!(!sender.has_room(2), "one slot is free");
//!
//! let mut seen = Vec::new();
//! assert_eq!(receiver.drain(16, |item| seen.push(*item)), 3);
//! assert_eq!(seen, [1, 2, 3]);
//! assert!(sender.has_room(4));
//! ```

use rtrb::{Consumer, Producer, RingBuffer};

/// Events staged before they are published in any case: at most this many wait for the end of a read batch.
pub const STAGED_MAX: usize = 32;

/// Makes a ring for `capacity` items. All its memory is taken here.
pub fn ring<T: Copy>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (producer, consumer) = RingBuffer::new(capacity);
    let sender = Sender {
        free: capacity,
        capacity,
        producer,
        staged: Vec::with_capacity(STAGED_MAX),
        pushed_total: 0,
    };
    (sender, Receiver { consumer, capacity, popped_total: 0 })
}

/// The sending end; lives on one shard.
#[derive(Debug)]
pub struct Sender<T: Copy> {
    producer: Producer<T>,
    staged: Vec<T>,
    /// Slots known to be free, the staged ones taken off; a lower bound, refreshed when it runs out.
    free: usize,
    capacity: usize,
    pushed_total: u64,
}

impl<T: Copy> Sender<T> {
    /// Whether `count` more items fit.
    #[inline]
    pub fn has_room(&mut self, count: usize) -> bool {
        if self.free < count {
            self.free = self.producer.slots() - self.staged.len();
        }
        self.free >= count
    }

    /// Stages an item, and publishes when [`STAGED_MAX`] are staged. Call [`has_room`](Self::has_room) first.
    ///
    /// # Panics
    /// If the ring has no room: the caller did not ask.
    #[inline]
    pub fn push(&mut self, item: T) {
        assert!(self.free > 0, "a push follows has_room");
        self.free -= 1;
        self.pushed_total += 1;
        self.staged.push(item);
        if self.staged.len() == STAGED_MAX {
            self.publish();
        }
    }

    /// Makes all staged items visible to the receiver; returns whether there were any.
    #[inline]
    pub fn publish(&mut self) -> bool {
        if self.staged.is_empty() {
            return false;
        }
        self.producer.push_entire_slice(&self.staged).expect("room was checked when each item was staged");
        self.staged.clear();
        true
    }

    /// Items in the ring or staged, at most: the receiver may have taken some meanwhile.
    pub fn depth(&self) -> usize {
        self.capacity - self.producer.slots() + self.staged.len()
    }

    /// Items that fit in all.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Items pushed so far.
    pub const fn pushed_total(&self) -> u64 {
        self.pushed_total
    }

    /// Whether the receiving end is gone.
    pub fn is_abandoned(&self) -> bool {
        self.producer.is_abandoned()
    }
}

/// The receiving end; lives on one shard.
#[derive(Debug)]
pub struct Receiver<T: Copy> {
    consumer: Consumer<T>,
    capacity: usize,
    popped_total: u64,
}

impl<T: Copy> Receiver<T> {
    /// Lends at most `count_max` items to `use_item`, in order and in place, and then frees their slots together.
    /// Returns how many.
    #[inline]
    pub fn drain(&mut self, count_max: usize, mut use_item: impl FnMut(&T)) -> usize {
        self.drain_while(count_max, |item| {
            use_item(item);
            true
        })
    }

    /// As [`drain`](Self::drain), and ends after the first item for which `use_item` says `false`.
    #[inline]
    pub fn drain_while(&mut self, count_max: usize, mut use_item: impl FnMut(&T) -> bool) -> usize {
        let count = self.consumer.slots().min(count_max);
        if count == 0 {
            return 0;
        }
        let chunk = self.consumer.read_chunk(count).expect("at most as many as there are");
        let (front, back) = chunk.as_slices();
        let mut used = 0;
        for item in front.iter().chain(back) {
            used += 1;
            if !use_item(item) {
                break;
            }
        }
        chunk.commit(used);
        self.popped_total += used as u64;
        used
    }

    /// The next item, copied out.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        let item = self.consumer.pop().ok()?;
        self.popped_total += 1;
        Some(item)
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.consumer.is_empty()
    }

    /// The oldest item.
    pub fn front(&self) -> Option<&T> {
        self.consumer.peek().ok()
    }

    /// Items that wait.
    pub fn depth(&self) -> usize {
        self.consumer.slots()
    }

    /// Items that fit in all.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Items taken so far.
    pub const fn popped_total(&self) -> u64 {
        self.popped_total
    }

    /// Whether the sending end is gone; what it published before can still be taken.
    pub fn is_abandoned(&self) -> bool {
        self.consumer.is_abandoned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn staged_items_are_seen_when_they_are_published() {
        let (mut sender, mut receiver) = ring(64);
        assert!(sender.has_room(2));
        sender.push(1);
        sender.push(2);
        assert!(receiver.is_empty());
        assert!(sender.publish());
        assert!(!sender.publish());
        let mut seen = Vec::new();
        assert_eq!(receiver.drain(10, |item| seen.push(*item)), 2);
        assert_eq!(seen, [1, 2]);
    }

    #[test]
    fn random_operations_agree_with_a_queue() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let capacity = random.usize(1..80);
            let (mut sender, mut receiver) = ring(capacity);
            let (mut staged, mut published) = (VecDeque::new(), VecDeque::new());
            for number in 0..2_000_u32 {
                match random.u8(0..4) {
                    0 | 1 => {
                        let room = sender.has_room(1);
                        assert_eq!(room, staged.len() + published.len() < capacity, "seed {seed}");
                        if room {
                            sender.push(number);
                            staged.push_back(number);
                            if staged.len() == STAGED_MAX {
                                published.append(&mut staged);
                            }
                        }
                    }
                    2 => {
                        assert_eq!(sender.publish(), !staged.is_empty(), "seed {seed}");
                        published.append(&mut staged);
                    }
                    _ => {
                        let count_max = random.usize(0..20);
                        let mut seen = Vec::new();
                        receiver.drain(count_max, |item| seen.push(*item));
                        let count = published.len().min(count_max);
                        let expected: Vec<u32> = published.drain(..count).collect();
                        assert_eq!(seen, expected, "seed {seed}");
                    }
                }
                assert_eq!(sender.depth(), staged.len() + published.len(), "seed {seed}");
            }
        }
    }
}
