//! Advanced Trade: its frames to our messages, twice: a scanner for the hot shapes as they are recorded, and the general
//! decoder for everything else and for any surprise.
//!
//! Every frame has a number that counts the connection's frames, acks and heartbeats included; it is set in
//! [`Raw::connection_sequence`] before anything else is looked at, so it is there for notices and refusals too.

use super::build::{BookSide, OpenBook, Scales, digits, list, optional, push, taker_side, text, time};
use super::symbols::Products;
use super::{Product, Progress, Scanned, subscribe};
use crate::channel::{Channel, Interval};
use crate::decimal::Qty;
use crate::directory::Directory;
use crate::event::{Amount, Kline, Level, Ticker, TickerFields, Trade};
use crate::ids::{Listing, StreamId};
use crate::json::Value;
use crate::raw::{Content, DecodeError, Decoded, Notice, Numbers, Raw, Scale};
use crate::rfc3339;
use crate::scan::Scanner;
use crate::time::VenueTime;
use crate::venue::Head as Frame;

/// Times before this are no times of a market: book snapshots have event times of 1970.
///
/// Source: hummingbot PR #6887, which met them; the documentation does not mention it.
const TIME_MIN: VenueTime = VenueTime::from_ms(365 * 24 * 60 * 60 * 1_000);

/// Length of a candle; the channel has no other. Source: docs.cdp.coinbase.com, WebSocket channels, 2026-06-28.
const CANDLE_MS: u64 = 5 * 60 * 1_000;

/// `event` where it is a market's time, else `sent`.
fn event_time(event: VenueTime, sent: VenueTime) -> VenueTime {
    if event < TIME_MIN { sent } else { event }
}

// --- scanner --------------------------------------------------------------------------------------------------------

/// Progress through an `l2_data` frame: a snapshot of megabytes is read in pieces.
#[derive(Debug)]
pub struct Level2 {
    /// Bytes of the frame that were read.
    at: usize,
    head: Head,
    scales: Scales,
    /// The event whose rows come next, and the newest time of its rows so far.
    open: Option<(OpenBook, VenueTime)>,
}

/// What stands before a frame's events.
#[derive(Clone, Copy, Debug)]
struct Head {
    sent: VenueTime,
    sequence: u64,
}

impl Head {
    /// The numbers of the frame's messages. Frames are counted from 0, which would be no number: the first one may be a book's
    /// snapshot.
    const fn numbers(self) -> Numbers {
        Numbers::single(self.sequence.saturating_add(1))
    }
}

/// What the first bytes of a frame say: its number, and the product of its first event.
#[cold]
pub(super) fn head(bytes: &[u8], directory: &Directory) -> Frame {
    let (mut head, mut scanner) = (Frame::default(), Scanner::new(bytes));
    let mut read = || {
        scanner.lit(br#"{"channel":""#)?;
        scanner.string()?;
        if scanner.maybe(br#","client_id":""#) {
            scanner.string()?;
        }
        scanner.lit(br#","timestamp":""#)?;
        scanner.string()?;
        scanner.lit(br#","sequence_num":"#)?;
        head.connection_sequence = Some(scanner.u64()?);
        scanner.lit(br#","events":[{"type":""#)?;
        scanner.string()?;
        scanner.lit(br#","product_id":""#)?;
        head.listing = directory.find(scanner.string()?);
        Some(())
    };
    let _ = read();
    head
}

/// Reads a frame of a hot channel from its start, at most about `bytes_max` of it; `None` for anything unexpected.
#[inline]
pub(super) fn scan(
    frame: &[u8],
    products: &Products,
    directory: &mut Directory,
    raw: &mut Raw,
    bytes_max: usize,
) -> Option<Scanned> {
    let mut scanner = Scanner::new(frame);
    scanner.lit(br#"{"channel":""#)?;
    let channel = scanner.string()?;
    if !matches!(channel, b"l2_data" | b"market_trades" | b"ticker") {
        return None;
    }
    // Present in samples up to 2025-12-31, absent in a recording of 2026-08-24 and in the newest documentation.
    if scanner.maybe(br#","client_id":""#) {
        scanner.string()?;
    }
    scanner.lit(br#","timestamp":""#)?;
    let sent = rfc3339::parse(scanner.string()?)?;
    scanner.lit(br#","sequence_num":"#)?;
    let head = Head { sent, sequence: scanner.u64()? };
    raw.connection_sequence = Some(head.sequence);
    scanner.lit(br#","events":["#)?;
    let mut scales = Scales::default();
    match channel {
        b"l2_data" => {
            let level2 = Level2 { at: 0, head, scales, open: None };
            return scan_level2(frame, scanner, level2, products, directory, raw, bytes_max);
        }
        b"market_trades" => scan_trades(&mut scanner, &mut scales, products, directory, raw)?,
        _ => scan_tickers(&mut scanner, &mut scales, head, products, directory, raw)?,
    }
    scanner.is_end().then_some(Scanned::Done(scales))
}

/// Reads on where an earlier call stopped.
pub(super) fn scan_on(
    frame: &[u8],
    level2: Level2,
    products: &Products,
    directory: &mut Directory,
    raw: &mut Raw,
    bytes_max: usize,
) -> Option<Scanned> {
    let scanner = Scanner::new(frame.get(level2.at..)?);
    scan_level2(frame, scanner, level2, products, directory, raw, bytes_max)
}

#[inline]
fn scan_level2(
    frame: &[u8],
    mut scanner: Scanner,
    mut level2: Level2,
    products: &Products,
    directory: &mut Directory,
    raw: &mut Raw,
    bytes_max: usize,
) -> Option<Scanned> {
    // Bytes that may be left when this piece ends.
    let left_min = scanner.rest().len().saturating_sub(bytes_max);
    loop {
        let resumed = level2.open.is_some();
        let (book, mut newest) = if let Some(open) = level2.open.take() {
            open
        } else {
            scanner.lit(br#"{"type":""#)?;
            let snapshot = match scanner.string()? {
                b"update" => false,
                b"snapshot" => true,
                _ => return None,
            };
            scanner.lit(br#","product_id":""#)?;
            let listing = products.listing_or_alias(directory, scanner.string()?)?;
            scanner.lit(br#","updates":["#)?;
            (OpenBook::new(directory, listing, snapshot, raw)?, VenueTime::ABSENT)
        };
        // Rows of one update have one time: its text is parsed once.
        let mut time_text = None;
        if resumed || scanner.peek()? != b']' {
            loop {
                scanner.lit(br#"{"side":""#)?;
                let side = if scanner.maybe(br#"bid""#) {
                    BookSide::Bid
                } else {
                    scanner.lit(br#"offer""#)?;
                    BookSide::Ask
                };
                scanner.lit(br#","event_time":""#)?;
                let text = scanner.string()?;
                if Some(text) != time_text {
                    time_text = Some(text);
                    newest = newest.max(rfc3339::parse(text)?);
                }
                scanner.lit(br#","price_level":""#)?;
                let price = level2.scales.price_of(book.scale, scanner.decimal()?)?;
                scanner.lit(br#"","new_quantity":""#)?;
                let qty = level2.scales.qty_of(book.scale, scanner.decimal()?)?;
                scanner.lit(br#""}"#)?;
                side.of(raw).push(Level { price, qty });
                if !scanner.maybe(b",") {
                    break;
                }
                if scanner.rest().len() < left_min {
                    level2.open = Some((book, newest));
                    level2.at = frame.len() - scanner.rest().len();
                    return Some(Scanned::More(Progress::Advanced(level2)));
                }
            }
        }
        scanner.lit(b"]}")?;
        let head = level2.head;
        book.close(raw, head.numbers(), event_time(newest, head.sent)).ok()?;
        if !scanner.maybe(b",") {
            break;
        }
    }
    scanner.lit(b"]}")?;
    scanner.is_end().then_some(Scanned::Done(level2.scales))
}

#[inline]
fn scan_trades(
    scanner: &mut Scanner,
    scales: &mut Scales,
    products: &Products,
    directory: &mut Directory,
    raw: &mut Raw,
) -> Option<()> {
    loop {
        scanner.lit(br#"{"type":""#)?;
        let before = match scanner.string()? {
            b"update" => false,
            b"snapshot" => true,
            _ => return None,
        };
        scanner.lit(br#","trades":["#)?;
        let from = raw.messages.len();
        if scanner.peek()? != b']' {
            loop {
                let (product_id, id);
                // The two orders of fields that were seen: on the wire (2024, 2025), and in the documentation.
                let side_last = scanner.maybe(br#"{"product_id":""#);
                if side_last {
                    product_id = scanner.string()?;
                    scanner.lit(br#","trade_id":""#)?;
                    id = digits(scanner.string()?)?;
                } else {
                    scanner.lit(br#"{"trade_id":""#)?;
                    id = digits(scanner.string()?)?;
                    scanner.lit(br#","product_id":""#)?;
                    product_id = scanner.string()?;
                }
                let listing = products.listing_or_alias(directory, product_id)?;
                let scale = Scale::of(directory, listing);
                scanner.lit(br#","price":""#)?;
                let price = scales.price_of(scale, scanner.decimal()?)?;
                scanner.lit(br#"","size":""#)?;
                let qty = scales.qty_of(scale, scanner.decimal()?)?;
                let (side, time);
                if side_last {
                    scanner.lit(br#"","time":""#)?;
                    time = scanner.string()?;
                    scanner.lit(br#","side":""#)?;
                    side = scanner.string()?;
                } else {
                    scanner.lit(br#"","side":""#)?;
                    side = scanner.string()?;
                    scanner.lit(br#","time":""#)?;
                    time = scanner.string()?;
                }
                scanner.lit(b"}")?;
                let trade = Trade { price, qty, id, taker_side: taker_side(side)? };
                push_trade(raw, directory, scale, listing, rfc3339::parse(time)?, trade, before).ok()?;
                if !scanner.maybe(b",") {
                    break;
                }
            }
        }
        scanner.lit(b"]}")?;
        sort(raw, from);
        if !scanner.maybe(b",") {
            break;
        }
    }
    scanner.lit(b"]}")
}

fn scan_tickers(
    scanner: &mut Scanner,
    scales: &mut Scales,
    head: Head,
    products: &Products,
    directory: &mut Directory,
    raw: &mut Raw,
) -> Option<()> {
    loop {
        scanner.lit(br#"{"type":""#)?;
        scanner.string()?;
        scanner.lit(br#","tickers":["#)?;
        loop {
            scanner.lit(br#"{"type":"ticker","product_id":""#)?;
            let listing = products.listing_or_alias(directory, scanner.string()?)?;
            let scale = Scale::of(directory, listing);
            let mut price = |scanner: &mut Scanner, field: &[u8]| {
                scanner.lit(field)?;
                scales.price_of(scale, scanner.decimal()?)
            };
            let mut ticker = Ticker { last: price(scanner, br#","price":""#)?, ..Ticker::default() };
            scanner.lit(br#"","volume_24_h":""#)?;
            let volume = scanner.decimal()?;
            ticker.low = price(scanner, br#"","low_24_h":""#)?;
            ticker.high = price(scanner, br#"","high_24_h":""#)?;
            for field in [&br#"","low_52_w":""#[..], br#","high_52_w":""#, br#","price_percent_chg_24_h":""#]
            {
                scanner.lit(field)?;
                scanner.string()?;
            }
            ticker.bid = price(scanner, br#","best_bid":""#)?;
            scanner.lit(br#"","best_bid_quantity":""#)?;
            let bid_qty = scanner.decimal()?;
            ticker.ask = price(scanner, br#"","best_ask":""#)?;
            scanner.lit(br#"","best_ask_quantity":""#)?;
            ticker.ask_qty = scales.qty_of(scale, scanner.decimal()?)?;
            ticker.bid_qty = scales.qty_of(scale, bid_qty)?;
            ticker.volume = scales.volume_of(scale, listing, volume)?;
            scanner.lit(br#""}"#)?;
            ticker.fields = TickerFields::BEST
                .with(TickerFields::LAST)
                .with(TickerFields::RANGE)
                .with(TickerFields::VOLUME);
            push_ticker(raw, directory, scale, listing, Channel::Ticker, head.sent, ticker).ok()?;
            if !scanner.maybe(b",") {
                break;
            }
        }
        scanner.lit(b"]}")?;
        if !scanner.maybe(b",") {
            break;
        }
    }
    scanner.lit(b"]}")
}

// --- both -----------------------------------------------------------------------------------------------------------

#[inline]
fn push_trade(
    raw: &mut Raw,
    directory: &mut Directory,
    scale: Scale,
    listing: Listing,
    time: VenueTime,
    trade: Trade,
    before: bool,
) -> Result<(), DecodeError> {
    let Some(stream) = directory.carried(listing, Channel::Trade) else { return Ok(()) };
    let content = if before { Content::TradeBefore(trade) } else { Content::Trade(trade) };
    push(raw, listing, stream, scale.decimals(), Numbers::single(trade.id), time, content)
}

#[inline]
fn push_ticker(
    raw: &mut Raw,
    directory: &mut Directory,
    scale: Scale,
    listing: Listing,
    channel: Channel,
    sent: VenueTime,
    ticker: Ticker,
) -> Result<(), DecodeError> {
    let Some(stream) = directory.carried(listing, channel) else { return Ok(()) };
    push(raw, listing, stream, scale.decimals(), Numbers::NONE, sent, Content::Ticker(ticker))
}

/// Orders the messages from `from` on by instrument, and those of one by trade id or by time.
///
/// Whether an event's trades stand newest or oldest first is not documented; samples of 2024 and 2025 have them newest
/// first.
#[inline]
fn sort(raw: &mut Raw, from: usize) {
    let key = |content: &Content| match content {
        Content::Trade(trade) | Content::TradeBefore(trade) => trade.id,
        Content::Kline(kline, _) => kline.open_time.raw_ns(),
        Content::Ticker(_) | Content::Book(_) => 0,
    };
    raw.messages[from..].sort_unstable_by_key(|message| (message.listing, key(&message.content)));
}

// --- general decoder ------------------------------------------------------------------------------------------------

/// Whether the frame is of a channel that has a scanner, and what the general decoder makes of it.
pub(super) fn walk(
    root: Value,
    products: &Products,
    directory: &mut Directory,
    raw: &mut Raw,
) -> (bool, Result<Decoded, DecodeError>) {
    raw.connection_sequence = root.get("sequence_num").and_then(Value::u64);
    let Some(channel) = root.get("channel").and_then(Value::str) else {
        return (false, super::refusal(root));
    };
    let hot = matches!(channel, "l2_data" | "market_trades" | "ticker");
    let mut walk = Walk { products, directory, raw, scales: Scales::default(), unknown: false };
    (hot, walk.frame(root, channel))
}

/// The list of all that the connection subscribes; also the answer to an unsubscription. What stands in it for channels without
/// products is not documented, so it is read leniently.
#[cold]
pub(super) fn carried(root: Value, directory: &Directory, all: &mut Vec<StreamId>) -> Option<()> {
    for event in root.get("events")?.items()? {
        for (name, products) in event.get("subscriptions")?.fields()? {
            let products = products.items().into_iter().flatten().filter_map(Value::str);
            subscribe::named(Product::Advanced, directory, name, products, all);
        }
    }
    Some(())
}

/// The general decoder at work on one frame.
struct Walk<'a> {
    products: &'a Products,
    directory: &'a mut Directory,
    raw: &'a mut Raw,
    scales: Scales,
    /// Whether a product was passed over because nobody lists it.
    unknown: bool,
}

impl Walk<'_> {
    fn frame(&mut self, root: Value, channel: &str) -> Result<Decoded, DecodeError> {
        match channel {
            "heartbeats" => return Ok(Decoded::Notice(Notice::Heartbeat)),
            "subscriptions" => {
                return Ok(Decoded::Notice(Notice::Carried));
            }
            "l2_data" | "market_trades" | "ticker" | "ticker_batch" | "candles" | "status" => {}
            _ => return Err(DecodeError::UnknownChannel),
        }
        let sequence = self.raw.connection_sequence.ok_or(DecodeError::Missing { field: "sequence_num" })?;
        let sent = time(root, "timestamp")?;
        for event in list(root, "events")? {
            match channel {
                "l2_data" => self.book(event, Head { sent, sequence })?,
                "market_trades" => self.trades(event)?,
                "candles" => self.candles(event, sent)?,
                "status" => self.statuses(event)?,
                "ticker_batch" => self.tickers(event, Channel::Ticker24h, sent)?,
                _ => self.tickers(event, Channel::Ticker, sent)?,
            }
        }
        self.scales.finish()?;
        if channel == "status" {
            return Ok(Decoded::Notice(Notice::Skipped("product_status")));
        }
        // One unknown product must not cost the others their data.
        if self.unknown && self.raw.messages.is_empty() {
            return Err(DecodeError::UnknownSymbol);
        }
        Ok(Decoded::Data)
    }

    fn listing(&mut self, value: Value) -> Result<Option<Listing>, DecodeError> {
        let listing = self.products.listing_or_alias(self.directory, text(value, "product_id")?);
        self.unknown |= listing.is_none();
        Ok(listing)
    }

    fn book(&mut self, event: Value, head: Head) -> Result<(), DecodeError> {
        let snapshot = is_snapshot(event)?;
        let Some(listing) = self.listing(event)? else { return Ok(()) };
        let rows = list(event, "updates")?;
        let Some(book) = OpenBook::new(self.directory, listing, snapshot, self.raw) else { return Ok(()) };
        let mut newest = VenueTime::ABSENT;
        for row in rows {
            let side =
                BookSide::from_advanced(text(row, "side")?).ok_or(DecodeError::Invalid { field: "side" })?;
            newest = newest.max(time(row, "event_time")?);
            let price = self.scales.price(book.scale, text(row, "price_level")?, "price_level")?;
            let qty = self.scales.qty(book.scale, text(row, "new_quantity")?, "new_quantity")?;
            side.of(self.raw).push(Level { price, qty });
        }
        book.close(self.raw, head.numbers(), event_time(newest, head.sent))
    }

    fn trades(&mut self, event: Value) -> Result<(), DecodeError> {
        let before = is_snapshot(event)?;
        let from = self.raw.messages.len();
        for row in list(event, "trades")? {
            let Some(listing) = self.listing(row)? else { continue };
            let scale = Scale::of(self.directory, listing);
            let id = digits(text(row, "trade_id")?).ok_or(DecodeError::Invalid { field: "trade_id" })?;
            let price = self.scales.price(scale, text(row, "price")?, "price")?;
            let qty = self.scales.qty(scale, text(row, "size")?, "size")?;
            let side = taker_side(text(row, "side")?).ok_or(DecodeError::Invalid { field: "side" })?;
            let trade = Trade { price, qty, id, taker_side: side };
            push_trade(self.raw, self.directory, scale, listing, time(row, "time")?, trade, before)?;
        }
        sort(self.raw, from);
        Ok(())
    }

    fn tickers(&mut self, event: Value, channel: Channel, sent: VenueTime) -> Result<(), DecodeError> {
        for row in list(event, "tickers")? {
            let Some(listing) = self.listing(row)? else { continue };
            let scale = Scale::of(self.directory, listing);
            let mut ticker =
                Ticker { last: self.scales.price(scale, text(row, "price")?, "price")?, ..Ticker::default() };
            ticker.fields = TickerFields::LAST;
            if let Some(volume) = optional(row, "volume_24_h") {
                ticker.volume = self.scales.volume(scale, listing, volume, "volume_24_h")?;
                ticker.fields = ticker.fields.with(TickerFields::VOLUME);
            }
            if let (Some(low), Some(high)) = (optional(row, "low_24_h"), optional(row, "high_24_h")) {
                ticker.low = self.scales.price(scale, low, "low_24_h")?;
                ticker.high = self.scales.price(scale, high, "high_24_h")?;
                ticker.fields = ticker.fields.with(TickerFields::RANGE);
            }
            // `ticker_batch` has none; a book with an empty side has one of the two.
            if let (Some(bid), Some(bid_qty), Some(ask), Some(ask_qty)) = (
                optional(row, "best_bid"),
                optional(row, "best_bid_quantity"),
                optional(row, "best_ask"),
                optional(row, "best_ask_quantity"),
            ) {
                ticker.bid = self.scales.price(scale, bid, "best_bid")?;
                ticker.bid_qty = self.scales.qty(scale, bid_qty, "best_bid_quantity")?;
                ticker.ask = self.scales.price(scale, ask, "best_ask")?;
                ticker.ask_qty = self.scales.qty(scale, ask_qty, "best_ask_quantity")?;
                ticker.fields = ticker.fields.with(TickerFields::BEST);
            }
            push_ticker(self.raw, self.directory, scale, listing, channel, sent, ticker)?;
        }
        Ok(())
    }

    /// A candle comes again each second and nothing says when it is final, so none is marked so: a consumer takes it for
    /// final when one with a later open time comes.
    fn candles(&mut self, event: Value, sent: VenueTime) -> Result<(), DecodeError> {
        let from = self.raw.messages.len();
        for row in list(event, "candles")? {
            let Some(listing) = self.listing(row)? else { continue };
            let scale = Scale::of(self.directory, listing);
            let open_ms = digits(text(row, "start")?)
                .and_then(|seconds| seconds.checked_mul(1_000))
                .filter(|&ms| VenueTime::from_ms(ms) >= TIME_MIN)
                .ok_or(DecodeError::Invalid { field: "start" })?;
            let scales = &mut self.scales;
            let mut price = |field| scales.price(scale, text(row, field)?, field);
            let kline = Kline {
                open_time: VenueTime::from_ms(open_ms),
                close_time: VenueTime::from_ms(open_ms + CANDLE_MS - 1),
                open: price("open")?,
                high: price("high")?,
                low: price("low")?,
                close: price("close")?,
                volume: scales.volume(scale, listing, text(row, "volume")?, "volume")?,
                taker_buy_volume: Qty(0),
                quote_volume: Amount::default(),
                trade_count: 0,
                interval: Interval::M5,
            };
            let Some(stream) = self.directory.carried(listing, Channel::Kline(Interval::M5)) else {
                continue;
            };
            let content = Content::Kline(kline, false);
            push(self.raw, listing, stream, scale.decimals(), Numbers::NONE, sent, content)?;
        }
        sort(self.raw, from);
        Ok(())
    }

    fn statuses(&mut self, event: Value) -> Result<(), DecodeError> {
        for row in list(event, "products")? {
            let id = row.get("id").and_then(Value::str).ok_or(DecodeError::Missing { field: "id" })?;
            let status =
                row.get("status").and_then(Value::str).ok_or(DecodeError::Missing { field: "status" })?;
            Products::tell_trading(self.directory, id, status == "online");
        }
        Ok(())
    }
}

/// Whether an event replaces what was sent before.
fn is_snapshot(event: Value) -> Result<bool, DecodeError> {
    match text(event, "type")? {
        b"snapshot" => Ok(true),
        b"update" => Ok(false),
        _ => Err(DecodeError::Invalid { field: "type" }),
    }
}
