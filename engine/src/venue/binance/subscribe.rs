//! Names of streams, from our channels and back, and the messages that ask for them.

use crate::channel::{Channel, Interval};
use crate::directory::Directory;
use crate::ids::StreamId;
use crate::venue::ConnectionLimits;

use super::Product;

/// Speed of `@depth` and `@depth20` without a speed in the name.
///
/// Source: binance-spot-api-docs, web-socket-streams.md, commit a5e0bc3 (Spot); developers.binance.com, "Diff. Book Depth
/// Streams" and "Partial Book Depth Streams" (USD-M).
const fn speed_default_ms(product: Product) -> u16 {
    if product.is_usdm() { 250 } else { 1000 }
}

/// Speeds of books; 0 is real time, seen on USD-M only (recordings of 2024).
const fn speeds_ms(product: Product) -> &'static [u16] {
    if product.is_usdm() { &[0, 100, 250, 500] } else { &[100, 1000] }
}

/// Whether `product` carries `channel`, or what it carries instead.
pub(super) fn supports(channel: Channel, product: Product) -> Result<(), &'static str> {
    match (product, channel) {
        (Product::UsdM, Channel::AggTrade | Channel::Ticker24h | Channel::Kline(_)) => {
            return Err("agg_trade, ticker_24h and kline are carried by binance_usdm_market");
        }
        (
            Product::UsdMMarket,
            Channel::Trade | Channel::Ticker | Channel::Book { .. } | Channel::PartialBook { .. },
        ) => {
            return Err("trade, ticker, book and partial_book are carried by binance_usdm");
        }
        (_, Channel::Merged(_)) => {
            return Err("the channels of one venue; merged streams come from merge shards");
        }
        _ => {}
    }
    let ok = match channel {
        Channel::Book { speed_ms } => speeds_ms(product).contains(&speed_ms),
        Channel::PartialBook { depth, speed_ms } => {
            matches!(depth, 5 | 10 | 20) && speed_ms != 0 && speeds_ms(product).contains(&speed_ms)
        }
        Channel::Kline(Interval::D15) | Channel::Merged(_) => false,
        Channel::Kline(Interval::S1) => !product.is_usdm(),
        Channel::Trade | Channel::AggTrade | Channel::Ticker | Channel::Ticker24h | Channel::Kline(_) => true,
    };
    match (ok, channel) {
        (true, _) => Ok(()),
        (false, Channel::Kline(_)) => {
            Err("kline 1s (Spot only) 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M")
        }
        (false, Channel::Book { .. }) if product.is_usdm() => {
            Err("book, book 100ms, book 250ms or book 500ms")
        }
        (false, Channel::Book { .. }) => Err("book 100ms or book 1000ms"),
        (false, _) if product.is_usdm() => Err("partial_book 5, 10 or 20, each with 100ms, 250ms or 500ms"),
        (false, _) => Err("partial_book 5, 10 or 20, each with 100ms or 1000ms"),
    }
}

/// Writes the name of a stream: `btcusdt@depth@100ms`.
fn write_name(venue_symbol: &str, channel: Channel, product: Product, text: &mut Vec<u8>) {
    for letter in venue_symbol.chars().flat_map(char::to_lowercase) {
        if matches!(letter, '"' | '\\') {
            text.push(b'\\');
        }
        text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    }
    let speed = |ms: u16| if ms == speed_default_ms(product) { String::new() } else { format!("@{ms}ms") };
    let rest = match channel {
        Channel::Trade => "@trade".to_owned(),
        Channel::AggTrade => "@aggTrade".to_owned(),
        Channel::Book { speed_ms } => format!("@depth{}", speed(speed_ms)),
        Channel::PartialBook { depth, speed_ms } => format!("@depth{depth}{}", speed(speed_ms)),
        Channel::Ticker => "@bookTicker".to_owned(),
        Channel::Ticker24h => "@ticker".to_owned(),
        Channel::Kline(interval) => format!("@kline_{}", interval.name()),
        // Refused at boot.
        Channel::Merged(_) => String::new(),
    };
    text.extend_from_slice(rest.as_bytes());
}

/// The book or partial book that a stream of this name carries.
#[inline]
pub(super) fn book_channel(name: &[u8], product: Product) -> Option<Channel> {
    let at = name.iter().position(|&byte| byte == b'@')?;
    let rest = name.get(at..)?.strip_prefix(b"@depth")?;
    let (depth, rest) = number(rest)?;
    let speed_ms = match rest {
        b"" => speed_default_ms(product),
        _ => match number(rest.strip_prefix(b"@")?)? {
            (Some(speed_ms), b"ms") => speed_ms,
            _ => return None,
        },
    };
    Some(match depth {
        Some(depth) => Channel::PartialBook { depth, speed_ms },
        None => Channel::Book { speed_ms },
    })
}

/// The digits in front, if any, and the rest; `None` if they do not fit.
#[inline]
fn number(text: &[u8]) -> Option<(Option<u16>, &[u8])> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(count);
    if digits.is_empty() {
        return Some((None, rest));
    }
    let value = digits
        .iter()
        .try_fold(0_u16, |value, byte| value.checked_mul(10)?.checked_add(u16::from(byte - b'0')))?;
    Some((Some(value), rest))
}

/// Writes one request over as many of `streams` as one message may name, and returns how many.
pub(super) fn message(
    method: &str,
    product: Product,
    limits: &ConnectionLimits,
    directory: &Directory,
    streams: &[StreamId],
    request: u64,
    text: &mut Vec<u8>,
) -> usize {
    /// `],"id":18446744073709551615}`
    const TAIL_BYTES_MAX: usize = 27;
    let start = text.len();
    text.extend_from_slice(format!("{{\"method\":\"{method}\",\"params\":[").as_bytes());
    let mut named = 0;
    for &stream in streams.iter().take(limits.streams_per_message_max) {
        let before = text.len();
        let carried = directory.carries(stream);
        text.extend_from_slice(if named == 0 { b"\"" } else { b",\"" });
        write_name(&directory.instrument(carried.listing).venue_symbol, carried.channel, product, text);
        text.push(b'"');
        if named > 0 && text.len() - start + TAIL_BYTES_MAX > limits.message_bytes_max {
            text.truncate(before);
            break;
        }
        named += 1;
    }
    text.extend_from_slice(format!("],\"id\":{request}}}").as_bytes());
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{InstrumentId, ProviderId};
    use crate::venue::Venue;
    use crate::venue::binance::Binance;

    const PRODUCTS: [Product; 3] = [Product::Spot, Product::UsdM, Product::UsdMMarket];

    fn check(product: Product, channel: &str, expected: &str) {
        let channel = channel.parse().expect("a channel");
        assert_eq!(supports(channel, product), Ok(()));
        let mut text = Vec::new();
        write_name("BTCUSDT", channel, product, &mut text);
        assert_eq!(String::from_utf8_lossy(&text), expected);
        if matches!(channel, Channel::Book { .. } | Channel::PartialBook { .. }) {
            assert_eq!(book_channel(&text, product), Some(channel), "{expected}");
        }
    }

    #[test]
    fn a_channel_has_a_name_and_a_book_is_known_by_its_name() {
        check(Product::Spot, "trade", "btcusdt@trade");
        check(Product::Spot, "agg_trade", "btcusdt@aggTrade");
        check(Product::Spot, "book 100ms", "btcusdt@depth@100ms");
        check(Product::Spot, "book 1000ms", "btcusdt@depth");
        check(Product::Spot, "partial_book 20 1000ms", "btcusdt@depth20");
        check(Product::Spot, "partial_book 5 100ms", "btcusdt@depth5@100ms");
        check(Product::Spot, "ticker", "btcusdt@bookTicker");
        check(Product::Spot, "ticker_24h", "btcusdt@ticker");
        check(Product::Spot, "kline 1M", "btcusdt@kline_1M");
        check(Product::UsdM, "book", "btcusdt@depth@0ms");
        check(Product::UsdM, "book 250ms", "btcusdt@depth");
        check(Product::UsdM, "book 500ms", "btcusdt@depth@500ms");
        check(Product::UsdM, "partial_book 10 250ms", "btcusdt@depth10");
        check(Product::UsdMMarket, "kline 1m", "btcusdt@kline_1m");
    }

    #[test]
    fn other_names_are_no_book() {
        for name in [
            "",
            "btcusdt",
            "btcusdt@trade",
            "btcusdt@depth@",
            "btcusdt@depth@ms",
            "btcusdt@depth@100",
            "btcusdt@depthx",
            "btcusdt@depth99999",
            "btcusdt@depth5@100ms@",
            "@depth5x",
            "btcusdt@rpiDepth",
        ] {
            assert_eq!(book_channel(name.as_bytes(), Product::Spot), None, "{name:?}");
        }
    }

    #[test]
    fn what_is_not_carried_is_refused_with_what_is() {
        for (product, channel, hint) in [
            (Product::Spot, "book", "100ms"),
            (Product::Spot, "partial_book 50 100ms", "20"),
            (Product::Spot, "kline 15d", "1M"),
            (Product::UsdM, "book 1000ms", "500ms"),
            (Product::UsdM, "partial_book 5", "250ms"),
            (Product::UsdM, "agg_trade", "binance_usdm_market"),
            (Product::UsdMMarket, "trade", "binance_usdm"),
            (Product::UsdMMarket, "kline 1s", "Spot only"),
        ] {
            let refused = supports(channel.parse().expect("a channel"), product).expect_err(channel);
            assert!(refused.contains(hint), "{channel}: {refused}");
        }
    }

    fn directory(symbols: usize) -> (Directory, Vec<StreamId>) {
        let mut directory = Directory::closed(ProviderId(0));
        let streams = (0..symbols).map(|index| {
            let symbol = format!("COIN{index}USDT");
            let listing = directory.add(&symbol, &symbol, InstrumentId(index as u16)).expect("listed");
            directory.add_stream(listing, Channel::Book { speed_ms: 100 })
        });
        let streams = streams.collect();
        (directory, streams)
    }

    #[test]
    fn a_request_names_its_streams_and_its_id() {
        let (directory, streams) = directory(2);
        let mut text = Vec::new();
        assert_eq!(Binance::spot().subscribe(&directory, &streams, 7, &mut text), 2);
        assert_eq!(
            String::from_utf8_lossy(&text),
            r#"{"method":"SUBSCRIBE","params":["coin0usdt@depth@100ms","coin1usdt@depth@100ms"],"id":7}"#
        );
        text.clear();
        assert_eq!(Binance::spot().unsubscribe(&directory, &streams[1..], 8, &mut text), 1);
        assert_eq!(
            String::from_utf8_lossy(&text),
            r#"{"method":"UNSUBSCRIBE","params":["coin1usdt@depth@100ms"],"id":8}"#
        );
    }

    #[test]
    fn many_streams_take_several_messages_within_the_limits_and_each_is_named_once() {
        let (directory, streams) = directory(1_000);
        for product in PRODUCTS {
            let venue = Binance::new(product);
            let (mut left, mut names, mut messages) = (&streams[..], Vec::new(), 0);
            while !left.is_empty() {
                let mut text = Vec::new();
                let named = venue.subscribe(&directory, left, u64::MAX, &mut text);
                assert!(named > 0 && named <= venue.limits().streams_per_message_max);
                assert!(text.len() <= venue.limits().message_bytes_max);
                let message: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
                names.extend(message["params"].as_array().expect("a list").clone());
                left = &left[named..];
                messages += 1;
            }
            assert!(messages > 1);
            names.dedup();
            assert_eq!(names.len(), 1_000);
        }
    }
}
