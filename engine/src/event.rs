//! The canonical event: plain data, one slot of a ring, the same for every venue.
//!
//! A book longer than [`LEVELS_PER_PART`] travels in parts that carry the same sequence; the first and the last say so
//! in their [`Flags`], and parts enter a ring all together or not at all.

mod book;
pub mod control;
mod merged;

use crate::channel::Interval;
use crate::decimal::{Decimals, Price, Qty};
use crate::ids::{InstrumentId, ProviderId, StreamId, TraceId};
use crate::time::{ReceiveTime, VenueTime};

pub use book::{BookPart, BookReason, BookStatus, LEVELS_PER_PART, Parts, Proof, book_parts};
use control::{ControlAck, ControlResult};
pub use merged::{BestLeg, FragmentValue, Leg, MERGED_PROVIDERS_MAX, MergedBbo, MergedHead, WindowEnd};

/// Version of the layout and meaning of events; a recorder writes it, a reader refuses another.
pub const SCHEMA_VERSION: u8 = 1;

const _: () = assert!(size_of::<Event>() == 192, "a market event fills three cache lines, no more");
const _: () = assert!(size_of::<Header>() <= 80);

/// One canonical event, or one part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Event {
    /// Whose, when, and in which order.
    pub header: Header,
    /// What happened.
    pub body: Body,
}

/// Whose event it is, when it happened by which clock, and its place in its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Connection and frame that it came from.
    pub trace: TraceId,
    /// First of the venue's numbers that it covers (trade id, first update id); of its own where the venue has none.
    pub sequence_first: u64,
    /// Last of the venue's numbers that it covers.
    pub sequence_last: u64,
    /// When the venue says it happened; may be absent.
    pub venue_time: VenueTime,
    /// When the bytes reached us.
    pub receive_time: ReceiveTime,
    /// Ordered sequence that it belongs to, within its provider.
    pub stream: StreamId,
    /// Routing table that was in force when it was sent.
    pub routing_version: u32,
    /// From receive time to the end of decoding, in nanoseconds, saturating.
    pub decoded_after_ns: u32,
    /// From receive time to the hand-over to the dispatcher, in nanoseconds, saturating.
    pub ordered_after_ns: u32,
    /// From receive time to the ring, in nanoseconds, saturating.
    pub enqueued_after_ns: u32,
    /// The thing traded.
    pub instrument: InstrumentId,
    /// Which of its parts this is, counted from 0, modulo 2^16.
    pub part: u16,
    /// Parts, recovery, conflation.
    pub flags: Flags,
    /// Scale of all prices and quantities in the body.
    pub decimals: Decimals,
    /// Who received it.
    pub provider: ProviderId,
    /// [`SCHEMA_VERSION`].
    pub schema: u8,
}

/// Marks on an event; several may be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Flags(pub u8);

impl Flags {
    /// The first part, or the only one.
    pub const FIRST: Self = Self(1);
    /// The last part, or the only one. What the parts built is whole now.
    pub const LAST: Self = Self(2);
    /// The only part.
    pub const WHOLE: Self = Self(3);
    /// Fetched after a hole, not received in its time.
    pub const RECOVERED: Self = Self(4);
    /// A snapshot published because another line took over, not because anything was lost.
    pub const SWITCHED: Self = Self(8);
    /// A snapshot that stands for updates which this consumer shard was too slow for.
    pub const CONFLATED: Self = Self(16);
    /// The kline is final.
    pub const FINAL: Self = Self(32);

    /// Whether all of `other` is set.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[inline]
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This without `other`.
    #[inline]
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Who took liquidity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Side {
    /// The taker bought.
    Buy,
    /// The taker sold.
    Sell,
}

/// One price level of a book. In an update a quantity of zero removes the level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Level {
    /// Where.
    pub price: Price,
    /// How much there is now, not by how much it changed.
    pub qty: Qty,
}

/// A match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trade {
    /// At this price.
    pub price: Price,
    /// This much.
    pub qty: Qty,
    /// The venue's trade id (of an aggregate: the aggregate's).
    pub id: u64,
    /// Who took, never who made.
    pub taker_side: Side,
}

/// Prices and quantities that a [`Ticker`] has; venues differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct TickerFields(pub u16);

impl TickerFields {
    /// `bid`, `bid_qty`, `ask`, `ask_qty`.
    pub const BEST: Self = Self(1);
    /// `last`.
    pub const LAST: Self = Self(2);
    /// `last_qty`.
    pub const LAST_QTY: Self = Self(4);
    /// `open`, `high`, `low`: any that the venue has, zero where it has not.
    pub const RANGE: Self = Self(8);
    /// `volume`.
    pub const VOLUME: Self = Self(16);

    /// Whether all of `other` is set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Best bid and ask, and the statistics of a day where the channel has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticker {
    /// Best bid.
    pub bid: Price,
    /// Quantity at the best bid.
    pub bid_qty: Qty,
    /// Best ask.
    pub ask: Price,
    /// Quantity at the best ask.
    pub ask_qty: Qty,
    /// Price of the last trade.
    pub last: Price,
    /// Quantity of the last trade.
    pub last_qty: Qty,
    /// 24 hours ago.
    pub open: Price,
    /// Highest of 24 hours.
    pub high: Price,
    /// Lowest of 24 hours.
    pub low: Price,
    /// Base volume of 24 hours.
    pub volume: Qty,
    /// Which of these the venue sent.
    pub fields: TickerFields,
}

/// An amount of quote asset with its own scale: `mantissa / 10^decimals`, no trailing zeros kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// The value times 10^`decimals`.
    pub mantissa: i64,
    /// Digits behind the point.
    pub decimals: u8,
}

/// Open, high, low, close and volumes of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kline {
    /// When the interval opened, by the venue's clock.
    pub open_time: VenueTime,
    /// Its last moment, inclusive, by the venue's clock.
    pub close_time: VenueTime,
    /// First price.
    pub open: Price,
    /// Highest price.
    pub high: Price,
    /// Lowest price.
    pub low: Price,
    /// Last price so far.
    pub close: Price,
    /// Base volume.
    pub volume: Qty,
    /// Base volume that takers bought; zero where the venue does not say.
    pub taker_buy_volume: Qty,
    /// Quote volume; zero where the venue does not say.
    pub quote_volume: Amount,
    /// Trades in it.
    pub trade_count: u64,
    /// Its length.
    pub interval: Interval,
}

/// Why events of a stream are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum GapReason {
    /// The venue's numbers jumped.
    Sequence,
    /// This consumer shard did not drain its ring in time; `from..=to` is what it did not get.
    SlowConsumer,
    /// No slot was free in a pool.
    PoolEmpty,
    /// A frame could not be decoded.
    Undecodable,
}

impl GapReason {
    /// The word for it in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sequence => "sequence",
            Self::SlowConsumer => "slow_consumer",
            Self::PoolEmpty => "pool_empty",
            Self::Undecodable => "undecodable",
        }
    }
}

/// Events of the stream that the reader will not get: declared, never silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// First number missing.
    pub from: u64,
    /// Last number missing.
    pub to: u64,
    /// Events missing, where that is known and differs from `to - from + 1`; else 0.
    pub event_count: u64,
    /// Why.
    pub reason: GapReason,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// A match.
    Trade(Trade),
    /// The whole book, as far as the venue or the subscription goes: replaces what the reader has.
    BookSnapshot(BookPart),
    /// Changes to the book: absolute quantities, zero removes.
    BookUpdate(BookPart),
    /// Best prices, and a day's statistics.
    Ticker(Ticker),
    /// An interval's prices.
    Kline(Kline),
    /// Events of this stream that will not come.
    Gap(Gap),
    /// The book of this stream changed its state.
    BookState {
        /// What it is now.
        status: BookStatus,
        /// What that rests on.
        proof: Proof,
        /// Why it changed.
        reason: BookReason,
    },
    /// A merge window is complete; its fragments follow in parts of the same event.
    Merged(MergedHead),
    /// One provider's latest event of that window. Instrument, scale, trace and venue time of the header are the fragment's.
    Fragment {
        /// Whose event it is.
        provider: ProviderId,
        /// Its number in its own stream.
        sequence: u64,
        /// When its bytes reached us.
        receive_time: ReceiveTime,
        /// What happened there.
        value: FragmentValue,
    },
    /// The consolidated best bid and offer changed.
    MergedBbo(MergedBbo),
    /// From a provider shard to a merge shard: what was received before the header's receive time has been sent.
    Marker,
    /// A command about this consumer was taken. Goes to that consumer alone, past all rings of market data.
    ControlAck(ControlAck),
    /// A command about this consumer has ended. Goes to that consumer alone, past all rings of market data.
    ControlResult(ControlResult),
}

/// The kind of an event: the name that topology, counters and reports use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// [`Body::Trade`]
    Trade,
    /// [`Body::BookSnapshot`]
    BookSnapshot,
    /// [`Body::BookUpdate`]
    BookUpdate,
    /// [`Body::Ticker`]
    Ticker,
    /// [`Body::Kline`]
    KlineSummary,
    /// [`Body::Gap`]
    Gap,
    /// [`Body::BookState`]
    BookState,
    /// [`Body::Merged`] and its [`Body::Fragment`]s
    Merged,
    /// [`Body::MergedBbo`]
    MergedBbo,
    /// [`Body::Marker`]
    Marker,
    /// [`Body::ControlAck`]
    ControlAck,
    /// [`Body::ControlResult`]
    ControlResult,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::Trade,
        Self::BookSnapshot,
        Self::BookUpdate,
        Self::Ticker,
        Self::KlineSummary,
        Self::Gap,
        Self::BookState,
        Self::Merged,
        Self::MergedBbo,
        Self::Marker,
        Self::ControlAck,
        Self::ControlResult,
    ];

    /// How many kinds there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The name, for example `BookUpdate`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trade => "Trade",
            Self::BookSnapshot => "BookSnapshot",
            Self::BookUpdate => "BookUpdate",
            Self::Ticker => "Ticker",
            Self::KlineSummary => "KlineSummary",
            Self::Gap => "Gap",
            Self::BookState => "BookState",
            Self::Merged => "Merged",
            Self::MergedBbo => "MergedBbo",
            Self::Marker => "Marker",
            Self::ControlAck => "ControlAck",
            Self::ControlResult => "ControlResult",
        }
    }

    /// Whether an event of this kind reaches its consumer whatever happens: it is never dropped, coalesced or skipped.
    pub const fn is_critical(self) -> bool {
        matches!(self, Self::ControlAck | Self::ControlResult)
    }

    /// Whether a newer event of the stream makes it worthless. What says that something is missing never is.
    pub const fn is_market_data(self) -> bool {
        !self.is_critical() && !matches!(self, Self::Gap | Self::BookState)
    }
}

impl Event {
    /// The kind of its body.
    #[inline]
    pub const fn kind(&self) -> Kind {
        match self.body {
            Body::Trade(_) => Kind::Trade,
            Body::BookSnapshot(_) => Kind::BookSnapshot,
            Body::BookUpdate(_) => Kind::BookUpdate,
            Body::Ticker(_) => Kind::Ticker,
            Body::Kline(_) => Kind::KlineSummary,
            Body::Gap(_) => Kind::Gap,
            Body::BookState { .. } => Kind::BookState,
            Body::Merged(_) | Body::Fragment { .. } => Kind::Merged,
            Body::MergedBbo(_) => Kind::MergedBbo,
            Body::Marker => Kind::Marker,
            Body::ControlAck(_) => Kind::ControlAck,
            Body::ControlResult(_) => Kind::ControlResult,
        }
    }

    /// Whether this part completes its event.
    #[inline]
    pub const fn completes(&self) -> bool {
        self.header.flags.has(Flags::LAST)
    }
}

/// An event that carries nothing: what a pool's slot holds while nobody has it.
impl Default for Event {
    fn default() -> Self {
        Self {
            header: Header::default(),
            body: Body::Gap(Gap { from: 0, to: 0, event_count: 0, reason: GapReason::Sequence }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(count: i64) -> Vec<Level> {
        (1..=count).map(|price| Level { price: Price(price), qty: Qty(price * 10) }).collect()
    }

    #[test]
    fn parts_carry_every_level_once_and_mark_the_first_and_the_last() {
        for (bids, asks) in [(0, 0), (1, 0), (0, 1), (6, 0), (7, 0), (3, 3), (3, 4), (5, 20), (100, 100)] {
            let (bids, asks) = (levels(bids), levels(asks));
            let parts: Vec<_> = Parts::new(&bids, &asks, BookStatus::Proved, Proof::None).collect();
            assert_eq!(parts.len(), book_parts(bids.len(), asks.len()));
            assert_eq!(parts.iter().flat_map(|(_, part)| part.bids()).copied().collect::<Vec<_>>(), bids);
            assert_eq!(parts.iter().flat_map(|(_, part)| part.asks()).copied().collect::<Vec<_>>(), asks);
            for (index, (flags, _)) in parts.iter().enumerate() {
                assert_eq!(flags.has(Flags::FIRST), index == 0);
                assert_eq!(flags.has(Flags::LAST), index + 1 == parts.len());
            }
        }
    }

    #[test]
    fn the_lists_of_kinds_and_reasons_are_in_the_order_of_their_numbers() {
        for (index, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, index);
        }
        for (index, reason) in BookReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }
}
