//! The sockets of a provider's lines: opened, read, written and closed as the engine asks.

use std::io;

use engine::connection::{Ask, Lost};
use engine::ids::LineId;
use engine::provider::FRAMES_PER_CALL_MAX;
use engine::time::ReceiveTime;
use engine::venue::Venue;

use super::Driver;
use crate::io::Io;
use crate::machine::place::Place;
use crate::machine::poller::{Interest, Poller, Token};
use crate::machine::socket::{Stream, TcpOptions, TcpSocket};
use crate::machine::tls::TlsSocket;
use crate::probe::ShardProbe;

/// Reads of one socket in one turn, so that a flood on one leaves the others their turn.
const READS_PER_TURN_MAX: usize = 4;
/// How long TCP and TLS may take, in nanoseconds; the engine's own limit covers the handshake too.
const CONNECT_NS_MAX: u64 = 10_000_000_000;

/// The socket of one line.
#[derive(Debug, Default)]
pub(super) struct LineSocket {
    pub(super) stream: Option<Stream>,
    /// It stands, TLS included.
    pub(super) ready: bool,
    pub(super) interest: Option<Interest>,
    /// The engine asked for it and no address is known yet.
    pub(super) wanted: bool,
    /// Frames that are whole wait in the engine's buffer, or bytes in TLS.
    pub(super) more: bool,
}

impl<V: Venue> Driver<V> {
    /// Reads a socket and hands each read to the engine. Returns how many frames came of it.
    #[inline]
    pub(super) fn read(&mut self, line: LineId, io: &mut Io) -> usize {
        let mut frames = 0;
        for _ in 0..READS_PER_TURN_MAX {
            let space = self.provider.connection_mut(line).space();
            let room = space.len();
            if room == 0 {
                // Frames wait in the engine. What the session has decrypted shows at no socket.
                self.sockets[line.index()].more |= self.buffered(line);
                return frames;
            }
            let Some(stream) = &mut self.sockets[line.index()].stream else { return frames };
            let outcome = stream.read(space);
            let now = ReceiveTime::from_ns(io.look(self.reading()));
            let mut probe = ShardProbe::new(&io.clock, &mut io.stages).with_tap(self.tap.as_deref_mut());
            match outcome {
                Ok(0) => {
                    let lost = Lost::Socket("the venue ended the connection".to_owned());
                    self.provider.lost(line, lost, now, &mut probe);
                    return frames;
                }
                Ok(count) => {
                    let first = self.provider.received(line, count, now, &mut probe);
                    let (taken, are_left) = self.take_on(line, first, now, io);
                    frames += taken;
                    if are_left {
                        self.sockets[line.index()].more = true;
                        return frames;
                    }
                    if count < room && !self.buffered(line) {
                        return frames;
                    }
                    if io.budget.is_over() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return frames,
                Err(error) => {
                    self.provider.lost(line, Lost::Socket(error.to_string()), now, &mut probe);
                    return frames;
                }
            }
        }
        self.sockets[line.index()].more = true;
        frames
    }

    /// What a step of this is.
    const fn reading(&self) -> Place {
        Place::Provider(self.index as u16)
    }

    pub(super) fn buffered(&self, line: LineId) -> bool {
        self.sockets[line.index()].stream.as_ref().is_some_and(Stream::has_buffered)
    }

    /// Goes on with what the last turn left: frames in the engine's buffer first, then bytes.
    pub(super) fn go_on(&mut self, line: LineId, io: &mut Io) -> usize {
        self.sockets[line.index()].more = false;
        let now = ReceiveTime::from_ns(io.look(self.reading()));
        let mut probe = ShardProbe::new(&io.clock, &mut io.stages).with_tap(self.tap.as_deref_mut());
        let first = self.provider.take_frames(line, now, &mut probe);
        let (frames, are_left) = self.take_on(line, first, now, io);
        if are_left {
            self.sockets[line.index()].more = true;
            return frames;
        }
        frames + self.read(line, io)
    }

    /// After a call that took `first` frames: takes those behind them, with a look at the clock before each handful. Returns how
    /// many came of all, and whether some may be left to the next turn.
    #[inline]
    fn take_on(&mut self, line: LineId, first: usize, now: ReceiveTime, io: &mut Io) -> (usize, bool) {
        let (mut taken, mut last) = (first, first);
        while last == FRAMES_PER_CALL_MAX {
            io.look(self.reading());
            let waits = self.provider.pipeline.has_work_left()
                || self.provider.connections()[line.index()].has_kept_text();
            if waits || io.budget.is_over() {
                return (taken, true);
            }
            let mut probe = ShardProbe::new(&io.clock, &mut io.stages).with_tap(self.tap.as_deref_mut());
            last = self.provider.take_frames(line, now, &mut probe);
            taken += last;
        }
        (taken, false)
    }

    /// Opens, closes and writes as the engine asks.
    pub(super) fn serve(&mut self, line: LineId, now_ns: u64, io: &mut Io) {
        let slot = &mut self.sockets[line.index()];
        match self.provider.connection_mut(line).poll_ask() {
            Some(Ask::Open) => slot.wanted = true,
            Some(Ask::Close) => {
                if let Some(mut stream) = slot.stream.take() {
                    // The close frame, if there is one; nobody waits for it.
                    let _ = stream.send(self.provider.connection_mut(line).pending());
                    let _ = io.poller.remove(&stream);
                    if let Some(tap) = &mut self.tap {
                        tap.ended(line, now_ns);
                    }
                }
                *slot = LineSocket::default();
            }
            None => {}
        }
        if self.sockets[line.index()].wanted {
            self.open(line, now_ns, io);
        }
        let token = self.token(line);
        let slot = &mut self.sockets[line.index()];
        let Some(stream) = &mut slot.stream else { return };
        if !slot.ready {
            return;
        }
        let connection = self.provider.connection_mut(line);
        let pending = connection.pending();
        let mut failure = None;
        if !pending.is_empty() {
            let count = pending.len();
            match stream.send(pending) {
                Ok(()) => connection.written(count),
                Err(error) => failure = Some(error),
            }
        }
        if failure.is_none()
            && slot.interest == Some(Interest::ReadWrite)
            && let Err(error) = stream.flush()
        {
            failure = Some(error);
        }
        if let Some(error) = failure {
            let mut probe = ShardProbe::new(&io.clock, &mut io.stages);
            let now = ReceiveTime::from_ns(now_ns);
            self.provider.lost(line, Lost::Socket(error.to_string()), now, &mut probe);
            return;
        }
        watch(slot, token, &io.poller);
    }

    fn open(&mut self, line: LineId, now_ns: u64, io: &mut Io) {
        let Some(address) = self.websocket.next(&io.resolver, &io.waker, now_ns) else {
            if let Some(reason) = self.websocket.failure.take() {
                self.failed(line, reason, now_ns, io);
            }
            return;
        };
        let token = self.token(line);
        let slot = &mut self.sockets[line.index()];
        slot.wanted = false;
        let deadline_ns = now_ns + CONNECT_NS_MAX;
        let options = TcpOptions::default();
        let target = &self.websocket.target;
        let stream = TcpSocket::connect(address, options, deadline_ns).and_then(|tcp| match &target.tls {
            None => Ok(Stream::Plain(tcp)),
            Some(config) => {
                TlsSocket::new(config, &target.host, tcp, options.send_queue_bytes_max, deadline_ns)
                    .map(|tls| Stream::Tls(Box::new(tls)))
            }
        });
        let added = stream.and_then(|stream| {
            // While it connects, writability says when it stands.
            io.poller.add(&stream, token, Interest::ReadWrite)?;
            Ok(stream)
        });
        match added {
            Ok(stream) => {
                slot.stream = Some(stream);
                slot.interest = Some(Interest::ReadWrite);
            }
            Err(error) => self.failed(line, format!("{address}: {error}"), now_ns, io),
        }
    }

    fn failed(&mut self, line: LineId, reason: String, now_ns: u64, io: &mut Io) {
        self.sockets[line.index()].wanted = false;
        let mut probe = ShardProbe::new(&io.clock, &mut io.stages);
        self.provider.lost(line, Lost::Connect(reason), ReceiveTime::from_ns(now_ns), &mut probe);
    }

    /// Whether the socket stands now; if so the handshake begins.
    pub(super) fn connect(&mut self, line: LineId, now_ns: u64, io: &mut Io) -> bool {
        let slot = &mut self.sockets[line.index()];
        let Some(stream) = &mut slot.stream else { return false };
        if slot.ready {
            return true;
        }
        match stream.poll_ready(now_ns) {
            Ok(true) => {
                slot.ready = true;
                if let Some(tap) = &mut self.tap {
                    tap.opened(line, now_ns);
                }
                let mut probe = ShardProbe::new(&io.clock, &mut io.stages);
                self.provider.opened(line, ReceiveTime::from_ns(now_ns), &mut probe);
                true
            }
            Ok(false) => {
                let token = self.token(line);
                watch(&mut self.sockets[line.index()], token, &io.poller);
                false
            }
            Err(error) => {
                self.failed(line, error.to_string(), now_ns, io);
                false
            }
        }
    }
}

/// Watches a socket for what it wants now.
fn watch(slot: &mut LineSocket, token: Token, poller: &Poller) {
    let Some(stream) = &slot.stream else { return };
    let interest = stream.interest();
    if slot.interest != Some(interest) && poller.modify(stream, token, interest).is_ok() {
        slot.interest = Some(interest);
    }
}
