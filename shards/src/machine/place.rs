//! Where a shard is: one word that the shard writes and the supervisor reads, so that one that stops turning is named with
//! the last thing that it began.
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
            _ => Self::Starting,
        }
    }
}

/// The word of one shard. Clones are one: the shard sets it, anyone reads it.
#[derive(Clone, Debug, Default)]
pub struct PlaceCell(Arc<AtomicU64>);

impl PlaceCell {
    /// The shard is here now.
    #[inline]
    pub fn set(&self, place: Place) {
        self.0.store(place.to_word(), Ordering::Relaxed);
    }

    /// Where the shard was last.
    pub fn get(&self) -> Place {
        Place::of_word(self.0.load(Ordering::Relaxed))
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
        ] {
            cell.clone().set(place);
            assert_eq!(cell.get(), place);
        }
    }
}
