//! Overlapped rolls: a spare line is opened beside an old one and takes over once it carries all that the other does.

use super::{Happening, Provider};
use crate::connection::Lost;
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

    /// Whether another line is about to take over from this one.
    pub fn is_rolling(&self, from: LineId) -> bool {
        self.rolls.iter().any(|roll| roll.from == from)
    }

    /// Goes on with the rolls under way.
    pub(super) fn go_on_rolling(&mut self, now: ReceiveTime, probe: &mut impl Probe) {
        for line in 0..self.connections.len() {
            if self.connections[line].is_old() {
                self.roll(LineId(line as u8), now);
            }
        }
        let mut index = 0;
        while index < self.rolls.len() {
            let Roll { from, to, subscribed_at, .. } = self.rolls[index];
            let new = &self.connections[to.index()];
            if !new.is_subscribed() {
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
            self.lost(from, Lost::Ours("rolled"), now, probe);
            // It may have been lost before: without this it would come back as one line too many, and none would be spare.
            self.connections[from.index()].retire();
            self.happened(Happening::Rolled { from, to });
        }
    }
}
