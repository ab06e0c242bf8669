//! Simulated Kraken: spot, WebSocket v2, and the public REST calls.
//!
//! The order of reading: `config`, [`Kraken`] (what is published when), `channels` (kinds of streams, and which
//! levels of a change a subscriber of some depth gets), `encode` (the JSON), `checksum`, `session` (methods and the
//! limits of a connection), `rest`, `trade` (order entry).
//!
//! Not simulated: `balances`, `level3`, bars longer than a day, WebSocket v1.

mod channels;
mod checksum;
mod config;
mod encode;
mod rest;
mod session;
mod trade;

use self::channels::{DEPTHS, KINDS, Kind, MINUTES, View};
pub use self::config::{KrakenConfig, KrakenLimits, trading};
use self::encode::{Day, Listing};
use self::session::{Attempts, Session};
use self::trade::Trading;
use crate::clock::{MarketClock, SECOND_NS, STEPS_PER_POLL_MAX};
use crate::exchange::{Exchange, OrderFault, TradingConfig};
use crate::faults::VenueFault;
use crate::http::{HttpAnswer, HttpRequest};
use crate::limits::Bucket;
use crate::market::{
    Book, Level, LevelChange, Market, MarketConfig, Side, TAKERS_PER_EVENT, TOPS_PER_EVENT, events_for,
};
use crate::output::{ConnectionId, Output};
use crate::sessions::Sessions;
use crate::topics::Topics;
use crate::venue::{BookTruth, InstrumentTruth, Stats, Venue};

/// Events that change the best ten levels a side of a book with a thousand; a test measures the sum.
const BOOK_10_PER_EVENT: f64 = 0.8;

fn events_for_messages(messages_per_s: f64) -> f64 {
    events_for(messages_per_s, |events| events * (TAKERS_PER_EVENT + TOPS_PER_EVENT + BOOK_10_PER_EVENT))
}

/// Faults that wait in one instrument.
#[derive(Clone, Debug, Default)]
struct InstrumentFaults {
    drop_trades: u32,
    /// By depth.
    drop_updates: [u32; DEPTHS.len()],
    lie: [u32; DEPTHS.len()],
    /// An old book and how many snapshots are still made of it.
    stale: Option<(Book, u32)>,
    lose_snapshots: u32,
}

/// The venue.
pub struct Kraken {
    limits: KrakenLimits,
    clock: MarketClock,
    market: Market,
    listings: Vec<Listing>,
    topics: Topics,
    /// By instrument.
    views: Vec<View>,
    sessions: Sessions<Session>,
    attempts: Attempts,
    calls: Bucket,
    faults: Vec<InstrumentFaults>,
    /// By instrument: it is not traded any more.
    gone: Vec<bool>,
    /// An instrument of whose end the `instrument` channel has not told.
    untold: Option<usize>,
    truth: Vec<InstrumentTruth>,
    /// WebSocket connections since the start, for their ids.
    connections: u64,
    seed: u64,
    client_errors: u64,
    skipped_ns: u64,
    trading: Option<Trading>,
    frame: Vec<u8>,
    digits: Vec<u8>,
    changes: Vec<LevelChange>,
    told: Vec<Level>,
}

impl Kraken {
    fn new(config: KrakenConfig, start_ns: u64) -> Self {
        let market = Market::new(
            &MarketConfig {
                venue: "kraken",
                instruments: config.instruments.clone(),
                book_levels: config.book_levels,
                seed: config.seed,
                events_per_instrument_per_s: events_for_messages(config.messages_per_instrument_per_s),
                update_id_gaps: false,
            },
            start_ns,
        );
        let listings: Vec<Listing> = config.instruments.iter().map(Listing::new).collect();
        let truth = listings.iter().map(|listing| InstrumentTruth {
            symbol: listing.spec.symbol(),
            venue_symbol: listing.symbol.clone(),
            ..InstrumentTruth::default()
        });
        let trading = config.trading.map(|trading| {
            let trading = TradingConfig { seed: trading.seed ^ config.seed.rotate_left(19), ..trading };
            Trading::new(Exchange::new(&trading, &config.instruments, start_ns))
        });
        Self {
            clock: MarketClock::new(start_ns, config.speed),
            topics: Topics::new(listings.len(), KINDS),
            views: market.instruments().iter().map(|it| View::of(&it.book)).collect(),
            sessions: Sessions::new(),
            attempts: Attempts::default(),
            calls: Bucket::default(),
            faults: vec![InstrumentFaults::default(); listings.len()],
            gone: vec![false; listings.len()],
            untold: None,
            truth: truth.collect(),
            connections: 0,
            seed: config.seed,
            client_errors: 0,
            skipped_ns: 0,
            trading,
            frame: Vec::new(),
            digits: Vec::new(),
            changes: Vec::new(),
            told: Vec::new(),
            limits: config.limits,
            listings,
            market,
        }
    }

    fn instrument_of(&self, symbol: &str) -> Option<usize> {
        self.listings.iter().position(|listing| listing.spec.symbol() == symbol)
    }

    /// Makes and publishes the next market event, which is due.
    fn market_event(&mut self, until_ns: u64, output: &mut Output) {
        let Some(event) = self.market.step(until_ns) else { return };
        let (index, time_ns) = (event.instrument, event.time_ns);
        if self.gone[index] {
            return;
        }
        let update_id = event.last_update_id;
        let (top_changed, traded) = (event.top_changed, !event.trades.is_empty());
        let listing = &self.listings[index];

        if traded && self.topics.has(index, Kind::Trade.index()) {
            let dropped = self.faults[index].drop_trades.min(event.trades.len() as u32) as usize;
            self.faults[index].drop_trades -= dropped as u32;
            let sent = &event.trades[dropped..];
            if let (Some(first), Some(last)) = (sent.first(), sent.last()) {
                self.frame.clear();
                encode::trades(&mut self.frame, listing, "update", sent.iter());
                self.topics.publish(index, Kind::Trade.index(), &self.frame, output);
                let truth = &mut self.truth[index];
                truth.trade_id_first.get_or_insert(first.id);
                truth.trade_id_last = Some(last.id);
                truth.trades_published_total += sent.len() as u64;
            }
        }

        // The market lends its event; it is asked for the book from here on.
        self.changes.clear();
        self.changes.extend_from_slice(&event.levels);
        self.publish_book(index, update_id, time_ns, output);
        for (kind, due) in [(Kind::TickerTrades, traded), (Kind::TickerBbo, traded || top_changed)] {
            if due && self.topics.has(index, kind.index()) {
                self.frame.clear();
                let instrument = &self.market.instruments()[index];
                let day = Day { total: instrument.bars.total(), top: instrument.book.top() };
                encode::ticker(&mut self.frame, &self.listings[index], "update", &day, time_ns);
                self.topics.publish(index, kind.index(), &self.frame, output);
            }
        }
        if traded {
            self.publish_bars(index, time_ns, output);
        }
        if let Some(trading) = &mut self.trading {
            trading.exchange.market_event(&self.market, self.clock.caller_ns(time_ns));
        }
    }

    /// Publishes `changes`, which have just been made, at each depth: one message for each side that changed, bids
    /// first, each with the checksum of the book after it. (The recordings hold no message with both sides.)
    fn publish_book(&mut self, index: usize, update_id: u64, time_ns: u64, output: &mut Output) {
        let listing = &self.listings[index];
        let book = &self.market.instruments()[index].book;
        let new = View::of(book);
        let old = std::mem::replace(&mut self.views[index], new);
        for side in [Side::Bid, Side::Ask] {
            if !self.changes.iter().any(|change| change.side == side) {
                continue;
            }
            let mut checksum = None;
            for (depth_index, depth) in DEPTHS.iter().enumerate() {
                let kind = Kind::Book(depth_index).index();
                if !self.topics.has(index, kind) {
                    continue;
                }
                let edge = old.edge(side, depth_index);
                self.told.clear();
                let told = &mut self.told;
                channels::visible_changes(&self.changes, book.side(side), side, *depth, edge, told);
                if told.is_empty() {
                    continue;
                }
                let faults = &mut self.faults[index];
                if faults.drop_updates[depth_index] > 0 {
                    faults.drop_updates[depth_index] -= 1;
                    continue;
                }
                let asks = if side == Side::Bid { &old } else { &new };
                let mut sum = *checksum.get_or_insert_with(|| {
                    listing.checksum(new.best(Side::Bid), asks.best(Side::Ask), &mut self.digits)
                });
                if faults.lie[depth_index] > 0 {
                    faults.lie[depth_index] -= 1;
                    // Another last digit, and never more than 32 bits.
                    sum = sum / 10 * 10 + (sum % 10 + 1) % 5;
                }
                let (bids, asks) =
                    if side == Side::Bid { (&told[..], &[][..]) } else { (&[][..], &told[..]) };
                self.frame.clear();
                encode::book(
                    &mut self.frame,
                    listing,
                    "update",
                    bids.iter().copied(),
                    asks.iter().copied(),
                    sum,
                    time_ns,
                );
                self.topics.publish(index, kind, &self.frame, output);
                let truth = &mut self.truth[index];
                truth.update_id_published = Some(update_id);
                truth.updates_published_total += 1;
            }
        }
    }

    /// Bars are published when there was a trade, never otherwise.
    fn publish_bars(&mut self, index: usize, time_ns: u64, output: &mut Output) {
        for (interval, (minutes, market_interval)) in MINUTES.iter().enumerate() {
            let kind = Kind::Ohlc(interval).index();
            if !self.topics.has(index, kind) {
                continue;
            }
            let bar = self.market.instruments()[index].bars.current(*market_interval);
            self.frame.clear();
            let bars = std::iter::once(bar);
            encode::ohlc(&mut self.frame, &self.listings[index], "update", *minutes, bars, time_ns);
            self.topics.publish(index, kind, &self.frame, output);
        }
    }

    fn run_market(&mut self, market_ns: u64, output: &mut Output) {
        self.skipped_ns += self.market.skip_lag(market_ns);
        for _ in 0..STEPS_PER_POLL_MAX {
            if self.market.next_ns() > market_ns {
                return;
            }
            self.market_event(market_ns, output);
        }
    }
}

impl Venue for Kraken {
    fn name(&self) -> &'static str {
        "kraken"
    }

    fn admit(&mut self, target: &str, now_ns: u64) -> Result<(), HttpAnswer> {
        self.admit_session(target, now_ns)
    }

    fn connected(&mut self, id: ConnectionId, _target: &str, now_ns: u64, output: &mut Output) {
        self.open_session(id, now_ns, output);
    }

    fn text(&mut self, id: ConnectionId, text: &[u8], now_ns: u64, output: &mut Output) {
        self.heard(id, now_ns);
        self.method(id, text, now_ns, output);
        self.deliver(now_ns, output);
    }

    fn ping(&mut self, id: ConnectionId, now_ns: u64, _output: &mut Output) {
        self.heard(id, now_ns);
    }

    fn pong(&mut self, id: ConnectionId, _payload: &[u8], now_ns: u64, _output: &mut Output) {
        self.heard(id, now_ns);
    }

    fn closed(&mut self, id: ConnectionId) {
        self.close_session(id);
    }

    fn http(&mut self, request: &HttpRequest<'_>, now_ns: u64) -> HttpAnswer {
        self.answer(request, now_ns)
    }

    fn poll(&mut self, now_ns: u64, output: &mut Output) {
        if let Some(index) = self.untold.take() {
            self.tell_delisted(index, output);
        }
        self.run_market(self.clock.market_ns(now_ns), output);
        for id in self.sessions.due(now_ns) {
            let wake_ns = self.poll_session(id, now_ns, output);
            self.sessions.wake_by(wake_ns);
        }
        self.deliver(now_ns, output);
    }

    fn next_wake_ns(&self) -> u64 {
        if self.untold.is_some() {
            return 0;
        }
        self.clock.caller_ns(self.market.next_ns()).min(self.sessions.wake_ns()).min(self.deliver_wake_ns())
    }

    fn set_rate(&mut self, messages_per_instrument_per_s: f64, now_ns: u64) {
        self.market
            .set_rate(events_for_messages(messages_per_instrument_per_s), self.clock.market_ns(now_ns));
    }

    fn fault(&mut self, fault: &VenueFault, now_ns: u64) {
        let index = fault.symbol().and_then(|symbol| self.instrument_of(symbol));
        match (fault, index) {
            (VenueFault::DropUpdates { count, .. }, Some(index)) => {
                self.faults[index].drop_updates = [*count; DEPTHS.len()];
            }
            (VenueFault::LieChecksum { count, .. }, Some(index)) => {
                self.faults[index].lie = [*count; DEPTHS.len()];
            }
            (VenueFault::DropTrades { count, .. }, Some(index)) => {
                self.faults[index].drop_trades = *count;
            }
            (VenueFault::StaleSnapshots { count, .. }, Some(index)) => {
                let book = self.market.instruments()[index].book.clone();
                self.faults[index].stale = Some((book, *count));
            }
            (VenueFault::LoseSnapshots { count, .. }, Some(index)) => {
                self.faults[index].lose_snapshots = *count;
            }
            (VenueFault::Orders(fault), _) => {
                if let Some(trading) = &mut self.trading {
                    trading.exchange.fault(fault, now_ns);
                }
            }
            (VenueFault::Delist { .. }, Some(index)) => {
                self.gone[index] = true;
                self.untold = Some(index);
            }
            (VenueFault::Clear, _) => {
                if let Some(trading) = &mut self.trading {
                    trading.exchange.fault(&OrderFault::Clear, now_ns);
                }
                self.faults.fill(InstrumentFaults::default());
            }
            // Books carry no update ids here, and each subscription is answered.
            (VenueFault::ShiftUpdateIds { .. } | VenueFault::PassOver { .. }, _) | (_, None) => {}
        }
    }

    fn announce_shutdown(&mut self, id: ConnectionId, _now_ns: u64, output: &mut Output) {
        self.send_status(id, "maintenance", output);
    }

    fn unknown_event(&self, now_ns: u64) -> Vec<u8> {
        let mut event = b"{\"channel\":\"novelty\",\"type\":\"update\",\"data\":[{\"symbol\":\"".to_vec();
        event.extend_from_slice(self.listings[0].symbol.as_bytes());
        event.extend_from_slice(b"\",\"deep\":[1,2,{}],\"timestamp\":");
        encode::put_us(&mut event, self.clock.market_ns(now_ns));
        event.extend_from_slice(b"}]}");
        event
    }

    fn refusal(&self, status: u16, retry_after_s: u64) -> HttpAnswer {
        rest::refusal(status, retry_after_s)
    }

    fn add_stats(&self, stats: &mut Stats) {
        stats.sent_by_stream_total.extend(self.topics.sent().map(|(kind, count)| (Kind::label(kind), count)));
        stats.subscriptions = self.topics.count() + self.instrument_subscriptions();
        stats.client_errors_total = self.client_errors;
        stats.skipped_ns_total = self.skipped_ns;
    }

    fn truth(&self) -> Vec<InstrumentTruth> {
        self.market.truth(&self.truth, &self.gone)
    }

    fn book(&self, symbol: &str) -> Option<BookTruth> {
        let index = self.instrument_of(symbol)?;
        Some(self.listings[index].scale.book(&self.market.instruments()[index]))
    }

    fn exchange(&self) -> Option<&Exchange> {
        self.trading.as_ref().map(|trading| &trading.exchange)
    }
}

#[cfg(test)]
mod tests;
