//! What is to be sent: one bounded buffer for each connection, filled with frames by a venue and emptied by the shell.
//!
//! A client that does not read is disconnected when its buffer is full, as venues do. Faults that concern single
//! frames (cut, duplicate, silence) act here, where all frames pass.

use crate::frames::{Opcode, put_header};
use crate::venue::Reason;

/// Which connection. Reused after the connection is released, so it is only valid between the calls `connected` and
/// `closed` of a venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u32);

impl ConnectionId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// After all that is buffered has been sent.
    AfterFlush(Reason),
    /// At once; what is buffered is lost.
    Abort(Reason),
}

/// A fault armed for the next data frame of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameFault {
    /// Send half of it, then close the socket.
    Cut,
    /// Send it twice.
    Duplicate,
    /// Do not send it.
    Skip,
}

#[derive(Debug, Default)]
struct Slot {
    buffer: Vec<u8>,
    sent: usize,
    ending: Option<Ending>,
    silent: bool,
    fault: Option<FrameFault>,
    queued: bool,
}

/// The buffers of all connections.
#[derive(Debug)]
pub struct Output {
    slots: Vec<Slot>,
    dirty: Vec<ConnectionId>,
    bytes_max: usize,
    frames: u64,
    bytes: u64,
}

impl Output {
    /// `bytes_max`: what one connection may have unsent.
    pub fn new(bytes_max: usize) -> Self {
        Self { slots: Vec::new(), dirty: Vec::new(), bytes_max, frames: 0, bytes: 0 }
    }

    /// Sends a text frame made of `parts`.
    #[inline]
    pub fn text(&mut self, id: ConnectionId, parts: &[&[u8]]) {
        self.frame(id, Opcode::Text, parts);
    }

    /// Sends a ping.
    pub fn ping(&mut self, id: ConnectionId, payload: &[u8]) {
        self.frame(id, Opcode::Ping, &[payload]);
    }

    pub(crate) fn pong(&mut self, id: ConnectionId, payload: &[u8]) {
        self.frame(id, Opcode::Pong, &[payload]);
    }

    /// Sends a close frame and ends the connection after it.
    pub fn close(&mut self, id: ConnectionId, code: u16, text: &str, reason: Reason) {
        self.frame(id, Opcode::Close, &[&code.to_be_bytes(), text.as_bytes()]);
        self.end(id, Ending::AfterFlush(reason));
    }

    /// Ends the connection; the first ending counts.
    pub fn end(&mut self, id: ConnectionId, ending: Ending) {
        let slot = &mut self.slots[id.index()];
        if slot.ending.is_none()
            || matches!((slot.ending, ending), (Some(Ending::AfterFlush(_)), Ending::Abort(_)))
        {
            slot.ending = Some(ending);
        }
        if matches!(ending, Ending::Abort(_)) {
            slot.buffer.clear();
            slot.sent = 0;
        }
        self.mark(id);
    }

    /// Sends bytes that are not a frame of ours.
    pub(crate) fn raw(&mut self, id: ConnectionId, write: impl FnOnce(&mut Vec<u8>)) {
        let slot = &mut self.slots[id.index()];
        if slot.ending.is_none() && !slot.silent {
            write(&mut slot.buffer);
            self.mark(id);
        }
    }

    /// Whether nothing more can be sent to this connection.
    pub fn is_ending(&self, id: ConnectionId) -> bool {
        self.slots[id.index()].ending.is_some()
    }

    /// Frames sent, and their bytes with headers.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.frames, self.bytes)
    }

    #[inline]
    fn frame(&mut self, id: ConnectionId, opcode: Opcode, parts: &[&[u8]]) {
        let slot = &mut self.slots[id.index()];
        if slot.ending.is_some() || slot.silent {
            return;
        }
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let unsent = slot.buffer.len() - slot.sent;
        if unsent + length > self.bytes_max {
            self.end(id, Ending::Abort(Reason::SlowClient));
            return;
        }
        if slot.sent > 0 && slot.sent == slot.buffer.len() {
            slot.buffer.clear();
            slot.sent = 0;
        }
        let start = slot.buffer.len();
        put_header(&mut slot.buffer, opcode, length as u64);
        for part in parts {
            slot.buffer.extend_from_slice(part);
        }
        self.frames += 1;
        self.bytes += (slot.buffer.len() - start) as u64;
        if slot.fault.is_some() && opcode == Opcode::Text {
            self.apply_fault(id, start);
        }
        self.mark(id);
    }

    #[cold]
    fn apply_fault(&mut self, id: ConnectionId, start: usize) {
        let slot = &mut self.slots[id.index()];
        match slot.fault.take() {
            Some(FrameFault::Cut) => {
                let half = start + (slot.buffer.len() - start) / 2;
                slot.buffer.truncate(half);
                slot.ending = Some(Ending::AfterFlush(Reason::Fault));
            }
            Some(FrameFault::Skip) => {
                self.frames -= 1;
                self.bytes -= (slot.buffer.len() - start) as u64;
                slot.buffer.truncate(start);
            }
            Some(FrameFault::Duplicate) => {
                slot.buffer.extend_from_within(start..);
                self.frames += 1;
            }
            None => {}
        }
    }

    #[inline]
    fn mark(&mut self, id: ConnectionId) {
        let slot = &mut self.slots[id.index()];
        if !slot.queued {
            slot.queued = true;
            self.dirty.push(id);
        }
    }

    pub(crate) fn arm(&mut self, id: ConnectionId, fault: FrameFault) {
        self.slots[id.index()].fault = Some(fault);
    }

    pub(crate) fn silence(&mut self, id: ConnectionId, silent: bool) {
        self.slots[id.index()].silent = silent;
        // There may be an ending that was hidden until now.
        self.mark(id);
    }

    pub(crate) fn open(&mut self, id: ConnectionId) {
        if self.slots.len() <= id.index() {
            self.slots.resize_with(id.index() + 1, Slot::default);
        }
        let slot = &mut self.slots[id.index()];
        let buffer = std::mem::take(&mut slot.buffer);
        *slot = Slot { buffer, queued: slot.queued, ..Slot::default() };
        slot.buffer.clear();
    }

    /// The connections that have something new to send or to end, each once since the last call.
    pub(crate) fn take_dirty(&mut self, into: &mut Vec<ConnectionId>) {
        into.clear();
        std::mem::swap(&mut self.dirty, into);
        for id in into {
            self.slots[id.index()].queued = false;
        }
    }

    pub(crate) fn unsent(&self, id: ConnectionId) -> &[u8] {
        let slot = &self.slots[id.index()];
        &slot.buffer[slot.sent..]
    }

    pub(crate) fn sent(&mut self, id: ConnectionId, bytes: usize) {
        let slot = &mut self.slots[id.index()];
        slot.sent += bytes;
        assert!(slot.sent <= slot.buffer.len(), "no more is sent than was buffered");
        // Keep the memory of a moved-on buffer within twice what is unsent.
        if slot.sent == slot.buffer.len() || slot.sent > slot.buffer.len() / 2 {
            slot.buffer.drain(..slot.sent);
            slot.sent = 0;
        }
    }

    /// A silenced connection seems alive to its client whatever the venue decides, until the silence ends; only an
    /// abort is seen at once.
    pub(crate) fn ending(&self, id: ConnectionId) -> Option<Ending> {
        let slot = &self.slots[id.index()];
        slot.ending.filter(|ending| !slot.silent || matches!(ending, Ending::Abort(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ConnectionId = ConnectionId(0);

    fn output(bytes_max: usize) -> Output {
        let mut output = Output::new(bytes_max);
        output.open(ID);
        output
    }

    #[test]
    fn frames_are_buffered_until_sent() {
        let mut output = output(100);
        output.text(ID, &[b"ab", b"c"]);
        output.ping(ID, b"1");
        assert_eq!(output.unsent(ID), b"\x81\x03abc\x89\x011");
        output.sent(ID, 2);
        assert_eq!(output.unsent(ID), b"abc\x89\x011");
        output.sent(ID, 6);
        assert_eq!(output.unsent(ID), b"");
        let mut dirty = Vec::new();
        output.take_dirty(&mut dirty);
        assert_eq!(dirty, [ID]);
    }

    #[test]
    fn a_client_that_does_not_read_is_disconnected() {
        let mut output = output(10);
        output.text(ID, &[b"12345678"]);
        assert_eq!(output.ending(ID), None);
        output.text(ID, &[b"9"]);
        assert_eq!(output.ending(ID), Some(Ending::Abort(Reason::SlowClient)));
        assert_eq!(output.unsent(ID), b"");
    }

    #[test]
    fn nothing_follows_a_close_frame() {
        let mut output = output(100);
        output.close(ID, 1008, "no", Reason::IncomingLimit);
        output.text(ID, &[b"x"]);
        assert_eq!(output.unsent(ID), b"\x88\x04\x03\xf0no");
        assert_eq!(output.ending(ID), Some(Ending::AfterFlush(Reason::IncomingLimit)));
    }

    #[test]
    fn armed_faults_hit_the_next_text_frame_once() {
        let mut output = output(100);
        output.arm(ID, FrameFault::Duplicate);
        output.ping(ID, b"");
        output.text(ID, &[b"a"]);
        output.text(ID, &[b"b"]);
        assert_eq!(output.unsent(ID), b"\x89\x00\x81\x01a\x81\x01a\x81\x01b");
        output.arm(ID, FrameFault::Skip);
        output.text(ID, &[b"skipped"]);
        output.arm(ID, FrameFault::Cut);
        output.sent(ID, 11);
        output.text(ID, &[b"abcdef"]);
        assert_eq!(output.unsent(ID), b"\x81\x06ab");
        assert_eq!(output.ending(ID), Some(Ending::AfterFlush(Reason::Fault)));
    }

    #[test]
    fn a_silenced_connection_gets_nothing_and_is_not_ended() {
        let mut output = output(100);
        output.silence(ID, true);
        output.text(ID, &[b"a"]);
        assert_eq!(output.unsent(ID), b"");
        output.silence(ID, false);
        output.text(ID, &[b"b"]);
        assert_eq!(output.unsent(ID), b"\x81\x01b");
    }

    #[test]
    fn a_silenced_connection_is_not_seen_to_end_before_the_silence_does() {
        let mut output = output(100);
        output.silence(ID, true);
        output.close(ID, 1008, "", Reason::PongTimeout);
        assert_eq!(output.ending(ID), None);
        output.silence(ID, false);
        assert_eq!(output.ending(ID), Some(Ending::AfterFlush(Reason::PongTimeout)));
        assert_eq!(output.unsent(ID), b"");
    }
}
