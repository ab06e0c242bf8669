//! Who gets what when a shard takes less than is offered to it: by data. By seed, and by consumer: `fair_consumers.rs`.

mod shares;

use std::ops::Range;

use engine::dispatch::{Dispatcher, Fairness};
use engine::event::Event;
use engine::ids::{ShardId, StreamId};
use engine::ring::{Receiver, ring};
use engine::routing::{Delivery, Route};

use shares::{Books, event};

const STREAMS: usize = 150;
/// Consumers of the shard, with as many of the streams each.
const CONSUMERS: usize = 3;
/// The mark is at the top: only what has no room waits.
const TOP: Fairness = Fairness { high_water_permille: 1_000, ..Fairness::DEFAULT };

/// A shard under overload: what is offered to it, and what it takes.
struct Scene {
    dispatcher: Dispatcher,
    receiver: Receiver<Event>,
    rules: Vec<Delivery>,
    sequences: Vec<u64>,
    offered: Vec<u64>,
    /// Parts of each stream that had entered the ring when the count began.
    entered: Vec<u64>,
    /// Turns in which something was offered, and whether this is one.
    turns: Vec<(u64, bool)>,
}

impl Scene {
    fn new(ring_events: usize, spill_events: usize, fairness: Fairness, rules: &[Delivery]) -> Self {
        let mut dispatcher = Dispatcher::new(8);
        let (sender, receiver) = ring(ring_events);
        let output = dispatcher.add_output(ShardId(1), sender, spill_events);
        dispatcher.set_fairness(output, fairness);
        for (stream, &delivery) in rules.iter().enumerate() {
            let stream = StreamId(stream as u32);
            dispatcher.routing.add(stream, Route { output, delivery, book_depth: 1 });
            dispatcher.reserve(stream);
        }
        let none = vec![0; rules.len()];
        Self {
            dispatcher,
            receiver,
            rules: rules.to_vec(),
            sequences: none.clone(),
            offered: none.clone(),
            entered: none,
            turns: vec![(0, false); rules.len()],
        }
    }

    fn offer(&mut self, stream: usize) {
        self.sequences[stream] += 1;
        self.offered[stream] += 1;
        let (turns, this_one) = &mut self.turns[stream];
        *turns += u64::from(!std::mem::replace(this_one, true));
        let book = self.rules[stream] == Delivery::Book;
        self.dispatcher.offer(&[event(stream, self.sequences[stream], book)]);
    }

    fn flush(&mut self) {
        self.turns.iter_mut().for_each(|(_, this_one)| *this_one = false);
        self.dispatcher.flush(&mut Books(&self.rules), |_| {});
    }

    /// The shard takes so many parts.
    fn take(&mut self, parts: usize) -> usize {
        self.receiver.drain(parts, |_| {})
    }

    /// Parts of a stream that have entered the ring since the count began.
    fn got(&self, stream: usize) -> u64 {
        self.entered_total(stream) - self.entered[stream]
    }

    fn entered_total(&self, stream: usize) -> u64 {
        let (counts, _) = self.dispatcher.lane_counts(0, StreamId(stream as u32));
        counts.delivered_total + counts.gap_markers_total + counts.conflated_snapshots_total
    }

    /// Forgets what came while the ring was filling.
    fn begin(&mut self) {
        self.offered.fill(0);
        self.entered = (0..self.rules.len()).map(|stream| self.entered_total(stream)).collect();
        self.turns.fill((0, false));
    }

    fn check_sums(&self, what: &str) {
        for stream in 0..self.rules.len() {
            let (counts, in_flight) = self.dispatcher.lane_counts(0, StreamId(stream as u32));
            let ends = counts.delivered_total + counts.coalesced_total + counts.dropped_total;
            assert_eq!(counts.offered_total, ends + counts.unchanged_total + in_flight, "{what} {stream}");
            assert!(counts.over_share_total <= counts.dropped_total, "{what} {stream}");
        }
    }

    /// What DESIGN 6 promises whoever follows these streams, of which there are so many on the shard: the smaller of a
    /// quarter of what was offered and an equal share of what was taken. A stream that coalesces is owed its newest state
    /// once a turn that brought any.
    fn promised(&self, streams: Range<usize>, taken: usize, shares: usize) -> u64 {
        let offered: u64 = self.offered[streams.clone()].iter().sum();
        let owed = |stream: usize| match self.rules[stream] {
            Delivery::Lossless => self.offered[stream],
            _ => self.turns[stream].0,
        };
        (offered / 4).min((taken / shares) as u64).min(streams.map(owed).sum())
    }
}

/// One stream of `loud` is offered `times` what the shard takes, 149 of `quiet` together `quiet_percent` of it. Returns which
/// streams and consumers got less than promised.
fn one_loud(
    fairness: Fairness,
    (loud, quiet): (Delivery, Delivery),
    times: usize,
    quiet_percent: usize,
) -> Vec<String> {
    let what = format!("loud {} quiet {} x{times} {quiet_percent} %", loud.name(), quiet.name());
    let mut rules = vec![quiet; STREAMS];
    rules[7] = loud;
    let mut scene = Scene::new(1_024, 1_024, fairness, &rules);
    let per_turn = 64;
    let mut random = fastrand::Rng::with_seed(7);
    let mut taken = 0;
    for turn in 0..2_000 {
        if turn == 500 {
            scene.begin();
            taken = 0;
        }
        for _ in 0..per_turn * times {
            scene.offer(7);
        }
        for stream in (0..STREAMS).filter(|&stream| stream != 7) {
            if random.usize(0..(STREAMS - 1) * 100) < per_turn * quiet_percent {
                scene.offer(stream);
            }
        }
        scene.flush();
        taken += scene.take(per_turn);
    }
    scene.check_sums(&what);
    assert!(taken >= 1_400 * per_turn, "{what}: the shard is kept busy: {taken}");
    let each = STREAMS / CONSUMERS;
    let streams = (0..STREAMS).map(|stream| (stream..stream + 1, STREAMS));
    let consumers = (0..CONSUMERS).map(|consumer| (consumer * each..(consumer + 1) * each, CONSUMERS));
    let short = streams.chain(consumers).filter_map(|(streams, shares)| {
        let got: u64 = streams.clone().map(|stream| scene.got(stream)).sum();
        let promised = scene.promised(streams.clone(), taken, shares);
        // A burst that another has saved and an event of either, twice for a stream (fair_consumers.rs derives it).
        let is_short = got + 2 * (u64::from(fairness.burst_events) + 2) < promised;
        is_short.then(|| format!("{what}: streams {streams:?} got {got} of {promised}"))
    });
    short.collect()
}

/// All rules of a loud stream and of quiet ones.
const RULES: [(Delivery, Delivery); 9] = {
    use Delivery::{Book, Latest, Lossless};
    [
        (Latest, Latest),
        (Book, Book),
        (Lossless, Lossless),
        (Lossless, Latest),
        (Lossless, Book),
        (Latest, Lossless),
        (Book, Lossless),
        (Latest, Book),
        (Book, Latest),
    ]
};

#[test]
fn one_loud_stream_starves_none_of_149_quiet_ones_whatever_their_rules() {
    for rules in RULES {
        for (times, quiet_percent) in [(3, 20), (10, 50), (3, 150)] {
            let short = one_loud(Fairness::DEFAULT, rules, times, quiet_percent);
            assert!(short.is_empty(), "{short:#?}");
        }
    }
}

/// With the mark at the top of the ring nothing is throttled, and shares still order what waits.
#[test]
fn with_the_mark_at_the_top_what_waits_is_still_served_by_shares() {
    for loud in [Delivery::Latest, Delivery::Book] {
        let short = one_loud(TOP, (loud, Delivery::Lossless), 3, 150);
        assert!(short.is_empty(), "{short:#?}");
    }
}

/// What the rules stand against: the same ring, first come first served, what does not fit is dropped. The loud stream has
/// everything, and the quiet ones next to nothing.
#[test]
fn first_come_first_served_would_starve_the_quiet_ones() {
    let (mut sender, mut receiver) = ring(1_024);
    let (per_turn, turns) = (64, 2_000);
    let mut random = fastrand::Rng::with_seed(7);
    let (mut offered, mut got) = (vec![0_usize; STREAMS], vec![0; STREAMS]);
    for _ in 0..turns {
        let quiet = (0..STREAMS)
            .filter(|&stream| stream != 7 && random.usize(0..(STREAMS - 1) * 100) < per_turn * 150);
        for stream in std::iter::repeat_n(7, per_turn * 3).chain(quiet) {
            offered[stream] += 1;
            if sender.has_room(1) {
                sender.push(event(stream, 0, false));
            }
        }
        sender.publish();
        receiver.drain(per_turn, |event| got[event.header.stream.index()] += 1);
    }
    let promised = |stream: usize| (offered[stream] / 4).min(per_turn * turns / STREAMS);
    let short = (0..STREAMS).filter(|&stream| got[stream] < promised(stream) / 4).count();
    assert_eq!(short, STREAMS - 1, "{got:?}");
}

#[test]
fn below_the_mark_nobody_is_held_back_and_above_it_the_loud_stream_is_counted() {
    let mut scene = Scene::new(100, 64, Fairness::DEFAULT, &[Delivery::Latest; 10]);
    for _ in 0..50 {
        scene.offer(0);
    }
    let counts = |scene: &Scene, stream| scene.dispatcher.lane_counts(0, StreamId(stream)).0;
    assert_eq!((counts(&scene, 0).delivered_total, counts(&scene, 0).throttled_total), (50, 0));
    scene.flush();
    for _ in 0..20 {
        scene.offer(0);
    }
    // The first one is held back, and then it waits already; whoever comes in this turn is not behind it.
    assert_eq!((counts(&scene, 0).delivered_total, counts(&scene, 0).throttled_total), (50, 1));
    for stream in 1..10 {
        scene.offer(stream);
    }
    scene.flush();
    for stream in 0..10 {
        let delivered = if stream == 0 { 51 } else { 1 };
        assert_eq!(counts(&scene, stream).delivered_total, delivered, "the newest state of each");
    }
    assert_eq!(scene.take(usize::MAX), 60);
    assert_eq!(scene.dispatcher.output_state(0).full_total, 0);
    scene.check_sums("shares");
}

#[test]
fn a_loud_lossless_stream_leaves_room_in_the_spill() {
    let mut scene = Scene::new(8, 90, Fairness::DEFAULT, &[Delivery::Lossless; 3]);
    scene.flush();
    for _ in 0..200 {
        scene.offer(0);
    }
    let (loud, in_flight) = scene.dispatcher.lane_counts(0, StreamId(0));
    assert_eq!(
        (in_flight, loud.dropped_total, loud.over_share_total),
        (74, 118, 118),
        "the common half, its consumer's quarter and its own twelfth"
    );
    for _ in 0..7 {
        scene.offer(1);
        scene.offer(2);
    }
    let quiet = |stream| scene.dispatcher.lane_counts(0, StreamId(stream)).0.dropped_total;
    assert_eq!((quiet(1), quiet(2)), (0, 0));
    scene.check_sums("spill");
}
