//! Binance in short, as the desk's private connection and REST see it: what it answers follows a script.

use serde_json::{Value, json};

/// When the tests begin, in milliseconds since 1970.
pub const EPOCH_MS: u64 = 1_783_000_000_000;

#[derive(Clone, Debug)]
pub struct Resting {
    pub id: u64,
    pub name: String,
    pub qty: u64,
    pub filled: u64,
    pub status: &'static str,
    pub trades: Vec<u64>,
}

/// Binance in short: one instrument, orders that fill when the script says so.
#[derive(Debug, Default)]
pub struct Venue {
    pub up: bool,
    pub shaken: bool,
    pub inbox: Vec<u8>,
    pub outbox: Vec<u8>,
    pub orders: Vec<Resting>,
    /// Client order ids of all `order.place` that arrived.
    pub placed: Vec<String>,
    pub methods: Vec<String>,
    /// Orders are taken and not answered.
    pub loses_answers: bool,
    /// Nothing is told on the user data stream.
    pub loses_reports: bool,
    /// Requests vanish before they arrive.
    pub loses_requests: bool,
    /// REST answers with this status.
    pub rest_status: Option<u16>,
    pub ahead_ms: i64,
    pub trades: u64,
    pub now_ms: u64,
    pub used: u64,
}

impl Venue {
    pub fn text(&mut self, value: &Value) {
        let text = value.to_string();
        self.outbox.push(0x81);
        match text.len() {
            bytes @ 0..=125 => self.outbox.push(bytes as u8),
            bytes => {
                self.outbox.push(126);
                self.outbox.extend_from_slice(&(bytes as u16).to_be_bytes());
            }
        }
        self.outbox.extend_from_slice(text.as_bytes());
    }

    pub fn take(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        if !self.shaken {
            let text = String::from_utf8_lossy(&self.inbox).into_owned();
            let Some(end) = text.find("\r\n\r\n") else { return };
            let key =
                text.split("Sec-WebSocket-Key: ").nth(1).expect("a key").lines().next().expect("a line");
            let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
            self.outbox.extend_from_slice(
                format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes(),
            );
            self.inbox.drain(..end + 4);
            self.shaken = true;
        }
        while self.inbox.len() >= 6 {
            let (head, length) = match self.inbox[1] & 0x7F {
                126 => (4, usize::from(u16::from_be_bytes([self.inbox[2], self.inbox[3]]))),
                bytes => (2, usize::from(bytes)),
            };
            if self.inbox.len() < head + 4 + length {
                return;
            }
            let frame: Vec<u8> = self.inbox.drain(..head + 4 + length).collect();
            if frame[0] == 0x89 && !self.loses_requests {
                self.outbox.extend_from_slice(&[0x8A, 0]);
            }
            if frame[0] != 0x81 {
                continue;
            }
            let mask = &frame[head..head + 4];
            let text: Vec<u8> =
                frame[head + 4..].iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect();
            let request: Value = serde_json::from_slice(&text).expect("JSON");
            self.request(&request);
        }
    }

    pub fn request(&mut self, request: &Value) {
        let method = request["method"].as_str().expect("a method").to_owned();
        self.methods.push(method.clone());
        if self.loses_requests {
            return;
        }
        let params = &request["params"];
        let result = match method.as_str() {
            "time" => Ok(json!({"serverTime": self.now_ms.saturating_add_signed(self.ahead_ms)})),
            "order.place" => {
                let result = self.place(params);
                if self.loses_answers {
                    return;
                }
                result
            }
            "order.cancel" => self.cancel(params),
            "order.status" => self.find(params).map(|at| self.status(at)),
            "openOrders.status" => Ok(self.open()),
            "myTrades" => self.find(params).map(|at| self.trades_of(at)),
            "session.logon" => Ok(json!({"apiKey": "K", "authorizedSince": 1})),
            _ => Ok(json!({"subscriptionId": 0})),
        };
        let answer = match result {
            Ok(result) => json!({"id": request["id"], "status": 200, "result": result,
                "rateLimits": [{"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 20,
                    "count": self.used}]}),
            Err((status, code, text)) => {
                json!({"id": request["id"], "status": status, "error": {"code": code, "msg": text}})
            }
        };
        self.text(&answer);
    }

    pub fn place(&mut self, params: &Value) -> Result<Value, (u16, i64, &'static str)> {
        let name = params["newClientOrderId"].as_str().expect("an id").to_owned();
        let time = params["timestamp"].as_u64().expect("a time");
        let here = self.now_ms.saturating_add_signed(self.ahead_ms);
        assert!(time.abs_diff(here) < 1_000, "the stamp follows the venue's clock: {time} and {here}");
        self.placed.push(name.clone());
        self.used += 1;
        let qty = params["quantity"].as_str().expect("a quantity").parse().expect("whole");
        if qty == 666 {
            return Err((400, -2010, "Account has insufficient balance for requested action."));
        }
        let id = 1_000 + self.orders.len() as u64;
        self.orders.push(Resting {
            id,
            name: name.clone(),
            qty,
            filled: 0,
            status: "NEW",
            trades: Vec::new(),
        });
        self.report(self.orders.len() - 1, "NEW", None);
        Ok(
            json!({"symbol": "BTCUSDT", "orderId": id, "orderListId": -1, "clientOrderId": name, "transactTime": EPOCH_MS}),
        )
    }

    pub fn find(&self, params: &Value) -> Result<usize, (u16, i64, &'static str)> {
        let found = self.orders.iter().position(|order| {
            params["orderId"].as_u64() == Some(order.id)
                || params["origClientOrderId"].as_str() == Some(&order.name)
        });
        found.ok_or((400, -2013, "Order does not exist."))
    }

    pub fn cancel(&mut self, params: &Value) -> Result<Value, (u16, i64, &'static str)> {
        let at = self.find(params)?;
        if !matches!(self.orders[at].status, "NEW" | "PARTIALLY_FILLED") {
            return Err((400, -2011, "Unknown order sent."));
        }
        self.orders[at].status = "CANCELED";
        self.report(at, "CANCELED", None);
        let mut status = self.status(at);
        status["origClientOrderId"] = status["clientOrderId"].clone();
        status["clientOrderId"] = "other".into();
        Ok(status)
    }

    pub fn status(&self, at: usize) -> Value {
        let order = &self.orders[at];
        json!({"symbol": "BTCUSDT", "orderId": order.id, "clientOrderId": order.name, "price": "100.00",
            "origQty": order.qty.to_string(), "executedQty": order.filled.to_string(),
            "cummulativeQuoteQty": (order.filled * 100).to_string(), "status": order.status, "type": "LIMIT",
            "side": "BUY", "time": EPOCH_MS})
    }

    pub fn open(&self) -> Value {
        let open = (0..self.orders.len())
            .filter(|&at| matches!(self.orders[at].status, "NEW" | "PARTIALLY_FILLED"))
            .map(|at| self.status(at));
        open.collect()
    }

    pub fn trades_of(&self, at: usize) -> Value {
        let order = &self.orders[at];
        let trades = order.trades.iter().enumerate().map(|(index, qty)| {
            json!({"id": order.id * 100 + index as u64, "orderId": order.id, "price": "100.00",
                "qty": qty.to_string(), "commission": "0.1", "commissionAsset": "USDT", "time": EPOCH_MS})
        });
        trades.collect()
    }

    pub fn fill(&mut self, at: usize, qty: u64) {
        let order = &mut self.orders[at];
        order.filled += qty;
        order.trades.push(qty);
        order.status = if order.filled == order.qty { "FILLED" } else { "PARTIALLY_FILLED" };
        self.trades += 1;
        let trade = self.orders[at].id * 100 + self.orders[at].trades.len() as u64 - 1;
        self.report(at, "TRADE", Some((trade, qty)));
    }

    pub fn report(&mut self, at: usize, kind: &str, trade: Option<(u64, u64)>) {
        if !self.shaken || self.loses_reports {
            return;
        }
        let order = self.orders[at].clone();
        let (id, qty) = trade.unwrap_or_default();
        let event = json!({"subscriptionId": 0, "event": {"e": "executionReport", "s": "BTCUSDT", "c": order.name,
            "C": "", "x": kind, "X": order.status, "i": order.id, "l": qty.to_string(), "L": "100.00",
            "z": order.filled.to_string(), "Z": (order.filled * 100).to_string(), "n": "0.1", "N": "USDT", "T": EPOCH_MS,
            "t": id, "m": true}});
        self.text(&event);
    }

    pub fn drop_connection(&mut self) {
        self.shaken = false;
        self.inbox.clear();
        self.outbox.clear();
    }

    pub fn http(&mut self, method: &str, path: &str) -> (u16, String) {
        self.methods.push(format!("{method} {}", path.split('?').next().unwrap_or_default()));
        if let Some(status) = self.rest_status {
            return (status, "{\"code\":-1003,\"msg\":\"Too many requests\"}".into());
        }
        let mut params = json!({});
        for pair in path.split('?').nth(1).unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').expect("a pair");
            params[name] =
                if name == "orderId" { json!(value.parse::<u64>().expect("whole")) } else { json!(value) };
        }
        let result = match (method, path.contains("openOrders")) {
            ("DELETE", _) => self.cancel(&params),
            ("GET", true) => Ok(self.open()),
            ("GET", false) if path.contains("myTrades") => self.find(&params).map(|at| self.trades_of(at)),
            _ => self.find(&params).map(|at| self.status(at)),
        };
        match result {
            Ok(value) => (200, value.to_string()),
            Err((status, code, text)) => (status, json!({"code": code, "msg": text}).to_string()),
        }
    }
}
