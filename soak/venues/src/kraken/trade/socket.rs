//! The private side of a connection: orders, cancels, the `executions` channel.

use serde_json::{Map, Value};

use super::{Trading, encode, refused};
use crate::exchange::{
    AccountId, Answer, Decimal, End, Exchange, Kind, NewOrder, Order, OrderRef, ReportKind, TimeInForce,
};
use crate::kraken::Kraken;
use crate::market::Side;
use crate::output::{ConnectionId, Ending, Output};
use crate::venue::Reason;

/// Where a deadline may be, milliseconds ahead.
const DEADLINE_MS: std::ops::RangeInclusive<u64> = 500..=60_000;
/// Executions in a snapshot.
const SNAPSHOT_TRADES: usize = 50;
/// The longest client order id of free text.
const FREE_ID_MAX: usize = 18;

/// One subscription of `executions`.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) id: ConnectionId,
    account: AccountId,
    pub(super) token: String,
    /// Of the last frame.
    sequence: u64,
}

/// A frame that leaves later.
#[derive(Debug)]
pub(super) struct Late {
    due_ns: u64,
    pub(super) id: ConnectionId,
    frame: Vec<u8>,
}

/// A refusal's text.
type Refused = String;

impl Trading {
    fn account(&self, params: &Map<String, Value>, now_ns: u64) -> Result<AccountId, Refused> {
        let token = params.get("token").and_then(Value::as_str).unwrap_or("");
        if token.is_empty() {
            return Err("Token(s) not found".to_owned()); // as recorded
        }
        // The text is not documented.
        self.account_of(token, now_ns).ok_or_else(|| "EAuth:Invalid token".to_owned())
    }
}

/// The text of a number in a frame, which must not become a float.
fn number<'a>(frame: &'a str, name: &str) -> Result<&'a str, Refused> {
    let wrong = || {
        let (first, rest) = name.split_at(1);
        format!("{}{rest} field must be a number_float", first.to_uppercase()) // as recorded
    };
    let key = format!("\"{name}\"");
    let rest = frame.find(&key).map(|at| frame[at + key.len()..].trim_start()).ok_or_else(wrong)?;
    let rest = rest.strip_prefix(':').ok_or_else(wrong)?.trim_start();
    let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(rest.len());
    if end == 0 { Err(wrong()) } else { Ok(&rest[..end]) }
}

fn decimal(frame: &str, name: &str) -> Result<Decimal, Refused> {
    Decimal::parse(number(frame, name)?).ok_or_else(|| invalid(name))
}

fn invalid(name: &str) -> Refused {
    format!("EGeneral:Invalid arguments:{name}")
}

/// A UUID with or without dashes, or a short text.
fn client_id(params: &Map<String, Value>) -> Result<Option<&str>, Refused> {
    let Some(value) = params.get("cl_ord_id") else { return Ok(None) };
    let text = value.as_str().unwrap_or("");
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let uuid = text.len() == 36 && hex(&text.replace('-', "")) && text.matches('-').count() == 4;
    let bare = text.len() == 32 && hex(text);
    let free = (1..=FREE_ID_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if uuid || bare || free { Ok(Some(text)) } else { Err(invalid("cl_ord_id")) }
}

/// Milliseconds since 1970 of `2026-11-21T01:00:05.000Z`.
fn time_ms(text: &str) -> Option<u64> {
    let field = |from: usize, until: usize| text.get(from..until)?.parse::<u64>().ok();
    let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
    let fraction = text.get(19..)?.strip_suffix('Z')?;
    let ms = match fraction.strip_prefix('.') {
        None if fraction.is_empty() => 0,
        None => return None,
        Some(digits) => format!("{digits:0<3}").get(..3)?.parse().ok()?,
    };
    // Days of the civil date, with years that begin in March.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = (365 * years + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day)
        .checked_sub(719_469)?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + ms)
}

impl Kraken {
    /// `add_order`, `cancel_order` or `cancel_all`.
    pub(in crate::kraken) fn order_method(
        &mut self,
        id: ConnectionId,
        request: &Map<String, Value>,
        text: &[u8],
        now_ns: u64,
        output: &mut Output,
    ) {
        let time_ns = self.clock.market_ns(now_ns);
        let method = request.get("method").and_then(Value::as_str).unwrap_or_default();
        let no_params = Map::new();
        let params = request.get("params").and_then(Value::as_object).unwrap_or(&no_params);
        let Some(trading) = &self.trading else { return };
        let account = match trading.account(params, now_ns) {
            Ok(_) if !trading.exchange.is_reachable(now_ns) => Err("EService:Unavailable".to_owned()),
            account => account,
        };
        let account = match account {
            Ok(account) => account,
            Err(error) => return self.refuse(id, request, None, &error, time_ns, output),
        };
        match method {
            "add_order" => {
                let frame = String::from_utf8_lossy(text).into_owned();
                match self.add_order(account, params, &frame, now_ns) {
                    Ok((order, answer)) => self.placed(id, request, &order, answer, now_ns, output),
                    Err(error) => self.refuse(id, request, None, &error, time_ns, output),
                }
            }
            "cancel_order" => self.cancel_orders(id, account, request, params, now_ns, output),
            _ => {
                let Some(trading) = &mut self.trading else { return };
                let orders = trading.exchange.cancel_all(account, None, now_ns);
                for order in &orders {
                    trading.count_cancel(order, &self.limits, now_ns);
                }
                let result = format!("{{\"count\":{}}}", orders.len());
                self.acknowledge(id, method, request, Some(&result), time_ns, output);
            }
        }
    }

    fn add_order(
        &mut self,
        account: AccountId,
        params: &Map<String, Value>,
        frame: &str,
        now_ns: u64,
    ) -> Result<(Order, Answer), Refused> {
        let text = |name: &str| params.get(name).and_then(Value::as_str);
        let symbol = text("symbol").ok_or_else(|| invalid("symbol"))?;
        let instrument = self.listings.iter().position(|listing| listing.symbol == symbol);
        let instrument = instrument.ok_or_else(|| format!("Currency pair not supported {symbol}"))?;
        let side = match text("side") {
            Some("buy") => Side::Bid,
            Some("sell") => Side::Ask,
            _ => return Err(invalid("side")),
        };
        let kind = match text("order_type") {
            Some("limit") => Kind::Limit,
            Some("market") => Kind::Market,
            _ => return Err(invalid("order_type")),
        };
        // Lower case in the newest pages, upper case in echoes.
        let time_in_force = match text("time_in_force").map(str::to_ascii_lowercase).as_deref() {
            None | Some("gtc") => TimeInForce::Gtc,
            Some("ioc") => TimeInForce::Ioc,
            Some("fok") if kind == Kind::Limit => TimeInForce::Fok,
            _ => return Err(invalid("time_in_force")),
        };
        let post_only = match params.get("post_only").map(Value::as_bool) {
            None => false,
            Some(Some(post_only)) => post_only,
            Some(None) => return Err(invalid("post_only")),
        };
        let new = NewOrder {
            client_id: client_id(params)?.map(str::to_owned),
            instrument,
            side,
            kind,
            time_in_force,
            post_only,
            price: match kind {
                Kind::Limit => decimal(frame, "limit_price")?,
                Kind::Market => Decimal { mantissa: 0, decimals: 0 },
            },
            qty: decimal(frame, "order_qty")?,
        };
        let Some(trading) = &mut self.trading else { return Err("EService:Unavailable".to_owned()) };
        if let Some(deadline) = params.get("deadline") {
            let deadline_ms = deadline.as_str().and_then(time_ms).ok_or_else(|| invalid("deadline"))?;
            let clock_ms = trading.exchange.clock_ms(now_ns);
            match deadline_ms.checked_sub(clock_ms) {
                None => return Err("EService:Deadline elapsed".to_owned()),
                Some(ahead_ms) if DEADLINE_MS.contains(&ahead_ms) => {}
                Some(_) => return Err(invalid("deadline")),
            }
        }
        if !trading.count_place(account, instrument, &self.limits, now_ns) {
            return Err("EOrder:Rate limit exceeded".to_owned());
        }
        let placed = trading.exchange.place(account, &new, &self.market, now_ns);
        let placed = placed.map_err(|reject| refused(reject).to_owned())?;
        Ok((placed.order, placed.answer))
    }

    /// Answers an accepted order, as the fault script wants.
    fn placed(
        &mut self,
        id: ConnectionId,
        request: &Map<String, Value>,
        order: &Order,
        answer: Answer,
        now_ns: u64,
        output: &mut Output,
    ) {
        let time_ns = self.clock.market_ns(now_ns);
        let result = encode::order_ids(order);
        match answer {
            Answer::Now => self.acknowledge(id, "add_order", request, Some(&result), time_ns, output),
            Answer::After(delay_ns) => {
                self.put_acknowledgement("add_order", request, Some(&result), time_ns + delay_ns);
                let late = Late { due_ns: now_ns.saturating_add(delay_ns), id, frame: self.frame.clone() };
                if let Some(trading) = &mut self.trading {
                    trading.late.push(late);
                }
            }
            Answer::ServerError => self.refuse(id, request, None, "EService:Unavailable", time_ns, output),
            Answer::Never => {}
            Answer::Drop => output.end(id, Ending::Abort(Reason::Fault)),
        }
    }

    /// One answer for each order.
    fn cancel_orders(
        &mut self,
        id: ConnectionId,
        account: AccountId,
        request: &Map<String, Value>,
        params: &Map<String, Value>,
        now_ns: u64,
        output: &mut Output,
    ) {
        let time_ns = self.clock.market_ns(now_ns);
        let names = |name: &str| params.get(name).and_then(Value::as_array);
        let ids = names("order_id").into_iter().flatten().map(|name| (true, name));
        let all: Vec<(bool, &Value)> =
            ids.chain(names("cl_ord_id").into_iter().flatten().map(|name| (false, name))).collect();
        if all.is_empty() {
            return self.refuse(id, request, None, "EGeneral:Invalid arguments", time_ns, output);
        }
        for (by_venue_id, name) in all {
            let name = name.as_str().unwrap_or("");
            let Some(trading) = &mut self.trading else { return };
            let order = if by_venue_id {
                super::id_number('O', name).map_or(OrderRef::Client(""), OrderRef::Id)
            } else {
                OrderRef::Client(name)
            };
            match trading.exchange.cancel(account, None, order, None, now_ns) {
                Ok(order) => {
                    trading.count_cancel(&order, &self.limits, now_ns);
                    let result = encode::order_ids(&order);
                    self.acknowledge(id, "cancel_order", request, Some(&result), time_ns, output);
                }
                Err(_) => self.refuse(id, request, None, "EOrder:Unknown order", time_ns, output),
            }
        }
    }

    pub(in crate::kraken) fn subscribe_executions(
        &mut self,
        id: ConnectionId,
        request: &Map<String, Value>,
        now_ns: u64,
        output: &mut Output,
    ) {
        let time_ns = self.clock.market_ns(now_ns);
        let no_params = Map::new();
        let params = request.get("params").and_then(Value::as_object).unwrap_or(&no_params);
        let flag = |name: &str, default| params.get(name).and_then(Value::as_bool).unwrap_or(default);
        let (snap_orders, snap_trades) = (flag("snap_orders", true), flag("snap_trades", false));
        let Some(trading) = &mut self.trading else { return };
        let account = match trading.account(params, now_ns) {
            Ok(_) if !trading.exchange.is_reachable(now_ns) => Err("EService:Unavailable".to_owned()),
            Ok(_) if trading.subscriptions.iter().any(|it| it.id == id) => {
                Err("Already subscribed".to_owned())
            }
            account => account,
        };
        let account = match account {
            Ok(account) => account,
            Err(error) => return self.refuse(id, request, None, &error, time_ns, output),
        };
        let token = params.get("token").and_then(Value::as_str).unwrap_or_default().to_owned();
        // Reports that wait are of before the snapshot, which has them: others hear them, this one does not.
        self.deliver(now_ns, output);
        let rows = self.snapshot(account, snap_orders, snap_trades);
        let counter = if flag("ratecounter", false) {
            format!(",\"maxratecount\":{}", self.limits.rate_counter_max / 1_000)
        } else {
            String::new()
        };
        let result = format!(
            "{{\"channel\":\"executions\",\"snap_orders\":{snap_orders},\"snap_trades\":{snap_trades}{counter}}}"
        );
        self.acknowledge(id, "subscribe", request, Some(&result), time_ns, output);
        self.start_heartbeats(id, now_ns);
        let sequence = 1;
        let head =
            format!("{{\"channel\":\"executions\",\"type\":\"snapshot\",\"sequence\":{sequence},\"data\":[");
        output.text(id, &[head.as_bytes(), rows.join(",").as_bytes(), b"]}"]);
        if let Some(trading) = &mut self.trading {
            trading.subscriptions.push(Subscription { id, account, token, sequence });
        }
    }

    /// Open orders, then the last executions, each oldest first. (The order within a snapshot is not documented.)
    fn snapshot(&self, account: AccountId, orders: bool, trades: bool) -> Vec<String> {
        let Some(trading) = &self.trading else { return Vec::new() };
        let exchange = &trading.exchange;
        let mut rows = Vec::new();
        if orders {
            let open = exchange.open_orders(account, None);
            rows.extend(open.map(|order| encode::snapshot_row(&self.listings[order.instrument], order)));
        }
        if trades {
            let fills: Vec<_> = exchange.fills(account).collect();
            for fill in &fills[fills.len().saturating_sub(SNAPSHOT_TRADES)..] {
                let order = exchange.find(account, None, OrderRef::Id(fill.order));
                rows.extend(
                    order.map(|order| encode::trade_row(&self.listings[fill.instrument], order, fill, None)),
                );
            }
        }
        rows
    }

    /// Sends what is due: late answers, and reports to who is subscribed. In an outage, connections are dropped first.
    pub(in crate::kraken) fn deliver(&mut self, now_ns: u64, output: &mut Output) {
        let Some(trading) = &mut self.trading else { return };
        for late in trading.late.extract_if(.., |late| late.due_ns <= now_ns) {
            output.text(late.id, &[&late.frame]);
        }
        if trading.exchange.take_kill() {
            for subscription in &trading.subscriptions {
                output.end(subscription.id, Ending::Abort(Reason::Fault));
            }
        }
        while let Some(report) = trading.exchange.poll_report(now_ns) {
            let order = &report.order;
            // One that never becomes live is only pending.
            let real = trading.exchange.find(order.account, None, OrderRef::Id(order.id));
            let live =
                report.kind != ReportKind::New || real.is_none_or(|real| real.end != Some(End::PostOnly));
            let rows = encode::rows(&self.listings[order.instrument], &report, live);
            for subscription in trading.subscriptions.iter_mut().filter(|it| it.account == order.account) {
                for row in &rows {
                    subscription.sequence += 1;
                    let head = format!(
                        "{{\"channel\":\"executions\",\"type\":\"update\",\"sequence\":{},\"data\":[",
                        subscription.sequence
                    );
                    output.text(subscription.id, &[head.as_bytes(), row.as_bytes(), b"]}"]);
                }
            }
        }
    }

    /// When [`Self::deliver`] has something next.
    pub(in crate::kraken) fn deliver_wake_ns(&self) -> u64 {
        let Some(trading) = &self.trading else { return u64::MAX };
        let late_ns = trading.late.iter().map(|late| late.due_ns).min().unwrap_or(u64::MAX);
        Exchange::next_wake_ns(&trading.exchange).min(late_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_numbers_are_read_from_their_text() {
        assert_eq!(time_ms("2026-11-21T01:00:05.250Z"), Some(1_795_222_805_250));
        assert_eq!(time_ms("2024-02-29T00:00:00Z"), Some(1_709_164_800_000));
        assert_eq!(time_ms("2024-02-29 00:00"), None);
        let frame = r#"{"params":{"limit_price": 64000.10,"order_qty":"1"}}"#;
        assert_eq!(number(frame, "limit_price").as_deref(), Ok("64000.10"));
        assert_eq!(number(frame, "order_qty"), Err("Order_qty field must be a number_float".to_owned()));
        let id = super::super::order_id(17_000_000_001);
        assert_eq!((id.len(), super::super::id_number('O', &id)), (19, Some(17_000_000_001)));
        assert_eq!(super::super::id_number('O', "OAAAAA"), None);
    }
}
