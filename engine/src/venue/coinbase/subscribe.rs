//! What the client sends: subscriptions of both products, and Advanced Trade's greeting.

use super::Product;
use crate::channel::{Channel, Interval};
use crate::directory::Directory;
use crate::ids::StreamId;

/// Streams that one message names. Neither product documents a limit; 100 products fill about 2 KiB.
pub(super) const STREAMS_PER_MESSAGE_MAX: usize = 100;

/// Bytes of the longest message: [`STREAMS_PER_MESSAGE_MAX`] quoted product ids, twice (Exchange repeats them for its
/// heartbeat), and the frame around them.
pub(super) const MESSAGE_BYTES_MAX: usize =
    2 * STREAMS_PER_MESSAGE_MAX * (crate::directory::VENUE_SYMBOL_BYTES_MAX + 3) + 512;

/// Whether a message begins or ends subscriptions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Subscribe,
    Unsubscribe,
}

impl Wish {
    const fn name(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
        }
    }
}

/// The venue's name for a channel.
///
/// # Errors
/// What the venue carries instead.
pub(super) const fn wire_name(product: Product, channel: Channel) -> Result<&'static str, &'static str> {
    match (product, channel) {
        (Product::Advanced, Channel::Trade) => Ok("market_trades"),
        (Product::Advanced, Channel::Book { speed_ms: 0 }) => Ok("level2"),
        (Product::Advanced, Channel::Ticker24h) => Ok("ticker_batch"),
        (Product::Advanced, Channel::Kline(Interval::M5)) => Ok("candles"),
        (_, Channel::Ticker) => Ok("ticker"),
        (Product::Exchange, Channel::Trade) => Ok("matches"),
        (Product::Exchange, Channel::Book { speed_ms: 0 | 50 }) => Ok("level2_batch"),
        (_, Channel::AggTrade) => Err("trade"),
        (_, Channel::Merged(_)) => Err("the channels of one venue; merged streams come from merge shards"),
        (Product::Advanced, Channel::Book { .. } | Channel::PartialBook { .. }) => Err("book"),
        (Product::Exchange, Channel::Book { .. } | Channel::PartialBook { .. }) => Err("book or book 50ms"),
        (Product::Advanced, Channel::Kline(_)) => Err("kline 5m"),
        // Its `ticker_batch` frames look like those of `ticker`, so the two could not be told apart.
        (Product::Exchange, Channel::Ticker24h) => Err("ticker (it carries the day's statistics)"),
        (Product::Exchange, Channel::Kline(_)) => Err("trade (this feed has no klines)"),
    }
}

/// Writes the message for some of `streams`, from the front, and returns how many it names.
///
/// A stream that the product does not carry is passed over with an empty text: [`wire_name`] refused it at boot.
pub(super) fn write(
    product: Product,
    wish: Wish,
    directory: &Directory,
    streams: &[StreamId],
    text: &mut Vec<u8>,
) -> usize {
    let streams = &streams[..streams.len().min(STREAMS_PER_MESSAGE_MAX)];
    match product {
        Product::Advanced => advanced(wish, directory, streams, text),
        Product::Exchange => exchange(wish, directory, streams, text),
    }
}

/// The message that Advanced Trade wants on every connection: it closes channels that say nothing for 60 to 90 s, and
/// the first message must arrive within 5 s. Source: docs.cdp.coinbase.com, WebSocket overview, 2026-07-16.
pub(super) fn greeting(text: &mut Vec<u8>) {
    text.extend_from_slice(br#"{"type":"subscribe","channel":"heartbeats"}"#);
}

/// Adds to `all` the streams of ours that the venue means when its list of subscriptions has these products under a channel's name.
/// `X-USD` stands for `X-USDC` too, which may have been subscribed as its twin; books are `level2` whatever their pace.
pub(super) fn named<'a>(
    product: Product,
    directory: &Directory,
    name: &str,
    products: impl Iterator<Item = &'a str>,
    all: &mut Vec<StreamId>,
) {
    const BOOK: &str = "level2";
    let is_meant = |channel: Channel| {
        let wire = wire_name(product, channel);
        wire.is_ok_and(|wire| wire == name || wire.starts_with(BOOK) && name.starts_with(BOOK))
    };
    for id in products {
        let listings = [directory.find(id.as_bytes()), directory.find(format!("{id}C").as_bytes())];
        for listing in listings.into_iter().flatten() {
            let streams = directory.streams_of(listing).filter(|&(channel, _)| is_meant(channel));
            all.extend(streams.map(|(_, stream)| stream));
        }
    }
}

/// One channel a message, so the streams up to the first of another channel.
fn advanced(wish: Wish, directory: &Directory, streams: &[StreamId], text: &mut Vec<u8>) -> usize {
    let name = |stream: StreamId| wire_name(Product::Advanced, directory.carries(stream).channel).ok();
    let Some(&first) = streams.first() else { return 0 };
    let Some(channel) = name(first) else { return 1 };
    let count = streams.iter().take_while(|&&stream| name(stream) == Some(channel)).count();
    text.extend_from_slice(br#"{"type":""#);
    text.extend_from_slice(wish.name().as_bytes());
    text.extend_from_slice(br#"","product_ids":["#);
    products(directory, streams[..count].iter().copied(), text);
    text.extend_from_slice(br#"],"channel":""#);
    text.extend_from_slice(channel.as_bytes());
    text.extend_from_slice(br#""}"#);
    count
}

/// Any channels in a message. A subscription also asks for the products' heartbeats; they stay when it ends, since other
/// streams of the product may live on.
fn exchange(wish: Wish, directory: &Directory, streams: &[StreamId], text: &mut Vec<u8>) -> usize {
    const CHANNELS: [&str; 3] = ["level2_batch", "matches", "ticker"];
    let name = |stream: StreamId| wire_name(Product::Exchange, directory.carries(stream).channel).ok();
    let carried = |stream: &StreamId| name(*stream).is_some();
    if !streams.iter().any(carried) {
        return streams.len();
    }
    text.extend_from_slice(br#"{"type":""#);
    text.extend_from_slice(wish.name().as_bytes());
    text.extend_from_slice(br#"","channels":["#);
    let mut object = |name: &str, streams: &mut dyn Iterator<Item = StreamId>| {
        if !text.ends_with(b"[") {
            text.push(b',');
        }
        text.extend_from_slice(br#"{"name":""#);
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(br#"","product_ids":["#);
        products(directory, streams, text);
        text.extend_from_slice(b"]}");
    };
    for channel in CHANNELS {
        let mut named = streams.iter().copied().filter(|&stream| name(stream) == Some(channel)).peekable();
        if named.peek().is_some() {
            object(channel, &mut named);
        }
    }
    if wish == Wish::Subscribe {
        let mut listings: Vec<_> = streams
            .iter()
            .filter(|stream| carried(stream))
            .map(|&stream| (directory.carries(stream).listing, stream))
            .collect();
        listings.sort_unstable();
        listings.dedup_by_key(|(listing, _)| *listing);
        object("heartbeat", &mut listings.into_iter().map(|(_, stream)| stream));
    }
    text.extend_from_slice(b"]}");
    streams.len()
}

/// The product ids of `streams`, quoted, with commas between.
fn products(directory: &Directory, streams: impl Iterator<Item = StreamId>, text: &mut Vec<u8>) {
    for (index, stream) in streams.enumerate() {
        if index > 0 {
            text.push(b',');
        }
        text.push(b'"');
        let symbol = &directory.instrument(directory.carries(stream).listing).venue_symbol;
        // No product id holds a quote or a backslash; one that did would be refused by the venue, not break the frame.
        text.extend(symbol.bytes().filter(|&byte| byte >= b' ' && byte != b'"' && byte != b'\\'));
        text.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{InstrumentId, ProviderId};

    fn check(product: Product, wish: Wish, streams: &[(&str, Channel)], expected: &[&str]) {
        let mut directory = Directory::closed(ProviderId(0));
        let ids: Vec<StreamId> = streams
            .iter()
            .map(|&(symbol, channel)| {
                let listing = directory.add(symbol, symbol, InstrumentId(0)).expect("listed");
                directory.add_stream(listing, channel)
            })
            .collect();
        let (mut rest, mut found) = (&ids[..], Vec::new());
        while !rest.is_empty() {
            let mut text = Vec::new();
            let count = write(product, wish, &directory, rest, &mut text);
            assert!(text.len() <= MESSAGE_BYTES_MAX);
            found.push(String::from_utf8(text).expect("text"));
            rest = &rest[count..];
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn the_list_of_a_venue_names_our_streams() {
        const BOOK: Channel = Channel::Book { speed_ms: 0 };
        let mut directory = Directory::closed(ProviderId(0));
        for symbol in ["BTC-USD", "ETH-USDC", "BTC-USDC"] {
            let listing = directory.add(symbol, symbol, InstrumentId(0)).expect("listed");
            for channel in [Channel::Trade, BOOK, Channel::Ticker] {
                directory.add_stream(listing, channel);
            }
        }
        let check = |product, name, products: &[&str], expected: &[u32]| {
            let mut all = Vec::new();
            named(product, &directory, name, products.iter().copied(), &mut all);
            assert_eq!(
                all,
                expected.iter().map(|&id| StreamId(id)).collect::<Vec<_>>(),
                "{name} {products:?}"
            );
        };
        // One book for both names of a product, and the list may have either.
        check(Product::Advanced, "market_trades", &["BTC-USD", "ETH-USD"], &[0, 6, 3]);
        check(Product::Advanced, "level2", &["ETH-USDC"], &[4]);
        check(Product::Exchange, "level2", &["BTC-USD"], &[1, 7]);
        check(Product::Exchange, "level2_50", &["ETH-USDC"], &[4]);
        check(Product::Exchange, "matches", &["SOL-USD", "BTC-USDC"], &[6]);
        check(Product::Advanced, "heartbeats", &["heartbeats", "BTC-USD"], &[]);
    }

    #[test]
    fn advanced_names_one_channel_a_message() {
        check(
            Product::Advanced,
            Wish::Subscribe,
            &[
                ("BTC-USD", Channel::Book { speed_ms: 0 }),
                ("ETH-USD", Channel::Book { speed_ms: 0 }),
                ("BTC-USD", Channel::Trade),
                ("BTC-USD", Channel::Kline(Interval::M5)),
            ],
            &[
                r#"{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channel":"level2"}"#,
                r#"{"type":"subscribe","product_ids":["BTC-USD"],"channel":"market_trades"}"#,
                r#"{"type":"subscribe","product_ids":["BTC-USD"],"channel":"candles"}"#,
            ],
        );
    }

    #[test]
    fn exchange_names_all_channels_in_a_message_and_asks_for_heartbeats() {
        let streams = [
            ("BTC-USD", Channel::Book { speed_ms: 50 }),
            ("BTC-USD", Channel::Trade),
            ("ETH-USD", Channel::Trade),
        ];
        check(
            Product::Exchange,
            Wish::Subscribe,
            &streams,
            &[concat!(
                r#"{"type":"subscribe","channels":[{"name":"level2_batch","product_ids":["BTC-USD"]},"#,
                r#"{"name":"matches","product_ids":["BTC-USD","ETH-USD"]},"#,
                r#"{"name":"heartbeat","product_ids":["BTC-USD","ETH-USD"]}]}"#
            )],
        );
        check(
            Product::Exchange,
            Wish::Unsubscribe,
            &streams[2..],
            &[r#"{"type":"unsubscribe","channels":[{"name":"matches","product_ids":["ETH-USD"]}]}"#],
        );
    }

    #[test]
    fn a_message_names_no_more_streams_than_fit() {
        let symbols: Vec<String> = (0..=STREAMS_PER_MESSAGE_MAX).map(|n| format!("C{n:017}-QUOTE")).collect();
        for product in [Product::Advanced, Product::Exchange] {
            let mut directory = Directory::closed(ProviderId(0));
            let ids: Vec<StreamId> = symbols
                .iter()
                .map(|symbol| {
                    let listing = directory.add(symbol, symbol, InstrumentId(0)).expect("listed");
                    directory.add_stream(listing, Channel::Trade)
                })
                .collect();
            let mut text = Vec::new();
            assert_eq!(write(product, Wish::Subscribe, &directory, &ids, &mut text), STREAMS_PER_MESSAGE_MAX);
            assert!(text.len() <= MESSAGE_BYTES_MAX, "{}", text.len());
        }
    }
}
