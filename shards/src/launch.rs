//! From a checked topology to running shards, and back: rings first, then one pinned executor a shard; the end in
//! reverse. Nothing starts unless everything can be made.

mod merges;
mod orders;
mod venues;
mod wiring;

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use engine::catalog::Catalog;
use engine::consumer::{Consumer, Host, MakeConsumer, OnPanic};
use engine::ids::ConsumerId;

use crate::collect::{Collector, RunStart};
use crate::consumer::ConsumerShard;
use crate::control::controller::{self as control, Held};
use crate::control::link;
use crate::happened::Report;
use crate::io::{Budget, Io};
use crate::machine::clock::Clock;
use crate::machine::executor::{
    JoinHandle, LoopCounters, ShardError, ShardOptions, Stop, Tasks, Turn, drive, spawn_shard,
};
use crate::machine::idle::{Idle, IdlePolicy, Waker};
use crate::machine::poller::Poller;
use crate::machine::resolve::Resolver;
use crate::machine::tls::TlsSetupError;
use crate::machine::usage::ThreadUsage;
use crate::merger::MergerShard;
use crate::orders::switches::Switches;
use crate::provider::ProviderShard;
use crate::report::ShardIdentity;
use crate::report_of::{ConsumerShardSummary, MergerSummary, ProviderSummary};
use crate::stages::{ShardStages, StageLayout};
use crate::status::{STATUS_RING, Status};
use crate::topology::catalog::catalog_of;
use crate::topology::{self, ConsumerPlan, HostMode, Role, ShardIndex, ShardPlan, Topology};

use merges::Merges;
pub use venues::{Simulation, SimulationError};
#[cfg(feature = "simulate")]
pub use venues::{simulated_default, simulated_lists};
use wiring::{ProviderParts, for_each_stream, subscriptions, wire};

/// Makes a consumer on its shard.
pub type Factory = Box<dyn Fn() -> Box<dyn Consumer> + Send>;

/// Makes the factory of a consumer that the topology names, before anything starts.
///
/// # Errors
/// What is wrong with its options, in words.
pub type MakeFactory<'a> = dyn Fn(&ConsumerPlan, &Arc<Catalog>) -> Result<Factory, String> + 'a;

/// Updates of one book that may wait for its snapshot: ten seconds at ten a second.
const BOOK_WAITING_MAX: usize = 100;
/// Dead letters that one shard keeps.
const LETTERS_MAX: usize = 256;
/// How long providers may take to end, in nanoseconds: their orders, then to publish what waits for room.
const PROVIDERS_END_NS_MAX: u64 = 2_500_000_000;
/// How long of that orders may take: cancels, their reports, the journal.
const ORDERS_END_NS_MAX: u64 = 2_000_000_000;
/// How long mergers may then take to join what was sent and to send it on, in nanoseconds.
const MERGERS_END_NS_MAX: u64 = 500_000_000;
/// How long consumers may then take to handle what was sent, in nanoseconds; what is left is named.
const CONSUMERS_END_NS_MAX: u64 = 1_500_000_000;
/// How long those behind wait for providers, and then for mergers, before they are asked to end all the same: one that hangs must
/// not cost what the others have to hand in. By then each had its own time, and some to see it.
const PROVIDERS_WAITED_FOR: Duration = Duration::from_nanos(PROVIDERS_END_NS_MAX + 200_000_000);
/// See [`PROVIDERS_WAITED_FOR`].
const MERGERS_WAITED_FOR: Duration =
    PROVIDERS_WAITED_FOR.saturating_add(Duration::from_nanos(MERGERS_END_NS_MAX));
/// After this time from the order to stop a shard is given up: some handler does not return.
const END_MAX: Duration = Duration::from_millis(4_900);

const _: () = assert!(MERGERS_WAITED_FOR.as_nanos() + CONSUMERS_END_NS_MAX as u128 <= END_MAX.as_nanos());

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A shard did not start.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// A simulated venue did not start.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// Certificates could not be read.
    #[error("provider {provider}: {source}")]
    Tls {
        /// Its name.
        provider: String,
        /// Why.
        source: TlsSetupError,
    },
    /// A consumer could not be made.
    #[error("consumer {consumer}: {reason}")]
    Consumer {
        /// Its name.
        consumer: String,
        /// Why.
        reason: String,
    },
    /// A merge rule cannot be applied.
    #[error("merge {merge}: {reason}")]
    Merge {
        /// Its name.
        merge: String,
        /// Why.
        reason: String,
    },
    /// What a provider receives cannot be kept.
    #[error("provider {provider}: capture into {}: {source}; check the directory and its rights", dir.display())]
    Capture {
        /// Its name.
        provider: String,
        /// Where to.
        dir: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A provider cannot trade.
    #[error("provider {provider}: orders: {reason}")]
    Orders {
        /// Its name.
        provider: String,
        /// Why.
        reason: String,
    },
    /// A URL of the topology cannot be used.
    #[error("provider {provider}: endpoint {url}: {reason}")]
    Endpoint {
        /// Its name.
        provider: String,
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The kernel refused a descriptor or a thread.
    #[error("{what} failed: {source}; raise the limit of open files or threads (ulimit -n, -u)")]
    Io {
        /// What.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// A shard's thread.
struct Thread<T> {
    shard: ShardIndex,
    stop: Stop,
    counters: Arc<LoopCounters>,
    handle: JoinHandle<(T, ThreadUsage)>,
}

impl<T> Thread<T> {
    fn facts(&self) -> (ShardIndex, u32, &LoopCounters) {
        (self.shard, self.handle.thread_id().unsigned_abs(), &*self.counters)
    }
}

/// How a shard's loop runs, and who ends it: one for its thread, one for the gateway.
#[derive(Clone)]
struct Life {
    policy: IdlePolicy,
    waker: Waker,
    stop: Stop,
    counters: Arc<LoopCounters>,
}

impl Life {
    fn idle(&self, poller: &Poller) -> Idle {
        Idle::new(self.policy, self.waker.clone(), poller).expect("epoll takes an eventfd")
    }

    /// Turns a shard that waits for nothing but its rings until it is to stop.
    async fn turn(&self, shard: &mut impl Turn, tasks: &Tasks) {
        let poller = Poller::new().expect("one more descriptor: the limit was checked");
        self.turn_with(&mut self.idle(&poller), shard, tasks).await;
    }

    async fn turn_with(&self, idle: &mut Idle, shard: &mut impl Turn, tasks: &Tasks) {
        drive(shard, idle, tasks, &self.stop, &self.counters)
            .await
            .expect("the wait of an open epoll set does not fail");
    }

    fn thread<T>(self, shard: ShardIndex, handle: JoinHandle<(T, ThreadUsage)>) -> Thread<T> {
        Thread { shard, stop: self.stop, counters: self.counters, handle }
    }
}

/// What a shard gets, whatever its role.
struct Kit {
    options: ShardOptions,
    stages: ShardStages,
    statuses: rtrb::Producer<Status>,
    life: Life,
}

/// A running gateway.
pub struct Gateway {
    /// The topology that it runs.
    pub topology: Topology,
    /// Names behind the numbers.
    pub catalog: Arc<Catalog>,
    /// The histograms of all shards.
    pub collector: Collector,
    /// The simulated venues, if there are any.
    pub simulation: Simulation,
    providers: Vec<Thread<Vec<ProviderSummary>>>,
    mergers: Vec<Thread<MergerSummary>>,
    consumers: Vec<Thread<ConsumerShardSummary>>,
    statuses: Vec<rtrb::Consumer<Status>>,
    /// The way to every shard, and what they hold: for whoever controls them. Taken once.
    control: Option<control::Start>,
    /// Who may trade.
    pub switches: Arc<Switches>,
    reports: mpsc::Receiver<Report>,
    /// When it began, by the monotonic clock, in nanoseconds.
    pub started_ns: u64,
    /// When it began, by the wall clock.
    pub started_at: SystemTime,
}

/// What a gateway leaves when it has ended.
pub struct Ended {
    /// Of all providers.
    pub providers: Vec<ProviderSummary>,
    /// Of all merge shards.
    pub mergers: Vec<MergerSummary>,
    /// Of all consumer shards.
    pub consumers: Vec<ConsumerShardSummary>,
    /// Shards that panicked or did not end: their names and why.
    pub panicked: Vec<(String, String)>,
    /// By shard index: what its thread used, and its loop's counters.
    pub usage: Vec<(ShardIndex, Option<ThreadUsage>, Arc<LoopCounters>)>,
    /// How long the end took.
    pub took: Duration,
}

/// Starts everything that `topology` says.
///
/// # Errors
/// [`LaunchError`]; what was started until then has ended again.
pub fn launch(topology: Topology, make: &MakeFactory<'_>) -> Result<Gateway, LaunchError> {
    let io = |what| move |source| LaunchError::Io { what, source };
    // Threads that are not pinned are started by this one, before any shard is.
    let resolver = Resolver::start().map_err(io("starting the resolver"))?;
    let simulation = Simulation::start(&topology)?;
    let (mut catalog, directories) = catalog_of(&topology);
    let merges = Merges::plan(&topology, &mut catalog)?;
    let catalog = Arc::new(catalog);
    let mut wakers = Vec::new();
    for _ in &topology.shards {
        wakers.push(Waker::new().map_err(io("making an eventfd"))?);
    }
    let trading = topology.consumers.iter().map(|consumer| consumer.trading);
    let shards = topology.shards.iter().zip(&wakers);
    let traders = shards.filter(|(shard, _)| matches!(shard.role, Role::Provider { .. }));
    let traders = traders.map(|(_, waker)| waker.clone()).collect();
    let switches = Arc::new(Switches::new(trading).with_wakers(traders));
    let mut shard_ends: Vec<Option<link::ShardEnd>> = Vec::new();
    let mut control_ends = Vec::new();
    for waker in &wakers {
        let (control_end, shard_end) = link::wire(waker.clone());
        control_ends.push(Some(control_end));
        shard_ends.push(Some(shard_end));
    }
    let mut factories = Vec::new();
    for consumer in &topology.consumers {
        let factory = make(consumer, &catalog)
            .map_err(|reason| LaunchError::Consumer { consumer: consumer.name.clone(), reason })?;
        factories.push(Some(factory));
    }
    let (mut parts, mut receivers) = wire(&topology, &directories, &merges, &wakers, &simulation)?;
    let (mut consumer_orders, provider_orders) = orders::wire(&topology, &simulation, &switches, &wakers)?;
    for (part, orders) in parts.iter_mut().zip(provider_orders) {
        part.orders = orders;
    }
    let merger_parts = merges.wire(&topology, &wakers, &mut receivers);
    let mut held = Vec::new();
    for (index, consumer) in topology.consumers.iter().enumerate() {
        for_each_stream(&topology, consumer, &directories, |provider, stream, channel, delivery, depth| {
            let how = Held { delivery, book_depth: if channel.is_book() { depth } else { 0 } };
            held.push((index, usize::from(provider), stream, how));
        });
        held.extend(merges.subscribed(consumer).map(|(provider, stream, delivery)| {
            (index, provider.index(), stream, Held { delivery, book_depth: 0 })
        }));
    }
    let outputs =
        parts.iter().map(|part| part.outputs.iter().map(|(shard, ..)| shard.0).collect::<Vec<u8>>());
    let control = control::Start {
        topology: topology.clone(),
        catalog: Arc::clone(&catalog),
        providers: directories.iter().cloned().zip(outputs).collect(),
        held,
        mergers: merges.mirrors(&topology, &catalog, &merger_parts),
        wires: control_ends,
        switches: Arc::clone(&switches),
    };
    let (report_sender, reports) = mpsc::channel();
    let clock = Clock::new();
    let (started_ns, started_at) = (clock.now(), SystemTime::now());
    let mut gateway = Gateway {
        collector: Collector::new(RunStart { at: started_at, ns: started_ns }),
        catalog: Arc::clone(&catalog),
        simulation,
        providers: Vec::new(),
        mergers: Vec::new(),
        consumers: Vec::new(),
        statuses: Vec::new(),
        control: Some(control),
        switches,
        reports,
        started_ns,
        started_at,
        topology,
    };
    // Consumers first, so that nobody sends to a shard that is not there.
    for (number, waker) in wakers.iter().enumerate() {
        let shard = ShardIndex(number as u8);
        let plan = gateway.topology.shard(shard).clone();
        let Role::Consumer { .. } = plan.role else { continue };
        let mut seats = Vec::new();
        for (index, consumer) in gateway.topology.consumers_on(shard) {
            let factory = factories[index].take().expect("each consumer has one shard");
            let mut wants = subscriptions(&gateway.topology, consumer, &directories);
            wants.extend(merges.subscribed(consumer).map(|(provider, stream, _)| (provider, stream, None)));
            seats.push((index, consumer.name.clone(), consumer.on_panic, factory, wants));
        }
        let orders = consumer_orders[number].take().expect("each consumer shard has its order rings");
        let layout = StageLayout::new(seats.iter().map(|(_, name, ..)| name.clone()));
        let (layout, reports) = orders.layout(layout);
        let Kit { options, stages, statuses, life } = gateway.kit(&plan, &layout, waker, clock.now());
        let rings = std::mem::take(&mut receivers[number]);
        let wire = shard_ends[number].take().expect("each shard has one wire");
        let (own_life, catalog) = (life.clone(), Arc::clone(&catalog));
        let handle = spawn_shard(options, move |context| async move {
            let before = ThreadUsage::read(context.thread_id as u32);
            let mut host = Host::new(catalog, LETTERS_MAX);
            for (index, name, on_panic, factory, wants) in seats {
                let on_panic = match on_panic {
                    topology::OnPanic::Restart => OnPanic::Restart,
                    topology::OnPanic::Disable => OnPanic::Disable,
                };
                let make: MakeConsumer = factory;
                let seat = host.add(&name, ConsumerId(index as u16), on_panic, make);
                for (provider, stream, book) in wants {
                    host.subscribe(seat, provider, stream, book);
                }
            }
            let mut shard = ConsumerShard::new(number as u8, host, rings, stages, statuses, wire)
                .with_orders(orders, reports);
            own_life.turn(&mut shard, &context.tasks).await;
            let deadline_ns = Clock::new().now() + CONSUMERS_END_NS_MAX;
            let summary = shard.finish(deadline_ns);
            (summary, ThreadUsage::read(context.thread_id as u32).since(&before))
        })?;
        gateway.consumers.push(life.thread(shard, handle));
    }
    for (shard, mut own) in merger_parts {
        let plan = gateway.topology.shard(shard).clone();
        let Role::Merger { pools, .. } = plan.role else { continue };
        let number = usize::from(shard.0);
        let kit = gateway.kit(&plan, &StageLayout::default(), &wakers[number], clock.now());
        let Kit { options, stages, statuses, life } = kit;
        let rings = std::mem::take(&mut receivers[number]);
        let rings: Vec<_> = own.inputs.iter().copied().zip(rings).collect();
        let wire = shard_ends[number].take().expect("each shard has one wire");
        let (own_life, catalog) = (life.clone(), Arc::clone(&catalog));
        let handle = spawn_shard(options, move |context| async move {
            let before = ThreadUsage::read(context.thread_id as u32);
            let merger = own.merger(pools, catalog);
            let mut shard = MergerShard::new(shard.0, merger, rings, own.wakers, stages, statuses, wire);
            own_life.turn(&mut shard, &context.tasks).await;
            let deadline_ns = Clock::new().now() + MERGERS_END_NS_MAX;
            let summary = shard.finish(deadline_ns);
            (summary, ThreadUsage::read(context.thread_id as u32).since(&before))
        })?;
        gateway.mergers.push(life.thread(shard, handle));
    }
    for (number, waker) in wakers.iter().enumerate() {
        let shard = ShardIndex(number as u8);
        let plan = gateway.topology.shard(shard).clone();
        let Role::Provider { pools, .. } = plan.role else { continue };
        let mut own: Vec<ProviderParts> = {
            let (own, rest) = parts.into_iter().partition(|part| part.plan.shard == shard);
            parts = rest;
            own
        };
        let mut layout = StageLayout::default();
        for orders in own.iter_mut().filter_map(|part| part.orders.as_mut()) {
            layout = orders.add_stages(layout);
        }
        let Kit { options, stages, statuses, life } = gateway.kit(&plan, &layout, waker, clock.now());
        let (own_life, resolver) = (life.clone(), resolver.clone());
        let reports = report_sender.clone();
        let wire = shard_ends[number].take().expect("each shard has one wire");
        let handle = spawn_shard(options, move |context| async move {
            let before = ThreadUsage::read(context.thread_id as u32);
            let poller = Poller::new().expect("one more descriptor: the limit was checked");
            let mut idle = own_life.idle(&poller);
            let waker = own_life.waker.clone();
            let clock = Clock::new();
            let now_ns = clock.now();
            let drivers = own
                .into_iter()
                .map(|part| {
                    let tasks = context.tasks.clone();
                    (part.index, venues::driver(part, pools, now_ns, reports.clone(), tasks))
                })
                .collect();
            let io = Io { poller, resolver, waker, clock, stages, budget: Budget::default() };
            let mut shard = ProviderShard::new(io, drivers, statuses, wire);
            own_life.turn_with(&mut idle, &mut shard, &context.tasks).await;
            let began_ns = Clock::new().now();
            shard.end_orders(began_ns + ORDERS_END_NS_MAX).await;
            let deadline_ns = began_ns + PROVIDERS_END_NS_MAX;
            let summaries = shard.finish(deadline_ns);
            (summaries, ThreadUsage::read(context.thread_id as u32).since(&before))
        })?;
        gateway.providers.push(life.thread(shard, handle));
    }
    Ok(gateway)
}

fn identity(plan: &ShardPlan) -> ShardIdentity {
    ShardIdentity { name: plan.name.clone(), core: Some(plan.core), role: plan.role_name().to_owned() }
}

impl Gateway {
    /// What a shard gets; the other ends are kept.
    fn kit(&mut self, plan: &ShardPlan, layout: &StageLayout, waker: &Waker, now_ns: u64) -> Kit {
        let policy = match self.topology.host {
            HostMode::Dedicated => IdlePolicy::Spin,
            HostMode::Shared => IdlePolicy::PARK,
        };
        let interval_ns = u64::from(self.topology.report.interval_ms) * 1_000_000;
        let (mut stages, end) = ShardStages::new(layout, interval_ns, now_ns);
        self.collector.register(identity(plan), end);
        let (statuses, status_end) = rtrb::RingBuffer::new(STATUS_RING);
        self.statuses.push(status_end);
        let counters = Arc::new(LoopCounters::default());
        stages.show_place(counters.place.clone());
        let options = ShardOptions { name: plan.name.clone(), core: Some(plan.core as usize), idle: policy };
        let life = Life { policy, stop: Stop::new(waker.clone()), waker: waker.clone(), counters };
        Kit { options, stages, statuses, life }
    }

    /// Takes what the shards have told since the last call.
    pub fn poll_statuses(&mut self, mut take: impl FnMut(Status)) {
        for ring in &mut self.statuses {
            while let Ok(status) = ring.pop() {
                take(status);
            }
        }
    }

    /// The ways to all shards, for whoever controls them. There is one such: `None` the second time.
    pub fn take_control(&mut self) -> Option<control::Start> {
        self.control.take()
    }

    /// The loops' counters of all shards, by name.
    pub fn loop_counters(&self) -> impl Iterator<Item = (&str, &LoopCounters)> {
        self.threads().map(|(shard, _, counters)| (self.topology.shard(shard).name.as_str(), counters))
    }

    /// Every shard's thread as the kernel numbers it, and its loop's counters.
    pub fn threads(&self) -> impl Iterator<Item = (ShardIndex, u32, &LoopCounters)> {
        let providers = self.providers.iter().map(Thread::facts);
        providers
            .chain(self.mergers.iter().map(Thread::facts))
            .chain(self.consumers.iter().map(Thread::facts))
    }

    /// What happened at the providers, oldest first.
    pub fn poll_report(&mut self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// A shard that has ended although nobody asked it to: it panicked.
    pub fn fallen(&self) -> Option<&str> {
        let providers = self.providers.iter().filter(|thread| thread.handle.is_finished());
        let mut names = providers.map(|thread| thread.handle.name());
        let consumers = self.consumers.iter().filter(|thread| thread.handle.is_finished());
        let mergers = self.mergers.iter().filter(|thread| thread.handle.is_finished());
        let consumers = consumers.map(|thread| thread.handle.name());
        names.next().or_else(|| mergers.map(|thread| thread.handle.name()).chain(consumers).next())
    }

    /// The cores that each shard was granted.
    pub fn affinities(&self) -> Vec<(&str, &[usize])> {
        let providers = self.providers.iter().map(|thread| (thread.handle.name(), thread.handle.affinity()));
        let consumers = self.consumers.iter().map(|thread| (thread.handle.name(), thread.handle.affinity()));
        let mergers = self.mergers.iter().map(|thread| (thread.handle.name(), thread.handle.affinity()));
        providers.chain(mergers).chain(consumers).collect()
    }

    /// The directory that reports go to.
    pub fn report_parent(&self) -> &Path {
        &self.topology.report.dir
    }

    /// Ends it: providers first, then mergers and consumers, each once they have what was sent. Takes 5 s at most.
    pub fn stop(&mut self) -> Ended {
        let began = Instant::now();
        let mut ended = Ended {
            providers: Vec::new(),
            mergers: Vec::new(),
            consumers: Vec::new(),
            panicked: Vec::new(),
            usage: Vec::new(),
            took: Duration::ZERO,
        };
        end(&self.providers, began, PROVIDERS_WAITED_FOR);
        end(&self.mergers, began, MERGERS_WAITED_FOR);
        end(&self.consumers, began, END_MAX);
        let providers = ended.join(&self.topology, &mut self.providers, began);
        ended.providers = providers.into_iter().flatten().collect();
        ended.mergers = ended.join(&self.topology, &mut self.mergers, began);
        ended.consumers = ended.join(&self.topology, &mut self.consumers, began);
        ended.providers.sort_by_key(|summary| summary.index);
        ended.took = began.elapsed();
        ended
    }
}

impl Ended {
    /// Takes what threads leave that were asked to stop.
    fn join<T: Send + 'static>(
        &mut self,
        topology: &Topology,
        threads: &mut Vec<Thread<T>>,
        began: Instant,
    ) -> Vec<T> {
        let mut summaries = Vec::new();
        for thread in threads.drain(..) {
            let usage = match join_by(thread.handle, began) {
                Ok((summary, usage)) => {
                    summaries.push(summary);
                    Some(usage)
                }
                Err(error) => {
                    self.panicked.push((topology.shard(thread.shard).name.clone(), error));
                    None
                }
            };
            self.usage.push((thread.shard, usage, thread.counters));
        }
        summaries
    }
}

/// Asks threads to stop, and waits until they have or so much time has passed.
fn end<T>(threads: &[Thread<T>], began: Instant, limit: Duration) {
    for thread in threads {
        thread.stop.ask();
    }
    while threads.iter().any(|thread| !thread.handle.is_finished()) && began.elapsed() < limit {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits for a shard until [`END_MAX`] after `began`. A thread that does not end then is left to the end of the process.
fn join_by<T: Send + 'static>(handle: JoinHandle<T>, began: Instant) -> Result<T, String> {
    while !handle.is_finished() {
        if began.elapsed() >= END_MAX {
            let limit_s = END_MAX.as_secs_f64();
            return Err(format!(
                "did not end within {limit_s} s: a handler blocks or is slow; what it had not handled is lost"
            ));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    handle.join().map_err(|error| error.to_string())
}
