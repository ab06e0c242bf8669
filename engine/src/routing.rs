//! Which stream goes to which consumer shard, by which rule, under which version.
//!
//! One table per provider; it changes only between turns. Inside a consumer shard the
//! [`consumer`](crate::consumer) module knows which of its consumers want what.

use crate::channel::Channel;
use crate::ids::{ConsumerId, StreamId};

/// The rule for a ring that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Delivery {
    /// The newest event of the stream waits, older ones give way.
    Latest,
    /// Updates collapse into one snapshot of the proved book.
    Book,
    /// Events wait in a bounded spill; beyond it they are dropped with a Gap and a dead letter.
    Lossless,
}

impl Delivery {
    /// The spelling in `topology.yaml` and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::Book => "book",
            Self::Lossless => "lossless",
        }
    }

    /// The rule of a channel's events unless a subscription asks for another.
    pub const fn default_of(channel: Channel) -> Self {
        match channel {
            Channel::Trade | Channel::AggTrade | Channel::PartialBook { .. } | Channel::Merged(_) => {
                Self::Lossless
            }
            Channel::Book { .. } => Self::Book,
            Channel::Ticker | Channel::Ticker24h | Channel::Kline(_) => Self::Latest,
        }
    }

    /// Whether a subscription may ask for this rule on a channel: trades are never coalesced, and only a book collapses.
    pub const fn is_allowed_for(self, channel: Channel) -> bool {
        match channel {
            Channel::Trade | Channel::AggTrade => matches!(self, Self::Lossless),
            Channel::Book { .. } => matches!(self, Self::Book | Self::Lossless),
            Channel::PartialBook { .. }
            | Channel::Ticker
            | Channel::Ticker24h
            | Channel::Kline(_)
            | Channel::Merged(_) => {
                matches!(self, Self::Latest | Self::Lossless)
            }
        }
    }
}

/// One consumer shard's interest in one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which of the dispatcher's outputs.
    pub output: usize,
    /// The rule for a full ring.
    pub delivery: Delivery,
    /// Levels a side of the book that the shard gets, exact at all times; `usize::MAX` for all.
    pub book_depth: usize,
}

/// The routes of all streams of one provider.
#[derive(Clone, Debug, Default)]
pub struct RoutingTable {
    version: u32,
    routes: Vec<Vec<Route>>,
    /// By stream: output and consumer of everybody who holds it.
    holders: Vec<Vec<(usize, ConsumerId)>>,
    changes_total: u64,
    /// Routes added or deepened since the dispatcher looked: their shards need a snapshot to begin with.
    begun: Vec<(StreamId, usize)>,
    /// Routes removed since then: what their shards hold is out of date from here on.
    ended: Vec<(StreamId, usize)>,
}

impl RoutingTable {
    /// A table under which nothing is delivered, version 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Its number, carried by every event that it routed.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Begins a new version: changes that follow belong to it.
    pub fn begin_version(&mut self, version: u32) {
        self.version = version;
    }

    /// Adds a route. Where the shard has the stream already, the strictest rule and the deepest book win, because a
    /// shard gets one clone.
    pub fn add(&mut self, stream: StreamId, route: Route) {
        if self.routes.len() <= stream.index() {
            self.routes.resize(stream.index() + 1, Vec::new());
        }
        let routes = &mut self.routes[stream.index()];
        match routes.iter_mut().find(|known| known.output == route.output) {
            Some(known) => {
                known.delivery = known.delivery.max(route.delivery);
                known.book_depth = known.book_depth.max(route.book_depth);
            }
            None => routes.push(route),
        }
        self.changes_total += 1;
        self.begun.push((stream, route.output));
    }

    /// Makes a shard's route of a stream this one: also a weaker rule or a shallower book than before. What is so already
    /// is left alone.
    pub fn set(&mut self, stream: StreamId, route: Route) {
        if self.route(stream, route.output) == Some(&route) {
            return;
        }
        if let Some(routes) = self.routes.get_mut(stream.index()) {
            routes.retain(|known| known.output != route.output);
        }
        self.add(stream, route);
    }

    /// Ends a shard's interest in a stream. Returns whether it had any.
    pub fn remove(&mut self, stream: StreamId, output: usize) -> bool {
        let Some(routes) = self.routes.get_mut(stream.index()) else { return false };
        let before = routes.len();
        routes.retain(|route| route.output != output);
        let removed = routes.len() != before;
        if removed {
            self.set_holders(stream, output, &[]);
            self.changes_total += 1;
            self.ended.push((stream, output));
        }
        removed
    }

    /// Says whose a stream is on the shard behind an output: shares are counted by consumer. A stream without holders
    /// belongs to one consumer more, with all the others of its kind.
    pub fn set_holders(&mut self, stream: StreamId, output: usize, holders: &[ConsumerId]) {
        if self.holders.len() <= stream.index() {
            self.holders.resize(stream.index() + 1, Vec::new());
        }
        let known = &mut self.holders[stream.index()];
        known.retain(|&(of, _)| of != output);
        known.extend(holders.iter().map(|&consumer| (output, consumer)));
        self.changes_total += 1;
    }

    /// One consumer more that holds a stream.
    pub fn add_holder(&mut self, stream: StreamId, output: usize, consumer: ConsumerId) {
        let mut holders: Vec<_> = self.holders(stream, output).collect();
        if !holders.contains(&consumer) {
            holders.push(consumer);
            self.set_holders(stream, output, &holders);
        }
    }

    /// Whose a stream is on the shard behind an output.
    pub fn holders(&self, stream: StreamId, output: usize) -> impl Iterator<Item = ConsumerId> + '_ {
        let known = self.holders.get(stream.index()).into_iter().flatten();
        known.filter(move |(of, _)| *of == output).map(|&(_, consumer)| consumer)
    }

    /// The streams that lead to an output, with their routes.
    pub fn to(&self, output: usize) -> impl Iterator<Item = (StreamId, &Route)> + '_ {
        let routes = self.routes.iter().enumerate();
        routes.filter_map(move |(stream, routes)| {
            let found = routes.iter().find(|route| route.output == output);
            found.map(|route| (StreamId(stream as u32), route))
        })
    }

    /// Changes so far: whoever derives something from the routes sees by it whether they are still the same.
    #[inline]
    pub const fn changes_total(&self) -> u64 {
        self.changes_total
    }

    /// The next route that was removed and that the dispatcher does not know of.
    #[inline]
    pub(crate) fn next_ended(&mut self) -> Option<(StreamId, usize)> {
        self.ended.pop()
    }

    /// The next route that was added or changed and that the dispatcher does not know of.
    #[inline]
    pub(crate) fn next_begun(&mut self) -> Option<(StreamId, usize)> {
        self.begun.pop()
    }

    /// The route of a stream to an output.
    pub fn route(&self, stream: StreamId, output: usize) -> Option<&Route> {
        self.of(stream).iter().find(|route| route.output == output)
    }

    /// The routes of a stream.
    #[inline]
    pub fn of(&self, stream: StreamId) -> &[Route] {
        self.routes.get(stream.index()).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_rule_of_a_shard_wins() {
        let mut table = RoutingTable::new();
        let route = |delivery, book_depth| Route { output: 1, delivery, book_depth };
        table.add(StreamId(4), route(Delivery::Book, 50));
        table.add(StreamId(4), route(Delivery::Lossless, 10));
        table.add(StreamId(4), route(Delivery::Book, 100));
        assert_eq!(table.of(StreamId(4)), [route(Delivery::Lossless, 100)]);
        assert!(table.of(StreamId(3)).is_empty() && table.of(StreamId(99)).is_empty());
        assert!(table.remove(StreamId(4), 1));
        assert!(!table.remove(StreamId(4), 1));
    }

    #[test]
    fn a_route_can_be_weakened_and_setting_it_again_changes_nothing() {
        let mut table = RoutingTable::new();
        let route = |delivery, book_depth| Route { output: 1, delivery, book_depth };
        table.set(StreamId(4), route(Delivery::Lossless, 50));
        table.set(StreamId(4), route(Delivery::Book, 10));
        assert_eq!(table.of(StreamId(4)), [route(Delivery::Book, 10)]);
        let changes = table.changes_total();
        table.set(StreamId(4), route(Delivery::Book, 10));
        assert_eq!(table.changes_total(), changes);
    }

    #[test]
    fn holders_are_known_by_output_and_go_with_the_route() {
        let mut table = RoutingTable::new();
        let stream = StreamId(4);
        for output in [0, 1] {
            table.add(stream, Route { output, delivery: Delivery::Latest, book_depth: 0 });
            table.add_holder(stream, output, ConsumerId(7));
        }
        table.add_holder(stream, 1, ConsumerId(8));
        table.add_holder(stream, 1, ConsumerId(8));
        assert_eq!(table.holders(stream, 1).collect::<Vec<_>>(), [ConsumerId(7), ConsumerId(8)]);
        table.set_holders(stream, 1, &[ConsumerId(8)]);
        table.remove(stream, 0);
        assert_eq!(table.holders(stream, 0).count(), 0);
        assert_eq!(table.holders(stream, 1).collect::<Vec<_>>(), [ConsumerId(8)]);
        assert_eq!(table.to(1).map(|(stream, _)| stream).collect::<Vec<_>>(), [stream]);
        assert_eq!(table.to(0).count(), 0);
    }

    #[test]
    fn the_rule_of_every_channel_is_one_that_it_allows() {
        for text in ["trade", "agg_trade", "book", "partial_book 5", "ticker", "ticker_24h", "kline 1m"] {
            let channel: Channel = text.parse().expect("a channel");
            assert!(Delivery::default_of(channel).is_allowed_for(channel), "{text}");
        }
        assert!(!Delivery::Latest.is_allowed_for(Channel::Trade));
        assert!(!Delivery::Latest.is_allowed_for(Channel::Book { speed_ms: 100 }));
    }
}
