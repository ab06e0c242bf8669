//! Bars (candles) of one instrument, for all intervals at once, and its statistics since the start.
//!
//! A bar with no trade still exists: it repeats the last price, as venues do.

use std::collections::VecDeque;

use super::{Side, Trade};

/// Names and lengths (seconds) of the intervals kept.
pub const INTERVALS: [(&str, u64); 14] = [
    ("1s", 1),
    ("1m", 60),
    ("3m", 180),
    ("5m", 300),
    ("15m", 900),
    ("30m", 1800),
    ("1h", 3600),
    ("2h", 7200),
    ("4h", 14400),
    ("6h", 21600),
    ("8h", 28800),
    ("12h", 43200),
    ("1d", 86400),
    ("3d", 259200),
];

/// Closed bars kept of `1s` and of `1m`; the longer ones are summed from those of a minute.
const KEPT: usize = 1500;

/// One bar. Prices in ticks, volumes in lots, quote volumes in ticks times lots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bar {
    /// Start, seconds since 1970.
    pub open_s: u64,
    /// First price.
    pub open: i64,
    /// Highest price.
    pub high: i64,
    /// Lowest price.
    pub low: i64,
    /// Last price.
    pub close: i64,
    /// Lots traded.
    pub volume: i128,
    /// Ticks times lots traded.
    pub quote: i128,
    /// Lots bought by takers.
    pub taker_volume: i128,
    /// Ticks times lots bought by takers.
    pub taker_quote: i128,
    /// First trade id; meaningless if `count` is 0.
    pub first_id: u64,
    /// Last trade id; meaningless if `count` is 0.
    pub last_id: u64,
    /// Trades.
    pub count: u64,
}

impl Bar {
    fn empty(open_s: u64, price: i64) -> Self {
        Self { open_s, open: price, high: price, low: price, close: price, ..Self::default() }
    }

    fn add(&mut self, trade: &Trade) {
        if self.count == 0 {
            self.open = trade.price;
            self.high = trade.price;
            self.low = trade.price;
            self.first_id = trade.id;
        }
        self.high = self.high.max(trade.price);
        self.low = self.low.min(trade.price);
        self.close = trade.price;
        self.last_id = trade.id;
        self.count += 1;
        let quote = i128::from(trade.price) * i128::from(trade.qty);
        self.volume += i128::from(trade.qty);
        self.quote += quote;
        if trade.taker == Side::Bid {
            self.taker_volume += i128::from(trade.qty);
            self.taker_quote += quote;
        }
    }

    /// Appends a later bar to this one.
    fn join(&mut self, later: &Self) {
        if later.count > 0 {
            if self.count == 0 {
                self.first_id = later.first_id;
            }
            self.last_id = later.last_id;
        }
        self.high = self.high.max(later.high);
        self.low = self.low.min(later.low);
        self.close = later.close;
        self.volume += later.volume;
        self.quote += later.quote;
        self.taker_volume += later.taker_volume;
        self.taker_quote += later.taker_quote;
        self.count += later.count;
    }
}

/// All bars of one instrument.
#[derive(Clone, Debug)]
pub struct Bars {
    current: [Bar; INTERVALS.len()],
    closed: [Option<Bar>; INTERVALS.len()],
    seconds: VecDeque<Bar>,
    minutes: VecDeque<Bar>,
    /// Everything since the start; `open_s` is the start.
    total: Bar,
    last: Option<Trade>,
}

impl Bars {
    pub(crate) fn new(start_ns: u64, price: i64) -> Self {
        let start_s = start_ns / 1_000_000_000;
        Self {
            current: INTERVALS.map(|(_, length)| Bar::empty(start_s / length * length, price)),
            closed: [None; INTERVALS.len()],
            seconds: VecDeque::new(),
            minutes: VecDeque::new(),
            total: Bar::empty(start_s, price),
            last: None,
        }
    }

    pub(crate) fn add(&mut self, trade: &Trade) {
        self.roll(trade.time_ns);
        for bar in &mut self.current {
            bar.add(trade);
        }
        self.total.add(trade);
        self.last = Some(*trade);
    }

    /// Closes every bar that ended at or before `now_ns`.
    pub(crate) fn roll(&mut self, now_ns: u64) {
        let now_s = now_ns / 1_000_000_000;
        // All longer intervals are multiples of the shortest: if that one is not over, none is.
        if now_s <= self.current[0].open_s {
            return;
        }
        for (index, (_, length)) in INTERVALS.iter().enumerate() {
            while now_s >= self.current[index].open_s + length {
                let bar = self.current[index];
                self.closed[index] = Some(bar);
                let history = match index {
                    0 => Some(&mut self.seconds),
                    1 => Some(&mut self.minutes),
                    _ => None,
                };
                if let Some(history) = history {
                    if history.len() == KEPT {
                        history.pop_front();
                    }
                    history.push_back(bar);
                }
                self.current[index] = Bar::empty(bar.open_s + length, bar.close);
            }
        }
    }

    /// The bar of `INTERVALS[interval]` that is still open.
    pub fn current(&self, interval: usize) -> &Bar {
        &self.current[interval]
    }

    /// The bar of `INTERVALS[interval]` that closed last.
    pub fn closed(&self, interval: usize) -> Option<&Bar> {
        self.closed[interval].as_ref()
    }

    /// Everything since the start of the simulation. (Venues report the last 24 hours; nothing leaves this window.)
    pub fn total(&self) -> &Bar {
        &self.total
    }

    /// The last trade.
    pub fn last_trade(&self) -> Option<&Trade> {
        self.last.as_ref()
    }

    /// All bars known of one interval, oldest first, the open one last.
    pub fn history(&self, interval: usize) -> Vec<Bar> {
        let length = INTERVALS[interval].1;
        let (source, open) = match interval {
            0 => (&self.seconds, &self.current[0]),
            _ => (&self.minutes, &self.current[1]),
        };
        let mut bars: Vec<Bar> = Vec::new();
        for bar in source.iter().chain([open]) {
            let open_s = bar.open_s / length * length;
            match bars.last_mut() {
                Some(last) if last.open_s == open_s => last.join(bar),
                _ => bars.push(Bar { open_s, ..*bar }),
            }
        }
        bars
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trade(id: u64, second: u64, price: i64) -> Trade {
        Trade { id, group: id, price, qty: 2, taker: Side::Bid, time_ns: second * 1_000_000_000 }
    }

    #[test]
    fn bars_roll_at_their_boundary_and_repeat_the_price_when_empty() {
        let mut bars = Bars::new(600 * 1_000_000_000, 100);
        bars.add(&trade(1, 601, 105));
        bars.add(&trade(2, 659, 95));
        bars.add(&trade(3, 660, 99));
        let minute = bars.closed(1).unwrap();
        assert_eq!(
            (minute.open_s, minute.open, minute.high, minute.low, minute.close, minute.count),
            (600, 105, 105, 95, 95, 2)
        );
        assert_eq!((minute.volume, minute.quote), (4, 400));
        bars.roll(720 * 1_000_000_000);
        bars.roll(780 * 1_000_000_000);
        let empty = bars.closed(1).unwrap();
        assert_eq!((empty.open_s, empty.open, empty.close, empty.count), (720, 99, 99, 0));
        assert_eq!(bars.total().count, 3);
    }

    #[test]
    fn longer_bars_are_sums_of_minutes() {
        let mut bars = Bars::new(0, 100);
        for id in 0..10 {
            bars.add(&trade(id, id * 60, 100 + id as i64));
        }
        let five: Vec<_> =
            bars.history(3).iter().map(|bar| (bar.open_s, bar.open, bar.close, bar.count)).collect();
        assert_eq!(five, [(0, 100, 104, 5), (300, 105, 109, 5)]);
        assert_eq!(bars.history(3)[1], *bars.current(3));
    }
}
