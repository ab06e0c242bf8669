//! When one event reached its consumers: sampled by trace, so that what several shards noted can be joined afterwards.

use std::collections::BTreeMap;

use crate::event::{Event, Flags};
use crate::ids::{ProviderId, StreamId, TraceId};
use crate::time::ReceiveTime;

/// One frame in so many is sampled.
const SAMPLE_EVERY: u64 = 32;
/// Samples that one shard keeps: the newest.
const SAMPLES_MAX: usize = 4_096;

/// Which event: provider, stream, last sequence, trace. The same on every shard.
type Key = (ProviderId, StreamId, u64, TraceId);

/// The newest sampled events of one shard, with the start of the first and of the last handler.
#[derive(Clone, Debug)]
pub struct FanOutSamples {
    samples: Vec<(Key, ReceiveTime, ReceiveTime)>,
    next: usize,
}

impl Default for FanOutSamples {
    fn default() -> Self {
        Self { samples: Vec::with_capacity(SAMPLES_MAX), next: 0 }
    }
}

impl FanOutSamples {
    /// Notes when the handlers of an event began, if the event is one of the sampled.
    #[inline]
    pub(super) fn note(&mut self, event: &Event, first: ReceiveTime, last: ReceiveTime) {
        let header = &event.header;
        if !header.trace.frame().is_multiple_of(SAMPLE_EVERY) || !header.flags.has(Flags::FIRST) {
            return;
        }
        let sample = ((header.provider, header.stream, header.sequence_last, header.trace), first, last);
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(sample);
        } else {
            self.samples[self.next] = sample;
            self.next = (self.next + 1) % SAMPLES_MAX;
        }
    }

    /// For each event that two shards or more have noted: from its first handler on any of them to its last one, in
    /// nanoseconds, ascending.
    pub fn join<'a>(shards: impl IntoIterator<Item = &'a Self>) -> Vec<u64> {
        let mut events: BTreeMap<Key, (ReceiveTime, ReceiveTime, u32)> = BTreeMap::new();
        for shard in shards {
            for &(key, first, last) in &shard.samples {
                let (from, to, shards) = events.entry(key).or_insert((first, last, 0));
                (*from, *to) = ((*from).min(first), (*to).max(last));
                *shards += 1;
            }
        }
        let spans = events.values().filter(|(_, _, shards)| *shards > 1);
        let mut spans: Vec<u64> = spans.map(|(first, last, _)| last.since_ns(*first)).collect();
        spans.sort_unstable();
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Header;
    use crate::ids::LineId;

    fn event(frame: u64, stream: u32) -> Event {
        let trace = TraceId::new(LineId(0), frame);
        let header = Header { trace, stream: StreamId(stream), flags: Flags::WHOLE, ..Header::default() };
        Event { header, ..Event::default() }
    }

    #[test]
    fn an_event_counts_from_its_first_handler_on_any_shard_to_its_last() {
        let mut shards = [FanOutSamples::default(), FanOutSamples::default(), FanOutSamples::default()];
        let at = ReceiveTime::from_ns;
        shards[0].note(&event(SAMPLE_EVERY, 1), at(100), at(110));
        shards[1].note(&event(SAMPLE_EVERY, 1), at(90), at(95));
        shards[2].note(&event(SAMPLE_EVERY, 1), at(105), at(140));
        shards[0].note(&event(SAMPLE_EVERY, 2), at(1), at(9));
        shards[0].note(&event(SAMPLE_EVERY + 1, 1), at(1), at(9));
        shards[1].note(&event(SAMPLE_EVERY + 1, 1), at(1), at(9));
        assert_eq!(
            FanOutSamples::join(&shards),
            [50],
            "one shard alone and frames between samples do not count"
        );
    }

    #[test]
    fn the_newest_samples_are_kept() {
        let mut shards = [FanOutSamples::default(), FanOutSamples::default()];
        let first = ReceiveTime::from_ns(0);
        for number in 1..=SAMPLES_MAX as u64 + 10 {
            for shard in &mut shards {
                shard.note(&event(number * SAMPLE_EVERY, 0), first, ReceiveTime::from_ns(number));
            }
        }
        let spans = FanOutSamples::join(&shards);
        assert_eq!((spans.len(), spans[0]), (SAMPLES_MAX, 11));
    }
}
