//! `scripts/topology.live.yaml`: what can be known of it without a network.

use engine::venue::binance::{self, Binance};
use engine::venue::coinbase::{self, Coinbase};
use engine::venue::kraken::Kraken;
use engine::venue::{Endpoints as Urls, Venue};
use shards::topology::{self, Against, Endpoints, Product, ProviderPlan, Topology};

fn live() -> Topology {
    let text = include_str!("../../scripts/topology.live.yaml");
    let against =
        Against { cores: None, consumer_kinds: &["stats", "printer", "recorder"], simulated_lists: None };
    topology::read("topology.live.yaml", text, against).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A message that subscribes the first instruments of a plan to a channel, and the plan's size against the venue's limits.
fn check(venue: &impl Venue, plan: &ProviderPlan, urls: Urls) {
    let limits = venue.limits();
    assert_eq!(venue.live(), urls, "{}", plan.name);
    assert!(urls.websocket.starts_with("wss://") && urls.rest.starts_with("https://"), "never in the clear");
    let streams = plan.instruments.len() * plan.channels.len();
    assert!(streams <= limits.streams_max, "{}: {streams} streams", plan.name);
    // A line's subscriptions in batches; both lines and a roll's third at once stay within a few seconds of the limit.
    let messages =
        plan.channels.len() * plan.instruments.len().div_ceil(limits.streams_per_message_max.max(1));
    let seconds = messages.div_ceil(limits.messages_per_s_max.max(1) as usize);
    assert!(seconds <= 5, "{}: {messages} messages take {seconds} s", plan.name);
    assert!(u32::from(plan.lines) < limits.connects_max, "{}: connections", plan.name);
}

#[test]
fn the_live_topology_reaches_the_three_venues_within_their_limits() {
    let topology = live();
    assert!(topology.simulated.is_none());
    assert!(topology.consumers.iter().all(|consumer| !consumer.trading), "market data only");
    let products: Vec<Product> = topology.providers.iter().map(|plan| plan.product).collect();
    assert_eq!(products, [Product::BinanceSpot, Product::KrakenSpot, Product::CoinbaseAdvanced]);
    for plan in &topology.providers {
        assert_eq!((&plan.endpoints, plan.lines, plan.instruments.len()), (&Endpoints::Live, 2, 50));
        match plan.product {
            Product::KrakenSpot => check(
                &Kraken::new(100).expect("a depth of the venue"),
                plan,
                Urls { websocket: "wss://ws.kraken.com", rest: "https://api.kraken.com" },
            ),
            Product::CoinbaseAdvanced => check(
                &Coinbase::new(coinbase::Product::Advanced),
                plan,
                Urls { websocket: "wss://advanced-trade-ws.coinbase.com", rest: "https://api.coinbase.com" },
            ),
            _ => check(
                &Binance::new(binance::Product::Spot),
                plan,
                Urls { websocket: "wss://stream.binance.com:9443", rest: "https://api.binance.com" },
            ),
        }
    }
}
