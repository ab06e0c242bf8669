//! Counts, rates and latency of what a shard's consumers get, for the exit report.
//!
//! Tables by number and one histogram, all taken at start: an event is a few additions.

use std::sync::Arc;

use engine::catalog::Catalog;
use engine::consumer::{Consumer, Context};
use engine::event::{Event, Kind};
use engine::time::ReceiveTime;
use hdrhistogram::Histogram;

use super::{ConsumerConfig, ConsumerError, Maker, wrong_options};
use crate::topology::ConsumerOptions;

/// Longest latency that is told apart, in nanoseconds. What takes longer counts as this long.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Digits of a latency that are kept: off by less than 1 %, in 30 KiB.
const LATENCY_DIGITS: u8 = 2;
/// How often rates are taken, in nanoseconds.
const RATE_EVERY_NS: u64 = 1_000_000_000;
/// Busiest streams in the summary.
const BUSIEST_COUNT: usize = 5;

/// Makes `stats`. It has no options.
///
/// # Errors
/// [`ConsumerError::Options`]
pub fn factory(config: &ConsumerConfig) -> Result<Maker, ConsumerError> {
    if config.options != ConsumerOptions::None {
        return Err(wrong_options("stats"));
    }
    let catalog = Arc::clone(&config.catalog);
    Ok(Box::new(move || Box::new(Stats::new(&catalog))))
}

/// How many, in all and when rates were last taken.
#[derive(Clone, Copy, Debug, Default)]
struct Rated {
    total: u64,
    total_before: u64,
    per_s: u64,
    per_s_max: u64,
}

impl Rated {
    fn rate(&mut self, elapsed_ns: u64) {
        let events = u128::from(self.total - self.total_before);
        self.per_s = (events * 1_000_000_000 / u128::from(elapsed_ns.max(1))) as u64;
        self.per_s_max = self.per_s_max.max(self.per_s);
        self.total_before = self.total;
    }
}

/// Counts, rates and latency. Events are logical ones: a book in many parts is one.
#[derive(Debug)]
pub struct Stats {
    by_kind: [Rated; Kind::COUNT],
    /// By provider, then by stream: events by kind, and all of them with their rate.
    streams: Vec<Vec<(String, [u64; Kind::COUNT], Rated)>>,
    /// Parts of a stream that the catalog does not know: a mistake of ours, so it is shown.
    unknown_total: u64,
    parts_total: u64,
    latency: Histogram<u64>,
    rated_at: Option<ReceiveTime>,
}

impl Stats {
    /// Nothing counted, with a row for every stream of `catalog`.
    ///
    /// # Panics
    /// Never: the histogram's bounds are constants that fit.
    pub fn new(catalog: &Catalog) -> Self {
        let streams = catalog.providers.iter().map(|provider| {
            let row = |facts: &engine::catalog::StreamFacts| {
                (
                    format!("{} {} {}", provider.name, facts.symbol, facts.channel),
                    <[u64; Kind::COUNT]>::default(),
                    Rated::default(),
                )
            };
            provider.streams.iter().map(row).collect()
        });
        Self {
            by_kind: Default::default(),
            streams: streams.collect(),
            unknown_total: 0,
            parts_total: 0,
            latency: Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS)
                .expect("1 to a minute at two digits is a histogram"),
            rated_at: None,
        }
    }

    /// Events of a kind.
    pub fn events(&self, kind: Kind) -> u64 {
        self.by_kind[kind as usize].total
    }

    /// Takes the rates, if there was a time to measure from.
    fn rate(&mut self, now: ReceiveTime) {
        if let Some(before) = self.rated_at {
            let elapsed_ns = now.since_ns(before);
            self.by_kind.iter_mut().for_each(|kind| kind.rate(elapsed_ns));
            self.streams.iter_mut().flatten().for_each(|(_, _, stream)| stream.rate(elapsed_ns));
        }
        self.rated_at = Some(now);
    }
}

impl Consumer for Stats {
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        self.rated_at.get_or_insert(context.now());
        self.parts_total += 1;
        self.latency.saturating_record(context.now().since_ns(event.header.receive_time).max(1));
        if !event.completes() {
            return;
        }
        let kind = event.kind() as usize;
        self.by_kind[kind].total += 1;
        let streams = self.streams.get_mut(event.header.provider.index());
        match streams.and_then(|streams| streams.get_mut(event.header.stream.index())) {
            Some((_, by_kind, stream)) => {
                by_kind[kind] += 1;
                stream.total += 1;
            }
            None => self.unknown_total += 1,
        }
    }

    fn timer_every_ns(&self) -> Option<u64> {
        Some(RATE_EVERY_NS)
    }

    fn on_timer(&mut self, context: &mut Context<'_>) {
        self.rate(context.now());
    }

    fn summary(&self) -> Vec<(String, String)> {
        let mut facts = Vec::new();
        let mut fact = |name: String, value: String| facts.push((name, value));
        for kind in Kind::ALL {
            let Rated { total, per_s, per_s_max, .. } = self.by_kind[kind as usize];
            if total > 0 {
                fact(
                    kind.name().to_owned(),
                    format!("{total}, last second {per_s}/s, at most {per_s_max}/s"),
                );
            }
        }
        fact("parts".to_owned(), self.parts_total.to_string());
        let of = |quantile: f64| self.latency.value_at_quantile(quantile);
        fact(
            "receive_to_handler_ns".to_owned(),
            format!(
                "count {} p50 {} p99 {} max {}",
                self.latency.len(),
                of(0.5),
                of(0.99),
                self.latency.max()
            ),
        );
        let mut streams: Vec<_> =
            self.streams.iter().flatten().filter(|(_, _, stream)| stream.total > 0).collect();
        fact("streams".to_owned(), streams.len().to_string());
        streams.sort_by_key(|(_, _, stream)| std::cmp::Reverse(stream.total));
        for (name, by_kind, stream) in streams.into_iter().take(BUSIEST_COUNT) {
            let kinds: Vec<String> = Kind::ALL
                .into_iter()
                .filter(|&kind| by_kind[kind as usize] > 0)
                .map(|kind| format!("{} {}", kind.name(), by_kind[kind as usize]))
                .collect();
            fact(name.clone(), format!("{}, at most {}/s", kinds.join(", "), stream.per_s_max));
        }
        if self.unknown_total > 0 {
            fact("events_of_unknown_streams".to_owned(), self.unknown_total.to_string());
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumers::testing::{self, book, trade};
    use engine::consumer::{Host, OnPanic};
    use engine::event::Level;
    use engine::ids::{ProviderId, StreamId};
    use engine::time::FixedClock;

    #[test]
    fn counts_rates_and_latency_come_from_what_was_shown() {
        let config = testing::config(ConsumerOptions::None);
        let mut host = Host::new(Arc::clone(&config.catalog), 4);
        let seat = host.add("stats", testing::ID, OnPanic::Disable, factory(&config).unwrap());
        for stream in 0..8 {
            host.subscribe(seat, ProviderId(1), StreamId(stream), None);
        }
        let start = 5_000_000_000;
        host.batch_end(0, ReceiveTime::from_ns(start)); // arms the timer
        let levels = [Level::default(); 7];
        let mut events: Vec<_> = (1..=100).map(|sequence| trade(1, 0, sequence)).collect();
        events.extend(book(1, 5, 7, true, &levels, &[])); // two parts, one event
        for (index, event) in events.iter_mut().enumerate() {
            let now = ReceiveTime::from_ns(start + index as u64 * 1_000);
            // All took 2 us but the last: 1 ms.
            let latency_ns = if index == 101 { 1_000_000 } else { 2_000 };
            event.header.receive_time = ReceiveTime::from_ns(now.ns() - latency_ns);
            host.deliver(event, &mut FixedClock(now));
        }
        host.batch_end(102, ReceiveTime::from_ns(start + 2_000_000_000));
        let found: std::collections::BTreeMap<_, _> = host.summaries().remove(0).1.into_iter().collect();
        assert_eq!(found["Trade"], "100, last second 50/s, at most 50/s");
        assert_eq!(found["BookSnapshot"], "1, last second 0/s, at most 0/s");
        assert_eq!(found["parts"], "102");
        assert_eq!(found["streams"], "2");
        assert_eq!(found["kraken BTC-USDT trade"], "Trade 100, at most 50/s");
        assert!(!found.contains_key("events_of_unknown_streams"));
        let latency = &found["receive_to_handler_ns"];
        let numbers: Vec<u64> = latency.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [count, p50, p99, max] = numbers[..] else { panic!("{latency}") };
        assert_eq!(count, 102);
        let near = |found: u64, expected: u64| found.abs_diff(expected) * 100 <= expected;
        assert!(near(p50, 2_000) && near(p99, 2_000) && near(max, 1_000_000), "{latency}");
    }

    #[test]
    fn a_stream_that_the_catalog_does_not_know_is_shown() {
        let mut host = Host::new(Arc::default(), 4);
        let config = testing::config(ConsumerOptions::None);
        let seat = host.add("stats", testing::ID, OnPanic::Disable, factory(&config).unwrap());
        host.subscribe(seat, ProviderId(0), StreamId(99), None);
        host.deliver(&trade(0, 99, 1), &mut FixedClock::default());
        let summary = host.summaries().remove(0).1;
        assert!(summary.contains(&("events_of_unknown_streams".to_owned(), "1".to_owned())), "{summary:?}");
    }
}
