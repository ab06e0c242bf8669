//! Overlapped rolls: a spare line is opened beside an old one and takes over once it carries all that the other does.

use super::{Happening, Provider};
use crate::connection::{Connection, Lost};
use crate::ids::LineId;
use crate::probe::Probe;
use crate::time::ReceiveTime;
use crate::venue::Venue;

/// A line that takes over from another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Roll {
    pub from: LineId,
    pub to: LineId,
    /// When the new line had all its subscriptions.
    pub subscribed_at: Option<ReceiveTime>,
    /// The books are changing hands, one a look.
    pub hands_over: bool,
}

/// What a command to roll found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollAnswer {
    /// Lines that are rolled, one after the other where they carry the same streams.
    pub lines: usize,
    /// An earlier command is still being carried out; this one added nothing.
    pub under_way: bool,
}

/// How long a new line runs beside the old one before that is dropped, in nanoseconds: both must show the same.
const ROLL_OVERLAP_NS: u64 = 1_000_000_000;

impl<V: Venue> Provider<V> {
    /// Opens the spare line of a group beside `from`, which ends once the new one carries all that it does. Returns
    /// whether there is a spare line.
    pub fn roll(&mut self, from: LineId, now: ReceiveTime) -> bool {
        let group = self.group_of(from);
        let busy = self.rolls.iter().any(|roll| group.contains(&roll.from.index()));
        let spare = self.connections[group].iter_mut().find(|connection| connection.is_spare());
        let (Some(spare), false) = (spare, busy) else { return false };
        spare.start(now);
        self.rolls.push(Roll { from, to: spare.line(), subscribed_at: None, hands_over: false });
        true
    }

    /// Rolls every line that is up; `None` if none is. They begin with the next [`timeout`](Self::timeout). Repeating it while
    /// that is under way changes nothing.
    #[cold]
    pub fn roll_all(&mut self) -> Option<RollAnswer> {
        let under_way = self.is_rolling_all();
        if !under_way {
            let live = self.connections.iter().filter(|connection| connection.is_live());
            self.commanded = live.map(Connection::line).collect();
        }
        let lines = self.commanded.len();
        (lines > 0).then_some(RollAnswer { lines, under_way })
    }

    /// Whether lines are being rolled, or wait for it, by [`roll_all`](Self::roll_all).
    pub const fn is_rolling_all(&self) -> bool {
        !self.commanded.is_empty()
    }

    /// Begins the rolls on command whose turn has come. A line that is lost before is made anew anyway.
    fn begin_commanded(&mut self, now: ReceiveTime) {
        let mut commanded = std::mem::take(&mut self.commanded);
        commanded.retain(|&line| {
            let is_rolling = self.rolls.iter().any(|roll| roll.from == line);
            if !is_rolling && self.connections[line.index()].is_live() {
                // `false` while another line of its group is rolled.
                self.roll(line, now);
                return true;
            }
            is_rolling
        });
        self.commanded = commanded;
    }

    /// Goes on with the rolls under way.
    pub(super) fn go_on_rolling(&mut self, now: ReceiveTime, probe: &mut impl Probe) {
        for line in 0..self.connections.len() {
            if self.connections[line].is_old() {
                self.roll(LineId(line as u8), now);
            }
        }
        self.begin_commanded(now);
        let mut index = 0;
        while index < self.rolls.len() {
            let Roll { from, to, subscribed_at, .. } = self.rolls[index];
            let new = &self.connections[to.index()];
            // What the new line lacks, the old one may carry.
            if !new.is_subscribed() || new.lacks_streams() {
                self.rolls[index].subscribed_at = None;
                index += 1;
                continue;
            }
            let since = *self.rolls[index].subscribed_at.get_or_insert(now);
            let joined = !self.pipeline.is_ahead(to) && self.pipeline.line_is_proved(to, new.streams());
            self.rolls[index].hands_over = false;
            if subscribed_at.is_none() || now.since_ns(since) < ROLL_OVERLAP_NS || !joined {
                index += 1;
                continue;
            }
            // One book at a time: the next when the one before is out.
            self.rolls[index].hands_over =
                self.pipeline.has_work_left() || self.pipeline.hand_over(from, to, now);
            if self.rolls[index].hands_over {
                index += 1;
                continue;
            }
            self.rolls.remove(index);
            // At once: the line may soon be in use again, and be rolled for another reason.
            self.commanded.retain(|&line| line != from);
            self.lost(from, Lost::Ours("rolled"), now, probe);
            // It may have been lost before: without this it would come back as one line too many, and none would be spare.
            self.connections[from.index()].retire();
            self.happened(Happening::Rolled { from, to });
        }
    }
}
