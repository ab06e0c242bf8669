//! A small world for tests: providers p0, p1, ... with instruments S0-USDT, ... and a rule over them.

use super::{MergeKind, MergeRule};
use crate::catalog::{Catalog, ProviderFacts, StreamFacts};
use crate::channel::{Channel, Interval};
use crate::decimal::{Decimals, Price, Qty};
use crate::event::{Body, Event, Flags, Header, Side, Ticker, TickerFields, Trade};
use crate::ids::{InstrumentId, ProviderId, StreamId};
use crate::time::ReceiveTime;

/// Channels of each instrument, in the order of its streams.
pub(super) const CHANNELS: [Channel; 4] =
    [Channel::Trade, Channel::Ticker, Channel::Kline(Interval::M1), Channel::Book { speed_ms: 100 }];

/// Every provider has every instrument on all of [`CHANNELS`].
pub(super) fn catalog(providers: usize, instruments: usize) -> Catalog {
    let symbol = |instrument: usize| format!("S{instrument}-USDT");
    let streams = |_| {
        let of = |instrument: usize| {
            CHANNELS.into_iter().map(move |channel| StreamFacts {
                symbol: symbol(instrument),
                venue_symbol: symbol(instrument),
                instrument: InstrumentId(instrument as u16),
                channel,
            })
        };
        (0..instruments).flat_map(of).collect()
    };
    let facts = |provider| ProviderFacts {
        name: format!("p{provider}"),
        venue: "none".to_owned(),
        streams: streams(provider),
    };
    Catalog {
        providers: (0..providers).map(facts).collect(),
        symbols: (0..instruments).map(symbol).collect(),
    }
}

/// The stream of an instrument's channel.
pub(super) fn stream(instrument: u16, channel: Channel) -> StreamId {
    let at = CHANNELS.iter().position(|known| *known == channel).expect("one of the channels");
    StreamId(u32::from(instrument) * CHANNELS.len() as u32 + at as u32)
}

/// A rule over instrument 0 of the first `providers`.
pub(super) fn rule(name: &str, kind: MergeKind, providers: u8, window_ns: u64, count: u32) -> MergeRule {
    let inputs = (0..providers).map(|provider| (ProviderId(provider), vec![InstrumentId(0)])).collect();
    MergeRule { name: name.to_owned(), kind, inputs, window_ns, count, leg_age_ns_max: u64::MAX }
}

pub(super) fn at(ns: u64) -> ReceiveTime {
    ReceiveTime::from_ns(ns)
}

fn event(provider: u8, instrument: u16, channel: Channel, ns: u64, sequence: u64, body: Body) -> Event {
    let header = Header {
        provider: ProviderId(provider),
        instrument: InstrumentId(instrument),
        stream: stream(instrument, channel),
        sequence_first: sequence,
        sequence_last: sequence,
        receive_time: at(ns),
        decimals: Decimals { price: 2 + provider, qty: 8 - provider },
        flags: Flags::WHOLE,
        ..Header::default()
    };
    Event { header, body }
}

/// A trade of a provider, received at `ns`, with trade id `sequence`.
pub(super) fn trade(provider: u8, instrument: u16, ns: u64, sequence: u64) -> Event {
    let body = Trade { price: Price(100), qty: Qty(1), id: sequence, taker_side: Side::Buy };
    event(provider, instrument, Channel::Trade, ns, sequence, Body::Trade(body))
}

/// A ticker with these best prices, each with its quantity, at the provider's scale.
pub(super) fn ticker(provider: u8, ns: u64, sequence: u64, bid: (i64, i64), ask: (i64, i64)) -> Event {
    let body = Ticker {
        bid: Price(bid.0),
        bid_qty: Qty(bid.1),
        ask: Price(ask.0),
        ask_qty: Qty(ask.1),
        fields: TickerFields::BEST,
        ..Ticker::default()
    };
    event(provider, 0, Channel::Ticker, ns, sequence, Body::Ticker(body))
}

/// An event of any body on a channel of instrument 0.
pub(super) fn on(provider: u8, channel: Channel, ns: u64, sequence: u64, body: Body) -> Event {
    event(provider, 0, channel, ns, sequence, body)
}
