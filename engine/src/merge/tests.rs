//! The merge rules of the design, as scripts in simulated time.
//!
//! A script is read from left to right: `0@5` is a trade of provider 0 received at 5 ns, `0@5=3` one with trade id 3 (else
//! ids count up), `m1@20` says that input 1 has passed 20, `t200` lets the clock reach 200. Times may be written `10s`,
//! `150ms`, `10s-1`. Merged events are written `[opened..closed) count provider#id...`, closed by `]` if by count;
//! suppressed windows end with `missing` and who was.

mod best;

use std::fmt::Write;
use std::sync::Arc;

use super::joined::Joiner;
use super::marker::{MARKER_EVERY_NS, MarkerPace, marker, passed};
use super::testing::{CHANNELS, at, catalog, on, rule, stream, ticker, trade};
use super::*;
use crate::channel::{Channel, Interval};
use crate::decimal::{Decimals, Price, Qty};
use crate::event::{
    Amount, BookPart, BookReason, BookStatus, Gap, GapReason, Kline, LEVELS_PER_PART, Level, MergedBbo,
    Proof, WindowEnd,
};
use crate::ids::ShardId;
use crate::pools::PoolSizes;
use crate::ring::{Receiver, ring};
use crate::routing::{Delivery, Route};
use crate::time::VenueTime;

const MERGES: ProviderId = ProviderId(200);
const SECOND: u64 = 1_000_000_000;

struct World {
    merger: Merger,
    receiver: Receiver<Event>,
    joiner: Joiner,
    now: ReceiveTime,
    sequences: [u64; 8],
    seen: Vec<String>,
    events: Vec<Event>,
}

impl World {
    fn new(inputs: u8, sizes: PoolSizes) -> Self {
        let (sender, receiver) = ring(4_096);
        let mut dispatcher = Dispatcher::new(4);
        dispatcher.add_output(ShardId(1), sender, 64);
        let options = MergerOptions { provider: MERGES, patience_ns: PATIENCE_NS };
        let catalog = Arc::new(catalog(usize::from(inputs), 4));
        let mut merger = Merger::new(options, catalog, MergePools::new(&sizes), dispatcher);
        for provider in 0..inputs {
            assert_eq!(merger.add_input(ProviderId(provider)), usize::from(provider));
        }
        let (joiner, seen) = (Joiner::new(), Vec::new());
        Self { merger, receiver, joiner, now: at(0), sequences: [0; 8], seen, events: Vec::new() }
    }

    fn add(&mut self, rule: &MergeRule) -> Vec<StreamId> {
        let streams = self.merger.add_rule(rule).expect("a good rule");
        self.merger.dispatcher.routing.begin_version(7);
        for &stream in &streams {
            let route = Route { output: 0, delivery: Delivery::Lossless, book_depth: 0 };
            self.merger.dispatcher.routing.add(stream, route);
        }
        streams
    }

    fn event(&mut self, event: &Event) {
        self.now = self.now.max(event.header.receive_time);
        self.merger.on_event(event.header.provider.index(), event, self.now);
        self.collect();
    }

    fn collect(&mut self) {
        self.merger.flush(|_| {});
        while let Some(event) = self.receiver.pop() {
            assert_eq!((event.header.provider, event.header.routing_version), (MERGES, 7));
            self.events.push(event);
            let Some(joined) = self.joiner.take(&event) else { continue };
            let (head, mut text) = (joined.head, String::new());
            assert_eq!(usize::from(head.providers_present), joined.fragments.len());
            assert_eq!(head.providers_present, head.providers_expected, "a partial merge was emitted");
            let bracket = if head.end == WindowEnd::Count { ']' } else { ')' };
            let (opened, closed) = (written(head.opened), written(head.closed));
            write!(text, "[{opened}..{closed}{bracket} {}", head.event_count).expect("memory");
            for fragment in &joined.fragments {
                write!(text, " {}#{}", fragment.provider, fragment.sequence).expect("memory");
            }
            self.seen.push(text);
        }
        while let Some(gone) = self.merger.poll_suppressed() {
            let missing: Vec<String> = gone.missing.iter().map(ToString::to_string).collect();
            let (opened, closed) = (written(gone.opened), written(gone.closed));
            let missing = missing.join(",");
            self.seen.push(format!("[{opened}..{closed}) {} missing {missing}", gone.event_count));
        }
    }

    fn step(&mut self, word: &str) {
        if let Some(time) = word.strip_prefix('t') {
            self.now = self.now.max(at(time_of(time)));
            self.merger.timeout(self.now);
        } else if let Some(rest) = word.strip_prefix('m') {
            let (input, time) = rest.split_once('@').expect("m<input>@<time>");
            let provider = ProviderId(input.parse().expect("an input"));
            let event = marker(provider, at(time_of(time)));
            return self.event(&event);
        } else {
            let (provider, rest) = word.split_once('@').expect("<provider>@<time>");
            let provider: u8 = provider.parse().expect("a provider");
            let (time, explicit) = rest.split_once('=').map_or((rest, None), |(time, id)| (time, Some(id)));
            let next = &mut self.sequences[usize::from(provider)];
            let sequence = explicit.map_or(*next + 1, |id| id.parse().expect("an id"));
            *next += u64::from(explicit.is_none());
            let event = trade(provider, 0, time_of(time), sequence);
            return self.event(&event);
        }
        self.collect();
    }

    fn run(&mut self, script: &str) {
        script.split_ascii_whitespace().for_each(|word| self.step(word));
    }

    /// What must hold at any time.
    fn check_sums(&self) {
        let counts = self.merger.counts();
        let held = self.merger.held_count() as u64;
        assert_eq!(
            counts.events_total,
            counts.unwanted_total
                + counts.duplicates_total
                + counts.best_total
                + counts.held_total
                + counts.no_slot_total
        );
        assert_eq!(counts.held_total, counts.released_total + held);
        let mut open_windows = 0;
        for stream in 0..self.merger.merges.len() {
            let (counts, open) = self.merger.merge_counts(StreamId(stream as u32));
            let in_windows =
                counts.complete_events_total + counts.partial_events_total + counts.discarded_events_total;
            if counts.best_changes_total == 0 {
                assert_eq!(counts.events_total, counts.late_total + counts.no_slot_total + in_windows + open);
            }
            let ended =
                counts.windows_complete_total + counts.windows_partial_total + counts.windows_discarded_total;
            assert_eq!(counts.windows_opened_total, ended + u64::from(open > 0));
            open_windows += usize::from(open > 0);
        }
        let pools = self.merger.pools();
        assert_eq!((pools.events.usage().out as u64, pools.merged.usage().out), (held, open_windows));
    }
}

fn time_of(text: &str) -> u64 {
    let (base, delta) = match text.find(['+', '-']) {
        Some(split) => (&text[..split], text[split..].parse::<i64>().expect("a difference")),
        None => (text, 0),
    };
    let (digits, unit) = if let Some(digits) = base.strip_suffix("ms") {
        (digits, 1_000_000)
    } else if let Some(digits) = base.strip_suffix('s') {
        (digits, SECOND)
    } else {
        (base, 1)
    };
    (digits.parse::<u64>().expect("a time") * unit).strict_add_signed(delta)
}

fn written(time: ReceiveTime) -> String {
    match time.ns() {
        0 => "0".to_owned(),
        ns if ns % SECOND == 0 => format!("{}s", ns / SECOND),
        ns if ns % 1_000_000 == 0 => format!("{}ms", ns / 1_000_000),
        ns => ns.to_string(),
    }
}

/// Runs a script over one rule on trades of `providers`; expects these windows and so many late events.
fn check(providers: u8, window_ns: u64, count: u32, script: &str, expected: &[&str], late: u64) {
    let mut world = World::new(providers, PoolSizes::SPEC);
    let streams = world.add(&rule("r", MergeKind::Trade, providers, window_ns, count));
    world.run(script);
    assert_eq!(world.seen, expected, "{script}");
    assert_eq!(world.merger.merge_counts(streams[0]).0.late_total, late, "{script}");
    world.check_sums();
    assert_eq!((world.joiner.duplicates_total(), world.joiner.broken_total()), (0, 0));
}

fn check_10_s(script: &str, expected: &[&str], late: u64) {
    check(2, 10 * SECOND, 1_000, script, expected, late);
}

#[test]
fn a_window_covers_exactly_its_length() {
    check_10_s("0@1s 1@11s-1 m0@12s m1@12s", &["[1s..11s) 2 0#1 1#1"], 0);
    check_10_s("0@1s 1@11s m0@12s m1@12s", &["[1s..11s) 1 missing 1"], 0);
}

#[test]
fn it_opens_on_the_first_event_and_the_next_opens_on_the_next() {
    check_10_s("0@1s 1@2s 1@30s 0@31s m0@60s m1@60s", &["[1s..11s) 2 0#1 1#1", "[30s..40s) 2 0#2 1#2"], 0);
}

#[test]
fn the_latest_event_of_each_provider_is_shown_and_all_are_counted() {
    check_10_s("0@1s 0@2s 1@3s 0@4s 1@5s m0@11s m1@11s", &["[1s..11s) 5 0#3 1#2"], 0);
}

#[test]
fn it_does_not_close_before_every_input_has_passed_its_end() {
    check_10_s("0@1s 1@2s m0@11s m1@11s-1", &[], 0);
    check_10_s("0@1s 1@2s m0@11s m1@11s", &["[1s..11s) 2 0#1 1#1"], 0);
    check_10_s("0@1s 1@2s 0@20s 1@20s", &["[1s..11s) 2 0#1 1#1"], 0);
}

#[test]
fn an_input_that_does_not_pass_is_waited_for_150_ms() {
    check_10_s("0@1s 1@2s m0@11s t11150ms-1", &[], 0);
    check_10_s("0@1s 1@2s m0@11s t11150ms", &["[1s..11s) 2 0#1 1#1"], 0);
}

#[test]
fn a_provider_that_never_comes_suppresses_every_window() {
    check_10_s(
        "0@1s t11150ms 0@12s 0@13s t22150ms 0@30s",
        &["[1s..11s) 1 missing 1", "[12s..22s) 2 missing 1"],
        0,
    );
}

#[test]
fn a_provider_that_stands_still_delays_the_others_once() {
    let mut world = World::new(3, PoolSizes { events: 9, ..PoolSizes::SPEC });
    world.merger.options.patience_ns = 100;
    world.add(&rule("two", MergeKind::Trade, 2, 1_000, 2));
    world.add(&MergeRule { count: 3, ..rule("three", MergeKind::Trade, 3, 1_000, 3) });
    world.run("0@10 1@20 t120");
    assert_eq!(world.seen, [""; 0]);
    world.run("t121");
    assert_eq!(world.seen, ["[10..20] 2 0#1 1#1"]);
    assert!(world.merger.is_lagging(2));
    world.run("0@130 1@140 0@150 1@160 m0@170");
    assert_eq!(
        world.seen[1..],
        ["[10..130) 3 missing 2", "[130..140] 2 0#2 1#2", "[150..160] 2 0#3 1#3", "[140..160) 3 missing 2"],
        "nobody waits again"
    );
    world.run("2@165 m0@2000 m1@2000");
    assert_eq!(world.seen.len(), 5, "it has caught up and is waited for");
    world.run("t2001");
    assert_eq!(world.seen[5..], ["[165..1165) 1 missing 0,1"]);
    world.check_sums();
}

#[test]
fn late_by_one_nanosecond_is_late() {
    // Closed by patience at 11.150 s; input 1 brings what it received before the end, one at and one just before it.
    check_10_s(
        "0@1s 1@2s m0@11s t11150ms 1@11s-1 1@11s m0@30s m1@30s",
        &["[1s..11s) 2 0#1 1#1", "[11s..21s) 1 missing 0"],
        1,
    );
}

#[test]
fn an_event_for_the_open_window_is_in_time_even_if_its_wait_was_ended() {
    check_10_s("0@1s m0@3s t5s 1@2s m0@11s m1@11s", &["[1s..11s) 2 0#1 1#1"], 0);
}

#[test]
fn an_event_before_the_open_window_is_late() {
    check_10_s("0@2s t5s 1@1s 1@3s m0@12s m1@12s", &["[2s..12s) 2 0#1 1#2"], 1);
}

#[test]
fn exactly_the_count_closes() {
    let feed =
        |count: usize| (0..count).map(|n| format!("{}@{}", n % 2, n + 1)).collect::<Vec<_>>().join(" ");
    check_10_s(&(feed(999) + " m0@5s m1@5s"), &[], 0);
    check_10_s(&(feed(1_000) + " m0@5s m1@5s"), &["[1..1000] 1000 0#500 1#500"], 0);
    check_10_s(
        &(feed(1_001) + " m0@5s m1@20s m0@20s"),
        &["[1..1000] 1000 0#500 1#500", "[1001..10000001001) 1 missing 1"],
        0,
    );
}

#[test]
fn a_count_without_every_provider_is_suppressed_too() {
    check(2, 100, 2, "0@1 0@2 m1@3 1@4 0@5 m1@6", &["[1..2) 2 missing 1", "[4..5] 2 0#3 1#1"], 0);
}

#[test]
fn count_and_length_at_once_close_once() {
    // The event that would be the last of the count comes in the last nanosecond, then exactly at the end.
    check(2, 10, 3, "0@1 1@5 0@10 m0@30 m1@30", &["[1..10] 3 0#2 1#1"], 0);
    check(2, 10, 3, "0@1 1@5 0@11 m0@30 m1@30", &["[1..11) 2 0#1 1#1", "[11..21) 1 missing 1"], 0);
}

#[test]
fn events_of_one_time_come_in_the_order_of_the_inputs() {
    for script in
        ["0@5 0@5 1@5 1@5 m0@30 m1@30", "1@5 1@5 0@5 0@5 m1@30 m0@30", "1@5 0@5 1@5 0@5 m1@30 m0@30"]
    {
        check(2, 10, 3, script, &["[5..5] 3 0#2 1#1", "[5..15) 1 missing 0"], 0);
    }
}

#[test]
fn an_idle_input_is_passed_by_its_markers() {
    check_10_s("0@1s 1@1s+5 m1@5s 0@6s m1@11s m0@11s", &["[1s..11s) 3 0#2 1#1"], 0);
}

#[test]
fn an_event_that_comes_twice_counts_once() {
    check_10_s("0@1s=1 0@1s=1 1@2s=9 0@3s=2 0@4s=1 1@2s=9 m0@11s m1@11s", &["[1s..11s) 3 0#2 1#9"], 0);
    let mut world = World::new(2, PoolSizes::SPEC);
    world.add(&rule("r", MergeKind::Trade, 2, 10, 10));
    world.run("0@1=1 0@1=1 1@2=9 0@3=2 0@4=1");
    assert_eq!(world.merger.counts().duplicates_total, 2);
    world.check_sums();
}

#[test]
fn a_merged_event_that_comes_twice_is_joined_once() {
    let mut world = World::new(2, PoolSizes::SPEC);
    world.add(&rule("r", MergeKind::Trade, 2, 10, 10));
    world.run("0@1 1@2 m0@30 m1@30");
    let parts = world.events.clone();
    assert_eq!(parts.len(), 3);
    let mut joiner = Joiner::new();
    assert_eq!(parts.iter().filter(|part| joiner.take(part).is_some()).count(), 1);
    assert_eq!(parts.iter().filter(|part| joiner.take(part).is_some()).count(), 0);
    assert_eq!((joiner.duplicates_total(), joiner.broken_total()), (1, 0));
    let mut joiner = Joiner::new();
    assert!(parts[1..].iter().all(|part| joiner.take(part).is_none()), "a beginning is missing");
    assert_eq!(joiner.broken_total(), 2);
}

#[test]
fn a_restart_discards_open_windows_and_repeats_no_merge_id() {
    let mut before = World::new(2, PoolSizes::SPEC);
    before.add(&rule("r", MergeKind::Trade, 2, 10 * SECOND, 1_000));
    before.run("0@1s 1@2s m0@11s m1@11s 0@12s 1@13s");
    assert_eq!(before.seen, ["[1s..11s) 2 0#1 1#1"]);
    let mut after = World::new(2, PoolSizes::SPEC);
    after.joiner = std::mem::take(&mut before.joiner);
    drop(before);
    after.add(&rule("r", MergeKind::Trade, 2, 10 * SECOND, 1_000));
    after.run("0@14s=7 1@15s=8 m0@24s m1@24s");
    assert_eq!(after.seen, ["[14s..24s) 2 0#7 1#8"]);
    assert_eq!(after.joiner.duplicates_total(), 0);
}

#[test]
fn a_rule_and_an_input_that_come_in_the_middle_leave_open_windows_alone() {
    let mut world = World::new(2, PoolSizes::SPEC);
    world.merger.set_catalog(Arc::new(catalog(3, 4)));
    let first = world.add(&rule("two", MergeKind::Trade, 2, 100, 1_000));
    world.run("0@10 1@20");
    let input = world.merger.add_input(ProviderId(2));
    assert_eq!(input, 2);
    let second = world.add(&rule("three", MergeKind::Trade, 3, 100, 1_000));
    assert_ne!(first, second, "numbers are not used twice");
    // The newcomer is waited for from now on; its rule begins with what had not had its turn.
    world.run("0@50 m0@300 m1@300");
    assert_eq!(world.seen, [""; 0]);
    world.run("2@60 m2@300");
    assert_eq!(world.seen, ["[10..110) 3 0#2 1#1", "[20..120) 3 0#2 1#1 2#1"]);
    world.check_sums();
    // Removing one leaves the other, and what was counted of it stays in the sum.
    assert!(world.merger.remove_rule("two"));
    assert_eq!(world.merger.totals().0.windows_complete_total, 2, "one of each rule");
    assert_eq!(world.add(&rule("two", MergeKind::Trade, 2, 100, 1_000)), [StreamId(2)]);
    world.check_sums();
}

#[test]
fn removing_a_rule_discards_its_window_and_returns_every_slot() {
    let mut world = World::new(2, PoolSizes::SPEC);
    let streams = world.add(&rule("r", MergeKind::Trade, 2, 10, 10));
    assert_eq!(world.merger.wanted().count(), 2);
    world.run("0@1 1@2 m0@2 0@3");
    assert!(world.merger.remove_rule("r") && !world.merger.remove_rule("r"));
    assert_eq!(world.merger.wanted().count(), 0);
    world.run("1@4 0@20 m0@50 m1@50");
    assert_eq!(world.seen, [""; 0]);
    let (counts, open) = world.merger.merge_counts(streams[0]);
    assert_eq!((counts.windows_discarded_total, counts.discarded_events_total, open), (1, 2, 0));
    world.check_sums();
    assert_eq!(world.merger.pools().events.usage().out, 0);
    assert!(world.merger.dispatcher.routing.of(streams[0]).is_empty());
    let again = world.add(&rule("r", MergeKind::Trade, 2, 10, 10));
    assert_ne!(streams, again, "numbers of streams are not used twice");
    world.run("0@60 1@61 m0@80 m1@80");
    assert_eq!(world.seen, ["[60..70) 2 0#4 1#3"]);
}

#[test]
fn rules_are_added_once_and_refused_whole() {
    let sizes = PoolSizes { merged: 2, ..PoolSizes::SPEC };
    let mut world = World::new(3, sizes);
    let good = rule("r", MergeKind::Trade, 2, 10, 10);
    let first = world.add(&good);
    assert_eq!(world.merger.add_rule(&good), Ok(first), "a repeated command is harmless");
    let other = MergeRule { count: 11, ..good.clone() };
    assert_eq!(world.merger.add_rule(&other), Err(RuleError::NameTaken { name: "r".to_owned() }));
    let mut large = rule("large", MergeKind::Trade, 2, 10, 10);
    large.inputs.iter_mut().for_each(|input| input.1.push(InstrumentId(1)));
    assert_eq!(world.merger.add_rule(&large), Err(RuleError::PoolTooSmall { needed: 3, capacity: 2 }));
    let zero = rule("zero", MergeKind::Trade, 3, 0, 10);
    assert_eq!(world.merger.add_rule(&zero), Err(RuleError::Window { found_ns: 0 }));
    assert_eq!((world.merger.rules().count(), world.merger.wanted().count()), (1, 2));
    let best = rule("best", MergeKind::Bbo(BboSource::Ticker), 3, 0, 0);
    assert_eq!(world.merger.add_rule(&best).map(|streams| streams.len()), Ok(1), "it has no windows");
}

#[test]
fn a_provider_whose_ring_does_not_end_here_is_refused() {
    let mut world = World::new(2, PoolSizes::SPEC);
    world.merger.catalog = Arc::new(catalog(3, 1));
    let refused = world.merger.add_rule(&rule("r", MergeKind::Trade, 3, 10, 10));
    assert_eq!(refused, Err(RuleError::UnknownProvider(ProviderId(2))));
}

#[test]
fn fragments_keep_their_own_scale_times_and_instrument() {
    let mut world = World::new(2, PoolSizes::SPEC);
    let mut joins = rule("r", MergeKind::Kline(Interval::M1), 2, 10, 10);
    joins.inputs[1].1[0] = InstrumentId(1);
    world.add(&joins);
    let kline = Kline {
        open_time: VenueTime::from_ns(1),
        close_time: VenueTime::from_ns(2),
        open: Price(3),
        high: Price(4),
        low: Price(5),
        close: Price(6),
        volume: Qty(7),
        taker_buy_volume: Qty(8),
        quote_volume: Amount { mantissa: 9, decimals: 1 },
        trade_count: 10,
        interval: Interval::M1,
    };
    let mut first = on(0, Channel::Kline(Interval::M1), 5, 70, Body::Kline(kline));
    first.header.flags = first.header.flags.with(Flags::FINAL);
    let mut second = on(1, Channel::Kline(Interval::M1), 6, 80, Body::Kline(kline));
    second.header.stream = stream(1, Channel::Kline(Interval::M1));
    second.header.instrument = InstrumentId(1);
    second.header.venue_time = VenueTime::from_ns(99);
    world.event(&first);
    world.event(&second);
    world.run("m0@30 m1@30");
    assert_eq!(world.seen, ["[5..15) 2 0#70 1#80"]);
    let [head, one, two] = world.events[..] else { panic!("three parts") };
    let marks = |event: &Event| {
        let flags = event.header.flags;
        (flags.has(Flags::FIRST), flags.has(Flags::LAST), flags.has(Flags::FINAL))
    };
    assert_eq!(
        [marks(&head), marks(&one), marks(&two)],
        [(true, false, false), (false, false, true), (false, true, false)]
    );
    for (number, part) in [head, one, two].iter().enumerate() {
        assert_eq!((part.header.receive_time, part.header.sequence_last), (at(15), 5));
        assert_eq!((usize::from(part.header.part), part.header.stream), (number, StreamId(0)));
    }
    assert_eq!(one.header.decimals, Decimals { price: 2, qty: 8 });
    assert_eq!(two.header.decimals, Decimals { price: 3, qty: 7 });
    assert_eq!((two.header.instrument, two.header.venue_time), (InstrumentId(1), VenueTime::from_ns(99)));
    let Body::Fragment { receive_time, .. } = two.body else { panic!("a fragment") };
    assert_eq!(receive_time, at(6));
}

/// What each input brings, in its own order: trades of two instruments, some older than those before, some twice.
fn random_inputs(random: &mut fastrand::Rng, inputs: u8) -> Vec<Vec<Event>> {
    let one = |provider: u8, random: &mut fastrand::Rng| {
        let mut time = random.u64(1..50);
        let mut events: Vec<Event> = Vec::new();
        for sequence in 1..random.u64(20..80) {
            time += if random.u8(0..4) == 0 { 0 } else { random.u64(0..30) };
            let back = if random.u8(0..8) == 0 { random.u64(0..60) } else { 0 };
            let received = time.saturating_sub(back);
            match random.u8(0..12) {
                0 => events.push(marker(ProviderId(provider), at(time))),
                1 if !events.is_empty() => events.push(events[events.len() - 1]),
                _ => events.push(trade(provider, random.u16(0..2), received, sequence)),
            }
        }
        events.push(marker(ProviderId(provider), at(100_000)));
        events
    };
    (0..inputs).map(|provider| one(provider, random)).collect()
}

fn two_rules(random: &mut fastrand::Rng, inputs: u8) -> Vec<MergeRule> {
    let mut wide = rule("wide", MergeKind::Trade, inputs, random.u64(5..200), random.u32(8..40));
    wide.inputs.iter_mut().for_each(|input| input.1.push(InstrumentId(1)));
    vec![wide, rule("narrow", MergeKind::Trade, 2, random.u64(1..60), random.u32(2..6))]
}

#[test]
fn any_interleaving_of_the_inputs_gives_the_same_merged_events() {
    let mut merged_total = 0;
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let inputs = random.u8(2..5);
        let feed = random_inputs(&mut random, inputs);
        let rules = two_rules(&mut random, inputs);
        let mut first: Option<(Vec<Event>, Vec<String>, Vec<MergeCounts>)> = None;
        for _ in 0..6 {
            // A small pool makes inputs wait in their rings; a large one lets one run far ahead.
            let events = if random.bool() { 8 } else { 1_000 };
            let mut world = World::new(inputs, PoolSizes { events, ..PoolSizes::SPEC });
            let streams: Vec<StreamId> = rules.iter().flat_map(|rule| world.add(rule)).collect();
            let mut next = vec![0; usize::from(inputs)];
            let mut steps = 0;
            while (0..next.len()).any(|input| next[input] < feed[input].len()) {
                let input = random.usize(0..next.len());
                for _ in 0..random.usize(1..6) {
                    if next[input] < feed[input].len() && world.merger.room(input) > 0 {
                        let event = feed[input][next[input]];
                        // The clock is the same in all: only the order of reading differs.
                        world.merger.on_event(input, &event, at(100_000));
                        next[input] += 1;
                    }
                }
                steps += 1;
                assert!(steps < 100_000, "seed {seed}: the inputs block one another");
            }
            world.collect();
            world.check_sums();
            assert_eq!(world.merger.held_count(), 0, "seed {seed}");
            assert_eq!(world.merger.counts().forced_by_room_total, 0, "seed {seed}");
            let counts: Vec<MergeCounts> =
                streams.iter().map(|stream| world.merger.merge_counts(*stream).0).collect();
            merged_total += world.merger.counts().merged_total;
            let found = (world.events, world.seen, counts);
            assert_eq!(*first.get_or_insert_with(|| found.clone()), found, "seed {seed}");
        }
    }
    assert!(merged_total > 1_000, "the feeds make merged events: {merged_total}");
}

#[test]
fn under_any_delay_sums_hold_ids_grow_and_no_partial_merge_is_emitted() {
    let (mut late_total, mut partial_total, mut forced_total) = (0, 0, 0);
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let inputs = random.u8(2..5);
        let feed = random_inputs(&mut random, inputs);
        let mut world = World::new(inputs, PoolSizes { events: random.usize(4..64), ..PoolSizes::SPEC });
        world.merger.options.patience_ns = random.u64(0..100);
        let rules = two_rules(&mut random, inputs);
        for rule in &rules {
            world.add(rule);
        }
        let mut next = vec![0; usize::from(inputs)];
        while (0..next.len()).any(|input| next[input] < feed[input].len()) {
            let input = random.usize(0..next.len());
            if let Some(event) = feed[input].get(next[input]) {
                next[input] += 1;
                // Room is not asked: the merger must help itself.
                world.event(event);
            }
            if random.u8(0..3) == 0 {
                world.now = world.now.plus_ns(random.u64(0..40));
                world.merger.timeout(world.now);
                assert!(world.merger.deadline().is_none_or(|deadline| deadline > world.now), "seed {seed}");
                world.collect();
            }
            world.check_sums();
        }
        let counts = *world.merger.counts();
        forced_total += counts.forced_by_patience_total.min(counts.forced_by_room_total);
        let mut last = [0; 8];
        for event in world.events.iter().filter(|event| event.header.flags.has(Flags::FIRST)) {
            let id = event.header.sequence_last;
            let last = &mut last[event.header.stream.index()];
            assert!(id > std::mem::replace(last, id), "seed {seed}");
        }
        for stream in 0..world.merger.merges.len() {
            let (counts, _) = world.merger.merge_counts(StreamId(stream as u32));
            late_total += counts.late_total;
            partial_total += counts.windows_partial_total;
        }
        for rule in &rules {
            assert!(world.merger.remove_rule(&rule.name));
        }
        world.check_sums();
        assert_eq!(world.merger.pools().merged.usage().out, 0, "seed {seed}");
    }
    assert!(late_total > 0 && partial_total > 0 && forced_total > 0, "the seeds reach every rule");
}

#[test]
fn a_marker_never_overtakes_what_waits_for_room() {
    let (sender, mut receiver) = ring(2);
    let mut dispatcher = Dispatcher::new(4);
    dispatcher.add_output(ShardId(0), sender, 64);
    let number = stream(0, CHANNELS[0]);
    let route = Route { output: 0, delivery: Delivery::Lossless, book_depth: 0 };
    dispatcher.routing.add(number, route);
    dispatcher.reserve(number);
    for sequence in 1..=3 {
        dispatcher.offer(&[trade(0, 0, sequence, sequence)]);
    }
    let mut pace = MarkerPace::new(MARKER_EVERY_NS);
    let late = passed(at(10), None, PATIENCE_NS);
    assert!(pace.due(at(10)) && !dispatcher.offer_marker(0, marker(ProviderId(0), late)));
    dispatcher.flush(&mut (), |_| {});
    assert_eq!(receiver.drain(2, |_| {}), 2);
    dispatcher.flush(&mut (), |_| {});
    assert!(dispatcher.offer_marker(0, marker(ProviderId(0), late)));
    pace.sent(at(10));
    dispatcher.flush(&mut (), |_| {});
    let mut seen = Vec::new();
    receiver.drain(9, |event| seen.push((event.kind(), event.header.receive_time)));
    assert_eq!(seen, [(crate::event::Kind::Trade, at(3)), (crate::event::Kind::Marker, at(10))]);
}

#[test]
fn at_the_end_what_is_over_is_joined_and_what_is_open_is_discarded() {
    let mut world = World::new(2, PoolSizes::SPEC);
    let streams = world.add(&rule("r", MergeKind::Trade, 2, 10, 1_000));
    world.run("0@1 1@5 0@12");
    assert_eq!((world.seen.len(), world.merger.held_count()), (0, 1), "the second input may bring more");
    world.merger.finish(at(15));
    world.collect();
    assert_eq!(world.seen, ["[1..11) 2 0#1 1#1"]);
    let (counts, open) = world.merger.merge_counts(streams[0]);
    assert_eq!((counts.windows_discarded_total, counts.discarded_events_total, open), (1, 1, 0));
    assert_eq!((world.merger.held_count(), world.merger.deadline()), (0, None));
}
