//! The JSON of both products, written by hand into reused buffers.
//!
//! Source of the fields: docs.cdp.coinbase.com, pages of June to August 2026. The order of keys, and where zeros at the
//! end are left out, follow recordings: Advanced Trade of 2026-08-24 and 2024-10-04, Exchange of 2026-07-04 (books) and
//! 2021-04-17 (matches and tickers).

use crate::instruments::InstrumentSpec;
use crate::market::{Bar, Book, Level, Side, Top, Trade};
use crate::scale::Scale;
use crate::text::{
    put, put_date, put_fixed, put_i64, put_list, put_rfc3339, put_signed, put_time, put_trimmed, put_u64,
};

/// Digits of a quantity in the books of the Exchange feed.
const QTY_DECIMALS: usize = 8;

/// One product as the venue prints it.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    /// `BTC-USD`.
    pub id: String,
    pub spec: InstrumentSpec,
    pub scale: Scale,
}

impl Listing {
    pub(super) fn new(spec: &InstrumentSpec) -> Self {
        Self {
            id: spec.symbol(),
            scale: Scale::new(spec, spec.price_decimals, QTY_DECIMALS),
            spec: spec.clone(),
        }
    }

    /// In quotes, without zeros at the end.
    #[inline]
    pub(super) fn price(&self, b: &mut Vec<u8>, ticks: i64) {
        b.push(b'"');
        put_trimmed(b, i128::from(self.scale.price(ticks)), self.scale.price_decimals);
        b.push(b'"');
    }

    /// In quotes, without zeros at the end.
    #[inline]
    pub(super) fn qty(&self, b: &mut Vec<u8>, lots: i64) {
        b.push(b'"');
        put_trimmed(b, i128::from(self.scale.qty(lots)), self.scale.qty_decimals);
        b.push(b'"');
    }

    /// In quotes, with the digits of the price step.
    #[inline]
    pub(super) fn price_padded(&self, b: &mut Vec<u8>, ticks: i64) {
        b.push(b'"');
        put_signed(b, i128::from(self.scale.price(ticks)), self.scale.price_decimals);
        b.push(b'"');
    }

    /// In quotes, with eight digits after the point.
    #[inline]
    pub(super) fn qty_padded(&self, b: &mut Vec<u8>, lots: i64) {
        self.volume(b, i128::from(lots));
    }

    /// A sum of lots, in quotes, with eight digits after the point.
    pub(super) fn volume(&self, b: &mut Vec<u8>, lots: i128) {
        b.push(b'"');
        put_signed(b, self.scale.volume(lots), self.scale.qty_decimals);
        b.push(b'"');
    }

    pub(super) fn put_id(&self, b: &mut Vec<u8>) {
        b.push(b'"');
        put(b, self.id.as_bytes());
        b.push(b'"');
    }
}

/// A time in quotes, in nanoseconds without zeros at the end, as the venue's programs print it.
pub(super) fn put_ns(b: &mut Vec<u8>, time_ns: u64) {
    b.push(b'"');
    put_rfc3339(b, time_ns, 9);
    b.pop();
    while b.last() == Some(&b'0') {
        b.pop();
    }
    if b.last() == Some(&b'.') {
        b.pop();
    }
    put(b, b"Z\"");
}

/// A time in quotes, in microseconds.
pub(super) fn put_us(b: &mut Vec<u8>, time_ns: u64) {
    b.push(b'"');
    put_rfc3339(b, time_ns, 6);
    b.push(b'"');
}

/// A time of the engine: microseconds, without zeros at the end.
fn put_engine(b: &mut Vec<u8>, time_ns: u64) {
    put_ns(b, time_ns / 1000 * 1000);
}

/// What a ticker is made of.
pub(super) struct Day<'a> {
    /// Everything since the start.
    pub total: &'a Bar,
    pub last: &'a Trade,
    pub top: Top,
}

/// Advanced Trade: `events` of the channel `l2_data`, bids first.
pub(super) fn level2(
    b: &mut Vec<u8>,
    listing: &Listing,
    kind: &str,
    rows: impl Iterator<Item = (Side, Level)>,
    engine_ns: u64,
) {
    put(b, b"[{\"type\":\"");
    put(b, kind.as_bytes());
    put(b, b"\",\"product_id\":");
    listing.put_id(b);
    put(b, b",\"updates\":");
    put_list(b, rows, |b, (side, level)| {
        put(b, if side == Side::Bid { b"{\"side\":\"bid\"" } else { b"{\"side\":\"offer\"" });
        put(b, b",\"event_time\":");
        put_engine(b, engine_ns);
        put(b, b",\"price_level\":");
        listing.price(b, level.price);
        put(b, b",\"new_quantity\":");
        listing.qty(b, level.qty);
        b.push(b'}');
    });
    put(b, b"}]");
}

/// Both sides, bids first, each from the best on.
pub(super) fn rows(book: &Book) -> impl Iterator<Item = (Side, Level)> + '_ {
    let bids = book.bids.iter().map(|level| (Side::Bid, level));
    bids.chain(book.asks.iter().map(|level| (Side::Ask, level)))
}

/// The side of the maker, which both products print.
fn maker_is_buyer(trade: &Trade) -> bool {
    trade.taker == Side::Ask
}

fn advanced_trade(b: &mut Vec<u8>, listing: &Listing, trade: &Trade) {
    put(b, b"{\"product_id\":");
    listing.put_id(b);
    put(b, b",\"trade_id\":\"");
    put_u64(b, trade.id);
    put(b, b"\",\"price\":");
    listing.price(b, trade.price);
    put(b, b",\"size\":");
    listing.qty(b, trade.qty);
    put(b, b",\"time\":");
    put_engine(b, trade.time_ns);
    put(b, if maker_is_buyer(trade) { b",\"side\":\"BUY\"}" } else { b",\"side\":\"SELL\"}" });
}

/// Advanced Trade: a list of trades, which are given newest first.
pub(super) fn advanced_trades<'a>(
    b: &mut Vec<u8>,
    listing: &Listing,
    trades: impl Iterator<Item = &'a Trade>,
) {
    put_list(b, trades, |b, trade| advanced_trade(b, listing, trade));
}

/// Advanced Trade: `events` of the channels `ticker` and, without the best prices, `ticker_batch`.
pub(super) fn advanced_ticker(b: &mut Vec<u8>, listing: &Listing, kind: &str, day: &Day<'_>, best: bool) {
    let total = day.total;
    put(b, b"[{\"type\":\"");
    put(b, kind.as_bytes());
    put(b, b"\",\"tickers\":[{\"type\":\"ticker\",\"product_id\":");
    listing.put_id(b);
    put(b, b",\"price\":");
    listing.price(b, day.last.price);
    put(b, b",\"volume_24_h\":");
    listing.volume(b, total.volume);
    for (name, price) in [
        (&b",\"low_24_h\":"[..], total.low),
        (b",\"high_24_h\":", total.high),
        (b",\"low_52_w\":", total.low),
        (b",\"high_52_w\":", total.high),
    ] {
        put(b, name);
        listing.price(b, price);
    }
    put(b, b",\"price_percent_chg_24_h\":\"");
    let change = i128::from(total.close - total.open) * 10_000_000_000 / i128::from(total.open.max(1));
    put_trimmed(b, change, 8);
    b.push(b'"');
    if best {
        put(b, b",\"best_bid\":");
        listing.price(b, day.top.bid.price);
        put(b, b",\"best_bid_quantity\":");
        listing.qty(b, day.top.bid.qty);
        put(b, b",\"best_ask\":");
        listing.price(b, day.top.ask.price);
        put(b, b",\"best_ask_quantity\":");
        listing.qty(b, day.top.ask.qty);
    }
    put(b, b"}]}]");
}

/// Advanced Trade: `events` of the channel `candles`.
pub(super) fn candles<'a>(
    b: &mut Vec<u8>,
    listing: &Listing,
    kind: &str,
    bars: impl Iterator<Item = &'a Bar>,
) {
    put(b, b"[{\"type\":\"");
    put(b, kind.as_bytes());
    put(b, b"\",\"candles\":");
    put_list(b, bars, |b, bar| {
        put(b, b"{\"start\":\"");
        put_u64(b, bar.open_s);
        b.push(b'"');
        for (name, price) in [
            (&b",\"high\":"[..], bar.high),
            (b",\"low\":", bar.low),
            (b",\"open\":", bar.open),
            (b",\"close\":", bar.close),
        ] {
            put(b, name);
            listing.price(b, price);
        }
        put(b, b",\"volume\":");
        listing.volume(b, bar.volume);
        put(b, b",\"product_id\":");
        listing.put_id(b);
        b.push(b'}');
    });
    put(b, b"}]");
}

/// Advanced Trade: `events` of the channel `status`.
pub(super) fn status<'a>(b: &mut Vec<u8>, listings: impl Iterator<Item = &'a Listing>) {
    put(b, b"[{\"type\":\"snapshot\",\"products\":");
    put_list(b, listings, |b, listing| {
        let spec = &listing.spec;
        let InstrumentSpec { base, quote, .. } = spec;
        let head = format!(
            "{{\"product_type\":\"SPOT\",\"id\":\"{}\",\"base_currency\":\"{base}\",\"quote_currency\":\"{quote}\"",
            listing.id
        );
        put(b, head.as_bytes());
        put_steps(b, spec);
        put(b, format!(",\"display_name\":\"{base}/{quote}\",\"status\":\"online\"").as_bytes());
        put(b, b",\"status_message\":\"\",\"min_market_funds\":\"1\"}");
    });
    put(b, b"}]");
}

/// `,"base_increment":"0.001","quote_increment":"0.01"`.
pub(super) fn put_steps(b: &mut Vec<u8>, spec: &InstrumentSpec) {
    put(b, b",\"base_increment\":\"");
    put_fixed(b, u128::from(spec.lot.unsigned_abs()), spec.qty_decimals);
    put(b, b"\",\"quote_increment\":\"");
    put_fixed(b, u128::from(spec.tick.unsigned_abs()), spec.price_decimals);
    b.push(b'"');
}

/// Advanced Trade: `events` of the channel `heartbeats`. Its time is not RFC 3339.
pub(super) fn heartbeats(b: &mut Vec<u8>, counter: u64, time_ns: u64) {
    put(b, b"[{\"current_time\":\"");
    put_date(b, time_ns);
    b.push(b' ');
    put_time(b, time_ns);
    b.push(b'.');
    let fraction = time_ns % 1_000_000_000;
    put(b, format!("{fraction:09} +0000 UTC m=+{counter}.{fraction:09}").as_bytes());
    put(b, b"\",\"heartbeat_counter\":");
    put_u64(b, counter);
    put(b, b"}]");
}

/// Exchange: the first message of a book.
pub(super) fn snapshot(b: &mut Vec<u8>, listing: &Listing, book: &Book, time_ns: u64) {
    let level = |b: &mut Vec<u8>, level: Level| {
        b.push(b'[');
        listing.price_padded(b, level.price);
        b.push(b',');
        listing.qty_padded(b, level.qty);
        b.push(b']');
    };
    put(b, b"{\"type\":\"snapshot\",\"product_id\":");
    listing.put_id(b);
    put(b, b",\"asks\":");
    put_list(b, book.asks.iter(), level);
    put(b, b",\"bids\":");
    put_list(b, book.bids.iter(), level);
    put(b, b",\"time\":");
    put_us(b, time_ns);
    b.push(b'}');
}

/// Exchange: changes of a book, bids first.
pub(super) fn l2update(
    b: &mut Vec<u8>,
    listing: &Listing,
    rows: impl Iterator<Item = (Side, Level)>,
    time_ns: u64,
) {
    put(b, b"{\"type\":\"l2update\",\"product_id\":");
    listing.put_id(b);
    put(b, b",\"changes\":");
    put_list(b, rows, |b, (side, level)| {
        put(b, if side == Side::Bid { b"[\"buy\"," } else { b"[\"sell\"," });
        listing.price_padded(b, level.price);
        b.push(b',');
        listing.qty_padded(b, level.qty);
        b.push(b']');
    });
    put(b, b",\"time\":");
    put_us(b, time_ns);
    b.push(b'}');
}

/// An order id made of a number.
fn put_order(b: &mut Vec<u8>, number: u64) {
    let high = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let low = high.rotate_left(29) ^ number;
    let text = format!(
        "\"{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}\"",
        high >> 32,
        high >> 16 & 0xFFFF,
        high & 0xFFF,
        low >> 52,
        low & 0xFFFF_FFFF_FFFF
    );
    put(b, text.as_bytes());
}

/// Exchange: a fill; `kind` is `match` or `last_match`.
pub(super) fn matched(b: &mut Vec<u8>, listing: &Listing, kind: &str, trade: &Trade, sequence: u64) {
    put(b, b"{\"type\":\"");
    put(b, kind.as_bytes());
    put(b, b"\",\"trade_id\":");
    put_u64(b, trade.id);
    put(b, b",\"maker_order_id\":");
    put_order(b, trade.id);
    put(b, b",\"taker_order_id\":");
    put_order(b, trade.group);
    put(b, if maker_is_buyer(trade) { b",\"side\":\"buy\"" } else { b",\"side\":\"sell\"" });
    put(b, b",\"size\":");
    listing.qty(b, trade.qty);
    put(b, b",\"price\":");
    listing.price(b, trade.price);
    put(b, b",\"product_id\":");
    listing.put_id(b);
    put(b, b",\"sequence\":");
    put_u64(b, sequence);
    put(b, b",\"time\":");
    put_us(b, trade.time_ns);
    b.push(b'}');
}

/// Exchange: a ticker. Its side is the taker's, unlike that of a match.
pub(super) fn ticker(b: &mut Vec<u8>, listing: &Listing, day: &Day<'_>, sequence: u64) {
    let (total, last) = (day.total, day.last);
    put(b, b"{\"type\":\"ticker\",\"sequence\":");
    put_u64(b, sequence);
    put(b, b",\"product_id\":");
    listing.put_id(b);
    put(b, b",\"price\":");
    listing.price(b, last.price);
    put(b, b",\"open_24h\":");
    listing.price(b, total.open);
    put(b, b",\"volume_24h\":");
    listing.volume(b, total.volume);
    put(b, b",\"low_24h\":");
    listing.price(b, total.low);
    put(b, b",\"high_24h\":");
    listing.price(b, total.high);
    put(b, b",\"volume_30d\":");
    listing.volume(b, total.volume);
    put(b, b",\"best_bid\":");
    listing.price_padded(b, day.top.bid.price);
    put(b, b",\"best_bid_size\":");
    listing.qty_padded(b, day.top.bid.qty);
    put(b, b",\"best_ask\":");
    listing.price_padded(b, day.top.ask.price);
    put(b, b",\"best_ask_size\":");
    listing.qty_padded(b, day.top.ask.qty);
    put(b, if maker_is_buyer(last) { b",\"side\":\"sell\"" } else { b",\"side\":\"buy\"" });
    put(b, b",\"time\":");
    put_us(b, last.time_ns);
    put(b, b",\"trade_id\":");
    put_u64(b, last.id);
    put(b, b",\"last_size\":");
    listing.qty(b, last.qty);
    b.push(b'}');
}

/// Exchange: the heartbeat of a product.
pub(super) fn heartbeat(b: &mut Vec<u8>, listing: &Listing, last_trade: u64, sequence: u64, time_ns: u64) {
    put(b, b"{\"type\":\"heartbeat\",\"last_trade_id\":");
    put_i64(b, last_trade as i64);
    put(b, b",\"product_id\":");
    listing.put_id(b);
    put(b, b",\"sequence\":");
    put_u64(b, sequence);
    put(b, b",\"time\":");
    put_us(b, time_ns);
    b.push(b'}');
}
