//! Order of a stream's messages: what is next is published, what is old is counted, and a hole waits for another line or a
//! REST answer as long as one can still fill it; else a Gap names it.
//!
//! Knows trades, tickers and klines. Books have an order of their own ([`crate::book::BookFeed`]).

use super::streams::StreamState;
use super::streams::{Published, Waiting};
use super::{Pipeline, Want, saturated};
use crate::channel::Channel;
use crate::event::{Body, Event, Flags, Gap, GapReason, Header};
use crate::ids::StreamId;
use crate::probe::{PathStage, Probe};
use crate::raw::{Message, Numbers, Raw};
use crate::sequence::{Hold, Patience, Verdict};
use crate::time::ReceiveTime;
use crate::venue::Venue;

/// How long a stream waits for trades that are fetched by REST, in nanoseconds.
const FILL_NS_MAX: u64 = 5_000_000_000;
/// Trades that are fetched at most; a longer hole is declared at once. One answer of Binance holds as many.
const FILL_TRADES_MAX: u64 = 1_000;

impl<V: Venue> Pipeline<V> {
    /// Orders a message that is one event of one part, and publishes what is next.
    #[inline]
    pub(super) fn ordered(
        &mut self,
        raw: &Raw,
        message: &Message,
        body: Body,
        flags: Flags,
        decoded_after_ns: u32,
        probe: &mut impl Probe,
    ) {
        let redundant = self.options.lines > 1;
        let stream = &mut self.streams[message.stream.index()];
        stream.sequence.counts.offered_total += 1;
        if redundant && stream.is_echo(raw.trace.line(), message) {
            return self.echo(raw, message);
        }
        let numbers = stream.number(&message.numbers);
        let verdict = stream.sequence.verdict(numbers.first, numbers.last);
        let ordered_after_ns = saturated(probe.now().since_ns(raw.receive_time));
        probe.stage(PathStage::Ordered, u64::from(ordered_after_ns));
        let mut header = self.header(raw, message, numbers, flags);
        (header.decoded_after_ns, header.ordered_after_ns) = (decoded_after_ns, ordered_after_ns);
        header.enqueued_after_ns = ordered_after_ns;
        match verdict {
            Verdict::Apply => {
                if redundant {
                    self.joined(raw.trace.line(), message.stream);
                    self.won(raw, message, numbers.last);
                }
                self.streams[message.stream.index()].sequence.advance(numbers.last);
                self.publish(Event { header, body });
                if !self.streams[message.stream.index()].reorder.is_empty() {
                    self.release(message.stream);
                }
            }
            Verdict::Stale if redundant => {
                self.joined(raw.trace.line(), message.stream);
                self.echo(raw, message);
            }
            Verdict::Stale => self.count_stale(message.stream),
            Verdict::Hole { .. } if redundant && self.is_joining(raw.trace.line(), message.stream) => {
                self.leave_event_to_older(raw.trace.line(), Event { header, body }, true);
            }
            Verdict::Hole { from, to } => self.hole(Event { header, body }, true, from, to),
        }
    }

    /// A line brought a message before the others.
    fn won(&mut self, raw: &Raw, message: &Message, number: u64) {
        let line = raw.trace.line();
        if let Some(state) = self.lines.get_mut(line.index()) {
            state.race.won_total += 1;
        }
        let (venue_time, receive_time) = (message.venue_time, raw.receive_time);
        self.streams[message.stream.index()].published =
            Published { line: Some(line), number, venue_time, receive_time };
    }

    /// A line brought what another has brought before.
    fn echo(&mut self, raw: &Raw, message: &Message) {
        self.count_stale(message.stream);
        let Published { line, number, venue_time, receive_time } =
            self.streams[message.stream.index()].published;
        let same = if message.numbers == Numbers::NONE {
            venue_time == message.venue_time
        } else {
            number == message.numbers.last
        };
        let Some(line) = line.filter(|line| same && *line != raw.trace.line()) else { return };
        if let Some(state) = self.lines.get_mut(line.index()) {
            let margin_ns = raw.receive_time.since_ns(receive_time);
            state.race.confirmed_total += 1;
            state.race.margin_ns_total += margin_ns;
            state.race.margin_ns_max = state.race.margin_ns_max.max(margin_ns);
        }
    }

    /// A trade that happened before its subscription. Where the stream begins with it, it is not published but has its
    /// place among the ids. Where trades of the stream were published before, and it follows them, it is one that another
    /// line has yet to bring, or that was missed while there was none: it is published, marked as recovered, else it might
    /// be lost. Where an older line has yet to bring what lies between, it is left to that one too.
    #[cold]
    pub(super) fn unpublished(&mut self, raw: &Raw, message: &Message, trade: crate::event::Trade) {
        let stream = &mut self.streams[message.stream.index()];
        stream.sequence.counts.offered_total += 1;
        let verdict = stream.sequence.verdict(trade.id, trade.id);
        let line = raw.trace.line();
        let is_hole = matches!(verdict, Verdict::Hole { .. });
        if !is_hole {
            self.joined(line, message.stream);
        }
        let stream = &self.streams[message.stream.index()];
        let published = self.options.fill_trades && stream.sequence.counts.applied_total > 0;
        let flags = if published { Flags::WHOLE.with(Flags::RECOVERED) } else { Flags::WHOLE };
        let header = self.header(raw, message, Numbers::single(trade.id), flags);
        let event = Event { header, body: Body::Trade(trade) };
        if is_hole && self.is_joining(line, message.stream) {
            return self.leave_event_to_older(line, event, published);
        }
        self.judged(event, published, verdict);
    }

    /// Does with an event, published or not, what its verdict says.
    #[cold]
    fn judged(&mut self, event: Event, published: bool, verdict: Verdict) {
        match verdict {
            Verdict::Apply => {
                self.pass(event, published);
                self.release(event.header.stream);
            }
            Verdict::Stale => self.count_stale(event.header.stream),
            Verdict::Hole { from, to } => self.hole(event, published, from, to),
        }
    }

    pub(super) fn count_stale(&mut self, stream: StreamId) {
        self.streams[stream.index()].sequence.counts.stale_total += 1;
        self.counts.stale_total += 1;
    }

    /// The event's turn has come.
    fn pass(&mut self, event: Event, published: bool) {
        let sequence = &mut self.streams[event.header.stream.index()].sequence;
        if published {
            sequence.advance(event.header.sequence_last);
            self.publish(event);
        } else {
            sequence.begin_after(event.header.sequence_last);
            self.counts.unpublished_total += 1;
        }
    }

    /// Numbers are missing before `event`: waits for them if they can still come, else declares the hole.
    #[cold]
    fn hole(&mut self, mut event: Event, mut published: bool, from: u64, to: u64) {
        let stream = event.header.stream;
        if !published && self.options.fill_trades {
            // The stream has begun, so the hole is filled or declared; what comes after it must not be missing unsaid.
            published = true;
            event.header.flags = event.header.flags.with(Flags::RECOVERED);
        }
        self.ask_for_trades(&event.header, from, to);
        let state = &mut self.streams[stream.index()];
        if state.may_fill || state.filling_until.is_some() {
            let (first, last) = (event.header.sequence_first, event.header.sequence_last);
            let slot = self.pools.events.take();
            self.counts.pool_empty_total += u64::from(slot.is_none());
            let full = match slot {
                None => true,
                Some(mut slot) => {
                    *slot = event;
                    let waiting = Waiting { event: slot, published };
                    match state.reorder.hold(first, last, event.header.receive_time, waiting) {
                        Hold::Held => {
                            state.sequence.counts.held_total += 1;
                            return;
                        }
                        Hold::Duplicate(_) => return self.count_stale(stream),
                        Hold::Full(_) => true,
                    }
                }
            };
            // Too many wait: give up the oldest hole, and with it perhaps this one.
            if full && !state.reorder.is_empty() {
                self.give_up_hole(stream);
                return self.reoffer(event, published);
            }
        }
        self.declare(&event.header, from, to);
        self.pass(event, published);
    }

    /// Asks for trades that no other line can bring, where the venue offers them by id.
    #[cold]
    fn ask_for_trades(&mut self, header: &Header, from: u64, to: u64) {
        let state = &mut self.streams[header.stream.index()];
        let fetchable =
            self.options.fill_trades && state.channel == Channel::Trade && to - from < FILL_TRADES_MAX;
        if state.may_fill || state.filling_until.is_some() || !fetchable {
            return;
        }
        if self.venue.trades_request(&self.directory, state.listing, from, to).is_some() {
            state.filling_until = Some(header.receive_time.plus_ns(FILL_NS_MAX));
            self.counts.fills_asked_total += 1;
            self.wants.push_back(Want::Trades { stream: header.stream, from, to });
        }
    }

    /// The answer to a request for missing trades was taken, or there is none: what is still missing is declared.
    pub fn trades_filled(&mut self, stream: StreamId) {
        self.streams[stream.index()].filling_until = None;
        while self.streams[stream.index()].reorder.front().is_some() && !self.streams[stream.index()].may_fill
        {
            self.give_up_hole(stream);
        }
    }

    /// Offers an event again after a hole was given up.
    pub(super) fn reoffer(&mut self, event: Event, published: bool) {
        let sequence = &self.streams[event.header.stream.index()].sequence;
        let verdict = sequence.verdict(event.header.sequence_first, event.header.sequence_last);
        self.judged(event, published, verdict);
    }

    /// Declares the first hole of a stream and publishes what waited behind it: at least one message, if any waits.
    pub(super) fn give_up_hole(&mut self, stream: StreamId) {
        let state = &mut self.streams[stream.index()];
        let hole = state.reorder.front_hole(&state.sequence);
        let header = state.reorder.front().map(|waiting| waiting.event.header);
        if let (Some((from, to)), Some(header)) = (hole, header) {
            self.declare(&header, from, to);
            self.streams[stream.index()].sequence.begin_after(to);
        }
        self.release(stream);
    }

    /// Publishes what waited and is next now.
    pub(super) fn release(&mut self, stream: StreamId) {
        loop {
            let state = &mut self.streams[stream.index()];
            let mut stale = 0;
            let ready = state.reorder.next_ready(&mut state.sequence, |_| stale += 1);
            self.counts.stale_total += stale;
            let Some((_, _, Waiting { event, published })) = ready else { return };
            self.pass(*event, published);
        }
    }

    /// Publishes a Gap in the stream of `header`, before the event that showed it.
    fn declare(&mut self, header: &Header, from: u64, to: u64) {
        self.streams[header.stream.index()].sequence.counts.gap_total += 1;
        self.counts.gaps_total += 1;
        let header = Header { sequence_first: from, sequence_last: to, flags: Flags::WHOLE, ..*header };
        let gap = Gap { from, to, event_count: 0, reason: GapReason::Sequence };
        self.publish(Event { header, body: Body::Gap(gap) });
    }

    /// Gives up holes that have waited too long. Call it when [`deadline`](Self::deadline) has come, or as often as you
    /// like: it looks once in `flush_ns`, so that turns of a busy shard do not go through all streams.
    pub fn timeout(&mut self, now: ReceiveTime, probe: &mut impl Probe) {
        if now < self.look_at {
            return;
        }
        self.look_at = now.plus_ns(self.options.patience.flush_ns);
        for index in 0..self.streams.len() {
            loop {
                let state = &self.streams[index];
                let patience = self.patience_of(state);
                if state.reorder.is_empty()
                    || state.reorder.overdue(&state.sequence, &patience, now).is_none()
                {
                    break;
                }
                self.streams[index].filling_until = None;
                self.give_up_hole(StreamId(index as u32));
            }
        }
        self.give_up_book_holes(now, probe);
    }

    pub(super) fn patience_of(&self, state: &StreamState) -> Patience {
        let lateness_ns =
            if state.filling_until.is_some() { FILL_NS_MAX } else { self.options.patience.lateness_ns };
        Patience { lateness_ns, ..self.options.patience }
    }

    /// When the next hole is given up: when it is overdue, and what is held is looked at again.
    pub fn deadline(&self) -> Option<ReceiveTime> {
        let streams = self.streams.iter();
        let holes = streams.filter_map(|stream| stream.reorder.deadline(&self.patience_of(stream)));
        let holes = holes.chain(self.book_hole_deadline()).min().map(|overdue| overdue.max(self.look_at));
        // What is not out is not passed either: a marker goes back by as much.
        let left = self.later.oldest().map(|at| at.plus_ns(self.options.patience.lateness_ns));
        holes.into_iter().chain(left).min()
    }

    /// The end of the input: what waits for missing numbers is published, with its Gaps.
    pub fn finish(&mut self) {
        self.finish_books();
        self.settle_joins();
        for index in 0..self.streams.len() {
            while !self.streams[index].reorder.is_empty() {
                self.give_up_hole(StreamId(index as u32));
            }
        }
    }
}
