//! Merge rules: what is joined from whom, checked against what there is. A bad rule is refused with the reason and what would fit.

use crate::catalog::Catalog;
use crate::channel::{Channel, Interval, Joined};
use crate::event::MERGED_PROVIDERS_MAX;
use crate::ids::{InstrumentId, ProviderId, StreamId};
use crate::routing::{Delivery, Route};

/// Longest window, in nanoseconds: an hour, as in the topology.
pub const WINDOW_NS_MAX: u64 = 3_600 * 1_000_000_000;
/// Most events of a window, as in the topology.
pub const WINDOW_COUNT_MAX: u32 = 100_000;

/// What a rule joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeKind {
    /// The latest trades, in windows.
    Trade,
    /// The latest tickers, in windows.
    Ticker,
    /// The latest klines of this length, in windows.
    Kline(Interval),
    /// Best bid and offer over all providers, at every change; it has no windows.
    Bbo(BboSource),
}

impl MergeKind {
    /// Whether it joins in windows.
    pub const fn is_windowed(self) -> bool {
        !matches!(self, Self::Bbo(_))
    }

    /// Whether a channel is what it joins.
    pub fn takes(self, channel: Channel) -> bool {
        match self {
            Self::Trade => channel == Channel::Trade,
            Self::Ticker | Self::Bbo(BboSource::Ticker) => channel == Channel::Ticker,
            Self::Kline(interval) => channel == Channel::Kline(interval),
            Self::Bbo(BboSource::Book { .. }) => channel.is_book(),
        }
    }

    /// How the streams that it joins come to the merge shard: whole, since a merge is the same whatever the load only if
    /// nothing is coalesced on the way; of a book only its best levels.
    pub const fn route(self, output: usize) -> Route {
        match self {
            Self::Bbo(BboSource::Book { depth_max, .. }) => {
                Route { output, delivery: Delivery::Book, book_depth: depth_max }
            }
            _ => Route { output, delivery: Delivery::Lossless, book_depth: 0 },
        }
    }

    /// What its merged streams carry.
    pub const fn joined(self) -> Joined {
        match self {
            Self::Trade => Joined::Trade,
            Self::Ticker => Joined::Ticker,
            Self::Kline(_) => Joined::Kline,
            Self::Bbo(_) => Joined::Bbo,
        }
    }

    /// The word for it in topology, reports and metrics.
    pub const fn name(self) -> &'static str {
        self.joined().name()
    }
}

/// Where the best prices of a consolidated best bid and offer come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BboSource {
    /// Tickers: fast, without proof.
    Ticker,
    /// Books, copied on the merge shard: proved.
    Book {
        /// Levels a side: as many as the shard subscribes to.
        depth_max: usize,
        /// Levels a side for which memory is taken at once.
        reserve: usize,
    },
}

impl BboSource {
    /// From books, of which the merge shard gets the best level of each side.
    pub const BEST_OF_BOOK: Self = Self::Book { depth_max: 1, reserve: 1 };
}

/// A rule as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeRule {
    /// Unique on its shard.
    pub name: String,
    /// What is joined.
    pub kind: MergeKind,
    /// Providers with equally many instruments each: the n-th of all are joined, into one stream each.
    pub inputs: Vec<(ProviderId, Vec<InstrumentId>)>,
    /// Length of a window, in nanoseconds; a best bid and offer has none and does not look at it.
    pub window_ns: u64,
    /// Events that close a window early; a best bid and offer does not look at it.
    pub count: u32,
    /// Age at which a leg of a best bid and offer is given up as stale, in nanoseconds; `u64::MAX` for never. Windows do
    /// not look at it.
    pub leg_age_ns_max: u64,
}

/// One provider's stream in a merged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleInput {
    /// Whose.
    pub provider: ProviderId,
    /// Which of its streams.
    pub stream: StreamId,
    /// The thing traded.
    pub instrument: InstrumentId,
}

/// The inputs of one merged stream, in the order of the rule.
pub type RuleInputs = heapless::Vec<RuleInput, MERGED_PROVIDERS_MAX>;

/// Why a rule is refused. Nothing of it was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Joining needs two.
    #[error("{found} provider; a merge joins 2 to {MERGED_PROVIDERS_MAX}")]
    TooFewProviders {
        /// How many it names.
        found: usize,
    },
    /// More than a merged event has room for.
    #[error("{found} providers; a merge joins 2 to {MERGED_PROVIDERS_MAX}")]
    TooManyProviders {
        /// How many it names.
        found: usize,
    },
    /// A provider is named twice.
    #[error("provider {provider} twice; each provider is joined once")]
    ProviderTwice {
        /// Its name.
        provider: String,
    },
    /// There is no such provider, or none of its events come to this shard.
    #[error("provider number {0} is unknown to this merge shard")]
    UnknownProvider(ProviderId),
    /// A provider without instruments.
    #[error("no instruments; at least one of each provider is joined")]
    NoInstruments,
    /// The n-th instruments of all are joined, so all have equally many.
    #[error("provider {provider} with {found} instruments; fits {fits}, as the first provider has")]
    UnequalInstruments {
        /// Its name.
        provider: String,
        /// How many it has.
        found: usize,
        /// How many the first has.
        fits: usize,
    },
    /// The provider does not have it, or not on the channel that the rule joins.
    #[error("provider {provider} has no {channel} of instrument {symbol}")]
    UnknownInstrument {
        /// The provider's name.
        provider: String,
        /// The channel.
        channel: &'static str,
        /// The canonical symbol, `?` if there is no such number.
        symbol: String,
    },
    /// A window without length, or too long.
    #[error("window of {found_ns} ns; fits 1 to {WINDOW_NS_MAX}")]
    Window {
        /// Its length, in nanoseconds.
        found_ns: u64,
    },
    /// A leg that is too old as soon as it comes.
    #[error("an age of 0 for the legs of a best bid and offer; fits 1 ms or more, or none")]
    LegAge,
    /// A window that its count closes before every provider can be in it, or too many events.
    #[error("count {found}; fits {fits} (one event a provider) to {WINDOW_COUNT_MAX}")]
    Count {
        /// The count.
        found: u32,
        /// The least that fits.
        fits: usize,
    },
    /// Another rule has the name.
    #[error("another merge rule has the name {name}; remove it first, or take another name")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// Each merged stream may have a window open, which takes a slot.
    #[error("{needed} windows may be open at once; the pool of merged events has {capacity} slots")]
    PoolTooSmall {
        /// Slots that all rules together need.
        needed: usize,
        /// Slots that there are.
        capacity: usize,
    },
    /// Too many rules were added since the start: their numbers are not used again.
    #[error("no stream number left; this merge shard numbers {0} streams in one run")]
    NoStreamLeft(usize),
}

impl MergeRule {
    /// Whether it could be a rule of these providers, whatever instruments they have.
    ///
    /// # Errors
    /// [`RuleError`], the first that is found.
    pub fn check(&self, catalog: &Catalog) -> Result<(), RuleError> {
        let found = self.inputs.len();
        if found < 2 {
            return Err(RuleError::TooFewProviders { found });
        }
        if found > MERGED_PROVIDERS_MAX {
            return Err(RuleError::TooManyProviders { found });
        }
        if self.kind.is_windowed() {
            if self.window_ns == 0 || self.window_ns > WINDOW_NS_MAX {
                return Err(RuleError::Window { found_ns: self.window_ns });
            }
            if self.count < found as u32 || self.count > WINDOW_COUNT_MAX {
                return Err(RuleError::Count { found: self.count, fits: found });
            }
        }
        if matches!(self.kind, MergeKind::Bbo(_)) && self.leg_age_ns_max == 0 {
            return Err(RuleError::LegAge);
        }
        let fits = self.inputs[0].1.len();
        if fits == 0 {
            return Err(RuleError::NoInstruments);
        }
        for (at, (provider, instruments)) in self.inputs.iter().enumerate() {
            let facts =
                catalog.providers.get(provider.index()).ok_or(RuleError::UnknownProvider(*provider))?;
            let name = || facts.name.clone();
            if self.inputs[..at].iter().any(|(other, _)| other == provider) {
                return Err(RuleError::ProviderTwice { provider: name() });
            }
            if instruments.len() != fits {
                return Err(RuleError::UnequalInstruments {
                    provider: name(),
                    found: instruments.len(),
                    fits,
                });
            }
        }
        Ok(())
    }

    /// The inputs of each merged stream, as far as `catalog` knows what there is.
    ///
    /// # Errors
    /// [`RuleError`], the first that is found.
    pub fn resolve(&self, catalog: &Catalog) -> Result<Vec<RuleInputs>, RuleError> {
        self.check(catalog)?;
        let mut streams = vec![RuleInputs::new(); self.inputs[0].1.len()];
        for (provider, instruments) in &self.inputs {
            let facts = &catalog.providers[provider.index()];
            let name = || facts.name.clone();
            for (&instrument, inputs) in instruments.iter().zip(&mut streams) {
                let carries = |facts: &crate::catalog::StreamFacts| {
                    facts.instrument == instrument && self.kind.takes(facts.channel)
                };
                let stream = facts.streams.iter().position(carries).ok_or_else(|| {
                    let symbol = catalog.symbol(instrument).to_owned();
                    let channel = match self.kind {
                        MergeKind::Bbo(BboSource::Book { .. }) => "book",
                        MergeKind::Bbo(BboSource::Ticker) => "ticker",
                        kind => kind.name(),
                    };
                    RuleError::UnknownInstrument { provider: name(), channel, symbol }
                })?;
                let input = RuleInput { provider: *provider, stream: StreamId(stream as u32), instrument };
                inputs.push(input).expect("at most as many providers as inputs have room for");
            }
        }
        Ok(streams)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::testing::{catalog, rule};

    fn refused(change: impl FnOnce(&mut MergeRule)) -> String {
        let mut rule = rule("r", MergeKind::Trade, 2, 10, 1_000);
        change(&mut rule);
        rule.resolve(&catalog(3, 2)).expect_err("a bad rule").to_string()
    }

    #[test]
    fn a_good_rule_joins_the_nth_instruments() {
        let mut rule = rule("r", MergeKind::Trade, 2, 10, 1_000);
        let (first, second) = (InstrumentId(0), InstrumentId(1));
        rule.inputs = vec![(ProviderId(0), vec![first, second]), (ProviderId(2), vec![second, first])];
        let streams = rule.resolve(&catalog(3, 2)).expect("good");
        let joined =
            |at: usize| streams[at].iter().map(|i| (i.provider.0, i.instrument.0)).collect::<Vec<_>>();
        assert_eq!((joined(0), joined(1)), (vec![(0, 0), (2, 1)], vec![(0, 1), (2, 0)]));
    }

    #[test]
    fn a_bad_rule_is_refused_with_what_would_fit() {
        assert_eq!(refused(|r| r.inputs.truncate(1)), "1 provider; a merge joins 2 to 8");
        assert_eq!(refused(|r| r.window_ns = 0), "window of 0 ns; fits 1 to 3600000000000");
        assert!(
            refused(|r| (r.kind, r.leg_age_ns_max) = (MergeKind::Bbo(BboSource::Ticker), 0))
                .starts_with("an age of 0")
        );
        assert_eq!(refused(|r| r.count = 1), "count 1; fits 2 (one event a provider) to 100000");
        assert_eq!(refused(|r| r.count = 100_001), "count 100001; fits 2 (one event a provider) to 100000");
        assert_eq!(
            refused(|r| r.inputs[1].1[0] = InstrumentId(9)),
            "provider p1 has no trade of instrument ?"
        );
        assert_eq!(
            refused(|r| r.inputs[1].0 = ProviderId(9)),
            "provider number 9 is unknown to this merge shard"
        );
        assert_eq!(
            refused(|r| r.inputs[1].0 = ProviderId(0)),
            "provider p0 twice; each provider is joined once"
        );
        assert_eq!(
            refused(|r| r.inputs[1].1.push(InstrumentId(1))),
            "provider p1 with 2 instruments; fits 1, as the first provider has"
        );
        assert_eq!(
            refused(|r| r.inputs = vec![r.inputs[0].clone(); 10]),
            "10 providers; a merge joins 2 to 8"
        );
        assert_eq!(
            refused(|r| r.inputs.iter_mut().for_each(|input| input.1.clear())),
            "no instruments; at least one of each provider is joined"
        );
        assert_eq!(
            refused(|r| r.kind = MergeKind::Kline(Interval::D3)),
            "provider p0 has no kline of instrument S0-USDT"
        );
    }
}
