//! What stands behind every simulated venue's order entry: accounts, keys, a matching book, and the truth about it all.
//!
//! Knows no venue's protocol, no socket and no JSON. A venue parses a request, checks its signature with the
//! [`ApiKey`], calls [`Exchange::place`] and its like, writes the answer as [`Placed::answer`] says, and tells its
//! private streams what [`Exchange::poll_report`] gives. It calls [`Exchange::market_event`] after each step of its
//! market.
//!
//! **Matching.** Client orders take from the market's visible levels and from each other's resting orders, by price,
//! then time. What they take of a level is gone until the market changes that level. They rest behind the market's
//! quantity at their price and are filled, at their price, by the market's trades there or beyond, and when the
//! market's book moves to or through their price. The market itself does not see them: its books and public trades follow from
//! the seed alone, whatever clients do. So fills have trade ids of their own.
//!
//! **Money** is exact: [`Amount`]. A buyer's order holds quote asset, a seller's base asset; fees are cut to the
//! venue's decimals.
//!
//! **Time** is an argument (the caller's nanoseconds), chance comes from the seed.
//!
//! ```
//! use simvenues::exchange::{AccountId, Decimal, Exchange, Kind, NewOrder, OrderRef, Status, TimeInForce, TradingConfig};
//! use simvenues::market::{Market, MarketConfig, Side};
//!
//! let now_ns = 1_783_000_000_000_000_000;
//! let config = MarketConfig {
//!     venue: "example",
//!     instruments: simvenues::default_instruments("USDT"),
//!     book_levels: 100,
//!     seed: 1,
//!     events_per_instrument_per_s: 50.0,
//!     update_id_gaps: false,
//! };
//! let mut market = Market::new(&config, now_ns);
//! let mut exchange = Exchange::new(&TradingConfig::default(), &config.instruments, now_ns);
//! let key = exchange.keys()[0].clone(); // what the client gets; the name finds the account again
//! let account = exchange.key(&key.name).unwrap().account;
//!
//! let order = NewOrder {
//!     client_id: Some("mine-1".to_owned()),
//!     instrument: 0,
//!     side: Side::Bid,
//!     kind: Kind::Limit,
//!     time_in_force: TimeInForce::Gtc,
//!     post_only: false,
//!     price: Decimal::parse("100000.00").unwrap(), // above every seller: it takes
//!     qty: Decimal::parse("0.00100").unwrap(),
//! };
//! let placed = exchange.place(account, &order, &market, now_ns).unwrap();
//! assert_eq!(placed.order.status, Status::Filled);
//! while let Some(report) = exchange.poll_report(now_ns) {
//!     println!("{:?} {:?}", report.kind, report.fill); // New, then Trade
//! }
//! assert_eq!(exchange.find(account, None, OrderRef::Client("mine-1")).unwrap().filled, 100);
//! while market.step(now_ns + 1_000_000_000).is_some() {
//!     exchange.market_event(&market, now_ns); // resting orders are filled here
//! }
//! ```

mod account;
mod amount;
mod faults;
pub mod keys;
mod matching;
mod order;
#[cfg(test)]
mod tests;

use fastrand::Rng;

use self::account::Account;
pub use self::account::Balance;
pub use self::amount::Amount;
pub use self::faults::{Answer, OrderFault};
use self::faults::{Outbox, Script};
pub use self::keys::{ApiKey, KeyKind, KeyNames};
use self::matching::Resting;
pub use self::order::{
    AccountId, Decimal, End, Fill, Kind, NewOrder, Order, OrderRef, Reject, Report, ReportKind, Status,
    TimeInForce, Unknown,
};
use crate::instruments::InstrumentSpec;
use crate::market::Side;

/// In which asset fees are paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeeAsset {
    /// In what the fill brings: base for a buyer, quote for a seller (Binance).
    Received,
    /// In the quote asset, on top (Kraken, Coinbase).
    Quote,
}

/// Where a client order id must be new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unique {
    /// Among the account's open orders of the instrument (Binance).
    OpenOfInstrument,
    /// Among the account's open orders (Kraken).
    OpenOfAccount,
    /// Among all orders that the account ever had (Coinbase).
    Ever,
}

/// A limit on new orders of an account, in windows aligned to the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderLimit {
    /// Length of the window, nanoseconds.
    pub interval_ns: u64,
    /// Orders in one window.
    pub max: u32,
}

/// How order entry is made. Each venue starts from its own defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TradingConfig {
    /// Of keys, ids and chance.
    pub seed: u64,
    /// Accounts, each with one key of each kind of `keys`.
    pub accounts: usize,
    /// Kinds of keys.
    pub keys: Vec<KeyKind>,
    /// What their public names look like.
    pub key_names: KeyNames,
    /// Units of each asset that an account has at the start.
    pub funds: u64,
    /// Fee of a resting order, in millionths.
    pub maker_ppm: u32,
    /// Fee of a taking order, in millionths.
    pub taker_ppm: u32,
    /// In which asset.
    pub fee_asset: FeeAsset,
    /// Digits after the point of a fee; the rest is cut.
    pub fee_decimals: usize,
    /// Least price times quantity of a limit order, in the quote asset.
    pub notional_min: Amount,
    /// Open orders of one account and instrument.
    pub open_orders_max: usize,
    /// Where a client order id must be new.
    pub unique: Unique,
    /// How what an immediate order leaves unfilled ends: [`Status::Expired`] or [`Status::Canceled`].
    pub unfilled: Status,
    /// A post-only order that would take is accepted and cancelled at once (Kraken), not refused.
    pub post_only_accepted: bool,
    /// Limits on new orders.
    pub order_limits: Vec<OrderLimit>,
    /// The first fill of an order gives its place in the limits back (Binance).
    pub fills_give_back: bool,
    /// Of a thousand accepted orders, so many meet a fault of [`OrderFault`] by chance.
    pub fault_permille: u32,
}

impl Default for TradingConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            accounts: 1,
            keys: vec![KeyKind::Text, KeyKind::Ed25519],
            key_names: KeyNames::Letters,
            funds: 1_000_000_000,
            maker_ppm: 1_000,
            taker_ppm: 1_000,
            fee_asset: FeeAsset::Received,
            fee_decimals: 8,
            notional_min: Amount::whole(5),
            open_orders_max: 200,
            unique: Unique::OpenOfInstrument,
            unfilled: Status::Expired,
            post_only_accepted: false,
            order_limits: Vec::new(),
            fills_give_back: false,
            fault_permille: 0,
        }
    }
}

/// A new order that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// As it stands after it took what it could.
    pub order: Order,
    /// Its fills until then.
    pub fills: Vec<Fill>,
    /// What the client hears of it.
    pub answer: Answer,
}

/// What really happened: all orders and fills since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TradingTruth {
    /// In the order of their ids.
    pub orders: Vec<Order>,
    /// In the order in which they happened.
    pub fills: Vec<Fill>,
}

/// All accounts and orders of one venue.
#[derive(Debug)]
pub struct Exchange {
    config: TradingConfig,
    specs: Vec<InstrumentSpec>,
    accounts: Vec<Account>,
    keys: Vec<ApiKey>,
    /// Ids are consecutive.
    orders: Vec<Order>,
    fills: Vec<Fill>,
    /// By instrument.
    resting: Vec<Resting>,
    first_order_id: u64,
    next_trade_id: u64,
    next_report_id: u64,
    outbox: Outbox,
    script: Script,
}

impl Exchange {
    /// An exchange without orders. `instruments` are those of the market, in its order.
    pub fn new(config: &TradingConfig, instruments: &[InstrumentSpec], now_ns: u64) -> Self {
        let mut rng = Rng::with_seed(config.seed ^ 0x7261_6465);
        let mut assets: Vec<String> =
            instruments.iter().flat_map(|spec| [spec.base.clone(), spec.quote.clone()]).collect();
        assets.sort();
        assets.dedup();
        let keys = (0..config.accounts)
            .flat_map(|account| config.keys.iter().map(move |kind| (AccountId(account), *kind)))
            .map(|(account, kind)| ApiKey::make(account, kind, config.key_names.make(&mut rng), &mut rng))
            .collect();
        let account = Account::new(&assets, config.funds, &config.order_limits);
        Self {
            specs: instruments.to_vec(),
            accounts: vec![account; config.accounts],
            keys,
            orders: Vec::new(),
            fills: Vec::new(),
            resting: vec![Resting::default(); instruments.len()],
            // Times in the ids: a venue that is started anew does not use them again.
            first_order_id: now_ns / 1_000_000_000 * 10,
            next_trade_id: now_ns / 1_000_000,
            next_report_id: now_ns / 1_000,
            outbox: Outbox::default(),
            script: Script::new(config.fault_permille, rng.fork()),
            config: config.clone(),
        }
    }

    // --- accounts -------------------------------------------------------------------------------------------------

    /// All keys, of all accounts.
    pub fn keys(&self) -> &[ApiKey] {
        &self.keys
    }

    /// The key of that public name.
    pub fn key(&self, name: &str) -> Option<&ApiKey> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Adds a key whose name or secret the venue or a test wants to choose; its account must exist.
    pub fn add_key(&mut self, account: AccountId, kind: KeyKind, name: &str) -> &ApiKey {
        assert!(account.0 < self.accounts.len(), "an account of this exchange");
        let mut rng = Rng::with_seed(self.config.seed ^ self.keys.len() as u64 ^ 0x006b_6579);
        self.keys.push(ApiKey::make(account, kind, Some(name.to_owned()), &mut rng));
        &self.keys[self.keys.len() - 1]
    }

    /// Takes a key of a published test vector.
    #[cfg(test)]
    pub(crate) fn put_key(&mut self, key: ApiKey) {
        self.keys.push(key);
    }

    /// All balances of an account, by asset.
    pub fn balances(&self, account: AccountId) -> impl Iterator<Item = (&str, Balance)> + '_ {
        self.accounts[account.0].balances()
    }

    /// (interval in nanoseconds, used, most) of each limit on orders.
    pub fn order_usage(&self, account: AccountId, now_ns: u64) -> Vec<(u64, u32, u32)> {
        self.accounts[account.0].usage(now_ns)
    }

    // --- questions ------------------------------------------------------------------------------------------------

    /// An order of an account; with an instrument, only if it is of that one.
    pub fn find(&self, account: AccountId, instrument: Option<usize>, order: OrderRef<'_>) -> Option<&Order> {
        let mine = |it: &&Order| {
            it.account == account && instrument.is_none_or(|instrument| it.instrument == instrument)
        };
        match order {
            OrderRef::Id(id) => self.by_id(id).filter(mine),
            OrderRef::Client(id) => self.orders.iter().rev().filter(|it| it.client_id == id).find(mine),
        }
    }

    /// Open orders of an account, oldest first.
    pub fn open_orders(
        &self,
        account: AccountId,
        instrument: Option<usize>,
    ) -> impl Iterator<Item = &Order> + '_ {
        self.orders.iter().filter(move |order| {
            order.account == account
                && order.status.is_open()
                && instrument.is_none_or(|instrument| order.instrument == instrument)
        })
    }

    /// All orders of an account, oldest first.
    pub fn orders(&self, account: AccountId) -> impl Iterator<Item = &Order> + '_ {
        self.orders.iter().filter(move |order| order.account == account)
    }

    /// All fills of an account, oldest first: filter by order, trade id or time as the venue's question does.
    pub fn fills(&self, account: AccountId) -> impl Iterator<Item = &Fill> + '_ {
        self.fills.iter().filter(move |fill| fill.account == account)
    }

    /// The steps of an instrument.
    pub fn spec(&self, instrument: usize) -> &InstrumentSpec {
        &self.specs[instrument]
    }

    /// What really happened.
    pub fn truth(&self) -> TradingTruth {
        TradingTruth { orders: self.orders.clone(), fills: self.fills.clone() }
    }

    fn by_id(&self, id: u64) -> Option<&Order> {
        self.orders.get(usize::try_from(id.checked_sub(self.first_order_id)?).ok()?)
    }

    fn index(&self, id: u64) -> usize {
        (id - self.first_order_id) as usize
    }

    // --- cancels --------------------------------------------------------------------------------------------------

    /// Cancels an order. `cancel_id`: the id of the cancel itself, where a venue has such.
    ///
    /// # Errors
    /// [`Unknown`]
    pub fn cancel(
        &mut self,
        account: AccountId,
        instrument: Option<usize>,
        order: OrderRef<'_>,
        cancel_id: Option<&str>,
        now_ns: u64,
    ) -> Result<Order, Unknown> {
        // A cancel means the open one, should an id have been used again.
        let open = self.open_orders(account, instrument).find(|it| match order {
            OrderRef::Id(id) => it.id == id,
            OrderRef::Client(id) => it.client_id == id,
        });
        let Some(id) = open.map(|it| it.id) else {
            return Err(self
                .find(account, instrument, order)
                .map_or(Unknown::Never, |it| Unknown::Ended(it.id)));
        };
        Ok(self.cancel_open(id, cancel_id, now_ns))
    }

    /// Cancels all open orders of an account, of one instrument or of all; the cancelled ones, oldest first.
    pub fn cancel_all(&mut self, account: AccountId, instrument: Option<usize>, now_ns: u64) -> Vec<Order> {
        let ids: Vec<u64> = self.open_orders(account, instrument).map(|order| order.id).collect();
        ids.into_iter().map(|id| self.cancel_open(id, None, now_ns)).collect()
    }

    fn cancel_open(&mut self, id: u64, cancel_id: Option<&str>, now_ns: u64) -> Order {
        let index = self.index(id);
        self.orders[index].cancel_id = cancel_id.map(str::to_owned);
        self.end(index, Status::Canceled, None, now_ns);
        self.orders[index].clone()
    }

    // --- reports and faults ---------------------------------------------------------------------------------------

    /// The next report that is due. Who is not connected is not told.
    pub fn poll_report(&mut self, now_ns: u64) -> Option<Report> {
        self.outbox.pop(now_ns)
    }

    /// When [`Self::poll_report`] has something next.
    pub fn next_wake_ns(&self) -> u64 {
        self.outbox.next_wake_ns()
    }

    /// The venue's clock for the check of timestamps, milliseconds since 1970.
    pub fn clock_ms(&self, now_ns: u64) -> u64 {
        self.script.clock_ms(now_ns)
    }

    /// Whether private connections are let in.
    pub fn is_reachable(&self, now_ns: u64) -> bool {
        now_ns >= self.script.outage_until_ns
    }

    /// Whether all private connections are to be dropped now; `true` once for each outage. Ask before
    /// [`Self::poll_report`].
    pub fn take_kill(&mut self) -> bool {
        self.script.take_kill()
    }

    /// Arms a fault.
    pub fn fault(&mut self, fault: &OrderFault, now_ns: u64) {
        self.script.arm(fault, now_ns);
        match *fault {
            OrderFault::Fill { percent } | OrderFault::FillDuringOutage { percent, .. } => {
                self.fill_resting(percent, now_ns);
            }
            OrderFault::Clear => self.outbox.release(),
            _ => {}
        }
    }

    fn report(&mut self, kind: ReportKind, index: usize, fill: Option<Fill>, now_ns: u64) {
        let order = self.orders[index].clone();
        let spec = &self.specs[order.instrument];
        let account = &self.accounts[order.account.0];
        let mut assets = vec![&spec.base, &spec.quote];
        if !assets.contains(&&order.fee_asset) {
            assets.push(&order.fee_asset);
        }
        let balances = assets.into_iter().map(|asset| (asset.clone(), account.balance(asset))).collect();
        let report = Report { id: self.next_report_id, kind, order, fill, balances, time_ns: now_ns };
        self.next_report_id += 1;
        self.outbox.push(report, &mut self.script, now_ns);
    }

    /// Ends an open order: what it held is free again, and a report says so.
    fn end(&mut self, index: usize, status: Status, end: Option<End>, now_ns: u64) {
        let order = &mut self.orders[index];
        (order.status, order.end, order.updated_ns) = (status, end, now_ns);
        let spec = &self.specs[order.instrument];
        let asset = if order.side == Side::Bid { &spec.quote } else { &spec.base };
        let held = std::mem::take(&mut order.held);
        self.accounts[order.account.0].release(asset, held);
        self.resting[order.instrument].remove(order.side, order.id);
        let kind = match status {
            Status::Canceled => ReportKind::Canceled,
            _ => ReportKind::Expired,
        };
        self.report(kind, index, None, now_ns);
    }
}
