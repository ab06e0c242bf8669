//! Where both decoders put what they read: from Binance's fields to messages of a [`Raw`].
//!
//! What a field means is decided here and nowhere else.

use crate::channel::Channel;
use crate::decimal::{Price, Qty};
use crate::directory::Directory;
use crate::event::{Level, Side, Ticker, TickerFields, Trade};
use crate::ids::{Listing, StreamId};
use crate::raw::{BookMessage, Content, DecodeError, MESSAGES_PER_RAW_MAX, Message, Numbers, Raw, Scale};
use crate::time::VenueTime;

use super::symbols::Symbols;
use super::{Product, TimeUnit, subscribe};

/// What a frame is decoded against, and into.
pub(super) struct Sink<'a> {
    pub product: Product,
    pub unit: TimeUnit,
    pub symbols: &'a mut Symbols,
    pub directory: &'a mut Directory,
    pub raw: &'a mut Raw,
}

/// A trade or an aggregate of them.
pub(super) struct TradeFields {
    pub channel: Channel,
    pub id: u64,
    pub time: VenueTime,
    pub price: Price,
    pub qty: Qty,
    /// `m`: the buyer made, so the seller took.
    pub buyer_made: bool,
    /// `X` is absent or `MARKET`.
    pub market: bool,
}

/// The numbers of a book update.
pub(super) struct UpdateFields<'a> {
    /// Name of the stream, where the frame has it.
    pub name: Option<&'a [u8]>,
    pub first: u64,
    pub last: u64,
    pub previous: Option<u64>,
    pub time: VenueTime,
}

/// Best prices.
pub(super) struct BestFields {
    pub number: u64,
    pub time: VenueTime,
    pub bid: Price,
    pub bid_qty: Qty,
    pub ask: Price,
    pub ask_qty: Qty,
}

impl Sink<'_> {
    /// The listing of a venue symbol, with what the instrument list told about it.
    #[inline]
    pub fn listing(&mut self, venue_symbol: &[u8]) -> Result<Listing, DecodeError> {
        let listing = self.directory.listing(venue_symbol).ok_or(DecodeError::UnknownSymbol)?;
        self.symbols.catch_up(self.directory);
        Ok(listing)
    }

    /// As [`listing`](Self::listing), of the name of a stream, which spells it in lower case.
    pub fn listing_of_name(&mut self, name: &[u8]) -> Result<Listing, DecodeError> {
        let symbol = name.split(|&byte| byte == b'@').next().unwrap_or(name);
        let listing = self.directory.listing_upper(symbol).ok_or(DecodeError::UnknownSymbol)?;
        self.symbols.catch_up(self.directory);
        Ok(listing)
    }

    #[inline]
    pub fn scale(&self, listing: Listing) -> Scale {
        Scale::of(self.directory, listing)
    }

    /// A message of `channel`; nothing if nobody subscribed to it.
    #[inline]
    pub fn push(
        &mut self,
        listing: Listing,
        channel: Channel,
        numbers: Numbers,
        venue_time: VenueTime,
        content: Content,
    ) -> Result<(), DecodeError> {
        let Some(stream) = self.directory.carried(listing, channel) else { return Ok(()) };
        if self.raw.messages.len() == MESSAGES_PER_RAW_MAX {
            return Err(DecodeError::TooMany);
        }
        let decimals = self.scale(listing).decimals();
        self.raw.messages.push(Message { stream, listing, decimals, numbers, venue_time, content });
        Ok(())
    }

    #[inline]
    pub fn trade(&mut self, listing: Listing, fields: &TradeFields) -> Result<(), DecodeError> {
        let taker_side = if fields.buyer_made { Side::Sell } else { Side::Buy };
        let trade = Trade { price: fields.price, qty: fields.qty, id: fields.id, taker_side };
        // The insurance fund and deleveraging are no market: far from it in price (README), yet part of the sequence.
        let content = if fields.market { Content::Trade(trade) } else { Content::TradeBefore(trade) };
        self.push(listing, fields.channel, Numbers::single(fields.id), fields.time, content)
    }

    #[inline]
    pub fn best(&mut self, listing: Listing, fields: &BestFields) -> Result<(), DecodeError> {
        let ticker = Ticker {
            bid: fields.bid,
            bid_qty: fields.bid_qty,
            ask: fields.ask,
            ask_qty: fields.ask_qty,
            fields: TickerFields::BEST,
            ..Ticker::default()
        };
        let numbers = Numbers::single(fields.number);
        self.push(listing, Channel::Ticker, numbers, fields.time, Content::Ticker(ticker))
    }

    /// The levels that the raw holds are those of a book update, or on USD-M of a partial book: they look alike, and
    /// only the name of the stream tells.
    #[inline]
    pub fn update(&mut self, listing: Listing, fields: &UpdateFields) -> Result<(), DecodeError> {
        if fields.first > fields.last {
            return Err(DecodeError::Invalid { field: "u" });
        }
        let channel = match fields.name {
            Some(name) => subscribe::book_channel(name, self.product).ok_or(DecodeError::UnknownChannel)?,
            None => Channel::Book { speed_ms: 0 },
        };
        if let Channel::PartialBook { .. } = channel {
            self.snapshot(listing, Some(channel), fields.last, fields.time);
            return Ok(());
        }
        let stream = match self.directory.stream(listing, channel) {
            Some(stream) => Some(stream),
            None => self.other_book(listing, channel),
        };
        let numbers = Numbers { first: fields.first, last: fields.last, previous: fields.previous };
        self.book(listing, stream, false, numbers, fields.time);
        Ok(())
    }

    /// The stream of a book update whose own is not listed: whatever book of the instrument there is. A replay lists the
    /// name that it reads, unless a snapshot or an update without a name came first and made one of speed 0.
    #[cold]
    fn other_book(&mut self, listing: Listing, channel: Channel) -> Option<StreamId> {
        let unnamed = Channel::Book { speed_ms: 0 };
        if self.directory.is_open() && channel != unnamed && self.directory.stream(listing, unnamed).is_none()
        {
            return self.directory.carried(listing, channel);
        }
        self.directory.carried_book(listing)
    }

    /// The levels that the raw holds are a whole book (`channel` `None`: from REST) or its best levels.
    pub fn snapshot(&mut self, listing: Listing, channel: Option<Channel>, number: u64, time: VenueTime) {
        let stream = match channel {
            Some(channel) => self.directory.carried(listing, channel),
            None => self.directory.carried_book(listing),
        };
        self.book(listing, stream, true, Numbers::single(number), time);
    }

    #[inline]
    fn book(
        &mut self,
        listing: Listing,
        stream: Option<StreamId>,
        snapshot: bool,
        numbers: Numbers,
        venue_time: VenueTime,
    ) {
        let Some(stream) = stream else {
            self.raw.bids.clear();
            self.raw.asks.clear();
            return;
        };
        let decimals = self.scale(listing).decimals();
        let content = Content::Book(BookMessage {
            snapshot,
            bids: 0..self.raw.bids.len() as u32,
            asks: 0..self.raw.asks.len() as u32,
            checksum: None,
        });
        self.raw.messages.push(Message { stream, listing, decimals, numbers, venue_time, content });
    }

    /// The list of levels of one side.
    #[inline]
    pub fn side(&mut self, bids: bool) -> &mut Vec<Level> {
        if bids { &mut self.raw.bids } else { &mut self.raw.asks }
    }
}
