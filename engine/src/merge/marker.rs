//! How an input says that it has passed a time: an event of kind Marker in its ring.
//!
//! A merge shard cannot tell an idle input from a slow one, so the provider shard says it. What it must do, for each
//! output that goes to a merge shard:
//!
//! 1. Read the turn's clock before it reads sockets. Everything received before that moment has been offered, except what
//!    waits for missing numbers: [`passed`] is the earlier of both.
//! 2. When [`MarkerPace::due`] says so, offer [`marker`] by [`Dispatcher::offer_marker`](crate::dispatch::Dispatcher::offer_marker)
//!    after the turn's events and before the flush. While events wait for room in that ring nothing is sent: the
//!    marker would overtake them, and a full ring is not idle.
//! 3. Wake up for it: an idle shard's deadline includes [`MarkerPace::deadline`]. A connection that is down or silent makes
//!    no difference; the provider's shard knows that nothing came.
//!
//! Sent always and not only when idle: at 10 ms this is one slot in a hundred at 10,000 events a second, and nobody has
//! to keep books on who was idle.

use crate::event::{Body, Event, Flags, Header, SCHEMA_VERSION};
use crate::ids::ProviderId;
use crate::time::ReceiveTime;

/// Time between two markers, in nanoseconds: what an idle input adds to the latency of a merged event at the most.
/// A fifteenth of the patience of a merger, so a parked shard that wakes late is not given up.
pub const MARKER_EVERY_NS: u64 = 10_000_000;

/// The marker of a provider: what was received before `passed` has been sent.
pub fn marker(provider: ProviderId, passed: ReceiveTime) -> Event {
    let header = Header {
        receive_time: passed,
        flags: Flags::WHOLE,
        provider,
        schema: SCHEMA_VERSION,
        ..Header::default()
    };
    Event { header, body: Body::Marker }
}

/// The time that a provider has passed: now, or when the oldest event came that waits for missing numbers. `deadline` is
/// when that wait ends ([`Pipeline::deadline`](crate::pipeline::Pipeline::deadline)) and `lateness_ns` how long it lasts.
pub fn passed(now: ReceiveTime, deadline: Option<ReceiveTime>, lateness_ns: u64) -> ReceiveTime {
    match deadline {
        Some(deadline) => now.min(ReceiveTime::from_ns(deadline.ns().saturating_sub(lateness_ns))),
        None => now,
    }
}

/// When the next marker is due.
#[derive(Clone, Copy, Debug)]
pub struct MarkerPace {
    every_ns: u64,
    next: ReceiveTime,
}

impl MarkerPace {
    /// A marker every `every_ns` nanoseconds, the first at once.
    pub const fn new(every_ns: u64) -> Self {
        Self { every_ns, next: ReceiveTime::from_ns(0) }
    }

    /// Whether a marker is due. Ask until it could be sent, then say so with [`sent`](Self::sent).
    pub fn due(&self, now: ReceiveTime) -> bool {
        now >= self.next
    }

    /// A marker was sent.
    pub fn sent(&mut self, now: ReceiveTime) {
        self.next = now.plus_ns(self.every_ns);
    }

    /// When the next one is due.
    pub const fn deadline(&self) -> ReceiveTime {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_waits_holds_the_marker_back() {
        let at = ReceiveTime::from_ns;
        assert_eq!(passed(at(1_000), None, 150), at(1_000));
        assert_eq!(passed(at(1_000), Some(at(1_050)), 150), at(900));
        assert_eq!(passed(at(1_000), Some(at(2_000)), 150), at(1_000));
    }

    #[test]
    fn markers_keep_their_distance() {
        let at = ReceiveTime::from_ns;
        let mut pace = MarkerPace::new(10);
        assert!(pace.due(at(5)));
        pace.sent(at(5));
        assert!(!pace.due(at(14)) && pace.due(at(15)));
        assert_eq!(pace.deadline(), at(15));
    }
}
