//! What goes wrong in a run of the whole gateway: kinds of trouble, of which each seed has its own mix, since some bugs
//! need the absence of others' noise.

use engine::ids::ProviderId;
use engine::merge::{BboSource, MergeKind, MergeRule};
use engine::orders::desk::Durability;
use engine::orders::secret::Secret;
use engine::orders::venue::binance::{BinanceKey, BinanceOrders};
use engine::orders::{ClientOrderId, OrderRequest, OrderSide, TimeInForce};
use fastrand::Rng;
use simvenues::exchange::KeyKind;
use simvenues::site::Site;
use simvenues::{
    BinanceConfig, Fault, How, InstrumentSpec, OrderFault, Product, RestFault, Target, TradingConfig,
    VenueConfig, VenueFault, default_instruments,
};

use super::{BASES, MERGED, PROVIDERS, TO_MERGER, Whole};
use crate::disk::Crash;
use crate::sim::{MS_NS, SECOND_NS};
use crate::trade::{CONSUMERS, Setup, Trade};

/// Merge rules that are there at once.
const RULES_MAX: usize = 4;
/// Quantities of the instruments that are traded, some tens to thousands of the quote asset each.
const QUANTITIES: [&str; 2] = ["0.002", "0.05"];

/// The provider whose answers to subscriptions are lists.
const COINBASE: usize = 2;

/// Levels a side of a book of Kraken that its checksum covers: an update that is lost further down shows only when its
/// level comes up. (TCP loses none; the simulated venue does.)
const KRAKEN_PROVES: usize = 10;

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Lines are lost, refused, silent.
    Lines,
    /// Frames are cut, doubled, no JSON.
    Frames,
    /// Updates and trades are missing, numbers and checksums wrong.
    Data,
    /// REST is late, refuses, talks nonsense.
    Rest,
    /// Subscriptions come and go, and routes change.
    Routes,
    /// Merge rules come and go.
    Rules,
    /// Consumer shards stand still, or take little at a time.
    Slow,
    /// Handlers panic.
    Panics,
    /// Rings and spills are small.
    SmallRings,
    /// The process stands still while the clock goes on.
    Jumps,
    /// The market is ten times as fast for a while.
    Bursts,
    /// The network is slow, and stands still now and then.
    Network,
    /// Two lines where the seed says so.
    TwoLines,
    /// The merge shard stands still.
    MergeStands,
    /// Orders are sent.
    Orders,
    /// Order entry has faults.
    OrderFaults,
    /// Trading switches and the kill switch move, as the control shard moves them.
    Switches,
    /// The process that trades dies, or its host loses power, and another begins with its journal, torn where it was being
    /// written.
    Crashes,
    /// The disk of the journal is full.
    Disk,
    /// Subscriptions, merge rules and switches change by way of the control shard, and not directly.
    Control,
    /// Shards and the control thread stand still for seconds, also longer than anybody waits for an answer.
    Late,
    /// A consumer records what it sees; its process dies, or its host loses power, and another recording begins.
    Recorder,
    /// The disk of the recorder is full, stands still, cannot cut.
    RecorderDisk,
    /// A provider is told to roll its lines.
    Rolls,
    /// No connection of a provider has room for another stream.
    Room,
    /// A consumer skips what is older than its own changes.
    Stale,
    /// Coinbase passes over a subscription without a word.
    PassedOver,
}

impl Kind {
    /// All of them; the place is the bit in a mix.
    pub const ALL: [Self; 27] = [
        Self::Lines,
        Self::Frames,
        Self::Data,
        Self::Rest,
        Self::Routes,
        Self::Rules,
        Self::Slow,
        Self::Panics,
        Self::SmallRings,
        Self::Jumps,
        Self::Bursts,
        Self::Network,
        Self::TwoLines,
        Self::MergeStands,
        Self::Orders,
        Self::OrderFaults,
        Self::Switches,
        Self::Crashes,
        Self::Disk,
        Self::Control,
        Self::Late,
        Self::Recorder,
        Self::RecorderDisk,
        Self::Rolls,
        Self::Room,
        Self::Stale,
        Self::PassedOver,
    ];
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix(pub u32);

impl Mix {
    /// Everything.
    pub const ALL: Self = Self((1 << Kind::ALL.len()) - 1);

    /// Each kind with the same chance as not.
    pub fn drawn(rng: &mut Rng) -> Self {
        Self(rng.u32(..) & Self::ALL.0)
    }

    /// Whether a kind is in it.
    pub fn has(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u32 != 0
    }

    /// The same without a kind.
    #[must_use]
    pub fn without(self, kind: Kind) -> Self {
        Self(self.0 & !(1 << kind as u32))
    }

    /// Its kinds.
    pub fn kinds(self) -> Vec<Kind> {
        Kind::ALL.into_iter().filter(|&kind| self.has(kind)).collect()
    }
}

/// Something that went wrong.
#[derive(Clone, Debug)]
pub struct Told {
    /// The how manieth time it was that something could.
    pub number: u32,
    /// When, by the simulated clock.
    pub at_ns: u64,
    /// What.
    pub what: String,
}

/// When something goes wrong next, and what did so far.
#[derive(Debug)]
pub(super) struct Chaos {
    pub rng: Rng,
    pub next_ns: u64,
    pub faults_total: u64,
    /// Times that something could go wrong.
    pub times_total: u32,
    seed: u64,
    /// Of those: the ones at which something does; `None` for all.
    only: Option<Vec<u32>>,
    pub story: Vec<Told>,
    placed: Vec<(u16, ClientOrderId)>,
    rules_total: u32,
}

impl Chaos {
    pub fn new(rng: Rng, seed: u64, only: Option<Vec<u32>>) -> Self {
        Self {
            rng,
            next_ns: 0,
            faults_total: 0,
            times_total: 0,
            seed,
            only,
            story: Vec::new(),
            placed: Vec::new(),
            rules_total: 0,
        }
    }
}

impl Whole {
    /// One thing goes wrong now.
    pub(super) fn disturb(&mut self) {
        let chaos = &mut self.chaos;
        let number = chaos.times_total;
        chaos.times_total += 1;
        // A chance of its own, so that without one thing the others are as they were.
        chaos.rng = Rng::with_seed(chaos.seed ^ u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        chaos.next_ns = self.now_ns + chaos.rng.u64(5..250) * MS_NS;
        if chaos.only.as_ref().is_some_and(|only| !only.contains(&number)) {
            return;
        }
        let kinds = self.mix.kinds();
        let Some(kind) = self.chaos.rng.choice(kinds) else { return };
        if let Some(what) = self.do_wrong(kind) {
            self.chaos.faults_total += 1;
            self.chaos.story.push(Told { number, at_ns: self.now_ns, what });
        }
    }

    fn do_wrong(&mut self, kind: Kind) -> Option<String> {
        let provider = self.chaos.rng.usize(0..PROVIDERS);
        let symbols = self.feeds[provider].symbols();
        let symbol = self.chaos.rng.choice(symbols)?;
        let rng = &mut self.chaos.rng;
        let fault = match kind {
            Kind::Lines => line_fault(rng),
            Kind::Frames => frame_fault(rng),
            Kind::Data => data_fault(rng, provider, symbol),
            Kind::Rest => {
                let count = rng.u32(1..5);
                Fault::Rest { path: String::new(), kind: rest_fault(rng), count }
            }
            Kind::PassedOver => {
                let symbol = rng.choice(self.feeds[COINBASE].symbols())?;
                let fault = Fault::Venue(VenueFault::PassOver { symbol, count: rng.u32(1..4) });
                self.feeds[COINBASE].fault(&fault);
                return Some(format!("provider {COINBASE}: {fault:?}"));
            }
            Kind::Bursts => {
                let rate = if rng.bool() { 200.0 } else { 20.0 };
                self.feeds[provider].site().set_rate(rate, self.now_ns);
                return Some(format!("provider {provider}: {rate} messages a second of each instrument"));
            }
            Kind::Network => {
                let for_ms = rng.u64(1..3_000);
                self.feeds[provider].stall_until(self.now_ns + for_ms * MS_NS);
                return Some(format!("provider {provider}: the network stands still for {for_ms} ms"));
            }
            Kind::Jumps => {
                let by_ms = rng.u64(1..2_500);
                self.now_ns += by_ms * MS_NS;
                return Some(format!("nothing runs for {by_ms} ms"));
            }
            Kind::Slow => {
                let number = rng.usize(0..self.shards.len());
                let (for_ms, parts) = (rng.u64(0..2_000), rng.choice([1, 7, 100, usize::MAX])?);
                let shard = &mut self.shards[number];
                shard.asleep_until_ns = self.now_ns + for_ms * MS_NS;
                shard.parts_per_turn = parts;
                return Some(format!(
                    "shard {number} stands for {for_ms} ms, takes {parts} parts a turn then"
                ));
            }
            Kind::MergeStands => {
                let for_ms = rng.u64(1..1_000);
                self.merger_stands_until_ns = self.now_ns + for_ms * MS_NS;
                return Some(format!("the merge shard stands for {for_ms} ms"));
            }
            Kind::Room => {
                let is_full = rng.u8(0..3) > 0;
                self.feeds[provider].fill(is_full);
                let room = if is_full { "no room" } else { "room" };
                return Some(format!("provider {provider} has {room} for another stream"));
            }
            Kind::Routes if self.control.is_some() => return self.ask_for_streams(),
            Kind::Rules if self.control.is_some() => return self.ask_for_rules(),
            Kind::Switches if self.control.is_some() => return self.ask_for_switch(),
            Kind::Control => return self.ask_questions(),
            Kind::Late => return self.stand_still(),
            Kind::Recorder => {
                let recording = self.recording.as_mut()?;
                let crash = if self.chaos.rng.bool() { Crash::Kill } else { Crash::Power };
                if let Err(what) = recording.crash(crash) {
                    self.broken.get_or_insert(what);
                }
                return Some(format!("{crash:?} ends the recorder, another begins"));
            }
            Kind::RecorderDisk => {
                let now_ns = self.now_ns;
                return Some(self.recording.as_mut()?.disturb(&mut self.chaos.rng, now_ns));
            }
            Kind::Rolls if self.control.is_some() => return self.ask_for_roll(provider),
            Kind::Rolls => {
                let answer = self.feeds[provider].roll();
                return Some(format!("provider {provider} is told to roll its lines: {answer:?}"));
            }
            Kind::Routes => return self.change_route(),
            Kind::Rules => return self.change_rules(),
            Kind::Orders => return self.order(),
            Kind::OrderFaults => return self.order_fault(),
            Kind::Switches => return self.move_switch(),
            Kind::Crashes => {
                let trade = self.trade.as_mut()?;
                if self.chaos.rng.bool() {
                    trade.restart();
                    return Some("the process that trades dies, another begins with its journal".to_owned());
                }
                trade.power_cut();
                return Some("the host that trades loses its power, and begins with its journal".to_owned());
            }
            Kind::Disk => {
                let room = self.chaos.rng.usize(0..3_000);
                self.trade.as_mut()?.fill_disk(room);
                return Some(format!("the journal's disk takes {room} bytes more"));
            }
            Kind::Panics | Kind::SmallRings | Kind::TwoLines | Kind::Stale => return None,
        };
        let what = format!("provider {provider}: {fault:?}");
        let loses = matches!(fault, Fault::Silence { .. } | Fault::SkipSequence(_))
            || matches!(fault, Fault::Venue(VenueFault::DropUpdates { .. }));
        if loses && provider == 1 {
            self.feeds[provider].compare_only(KRAKEN_PROVES);
        }
        self.feeds[provider].fault(&fault);
        Some(what)
    }

    /// Everything that goes wrong for a time is over.
    pub(super) fn calm(&mut self) {
        for feed in &mut self.feeds {
            feed.fault(&Fault::Clear);
            feed.site().set_rate(20.0, self.now_ns);
            feed.stall_until(0);
            feed.fill(false);
        }
        for shard in &mut self.shards {
            (shard.asleep_until_ns, shard.parts_per_turn) = (0, usize::MAX);
        }
        self.merger_stands_until_ns = 0;
        self.calm_control();
        if let Some(recording) = &mut self.recording {
            recording.calm();
        }
        if let Some(trade) = &mut self.trade {
            trade.kill(false);
            (0..CONSUMERS).for_each(|consumer| trade.set_trading(consumer, true));
        }
    }

    fn change_route(&mut self) -> Option<String> {
        let places = self.places();
        let place = self.chaos.rng.choice(places)?;
        let shard = self.chaos.rng.usize(0..self.shards.len());
        let seat = self.chaos.rng.usize(0..self.shards[shard].seated.len());
        let at = format!("provider {} stream {}, shard {shard}", place.0.0, place.1.0);
        if self.shards[shard].routed.contains_key(&place) && self.chaos.rng.u8(0..3) == 0 {
            self.route(shard, place);
            return Some(format!("another route of {at}: {:?}", self.shards[shard].routed[&place]));
        }
        if self.shards[shard].host.is_subscribed(seat, place.0, place.1) {
            self.unsubscribe(shard, seat, place);
            return Some(format!("seat {seat} leaves {at}"));
        }
        self.subscribe(shard, seat, place);
        Some(format!("seat {seat} wants {at}: {:?}", self.shards[shard].routed[&place]))
    }

    fn change_rules(&mut self) -> Option<String> {
        let names: Vec<String> = self.merger.rules().map(|(rule, _)| rule.name.clone()).collect();
        if names.len() < RULES_MAX && self.chaos.rng.bool() {
            let name = self.add_rule();
            return Some(format!("the rule {name} begins"));
        }
        let name = self.chaos.rng.choice(names)?;
        let streams: Vec<_> = self
            .merger
            .rules()
            .filter(|(rule, _)| rule.name == name)
            .flat_map(|(_, streams)| streams.to_vec())
            .collect();
        for shard in 0..self.shards.len() {
            for seat in 0..self.shards[shard].seated.len() {
                for &stream in &streams {
                    if self.shards[shard].host.is_subscribed(seat, MERGED, stream) {
                        self.unsubscribe(shard, seat, (MERGED, stream));
                    }
                }
            }
        }
        self.next_version(MERGED);
        let before: Vec<_> = self.merger.wanted().collect();
        self.merger.remove_rule(&name);
        let after: Vec<_> = self.merger.wanted().collect();
        for (provider, stream) in before.into_iter().filter(|place| !after.contains(place)) {
            self.next_version(provider);
            self.dispatcher(provider).routing.remove(stream, TO_MERGER);
        }
        Some(format!("the rule {name} ends"))
    }

    /// Adds a rule of any kind over two or three providers; consumers take its streams as they take others.
    pub(super) fn add_rule(&mut self) -> String {
        let Self { chaos, merger, .. } = self;
        let kinds = [
            MergeKind::Trade,
            MergeKind::Ticker,
            MergeKind::Bbo(BboSource::Ticker),
            MergeKind::Bbo(BboSource::BEST_OF_BOOK),
        ];
        let kind = chaos.rng.choice(kinds).expect("there are some");
        chaos.rules_total += 1;
        let instruments: Vec<_> =
            (0..chaos.rng.u16(1..=BASES.len() as u16)).map(engine::ids::InstrumentId).collect();
        let left_out = chaos.rng.usize(0..2 * PROVIDERS);
        let inputs = (0..PROVIDERS).filter(|&provider| provider != left_out);
        let rule = MergeRule {
            name: format!("{}-{}", kind.name(), chaos.rules_total),
            kind,
            inputs: inputs.map(|provider| (ProviderId(provider as u8), instruments.clone())).collect(),
            window_ns: chaos.rng.u64(20..2_000) * MS_NS,
            count: chaos.rng.u32(3..200),
            leg_age_ns_max: if chaos.rng.bool() { u64::MAX } else { chaos.rng.u64(1..20) * SECOND_NS },
        };
        let streams = merger.add_rule(&rule).unwrap_or_else(|error| panic!("{rule:?}: {error}"));
        let inputs: Vec<_> =
            streams.iter().filter_map(|&stream| merger.joined_by(stream)).flatten().copied().collect();
        for input in inputs {
            self.next_version(input.provider);
            let dispatcher = self.dispatcher(input.provider);
            dispatcher.routing.add(input.stream, kind.route(TO_MERGER));
            dispatcher.reserve(input.stream);
        }
        for shard in 0..self.shards.len() {
            for seat in 0..self.shards[shard].seated.len() {
                for &stream in &streams {
                    if self.chaos.rng.bool() {
                        self.subscribe(shard, seat, (MERGED, stream));
                    }
                }
            }
        }
        rule.name
    }

    fn order(&mut self) -> Option<String> {
        let (trade, chaos) = (self.trade.as_mut()?, &mut self.chaos);
        let rng = &mut chaos.rng;
        let (consumer, instrument) = (rng.u16(0..CONSUMERS), rng.usize(0..QUANTITIES.len()));
        if rng.u8(0..3) == 0
            && let Some((consumer, id)) = rng.choice(chaos.placed.iter().copied())
        {
            trade.cancel(consumer, id);
            return Some(format!("consumer {consumer} cancels {id}"));
        }
        let touch = trade.touch(instrument);
        let (side, near) = if rng.bool() { (OrderSide::Buy, 0) } else { (OrderSide::Sell, 1) };
        let take = usize::from(rng.u8(0..3) == 0);
        let limit =
            OrderRequest::limit_text(side, &touch[near ^ take], QUANTITIES[instrument]).expect("numbers");
        let request = match rng.u8(0..10) {
            0 => OrderRequest::market(side, limit.qty),
            1..4 => OrderRequest { time_in_force: TimeInForce::ImmediateOrCancel, ..limit },
            _ => limit,
        };
        let id = trade.place(consumer, instrument, request)?;
        chaos.placed.push((consumer, id));
        Some(format!("consumer {consumer} places {id}"))
    }

    /// What may leave is checked where it leaves.
    fn move_switch(&mut self) -> Option<String> {
        let (trade, rng) = (self.trade.as_mut()?, &mut self.chaos.rng);
        let (consumer, on) = (rng.u16(0..CONSUMERS), rng.bool());
        if rng.u8(0..3) == 0 {
            trade.kill(on);
            return Some(format!("the kill switch of all is {}", if on { "on" } else { "off" }));
        }
        trade.set_trading(consumer, on);
        Some(format!("trading of consumer {consumer} is {}", if on { "on" } else { "off" }))
    }

    fn order_fault(&mut self) -> Option<String> {
        let (trade, rng) = (self.trade.as_mut()?, &mut self.chaos.rng);
        let fault = match rng.u8(0..6) {
            0 => {
                trade.site.fault(&Fault::Disconnect(Target::All, How::Drop), trade.now_ns);
                return Some("the private connection is lost".to_owned());
            }
            1 => OrderFault::FillDuringOutage { percent: 50, for_ns: SECOND_NS },
            2 => OrderFault::Fill { percent: 30 },
            3 => OrderFault::ClockSkew { by_ms: -3_000, for_ns: 500 * MS_NS },
            4 => OrderFault::AckLost { count: 1 },
            _ => OrderFault::KillSession { count: 1 },
        };
        let what = format!("order entry: {fault:?}");
        trade.order_fault(fault);
        Some(what)
    }
}

/// The orders of one account at simulated Binance; the journal is in batches where the seed is even, else synced.
pub fn trade_of(seed: u64) -> Trade<BinanceOrders> {
    let specs = default_instruments("USDT")[..BASES.len()].to_vec();
    let config = BinanceConfig {
        instruments: specs.clone(),
        seed,
        messages_per_instrument_per_s: 10.0,
        book_levels: 100,
        trading: Some(TradingConfig { fault_permille: 100, ..simvenues::binance::trading() }),
        ..BinanceConfig::of(Product::Spot)
    };
    let gateway = |site: &Site| {
        let keys = site.keys();
        let key = keys.iter().find(|key| key.kind == KeyKind::Text).expect("issued at the start");
        let secret = Secret::new(key.secret_text.clone().into_bytes());
        BinanceOrders::new(key.name.as_bytes(), BinanceKey::hmac(&secret).expect("a key"), 2_000)
    };
    let setup = Setup {
        config: VenueConfig::Binance(config),
        specs,
        path: "/ws-api/v3",
        symbol: |spec: &InstrumentSpec| format!("{}{}", spec.base, spec.quote),
        gateway,
        durability: if seed.is_multiple_of(2) { Durability::Batch } else { Durability::Sync },
    };
    Trade::new(seed, setup)
}

fn target(rng: &mut Rng) -> Target {
    rng.choice([Target::All, Target::Oldest, Target::Newest]).expect("there are some")
}

fn line_fault(rng: &mut Rng) -> Fault {
    let target = target(rng);
    match rng.u8(0..7) {
        0 => Fault::Disconnect(target, How::Drop),
        1 => Fault::Disconnect(target, How::CloseFrame(1001)),
        2 => Fault::RefuseConnections { for_ns: rng.u64(..3 * SECOND_NS) },
        3 => Fault::RejectUpgrades { status: 503, for_ns: rng.u64(..3 * SECOND_NS) },
        4 => Fault::Silence { target, for_ns: rng.u64(..40 * SECOND_NS) },
        _ => Fault::PlannedShutdown { target, after_ns: rng.u64(..3 * SECOND_NS) },
    }
}

fn frame_fault(rng: &mut Rng) -> Fault {
    let target = target(rng);
    match rng.u8(0..7) {
        0 => Fault::CutFrame(target),
        1 => Fault::DuplicateFrame(target),
        2 => Fault::Garbage(target),
        3 => Fault::UnknownEvent(target),
        4 => Fault::OversizedHeader(target),
        5 => Fault::SkipSequence(target),
        _ => Fault::Ping(target),
    }
}

fn data_fault(rng: &mut Rng, provider: usize, symbol: String) -> Fault {
    let count = rng.u32(1..5);
    Fault::Venue(match rng.u8(0..5) {
        // Coinbase numbers neither updates nor books: one that is lost or old shows nowhere.
        0..4 if provider == 2 => VenueFault::DropTrades { symbol, count },
        0 => VenueFault::DropUpdates { symbol, count },
        // Small ones, too: they go back on their line sooner or later, whatever they fit to.
        1 => VenueFault::ShiftUpdateIds { symbol, by: shift(rng), count },
        // Kraken's checksum is of the best ten levels: a snapshot that is old only below them shows when prices come there, or
        // when a second one is compared, after the end of most runs.
        2 if provider == 1 => VenueFault::LieChecksum { symbol, count },
        2 => VenueFault::StaleSnapshots { symbol, count },
        3 => VenueFault::LieChecksum { symbol, count },
        _ => VenueFault::DropTrades { symbol, count },
    })
}

/// How far off numbers are that lie: some, hundreds, or beyond everything.
fn shift(rng: &mut Rng) -> i64 {
    let far = rng.choice([5, 400, 2_000_000]).expect("there are some");
    rng.i64(1..=far) * if rng.bool() { 1 } else { -1 }
}

fn rest_fault(rng: &mut Rng) -> RestFault {
    match rng.u8(0..8) {
        0 => RestFault::Delay(rng.u64(..12 * SECOND_NS)),
        1 => RestFault::Status { status: 500, retry_after_s: 0 },
        2 => RestFault::Status { status: 429, retry_after_s: 2 },
        3 => RestFault::Status { status: 418, retry_after_s: 3 },
        4 => RestFault::Html(200),
        5 => RestFault::TruncatedJson,
        6 => RestFault::CutAnswer,
        _ => RestFault::NoAnswer,
    }
}
