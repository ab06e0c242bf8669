//! The hot shapes, in one pass: trades, aggregate trades, book updates, best prices and partial books, of Spot and
//! USD-M, wrapped or not, with their fields in the order in which the venue sends them.
//!
//! Anything else is `None`, and [`super::decode`] reads the frame. Except [`DecodeError::Wider`], of a frame that was
//! read to its end: that is an answer.

use crate::channel::Channel;
use crate::decimal::Number;
use crate::event::Level;
use crate::ids::Listing;
use crate::raw::{DecodeError, Scale};
use crate::scan::Scanner;
use crate::time::VenueTime;

use super::sink::{BestFields, Sink, TradeFields, UpdateFields};
use super::subscribe;

/// Reads a frame of a hot shape.
#[inline]
pub(super) fn frame(frame: &[u8], mut sink: Sink) -> Option<Result<(), DecodeError>> {
    let mut scanner = Scanner::new(frame);
    let name = if scanner.maybe(b"{\"stream\":\"") {
        let name = scanner.string()?;
        scanner.lit(b",\"data\":")?;
        Some(name)
    } else {
        None
    };
    if scanner.maybe(b"{\"e\":\"") {
        match scanner.peek()? {
            b't' => trade(scanner, name, &mut sink),
            b'd' => update(scanner, name, &mut sink),
            b'a' => aggregate(scanner, name, &mut sink),
            b'b' => {
                scanner.lit(b"bookTicker\",\"u\":")?;
                best(scanner, name, &mut sink)
            }
            _ => None,
        }
    } else if scanner.maybe(b"{\"u\":") {
        best(scanner, name, &mut sink)
    } else {
        scanner.lit(b"{\"lastUpdateId\":")?;
        partial(scanner, name?, &mut sink)
    }
}

/// The end of the data, and of the wrapping.
#[inline]
fn end(scanner: &mut Scanner, name: Option<&[u8]>) -> Option<()> {
    scanner.lit(if name.is_some() { b"}}" } else { b"}" })?;
    scanner.is_end().then_some(())
}

/// An answer of the sink: what is neither fine nor [`DecodeError::Wider`] is left for the other decoder to name.
#[inline]
fn answer(result: Result<(), DecodeError>) -> Option<Result<(), DecodeError>> {
    match result {
        Ok(()) | Err(DecodeError::Wider { .. }) => Some(result),
        Err(_) => None,
    }
}

/// `{"e":"trade","E":1,["T":1,]"s":"S","t":1,"p":"1","q":"1",[b, a,]["T":1,]["X":"MARKET",]"m":true[,"M":true]}`
#[inline]
fn trade(mut scanner: Scanner, name: Option<&[u8]>, sink: &mut Sink) -> Option<Result<(), DecodeError>> {
    let scanner = &mut scanner;
    scanner.lit(b"trade\",\"E\":")?;
    let _event_time = scanner.u64()?;
    let early = scanner.maybe(b",\"T\":");
    let mut time = if early { scanner.u64()? } else { 0 };
    scanner.lit(b",\"s\":\"")?;
    let symbol = scanner.string()?;
    scanner.lit(b",\"t\":")?;
    let id = scanner.u64()?;
    scanner.lit(b",\"p\":\"")?;
    let price = scanner.decimal()?;
    scanner.lit(b"\",\"q\":\"")?;
    let qty = scanner.decimal()?;
    scanner.lit(b"\"")?;
    // Order ids, gone from Spot since 2024.
    if scanner.maybe(b",\"b\":") {
        scanner.u64()?;
        scanner.lit(b",\"a\":")?;
        scanner.u64()?;
    }
    if early {
        scanner.lit(b",\"X\":\"MARKET\"")?;
    } else {
        scanner.lit(b",\"T\":")?;
        time = scanner.u64()?;
    }
    scanner.lit(b",\"m\":")?;
    let buyer_made = scanner.bool()?;
    if scanner.maybe(b",\"M\":") {
        scanner.bool()?;
    }
    end(scanner, name)?;
    let taken = Taken { symbol, id, time, price, qty, buyer_made };
    answer(taken.put(Channel::Trade, sink))
}

/// `{"e":"aggTrade","E":1,"s":"S","a":1,"p":"1","q":"1",["nq":"1",]"f":1,"l":1,"T":1,"m":true[,"M":true]}`, on USD-M
/// with `a` before `s`.
#[inline]
fn aggregate(mut scanner: Scanner, name: Option<&[u8]>, sink: &mut Sink) -> Option<Result<(), DecodeError>> {
    let scanner = &mut scanner;
    scanner.lit(b"aggTrade\",\"E\":")?;
    let _event_time = scanner.u64()?;
    let (symbol, id) = if scanner.maybe(b",\"s\":\"") {
        let symbol = scanner.string()?;
        scanner.lit(b",\"a\":")?;
        (symbol, scanner.u64()?)
    } else {
        scanner.lit(b",\"a\":")?;
        let id = scanner.u64()?;
        scanner.lit(b",\"s\":\"")?;
        (scanner.string()?, id)
    };
    scanner.lit(b",\"p\":\"")?;
    let price = scanner.decimal()?;
    scanner.lit(b"\",\"q\":\"")?;
    let qty = scanner.decimal()?;
    scanner.lit(b"\"")?;
    if scanner.maybe(b",\"nq\":\"") {
        scanner.string()?;
    }
    scanner.lit(b",\"f\":")?;
    scanner.u64()?;
    scanner.lit(b",\"l\":")?;
    scanner.u64()?;
    scanner.lit(b",\"T\":")?;
    let time = scanner.u64()?;
    scanner.lit(b",\"m\":")?;
    let buyer_made = scanner.bool()?;
    if scanner.maybe(b",\"M\":") {
        scanner.bool()?;
    }
    end(scanner, name)?;
    let taken = Taken { symbol, id, time, price, qty, buyer_made };
    answer(taken.put(Channel::AggTrade, sink))
}

/// A trade as taken from the frame, before it is looked up.
struct Taken<'a> {
    symbol: &'a [u8],
    id: u64,
    time: u64,
    price: Number,
    qty: Number,
    buyer_made: bool,
}

impl Taken<'_> {
    #[inline]
    fn put(self, channel: Channel, sink: &mut Sink) -> Result<(), DecodeError> {
        let listing = sink.listing(self.symbol)?;
        let scale = sink.scale(listing);
        let fields = TradeFields {
            channel,
            id: self.id,
            time: sink.unit.time(self.time),
            price: scale.price_of(self.price, "p")?,
            qty: scale.qty_of(self.qty, "q")?,
            buyer_made: self.buyer_made,
            market: true,
        };
        sink.trade(listing, &fields)
    }
}

/// `u":1,"s":"S","b":"1","B":"1","a":"1","A":"1"[,"T":1,"E":1]`, from behind the `u`.
#[inline]
fn best(mut scanner: Scanner, name: Option<&[u8]>, sink: &mut Sink) -> Option<Result<(), DecodeError>> {
    let scanner = &mut scanner;
    let number = scanner.u64()?;
    scanner.lit(b",\"s\":\"")?;
    let symbol = scanner.string()?;
    scanner.lit(b",\"b\":\"")?;
    let bid = scanner.decimal()?;
    scanner.lit(b"\",\"B\":\"")?;
    let bid_qty = scanner.decimal()?;
    scanner.lit(b"\",\"a\":\"")?;
    let ask = scanner.decimal()?;
    scanner.lit(b"\",\"A\":\"")?;
    let ask_qty = scanner.decimal()?;
    scanner.lit(b"\"")?;
    let time = if scanner.maybe(b",\"T\":") {
        let time = scanner.u64()?;
        scanner.lit(b",\"E\":")?;
        scanner.u64()?;
        sink.unit.time(time)
    } else {
        VenueTime::ABSENT
    };
    end(scanner, name)?;
    let mut put = || {
        let listing = sink.listing(symbol)?;
        let scale = sink.scale(listing);
        let fields = BestFields {
            number,
            time,
            bid: scale.price_of(bid, "b")?,
            bid_qty: scale.qty_of(bid_qty, "B")?,
            ask: scale.price_of(ask, "a")?,
            ask_qty: scale.qty_of(ask_qty, "A")?,
        };
        sink.best(listing, &fields)
    };
    answer(put())
}

/// `{"e":"depthUpdate","E":1,["T":1,]"s":"S","U":1,"u":1,["pu":1,]"b":[],"a":[]}`
#[inline]
fn update(mut scanner: Scanner, name: Option<&[u8]>, sink: &mut Sink) -> Option<Result<(), DecodeError>> {
    let scanner = &mut scanner;
    scanner.lit(b"depthUpdate\",\"E\":")?;
    let mut time = scanner.u64()?;
    if scanner.maybe(b",\"T\":") {
        time = scanner.u64()?;
    }
    scanner.lit(b",\"s\":\"")?;
    let symbol = scanner.string()?;
    scanner.lit(b",\"U\":")?;
    let first = scanner.u64()?;
    scanner.lit(b",\"u\":")?;
    let last = scanner.u64()?;
    let previous = if scanner.maybe(b",\"pu\":") { Some(scanner.u64()?) } else { None };
    let listing = sink.listing(symbol).ok()?;
    let mut sides = Sides::new(sink.scale(listing));
    scanner.lit(b",\"b\":")?;
    sides.take(scanner, &mut sink.raw.bids, "b")?;
    scanner.lit(b",\"a\":")?;
    sides.take(scanner, &mut sink.raw.asks, "a")?;
    end(scanner, name)?;
    if let Some(wider) = sides.wider {
        return Some(Err(wider));
    }
    let time = sink.unit.time(time);
    answer(sink.update(listing, &UpdateFields { name, first, last, previous, time }))
}

/// `{"lastUpdateId":1,"bids":[],"asks":[]}`, Spot only; the name of the stream has the symbol.
#[inline]
fn partial(mut scanner: Scanner, name: &[u8], sink: &mut Sink) -> Option<Result<(), DecodeError>> {
    let scanner = &mut scanner;
    let number = scanner.u64()?;
    let channel = subscribe::book_channel(name, sink.product)?;
    if channel.is_book() {
        return None;
    }
    let listing = sink.listing_of_name(name).ok()?;
    let mut sides = Sides::new(sink.scale(listing));
    scanner.lit(b",\"bids\":")?;
    sides.take(scanner, &mut sink.raw.bids, "bids")?;
    scanner.lit(b",\"asks\":")?;
    sides.take(scanner, &mut sink.raw.asks, "asks")?;
    end(scanner, Some(name))?;
    if let Some(wider) = sides.wider {
        return Some(Err(wider));
    }
    sink.snapshot(listing, Some(channel), number, VenueTime::ABSENT);
    Some(Ok(()))
}

/// Progress through the body of a book snapshot, which is read in pieces.
#[derive(Debug, Default)]
pub struct Depth(Option<OpenDepth>);

/// A body whose levels come next.
#[derive(Debug)]
struct OpenDepth {
    /// Bytes that were read.
    at: usize,
    listing: Listing,
    number: u64,
    time: VenueTime,
    sides: Sides,
    /// The bids are all read.
    in_asks: bool,
}

/// `{"lastUpdateId":1,["E":1,"T":1,]"bids":[],"asks":[]}`, the answer to a GET whose path names the symbol: at most about
/// `bytes_max` bytes more. Says whether the body has ended.
pub(super) fn depth(
    body: &[u8],
    symbol: impl FnOnce() -> Option<Vec<u8>>,
    progress: &mut Depth,
    sink: &mut Sink,
    bytes_max: usize,
) -> Option<Result<bool, DecodeError>> {
    let (mut scanner, mut open, mut resumed) = if let Some(open) = progress.0.take() {
        (Scanner::new(body.get(open.at..)?), open, true)
    } else {
        let symbol = symbol()?;
        let mut scanner = Scanner::new(body);
        scanner.lit(b"{\"lastUpdateId\":")?;
        let number = scanner.u64()?;
        let mut time = VenueTime::ABSENT;
        if scanner.maybe(b",\"E\":") {
            scanner.u64()?;
            scanner.lit(b",\"T\":")?;
            time = sink.unit.time(scanner.u64()?);
        }
        scanner.lit(b",\"bids\":")?;
        let listing = sink.listing(&symbol).ok()?;
        let sides = Sides::new(sink.scale(listing));
        (scanner, OpenDepth { at: 0, listing, number, time, sides, in_asks: false }, false)
    };
    let decimals = sink.scale(open.listing).decimals();
    if open.sides.scale.decimals() != decimals {
        // A frame in between has widened the scale: what was read is at the old one.
        return Some(Err(DecodeError::Wider { listing: open.listing, decimals }));
    }
    let left_min = scanner.rest().len().saturating_sub(bytes_max);
    let has_ended = loop {
        let (levels, field) =
            if open.in_asks { (&mut sink.raw.asks, "asks") } else { (&mut sink.raw.bids, "bids") };
        let sides = &mut open.sides;
        let ended =
            scanner.some_pairs(resumed, left_min, |price, qty| sides.push(price, qty, levels, field))?;
        if !ended || open.in_asks {
            break ended;
        }
        scanner.lit(b",\"asks\":")?;
        (open.in_asks, resumed) = (true, false);
    };
    if !has_ended {
        open.at = body.len() - scanner.rest().len();
        progress.0 = Some(open);
        return Some(Ok(false));
    }
    scanner.lit(b"}")?;
    if !scanner.is_end() {
        return None;
    }
    if let Some(wider) = open.sides.wider {
        return Some(Err(wider));
    }
    sink.snapshot(open.listing, None, open.number, open.time);
    Some(Ok(true))
}

/// Takes levels, and keeps the first need of a wider scale until the frame is known to be whole.
#[derive(Debug)]
struct Sides {
    scale: Scale,
    wider: Option<DecodeError>,
}

impl Sides {
    #[inline]
    fn new(scale: Scale) -> Self {
        Self { scale, wider: None }
    }

    #[inline]
    fn take(&mut self, scanner: &mut Scanner, levels: &mut Vec<Level>, field: &'static str) -> Option<()> {
        scanner.pairs(|price, qty| self.push(price, qty, levels, field))
    }

    #[inline(always)]
    fn push(
        &mut self,
        price: Number,
        qty: Number,
        levels: &mut Vec<Level>,
        field: &'static str,
    ) -> Option<()> {
        let price = match self.scale.price_of(price, field) {
            Ok(price) => price,
            Err(error) => self.keep(error)?,
        };
        let qty = match self.scale.qty_of(qty, field) {
            Ok(qty) => qty,
            Err(error) => self.keep(error)?,
        };
        levels.push(Level { price, qty });
        Some(())
    }

    #[cold]
    fn keep<T: Default>(&mut self, error: DecodeError) -> Option<T> {
        let DecodeError::Wider { .. } = error else { return None };
        self.wider.get_or_insert(error);
        Some(T::default())
    }
}
