//! Orders by REST: place, cancel, and questions.
//!
//! A rejection has status 200; what is malformed has 400. The texts of messages are not documented.

use serde_json::{Value, json};

use super::token::{Purpose, signer};
use super::{encode, order_id, order_number};
use crate::coinbase::rest::{failure_body, refusal};
use crate::coinbase::{Coinbase, CoinbaseProduct, SECOND_NS};
use crate::exchange::{
    AccountId, Answer, Decimal, Fill, Kind, NewOrder, Order, OrderRef, Reject, TimeInForce,
};
use crate::http::{HttpAnswer, HttpRequest, Query};
use crate::market::Side;

/// Entries of a list without a limit of its own, and the most. (Neither is documented.)
const LIST_DEFAULT: usize = 100;
const LIST_MAX: usize = 1_000;
/// Orders in one cancel. (The most is not documented.)
const CANCELS_MAX: usize = 100;
/// The reason that stands where there is none.
const UNKNOWN: &str = "UNKNOWN_FAILURE_REASON";

/// Status and text.
type Failure = (u16, String);

fn invalid(text: impl Into<String>) -> Failure {
    (400, text.into())
}

fn failed((status, text): &Failure) -> HttpAnswer {
    HttpAnswer::json(*status, failure_body(CoinbaseProduct::Advanced, *status, text).into_bytes())
}

/// (reason, what a preview would say) of a refusal.
fn reasons(reject: Reject) -> (&'static str, &'static str) {
    match reject {
        Reject::Range => (UNKNOWN, "PREVIEW_INVALID_BASE_SIZE_TOO_SMALL"),
        Reject::Notional => (UNKNOWN, "PREVIEW_INVALID_QUOTE_SIZE_TOO_SMALL"),
        Reject::Tick => ("INVALID_PRICE_PRECISION", "PREVIEW_INVALID_PRICE_PRECISION"),
        Reject::Lot => ("INVALID_SIZE_PRECISION", "PREVIEW_INVALID_SIZE_PRECISION"),
        Reject::DuplicateClientId(_) => ("DUPLICATE_CLIENT_ORDER_ID", "UNKNOWN_PREVIEW_FAILURE_REASON"),
        Reject::Funds => ("INSUFFICIENT_FUND", "PREVIEW_INSUFFICIENT_FUND"),
        Reject::WouldTake => ("INVALID_LIMIT_PRICE_POST_ONLY", "PREVIEW_INVALID_LIMIT_PRICE_POST_ONLY"),
        // Their reasons are not documented.
        Reject::OpenOrders | Reject::Rate(_) => (UNKNOWN, "PREVIEW_TOO_MANY_OPEN_ORDERS"),
    }
}

fn rejected(reason: &str, preview: &str, configuration: &Value) -> HttpAnswer {
    let body = json!({
        "success": false,
        "error_response": {
            "error": reason,
            "message": reason.to_ascii_lowercase().replace('_', " "),
            "error_details": "",
            "preview_failure_reason": preview,
            "new_order_failure_reason": reason,
        },
        "order_configuration": configuration,
    });
    HttpAnswer::json(200, body.to_string().into_bytes())
}

fn decimal(configuration: &Value, name: &str) -> Result<Decimal, Failure> {
    let text = configuration[name].as_str();
    text.and_then(Decimal::parse).ok_or_else(|| invalid(format!("invalid {name}")))
}

impl Coinbase {
    /// Answers a private call.
    pub(in crate::coinbase) fn private_call(
        &mut self,
        request: &HttpRequest<'_>,
        call: &str,
        now_ns: u64,
    ) -> HttpAnswer {
        let Some(trading) = &mut self.trading else { return refusal(self.product, 500, 1) };
        let token = request.header("authorization").and_then(|text| text.strip_prefix("Bearer "));
        let purpose = Purpose::Rest(request.method, request.header("host").unwrap_or(""), request.path());
        let key = token.and_then(|token| signer(&trading.exchange, token, purpose, now_ns));
        let Some(account) = key.map(|key| key.account) else {
            let body = b"Unauthorized\n".to_vec();
            return HttpAnswer { content_type: "text/plain", ..HttpAnswer::json(401, body) };
        };
        let per_s = self.limits.private_per_s_max.max(1);
        let calls = trading.calls.entry(account).or_default();
        if !calls.take(SECOND_NS / u64::from(per_s), per_s, now_ns) {
            return refusal(self.product, 429, 1);
        }
        let query = request.query();
        let parts: Vec<&str> = call.split('/').collect();
        let answer = match (request.method, &parts[..]) {
            ("POST", ["orders"]) => self.place(request.body, account, now_ns),
            ("POST", ["orders", "batch_cancel"]) => self.cancel(request.body, account, now_ns),
            ("GET", ["orders", "historical", "batch"]) => self.list_orders(&query, account),
            ("GET", ["orders", "historical", "fills"]) => self.list_fills(&query, account),
            ("GET", ["orders", "historical", id]) => {
                let order = order_number(id).and_then(|id| self.order(account, id));
                order.map_or_else(
                    || Err((404, "order not found".to_owned())),
                    |order| Ok(ok(format!("{{\"order\":{}}}", self.rest_order(order)))),
                )
            }
            ("GET", ["accounts"]) => Ok(ok(self.accounts(account))),
            _ => Err((404, "NotFound".to_owned())),
        };
        answer.unwrap_or_else(|failure| failed(&failure))
    }

    fn place(&mut self, body: &[u8], account: AccountId, now_ns: u64) -> Result<HttpAnswer, Failure> {
        let body: Value = serde_json::from_slice(body).map_err(|_| invalid("malformed body"))?;
        let text = |name: &str| body[name].as_str().filter(|text| !text.is_empty());
        let client_id = text("client_order_id").ok_or_else(|| invalid("client_order_id is required"))?;
        let configuration = &body["order_configuration"];
        let chosen = configuration.as_object().filter(|it| it.len() == 1).and_then(|it| it.iter().next());
        let (name, fields) = chosen.ok_or_else(|| invalid("one order_configuration is required"))?;
        let refuse = |reason: &str, preview: &str| Ok(rejected(reason, preview, configuration));
        let unsupported = || refuse("UNSUPPORTED_ORDER_CONFIGURATION", "UNKNOWN_PREVIEW_FAILURE_REASON");
        let (kind, time_in_force) = match name.as_str() {
            "market_market_ioc" => (Kind::Market, TimeInForce::Ioc),
            "limit_limit_gtc" => (Kind::Limit, TimeInForce::Gtc),
            "sor_limit_ioc" => (Kind::Limit, TimeInForce::Ioc),
            "limit_limit_fok" => (Kind::Limit, TimeInForce::Fok),
            _ => return unsupported(),
        };
        if fields.get("quote_size").is_some() {
            return unsupported();
        }
        let side = match text("side") {
            Some("BUY") => Side::Bid,
            Some("SELL") => Side::Ask,
            _ => return Err(invalid("invalid side")),
        };
        // The id decides first: what was ordered with it is the answer, whatever else is asked now.
        if let Some(order) = self.order_by_client_id(account, client_id) {
            return Ok(self.placed(order, Answer::Now));
        }
        let product = text("product_id").and_then(|id| self.instrument_of(id));
        let Some(instrument) = product else {
            return refuse("INVALID_PRODUCT_ID", "UNKNOWN_PREVIEW_FAILURE_REASON");
        };
        let new = NewOrder {
            client_id: Some(client_id.to_owned()),
            instrument,
            side,
            kind,
            time_in_force,
            post_only: time_in_force == TimeInForce::Gtc && fields["post_only"] == true,
            price: match kind {
                Kind::Limit => decimal(fields, "limit_price")?,
                Kind::Market => Decimal { mantissa: 0, decimals: 0 },
            },
            qty: decimal(fields, "base_size")?,
        };
        let Some(trading) = &mut self.trading else { return Err((500, "internal".to_owned())) };
        match trading.exchange.place(account, &new, &self.market, now_ns) {
            Ok(placed) => Ok(self.placed(&placed.order, placed.answer)),
            Err(reject) => {
                let (reason, preview) = reasons(reject);
                refuse(reason, preview)
            }
        }
    }

    fn placed(&self, order: &Order, answer: Answer) -> HttpAnswer {
        if answer == Answer::ServerError {
            return HttpAnswer::html(502);
        }
        let listing = &self.listings[order.instrument];
        // With a reason beside success, as the venue does.
        ok(format!(
            "{{\"success\":true,\"failure_reason\":\"{UNKNOWN}\",\"order_id\":\"{}\",\"success_response\":{{\
             \"order_id\":\"{}\",\"product_id\":\"{}\",\"side\":\"{}\",\"client_order_id\":{}}},\
             \"order_configuration\":{}}}",
            order_id(order.id),
            order_id(order.id),
            listing.id,
            encode::side(order.side),
            Value::from(order.client_id.as_str()),
            encode::configuration(listing, order)
        ))
        .delivered(answer)
    }

    fn cancel(&mut self, body: &[u8], account: AccountId, now_ns: u64) -> Result<HttpAnswer, Failure> {
        let body: Value = serde_json::from_slice(body).map_err(|_| invalid("malformed body"))?;
        let ids = body["order_ids"].as_array().filter(|ids| (1..=CANCELS_MAX).contains(&ids.len()));
        let Some(trading) = &mut self.trading else { return Err((500, "internal".to_owned())) };
        let mut results = Vec::new();
        for id in ids.ok_or_else(|| invalid("order_ids must have 1 to 100 entries"))? {
            let id = id.as_str().unwrap_or("");
            let number = order_number(id).map(OrderRef::Id);
            let done = number
                .is_some_and(|order| trading.exchange.cancel(account, None, order, None, now_ns).is_ok());
            // The reason beside success is the venue's.
            let reason = if done { "UNKNOWN_CANCEL_FAILURE_REASON" } else { "UNKNOWN_CANCEL_ORDER" };
            results.push(json!({"success": done, "failure_reason": reason, "order_id": id}));
        }
        Ok(ok(json!({ "results": results }).to_string()))
    }

    /// Newest first; the cursor is the id of the last entry of the page before.
    fn list_orders(&self, query: &Query, account: AccountId) -> Result<HttpAnswer, Failure> {
        let statuses = query.all("order_status");
        let (ids, products) = (query.all("order_ids"), query.all("product_ids"));
        let among = |wanted: &[&str], text: &str| wanted.is_empty() || wanted.contains(&text);
        let before = cursor(query)?;
        let mut orders: Vec<&Order> = self
            .orders(account)
            .filter(|order| {
                before.is_none_or(|before| order.id < before)
                    && among(&statuses, encode::status(order))
                    && among(&ids, &order_id(order.id))
                    && among(&products, &self.listings[order.instrument].id)
            })
            .collect();
        orders.reverse();
        let limit = limit(query)?;
        let more = orders.len() > limit;
        orders.truncate(limit);
        let cursor = if more { orders.last().map_or(0, |order| order.id).to_string() } else { String::new() };
        let rows: Vec<String> = orders.into_iter().map(|order| self.rest_order(order)).collect();
        Ok(ok(format!(
            "{{\"orders\":[{}],\"sequence\":\"0\",\"has_next\":{more},\"cursor\":\"{cursor}\"}}",
            rows.join(",")
        )))
    }

    /// Newest first; the cursor is how many were told.
    fn list_fills(&self, query: &Query, account: AccountId) -> Result<HttpAnswer, Failure> {
        let (ids, products) = (query.all("order_ids"), query.all("product_ids"));
        let among = |wanted: &[&str], text: &str| wanted.is_empty() || wanted.contains(&text);
        let mut fills: Vec<&Fill> = self
            .fills(account)
            .filter(|fill| {
                among(&ids, &order_id(fill.order)) && among(&products, &self.listings[fill.instrument].id)
            })
            .collect();
        fills.reverse();
        let from = cursor(query)?.unwrap_or(0) as usize;
        let until = fills.len().min(from.saturating_add(limit(query)?));
        let cursor = if until < fills.len() { until.to_string() } else { String::new() };
        let page = fills.get(from..until).unwrap_or_default();
        let rows: Vec<String> =
            page.iter().map(|fill| encode::rest_fill(&self.listings[fill.instrument], fill)).collect();
        Ok(ok(format!("{{\"fills\":[{}],\"cursor\":\"{cursor}\"}}", rows.join(","))))
    }

    fn accounts(&self, account: AccountId) -> String {
        let balances = self.trading.iter().flat_map(|trading| trading.exchange.balances(account));
        let accounts: Vec<Value> = balances
            .map(|(asset, balance)| {
                json!({
                    "uuid": super::uuid(0, asset.len() as u64),
                    "name": format!("{asset} Wallet"),
                    "currency": asset,
                    "available_balance": {"value": balance.free().trimmed(18), "currency": asset},
                    "hold": {"value": balance.held.trimmed(18), "currency": asset},
                    "active": true,
                    "ready": true,
                })
            })
            .collect();
        let size = accounts.len();
        json!({"accounts": accounts, "has_next": false, "cursor": "", "size": size}).to_string()
    }

    fn rest_order(&self, order: &Order) -> String {
        let fills = self.fills(order.account).filter(|fill| fill.order == order.id).count();
        encode::rest_order(&self.listings[order.instrument], order, fills)
    }

    fn orders(&self, account: AccountId) -> impl Iterator<Item = &Order> {
        self.trading.iter().flat_map(move |trading| trading.exchange.orders(account))
    }

    fn fills(&self, account: AccountId) -> impl Iterator<Item = &Fill> {
        self.trading.iter().flat_map(move |trading| trading.exchange.fills(account))
    }

    fn order(&self, account: AccountId, id: u64) -> Option<&Order> {
        self.trading.as_ref()?.exchange.find(account, None, OrderRef::Id(id))
    }

    fn order_by_client_id(&self, account: AccountId, id: &str) -> Option<&Order> {
        self.trading.as_ref()?.exchange.find(account, None, OrderRef::Client(id))
    }
}

fn ok(body: String) -> HttpAnswer {
    HttpAnswer::json(200, body.into_bytes())
}

fn limit(query: &Query) -> Result<usize, Failure> {
    match query.get("limit").map(str::parse::<usize>) {
        None => Ok(LIST_DEFAULT),
        Some(Ok(limit)) => Ok(limit.clamp(1, LIST_MAX)),
        Some(Err(_)) => Err(invalid("invalid limit")),
    }
}

fn cursor(query: &Query) -> Result<Option<u64>, Failure> {
    let text = query.get("cursor").filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(|_| invalid("invalid cursor"))).transpose()
}
