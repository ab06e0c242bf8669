//! A gateway in one thread under a simulated clock: a simulated venue, a network with delay and stalls, one provider, its
//! rings, and a consumer shard that checks every promise. A run follows from its seed.
//!
//! ```text
//! Site (venue) <-> links (delay, cut into pieces, stalls) <-> Provider -> ring -> Host -> Observer
//! ```
//!
//! The part of `World::step` that serves the provider does what `shards::provider::Driver` does with real sockets.

mod changes;
mod checks;
mod link;
mod twin;

use std::sync::{Arc, MutexGuard};

use engine::catalog::{Catalog, ProviderFacts, StreamFacts};
use engine::connection::{Ask, Lost};
use engine::consumer::{Host, OnPanic};
use engine::directory::Directory;
use engine::dispatch::{Dispatcher, LaneCounts};
use engine::event::{BookStatus, Event};
use engine::ids::{ConsumerId, InstrumentId, LineId, Listing, ProviderId, ShardId};
use engine::pipeline::{Pipeline, PipelineOptions};
use engine::pools::PoolSizes;
use engine::provider::{FRAMES_PER_CALL_MAX, Happening, Provider, ProviderOptions};
use engine::ring::{Receiver, ring};
use engine::sequence::Patience;
use engine::time::{FixedClock, ReceiveTime};
use engine::venue::Venue;
use engine::venue::binance::Binance;
use fastrand::Rng;
use shards::provider::changes::ListingRun;
use simvenues::output::{ConnectionId, Ending};
use simvenues::site::Site;
use simvenues::{Fault, VenueConfig, default_instruments};

use self::link::{Link, Owner, Piece, Pipe};
pub use self::twin::Twin;
use crate::ledger::{Ledger, Observer};
use crate::tape::Tape;

/// Where simulated time begins, in nanoseconds since 1970: a day in 2023.
pub(crate) const START_NS: u64 = 1_700_000_000_000_000_000;
/// One second, in nanoseconds.
pub const SECOND_NS: u64 = 1_000_000_000;
/// One millisecond, in nanoseconds.
pub const MS_NS: u64 = 1_000_000;
/// How long a REST request may take, as in the shard.
const REST_NS_MAX: u64 = 10 * SECOND_NS;
/// Steps at one instant after which nothing is under way any more but a mistake.
const STEPS_AT_ONCE_MAX: u32 = 10_000;

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// Of everything that is left to chance.
    pub seed: u64,
    /// The provider's number; more than 0 where several worlds meet.
    pub provider: u8,
    /// The market's product.
    pub product: simvenues::Product,
    /// Canonical bases against the venue's quote.
    pub bases: Vec<&'static str>,
    /// Bases that the venue lists beside them and that the provider does not know.
    pub unknown: Vec<&'static str>,
    /// The number of the first instrument in the process.
    pub instrument_first: u16,
    /// Messages per second of each instrument.
    pub rate: f64,
    /// Connections for the same streams, without the spare one of a roll.
    pub lines: u8,
    /// One way through the network, in nanoseconds.
    pub delay_ns: u64,
    /// What a piece may take longer, in nanoseconds.
    pub jitter_ns: u64,
    /// Bytes of the longest piece that arrives at once.
    pub piece_bytes_max: usize,
    /// Slots of the ring, in event parts.
    pub ring_events: usize,
    /// Parts that may wait for a full ring.
    pub spill_events: usize,
    /// Sizes of the provider's pools.
    pub pools: PoolSizes,
    /// Updates of one book that may wait for its snapshot.
    pub book_waiting_max: usize,
    /// Whether missing trades are asked for by REST.
    pub fill_trades: bool,
    /// The venue's limits, where a test wants others.
    pub limits: Option<simvenues::BinanceLimits>,
}

impl WorldOptions {
    /// Three instruments, one line, a network of 1 ms.
    pub fn with_seed(seed: u64) -> Self {
        Self {
            seed,
            provider: 0,
            product: simvenues::Product::Spot,
            bases: vec!["BTC", "ETH", "SOL"],
            unknown: Vec::new(),
            instrument_first: 0,
            rate: 50.0,
            lines: 1,
            delay_ns: MS_NS,
            jitter_ns: MS_NS / 2,
            piece_bytes_max: 4_096,
            ring_events: 8_192,
            spill_events: 8_192,
            pools: PoolSizes::SPEC,
            book_waiting_max: 100,
            fill_trades: true,
            limits: None,
        }
    }
}

/// Everything.
pub struct World<V: Venue = Binance> {
    /// What it was made of.
    pub options: WorldOptions,
    /// The simulated clock, in nanoseconds since 1970.
    pub now_ns: u64,
    /// The venue.
    pub site: Site,
    /// The provider under test.
    pub provider: Provider<V>,
    /// The consumer shard.
    pub host: Host,
    /// What the provider told its operator, and when.
    pub happenings: Vec<(u64, Happening)>,
    /// The consumer shard takes nothing while this is set.
    pub asleep: bool,
    /// A line whose bytes take longer by so many nanoseconds; nothing is lost.
    pub late: Option<(LineId, u64)>,
    /// Bytes of the venue stand still until then; nothing is lost.
    pub stalled_until_ns: u64,
    /// Event parts taken off the ring.
    pub received_total: u64,
    /// The way to a merge shard, which hears how far the provider is.
    pub(crate) merge_output: Option<usize>,
    /// Levels a side that the end compares with the venue's: fewer than all where a venue proves no more.
    pub compared_levels: usize,
    observer: Observer,
    quote: &'static str,
    depth: usize,
    receiver: Receiver<Event>,
    tape: Option<Tape>,
    rng: Rng,
    links: Vec<Link>,
    dirty: Vec<ConnectionId>,
    /// A subscription that begins is refused, as where no connection has room for it and no more connections fit.
    pub(crate) is_full: bool,
    /// Instruments of which the venue is asked whether it has them.
    listing: Option<ListingRun>,
}

impl World<Binance> {
    /// A world of Binance at its first instant: nothing is connected.
    pub fn new(options: WorldOptions) -> Self {
        let mut twin = Twin::binance(options.product);
        if let (VenueConfig::Binance(config), Some(limits)) = (&mut twin.config, &options.limits) {
            config.limits = limits.clone();
        }
        Self::with(options, twin)
    }
}

impl<V: Venue> World<V> {
    /// A world of any venue at its first instant: nothing is connected.
    pub fn with(options: WorldOptions, twin: Twin<V>) -> Self {
        let Twin { venue, mut config, quote, channels, depth } = twin;
        macro_rules! set {
            ($config:expr) => {{
                $config.instruments = default_instruments(quote)
                    .into_iter()
                    .filter(|spec| {
                        options.bases.iter().chain(&options.unknown).any(|base| **base == *spec.base)
                    })
                    .collect();
                $config.seed = options.seed;
                $config.messages_per_instrument_per_s = options.rate;
            }};
        }
        match &mut config {
            VenueConfig::Binance(config) => set!(config),
            VenueConfig::Kraken(config) => set!(config),
            VenueConfig::Coinbase(config) => set!(config),
        }
        let output_bytes_max = config.output_bytes_max();
        let site = Site::new(config.build(START_NS), output_bytes_max);

        let mut directory = Directory::closed(ProviderId(options.provider));
        for (index, base) in options.bases.iter().enumerate() {
            let symbol = format!("{base}-{quote}");
            let listing = directory
                .add(
                    &venue.venue_symbol(&symbol),
                    &symbol,
                    InstrumentId(options.instrument_first + index as u16),
                )
                .expect("short names");
            for channel in channels {
                directory.add_stream(listing, channel.parse().expect("the engine's own names"));
            }
        }
        let observer = Observer::default();
        let catalog = Arc::new(catalog_of(options.provider, &directory, venue.name()));
        let mut host = Host::new(catalog, 64);
        let made = observer.clone();
        let seat =
            host.add("observer", ConsumerId(0), OnPanic::Disable, Box::new(move || Box::new(made.clone())));
        let (sender, receiver) = ring(options.ring_events);
        let mut dispatcher = Dispatcher::new(64);
        let output = dispatcher.add_output(ShardId(1), sender, options.spill_events);
        dispatcher.routing.begin_version(1);
        assert_eq!((seat, output), (0, 0), "the observer is the first everywhere");
        changes::observe(&directory, 0, &mut dispatcher, &mut host);
        let pipeline_options = PipelineOptions {
            pools: options.pools,
            patience: Patience::SPEC,
            book_depth_max: depth.min(10_000),
            book_reserve: 1_024,
            book_waiting_max: options.book_waiting_max,
            letters_max: 64,
            // And the spare one, for rolls.
            lines: options.lines + 1,
            snapshot_levels: 1_000,
            fill_trades: options.fill_trades,
            share: (0, 1),
            route_all_to: None,
        };
        let provider_options = ProviderOptions {
            websocket_host: "localhost".to_owned(),
            message_bytes_max: 1 << 20,
            snapshot_levels: 1_000,
            rest_share_permille: 800,
            verify_every_ns: 180 * SECOND_NS,
            seed: options.seed,
        };
        let pipeline = Pipeline::new(venue, directory, dispatcher, pipeline_options);
        Self {
            now_ns: START_NS,
            site,
            provider: Provider::new(pipeline, provider_options, ReceiveTime::from_ns(START_NS)),
            host,
            happenings: Vec::new(),
            asleep: false,
            late: None,
            stalled_until_ns: 0,
            received_total: 0,
            merge_output: None,
            compared_levels: usize::MAX,
            observer,
            quote,
            depth,
            receiver,
            tape: None,
            rng: Rng::with_seed(options.seed ^ 0x5eed),
            links: Vec::new(),
            dirty: Vec::new(),
            is_full: false,
            listing: None,
            options,
        }
    }

    /// What the consumer at the end saw.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.observer.ledger()
    }

    /// The consumer at the end.
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }

    /// Canonical symbols.
    pub fn symbols(&self) -> Vec<String> {
        self.options.bases.iter().map(|base| format!("{base}-{}", self.quote)).collect()
    }

    /// Orders a fault now.
    pub fn fault(&mut self, fault: &Fault) {
        self.site.fault(fault, self.now_ns);
    }

    /// Lets so many seconds pass.
    pub fn run_s(&mut self, seconds: f64) {
        let until_ns = self.now_ns + (seconds * SECOND_NS as f64) as u64;
        self.run_until(until_ns, |_| false);
        self.now_ns = until_ns;
    }

    /// Lets time pass until `done` holds, at most so many seconds.
    ///
    /// # Panics
    /// If it does not come to hold.
    pub fn run_for(&mut self, what: &str, seconds: f64, done: impl FnMut(&Self) -> bool) {
        let until_ns = self.now_ns + (seconds * SECOND_NS as f64) as u64;
        assert!(
            self.run_until(until_ns, done),
            "seed {}: {what} did not happen within {seconds} s; happened: {:?}; violations: {:?}",
            self.options.seed,
            self.happenings,
            self.ledger().violations,
        );
    }

    fn run_until(&mut self, until_ns: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        let mut at_once = 0;
        loop {
            self.step();
            if done(self) {
                return true;
            }
            let next_ns = self.next_ns();
            if next_ns > until_ns {
                return false;
            }
            at_once = if next_ns > self.now_ns { 0 } else { at_once + 1 };
            assert!(at_once < STEPS_AT_ONCE_MAX, "seed {}: time stands still", self.options.seed);
            self.now_ns = self.now_ns.max(next_ns);
        }
    }

    /// Whether all books are proved.
    pub fn all_proved(&self) -> bool {
        let (proved, all) = self.provider.books_proved();
        let streams = self.provider.pipeline.directory.streams().iter();
        proved == all && all == streams.filter(|stream| stream.channel.is_book()).count()
    }

    /// Whether every subscription is taken, every book is proved, and no roll on command is under way.
    pub fn is_settled(&self) -> bool {
        let mut lines = self.provider.connections().iter().filter(|line| !line.is_spare());
        self.all_proved()
            && !self.provider.is_rolling_all()
            && lines.all(|line| line.is_subscribed() && !line.lacks_streams())
    }

    /// Runs until every subscription is taken and every book is proved.
    pub fn settle(&mut self) {
        self.run_for("all books proved", 60.0, Self::is_settled);
        self.run_s(1.0);
    }

    /// Records from now on what the venue sends, to be replayed.
    pub fn record(&mut self) {
        self.tape = Some(Tape::default());
    }

    /// What was recorded, as the text of a capture file.
    pub fn recorded(&mut self) -> Vec<u8> {
        self.tape.take().map(Tape::into_text).unwrap_or_default()
    }

    /// What became of all events.
    pub fn lane_counts(&self) -> (LaneCounts, u64) {
        self.provider.pipeline.dispatcher.output_counts(0)
    }

    /// How often a connection was lost for a reason, by its name.
    pub fn lost_count(&self, name: &str) -> usize {
        let lost = |(_, happening): &&(u64, Happening)| matches!(happening, Happening::Lost(_, lost, _) if lost.name() == name);
        self.happenings.iter().filter(lost).count()
    }

    /// When something happens next, by the simulated clock.
    pub(crate) fn next_ns(&self) -> u64 {
        let now = ReceiveTime::from_ns(self.now_ns);
        let mut at_ns = self.site.next_wake_ns();
        at_ns = at_ns.min(self.provider.deadline(now).map_or(u64::MAX, ReceiveTime::ns));
        if self.provider.needs_attention() {
            at_ns = self.now_ns;
        }
        for link in &self.links {
            at_ns = at_ns.min(link.opens_ns.unwrap_or(u64::MAX)).min(link.up.due_ns());
            at_ns = at_ns.min(link.down.due_ns().max(self.stalled_until_ns));
            if let Owner::Rest { deadline_ns, .. } = link.owner {
                at_ns = at_ns.min(deadline_ns);
            }
        }
        at_ns
    }

    /// Does what is to be done now.
    pub(crate) fn step(&mut self) {
        self.site.poll(self.now_ns);
        self.open_links();
        self.carry_up();
        self.fill_down();
        self.carry_down();
        self.serve();
        let mut clock = FixedClock(ReceiveTime::from_ns(self.now_ns));
        self.provider.flush(&mut clock, self.relief_parts(), |_| {});
        if !self.asleep {
            let host = &mut self.host;
            let taken = self.receiver.drain(usize::MAX, |event| host.deliver(event, &mut clock));
            self.received_total += taken as u64;
            self.host.batch_end(taken, clock.0);
        }
        self.links.retain(|link| {
            !matches!(link.owner, Owner::Nobody) || link.far.is_some() || !link.up.pieces.is_empty()
        });
    }

    fn arrival_ns(&mut self) -> u64 {
        self.now_ns + self.options.delay_ns + self.rng.u64(0..=self.options.jitter_ns)
    }

    fn late_ns(&self, index: usize) -> u64 {
        match (self.late, &self.links[index].owner) {
            (Some((late, ns)), Owner::Line(line)) if *line == late => ns,
            _ => 0,
        }
    }

    fn connect(&mut self, owner: Owner) -> usize {
        let opens_ns = Some(self.arrival_ns() + self.options.delay_ns);
        self.links.push(Link { owner, opens_ns, far: None, up: Pipe::default(), down: Pipe::default() });
        self.links.len() - 1
    }

    /// TCP's handshakes that end now.
    fn open_links(&mut self) {
        for index in 0..self.links.len() {
            if self.links[index].opens_ns.is_none_or(|at_ns| at_ns > self.now_ns) {
                continue;
            }
            self.links[index].opens_ns = None;
            self.links[index].far = self.site.open(self.now_ns);
            let refused = self.links[index].far.is_none();
            let now = ReceiveTime::from_ns(self.now_ns);
            match self.links[index].owner {
                Owner::Line(line) if refused => {
                    self.links[index].owner = Owner::Nobody;
                    let lost = Lost::Connect("connection refused".to_owned());
                    self.provider.lost(line, lost, now, &mut FixedClock(now));
                }
                Owner::Line(line) => self.provider.opened(line, now, &mut FixedClock(now)),
                Owner::Rest { id, .. } if refused => {
                    self.links[index].owner = Owner::Nobody;
                    self.links[index].up.pieces.clear();
                    self.provider.rest_failed(id, "connection refused".to_owned(), now);
                }
                Owner::Nobody if !refused => {
                    if let Some(far) = self.links[index].far.take() {
                        self.site.closed(far);
                    }
                }
                _ => {}
            }
        }
    }

    /// Our bytes reach the venue.
    fn carry_up(&mut self) {
        for link in &mut self.links {
            while let Some(far) = link.far
                && let Some(piece) = link.up.take(self.now_ns)
            {
                match piece {
                    Piece::Bytes(bytes) => self.site.receive(far, &bytes, self.now_ns),
                    Piece::End => {
                        self.site.closed(far);
                        link.far = None;
                    }
                }
            }
            if link.far.is_none() && link.opens_ns.is_none() {
                link.up.pieces.clear();
            }
        }
    }

    /// The venue's bytes leave it.
    fn fill_down(&mut self) {
        self.dirty.clear();
        let mut dirty = std::mem::take(&mut self.dirty);
        self.site.take_dirty(&mut dirty);
        for &far in &dirty {
            let Some(index) = self.links.iter().position(|link| link.far == Some(far)) else { continue };
            let ending = self.site.ending(far);
            if !matches!(ending, Some(Ending::Abort(_))) {
                while !self.site.unsent(far).is_empty() {
                    let count =
                        self.rng.usize(1..=self.options.piece_bytes_max).min(self.site.unsent(far).len());
                    let bytes = self.site.unsent(far)[..count].to_vec();
                    self.site.sent(far, count);
                    let at_ns = self.arrival_ns() + self.late_ns(index);
                    self.links[index].down.put(at_ns, Piece::Bytes(bytes));
                }
            }
            if ending.is_some() {
                let at_ns = self.arrival_ns();
                self.links[index].down.put(at_ns, Piece::End);
                self.links[index].far = None;
                self.site.closed(far);
            }
        }
        self.dirty = dirty;
    }

    /// The venue's bytes reach us.
    fn carry_down(&mut self) {
        if self.now_ns < self.stalled_until_ns {
            return;
        }
        let now = ReceiveTime::from_ns(self.now_ns);
        for index in 0..self.links.len() {
            while let Some(piece) = self.links[index].down.take(self.now_ns) {
                match (&mut self.links[index].owner, piece) {
                    (Owner::Line(line), Piece::Bytes(bytes)) => {
                        let line = *line;
                        let left = self.read(line, &bytes, now);
                        if left > 0 {
                            let down = &mut self.links[index].down;
                            let rest = bytes[bytes.len() - left..].to_vec();
                            down.pieces.push_front((self.now_ns, Piece::Bytes(rest)));
                            down.blocked_until_ns = self.now_ns + MS_NS;
                        }
                    }
                    (Owner::Line(line), Piece::End) => {
                        let line = *line;
                        self.links[index].owner = Owner::Nobody;
                        let lost = Lost::Socket("the venue ended the connection".to_owned());
                        self.provider.lost(line, lost, now, &mut FixedClock(now));
                    }
                    (Owner::Rest { answer, .. }, Piece::Bytes(bytes)) => {
                        answer.extend_from_slice(&bytes);
                        self.try_answer(index, now);
                    }
                    (Owner::Rest { id, .. }, Piece::End) => {
                        let id = *id;
                        self.links[index].owner = Owner::Nobody;
                        self.provider.rest_failed(id, "the answer was cut".to_owned(), now);
                    }
                    (Owner::Nobody, _) => {}
                }
            }
        }
    }

    /// Hands bytes to the provider; returns how many did not fit.
    fn read(&mut self, line: LineId, mut bytes: &[u8], now: ReceiveTime) -> usize {
        let mut clock = FixedClock(now);
        while !bytes.is_empty() {
            let space = self.provider.connection_mut(line).space();
            let count = space.len().min(bytes.len());
            if count == 0 {
                return bytes.len();
            }
            space[..count].copy_from_slice(&bytes[..count]);
            if let Some(tape) = &mut self.tape {
                tape.bytes(line, &bytes[..count], now.ns());
            }
            bytes = &bytes[count..];
            let mut taken = self.provider.received(line, count, now, &mut clock);
            while taken == FRAMES_PER_CALL_MAX {
                taken = self.provider.take_frames(line, now, &mut clock);
            }
        }
        0
    }

    fn try_answer(&mut self, index: usize, now: ReceiveTime) {
        let Owner::Rest { id, path, answer, .. } = &mut self.links[index].owner else { return };
        let Some((status, retry_after_s, body)) = parse_answer(answer) else { return };
        let (id, mut body) = (*id, answer[body].to_vec());
        if let Some(tape) = &mut self.tape {
            tape.answer(path, &body, self.now_ns);
        }
        self.hang_up(index);
        let mut clock = FixedClock(now);
        while !self.provider.rest_answered(id, status, retry_after_s, &mut body, now, &mut clock) {}
    }

    /// We close a link.
    fn hang_up(&mut self, index: usize) {
        let at_ns = self.arrival_ns();
        self.links[index].owner = Owner::Nobody;
        self.links[index].up.put(at_ns, Piece::End);
    }

    /// A line's connection dies now; what is under way on it is lost.
    pub fn cut(&mut self, line: LineId) {
        let mine = |link: &Link| matches!(link.owner, Owner::Line(of) if of == line);
        if let Some(index) = self.links.iter().position(mine) {
            self.hang_up(index);
            let now = ReceiveTime::from_ns(self.now_ns);
            self.provider.lost(line, Lost::Socket("cut".to_owned()), now, &mut FixedClock(now));
        }
    }

    /// What the shard's driver does for its provider.
    fn serve(&mut self) {
        let now = ReceiveTime::from_ns(self.now_ns);
        self.provider.timeout(now, &mut FixedClock(now));
        while let Some((id, request)) = self.provider.poll_rest(now) {
            let deadline_ns = self.now_ns + REST_NS_MAX;
            let text = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", request.path);
            let path = request.path.clone();
            let index = self.connect(Owner::Rest { id, path, answer: Vec::new(), deadline_ns });
            let at_ns = self.links[index].opens_ns.unwrap_or(self.now_ns) + self.options.delay_ns;
            self.links[index].up.put(at_ns, Piece::Bytes(text.into_bytes()));
        }
        for index in 0..self.links.len() {
            let Owner::Rest { id, deadline_ns, .. } = self.links[index].owner else { continue };
            if self.now_ns >= deadline_ns {
                self.hang_up(index);
                self.provider.rest_failed(id, "no answer within 10 s".to_owned(), now);
            }
        }
        for number in 0..self.provider.connections().len() {
            let line = LineId(number as u8);
            let ask = self.provider.connection_mut(line).poll_ask();
            let mine = |link: &Link| matches!(link.owner, Owner::Line(of) if of == line);
            match ask {
                Some(Ask::Open) => {
                    self.connect(Owner::Line(line));
                }
                Some(Ask::Close) => {
                    self.send(line);
                    if let Some(index) = self.links.iter().position(mine) {
                        self.hang_up(index);
                    }
                }
                None => self.send(line),
            }
        }
        while let Some(happening) = self.provider.poll_happening() {
            self.happenings.push((self.now_ns, happening));
        }
    }

    fn send(&mut self, line: LineId) {
        let mine = |link: &Link| matches!(link.owner, Owner::Line(of) if of == line);
        let Some(index) = self.links.iter().position(mine) else { return };
        if self.links[index].opens_ns.is_some() {
            return;
        }
        loop {
            let pending = self.provider.connection_mut(line).pending().to_vec();
            if pending.is_empty() {
                return;
            }
            self.provider.connection_mut(line).written(pending.len());
            let at_ns = self.arrival_ns();
            self.links[index].up.put(at_ns, Piece::Bytes(pending));
        }
    }
}

/// The names behind a directory's numbers.
fn catalog_of(provider: u8, directory: &Directory, venue: &str) -> Catalog {
    let streams = directory.streams().iter().map(|stream| {
        let instrument = directory.instrument(stream.listing);
        StreamFacts {
            symbol: instrument.symbol.clone(),
            venue_symbol: instrument.venue_symbol.clone(),
            instrument: instrument.id,
            channel: stream.channel,
        }
    });
    let facts = ProviderFacts { name: venue.to_owned(), venue: venue.to_owned(), streams: streams.collect() };
    let mut symbols = Vec::new();
    for instrument in directory.instruments() {
        let number = instrument.id.index();
        if symbols.len() <= number {
            symbols.resize(number + 1, String::new());
        }
        symbols[number].clone_from(&instrument.symbol);
    }
    let nobody = || ProviderFacts { name: String::new(), venue: String::new(), streams: Vec::new() };
    let before = std::iter::repeat_with(nobody).take(usize::from(provider));
    Catalog { providers: before.chain([facts]).collect(), symbols }
}

/// Status, `Retry-After` and the range of the body, once the answer is whole.
fn parse_answer(bytes: &[u8]) -> Option<(u16, Option<u64>, std::ops::Range<usize>)> {
    let head_bytes = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..head_bytes]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().parse::<u64>().ok())?
        })
    };
    let end = head_bytes + header("content-length")? as usize;
    (bytes.len() >= end).then(|| (status, header("retry-after"), head_bytes..end))
}

/// The book of an instrument as the provider has it.
pub fn provider_book_status<V: Venue>(world: &World<V>, listing: u16) -> BookStatus {
    let book = world.provider.pipeline.book_of(Listing(listing));
    book.map_or(BookStatus::Syncing, engine::book::BookFeed::status)
}
