//! The private connection as a state machine: connect, shake hands, frames, pings, and again after a pause.
//!
//! Simpler than a market data connection ([`crate::connection`]): no streams, no rolls. What is said on it is the
//! gateway's business; here it is bytes and texts.

use fastrand::Rng;

use crate::connection::Lost;
use crate::frame::handshake::{self, Answer, AnswerReader};
use crate::frame::{CloseCode, Frame, FrameReader, FrameWriter, WriteError};
use crate::time::ReceiveTime;

use super::DeskOptions;

/// Time for TCP, TLS and the handshake together, in nanoseconds.
const OPEN_NS_MAX: u64 = 10_000_000_000;
/// First pause before a connection is tried again, in nanoseconds; it doubles with each failure.
const BACKOFF_NS_MIN: u64 = 100_000_000;
/// Longest pause, in nanoseconds.
const BACKOFF_NS_MAX: u64 = 30_000_000_000;
/// We ping a connection on which nothing came for this long, in nanoseconds: any server answers (RFC 6455, 5.5.2).
const PING_AFTER_NS: u64 = 10_000_000_000;
/// One on which nothing came for this long is dead, in nanoseconds: a ping was not answered.
const SILENCE_NS_MAX: u64 = 25_000_000_000;
/// Bytes that may wait to be written: some hundred requests.
const OUTBOX_BYTES: usize = 256 << 10;
/// Bytes of the read buffer.
const READ_BYTES: usize = 64 << 10;

/// A socket to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// Host, with its port where that is not the scheme's own.
    pub host: &'a str,
    /// Path and query.
    pub path: &'a str,
}

#[derive(Debug)]
enum State {
    /// Not begun.
    Idle,
    /// Waits to be opened.
    Waiting { until: ReceiveTime },
    /// The shell opens the socket.
    Opening { deadline: ReceiveTime },
    /// The handshake is under way.
    Shaking { deadline: ReceiveTime, answer: Box<AnswerReader> },
    /// Frames flow.
    Live,
}

/// The connection.
#[derive(Debug)]
pub(super) struct Link {
    host: String,
    path: String,
    state: State,
    connect: bool,
    disconnect: bool,
    reader: FrameReader,
    writer: FrameWriter,
    request: Vec<u8>,
    request_written: usize,
    failures: u32,
    last_receive: ReceiveTime,
    last_ping: ReceiveTime,
    random: Rng,
}

impl Link {
    pub(super) fn new(options: &DeskOptions) -> Self {
        Self {
            host: options.host.clone(),
            path: options.path.clone(),
            state: State::Idle,
            connect: false,
            disconnect: false,
            reader: FrameReader::new(READ_BYTES, options.message_bytes_max),
            writer: FrameWriter::new(OUTBOX_BYTES),
            request: Vec::new(),
            request_written: 0,
            failures: 0,
            last_receive: ReceiveTime::default(),
            last_ping: ReceiveTime::default(),
            random: Rng::with_seed(options.seed),
        }
    }

    pub(super) fn start(&mut self, now: ReceiveTime) {
        self.state = State::Waiting { until: now };
    }

    pub(super) const fn is_live(&self) -> bool {
        matches!(self.state, State::Live)
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self.state, State::Idle | State::Waiting { .. })
    }

    pub(super) const fn state_name(&self) -> &'static str {
        match self.state {
            State::Idle => "idle",
            State::Waiting { .. } => "waiting",
            State::Opening { .. } => "opening",
            State::Shaking { .. } => "handshake",
            State::Live => "live",
        }
    }

    pub(super) fn poll_connect(&mut self) -> Option<Connect<'_>> {
        // The old socket is closed before the next one is opened.
        let ready = self.connect && !self.disconnect;
        self.connect &= !ready;
        ready.then_some(Connect { host: &self.host, path: &self.path })
    }

    pub(super) fn poll_disconnect(&mut self) -> bool {
        std::mem::take(&mut self.disconnect)
    }

    /// There is no socket any more that could be closed.
    pub(super) fn closed_by_peer(&mut self) {
        self.disconnect = false;
    }

    pub(super) fn opened(&mut self, now: ReceiveTime) -> Result<(), Lost> {
        let State::Opening { deadline } = self.state else { return Ok(()) };
        let mut key = [0; 16];
        self.random.fill(&mut key);
        self.reader.reset();
        self.writer.reset();
        self.request = handshake::request(&self.host, &self.path, &[], key)
            .map_err(|error| Lost::Handshake(error.to_string()))?;
        self.request_written = 0;
        self.last_receive = now;
        self.state = State::Shaking { deadline, answer: Box::new(AnswerReader::new(key)) };
        Ok(())
    }

    /// Takes bytes and says how many; the others again, after the frames were drained. True when frames flow from here on.
    pub(super) fn feed(&mut self, bytes: &[u8], now: ReceiveTime) -> Result<(usize, bool), Lost> {
        self.last_receive = now;
        match &mut self.state {
            State::Live => Ok((self.reader.feed(bytes), false)),
            State::Shaking { answer, .. } => match answer.feed(bytes) {
                Answer::NeedMore => Ok((bytes.len(), false)),
                Answer::Accepted { leftover } => {
                    let taken = bytes.len() - leftover.len() + self.reader.feed(leftover);
                    self.state = State::Live;
                    self.last_ping = now;
                    Ok((taken, true))
                }
                Answer::Refused { status, retry_after_s, body } => {
                    let body = body.split_whitespace().collect::<Vec<_>>().join(" ");
                    Err(Lost::Refused { status, body, retry_after_s })
                }
                Answer::Invalid(reason) => Err(Lost::Handshake(reason.to_string())),
            },
            // Bytes of a socket that is to be closed.
            State::Idle | State::Waiting { .. } | State::Opening { .. } => Ok((bytes.len(), false)),
        }
    }

    /// The next text. Control frames are answered here.
    pub(super) fn next_text(&mut self) -> Result<Option<&mut [u8]>, Lost> {
        if !self.is_live() {
            return Ok(None);
        }
        loop {
            let mask = self.random.u32(..).to_le_bytes();
            match self.reader.next()? {
                None => return Ok(None),
                Some(Frame::Text(_)) => break,
                // What is too long ends this connection as an error: its reader passes nothing over.
                Some(Frame::Binary(_) | Frame::Pong(_) | Frame::Oversized { .. }) => {}
                Some(Frame::Ping(payload)) => {
                    self.writer.pong(payload, mask).map_err(|_| Lost::OutboxFull)?;
                }
                Some(Frame::Close { code, reason }) => {
                    let lost = Lost::Closed { code: code.map_or(1005, u16::from), reason: reason.to_owned() };
                    let _ = self.writer.close(code.unwrap_or(CloseCode::Normal), "", mask);
                    return Err(lost);
                }
            }
        }
        // The same text once more: the borrow checker cannot see that the loop ended with it.
        let text = self.reader.text_padded();
        Ok(text.map(|(text, bytes)| &mut text[..bytes]))
    }

    pub(super) fn send(&mut self, text: &[u8]) -> Result<(), WriteError> {
        let mask = self.random.u32(..).to_le_bytes();
        self.writer.text(text, mask)
    }

    pub(super) fn pending(&self) -> &[u8] {
        let request = &self.request[self.request_written..];
        if request.is_empty() { self.writer.pending() } else { request }
    }

    pub(super) fn written(&mut self, count: usize) {
        if self.request_written < self.request.len() {
            self.request_written += count;
        } else {
            self.writer.written(count);
        }
    }

    /// The session on it was joined: the next pause starts small again.
    pub(super) const fn is_good(&mut self) {
        self.failures = 0;
    }

    /// It is over, and is tried again after a pause.
    pub(super) fn lost(&mut self, lost: &Lost, now: ReceiveTime) {
        let doubled = BACKOFF_NS_MIN.saturating_mul(1 << self.failures.min(20)).min(BACKOFF_NS_MAX);
        self.failures = self.failures.saturating_add(1);
        let mut pause_ns = doubled / 2 + self.random.u64(0..=doubled / 2);
        if let Lost::Refused { retry_after_s: Some(seconds), .. } = lost {
            pause_ns = pause_ns.max(seconds.saturating_mul(1_000_000_000));
        }
        self.state = State::Waiting { until: now.plus_ns(pause_ns) };
        (self.connect, self.disconnect) = (false, true);
        self.request.clear();
        self.request_written = 0;
        self.writer.reset();
    }

    pub(super) fn timeout(&mut self, now: ReceiveTime) -> Result<(), Lost> {
        match &self.state {
            State::Waiting { until } if now >= *until => {
                self.state = State::Opening { deadline: now.plus_ns(OPEN_NS_MAX) };
                self.connect = true;
            }
            State::Opening { deadline } | State::Shaking { deadline, .. } if now >= *deadline => {
                return Err(Lost::OpenTimeout);
            }
            State::Live => {
                let silent_ns = now.since_ns(self.last_receive);
                if silent_ns >= SILENCE_NS_MAX {
                    return Err(Lost::Silent(silent_ns / 1_000_000));
                }
                if now >= self.ping_at() {
                    self.last_ping = now;
                    let mask = self.random.u32(..).to_le_bytes();
                    self.writer.ping(b"", mask).map_err(|_| Lost::OutboxFull)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn ping_at(&self) -> ReceiveTime {
        self.last_receive.max(self.last_ping).plus_ns(PING_AFTER_NS)
    }

    pub(super) fn deadline(&self) -> Option<ReceiveTime> {
        match &self.state {
            State::Idle => None,
            State::Waiting { until } => Some(*until),
            State::Opening { deadline } | State::Shaking { deadline, .. } => Some(*deadline),
            State::Live => Some(self.ping_at().min(self.last_receive.plus_ns(SILENCE_NS_MAX))),
        }
    }
}
