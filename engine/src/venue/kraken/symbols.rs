//! Kraken's spellings of an instrument, and what its lists say about it.
//!
//! One pair has four names: the stream's `BTC/USD`, which is our venue symbol; the older `XBT/USD` (`wsname`); REST's
//! `XBTUSD` (`altname`) and REST's key `XXBTZUSD`. Prefixes are never stripped by a rule: the first three follow from
//! one another, the fourth only from the list.
//!
//! Source: docs.kraken.com, `AssetPairs` and the `instrument` channel, 2026-05-27. That the `altname` is the `wsname`
//! without its slash holds for every pair of the list of 2021-04-17 that has a `wsname` (tested).

use std::collections::BTreeMap;

use crate::decimal::{Decimals, Number};
use crate::directory::{Directory, OrderFilters};
use crate::ids::Listing;

/// Assets that the older interfaces spell otherwise: there, and in the stream.
const RENAMED: [(&str, &str); 2] = [("XBT", "BTC"), ("XDG", "DOGE")];

/// The stream's spelling of a canonical symbol: `BTC-USD` to `BTC/USD`.
pub fn from_canonical(symbol: &str) -> String {
    symbol.replacen('-', "/", 1)
}

/// The stream's spelling of an older one: `XBT/USD` to `BTC/USD`. `None` if it has no slash.
pub fn from_wsname(wsname: &str) -> Option<String> {
    let (base, quote) = wsname.split_once('/')?;
    let renamed = |asset: &str| {
        RENAMED
            .iter()
            .find(|(old, _)| *old == asset)
            .map_or_else(|| asset.to_owned(), |(_, new)| (*new).to_owned())
    };
    Some(format!("{}/{}", renamed(base), renamed(quote)))
}

/// REST's spelling of a venue symbol: `BTC/USD` to `XBTUSD`.
pub fn rest_name(venue_symbol: &str) -> String {
    let older = |asset: &str| {
        RENAMED
            .iter()
            .find(|(_, new)| *new == asset)
            .map_or_else(|| asset.to_owned(), |(old, _)| (*old).to_owned())
    };
    let mut name = match venue_symbol.split_once('/') {
        Some((base, quote)) => older(base) + &older(quote),
        None => venue_symbol.to_owned(),
    };
    // It becomes part of a query; no pair has other letters than these (list of 2021-04-17).
    name.retain(|letter| letter.is_ascii_alphanumeric() || letter == '.');
    name
}

/// What a list says about one pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Canonical `BASE-QUOTE`.
    pub symbol: String,
    /// The pair's precision: of its order prices and quantities, and of its checksum.
    pub decimals: Decimals,
    /// What an order must obey.
    pub filters: OrderFilters,
    /// Whether it is traded.
    pub trading: bool,
    /// Whether it is gone for good.
    pub delisted: bool,
}

impl Facts {
    fn apply(&self, directory: &mut Directory, listing: Listing) {
        let instrument = directory.instrument_mut(listing);
        // A configured canonical symbol stays: others go by it.
        if instrument.symbol == instrument.venue_symbol {
            instrument.symbol.clone_from(&self.symbol);
        }
        instrument.decimals = self.decimals;
        instrument.decimals_known = true;
        instrument.filters = self.filters;
        instrument.trading = self.trading;
        instrument.delisted = self.delisted;
    }
}

/// Whether orders of a pair in this state are matched.
///
/// States: `online`, `cancel_only`, `post_only`, `limit_only`, `reduce_only`, `maintenance`, `work_in_progress`,
/// `delisted`. Source: docs.kraken.com, `instrument` channel, 2026-05-27.
pub fn is_trading(status: &[u8]) -> bool {
    matches!(status, b"online" | b"limit_only" | b"reduce_only")
}

/// Whether a pair in this state is gone for good. Source: as [`is_trading`].
pub fn is_delisted(status: &[u8]) -> bool {
    status == b"delisted"
}

/// Whether anybody would use facts about this pair.
pub fn is_wanted(directory: &Directory, venue_symbol: &str) -> bool {
    directory.is_open() || directory.find(venue_symbol.as_bytes()).is_some()
}

/// `1` at `decimals` digits behind the point.
pub const fn unit(decimals: u8) -> Number {
    Number { mantissa: 1, decimals }
}

/// What the lists said about pairs, kept for an open directory, which lists a pair only when a message names it.
/// Cold: a list, or the first message of a pair.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    /// By venue symbol.
    facts: BTreeMap<String, Facts>,
    /// Venue symbol by REST's key and by REST's `altname`.
    rest: BTreeMap<String, String>,
}

impl Pairs {
    /// Takes note of a pair, and tells the directory if it lists it.
    pub fn learn(&mut self, directory: &mut Directory, venue_symbol: &str, facts: Facts) {
        if let Some(listing) = directory.find(venue_symbol.as_bytes()) {
            facts.apply(directory, listing);
        }
        if directory.is_open() {
            self.facts.insert(venue_symbol.to_owned(), facts);
        }
    }

    /// Takes note of a REST spelling of a pair.
    pub fn learn_rest_name(&mut self, name: &str, venue_symbol: &str) {
        self.rest.insert(name.to_owned(), venue_symbol.to_owned());
    }

    /// The listing of a venue symbol. An open directory adds it, and is told what the lists said about it.
    pub fn listing(&self, directory: &mut Directory, venue_symbol: &[u8]) -> Option<Listing> {
        if let Some(listing) = directory.find(venue_symbol) {
            return Some(listing);
        }
        let listing = directory.listing(venue_symbol)?;
        if let Some(facts) = self.facts.get(&directory.instrument(listing).venue_symbol) {
            facts.apply(directory, listing);
        }
        Some(listing)
    }

    /// The listing that REST calls `name`: by a list, or among those listed by the rule of [`rest_name`].
    pub fn by_rest_name(&self, directory: &mut Directory, name: &str) -> Option<Listing> {
        if let Some(venue_symbol) = self.rest.get(name) {
            return self.listing(directory, venue_symbol.as_bytes());
        }
        let at = directory.instruments().iter().position(|it| rest_name(&it.venue_symbol) == name)?;
        Some(Listing(at as u16))
    }
}
