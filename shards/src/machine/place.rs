//! Where a shard is: one word that the shard writes and the supervisor reads, so that one that stops turning is named with
//! the last thing that it began. And beside it the longest step of its turn, so that a long turn is named with what took it:
//! a step is what lies between two reads of the clock that there are anyway.
//!
//! A relaxed store where something begins; nothing is ever waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a shard is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It has not turned yet.
    Starting,
    /// In its turn, outside of what follows.
    Turn,
    /// Idle: spinning or asleep.
    Idle,
    /// Files and timers of the executor.
    Tasks,
    /// Reading and handling what a provider's sockets have; index in the topology.
    Provider(u16),
    /// In the handler of a consumer; number of its seat on the shard.
    Handler(u16),
    /// With what a provider's clock calls for: timers, requests and their answers, what is written; index in the topology.
    Due(u16),
    /// Giving a provider's rings what waits for room; index in the topology.
    Relief(u16),
    /// With a provider's orders; index in the topology.
    Orders(u16),
    /// After the order to stop.
    Ending,
}

impl Place {
    const fn to_word(self) -> u64 {
        match self {
            Self::Starting => 0,
            Self::Turn => 1,
            Self::Idle => 2,
            Self::Tasks => 3,
            Self::Provider(index) => 4 | (index as u64) << 8,
            Self::Handler(seat) => 5 | (seat as u64) << 8,
            Self::Ending => 6,
            Self::Due(index) => 7 | (index as u64) << 8,
            Self::Relief(index) => 8 | (index as u64) << 8,
            Self::Orders(index) => 9 | (index as u64) << 8,
        }
    }

    const fn of_word(word: u64) -> Self {
        let index = (word >> 8) as u16;
        match word & 0xff {
            1 => Self::Turn,
            2 => Self::Idle,
            3 => Self::Tasks,
            4 => Self::Provider(index),
            5 => Self::Handler(index),
            6 => Self::Ending,
            7 => Self::Due(index),
            8 => Self::Relief(index),
            9 => Self::Orders(index),
            _ => Self::Starting,
        }
    }
}

/// A stretch of a turn between two reads of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it was.
    pub place: Place,
    /// How long it took, by the clock.
    pub took_ns: u64,
}

/// The words of one shard. Clones are one: the shard sets it, anyone reads it.
#[derive(Clone, Debug, Default)]
pub struct PlaceCell(Arc<Words>);

#[derive(Debug, Default)]
struct Words {
    place: AtomicU64,
    /// The longest step of this turn; 0 if there was none. The shard's own: nobody else reads these two.
    step_ns: AtomicU64,
    step_place: AtomicU64,
}

impl PlaceCell {
    /// The shard is here now.
    #[inline]
    pub fn set(&self, place: Place) {
        self.0.place.store(place.to_word(), Ordering::Relaxed);
    }

    /// Where the shard was last.
    pub fn get(&self) -> Place {
        Place::of_word(self.0.place.load(Ordering::Relaxed))
    }

    /// A turn begins: no step of it was taken.
    #[inline]
    pub fn begin_turn(&self) {
        self.set(Place::Turn);
        self.0.step_ns.store(0, Ordering::Relaxed);
    }

    /// The shard has taken a step.
    #[inline]
    pub fn step(&self, place: Place, took_ns: u64) {
        if took_ns > self.0.step_ns.load(Ordering::Relaxed) {
            self.0.step_ns.store(took_ns, Ordering::Relaxed);
            self.0.step_place.store(place.to_word(), Ordering::Relaxed);
        }
    }

    /// The longest step of this turn; where the shard says of none, the last thing that it began and 0 ns. To be asked by the
    /// shard.
    pub fn longest_step(&self) -> Step {
        let took_ns = self.0.step_ns.load(Ordering::Relaxed);
        let place = match took_ns {
            0 => self.get(),
            _ => Place::of_word(self.0.step_place.load(Ordering::Relaxed)),
        };
        Step { place, took_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_survives_its_word() {
        let cell = PlaceCell::default();
        assert_eq!(cell.get(), Place::Starting);
        for place in [
            Place::Starting,
            Place::Turn,
            Place::Idle,
            Place::Tasks,
            Place::Provider(u16::MAX),
            Place::Handler(0),
            Place::Handler(63),
            Place::Ending,
            Place::Due(7),
            Place::Relief(u16::MAX),
            Place::Orders(1),
        ] {
            cell.clone().set(place);
            assert_eq!(cell.get(), place);
        }
    }

    #[test]
    fn a_turn_knows_its_longest_step() {
        let cell = PlaceCell::default();
        cell.begin_turn();
        cell.set(Place::Provider(2));
        assert_eq!(cell.longest_step(), Step { place: Place::Provider(2), took_ns: 0 });
        for (place, took_ns) in [(Place::Provider(0), 5), (Place::Relief(1), 9), (Place::Due(2), 9)] {
            cell.step(place, took_ns);
        }
        assert_eq!(cell.longest_step(), Step { place: Place::Relief(1), took_ns: 9 });
        cell.begin_turn();
        assert_eq!(cell.longest_step(), Step { place: Place::Turn, took_ns: 0 });
    }
}
