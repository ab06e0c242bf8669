//! User code that receives events, and the host that calls it on a consumer shard.
//!
//! A consumer borrows each event for the length of its handler and can neither keep nor return the borrow. It runs to
//! completion on its shard, one at a time; consumers whose fates must not be shared belong on different shards. A
//! panic in a handler is caught, counted and named; the others of the shard go on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::book::Replica;
use crate::channel::Channel;
use crate::control::{Ask, Requests, RequestsFull, Wanted};
use crate::dead_letter::{DeadLetter, DeadLetters, DeadReason, Priority};
use crate::event::{Body, Event, Flags, Header, Level, Parts, SCHEMA_VERSION};
use crate::ids::{ConsumerId, InstrumentId, ProviderId, StreamId, TraceId};
use crate::orders::id::ClientOrderId;
use crate::orders::outbox::{Outbox, OutboxFull};
use crate::orders::report::OrderEvent;
use crate::orders::request::{Command, DecisionId, OrderRequest};
use crate::probe::{PathStage, Probe};
use crate::time::ReceiveTime;

/// A strategy, a recorder, a publisher.
///
/// What it may rely on:
/// - events of one stream come in sequence, or after a Gap that names what is missing; there is no order between streams;
/// - parts of one event come one after another, the first and the last marked;
/// - a book read through [`Context::book`] contains the event that is being handled;
/// - handlers of one consumer never run at the same time.
pub trait Consumer {
    /// An event of a stream that it subscribed to.
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>);

    /// News of an order of this consumer, or of a session that its orders need: [`OrderEvent`]. None is ever dropped, and
    /// those of one order come in their order.
    fn on_order_event(&mut self, event: &OrderEvent, context: &mut Context<'_>) {
        let _ = (event, context);
    }

    /// All events that were there have been handled; more may come. The place for work that one does once a batch.
    fn on_batch_end(&mut self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// How often [`on_timer`](Self::on_timer) is called, in nanoseconds; `None` for never. Asked once, at start.
    fn timer_every_ns(&self) -> Option<u64> {
        None
    }

    /// The time has passed. Late by at most the longest turn of the shard.
    fn on_timer(&mut self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// The last call: no event follows.
    fn on_stop(&mut self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// Whether, after a change of routes that it asked for or that concerns it, market data sent under an older version is
    /// not worth its time. Asked at each such change. What says that something is missing, and critical events, come in any
    /// case; books read through [`Context::book`] follow everything.
    fn skips_stale(&self) -> bool {
        false
    }

    /// Facts for the final report, as (name, value) pairs.
    fn summary(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// What a stream is, for people and for strategies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFacts {
    /// Canonical symbol, for example `BTC-USDT`.
    pub symbol: String,
    /// The venue's spelling.
    pub venue_symbol: String,
    /// The instrument's number.
    pub instrument: InstrumentId,
    /// The kind of feed.
    pub channel: Channel,
}

/// What a provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderFacts {
    /// Its name in the topology.
    pub name: String,
    /// Its venue, for example `binance`.
    pub venue: String,
    /// Its streams, by number.
    pub streams: Vec<StreamFacts>,
}

/// Names behind the numbers in events. Shared by all shards and never changed: a routing change that needs new names
/// brings a new one, in which the old numbers mean the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// All providers, by number.
    pub providers: Vec<ProviderFacts>,
    /// All canonical symbols, by instrument number.
    pub symbols: Vec<String>,
}

impl Catalog {
    /// The facts of a stream.
    pub fn stream(&self, provider: ProviderId, stream: StreamId) -> Option<&StreamFacts> {
        self.providers.get(provider.index())?.streams.get(stream.index())
    }

    /// The canonical symbol of an instrument, `?` if there is no such number.
    pub fn symbol(&self, instrument: InstrumentId) -> &str {
        self.symbols.get(instrument.index()).map_or("?", String::as_str)
    }

    /// The name of a provider, `?` if there is no such number.
    pub fn provider(&self, provider: ProviderId) -> &str {
        self.providers.get(provider.index()).map_or("?", |facts| facts.name.as_str())
    }

    /// The stream of `channel` for a symbol of a provider.
    pub fn find(&self, provider: ProviderId, symbol: &str, channel: Channel) -> Option<StreamId> {
        let streams = &self.providers.get(provider.index())?.streams;
        let at = streams.iter().position(|facts| facts.symbol == symbol && facts.channel == channel)?;
        Some(StreamId(at as u32))
    }
}

/// The books of a consumer shard, one for each book stream that one of its consumers wants.
#[derive(Debug, Default)]
pub struct Replicas {
    /// By provider, then by stream.
    books: Vec<Vec<Option<Box<Replica>>>>,
}

impl Replicas {
    /// The copy of a stream's book.
    #[inline]
    pub fn get(&self, provider: ProviderId, stream: StreamId) -> Option<&Replica> {
        self.books.get(provider.index())?.get(stream.index())?.as_deref()
    }

    #[inline]
    fn get_mut(&mut self, provider: ProviderId, stream: StreamId) -> Option<&mut Replica> {
        self.books.get_mut(provider.index())?.get_mut(stream.index())?.as_deref_mut()
    }

    fn add(&mut self, provider: ProviderId, stream: StreamId, depth_max: usize, reserve: usize) {
        let at = slot(slot_of_provider(&mut self.books, provider), stream.index());
        at.get_or_insert_with(|| Box::new(Replica::new(depth_max, reserve))).deepen(depth_max);
    }

    fn remove(&mut self, provider: ProviderId, stream: StreamId) {
        if let Some(at) = self.books.get_mut(provider.index()).and_then(|books| books.get_mut(stream.index()))
        {
            *at = None;
        }
    }

    /// All books, with their provider and stream.
    pub fn iter(&self) -> impl Iterator<Item = (ProviderId, StreamId, &Replica)> + '_ {
        self.books.iter().enumerate().flat_map(|(provider, streams)| {
            streams.iter().enumerate().filter_map(move |(stream, book)| {
                Some((ProviderId(provider as u8), StreamId(stream as u32), book.as_deref()?))
            })
        })
    }
}

fn slot<T: Default>(list: &mut Vec<T>, index: usize) -> &mut T {
    if list.len() <= index {
        list.resize_with(index + 1, T::default);
    }
    &mut list[index]
}

fn slot_of_provider<T>(list: &mut Vec<Vec<T>>, provider: ProviderId) -> &mut Vec<T> {
    slot(list, provider.index())
}

/// What a handler may use beside the event.
#[derive(Debug)]
pub struct Context<'a> {
    now: ReceiveTime,
    catalog: &'a Catalog,
    replicas: &'a Replicas,
    consumer: ConsumerId,
    /// The frame that is being handled.
    trace: TraceId,
    requests: &'a mut Requests,
    outbox: &'a mut Outbox,
}

impl Context<'_> {
    /// When this batch began, by the clock of receive times.
    pub const fn now(&self) -> ReceiveTime {
        self.now
    }

    /// Names behind the numbers.
    pub const fn catalog(&self) -> &Catalog {
        self.catalog
    }

    /// The number of the consumer that is called.
    pub const fn consumer(&self) -> ConsumerId {
        self.consumer
    }

    /// The book of a stream that some consumer of this shard subscribed to. Look at its
    /// [`status`](Replica::status) before you trust it.
    pub fn book(&self, provider: ProviderId, stream: StreamId) -> Option<&Replica> {
        self.replicas.get(provider, stream)
    }

    /// Asks to receive a stream from now on. Returns the request's number, which `ControlAck` and `ControlResult` carry;
    /// the first event comes some milliseconds later, and a book begins with a snapshot.
    ///
    /// # Errors
    /// [`RequestsFull`]
    pub fn subscribe(&mut self, wanted: Wanted) -> Result<u64, RequestsFull> {
        self.requests.ask(self.consumer, Ask::Subscribe(wanted))
    }

    /// Asks to receive a stream no longer. Events that are on their way still come.
    ///
    /// # Errors
    /// [`RequestsFull`]
    pub fn unsubscribe(&mut self, wanted: Wanted) -> Result<u64, RequestsFull> {
        self.requests.ask(self.consumer, Ask::Unsubscribe(wanted))
    }

    /// Moves the own trading switch.
    ///
    /// # Errors
    /// [`RequestsFull`]
    pub fn set_trading(&mut self, on: bool) -> Result<u64, RequestsFull> {
        self.requests.ask(self.consumer, Ask::Trading(on))
    }

    /// Sends a new order: one of [`OrderRequest::limit`] or [`OrderRequest::market`] with provider and instrument set, and
    /// whatever else differs. Whatever becomes of it comes back as events that carry its `decision`; what does not leave,
    /// as a REJECTED report of local origin whose reason names the rule.
    ///
    /// # Errors
    /// [`OutboxFull`]: it was not taken, and nothing will be told of it.
    pub fn place(&mut self, request: OrderRequest) -> Result<(), OutboxFull> {
        self.send(OrderRequest { command: Command::Place, ..request })
    }

    /// Asks for the end of an order of this consumer.
    ///
    /// # Errors
    /// [`OutboxFull`]
    pub fn cancel(
        &mut self,
        provider: ProviderId,
        id: ClientOrderId,
        decision: DecisionId,
    ) -> Result<(), OutboxFull> {
        let named = OrderRequest { provider, client_order_id: id, decision, ..OrderRequest::default() };
        self.send(OrderRequest { command: Command::Cancel, ..named })
    }

    /// Asks for the end of all open orders of this consumer at a provider.
    ///
    /// # Errors
    /// [`OutboxFull`]
    pub fn cancel_all(&mut self, provider: ProviderId, decision: DecisionId) -> Result<(), OutboxFull> {
        self.send(OrderRequest { command: Command::CancelAll, provider, decision, ..OrderRequest::default() })
    }

    /// Has the venue asked where an order of this consumer stands; news of it come as reports.
    ///
    /// # Errors
    /// [`OutboxFull`]
    pub fn query(
        &mut self,
        provider: ProviderId,
        id: ClientOrderId,
        decision: DecisionId,
    ) -> Result<(), OutboxFull> {
        let named = OrderRequest { provider, client_order_id: id, decision, ..OrderRequest::default() };
        self.send(OrderRequest { command: Command::Query, ..named })
    }

    #[inline]
    fn send(&mut self, mut request: OrderRequest) -> Result<(), OutboxFull> {
        request.consumer = self.consumer;
        request.submitted_at = self.now;
        if request.trace == TraceId::default() {
            request.trace = self.trace;
        }
        self.outbox.submit(&request, self.now)
    }
}

/// What happens after a handler panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPanic {
    /// A new consumer is made and goes on, after a pause that doubles each time.
    Restart,
    /// It gets nothing more.
    Disable,
}

/// Makes a consumer: at start, and again after a panic.
pub type MakeConsumer = Box<dyn Fn() -> Box<dyn Consumer>>;

/// First pause before a consumer that panicked is made anew, in nanoseconds.
const RESTART_PAUSE_NS: u64 = 10_000_000;
/// Longest such pause, in nanoseconds.
const RESTART_PAUSE_NS_MAX: u64 = 10_000_000_000;

crate::counters! {
    /// What one consumer did.
    pub struct SeatCounts {
        /// Event parts handled.
        events_total,
        /// Handlers that panicked.
        panics_total,
        /// Times it was made anew after a panic.
        restarts_total,
        /// Event parts that came while it was down.
        missed_total,
        /// Event parts of an older routing version that it asked not to see.
        stale_skipped_total,
        /// Time spent in its handlers, in nanoseconds.
        busy_ns_total,
        /// Its longest handler, in nanoseconds.
        busy_ns_max,
        /// News of orders handled.
        order_events_total,
    }
}

/// One consumer on its shard.
struct Seat {
    name: String,
    id: ConsumerId,
    make: MakeConsumer,
    consumer: Option<Box<dyn Consumer>>,
    on_panic: OnPanic,
    timer_every_ns: Option<u64>,
    timer_at: ReceiveTime,
    restart_at: Option<ReceiveTime>,
    pause_ns: u64,
    /// By provider: market data sent under an older version is not shown. Empty for a seat that sees all.
    version_min: Vec<u32>,
    counts: SeatCounts,
}

/// The consumers of one shard, and who of them wants which stream.
pub struct Host {
    catalog: Arc<Catalog>,
    seats: Vec<Seat>,
    /// By provider, then by stream: the seats.
    wanted: Vec<Vec<Vec<u16>>>,
    replicas: Replicas,
    requests: Requests,
    outbox: Outbox,
    /// What made a handler panic.
    pub letters: DeadLetters,
    delivered_total: u64,
}

impl Host {
    /// A host without consumers.
    pub fn new(catalog: Arc<Catalog>, letters_max: usize) -> Self {
        Self {
            catalog,
            seats: Vec::new(),
            wanted: Vec::new(),
            replicas: Replicas::default(),
            requests: Requests::default(),
            outbox: Outbox::default(),
            letters: DeadLetters::new(letters_max),
            delivered_total: 0,
        }
    }

    /// Adds a consumer and returns its seat.
    pub fn add(&mut self, name: &str, id: ConsumerId, on_panic: OnPanic, make: MakeConsumer) -> usize {
        let consumer = make();
        self.seats.push(Seat {
            name: name.to_owned(),
            id,
            timer_every_ns: consumer.timer_every_ns(),
            consumer: Some(consumer),
            make,
            on_panic,
            timer_at: ReceiveTime::default(),
            restart_at: None,
            pause_ns: RESTART_PAUSE_NS,
            version_min: Vec::new(),
            counts: SeatCounts::default(),
        });
        self.seats.len() - 1
    }

    /// Subscribes a seat to a stream. `book_depth_max` is given for book streams: their copy holds that many levels.
    pub fn subscribe(
        &mut self,
        seat: usize,
        provider: ProviderId,
        stream: StreamId,
        book_depth_max: Option<(usize, usize)>,
    ) {
        let seats = slot(slot_of_provider(&mut self.wanted, provider), stream.index());
        if !seats.contains(&(seat as u16)) {
            seats.push(seat as u16);
        }
        if let Some((depth_max, reserve)) = book_depth_max {
            self.replicas.add(provider, stream, depth_max, reserve);
        }
    }

    /// Ends a seat's subscription. The copy of a book goes with its last reader.
    pub fn unsubscribe(&mut self, seat: usize, provider: ProviderId, stream: StreamId) {
        let seats = slot(slot_of_provider(&mut self.wanted, provider), stream.index());
        seats.retain(|&found| usize::from(found) != seat);
        if seats.is_empty() {
            self.replicas.remove(provider, stream);
        }
    }

    /// Whether a seat has subscribed to a stream.
    pub fn is_subscribed(&self, seat: usize, provider: ProviderId, stream: StreamId) -> bool {
        let seats = self.wanted.get(provider.index()).and_then(|streams| streams.get(stream.index()));
        seats.is_some_and(|seats| seats.iter().any(|&found| usize::from(found) == seat))
    }

    /// The seat of a consumer.
    pub fn seat_of(&self, consumer: ConsumerId) -> Option<usize> {
        self.seats.iter().position(|seat| seat.id == consumer)
    }

    /// New names; the old numbers mean the same in them.
    pub fn set_catalog(&mut self, catalog: Arc<Catalog>) {
        self.catalog = catalog;
    }

    /// Routes of a provider change for a seat: if it says so, it sees no market data of older versions from now on.
    pub fn begin_version(&mut self, seat: usize, provider: ProviderId, version: u32) {
        let seat = &mut self.seats[seat];
        let skips = |consumer: &dyn Consumer| {
            catch_unwind(AssertUnwindSafe(|| consumer.skips_stale())).unwrap_or(false)
        };
        if seat.consumer.as_deref().is_some_and(skips) {
            *slot(&mut seat.version_min, provider.index()) = version;
        }
    }

    /// Shows a seat the book of a stream as this shard has it: a snapshot to begin with, for a seat that comes late to a
    /// stream of its shard. Shows nothing where there is no whole book yet: its snapshot comes in the stream then.
    pub fn welcome(&mut self, seat: usize, provider: ProviderId, stream: StreamId, probe: &mut impl Probe) {
        let Some(replica) = self.replicas.get(provider, stream) else { return };
        if !replica.follows() || !replica.is_whole() {
            return;
        }
        let instrument = self
            .catalog
            .stream(provider, stream)
            .map_or_else(InstrumentId::default, |facts| facts.instrument);
        let header = Header {
            sequence_first: replica.sequence(),
            sequence_last: replica.sequence(),
            receive_time: probe.now(),
            stream,
            instrument,
            decimals: replica.book().decimals(),
            provider,
            schema: SCHEMA_VERSION,
            ..Header::default()
        };
        let (mut bids, mut asks): (Vec<Level>, Vec<Level>) = (Vec::new(), Vec::new());
        replica.book().copy_best(usize::MAX, &mut bids, &mut asks);
        for (number, (flags, part)) in Parts::new(&bids, &asks, replica.status(), replica.proof()).enumerate()
        {
            let header = Header { flags: flags.with(Flags::CONFLATED), part: number as u16, ..header };
            self.show(seat, &Event { header, body: Body::BookSnapshot(part) }, probe);
        }
    }

    /// Shows an event to one consumer alone: critical ones, and what only a newcomer needs.
    pub fn show(&mut self, seat: usize, event: &Event, probe: &mut impl Probe) {
        let began = probe.now();
        self.handle(seat, event, began, probe);
    }

    /// What the consumers have asked for, oldest first.
    pub const fn requests_mut(&mut self) -> &mut Requests {
        &mut self.requests
    }

    /// Shows one event to every consumer of this shard that wants its stream.
    #[inline]
    pub fn deliver(&mut self, event: &Event, probe: &mut impl Probe) {
        let mut began = probe.now();
        probe.stage(PathStage::Delivered, began.since_ns(event.header.receive_time));
        self.delivered_total += 1;
        let (provider, stream) = (event.header.provider, event.header.stream);
        if let Some(replica) = self.replicas.get_mut(provider, stream) {
            replica.apply(event);
        }
        let wanted = |host: &Self| {
            let streams = host.wanted.get(provider.index())?;
            streams.get(stream.index()).map(Vec::len)
        };
        for index in 0..wanted(self).unwrap_or(0) {
            let number = usize::from(self.wanted[provider.index()][stream.index()][index]);
            let seat = &mut self.seats[number];
            if !seat.version_min.is_empty() && seat.is_stale(event) {
                seat.counts.stale_skipped_total += 1;
                continue;
            }
            began = self.handle(number, event, began, probe);
        }
    }

    /// Calls one consumer's handler, which begins at `began`, and returns when it ended.
    #[inline]
    fn handle(
        &mut self,
        number: usize,
        event: &Event,
        began: ReceiveTime,
        probe: &mut impl Probe,
    ) -> ReceiveTime {
        let seat = &mut self.seats[number];
        let Some(consumer) = &mut seat.consumer else {
            seat.counts.missed_total += 1;
            return began;
        };
        let mut context = Context {
            now: began,
            catalog: &self.catalog,
            replicas: &self.replicas,
            consumer: seat.id,
            trace: event.header.trace,
            requests: &mut self.requests,
            outbox: &mut self.outbox,
        };
        let call = AssertUnwindSafe(|| consumer.on_event(event, &mut context));
        let outcome = catch_unwind(call);
        let ended = probe.now();
        let busy_ns = ended.since_ns(began);
        probe.handler(number, busy_ns);
        seat.counts.events_total += 1;
        seat.counts.busy_ns_total += busy_ns;
        seat.counts.busy_ns_max = seat.counts.busy_ns_max.max(busy_ns);
        if outcome.is_err() {
            let mut letter =
                DeadLetter::new(DeadReason::HandlerPanicked, Priority::High, ended, event.header.trace);
            letter.provider = Some(event.header.provider);
            letter.stream = Some(event.header.stream);
            letter.consumer = Some(seat.id);
            self.letters.write(letter);
            seat.fell(ended);
        }
        ended
    }

    /// Shows news of orders to the consumer that it concerns; news of a session, to all. What its handler does with it is
    /// over when this returns.
    pub fn deliver_order(&mut self, event: &OrderEvent, probe: &mut impl Probe) {
        let concerned = event.consumer();
        let began = probe.now();
        probe.stage(PathStage::Reported, began.since_ns(event.receive_time()));
        let Self { seats, catalog, replicas, requests, outbox, letters, .. } = self;
        let shared = &mut Shared { catalog, replicas, requests, outbox };
        for (number, seat) in seats.iter_mut().enumerate() {
            if concerned.is_some_and(|consumer| consumer != seat.id) {
                continue;
            }
            if seat.consumer.is_none() {
                seat.counts.missed_total += 1;
                continue;
            }
            let panics_before = seat.counts.panics_total;
            seat.counts.order_events_total += 1;
            seat.call(began, shared, |consumer, context| consumer.on_order_event(event, context));
            let ended = probe.now();
            probe.handler(number, ended.since_ns(began));
            if seat.counts.panics_total > panics_before {
                let trace = event.trace();
                let mut letter = DeadLetter::new(DeadReason::HandlerPanicked, Priority::High, ended, trace);
                letter.provider = Some(event.provider());
                letter.consumer = Some(seat.id);
                letters.write(letter);
            }
        }
    }

    /// Tells consumers what was refused on this shard since the last call; what their handlers do about it and is refused
    /// as well is told by the next one.
    pub fn deliver_refusals(&mut self, probe: &mut impl Probe) -> usize {
        let waiting = self.outbox.refusals();
        for _ in 0..waiting {
            let Some(event) = self.outbox.poll_refusal() else { break };
            self.deliver_order(&event, probe);
        }
        waiting
    }

    /// Where the requests of these consumers go.
    pub fn set_outbox(&mut self, outbox: Outbox) {
        self.outbox = outbox;
    }

    /// The order rings.
    pub const fn outbox_mut(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// The order rings.
    pub const fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Tells every consumer that the batch is over, runs timers that are due, and brings back those that panicked.
    pub fn batch_end(&mut self, events: usize, now: ReceiveTime) {
        let Self { seats, catalog, replicas, requests, outbox, .. } = self;
        let shared = &mut Shared { catalog, replicas, requests, outbox };
        for seat in seats {
            if let Some(at) = seat.restart_at
                && now >= at
            {
                seat.restart(now);
            }
            if events > 0 {
                seat.call(now, shared, |consumer, context| {
                    consumer.on_batch_end(context);
                });
            }
            if let Some(every_ns) = seat.timer_every_ns
                && now >= seat.timer_at
            {
                let first = seat.timer_at == ReceiveTime::default();
                seat.timer_at = now.plus_ns(every_ns);
                if !first {
                    seat.call(now, shared, |consumer, context| {
                        consumer.on_timer(context);
                    });
                }
            }
        }
    }

    /// The last call of every consumer.
    pub fn stop(&mut self, now: ReceiveTime) {
        let Self { seats, catalog, replicas, requests, outbox, .. } = self;
        let shared = &mut Shared { catalog, replicas, requests, outbox };
        for seat in seats {
            seat.call(now, shared, |consumer, context| consumer.on_stop(context));
        }
    }

    /// When a timer or a restart is due.
    pub fn deadline(&self) -> Option<ReceiveTime> {
        let timers = self.seats.iter().filter(|seat| seat.timer_every_ns.is_some()).map(|seat| seat.timer_at);
        timers.chain(self.seats.iter().filter_map(|seat| seat.restart_at)).min()
    }

    /// Names and counts of the consumers, by seat, and whether each is up.
    pub fn seats(&self) -> impl Iterator<Item = (&str, &SeatCounts, bool)> + '_ {
        self.seats.iter().map(|seat| (seat.name.as_str(), &seat.counts, seat.consumer.is_some()))
    }

    /// What the consumers have to say for the final report, by seat.
    pub fn summaries(&self) -> Vec<(String, Vec<(String, String)>)> {
        let facts =
            |seat: &Seat| seat.consumer.as_ref().map(|consumer| consumer.summary()).unwrap_or_default();
        self.seats.iter().map(|seat| (seat.name.clone(), facts(seat))).collect()
    }

    /// The books of this shard.
    pub const fn replicas(&self) -> &Replicas {
        &self.replicas
    }

    /// Event parts shown so far.
    pub const fn delivered_total(&self) -> u64 {
        self.delivered_total
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("seats", &self.seats.len()).finish_non_exhaustive()
    }
}

/// What all seats of a shard use.
struct Shared<'a> {
    catalog: &'a Catalog,
    replicas: &'a Replicas,
    requests: &'a mut Requests,
    outbox: &'a mut Outbox,
}

impl Seat {
    /// Whether an event was sent under an older version than this consumer wants to see.
    #[cold]
    fn is_stale(&self, event: &Event) -> bool {
        let version_min = self.version_min.get(event.header.provider.index()).copied().unwrap_or(0);
        event.header.routing_version < version_min && event.kind().is_market_data()
    }

    /// Makes the consumer anew. If that panics it is as if its first handler had.
    #[cold]
    fn restart(&mut self, now: ReceiveTime) {
        self.restart_at = None;
        let make = &self.make;
        match catch_unwind(AssertUnwindSafe(make)) {
            Ok(consumer) => {
                self.counts.restarts_total += 1;
                self.consumer = Some(consumer);
            }
            Err(_) => self.fell(now),
        }
    }

    /// A handler panicked: its state cannot be trusted.
    #[cold]
    fn fell(&mut self, now: ReceiveTime) {
        self.counts.panics_total += 1;
        // Dropping it may panic as well.
        let broken = self.consumer.take();
        let _ = catch_unwind(AssertUnwindSafe(move || drop(broken)));
        if self.on_panic == OnPanic::Restart {
            self.restart_at = Some(now.plus_ns(self.pause_ns));
            self.pause_ns = (self.pause_ns * 2).min(RESTART_PAUSE_NS_MAX);
        }
    }

    fn call(
        &mut self,
        now: ReceiveTime,
        shared: &mut Shared<'_>,
        handler: impl FnOnce(&mut dyn Consumer, &mut Context<'_>),
    ) {
        let Some(consumer) = &mut self.consumer else { return };
        let mut context = Context {
            now,
            catalog: shared.catalog,
            replicas: shared.replicas,
            consumer: self.id,
            trace: TraceId::default(),
            requests: shared.requests,
            outbox: shared.outbox,
        };
        if catch_unwind(AssertUnwindSafe(|| handler(&mut **consumer, &mut context))).is_err() {
            self.fell(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Request;
    use crate::time::FixedClock;
    use std::cell::RefCell;
    use std::rc::Rc;

    type Seen = Rc<RefCell<Vec<(u16, u64)>>>;

    /// Notes what it gets and panics on one sequence.
    struct Noter {
        seen: Seen,
        id: u16,
        panics_on: u64,
    }

    impl Consumer for Noter {
        fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
            assert_eq!(context.consumer(), ConsumerId(self.id));
            assert!(event.header.sequence_last != self.panics_on, "this is the panic that the test asks for");
            self.seen.borrow_mut().push((self.id, event.header.sequence_last));
        }
    }

    fn host(on_panic: OnPanic) -> (Host, Seen) {
        let seen = Seen::default();
        let mut host = Host::new(Arc::new(Catalog::default()), 8);
        for (id, panics_on) in [(0, 2), (1, 0)] {
            let seen = Rc::clone(&seen);
            let make: MakeConsumer =
                Box::new(move || Box::new(Noter { seen: Rc::clone(&seen), id, panics_on }));
            let seat = host.add(&format!("noter{id}"), ConsumerId(id), on_panic, make);
            host.subscribe(seat, ProviderId(0), StreamId(3), None);
        }
        (host, seen)
    }

    fn deliver(host: &mut Host, sequence: u64, at_ns: u64) {
        let mut event = Event::default();
        event.header.stream = StreamId(3);
        event.header.sequence_last = sequence;
        let mut clock = FixedClock(ReceiveTime::from_ns(at_ns));
        host.deliver(&event, &mut clock);
        host.batch_end(1, ReceiveTime::from_ns(at_ns));
    }

    #[test]
    fn a_panic_takes_down_one_consumer_and_nobody_else() {
        let (mut host, seen) = host(OnPanic::Disable);
        for sequence in 1..=3 {
            deliver(&mut host, sequence, sequence);
        }
        assert_eq!(*seen.borrow(), [(0, 1), (1, 1), (1, 2), (1, 3)]);
        let states: Vec<_> =
            host.seats().map(|(_, counts, up)| (counts.panics_total, counts.missed_total, up)).collect();
        assert_eq!(states, [(1, 1, false), (0, 0, true)]);
        assert_eq!(host.letters.iter().next().map(|letter| letter.consumer), Some(Some(ConsumerId(0))));
    }

    #[test]
    fn a_consumer_that_panicked_comes_back_after_its_pause() {
        let (mut host, seen) = host(OnPanic::Restart);
        deliver(&mut host, 2, 1);
        deliver(&mut host, 3, 2);
        host.batch_end(0, ReceiveTime::from_ns(1 + RESTART_PAUSE_NS));
        deliver(&mut host, 4, RESTART_PAUSE_NS + 2);
        assert_eq!(*seen.borrow(), [(1, 2), (1, 3), (0, 4), (1, 4)]);
    }

    #[test]
    fn a_consumer_that_panics_while_it_is_made_anew_takes_down_nobody() {
        let (mut host, seen) = host(OnPanic::Restart);
        let made = Rc::new(RefCell::new(0));
        let counted = Rc::clone(&made);
        let make: MakeConsumer = Box::new(move || {
            *counted.borrow_mut() += 1;
            assert!(*counted.borrow() != 2, "this is the panic that the test asks for");
            Box::new(Noter { seen: Seen::default(), id: 2, panics_on: 1 })
        });
        let seat = host.add("fragile", ConsumerId(2), OnPanic::Restart, make);
        host.subscribe(seat, ProviderId(0), StreamId(3), None);
        deliver(&mut host, 1, 1);
        deliver(&mut host, 3, 1 + RESTART_PAUSE_NS);
        let up = |host: &Host| host.seats().nth(2).map(|(_, counts, up)| (counts.panics_total, up));
        assert_eq!(up(&host), Some((2, false)));
        host.batch_end(0, ReceiveTime::from_ns(1 + 3 * RESTART_PAUSE_NS));
        assert_eq!((up(&host), *made.borrow()), (Some((2, true)), 3));
        assert_eq!(*seen.borrow(), [(0, 1), (1, 1), (0, 3), (1, 3)]);
    }

    /// Asks for things and notes the kinds that it is shown.
    struct Asker(Shown);

    /// Kinds and routing versions.
    type Shown = Rc<RefCell<Vec<(&'static str, u32)>>>;

    impl Consumer for Asker {
        fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
            self.0.borrow_mut().push((event.kind().name(), event.header.routing_version));
            let wanted = Wanted::new(ProviderId(0), "ETH-USDT", Channel::Trade).expect("a short symbol");
            let _ = context.subscribe(wanted);
            let _ = context.set_trading(false);
        }

        fn skips_stale(&self) -> bool {
            true
        }
    }

    fn asker() -> (Host, Shown) {
        let seen = Rc::default();
        let mut host = Host::new(Arc::new(Catalog::default()), 8);
        let shared = Rc::clone(&seen);
        let make: MakeConsumer = Box::new(move || Box::new(Asker(Rc::clone(&shared))));
        host.add("asker", ConsumerId(7), OnPanic::Disable, make);
        host.subscribe(0, ProviderId(0), StreamId(3), Some((5, 5)));
        (host, seen)
    }

    #[test]
    fn a_request_waits_until_the_shard_takes_it() {
        let (mut host, _) = asker();
        deliver(&mut host, 1, 1);
        let asked: Vec<Request> = std::iter::from_fn(|| host.requests_mut().poll()).collect();
        assert_eq!(
            asked.iter().map(|request| (request.number, request.consumer)).collect::<Vec<_>>(),
            [(1, ConsumerId(7)), (2, ConsumerId(7))]
        );
        assert_eq!(asked[1].ask, Ask::Trading(false));
    }

    #[test]
    fn market_data_of_an_older_version_is_skipped_and_nothing_else() {
        use crate::control::{Command, ControlAck};
        let (mut host, seen) = asker();
        host.begin_version(0, ProviderId(0), 5);
        let trade = crate::event::Trade {
            price: crate::decimal::Price(1),
            qty: crate::decimal::Qty(1),
            id: 1,
            taker_side: crate::event::Side::Buy,
        };
        let gap = Event::default().body;
        let ack = Body::ControlAck(ControlAck { request: 1, command: Command::Subscribe });
        for (version, body) in [(4, Body::Trade(trade)), (4, gap), (4, ack), (5, Body::Trade(trade))] {
            let mut event = Event { body, ..Event::default() };
            (event.header.stream, event.header.routing_version) = (StreamId(3), version);
            host.deliver(&event, &mut FixedClock::default());
        }
        assert_eq!(*seen.borrow(), [("Gap", 4), ("ControlAck", 4), ("Trade", 5)]);
        assert_eq!(host.seats().next().map(|(_, counts, _)| counts.stale_skipped_total), Some(1));
    }

    #[test]
    fn a_newcomer_to_a_running_book_begins_with_a_snapshot_that_nobody_else_sees() {
        let (mut host, first) = asker();
        let second = Rc::default();
        let shared = Rc::clone(&second);
        let make: MakeConsumer = Box::new(move || Box::new(Asker(Rc::clone(&shared))));
        let seat = host.add("late", ConsumerId(8), OnPanic::Disable, make);
        let clock = &mut FixedClock::default();
        host.subscribe(seat, ProviderId(0), StreamId(3), Some((5, 5)));
        host.welcome(seat, ProviderId(0), StreamId(3), clock);
        assert!(second.borrow().is_empty(), "there is no book yet");
        host.unsubscribe(seat, ProviderId(0), StreamId(3));
        let level = Level { price: crate::decimal::Price(5), qty: crate::decimal::Qty(1) };
        let (flags, part) =
            Parts::new(&[level], &[], crate::event::BookStatus::Proved, crate::event::Proof::Continuity)
                .next()
                .expect("one part");
        let header = Header { stream: StreamId(3), flags, ..Header::default() };
        host.deliver(&Event { header, body: Body::BookSnapshot(part) }, clock);
        host.subscribe(seat, ProviderId(0), StreamId(3), Some((5, 5)));
        host.welcome(seat, ProviderId(0), StreamId(3), clock);
        assert_eq!(*second.borrow(), [("BookSnapshot", 0)]);
        assert_eq!(first.borrow().len(), 1);
    }

    #[test]
    fn a_stream_that_nobody_wants_is_shown_to_nobody() {
        let (mut host, seen) = host(OnPanic::Disable);
        let mut event = Event::default();
        event.header.stream = StreamId(9);
        host.deliver(&event, &mut FixedClock::default());
        host.unsubscribe(1, ProviderId(0), StreamId(3));
        deliver(&mut host, 1, 1);
        assert_eq!(*seen.borrow(), [(0, 1)]);
    }
}
