//! The open WebSocket connections of a venue, by id, and when one of them is to be looked at next.
//!
//! Knows no venue: what a session is, and what is done to it at its time, is each venue's own.

use crate::output::ConnectionId;

/// All sessions.
#[derive(Debug)]
pub(crate) struct Sessions<S> {
    slots: Vec<Option<S>>,
    wake_ns: u64,
}

impl<S> Sessions<S> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), wake_ns: u64::MAX }
    }

    /// Adds a session, which is looked at with the next poll.
    pub(crate) fn open(&mut self, id: ConnectionId, session: S, now_ns: u64) {
        if self.slots.len() <= id.index() {
            self.slots.resize_with(id.index() + 1, || None);
        }
        self.slots[id.index()] = Some(session);
        self.wake_by(now_ns);
    }

    /// Gives back the session that was open.
    pub(crate) fn close(&mut self, id: ConnectionId) -> Option<S> {
        self.slots.get_mut(id.index())?.take()
    }

    #[inline]
    pub(crate) fn get(&self, id: ConnectionId) -> Option<&S> {
        self.slots.get(id.index())?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut S> {
        self.slots.get_mut(id.index())?.as_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &S)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(index, slot)| Some((ConnectionId(index as u32), slot.as_ref()?)))
    }

    /// When the next session is to be looked at.
    pub(crate) fn wake_ns(&self) -> u64 {
        self.wake_ns
    }

    /// Has sessions looked at no later than then.
    pub(crate) fn wake_by(&mut self, at_ns: u64) {
        self.wake_ns = self.wake_ns.min(at_ns);
    }

    /// The ids to look at now, closed ones too: all, or none before the time. The caller says [`Self::wake_by`] for each.
    pub(crate) fn due(&mut self, now_ns: u64) -> impl Iterator<Item = ConnectionId> + use<S> {
        let due = now_ns >= self.wake_ns;
        if due {
            self.wake_ns = u64::MAX;
        }
        let count = if due { self.slots.len() } else { 0 };
        (0..count).map(|index| ConnectionId(index as u32))
    }
}
