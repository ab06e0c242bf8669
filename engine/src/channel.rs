//! Kinds of feed: what a stream carries for its instrument.

use std::fmt;
use std::str::FromStr;

/// Length of a kline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Interval {
    /// One second.
    S1,
    /// One minute.
    M1,
    /// Three minutes.
    M3,
    /// Five minutes.
    M5,
    /// Fifteen minutes.
    M15,
    /// Thirty minutes.
    M30,
    /// One hour.
    H1,
    /// Two hours.
    H2,
    /// Four hours.
    H4,
    /// Six hours.
    H6,
    /// Eight hours.
    H8,
    /// Twelve hours.
    H12,
    /// One day.
    D1,
    /// Three days.
    D3,
    /// One week.
    W1,
    /// Fifteen days.
    D15,
    /// One month.
    Mo1,
}

impl Interval {
    /// All of them, shortest first, with the spelling of topology and reports (case-sensitive: `1m` minute, `1M` month).
    pub const ALL: [(Self, &'static str); 17] = [
        (Self::S1, "1s"),
        (Self::M1, "1m"),
        (Self::M3, "3m"),
        (Self::M5, "5m"),
        (Self::M15, "15m"),
        (Self::M30, "30m"),
        (Self::H1, "1h"),
        (Self::H2, "2h"),
        (Self::H4, "4h"),
        (Self::H6, "6h"),
        (Self::H8, "8h"),
        (Self::H12, "12h"),
        (Self::D1, "1d"),
        (Self::D3, "3d"),
        (Self::W1, "1w"),
        (Self::D15, "15d"),
        (Self::Mo1, "1M"),
    ];

    /// The spelling, for example `15m`.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The interval of a spelling, compared as bytes so that a decoder can use it.
    pub fn from_bytes(text: &[u8]) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| name.as_bytes() == text).map(|&(interval, _)| interval)
    }
}

/// What a merged stream joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Joined {
    /// Trades, in windows.
    Trade,
    /// Tickers, in windows.
    Ticker,
    /// Klines, in windows.
    Kline,
    /// Best bids and offers, at every change.
    Bbo,
}

impl Joined {
    /// All of them, with the spelling of topology and reports.
    pub const ALL: [(Self, &'static str); 4] =
        [(Self::Trade, "trade"), (Self::Ticker, "ticker"), (Self::Kline, "kline"), (Self::Bbo, "bbo")];

    /// The spelling.
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// What a stream carries; the event kinds follow from it.
///
/// ```
/// use engine::channel::{Channel, Interval};
///
/// assert_eq!("kline 15m".parse(), Ok(Channel::Kline(Interval::M15)));
/// assert_eq!(Channel::PartialBook { depth: 20, speed_ms: 100 }.to_string(), "partial_book 20 100ms");
/// assert!("kline 15M".parse::<Channel>().unwrap_err().to_string().contains("kline <interval>"), "1m is not 1M");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Single trades. Event kind Trade.
    Trade,
    /// Trades of one taker order at one price taken together. Event kind Trade.
    AggTrade,
    /// The whole book: a snapshot, then every change. `speed_ms` 0 is real time, or the venue's only speed.
    /// Event kinds `BookSnapshot`, `BookUpdate`.
    Book {
        /// Between two updates, in milliseconds.
        speed_ms: u16,
    },
    /// The best levels, complete each time. Event kind `BookSnapshot`.
    PartialBook {
        /// Levels a side.
        depth: u16,
        /// Between two snapshots, in milliseconds.
        speed_ms: u16,
    },
    /// Best bid and ask. Event kind Ticker.
    Ticker,
    /// Statistics of the last 24 hours. Event kind Ticker.
    Ticker24h,
    /// Open, high, low, close and volume of an interval. Event kind `KlineSummary`.
    Kline(Interval),
    /// Streams of several providers, joined by a rule on a merge shard. Event kinds Merged, `MergedBbo`.
    Merged(Joined),
}

impl Channel {
    /// Whether its events are single trades of a sequence of ids.
    pub const fn is_trade(self) -> bool {
        matches!(self, Self::Trade | Self::AggTrade)
    }

    /// Whether its events build a book by snapshot and updates.
    pub const fn is_book(self) -> bool {
        matches!(self, Self::Book { .. })
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trade => f.write_str("trade"),
            Self::AggTrade => f.write_str("agg_trade"),
            Self::Book { speed_ms: 0 } => f.write_str("book"),
            Self::Book { speed_ms } => write!(f, "book {speed_ms}ms"),
            Self::PartialBook { depth, speed_ms: 0 } => write!(f, "partial_book {depth}"),
            Self::PartialBook { depth, speed_ms } => write!(f, "partial_book {depth} {speed_ms}ms"),
            Self::Ticker => f.write_str("ticker"),
            Self::Ticker24h => f.write_str("ticker_24h"),
            Self::Kline(interval) => write!(f, "kline {}", interval.name()),
            Self::Merged(joined) => write!(f, "merged {}", joined.name()),
        }
    }
}

/// A text names no channel. Says which do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such channel; one of trade, agg_trade, book [<speed>ms], partial_book <depth> [<speed>ms], ticker, ticker_24h, kline <interval>, merged <kind>"
)]
pub struct UnknownChannel;

impl FromStr for Channel {
    type Err = UnknownChannel;

    fn from_str(text: &str) -> Result<Self, UnknownChannel> {
        let mut words = text.split_ascii_whitespace();
        let speed = |word: Option<&str>| match word {
            None => Ok(0),
            Some(word) => {
                word.strip_suffix("ms").and_then(|digits| digits.parse().ok()).ok_or(UnknownChannel)
            }
        };
        let channel = match words.next().ok_or(UnknownChannel)? {
            "trade" => Self::Trade,
            "agg_trade" => Self::AggTrade,
            "ticker" => Self::Ticker,
            "ticker_24h" => Self::Ticker24h,
            "book" => Self::Book { speed_ms: speed(words.next())? },
            "partial_book" => Self::PartialBook {
                depth: words.next().and_then(|digits| digits.parse().ok()).ok_or(UnknownChannel)?,
                speed_ms: speed(words.next())?,
            },
            "kline" => Self::Kline(
                words.next().and_then(|name| Interval::from_bytes(name.as_bytes())).ok_or(UnknownChannel)?,
            ),
            "merged" => {
                let kind = words.next().and_then(|word| Joined::ALL.iter().find(|(_, name)| *name == word));
                Self::Merged(kind.ok_or(UnknownChannel)?.0)
            }
            _ => return Err(UnknownChannel),
        };
        if words.next().is_some() { Err(UnknownChannel) } else { Ok(channel) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_reads_back_from_its_spelling() {
        for text in [
            "trade",
            "agg_trade",
            "book",
            "book 100ms",
            "partial_book 20",
            "partial_book 5 100ms",
            "ticker",
            "ticker_24h",
            "kline 1m",
            "kline 1M",
            "merged trade",
            "merged bbo",
        ] {
            assert_eq!(text.parse::<Channel>().map(|channel| channel.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn other_words_are_refused() {
        for text in [
            "",
            "trades",
            "book 100",
            "book 100ms fast",
            "partial_book",
            "kline",
            "kline 2m",
            "kline 1m 1m",
            "merged",
            "merged book",
        ] {
            assert_eq!(text.parse::<Channel>(), Err(UnknownChannel), "{text:?}");
        }
    }

    #[test]
    fn the_list_of_intervals_is_in_the_order_of_the_variants() {
        for (index, (interval, name)) in Interval::ALL.iter().enumerate() {
            assert_eq!(*interval as usize, index, "{name}");
        }
        for (index, (joined, name)) in Joined::ALL.iter().enumerate() {
            assert_eq!((*joined as usize, joined.name()), (index, *name));
        }
    }
}
