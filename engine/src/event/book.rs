//! Books in events: their parts, how far one can be trusted, and why that changed.

use super::{Flags, Level};

/// Book levels in one part: what fits a slot of three cache lines beside the header.
pub const LEVELS_PER_PART: usize = 6;

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
