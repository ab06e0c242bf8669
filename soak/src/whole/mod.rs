//! The whole gateway in one thread under a simulated clock and network, by seed: three providers against simulated
//! Binance, Kraken and Coinbase, their rings, a merge shard, two consumer shards, and the orders of one account.
//!
//! ```text
//! World (provider, network, venue) x 3 -+-> an observer that never waits, sees all and keeps prints of all books
//!                                       +-> Merger -> ring -+
//!                                       +-> ring -----------+-> Host x 2: auditors, one of them panics
//! Trade (order entry, venue) ----------> critical lane -----+
//! ```
//!
//! In half of the seeds subscriptions, merge rules and switches change by way of the gateway's own control shard (`control`):
//! Controller -> link -> shards -> replies; in the others directly, also in ways that it does not know.
//!
//! Each seed has its own mix of what goes wrong ([`chaos`]). After every step the promises are checked; what the auditors
//! see is checked event by event ([`auditor`]). [`run`] repeats a run that failed with less in it, and tells its story.

pub mod auditor;
pub mod chaos;
mod control;
mod feed;
mod invariants;
mod recording;
pub mod run;
mod sabotage;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use engine::catalog::{Catalog, ProviderFacts, StreamFacts};
use engine::channel::Channel;
use engine::consumer::{Consumer, Host, OnPanic};
use engine::dispatch::Dispatcher;
use engine::event::Event;
use engine::ids::{ConsumerId, ProviderId, ShardId, StreamId};
use engine::merge::MergePools;
use engine::merge::marker::{MARKER_EVERY_NS, MarkerPace};
use engine::merge::{Merger, MergerOptions, PATIENCE_NS};
use engine::orders::OrderEvent;
use engine::orders::venue::binance::BinanceOrders;
use engine::pools::PoolSizes;
use engine::ring::{Receiver, ring};
use engine::routing::{Delivery, Route};
use engine::time::{FixedClock, ReceiveTime};
use fastrand::Rng;
use shards::machine::idle::Waker;
use shards::orders::critical::CriticalLane;
use simvenues::Product;

use crate::ledger::{DEPTHS, Past};
use crate::sim::{MS_NS, SECOND_NS, START_NS, Twin, World, WorldOptions};
use crate::trade::Trade;
use auditor::{Audit, Auditor, Carries, Place};
use chaos::{Chaos, Kind, Mix};
use control::Control;
use feed::Feed;
use recording::{Recorded, Recording};
pub use sabotage::Sabotage;
use sabotage::Saboteur;

/// Providers.
const PROVIDERS: usize = 3;
/// The provider number of merged streams.
const MERGED: ProviderId = ProviderId(PROVIDERS as u8);
/// The dispatchers' way to the two consumer shards, and to the merge shard, where the control shard does not make it; that to
/// the observer is the first of all.
const TO_SHARD: [usize; 2] = [1, 2];
const TO_MERGER: usize = 3;
/// Shards as the topology of [`control`] numbers them: one of each provider, then these.
const MERGER: ShardId = ShardId(3);
const OBSERVER: ShardId = ShardId(4);
const CONSUMERS: [ShardId; 2] = [ShardId(5), ShardId(6)];
/// The instruments of each provider, and one that it does not know at the start, though its venue lists it.
const BASES: [&str; 2] = ["BTC", "ETH"];
const UNKNOWN: &str = "SOL";
/// A steady consumer, which is not the one that records: the one that may skip what is stale.
const STALE_CONSUMER: u16 = 2;

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of everything that is left to chance.
    pub seed: u64,
    /// What may go wrong; `None` for what the seed says.
    pub mix: Option<Mix>,
    /// Times at which something goes wrong, by their number; `None` for all.
    pub only: Option<Vec<u32>>,
    /// How long it goes wrong, in simulated nanoseconds.
    pub chaos_ns: u64,
    /// What is broken on purpose.
    pub sabotage: Option<Sabotage>,
}

impl Options {
    /// Fifteen seconds of what the seed says.
    pub const fn with_seed(seed: u64) -> Self {
        Self { seed, mix: None, only: None, chaos_ns: 15 * SECOND_NS, sabotage: None }
    }
}

/// One consumer of a shard.
struct Seated {
    consumer: ConsumerId,
    /// Never panics, so that nothing may be missing.
    steady: bool,
    audit: Rc<RefCell<Audit>>,
}

/// A route of a shard: (version, depth's number).
type Routed = std::collections::BTreeMap<Place, (u32, usize)>;

/// A ring, at the end of who receives.
struct Input {
    /// Whose; unknown until something came.
    from: Option<ProviderId>,
    ring: Receiver<Event>,
    /// Parts taken off it.
    taken_total: u64,
}

impl Input {
    const fn of(from: ProviderId, ring: Receiver<Event>) -> Self {
        Self { from: Some(from), ring, taken_total: 0 }
    }

    /// Parts taken off the rings of a provider.
    fn taken(inputs: &[Self], from: ProviderId) -> u64 {
        inputs.iter().filter(|input| input.from == Some(from)).map(|input| input.taken_total).sum()
    }
}

/// A consumer shard.
struct Shard {
    host: Host,
    rings: Vec<Input>,
    critical: Receiver<OrderEvent>,
    lane: CriticalLane,
    asleep_until_ns: u64,
    /// Parts of each ring that it takes in a turn.
    parts_per_turn: usize,
    routed: Routed,
    seated: Vec<Seated>,
}

impl Shard {
    /// Takes what a turn takes off the rings; returns how much that was.
    fn drain(&mut self, sabotage: &mut Saboteur, clock: &mut FixedClock) -> usize {
        let (host, mut taken) = (&mut self.host, 0);
        for Input { from, ring, taken_total } in &mut self.rings {
            if !ring.is_empty() && sabotage.strikes(Sabotage::LoseUncounted) {
                ring.pop();
            }
            let count = ring.drain(self.parts_per_turn, |event| {
                *from = Some(event.header.provider);
                sabotage.deliver(event, host, clock);
            });
            *taken_total += count as u64;
            taken += count;
        }
        taken
    }
}

/// Everything.
pub struct Whole {
    mix: Mix,
    /// The simulated clock, in nanoseconds since 1970.
    now_ns: u64,
    feeds: Vec<Box<dyn Feed>>,
    facts: Vec<Vec<StreamFacts>>,
    paces: Vec<MarkerPace>,
    merger: Merger,
    merge_rings: Vec<Input>,
    merger_stands_until_ns: u64,
    shards: Vec<Shard>,
    trade: Option<Trade<BinanceOrders>>,
    /// Where subscriptions, rules and switches change by way of the control shard.
    control: Option<Box<Control>>,
    /// Where one of the consumers records.
    recording: Option<Recording>,
    /// A promise that something broke outside of a step.
    broken: Option<String>,
    news: Vec<Vec<OrderEvent>>,
    chaos: Chaos,
    version: u32,
    steps_total: u64,
    sabotage: Saboteur,
}

impl Whole {
    /// A gateway at its first instant: nothing is connected.
    pub fn new(options: Options) -> Self {
        let mut rng = Rng::with_seed(options.seed ^ 0x0a11);
        let drawn = Mix::drawn(&mut rng);
        let mix = options.mix.unwrap_or(drawn);
        let (rate, lines, delay_ns) = (rng.u32(8..40), rng.u8(1..3), rng.u64(1..40) * MS_NS);
        let slow_network = mix.has(Kind::Network);
        let controlled = mix.has(Kind::Control);
        let world = |provider: u8| WorldOptions {
            provider,
            bases: BASES.to_vec(),
            unknown: if controlled { vec![UNKNOWN] } else { Vec::new() },
            // In the topology those of the first provider come first, and the others share theirs.
            instrument_first: if controlled && provider > 0 { BASES.len() as u16 } else { 0 },
            rate: f64::from(rate),
            lines: if mix.has(Kind::TwoLines) { lines } else { 1 },
            delay_ns: if slow_network { delay_ns } else { MS_NS },
            jitter_ns: if slow_network { delay_ns } else { MS_NS / 4 },
            // The observer never waits, whatever comes at once.
            ring_events: 1 << 16,
            spill_events: 1 << 16,
            ..WorldOptions::with_seed(options.seed.wrapping_mul(4) + u64::from(provider))
        };
        let mut feeds: Vec<Box<dyn Feed>> = vec![
            Box::new(World::with(world(0), Twin::binance(Product::Spot))),
            Box::new(World::with(world(1), Twin::kraken())),
            Box::new(World::with(world(2), Twin::coinbase())),
        ];
        let observers: Vec<_> = feeds.iter().map(|feed| feed.observer()).collect();
        for observer in &observers {
            observer.ledger().past = Some(Past::default());
        }
        let facts: Vec<_> = feeds.iter().map(|feed| feed.streams()).collect();
        let names = ["binance", "kraken", "coinbase"];
        let provider = |(name, streams): (&str, &Vec<StreamFacts>)| ProviderFacts {
            name: name.to_owned(),
            venue: name.to_owned(),
            streams: streams.clone(),
        };
        let mut catalog = Catalog {
            providers: names.into_iter().zip(&facts).map(provider).collect(),
            symbols: BASES.map(str::to_owned).to_vec(),
        };
        let plan = controlled.then(|| control::plan(&mut catalog));
        let catalog = Arc::new(catalog);

        let (ring_events, spill_events) =
            if mix.has(Kind::SmallRings) { (1 << rng.u32(8..11), 256) } else { (1 << 13, 1 << 13) };
        let recording = mix.has(Kind::Recorder).then(|| Recording::new(options.seed, &catalog));
        // One that never panics, or one that does.
        let recorder = if options.seed.is_multiple_of(3) { 4 } else { 1 };
        let mut shards = Vec::new();
        for number in 0..TO_SHARD.len() {
            let mut host = Host::new(Arc::clone(&catalog), 64);
            let mut seated = Vec::new();
            // Consumers 0 and 2 on the first shard and 1 on the second trade; the last of each panics.
            let consumers: &[u16] = if number == 0 { &[0, 2, 3] } else { &[1, 4] };
            for &consumer in consumers {
                let steady = consumer < crate::trade::CONSUMERS;
                let name = format!("consumer {consumer} of shard {number}");
                let audit = Rc::new(RefCell::new(Audit::new(name.clone(), observers.clone())));
                audit.borrow_mut().skips_stale = consumer == STALE_CONSUMER && mix.has(Kind::Stale);
                let panics_one_in = if steady || !mix.has(Kind::Panics) { 0 } else { rng.u32(50..3_000) };
                let chance = Rc::new(RefCell::new(rng.fork()));
                let watched = Rc::clone(&audit);
                let recording = recording.as_ref().filter(|_| consumer == recorder);
                let tape = recording.map(|recording| Rc::clone(recording.tape()));
                let make = Box::new(move || {
                    let auditor = Auditor::new(&watched, panics_one_in, &chance);
                    match &tape {
                        Some(tape) => Box::new(Recorded::new(auditor, tape)) as Box<dyn Consumer>,
                        None => Box::new(auditor),
                    }
                });
                host.add(&name, ConsumerId(consumer), OnPanic::Restart, make);
                seated.push(Seated { consumer: ConsumerId(consumer), steady, audit });
            }
            let (sender, critical) = ring(64);
            let waker = Waker::new().expect("this process may have an eventfd");
            shards.push(Shard {
                host,
                rings: Vec::new(),
                critical,
                lane: CriticalLane::new(number as u8, sender, waker),
                asleep_until_ns: 0,
                parts_per_turn: usize::MAX,
                routed: Routed::new(),
                seated,
            });
        }
        let mut merged_out = Dispatcher::new(64);
        // Outputs have the same numbers at every dispatcher; the merger's first leads nowhere.
        merged_out.add_output(OBSERVER, ring(2).0, 1);
        let mut merge_rings = Vec::new();
        if !controlled {
            for (number, feed) in feeds.iter_mut().enumerate() {
                let from = ProviderId(number as u8);
                for ((shard, output), id) in shards.iter_mut().zip(TO_SHARD).zip(CONSUMERS) {
                    let (sender, receiver) = ring(ring_events);
                    let added = feed.dispatcher().add_output(id, sender, spill_events);
                    assert_eq!(added, output, "outputs are numbered in their order");
                    shard.rings.push(Input::of(from, receiver));
                }
                // Merges promise something only of what comes: a merge shard's rings are ample in a good topology, too.
                let (sender, receiver) = ring(1 << 14);
                let added = feed.dispatcher().add_output(MERGER, sender, 1 << 14);
                assert_eq!(added, TO_MERGER, "outputs are numbered in their order");
                feed.mark_to(TO_MERGER);
                merge_rings.push(Input::of(from, receiver));
            }
            for ((shard, output), id) in shards.iter_mut().zip(TO_SHARD).zip(CONSUMERS) {
                let (sender, receiver) = ring(ring_events);
                assert_eq!(merged_out.add_output(id, sender, spill_events), output);
                shard.rings.push(Input::of(MERGED, receiver));
            }
        }
        let pools = PoolSizes { events: 3_000, ..PoolSizes::SPEC };
        let merger_options = MergerOptions { provider: MERGED, patience_ns: PATIENCE_NS };
        let mut merger =
            Merger::new(merger_options, Arc::clone(&catalog), MergePools::new(&pools), merged_out);
        for provider in 0..merge_rings.len() {
            merger.add_input(ProviderId(provider as u8));
        }
        let control = plan.map(|plan| {
            let directories = feeds.iter().map(|feed| feed.directory()).collect();
            Box::new(Control::new(plan, (ring_events, spill_events), catalog, directories, options.seed))
        });
        let trade = mix.has(Kind::Orders).then(|| chaos::trade_of(options.seed));
        let wait = match options.sabotage {
            // Their moments are few.
            Some(Sabotage::LoseGap | Sabotage::RecordLess | Sabotage::LoseWrite | Sabotage::LieSynced) => 1,
            _ => rng.u32(20..60),
        };
        let mut whole = Self {
            mix,
            now_ns: START_NS,
            feeds,
            facts,
            paces: vec![MarkerPace::new(MARKER_EVERY_NS); PROVIDERS],
            merger,
            merge_rings,
            merger_stands_until_ns: 0,
            shards,
            trade,
            control,
            recording,
            broken: None,
            news: vec![Vec::new(); usize::from(crate::trade::CONSUMERS)],
            chaos: Chaos::new(rng, options.seed, options.only),
            version: 1,
            steps_total: 0,
            sabotage: Saboteur { what: options.sabotage, wait, ..Saboteur::default() },
        };
        whole.begin();
        whole
    }

    /// What stands in the topology: half of the subscriptions, and two merge rules.
    fn begin(&mut self) {
        if let Some(trade) = &mut self.trade {
            trade.keep_news();
        }
        if self.control.is_some() {
            return self.begin_controlled();
        }
        for _ in 0..2 {
            self.add_rule();
        }
        for shard in 0..self.shards.len() {
            for seat in 0..self.shards[shard].seated.len() {
                for place in self.places() {
                    if self.chaos.rng.bool() {
                        self.subscribe(shard, seat, place);
                    }
                }
            }
        }
    }

    /// All streams that can be subscribed to.
    fn places(&self) -> Vec<Place> {
        let numbers = |(provider, facts): (usize, &Vec<StreamFacts>)| {
            let count = facts.len() as u32;
            (0..count).map(move |stream| (ProviderId(provider as u8), StreamId(stream)))
        };
        let merged =
            self.merger.rules().flat_map(|(_, streams)| streams.iter().map(|&stream| (MERGED, stream)));
        self.facts.iter().enumerate().flat_map(numbers).chain(merged).collect()
    }

    fn dispatcher(&mut self, provider: ProviderId) -> &mut Dispatcher {
        if provider == MERGED {
            &mut self.merger.dispatcher
        } else {
            self.feeds[provider.index()].dispatcher()
        }
    }

    fn dispatcher_of(&self, provider: ProviderId) -> &Dispatcher {
        if provider == MERGED {
            &self.merger.dispatcher
        } else {
            self.feeds[provider.index()].dispatcher_ref()
        }
    }

    fn carries(&self, (provider, stream): Place, depth: usize) -> Carries {
        if provider == MERGED {
            return Carries::Merged;
        }
        carries_of(self.facts[provider.index()][stream.index()].channel, depth)
    }

    fn subscribe(&mut self, shard: usize, seat: usize, place: Place) {
        if !self.shards[shard].routed.contains_key(&place) {
            self.route(shard, place);
        }
        let (version, depth) = self.shards[shard].routed[&place];
        let carries = self.carries(place, depth);
        let mut clock = self.clock();
        let Shard { host, seated, .. } = &mut self.shards[shard];
        seated[seat].audit.borrow_mut().begin(place, carries, version);
        let is_book = matches!(carries, Carries::Book(_));
        host.subscribe(seat, place.0, place.1, is_book.then_some((10_000, 64)));
        if is_book {
            host.welcome(seat, place, 0, version, &mut clock);
        }
    }

    fn unsubscribe(&mut self, shard: usize, seat: usize, place: Place) {
        let Shard { host, seated, .. } = &mut self.shards[shard];
        host.unsubscribe(seat, place.0, place.1);
        seated[seat].audit.borrow_mut().end(place);
        let wanted = (0..seated.len()).any(|seat| host.is_subscribed(seat, place.0, place.1));
        if !wanted && self.shards[shard].routed.remove(&place).is_some() {
            self.next_version(place.0);
            self.dispatcher(place.0).routing.remove(place.1, TO_SHARD[shard]);
        }
    }

    /// A new route of a stream to a shard, also in place of one that is there: under a new version, with any rule that
    /// the channel allows, at any depth.
    fn route(&mut self, shard: usize, place: Place) {
        let version = self.next_version(place.0);
        let depth = self.chaos.rng.usize(0..DEPTHS.len());
        let carries = self.carries(place, depth);
        let either = |rng: &mut Rng, rule| if rng.u8(0..4) == 0 { Delivery::Lossless } else { rule };
        let (delivery, book_depth) = match carries {
            Carries::Trades | Carries::Merged => (Delivery::Lossless, usize::MAX),
            Carries::Book(depth) => (either(&mut self.chaos.rng, Delivery::Book), DEPTHS[depth]),
            Carries::Tickers => (either(&mut self.chaos.rng, Delivery::Latest), usize::MAX),
        };
        let route = Route { output: TO_SHARD[shard], delivery, book_depth };
        let dispatcher = self.dispatcher(place.0);
        dispatcher.routing.remove(place.1, route.output);
        dispatcher.routing.set(place.1, route);
        dispatcher.reserve(place.1);
        let Shard { host, seated, routed, .. } = &mut self.shards[shard];
        routed.insert(place, (version, depth));
        for (seat, seated) in seated.iter().enumerate() {
            if host.is_subscribed(seat, place.0, place.1) {
                seated.audit.borrow_mut().begin(place, carries, version);
            }
        }
    }

    fn next_version(&mut self, provider: ProviderId) -> u32 {
        if let Some(feed) = self.feeds.get_mut(provider.index()) {
            feed.finish_books();
        }
        self.version += 1;
        let version = self.version;
        self.dispatcher(provider).routing.begin_version(version);
        version
    }

    fn clock(&self) -> FixedClock {
        FixedClock(ReceiveTime::from_ns(self.now_ns))
    }

    /// Lets time pass until `until_ns`, or until `done` holds; with what goes wrong in between, where that is wanted.
    fn run_until(
        &mut self,
        until_ns: u64,
        chaos: bool,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Result<bool, String> {
        loop {
            if chaos && self.chaos.next_ns <= self.now_ns {
                self.disturb();
            }
            self.step();
            self.check()?;
            if done(self) {
                return Ok(true);
            }
            let mut next_ns = self.next_ns();
            if chaos {
                next_ns = next_ns.min(self.chaos.next_ns);
            }
            if next_ns > until_ns {
                self.now_ns = self.now_ns.max(until_ns);
                return Ok(false);
            }
            // Two steps at one instant are enough for what one causes; then time goes on.
            let next_ns = if next_ns > self.now_ns { next_ns } else { self.now_ns + MS_NS / 10 };
            self.pass_quietly(next_ns);
            self.now_ns = next_ns;
        }
    }

    fn next_ns(&self) -> u64 {
        let feeds = self
            .feeds
            .iter()
            .enumerate()
            .map(|(number, feed)| feed.next_ns().max(self.stands_until_ns(ShardId(number as u8))));
        let marking = self.feeds.iter().zip(&self.paces).enumerate();
        let markers = marking
            .filter(|(_, (feed, _))| feed.marks())
            .map(|(number, (_, pace))| pace.deadline().ns().max(self.stands_until_ns(ShardId(number as u8))));
        let merger =
            self.merger.deadline().map_or(u64::MAX, ReceiveTime::ns).max(self.merger_stands_until_ns);
        let hosts = self.shards.iter().map(|shard| {
            let at_ns = shard.host.deadline().map_or(u64::MAX, ReceiveTime::ns);
            at_ns.max(shard.asleep_until_ns)
        });
        let control = self.control.as_ref().map_or(u64::MAX, |control| control.next_ns(self));
        let recording = self.recording.as_ref().map_or(u64::MAX, Recording::next_ns);
        feeds.chain(markers).chain(hosts).chain([merger, control, recording]).min().unwrap_or(u64::MAX)
    }

    fn step(&mut self) {
        self.steps_total += 1;
        let (now_ns, mut clock) = (self.now_ns, self.clock());
        self.take_commands();
        for number in 0..self.feeds.len() {
            if now_ns < self.stands_until_ns(ShardId(number as u8)) {
                continue;
            }
            let feed = &mut self.feeds[number];
            if feed.is_due(now_ns) {
                feed.step(now_ns);
            }
            feed.mark(&mut self.paces[number], now_ns);
        }
        if now_ns >= self.merger_stands_until_ns {
            self.merge(clock.0);
        }
        if let Some(trade) = &mut self.trade {
            trade.pass_until(now_ns);
            for event in trade.take_news() {
                self.tell(&event);
            }
        }
        for shard in &mut self.shards {
            shard.lane.flush();
            if now_ns < shard.asleep_until_ns {
                continue;
            }
            let (host, sabotage) = (&mut shard.host, &mut self.sabotage);
            shard.critical.drain(usize::MAX, |event| {
                if !sabotage.strikes(Sabotage::LoseReport) {
                    host.deliver_order(event, &mut clock);
                }
            });
            let taken = shard.drain(sabotage, &mut clock);
            shard.host.batch_end(taken, clock.0);
        }
        if let Some(recording) = &mut self.recording {
            recording.step(now_ns, &mut self.sabotage);
        }
        self.take_replies();
    }

    fn merge(&mut self, now: ReceiveTime) {
        for (number, input) in self.merge_rings.iter_mut().enumerate() {
            let merger = &mut self.merger;
            // A new count of room after each batch, as on the shard.
            let room = merger.room(number).min(256);
            let taken = input.ring.drain(room, |event| merger.on_event(number, event, now));
            input.taken_total += taken as u64;
        }
        if self.merger.deadline().is_some_and(|at| now >= at) {
            self.merger.timeout(now);
        }
        self.merger.flush(|_| {});
        self.merger.drain_latencies(|_| {});
        while self.merger.poll_suppressed().is_some() {}
        if self.sabotage.strikes(Sabotage::LeakSlot) {
            self.sabotage.leaked = self.merger.pools().events.take();
        }
    }

    /// Sends news of an order to the shard of its consumer, news of a session to all.
    fn tell(&mut self, event: &OrderEvent) {
        for shard in &mut self.shards {
            let here = |consumer| shard.seated.iter().any(|seated| seated.consumer == consumer);
            if event.consumer().is_none_or(here) {
                shard.lane.push(event);
            }
        }
        for (consumer, news) in self.news.iter_mut().enumerate() {
            if event.consumer().is_none_or(|of| usize::from(of.0) == consumer) {
                news.push(*event);
            }
        }
    }
}

/// What a stream of a channel carries; of a book so many levels, as the number of one of [`DEPTHS`].
fn carries_of(channel: Channel, depth: usize) -> Carries {
    match channel {
        Channel::Merged(_) => Carries::Merged,
        channel if channel.is_trade() => Carries::Trades,
        channel if channel.is_book() => Carries::Book(depth),
        _ => Carries::Tickers,
    }
}
