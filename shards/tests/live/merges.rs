//! Merge rules over two venues: only complete windows arrive, in both directions everything adds up, and a venue that is
//! gone suppresses windows and gives up its place among the best prices.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::consumer::{Consumer, Context};
use engine::event::{Body, BookStatus, Event, Flags};
use shards::host::{HostView as _, RealHost};
use shards::launch::{Ended, Factory, Gateway, launch};
use shards::live::Board;
use shards::report_of::MergerSummary;
use shards::topology::{self, Against};
use simvenues::Server;

use crate::rig::{WAIT_MAX, cores, venue};

/// What came, by the rule's name and the symbol.
#[derive(Debug, Default)]
struct Seen {
    merges: BTreeMap<(String, String), Merged>,
    violations: Vec<String>,
}

#[derive(Debug, Default)]
struct Merged {
    count: u64,
    /// Fragments that the window under way still lacks.
    missing: u8,
    id: u64,
    events: u64,
    /// Providers whose legs compete in the newest best bid and offer.
    proved: usize,
    best_of: BTreeMap<u8, u64>,
}

#[derive(Clone, Default)]
struct Watch(Arc<Mutex<Seen>>);

impl Consumer for Watch {
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        let header = &event.header;
        let mut seen = self.0.lock().expect("no handler panicked");
        let Some(facts) = context.catalog().stream(header.provider, header.stream) else {
            seen.violations.push(format!("stream {} of provider {}", header.stream, header.provider));
            return;
        };
        let (rule, channel) = (facts.venue_symbol.clone(), facts.channel.to_string());
        let mut wrong = Vec::new();
        let merged = seen.merges.entry((rule.clone(), facts.symbol.clone())).or_default();
        match &event.body {
            Body::Merged(head) => {
                if (head.providers_present, head.providers_expected) != (2, 2) {
                    wrong.push("a partial window".to_owned());
                }
                if merged.missing > 0 || !header.flags.has(Flags::FIRST) {
                    wrong.push("a window begins in another".to_owned());
                }
                if head.closed.since_ns(head.opened) > 1_000_000_000 {
                    wrong.push("a window longer than its rule".to_owned());
                }
                merged.missing = head.providers_present;
                merged.events += u64::from(head.event_count);
            }
            Body::Fragment { .. } if merged.missing > 0 => merged.missing -= 1,
            Body::MergedBbo(best) => {
                merged.proved = best.legs().iter().filter(|leg| leg.status == BookStatus::Proved).count();
                for leg in [best.bid, best.ask].into_iter().flatten() {
                    *merged.best_of.entry(leg.provider.0).or_default() += 1;
                }
            }
            other => wrong.push(format!("{other:?}")),
        }
        if event.completes() {
            if merged.missing > 0 || header.sequence_last <= merged.id {
                wrong.push("a window that is not whole, or an id that is not greater".to_owned());
            }
            (merged.count, merged.id) = (merged.count + 1, header.sequence_last);
        }
        seen.violations.extend(wrong.into_iter().map(|text| format!("{rule} ({channel}): {text}")));
    }
}

fn topology_text(servers: &[&Server; 2]) -> String {
    let (first, last) = cores();
    let mut text = format!(
        "version: 1\nhost: shared\nshards:\n  \
         - {{name: md0, core: {first}, role: provider, pools: {POOLS}, order_ring_requests: 64}}\n  \
         - {{name: md1, core: {first}, role: provider, pools: {POOLS}, order_ring_requests: 64}}\n  \
         - {{name: merge0, core: {last}, role: merger, pools: {POOLS}, ring_events: 4096, \
         critical_ring_events: 64, spill_events: 4096}}\n  \
         - {{name: watch, core: {last}, role: consumer, ring_events: 4096, critical_ring_events: 64, \
         spill_events: 4096}}\nproviders:\n"
    );
    for (index, server) in servers.iter().enumerate() {
        let (address, name) = (server.address(), ["one", "two"][index]);
        let _ = writeln!(
            text,
            "  - {{name: {name}, venue: binance, product: spot, shard: md{index}, endpoints: {{websocket: \
             ws://{address}, rest: http://{address}}}, lines: 1, instruments: [BTC-USDT, ETH-USDT, SOL-USDT], \
             channels: [trade, ticker, {{kline: 1m}}], rest_weight_share: 0.4, \
             reorder: {{lateness_ms: 150, flush_ms: 50, held_events_max: 200}}}}"
        );
    }
    text + "merges:\n  \
         - {name: trades, shard: merge0, kind: trade, inputs: {one: [BTC-USDT, ETH-USDT], two: [BTC-USDT, ETH-USDT]}, \
         window_s: 1, count: 100000, partial: suppress}\n  \
         - {name: best, shard: merge0, kind: bbo, inputs: {one: [BTC-USDT], two: [BTC-USDT]}, \
         window_s: 1, count: 2, partial: suppress, leg_age_ms: 10000}\n  \
         - {name: klines, shard: merge0, kind: kline, inputs: {one: [SOL-USDT], two: [SOL-USDT]}, \
         window_s: 1, count: 100000, partial: suppress}\n\
         consumers:\n  \
         - {name: watcher, kind: watcher, shard: watch, trading: false, on_panic: disable, subscriptions: [\
         {merge: trades, delivery: lossless}, {merge: best, delivery: lossless}, \
         {merge: klines, delivery: lossless}]}\n\
         control: {listen: 127.0.0.1:0, core: any}\nreport: {dir: report, interval_ms: 1000}\n"
}

const POOLS: &str =
    "{frames: 200, raws: 200, events: 600, merged: 50, order_requests: 20, execution_reports: 20}";

struct MergeRig {
    gateway: Gateway,
    board: Board,
    watch: Watch,
}

impl MergeRig {
    fn start(servers: &[&Server; 2]) -> Self {
        let text = topology_text(servers);
        let cores = RealHost.cores();
        let against = Against { cores: cores.as_ref(), consumer_kinds: &["watcher"], simulated_lists: None };
        let topology =
            topology::read("test.yaml", &text, against).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        let watch = Watch::default();
        let gateway = launch(topology, &|_, _| {
            let watch = watch.clone();
            Ok(Box::new(move || Box::new(watch.clone()) as Box<dyn Consumer>) as Factory)
        })
        .unwrap_or_else(|error| panic!("{error}"));
        Self { gateway, board: Board::default(), watch }
    }

    fn count(&self, rule: &str, symbol: &str) -> u64 {
        self.merged(rule, symbol, |merged| merged.count)
    }

    fn merged(&self, rule: &str, symbol: &str, of: impl Fn(&Merged) -> u64) -> u64 {
        let seen = self.watch.0.lock().expect("no handler panicked");
        seen.merges.get(&(rule.to_owned(), symbol.to_owned())).map_or(0, of)
    }

    fn partial(&self) -> u64 {
        self.board.mergers().map(|merger| merger.merges.windows_partial_total).sum()
    }

    fn wait(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let began = std::time::Instant::now();
        loop {
            self.gateway.collector.collect();
            let board = &mut self.board;
            self.gateway.poll_statuses(|status| board.take(status));
            while self.gateway.poll_report().is_some() {}
            if done(self) {
                return;
            }
            let seen = self.watch.0.lock().expect("no handler panicked");
            let mergers: Vec<_> = self.board.mergers().map(|merger| (merger.counts, merger.merges)).collect();
            assert!(began.elapsed() < WAIT_MAX, "{what} did not happen; {mergers:?}; {seen:#?}");
            drop(seen);
            assert_eq!(self.gateway.fallen(), None, "no shard falls");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops it and checks that all counters add up, shard by shard.
    fn finish(mut self) -> (Ended, Seen) {
        let ended = self.gateway.stop();
        assert!(ended.panicked.is_empty(), "{:?}", ended.panicked);
        let mut pushed: BTreeMap<usize, u64> = BTreeMap::new();
        let providers = ended.providers.iter().map(|provider| {
            assert_eq!((provider.unbalanced(), provider.outstanding.len()), (None, 0));
            &provider.outputs
        });
        let mergers = ended.mergers.iter().map(|merger| {
            assert_eq!((merger.unbalanced(), merger.outstanding.len()), (None, 0), "{merger:?}");
            &merger.outputs
        });
        for (shard, state, counts, in_flight) in providers.chain(mergers).flatten() {
            *pushed.entry(shard.index()).or_default() += state.pushed_total;
            assert_eq!((counts.dropped_total, *in_flight), (0, 0), "to shard {shard}");
        }
        let received = ended.mergers.iter().map(|m| (m.index, m.received_total, m.left_total));
        let received =
            received.chain(ended.consumers.iter().map(|c| (c.index, c.received_total, c.left_total)));
        for (shard, received, left) in received {
            assert_eq!((pushed.remove(&usize::from(shard)), left), (Some(received), 0), "shard {shard}");
        }
        assert!(pushed.is_empty(), "{pushed:?}");
        let seen = std::mem::take(&mut *self.watch.0.lock().expect("no handler panicked"));
        assert!(seen.violations.is_empty(), "{:#?}", seen.violations);
        // What the merger says it made is what came.
        let merger = &ended.mergers[0];
        let came: u64 = seen.merges.values().map(|merged| merged.count).sum();
        assert_eq!(merger.counts.merged_total, came);
        let (totals, open) = merger.totals();
        assert_eq!(totals.windows_complete_total + totals.best_changes_total, came);
        assert_eq!(open, 0, "open windows were discarded");
        let in_windows: u64 = seen.merges.values().map(|merged| merged.events).sum();
        assert_eq!(totals.complete_events_total, in_windows);
        (ended, seen)
    }
}

fn merger(ended: &Ended) -> &MergerSummary {
    assert_eq!(ended.mergers.len(), 1);
    &ended.mergers[0]
}

#[test]
fn streams_of_two_venues_are_joined_and_everything_adds_up() {
    let (one, two) = (venue(1, 50.0), venue(2, 50.0));
    let mut rig = MergeRig::start(&[&one, &two]);
    rig.wait("three windows of each pair of trades", |rig| {
        rig.count("trades", "BTC-USDT") >= 3 && rig.count("trades", "ETH-USDT") >= 3
    });
    rig.wait("best prices of both", |rig| {
        rig.merged("best", "BTC-USDT", |best| best.best_of.len() as u64) >= 2
            && rig.merged("best", "BTC-USDT", |best| best.proved as u64) == 2
    });
    rig.wait("a window of klines", |rig| rig.count("klines", "SOL-USDT") >= 1);
    let (ended, _) = rig.finish();
    let counts = &merger(&ended).counts;
    assert!(counts.markers_total > 0, "idle providers say that they are");
    assert_eq!((counts.unwanted_total, counts.no_slot_total), (0, 0));
    let (complete, partial) = (merger(&ended).totals().0.windows_complete_total, &ended.providers);
    assert!(complete >= 7 && partial.len() == 2);
}

#[test]
fn without_one_venue_windows_are_suppressed_and_its_best_price_is_given_up() {
    let (one, two) = (venue(1, 50.0), venue(2, 50.0));
    let mut rig = MergeRig::start(&[&one, &two]);
    rig.wait("a window of trades", |rig| rig.count("trades", "BTC-USDT") >= 1);
    rig.wait("best prices of both", |rig| rig.merged("best", "BTC-USDT", |best| best.proved as u64) == 2);
    two.stop();
    let before = rig.partial();
    rig.wait("suppressed windows", |rig| rig.partial() >= before + 4);
    let complete = rig.count("trades", "BTC-USDT");
    let partial = rig.partial();
    rig.wait("more of them", |rig| rig.partial() >= partial + 4);
    assert_eq!(rig.count("trades", "BTC-USDT"), complete, "none is complete without the second venue");
    rig.wait("one leg", |rig| rig.merged("best", "BTC-USDT", |best| best.proved as u64) == 1);
    let (ended, _) = rig.finish();
    let gone = merger(&ended).missed_by(engine::ids::ProviderId(1));
    assert!(gone >= 8, "who was missing is told: {gone}");
}
