//! Dead letters: what could not be decoded or delivered, and why. For operators only; nobody acts on it.
//!
//! Bounded. When it is full the oldest letter of low priority goes first, so that a flood of undecodable market data
//! never pushes out a refused order.

use std::collections::VecDeque;

use crate::ids::{ConsumerId, ProviderId, ShardId, StreamId, TraceId};
use crate::time::ReceiveTime;

/// Bytes of the offending text that a letter keeps.
pub const EXCERPT_BYTES: usize = 96;

/// Why there is a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// A frame or REST body could not be decoded; the decoder's name for it.
    Undecodable(&'static str),
    /// The venue refused a request.
    Refused,
    /// A consumer shard did not drain its ring in time.
    SlowConsumer,
    /// No pool slot was free.
    PoolEmpty,
    /// A consumer's handler panicked on it.
    HandlerPanicked,
    /// A WebSocket rule was broken.
    Protocol(&'static str),
}

impl DeadReason {
    /// The name under which it is counted and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Undecodable(what) | Self::Protocol(what) => what,
            Self::Refused => "refused",
            Self::SlowConsumer => "slow_consumer",
            Self::PoolEmpty => "pool_empty",
            Self::HandlerPanicked => "handler_panicked",
        }
    }
}

/// How long a letter is kept under pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Market data.
    Low,
    /// Orders, reports, control.
    High,
}

/// One letter.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Why.
    pub reason: DeadReason,
    /// How long it is kept under pressure.
    pub priority: Priority,
    /// When it was written.
    pub at: ReceiveTime,
    /// Whose data it was.
    pub provider: Option<ProviderId>,
    /// Which stream, where that is known.
    pub stream: Option<StreamId>,
    /// Which shard did not get it, where one did not.
    pub shard: Option<ShardId>,
    /// Which consumer failed on it, where one did.
    pub consumer: Option<ConsumerId>,
    /// The frame it came from.
    pub trace: TraceId,
    /// The first bytes of the text, if there was one.
    pub excerpt: heapless::Vec<u8, EXCERPT_BYTES>,
}

impl DeadLetter {
    /// A letter about `trace` with nothing else filled in.
    pub fn new(reason: DeadReason, priority: Priority, at: ReceiveTime, trace: TraceId) -> Self {
        Self {
            reason,
            priority,
            at,
            provider: None,
            stream: None,
            shard: None,
            consumer: None,
            trace,
            excerpt: heapless::Vec::new(),
        }
    }

    /// With the first bytes of `text`.
    #[must_use]
    pub fn with_excerpt(mut self, text: &[u8]) -> Self {
        self.excerpt.clear();
        let count = text.len().min(EXCERPT_BYTES);
        let fits = self.excerpt.extend_from_slice(&text[..count]);
        debug_assert!(fits.is_ok(), "the text was cut to fit");
        self
    }
}

/// The bounded queue of one shard.
#[derive(Debug)]
pub struct DeadLetters {
    low: VecDeque<DeadLetter>,
    high: VecDeque<DeadLetter>,
    capacity: usize,
    written_total: u64,
    evicted_total: u64,
}

impl DeadLetters {
    /// Room for `capacity` letters of both priorities together; taken here.
    pub fn new(capacity: usize) -> Self {
        Self {
            low: VecDeque::with_capacity(capacity),
            high: VecDeque::with_capacity(capacity),
            capacity,
            written_total: 0,
            evicted_total: 0,
        }
    }

    /// Writes a letter; when full, the oldest of low priority goes, and only then the oldest of high priority. A letter
    /// of low priority never pushes out one of high.
    #[cold]
    pub fn write(&mut self, letter: DeadLetter) {
        self.written_total += 1;
        if self.low.len() + self.high.len() >= self.capacity {
            self.evicted_total += 1;
            let evicted = self.low.pop_front().is_some();
            if !evicted && (letter.priority == Priority::Low || self.high.pop_front().is_none()) {
                return;
            }
        }
        match letter.priority {
            Priority::Low => self.low.push_back(letter),
            Priority::High => self.high.push_back(letter),
        }
    }

    /// All letters that are kept: high priority first, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &DeadLetter> + '_ {
        self.high.iter().chain(&self.low)
    }

    /// Letters kept.
    pub fn len(&self) -> usize {
        self.low.len() + self.high.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Letters written so far.
    pub const fn written_total(&self) -> u64 {
        self.written_total
    }

    /// Letters that had to go, or never got in.
    pub const fn evicted_total(&self) -> u64 {
        self.evicted_total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes letters (`l` low, `h` high, numbered by their time) into room for three; says which are left.
    fn check(input: &str, expected: &[u64], evicted: u64) {
        let mut letters = DeadLetters::new(3);
        for (number, kind) in input.chars().enumerate() {
            let priority = if kind == 'h' { Priority::High } else { Priority::Low };
            let at = ReceiveTime::from_ns(number as u64);
            letters.write(DeadLetter::new(DeadReason::Refused, priority, at, TraceId::default()));
        }
        assert_eq!(letters.iter().map(|letter| letter.at.ns()).collect::<Vec<_>>(), expected, "{input}");
        assert_eq!(letters.evicted_total(), evicted, "{input}");
        assert_eq!(letters.written_total(), input.len() as u64);
    }

    #[test]
    fn the_oldest_of_low_priority_goes_first() {
        check("lll", &[0, 1, 2], 0);
        check("llll", &[1, 2, 3], 1);
        check("hlhl", &[0, 2, 3], 1);
        check("hlhh", &[0, 2, 3], 1);
        check("hhhh", &[1, 2, 3], 1);
        check("hhhl", &[0, 1, 2], 1);
    }

    #[test]
    fn an_excerpt_is_cut_to_its_room() {
        let letter =
            DeadLetter::new(DeadReason::Refused, Priority::Low, ReceiveTime::default(), TraceId::default());
        assert_eq!(letter.with_excerpt(&[b'x'; 500]).excerpt.len(), EXCERPT_BYTES);
    }
}
