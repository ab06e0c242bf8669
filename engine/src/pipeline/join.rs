//! How a new line joins streams that an older one carries.
//!
//! The older line may be behind: bytes of a busy market wait in its socket while the new one begins with what is newest.
//! What the new line has ahead is then no hole, for the older one is still to bring what lies between. So it is left to the
//! older line, up to and with the newest number, and the new line is not read until that has been published: its bytes wait
//! in its socket, and no pool slot is spent on them. After that its next message follows what was published, or repeats it:
//! it has joined. Nothing waits that an older line may not bring: where it dies, or brings nothing of the stream for
//! [`JOIN_NS_MAX`], what is missing is a hole like any other.

use super::Pipeline;
use crate::book::BookFeed;
use crate::event::BookStatus;
use crate::ids::{LineId, StreamId};
use crate::time::ReceiveTime;
use crate::venue::Venue;

/// How long a new line waits for an older one that brings nothing of a stream, in nanoseconds.
const JOIN_NS_MAX: u64 = 2_000_000_000;

/// What came by REST has this in place of its line.
const REST: LineId = LineId(u8::MAX);

/// A stream in which a line that joins is ahead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    stream: StreamId,
    /// The newest number that was left to the older line.
    number: u64,
    /// What was published when that last changed, and when it did.
    last: u64,
    since: ReceiveTime,
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
            None => ahead.push(Ahead { stream, number, last, since: at }),
        }
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
        while let Some(&ahead) = self.lines[line.index()].ahead.get(index) {
            let last = self.position(ahead.stream);
            let mut since = ahead.since;
            if last != ahead.last {
                since = now;
            }
            let is_late = now.since_ns(since) >= JOIN_NS_MAX;
            if last >= ahead.number || is_late || !self.is_joining(line, ahead.stream) {
                if is_late {
                    self.doubt_older(ahead.stream, now);
                    self.joined(line, ahead.stream);
                }
                self.lines[line.index()].ahead.swap_remove(index);
                continue;
            }
            self.lines[line.index()].ahead[index] = Ahead { last, since, ..ahead };
            index += 1;
        }
        self.is_ahead(line)
    }

    /// Nobody brings what is missing of a stream: the hole is declared, or filled, by the next message. The lines that were
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
        if let Some(state) = self.lines.get_mut(line.index()) {
            state.ahead.clear();
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
