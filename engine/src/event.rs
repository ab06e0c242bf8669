//! The canonical event: plain data, one slot of a ring, the same for every venue.
//!
//! A book longer than [`LEVELS_PER_PART`] travels in parts that carry the same sequence; the first and the last say so
//! in their [`Flags`], and parts enter a ring all together or not at all.

pub mod control;

use crate::channel::Interval;
use crate::decimal::{Decimals, Price, Qty};
use crate::ids::{InstrumentId, ProviderId, StreamId, TraceId};
use crate::time::{ReceiveTime, VenueTime};

use control::{ControlAck, ControlResult};

/// Version of the layout and meaning of events; a recorder writes it, a reader refuses another.
pub const SCHEMA_VERSION: u8 = 1;

/// Book levels in one part: what fits a slot of three cache lines beside the header.
pub const LEVELS_PER_PART: usize = 6;

/// Providers that one merge rule can join: what the legs of a [`MergedBbo`] leave room for.
pub const MERGED_PROVIDERS_MAX: usize = 8;

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

impl Header {
    /// Identity for de-duplication within a run: derived, never random.
    pub const fn event_id(&self) -> (StreamId, u64, u16) {
        (self.stream, self.sequence_last, self.part)
    }
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

/// How far a book can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BookStatus {
    /// Waiting for a snapshot, or for the first update that joins it.
    #[default]
    Syncing,
    /// Every update since the snapshot was checked and fits.
    Proved,
    /// A check failed; a new snapshot is on its way and this one is not to be used.
    Suspect,
    /// The connection is gone, or said nothing for too long.
    Stale,
}

impl BookStatus {
    /// The word for it in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Syncing => "syncing",
            Self::Proved => "proved",
            Self::Suspect => "suspect",
            Self::Stale => "stale",
        }
    }
}

/// What a book's `proved` rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Proof {
    /// The venue gives nothing to check but the crossing of the sides.
    #[default]
    None,
    /// Update numbers without a hole.
    Continuity,
    /// The venue's checksum of the best levels, verified after every update.
    Checksum,
}

impl Proof {
    /// The word for it in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Continuity => "continuity",
            Self::Checksum => "checksum",
        }
    }
}

/// Why a book changed its [`BookStatus`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BookReason {
    /// It is wanted for the first time, or again.
    Subscribed,
    /// Snapshot and updates joined and fit; or, in a quiet market, two snapshots were the same.
    Joined,
    /// Update numbers are missing.
    SequenceGap,
    /// The venue's checksum does not fit.
    ChecksumMismatch,
    /// The best bid reached the best ask.
    Crossed,
    /// A periodic comparison with the venue failed.
    VerificationFailed,
    /// An update could not be decoded, or did not fit 64 bits.
    UpdateUndecodable,
    /// The connection was lost.
    ConnectionLost,
    /// Nothing came for longer than the stream's own rate allows.
    Silent,
    /// Another line's book took over.
    LineSwitched,
    /// More frames of the connection are missing than its numbers allow.
    ConnectionGap,
    /// Its message was longer than is taken.
    Oversized,
    /// It broke again and again: it is asked for ever more rarely.
    Unprovable,
    /// The venue does not trade the instrument any more.
    Delisted,
}

impl BookReason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Subscribed,
        Self::Joined,
        Self::SequenceGap,
        Self::ChecksumMismatch,
        Self::Crossed,
        Self::VerificationFailed,
        Self::UpdateUndecodable,
        Self::ConnectionLost,
        Self::Silent,
        Self::LineSwitched,
        Self::ConnectionGap,
        Self::Oversized,
        Self::Unprovable,
        Self::Delisted,
    ];

    /// The word for it in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subscribed => "subscribed",
            Self::Joined => "joined",
            Self::SequenceGap => "sequence_gap",
            Self::ChecksumMismatch => "checksum_mismatch",
            Self::Crossed => "crossed",
            Self::VerificationFailed => "verification_failed",
            Self::UpdateUndecodable => "update_undecodable",
            Self::ConnectionLost => "connection_lost",
            Self::Silent => "silent",
            Self::LineSwitched => "line_switched",
            Self::ConnectionGap => "connection_gap",
            Self::Oversized => "oversized",
            Self::Unprovable => "unprovable",
            Self::Delisted => "delisted",
        }
    }
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

/// Levels of one part of a book: bids first (best first in snapshots), then asks (best first in snapshots).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookPart {
    /// State of the book that these levels make, once the last part is applied.
    pub status: BookStatus,
    /// What that state rests on.
    pub proof: Proof,
    /// How many of `levels` are bids.
    pub bid_count: u8,
    /// How many of `levels`, after the bids, are asks.
    pub ask_count: u8,
    /// The levels; those beyond the counts are zero.
    pub levels: [Level; LEVELS_PER_PART],
}

impl BookPart {
    /// The bids of this part.
    #[inline]
    pub fn bids(&self) -> &[Level] {
        &self.levels[..usize::from(self.bid_count).min(LEVELS_PER_PART)]
    }

    /// The asks of this part.
    #[inline]
    pub fn asks(&self) -> &[Level] {
        let from = usize::from(self.bid_count).min(LEVELS_PER_PART);
        let to = (from + usize::from(self.ask_count)).min(LEVELS_PER_PART);
        &self.levels[from..to]
    }
}

/// Why a merge window ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum WindowEnd {
    /// Its length was over.
    Length,
    /// It had as many events as its rule asks for.
    Count,
}

/// The first part of a merged event: the window. One [`Body::Fragment`] for each provider follows.
///
/// The merge id is the header's sequence: later windows of a stream have greater ones, also after a restart of the merger.
/// Receive time of all parts is `closed`, so that latencies count from the moment at which the event could be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergedHead {
    /// Receive time of the first event.
    pub opened: ReceiveTime,
    /// The window covers receive times before this; closed by its count: up to and including this.
    pub closed: ReceiveTime,
    /// Events in the window, those that no fragment shows included.
    pub event_count: u32,
    /// Providers of the rule.
    pub providers_expected: u8,
    /// Providers with a fragment.
    pub providers_present: u8,
    /// Why it ended.
    pub end: WindowEnd,
}

/// The latest event of one provider in a merge window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FragmentValue {
    /// Of a rule over trades.
    Trade(Trade),
    /// Of a rule over tickers.
    Ticker(Ticker),
    /// Of a rule over klines.
    Kline(Kline),
}

/// A best price over several providers, at its own provider's scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BestLeg {
    /// The price.
    pub price: Price,
    /// The quantity at that price, of this provider alone.
    pub qty: Qty,
    /// Scale of both.
    pub decimals: Decimals,
    /// Whose price it is.
    pub provider: ProviderId,
    /// What the trust in it rests on.
    pub proof: Proof,
}

/// State of one provider in a consolidated best bid and offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leg {
    /// Age of its newest data when this event was made, in milliseconds, saturating; 0 before the first.
    pub age_ms: u16,
    /// The provider.
    pub provider: ProviderId,
    /// Only proved legs compete. A ticker's leg is proved (with proof `none`) from its first event on, suspect after a
    /// Gap until the next one, and stale when it grew too old.
    pub status: BookStatus,
    /// What `proved` rests on.
    pub proof: Proof,
}

/// Best bid and offer over the proved legs of several providers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergedBbo {
    /// The highest bid; `None` if no proved leg has one.
    pub bid: Option<BestLeg>,
    /// The lowest ask; `None` if no proved leg has one.
    pub ask: Option<BestLeg>,
    /// How many of `legs` are used.
    pub leg_count: u8,
    /// All providers of the rule, in its order; those beyond the count are zero.
    pub legs: [Leg; MERGED_PROVIDERS_MAX],
}

impl MergedBbo {
    /// The legs of the rule.
    pub fn legs(&self) -> &[Leg] {
        &self.legs[..usize::from(self.leg_count).min(MERGED_PROVIDERS_MAX)]
    }
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

/// Parts that a book event of `bid_count` + `ask_count` levels takes; an empty one still takes one.
pub const fn book_parts(bid_count: usize, ask_count: usize) -> usize {
    let levels = bid_count + ask_count;
    if levels == 0 { 1 } else { levels.div_ceil(LEVELS_PER_PART) }
}

/// The parts of a book event over two lists of levels, in order: bids, then asks.
///
/// Each item is the part's place in the whole and the levels it carries.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    bids: &'a [Level],
    asks: &'a [Level],
    status: BookStatus,
    proof: Proof,
    first: bool,
    done: bool,
}

impl<'a> Parts<'a> {
    /// The parts that carry `bids` and `asks` in the order given.
    pub fn new(bids: &'a [Level], asks: &'a [Level], status: BookStatus, proof: Proof) -> Self {
        Self { bids, asks, status, proof, first: true, done: false }
    }
}

impl Iterator for Parts<'_> {
    type Item = (Flags, BookPart);

    #[inline]
    fn next(&mut self) -> Option<(Flags, BookPart)> {
        if self.done {
            return None;
        }
        let mut levels = [Level::default(); LEVELS_PER_PART];
        let bid_count = self.bids.len().min(LEVELS_PER_PART);
        let ask_count = self.asks.len().min(LEVELS_PER_PART - bid_count);
        levels[..bid_count].copy_from_slice(&self.bids[..bid_count]);
        levels[bid_count..bid_count + ask_count].copy_from_slice(&self.asks[..ask_count]);
        self.bids = &self.bids[bid_count..];
        self.asks = &self.asks[ask_count..];
        self.done = self.bids.is_empty() && self.asks.is_empty();
        let mut flags = Flags::default();
        if std::mem::take(&mut self.first) {
            flags = flags.with(Flags::FIRST);
        }
        if self.done {
            flags = flags.with(Flags::LAST);
        }
        let part = BookPart {
            status: self.status,
            proof: self.proof,
            bid_count: bid_count as u8,
            ask_count: ask_count as u8,
            levels,
        };
        Some((flags, part))
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
