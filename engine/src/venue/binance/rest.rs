//! What Binance is asked for by GET, and what it answers.

use std::fmt::Write as _;

use crate::channel::Channel;
use crate::json::Value;
use crate::raw::{DecodeError, Decoded};
use crate::time::VenueTime;
use crate::venue::RestRequest;

use super::Product;
use super::decode::{bytes, flag, levels, positive_price, positive_qty, refusal, whole};
use super::sink::{Sink, TradeFields};

/// Trades in one answer, at the most. Source: binance-spot-api-docs, rest-api.md, commit a5e0bc3.
const TRADES_MAX: u64 = 1000;

/// The whole list: one answer for all instruments weighs as much as for one.
pub(super) fn instruments_request(product: Product) -> RestRequest {
    if product.is_usdm() {
        // Source: client libraries (2026); no primary source was at hand.
        RestRequest { path: "/fapi/v1/exchangeInfo".to_owned(), weight: 1 }
    } else {
        // Source: binance-spot-api-docs, rest-api.md, commit a5e0bc3.
        RestRequest { path: "/api/v3/exchangeInfo".to_owned(), weight: 20 }
    }
}

/// The facts of one symbol. An unknown one is a 400 with code -1121. USD-M has only the whole list.
pub(super) fn instrument_request(product: Product, venue_symbol: &str) -> Option<RestRequest> {
    if product.is_usdm() {
        return None;
    }
    // Source: binance-spot-api-docs, rest-api.md, commit a5e0bc3.
    Some(RestRequest { path: format!("/api/v3/exchangeInfo?symbol={}", encode(venue_symbol)), weight: 20 })
}

/// The smallest step of the venue's price list that has `depth` levels.
pub(super) fn snapshot_request(product: Product, venue_symbol: &str, depth: usize) -> RestRequest {
    // Limit and weight. Spot: binance-spot-api-docs, rest-api.md, commit a5e0bc3. USD-M takes these limits only (client
    // libraries, 2026); its weights are unconfirmed.
    const SPOT: [(usize, u32); 4] = [(100, 5), (500, 25), (1000, 50), (5000, 250)];
    const USDM: [(usize, u32); 4] = [(50, 2), (100, 5), (500, 10), (1000, 20)];
    let (path, steps) = if product.is_usdm() { ("/fapi/v1/depth", USDM) } else { ("/api/v3/depth", SPOT) };
    let (limit, weight) = steps.into_iter().find(|&(limit, _)| limit >= depth).unwrap_or(steps[3]);
    RestRequest { path: format!("{path}?symbol={}&limit={limit}", encode(venue_symbol)), weight }
}

/// Spot only: USD-M wants a key for it.
pub(super) fn trades_request(
    product: Product,
    venue_symbol: &str,
    from: u64,
    to: u64,
) -> Option<RestRequest> {
    if product.is_usdm() {
        return None;
    }
    let limit = to.saturating_sub(from).saturating_add(1).min(TRADES_MAX);
    let symbol = encode(venue_symbol);
    let path = format!("/api/v3/historicalTrades?symbol={symbol}&fromId={from}&limit={limit}");
    // Source: binance-spot-api-docs, rest-api.md, commit a5e0bc3.
    Some(RestRequest { path, weight: 25 })
}

/// Symbols beyond ASCII are legal (the testnet has one).
fn encode(symbol: &str) -> String {
    let mut text = String::new();
    for byte in symbol.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The inverse of [`encode`]; a `%` that encodes nothing stays.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = (byte == b'%').then(|| after.get(..2)).flatten();
        let hex = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(hex.unwrap_or(byte));
        rest = if hex.is_some() { &after[2..] } else { after };
    }
    bytes
}

/// The symbol that a GET of `path` asks the book of; `None` if it asks for something else.
pub(super) fn snapshot_symbol(path: &str) -> Option<Vec<u8>> {
    let query = path.strip_prefix("/api/v3/depth?").or_else(|| path.strip_prefix("/fapi/v1/depth?"))?;
    query.split('&').find_map(|pair| pair.strip_prefix("symbol=")).map(decoded)
}

/// Decodes the answer to a GET of `path`.
pub(super) fn body(path: &str, root: Value, mut sink: Sink) -> Result<Decoded, DecodeError> {
    if let Some(refused) = refusal(root, None) {
        return Ok(Decoded::Notice(refused));
    }
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let symbol = || {
        let symbol = query.split('&').find_map(|pair| pair.strip_prefix("symbol="));
        symbol.map(decoded).ok_or(DecodeError::Missing { field: "symbol" })
    };
    match path.strip_prefix("/api/v3/").or_else(|| path.strip_prefix("/fapi/v1/")) {
        Some("exchangeInfo") => sink.symbols.take(root, sink.product, sink.directory)?,
        Some("depth") => snapshot(root, &symbol()?, &mut sink)?,
        Some("trades" | "historicalTrades") => trades(root, &symbol()?, &TRADE, &mut sink)?,
        Some("aggTrades") => trades(root, &symbol()?, &AGGREGATE, &mut sink)?,
        _ => return Err(DecodeError::UnknownChannel),
    }
    Ok(Decoded::Data)
}

/// Spot tells no time; USD-M tells `T` (engine) and `E` (sent).
fn snapshot(root: Value, symbol: &[u8], sink: &mut Sink) -> Result<(), DecodeError> {
    let number = whole(root, "lastUpdateId")?;
    let time = root.get("T").or_else(|| root.get("E")).and_then(Value::u64);
    let time = time.map_or(VenueTime::ABSENT, |time| sink.unit.time(time));
    let listing = sink.listing(symbol)?;
    levels(root, "bids", true, listing, sink)?;
    levels(root, "asks", false, listing, sink)?;
    sink.snapshot(listing, None, number, time);
    Ok(())
}

/// Names of the fields of a list of trades.
struct Names {
    channel: Channel,
    id: &'static str,
    price: &'static str,
    qty: &'static str,
    time: &'static str,
    buyer_made: &'static str,
}

const TRADE: Names = Names {
    channel: Channel::Trade,
    id: "id",
    price: "price",
    qty: "qty",
    time: "time",
    buyer_made: "isBuyerMaker",
};

const AGGREGATE: Names =
    Names { channel: Channel::AggTrade, id: "a", price: "p", qty: "q", time: "T", buyer_made: "m" };

fn trades(root: Value, symbol: &[u8], names: &Names, sink: &mut Sink) -> Result<(), DecodeError> {
    let listing = sink.listing(symbol)?;
    let scale = sink.scale(listing);
    for entry in root.items().ok_or(DecodeError::Invalid { field: "trades" })? {
        let fields = TradeFields {
            channel: names.channel,
            id: whole(entry, names.id)?,
            time: sink.unit.time(whole(entry, names.time)?),
            price: positive_price(scale, bytes(entry, names.price)?, names.price)?,
            qty: positive_qty(scale, bytes(entry, names.qty)?, names.qty)?,
            buyer_made: flag(entry, names.buyer_made)?,
            market: true,
        };
        sink.trade(listing, &fields)?;
    }
    Ok(())
}
