//! Consolidated best bid and offer of one instrument over several providers.
//!
//! Updated when an event changes a best price, a quantity there, or the trust in a leg: at once, without a window, so its
//! steps follow the order in which events reach the merge shard. A leg that is not proved does not compete; the event
//! says so. Prices of different scales are compared exactly, in 128 bits.

use std::cmp::Ordering;

use crate::book::Replica;
use crate::decimal::{DECIMALS_MAX, Decimals, power_of_ten};
use crate::event::{
    BestLeg, Body, BookStatus, Event, Leg, Level, MERGED_PROVIDERS_MAX, MergedBbo, Proof, TickerFields,
};
use crate::ids::ProviderId;
use crate::merge::rules::{BboSource, RuleInputs};
use crate::time::ReceiveTime;

/// Compares `left / 10^left_decimals` with `right / 10^right_decimals`, exactly.
///
/// A mantissa has 64 bits and a scale at most 18 digits, so the wider product has less than 124 bits.
#[inline]
pub fn compare_scaled(left: i64, left_decimals: u8, right: i64, right_decimals: u8) -> Ordering {
    if left_decimals == right_decimals {
        return left.cmp(&right);
    }
    let widen = |mantissa: i64, own: u8, other: u8| {
        let by = other.saturating_sub(own).min(DECIMALS_MAX);
        i128::from(mantissa) * i128::from(power_of_ten(by))
    };
    widen(left, left_decimals, right_decimals).cmp(&widen(right, right_decimals, left_decimals))
}

/// What one provider's data says now.
#[derive(Debug)]
struct LegState {
    provider: ProviderId,
    status: BookStatus,
    proof: Proof,
    decimals: Decimals,
    bid: Option<Level>,
    ask: Option<Level>,
    /// Receive time of the newest data; `None` before the first.
    updated: Option<ReceiveTime>,
    /// The copy of its book, where best prices come from books.
    replica: Option<Box<Replica>>,
}

/// The legs of one merged stream and what they gave last.
#[derive(Debug)]
pub(super) struct Bbo {
    legs: heapless::Vec<LegState, MERGED_PROVIDERS_MAX>,
    best: (Option<BestLeg>, Option<BestLeg>),
    pub(super) age_ns_max: u64,
    pub(super) last_id: u64,
}

impl Bbo {
    pub(super) fn new(inputs: &RuleInputs, source: BboSource, age_ns_max: u64) -> Self {
        let legs = inputs.iter().map(|input| LegState {
            provider: input.provider,
            status: BookStatus::Syncing,
            proof: Proof::None,
            decimals: Decimals::default(),
            bid: None,
            ask: None,
            updated: None,
            replica: match source {
                BboSource::Ticker => None,
                BboSource::Book { depth_max, reserve } => Some(Box::new(Replica::new(depth_max, reserve))),
            },
        });
        Self { legs: legs.collect(), best: (None, None), age_ns_max, last_id: 0 }
    }

    /// Takes an event of a leg. Returns whether the consolidated best, or the trust in a leg, changed.
    #[inline]
    pub(super) fn take(&mut self, leg: u8, event: &Event) -> bool {
        let leg = &mut self.legs[usize::from(leg)];
        let before = (leg.status, leg.proof);
        if !leg.take(event) {
            return false;
        }
        let trust_changed = before != (leg.status, leg.proof);
        let best = self.consolidate();
        if best == self.best && !trust_changed {
            return false;
        }
        self.best = best;
        true
    }

    /// Gives up legs whose data is older than it may be. Returns whether anything changed.
    pub(super) fn expire(&mut self, now: ReceiveTime) -> bool {
        let mut changed = false;
        for leg in &mut self.legs {
            if leg.status == BookStatus::Proved && leg.expires(self.age_ns_max).is_some_and(|at| now >= at) {
                leg.status = BookStatus::Stale;
                changed = true;
            }
        }
        if changed {
            self.best = self.consolidate();
        }
        changed
    }

    /// When the first leg grows too old.
    pub(super) fn expires(&self) -> Option<ReceiveTime> {
        let proved = self.legs.iter().filter(|leg| leg.status == BookStatus::Proved);
        proved.filter_map(|leg| leg.expires(self.age_ns_max)).min()
    }

    #[inline]
    fn consolidate(&self) -> (Option<BestLeg>, Option<BestLeg>) {
        let (mut bid, mut ask) = (None, None);
        for leg in self.legs.iter().filter(|leg| leg.status == BookStatus::Proved) {
            better(&mut bid, leg.bid, leg, Ordering::Greater);
            better(&mut ask, leg.ask, leg, Ordering::Less);
        }
        (bid, ask)
    }

    /// The event's body.
    pub(super) fn body(&self, at: ReceiveTime) -> Body {
        let mut legs = [Leg::default(); MERGED_PROVIDERS_MAX];
        for (leg, state) in legs.iter_mut().zip(&self.legs) {
            let age_ns = state.updated.map_or(0, |updated| at.since_ns(updated));
            *leg = Leg {
                age_ms: u16::try_from(age_ns / 1_000_000).unwrap_or(u16::MAX),
                provider: state.provider,
                status: state.status,
                proof: state.proof,
            };
        }
        let (bid, ask) = self.best;
        Body::MergedBbo(MergedBbo { bid, ask, leg_count: self.legs.len() as u8, legs })
    }
}

/// Puts a leg's level in the place of the best one if it is better: by price, then by quantity, then by the rule's order.
#[inline]
fn better(best: &mut Option<BestLeg>, level: Option<Level>, leg: &LegState, wanted: Ordering) {
    let Some(Level { price, qty }) = level else { return };
    if let Some(known) = best {
        let by_price = compare_scaled(price.0, leg.decimals.price, known.price.0, known.decimals.price);
        let by_qty = || compare_scaled(qty.0, leg.decimals.qty, known.qty.0, known.decimals.qty);
        if by_price != wanted && !(by_price.is_eq() && by_qty().is_gt()) {
            return;
        }
    }
    *best = Some(BestLeg { price, qty, decimals: leg.decimals, provider: leg.provider, proof: leg.proof });
}

impl LegState {
    /// Takes an event. Returns whether best prices or trust may have changed.
    #[inline]
    fn take(&mut self, event: &Event) -> bool {
        let at = event.header.receive_time;
        match (&event.body, &mut self.replica) {
            (Body::Ticker(ticker), None) if ticker.fields.has(TickerFields::BEST) => {
                // A side that is empty at the venue comes with quantity zero.
                let side = |price, qty: crate::decimal::Qty| (qty.0 > 0).then_some(Level { price, qty });
                self.bid = side(ticker.bid, ticker.bid_qty);
                self.ask = side(ticker.ask, ticker.ask_qty);
                (self.status, self.proof) = (BookStatus::Proved, Proof::None);
                self.decimals = event.header.decimals;
            }
            (Body::Gap(_), None) => {
                if self.status == BookStatus::Syncing {
                    return false;
                }
                self.status = BookStatus::Suspect;
                return true;
            }
            // The copy knows what a Gap does to it: it follows again from the next snapshot on.
            (body, Some(replica)) => {
                replica.apply(event);
                if !replica.is_whole() {
                    return false;
                }
                let book = replica.book();
                (self.bid, self.ask, self.decimals) = (book.bids.best(), book.asks.best(), book.decimals());
                (self.status, self.proof) = (replica.status(), replica.proof());
                if !matches!(body, Body::BookSnapshot(_) | Body::BookUpdate(_)) {
                    return true;
                }
            }
            _ => return false,
        }
        self.updated = Some(self.updated.map_or(at, |updated| updated.max(at)));
        true
    }

    fn expires(&self, age_ns_max: u64) -> Option<ReceiveTime> {
        if age_ns_max == u64::MAX { None } else { self.updated.map(|updated| updated.plus_ns(age_ns_max)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_of_different_scales_compare_exactly() {
        for (left, left_decimals, right, right_decimals, expected) in [
            (6_421_010, 2, 642_101_000, 4, Ordering::Equal),
            (6_421_010, 2, 642_101_001, 4, Ordering::Less),
            (1, 18, 0, 0, Ordering::Greater),
            (i64::MAX, 0, i64::MAX, 18, Ordering::Greater),
            (i64::MIN, 0, i64::MAX, 18, Ordering::Less),
            (-5, 1, -50, 2, Ordering::Equal),
            // As floats of 64 bits both would be the same number.
            (9_007_199_254_740_993, 0, 90_071_992_547_409_920, 1, Ordering::Greater),
            (7, 3, 7, 3, Ordering::Equal),
        ] {
            let found = compare_scaled(left, left_decimals, right, right_decimals);
            assert_eq!(found, expected, "{left}e-{left_decimals} against {right}e-{right_decimals}");
            let found = compare_scaled(right, right_decimals, left, left_decimals);
            assert_eq!(found, expected.reverse());
        }
    }
}
