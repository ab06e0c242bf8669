//! One order as the ledger keeps it and the journal writes it: what was asked, and where it stands.

use crate::decimal::Price;
use crate::ids::{ConsumerId, InstrumentId, Listing, ProviderId, TraceId};

use super::id::ClientOrderId;
use super::life::Life;
use super::request::{DecisionId, OrderKind, OrderSide, TimeInForce};

/// An order: what was asked, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Order {
    /// The consumer's name for it.
    pub client_order_id: ClientOrderId,
    /// What the venue knows it by.
    pub wire_id: ClientOrderId,
    /// Whose order.
    pub consumer: ConsumerId,
    /// Through whom.
    pub provider: ProviderId,
    /// The thing traded.
    pub instrument: InstrumentId,
    /// The same in the provider's directory.
    pub listing: Listing,
    /// Buy or sell.
    pub side: OrderSide,
    /// Limit or market.
    pub kind: OrderKind,
    /// How long it works.
    pub time_in_force: TimeInForce,
    /// Refused rather than filled at once.
    pub post_only: bool,
    /// Limit price; zero for a market order.
    pub price: Price,
    /// The consumer's decision behind it.
    pub decision: DecisionId,
    /// The frame that the decision rested on.
    pub trace: TraceId,
    /// Quantity, and where it stands.
    pub life: Life,
}
