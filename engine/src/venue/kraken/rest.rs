//! Public REST: the list of pairs, the book, recent trades.
//!
//! A pair is named by REST's spelling, and the answer may use another than the request. Prices are strings with more
//! zeros than the pair's precision (`30384.10000` where the stream prints `30384.1`), so zeros at the end tell nothing
//! here. Sources: docs.kraken.com REST pages, 2026-05-27.

use crate::channel::Channel;
use crate::decimal::{Decimals, Number};
use crate::directory::{Directory, OrderFilters};
use crate::event::{Level, Side, Trade};
use crate::ids::Listing;
use crate::json::Value;
use crate::raw::{
    BookMessage, Content, DecodeError, Decoded, MESSAGES_PER_RAW_MAX, Message, Notice, Numbers, Raw, Scale,
};
use crate::time::VenueTime;
use crate::venue::RestRequest;

use super::decode::{cut, field, items, number, precision, whole};
use super::symbols::{Facts, Pairs, from_wsname, is_delisted, is_trading, is_wanted, rest_name, unit};

/// How a pair that there is not is refused. Source: docs.kraken.com, guide "API error messages", 2026-05-27.
pub const UNKNOWN_PAIR: &str = "EQuery:Unknown asset pair";
const PAIRS_PATH: &str = "/0/public/AssetPairs";
const BOOK_PATH: &str = "/0/public/Depth";
const TRADES_PATH: &str = "/0/public/Trades";

/// Levels a side that one answer holds at the most.
const BOOK_LEVELS_MAX: usize = 500;

/// Trades that one answer holds at the most.
const TRADES_MAX: usize = 1_000;

/// The list of all pairs.
pub fn instruments_request() -> RestRequest {
    RestRequest { path: PAIRS_PATH.to_owned(), weight: 1 }
}

/// One pair of the list. Source: docs.kraken.com, `AssetPairs`, parameter `pair`; an unknown one is refused with
/// `EQuery:Unknown asset pair`.
pub fn instrument_request(directory: &Directory, listing: Listing) -> RestRequest {
    let pair = rest_name(&directory.instrument(listing).venue_symbol);
    RestRequest { path: format!("{PAIRS_PATH}?pair={pair}"), weight: 1 }
}

/// A book. It has no checksum and no time, so it cannot be joined to the stream.
pub fn snapshot_request(directory: &Directory, listing: Listing, depth: usize) -> RestRequest {
    let pair = rest_name(&directory.instrument(listing).venue_symbol);
    let count = depth.clamp(1, BOOK_LEVELS_MAX);
    RestRequest { path: format!("{BOOK_PATH}?pair={pair}&count={count}"), weight: 1 }
}

/// The latest trades. `since` is a time and not a trade id, so the trades of a hole cannot be named; a hole that is
/// asked for as soon as it is seen lies within the latest thousand.
pub fn trades_request(directory: &Directory, listing: Listing) -> RestRequest {
    let pair = rest_name(&directory.instrument(listing).venue_symbol);
    RestRequest { path: format!("{TRADES_PATH}?pair={pair}&count={TRADES_MAX}"), weight: 1 }
}

/// One answer's decoding.
pub struct Answer<'a> {
    /// Who is listed.
    pub directory: &'a mut Directory,
    /// What the lists say.
    pub pairs: &'a mut Pairs,
    /// Where messages go.
    pub raw: &'a mut Raw,
}

impl Answer<'_> {
    /// Decodes the answer to a GET of `path`.
    ///
    /// `error` may hold warnings (`W...`) beside a result; an entry that is none refuses the request, HTTP 200 or not.
    ///
    /// # Errors
    /// [`DecodeError`]
    pub fn decode(&mut self, path: &str, root: Value) -> Result<Decoded, DecodeError> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let refused = || {
            let errors = root.get("error").and_then(Value::items).into_iter().flatten();
            errors.filter_map(Value::str).filter(|words| !words.starts_with('W'))
        };
        if refused().next().is_some() {
            return Ok(Decoded::Notice(Notice::Refused { request: None, code: 0, reason: cut(refused()) }));
        }
        let known = [PAIRS_PATH, BOOK_PATH, TRADES_PATH].contains(&path);
        let result =
            field(root, "result").map_err(|error| if known { error } else { DecodeError::UnknownChannel })?;
        match path {
            PAIRS_PATH => self.pairs(result),
            BOOK_PATH => self.book(query, result),
            TRADES_PATH => self.trades(query, result),
            _ => Err(DecodeError::UnknownChannel),
        }
    }

    /// Takes note of all pairs that are well-formed, and then complains about the first that is not.
    fn pairs(&mut self, result: Value) -> Result<Decoded, DecodeError> {
        let mut outcome = Ok(Decoded::Data);
        for (key, pair) in result.fields().ok_or(DecodeError::Invalid { field: "result" })? {
            if let Err(error) = self.pair(key, pair) {
                outcome = outcome.and(Err(error));
            }
        }
        outcome
    }

    fn pair(&mut self, key: &str, pair: Value) -> Result<(), DecodeError> {
        // Dark pools (`XXBTZUSD.d`) have no spelling for the stream, and no stream.
        let Some(wsname) = pair.get("wsname").and_then(Value::str) else { return Ok(()) };
        let venue_symbol = from_wsname(wsname).ok_or(DecodeError::Invalid { field: "wsname" })?;
        if !is_wanted(self.directory, &venue_symbol) {
            return Ok(());
        }
        let decimals =
            Decimals { price: precision(pair, "pair_decimals")?, qty: precision(pair, "lot_decimals")? };
        let facts = Facts {
            symbol: venue_symbol.replacen('/', "-", 1),
            decimals,
            filters: OrderFilters {
                tick: number(pair, "tick_size")?.unwrap_or(unit(decimals.price)),
                lot: unit(decimals.qty),
                qty_min: number(pair, "ordermin")?.unwrap_or_default(),
                qty_max: Number::default(),
                notional_min: number(pair, "costmin")?.unwrap_or_default(),
            },
            // Absent in the list of 2021.
            trading: pair.get("status").is_none_or(|status| status.bytes().is_some_and(is_trading)),
            delisted: pair.get("status").and_then(Value::bytes).is_some_and(is_delisted),
        };
        self.pairs.learn(self.directory, &venue_symbol, facts);
        self.pairs.learn_rest_name(key, &venue_symbol);
        if let Some(altname) = pair.get("altname").and_then(Value::str) {
            self.pairs.learn_rest_name(altname, &venue_symbol);
        }
        Ok(())
    }

    /// The answer's pair and what stands under its name: by our own request where that is known, else by the answer.
    fn named<'a>(&mut self, query: &str, result: Value<'a>) -> Result<(Listing, Value<'a>), DecodeError> {
        let fields = result.fields().ok_or(DecodeError::Invalid { field: "result" })?;
        let (key, value) =
            fields.clone().find(|(key, _)| *key != "last").ok_or(DecodeError::Missing { field: "result" })?;
        let asked = query.split('&').find_map(|part| part.strip_prefix("pair="));
        let listing = asked
            .and_then(|name| self.pairs.by_rest_name(self.directory, name))
            .or_else(|| self.pairs.by_rest_name(self.directory, key))
            .ok_or(DecodeError::UnknownSymbol)?;
        Ok((listing, value))
    }

    fn book(&mut self, query: &str, result: Value) -> Result<Decoded, DecodeError> {
        let (listing, book) = self.named(query, result)?;
        let Some(stream) = self.directory.carried_book(listing) else { return Ok(Decoded::Data) };
        let scale = Scale::of(self.directory, listing);
        levels(book, "bids", scale, &mut self.raw.bids)?;
        levels(book, "asks", scale, &mut self.raw.asks)?;
        let content = Content::Book(BookMessage {
            snapshot: true,
            bids: 0..self.raw.bids.len() as u32,
            asks: 0..self.raw.asks.len() as u32,
            checksum: None,
        });
        self.raw.messages.push(Message {
            stream,
            listing,
            decimals: scale.decimals(),
            numbers: Numbers::NONE,
            venue_time: VenueTime::ABSENT,
            content,
        });
        Ok(Decoded::Data)
    }

    /// Rows of price, quantity, seconds, `b` or `s`, `m` or `l`, remarks, trade id; oldest first.
    fn trades(&mut self, query: &str, result: Value) -> Result<Decoded, DecodeError> {
        let (listing, rows) = self.named(query, result)?;
        let Some(stream) = self.directory.carried(listing, Channel::Trade) else { return Ok(Decoded::Data) };
        let scale = Scale::of(self.directory, listing);
        for row in rows.items().ok_or(DecodeError::Invalid { field: "result" })? {
            let id = whole(column(row, 6, "trade_id")?).ok_or(DecodeError::Invalid { field: "trade_id" })?;
            let taker_side = match column(row, 3, "side")? {
                b"b" => Side::Buy,
                b"s" => Side::Sell,
                _ => return Err(DecodeError::Invalid { field: "side" }),
            };
            let trade = Trade {
                price: scale.price(plain(column(row, 0, "price")?), "price")?,
                qty: scale.qty(plain(column(row, 1, "volume")?), "volume")?,
                id,
                taker_side,
            };
            if self.raw.messages.len() == MESSAGES_PER_RAW_MAX {
                return Err(DecodeError::TooMany);
            }
            self.raw.messages.push(Message {
                stream,
                listing,
                decimals: scale.decimals(),
                numbers: Numbers::single(id),
                venue_time: seconds(column(row, 2, "time")?)?,
                content: Content::Trade(trade),
            });
        }
        Ok(Decoded::Data)
    }
}

fn levels(book: Value, name: &'static str, scale: Scale, levels: &mut Vec<Level>) -> Result<(), DecodeError> {
    for row in items(book, name)? {
        levels.push(Level {
            price: scale.price(plain(column(row, 0, "price")?), "price")?,
            qty: scale.qty(plain(column(row, 1, "volume")?), "volume")?,
        });
    }
    Ok(())
}

fn column<'a>(row: Value<'a>, index: usize, name: &'static str) -> Result<&'a [u8], DecodeError> {
    let value = row.at(index).ok_or(DecodeError::Missing { field: name })?;
    value.bytes().ok_or(DecodeError::Invalid { field: name })
}

/// A number's text without zeros at the end of its fraction: REST prints more than the pair has.
fn plain(text: &[u8]) -> &[u8] {
    if !text.contains(&b'.') || text.iter().any(|byte| matches!(byte, b'e' | b'E')) {
        return text;
    }
    let end = text.iter().rposition(|&byte| byte != b'0').map_or(0, |at| at + 1);
    let text = &text[..end];
    // A point that nothing precedes or that ended the text stays: both are malformed, and the parser says so.
    match text {
        [whole @ .., b'.'] if !whole.is_empty() => whole,
        _ => text,
    }
}

/// A time in seconds with a fraction, `1688671969.8401`.
fn seconds(text: &[u8]) -> Result<VenueTime, DecodeError> {
    let invalid = DecodeError::Invalid { field: "time" };
    let number = Number::parse(text).map_err(|error| DecodeError::Decimal { field: "time", error })?;
    let ns = number.at(9).map_err(|error| DecodeError::Decimal { field: "time", error })?;
    u64::try_from(ns).map(VenueTime::from_ns).map_err(|_| invalid)
}
