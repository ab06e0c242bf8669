//! What each venue's product offers, as far as a topology can ask for it: channels, speeds, intervals, endpoints, REST weight.
//!
//! Only names and numbers that decide whether a file can run as written; how a channel is subscribed to is the adapter's.

use std::fmt::{self, Write as _};

/// A venue and one of its products: what an adapter is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Product {
    /// Binance spot.
    BinanceSpot,
    /// Binance USD-M futures, route `/public`: trades, books, best prices.
    BinanceUsdm,
    /// Binance USD-M futures, route `/market`: aggregate trades, klines, day statistics.
    BinanceUsdmMarket,
    /// Kraken spot, WebSocket v2.
    KrakenSpot,
    /// Coinbase Advanced Trade.
    CoinbaseAdvanced,
    /// Coinbase Exchange.
    CoinbaseExchange,
}

/// Venue name, product name, product: as `venue:` and `product:` spell them.
pub const PRODUCTS: [(&str, &str, Product); 6] = [
    ("binance", "spot", Product::BinanceSpot),
    ("binance", "usdm", Product::BinanceUsdm),
    ("binance", "usdm_market", Product::BinanceUsdmMarket),
    ("kraken", "spot", Product::KrakenSpot),
    ("coinbase", "advanced", Product::CoinbaseAdvanced),
    ("coinbase", "exchange", Product::CoinbaseExchange),
];

/// The kinds of channel; the word in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChannelKind {
    /// `trade`: each trade.
    Trade,
    /// `agg_trade`: trades of one taker order at one price, joined by the venue.
    AggTrade,
    /// `book`: diffs, from which the whole book is kept and proved.
    Book,
    /// `partial_book`: the best levels, complete each time.
    PartialBook,
    /// `ticker`: best bid and offer.
    Ticker,
    /// `ticker_24h`: statistics of the last 24 hours.
    Ticker24h,
    /// `kline`: candles.
    Kline,
}

/// The words of the file.
pub const CHANNEL_KINDS: [(&str, ChannelKind); 7] = [
    ("trade", ChannelKind::Trade),
    ("agg_trade", ChannelKind::AggTrade),
    ("book", ChannelKind::Book),
    ("partial_book", ChannelKind::PartialBook),
    ("ticker", ChannelKind::Ticker),
    ("ticker_24h", ChannelKind::Ticker24h),
    ("kline", ChannelKind::Kline),
];

impl ChannelKind {
    /// The word of the file.
    pub fn name(self) -> &'static str {
        CHANNEL_KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// One channel of one product, with its parameter: what an instrument's stream is identified by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel {
    /// The kind of feed.
    pub kind: ChannelKind,
    /// Its parameter in the venue-independent spelling: `100ms` of a book, `20` of a partial book, `1m` of a kline; `""` for the rest.
    pub parameter: &'static str,
}

impl fmt::Display for Channel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parameter.is_empty() {
            out.write_str(self.kind.name())
        } else {
            write!(out, "{{{}: {}}}", self.kind.name(), self.parameter)
        }
    }
}

/// What one product offers.
#[derive(Debug)]
pub struct Offer {
    /// Kinds, each with the parameters that fit. The first one is meant where the file
    /// gives none (klines and partial books always say theirs); a list of `""` takes none.
    pub channels: &'static [(ChannelKind, &'static [&'static str])],
    /// The venue runs a test network with a market.
    pub testnet: bool,
    /// Depths of a book that can be had; empty: any.
    pub book_depths: &'static [u64],
    /// The book starts from a REST snapshot of `snapshot_limit` levels (else the stream brings it).
    pub rest_snapshot: bool,
    /// Another product of the venue that carries what this one does not, for messages.
    pub sibling: Option<Product>,
    /// REST weight a minute and address, where the venue publishes one that book verification uses.
    pub rest_weight_per_minute: Option<u64>,
}

/// Kline intervals of Binance: Source: binance-spot-api-docs, web-socket-streams.md, commit a5e0bc3.
const BINANCE_INTERVALS: &[&str] =
    &["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"];
/// The futures have no `1s`.
const USDM_INTERVALS: &[&str] =
    &["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"];
/// Kraken: 1, 5, 15, 30, 60, 240, 1440, 10080, 21600 minutes. Source: docs.kraken.com, ohlc (v2), 2026-11.
const KRAKEN_INTERVALS: &[&str] = &["1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w", "15d"];

/// No parameter.
const NONE: &[&str] = &[""];
/// The venue sends changes as they happen; there is no speed to choose.
const REAL_TIME: &[&str] = &["realtime"];

/// Sources: binance-spot-api-docs, web-socket-streams.md and rest-api.md, commit a5e0bc3 (weight 6000 a minute, testnet).
static BINANCE_SPOT: Offer = Offer {
    channels: &[
        (ChannelKind::Trade, NONE),
        (ChannelKind::AggTrade, NONE),
        (ChannelKind::Book, &["100ms", "1000ms"]),
        (ChannelKind::PartialBook, &["5", "10", "20"]),
        (ChannelKind::Ticker, NONE),
        (ChannelKind::Ticker24h, NONE),
        (ChannelKind::Kline, BINANCE_INTERVALS),
    ],
    testnet: true,
    book_depths: &[],
    rest_snapshot: true,
    sibling: None,
    rest_weight_per_minute: Some(6000),
};

/// Speeds: recordings of 2024 (`@depth@0ms`) and public client libraries. Unconfirmed and taken from spot or common use: the
/// test network; the REST weight is not checked for want of a source. Which route carries what: the engine's
/// `venue::binance::Product` has the source.
static BINANCE_USDM: Offer = Offer {
    channels: &[
        (ChannelKind::Trade, NONE),
        (ChannelKind::Book, &["100ms", "0ms", "250ms", "500ms"]),
        (ChannelKind::PartialBook, &["5", "10", "20"]),
        (ChannelKind::Ticker, NONE),
    ],
    testnet: true,
    book_depths: &[],
    rest_snapshot: true,
    sibling: Some(Product::BinanceUsdmMarket),
    rest_weight_per_minute: None,
};

/// The other route of USD-M. Intervals: unconfirmed, taken from spot.
static BINANCE_USDM_MARKET: Offer = Offer {
    channels: &[
        (ChannelKind::AggTrade, NONE),
        (ChannelKind::Ticker24h, NONE),
        (ChannelKind::Kline, USDM_INTERVALS),
    ],
    testnet: true,
    book_depths: &[],
    rest_snapshot: true,
    sibling: Some(Product::BinanceUsdm),
    rest_weight_per_minute: None,
};

/// Source: docs.kraken.com, WebSocket v2, 2026-11: depths 10 to 1000, no spot testnet.
static KRAKEN_SPOT: Offer = Offer {
    channels: &[
        (ChannelKind::Trade, NONE),
        (ChannelKind::Book, REAL_TIME),
        (ChannelKind::Ticker, NONE),
        (ChannelKind::Kline, KRAKEN_INTERVALS),
    ],
    testnet: false,
    book_depths: &[10, 25, 100, 500, 1000],
    rest_snapshot: false,
    sibling: None,
    rest_weight_per_minute: None,
};

/// Source: docs.cdp.coinbase.com, Advanced Trade channels, 2026-06-28: candles are 5 minutes; the sandbox is static.
static COINBASE_ADVANCED: Offer = Offer {
    channels: &[
        (ChannelKind::Trade, NONE),
        (ChannelKind::Book, REAL_TIME),
        (ChannelKind::Ticker, NONE),
        (ChannelKind::Kline, &["5m"]),
    ],
    testnet: false,
    book_depths: &[],
    rest_snapshot: false,
    sibling: None,
    rest_weight_per_minute: None,
};

/// Source: docs.cdp.coinbase.com, Exchange overview and channels: `level2_batch`, `matches`, `ticker`; a public sandbox.
static COINBASE_EXCHANGE: Offer = Offer {
    channels: &[(ChannelKind::Trade, NONE), (ChannelKind::Book, REAL_TIME), (ChannelKind::Ticker, NONE)],
    testnet: true,
    book_depths: &[],
    rest_snapshot: false,
    sibling: None,
    rest_weight_per_minute: None,
};

impl Product {
    /// What the product offers.
    pub fn offer(self) -> &'static Offer {
        match self {
            Product::BinanceSpot => &BINANCE_SPOT,
            Product::BinanceUsdm => &BINANCE_USDM,
            Product::BinanceUsdmMarket => &BINANCE_USDM_MARKET,
            Product::KrakenSpot => &KRAKEN_SPOT,
            Product::CoinbaseAdvanced => &COINBASE_ADVANCED,
            Product::CoinbaseExchange => &COINBASE_EXCHANGE,
        }
    }

    /// The product whose REST limit it shares, itself if it has one of its own.
    #[must_use]
    pub fn rest_owner(self) -> Self {
        match self {
            Product::BinanceUsdmMarket => Product::BinanceUsdm,
            other => other,
        }
    }

    /// The venue's word in the file.
    pub fn venue(self) -> &'static str {
        PRODUCTS.iter().find(|(_, _, product)| *product == self).map_or("", |(venue, _, _)| venue)
    }

    /// The product's word in the file.
    pub fn name(self) -> &'static str {
        PRODUCTS.iter().find(|(_, _, product)| *product == self).map_or("", |(_, name, _)| name)
    }
}

impl Offer {
    /// The channel as the file may write it, or what would fit.
    ///
    /// # Errors
    ///
    /// What fits, as the rest of a message.
    pub fn channel(&self, kind: ChannelKind, parameter: Option<&str>) -> Result<Channel, String> {
        let Some((_, parameters)) = self.channels.iter().find(|(offered, _)| *offered == kind) else {
            let offered: Vec<&str> = self.channels.iter().map(|(kind, _)| kind.name()).collect();
            let mut fits = format!("this product offers: {}", offered.join(", "));
            if let Some(sibling) = self.sibling
                && sibling.offer().channels.iter().any(|(offered, _)| *offered == kind)
            {
                let _ = write!(
                    fits,
                    "; {} is carried by product: {}, as a provider of its own",
                    kind.name(),
                    sibling.name()
                );
            }
            return Err(fits);
        };
        let chosen = match parameter {
            // The interval of a kline and the levels of a partial book are choices, not speeds: they are written.
            None if matches!(kind, ChannelKind::Kline | ChannelKind::PartialBook) => None,
            None => parameters.first(),
            Some(parameter) => {
                parameters.iter().find(|offered| **offered == parameter && !offered.is_empty())
            }
        };
        match chosen {
            Some(parameter) => Ok(Channel { kind, parameter }),
            None if *parameters == NONE => Err(format!("fits {} alone", kind.name())),
            None => Err(format!("fits {{{}: X}} with X one of {}", kind.name(), parameters.join(", "))),
        }
    }

    /// REST weight of one book snapshot. Source: binance-spot-api-docs, rest-api.md, commit a5e0bc3.
    pub fn snapshot_weight(limit: u64) -> u64 {
        match limit {
            0..=100 => 5,
            101..=500 => 25,
            501..=1000 => 50,
            _ => 250,
        }
    }
}

/// The topology's channel as the engine's.
pub fn engine_channel(channel: Channel) -> engine::channel::Channel {
    let text = match (channel.kind.name(), channel.parameter) {
        (kind, "" | "realtime") => kind.to_owned(),
        // The fastest that every product with partial books has; without a speed the engine would ask for real time.
        ("partial_book", levels) => format!("partial_book {levels} 100ms"),
        (kind, parameter) => format!("{kind} {parameter}"),
    };
    text.parse().expect("every channel that a topology offers is one of the engine's")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_on_offer_is_one_that_the_venue_carries_on_this_connection() {
        for (venue, name, product) in PRODUCTS {
            for &(kind, parameters) in product.offer().channels {
                for &parameter in parameters {
                    let channel = Channel { kind, parameter };
                    let carried = crate::topology::venues::supports(product, channel);
                    assert_eq!(carried, Ok(()), "{venue} {name}: {channel}");
                }
            }
        }
    }

    #[test]
    fn a_channel_of_the_other_route_is_refused_with_where_it_is() {
        let refused = Product::BinanceUsdm.offer().channel(ChannelKind::Kline, Some("1m"));
        assert_eq!(
            refused,
            Err("this product offers: trade, book, partial_book, ticker; kline is carried by product: usdm_market, as a \
                 provider of its own"
                .to_owned())
        );
        let kline = Channel { kind: ChannelKind::Kline, parameter: "1m" };
        assert!(crate::topology::venues::supports(Product::BinanceUsdm, kline).is_err());
    }
}
