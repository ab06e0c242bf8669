//! Orders of one provider in one thread under a simulated clock: the engine's ledger and a venue's gateway against a
//! simulated venue. A run follows from its seed.
//!
//! ```text
//! submit -> Ledger -> OrderGateway -> frames and requests -> Site (exchange, fault script)
//! events <- Ledger <- OrderGateway <- frames and answers  <-
//! ```
//!
//! Does what a provider's shard does, without its sockets: one private connection, a fresh connection for each HTTP
//! request, a new try a while after a loss. [`Desk::finish`] compares everything with what the venue really did.

use std::collections::{BTreeMap, BTreeSet};

use engine::decimal::{Decimals, Number};
use engine::directory::{Directory, OrderFilters};
use engine::ids::{ConsumerId, InstrumentId, Listing, ProviderId, TraceId};
use engine::orders::check::{BookPolicy, Limits, Market};
use engine::orders::ledger::{OnSessionLoss, Purpose, SessionState};
use engine::orders::report::ReportFlags;
use engine::orders::venue::{EncodeError, Incoming, OrderGateway, Outgoing, Stamp, Transport};
use engine::orders::{
    ClientOrderId, Command, ExecReport, Ledger, LedgerOptions, OrderEvent, OrderRequest, Query, ReportState,
    Submitted, Tag, WireIds,
};
use engine::time::ReceiveTime;
use fastrand::Rng;
use simvenues::exchange::{Amount, Status};
use simvenues::output::ConnectionId;
use simvenues::site::Site;
use simvenues::{Fault, InstrumentSpec, OrderFault, VenueConfig, VenueFault};

use crate::sim::{MS_NS, SECOND_NS};

/// Where simulated time begins, in nanoseconds since 1970: a day in 2023.
const START_NS: u64 = 1_700_000_000_000_000_000;
/// How long an HTTP request may take.
const REST_NS_MAX: u64 = 10 * SECOND_NS;
/// Pause before a lost session is joined again.
const REJOIN_NS: u64 = 200 * MS_NS;
/// All prices and quantities are exact here.
const DECIMALS: Decimals = Decimals { price: 8, qty: 8 };

/// A private connection.
#[derive(Debug)]
struct Wire {
    id: ConnectionId,
    upgraded: bool,
    received: Vec<u8>,
    /// The next step of joining; `None`: all were sent.
    step: Option<u32>,
}

/// An HTTP request under way.
#[derive(Debug)]
struct Asked {
    id: ConnectionId,
    tag: Tag,
    received: Vec<u8>,
    deadline_ns: u64,
}

/// Everything.
pub struct Desk {
    /// The simulated clock, in nanoseconds since 1970.
    pub now_ns: u64,
    /// The venue.
    pub site: Site,
    /// The gateway under test.
    pub gateway: Box<dyn OrderGateway>,
    /// The ledger under test.
    pub ledger: Ledger,
    /// What consumers were told, in its order.
    pub events: Vec<OrderEvent>,
    /// Sessions that the venue refused, by its code.
    pub refused: Vec<i32>,
    /// The last that the venue told of its limits on orders: (used, allowed).
    pub used: Option<(u32, u32)>,
    seed: u64,
    target: &'static str,
    directory: Directory,
    specs: Vec<InstrumentSpec>,
    rng: Rng,
    nonce: u64,
    out: Outgoing,
    incoming: Vec<Incoming>,
    wire: Option<Wire>,
    rejoin_ns: u64,
    asked: Vec<Asked>,
    /// How often each order was sent.
    sent: BTreeMap<String, u32>,
    orders: u32,
}

impl Desk {
    /// A desk whose private connection is opened at `target`. `gateway` gets the venue with its keys. `symbol` spells
    /// an instrument as the venue does.
    pub fn new(
        seed: u64,
        config: VenueConfig,
        specs: Vec<InstrumentSpec>,
        target: &'static str,
        symbol: impl Fn(&InstrumentSpec) -> String,
        gateway: impl FnOnce(&Site) -> Box<dyn OrderGateway>,
    ) -> Self {
        let output_bytes_max = config.output_bytes_max();
        let site = Site::new(config.build(START_NS), output_bytes_max);
        let gateway = gateway(&site);
        let mut directory = Directory::closed(ProviderId(0));
        for (index, spec) in specs.iter().enumerate() {
            directory.add(&symbol(spec), &spec.symbol(), InstrumentId(index as u16)).expect("short names");
        }
        let options = LedgerOptions {
            not_found_final_ns: gateway.not_found_final_ns(),
            list_every_ns: 20 * SECOND_NS,
            on_session_loss: OnSessionLoss::Keep,
            ..LedgerOptions::DEFAULT
        };
        let ids = WireIds::new(START_NS / SECOND_NS, 1).expect("fits");
        Self {
            now_ns: START_NS,
            site,
            gateway,
            ledger: Ledger::new(ProviderId(0), 1, ids, options),
            events: Vec::new(),
            refused: Vec::new(),
            used: None,
            seed,
            target,
            directory,
            specs,
            rng: Rng::with_seed(seed ^ 0xde5c),
            nonce: 0,
            out: Outgoing::new(),
            incoming: Vec::new(),
            wire: None,
            rejoin_ns: 0,
            asked: Vec::new(),
            sent: BTreeMap::new(),
            orders: 0,
        }
    }

    fn now(&self) -> ReceiveTime {
        ReceiveTime::from_ns(self.now_ns)
    }

    fn stamp(&mut self) -> Stamp {
        // Requests of one instant have different nonces, in their order.
        self.nonce = self.now_ns.max(self.nonce + 1);
        Stamp { unix_ms: self.now_ns / MS_NS, nonce: self.nonce, random: self.rng.u128(..) }
    }

    /// Orders a fault of order entry now.
    pub fn order_fault(&mut self, fault: OrderFault) {
        self.site.fault(&Fault::Venue(VenueFault::Orders(fault)), self.now_ns);
    }

    /// The best bid and ask of an instrument, as (price text, quantity text).
    pub fn touch(&self, instrument: usize) -> [(String, String); 2] {
        let book = self.site.book(&self.specs[instrument].symbol()).expect("listed");
        let text = |(price, qty): (i64, i64)| {
            let text = |value: i64, decimals| Amount::new(i128::from(value), decimals).trimmed(8);
            (text(price, book.price_decimals), text(qty, book.qty_decimals))
        };
        [text(book.bids[0]), text(book.asks[0])]
    }

    /// Sends an order, and gives the name by which [`Self::reports`] finds it.
    ///
    /// # Panics
    /// If the ledger refuses it.
    pub fn place(&mut self, instrument: usize, request: OrderRequest) -> ClientOrderId {
        self.orders += 1;
        let id = ClientOrderId::parse(format!("mine{}", self.orders).as_bytes()).expect("legal");
        let request = OrderRequest { client_order_id: id, ..request };
        match self.submit(instrument, request) {
            Submitted::Place(_) => id,
            other => panic!("seed {}: {other:?}", self.seed),
        }
    }

    /// Submits any request; what leaves is sent at once.
    pub fn submit(&mut self, instrument: usize, request: OrderRequest) -> Submitted {
        let request = OrderRequest {
            consumer: ConsumerId(0),
            provider: ProviderId(0),
            instrument: InstrumentId(instrument as u16),
            listing: Listing(instrument as u16),
            submitted_at: self.now(),
            ..request
        };
        let filters = OrderFilters::default(); // the venue is to refuse what is wrong
        let market = Market { decimals: DECIMALS, trading: true, filters: &filters, touch: None };
        let limits = Limits { book: BookPolicy::Ignore, ..Limits::OPEN };
        let submitted = self.ledger.submit(&request, Some(&market), &limits, self.now());
        self.ledger.journal_taken();
        match submitted {
            Submitted::Place(tag) => {
                let order = *self.ledger.order(tag).expect("just made");
                *self.sent.entry(order.wire_id.as_str().to_owned()).or_default() += 1;
                self.send(tag, |desk, stamp| {
                    desk.gateway.place(tag, &order, &desk.directory, &stamp, &mut desk.out)
                });
            }
            Submitted::Cancel(tag) => self.send_cancel(tag),
            Submitted::Query(tag) => self.ask_order(tag, 0),
            Submitted::CancelAll(_) | Submitted::Refused(_) => {}
        }
        submitted
    }

    /// Cancels an order by the name that [`Self::place`] gave.
    pub fn cancel(&mut self, id: ClientOrderId) -> Submitted {
        let request =
            OrderRequest { command: Command::Cancel, client_order_id: id, ..OrderRequest::default() };
        self.submit(0, request)
    }

    /// The venue's own cancel of everything on an instrument.
    pub fn cancel_all_at_venue(&mut self, instrument: usize) {
        let listing = Listing(instrument as u16);
        self.send(Tag::cancel_all(listing), |desk, stamp| {
            desk.gateway.cancel_all(listing, &desk.directory, &stamp, &mut desk.out)
        });
    }

    /// The reports of one order so far.
    pub fn reports(&self, id: ClientOrderId) -> Vec<ExecReport> {
        let reports = self.events.iter().filter_map(|event| match event {
            OrderEvent::Report(report) if report.client_order_id == id => Some(*report),
            _ => None,
        });
        reports.collect()
    }

    /// The states of one order so far, as words.
    pub fn states(&self, id: ClientOrderId) -> Vec<&'static str> {
        self.reports(id).iter().map(|report| report.state.name()).collect()
    }

    /// Lets so many milliseconds pass.
    pub fn pass_ms(&mut self, time_ms: u64) {
        for _ in 0..time_ms {
            self.now_ns += MS_NS;
            self.step();
        }
    }

    /// Lets time pass until `done` holds.
    ///
    /// # Panics
    /// If it does not within `seconds`.
    pub fn run_for(&mut self, what: &str, seconds: u64, done: impl Fn(&Self) -> bool) {
        for _ in 0..seconds * 1_000 {
            if done(self) {
                return;
            }
            self.pass_ms(1);
        }
        panic!("seed {}: {what} did not happen within {seconds} s: {:?}", self.seed, self.events);
    }

    /// Joins the private stream.
    pub fn settle(&mut self) {
        self.run_for("a live session", 60, |desk| desk.ledger.session() == SessionState::Live);
    }

    // --- one step -------------------------------------------------------------------------------------------------

    fn step(&mut self) {
        self.site.poll(self.now_ns);
        self.read_wire();
        self.read_answers();
        self.connect();
        while let Some(tag) = self.ledger.poll_cancel(self.now()) {
            self.send_cancel(tag);
        }
        while let Some(query) = self.ledger.poll_query(self.now()) {
            self.ask(query);
        }
        while let Some(event) = self.ledger.poll_event() {
            self.events.push(event);
        }
        self.ledger.journal_taken();
    }

    fn connect(&mut self) {
        if self.wire.is_none() && self.now_ns >= self.rejoin_ns {
            self.rejoin_ns = self.now_ns + REJOIN_NS;
            let Some(id) = self.site.open(self.now_ns) else { return };
            let request = format!(
                "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                self.target
            );
            self.site.receive(id, request.as_bytes(), self.now_ns);
            self.wire = Some(Wire { id, upgraded: false, received: Vec::new(), step: Some(0) });
        }
        while let Some(Wire { upgraded: true, step: Some(step), .. }) = self.wire {
            let stamp = self.stamp();
            match self.gateway.join(step, &stamp, &mut self.out) {
                Ok(true) => {
                    self.transmit(Tag::session(step));
                    self.set_step(Some(step + 1));
                }
                Ok(false) => self.set_step(None),
                Err(EncodeError::NoToken) => return, // the answer to the step before is under way
                Err(error) => panic!("seed {}: {error}", self.seed),
            }
        }
    }

    fn set_step(&mut self, step: Option<u32>) {
        if let Some(wire) = &mut self.wire {
            wire.step = step;
        }
    }

    fn send(&mut self, tag: Tag, write: impl FnOnce(&mut Self, Stamp) -> Result<(), EncodeError>) {
        let stamp = self.stamp();
        match write(self, stamp) {
            Ok(()) => self.transmit(tag),
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
    }

    fn send_cancel(&mut self, tag: Tag) {
        let order = *self.ledger.order(tag).expect("of this ledger");
        self.send(tag, |desk, stamp| {
            desk.gateway.cancel(tag, &order, &desk.directory, &stamp, &mut desk.out)
        });
    }

    fn ask_order(&mut self, tag: Tag, attempt: u32) {
        let order = *self.ledger.order(tag).expect("of this ledger");
        self.send(tag, |desk, stamp| {
            desk.gateway.query(tag, attempt, &order, &desk.directory, &stamp, &mut desk.out)
        });
    }

    /// The next part of an answer.
    fn ask_page(&mut self, tag: Tag) {
        match tag.purpose() {
            Some(Purpose::Fills) => self.ask(Query::Fills(tag)),
            Some(Purpose::OpenOrders) => self.ask(Query::OpenOrders(tag)),
            _ => self.ask_order(tag, 0),
        }
    }

    fn ask(&mut self, query: Query) {
        match query {
            Query::OpenOrders(tag) => {
                self.send(tag, |desk, stamp| desk.gateway.open_orders(tag, &stamp, &mut desk.out));
            }
            Query::Order { tag, attempt } => self.ask_order(tag, attempt),
            Query::Fills(tag) => {
                let order = *self.ledger.order(tag).expect("of this ledger");
                self.send(tag, |desk, stamp| {
                    desk.gateway.fills(tag, &order, &desk.directory, &stamp, &mut desk.out)
                });
            }
        }
    }

    /// Sends what the gateway wrote.
    fn transmit(&mut self, tag: Tag) {
        let method = match self.out.transport {
            Transport::Frame => {
                // Without a connection it is lost, as in a socket that nobody reads any more.
                if let Some(wire) = &self.wire {
                    self.site.receive(wire.id, &masked(0x81, &self.out.body), self.now_ns);
                }
                return;
            }
            Transport::Get => "GET",
            Transport::Post => "POST",
            Transport::Delete => "DELETE",
        };
        let mut request = format!("{method} ").into_bytes();
        request.extend_from_slice(&self.out.path);
        request.extend_from_slice(b" HTTP/1.1\r\nHost: localhost\r\n");
        request.extend_from_slice(&self.out.headers);
        request.extend_from_slice(format!("Content-Length: {}\r\n\r\n", self.out.body.len()).as_bytes());
        request.extend_from_slice(&self.out.body);
        match self.site.open(self.now_ns) {
            Some(id) => {
                self.site.receive(id, &request, self.now_ns);
                let deadline_ns = self.now_ns + REST_NS_MAX;
                self.asked.push(Asked { id, tag, received: Vec::new(), deadline_ns });
            }
            None => self.answered(tag, 0, Vec::new()),
        }
    }

    fn read_wire(&mut self) {
        let Some(wire) = &mut self.wire else { return };
        let id = wire.id;
        let bytes = self.site.unsent(id);
        wire.received.extend_from_slice(bytes);
        let count = bytes.len();
        self.site.sent(id, count);
        if !wire.upgraded {
            let Some(end) = wire.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                return self.end_wire_if_over();
            };
            wire.upgraded = wire.received.starts_with(b"HTTP/1.1 101 ");
            wire.received.drain(..end + 4);
            if !wire.upgraded {
                return self.lose_wire();
            }
        }
        while let Some((first, mut payload)) = self.next_frame() {
            match first & 0x0f {
                1 => {
                    let result = self.gateway.decode_frame(&mut payload, &mut self.incoming);
                    assert_eq!(result, Ok(()), "seed {}: {}", self.seed, String::from_utf8_lossy(&payload));
                    self.apply();
                }
                9 => self.site.receive(id, &masked(0x8a, &payload), self.now_ns),
                _ => {}
            }
        }
        self.end_wire_if_over();
    }

    fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let received = &mut self.wire.as_mut()?.received;
        let &[first, second, ..] = &received[..] else { return None };
        let extended = |bytes: &[u8]| bytes.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        let (head, length) = match second {
            126 => (4, extended(received.get(2..4)?)),
            127 => (10, extended(received.get(2..10)?)),
            short => (2, usize::from(short)),
        };
        let payload = received.get(head..head + length)?.to_vec();
        received.drain(..head + length);
        Some((first, payload))
    }

    fn end_wire_if_over(&mut self) {
        if self.wire.as_ref().is_some_and(|wire| self.site.ending(wire.id).is_some()) {
            self.lose_wire();
        }
    }

    fn lose_wire(&mut self) {
        let Some(wire) = self.wire.take() else { return };
        self.site.closed(wire.id);
        self.rejoin_ns = self.now_ns + REJOIN_NS;
        if self.ledger.session() != SessionState::Down {
            self.ledger.session_lost(self.now());
        }
    }

    fn read_answers(&mut self) {
        let mut at = 0;
        while at < self.asked.len() {
            let asked = &mut self.asked[at];
            let bytes = self.site.unsent(asked.id);
            asked.received.extend_from_slice(bytes);
            let count = bytes.len();
            self.site.sent(asked.id, count);
            let answer = whole_answer(&asked.received);
            let over = self.site.ending(asked.id).is_some() || self.now_ns >= asked.deadline_ns;
            if answer.is_none() && !over {
                at += 1;
                continue;
            }
            let Asked { id, tag, .. } = self.asked.swap_remove(at);
            self.site.closed(id);
            let (status, body) = answer.unwrap_or_default();
            self.answered(tag, status, body);
        }
    }

    fn answered(&mut self, tag: Tag, status: u16, mut body: Vec<u8>) {
        // What is not JSON is the gateway's to understand: it says so, and appends what follows from it.
        let _ = self.gateway.decode_http(tag, status, &mut body, &mut self.incoming);
        self.apply();
    }

    fn apply(&mut self) {
        let (now, trace) = (self.now(), TraceId::default());
        for incoming in std::mem::take(&mut self.incoming) {
            match incoming {
                Incoming::Answer { tag, outcome, news } => {
                    self.ledger.answer(tag, outcome, &news, trace, now);
                }
                Incoming::Item { tag, news } => self.ledger.listed(tag, &news, trace, now),
                Incoming::End { tag, complete } => self.ledger.list_end(tag, complete, trace, now),
                Incoming::News(news) => self.ledger.news(&news, trace, now),
                Incoming::Joined => self.ledger.session_joined(now),
                Incoming::Lost => return self.lose_wire(),
                Incoming::Refused(news) => {
                    self.refused.push(news.code);
                    return self.lose_wire();
                }
                Incoming::More { tag } => self.ask_page(tag),
                Incoming::Token
                | Incoming::Limited { .. }
                | Incoming::VenueTime { .. }
                | Incoming::ClockOff => {}
                Incoming::Used { used, limit, .. } => self.used = Some((used, limit)),
            }
        }
    }

    // --- the end --------------------------------------------------------------------------------------------------

    /// Faults are over, everything open is cancelled, and what consumers were told is what the venue did.
    ///
    /// # Panics
    /// If it is not.
    pub fn finish(&mut self) {
        self.site.fault(&Fault::Clear, self.now_ns);
        self.site.set_rate(0.0, self.now_ns);
        self.settle();
        self.pass_ms(30_000); // what is unknown is settled, lists are compared
        self.ledger.cancel_all(None);
        self.run_for("the end of all orders", 60, |desk| desk.ledger.open_orders() == 0);
        self.pass_ms(5_000);
        self.compare();
    }

    fn compare(&self) {
        let seed = self.seed;
        let truth = self.site.trading();
        assert!(self.sent.values().all(|count| *count == 1), "seed {seed}: an order was sent twice");
        let mut known = BTreeSet::new();
        for (order, doubt) in self.ledger.orders() {
            let id = order.client_order_id;
            assert!(!doubt, "seed {seed}: {id} is still in doubt");
            let names = [order.wire_id.as_str().to_owned(), uuid_text(&order.wire_id)];
            let real = truth.orders.iter().find(|real| names.contains(&real.client_id));
            let reports = self.reports(id);
            let last = reports.last().unwrap_or_else(|| panic!("seed {seed}: {id} was never reported"));
            let Some(real) = real else {
                assert_eq!(last.state, ReportState::Rejected, "seed {seed}: {id} never reached the venue");
                continue;
            };
            known.insert(real.id);
            let state = match real.status {
                Status::New => ReportState::Ack,
                Status::PartiallyFilled => ReportState::Partial,
                Status::Filled => ReportState::Filled,
                Status::Canceled => ReportState::Cancelled,
                Status::Expired => ReportState::Expired,
            };
            assert_eq!(order.life.state, Some(state), "seed {seed}: {id}: {reports:#?}");
            let spec = &self.specs[real.instrument];
            let lots = |lots: i64| {
                let unit = 10_i64.pow(u32::from(DECIMALS.qty) - spec.qty_decimals as u32);
                lots * spec.lot * unit
            };
            assert_eq!(order.life.cum_qty.0, lots(real.filled), "seed {seed}: {id}");
            let told: i64 = reports.iter().map(|report| report.last_qty.0).sum();
            assert_eq!(told, lots(real.filled), "seed {seed}: {id}: executions told: {reports:#?}");
            let cost = Amount::new(last.cum_quote, usize::from(DECIMALS.price + DECIMALS.qty));
            assert_eq!(cost, real.filled_value, "seed {seed}: {id}");
            self.compare_executions(id, real.id, &reports);
        }
        for real in &truth.orders {
            assert!(known.contains(&real.id), "seed {seed}: an order that nobody sent: {real:?}");
        }
    }

    /// Each execution once, unless the gateway said that one report stands for several.
    fn compare_executions(&self, id: ClientOrderId, real: u64, reports: &[ExecReport]) {
        if reports.iter().any(|report| report.flags.has(ReportFlags::COMBINED)) {
            return;
        }
        let mut told: Vec<Number> = Vec::new();
        for report in reports.iter().filter(|report| report.last_qty.0 > 0) {
            assert!(!report.execution_id.is_empty(), "seed {}: {id}", self.seed);
            told.push(Number { mantissa: report.last_qty.0, decimals: DECIMALS.qty });
        }
        let fills = self.site.trading().fills.iter().filter(|fill| fill.order == real).count();
        assert_eq!(told.len(), fills, "seed {}: {id}: executions told: {reports:#?}", self.seed);
    }
}

fn uuid_text(id: &ClientOrderId) -> String {
    String::from_utf8_lossy(&id.uuid().text()).into_owned()
}

/// A client's frame; its mask is zero.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        0..=125 => frame.push(0x80 | payload.len() as u8),
        126..=65_535 => {
            frame.push(0xfe);
            frame.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        }
        _ => {
            frame.push(0xff);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// (status, body) once all of it is there.
fn whole_answer(bytes: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let status = head.get(9..12)?.parse().ok()?;
    let length =
        head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?.parse::<usize>().ok()?;
    Some((status, bytes.get(end..end + length)?.to_vec()))
}
