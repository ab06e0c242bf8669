//! The venue's REST market data, with request weights, refusals (429) and bans (418).
//!
//! Source of paths, parameters and weights of spot: binance-spot-api-docs, rest-api.md, commit a5e0bc3; error texts:
//! errors.md of the same commit. USD-M has its own weights and depth limits, from public client libraries.

use super::encode::{self, Unit, put_bool};
use super::{Binance, BinanceLimits, Product, SECOND_NS};
use crate::http::{HttpAnswer, HttpRequest, Query};
use crate::instruments::InstrumentSpec;
use crate::market::{Book, INTERVALS, Instrument, Trade};
use crate::text::{POW10, put, put_list, put_quoted, put_u64};

/// Windows of request weight are minutes of the clock.
const WINDOW_NS: u64 = 60 * SECOND_NS;

/// Weight used in the present minute.
#[derive(Debug, Default)]
pub(super) struct Usage {
    window: u64,
    weight: u32,
    refused: u32,
    banned_until_ns: u64,
}

/// An error answer: status, code, text.
pub(super) type Failure = (u16, i32, String);
type Body = Result<Vec<u8>, Failure>;

/// The answer to a request that exceeds a limit.
pub(super) fn refusal(status: u16, retry_after_s: u64, limits: &BinanceLimits) -> HttpAnswer {
    let body = match status {
        418 => "{\"code\":-1003,\"msg\":\"Way too much request weight used; IP banned. Please use WebSocket Streams \
                for live updates to avoid bans.\"}"
            .to_owned(),
        429 => format!(
            "{{\"code\":-1003,\"msg\":\"Too much request weight used; current limit is {} request weight per 1 \
             MINUTE. Please use WebSocket Streams for live updates to avoid polling the API.\"}}",
            limits.weight_per_minute_max
        ),
        _ => "{\"code\":-1000,\"msg\":\"An unknown error occurred while processing the request.\"}".to_owned(),
    };
    let answer = HttpAnswer::json(status, body.into_bytes());
    if matches!(status, 418 | 429) { answer.with("Retry-After", retry_after_s) } else { answer }
}

pub(super) fn failure(code: i32, text: impl Into<String>) -> Failure {
    (400, code, text.into())
}

impl Binance {
    /// Answers any REST request.
    pub(super) fn answer(&mut self, request: &HttpRequest<'_>, now_ns: u64) -> HttpAnswer {
        if now_ns < self.usage.banned_until_ns {
            let wait_ns = self.usage.banned_until_ns - now_ns;
            return refusal(418, wait_ns.div_ceil(SECOND_NS), &self.limits);
        }
        let prefix = match self.product {
            Product::Spot => "/api/v3/",
            Product::UsdM => "/fapi/v1/",
        };
        let Some(call) = request.path().strip_prefix(prefix) else { return HttpAnswer::html(404) };
        if let Some(answer) = self.signed_rest(request, call, now_ns) {
            return answer;
        }
        let query = request.query();
        let Some(weight) = weight(call, &query, self.product) else { return HttpAnswer::html(404) };
        if let Err(refused) = self.charge(weight, now_ns) {
            return refused;
        }
        let micro =
            request.header("x-mbx-time-unit").is_some_and(|it| it.eq_ignore_ascii_case("microsecond"));
        let unit = if micro { Unit::Microseconds } else { Unit::Milliseconds };
        let body = if request.method == "GET" {
            self.call(call, &query, unit, now_ns)
        } else {
            Err((405, -1000, "Request method is not supported".to_owned()))
        };
        let answer = match body {
            Ok(body) => HttpAnswer::json(200, body),
            Err((status, code, text)) => {
                let text = serde_json::Value::from(text);
                HttpAnswer::json(status, format!("{{\"code\":{code},\"msg\":{text}}}").into_bytes())
            }
        };
        answer.with("X-MBX-USED-WEIGHT", self.usage.weight).with("X-MBX-USED-WEIGHT-1M", self.usage.weight)
    }

    pub(super) fn used_weight(&self) -> u32 {
        self.usage.weight
    }

    /// As [`Self::charge`], for the WebSocket API, bans included.
    pub(super) fn charge_api(&mut self, weight: u32, now_ns: u64) -> Result<(), Failure> {
        let banned = now_ns < self.usage.banned_until_ns;
        let status =
            if banned { Some(418) } else { self.charge(weight, now_ns).err().map(|refused| refused.status) };
        status.map_or(Ok(()), |status| {
            let limit = self.limits.weight_per_minute_max;
            Err((
                status,
                -1003,
                format!(
                    "Too much request weight used; current limit is {limit} request weight per 1 MINUTE."
                ),
            ))
        })
    }

    /// When a refused client of the WebSocket API may come again, milliseconds since 1970.
    pub(super) fn retry_ms(&self, now_ns: u64) -> u64 {
        let window_ends_ns = (now_ns / WINDOW_NS + 1) * WINDOW_NS;
        self.usage.banned_until_ns.max(window_ends_ns) / super::MS_NS
    }

    pub(super) fn charge(&mut self, weight: u32, now_ns: u64) -> Result<(), HttpAnswer> {
        let window = now_ns / WINDOW_NS;
        let usage = &mut self.usage;
        if window != usage.window {
            *usage = Usage { window, ..Usage::default() };
        }
        if usage.weight + weight <= self.limits.weight_per_minute_max {
            usage.weight += weight;
            return Ok(());
        }
        usage.refused += 1;
        if usage.refused > self.limits.refusals_before_ban {
            usage.banned_until_ns = now_ns + self.limits.ban_s * SECOND_NS;
            return Err(refusal(418, self.limits.ban_s, &self.limits));
        }
        let wait_ns = (window + 1) * WINDOW_NS - now_ns;
        let answer = refusal(429, wait_ns.div_ceil(SECOND_NS), &self.limits);
        Err(answer.with("X-MBX-USED-WEIGHT-1M", usage.weight))
    }

    fn call(&mut self, call: &str, query: &Query, unit: Unit, now_ns: u64) -> Body {
        match call {
            "ping" => Ok(b"{}".to_vec()),
            "time" => {
                let mut body = b"{\"serverTime\":".to_vec();
                // The fault script may have its clock wrong.
                let skewed_ns = self.exchange.as_ref().map_or(now_ns, |exchange| {
                    exchange.clock_ms(now_ns) * super::MS_NS + now_ns % super::MS_NS
                });
                unit.put(&mut body, self.clock.market_ns(skewed_ns));
                body.push(b'}');
                Ok(body)
            }
            "exchangeInfo" => self.exchange_info(query, now_ns),
            "depth" => self.depth(query, now_ns),
            "trades" => self.trades(query, unit, false),
            "historicalTrades" => self.trades(query, unit, true),
            "aggTrades" => self.agg_trades(query, unit),
            "klines" => self.klines(query, unit),
            _ => self.book_tickers(query),
        }
    }

    fn instrument(&self, query: &Query) -> Result<usize, Failure> {
        let symbol = query.get("symbol").filter(|symbol| !symbol.is_empty());
        let missing = "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.";
        self.by_symbol(symbol.ok_or_else(|| failure(-1102, missing))?)
    }

    pub(super) fn by_symbol(&self, symbol: &str) -> Result<usize, Failure> {
        let legal = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        // Symbols that are not ASCII are legal at the venue, so only ASCII is checked.
        if symbol.len() > 20 || !symbol.bytes().all(|byte| legal(byte) || !byte.is_ascii()) {
            let text =
                "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'.";
            return Err(failure(-1100, text));
        }
        let found = self.listings.iter().position(|listing| listing.upper == symbol);
        found.filter(|index| !self.gone[*index]).ok_or_else(|| failure(-1121, "Invalid symbol."))
    }

    /// The instruments named by `symbol` or `symbols`; all without either.
    fn instruments(&self, query: &Query) -> Result<Vec<usize>, Failure> {
        if query.get("symbol").is_some() {
            return Ok(vec![self.instrument(query)?]);
        }
        let Some(symbols) = query.get("symbols") else {
            return Ok((0..self.listings.len()).filter(|index| !self.gone[*index]).collect());
        };
        let names: Vec<String> = serde_json::from_str(symbols).map_err(|_| {
            failure(-1100, "Illegal characters found in parameter 'symbols'; legal range is a JSON array.")
        })?;
        names.iter().map(|name| self.by_symbol(name)).collect()
    }

    fn depth(&mut self, query: &Query, now_ns: u64) -> Body {
        let index = self.instrument(query)?;
        let limit = match self.product {
            Product::Spot => limit(query, 100, 5000)?,
            Product::UsdM => futures_depth_limit(query)?,
        };
        let event_ns = self.clock.market_ns(now_ns);
        let listing = &self.listings[index];
        let instrument = &self.market.instruments()[index];
        let stale = &mut self.faults[index].stale;
        let (book, update_id): (&Book, u64) = match stale {
            Some((book, update_id, count)) if *count > 0 => {
                *count -= 1;
                (book, *update_id)
            }
            _ => (&instrument.book, instrument.last_update_id),
        };
        let mut b = Vec::with_capacity(limit.min(book.bids.len()) * 80 + 100);
        put(&mut b, b"{\"lastUpdateId\":");
        put_u64(&mut b, update_id);
        if self.product == Product::UsdM {
            put(&mut b, b",\"E\":");
            Unit::Milliseconds.put(&mut b, event_ns);
            put(&mut b, b",\"T\":");
            Unit::Milliseconds.put(&mut b, event_ns);
        }
        put(&mut b, b",\"bids\":");
        listing.levels(&mut b, book.bids.iter().take(limit));
        put(&mut b, b",\"asks\":");
        listing.levels(&mut b, book.asks.iter().take(limit));
        b.push(b'}');
        Ok(b)
    }

    fn trades(&self, query: &Query, unit: Unit, historical: bool) -> Body {
        let index = self.instrument(query)?;
        let limit = limit(query, 500, 1000)?;
        let trades = self.market.instruments()[index].trades();
        let from = if historical { number(query, "fromId")? } else { None };
        let start = match (from, trades.front()) {
            (Some(id), Some(oldest)) => id.saturating_sub(oldest.id) as usize,
            _ => trades.len().saturating_sub(limit),
        };
        let listing = &self.listings[index];
        Ok(list(trades.iter().skip(start).take(limit), |b, trade| {
            encode::trade_rest(b, listing, trade, unit);
        }))
    }

    fn agg_trades(&self, query: &Query, unit: Unit) -> Body {
        let index = self.instrument(query)?;
        let limit = limit(query, 500, 1000)?;
        let from = number(query, "fromId")?;
        let window = time_window(query)?;
        let trades: Vec<Trade> = self.market.instruments()[index].trades().iter().copied().collect();
        let mut groups: Vec<&[Trade]> = trades.chunk_by(|a, b| a.group == b.group).collect();
        groups.retain(|fills| {
            from.is_none_or(|id| fills[0].group >= id) && window.contains(&(fills[0].time_ns / super::MS_NS))
        });
        let listing = &self.listings[index];
        let skip = if from.is_some() || query.get("startTime").is_some() {
            0
        } else {
            groups.len().saturating_sub(limit)
        };
        Ok(list(groups.iter().skip(skip).take(limit), |b, fills| {
            encode::agg_trade_rest(b, listing, fills, unit);
        }))
    }

    /// Bars since the start of the simulation: there was no market before.
    fn klines(&self, query: &Query, unit: Unit) -> Body {
        let index = self.instrument(query)?;
        let missing = "Mandatory parameter 'interval' was not sent, was empty/null, or malformed.";
        let name = query.get("interval").ok_or_else(|| failure(-1102, missing))?;
        let interval = INTERVALS.iter().position(|(known, _)| *known == name);
        let interval = interval.ok_or_else(|| failure(-1120, "Invalid interval."))?;
        let limit = limit(query, 500, if self.product == Product::Spot { 1000 } else { 1500 })?;
        let window = time_window(query)?;
        let mut bars = self.market.instruments()[index].bars.history(interval);
        bars.retain(|bar| window.contains(&(bar.open_s * 1000)));
        let skip = if query.get("startTime").is_some() { 0 } else { bars.len().saturating_sub(limit) };
        let listing = &self.listings[index];
        Ok(list(bars.iter().skip(skip).take(limit), |b, bar| {
            encode::kline_rest(b, listing, bar, interval, unit);
        }))
    }

    fn book_tickers(&self, query: &Query) -> Body {
        let one = |b: &mut Vec<u8>, index: &usize| {
            let (listing, top) = (&self.listings[*index], self.market.instruments()[*index].book.top());
            put(b, b"{\"symbol\":\"");
            put(b, listing.upper.as_bytes());
            put(b, b"\",\"bidPrice\":");
            listing.price(b, top.bid.price);
            put(b, b",\"bidQty\":");
            listing.qty(b, top.bid.qty);
            put(b, b",\"askPrice\":");
            listing.price(b, top.ask.price);
            put(b, b",\"askQty\":");
            listing.qty(b, top.ask.qty);
            put(b, b"}");
        };
        let indices = self.instruments(query)?;
        if query.get("symbol").is_some() {
            let mut body = Vec::new();
            one(&mut body, &indices[0]);
            return Ok(body);
        }
        Ok(list(indices.iter(), one))
    }

    fn exchange_info(&self, query: &Query, now_ns: u64) -> Body {
        let indices = self.instruments(query)?;
        let mut b = b"{\"timezone\":\"UTC\",\"serverTime\":".to_vec();
        Unit::Milliseconds.put(&mut b, self.clock.market_ns(now_ns));
        if self.product == Product::UsdM {
            put(&mut b, b",\"futuresType\":\"U_MARGINED\"");
        }
        put(
            &mut b,
            b",\"rateLimits\":[{\"rateLimitType\":\"REQUEST_WEIGHT\",\"interval\":\"MINUTE\",\"intervalNum\":1,\"limit\":",
        );
        put_u64(&mut b, u64::from(self.limits.weight_per_minute_max));
        put(
            &mut b,
            b"},{\"rateLimitType\":\"ORDERS\",\"interval\":\"SECOND\",\"intervalNum\":10,\"limit\":100},",
        );
        put(
            &mut b,
            b"{\"rateLimitType\":\"ORDERS\",\"interval\":\"DAY\",\"intervalNum\":1,\"limit\":200000},",
        );
        put(&mut b, b"{\"rateLimitType\":\"RAW_REQUESTS\",\"interval\":\"MINUTE\",\"intervalNum\":5,\"limit\":300000}]");
        put(&mut b, b",\"exchangeFilters\":[],\"symbols\":");
        put_list(&mut b, indices.iter(), |b, index| {
            symbol_info(b, &self.market.instruments()[*index], &self.listings[*index].upper, self.product);
        });
        b.push(b'}');
        Ok(b)
    }
}

/// `None`: no such call.
fn weight(call: &str, query: &Query, product: Product) -> Option<u32> {
    let limit = query.get("limit").and_then(|text| text.parse::<u32>().ok());
    let spot = product == Product::Spot;
    Some(match call {
        "ping" | "time" => 1,
        "depth" => match limit.unwrap_or(if spot { 100 } else { 500 }) {
            0..=50 if !spot => 2,
            0..=100 => 5,
            101..=500 if !spot => 10,
            101..=500 => 25,
            501..=1000 if !spot => 20,
            501..=1000 => 50,
            _ => 250,
        },
        "exchangeInfo" => {
            if spot {
                20
            } else {
                1
            }
        }
        "trades" => {
            if spot {
                25
            } else {
                5
            }
        }
        "historicalTrades" => {
            if spot {
                25
            } else {
                20
            }
        }
        "aggTrades" => {
            if spot {
                4
            } else {
                20
            }
        }
        "klines" => 2,
        "ticker/bookTicker" => {
            if query.get("symbol").is_some() {
                2
            } else {
                4
            }
        }
        _ => return None,
    })
}

fn number(query: &Query, name: &str) -> Result<Option<u64>, Failure> {
    let parse = |text: &str| {
        let text_legal =
            !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
        let value = text_legal.then(|| text.parse().ok()).flatten();
        value.ok_or_else(|| {
            let range = "legal range is '^[0-9]{1,20}$'";
            failure(-1100, format!("Illegal characters found in parameter '{name}'; {range}."))
        })
    };
    query.get(name).map(parse).transpose()
}

/// Larger values are cut, as the venue does.
fn limit(query: &Query, default: usize, max: usize) -> Result<usize, Failure> {
    match number(query, "limit")? {
        None => Ok(default),
        Some(0) => Err(failure(-1130, "Data sent for parameter 'limit' is not valid.")),
        Some(limit) => Ok(usize::try_from(limit).unwrap_or(max).min(max)),
    }
}

fn futures_depth_limit(query: &Query) -> Result<usize, Failure> {
    match number(query, "limit")?.unwrap_or(500) {
        limit @ (5 | 10 | 20 | 50 | 100 | 500 | 1000) => Ok(limit as usize),
        other => Err(failure(-4021, format!("{other} is not valid depth limit."))),
    }
}

/// `startTime..=endTime`, milliseconds.
fn time_window(query: &Query) -> Result<std::ops::RangeInclusive<u64>, Failure> {
    Ok(number(query, "startTime")?.unwrap_or(0)..=number(query, "endTime")?.unwrap_or(u64::MAX))
}

/// A JSON array.
fn list<T>(items: impl Iterator<Item = T>, write: impl FnMut(&mut Vec<u8>, T)) -> Vec<u8> {
    let mut b = Vec::new();
    put_list(&mut b, items, write);
    b
}

/// One symbol of `exchangeInfo`. Spot prints filters with 8 decimals, USD-M with the instrument's own.
fn symbol_info(b: &mut Vec<u8>, instrument: &Instrument, symbol: &str, product: Product) {
    let spec = &instrument.spec;
    let InstrumentSpec { base, quote, .. } = spec;
    let spot = product == Product::Spot;
    let mut text = |text: &str| put(b, text.as_bytes());
    if spot {
        text(&format!(
            "{{\"symbol\":\"{symbol}\",\"status\":\"TRADING\",\"baseAsset\":\"{base}\",\"baseAssetPrecision\":8,\
             \"quoteAsset\":\"{quote}\",\"quotePrecision\":8,\"quoteAssetPrecision\":8,\
             \"baseCommissionPrecision\":8,\"quoteCommissionPrecision\":8,\"orderTypes\":[\"LIMIT\",\
             \"LIMIT_MAKER\",\"MARKET\"],\"icebergAllowed\":true,\"ocoAllowed\":true,\
             \"quoteOrderQtyMarketAllowed\":true,\"isSpotTradingAllowed\":true,\
             \"isMarginTradingAllowed\":false,\"filters\":["
        ));
    } else {
        text(&format!(
            "{{\"symbol\":\"{symbol}\",\"pair\":\"{symbol}\",\"contractType\":\"PERPETUAL\",\
             \"deliveryDate\":4133404800000,\"onboardDate\":1569398400000,\"status\":\"TRADING\",\
             \"baseAsset\":\"{base}\",\"quoteAsset\":\"{quote}\",\"marginAsset\":\"{quote}\",\
             \"pricePrecision\":{},\"quantityPrecision\":{},\"baseAssetPrecision\":8,\"quotePrecision\":8,\
             \"underlyingType\":\"COIN\",\"orderTypes\":[\"LIMIT\",\"MARKET\"],\"timeInForce\":[\"GTC\",\
             \"IOC\",\"FOK\",\"GTX\"],\"filters\":[",
            spec.price_decimals, spec.qty_decimals
        ));
    }
    let price = |b: &mut Vec<u8>, ticks: i64| {
        let decimals = if spot { 8 } else { spec.price_decimals };
        let factor = spec.tick * POW10[decimals - spec.price_decimals];
        put_quoted(b, i128::from(ticks) * i128::from(factor), decimals);
    };
    let qty = |b: &mut Vec<u8>, lots: i64| {
        let decimals = if spot { 8 } else { spec.qty_decimals };
        let factor = spec.lot * POW10[decimals - spec.qty_decimals];
        put_quoted(b, i128::from(lots) * i128::from(factor), decimals);
    };
    put(b, b"{\"filterType\":\"PRICE_FILTER\",\"minPrice\":");
    price(b, 1);
    put(b, b",\"maxPrice\":");
    price(b, spec.price_ticks.saturating_mul(100));
    put(b, b",\"tickSize\":");
    price(b, 1);
    put(b, b"},{\"filterType\":\"LOT_SIZE\",\"minQty\":");
    qty(b, 1);
    put(b, b",\"maxQty\":");
    qty(b, 900_000_000);
    put(b, b",\"stepSize\":");
    qty(b, 1);
    if spot {
        put(b, b"},{\"filterType\":\"NOTIONAL\",\"minNotional\":\"5.00000000\",\"applyMinToMarket\":");
        put_bool(b, true);
        put(b, b",\"maxNotional\":\"9000000.00000000\",\"applyMaxToMarket\":false,\"avgPriceMins\":5}],");
        put(b, b"\"permissions\":[],\"permissionSets\":[[\"SPOT\"]],\"defaultSelfTradePreventionMode\":\"NONE\",");
        put(b, b"\"allowedSelfTradePreventionModes\":[\"NONE\",\"EXPIRE_TAKER\"]}");
    } else {
        put(b, b"},{\"filterType\":\"MIN_NOTIONAL\",\"notional\":\"5\"}]}");
    }
}
