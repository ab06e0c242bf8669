//! Orders, fills and reports as the venue prints them.
//!
//! Source of the fields: binance-spot-api-docs, web-socket-api.md and user-data-stream.md, commit a5e0bc3.

use std::fmt::Write as _;

use crate::binance::encode::{Listing, Unit};
use crate::exchange::{Amount, Balance, End, Fill, Kind, Order, Report, ReportKind, Status, TimeInForce};
use crate::market::Side;

const DECIMALS: usize = 8;
const ZERO: &str = "\"0.00000000\"";

fn quoted(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut text = Vec::new();
    write(&mut text);
    String::from_utf8(text).expect("digits in quotes")
}

fn price(listing: &Listing, ticks: i64) -> String {
    quoted(|text| listing.price(text, ticks))
}

fn qty(listing: &Listing, lots: i64) -> String {
    quoted(|text| listing.qty(text, lots))
}

fn amount(amount: Amount) -> String {
    format!("\"{}\"", amount.text(DECIMALS))
}

fn status(order: &Order) -> &'static str {
    match order.status {
        Status::New => "NEW",
        Status::PartiallyFilled => "PARTIALLY_FILLED",
        Status::Filled => "FILLED",
        Status::Canceled => "CANCELED",
        Status::Expired => "EXPIRED",
    }
}

fn side(order: &Order) -> &'static str {
    if order.side == Side::Bid { "BUY" } else { "SELL" }
}

fn kind(order: &Order) -> &'static str {
    match (order.kind, order.post_only) {
        (Kind::Market, _) => "MARKET",
        (Kind::Limit, true) => "LIMIT_MAKER",
        (Kind::Limit, false) => "LIMIT",
    }
}

/// Orders without a time in force are printed with the default one.
fn time_in_force(order: &Order) -> &'static str {
    match (order.kind, order.time_in_force) {
        (Kind::Limit, TimeInForce::Ioc) => "IOC",
        (Kind::Limit, TimeInForce::Fok) => "FOK",
        _ => "GTC",
    }
}

fn expiry(order: &Order) -> Option<&'static str> {
    Some(match order.end? {
        End::UnfilledIoc => "UNFILLED_IOC_QUANTITY_EXPIRED",
        End::UnfilledFok => "UNFILLED_FOK_ORDER_EXPIRED",
        End::NoLiquidity => "INSUFFICIENT_LIQUIDITY",
        End::PostOnly => return None, // refused, not accepted
    })
}

/// The id of an order's cancel: given, or made by the venue.
fn cancel_id(order: &Order) -> String {
    order.cancel_id.clone().unwrap_or_else(|| format!("simCancel{}", order.id))
}

fn time(unit: Unit, time_ns: u64) -> u64 {
    time_ns / unit.ns()
}

/// How much the answer to a new order says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    Ack,
    Result,
    Full,
}

/// What every form of an order has behind its ids.
fn body(listing: &Listing, order: &Order) -> String {
    let expiry = expiry(order).map_or(String::new(), |reason| format!(",\"expiryReason\":\"{reason}\""));
    format!(
        "\"price\":{},\"origQty\":{},\"executedQty\":{},\"origQuoteOrderQty\":{ZERO},\"cummulativeQuoteQty\":{},\
         \"status\":\"{}\",\"timeInForce\":\"{}\",\"type\":\"{}\",\"side\":\"{}\",\
         \"selfTradePreventionMode\":\"NONE\"{expiry}",
        price(listing, order.price),
        qty(listing, order.qty),
        qty(listing, order.filled),
        amount(order.filled_value),
        status(order),
        time_in_force(order),
        kind(order),
        side(order),
    )
}

/// The answer to a new order.
pub(super) fn placed(listing: &Listing, order: &Order, fills: &[Fill], detail: Detail, unit: Unit) -> String {
    let mut text = format!(
        "{{\"symbol\":\"{}\",\"orderId\":{},\"orderListId\":-1,\"clientOrderId\":\"{}\",\"transactTime\":{}",
        listing.upper,
        order.id,
        order.client_id,
        time(unit, order.updated_ns)
    );
    if detail != Detail::Ack {
        let _ = write!(text, ",{},\"workingTime\":{}", body(listing, order), time(unit, order.created_ns));
    }
    if detail == Detail::Full {
        let fills: Vec<String> = fills
            .iter()
            .map(|fill| {
                format!(
                    "{{\"price\":{},\"qty\":{},\"commission\":{},\"commissionAsset\":\"{}\",\"tradeId\":{}}}",
                    price(listing, fill.price),
                    qty(listing, fill.qty),
                    amount(fill.fee),
                    fill.fee_asset,
                    fill.trade_id
                )
            })
            .collect();
        let _ = write!(text, ",\"fills\":[{}]", fills.join(","));
    }
    text + "}"
}

/// The answer to a cancel: the cancel's own id stands where the order's was.
pub(super) fn cancelled(listing: &Listing, order: &Order, unit: Unit) -> String {
    format!(
        "{{\"symbol\":\"{}\",\"origClientOrderId\":\"{}\",\"orderId\":{},\"orderListId\":-1,\"clientOrderId\":\"{}\",\
         \"transactTime\":{},{}}}",
        listing.upper,
        order.client_id,
        order.id,
        cancel_id(order),
        time(unit, order.updated_ns),
        body(listing, order)
    )
}

/// The answer to a question about an order.
pub(super) fn queried(listing: &Listing, order: &Order, unit: Unit) -> String {
    format!(
        "{{\"symbol\":\"{}\",\"orderId\":{},\"orderListId\":-1,\"clientOrderId\":\"{}\",{},\"stopPrice\":{ZERO},\
         \"icebergQty\":{ZERO},\"time\":{},\"updateTime\":{},\"isWorking\":{},\"workingTime\":{}}}",
        listing.upper,
        order.id,
        order.client_id,
        body(listing, order),
        time(unit, order.created_ns),
        time(unit, order.updated_ns),
        order.status.is_open(),
        time(unit, order.created_ns)
    )
}

/// An entry of `myTrades`.
pub(super) fn trade(listing: &Listing, fill: &Fill, unit: Unit) -> String {
    format!(
        "{{\"symbol\":\"{}\",\"id\":{},\"orderId\":{},\"orderListId\":-1,\"price\":{},\"qty\":{},\"quoteQty\":{},\
         \"commission\":{},\"commissionAsset\":\"{}\",\"time\":{},\"isBuyer\":{},\"isMaker\":{},\"isBestMatch\":true}}",
        listing.upper,
        fill.trade_id,
        fill.order,
        price(listing, fill.price),
        qty(listing, fill.qty),
        amount(fill.value),
        amount(fill.fee),
        fill.fee_asset,
        time(unit, fill.time_ns),
        fill.side == Side::Bid,
        fill.maker
    )
}

/// An event of the user data stream for a report.
pub(super) fn execution_report(listing: &Listing, report: &Report, event_ns: u64, unit: Unit) -> String {
    let order = &report.order;
    let (x, own, original) = match report.kind {
        ReportKind::New => ("NEW", order.client_id.clone(), ""),
        ReportKind::Trade => ("TRADE", order.client_id.clone(), ""),
        ReportKind::Expired => ("EXPIRED", order.client_id.clone(), ""),
        ReportKind::Canceled => ("CANCELED", cancel_id(order), order.client_id.as_str()),
    };
    let fill = report.fill.as_ref();
    let or_zero = |text: Option<String>| text.unwrap_or_else(|| ZERO.to_owned());
    let expiry = if report.kind == ReportKind::Expired { expiry(order) } else { None };
    format!(
        "{{\"e\":\"executionReport\",\"E\":{},\"s\":\"{}\",\"c\":\"{own}\",\"S\":\"{}\",\"o\":\"{}\",\"f\":\"{}\",\
         \"q\":{},\"p\":{},\"P\":{ZERO},\"F\":{ZERO},\"g\":-1,\"C\":\"{original}\",\"x\":\"{x}\",\"X\":\"{}\",\
         \"r\":\"NONE\",\"i\":{},\"l\":{},\"z\":{},\"L\":{},\"n\":{},\"N\":{},\"T\":{},\"t\":{},\"I\":{},\"w\":{},\
         \"m\":{},\"M\":{},\"O\":{},\"Z\":{},\"Y\":{},\"Q\":{ZERO},\"W\":{},\"V\":\"NONE\"{}}}",
        time(unit, event_ns),
        listing.upper,
        side(order),
        kind(order),
        time_in_force(order),
        qty(listing, order.qty),
        price(listing, order.price),
        status(order),
        order.id,
        or_zero(fill.map(|fill| qty(listing, fill.qty))),
        qty(listing, order.filled),
        or_zero(fill.map(|fill| price(listing, fill.price))),
        fill.map_or_else(|| "\"0\"".to_owned(), |fill| amount(fill.fee)),
        fill.map_or_else(|| "null".to_owned(), |fill| format!("\"{}\"", fill.fee_asset)),
        time(unit, report.time_ns),
        fill.map_or_else(|| "-1".to_owned(), |fill| fill.trade_id.to_string()),
        report.id,
        order.status.is_open(),
        fill.is_some_and(|fill| fill.maker),
        fill.is_some(),
        time(unit, order.created_ns),
        amount(order.filled_value),
        or_zero(fill.map(|fill| amount(fill.value))),
        time(unit, order.created_ns),
        expiry.map_or_else(String::new, |reason| format!(",\"eR\":\"{reason}\"")),
    )
}

/// The event that follows a change of balances.
pub(super) fn account_position(report: &Report, event_ns: u64, unit: Unit) -> String {
    let balances: Vec<String> =
        report.balances.iter().map(|(asset, it)| balance(asset, *it, ["a", "f", "l"])).collect();
    format!(
        "{{\"e\":\"outboundAccountPosition\",\"E\":{},\"u\":{},\"B\":[{}]}}",
        time(unit, event_ns),
        time(unit, report.time_ns),
        balances.join(",")
    )
}

/// A balance under the names of the place where it stands.
pub(super) fn balance(asset: &str, balance: Balance, [name, free, held]: [&str; 3]) -> String {
    format!(
        "{{\"{name}\":\"{asset}\",\"{free}\":{},\"{held}\":{}}}",
        amount(balance.free()),
        amount(balance.held)
    )
}
