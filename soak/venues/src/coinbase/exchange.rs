//! The Exchange feed: control frames, snapshots, acknowledgements.
//!
//! Several channels in one frame, each with its own products if it likes. The acknowledgement lists everything and
//! comes first, as in the recording of 2021-04-17.

use serde_json::{Map, Value};

use super::encode;
use super::{Coinbase, CoinbaseProduct, HEARTBEAT, LEVEL2, TICKER, TICKER_BATCH, TRADES, day};
use crate::output::{ConnectionId, Output};

/// Text, and reason.
type Refusal = (String, Option<String>);

fn refusal(reason: impl Into<String>) -> Refusal {
    ("Failed to subscribe".to_owned(), Some(reason.into()))
}

impl Coinbase {
    pub(super) fn exchange_request(
        &mut self,
        id: ConnectionId,
        request: &Map<String, Value>,
        now_ns: u64,
        output: &mut Output,
    ) -> Result<(), Refusal> {
        let subscribe = match request.get("type").and_then(Value::as_str) {
            Some("subscribe") => true,
            Some("unsubscribe") => false,
            _ => return Err(refusal("Type has to be either subscribe or unsubscribe")),
        };
        let channels = request.get("channels").and_then(Value::as_array);
        let channels = channels.filter(|channels| !channels.is_empty());
        let channels = channels.ok_or_else(|| refusal("No channels provided"))?;
        // All or nothing: an error leaves the subscriptions as they were.
        let mut wanted = Vec::new();
        for channel in channels {
            let (name, own) = match channel {
                Value::String(name) => (name.as_str(), None),
                channel => (channel["name"].as_str().unwrap_or(""), channel.get("product_ids")),
            };
            let kind = kind_of(name)?;
            let names = own.or_else(|| request.get("product_ids")).and_then(Value::as_array);
            let names = names.map(Vec::as_slice).unwrap_or_default();
            if names.is_empty() && subscribe {
                return Err(refusal("No product IDs provided"));
            }
            for name in names {
                let name = name.as_str().unwrap_or("");
                let index = self.instrument_of(name);
                let index = index.ok_or_else(|| refusal(format!("{name} is not a valid product")))?;
                wanted.push((index, kind));
            }
            if names.is_empty() {
                wanted.extend((0..self.listings.len()).map(|index| (index, kind)));
            }
        }
        let mut new = Vec::new();
        for (index, kind) in wanted {
            if !subscribe {
                self.topics.unsubscribe(index, kind, id);
            } else if self.topics.subscribe(index, kind, id) {
                new.push((index, kind));
            }
        }
        let ack = self.exchange_subscriptions(id);
        output.text(id, &[ack.as_bytes()]);
        if subscribe {
            self.note_subscribed(id, now_ns);
        }
        for (index, kind) in new {
            self.send_first(id, index, kind, now_ns, output);
        }
        Ok(())
    }

    /// What a new subscriber gets at once.
    fn send_first(&mut self, id: ConnectionId, index: usize, kind: usize, now_ns: u64, output: &mut Output) {
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        let time_ns = self.clock.market_ns(now_ns);
        let sequence = self.pending[index].sequence;
        let listing = self.listings[index].clone();
        match kind {
            LEVEL2 => encode::snapshot(&mut body, &listing, self.snapshot_book(index), time_ns),
            TRADES => {
                let day = day(&self.market.instruments()[index]);
                encode::matched(&mut body, &listing, "last_match", day.last, sequence);
            }
            TICKER | TICKER_BATCH => {
                let day = day(&self.market.instruments()[index]);
                encode::ticker(&mut body, &listing, &day, sequence);
            }
            _ => debug_assert_eq!(kind, HEARTBEAT),
        }
        if !body.is_empty() {
            output.text(id, &[&body]);
            self.topics.count_sent(kind, 1);
        }
        self.body = body;
    }

    fn exchange_subscriptions(&self, id: ConnectionId) -> String {
        let mut channels = Vec::new();
        for (kind, name) in CoinbaseProduct::Exchange.channels().iter().enumerate() {
            let products = self.product_names(kind, id);
            if !products.is_empty() {
                let products = Value::from(products);
                channels.push(format!("{{\"name\":\"{name}\",\"product_ids\":{products}}}"));
            }
        }
        format!("{{\"type\":\"subscriptions\",\"channels\":[{}]}}", channels.join(","))
    }
}

fn kind_of(name: &str) -> Result<usize, Refusal> {
    if matches!(name, "level2" | "level3" | "full" | "user") {
        let reason = "level2, level3, and full channels now require authentication. \
                      https://docs.cloud.coinbase.com/exchange/docs/websocket-auth";
        return Err(refusal(reason));
    }
    // The other name of `level2_batch`.
    let name = if name == "level2_50" { "level2_batch" } else { name };
    let kind = CoinbaseProduct::Exchange.channels().iter().position(|known| *known == name);
    kind.ok_or_else(|| refusal(format!("{name} is not a valid channel")))
}
