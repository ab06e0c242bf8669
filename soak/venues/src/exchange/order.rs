//! What is ordered and what became of it, in no venue's words.

use super::amount::Amount;
use crate::instruments::InstrumentSpec;
use crate::market::Side;
use crate::text::parse_decimal;

/// Which account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub usize);

/// A plain decimal as a client writes it: `mantissa * 10^-decimals`, never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    /// Digits.
    pub mantissa: i64,
    /// How many of them are after the point.
    pub decimals: usize,
}

impl Decimal {
    /// From text such as `0.001`; `None` if it is anything but digits and at most one point between them.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut mantissa, mut decimals) = parse_decimal(text)?;
        while decimals > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            decimals -= 1;
        }
        Some(Self { mantissa, decimals })
    }

    /// As a count of steps of `step * 10^-decimals`; `None` if it is not a multiple of one, or too large.
    pub(super) fn steps(self, step: i64, decimals: usize) -> Option<i64> {
        let shift = u32::try_from(decimals.checked_sub(self.decimals)?).ok()?;
        let mantissa = self.mantissa.checked_mul(10_i64.checked_pow(shift)?)?;
        (mantissa % step == 0).then_some(mantissa / step)
    }
}

/// How the price is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// At this price or better.
    Limit,
    /// At what the book offers.
    Market,
}

/// How long an order works. Market orders are [`Self::Ioc`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeInForce {
    /// Until it is filled or cancelled.
    Gtc,
    /// What does not fill at once ends.
    Ioc,
    /// All at once or nothing.
    Fok,
}

/// An order as a client asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// The client's id for it; one is made if there is none.
    pub client_id: Option<String>,
    /// Index of the instrument.
    pub instrument: usize,
    /// `Bid` buys.
    pub side: Side,
    /// Limit or market.
    pub kind: Kind,
    /// How long it works.
    pub time_in_force: TimeInForce,
    /// Refused rather than filled at once.
    pub post_only: bool,
    /// Ignored for market orders.
    pub price: Decimal,
    /// In the base asset.
    pub qty: Decimal,
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Resting, nothing filled.
    New,
    /// Resting, partly filled.
    PartiallyFilled,
    /// Wholly filled.
    Filled,
    /// Cancelled by the client.
    Canceled,
    /// Ended by the venue; see [`Order::end`].
    Expired,
}

impl Status {
    /// Whether it may still be filled.
    pub fn is_open(self) -> bool {
        matches!(self, Self::New | Self::PartiallyFilled)
    }
}

/// Why the venue ended an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// What an IOC order did not fill at once.
    UnfilledIoc,
    /// A FOK order that could not be filled whole.
    UnfilledFok,
    /// A market order larger than the book.
    NoLiquidity,
    /// A post-only order that would have taken, where the venue accepts it first.
    PostOnly,
}

/// An order that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The venue's number; ids of another form are made from it.
    pub id: u64,
    /// Whose.
    pub account: AccountId,
    /// The client's id, or the one made for it.
    pub client_id: String,
    /// The client gave it an id.
    pub is_named: bool,
    /// The id that the cancel had, once there was one with an id.
    pub cancel_id: Option<String>,
    /// Index of the instrument.
    pub instrument: usize,
    /// Canonical, `BTC-USDT`.
    pub symbol: String,
    /// `Bid` buys.
    pub side: Side,
    /// Limit or market.
    pub kind: Kind,
    /// How long it works.
    pub time_in_force: TimeInForce,
    /// Refused rather than filled at once.
    pub post_only: bool,
    /// Ticks; 0 for a market order.
    pub price: i64,
    /// Lots.
    pub qty: i64,
    /// Lots filled.
    pub filled: i64,
    /// What they cost, in the quote asset.
    pub filled_value: Amount,
    /// Fees of all fills, in [`Order::fee_asset`].
    pub fees: Amount,
    /// Asset of the fees.
    pub fee_asset: String,
    /// Where it stands.
    pub status: Status,
    /// Why the venue ended it, if it did.
    pub end: Option<End>,
    /// When it was accepted, nanoseconds since 1970.
    pub created_ns: u64,
    /// When anything changed, nanoseconds since 1970.
    pub updated_ns: u64,
    /// Held for it: in the quote asset for a buyer, in the base asset for a seller.
    pub(super) held: Amount,
    /// Lots of the market at its price that are filled before it.
    pub(super) ahead: i64,
}

impl Order {
    /// Lots still to be filled (or, once it has ended, never filled).
    pub fn left(&self) -> i64 {
        self.qty - self.filled
    }

    /// The average price of what is filled, cut to 18 digits after the point; nothing if nothing is.
    pub fn average(&self, spec: &InstrumentSpec) -> Amount {
        let units = i128::from(self.filled) * i128::from(spec.lot);
        if units == 0 {
            return Amount::ZERO;
        }
        Amount(self.filled_value.0 * 10_i128.pow(spec.qty_decimals as u32) / units)
    }
}

/// One execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Unique for each match; the two orders of a match between clients share it. Not a number of the public trades.
    pub trade_id: u64,
    /// [`Order::id`].
    pub order: u64,
    /// Whose.
    pub account: AccountId,
    /// Index of the instrument.
    pub instrument: usize,
    /// Of the order.
    pub side: Side,
    /// Ticks.
    pub price: i64,
    /// Lots.
    pub qty: i64,
    /// Price times quantity, in the quote asset.
    pub value: Amount,
    /// Fee.
    pub fee: Amount,
    /// Asset of the fee.
    pub fee_asset: String,
    /// The order was resting.
    pub maker: bool,
    /// When, nanoseconds since 1970.
    pub time_ns: u64,
}

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportKind {
    /// Accepted.
    New,
    /// A fill.
    Trade,
    /// Cancelled.
    Canceled,
    /// Ended by the venue.
    Expired,
}

/// An execution report, to be told to the account's private streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Increases by 1 with each report of the venue; a duplicate has the number of the first.
    pub id: u64,
    /// What happened.
    pub kind: ReportKind,
    /// The order as it was then.
    pub order: Order,
    /// With [`ReportKind::Trade`].
    pub fill: Option<Fill>,
    /// Assets whose balance this changed, with the balance then.
    pub balances: Vec<(String, super::Balance)>,
    /// When it happened, nanoseconds since 1970.
    pub time_ns: u64,
}

/// Why a new order is refused. A venue has a code and a text for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// Zero, or absurdly large.
    #[error("price or quantity out of range")]
    Range,
    /// Not a multiple of the tick.
    #[error("price is not a multiple of the tick")]
    Tick,
    /// Not a multiple of the lot.
    #[error("quantity is not a multiple of the lot")]
    Lot,
    /// Price times quantity is too small.
    #[error("price times quantity is below the minimum")]
    Notional,
    /// The id is taken, by this order.
    #[error("the client order id was used by order {0}")]
    DuplicateClientId(u64),
    /// Not enough free balance.
    #[error("insufficient balance")]
    Funds,
    /// A post-only order that would be filled at once.
    #[error("a post-only order would take")]
    WouldTake,
    /// The account has too many open orders.
    #[error("too many open orders")]
    OpenOrders,
    /// Too many orders in the interval of this limit, see [`super::TradingConfig::order_limits`].
    #[error("too many orders in a time")]
    Rate(usize),
}

/// Why a cancel or a question fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// There never was such an order.
    #[error("no such order")]
    Never,
    /// There was one, with this id, and it has ended.
    #[error("order {0} has ended")]
    Ended(u64),
}

/// How a client names an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderRef<'a> {
    /// By [`Order::id`].
    Id(u64),
    /// By the client's id; the last one that had it.
    Client(&'a str),
}
