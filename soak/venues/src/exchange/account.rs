//! One account: what it has of each asset, and how many orders it may still send.

use std::collections::BTreeMap;

use super::OrderLimit;
use super::amount::Amount;

/// What an account has of one asset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// All of it.
    pub total: Amount,
    /// What open orders hold.
    pub held: Amount,
}

impl Balance {
    /// What new orders can use.
    pub fn free(self) -> Amount {
        self.total - self.held
    }
}

#[derive(Clone, Debug)]
struct Window {
    limit: OrderLimit,
    number: u64,
    count: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Account {
    balances: BTreeMap<String, Balance>,
    windows: Vec<Window>,
}

impl Account {
    pub(super) fn new(assets: &[String], funds: u64, limits: &[OrderLimit]) -> Self {
        let balance = Balance { total: Amount::whole(funds), held: Amount::ZERO };
        let windows = limits.iter().map(|limit| Window { limit: *limit, number: 0, count: 0 });
        Self {
            balances: assets.iter().map(|asset| (asset.clone(), balance)).collect(),
            windows: windows.collect(),
        }
    }

    pub(super) fn balance(&self, asset: &str) -> Balance {
        self.balances.get(asset).copied().unwrap_or_default()
    }

    pub(super) fn balances(&self) -> impl Iterator<Item = (&str, Balance)> + '_ {
        self.balances.iter().map(|(asset, balance)| (asset.as_str(), *balance))
    }

    fn of(&mut self, asset: &str) -> &mut Balance {
        self.balances.entry(asset.to_owned()).or_default()
    }

    pub(super) fn hold(&mut self, asset: &str, amount: Amount) {
        self.of(asset).held += amount;
    }

    pub(super) fn release(&mut self, asset: &str, amount: Amount) {
        let balance = self.of(asset);
        balance.held -= amount;
        assert!(balance.held >= Amount::ZERO, "no more {asset} is released than was held");
    }

    /// Adds (or takes, if negative).
    pub(super) fn add(&mut self, asset: &str, amount: Amount) {
        let balance = self.of(asset);
        balance.total += amount;
        assert!(balance.total >= balance.held, "nobody spends {asset} that is not there");
    }

    /// Counts a new order, or names the limit that refuses it.
    pub(super) fn count_order(&mut self, now_ns: u64) -> Result<(), usize> {
        for window in &mut self.windows {
            let number = now_ns / window.limit.interval_ns;
            if number != window.number {
                (window.number, window.count) = (number, 0);
            }
        }
        if let Some(limit) = self.windows.iter().position(|window| window.count >= window.limit.max) {
            return Err(limit);
        }
        self.windows.iter_mut().for_each(|window| window.count += 1);
        Ok(())
    }

    /// An order was filled for the first time: it does not count any more.
    pub(super) fn give_back(&mut self) {
        for window in &mut self.windows {
            window.count = window.count.saturating_sub(1);
        }
    }

    /// (interval, used, most) of each limit.
    pub(super) fn usage(&self, now_ns: u64) -> Vec<(u64, u32, u32)> {
        let usage = |window: &Window| {
            let OrderLimit { interval_ns, max } = window.limit;
            (interval_ns, if window.number == now_ns / interval_ns { window.count } else { 0 }, max)
        };
        self.windows.iter().map(usage).collect()
    }
}
