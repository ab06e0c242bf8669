//! Simulated Binance: spot, and USD-M futures where they differ.
//!
//! The order of reading: `config`, [`Binance`] (what is published when), `streams` (names and subscribers),
//! `encode` (the JSON), `session` (control frames and the limits of a connection), `rest`, `trade` (order entry and user
//! data of spot).
//!
//! Not simulated: order entry of USD-M, SBE, `!...@arr` streams, calendar intervals
//! (`1w`, `1M`), UTC+8 klines. Streams that are unknown are acknowledged and stay silent, as at the venue.

mod config;
mod encode;
mod rest;
mod session;
mod streams;
mod trade;

use std::collections::HashMap;

pub use self::config::{BinanceConfig, BinanceLimits, Product, trading};
use self::encode::{Day, Listing, UpdateHead};
use self::rest::Usage;
use self::session::{Attempts, Session};
use self::streams::{Kind, PARTIAL_LEVELS, Topic, Topics};
use self::trade::api::Late;
use crate::clock::{
    LAG_NS_MAX, MS_NS, MarketClock, Next, SECOND_NS, STEPS_PER_POLL_MAX, Timers, next_due_ns,
};
use crate::exchange::{Exchange, OrderFault, TradingConfig};
use crate::faults::VenueFault;
use crate::http::{HttpAnswer, HttpRequest};
use crate::market::{INTERVALS, Market, MarketConfig, Side, TRADE_AND_TOP_FRAMES_PER_EVENT, events_for};
use crate::output::{ConnectionId, Output};
use crate::sessions::Sessions;
use crate::venue::{BookTruth, InstrumentTruth, Stats, Venue};

/// Bars and tickers are published this long after their boundary, when the last trades before it are known.
const BOUNDARY_DELAY_NS: u64 = 2 * MS_NS;

/// Market events that make this many messages per second: one `depth@100ms` in each tenth of a second with an event,
/// and trades and best prices in proportion to the events.
fn events_for_messages(messages_per_s: f64) -> f64 {
    events_for(messages_per_s, |events| {
        TRADE_AND_TOP_FRAMES_PER_EVENT * events + 10.0 * (1.0 - (-events / 10.0).exp())
    })
}

/// What is published at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Book streams of one speed of one instrument; set when something has changed.
    Depth { speed: usize, instrument: usize },
    /// Bars and tickers of all instruments.
    Bars,
}

/// What changed in one book since it was last published at one speed.
#[derive(Clone, Debug, Default)]
struct Pending {
    changed: Vec<(Side, i64)>,
    first_id: u64,
    last_id: u64,
    engine_ns: u64,
    published_id: u64,
    drop: u32,
    shift: (i64, u32),
}

/// Faults that wait in one instrument.
#[derive(Clone, Debug, Default)]
struct InstrumentFaults {
    drop_trades: u32,
    /// Snapshot body material and how many requests still get it.
    stale: Option<(crate::market::Book, u64, u32)>,
}

/// The venue.
pub struct Binance {
    product: Product,
    limits: BinanceLimits,
    clock: MarketClock,
    market: Market,
    listings: Vec<Listing>,
    /// Index by lower case symbol, which is how streams name it.
    index: HashMap<String, usize>,
    topics: Topics,
    sessions: Sessions<Session>,
    attempts: Attempts,
    usage: Usage,
    timers: Timers<Timer>,
    /// By instrument, then by speed.
    pending: Vec<Vec<Pending>>,
    /// By instrument, then by interval: the bar that was published last, as (start, trades).
    published_bars: Vec<[(u64, u64); INTERVALS.len()]>,
    faults: Vec<InstrumentFaults>,
    /// By instrument: it is not traded any more.
    gone: Vec<bool>,
    truth: Vec<InstrumentTruth>,
    bars_ticks: u64,
    client_errors: u64,
    skipped_ns: u64,
    exchange: Option<Exchange>,
    /// Frames of the WebSocket API that the fault script holds back.
    late: Vec<Late>,
}

impl Binance {
    fn new(config: BinanceConfig, start_ns: u64) -> Self {
        let market = Market::new(
            &MarketConfig {
                venue: match config.product {
                    Product::Spot => "binance",
                    Product::UsdM => "binance-usdm",
                },
                instruments: config.instruments.clone(),
                book_levels: config.book_levels,
                seed: config.seed,
                events_per_instrument_per_s: events_for_messages(config.messages_per_instrument_per_s),
                update_id_gaps: config.product == Product::UsdM,
            },
            start_ns,
        );
        let listings: Vec<Listing> =
            config.instruments.iter().map(|spec| Listing::new(spec, config.product)).collect();
        let index = listings.iter().enumerate().map(|(index, it)| (it.lower.clone(), index)).collect();
        let truth = listings.iter().map(|listing| InstrumentTruth {
            symbol: listing.spec.symbol(),
            venue_symbol: listing.upper.clone(),
            ..InstrumentTruth::default()
        });
        let pending = market.instruments().iter().map(|instrument| {
            let published_id = instrument.last_update_id;
            vec![Pending { published_id, ..Pending::default() }; config.product.speeds().len()]
        });
        let trading = config.trading.filter(|_| config.product == Product::Spot);
        let exchange = trading.map(|trading| {
            let trading = TradingConfig { seed: trading.seed ^ config.seed.rotate_left(17), ..trading };
            Exchange::new(&trading, &config.instruments, start_ns)
        });
        let mut venue = Self {
            product: config.product,
            clock: MarketClock::new(start_ns, config.speed),
            topics: Topics::new(listings.len()),
            sessions: Sessions::new(),
            attempts: Attempts::default(),
            usage: Usage::default(),
            timers: Timers::new(),
            pending: pending.collect(),
            published_bars: vec![[(0, 0); INTERVALS.len()]; listings.len()],
            faults: vec![InstrumentFaults::default(); listings.len()],
            gone: vec![false; listings.len()],
            truth: truth.collect(),
            bars_ticks: 0,
            client_errors: 0,
            skipped_ns: 0,
            exchange,
            late: Vec::new(),
            limits: config.limits,
            index,
            listings,
            market,
        };
        venue.schedule_bars(start_ns);
        venue
    }

    fn schedule_bars(&mut self, market_ns: u64) {
        let period_ns = self.product.bars_period_ns();
        self.bars_ticks = market_ns.saturating_sub(BOUNDARY_DELAY_NS) / period_ns + 1;
        self.timers.set(self.bars_ticks * period_ns + BOUNDARY_DELAY_NS, Timer::Bars);
    }

    fn instrument_of(&self, symbol: &str) -> Option<usize> {
        self.listings.iter().position(|listing| listing.spec.symbol() == symbol)
    }

    /// Makes and publishes the next market event, which is due.
    fn market_event(&mut self, until_ns: u64, output: &mut Output) {
        let Some(event) = self.market.step(until_ns) else { return };
        let index = event.instrument;
        if self.gone[index] {
            return;
        }
        let listing = &self.listings[index];
        let truth = &mut self.truth[index];
        for trade in &event.trades {
            let dropped = &mut self.faults[index].drop_trades;
            if *dropped > 0 {
                *dropped -= 1;
                continue;
            }
            let heard = self.topics.publish(Topic::new(index, Kind::Trade), output, |buffer, unit| {
                encode::trade(buffer, listing, trade, event.time_ns, unit);
            });
            if heard {
                truth.trade_id_first.get_or_insert(trade.id);
                truth.trade_id_last = Some(trade.id);
                truth.trades_published_total += 1;
            }
        }
        for fills in event.trades.chunk_by(|a, b| a.group == b.group) {
            self.topics.publish(Topic::new(index, Kind::AggTrade), output, |buffer, unit| {
                encode::agg_trade(buffer, listing, fills, event.time_ns, unit);
            });
        }
        if event.top_changed {
            self.topics.publish(Topic::new(index, Kind::BookTicker), output, |buffer, unit| {
                encode::book_ticker(buffer, listing, event.last_update_id, &event.top, event.time_ns, unit);
            });
        }
        let mut at_once = false;
        for (speed, period_ms) in self.product.speeds().iter().enumerate() {
            let pending = &mut self.pending[index][speed];
            if pending.changed.is_empty() {
                pending.first_id = event.first_update_id;
                if *period_ms > 0 {
                    let due_ns = next_due_ns(period_ms * MS_NS, index, self.listings.len(), event.time_ns);
                    self.timers.set(due_ns, Timer::Depth { speed, instrument: index });
                }
            }
            pending.changed.extend(event.levels.iter().map(|level| (level.side, level.price)));
            pending.last_id = event.last_update_id;
            pending.engine_ns = event.time_ns;
            at_once |= *period_ms == 0;
        }
        let event_ns = event.time_ns;
        if at_once {
            self.publish_depth(index, 0, event_ns, output);
        }
        if let Some(exchange) = &mut self.exchange {
            exchange.market_event(&self.market, self.clock.caller_ns(event_ns));
        }
    }

    fn publish_depth(&mut self, index: usize, speed: usize, event_ns: u64, output: &mut Output) {
        let pending = &mut self.pending[index][speed];
        if pending.changed.is_empty() {
            return;
        }
        pending.changed.sort_unstable();
        pending.changed.dedup();
        let mut head = UpdateHead {
            event_ns,
            engine_ns: pending.engine_ns,
            first_id: pending.first_id,
            last_id: pending.last_id,
            previous_id: pending.published_id,
        };
        let listing = &self.listings[index];
        let book = &self.market.instruments()[index].book;
        for (levels, depth) in PARTIAL_LEVELS.iter().enumerate() {
            let topic = Topic::new(index, Kind::Partial(levels, speed));
            self.topics.publish(topic, output, |buffer, unit| {
                encode::partial_depth(buffer, listing, &head, book, *depth, unit);
            });
        }
        pending.published_id = pending.last_id;
        let topic = Topic::new(index, Kind::Depth(speed));
        if self.topics.has(topic) {
            if pending.drop > 0 {
                pending.drop -= 1;
            } else {
                if pending.shift.1 > 0 {
                    pending.shift.1 -= 1;
                    head.first_id = head.first_id.saturating_add_signed(pending.shift.0);
                    head.last_id = head.last_id.saturating_add_signed(pending.shift.0);
                }
                self.topics.publish(topic, output, |buffer, unit| {
                    encode::depth_update(buffer, listing, &head, &pending.changed, book, unit);
                });
                let truth = &mut self.truth[index];
                truth.update_id_published = truth.update_id_published.max(Some(pending.last_id));
                truth.updates_published_total += 1;
            }
        }
        pending.changed.clear();
    }

    /// Publishes bars and tickers of all instruments.
    fn publish_bars(&mut self, event_ns: u64, output: &mut Output) {
        let even = self.bars_ticks.is_multiple_of(2);
        for index in 0..self.listings.len() {
            if self.gone[index] {
                continue;
            }
            self.market.roll_bars(index, event_ns);
            let listing = &self.listings[index];
            let instrument = &self.market.instruments()[index];
            let bars = &instrument.bars;
            for interval in 0..INTERVALS.len() {
                let topic = Topic::new(index, Kind::Kline(interval));
                if (interval > 0 && !even) || !self.topics.has(topic) {
                    continue;
                }
                let mut send = |bar, closed| {
                    self.topics.publish(topic, output, |buffer, unit| {
                        encode::kline(buffer, listing, bar, interval, closed, event_ns, unit);
                    });
                };
                let published = &mut self.published_bars[index][interval];
                // A bar that a client saw open is also shown closed.
                if let Some(bar) = bars.closed(interval).filter(|bar| bar.open_s == published.0) {
                    send(bar, true);
                }
                let current = bars.current(interval);
                if *published != (current.open_s, current.count) {
                    *published = (current.open_s, current.count);
                    send(current, false);
                }
            }
            if !self.bars_ticks.is_multiple_of(SECOND_NS / self.product.bars_period_ns()) {
                continue;
            }
            let day = Day { total: bars.total(), last: bars.last_trade(), top: instrument.book.top() };
            self.topics.publish(Topic::new(index, Kind::Ticker), output, |buffer, unit| {
                encode::ticker(buffer, listing, &day, event_ns, unit);
            });
            self.topics.publish(Topic::new(index, Kind::MiniTicker), output, |buffer, unit| {
                encode::mini_ticker(buffer, listing, day.total, event_ns, unit);
            });
        }
    }

    fn run_market(&mut self, market_ns: u64, output: &mut Output) {
        self.skipped_ns += self.market.skip_lag(market_ns);
        for _ in 0..STEPS_PER_POLL_MAX {
            match self.timers.next(self.market.next_ns(), market_ns) {
                Next::Wait => return,
                Next::Event(event_ns) => self.market_event(event_ns, output),
                Next::Timer(due_ns, Timer::Depth { speed, instrument }) => {
                    self.publish_depth(instrument, speed, due_ns, output);
                }
                Next::Timer(due_ns, Timer::Bars) => {
                    self.publish_bars(due_ns, output);
                    // After a long stall, one late publication stands for all that were missed.
                    self.schedule_bars(due_ns.max(market_ns.saturating_sub(LAG_NS_MAX)));
                }
            }
        }
    }
}

impl Venue for Binance {
    fn name(&self) -> &'static str {
        match self.product {
            Product::Spot => "binance",
            Product::UsdM => "binance-usdm",
        }
    }

    fn admit(&mut self, target: &str, now_ns: u64) -> Result<(), HttpAnswer> {
        self.admit_session(target, now_ns)
    }

    fn connected(&mut self, id: ConnectionId, target: &str, now_ns: u64, output: &mut Output) {
        self.open_session(id, target, now_ns, output);
    }

    fn text(&mut self, id: ConnectionId, text: &[u8], now_ns: u64, output: &mut Output) {
        if !self.count_incoming(id, now_ns, output) {
            return;
        }
        if self.is_api(id) {
            self.api_frame(id, text, now_ns, output);
            self.deliver(now_ns, output);
        } else {
            self.control_frame(id, text, output);
        }
    }

    fn ping(&mut self, id: ConnectionId, now_ns: u64, output: &mut Output) {
        self.count_incoming(id, now_ns, output);
    }

    fn pong(&mut self, id: ConnectionId, payload: &[u8], now_ns: u64, output: &mut Output) {
        if self.count_incoming(id, now_ns, output) {
            self.accept_pong(id, payload);
        }
    }

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
        self.clock
            .caller_ns(self.market.next_ns().min(self.timers.next_ns()))
            .min(self.sessions.wake_ns())
            .min(self.deliver_wake_ns())
    }

    fn set_rate(&mut self, messages_per_instrument_per_s: f64, now_ns: u64) {
        self.market
            .set_rate(events_for_messages(messages_per_instrument_per_s), self.clock.market_ns(now_ns));
    }

    fn fault(&mut self, fault: &VenueFault, now_ns: u64) {
        let index = fault.symbol().and_then(|symbol| self.instrument_of(symbol));
        match (fault, index) {
            (VenueFault::DropUpdates { count, .. }, Some(index)) => {
                self.pending[index].iter_mut().for_each(|pending| pending.drop = *count);
            }
            (VenueFault::ShiftUpdateIds { by, count, .. }, Some(index)) => {
                self.pending[index].iter_mut().for_each(|pending| pending.shift = (*by, *count));
            }
            (VenueFault::DropTrades { count, .. }, Some(index)) => {
                self.faults[index].drop_trades = *count;
            }
            (VenueFault::StaleSnapshots { count, .. }, Some(index)) => {
                let instrument = &self.market.instruments()[index];
                self.faults[index].stale = Some((instrument.book.clone(), instrument.last_update_id, *count));
            }
            (VenueFault::Orders(fault), _) => {
                if let Some(exchange) = &mut self.exchange {
                    exchange.fault(fault, now_ns);
                }
            }
            (VenueFault::Delist { .. }, Some(index)) => {
                self.gone[index] = true;
            }
            (VenueFault::Clear, _) => {
                if let Some(exchange) = &mut self.exchange {
                    exchange.fault(&OrderFault::Clear, now_ns);
                }
                self.faults.fill(InstrumentFaults::default());
                for pending in self.pending.iter_mut().flatten() {
                    pending.drop = 0;
                    pending.shift = (0, 0);
                }
            }
            // Books carry no checksum here, and begin by REST; each subscription is answered.
            (
                VenueFault::LieChecksum { .. }
                | VenueFault::LoseSnapshots { .. }
                | VenueFault::PassOver { .. },
                _,
            )
            | (_, None) => {}
        }
    }

    fn announce_shutdown(&mut self, id: ConnectionId, now_ns: u64, output: &mut Output) {
        self.send_shutdown_notice(id, now_ns, output);
    }

    fn unknown_event(&self, now_ns: u64) -> Vec<u8> {
        let time_ms = self.clock.market_ns(now_ns) / MS_NS;
        let symbol = &self.listings[0];
        format!(
            "{{\"stream\":\"{}@novelty\",\"data\":{{\"e\":\"noveltyUpdate\",\"E\":{time_ms},\"s\":\"{}\",\
             \"z\":[{{\"deep\":[1,2,{{}}]}}]}}}}",
            symbol.lower, symbol.upper
        )
        .into_bytes()
    }

    fn refusal(&self, status: u16, retry_after_s: u64) -> HttpAnswer {
        rest::refusal(status, retry_after_s, &self.limits)
    }

    fn add_stats(&self, stats: &mut Stats) {
        stats.sent_by_stream_total.extend(self.topics.sent(self.product));
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
        self.exchange.as_ref()
    }
}

#[cfg(test)]
mod tests;
