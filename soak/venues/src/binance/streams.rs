//! Stream names, and who has subscribed to which.
//!
//! Source of the names: binance-spot-api-docs, web-socket-streams.md, commit a5e0bc3; those of USD-M from public
//! client libraries.

use super::Product;
use super::encode::Unit;
use crate::market::INTERVALS;
use crate::output::{ConnectionId, Output};

/// Levels of partial books.
pub(super) const PARTIAL_LEVELS: [usize; 3] = [5, 10, 20];
/// The most speeds that a product has.
const SPEEDS_MAX: usize = 4;

const FIRST_DEPTH: usize = 5;
const FIRST_PARTIAL: usize = FIRST_DEPTH + SPEEDS_MAX;
const FIRST_KLINE: usize = FIRST_PARTIAL + PARTIAL_LEVELS.len() * SPEEDS_MAX;
/// Kinds of streams of one instrument.
pub(super) const KINDS: usize = FIRST_KLINE + INTERVALS.len();

/// A kind of stream. The numbers are indices into tables of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Trade,
    AggTrade,
    BookTicker,
    Ticker,
    MiniTicker,
    /// Book updates at `Product::speeds()[_]`.
    Depth(usize),
    /// The best `PARTIAL_LEVELS[_]` levels at `Product::speeds()[_]`.
    Partial(usize, usize),
    /// Bars of `INTERVALS[_]`.
    Kline(usize),
}

impl Kind {
    pub(super) fn index(self) -> usize {
        match self {
            Self::Trade => 0,
            Self::AggTrade => 1,
            Self::BookTicker => 2,
            Self::Ticker => 3,
            Self::MiniTicker => 4,
            Self::Depth(speed) => FIRST_DEPTH + speed,
            Self::Partial(levels, speed) => FIRST_PARTIAL + levels * SPEEDS_MAX + speed,
            Self::Kline(interval) => FIRST_KLINE + interval,
        }
    }

    /// From the part of a stream name after `<symbol>@`.
    pub(super) fn parse(text: &str, product: Product) -> Option<Self> {
        match text {
            "trade" => return Some(Self::Trade),
            "aggTrade" => return Some(Self::AggTrade),
            "bookTicker" => return Some(Self::BookTicker),
            "ticker" => return Some(Self::Ticker),
            "miniTicker" => return Some(Self::MiniTicker),
            _ => {}
        }
        if let Some(name) = text.strip_prefix("kline_") {
            return INTERVALS.iter().position(|(known, _)| *known == name).map(Self::Kline);
        }
        let rest = text.strip_prefix("depth")?;
        let (levels, speed) = rest.split_once('@').unwrap_or((rest, ""));
        let speeds = product.speeds();
        let period_ms = match speed {
            "" => product.speed_default_ms(),
            _ => speed.strip_suffix("ms")?.parse().ok()?,
        };
        let speed = speeds.iter().position(|known| *known == period_ms)?;
        if levels.is_empty() {
            return Some(Self::Depth(speed));
        }
        let levels = PARTIAL_LEVELS.iter().position(|known| known.to_string() == levels)?;
        (period_ms > 0).then_some(Self::Partial(levels, speed))
    }

    /// As a label of counters.
    fn label(index: usize, product: Product) -> String {
        let speed = |speed: usize| product.speeds().get(speed).map_or(0, |period_ms| *period_ms);
        match index {
            0 => "trade".to_owned(),
            1 => "aggTrade".to_owned(),
            2 => "bookTicker".to_owned(),
            3 => "ticker".to_owned(),
            4 => "miniTicker".to_owned(),
            FIRST_DEPTH..FIRST_PARTIAL => format!("depth@{}ms", speed(index - FIRST_DEPTH)),
            FIRST_PARTIAL..FIRST_KLINE => {
                let index = index - FIRST_PARTIAL;
                format!("depth{}@{}ms", PARTIAL_LEVELS[index / SPEEDS_MAX], speed(index % SPEEDS_MAX))
            }
            _ => format!("kline_{}", INTERVALS[index - FIRST_KLINE].0),
        }
    }
}

/// One stream of one instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Topic(usize);

impl Topic {
    pub(super) fn new(instrument: usize, kind: Kind) -> Self {
        Self(instrument * KINDS + kind.index())
    }
}

#[derive(Clone, Debug)]
struct Subscriber {
    id: ConnectionId,
    unit: Unit,
    /// `{"stream":"<name>","data":` on a combined connection, else empty.
    prefix: Vec<u8>,
}

/// All subscriptions, by stream.
#[derive(Debug)]
pub(super) struct Topics {
    subscribers: Vec<Vec<Subscriber>>,
    scratch: Vec<u8>,
    sent: [u64; KINDS],
}

impl Topics {
    pub(super) fn new(instruments: usize) -> Self {
        Self { subscribers: vec![Vec::new(); instruments * KINDS], scratch: Vec::new(), sent: [0; KINDS] }
    }

    pub(super) fn subscribe(
        &mut self,
        topic: Topic,
        id: ConnectionId,
        name: &str,
        combined: bool,
        unit: Unit,
    ) {
        let prefix = prefix(name, combined);
        self.subscribers[topic.0].push(Subscriber { id, unit, prefix });
    }

    pub(super) fn unsubscribe(&mut self, topic: Topic, id: ConnectionId) {
        self.subscribers[topic.0].retain(|subscriber| subscriber.id != id);
    }

    /// Switches a connection between bare and combined events.
    pub(super) fn set_combined(&mut self, topic: Topic, id: ConnectionId, name: &str, combined: bool) {
        for subscriber in self.subscribers[topic.0].iter_mut().filter(|subscriber| subscriber.id == id) {
            subscriber.prefix = prefix(name, combined);
        }
    }

    /// Whether anybody listens.
    pub(super) fn has(&self, topic: Topic) -> bool {
        !self.subscribers[topic.0].is_empty()
    }

    /// Subscriptions of all connections.
    pub(super) fn count(&self) -> usize {
        self.subscribers.iter().map(Vec::len).sum()
    }

    /// Sends one event to all subscribers of a stream; it is encoded once for each unit of time in use.
    ///
    /// Returns whether anybody listens.
    pub(super) fn publish(
        &mut self,
        topic: Topic,
        output: &mut Output,
        encode: impl Fn(&mut Vec<u8>, Unit),
    ) -> bool {
        let subscribers = &self.subscribers[topic.0];
        for unit in [Unit::Milliseconds, Unit::Microseconds] {
            let mut encoded = false;
            for subscriber in subscribers.iter().filter(|subscriber| subscriber.unit == unit) {
                if !encoded {
                    self.scratch.clear();
                    encode(&mut self.scratch, unit);
                    encoded = true;
                }
                if subscriber.prefix.is_empty() {
                    output.text(subscriber.id, &[&self.scratch]);
                } else {
                    output.text(subscriber.id, &[&subscriber.prefix, &self.scratch, b"}"]);
                }
                self.sent[topic.0 % KINDS] += 1;
            }
        }
        !subscribers.is_empty()
    }

    /// Events sent by kind of stream; kinds never sent are left out.
    pub(super) fn sent(&self, product: Product) -> impl Iterator<Item = (String, u64)> + '_ {
        let used = self.sent.iter().enumerate().filter(|(_, count)| **count > 0);
        used.map(move |(index, count)| (Kind::label(index, product), *count))
    }
}

fn prefix(name: &str, combined: bool) -> Vec<u8> {
    if combined { format!("{{\"stream\":\"{name}\",\"data\":").into_bytes() } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_names_of_spot_and_futures() {
        let spot = |text| Kind::parse(text, Product::Spot);
        let usdm = |text| Kind::parse(text, Product::UsdM);
        assert_eq!(spot("trade"), Some(Kind::Trade));
        assert_eq!(spot("depth"), Some(Kind::Depth(1)));
        assert_eq!(spot("depth@100ms"), Some(Kind::Depth(0)));
        assert_eq!(spot("depth20@100ms"), Some(Kind::Partial(2, 0)));
        assert_eq!(spot("depth5"), Some(Kind::Partial(0, 1)));
        assert_eq!(spot("depth@0ms"), None);
        assert_eq!(spot("depth7"), None);
        assert_eq!(spot("kline_1M"), None);
        assert_eq!(spot("kline_1m"), Some(Kind::Kline(1)));
        assert_eq!(usdm("depth@0ms"), Some(Kind::Depth(0)));
        assert_eq!(usdm("depth"), Some(Kind::Depth(2)));
        assert_eq!(usdm("depth@500ms"), Some(Kind::Depth(3)));
        assert_eq!(usdm("depth5@0ms"), None);
    }

    #[test]
    fn every_kind_has_its_own_index_and_label() {
        let mut labels: Vec<_> = (0..KINDS).map(|index| Kind::label(index, Product::UsdM)).collect();
        labels.sort();
        labels.dedup();
        assert_eq!(labels.len(), KINDS);
    }
}
