//! A desk, its journal's file and its venue under a simulated clock, and what consumers were told as text.

use std::collections::VecDeque;

use engine::connection::Lost;
use engine::decimal::{Decimals, Number};
use engine::directory::{Directory, OrderFilters};
use engine::ids::{ConsumerId, InstrumentId, ProviderId};
use engine::orders::check::{BookPolicy, Limits, Market};
use engine::orders::desk::{CallId, Desk, DeskOptions, Turn};
use engine::orders::ledger::SessionState;
use engine::orders::report::{Origin, ReportFlags};
use engine::orders::request::{Command, OrderRequest, OrderSide};
use engine::orders::secret::Secret;
use engine::orders::venue::Stamp;
use engine::orders::venue::binance::{BinanceKey, BinanceOrders};
use engine::orders::{ADOPTED, ClientOrderId, OrderEvent, Submitted, WireIds};
use engine::time::ReceiveTime;

use crate::venue::{EPOCH_MS, Venue};

const MS: u64 = 1_000_000;
const FILTERS: OrderFilters = {
    const NONE: Number = Number { mantissa: 0, decimals: 0 };
    OrderFilters { tick: NONE, lot: NONE, qty_min: NONE, qty_max: NONE, notional_min: NONE }
};
const DECIMALS: Decimals = Decimals { price: 2, qty: 8 };
pub const ME: ConsumerId = ConsumerId(0);
pub const OTHER: ConsumerId = ConsumerId(1);

pub struct Rig {
    pub desk: Desk<BinanceOrders>,
    pub directory: Directory,
    pub venue: Venue,
    pub now: ReceiveTime,
    /// The journal's file, and how much of it is on the disk.
    pub file: Vec<u8>,
    pub told: VecDeque<String>,
    pub disk_works: bool,
    pub runs: u64,
    pub options: DeskOptions,
    pub orders_sent: usize,
}

pub fn gateway() -> BinanceOrders {
    let key = BinanceKey::hmac(&Secret::new(b"secret".to_vec())).expect("a key");
    BinanceOrders::new(b"api", key, 5_000)
}

pub fn new_desk(run: u64, options: &DeskOptions) -> Desk<BinanceOrders> {
    let ids = WireIds::new(1_000 + run, 0).expect("fits");
    let mut desk = Desk::new(ProviderId(0), 0, ids, gateway(), options.clone());
    for consumer in [ME, OTHER] {
        desk.set_limits(consumer, Limits { book: BookPolicy::Ignore, ..Limits::OPEN });
    }
    desk
}

pub fn options() -> DeskOptions {
    DeskOptions { seed: 7, headroom_percent: 0, ..DeskOptions::new("venue.test", "/ws-api/v3") }
}

impl Rig {
    pub fn new(options: DeskOptions) -> Self {
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
    pub fn live(options: DeskOptions) -> Self {
        let mut rig = Self::new(options);
        rig.desk.begin(rig.now);
        rig.run();
        assert_eq!(rig.desk.session(), SessionState::Live);
        assert_eq!(rig.told(), "restored:0/0/0");
        rig
    }

    pub fn run(&mut self) {
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

    pub fn wait(&mut self, ms: u64) {
        let end = self.now.plus_ns(ms * MS);
        while self.now < end {
            self.run();
            let next = self.desk.deadline().unwrap_or(end).min(end);
            assert!(next > self.now, "after a run nothing is due");
            self.now = next;
        }
        self.run();
    }

    pub fn told(&mut self) -> String {
        Vec::from(std::mem::take(&mut self.told)).join(" ")
    }

    pub fn submit(&mut self, request: &OrderRequest) -> Submitted {
        let unix_ms = EPOCH_MS + self.now.ns() / MS;
        let mut stamps = move || Stamp { unix_ms, nonce: 1, random: 1 };
        let market = Market { decimals: DECIMALS, trading: true, filters: &FILTERS, touch: None };
        let mut turn = Turn { now: self.now, directory: &self.directory, stamps: &mut stamps };
        self.orders_sent += 1;
        self.desk.submit(request, Some(&market), &mut turn)
    }

    pub fn place_as(&mut self, consumer: ConsumerId, id: &str, qty: i64) -> Submitted {
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

    pub fn place(&mut self, id: &str, qty: i64) -> Submitted {
        self.place_as(ME, id, qty)
    }

    pub fn command(&mut self, command: Command, id: &str) -> Submitted {
        let client_order_id = ClientOrderId::parse(id.as_bytes()).unwrap_or_default();
        self.submit(&OrderRequest { command, client_order_id, consumer: ME, ..OrderRequest::default() })
    }

    /// The venue fills, and what that causes happens.
    pub fn fill(&mut self, order: usize, qty: u64) {
        self.venue.fill(order, qty);
        self.run();
    }

    pub fn cut(&mut self) {
        self.venue.drop_connection();
        self.desk.disconnected(Lost::Socket("reset".into()), self.now);
    }

    /// kill -9, and a new process with what is on the disk.
    pub fn restart(&mut self, journal_bytes: usize) {
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
    pub fn check_no_duplicates(&self) {
        let mut names = self.venue.placed.clone();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), self.venue.placed.len(), "{:?}", self.venue.placed);
    }
}

pub fn text(event: &OrderEvent) -> String {
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
