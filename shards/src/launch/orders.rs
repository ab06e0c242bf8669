//! From the topology to order entry: keys are read, journals opened and replayed, rings made. All of it before any shard
//! starts, so that what cannot trade is an error and not a gateway that listens only.

use std::sync::{Arc, mpsc};
use std::time::{SystemTime, UNIX_EPOCH};

use engine::ids::{ConsumerId, ProviderId};
use engine::orders::check::Limits;
use engine::orders::desk::{Desk, DeskOptions, Durability as DeskDurability};
use engine::orders::ledger::LedgerOptions;
use engine::orders::secret::{KeyError, Secret};
use engine::orders::venue::OrderGateway;
use engine::orders::venue::binance::{BinanceKey, BinanceOrders};
use engine::orders::venue::coinbase::{CoinbaseKey, CoinbaseOrders};
use engine::orders::venue::kraken::{KrakenKey, KrakenOrders};
use engine::orders::{OrderRequest, Outbox, WireIds};
use engine::pools::{OrderPools, PoolSizes};
use engine::ring::{Receiver, ring};
use engine::time::ReceiveTime;

use super::{LaunchError, Simulation, venues};
use crate::happened::Report;
use crate::machine::executor::Tasks;
use crate::machine::idle::Waker;
use crate::machine::target::Target;
use crate::orders::chance::Chance;
use crate::orders::consumer_end::ConsumerEnd;
use crate::orders::critical::CriticalLane;
use crate::orders::driver::{OrderCells, Orders, Parts, Seat, Trade};
use crate::orders::journal::{BegunJournal, OpenJournal};
use crate::orders::keys::{self, AccountKey};
use crate::orders::session::Session;
use crate::orders::switches::Switches;
use crate::provider::order_token;
use crate::stages::{Stage, StageLayout};
use crate::topology::{
    ConsumerPlan, Durability, JournalPlan, OnStop, OrdersPlan, Product, ProviderPlan, Role, ShardIndex,
    Topology,
};

/// How old a Binance request may be when it arrives, in milliseconds: the venue's default.
///
/// Source: binance-spot-api-docs, rest-api.md, "Timing security", commit a5e0bc3.
const RECEIVE_WINDOW_MS: u64 = 5_000;

/// What a provider's order entry is made of, before its shard starts.
pub struct ProviderEnd {
    index: u8,
    desk: AnyDesk,
    session: Session,
    inputs: Vec<(usize, Receiver<OrderRequest>)>,
    lanes: Vec<CriticalLane>,
    seats: Vec<Seat>,
    switches: Arc<Switches>,
    journal: BegunJournal,
    durability: Durability,
    on_stop: OnStop,
    chance: Chance,
    /// The provider's name and its kind of signature: what its histograms are named by.
    way: String,
    cells: OrderCells,
}

/// By shard what consumers get, by provider what its shard gets.
type Ends = (Vec<Option<ConsumerEnd>>, Vec<Option<ProviderEnd>>);

/// A desk of any venue: everything below it is static.
enum AnyDesk {
    Binance(Box<Desk<BinanceOrders>>),
    Kraken(Box<Desk<KrakenOrders>>),
    Coinbase(Box<Desk<CoinbaseOrders>>),
}

/// Makes everything that order entry needs: by shard what consumers get, by provider what its shard gets.
pub fn wire(
    topology: &Topology,
    simulation: &Simulation,
    switches: &Arc<Switches>,
    wakers: &[Waker],
) -> Result<Ends, LaunchError> {
    let waker_of: Vec<Waker> =
        topology.providers.iter().map(|plan| wakers[usize::from(plan.shard.0)].clone()).collect();
    let mut consumers: Vec<Option<ConsumerEnd>> = topology
        .shards
        .iter()
        .map(|shard| {
            matches!(shard.role, Role::Consumer { .. }).then(|| ConsumerEnd {
                outbox: Outbox::new(Arc::clone(switches) as Arc<dyn engine::orders::MayTrade>),
                critical: Vec::new(),
                wakers: waker_of.clone(),
                switches: Arc::clone(switches),
                ways: Vec::new(),
            })
        })
        .collect();
    let mut providers = Vec::new();
    for (index, plan) in topology.providers.iter().enumerate() {
        let orders = plan.orders.as_ref().filter(|orders| orders.enabled);
        let (Some(orders), Some(journal)) = (orders, &topology.journal) else {
            providers.push(None);
            continue;
        };
        let of = Of { topology, index, plan, orders, journal, simulation, switches };
        providers.push(Some(of.end(&mut consumers, wakers)?));
    }
    Ok((consumers, providers))
}

/// One provider that trades.
struct Of<'a> {
    topology: &'a Topology,
    index: usize,
    plan: &'a ProviderPlan,
    orders: &'a OrdersPlan,
    journal: &'a JournalPlan,
    simulation: &'a Simulation,
    switches: &'a Arc<Switches>,
}

impl Of<'_> {
    fn error(&self, reason: impl std::fmt::Display) -> LaunchError {
        LaunchError::Orders { provider: self.plan.name.clone(), reason: reason.to_string() }
    }

    fn end(
        &self,
        consumers: &mut [Option<ConsumerEnd>],
        wakers: &[Waker],
    ) -> Result<ProviderEnd, LaunchError> {
        let (place, key) = self.key()?;
        let journal = OpenJournal::open(self.journal, &self.plan.name, &self.numbers())
            .map_err(|error| self.error(error))?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ids = WireIds::new(journal.next_epoch(since.as_secs()), self.plan.shard.0)
            .ok_or_else(|| self.error("no further run can be numbered; the host's clock is wrong"))?;
        let (private, path, rest) =
            venues::private_targets(self.index, self.plan, self.orders, self.simulation)?;
        let options = self.options(&private, path);
        let bad = |source| self.error(keys::KeySourceError::Key { place: place.clone(), source });
        let (desk, checkpoint, signature) = match self.plan.product {
            Product::KrakenSpot => {
                let made = KrakenKey::new(&key.secret).map_err(bad)?;
                let (desk, checkpoint) =
                    self.desk(ids, KrakenOrders::new(key.name.expose(), made), options, &journal)?;
                // Only the question for the connection's token is signed.
                (AnyDesk::Kraken(desk), checkpoint, "token")
            }
            Product::CoinbaseAdvanced | Product::CoinbaseExchange => {
                let made = CoinbaseKey::new(&key.secret).map_err(bad)?;
                let signature = made.signature();
                // A token names the host as the request does.
                let gateway = CoinbaseOrders::new(key.name.expose(), made, &rest.authority());
                let (desk, checkpoint) = self.desk(ids, gateway, options, &journal)?;
                (AnyDesk::Coinbase(desk), checkpoint, signature)
            }
            Product::BinanceSpot | Product::BinanceUsdm | Product::BinanceUsdmMarket => {
                let made = binance_key(&key.secret).map_err(bad)?;
                let signature = made.signature();
                let gateway = BinanceOrders::new(key.name.expose(), made, RECEIVE_WINDOW_MS);
                let (desk, checkpoint) = self.desk(ids, gateway, options, &journal)?;
                (AnyDesk::Binance(desk), checkpoint, signature)
            }
        };
        let mut end = ProviderEnd {
            index: self.index as u8,
            desk,
            session: Session::new(private, rest, order_token(self.index as u8)),
            inputs: Vec::new(),
            lanes: Vec::new(),
            seats: Vec::new(),
            switches: Arc::clone(self.switches),
            journal: journal.begin(&checkpoint).map_err(|error| self.error(error))?,
            durability: self.journal.durability,
            on_stop: self.orders.on_stop,
            chance: Chance::open().map_err(|error| self.error(format!("/dev/urandom: {error}")))?,
            way: format!("{}-{signature}", self.plan.name),
            cells: OrderCells::default(),
        };
        self.connect(&mut end, consumers, wakers);
        Ok(end)
    }

    /// Where the key was, and the key.
    fn key(&self) -> Result<(String, AccountKey), LaunchError> {
        if let Some(source) = &self.orders.keys {
            keys::without_core_dumps().map_err(|error| self.error(format!("setrlimit: {error}")))?;
            let key = keys::read(source).map_err(|error| self.error(error))?;
            return Ok((keys::place(source), key));
        }
        let key =
            self.simulation.key(self.index).ok_or_else(|| self.error("the simulated venue issued no key"))?;
        Ok(("the simulated venue's key".to_owned(), key))
    }

    /// What the numbers in the journal stand for: they must be the same in each run.
    fn numbers(&self) -> Vec<String> {
        let consumers = self.topology.consumers.iter().enumerate();
        let consumers = consumers.map(|(number, consumer)| format!("consumer {number} {}", consumer.name));
        let symbols = self.topology.symbols.iter().enumerate();
        consumers.chain(symbols.map(|(number, symbol)| format!("instrument {number} {symbol}"))).collect()
    }

    fn options(&self, private: &Target, path: &str) -> DeskOptions {
        DeskOptions {
            durability: match self.journal.durability {
                Durability::Sync => DeskDurability::Sync,
                Durability::Batch => DeskDurability::Batch,
            },
            ledger: LedgerOptions {
                consumers_max: self.topology.consumers.len(),
                on_session_loss: self.orders.on_session_loss,
                ..LedgerOptions::DEFAULT
            },
            // Behind all lines of the market data.
            line: engine::ids::LineId(self.plan.lines + 2),
            seed: fastrand::u64(..),
            ..DeskOptions::new(&private.authority(), path)
        }
    }

    /// A desk that knows what the journal knows, and the checkpoint that the journal's next file begins with.
    fn desk<G: OrderGateway>(
        &self,
        ids: WireIds,
        gateway: G,
        options: DeskOptions,
        journal: &OpenJournal,
    ) -> Result<(Box<Desk<G>>, Vec<u8>), LaunchError> {
        let provider = ProviderId(self.index as u8);
        let mut desk = Box::new(Desk::new(provider, self.plan.shard.0, ids, gateway, options));
        let replayed = desk.replay(&journal.bytes);
        if replayed.refused > 0 {
            return Err(self.error(format!(
                "the journal holds {} records of open orders beyond the table of {}; end those orders at the venue first",
                replayed.refused,
                LedgerOptions::DEFAULT.orders_max
            )));
        }
        if let engine::orders::journal::Tail::Damaged { at, resumes_at } = replayed.tail {
            let file = journal.file.as_ref().map_or_else(String::new, |file| file.display().to_string());
            return Err(self.error(format!(
                "journal {file}: bytes {at} to {resumes_at} are damaged, which no crash does; compare it with the venue's orders, then move it away"
            )));
        }
        let mut checkpoint = Vec::new();
        desk.checkpoint(&mut checkpoint);
        Ok((desk, checkpoint))
    }

    fn connect(&self, end: &mut ProviderEnd, consumers: &mut [Option<ConsumerEnd>], wakers: &[Waker]) {
        let Role::Provider { order_ring_requests, .. } = self.topology.shard(self.plan.shard).role else {
            return; // the topology gives a provider a shard of that role
        };
        for (number, consumer) in consumers.iter_mut().enumerate() {
            let Some(consumer) = consumer else { continue };
            let shard = ShardIndex(number as u8);
            let Some(sizes) = self.topology.shard(shard).rings() else { continue };
            let (requests, requested) = ring(order_ring_requests as usize);
            let (critical, told) = ring(sizes.critical_ring_events as usize);
            let lane = end.lanes.len();
            consumer.outbox.connect(ProviderId(end.index), requests);
            consumer.critical.push(told);
            consumer.ways.push((ProviderId(end.index), end.way.clone()));
            end.inputs.push((lane, requested));
            end.lanes.push(CriticalLane::new(shard.0, critical, wakers[number].clone()));
            for (index, plan) in self.topology.consumers_on(shard) {
                end.seats.push(Seat { consumer: ConsumerId(index as u16), lane, limits: limits_of(plan) });
            }
        }
    }
}

fn binance_key(secret: &Secret) -> Result<BinanceKey, KeyError> {
    if secret.expose_trimmed().starts_with(b"-----BEGIN") {
        BinanceKey::ed25519_pem(secret)
    } else {
        BinanceKey::hmac(secret)
    }
}

fn limits_of(plan: &ConsumerPlan) -> Limits {
    let limits = plan.limits;
    Limits {
        trading: plan.trading,
        qty_max: limits.qty_max,
        notional_max: limits.notional_max,
        open_orders_max: limits.open_orders_max,
        orders_per_s_max: limits.orders_per_s_max,
        collar_bp: limits.collar_bp,
        book: limits.book,
    }
}

impl ProviderEnd {
    /// Its own histograms beside those of its shard's others.
    pub fn add_stages(&mut self, layout: StageLayout) -> StageLayout {
        let (layout, to_ready) = layout.with(Stage::SubmitToReady, &self.way);
        let (layout, ready_to_written) = layout.with(Stage::ReadyToWritten, &self.way);
        let (layout, to_written) = layout.with(Stage::SubmitToWritten, &self.way);
        let (layout, to_ack) = layout.with(Stage::WrittenToAck, &self.way);
        self.cells = OrderCells { to_ready, ready_to_written, to_written, to_ack };
        layout
    }

    /// Order entry on its shard; the run begins.
    pub fn start(
        self,
        tasks: Tasks,
        pools: &PoolSizes,
        now_ns: u64,
        reports: mpsc::Sender<Report>,
    ) -> Box<dyn Trade> {
        let parts = Parts {
            index: self.index,
            session: self.session,
            inputs: self.inputs,
            lanes: self.lanes,
            seats: self.seats,
            switches: self.switches,
            journal: self.journal.writer(tasks),
            durability: self.durability,
            on_stop: self.on_stop,
            chance: self.chance,
            pools: OrderPools::new(pools),
            cells: self.cells,
            reports,
        };
        let now = ReceiveTime::from_ns(now_ns);
        match self.desk {
            AnyDesk::Binance(desk) => begin(*desk, parts, now),
            AnyDesk::Kraken(desk) => begin(*desk, parts, now),
            AnyDesk::Coinbase(desk) => begin(*desk, parts, now),
        }
    }
}

fn begin<G: OrderGateway + 'static>(mut desk: Desk<G>, parts: Parts, now: ReceiveTime) -> Box<dyn Trade> {
    desk.begin(now);
    Box::new(Orders::new(desk, parts))
}
