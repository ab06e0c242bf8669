//! The general decoder: every frame, any order of fields, from the tape of a copy whose numbers are quoted.
//!
//! Adds to an open directory what it does not know, and names what is wrong. Numbers are strings here, so whether the
//! venue quoted a number itself cannot be told and does not matter.

use crate::channel::Channel;
use crate::decimal::{Number, Price, Qty};
use crate::directory::{Directory, OrderFilters};
use crate::event::{Amount, Kline, Level, Side, Ticker, TickerFields, Trade};
use crate::ids::{Listing, StreamId};
use crate::json::Value;
use crate::raw::{
    BookMessage, Content, DecodeError, Decoded, MESSAGES_PER_RAW_MAX, Message, Notice, Numbers, Raw, Scale,
};
use crate::rfc3339;
use crate::time::VenueTime;

use super::subscribe;
use super::symbols::{Facts, Pairs, is_delisted, is_trading, is_wanted, unit};

/// The commonest frame of a quiet connection, as the venue prints it.
pub const HEARTBEAT: &[u8] = br#"{"channel":"heartbeat"}"#;

/// What a ticker message carries: the day's range without its first price.
pub const TICKER_FIELDS: TickerFields =
    TickerFields::BEST.with(TickerFields::LAST).with(TickerFields::RANGE).with(TickerFields::VOLUME);

/// Whether the frame is of a shape that the scanner is for.
pub fn is_hot(raw: &Raw) -> bool {
    raw.messages.first().is_some_and(|message| !matches!(message.content, Content::Kline(..)))
}

/// One frame's decoding.
pub struct Decoder<'a> {
    /// Who is listed.
    pub directory: &'a mut Directory,
    /// What the lists say.
    pub pairs: &'a mut Pairs,
    /// Where messages go.
    pub raw: &'a mut Raw,
}

impl Decoder<'_> {
    /// Decodes a frame: data has a `channel`, an answer has a `method`, and a complaint perhaps only an `error`.
    ///
    /// # Errors
    /// [`DecodeError`]
    pub fn frame(&mut self, root: Value) -> Result<Decoded, DecodeError> {
        if let Some(channel) = root.get("channel") {
            return self.channel(channel.str().ok_or(DecodeError::Invalid { field: "channel" })?, root);
        }
        if root.get("error").is_some() {
            return Ok(Decoded::Notice(refusal(root)));
        }
        match root.get("method").and_then(Value::str) {
            Some(_) if root.get("success").and_then(Value::bool) == Some(false) => {
                Ok(Decoded::Notice(refusal(root)))
            }
            Some("subscribe") => Ok(Decoded::Notice(self.accepted(root)?)),
            Some("unsubscribe") => {
                let stream = self.acknowledged(field(root, "result")?);
                Ok(Decoded::Notice(Notice::Ended { request: request(root), stream }))
            }
            Some("pong") => Ok(Decoded::Notice(Notice::Pong)),
            _ => Err(DecodeError::UnknownChannel),
        }
    }

    fn channel(&mut self, channel: &str, root: Value) -> Result<Decoded, DecodeError> {
        match channel {
            "book" => {
                let snapshot = is_snapshot(root)?;
                self.each(root, |decoder, item| decoder.book(item, snapshot))
            }
            "trade" => {
                let snapshot = is_snapshot(root)?;
                self.each(root, |decoder, item| decoder.trade(item, snapshot))
            }
            "ticker" => {
                is_snapshot(root)?;
                self.each(root, Self::ticker)
            }
            "ohlc" => {
                is_snapshot(root)?;
                let venue_time = time(root, "timestamp")?.unwrap_or(VenueTime::ABSENT);
                self.each(root, |decoder, item| decoder.kline(item, venue_time))
            }
            "instrument" => {
                is_snapshot(root)?;
                self.instruments(field(root, "data")?)?;
                Ok(Decoded::Notice(Notice::Skipped("instrument")))
            }
            "status" => {
                let status = field(root, "data")?.at(0).ok_or(DecodeError::Missing { field: "data" })?;
                // Others: maintenance, cancel_only, post_only. Source: docs.kraken.com, `status`, 2026-05-27.
                Ok(Decoded::Notice(Notice::Status { online: text(status, "system")? == b"online" }))
            }
            "heartbeat" => Ok(Decoded::Notice(Notice::Heartbeat)),
            _ => Err(DecodeError::UnknownChannel),
        }
    }

    fn each(
        &mut self,
        root: Value,
        mut decode: impl FnMut(&mut Self, Value) -> Result<(), DecodeError>,
    ) -> Result<Decoded, DecodeError> {
        for item in items(root, "data")? {
            decode(self, item)?;
        }
        Ok(Decoded::Data)
    }

    fn listing(&mut self, item: Value) -> Result<Listing, DecodeError> {
        let symbol = text(item, "symbol")?;
        self.pairs.listing(self.directory, symbol).ok_or(DecodeError::UnknownSymbol)
    }

    fn push(
        &mut self,
        stream: StreamId,
        listing: Listing,
        numbers: Numbers,
        venue_time: VenueTime,
        content: Content,
    ) -> Result<(), DecodeError> {
        if self.raw.messages.len() == MESSAGES_PER_RAW_MAX {
            return Err(DecodeError::TooMany);
        }
        let decimals = self.directory.instrument(listing).decimals;
        self.raw.messages.push(Message { stream, listing, decimals, numbers, venue_time, content });
        Ok(())
    }

    fn book(&mut self, item: Value, snapshot: bool) -> Result<(), DecodeError> {
        let listing = self.listing(item)?;
        let Some(stream) = self.directory.carried_book(listing) else { return Ok(()) };
        let scale = Scale::of(self.directory, listing);
        let (first_bid, first_ask) = (self.raw.bids.len() as u32, self.raw.asks.len() as u32);
        levels(item, "bids", scale, &mut self.raw.bids)?;
        levels(item, "asks", scale, &mut self.raw.asks)?;
        // Without it nothing would tell a broken book, so an update that lacks it is an error.
        let checksum = whole(text(item, "checksum")?)
            .and_then(|number| u32::try_from(number).ok())
            .ok_or(DecodeError::Invalid { field: "checksum" })?;
        let venue_time = time(item, "timestamp")?.unwrap_or(VenueTime::ABSENT);
        let book = BookMessage {
            snapshot,
            bids: first_bid..self.raw.bids.len() as u32,
            asks: first_ask..self.raw.asks.len() as u32,
            checksum: Some(checksum),
        };
        self.push(stream, listing, Numbers::NONE, venue_time, Content::Book(book))
    }

    fn trade(&mut self, item: Value, snapshot: bool) -> Result<(), DecodeError> {
        let listing = self.listing(item)?;
        let Some(stream) = self.directory.carried(listing, Channel::Trade) else { return Ok(()) };
        let scale = Scale::of(self.directory, listing);
        let trade = Trade {
            price: price(item, "price", scale)?,
            qty: qty(item, "qty", scale)?,
            id: whole(text(item, "trade_id")?).ok_or(DecodeError::Invalid { field: "trade_id" })?,
            taker_side: match text(item, "side")? {
                b"buy" => Side::Buy,
                b"sell" => Side::Sell,
                _ => return Err(DecodeError::Invalid { field: "side" }),
            },
        };
        let venue_time = time(item, "timestamp")?.ok_or(DecodeError::Missing { field: "timestamp" })?;
        let content = if snapshot { Content::TradeBefore(trade) } else { Content::Trade(trade) };
        self.push(stream, listing, Numbers::single(trade.id), venue_time, content)
    }

    fn ticker(&mut self, item: Value) -> Result<(), DecodeError> {
        let listing = self.listing(item)?;
        let Some(stream) = self.directory.carried(listing, Channel::Ticker) else { return Ok(()) };
        let scale = Scale::of(self.directory, listing);
        let ticker = Ticker {
            bid: price(item, "bid", scale)?,
            bid_qty: qty(item, "bid_qty", scale)?,
            ask: price(item, "ask", scale)?,
            ask_qty: qty(item, "ask_qty", scale)?,
            last: price(item, "last", scale)?,
            volume: qty(item, "volume", scale)?,
            low: price(item, "low", scale)?,
            high: price(item, "high", scale)?,
            fields: TICKER_FIELDS,
            ..Ticker::default()
        };
        let venue_time = time(item, "timestamp")?.unwrap_or(VenueTime::ABSENT);
        self.push(stream, listing, Numbers::NONE, venue_time, Content::Ticker(ticker))
    }

    /// A kline. Its own `timestamp` is the interval's end and deprecated; when it was sent stands beside `data`.
    ///
    /// Never final: the venue has no mark for it. It is final once a later interval begins or this one has passed.
    fn kline(&mut self, item: Value, venue_time: VenueTime) -> Result<(), DecodeError> {
        let listing = self.listing(item)?;
        let minutes = text(item, "interval")?;
        let interval = subscribe::interval(minutes).ok_or(DecodeError::Invalid { field: "interval" })?;
        let Some(stream) = self.directory.carried(listing, Channel::Kline(interval)) else { return Ok(()) };
        let scale = Scale::of(self.directory, listing);
        let invalid = DecodeError::Invalid { field: "interval_begin" };
        let begin = time(item, "interval_begin")?.ok_or(DecodeError::Missing { field: "interval_begin" })?;
        let open_ns = begin.ns().ok_or(invalid)?;
        let length_ns = whole(minutes).unwrap_or(0) * 60_000_000_000;
        let kline = Kline {
            open_time: begin,
            close_time: VenueTime::from_ns(open_ns.checked_add(length_ns - 1).ok_or(invalid)?),
            open: price(item, "open", scale)?,
            high: price(item, "high", scale)?,
            low: price(item, "low", scale)?,
            close: price(item, "close", scale)?,
            volume: qty(item, "volume", scale)?,
            taker_buy_volume: Qty::default(),
            // Volume times `vwap` would be near, but `vwap` is rounded.
            quote_volume: Amount::default(),
            trade_count: whole(text(item, "trades")?).ok_or(DecodeError::Invalid { field: "trades" })?,
            interval,
        };
        self.push(stream, listing, Numbers::NONE, venue_time, Content::Kline(kline, false))
    }

    /// Takes note of all pairs that are well-formed, and then complains about the first that is not.
    fn instruments(&mut self, data: Value) -> Result<(), DecodeError> {
        let mut result = Ok(());
        for pair in items(data, "pairs")? {
            result = result.and(self.instrument(pair));
        }
        result
    }

    fn instrument(&mut self, pair: Value) -> Result<(), DecodeError> {
        let string =
            |name: &'static str| field(pair, name)?.str().ok_or(DecodeError::Invalid { field: name });
        let venue_symbol = string("symbol")?;
        if !is_wanted(self.directory, venue_symbol) {
            return Ok(());
        }
        let decimals = crate::decimal::Decimals {
            price: precision(pair, "price_precision")?,
            qty: precision(pair, "qty_precision")?,
        };
        let facts = Facts {
            symbol: format!("{}-{}", string("base")?, string("quote")?),
            decimals,
            filters: OrderFilters {
                tick: number(pair, "price_increment")?.unwrap_or(unit(decimals.price)),
                lot: number(pair, "qty_increment")?.unwrap_or(unit(decimals.qty)),
                qty_min: number(pair, "qty_min")?.unwrap_or_default(),
                qty_max: Number::default(),
                notional_min: number(pair, "cost_min")?.unwrap_or_default(),
            },
            trading: is_trading(text(pair, "status")?),
            delisted: is_delisted(text(pair, "status")?),
        };
        self.pairs.learn(self.directory, venue_symbol, facts);
        Ok(())
    }

    fn accepted(&mut self, root: Value) -> Result<Notice, DecodeError> {
        let result = field(root, "result")?;
        let depth = match result.get("depth").and_then(Value::bytes) {
            None => None,
            Some(depth) => Some(
                whole(depth)
                    .and_then(|depth| u16::try_from(depth).ok())
                    .ok_or(DecodeError::Invalid { field: "depth" })?,
            ),
        };
        Ok(Notice::Accepted { request: request(root), stream: self.acknowledged(result), depth })
    }

    /// The stream that an answer is about; the heartbeat, the instruments and what nobody listed have none.
    fn acknowledged(&mut self, result: Value) -> Option<StreamId> {
        let channel = result.get("channel")?.str()?;
        let known = matches!(channel, "book" | "trade" | "ticker" | "ohlc");
        let symbol = result.get("symbol").filter(|_| known)?.bytes()?;
        let listing = self.pairs.listing(self.directory, symbol)?;
        match channel {
            "book" => self.directory.carried_book(listing),
            "trade" => self.directory.carried(listing, Channel::Trade),
            "ticker" => self.directory.carried(listing, Channel::Ticker),
            _ => {
                let interval = subscribe::interval(result.get("interval")?.bytes()?)?;
                self.directory.carried(listing, Channel::Kline(interval))
            }
        }
    }
}

/// Our number of the request that an answer is for.
fn request(root: Value) -> Option<u64> {
    whole(root.get("req_id")?.bytes()?)
}

fn refusal(root: Value) -> Notice {
    let words = root.get("error").and_then(Value::str).unwrap_or("no reason given");
    Notice::Refused { request: request(root), code: 0, reason: cut([words]) }
}

/// The venue's words, as many as fit, joined by `; `.
pub fn cut<'a>(words: impl IntoIterator<Item = &'a str>) -> heapless::String<120> {
    let mut reason = heapless::String::new();
    for text in words {
        let separator = if reason.is_empty() { "" } else { "; " };
        for letter in separator.chars().chain(text.chars()) {
            if reason.push(letter).is_err() {
                return reason;
            }
        }
    }
    reason
}

fn is_snapshot(root: Value) -> Result<bool, DecodeError> {
    match text(root, "type")? {
        b"snapshot" => Ok(true),
        b"update" => Ok(false),
        _ => Err(DecodeError::Invalid { field: "type" }),
    }
}

/// A field that must be there.
pub fn field<'a>(value: Value<'a>, name: &'static str) -> Result<Value<'a>, DecodeError> {
    value.get(name).ok_or(DecodeError::Missing { field: name })
}

/// The elements of a field that must be an array.
pub fn items<'a>(
    value: Value<'a>,
    name: &'static str,
) -> Result<impl Iterator<Item = Value<'a>>, DecodeError> {
    field(value, name)?.items().ok_or(DecodeError::Invalid { field: name })
}

/// The bytes of a field that must be a string or a number.
pub fn text<'a>(value: Value<'a>, name: &'static str) -> Result<&'a [u8], DecodeError> {
    field(value, name)?.bytes().ok_or(DecodeError::Invalid { field: name })
}

/// A whole number without sign, point or exponent.
pub fn whole(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| value.checked_mul(10)?.checked_add(u64::from(byte - b'0')))
}

/// A decimal number that may be absent, at its own scale: a precision, an increment, a minimum.
pub fn number(value: Value, name: &'static str) -> Result<Option<Number>, DecodeError> {
    let Some(value) = value.get(name) else { return Ok(None) };
    let text = value.bytes().ok_or(DecodeError::Invalid { field: name })?;
    Number::parse(text).map(Some).map_err(|error| DecodeError::Decimal { field: name, error })
}

/// Digits behind the point that a list gives.
pub fn precision(value: Value, name: &'static str) -> Result<u8, DecodeError> {
    whole(text(value, name)?)
        .and_then(|digits| u8::try_from(digits).ok())
        .filter(|&digits| digits <= crate::decimal::DECIMALS_MAX)
        .ok_or(DecodeError::Invalid { field: name })
}

fn time(value: Value, name: &'static str) -> Result<Option<VenueTime>, DecodeError> {
    let Some(value) = value.get(name) else { return Ok(None) };
    value.bytes().and_then(rfc3339::parse).map(Some).ok_or(DecodeError::Invalid { field: name })
}

fn price(value: Value, name: &'static str, scale: Scale) -> Result<Price, DecodeError> {
    match scale.price(text(value, name)?, name)? {
        Price(..0) => Err(DecodeError::Invalid { field: name }),
        price => Ok(price),
    }
}

fn qty(value: Value, name: &'static str, scale: Scale) -> Result<Qty, DecodeError> {
    match scale.qty(text(value, name)?, name)? {
        Qty(..0) => Err(DecodeError::Invalid { field: name }),
        qty => Ok(qty),
    }
}

fn levels(item: Value, name: &'static str, scale: Scale, levels: &mut Vec<Level>) -> Result<(), DecodeError> {
    for level in items(item, name)? {
        levels.push(Level { price: price(level, "price", scale)?, qty: qty(level, "qty", scale)? });
    }
    Ok(())
}
