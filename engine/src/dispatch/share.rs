//! Who is served next of all that waits for one ring: the consumer that has had least, and of its streams the one that has
//! had least.
//!
//! Everybody has a count of the parts that it has had, and who begins to wait is set forward to [`Fairness::burst_events`]
//! before the one served last: nobody saves more than a burst. The next one is the smallest count (start-time fair queueing,
//! Goyal, Vin and Cheng 1996, with a token bucket). So while something of a consumer waits it gets, of all parts that enter
//! the ring over any time, an equal share less at most a burst and two of the largest events; and so does a stream, of
//! what enters in its consumer's turns. A stream of several consumers is served in the turns of each.
//!
//! Knows no clock, no ring and no rate, and nothing here is touched while nothing waits.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use crate::ids::{ConsumerId, StreamId};

/// How a ring is shared between consumers and streams under pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fairness {
    /// Fill of the ring, in thousandths of its capacity, above which streams that may coalesce wait for the end of the
    /// turn, so that only their newest state goes into it.
    pub high_water_permille: u16,
    /// Parts of events that a consumer, and a stream of it, may have before others after it was quiet.
    pub burst_events: u16,
}

impl Fairness {
    /// Half of the ring for whoever comes first; then bursts of a few book snapshots.
    pub const DEFAULT: Self = Self { high_water_permille: 500, burst_events: 32 };
}

impl Default for Fairness {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Who waits, by what each has had.
#[derive(Debug, Default)]
struct Line {
    waiting: BinaryHeap<Reverse<(u64, usize)>>,
    /// What the one served last had had before.
    now: u64,
}

/// How much somebody has had, and whether it stands in its line.
#[derive(Clone, Copy, Debug, Default)]
struct Had {
    parts: u64,
    queued: bool,
}

/// A consumer of the shard.
#[derive(Debug)]
struct Member {
    /// `None` for all streams of which nobody says whose they are.
    consumer: Option<ConsumerId>,
    had: Had,
    /// Its streams that wait.
    line: Line,
}

/// A stream, as one of a consumer's.
#[derive(Debug)]
struct Place {
    stream: StreamId,
    member: usize,
    had: Had,
}

/// All that may wait for one ring.
#[derive(Debug)]
pub(super) struct Turns {
    burst: u64,
    members: Vec<Member>,
    places: Vec<Place>,
    /// Consumers of which something waits.
    line: Line,
}

impl Line {
    fn join(&mut self, who: usize, had: &mut Had, burst: u64) {
        if !std::mem::replace(&mut had.queued, true) {
            had.parts = had.parts.max(self.now.saturating_sub(burst));
            self.waiting.push(Reverse((had.parts, who)));
        }
    }

    fn first(&self) -> Option<usize> {
        self.waiting.peek().map(|&Reverse((_, who))| who)
    }

    /// The first one has had so many parts more.
    fn spend(&mut self, had: &mut Had, parts: u64) {
        if let Some(mut first) = self.waiting.peek_mut() {
            self.now = self.now.max(had.parts);
            had.parts += parts;
            first.0.0 = had.parts;
        }
    }

    /// The first one waits no longer.
    fn leave(&mut self, had: &mut Had) {
        self.waiting.peek_mut().map(PeekMut::pop);
        had.queued = false;
    }
}

impl Turns {
    pub fn new(fairness: Fairness) -> Self {
        let burst = u64::from(fairness.burst_events);
        Self { burst, members: Vec::new(), places: Vec::new(), line: Line::default() }
    }

    /// Routes have changed: by stream the consumers that hold it now. `places_of` is given the new places of each stream
    /// and returns the old ones. What anybody has had stays; what waits is to [`wait`](Self::wait) again.
    pub fn divide<'a>(
        &mut self,
        holders: impl Iterator<Item = (StreamId, &'a [Option<ConsumerId>])>,
        mut places_of: impl FnMut(StreamId, Vec<usize>) -> Vec<usize>,
    ) {
        let (members, places) = (std::mem::take(&mut self.members), std::mem::take(&mut self.places));
        self.line.waiting.clear();
        for (stream, consumers) in holders {
            let first = self.places.len();
            for &consumer in consumers {
                let known = self.members.iter().position(|member| member.consumer == consumer);
                let member = known.unwrap_or_else(|| {
                    let known = members.iter().find(|member| member.consumer == consumer);
                    let had = Had { parts: known.map_or(0, |member| member.had.parts), queued: false };
                    let line = Line { now: known.map_or(0, |member| member.line.now), ..Line::default() };
                    self.members.push(Member { consumer, had, line });
                    self.members.len() - 1
                });
                self.places.push(Place { stream, member, had: Had::default() });
            }
            let before = places_of(stream, (first..self.places.len()).collect());
            for place in &mut self.places[first..] {
                let consumer = self.members[place.member].consumer;
                let known = before.iter().map(|&at| &places[at]);
                let mut of_it = known.filter(|known| members[known.member].consumer == consumer);
                place.had.parts = of_it.next().map_or(0, |known| known.had.parts);
            }
        }
        // Nobody allocates while it waits.
        self.line.waiting.reserve(self.members.len());
        let mut held = vec![0; self.members.len()];
        self.places.iter().for_each(|place| held[place.member] += 1);
        self.members.iter_mut().zip(held).for_each(|(member, held)| member.line.waiting.reserve(held));
    }

    /// A stream with these places waits from now on.
    pub fn wait(&mut self, places: &[usize]) {
        for &at in places {
            let place = &mut self.places[at];
            let member = &mut self.members[place.member];
            member.line.join(at, &mut place.had, self.burst);
            self.line.join(place.member, &mut member.had, self.burst);
        }
    }

    /// The stream that is served next, of those that wait.
    pub fn next(&mut self, waits: impl Fn(StreamId) -> bool) -> Option<StreamId> {
        while let Some(at) = self.line.first() {
            let member = &mut self.members[at];
            while let Some(first) = member.line.first() {
                let place = &mut self.places[first];
                if waits(place.stream) {
                    return Some(place.stream);
                }
                member.line.leave(&mut place.had);
            }
            self.line.leave(&mut member.had);
        }
        None
    }

    /// The stream that was the next one has had so many parts.
    pub fn spend(&mut self, parts: u64) {
        let Some(at) = self.line.first() else { return };
        let member = &mut self.members[at];
        self.line.spend(&mut member.had, parts);
        if let Some(first) = member.line.first() {
            member.line.spend(&mut self.places[first].had, parts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Streams by number, each held by these consumers, that always wait, with events of so many parts: parts that each
    /// has got of `total`.
    fn served(streams: &[(&[u16], u64)], burst_events: u16, total: u64) -> Vec<u64> {
        let mut turns = Turns::new(Fairness { burst_events, ..Fairness::DEFAULT });
        let holders: Vec<Vec<_>> = streams
            .iter()
            .map(|(consumers, _)| consumers.iter().map(|&consumer| Some(ConsumerId(consumer))).collect())
            .collect();
        let mut places = vec![Vec::new(); streams.len()];
        let held = holders.iter().enumerate().map(|(stream, held)| (StreamId(stream as u32), &held[..]));
        turns.divide(held, |stream, new| std::mem::replace(&mut places[stream.index()], new));
        for places in &places {
            turns.wait(places);
        }
        let mut got = vec![0; streams.len()];
        while got.iter().sum::<u64>() < total {
            let stream = turns.next(|_| true).expect("something waits");
            let parts = streams[stream.index()].1;
            got[stream.index()] += parts;
            turns.spend(parts);
        }
        got
    }

    #[test]
    fn consumers_have_equal_parts_and_their_streams_equal_parts_of_those() {
        assert_eq!(served(&[(&[0], 1), (&[1], 1), (&[1], 1)], 4, 800), [400, 200, 200]);
    }

    #[test]
    fn a_stream_of_two_consumers_has_a_part_from_each() {
        assert_eq!(served(&[(&[0], 1), (&[0, 1], 1), (&[1], 1), (&[1], 1)], 1, 1_200), [300, 500, 200, 200]);
    }

    #[test]
    fn an_event_larger_than_a_burst_is_a_debt_that_is_paid_before_the_next_one() {
        let got = served(&[(&[0], 90), (&[1], 1)], 4, 1_800);
        assert!(got[0].abs_diff(got[1]) <= 90, "{got:?}");
    }

    #[test]
    fn whoever_was_quiet_has_a_burst_before_others_and_no_more_and_a_debt_stays() {
        let mut turns = Turns::new(Fairness { burst_events: 4, ..Fairness::DEFAULT });
        let holders = [[Some(ConsumerId(0))], [Some(ConsumerId(1))]];
        let held = holders.iter().enumerate().map(|(stream, held)| (StreamId(stream as u32), &held[..]));
        turns.divide(held, |_, _| Vec::new());
        let next = |turns: &mut Turns, waits: &[u32]| {
            turns.next(|stream| waits.contains(&stream.0)).map(|stream| stream.0)
        };
        turns.wait(&[0]);
        for _ in 0..100 {
            assert_eq!(next(&mut turns, &[0]), Some(0));
            turns.spend(1);
        }
        // The other one was quiet: it has its burst, and one of the two begins.
        turns.wait(&[1]);
        let order: Vec<_> = (0..9)
            .filter_map(|_| {
                let stream = next(&mut turns, &[0, 1]);
                turns.spend(1);
                stream
            })
            .collect();
        assert_eq!(order, [1, 1, 1, 1, 1, 0, 1, 0, 1]);
        // A debt of twenty parts outlasts a moment in which nothing waits.
        assert_eq!(next(&mut turns, &[1]), Some(1));
        turns.spend(20);
        assert_eq!(next(&mut turns, &[]), None);
        turns.wait(&[0]);
        turns.wait(&[1]);
        for _ in 0..15 {
            assert_eq!(next(&mut turns, &[0, 1]), Some(0));
            turns.spend(1);
        }
    }
}
