//! Who may trade: a switch for each consumer, and a kill switch over all of them.
//!
//! Moved by the control thread, and by a consumer's own shard when it panicked; read by whoever sends orders, before each
//! one. An order leaves only while the consumer's own switch is on and no kill switch is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use engine::ids::ConsumerId;
use engine::orders::MayTrade;

use crate::machine::idle::Waker;

/// The switches of one gateway; shared behind an `Arc`.
#[derive(Debug)]
pub struct Switches {
    killed_all: AtomicBool,
    seats: Box<[Seat]>,
    /// Rises with every move, after it.
    version: AtomicU64,
    /// Shards that act on a move.
    wakers: Vec<Waker>,
}

#[derive(Debug)]
struct Seat {
    trading: AtomicBool,
    killed: AtomicBool,
    /// How often it was lost.
    losses: AtomicU64,
}

impl Switches {
    /// Switches of consumers by their index in the topology, each with its position at start; nobody is killed.
    pub fn new(trading: impl IntoIterator<Item = bool>) -> Self {
        let seat = |trading| Seat {
            trading: AtomicBool::new(trading),
            killed: AtomicBool::new(false),
            losses: AtomicU64::new(0),
        };
        Self {
            killed_all: AtomicBool::new(false),
            seats: trading.into_iter().map(seat).collect(),
            version: AtomicU64::new(1),
            wakers: Vec::new(),
        }
    }

    /// The same, waking these shards at every move.
    #[must_use]
    pub fn with_wakers(mut self, wakers: Vec<Waker>) -> Self {
        self.wakers = wakers;
        self
    }

    /// Another number after each move: who has seen it need not look at the switches again.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn moved(&self, moved: bool) -> bool {
        if moved {
            self.version.fetch_add(1, Ordering::AcqRel);
            self.wakers.iter().for_each(|waker| {
                waker.wake();
            });
        }
        moved
    }

    /// Whether an order of this consumer may leave now. A consumer that is not known may not.
    #[inline]
    pub fn may_trade(&self, consumer: usize) -> bool {
        // Acquire pairs with Release in the setters: whoever sees a switch sees what led to it.
        !self.killed_all.load(Ordering::Acquire)
            && self.seats.get(consumer).is_some_and(|seat| {
                seat.trading.load(Ordering::Acquire) && !seat.killed.load(Ordering::Acquire)
            })
    }

    /// The consumer's own switch.
    pub fn trading(&self, consumer: usize) -> bool {
        self.seats.get(consumer).is_some_and(|seat| seat.trading.load(Ordering::Acquire))
    }

    /// Moves a consumer's own switch. Returns whether it stood otherwise; a kill switch stays as it is.
    pub fn set_trading(&self, consumer: usize, on: bool) -> bool {
        self.moved(self.seats.get(consumer).is_some_and(|seat| seat.trading.swap(on, Ordering::AcqRel) != on))
    }

    /// A consumer panicked: its own switch goes off, and every provider cancels what it has open. It stays off until
    /// somebody moves it, whether a fresh consumer takes its place or none.
    pub fn consumer_lost(&self, consumer: usize) {
        let Some(seat) = self.seats.get(consumer) else { return };
        seat.trading.store(false, Ordering::Release);
        seat.losses.fetch_add(1, Ordering::AcqRel);
        self.moved(true);
    }

    /// How often a consumer was lost.
    pub fn losses(&self, consumer: usize) -> u64 {
        self.seats.get(consumer).map_or(0, |seat| seat.losses.load(Ordering::Acquire))
    }

    /// Whether a consumer's kill switch is on, or that of all.
    pub fn killed(&self, consumer: usize) -> bool {
        self.killed_all() || self.seats.get(consumer).is_some_and(|seat| seat.killed.load(Ordering::Acquire))
    }

    /// Whether the consumer's own kill switch is on.
    pub fn killed_alone(&self, consumer: usize) -> bool {
        self.seats.get(consumer).is_some_and(|seat| seat.killed.load(Ordering::Acquire))
    }

    /// Whether the kill switch of all is on.
    pub fn killed_all(&self) -> bool {
        self.killed_all.load(Ordering::Acquire)
    }

    /// Moves the kill switch of one consumer, or with `None` that of all. Returns whether it stood otherwise.
    pub fn set_killed(&self, consumer: Option<usize>, on: bool) -> bool {
        let moved = match consumer {
            None => self.killed_all.swap(on, Ordering::AcqRel) != on,
            Some(consumer) => {
                self.seats.get(consumer).is_some_and(|seat| seat.killed.swap(on, Ordering::AcqRel) != on)
            }
        };
        self.moved(moved)
    }
}

impl MayTrade for Switches {
    fn may_trade(&self, consumer: ConsumerId) -> bool {
        Self::may_trade(self, usize::from(consumer.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_needs_its_own_switch_and_no_kill() {
        let switches = Switches::new([true, false]);
        assert_eq!([0, 1, 2].map(|consumer| switches.may_trade(consumer)), [true, false, false]);
        assert!(switches.set_killed(None, true) && !switches.set_killed(None, true));
        assert!(!switches.may_trade(0) && switches.killed(1));
        assert!(switches.set_killed(None, false) && switches.may_trade(0));
        assert!(switches.set_killed(Some(0), true) && !switches.may_trade(0));
        assert!(switches.set_killed(Some(0), false) && switches.set_trading(0, false));
        assert!(!switches.may_trade(0) && !switches.set_trading(7, true));
    }

    #[test]
    fn a_lost_consumer_trades_no_more_until_somebody_says_so() {
        let switches = Switches::new([true, true]);
        let before = switches.version();
        switches.consumer_lost(0);
        switches.consumer_lost(7);
        assert_eq!((switches.losses(0), switches.losses(1), switches.losses(7)), (1, 0, 0));
        assert!(switches.version() > before && !switches.may_trade(0) && switches.may_trade(1));
        assert!(switches.set_trading(0, true) && switches.may_trade(0));
    }
}
