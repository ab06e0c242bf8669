//! Names behind the numbers in events.

use crate::channel::Channel;
use crate::ids::{InstrumentId, ProviderId, StreamId};

/// What a stream is, for people and for strategies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFacts {
    /// Canonical symbol, for example `BTC-USDT`.
    pub symbol: String,
    /// The venue's spelling.
    pub venue_symbol: String,
    /// The instrument's number.
    pub instrument: InstrumentId,
    /// The kind of feed.
    pub channel: Channel,
}

/// What a provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderFacts {
    /// Its name in the topology.
    pub name: String,
    /// Its venue, for example `binance`.
    pub venue: String,
    /// Its streams, by number.
    pub streams: Vec<StreamFacts>,
}

/// Names behind the numbers in events. Shared by all shards and never changed: a routing change that needs new names
/// brings a new one, in which the old numbers mean the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// All providers, by number.
    pub providers: Vec<ProviderFacts>,
    /// All canonical symbols, by instrument number.
    pub symbols: Vec<String>,
}

impl Catalog {
    /// The facts of a stream.
    pub fn stream(&self, provider: ProviderId, stream: StreamId) -> Option<&StreamFacts> {
        self.providers.get(provider.index())?.streams.get(stream.index())
    }

    /// The canonical symbol of an instrument, `?` if there is no such number.
    pub fn symbol(&self, instrument: InstrumentId) -> &str {
        self.symbols.get(instrument.index()).map_or("?", String::as_str)
    }

    /// The name of a provider, `?` if there is no such number.
    pub fn provider(&self, provider: ProviderId) -> &str {
        self.providers.get(provider.index()).map_or("?", |facts| facts.name.as_str())
    }

    /// The stream of `channel` for a symbol of a provider.
    pub fn find(&self, provider: ProviderId, symbol: &str, channel: Channel) -> Option<StreamId> {
        let streams = &self.providers.get(provider.index())?.streams;
        let at = streams.iter().position(|facts| facts.symbol == symbol && facts.channel == channel)?;
        Some(StreamId(at as u32))
    }
}
