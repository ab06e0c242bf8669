//! One client's WebSocket connection: URL forms, control frames, heartbeat, limits, age.
//!
//! Source: binance-spot-api-docs, web-socket-streams.md, commit a5e0bc3 (paths, control frames, error texts, limits).
//! Where the documents say only "disconnected", the close code 1008 is what clients report.

use std::collections::VecDeque;

use serde_json::Value;

use super::encode::Unit;
use super::streams::{Kind, Topic};
use super::trade::api::{self, ApiSession};
use super::{Binance, Product, SECOND_NS};
use crate::http::{HttpAnswer, Query, percent_decode, split_target};
use crate::output::{ConnectionId, Output};
use crate::venue::Reason;

/// Policy violation.
const CLOSE_POLICY: u16 = 1008;
/// Going away.
const CLOSE_AWAY: u16 = 1001;
/// The window of the limit on new connections.
const ATTEMPTS_WINDOW_NS: u64 = 300 * SECOND_NS;
/// Ids that are text have at most this many characters.
const ID_TEXT_MAX: usize = 36;

const METHODS: &str = "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`";

/// Connections opened in the present five minutes; windows are aligned to the clock.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    window: u64,
    count: u32,
}

/// One stream that a client asked for; without a topic if no such stream exists.
#[derive(Debug)]
struct Subscription {
    name: String,
    topic: Option<Topic>,
}

#[derive(Debug)]
pub(super) struct Session {
    combined: bool,
    pub(super) unit: Unit,
    /// On a connection of the WebSocket API, which has no streams.
    pub(super) api: Option<ApiSession>,
    subscriptions: Vec<Subscription>,
    incoming_window: u64,
    incoming: u32,
    next_ping_ns: u64,
    /// Payload and time of pings without an answer.
    pings: VecDeque<(u64, u64)>,
    expires_ns: u64,
    announced: bool,
}

/// An error frame's code and text.
type Refusal = (i32, String);

impl Binance {
    pub(super) fn admit_session(&mut self, target: &str, now_ns: u64) -> Result<(), HttpAnswer> {
        let window = now_ns / ATTEMPTS_WINDOW_NS;
        if window != self.attempts.window {
            self.attempts = Attempts { window, count: 0 };
        }
        self.attempts.count += 1;
        if self.attempts.count > self.limits.connections_per_5_minutes_max {
            let wait_ns = (window + 1) * ATTEMPTS_WINDOW_NS - now_ns;
            return Err(super::rest::refusal(429, wait_ns.div_ceil(SECOND_NS), &self.limits));
        }
        let path = self.routed(split_target(target).0);
        if path == api::PATH
            && let Some(exchange) = &self.exchange
        {
            if !exchange.is_reachable(now_ns) {
                return Err(HttpAnswer::html(503));
            }
            return self.charge(api::SESSION_WEIGHT, now_ns);
        }
        if path == "/ws" || path == "/stream" || path.starts_with("/ws/") {
            Ok(())
        } else {
            Err(HttpAnswer::html(404))
        }
    }

    /// The path without the route that USD-M connections name since 2026-04-23 (`/public`, `/market`). Here each route
    /// carries every channel.
    fn routed<'a>(&self, path: &'a str) -> &'a str {
        let routes = if self.product == Product::UsdM { &["/public", "/market"][..] } else { &[] };
        routes.iter().find_map(|route| path.strip_prefix(route)).unwrap_or(path)
    }

    pub(super) fn open_session(&mut self, id: ConnectionId, target: &str, now_ns: u64, output: &mut Output) {
        let (path, query) = split_target(target);
        let path = self.routed(path);
        let query = Query::parse(query);
        let micro = query.get("timeUnit").is_some_and(|unit| unit.eq_ignore_ascii_case("microsecond"));
        let session = Session {
            combined: path == "/stream",
            api: (path == api::PATH)
                .then(|| ApiSession::new(query.get("returnRateLimits") != Some("false"), now_ns)),
            unit: if micro { Unit::Microseconds } else { Unit::Milliseconds },
            subscriptions: Vec::new(),
            incoming_window: 0,
            incoming: 0,
            next_ping_ns: now_ns.saturating_add(self.limits.ping_every_ns),
            pings: VecDeque::new(),
            expires_ns: now_ns.saturating_add(self.limits.age_ns_max),
            announced: false,
        };
        self.sessions.open(id, session, now_ns);

        let path = percent_decode(path);
        let names = match path.strip_prefix("/ws/") {
            Some(names) => names,
            None => query.get("streams").unwrap_or(""),
        };
        let names: Vec<String> =
            names.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if self.subscribe(id, names).is_err() {
            output.close(id, CLOSE_POLICY, "Too many streams", Reason::IncomingLimit);
        }
    }

    /// Whether it is a connection of the WebSocket API.
    pub(super) fn is_api(&self, id: ConnectionId) -> bool {
        self.sessions.get(id).is_some_and(|session| session.api.is_some())
    }

    pub(super) fn close_session(&mut self, id: ConnectionId) {
        self.late.retain(|late| late.id != id);
        let Some(session) = self.sessions.close(id) else { return };
        for topic in session.subscriptions.iter().filter_map(|it| it.topic) {
            self.topics.unsubscribe(topic, id);
        }
    }

    /// `false`: the client has sent too much and is disconnected.
    pub(super) fn count_incoming(&mut self, id: ConnectionId, now_ns: u64, output: &mut Output) -> bool {
        let Some(session) = self.sessions.get_mut(id) else { return false };
        let window = now_ns / SECOND_NS;
        if window != session.incoming_window {
            session.incoming_window = window;
            session.incoming = 0;
        }
        session.incoming += 1;
        // The WebSocket API has weights instead.
        if session.api.is_none() && session.incoming > self.limits.incoming_per_s_max {
            output.close(id, CLOSE_POLICY, "Too many requests", Reason::IncomingLimit);
            return false;
        }
        true
    }

    /// Only a pong with the payload of a ping keeps the connection alive.
    pub(super) fn accept_pong(&mut self, id: ConnectionId, payload: &[u8]) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let number = std::str::from_utf8(payload).ok().and_then(|text| text.parse::<u64>().ok());
        if let Some(index) = session.pings.iter().position(|(sent, _)| Some(*sent) == number) {
            session.pings.drain(..=index);
        }
    }

    /// Ping, missing pong and age of a connection. Gives when it is to be looked at again.
    pub(super) fn poll_session(&mut self, id: ConnectionId, now_ns: u64, output: &mut Output) -> u64 {
        let Some(session) = self.sessions.get_mut(id).filter(|_| !output.is_ending(id)) else {
            return u64::MAX;
        };
        let pong_due_ns = |session: &Session| {
            let within_ns = self.limits.pong_within_ns;
            session.pings.front().map_or(u64::MAX, |(_, sent_ns)| sent_ns.saturating_add(within_ns))
        };
        if now_ns >= pong_due_ns(session) {
            output.close(id, CLOSE_POLICY, "Pong timeout", Reason::PongTimeout);
            return u64::MAX;
        }
        if now_ns >= session.expires_ns {
            output.close(id, CLOSE_AWAY, "", Reason::Age);
            return u64::MAX;
        }
        if now_ns >= session.next_ping_ns {
            let payload = now_ns / super::MS_NS;
            output.ping(id, payload.to_string().as_bytes());
            session.pings.push_back((payload, now_ns));
            session.next_ping_ns = now_ns.saturating_add(self.limits.ping_every_ns);
        }
        let notice_ns = session.expires_ns.saturating_sub(self.limits.shutdown_notice_ns);
        let next_ns = session.next_ping_ns.min(pong_due_ns(session)).min(session.expires_ns);
        if session.announced {
            return next_ns;
        }
        if now_ns < notice_ns {
            return next_ns.min(notice_ns);
        }
        self.send_shutdown_notice(id, now_ns, output);
        next_ns
    }

    pub(super) fn send_shutdown_notice(&mut self, id: ConnectionId, now_ns: u64, output: &mut Output) {
        let market_ns = self.clock.market_ns(now_ns);
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.announced = true;
        let mut event = b"{\"e\":\"serverShutdown\",\"E\":".to_vec();
        session.unit.put(&mut event, market_ns);
        event.push(b'}');
        if session.api.is_some() {
            output.text(id, &[b"{\"event\":", &event, b"}"]);
        } else if session.combined {
            output.text(id, &[b"{\"stream\":\"!serverShutdown\",\"data\":", &event, b"}"]);
        } else {
            output.text(id, &[&event]);
        }
    }

    /// Handles a control frame and answers it.
    pub(super) fn control_frame(&mut self, id: ConnectionId, text: &[u8], output: &mut Output) {
        let (request_id, result) = match serde_json::from_slice::<Value>(text) {
            Ok(Value::Object(request)) => match request_id(&request) {
                Ok(request_id) => (Some(request_id), self.request(id, &request, text.len())),
                Err(refusal) => (None, Err(refusal)),
            },
            Ok(_) => (None, Err((2, "Invalid request: expected an object at line 1 column 1".to_owned()))),
            Err(error) => {
                let place = format!("line {} column {}", error.line(), error.column());
                (None, Err((3, format!("Invalid JSON: expected value at {place}"))))
            }
        };
        let id_text = request_id.map(|request_id| request_id.to_string());
        let answer = match (result, id_text) {
            (Ok(result), request_id) => {
                format!("{{\"result\":{result},\"id\":{}}}", request_id.unwrap_or_else(|| "null".to_owned()))
            }
            (Err((code, text)), request_id) => {
                self.client_errors += 1;
                let request_id = request_id.map_or(String::new(), |it| format!(",\"id\":{it}"));
                format!("{{\"code\":{code},\"msg\":{}{request_id}}}", Value::from(text))
            }
        };
        output.text(id, &[answer.as_bytes()]);
    }

    fn request(
        &mut self,
        id: ConnectionId,
        request: &serde_json::Map<String, Value>,
        bytes: usize,
    ) -> Result<Value, Refusal> {
        let invalid = |text: String| (2, format!("Invalid request: {text}"));
        let Some(method) = request.get("method") else {
            return Err(invalid(format!("missing field `method` at line 1 column {bytes}")));
        };
        let params = request.get("params");
        match method.as_str() {
            Some("SUBSCRIBE") => self.subscribe(id, names(params)?).map(|()| Value::Null),
            Some("UNSUBSCRIBE") => {
                self.unsubscribe(id, &names(params)?);
                Ok(Value::Null)
            }
            Some("LIST_SUBSCRIPTIONS") => {
                let session = self.sessions.get(id);
                let names = session.into_iter().flat_map(|session| &session.subscriptions);
                Ok(names.map(|it| Value::from(it.name.clone())).collect())
            }
            Some("SET_PROPERTY") => {
                check_property(params)?;
                let value = params.and_then(|params| params.get(1)).and_then(Value::as_bool);
                let value = value.ok_or((1, "Invalid value type: expected Boolean".to_owned()))?;
                self.set_combined(id, value);
                Ok(Value::Null)
            }
            Some("GET_PROPERTY") => {
                check_property(params)?;
                let session = self.sessions.get(id);
                Ok(session.is_some_and(|session| session.combined).into())
            }
            Some(other) => {
                let place = format!("line 1 column {bytes}");
                Err(invalid(format!("unknown variant `{other}`, expected one of {METHODS} at {place}")))
            }
            None => Err(invalid(format!("method must be a string at line 1 column {bytes}"))),
        }
    }

    fn subscribe(&mut self, id: ConnectionId, names: Vec<String>) -> Result<(), Refusal> {
        let Some(session) = self.sessions.get_mut(id) else { return Ok(()) };
        let known = |session: &Session, name: &str| session.subscriptions.iter().any(|it| it.name == name);
        let new = names.iter().filter(|name| !known(session, name)).count();
        if session.subscriptions.len() + new > self.limits.streams_max {
            return Err((2, "Invalid request: too many parameters".to_owned()));
        }
        for name in names {
            if known(session, &name) {
                continue;
            }
            let topic = parse_stream(&name, self.product, &self.index);
            if let Some(topic) = topic {
                self.topics.subscribe(topic, id, &name, session.combined, session.unit);
            }
            session.subscriptions.push(Subscription { name, topic });
        }
        Ok(())
    }

    fn unsubscribe(&mut self, id: ConnectionId, names: &[String]) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.subscriptions.retain(|subscription| {
            let keep = !names.contains(&subscription.name);
            if let (false, Some(topic)) = (keep, subscription.topic) {
                self.topics.unsubscribe(topic, id);
            }
            keep
        });
    }

    fn set_combined(&mut self, id: ConnectionId, combined: bool) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.combined = combined;
        for subscription in &session.subscriptions {
            if let Some(topic) = subscription.topic {
                self.topics.set_combined(topic, id, &subscription.name, combined);
            }
        }
    }
}

fn parse_stream(
    name: &str,
    product: Product,
    index: &std::collections::HashMap<String, usize>,
) -> Option<Topic> {
    let (symbol, kind) = name.split_once('@')?;
    Some(Topic::new(*index.get(symbol)?, Kind::parse(kind, product)?))
}

/// The id of a request as it is echoed: an integer, short text, or null.
fn request_id(request: &serde_json::Map<String, Value>) -> Result<Value, Refusal> {
    match request.get("id") {
        None => Ok(Value::Null),
        Some(id @ Value::Null) => Ok(id.clone()),
        Some(id @ Value::Number(number)) if number.is_i64() => Ok(id.clone()),
        Some(id @ Value::String(text))
            if text.len() <= ID_TEXT_MAX
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') =>
        {
            Ok(id.clone())
        }
        Some(_) => {
            let text =
                "Invalid request: request ID must be a signed integer, a short alphanumeric string or null";
            Err((2, text.to_owned()))
        }
    }
}

fn names(params: Option<&Value>) -> Result<Vec<String>, Refusal> {
    let list = params.and_then(Value::as_array).filter(|list| !list.is_empty());
    let names = list.and_then(|list| list.iter().map(|name| name.as_str().map(str::to_owned)).collect());
    names.ok_or((2, "Invalid request: params must be an array of stream names".to_owned()))
}

fn check_property(params: Option<&Value>) -> Result<(), Refusal> {
    match params.and_then(|params| params.get(0)) {
        Some(Value::String(name)) if name == "combined" => Ok(()),
        Some(Value::String(_)) => Err((0, "Unknown property".to_owned())),
        _ => Err((2, "Invalid request: property name must be a string".to_owned())),
    }
}
