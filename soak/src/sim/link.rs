//! The simulated network: connections whose bytes take their time and arrive in order.

use std::collections::VecDeque;

use engine::ids::LineId;
use engine::provider::RestId;
use simvenues::output::ConnectionId;

/// One direction of a connection: pieces arrive in order.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) pieces: VecDeque<(u64, Piece)>,
    pub(super) last_ns: u64,
    /// The reader has no room: it looks again then.
    pub(super) blocked_until_ns: u64,
}

#[derive(Debug)]
pub(super) enum Piece {
    Bytes(Vec<u8>),
    End,
}

impl Pipe {
    pub(super) fn put(&mut self, at_ns: u64, piece: Piece) {
        self.last_ns = self.last_ns.max(at_ns);
        self.pieces.push_back((self.last_ns, piece));
    }

    pub(super) fn due_ns(&self) -> u64 {
        self.pieces.front().map_or(u64::MAX, |(at_ns, _)| (*at_ns).max(self.blocked_until_ns))
    }

    pub(super) fn take(&mut self, now_ns: u64) -> Option<Piece> {
        if self.due_ns() <= now_ns { self.pieces.pop_front().map(|(_, piece)| piece) } else { None }
    }
}

/// Who speaks on a link, on our side.
#[derive(Debug)]
pub(super) enum Owner {
    Line(LineId),
    Rest {
        id: RestId,
        path: String,
        answer: Vec<u8>,
        deadline_ns: u64,
    },
    /// We have closed it; the venue does not know yet.
    Nobody,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) owner: Owner,
    /// TCP's handshake ends at this time.
    pub(super) opens_ns: Option<u64>,
    /// The venue's end; `None` before it is open and after it is closed.
    pub(super) far: Option<ConnectionId>,
    pub(super) up: Pipe,
    pub(super) down: Pipe,
}
