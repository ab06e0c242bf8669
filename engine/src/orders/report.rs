//! What consumers are told of their orders: execution reports, and marks of the session that carries them. Plain data,
//! one slot of the critical ring.

use crate::decimal::{Decimals, Price, Qty};
use crate::event::Amount;
use crate::ids::{ConsumerId, InstrumentId, ProviderId, TraceId};
use crate::pool::Reset;
use crate::time::{ReceiveTime, VenueTime};

use super::id::ClientOrderId;
use super::request::{DecisionId, OrderSide};
use super::text::Text;

/// Bytes of the longest order id of a venue: a UUID (Coinbase, 2026).
pub const VENUE_ORDER_ID_BYTES: usize = 36;
/// Bytes of the longest execution id that is kept: Kraken's `TAAAAA-BBBBB-CCCCCC` has 19 (2026).
pub const EXECUTION_ID_BYTES: usize = 23;
/// Bytes of a reason that are kept.
pub const REASON_BYTES: usize = 79;
/// Bytes of the longest asset name that is kept.
pub const ASSET_BYTES: usize = 15;

/// The venue's name for an order.
pub type VenueOrderId = Text<VENUE_ORDER_ID_BYTES>;
/// The venue's name for one execution, unique within its order.
pub type ExecutionId = Text<EXECUTION_ID_BYTES>;
/// Why, in the venue's words or ours.
pub type Reason = Text<REASON_BYTES>;
/// An asset's name in the venue's spelling.
pub type Asset = Text<ASSET_BYTES>;

const _: () = assert!(size_of::<OrderEvent>() <= 384, "a critical event fills six cache lines, no more");

/// Where an order stands (SPEC F-42). States only move forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ReportState {
    /// The venue has it.
    Ack = 1,
    /// Filled in part.
    Partial,
    /// Filled.
    Filled,
    /// Ended by us, or by the venue on our behalf.
    Cancelled,
    /// Never worked.
    Rejected,
    /// Ended by its own terms.
    Expired,
}

impl ReportState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Ack, Self::Partial, Self::Filled, Self::Cancelled, Self::Rejected, Self::Expired];

    /// The word for it in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ack => "ACK",
            Self::Partial => "PARTIAL",
            Self::Filled => "FILLED",
            Self::Cancelled => "CANCELLED",
            Self::Rejected => "REJECTED",
            Self::Expired => "EXPIRED",
        }
    }

    /// Whether nothing but a late execution can follow.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Ack | Self::Partial)
    }

    /// The state with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        let mut at = 0;
        while at < Self::ALL.len() {
            if Self::ALL[at] as u8 == number {
                return Some(Self::ALL[at]);
            }
            at += 1;
        }
        None
    }
}

/// Who says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Origin {
    /// The venue.
    #[default]
    Venue,
    /// This gateway: the order never left, or never arrived.
    Local,
}

/// Who gave liquidity in an execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Liquidity {
    /// The venue does not say, or it is no execution.
    #[default]
    Unknown,
    /// The order stood in the book.
    Maker,
    /// The order took from the book.
    Taker,
}

/// Marks on a report; several may be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct ReportFlags(pub u8);

impl ReportFlags {
    /// Found by asking the venue, not received in its time.
    pub const RECOVERED: Self = Self(1);
    /// An execution that came after a later one, or after the end of its order. `cum_qty` contained it already.
    pub const LATE: Self = Self(2);
    /// `last_price` is a quotient of cumulative amounts, rounded to the nearest: the venue gives no execution prices here.
    pub const PRICE_DERIVED: Self = Self(4);
    /// It stands for several executions: the venue counts them together, or some were missed.
    pub const COMBINED: Self = Self(8);

    /// Whether all of `other` is set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What happened to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecReport {
    /// What the order's executions cost so far, in the quote asset, at `decimals.price + decimals.qty`. Divided by
    /// `cum_qty` it is the average price.
    pub cum_quote: i128,
    /// Where the order stands now.
    pub state: ReportState,
    /// Who says so.
    pub origin: Origin,
    /// Recovered, late.
    pub flags: ReportFlags,
    /// Who gave liquidity, if this is an execution.
    pub liquidity: Liquidity,
    /// Buy or sell.
    pub side: OrderSide,
    /// Scale of prices and quantities.
    pub decimals: Decimals,
    /// Through whom.
    pub provider: ProviderId,
    /// Whose order.
    pub consumer: ConsumerId,
    /// The thing traded.
    pub instrument: InstrumentId,
    /// The venue's number for its reason (Binance: `-2010`), or 0.
    pub code: i32,
    /// Number of this report among those of its provider in this run, from 1 without a hole.
    pub sequence: u64,
    /// The consumer's decision behind the order.
    pub decision: DecisionId,
    /// The frame that the decision rested on.
    pub order_trace: TraceId,
    /// The frame that this report came in; 0.0 if it did not come in one.
    pub trace: TraceId,
    /// When the venue says it happened.
    pub venue_time: VenueTime,
    /// When its bytes reached us, or we decided it.
    pub receive_time: ReceiveTime,
    /// The order's limit price; zero for a market order.
    pub price: Price,
    /// The order's quantity.
    pub qty: Qty,
    /// Price of this execution; zero if it is none.
    pub last_price: Price,
    /// Quantity of this execution; zero if it is none.
    pub last_qty: Qty,
    /// Quantity executed so far.
    pub cum_qty: Qty,
    /// Quantity not executed: `qty - cum_qty`, also of an order that has ended.
    pub remaining_qty: Qty,
    /// Fee of this execution; negative is a rebate.
    pub fee: Amount,
    /// Asset that the fee is taken in.
    pub fee_asset: Asset,
    /// The consumer's name for the order.
    pub client_order_id: ClientOrderId,
    /// What the venue knows the order by; absent if it was never sent.
    pub wire_id: ClientOrderId,
    /// The venue's name for the order; empty until it gave one.
    pub venue_order_id: VenueOrderId,
    /// The venue's name for this execution; empty if it is none.
    pub execution_id: ExecutionId,
    /// Why.
    pub reason: Reason,
}

impl Default for ExecReport {
    fn default() -> Self {
        Self {
            cum_quote: 0,
            state: ReportState::Ack,
            origin: Origin::default(),
            flags: ReportFlags::default(),
            liquidity: Liquidity::default(),
            side: OrderSide::default(),
            decimals: Decimals::default(),
            provider: ProviderId::default(),
            consumer: ConsumerId::default(),
            instrument: InstrumentId::default(),
            code: 0,
            sequence: 0,
            decision: DecisionId::default(),
            order_trace: TraceId::default(),
            trace: TraceId::default(),
            venue_time: VenueTime::ABSENT,
            receive_time: ReceiveTime::default(),
            price: Price::default(),
            qty: Qty::default(),
            last_price: Price::default(),
            last_qty: Qty::default(),
            cum_qty: Qty::default(),
            remaining_qty: Qty::default(),
            fee: Amount::default(),
            fee_asset: Asset::EMPTY,
            client_order_id: ClientOrderId::ABSENT,
            wire_id: ClientOrderId::ABSENT,
            venue_order_id: VenueOrderId::EMPTY,
            execution_id: ExecutionId::EMPTY,
            reason: Reason::EMPTY,
        }
    }
}

impl Reset for ExecReport {
    fn reset(&mut self) {
        *self = Self::default();
    }

    fn poison(&mut self) {
        self.cum_qty = Qty(-0xDEAD);
        self.sequence = 0xDEAD_DEAD_DEAD_DEAD;
    }
}

/// What is known of an order that is not known exactly, or of a cancel that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderNotice {
    /// Whose order.
    pub consumer: ConsumerId,
    /// Through whom.
    pub provider: ProviderId,
    /// The consumer's name for the order.
    pub client_order_id: ClientOrderId,
    /// The consumer's decision behind the order.
    pub decision: DecisionId,
    /// The venue's number for its reason, or 0.
    pub code: i32,
    /// Why.
    pub reason: Reason,
    /// When.
    pub receive_time: ReceiveTime,
}

/// One slot of the critical ring: never dropped, never coalesced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a ring's slots are as large as the largest, and are not boxed"
)]
pub enum OrderEvent {
    /// Something happened to an order.
    Report(ExecReport),
    /// The outcome of a request is not known; the venue is being asked. The order may be working.
    Unknown(OrderNotice),
    /// The venue refused to cancel; the order's state follows by itself.
    CancelRejected(OrderNotice),
    /// The session with the venue is gone: `unknown_orders` orders of this provider are unknown from here on.
    SessionGap {
        /// Through whom.
        provider: ProviderId,
        /// Number of the session that was lost, from 1.
        session: u64,
        /// Orders that may be working.
        unknown_orders: u32,
        /// When.
        receive_time: ReceiveTime,
    },
    /// Everything that the venue did in the meantime has been reported.
    SessionRestored {
        /// Through whom.
        provider: ProviderId,
        /// Number of the session that begins.
        session: u64,
        /// Orders that the venue was asked for.
        checked_orders: u32,
        /// Reports that were missed and have been delivered, marked as recovered.
        recovered_reports: u32,
        /// Orders that even the venue could not tell of yet; it is asked again until it can.
        unknown_orders: u32,
        /// Open orders at the venue that this journal does not know.
        foreign_orders: u32,
        /// When.
        receive_time: ReceiveTime,
    },
}

impl OrderEvent {
    /// Whom it concerns: the order's owner; `None` is everybody who trades through the provider.
    pub const fn consumer(&self) -> Option<ConsumerId> {
        match self {
            Self::Report(report) => Some(report.consumer),
            Self::Unknown(notice) | Self::CancelRejected(notice) => Some(notice.consumer),
            Self::SessionGap { .. } | Self::SessionRestored { .. } => None,
        }
    }

    /// Through whom.
    pub const fn provider(&self) -> ProviderId {
        match self {
            Self::Report(report) => report.provider,
            Self::Unknown(notice) | Self::CancelRejected(notice) => notice.provider,
            Self::SessionGap { provider, .. } | Self::SessionRestored { provider, .. } => *provider,
        }
    }

    /// When its bytes reached us, or we decided it.
    pub const fn receive_time(&self) -> ReceiveTime {
        match self {
            Self::Report(report) => report.receive_time,
            Self::Unknown(notice) | Self::CancelRejected(notice) => notice.receive_time,
            Self::SessionGap { receive_time, .. } | Self::SessionRestored { receive_time, .. } => {
                *receive_time
            }
        }
    }

    /// The frame that it came in; 0.0 if it did not come in one.
    pub fn trace(&self) -> TraceId {
        match self {
            Self::Report(report) => report.trace,
            _ => TraceId::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;

    #[test]
    fn a_reset_report_has_nothing_of_the_former_use() {
        let pool = Pool::new("ExecReport", 1, ExecReport::default);
        let mut report = pool.take().expect("free");
        report.reason = Reason::cut(b"insufficient funds");
        report.cum_qty = Qty(5);
        report.state = ReportState::Filled;
        drop(report);
        assert_eq!(*pool.take().expect("free again"), ExecReport::default());
    }

    #[test]
    fn a_state_has_one_number() {
        for state in ReportState::ALL {
            assert_eq!(ReportState::from_number(state as u8), Some(state));
        }
        assert_eq!((ReportState::from_number(0), ReportState::from_number(7)), (None, None));
    }
}
