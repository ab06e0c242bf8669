//! One WebSocket connection to a venue as a state machine: connect, shake hands, subscribe, live, and again.
//!
//! Bytes and time in, bytes and requests to the shell out. It opens no socket: the shell does what
//! [`Connection::poll_ask`] says and reports what happened. Frames of data are handed to the caller unread.

mod changes;
mod in_flight;
mod lost;

use std::collections::VecDeque;

use fastrand::Rng;

use crate::directory::Directory;
use crate::frame::handshake::{self, Answer, AnswerReader};
use crate::frame::{CloseCode, Frame, FrameReader, FrameWriter};
use crate::ids::{LineId, StreamId};
use crate::raw::Notice;
use crate::time::ReceiveTime;
use crate::venue::{ConnectionLimits, Venue};

use changes::Changes;
use in_flight::{InFlight, Overdue};
pub use lost::Lost;

/// Time for TCP, TLS and the handshake together, in nanoseconds.
const OPEN_NS_MAX: u64 = 10_000_000_000;
/// First pause before a connection is tried again, in nanoseconds; it doubles with each failure.
const BACKOFF_NS_MIN: u64 = 100_000_000;
/// Longest pause, in nanoseconds: venues limit connections in windows of minutes.
const BACKOFF_NS_MAX: u64 = 30_000_000_000;
/// A connection that lived this long was a good one: the pause starts small again. In nanoseconds.
const GOOD_NS_MIN: u64 = 10_000_000_000;
/// Bytes that may wait to be written: subscriptions of 1,024 streams in batches, and pongs.
const OUTBOX_BYTES: usize = 256 << 10;
/// Bytes of the read buffer: a burst of 64 KiB frames in few reads.
const READ_BYTES: usize = 256 << 10;
/// Longest message that is read past where it is too long to be taken, in bytes. One that announces more ends the
/// connection: nobody would wait for its end.
const PASSED_OVER_BYTES_MAX: u64 = 256 << 20;
/// Bytes read at a time during the handshake.
const HANDSHAKE_BYTES: usize = 4 << 10;
/// Before the venue's age limit, in nanoseconds, the connection is made anew.
pub const ROLL_BEFORE_NS: u64 = 300_000_000_000;

/// What the shell has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Open a socket to the provider's endpoint, with TLS if it is `wss`.
    Open,
    /// Close the socket.
    Close,
}

/// A message of the venue.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text.
    Text(&'a mut [u8]),
    /// A text of `bytes` bytes was too long to be taken.
    Oversized {
        /// Its first bytes.
        head: &'a [u8],
        /// Its length.
        bytes: u64,
    },
}

/// What a connection is doing.
#[derive(Debug)]
enum State {
    /// Waits to be opened.
    Waiting { until: ReceiveTime },
    /// The shell opens the socket.
    Opening { deadline: ReceiveTime },
    /// The handshake is under way.
    Shaking { deadline: ReceiveTime, answer: AnswerReader },
    /// Frames flow.
    Live { since: ReceiveTime },
    /// Kept for a roll.
    Spare,
    /// It stays down: shutdown.
    Down,
}

crate::counters! {
    /// What one connection did.
    pub struct ConnectionCounts {
        /// Times it was opened and shook hands.
        opened_total,
        /// Times it was lost, or could not be opened.
        lost_total,
        /// Times it was ended by us after another line had taken over.
        rolled_total,
        /// Bytes read.
        received_bytes_total,
        /// Control frames answered.
        pongs_total,
        /// Subscription messages sent.
        subscription_messages_total,
        /// Requests that the venue refused.
        refused_total,
    }
}

/// One connection. The caller feeds it bytes and drains its frames.
#[derive(Debug)]
pub struct Connection {
    line: LineId,
    limits: ConnectionLimits,
    host: String,
    path: String,
    streams: Vec<StreamId>,
    state: State,
    ask: Option<Ask>,
    reader: FrameReader,
    /// The last text was read in part: it comes again before anything is read behind it.
    half_read: bool,
    writer: FrameWriter,
    handshake: Vec<u8>,
    /// The request of the handshake, and how much of it is written.
    request: Vec<u8>,
    request_written: usize,
    failures: u32,
    is_old: bool,
    last_receive: ReceiveTime,
    last_ping: ReceiveTime,
    next_request: u64,
    /// Messages sent that the venue wants before the first subscription; `usize::MAX` when it wants no more.
    greetings_sent: usize,
    /// Streams to subscribe (`true`) or to end, in order.
    changes: Changes,
    in_flight: InFlight,
    /// Streams that the venue does not name among those that it carries, asked for twice.
    unnamed: Vec<StreamId>,
    /// When the last messages left: the venue limits them by the second.
    sent: VecDeque<ReceiveTime>,
    text: Vec<u8>,
    /// What was counted.
    pub counts: ConnectionCounts,
}

impl Connection {
    /// A connection that carries `streams`, opened at `start`. Streams of one channel should stand together: some venues
    /// take one channel a message. `host` is what the handshake names, with its port.
    pub fn new<V: Venue>(
        venue: &V,
        line: LineId,
        host: &str,
        streams: Vec<StreamId>,
        message_bytes_max: usize,
        start: ReceiveTime,
    ) -> Self {
        let limits = venue.limits();
        Self {
            line,
            limits,
            host: host.to_owned(),
            path: venue.websocket_path(),
            streams,
            state: State::Waiting { until: start },
            ask: None,
            reader: FrameReader::new(READ_BYTES, message_bytes_max).passing_over(PASSED_OVER_BYTES_MAX),
            half_read: false,
            writer: FrameWriter::new(OUTBOX_BYTES),
            handshake: Vec::new(),
            request: Vec::new(),
            request_written: 0,
            failures: 0,
            is_old: false,
            last_receive: start,
            last_ping: start,
            next_request: 1,
            greetings_sent: 0,
            changes: Changes::default(),
            in_flight: InFlight::default(),
            unnamed: Vec::new(),
            sent: VecDeque::with_capacity(limits.messages_per_s_max as usize),
            text: Vec::with_capacity(limits.message_bytes_max.min(64 << 10)),
            counts: ConnectionCounts::default(),
        }
    }

    /// As [`new`](Self::new), kept for a roll: it does nothing until it is [`started`](Self::start).
    #[must_use]
    pub fn as_spare(mut self) -> Self {
        self.state = State::Spare;
        self
    }

    /// Whether it is kept for a roll.
    pub const fn is_spare(&self) -> bool {
        matches!(self.state, State::Spare)
    }

    /// Whether the venue will end it for its age soon.
    pub const fn is_old(&self) -> bool {
        self.is_old
    }

    /// Opens a spare one.
    pub fn start(&mut self, now: ReceiveTime) {
        if self.is_spare() {
            self.failures = 0;
            self.state = State::Waiting { until: now };
        }
    }

    /// Its number within the provider.
    pub const fn line(&self) -> LineId {
        self.line
    }

    /// Keeps it for the next roll although it is over already: another line has taken over meanwhile.
    pub fn retire(&mut self) {
        if matches!(self.state, State::Waiting { .. }) {
            self.state = State::Spare;
        }
    }

    /// The streams that it carries.
    pub fn streams(&self) -> &[StreamId] {
        &self.streams
    }

    /// When bytes came last.
    pub const fn last_receive(&self) -> ReceiveTime {
        self.last_receive
    }

    /// Whether frames flow.
    pub const fn is_live(&self) -> bool {
        matches!(self.state, State::Live { .. })
    }

    /// Since when frames flow, if they do.
    pub const fn live_since(&self) -> Option<ReceiveTime> {
        match self.state {
            State::Live { since } => Some(since),
            _ => None,
        }
    }

    /// Whether the venue has taken all subscriptions.
    pub fn is_subscribed(&self) -> bool {
        self.is_live() && self.changes.is_empty() && self.in_flight.is_empty()
    }

    /// Whether it is over already: neither open nor being opened.
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Waiting { .. } | State::Spare | State::Down)
    }

    /// How long it waits until it is tried again, in nanoseconds; `None` if it does not wait.
    pub const fn retry_ns(&self, now: ReceiveTime) -> Option<u64> {
        match self.state {
            State::Waiting { until } => Some(until.ns().saturating_sub(now.ns())),
            _ => None,
        }
    }

    /// The word for its state in status lines.
    pub const fn state_name(&self) -> &'static str {
        match self.state {
            State::Waiting { .. } => "waiting",
            State::Opening { .. } => "opening",
            State::Shaking { .. } => "handshake",
            State::Live { .. } => "live",
            State::Spare => "spare",
            State::Down => "down",
        }
    }

    /// What the shell has to do, once.
    pub fn poll_ask(&mut self) -> Option<Ask> {
        self.ask.take()
    }

    /// The socket is open: the handshake begins.
    pub fn opened(&mut self, now: ReceiveTime, random: &mut Rng) -> Result<(), Lost> {
        let mut key = [0; 16];
        random.fill(&mut key);
        self.reader.reset();
        self.half_read = false;
        self.writer.reset();
        self.sent.clear();
        self.handshake.resize(HANDSHAKE_BYTES, 0);
        self.request = match handshake::request(&self.host, &self.path, &[], key) {
            Ok(request) => request,
            Err(error) => return Err(Lost::Handshake(error.to_string())),
        };
        self.request_written = 0;
        self.last_receive = now;
        self.state = State::Shaking { deadline: now.plus_ns(OPEN_NS_MAX), answer: AnswerReader::new(key) };
        Ok(())
    }

    /// Where the shell puts the bytes that it reads. Empty when frames must be drained first, or the rest of one.
    #[inline]
    pub fn space(&mut self) -> &mut [u8] {
        if let State::Shaking { .. } = self.state {
            return &mut self.handshake;
        }
        if self.half_read {
            return &mut [];
        }
        self.reader.space()
    }

    /// The shell has read `count` bytes into [`space`](Self::space).
    ///
    /// # Errors
    /// [`Lost`]: call [`lost`](Self::lost) with it.
    #[inline]
    pub fn filled(&mut self, count: usize, now: ReceiveTime) -> Result<(), Lost> {
        self.last_receive = now;
        self.counts.received_bytes_total += count as u64;
        if let State::Shaking { .. } = self.state {
            return self.shake(count, now);
        }
        self.reader.filled(count);
        Ok(())
    }

    #[cold]
    fn shake(&mut self, count: usize, now: ReceiveTime) -> Result<(), Lost> {
        let State::Shaking { answer, .. } = &mut self.state else { return Ok(()) };
        match answer.feed(&self.handshake[..count]) {
            Answer::NeedMore => Ok(()),
            Answer::Accepted { leftover } => {
                let fed = self.reader.feed(leftover);
                debug_assert_eq!(fed, leftover.len(), "the read buffer is larger than the handshake's");
                self.state = State::Live { since: now };
                self.counts.opened_total += 1;
                self.last_ping = now;
                self.in_flight.clear();
                self.greetings_sent = 0;
                self.changes = Changes::of(&self.streams);
                Ok(())
            }
            Answer::Refused { status, retry_after_s, body } => {
                // One line of a log, whatever page the server sent.
                let body = body.split_whitespace().collect::<Vec<_>>().join(" ");
                Err(Lost::Refused { status, body, retry_after_s })
            }
            Answer::Invalid(reason) => Err(Lost::Handshake(reason.to_string())),
        }
    }

    /// The next text frame, or the one that was [kept](Self::keep_text). Control frames are answered here.
    ///
    /// # Errors
    /// [`Lost`]: call [`lost`](Self::lost) with it.
    #[inline]
    pub fn next_text(&mut self, random: &mut Rng, now: ReceiveTime) -> Result<Option<Incoming<'_>>, Lost> {
        while !std::mem::take(&mut self.half_read) {
            let mask = random.u32(..).to_le_bytes();
            match self.reader.next()? {
                None => return Ok(None),
                Some(Frame::Text(_)) => break,
                // Another borrow of the same: see below.
                Some(Frame::Oversized { bytes, .. }) => {
                    return Ok(Some(Incoming::Oversized { head: self.reader.head(), bytes }));
                }
                // No venue of ours sends binary frames on these endpoints, and none answers a ping of ours.
                Some(Frame::Binary(_) | Frame::Pong(_)) => {}
                Some(Frame::Ping(payload)) => {
                    self.counts.pongs_total += 1;
                    self.writer.pong(payload, mask).map_err(|_| Lost::OutboxFull)?;
                    note(&mut self.sent, &self.limits, now);
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
        Ok(text.map(|(text, bytes)| Incoming::Text(&mut text[..bytes])))
    }

    /// Whether [`next_text`](Self::next_text) will give a text that it gave before.
    #[inline]
    pub const fn has_kept_text(&self) -> bool {
        self.half_read
    }

    /// The text that came last was read in part: [`next_text`](Self::next_text) gives it once more, and nothing is read
    /// from the socket until then.
    pub const fn keep_text(&mut self) {
        self.half_read = true;
    }

    /// The connection's business in a frame: acknowledgements, refusals, the venue's pings. `carried` is [`Venue::carried`].
    pub fn notice(&mut self, notice: &Notice, carried: &[StreamId]) {
        match notice {
            Notice::Accepted { request, .. } | Notice::Ended { request, .. } => {
                self.in_flight.answered(*request);
            }
            Notice::Refused { request, .. } => {
                self.counts.refused_total += 1;
                self.in_flight.answered(*request);
            }
            Notice::Carried => self.in_flight.listed(carried),
            _ => {}
        }
    }

    /// The streams of a request that was refused, before [`notice`](Self::notice) forgets them.
    pub fn streams_of_request(&self, request: u64) -> &[StreamId] {
        self.in_flight.streams_of(request)
    }

    /// Whether the venue does not name a stream that was asked for twice.
    pub fn lacks_streams(&self) -> bool {
        self.in_flight.lacks_any()
    }

    /// Streams that were asked for twice, and that the venue does not name among those that it carries, once each.
    pub fn take_unnamed(&mut self) -> Vec<StreamId> {
        std::mem::take(&mut self.unnamed)
    }

    /// Subscribes a stream (`true`), or ends it, on the live connection and on those after it.
    pub fn change(&mut self, subscribe: bool, stream: StreamId, now: ReceiveTime) {
        if self.streams.is_empty() {
            // It was silent for good reason; its time to say something begins now.
            self.last_receive = now;
        }
        let known = self.streams.iter().position(|&carried| carried == stream);
        match (subscribe, known) {
            (true, None) => self.streams.push(stream),
            (false, Some(at)) => {
                self.streams.remove(at);
            }
            _ => {}
        }
        if self.is_live() {
            self.changes.push(subscribe, stream);
        }
    }

    /// Ends and begins a stream's subscription: its snapshot comes in the stream.
    pub fn resubscribe(&mut self, stream: StreamId) {
        if self.is_live() {
            self.changes.push_anew(stream);
        }
    }

    /// Does what is due: opens, times out, pings, sends subscriptions as the venue's limits allow.
    ///
    /// # Errors
    /// [`Lost`]: call [`lost`](Self::lost) with it.
    pub fn timeout<V: Venue>(
        &mut self,
        venue: &V,
        directory: &Directory,
        now: ReceiveTime,
        random: &mut Rng,
    ) -> Result<(), Lost> {
        match &self.state {
            State::Waiting { until } if now >= *until => {
                self.state = State::Opening { deadline: now.plus_ns(OPEN_NS_MAX) };
                self.ask = Some(Ask::Open);
            }
            State::Opening { deadline } | State::Shaking { deadline, .. } if now >= *deadline => {
                return Err(Lost::OpenTimeout);
            }
            State::Live { since } => {
                let silent_ms = now.since_ns(self.last_receive) / 1_000_000;
                // Nothing to send is no silence: all its streams may have been given up.
                if silent_ms >= self.limits.silence_ms_max && !self.streams.is_empty() {
                    return Err(Lost::Silent(silent_ms));
                }
                let age_ns_max = self.limits.age_s_max.saturating_mul(1_000_000_000);
                self.is_old =
                    age_ns_max > 0 && now.since_ns(*since) >= age_ns_max.saturating_sub(ROLL_BEFORE_NS);
                match self.in_flight.overdue(now) {
                    Some(Overdue::NoAnswer) => return Err(Lost::NoAck),
                    Some(Overdue::Unnamed { again, refused }) => {
                        // Some may have been given up meanwhile, which the venue was not told yet.
                        let streams = &self.streams;
                        let again = again.into_iter().filter(|stream| streams.contains(stream));
                        again.for_each(|stream| self.changes.push(true, stream));
                        self.unnamed.extend(refused.into_iter().filter(|stream| streams.contains(stream)));
                    }
                    None => {}
                }
                self.send_due(venue, directory, now, random)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn send_due<V: Venue>(
        &mut self,
        venue: &V,
        directory: &Directory,
        now: ReceiveTime,
        random: &mut Rng,
    ) -> Result<(), Lost> {
        let every_ns = self.limits.ping_every_ms * 1_000_000;
        if every_ns > 0 && now.since_ns(self.last_ping) >= every_ns && self.may_send(now) {
            self.last_ping = now;
            self.text.clear();
            let request = self.take_request();
            venue.ping(request, &mut self.text);
            self.send_text(now, random)?;
        }
        while self.greetings_sent != usize::MAX && self.may_send(now) {
            self.text.clear();
            if venue.greeting(self.greetings_sent, &mut self.text) {
                self.greetings_sent += 1;
                self.send_text(now, random)?;
            } else {
                self.greetings_sent = usize::MAX;
            }
        }
        while !self.changes.is_empty() {
            if self.greetings_sent != usize::MAX || !self.may_send(now) {
                break;
            }
            let (subscribe, streams) = self.changes.first(self.limits.streams_per_message_max);
            self.text.clear();
            let request = self.take_request();
            let named = if subscribe {
                venue.subscribe(directory, &streams, request, &mut self.text)
            } else {
                venue.unsubscribe(directory, &streams, request, &mut self.text)
            };
            let named = named.clamp(1, streams.len());
            self.changes.said(named);
            self.counts.subscription_messages_total += 1;
            self.in_flight.push(request, subscribe, &streams[..named], now);
            self.send_text(now, random)?;
        }
        Ok(())
    }

    fn take_request(&mut self) -> u64 {
        let request = self.next_request;
        self.next_request += 1;
        request
    }

    /// Whether the venue's limit of messages in a second leaves room for one, a pong kept in reserve.
    fn may_send(&mut self, now: ReceiveTime) -> bool {
        while self.sent.front().is_some_and(|at| now.since_ns(*at) >= 1_000_000_000) {
            self.sent.pop_front();
        }
        self.sent.len() + 1 < (self.limits.messages_per_s_max as usize).max(2)
    }

    fn send_text(&mut self, now: ReceiveTime, random: &mut Rng) -> Result<(), Lost> {
        let mask = random.u32(..).to_le_bytes();
        note(&mut self.sent, &self.limits, now);
        self.writer.text(&self.text, mask).map_err(|_| Lost::OutboxFull)
    }

    /// Bytes to write.
    pub fn pending(&self) -> &[u8] {
        let request = &self.request[self.request_written..];
        if request.is_empty() { self.writer.pending() } else { request }
    }

    /// The shell has written `count` of them.
    pub fn written(&mut self, count: usize) {
        if self.request_written < self.request.len() {
            self.request_written += count;
        } else {
            self.writer.written(count);
        }
    }

    /// It is over; it will be tried again after a pause, unless it is [`shut_down`](Self::shut_down).
    pub fn lost(&mut self, lost: &Lost, now: ReceiveTime, random: &mut Rng) {
        let ours = matches!(lost, Lost::Ours(_));
        self.counts.lost_total += u64::from(!ours);
        self.counts.rolled_total += u64::from(ours);
        if let State::Live { since } = self.state
            && now.since_ns(since) >= GOOD_NS_MIN
        {
            self.failures = 0;
        }
        let doubled = BACKOFF_NS_MIN.saturating_mul(1 << self.failures.min(20)).min(BACKOFF_NS_MAX);
        self.failures = self.failures.saturating_add(1);
        let mut pause_ns = doubled / 2 + random.u64(0..=doubled / 2);
        if let Lost::Refused { retry_after_s: Some(seconds), .. } = lost {
            pause_ns = pause_ns.max(seconds.saturating_mul(1_000_000_000));
        }
        self.is_old = false;
        if ours && !matches!(self.state, State::Down) {
            self.state = State::Spare;
        } else if !matches!(self.state, State::Down) {
            self.state = State::Waiting { until: now.plus_ns(pause_ns) };
        }
        self.changes.clear();
        self.in_flight.clear();
        self.request.clear();
        self.request_written = 0;
        self.ask = Some(Ask::Close);
    }

    /// Ends it for good, with a close frame that the shell may still write.
    pub fn shut_down(&mut self, random: &mut Rng) {
        if self.is_live() {
            let _ = self.writer.close(CloseCode::Away, "", random.u32(..).to_le_bytes());
        }
        self.state = State::Down;
    }

    /// When [`timeout`](Self::timeout) has something to do.
    pub fn deadline(&self) -> Option<ReceiveTime> {
        match &self.state {
            State::Waiting { until } => Some(*until),
            State::Opening { deadline } | State::Shaking { deadline, .. } => Some(*deadline),
            State::Live { since } => {
                let mut at = ReceiveTime::from_ns(u64::MAX);
                if !self.streams.is_empty() {
                    at = self.last_receive.plus_ns(self.limits.silence_ms_max * 1_000_000);
                }
                if self.limits.ping_every_ms > 0 {
                    at = at.min(self.last_ping.plus_ns(self.limits.ping_every_ms * 1_000_000));
                }
                if self.limits.age_s_max > 0 && !self.is_old {
                    let age_ns = self.limits.age_s_max * 1_000_000_000;
                    at = at.min(since.plus_ns(age_ns.saturating_sub(ROLL_BEFORE_NS)));
                }
                if let Some(deadline) = self.in_flight.deadline() {
                    at = at.min(deadline);
                }
                if !self.changes.is_empty() || self.greetings_sent != usize::MAX {
                    // At the earliest when the oldest of the last second's messages is out of it.
                    at = at
                        .min(self.sent.front().map_or(self.last_receive, |sent| sent.plus_ns(1_000_000_000)));
                }
                Some(at)
            }
            State::Spare | State::Down => None,
        }
    }
}

/// Remembers when a message left. Only as many as the limit speaks of: a venue that pings for weeks fills no memory.
fn note(sent: &mut VecDeque<ReceiveTime>, limits: &ConnectionLimits, now: ReceiveTime) {
    if sent.len() >= (limits.messages_per_s_max as usize).max(2) {
        sent.pop_front();
    }
    sent.push_back(now);
}
