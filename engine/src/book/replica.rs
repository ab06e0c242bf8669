//! A consumer shard's copy of a book, built from delivered events alone.

use super::{Book, Cut};
use crate::event::{Body, BookPart, BookStatus, Event, Flags, Level, Proof};

/// A book that follows its stream's events, with the state that travels with it.
///
/// It follows updates from a snapshot on, and until a Gap: what is missing may have changed it. From there to the next
/// snapshot it keeps its levels, says that it is suspect, and applies nothing.
#[derive(Debug)]
pub struct Replica {
    book: Book,
    status: BookStatus,
    proof: Proof,
    sequence: u64,
    /// Parts of an event are being applied: the book is between two states of the venue's.
    open: bool,
    /// A snapshot is applied and nothing was missed since: updates may follow.
    follows: bool,
    /// Bids and asks of a snapshot of which parts are still to come, best first. The book lends its memory and is empty
    /// meanwhile: a part costs its own levels, however many came before.
    coming: Option<[Vec<Level>; 2]>,
    cut: Cut,
    /// Levels a side up to which it is the venue's, and the version of the routes whose snapshot brings more, and how many.
    depth: usize,
    deeper: Option<(u32, usize)>,
    snapshot_total: u64,
    update_total: u64,
}

impl Replica {
    /// An empty copy that holds at most `depth_max` levels a side, with memory for `reserve` taken now.
    pub fn new(depth_max: usize, reserve: usize) -> Self {
        Self {
            book: Book::new(depth_max, reserve),
            status: BookStatus::Syncing,
            proof: Proof::None,
            sequence: 0,
            open: false,
            follows: false,
            coming: None,
            cut: Cut::default(),
            depth: depth_max,
            deeper: None,
            snapshot_total: 0,
            update_total: 0,
        }
    }

    /// Holds up to `depth_max` levels a side from now on, if that is more than before: the levels below come with the
    /// next snapshot under the routes of `version`.
    pub fn deepen(&mut self, depth_max: usize, version: u32) {
        if depth_max > self.book.bids.depth_max {
            self.deeper = Some((version, depth_max));
            self.book.deepen(depth_max);
        }
    }

    /// Levels a side up to which it is the venue's book, if that has as many.
    pub const fn depth(&self) -> usize {
        self.depth
    }

    /// Whether updates may follow what it holds.
    pub const fn follows(&self) -> bool {
        self.follows
    }

    /// Applies an event of its stream; other kinds change nothing.
    #[inline]
    pub fn apply(&mut self, event: &Event) {
        match &event.body {
            Body::BookUpdate(part) => {
                if !self.follows || event.header.decimals != self.book.decimals() && !self.rescale(event) {
                    return;
                }
                self.part(event, part);
                self.update_total += u64::from(event.completes());
            }
            Body::BookSnapshot(part) => {
                if event.header.flags.has(Flags::FIRST) {
                    self.begin_snapshot(event);
                }
                if self.follows {
                    self.snapshot_part(event, part);
                }
            }
            Body::BookState { status, proof, .. } => {
                // That the venue's book is proved says nothing of a copy that lost its way.
                if self.follows || *status != BookStatus::Proved {
                    (self.status, self.proof) = (*status, *proof);
                }
            }
            Body::Gap(_) => self.lose(),
            Body::Trade(_)
            | Body::Ticker(_)
            | Body::Kline(_)
            | Body::Merged(_)
            | Body::Fragment { .. }
            | Body::MergedBbo(_)
            | Body::Marker
            | Body::ControlAck(_)
            | Body::ControlResult(_) => {}
        }
    }

    fn begin_snapshot(&mut self, event: &Event) {
        self.end_snapshot();
        if let Some((_, depth)) = self.deeper.take_if(|(version, _)| event.header.routing_version >= *version)
        {
            self.depth = depth;
        }
        self.book.clear(event.header.decimals);
        self.follows = true;
        let Book { bids, asks, .. } = &mut self.book;
        self.coming = Some([std::mem::take(&mut bids.levels), std::mem::take(&mut asks.levels)]);
    }

    fn snapshot_part(&mut self, event: &Event, part: &BookPart) {
        let Some([bids, asks]) = &mut self.coming else { return };
        bids.extend_from_slice(part.bids());
        asks.extend_from_slice(part.asks());
        self.open = !event.completes();
        if !self.open {
            self.end_snapshot();
            self.snapshot_total += 1;
            (self.status, self.proof, self.sequence) = (part.status, part.proof, event.header.sequence_last);
        }
    }

    /// What came of a snapshot becomes the book.
    fn end_snapshot(&mut self) {
        let Some([bids, asks]) = self.coming.take() else { return };
        (self.book.bids.levels, self.book.asks.levels) = (bids, asks);
        self.book.bids.arrange();
        self.book.asks.arrange();
    }

    /// Events are missing: only a snapshot helps.
    #[cold]
    fn lose(&mut self) {
        self.end_snapshot();
        (self.follows, self.open) = (false, false);
        if self.status == BookStatus::Proved {
            self.status = BookStatus::Suspect;
        }
    }

    /// The stream's scale grew. Scales only grow: an update that does not fit shows that something was missed.
    #[cold]
    fn rescale(&mut self, event: &Event) -> bool {
        let fits = self.book.rescale(event.header.decimals);
        if !fits {
            self.lose();
        }
        fits
    }

    #[inline]
    fn part(&mut self, event: &Event, part: &BookPart) {
        self.book.apply_part(part.bids(), part.asks(), &mut self.cut);
        self.open = !event.completes();
        if !self.open {
            self.book.settle(&mut self.cut);
            (self.status, self.proof, self.sequence) = (part.status, part.proof, event.header.sequence_last);
        }
    }

    /// The book. Between the parts of one event it is in no state that the venue's ever was in, and empty between those of
    /// a snapshot: see [`is_whole`](Self::is_whole).
    pub const fn book(&self) -> &Book {
        &self.book
    }

    /// Whether no event is half applied.
    pub const fn is_whole(&self) -> bool {
        !self.open
    }

    /// How far it can be trusted.
    pub const fn status(&self) -> BookStatus {
        self.status
    }

    /// What `proved` rests on.
    pub const fn proof(&self) -> Proof {
        self.proof
    }

    /// Last number applied.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Snapshots applied.
    pub const fn snapshot_total(&self) -> u64 {
        self.snapshot_total
    }

    /// Updates applied.
    pub const fn update_total(&self) -> u64 {
        self.update_total
    }
}
