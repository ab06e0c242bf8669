//! What each consumer of an overloaded shard gets, by seed: consumers with few streams and with many, shared and their own,
//! quiet and loud. A failure prints its seed.
//!
//! The promise, from the moment that the shard is overloaded: no consumer gets less than the smaller of a quarter of its
//! demand and an equal share of what its shard takes, and no stream of it less than the smaller of a quarter of its demand
//! and an equal part of that share. The quarter
//! of a stream that coalesces is at most its newest state once a turn in which there was one.
//! The slack is a number of parts, however long the time is ([`Plan::slack`]); and of the states that streams that coalesce
//! are owed one in eight may be replaced by the next one, because it found no room in its turn.

use engine::dispatch::{BookSource, Dispatcher, Fairness};
use engine::event::{Body, BookStatus, Event, Flags, Header, Level, Parts, Proof, Side, Trade};
use engine::ids::{ConsumerId, ShardId, StreamId};
use engine::ring::{Receiver, ring};
use engine::routing::{Delivery, Route};

/// Books of one level a side, so that a snapshot is one part, for the streams that have a book.
struct Books<'a>(&'a [Delivery]);

impl BookSource for Books<'_> {
    fn conflated(&mut self, stream: StreamId, _: usize, parts: &mut Vec<Event>) {
        parts.clear();
        if self.0[stream.index()] != Delivery::Book {
            return;
        }
        let level = Level { price: engine::decimal::Price(1), qty: engine::decimal::Qty(1) };
        for (flags, part) in Parts::new(&[level], &[level], BookStatus::Proved, Proof::Continuity) {
            let header = Header { stream, flags, ..Header::default() };
            parts.push(Event { header, body: Body::BookSnapshot(part) });
        }
    }
}

/// A stream of a scene.
#[derive(Clone, Debug)]
struct Stream {
    rule: Delivery,
    /// Parts of each of its events; books have one.
    parts: usize,
    /// Events a turn.
    demand: f64,
    /// Who holds it.
    consumers: Vec<usize>,
}

/// A shard and what is offered to it.
#[derive(Clone, Debug)]
struct Plan {
    streams: Vec<Stream>,
    consumers: usize,
    ring_events: usize,
    spill_events: usize,
    fairness: Fairness,
    /// Parts that the shard takes a turn.
    per_turn: usize,
    turns: usize,
    /// Turns before anything is counted.
    settle: usize,
}

/// What came of a plan, in parts: by stream.
#[derive(Debug)]
struct Outcome {
    offered: Vec<u64>,
    /// What the rules leave to be owed.
    owed: Vec<u64>,
    got: Vec<u64>,
    taken: u64,
}

impl Plan {
    fn parts_max(&self) -> usize {
        self.streams.iter().map(|stream| stream.parts).max().unwrap_or(1)
    }

    fn run(&self, seed: u64) -> Outcome {
        let mut random = fastrand::Rng::with_seed(seed);
        let rules: Vec<_> = self.streams.iter().map(|stream| stream.rule).collect();
        let (mut dispatcher, mut receiver) = self.dispatcher();
        let count = self.streams.len();
        let none = vec![0; count];
        let mut outcome = Outcome { offered: none.clone(), owed: none.clone(), got: none.clone(), taken: 0 };
        let mut sequences = none;
        let mut due = vec![0.0; count];
        for turn in 0..self.settle + self.turns {
            if turn == self.settle {
                let Outcome { offered, owed, got, taken } = &mut outcome;
                for counts in [offered, owed, got] {
                    counts.fill(0);
                }
                *taken = 0;
            }
            let mut order: Vec<usize> = (0..count).collect();
            random.shuffle(&mut order);
            for at in order {
                let stream = &self.streams[at];
                due[at] += stream.demand * 2.0 * random.f64();
                let mut first = true;
                while due[at] >= 1.0 {
                    due[at] -= 1.0;
                    sequences[at] += 1;
                    outcome.offered[at] += stream.parts as u64;
                    if first || stream.rule == Delivery::Lossless {
                        outcome.owed[at] += stream.parts as u64;
                    }
                    first = false;
                    dispatcher.offer(&events(at, sequences[at], stream));
                }
            }
            dispatcher.flush(&mut Books(&rules), |_| {});
            outcome.taken += take(&mut receiver, self.per_turn, &mut outcome.got);
        }
        for (stream, _) in self.streams.iter().enumerate() {
            let (counts, in_flight) = dispatcher.lane_counts(0, StreamId(stream as u32));
            let ends = counts.delivered_total + counts.coalesced_total + counts.dropped_total;
            assert_eq!(counts.offered_total, ends + counts.unchanged_total + in_flight, "seed {seed}");
        }
        outcome
    }

    fn dispatcher(&self) -> (Dispatcher, Receiver<Event>) {
        let mut dispatcher = Dispatcher::new(8);
        let (sender, receiver) = ring(self.ring_events);
        let output = dispatcher.add_output(ShardId(1), sender, self.spill_events);
        dispatcher.set_fairness(output, self.fairness);
        for (number, stream) in self.streams.iter().enumerate() {
            let id = StreamId(number as u32);
            dispatcher.routing.add(id, Route { output, delivery: stream.rule, book_depth: 1 });
            for &consumer in &stream.consumers {
                dispatcher.routing.add_holder(id, output, ConsumerId(consumer as u16));
            }
            dispatcher.reserve(id);
        }
        (dispatcher, receiver)
    }

    /// By how many parts anybody may be short, however long the time is: the room of the ring above its mark, which
    /// whoever came first may have, at either end; a burst; and two of the largest events.
    fn slack(&self) -> u64 {
        let ring = self.ring_events as u64;
        ring + u64::from(self.fairness.burst_events) + 2 * self.parts_max() as u64
    }

    /// Who got less than promised, in words.
    fn short(&self, outcome: &Outcome) -> Vec<String> {
        let sum = |counts: &[u64], streams: &[usize]| streams.iter().map(|&at| counts[at]).sum::<u64>();
        let held = |consumer: usize| {
            let streams = 0..self.streams.len();
            streams.filter(move |&at| self.streams[at].consumers.contains(&consumer)).collect::<Vec<_>>()
        };
        let share = outcome.taken as f64 / self.consumers as f64;
        let mut short = Vec::new();
        let mut check = |what: String, streams: &[usize], share: f64| {
            let offered = sum(&outcome.offered, streams);
            let asked = streams.iter().map(|&at| (outcome.offered[at] / 4).min(outcome.owed[at]));
            let promised = asked.sum::<u64>().min(share as u64);
            let got = sum(&outcome.got, streams);
            // A state that finds no room in its turn may be replaced by the next one.
            let coalescing = streams.iter().filter(|&&at| self.streams[at].rule != Delivery::Lossless);
            let replaced = coalescing.map(|&at| outcome.owed[at]).sum::<u64>() / 8;
            if got + self.slack() + replaced < promised {
                short.push(format!("{what} got {got} of {promised}, offered {offered}, share {share:.0}"));
            }
        };
        for consumer in 0..self.consumers {
            let streams = held(consumer);
            check(format!("consumer {consumer} with {} streams", streams.len()), &streams, share);
        }
        for (number, stream) in self.streams.iter().enumerate() {
            let parts = stream.consumers.iter().map(|&consumer| share / held(consumer).len() as f64);
            check(format!("stream {number} ({})", stream.rule.name()), &[number], parts.sum());
        }
        short
    }
}

fn take(receiver: &mut Receiver<Event>, parts: usize, got: &mut [u64]) -> u64 {
    receiver.drain(parts, |event| got[event.header.stream.index()] += 1) as u64
}

fn events(stream: usize, sequence: u64, of: &Stream) -> Vec<Event> {
    let header = Header {
        stream: StreamId(stream as u32),
        sequence_first: sequence,
        sequence_last: sequence,
        flags: Flags::WHOLE,
        ..Header::default()
    };
    if of.rule == Delivery::Book {
        let (_, part) =
            Parts::new(&[], &[], BookStatus::Proved, Proof::Continuity).next().expect("one part at least");
        return vec![Event { header, body: Body::BookUpdate(part) }];
    }
    let (price, qty) = (engine::decimal::Price(1), engine::decimal::Qty(1));
    let body = Body::Trade(Trade { price, qty, id: sequence, taker_side: Side::Buy });
    let parts = (0..of.parts).map(|part| {
        let is_first = if part == 0 { Flags::FIRST } else { Flags::default() };
        let flags = if part + 1 == of.parts { is_first.with(Flags::LAST) } else { is_first };
        Event { header: Header { flags, part: part as u16, ..header }, body }
    });
    parts.collect()
}

/// One stream of a consumer beside 149 of another, on a shard that takes 64 parts a turn.
fn one_beside_149(one: Stream, other: &Stream) -> Plan {
    let mut streams = vec![Stream { consumers: vec![1], ..other.clone() }; 150];
    streams[7] = Stream { consumers: vec![0], ..one };
    Plan {
        streams,
        consumers: 2,
        ring_events: 512,
        spill_events: 1_024,
        fairness: Fairness::DEFAULT,
        per_turn: 64,
        turns: 4_000,
        settle: 500,
    }
}

#[test]
fn a_consumer_with_one_stream_beside_one_with_149_gets_its_equal_share() {
    let stream = |rule, parts, demand| Stream { rule, parts, demand, consumers: Vec::new() };
    let mut short = Vec::new();
    for one in [
        stream(Delivery::Lossless, 1, 128.0),
        stream(Delivery::Latest, 8, 4.0),
        stream(Delivery::Book, 1, 3.0),
    ] {
        for other in [
            stream(Delivery::Lossless, 1, 1.0),
            stream(Delivery::Latest, 4, 1.0),
            stream(Delivery::Book, 1, 8.0),
        ] {
            let plan = one_beside_149(one.clone(), &other);
            let what = format!("{} beside {}", one.rule.name(), other.rule.name());
            short.extend(plan.short(&plan.run(1)).into_iter().map(|line| format!("{what}: {line}")));
        }
    }
    assert!(short.is_empty(), "{short:#?}");
}

#[test]
fn a_consumer_whose_demand_is_one_loud_stream_of_its_150_gets_its_equal_share() {
    for rule in [Delivery::Lossless, Delivery::Latest, Delivery::Book] {
        let quiet = Stream { rule, parts: 1, demand: 0.01, consumers: vec![0] };
        let mut streams = vec![quiet; 300];
        for (number, stream) in streams.iter_mut().enumerate().skip(150) {
            *stream = Stream {
                demand: 2.0,
                rule: Delivery::Lossless,
                consumers: vec![1 + number % 2],
                ..stream.clone()
            };
        }
        streams[40].demand = 60.0;
        let plan = Plan {
            streams,
            consumers: 3,
            ring_events: 512,
            spill_events: 2_048,
            fairness: Fairness::DEFAULT,
            per_turn: 64,
            turns: 4_000,
            settle: 500,
        };
        let short = plan.short(&plan.run(3));
        assert!(short.is_empty(), "{} {short:#?}", rule.name());
    }
}

/// Consumers with one stream and with dozens, some of them shared, one stream louder than all others.
fn by_seed(seed: u64) -> Plan {
    let mut random = fastrand::Rng::with_seed(seed);
    let consumers = random.usize(2..9);
    let rules = [Delivery::Latest, Delivery::Book, Delivery::Lossless];
    let per_turn = random.usize(16..128);
    let mut streams = Vec::new();
    for consumer in 0..consumers {
        let own = if random.bool() { 1 } else { random.usize(1..60) };
        let demand = per_turn as f64 * 3.0 * random.f64().powi(3) / own as f64;
        for _ in 0..own {
            let rule = rules[random.usize(0..3)];
            let parts = if rule == Delivery::Book { 1 } else { [1, 1, 5, 9][random.usize(0..4)] };
            let demand = (demand * 2.0 * random.f64() / parts as f64).max(0.01);
            let mut holders = vec![consumer];
            if random.u8(0..6) == 0 {
                holders.push((consumer + random.usize(1..consumers)) % consumers);
            }
            streams.push(Stream { rule, parts, demand, consumers: holders });
        }
    }
    let loud = random.usize(0..streams.len());
    streams[loud].demand = per_turn as f64 * 2.0;
    Plan {
        streams,
        consumers,
        ring_events: random.usize(128..1_024),
        spill_events: random.usize(1_024..4_096),
        fairness: Fairness {
            high_water_permille: [0, 300, 500, 900][random.usize(0..4)],
            burst_events: random.u16(1..100),
        },
        per_turn,
        turns: 3_000,
        settle: 1_000,
    }
}

#[test]
fn by_seed_no_consumer_gets_less_than_a_quarter_of_its_demand_or_an_equal_share() {
    let seeds = std::env::var("FAIR_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(24);
    let mut failed = Vec::new();
    for seed in 0..seeds {
        let plan = by_seed(seed);
        let short = plan.short(&plan.run(seed));
        if !short.is_empty() {
            failed.push(format!("seed {seed}: {short:#?}"));
        }
    }
    assert!(failed.is_empty(), "{} seeds: {}", failed.len(), failed.join("\n"));
}
