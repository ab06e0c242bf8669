//! Where the engine reports how long its stages took. The shard records it in histograms; a replay ignores it.

use crate::ids::{LineId, ProviderId};
use crate::time::{Clock, FixedClock, ReceiveTime};

/// A stage of an event's way inside the engine; measured from the receive time of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathStage {
    /// The frame became the venue's messages.
    Decoded,
    /// The event has its place in its stream.
    Ordered,
    /// The event was handed to the rings.
    Enqueued,
    /// The event is about to be shown to the first consumer of its shard.
    Delivered,
    /// News of an order is about to be shown to its consumer.
    Reported,
    /// From the call of the first consumer of a shard to that of the last, for the same event; of those that have several.
    FannedOut,
}

/// A clock that also takes measurements.
pub trait Probe: Clock {
    /// A stage ended `ns` nanoseconds after the bytes were received.
    fn stage(&mut self, stage: PathStage, ns: u64);

    /// A text frame of `line` came, and nothing has touched it yet. Told once, also of one that is read in pieces.
    #[inline]
    fn frame(&mut self, line: LineId, at: ReceiveTime, text: &[u8]) {
        let _ = (line, at, text);
    }

    /// News of an order is about to be shown to its consumer, `ns` nanoseconds after the provider read it.
    #[inline]
    fn reported(&mut self, provider: ProviderId, ns: u64) {
        let _ = provider;
        self.stage(PathStage::Reported, ns);
    }

    /// The handler of the consumer in `seat` of this shard is about to be called.
    #[inline]
    fn entering(&mut self, seat: usize) {
        let _ = seat;
    }

    /// The handler of the consumer in `seat` of this shard took `ns` nanoseconds for an event.
    fn handler(&mut self, seat: usize, ns: u64);
}

impl Probe for FixedClock {
    fn stage(&mut self, _: PathStage, _: u64) {}

    fn handler(&mut self, _: usize, _: u64) {}
}
