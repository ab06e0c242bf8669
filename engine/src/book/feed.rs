//! One book as a venue feeds it: waits for a snapshot, joins the updates, checks each, and says when it broke.
//!
//! The venue's documented steps, by [`BookRule`]. Knows nothing of connections and rings: the provider asks for the
//! snapshot that an [`Outcome`] calls for and publishes what an [`Outcome`] tells.

use std::collections::VecDeque;

use super::verify::Reach;
use super::{Book, Cut, Digits};
use crate::decimal::{Decimals, power_of_ten};
use crate::event::{BookReason, BookStatus, Level, Proof};
use crate::pool::Handle;
use crate::raw::{BookMessage, Content, Message, Numbers, Raw};

/// How a book is made and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookRule {
    /// A REST snapshot joined by update ids; each update starts where the last one ended (`U == u + 1`). Binance Spot.
    RestSnapshotRange,
    /// A REST snapshot joined by update ids; each update names the end of the one before (`pu`). Binance USD-M.
    RestSnapshotChained,
    /// The stream begins with a snapshot; the venue's checksum follows every update; the book is cut to its depth. Kraken.
    StreamSnapshotChecksum,
    /// The stream begins with a snapshot; the connection's frames are numbered. Coinbase Advanced.
    StreamSnapshotConnection,
    /// The stream begins with a snapshot; nothing is numbered. Coinbase Exchange.
    StreamSnapshotUnnumbered,
}

/// Sizes of a book feed.
#[derive(Clone, Copy, Debug)]
pub struct FeedOptions {
    /// Levels a side at most.
    pub depth_max: usize,
    /// Levels a side whose memory is taken at start.
    pub reserve: usize,
    /// Updates that may wait for a snapshot.
    pub waiting_max: usize,
    /// Levels a side that a REST snapshot is asked for.
    pub snapshot_levels: usize,
    /// The venue's checksum of a book, where it has one.
    pub checksum: Option<Checksum>,
}

/// Snapshots in a row that may be older than the first update that waits, before that update is not believed.
const TOO_OLD_MAX: u32 = 3;

/// Computes a venue's checksum of a book. The digits are those of the book's checksum before, for reuse.
pub type Checksum = fn(&Book, &mut Digits) -> u32;

crate::counters! {
    /// What was counted of one book; each message is in exactly one of snapshots, applied, stale, waiting, unusable.
    pub struct BookCounts {
        /// Snapshots taken over.
        snapshot_total,
        /// Updates applied.
        applied_total,
        /// Updates that the book already contained.
        stale_total,
        /// Updates without a snapshot, in a broken book, or that did not fit it; and snapshots that were too old.
        unusable_total,
        /// Holes in the update numbers.
        gap_total,
        /// Times the sides crossed.
        crossed_total,
        /// Checksums compared, those of snapshots included.
        checksum_total,
        /// Checksums that fitted.
        checksum_ok_total,
        /// Times the book was given up and a new snapshot wanted.
        resync_total,
        /// Removals of levels that were not there.
        absent_total,
        /// Levels refused or evicted at the largest depth.
        depth_limited_total,
        /// Snapshots that were older than the updates held.
        snapshot_too_old_total,
    }
}

/// What a message did to the book, and so what is to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to publish: already contained.
    Stale,
    /// Nothing to publish: the update must wait for a snapshot; hand its raw to [`BookFeed::hold`].
    Wait,
    /// Nothing to publish: the book cannot use it now.
    Unusable,
    /// A second snapshot is the same as the first, and no update came between them: the book is proved.
    Confirmed,
    /// The book was replaced: publish all of it.
    Replaced,
    /// Applied and checked: publish its levels, and what was cut.
    Applied,
    /// Applied, and with it the book is proved for the first time since its snapshot.
    Joined,
    /// A check failed. The book is suspect and wants a new snapshot. `from..=to` are the numbers missing, if that is
    /// why.
    Broken {
        /// The check.
        reason: BookReason,
        /// Numbers missing, first and last.
        missing: Option<(u64, u64)>,
    },
}

/// A book and its state between venue and dispatcher.
#[derive(Debug)]
pub struct BookFeed {
    rule: BookRule,
    options: FeedOptions,
    /// Levels a side that the venue keeps; beyond it both sides cut (Kraken).
    depth: Option<usize>,
    book: Book,
    /// Only where the venue has a checksum.
    digits: Option<Box<Digits>>,
    status: BookStatus,
    /// Whether a snapshot is loaded, so that updates can be compared with `last`.
    loaded: bool,
    /// Last update number contained.
    last: u64,
    /// Snapshots in a row that were older than what waits.
    too_old: u32,
    /// Updates that wait for a snapshot: decoded frames with one message each.
    waiting: VecDeque<Handle<Raw>>,
    /// What left the book with the last update without the venue's saying so.
    cut: Cut,
    /// How far from the touch its snapshot reached.
    reach: Reach,
    closed_as: Option<BookStatus>,
    /// What was counted.
    pub counts: BookCounts,
}

impl BookFeed {
    /// An empty book under `rule`.
    pub fn new(rule: BookRule, options: FeedOptions) -> Self {
        Self {
            rule,
            options,
            depth: None,
            book: Book::new(options.depth_max, options.reserve),
            digits: options.checksum.map(|_| Box::default()),
            status: BookStatus::Syncing,
            loaded: false,
            last: 0,
            too_old: 0,
            waiting: VecDeque::with_capacity(options.waiting_max.min(1_024)),
            cut: Cut::default(),
            reach: Reach::default(),
            closed_as: None,
            counts: BookCounts::default(),
        }
    }

    /// The book. Only to be relied on while [`status`](Self::status) is proved.
    pub const fn book(&self) -> &Book {
        &self.book
    }

    /// How far it can be trusted.
    pub const fn status(&self) -> BookStatus {
        self.status
    }

    /// Its state before [`close`](Self::close), for the report.
    pub const fn final_status(&self) -> BookStatus {
        match self.closed_as {
            Some(status) => status,
            None => self.status,
        }
    }

    /// The end: lets go of what waits and remembers the state it had. Returns how many updates waited in vain.
    pub fn close(&mut self) -> u64 {
        self.closed_as.get_or_insert(self.status);
        let waited = self.waiting.len() as u64;
        self.counts.unusable_total += waited;
        self.waiting.clear();
        waited
    }

    /// What `proved` rests on.
    pub const fn proof(&self) -> Proof {
        match self.rule {
            BookRule::RestSnapshotRange
            | BookRule::RestSnapshotChained
            | BookRule::StreamSnapshotConnection => Proof::Continuity,
            BookRule::StreamSnapshotChecksum => Proof::Checksum,
            BookRule::StreamSnapshotUnnumbered => Proof::None,
        }
    }

    /// Last update number that it contains; 0 where the venue numbers nothing.
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// What left the book with the last update without the venue's saying so.
    pub const fn cut(&self) -> &Cut {
        &self.cut
    }

    /// Whether the snapshot comes by REST and not in the stream.
    pub const fn snapshot_by_rest(&self) -> bool {
        matches!(self.rule, BookRule::RestSnapshotRange | BookRule::RestSnapshotChained)
    }

    /// The depth that the venue granted, if it has told one.
    pub const fn depth(&self) -> Option<usize> {
        self.depth
    }

    /// The depth that the venue granted: both sides cut to it from now on.
    pub fn set_depth(&mut self, depth: usize) {
        self.depth = Some(depth);
    }

    /// How far from the touch it knows the venue's book.
    pub const fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Takes over a book that was verified against a newer snapshot, standing at the same number.
    pub fn adopt(&mut self, book: Book, reach: Reach) {
        self.book = book;
        self.reach = reach;
        self.counts.snapshot_total += 1;
    }

    /// The numbers missing before an update, if there is a hole and the book could go on without it.
    #[inline]
    pub fn hole_before(&self, numbers: &Numbers) -> bool {
        if !self.loaded || self.status != BookStatus::Proved {
            return false;
        }
        match self.rule {
            BookRule::RestSnapshotRange => numbers.first > self.last + 1,
            BookRule::RestSnapshotChained => numbers.last > self.last && !follows(numbers, self.last, true),
            _ => false,
        }
    }

    /// When the oldest update that waits came.
    pub fn waiting_since(&self) -> Option<crate::time::ReceiveTime> {
        self.waiting.front().map(|raw| raw.receive_time)
    }

    /// Updates that wait for a snapshot.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether another update can wait.
    pub fn may_wait(&self) -> bool {
        self.waiting.len() < self.options.waiting_max
    }

    /// Makes room for a younger update: the oldest that waits goes.
    pub fn drop_oldest_waiting(&mut self) {
        if self.waiting.pop_front().is_some() {
            self.counts.unusable_total += 1;
        }
    }

    /// Whether a snapshot is loaded.
    pub const fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Gives the book up: from now on it wants a snapshot. What waits is dropped.
    pub fn give_up(&mut self, status: BookStatus) {
        if self.loaded || self.status != status {
            self.counts.resync_total += 1;
        }
        self.counts.unusable_total += self.waiting.len() as u64;
        self.waiting.clear();
        self.unload(status);
    }

    fn unload(&mut self, status: BookStatus) {
        self.loaded = false;
        self.status = status;
        self.book.clear(self.book.decimals());
    }

    /// Puts back what [`next_waiting`](Self::next_waiting) gave out: it waits on, as the oldest.
    pub fn hold_first(&mut self, raw: Handle<Raw>) {
        self.waiting.push_front(raw);
    }

    /// Keeps an update until the snapshot is there. `raw` holds exactly one message. The caller has asked
    /// [`may_wait`](Self::may_wait).
    pub fn hold(&mut self, raw: Handle<Raw>) {
        assert!(raw.messages.len() == 1, "only a raw of one message can wait");
        self.waiting.push_back(raw);
    }

    /// The update whose turn it is after a snapshot; offer its message again.
    pub fn next_waiting(&mut self) -> Option<Handle<Raw>> {
        if self.loaded { self.waiting.pop_front() } else { None }
    }

    /// Takes a message of the stream, or a snapshot that was fetched for it.
    #[inline]
    pub fn offer(&mut self, message: &Message, book: &BookMessage, raw: &Raw) -> Outcome {
        self.cut.clear();
        if book.snapshot {
            return self.snapshot(message, book, raw);
        }
        if !self.loaded {
            return if self.snapshot_by_rest() {
                Outcome::Wait
            } else {
                self.counts.unusable_total += 1;
                Outcome::Unusable
            };
        }
        if let Some(outcome) = self.misfit(&message.numbers) {
            return outcome;
        }
        self.update(message, raw.bids_of(book), raw.asks_of(book), book.checksum)
    }

    /// Compares update numbers with what the book contains: `None` if it is the next one.
    #[inline]
    fn misfit(&mut self, numbers: &Numbers) -> Option<Outcome> {
        let joined = self.status == BookStatus::Proved;
        let hole = |from: u64, to: u64| Some((from, to));
        let missing = match self.rule {
            // Binance Spot, step 6: `u <= local` is contained, `U > local + 1` is a gap.
            BookRule::RestSnapshotRange => {
                if numbers.last <= self.last {
                    self.counts.stale_total += 1;
                    return Some(Outcome::Stale);
                }
                if numbers.first <= self.last + 1 {
                    return None;
                }
                hole(self.last + 1, numbers.first - 1)
            }
            // Binance USD-M: while joining `u < lastUpdateId` is contained and `U <= lastUpdateId <= u` joins; then
            // `pu` names the update before. An update whose `pu` is the snapshot's number follows it as well.
            BookRule::RestSnapshotChained => {
                let contained = if joined { numbers.last <= self.last } else { numbers.last < self.last };
                if contained {
                    self.counts.stale_total += 1;
                    return Some(Outcome::Stale);
                }
                if follows(numbers, self.last, joined) {
                    return None;
                }
                hole(self.last + 1, numbers.first.saturating_sub(1).max(self.last + 1))
            }
            BookRule::StreamSnapshotChecksum
            | BookRule::StreamSnapshotConnection
            | BookRule::StreamSnapshotUnnumbered => return None,
        };
        self.counts.gap_total += 1;
        Some(self.broken(BookReason::SequenceGap, missing))
    }

    #[inline]
    fn update(
        &mut self,
        message: &Message,
        bids: &[Level],
        asks: &[Level],
        checksum: Option<u32>,
    ) -> Outcome {
        if message.decimals != self.book.decimals()
            && !self.book.rescale(wider(message.decimals, self.book.decimals()))
        {
            self.counts.unusable_total += 1;
            return self.broken(BookReason::UpdateUndecodable, None);
        }
        let facts = if message.decimals == self.book.decimals() {
            self.book.apply(bids, asks, &mut self.cut)
        } else {
            // The update was decoded before the scale grew: it waited for a snapshot.
            let (from, to) = (message.decimals, self.book.decimals());
            let (mut wide_bids, mut wide_asks) = (bids.to_vec(), asks.to_vec());
            if !rescale(&mut wide_bids, from, to) || !rescale(&mut wide_asks, from, to) {
                self.counts.unusable_total += 1;
                return self.broken(BookReason::UpdateUndecodable, None);
            }
            self.book.apply(&wide_bids, &wide_asks, &mut self.cut)
        };
        self.counts.absent_total += facts.absent_count;
        self.counts.depth_limited_total += facts.depth_limited_count;
        if let Some(depth) = self.depth {
            self.book.truncate(depth, &mut self.cut);
        }
        self.last = message.numbers.last.max(self.last);
        self.counts.applied_total += 1;
        if let Some(failure) = self.check(checksum) {
            return failure;
        }
        if self.status == BookStatus::Proved {
            return Outcome::Applied;
        }
        self.status = BookStatus::Proved;
        Outcome::Joined
    }

    fn snapshot(&mut self, message: &Message, book: &BookMessage, raw: &Raw) -> Outcome {
        if self.snapshot_by_rest() && self.loaded {
            let waits_for_proof = self.status == BookStatus::Syncing;
            if waits_for_proof && message.numbers.last == self.last {
                // A quiet market. Both snapshots were taken while the stream was subscribed, and at one number: whatever
                // changes from now on comes as an update behind it, or shows as a gap.
                self.counts.stale_total += 1;
                self.status = BookStatus::Proved;
                return Outcome::Confirmed;
            }
            if !waits_for_proof || message.numbers.last < self.last {
                // Nobody asked for it: the book goes on by its numbers.
                self.counts.stale_total += 1;
                return Outcome::Stale;
            }
            // Newer than the first, and no update came: it takes its place, and waits for the same.
        }
        if self.snapshot_by_rest() {
            // Binance Spot, step 3: a snapshot before the first update held leaves a hole between them.
            let last = message.numbers.last;
            let leaves_a_hole = |held: &Handle<Raw>| {
                let held = &held.messages[0].numbers;
                let chained =
                    matches!(self.rule, BookRule::RestSnapshotChained) && held.previous == Some(last);
                held.first > last.saturating_add(1) && !chained
            };
            if self.waiting.front().is_some_and(leaves_a_hole) {
                self.counts.snapshot_too_old_total += 1;
                self.counts.unusable_total += 1;
                self.too_old += 1;
                if self.too_old >= TOO_OLD_MAX {
                    // No snapshot ever reaches it: its numbers lie. What comes from now on waits in its place.
                    self.too_old = 0;
                    self.counts.unusable_total += self.waiting.len() as u64;
                    self.waiting.clear();
                }
                return Outcome::Unusable;
            }
        }
        self.too_old = 0;
        let (bids, asks) = (raw.bids_of(book), raw.asks_of(book));
        self.counts.depth_limited_total += self.book.load(message.decimals, bids, asks);
        if matches!(self.rule, BookRule::StreamSnapshotChecksum) {
            // A replay without an acknowledgement does not know the depth: the larger side tells it.
            let depth = *self.depth.get_or_insert(bids.len().max(asks.len()));
            self.book.truncate(depth, &mut self.cut);
        }
        self.reach = Reach::of(&self.book, bids.len(), asks.len(), self.options.snapshot_levels);
        // A snapshot is published whole: what it cut was never in a copy.
        self.cut.clear();
        self.last = message.numbers.last;
        self.loaded = true;
        self.counts.snapshot_total += 1;
        self.status = match self.rule {
            // Proved once the first update has joined, or a second snapshot has the same number.
            BookRule::RestSnapshotRange | BookRule::RestSnapshotChained => BookStatus::Syncing,
            _ => BookStatus::Proved,
        };
        match self.check(book.checksum) {
            Some(failure) => failure,
            None => Outcome::Replaced,
        }
    }

    /// Checks that hold after every change: the venue's checksum, and sides that do not cross.
    #[inline]
    fn check(&mut self, checksum: Option<u32>) -> Option<Outcome> {
        if let (Some(compute), Some(digits), Some(expected)) =
            (self.options.checksum, &mut self.digits, checksum)
        {
            self.counts.checksum_total += 1;
            if compute(&self.book, digits) != expected {
                return Some(self.broken(BookReason::ChecksumMismatch, None));
            }
            self.counts.checksum_ok_total += 1;
        }
        if self.book.is_crossed() {
            self.counts.crossed_total += 1;
            return Some(self.broken(BookReason::Crossed, None));
        }
        None
    }

    /// What waits goes on waiting: it came after what broke the book, and the next snapshot will want it.
    #[cold]
    fn broken(&mut self, reason: BookReason, missing: Option<(u64, u64)>) -> Outcome {
        self.counts.resync_total += 1;
        self.unload(BookStatus::Suspect);
        Outcome::Broken { reason, missing }
    }
}

/// Whether a chained update leaves nothing out between `last` and itself.
#[inline]
fn follows(numbers: &Numbers, last: u64, joined: bool) -> bool {
    match numbers.previous {
        Some(previous) if previous == last => true,
        // Another line's update that covers more: its range must touch what the book contains.
        Some(previous) => {
            previous < last && numbers.first <= last.saturating_add(1) || !joined && numbers.first <= last
        }
        None => numbers.first <= last.saturating_add(1),
    }
}

fn wider(a: Decimals, b: Decimals) -> Decimals {
    Decimals { price: a.price.max(b.price), qty: a.qty.max(b.qty) }
}

/// Brings levels to a wider scale. Returns whether all fit.
#[cold]
pub(crate) fn rescale(levels: &mut [Level], from: Decimals, to: Decimals) -> bool {
    let widen = |level: &mut Level| -> Option<()> {
        level.price.0 = level.price.0.checked_mul(power_of_ten(to.price.checked_sub(from.price)?))?;
        level.qty.0 = level.qty.0.checked_mul(power_of_ten(to.qty.checked_sub(from.qty)?))?;
        Some(())
    };
    levels.iter_mut().all(|level| widen(level).is_some())
}

/// The book part of a message, if it is one.
impl Message {
    /// The book message, where it is one.
    pub const fn as_book(&self) -> Option<&BookMessage> {
        match &self.content {
            Content::Book(book) => Some(book),
            _ => None,
        }
    }
}
