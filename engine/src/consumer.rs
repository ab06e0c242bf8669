//! User code that receives events, and the host that calls it on a consumer shard.
//!
//! A consumer borrows each event for the length of its handler and can neither keep nor return the borrow. It runs to
//! completion on its shard, one at a time; consumers whose fates must not be shared belong on different shards. A
//! panic in a handler is caught, counted and named; the others of the shard go on.

mod context;
mod fan_out;
mod latency;
mod replicas;
mod seat;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::catalog::Catalog;
use crate::control::Requests;
use crate::dead_letter::{DeadLetter, DeadLetters, DeadReason, Priority};
use crate::event::{Body, Event, Flags, Header, Level, Parts, SCHEMA_VERSION};
use crate::ids::{ConsumerId, InstrumentId, ProviderId, StreamId, TraceId};
use crate::orders::outbox::Outbox;
use crate::orders::report::OrderEvent;
use crate::probe::{PathStage, Probe};
use crate::time::ReceiveTime;

pub use context::Context;
pub use fan_out::FanOutSamples;
pub use latency::{LATENCY_BUCKETS, StreamLatency};
pub use replicas::Replicas;
pub use seat::SeatCounts;
use seat::{Seat, Shared};

/// A strategy, a recorder, a publisher.
///
/// What it may rely on:
/// - events of one stream come in sequence, or after a Gap that names what is missing; there is no order between streams;
/// - parts of one event come one after another, the first and the last marked;
/// - a book read through [`Context::book`] contains the event that is being handled;
/// - handlers of one consumer never run at the same time.
///
/// ```
/// use std::sync::Arc;
///
/// use engine::catalog::Catalog;
/// use engine::consumer::{Consumer, Context, Host, OnPanic};
/// use engine::decimal::{Decimals, Price, Qty, Sum};
/// use engine::event::{Body, Event, Header, Side, Trade};
/// use engine::ids::{ConsumerId, ProviderId, StreamId};
/// use engine::time::{FixedClock, ReceiveTime};
///
/// /// How much was traded, and how often nobody knows.
/// #[derive(Default)]
/// struct Volume {
///     traded: Sum,
///     gaps: u64,
/// }
///
/// impl Consumer for Volume {
///     fn on_event(&mut self, event: &Event, _: &mut Context<'_>) {
///         match &event.body {
///             // What is kept is copied: plain numbers. The decimals are those of this event.
///             Body::Trade(trade) => self.traded.add(trade.qty.0.into(), event.header.decimals.qty),
///             Body::Gap(_) => self.gaps += 1,
///             _ => {}
///         }
///     }
///
///     fn summary(&self) -> Vec<(String, String)> {
///         vec![("traded".into(), self.traded.to_string()), ("gaps".into(), self.gaps.to_string())]
///     }
/// }
///
/// // A shard does this, from its topology.
/// let mut host = Host::new(Arc::new(Catalog::default()), 8);
/// let make = Box::new(|| Box::new(Volume::default()) as Box<dyn Consumer>);
/// let seat = host.add("volume", ConsumerId(0), OnPanic::Restart, make);
/// host.subscribe(seat, ProviderId(0), StreamId(0), None);
///
/// let trade = Trade { price: Price(6_421_010), qty: Qty(25), id: 1, taker_side: Side::Buy };
/// let header = Header { decimals: Decimals { price: 2, qty: 2 }, ..Header::default() };
/// host.deliver(&Event { header, body: Body::Trade(trade) }, &mut FixedClock(ReceiveTime::from_ns(1)));
/// assert_eq!(host.summaries()[0].1[0], ("traded".to_owned(), "0.25".to_owned()));
/// ```
///
/// The borrow ends with the handler, so an event cannot be kept:
///
/// ```compile_fail
/// # use engine::{consumer::{Consumer, Context}, event::Event};
/// struct Hoarder<'a>(Vec<&'a Event>);
///
/// impl Consumer for Hoarder<'_> {
///     fn on_event(&mut self, event: &Event, _: &mut Context<'_>) {
///         self.0.push(event);
///     }
/// }
/// ```
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

fn slot<T: Default>(list: &mut Vec<T>, index: usize) -> &mut T {
    if list.len() <= index {
        list.resize_with(index + 1, T::default);
    }
    &mut list[index]
}

fn slot_of_provider<T>(list: &mut Vec<Vec<T>>, provider: ProviderId) -> &mut Vec<T> {
    slot(list, provider.index())
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

/// A turn ends when one consumer has used an equal share of this time, in nanoseconds.
const TURN_NS_MAX: u64 = 500_000;
/// But no share is shorter than this.
const SHARE_NS_MIN: u64 = 50_000;

/// Who of a shard wants a stream, and how late it was.
#[derive(Debug, Default)]
struct Interest {
    seats: Vec<u16>,
    latency: StreamLatency,
}

/// The consumers of one shard, and who of them wants which stream.
pub struct Host {
    catalog: Arc<Catalog>,
    seats: Vec<Seat>,
    /// By provider, then by stream.
    wanted: Vec<Vec<Interest>>,
    /// Time that one consumer may take of a turn, in nanoseconds.
    share_ns: u64,
    turn_is_over: bool,
    fan_out: FanOutSamples,
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
            share_ns: TURN_NS_MAX,
            turn_is_over: false,
            fan_out: FanOutSamples::default(),
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
            has_fallen: false,
            pause_ns: seat::RESTART_PAUSE_NS,
            version_min: Vec::new(),
            turn_ns: 0,
            counts: SeatCounts::default(),
        });
        self.share_ns = (TURN_NS_MAX / self.seats.len() as u64).max(SHARE_NS_MIN);
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
        self.subscribe_under(seat, provider, stream, book_depth_max, 0);
    }

    /// The same while it runs: the routes of `version` bring the stream.
    pub fn subscribe_under(
        &mut self,
        seat: usize,
        provider: ProviderId,
        stream: StreamId,
        book_depth_max: Option<(usize, usize)>,
        version: u32,
    ) {
        let seats = &mut slot(slot_of_provider(&mut self.wanted, provider), stream.index()).seats;
        if !seats.contains(&(seat as u16)) {
            seats.push(seat as u16);
        }
        if let Some(depth) = book_depth_max {
            self.replicas.add(provider, stream, depth, version);
        }
    }

    /// Ends a seat's subscription. The copy of a book goes with its last reader.
    pub fn unsubscribe(&mut self, seat: usize, provider: ProviderId, stream: StreamId) {
        let seats = &mut slot(slot_of_provider(&mut self.wanted, provider), stream.index()).seats;
        seats.retain(|&found| usize::from(found) != seat);
        if seats.is_empty() {
            self.replicas.remove(provider, stream);
        }
    }

    /// Whether a seat has subscribed to a stream.
    pub fn is_subscribed(&self, seat: usize, provider: ProviderId, stream: StreamId) -> bool {
        let seats = self.wanted.get(provider.index()).and_then(|streams| streams.get(stream.index()));
        seats.is_some_and(|interest| interest.seats.iter().any(|&found| usize::from(found) == seat))
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

    /// Shows a seat the book of a stream as this shard has it: a snapshot to begin with, under the routing version that brings the
    /// seat here, for a seat that comes late to a stream of its shard. Shows nothing where there is no whole book of `depth` levels a
    /// side yet: its snapshot comes in the stream then.
    pub fn welcome(
        &mut self,
        seat: usize,
        (provider, stream): (ProviderId, StreamId),
        depth: usize,
        routing_version: u32,
        probe: &mut impl Probe,
    ) {
        let Some(replica) = self.replicas.get(provider, stream) else { return };
        if !replica.follows() || !replica.is_whole() || replica.depth() < depth {
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
            routing_version,
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
        let (first, latency_ns) = (began, began.since_ns(event.header.receive_time));
        probe.stage(PathStage::Delivered, latency_ns);
        self.delivered_total += 1;
        let (provider, stream) = (event.header.provider, event.header.stream);
        if let Some(replica) = self.replicas.get_mut(provider, stream) {
            replica.apply(event);
        }
        let streams = self.wanted.get_mut(provider.index());
        let Some(interest) = streams.and_then(|streams| streams.get_mut(stream.index())) else { return };
        if event.header.flags.has(Flags::FIRST) {
            interest.latency.record(latency_ns);
        }
        let count = interest.seats.len();
        let mut last = began;
        for index in 0..count {
            let number = usize::from(self.wanted[provider.index()][stream.index()].seats[index]);
            let seat = &mut self.seats[number];
            if !seat.version_min.is_empty() && seat.is_stale(event) {
                seat.counts.stale_skipped_total += 1;
                continue;
            }
            last = began;
            began = self.handle(number, event, began, probe);
        }
        if count > 1 {
            probe.stage(PathStage::FannedOut, last.since_ns(first));
        }
        self.fan_out.note(event, first, last);
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
        probe.entering(number);
        let call = AssertUnwindSafe(|| consumer.on_event(event, &mut context));
        let outcome = catch_unwind(call);
        let ended = probe.now();
        let busy_ns = ended.since_ns(began);
        probe.handler(number, busy_ns);
        seat.counts.events_total += 1;
        self.turn_is_over |= seat.spent(busy_ns, self.share_ns);
        if outcome.is_err() {
            let mut letter =
                DeadLetter::new(DeadReason::HandlerPanicked, Priority::High, ended, event.header.trace);
            letter.provider = Some(event.header.provider);
            letter.stream = Some(event.header.stream);
            letter.consumer = Some(seat.id);
            self.letters.write(letter.with_excerpt(event.kind().name().as_bytes()));
            seat.fell(ended);
        }
        ended
    }

    /// Shows news of orders to the consumer that it concerns; news of a session, to all. What its handler does with it is
    /// over when this returns.
    pub fn deliver_order(&mut self, event: &OrderEvent, probe: &mut impl Probe) {
        let concerned = event.consumer();
        let began = probe.now();
        probe.reported(event.provider(), began.since_ns(event.receive_time()));
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
            seat.counts.order_events_total += 1;
            let fell = seat.call(began, shared, |consumer, context| consumer.on_order_event(event, context));
            let ended = probe.now();
            probe.handler(number, ended.since_ns(began));
            seat.spent(ended.since_ns(began), u64::MAX);
            if fell {
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

    /// A consumer that panicked since it was asked last: nobody looks after its orders.
    #[inline]
    pub fn poll_fallen(&mut self) -> Option<ConsumerId> {
        let seat = self.seats.iter_mut().find(|seat| seat.has_fallen)?;
        seat.has_fallen = false;
        Some(seat.id)
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

    /// Begins a turn: every consumer has its share of the time again.
    #[inline]
    pub fn begin_turn(&mut self) {
        self.turn_is_over = false;
        for seat in &mut self.seats {
            seat.turn_ns = 0;
        }
    }

    /// Whether a consumer has used its share of this turn. The shard then ends it, and whoever waits for its end (the
    /// others' timers and batch ends, a command, the next ring) has its turn before more events come.
    #[inline]
    pub const fn is_turn_over(&self) -> bool {
        self.turn_is_over
    }

    /// Tells every consumer that the batch is over, runs timers that are due, and brings back those that panicked.
    pub fn batch_end(&mut self, events: usize, now: ReceiveTime) {
        let Self { seats, catalog, replicas, requests, outbox, letters, .. } = self;
        let shared = &mut Shared { catalog, replicas, requests, outbox };
        for seat in seats {
            let mut fell = false;
            if let Some(at) = seat.restart_at
                && now >= at
            {
                seat.restart(now);
            }
            if events > 0 {
                fell |= seat.call(now, shared, |consumer, context| {
                    consumer.on_batch_end(context);
                });
            }
            if let Some(every_ns) = seat.timer_every_ns
                && now >= seat.timer_at
            {
                let first = seat.timer_at == ReceiveTime::default();
                seat.timer_at = now.plus_ns(every_ns);
                if !first {
                    fell |= seat.call(now, shared, |consumer, context| {
                        consumer.on_timer(context);
                    });
                }
            }
            if fell {
                letters.write(fell_outside(seat.id, now));
            }
        }
    }

    /// The last call of every consumer.
    pub fn stop(&mut self, now: ReceiveTime) {
        let Self { seats, catalog, replicas, requests, outbox, letters, .. } = self;
        let shared = &mut Shared { catalog, replicas, requests, outbox };
        for seat in seats {
            if seat.call(now, shared, |consumer, context| consumer.on_stop(context)) {
                letters.write(fell_outside(seat.id, now));
            }
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
        // A consumer that cannot say what it did must not take the report of the others with it.
        let say = |consumer: &dyn Consumer| {
            catch_unwind(AssertUnwindSafe(|| consumer.summary()))
                .unwrap_or_else(|_| vec![("summary".to_owned(), "panicked".to_owned())])
        };
        let facts = |seat: &Seat| seat.consumer.as_deref().map(say).unwrap_or_default();
        self.seats.iter().map(|seat| (seat.name.clone(), facts(seat))).collect()
    }

    /// How late each stream was that any consumer wanted.
    pub fn latencies(&self) -> impl Iterator<Item = (ProviderId, StreamId, &StreamLatency)> + '_ {
        self.wanted.iter().enumerate().flat_map(|(provider, streams)| {
            let heard = streams.iter().enumerate().filter(|(_, interest)| interest.latency.count_total > 0);
            heard.map(move |(stream, interest)| {
                (ProviderId(provider as u8), StreamId(stream as u32), &interest.latency)
            })
        })
    }

    /// Names behind the numbers.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// When sampled events reached the consumers of this shard.
    pub const fn fan_out(&self) -> &FanOutSamples {
        &self.fan_out
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

/// A letter about a handler that had no event.
#[cold]
fn fell_outside(consumer: ConsumerId, now: ReceiveTime) -> DeadLetter {
    let mut letter = DeadLetter::new(DeadReason::HandlerPanicked, Priority::High, now, TraceId::default());
    letter.consumer = Some(consumer);
    letter
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("seats", &self.seats.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
