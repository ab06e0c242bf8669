//! The `user` channel: open orders at first, then each change of one, as cumulative figures.

use serde_json::{Map, Value};

use super::token::{Purpose, signer};
use super::{User, encode};
use crate::coinbase::Coinbase;
use crate::exchange::{Exchange, Kind, Order, ReportKind, TimeInForce};
use crate::output::{ConnectionId, Ending, Output};
use crate::venue::Reason;

/// Orders in a frame of the snapshot; the first with fewer ends it.
const SNAPSHOT_BATCH: usize = 50;

/// How many executions brought an order to where it is in `order`.
fn fills_until(exchange: &Exchange, order: &Order) -> usize {
    let mut lots = 0;
    let fills = exchange.fills(order.account).filter(|fill| fill.order == order.id);
    fills
        .take_while(|fill| {
            lots += fill.qty;
            lots <= order.filled
        })
        .count()
}

impl Coinbase {
    /// Subscribes or unsubscribes; an error is the text of the refusal.
    pub(in crate::coinbase) fn user_request(
        &mut self,
        id: ConnectionId,
        request: &Map<String, Value>,
        subscribe: bool,
        now_ns: u64,
        output: &mut Output,
    ) -> Result<(), String> {
        let failure = || "authentication failure".to_owned();
        let Some(trading) = &self.trading else { return Err(failure()) };
        let token = request.get("jwt").and_then(Value::as_str).unwrap_or("");
        let key = signer(&trading.exchange, token, Purpose::Channel, now_ns).ok_or_else(failure)?;
        let account = key.account;
        if !trading.exchange.is_reachable(now_ns) {
            return Err("service unavailable".to_owned()); // the text is not documented
        }
        let names = request.get("product_ids").and_then(Value::as_array);
        let mut products = Vec::new();
        for name in names.into_iter().flatten() {
            let index = name.as_str().and_then(|name| self.instrument_of(name));
            products.push(index.ok_or_else(|| format!("{name} is not a valid product"))?);
        }
        if let Some(trading) = &mut self.trading {
            trading.unsubscribe(id);
        }
        if !subscribe {
            return Ok(());
        }
        // Reports that wait are of before the snapshot: others hear them, this one does not.
        self.deliver(now_ns, output);
        let time_ns = self.clock.market_ns(now_ns);
        let Some(trading) = &mut self.trading else { return Err(failure()) };
        let open = trading.exchange.open_orders(account, None);
        let orders: Vec<String> = open
            .filter(|order| products.is_empty() || products.contains(&order.instrument))
            .map(|order| {
                let fills = fills_until(&trading.exchange, order);
                encode::channel_order(&self.listings[order.instrument], order, fills, encode::status(order))
            })
            .collect();
        trading.users.push(User { id, account, products });
        if let Some(session) = self.sessions.get_mut(id) {
            // An empty batch follows full ones. (For exactly so many orders that is not documented.)
            for batch in 0..=orders.len() / SNAPSHOT_BATCH {
                let from = batch * SNAPSHOT_BATCH;
                let until = orders.len().min(from + SNAPSHOT_BATCH);
                let events =
                    format!("[{{\"type\":\"snapshot\",\"orders\":[{}]}}]", orders[from..until].join(","));
                session.send(id, "user", events.as_bytes(), time_ns, now_ns, output);
            }
        }
        Ok(())
    }

    /// Tells reports to who is subscribed. In an outage, connections are dropped first.
    pub(in crate::coinbase) fn deliver(&mut self, now_ns: u64, output: &mut Output) {
        let time_ns = self.clock.market_ns(now_ns);
        let Some(trading) = &mut self.trading else { return };
        if trading.exchange.take_kill() {
            for user in &trading.users {
                output.end(user.id, Ending::Abort(Reason::Fault));
            }
        }
        while let Some(report) = trading.exchange.poll_report(now_ns) {
            let order = &report.order;
            let status = encode::status(order);
            let words = match report.kind {
                ReportKind::New if order.kind == Kind::Limit && order.time_in_force == TimeInForce::Gtc => {
                    vec!["PENDING", "OPEN"]
                }
                ReportKind::New => vec!["PENDING"],
                ReportKind::Canceled if order.end.is_none() => vec!["CANCEL_QUEUED", status],
                _ => vec![status],
            };
            let fills = fills_until(&trading.exchange, order);
            let listing = &self.listings[order.instrument];
            for user in trading.users.iter().filter(|user| {
                user.account == order.account
                    && (user.products.is_empty() || user.products.contains(&order.instrument))
            }) {
                let Some(session) = self.sessions.get_mut(user.id) else { continue };
                for word in &words {
                    let row = encode::channel_order(listing, order, fills, word);
                    let events = format!("[{{\"type\":\"update\",\"orders\":[{row}]}}]");
                    session.send(user.id, "user", events.as_bytes(), time_ns, now_ns, output);
                }
            }
        }
    }
}
