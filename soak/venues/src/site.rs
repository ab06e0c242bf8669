//! A venue's server without sockets: bytes of connections in, bytes out, time as an argument.
//!
//! Speaks HTTP and WebSocket, drives one [`Venue`], applies the faults that concern connections and REST answers.
//! The socket shell ([`crate::server`]) only moves bytes; a simulation of a whole gateway calls the same methods in
//! one thread under its own clock.

use std::collections::BTreeMap;

use crate::exchange::{Answer, ApiKey, TradingTruth};
use crate::faults::{Fault, How, RestFault, Target};
use crate::frames::{self, Opcode};
use crate::http::{self, HttpAnswer, HttpRequest, Parsed};
use crate::output::{ConnectionId, Ending, FrameFault, Output};
use crate::venue::{BookTruth, InstrumentTruth, Reason, Stats, Venue};

/// The close code for a client that broke the protocol (RFC 6455, 7.4.1).
const CLOSE_PROTOCOL: u16 = 1002;

#[derive(Debug)]
struct Connection {
    input: Vec<u8>,
    /// Number among the WebSocket connections; `None` while it speaks HTTP.
    serial: Option<u64>,
    /// Input is not looked at before this time (a fault).
    deaf_until_ns: u64,
    /// An answer is waiting for its time; further requests wait behind it.
    answer_waits: bool,
}

/// Something that happens to one connection later.
#[derive(Debug)]
struct Later {
    due_ns: u64,
    id: ConnectionId,
    /// Of the WebSocket connection, in case `id` has been reused.
    serial: Option<u64>,
    what: Deed,
}

#[derive(Debug)]
enum Deed {
    Answer(Vec<u8>, bool),
    Disconnect,
    Hear,
}

/// One simulated venue behind its (virtual) port.
pub struct Site {
    venue: Box<dyn Venue>,
    output: Output,
    connections: Vec<Option<Connection>>,
    later: Vec<Later>,
    refuse_until_ns: u64,
    reject_upgrades: (u16, u64),
    rest_faults: Vec<(String, RestFault, u32)>,
    next_serial: u64,
    refused: u64,
    disconnects: BTreeMap<&'static str, u64>,
    rest_answers: BTreeMap<u16, u64>,
    faults: u64,
}

impl Site {
    /// A venue with no connections. `output_bytes_max`: what a client may leave unread before it is disconnected.
    pub fn new(venue: Box<dyn Venue>, output_bytes_max: usize) -> Self {
        Self {
            venue,
            output: Output::new(output_bytes_max),
            connections: Vec::new(),
            later: Vec::new(),
            refuse_until_ns: 0,
            reject_upgrades: (0, 0),
            rest_faults: Vec::new(),
            next_serial: 0,
            refused: 0,
            disconnects: BTreeMap::new(),
            rest_answers: BTreeMap::new(),
            faults: 0,
        }
    }

    /// A client connects. `None`: refused, close the socket.
    pub fn open(&mut self, now_ns: u64) -> Option<ConnectionId> {
        if now_ns < self.refuse_until_ns {
            self.refused += 1;
            return None;
        }
        let index = self.connections.iter().position(Option::is_none).unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        let connection =
            Connection { input: Vec::new(), serial: None, deaf_until_ns: 0, answer_waits: false };
        self.connections[index] = Some(connection);
        let id = ConnectionId(index as u32);
        self.output.open(id);
        Some(id)
    }

    /// Bytes of a client.
    pub fn receive(&mut self, id: ConnectionId, bytes: &[u8], now_ns: u64) {
        let Some(connection) = &mut self.connections[id.index()] else { return };
        if now_ns < connection.deaf_until_ns || self.output.is_ending(id) {
            return;
        }
        connection.input.extend_from_slice(bytes);
        // The market is brought up to date first, so that an answer fits what was sent before it.
        self.venue.poll(now_ns, &mut self.output);
        self.handle_input(id, now_ns);
    }

    /// The client closed its socket, or the shell did after [`Self::ending`] said so.
    pub fn closed(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections[id.index()].take() else { return };
        self.later.retain(|later| later.id != id);
        if connection.serial.is_none() {
            return;
        }
        let reason = match self.output.ending(id) {
            Some(Ending::AfterFlush(reason) | Ending::Abort(reason)) => reason,
            None => Reason::Peer,
        };
        *self.disconnects.entry(reason.name()).or_default() += 1;
        self.venue.closed(id);
    }

    /// Does all that is due.
    pub fn poll(&mut self, now_ns: u64) {
        self.venue.poll(now_ns, &mut self.output);
        while let Some(index) = self.later.iter().position(|later| later.due_ns <= now_ns) {
            let later = self.later.swap_remove(index);
            self.do_later(later, now_ns);
        }
    }

    /// When [`Self::poll`] has something to do next.
    pub fn next_wake_ns(&self) -> u64 {
        let later = self.later.iter().map(|later| later.due_ns).min().unwrap_or(u64::MAX);
        later.min(self.venue.next_wake_ns())
    }

    /// The connections with something new to send or to end since the last call.
    pub fn take_dirty(&mut self, into: &mut Vec<ConnectionId>) {
        self.output.take_dirty(into);
    }

    /// The bytes to send to a connection.
    pub fn unsent(&self, id: ConnectionId) -> &[u8] {
        self.output.unsent(id)
    }

    /// So many of them were sent.
    pub fn sent(&mut self, id: ConnectionId, bytes: usize) {
        self.output.sent(id, bytes);
    }

    /// Whether and how the shell must end this connection; it calls [`Self::closed`] afterwards.
    pub fn ending(&self, id: ConnectionId) -> Option<Ending> {
        self.output.ending(id)
    }

    /// Changes the number of messages per second of each instrument.
    pub fn set_rate(&mut self, messages_per_instrument_per_s: f64, now_ns: u64) {
        self.venue.set_rate(messages_per_instrument_per_s, now_ns);
    }

    /// The venue's name.
    pub fn name(&self) -> &'static str {
        self.venue.name()
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        let (frames, bytes) = self.output.totals();
        let mut stats = Stats {
            connections_open: self.websockets().count(),
            connections_total: self.next_serial,
            connections_refused_total: self.refused,
            disconnects_total: self.disconnects.clone(),
            frames_sent_total: frames,
            bytes_sent_total: bytes,
            rest_answers_total: self.rest_answers.clone(),
            faults_total: self.faults,
            ..Stats::default()
        };
        self.venue.add_stats(&mut stats);
        stats
    }

    /// What was sent, for each instrument.
    pub fn truth(&self) -> Vec<InstrumentTruth> {
        self.venue.truth()
    }

    /// The true book of one instrument, by canonical symbol.
    pub fn book(&self, symbol: &str) -> Option<BookTruth> {
        self.venue.book(symbol)
    }

    /// All orders and fills since the start; empty if the venue has no order entry.
    pub fn trading(&self) -> TradingTruth {
        self.venue.exchange().map(crate::exchange::Exchange::truth).unwrap_or_default()
    }

    /// The throw-away keys of all accounts; none if the venue has no order entry.
    pub fn keys(&self) -> Vec<ApiKey> {
        self.venue.exchange().map(|exchange| exchange.keys().to_vec()).unwrap_or_default()
    }

    /// Orders a fault.
    pub fn fault(&mut self, fault: &Fault, now_ns: u64) {
        self.faults += 1;
        match fault {
            Fault::Disconnect(target, how) => {
                for (id, _) in self.targets(target) {
                    match how {
                        How::Drop => self.output.end(id, Ending::Abort(Reason::Fault)),
                        How::CloseFrame(code) => self.output.close(id, *code, "", Reason::Fault),
                    }
                }
            }
            Fault::RefuseConnections { for_ns } => self.refuse_until_ns = now_ns.saturating_add(*for_ns),
            Fault::RejectUpgrades { status, for_ns } => {
                self.reject_upgrades = (*status, now_ns.saturating_add(*for_ns));
            }
            Fault::Silence { target, for_ns } => {
                let due_ns = now_ns.saturating_add(*for_ns);
                for (id, serial) in self.targets(target) {
                    self.output.silence(id, true);
                    if let Some(connection) = &mut self.connections[id.index()] {
                        connection.deaf_until_ns = due_ns;
                    }
                    self.later.push(Later { due_ns, id, serial: Some(serial), what: Deed::Hear });
                }
            }
            Fault::CutFrame(target) => self.arm(target, FrameFault::Cut),
            Fault::DuplicateFrame(target) => self.arm(target, FrameFault::Duplicate),
            Fault::SkipSequence(target) => self.arm(target, FrameFault::Skip),
            Fault::Garbage(target) => {
                for (id, _) in self.targets(target) {
                    self.output.text(id, &[b"{\"stream\":\"\x01}]garbage,,"]);
                }
            }
            Fault::UnknownEvent(target) => {
                let event = self.venue.unknown_event(now_ns);
                for (id, _) in self.targets(target) {
                    self.output.text(id, &[&event]);
                }
            }
            Fault::OversizedHeader(target) => {
                for (id, _) in self.targets(target) {
                    self.output.raw(id, |buffer| frames::put_header(buffer, Opcode::Text, 1 << 40));
                    self.output.silence(id, true);
                }
            }
            Fault::Bytes { target, bytes, count } => {
                for (id, _) in self.targets(target) {
                    self.output.raw(id, |buffer| {
                        (0..*count).for_each(|_| buffer.extend_from_slice(bytes));
                    });
                }
            }
            Fault::Ping(target) => {
                for (id, _) in self.targets(target) {
                    self.output.ping(id, b"fault");
                }
            }
            Fault::PlannedShutdown { target, after_ns } => {
                for (id, serial) in self.targets(target) {
                    self.venue.announce_shutdown(id, now_ns, &mut self.output);
                    let due_ns = now_ns.saturating_add(*after_ns);
                    self.later.push(Later { due_ns, id, serial: Some(serial), what: Deed::Disconnect });
                }
            }
            Fault::Rest { path, kind, count } => {
                self.rest_faults.push((path.clone(), kind.clone(), *count));
            }
            Fault::Venue(fault) => self.venue.fault(fault, now_ns),
            Fault::Clear => self.clear_faults(now_ns),
        }
    }

    fn clear_faults(&mut self, now_ns: u64) {
        self.refuse_until_ns = 0;
        self.reject_upgrades = (0, 0);
        self.rest_faults.clear();
        self.venue.fault(&crate::faults::VenueFault::Clear, now_ns);
        for later in &mut self.later {
            if matches!(later.what, Deed::Hear) {
                later.due_ns = now_ns;
            }
        }
    }

    fn arm(&mut self, target: &Target, fault: FrameFault) {
        for (id, _) in self.targets(target) {
            self.output.arm(id, fault);
        }
    }

    fn websockets(&self) -> impl Iterator<Item = (ConnectionId, u64)> + '_ {
        self.connections.iter().enumerate().filter_map(|(index, connection)| {
            connection.as_ref()?.serial.map(|serial| (ConnectionId(index as u32), serial))
        })
    }

    fn targets(&self, target: &Target) -> Vec<(ConnectionId, u64)> {
        let mut all: Vec<_> = self.websockets().collect();
        all.sort_by_key(|(_, serial)| *serial);
        match target {
            Target::All => all,
            Target::Oldest => all.first().copied().into_iter().collect(),
            Target::Newest => all.last().copied().into_iter().collect(),
            Target::Serial(wanted) => all.into_iter().filter(|(_, serial)| serial == wanted).collect(),
        }
    }

    fn do_later(&mut self, later: Later, now_ns: u64) {
        let id = later.id;
        let Some(connection) = &mut self.connections[id.index()] else { return };
        if later.serial.is_some() && connection.serial != later.serial {
            return;
        }
        match later.what {
            Deed::Answer(bytes, close) => {
                connection.answer_waits = false;
                self.output.raw(id, |buffer| buffer.extend_from_slice(&bytes));
                if close {
                    self.output.end(id, Ending::AfterFlush(Reason::Http));
                }
                self.handle_input(id, now_ns);
            }
            Deed::Disconnect => self.output.end(id, Ending::AfterFlush(Reason::Fault)),
            Deed::Hear => {
                connection.deaf_until_ns = 0;
                self.output.silence(id, false);
            }
        }
    }

    /// Handles all complete requests or frames that a connection has sent.
    fn handle_input(&mut self, id: ConnectionId, now_ns: u64) {
        // Taken out and put back, since handling needs all of `self`.
        let Some(connection) = &mut self.connections[id.index()] else { return };
        let mut input = std::mem::take(&mut connection.input);
        let mut used = 0;
        while !self.output.is_ending(id) {
            let Some(connection) = &self.connections[id.index()] else { return };
            if connection.answer_waits || input.len() == used {
                break;
            }
            let taken = if connection.serial.is_some() {
                self.handle_frame(id, &mut input[used..], now_ns)
            } else {
                self.handle_request(id, &input[used..], now_ns)
            };
            if taken == 0 {
                break;
            }
            used += taken;
        }
        input.drain(..used);
        if let Some(connection) = &mut self.connections[id.index()] {
            connection.input = input;
        }
    }

    /// Returns the bytes used, 0 if the frame is not complete.
    fn handle_frame(&mut self, id: ConnectionId, input: &mut [u8], now_ns: u64) -> usize {
        let frame = match frames::parse(input) {
            Ok(Some(frame)) => frame,
            Ok(None) => return 0,
            Err(error) => {
                self.output.close(id, CLOSE_PROTOCOL, &error.to_string(), Reason::Protocol);
                return input.len();
            }
        };
        let payload = &input[frame.payload];
        match frame.opcode {
            Opcode::Text => self.venue.text(id, payload, now_ns, &mut self.output),
            Opcode::Binary => {
                self.output.close(id, 1003, "text frames only", Reason::Protocol);
            }
            Opcode::Ping => {
                self.output.pong(id, payload);
                self.venue.ping(id, now_ns, &mut self.output);
            }
            Opcode::Pong => self.venue.pong(id, payload, now_ns, &mut self.output),
            Opcode::Close => {
                let code = payload.get(..2).map_or(1000, |code| u16::from_be_bytes([code[0], code[1]]));
                self.output.close(id, code, "", Reason::Peer);
            }
        }
        frame.bytes
    }

    /// Returns the bytes used, 0 if the request is not complete.
    fn handle_request(&mut self, id: ConnectionId, input: &[u8], now_ns: u64) -> usize {
        let (request, bytes) = match http::parse(input) {
            Parsed::Request(request, bytes) => (request, bytes),
            Parsed::Partial => return 0,
            Parsed::Malformed => {
                self.answer(id, HttpAnswer::html(400), true);
                return input.len();
            }
        };
        if request.wants_upgrade() {
            self.upgrade(id, &request, now_ns);
        } else {
            self.rest(id, &request, now_ns);
        }
        bytes
    }

    fn upgrade(&mut self, id: ConnectionId, request: &HttpRequest<'_>, now_ns: u64) {
        let (status, until_ns) = self.reject_upgrades;
        let admitted = if now_ns < until_ns {
            Err(self.venue.refusal(status, 1))
        } else {
            self.venue.admit(request.target, now_ns)
        };
        let key = request.header("sec-websocket-key");
        let version = request.header("sec-websocket-version");
        let key = match (admitted, key, version) {
            (Ok(()), Some(key), Some("13")) => key,
            (Ok(()), ..) => {
                self.refused += 1;
                return self.answer(id, HttpAnswer::html(400), true);
            }
            (Err(answer), ..) => {
                self.refused += 1;
                return self.answer(id, answer, true);
            }
        };
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        self.output.raw(id, |buffer| {
            buffer.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n");
            buffer.extend_from_slice(b"Connection: Upgrade\r\nSec-WebSocket-Accept: ");
            buffer.extend_from_slice(accept.as_bytes());
            buffer.extend_from_slice(b"\r\n\r\n");
        });
        if let Some(connection) = &mut self.connections[id.index()] {
            connection.serial = Some(self.next_serial);
        }
        self.next_serial += 1;
        self.venue.connected(id, request.target, now_ns, &mut self.output);
    }

    fn rest(&mut self, id: ConnectionId, request: &HttpRequest<'_>, now_ns: u64) {
        let close = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let Some(fault) = self.next_rest_fault(request.path()) else {
            let answer = self.venue.http(request, now_ns);
            match answer.delivery {
                Answer::Now | Answer::ServerError => self.answer(id, answer, close),
                Answer::After(delay_ns) => self.answer_later(id, &answer, close, delay_ns, now_ns),
                Answer::Never => self.wait(id),
                Answer::Drop => self.output.end(id, Ending::Abort(Reason::Fault)),
            }
            // What the request did is told to others after its answer.
            return self.venue.poll(now_ns, &mut self.output);
        };
        match fault {
            RestFault::Delay(delay_ns) => {
                let answer = self.venue.http(request, now_ns);
                self.answer_later(id, &answer, close, delay_ns, now_ns);
            }
            RestFault::Status { status, retry_after_s } => {
                let answer = self.venue.refusal(status, retry_after_s);
                self.answer(id, answer, close);
            }
            RestFault::Html(status) => self.answer(id, HttpAnswer::html(status), close),
            RestFault::TruncatedJson => {
                let mut answer = self.venue.http(request, now_ns);
                answer.body.truncate(answer.body.len() / 2);
                self.answer(id, answer, close);
            }
            RestFault::CutAnswer => {
                let mut bytes = Vec::new();
                self.venue.http(request, now_ns).write(&mut bytes);
                bytes.truncate(bytes.len() / 2);
                self.output.raw(id, |buffer| buffer.extend_from_slice(&bytes));
                self.output.end(id, Ending::AfterFlush(Reason::Fault));
            }
            RestFault::NoAnswer => self.wait(id),
        }
    }

    fn answer_later(
        &mut self,
        id: ConnectionId,
        answer: &HttpAnswer,
        close: bool,
        delay_ns: u64,
        now_ns: u64,
    ) {
        *self.rest_answers.entry(answer.status).or_default() += 1;
        let mut bytes = Vec::new();
        answer.write(&mut bytes);
        let due_ns = now_ns.saturating_add(delay_ns);
        self.later.push(Later { due_ns, id, serial: None, what: Deed::Answer(bytes, close) });
        self.wait(id);
    }

    fn next_rest_fault(&mut self, path: &str) -> Option<RestFault> {
        let index = self.rest_faults.iter().position(|(part, _, _)| path.contains(part.as_str()))?;
        let (_, kind, count) = &mut self.rest_faults[index];
        let kind = kind.clone();
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.rest_faults.remove(index);
        }
        Some(kind)
    }

    fn wait(&mut self, id: ConnectionId) {
        if let Some(connection) = &mut self.connections[id.index()] {
            connection.answer_waits = true;
        }
    }

    fn answer(&mut self, id: ConnectionId, answer: HttpAnswer, close: bool) {
        *self.rest_answers.entry(answer.status).or_default() += 1;
        self.output.raw(id, |buffer| answer.write(buffer));
        if close {
            self.output.end(id, Ending::AfterFlush(Reason::Http));
        }
    }
}
