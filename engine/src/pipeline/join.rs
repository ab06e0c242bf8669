//! How a new line joins streams that an older one carries.
//!
//! The older line may be behind: bytes of a busy market wait in its socket while the new one begins with what is newest.
//! What the new line has ahead is then no hole, for the older one is still to bring what lies between. So it is left to the
//! older line, up to and with the newest number, and the new line is not read until that has been published: its bytes wait
//! in its socket, and no pool slot is spent on them. After that its next message follows what was published, or repeats it:
//! it has joined. Nothing waits that an older line may not bring: where it dies, or brings nothing of the stream for
//! [`JOIN_NS_MAX`], what is missing is a hole like any other. The newest event that was left is kept for that case: where
//! nothing happens in the market for hours, no next message would show the hole.

use super::Pipeline;
use super::streams::Waiting;
use crate::book::BookFeed;
use crate::event::{BookStatus, Event};
use crate::ids::{LineId, StreamId};
use crate::time::ReceiveTime;
use crate::venue::Venue;

/// How long a new line waits for an older one that brings nothing of a stream, in nanoseconds.
const JOIN_NS_MAX: u64 = 2_000_000_000;

/// What came by REST has this in place of its line.
const REST: LineId = LineId(u8::MAX);

/// A stream in which a line that joins is ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    stream: StreamId,
    /// The newest number that was left to the older line.
    number: u64,
    /// What was published when that last changed, and when it did.
    last: u64,
    since: ReceiveTime,
    /// The event of that number. Books have none: what proves them notices what is missing.
    newest: Option<Waiting>,
}

/// The lines that have joined a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LineSet([u64; 4]);

impl LineSet {
    #[inline]
    fn insert(&mut self, line: LineId) {
        self.0[line.index() / 64] |= 1 << (line.index() % 64);
    }

    fn remove(&mut self, line: LineId) {
        self.0[line.index() / 64] &= !(1 << (line.index() % 64));
    }

    const fn contains(self, line: LineId) -> bool {
        self.0[line.0 as usize / 64] & (1 << (line.0 % 64)) != 0
    }

    /// Empties it.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

impl<V: Venue> Pipeline<V> {
    /// A message of `line` followed what was published, or repeated it: from here on it brings everything.
    #[inline]
    pub(super) fn joined(&mut self, line: LineId, stream: StreamId) {
        if line != REST {
            self.streams[stream.index()].joined.insert(line);
        }
    }

    /// Whether `line` has yet to join a stream that another one has joined.
    pub(super) fn is_joining(&self, line: LineId, stream: StreamId) -> bool {
        let joined = self.streams[stream.index()].joined;
        line != REST && joined != LineSet::default() && !joined.contains(line)
    }

    /// Leaves a message of a line that joins, and all before it, to the line that carries the stream.
    #[cold]
    pub(super) fn leave_to_older(&mut self, line: LineId, stream: StreamId, number: u64, at: ReceiveTime) {
        let last = self.position(stream);
        self.counts.left_to_older_total += 1;
        let ahead = &mut self.lines[line.index()].ahead;
        match ahead.iter_mut().find(|ahead| ahead.stream == stream) {
            Some(known) => known.number = known.number.max(number),
            None => ahead.push(Ahead { stream, number, last, since: at, newest: None }),
        }
    }

    /// The same of a message that is one event, which is kept if it is the newest so far: without it, where no slot is free, the next
    /// message shows what is missing.
    #[cold]
    pub(super) fn leave_event_to_older(&mut self, line: LineId, event: Event, published: bool) {
        let (stream, number) = (event.header.stream, event.header.sequence_last);
        self.leave_to_older(line, stream, number, event.header.receive_time);
        let ahead = &mut self.lines[line.index()].ahead;
        let Some(known) = ahead.iter_mut().find(|ahead| ahead.stream == stream && ahead.number == number)
        else {
            return self.count_stale(stream);
        };
        let (slot, replaces) = match known.newest.take() {
            Some(older) => (Some(older.event), true),
            None => (self.pools.events.take(), false),
        };
        self.counts.pool_empty_total += u64::from(slot.is_none());
        let is_stale = replaces || slot.is_none();
        known.newest = slot.map(|mut slot| {
            *slot = event;
            Waiting { event: slot, published }
        });
        if is_stale {
            self.count_stale(stream);
        }
    }

    /// Events that are kept for the case that no older line brings them.
    pub(super) fn left_events(&self) -> usize {
        self.lines.iter().flat_map(|line| &line.ahead).filter(|ahead| ahead.newest.is_some()).count()
    }

    /// Whether a line is to be left unread now, because older lines are behind it. Its bytes can wait.
    #[inline]
    pub fn waits_to_join(&mut self, line: LineId, now: ReceiveTime) -> bool {
        self.is_ahead(line) && self.is_still_ahead(line, now)
    }

    /// Whether an older line has yet to bring what was left to it.
    #[inline]
    pub fn is_ahead(&self, line: LineId) -> bool {
        self.lines.get(line.index()).is_some_and(|state| !state.ahead.is_empty())
    }

    #[cold]
    fn is_still_ahead(&mut self, line: LineId, now: ReceiveTime) -> bool {
        let mut index = 0;
        while let Some(&Ahead { stream, number, .. }) = self.lines[line.index()].ahead.get(index) {
            let last = self.position(stream);
            let ahead = &mut self.lines[line.index()].ahead[index];
            if last != ahead.last {
                (ahead.last, ahead.since) = (last, now);
            }
            let is_late = now.since_ns(ahead.since) >= JOIN_NS_MAX;
            if last >= number || is_late || !self.is_joining(line, stream) {
                if is_late {
                    self.doubt_older(stream, now);
                    self.joined(line, stream);
                }
                let ended = self.lines[line.index()].ahead.swap_remove(index);
                self.settle(ended);
                continue;
            }
            index += 1;
        }
        self.is_ahead(line)
    }

    /// No older line brings more of what was left to it: the newest event shows what is missing, if anything is.
    fn settle(&mut self, Ahead { stream, number, newest, .. }: Ahead) {
        match newest {
            Some(Waiting { event, published }) if self.position(stream) < number => {
                self.reoffer(*event, published);
            }
            Some(_) => self.count_stale(stream),
            None => {}
        }
    }

    /// The end of the input: no line brings more.
    pub(super) fn settle_joins(&mut self) {
        for line in 0..self.lines.len() {
            while let Some(ended) = self.lines[line].ahead.pop() {
                self.settle(ended);
            }
        }
    }

    /// Nobody brings what is missing of a stream: the hole is filled or declared before the newest event that was left. The lines that were
    /// to bring it carry the stream again once they bring something of it; those that say nothing at all carry none.
    fn doubt_older(&mut self, stream: StreamId, now: ReceiveTime) {
        let doubted = std::mem::take(&mut self.streams[stream.index()].joined);
        for index in 0..self.lines.len() {
            let (line, heard_at) = (LineId(index as u8), self.lines[index].heard_at);
            if doubted.contains(line) && now.since_ns(heard_at) >= JOIN_NS_MAX {
                for stream in &mut self.streams {
                    stream.joined.remove(line);
                }
            }
        }
    }

    /// A line's connection begins, or is gone: it has joined nothing.
    pub(super) fn forget_joins(&mut self, line: LineId) {
        for stream in &mut self.streams {
            stream.joined.remove(line);
        }
        while let Some(ended) = self.lines.get_mut(line.index()).and_then(|state| state.ahead.pop()) {
            if ended.newest.is_some() {
                self.count_stale(ended.stream);
            }
        }
    }

    /// The number up to which a stream was published; the largest where numbers begin anew.
    fn position(&self, stream: StreamId) -> u64 {
        let state = &self.streams[stream.index()];
        if !state.channel.is_book() {
            return state.sequence.last().unwrap_or(u64::MAX);
        }
        let feed = self.books.get(state.listing.index()).and_then(Option::as_ref);
        let proved = feed.filter(|feed| feed.status() == BookStatus::Proved);
        proved.map_or(u64::MAX, BookFeed::last)
    }
}
