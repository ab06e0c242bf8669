//! One venue frame, decoded: the venue's messages in our types, not yet ordered and not yet checked.
//!
//! A decoder fills a pooled [`Raw`]; its level lists are reused, so a frame costs no allocation once they have grown
//! to the largest one seen.

use std::ops::Range;

use crate::decimal::{DecimalError, Decimals, Number, Price, Qty};
use crate::directory::Directory;
use crate::event::{Kline, Level, Ticker, Trade};
use crate::ids::{Listing, StreamId, TraceId};
use crate::time::{ReceiveTime, VenueTime};

/// Messages that one frame may carry. Coinbase batches 250 ms of trades; more than this is refused, not cut.
pub const MESSAGES_PER_RAW_MAX: usize = 8_192;

/// All that one frame, or one REST body, says.
#[derive(Debug, Default)]
pub struct Raw {
    /// Where it came from.
    pub trace: TraceId,
    /// When its bytes reached us.
    pub receive_time: ReceiveTime,
    /// Number of the frame on its connection, where the venue counts frames (Coinbase Advanced).
    pub connection_sequence: Option<u64>,
    /// Its messages, in the venue's order.
    pub messages: Vec<Message>,
    /// Bid levels of all its book messages, each message's together and in the venue's order.
    pub bids: Vec<Level>,
    /// Ask levels, likewise.
    pub asks: Vec<Level>,
}

impl Raw {
    /// With room for `messages` and for `levels` a side before it must grow.
    pub fn with_capacity(messages: usize, levels: usize) -> Self {
        Self {
            messages: Vec::with_capacity(messages),
            bids: Vec::with_capacity(levels),
            asks: Vec::with_capacity(levels),
            ..Self::default()
        }
    }

    /// Forgets what it says and keeps its memory.
    pub fn reset(&mut self) {
        self.trace = TraceId::default();
        self.receive_time = ReceiveTime::default();
        self.connection_sequence = None;
        self.messages.clear();
        self.bids.clear();
        self.asks.clear();
    }

    /// The bid levels of a book message of this raw.
    pub fn bids_of(&self, book: &BookMessage) -> &[Level] {
        &self.bids[book.bids.start as usize..book.bids.end as usize]
    }

    /// The ask levels of a book message of this raw.
    pub fn asks_of(&self, book: &BookMessage) -> &[Level] {
        &self.asks[book.asks.start as usize..book.asks.end as usize]
    }
}

/// The venue's numbers of a message. A venue without numbers leaves `NONE`, and the stream counts for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// First number covered.
    pub first: u64,
    /// Last number covered.
    pub last: u64,
    /// Last number of the message before, where the venue repeats it (USD-M `pu`).
    pub previous: Option<u64>,
}

impl Numbers {
    /// The venue gives no number.
    pub const NONE: Self = Self { first: 0, last: 0, previous: None };

    /// One number for one message.
    pub const fn single(number: u64) -> Self {
        Self { first: number, last: number, previous: None }
    }
}

/// One message about one stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Its instrument.
    pub listing: Listing,
    /// Scale of its prices and quantities.
    pub decimals: Decimals,
    /// The venue's numbers.
    pub numbers: Numbers,
    /// When the venue says it happened.
    pub venue_time: VenueTime,
    /// What it says.
    pub content: Content,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A match.
    Trade(Trade),
    /// A match that has its place in the sequence and is not published: it happened before we asked, or not on the
    /// market (Binance USD-M: insurance fund, deleveraging).
    TradeBefore(Trade),
    /// Best prices or a day's statistics.
    Ticker(Ticker),
    /// An interval's prices, and whether it is final.
    Kline(Kline, bool),
    /// A snapshot of or an update to the book.
    Book(BookMessage),
}

/// Levels of a book; the levels themselves stand in [`Raw::bids`] and [`Raw::asks`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookMessage {
    /// Whether it replaces the book.
    pub snapshot: bool,
    /// Which of the raw's bids.
    pub bids: Range<u32>,
    /// Which of the raw's asks.
    pub asks: Range<u32>,
    /// The venue's checksum of the book after this message.
    pub checksum: Option<u32>,
}

/// What a frame says that is no data: the connection's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The venue took a subscription. `depth` where it tells one (Kraken).
    Accepted {
        /// Our request id, where it is repeated.
        request: Option<u64>,
        /// The stream, where the answer is for one.
        stream: Option<StreamId>,
        /// The book depth that was granted.
        depth: Option<u16>,
    },
    /// The answer of a venue that does not number its answers: all that the connection carries ([`Venue::carried`]).
    ///
    /// [`Venue::carried`]: crate::venue::Venue::carried
    Carried,
    /// The venue ended a subscription.
    Ended {
        /// Our request id, where it is repeated.
        request: Option<u64>,
        /// The stream, where the answer is for one.
        stream: Option<StreamId>,
    },
    /// The venue refused a request.
    Refused {
        /// Our request id, where it is repeated.
        request: Option<u64>,
        /// The venue's own code, 0 where it has none.
        code: i64,
        /// The venue's own words, cut.
        reason: heapless::String<120>,
    },
    /// The connection lives.
    Heartbeat,
    /// The answer to our application-level ping.
    Pong,
    /// The venue will close this connection soon: open another first.
    ShutdownSoon,
    /// The venue trades normally, or not.
    Status {
        /// Whether it does.
        online: bool,
    },
    /// Understood, and nothing that we use. The name goes to `skipped_frames`.
    Skipped(&'static str),
}

impl Notice {
    /// The name under which it is counted in `skipped_frames`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } | Self::Carried => "ack",
            Self::Ended { .. } => "unsubscribe_ack",
            Self::Refused { .. } => "refusal",
            Self::Heartbeat => "heartbeat",
            Self::Pong => "pong",
            Self::ShutdownSoon => "shutdown_notice",
            Self::Status { .. } => "status",
            Self::Skipped(name) => name,
        }
    }
}

/// What a decoder made of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The raw holds messages (perhaps none that anybody subscribed to).
    Data,
    /// No data.
    Notice(Notice),
}

/// Why a venue's frame did not become messages. Variants are facts an operator can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or cut.
    #[error("malformed JSON")]
    Json,
    /// A field that the channel documents is absent.
    #[error("field {field} is absent")]
    Missing {
        /// The field, in the venue's spelling.
        field: &'static str,
    },
    /// A field has a value that the venue does not document.
    #[error("field {field} has a value that is not documented")]
    Invalid {
        /// The field, in the venue's spelling.
        field: &'static str,
    },
    /// The channel or event type is not one that we know.
    #[error("unknown channel or event type")]
    UnknownChannel,
    /// The symbol is not one that we subscribed to.
    #[error("unknown symbol")]
    UnknownSymbol,
    /// A number is malformed or does not fit.
    #[error("field {field}: {error}")]
    Decimal {
        /// The field, in the venue's spelling.
        field: &'static str,
        /// What is wrong with it.
        error: DecimalError,
    },
    /// A number has more digits than the instrument's scale: [`Directory::widen`] it and decode the frame again.
    #[error("the instrument's scale must be widened")]
    Wider {
        /// The instrument.
        listing: Listing,
        /// The scale that the text needs; the other side as it was.
        decimals: Decimals,
    },
    /// Longer than is taken. It was passed over.
    #[error("a message of {bytes} bytes is longer than is taken, and was passed over")]
    Oversized {
        /// Its length.
        bytes: u64,
    },
    /// More messages than [`MESSAGES_PER_RAW_MAX`].
    #[error("more than {MESSAGES_PER_RAW_MAX} messages in a frame")]
    TooMany,
}

impl DecodeError {
    /// The name under which it is counted.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Missing { .. } => "missing_field",
            Self::Invalid { .. } => "invalid_value",
            Self::UnknownChannel => "unknown_channel",
            Self::UnknownSymbol => "unknown_symbol",
            Self::Decimal { .. } => "decimal",
            Self::Wider { .. } => "scale",
            Self::Oversized { .. } => "oversized",
            Self::TooMany => "too_many_messages",
        }
    }
}

/// Turns venue text into an instrument's mantissas, or says that the scale must grow.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    listing: Listing,
    decimals: Decimals,
    known: bool,
}

impl Scale {
    /// The scale of `listing` now.
    #[inline]
    pub fn of(directory: &Directory, listing: Listing) -> Self {
        let instrument = directory.instrument(listing);
        Self { listing, decimals: instrument.decimals, known: instrument.decimals_known }
    }

    /// Digits behind the point.
    #[inline]
    pub const fn decimals(self) -> Decimals {
        self.decimals
    }

    /// A price.
    ///
    /// # Errors
    /// [`DecodeError::Wider`], [`DecodeError::Decimal`]
    #[inline]
    pub fn price(self, text: &[u8], field: &'static str) -> Result<Price, DecodeError> {
        match Number::parse(text) {
            Ok(number) if number.decimals == self.decimals.price => Ok(Price(number.mantissa)),
            number => self.rare(number, self.decimals.price, field, true).map(Price),
        }
    }

    /// A quantity.
    ///
    /// # Errors
    /// [`DecodeError::Wider`], [`DecodeError::Decimal`]
    #[inline]
    pub fn qty(self, text: &[u8], field: &'static str) -> Result<Qty, DecodeError> {
        match Number::parse(text) {
            Ok(number) if number.decimals == self.decimals.qty => Ok(Qty(number.mantissa)),
            number => self.rare(number, self.decimals.qty, field, false).map(Qty),
        }
    }

    /// As [`price`](Self::price), of a number that a scanner took already.
    ///
    /// # Errors
    /// [`DecodeError::Wider`], [`DecodeError::Decimal`]
    #[inline]
    pub fn price_of(self, number: Number, field: &'static str) -> Result<Price, DecodeError> {
        if number.decimals == self.decimals.price {
            return Ok(Price(number.mantissa));
        }
        if self.known
            && let Some(mantissa) = number.narrowed(self.decimals.price)
        {
            return Ok(Price(mantissa));
        }
        self.rare(Ok(number), self.decimals.price, field, true).map(Price)
    }

    /// As [`qty`](Self::qty), of a number that a scanner took already.
    ///
    /// # Errors
    /// [`DecodeError::Wider`], [`DecodeError::Decimal`]
    #[inline]
    pub fn qty_of(self, number: Number, field: &'static str) -> Result<Qty, DecodeError> {
        if number.decimals == self.decimals.qty {
            return Ok(Qty(number.mantissa));
        }
        if self.known
            && let Some(mantissa) = number.narrowed(self.decimals.qty)
        {
            return Ok(Qty(mantissa));
        }
        self.rare(Ok(number), self.decimals.qty, field, false).map(Qty)
    }

    #[inline(never)]
    fn rare(
        self,
        number: Result<Number, DecimalError>,
        decimals: u8,
        field: &'static str,
        price: bool,
    ) -> Result<i64, DecodeError> {
        let number = number.map_err(|error| DecodeError::Decimal { field, error })?;
        let wider = |found: u8| {
            let mut decimals = self.decimals;
            if price {
                decimals.price = found;
            } else {
                decimals.qty = found;
            }
            DecodeError::Wider { listing: self.listing, decimals }
        };
        // Without an instrument list, trailing zeros count: they are the only sign of the venue's precision.
        if number.decimals > decimals && !self.known {
            return Err(wider(number.decimals));
        }
        match number.at(decimals) {
            Ok(mantissa) => Ok(mantissa),
            Err(DecimalError::TooPrecise { found }) => Err(wider(found)),
            Err(error) => Err(DecodeError::Decimal { field, error }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{InstrumentId, ProviderId};

    #[test]
    fn the_widest_text_so_far_sets_the_scale_trailing_zeros_counted() {
        let mut directory = Directory::open(ProviderId(0));
        let listing = directory.listing(b"BTC/USD").expect("learned");
        let needs = Scale::of(&directory, listing).price(b"64210.50", "price");
        assert_eq!(needs, Err(DecodeError::Wider { listing, decimals: Decimals { price: 2, qty: 0 } }));
        directory.widen(listing, Decimals { price: 2, qty: 0 });
        let scale = Scale::of(&directory, listing);
        assert_eq!(scale.price(b"64210.50", "price"), Ok(Price(6_421_050)));
        assert_eq!(scale.price(b"64210.5", "price"), Ok(Price(6_421_050)));
    }

    #[test]
    fn a_known_scale_drops_zeros_and_widens_only_for_digits() {
        let mut directory = Directory::closed(ProviderId(0));
        let listing = directory.add("BTCUSDT", "BTC-USDT", InstrumentId(0)).expect("listed");
        directory.instrument_mut(listing).decimals = Decimals { price: 2, qty: 5 };
        directory.instrument_mut(listing).decimals_known = true;
        let scale = Scale::of(&directory, listing);
        assert_eq!(scale.price(b"64210.50000000", "p"), Ok(Price(6_421_050)));
        let needs = DecodeError::Wider { listing, decimals: Decimals { price: 3, qty: 5 } };
        assert_eq!(scale.price(b"64210.50100000", "p"), Err(needs));
    }

    #[test]
    fn a_reset_raw_says_nothing_and_keeps_its_memory() {
        let mut raw = Raw::with_capacity(4, 100);
        raw.bids.resize(90, Level::default());
        raw.connection_sequence = Some(4);
        raw.trace = TraceId::new(crate::ids::LineId(1), 2);
        raw.reset();
        assert!(raw.messages.is_empty() && raw.bids.is_empty() && raw.asks.is_empty());
        assert_eq!((raw.connection_sequence, raw.trace), (None, TraceId::default()));
        assert!(raw.bids.capacity() >= 100);
    }
}
