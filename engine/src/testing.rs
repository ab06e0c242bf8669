//! A venue for tests: real in all that the engine asks of a venue, with a protocol that fits on one line.
//!
//! A frame is a list of messages, separated by `;`, after an optional number of the frame on its connection (`#7 `):
//!
//! | message | is |
//! |---|---|
//! | `T AAA 17` | trade 17 of instrument AAA; `t` has its place among the ids and is not published |
//! | `Q AAA 5` | best prices with number 5 |
//! | `K AAA 60`, `K AAA 60 final` | the kline that opened at 60 ns, so far or final |
//! | `D AAA 101-103 p100 b10.5=2 a11=0` | book update over 101..=103; `p` names the end of the one before; bids and asks |
//! | `S AAA 100 b10=1 a11=1` | book snapshot at 100; `c<number>` in either is a checksum |
//! | `P AAA 3 b10=1` | partial book |
//! | `!` | heartbeat |
//!
//! REST bodies are written in the same way. A book without numbers writes `-` for them.

use crate::book::BookRule;
use crate::book::{Book, Checksum};
use crate::channel::{Channel, Interval};
use crate::decimal::{Price, Qty};
use crate::directory::Directory;
use crate::dispatch::Dispatcher;
use crate::event::{Amount, Kline, Level, Side, Ticker, TickerFields, Trade};
use crate::ids::{InstrumentId, Listing, ProviderId, StreamId};
use crate::pipeline::{Pipeline, PipelineOptions};
use crate::pools::PoolSizes;
use crate::raw::{BookMessage, Content, DecodeError, Decoded, Message, Notice, Numbers, Raw, Scale};
use crate::sequence::Patience;
use crate::time::VenueTime;
use crate::venue::{ConnectionLimits, Endpoints, Fallbacks, RestRequest, SequenceRule, Venue};

/// The channel of partial books in the protocol.
pub const PARTIAL: Channel = Channel::PartialBook { depth: 5, speed_ms: 0 };

/// All channels of the protocol: an instrument's streams stand in this order.
pub const CHANNELS: [Channel; 5] =
    [Channel::Trade, Channel::Book { speed_ms: 0 }, Channel::Ticker, Channel::Kline(Interval::M1), PARTIAL];

/// The venue.
#[derive(Clone, Copy, Debug)]
pub struct TextVenue {
    /// How its books are made.
    pub book_rule: BookRule,
}

/// The checksum of the protocol: of all levels in order, so that a level too many or too few shows.
pub fn checksum(book: &Book) -> u32 {
    let levels = book.bids.iter().chain(book.asks.iter());
    levels.fold(7, |sum: u32, level| {
        sum.wrapping_mul(31)
            .wrapping_add(level.price.0 as u32)
            .wrapping_mul(31)
            .wrapping_add(level.qty.0 as u32)
    })
}

/// Options for a pipeline of one line whose books hold at most 1000 levels a side.
pub fn options() -> PipelineOptions {
    PipelineOptions {
        pools: PoolSizes::SPEC,
        patience: Patience::SPEC,
        book_depth_max: 1_000,
        book_reserve: 64,
        book_waiting_max: 50,
        letters_max: 16,
        lines: 1,
        snapshot_levels: usize::MAX,
        fill_trades: false,
        share: (0, 1),
        route_all_to: None,
    }
}

/// A closed directory of these instruments with every channel of [`CHANNELS`] each.
pub fn directory(symbols: &[&str]) -> Directory {
    let mut directory = Directory::closed(ProviderId(0));
    for (index, symbol) in symbols.iter().enumerate() {
        let listing = directory.add(symbol, symbol, InstrumentId(index as u16)).expect("a short symbol");
        for channel in CHANNELS {
            directory.add_stream(listing, channel);
        }
    }
    directory
}

/// The stream of a channel of an instrument of [`directory`].
pub fn stream(instrument: usize, channel: Channel) -> StreamId {
    let at = CHANNELS.iter().position(|known| *known == channel).expect("a channel of the protocol");
    StreamId((instrument * CHANNELS.len() + at) as u32)
}

/// A pipeline for these instruments.
pub fn pipeline(
    book_rule: BookRule,
    symbols: &[&str],
    dispatcher: Dispatcher,
    options: PipelineOptions,
) -> Pipeline<TextVenue> {
    Pipeline::new(TextVenue { book_rule }, directory(symbols), dispatcher, options)
}

impl TextVenue {
    fn message(text: &str, directory: &mut Directory, raw: &mut Raw) -> Result<(), DecodeError> {
        const MALFORMED: DecodeError = DecodeError::Json;
        let mut words = text.split_whitespace();
        let kind = words.next().ok_or(MALFORMED)?;
        let symbol = words.next().ok_or(DecodeError::Missing { field: "symbol" })?;
        let channel = match kind {
            "T" | "t" => Channel::Trade,
            "Q" => Channel::Ticker,
            "K" => Channel::Kline(Interval::M1),
            "D" | "S" => Channel::Book { speed_ms: 0 },
            "P" => PARTIAL,
            _ => return Err(DecodeError::UnknownChannel),
        };
        let listing = directory.listing(symbol.as_bytes()).ok_or(DecodeError::UnknownSymbol)?;
        let stream = directory.carried(listing, channel).ok_or(DecodeError::UnknownSymbol)?;
        let number = words.next().ok_or(MALFORMED)?;
        let mut numbers = match number.split_once('-') {
            Some(("", "")) => Numbers::NONE,
            Some((first, last)) => Numbers {
                first: first.parse().map_err(|_| MALFORMED)?,
                last: last.parse().map_err(|_| MALFORMED)?,
                previous: None,
            },
            None => Numbers::single(number.parse().map_err(|_| MALFORMED)?),
        };
        let scale = Scale::of(directory, listing);
        let id = numbers.last;
        let trade = Trade { price: Price(id as i64), qty: Qty(1), id, taker_side: Side::Buy };
        let content = match kind {
            "T" => Content::Trade(trade),
            "t" => Content::TradeBefore(trade),
            "Q" => Content::Ticker(Ticker {
                bid: Price(id as i64),
                ask: Price(id as i64 + 1),
                fields: TickerFields::BEST,
                ..Ticker::default()
            }),
            "K" => {
                numbers = Numbers::NONE;
                Content::Kline(kline(id), words.next() == Some("final"))
            }
            _ => {
                let (bids_from, asks_from) = (raw.bids.len(), raw.asks.len());
                let mut checksum = None;
                for word in words {
                    let (side, rest) = word.split_at_checked(1).ok_or(MALFORMED)?;
                    match side {
                        "p" => numbers.previous = Some(rest.parse().map_err(|_| MALFORMED)?),
                        "c" => checksum = Some(rest.parse().map_err(|_| MALFORMED)?),
                        "a" | "b" => {
                            let (price, qty) = rest.split_once('=').ok_or(MALFORMED)?;
                            let price = scale.price(price.as_bytes(), "price")?;
                            let qty = scale.qty(qty.as_bytes(), "qty")?;
                            let side = if side == "a" { &mut raw.asks } else { &mut raw.bids };
                            side.push(Level { price, qty });
                        }
                        _ => return Err(MALFORMED),
                    }
                }
                Content::Book(BookMessage {
                    snapshot: kind != "D",
                    bids: bids_from as u32..raw.bids.len() as u32,
                    asks: asks_from as u32..raw.asks.len() as u32,
                    checksum,
                })
            }
        };
        let decimals = scale.decimals();
        let venue_time = VenueTime::ABSENT;
        raw.messages.push(Message { stream, listing, decimals, numbers, venue_time, content });
        Ok(())
    }
}

/// A kline that opened at `open_ns`.
pub fn kline(open_ns: u64) -> Kline {
    Kline {
        open_time: VenueTime::from_ns(open_ns),
        close_time: VenueTime::from_ns(open_ns + 1),
        open: Price(1),
        high: Price(2),
        low: Price(1),
        close: Price(2),
        volume: Qty(1),
        taker_buy_volume: Qty(0),
        quote_volume: Amount::default(),
        trade_count: 1,
        interval: Interval::M1,
    }
}

impl Venue for TextVenue {
    type Progress = ();

    fn name(&self) -> &'static str {
        "text"
    }

    fn limits(&self) -> ConnectionLimits {
        ConnectionLimits {
            streams_max: 100,
            messages_per_s_max: 10,
            message_bytes_max: 1_000,
            streams_per_message_max: 10,
            age_s_max: 0,
            silence_ms_max: 60_000,
            ping_every_ms: 0,
            connects_max: 10,
            connects_window_s: 1,
            rest_weight_max: 100,
            rest_window_s: 1,
        }
    }

    fn live(&self) -> Endpoints {
        Endpoints { websocket: "ws://127.0.0.1", rest: "http://127.0.0.1" }
    }

    fn testnet(&self) -> Option<Endpoints> {
        None
    }

    fn websocket_path(&self) -> String {
        "/".to_owned()
    }

    fn venue_symbol(&self, symbol: &str) -> String {
        symbol.to_owned()
    }

    fn supports(&self, channel: Channel) -> Result<(), &'static str> {
        if CHANNELS.contains(&channel) { Ok(()) } else { Err("another channel") }
    }

    fn sequence_rule(&self, channel: Channel) -> SequenceRule {
        match channel {
            Channel::Trade => SequenceRule::Contiguous,
            Channel::Ticker => SequenceRule::Monotonic,
            _ => SequenceRule::Arrival,
        }
    }

    fn book_rule(&self) -> BookRule {
        self.book_rule
    }

    fn checksum(&self) -> Option<Checksum> {
        (self.book_rule == BookRule::StreamSnapshotChecksum).then_some(|book, _| checksum(book))
    }

    fn subscribe(&self, _: &Directory, streams: &[StreamId], request: u64, text: &mut Vec<u8>) -> usize {
        text.extend_from_slice(format!("+{request}").as_bytes());
        streams.len().min(10)
    }

    fn unsubscribe(&self, _: &Directory, streams: &[StreamId], request: u64, text: &mut Vec<u8>) -> usize {
        text.extend_from_slice(format!("-{request}").as_bytes());
        streams.len().min(10)
    }

    fn ping(&self, _: u64, text: &mut Vec<u8>) {
        text.push(b'?');
    }

    fn instruments_request(&self) -> RestRequest {
        RestRequest { path: "/instruments".to_owned(), weight: 1 }
    }

    fn snapshot_request(&self, directory: &Directory, listing: Listing, _: usize) -> Option<RestRequest> {
        let symbol = &directory.instrument(listing).venue_symbol;
        Some(RestRequest { path: format!("/book/{symbol}"), weight: 1 })
    }

    fn trades_request(&self, _: &Directory, _: Listing, _: u64, _: u64) -> Option<RestRequest> {
        None
    }

    fn decode(
        &mut self,
        frame: &mut [u8],
        directory: &mut Directory,
        raw: &mut Raw,
    ) -> Result<Decoded, DecodeError> {
        let mut text = std::str::from_utf8(frame).map_err(|_| DecodeError::Json)?;
        if let Some(numbered) = text.strip_prefix('#') {
            let (number, rest) = numbered.split_once(' ').ok_or(DecodeError::Json)?;
            raw.connection_sequence = Some(number.parse().map_err(|_| DecodeError::Json)?);
            text = rest;
        }
        if text == "!" {
            return Ok(Decoded::Notice(Notice::Heartbeat));
        }
        for message in text.split(';') {
            Self::message(message, directory, raw)?;
        }
        Ok(Decoded::Data)
    }

    fn decode_rest(
        &mut self,
        _: &str,
        body: &mut [u8],
        directory: &mut Directory,
        raw: &mut Raw,
    ) -> Result<Decoded, DecodeError> {
        self.decode(body, directory, raw)
    }

    fn fallbacks(&self) -> Fallbacks {
        Fallbacks::default()
    }
}
