//! One client's WebSocket connection: methods, acknowledgements, snapshots, heartbeat, limits.
//!
//! Source: docs.kraken.com, WebSocket v2 pages of 2026-05-27; the texts of refusals that recordings of 2024 and 2025 hold
//! (`Currency pair not supported`, `Unsupported event`, `Unsupported field`). The other texts are not documented for v2.

use serde_json::{Map, Value};

use super::channels::{DEPTHS, Kind, MINUTES};
use super::encode::{self, Day};
use super::{Kraken, SECOND_NS};
use crate::http::{HttpAnswer, split_target};
use crate::limits::Window;
use crate::output::{ConnectionId, Output};
use crate::text::{put, put_u64};
use crate::venue::Reason;

/// Normal closure; the venue documents no code.
const CLOSE_IDLE: u16 = 1000;
/// The window of the limit on new connections.
const ATTEMPTS_WINDOW_NS: u64 = 600 * SECOND_NS;
/// Trades in the snapshot of the trade channel.
const TRADES_SNAPSHOT: usize = 50;
/// Bars in the snapshot of the ohlc channel. (The venue says nothing of their number.)
const BARS_SNAPSHOT: usize = 10;
/// How long a request takes inside of the venue: `time_out` minus `time_in`.
const ANSWER_NS: u64 = 43_000;

/// Connections opened lately.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    window: Window,
    banned_until_ns: u64,
}

#[derive(Debug)]
pub(super) struct Session {
    connection_id: u64,
    instruments: bool,
    /// Has subscribed to something, if only to heartbeats.
    subscribed: bool,
    incoming: Window,
    heard_ns: u64,
    next_heartbeat_ns: u64,
}

/// What a subscription is for, besides the symbol.
struct Wanted {
    kind: Kind,
    /// The fields of the acknowledgement between `channel` and `snapshot`.
    fields: String,
    /// Those after `symbol`.
    warnings: &'static str,
    snapshot: bool,
}

impl Kraken {
    pub(super) fn admit_session(&mut self, target: &str, now_ns: u64) -> Result<(), HttpAnswer> {
        let attempts = &mut self.attempts;
        if !attempts.window.admit(ATTEMPTS_WINDOW_NS, self.limits.connections_per_10_minutes_max, now_ns) {
            attempts.banned_until_ns =
                attempts.banned_until_ns.max(now_ns.saturating_add(self.limits.ban_ns));
        }
        if now_ns < attempts.banned_until_ns {
            let wait_ns = attempts.banned_until_ns - now_ns;
            return Err(HttpAnswer::html(429).with("Retry-After", wait_ns.div_ceil(SECOND_NS)));
        }
        // `/` is WebSocket v1.
        if split_target(target).0 == "/v2" { Ok(()) } else { Err(HttpAnswer::html(404)) }
    }

    pub(super) fn open_session(&mut self, id: ConnectionId, now_ns: u64, output: &mut Output) {
        self.connections += 1;
        // Larger than 2^63, as the venue's are.
        let mixed = self.seed.wrapping_add(self.connections).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let session = Session {
            connection_id: mixed | 1 << 63,
            instruments: false,
            subscribed: false,
            incoming: Window::default(),
            heard_ns: now_ns,
            next_heartbeat_ns: u64::MAX,
        };
        self.sessions.open(id, session, now_ns);
        self.send_status(id, "online", output);
    }

    pub(super) fn close_session(&mut self, id: ConnectionId) {
        if let Some(trading) = &mut self.trading {
            trading.closed(id);
        }
        if self.sessions.close(id).is_some() {
            self.topics.forget(id);
        }
    }

    /// A frame of the client came.
    pub(super) fn heard(&mut self, id: ConnectionId, now_ns: u64) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.heard_ns = now_ns;
        }
    }

    pub(super) fn instrument_subscriptions(&self) -> usize {
        self.sessions.iter().filter(|(_, session)| session.instruments).count()
    }

    pub(super) fn send_status(&mut self, id: ConnectionId, system: &str, output: &mut Output) {
        let Some(session) = self.sessions.get(id) else { return };
        let connection_id = session.connection_id;
        let status = format!(
            "{{\"channel\":\"status\",\"type\":\"update\",\"data\":[{{\"version\":\"2.0.10\",\"system\":\"{system}\",\
             \"api_version\":\"v2\",\"connection_id\":{connection_id}}}]}}"
        );
        output.text(id, &[status.as_bytes()]);
    }

    /// The heartbeat of a connection, or its end if it is idle. Gives when it is to be looked at again.
    pub(super) fn poll_session(&mut self, id: ConnectionId, now_ns: u64, output: &mut Output) -> u64 {
        let Some(session) = self.sessions.get_mut(id).filter(|_| !output.is_ending(id)) else {
            return u64::MAX;
        };
        if !session.subscribed {
            let idle_ns = session.heard_ns.saturating_add(self.limits.idle_ns_max);
            if now_ns >= idle_ns {
                output.close(id, CLOSE_IDLE, "", Reason::Idle);
                return u64::MAX;
            }
            return idle_ns;
        }
        // Recordings of 2026 have one each second, whatever else is sent.
        if now_ns >= session.next_heartbeat_ns {
            output.text(id, &[b"{\"channel\":\"heartbeat\"}"]);
            session.next_heartbeat_ns = now_ns.saturating_add(self.limits.heartbeat_every_ns);
        }
        session.next_heartbeat_ns
    }

    /// Handles a client's frame and answers it.
    pub(super) fn method(&mut self, id: ConnectionId, text: &[u8], now_ns: u64, output: &mut Output) {
        let time_ns = self.clock.market_ns(now_ns);
        let Ok(Value::Object(request)) = serde_json::from_slice::<Value>(text) else {
            return self.refuse(id, &Map::new(), None, "Malformed request", time_ns, output);
        };
        let Some(session) = self.sessions.get_mut(id) else { return };
        if !session.incoming.admit(SECOND_NS, self.limits.incoming_per_s_max, now_ns) {
            return self.refuse(id, &request, None, "Exceeded msg rate", time_ns, output);
        }
        if request.get("req_id").is_some_and(|req_id| !req_id.is_i64() && !req_id.is_u64()) {
            let mut request = request;
            request.remove("req_id");
            return self.refuse(id, &request, None, "Req_id field must be an integer", time_ns, output);
        }
        match request.get("method").and_then(Value::as_str) {
            Some("ping") if request.contains_key("params") => {
                let text = "Unsupported field: 'params' for the given msg type: ping";
                self.refuse(id, &request, None, text, time_ns, output);
            }
            Some("ping") => self.acknowledge(id, "pong", &request, None, time_ns, output),
            Some("subscribe") => self.subscribe(id, &request, now_ns, output),
            Some("unsubscribe") => self.unsubscribe(id, &request, time_ns, output),
            Some("add_order" | "cancel_order" | "cancel_all") if self.trading.is_some() => {
                self.order_method(id, &request, text, now_ns, output);
            }
            _ => self.refuse(id, &request, None, "Unsupported event", time_ns, output),
        }
    }

    fn subscribe(
        &mut self,
        id: ConnectionId,
        request: &Map<String, Value>,
        now_ns: u64,
        output: &mut Output,
    ) {
        let time_ns = self.clock.market_ns(now_ns);
        let no_params = Map::new();
        let params = request.get("params").and_then(Value::as_object).unwrap_or(&no_params);
        let channel = params.get("channel").and_then(Value::as_str).unwrap_or("");
        match channel {
            "instrument" | "heartbeat" | "status" => {
                let snapshot = params.get("snapshot").and_then(Value::as_bool).unwrap_or(true);
                let result = match channel {
                    "instrument" => format!("{{\"channel\":\"instrument\",\"snapshot\":{snapshot}}}"),
                    _ => format!("{{\"channel\":\"{channel}\"}}"),
                };
                self.acknowledge(id, "subscribe", request, Some(&result), time_ns, output);
                self.start_heartbeats(id, now_ns);
                if channel == "instrument" {
                    if let Some(session) = self.sessions.get_mut(id) {
                        session.instruments = true;
                    }
                    if snapshot {
                        self.frame.clear();
                        encode::instruments(&mut self.frame, "snapshot", "online", &self.listings);
                        output.text(id, &[&self.frame]);
                    }
                }
                return;
            }
            "executions" if self.trading.is_some() => {
                return self.subscribe_executions(id, request, now_ns, output);
            }
            "book" | "trade" | "ticker" | "ohlc" => {}
            _ => return self.refuse(id, request, None, "Unsupported event", time_ns, output),
        }
        let Some(symbols) = symbols(params) else {
            return self.refuse(id, request, None, "Symbol(s) missing", time_ns, output);
        };
        let mut snapshots = Vec::new();
        for symbol in symbols {
            let found = self.listings.iter().position(|listing| listing.symbol == symbol);
            let found = found.filter(|index| !self.gone[*index]);
            let outcome = match (found, wanted(channel, params)) {
                (None, _) => Err(format!("Currency pair not supported {symbol}")),
                (_, Err(text)) => Err(text),
                (Some(index), Ok(wanted)) => {
                    if self.topics.subscribe(index, wanted.kind.index(), id) {
                        Ok((index, wanted))
                    } else {
                        Err("Already subscribed".to_owned())
                    }
                }
            };
            match outcome {
                Err(text) => self.refuse(id, request, Some(symbol), &text, time_ns, output),
                Ok((index, wanted)) => {
                    let (fields, snapshot, warnings) = (&wanted.fields, wanted.snapshot, wanted.warnings);
                    let result = format!(
                        "{{\"channel\":\"{channel}\"{fields},\"snapshot\":{snapshot},\"symbol\":\"{symbol}\"{warnings}}}"
                    );
                    self.acknowledge(id, "subscribe", request, Some(&result), time_ns, output);
                    self.start_heartbeats(id, now_ns);
                    if snapshot {
                        snapshots.push((index, wanted.kind));
                    }
                }
            }
        }
        for (index, kind) in snapshots {
            self.send_snapshot(id, index, kind, time_ns, output);
        }
    }

    fn unsubscribe(
        &mut self,
        id: ConnectionId,
        request: &Map<String, Value>,
        time_ns: u64,
        output: &mut Output,
    ) {
        let no_params = Map::new();
        let params = request.get("params").and_then(Value::as_object).unwrap_or(&no_params);
        let channel = params.get("channel").and_then(Value::as_str).unwrap_or("");
        if matches!(channel, "instrument" | "heartbeat" | "status") {
            if let (Some(session), "instrument") = (self.sessions.get_mut(id), channel) {
                session.instruments = false;
            }
            let result = format!("{{\"channel\":\"{channel}\"}}");
            return self.acknowledge(id, "unsubscribe", request, Some(&result), time_ns, output);
        }
        if channel == "executions"
            && let Some(trading) = &mut self.trading
        {
            if !trading.unsubscribe(id) {
                return self.refuse(id, request, None, "Subscription Not Found", time_ns, output);
            }
            let result = "{\"channel\":\"executions\"}";
            return self.acknowledge(id, "unsubscribe", request, Some(result), time_ns, output);
        }
        let (Some(symbols), true) =
            (symbols(params), matches!(channel, "book" | "trade" | "ticker" | "ohlc"))
        else {
            return self.refuse(id, request, None, "Unsupported event", time_ns, output);
        };
        for symbol in symbols {
            let found = self.listings.iter().position(|listing| listing.symbol == symbol);
            let outcome = match (found, wanted(channel, params)) {
                (None, _) => Err(format!("Currency pair not supported {symbol}")),
                (_, Err(text)) => Err(text),
                (Some(index), Ok(wanted)) => {
                    let removed = self.topics.unsubscribe(index, wanted.kind.index(), id);
                    if removed { Ok(wanted) } else { Err("Subscription Not Found".to_owned()) }
                }
            };
            match outcome {
                Err(text) => self.refuse(id, request, Some(symbol), &text, time_ns, output),
                Ok(wanted) => {
                    let fields = &wanted.fields;
                    let result = format!("{{\"channel\":\"{channel}\"{fields},\"symbol\":\"{symbol}\"}}");
                    self.acknowledge(id, "unsubscribe", request, Some(&result), time_ns, output);
                }
            }
        }
    }

    /// Tells those who listen to `instrument` that a pair is gone.
    pub(super) fn tell_delisted(&mut self, index: usize, output: &mut Output) {
        self.frame.clear();
        let listing = std::slice::from_ref(&self.listings[index]);
        encode::instruments(&mut self.frame, "update", "delisted", listing);
        for (id, _) in self.sessions.iter().filter(|(_, session)| session.instruments) {
            output.text(id, &[&self.frame]);
        }
    }

    pub(super) fn start_heartbeats(&mut self, id: ConnectionId, now_ns: u64) {
        if let Some(session) = self.sessions.get_mut(id)
            && !session.subscribed
        {
            session.subscribed = true;
            session.next_heartbeat_ns = now_ns.saturating_add(self.limits.heartbeat_every_ns);
            let heartbeat_ns = session.next_heartbeat_ns;
            self.sessions.wake_by(heartbeat_ns);
        }
    }

    fn send_snapshot(
        &mut self,
        id: ConnectionId,
        index: usize,
        kind: Kind,
        time_ns: u64,
        output: &mut Output,
    ) {
        let lost = &mut self.faults[index].lose_snapshots;
        if matches!(kind, Kind::Book(_)) && *lost > 0 {
            *lost -= 1;
            return;
        }
        let (listing, instrument) = (&self.listings[index], &self.market.instruments()[index]);
        self.frame.clear();
        let frame = &mut self.frame;
        match kind {
            Kind::Trade => {
                let trades = instrument.trades();
                let skip = trades.len().saturating_sub(TRADES_SNAPSHOT);
                encode::trades(frame, listing, "snapshot", trades.iter().skip(skip));
            }
            Kind::TickerTrades | Kind::TickerBbo => {
                let day = Day { total: instrument.bars.total(), top: instrument.book.top() };
                encode::ticker(frame, listing, "snapshot", &day, time_ns);
            }
            Kind::Book(depth) => {
                let book = match &mut self.faults[index].stale {
                    Some((book, count)) if *count > 0 => {
                        *count -= 1;
                        &*book
                    }
                    _ => &instrument.book,
                };
                let checksum = listing.checksum(book.bids.iter(), book.asks.iter(), &mut self.digits);
                let (bids, asks) =
                    (book.bids.iter().take(DEPTHS[depth]), book.asks.iter().take(DEPTHS[depth]));
                encode::book(frame, listing, "snapshot", bids, asks, checksum, time_ns);
            }
            Kind::Ohlc(interval) => {
                let (minutes, market_interval) = MINUTES[interval];
                let mut bars = instrument.bars.history(market_interval);
                bars.retain(|bar| bar.count > 0);
                let skip = bars.len().saturating_sub(BARS_SNAPSHOT);
                encode::ohlc(frame, listing, "snapshot", minutes, bars[skip..].iter(), time_ns);
            }
        }
        output.text(id, &[frame]);
        self.topics.count_sent(kind.index(), 1);
    }

    /// The answer to a request that was accepted; without a result for pongs.
    pub(super) fn acknowledge(
        &mut self,
        id: ConnectionId,
        method: &str,
        request: &Map<String, Value>,
        result: Option<&str>,
        time_ns: u64,
        output: &mut Output,
    ) {
        self.put_acknowledgement(method, request, result, time_ns);
        output.text(id, &[&self.frame]);
    }

    /// Writes that answer into `frame`.
    pub(super) fn put_acknowledgement(
        &mut self,
        method: &str,
        request: &Map<String, Value>,
        result: Option<&str>,
        time_ns: u64,
    ) {
        let frame = &mut self.frame;
        frame.clear();
        put(frame, b"{\"method\":\"");
        put(frame, method.as_bytes());
        frame.push(b'"');
        put_req_id(frame, request);
        if let Some(result) = result {
            put(frame, b",\"result\":");
            put(frame, result.as_bytes());
            put(frame, b",\"success\":true");
        }
        put_times(frame, time_ns);
    }

    /// The answer to a request, or to one symbol of it, that was refused.
    pub(super) fn refuse(
        &mut self,
        id: ConnectionId,
        request: &Map<String, Value>,
        symbol: Option<&str>,
        text: &str,
        time_ns: u64,
        output: &mut Output,
    ) {
        self.client_errors += 1;
        let frame = &mut self.frame;
        frame.clear();
        put(frame, b"{\"error\":");
        put(frame, Value::from(text).to_string().as_bytes());
        if let Some(method) = request.get("method") {
            put(frame, b",\"method\":");
            put(frame, method.to_string().as_bytes());
        }
        put_req_id(frame, request);
        put(frame, b",\"success\":false");
        if let Some(symbol) = symbol {
            put(frame, b",\"symbol\":");
            put(frame, Value::from(symbol).to_string().as_bytes());
        }
        put_times(frame, time_ns);
        output.text(id, &[frame]);
    }
}

fn put_req_id(frame: &mut Vec<u8>, request: &Map<String, Value>) {
    if let Some(req_id) = request.get("req_id") {
        put(frame, b",\"req_id\":");
        match req_id.as_u64() {
            Some(number) => put_u64(frame, number),
            None => put(frame, req_id.to_string().as_bytes()),
        }
    }
}

fn put_times(frame: &mut Vec<u8>, time_ns: u64) {
    put(frame, b",\"time_in\":");
    encode::put_us(frame, time_ns);
    put(frame, b",\"time_out\":");
    encode::put_us(frame, time_ns + ANSWER_NS);
    frame.push(b'}');
}

fn symbols(params: &Map<String, Value>) -> Option<Vec<&str>> {
    let list = params.get("symbol")?.as_array().filter(|list| !list.is_empty())?;
    list.iter().map(Value::as_str).collect()
}

/// Reads the parameters of a channel; an error is the text of the refusal.
fn wanted(channel: &str, params: &Map<String, Value>) -> Result<Wanted, String> {
    let number = |name: &str, default: u64| match params.get(name) {
        None => Ok(default),
        Some(value) => value.as_u64().ok_or_else(|| format!("{name} field must be an integer")),
    };
    let snapshot = params.get("snapshot").and_then(Value::as_bool);
    Ok(match channel {
        "book" => {
            let depth = number("depth", 10)?;
            let index = DEPTHS.iter().position(|known| *known as u64 == depth);
            let index = index.ok_or("Subscription depth not supported")?;
            Wanted {
                kind: Kind::Book(index),
                fields: format!(",\"depth\":{depth}"),
                warnings: "",
                snapshot: snapshot.unwrap_or(true),
            }
        }
        "ohlc" => {
            let minutes = number("interval", 1)?;
            let index = MINUTES.iter().position(|(known, _)| *known == minutes);
            let index = index.ok_or("Subscription ohlc interval not supported")?;
            Wanted {
                kind: Kind::Ohlc(index),
                fields: format!(",\"interval\":{minutes}"),
                warnings: ",\"warnings\":[\"timestamp is deprecated, use interval_begin\"]",
                snapshot: snapshot.unwrap_or(true),
            }
        }
        "ticker" => {
            let trigger = params.get("event_trigger").map_or(Some("trades"), Value::as_str);
            let kind = match trigger {
                Some("trades") => Kind::TickerTrades,
                Some("bbo") => Kind::TickerBbo,
                _ => return Err("Unsupported event_trigger".to_owned()),
            };
            let fields = format!(",\"event_trigger\":\"{}\"", trigger.unwrap_or_default());
            Wanted { kind, fields, warnings: "", snapshot: snapshot.unwrap_or(true) }
        }
        _ => Wanted {
            kind: Kind::Trade,
            fields: String::new(),
            warnings: "",
            snapshot: snapshot.unwrap_or(false),
        },
    })
}
