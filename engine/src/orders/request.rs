//! What a consumer asks of a venue: place, cancel, cancel all of mine, query. Plain data, pooled.

use crate::decimal::{DecimalError, Number};
use crate::ids::{ConsumerId, InstrumentId, Listing, ProviderId, TraceId};
use crate::pool::Reset;
use crate::time::ReceiveTime;

use super::id::ClientOrderId;

/// Buy or sell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OrderSide {
    /// Base asset in, quote asset out.
    #[default]
    Buy,
    /// Base asset out, quote asset in.
    Sell,
}

impl OrderSide {
    /// The word for it in logs and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }
}

/// How the price is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OrderKind {
    /// At the given price or better.
    #[default]
    Limit,
    /// At what the book offers. The quantity is always in the base asset.
    Market,
}

/// How long an order works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TimeInForce {
    /// Until it is filled or cancelled.
    #[default]
    GoodTillCancelled,
    /// What does not fill at once is dropped.
    ImmediateOrCancel,
    /// All at once, or nothing.
    FillOrKill,
}

/// What is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Command {
    /// A new order.
    #[default]
    Place,
    /// The end of the order named by the client order id.
    Cancel,
    /// The end of all open orders of this consumer at this provider.
    CancelAll,
    /// What the venue knows of the order named by the client order id.
    Query,
}

/// The consumer's own number for the decision behind an order; it comes back in each report and stands in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct DecisionId(pub u64);

/// One request, from the consumer's shard to the provider's.
///
/// ```
/// use engine::decimal::DecimalError;
/// use engine::ids::{InstrumentId, ProviderId};
/// use engine::orders::{DecisionId, OrderRequest, OrderSide};
///
/// let order = OrderRequest {
///     provider: ProviderId(0),
///     instrument: InstrumentId(3),
///     post_only: true,
///     decision: DecisionId(17), // comes back in each report of this order
///     ..OrderRequest::limit_text(OrderSide::Buy, "64210.10", "0.0025")?
/// };
/// assert_eq!((order.price.mantissa, order.price.decimals), (6_421_010, 2));
/// assert_eq!(OrderRequest::limit_text(OrderSide::Buy, "64,210", "1"), Err(DecimalError::Malformed));
/// # Ok::<(), DecimalError>(())
/// ```
///
/// A handler sends it with [`Context::place`](crate::consumer::Context::place).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderRequest {
    /// What is asked; the fields below `client_order_id` matter to a new order only, unless they say otherwise.
    pub command: Command,
    /// The consumer's name for the order. Absent in a new order: one is made. Not used by [`Command::CancelAll`].
    pub client_order_id: ClientOrderId,
    /// Who asks. Always.
    pub consumer: ConsumerId,
    /// Through whom. Always.
    pub provider: ProviderId,
    /// The thing traded.
    pub instrument: InstrumentId,
    /// The same in that provider's directory.
    pub listing: Listing,
    /// Buy or sell.
    pub side: OrderSide,
    /// Limit or market.
    pub kind: OrderKind,
    /// How long it works; a market order has none.
    pub time_in_force: TimeInForce,
    /// Refused rather than filled at once; limit orders that are good till cancelled only.
    pub post_only: bool,
    /// Limit price, in the quote asset for one of the base asset. Zero for market orders.
    pub price: Number,
    /// Quantity, in the base asset.
    pub qty: Number,
    /// The consumer's decision. Always.
    pub decision: DecisionId,
    /// The frame that the decision rests on. Always.
    pub trace: TraceId,
    /// When the consumer asked. Always.
    pub submitted_at: ReceiveTime,
}

impl OrderRequest {
    /// A new limit order, good till cancelled; set what differs.
    pub fn limit(side: OrderSide, price: Number, qty: Number) -> Self {
        Self { side, price, qty, ..Self::default() }
    }

    /// A new market order.
    pub fn market(side: OrderSide, qty: Number) -> Self {
        Self { side, qty, kind: OrderKind::Market, ..Self::default() }
    }

    /// A new limit order from texts.
    ///
    /// # Errors
    /// [`DecimalError`] for what is no number: empty, `NaN`, signs, too many digits.
    pub fn limit_text(side: OrderSide, price: &str, qty: &str) -> Result<Self, DecimalError> {
        Ok(Self::limit(side, Number::parse(price.as_bytes())?, Number::parse(qty.as_bytes())?))
    }
}

impl Reset for OrderRequest {
    fn reset(&mut self) {
        *self = Self::default();
    }

    fn poison(&mut self) {
        self.decision = DecisionId(0xDEAD_DEAD_DEAD_DEAD);
        self.qty = Number { mantissa: -0xDEAD, decimals: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;

    #[test]
    fn a_reset_request_has_nothing_of_the_former_use() {
        let pool = Pool::new("OrderRequest", 1, OrderRequest::default);
        let mut request = pool.take().expect("free");
        request.client_order_id = ClientOrderId::parse(b"mine").expect("legal");
        request.qty = Number { mantissa: 5, decimals: 1 };
        request.command = Command::Cancel;
        drop(request);
        assert_eq!(*pool.take().expect("free again"), OrderRequest::default());
    }

    #[test]
    fn texts_that_are_no_numbers_make_no_order() {
        for text in ["", "NaN", "inf", "1e400", "+1", "1,5", "0x10"] {
            assert!(OrderRequest::limit_text(OrderSide::Buy, text, "1").is_err(), "{text}");
            assert!(OrderRequest::limit_text(OrderSide::Buy, "1", text).is_err(), "{text}");
        }
    }
}
