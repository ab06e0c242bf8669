//! The venue's public REST calls; the private ones are in `trade`. Errors come with status 200, in an envelope.
//!
//! Source of the calls and of the envelope: docs.kraken.com, pages of 2026-05-27; order of keys and numbers of decimals:
//! recordings of 2021 and 2023. The limit is about one call a second for each address; the venue publishes no burst.

use super::encode::{Listing, put_us, vwap};
use super::{Kraken, SECOND_NS};
use crate::http::{HttpAnswer, HttpRequest, Query};
use crate::market::{Instrument, Level, Side};
use crate::text::{civil, put, put_fixed, put_list, put_time, put_u64};

/// Digits of a price in `Depth`, `Trades` and `Ticker`, unless the pair has more.
const PRICE_DECIMALS_MIN: usize = 5;
/// Digits of a quantity in `Depth`.
const DEPTH_QTY_DECIMALS: usize = 3;

/// An error's text.
type Body = Result<Vec<u8>, &'static str>;

/// The answer to a request that is refused.
pub(super) fn refusal(status: u16, retry_after_s: u64) -> HttpAnswer {
    match status {
        429 => envelope(status, "EAPI:Rate limit exceeded").with("Retry-After", retry_after_s),
        _ => envelope(status, "EService:Unavailable"),
    }
}

pub(super) fn envelope(status: u16, error: &str) -> HttpAnswer {
    HttpAnswer::json(status, format!("{{\"error\":[\"{error}\"]}}").into_bytes())
}

impl Kraken {
    /// Answers any REST request.
    pub(super) fn answer(&mut self, request: &HttpRequest<'_>, now_ns: u64) -> HttpAnswer {
        if let Some(call) = request.path().strip_prefix("/0/private/")
            && self.trading.is_some()
        {
            return self.private_call(request, call, now_ns);
        }
        let Some(call) = request.path().strip_prefix("/0/public/") else {
            return envelope(404, "EGeneral:Unknown method");
        };
        if !self.calls.take(self.limits.rest_call_every_ns, self.limits.rest_burst, now_ns) {
            return envelope(200, "EAPI:Rate limit exceeded");
        }
        let query = request.query();
        let body = match call {
            "Time" => Ok(self.time(now_ns)),
            "SystemStatus" => Ok(self.system_status(now_ns)),
            "AssetPairs" => self.asset_pairs(&query),
            "Depth" => self.depth(&query, now_ns),
            "Trades" => self.trades(&query),
            "Ticker" => self.tickers(&query),
            _ => return envelope(404, "EGeneral:Unknown method"),
        };
        match body {
            Ok(result) => {
                let mut body = b"{\"error\":[],\"result\":".to_vec();
                body.extend(result);
                body.push(b'}');
                HttpAnswer::json(200, body)
            }
            Err(error) => envelope(200, error),
        }
    }

    fn time(&self, now_ns: u64) -> Vec<u8> {
        let time_ns = self.clock.market_ns(now_ns);
        let mut b = b"{\"unixtime\":".to_vec();
        put_u64(&mut b, time_ns / SECOND_NS);
        put(&mut b, b",\"rfc1123\":\"");
        put_rfc1123(&mut b, time_ns);
        put(&mut b, b"\"}");
        b
    }

    fn system_status(&self, now_ns: u64) -> Vec<u8> {
        let mut b = b"{\"status\":\"online\",\"timestamp\":".to_vec();
        let second_ns = self.clock.market_ns(now_ns) / SECOND_NS * SECOND_NS;
        let mut time = Vec::new();
        put_us(&mut time, second_ns);
        // Without a fraction.
        put(&mut b, &time[..20]);
        put(&mut b, b"Z\"}");
        b
    }

    /// A pair by any of its names.
    fn pair(&self, name: &str) -> Result<usize, &'static str> {
        let found = self
            .listings
            .iter()
            .position(|it| [&it.key, &it.altname, &it.wsname, &it.symbol].iter().any(|known| *known == name));
        found.filter(|index| !self.gone[*index]).ok_or("EQuery:Unknown asset pair")
    }

    /// The pairs named in `pair`; all without it.
    fn pairs(&self, query: &Query) -> Result<Vec<usize>, &'static str> {
        match query.get("pair") {
            None => Ok((0..self.listings.len()).filter(|index| !self.gone[*index]).collect()),
            Some(names) => names.split(',').map(|name| self.pair(name)).collect(),
        }
    }

    /// `{"KEY":...,...}` with the given value of each pair.
    fn keyed(&self, pairs: &[usize], write: impl Fn(&mut Vec<u8>, &Listing, &Instrument)) -> Vec<u8> {
        let mut b = vec![b'{'];
        for (count, index) in pairs.iter().enumerate() {
            if count > 0 {
                b.push(b',');
            }
            let listing = &self.listings[*index];
            b.push(b'"');
            put(&mut b, listing.key.as_bytes());
            put(&mut b, b"\":");
            write(&mut b, listing, &self.market.instruments()[*index]);
        }
        b.push(b'}');
        b
    }

    fn asset_pairs(&self, query: &Query) -> Body {
        Ok(self.keyed(&self.pairs(query)?, |b, listing, _| asset_pair(b, listing)))
    }

    fn depth(&self, query: &Query, now_ns: u64) -> Body {
        let index = self.pair(query.get("pair").ok_or("EGeneral:Invalid arguments")?)?;
        let count = match query.get("count") {
            None => 100,
            Some(text) => {
                text.parse::<usize>().map_err(|_| "EGeneral:Invalid arguments:count")?.clamp(1, 500)
            }
        };
        let time_s = self.clock.market_ns(now_ns) / SECOND_NS;
        Ok(self.keyed(&[index], |b, listing, instrument| {
            put(b, b"{\"asks\":");
            rows(b, listing, instrument.book.asks.iter().take(count), time_s);
            put(b, b",\"bids\":");
            rows(b, listing, instrument.book.bids.iter().take(count), time_s);
            b.push(b'}');
        }))
    }

    fn trades(&self, query: &Query) -> Body {
        let index = self.pair(query.get("pair").ok_or("EGeneral:Invalid arguments")?)?;
        let number = |name: &str, default: u64| match query.get(name) {
            None => Ok(default),
            Some(text) => text.parse::<u64>().map_err(|_| "EGeneral:Invalid arguments"),
        };
        // Seconds are accepted too.
        let since = match number("since", 0)? {
            seconds @ ..100_000_000_000 => seconds * SECOND_NS,
            nanoseconds => nanoseconds,
        };
        let count = number("count", 1000)?.clamp(1, 1000) as usize;
        let trades = self.market.instruments()[index].trades();
        let start = trades.partition_point(|trade| trade.time_ns <= since);
        // Without `since`, the newest ones.
        let start = if since == 0 { trades.len().saturating_sub(count) } else { start };
        let listing = &self.listings[index];
        let mut last_ns = since;
        let mut b = b"{\"".to_vec();
        put(&mut b, listing.key.as_bytes());
        put(&mut b, b"\":");
        put_list(&mut b, trades.iter().skip(start).take(count), |b, trade| {
            put(b, b"[\"");
            price(b, listing, trade.price);
            put(b, b"\",\"");
            listing.qty(b, trade.qty);
            put(b, b"\",");
            put_fixed(b, u128::from(trade.time_ns), 9);
            put(b, if trade.taker == Side::Bid { b",\"b\"" } else { b",\"s\"" });
            let market = super::encode::order_type(trade) == b"market";
            put(b, if market { b",\"m\",\"\"," } else { b",\"l\",\"\"," });
            put_u64(b, trade.id);
            b.push(b']');
            last_ns = trade.time_ns;
        });
        put(&mut b, b",\"last\":\"");
        put_u64(&mut b, last_ns);
        put(&mut b, b"\"}");
        Ok(b)
    }

    fn tickers(&self, query: &Query) -> Body {
        Ok(self.keyed(&self.pairs(query)?, ticker))
    }
}

fn price(b: &mut Vec<u8>, listing: &Listing, ticks: i64) {
    listing.price_rescaled(b, ticks, listing.scale.price_decimals.max(PRICE_DECIMALS_MIN));
}

/// `[["price","volume",time],...]`.
fn rows(b: &mut Vec<u8>, listing: &Listing, levels: impl Iterator<Item = Level>, time_s: u64) {
    put_list(b, levels, |b, level| {
        put(b, b"[\"");
        price(b, listing, level.price);
        put(b, b"\",\"");
        listing.qty_rescaled(b, level.qty, DEPTH_QTY_DECIMALS);
        put(b, b"\",");
        put_u64(b, time_s);
        b.push(b']');
    });
}

/// Pairs of [today, last 24 hours] are the same here: everything since the start.
fn ticker(b: &mut Vec<u8>, listing: &Listing, instrument: &Instrument) {
    let (total, top) = (instrument.bars.total(), instrument.book.top());
    for (name, level) in [(&b"{\"a\":[\""[..], top.ask), (b",\"b\":[\"", top.bid)] {
        put(b, name);
        price(b, listing, level.price);
        put(b, b"\",\"");
        listing.qty_rescaled(b, level.qty, 0);
        put(b, b"\",\"");
        listing.qty_rescaled(b, level.qty, DEPTH_QTY_DECIMALS);
        put(b, b"\"]");
    }
    put(b, b",\"c\":[\"");
    price(b, listing, total.close);
    put(b, b"\",\"");
    listing.qty(b, instrument.bars.last_trade().map_or(0, |trade| trade.qty));
    put(b, b"\"]");
    let twice = |b: &mut Vec<u8>, name: &[u8], quoted: bool, write: &dyn Fn(&mut Vec<u8>)| {
        let quote: &[u8] = if quoted { b"\"" } else { b"" };
        put(b, name);
        for separator in [&b"["[..], b","] {
            put(b, separator);
            put(b, quote);
            write(b);
            put(b, quote);
        }
        b.push(b']');
    };
    twice(b, b",\"v\":", true, &|b| listing.volume(b, total.volume));
    twice(b, b",\"p\":", true, &|b| vwap(b, listing, total));
    twice(b, b",\"t\":", false, &|b| put_u64(b, total.count));
    twice(b, b",\"l\":", true, &|b| price(b, listing, total.low));
    twice(b, b",\"h\":", true, &|b| price(b, listing, total.high));
    put(b, b",\"o\":\"");
    price(b, listing, total.open);
    put(b, b"\"}");
}

/// One pair of `AssetPairs`. The tables of fees have fewer rows than the venue's.
fn asset_pair(b: &mut Vec<u8>, listing: &Listing) {
    let spec = &listing.spec;
    let mut text = |text: &str| put(b, text.as_bytes());
    text(&format!(
        "{{\"altname\":\"{}\",\"wsname\":\"{}\",\"aclass_base\":\"currency\",\"base\":\"{}\",\
         \"aclass_quote\":\"currency\",\"quote\":\"{}\",\"lot\":\"unit\",\"cost_decimals\":5,\"pair_decimals\":{},\
         \"lot_decimals\":{},\"lot_multiplier\":1,\"leverage_buy\":[2,3,4,5],\"leverage_sell\":[2,3,4,5],\
         \"fees\":[[0,0.26],[10000000,0.1]],\"fees_maker\":[[0,0.16],[10000000,0]],\
         \"fee_volume_currency\":\"ZUSD\",\"margin_call\":80,\"margin_stop\":40,\"ordermin\":\"",
        listing.altname,
        listing.wsname,
        listing.base,
        listing.quote,
        listing.scale.price_decimals,
        listing.scale.qty_decimals,
    ));
    listing.qty(b, 1);
    put(b, b"\",\"costmin\":\"0.5\",\"tick_size\":\"");
    put_fixed(b, u128::from(spec.tick.unsigned_abs()), spec.price_decimals);
    put(b, b"\",\"status\":\"online\",\"long_position_limit\":250,\"short_position_limit\":200}");
}

/// `Sun, 21 Mar 21 14:23:14 +0000`.
fn put_rfc1123(b: &mut Vec<u8>, time_ns: u64) {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = time_ns / SECOND_NS / 86_400;
    let (year, month, day) = civil(days);
    let head = format!(
        "{}, {day:>2} {} {:02} ",
        DAYS[(days % 7) as usize],
        MONTHS[(month - 1) as usize],
        year % 100
    );
    put(b, head.as_bytes());
    put_time(b, time_ns);
    put(b, b" +0000");
}
