//! What a provider's order entry tells: while it runs, when something happens, and at the end.

use engine::ids::{ConsumerId, InstrumentId};
use engine::orders::desk::{Desk, DeskCounts};
use engine::orders::ledger::{LedgerCounts, SessionState};
use engine::orders::venue::OrderGateway;
use engine::pool::Usage;
use serde_json::{Value, json};

use super::account::{Account, AccountCounts, Position, Refusals};
use super::critical::{CriticalCounts, CriticalLane};
use super::journal::JournalCounts;

/// The pools of an order path, in the order of [`OrdersStatus::pools`].
pub const ORDER_POOL_NAMES: [&str; 2] = ["order_requests", "execution_reports"];
/// Consumers whose figures a status tells.
pub const ACCOUNTS_MAX: usize = 16;
/// Positions of one consumer that a status tells.
pub const POSITIONS_MAX: usize = 4;
/// Consumer shards whose critical rings a status tells.
pub const LANES_MAX: usize = 8;

/// One consumer through one provider.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccountStatus {
    /// Whose.
    pub consumer: ConsumerId,
    /// What was counted.
    pub counts: AccountCounts,
    /// Why orders were refused.
    pub refusals: Refusals,
    /// How many of `positions` are used.
    pub position_count: u8,
    /// The first positions.
    pub positions: [Position; POSITIONS_MAX],
}

/// Order entry of one provider now.
#[derive(Clone, Copy, Debug)]
pub struct OrdersStatus {
    /// Its index in the topology.
    pub provider: u8,
    /// Where the session stands.
    pub session: SessionState,
    /// What the private connection does.
    pub connection: &'static str,
    /// Orders that may be working.
    pub open_orders: u32,
    /// Of those: whose state is unknown.
    pub unknown_orders: u32,
    /// What the ledger counted.
    pub ledger: LedgerCounts,
    /// What the desk counted.
    pub desk: DeskCounts,
    /// What the journal counted.
    pub journal: JournalCounts,
    /// The journal cannot be written any more.
    pub journal_failed: bool,
    /// How its pools were used, in the order of [`ORDER_POOL_NAMES`].
    pub pools: [Usage; ORDER_POOL_NAMES.len()],
    /// Reports that were told although no slot came free.
    pub unpooled_total: u64,
    /// How many of `lanes` are used.
    pub lane_count: u8,
    /// Critical rings: the shard behind each, and what was counted.
    pub lanes: [(u8, CriticalCounts); LANES_MAX],
    /// How many of `accounts` are used.
    pub account_count: u8,
    /// Consumers.
    pub accounts: [AccountStatus; ACCOUNTS_MAX],
}

impl OrdersStatus {
    pub(super) fn of<G: OrderGateway>(
        provider: u8,
        desk: &Desk<G>,
        accounts: &[Account],
        lanes: &[CriticalLane],
        journal: JournalCounts,
        journal_failed: bool,
    ) -> Self {
        let ledger = desk.ledger();
        let unknown = ledger.orders().filter(|(order, doubt)| *doubt && order.life.is_open()).count();
        let mut status = Self {
            provider,
            session: desk.session(),
            connection: desk.connection_name(),
            open_orders: ledger.open_orders(),
            unknown_orders: unknown as u32,
            ledger: ledger.counts,
            desk: desk.counts,
            journal,
            journal_failed,
            pools: [Usage::default(); ORDER_POOL_NAMES.len()],
            unpooled_total: 0,
            lane_count: lanes.len().min(LANES_MAX) as u8,
            lanes: [(0, CriticalCounts::default()); LANES_MAX],
            account_count: accounts.len().min(ACCOUNTS_MAX) as u8,
            accounts: [AccountStatus::default(); ACCOUNTS_MAX],
        };
        for (slot, lane) in status.lanes.iter_mut().zip(lanes) {
            *slot = (lane.shard, lane.counts);
        }
        for (slot, account) in status.accounts.iter_mut().zip(accounts) {
            slot.consumer = account.consumer;
            slot.counts = account.counts;
            slot.refusals = account.refusals;
            slot.position_count = account.positions.len().min(POSITIONS_MAX) as u8;
            for (to, position) in slot.positions.iter_mut().zip(&account.positions) {
                *to = *position;
            }
        }
        status
    }

    pub(super) const fn with_pools(
        self,
        pools: [Usage; ORDER_POOL_NAMES.len()],
        unpooled_total: u64,
    ) -> Self {
        Self { pools, unpooled_total, ..self }
    }

    /// How it stands, for reports and the control endpoint. Names come from `consumer` and `symbol`.
    pub fn facts(
        &self,
        consumer: impl Fn(ConsumerId) -> String,
        symbol: impl Fn(InstrumentId) -> String,
    ) -> Value {
        let accounts: Vec<Value> = self
            .accounts()
            .map(|account| {
                let refusals =
                    account.refusals.all().map(|(rule, count)| (rule.name().to_owned(), count.into()));
                json!({
                    "consumer": consumer(account.consumer),
                    "counts": counts(AccountCounts::LIST, account.counts.values()),
                    "refused_by_reason": refusals.collect::<serde_json::Map<String, Value>>(),
                    "positions": account.positions().map(|held| position(held, &symbol)).collect::<Vec<_>>(),
                })
            })
            .collect();
        let lanes: Vec<Value> = self
            .lanes()
            .map(|(shard, lane)| json!({"shard": shard, "counts": counts(CriticalCounts::LIST, lane.values())}))
            .collect();
        let pools: serde_json::Map<String, Value> = ORDER_POOL_NAMES
            .iter()
            .zip(&self.pools)
            .map(|(name, usage)| {
                let usage = json!({
                    "capacity": usage.capacity,
                    "out": usage.out,
                    "out_max": usage.out_max,
                    "taken_total": usage.taken_total,
                    "empty_total": usage.empty_total,
                });
                ((*name).to_owned(), usage)
            })
            .collect();
        json!({
            "session": session_name(self.session),
            "open_orders": self.open_orders,
            "unknown_orders": self.unknown_orders,
            "ledger": counts(LedgerCounts::LIST, self.ledger.values()),
            "desk": counts(DeskCounts::LIST, self.desk.values()),
            "journal": counts(JournalCounts::LIST, self.journal.values()),
            "critical_rings": lanes,
            "pools": pools,
            "unpooled_total": self.unpooled_total,
            "accounts": accounts,
        })
    }

    /// The consumers that did anything.
    pub fn accounts(&self) -> impl Iterator<Item = &AccountStatus> {
        self.accounts[..usize::from(self.account_count)].iter()
    }

    /// The critical rings.
    pub fn lanes(&self) -> impl Iterator<Item = &(u8, CriticalCounts)> {
        self.lanes[..usize::from(self.lane_count)].iter()
    }
}

impl AccountStatus {
    /// The first positions.
    pub fn positions(&self) -> impl Iterator<Item = &Position> {
        self.positions[..usize::from(self.position_count)].iter()
    }
}

/// The word for a session's state in status lines and metrics.
pub const fn session_name(session: SessionState) -> &'static str {
    match session {
        SessionState::Down => "down",
        SessionState::Listing => "listing",
        SessionState::Checking => "checking",
        SessionState::Live => "live",
    }
}

/// What a provider's order entry leaves.
#[derive(Clone, Debug)]
pub struct OrdersSummary {
    /// How it stood.
    pub status: OrdersStatus,
    /// Why the journal is not whole.
    pub journal_failure: Option<String>,
    /// Pooled requests and reports that are still out, and since where.
    pub outstanding: Vec<String>,
}

impl OrdersSummary {
    pub(super) fn of(
        mut status: OrdersStatus,
        journal: Result<JournalCounts, String>,
        outstanding: Vec<String>,
    ) -> Self {
        let journal_failure = match journal {
            Ok(counts) => {
                status.journal = counts;
                None
            }
            Err(reason) => Some(reason),
        };
        Self { status, journal_failure, outstanding }
    }

    /// For `report.json`. Names come from `consumer` and `symbol`.
    pub fn facts(
        &self,
        consumer: impl Fn(ConsumerId) -> String,
        symbol: impl Fn(InstrumentId) -> String,
    ) -> Value {
        self.status.facts(consumer, symbol)
    }
}

fn position(held: &Position, symbol: impl Fn(InstrumentId) -> String) -> Value {
    json!({
        "symbol": symbol(held.instrument),
        "qty": scaled(held.qty, held.decimals.qty),
        "price_average": held.price_average().map(|price| scaled(price, held.decimals.price)),
        "bought_qty": scaled(held.bought_qty, held.decimals.qty),
        "sold_qty": scaled(held.sold_qty, held.decimals.qty),
    })
}

fn counts<'a, T: 'a>(
    list: impl IntoIterator<Item = &'a (&'static str, T)>,
    values: impl IntoIterator<Item = u64>,
) -> Value {
    let names = list.into_iter().map(|(name, _)| (*name).to_owned());
    Value::Object(names.zip(values.into_iter().map(Value::from)).collect())
}

/// `mantissa / 10^decimals` as people read it.
pub fn scaled(mantissa: i128, decimals: u8) -> String {
    let power = 10_u128.pow(u32::from(decimals.min(36)));
    let (whole, part) = (mantissa.unsigned_abs() / power, mantissa.unsigned_abs() % power);
    let sign = if mantissa < 0 { "-" } else { "" };
    let part = format!("{part:0width$}", width = usize::from(decimals));
    match part.trim_end_matches('0') {
        "" => format!("{sign}{whole}"),
        digits => format!("{sign}{whole}.{digits}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_without_superfluous_zeros() {
        for (mantissa, decimals, expected) in [
            (0, 8, "0"),
            (150, 2, "1.5"),
            (-5, 3, "-0.005"),
            (1_200, 0, "1200"),
            (100_000_001, 8, "1.00000001"),
        ] {
            assert_eq!(scaled(mantissa, decimals), expected);
        }
    }
}
