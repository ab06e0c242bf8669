//! What is checked before an order leaves: the venue's filters, our limits, the state of the book. Each refusal names
//! its rule and becomes a REJECTED report of local origin.
//!
//! Knows no table of orders: the ledger adds what depends on other orders (duplicates, open orders) and asks here for
//! the rest. Everything is exact: a price that is not a multiple of the tick is refused, never moved.

use std::fmt;

use crate::decimal::{DecimalError, Decimals, Number, Price, Qty, power_of_ten};
use crate::directory::OrderFilters;
use crate::event::BookStatus;
use crate::time::ReceiveTime;

use super::report::Reason;
use super::request::{OrderKind, OrderRequest, OrderSide, TimeInForce};

/// Declares [`Rule`] from one list: variant, its word, why the order does not leave, and what to do about it.
macro_rules! rules {
    ($( $variant:ident = $name:literal: $why:literal; $remedy:literal, )+) => {
        /// Why an order did not leave, or never arrived. The words go to reports, metrics and logs; docs/orders.md has them all.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Rule {
            $( #[doc = concat!("It is refused because ", $why, ".")] $variant, )+
        }

        impl Rule {
            /// Every rule, in the order in which an order meets them.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )+];

            /// The word for it in reports and metrics.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            /// Why, as the end of a sentence.
            pub const fn why(self) -> &'static str {
                match self { $( Self::$variant => $why, )+ }
            }

            /// What who runs the gateway, or wrote the consumer, can do about it.
            pub const fn remedy(self) -> &'static str {
                match self { $( Self::$variant => $remedy, )+ }
            }
        }
    };
}

rules! {
    // On the consumer's own shard.
    TradingOff = "trading_off": "the consumer's trading switch is off";
        "`meltica ctl trading NAME on`; at start it is what `trading` says",
    NoKeys = "no_keys": "the provider does not trade";
        "give the provider `orders:` with keys",
    RingFull = "ring_full": "the order ring of the consumer's shard is full";
        "fewer orders at once, or larger `order_ring_requests`",
    // On the provider's shard.
    PoolEmpty = "pool_empty": "no slot for a request came free in 100 ms";
        "fewer orders at once, or more `pools: order_requests`",
    Stopping = "stopping": "the gateway is ending";
        "nothing: ask again after the start",
    JournalFull = "journal_full": "the journal waits for the disk, or cannot be written";
        "look at the disk: space, errors, latency; the log has the journal's own line",
    Killed = "killed": "the kill switch is on";
        "`meltica ctl kill NAME --undo`, or `all`",
    NoSession = "no_session": "there is no session with the venue";
        "wait for `SessionRestored`; the log says why it was lost and when it is tried again",
    DuplicateId = "duplicate_id": "the client order id was used before, or looks like one of the gateway's own";
        "another id, or none: then one is made",
    UnknownInstrument = "unknown_instrument": "the provider does not carry the instrument";
        "add it to the provider's `instruments`",
    NotTrading = "not_trading": "the venue does not trade the instrument now";
        "wait; the venue says when it goes on",
    Combination = "combination": "kind, time in force, price and post-only do not go together";
        "post-only: a limit order, good till cancelled; a market order: no price, not fill or kill",
    BookNotProved = "book_not_proved": "there is no proved book to judge the order by";
        "wait for the proof; `book_proved_for`, `collar_bp` and `notional_max` say which orders need it",
    QtyPositive = "qty_positive": "the quantity is zero or negative";
        "a mistake of the consumer",
    QtyScale = "qty_scale": "the quantity has more digits than the instrument's quantities";
        "round it to the instrument's lot",
    QtyLot = "qty_lot": "the quantity is no multiple of the venue's lot";
        "round it to the instrument's lot",
    QtyMin = "qty_min": "the quantity is below the venue's least";
        "a larger order",
    QtyMax = "qty_max": "the quantity is above the venue's most";
        "several orders",
    LimitQty = "limit_qty": "the quantity is above the consumer's `qty_max`";
        "a smaller order, or a larger `qty_max`",
    PricePositive = "price_positive": "the price is zero or negative";
        "a mistake of the consumer",
    PriceScale = "price_scale": "the price has more digits than the instrument's prices";
        "round it to the instrument's tick",
    PriceTick = "price_tick": "the price is no multiple of the venue's tick";
        "round it to the instrument's tick",
    NotionalMin = "notional_min": "price times quantity is below the venue's least";
        "a larger order",
    LimitNotional = "limit_notional": "price times quantity is above the consumer's `notional_max`";
        "a smaller order, or a larger `notional_max`",
    LimitCollar = "limit_collar": "the price is further through the book than the consumer's `collar_bp`";
        "a price nearer to the book, or a larger `collar_bp`",
    LimitOpenOrders = "limit_open_orders": "the consumer has as many open orders as its `open_orders_max`";
        "cancel some, or a larger `open_orders_max`",
    LimitRate = "limit_rate": "the consumer sent as many orders within a second as its `orders_per_s_max`";
        "fewer orders, or a larger `orders_per_s_max`",
    VenueRate = "venue_rate": "the venue takes no more orders now: its limit is reached, or it said so";
        "fewer orders; new ones leave again by themselves within seconds, after a lockout within minutes",
    TableFull = "table_full": "every slot for orders holds an open one";
        "cancel what is no longer wanted",
    IdsExhausted = "ids_exhausted": "no further order id can be made in this run";
        "start the gateway anew",
    // Taken on, and did not leave or did not arrive.
    CancelledUnsent = "cancelled_unsent": "it was cancelled before it was sent";
        "nothing",
    SendFull = "send_full": "the venue does not read what is sent";
        "nothing: the session is made anew if that goes on",
    NoToken = "no_token": "the venue has not given the session's token yet";
        "ask again; the log says why there is none",
    Unsupported = "unsupported": "the venue has no such order";
        "another kind of order",
    NeverArrived = "never_arrived": "the venue was asked several times and does not know it";
        "nothing is open: ask again if it is still wanted",
    // Cancels and questions.
    UnknownId = "unknown_id": "no order of the consumer has the client order id";
        "name an order of the consumer's own; those that ended long ago are forgotten",
    OrderEnded = "order_ended": "the order has ended";
        "nothing: its last report was told",
}

impl Rule {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The rule of a word, for example of a report's `reason`.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.name().as_bytes() == name)
    }

    /// As a report has it.
    pub fn reason(self) -> Reason {
        Reason::cut(self.name().as_bytes())
    }
}

impl fmt::Display for Rule {
    /// `the price is no multiple of the venue's tick (price_tick)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.why(), self.name())
    }
}

/// Switches and limits of one consumer at one provider. A limit of `None` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The trading switch.
    pub trading: bool,
    /// Largest quantity of an order, in the base asset.
    pub qty_max: Option<Number>,
    /// Largest price times quantity of an order, in the quote asset. Market orders are valued at the proved book.
    pub notional_max: Option<Number>,
    /// Most orders that may be open at once.
    pub open_orders_max: Option<u32>,
    /// Most orders within any second.
    pub orders_per_s_max: Option<u32>,
    /// How far through the other side's best price a limit price may be, in hundredths of a percent of it.
    pub collar_bp: Option<u32>,
    /// What needs a proved book.
    pub book: BookPolicy,
}

impl Limits {
    /// The switch on, no limits, market orders only on a proved book.
    pub const OPEN: Self = Self {
        trading: true,
        qty_max: None,
        notional_max: None,
        open_orders_max: None,
        orders_per_s_max: None,
        collar_bp: None,
        book: BookPolicy::MarketOrders,
    };
}

/// Which orders are refused while the book is not proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BookPolicy {
    /// None.
    Ignore,
    /// Market orders.
    MarketOrders,
    /// All new orders.
    AllOrders,
}

/// The best prices of a book and how far they can be trusted; zero where a side is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// Whether it is proved.
    pub status: BookStatus,
    /// Best bid, at the instrument's decimals.
    pub bid: Price,
    /// Best ask, at the instrument's decimals.
    pub ask: Price,
}

/// What is known of the instrument of an order.
#[derive(Clone, Copy, Debug)]
pub struct Market<'a> {
    /// Scale of its prices and quantities.
    pub decimals: Decimals,
    /// Whether the venue trades it now.
    pub trading: bool,
    /// What the venue demands.
    pub filters: &'a OrderFilters,
    /// Its book, where the gateway has one.
    pub touch: Option<Touch>,
}

/// Price and quantity of an order that passed, at the instrument's decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Zero for a market order.
    pub price: Price,
    /// The quantity.
    pub qty: Qty,
}

/// Checks a new order against the venue's filters, this consumer's limits and the book. What depends on other orders
/// (duplicates, open orders, rate) is not checked here.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(request: &OrderRequest, market: &Market<'_>, limits: &Limits) -> Result<Checked, Rule> {
    if !limits.trading {
        return Err(Rule::TradingOff);
    }
    if !market.trading {
        return Err(Rule::NotTrading);
    }
    let is_market = request.kind == OrderKind::Market;
    let resting = request.time_in_force == TimeInForce::GoodTillCancelled;
    // A market order takes at once: it neither rests nor has to be whole.
    if request.post_only && (is_market || !resting)
        || is_market && request.time_in_force == TimeInForce::FillOrKill
        || is_market && request.price.mantissa != 0
    {
        return Err(Rule::Combination);
    }
    let proved = market.touch.filter(|touch| touch.status == BookStatus::Proved);
    let needs_book = match limits.book {
        BookPolicy::Ignore => false,
        BookPolicy::MarketOrders => is_market,
        BookPolicy::AllOrders => true,
    };
    if needs_book && proved.is_none() {
        return Err(Rule::BookNotProved);
    }
    let qty = checked_qty(request, market, limits)?;
    let price = if is_market { Price(0) } else { checked_price(request, market)? };
    let worst = match (is_market, request.side, proved) {
        (false, ..) => Some(price),
        (true, OrderSide::Buy, Some(touch)) => Some(touch.ask),
        (true, OrderSide::Sell, Some(touch)) => Some(touch.bid),
        (true, _, None) => None,
    };
    if let Some(worst) = worst.filter(|price| price.0 > 0) {
        let notional = i128::from(worst.0) * i128::from(qty.0);
        let scale = u32::from(market.decimals.price) + u32::from(market.decimals.qty);
        if below(notional, scale, market.filters.notional_min) {
            return Err(Rule::NotionalMin);
        }
        if limits.notional_max.is_some_and(|most| above(notional, scale, most)) {
            return Err(Rule::LimitNotional);
        }
    } else if limits.notional_max.is_some() {
        return Err(Rule::BookNotProved); // nothing to value a market order by
    }
    if let (Some(collar), false) = (limits.collar_bp, is_market) {
        let Some(touch) = proved else { return Err(Rule::BookNotProved) };
        if beyond_collar(request.side, price, &touch, collar) {
            return Err(Rule::LimitCollar);
        }
    }
    Ok(Checked { price, qty })
}

fn checked_qty(request: &OrderRequest, market: &Market<'_>, limits: &Limits) -> Result<Qty, Rule> {
    if request.qty.mantissa <= 0 {
        return Err(Rule::QtyPositive);
    }
    let scale_error = |error| match error {
        DecimalError::Overflow => Rule::QtyMax,
        DecimalError::TooPrecise { .. } | DecimalError::Malformed => Rule::QtyScale,
    };
    let qty = request.qty.at(market.decimals.qty).map_err(scale_error)?;
    let (value, scale) = (i128::from(qty), u32::from(market.decimals.qty));
    if !is_multiple(value, scale, market.filters.lot) {
        return Err(Rule::QtyLot);
    }
    if below(value, scale, market.filters.qty_min) {
        return Err(Rule::QtyMin);
    }
    if market.filters.qty_max.mantissa > 0 && above(value, scale, market.filters.qty_max) {
        return Err(Rule::QtyMax);
    }
    if limits.qty_max.is_some_and(|most| above(value, scale, most)) {
        return Err(Rule::LimitQty);
    }
    Ok(Qty(qty))
}

fn checked_price(request: &OrderRequest, market: &Market<'_>) -> Result<Price, Rule> {
    if request.price.mantissa <= 0 {
        return Err(Rule::PricePositive);
    }
    let price = request.price.at(market.decimals.price).map_err(|_| Rule::PriceScale)?;
    if !is_multiple(i128::from(price), u32::from(market.decimals.price), market.filters.tick) {
        return Err(Rule::PriceTick);
    }
    Ok(Price(price))
}

/// Two values at one scale: `value / 10^scale` and `number`. Scales are at most 36 and 18: both fit 128 bits unless the
/// value itself is beyond any order, which `None` says.
fn aligned(value: i128, scale: u32, number: Number) -> Option<(i128, i128)> {
    let (own, other) = (scale, u32::from(number.decimals));
    let power = |by: u32| 10_i128.checked_pow(by);
    Some((
        value.checked_mul(power(other.saturating_sub(own))?)?,
        i128::from(number.mantissa).checked_mul(power(own.saturating_sub(other))?)?,
    ))
}

fn is_multiple(value: i128, scale: u32, step: Number) -> bool {
    if step.mantissa <= 0 {
        return true; // the venue says nothing
    }
    aligned(value, scale, step).is_some_and(|(value, step)| value % step == 0)
}

fn below(value: i128, scale: u32, least: Number) -> bool {
    least.mantissa > 0 && aligned(value, scale, least).is_none_or(|(value, least)| value < least)
}

fn above(value: i128, scale: u32, most: Number) -> bool {
    aligned(value, scale, most).is_none_or(|(value, most)| value > most)
}

/// Whether a limit price is more than `collar_bp` through the other side's best price. An empty side says nothing.
fn beyond_collar(side: OrderSide, price: Price, touch: &Touch, collar_bp: u32) -> bool {
    const WHOLE: i128 = 10_000;
    let (price, collar) = (i128::from(price.0) * WHOLE, i128::from(collar_bp));
    match side {
        OrderSide::Buy => touch.ask.0 > 0 && price > i128::from(touch.ask.0) * (WHOLE + collar),
        OrderSide::Sell => touch.bid.0 > 0 && price < i128::from(touch.bid.0) * (WHOLE - collar),
    }
}

/// Counts orders within any second, exactly for rates up to [`RATE_MAX`].
#[derive(Clone, Debug)]
pub struct Rate {
    /// When the last orders left; a ring.
    times: Box<[ReceiveTime]>,
    next: usize,
    filled: usize,
}

/// Most orders per second that a limit can name.
pub const RATE_MAX: u32 = 1_000;
const SECOND_NS: u64 = 1_000_000_000;

impl Rate {
    /// Nothing sent yet. Takes 8 KB.
    pub fn new() -> Self {
        Self { times: vec![ReceiveTime::default(); RATE_MAX as usize].into(), next: 0, filled: 0 }
    }

    /// Whether one more may leave, of at most `per_s_max` within any second.
    #[inline]
    pub fn allows(&self, per_s_max: u32, now: ReceiveTime) -> bool {
        let count = per_s_max.min(RATE_MAX) as usize;
        if count == 0 {
            return false;
        }
        if self.filled < count {
            return true;
        }
        // The time of the order `count` before this one.
        let oldest = self.times[(self.next + self.times.len() - count) % self.times.len()];
        now.since_ns(oldest) >= SECOND_NS
    }

    /// One has left.
    #[inline]
    pub fn note(&mut self, now: ReceiveTime) {
        self.times[self.next] = now;
        self.next = (self.next + 1) % self.times.len();
        self.filled = (self.filled + 1).min(self.times.len());
    }
}

impl Default for Rate {
    fn default() -> Self {
        Self::new()
    }
}

/// `mantissa / 10^decimals` as a number without superfluous zeros: what goes on the wire.
pub(super) const fn trimmed(mantissa: i64, decimals: u8) -> Number {
    Number { mantissa, decimals }.trimmed()
}

const _: () = assert!(power_of_ten(18) > 0, "scales are at most 18");

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text.as_bytes()).expect("a number")
    }

    fn filters() -> OrderFilters {
        OrderFilters {
            tick: number("0.05"),
            lot: number("0.001"),
            qty_min: number("0.002"),
            qty_max: number("100"),
            notional_min: number("10"),
        }
    }

    const DECIMALS: Decimals = Decimals { price: 2, qty: 8 };
    const TOUCH: Touch = Touch { status: BookStatus::Proved, bid: Price(10_000), ask: Price(10_010) };

    fn run(request: &OrderRequest, limits: &Limits, touch: Option<Touch>) -> &'static str {
        let filters = filters();
        let market = Market { decimals: DECIMALS, trading: true, filters: &filters, touch };
        match super::check(request, &market, limits) {
            Ok(_) => "passes",
            Err(rule) => rule.name(),
        }
    }

    fn limit(side: OrderSide, price: &str, qty: &str) -> OrderRequest {
        OrderRequest::limit_text(side, price, qty).expect("numbers")
    }

    fn check_buy(price: &str, qty: &str, expected: &str) {
        let found = run(&limit(OrderSide::Buy, price, qty), &Limits::OPEN, Some(TOUCH));
        assert_eq!(found, expected, "{qty} at {price}");
    }

    #[test]
    fn the_venues_filters_are_exact() {
        check_buy("100.05", "0.5", "passes");
        check_buy("100.0500000", "0.500000000000", "passes");
        check_buy("100.06", "0.5", "price_tick");
        check_buy("100.051", "0.5", "price_scale");
        check_buy("0", "0.5", "price_positive");
        check_buy("-100", "0.5", "price_positive");
        check_buy("9223372036854775807", "0.5", "price_scale");
        check_buy("100", "0", "qty_positive");
        check_buy("100", "-1", "qty_positive");
        check_buy("100", "0.5005", "qty_lot");
        check_buy("100", "0.000000001", "qty_scale");
        check_buy("100", "0.001", "qty_min");
        check_buy("10000", "0.002", "passes");
        check_buy("100", "100", "passes");
        check_buy("100", "100.001", "qty_max");
        check_buy("100", "9223372036854775807", "qty_max");
        check_buy("100", "0.1", "passes");
        check_buy("99.95", "0.1", "notional_min");
    }

    #[test]
    fn what_the_venue_does_not_say_is_not_checked() {
        let filters = OrderFilters::default();
        let market = Market { decimals: DECIMALS, trading: true, filters: &filters, touch: None };
        let request = limit(OrderSide::Sell, "0.01", "0.00000001");
        assert_eq!(
            super::check(&request, &market, &Limits::OPEN),
            Ok(Checked { price: Price(1), qty: Qty(1) })
        );
    }

    #[test]
    fn combinations_that_do_not_exist_are_refused() {
        let base = limit(OrderSide::Buy, "100", "1");
        let market = OrderRequest::market(OrderSide::Buy, number("1"));
        let check = |request: OrderRequest, expected: &str| {
            assert_eq!(run(&request, &Limits::OPEN, Some(TOUCH)), expected, "{request:?}");
        };
        check(OrderRequest { post_only: true, ..base }, "passes");
        check(
            OrderRequest { post_only: true, time_in_force: TimeInForce::ImmediateOrCancel, ..base },
            "combination",
        );
        check(OrderRequest { time_in_force: TimeInForce::FillOrKill, ..base }, "passes");
        check(market, "passes");
        check(OrderRequest { post_only: true, ..market }, "combination");
        check(OrderRequest { price: number("1"), ..market }, "combination");
    }

    #[test]
    fn each_limit_is_named() {
        let check = |limits: Limits, price: &str, qty: &str, expected: &str| {
            assert_eq!(run(&limit(OrderSide::Buy, price, qty), &limits, Some(TOUCH)), expected, "{limits:?}");
        };
        let open = Limits::OPEN;
        check(Limits { trading: false, ..open }, "100", "1", "trading_off");
        check(Limits { qty_max: Some(number("0.5")), ..open }, "100", "0.5", "passes");
        check(Limits { qty_max: Some(number("0.5")), ..open }, "100", "0.501", "limit_qty");
        check(Limits { notional_max: Some(number("50")), ..open }, "100", "0.5", "passes");
        check(Limits { notional_max: Some(number("50")), ..open }, "100.05", "0.5", "limit_notional");
        // 100.10 and half a percent are 100.6005.
        check(Limits { collar_bp: Some(50), ..open }, "100.60", "1", "passes");
        check(Limits { collar_bp: Some(50), ..open }, "100.65", "1", "limit_collar");
        check(Limits { collar_bp: Some(50), ..open }, "0.05", "100", "notional_min");
    }

    #[test]
    fn a_seller_is_held_by_the_bid() {
        let limits = Limits { collar_bp: Some(50), ..Limits::OPEN };
        let check = |price: &str, expected: &str| {
            assert_eq!(run(&limit(OrderSide::Sell, price, "1"), &limits, Some(TOUCH)), expected, "{price}");
        };
        check("99.50", "passes");
        check("99.45", "limit_collar");
        check("500", "passes");
    }

    #[test]
    fn a_book_that_is_not_proved_stops_what_the_policy_says() {
        let stale = Some(Touch { status: BookStatus::Stale, ..TOUCH });
        let market = OrderRequest::market(OrderSide::Buy, number("1"));
        let resting = limit(OrderSide::Buy, "100", "1");
        for (policy, on_market, on_limit) in [
            (BookPolicy::Ignore, "passes", "passes"),
            (BookPolicy::MarketOrders, "book_not_proved", "passes"),
            (BookPolicy::AllOrders, "book_not_proved", "book_not_proved"),
        ] {
            let limits = Limits { book: policy, ..Limits::OPEN };
            for touch in [stale, None] {
                assert_eq!(run(&market, &limits, touch), on_market, "{policy:?}");
                assert_eq!(run(&resting, &limits, touch), on_limit, "{policy:?}");
            }
        }
        let collar = Limits { collar_bp: Some(1), book: BookPolicy::Ignore, ..Limits::OPEN };
        assert_eq!(run(&resting, &collar, stale), "book_not_proved", "a collar needs a book to hang on");
        let notional = Limits { notional_max: Some(number("1")), book: BookPolicy::Ignore, ..Limits::OPEN };
        assert_eq!(run(&market, &notional, stale), "book_not_proved", "nothing to value it by");
    }

    #[test]
    fn no_second_holds_more_than_the_rate() {
        let mut rate = Rate::new();
        let at = |ms: u64| ReceiveTime::from_ns(5_000_000_000 + ms * 1_000_000);
        let mut sent = Vec::new();
        for ms in (0..3_000).step_by(10) {
            if rate.allows(3, at(ms)) {
                rate.note(at(ms));
                sent.push(ms);
            }
        }
        assert_eq!(sent, [0, 10, 20, 1_000, 1_010, 1_020, 2_000, 2_010, 2_020]);
        assert!(!rate.allows(0, at(9_000)));
    }
}
