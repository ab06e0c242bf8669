//! The Exchange feed: its frames to our messages, twice, as in [`super::advanced`].
//!
//! Book frames carry no number, so nothing proves a book but its sides not crossing. Matches and tickers carry the
//! product's sequence, which skips all that those channels do not show.

use super::build::{BookSide, OpenBook, Scales, list, optional, push, taker_side, text, time, whole};
use super::symbols::Products;
use super::{Product, Progress, Scanned, subscribe};
use crate::channel::Channel;
use crate::directory::Directory;
use crate::event::{Level, Ticker, TickerFields, Trade};
use crate::ids::StreamId;
use crate::json::Value;
use crate::raw::{Content, DecodeError, Decoded, Notice, Numbers, Raw, Scale};
use crate::rfc3339;
use crate::scan::Scanner;
use crate::time::VenueTime;
use crate::venue::Head;

// --- scanner --------------------------------------------------------------------------------------------------------

/// Progress through a `snapshot`, which is read in pieces.
#[derive(Debug)]
pub struct Snapshot {
    /// Bytes of the frame that were read.
    at: usize,
    scales: Scales,
    book: OpenBook,
    /// The side whose rows come next.
    side: BookSide,
    /// Whether it is the second of the two.
    second: bool,
}

/// What the first bytes of a frame say: the product, if it is a snapshot.
#[cold]
pub(super) fn head(bytes: &[u8], directory: &Directory) -> Head {
    let mut scanner = Scanner::new(bytes);
    let mut product = || {
        scanner.lit(br#"{"type":"snapshot","product_id":""#)?;
        directory.find(scanner.string()?)
    };
    Head { connection_sequence: None, listing: product() }
}

/// Reads a frame of a hot type from its start, at most about `bytes_max` of it; `None` for anything unexpected.
#[inline]
pub(super) fn scan(
    frame: &[u8],
    products: &Products,
    directory: &mut Directory,
    raw: &mut Raw,
    bytes_max: usize,
) -> Option<Scanned> {
    let mut scanner = Scanner::new(frame);
    let mut scales = Scales::default();
    scanner.lit(br#"{"type":""#)?;
    match scanner.string()? {
        b"l2update" => scan_update(&mut scanner, &mut scales, products, directory, raw)?,
        b"match" => scan_match(&mut scanner, &mut scales, false, products, directory, raw)?,
        b"last_match" => scan_match(&mut scanner, &mut scales, true, products, directory, raw)?,
        b"ticker" => scan_ticker(&mut scanner, &mut scales, products, directory, raw)?,
        b"snapshot" => {
            scanner.lit(br#","product_id":""#)?;
            let listing = products.listing(directory, scanner.string()?)?;
            let book = OpenBook::new(directory, listing, true, raw)?;
            let side = first_side(&mut scanner)?;
            let snapshot = Snapshot { at: 0, scales, book, side, second: false };
            // An empty side is rare enough for the general decoder.
            return scan_snapshot(frame, scanner, snapshot, raw, bytes_max);
        }
        _ => return None,
    }
    scanner.is_end().then_some(Scanned::Done(scales))
}

/// Reads on where an earlier call stopped.
pub(super) fn scan_on(frame: &[u8], snapshot: Snapshot, raw: &mut Raw, bytes_max: usize) -> Option<Scanned> {
    let scanner = Scanner::new(frame.get(snapshot.at..)?);
    scan_snapshot(frame, scanner, snapshot, raw, bytes_max)
}

/// The documentation prints bids first, the recordings have asks first.
fn first_side(scanner: &mut Scanner) -> Option<BookSide> {
    if scanner.maybe(br#","asks":["#) {
        return Some(BookSide::Ask);
    }
    scanner.lit(br#","bids":["#)?;
    Some(BookSide::Bid)
}

fn scan_snapshot(
    frame: &[u8],
    mut scanner: Scanner,
    mut snapshot: Snapshot,
    raw: &mut Raw,
    bytes_max: usize,
) -> Option<Scanned> {
    // Bytes that may be left when this piece ends.
    let left_min = scanner.rest().len().saturating_sub(bytes_max);
    let scale = snapshot.book.scale;
    loop {
        let levels = snapshot.side.of(raw);
        loop {
            scanner.lit(b"[\"")?;
            let price = snapshot.scales.price_of(scale, scanner.decimal()?)?;
            scanner.lit(b"\",\"")?;
            let qty = snapshot.scales.qty_of(scale, scanner.decimal()?)?;
            scanner.lit(b"\"]")?;
            levels.push(Level { price, qty });
            if !scanner.maybe(b",") {
                break;
            }
            if scanner.rest().len() < left_min {
                snapshot.at = frame.len() - scanner.rest().len();
                return Some(Scanned::More(Progress::Exchange(snapshot)));
            }
        }
        scanner.lit(b"]")?;
        if snapshot.second {
            break;
        }
        snapshot.second = true;
        snapshot.side = match snapshot.side {
            BookSide::Ask => {
                scanner.lit(br#","bids":["#)?;
                BookSide::Bid
            }
            BookSide::Bid => {
                scanner.lit(br#","asks":["#)?;
                BookSide::Ask
            }
        };
    }
    let mut venue_time = VenueTime::ABSENT;
    if scanner.maybe(br#","time":""#) {
        venue_time = rfc3339::parse(scanner.string()?)?;
    }
    scanner.lit(b"}")?;
    snapshot.book.close(raw, Numbers::NONE, venue_time).ok()?;
    scanner.is_end().then_some(Scanned::Done(snapshot.scales))
}

#[inline]
fn scan_update(
    scanner: &mut Scanner,
    scales: &mut Scales,
    products: &Products,
    directory: &mut Directory,
    raw: &mut Raw,
) -> Option<()> {
    scanner.lit(br#","product_id":""#)?;
    let listing = products.listing(directory, scanner.string()?)?;
    let book = OpenBook::new(directory, listing, false, raw)?;
    scanner.lit(br#","changes":["#)?;
    loop {
        let side = if scanner.maybe(br#"["buy",""#) {
            BookSide::Bid
        } else {
            scanner.lit(br#"["sell",""#)?;
            BookSide::Ask
        };
        let price = scales.price_of(book.scale, scanner.decimal()?)?;
        scanner.lit(b"\",\"")?;
        let qty = scales.qty_of(book.scale, scanner.decimal()?)?;
        scanner.lit(b"\"]")?;
        side.of(raw).push(Level { price, qty });
        if !scanner.maybe(b",") {
            break;
        }
    }
    scanner.lit(br#"],"time":""#)?;
    let venue_time = rfc3339::parse(scanner.string()?)?;
    scanner.lit(b"}")?;
    book.close(raw, Numbers::NONE, venue_time).ok()
}

#[inline]
fn scan_match(
    scanner: &mut Scanner,
    scales: &mut Scales,
    before: bool,
    products: &Products,
    directory: &mut Directory,
    raw: &mut Raw,
) -> Option<()> {
    scanner.lit(br#","trade_id":"#)?;
    let id = scanner.u64()?;
    scanner.lit(br#","maker_order_id":""#)?;
    scanner.string()?;
    scanner.lit(br#","taker_order_id":""#)?;
    scanner.string()?;
    scanner.lit(br#","side":""#)?;
    let taker_side = taker_side(scanner.string()?)?;
    scanner.lit(br#","size":""#)?;
    let size = scanner.decimal()?;
    scanner.lit(br#"","price":""#)?;
    let price = scanner.decimal()?;
    scanner.lit(br#"","product_id":""#)?;
    let listing = products.listing(directory, scanner.string()?)?;
    scanner.lit(br#","sequence":"#)?;
    scanner.u64()?;
    scanner.lit(br#","time":""#)?;
    let venue_time = rfc3339::parse(scanner.string()?)?;
    scanner.lit(b"}")?;
    let scale = Scale::of(directory, listing);
    let (price, qty) = (scales.price_of(scale, price)?, scales.qty_of(scale, size)?);
    let stream = directory.carried(listing, Channel::Trade)?;
    let content = trade(Trade { price, qty, id, taker_side }, before);
    push(raw, listing, stream, scale.decimals(), Numbers::single(id), venue_time, content).ok()
}

#[inline]
fn scan_ticker(
    scanner: &mut Scanner,
    scales: &mut Scales,
    products: &Products,
    directory: &mut Directory,
    raw: &mut Raw,
) -> Option<()> {
    scanner.lit(br#","sequence":"#)?;
    let sequence = scanner.u64()?;
    scanner.lit(br#","product_id":""#)?;
    let listing = products.listing(directory, scanner.string()?)?;
    let scale = Scale::of(directory, listing);
    let mut price = |scanner: &mut Scanner, field: &[u8]| {
        scanner.lit(field)?;
        scales.price_of(scale, scanner.decimal()?)
    };
    let mut ticker = Ticker { last: price(scanner, br#","price":""#)?, ..Ticker::default() };
    ticker.open = price(scanner, br#"","open_24h":""#)?;
    scanner.lit(br#"","volume_24h":""#)?;
    let volume = scanner.decimal()?;
    ticker.low = price(scanner, br#"","low_24h":""#)?;
    ticker.high = price(scanner, br#"","high_24h":""#)?;
    scanner.lit(br#"","volume_30d":""#)?;
    scanner.string()?;
    ticker.bid = price(scanner, br#","best_bid":""#)?;
    // The sizes came to the feed after the recording of 2021 and the sample of 2022.
    let bid_qty = if scanner.maybe(br#"","best_bid_size":""#) { Some(scanner.decimal()?) } else { None };
    ticker.ask = price(scanner, br#"","best_ask":""#)?;
    if let Some(bid_qty) = bid_qty {
        scanner.lit(br#"","best_ask_size":""#)?;
        ticker.ask_qty = scales.qty_of(scale, scanner.decimal()?)?;
        ticker.bid_qty = scales.qty_of(scale, bid_qty)?;
    }
    scanner.lit(br#"","side":""#)?;
    scanner.string()?;
    scanner.lit(br#","time":""#)?;
    let venue_time = rfc3339::parse(scanner.string()?)?;
    scanner.lit(br#","trade_id":"#)?;
    scanner.u64()?;
    scanner.lit(br#","last_size":""#)?;
    ticker.last_qty = scales.qty_of(scale, scanner.decimal()?)?;
    scanner.lit(br#""}"#)?;
    ticker.volume = scales.volume_of(scale, listing, volume)?;
    ticker.fields = TickerFields::BEST
        .with(TickerFields::LAST)
        .with(TickerFields::LAST_QTY)
        .with(TickerFields::RANGE)
        .with(TickerFields::VOLUME);
    let stream = directory.carried(listing, Channel::Ticker)?;
    let content = Content::Ticker(ticker);
    push(raw, listing, stream, scale.decimals(), Numbers::single(sequence), venue_time, content).ok()
}

// --- both -----------------------------------------------------------------------------------------------------------

fn trade(trade: Trade, before: bool) -> Content {
    if before { Content::TradeBefore(trade) } else { Content::Trade(trade) }
}

// --- general decoder ------------------------------------------------------------------------------------------------

/// The list of all that the connection subscribes; also the answer to an unsubscription.
#[cold]
pub(super) fn carried(root: Value, directory: &Directory, all: &mut Vec<StreamId>) -> Option<()> {
    for channel in root.get("channels")?.items()? {
        let products = channel.get("product_ids").and_then(Value::items).into_iter().flatten();
        let name = channel.get("name")?.str()?;
        subscribe::named(Product::Exchange, directory, name, products.filter_map(Value::str), all);
    }
    Some(())
}

/// Whether the frame is of a type that has a scanner, and what the general decoder makes of it.
pub(super) fn walk(
    root: Value,
    products: &Products,
    directory: &mut Directory,
    raw: &mut Raw,
) -> (bool, Result<Decoded, DecodeError>) {
    let Some(kind) = root.get("type").and_then(Value::str) else {
        return (false, Err(DecodeError::Missing { field: "type" }));
    };
    let hot = matches!(kind, "l2update" | "match" | "last_match" | "ticker" | "snapshot");
    let mut scales = Scales::default();
    let decoded = match kind {
        "l2update" => walk_update(root, &mut scales, products, directory, raw),
        "snapshot" => walk_snapshot(root, &mut scales, products, directory, raw),
        "match" => walk_match(root, &mut scales, false, products, directory, raw),
        "last_match" => walk_match(root, &mut scales, true, products, directory, raw),
        "ticker" => walk_ticker(root, &mut scales, products, directory, raw),
        "heartbeat" => return (false, Ok(Decoded::Notice(Notice::Heartbeat))),
        "subscriptions" => return (false, Ok(Decoded::Notice(Notice::Carried))),
        _ => return (false, super::refusal(root)),
    };
    (hot, decoded.and_then(|()| scales.finish()).map(|()| Decoded::Data))
}

fn walk_update(
    root: Value,
    scales: &mut Scales,
    products: &Products,
    directory: &mut Directory,
    raw: &mut Raw,
) -> Result<(), DecodeError> {
    let listing = products.listing(directory, text(root, "product_id")?).ok_or(DecodeError::UnknownSymbol)?;
    let changes = list(root, "changes")?;
    let venue_time = time(root, "time")?;
    let Some(book) = OpenBook::new(directory, listing, false, raw) else { return Ok(()) };
    for change in changes {
        let side = column(change, 0, "changes")?;
        let side = BookSide::from_exchange(side).ok_or(DecodeError::Invalid { field: "side" })?;
        let price = scales.price(book.scale, column(change, 1, "changes")?, "price")?;
        let qty = scales.qty(book.scale, column(change, 2, "changes")?, "size")?;
        side.of(raw).push(Level { price, qty });
    }
    book.close(raw, Numbers::NONE, venue_time)
}

fn walk_snapshot(
    root: Value,
    scales: &mut Scales,
    products: &Products,
    directory: &mut Directory,
    raw: &mut Raw,
) -> Result<(), DecodeError> {
    let listing = products.listing(directory, text(root, "product_id")?).ok_or(DecodeError::UnknownSymbol)?;
    let venue_time = match root.get("time") {
        Some(_) => time(root, "time")?,
        None => VenueTime::ABSENT,
    };
    let Some(book) = OpenBook::new(directory, listing, true, raw) else { return Ok(()) };
    for (side, field) in [(BookSide::Bid, "bids"), (BookSide::Ask, "asks")] {
        for row in list(root, field)? {
            let price = scales.price(book.scale, column(row, 0, field)?, "price")?;
            let qty = scales.qty(book.scale, column(row, 1, field)?, "size")?;
            side.of(raw).push(Level { price, qty });
        }
    }
    book.close(raw, Numbers::NONE, venue_time)
}

fn walk_match(
    root: Value,
    scales: &mut Scales,
    before: bool,
    products: &Products,
    directory: &mut Directory,
    raw: &mut Raw,
) -> Result<(), DecodeError> {
    let listing = products.listing(directory, text(root, "product_id")?).ok_or(DecodeError::UnknownSymbol)?;
    let scale = Scale::of(directory, listing);
    let id = whole(root, "trade_id")?;
    let taker_side = taker_side(text(root, "side")?).ok_or(DecodeError::Invalid { field: "side" })?;
    let price = scales.price(scale, text(root, "price")?, "price")?;
    let qty = scales.qty(scale, text(root, "size")?, "size")?;
    let venue_time = time(root, "time")?;
    let Some(stream) = directory.carried(listing, Channel::Trade) else { return Ok(()) };
    let content = trade(Trade { price, qty, id, taker_side }, before);
    push(raw, listing, stream, scale.decimals(), Numbers::single(id), venue_time, content)
}

fn walk_ticker(
    root: Value,
    scales: &mut Scales,
    products: &Products,
    directory: &mut Directory,
    raw: &mut Raw,
) -> Result<(), DecodeError> {
    let listing = products.listing(directory, text(root, "product_id")?).ok_or(DecodeError::UnknownSymbol)?;
    let scale = Scale::of(directory, listing);
    let sequence = whole(root, "sequence")?;
    // Absent for a product that has never traded.
    let venue_time = match root.get("time") {
        Some(_) => time(root, "time")?,
        None => VenueTime::ABSENT,
    };
    let mut ticker =
        Ticker { last: scales.price(scale, text(root, "price")?, "price")?, ..Ticker::default() };
    ticker.fields = TickerFields::LAST;
    if let Some(last_size) = optional(root, "last_size") {
        ticker.last_qty = scales.qty(scale, last_size, "last_size")?;
        ticker.fields = ticker.fields.with(TickerFields::LAST_QTY);
    }
    if let (Some(open), Some(low), Some(high)) =
        (optional(root, "open_24h"), optional(root, "low_24h"), optional(root, "high_24h"))
    {
        ticker.open = scales.price(scale, open, "open_24h")?;
        ticker.low = scales.price(scale, low, "low_24h")?;
        ticker.high = scales.price(scale, high, "high_24h")?;
        ticker.fields = ticker.fields.with(TickerFields::RANGE);
    }
    if let Some(volume) = optional(root, "volume_24h") {
        ticker.volume = scales.volume(scale, listing, volume, "volume_24h")?;
        ticker.fields = ticker.fields.with(TickerFields::VOLUME);
    }
    if let (Some(bid), Some(ask)) = (optional(root, "best_bid"), optional(root, "best_ask")) {
        ticker.bid = scales.price(scale, bid, "best_bid")?;
        ticker.ask = scales.price(scale, ask, "best_ask")?;
        ticker.fields = ticker.fields.with(TickerFields::BEST);
        if let (Some(bid), Some(ask)) = (optional(root, "best_bid_size"), optional(root, "best_ask_size")) {
            ticker.bid_qty = scales.qty(scale, bid, "best_bid_size")?;
            ticker.ask_qty = scales.qty(scale, ask, "best_ask_size")?;
        }
    }
    let Some(stream) = directory.carried(listing, Channel::Ticker) else { return Ok(()) };
    let content = Content::Ticker(ticker);
    push(raw, listing, stream, scale.decimals(), Numbers::single(sequence), venue_time, content)
}

/// A column of a row of strings.
fn column<'a>(row: Value<'a>, index: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
    row.at(index).and_then(Value::bytes).ok_or(DecodeError::Missing { field })
}
