//! Public REST calls of both products; the private ones are in `trade`.
//!
//! Source: docs.cdp.coinbase.com, pages of 2026; order of keys: samples of 2021 to 2024 in public client libraries.

use super::encode::{self, Listing, put_us};
use super::{Coinbase, CoinbaseProduct, SECOND_NS};
use crate::http::{HttpAnswer, HttpRequest, Query};
use crate::market::{Instrument, Level, Side, Trade};
use crate::text::{put, put_fixed, put_list, put_trimmed, put_u64};

/// Status and text.
type Failure = (u16, String);
type Body = Result<Vec<u8>, Failure>;

/// The answer to a request that is refused.
pub(super) fn refusal(product: CoinbaseProduct, status: u16, retry_after_s: u64) -> HttpAnswer {
    let body = match (product, status) {
        (CoinbaseProduct::Advanced, 429) => {
            "{\"errors\":[{\"id\":\"rate_limit_exceeded\",\"message\":\"Too many requests\"}]}".to_owned()
        }
        (CoinbaseProduct::Advanced, _) => failure_body(product, status, "internal"),
        (CoinbaseProduct::Exchange, 429) => "{\"message\":\"Public rate limit exceeded\"}".to_owned(),
        (CoinbaseProduct::Exchange, _) => "{\"message\":\"Internal server error\"}".to_owned(),
    };
    let answer = HttpAnswer::json(status, body.into_bytes());
    if status == 429 { answer.with("Retry-After", retry_after_s) } else { answer }
}

pub(super) fn failure_body(product: CoinbaseProduct, status: u16, text: &str) -> String {
    let text = serde_json::Value::from(text);
    match product {
        CoinbaseProduct::Advanced => {
            let code = match status {
                404 => "NOT_FOUND",
                400 => "INVALID_ARGUMENT",
                _ => "INTERNAL",
            };
            format!("{{\"error\":\"{code}\",\"error_details\":{text},\"message\":{text}}}")
        }
        CoinbaseProduct::Exchange => format!("{{\"message\":{text}}}"),
    }
}

fn not_found() -> Failure {
    (404, "NotFound".to_owned())
}

impl Coinbase {
    /// Answers any REST request.
    pub(super) fn answer(&mut self, request: &HttpRequest<'_>, now_ns: u64) -> HttpAnswer {
        if let Some(call) = request.path().strip_prefix("/api/v3/brokerage/")
            && matches!(call.split('/').next(), Some("orders" | "accounts"))
            && self.trading.is_some()
        {
            return self.private_call(request, call, now_ns);
        }
        let every_ns = SECOND_NS / u64::from(self.limits.rest_per_s_max.max(1));
        if !self.calls.take(every_ns, self.limits.rest_burst, now_ns) {
            return refusal(self.product, 429, 1);
        }
        let (path, query) = (request.path(), request.query());
        let body = match self.product {
            _ if request.method != "GET" => Err((405, "Method not allowed".to_owned())),
            CoinbaseProduct::Advanced => match path.strip_prefix("/api/v3/brokerage/") {
                Some(call) => self.advanced_call(call, &query, now_ns),
                None => Err(not_found()),
            },
            CoinbaseProduct::Exchange => self.exchange_call(path, &query, now_ns),
        };
        match body {
            Ok(body) => HttpAnswer::json(200, body),
            Err((status, text)) => {
                HttpAnswer::json(status, failure_body(self.product, status, &text).into_bytes())
            }
        }
    }

    fn find(&self, id: &str) -> Result<(&Listing, &Instrument), Failure> {
        let index = self.instrument_of(id).ok_or_else(not_found)?;
        Ok((&self.listings[index], &self.market.instruments()[index]))
    }

    fn advanced_call(&self, call: &str, query: &Query, now_ns: u64) -> Body {
        let time_ns = self.clock.market_ns(now_ns);
        let mut b = Vec::new();
        let parts: Vec<&str> = call.split('/').collect();
        match parts[..] {
            ["time"] => {
                put(&mut b, b"{\"iso\":");
                put_us(&mut b, time_ns);
                let (seconds, milliseconds) = (time_ns / SECOND_NS, time_ns / 1_000_000);
                let rest = format!(",\"epochSeconds\":\"{seconds}\",\"epochMillis\":\"{milliseconds}\"}}");
                put(&mut b, rest.as_bytes());
            }
            ["market", "products"] => {
                put(&mut b, b"{\"products\":");
                let all = self.listings.iter().zip(self.market.instruments());
                let all = all.zip(&self.gone).filter(|(_, gone)| !**gone).map(|(one, _)| one);
                put_list(&mut b, all, |b, (listing, instrument)| advanced_product(b, listing, instrument));
                put(&mut b, b",\"num_products\":");
                put_u64(&mut b, self.listings.len() as u64);
                b.push(b'}');
            }
            ["market", "products", id] => {
                let (listing, instrument) = self.find(id)?;
                advanced_product(&mut b, listing, instrument);
            }
            ["market", "products", id, "ticker"] => {
                let (listing, instrument) = self.find(id)?;
                put(&mut b, b"{\"trades\":");
                let trades = instrument.trades().iter().rev().take(limit(query, 100, 1000)?);
                encode::advanced_trades(&mut b, listing, trades);
                let top = instrument.book.top();
                put(&mut b, b",\"best_bid\":");
                listing.price(&mut b, top.bid.price);
                put(&mut b, b",\"best_ask\":");
                listing.price(&mut b, top.ask.price);
                b.push(b'}');
            }
            ["market", "product_book"] => {
                let id = query.get("product_id").ok_or((400, "product_id is required".to_owned()))?;
                let (listing, instrument) = self.find(id)?;
                // Without a limit, all of it.
                let limit = limit(query, usize::MAX, usize::MAX)?;
                price_book(&mut b, listing, instrument, limit, time_ns);
            }
            _ => return Err(not_found()),
        }
        Ok(b)
    }

    fn exchange_call(&self, path: &str, query: &Query, now_ns: u64) -> Body {
        let time_ns = self.clock.market_ns(now_ns);
        let mut b = Vec::new();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match parts[..] {
            ["time"] => {
                put(&mut b, b"{\"iso\":");
                put_us(&mut b, time_ns);
                put(&mut b, b",\"epoch\":");
                put_fixed(&mut b, u128::from(time_ns / 1_000_000), 3);
                b.push(b'}');
            }
            ["products"] => {
                let all = self.listings.iter().zip(&self.gone).filter(|(_, gone)| !**gone);
                put_list(&mut b, all.map(|(listing, _)| listing), exchange_product);
            }
            ["products", id] => exchange_product(&mut b, self.find(id)?.0),
            ["products", id, "book"] => {
                let (listing, instrument) = self.find(id)?;
                let count = match query.get("level").unwrap_or("1") {
                    "1" => 1,
                    "2" => usize::MAX,
                    _ => return Err((401, "Unauthorized.".to_owned())),
                };
                let level = |b: &mut Vec<u8>, level: Level| {
                    b.push(b'[');
                    listing.price(b, level.price);
                    b.push(b',');
                    listing.qty(b, level.qty);
                    // How many orders are at the price; the market knows only their sum.
                    put(b, b",1]");
                };
                put(&mut b, b"{\"bids\":");
                put_list(&mut b, instrument.book.bids.iter().take(count), level);
                put(&mut b, b",\"asks\":");
                put_list(&mut b, instrument.book.asks.iter().take(count), level);
                put(&mut b, b",\"sequence\":");
                let index = self.instrument_of(id).ok_or_else(not_found)?;
                put_u64(&mut b, self.pending[index].sequence);
                put(&mut b, b",\"auction_mode\":false,\"auction\":null,\"time\":");
                put_us(&mut b, time_ns);
                b.push(b'}');
            }
            ["products", id, "trades"] => {
                let (listing, instrument) = self.find(id)?;
                // Pages go back in time: `after` is the id before which the next page lies.
                let after = match query.get("after") {
                    None => u64::MAX,
                    Some(text) => text.parse().map_err(|_| (400, "Invalid after".to_owned()))?,
                };
                let trades = instrument.trades().iter().rev().filter(|trade| trade.id < after);
                let trades = trades.take(limit(query, 1000, 1000)?);
                put_list(&mut b, trades, |b, trade| exchange_trade(b, listing, trade));
            }
            _ => return Err(not_found()),
        }
        Ok(b)
    }
}

fn limit(query: &Query, default: usize, max: usize) -> Result<usize, Failure> {
    match query.get("limit") {
        None => Ok(default),
        Some(text) => match text.parse::<usize>() {
            Ok(limit) if limit > 0 => Ok(limit.min(max)),
            _ => Err((400, "invalid limit".to_owned())),
        },
    }
}

fn advanced_product(b: &mut Vec<u8>, listing: &Listing, instrument: &Instrument) {
    let (spec, total, top) = (&listing.spec, instrument.bars.total(), instrument.book.top());
    let (base, quote) = (&spec.base, &spec.quote);
    put(b, b"{\"product_id\":");
    listing.put_id(b);
    put(b, b",\"price\":");
    listing.price(b, total.close);
    put(b, b",\"price_percentage_change_24h\":\"");
    let change = i128::from(total.close - total.open) * 10_000_000_000 / i128::from(total.open.max(1));
    put_trimmed(b, change, 8);
    put(b, b"\",\"volume_24h\":");
    listing.volume(b, total.volume);
    put(b, b",\"volume_percentage_change_24h\":\"0\"");
    encode::put_steps(b, spec);
    put(b, b",\"quote_min_size\":\"1\",\"quote_max_size\":\"150000000\",\"base_min_size\":");
    listing.qty(b, 1);
    put(b, b",\"base_max_size\":");
    listing.qty(b, 1_000_000_000);
    let names = format!(
        ",\"base_name\":\"{base}\",\"quote_name\":\"{quote}\",\"watched\":false,\"is_disabled\":false,\"new\":false,\
         \"status\":\"online\",\"cancel_only\":false,\"limit_only\":false,\"post_only\":false,\
         \"trading_disabled\":false,\"auction_mode\":false,\"product_type\":\"SPOT\",\"quote_currency_id\":\"{quote}\",\
         \"base_currency_id\":\"{base}\",\"fcm_trading_session_details\":null,\"mid_market_price\":\"\",\"alias\":\"\",\
         \"alias_to\":[{}],\"base_display_symbol\":\"{base}\",\"quote_display_symbol\":\"{quote}\",\"view_only\":false,\
         \"price_increment\":\"",
        if quote == "USD" { format!("\"{base}-USDC\"") } else { String::new() }
    );
    put(b, names.as_bytes());
    put_fixed(b, u128::from(spec.tick.unsigned_abs()), spec.price_decimals);
    put(b, format!("\",\"display_name\":\"{base}-{quote}\",\"product_venue\":\"CBE\"").as_bytes());
    put(b, b",\"best_bid_price\":");
    listing.price(b, top.bid.price);
    put(b, b",\"best_ask_price\":");
    listing.price(b, top.ask.price);
    b.push(b'}');
}

fn price_book(b: &mut Vec<u8>, listing: &Listing, instrument: &Instrument, limit: usize, time_ns: u64) {
    let (book, top) = (&instrument.book, instrument.book.top());
    let level = |b: &mut Vec<u8>, level: Level| {
        put(b, b"{\"price\":");
        listing.price(b, level.price);
        put(b, b",\"size\":");
        listing.qty(b, level.qty);
        b.push(b'}');
    };
    put(b, b"{\"pricebook\":{\"product_id\":");
    listing.put_id(b);
    put(b, b",\"bids\":");
    put_list(b, book.bids.iter().take(limit), level);
    put(b, b",\"asks\":");
    put_list(b, book.asks.iter().take(limit), level);
    put(b, b",\"time\":");
    put_us(b, time_ns);
    put(b, b"},\"last\":");
    listing.price(b, instrument.bars.total().close);
    put(b, b",\"mid_market\":\"");
    // Twice the middle has one binary digit less: five more tenths.
    let spread = top.ask.price - top.bid.price;
    let twice_middle = i128::from(top.bid.price + top.ask.price) * i128::from(listing.spec.tick);
    put_trimmed(b, twice_middle * 5, listing.scale.price_decimals + 1);
    put(b, b"\",\"spread_bps\":\"");
    put_trimmed(b, i128::from(spread) * 2_000_000 / i128::from(top.bid.price + top.ask.price), 2);
    put(b, b"\",\"spread_absolute\":");
    listing.price(b, spread);
    b.push(b'}');
}

fn exchange_product(b: &mut Vec<u8>, listing: &Listing) {
    let spec = &listing.spec;
    let (base, quote) = (&spec.base, &spec.quote);
    put(b, b"{\"id\":");
    listing.put_id(b);
    put(
        b,
        format!(",\"base_currency\":\"{base}\",\"quote_currency\":\"{quote}\",\"base_min_size\":").as_bytes(),
    );
    listing.qty(b, 1);
    put(b, b",\"base_max_size\":");
    listing.qty(b, 1_000_000_000);
    put(b, b",\"quote_increment\":\"");
    put_fixed(b, u128::from(spec.tick.unsigned_abs()), spec.price_decimals);
    put(b, b"\",\"base_increment\":\"");
    put_fixed(b, u128::from(spec.lot.unsigned_abs()), spec.qty_decimals);
    put(b, format!("\",\"display_name\":\"{base}/{quote}\"").as_bytes());
    put(b, b",\"min_market_funds\":\"1\",\"max_market_funds\":\"100000\",\"margin_enabled\":false,");
    put(b, b"\"post_only\":false,\"limit_only\":false,\"cancel_only\":false,\"trading_disabled\":false,");
    put(b, b"\"status\":\"online\",\"status_message\":\"\"}");
}

fn exchange_trade(b: &mut Vec<u8>, listing: &Listing, trade: &Trade) {
    put(b, b"{\"trade_id\":");
    put_u64(b, trade.id);
    // The maker's side.
    put(b, if trade.taker == Side::Ask { b",\"side\":\"buy\"" } else { b",\"side\":\"sell\"" });
    put(b, b",\"size\":");
    listing.qty_padded(b, trade.qty);
    put(b, b",\"price\":");
    listing.price_padded(b, trade.price);
    put(b, b",\"time\":");
    put_us(b, trade.time_ns);
    b.push(b'}');
}
