//! Simulated Coinbase: the feed of Advanced Trade, and the feed of the Exchange where they differ.
//!
//! The order of reading: `config`, [`Coinbase`] (what is published when), `encode` (the JSON of both), `session`
//! (connections and their limits), `advanced` and `exchange` (control frames and snapshots), `rest`, `trade` (order entry of
//! Advanced Trade).
//!
//! Not simulated: order entry of the Exchange, `full` and `level3` of its feed.

mod advanced;
mod config;
mod encode;
mod exchange;
mod rest;
mod session;
mod trade;

pub use self::config::{CoinbaseConfig, CoinbaseLimits, CoinbaseProduct, trading};
use self::encode::{Day, Listing};
use self::session::Session;
use self::trade::Trading;
use crate::clock::{
    LAG_NS_MAX, MS_NS, MarketClock, Next, SECOND_NS, STEPS_PER_POLL_MAX, Timers, next_due_ns,
};
use crate::exchange::{Exchange, OrderFault, TradingConfig};
use crate::faults::VenueFault;
use crate::http::{HttpAnswer, HttpRequest};
use crate::limits::{Bucket, Window};
use crate::market::{
    Book, FILLS_PER_TAKER, Instrument, Level, Market, MarketConfig, Side, TAKERS_PER_EVENT, Trade, events_for,
};
use crate::output::{ConnectionId, Output};
use crate::sessions::Sessions;
use crate::topics::Topics;
use crate::venue::{BookTruth, InstrumentTruth, Stats, Venue};

/// Changes of a book are sent together after this time. The Exchange documents it for `level2_batch`; a recording of
/// Advanced Trade of 2026-08-24 shows about the same.
const LEVEL2_EVERY_NS: u64 = 50 * MS_NS;
/// Trades of Advanced Trade are sent together after this time (documented).
const TRADES_EVERY_NS: u64 = 250 * MS_NS;
/// Seconds between messages of `ticker_batch` (documented).
const TICKER_BATCH_EVERY_S: u64 = 5;
/// The market's interval of `candles`: five minutes.
const CANDLES: usize = 3;

/// Kinds of streams; the two products share the numbers.
const LEVEL2: usize = 0;
const TRADES: usize = 1;
const TICKER: usize = 2;
const TICKER_BATCH: usize = 3;
/// Advanced Trade only.
const BARS: usize = 4;
/// Advanced Trade only.
const STATUS: usize = 5;
/// Exchange only: of a product.
const HEARTBEAT: usize = 4;
const KINDS: usize = 6;

fn events_for_messages(product: CoinbaseProduct, messages_per_s: f64) -> f64 {
    // Batches in a second, if so many things happen that go into them.
    let batches = |every_ns: u64, things: f64| {
        let per_s = SECOND_NS as f64 / every_ns as f64;
        per_s * (1.0 - (-things / per_s).exp())
    };
    events_for(messages_per_s, |events| {
        let takers = events * TAKERS_PER_EVENT;
        let trades = match product {
            CoinbaseProduct::Advanced => batches(TRADES_EVERY_NS, takers),
            CoinbaseProduct::Exchange => takers * FILLS_PER_TAKER,
        };
        // A ticker for each taker order.
        takers + trades + batches(LEVEL2_EVERY_NS, events)
    })
}

/// What is published at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The book of an instrument; set when something has changed.
    Level2(usize),
    /// The trades of an instrument; set when there are some.
    Trades(usize),
    /// Candles and `ticker_batch` of all instruments.
    Second,
}

/// What is to be published of one instrument.
#[derive(Clone, Debug, Default)]
struct Pending {
    /// Prices whose quantity changed, each as often as it did.
    changed: Vec<(Side, i64)>,
    engine_ns: u64,
    trades: Vec<Trade>,
    /// The candle that was published last, as (start, trades).
    candle: (u64, u64),
    /// The running number of the Exchange.
    sequence: u64,
}

/// Faults that wait in one instrument.
#[derive(Clone, Debug, Default)]
struct InstrumentFaults {
    drop_updates: u32,
    drop_trades: u32,
    /// An old book and how many snapshots are still made of it.
    stale: Option<(Book, u32)>,
    lose_snapshots: u32,
    pass_over: u32,
}

/// The venue.
pub struct Coinbase {
    product: CoinbaseProduct,
    limits: CoinbaseLimits,
    clock: MarketClock,
    market: Market,
    listings: Vec<Listing>,
    topics: Topics,
    pending: Vec<Pending>,
    timers: Timers<Timer>,
    sessions: Sessions<Session>,
    attempts: Window,
    messages: Window,
    calls: Bucket,
    faults: Vec<InstrumentFaults>,
    /// By instrument: it is not traded any more.
    gone: Vec<bool>,
    truth: Vec<InstrumentTruth>,
    client_errors: u64,
    skipped_ns: u64,
    trading: Option<Trading>,
    /// The events of a frame of Advanced Trade, or a frame of the Exchange.
    body: Vec<u8>,
}

/// Everything of one instrument since the start; a market has always traded.
fn day(instrument: &Instrument) -> Day<'_> {
    Day {
        total: instrument.bars.total(),
        last: instrument.bars.last_trade().expect("a market trades before it opens"),
        top: instrument.book.top(),
    }
}

impl Coinbase {
    fn new(config: CoinbaseConfig, start_ns: u64) -> Self {
        let rate = config.messages_per_instrument_per_s;
        let market = Market::new(
            &MarketConfig {
                venue: "coinbase",
                instruments: config.instruments.clone(),
                book_levels: config.book_levels,
                seed: config.seed,
                events_per_instrument_per_s: events_for_messages(config.product, rate),
                update_id_gaps: false,
            },
            start_ns,
        );
        let listings: Vec<Listing> = config.instruments.iter().map(Listing::new).collect();
        let truth = listings.iter().map(|listing| InstrumentTruth {
            symbol: listing.id.clone(),
            venue_symbol: listing.id.clone(),
            ..InstrumentTruth::default()
        });
        let pending = market
            .instruments()
            .iter()
            .map(|instrument| Pending { sequence: instrument.last_update_id, ..Pending::default() });
        let advanced = config.product == CoinbaseProduct::Advanced;
        let trading = config.trading.filter(|_| advanced).map(|trading| {
            let trading = TradingConfig { seed: trading.seed ^ config.seed.rotate_left(23), ..trading };
            Trading::new(Exchange::new(&trading, &config.instruments, start_ns))
        });
        let mut venue = Self {
            product: config.product,
            clock: MarketClock::new(start_ns, config.speed),
            topics: Topics::new(listings.len(), KINDS),
            pending: pending.collect(),
            timers: Timers::new(),
            sessions: Sessions::new(),
            attempts: Window::default(),
            messages: Window::default(),
            calls: Bucket::default(),
            faults: vec![InstrumentFaults::default(); listings.len()],
            gone: vec![false; listings.len()],
            truth: truth.collect(),
            client_errors: 0,
            skipped_ns: 0,
            trading,
            body: Vec::new(),
            limits: config.limits,
            listings,
            market,
        };
        venue.schedule_second(start_ns);
        venue
    }

    fn schedule_second(&mut self, market_ns: u64) {
        self.timers.set((market_ns / SECOND_NS + 1) * SECOND_NS, Timer::Second);
    }

    fn instrument_of(&self, symbol: &str) -> Option<usize> {
        let found = self.listings.iter().position(|listing| listing.id == symbol);
        found.filter(|index| !self.gone[*index])
    }

    /// Sends what is in `body` to the subscribers of a stream.
    fn publish(&mut self, index: usize, kind: usize, time_ns: u64, output: &mut Output) {
        match self.product {
            CoinbaseProduct::Exchange => self.topics.publish(index, kind, &self.body, output),
            CoinbaseProduct::Advanced => {
                let now_ns = self.clock.caller_ns(time_ns);
                let subscribers = self.topics.of(index, kind);
                for id in subscribers {
                    if let Some(session) = self.sessions.get_mut(*id) {
                        session.send(*id, advanced::channel_of(kind), &self.body, time_ns, now_ns, output);
                    }
                }
                let frames = subscribers.len();
                self.topics.count_sent(kind, frames);
            }
        }
    }

    /// Makes the next market event, which is due, and publishes what does not wait.
    fn market_event(&mut self, until_ns: u64, output: &mut Output) {
        let Some(event) = self.market.step(until_ns) else { return };
        let (index, time_ns) = (event.instrument, event.time_ns);
        if self.gone[index] {
            return;
        }
        let traded = !event.trades.is_empty();
        let pending = &mut self.pending[index];
        let instruments = self.listings.len();
        let due_ns = |every_ns: u64| next_due_ns(every_ns, index, instruments, time_ns);
        if pending.changed.is_empty() {
            self.timers.set(due_ns(LEVEL2_EVERY_NS), Timer::Level2(index));
        }
        pending.changed.extend(event.levels.iter().map(|level| (level.side, level.price)));
        pending.engine_ns = time_ns;
        pending.sequence += event.levels.len() as u64;
        if traded && pending.trades.is_empty() && self.product == CoinbaseProduct::Advanced {
            self.timers.set(due_ns(TRADES_EVERY_NS), Timer::Trades(index));
        }
        pending.trades.extend_from_slice(&event.trades);
        if traded {
            if self.product == CoinbaseProduct::Exchange {
                self.publish_matches(index, time_ns, output);
            }
            self.publish_ticker(index, TICKER, time_ns, output);
        }
        if let Some(trading) = &mut self.trading {
            trading.exchange.market_event(&self.market, self.clock.caller_ns(time_ns));
        }
    }

    fn publish_ticker(&mut self, index: usize, kind: usize, time_ns: u64, output: &mut Output) {
        if !self.topics.has(index, kind) {
            return;
        }
        self.body.clear();
        let (listing, day) = (&self.listings[index], day(&self.market.instruments()[index]));
        match self.product {
            CoinbaseProduct::Advanced => {
                encode::advanced_ticker(&mut self.body, listing, "update", &day, kind == TICKER);
            }
            CoinbaseProduct::Exchange => {
                encode::ticker(&mut self.body, listing, &day, self.pending[index].sequence);
            }
        }
        self.publish(index, kind, time_ns, output);
    }

    fn publish_level2(&mut self, index: usize, time_ns: u64, output: &mut Output) {
        let mut changed = std::mem::take(&mut self.pending[index].changed);
        let dropped = &mut self.faults[index].drop_updates;
        if !self.topics.has(index, LEVEL2) {
            // Nobody is told, nothing is dropped.
        } else if *dropped > 0 {
            *dropped -= 1;
        } else {
            changed.sort_unstable();
            changed.dedup();
            self.body.clear();
            let (listing, instrument) = (&self.listings[index], &self.market.instruments()[index]);
            let engine_ns = self.pending[index].engine_ns;
            let rows = changed.iter().map(|(side, price)| {
                (*side, Level { price: *price, qty: instrument.book.side(*side).qty(*price) })
            });
            match self.product {
                CoinbaseProduct::Advanced => {
                    encode::level2(&mut self.body, listing, "update", rows, engine_ns);
                }
                CoinbaseProduct::Exchange => encode::l2update(&mut self.body, listing, rows, engine_ns),
            }
            let truth = &mut self.truth[index];
            truth.update_id_published = Some(instrument.last_update_id);
            truth.updates_published_total += 1;
            self.publish(index, LEVEL2, time_ns, output);
        }
        changed.clear();
        self.pending[index].changed = changed;
    }

    /// Takes the trades that wait, without those that a fault drops; notes them as published.
    fn take_trades(&mut self, index: usize) -> Vec<Trade> {
        let mut trades = std::mem::take(&mut self.pending[index].trades);
        if !self.topics.has(index, TRADES) {
            trades.clear();
            return trades;
        }
        let dropped = self.faults[index].drop_trades.min(trades.len() as u32);
        self.faults[index].drop_trades -= dropped;
        trades.drain(..dropped as usize);
        if let (Some(first), Some(last)) = (trades.first(), trades.last()) {
            let truth = &mut self.truth[index];
            truth.trade_id_first.get_or_insert(first.id);
            truth.trade_id_last = Some(last.id);
            truth.trades_published_total += trades.len() as u64;
        }
        trades
    }

    /// Advanced Trade: one message with all trades that wait, newest first.
    fn publish_trades(&mut self, index: usize, time_ns: u64, output: &mut Output) {
        let trades = self.take_trades(index);
        if trades.is_empty() {
            return;
        }
        self.body.clear();
        self.body.extend_from_slice(b"[{\"type\":\"update\",\"trades\":");
        encode::advanced_trades(&mut self.body, &self.listings[index], trades.iter().rev());
        self.body.extend_from_slice(b"}]");
        self.publish(index, TRADES, time_ns, output);
    }

    /// Exchange: a message for each trade.
    fn publish_matches(&mut self, index: usize, time_ns: u64, output: &mut Output) {
        let last = self.pending[index].trades.last().map_or(0, |trade| trade.id);
        // The taker's order is received, then matched: two numbers for each.
        self.pending[index].sequence += 2 * self.pending[index].trades.len() as u64;
        let sequence = self.pending[index].sequence;
        for trade in &self.take_trades(index) {
            self.body.clear();
            let sequence = sequence - 2 * (last - trade.id);
            encode::matched(&mut self.body, &self.listings[index], "match", trade, sequence);
            self.publish(index, TRADES, time_ns, output);
        }
    }

    /// Candles, and every fifth time tickers, of all instruments.
    fn publish_second(&mut self, time_ns: u64, output: &mut Output) {
        for index in 0..self.listings.len() {
            if self.gone[index] {
                continue;
            }
            if (time_ns / SECOND_NS).is_multiple_of(TICKER_BATCH_EVERY_S) {
                self.publish_ticker(index, TICKER_BATCH, time_ns, output);
            }
            if self.product != CoinbaseProduct::Advanced {
                continue;
            }
            self.market.roll_bars(index, time_ns);
            if !self.topics.has(index, BARS) {
                continue;
            }
            let bar = *self.market.instruments()[index].bars.current(CANDLES);
            let candle = (bar.open_s, bar.count);
            if std::mem::replace(&mut self.pending[index].candle, candle) != candle {
                self.body.clear();
                encode::candles(&mut self.body, &self.listings[index], "update", std::iter::once(&bar));
                self.publish(index, BARS, time_ns, output);
            }
        }
    }

    fn run_market(&mut self, market_ns: u64, output: &mut Output) {
        self.skipped_ns += self.market.skip_lag(market_ns);
        for _ in 0..STEPS_PER_POLL_MAX {
            match self.timers.next(self.market.next_ns(), market_ns) {
                Next::Wait => return,
                Next::Event(event_ns) => self.market_event(event_ns, output),
                Next::Timer(due_ns, Timer::Level2(index)) => self.publish_level2(index, due_ns, output),
                Next::Timer(due_ns, Timer::Trades(index)) => self.publish_trades(index, due_ns, output),
                Next::Timer(due_ns, Timer::Second) => {
                    self.publish_second(due_ns, output);
                    // After a long stall, one late publication stands for all that were missed.
                    self.schedule_second(due_ns.max(market_ns.saturating_sub(LAG_NS_MAX)));
                }
            }
        }
    }

    /// The book that the next snapshot shows.
    fn snapshot_book(&mut self, index: usize) -> &Book {
        match &mut self.faults[index].stale {
            Some((book, count)) if *count > 0 => {
                *count -= 1;
                book
            }
            _ => &self.market.instruments()[index].book,
        }
    }
}

impl Venue for Coinbase {
    fn name(&self) -> &'static str {
        match self.product {
            CoinbaseProduct::Advanced => "coinbase",
            CoinbaseProduct::Exchange => "coinbase-exchange",
        }
    }

    fn admit(&mut self, target: &str, now_ns: u64) -> Result<(), HttpAnswer> {
        self.admit_session(target, now_ns)
    }

    fn connected(&mut self, id: ConnectionId, _target: &str, now_ns: u64, _output: &mut Output) {
        self.open_session(id, now_ns);
    }

    fn text(&mut self, id: ConnectionId, text: &[u8], now_ns: u64, output: &mut Output) {
        self.control_frame(id, text, now_ns, output);
        self.deliver(now_ns, output);
    }

    fn ping(&mut self, _id: ConnectionId, _now_ns: u64, _output: &mut Output) {}

    fn pong(&mut self, _id: ConnectionId, _payload: &[u8], _now_ns: u64, _output: &mut Output) {}

    fn closed(&mut self, id: ConnectionId) {
        self.close_session(id);
    }

    fn http(&mut self, request: &HttpRequest<'_>, now_ns: u64) -> HttpAnswer {
        self.answer(request, now_ns)
    }

    fn poll(&mut self, now_ns: u64, output: &mut Output) {
        self.run_market(self.clock.market_ns(now_ns), output);
        for id in self.sessions.due(now_ns) {
            let wake_ns = self.poll_session(id, now_ns, output);
            self.sessions.wake_by(wake_ns);
        }
        self.deliver(now_ns, output);
    }

    fn next_wake_ns(&self) -> u64 {
        let market_ns = self.clock.caller_ns(self.market.next_ns().min(self.timers.next_ns()));
        let trading_ns = self.trading.as_ref().map_or(u64::MAX, |trading| trading.exchange.next_wake_ns());
        market_ns.min(self.sessions.wake_ns()).min(trading_ns)
    }

    fn set_rate(&mut self, messages_per_instrument_per_s: f64, now_ns: u64) {
        let events = events_for_messages(self.product, messages_per_instrument_per_s);
        self.market.set_rate(events, self.clock.market_ns(now_ns));
    }

    fn fault(&mut self, fault: &VenueFault, now_ns: u64) {
        let index = fault.symbol().and_then(|symbol| self.instrument_of(symbol));
        match (fault, index) {
            (VenueFault::DropUpdates { count, .. }, Some(index)) => {
                self.faults[index].drop_updates = *count;
            }
            (VenueFault::DropTrades { count, .. }, Some(index)) => {
                self.faults[index].drop_trades = *count;
            }
            (VenueFault::StaleSnapshots { count, .. }, Some(index)) => {
                let book = self.market.instruments()[index].book.clone();
                self.faults[index].stale = Some((book, *count));
            }
            (VenueFault::Delist { .. }, Some(index)) => {
                self.gone[index] = true;
            }
            (VenueFault::LoseSnapshots { count, .. }, Some(index)) => {
                self.faults[index].lose_snapshots = *count;
            }
            (VenueFault::PassOver { count, .. }, Some(index)) => {
                self.faults[index].pass_over = *count;
            }
            (VenueFault::Orders(fault), _) => {
                if let Some(trading) = &mut self.trading {
                    trading.exchange.fault(fault, now_ns);
                }
            }
            (VenueFault::Clear, _) => {
                if let Some(trading) = &mut self.trading {
                    trading.exchange.fault(&OrderFault::Clear, now_ns);
                }
                self.faults.fill(InstrumentFaults::default());
            }
            // Books carry neither update ids nor checksums here.
            (VenueFault::ShiftUpdateIds { .. } | VenueFault::LieChecksum { .. }, _) | (_, None) => {}
        }
    }

    /// The venue has no such message.
    fn announce_shutdown(&mut self, _id: ConnectionId, _now_ns: u64, _output: &mut Output) {}

    fn unknown_event(&self, now_ns: u64) -> Vec<u8> {
        let mut event = match self.product {
            CoinbaseProduct::Advanced => b"{\"channel\":\"novelty\",\"timestamp\":".to_vec(),
            CoinbaseProduct::Exchange => b"{\"type\":\"novelty\",\"time\":".to_vec(),
        };
        encode::put_ns(&mut event, self.clock.market_ns(now_ns));
        event.extend_from_slice(b",\"events\":[{\"type\":\"update\",\"deep\":[1,2,{}]}]}");
        event
    }

    fn refusal(&self, status: u16, retry_after_s: u64) -> HttpAnswer {
        rest::refusal(self.product, status, retry_after_s)
    }

    fn add_stats(&self, stats: &mut Stats) {
        let names = self.product.channels();
        stats
            .sent_by_stream_total
            .extend(self.topics.sent().map(|(kind, count)| (names[kind].to_owned(), count)));
        stats.subscriptions = self.topics.count();
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
