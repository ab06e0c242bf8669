//! Who receives what, and how that changes while everything runs. No sockets: orders in, commands to shards and results out.
//!
//! A change is planned whole before anything is sent, under a new routing version. To begin a stream, the consumer's shard
//! learns of it first, then the provider routes it; to end one, the other way round: nobody gets what he does not expect.
//! One change is under way at a time; the others wait in their order.

mod plan;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use engine::consumer::{Catalog, StreamLatency};
use engine::control::{self, Ask, ControlAck, ControlResult, Outcome};
use engine::dead_letter::DeadLetter;
use engine::directory::Directory;
use engine::event::{Body, Event, Flags, Header, SCHEMA_VERSION};
use engine::ids::{ConsumerId, Listing, ProviderId, StreamId};
use engine::routing::Delivery;
use engine::time::ReceiveTime;

use super::link::{Command, ControlEnd, Reply, RouteChange};
use super::order::{Changed, Order, Refusal};
use super::server::Ticket;
use super::switches::Switches;
use crate::provider::RollAnswer;
use crate::topology::Topology;

/// Changes that may wait.
pub const CHANGES_MAX: usize = 64;
/// Streams that one provider may have; their lanes and sequences are memory of its shard.
pub const STREAMS_MAX: usize = 8_192;
/// After this time an operator is told that the outcome is not known yet, in nanoseconds. The change goes on.
pub const ANSWER_NS_MAX: u64 = 5_000_000_000;

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An operator, who waits for the answer.
    Operator(Ticket),
    /// A consumer, with its own number for it.
    Consumer(u64),
}

/// A change has ended, or its answer is due.
#[derive(Debug)]
pub struct Finished {
    /// Who asked.
    pub origin: Origin,
    /// What came of it.
    pub result: Result<Changed, Refusal>,
}

/// What a consumer holds of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// What a full ring means.
    pub delivery: Delivery,
    /// Levels a side, for a book.
    pub book_depth: usize,
}

/// What one provider's shard knows, as far as the control thread needs it.
#[derive(Debug)]
pub struct Mirror {
    /// The same numbers as the provider's own.
    pub directory: Directory,
    /// Shards behind its outputs.
    pub outputs: Vec<u8>,
    /// Streams subscribed at the venue.
    carried: BTreeSet<StreamId>,
    /// Instruments of which nobody has said that the venue has them.
    unlisted: BTreeSet<Listing>,
}

#[derive(Debug)]
struct Running {
    origin: Origin,
    order: Order,
    number: u64,
    stage: Stage,
    since_ns: u64,
    answered: bool,
    plan: Plan,
}

/// Whose reply is awaited.
#[derive(Debug)]
enum Stage {
    List(Vec<Listing>),
    Consumer,
    Provider,
}

/// A change as it was planned.
#[derive(Debug, Default)]
struct Plan {
    version: u32,
    streams: Vec<StreamId>,
    route: Option<Box<RouteChange>>,
    before: Vec<(StreamId, Option<Held>)>,
}

/// A question to several shards that is under way.
#[derive(Debug)]
struct Asked<T> {
    /// Of its first command.
    number: u64,
    tickets: Vec<Ticket>,
    missing: BTreeSet<usize>,
    since_ns: u64,
    found: Vec<T>,
}

impl<T> Asked<T> {
    fn found(&mut self, shard: usize, number: u64, answer: T) {
        if number >= self.number && self.missing.remove(&shard) {
            self.found.push(answer);
        }
    }

    /// Its end, once all have answered or waited long enough.
    fn poll(this: &mut Option<Self>, now_ns: u64) -> Option<(Vec<Ticket>, Vec<T>)> {
        let over =
            |run: &mut Self| run.missing.is_empty() || now_ns.saturating_sub(run.since_ns) >= ANSWER_NS_MAX;
        this.take_if(over).map(|run| (run.tickets, run.found))
    }
}

/// A command to roll lines whose shard has not answered.
#[derive(Debug)]
struct RollRun {
    number: u64,
    ticket: Ticket,
    provider: usize,
    since_ns: u64,
}

/// What came of a command to roll lines: who asked, the provider's index, and its answer.
pub type RollAnswered = (Ticket, usize, Result<RollAnswer, Refusal>);

/// The dead letters of one shard.
#[derive(Debug)]
pub struct ShardLetters {
    /// Index of the shard in the topology.
    pub shard: usize,
    /// Those kept.
    pub letters: Vec<DeadLetter>,
    /// Written so far.
    pub written_total: u64,
    /// Gone for want of room.
    pub evicted_total: u64,
}

/// The latencies of one consumer shard's streams, since its start.
#[derive(Debug)]
pub struct ShardLatencies {
    /// Index of the shard in the topology.
    pub shard: usize,
    /// By provider and stream.
    pub streams: Vec<(ProviderId, StreamId, StreamLatency)>,
}

/// The state of all subscriptions and the wires to the shards.
#[derive(Debug)]
pub struct Controller {
    topology: Topology,
    catalog: Arc<Catalog>,
    mirrors: Vec<Mirror>,
    /// By consumer: what it holds.
    held: Vec<BTreeMap<(usize, StreamId), Held>>,
    wires: Vec<Option<ControlEnd>>,
    switches: Arc<Switches>,
    version: u32,
    number: u64,
    queue: VecDeque<(Origin, Order, u64)>,
    running: Option<Running>,
    finished: VecDeque<Finished>,
    /// Commands that found their wire full, by shard.
    unsent: Vec<VecDeque<(u64, Command)>>,
    letters: Option<Asked<ShardLetters>>,
    letters_ready: VecDeque<(Vec<Ticket>, Vec<ShardLetters>)>,
    latencies: Option<Asked<ShardLatencies>>,
    latencies_ready: VecDeque<(Vec<Ticket>, Vec<ShardLatencies>)>,
    rolls: Vec<RollRun>,
    rolls_ready: VecDeque<RollAnswered>,
    changes_total: u64,
    refused_total: u64,
}

/// What the launch knows of the routes at start.
#[derive(Debug)]
pub struct Start {
    /// What runs.
    pub topology: Topology,
    /// Names.
    pub catalog: Arc<Catalog>,
    /// By provider: its directory, and the shards behind its outputs.
    pub providers: Vec<(Directory, Vec<u8>)>,
    /// Consumer, provider, stream, and how it is held.
    pub held: Vec<(usize, usize, StreamId, Held)>,
    /// By shard: the wire to it.
    pub wires: Vec<Option<ControlEnd>>,
    /// The switches.
    pub switches: Arc<Switches>,
}

impl Controller {
    /// The controller of a gateway that starts with routing version 1.
    pub fn new(start: Start) -> Self {
        let mirrors = start.providers.into_iter().map(|(directory, outputs)| {
            let carried = (0..directory.streams().len()).map(|index| StreamId(index as u32)).collect();
            Mirror { directory, outputs, carried, unlisted: BTreeSet::new() }
        });
        let mut held = vec![BTreeMap::new(); start.topology.consumers.len()];
        for (consumer, provider, stream, how) in start.held {
            merge(held[consumer].entry((provider, stream)).or_insert(how), how);
        }
        Self {
            mirrors: mirrors.collect(),
            held,
            unsent: start.wires.iter().map(|_| VecDeque::new()).collect(),
            wires: start.wires,
            topology: start.topology,
            catalog: start.catalog,
            switches: start.switches,
            version: 1,
            number: 0,
            queue: VecDeque::new(),
            running: None,
            finished: VecDeque::new(),
            letters: None,
            letters_ready: VecDeque::new(),
            latencies: None,
            latencies_ready: VecDeque::new(),
            rolls: Vec::new(),
            rolls_ready: VecDeque::new(),
            changes_total: 0,
            refused_total: 0,
        }
    }

    /// What runs.
    pub const fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The switches.
    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// The newest routing version.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Changes carried out, and those refused.
    pub const fn counts(&self) -> (u64, u64) {
        (self.changes_total, self.refused_total)
    }

    /// Whether a shard's reply is awaited: the next turn should be soon.
    pub fn is_busy(&self) -> bool {
        self.running.is_some()
            || self.letters.is_some()
            || self.latencies.is_some()
            || !self.rolls.is_empty()
            || self.unsent.iter().any(|list| !list.is_empty())
    }

    /// What a consumer holds: provider, canonical symbol, stream's channel, and how.
    pub fn held(
        &self,
        consumer: usize,
    ) -> impl Iterator<Item = (usize, &str, engine::channel::Channel, Held)> {
        self.held[consumer].iter().map(|(&(provider, stream), how)| {
            let directory = &self.mirrors[provider].directory;
            let carried = directory.carries(stream);
            (provider, directory.instrument(carried.listing).symbol.as_str(), carried.channel, *how)
        })
    }

    /// The canonical symbol of a provider's listing.
    pub fn symbol(&self, provider: usize, listing: u16) -> &str {
        let instruments = self.mirrors.get(provider).map_or(&[][..], |mirror| mirror.directory.instruments());
        instruments.get(usize::from(listing)).map_or("?", |instrument| instrument.symbol.as_str())
    }

    /// Takes an order; its result comes from [`poll_finished`](Self::poll_finished).
    ///
    /// # Errors
    /// [`Refusal`] when too many wait.
    pub fn submit(&mut self, origin: Origin, order: Order, now_ns: u64) -> Result<(), Refusal> {
        if self.queue.len() >= CHANGES_MAX {
            self.refused_total += 1;
            let reason = format!("{CHANGES_MAX} changes wait already");
            return Err(Refusal::new(503, reason, "try again when they are done"));
        }
        let body = ControlAck { request: number_of(origin), command: command_of(&order) };
        self.tell(order.consumer, Body::ControlAck(body), now_ns);
        self.queue.push_back((origin, order, now_ns));
        Ok(())
    }

    /// Moves a consumer's trading switch. It is in force when this returns.
    pub fn set_trading(&mut self, origin: Option<u64>, consumer: usize, on: bool, now_ns: u64) -> bool {
        let changed = self.switches.set_trading(consumer, on);
        self.tell_switch(origin.unwrap_or(0), consumer, control::Command::Trading, changed, now_ns);
        changed
    }

    /// Moves a kill switch: of one consumer, or of all. It is in force when this returns.
    pub fn set_killed(&mut self, consumer: Option<usize>, on: bool, now_ns: u64) -> bool {
        let changed = self.switches.set_killed(consumer, on);
        let all = 0..self.topology.consumers.len();
        for index in all.filter(|index| consumer.is_none_or(|consumer| consumer == *index)) {
            self.tell_switch(0, index, control::Command::Kill, changed, now_ns);
        }
        changed
    }

    fn tell_switch(
        &mut self,
        request: u64,
        consumer: usize,
        command: control::Command,
        changed: bool,
        now_ns: u64,
    ) {
        let outcome = if changed { Outcome::Done } else { Outcome::Unchanged };
        let routing_version = self.version;
        self.tell(consumer, Body::ControlAck(ControlAck { request, command }), now_ns);
        let result = ControlResult { request, command, outcome, stream_count: 0, routing_version };
        self.tell(consumer, Body::ControlResult(result), now_ns);
    }

    /// Shows a critical event to one consumer: it waits rather than getting lost.
    fn tell(&mut self, consumer: usize, body: Body, now_ns: u64) {
        let header = Header {
            receive_time: ReceiveTime::from_ns(now_ns),
            stream: StreamId(u32::MAX),
            provider: ProviderId(u8::MAX),
            routing_version: self.version,
            flags: Flags::WHOLE,
            schema: SCHEMA_VERSION,
            ..Header::default()
        };
        let shard = self.shard_of(consumer);
        let event = Box::new(Event { header, body });
        self.send(shard, Command::Tell { consumer: ConsumerId(consumer as u16), event });
    }

    fn shard_of(&self, consumer: usize) -> usize {
        usize::from(self.topology.consumers[consumer].shard.0)
    }

    fn send(&mut self, shard: usize, command: Command) -> u64 {
        self.number += 1;
        self.unsent[shard].push_back((self.number, command));
        self.push(shard);
        self.number
    }

    fn push(&mut self, shard: usize) {
        let Some(wire) = &mut self.wires[shard] else {
            self.unsent[shard].clear();
            return;
        };
        while let Some((number, command)) = self.unsent[shard].pop_front() {
            if let Err(command) = wire.send(number, command) {
                self.unsent[shard].push_front((number, command));
                return;
            }
        }
    }

    /// Asks every shard for its dead letters; [`poll_letters`](Self::poll_letters) gives them.
    pub fn ask_letters(&mut self, ticket: Ticket, now_ns: u64) {
        if let Some(run) = &mut self.letters {
            run.tickets.push(ticket);
            return;
        }
        let shards: BTreeSet<usize> =
            (0..self.wires.len()).filter(|&shard| self.wires[shard].is_some()).collect();
        let first = self.number + 1;
        for &shard in &shards {
            self.send(shard, Command::Letters);
        }
        self.letters = Some(Asked {
            number: first,
            tickets: vec![ticket],
            missing: shards,
            since_ns: now_ns,
            found: Vec::new(),
        });
    }

    /// Asks every consumer shard for its streams' latencies; [`poll_latencies`](Self::poll_latencies) gives them.
    pub fn ask_latencies(&mut self, ticket: Ticket, now_ns: u64) {
        if let Some(run) = &mut self.latencies {
            run.tickets.push(ticket);
            return;
        }
        let shards = self.topology.consumers.iter().map(|plan| usize::from(plan.shard.0));
        let shards: BTreeSet<usize> = shards.filter(|&shard| self.wires[shard].is_some()).collect();
        let first = self.number + 1;
        for &shard in &shards {
            self.send(shard, Command::Latencies);
        }
        self.latencies = Some(Asked {
            number: first,
            tickets: vec![ticket],
            missing: shards,
            since_ns: now_ns,
            found: Vec::new(),
        });
    }

    /// Latencies that were asked for, and by whom.
    pub fn poll_latencies(&mut self) -> Option<(Vec<Ticket>, Vec<ShardLatencies>)> {
        self.latencies_ready.pop_front()
    }

    /// Names behind the numbers.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Dead letters that were asked for, and by whom.
    pub fn poll_letters(&mut self) -> Option<(Vec<Ticket>, Vec<ShardLetters>)> {
        self.letters_ready.pop_front()
    }

    /// Tells a provider to roll its lines; [`poll_rolls`](Self::poll_rolls) gives its answer.
    pub fn ask_roll(&mut self, ticket: Ticket, provider: usize, now_ns: u64) {
        let shard = usize::from(self.topology.providers[provider].shard.0);
        let number = self.send(shard, Command::Roll { provider: provider as u8 });
        self.rolls.push(RollRun { number, ticket, provider, since_ns: now_ns });
    }

    /// What providers answered to [`ask_roll`](Self::ask_roll).
    pub fn poll_rolls(&mut self) -> Option<RollAnswered> {
        self.rolls_ready.pop_front()
    }

    /// A change that has ended, or whose operator has waited long enough.
    pub fn poll_finished(&mut self) -> Option<Finished> {
        self.finished.pop_front()
    }

    /// Takes what shards have said and goes on with what is under way.
    pub fn turn(&mut self, now_ns: u64) {
        for shard in 0..self.wires.len() {
            self.push(shard);
            while let Some((number, reply)) = self.wires[shard].as_mut().and_then(ControlEnd::poll) {
                self.replied(shard, number, reply, now_ns);
            }
        }
        self.letters_ready.extend(Asked::poll(&mut self.letters, now_ns));
        self.latencies_ready.extend(Asked::poll(&mut self.latencies, now_ns));
        for run in self.rolls.extract_if(.., |run| now_ns.saturating_sub(run.since_ns) >= ANSWER_NS_MAX) {
            let reason = "no answer within 5 s; the lines may be rolled later";
            let refusal = Refusal::new(504, reason, "GET /status shows the lines");
            self.rolls_ready.push_back((run.ticket, run.provider, Err(refusal)));
        }
        let overdue =
            |running: &Running| !running.answered && now_ns.saturating_sub(running.since_ns) >= ANSWER_NS_MAX;
        if let Some(running) = self.running.as_mut().filter(|running| overdue(running)) {
            running.answered = true;
            let reason = "no answer within 5 s; the change is still under way";
            let refusal = Refusal::new(504, reason, "GET /subscriptions shows what is in force");
            self.finished.push_back(Finished { origin: running.origin, result: Err(refusal) });
        }
        while self.running.is_none() {
            let Some((origin, order, since_ns)) = self.queue.pop_front() else { break };
            self.begin(origin, order, since_ns, now_ns);
        }
    }

    fn replied(&mut self, shard: usize, number: u64, reply: Reply, now_ns: u64) {
        match reply {
            Reply::Asked(request) => return self.asked(request, now_ns),
            Reply::Letters { letters, written_total, evicted_total } => {
                if let Some(run) = &mut self.letters {
                    run.found(shard, number, ShardLetters { shard, letters, written_total, evicted_total });
                }
                return;
            }
            Reply::Latencies(streams) => {
                if let Some(run) = &mut self.latencies {
                    run.found(shard, number, ShardLatencies { shard, streams });
                }
                return;
            }
            _ => {}
        }
        if let Some(at) = self.rolls.iter().position(|run| run.number == number) {
            let run = self.rolls.swap_remove(at);
            let answer = match reply {
                Reply::Rolling(answer) => Ok(answer),
                Reply::Refused(reason) => Err(Refusal::new(409, reason, "a provider with a line that is up")),
                _ => return,
            };
            self.rolls_ready.push_back((run.ticket, run.provider, answer));
            return;
        }
        if self.running.as_ref().is_none_or(|running| running.number != number) {
            return;
        }
        let mut running = self.running.take().expect("just looked at");
        match (&running.stage, reply) {
            (Stage::List(listings), Reply::Listed(found)) => {
                let unlisted = &mut self.mirrors[running.order.provider].unlisted;
                let mut missing = Vec::new();
                for (&listing, found) in listings.iter().zip(found) {
                    if found {
                        unlisted.remove(&listing);
                    } else {
                        missing.push(listing);
                    }
                }
                if missing.is_empty() {
                    return self.plan_subscribe(running, now_ns);
                }
                let symbols: Vec<&str> =
                    missing.iter().map(|listing| self.symbol(running.order.provider, listing.0)).collect();
                let reason = format!("the venue does not list, or does not trade, {}", symbols.join(", "));
                let fits = "a symbol that it trades".to_owned();
                self.finish(running, Err(Refusal::new(422, reason, fits)), now_ns);
            }
            (_, Reply::Refused(reason)) => {
                self.undo(&running);
                self.finish(
                    running,
                    Err(Refusal::new(422, reason, "fewer streams, or a symbol that the venue has")),
                    now_ns,
                );
            }
            (Stage::Consumer, _) if running.order.subscribe => {
                running.stage = Stage::Provider;
                self.send_route(running);
            }
            (Stage::Provider, _) if !running.order.subscribe => {
                let provider = ProviderId(running.order.provider as u8);
                let streams = running.plan.streams.iter().map(|&stream| (provider, stream)).collect();
                let consumer = ConsumerId(running.order.consumer as u16);
                running.stage = Stage::Consumer;
                running.number = self
                    .send(self.shard_of(running.order.consumer), Command::Unsubscribe { consumer, streams });
                self.running = Some(running);
            }
            _ => {
                self.changes_total += 1;
                let changed =
                    Changed { version: running.plan.version, stream_count: running.plan.streams.len() };
                self.finish(running, Ok(changed), now_ns);
            }
        }
    }

    fn asked(&mut self, request: control::Request, now_ns: u64) {
        let consumer = request.consumer.index();
        if consumer >= self.topology.consumers.len() {
            return;
        }
        let (subscribe, wanted) = match &request.ask {
            Ask::Trading(on) => {
                self.set_trading(Some(request.number), consumer, *on, now_ns);
                return;
            }
            Ask::Subscribe(wanted) => (true, wanted),
            Ask::Unsubscribe(wanted) => (false, wanted),
        };
        let origin = Origin::Consumer(request.number);
        let taken = Order::of_wanted(&self.topology, subscribe, consumer, wanted)
            .and_then(|order| self.submit(origin, order, now_ns));
        if taken.is_err() {
            self.refused_total += 1;
            let command = if subscribe { control::Command::Subscribe } else { control::Command::Unsubscribe };
            let (request, routing_version) = (request.number, self.version);
            let outcome = Outcome::Refused;
            let result = ControlResult { request, command, outcome, stream_count: 0, routing_version };
            self.tell(consumer, Body::ControlResult(result), now_ns);
        }
    }

    fn begin(&mut self, origin: Origin, order: Order, since_ns: u64, now_ns: u64) {
        let running = Running {
            origin,
            order,
            number: 0,
            stage: Stage::Provider,
            since_ns,
            answered: false,
            plan: Plan::default(),
        };
        if !running.order.subscribe {
            return self.plan_unsubscribe(running, now_ns);
        }
        match self.unknown(&running.order) {
            Err(refusal) => self.finish(running, Err(refusal), now_ns),
            Ok(new) if new.is_empty() => self.plan_subscribe(running, now_ns),
            Ok(new) => self.list(running, new),
        }
    }

    fn finish(&mut self, running: Running, result: Result<Changed, Refusal>, now_ns: u64) {
        self.refused_total += u64::from(result.is_err());
        let (outcome, stream_count, routing_version) = match &result {
            Ok(changed) if changed.stream_count > 0 => (Outcome::Done, changed.stream_count, changed.version),
            Ok(changed) => (Outcome::Unchanged, 0, changed.version),
            Err(_) => (Outcome::Refused, 0, self.version),
        };
        let body = ControlResult {
            request: number_of(running.origin),
            command: command_of(&running.order),
            outcome,
            stream_count: stream_count as u32,
            routing_version,
        };
        self.tell(running.order.consumer, Body::ControlResult(body), now_ns);
        if !running.answered {
            self.finished.push_back(Finished { origin: running.origin, result });
        }
    }
}

/// The stricter rule and the deeper book of two.
fn merge(one: &mut Held, other: Held) {
    one.delivery = one.delivery.max(other.delivery);
    one.book_depth = one.book_depth.max(other.book_depth);
}

const fn number_of(origin: Origin) -> u64 {
    match origin {
        Origin::Operator(_) => 0,
        Origin::Consumer(number) => number,
    }
}

const fn command_of(order: &Order) -> control::Command {
    if order.subscribe { control::Command::Subscribe } else { control::Command::Unsubscribe }
}
