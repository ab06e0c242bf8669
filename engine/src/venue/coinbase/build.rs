//! What all decoders of both products do alike: numbers at an instrument's scale, book messages, the maker's side.

use crate::decimal::{Decimals, Number, Price, Qty};
use crate::directory::Directory;
use crate::event::{Level, Side};
use crate::ids::{Listing, StreamId};
use crate::json::{Items, Value};
use crate::raw::{BookMessage, Content, DecodeError, MESSAGES_PER_RAW_MAX, Message, Numbers, Raw, Scale};
use crate::rfc3339;
use crate::time::VenueTime;

/// Numbers of one frame, and the scale that they need if an instrument's is too narrow.
///
/// A narrow scale does not end the decoding: the frame is read to its end and asks once for all that it needs. A
/// snapshot of megabytes would else be read again for every digit that its rows add.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scales {
    wider: Option<(Listing, Decimals)>,
}

impl Scales {
    /// A price; zero where the scale is too narrow.
    #[inline]
    pub fn price(&mut self, scale: Scale, text: &[u8], field: &'static str) -> Result<Price, DecodeError> {
        if text.first() == Some(&b'-') {
            return Err(DecodeError::Invalid { field });
        }
        match scale.price(text, field) {
            Err(error) => self.note(error).map(Price),
            price => price,
        }
    }

    /// A quantity; zero where the scale is too narrow.
    #[inline]
    pub fn qty(&mut self, scale: Scale, text: &[u8], field: &'static str) -> Result<Qty, DecodeError> {
        if text.first() == Some(&b'-') {
            return Err(DecodeError::Invalid { field });
        }
        match scale.qty(text, field) {
            Err(error) => self.note(error).map(Qty),
            qty => qty,
        }
    }

    /// As [`price`](Self::price), of a number that the scanner has read; `None` is for the general decoder to explain.
    #[inline]
    pub fn price_of(&mut self, scale: Scale, number: Number) -> Option<Price> {
        if number.decimals <= scale.decimals().price {
            return number.at(scale.decimals().price).ok().map(Price);
        }
        // The frame comes again anyway, and asks for no less than this.
        if self.wider.is_some_and(|(_, needed)| number.decimals <= needed.price) {
            return Some(Price(0));
        }
        match scale.price_of(number, "") {
            Err(error) => self.note(error).ok().map(Price),
            price => price.ok(),
        }
    }

    /// As [`qty`](Self::qty), of a number that the scanner has read.
    #[inline]
    pub fn qty_of(&mut self, scale: Scale, number: Number) -> Option<Qty> {
        if number.decimals <= scale.decimals().qty {
            return number.at(scale.decimals().qty).ok().map(Qty);
        }
        if self.wider.is_some_and(|(_, needed)| number.decimals <= needed.qty) {
            return Some(Qty(0));
        }
        match scale.qty_of(number, "") {
            Err(error) => self.note(error).ok().map(Qty),
            qty => qty.ok(),
        }
    }

    /// As [`volume`](Self::volume), of a number that the scanner has read.
    #[inline]
    pub fn volume_of(&mut self, scale: Scale, listing: Listing, number: Number) -> Option<Qty> {
        self.narrow(scale, listing, number.trimmed(), "").ok()
    }

    /// A volume: a quantity whose trailing zeros say nothing.
    ///
    /// Exchange prints volumes with eight digits behind the point whatever the product's step is. Taken as a sign of
    /// precision they would widen a scale of whole coins until large levels no longer fit 64 bits.
    /// Source: recording of 2021-04-17, `"volume_24h":"94381.28000000"` for a step of 0.01.
    pub fn volume(
        &mut self,
        scale: Scale,
        listing: Listing,
        text: &[u8],
        field: &'static str,
    ) -> Result<Qty, DecodeError> {
        let number = Number::parse(text).map_err(|error| DecodeError::Decimal { field, error })?;
        self.narrow(scale, listing, number.trimmed(), field)
    }

    fn narrow(
        &mut self,
        scale: Scale,
        listing: Listing,
        number: Number,
        field: &'static str,
    ) -> Result<Qty, DecodeError> {
        let own = scale.decimals();
        if number.decimals > own.qty {
            let decimals = Decimals { qty: number.decimals, ..own };
            return self.note(DecodeError::Wider { listing, decimals }).map(Qty);
        }
        number.at(own.qty).map(Qty).map_err(|error| DecodeError::Decimal { field, error })
    }

    #[cold]
    fn note(&mut self, error: DecodeError) -> Result<i64, DecodeError> {
        let DecodeError::Wider { listing, decimals } = error else { return Err(error) };
        match &mut self.wider {
            None => self.wider = Some((listing, decimals)),
            Some((first, needed)) if *first == listing => {
                needed.price = needed.price.max(decimals.price);
                needed.qty = needed.qty.max(decimals.qty);
            }
            // Another instrument of the same frame asks when the frame is decoded again.
            Some(_) => {}
        }
        Ok(0)
    }

    /// What is to be widened, at the end of the frame.
    ///
    /// # Errors
    /// [`DecodeError::Wider`]
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.wider {
            None => Ok(()),
            Some((listing, decimals)) => Err(DecodeError::Wider { listing, decimals }),
        }
    }
}

/// A book message in the making: its levels are those that the raw got since it was opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenBook {
    pub scale: Scale,
    listing: Listing,
    stream: StreamId,
    snapshot: bool,
    bids_from: usize,
    asks_from: usize,
}

impl OpenBook {
    /// `None` if nobody subscribed to the book.
    #[inline]
    pub fn new(directory: &mut Directory, listing: Listing, snapshot: bool, raw: &Raw) -> Option<Self> {
        let stream = directory.carried_book(listing)?;
        let scale = Scale::of(directory, listing);
        Some(Self { scale, listing, stream, snapshot, bids_from: raw.bids.len(), asks_from: raw.asks.len() })
    }

    /// Adds the message to the raw.
    #[inline]
    pub fn close(self, raw: &mut Raw, numbers: Numbers, venue_time: VenueTime) -> Result<(), DecodeError> {
        let book = BookMessage {
            snapshot: self.snapshot,
            bids: self.bids_from as u32..raw.bids.len() as u32,
            asks: self.asks_from as u32..raw.asks.len() as u32,
            checksum: None,
        };
        push(raw, self.listing, self.stream, self.scale.decimals(), numbers, venue_time, Content::Book(book))
    }
}

/// Which side of the book a level is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BookSide {
    Bid,
    Ask,
}

impl BookSide {
    /// Advanced Trade's words: `offer`, never `ask`.
    #[inline]
    pub fn from_advanced(text: &[u8]) -> Option<Self> {
        match text {
            b"bid" => Some(Self::Bid),
            b"offer" => Some(Self::Ask),
            _ => None,
        }
    }

    /// The Exchange feed's words.
    #[inline]
    pub fn from_exchange(text: &[u8]) -> Option<Self> {
        match text {
            b"buy" => Some(Self::Bid),
            b"sell" => Some(Self::Ask),
            _ => None,
        }
    }

    /// The raw's levels of this side.
    #[inline]
    pub fn of(self, raw: &mut Raw) -> &mut Vec<Level> {
        match self {
            Self::Bid => &mut raw.bids,
            Self::Ask => &mut raw.asks,
        }
    }
}

/// The taker's side. Both products print the **maker's**.
///
/// Source: docs.cdp.coinbase.com, WebSocket channels, 2026-06-28 (Advanced); Exchange channels, "match"; both ask for
/// this flip, and forgetting it is the known bug of other clients.
#[inline]
pub(super) fn taker_side(maker_side: &[u8]) -> Option<Side> {
    match maker_side {
        b"BUY" | b"buy" => Some(Side::Sell),
        b"SELL" | b"sell" => Some(Side::Buy),
        _ => None,
    }
}

/// Adds a message to the raw.
#[inline]
pub(super) fn push(
    raw: &mut Raw,
    listing: Listing,
    stream: StreamId,
    decimals: Decimals,
    numbers: Numbers,
    venue_time: VenueTime,
    content: Content,
) -> Result<(), DecodeError> {
    if raw.messages.len() >= MESSAGES_PER_RAW_MAX {
        return Err(DecodeError::TooMany);
    }
    raw.messages.push(Message { stream, listing, decimals, numbers, venue_time, content });
    Ok(())
}

/// Forgets what a decoder that gave up has written; trace and receive time are the caller's.
#[cold]
pub(super) fn forget(raw: &mut Raw) {
    raw.connection_sequence = None;
    raw.messages.clear();
    raw.bids.clear();
    raw.asks.clear();
}

/// Unsigned digits, as ids are printed.
#[inline]
pub(super) fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { Some(value * 10 + u64::from(digit)) }
    })
}

/// A field that is a string. Where the name is a constant, comparing with it is a few instructions and no call.
#[inline]
pub(super) fn text<'a>(value: Value<'a>, field: &'static str) -> Result<&'a [u8], DecodeError> {
    value.get(field).and_then(Value::bytes).ok_or(DecodeError::Missing { field })
}

/// A field that may be absent, or empty where the venue has nothing to say.
pub(super) fn optional<'a>(value: Value<'a>, field: &str) -> Option<&'a [u8]> {
    value.get(field).and_then(Value::bytes).filter(|text| !text.is_empty())
}

/// A field that is an array.
pub(super) fn list<'a>(value: Value<'a>, field: &'static str) -> Result<Items<'a>, DecodeError> {
    value.get(field).and_then(Value::items).ok_or(DecodeError::Missing { field })
}

/// A field that is an id or a sequence, printed as a number.
pub(super) fn whole(value: Value, field: &'static str) -> Result<u64, DecodeError> {
    value.get(field).and_then(Value::u64).ok_or(DecodeError::Missing { field })
}

/// A field that is a time.
#[inline]
pub(super) fn time(value: Value, field: &'static str) -> Result<VenueTime, DecodeError> {
    rfc3339::parse(text(value, field)?).ok_or(DecodeError::Invalid { field })
}
