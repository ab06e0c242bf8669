//! From bytes to messages: a slot for each frame, its decoding, in pieces where it is long, and what becomes of frames that
//! cannot be decoded.
//!
//! Knows no order and no book beyond giving up those that a lost frame may have concerned.

use super::{FrameOutcome, Pipeline, Readiness, WIDENINGS_MAX, saturated};
use crate::book::BookRule;
use crate::dead_letter::{DeadLetter, DeadReason, Priority};
use crate::directory::Directory;
use crate::event::BookReason;
use crate::ids::{LineId, TraceId};
use crate::pool::{Handle, Taken};
use crate::probe::{PathStage, Probe};
use crate::raw::{DecodeError, Decoded, Notice, Raw};
use crate::time::ReceiveTime;
use crate::venue::Venue;

/// A frame that is read in pieces, between two of them.
#[derive(Debug)]
pub(super) struct Half<P> {
    raw: Handle<Raw>,
    progress: P,
    widenings: usize,
    /// What it said, once it was read to its end: a book of ten thousand levels is applied and published in a turn of its own.
    decoded: Option<Decoded>,
}

/// Where a frame is decoded to. Both are pointers: what a frame says is never moved.
#[derive(Debug)]
pub(super) enum Place {
    /// A slot of the pool, which a book that waits may keep.
    Pooled(Handle<Raw>),
    /// The reserve, for frames that found the pool empty.
    Reserve(Box<Raw>),
}

impl Place {
    #[inline]
    fn raw(&self) -> &Raw {
        match self {
            Self::Pooled(raw) => raw,
            Self::Reserve(raw) => raw,
        }
    }

    #[inline]
    fn raw_mut(&mut self) -> &mut Raw {
        match self {
            Self::Pooled(raw) => raw,
            Self::Reserve(raw) => raw,
        }
    }
}

impl<V: Venue> Pipeline<V> {
    /// Whether a frame may be taken: a slot for it is reserved. When the wait for one has lasted 100 ms, the answer is
    /// yes, with a counted error, until a slot is free again: frames are then decoded where nothing can keep them.
    #[inline]
    pub fn readiness(&mut self, now: ReceiveTime) -> Readiness {
        if self.raw.is_some() { Readiness::Ready } else { self.reserve_raw(now) }
    }

    #[cold]
    fn reserve_raw(&mut self, now: ReceiveTime) -> Readiness {
        if self.raw_given_up {
            self.raw = self.pools.raws.take();
            self.raw_given_up = self.raw.is_none();
            self.counts.pool_timeouts_total += u64::from(self.raw_given_up);
            return Readiness::Ready;
        }
        match self.pools.raws.take_patiently(&mut self.raw_waiting_since, now) {
            Taken::Handle(raw) => self.raw = Some(raw),
            Taken::Wait { deadline } => return Readiness::Wait { deadline },
            Taken::TimedOut => {
                self.raw_given_up = true;
                self.counts.pool_timeouts_total += 1;
            }
        }
        Readiness::Ready
    }

    /// Takes one text frame of `line`, whole. The payload may be changed.
    pub fn frame(
        &mut self,
        line: LineId,
        payload: &mut [u8],
        at: ReceiveTime,
        probe: &mut impl Probe,
    ) -> FrameOutcome {
        let trace = self.trace_frame(line);
        self.decode_and_apply(trace, at, payload, probe, |venue, payload, directory, raw| {
            venue.decode(payload, directory, raw)
        })
    }

    /// Takes about `bytes_max` bytes of a text frame of `line`. `None`: it has not ended; hand it over again, untouched,
    /// before any other frame of that line. What comes of it is what [`frame`](Self::frame) makes of it, as of the time of
    /// its first piece.
    #[inline]
    pub fn frame_piece(
        &mut self,
        line: LineId,
        payload: &mut [u8],
        bytes_max: usize,
        at: ReceiveTime,
        probe: &mut impl Probe,
    ) -> Option<FrameOutcome> {
        if payload.len() <= bytes_max {
            return Some(self.frame(line, payload, at, probe));
        }
        self.long_frame_piece(line, payload, bytes_max, at, probe)
    }

    #[cold]
    fn long_frame_piece(
        &mut self,
        line: LineId,
        payload: &mut [u8],
        bytes_max: usize,
        at: ReceiveTime,
        probe: &mut impl Probe,
    ) -> Option<FrameOutcome> {
        let mut half = if let Some(half) = self.halves[line.index()].take() {
            half
        } else {
            let Some(mut raw) = self.raw.take().or_else(|| self.pools.raws.take()) else {
                // Nothing to keep it in between its pieces.
                return Some(self.frame(line, payload, at, probe));
            };
            begin(&mut raw, self.trace_frame(line), at);
            Half { raw, progress: V::Progress::default(), widenings: 0, decoded: None }
        };
        match self.piece(&mut half, |venue, directory, raw, progress| {
            venue.decode_piece(payload, directory, raw, progress, bytes_max)
        }) {
            None => {
                self.halves[line.index()] = Some(half);
                None
            }
            Some(decoded) => Some(self.half_decoded(decoded, half, payload, probe)),
        }
    }

    /// Reads one more piece of a frame or a body. What it says comes in a call of its own: a book of ten thousand levels is
    /// applied in a turn of its own.
    fn piece(
        &mut self,
        half: &mut Half<V::Progress>,
        decode: impl FnOnce(
            &mut V,
            &mut Directory,
            &mut Raw,
            &mut V::Progress,
        ) -> Result<Option<Decoded>, DecodeError>,
    ) -> Option<Result<Decoded, DecodeError>> {
        let Half { raw, progress, widenings, decoded } = half;
        if let Some(decoded) = decoded.take() {
            return Some(Ok(decoded));
        }
        self.counts.pieces_total += 1;
        match decode(&mut self.venue, &mut self.directory, raw, progress) {
            Ok(outcome) => *decoded = outcome,
            Err(DecodeError::Wider { listing, decimals }) if *widenings < WIDENINGS_MAX => {
                self.directory.widen(listing, decimals);
                self.counts.widenings_total += 1;
                *widenings += 1;
                *progress = V::Progress::default();
                let (trace, at) = (raw.trace, raw.receive_time);
                begin(raw, trace, at);
            }
            Err(error) => return Some(Err(error)),
        }
        None
    }

    /// Goes on with a frame or a body that was read in pieces to its end.
    fn half_decoded(
        &mut self,
        decoded: Result<Decoded, DecodeError>,
        half: Half<V::Progress>,
        payload: &[u8],
        probe: &mut impl Probe,
    ) -> FrameOutcome {
        let (trace, at) = (half.raw.trace, half.raw.receive_time);
        self.decoded(decoded, Place::Pooled(half.raw), payload, trace, at, probe)
    }

    /// The connection of `line` is gone, and with it the rest of a frame that was half read.
    pub fn give_up_frame(&mut self, line: LineId) {
        if self.halves[line.index()].take().is_some() {
            self.counts.halves_given_up_total += 1;
        }
    }

    /// A frame of `line` was too long to be taken, `bytes` in all; `head` is its beginning. The book that it was for, if the
    /// head tells, breaks alone; else those that it may have been for.
    #[cold]
    pub fn oversized(
        &mut self,
        line: LineId,
        head: &[u8],
        bytes: u64,
        at: ReceiveTime,
        probe: &mut impl Probe,
    ) -> FrameOutcome {
        let trace = self.trace_frame(line);
        self.counts.oversized_total += 1;
        let said = self.venue.decode_head(head, &self.directory);
        let outcome = self.reject(DecodeError::Oversized { bytes }, head, trace, at);
        if let Some(number) = said.connection_sequence {
            self.connection_number(line, number, at, probe);
        }
        let book = said.listing.and_then(|listing| {
            self.directory
                .streams_of(listing)
                .find(|(channel, _)| channel.is_book())
                .map(|(_, stream)| stream)
        });
        match book {
            Some(stream) => self.break_book_on(line, stream, BookReason::Oversized, at, probe),
            None if self.venue.book_rule().is_blind() => {
                self.break_books_on(line, BookReason::Oversized, at, probe);
            }
            None => {}
        }
        outcome
    }

    /// Takes the body of the answer to a GET of `path`. The body may be changed.
    pub fn rest(
        &mut self,
        path: &str,
        body: &mut [u8],
        at: ReceiveTime,
        probe: &mut impl Probe,
    ) -> FrameOutcome {
        self.counts.rest_bodies_total += 1;
        let trace = TraceId::new(LineId(u8::MAX), self.counts.rest_bodies_total);
        self.decode_and_apply(trace, at, body, probe, |venue, body, directory, raw| {
            venue.decode_rest(path, body, directory, raw)
        })
    }

    /// As [`rest`](Self::rest), about `bytes_max` bytes of the body. `None`: it has not ended; hand it over again, untouched,
    /// before any other body.
    pub fn rest_piece(
        &mut self,
        path: &str,
        body: &mut [u8],
        bytes_max: usize,
        at: ReceiveTime,
        probe: &mut impl Probe,
    ) -> Option<FrameOutcome> {
        if body.len() <= bytes_max {
            return Some(self.rest(path, body, at, probe));
        }
        let mut half = if let Some(half) = self.rest_half.take() {
            half
        } else {
            let Some(mut raw) = self.raw.take().or_else(|| self.pools.raws.take()) else {
                // Nothing to keep it in between its pieces.
                return Some(self.rest(path, body, at, probe));
            };
            self.counts.rest_bodies_total += 1;
            begin(&mut raw, TraceId::new(LineId(u8::MAX), self.counts.rest_bodies_total), at);
            Half { raw, progress: V::Progress::default(), widenings: 0, decoded: None }
        };
        match self.piece(&mut half, |venue, directory, raw, progress| {
            venue.decode_rest_piece(path, body, directory, raw, progress, bytes_max)
        }) {
            None => {
                self.rest_half = Some(half);
                None
            }
            Some(decoded) => Some(self.half_decoded(decoded, half, body, probe)),
        }
    }

    #[inline]
    fn trace_frame(&mut self, line: LineId) -> TraceId {
        let state = &mut self.lines[line.index()];
        state.frames += 1;
        self.counts.frames_total += 1;
        TraceId::new(line, state.frames)
    }

    #[inline]
    fn decode_and_apply(
        &mut self,
        trace: TraceId,
        at: ReceiveTime,
        payload: &mut [u8],
        probe: &mut impl Probe,
        mut decode: impl FnMut(&mut V, &mut [u8], &mut Directory, &mut Raw) -> Result<Decoded, DecodeError>,
    ) -> FrameOutcome {
        let mut place = match self.raw.take() {
            Some(raw) => Place::Pooled(raw),
            None => self.other_place(),
        };
        let raw = place.raw_mut();
        let mut decoded = self.decode_once(payload, raw, trace, at, &mut decode);
        for _ in 0..WIDENINGS_MAX {
            let Err(DecodeError::Wider { listing, decimals }) = decoded else { break };
            self.directory.widen(listing, decimals);
            self.counts.widenings_total += 1;
            decoded = self.decode_once(payload, raw, trace, at, &mut decode);
        }
        self.decoded(decoded, place, payload, trace, at, probe)
    }

    /// Where a frame goes for which no slot was reserved.
    #[cold]
    fn other_place(&mut self) -> Place {
        match self.pools.raws.take() {
            Some(raw) => Place::Pooled(raw),
            None => Place::Reserve(self.reserve.take().unwrap_or_default()),
        }
    }

    /// Goes on with a frame that was read to its end, into `place`.
    #[inline]
    fn decoded(
        &mut self,
        decoded: Result<Decoded, DecodeError>,
        place: Place,
        payload: &[u8],
        trace: TraceId,
        at: ReceiveTime,
        probe: &mut impl Probe,
    ) -> FrameOutcome {
        let raw = place.raw();
        let decoded_after_ns = probe.now().since_ns(at);
        probe.stage(PathStage::Decoded, decoded_after_ns);
        if self.streams.len() < self.directory.streams().len() {
            self.adopt_streams();
        }
        // Of a frame that is broken the number is not to be relied on either; the next one's shows that it is missing.
        let is_readable = decoded.as_ref().err().is_none_or(|error| !may_hide_an_update(error));
        let next_on_line = match raw.connection_sequence {
            Some(number) if is_readable => self.connection_number(trace.line(), number, at, probe),
            _ => true,
        };
        let mut held = false;
        let outcome = match decoded {
            Err(error) => {
                let outcome = self.reject(error, payload, trace, at);
                if may_hide_an_update(&error) && self.venue.book_rule().is_blind() {
                    self.break_books_on(trace.line(), BookReason::UpdateUndecodable, at, probe);
                }
                outcome
            }
            Ok(Decoded::Notice(notice)) => self.notice(notice),
            // An older number on its connection: the frame was seen before.
            Ok(Decoded::Data) if !next_on_line => {
                let kept = raw.messages.iter().filter(|message| self.keeps(message.listing)).count() as u64;
                self.counts.messages_total += kept;
                self.counts.stale_total += kept;
                FrameOutcome::Done
            }
            Ok(Decoded::Data) => {
                self.batch_since.get_or_insert(at);
                held = self.apply_all(raw, saturated(decoded_after_ns), probe);
                FrameOutcome::Done
            }
        };
        match if held { self.hold(place) } else { Some(place) } {
            Some(Place::Pooled(mut raw)) => {
                Raw::reset(&mut raw);
                self.raw = Some(raw);
            }
            Some(Place::Reserve(raw)) => self.give_back(raw),
            None => {}
        }
        outcome
    }

    #[cold]
    fn give_back(&mut self, mut raw: Box<Raw>) {
        raw.reset();
        self.reserve = Some(raw);
    }

    #[inline]
    fn decode_once(
        &mut self,
        payload: &mut [u8],
        raw: &mut Raw,
        trace: TraceId,
        at: ReceiveTime,
        decode: &mut impl FnMut(&mut V, &mut [u8], &mut Directory, &mut Raw) -> Result<Decoded, DecodeError>,
    ) -> Result<Decoded, DecodeError> {
        begin(raw, trace, at);
        decode(&mut self.venue, payload, &mut self.directory, raw)
    }

    /// Checks the number of a frame on its connection, where the venue numbers frames. Returns whether it is new; a jump
    /// breaks every book of the connection.
    fn connection_number(
        &mut self,
        line: LineId,
        number: u64,
        at: ReceiveTime,
        probe: &mut impl Probe,
    ) -> bool {
        let Some(state) = self.lines.get_mut(line.index()) else { return true };
        match state.connection_sequence {
            Some(last) if number <= last => return false,
            Some(last) if number > last + 1 => {
                state.connection_sequence = Some(number);
                self.counts.connection_gaps_total += 1;
                self.break_books_on(line, BookReason::ConnectionGap, at, probe);
            }
            _ => state.connection_sequence = Some(number),
        }
        true
    }

    /// Counts a frame that could not be decoded and keeps its first bytes.
    #[cold]
    fn reject(
        &mut self,
        error: DecodeError,
        payload: &[u8],
        trace: TraceId,
        at: ReceiveTime,
    ) -> FrameOutcome {
        self.counts.decode_errors_total += 1;
        self.errors.add(error.name());
        let mut letter = DeadLetter::new(DeadReason::Undecodable(error.name()), Priority::Low, at, trace);
        letter.provider = Some(self.directory.provider());
        self.dispatcher.letters.write(letter.with_excerpt(payload));
        FrameOutcome::Undecodable(error)
    }

    fn notice(&mut self, notice: Notice) -> FrameOutcome {
        self.skipped.add(notice.name());
        if let Notice::Accepted { stream: Some(stream), depth: Some(depth), .. } = &notice {
            let listing = self.directory.carries(*stream).listing;
            if let Some(Some(book)) = self.books.get_mut(listing.index()) {
                book.set_depth(usize::from(*depth));
            }
            for standby in self.standby.get_mut(listing.index()).into_iter().flatten() {
                standby.feed.set_depth(usize::from(*depth));
            }
        }
        FrameOutcome::Notice(notice)
    }
}

/// Empties a raw for a frame.
#[inline]
fn begin(raw: &mut Raw, trace: TraceId, at: ReceiveTime) {
    Raw::reset(raw);
    raw.trace = trace;
    raw.receive_time = at;
}

impl BookRule {
    /// Whether an update that is missing would not show in those that follow: nothing numbers or sums them up.
    const fn is_blind(self) -> bool {
        matches!(self, Self::StreamSnapshotConnection | Self::StreamSnapshotUnnumbered)
    }
}

/// Whether a frame that was refused may have held a book update. Channels and symbols that nobody asked for did not.
const fn may_hide_an_update(error: &DecodeError) -> bool {
    !matches!(error, DecodeError::UnknownChannel | DecodeError::UnknownSymbol)
}
