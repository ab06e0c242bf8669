//! Orders and executions as the venue prints them: rows of `executions` (numbers), entries of REST (texts).
//!
//! Source of the fields: docs.kraken.com, executions of 2026-05-27, and the REST pages of 2026. The texts of reasons but
//! `User requested` and `Post only order` are not documented.

use std::fmt::Write as _;

use super::{execution_id, order_id};
use crate::exchange::{End, Fill, Kind, Order, Report, ReportKind, Status, TimeInForce};
use crate::kraken::encode::{Listing, put_us};
use crate::market::Side;
use crate::text::put_fixed;

/// Digits after the point of costs and averages, at most.
const DECIMALS: usize = 18;

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut text = Vec::new();
    write(&mut text);
    String::from_utf8(text).expect("ASCII")
}

fn price(listing: &Listing, ticks: i64) -> String {
    text(|b| listing.price(b, ticks))
}

fn qty(listing: &Listing, lots: i64) -> String {
    text(|b| listing.qty(b, lots))
}

fn side(order: &Order) -> &'static str {
    if order.side == Side::Bid { "buy" } else { "sell" }
}

fn kind(order: &Order) -> &'static str {
    if order.kind == Kind::Limit { "limit" } else { "market" }
}

fn time_in_force(order: &Order) -> &'static str {
    match (order.kind, order.time_in_force) {
        (Kind::Market, _) | (_, TimeInForce::Gtc) => "GTC",
        (_, TimeInForce::Ioc) => "IOC",
        (_, TimeInForce::Fok) => "FOK",
    }
}

fn status(order: &Order) -> &'static str {
    match order.status {
        Status::New => "new",
        Status::PartiallyFilled => "partially_filled",
        Status::Filled => "filled",
        Status::Canceled => "canceled",
        Status::Expired => "expired",
    }
}

fn reason(order: &Order) -> &'static str {
    match order.end {
        None => "User requested",
        Some(End::PostOnly) => "Post only order",
        Some(End::UnfilledIoc) => "Unfilled IOC",
        Some(End::UnfilledFok) => "Unfilled FOK",
        Some(End::NoLiquidity) => "No liquidity",
    }
}

/// `"order_id":..` and, if the client gave one, `"cl_ord_id":..`.
fn ids(order: &Order) -> String {
    let mut ids = format!("\"order_id\":\"{}\"", order_id(order.id));
    if order.is_named {
        let _ = write!(ids, ",\"cl_ord_id\":{}", serde_json::Value::from(order.client_id.as_str()));
    }
    ids
}

/// What an accepted request about an order is answered with.
pub(super) fn order_ids(order: &Order) -> String {
    format!("{{{}}}", ids(order))
}

/// What an order is.
fn terms(listing: &Listing, order: &Order) -> String {
    let mut terms = format!(
        "\"symbol\":\"{}\",\"side\":\"{}\",\"order_type\":\"{}\",\"order_qty\":{}",
        listing.symbol,
        side(order),
        kind(order),
        qty(listing, order.qty)
    );
    if order.kind == Kind::Limit {
        let _ = write!(terms, ",\"limit_price\":{}", price(listing, order.price));
        let _ = write!(terms, ",\"post_only\":{}", order.post_only);
    }
    let _ = write!(terms, ",\"time_in_force\":\"{}\"", time_in_force(order));
    terms
}

/// What of it is filled.
fn filled(listing: &Listing, order: &Order) -> String {
    format!(
        "\"cum_qty\":{},\"cum_cost\":{},\"avg_price\":{}",
        qty(listing, order.filled),
        order.filled_value.trimmed(DECIMALS),
        order.average(&listing.spec).trimmed(DECIMALS)
    )
}

fn row(order: &Order, middle: &str, exec_type: &str, order_status: &str, time_ns: u64) -> String {
    format!(
        "{{{}{middle},\"exec_type\":\"{exec_type}\",\"order_status\":\"{order_status}\",\"timestamp\":{}}}",
        ids(order),
        text(|b| put_us(b, time_ns))
    )
}

/// An open order in a snapshot.
pub(super) fn snapshot_row(listing: &Listing, order: &Order) -> String {
    let middle = format!(",{},{}", terms(listing, order), filled(listing, order));
    row(order, &middle, "new", status(order), order.updated_ns)
}

/// An execution. `then`: the order as it was then; without it the cumulative figures are left out, as the order has gone
/// on since.
pub(super) fn trade_row(listing: &Listing, order: &Order, fill: &Fill, then: Option<&Order>) -> String {
    let figures = then.map(|then| format!(",{}", filled(listing, then))).unwrap_or_default();
    let middle = format!(
        ",\"exec_id\":\"{}\",\"trade_id\":{},\"symbol\":\"{}\",\"side\":\"{}\",\"order_type\":\"{}\",\"last_qty\":{},\
         \"last_price\":{},\"liquidity_ind\":\"{}\",\"cost\":{}{figures},\"fees\":[{{\"asset\":\"{}\",\"qty\":{}}}],\
         \"fee_usd_equiv\":{}",
        execution_id(fill),
        fill.trade_id,
        listing.symbol,
        side(order),
        kind(order),
        qty(listing, fill.qty),
        price(listing, fill.price),
        if fill.maker { "m" } else { "t" },
        fill.value.trimmed(DECIMALS),
        fill.fee_asset,
        fill.fee.trimmed(DECIMALS),
        fill.fee.trimmed(DECIMALS),
    );
    // Even of the one that completes the order; `filled` follows.
    row(order, &middle, "trade", "partially_filled", fill.time_ns)
}

/// The rows of a report, each in a frame of its own. `live`: a new order is more than pending.
pub(super) fn rows(listing: &Listing, report: &Report, live: bool) -> Vec<String> {
    let (order, time_ns) = (&report.order, report.time_ns);
    match report.kind {
        ReportKind::New => {
            let middle = format!(
                ",{},\"cum_cost\":0,\"fee_usd_equiv\":0,\"fee_ccy_pref\":\"fciq\"",
                terms(listing, order)
            );
            let mut rows = vec![row(order, &middle, "pending_new", "pending_new", time_ns)];
            if live {
                rows.push(row(order, "", "new", "new", time_ns));
            }
            rows
        }
        ReportKind::Trade => {
            let fill = report.fill.as_ref().expect("a trade has a fill");
            let mut rows = vec![trade_row(listing, order, fill, Some(order))];
            if order.status == Status::Filled {
                rows.push(row(order, &format!(",{}", filled(listing, order)), "filled", "filled", time_ns));
            }
            rows
        }
        ReportKind::Canceled | ReportKind::Expired => {
            let middle = format!(",{},\"reason\":\"{}\"", filled(listing, order), reason(order));
            vec![row(order, &middle, status(order), status(order), time_ns)]
        }
    }
}

/// Seconds since 1970 as REST prints them.
fn seconds(time_ns: u64) -> String {
    text(|b| put_fixed(b, u128::from(time_ns / 100_000), 4))
}

/// An entry of `OpenOrders`, `ClosedOrders` or `QueryOrders`: `"id":{..}`.
pub(super) fn order_entry(listing: &Listing, order: &Order) -> String {
    let status = match order.status {
        Status::New | Status::PartiallyFilled => "open",
        Status::Filled => "closed",
        Status::Canceled => "canceled",
        Status::Expired => "expired",
    };
    let (side, kind, pair) = (side(order), kind(order), &listing.altname);
    let (limit, vol) = (price(listing, order.price), qty(listing, order.qty));
    let at = if order.kind == Kind::Limit { format!("limit {limit}") } else { "market".to_owned() };
    let client = if order.is_named {
        serde_json::Value::from(order.client_id.as_str())
    } else {
        serde_json::Value::Null
    };
    let end = match order.status {
        Status::New | Status::PartiallyFilled => String::new(),
        Status::Filled => format!(",\"reason\":null,\"closetm\":{}", seconds(order.updated_ns)),
        _ => format!(",\"reason\":\"{}\",\"closetm\":{}", reason(order), seconds(order.updated_ns)),
    };
    format!(
        "\"{}\":{{\"refid\":null,\"userref\":null,\"cl_ord_id\":{client},\"status\":\"{status}\",\"opentm\":{},\
         \"starttm\":0,\"expiretm\":0,\"descr\":{{\"pair\":\"{pair}\",\"type\":\"{side}\",\"ordertype\":\"{kind}\",\
         \"price\":\"{limit}\",\"price2\":\"0\",\"leverage\":\"none\",\"order\":\"{side} {vol} {pair} @ {at}\",\
         \"close\":\"\"}},\"vol\":\"{vol}\",\"vol_exec\":\"{}\",\"cost\":\"{}\",\"fee\":\"{}\",\"price\":\"{}\",\
         \"stopprice\":\"0.00000\",\"limitprice\":\"0.00000\",\"misc\":\"\",\"oflags\":\"{}\"{end}}}",
        order_id(order.id),
        seconds(order.created_ns),
        qty(listing, order.filled),
        order.filled_value.trimmed(DECIMALS),
        order.fees.trimmed(DECIMALS),
        order.average(&listing.spec).trimmed(DECIMALS),
        if order.post_only { "fciq,post" } else { "fciq" },
    )
}

/// An entry of `TradesHistory` or `QueryTrades`: `"id":{..}`.
pub(super) fn trade_entry(listing: &Listing, order: &Order, fill: &Fill) -> String {
    format!(
        "\"{}\":{{\"ordertxid\":\"{}\",\"postxid\":\"TKH2SE-M7IF5-CFI7LT\",\"pair\":\"{}\",\"time\":{},\"type\":\"{}\",\
         \"ordertype\":\"{}\",\"price\":\"{}\",\"cost\":\"{}\",\"fee\":\"{}\",\"vol\":\"{}\",\"margin\":\"0.00000\",\
         \"leverage\":\"0\",\"misc\":\"\",\"trade_id\":{},\"maker\":{}}}",
        execution_id(fill),
        order_id(fill.order),
        listing.key,
        seconds(fill.time_ns),
        side(order),
        kind(order),
        price(listing, fill.price),
        fill.value.trimmed(DECIMALS),
        fill.fee.trimmed(DECIMALS),
        qty(listing, fill.qty),
        fill.trade_id,
        fill.maker
    )
}
