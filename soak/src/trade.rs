//! A provider's order entry ([`Desk`]) against a simulated venue in one thread, under a simulated clock: the real frames,
//! HTTP requests and journal ([`SimDisk`] under the gateway's own writer), lost connections, a disk that takes its time and
//! fills up, processes that die and hosts that lose their power. A run follows from its seed.
//!
//! [`Trade::finish`] compares what consumers were told and what the desk believes with what the venue really did. It
//! knows no venue: the gateway, the path of the private connection and the spelling of symbols are arguments.

mod crash;

use std::collections::{BTreeMap, BTreeSet};

use engine::connection::Lost;
use engine::decimal::Decimals;
use engine::directory::{Directory, OrderFilters};
use engine::ids::{ConsumerId, InstrumentId, Listing, ProviderId};
use engine::orders::check::{BookPolicy, Limits, Market, Rule};
use engine::orders::desk::{CallId, Desk, DeskOptions, Durability, Turn};
use engine::orders::ledger::{LedgerOptions, SessionState};
use engine::orders::report::ReportFlags;
use engine::orders::venue::{OrderGateway, Stamp};
use engine::orders::{
    ADOPTED, ClientOrderId, Command, OrderEvent, OrderRequest, OrderSide, ReportState, Submitted, WireIds,
};
use engine::time::ReceiveTime;
use fastrand::Rng;
use simvenues::exchange::{Amount, Status};
use simvenues::output::ConnectionId;
use simvenues::site::Site;
use simvenues::{Fault, InstrumentSpec, OrderFault, VenueConfig, VenueFault};

use shards::orders::journal::JournalWriter;
use shards::orders::keep::Keeper;
use shards::topology::{Durability as JournalDurability, JournalPlan};

use crate::disk::SimDisk;
use crate::sim::{MS_NS, SECOND_NS};

/// Where simulated time begins, in nanoseconds since 1970: a day in 2023.
const START_NS: u64 = 1_700_000_000_000_000_000;
/// A step longer than this is one in which the process stood still, but for so long, in nanoseconds.
const STEP_NS_MAX: u64 = 20 * MS_NS;
/// All prices and quantities are exact here.
const DECIMALS: Decimals = Decimals { price: 8, qty: 8 };
/// Consumers that trade.
pub const CONSUMERS: u16 = 3;
/// What stands before a client order id in the request for a new order, at each venue.
const PLACES: [&[u8]; 3] = [b"\"newClientOrderId\":\"", b"\"cl_ord_id\":\"", b"{\"client_order_id\":\""];

/// How a desk is set up, and which venue it meets.
pub struct Setup<G> {
    /// The venue.
    pub config: VenueConfig,
    /// Its instruments.
    pub specs: Vec<InstrumentSpec>,
    /// Path of the private connection.
    pub path: &'static str,
    /// The venue's spelling of a symbol.
    pub symbol: fn(&InstrumentSpec) -> String,
    /// The gateway with the keys that the venue issued; again for each run.
    pub gateway: fn(&Site) -> G,
    /// When orders leave.
    pub durability: Durability,
}

/// An HTTP request under way.
struct Asked {
    connection: ConnectionId,
    call: CallId,
    received: Vec<u8>,
}

/// What was checked on the way, for the test to see that the run had something in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests for new orders that left.
    pub sent: u64,
    /// Marks told.
    pub gaps: u64,
    /// Marks told.
    pub restored: u64,
    /// Reports marked as recovered.
    pub recovered: u64,
    /// Processes that died.
    pub restarts: u64,
    /// Of those: with their host.
    pub power_cuts: u64,
    /// Starts that failed because the process died in them.
    pub failed_starts: u64,
    /// Torn ends of journals that were cut off, in bytes.
    pub cut_bytes: u64,
    /// Journals that took no more.
    pub journal_failures: u64,
    /// Orders that a journal knew after a crash because it had to.
    pub remembered: u64,
    /// Files that a journal began while it ran.
    pub rotations: u64,
    /// Orders taken on that the journal had lost.
    pub adopted: u64,
}

/// Everything.
pub struct Trade<G> {
    /// The simulated clock, in nanoseconds since 1970.
    pub now_ns: u64,
    /// The same without the time in which nothing ran: who stands still cannot ask a disk for anything.
    ran_ns: u64,
    /// The venue.
    pub site: Site,
    /// The desk under test.
    pub desk: Desk<G>,
    /// What was seen.
    pub tally: Tally,
    /// Chance of the test itself.
    pub rng: Rng,
    seed: u64,
    gateway: fn(&Site) -> G,
    options: DeskOptions,
    directory: Directory,
    specs: Vec<InstrumentSpec>,
    wire: Option<ConnectionId>,
    asked: Vec<Asked>,
    disk: SimDisk,
    plan: JournalPlan,
    /// `None` only while a process dies.
    journal: Option<JournalWriter<SimDisk>>,
    keeper: Keeper,
    /// When the journal took no more.
    failed_ns: Option<u64>,
    /// Intents of this run: which order, its position in the journal, and at which `ran_ns` the journal said that it is durable.
    intents: Vec<(ClientOrderId, u64, Option<u64>)>,
    /// Runs that there were.
    epochs: BTreeSet<u64>,
    epoch: u64,
    nonce: u64,
    /// How often each client order id left.
    sent: BTreeMap<Vec<u8>, u32>,
    /// Executions told: (wire id, execution id) to signed quantity; and those of this run alone.
    executions: BTreeMap<(ClientOrderId, String), i64>,
    told: BTreeSet<(ClientOrderId, String)>,
    combined: BTreeSet<ClientOrderId>,
    /// Quantity told of each order, over all runs.
    quantities: BTreeMap<ClientOrderId, i64>,
    /// Net quantity told, by instrument.
    positions: BTreeMap<InstrumentId, i64>,
    gap_open: bool,
    killed: bool,
    orders: u64,
    news: Option<Vec<OrderEvent>>,
}

impl<G: OrderGateway> Trade<G> {
    /// A desk that has just begun.
    ///
    /// # Panics
    /// If the instruments' names are too long.
    pub fn new(seed: u64, setup: Setup<G>) -> Self {
        let output_bytes_max = setup.config.output_bytes_max();
        let site = Site::new(setup.config.build(START_NS), output_bytes_max);
        let mut directory = Directory::closed(ProviderId(0));
        for (index, spec) in setup.specs.iter().enumerate() {
            let listing = directory.add(&(setup.symbol)(spec), &spec.symbol(), InstrumentId(index as u16));
            directory.instrument_mut(listing.expect("short names")).decimals = DECIMALS;
        }
        let options = DeskOptions {
            ledger: LedgerOptions { list_every_ns: 20 * SECOND_NS, ..LedgerOptions::DEFAULT },
            durability: setup.durability,
            queries_per_s_max: 50,
            seed,
            ..DeskOptions::new("localhost", setup.path)
        };
        let durability = match setup.durability {
            Durability::Sync => JournalDurability::Sync,
            Durability::Batch => JournalDurability::Batch,
        };
        // Small files follow one another within seconds; each seed has another size.
        let plan = JournalPlan::new("journal".into(), durability, 2_000 + seed % 7 * 3_000, 2);
        let disk = SimDisk::new(seed);
        let epoch = START_NS / SECOND_NS;
        let mut trade = Self {
            now_ns: START_NS,
            ran_ns: START_NS,
            desk: make(&site, setup.gateway, epoch, &options),
            site,
            tally: Tally::default(),
            rng: Rng::with_seed(seed ^ 0x7ade),
            seed,
            gateway: setup.gateway,
            options,
            directory,
            specs: setup.specs,
            wire: None,
            asked: Vec::new(),
            disk,
            plan,
            journal: None,
            keeper: Keeper::default(),
            failed_ns: None,
            intents: Vec::new(),
            epochs: BTreeSet::new(),
            epoch,
            nonce: 0,
            sent: BTreeMap::new(),
            executions: BTreeMap::new(),
            told: BTreeSet::new(),
            combined: BTreeSet::new(),
            quantities: BTreeMap::new(),
            positions: BTreeMap::new(),
            gap_open: false,
            killed: false,
            orders: 0,
            news: None,
        };
        assert!(trade.start(), "nothing goes wrong at the first start");
        trade
    }

    fn now(&self) -> ReceiveTime {
        ReceiveTime::from_ns(self.now_ns - START_NS + SECOND_NS)
    }

    /// Orders a fault of order entry now.
    pub fn order_fault(&mut self, fault: OrderFault) {
        self.site.fault(&Fault::Venue(VenueFault::Orders(fault)), self.now_ns);
    }

    /// The best bid and ask of an instrument, as texts.
    ///
    /// # Panics
    /// If the venue does not list it.
    pub fn touch(&self, instrument: usize) -> [String; 2] {
        let book = self.site.book(&self.specs[instrument].symbol()).expect("listed");
        let text = |price: i64| Amount::new(i128::from(price), book.price_decimals).trimmed(8);
        [text(book.bids[0].0), text(book.asks[0].0)]
    }

    /// Submits a new order of a consumer under a name of its own.
    ///
    /// # Panics
    /// If too many were.
    pub fn place(
        &mut self,
        consumer: u16,
        instrument: usize,
        request: OrderRequest,
    ) -> Option<ClientOrderId> {
        self.orders += 1;
        let id = ClientOrderId::parse(format!("own{}", self.orders).as_bytes()).expect("legal");
        let request = OrderRequest {
            client_order_id: id,
            instrument: InstrumentId(instrument as u16),
            listing: Listing(instrument as u16),
            ..request
        };
        matches!(self.submit(consumer, &request), Submitted::Place(_)).then_some(id)
    }

    /// Submits any request of a consumer.
    pub fn submit(&mut self, consumer: u16, request: &OrderRequest) -> Submitted {
        if self.keeper.failed && request.command == Command::Place {
            return Submitted::Refused(Rule::JournalFull); // as the shard's driver does
        }
        let request = OrderRequest { consumer: ConsumerId(consumer), submitted_at: self.now(), ..*request };
        let filters = OrderFilters::default();
        let market = Market { decimals: DECIMALS, trading: true, filters: &filters, touch: None };
        let Self { desk, directory, rng, nonce, now_ns, .. } = self;
        let now = ReceiveTime::from_ns(*now_ns - START_NS + SECOND_NS);
        let mut stamps = || stamp(*now_ns, nonce, rng);
        let mut turn = Turn { now, directory, stamps: &mut stamps };
        let submitted = desk.submit(&request, Some(&market), &mut turn);
        self.turn(); // what is ready leaves before anything else happens
        submitted
    }

    /// Cancels an order by its name.
    pub fn cancel(&mut self, consumer: u16, id: ClientOrderId) -> Submitted {
        let command = Command::Cancel;
        self.submit(consumer, &OrderRequest { command, client_order_id: id, ..OrderRequest::default() })
    }

    /// The kill switch, on and off. While it is on nothing may leave.
    pub fn kill(&mut self, on: bool) {
        self.killed = on;
        if on {
            self.desk.kill(None, self.now());
        } else {
            self.desk.lift(None);
        }
    }

    /// The trading switch of a consumer.
    pub fn set_trading(&mut self, consumer: u16, on: bool) {
        self.desk.set_trading(ConsumerId(consumer), on, self.now());
    }

    /// Keeps from now on what consumers are told, for [`take_news`](Self::take_news).
    pub fn keep_news(&mut self) {
        self.news = Some(Vec::new());
    }

    /// What consumers were told since the last call.
    pub fn take_news(&mut self) -> Vec<OrderEvent> {
        self.news.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Lets time pass until `now_ns`, in one step.
    pub fn pass_until(&mut self, now_ns: u64) {
        self.ran_ns += now_ns.saturating_sub(self.now_ns).min(STEP_NS_MAX);
        self.now_ns = now_ns;
        self.step();
    }

    /// Lets so many milliseconds pass.
    pub fn pass_ms(&mut self, time_ms: u64) {
        for _ in 0..time_ms {
            self.pass_until(self.now_ns + MS_NS);
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
        panic!(
            "seed {}: {what} did not happen within {seconds} s: {:?} {} {:?} {:?} {:?}",
            self.seed,
            self.desk.session(),
            self.desk.connection_name(),
            self.desk.counts,
            self.desk.last_lost(),
            self.desk.last_refusal()
        );
    }

    /// Lets time pass until the session is live.
    pub fn settle(&mut self) {
        self.run_for("a live session", 120, |trade| trade.desk.session() == SessionState::Live);
    }

    // --- one step -------------------------------------------------------------------------------------------------

    fn step(&mut self) {
        self.site.poll(self.now_ns);
        self.read_wire();
        self.read_answers();
        self.keep_journal();
        // What one input causes may cause more in the same instant.
        for _ in 0..4 {
            self.turn();
        }
    }

    fn read_wire(&mut self) {
        let Some(id) = self.wire else { return };
        let bytes = self.site.unsent(id).to_vec();
        if !bytes.is_empty() {
            self.site.sent(id, bytes.len());
            self.desk.received(&bytes, self.now());
        }
        if self.site.ending(id).is_some() {
            self.site.closed(id);
            self.wire = None;
            self.desk.disconnected(Lost::Socket("ended".to_owned()), self.now());
        }
    }

    fn read_answers(&mut self) {
        let mut at = 0;
        while at < self.asked.len() {
            let asked = &mut self.asked[at];
            let bytes = self.site.unsent(asked.connection);
            asked.received.extend_from_slice(bytes);
            let count = bytes.len();
            self.site.sent(asked.connection, count);
            let answer = whole_answer(&asked.received);
            if answer.is_none() && self.site.ending(asked.connection).is_none() {
                at += 1;
                continue;
            }
            let Asked { connection, call, .. } = self.asked.swap_remove(at);
            self.site.closed(connection);
            let (status, retry_after_s, mut body) = answer.unwrap_or_default();
            self.desk.http_answer(call, status, retry_after_s, &mut body, self.now());
        }
    }

    fn turn(&mut self) {
        let (seed, now_ns, now) = (self.seed, self.now_ns, self.now());
        let Self { desk, directory, rng, nonce, .. } = self;
        let mut calls = Vec::new();
        {
            let mut stamps = || stamp(now_ns, nonce, rng);
            let mut turn = Turn { now, directory, stamps: &mut stamps };
            desk.on_timer(&mut turn);
            while let Some(call) = desk.poll_http(&mut turn) {
                let mut request = format!("{} ", call.method.name()).into_bytes();
                request.extend_from_slice(call.path);
                request.extend_from_slice(b" HTTP/1.1\r\nHost: localhost\r\n");
                request.extend_from_slice(call.headers);
                request.extend_from_slice(format!("Content-Length: {}\r\n\r\n", call.body.len()).as_bytes());
                request.extend_from_slice(call.body);
                calls.push((call.id, request));
            }
        }
        // Events and journal first: what the disk has was told before.
        while let Some(event) = self.desk.poll_event() {
            self.told(&event);
            if let Some(news) = &mut self.news {
                news.push(event);
            }
        }
        self.keep_journal();
        for (call, request) in calls {
            self.left(&request);
            match self.site.open(now_ns) {
                Some(connection) => {
                    self.site.receive(connection, &request, now_ns);
                    self.asked.push(Asked { connection, call, received: Vec::new() });
                }
                None => self.desk.http_answer(call, 0, None, &mut [], now),
            }
        }
        if self.desk.poll_disconnect()
            && let Some(connection) = self.wire.take()
        {
            self.site.closed(connection);
        }
        if self.desk.poll_connect().is_some() {
            assert!(self.wire.is_none(), "seed {seed}: one private connection");
            match self.site.open(now_ns) {
                Some(connection) => {
                    self.wire = Some(connection);
                    self.desk.connected(now);
                }
                None => self.desk.disconnected(Lost::Connect("refused".to_owned()), now),
            }
        }
        let bytes = self.desk.bytes_to_send().to_vec();
        if let (Some(connection), false) = (self.wire, bytes.is_empty()) {
            self.desk.sent(bytes.len());
            self.left(&unmasked(&bytes));
            self.site.receive(connection, &bytes, now_ns);
        }
    }

    /// Something leaves: no order twice, none that a switch forbids.
    fn left(&mut self, bytes: &[u8]) {
        let is_cancel = |from: usize| {
            let before = &bytes[..from];
            before.windows(12).rposition(|text| text == b"cancel_order").is_some_and(|cancel| {
                before.windows(9).rposition(|text| text == b"add_order").is_none_or(|add| add < cancel)
            })
        };
        for mark in PLACES {
            for at in (0..bytes.len().saturating_sub(mark.len())).filter(|&at| bytes[at..].starts_with(mark))
            {
                if is_cancel(at) {
                    continue;
                }
                let from = at + mark.len();
                let length = bytes[from..].iter().position(|&byte| byte == b'"').expect("an end");
                let id = bytes[from..from + length].to_vec();
                let order = self.desk.ledger().orders().map(|(order, _)| order).find(|order| {
                    order.wire_id.as_bytes() == id || order.wire_id.uuid().text()[..] == id[..]
                });
                let order = order.unwrap_or_else(|| panic!("seed {}: an order of nobody left", self.seed));
                let trading = self.desk.limits(order.consumer).is_some_and(|limits| limits.trading);
                // What was taken at the instant of the failure had its bytes already.
                let failed = self.failed_ns.is_some_and(|at_ns| at_ns < self.now_ns);
                let may_leave = trading && !self.killed && !failed;
                assert!(may_leave, "seed {}: a switch leaked {}", self.seed, order.wire_id);
                if self.options.durability == Durability::Sync {
                    assert!(
                        self.disk.has(order.wire_id.as_bytes()),
                        "seed {}: {} left before its intent was on the disk",
                        self.seed,
                        order.wire_id
                    );
                }
                self.tally.sent += 1;
                let times = self.sent.entry(id).or_default();
                *times += 1;
                assert_eq!(*times, 1, "seed {}: an order was sent twice", self.seed);
            }
        }
    }

    fn told(&mut self, event: &OrderEvent) {
        let seed = self.seed;
        match event {
            OrderEvent::Report(report) => {
                assert_eq!(
                    report.cum_qty.0 + report.remaining_qty.0,
                    report.qty.0,
                    "seed {seed}: {report:?}"
                );
                self.tally.recovered += u64::from(report.flags.has(ReportFlags::RECOVERED));
                if report.last_qty.0 == 0 {
                    return;
                }
                if report.flags.has(ReportFlags::COMBINED) {
                    self.combined.insert(report.wire_id);
                }
                let key = (report.wire_id, report.execution_id.as_str().to_owned());
                let sign = if report.side == OrderSide::Buy { 1 } else { -1 };
                if !report.execution_id.is_empty() {
                    assert!(self.told.insert(key.clone()), "seed {seed}: told twice: {report:?}");
                    if self.executions.insert(key, sign * report.last_qty.0).is_some() {
                        return; // told by a process whose journal died before it reached the disk
                    }
                }
                let told = self.quantities.entry(report.wire_id).or_default();
                // Such a process may have told a part of what is one execution now: the cumulative figure counts.
                let combined = report.flags.has(ReportFlags::COMBINED);
                let new = if combined { (report.cum_qty.0 - *told).max(0) } else { report.last_qty.0 };
                *told += new;
                *self.positions.entry(report.instrument).or_default() += sign * new;
            }
            OrderEvent::SessionGap { .. } => {
                assert!(!self.gap_open, "seed {seed}: two gaps in a row");
                self.gap_open = true;
                self.tally.gaps += 1;
            }
            OrderEvent::SessionRestored { .. } => {
                self.gap_open = false;
                self.tally.restored += 1;
            }
            OrderEvent::Unknown(_) | OrderEvent::CancelRejected(_) => {}
        }
    }

    // --- the end --------------------------------------------------------------------------------------------------

    /// Faults are over, everything open is cancelled, and what is known and was told is what the venue did.
    ///
    /// # Panics
    /// If it is not.
    pub fn finish(&mut self) {
        if self.keeper.failed {
            self.restart();
        }
        self.disk.clear();
        self.site.fault(&Fault::Clear, self.now_ns);
        self.site.set_rate(0.0, self.now_ns);
        self.settle();
        self.pass_ms(40_000); // what is unknown is settled, lists are compared
        self.desk.cancel_all(None, self.now());
        self.run_for("the end of all orders", 120, |trade| trade.desk.ledger().open_orders() == 0);
        self.pass_ms(25_000);
        self.tally.adopted = self.desk.counts.adopted_total;
        assert!(!self.gap_open, "seed {}: a gap that never ended", self.seed);
        self.compare();
    }

    fn compare(&self) {
        let seed = self.seed;
        let truth = self.site.trading();
        let mut known = BTreeSet::new();
        for (order, doubt) in self.desk.ledger().orders() {
            let id = order.wire_id;
            assert!(!doubt, "seed {seed}: {id} is still in doubt");
            let names = [id.as_str().to_owned(), String::from_utf8_lossy(&id.uuid().text()).into_owned()];
            let Some(real) = truth.orders.iter().find(|real| names.contains(&real.client_id)) else {
                assert_eq!(order.life.state, Some(ReportState::Rejected), "seed {seed}: {id} never arrived");
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
            assert_eq!(order.life.state, Some(state), "seed {seed}: {id}");
            assert_eq!(order.life.cum_qty.0, self.lots(real.instrument, real.filled), "seed {seed}: {id}");
            assert_eq!(order.life.executed_qty, order.life.cum_qty, "seed {seed}: {id}: executions missing");
            assert!(order.consumer != ADOPTED || self.tally.restarts > 0, "seed {seed}: {id}");
            let told = self.executions.keys().filter(|(wire_id, _)| *wire_id == id).count();
            let fills = truth.fills.iter().filter(|fill| fill.order == real.id).count();
            if !self.combined.contains(&id) {
                assert_eq!(told, fills, "seed {seed}: {id}: executions told");
            }
        }
        for real in &truth.orders {
            let open = matches!(real.status, Status::New | Status::PartiallyFilled);
            assert!(!open, "seed {seed}: still open at the venue: {real:?}");
            // A journal in batches may lose an order that ended before anybody asked for it.
            let lossless = self.options.durability == Durability::Sync || self.tally.restarts == 0;
            assert!(
                known.contains(&real.id) || !lossless,
                "seed {seed}: an order that nobody knows: {real:?}"
            );
        }
        let mut positions: BTreeMap<InstrumentId, i64> = BTreeMap::new();
        for real in truth.orders.iter().filter(|real| known.contains(&real.id)) {
            let instrument = InstrumentId(real.instrument as u16);
            let names = |order: &engine::orders::Order| {
                order.wire_id.as_str() == real.client_id
                    || order.wire_id.uuid().text()[..] == *real.client_id.as_bytes()
            };
            let side =
                self.desk.ledger().orders().find(|(order, _)| names(order)).map(|(order, _)| order.side);
            let sign = if side == Some(OrderSide::Buy) { 1 } else { -1 };
            *positions.entry(instrument).or_default() += sign * self.lots(real.instrument, real.filled);
        }
        positions.retain(|_, qty| *qty != 0);
        let mut told = self.positions.clone();
        told.retain(|_, qty| *qty != 0);
        if self.options.durability == Durability::Sync || self.tally.restarts == 0 {
            assert_eq!(told, positions, "seed {seed}: positions told and the venue's");
        }
    }

    fn lots(&self, instrument: usize, lots: i64) -> i64 {
        let spec = &self.specs[instrument];
        lots * spec.lot * 10_i64.pow(u32::from(DECIMALS.qty) - spec.qty_decimals as u32)
    }
}

fn make<G: OrderGateway>(site: &Site, gateway: fn(&Site) -> G, epoch: u64, options: &DeskOptions) -> Desk<G> {
    let ids = WireIds::new(epoch, 1).expect("fits");
    let mut desk = Desk::new(ProviderId(0), 1, ids, gateway(site), options.clone());
    for consumer in 0..CONSUMERS {
        desk.set_limits(ConsumerId(consumer), Limits { book: BookPolicy::Ignore, ..Limits::OPEN });
    }
    desk
}

fn stamp(now_ns: u64, nonce: &mut u64, rng: &mut Rng) -> Stamp {
    // Requests of one instant have different nonces, in their order.
    *nonce = now_ns.max(*nonce + 1);
    Stamp { unix_ms: now_ns / MS_NS, nonce: *nonce, random: rng.u128(..) }
}

/// The texts of a client's frames, one after the other; a handshake as it is.
fn unmasked(bytes: &[u8]) -> Vec<u8> {
    if bytes.starts_with(b"GET ") {
        return Vec::new();
    }
    let (mut out, mut rest) = (Vec::new(), bytes);
    while let &[_, second, ..] = rest {
        let extended = |bytes: &[u8]| bytes.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        let (head, length) = match second & 0x7f {
            126 => (4, extended(&rest[2..4])),
            127 => (10, extended(&rest[2..10])),
            short => (2, usize::from(short)),
        };
        let (mask, payload) = rest[head..head + 4 + length].split_at(4);
        out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        rest = &rest[head + 4 + length..];
    }
    out
}

/// (status, Retry-After, body) once all of it is there.
fn whole_answer(bytes: &[u8]) -> Option<(u16, Option<u64>, Vec<u8>)> {
    let end = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let status = head.get(9..12)?.parse().ok()?;
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok();
    let length: u64 = header("Content-Length:")?;
    Some((status, header("Retry-After:"), bytes.get(end..end + length as usize)?.to_vec()))
}
