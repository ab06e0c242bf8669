//! What a replay prints: a table for people, one JSON object for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use engine::book::BookCounts;
use engine::catalog::ProviderFacts;
use engine::channel::Channel;
use engine::decimal::{Decimals, Sum};
use engine::event::{Kind, Level};
use engine::ids::StreamId;
use engine::pipeline::Pipeline;
use engine::venue::{Fallbacks, Venue};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::FinishedShard;
use super::tally::{StreamTally, Tally};
use crate::topology::numbered;

/// What one shard knows beside the events: names, and counts of what was not published.
pub struct ShardSummary {
    venue: String,
    instruments: Vec<InstrumentSummary>,
    streams: Vec<(usize, Channel)>,
    decode_errors: Vec<(&'static str, u64)>,
    skipped: Vec<(&'static str, u64)>,
    fallbacks: Fallbacks,
}

struct InstrumentSummary {
    symbol: String,
    venue_symbol: String,
    book: Option<BookCounts>,
}

impl ShardSummary {
    /// Of a pipeline that is done.
    pub fn of<V: Venue>(pipeline: &Pipeline<V>) -> Self {
        let (share, count) = pipeline.options().share;
        let instruments = pipeline.directory.instruments().iter().enumerate();
        Self {
            venue: pipeline.venue.name().to_owned(),
            instruments: instruments
                .map(|(index, instrument)| InstrumentSummary {
                    symbol: instrument.symbol.clone(),
                    venue_symbol: instrument.venue_symbol.clone(),
                    book: (index % usize::from(count) == usize::from(share))
                        .then(|| pipeline.book_of(engine::ids::Listing(index as u16)).map(|book| book.counts))
                        .flatten(),
                })
                .collect(),
            streams: pipeline.directory.streams().iter().map(|s| (s.listing.index(), s.channel)).collect(),
            decode_errors: pipeline.errors().iter().collect(),
            skipped: pipeline.skipped().iter().collect(),
            fallbacks: pipeline.venue.fallbacks(),
        }
    }

    /// Of a recording's provider: names alone, since what was not published was not recorded.
    pub fn of_catalog(facts: &ProviderFacts) -> Self {
        let mut instruments: Vec<InstrumentSummary> = Vec::new();
        let mut streams = Vec::new();
        for stream in &facts.streams {
            let known = instruments.iter().position(|known| known.venue_symbol == stream.venue_symbol);
            let listing = known.unwrap_or_else(|| {
                instruments.push(InstrumentSummary {
                    symbol: stream.symbol.clone(),
                    venue_symbol: stream.venue_symbol.clone(),
                    book: None,
                });
                instruments.len() - 1
            });
            streams.push((listing, stream.channel));
        }
        Self {
            venue: facts.venue.clone(),
            instruments,
            streams,
            decode_errors: Vec::new(),
            skipped: Vec::new(),
            fallbacks: Fallbacks::default(),
        }
    }
}

/// A replay that is done.
pub struct ReplayOutcome {
    tally: Tally,
    shards: Vec<FinishedShard>,
    elapsed: Duration,
}

impl ReplayOutcome {
    pub(super) fn new(tally: Tally, shards: Vec<FinishedShard>, elapsed: Duration) -> Self {
        Self { tally, shards, elapsed }
    }

    /// What was recorded of one provider.
    pub(super) fn recorded(tally: Tally, summary: ShardSummary, elapsed: Duration) -> Self {
        Self::new(tally, vec![FinishedShard { lines: 0, ws: 0, rest: 0, summary }], elapsed)
    }

    /// The shard whose names and frame counts are shown: every shard read the whole session.
    fn first(&self) -> &FinishedShard {
        &self.shards[0]
    }

    /// Frames and bodies that could not be decoded.
    pub fn decode_errors(&self) -> u64 {
        self.first().summary.decode_errors.iter().map(|(_, count)| count).sum()
    }

    /// Frames of hot shapes and how many of them the scanner read.
    pub fn fallbacks(&self) -> Fallbacks {
        self.first().summary.fallbacks
    }

    /// Events of a kind.
    pub fn events(&self, kind: Kind) -> u64 {
        self.tally.by_kind[kind as usize]
    }

    /// A hash over the content of all events, stream by stream in the order (venue symbol, channel).
    pub fn events_sha256(&self) -> String {
        let summary = &self.first().summary;
        let mut streams: Vec<(&str, Channel, usize)> = summary
            .streams
            .iter()
            .enumerate()
            .map(|(stream, &(listing, channel))| {
                (summary.instruments[listing].venue_symbol.as_str(), channel, stream)
            })
            .collect();
        streams.sort_unstable();
        let mut all = Sha256::new();
        for (venue_symbol, channel, stream) in streams {
            let Some(tally) = self.tally.stream(StreamId(stream as u32)) else { continue };
            all.update(venue_symbol.as_bytes());
            all.update([0]);
            all.update(channel.to_string().as_bytes());
            all.update([0]);
            all.update(tally.hash.clone().finalize());
        }
        hex(&all.finalize())
    }

    /// One JSON object: the contract of `meltica replay --json`.
    pub fn to_json(&self, product: &str) -> Value {
        let first = self.first();
        let events: Map<String, Value> =
            Kind::ALL.iter().map(|&kind| (kind.name().to_owned(), json!(self.events(kind)))).collect();
        let mut instruments = Map::new();
        for listing in 0..first.summary.instruments.len() {
            let (name, value) = self.instrument(listing);
            if let Some(value) = value {
                instruments.insert(name, value);
            }
        }
        let counts = |list: &[(&str, u64)]| -> BTreeMap<String, u64> {
            list.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
        };
        let elapsed_s = self.elapsed.as_secs_f64();
        json!({
            "venue": first.summary.venue,
            "product": product,
            "lines": first.lines,
            "ws": first.ws,
            "rest": first.rest,
            "events": events,
            "instruments": instruments,
            "decode_errors": self.decode_errors(),
            "decode_errors_by_reason": counts(&first.summary.decode_errors),
            "skipped_frames": counts(&first.summary.skipped),
            "hot_frames": self.fallbacks().hot_frames,
            "scanned_frames": self.fallbacks().scanned_frames,
            "events_sha256": self.events_sha256(),
            "shards": self.shards.len(),
            "elapsed_s": elapsed_s,
            "frames_per_s": (first.ws as f64 / elapsed_s.max(1e-9)).round(),
        })
    }

    /// The streams of an instrument that delivered anything.
    fn streams_of(&self, listing: usize) -> impl Iterator<Item = (Channel, &StreamTally)> + '_ {
        self.first().summary.streams.iter().enumerate().filter_map(move |(stream, &(of, channel))| {
            let tally = (of == listing).then(|| self.tally.stream(StreamId(stream as u32)))??;
            Some((channel, tally))
        })
    }

    fn instrument(&self, listing: usize) -> (String, Option<Value>) {
        let facts = &self.first().summary.instruments[listing];
        let mut value = Map::new();
        value.insert("venue_symbol".to_owned(), json!(facts.venue_symbol));
        let mut trades: Vec<_> = self.streams_of(listing).filter(|(channel, _)| channel.is_trade()).collect();
        trades.sort_by_key(|(channel, _)| *channel);
        if let Some((_, stream)) = trades.first() {
            value.insert("trades".to_owned(), trades_json(stream));
        }
        let book = self.streams_of(listing).find(|(channel, _)| channel.is_book());
        let counts = self.shards.iter().find_map(|shard| shard.summary.instruments[listing].book);
        if let Some((_, stream)) = book {
            value.insert("book".to_owned(), book_json(stream, counts.as_ref()));
        }
        let ticker = self.streams_of(listing).find(|(channel, _)| *channel == Channel::Ticker);
        if let Some((_, stream)) = ticker {
            value.insert("ticker".to_owned(), ticker_json(stream));
        }
        let silent = value.len() == 1 && self.streams_of(listing).next().is_none();
        (facts.symbol.clone(), (!silent).then_some(Value::Object(value)))
    }

    /// A table for people.
    pub fn to_text(&self, product: &str) -> String {
        let first = self.first();
        let mut text = String::new();
        let seconds = self.elapsed.as_secs_f64().max(1e-9);
        let _ = writeln!(
            text,
            "{} {product}: {} lines ({} WebSocket, {} REST) in {seconds:.3} s, {:.0} frames/s, {}",
            first.summary.venue,
            first.lines,
            first.ws,
            first.rest,
            first.ws as f64 / seconds,
            numbered(self.shards.len(), "shard"),
        );
        text.push_str(&self.tables());
        for (title, list) in
            [("decode errors", &first.summary.decode_errors), ("skipped frames", &first.summary.skipped)]
        {
            if !list.is_empty() {
                let words: Vec<String> = list.iter().map(|(name, count)| format!("{name} {count}")).collect();
                let _ = writeln!(text, "{title}: {}", words.join(", "));
            }
        }
        let Fallbacks { hot_frames, scanned_frames } = self.fallbacks();
        let _ = writeln!(text, "hot frames read by the scanner: {scanned_frames} of {hot_frames}");
        let _ = writeln!(text, "events_sha256: {}", self.events_sha256());
        text
    }

    /// The part of the table that comes from delivered events: counts by kind, and a line an instrument.
    pub(super) fn tables(&self) -> String {
        let first = self.first();
        let mut text = String::new();
        let _ = write!(text, "events:");
        for kind in Kind::ALL.into_iter().filter(|&kind| self.events(kind) > 0) {
            let _ = write!(text, " {} {}", kind.name(), self.events(kind));
        }
        let _ = writeln!(text);
        let _ = writeln!(
            text,
            "{:<14} {:>9} {:>9} {:>6} {:>9} {:>10} {:>7} {:>16} {:>16} {:>8}",
            "instrument",
            "trades",
            "updates",
            "gaps",
            "checksums",
            "resyncs",
            "levels",
            "bid",
            "ask",
            "state"
        );
        for listing in 0..first.summary.instruments.len() {
            let (name, Some(value)) = self.instrument(listing) else { continue };
            let field = |section: &str, name: &str| match &value[section][name] {
                Value::Null => "-".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let levels = format!("{}/{}", field("book", "bid_levels"), field("book", "ask_levels"));
            let _ = writeln!(
                text,
                "{:<14} {:>9} {:>9} {:>6} {:>9} {:>10} {:>7} {:>16} {:>16} {:>8}",
                name,
                field("trades", "count"),
                field("book", "updates_applied"),
                field("book", "gaps"),
                field("book", "checksums_ok"),
                field("book", "resyncs"),
                levels,
                field("book", "bid"),
                field("book", "ask"),
                field("book", "state"),
            );
        }
        text
    }
}

fn trades_json(stream: &StreamTally) -> Value {
    let trades = &stream.trades;
    let side = |(count, qty): (u64, Sum)| json!([count, text(qty)]);
    json!({
        "count": trades.count,
        "sum_qty": text(trades.sum_qty),
        "sum_price_x_qty": text(trades.sum_price_x_qty),
        "taker_buy": side(trades.taker_buy),
        "taker_sell": side(trades.taker_sell),
        "first_id": trades.first_id,
        "last_id": trades.last_id,
        "gaps": stream.gaps,
    })
}

/// `counts` are the engine's own, of what was not published; a recording does not have them.
fn book_json(stream: &StreamTally, counts: Option<&BookCounts>) -> Value {
    let mut value = json!({
        "gaps": stream.gaps,
        "crossed": stream.crossed,
        "resyncs": stream.resyncs,
    });
    if let Some(counts) = counts {
        value["stale_dropped"] = json!(counts.stale_total);
        value["checksums"] = json!(counts.checksum_total);
        value["checksums_ok"] = json!(counts.checksum_ok_total);
        value["depth_limited"] = json!(counts.depth_limited_total);
        value["removes_of_absent_level"] = json!(counts.absent_total);
    }
    let Some(replica) = &stream.replica else { return value };
    let book = replica.book();
    let decimals = book.decimals();
    let qty = |levels: &mut dyn Iterator<Item = &Level>| {
        let mut sum = Sum::default();
        levels.for_each(|level| sum.add(i128::from(level.qty.0), decimals.qty));
        text(sum)
    };
    let side = |best: Option<Level>| match best {
        Some(level) => (price_text(level.price.0, decimals), qty_text(level.qty.0, decimals)),
        None => (Value::Null, Value::Null),
    };
    let ((bid, bid_qty), (ask, ask_qty)) = (side(book.bids.best()), side(book.asks.best()));
    let own = json!({
        "snapshots": replica.snapshot_total(),
        "updates_applied": replica.update_total(),
        "state": if stream.unknown { "unknown" } else { replica.status().name() },
        "proof": replica.proof().name(),
        "bid": bid,
        "bid_qty": bid_qty,
        "ask": ask,
        "ask_qty": ask_qty,
        "bid_levels": book.bids.len(),
        "ask_levels": book.asks.len(),
        "sum_bid_qty": qty(&mut book.bids.iter()),
        "sum_ask_qty": qty(&mut book.asks.iter()),
    });
    if let (Value::Object(value), Value::Object(own)) = (&mut value, own) {
        value.extend(own);
    }
    value
}

fn ticker_json(stream: &StreamTally) -> Value {
    let last = stream.last_ticker.map(|(ticker, decimals)| {
        json!({
            "bid": price_text(ticker.bid.0, decimals),
            "bid_qty": qty_text(ticker.bid_qty.0, decimals),
            "ask": price_text(ticker.ask.0, decimals),
            "ask_qty": qty_text(ticker.ask_qty.0, decimals),
        })
    });
    json!({"count": stream.tickers, "last": last})
}

/// Decimals are strings, without trailing zeros.
fn text(sum: Sum) -> String {
    sum.trimmed().to_string()
}

fn price_text(mantissa: i64, decimals: Decimals) -> Value {
    json!(text(Sum { mantissa: i128::from(mantissa), decimals: decimals.price }))
}

fn qty_text(mantissa: i64, decimals: Decimals) -> Value {
    json!(text(Sum { mantissa: i128::from(mantissa), decimals: decimals.qty }))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
