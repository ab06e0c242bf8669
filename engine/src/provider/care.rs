//! What a provider does for streams that say nothing wrong: verifies books in turn, and asks about streams that fell silent.
//!
//! A quiet market is not an outage. A stream that is silent for longer than its own pace explains, on a connection that
//! lives, is asked about and not declared stale: a book is compared with the venue's, trades behind the last one are asked
//! for by REST, and where the venue has no answer the stream is subscribed again. Each further question about the same
//! silence comes after twice the time. Only a stream that turns out to have missed something is named, and made anew.

use super::rest::Purpose;
use super::{Happening, Provider};
use crate::book::BookRule;
use crate::connection::Connection;
use crate::event::{BookReason, BookStatus};
use crate::ids::{Listing, StreamId};
use crate::pipeline::Silence;
use crate::probe::Probe;
use crate::time::ReceiveTime;
use crate::venue::Venue;

/// How often streams are looked at, in nanoseconds.
const LOOK_EVERY_NS: u64 = 1_000_000_000;
/// Longest time between two questions about one silence, in nanoseconds.
const QUESTION_NS_MAX: u64 = 600_000_000_000;
/// The first message within this time of a question is its answer, in nanoseconds.
const ANSWER_NS_MAX: u64 = 5_000_000_000;
/// Trades that are asked for behind the last one.
const TRADES_ASKED: u64 = 100;
/// How long a book without an update waits before a snapshot is asked for, in nanoseconds; it doubles each time.
const QUIET_NS_MIN: u64 = 2_000_000_000;
/// See `QUIET_NS_MIN`.
const QUIET_NS_MAX: u64 = 60_000_000_000;
/// How long a book may take to come to the number of the snapshot that it is compared with, in nanoseconds.
const VERIFICATION_NS_MAX: u64 = 5_000_000_000;

crate::counters! {
    /// What was asked about streams that fell silent.
    pub struct CareCounts {
        /// Questions about streams that were silent for longer than their pace explains.
        silence_checks_total,
        /// Streams that turned out to have missed something, and were made anew.
        dead_streams_total,
        /// Snapshots asked for because a market was so quiet that no update came to prove its book.
        quiet_snapshots_total,
        /// Snapshots asked for again because their subscription was taken and they never came.
        absent_snapshots_total,
        /// Books that were asked for after a pause, because they broke again and again.
        delayed_resyncs_total,
    }
}

/// The questions about one silence.
#[derive(Clone, Copy, Debug, Default)]
struct Spell {
    /// The last message before it.
    since: ReceiveTime,
    asked_count: u32,
    asked_at: ReceiveTime,
    next_at: ReceiveTime,
    /// Last trade before the question that is under way.
    trade_last: Option<u64>,
}

/// A book that waits in a quiet market.
#[derive(Clone, Copy, Debug, Default)]
struct Quiet {
    since: Option<ReceiveTime>,
    asked_count: u32,
}

/// What is remembered from one look to the next.
#[derive(Debug)]
pub(super) struct Care {
    look_at: ReceiveTime,
    verify_at: ReceiveTime,
    verify_next: usize,
    /// A comparison that waits for its book to come to the snapshot's number, and since when.
    compares: Option<(Listing, ReceiveTime)>,
    spells: Vec<Spell>,
    quiet: Vec<Quiet>,
    pub counts: CareCounts,
}

impl Care {
    pub fn new(now: ReceiveTime) -> Self {
        Self {
            look_at: now,
            verify_at: now,
            verify_next: 0,
            compares: None,
            spells: Vec::new(),
            quiet: Vec::new(),
            counts: CareCounts::default(),
        }
    }
}

impl<V: Venue> Provider<V> {
    /// What was asked about streams that fell silent.
    pub const fn care_counts(&self) -> &CareCounts {
        &self.care.counts
    }

    /// When [`look_after`](Self::look_after) has something to do.
    pub(super) fn care_deadline(&self) -> Option<ReceiveTime> {
        let verify_at = (self.options.verify_every_ns > 0).then_some(self.care.verify_at);
        let own =
            [Some(self.care.look_at), verify_at, self.pipeline.top_check_deadline(), self.resyncs.deadline()];
        own.into_iter().flatten().min()
    }

    /// Does what is due.
    pub(super) fn look_after(&mut self, now: ReceiveTime, probe: &mut impl Probe) {
        while let Some((stream, line)) = self.resyncs.poll(now) {
            self.care.counts.delayed_resyncs_total += 1;
            self.resubscribe(stream, line);
        }
        if let Some(listing) = self.pipeline.poll_top_check(now, probe) {
            match self.pipeline.venue.snapshot_request(&self.pipeline.directory, listing, 1) {
                Some(request) => self.rest.ask(Purpose::Top(listing), request, now),
                None => self.pipeline.end_top_check(listing),
            }
        }
        self.verify(now);
        if now < self.care.look_at {
            return;
        }
        self.care.look_at = now.plus_ns(LOOK_EVERY_NS);
        self.look_at_comparison(now, probe);
        for index in 0..self.pipeline.directory.streams().len() {
            let stream = StreamId(index as u32);
            if let Some(silence) = self.pipeline.silence(stream, now)
                && self.is_subscribed(stream)
            {
                self.silent(stream, silence, now);
            }
        }
        for index in 0..self.pipeline.directory.instruments().len() {
            self.look_at_quiet(Listing(index as u16), now);
        }
        self.look_at_absent(now);
    }

    /// Asks for the next verification when it is due: one book at a time, all of them once in the configured time.
    ///
    /// Books with a checksum have verified themselves with every update.
    fn verify(&mut self, now: ReceiveTime) {
        let count = self.pipeline.directory.instruments().len();
        if self.options.verify_every_ns == 0 || count == 0 || now < self.care.verify_at {
            return;
        }
        self.care.verify_at = now.plus_ns(self.options.verify_every_ns / count as u64);
        let listing = Listing((self.care.verify_next % count) as u16);
        self.care.verify_next += 1;
        if self.pipeline.venue.book_rule() != BookRule::StreamSnapshotChecksum {
            self.verify_book(listing, now);
        }
    }

    /// Begins to compare a book with the venue's. Returns whether it could.
    fn verify_book(&mut self, listing: Listing, now: ReceiveTime) -> bool {
        if self.pipeline.begin_top_check(listing, now) {
            return true;
        }
        if !self.pipeline.begin_verification(listing) {
            return false;
        }
        let levels = self.options.snapshot_levels;
        match self.pipeline.venue.snapshot_request(&self.pipeline.directory, listing, levels) {
            Some(request) => self.rest.ask(Purpose::Verification(listing), request, now),
            None => self.pipeline.end_verification(listing),
        }
        true
    }

    /// The snapshot of a verification has come: if it is ahead of the book, the book has a while to catch up.
    pub(super) fn compare_later(&mut self, listing: Listing, now: ReceiveTime) {
        self.care.compares = self.pipeline.verification_waits(listing).then_some((listing, now));
    }

    fn look_at_comparison(&mut self, now: ReceiveTime, probe: &mut impl Probe) {
        let Some((listing, since)) = self.care.compares else { return };
        if !self.pipeline.verification_waits(listing) {
            self.care.compares = None;
            return;
        }
        if now.since_ns(since) < VERIFICATION_NS_MAX {
            return;
        }
        self.care.compares = None;
        if !self.pipeline.end_waiting_verification(listing) {
            return;
        }
        let book = self.pipeline.directory.streams_of(listing).find(|(channel, _)| channel.is_book());
        let Some((_, stream)) = book else { return };
        if self.pipeline.silence(stream, now).is_some() {
            self.pipeline.break_books_of(&[stream], BookReason::Silent, now, probe);
            self.dead(stream);
        }
    }

    /// A stream has missed something although its connection lives: it is named, and made anew.
    fn dead(&mut self, stream: StreamId) {
        self.care.counts.dead_streams_total += 1;
        let name = self.stream_name(stream);
        self.happened(Happening::StreamDead { stream: name });
        self.resubscribe(stream, None);
    }

    pub(super) fn resubscribe(&mut self, stream: StreamId, line: Option<crate::ids::LineId>) {
        self.absents.forget(stream);
        for connection in &mut self.connections {
            let meant = line.is_none_or(|line| line == connection.line());
            if meant && connection.streams().contains(&stream) {
                connection.resubscribe(stream);
            }
        }
    }

    /// Whether a connection that is live carries a stream: `line`, or any.
    pub(super) fn is_live_on(&self, stream: StreamId, line: Option<crate::ids::LineId>) -> bool {
        self.connections.iter().any(|connection| {
            let is_meant = line.is_none_or(|line| line == connection.line());
            is_meant && connection.is_live() && connection.streams().contains(&stream)
        })
    }

    /// Whether a live connection carries a stream, and the venue has taken all its subscriptions.
    fn is_subscribed(&self, stream: StreamId) -> bool {
        let carries = |line: &Connection| line.is_subscribed() && line.streams().contains(&stream);
        self.carries(stream) && self.connections.iter().any(carries)
    }

    /// A stream has been silent for longer than its pace explains: asks about it, if it is time.
    #[cold]
    fn silent(&mut self, stream: StreamId, silence: Silence, now: ReceiveTime) {
        if self.care.spells.len() <= stream.index() {
            self.care.spells.resize(stream.index() + 1, Spell::default());
        }
        let spell = &mut self.care.spells[stream.index()];
        let is_answer = spell.asked_count > 0
            && silence.since >= spell.asked_at
            && silence.since.since_ns(spell.asked_at) < ANSWER_NS_MAX;
        if is_answer {
            // A new subscription begins with what is known already: that is no end of the silence.
            spell.since = silence.since;
        } else if spell.since != silence.since {
            *spell = Spell { since: silence.since, next_at: now, ..Spell::default() };
        }
        if now < spell.next_at {
            return;
        }
        let carried = self.pipeline.directory.carries(stream);
        let trade_last = self.pipeline.last_number(stream);
        let asked = if carried.channel.is_book() {
            self.verify_book(carried.listing, now)
        } else if carried.channel.is_trade() {
            self.ask_for_later_trades(stream, carried.listing, trade_last, now);
            true
        } else {
            self.resubscribe(stream, None);
            true
        };
        if !asked {
            // Another book is being compared: next time.
            return;
        }
        let spell = &mut self.care.spells[stream.index()];
        let pause_ns = silence.ns_max.saturating_mul(1 << spell.asked_count.min(20)).min(QUESTION_NS_MAX);
        spell.next_at = now.plus_ns(pause_ns);
        spell.asked_count += 1;
        spell.asked_at = now;
        spell.trade_last = trade_last;
        self.care.counts.silence_checks_total += 1;
        self.ask_about(carried.listing, now);
    }

    /// Asks for trades behind the last one; where the venue does not offer that, its subscription begins anew.
    fn ask_for_later_trades(
        &mut self,
        stream: StreamId,
        listing: Listing,
        last: Option<u64>,
        now: ReceiveTime,
    ) {
        let request = last.filter(|_| self.pipeline.options().fill_trades).and_then(|last| {
            let (from, to) = (last + 1, last + TRADES_ASKED);
            self.pipeline.venue.trades_request(&self.pipeline.directory, listing, from, to)
        });
        match request {
            Some(request) => self.rest.ask(Purpose::LaterTrades(stream), request, now),
            None => self.resubscribe(stream, None),
        }
    }

    /// The trades behind the last one have come, and are published: if there were any while the stream said nothing, it
    /// is dead.
    pub(super) fn later_trades_came(&mut self, stream: StreamId, now: ReceiveTime) {
        let Some(spell) = self.care.spells.get(stream.index()) else { return };
        let is_same = self.pipeline.silence(stream, now).is_some_and(|silence| silence.since == spell.since);
        if is_same && self.pipeline.last_number(stream) > spell.trade_last {
            self.dead(stream);
        }
    }

    /// A book that waits for an update in a market without any: asks for a snapshot, and then for one to compare with it.
    fn look_at_quiet(&mut self, listing: Listing, now: ReceiveTime) {
        if self.care.quiet.len() <= listing.index() {
            self.care.quiet.resize(listing.index() + 1, Quiet::default());
        }
        let book = self.pipeline.directory.streams_of(listing).find(|(channel, _)| channel.is_book());
        let waits =
            book.is_some_and(|(_, stream)| self.pipeline.is_quiet(listing) && self.is_subscribed(stream));
        let quiet = &mut self.care.quiet[listing.index()];
        if !waits {
            let is_proved =
                self.pipeline.book_of(listing).is_some_and(|feed| feed.status() == BookStatus::Proved);
            *quiet = if is_proved { Quiet::default() } else { Quiet { since: None, ..*quiet } };
            return;
        }
        let since = *quiet.since.get_or_insert(now);
        let pause_ns = (QUIET_NS_MIN << quiet.asked_count.min(10)).min(QUIET_NS_MAX);
        if now.since_ns(since) >= pause_ns {
            quiet.asked_count += 1;
            quiet.since = None;
            self.care.counts.quiet_snapshots_total += 1;
            self.pipeline.ask_for_snapshot(listing);
        }
    }
}
