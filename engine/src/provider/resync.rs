//! How soon a book that broke is asked for again: at once the first times, then ever more rarely while it breaks again and
//! again. One instrument that cannot be proved takes nothing from the others.

use crate::ids::{LineId, StreamId};
use crate::time::ReceiveTime;

/// Failures in a row that are answered at once.
const AT_ONCE_COUNT: u32 = 2;
/// First pause, in nanoseconds; it doubles with each failure.
const PAUSE_NS_MIN: u64 = 1_000_000_000;
/// Longest pause, in nanoseconds.
const PAUSE_NS_MAX: u64 = 300_000_000_000;
/// A book that held this long after it was asked for has recovered, in nanoseconds.
const HELD_NS_MIN: u64 = 30_000_000_000;

/// Subscriptions of one stream on one line that had to be made anew.
#[derive(Debug)]
struct Trouble {
    stream: StreamId,
    line: Option<LineId>,
    failures_in_a_row: u32,
    /// When it is, or was last, asked for again.
    again_at: ReceiveTime,
    waits: bool,
}

/// What is to be done about a book that broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// After so many nanoseconds; 0 is now.
    pub pause_ns: u64,
    /// How often in a row it has broken.
    pub failures_in_a_row: u32,
}

impl Again {
    /// Whether it is time to say so, and to doubt what we know of the instrument.
    pub const fn is_hopeless(self) -> bool {
        self.pause_ns > 0
    }
}

/// The pauses of one provider's books. A handful of entries: only books that broke have one.
#[derive(Debug, Default)]
pub struct Resyncs {
    troubles: Vec<Trouble>,
}

impl Resyncs {
    /// The book of `stream` (as `line` keeps it, or any) broke: when it is to be asked for again.
    pub fn broke(&mut self, stream: StreamId, line: Option<LineId>, now: ReceiveTime) -> Again {
        let known = self.troubles.iter().position(|trouble| trouble.stream == stream && trouble.line == line);
        let at = known.unwrap_or_else(|| {
            let (failures_in_a_row, again_at, waits) = (0, now, false);
            self.troubles.push(Trouble { stream, line, failures_in_a_row, again_at, waits });
            self.troubles.len() - 1
        });
        let trouble = &mut self.troubles[at];
        if now.since_ns(trouble.again_at) >= HELD_NS_MIN {
            trouble.failures_in_a_row = 0;
        }
        trouble.failures_in_a_row += 1;
        let failures_in_a_row = trouble.failures_in_a_row;
        let pause_ns = match failures_in_a_row.checked_sub(AT_ONCE_COUNT + 1) {
            None => 0,
            Some(doublings) => PAUSE_NS_MIN.saturating_mul(1 << doublings.min(20)).min(PAUSE_NS_MAX),
        };
        trouble.again_at = now.plus_ns(pause_ns);
        trouble.waits = pause_ns > 0;
        Again { pause_ns, failures_in_a_row }
    }

    /// One whose pause is over.
    pub fn poll(&mut self, now: ReceiveTime) -> Option<(StreamId, Option<LineId>)> {
        let due = self.troubles.iter_mut().find(|trouble| trouble.waits && now >= trouble.again_at)?;
        due.waits = false;
        Some((due.stream, due.line))
    }

    /// Whether the book of `stream`, as `line` keeps it, has to wait until its pause is over.
    pub fn waits(&self, stream: StreamId, line: LineId) -> bool {
        let is_meant =
            |trouble: &&Trouble| trouble.stream == stream && trouble.line.is_none_or(|meant| meant == line);
        self.troubles.iter().filter(is_meant).any(|trouble| trouble.waits)
    }

    /// When [`poll`](Self::poll) has one.
    pub fn deadline(&self) -> Option<ReceiveTime> {
        self.troubles.iter().filter(|trouble| trouble.waits).map(|trouble| trouble.again_at).min()
    }

    /// A stream is wanted no longer.
    pub fn forget(&mut self, stream: StreamId) {
        self.troubles.retain(|trouble| trouble.stream != stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> ReceiveTime {
        ReceiveTime::from_ns(s * 1_000_000_000)
    }

    #[test]
    fn pauses_double_while_a_book_breaks_again_and_again_and_end_when_it_holds() {
        let (mut resyncs, mut now) = (Resyncs::default(), at(100));
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let again = resyncs.broke(StreamId(7), None, now);
            assert_eq!(again.is_hopeless(), again.pause_ns > 0);
            pauses.push(again.pause_ns / 1_000_000_000);
            if again.pause_ns > 0 {
                now = resyncs.deadline().expect("it waits");
                assert_eq!(resyncs.poll(now), Some((StreamId(7), None)));
            }
            assert_eq!(resyncs.poll(now), None);
        }
        assert_eq!(pauses, [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        let later = now.plus_ns(HELD_NS_MIN);
        assert_eq!(resyncs.broke(StreamId(7), None, later), Again { pause_ns: 0, failures_in_a_row: 1 });
    }

    #[test]
    fn one_book_does_not_wait_for_another_nor_one_line_for_another() {
        let mut resyncs = Resyncs::default();
        for _ in 0..5 {
            resyncs.broke(StreamId(1), Some(LineId(0)), at(1));
        }
        assert_eq!(resyncs.broke(StreamId(2), Some(LineId(0)), at(1)).pause_ns, 0);
        assert_eq!(resyncs.broke(StreamId(1), Some(LineId(1)), at(1)).pause_ns, 0);
        resyncs.forget(StreamId(1));
        assert_eq!(resyncs.deadline(), None);
    }
}
