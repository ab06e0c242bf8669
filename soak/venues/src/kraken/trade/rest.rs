//! Private REST calls: the token, and questions about orders, trades and balances.
//!
//! In which order the venue looks at key, signature and nonce is not documented.

use super::{Token, encode, id_number};
use crate::exchange::keys::{from_base64, hmac_sha512, sha256};
use crate::exchange::{AccountId, ApiKey, Fill, KeyKind, Order, OrderRef};
use crate::http::{HttpAnswer, HttpRequest, Query};
use crate::kraken::Kraken;
use crate::kraken::rest::envelope;

/// Entries of a page of closed orders or trades.
const PAGE: usize = 50;
/// Orders in one question.
const QUERY_ORDERS_MAX: usize = 50;
/// Trades in one question.
const QUERY_TRADES_MAX: usize = 20;

/// The result's JSON, or the error.
type Done = Result<String, &'static str>;

impl ApiKey {
    /// Whether `API-Sign` is right: HMAC-SHA512 over the path and the SHA-256 of nonce and body.
    pub(super) fn kraken_verifies(&self, path: &str, nonce: &str, body: &[u8], signature: &str) -> bool {
        let inner = sha256(&[nonce.as_bytes(), body].concat());
        let right = hmac_sha512(self.secret(), &[path.as_bytes(), &inner].concat());
        self.kind == KeyKind::Bytes && from_base64(signature).is_some_and(|signature| signature == right)
    }
}

impl Kraken {
    /// Answers a private call.
    pub(in crate::kraken) fn private_call(
        &mut self,
        request: &HttpRequest<'_>,
        call: &str,
        now_ns: u64,
    ) -> HttpAnswer {
        if request.method != "POST" {
            return envelope(404, "EGeneral:Unknown method");
        }
        let form = Query::parse(&String::from_utf8_lossy(request.body));
        let signer = self.signer(request, &form, call, now_ns);
        let unreachable = self.trading.as_ref().is_some_and(|trading| !trading.exchange.is_reachable(now_ns));
        let done = match signer {
            Ok(_) if call == "GetWebSocketsToken" && unreachable => {
                return envelope(503, "EService:Unavailable");
            }
            Ok(key) => self.private_result(call, &form, &key, now_ns),
            Err(error) => Err(error),
        };
        match done {
            Ok(result) => HttpAnswer::json(200, format!("{{\"error\":[],\"result\":{result}}}").into_bytes()),
            Err("EGeneral:Unknown method") => envelope(404, "EGeneral:Unknown method"),
            Err(error) => envelope(200, error),
        }
    }

    /// The key that signed, if key, signature, nonce and the number of calls are right.
    fn signer(
        &mut self,
        request: &HttpRequest<'_>,
        form: &Query,
        call: &str,
        now_ns: u64,
    ) -> Result<ApiKey, &'static str> {
        let Some(trading) = &mut self.trading else { return Err("EGeneral:Unknown method") };
        let key = trading.exchange.key(request.header("api-key").unwrap_or("")).cloned();
        let key = key.ok_or("EAPI:Invalid key")?;
        let nonce = form.get("nonce").unwrap_or("");
        let signature = request.header("api-sign").unwrap_or("");
        if !key.kraken_verifies(request.path(), nonce, request.body, signature) {
            return Err("EAPI:Invalid signature");
        }
        let nonce: u64 = nonce.parse().map_err(|_| "EAPI:Invalid nonce")?;
        let last = trading.nonces.entry(key.name.clone()).or_default();
        if nonce <= *last {
            return Err("EAPI:Invalid nonce");
        }
        *last = nonce;
        let cost = if matches!(call, "TradesHistory" | "QueryTrades") { 2 } else { 1 };
        let (every_ns, burst) = (self.limits.private_call_every_ns, self.limits.private_burst);
        let calls = trading.calls.entry(key.name.clone()).or_default();
        if calls.take_some(cost, every_ns, burst, now_ns) { Ok(key) } else { Err("EAPI:Rate limit exceeded") }
    }

    fn private_result(&mut self, call: &str, form: &Query, key: &ApiKey, now_ns: u64) -> Done {
        let account = key.account;
        match call {
            "GetWebSocketsToken" => Ok(self.new_token(key, now_ns)),
            "OpenOrders" => {
                let orders = self.named_orders(account, form).filter(|order| order.status.is_open());
                Ok(format!("{{\"open\":{}}}", self.order_entries(orders)))
            }
            "ClosedOrders" => {
                let mut orders: Vec<&Order> =
                    self.named_orders(account, form).filter(|order| !order.status.is_open()).collect();
                orders.reverse(); // newest first
                let (count, skip) = (orders.len(), offset(form)?);
                let page = self.order_entries(orders.into_iter().skip(skip).take(PAGE));
                Ok(format!("{{\"closed\":{page},\"count\":{count}}}"))
            }
            "QueryOrders" => {
                let orders: Option<Vec<&Order>> = txids(form, QUERY_ORDERS_MAX)?
                    .iter()
                    .map(|id| self.private_order(account, id_number('O', id)?))
                    .collect();
                let orders = orders.ok_or("EOrder:Unknown order")?;
                if form.get("trades") != Some("true") {
                    return Ok(self.order_entries(orders.into_iter()));
                }
                let entries: Vec<String> =
                    orders.into_iter().map(|order| self.entry_with_trades(order)).collect();
                Ok(format!("{{{}}}", entries.join(",")))
            }
            "TradesHistory" => {
                let bound = |name: &str| form.get(name).map_or(Ok(None), |text| seconds(text).map(Some));
                let (start, end) = (bound("start")?.unwrap_or(0), bound("end")?.unwrap_or(u64::MAX));
                // `start` itself is not part of the answer, `end` is.
                let within = |fill: &&Fill| (fill.time_ns > start || start == 0) && fill.time_ns <= end;
                let mut fills: Vec<&Fill> = self.private_fills(account).filter(within).collect();
                fills.reverse(); // newest first
                let (count, skip) = (fills.len(), offset(form)?);
                let page = self.trade_entries(fills.into_iter().skip(skip).take(PAGE));
                Ok(format!("{{\"trades\":{page},\"count\":{count}}}"))
            }
            "QueryTrades" => {
                let wanted = txids(form, QUERY_TRADES_MAX)?;
                let fills = self.private_fills(account);
                let fills = fills.filter(|fill| wanted.contains(&super::execution_id(fill).as_str()));
                Ok(self.trade_entries(fills))
            }
            "Balance" => {
                let Some(trading) = &self.trading else { return Err("EService:Unavailable") };
                let codes = |asset: &str| {
                    let listings = self.listings.iter();
                    let mut codes =
                        listings.flat_map(|it| [(&it.spec.base, &it.base), (&it.spec.quote, &it.quote)]);
                    codes.find(|(name, _)| *name == asset).map_or(asset.to_owned(), |(_, code)| code.clone())
                };
                let balances = trading.exchange.balances(account);
                let balances: Vec<String> = balances
                    .map(|(asset, balance)| format!("\"{}\":\"{}\"", codes(asset), balance.total.text(10)))
                    .collect();
                Ok(format!("{{{}}}", balances.join(",")))
            }
            _ => Err("EGeneral:Unknown method"),
        }
    }

    fn new_token(&mut self, key: &ApiKey, now_ns: u64) -> String {
        let token_ns_max = self.limits.token_ns_max;
        let Some(trading) = &mut self.trading else { return "{}".to_owned() };
        trading.tokens_made += 1;
        let secret = [key.secret(), &trading.tokens_made.to_be_bytes()].concat();
        let text = crate::exchange::keys::hex(&sha256(&secret));
        let result = format!("{{\"token\":\"{text}\",\"expires\":{}}}", token_ns_max / super::SECOND_NS);
        let expires_ns = now_ns.saturating_add(token_ns_max);
        trading.tokens.push(Token { text, account: key.account, expires_ns });
        result
    }

    /// The account's orders, oldest first; only that with the given `cl_ord_id`, if one is given. (The filter is in use by
    /// clients; the pages do not name it for both calls.)
    fn named_orders<'a>(&'a self, account: AccountId, form: &'a Query) -> impl Iterator<Item = &'a Order> {
        let wanted = form.get("cl_ord_id");
        let exchange = self.trading.as_ref().map(|trading| &trading.exchange);
        let orders = exchange.into_iter().flat_map(move |exchange| exchange.orders(account));
        orders.filter(move |order| wanted.is_none_or(|id| order.is_named && order.client_id == id))
    }

    fn private_order(&self, account: AccountId, id: u64) -> Option<&Order> {
        self.trading.as_ref()?.exchange.find(account, None, OrderRef::Id(id))
    }

    fn private_fills(&self, account: AccountId) -> impl Iterator<Item = &Fill> {
        let exchange = self.trading.as_ref().map(|trading| &trading.exchange);
        exchange.into_iter().flat_map(move |exchange| exchange.fills(account))
    }

    fn order_entries<'a>(&self, orders: impl Iterator<Item = &'a Order>) -> String {
        let entries: Vec<String> =
            orders.map(|order| encode::order_entry(&self.listings[order.instrument], order)).collect();
        format!("{{{}}}", entries.join(","))
    }

    /// An order with the ids of its executions.
    fn entry_with_trades(&self, order: &Order) -> String {
        let fills = self.private_fills(order.account).filter(|fill| fill.order == order.id);
        let ids: Vec<String> = fills.map(|fill| format!("\"{}\"", super::execution_id(fill))).collect();
        let entry = encode::order_entry(&self.listings[order.instrument], order);
        let open = entry.strip_suffix('}').expect("an object");
        if ids.is_empty() { entry } else { format!("{open},\"trades\":[{}]}}", ids.join(",")) }
    }

    fn trade_entries<'a>(&self, fills: impl Iterator<Item = &'a Fill>) -> String {
        let entry = |fill: &Fill| {
            let order = self.private_order(fill.account, fill.order)?;
            Some(encode::trade_entry(&self.listings[fill.instrument], order, fill))
        };
        format!("{{{}}}", fills.filter_map(entry).collect::<Vec<_>>().join(","))
    }
}

fn offset(form: &Query) -> Result<usize, &'static str> {
    form.get("ofs").map_or(Ok(0), |text| text.parse().map_err(|_| "EGeneral:Invalid arguments:ofs"))
}

/// The ids in `txid`.
fn txids(form: &Query, most: usize) -> Result<Vec<&str>, &'static str> {
    let ids: Vec<&str> = form.get("txid").unwrap_or("").split(',').filter(|id| !id.is_empty()).collect();
    if ids.is_empty() || ids.len() > most { Err("EGeneral:Invalid arguments:txid") } else { Ok(ids) }
}

/// Nanoseconds of a time in seconds, with or without a fraction.
fn seconds(text: &str) -> Result<u64, &'static str> {
    const WRONG: &str = "EGeneral:Invalid arguments";
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanoseconds = format!("{fraction:0<9}");
    let whole: u64 = whole.parse().map_err(|_| WRONG)?;
    let nanoseconds: u64 = nanoseconds.get(..9).ok_or(WRONG)?.parse().map_err(|_| WRONG)?;
    whole.checked_mul(super::SECOND_NS).and_then(|whole| whole.checked_add(nanoseconds)).ok_or(WRONG)
}
