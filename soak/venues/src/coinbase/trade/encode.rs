//! Orders and executions as the venue prints them: the `user` channel (all texts) and REST.
//!
//! Source of the fields: docs.cdp.coinbase.com, `user` channel of 2026-06-28 and the REST reference of 2026-08. The
//! texts of messages are not documented.

use super::{FILLS, order_id, user_id, uuid};
use crate::coinbase::encode::{Listing, put_us};
use crate::exchange::{Amount, End, Fill, Kind, Order, Status, TimeInForce};
use crate::market::Side;

/// Digits after the point of averages, at most.
const AVERAGE_DECIMALS: usize = 16;
/// Digits after the point of what an average is not, at most.
const DECIMALS: usize = 18;

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut text = Vec::new();
    write(&mut text);
    String::from_utf8(text).expect("ASCII")
}

/// In quotes.
fn time(time_ns: u64) -> String {
    text(|b| put_us(b, time_ns))
}

/// In quotes.
fn price(listing: &Listing, ticks: i64) -> String {
    text(|b| listing.price(b, ticks))
}

/// In quotes.
fn qty(listing: &Listing, lots: i64) -> String {
    text(|b| listing.qty(b, lots))
}

fn amount(amount: Amount) -> String {
    amount.trimmed(DECIMALS)
}

fn average(listing: &Listing, order: &Order) -> String {
    order.average(&listing.spec).trimmed(AVERAGE_DECIMALS)
}

pub(super) fn side(side: Side) -> &'static str {
    if side == Side::Bid { "BUY" } else { "SELL" }
}

fn time_in_force(order: &Order) -> &'static str {
    match (order.kind, order.time_in_force) {
        (Kind::Market, _) | (_, TimeInForce::Ioc) => "IMMEDIATE_OR_CANCEL",
        (_, TimeInForce::Gtc) => "GOOD_UNTIL_CANCELLED",
        (_, TimeInForce::Fok) => "FILL_OR_KILL",
    }
}

/// Where an order stands, in the venue's word.
pub(super) fn status(order: &Order) -> &'static str {
    match order.status {
        Status::New | Status::PartiallyFilled => "OPEN",
        Status::Filled => "FILLED",
        Status::Canceled => "CANCELLED",
        Status::Expired => "EXPIRED",
    }
}

fn message(order: &Order) -> &'static str {
    match (order.status, order.end) {
        (Status::New | Status::PartiallyFilled | Status::Filled, _) => "",
        (_, None) => "User requested cancel",
        (_, Some(End::UnfilledIoc)) => "Immediate or cancel",
        (_, Some(End::UnfilledFok)) => "Fill or kill",
        (_, Some(End::NoLiquidity)) => "No liquidity",
        (_, Some(End::PostOnly)) => "Post only",
    }
}

/// The share that is filled, in hundredths of a percent, as text.
fn completion(order: &Order) -> String {
    let share = i128::from(order.filled) * 10_000 / i128::from(order.qty);
    format!("{}.{:02}", share / 100, share % 100)
}

fn with_fees(order: &Order) -> String {
    let total = match order.side {
        Side::Bid => order.filled_value + order.fees,
        Side::Ask => order.filled_value - order.fees,
    };
    amount(total)
}

/// The configuration that an order was made with.
pub(super) fn configuration(listing: &Listing, order: &Order) -> String {
    let size = qty(listing, order.qty);
    let limit = price(listing, order.price);
    match (order.kind, order.time_in_force) {
        (Kind::Market, _) => format!("{{\"market_market_ioc\":{{\"base_size\":{size}}}}}"),
        (_, TimeInForce::Gtc) => format!(
            "{{\"limit_limit_gtc\":{{\"base_size\":{size},\"limit_price\":{limit},\"post_only\":{}}}}}",
            order.post_only
        ),
        (_, TimeInForce::Ioc) => {
            format!("{{\"sor_limit_ioc\":{{\"base_size\":{size},\"limit_price\":{limit}}}}}")
        }
        (_, TimeInForce::Fok) => {
            format!("{{\"limit_limit_fok\":{{\"base_size\":{size},\"limit_price\":{limit}}}}}")
        }
    }
}

/// An order on the `user` channel, with the status that is told of it.
pub(super) fn channel_order(listing: &Listing, order: &Order, fills: usize, status: &str) -> String {
    let limit = if order.kind == Kind::Limit { price(listing, order.price) } else { "\"\"".to_owned() };
    let left = if order.status.is_open() { order.left() } else { 0 };
    format!(
        "{{\"avg_price\":\"{}\",\"cancel_reason\":\"{}\",\"client_order_id\":{},\"completion_percentage\":\"{}\",\
         \"contract_expiry_type\":\"UNKNOWN_CONTRACT_EXPIRY_TYPE\",\"cumulative_quantity\":{},\"filled_value\":\"{}\",\
         \"leaves_quantity\":{},\"limit_price\":{limit},\"number_of_fills\":\"{fills}\",\"order_id\":\"{}\",\
         \"order_side\":\"{}\",\"order_type\":\"{}\",\"outstanding_hold_amount\":\"0\",\"post_only\":\"{}\",\
         \"product_id\":\"{}\",\"product_type\":\"SPOT\",\"reject_reason\":\"\",\"retail_portfolio_id\":\"{}\",\
         \"risk_managed_by\":\"UNKNOWN_RISK_MANAGEMENT_TYPE\",\"status\":\"{status}\",\"stop_price\":\"\",\
         \"time_in_force\":\"{}\",\"total_fees\":\"{}\",\"total_value_after_fees\":\"{}\",\
         \"trigger_status\":\"INVALID_ORDER_TYPE\",\"creation_time\":{},\"end_time\":\"0001-01-01T00:00:00Z\",\
         \"start_time\":\"0001-01-01T00:00:00Z\"}}",
        average(listing, order),
        message(order),
        serde_json::Value::from(order.client_id.as_str()),
        completion(order),
        qty(listing, order.filled),
        amount(order.filled_value),
        qty(listing, left),
        order_id(order.id),
        side(order.side),
        if order.kind == Kind::Limit { "Limit" } else { "Market" },
        order.post_only,
        listing.id,
        user_id(order.account),
        time_in_force(order),
        amount(order.fees),
        with_fees(order),
        time(order.created_ns),
    )
}

/// An order in the answers of REST.
pub(super) fn rest_order(listing: &Listing, order: &Order, fills: usize) -> String {
    format!(
        "{{\"order_id\":\"{}\",\"product_id\":\"{}\",\"user_id\":\"{}\",\"order_configuration\":{},\"side\":\"{}\",\
         \"client_order_id\":{},\"status\":\"{}\",\"time_in_force\":\"{}\",\"created_time\":{},\
         \"completion_percentage\":\"{}\",\"filled_size\":{},\"average_filled_price\":\"{}\",\"fee\":\"\",\
         \"number_of_fills\":\"{fills}\",\"filled_value\":\"{}\",\"pending_cancel\":false,\"size_in_quote\":false,\
         \"total_fees\":\"{}\",\"size_inclusive_of_fees\":false,\"total_value_after_fees\":\"{}\",\
         \"trigger_status\":\"INVALID_ORDER_TYPE\",\"order_type\":\"{}\",\"reject_reason\":\"REJECT_REASON_UNSPECIFIED\",\
         \"settled\":{},\"product_type\":\"SPOT\",\"reject_message\":\"\",\"cancel_message\":\"{}\",\
         \"order_placement_source\":\"RETAIL_ADVANCED\",\"outstanding_hold_amount\":\"0\",\"is_liquidation\":false,\
         \"last_fill_time\":null,\"edit_history\":[],\"leverage\":\"\",\"margin_type\":\"UNKNOWN_MARGIN_TYPE\",\
         \"retail_portfolio_id\":\"{}\"}}",
        order_id(order.id),
        listing.id,
        user_id(order.account),
        configuration(listing, order),
        side(order.side),
        serde_json::Value::from(order.client_id.as_str()),
        status(order),
        time_in_force(order),
        time(order.created_ns),
        completion(order),
        qty(listing, order.filled),
        average(listing, order),
        amount(order.filled_value),
        amount(order.fees),
        with_fees(order),
        if order.kind == Kind::Limit { "LIMIT" } else { "MARKET" },
        order.status == Status::Filled,
        message(order),
        user_id(order.account),
    )
}

/// An execution in the answer of REST.
pub(super) fn rest_fill(listing: &Listing, fill: &Fill) -> String {
    let id = uuid(FILLS, fill.trade_id * 2 + u64::from(fill.maker));
    format!(
        "{{\"entry_id\":\"{id}\",\"trade_id\":\"{id}\",\"order_id\":\"{}\",\"trade_time\":{},\"trade_type\":\"FILL\",\
         \"price\":{},\"size\":{},\"commission\":\"{}\",\"product_id\":\"{}\",\"sequence_timestamp\":{},\
         \"liquidity_indicator\":\"{}\",\"size_in_quote\":false,\"user_id\":\"{}\",\"side\":\"{}\",\
         \"retail_portfolio_id\":\"{}\"}}",
        order_id(fill.order),
        time(fill.time_ns),
        price(listing, fill.price),
        qty(listing, fill.qty),
        amount(fill.fee),
        listing.id,
        time(fill.time_ns),
        if fill.maker { "MAKER" } else { "TAKER" },
        user_id(fill.account),
        side(fill.side),
        user_id(fill.account),
    )
}
