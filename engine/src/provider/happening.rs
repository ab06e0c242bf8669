//! What a provider tells its operator.

use crate::connection::Lost;
use crate::ids::LineId;

/// Something that an operator wants to know. Rare; never one per event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A connection shook hands.
    Connected(LineId),
    /// A connection is over: why, and in how many nanoseconds it is tried again, if it is.
    Lost(LineId, Lost, Option<u64>),
    /// The venue refused a subscription.
    SubscriptionRefused {
        /// On which connection.
        line: LineId,
        /// The venue's code, 0 if it has none.
        code: i64,
        /// The venue's words.
        reason: String,
        /// The streams that the request named, as `symbol channel`.
        streams: Vec<String>,
    },
    /// A message was too long to be taken; what it was about is asked for again.
    Oversized {
        /// On which connection.
        line: LineId,
        /// Its length.
        bytes: u64,
        /// What is taken.
        bytes_max: usize,
    },
    /// The venue's instrument list does not have a symbol, or does not trade it.
    Unlisted {
        /// Canonical symbol.
        symbol: String,
        /// The venue's spelling that was looked for.
        venue_symbol: String,
    },
    /// The venue ceased to trade an instrument, and its streams ended.
    Delisted {
        /// Canonical symbol.
        symbol: String,
        /// The venue's spelling.
        venue_symbol: String,
        /// Streams that ended.
        streams: usize,
    },
    /// The venue halted an instrument, or trades it again; its streams stay.
    Halted {
        /// Canonical symbol.
        symbol: String,
        /// Whether it is halted now.
        halted: bool,
    },
    /// A book broke again and again: it is asked for after a pause.
    Unprovable {
        /// The stream, as `symbol channel`.
        stream: String,
        /// How often in a row it broke.
        failures: u32,
        /// The pause, in seconds.
        pause_s: u64,
    },
    /// A stream had missed something although its connection lived. It is subscribed anew.
    StreamDead {
        /// The stream, as `symbol channel`.
        stream: String,
    },
    /// A REST request failed and will be tried again.
    RestFailed {
        /// Path without the query.
        path: String,
        /// Why.
        reason: String,
    },
    /// The venue told us to slow down.
    RestPaused {
        /// HTTP status, 429 or 418.
        status: u16,
        /// For how long, in seconds.
        seconds: u64,
    },
    /// The venue announced that it closes connections.
    ShutdownSoon(LineId),
    /// A new line has taken over from an old one.
    Rolled {
        /// The old one.
        from: LineId,
        /// The new one.
        to: LineId,
    },
    /// Every book was proved, for the first time.
    BooksProved {
        /// How many there are.
        books: usize,
        /// After the start, in nanoseconds.
        after_ns: u64,
        /// REST requests sent until then.
        rest_requests: u64,
        /// Their weight, in the venue's units.
        rest_weight: u64,
        /// Subscription messages sent until then, on all connections.
        messages: u64,
    },
}

impl Happening {
    /// What was being done: a small set of words, by which lines are sorted, limited and searched.
    pub const fn operation(&self) -> &'static str {
        match self {
            Self::Connected(_) | Self::Lost(..) => "line",
            Self::SubscriptionRefused { .. } => "subscribe",
            Self::Oversized { .. } => "message",
            Self::Unlisted { .. } | Self::Delisted { .. } | Self::Halted { .. } => "instrument",
            Self::Unprovable { .. } => "book",
            Self::StreamDead { .. } => "stream",
            Self::RestFailed { .. } | Self::RestPaused { .. } => "rest",
            Self::ShutdownSoon(_) | Self::Rolled { .. } => "roll",
            Self::BooksProved { .. } => "books",
        }
    }

    /// The venue's number or our word for what went wrong; `None` where nothing did, or where neither has one.
    pub fn code(&self) -> Option<String> {
        match self {
            Self::Lost(_, lost, _) => Some(lost.name().to_owned()),
            Self::SubscriptionRefused { code, .. } => Some(code.to_string()),
            Self::Oversized { .. } => Some("oversized".to_owned()),
            Self::Unlisted { .. } => Some("unlisted".to_owned()),
            Self::Delisted { .. } => Some("delisted".to_owned()),
            Self::Unprovable { .. } => Some("unprovable".to_owned()),
            Self::StreamDead { .. } => Some("stream_dead".to_owned()),
            Self::RestFailed { .. } => Some("rest".to_owned()),
            Self::RestPaused { status, .. } => Some(format!("HTTP {status}")),
            _ => None,
        }
    }
}

/// `operation failed: reason (code)` for whatever went wrong.
impl std::fmt::Display for Happening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connected(line) => write!(f, "line {line} connected"),
            Self::Lost(line, Lost::Ours(reason), _) => {
                write!(f, "line {line} ended: closed by us ({reason})")
            }
            Self::Lost(line, lost, retry_ns) => {
                write!(f, "line {line} failed: {lost}")?;
                if let Some(retry_ns) = retry_ns {
                    write!(f, "; tried again in {:.1} s", *retry_ns as f64 / 1e9)?;
                }
                write!(f, " ({})", lost.name())
            }
            Self::SubscriptionRefused { line, code, reason, streams } => {
                write!(
                    f,
                    "subscribe failed on line {line}: {reason}; streams {} ({code})",
                    streams.join(", ")
                )
            }
            Self::Oversized { line, bytes, bytes_max } => {
                write!(
                    f,
                    "message failed on line {line}: a message of {bytes} bytes was passed over, {bytes_max} are taken at most \
                     (oversized)"
                )
            }
            Self::Unlisted { symbol, venue_symbol } => {
                write!(
                    f,
                    "instrument failed: {symbol} is not listed, or not trading, as {venue_symbol} (unlisted)"
                )
            }
            Self::Delisted { symbol, venue_symbol, streams } => write!(
                f,
                "instrument ended: {symbol} is not traded any more as {venue_symbol}; its {streams} streams ended, subscribe \
                 them again when it is (delisted)"
            ),
            Self::Halted { symbol, halted } => {
                write!(f, "instrument {}: {symbol}", if *halted { "halted" } else { "trades again" })
            }
            Self::Unprovable { stream, failures, pause_s } => write!(
                f,
                "book failed {failures} times in a row: {stream}; its precision is asked for anew, it itself in {pause_s} s \
                 (unprovable)"
            ),
            Self::StreamDead { stream } => {
                write!(
                    f,
                    "stream failed: {stream} was silent and had missed something; subscribed anew (stream_dead)"
                )
            }
            Self::RestFailed { path, reason } => write!(f, "GET {path} failed: {reason} (rest)"),
            Self::RestPaused { status, seconds } => {
                write!(f, "REST failed: the venue asks to slow down, paused for {seconds} s (HTTP {status})")
            }
            Self::Rolled { from, to } => write!(f, "line {to} took over from line {from}"),
            Self::ShutdownSoon(line) => write!(f, "line {line} ends soon: the venue announced a shutdown"),
            Self::BooksProved { books, after_ns, rest_requests, rest_weight, messages } => write!(
                f,
                "{books} books proved after {:.2} s ({messages} subscription messages, REST {rest_requests} of weight {rest_weight})",
                *after_ns as f64 / 1e9,
            ),
        }
    }
}
