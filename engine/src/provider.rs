//! One provider: its connections, its REST requests within the venue's limits, and the pipeline they feed.
//!
//! The shell opens sockets and sends requests as it is asked to, hands over bytes and answers with the time, and calls
//! [`Provider::flush`] when a read batch is over. All decisions are here, so replay, simulation and live make the same.

mod absent;
mod answers;
mod care;
mod carry;
mod delisting;
mod happening;
mod rest;
mod resync;
mod roll;

pub use care::CareCounts;
pub use carry::NoRoom;
pub use happening::Happening;
pub use rest::{RestCounts, RestId};
pub use roll::RollAnswer;

use std::collections::VecDeque;

use fastrand::Rng;

use crate::connection::{Connection, Incoming, Lost};
use crate::event::BookReason;
use crate::ids::{LineId, Listing, StreamId};
use crate::pipeline::{FrameOutcome, Pipeline, Readiness};
use crate::probe::Probe;
use crate::raw::Notice;
use crate::time::ReceiveTime;
use crate::venue::Venue;

use absent::Absents;
use care::Care;
use carry::groups;
use delisting::Standing;
use rest::{Purpose, RestQueue};
use resync::Resyncs;
use roll::Roll;

/// Frames taken from one connection before whoever reads it looks at the clock and at the other connections. A look is less than
/// 26 ns, the frame of a trade 150 to 300.
pub const FRAMES_PER_CALL_MAX: usize = 4;

/// Bytes of frames that are as good as so many frames: 4 KiB of updates deep in books of 10,000 levels were seen to take 0.8 ms on
/// a slow host (`soak turns`).
const BYTES_PER_CALL_MAX: usize = 2 << 10;

/// Bytes of one frame that are decoded in one turn. Coinbase's snapshots of megabytes are read in so many pieces: 64 KiB
/// take about 0.1 ms, and several times that on a slow host, hence half of them.
pub const PIECE_BYTES_MAX: usize = 32 << 10;

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

/// A provider without sockets.
#[derive(Debug)]
pub struct Provider<V: Venue> {
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
    /// Lines that are rolled on command, those under way included.
    commanded: Vec<LineId>,
    care: Care,
    resyncs: Resyncs,
    absents: Absents,
    /// By listing.
    standings: Vec<Standing>,
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

/// Happenings kept for the shell; a flood drops the oldest.
const HAPPENINGS_MAX: usize = 256;

impl<V: Venue> Provider<V> {
    /// A provider that begins at `now`: it asks for the instrument list, then connects.
    pub fn new(mut pipeline: Pipeline<V>, options: ProviderOptions, now: ReceiveTime) -> Self {
        pipeline.work_in_turns();
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
            commanded: Vec::new(),
            care: Care::new(now),
            resyncs: Resyncs::default(),
            absents: Absents::default(),
            standings: Vec::new(),
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
    /// how many; call again, without reading, when that was [`FRAMES_PER_CALL_MAX`], which stands for fewer that were long, too.
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

    /// Takes whole frames of a connection, at most [`FRAMES_PER_CALL_MAX`]. What a turn has left is done first, and one with work
    /// left takes no more.
    #[inline]
    pub fn take_frames(&mut self, line: LineId, now: ReceiveTime, probe: &mut impl Probe) -> usize {
        let mut bytes = 0;
        for handled in 0..FRAMES_PER_CALL_MAX {
            if bytes >= BYTES_PER_CALL_MAX {
                return FRAMES_PER_CALL_MAX;
            }
            if self.pipeline.has_work_left() {
                if handled == 0 {
                    self.pipeline.go_on(probe);
                }
                return FRAMES_PER_CALL_MAX;
            }
            if self.pipeline.waits_to_join(line, now) {
                self.stall(now.plus_ns(JOIN_LOOK_NS));
                return handled;
            }
            if let Readiness::Wait { deadline } = self.pipeline.readiness(now) {
                self.stall(deadline);
                return handled;
            }
            let connection = &mut self.connections[line.index()];
            if !connection.is_live() {
                return handled;
            }
            let seen = connection.has_kept_text();
            let outcome = match connection.next_text(&mut self.rng, now) {
                Ok(Some(Incoming::Text(text))) => {
                    if !seen {
                        probe.frame(line, now, text);
                    }
                    bytes += text.len();
                    let outcome = self.pipeline.frame_piece(line, text, PIECE_BYTES_MAX, now, probe);
                    let Some(outcome) = outcome else {
                        // The rest in the next turn; the other connections have theirs before.
                        connection.keep_text();
                        return FRAMES_PER_CALL_MAX;
                    };
                    outcome
                }
                Ok(Some(Incoming::Oversized { head, bytes })) => {
                    self.pipeline.oversized(line, head, bytes, now, probe);
                    let bytes_max = self.options.message_bytes_max;
                    self.happened(Happening::Oversized { line, bytes, bytes_max });
                    continue;
                }
                Ok(None) => return handled,
                Err(lost) => {
                    self.lost(line, lost, now, probe);
                    return handled;
                }
            };
            if let FrameOutcome::Notice(notice) = outcome {
                self.notice(line, &notice);
                // What was not subscribed is silent, and a silent book looks proved: rather a connection anew, after its pause,
                // than one of which nobody knows what it carries.
                if is_too_fast(&notice) {
                    self.lost(line, Lost::TooFast, now, probe);
                }
            }
        }
        FRAMES_PER_CALL_MAX
    }

    /// Frames wait; they are looked at again then, or sooner.
    #[cold]
    fn stall(&mut self, until: ReceiveTime) {
        self.stalled_until = Some(self.stalled_until.map_or(until, |known| known.min(until)));
    }

    #[cold]
    fn notice(&mut self, line: LineId, notice: &Notice) {
        match notice {
            Notice::Refused { request, code, reason } => {
                let connection = &self.connections[line.index()];
                let streams =
                    request.map(|request| connection.streams_of_request(request)).unwrap_or_default();
                let streams = streams.to_vec();
                let now = self.connections[line.index()].last_receive();
                self.refused(line, *code, reason, &streams, now);
            }
            Notice::ShutdownSoon => {
                self.happened(Happening::ShutdownSoon(line));
                let now = self.connections[line.index()].last_receive();
                self.roll(line, now);
            }
            _ => {}
        }
        let now = self.connections[line.index()].last_receive();
        self.notice_of_instruments(notice, now);
        self.connections[line.index()].notice(notice, self.pipeline.venue.carried());
    }

    /// The venue does not carry these streams on a line.
    #[cold]
    fn refused(&mut self, line: LineId, code: i64, reason: &str, streams: &[StreamId], now: ReceiveTime) {
        for &stream in streams {
            // It may be one that is traded no more.
            self.ask_about(self.pipeline.directory.carries(stream).listing, now);
        }
        let streams = streams.iter().map(|&stream| self.stream_name(stream)).collect();
        self.happened(Happening::SubscriptionRefused { line, code, reason: reason.to_owned(), streams });
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
        self.pipeline.give_up_frame(line);
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
        let retry_ns = self.connections[line.index()].retry_ns(now);
        self.happened(Happening::Lost(line, lost, retry_ns));
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

    fn happened(&mut self, happening: Happening) {
        if self.happenings.len() == HAPPENINGS_MAX {
            self.happenings.pop_front();
        }
        self.happenings.push_back(happening);
    }

    /// Whether [`timeout`](Self::timeout) has something to do now, whatever [`deadline`](Self::deadline) said before.
    #[inline]
    pub fn needs_attention(&self) -> bool {
        self.pipeline.has_wants() || !self.happenings.is_empty() || self.pipeline.has_work_left()
    }

    /// What an operator wants to know, oldest first.
    pub fn poll_happening(&mut self) -> Option<Happening> {
        self.happenings.pop_front()
    }

    /// Does what is due. Call it when [`deadline`](Self::deadline) has come, and once a turn that did something.
    pub fn timeout(&mut self, now: ReceiveTime, probe: &mut impl Probe) {
        if self.pipeline.has_work_left() {
            self.pipeline.go_on(probe);
        }
        self.pipeline.timeout(now, probe);
        if self.stalled_until.is_some_and(|until| now >= until) {
            self.resume(now, probe);
        }
        if self.listed && !self.stopping {
            self.look_after(now, probe);
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
            let unnamed = connection.take_unnamed();
            let line = LineId(index as u8);
            if !unnamed.is_empty() {
                self.refused(line, 0, UNNAMED, &unnamed, now);
            }
            if let Err(lost) = due {
                self.lost(line, lost, now, probe);
            }
        }
        self.go_on_rolling(now, probe);
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
            if self.pipeline.has_work_left()
                || self.take_frames(LineId(index as u8), now, probe) == FRAMES_PER_CALL_MAX
            {
                self.stalled_until = Some(now);
            }
        }
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

    /// Ends a read batch: events become visible to the consumer shards. `published` gets each output with something new. Of
    /// what waits for room `relief_parts` parts are given out at most, and an event more; returns how many.
    #[inline]
    pub fn flush(
        &mut self,
        probe: &mut impl Probe,
        relief_parts: usize,
        published: impl FnMut(usize),
    ) -> usize {
        self.pipeline.flush_within(probe, relief_parts, published)
    }

    /// When [`timeout`](Self::timeout) or [`poll_rest`](Self::poll_rest) has something to do.
    pub fn deadline(&self, now: ReceiveTime) -> Option<ReceiveTime> {
        let connections = self.connections.iter().filter(|_| self.listed).filter_map(Connection::deadline);
        let mut soonest = connections
            .chain(self.pipeline.deadline())
            .chain(self.rest.deadline(now))
            .chain(self.stalled_until)
            .min();
        if !self.rolls.is_empty() || self.is_rolling_all() {
            let hands_over = self.rolls.iter().any(|roll| roll.hands_over);
            let soon = now.plus_ns(if hands_over { HAND_OVER_LOOK_NS } else { ROLL_LOOK_NS });
            soonest = Some(soonest.map_or(soon, |at| at.min(soon)));
        }
        if self.listed && !self.stopping {
            soonest = soonest.into_iter().chain(self.care_deadline()).min();
        }
        if self.pipeline.has_work_left() {
            return Some(now);
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

/// Why a subscription counts as refused that was asked for twice.
const UNNAMED: &str = "asked for twice, and the venue does not name it among those that it carries";
/// How soon a line that waits for an older one is looked at again, in nanoseconds.
const JOIN_LOOK_NS: u64 = 1_000_000;
/// How often a roll under way is looked at, in nanoseconds.
const ROLL_LOOK_NS: u64 = 50_000_000;
/// Between two books that change hands in a roll, in nanoseconds: time for the consumer shards to take the snapshot.
const HAND_OVER_LOOK_NS: u64 = 2_000_000;
/// How soon a congested ring is looked at again, in nanoseconds.
const CONGESTED_LOOK_NS: u64 = 200_000;

/// Whether a request was refused for no other reason than that requests came too fast. Venues say so in words (Coinbase:
/// `rate limit exceeded`, Kraken: `Exceeded msg rate`, Binance: `Too many requests`); what was asked for is right, so it is
/// asked for again.
fn is_too_fast(notice: &Notice) -> bool {
    let Notice::Refused { reason, .. } = notice else { return false };
    ["rate limit", "msg rate", "too many requests"].iter().any(|words| {
        reason.as_bytes().windows(words.len()).any(|text| text.eq_ignore_ascii_case(words.as_bytes()))
    })
}
