//! Options of a consumer that checks its own: each is asked for by name, what nobody asked for is refused.

use std::str::FromStr;

use engine::catalog::{Catalog, StreamFacts};
use engine::decimal::Number;
use engine::ids::{InstrumentId, ProviderId, StreamId};
use engine::orders::{DecisionId, OrderRequest, OrderSide};

use super::ConsumerError;
use crate::topology::ConsumerOptions;

/// The options of one consumer.
#[derive(Debug)]
pub struct OwnOptions<'a> {
    pairs: &'a [(String, String)],
    asked: Vec<&'static str>,
}

impl<'a> OwnOptions<'a> {
    /// Over what the topology says.
    pub fn new(options: &'a ConsumerOptions) -> Self {
        let pairs = match options {
            ConsumerOptions::Own(pairs) => pairs.as_slice(),
            _ => &[],
        };
        Self { pairs, asked: Vec::new() }
    }

    /// A value that must be there. `fits` says what it may be.
    ///
    /// # Errors
    /// [`ConsumerError::Options`]
    pub fn must<T: FromStr>(&mut self, name: &'static str, fits: &str) -> Result<T, ConsumerError> {
        self.asked.push(name);
        let found = self.pairs.iter().find(|(key, _)| key == name);
        let text = found.map(|(_, text)| text.as_str());
        text.and_then(|text| text.parse().ok()).ok_or_else(|| {
            let found = text.map_or_else(|| "nothing".to_owned(), |text| format!("{text:?}"));
            ConsumerError::Options(format!("options.{name}: found {found}, fits {fits}"))
        })
    }

    /// A number above 0 that must be there.
    ///
    /// # Errors
    /// [`ConsumerError::Options`]
    pub fn number(&mut self, name: &'static str) -> Result<Number, ConsumerError> {
        let text: String = self.must(name, "a number above 0")?;
        let number = Number::parse(text.as_bytes()).ok().filter(|number| number.mantissa > 0);
        number.ok_or_else(|| {
            ConsumerError::Options(format!("options.{name}: found {text:?}, fits a number above 0"))
        })
    }

    /// What it trades: `provider`, `symbol`, `qty` and `tick`, and the symbol's stream whose facts `fit`.
    ///
    /// # Errors
    /// [`ConsumerError::Options`]
    pub fn traded(
        &mut self,
        catalog: &Catalog,
        what: &str,
        fits: impl Fn(&StreamFacts) -> bool,
    ) -> Result<Traded, ConsumerError> {
        let provider: String = self.must("provider", "a provider's name")?;
        let symbol: String = self.must("symbol", "one of its symbols")?;
        let (qty, tick) = (self.number("qty")?, self.number("tick")?);
        let (provider, stream, facts) = find_stream(catalog, &provider, &symbol, what, fits)?;
        Ok(Traded { provider, stream, instrument: facts.instrument, qty, tick })
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`ConsumerError::Options`] for an option that nobody asked for.
    pub fn close(self) -> Result<(), ConsumerError> {
        match self.pairs.iter().find(|(key, _)| !self.asked.contains(&key.as_str())) {
            Some((key, _)) => {
                let known = self.asked.join(", ");
                Err(ConsumerError::Options(format!("options.{key}: no such option; fits: {known}")))
            }
            None => Ok(()),
        }
    }
}

/// What a strategy trades, and the stream that it looks at.
#[derive(Clone, Copy, Debug)]
pub struct Traded {
    /// Through whom.
    pub provider: ProviderId,
    /// Where it looks.
    pub stream: StreamId,
    /// What.
    pub instrument: InstrumentId,
    /// Quantity of an order.
    pub qty: Number,
    /// The instrument's price step.
    pub tick: Number,
}

impl Traded {
    /// A limit order for it.
    pub fn limit(&self, side: OrderSide, price: Number, decision: DecisionId) -> OrderRequest {
        let (provider, instrument) = (self.provider, self.instrument);
        OrderRequest { provider, instrument, decision, ..OrderRequest::limit(side, price, self.qty) }
    }
}

/// The stream of a provider's instrument whose channel `fits`.
///
/// # Errors
/// [`ConsumerError::Options`] if the topology has none.
pub fn find_stream<'a>(
    catalog: &'a Catalog,
    provider: &str,
    symbol: &str,
    what: &str,
    fits: impl Fn(&StreamFacts) -> bool,
) -> Result<(ProviderId, StreamId, &'a StreamFacts), ConsumerError> {
    let number = catalog.providers.iter().position(|facts| facts.name == provider);
    let streams = number.map(|number| &catalog.providers[number].streams);
    let at =
        streams.and_then(|streams| streams.iter().position(|facts| facts.symbol == symbol && fits(facts)));
    match (number, streams, at) {
        (Some(number), Some(streams), Some(at)) => {
            Ok((ProviderId(number as u8), StreamId(at as u32), &streams[at]))
        }
        _ => Err(ConsumerError::Options(format!("provider {provider} has no {what} of {symbol}"))),
    }
}
