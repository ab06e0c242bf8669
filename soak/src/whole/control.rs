//! The control shard in the simulation: the gateway's own [`Controller`], its wires, and what each shard does with a command.
//!
//! ```text
//! operator (JSON) ------+-> Controller -> wire -> provider, merge and consumer shards, at the beginning of a turn
//! consumers (Context) --+        ^------- wire <- replies, requests
//! ```
//!
//! Only threads are missing: who would turn when woken turns a moment later, by seed. A shard that stands takes no commands.

mod asks;
mod checks;
mod setup;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use engine::catalog::Catalog;
use engine::channel::Channel;
use engine::consumer::Host;
use engine::dead_letter::DeadLetters;
use engine::directory::Directory;
use engine::event::Event;
use engine::ids::{ProviderId, ShardId, StreamId};
use engine::ring::Receiver;
use engine::routing::Route;
use engine::time::FixedClock;
use fastrand::Rng;
use shards::consumer::commands::{Seats, obey as obey_consumer, pass_on_requests};
use shards::control::controller::{Controller, Origin};
use shards::control::link::{Command, Numbered, Reply, ShardEnd};
use shards::control::order::{Change, Changed, Refusal};
use shards::merger::commands::obey as obey_merger;
use shards::orders::switches::Switches;
use shards::provider::changes::{Obey, Providers, obey as obey_provider};

use super::auditor::Pace;
use super::feed::Feed;
use super::sabotage::Saboteur;
use super::{CONSUMERS, DEPTHS, Input, MERGER, PROVIDERS, Sabotage, Shard, Whole, carries_of};
use crate::sim::{MS_NS, SECOND_NS};
pub(super) use setup::plan;

/// Until a woken shard turns, in nanoseconds.
const WAKES_NS_MAX: u64 = 2 * MS_NS;
/// Until the control thread sees a reply while one is due, and a request otherwise, in nanoseconds: as its loop waits.
const BUSY_NS: u64 = MS_NS;
const IDLE_NS: u64 = 20 * MS_NS;
/// Looks of the control thread at which nothing has come do nothing but count the time: these are enough of them, in nanoseconds.
const LOOK_NS: u64 = 100 * MS_NS;

/// A change that an operator asked for.
#[derive(Debug)]
struct Asked {
    change: Change,
    /// How things stood when it was asked for.
    pace: Pace,
    /// The one before it asked for the same.
    repeats: bool,
    /// What came of it, once that is known.
    result: Option<Result<Changed, Refusal>>,
}

/// A stream of a consumer: consumer, provider, symbol and channel.
type HeldStream = (usize, usize, String, Channel);

/// The control thread, and the shards' ends of its wires.
pub(super) struct Control {
    controller: Controller,
    switches: Arc<Switches>,
    switches_version: u64,
    /// By shard of the topology; the observer's has none.
    ends: Vec<Option<ShardEnd>>,
    /// By shard: when it takes the commands that wait; `u64::MAX` while none does.
    takes_at_ns: Vec<u64>,
    /// When the control thread turns next; `u64::MAX` while nothing is to do.
    turns_at_ns: u64,
    /// By provider: until when its shard stands; and the control thread.
    shards_stand_until_ns: [u64; PROVIDERS],
    thread_stands_until_ns: u64,
    rng: Rng,
    pace: Rc<Cell<Pace>>,
    /// Providers that ask their venue for instruments.
    listing: [bool; PROVIDERS],
    /// By number of their tickets; and those that are not over, oldest first.
    asked: Vec<Asked>,
    open: VecDeque<usize>,
    /// What operators were answered: whether a stream is held, and a rule in force; `None` where the answer came too late.
    held: BTreeMap<HeldStream, Option<bool>>,
    rules: BTreeMap<String, Option<bool>>,
    /// Streams and rules that consumers asked for themselves: when their turn came, no operator is told.
    own_streams: BTreeSet<HeldStream>,
    own_rules: BTreeSet<String>,
    rules_total: u32,
    /// Questions for dead letters and latencies, and rolls: asked, and answered.
    questions: (u32, u32),
    /// How things stood when rolls were asked for, by number of their tickets.
    rolls: Vec<Pace>,
    /// What the end wants back, by provider: everything, once faults are over.
    wanted_back: Option<[WantedBack; PROVIDERS]>,
    /// Nothing has changed since what is in force was compared.
    is_compared: bool,
    pub(super) compared_total: u64,
    broken: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WantedBack {
    From(u64),
    Asked(usize),
    There,
}

impl Control {
    pub(super) fn new(
        topology: shards::topology::Topology,
        rings: (usize, usize),
        catalog: Arc<Catalog>,
        directories: Vec<Directory>,
        seed: u64,
    ) -> Self {
        let switches = Arc::new(Switches::new(topology.consumers.iter().map(|consumer| consumer.trading)));
        let shards = topology.shards.len();
        let (start, ends) = setup::start(topology, rings, catalog, directories, Arc::clone(&switches));
        Self {
            controller: Controller::new(start),
            switches_version: switches.version(),
            switches,
            ends,
            takes_at_ns: vec![u64::MAX; shards],
            turns_at_ns: u64::MAX,
            shards_stand_until_ns: [0; PROVIDERS],
            thread_stands_until_ns: 0,
            rng: Rng::with_seed(seed ^ 0xc0_27_01),
            pace: Rc::default(),
            listing: [false; PROVIDERS],
            asked: Vec::new(),
            open: VecDeque::new(),
            held: BTreeMap::new(),
            rules: BTreeMap::new(),
            own_streams: BTreeSet::new(),
            own_rules: BTreeSet::new(),
            rules_total: 0,
            questions: (0, 0),
            rolls: Vec::new(),
            wanted_back: None,
            is_compared: false,
            compared_total: 0,
            broken: None,
        }
    }

    /// When it has something to do next.
    pub(super) fn next_ns(&self, whole: &Whole) -> u64 {
        let shards = self.takes_at_ns.iter().enumerate().filter(|(_, at_ns)| **at_ns < u64::MAX);
        let shards = shards.map(|(number, at_ns)| (*at_ns).max(whole.stands_until_ns(ShardId(number as u8))));
        let turn = self.turns_at_ns.max(self.thread_stands_until_ns);
        let back = self.wanted_back.iter().flatten().filter_map(|wanted| match wanted {
            WantedBack::From(at_ns) => Some(*at_ns),
            _ => None,
        });
        shards.chain([turn]).chain(back).min().unwrap_or(u64::MAX)
    }

    /// The control thread turns within so many nanoseconds.
    fn turn_within(&mut self, now_ns: u64, ns: u64) {
        self.turns_at_ns = self.turns_at_ns.min(now_ns + self.rng.u64(0..=ns));
    }

    /// One turn of the control thread.
    fn turn(&mut self, now_ns: u64) {
        self.controller.turn(now_ns);
        while let Some(finished) = self.controller.poll_finished() {
            if let Origin::Operator(ticket) = finished.origin {
                self.ended(ticket.number(), finished.result, now_ns);
            }
        }
        while let Some((tickets, letters)) = self.controller.poll_letters() {
            self.answered(tickets.len(), letters.len(), self.ends.iter().flatten().count());
        }
        while let Some((tickets, latencies)) = self.controller.poll_latencies() {
            self.answered(tickets.len(), latencies.len(), CONSUMERS.len());
        }
        while let Some((ticket, provider, answer)) = self.controller.poll_rolls() {
            self.rolling(ticket.number(), provider, answer);
        }
        self.pace.set(Pace { ahead: self.controller.changes_waiting(), ..self.pace.get() });
        self.turns_at_ns = if self.controller.is_busy() { now_ns + LOOK_NS } else { u64::MAX };
        self.is_compared = false;
    }

    fn broke(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// Commands that the shard of the topology's number `shard` takes now.
    fn take(&mut self, shard: usize, whole: &mut Whole) {
        let mut replied = false;
        while let Some(command) = self.ends[shard].as_mut().and_then(ShardEnd::take) {
            let number = command.number;
            let reply = if shard < PROVIDERS {
                self.at_provider(shard, command, whole)
            } else if ShardId(shard as u8) == MERGER {
                Some(at_merger(command, whole))
            } else {
                at_consumers(shard - usize::from(CONSUMERS[0].0), command, whole)
            };
            if let (Some(reply), Some(end)) = (reply, &mut self.ends[shard])
                && !whole.sabotage.strikes(Sabotage::LoseReply)
            {
                end.reply(number, reply);
                replied = true;
            }
        }
        if replied {
            self.turn_within(whole.now_ns, BUSY_NS);
        }
        self.is_compared = false;
    }

    fn at_provider(&mut self, shard: usize, command: Numbered, whole: &mut Whole) -> Option<Reply> {
        let now_ns = whole.now_ns;
        let provider = ProviderId(shard as u8);
        let (mut routes, mut version) = (Vec::new(), 0);
        if let Command::Route { change, .. } = &command.command {
            (routes, version) = (change.routes.clone(), change.version);
            if !routes.is_empty() && whole.sabotage.strikes(Sabotage::LoseRoute) {
                return Some(Reply::Done);
            }
        }
        let reply = obey_provider(&mut One(provider.0, &mut *whole.feeds[shard]), command, now_ns);
        self.listing[shard] |= reply.is_none();
        // What it is to say to its venue leaves in this turn.
        whole.feeds[shard].step(now_ns);
        whole.facts[shard] = whole.feeds[shard].streams();
        let ids: Vec<ShardId> = whole.feeds[shard].dispatcher().shards().collect();
        if !matches!(reply, Some(Reply::Done)) {
            // Consumers were told of deeper books: what was refused stays as it was.
            let routing = &whole.feeds[shard].dispatcher_ref().routing;
            let now = |&(stream, Route { output, .. }): &(_, Route)| {
                Some((stream, *routing.route(stream, output)?))
            };
            routes = routes.iter().filter_map(now).collect();
        }
        for (stream, route) in routes {
            let Some(number) = CONSUMERS.iter().position(|id| *id == ids[route.output]) else { continue };
            let facts = &whole.facts[shard][stream.index()];
            let observer = whole.feeds[shard].observer();
            let key = crate::ledger::key(provider, &facts.symbol);
            let last = observer.ledger().trades.get(&key).map_or(0, |log| log.last);
            let carries = carries_of(facts.channel, depth_number(route.book_depth));
            for seated in &whole.shards[number].seated {
                seated.audit.borrow_mut().reroute((provider, stream), carries, version, Some(last));
            }
        }
        reply
    }

    /// What shards say of themselves after a turn: what venues list, and what consumers ask for.
    fn take_replies(&mut self, whole: &mut Whole) {
        for shard in 0..self.ends.len() {
            let stands = whole.now_ns < whole.stands_until_ns(ShardId(shard as u8));
            let Some(end) = &mut self.ends[shard] else { continue };
            end.flush();
            if stands {
                continue;
            }
            if shard < PROVIDERS {
                if let Some((number, reply)) = whole.feeds[shard].listed() {
                    end.reply(number, reply);
                    self.listing[shard] = false;
                    self.turn_within(whole.now_ns, BUSY_NS);
                }
            } else if let Some(number) = CONSUMERS.iter().position(|id| usize::from(id.0) == shard)
                && pass_on_requests(&mut whole.shards[number].host, end) > 0
            {
                self.turn_within(whole.now_ns, IDLE_NS);
            }
        }
    }

    /// Changes carried out, and those refused.
    pub(super) const fn counts(&self) -> (u64, u64) {
        self.controller.counts()
    }

    /// Changes of operators whose outcome nobody knew in time.
    pub(super) fn unanswered(&self) -> u64 {
        let late = |asked: &&Asked| matches!(&asked.result, Some(Err(refusal)) if refusal.status == 504);
        self.asked.iter().filter(late).count() as u64
    }

    /// Where the control thread stands, for a story.
    pub(super) fn state(&self) -> String {
        let (waiting, wanted) = (self.controller.changes_waiting(), &self.wanted_back);
        format!("{waiting} changes wait, wanted back {wanted:?}, listing {:?}", self.listing)
    }
}

/// The number of one of [`DEPTHS`]: a book that is deeper than all others is whole.
fn depth_number(levels: usize) -> usize {
    DEPTHS.iter().position(|depth| *depth >= levels).expect("the last takes all")
}

/// The shard of one provider.
struct One<'a>(u8, &'a mut dyn Feed);

impl Providers for One<'_> {
    fn provider(&mut self, index: u8) -> Option<&mut dyn Obey> {
        if index == self.0 { Some(&mut *self.1) } else { None }
    }

    fn letters(&self) -> Vec<&DeadLetters> {
        vec![self.1.letters()]
    }
}

fn at_merger(command: Numbered, whole: &mut Whole) -> Reply {
    let rings = &mut whole.merge_rings;
    let joined = |provider, ring| rings.push(Input::of(provider, ring));
    obey_merger(&mut whole.merger, command.command, joined, |_| {})
}

fn at_consumers(number: usize, Numbered { command, .. }: Numbered, whole: &mut Whole) -> Option<Reply> {
    let (now, sabotage) = (whole.clock(), &mut whole.sabotage);
    let shard = &mut whole.shards[number];
    let seat_of =
        |shard: &Shard, consumer| shard.seated.iter().position(|seated| seated.consumer == consumer);
    match &command {
        Command::Subscribe { consumer, streams, version, catalog, .. } => {
            let seat = seat_of(shard, *consumer)?;
            for &(provider, stream, copy) in streams {
                let facts = catalog.stream(provider, stream).expect("it names what it brings");
                let carries = carries_of(facts.channel, depth_number(copy.map_or(0, |(levels, _)| levels)));
                shard.seated[seat].audit.borrow_mut().subscribe((provider, stream), carries, *version);
                let disturbed = (0..shard.seated.len())
                    .find(|&other| other != seat && shard.host.is_subscribed(other, provider, stream));
                if let Some(other) = disturbed
                    && sabotage.strikes(Sabotage::DisturbNeighbour)
                {
                    shard.host.unsubscribe(other, provider, stream);
                }
            }
        }
        Command::Unsubscribe { consumer, streams } => {
            let seat = seat_of(shard, *consumer)?;
            for &place in streams {
                shard.seated[seat].audit.borrow_mut().end(place);
            }
        }
        Command::Tell { .. } if sabotage.strikes(Sabotage::LoseAnswer) => return None,
        _ => {}
    }
    let began = match &command {
        Command::Subscribe { consumer, streams, version, .. } => {
            let providers: BTreeSet<ProviderId> = streams.iter().map(|&(provider, ..)| provider).collect();
            Some((seat_of(shard, *consumer)?, providers, *version))
        }
        _ => None,
    };
    let reply = obey_consumer(&mut Turned { shard: &mut *shard, sabotage, clock: now }, command);
    if let Some((seat, providers, version)) = began {
        for provider in providers {
            shard.seated[seat].audit.borrow_mut().begin_version(provider, version);
        }
    }
    reply
}

/// A consumer shard at the beginning of a turn.
struct Turned<'a> {
    shard: &'a mut Shard,
    sabotage: &'a mut Saboteur,
    clock: FixedClock,
}

impl Seats for Turned<'_> {
    fn host(&mut self) -> &mut Host {
        &mut self.shard.host
    }

    fn add_ring(&mut self, ring: Receiver<Event>) {
        self.shard.rings.push(Input { from: None, ring, taken_total: 0 });
    }

    fn drain(&mut self) -> usize {
        self.shard.drain(self.sabotage, &mut self.clock)
    }

    fn welcome(&mut self, seat: usize, place: (ProviderId, StreamId), depth: usize, version: u32) {
        self.shard.host.welcome(seat, place, depth, version, &mut self.clock);
    }

    fn show(&mut self, seat: usize, event: &Event) {
        self.shard.host.show(seat, event, &mut self.clock);
    }
}

impl Whole {
    /// Until when a shard of the topology stands.
    pub(super) fn stands_until_ns(&self, shard: ShardId) -> u64 {
        if shard == MERGER {
            return self.merger_stands_until_ns;
        }
        if let Some(number) = CONSUMERS.iter().position(|id| *id == shard) {
            return self.shards[number].asleep_until_ns;
        }
        let provider = usize::from(shard.0);
        self.control
            .as_ref()
            .and_then(|control| control.shards_stand_until_ns.get(provider).copied())
            .unwrap_or(0)
    }

    /// The control thread's turn, and the commands of all shards that take theirs now.
    pub(super) fn take_commands(&mut self) {
        let now_ns = self.now_ns;
        // Asked first: while it is away nobody stands by its word.
        let stand: Vec<_> = (0..=CONSUMERS[1].0).map(|id| self.stands_until_ns(ShardId(id))).collect();
        let Some(mut control) = self.control.take() else { return };
        control.want_back(self);
        if now_ns >= control.turns_at_ns.max(control.thread_stands_until_ns) {
            control.turn(now_ns);
            self.follow_switches(&mut control);
        }
        for (shard, stands_until_ns) in stand.into_iter().enumerate() {
            let Some(end) = &control.ends[shard] else { continue };
            if !end.has_command() {
                control.takes_at_ns[shard] = u64::MAX;
                continue;
            }
            if control.takes_at_ns[shard] == u64::MAX {
                let late_ns = if self.sabotage.strikes(Sabotage::ObeyLate) { 3 * SECOND_NS } else { 0 };
                control.takes_at_ns[shard] = now_ns + late_ns + control.rng.u64(20_000..WAKES_NS_MAX);
            }
            if now_ns >= control.takes_at_ns[shard].max(stands_until_ns) {
                control.takes_at_ns[shard] = u64::MAX;
                control.take(shard, self);
            }
        }
        self.control = Some(control);
    }

    /// What shards say after their turns.
    pub(super) fn take_replies(&mut self) {
        if let Some(mut control) = self.control.take() {
            control.take_replies(self);
            self.control = Some(control);
        }
    }

    /// Time goes on until `next_ns`: quietly, unless a shard stands or a venue is asked.
    pub(super) fn pass_quietly(&mut self, next_ns: u64) {
        let Some(control) = &self.control else { return };
        let shards = (0..control.ends.len()).map(|shard| self.stands_until_ns(ShardId(shard as u8)));
        let stands = shards.chain([control.thread_stands_until_ns]).any(|until_ns| self.now_ns < until_ns);
        if !stands && !control.listing.contains(&true) {
            let pace = control.pace.get();
            control.pace.set(Pace { quiet_ns: pace.quiet_ns + (next_ns - self.now_ns), ..pace });
        }
    }

    /// Order entry follows the switches, as its driver does when they have moved.
    fn follow_switches(&mut self, control: &mut Control) {
        let switches = &control.switches;
        if let Some(trade) = &mut self.trade
            && std::mem::replace(&mut control.switches_version, switches.version()) != switches.version()
        {
            trade.kill(switches.killed_all());
            for consumer in 0..crate::trade::CONSUMERS {
                trade.set_trading(consumer, switches.trading(usize::from(consumer)));
            }
        }
    }
}
