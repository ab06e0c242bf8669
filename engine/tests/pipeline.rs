//! The pipeline: holes, duplicates, empty pools, bad frames, shares; and every message is accounted for.

use engine::book::BookRule;
use engine::channel::{Channel, Interval};
use engine::dispatch::Dispatcher;
use engine::event::{Body, Event};
use engine::ids::{LineId, ShardId};
use engine::pipeline::{FrameOutcome, Pipeline, PipelineOptions, Readiness};
use engine::pools::PoolSizes;
use engine::ring::{Receiver, ring};
use engine::routing::{Delivery, Route};
use engine::testing::{self, TextVenue, stream};
use engine::time::{FixedClock, ReceiveTime};

struct Rig {
    pipeline: Pipeline<TextVenue>,
    receiver: Receiver<Event>,
    clock: FixedClock,
}

impl Rig {
    fn new(options: PipelineOptions) -> Self {
        let mut dispatcher = Dispatcher::new(16);
        let (sender, receiver) = ring(1 << 14);
        let output = dispatcher.add_output(ShardId(0), sender, 64);
        for instrument in 0..3 {
            for channel in testing::CHANNELS {
                let route = Route { output, delivery: Delivery::Lossless, book_depth: usize::MAX };
                dispatcher.routing.add(stream(instrument, channel), route);
            }
        }
        let rule = BookRule::RestSnapshotRange;
        let pipeline = testing::pipeline(rule, &["AAA", "BBB", "CCC"], dispatcher, options);
        Self { pipeline, receiver, clock: FixedClock(ReceiveTime::from_ns(1)) }
    }

    fn frame(&mut self, text: &str) -> FrameOutcome {
        self.frame_of(LineId(0), text)
    }

    fn frame_of(&mut self, line: LineId, text: &str) -> FrameOutcome {
        let at = self.clock.0;
        let outcome = self.pipeline.frame(line, &mut text.as_bytes().to_vec(), at, &mut self.clock);
        let counts = self.pipeline.counts();
        let sum = self.pipeline.messages_applied() + self.pipeline.messages_waiting();
        let sum = sum + counts.stale_total + counts.unusable_total + counts.unpublished_total;
        assert_eq!(counts.messages_total, sum, "{text}: {counts:?}");
        outcome
    }

    fn published(&mut self) -> String {
        self.pipeline.flush(&mut self.clock, |_| {});
        let mut said = Vec::new();
        self.receiver.drain(usize::MAX, |event| {
            said.push(match event.body {
                Body::Trade(trade) => trade.id.to_string(),
                Body::Gap(gap) => format!("gap({}-{})", gap.from, gap.to),
                _ => format!("{}{}", event.kind().name(), event.header.sequence_last),
            });
        });
        said.join(" ")
    }
}

/// Trades in the order given (`t5` is not published, `b5` comes by a second line), `!` lets 150 ms pass, `~` two seconds after which
/// the second line is looked at, `end` is the end of the input.
fn check(options: PipelineOptions, input: &str, expected: &str) -> Rig {
    let mut rig = Rig::new(options);
    for word in input.split_whitespace() {
        match word {
            "!" => {
                rig.clock.0 = rig.clock.0.plus_ns(150_000_000);
                rig.pipeline.timeout(rig.clock.0, &mut rig.clock.clone());
            }
            "~" => {
                rig.clock.0 = rig.clock.0.plus_ns(2_000_000_000);
                rig.pipeline.waits_to_join(LineId(1), rig.clock.0);
                rig.pipeline.timeout(rig.clock.0, &mut rig.clock.clone());
            }
            "end" => rig.pipeline.finish(),
            _ => {
                let (line, word) = word.strip_prefix('b').map_or((LineId(0), word), |word| (LineId(1), word));
                let (kind, id) = if let Some(id) = word.strip_prefix('t') { ("t", id) } else { ("T", word) };
                rig.frame_of(line, &format!("{kind} AAA {id}"));
            }
        }
    }
    assert_eq!(rig.published(), expected, "{input}");
    rig
}

fn two_lines() -> PipelineOptions {
    PipelineOptions { lines: 2, ..testing::options() }
}

#[test]
fn on_a_single_line_a_hole_is_a_gap_at_once() {
    check(testing::options(), "1 2 2 1 5 4 6", "1 2 gap(3-4) 5 6");
    check(testing::options(), "1 t2 3 t5 6 t6", "1 3 gap(4-4) 6");
}

#[test]
fn on_several_lines_a_hole_waits_150_ms_and_no_longer() {
    check(two_lines(), "1 3 4 2 5", "1 2 3 4 5");
    check(two_lines(), "1 3 6 ! 7", "1 gap(2-2) 3 gap(4-5) 6 7");
    check(two_lines(), "1 3 3 5 end", "1 gap(2-2) 3 gap(4-4) 5");
    let rig = check(two_lines(), "1 3", "1");
    assert_eq!(rig.pipeline.deadline(), Some(ReceiveTime::from_ns(150_000_001)));
}

#[test]
fn what_a_new_line_leaves_to_an_older_one_is_not_forgotten_where_that_brings_nothing_more() {
    check(two_lines(), "1 2 b5 3 4 5 ~ b6", "1 2 3 4 5 6");
    check(two_lines(), "1 2 b5 b6 3 ~ 4 ~ ~ !", "1 2 3 4 gap(5-5) 6");
    // Nothing happens in the market any more.
    check(two_lines(), "1 2 b5 ~ !", "1 2 gap(3-4) 5");
    check(two_lines(), "1 2 b5 3 4 ~ ~", "1 2 3 4 5");
    check(two_lines(), "1 2 b5 end", "1 2 gap(3-4) 5");
    // What the venue shows of the time before a subscription, as it comes: newest first, too.
    let fills = PipelineOptions { fill_trades: true, ..two_lines() };
    check(fills, "1 2 bt5 ~ !", "1 2 gap(3-4) 5");
    let rig = check(fills, "1 2 bt5 bt4 bt3 ~ !", "1 2 3 gap(4-4) 5");
    assert_eq!(rig.pipeline.messages_waiting(), 0);
    assert_eq!(rig.pipeline.pools().events.usage().out, 0);
}

#[test]
fn what_is_held_is_looked_at_once_in_the_flush_time() {
    let mut rig = Rig::new(two_lines());
    let look = |rig: &mut Rig, at_ms: u64| {
        rig.clock.0 = ReceiveTime::from_ns(at_ms * 1_000_000);
        rig.pipeline.timeout(rig.clock.0, &mut rig.clock.clone());
        rig.published()
    };
    rig.frame("T AAA 1");
    look(&mut rig, 10);
    rig.frame("T AAA 3");
    // Overdue at 160; looked at then at 140, so the next time is 190.
    assert_eq!([140, 160, 189].map(|at_ms| look(&mut rig, at_ms)), [""; 3]);
    assert_eq!(rig.pipeline.deadline(), Some(ReceiveTime::from_ns(190_000_000)));
    assert_eq!(look(&mut rig, 190), "gap(2-2) 3");
}

#[test]
fn a_trade_that_is_not_published_fills_its_hole_and_frees_what_waits() {
    let rig = check(two_lines(), "1 3 4 t2", "1 3 4");
    assert_eq!((rig.pipeline.deadline(), rig.pipeline.messages_waiting()), (None, 0));
    check(two_lines(), "1 t3 4 2", "1 2 4");
    check(two_lines(), "1 t3 4 end", "1 gap(2-2) 4");
}

#[test]
fn no_more_trades_wait_than_may() {
    let mut options = two_lines();
    options.patience.held_max = 2;
    check(options, "1 3 5 7 8 end", "1 gap(2-2) 3 gap(4-4) 5 gap(6-6) 7 8");
    options.patience.held_max = 0;
    check(options, "1 3 4 6", "1 gap(2-2) 3 4 gap(5-5) 6");
}

#[test]
fn an_empty_pool_of_events_gives_up_the_oldest_hole_and_loses_nothing_it_has() {
    let mut options = two_lines();
    options.pools = PoolSizes { events: 1, ..PoolSizes::SPEC };
    let rig = check(options, "1 3 5 end", "1 gap(2-2) 3 gap(4-4) 5");
    assert_eq!(rig.pipeline.counts().pool_empty_total, 1);
    options.pools.events = 0;
    check(options, "1 3 4 6", "1 gap(2-2) 3 4 gap(5-5) 6");
}

#[test]
fn an_empty_pool_of_raws_is_waited_for_100_ms_and_then_done_without() {
    let mut options = testing::options();
    options.pools = PoolSizes { raws: 1, ..PoolSizes::SPEC };
    let mut rig = Rig::new(options);
    assert_eq!(rig.pipeline.readiness(rig.clock.0), Readiness::Ready);
    rig.frame("D AAA 1-1 b1=1");
    let deadline = rig.clock.0.plus_ns(100_000_000);
    assert_eq!(rig.pipeline.readiness(rig.clock.0), Readiness::Wait { deadline });
    assert_eq!(rig.pipeline.readiness(deadline), Readiness::Ready);
    assert_eq!(rig.pipeline.counts().pool_timeouts_total, 1);
    rig.frame("T AAA 1");
    rig.frame("D AAA 2-2 b1=2");
    assert_eq!(rig.published(), "1");
    assert_eq!((rig.pipeline.counts().unusable_total, rig.pipeline.messages_waiting()), (1, 1));
    rig.pipeline.release_slots();
    assert!(rig.pipeline.pools().raws.outstanding().is_empty());
    assert!(rig.pipeline.pools().events.outstanding().is_empty());
}

#[test]
fn bad_frames_are_counted_and_disturb_nobody() {
    let mut rig = Rig::new(testing::options());
    for text in [
        "T AAA 1",
        "T ZZZ 1",
        "X AAA 1",
        "T AAA",
        "D AAA 1-x",
        "\u{0}",
        "T AAA 2",
        "Q AAA 7",
        "Q AAA 7",
        "Q AAA 6",
    ] {
        rig.frame(text);
    }
    assert_eq!(rig.published(), "1 2 Ticker7");
    let errors: Vec<_> = rig.pipeline.errors().iter().collect();
    assert_eq!(errors, [("unknown_symbol", 1), ("unknown_channel", 1), ("json", 2), ("missing_field", 1)]);
    assert_eq!((rig.pipeline.counts().decode_errors_total, rig.pipeline.counts().stale_total), (5, 2));
    let letters = rig.pipeline.dispatcher.letters.iter();
    let letters: Vec<_> =
        letters.map(|letter| (letter.trace.frame(), letter.excerpt.as_slice().to_vec())).collect();
    let said = |frame: u64, text: &str| (frame, text.as_bytes().to_vec());
    assert_eq!(
        letters,
        [said(2, "T ZZZ 1"), said(3, "X AAA 1"), said(4, "T AAA"), said(5, "D AAA 1-x"), said(6, "\u{0}")],
        "each with its frame and its first bytes"
    );
    assert!(matches!(rig.frame("!"), FrameOutcome::Notice(_)));
}

#[test]
fn every_event_carries_the_routing_version_under_which_it_was_routed() {
    let mut rig = Rig::new(testing::options());
    let mut versions = Vec::new();
    for step in 1..=3_u32 {
        let version = rig.pipeline.dispatcher.routing.version() + 1;
        rig.pipeline.dispatcher.routing.begin_version(version);
        rig.frame(&format!("T AAA {step}"));
        rig.frame(&format!("Q BBB {step}"));
        versions.extend([version; 2]);
    }
    rig.pipeline.flush(&mut rig.clock, |_| {});
    let mut found = Vec::new();
    rig.receiver.drain(usize::MAX, |event| found.push(event.header.routing_version));
    assert_eq!(found, versions);
}

#[test]
fn shares_of_a_session_are_together_the_whole() {
    let session = |count: u16| -> Vec<String> {
        let mut all = Vec::new();
        for index in 0..count {
            let mut rig = Rig::new(PipelineOptions { share: (index, count), ..testing::options() });
            let mut random = fastrand::Rng::with_seed(9);
            for step in 1..400_u64 {
                let symbol = ["AAA", "BBB", "CCC"][random.usize(0..3)];
                let other = ["AAA", "BBB", "CCC"][random.usize(0..3)];
                rig.frame(&format!("T {symbol} {step};Q {other} {step};K {symbol} {step}"));
            }
            rig.pipeline.flush(&mut rig.clock, |_| {});
            rig.receiver.drain(usize::MAX, |event| {
                all.push(format!(
                    "{:06} {:?} {:?}",
                    event.header.stream, event.header.sequence_last, event.body
                ));
            });
        }
        all.sort();
        all
    };
    let whole = session(1);
    assert!(whole.len() > 1_100);
    for count in 2..=4 {
        assert!(session(count) == whole, "{count} shards");
    }
}

#[test]
fn streams_without_numbers_get_their_own() {
    let mut rig = Rig::new(testing::options());
    for open in [60, 60, 120] {
        rig.frame(&format!("K AAA {open}"));
    }
    assert_eq!(rig.published(), "KlineSummary1 KlineSummary2 KlineSummary3");
    assert_eq!(rig.pipeline.sequence_counts(stream(0, Channel::Kline(Interval::M1))).applied_total, 3);
}
