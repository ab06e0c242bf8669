//! Who receives what, and how that changes while everything runs. No sockets: orders in, commands to shards and results out.
//!
//! A change is planned whole before anything is sent, under a new routing version. To begin a stream, the consumer's shard
//! learns of it first, then the provider routes it; to end one, the other way round: nobody gets what he does not expect.
//! A plan is a list of steps, one command to one shard each; a shard that refuses undoes those before it. One change is
//! under way at a time; the others wait in their order.

mod merges;
mod plan;
mod questions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use engine::catalog::Catalog;
use engine::control::{Ask, Request};
use engine::directory::Directory;
use engine::event::control::{self, ControlAck, ControlResult, Outcome};
use engine::event::{Body, Event, Flags, Header, SCHEMA_VERSION};
use engine::ids::{ConsumerId, Listing, ProviderId, StreamId};
use engine::routing::Delivery;
use engine::time::ReceiveTime;

use super::link::{Command, ControlEnd, Reply};
use super::order::{Change, Changed, Order, Refusal};
use super::server::Ticket;
use crate::orders::switches::Switches;
use crate::topology::Topology;

pub use merges::{MergerMirror, RuleMirror};
use questions::{Asked, RollRun};
pub use questions::{RollAnswered, ShardLatencies, ShardLetters};

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

/// A stream that a consumer holds, with its names.
#[derive(Debug)]
pub struct HeldStream<'a> {
    /// The provider, or the merge shard.
    pub provider: &'a str,
    /// Canonical.
    pub symbol: &'a str,
    /// The kind of feed.
    pub channel: engine::channel::Channel,
    /// The rule that joins it, of a merged stream.
    pub merge: Option<&'a str>,
    /// How it is held.
    pub how: Held,
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
    change: Change,
    number: u64,
    stage: Stage,
    since_ns: u64,
    answered: bool,
    /// Symbols, by provider, of which the venue is still to be asked.
    to_list: VecDeque<(usize, Vec<String>)>,
    plan: Plan,
}

/// Whose reply is awaited.
#[derive(Debug)]
enum Stage {
    /// A venue's: whether it has what these listings of a provider stand for.
    List(usize, Vec<Listing>),
    /// That of the shard of the step under way.
    Step(Option<(usize, Command)>),
}

/// A command to a shard, and what takes it back.
#[derive(Debug)]
struct Step {
    shard: usize,
    command: Command,
    undo: Option<(usize, Command)>,
}

/// A change as it was planned.
#[derive(Debug, Default)]
struct Plan {
    version: u32,
    stream_count: usize,
    steps: VecDeque<Step>,
    /// What takes back the steps that are done, the last one first.
    undo: Vec<(usize, Command)>,
    /// Consumer, provider, stream, and how it was held before.
    before: Vec<(usize, usize, StreamId, Option<Held>)>,
    /// Streams whose subscription at the venue it begins, by provider.
    begun: Vec<(usize, StreamId)>,
    /// The rule that it makes: merge shard by [`MergerMirror`], and name.
    made: Option<(usize, String)>,
    /// Consumers that lose what they did not give up themselves.
    bereft: Vec<usize>,
}

/// The state of all subscriptions and the wires to the shards.
#[derive(Debug)]
pub struct Controller {
    topology: Topology,
    catalog: Arc<Catalog>,
    mirrors: Vec<Mirror>,
    mergers: Vec<MergerMirror>,
    /// By consumer: what it holds.
    held: Vec<BTreeMap<(usize, StreamId), Held>>,
    wires: Vec<Option<ControlEnd>>,
    switches: Arc<Switches>,
    version: u32,
    number: u64,
    queue: VecDeque<(Origin, Change, u64)>,
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
    /// Consumer, provider or number of a merge shard, stream, and how it is held.
    pub held: Vec<(usize, usize, StreamId, Held)>,
    /// The merge shards with their rules.
    pub mergers: Vec<MergerMirror>,
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
            mergers: start.mergers,
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

    /// Names behind the numbers.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
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

    /// Changes that are not over: the one under way, and those behind it.
    pub fn changes_waiting(&self) -> usize {
        self.queue.len() + usize::from(self.running.is_some())
    }

    /// Whether a shard's reply is awaited: the next turn should be soon.
    pub fn is_busy(&self) -> bool {
        self.running.is_some()
            || self.letters.is_some()
            || self.latencies.is_some()
            || !self.rolls.is_empty()
            || self.unsent.iter().any(|list| !list.is_empty())
    }

    /// What a consumer holds.
    pub fn held(&self, consumer: usize) -> impl Iterator<Item = HeldStream<'_>> {
        self.held[consumer].iter().filter_map(|(&(provider, stream), how)| {
            let number = ProviderId(provider as u8);
            let facts = self.catalog.stream(number, stream)?;
            Some(HeldStream {
                provider: self.catalog.provider(number),
                symbol: &facts.symbol,
                channel: facts.channel,
                merge: (provider >= self.mirrors.len()).then_some(facts.venue_symbol.as_str()),
                how: *how,
            })
        })
    }

    /// The same by number: provider or merge shard, stream, and how it is held.
    pub fn held_streams(&self, consumer: usize) -> impl Iterator<Item = (ProviderId, StreamId, Held)> {
        self.held[consumer]
            .iter()
            .map(|(&(provider, stream), how)| (ProviderId(provider as u8), stream, *how))
    }

    /// The canonical symbol of a provider's listing.
    pub fn symbol(&self, provider: usize, listing: u16) -> &str {
        let instruments = self.mirrors.get(provider).map_or(&[][..], |mirror| mirror.directory.instruments());
        instruments.get(usize::from(listing)).map_or("?", |instrument| instrument.symbol.as_str())
    }

    /// Takes a change; its result comes from [`poll_finished`](Self::poll_finished).
    ///
    /// # Errors
    /// [`Refusal`] when too many wait.
    pub fn submit(&mut self, origin: Origin, change: Change, now_ns: u64) -> Result<(), Refusal> {
        if self.queue.len() >= CHANGES_MAX {
            self.refused_total += 1;
            let reason = format!("{CHANGES_MAX} changes wait already");
            return Err(Refusal::new(503, reason, "try again when they are done"));
        }
        if let Some(consumer) = change.consumer() {
            let body = ControlAck { request: number_of(origin), command: change.command() };
            self.tell(consumer, Body::ControlAck(body), now_ns);
        }
        self.queue.push_back((origin, change, now_ns));
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
            let Some((origin, change, since_ns)) = self.queue.pop_front() else { break };
            self.begin(origin, change, since_ns, now_ns);
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
        match (&mut running.stage, reply) {
            (Stage::List(provider, listings), Reply::Listed(found)) => {
                let provider = *provider;
                let unlisted = &mut self.mirrors[provider].unlisted;
                let mut missing = Vec::new();
                for (listing, found) in listings.drain(..).zip(found) {
                    if found {
                        unlisted.remove(&listing);
                    } else {
                        missing.push(listing);
                    }
                }
                if missing.is_empty() {
                    return self.list_or_plan(running, now_ns);
                }
                let symbols: Vec<&str> =
                    missing.iter().map(|listing| self.symbol(provider, listing.0)).collect();
                let name = &self.topology.providers[provider].name;
                let reason =
                    format!("the venue of {name} does not list, or does not trade, {}", symbols.join(", "));
                let fits = "a symbol that it trades".to_owned();
                self.finish(running, Err(Refusal::new(422, reason, fits)), now_ns);
            }
            (_, Reply::Refused(reason)) => {
                self.undo(&mut running);
                self.finish(
                    running,
                    Err(Refusal::new(422, reason, "fewer streams, or a symbol that the venue has")),
                    now_ns,
                );
            }
            (Stage::Step(undo), _) => {
                let undo = undo.take();
                running.plan.undo.extend(undo);
                self.step(running, now_ns);
            }
            (Stage::List(..), _) => {
                let refusal = Refusal::new(500, "a shard answered something else", "a report of this");
                self.finish(running, Err(refusal), now_ns);
            }
        }
    }

    /// Sends the next step, or ends the change if there is none.
    fn step(&mut self, mut running: Running, now_ns: u64) {
        if let Some(Step { shard, command, undo }) = running.plan.steps.pop_front() {
            running.stage = Stage::Step(undo);
            running.number = self.send(shard, command);
            self.running = Some(running);
            return;
        }
        self.changes_total += 1;
        let changed = Changed { version: running.plan.version, stream_count: running.plan.stream_count };
        self.finish(running, Ok(changed), now_ns);
    }

    fn asked(&mut self, request: Request, now_ns: u64) {
        let consumer = request.consumer.index();
        if consumer >= self.topology.consumers.len() {
            return;
        }
        let (command, change) = match &request.ask {
            Ask::Trading(on) => {
                self.set_trading(Some(request.number), consumer, *on, now_ns);
                return;
            }
            Ask::Subscribe(wanted) => (
                control::Command::Subscribe,
                Order::of_wanted(&self.topology, true, consumer, wanted).map(Change::Streams),
            ),
            Ask::Unsubscribe(wanted) => (
                control::Command::Unsubscribe,
                Order::of_wanted(&self.topology, false, consumer, wanted).map(Change::Streams),
            ),
            Ask::Merge(wanted) => {
                (control::Command::Merge, Change::of_merge_wanted(&self.topology, consumer, wanted))
            }
            Ask::Unmerge(name) => (control::Command::Unsubscribe, Ok(Change::of_unmerge(consumer, name))),
        };
        let origin = Origin::Consumer(request.number);
        let taken = change.and_then(|change| self.submit(origin, change, now_ns));
        if taken.is_err() {
            self.refused_total += 1;
            let (request, routing_version) = (request.number, self.version);
            let outcome = Outcome::Refused;
            let result = ControlResult { request, command, outcome, stream_count: 0, routing_version };
            self.tell(consumer, Body::ControlResult(result), now_ns);
        }
    }

    fn begin(&mut self, origin: Origin, change: Change, since_ns: u64, now_ns: u64) {
        let to_list = match &change {
            Change::Streams(order) if order.subscribe => self.to_list_of(order),
            Change::Join(order) => self.to_list_of_merge(order),
            _ => Ok(VecDeque::new()),
        };
        let (to_list, refusal) = match to_list {
            Ok(to_list) => (to_list, None),
            Err(refusal) => (VecDeque::new(), Some(refusal)),
        };
        let stage = Stage::Step(None);
        let plan = Plan::default();
        let running = Running { origin, change, number: 0, stage, since_ns, answered: false, to_list, plan };
        match refusal {
            Some(refusal) => self.finish(running, Err(refusal), now_ns),
            None => self.list_or_plan(running, now_ns),
        }
    }

    /// Asks the next venue for what it is said to have, or goes on when all have answered.
    fn list_or_plan(&mut self, mut running: Running, now_ns: u64) {
        if let Some((provider, symbols)) = running.to_list.pop_front() {
            return self.list(running, provider, symbols);
        }
        let mut plan = std::mem::take(&mut running.plan);
        let planned = match &running.change {
            Change::Streams(order) if order.subscribe => self.plan_subscribe(order, &mut plan),
            Change::Join(order) => self.plan_join(order, &mut plan),
            Change::Merged(order) if order.subscribe => self.plan_merged(order, &mut plan),
            // What ends, fits.
            Change::Streams(order) => {
                self.plan_unsubscribe(order, &mut plan);
                Ok(())
            }
            Change::EndMerge(name) => {
                self.plan_end_merge(name, &mut plan);
                Ok(())
            }
            Change::Merged(order) => {
                self.plan_unmerged(order, &mut plan);
                Ok(())
            }
        };
        if let Err(refusal) = planned {
            return self.finish(running, Err(refusal), now_ns);
        }
        if plan.steps.is_empty() {
            let changed = Changed { version: self.version, stream_count: 0 };
            return self.finish(running, Ok(changed), now_ns);
        }
        running.plan = plan;
        self.step(running, now_ns);
    }

    fn finish(&mut self, running: Running, result: Result<Changed, Refusal>, now_ns: u64) {
        self.refused_total += u64::from(result.is_err());
        let (outcome, stream_count, routing_version) = match &result {
            Ok(changed) if changed.stream_count > 0 => (Outcome::Done, changed.stream_count, changed.version),
            Ok(changed) => (Outcome::Unchanged, 0, changed.version),
            Err(_) => (Outcome::Refused, 0, self.version),
        };
        let stream_count = stream_count as u32;
        if let Some(consumer) = running.change.consumer() {
            let (request, command) = (number_of(running.origin), running.change.command());
            let body = ControlResult { request, command, outcome, stream_count, routing_version };
            self.tell(consumer, Body::ControlResult(body), now_ns);
        }
        let bereft = if result.is_ok() { running.plan.bereft } else { Vec::new() };
        for consumer in bereft {
            let command = control::Command::Unsubscribe;
            let body = ControlResult { request: 0, command, outcome, stream_count, routing_version };
            self.tell(consumer, Body::ControlResult(body), now_ns);
        }
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
