//! A merge as a bench drives it: two providers, one instrument, trades in windows or best prices.

use std::sync::Arc;

use engine::catalog::{Catalog, ProviderFacts, StreamFacts};
use engine::channel::Channel;
use engine::decimal::{Decimals, Price, Qty};
use engine::dispatch::Dispatcher;
use engine::event::{Body, Event, Flags, Header, Side, Ticker, TickerFields, Trade};
use engine::ids::{InstrumentId, ProviderId, ShardId, StreamId};
use engine::merge::MergePools;
use engine::merge::{BboSource, MergeKind, MergeRule, Merger, MergerOptions};
use engine::pools::PoolSizes;
use engine::ring::{Receiver, ring};
use engine::routing::{Delivery, Route};
use engine::time::ReceiveTime;

/// The provider that merged events come from.
const MERGES: ProviderId = ProviderId(200);
/// Two ms between two events: a window of ten seconds takes many.
const STEP_NS: u64 = 2_000_000;

/// What is joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// Trades, a window every ten seconds or thousand events.
    Windows,
    /// The best bid and offer over both.
    BestPrices,
}

/// A merge shard's engine and the ring behind it.
pub struct Join {
    merger: Merger,
    receiver: Receiver<Event>,
    events: Vec<Event>,
    next: u64,
}

impl Join {
    /// With 32 events to come, of both providers in turn.
    ///
    /// # Panics
    /// If the rule is refused: it is a good one.
    pub fn new(joined: Joined) -> Self {
        let (channel, kind) = match joined {
            Joined::Windows => (Channel::Trade, MergeKind::Trade),
            Joined::BestPrices => (Channel::Ticker, MergeKind::Bbo(BboSource::Ticker)),
        };
        let facts = |number: usize| ProviderFacts {
            name: format!("p{number}"),
            venue: "none".to_owned(),
            streams: vec![StreamFacts {
                symbol: "BTC-USDT".to_owned(),
                venue_symbol: "BTCUSDT".to_owned(),
                instrument: InstrumentId(0),
                channel,
            }],
        };
        let catalog =
            Catalog { providers: (0..2).map(facts).collect(), symbols: vec!["BTC-USDT".to_owned()] };
        let (sender, receiver) = ring(1_024);
        let mut dispatcher = Dispatcher::new(4);
        let output = dispatcher.add_output(ShardId(1), sender, 64);
        let options = MergerOptions { provider: MERGES, patience_ns: 150_000_000 };
        let pools = MergePools::new(&PoolSizes::SPEC);
        let mut merger = Merger::new(options, Arc::new(catalog), pools, dispatcher);
        for provider in 0..2 {
            merger.add_input(ProviderId(provider));
        }
        let inputs = (0..2).map(|provider| (ProviderId(provider), vec![InstrumentId(0)])).collect();
        let rule = MergeRule {
            name: "m".to_owned(),
            kind,
            inputs,
            window_ns: 10_000_000_000,
            count: 1_000,
            leg_age_ns_max: u64::MAX,
        };
        let streams = merger.add_rule(&rule).expect("a good rule");
        for stream in streams {
            let route = Route { output, delivery: Delivery::Lossless, book_depth: 0 };
            merger.dispatcher.routing.add(stream, route);
        }
        let events = (0..32).map(|number| event(joined, number)).collect();
        let mut join = Self { merger, receiver, events, next: 0 };
        join.run();
        join
    }

    /// Takes 32 events, and off the ring what they made; returns how many that were.
    pub fn run(&mut self) -> usize {
        for event in &mut self.events {
            self.next += 1;
            let at = ReceiveTime::from_ns(self.next * STEP_NS);
            event.header.receive_time = at;
            event.header.sequence_first = self.next;
            event.header.sequence_last = self.next;
            // Each changes a best price.
            if let Body::Ticker(ticker) = &mut event.body {
                ticker.bid = Price(6_000_000 + (self.next % 97) as i64);
            }
            self.merger.on_event(event.header.provider.index(), event, at);
        }
        self.merger.flush(|_| {});
        self.receiver.drain(usize::MAX, |event| {
            std::hint::black_box(event);
        })
    }
}

fn event(joined: Joined, number: u64) -> Event {
    let header = Header {
        provider: ProviderId((number % 2) as u8),
        stream: StreamId(0),
        decimals: Decimals { price: 2, qty: 8 },
        flags: Flags::WHOLE,
        ..Header::default()
    };
    let body = match joined {
        Joined::Windows => {
            Body::Trade(Trade { price: Price(1), qty: Qty(1), id: number, taker_side: Side::Buy })
        }
        Joined::BestPrices => Body::Ticker(Ticker {
            bid: Price(6_000_000),
            bid_qty: Qty(1),
            ask: Price(6_100_000),
            ask_qty: Qty(1),
            fields: TickerFields::BEST,
            ..Ticker::default()
        }),
    };
    Event { header, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_close_by_count_and_best_prices_follow_each_change() {
        let mut windows = Join::new(Joined::Windows);
        let merged: usize = (0..100).map(|_| windows.run()).sum();
        // A merged event of two providers is a head and two fragments.
        assert_eq!(merged, 3 * 3, "3,232 events, a window each thousand");
        assert_eq!(Join::new(Joined::BestPrices).run(), 32);
    }
}
