//! Public REST of both products: product lists, book snapshots for comparison, and trades to fill holes.
//!
//! No answer carries a number that its book stream has, so a book cannot be joined to it: the snapshot is only compared.

use super::Product;
use super::build::{BookSide, OpenBook, Scales, list, push, taker_side, text, time, whole};
use super::symbols::{Facts, Products, number};
use crate::channel::Channel;
use crate::directory::{Directory, OrderFilters};
use crate::event::{Level, Trade};
use crate::ids::Listing;
use crate::json::Value;
use crate::raw::{Content, DecodeError, Decoded, Numbers, Raw, Scale};
use crate::time::VenueTime;
use crate::venue::RestRequest;

/// Trades in one answer. Source: Exchange REST, "Get product trades", `limit`.
const TRADES_PER_ANSWER_MAX: u64 = 1_000;

/// Where Advanced Trade's public data is.
const ADVANCED: &str = "/api/v3/brokerage/market/";

/// The product list.
pub(super) fn instruments_request(product: Product) -> RestRequest {
    match product {
        Product::Advanced => call(format!("{ADVANCED}products")),
        Product::Exchange => call("/products".to_owned()),
    }
}

/// One product. An unknown one is a 404.
pub(super) fn instrument_request(product: Product, symbol: &str) -> RestRequest {
    match product {
        Product::Advanced => call(format!("{ADVANCED}products/{symbol}")),
        Product::Exchange => call(format!("/products/{symbol}")),
    }
}

/// A book of at least `depth` levels a side. Exchange has one level, or all of them (`level=2`).
pub(super) fn snapshot_request(product: Product, symbol: &str, depth: usize) -> RestRequest {
    match (product, depth) {
        (Product::Advanced, _) => call(format!("{ADVANCED}product_book?product_id={symbol}&limit={depth}")),
        (Product::Exchange, 0 | 1) => call(format!("/products/{symbol}/book?level=1")),
        (Product::Exchange, _) => call(format!("/products/{symbol}/book?level=2")),
    }
}

/// Trades `from..=to`, the oldest first where one answer does not hold all.
///
/// Exchange only: `after` is a trade id, and the answer has what is older. Advanced Trade's
/// `/market/products/{id}/ticker` takes times and no ids, and whose side it prints is not documented.
pub(super) fn trades_request(product: Product, symbol: &str, from: u64, to: u64) -> Option<RestRequest> {
    if product == Product::Advanced || to < from {
        return None;
    }
    let count = (to - from).saturating_add(1).min(TRADES_PER_ANSWER_MAX);
    let after = from.saturating_add(count);
    Some(call(format!("/products/{symbol}/trades?after={after}&limit={count}")))
}

/// Both products count calls.
fn call(path: String) -> RestRequest {
    RestRequest { path, weight: 1 }
}

/// What the answer to a GET of `path` says.
pub(super) fn walk(
    product: Product,
    path: &str,
    root: Value,
    products: &mut Products,
    directory: &mut Directory,
    raw: &mut Raw,
) -> Result<Decoded, DecodeError> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let segments = |path: &str| {
        let (symbol, what) = path.strip_prefix("/products/")?.split_once('/')?;
        Some((symbol.to_owned(), what.to_owned()))
    };
    match product {
        Product::Advanced => match path.strip_prefix(ADVANCED) {
            Some("products") => {
                for row in list(root, "products")? {
                    let id = string(row, "product_id")?;
                    products.tell(directory, id, advanced_facts(row));
                }
                Ok(Decoded::Data)
            }
            Some(one) if one.starts_with("products/") => {
                products.tell(directory, string(root, "product_id")?, advanced_facts(root));
                Ok(Decoded::Data)
            }
            Some("product_book") => {
                let book = root.get("pricebook").ok_or(DecodeError::Missing { field: "pricebook" })?;
                let listing = products
                    .listing_or_alias(directory, text(book, "product_id")?)
                    .ok_or(DecodeError::UnknownSymbol)?;
                walk_book(book, listing, advanced_row, directory, raw)
            }
            _ => Err(DecodeError::UnknownChannel),
        },
        Product::Exchange if path == "/products" => {
            for row in root.items().ok_or(DecodeError::Invalid { field: "products" })? {
                products.tell(directory, string(row, "id")?, exchange_facts(row));
            }
            Ok(Decoded::Data)
        }
        Product::Exchange if segments(path).is_none() && path.starts_with("/products/") => {
            products.tell(directory, string(root, "id")?, exchange_facts(root));
            Ok(Decoded::Data)
        }
        Product::Exchange => {
            let (symbol, what) = segments(path).ok_or(DecodeError::UnknownChannel)?;
            let listing = products.listing(directory, symbol.as_bytes()).ok_or(DecodeError::UnknownSymbol)?;
            match what.as_str() {
                "book" => walk_book(root, listing, exchange_row, directory, raw),
                "trades" => walk_trades(root, listing, directory, raw),
                _ => Err(DecodeError::UnknownChannel),
            }
        }
    }
}

fn string<'a>(row: Value<'a>, field: &'static str) -> Result<&'a str, DecodeError> {
    row.get(field).and_then(Value::str).ok_or(DecodeError::Missing { field })
}

fn flag(row: Value, field: &str) -> bool {
    row.get(field).and_then(Value::bool).unwrap_or(false)
}

fn steps(row: Value, field: &str) -> crate::decimal::Number {
    number(row.get(field).and_then(Value::str))
}

fn advanced_facts(row: Value) -> Facts {
    let tick = match row.get("price_increment") {
        Some(_) => steps(row, "price_increment"),
        None => steps(row, "quote_increment"),
    };
    let closed = ["trading_disabled", "is_disabled", "cancel_only", "view_only"];
    Facts {
        delisted: is_delisted(row),
        trading: row.get("status").and_then(Value::str) == Some("online")
            && !closed.iter().any(|field| flag(row, field)),
        filters: OrderFilters {
            tick,
            lot: steps(row, "base_increment"),
            qty_min: steps(row, "base_min_size"),
            qty_max: steps(row, "base_max_size"),
            notional_min: steps(row, "quote_min_size"),
        },
    }
}

/// Source: Exchange documentation, `status` channel and "Get single product": `online`, `offline`, `internal`, `delisted`.
fn is_delisted(row: Value) -> bool {
    row.get("status").and_then(Value::str) == Some("delisted")
}

fn exchange_facts(row: Value) -> Facts {
    Facts {
        delisted: is_delisted(row),
        trading: row.get("status").and_then(Value::str) == Some("online")
            && !flag(row, "trading_disabled")
            && !flag(row, "cancel_only"),
        filters: OrderFilters {
            tick: steps(row, "quote_increment"),
            lot: steps(row, "base_increment"),
            // Both sizes left the list on 2022-06-30, and `min_market_funds` became the least notional of limit orders too.
            // Source: docs.cdp.coinbase.com, Exchange changelog.
            qty_min: steps(row, "base_min_size"),
            qty_max: steps(row, "base_max_size"),
            notional_min: steps(row, "min_market_funds"),
        },
    }
}

/// Price and quantity of a row of a book.
type Row<'a> = fn(Value<'a>) -> Result<(&'a [u8], &'a [u8]), DecodeError>;

fn advanced_row(row: Value<'_>) -> Result<(&[u8], &[u8]), DecodeError> {
    Ok((text(row, "price")?, text(row, "size")?))
}

fn exchange_row(row: Value<'_>) -> Result<(&[u8], &[u8]), DecodeError> {
    let column = |index, field| row.at(index).and_then(Value::bytes).ok_or(DecodeError::Missing { field });
    Ok((column(0, "price")?, column(1, "size")?))
}

fn walk_book<'a>(
    root: Value<'a>,
    listing: Listing,
    row_of: Row<'a>,
    directory: &mut Directory,
    raw: &mut Raw,
) -> Result<Decoded, DecodeError> {
    let venue_time = match root.get("time") {
        Some(_) => time(root, "time")?,
        None => VenueTime::ABSENT,
    };
    let Some(book) = OpenBook::new(directory, listing, true, raw) else { return Ok(Decoded::Data) };
    let mut scales = Scales::default();
    for (side, field) in [(BookSide::Bid, "bids"), (BookSide::Ask, "asks")] {
        for row in list(root, field)? {
            let (price, qty) = row_of(row)?;
            let price = scales.price(book.scale, price, "price")?;
            let qty = scales.qty(book.scale, qty, "size")?;
            side.of(raw).push(Level { price, qty });
        }
    }
    scales.finish()?;
    book.close(raw, Numbers::NONE, venue_time)?;
    Ok(Decoded::Data)
}

/// The answer has the newest first; the messages have the oldest first. `side` is the maker's here too.
///
/// Source: Exchange REST, "Get product trades": "The trade side indicates the maker order side".
fn walk_trades(
    root: Value,
    listing: Listing,
    directory: &mut Directory,
    raw: &mut Raw,
) -> Result<Decoded, DecodeError> {
    let rows = root.items().ok_or(DecodeError::Invalid { field: "trades" })?;
    let Some(stream) = directory.carried(listing, Channel::Trade) else { return Ok(Decoded::Data) };
    let (scale, mut scales) = (Scale::of(directory, listing), Scales::default());
    for row in rows {
        let id = whole(row, "trade_id")?;
        let price = scales.price(scale, text(row, "price")?, "price")?;
        let qty = scales.qty(scale, text(row, "size")?, "size")?;
        let taker_side = taker_side(text(row, "side")?).ok_or(DecodeError::Invalid { field: "side" })?;
        let trade = Trade { price, qty, id, taker_side };
        let (decimals, numbers) = (scale.decimals(), Numbers::single(id));
        push(raw, listing, stream, decimals, numbers, time(row, "time")?, Content::Trade(trade))?;
    }
    scales.finish()?;
    raw.messages.sort_unstable_by_key(|message| message.numbers.first);
    Ok(Decoded::Data)
}
