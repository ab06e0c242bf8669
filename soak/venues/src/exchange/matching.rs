//! Matching: what a new order takes, and what fills the resting ones.

use std::collections::BTreeMap;

use super::order::{End, Fill, Kind, NewOrder, Order, Reject, ReportKind, Status, TimeInForce};
use super::{AccountId, Amount, Exchange, FeeAsset, Placed, Unique};
use crate::market::{Book, Market, Side};

/// The longest side of a fraction that a price or quantity may have; larger ones are absurd and could overflow sums.
const STEPS_MAX: i64 = 1 << 52;

/// The client orders that rest in one instrument, and what clients took from the market's levels.
#[derive(Clone, Debug, Default)]
pub(super) struct Resting {
    /// (price, id), best first, then oldest first.
    bids: Vec<(i64, u64)>,
    asks: Vec<(i64, u64)>,
    /// Lots that were taken from a level since the market last changed it.
    taken: BTreeMap<(Side, i64), i64>,
}

impl Resting {
    fn side(&self, side: Side) -> &Vec<(i64, u64)> {
        match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        }
    }

    fn side_mut(&mut self, side: Side) -> &mut Vec<(i64, u64)> {
        match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        }
    }

    fn insert(&mut self, side: Side, price: i64, id: u64) {
        let orders = self.side_mut(side);
        let at = orders.partition_point(|(other, _)| side.sign() * *other >= side.sign() * price);
        orders.insert(at, (price, id));
    }

    pub(super) fn remove(&mut self, side: Side, id: u64) {
        self.side_mut(side).retain(|(_, other)| *other != id);
    }

    /// What the market offers at a price, less what clients took.
    fn visible(&self, book: &Book, side: Side, price: i64) -> i64 {
        let taken = self.taken.get(&(side, price)).copied().unwrap_or(0);
        (book.side(side).qty(price) - taken).max(0)
    }
}

/// A part of what a new order takes.
#[derive(Clone, Copy, Debug)]
struct Bite {
    price: i64,
    qty: i64,
    /// The resting order of a client; `None`: the market.
    maker: Option<u64>,
}

impl Exchange {
    /// Takes a new order: refuses it, or fills what it can at once, and lets the rest rest or end.
    ///
    /// # Errors
    /// [`Reject`]: nothing has changed, but for the count of orders where the limits were passed.
    pub fn place(
        &mut self,
        account: AccountId,
        new: &NewOrder,
        market: &Market,
        now_ns: u64,
    ) -> Result<Placed, Reject> {
        let book = &market.instruments()[new.instrument].book;
        let spec = self.specs[new.instrument].clone();
        let qty = new.qty.steps(spec.lot, spec.qty_decimals).ok_or(Reject::Lot)?;
        let price = match new.kind {
            Kind::Limit => new.price.steps(spec.tick, spec.price_decimals).ok_or(Reject::Tick)?,
            Kind::Market => 0,
        };
        let priced = new.kind == Kind::Limit;
        if qty <= 0 || qty > STEPS_MAX || price > STEPS_MAX || (priced && price <= 0) {
            return Err(Reject::Range);
        }
        if priced && Amount::of_value(&spec, price, qty) < self.config.notional_min {
            return Err(Reject::Notional);
        }
        if let Some(id) = new.client_id.as_deref().and_then(|id| self.id_taken(account, new.instrument, id)) {
            return Err(Reject::DuplicateClientId(id));
        }
        if self.open_orders(account, Some(new.instrument)).count() >= self.config.open_orders_max {
            return Err(Reject::OpenOrders);
        }
        let mut bites = self.bites(book, new, price, qty);
        let would_take = new.post_only && !bites.is_empty();
        if would_take {
            if !self.config.post_only_accepted {
                return Err(Reject::WouldTake);
            }
            bites.clear();
        }
        let takes = bites.iter().map(|bite| bite.qty).sum::<i64>();
        let whole = new.time_in_force != TimeInForce::Fok || takes == qty;

        let mut order = Order {
            id: self.first_order_id + self.orders.len() as u64,
            account,
            client_id: new.client_id.clone().unwrap_or_else(|| format!("sim{}", self.orders.len())),
            is_named: new.client_id.is_some(),
            cancel_id: None,
            instrument: new.instrument,
            symbol: spec.symbol(),
            side: new.side,
            kind: new.kind,
            time_in_force: if priced { new.time_in_force } else { TimeInForce::Ioc },
            post_only: new.post_only,
            price,
            qty,
            filled: 0,
            filled_value: Amount::ZERO,
            fees: Amount::ZERO,
            fee_asset: String::new(),
            status: Status::New,
            end: None,
            created_ns: now_ns,
            updated_ns: now_ns,
            held: Amount::ZERO,
            ahead: 0,
        };
        order.fee_asset = match (self.config.fee_asset, new.side) {
            (FeeAsset::Received, Side::Bid) => spec.base.clone(),
            _ => spec.quote.clone(),
        };
        order.held = if priced { self.held_for(&order, qty) } else { self.held_for_bites(&order, &bites) };
        let asset = if new.side == Side::Bid { &spec.quote } else { &spec.base };
        if self.accounts[account.0].balance(asset).free() < order.held {
            return Err(Reject::Funds);
        }
        self.accounts[account.0].count_order(now_ns).map_err(Reject::Rate)?;
        self.accounts[account.0].hold(asset, order.held);

        let (index, fills_before) = (self.orders.len(), self.fills.len());
        self.orders.push(order);
        let answer = self.script.answer();
        self.report(ReportKind::New, index, None, now_ns);
        if whole {
            self.take(index, &bites, now_ns);
        }
        if would_take {
            self.end(index, Status::Canceled, Some(End::PostOnly), now_ns);
        } else {
            self.settle_remainder(index, book, now_ns);
        }
        let order = self.orders[index].clone();
        let fills = self.fills[fills_before..].iter().filter(|fill| fill.order == order.id);
        Ok(Placed { fills: fills.cloned().collect(), order, answer })
    }

    fn id_taken(&self, account: AccountId, instrument: usize, id: &str) -> Option<u64> {
        let taken = |order: &&Order| {
            order.account == account
                && order.client_id == id
                && match self.config.unique {
                    Unique::OpenOfInstrument => order.instrument == instrument && order.status.is_open(),
                    Unique::OpenOfAccount => order.status.is_open(),
                    Unique::Ever => true,
                }
        };
        self.orders.iter().rev().find(taken).map(|order| order.id)
    }

    /// What an order would take now: by price, at one price the market's quantity first.
    fn bites(&self, book: &Book, new: &NewOrder, price: i64, qty: i64) -> Vec<Bite> {
        let (side, resting) = (new.side.opposite(), &self.resting[new.instrument]);
        let sign = new.side.sign();
        let within = |level: i64| new.kind == Kind::Market || sign * level <= sign * price;
        let market = book.side(side).iter().take_while(|level| within(level.price)).map(|level| Bite {
            price: level.price,
            qty: resting.visible(book, side, level.price),
            maker: None,
        });
        let clients = resting.side(side).iter().take_while(|(price, _)| within(*price)).map(|(price, id)| {
            Bite { price: *price, qty: self.orders[self.index(*id)].left(), maker: Some(*id) }
        });
        let mut all: Vec<Bite> = market.chain(clients).filter(|bite| bite.qty > 0).collect();
        all.sort_by_key(|bite| sign * bite.price); // stable: market first, then by time
        let mut left = qty;
        all.retain_mut(|bite| {
            bite.qty = bite.qty.min(left);
            left -= bite.qty;
            bite.qty > 0
        });
        all
    }

    fn take(&mut self, index: usize, bites: &[Bite], now_ns: u64) {
        let (instrument, side) = (self.orders[index].instrument, self.orders[index].side.opposite());
        for bite in bites {
            let trade_id = self.trade_id();
            if let Some(id) = bite.maker {
                self.fill(self.index(id), bite.price, bite.qty, true, trade_id, now_ns);
            } else {
                *self.resting[instrument].taken.entry((side, bite.price)).or_default() += bite.qty;
            }
            self.fill(index, bite.price, bite.qty, false, trade_id, now_ns);
        }
    }

    fn settle_remainder(&mut self, index: usize, book: &Book, now_ns: u64) {
        let order = &self.orders[index];
        if !order.status.is_open() {
            return;
        }
        let end = match (order.kind, order.time_in_force) {
            (Kind::Market, _) => End::NoLiquidity,
            (_, TimeInForce::Ioc) => End::UnfilledIoc,
            (_, TimeInForce::Fok) => End::UnfilledFok,
            (_, TimeInForce::Gtc) => {
                let resting = &mut self.resting[order.instrument];
                let ahead = resting.visible(book, order.side, order.price);
                resting.insert(order.side, order.price, order.id);
                self.orders[index].ahead = ahead;
                return;
            }
        };
        self.end(index, self.config.unfilled, Some(end), now_ns);
    }

    /// What an order with so many lots left holds.
    fn held_for(&self, order: &Order, lots: i64) -> Amount {
        let spec = &self.specs[order.instrument];
        match order.side {
            Side::Ask => Amount::of_lots(spec, lots),
            Side::Bid => self.with_fee(Amount::of_value(spec, order.price, lots)),
        }
    }

    fn held_for_bites(&self, order: &Order, bites: &[Bite]) -> Amount {
        let spec = &self.specs[order.instrument];
        match order.side {
            Side::Ask => Amount::of_lots(spec, bites.iter().map(|bite| bite.qty).sum()),
            Side::Bid => {
                bites.iter().map(|bite| self.with_fee(Amount::of_value(spec, bite.price, bite.qty))).sum()
            }
        }
    }

    /// A buyer's cost, with the greater of the fees where they are paid on top.
    fn with_fee(&self, value: Amount) -> Amount {
        match self.config.fee_asset {
            FeeAsset::Received => value,
            FeeAsset::Quote => {
                let ppm = self.config.taker_ppm.max(self.config.maker_ppm);
                value + value.millionths(ppm, 18)
            }
        }
    }

    fn trade_id(&mut self) -> u64 {
        self.next_trade_id += 1;
        self.next_trade_id
    }

    /// One execution of an open order.
    fn fill(&mut self, index: usize, price: i64, qty: i64, maker: bool, trade_id: u64, now_ns: u64) {
        let order = &self.orders[index];
        assert!(order.status.is_open() && qty > 0 && qty <= order.left(), "an open order with so much left");
        let spec = self.specs[order.instrument].clone();
        let (base, value) = (Amount::of_lots(&spec, qty), Amount::of_value(&spec, price, qty));
        let ppm = if maker { self.config.maker_ppm } else { self.config.taker_ppm };
        let fee_of = if order.fee_asset == spec.base { base } else { value };
        let fee = fee_of.millionths(ppm, self.config.fee_decimals);
        let left = order.left() - qty;
        // A market order holds what its bites cost.
        let held_after = match (left, order.kind) {
            (0, _) => Amount::ZERO,
            (_, Kind::Limit) => self.held_for(order, left),
            (_, Kind::Market) => match order.side {
                Side::Ask => order.held - base,
                Side::Bid => order.held - self.with_fee(value),
            },
        };
        let first = order.filled == 0;
        let order = &mut self.orders[index];
        let released = order.held - held_after;
        order.held = held_after;
        order.filled += qty;
        order.filled_value += value;
        order.fees += fee;
        order.updated_ns = now_ns;
        order.status = if left == 0 { Status::Filled } else { Status::PartiallyFilled };
        let (id, side, instrument) = (order.id, order.side, order.instrument);
        let fill = Fill {
            trade_id,
            order: id,
            account: order.account,
            instrument,
            side,
            price,
            qty,
            value,
            fee,
            fee_asset: order.fee_asset.clone(),
            maker,
            time_ns: now_ns,
        };
        let account = &mut self.accounts[fill.account.0];
        let (paid, got) = match side {
            Side::Bid => ((&spec.quote, value), (&spec.base, base)),
            Side::Ask => ((&spec.base, base), (&spec.quote, value)),
        };
        account.release(paid.0, released);
        account.add(got.0, got.1);
        account.add(paid.0, -paid.1);
        account.add(&fill.fee_asset, -fee);
        if first && self.config.fills_give_back {
            account.give_back();
        }
        if left == 0 {
            self.resting[instrument].remove(side, id);
        }
        self.fills.push(fill.clone());
        self.report(ReportKind::Trade, index, Some(fill), now_ns);
    }

    // --- the market -----------------------------------------------------------------------------------------------

    /// Lets the market's last event fill resting orders.
    pub fn market_event(&mut self, market: &Market, now_ns: u64) {
        let event = market.last_event();
        let instrument = event.instrument;
        let resting = &mut self.resting[instrument];
        for change in &event.levels {
            resting.taken.remove(&(change.side, change.price));
        }
        if resting.bids.is_empty() && resting.asks.is_empty() {
            return;
        }
        for trade in &event.trades {
            self.trade_passes(instrument, trade.taker.opposite(), trade.price, trade.qty, now_ns);
        }
        let book = &market.instruments()[instrument].book;
        for side in [Side::Bid, Side::Ask] {
            self.book_crosses(instrument, side, book, now_ns);
        }
        for side in [Side::Bid, Side::Ask] {
            for at in 0..self.resting[instrument].side(side).len() {
                let (price, id) = self.resting[instrument].side(side)[at];
                let visible = self.resting[instrument].visible(book, side, price);
                let index = self.index(id);
                self.orders[index].ahead = self.orders[index].ahead.min(visible);
            }
        }
    }

    /// A taker of the market traded `qty` at `price` against makers of `side`: orders with a better price were before
    /// that in the queue, those at the price behind what was there when they came.
    fn trade_passes(&mut self, instrument: usize, side: Side, price: i64, qty: i64, now_ns: u64) {
        let mut left = qty;
        for (own, id) in self.resting[instrument].side(side).clone() {
            if left == 0 || side.sign() * own < side.sign() * price {
                return;
            }
            let index = self.index(id);
            let order = &mut self.orders[index];
            let ahead = if own == price { order.ahead } else { 0 };
            order.ahead = (ahead - left).max(0);
            let filled = (left - ahead).clamp(0, order.left());
            if filled > 0 {
                left -= filled;
                let trade_id = self.trade_id();
                self.fill(index, own, filled, true, trade_id, now_ns);
            }
        }
    }

    /// The market's other side stands at or beyond the price of resting orders: it would have traded with them.
    fn book_crosses(&mut self, instrument: usize, side: Side, book: &Book, now_ns: u64) {
        let other = side.opposite();
        for (own, id) in self.resting[instrument].side(side).clone() {
            for level in book.side(other).iter() {
                if side.sign() * level.price > side.sign() * own {
                    break;
                }
                let index = self.index(id);
                let visible = self.resting[instrument].visible(book, other, level.price);
                let filled = visible.min(self.orders[index].left());
                if filled == 0 || !self.orders[index].status.is_open() {
                    continue;
                }
                *self.resting[instrument].taken.entry((other, level.price)).or_default() += filled;
                let trade_id = self.trade_id();
                self.fill(index, own, filled, true, trade_id, now_ns);
            }
        }
    }

    /// Fills a share of what is left of each resting order.
    pub(super) fn fill_resting(&mut self, percent: u8, now_ns: u64) {
        if percent == 0 {
            return;
        }
        let open: Vec<usize> =
            (0..self.orders.len()).filter(|index| self.orders[*index].status.is_open()).collect();
        for index in open {
            let left = self.orders[index].left();
            let share = i128::from(left) * i128::from(percent.min(100)) / 100;
            let trade_id = self.trade_id();
            self.fill(index, self.orders[index].price, (share as i64).max(1), true, trade_id, now_ns);
        }
    }
}
