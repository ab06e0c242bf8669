//! A small catalog and a generated session of all kinds of events, for the tests of consumers and recordings.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use engine::catalog::{Catalog, ProviderFacts, StreamFacts};
use engine::channel::{Channel, Interval};
use engine::decimal::{Decimals, Price, Qty};
use engine::event::{
    Body, BookReason, BookStatus, Event, Flags, Gap, GapReason, Header, Kline, Level, Parts, Proof,
    SCHEMA_VERSION, Side, Ticker, TickerFields, Trade,
};
use engine::ids::{ConsumerId, InstrumentId, LineId, ProviderId, StreamId, TraceId};
use engine::time::{ReceiveTime, VenueTime};

use super::ConsumerConfig;
use crate::topology::ConsumerOptions;

/// Channels of each instrument in [`catalog`], in the order of their streams.
const CHANNELS: [Channel; 4] =
    [Channel::Trade, Channel::Book { speed_ms: 100 }, Channel::Ticker, Channel::Kline(Interval::M1)];

/// Two providers, two instruments each, four streams an instrument.
pub fn catalog() -> Catalog {
    let symbols = ["BTC-USDT", "ETH-USDT"];
    let provider = |name: &str, dash: &str| ProviderFacts {
        name: name.to_owned(),
        venue: name.to_owned(),
        streams: (0..8)
            .map(|stream| StreamFacts {
                symbol: symbols[stream / 4].to_owned(),
                venue_symbol: symbols[stream / 4].replace('-', dash),
                instrument: InstrumentId((stream / 4) as u16),
                channel: CHANNELS[stream % 4],
            })
            .collect(),
    };
    Catalog {
        providers: vec![provider("binance", ""), provider("kraken", "/")],
        symbols: symbols.map(str::to_owned).to_vec(),
    }
}

/// The number of the consumer under test.
pub const ID: ConsumerId = ConsumerId(3);

/// A configuration over [`catalog`], in a directory of its own under the system's temporary one.
pub fn config(options: ConsumerOptions) -> ConsumerConfig {
    ConsumerConfig {
        name: "tested".to_owned(),
        options,
        catalog: Arc::new(catalog()),
        run_dir: directory(),
        started_at: SystemTime::UNIX_EPOCH + std::time::Duration::from_mins(29_920_530),
    }
}

/// A new empty directory.
pub fn directory() -> PathBuf {
    let path = std::env::temp_dir().join(format!("meltica-{}-{}", std::process::id(), fastrand::u64(..)));
    std::fs::create_dir_all(&path).expect("the temporary directory is writable");
    path
}

/// One event of a stream at `second_ms` milliseconds after the session's start.
pub fn event(provider: u8, stream: u32, sequence: u64, body: Body) -> Event {
    let receive_ns = 1_000_000_000 + sequence * 1_000_000;
    let header = Header {
        trace: TraceId::new(LineId(0), sequence),
        sequence_first: sequence,
        sequence_last: sequence,
        venue_time: VenueTime::from_ms(1_795_231_800_000 + sequence),
        receive_time: ReceiveTime::from_ns(receive_ns),
        stream: StreamId(stream),
        instrument: InstrumentId((stream / 4) as u16),
        flags: Flags::WHOLE,
        decimals: Decimals { price: 2, qty: 8 },
        provider: ProviderId(provider),
        schema: SCHEMA_VERSION,
        ..Header::default()
    };
    Event { header, body }
}

/// A trade.
pub fn trade(provider: u8, stream: u32, sequence: u64) -> Event {
    let price = Price(6_421_000 + (sequence % 100) as i64);
    let taker_side = if sequence.is_multiple_of(3) { Side::Sell } else { Side::Buy };
    let trade = Trade { price, qty: Qty(50_000_000 + sequence as i64), id: sequence, taker_side };
    event(provider, stream, sequence, Body::Trade(trade))
}

/// A book event in all its parts.
pub fn book(
    provider: u8,
    stream: u32,
    sequence: u64,
    snapshot: bool,
    bids: &[Level],
    asks: &[Level],
) -> Vec<Event> {
    let parts = Parts::new(bids, asks, BookStatus::Proved, Proof::Continuity).enumerate();
    parts
        .map(|(part, (flags, levels))| {
            let body = if snapshot { Body::BookSnapshot(levels) } else { Body::BookUpdate(levels) };
            let mut event = event(provider, stream, sequence, body);
            (event.header.part, event.header.flags) = (part as u16, flags);
            event
        })
        .collect()
}

/// `rounds` rounds of every kind on the streams of both providers, snapshots first: the same for the same seed.
pub fn session(rounds: u64, seed: u64) -> Vec<Event> {
    let mut random = fastrand::Rng::with_seed(seed);
    let level = |price: i64, qty: i64| Level { price: Price(price), qty: Qty(qty) };
    let mut events = Vec::new();
    for round in 1..=rounds {
        for provider in 0..2 {
            for first in [0, 4] {
                events.push(trade(provider, first, round));
                let (bids, asks): (Vec<_>, Vec<_>) = if round % 50 == 1 {
                    (0..20).map(|at| (level(6_421_000 - at, 7 + at), level(6_421_010 + at, 9 + at))).unzip()
                } else {
                    let mut side = |from: i64| -> Vec<Level> {
                        (0..random.usize(0..9))
                            .map(|_| level(from + random.i64(-5..5), random.i64(0..40)))
                            .collect()
                    };
                    (side(6_420_990), side(6_421_020))
                };
                events.extend(book(provider, first + 1, round, round % 50 == 1, &bids, &asks));
                let fields = TickerFields::BEST.with(TickerFields::LAST);
                let ticker = Ticker {
                    bid: Price(6_421_000),
                    bid_qty: Qty(random.i64(1..1_000_000)),
                    ask: Price(6_421_010),
                    ask_qty: Qty(5),
                    last: Price(6_421_005),
                    fields,
                    ..Ticker::default()
                };
                events.push(event(provider, first + 2, round, Body::Ticker(ticker)));
                if random.u8(0..10) == 0 {
                    let gap = Gap { from: round, to: round + 2, event_count: 0, reason: GapReason::Sequence };
                    events.push(event(provider, first, round, Body::Gap(gap)));
                    let (status, proof) = (BookStatus::Suspect, Proof::None);
                    let state = Body::BookState { status, proof, reason: BookReason::SequenceGap };
                    events.push(event(provider, first + 1, round, state));
                }
                events.push(event(provider, first + 3, round, Body::Kline(kline(round))));
            }
        }
    }
    events
}

fn kline(round: u64) -> Kline {
    Kline {
        open_time: VenueTime::from_ms(1_795_231_800_000),
        close_time: VenueTime::from_ms(1_795_231_859_999),
        open: Price(6_421_000),
        high: Price(6_422_000),
        low: Price(6_420_000),
        close: Price(6_421_550),
        volume: Qty(123_000_000),
        taker_buy_volume: Qty(1),
        quote_volume: engine::event::Amount { mantissa: 7_898, decimals: 2 },
        trade_count: round,
        interval: Interval::M1,
    }
}
