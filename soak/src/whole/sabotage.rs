//! Promises that are broken on purpose, to see that the checks notice.

use engine::consumer::Host;
use engine::event::{Body, Event, GapReason};
use engine::pool::Handle;
use engine::time::FixedClock;

/// A promise that is broken on purpose, to see that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A consumer shard loses one trade.
    DropEvent,
    /// It takes one trade twice.
    RepeatEvent,
    /// Two events of one stream change places.
    SwapEvents,
    /// A level of a book has another quantity.
    WrongBook,
    /// A merged event without one of its providers is sent.
    PartialMerge,
    /// A Gap is not told.
    LoseGap,
    /// A report of an order is not told.
    LoseReport,
    /// An event leaves a ring and is counted by nobody.
    LoseUncounted,
    /// A slot of a pool is not given back.
    LeakSlot,
    /// A provider says that it has new routes, and has not.
    LoseRoute,
    /// A shard's reply to the control thread is lost.
    LoseReply,
    /// What came of a change is not told to its consumer.
    LoseAnswer,
    /// A shard that stands nowhere takes a command after three seconds.
    ObeyLate,
    /// A subscription of one consumer ends that of another.
    DisturbNeighbour,
    /// The recorder is not shown an event.
    RecordLess,
    /// A write of the recorder is said to be done, and is not.
    LoseWrite,
    /// The recorder's disk says that it has what it has not.
    LieSynced,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::DropEvent,
        Self::RepeatEvent,
        Self::SwapEvents,
        Self::WrongBook,
        Self::PartialMerge,
        Self::LoseGap,
        Self::LoseReport,
        Self::LoseUncounted,
        Self::LeakSlot,
        Self::LoseRoute,
        Self::LoseReply,
        Self::LoseAnswer,
        Self::ObeyLate,
        Self::DisturbNeighbour,
        Self::RecordLess,
        Self::LoseWrite,
        Self::LieSynced,
    ];

    /// What becomes of an event on its way into a host: it, in its place others, or nothing. `None`: not its moment.
    fn spoil(self, event: &Event, held: &mut Option<Event>) -> Option<Vec<Event>> {
        let trade = matches!(event.body, Body::Trade(_));
        match self {
            Self::DropEvent if trade => Some(Vec::new()),
            Self::RepeatEvent if trade => Some(vec![*event, *event]),
            Self::SwapEvents if trade => match held.take() {
                Some(first) if first.header.stream == event.header.stream => Some(vec![*event, first]),
                Some(first) => {
                    *held = Some(first);
                    None
                }
                None => {
                    *held = Some(*event);
                    Some(Vec::new())
                }
            },
            Self::WrongBook => {
                let mut wrong = *event;
                let Body::BookUpdate(part) = &mut wrong.body else { return None };
                part.levels[0].qty.0 += 1;
                Some(vec![wrong])
            }
            Self::PartialMerge => {
                let mut wrong = *event;
                let Body::Merged(head) = &mut wrong.body else { return None };
                head.providers_present -= 1;
                Some(vec![wrong])
            }
            Self::LoseGap if matches!(&event.body, Body::Gap(gap) if gap.reason == GapReason::Sequence) => {
                Some(Vec::new())
            }
            _ => None,
        }
    }
}

/// Breaks one promise, once, when it has seen enough.
#[derive(Default)]
pub(super) struct Saboteur {
    pub(super) what: Option<Sabotage>,
    /// Moments to let pass before.
    pub(super) wait: u32,
    pub(super) held: Option<Event>,
    pub(super) leaked: Option<Handle<Event>>,
}

impl Saboteur {
    /// Whether this moment is the one.
    pub(super) fn strikes(&mut self, what: Sabotage) -> bool {
        if self.what != Some(what) {
            return false;
        }
        self.wait = self.wait.saturating_sub(1);
        if self.wait > 0 {
            return false;
        }
        self.what = None;
        true
    }

    pub(super) fn deliver(&mut self, event: &Event, host: &mut Host, clock: &mut FixedClock) {
        if let Some(what) = self.what
            && let Some(instead) = what.spoil(event, &mut self.held)
        {
            self.wait = self.wait.saturating_sub(1);
            if self.wait > 0 {
                self.held = None;
            } else {
                for event in &instead {
                    host.deliver(event, clock);
                }
                if self.held.is_none() {
                    self.what = None;
                }
                return;
            }
        }
        host.deliver(event, clock);
    }
}
