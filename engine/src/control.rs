//! What consumers ask of the control bus, and what it answers them.
//!
//! A request leaves a handler through [`Context`](crate::consumer::Context), waits in a bounded queue until the batch is
//! over, and is carried out by whoever controls the gateway; nothing here decides. The two answers are critical events.

use std::collections::VecDeque;

use crate::channel::Channel;
use crate::ids::{ConsumerId, ProviderId};
use crate::merge::MergeKind;
use crate::routing::Delivery;

/// Bytes of the longest canonical symbol that a request may name.
pub const SYMBOL_BYTES_MAX: usize = 32;
/// Requests of one shard's consumers that may wait for the end of the batch.
pub const REQUESTS_MAX: usize = 64;

/// One stream that a consumer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whose.
    pub provider: ProviderId,
    /// Canonical symbol, for example `BTC-USDT`.
    pub symbol: heapless::String<SYMBOL_BYTES_MAX>,
    /// The kind of feed.
    pub channel: Channel,
    /// What a full ring means; `None` for the channel's own rule.
    pub delivery: Option<Delivery>,
    /// Levels a side of a book; `None` for all that the provider keeps.
    pub book_depth: Option<usize>,
}

impl Wanted {
    /// A stream at its channel's own rule and full depth; `None` if the symbol is longer than [`SYMBOL_BYTES_MAX`].
    pub fn new(provider: ProviderId, symbol: &str, channel: Channel) -> Option<Self> {
        let symbol = heapless::String::try_from(symbol).ok()?;
        Some(Self { provider, symbol, channel, delivery: None, book_depth: None })
    }
}

/// Merged streams that a consumer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeWanted {
    /// The rule's name: up to 32 of a-z, 0-9 and _, a letter first.
    pub name: String,
    /// The rule, to be made if there is none of this name; `None` for one that is there. Another rule of the same name is
    /// a refusal.
    pub rule: Option<WantedRule>,
    /// What a full ring means: lossless (`None` too) or latest.
    pub delivery: Option<Delivery>,
}

/// A merge rule, by symbols. One that a consumer asked for ends with its last consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedRule {
    /// What is joined.
    pub kind: MergeKind,
    /// Providers with equally many canonical symbols each: the n-th of all are joined.
    pub inputs: Vec<(ProviderId, Vec<String>)>,
    /// Length of a window, in nanoseconds; a best bid and offer has none.
    pub window_ns: u64,
    /// Events that close a window early; a best bid and offer has none.
    pub count: u32,
    /// Age at which a leg of a best bid and offer is given up, in nanoseconds; `u64::MAX` for never.
    pub leg_age_ns_max: u64,
}

/// What a consumer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Begin to receive a stream.
    Subscribe(Wanted),
    /// Receive a stream no longer.
    Unsubscribe(Wanted),
    /// Begin to receive what a merge rule joins.
    Merge(Box<MergeWanted>),
    /// Receive the merged streams of the rule of this name no longer.
    Unmerge(String),
    /// Its own trading switch.
    Trading(bool),
}

/// A consumer's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub consumer: ConsumerId,
    /// Its number, counted from 1 over all consumers of the shard.
    pub number: u64,
    /// For what.
    pub ask: Ask,
}

/// Too many requests wait: ask again after the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{REQUESTS_MAX} requests wait already")]
pub struct RequestsFull;

/// Requests of one shard's consumers that wait for the end of the batch.
#[derive(Debug)]
pub struct Requests {
    waiting: VecDeque<Request>,
    asked_total: u64,
}

impl Default for Requests {
    fn default() -> Self {
        Self { waiting: VecDeque::with_capacity(REQUESTS_MAX), asked_total: 0 }
    }
}

impl Requests {
    /// Puts a request behind the others and returns its number.
    ///
    /// # Errors
    /// [`RequestsFull`]
    pub fn ask(&mut self, consumer: ConsumerId, ask: Ask) -> Result<u64, RequestsFull> {
        if self.waiting.len() == REQUESTS_MAX {
            return Err(RequestsFull);
        }
        self.asked_total += 1;
        self.waiting.push_back(Request { consumer, number: self.asked_total, ask });
        Ok(self.asked_total)
    }

    /// The oldest request.
    pub fn poll(&mut self) -> Option<Request> {
        self.waiting.pop_front()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_keep_their_order_and_are_bounded() {
        let mut requests = Requests::default();
        for number in 1..=REQUESTS_MAX as u64 {
            assert_eq!(requests.ask(ConsumerId(3), Ask::Trading(true)), Ok(number));
        }
        assert_eq!(requests.ask(ConsumerId(3), Ask::Trading(true)), Err(RequestsFull));
        let first = requests.poll().expect("some wait");
        assert_eq!((first.number, first.consumer), (1, ConsumerId(3)));
        assert_eq!(requests.poll().map(|request| request.number), Some(2));
    }

    #[test]
    fn a_symbol_beyond_its_room_is_refused() {
        let long = "X".repeat(SYMBOL_BYTES_MAX + 1);
        assert!(Wanted::new(ProviderId(0), &long, Channel::Trade).is_none());
        assert!(Wanted::new(ProviderId(0), "BTC-USDT", Channel::Trade).is_some());
    }
}
