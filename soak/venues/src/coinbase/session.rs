//! One client's WebSocket connection: its running number, deadlines, heartbeats, limits.
//!
//! Source: docs.cdp.coinbase.com, WebSocket overview and rate limits, pages of 2026-06-28 to 2026-08-29.

use std::collections::VecDeque;

use serde_json::Value;

use super::encode;
use super::{Coinbase, CoinbaseProduct, HEARTBEAT, SECOND_NS};
use crate::http::{HttpAnswer, split_target};
use crate::output::{ConnectionId, Output};
use crate::text::{put, put_u64};
use crate::venue::Reason;

/// Policy violation; the venue documents no code.
const CLOSE_POLICY: u16 = 1008;

#[derive(Debug)]
pub(super) struct Session {
    /// Of the next frame (Advanced Trade).
    sequence: u64,
    opened_ns: u64,
    /// Has subscribed to anything.
    pub(super) subscribed: bool,
    /// Wants the connection's heartbeats (Advanced Trade).
    pub(super) heartbeats: bool,
    heartbeat_counter: u64,
    next_heartbeat_ns: u64,
    /// Acknowledgements and when they are due (Advanced Trade).
    pub(super) acks: VecDeque<(u64, Vec<u8>)>,
    sent_ns: u64,
    head: Vec<u8>,
}

impl Session {
    /// Sends a frame of Advanced Trade: all of them carry the connection's running number.
    pub(super) fn send(
        &mut self,
        id: ConnectionId,
        channel: &str,
        events: &[u8],
        time_ns: u64,
        now_ns: u64,
        output: &mut Output,
    ) {
        let head = &mut self.head;
        head.clear();
        put(head, b"{\"channel\":\"");
        put(head, channel.as_bytes());
        put(head, b"\",\"timestamp\":");
        encode::put_ns(head, time_ns);
        put(head, b",\"sequence_num\":");
        put_u64(head, self.sequence);
        put(head, b",\"events\":");
        output.text(id, &[head, events, b"}"]);
        self.sequence += 1;
        self.sent_ns = now_ns;
    }
}

impl Coinbase {
    pub(super) fn admit_session(&mut self, target: &str, now_ns: u64) -> Result<(), HttpAnswer> {
        if !self.attempts.admit(SECOND_NS, self.limits.connections_per_s_max, now_ns) {
            return Err(super::rest::refusal(self.product, 429, 1));
        }
        if split_target(target).0 == "/" { Ok(()) } else { Err(HttpAnswer::html(404)) }
    }

    pub(super) fn open_session(&mut self, id: ConnectionId, now_ns: u64) {
        let session = Session {
            sequence: 0,
            opened_ns: now_ns,
            subscribed: false,
            heartbeats: false,
            heartbeat_counter: 0,
            next_heartbeat_ns: now_ns.saturating_add(self.limits.heartbeat_every_ns),
            acks: VecDeque::new(),
            sent_ns: now_ns,
            head: Vec::new(),
        };
        self.sessions.open(id, session, now_ns);
    }

    pub(super) fn close_session(&mut self, id: ConnectionId) {
        if let Some(trading) = &mut self.trading {
            trading.unsubscribe(id);
        }
        if self.sessions.close(id).is_some() {
            self.topics.forget(id);
        }
    }

    /// Handles a client's frame.
    pub(super) fn control_frame(&mut self, id: ConnectionId, text: &[u8], now_ns: u64, output: &mut Output) {
        let request = serde_json::from_slice::<Value>(text);
        // Frames with a token are not counted.
        let signed = request.as_ref().is_ok_and(|request| request.get("jwt").is_some());
        let result = match request {
            _ if !signed && !self.messages.admit(SECOND_NS, self.limits.messages_per_s_max, now_ns) => {
                Err(("rate limit exceeded".to_owned(), None))
            }
            Ok(Value::Object(request)) => match self.product {
                CoinbaseProduct::Advanced => self.advanced_request(id, &request, now_ns, output),
                CoinbaseProduct::Exchange => self.exchange_request(id, &request, now_ns, output),
            },
            _ => Err(("Malformed JSON".to_owned(), None)),
        };
        if let Err((message, reason)) = result {
            self.client_errors += 1;
            let message = Value::from(message);
            let reason =
                reason.map_or(String::new(), |reason: String| format!(",\"reason\":{}", Value::from(reason)));
            let frame = format!("{{\"type\":\"error\",\"message\":{message}{reason}}}");
            output.text(id, &[frame.as_bytes()]);
        }
    }

    /// Acknowledgements, heartbeats and deadlines of a connection. Gives when it is to be looked at again.
    pub(super) fn poll_session(&mut self, id: ConnectionId, now_ns: u64, output: &mut Output) -> u64 {
        let time_ns = self.clock.market_ns(now_ns);
        let Some(session) = self.sessions.get_mut(id).filter(|_| !output.is_ending(id)) else {
            return u64::MAX;
        };
        while session.acks.front().is_some_and(|(due_ns, _)| *due_ns <= now_ns) {
            let Some((_, events)) = session.acks.pop_front() else { break };
            session.send(id, "subscriptions", &events, time_ns, now_ns, output);
        }
        let ack_ns = session.acks.front().map_or(u64::MAX, |(due_ns, _)| *due_ns);
        let deadline_ns = if !session.subscribed {
            session.opened_ns.saturating_add(self.limits.subscribe_within_ns)
        } else if self.product == CoinbaseProduct::Advanced {
            session.sent_ns.saturating_add(self.limits.idle_ns_max)
        } else {
            u64::MAX
        };
        if now_ns >= deadline_ns {
            output.close(id, CLOSE_POLICY, "", Reason::Idle);
            return u64::MAX;
        }
        if !session.subscribed {
            return deadline_ns.min(ack_ns);
        }
        let heartbeat_due = now_ns >= session.next_heartbeat_ns;
        if heartbeat_due {
            session.next_heartbeat_ns = now_ns.saturating_add(self.limits.heartbeat_every_ns);
            if session.heartbeats {
                session.heartbeat_counter += 1;
                self.body.clear();
                encode::heartbeats(&mut self.body, session.heartbeat_counter, time_ns);
                session.send(id, "heartbeats", &self.body, time_ns, now_ns, output);
            }
        }
        let next_ns = session.next_heartbeat_ns.min(deadline_ns).min(ack_ns);
        if heartbeat_due && self.product == CoinbaseProduct::Exchange {
            self.send_heartbeats(id, time_ns, output);
        }
        next_ns
    }

    /// Exchange: a heartbeat of each product that the client wants them of.
    fn send_heartbeats(&mut self, id: ConnectionId, time_ns: u64, output: &mut Output) {
        for index in self.topics.instruments(HEARTBEAT, id).collect::<Vec<_>>() {
            let waiting = self.pending[index].trades.last();
            let last = waiting.or(self.market.instruments()[index].trades().back());
            self.body.clear();
            let (last_id, sequence) = (last.map_or(0, |trade| trade.id), self.pending[index].sequence);
            encode::heartbeat(&mut self.body, &self.listings[index], last_id, sequence, time_ns);
            output.text(id, &[&self.body]);
            self.topics.count_sent(HEARTBEAT, 1);
        }
    }

    /// A client has subscribed to something.
    pub(super) fn note_subscribed(&mut self, id: ConnectionId, now_ns: u64) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.subscribed = true;
            // From now on, connections are looked at again.
            self.sessions.wake_by(now_ns);
        }
    }

    /// The last `count` trades, newest first.
    pub(super) fn newest_trades(
        &self,
        index: usize,
        count: usize,
    ) -> impl Iterator<Item = &crate::market::Trade> {
        self.market.instruments()[index].trades().iter().rev().take(count)
    }

    /// Names of the products of which a connection has subscribed to a kind.
    pub(super) fn product_names(&self, kind: usize, id: ConnectionId) -> Vec<&str> {
        self.topics.instruments(kind, id).map(|index| self.listings[index].id.as_str()).collect()
    }
}
