//! What every simulated venue can do: the face between a venue's protocol and whoever carries its bytes.
//!
//! A venue is a core without I/O: requests, frames and time in; frames into an [`Output`], answers back. It is driven
//! by a [`Site`](crate::site::Site), which knows HTTP and WebSocket but no venue.

use std::collections::BTreeMap;

use crate::exchange::Exchange;
use crate::faults::VenueFault;
use crate::http::{HttpAnswer, HttpRequest};
use crate::output::{ConnectionId, Output};

/// One simulated venue's protocol. All times are nanoseconds since 1970 of the caller's clock and never go back.
pub trait Venue: Send {
    /// For example `binance`.
    fn name(&self) -> &'static str;
    /// Whether a WebSocket may be opened at this path and query.
    ///
    /// # Errors
    ///
    /// The HTTP answer that the venue gives instead.
    fn admit(&mut self, target: &str, now_ns: u64) -> Result<(), HttpAnswer>;
    /// A WebSocket is open.
    fn connected(&mut self, id: ConnectionId, target: &str, now_ns: u64, output: &mut Output);
    /// A text frame came.
    fn text(&mut self, id: ConnectionId, text: &[u8], now_ns: u64, output: &mut Output);
    /// A ping came; it is answered already.
    fn ping(&mut self, id: ConnectionId, now_ns: u64, output: &mut Output);
    /// A pong came.
    fn pong(&mut self, id: ConnectionId, payload: &[u8], now_ns: u64, output: &mut Output);
    /// The connection is gone, whoever ended it.
    fn closed(&mut self, id: ConnectionId);
    /// A REST request.
    fn http(&mut self, request: &HttpRequest<'_>, now_ns: u64) -> HttpAnswer;
    /// Does all that is due at `now_ns`.
    fn poll(&mut self, now_ns: u64, output: &mut Output);
    /// When [`poll`](Self::poll) has something to do next.
    fn next_wake_ns(&self) -> u64;
    /// Changes the number of messages per second of each instrument; 0 stands still.
    fn set_rate(&mut self, messages_per_instrument_per_s: f64, now_ns: u64);
    /// Arms a fault of this venue's data.
    fn fault(&mut self, fault: &VenueFault, now_ns: u64);
    /// Announces that the venue will disconnect, the way this venue does; does nothing where it has no such message.
    fn announce_shutdown(&mut self, id: ConnectionId, now_ns: u64, output: &mut Output);
    /// A frame of a kind that no document mentions.
    fn unknown_event(&self, now_ns: u64) -> Vec<u8>;
    /// The answer to a REST request refused with this status (429, 418, 500 and so on).
    fn refusal(&self, status: u16, retry_after_s: u64) -> HttpAnswer;
    /// Adds its counters.
    fn add_stats(&self, stats: &mut Stats);
    /// What was sent, for each instrument.
    fn truth(&self) -> Vec<InstrumentTruth>;
    /// The true book of one instrument, by canonical symbol.
    fn book(&self, symbol: &str) -> Option<BookTruth>;
    /// What stands behind its order entry; `None` if it has none.
    fn exchange(&self) -> Option<&Exchange> {
        None
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The client closed it.
    Peer,
    /// The client did not read fast enough.
    SlowClient,
    /// The client did not answer pings.
    PongTimeout,
    /// The client sent more frames than allowed.
    IncomingLimit,
    /// The client subscribed to nothing, or was silent, for longer than the venue allows.
    Idle,
    /// The connection reached its greatest age.
    Age,
    /// The client broke WebSocket or HTTP.
    Protocol,
    /// A fault script said so.
    Fault,
    /// HTTP without keep-alive.
    Http,
}

impl Reason {
    /// As a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::SlowClient => "slow_client",
            Self::PongTimeout => "pong_timeout",
            Self::IncomingLimit => "incoming_limit",
            Self::Idle => "idle",
            Self::Age => "age",
            Self::Protocol => "protocol",
            Self::Fault => "fault",
            Self::Http => "http",
        }
    }
}

/// Counters of a simulated venue since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// WebSocket connections open now.
    pub connections_open: usize,
    /// WebSocket connections opened.
    pub connections_total: u64,
    /// TCP connections or upgrades refused.
    pub connections_refused_total: u64,
    /// WebSocket connections ended, by reason.
    pub disconnects_total: BTreeMap<&'static str, u64>,
    /// Frames sent, control frames included.
    pub frames_sent_total: u64,
    /// Bytes of these frames.
    pub bytes_sent_total: u64,
    /// Data frames sent, by kind of stream (for example `trade`, `depth@100ms`).
    pub sent_by_stream_total: BTreeMap<String, u64>,
    /// Streams subscribed now, over all connections.
    pub subscriptions: usize,
    /// REST answers, by status.
    pub rest_answers_total: BTreeMap<u16, u64>,
    /// Frames of clients that were not understood.
    pub client_errors_total: u64,
    /// Faults that took effect or were armed.
    pub faults_total: u64,
    /// How long the market had to be skipped because this thread could not keep up, nanoseconds.
    pub skipped_ns_total: u64,
}

/// What was sent of one instrument, over all connections. Numbers are of messages published to at least one
/// subscriber.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstrumentTruth {
    /// Canonical, `BTC-USDT`.
    pub symbol: String,
    /// The venue's spelling.
    pub venue_symbol: String,
    /// First trade published.
    pub trade_id_first: Option<u64>,
    /// Last trade published.
    pub trade_id_last: Option<u64>,
    /// Trades published.
    pub trades_published_total: u64,
    /// Last update id in a published book update.
    pub update_id_published: Option<u64>,
    /// Book updates published.
    pub updates_published_total: u64,
    /// The last update id of the market now.
    pub update_id_last: u64,
    /// The last trade id of the market now.
    pub trade_id_market: u64,
}

/// The true book of one instrument.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BookTruth {
    /// The last update id that is in it.
    pub update_id: u64,
    /// Digits after the point of the prices below.
    pub price_decimals: usize,
    /// Digits after the point of the quantities below.
    pub qty_decimals: usize,
    /// (price, quantity) mantissas from the best on.
    pub bids: Vec<(i64, i64)>,
    /// (price, quantity) mantissas from the best on.
    pub asks: Vec<(i64, i64)>,
}
