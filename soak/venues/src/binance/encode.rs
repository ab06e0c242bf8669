//! The venue's JSON, written by hand into reused buffers.
//!
//! Source of the fields: binance-spot-api-docs, web-socket-streams.md, commit a5e0bc3. Those of USD-M and the order of
//! keys and levels follow recordings of 2024.

use super::Product;
use crate::instruments::InstrumentSpec;
use crate::market::{Bar, Book, INTERVALS, Level, Levels, Side, Top, Trade};
use crate::scale::Scale;
use crate::text::{POW10, put, put_i64, put_list, put_quoted, put_u64, rescale};

/// Digits after the point that spot prints for everything, whatever the tick.
const SPOT_DECIMALS: usize = 8;

/// In which unit a connection gets its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Milliseconds,
    Microseconds,
}

impl Unit {
    pub(super) fn put(self, buffer: &mut Vec<u8>, time_ns: u64) {
        put_u64(buffer, time_ns / self.ns());
    }

    pub(super) fn ns(self) -> u64 {
        match self {
            Self::Milliseconds => 1_000_000,
            Self::Microseconds => 1_000,
        }
    }
}

/// One instrument as the venue prints it.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    /// `BTCUSDT`.
    pub upper: String,
    /// `btcusdt`.
    pub lower: String,
    pub product: Product,
    pub spec: InstrumentSpec,
    pub scale: Scale,
}

impl Listing {
    pub(super) fn new(spec: &InstrumentSpec, product: Product) -> Self {
        let upper = format!("{}{}", spec.base, spec.quote);
        let (price_decimals, qty_decimals) = match product {
            Product::Spot => (SPOT_DECIMALS, SPOT_DECIMALS),
            Product::UsdM => (spec.price_decimals, spec.qty_decimals),
        };
        Self {
            lower: upper.to_lowercase(),
            upper,
            product,
            scale: Scale::new(spec, price_decimals, qty_decimals),
            spec: spec.clone(),
        }
    }

    #[inline]
    pub(super) fn price(&self, buffer: &mut Vec<u8>, ticks: i64) {
        put_quoted(buffer, i128::from(self.scale.price(ticks)), self.scale.price_decimals);
    }

    #[inline]
    pub(super) fn qty(&self, buffer: &mut Vec<u8>, lots: i64) {
        put_quoted(buffer, i128::from(self.scale.qty(lots)), self.scale.qty_decimals);
    }

    /// A sum of lots.
    pub(super) fn volume(&self, buffer: &mut Vec<u8>, lots: i128) {
        put_quoted(buffer, self.scale.volume(lots), self.scale.qty_decimals);
    }

    /// A sum of ticks times lots; printed with 8 decimals at the most.
    pub(super) fn quote(&self, buffer: &mut Vec<u8>, tick_lots: i128) {
        let decimals = self.spec.price_decimals + self.spec.qty_decimals;
        let value = tick_lots * i128::from(self.spec.tick) * i128::from(self.spec.lot);
        put_quoted(buffer, rescale(value, decimals, SPOT_DECIMALS), SPOT_DECIMALS);
    }

    /// `[["price","qty"],...]`.
    pub(super) fn levels(&self, buffer: &mut Vec<u8>, levels: impl Iterator<Item = Level>) {
        put_list(buffer, levels, |buffer, level| {
            buffer.push(b'[');
            self.price(buffer, level.price);
            buffer.push(b',');
            self.qty(buffer, level.qty);
            buffer.push(b']');
        });
    }

    /// `,"key":"price"` of each.
    fn prices(&self, buffer: &mut Vec<u8>, prices: &[(&str, i64)]) {
        for (key, price) in prices {
            put(buffer, b",\"");
            put(buffer, key.as_bytes());
            put(buffer, b"\":");
            self.price(buffer, *price);
        }
    }
}

/// `true`/`false`.
pub(super) fn put_bool(buffer: &mut Vec<u8>, value: bool) {
    put(buffer, if value { b"true" } else { b"false" });
}

/// How every event begins: its type, its time, that of the engine where it has one, and the symbol.
#[inline]
fn event_head(
    b: &mut Vec<u8>,
    listing: &Listing,
    kind: &str,
    event_ns: u64,
    engine_ns: Option<u64>,
    unit: Unit,
) {
    put(b, b"{\"e\":\"");
    put(b, kind.as_bytes());
    put(b, b"\",\"E\":");
    unit.put(b, event_ns);
    if let Some(engine_ns) = engine_ns {
        put(b, b",\"T\":");
        unit.put(b, engine_ns);
    }
    put(b, b",\"s\":\"");
    put(b, listing.upper.as_bytes());
    b.push(b'"');
}

/// `m`: whether the buyer was the maker.
fn buyer_is_maker(trade: &Trade) -> bool {
    trade.taker == Side::Ask
}

pub(super) fn trade(b: &mut Vec<u8>, listing: &Listing, trade: &Trade, event_ns: u64, unit: Unit) {
    let engine_ns = (listing.product == Product::UsdM).then_some(trade.time_ns);
    event_head(b, listing, "trade", event_ns, engine_ns, unit);
    put(b, b",\"t\":");
    put_u64(b, trade.id);
    put(b, b",\"p\":");
    listing.price(b, trade.price);
    put(b, b",\"q\":");
    listing.qty(b, trade.qty);
    match listing.product {
        Product::Spot => {
            put(b, b",\"T\":");
            unit.put(b, trade.time_ns);
            put(b, b",\"m\":");
            put_bool(b, buyer_is_maker(trade));
            put(b, b",\"M\":true}");
        }
        Product::UsdM => {
            put(b, b",\"X\":\"MARKET\",\"m\":");
            put_bool(b, buyer_is_maker(trade));
            put(b, b"}");
        }
    }
}

/// Fills of one taker order at one price; `fills` is not empty.
pub(super) fn agg_trade(b: &mut Vec<u8>, listing: &Listing, fills: &[Trade], event_ns: u64, unit: Unit) {
    event_head(b, listing, "aggTrade", event_ns, None, unit);
    put(b, b",");
    agg_trade_fields(b, listing, fills, unit);
}

/// The fields that both forms have, and the end of the object.
fn agg_trade_fields(b: &mut Vec<u8>, listing: &Listing, fills: &[Trade], unit: Unit) {
    let (first, last) = (&fills[0], &fills[fills.len() - 1]);
    put(b, b"\"a\":");
    put_u64(b, first.group);
    put(b, b",\"p\":");
    listing.price(b, first.price);
    put(b, b",\"q\":");
    listing.qty(b, fills.iter().map(|fill| fill.qty).sum());
    put(b, b",\"f\":");
    put_u64(b, first.id);
    put(b, b",\"l\":");
    put_u64(b, last.id);
    put(b, b",\"T\":");
    unit.put(b, last.time_ns);
    put(b, b",\"m\":");
    put_bool(b, buyer_is_maker(last));
    if listing.product == Product::Spot {
        put(b, b",\"M\":true");
    }
    put(b, b"}");
}

/// The REST form of [`agg_trade`], without event type and symbol.
pub(super) fn agg_trade_rest(b: &mut Vec<u8>, listing: &Listing, fills: &[Trade], unit: Unit) {
    put(b, b"{");
    agg_trade_fields(b, listing, fills, unit);
}

pub(super) fn trade_rest(b: &mut Vec<u8>, listing: &Listing, trade: &Trade, unit: Unit) {
    put(b, b"{\"id\":");
    put_u64(b, trade.id);
    put(b, b",\"price\":");
    listing.price(b, trade.price);
    put(b, b",\"qty\":");
    listing.qty(b, trade.qty);
    put(b, b",\"quoteQty\":");
    listing.quote(b, i128::from(trade.price) * i128::from(trade.qty));
    put(b, b",\"time\":");
    unit.put(b, trade.time_ns);
    put(b, b",\"isBuyerMaker\":");
    put_bool(b, buyer_is_maker(trade));
    if listing.product == Product::Spot {
        put(b, b",\"isBestMatch\":true");
    }
    put(b, b"}");
}

pub(super) fn book_ticker(
    b: &mut Vec<u8>,
    listing: &Listing,
    update_id: u64,
    top: &Top,
    event_ns: u64,
    unit: Unit,
) {
    put(b, if listing.product == Product::UsdM { b"{\"e\":\"bookTicker\",\"u\":" } else { b"{\"u\":" });
    put_u64(b, update_id);
    put(b, b",\"s\":\"");
    put(b, listing.upper.as_bytes());
    put(b, b"\",\"b\":");
    listing.price(b, top.bid.price);
    put(b, b",\"B\":");
    listing.qty(b, top.bid.qty);
    put(b, b",\"a\":");
    listing.price(b, top.ask.price);
    put(b, b",\"A\":");
    listing.qty(b, top.ask.qty);
    if listing.product == Product::UsdM {
        put(b, b",\"T\":");
        unit.put(b, event_ns);
        put(b, b",\"E\":");
        unit.put(b, event_ns);
    }
    put(b, b"}");
}

/// The numbers and times of one book update.
#[derive(Clone, Copy, Debug)]
pub(super) struct UpdateHead {
    pub event_ns: u64,
    /// Of the last change (USD-M only).
    pub engine_ns: u64,
    pub first_id: u64,
    pub last_id: u64,
    /// `u` of the update before (USD-M only).
    pub previous_id: u64,
}

/// A book update. `changed` holds (side, price) sorted by side and price, each once; quantities are read from `book`.
pub(super) fn depth_update(
    b: &mut Vec<u8>,
    listing: &Listing,
    head: &UpdateHead,
    changed: &[(Side, i64)],
    book: &Book,
    unit: Unit,
) {
    update_head(b, listing, head, unit);
    let asks_at = changed.partition_point(|(side, _)| *side == Side::Bid);
    let (bids, asks) = changed.split_at(asks_at);
    let bid = |(_, price): &(Side, i64)| Level { price: *price, qty: book.bids.qty(*price) };
    let ask = |(_, price): &(Side, i64)| Level { price: *price, qty: book.asks.qty(*price) };
    match listing.product {
        // Spot prints bids from the best on, USD-M from the lowest on.
        Product::Spot => listing.levels(b, bids.iter().rev().map(bid)),
        Product::UsdM => listing.levels(b, bids.iter().map(bid)),
    }
    put(b, b",\"a\":");
    listing.levels(b, asks.iter().map(ask));
    put(b, b"}");
}

fn update_head(b: &mut Vec<u8>, listing: &Listing, head: &UpdateHead, unit: Unit) {
    let engine_ns = (listing.product == Product::UsdM).then_some(head.engine_ns);
    event_head(b, listing, "depthUpdate", head.event_ns, engine_ns, unit);
    put(b, b",\"U\":");
    put_u64(b, head.first_id);
    put(b, b",\"u\":");
    put_u64(b, head.last_id);
    if listing.product == Product::UsdM {
        put(b, b",\"pu\":");
        put_u64(b, head.previous_id);
    }
    put(b, b",\"b\":");
}

/// The best levels of the book.
pub(super) fn partial_depth(
    b: &mut Vec<u8>,
    listing: &Listing,
    head: &UpdateHead,
    book: &Book,
    levels: usize,
    unit: Unit,
) {
    let best = |side: &Levels, b: &mut Vec<u8>| listing.levels(b, side.iter().take(levels));
    match listing.product {
        Product::Spot => {
            put(b, b"{\"lastUpdateId\":");
            put_u64(b, head.last_id);
            put(b, b",\"bids\":");
            best(&book.bids, b);
            put(b, b",\"asks\":");
        }
        Product::UsdM => {
            update_head(b, listing, head, unit);
            best(&book.bids, b);
            put(b, b",\"a\":");
        }
    }
    best(&book.asks, b);
    put(b, b"}");
}

/// The last instant of a bar, in the connection's unit.
fn bar_close(bar: &Bar, interval: usize, unit: Unit) -> u64 {
    (bar.open_s + INTERVALS[interval].1) * (1_000_000_000 / unit.ns()) - 1
}

pub(super) fn kline(
    b: &mut Vec<u8>,
    listing: &Listing,
    bar: &Bar,
    interval: usize,
    closed: bool,
    event_ns: u64,
    unit: Unit,
) {
    event_head(b, listing, "kline", event_ns, None, unit);
    put(b, b",\"k\":{\"t\":");
    unit.put(b, bar.open_s * 1_000_000_000);
    put(b, b",\"T\":");
    put_u64(b, bar_close(bar, interval, unit));
    put(b, b",\"s\":\"");
    put(b, listing.upper.as_bytes());
    put(b, b"\",\"i\":\"");
    put(b, INTERVALS[interval].0.as_bytes());
    put(b, b"\",\"f\":");
    put_i64(b, if bar.count == 0 { -1 } else { bar.first_id as i64 });
    put(b, b",\"L\":");
    put_i64(b, if bar.count == 0 { -1 } else { bar.last_id as i64 });
    listing.prices(b, &[("o", bar.open), ("c", bar.close), ("h", bar.high), ("l", bar.low)]);
    put(b, b",\"v\":");
    listing.volume(b, bar.volume);
    put(b, b",\"n\":");
    put_u64(b, bar.count);
    put(b, b",\"x\":");
    put_bool(b, closed);
    put(b, b",\"q\":");
    listing.quote(b, bar.quote);
    put(b, b",\"V\":");
    listing.volume(b, bar.taker_volume);
    put(b, b",\"Q\":");
    listing.quote(b, bar.taker_quote);
    put(b, b",\"B\":\"0\"}}");
}

/// One bar as a REST row.
pub(super) fn kline_rest(b: &mut Vec<u8>, listing: &Listing, bar: &Bar, interval: usize, unit: Unit) {
    put(b, b"[");
    unit.put(b, bar.open_s * 1_000_000_000);
    for price in [bar.open, bar.high, bar.low, bar.close] {
        put(b, b",");
        listing.price(b, price);
    }
    put(b, b",");
    listing.volume(b, bar.volume);
    put(b, b",");
    put_u64(b, bar_close(bar, interval, unit));
    put(b, b",");
    listing.quote(b, bar.quote);
    put(b, b",");
    put_u64(b, bar.count);
    put(b, b",");
    listing.volume(b, bar.taker_volume);
    put(b, b",");
    listing.quote(b, bar.taker_quote);
    put(b, b",\"0\"]");
}

/// What the 24-hour tickers tell.
pub(super) struct Day<'a> {
    pub total: &'a Bar,
    pub last: Option<&'a Trade>,
    pub top: Top,
}

pub(super) fn ticker(b: &mut Vec<u8>, listing: &Listing, day: &Day<'_>, event_ns: u64, unit: Unit) {
    let total = day.total;
    let change = total.close - total.open;
    event_head(b, listing, "24hrTicker", event_ns, None, unit);
    put(b, b",\"p\":");
    listing.price(b, change);
    put(b, b",\"P\":");
    put_quoted(b, i128::from(change) * 100_000 / i128::from(total.open.max(1)), 3);
    put(b, b",\"w\":");
    // Ticks times lots over lots, with 8 more digits than a tick.
    let vwap = total.quote * i128::from(POW10[8]) / total.volume.max(1) * i128::from(listing.spec.tick);
    put_quoted(b, rescale(vwap, 8 + listing.spec.price_decimals, SPOT_DECIMALS), SPOT_DECIMALS);
    if listing.product == Product::Spot {
        put(b, b",\"x\":");
        listing.price(b, total.open);
    }
    put(b, b",\"c\":");
    listing.price(b, total.close);
    put(b, b",\"Q\":");
    listing.qty(b, day.last.map_or(0, |trade| trade.qty));
    if listing.product == Product::Spot {
        put(b, b",\"b\":");
        listing.price(b, day.top.bid.price);
        put(b, b",\"B\":");
        listing.qty(b, day.top.bid.qty);
        put(b, b",\"a\":");
        listing.price(b, day.top.ask.price);
        put(b, b",\"A\":");
        listing.qty(b, day.top.ask.qty);
    }
    listing.prices(b, &[("o", total.open), ("h", total.high), ("l", total.low)]);
    put(b, b",\"v\":");
    listing.volume(b, total.volume);
    put(b, b",\"q\":");
    listing.quote(b, total.quote);
    put(b, b",\"O\":");
    unit.put(b, event_ns.saturating_sub(86_400_000_000_000));
    put(b, b",\"C\":");
    unit.put(b, event_ns);
    put(b, b",\"F\":");
    put_u64(b, total.first_id);
    put(b, b",\"L\":");
    put_u64(b, total.last_id);
    put(b, b",\"n\":");
    put_u64(b, total.count);
    put(b, b"}");
}

pub(super) fn mini_ticker(b: &mut Vec<u8>, listing: &Listing, total: &Bar, event_ns: u64, unit: Unit) {
    event_head(b, listing, "24hrMiniTicker", event_ns, None, unit);
    listing.prices(b, &[("c", total.close), ("o", total.open), ("h", total.high), ("l", total.low)]);
    put(b, b",\"v\":");
    listing.volume(b, total.volume);
    put(b, b",\"q\":");
    listing.quote(b, total.quote);
    put(b, b"}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(product: Product) -> Listing {
        Listing::new(&InstrumentSpec::new("BTC", "USDT", "64210.50", "0.01", "0.00001").unwrap(), product)
    }

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut buffer = Vec::new();
        write(&mut buffer);
        String::from_utf8(buffer).unwrap()
    }

    const FILL: Trade = Trade {
        id: 7,
        group: 3,
        price: 6_421_051,
        qty: 125,
        taker: Side::Ask,
        time_ns: 1_783_000_000_122_456_000,
    };

    #[test]
    fn a_trade_on_both_products() {
        let event_ns = FILL.time_ns + 1_000_000;
        assert_eq!(
            written(|b| trade(b, &listing(Product::Spot), &FILL, event_ns, Unit::Milliseconds)),
            r#"{"e":"trade","E":1783000000123,"s":"BTCUSDT","t":7,"p":"64210.51000000","q":"0.00125000","T":1783000000122,"m":true,"M":true}"#
        );
        assert_eq!(
            written(|b| trade(b, &listing(Product::UsdM), &FILL, event_ns, Unit::Milliseconds)),
            r#"{"e":"trade","E":1783000000123,"T":1783000000122,"s":"BTCUSDT","t":7,"p":"64210.51","q":"0.00125","X":"MARKET","m":true}"#
        );
    }

    #[test]
    fn times_can_be_microseconds() {
        let text =
            written(|b| agg_trade(b, &listing(Product::Spot), &[FILL], FILL.time_ns, Unit::Microseconds));
        assert_eq!(
            text,
            r#"{"e":"aggTrade","E":1783000000122456,"s":"BTCUSDT","a":3,"p":"64210.51000000","q":"0.00125000","f":7,"l":7,"T":1783000000122456,"m":true,"M":true}"#
        );
    }

    #[test]
    fn an_update_orders_levels_as_the_product_does() {
        let mut book = Book::new(4);
        book.side_mut(Side::Bid).set(100, 5);
        book.side_mut(Side::Ask).set(102, 6);
        let head =
            UpdateHead { event_ns: 2_000_000, engine_ns: 1_000_000, first_id: 4, last_id: 6, previous_id: 3 };
        let changed = [(Side::Bid, 99), (Side::Bid, 100), (Side::Ask, 102)];
        assert_eq!(
            written(|b| depth_update(b, &listing(Product::Spot), &head, &changed, &book, Unit::Milliseconds)),
            r#"{"e":"depthUpdate","E":2,"s":"BTCUSDT","U":4,"u":6,"b":[["1.00000000","0.00005000"],["0.99000000","0.00000000"]],"a":[["1.02000000","0.00006000"]]}"#
        );
        assert_eq!(
            written(|b| depth_update(b, &listing(Product::UsdM), &head, &changed, &book, Unit::Milliseconds)),
            r#"{"e":"depthUpdate","E":2,"T":1,"s":"BTCUSDT","U":4,"u":6,"pu":3,"b":[["0.99","0.00000"],["1.00","0.00005"]],"a":[["1.02","0.00006"]]}"#
        );
    }

    #[test]
    fn an_empty_bar_has_no_trade_ids() {
        let bar = Bar { open_s: 60, open: 100, high: 100, low: 100, close: 100, ..Bar::default() };
        let text = written(|b| {
            kline(b, &listing(Product::Spot), &bar, 1, true, 120_000_000_000, Unit::Milliseconds);
        });
        assert_eq!(
            text,
            r#"{"e":"kline","E":120000,"s":"BTCUSDT","k":{"t":60000,"T":119999,"s":"BTCUSDT","i":"1m","f":-1,"L":-1,"o":"1.00000000","c":"1.00000000","h":"1.00000000","l":"1.00000000","v":"0.00000000","n":0,"x":true,"q":"0.00000000","V":"0.00000000","Q":"0.00000000","B":"0"}}"#
        );
    }
}
