//! Advanced Trade: control frames, snapshots, acknowledgements.
//!
//! One channel for each frame. The acknowledgement lists all that is subscribed on the connection, and comes after the
//! first data, as in the recording of 2026-08-24. The texts of errors are not documented.

use serde_json::{Map, Value, json};

use super::encode;
use super::{BARS, CANDLES, Coinbase, CoinbaseProduct, LEVEL2, STATUS, TICKER, TICKER_BATCH, TRADES, day};
use crate::output::{ConnectionId, Output};

/// Trades in the snapshot of `market_trades`. (The venue says "recent".)
const TRADES_SNAPSHOT: usize = 100;

/// Text, and reason where there is one.
type Refusal = (String, Option<String>);

/// How frames of a kind name their channel.
pub(super) fn channel_of(kind: usize) -> &'static str {
    if kind == LEVEL2 { "l2_data" } else { CoinbaseProduct::Advanced.channels()[kind] }
}

impl Coinbase {
    pub(super) fn advanced_request(
        &mut self,
        id: ConnectionId,
        request: &Map<String, Value>,
        now_ns: u64,
        output: &mut Output,
    ) -> Result<(), Refusal> {
        let refuse = |text: String| Err((text, None));
        let subscribe = match request.get("type").and_then(Value::as_str) {
            Some("subscribe") => true,
            Some("unsubscribe") => false,
            _ => return refuse("type must be subscribe or unsubscribe".to_owned()),
        };
        let Some(channel) = request.get("channel").and_then(Value::as_str) else {
            return refuse("channel is required".to_owned());
        };
        if channel == "user" && self.trading.is_some() {
            self.user_request(id, request, subscribe, now_ns, output).map_err(|text| (text, None))?;
            self.acknowledge(id, subscribe, now_ns);
            return Ok(());
        }
        if matches!(channel, "user" | "futures_balance_summary") {
            return refuse("authentication failure".to_owned());
        }
        let names = match request.get("product_ids") {
            None => Some(Vec::new()),
            Some(names) => {
                names.as_array().and_then(|names| names.iter().map(Value::as_str).collect::<Option<Vec<_>>>())
            }
        };
        let Some(names) = names else { return refuse("product_ids must be strings".to_owned()) };
        if channel == "heartbeats" {
            if let Some(session) = self.sessions.get_mut(id) {
                session.heartbeats = subscribe;
            }
        } else {
            let kind = CoinbaseProduct::Advanced.channels().iter().position(|known| *known == channel);
            let Some(kind) = kind else { return refuse(format!("{channel} is not a valid channel")) };
            let mut indices = Vec::new();
            for name in &names {
                let Some(index) = self.product_of(name) else {
                    return refuse(format!("{name} is not a valid product"));
                };
                indices.push(index);
            }
            if names.is_empty() {
                // All of them: what `status` means without products, and unsubscribing from a whole channel.
                if subscribe && kind != STATUS {
                    return refuse("product_ids is required".to_owned());
                }
                indices = (0..self.listings.len()).collect();
            }
            self.change(id, kind, &indices, subscribe, now_ns, output);
        }
        self.acknowledge(id, subscribe, now_ns);
        Ok(())
    }

    /// Says, a while later, what is subscribed now.
    fn acknowledge(&mut self, id: ConnectionId, subscribe: bool, now_ns: u64) {
        if subscribe {
            self.note_subscribed(id, now_ns);
        }
        let events = self.subscriptions(id);
        let due_ns = now_ns.saturating_add(self.limits.ack_after_ns);
        if let Some(session) = self.sessions.get_mut(id) {
            session.acks.push_back((due_ns, events));
        }
        self.sessions.wake_by(due_ns);
    }

    /// A product by its name. `X-USDC` is another name of `X-USD` (except for stablecoins), and its data come under
    /// that.
    fn product_of(&self, name: &str) -> Option<usize> {
        let twin = name.strip_suffix("-USDC").filter(|base| !matches!(*base, "USDT" | "EURC"));
        self.instrument_of(name).or_else(|| self.instrument_of(&format!("{}-USD", twin?)))
    }

    fn change(
        &mut self,
        id: ConnectionId,
        kind: usize,
        indices: &[usize],
        subscribe: bool,
        now_ns: u64,
        output: &mut Output,
    ) {
        let mut new = Vec::new();
        for index in indices {
            let passed_over = &mut self.faults[*index].pass_over;
            if !subscribe {
                self.topics.unsubscribe(*index, kind, id);
            } else if *passed_over > 0 {
                *passed_over -= 1;
            } else if self.topics.subscribe(*index, kind, id) {
                new.push(*index);
            }
        }
        if kind == STATUS && !new.is_empty() {
            self.body.clear();
            encode::status(&mut self.body, new.iter().map(|index| &self.listings[*index]));
            self.send_snapshot(id, kind, now_ns, output);
            return;
        }
        for index in new {
            let lost = &mut self.faults[index].lose_snapshots;
            if kind == LEVEL2 && *lost > 0 {
                *lost -= 1;
                continue;
            }
            self.encode_snapshot(index, kind, now_ns);
            self.send_snapshot(id, kind, now_ns, output);
        }
    }

    /// Writes the first events of a product into `body`.
    fn encode_snapshot(&mut self, index: usize, kind: usize, now_ns: u64) {
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        let time_ns = self.clock.market_ns(now_ns);
        match kind {
            LEVEL2 => {
                let listing = self.listings[index].clone();
                let book = self.snapshot_book(index);
                encode::level2(&mut body, &listing, "snapshot", encode::rows(book), time_ns);
            }
            TRADES => {
                body.extend_from_slice(b"[{\"type\":\"snapshot\",\"trades\":");
                let trades = self.newest_trades(index, TRADES_SNAPSHOT);
                encode::advanced_trades(&mut body, &self.listings[index], trades);
                body.extend_from_slice(b"}]");
            }
            TICKER | TICKER_BATCH => {
                let day = day(&self.market.instruments()[index]);
                let best = kind == TICKER;
                encode::advanced_ticker(&mut body, &self.listings[index], "snapshot", &day, best);
            }
            _ => {
                debug_assert_eq!(kind, BARS);
                let bars = self.market.instruments()[index].bars.history(CANDLES);
                encode::candles(&mut body, &self.listings[index], "snapshot", bars.iter().rev());
            }
        }
        self.body = body;
    }

    fn send_snapshot(&mut self, id: ConnectionId, kind: usize, now_ns: u64, output: &mut Output) {
        let time_ns = self.clock.market_ns(now_ns);
        if let Some(session) = self.sessions.get_mut(id) {
            session.send(id, channel_of(kind), &self.body, time_ns, now_ns, output);
        }
        self.topics.count_sent(kind, 1);
    }

    /// The events of an acknowledgement: everything that is subscribed.
    fn subscriptions(&self, id: ConnectionId) -> Vec<u8> {
        let mut all = Map::new();
        for (kind, name) in CoinbaseProduct::Advanced.channels().iter().enumerate() {
            let products = self.product_names(kind, id);
            if !products.is_empty() {
                all.insert((*name).to_owned(), json!(products));
            }
        }
        if let Some(user) = self.trading.as_ref().and_then(|trading| trading.user_of(id)) {
            all.insert("user".to_owned(), json!([user]));
        }
        let session = self.sessions.get(id);
        if session.is_some_and(|session| session.heartbeats) {
            all.insert("heartbeats".to_owned(), json!(["heartbeats"]));
        }
        json!([{ "subscriptions": all }]).to_string().into_bytes()
    }
}
