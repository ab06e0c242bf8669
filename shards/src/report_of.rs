//! What shards hand over when they end: their counts as data for the report.

use std::collections::BTreeMap;

use engine::consumer::{FanOutSamples, Host};
use engine::dead_letter::DeadLetters;
use engine::dispatch::{LaneCounts, OutputState};
use engine::ids::{Listing, ProviderId, ShardId, StreamId};
use engine::merge::{MergeCounts, Merger, MergerCounts};
use engine::pipeline::{PipelineCounts, Race};
use engine::provider::{CareCounts, Provider, RestCounts};
use engine::venue::Venue;
use serde_json::{Value, json};

use crate::report::table::latency;
use crate::status::RingStatus;

/// Everything that one provider counted.
#[derive(Debug)]
pub struct ProviderSummary {
    /// Its index in the topology.
    pub index: u8,
    /// What its pipeline counted.
    pub counts: PipelineCounts,
    /// What its REST queue counted.
    pub rest: RestCounts,
    /// Connections lost, those of the shutdown left out.
    pub lost_total: u64,
    /// By line: how often it was first with a trade, ticker or kline that another one brought too, and by how much.
    pub races: Vec<Race>,
    /// How many books ended in which state, and how many of all.
    pub books_by_state: BTreeMap<String, u64>,
    /// The ways to consumer shards.
    pub outputs: Vec<OutputSummary>,
    /// Slots that are still out, and since where.
    pub outstanding: Vec<String>,
    /// Pools, connections, books, errors: for `report.json`.
    pub facts: Value,
    /// One object a stream: for `report.json`.
    pub streams: Vec<Value>,
    /// Dead letters: for `report.json`.
    pub letters: Vec<Value>,
    /// Of its order entry, where it trades.
    pub orders: Option<crate::orders::status::OrdersSummary>,
}

/// A set of counters as a JSON object.
macro_rules! object_of {
    ($type:ty, $counts:expr) => {{
        let names = <$type>::LIST.iter().map(|(name, _)| (*name).to_owned());
        Value::Object(names.zip($counts.values().into_iter().map(Value::from)).collect())
    }};
}

impl ProviderSummary {
    /// Of a provider that has stopped.
    pub fn of<V: Venue>(index: u8, provider: &Provider<V>) -> Self {
        let pipeline = &provider.pipeline;
        let mut books_by_state = BTreeMap::new();
        let mut books = Vec::new();
        for (listing, instrument) in pipeline.directory.instruments().iter().enumerate() {
            let Some(book) = pipeline.book_of(Listing(listing as u16)) else { continue };
            *books_by_state.entry(book.final_status().name().to_owned()).or_insert(0) += 1;
            let counts = object_of!(engine::book::BookCounts, book.counts);
            books.push(json!({
                "symbol": instrument.symbol,
                "state": book.final_status().name(),
                "proof": book.proof().name(),
                "counts": counts,
            }));
        }
        let outputs: Vec<_> = pipeline
            .dispatcher
            .shards()
            .enumerate()
            .map(|(output, shard)| {
                let (counts, in_flight) = pipeline.dispatcher.output_counts(output);
                (shard, pipeline.dispatcher.output_state(output), counts, in_flight)
            })
            .collect();
        let streams = (0..pipeline.directory.streams().len()).map(|stream| {
            let id = StreamId(stream as u32);
            let carried = pipeline.directory.carries(id);
            let lanes: Vec<Value> = (0..outputs.len())
                .map(|output| object_of!(LaneCounts, pipeline.dispatcher.lane_counts(output, id).0))
                .collect();
            let sequence = pipeline.sequence_counts(id);
            json!({
                "provider": index,
                "symbol": pipeline.directory.instrument(carried.listing).symbol,
                "channel": carried.channel.to_string(),
                "sequence": {
                    "offered_total": sequence.offered_total,
                    "applied_total": sequence.applied_total,
                    "stale_total": sequence.stale_total,
                    "held_total": sequence.held_total,
                    "gap_total": sequence.gap_total,
                },
                "lanes": lanes,
            })
        });
        let races: Vec<Race> = pipeline.races().collect();
        let connections: Vec<Value> = provider
            .connections()
            .iter()
            .map(|connection| {
                let race = races.get(connection.line().index()).copied().unwrap_or_default();
                json!({
                    "line": connection.line().0,
                    "state": connection.state_name(),
                    "streams": connection.streams().len(),
                    "counts": object_of!(engine::connection::ConnectionCounts, connection.counts),
                    "race": {
                        "won_total": race.won_total,
                        "confirmed_total": race.confirmed_total,
                        "margin_ns_mean": margin_ns_mean(&race),
                        "margin_ns_max": race.margin_ns_max,
                    },
                })
            })
            .collect();
        let pools = pipeline.pools();
        let usage = |usage: engine::pool::Usage| {
            json!({
                "capacity": usage.capacity,
                "out": usage.out,
                "out_max": usage.out_max,
                "taken_total": usage.taken_total,
                "empty_total": usage.empty_total,
            })
        };
        let tally = |tally: &engine::pipeline::Tally| -> Value {
            Value::Object(tally.iter().map(|(name, count)| (name.to_owned(), json!(count))).collect())
        };
        let fallbacks = pipeline.venue.fallbacks();
        // The slot in which events are built is always out; it belongs to the pipeline itself.
        let outstanding = pools.frames.outstanding().into_iter().chain(pools.raws.outstanding());
        Self {
            index,
            counts: *pipeline.counts(),
            rest: *provider.rest_counts(),
            lost_total: provider.connections().iter().map(|connection| connection.counts.lost_total).sum(),
            races: races.clone(),
            books_by_state,
            outstanding: outstanding.map(|slot| slot.to_string()).collect(),
            facts: json!({
                "venue": pipeline.venue.name(),
                "counts": object_of!(PipelineCounts, pipeline.counts()),
                "rest": object_of!(RestCounts, provider.rest_counts()),
                "care": object_of!(CareCounts, provider.care_counts()),
                "connections": connections,
                "books": books,
                "decode_errors_by_reason": tally(pipeline.errors()),
                "skipped_frames": tally(pipeline.skipped()),
                "hot_frames": fallbacks.hot_frames,
                "scanned_frames": fallbacks.scanned_frames,
                "pools": {
                    "frames": usage(pools.frames.usage()),
                    "raws": usage(pools.raws.usage()),
                    "events": usage(pools.events.usage()),
                },
            }),
            streams: streams.collect(),
            letters: letters_of(&pipeline.dispatcher.letters, |_, stream| {
                let directory = &pipeline.directory;
                let found = directory.streams().get(stream.index())?;
                Some((directory.instrument(found.listing).symbol.clone(), found.channel.to_string()))
            }),
            orders: None,
            outputs,
        }
    }

    /// With what its order entry leaves, if it has one.
    #[must_use]
    pub fn with_orders(mut self, orders: Option<crate::orders::status::OrdersSummary>) -> Self {
        self.outstanding.extend(orders.iter().flat_map(|orders| orders.outstanding.iter().cloned()));
        Self { orders, ..self }
    }

    /// Whether `offered = delivered + unchanged + coalesced + dropped + in flight` holds for every way out; if not, which not.
    pub fn unbalanced(&self) -> Option<String> {
        unbalanced_output(&self.outputs)
    }

    /// Which line won how often and by how much, if two ever carried the same streams.
    pub fn raced(&self) -> Option<String> {
        let confirmed: u64 = self.races.iter().map(|race| race.confirmed_total).sum();
        let won = self.races.iter().enumerate().filter(|(_, race)| race.won_total > 0);
        let won = won.map(|(line, race)| {
            format!(
                "line {line} first {} times, {} of them ahead of another by {} in the mean, {} at most",
                race.won_total,
                race.confirmed_total,
                latency(margin_ns_mean(race)),
                latency(race.margin_ns_max)
            )
        });
        (confirmed > 0).then(|| won.collect::<Vec<_>>().join("; "))
    }
}

/// By how much a line was ahead of the others in the mean, in nanoseconds; 0 if never.
fn margin_ns_mean(race: &Race) -> u64 {
    race.margin_ns_total.checked_div(race.confirmed_total).unwrap_or(0)
}

/// A way to another shard: which, how it stands, what became of the events, and how many are in flight.
pub type OutputSummary = (ShardId, OutputState, LaneCounts, u64);

fn unbalanced_output(outputs: &[OutputSummary]) -> Option<String> {
    outputs.iter().find_map(|(shard, _, counts, in_flight)| {
        let accounted = counts.delivered_total
            + counts.unchanged_total
            + counts.coalesced_total
            + counts.dropped_total
            + in_flight;
        (counts.offered_total != accounted)
            .then(|| format!("to shard {shard}: offered {} but accounted {accounted}", counts.offered_total))
    })
}

/// Everything that one merge shard counted.
#[derive(Debug)]
pub struct MergerSummary {
    /// Its index in the topology.
    pub index: u8,
    /// Events and markers taken off its rings.
    pub received_total: u64,
    /// Events still in its rings when it had to end.
    pub left_total: u64,
    /// What it did with the events.
    pub counts: MergerCounts,
    /// By rule and merged stream: the rule's name, what was counted, and what is still open.
    pub merges: Vec<(String, StreamId, MergeCounts, u64)>,
    /// The counts of all merged streams together, those of rules that were ended included, and the events still open.
    pub totals: (MergeCounts, u64),
    /// By provider number: suppressed windows that lacked it.
    pub missed_by_provider: Vec<u64>,
    /// The ways to consumer shards.
    pub outputs: Vec<OutputSummary>,
    /// Slots that are still out, and since where.
    pub outstanding: Vec<String>,
    /// Counts, rules and pools: for `report.json`.
    pub facts: Value,
    /// Dead letters: for `report.json`.
    pub letters: Vec<Value>,
}

impl MergerSummary {
    /// Of a merger that has finished.
    pub fn of(
        index: u8,
        merger: &Merger,
        received_total: u64,
        left_total: u64,
        missed_by_provider: &[u64],
    ) -> Self {
        let dispatcher = &merger.dispatcher;
        let outputs = dispatcher.shards().enumerate().map(|(output, shard)| {
            let (counts, in_flight) = dispatcher.output_counts(output);
            (shard, dispatcher.output_state(output), counts, in_flight)
        });
        let mut merges = Vec::new();
        let mut rules = Vec::new();
        for (rule, streams) in merger.rules() {
            let mut of_rule = Vec::new();
            for &stream in streams {
                let (counts, open) = merger.merge_counts(stream);
                of_rule.push(json!({
                    "instruments": merger.joined_by(stream).map(|inputs| {
                        inputs.iter().map(|input| json!([input.provider.0, input.instrument.0])).collect::<Vec<_>>()
                    }),
                    "counts": object_of!(MergeCounts, counts),
                }));
                merges.push((rule.name.clone(), stream, counts, open));
            }
            rules.push(json!({"name": rule.name, "kind": rule.kind.name(), "streams": of_rule}));
        }
        let usage = |usage: engine::pool::Usage| {
            json!({
                "capacity": usage.capacity,
                "out": usage.out,
                "out_max": usage.out_max,
                "taken_total": usage.taken_total,
                "empty_total": usage.empty_total,
            })
        };
        let pools = merger.pools();
        let outstanding = pools.events.outstanding().into_iter().chain(pools.merged.outstanding());
        Self {
            index,
            received_total,
            left_total,
            counts: *merger.counts(),
            merges,
            totals: merger.totals(),
            missed_by_provider: missed_by_provider.to_vec(),
            outputs: outputs.collect(),
            outstanding: outstanding.map(|slot| slot.to_string()).collect(),
            facts: json!({
                "counts": object_of!(MergerCounts, merger.counts()),
                "rules": rules,
                "windows_missed_by_provider": missed_by_provider,
                "pools": {"events": usage(pools.events.usage()), "merged": usage(pools.merged.usage())},
            }),
            letters: letters_of(&dispatcher.letters, |_, stream| {
                let rule = merger.rules().find(|(_, streams)| streams.contains(&stream));
                rule.map(|(rule, _)| (rule.name.clone(), "merged".to_owned()))
            }),
        }
    }

    /// The counts of all merged streams together, and the events still open.
    pub const fn totals(&self) -> (MergeCounts, u64) {
        self.totals
    }

    /// Suppressed windows that lacked a provider.
    pub fn missed_by(&self, provider: ProviderId) -> u64 {
        self.missed_by_provider.get(provider.index()).copied().unwrap_or(0)
    }

    /// Whether everything that came is accounted for: on the way in, in every merged stream, and on every way out. If
    /// not, where not.
    pub fn unbalanced(&self) -> Option<String> {
        let counts = &self.counts;
        let came = counts.events_total + counts.markers_total;
        if came != self.received_total {
            return Some(format!("received {} but handled {came}", self.received_total));
        }
        let sorted = counts.unwanted_total
            + counts.duplicates_total
            + counts.best_total
            + counts.held_total
            + counts.no_slot_total;
        if counts.events_total != sorted {
            return Some(format!("{} events came but {sorted} are accounted for", counts.events_total));
        }
        for (rule, stream, counts, open) in &self.merges {
            let windows = counts.late_total
                + counts.no_slot_total
                + counts.complete_events_total
                + counts.partial_events_total
                + counts.discarded_events_total
                + open;
            // Best prices have no windows.
            if windows > 0 && counts.events_total != windows {
                return Some(format!(
                    "rule {rule} stream {stream}: {} events but accounted {windows}",
                    counts.events_total
                ));
            }
        }
        unbalanced_output(&self.outputs)
    }
}

/// Everything that one consumer shard counted.
#[derive(Debug)]
pub struct ConsumerShardSummary {
    /// Its index in the topology.
    pub index: u8,
    /// Event parts taken off its rings.
    pub received_total: u64,
    /// Event parts still in its rings when it had to end.
    pub left_total: u64,
    /// Panics of its consumers.
    pub panics_total: u64,
    /// One object a consumer: for `report.json`.
    pub consumers: Vec<Value>,
    /// When sampled events reached its consumers.
    pub fan_out: FanOutSamples,
    /// What its rings held, and its streams' latencies: for `report.json`.
    pub facts: Value,
    /// What the consumers have to say, by name.
    pub said: Vec<(String, Vec<(String, String)>)>,
    /// Dead letters: for `report.json`.
    pub letters: Vec<Value>,
}

impl ConsumerShardSummary {
    /// Of a host that has stopped.
    pub fn of(index: u8, host: &Host, received_total: u64, left_total: u64, rings: &[RingStatus]) -> Self {
        let provider =
            |number: Option<u8>| number.map(|number| host.catalog().provider(ProviderId(number)).to_owned());
        let rings = rings.iter().map(|ring| {
            json!({
                "provider": provider(ring.provider),
                "events": ring.events,
                "oldest_ns": ring.oldest_ns,
                "oldest_ns_max": ring.oldest_ns_max,
            })
        });
        let streams = host.latencies().map(|(number, stream, latency)| {
            let facts = host.catalog().stream(number, stream);
            // Buckets that nothing fell into behind the last one are left out.
            let used = latency.buckets.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
            json!({
                "provider": provider(Some(number.0)),
                "symbol": facts.map(|facts| facts.symbol.as_str()),
                "channel": facts.map(|facts| facts.channel.to_string()),
                "count": latency.count_total,
                "latency_ns_max": latency.latency_ns_max,
                "buckets_from_1024_ns": &latency.buckets[..used],
            })
        });
        let facts = json!({
            "rings": rings.collect::<Vec<_>>(),
            "outbox": object_of!(engine::orders::outbox::OutboxCounts, host.outbox().counts),
            "latency_by_stream": streams.collect::<Vec<_>>(),
        });
        let said = host.summaries();
        let consumers = host.seats().zip(&said).map(|((name, counts, up), (_, facts))| {
            let facts: serde_json::Map<String, Value> =
                facts.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            json!({
                "name": name,
                "up": up,
                "counts": object_of!(engine::consumer::SeatCounts, counts),
                "facts": facts,
            })
        });
        Self {
            index,
            received_total,
            left_total,
            panics_total: host.seats().map(|(_, counts, _)| counts.panics_total).sum(),
            consumers: consumers.collect(),
            fan_out: host.fan_out().clone(),
            facts,
            said: said.clone(),
            letters: letters_of(&host.letters, |provider, stream| {
                let facts = host.catalog().stream(provider, stream)?;
                Some((facts.symbol.clone(), facts.channel.to_string()))
            }),
        }
    }
}

/// Letters with the names of their streams as `name` knows them; providers, shards and consumers are numbers of the topology.
fn letters_of(
    letters: &DeadLetters,
    name: impl Fn(ProviderId, StreamId) -> Option<(String, String)>,
) -> Vec<Value> {
    letters
        .iter()
        .map(|letter| {
            let names =
                letter.provider.zip(letter.stream).and_then(|(provider, stream)| name(provider, stream));
            let (symbol, channel) = names.unzip();
            json!({
                "reason": letter.reason.name(),
                "priority": format!("{:?}", letter.priority).to_lowercase(),
                "at_ns": letter.at.ns(),
                "provider": letter.provider.map(|id| id.0),
                "stream": letter.stream.map(|id| id.0),
                "symbol": symbol,
                "channel": channel,
                "shard": letter.shard.map(|id| id.0),
                "consumer": letter.consumer.map(|id| id.0),
                "trace": letter.trace.to_string(),
                "excerpt": String::from_utf8_lossy(&letter.excerpt),
            })
        })
        .collect()
}
