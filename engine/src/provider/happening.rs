//! What a provider tells its operator.

use crate::connection::Lost;
use crate::ids::LineId;

/// Something that an operator wants to know. Rare; never one per event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A connection shook hands.
    Connected(LineId),
    /// A connection is over.
    Lost(LineId, Lost),
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

impl std::fmt::Display for Happening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connected(line) => write!(f, "line {line} connected"),
            Self::Lost(line, lost) => write!(f, "line {line}: {lost}"),
            Self::SubscriptionRefused { line, code, reason, streams } => {
                write!(
                    f,
                    "subscribe failed on line {line}: {reason} ({code}), streams {}",
                    streams.join(", ")
                )
            }
            Self::Oversized { line, bytes, bytes_max } => {
                write!(
                    f,
                    "line {line}: a message of {bytes} bytes was passed over, {bytes_max} are taken at most"
                )
            }
            Self::Unlisted { symbol, venue_symbol } => {
                write!(f, "instrument failed: {symbol} is not listed, or not trading, as {venue_symbol}")
            }
            Self::RestFailed { path, reason } => write!(f, "GET {path} failed: {reason}"),
            Self::RestPaused { status, seconds } => write!(f, "REST paused for {seconds} s: HTTP {status}"),
            Self::Rolled { from, to } => write!(f, "line {to} took over from line {from}"),
            Self::ShutdownSoon(line) => write!(f, "line {line}: the venue announced a shutdown"),
            Self::BooksProved { books, after_ns, rest_requests, rest_weight, messages } => write!(
                f,
                "{books} books proved after {:.2} s: {messages} subscription messages, {rest_requests} REST requests of \
                 weight {rest_weight}",
                *after_ns as f64 / 1e9,
            ),
        }
    }
}
