//! A market made from a seed: books, trades and their numbers, with no venue and no I/O in it.
//!
//! Time is an argument. [`Market::step`] makes the next thing that happens up to a given time: a taker order that
//! trades against the best levels, a change at the top of a book, or a change inside it. Everything a venue tells
//! about (diffs, snapshots, trades, bars, best prices) is read from here, so it cannot disagree with itself.
//!
//! Events are a Poisson process over all instruments; the same seed and the same calls make the same market.

mod bars;
mod book;
mod reference;

use std::collections::VecDeque;

use fastrand::Rng;

pub use self::bars::{Bar, Bars, INTERVALS};
pub use self::book::{Book, Level, Levels, Side, Top};
use self::reference::{Reference, hash_text};
use crate::clock::LAG_NS_MAX;
use crate::instruments::InstrumentSpec;
use crate::venue::InstrumentTruth;

/// Trades kept for history requests, for each instrument.
const TRADES_KEPT: usize = 10_000;
/// Events made for each instrument before the start, so that books look used and history is not empty.
const WARM_UP_EVENTS: u32 = 200;
/// The time before the start over which the warm-up is spread.
const WARM_UP_NS: u64 = 60_000_000_000;
/// A trade is published this long after the matching engine made it: the two times that venues print differ.
const PUBLISH_DELAY_NS: u64 = 1_000_000;
/// Of 100 events, this many are taker orders ...
const TAKER_PERCENT: u32 = 15;
/// ... and this many change the top of a book; the rest changes levels behind it.
const TOP_PERCENT: u32 = 40;

/// Frames for each event on venues with one frame for a trade and one for each change of the best price or its
/// quantity, without the book itself. A taker order makes one for each fill, and one because it changes the top.
pub const TRADE_AND_TOP_FRAMES_PER_EVENT: f64 =
    (TAKER_PERCENT as f64 * (1.0 + FILLS_PER_TAKER) + TOP_PERCENT as f64) / 100.0;
/// Fills of one taker order on average; a test measures it.
pub(crate) const FILLS_PER_TAKER: f64 = 1.65;
/// Events that change a best price or its quantity, among all.
pub(crate) const TOPS_PER_EVENT: f64 = (TAKER_PERCENT + TOP_PERCENT) as f64 / 100.0;
/// Events with trades among all.
pub(crate) const TAKERS_PER_EVENT: f64 = TAKER_PERCENT as f64 / 100.0;

/// The events per second that make `messages_per_s`, where `messages` says how many some events make (increasing, and
/// at least one message for 20 events).
pub(crate) fn events_for(messages_per_s: f64, messages: impl Fn(f64) -> f64) -> f64 {
    if messages_per_s <= 0.0 {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 20.0 * messages_per_s);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if messages(middle) < messages_per_s {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// One fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trade {
    /// Consecutive for each instrument.
    pub id: u64,
    /// Consecutive number of the fills that one taker order had at one price.
    pub group: u64,
    /// Ticks.
    pub price: i64,
    /// Lots.
    pub qty: i64,
    /// `Bid`: the taker bought.
    pub taker: Side,
    /// When the engine matched it, nanoseconds since 1970.
    pub time_ns: u64,
}

/// One level that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelChange {
    /// Bid or ask.
    pub side: Side,
    /// Ticks.
    pub price: i64,
    /// Lots now resting; 0: the level is gone.
    pub qty: i64,
}

/// What happened at one moment in one instrument.
#[derive(Clone, Debug)]
pub struct MarketEvent {
    /// When it is published, nanoseconds since 1970.
    pub time_ns: u64,
    /// Index of the instrument.
    pub instrument: usize,
    /// First update id of this event.
    pub first_update_id: u64,
    /// Last update id of this event. Ids count what the engine did, so there may be more of them than levels.
    pub last_update_id: u64,
    /// Levels in the order in which they changed.
    pub levels: Vec<LevelChange>,
    /// Fills in their order.
    pub trades: Vec<Trade>,
    /// Best bid and ask after it.
    pub top: Top,
    /// Whether a best price or its quantity changed.
    pub top_changed: bool,
}

/// How a market is made.
#[derive(Clone, Debug)]
pub struct MarketConfig {
    /// The venue's name. Venues with the same seed have different books and trades, but prices that move together.
    pub venue: &'static str,
    /// What is traded.
    pub instruments: Vec<InstrumentSpec>,
    /// Levels a side that each book is kept at; fewer where the price has no room for them.
    pub book_levels: usize,
    /// The only source of chance.
    pub seed: u64,
    /// Events per second of each instrument; 0 stands still.
    pub events_per_instrument_per_s: f64,
    /// Leave unused update ids between events (as some venues do), so that only a declared chain proves continuity.
    pub update_id_gaps: bool,
}

/// One instrument's state.
#[derive(Clone, Debug)]
pub struct Instrument {
    /// Name and steps.
    pub spec: InstrumentSpec,
    /// The true book.
    pub book: Book,
    /// The last update id that is in the book.
    pub last_update_id: u64,
    /// Bars and totals.
    pub bars: Bars,
    trades: VecDeque<Trade>,
    next_trade_id: u64,
    next_group: u64,
    levels: usize,
    spacing: i64,
    qty_typical: i64,
    target: i64,
    reference: Reference,
}

impl Instrument {
    /// The fills still known, oldest first, ids without holes.
    pub fn trades(&self) -> &VecDeque<Trade> {
        &self.trades
    }

    fn new(spec: &InstrumentSpec, index: usize, config: &MarketConfig, start_ns: u64, rng: &mut Rng) -> Self {
        // The book spans about 2 % of the price a side, or as many ticks as it has levels.
        let levels = config.book_levels.clamp(20, (spec.price_ticks / 4).max(20) as usize);
        let spacing = (spec.price_ticks / 50 / levels as i64).max(1);
        // About 5000 units of quote currency in a typical level.
        let lot_value = spec.price_ticks as f64 * spec.tick as f64 * spec.lot as f64
            / 10f64.powi((spec.price_decimals + spec.qty_decimals) as i32);
        let qty_typical = ((5000.0 / lot_value) as i64).clamp(2, 1 << 40);
        let reference = Reference::new(config.seed, &spec.base, config.venue);
        let target = reference.price(spec.price_ticks, start_ns);
        let mut instrument = Self {
            spec: spec.clone(),
            book: Book::new(levels + 8),
            last_update_id: 70_000_000_000 - index as u64 * 1_000_000_000 + rng.u64(0..1_000_000_000),
            bars: Bars::new(start_ns, target),
            trades: VecDeque::new(),
            next_trade_id: 5_000_000_000 - index as u64 * 90_000_000 + rng.u64(0..90_000_000),
            next_group: 1_000_000_000 + rng.u64(0..90_000_000),
            levels,
            spacing,
            qty_typical,
            target,
            reference,
        };
        for side in [Side::Bid, Side::Ask] {
            let mut price = target - i64::from(side == Side::Bid);
            for _ in 0..levels {
                let qty = instrument.draw_qty(rng);
                instrument.book.side_mut(side).set(price, qty);
                price -= side.sign() * rng.i64(1..=spacing);
            }
        }
        instrument
    }

    fn draw_qty(&self, rng: &mut Rng) -> i64 {
        let large = if rng.u8(0..10) == 0 { 10 } else { 1 };
        rng.i64(1..=2 * self.qty_typical) * large
    }

    /// Another quantity than `old`.
    fn draw_other_qty(&self, old: i64, rng: &mut Rng) -> i64 {
        let qty = self.draw_qty(rng);
        if qty == old { qty + 1 } else { qty }
    }
}

/// The market of one venue.
#[derive(Clone, Debug)]
pub struct Market {
    instruments: Vec<Instrument>,
    event: MarketEvent,
    rng: Rng,
    next_ns: u64,
    now_ns: u64,
    /// Of all instruments together.
    events_per_s: f64,
    update_id_gaps: bool,
}

impl Market {
    /// A market at `start_ns` (nanoseconds since 1970) that has already traded for a while.
    pub fn new(config: &MarketConfig, start_ns: u64) -> Self {
        assert!(!config.instruments.is_empty(), "a market has at least one instrument");
        let mut rng = Rng::with_seed(hash_text(config.seed, config.venue));
        let early_ns = start_ns.saturating_sub(WARM_UP_NS);
        let instruments: Vec<Instrument> = config
            .instruments
            .iter()
            .enumerate()
            .map(|(index, spec)| Instrument::new(spec, index, config, early_ns, &mut rng))
            .collect();
        let top = instruments[0].book.top();
        let mut market = Self {
            instruments,
            event: MarketEvent {
                time_ns: early_ns,
                instrument: 0,
                first_update_id: 0,
                last_update_id: 0,
                levels: Vec::with_capacity(64),
                trades: Vec::with_capacity(64),
                top,
                top_changed: false,
            },
            rng,
            next_ns: 0,
            now_ns: early_ns,
            events_per_s: 0.0,
            update_id_gaps: config.update_id_gaps,
        };
        let count = u64::from(WARM_UP_EVENTS) * market.instruments.len() as u64;
        for index in 0..count {
            market.make_event(early_ns + (start_ns - early_ns) / count * index);
        }
        market.set_rate(config.events_per_instrument_per_s, start_ns);
        market
    }

    /// Changes the number of events per second of each instrument from `now_ns` on; 0 stands still.
    pub fn set_rate(&mut self, events_per_instrument_per_s: f64, now_ns: u64) {
        self.events_per_s = events_per_instrument_per_s.max(0.0) * self.instruments.len() as f64;
        self.now_ns = self.now_ns.max(now_ns);
        self.schedule();
    }

    /// When the next event happens; `u64::MAX` if never.
    pub fn next_ns(&self) -> u64 {
        self.next_ns
    }

    /// Makes the next event if it happens at or before `until_ns`.
    pub fn step(&mut self, until_ns: u64) -> Option<&MarketEvent> {
        if self.next_ns > until_ns {
            return None;
        }
        self.now_ns = self.next_ns;
        self.make_event(self.now_ns);
        self.schedule();
        Some(&self.event)
    }

    /// The event of the last [`Self::step`] that made one.
    pub fn last_event(&self) -> &MarketEvent {
        &self.event
    }

    /// Forgets the events up to `now_ns` if the next one is [`LAG_NS_MAX`] late, so that a stalled caller need not make
    /// them all. Gives how much time it skipped.
    pub(crate) fn skip_lag(&mut self, now_ns: u64) -> u64 {
        let lag_ns = now_ns.saturating_sub(self.next_ns());
        if lag_ns <= LAG_NS_MAX {
            return 0;
        }
        self.now_ns = self.now_ns.max(now_ns);
        self.schedule();
        lag_ns
    }

    /// All instruments, in the order of the configuration.
    pub fn instruments(&self) -> &[Instrument] {
        &self.instruments
    }

    /// What a venue has published of what is not `gone`, completed with the market's own numbers.
    pub(crate) fn truth(&self, published: &[InstrumentTruth], gone: &[bool]) -> Vec<InstrumentTruth> {
        let now = |(truth, instrument): (&InstrumentTruth, &Instrument)| InstrumentTruth {
            update_id_last: instrument.last_update_id,
            trade_id_market: instrument.trades.back().map_or(0, |trade| trade.id),
            ..truth.clone()
        };
        let all = published.iter().zip(&self.instruments).zip(gone);
        all.filter(|(_, gone)| !**gone).map(|(one, _)| now(one)).collect()
    }

    /// Closes the bars of one instrument that ended at or before `now_ns`.
    pub fn roll_bars(&mut self, instrument: usize, now_ns: u64) {
        // Trades carry the engine's time: those published now may still belong to the bar before.
        self.instruments[instrument].bars.roll(now_ns.saturating_sub(PUBLISH_DELAY_NS));
    }

    fn schedule(&mut self) {
        if self.events_per_s <= 0.0 {
            self.next_ns = u64::MAX;
            return;
        }
        // The gaps of a Poisson process are exponential; it has no memory, so a new rate needs no other care.
        let gap_s = -(1.0 - self.rng.f64()).ln() / self.events_per_s;
        self.next_ns = self.now_ns + (gap_s * 1e9) as u64;
    }

    fn make_event(&mut self, time_ns: u64) {
        let index = self.rng.usize(0..self.instruments.len());
        let instrument = &mut self.instruments[index];
        let event = &mut self.event;
        event.time_ns = time_ns;
        event.instrument = index;
        event.levels.clear();
        event.trades.clear();
        let before = instrument.book.top();

        let mut change = Change { instrument, event, rng: &mut self.rng };
        change.move_target();
        let kind = change.rng.u32(0..100);
        if kind < TAKER_PERCENT {
            change.taker_order();
        } else if kind < TAKER_PERCENT + TOP_PERCENT {
            change.top_quote();
        } else {
            change.inner_levels();
        }
        change.keep_depth();

        if self.update_id_gaps {
            instrument.last_update_id += self.rng.u64(0..300);
        }
        let ids = event.levels.len() as u64 + self.rng.u64(0..3);
        event.first_update_id = instrument.last_update_id + 1;
        instrument.last_update_id += ids.max(1);
        event.last_update_id = instrument.last_update_id;
        event.top = instrument.book.top();
        event.top_changed = event.top != before;
    }
}

/// One event in the making.
struct Change<'a> {
    instrument: &'a mut Instrument,
    event: &'a mut MarketEvent,
    rng: &'a mut Rng,
}

impl Change<'_> {
    fn set(&mut self, side: Side, price: i64, qty: i64) {
        self.instrument.book.side_mut(side).set(price, qty);
        self.event.levels.push(LevelChange { side, price, qty });
    }

    /// The price that the market drifts to is the asset's on all venues.
    fn move_target(&mut self) {
        let instrument = &mut *self.instrument;
        let start = instrument.spec.price_ticks;
        instrument.target = instrument.reference.price(start, self.event.time_ns);
    }

    /// The side that is to win now: buyers below the target price, sellers above it, mostly; and nearly always if the
    /// market is far from it.
    fn pressure(&mut self) -> Side {
        let top = self.instrument.book.top();
        let middle = i64::midpoint(top.bid.price, top.ask.price);
        let far = (middle - self.instrument.target).abs() > self.instrument.spec.price_ticks / 10_000;
        let below = middle < self.instrument.target;
        let with_target = self.rng.u8(0..100) < if far { 90 } else { 62 };
        if below == with_target { Side::Bid } else { Side::Ask }
    }

    /// A taker order: part of the best level, all of it, or it and the next ones.
    fn taker_order(&mut self) {
        let taker = self.pressure();
        let maker = taker.opposite();
        let reach = match self.rng.u8(0..10) {
            0..=5 => 0,
            6..=8 => 1,
            _ => self.rng.usize(2..=3),
        };
        for level in 0..reach.max(1) {
            let best = self.instrument.book.side(maker).best().expect("both sides are refilled");
            let whole = reach > 0 && (level + 1 < reach || reach == 1);
            let qty = if whole || best.qty == 1 { best.qty } else { self.rng.i64(1..best.qty) };
            self.fill(taker, best, qty);
        }
    }

    /// Trades `qty` at one level, which may have been more than one resting order.
    fn fill(&mut self, taker: Side, level: Level, qty: i64) {
        let mut left = qty;
        let parts = if self.rng.u8(0..10) < 7 { 1 } else { self.rng.i64(2..=3).min(qty) };
        for part in 0..parts {
            let last = part + 1 == parts;
            let take = if last { left } else { self.rng.i64(1..=left - (parts - part - 1)) };
            left -= take;
            let trade = Trade {
                id: self.instrument.next_trade_id,
                group: self.instrument.next_group,
                price: level.price,
                qty: take,
                taker,
                time_ns: self.event.time_ns.saturating_sub(PUBLISH_DELAY_NS),
            };
            self.instrument.next_trade_id += 1;
            self.instrument.bars.add(&trade);
            if self.instrument.trades.len() == TRADES_KEPT {
                self.instrument.trades.pop_front();
            }
            self.instrument.trades.push_back(trade);
            self.event.trades.push(trade);
        }
        self.instrument.next_group += 1;
        self.set(taker.opposite(), level.price, level.qty - qty);
    }

    /// A better price inside the spread, another quantity at the best price, or the best price withdrawn.
    fn top_quote(&mut self) {
        let top = self.instrument.book.top();
        let spread = top.ask.price - top.bid.price;
        let wide = spread > (self.instrument.spec.price_ticks / 20_000).max(2);
        let action = self.rng.u8(0..100);
        if spread > 1 && (wide || action < 30) {
            let side = self.pressure();
            let best = if side == Side::Bid { top.bid } else { top.ask };
            let step = self.rng.i64(1..=(spread - 1).min(self.instrument.spacing));
            let qty = self.instrument.draw_qty(self.rng);
            self.set(side, best.price + side.sign() * step, qty);
        } else if action < 90 {
            let side = if self.rng.bool() { Side::Bid } else { Side::Ask };
            let best = if side == Side::Bid { top.bid } else { top.ask };
            let qty = self.instrument.draw_other_qty(best.qty, self.rng);
            self.set(side, best.price, qty);
        } else {
            let side = self.pressure().opposite();
            let best = if side == Side::Bid { top.bid } else { top.ask };
            self.set(side, best.price, 0);
        }
    }

    /// One to three levels behind the best, nearer ones more often.
    fn inner_levels(&mut self) {
        for _ in 0..self.rng.u8(1..=3) {
            let side = if self.rng.bool() { Side::Bid } else { Side::Ask };
            let levels = self.instrument.book.side(side);
            let place = self.rng.f64();
            let depth = 1 + (place * place * place * (levels.len() - 2) as f64) as usize;
            let level = levels.at(depth).expect("a side has at least ten levels");
            let nearer = levels.at(depth - 1).expect("depth is at least 1");
            let room = (nearer.price - level.price).abs() - 1;
            match self.rng.u8(0..100) {
                0..25 if room > 0 => {
                    let price = level.price + side.sign() * self.rng.i64(1..=room);
                    let qty = self.instrument.draw_qty(self.rng);
                    self.set(side, price, qty);
                }
                25..45 => self.set(side, level.price, 0),
                _ => {
                    let qty = self.instrument.draw_other_qty(level.qty, self.rng);
                    self.set(side, level.price, qty);
                }
            }
        }
    }

    /// Adds or removes levels until the book has its depth again.
    fn keep_depth(&mut self) {
        for side in [Side::Bid, Side::Ask] {
            while self.instrument.book.side(side).len() > self.instrument.levels {
                let worst = self.instrument.book.side(side).worst().expect("longer than its depth");
                self.set(side, worst.price, 0);
            }
            while self.instrument.book.side(side).len() < self.instrument.levels {
                let Some(price) = self.free_price(side) else { break };
                let qty = self.instrument.draw_qty(self.rng);
                self.set(side, price, qty);
            }
        }
    }

    /// A price for one more level: behind the last one, or in a gap once the side reaches far enough, so that a book
    /// does not creep away from its best price over a long run.
    fn free_price(&mut self, side: Side) -> Option<i64> {
        let (levels, count) = (self.instrument.book.side(side), self.instrument.levels);
        let best = levels.best().expect("an event takes few levels");
        let worst = levels.worst().expect("an event takes few levels");
        let behind = worst.price - side.sign() * self.rng.i64(1..=self.instrument.spacing);
        let reach = (best.price - worst.price).abs();
        if behind > 0 && reach < 2 * count as i64 * self.instrument.spacing {
            return Some(behind);
        }
        // The walk keeps the best price well above as many ticks as there are levels, so one of them is free.
        let start = self.rng.usize(0..levels.len());
        let gap = (start..levels.len()).chain(0..start).find_map(|depth| {
            let (near, far) = (levels.at(depth)?, levels.at(depth + 1)?);
            let room = (near.price - far.price).abs() - 1;
            (room > 0).then_some((near.price, room))
        });
        gap.map(|(near, room)| near - side.sign() * self.rng.i64(1..=room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instruments::default_instruments;

    const START_NS: u64 = 1_783_000_000_000_000_000;
    const SECOND_NS: u64 = 1_000_000_000;

    fn market(seed: u64, rate: f64) -> Market {
        let config = MarketConfig {
            venue: "test",
            instruments: default_instruments("USDT"),
            book_levels: 200,
            seed,
            events_per_instrument_per_s: rate,
            update_id_gaps: false,
        };
        Market::new(&config, START_NS)
    }

    #[test]
    fn a_book_rebuilt_from_a_snapshot_and_the_changes_equals_the_markets_at_each_id() {
        for seed in 0..4 {
            let mut market = market(seed, 500.0);
            let mut rebuilt: Vec<(Book, u64)> =
                market.instruments().iter().map(|it| (it.book.clone(), it.last_update_id)).collect();
            let mut events = 0;
            while let Some(event) = market.step(START_NS + SECOND_NS) {
                let event = event.clone();
                let (book, id) = &mut rebuilt[event.instrument];
                assert_eq!(event.first_update_id, *id + 1, "seed {seed}");
                assert!(event.last_update_id >= event.first_update_id);
                *id = event.last_update_id;
                for change in &event.levels {
                    book.side_mut(change.side).set(change.price, change.qty);
                }
                assert_eq!(*book, market.instruments()[event.instrument].book, "seed {seed}");
                assert_eq!(book.top(), event.top);
                assert!(event.top.bid.price < event.top.ask.price, "crossed book, seed {seed}");
                assert!(event.top.bid.price > 0);
                events += 1;
            }
            assert!(events > 20_000, "{events}");
        }
    }

    #[test]
    fn trades_happen_at_the_books_best_prices_and_take_what_they_trade() {
        let mut market = market(7, 500.0);
        let mut fills = 0;
        let mut takers = 0;
        loop {
            let before: Vec<Book> = market.instruments().iter().map(|it| it.book.clone()).collect();
            let Some(event) = market.step(START_NS + SECOND_NS / 5) else { break };
            let mut book = before[event.instrument].clone();
            takers += usize::from(!event.trades.is_empty());
            for trade in &event.trades {
                fills += 1;
                let maker = trade.taker.opposite();
                let best = book.side(maker).best().unwrap();
                assert_eq!(trade.price, best.price);
                assert!(trade.qty > 0 && trade.qty <= best.qty);
                book.side_mut(maker).set(best.price, best.qty - trade.qty);
                assert_eq!(trade.time_ns, event.time_ns - PUBLISH_DELAY_NS);
            }
            if !event.trades.is_empty() {
                assert!(event.top_changed);
            }
        }
        let average = fills as f64 / takers as f64;
        assert!((average - FILLS_PER_TAKER).abs() < 0.15, "fills of a taker order: {average}");
    }

    #[test]
    fn trade_ids_are_consecutive_for_each_instrument() {
        let mut market = market(3, 500.0);
        while market.step(START_NS + SECOND_NS).is_some() {}
        for instrument in market.instruments() {
            let ids: Vec<u64> = instrument.trades().iter().map(|trade| trade.id).collect();
            assert!(ids.len() > 20);
            assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1));
            assert_eq!(instrument.bars.total().count, ids.len() as u64);
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_market_and_another_seed_another() {
        let run = |seed| {
            let mut market = market(seed, 100.0);
            let mut all = Vec::new();
            while let Some(event) = market.step(START_NS + SECOND_NS / 10) {
                all.push(format!("{event:?}"));
            }
            all
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn the_rate_can_be_changed_and_stopped() {
        let mut market = market(5, 0.0);
        assert_eq!(market.next_ns(), u64::MAX);
        assert!(market.step(u64::MAX - 1).is_none());
        let mut count = |rate: f64, from_s: u64| -> f64 {
            market.set_rate(rate, START_NS + from_s * SECOND_NS);
            let mut events = 0.0;
            while market.step(START_NS + (from_s + 10) * SECOND_NS).is_some() {
                events += 1.0;
            }
            events / 10.0 / 50.0
        };
        let slow = count(2.0, 100);
        let fast = count(40.0, 200);
        assert!((slow - 2.0).abs() < 0.5, "{slow}");
        assert!((fast - 40.0).abs() < 2.0, "{fast}");
    }

    #[test]
    fn prices_of_one_asset_move_together_on_all_venues() {
        let instruments: Vec<_> = default_instruments("USD").into_iter().take(2).collect();
        let mut markets = ["binance", "kraken", "coinbase"].map(|venue| {
            let config = MarketConfig {
                venue,
                instruments: instruments.clone(),
                book_levels: 1000,
                seed: 3,
                events_per_instrument_per_s: 10.0,
                update_id_gaps: false,
            };
            Market::new(&config, START_NS)
        });
        let mut seen = Vec::new();
        for minute in 1..=120 {
            let middles = markets.each_mut().map(|market| {
                while market.step(START_NS + minute * 60 * SECOND_NS).is_some() {}
                let top = market.instruments()[0].book.top();
                i64::midpoint(top.bid.price, top.ask.price)
            });
            let (low, high) = (middles.iter().min().unwrap(), middles.iter().max().unwrap());
            assert!((high - low) * 1000 < *low, "a tenth of a percent apart: {middles:?}");
            seen.push(middles[0]);
        }
        let moved = seen.iter().max().unwrap() - seen.iter().min().unwrap();
        assert!(moved * 2000 > seen[0], "the price moves by more than venues differ: {moved}");
    }

    #[test]
    fn books_keep_their_depth_and_prices_stay_near_their_start_over_a_long_run() {
        let all = default_instruments("USDT");
        // A fine tick, and the coarsest ones, where the book reaches down to a price of nothing.
        let coarse = ["BTC", "PEPE", "TRX", "XLM", "ALGO"];
        let config = MarketConfig {
            venue: "test",
            instruments: all.into_iter().filter(|spec| coarse.contains(&spec.base.as_str())).collect(),
            book_levels: 500,
            seed: 11,
            events_per_instrument_per_s: 200_000.0,
            update_id_gaps: false,
        };
        let mut market = Market::new(&config, START_NS);
        while market.step(START_NS + SECOND_NS).is_some() {}
        for instrument in market.instruments() {
            assert_eq!(instrument.book.bids.len(), instrument.levels, "{}", instrument.spec.symbol());
            assert_eq!(instrument.book.asks.len(), instrument.levels, "{}", instrument.spec.symbol());
            let top = instrument.book.top();
            let start = instrument.spec.price_ticks;
            assert!((top.bid.price - start).abs() < start / 2);
            assert!(top.ask.price - top.bid.price <= (start / 200).max(10), "{top:?}");
        }
    }
}
