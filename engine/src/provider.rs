//! One provider: its connections, its REST requests within the venue's limits, and the pipeline they feed.
//!
//! The shell opens sockets and sends requests as it is asked to, hands over bytes and answers with the time, and calls
//! [`Provider::flush`] when a read batch is over. All decisions are here, so replay, simulation and live make the same.

mod rest;

pub use rest::{RestCounts, RestId};

use std::collections::VecDeque;

use fastrand::Rng;

use crate::connection::{Connection, Lost};
use crate::directory::ListingError;
use crate::event::BookReason;
use crate::ids::{InstrumentId, LineId, Listing, StreamId};
use crate::pipeline::{FrameOutcome, Pipeline, Readiness, Want};
use crate::probe::Probe;
use crate::raw::Notice;
use crate::time::ReceiveTime;
use crate::venue::{RestRequest, Venue};

use rest::{Purpose, RestQueue};

/// Frames taken from one connection before the others have their turn.
pub const FRAMES_PER_TURN_MAX: usize = 256;

/// What a provider is made of, beside its pipeline.
#[derive(Clone, Debug)]
pub struct ProviderOptions {
    /// What the WebSocket handshake names as host, with the port where it is not the scheme's.
    pub websocket_host: String,
    /// Bytes of the longest message that is taken.
    pub message_bytes_max: usize,
    /// Levels a side of a REST snapshot.
    pub snapshot_levels: usize,
    /// Share of the venue's REST limit that this provider may use, in thousandths.
    pub rest_share_permille: u32,
    /// Between two verifications of one book, in nanoseconds; 0 for none.
    pub verify_every_ns: u64,
    /// Seed of mask keys, handshake keys and jitter.
    pub seed: u64,
}

/// Something that an operator wants to know. Rare; never one per event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A connection shook hands.
    Connected(LineId),
    /// A connection is over.
    Lost(LineId, Lost),
    /// The venue refused a subscription.
    SubscriptionRefused {
        /// On which connection.
        line: LineId,
        /// The venue's code, 0 if it has none.
        code: i64,
        /// The venue's words.
        reason: String,
        /// The streams that the request named, as `symbol channel`.
        streams: Vec<String>,
    },
    /// The venue's instrument list does not have a symbol, or does not trade it.
    Unlisted {
        /// Canonical symbol.
        symbol: String,
        /// The venue's spelling that was looked for.
        venue_symbol: String,
    },
    /// A REST request failed and will be tried again.
    RestFailed {
        /// Path without the query.
        path: String,
        /// Why.
        reason: String,
    },
    /// The venue told us to slow down.
    RestPaused {
        /// HTTP status, 429 or 418.
        status: u16,
        /// For how long, in seconds.
        seconds: u64,
    },
    /// The venue announced that it closes connections.
    ShutdownSoon(LineId),
    /// A new line has taken over from an old one.
    Rolled {
        /// The old one.
        from: LineId,
        /// The new one.
        to: LineId,
    },
    /// Every book was proved, for the first time.
    BooksProved {
        /// How many there are.
        books: usize,
        /// After the start, in nanoseconds.
        after_ns: u64,
        /// REST requests sent until then.
        rest_requests: u64,
        /// Their weight, in the venue's units.
        rest_weight: u64,
        /// Subscription messages sent until then, on all connections.
        messages: u64,
    },
}

impl std::fmt::Display for Happening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connected(line) => write!(f, "line {line} connected"),
            Self::Lost(line, lost) => write!(f, "line {line}: {lost}"),
            Self::SubscriptionRefused { line, code, reason, streams } => {
                write!(
                    f,
                    "subscribe failed on line {line}: {reason} ({code}), streams {}",
                    streams.join(", ")
                )
            }
            Self::Unlisted { symbol, venue_symbol } => {
                write!(f, "instrument failed: {symbol} is not listed, or not trading, as {venue_symbol}")
            }
            Self::RestFailed { path, reason } => write!(f, "GET {path} failed: {reason}"),
            Self::RestPaused { status, seconds } => write!(f, "REST paused for {seconds} s: HTTP {status}"),
            Self::Rolled { from, to } => write!(f, "line {to} took over from line {from}"),
            Self::ShutdownSoon(line) => write!(f, "line {line}: the venue announced a shutdown"),
            Self::BooksProved { books, after_ns, rest_requests, rest_weight, messages } => write!(
                f,
                "{books} books proved after {:.2} s: {messages} subscription messages, {rest_requests} REST requests of \
                 weight {rest_weight}",
                *after_ns as f64 / 1e9,
            ),
        }
    }
}

/// A provider without sockets.
#[derive(Debug)]
pub struct Provider<V> {
    /// Frames to events.
    pub pipeline: Pipeline<V>,
    options: ProviderOptions,
    connections: Vec<Connection>,
    rest: RestQueue,
    rng: Rng,
    happenings: VecDeque<Happening>,
    /// Lines that one group of streams has, the spare one included.
    lines_per_group: usize,
    rolls: Vec<Roll>,
    verify_at: ReceiveTime,
    verify_next: usize,
    started_at: ReceiveTime,
    /// All books have been proved once.
    was_proved: bool,
    /// Connections wait until the instrument list was answered, or has failed once.
    listed: bool,
    /// Answers to the question for the instrument list, and failures to get one.
    lists_total: u64,
    lists_failed_total: u64,
    /// By stream: whether its subscription is wanted at the venue.
    carried: Vec<bool>,
    stopping: bool,
    /// Whole frames wait in a connection's buffer because no pool slot was free; when to look at them again.
    stalled_until: Option<ReceiveTime>,
}

/// A line that takes over from another.
#[derive(Clone, Copy, Debug)]
struct Roll {
    from: LineId,
    to: LineId,
    /// When the new line had all its subscriptions.
    subscribed_at: Option<ReceiveTime>,
}

/// How long a new line runs beside the old one before that is dropped, in nanoseconds: both must show the same.
const ROLL_OVERLAP_NS: u64 = 1_000_000_000;

/// No connection has room for another stream, and no more connections fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no connection has room for another stream")]
pub struct NoRoom;

/// Happenings kept for the shell; a flood drops the oldest.
const HAPPENINGS_MAX: usize = 256;

impl<V: Venue> Provider<V> {
    /// A provider that begins at `now`: it asks for the instrument list, then connects.
    pub fn new(pipeline: Pipeline<V>, options: ProviderOptions, now: ReceiveTime) -> Self {
        let limits = pipeline.venue.limits();
        // The pipeline counts the spare line too: while a roll lasts, it is one more that carries the same streams.
        let lines_per_group = usize::from(pipeline.options().lines).max(1);
        let spare_from = if lines_per_group > 1 { lines_per_group - 1 } else { 1 };
        let mut connections = Vec::new();
        for group in groups(&pipeline, limits.streams_max) {
            for number in 0..lines_per_group {
                let line = LineId(connections.len() as u8);
                let host = &options.websocket_host;
                let bytes_max = options.message_bytes_max;
                let connection = Connection::new(&pipeline.venue, line, host, group.clone(), bytes_max, now);
                connections.push(if number >= spare_from { connection.as_spare() } else { connection });
            }
        }
        let weight_max = u64::from(limits.rest_weight_max) * u64::from(options.rest_share_permille) / 1_000;
        let mut rest = RestQueue::new(weight_max as u32, limits.rest_window_s);
        rest.ask(Purpose::Instruments, pipeline.venue.instruments_request(), now);
        let rng = Rng::with_seed(options.seed);
        let mut provider = Self {
            pipeline,
            options,
            connections,
            rest,
            rng,
            happenings: VecDeque::new(),
            lines_per_group,
            rolls: Vec::new(),
            verify_at: now,
            verify_next: 0,
            started_at: now,
            was_proved: false,
            listed: false,
            lists_total: 0,
            lists_failed_total: 0,
            carried: Vec::new(),
            stopping: false,
            stalled_until: None,
        };
        provider.carried = vec![true; provider.pipeline.directory.streams().len()];
        provider.pipeline.set_line_count(provider.connections.len());
        provider
    }

    /// Its connections, by line number.
    pub fn connections(&self) -> &[Connection] {
        &self.connections
    }

    /// One of its connections, for the shell to write and to ask.
    pub fn connection_mut(&mut self, line: LineId) -> &mut Connection {
        &mut self.connections[line.index()]
    }

    /// The socket of `line` is open.
    pub fn opened(&mut self, line: LineId, now: ReceiveTime, probe: &mut impl Probe) {
        if let Err(lost) = self.connections[line.index()].opened(now, &mut self.rng) {
            self.lost(line, lost, now, probe);
        }
    }

    /// The shell has read `count` bytes into the connection's space. Takes the frames that are whole now, and returns
    /// how many; call again, without reading, when that was [`FRAMES_PER_TURN_MAX`].
    #[inline]
    pub fn received(
        &mut self,
        line: LineId,
        count: usize,
        now: ReceiveTime,
        probe: &mut impl Probe,
    ) -> usize {
        let connection = &mut self.connections[line.index()];
        if count > 0 {
            let was_live = connection.is_live();
            if let Err(lost) = connection.filled(count, now) {
                self.lost(line, lost, now, probe);
                return 0;
            }
            if !was_live && connection.is_live() {
                self.pipeline.line_opened(line);
                self.count_lines(line);
                self.happened(Happening::Connected(line));
            }
        }
        self.take_frames(line, now, probe)
    }

    /// Takes whole frames of a connection, at most [`FRAMES_PER_TURN_MAX`].
    #[inline]
    pub fn take_frames(&mut self, line: LineId, now: ReceiveTime, probe: &mut impl Probe) -> usize {
        for handled in 0..FRAMES_PER_TURN_MAX {
            if let Readiness::Wait { deadline } = self.pipeline.readiness(now) {
                self.stalled_until = Some(deadline);
                return handled;
            }
            let connection = &mut self.connections[line.index()];
            if !connection.is_live() {
                return handled;
            }
            let outcome = match connection.next_text(&mut self.rng, now) {
                Ok(Some(text)) => self.pipeline.frame(line, text, now, probe),
                Ok(None) => return handled,
                Err(lost) => {
                    self.lost(line, lost, now, probe);
                    return handled;
                }
            };
            if let FrameOutcome::Notice(notice) = outcome {
                self.notice(line, &notice);
            }
        }
        FRAMES_PER_TURN_MAX
    }

    #[cold]
    fn notice(&mut self, line: LineId, notice: &Notice) {
        match notice {
            Notice::Refused { request, code, reason } => {
                let connection = &self.connections[line.index()];
                let streams =
                    request.map(|request| connection.streams_of_request(request)).unwrap_or_default();
                let streams = streams.iter().map(|&stream| self.stream_name(stream)).collect();
                let (code, reason) = (*code, reason.to_string());
                self.happened(Happening::SubscriptionRefused { line, code, reason, streams });
            }
            Notice::ShutdownSoon => {
                self.happened(Happening::ShutdownSoon(line));
                let now = self.connections[line.index()].last_receive();
                self.roll(line, now);
            }
            _ => {}
        }
        self.connections[line.index()].notice(notice);
    }

    fn stream_name(&self, stream: StreamId) -> String {
        let carried = self.pipeline.directory.carries(stream);
        format!("{} {}", self.pipeline.directory.instrument(carried.listing).symbol, carried.channel)
    }

    /// A connection is over, whoever ended it. Its books are stale unless another line carries them.
    #[cold]
    pub fn lost(&mut self, line: LineId, lost: Lost, now: ReceiveTime, probe: &mut impl Probe) {
        let connection = &mut self.connections[line.index()];
        if connection.is_over() {
            // The venue's close frame came before the end of its socket: told already, and not two failures.
            return;
        }
        let was_live = connection.is_live();
        connection.lost(&lost, now, &mut self.rng);
        if was_live {
            let streams = self.connections[line.index()].streams().to_vec();
            let others = |stream: &StreamId| {
                self.connections.iter().any(|other| other.is_live() && other.streams().contains(stream))
            };
            let alone: Vec<StreamId> = streams.iter().copied().filter(|stream| !others(stream)).collect();
            let reason =
                if matches!(lost, Lost::Silent(_)) { BookReason::Silent } else { BookReason::ConnectionLost };
            self.pipeline.line_lost(line, &streams, &alone, reason, now, probe);
            self.count_lines(line);
        }
        if matches!(lost, Lost::Ours(_)) {
            return;
        }
        self.happened(Happening::Lost(line, lost));
    }

    /// How many live lines carry the streams of `line` now: with two, one may fill the holes of the other.
    fn count_lines(&mut self, line: LineId) {
        let group = self.group_of(line);
        let live = self.connections[group.clone()].iter().filter(|connection| connection.is_live()).count();
        for stream in self.connections[group.start].streams().to_vec() {
            self.pipeline.set_may_fill(stream, live > 1);
        }
    }

    /// The lines that carry the same streams as `line`.
    fn group_of(&self, line: LineId) -> std::ops::Range<usize> {
        let start = line.index() / self.lines_per_group * self.lines_per_group;
        start..start + self.lines_per_group
    }

    /// Opens the spare line of a group beside `from`, which ends once the new one carries all that it does. Returns
    /// whether there is a spare line.
    pub fn roll(&mut self, from: LineId, now: ReceiveTime) -> bool {
        let group = self.group_of(from);
        let busy = self.rolls.iter().any(|roll| group.contains(&roll.from.index()));
        let spare = self.connections[group].iter_mut().find(|connection| connection.is_spare());
        let (Some(spare), false) = (spare, busy) else { return false };
        spare.start(now);
        self.rolls.push(Roll { from, to: spare.line(), subscribed_at: None });
        true
    }

    /// Goes on with the rolls under way.
    fn go_on_rolling(&mut self, now: ReceiveTime, probe: &mut impl Probe) {
        for line in 0..self.connections.len() {
            if self.connections[line].is_old() {
                self.roll(LineId(line as u8), now);
            }
        }
        let mut index = 0;
        while index < self.rolls.len() {
            let Roll { from, to, subscribed_at } = self.rolls[index];
            let new = &self.connections[to.index()];
            if !new.is_subscribed() {
                self.rolls[index].subscribed_at = None;
                index += 1;
                continue;
            }
            let since = *self.rolls[index].subscribed_at.get_or_insert(now);
            let joined = self.pipeline.line_is_proved(to, new.streams());
            if subscribed_at.is_none() || now.since_ns(since) < ROLL_OVERLAP_NS || !joined {
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

    /// Asks for the next verification when it is due: one book at a time, all of them once in the configured time.
    fn verify(&mut self, now: ReceiveTime) {
        let count = self.pipeline.directory.instruments().len();
        if self.options.verify_every_ns == 0 || count == 0 || now < self.verify_at {
            return;
        }
        self.verify_at = now.plus_ns(self.options.verify_every_ns / count as u64);
        let listing = Listing((self.verify_next % count) as u16);
        self.verify_next += 1;
        if self.pipeline.begin_verification(listing) {
            let levels = self.options.snapshot_levels;
            let request = self.pipeline.venue.snapshot_request(&self.pipeline.directory, listing, levels);
            match request {
                Some(request) => self.rest.ask(Purpose::Verification(listing), request, now),
                None => self.pipeline.end_verification(listing),
            }
        }
    }

    fn happened(&mut self, happening: Happening) {
        if self.happenings.len() == HAPPENINGS_MAX {
            self.happenings.pop_front();
        }
        self.happenings.push_back(happening);
    }

    /// Whether [`timeout`](Self::timeout) has something to do now, whatever [`deadline`](Self::deadline) said before.
    #[inline]
    pub fn needs_attention(&self) -> bool {
        self.pipeline.has_wants() || !self.happenings.is_empty()
    }

    /// What an operator wants to know, oldest first.
    pub fn poll_happening(&mut self) -> Option<Happening> {
        self.happenings.pop_front()
    }

    /// Does what is due. Call it when [`deadline`](Self::deadline) has come, and once a turn that did something.
    pub fn timeout(&mut self, now: ReceiveTime, probe: &mut impl Probe) {
        self.pipeline.timeout(now, probe);
        if self.stalled_until.is_some_and(|until| now >= until) {
            self.resume(now, probe);
        }
        while let Some(want) = self.pipeline.poll_want() {
            self.want(want, now);
        }
        if !self.listed || self.stopping {
            return;
        }
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            let due = connection.timeout(&self.pipeline.venue, &self.pipeline.directory, now, &mut self.rng);
            if let Err(lost) = due {
                self.lost(LineId(index as u8), lost, now, probe);
            }
        }
        self.go_on_rolling(now, probe);
        self.verify(now);
        if !self.was_proved {
            self.look_for_first_proof(now);
        }
    }

    /// Says once how long the start took, and what it took of the venue's limits.
    #[cold]
    fn look_for_first_proof(&mut self, now: ReceiveTime) {
        let (proved, books) = self.books_proved();
        if proved < books || books == 0 {
            return;
        }
        self.was_proved = true;
        let counts = self.rest.counts();
        let (rest_requests, rest_weight) = (counts.sent_total, counts.weight_total);
        let messages = self.connections.iter().map(|line| line.counts.subscription_messages_total).sum();
        let after_ns = now.since_ns(self.started_at);
        self.happened(Happening::BooksProved { books, after_ns, rest_requests, rest_weight, messages });
    }

    /// Takes the frames that had to wait for a pool slot: no byte need come to push them through.
    #[cold]
    fn resume(&mut self, now: ReceiveTime, probe: &mut impl Probe) {
        self.stalled_until = None;
        for index in 0..self.connections.len() {
            if self.take_frames(LineId(index as u8), now, probe) == FRAMES_PER_TURN_MAX {
                self.stalled_until = Some(now);
            }
        }
    }

    fn want(&mut self, want: Want, now: ReceiveTime) {
        match want {
            Want::Snapshot(listing) => {
                let levels = self.options.snapshot_levels;
                let request = self.pipeline.venue.snapshot_request(&self.pipeline.directory, listing, levels);
                if let Some(request) = request {
                    self.rest.ask(Purpose::Snapshot(listing), request, now);
                }
            }
            Want::Resubscribe(stream, line) => {
                for connection in &mut self.connections {
                    let meant = line.is_none_or(|line| line == connection.line());
                    if meant && connection.streams().contains(&stream) {
                        connection.resubscribe(stream);
                    }
                }
            }
            Want::Trades { stream, from, to } => {
                let listing = self.pipeline.directory.carries(stream).listing;
                let request = self.pipeline.venue.trades_request(&self.pipeline.directory, listing, from, to);
                match request {
                    Some(request) => self.rest.ask(Purpose::Trades(stream), request, now),
                    None => self.pipeline.trades_filled(stream),
                }
            }
        }
    }

    /// The next REST request that may be sent now.
    pub fn poll_rest(&mut self, now: ReceiveTime) -> Option<(RestId, RestRequest)> {
        self.rest.next(now)
    }

    /// The venue answered a request. The body may be changed.
    pub fn rest_answered(
        &mut self,
        id: RestId,
        status: u16,
        retry_after_s: Option<u64>,
        body: &mut [u8],
        now: ReceiveTime,
        probe: &mut impl Probe,
    ) {
        let Some((purpose, request)) = self.rest.take(id) else { return };
        // A snapshot lets go of what waited for it, so slots may be free now.
        self.stalled_until = self.stalled_until.map(|_| now);
        if let Some(seconds) = self.rest.pause_for(status, retry_after_s, now) {
            self.happened(Happening::RestPaused { status, seconds });
        }
        if status != 200 {
            let text = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
            self.rest_failed_for(purpose, request, format!("HTTP {status}: {text}"), now);
            return;
        }
        match self.pipeline.rest(&request.path, body, now, probe) {
            FrameOutcome::Done => match purpose {
                // The book could not use it and wants another: not at once, or it would spend everybody's weight.
                Purpose::Snapshot(listing) if self.pipeline.snapshot_wanted(listing) => {
                    self.rest.unusable(purpose);
                }
                _ => self.rest.succeeded(purpose),
            },
            FrameOutcome::Notice(Notice::Refused { code, reason, .. }) => {
                self.rest_failed_for(purpose, request, format!("{reason} ({code})"), now);
                return;
            }
            FrameOutcome::Notice(_) => {}
            FrameOutcome::Undecodable(error) => {
                self.rest_failed_for(purpose, request, error.to_string(), now);
                return;
            }
        }
        match purpose {
            Purpose::Instruments => {
                self.listed = true;
                self.lists_total += 1;
                self.name_unlisted();
            }
            Purpose::Trades(stream) => self.pipeline.trades_filled(stream),
            Purpose::Snapshot(_) | Purpose::Verification(_) => {}
        }
    }

    /// There is no answer to a request.
    pub fn rest_failed(&mut self, id: RestId, reason: String, now: ReceiveTime) {
        if let Some((purpose, request)) = self.rest.take(id) {
            self.rest_failed_for(purpose, request, reason, now);
        }
    }

    #[cold]
    fn rest_failed_for(&mut self, purpose: Purpose, request: RestRequest, reason: String, now: ReceiveTime) {
        let path = request.path.split('?').next().unwrap_or_default().to_owned();
        match purpose {
            // Not worth a second try: the next one comes in its time, and a hole in trades is declared.
            Purpose::Verification(listing) => {
                self.pipeline.end_verification(listing);
                self.rest.given_up();
                self.happened(Happening::RestFailed { path, reason });
                return;
            }
            Purpose::Trades(stream) => {
                self.pipeline.trades_filled(stream);
                self.rest.given_up();
                self.happened(Happening::RestFailed { path, reason });
                return;
            }
            Purpose::Instruments | Purpose::Snapshot(_) => {}
        }
        // Without a list the widest text sets each scale: the gateway works, so it does not wait for a second try.
        self.listed |= purpose == Purpose::Instruments;
        self.lists_failed_total += u64::from(purpose == Purpose::Instruments);
        self.rest.again(purpose, request, now, &mut self.rng);
        self.happened(Happening::RestFailed { path, reason });
    }

    fn name_unlisted(&mut self) {
        let instruments = self.pipeline.directory.instruments().iter();
        let unlisted: Vec<Happening> = instruments
            .filter(|instrument| !instrument.trading)
            .map(|instrument| Happening::Unlisted {
                symbol: instrument.symbol.clone(),
                venue_symbol: instrument.venue_symbol.clone(),
            })
            .collect();
        for happening in unlisted {
            self.happened(happening);
        }
    }

    /// Adds an instrument, known by nothing but its names, and asks the venue for its list once more.
    ///
    /// Until [`lists_total`](Self::lists_total) has grown nobody knows whether the venue has it; then its `trading` says so.
    ///
    /// # Errors
    /// [`ListingError`]
    #[cold]
    pub fn list(
        &mut self,
        venue_symbol: &str,
        symbol: &str,
        id: InstrumentId,
        now: ReceiveTime,
    ) -> Result<Listing, ListingError> {
        let known = self.pipeline.directory.find(venue_symbol.as_bytes());
        let listing = self.pipeline.directory.add(venue_symbol, symbol, id)?;
        if known.is_none() {
            self.pipeline.directory.instrument_mut(listing).trading = false;
        }
        self.rest.ask(Purpose::Instruments, self.pipeline.venue.instruments_request(), now);
        Ok(listing)
    }

    /// Instrument lists that have come, and those that could not be had.
    pub const fn lists_total(&self) -> (u64, u64) {
        (self.lists_total, self.lists_failed_total)
    }

    /// Whether a stream's subscription is wanted at the venue.
    pub fn carries(&self, stream: StreamId) -> bool {
        self.carried.get(stream.index()).copied().unwrap_or(false)
    }

    /// Subscribes a stream at the venue, or ends its subscription there; no other stream notices. Repeating it changes
    /// nothing.
    ///
    /// # Errors
    /// [`NoRoom`]; nothing has changed then.
    #[cold]
    pub fn carry(&mut self, stream: StreamId, wanted: bool, now: ReceiveTime) -> Result<(), NoRoom> {
        if self.carries(stream) == wanted {
            return Ok(());
        }
        if wanted {
            let group = self.group_for(stream, now).ok_or(NoRoom)?;
            self.pipeline.begin_stream(stream);
            for line in self.lines_of(group) {
                self.connections[line].change(true, stream, now);
            }
        } else {
            self.pipeline.end_stream(stream);
            for connection in &mut self.connections {
                if connection.streams().contains(&stream) {
                    connection.change(false, stream, now);
                }
            }
        }
        if self.carried.len() <= stream.index() {
            self.carried.resize(stream.index() + 1, false);
        }
        self.carried[stream.index()] = wanted;
        Ok(())
    }

    /// The connections of a group: one for each line.
    fn lines_of(&self, group: usize) -> std::ops::Range<usize> {
        let lines = usize::from(self.pipeline.options().lines).max(1);
        group * lines..(group + 1) * lines
    }

    /// The group of connections for a new stream: where its instrument is already, else the first with room, else a new one.
    fn group_for(&mut self, stream: StreamId, now: ReceiveTime) -> Option<usize> {
        let limits = self.pipeline.venue.limits();
        let lines = usize::from(self.pipeline.options().lines).max(1);
        let listing = self.pipeline.directory.carries(stream).listing;
        let siblings: Vec<StreamId> = self.pipeline.directory.streams_of(listing).map(|(_, id)| id).collect();
        let groups = self.connections.len() / lines;
        let streams_in = |group: usize| self.connections[group * lines].streams();
        let has_room = |&group: &usize| streams_in(group).len() < limits.streams_max;
        let at_home = |&group: &usize| streams_in(group).iter().any(|known| siblings.contains(known));
        let found = (0..groups).filter(has_room).find(at_home).or_else(|| (0..groups).find(has_room));
        if found.is_some() {
            return found;
        }
        if self.connections.len() + lines > usize::from(u8::MAX) {
            return None;
        }
        for number in 0..lines {
            let line = LineId(self.connections.len() as u8);
            let (host, bytes_max) = (&self.options.websocket_host, self.options.message_bytes_max);
            let connection = Connection::new(&self.pipeline.venue, line, host, Vec::new(), bytes_max, now);
            let is_spare = number > 0 && number + 1 == lines;
            self.connections.push(if is_spare { connection.as_spare() } else { connection });
        }
        self.pipeline.set_line_count(self.connections.len());
        Some(groups)
    }

    /// Instruments whose book is wanted and not proved.
    pub fn books_unproved(&self) -> impl Iterator<Item = Listing> + '_ {
        self.books().filter(|(_, proved)| !proved).map(|(listing, _)| listing)
    }

    /// Instruments with a book whose stream is wanted at the venue, and whether it is proved.
    fn books(&self) -> impl Iterator<Item = (Listing, bool)> + '_ {
        let count = self.pipeline.directory.instruments().len();
        (0..count).map(|index| Listing(index as u16)).filter_map(|listing| {
            let book = self.pipeline.book_of(listing)?;
            let mut streams = self.pipeline.directory.streams_of(listing);
            streams
                .any(|(channel, stream)| channel.is_book() && self.carries(stream))
                .then(|| (listing, book.status() == crate::event::BookStatus::Proved))
        })
    }

    /// Ends a read batch: events become visible to the consumer shards. `published` gets each output with something new.
    #[inline]
    pub fn flush(&mut self, probe: &mut impl Probe, published: impl FnMut(usize)) {
        self.pipeline.flush(probe, published);
    }

    /// When [`timeout`](Self::timeout) or [`poll_rest`](Self::poll_rest) has something to do.
    pub fn deadline(&self, now: ReceiveTime) -> Option<ReceiveTime> {
        let connections = self.connections.iter().filter(|_| self.listed).filter_map(Connection::deadline);
        let mut soonest = connections
            .chain(self.pipeline.deadline())
            .chain(self.rest.deadline(now))
            .chain(self.stalled_until)
            .min();
        if !self.rolls.is_empty() {
            let soon = now.plus_ns(ROLL_LOOK_NS);
            soonest = Some(soonest.map_or(soon, |at| at.min(soon)));
        }
        if self.options.verify_every_ns > 0 && self.listed {
            soonest = Some(soonest.map_or(self.verify_at, |at| at.min(self.verify_at)));
        }
        if self.pipeline.dispatcher.is_congested() {
            // A consumer shard wakes nobody when it has drained its ring: look again soon.
            let soon = now.plus_ns(CONGESTED_LOOK_NS);
            return Some(soonest.map_or(soon, |at| at.min(soon)));
        }
        soonest
    }

    /// Ends all connections for good; what is in the rings stays there.
    pub fn stop(&mut self) {
        self.stopping = true;
        for connection in &mut self.connections {
            connection.shut_down(&mut self.rng);
        }
    }

    /// Books that are proved, and all that are wanted.
    pub fn books_proved(&self) -> (usize, usize) {
        self.books().fold((0, 0), |(proved, all), (_, is_proved)| (proved + usize::from(is_proved), all + 1))
    }

    /// What was counted of its REST requests.
    pub const fn rest_counts(&self) -> &RestCounts {
        self.rest.counts()
    }
}

/// How often a roll under way is looked at, in nanoseconds.
const ROLL_LOOK_NS: u64 = 50_000_000;
/// How soon a congested ring is looked at again, in nanoseconds.
const CONGESTED_LOOK_NS: u64 = 200_000;

/// The streams of a provider in groups that one connection may carry; all streams of an instrument in one group.
fn groups<V: Venue>(pipeline: &Pipeline<V>, streams_max: usize) -> Vec<Vec<StreamId>> {
    let mut groups: Vec<Vec<StreamId>> = vec![Vec::new()];
    for index in 0..pipeline.directory.instruments().len() {
        let streams = pipeline.directory.streams_of(Listing(index as u16)).map(|(_, stream)| stream);
        let streams: Vec<StreamId> = streams.collect();
        let last = groups.last_mut().expect("there is always a group");
        if last.len() + streams.len() > streams_max && !last.is_empty() {
            groups.push(streams);
        } else {
            last.extend(streams);
        }
    }
    for group in &mut groups {
        group.sort_by_key(|&stream| (pipeline.directory.carries(stream).channel, stream));
    }
    groups
}
