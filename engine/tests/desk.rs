//! The desk against a venue that follows a script: orders, lost answers, lost sessions, switches, durability, restarts.
//! What consumers are told stands in each test as one line of text.

use std::collections::VecDeque;

use engine::connection::Lost;
use engine::decimal::{Decimals, Number};
use engine::directory::{Directory, OrderFilters};
use engine::ids::{ConsumerId, InstrumentId, ProviderId};
use engine::orders::check::{Limits, Market};
use engine::orders::desk::{CallId, Desk, DeskOptions, Durability, Turn};
use engine::orders::ledger::{LedgerOptions, OnSessionLoss, SessionState};
use engine::orders::report::{Origin, ReportFlags};
use engine::orders::request::{Command, OrderRequest, OrderSide};
use engine::orders::secret::Secret;
use engine::orders::venue::Stamp;
use engine::orders::venue::binance::{BinanceKey, BinanceOrders};
use engine::orders::{ADOPTED, ClientOrderId, OrderEvent, Submitted, WireIds};
use engine::time::ReceiveTime;
use serde_json::{Value, json};

const MS: u64 = 1_000_000;
const EPOCH_MS: u64 = 1_783_000_000_000;
const FILTERS: OrderFilters = {
    const NONE: Number = Number { mantissa: 0, decimals: 0 };
    OrderFilters { tick: NONE, lot: NONE, qty_min: NONE, qty_max: NONE, notional_min: NONE }
};
const DECIMALS: Decimals = Decimals { price: 2, qty: 8 };
const ME: ConsumerId = ConsumerId(0);
const OTHER: ConsumerId = ConsumerId(1);

#[derive(Clone, Debug)]
struct Resting {
    id: u64,
    name: String,
    qty: u64,
    filled: u64,
    status: &'static str,
    trades: Vec<u64>,
}

/// Binance in short: one instrument, orders that fill when the script says so.
#[derive(Debug, Default)]
struct Venue {
    up: bool,
    shaken: bool,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    orders: Vec<Resting>,
    /// Client order ids of all `order.place` that arrived.
    placed: Vec<String>,
    methods: Vec<String>,
    /// Orders are taken and not answered.
    loses_answers: bool,
    /// Nothing is told on the user data stream.
    loses_reports: bool,
    /// Requests vanish before they arrive.
    loses_requests: bool,
    /// REST answers with this status.
    rest_status: Option<u16>,
    ahead_ms: i64,
    trades: u64,
    now_ms: u64,
    used: u64,
}

impl Venue {
    fn text(&mut self, value: &Value) {
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

    fn take(&mut self, bytes: &[u8]) {
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

    fn request(&mut self, request: &Value) {
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

    fn place(&mut self, params: &Value) -> Result<Value, (u16, i64, &'static str)> {
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

    fn find(&self, params: &Value) -> Result<usize, (u16, i64, &'static str)> {
        let found = self.orders.iter().position(|order| {
            params["orderId"].as_u64() == Some(order.id)
                || params["origClientOrderId"].as_str() == Some(&order.name)
        });
        found.ok_or((400, -2013, "Order does not exist."))
    }

    fn cancel(&mut self, params: &Value) -> Result<Value, (u16, i64, &'static str)> {
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

    fn status(&self, at: usize) -> Value {
        let order = &self.orders[at];
        json!({"symbol": "BTCUSDT", "orderId": order.id, "clientOrderId": order.name, "price": "100.00",
            "origQty": order.qty.to_string(), "executedQty": order.filled.to_string(),
            "cummulativeQuoteQty": (order.filled * 100).to_string(), "status": order.status, "type": "LIMIT",
            "side": "BUY", "time": EPOCH_MS})
    }

    fn open(&self) -> Value {
        let open = (0..self.orders.len())
            .filter(|&at| matches!(self.orders[at].status, "NEW" | "PARTIALLY_FILLED"))
            .map(|at| self.status(at));
        open.collect()
    }

    fn trades_of(&self, at: usize) -> Value {
        let order = &self.orders[at];
        let trades = order.trades.iter().enumerate().map(|(index, qty)| {
            json!({"id": order.id * 100 + index as u64, "orderId": order.id, "price": "100.00",
                "qty": qty.to_string(), "commission": "0.1", "commissionAsset": "USDT", "time": EPOCH_MS})
        });
        trades.collect()
    }

    fn fill(&mut self, at: usize, qty: u64) {
        let order = &mut self.orders[at];
        order.filled += qty;
        order.trades.push(qty);
        order.status = if order.filled == order.qty { "FILLED" } else { "PARTIALLY_FILLED" };
        self.trades += 1;
        let trade = self.orders[at].id * 100 + self.orders[at].trades.len() as u64 - 1;
        self.report(at, "TRADE", Some((trade, qty)));
    }

    fn report(&mut self, at: usize, kind: &str, trade: Option<(u64, u64)>) {
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

    fn drop_connection(&mut self) {
        self.shaken = false;
        self.inbox.clear();
        self.outbox.clear();
    }

    fn http(&mut self, method: &str, path: &str) -> (u16, String) {
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

struct Rig {
    desk: Desk<BinanceOrders>,
    directory: Directory,
    venue: Venue,
    now: ReceiveTime,
    /// The journal's file, and how much of it is on the disk.
    file: Vec<u8>,
    told: VecDeque<String>,
    disk_works: bool,
    runs: u64,
    options: DeskOptions,
    orders_sent: usize,
}

fn gateway() -> BinanceOrders {
    let key = BinanceKey::hmac(&Secret::new(b"secret".to_vec())).expect("a key");
    BinanceOrders::new(b"api", key, 5_000)
}

fn new_desk(run: u64, options: &DeskOptions) -> Desk<BinanceOrders> {
    let ids = WireIds::new(1_000 + run, 0).expect("fits");
    let mut desk = Desk::new(ProviderId(0), 0, ids, gateway(), options.clone());
    for consumer in [ME, OTHER] {
        desk.set_limits(consumer, Limits { book: engine::orders::check::BookPolicy::Ignore, ..Limits::OPEN });
    }
    desk
}

fn options() -> DeskOptions {
    DeskOptions { seed: 7, headroom_percent: 0, ..DeskOptions::new("venue.test", "/ws-api/v3") }
}

impl Rig {
    fn new(options: DeskOptions) -> Self {
        let mut directory = Directory::closed(ProviderId(0));
        let listing = directory.add("BTCUSDT", "BTC-USDT", InstrumentId(4)).expect("a symbol");
        directory.instrument_mut(listing).decimals = DECIMALS;
        Self {
            desk: new_desk(0, &options),
            directory,
            venue: Venue { up: true, ..Venue::default() },
            now: ReceiveTime::from_ns(50_000 * MS),
            file: Vec::new(),
            told: VecDeque::new(),
            disk_works: true,
            runs: 0,
            options,
            orders_sent: 0,
        }
    }

    /// A session that is up, after what is told of its beginning.
    fn live(options: DeskOptions) -> Self {
        let mut rig = Self::new(options);
        rig.desk.begin(rig.now);
        rig.run();
        assert_eq!(rig.desk.session(), SessionState::Live);
        assert_eq!(rig.told(), "restored:0/0/0");
        rig
    }

    fn run(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "it comes to rest");
            self.venue.now_ms = EPOCH_MS + self.now.ns() / MS;
            let unix_ms = self.venue.now_ms;
            let mut nonce = self.now.ns();
            let mut stamps = move || {
                nonce += 1;
                Stamp { unix_ms, nonce, random: u128::from(nonce) }
            };
            let mut turn = Turn { now: self.now, directory: &self.directory, stamps: &mut stamps };
            self.desk.on_timer(&mut turn);
            let mut busy = false;
            let mut calls: Vec<(CallId, &'static str, String)> = Vec::new();
            while let Some(call) = self.desk.poll_http(&mut turn) {
                calls.push((call.id, call.method.name(), String::from_utf8_lossy(call.path).into_owned()));
            }
            for (id, method, path) in calls {
                busy = true;
                let (status, body) = self.venue.http(method, &path);
                self.desk.http_answer(id, status, None, &mut body.into_bytes(), self.now);
            }
            let records = self.desk.journal().len();
            self.file.extend_from_slice(self.desk.journal());
            self.desk.journal_written(records);
            if self.disk_works {
                self.desk.journal_durable(self.desk.journal_end());
            }
            if self.desk.poll_disconnect() {
                self.venue.drop_connection();
                busy = true;
            }
            if self.desk.poll_connect().is_some() {
                busy = true;
                if self.venue.up {
                    self.desk.connected(self.now);
                } else {
                    self.desk.disconnected(Lost::Connect("refused".into()), self.now);
                }
            }
            let bytes = self.desk.bytes_to_send().to_vec();
            if !bytes.is_empty() {
                busy = true;
                self.desk.sent(bytes.len());
                self.venue.take(&bytes);
            }
            let bytes = std::mem::take(&mut self.venue.outbox);
            if !bytes.is_empty() {
                busy = true;
                self.desk.received(&bytes, self.now);
            }
            while let Some(event) = self.desk.poll_event() {
                self.told.push_back(text(&event));
            }
            busy |= self.desk.deadline().is_some_and(|at| at <= self.now);
            if !busy {
                return;
            }
        }
    }

    fn wait(&mut self, ms: u64) {
        let end = self.now.plus_ns(ms * MS);
        while self.now < end {
            self.run();
            let next = self.desk.deadline().unwrap_or(end).min(end);
            assert!(next > self.now, "after a run nothing is due");
            self.now = next;
        }
        self.run();
    }

    fn told(&mut self) -> String {
        Vec::from(std::mem::take(&mut self.told)).join(" ")
    }

    fn submit(&mut self, request: &OrderRequest) -> Submitted {
        let unix_ms = EPOCH_MS + self.now.ns() / MS;
        let mut stamps = move || Stamp { unix_ms, nonce: 1, random: 1 };
        let market = Market { decimals: DECIMALS, trading: true, filters: &FILTERS, touch: None };
        let mut turn = Turn { now: self.now, directory: &self.directory, stamps: &mut stamps };
        self.orders_sent += 1;
        self.desk.submit(request, Some(&market), &mut turn)
    }

    fn place_as(&mut self, consumer: ConsumerId, id: &str, qty: i64) -> Submitted {
        let mut request = OrderRequest::limit(
            OrderSide::Buy,
            Number { mantissa: 100, decimals: 0 },
            Number { mantissa: qty, decimals: 0 },
        );
        request.client_order_id = ClientOrderId::parse(id.as_bytes()).expect("legal");
        request.consumer = consumer;
        request.instrument = InstrumentId(4);
        self.submit(&request)
    }

    fn place(&mut self, id: &str, qty: i64) -> Submitted {
        self.place_as(ME, id, qty)
    }

    fn command(&mut self, command: Command, id: &str) -> Submitted {
        let client_order_id = ClientOrderId::parse(id.as_bytes()).unwrap_or_default();
        self.submit(&OrderRequest { command, client_order_id, consumer: ME, ..OrderRequest::default() })
    }

    /// The venue fills, and what that causes happens.
    fn fill(&mut self, order: usize, qty: u64) {
        self.venue.fill(order, qty);
        self.run();
    }

    fn cut(&mut self) {
        self.venue.drop_connection();
        self.desk.disconnected(Lost::Socket("reset".into()), self.now);
    }

    /// kill -9, and a new process with what is on the disk.
    fn restart(&mut self, journal_bytes: usize) {
        self.runs += 1;
        self.venue.drop_connection();
        self.file.truncate(journal_bytes);
        self.desk = new_desk(self.runs, &self.options);
        let replayed = self.desk.replay(&self.file);
        assert_eq!(replayed.refused, 0);
        self.now = self.now.plus_ns(1_000 * MS);
        self.told.clear();
        self.desk.begin(self.now);
    }

    /// No client order id arrived twice.
    fn check_no_duplicates(&self) {
        let mut names = self.venue.placed.clone();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), self.venue.placed.len(), "{:?}", self.venue.placed);
    }
}

fn text(event: &OrderEvent) -> String {
    match event {
        OrderEvent::Report(report) => {
            let own = if report.consumer == ADOPTED { "adopted" } else { report.client_order_id.as_str() };
            let local =
                if report.origin == Origin::Local { format!("@{}", report.reason) } else { String::new() };
            let recovered = if report.flags.has(ReportFlags::RECOVERED) { "@recovered" } else { "" };
            let filled = report.cum_qty.0 / 100_000_000;
            format!("{own}:{}:{filled}{local}{recovered}", report.state.name())
        }
        OrderEvent::Unknown(notice) => format!("{}:unknown", notice.client_order_id),
        OrderEvent::CancelRejected(notice) => format!("{}:cancel_rejected", notice.client_order_id),
        OrderEvent::SessionGap { unknown_orders, .. } => format!("gap:{unknown_orders}"),
        OrderEvent::SessionRestored { recovered_reports, unknown_orders, foreign_orders, .. } => {
            format!("restored:{recovered_reports}/{unknown_orders}/{foreign_orders}")
        }
    }
}

#[test]
fn an_order_is_acknowledged_and_filled() {
    let mut rig = Rig::live(options());
    assert!(matches!(rig.place("a", 10), Submitted::Place(_)));
    assert!(!rig.desk.bytes_to_send().is_empty(), "ready when `submit` returns");
    rig.run();
    rig.fill(0, 4);
    rig.fill(0, 6);
    assert_eq!(rig.told(), "a:ACK:0 a:PARTIAL:4 a:FILLED:10");
    rig.place("b", 666);
    rig.run();
    assert_eq!(rig.told(), "b:REJECTED:0");
    rig.place("c", 5);
    rig.run();
    rig.command(Command::Cancel, "c");
    rig.run();
    assert_eq!(rig.told(), "c:ACK:0 c:CANCELLED:0");
    rig.command(Command::Cancel, "c");
    rig.command(Command::Cancel, "nobody");
    assert!(matches!(rig.command(Command::Query, "c"), Submitted::Query(_)));
    rig.run();
    assert_eq!(rig.told(), "c:cancel_rejected nobody:cancel_rejected");
    rig.check_no_duplicates();
}

#[test]
fn an_answer_that_is_lost_is_asked_for_and_never_resent() {
    let mut rig = Rig::live(options());
    (rig.venue.loses_answers, rig.venue.loses_reports) = (true, true);
    rig.place("a", 10);
    rig.run();
    rig.venue.fill(0, 3);
    rig.wait(2_900);
    assert_eq!(rig.told(), "");
    rig.wait(2_000);
    assert_eq!(rig.told(), "a:unknown a:PARTIAL:3@recovered");
    assert_eq!(rig.venue.placed.len(), 1);

    rig.venue.loses_requests = true;
    rig.place("b", 10);
    rig.run();
    rig.venue.loses_requests = false;
    rig.wait(14_000);
    assert_eq!(rig.told(), "b:unknown", "the venue may yet place it");
    rig.wait(60_000);
    assert_eq!(rig.told(), "b:REJECTED:0@never arrived at the venue");
    assert_eq!(rig.venue.placed.len(), 1, "not resent");
}

#[test]
fn what_happens_during_an_outage_is_told_between_gap_and_restored() {
    let mut rig = Rig::live(options());
    for (id, qty) in [("a", 10), ("b", 10), ("c", 10)] {
        rig.place(id, qty);
    }
    rig.run();
    rig.told();
    rig.venue.up = false;
    rig.cut();
    rig.venue.fill(0, 10);
    rig.venue.fill(1, 4);
    rig.venue.orders[2].status = "CANCELED";
    rig.wait(5_000);
    assert_eq!(rig.told(), "gap:3", "once, however often the connection fails");
    assert!(matches!(rig.place("d", 1), Submitted::Refused(_)));
    assert_eq!((rig.told.pop_back(), rig.told()), (None, String::new()));
    rig.run();
    assert_eq!(rig.told(), "d:REJECTED:0@no_session");
    rig.venue.up = true;
    rig.wait(40_000);
    let told = rig.told();
    let mut words: Vec<&str> = told.split(' ').collect();
    assert_eq!(words.pop(), Some("restored:3/0/0"));
    words.sort_unstable();
    assert_eq!(words, ["a:FILLED:10@recovered", "b:PARTIAL:4@recovered", "c:CANCELLED:0@recovered"]);
}

#[test]
fn two_hundred_outages_lose_no_fill_and_pair_their_marks() {
    let mut rig = Rig::live(DeskOptions { queries_per_s_max: 100, ..options() });
    let (mut gaps, mut restored, mut filled) = (0, 0, 0);
    for round in 0..200 {
        rig.venue.used = 0;
        rig.place(&format!("o{round}"), 9);
        rig.run();
        rig.fill(round, 2);
        rig.cut();
        rig.venue.fill(round, 3);
        rig.venue.fill(round, 4);
        rig.wait(12_000);
        for word in rig.told().split(' ') {
            gaps += u64::from(word.starts_with("gap:1"));
            restored += u64::from(word.starts_with("restored:"));
            filled += u64::from(word == format!("o{round}:FILLED:9@recovered"));
        }
    }
    assert_eq!((gaps, restored, filled), (200, 200, 200));
    rig.check_no_duplicates();
    assert_eq!(rig.desk.ledger().counts.reports_total, 200 * 4, "ack, and each of three executions once");
}

#[test]
fn on_session_loss_cancels_mine_when_the_venue_is_reached_again() {
    let ledger = LedgerOptions { on_session_loss: OnSessionLoss::CancelMine, ..LedgerOptions::DEFAULT };
    let mut rig = Rig::live(DeskOptions { ledger, ..options() });
    rig.place("a", 10);
    rig.place("b", 10);
    rig.run();
    rig.told();
    rig.cut();
    rig.wait(5_000);
    assert_eq!(rig.told(), "gap:2 restored:0/0/0 a:CANCELLED:0 b:CANCELLED:0");
    assert!(rig.venue.orders.iter().all(|order| order.status == "CANCELED"));
}

#[test]
fn sync_holds_an_order_until_its_intent_is_on_the_disk() {
    let mut rig = Rig::live(DeskOptions { durability: Durability::Sync, ..options() });
    rig.disk_works = false;
    rig.place("a", 10);
    rig.place("b", 10);
    rig.place_as(OTHER, "c", 10);
    rig.run();
    assert!(rig.venue.placed.is_empty(), "nothing left");
    rig.command(Command::Cancel, "a");
    assert_eq!(rig.told(), "");
    rig.desk.set_trading(OTHER, false, rig.now);
    rig.run();
    assert_eq!(
        rig.told(),
        "a:REJECTED:0@cancelled before it was sent c:REJECTED:0@trading_off",
        "neither was sent"
    );
    rig.disk_works = true;
    rig.run();
    assert_eq!(rig.told(), "b:ACK:0");
    assert_eq!(rig.venue.placed.len(), 1);

    rig.disk_works = false;
    rig.place("d", 10);
    rig.cut();
    rig.wait(5_000);
    assert_eq!(rig.told(), "d:REJECTED:0@no_session gap:1 restored:0/0/0");
}

#[test]
fn the_kill_switch_cancels_and_blocks_until_it_is_lifted() {
    let mut rig = Rig::live(options());
    rig.place("a", 10);
    rig.place_as(OTHER, "b", 10);
    rig.run();
    rig.told();
    assert_eq!(rig.desk.kill(Some(ME), rig.now), 1);
    rig.run();
    rig.place("c", 10);
    rig.place_as(OTHER, "d", 10);
    rig.run();
    assert_eq!(rig.told(), "a:CANCELLED:0 c:REJECTED:0@killed d:ACK:0");
    assert_eq!(rig.desk.kill(None, rig.now), 2);
    rig.run();
    rig.desk.lift(None);
    rig.place("e", 10);
    rig.desk.lift(Some(ME));
    rig.place("f", 10);
    rig.run();
    assert_eq!(rig.told(), "b:CANCELLED:0 d:CANCELLED:0 e:REJECTED:0@killed f:ACK:0");
    assert_eq!(rig.desk.ledger().counts.suppressed_total, 2);
}

#[test]
fn a_switch_that_is_off_lets_nothing_out() {
    let mut rig = Rig::live(options());
    rig.desk.set_trading(ME, false, rig.now);
    let before = rig.venue.methods.len();
    rig.place("a", 10);
    rig.place_as(ConsumerId(60), "x", 10);
    rig.run();
    assert_eq!(rig.told(), "a:REJECTED:0@trading_off x:REJECTED:0@trading_off");
    assert_eq!(rig.venue.methods.len(), before);
    rig.desk.set_trading(ME, true, rig.now);
    rig.place("b", 10);
    rig.run();
    assert_eq!(rig.desk.consumer_lost(ME, rig.now), 1);
    rig.place("c", 10);
    rig.run();
    assert_eq!(rig.told(), "b:ACK:0 c:REJECTED:0@trading_off b:CANCELLED:0");
}

#[test]
fn without_the_connection_cancels_and_questions_go_by_rest() {
    let mut rig = Rig::live(options());
    rig.place("a", 10);
    rig.place("b", 10);
    rig.run();
    rig.told();
    rig.venue.up = false;
    rig.cut();
    rig.run();
    rig.venue.fill(1, 10);
    rig.venue.methods.clear();
    rig.command(Command::Cancel, "a");
    rig.command(Command::Query, "b");
    rig.run();
    assert_eq!(rig.venue.methods, ["DELETE /api/v3/order", "GET /api/v3/order"]);
    assert_eq!(rig.told(), "gap:2 a:CANCELLED:0");
    rig.venue.rest_status = Some(429);
    rig.command(Command::CancelAll, "");
    rig.wait(15_000);
    let tries = rig.venue.methods.iter().filter(|method| method.starts_with("DELETE")).count();
    assert!(tries <= 3, "a 429 without a time pauses for ten seconds: {:?}", rig.venue.methods);
    assert!(rig.desk.counts.limited_total >= 1);
    (rig.venue.rest_status, rig.venue.up) = (None, true);
    rig.wait(60_000);
    assert!(rig.told().contains("b:FILLED:10@recovered"));
    assert_eq!(rig.desk.session(), SessionState::Live);
}

#[test]
fn stamps_follow_the_venues_clock_and_orders_stop_before_its_limit() {
    let mut rig = Rig::new(DeskOptions { headroom_percent: 10, ..options() });
    rig.venue.ahead_ms = -30_000;
    rig.desk.begin(rig.now);
    rig.run();
    rig.told();
    assert_eq!(rig.desk.clock_ahead_ms(), -30_000);
    let refused = (0..30).filter(|number| {
        let submitted = rig.place(&format!("o{number}"), 1);
        rig.run();
        matches!(submitted, Submitted::Refused(engine::orders::Rule::LimitRate))
    });
    assert_eq!(refused.count(), 12, "18 of the venue's 20 in ten seconds");
    assert_eq!(rig.venue.placed.len(), 18);
}

#[test]
fn after_a_restart_orders_are_known_and_ids_are_not_used_again() {
    let mut rig = Rig::live(DeskOptions { durability: Durability::Sync, ..options() });
    rig.place("a", 10);
    rig.place("b", 10);
    rig.run();
    let bytes = rig.file.len();
    rig.restart(bytes);
    rig.venue.fill(0, 10);
    rig.wait(3_000);
    let told = rig.told();
    assert!(told.contains("a:FILLED:10@recovered") && told.ends_with("restored:1/0/0"), "{told}");
    rig.place("a", 1);
    rig.place("b", 1);
    rig.place("c", 1);
    rig.run();
    assert_eq!(rig.told(), "a:REJECTED:0@duplicate_id b:REJECTED:0@duplicate_id c:ACK:0");
    rig.command(Command::Cancel, "b");
    rig.run();
    assert_eq!(rig.told(), "b:CANCELLED:0");
    rig.check_no_duplicates();
}

#[test]
fn an_order_that_a_batched_journal_lost_is_adopted_and_a_strangers_is_left_alone() {
    let mut rig = Rig::live(options());
    rig.place("a", 10);
    rig.run();
    let bytes = rig.file.len();
    rig.place("b", 10);
    rig.place("c", 10);
    rig.run();
    rig.venue.fill(1, 4);
    rig.restart(bytes);
    let stranger = Resting { name: "by_hand".into(), id: 5, ..rig.venue.orders[0].clone() };
    rig.venue.orders.push(stranger);
    rig.wait(5_000);
    let told = rig.told();
    let mut words: Vec<&str> = told.split(' ').collect();
    words.sort_unstable();
    assert_eq!(
        words,
        ["adopted:ACK:0@recovered", "adopted:PARTIAL:4@recovered", "restored:2/0/1"],
        "the stranger's is counted"
    );
    assert_eq!(rig.desk.counts.adopted_total, 2);
    rig.desk.kill(None, rig.now);
    rig.run();
    let states: Vec<&str> = rig.venue.orders.iter().map(|order| order.status).collect();
    assert_eq!(states, ["CANCELED", "CANCELED", "CANCELED", "NEW"]);
    // They are in the journal now.
    let bytes = rig.file.len();
    rig.restart(bytes);
    rig.wait(5_000);
    assert_eq!(rig.desk.counts.adopted_total, 0);
}

#[test]
fn an_ed25519_key_logs_on_once_and_signs_nothing_after() {
    let pem = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7\n-----END PRIVATE KEY-----\n";
    let mut rig = Rig::new(options());
    let key = BinanceKey::ed25519_pem(&Secret::new(pem.to_vec())).expect("a key");
    let ids = WireIds::new(9, 0).expect("fits");
    rig.desk = Desk::new(ProviderId(0), 0, ids, BinanceOrders::new(b"api", key, 5_000), rig.options.clone());
    rig.desk.set_limits(ME, Limits { book: engine::orders::check::BookPolicy::Ignore, ..Limits::OPEN });
    rig.desk.begin(rig.now);
    rig.run();
    assert_eq!(rig.venue.methods[..3], ["time", "session.logon", "userDataStream.subscribe"]);
    rig.told();
    rig.place("a", 10);
    rig.run();
    assert_eq!(rig.told(), "a:ACK:0");
}

#[test]
fn a_silent_connection_is_pinged_then_given_up() {
    let mut rig = Rig::live(options());
    rig.venue.loses_requests = true;
    rig.wait(40_000);
    assert!(rig.told().starts_with("gap:0"));
    assert!(
        matches!(rig.desk.last_lost(), Some(Lost::Silent(_) | Lost::NoAck)),
        "{:?}",
        rig.desk.last_lost()
    );
}
