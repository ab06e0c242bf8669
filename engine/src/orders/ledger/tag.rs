//! The number that a request carries and its answer repeats: what it was about, and which order.

use crate::ids::Listing;

/// What a request is about. Fits the 53 bits that every JSON reader keeps; venues echo it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// A new order.
    Place = 1,
    /// The end of one.
    Cancel,
    /// Where one stands.
    Order,
    /// The executions of one.
    Fills,
    /// All open ones.
    OpenOrders,
    /// The end of all on an instrument.
    CancelAll,
    /// The session itself: log on, subscribe, token.
    Session,
}

/// Names a request, and its order, in the answer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Tag(pub u64);

impl Tag {
    pub(in crate::orders) const SLOT_BITS: u32 = 20;
    const GENERATION_BITS: u32 = 28;

    pub(in crate::orders) const fn new(purpose: Purpose, slot: u32, generation: u32) -> Self {
        let generation = generation as u64 & ((1 << Self::GENERATION_BITS) - 1);
        Self(
            (purpose as u64) << (Self::SLOT_BITS + Self::GENERATION_BITS)
                | generation << Self::SLOT_BITS
                | slot as u64,
        )
    }

    /// For requests of the session itself; `number` is the shell's own.
    pub const fn session(number: u32) -> Self {
        Self::new(Purpose::Session, 0, number)
    }

    /// For a request to cancel everything on an instrument.
    pub const fn cancel_all(listing: Listing) -> Self {
        Self::new(Purpose::CancelAll, listing.0 as u32, 0)
    }

    /// What the request was about; `None` if it is no tag of ours.
    pub const fn purpose(self) -> Option<Purpose> {
        Some(match self.0 >> (Self::SLOT_BITS + Self::GENERATION_BITS) {
            1 => Purpose::Place,
            2 => Purpose::Cancel,
            3 => Purpose::Order,
            4 => Purpose::Fills,
            5 => Purpose::OpenOrders,
            6 => Purpose::CancelAll,
            7 => Purpose::Session,
            _ => return None,
        })
    }

    /// The same order, asked about something else.
    pub(in crate::orders) const fn about(self, purpose: Purpose) -> Self {
        Self::new(purpose, self.slot(), self.number())
    }

    /// Whether both are about the same order.
    pub(in crate::orders) const fn is_same_order(self, other: Self) -> bool {
        const ORDER: u64 = (1 << (Tag::SLOT_BITS + Tag::GENERATION_BITS)) - 1;
        self.0 & ORDER == other.0 & ORDER
    }

    pub(in crate::orders) const fn slot(self) -> u32 {
        (self.0 & ((1 << Self::SLOT_BITS) - 1)) as u32
    }

    /// The number that the shell gave a request of the session.
    pub const fn number(self) -> u32 {
        (self.0 >> Self::SLOT_BITS & ((1 << Self::GENERATION_BITS) - 1)) as u32
    }
}
