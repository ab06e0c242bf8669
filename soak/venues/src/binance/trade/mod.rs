//! Order entry of spot: what each call does, whether it came over the WebSocket API or by REST.
//!
//! The order of reading: this file (calls, weights, refusals), `params` (signatures and times), `api` (the WebSocket API
//! and the user data stream), `encode`.
//!
//! Source: binance-spot-api-docs, web-socket-api.md, rest-api.md and errors.md, commit a5e0bc3.
//!
//! Not simulated: stop orders, order lists, `cancelReplace`, amendments, `quoteOrderQty`, iceberg quantities, self-trade
//! prevention, RSA keys, market data over the WebSocket API.

pub(super) mod api;
mod encode;
mod params;
#[cfg(test)]
mod tests;

use self::encode::Detail;
use self::params::Params;
use super::encode::Unit;
use super::rest::{Failure, failure};
use super::{Binance, SECOND_NS};
use crate::exchange::{
    AccountId, Answer, Decimal, Exchange, Kind, NewOrder, OrderRef, Reject, TimeInForce, Unknown,
};
use crate::http::{HttpAnswer, HttpRequest, split_target};
use crate::market::Side;

/// Results of the lists without a limit of their own.
const LIST_DEFAULT: usize = 500;
/// The longest list.
const LIST_MAX: usize = 1_000;

/// A signed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Place,
    Test,
    Cancel,
    CancelAll,
    Query,
    OpenOrders,
    AllOrders,
    Trades,
    Account,
    OrderLimits,
}

impl Call {
    fn of_method(method: &str) -> Option<Self> {
        Some(match method {
            "order.place" => Self::Place,
            "order.test" => Self::Test,
            "order.cancel" => Self::Cancel,
            "order.status" => Self::Query,
            "openOrders.cancelAll" => Self::CancelAll,
            "openOrders.status" => Self::OpenOrders,
            "allOrders" => Self::AllOrders,
            "myTrades" => Self::Trades,
            "account.status" => Self::Account,
            "account.rateLimits.orders" => Self::OrderLimits,
            _ => return None,
        })
    }

    fn of_rest(method: &str, call: &str) -> Option<Self> {
        Some(match (method, call) {
            ("POST", "order") => Self::Place,
            ("POST", "order/test") => Self::Test,
            ("DELETE", "order") => Self::Cancel,
            ("GET", "order") => Self::Query,
            ("DELETE", "openOrders") => Self::CancelAll,
            ("GET", "openOrders") => Self::OpenOrders,
            ("GET", "allOrders") => Self::AllOrders,
            ("GET", "myTrades") => Self::Trades,
            ("GET", "account") => Self::Account,
            ("GET", "rateLimit/order") => Self::OrderLimits,
            _ => return None,
        })
    }

    /// What it may be asked with, besides what all have.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Place | Self::Test => &[
                "newClientOrderId",
                "newOrderRespType",
                "price",
                "quantity",
                "side",
                "strategyId",
                "strategyType",
                "symbol",
                "timeInForce",
                "type",
            ],
            Self::Cancel => &["newClientOrderId", "orderId", "origClientOrderId", "symbol"],
            Self::Query => &["orderId", "origClientOrderId", "symbol"],
            Self::CancelAll | Self::OpenOrders => &["symbol"],
            Self::AllOrders => &["endTime", "limit", "orderId", "startTime", "symbol"],
            Self::Trades => &["endTime", "fromId", "limit", "orderId", "startTime", "symbol"],
            Self::Account => &["omitZeroBalances"],
            Self::OrderLimits => &[],
        }
    }

    /// (weight, whether it is charged only if the call fails).
    fn weight(self, params: &Params) -> (u32, bool) {
        match self {
            Self::Place | Self::Test | Self::Cancel | Self::CancelAll => (1, true),
            Self::Query => (4, false),
            Self::OpenOrders => (if params.get("symbol").is_some() { 6 } else { 80 }, false),
            Self::Trades => (if params.get("orderId").is_some() { 5 } else { 20 }, false),
            Self::AllOrders | Self::Account => (20, false),
            Self::OrderLimits => (40, false),
        }
    }
}

/// A call's result, and what the fault script makes of it.
type Done = Result<(String, Answer), Failure>;

/// The failure that says nothing about what was done.
fn timeout() -> Failure {
    let text =
        "Timeout waiting for response from backend server. Send status unknown; execution status unknown.";
    (504, -1007, text.to_owned())
}

fn refused(reject: Reject, new: &NewOrder, exchange: &Exchange, now_ns: u64, account: AccountId) -> Failure {
    let filter = |name: &str| failure(-1013, format!("Filter failure: {name}"));
    match reject {
        Reject::Tick => filter("PRICE_FILTER"),
        Reject::Range if new.kind == Kind::Limit && new.price.mantissa == 0 => filter("PRICE_FILTER"),
        Reject::Lot | Reject::Range => filter("LOT_SIZE"),
        Reject::Notional => filter("NOTIONAL"),
        Reject::OpenOrders => filter("MAX_NUM_ORDERS"),
        Reject::DuplicateClientId(_) => failure(-2010, "Duplicate order sent."),
        Reject::Funds => failure(-2010, "Account has insufficient balance for requested action."),
        Reject::WouldTake => failure(-2010, "Order would immediately match and take."),
        Reject::Rate(limit) => {
            let (interval_ns, _, most) = exchange.order_usage(account, now_ns)[limit];
            let (name, count) = interval(interval_ns);
            let text = format!("Too many new orders; current limit is {most} orders per {count} {name}.");
            (429, -1015, text)
        }
    }
}

/// (unit, how many of it), as the venue writes an interval.
fn interval(interval_ns: u64) -> (&'static str, u64) {
    let seconds = interval_ns / SECOND_NS;
    if seconds.is_multiple_of(86_400) {
        ("DAY", seconds / 86_400)
    } else if seconds.is_multiple_of(60) {
        ("MINUTE", seconds / 60)
    } else {
        ("SECOND", seconds)
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

impl Binance {
    /// A signed REST request; `None`: there is no such call.
    pub(super) fn signed_rest(
        &mut self,
        request: &HttpRequest<'_>,
        call: &str,
        now_ns: u64,
    ) -> Option<HttpAnswer> {
        let call = Call::of_rest(request.method, call)?;
        let exchange = self.exchange.as_ref()?;
        let query = split_target(request.target).1;
        let signer = Params::of_rest(query, request.body).and_then(|params| {
            let name = request.header("x-mbx-apikey").unwrap_or("");
            let account = params.signed_by(exchange, name, now_ns)?.account;
            Ok((params, account))
        });
        let (params, account) = match signer {
            Ok(signer) => signer,
            Err(failure) => return Some(refusal_of(&failure)),
        };
        let (weight, only_if_refused) = call.weight(&params);
        if let Err(refused) = self.charge(if only_if_refused { 0 } else { weight }, now_ns) {
            return Some(refused);
        }
        let unit = match request.header("x-mbx-time-unit") {
            Some(unit) if unit.eq_ignore_ascii_case("microsecond") => Unit::Microseconds,
            _ => Unit::Milliseconds,
        };
        let done = self.signed(call, &params, account, unit, now_ns);
        if done.is_err() && only_if_refused {
            // It was let in, so a limit that it reaches counts for the next one.
            let _ = self.charge(weight, now_ns);
        }
        let mut answer = match done {
            Ok((_, Answer::ServerError)) => refusal_of(&timeout()),
            Ok((body, answer)) => HttpAnswer::json(200, body.into_bytes()).delivered(answer),
            Err(failure) => refusal_of(&failure),
        };
        if call == Call::Place {
            for (interval_ns, used, _) in self.order_usage(account, now_ns) {
                let day = interval_ns > 3_600 * SECOND_NS;
                answer =
                    answer.with(if day { "X-MBX-ORDER-COUNT-1D" } else { "X-MBX-ORDER-COUNT-10S" }, used);
            }
        }
        Some(
            answer
                .with("X-MBX-USED-WEIGHT", self.used_weight())
                .with("X-MBX-USED-WEIGHT-1M", self.used_weight()),
        )
    }

    fn order_usage(&self, account: AccountId, now_ns: u64) -> Vec<(u64, u32, u32)> {
        self.exchange.as_ref().map(|exchange| exchange.order_usage(account, now_ns)).unwrap_or_default()
    }

    /// Does what a call says; who asks is proved.
    fn signed(&mut self, call: Call, params: &Params, account: AccountId, unit: Unit, now_ns: u64) -> Done {
        params.only(call.names())?;
        match call {
            Call::Place | Call::Test => return self.place(call, params, account, unit, now_ns),
            _ => {}
        }
        let symbol = match (call, params.get("symbol")) {
            (Call::Account | Call::OrderLimits, _) | (Call::OpenOrders, None) => None,
            _ => Some(self.by_symbol(params.needed("symbol")?)?),
        };
        let listings = &self.listings;
        let listing = |instrument: usize| &listings[instrument];
        let Some(exchange) = &mut self.exchange else { return Err(timeout()) };
        let limit = params.number("limit")?.map_or(LIST_DEFAULT, |limit| (limit as usize).clamp(1, LIST_MAX));
        let from_ms = params.number("startTime")?.unwrap_or(0);
        let until_ms = params.number("endTime")?.unwrap_or(u64::MAX);
        let within = |time_ns: u64| (from_ms..=until_ms).contains(&(time_ns / super::MS_NS));
        let id = params.number("orderId")?;
        let body = match call {
            Call::Cancel => {
                let cancel_id = params.client_id("newClientOrderId")?;
                named(params, id)?;
                let unknown = failure(-2011, "Unknown order sent.");
                // Both names given must mean the same order.
                let by_id = id.map(|id| {
                    exchange.find(account, symbol, OrderRef::Id(id)).map(|it| it.client_id.clone())
                });
                let order = match (by_id, params.get("origClientOrderId")) {
                    (Some(None), _) => return Err(unknown),
                    (Some(Some(own)), Some(other)) if own != other => return Err(unknown),
                    (_, Some(other)) if id.is_none() => OrderRef::Client(other),
                    _ => OrderRef::Id(id.unwrap_or(0)),
                };
                match exchange.cancel(account, symbol, order, cancel_id, now_ns) {
                    Ok(order) => encode::cancelled(listing(order.instrument), &order, unit),
                    Err(Unknown::Never | Unknown::Ended(_)) => return Err(unknown),
                }
            }
            Call::CancelAll => {
                let orders = exchange.cancel_all(account, symbol, now_ns);
                if orders.is_empty() {
                    return Err(failure(-2011, "Unknown order sent."));
                }
                list(orders.iter().map(|order| encode::cancelled(listing(order.instrument), order, unit)))
            }
            Call::Query => {
                let order = named(params, id)?;
                let found = exchange.find(account, symbol, order);
                let order = found.ok_or_else(|| failure(-2013, "Order does not exist."))?;
                encode::queried(listing(order.instrument), order, unit)
            }
            Call::OpenOrders => {
                let orders = exchange.open_orders(account, symbol);
                list(orders.map(|order| encode::queried(listing(order.instrument), order, unit)))
            }
            Call::AllOrders => {
                let orders = exchange.orders(account).filter(|order| {
                    Some(order.instrument) == symbol
                        && id.is_none_or(|id| order.id >= id)
                        && within(order.created_ns)
                });
                list(orders.take(limit).map(|order| encode::queried(listing(order.instrument), order, unit)))
            }
            Call::Trades => {
                let from = params.number("fromId")?;
                let fills: Vec<_> = exchange
                    .fills(account)
                    .filter(|fill| {
                        Some(fill.instrument) == symbol
                            && id.is_none_or(|id| fill.order == id)
                            && from.is_none_or(|from| fill.trade_id >= from)
                            && within(fill.time_ns)
                    })
                    .collect();
                // The latest ones, unless a start was given.
                let started = from.is_some() || from_ms > 0;
                let skip = if started { 0 } else { fills.len().saturating_sub(limit) };
                let fills = fills.into_iter().skip(skip).take(limit);
                list(fills.map(|fill| encode::trade(listing(fill.instrument), fill, unit)))
            }
            Call::Account => {
                let balances = exchange.balances(account);
                let names = ["asset", "free", "locked"];
                format!(
                    "{{\"canTrade\":true,\"canWithdraw\":false,\"canDeposit\":false,\"accountType\":\"SPOT\",\
                     \"balances\":{},\"permissions\":[\"SPOT\"],\"uid\":{}}}",
                    list(balances.map(|(asset, balance)| encode::balance(asset, balance, names))),
                    1_000 + account.0
                )
            }
            Call::OrderLimits => list(exchange.order_usage(account, now_ns).into_iter().map(order_limit)),
            Call::Place | Call::Test => unreachable!("handled above"),
        };
        Ok((body, Answer::Now))
    }

    fn place(&mut self, call: Call, params: &Params, account: AccountId, unit: Unit, now_ns: u64) -> Done {
        let instrument = self.by_symbol(params.needed("symbol")?)?;
        let side = match params.needed("side")? {
            "BUY" => Side::Bid,
            "SELL" => Side::Ask,
            _ => return Err(failure(-1117, "Invalid side.")),
        };
        let (kind, post_only) = match params.needed("type")? {
            "LIMIT" => (Kind::Limit, false),
            "MARKET" => (Kind::Market, false),
            "LIMIT_MAKER" => (Kind::Limit, true),
            _ => return Err(failure(-1116, "Invalid orderType.")),
        };
        let not_required = |name| failure(-1106, format!("Parameter '{name}' sent when not required."));
        let timed = kind == Kind::Limit && !post_only;
        let time_in_force = match (timed, params.get("timeInForce")) {
            (false, None) => TimeInForce::Gtc,
            (false, Some(_)) => return Err(not_required("timeInForce")),
            (true, _) => match params.needed("timeInForce")? {
                "GTC" => TimeInForce::Gtc,
                "IOC" => TimeInForce::Ioc,
                "FOK" => TimeInForce::Fok,
                _ => return Err(failure(-1115, "Invalid timeInForce.")),
            },
        };
        let price = match kind {
            Kind::Limit => params.decimal("price")?,
            Kind::Market if params.get("price").is_some() => return Err(not_required("price")),
            Kind::Market => Decimal { mantissa: 0, decimals: 0 },
        };
        let detail = match params.get("newOrderRespType") {
            None if post_only => Detail::Ack,
            None | Some("FULL") => Detail::Full,
            Some("ACK") => Detail::Ack,
            Some("RESULT") => Detail::Result,
            Some(_) => {
                return Err(failure(-1130, "Data sent for parameter 'newOrderRespType' is not valid."));
            }
        };
        let new = NewOrder {
            client_id: params.client_id("newClientOrderId")?.map(str::to_owned),
            instrument,
            side,
            kind,
            time_in_force,
            post_only,
            price,
            qty: params.decimal("quantity")?,
        };
        if call == Call::Test {
            return Ok(("{}".to_owned(), Answer::Now));
        }
        let Some(exchange) = &mut self.exchange else { return Err(timeout()) };
        let placed = exchange.place(account, &new, &self.market, now_ns);
        let placed = placed.map_err(|reject| refused(reject, &new, exchange, now_ns, account))?;
        let listing = &self.listings[instrument];
        Ok((encode::placed(listing, &placed.order, &placed.fills, detail, unit), placed.answer))
    }
}

/// The order that a request names.
fn named(params: &Params, id: Option<u64>) -> Result<OrderRef<'_>, Failure> {
    match (id, params.get("origClientOrderId")) {
        (Some(id), _) => Ok(OrderRef::Id(id)),
        (None, Some(id)) => Ok(OrderRef::Client(id)),
        (None, None) => {
            let text = "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!";
            Err(failure(-1102, text))
        }
    }
}

/// An entry of the rate limits: one on orders.
fn order_limit((interval_ns, used, most): (u64, u32, u32)) -> String {
    let (name, count) = interval(interval_ns);
    format!(
        "{{\"rateLimitType\":\"ORDERS\",\"interval\":\"{name}\",\"intervalNum\":{count},\"limit\":{most},\
         \"count\":{used}}}"
    )
}

/// An error as REST tells it.
fn refusal_of((status, code, text): &Failure) -> HttpAnswer {
    let text = serde_json::Value::from(text.as_str());
    HttpAnswer::json(*status, format!("{{\"code\":{code},\"msg\":{text}}}").into_bytes())
}
