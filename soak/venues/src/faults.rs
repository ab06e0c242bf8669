//! Faults that a test or a soak run orders while a simulated venue is running.
//!
//! Each says what the clients see. They are commands, not probabilities: a script decides when, so that a run can be
//! repeated.

use crate::exchange::OrderFault;

/// Which WebSocket connections a fault hits. REST connections have their own faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// All that are open.
    All,
    /// The one that has been open longest.
    Oldest,
    /// The one opened last.
    Newest,
    /// The n-th WebSocket connection since the start, from 0.
    Serial(u64),
}

/// How a connection is ended by [`Fault::Disconnect`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// The socket is closed without a close frame; what was not sent is lost.
    Drop,
    /// A close frame with this code, then the socket is closed.
    CloseFrame(u16),
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Ends connections now.
    Disconnect(Target, How),
    /// For this long, new TCP connections (REST too) are closed as soon as they are accepted.
    RefuseConnections {
        /// Nanoseconds.
        for_ns: u64,
    },
    /// For this long, WebSocket upgrades are answered with this HTTP status; REST works.
    RejectUpgrades {
        /// For example 503.
        status: u16,
        /// Nanoseconds.
        for_ns: u64,
    },
    /// For this long, nothing is sent to these connections, pings neither, and what they send is ignored: the
    /// socket stays open (half-open connection), even when the venue gives up on it. Frames of that time are lost, so
    /// sequences have a gap afterwards.
    Silence {
        /// Who.
        target: Target,
        /// Nanoseconds.
        for_ns: u64,
    },
    /// Half of the next data frame is sent, then the socket is closed.
    CutFrame(Target),
    /// The next data frame is sent twice.
    DuplicateFrame(Target),
    /// The next data frame is not sent. Where frames carry a running number of the connection (Coinbase Advanced),
    /// the client sees a hole in it.
    SkipSequence(Target),
    /// A text frame that is not JSON.
    Garbage(Target),
    /// A text frame with an event of an unknown kind.
    UnknownEvent(Target),
    /// A frame header that announces a payload of 2^40 bytes, of which none follow; nothing else is sent afterwards.
    OversizedHeader(Target),
    /// These bytes between two frames, so many times: whatever a broken or hostile server may write.
    Bytes {
        /// Who.
        target: Target,
        /// Once.
        bytes: Vec<u8>,
        /// Times.
        count: u32,
    },
    /// A ping now, besides the regular ones.
    Ping(Target),
    /// The venue's notice of a planned shutdown now, and the disconnect `after_ns` later.
    PlannedShutdown {
        /// Who.
        target: Target,
        /// Nanoseconds from the notice to the disconnect.
        after_ns: u64,
    },
    /// The next `count` REST requests whose path contains `path` fail in this way.
    Rest {
        /// Part of the path; empty hits all.
        path: String,
        /// The way.
        kind: RestFault,
        /// Requests.
        count: u32,
    },
    /// A fault in the data of the venue.
    Venue(VenueFault),
    /// Ends all faults that last or wait, also those of the data.
    Clear,
}

/// How a REST request fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestFault {
    /// The right answer, this many nanoseconds later. The answer is made when the request comes, so a snapshot is
    /// older than what was streamed meanwhile.
    Delay(u64),
    /// The venue's refusal with this status (429, 418, 500 ...) and, for 429 and 418, `Retry-After` seconds.
    Status {
        /// HTTP status.
        status: u16,
        /// Seconds.
        retry_after_s: u64,
    },
    /// An HTML page with this status, as proxies send it.
    Html(u16),
    /// A valid HTTP answer whose body is the first half of the JSON.
    TruncatedJson,
    /// Half of the answer, then the socket is closed.
    CutAnswer,
    /// No answer; the connection stays open.
    NoAnswer,
}

/// A fault in a venue's data. `symbol` is canonical (`BTC-USDT`). A venue without the thing that is to be wrong (update
/// ids, checksums) ignores the fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VenueFault {
    /// The next `count` book updates of each speed (of each depth) are not sent: a gap in the sequence, or later a
    /// wrong checksum; nothing but a wrong book where there is neither (Coinbase).
    DropUpdates {
        /// Instrument.
        symbol: String,
        /// Updates.
        count: u32,
    },
    /// The next `count` book updates of each speed carry sequence numbers that are off by this much.
    ShiftUpdateIds {
        /// Instrument.
        symbol: String,
        /// Added to the numbers.
        by: i64,
        /// Updates.
        count: u32,
    },
    /// The next `count` trades are not sent: a gap in the trade ids.
    DropTrades {
        /// Instrument.
        symbol: String,
        /// Trades.
        count: u32,
    },
    /// The next `count` snapshots of the instrument are copies of its book as it is now, when the fault is ordered:
    /// older than what a client has buffered if it connects later than that.
    StaleSnapshots {
        /// Instrument.
        symbol: String,
        /// Snapshots.
        count: u32,
    },
    /// The next `count` books with which a subscription of the instrument begins are not sent; what follows is. Nothing
    /// where a book begins by REST (Binance) and at Coinbase's Exchange.
    LoseSnapshots {
        /// Instrument.
        symbol: String,
        /// Snapshots.
        count: u32,
    },
    /// The next `count` subscriptions of the instrument are passed over without a word: the answer, a list of all that the
    /// connection carries, does not name them. Nothing where each subscription has an answer of its own.
    PassOver {
        /// Instrument.
        symbol: String,
        /// Subscriptions.
        count: u32,
    },
    /// The next `count` book updates carry a wrong checksum: one digit of it is another. Only venues that send one
    /// (Kraken).
    LieChecksum {
        /// Instrument.
        symbol: String,
        /// Updates.
        count: u32,
    },
    /// The instrument is not traded any more, for good: nothing of it is sent, and REST and subscriptions do not know it.
    /// [`VenueFault::Clear`] does not bring it back.
    Delist {
        /// Instrument.
        symbol: String,
    },
    /// A fault of order entry. A venue without trading ignores it.
    Orders(OrderFault),
    /// Ends the faults above.
    Clear,
}

impl VenueFault {
    /// The instrument that it is about.
    pub(crate) fn symbol(&self) -> Option<&str> {
        match self {
            Self::DropUpdates { symbol, .. }
            | Self::ShiftUpdateIds { symbol, .. }
            | Self::DropTrades { symbol, .. }
            | Self::StaleSnapshots { symbol, .. }
            | Self::LoseSnapshots { symbol, .. }
            | Self::PassOver { symbol, .. }
            | Self::LieChecksum { symbol, .. }
            | Self::Delist { symbol } => Some(symbol),
            Self::Orders(_) | Self::Clear => None,
        }
    }
}
