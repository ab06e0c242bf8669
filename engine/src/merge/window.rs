//! The window of one merged stream: opens on its first event, closes by length or count, gives one event or none.
//!
//! Fed in the order of [`order`](super::order), so two events of one receive time are already in a fixed order. Knows
//! nothing of inputs, markers or patience.

use crate::event::{
    Body, Event, Flags, FragmentValue, Header, MERGED_PROVIDERS_MAX, MergedHead, SCHEMA_VERSION, WindowEnd,
};
use crate::ids::{InstrumentId, ProviderId, StreamId};
use crate::pool::{Handle, Pool, Reset};
use crate::time::ReceiveTime;

/// An open window: a pooled object, returned as soon as the merged event is built or suppressed.
#[derive(Debug)]
pub struct MergedEvent {
    /// Number of the window in its stream.
    id: u64,
    opened: ReceiveTime,
    event_count: u32,
    /// Bit n: provider n of the rule has a fragment.
    present: u8,
    /// The latest event of each provider.
    fragments: [Event; MERGED_PROVIDERS_MAX],
}

const _: () = assert!(MERGED_PROVIDERS_MAX <= u8::BITS as usize, "a bit for each provider");

impl Default for MergedEvent {
    fn default() -> Self {
        let fragments = [Event::default(); MERGED_PROVIDERS_MAX];
        Self { id: 0, opened: ReceiveTime::default(), event_count: 0, present: 0, fragments }
    }
}

impl Reset for MergedEvent {
    fn reset(&mut self) {
        // Only what was used: clearing all eight fragments would cost more than a small merge.
        for (index, fragment) in self.fragments.iter_mut().enumerate() {
            if self.present & 1 << index != 0 {
                fragment.reset();
            }
        }
        (self.id, self.opened, self.event_count, self.present) = (0, ReceiveTime::default(), 0, 0);
    }

    fn poison(&mut self) {
        // Marked as present, so that the reset at the next use clears them again.
        self.present = u8::MAX;
        self.fragments.iter_mut().for_each(Reset::poison);
    }
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is in the window.
    In,
    /// It opened the window, which ends at this time if its count does not come first.
    Opened {
        /// The end of what it covers.
        end: ReceiveTime,
    },
    /// Its time lies before the window, or in a span already closed.
    Late,
    /// No slot is free for a window.
    NoSlot,
}

/// A window that has ended.
#[derive(Debug)]
pub(super) struct Closed {
    merged: Handle<MergedEvent>,
    closed: ReceiveTime,
    end: WindowEnd,
}

/// The windows of one merged stream, one after another.
#[derive(Debug)]
pub(super) struct Window {
    length_ns: u64,
    count: u32,
    open: Option<Handle<MergedEvent>>,
    /// What was received before this belongs to a span that is closed.
    closed_until: ReceiveTime,
    last_id: u64,
}

impl Window {
    pub(super) const fn new(length_ns: u64, count: u32) -> Self {
        Self { length_ns, count, open: None, closed_until: ReceiveTime::from_ns(0), last_id: 0 }
    }

    /// When the open window ends at the latest.
    pub(super) fn end(&self) -> Option<ReceiveTime> {
        self.open.as_ref().map(|open| open.opened.plus_ns(self.length_ns))
    }

    /// Events in the open window.
    pub(super) fn open_count(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| u64::from(open.event_count))
    }

    /// Takes the next event, of the provider in place `leg` of the rule. Windows whose end has come are closed before.
    #[inline]
    pub(super) fn take(&mut self, leg: u8, event: &Event, pool: &Pool<MergedEvent>) -> Taken {
        let at = event.header.receive_time;
        if at < self.closed_until || self.open.as_ref().is_some_and(|open| at < open.opened) {
            return Taken::Late;
        }
        let mut taken = Taken::In;
        if self.open.is_none() {
            let Some(mut open) = pool.take() else { return Taken::NoSlot };
            // After the last one also where a count closed several windows within one nanosecond.
            self.last_id = (self.last_id + 1).max(at.ns());
            (open.id, open.opened) = (self.last_id, at);
            self.open = Some(open);
            taken = Taken::Opened { end: at.plus_ns(self.length_ns) };
        }
        if let Some(open) = &mut self.open {
            open.event_count += 1;
            open.present |= 1 << leg;
            open.fragments[usize::from(leg)] = *event;
        }
        taken
    }

    /// Closes the window if it has as many events as it may; `at` is the time that the order has reached.
    #[inline]
    pub(super) fn close_by_count(&mut self, at: ReceiveTime) -> Option<Closed> {
        self.open.as_ref().filter(|open| open.event_count >= self.count)?;
        self.close(at, WindowEnd::Count)
    }

    /// Closes the window if everything before its end has come; `until` is the time before which all has.
    pub(super) fn close_by_length(&mut self, until: ReceiveTime) -> Option<Closed> {
        let end = self.end().filter(|&end| end <= until)?;
        self.close(end, WindowEnd::Length)
    }

    fn close(&mut self, closed: ReceiveTime, end: WindowEnd) -> Option<Closed> {
        let merged = self.open.take()?;
        self.closed_until = self.closed_until.max(closed);
        Some(Closed { merged, closed, end })
    }
}

impl Closed {
    pub(super) fn id(&self) -> u64 {
        self.merged.id
    }

    pub(super) fn opened(&self) -> ReceiveTime {
        self.merged.opened
    }

    pub(super) fn closed(&self) -> ReceiveTime {
        self.closed
    }

    pub(super) fn event_count(&self) -> u32 {
        self.merged.event_count
    }

    /// Whether the provider in place `leg` of the rule has a fragment.
    pub(super) fn has(&self, leg: usize) -> bool {
        self.merged.present & 1 << leg != 0
    }

    pub(super) fn providers_present(&self) -> u8 {
        self.merged.present.count_ones() as u8
    }

    /// Writes the parts of the merged event and returns the slot to its pool.
    pub(super) fn build(self, facts: &StreamFacts, now: ReceiveTime, parts: &mut Vec<Event>) {
        let merged = &*self.merged;
        let header = Header {
            sequence_first: merged.id,
            sequence_last: merged.id,
            receive_time: self.closed,
            stream: facts.stream,
            routing_version: facts.routing_version,
            ordered_after_ns: u32::try_from(now.since_ns(self.closed)).unwrap_or(u32::MAX),
            instrument: facts.instrument,
            flags: Flags::FIRST,
            provider: facts.provider,
            schema: SCHEMA_VERSION,
            ..Header::default()
        };
        parts.clear();
        parts.push(Event {
            header,
            body: Body::Merged(MergedHead {
                opened: merged.opened,
                closed: self.closed,
                event_count: merged.event_count,
                providers_expected: facts.providers_expected,
                providers_present: self.providers_present(),
                end: self.end,
            }),
        });
        for leg in (0..MERGED_PROVIDERS_MAX).filter(|&leg| self.has(leg)) {
            let Event { header: own, body } = &merged.fragments[leg];
            let value = match body {
                Body::Trade(trade) => FragmentValue::Trade(*trade),
                Body::Ticker(ticker) => FragmentValue::Ticker(*ticker),
                Body::Kline(kline) => FragmentValue::Kline(*kline),
                _ => continue,
            };
            let header = Header {
                trace: own.trace,
                venue_time: own.venue_time,
                instrument: own.instrument,
                decimals: own.decimals,
                part: parts.len() as u16,
                flags: own.flags.without(Flags::WHOLE),
                ..header
            };
            let (provider, sequence) = (own.provider, own.sequence_last);
            let body = Body::Fragment { provider, sequence, receive_time: own.receive_time, value };
            parts.push(Event { header, body });
        }
        if let Some(last) = parts.last_mut() {
            last.header.flags = last.header.flags.with(Flags::LAST);
        }
    }
}

/// Where a merged event belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamFacts {
    pub(super) provider: ProviderId,
    pub(super) stream: StreamId,
    pub(super) instrument: InstrumentId,
    pub(super) routing_version: u32,
    pub(super) providers_expected: u8,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::testing::{at, trade};

    #[test]
    fn a_reset_merged_event_has_nothing_of_the_former_use() {
        let pool = Pool::new("MergedEvent", 1, MergedEvent::default);
        let mut window = Window::new(10, 2);
        assert_eq!(window.take(3, &trade(0, 0, 5, 1), &pool), Taken::Opened { end: at(15) });
        assert!(pool.take().is_none());
        drop(window.close_by_length(at(15)).expect("its end has come"));
        let fresh = pool.take().expect("returned");
        assert_eq!((fresh.id, fresh.opened, fresh.event_count, fresh.present), (0, at(0), 0, 0));
        assert!(fresh.fragments.iter().all(|fragment| *fragment == Event::default()));
    }

    #[test]
    fn windows_of_one_nanosecond_have_different_ids() {
        let pool = Pool::new("MergedEvent", 1, MergedEvent::default);
        let mut window = Window::new(10, 1);
        let mut ids = Vec::new();
        for (sequence, ns) in [(1, 5), (2, 5), (3, 5), (4, 6), (5, 20)] {
            window.take(0, &trade(0, 0, ns, sequence), &pool);
            ids.push(window.close_by_count(at(ns)).expect("a count of one").id());
        }
        assert_eq!(ids, [5, 6, 7, 8, 20]);
    }
}
