//! The WebSocket API: requests and answers, the log-on, and the user data stream, on one connection.
//!
//! Source: binance-spot-api-docs, web-socket-api.md and user-data-stream.md, commit a5e0bc3.

use std::fmt::Write as _;

use serde_json::Value;

use super::params::Params;
use super::{Call, Failure, encode, failure, order_limit, timeout};
use crate::binance::encode::Unit;
use crate::binance::{Binance, MS_NS};
use crate::exchange::{AccountId, Answer, Exchange, KeyKind};
use crate::output::{ConnectionId, Ending, Output};
use crate::venue::Reason;

/// Where the WebSocket API is.
pub(in crate::binance) const PATH: &str = "/ws-api/v3";
/// Weight of opening a connection, of the log-on and of a subscription.
pub(in crate::binance) const SESSION_WEIGHT: u32 = 2;

/// One connection's state.
#[derive(Debug)]
pub(in crate::binance) struct ApiSession {
    connected_ns: u64,
    /// Key and time of the log-on.
    logon: Option<(String, u64)>,
    subscriptions: Vec<Subscription>,
    next_subscription: u64,
    rate_limits: bool,
}

#[derive(Clone, Copy, Debug)]
struct Subscription {
    id: u64,
    account: AccountId,
    /// Through the log-on, with which it ends.
    logged_on: bool,
}

/// A frame that leaves later.
#[derive(Debug)]
pub(in crate::binance) struct Late {
    pub(in crate::binance) due_ns: u64,
    pub(in crate::binance) id: ConnectionId,
    frame: Vec<u8>,
}

impl ApiSession {
    /// `rate_limits`: whether answers tell them.
    pub(in crate::binance) fn new(rate_limits: bool, now_ns: u64) -> Self {
        Self {
            connected_ns: now_ns,
            logon: None,
            subscriptions: Vec::new(),
            next_subscription: 0,
            rate_limits,
        }
    }
}

/// What a request led to: the result's JSON, how it is delivered, and the account whose order limits it tells.
struct Outcome {
    result: Result<String, Failure>,
    answer: Answer,
    orders_of: Option<AccountId>,
}

impl From<Result<String, Failure>> for Outcome {
    fn from(result: Result<String, Failure>) -> Self {
        Self { result, answer: Answer::Now, orders_of: None }
    }
}

impl Binance {
    fn api(&mut self, id: ConnectionId) -> Option<(&mut ApiSession, Unit)> {
        let session = self.sessions.get_mut(id)?;
        let unit = session.unit;
        session.api.as_mut().map(|api| (api, unit))
    }

    /// Handles a frame of the WebSocket API and answers it.
    pub(in crate::binance) fn api_frame(
        &mut self,
        id: ConnectionId,
        text: &[u8],
        now_ns: u64,
        output: &mut Output,
    ) {
        let request = serde_json::from_slice::<Value>(text);
        let (request_id, outcome) = match &request {
            Ok(Value::Object(request)) => {
                (request.get("id").cloned().unwrap_or(Value::Null), self.api_request(id, request, now_ns))
            }
            _ => (Value::Null, Err(failure(-1135, "JSON Request is not valid.")).into()),
        };
        self.client_errors += u64::from(outcome.result.is_err());
        let Outcome { mut result, answer, orders_of } = outcome;
        if answer == Answer::ServerError {
            result = Err(timeout());
        }
        let mut frame = match result {
            Ok(result) => format!("{{\"id\":{request_id},\"status\":200,\"result\":{result}"),
            Err((status, code, text)) => {
                let data = if matches!(status, 418 | 429) && code == -1003 {
                    let retry_ms = self.retry_ms(now_ns);
                    format!(",\"data\":{{\"serverTime\":{},\"retryAfter\":{retry_ms}}}", now_ns / MS_NS)
                } else {
                    String::new()
                };
                let text = Value::from(text);
                format!(
                    "{{\"id\":{request_id},\"status\":{status},\"error\":{{\"code\":{code},\"msg\":{text}{data}}}"
                )
            }
        };
        if self.api(id).is_some_and(|(api, _)| api.rate_limits) {
            let orders = orders_of.map(|account| self.order_usage(account, now_ns)).unwrap_or_default();
            let mut limits: Vec<String> = orders.into_iter().map(order_limit).collect();
            limits.push(format!(
                "{{\"rateLimitType\":\"REQUEST_WEIGHT\",\"interval\":\"MINUTE\",\"intervalNum\":1,\"limit\":{},\
                 \"count\":{}}}",
                self.limits.weight_per_minute_max,
                self.used_weight()
            ));
            let _ = write!(frame, ",\"rateLimits\":[{}]", limits.join(","));
        }
        frame.push('}');
        match answer {
            Answer::Now | Answer::ServerError => output.text(id, &[frame.as_bytes()]),
            Answer::After(delay_ns) => {
                let due_ns = now_ns.saturating_add(delay_ns);
                self.late.push(Late { due_ns, id, frame: frame.into_bytes() });
            }
            Answer::Never => {}
            Answer::Drop => output.end(id, Ending::Abort(Reason::Fault)),
        }
    }

    fn api_request(
        &mut self,
        id: ConnectionId,
        request: &serde_json::Map<String, Value>,
        now_ns: u64,
    ) -> Outcome {
        let Some(method) = request.get("method").and_then(Value::as_str) else {
            return Err(failure(
                -1102,
                "Mandatory parameter 'method' was not sent, was empty/null, or malformed.",
            ))
            .into();
        };
        let params = match Params::of_frame(request.get("params")) {
            Ok(params) => params,
            Err(failure) => return Err(failure).into(),
        };
        let Some(call) = Call::of_method(method) else {
            return self.session_request(id, method, &params, now_ns).into();
        };
        let (weight, only_if_refused) = call.weight(&params);
        if let Err(refused) = self.charge_api(if only_if_refused { 0 } else { weight }, now_ns) {
            return Err(refused).into();
        }
        let unit = self.api(id).map_or(Unit::Milliseconds, |(_, unit)| unit);
        let signer = self.api_account(id, &params, now_ns);
        let done = signer.clone().and_then(|account| self.signed(call, &params, account, unit, now_ns));
        if done.is_err() && only_if_refused {
            // It was let in, so a limit that it reaches counts for the next one.
            let _ = self.charge_api(weight, now_ns);
        }
        let orders_of = signer.ok().filter(|_| call == Call::Place);
        match done {
            Ok((result, answer)) => Outcome { result: Ok(result), answer, orders_of },
            Err(failure) => Outcome { result: Err(failure), answer: Answer::Now, orders_of },
        }
    }

    /// The account that a signed request speaks for: by its key and signature, or by the log-on.
    fn api_account(&mut self, id: ConnectionId, params: &Params, now_ns: u64) -> Result<AccountId, Failure> {
        let logon = self.api(id).and_then(|(api, _)| api.logon.clone());
        let Some(exchange) = &self.exchange else { return Err(timeout()) };
        match (params.get("apiKey"), logon) {
            (None, Some((key, _))) if params.get("signature").is_none() => {
                params.check_time(exchange, now_ns)?;
                let key = exchange.key(&key).ok_or_else(timeout)?;
                Ok(key.account)
            }
            (key, _) => {
                let key = key.ok_or_else(|| {
                    failure(-1102, "Mandatory parameter 'apiKey' was not sent, was empty/null, or malformed.")
                })?;
                Ok(params.signed_by(exchange, key, now_ns)?.account)
            }
        }
    }

    /// Requests about the connection itself.
    fn session_request(
        &mut self,
        id: ConnectionId,
        method: &str,
        params: &Params,
        now_ns: u64,
    ) -> Result<String, Failure> {
        let weight = if matches!(method, "ping" | "time") { 1 } else { SESSION_WEIGHT };
        self.charge_api(weight, now_ns)?;
        let server_ms = self.exchange.as_ref().map_or(0, |exchange| exchange.clock_ms(now_ns));
        match method {
            "ping" => Ok("{}".to_owned()),
            "time" => Ok(format!("{{\"serverTime\":{server_ms}}}")),
            "session.logon" => {
                let Some(exchange) = &self.exchange else { return Err(timeout()) };
                params.only(&[])?;
                let key = params.signed_by(exchange, params.needed("apiKey")?, now_ns)?;
                if key.kind != KeyKind::Ed25519 {
                    return Err((401, -4056, "HMAC_SHA256 API key is not supported.".to_owned()));
                }
                let logon = Some((key.name.clone(), now_ns));
                if let Some((api, _)) = self.api(id) {
                    api.logon = logon;
                }
                Ok(self.session_status(id, server_ms))
            }
            "session.status" => Ok(self.session_status(id, server_ms)),
            "session.logout" => {
                if let Some((api, _)) = self.api(id) {
                    api.logon = None;
                    let ended = api.subscriptions.extract_if(.., |it| it.logged_on).map(|it| it.id).collect();
                    self.terminate(id, ended, now_ns);
                }
                Ok(self.session_status(id, server_ms))
            }
            "session.subscriptions" => {
                let subscriptions =
                    self.api(id).map(|(api, _)| api.subscriptions.clone()).unwrap_or_default();
                Ok(super::list(subscriptions.iter().map(|it| format!("{{\"subscriptionId\":{}}}", it.id))))
            }
            "userDataStream.subscribe" => {
                let logon = self.api(id).and_then(|(api, _)| api.logon.clone());
                let key = logon.and_then(|(key, _)| self.exchange.as_ref()?.key(&key).cloned());
                let key =
                    key.ok_or_else(|| failure(-2015, "Invalid API-key, IP, or permissions for action."))?;
                self.subscribe_user(id, key.account, true)
            }
            "userDataStream.subscribe.signature" => {
                params.only(&[])?;
                let Some(exchange) = &self.exchange else { return Err(timeout()) };
                let account = params.signed_by(exchange, params.needed("apiKey")?, now_ns)?.account;
                self.subscribe_user(id, account, false)
            }
            "userDataStream.unsubscribe" => {
                let wanted = params.number("subscriptionId")?;
                let ended: Vec<u64> = match self.api(id) {
                    None => Vec::new(),
                    Some((api, _)) => api
                        .subscriptions
                        .extract_if(.., |it| wanted.is_none_or(|wanted| it.id == wanted))
                        .map(|it| it.id)
                        .collect(),
                };
                if ended.is_empty() {
                    return Err(failure(-2036, "User Data Stream subscription not active."));
                }
                self.terminate(id, ended, now_ns);
                Ok("{}".to_owned())
            }
            // The text for methods that do not exist is not documented.
            _ => Err(failure(-1100, format!("Unknown method '{method}'."))),
        }
    }

    fn session_status(&mut self, id: ConnectionId, server_ms: u64) -> String {
        let Some((api, _)) = self.api(id) else { return "{}".to_owned() };
        let (key, since) = match &api.logon {
            Some((key, since_ns)) => (format!("\"{key}\""), (since_ns / MS_NS).to_string()),
            None => ("null".to_owned(), "null".to_owned()),
        };
        format!(
            "{{\"apiKey\":{key},\"authorizedSince\":{since},\"connectedSince\":{},\"returnRateLimits\":{},\
             \"serverTime\":{server_ms},\"userDataStream\":{}}}",
            api.connected_ns / MS_NS,
            api.rate_limits,
            api.subscriptions.iter().any(|it| it.logged_on)
        )
    }

    fn subscribe_user(
        &mut self,
        id: ConnectionId,
        account: AccountId,
        logged_on: bool,
    ) -> Result<String, Failure> {
        let Some((api, _)) = self.api(id) else { return Err(timeout()) };
        if api.subscriptions.iter().any(|it| it.account == account) {
            return Err(failure(-2035, "User Data Stream subscription already active."));
        }
        let subscription = Subscription { id: api.next_subscription, account, logged_on };
        api.next_subscription += 1;
        api.subscriptions.push(subscription);
        Ok(format!("{{\"subscriptionId\":{}}}", subscription.id))
    }

    /// Tells that subscriptions have ended, behind the answer that ends them.
    fn terminate(&mut self, id: ConnectionId, ended: Vec<u64>, now_ns: u64) {
        let unit = self.api(id).map_or(Unit::Milliseconds, |(_, unit)| unit);
        for subscription in ended {
            let frame = format!(
                "{{\"subscriptionId\":{subscription},\"event\":{{\"e\":\"eventStreamTerminated\",\"E\":{}}}}}",
                now_ns / unit.ns()
            );
            self.late.push(Late { due_ns: now_ns, id, frame: frame.into_bytes() });
        }
    }

    // --- what the venue says by itself ----------------------------------------------------------------------------

    /// Sends what is due: late answers, and reports to who is subscribed. In an outage, connections are dropped first.
    pub(in crate::binance) fn deliver(&mut self, now_ns: u64, output: &mut Output) {
        if self.late.iter().any(|late| late.due_ns <= now_ns) {
            for late in self.late.extract_if(.., |late| late.due_ns <= now_ns) {
                output.text(late.id, &[&late.frame]);
            }
        }
        let Some(exchange) = &mut self.exchange else { return };
        if exchange.take_kill() {
            for (id, _) in self.sessions.iter().filter(|(_, session)| session.api.is_some()) {
                output.end(id, Ending::Abort(Reason::Fault));
            }
        }
        while let Some(report) = exchange.poll_report(now_ns) {
            let listing = &self.listings[report.order.instrument];
            for (id, session) in self.sessions.iter() {
                let (Some(api), unit) = (&session.api, session.unit) else { continue };
                let account = report.order.account;
                let Some(subscription) = api.subscriptions.iter().find(|it| it.account == account) else {
                    continue;
                };
                let head = format!("{{\"subscriptionId\":{},\"event\":", subscription.id);
                let event = encode::execution_report(listing, &report, now_ns, unit);
                output.text(id, &[head.as_bytes(), event.as_bytes(), b"}"]);
                let event = encode::account_position(&report, now_ns, unit);
                output.text(id, &[head.as_bytes(), event.as_bytes(), b"}"]);
            }
        }
    }

    /// When [`Self::deliver`] has something next.
    pub(in crate::binance) fn deliver_wake_ns(&self) -> u64 {
        let late_ns = self.late.iter().map(|late| late.due_ns).min().unwrap_or(u64::MAX);
        self.exchange.as_ref().map_or(u64::MAX, Exchange::next_wake_ns).min(late_ns)
    }
}
