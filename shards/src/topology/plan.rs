//! A topology that has been checked: names are indices, sizes are within their bounds, every stream has one owner.
//!
//! Values of these types come only from `topology::read` (the structs cannot be built outside of this crate), so whoever holds a [`Topology`]
//! need not check it again. Indices address the lists of the same `Topology`.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::offer::{Channel, ChannelKind, Product};
use super::options::ConsumerOptions;
use super::trading::{JournalPlan, LimitsPlan, OrdersPlan};

/// Index into [`Topology::shards`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardIndex(pub u8);
/// Index into [`Topology::providers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProviderIndex(pub u8);
/// Index into [`Topology::merges`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MergeIndex(pub u8);
/// Index into [`Topology::symbols`]: one number for a canonical symbol, whichever providers have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstrumentId(pub u16);

/// What the machine is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostMode {
    /// Others work here too: shards park when idle and may share cores.
    Shared,
    /// Every shard spins on a core of its own.
    Dedicated,
}

/// A whole gateway.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Topology {
    /// The file it was read from, as it was given.
    pub file: String,
    /// Idle policy of all shards.
    pub host: HostMode,
    /// One pinned thread each.
    pub shards: Vec<ShardPlan>,
    /// The simulated market; present when a provider uses it.
    pub simulated: Option<SimulatedPlan>,
    /// Connections to venues.
    pub providers: Vec<ProviderPlan>,
    /// Canonical symbols of all providers, each once, in the order of the file. Index: [`InstrumentId`].
    pub symbols: Vec<String>,
    /// Rules that join streams.
    pub merges: Vec<MergePlan>,
    /// Who receives events.
    pub consumers: Vec<ConsumerPlan>,
    /// Where orders are written down; present when a provider sends any.
    pub journal: Option<JournalPlan>,
    /// The operator's endpoint.
    pub control: ControlPlan,
    /// What is written on exit and while running.
    pub report: ReportPlan,
    /// What happens when a shard stops turning.
    pub watchdog: WatchdogPlan,
}

/// One pinned thread and what it owns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardPlan {
    /// Unique name: thread name and label of metrics.
    pub name: String,
    /// The CPU it is pinned to.
    pub core: u32,
    /// What it does.
    pub role: Role,
    /// Line in the file, for messages.
    pub line: usize,
}

/// What a shard does, with the memory that this takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Speaks to venues.
    Provider {
        /// Its slabs.
        pools: Pools,
        /// Slots of the ring from each consumer shard.
        order_ring_requests: u32,
    },
    /// Joins streams.
    Merger {
        /// Its slabs.
        pools: Pools,
        /// Rings from each provider shard.
        rings: RingSizes,
    },
    /// Runs consumers.
    Consumer {
        /// Rings from each provider and merge shard.
        rings: RingSizes,
    },
}

/// Slots of the six pools of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pools {
    /// WebSocket frames.
    pub frames: u32,
    /// Venue messages.
    pub raws: u32,
    /// Canonical events.
    pub events: u32,
    /// Merged events.
    pub merged: u32,
    /// Order requests.
    pub order_requests: u32,
    /// Execution reports.
    pub execution_reports: u32,
}

/// Slots of what one receiving shard has from each sending shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSizes {
    /// Market events.
    pub ring_events: u32,
    /// Critical events.
    pub critical_ring_events: u32,
    /// Lossless events that wait for the ring.
    pub spill_events: u32,
    /// Fill of the ring above which streams that may coalesce have an equal share only, in thousandths.
    pub high_water_permille: u16,
    /// Events that one stream may have above it at once.
    pub burst_events: u16,
}

/// The simulated market.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SimulatedPlan {
    /// The same seed gives the same market.
    pub seed: u64,
    /// Rate of each instrument.
    pub messages_per_instrument_per_s: u32,
    /// Simulated milliseconds in a real second.
    pub speed_permille: u32,
    /// Levels a side of its books.
    pub book_levels: u32,
}

/// Connections to one product of one venue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderPlan {
    /// Unique name.
    pub name: String,
    /// Venue and product.
    pub product: Product,
    /// The shard that owns its sockets and streams.
    pub shard: ShardIndex,
    /// Where to connect.
    pub endpoints: Endpoints,
    /// Redundant connections for the same streams.
    pub lines: u8,
    /// Its instruments, in the order of the file.
    pub instruments: Vec<ListedInstrument>,
    /// Channels that each instrument has.
    pub channels: Vec<Channel>,
    /// How books are kept; present when `channels` has a book.
    pub book: Option<BookPlan>,
    /// Share of the venue's REST weight, in thousandths.
    pub rest_weight_share_permille: u32,
    /// Reordering of each stream.
    pub reorder: ReorderPlan,
    /// How it trades; without it, it only listens.
    pub orders: Option<OrdersPlan>,
    /// When lines are rolled of themselves; `None`: only when the venue ends them.
    pub roll: Option<RollPlan>,
    /// Where its raw messages are kept; `None`: nowhere.
    pub capture: Option<CapturePlan>,
    /// Line in the file, for messages.
    pub line: usize,
}

impl ProviderPlan {
    /// Whether it has a session for orders.
    pub fn trades(&self) -> bool {
        self.orders.as_ref().is_some_and(|orders| orders.enabled)
    }
}

/// An instrument of a provider, and where the file lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedInstrument {
    /// The canonical symbol.
    pub id: InstrumentId,
    /// Line in the file, for messages.
    pub line: usize,
}

/// Where a provider connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// A simulated venue inside of this process.
    Simulated,
    /// The venue.
    Live,
    /// The venue's test network.
    Testnet,
    /// Somewhere else that speaks the venue's protocol.
    Explicit {
        /// `wss://...`, or `ws://` on this machine.
        websocket: String,
        /// `https://...`, or `http://` on this machine.
        rest: String,
        /// Certificates to trust instead of the host's.
        ca_file: Option<PathBuf>,
    },
}

/// How a provider keeps its books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BookPlan {
    /// Levels a side.
    pub depth_max: u32,
    /// Levels a side of a REST snapshot, where the book starts from one.
    pub snapshot_limit: Option<u32>,
    /// Seconds between two verifications of one book.
    pub verify_s: u32,
}

/// Reordering of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReorderPlan {
    /// How long a hole may wait to be filled.
    pub lateness_ms: u32,
    /// How often what is held is looked at.
    pub flush_ms: u32,
    /// Events one stream may hold.
    pub held_events_max: u32,
}

/// Where the raw messages of a provider are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CapturePlan {
    /// Directory that gets one directory a run.
    pub dir: PathBuf,
    /// Size from which a file is followed by the next, in MiB.
    pub rotate_mib: u32,
    /// Files of one run that are kept, the current ones counted.
    pub keep: u32,
}

/// When lines are rolled of themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RollPlan {
    /// Age from which a line is rolled at the quiet time, in hours.
    pub after_h: u32,
    /// Minute of the UTC day at which the quiet time begins.
    pub quiet_from_min: u32,
    /// Minute of the UTC day at which it ends; smaller than its beginning if midnight is in it.
    pub quiet_to_min: u32,
}

/// A rule that joins the n-th instruments of several providers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergePlan {
    /// Unique name.
    pub name: String,
    /// The merge shard that owns it.
    pub shard: ShardIndex,
    /// What is joined.
    pub kind: MergeKind,
    /// Two or more providers with equally many instruments: the n-th of each belong together.
    pub inputs: Vec<(ProviderIndex, Vec<InstrumentId>)>,
    /// Length of a window.
    pub window_s: u32,
    /// Events that close a window early.
    pub count: u32,
    /// Age at which a leg of a best bid and offer is given up; `None` for never.
    pub leg_age_ms: Option<u32>,
    /// Line in the file, for messages.
    pub line: usize,
}

/// What a merge rule joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeKind {
    /// The latest trades.
    Trade,
    /// The latest tickers.
    Ticker,
    /// The latest klines.
    Kline,
    /// Best bid and offer over all providers, from their tickers.
    Bbo,
    /// Best bid and offer over all providers, from their proved books.
    BookBbo,
}

impl MergeKind {
    /// Whether it is a best bid and offer, which has legs and no windows.
    pub const fn is_best(self) -> bool {
        matches!(self, Self::Bbo | Self::BookBbo)
    }

    /// The channel that each input needs.
    pub fn channel(self) -> ChannelKind {
        match self {
            MergeKind::Trade => ChannelKind::Trade,
            MergeKind::Ticker | MergeKind::Bbo => ChannelKind::Ticker,
            MergeKind::Kline => ChannelKind::Kline,
            MergeKind::BookBbo => ChannelKind::Book,
        }
    }
}

/// User code that receives events.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerPlan {
    /// Unique name.
    pub name: String,
    /// The name under which the program knows its code.
    pub kind: String,
    /// The consumer shard it runs on.
    pub shard: ShardIndex,
    /// Whether its orders may leave, until the switch is moved.
    pub trading: bool,
    /// What its orders may be.
    pub limits: LimitsPlan,
    /// What follows a panic of its code.
    pub on_panic: OnPanic,
    /// What its kind is told.
    pub options: ConsumerOptions,
    /// What it receives.
    pub subscriptions: Vec<Subscription>,
}

/// What follows a panic of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPanic {
    /// A fresh one takes its place.
    Restart,
    /// It receives nothing more; the others of its shard go on.
    Disable,
}

/// What a consumer receives from one provider or merge rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subscription {
    /// Events of a provider.
    Market {
        /// Whose.
        provider: ProviderIndex,
        /// Which instruments; all are the provider's.
        instruments: Vec<InstrumentId>,
        /// Which channels, and what happens when the ring is full.
        channels: Vec<(Channel, Delivery)>,
        /// Levels a side of a book snapshot; present when `channels` has a book.
        book_depth: Option<BookDepth>,
    },
    /// Merged events.
    Merged {
        /// Of which rule.
        merge: MergeIndex,
        /// What happens when the ring is full.
        delivery: Delivery,
    },
}

/// Levels a side of the snapshots that a subscription gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookDepth {
    /// Levels a side; for a full book the provider's `depth_max`.
    pub levels: u32,
    /// Every level the provider keeps.
    pub full: bool,
}

/// What happens to an event that finds its ring full. The strictest of one shard wins, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// The newest one of a stream waits, older ones are coalesced.
    Latest,
    /// Waiting diffs become one snapshot of the proved book.
    Book,
    /// Waits in the spill; dropped only with a Gap when that is full too.
    Lossless,
}

impl Delivery {
    /// The word of the file.
    pub fn name(self) -> &'static str {
        match self {
            Delivery::Latest => "latest",
            Delivery::Book => "book",
            Delivery::Lossless => "lossless",
        }
    }
}

/// The operator's endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ControlPlan {
    /// Address and port; port 0 is any free one.
    pub listen: SocketAddr,
    /// The core it is pinned to; `None`: wherever the kernel puts it.
    pub core: Option<u32>,
    /// Holds the token that a request must carry; present when `listen` is not loopback.
    pub token_file: Option<PathBuf>,
}

/// What is written on exit and while running.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReportPlan {
    /// Directory that gets one directory a run.
    pub dir: PathBuf,
    /// Period of the interval log.
    pub interval_ms: u32,
}

/// When a shard counts as stalled, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchdogPlan {
    /// How long it may not turn, in milliseconds.
    pub stall_ms: u32,
    /// What follows.
    pub then: OnStall,
}

impl WatchdogPlan {
    /// What holds for a file without `watchdog`: what the shipped file says.
    pub const LEFT_OUT: Self = Self { stall_ms: 2_000, then: OnStall::Report };
}

/// What follows when a shard stalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStall {
    /// A line with its last known place, and an entry in the report.
    Report,
    /// The same, and the run ends with exit code 1, so that whoever started it starts it again.
    Abort,
}

impl Topology {
    /// The name behind the number that events carry: a provider's, or after them a merge shard's. `?` before any came.
    pub fn sender_name(&self, number: Option<u8>) -> &str {
        let providers = self.providers.iter().map(|provider| provider.name.as_str());
        let mergers = self.shards.iter().filter(|shard| matches!(shard.role, Role::Merger { .. }));
        let mut names = providers.chain(mergers.map(|shard| shard.name.as_str()));
        number.and_then(|number| names.nth(usize::from(number))).unwrap_or("?")
    }

    /// The canonical symbol of an instrument.
    pub fn symbol(&self, id: InstrumentId) -> &str {
        &self.symbols[usize::from(id.0)]
    }

    /// The instrument of a canonical symbol.
    pub fn instrument(&self, symbol: &str) -> Option<InstrumentId> {
        let index = self.symbols.iter().position(|known| known == symbol)?;
        Some(InstrumentId(u16::try_from(index).expect("the reader bounds the table to 16 bits")))
    }

    /// A shard's plan.
    pub fn shard(&self, index: ShardIndex) -> &ShardPlan {
        &self.shards[usize::from(index.0)]
    }

    /// A provider's plan.
    pub fn provider(&self, index: ProviderIndex) -> &ProviderPlan {
        &self.providers[usize::from(index.0)]
    }

    /// The providers of one shard.
    pub fn providers_on(&self, shard: ShardIndex) -> impl Iterator<Item = (ProviderIndex, &ProviderPlan)> {
        (0..).map(ProviderIndex).zip(&self.providers).filter(move |(_, provider)| provider.shard == shard)
    }

    /// The consumers of one shard, with their index into [`Topology::consumers`].
    pub fn consumers_on(&self, shard: ShardIndex) -> impl Iterator<Item = (usize, &ConsumerPlan)> {
        self.consumers.iter().enumerate().filter(move |(_, consumer)| consumer.shard == shard)
    }

    /// Streams of all providers: the unit of ordering, (provider, instrument, channel).
    pub fn stream_count(&self) -> usize {
        self.providers.iter().map(|provider| provider.instruments.len() * provider.channels.len()).sum()
    }
}

impl ShardPlan {
    /// The word of the file.
    pub fn role_name(&self) -> &'static str {
        match self.role {
            Role::Provider { .. } => "provider",
            Role::Merger { .. } => "merger",
            Role::Consumer { .. } => "consumer",
        }
    }

    /// Sizes of the rings that end here.
    pub fn rings(&self) -> Option<RingSizes> {
        match self.role {
            Role::Provider { .. } => None,
            Role::Merger { rings, .. } | Role::Consumer { rings } => Some(rings),
        }
    }
}
