//! What a client says: subscribe, unsubscribe, ping.
//!
//! One message names one channel and any number of symbols; the venue answers once per symbol. An unsubscription must
//! repeat the options of its subscription. Source: docs.kraken.com, WebSocket v2 channel pages, 2026-05-27.

use crate::channel::{Channel, Interval};
use crate::directory::Directory;
use crate::ids::StreamId;

/// Streams that one message names. The venue states no limit; this keeps a message below 2 KiB.
pub const STREAMS_PER_MESSAGE_MAX: usize = 100;

/// The venue's kline lengths, in minutes. Source: docs.kraken.com, `ohlc` channel, 2026-05-27.
const INTERVALS: [(Interval, &str); 9] = [
    (Interval::M1, "1"),
    (Interval::M5, "5"),
    (Interval::M15, "15"),
    (Interval::M30, "30"),
    (Interval::H1, "60"),
    (Interval::H4, "240"),
    (Interval::D1, "1440"),
    (Interval::W1, "10080"),
    (Interval::D15, "21600"),
];

/// The kline length that the venue calls `minutes`.
pub fn interval(minutes: &[u8]) -> Option<Interval> {
    INTERVALS.iter().find(|(_, text)| text.as_bytes() == minutes).map(|&(interval, _)| interval)
}

/// How the venue spells a kline length, in minutes.
fn minutes(interval: Interval) -> Option<&'static str> {
    INTERVALS.iter().find(|&&(known, _)| known == interval).map(|&(_, text)| text)
}

/// Whether the venue carries `channel`; if not, what it carries.
///
/// # Errors
/// What would fit.
pub fn supports(channel: Channel) -> Result<(), &'static str> {
    match channel {
        Channel::Trade | Channel::Book { speed_ms: 0 } | Channel::Ticker => Ok(()),
        Channel::AggTrade => Err("Kraken has single trades: `trade`"),
        Channel::Book { .. } => Err("Kraken's book has one speed, real time: `book`"),
        Channel::PartialBook { .. } => Err("Kraken has the book and no partial book: `book`"),
        Channel::Ticker24h => Err("Kraken's ticker carries the day's statistics: `ticker`"),
        Channel::Kline(interval) if minutes(interval).is_some() => Ok(()),
        Channel::Kline(_) => Err("Kraken has `kline` of 1m, 5m, 15m, 30m, 1h, 4h, 1d, 1w and 15d"),
        Channel::Merged(_) => Err("the channels of one venue; merged streams come from merge shards"),
    }
}

/// What is said about a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Begin it.
    Subscribe,
    /// End it.
    Unsubscribe,
}

/// Writes one message about the streams at the front that share the first one's channel, and returns how many those
/// are: 0 if there is none, or if the venue does not carry that channel.
///
/// Options that are ours to choose: the ticker follows the best prices (`bbo`) and not only trades; trades begin with
/// the last 50, so that the first live one has a predecessor to be checked against; klines begin without history,
/// which would be published as if it were new.
pub fn message(
    method: Method,
    depth: u16,
    directory: &Directory,
    streams: &[StreamId],
    request: u64,
    text: &mut Vec<u8>,
) -> usize {
    let Some(&first) = streams.first() else { return 0 };
    let channel = directory.carries(first).channel;
    if supports(channel).is_err() {
        return 0;
    }
    let count = streams
        .iter()
        .take(STREAMS_PER_MESSAGE_MAX)
        .take_while(|&&stream| directory.carries(stream).channel == channel)
        .count();

    text.extend_from_slice(match method {
        Method::Subscribe => br#"{"method":"subscribe","params":{"channel":""#,
        Method::Unsubscribe => br#"{"method":"unsubscribe","params":{"channel":""#,
    });
    text.extend_from_slice(match channel {
        Channel::Trade | Channel::AggTrade => b"trade",
        Channel::Book { .. } | Channel::PartialBook { .. } => b"book",
        Channel::Ticker | Channel::Ticker24h => b"ticker",
        Channel::Kline(_) => b"ohlc",
        // Not carried, so never reached.
        Channel::Merged(_) => b"",
    });
    text.extend_from_slice(br#"","symbol":["#);
    for (index, &stream) in streams[..count].iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        let listing = directory.carries(stream).listing;
        push_string(&directory.instrument(listing).venue_symbol, text);
    }
    text.push(b']');
    let snapshot = match channel {
        Channel::Book { .. } => {
            text.extend_from_slice(br#","depth":"#);
            text.extend_from_slice(depth.to_string().as_bytes());
            true
        }
        Channel::Ticker => {
            text.extend_from_slice(br#","event_trigger":"bbo""#);
            true
        }
        Channel::Kline(interval) => {
            text.extend_from_slice(br#","interval":"#);
            text.extend_from_slice(minutes(interval).unwrap_or("1").as_bytes());
            false
        }
        _ => true,
    };
    if method == Method::Subscribe {
        text.extend_from_slice(if snapshot { br#","snapshot":true"# } else { br#","snapshot":false"# });
    }
    text.push(b'}');
    push_request(request, text);
    count
}

/// Writes the application-level ping. It has no `params`: the venue refuses one that has.
pub fn ping(request: u64, text: &mut Vec<u8>) {
    text.extend_from_slice(br#"{"method":"ping""#);
    push_request(request, text);
}

fn push_request(request: u64, text: &mut Vec<u8>) {
    text.extend_from_slice(br#","req_id":"#);
    text.extend_from_slice(request.to_string().as_bytes());
    text.push(b'}');
}

/// Appends a JSON string. A symbol comes from a topology and could be anything.
fn push_string(symbol: &str, text: &mut Vec<u8>) {
    text.push(b'"');
    for byte in symbol.bytes() {
        match byte {
            b'"' | b'\\' => text.extend_from_slice(&[b'\\', byte]),
            0..0x20 => {} // no symbol has one, and JSON forbids it bare
            _ => text.push(byte),
        }
    }
    text.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{InstrumentId, ProviderId};

    /// Messages for `symbol channel` pairs, all that it takes.
    fn check(method: Method, streams: &[(&str, &str)], expected: &[&str]) {
        let mut directory = Directory::closed(ProviderId(0));
        let streams: Vec<_> = streams
            .iter()
            .map(|(symbol, channel)| {
                let listing = directory.add(symbol, symbol, InstrumentId(0)).expect("listed");
                directory.add_stream(listing, channel.parse().expect("a channel"))
            })
            .collect();
        let (mut rest, mut request) = (&streams[..], 7);
        for expected in expected {
            let mut text = Vec::new();
            let count = message(method, 25, &directory, rest, request, &mut text);
            assert_eq!(std::str::from_utf8(&text).expect("text"), *expected);
            serde_json::from_slice::<serde_json::Value>(&text).expect("JSON");
            (rest, request) = (&rest[count..], request + 1);
        }
        assert!(rest.is_empty(), "all are named");
    }

    #[test]
    fn streams_of_one_channel_share_a_message() {
        check(
            Method::Subscribe,
            &[("BTC/USD", "book"), ("ETH/USD", "book"), ("BTC/USD", "trade"), ("BTC/USD", "ticker")],
            &[
                r#"{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD","ETH/USD"],"depth":25,"snapshot":true},"req_id":7}"#,
                r#"{"method":"subscribe","params":{"channel":"trade","symbol":["BTC/USD"],"snapshot":true},"req_id":8}"#,
                r#"{"method":"subscribe","params":{"channel":"ticker","symbol":["BTC/USD"],"event_trigger":"bbo","snapshot":true},"req_id":9}"#,
            ],
        );
    }

    #[test]
    fn klines_of_two_intervals_take_two_messages() {
        check(
            Method::Subscribe,
            &[("BTC/USD", "kline 1m"), ("BTC/USD", "kline 1h")],
            &[
                r#"{"method":"subscribe","params":{"channel":"ohlc","symbol":["BTC/USD"],"interval":1,"snapshot":false},"req_id":7}"#,
                r#"{"method":"subscribe","params":{"channel":"ohlc","symbol":["BTC/USD"],"interval":60,"snapshot":false},"req_id":8}"#,
            ],
        );
    }

    #[test]
    fn an_unsubscription_repeats_the_options() {
        check(
            Method::Unsubscribe,
            &[("BTC/USD", "book"), ("BTC/USD", "ticker"), ("BTC/USD", "kline 1w")],
            &[
                r#"{"method":"unsubscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":25},"req_id":7}"#,
                r#"{"method":"unsubscribe","params":{"channel":"ticker","symbol":["BTC/USD"],"event_trigger":"bbo"},"req_id":8}"#,
                r#"{"method":"unsubscribe","params":{"channel":"ohlc","symbol":["BTC/USD"],"interval":10080},"req_id":9}"#,
            ],
        );
    }

    #[test]
    fn a_message_names_no_more_streams_than_it_may() {
        let mut directory = Directory::closed(ProviderId(0));
        let streams: Vec<_> = (0..STREAMS_PER_MESSAGE_MAX + 20)
            .map(|number| {
                let symbol = format!("COIN{number}/USD");
                let listing = directory.add(&symbol, &symbol, InstrumentId(0)).expect("listed");
                directory.add_stream(listing, Channel::Trade)
            })
            .collect();
        let mut text = Vec::new();
        assert_eq!(
            message(Method::Subscribe, 10, &directory, &streams, 1, &mut text),
            STREAMS_PER_MESSAGE_MAX
        );
        assert!(text.len() < 2_048, "{}", text.len());
        let rest = &streams[STREAMS_PER_MESSAGE_MAX..];
        assert_eq!(message(Method::Subscribe, 10, &directory, rest, 2, &mut text), 20);
    }

    #[test]
    fn a_symbol_cannot_break_out_of_its_string() {
        check(
            Method::Subscribe,
            &[("A\"],\\\u{1}", "trade")],
            &[
                r#"{"method":"subscribe","params":{"channel":"trade","symbol":["A\"],\\"],"snapshot":true},"req_id":7}"#,
            ],
        );
    }

    #[test]
    fn what_the_venue_does_not_carry_is_not_asked_for() {
        for channel in
            ["agg_trade", "book 100ms", "partial_book 20", "ticker_24h", "kline 1s", "kline 3m", "kline 1M"]
        {
            let channel = channel.parse().expect("a channel");
            assert!(supports(channel).is_err(), "{channel}");
            let mut directory = Directory::closed(ProviderId(0));
            let listing = directory.add("BTC/USD", "BTC-USD", InstrumentId(0)).expect("listed");
            let stream = directory.add_stream(listing, channel);
            let mut text = Vec::new();
            assert_eq!(message(Method::Subscribe, 10, &directory, &[stream], 1, &mut text), 0);
            assert!(text.is_empty());
        }
    }

    #[test]
    fn a_ping_has_a_number_and_no_params() {
        let mut text = Vec::new();
        ping(42, &mut text);
        assert_eq!(text, br#"{"method":"ping","req_id":42}"#);
    }
}
