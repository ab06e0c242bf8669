//! The venue's JSON, written by hand into reused buffers.
//!
//! Source of the fields: docs.kraken.com, pages of 2026-05-27. The order of keys, and that numbers carry all digits of
//! the pair's precision, follow recordings of August 2026 (book) and May 2024 (the other channels).

use super::checksum::crc32;
use crate::instruments::InstrumentSpec;
use crate::market::{Bar, Level, Top, Trade};
use crate::scale::Scale;
use crate::text::{POW10, put, put_fixed, put_list, put_rfc3339, put_signed, put_u64, rescale};

/// `qty_precision`, unless volumes get too large for it.
const QTY_DECIMALS: usize = 8;
/// What may be traded of a pair in a day, in units of its quote: some five times what the market of the default rate does.
const DAY_QUOTE_MAX: i128 = 10_000_000_000;

/// Digits behind the point of a pair's quantities: as many as a day's volume can have in 64 bits.
fn qty_decimals(spec: &InstrumentSpec) -> usize {
    let price = i128::from(spec.price_ticks * spec.tick);
    let volume_max = DAY_QUOTE_MAX * i128::from(POW10[spec.price_decimals]) / price.max(1);
    let fits = |decimals: &usize| volume_max * i128::from(POW10[*decimals]) <= i128::from(i64::MAX);
    let most = (spec.qty_decimals..=QTY_DECIMALS).rev().find(fits);
    most.unwrap_or(spec.qty_decimals)
}
/// Levels a side that the checksum covers, whatever the depth of the subscription.
pub(super) const CHECKSUM_LEVELS: usize = 10;

/// One pair as the venue prints it.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    /// `BTC/USD`, WebSocket v2.
    pub symbol: String,
    /// `XXBTZUSD`: the key in answers of REST.
    pub key: String,
    /// `XBTUSD`.
    pub altname: String,
    /// `XBT/USD`: the name of WebSocket v1, still printed by REST.
    pub wsname: String,
    /// `XXBT`.
    pub base: String,
    /// `ZUSD`.
    pub quote: String,
    pub spec: InstrumentSpec,
    pub scale: Scale,
}

impl Listing {
    pub(super) fn new(spec: &InstrumentSpec) -> Self {
        let (base, quote) = (asset(&spec.base), asset(&spec.quote));
        let altname = format!("{}{}", base.alternative, quote.alternative);
        // Pairs of two old assets are keyed by their long names, except Dogecoin's.
        let old = base.code.len() == 4 && quote.code.len() == 4 && base.old && quote.old;
        let key =
            if old && spec.base != "DOGE" { format!("{}{}", base.code, quote.code) } else { altname.clone() };
        Self {
            symbol: format!("{}/{}", spec.base, spec.quote),
            key,
            wsname: format!("{}/{}", base.alternative, quote.alternative),
            altname,
            base: base.code,
            quote: quote.code,
            scale: Scale::new(spec, spec.price_decimals, qty_decimals(spec)),
            spec: spec.clone(),
        }
    }

    #[inline]
    pub(super) fn price(&self, b: &mut Vec<u8>, ticks: i64) {
        put_signed(b, i128::from(self.scale.price(ticks)), self.scale.price_decimals);
    }

    #[inline]
    pub(super) fn qty(&self, b: &mut Vec<u8>, lots: i64) {
        put_signed(b, i128::from(self.scale.qty(lots)), self.scale.qty_decimals);
    }

    /// A sum of lots.
    pub(super) fn volume(&self, b: &mut Vec<u8>, lots: i128) {
        put_signed(b, self.scale.volume(lots), self.scale.qty_decimals);
    }

    /// The price with another number of digits, cut off if there are fewer.
    pub(super) fn price_rescaled(&self, b: &mut Vec<u8>, ticks: i64, decimals: usize) {
        let price = i128::from(self.scale.price(ticks));
        put_signed(b, rescale(price, self.scale.price_decimals, decimals), decimals);
    }

    /// The quantity with another number of digits, cut off if there are fewer.
    pub(super) fn qty_rescaled(&self, b: &mut Vec<u8>, lots: i64, decimals: usize) {
        put_signed(b, rescale(i128::from(self.scale.qty(lots)), self.scale.qty_decimals, decimals), decimals);
    }

    /// The checksum of the best ten levels a side: asks from the best on, then bids; of each level the digits of price
    /// and quantity at full precision, without point and without zeros in front.
    ///
    /// Source: docs.kraken.com, guide "Spot WebSocket book checksum (v2)", page of 2026-05-27.
    pub(super) fn checksum(
        &self,
        bids: impl Iterator<Item = Level>,
        asks: impl Iterator<Item = Level>,
        scratch: &mut Vec<u8>,
    ) -> u32 {
        scratch.clear();
        for level in asks.take(CHECKSUM_LEVELS).chain(bids.take(CHECKSUM_LEVELS)) {
            // An integer is printed without a point and without zeros in front.
            put_u64(scratch, self.scale.price(level.price).unsigned_abs());
            put_u64(scratch, self.scale.qty(level.qty).unsigned_abs());
        }
        crc32(scratch)
    }

    fn levels(&self, b: &mut Vec<u8>, levels: impl Iterator<Item = Level>) {
        put_list(b, levels, |b, level| {
            put(b, b"{\"price\":");
            self.price(b, level.price);
            put(b, b",\"qty\":");
            self.qty(b, level.qty);
            b.push(b'}');
        });
    }
}

struct Asset {
    /// `XXBT`.
    code: String,
    /// `XBT`.
    alternative: String,
    old: bool,
}

/// Old assets have four letters with X (crypto) or Z (money) in front; two have names of their own.
///
/// Source: docs.kraken.com, `AssetPairs` and `Assets`; a recording of 2021-04-17.
fn asset(name: &str) -> Asset {
    let alternative = match name {
        "BTC" => "XBT",
        "DOGE" => "XDG",
        other => other,
    };
    let code = match name {
        "BTC" | "DOGE" | "ETH" | "ETC" | "LTC" | "XRP" | "XLM" | "ZEC" | "XMR" | "REP" | "MLN" => {
            format!("X{alternative}")
        }
        "USD" | "EUR" | "GBP" | "CAD" | "JPY" | "AUD" => format!("Z{alternative}"),
        other => other.to_owned(),
    };
    Asset { old: code != alternative, alternative: alternative.to_owned(), code }
}

/// Times of the data: microseconds.
pub(super) fn put_us(b: &mut Vec<u8>, time_ns: u64) {
    b.push(b'"');
    put_rfc3339(b, time_ns, 6);
    b.push(b'"');
}

fn put_ns(b: &mut Vec<u8>, time_ns: u64) {
    b.push(b'"');
    put_rfc3339(b, time_ns, 9);
    b.push(b'"');
}

/// A book message; `kind` is `snapshot` or `update`. A level with quantity 0 is a removal.
pub(super) fn book(
    b: &mut Vec<u8>,
    listing: &Listing,
    kind: &str,
    bids: impl Iterator<Item = Level>,
    asks: impl Iterator<Item = Level>,
    checksum: u32,
    time_ns: u64,
) {
    put(b, b"{\"channel\":\"book\",\"type\":\"");
    put(b, kind.as_bytes());
    put(b, b"\",\"data\":[{\"symbol\":\"");
    put(b, listing.symbol.as_bytes());
    put(b, b"\",\"bids\":");
    listing.levels(b, bids);
    put(b, b",\"asks\":");
    listing.levels(b, asks);
    put(b, b",\"checksum\":");
    put_u64(b, u64::from(checksum));
    put(b, b",\"timestamp\":");
    put_us(b, time_ns);
    put(b, b"}]}");
}

/// `trades` is oldest first and not empty.
pub(super) fn trades<'a>(
    b: &mut Vec<u8>,
    listing: &Listing,
    kind: &str,
    trades: impl Iterator<Item = &'a Trade>,
) {
    put(b, b"{\"channel\":\"trade\",\"type\":\"");
    put(b, kind.as_bytes());
    put(b, b"\",\"data\":");
    put_list(b, trades, |b, trade| {
        put(b, b"{\"symbol\":\"");
        put(b, listing.symbol.as_bytes());
        put(b, b"\",\"side\":\"");
        put(b, side(trade));
        put(b, b"\",\"price\":");
        listing.price(b, trade.price);
        put(b, b",\"qty\":");
        listing.qty(b, trade.qty);
        put(b, b",\"ord_type\":\"");
        put(b, order_type(trade));
        put(b, b"\",\"trade_id\":");
        put_u64(b, trade.id);
        put(b, b",\"timestamp\":");
        put_us(b, trade.time_ns);
        b.push(b'}');
    });
    b.push(b'}');
}

/// The taker's side.
fn side(trade: &Trade) -> &'static [u8] {
    if trade.taker == crate::market::Side::Bid { b"buy" } else { b"sell" }
}

/// The market knows no order types; one taker order has one.
pub(super) fn order_type(trade: &Trade) -> &'static [u8] {
    if trade.group.is_multiple_of(3) { b"market" } else { b"limit" }
}

/// What a ticker is made of.
pub(super) struct Day<'a> {
    /// Everything since the start.
    pub total: &'a Bar,
    pub top: Top,
}

/// A ticker message; `kind` is `snapshot` or `update`.
pub(super) fn ticker(b: &mut Vec<u8>, listing: &Listing, kind: &str, day: &Day<'_>, time_ns: u64) {
    let total = day.total;
    put(b, b"{\"channel\":\"ticker\",\"type\":\"");
    put(b, kind.as_bytes());
    put(b, b"\",\"data\":[{\"symbol\":\"");
    put(b, listing.symbol.as_bytes());
    put(b, b"\",\"bid\":");
    listing.price(b, day.top.bid.price);
    put(b, b",\"bid_qty\":");
    listing.qty(b, day.top.bid.qty);
    put(b, b",\"ask\":");
    listing.price(b, day.top.ask.price);
    put(b, b",\"ask_qty\":");
    listing.qty(b, day.top.ask.qty);
    put(b, b",\"last\":");
    listing.price(b, total.close);
    put(b, b",\"volume\":");
    listing.volume(b, total.volume);
    put(b, b",\"vwap\":");
    vwap(b, listing, total);
    put(b, b",\"low\":");
    listing.price(b, total.low);
    put(b, b",\"high\":");
    listing.price(b, total.high);
    put(b, b",\"change\":");
    listing.price(b, total.close - total.open);
    put(b, b",\"change_pct\":");
    put_signed(b, i128::from(total.close - total.open) * 10_000 / i128::from(total.open.max(1)), 2);
    put(b, b",\"timestamp\":");
    put_us(b, time_ns);
    put(b, b"}]}");
}

/// The average price, with the price's digits.
pub(super) fn vwap(b: &mut Vec<u8>, listing: &Listing, bar: &Bar) {
    let ticks = if bar.volume == 0 { i128::from(bar.close) } else { bar.quote / bar.volume };
    put_signed(b, ticks * i128::from(listing.spec.tick), listing.scale.price_decimals);
}

/// A message with bars of so many minutes, oldest first.
pub(super) fn ohlc<'a>(
    b: &mut Vec<u8>,
    listing: &Listing,
    kind: &str,
    minutes: u64,
    bars: impl Iterator<Item = &'a Bar>,
    time_ns: u64,
) {
    put(b, b"{\"channel\":\"ohlc\",\"type\":\"");
    put(b, kind.as_bytes());
    put(b, b"\",\"timestamp\":");
    put_ns(b, time_ns);
    put(b, b",\"data\":");
    put_list(b, bars, |b, bar| {
        put(b, b"{\"symbol\":\"");
        put(b, listing.symbol.as_bytes());
        for (name, price) in [
            (&b"\",\"open\":"[..], bar.open),
            (b",\"high\":", bar.high),
            (b",\"low\":", bar.low),
            (b",\"close\":", bar.close),
        ] {
            put(b, name);
            listing.price(b, price);
        }
        put(b, b",\"trades\":");
        put_u64(b, bar.count);
        put(b, b",\"volume\":");
        listing.volume(b, bar.volume);
        put(b, b",\"vwap\":");
        vwap(b, listing, bar);
        put(b, b",\"interval_begin\":");
        put_ns(b, bar.open_s * 1_000_000_000);
        put(b, b",\"interval\":");
        put_u64(b, minutes);
        put(b, b",\"timestamp\":");
        put_us(b, (bar.open_s + minutes * 60) * 1_000_000_000);
        b.push(b'}');
    });
    b.push(b'}');
}

/// An increment: small ones in exponent notation, as the venue prints them (`1e-08`).
///
/// Source: the example of the instrument channel, docs.kraken.com, page of 2026-05-27. A recording of 2024 has
/// `0.00000001`; clients must read both.
fn increment(b: &mut Vec<u8>, mantissa: i64, decimals: usize) {
    if mantissa == 1 && decimals > 4 {
        put(b, b"1e-0");
        put_u64(b, decimals as u64);
    } else {
        put_fixed(b, u128::from(mantissa.unsigned_abs()), decimals);
    }
}

/// The snapshot of the instrument channel; its `data` is an object.
pub(super) fn instruments(b: &mut Vec<u8>, kind: &str, status: &str, listings: &[Listing]) {
    put(b, b"{\"channel\":\"instrument\",\"type\":\"");
    put(b, kind.as_bytes());
    put(b, b"\",\"data\":{\"assets\":");
    let mut assets: Vec<&str> =
        listings.iter().flat_map(|it| [it.spec.quote.as_str(), it.spec.base.as_str()]).collect();
    assets.sort_unstable();
    assets.dedup();
    put_list(b, assets.iter(), |b, asset| {
        put(b, b"{\"id\":\"");
        put(b, asset.as_bytes());
        put(b, b"\",\"status\":\"enabled\",\"precision\":10,\"precision_display\":5,\"borrowable\":true,");
        put(b, b"\"collateral_value\":1.00,\"margin_rate\":0.020000}");
    });
    put(b, b",\"pairs\":");
    put_list(b, listings.iter(), |b, listing| {
        let spec = &listing.spec;
        put(b, b"{\"symbol\":\"");
        put(b, listing.symbol.as_bytes());
        put(b, b"\",\"base\":\"");
        put(b, spec.base.as_bytes());
        put(b, b"\",\"quote\":\"");
        put(b, spec.quote.as_bytes());
        put(b, b"\",\"status\":\"");
        put(b, status.as_bytes());
        put(b, b"\",\"qty_precision\":");
        put_u64(b, listing.scale.qty_decimals as u64);
        put(b, b",\"qty_increment\":");
        increment(b, 1, listing.scale.qty_decimals);
        put(b, b",\"price_precision\":");
        put_u64(b, listing.scale.price_decimals as u64);
        put(
            b,
            b",\"cost_precision\":5,\"marginable\":true,\"has_index\":true,\"cost_min\":0.50,\"tick_size\":",
        );
        increment(b, spec.tick, spec.price_decimals);
        put(b, b",\"price_increment\":");
        increment(b, spec.tick, spec.price_decimals);
        put(b, b",\"qty_min\":");
        listing.qty(b, 1);
        b.push(b'}');
    });
    put(b, b"}}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instruments::default_instruments;

    #[test]
    fn a_days_volume_of_every_pair_fits_64_bits_and_lots_keep_their_digits() {
        for spec in default_instruments("USD") {
            let decimals = qty_decimals(&spec);
            let price = spec.price_ticks as f64 * spec.tick as f64 / POW10[spec.price_decimals] as f64;
            let mantissa = DAY_QUOTE_MAX as f64 / price * POW10[decimals] as f64;
            assert!(mantissa < i64::MAX as f64, "{}: {decimals} digits, {mantissa:e}", spec.base);
            assert!(decimals >= spec.qty_decimals, "{}", spec.base);
            let expected = match spec.base.as_str() {
                "BTC" | "ETH" | "XRP" | "DOGE" => 8,
                "VET" | "GALA" => 7,
                "PEPE" => 3,
                _ => continue,
            };
            assert_eq!(decimals, expected, "{}", spec.base);
        }
    }
}
