//! The hot shapes in one pass: book, trade and ticker with the fields in the order that the venue prints them.
//!
//! Right or silent: any surprise, an unknown symbol or a number wider than the instrument's scale gives `None`, and
//! the general decoder takes the frame and names the error. Adds nothing to a directory.

use crate::channel::Channel;
use crate::decimal::{Price, Qty};
use crate::directory::Directory;
use crate::event::{Level, Side, Ticker, Trade};
use crate::ids::Listing;
use crate::raw::{BookMessage, Content, MESSAGES_PER_RAW_MAX, Message, Numbers, Raw, Scale};
use crate::rfc3339;
use crate::scan::Scanner;
use crate::time::VenueTime;

use super::decode::TICKER_FIELDS;

/// Decodes a frame of a hot shape into `raw`; `None`, with `raw` in any state, for every other.
#[inline]
pub fn scan(frame: &[u8], directory: &Directory, raw: &mut Raw) -> Option<()> {
    let mut scanner = Scanner::new(frame);
    scanner.lit(br#"{"channel":""#)?;
    if scanner.maybe(br#"book","type":""#) {
        let snapshot = kind(&mut scanner)?;
        elements(&mut scanner, |scanner| book(scanner, snapshot, directory, raw))?;
    } else if scanner.maybe(br#"trade","type":""#) {
        let snapshot = kind(&mut scanner)?;
        elements(&mut scanner, |scanner| trade(scanner, snapshot, directory, raw))?;
    } else {
        scanner.lit(br#"ticker","type":""#)?;
        kind(&mut scanner)?;
        elements(&mut scanner, |scanner| ticker(scanner, directory, raw))?;
    }
    Some(())
}

/// Whether the frame is a snapshot.
#[inline]
fn kind(scanner: &mut Scanner) -> Option<bool> {
    if scanner.maybe(br#"update","data":[{"symbol":""#) {
        return Some(false);
    }
    scanner.lit(br#"snapshot","data":[{"symbol":""#)?;
    Some(true)
}

/// Gives the scanner to `each` behind every element's `{"symbol":"`, up to the end of the frame.
#[inline]
fn elements<'a>(
    scanner: &mut Scanner<'a>,
    mut each: impl FnMut(&mut Scanner<'a>) -> Option<()>,
) -> Option<()> {
    loop {
        each(scanner)?;
        if !scanner.maybe(br#",{"symbol":""#) {
            scanner.lit(b"]}")?;
            return scanner.is_end().then_some(());
        }
    }
}

/// The instrument, and the scale of its numbers.
#[inline]
fn instrument(scanner: &mut Scanner, directory: &Directory) -> Option<(Listing, Scale)> {
    let listing = directory.find(scanner.string()?)?;
    Some((listing, Scale::of(directory, listing)))
}

#[inline]
fn price(scanner: &mut Scanner, scale: Scale) -> Option<Price> {
    scale.price_of(scanner.bare_decimal()?, "price").ok()
}

#[inline]
fn qty(scanner: &mut Scanner, scale: Scale) -> Option<Qty> {
    scale.qty_of(scanner.bare_decimal()?, "qty").ok()
}

/// `,"timestamp":"..."}`, or `}` alone.
#[inline]
fn end(scanner: &mut Scanner) -> Option<VenueTime> {
    if scanner.maybe(b"}") {
        return Some(VenueTime::ABSENT);
    }
    scanner.lit(br#","timestamp":""#)?;
    let time = rfc3339::parse(scanner.string()?)?;
    scanner.lit(b"}")?;
    Some(time)
}

#[inline]
fn book(scanner: &mut Scanner, snapshot: bool, directory: &Directory, raw: &mut Raw) -> Option<()> {
    let (listing, scale) = instrument(scanner, directory)?;
    let (_, stream) = directory.streams_of(listing).find(|(channel, _)| channel.is_book())?;
    let (first_bid, first_ask) = (raw.bids.len() as u32, raw.asks.len() as u32);
    scanner.lit(br#","bids":"#)?;
    levels(scanner, scale, &mut raw.bids)?;
    scanner.lit(br#","asks":"#)?;
    levels(scanner, scale, &mut raw.asks)?;
    scanner.lit(br#","checksum":"#)?;
    let checksum = u32::try_from(scanner.u64()?).ok()?;
    let venue_time = end(scanner)?;
    let book = BookMessage {
        snapshot,
        bids: first_bid..raw.bids.len() as u32,
        asks: first_ask..raw.asks.len() as u32,
        checksum: Some(checksum),
    };
    push(
        raw,
        Message {
            stream,
            listing,
            decimals: scale.decimals(),
            numbers: Numbers::NONE,
            venue_time,
            content: Content::Book(book),
        },
    )
}

#[inline]
fn levels(scanner: &mut Scanner, scale: Scale, levels: &mut Vec<Level>) -> Option<()> {
    if scanner.maybe(b"[]") {
        return Some(());
    }
    scanner.lit(br#"[{"price":"#)?;
    loop {
        let price = price(scanner, scale)?;
        scanner.lit(br#","qty":"#)?;
        let qty = qty(scanner, scale)?;
        levels.push(Level { price, qty });
        if !scanner.maybe(br#"},{"price":"#) {
            return scanner.lit(b"}]");
        }
    }
}

#[inline]
fn trade(scanner: &mut Scanner, snapshot: bool, directory: &Directory, raw: &mut Raw) -> Option<()> {
    let (listing, scale) = instrument(scanner, directory)?;
    let stream = directory.stream(listing, Channel::Trade)?;
    scanner.lit(br#","side":""#)?;
    let taker_side = if scanner.maybe(b"buy") {
        Side::Buy
    } else {
        scanner.lit(b"sell")?;
        Side::Sell
    };
    scanner.lit(br#"","price":"#)?;
    let price = price(scanner, scale)?;
    scanner.lit(br#","qty":"#)?;
    let qty = qty(scanner, scale)?;
    scanner.lit(br#","ord_type":""#)?;
    scanner.string()?;
    scanner.lit(br#","trade_id":"#)?;
    let id = scanner.u64()?;
    scanner.lit(br#","timestamp":""#)?;
    let venue_time = rfc3339::parse(scanner.string()?)?;
    scanner.lit(b"}")?;
    let trade = Trade { price, qty, id, taker_side };
    push(
        raw,
        Message {
            stream,
            listing,
            decimals: scale.decimals(),
            numbers: Numbers::single(id),
            venue_time,
            content: if snapshot { Content::TradeBefore(trade) } else { Content::Trade(trade) },
        },
    )
}

#[inline]
fn ticker(scanner: &mut Scanner, directory: &Directory, raw: &mut Raw) -> Option<()> {
    let (listing, scale) = instrument(scanner, directory)?;
    let stream = directory.stream(listing, Channel::Ticker)?;
    let price_after = |scanner: &mut Scanner, name: &[u8]| {
        scanner.lit(name)?;
        price(scanner, scale)
    };
    let qty_after = |scanner: &mut Scanner, name: &[u8]| {
        scanner.lit(name)?;
        qty(scanner, scale)
    };
    let bid = price_after(scanner, br#","bid":"#)?;
    let bid_qty = qty_after(scanner, br#","bid_qty":"#)?;
    let ask = price_after(scanner, br#","ask":"#)?;
    let ask_qty = qty_after(scanner, br#","ask_qty":"#)?;
    let last = price_after(scanner, br#","last":"#)?;
    let volume = qty_after(scanner, br#","volume":"#)?;
    scanner.lit(br#","vwap":"#)?;
    scanner.number_text()?;
    let low = price_after(scanner, br#","low":"#)?;
    let high = price_after(scanner, br#","high":"#)?;
    scanner.lit(br#","change":"#)?;
    scanner.number_text()?;
    scanner.lit(br#","change_pct":"#)?;
    scanner.number_text()?;
    let venue_time = end(scanner)?;
    let ticker = Ticker {
        bid,
        bid_qty,
        ask,
        ask_qty,
        last,
        volume,
        low,
        high,
        fields: TICKER_FIELDS,
        ..Ticker::default()
    };
    push(
        raw,
        Message {
            stream,
            listing,
            decimals: scale.decimals(),
            numbers: Numbers::NONE,
            venue_time,
            content: Content::Ticker(ticker),
        },
    )
}

#[inline]
fn push(raw: &mut Raw, message: Message) -> Option<()> {
    if raw.messages.len() == MESSAGES_PER_RAW_MAX {
        return None;
    }
    raw.messages.push(message);
    Some(())
}
