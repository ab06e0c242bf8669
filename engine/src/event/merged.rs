//! What several providers say together: windows of a merge and their fragments, the best bid and offer over all.

use crate::decimal::{Decimals, Price, Qty};
use crate::ids::ProviderId;
use crate::time::ReceiveTime;

use super::book::{BookStatus, Proof};
use super::{Kline, Ticker, Trade};

/// Providers that one merge rule can join: what the legs of a [`MergedBbo`] leave room for.
pub const MERGED_PROVIDERS_MAX: usize = 8;

/// Why a merge window ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum WindowEnd {
    /// Its length was over.
    Length,
    /// It had as many events as its rule asks for.
    Count,
}

/// The first part of a merged event: the window. One [`Body::Fragment`](super::Body::Fragment) for each provider follows.
///
/// The merge id is the header's sequence: later windows of a stream have greater ones, also after a restart of the merger.
/// Receive time of all parts is `closed`, so that latencies count from the moment at which the event could be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergedHead {
    /// Receive time of the first event.
    pub opened: ReceiveTime,
    /// The window covers receive times before this; closed by its count: up to and including this.
    pub closed: ReceiveTime,
    /// Events in the window, those that no fragment shows included.
    pub event_count: u32,
    /// Providers of the rule.
    pub providers_expected: u8,
    /// Providers with a fragment.
    pub providers_present: u8,
    /// Why it ended.
    pub end: WindowEnd,
}

/// The latest event of one provider in a merge window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FragmentValue {
    /// Of a rule over trades.
    Trade(Trade),
    /// Of a rule over tickers.
    Ticker(Ticker),
    /// Of a rule over klines.
    Kline(Kline),
}

/// A best price over several providers, at its own provider's scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BestLeg {
    /// The price.
    pub price: Price,
    /// The quantity at that price, of this provider alone.
    pub qty: Qty,
    /// Scale of both.
    pub decimals: Decimals,
    /// Whose price it is.
    pub provider: ProviderId,
    /// What the trust in it rests on.
    pub proof: Proof,
}

/// State of one provider in a consolidated best bid and offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leg {
    /// Age of its newest data when this event was made, in milliseconds, saturating; 0 before the first.
    pub age_ms: u16,
    /// The provider.
    pub provider: ProviderId,
    /// Only proved legs compete. A ticker's leg is proved (with proof `none`) from its first event on, suspect after a
    /// Gap until the next one, and stale when it grew too old.
    pub status: BookStatus,
    /// What `proved` rests on.
    pub proof: Proof,
}

/// Best bid and offer over the proved legs of several providers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergedBbo {
    /// The highest bid; `None` if no proved leg has one.
    pub bid: Option<BestLeg>,
    /// The lowest ask; `None` if no proved leg has one.
    pub ask: Option<BestLeg>,
    /// How many of `legs` are used.
    pub leg_count: u8,
    /// All providers of the rule, in its order; those beyond the count are zero.
    pub legs: [Leg; MERGED_PROVIDERS_MAX],
}

impl MergedBbo {
    /// The legs of the rule.
    pub fn legs(&self) -> &[Leg] {
        &self.legs[..usize::from(self.leg_count).min(MERGED_PROVIDERS_MAX)]
    }
}
