//! What a consumer is told of commands about it: that one was taken, and how it ended.

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Command {
    /// Begin to receive streams.
    Subscribe,
    /// Receive streams no longer.
    Unsubscribe,
    /// Let orders leave, or not.
    Trading,
    /// No orders at all, whatever the trading switch says; or the end of that.
    Kill,
    /// Begin to receive what a merge rule joins; the rule is made if there is none of its name.
    Merge,
}

impl Command {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Subscribe, Self::Unsubscribe, Self::Trading, Self::Kill, Self::Merge];

    /// The word for it in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Trading => "trading",
            Self::Kill => "kill",
            Self::Merge => "merge",
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// It is in force.
    Done,
    /// It was in force already.
    Unchanged,
    /// It cannot be; nothing was changed.
    Refused,
    /// A shard or the venue did not answer in time: it may come into force later.
    Unknown,
}

impl Outcome {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Done, Self::Unchanged, Self::Refused, Self::Unknown];

    /// The word for it in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// A command about this consumer was taken and is under way. Critical: never dropped, never coalesced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlAck {
    /// The consumer's own number of its request; 0 when an operator asked.
    pub request: u64,
    /// What was asked.
    pub command: Command,
}

/// A command about this consumer has ended. Critical: never dropped, never coalesced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlResult {
    /// The consumer's own number of its request; 0 when an operator asked.
    pub request: u64,
    /// What was asked.
    pub command: Command,
    /// How it ended.
    pub outcome: Outcome,
    /// Streams that it changed.
    pub stream_count: u32,
    /// The routing version that contains it.
    pub routing_version: u32,
}
