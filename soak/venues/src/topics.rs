//! Who has subscribed to which stream: (instrument, kind) to connections, and how often each kind was sent.
//!
//! For venues where all subscribers of a stream get the same bytes. Knows no venue; a kind is a number.

use crate::output::{ConnectionId, Output};

/// All subscriptions of a venue.
#[derive(Debug)]
pub(crate) struct Topics {
    subscribers: Vec<Vec<ConnectionId>>,
    kinds: usize,
    sent: Vec<u64>,
}

impl Topics {
    pub(crate) fn new(instruments: usize, kinds: usize) -> Self {
        Self { subscribers: vec![Vec::new(); instruments * kinds], kinds, sent: vec![0; kinds] }
    }

    /// `false`: it was subscribed already.
    pub(crate) fn subscribe(&mut self, instrument: usize, kind: usize, id: ConnectionId) -> bool {
        let subscribers = &mut self.subscribers[instrument * self.kinds + kind];
        let new = !subscribers.contains(&id);
        if new {
            subscribers.push(id);
        }
        new
    }

    /// `false`: it was not subscribed.
    pub(crate) fn unsubscribe(&mut self, instrument: usize, kind: usize, id: ConnectionId) -> bool {
        let subscribers = &mut self.subscribers[instrument * self.kinds + kind];
        let before = subscribers.len();
        subscribers.retain(|subscriber| *subscriber != id);
        subscribers.len() < before
    }

    /// Ends all subscriptions of a connection.
    pub(crate) fn forget(&mut self, id: ConnectionId) {
        for subscribers in &mut self.subscribers {
            subscribers.retain(|subscriber| *subscriber != id);
        }
    }

    /// The subscribers of one stream.
    #[inline]
    pub(crate) fn of(&self, instrument: usize, kind: usize) -> &[ConnectionId] {
        &self.subscribers[instrument * self.kinds + kind]
    }

    /// Whether anybody listens.
    #[inline]
    pub(crate) fn has(&self, instrument: usize, kind: usize) -> bool {
        !self.of(instrument, kind).is_empty()
    }

    /// The instruments of which a connection has subscribed to a kind.
    pub(crate) fn instruments(&self, kind: usize, id: ConnectionId) -> impl Iterator<Item = usize> + '_ {
        let instruments = self.subscribers.len() / self.kinds;
        (0..instruments).filter(move |instrument| self.of(*instrument, kind).contains(&id))
    }

    /// Sends one frame to all subscribers of a stream.
    pub(crate) fn publish(&mut self, instrument: usize, kind: usize, frame: &[u8], output: &mut Output) {
        let subscribers = &self.subscribers[instrument * self.kinds + kind];
        for id in subscribers {
            output.text(*id, &[frame]);
        }
        self.sent[kind] += subscribers.len() as u64;
    }

    /// Counts frames that were sent without [`Self::publish`].
    pub(crate) fn count_sent(&mut self, kind: usize, frames: usize) {
        self.sent[kind] += frames as u64;
    }

    /// Subscriptions of all connections.
    pub(crate) fn count(&self) -> usize {
        self.subscribers.iter().map(Vec::len).sum()
    }

    /// Frames sent by kind; kinds never sent are left out.
    pub(crate) fn sent(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.sent.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }
}
