//! A provider shard: sockets on one side, rings on the other, the engine's providers between them.
//!
//! Read it from [`ProviderShard::turn`]: poll the sockets, hand what came to the engine, do what is due, publish.
//! Everything that decides is in `engine::provider`; this file moves bytes, and `lines` those of the WebSocket lines.

pub mod changes;
mod lines;
mod rolls;

use std::sync::mpsc;
use std::time::Duration;

use engine::connection::Connection;
use engine::ids::{LineId, ProviderId};
use engine::pipeline::Race;
use engine::provider::{Provider, RestId};
use engine::time::ReceiveTime;
use engine::venue::Venue;

use crate::capture::Tap;
use crate::control::link::ShardEnd;
use crate::happened::{Happened, Report};
use crate::io::Io;
use crate::machine::executor::{Turn, sleep};
use crate::machine::http::{Endpoint, HttpClient, HttpOptions, Request, RequestId, Response};
use crate::machine::idle::Waker;
use crate::machine::place::Place;
use crate::machine::poller::{Ready, Token};
use crate::machine::socket::Stream;
use crate::machine::target::{Addresses, Target};
use crate::markers::Markers;
use crate::orders::driver::{Markets, Trade};
use crate::probe::ShardProbe;
use crate::report_of::ProviderSummary;
use crate::stages::Stage;
use crate::status::{
    OUTPUTS_MAX, OutputStatus, ProviderStatus, RACES_MAX, STATUS_EVERY_NS, Status, UNPROVED_MAX,
};
use crate::topology::RollPlan;

use changes::Obey;
use lines::LineSocket;
use rolls::Rolls;

/// Poller tokens of one provider: its lines, then its REST connections.
const TOKENS_PER_PROVIDER: u32 = 1 << 12;
/// The first token of a provider's REST connections.
const HTTP_TOKEN: u32 = 1 << 11;
/// The first token of its order entry.
const ORDER_TOKEN: u32 = HTTP_TOKEN + (1 << 10);
/// How long a REST request may take, in nanoseconds.
const REST_NS_MAX: u64 = 10_000_000_000;
/// Between two turns while orders end.
const TURN_AT_END: Duration = Duration::from_micros(200);
/// After a turn that took frames, what they left is looked at within this time, in nanoseconds.
const LOOK_AGAIN_NS: u64 = 10_000_000;

/// The first poller token of a provider's order entry.
pub const fn order_token(provider: u8) -> Token {
    Token(provider as u32 * TOKENS_PER_PROVIDER + ORDER_TOKEN)
}

/// One provider with its sockets.
pub struct Driver<V: Venue> {
    index: u8,
    provider: Provider<V>,
    websocket: Addresses,
    rest_addresses: Addresses,
    sockets: Vec<LineSocket>,
    /// The line that is looked at first in the next turn: the one before had the rest of the time.
    line_first: usize,
    http: HttpClient,
    under_way: Vec<(RequestId, RestId)>,
    /// An answer of which only some pieces are read.
    answer: Option<(RestId, Response)>,
    /// An answer, or a piece of one, was taken in this turn; there may be another.
    answered: bool,
    /// Wakes the consumer shard behind each output.
    wakers: Vec<Waker>,
    reports: mpsc::Sender<Report>,
    /// When the provider has something to do of itself.
    deadline_ns: u64,
    markers: Markers,
    /// Instruments of which the venue is asked whether it has them.
    listing: Option<changes::ListingRun>,
    /// Order entry, where this provider trades.
    orders: Option<Box<dyn Trade>>,
    rolls: Rolls,
    /// Keeps what comes as it came, where the topology asks for it.
    tap: Option<Box<Tap>>,
}

/// A provider of any venue: one call a turn, everything below it is static.
pub trait Drive: Obey {
    /// Takes a report of the poller.
    fn ready(&mut self, ready: Ready, io: &mut Io) -> usize;
    /// Does what is due and publishes; `worked_before` if this turn has read something. Returns how much it did.
    fn turn(&mut self, now_ns: u64, worked_before: bool, io: &mut Io) -> usize;
    /// When the next turn is needed although nothing comes.
    fn deadline_ns(&self) -> u64;
    /// The provider's index in the topology.
    fn index(&self) -> u8;
    /// Whether it has something to do at once.
    fn has_more(&self) -> bool;
    /// How it stands.
    fn status(&self) -> ProviderStatus;
    /// Its order entry, and what that needs to know.
    fn orders(&mut self) -> Option<(&mut dyn Trade, &dyn Markets)>;
    /// Its order entry, to look at.
    fn orders_seen(&self) -> Option<&dyn Trade>;
    /// Says goodbye to the venue and lets what waits for missing numbers go.
    fn stop(&mut self, io: &mut Io);
    /// Publishes what still waits for room. Returns whether all of it is out.
    fn drain(&mut self, io: &mut Io) -> bool;
    /// Everything it counted.
    fn summary(&mut self) -> ProviderSummary;
}

impl<V: Venue> Driver<V> {
    /// A provider on its shard; it starts with the first turn.
    pub fn new(
        index: u8,
        provider: Provider<V>,
        websocket: Target,
        rest: Target,
        wakers: Vec<Waker>,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        let endpoint = Endpoint { host: rest.host.clone(), port: rest.port, tls: rest.tls.clone() };
        let first = Token(u32::from(index) * TOKENS_PER_PROVIDER + HTTP_TOKEN);
        let lines = provider.connections().len();
        Self {
            index,
            provider,
            websocket: Addresses::new(websocket),
            rest_addresses: Addresses::new(rest),
            sockets: (0..lines).map(|_| LineSocket::default()).collect(),
            line_first: 0,
            http: HttpClient::new(endpoint, HttpOptions::default(), first),
            under_way: Vec::new(),
            answer: None,
            answered: false,
            wakers,
            reports,
            deadline_ns: 0,
            markers: Markers::default(),
            listing: None,
            orders: None,
            rolls: Rolls::default(),
            tap: None,
        }
    }

    /// The same, with order entry.
    #[must_use]
    pub fn with_orders(mut self, orders: Option<Box<dyn Trade>>) -> Self {
        self.orders = orders;
        self
    }

    /// The same, with these outputs going to merge shards. An event waits `lateness_ns` at most for missing numbers.
    #[must_use]
    pub fn with_markers(mut self, outputs: &[usize], lateness_ns: u64) -> Self {
        self.markers = Markers::new(ProviderId(self.index), outputs, lateness_ns);
        self
    }

    /// The same, with lines rolled at a quiet time.
    #[must_use]
    pub fn with_rolls(mut self, plan: Option<RollPlan>) -> Self {
        self.rolls.plan = plan;
        self
    }

    /// The same, with everything that comes kept as it came.
    #[must_use]
    pub fn with_tap(mut self, tap: Option<Tap>) -> Self {
        self.tap = tap.map(Box::new);
        self
    }

    fn token(&self, line: LineId) -> Token {
        Token(u32::from(self.index) * TOKENS_PER_PROVIDER + u32::from(line.0))
    }

    /// Sends REST requests that may go and takes the answers that came.
    fn rest(&mut self, now_ns: u64, io: &mut Io) -> usize {
        let now = ReceiveTime::from_ns(now_ns);
        let mut worked = 0;
        if !self.http.has_addresses() {
            self.rest_addresses.poll(&io.resolver, &io.waker, now_ns);
            if !self.rest_addresses.known.is_empty() {
                self.http.set_addresses(self.rest_addresses.known.clone());
            }
        }
        while let Some((id, request)) = self.provider.poll_rest(now) {
            worked += 1;
            match self.http.submit(&Request::get(request.path.as_str()), now_ns + REST_NS_MAX) {
                Ok(number) => {
                    if let Some(tap) = &mut self.tap {
                        tap.asked(number, &request.path);
                    }
                    self.under_way.push((number, id));
                }
                Err(error) => self.provider.rest_failed(id, error.to_string(), now),
            }
        }
        // A kept connection that ended without a request under way is due too: it is closed here, or it would be due forever.
        if self.http.open_requests() > 0 || self.http.next_deadline_ns() == Some(0) {
            worked += self.http.turn(&io.poller, now_ns);
        }
        worked + self.take_answer(io)
    }

    /// Takes an answer, one a turn, or one more piece of it.
    fn take_answer(&mut self, io: &mut Io) -> usize {
        let now = ReceiveTime::from_ns(io.clock.now());
        if self.answer.is_none()
            && let Some((request, answer)) = self.http.poll_response()
        {
            self.answered = true;
            let Some(at) = self.under_way.iter().position(|(known, _)| *known == request) else {
                return 1;
            };
            let (_, id) = self.under_way.swap_remove(at);
            if let Some(tap) = &mut self.tap {
                let body = answer.as_ref().ok().filter(|response| response.status == 200);
                let list = self.provider.pipeline.venue.instruments_request();
                tap.answered(request, body.map(|response| &response.body[..]), &list.path, now.ns());
            }
            match answer {
                Ok(response) => self.answer = Some((id, response)),
                Err(failure) => self.provider.rest_failed(id, failure.to_string(), now),
            }
        }
        let Some((id, response)) = &mut self.answer else { return usize::from(self.answered) };
        self.answered = true;
        if self.provider.pipeline.has_work_left() {
            // The book that the last one made is not out.
            return 1;
        }
        let Response { status, retry_after_s, body, .. } = response;
        let mut probe = ShardProbe::new(&io.clock, &mut io.stages);
        if self.provider.rest_answered(*id, *status, *retry_after_s, body, now, &mut probe) {
            self.answer = None;
        }
        1
    }

    fn publish(&mut self, io: &mut Io) {
        let relief_parts = io.budget.relief_parts;
        let mut probe = ShardProbe::new(&io.clock, &mut io.stages);
        let wakers = &self.wakers;
        let given = self.provider.flush(&mut probe, relief_parts, |output| {
            wakers[output].wake();
        });
        if given > 0 {
            io.budget.relief_parts = relief_parts.saturating_sub(given);
            io.look(Place::Relief(u16::from(self.index)));
        }
    }
}

/// One bit for each of the first 64 lines that are live and subscribed.
fn lines_live(connections: &[Connection]) -> u64 {
    let live = connections.iter().take(64).enumerate().filter(|(_, connection)| connection.is_subscribed());
    live.fold(0, |bits, (line, _)| bits | 1 << line)
}

/// The first books that are not proved, by listing; `u16::MAX` where there are fewer.
fn first_unproved<V: Venue>(provider: &Provider<V>) -> [u16; UNPROVED_MAX] {
    let mut named = [u16::MAX; UNPROVED_MAX];
    for (slot, listing) in named.iter_mut().zip(provider.books_unproved()) {
        *slot = listing.0;
    }
    named
}

/// How the first lines fared.
fn first_races<V: Venue>(provider: &Provider<V>) -> [Race; RACES_MAX] {
    let mut races = [Race::default(); RACES_MAX];
    for (slot, race) in races.iter_mut().zip(provider.pipeline.races()) {
        *slot = race;
    }
    races
}

impl<V: Venue> Drive for Driver<V> {
    #[inline]
    fn ready(&mut self, ready: Ready, io: &mut Io) -> usize {
        let local = ready.token.0 % TOKENS_PER_PROVIDER;
        if local >= ORDER_TOKEN {
            return self.orders().map_or(0, |(orders, markets)| orders.ready(ready, markets, io));
        }
        if local >= HTTP_TOKEN {
            self.http.handle_ready(ready);
            self.deadline_ns = 0;
            return 1;
        }
        let line = LineId(local as u8);
        if !self.sockets[line.index()].ready {
            let now_ns = io.clock.now();
            self.deadline_ns = 0;
            if !self.connect(line, now_ns, io) {
                return 1;
            }
        }
        let mut worked = 0;
        if ready.writable {
            self.deadline_ns = 0;
            worked += 1;
        }
        if ready.readable {
            if io.budget.is_over() || self.provider.pipeline.has_work_left() {
                self.sockets[line.index()].more = true;
                return worked + 1;
            }
            worked += self.read(line, io).max(1);
        }
        worked
    }

    #[inline]
    fn turn(&mut self, now_ns: u64, worked_before: bool, io: &mut Io) -> usize {
        let mut worked = 0;
        io.stages.enter(Place::Provider(u16::from(self.index)));
        // What the last turn left of a frame or an answer is this one's part, in `due`. Of the lines the first that has nothing of
        // this turn is the first next time.
        let (first, count, mut is_left) = (self.line_first, self.sockets.len(), false);
        for step in 0..count {
            let index = (first + step) % count;
            let line = LineId(index as u8);
            if self.sockets[index].more && !self.provider.pipeline.has_work_left() {
                if io.budget.may_go_on() {
                    worked += self.go_on(line, io);
                } else if !is_left {
                    (self.line_first, is_left) = (index, true);
                }
            }
            if !self.provider.connection_mut(line).pending().is_empty() {
                self.deadline_ns = 0;
            }
        }
        if worked > 0 {
            io.look(Place::Provider(u16::from(self.index)));
        }
        if worked_before || worked > 0 {
            // Frames may have left something to wait for: a hole in a stream, a full ring.
            self.deadline_ns = self.deadline_ns.min(now_ns + LOOK_AGAIN_NS);
        }
        if now_ns >= self.deadline_ns || self.provider.needs_attention() {
            worked += self.due(now_ns, io);
            io.look(Place::Due(u16::from(self.index)));
        }
        if now_ns >= self.markers.deadline_ns() && !self.provider.pipeline.has_work_left() {
            let pipeline = &mut self.provider.pipeline;
            let hole = pipeline.deadline();
            self.markers.send(ReceiveTime::from_ns(now_ns), hole, &mut pipeline.dispatcher);
        }
        self.publish(io);
        worked
    }

    fn index(&self) -> u8 {
        self.index
    }

    fn deadline_ns(&self) -> u64 {
        self.deadline_ns.min(self.markers.deadline_ns())
    }

    fn has_more(&self) -> bool {
        self.sockets.iter().any(|socket| socket.more)
    }

    fn status(&self) -> ProviderStatus {
        let dispatcher = &self.provider.pipeline.dispatcher;
        let connections = self.provider.connections();
        let (books_proved, books) = self.provider.books_proved();
        let mut status = ProviderStatus {
            provider: self.index,
            counts: *self.provider.pipeline.counts(),
            rest: *self.provider.rest_counts(),
            care: *self.provider.care_counts(),
            connections: connections.iter().filter(|connection| !connection.is_spare()).count() as u8,
            connections_live: connections.iter().filter(|connection| connection.is_subscribed()).count()
                as u8,
            lost_total: connections.iter().map(|connection| connection.counts.lost_total).sum(),
            books: books as u32,
            books_proved: books_proved as u32,
            lines_live: lines_live(connections),
            races: first_races(&self.provider),
            books_unproved: first_unproved(&self.provider),
            routing_version: dispatcher.routing.version(),
            pools: [
                self.provider.pipeline.pools().frames.usage(),
                self.provider.pipeline.pools().raws.usage(),
                self.provider.pipeline.pools().events.usage(),
            ]
            .map(|usage| (usage.out as u32, usage.capacity as u32)),
            letters_total: dispatcher.letters.written_total(),
            output_count: self.wakers.len().min(OUTPUTS_MAX) as u8,
            outputs: [OutputStatus::default(); OUTPUTS_MAX],
        };
        for ((output, slot), shard) in status.outputs.iter_mut().enumerate().zip(dispatcher.shards()) {
            let (counts, in_flight) = dispatcher.output_counts(output);
            let state = dispatcher.output_state(output);
            *slot = OutputStatus { shard: shard.0, state, counts, in_flight };
        }
        status
    }

    fn orders(&mut self) -> Option<(&mut dyn Trade, &dyn Markets)> {
        let orders = self.orders.as_deref_mut()?;
        Some((orders, &self.provider.pipeline))
    }

    fn orders_seen(&self) -> Option<&dyn Trade> {
        self.orders.as_deref()
    }

    fn stop(&mut self, io: &mut Io) {
        self.provider.stop();
        for (index, slot) in self.sockets.iter_mut().enumerate() {
            let Some(mut stream) = slot.stream.take() else { continue };
            if slot.ready {
                let _ = stream.send(self.provider.connection_mut(LineId(index as u8)).pending());
                let _ = stream.flush();
            }
            let _ = io.poller.remove(&stream);
        }
        self.provider.pipeline.finish();
        self.publish(io);
    }

    fn drain(&mut self, io: &mut Io) -> bool {
        self.publish(io);
        !self.provider.pipeline.dispatcher.is_congested()
    }

    fn summary(&mut self) -> ProviderSummary {
        self.provider.pipeline.release_slots();
        let mut summary = ProviderSummary::of(self.index, &self.provider);
        if let Some(tap) = &mut self.tap {
            summary.facts["capture"] = tap.finish();
        }
        summary
    }
}

impl<V: Venue> Driver<V> {
    /// What has come due: connections, requests, writes.
    #[cold]
    fn due(&mut self, now_ns: u64, io: &mut Io) -> usize {
        let now = ReceiveTime::from_ns(now_ns);
        {
            let mut probe = ShardProbe::new(&io.clock, &mut io.stages);
            self.provider.timeout(now, &mut probe);
        }
        self.roll_due(now_ns);
        self.answered = false;
        let worked = self.rest(now_ns, io);
        for index in 0..self.sockets.len() {
            let line = LineId(index as u8);
            if !self.sockets[index].ready && self.sockets[index].stream.is_some() {
                self.connect(line, now_ns, io);
            }
            self.serve(line, now_ns, io);
        }
        while let Some(happening) = self.provider.poll_happening() {
            // The supervisor is gone only while the process ends.
            let _ = self.reports.send(Report { provider: self.index, happening: Happened::Feed(happening) });
        }
        if let Some(tap) = &mut self.tap {
            tap.flush(now_ns);
        }
        let mut at = self.provider.deadline(now).map_or(u64::MAX, ReceiveTime::ns);
        at = at.min(self.http.next_deadline_ns().unwrap_or(u64::MAX)).min(self.rolls.deadline_ns());
        at = at.min(self.tap.as_ref().map_or(u64::MAX, |tap| tap.deadline_ns()));
        for slot in &self.sockets {
            at = at.min(slot.stream.as_ref().and_then(Stream::deadline_ns).unwrap_or(u64::MAX));
            if slot.wanted {
                at = at.min(self.websocket.not_before_ns);
            }
        }
        if !self.http.has_addresses() {
            at = at.min(self.rest_addresses.not_before_ns.max(now_ns + 1));
        }
        if self.answered {
            at = now_ns;
        }
        self.deadline_ns = at;
        worked
    }
}

/// A shard with its providers.
pub struct ProviderShard {
    /// What they share.
    pub io: Io,
    /// The providers of this shard.
    pub drivers: Vec<Box<dyn Drive>>,
    /// The one whose turn comes first.
    first: usize,
    /// Driver of each provider index.
    driver_of: Vec<usize>,
    statuses: rtrb::Producer<Status>,
    status_at_ns: u64,
    wire: ShardEnd,
    /// Providers that ask their venue for instruments.
    listing: bool,
}

impl ProviderShard {
    /// A shard with these providers, given with their index in the topology.
    pub fn new(
        io: Io,
        drivers: Vec<(u8, Box<dyn Drive>)>,
        statuses: rtrb::Producer<Status>,
        wire: ShardEnd,
    ) -> Self {
        let mut driver_of = Vec::new();
        let mut list = Vec::new();
        for (index, driver) in drivers {
            if driver_of.len() <= usize::from(index) {
                driver_of.resize(usize::from(index) + 1, usize::MAX);
            }
            driver_of[usize::from(index)] = list.len();
            list.push(driver);
        }
        Self { io, drivers: list, first: 0, driver_of, statuses, status_at_ns: 0, wire, listing: false }
    }

    /// The end of its orders, before all else: see [`crate::orders::driver`]. Until `deadline_ns` at the latest.
    pub async fn end_orders(&mut self, deadline_ns: u64) {
        let now_ns = self.io.clock.now();
        for driver in &mut self.drivers {
            if let Some((orders, _)) = driver.orders() {
                orders.stop(now_ns);
            }
        }
        loop {
            let now_ns = self.io.clock.now();
            self.turn(now_ns);
            let quiet = |driver: &dyn Drive| driver.orders_seen().is_none_or(Trade::is_quiet);
            if now_ns >= deadline_ns || self.drivers.iter().all(|driver| quiet(&**driver)) {
                return;
            }
            sleep(TURN_AT_END).await;
        }
    }

    /// Ends it: says goodbye, and publishes what waits until `deadline_ns` at the latest. Returns what it counted.
    pub fn finish(mut self, deadline_ns: u64) -> Vec<ProviderSummary> {
        let mut ended = Vec::new();
        for driver in &mut self.drivers {
            let orders = driver.orders().map(|(orders, _)| orders);
            ended.push(orders.map(|orders| orders.finish(&mut self.io)));
            driver.stop(&mut self.io);
        }
        for driver in &mut self.drivers {
            while !driver.drain(&mut self.io) && self.io.clock.now() < deadline_ns {
                std::thread::yield_now();
            }
        }
        let summaries = self.drivers.iter_mut().zip(ended);
        let summaries = summaries.map(|(driver, orders)| driver.summary().with_orders(orders)).collect();
        let now_ns = self.io.clock.now();
        self.io.stages.finish(now_ns);
        summaries
    }

    fn tell(&mut self) {
        for driver in &self.drivers {
            // A supervisor that is behind gets the next one.
            let _ = self.statuses.push(Status::Provider(driver.status()));
            if let Some(orders) = driver.orders_seen() {
                let _ = self.statuses.push(Status::Orders(orders.status()));
            }
        }
    }
}

impl Turn for ProviderShard {
    fn turn(&mut self, now_ns: u64) -> usize {
        let mut worked = 0;
        self.io.budget.begin(now_ns);
        while let Some(command) = self.wire.take() {
            self.command(command, now_ns);
            worked += 1;
        }
        // Orders first: what they cost market data is bounded, what market data costs them is not.
        for driver in &mut self.drivers {
            let place = Place::Orders(u16::from(driver.index()));
            if let Some((orders, markets)) = driver.orders() {
                let moved = orders.turn(now_ns, markets, &mut self.io);
                if moved > 0 {
                    self.io.look(place);
                }
                worked += moved;
            }
        }
        let events = self.io.poller.poll().unwrap_or(0);
        for index in 0..events {
            let Some(ready) = self.io.poller.event(index) else { break };
            let provider = (ready.token.0 / TOKENS_PER_PROVIDER) as usize;
            if let Some(driver) = self.driver_of.get(provider).and_then(|&at| self.drivers.get_mut(at)) {
                let place = Place::Provider(provider as u16);
                self.io.stages.enter(place);
                worked += driver.ready(ready, &mut self.io);
                self.io.look(place);
            }
        }
        // Each turn another one is the first: to go on with what the last one left, and to give out what waits for room, of which
        // they share one amount.
        let count = self.drivers.len();
        self.first = (self.first + 1) % count.max(1);
        for index in (self.first..count).chain(0..self.first) {
            worked += self.drivers[index].turn(now_ns, worked > 0, &mut self.io);
        }
        self.wire.flush();
        if self.listing {
            self.poll_listed();
        }
        if now_ns >= self.status_at_ns {
            self.status_at_ns = now_ns + STATUS_EVERY_NS;
            self.tell();
        }
        if worked > 0 {
            let took_ns = self.io.look(Place::Turn).saturating_sub(now_ns);
            self.io.stages.record(Stage::Turn, took_ns);
        }
        self.io.stages.turn(now_ns);
        worked
    }

    fn next_deadline_ns(&self) -> Option<u64> {
        if self.drivers.iter().any(|driver| driver.has_more()) {
            return Some(0);
        }
        let orders = self.drivers.iter().filter_map(|driver| driver.orders_seen()).map(Trade::deadline_ns);
        self.drivers.iter().map(|driver| driver.deadline_ns()).chain(orders).chain([self.status_at_ns]).min()
    }

    fn ring_waiting(&self) -> bool {
        let requested = |driver: &dyn Drive| driver.orders_seen().is_some_and(Trade::has_requests);
        self.wire.has_command() || self.drivers.iter().any(|driver| driver.has_more() || requested(&**driver))
    }
}
