//! Every frame of a market stream, whatever the order of its fields: data, acknowledgements, errors, notices.
//!
//! The general decoder. It reads the frames that [`super::scan`] does not, and it is the one that says what is wrong.

use crate::channel::{Channel, Interval};
use crate::decimal::{DecimalError, Number, Price, Qty};
use crate::event::{Amount, Kline, Level, Ticker, TickerFields};
use crate::json::Value;
use crate::raw::{Content, DecodeError, Decoded, Notice, Numbers, Scale};
use crate::time::VenueTime;

use super::sink::{BestFields, Sink, TradeFields, UpdateFields};
use super::{TimeUnit, subscribe};

/// Event types that are documented and that we have no use for.
///
/// Source: binance-spot-api-docs, web-socket-streams.md, commit a5e0bc3; developers.binance.com, USD-M market streams.
const SKIPPED: [&str; 19] = [
    "24hrMiniTicker",
    "1hTicker",
    "4hTicker",
    "1dTicker",
    "avgPrice",
    "referencePrice",
    "blockTrade",
    "markPriceUpdate",
    "indexPriceUpdate",
    "indexPrice_kline",
    "markPrice_kline",
    "continuous_kline",
    "compositeIndex",
    "assetIndexUpdate",
    "forceOrder",
    "contractInfo",
    "openInterest",
    "nav",
    "rpiDepth",
];

/// Decodes a whole frame, and says whether it has one of the shapes that the scanner is for.
pub(super) fn frame(root: Value, mut sink: Sink) -> Result<(Decoded, bool), DecodeError> {
    let (name, data) = match root.get("data") {
        Some(data) => (Some(bytes(root, "stream")?), data),
        None => (None, root),
    };
    if let Some(mut items) = data.items() {
        // All symbols in one frame: only `!...@arr` streams, none of which we subscribe to.
        return match items.next().map(|first| first.get("e").and_then(Value::str)) {
            None => Ok((Decoded::Notice(Notice::Skipped("empty_array")), false)),
            Some(Some("24hrTicker")) => Ok((Decoded::Notice(Notice::Skipped("24hrTicker_array")), false)),
            Some(Some(event)) => Ok((skipped(event)?, false)),
            Some(None) => Err(DecodeError::UnknownChannel),
        };
    }
    let Some(event) = data.get("e") else { return without_type(root, name, data, &mut sink) };
    let sink = &mut sink;
    let hot = match event.str().ok_or(DecodeError::Invalid { field: "e" })? {
        "trade" => trade(data, Channel::Trade, "t", sink)?,
        "aggTrade" => trade(data, Channel::AggTrade, "a", sink)?,
        "depthUpdate" => update(data, name, sink)?,
        "bookTicker" => best(data, sink)?,
        "24hrTicker" => day(data, sink)?,
        "kline" if name.is_some_and(|name| name.ends_with(b"@+08:00")) => {
            return Ok((Decoded::Notice(Notice::Skipped("kline_utc8")), false));
        }
        "kline" => kline(data, sink)?,
        "serverShutdown" => return Ok((Decoded::Notice(Notice::ShutdownSoon), false)),
        event => return Ok((skipped(event)?, false)),
    };
    Ok((Decoded::Data, hot))
}

fn skipped(event: &str) -> Result<Decoded, DecodeError> {
    let name = SKIPPED.iter().find(|&&name| name == event).ok_or(DecodeError::UnknownChannel)?;
    Ok(Decoded::Notice(Notice::Skipped(name)))
}

/// Spot's best prices and partial books have no `e`; nor have answers to our requests.
fn without_type(
    root: Value,
    name: Option<&[u8]>,
    data: Value,
    sink: &mut Sink,
) -> Result<(Decoded, bool), DecodeError> {
    if data.get("lastUpdateId").is_some() {
        partial(data, name.ok_or(DecodeError::Missing { field: "stream" })?, sink)?;
        return Ok((Decoded::Data, true));
    }
    if data.get("u").is_some() && data.get("B").is_some() {
        best(data, sink)?;
        return Ok((Decoded::Data, true));
    }
    let request = root.get("id").and_then(Value::u64);
    if let Some(refused) = refusal(root, request) {
        return Ok((Decoded::Notice(refused), false));
    }
    match root.get("result") {
        Some(result) if result.is_null() => {
            Ok((Decoded::Notice(Notice::Accepted { request, stream: None, depth: None }), false))
        }
        Some(_) => Ok((Decoded::Notice(Notice::Skipped("result")), false)),
        None => Err(DecodeError::UnknownChannel),
    }
}

/// `{"code":2,"msg":"..."}`, at the top or under `error`.
pub(super) fn refusal(root: Value, request: Option<u64>) -> Option<Notice> {
    let body = root.get("error").unwrap_or(root);
    let code = body.get("code").and_then(Value::i64)?;
    let mut reason = heapless::String::new();
    for letter in body.get("msg").and_then(Value::str).unwrap_or_default().chars() {
        if reason.push(letter).is_err() {
            break;
        }
    }
    Some(Notice::Refused { request, code, reason })
}

fn trade(data: Value, channel: Channel, id: &'static str, sink: &mut Sink) -> Result<bool, DecodeError> {
    let time = time(data, sink.unit)?.ok_or(DecodeError::Missing { field: "T" })?;
    let id = whole(data, id)?;
    let buyer_made = flag(data, "m")?;
    let market = data.get("X").is_none_or(|kind| kind.str() == Some("MARKET"));
    let (price, qty) = (bytes(data, "p")?, bytes(data, "q")?);
    let listing = sink.listing(bytes(data, "s")?)?;
    let scale = sink.scale(listing);
    let fields = TradeFields {
        channel,
        id,
        time,
        price: positive_price(scale, price, "p")?,
        qty: positive_qty(scale, qty, "q")?,
        buyer_made,
        market,
    };
    sink.trade(listing, &fields)?;
    Ok(true)
}

fn best(data: Value, sink: &mut Sink) -> Result<bool, DecodeError> {
    let number = whole(data, "u")?;
    let time = time(data, sink.unit)?.unwrap_or(VenueTime::ABSENT);
    let listing = sink.listing(bytes(data, "s")?)?;
    let scale = sink.scale(listing);
    let fields = BestFields {
        number,
        time,
        bid: positive_price(scale, bytes(data, "b")?, "b")?,
        bid_qty: positive_qty(scale, bytes(data, "B")?, "B")?,
        ask: positive_price(scale, bytes(data, "a")?, "a")?,
        ask_qty: positive_qty(scale, bytes(data, "A")?, "A")?,
    };
    sink.best(listing, &fields)?;
    Ok(true)
}

fn update(data: Value, name: Option<&[u8]>, sink: &mut Sink) -> Result<bool, DecodeError> {
    let time = time(data, sink.unit)?.ok_or(DecodeError::Missing { field: "E" })?;
    let (first, last) = (whole(data, "U")?, whole(data, "u")?);
    // -1 where there is none before (seen on COIN-M).
    let previous = match data.get("pu").map(|number| number.i64().ok_or(DecodeError::Invalid { field: "pu" }))
    {
        Some(number) => u64::try_from(number?).ok(),
        None => None,
    };
    let listing = sink.listing(bytes(data, "s")?)?;
    levels(data, "b", true, listing, sink)?;
    levels(data, "a", false, listing, sink)?;
    sink.update(listing, &UpdateFields { name, first, last, previous, time })?;
    Ok(true)
}

fn partial(data: Value, name: &[u8], sink: &mut Sink) -> Result<(), DecodeError> {
    let number = whole(data, "lastUpdateId")?;
    let channel = subscribe::book_channel(name, sink.product)
        .filter(|channel| !channel.is_book())
        .ok_or(DecodeError::UnknownChannel)?;
    let listing = sink.listing_of_name(name)?;
    levels(data, "bids", true, listing, sink)?;
    levels(data, "asks", false, listing, sink)?;
    sink.snapshot(listing, Some(channel), number, VenueTime::ABSENT);
    Ok(())
}

/// Reads the levels of one side. A level may have more than price and quantity: old frames had an empty list there.
pub(super) fn levels(
    data: Value,
    field: &'static str,
    bids: bool,
    listing: crate::ids::Listing,
    sink: &mut Sink,
) -> Result<(), DecodeError> {
    let scale = sink.scale(listing);
    let invalid = DecodeError::Invalid { field };
    let items = data.get(field).ok_or(DecodeError::Missing { field })?.items().ok_or(invalid)?;
    let side = sink.side(bids);
    for item in items {
        let mut pair = item.items().ok_or(invalid)?;
        let mut text = || pair.next().and_then(Value::bytes).ok_or(invalid);
        let price = positive_price(scale, text()?, field)?;
        let qty = positive_qty(scale, text()?, field)?;
        side.push(Level { price, qty });
    }
    Ok(())
}

/// Statistics of 24 hours. They have no number of their own: the event time (1000 ms apart) stands for one, so that two
/// lines can be told apart from one that repeats itself.
fn day(data: Value, sink: &mut Sink) -> Result<bool, DecodeError> {
    let event_time = whole(data, "E")?;
    let listing = sink.listing(bytes(data, "s")?)?;
    let scale = sink.scale(listing);
    let price = |field| positive_price(scale, bytes(data, field)?, field);
    let qty = |field| positive_qty(scale, bytes(data, field)?, field);
    let mut ticker = Ticker {
        last: price("c")?,
        last_qty: qty("Q")?,
        open: price("o")?,
        high: price("h")?,
        low: price("l")?,
        volume: qty("v")?,
        fields: TickerFields::LAST
            .with(TickerFields::LAST_QTY)
            .with(TickerFields::RANGE)
            .with(TickerFields::VOLUME),
        ..Ticker::default()
    };
    // USD-M has no best prices here.
    if data.get("b").is_some() {
        ticker.bid = price("b")?;
        ticker.bid_qty = qty("B")?;
        ticker.ask = price("a")?;
        ticker.ask_qty = qty("A")?;
        ticker.fields = ticker.fields.with(TickerFields::BEST);
    }
    let time = sink.unit.time(event_time);
    let numbers = Numbers::single(event_time);
    sink.push(listing, Channel::Ticker24h, numbers, time, Content::Ticker(ticker))?;
    Ok(false)
}

/// A kline; its number is the event time, as for [`day`].
fn kline(data: Value, sink: &mut Sink) -> Result<bool, DecodeError> {
    let event_time = whole(data, "E")?;
    let body = data.get("k").ok_or(DecodeError::Missing { field: "k" })?;
    let interval = Interval::from_bytes(bytes(body, "i")?).ok_or(DecodeError::Invalid { field: "i" })?;
    let (open_time, close_time) = (whole(body, "t")?, whole(body, "T")?);
    let (trade_count, last) = (whole(body, "n")?, flag(body, "x")?);
    let listing = sink.listing(bytes(data, "s")?)?;
    let scale = sink.scale(listing);
    let price = |field| positive_price(scale, bytes(body, field)?, field);
    let qty = |field| positive_qty(scale, bytes(body, field)?, field);
    let kline = Kline {
        open_time: sink.unit.time(open_time),
        close_time: sink.unit.time(close_time),
        open: price("o")?,
        high: price("h")?,
        low: price("l")?,
        close: price("c")?,
        volume: qty("v")?,
        taker_buy_volume: qty("V")?,
        quote_volume: amount(bytes(body, "q")?, "q")?,
        trade_count,
        interval,
    };
    let time = sink.unit.time(event_time);
    let content = Content::Kline(kline, last);
    sink.push(listing, Channel::Kline(interval), Numbers::single(event_time), time, content)?;
    Ok(false)
}

fn amount(text: &[u8], field: &'static str) -> Result<Amount, DecodeError> {
    let number = Number::parse(text).map_err(|error| DecodeError::Decimal { field, error })?.trimmed();
    Ok(Amount { mantissa: number.mantissa, decimals: number.decimals })
}

/// When it happened (`T`), or else when the venue sent it (`E`).
fn time(data: Value, unit: TimeUnit) -> Result<Option<VenueTime>, DecodeError> {
    for field in ["T", "E"] {
        if let Some(value) = data.get(field) {
            return value.u64().map(|value| Some(unit.time(value))).ok_or(DecodeError::Invalid { field });
        }
    }
    Ok(None)
}

pub(super) fn whole(data: Value, field: &'static str) -> Result<u64, DecodeError> {
    data.get(field).ok_or(DecodeError::Missing { field })?.u64().ok_or(DecodeError::Invalid { field })
}

pub(super) fn flag(data: Value, field: &'static str) -> Result<bool, DecodeError> {
    data.get(field).ok_or(DecodeError::Missing { field })?.bool().ok_or(DecodeError::Invalid { field })
}

pub(super) fn bytes<'a>(data: Value<'a>, field: &'static str) -> Result<&'a [u8], DecodeError> {
    data.get(field).ok_or(DecodeError::Missing { field })?.bytes().ok_or(DecodeError::Invalid { field })
}

/// A price that is not negative.
pub(super) fn positive_price(scale: Scale, text: &[u8], field: &'static str) -> Result<Price, DecodeError> {
    scale.price(text, field).and_then(|price| {
        if price.0 < 0 {
            Err(DecodeError::Decimal { field, error: DecimalError::Malformed })
        } else {
            Ok(price)
        }
    })
}

/// A quantity that is not negative.
pub(super) fn positive_qty(scale: Scale, text: &[u8], field: &'static str) -> Result<Qty, DecodeError> {
    scale.qty(text, field).and_then(|qty| {
        if qty.0 < 0 { Err(DecodeError::Decimal { field, error: DecimalError::Malformed }) } else { Ok(qty) }
    })
}
