//! Order entry of spot: tokens, the orders of the WebSocket, the `executions` channel, and the private REST calls.
//!
//! The order of reading: this file (state, ids, counters, refusals), `socket` (methods and the channel), `rest`
//! (signatures and questions), `encode`.
//!
//! Source: docs.kraken.com, `add_order` of 2026-07-23, executions, errors, `cl_ord_id` and rate limits of 2026, REST
//! authentication. What they leave open is said where it is decided.
//!
//! Not simulated: stop and iceberg orders, `gtd`, amendments, batches, `cancel_all_orders_after`, `order_userref`,
//! self-trade prevention, margin, orders by REST. The venue's hosts for public and private connections are one here.

mod encode;
mod rest;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::socket::{Late, Subscription};
use super::{KrakenLimits, SECOND_NS};
use crate::exchange::{AccountId, Exchange, Fill, Order, Reject};
use crate::limits::Bucket;
use crate::output::ConnectionId;

/// A token for private connections.
#[derive(Debug)]
struct Token {
    text: String,
    account: AccountId,
    expires_ns: u64,
}

/// The counter of new orders and cancels of an account and pair, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    value: u64,
    at_ns: u64,
}

impl Counter {
    fn now(&mut self, limits: &KrakenLimits, now_ns: u64) -> &mut u64 {
        let gone = u128::from(now_ns.saturating_sub(self.at_ns))
            * u128::from(limits.rate_counter_decay_per_s)
            / u128::from(SECOND_NS);
        self.value = self.value.saturating_sub(u64::try_from(gone).unwrap_or(u64::MAX));
        self.at_ns = now_ns;
        &mut self.value
    }
}

/// What a cancel adds to the counter, by the order's age in seconds.
fn cancel_cost(age_ns: u64) -> u64 {
    match age_ns / SECOND_NS {
        0..5 => 8_000,
        5..10 => 6_000,
        10..15 => 5_000,
        15..45 => 4_000,
        45..90 => 2_000,
        90..300 => 1_000,
        _ => 0,
    }
}

/// What a new order adds.
const PLACE_COST: u64 = 1_000;

/// Everything behind the private calls.
#[derive(Debug)]
pub(super) struct Trading {
    pub(super) exchange: Exchange,
    tokens: Vec<Token>,
    tokens_made: u64,
    /// The last nonce of each key.
    nonces: BTreeMap<String, u64>,
    /// Private REST calls of each key.
    calls: BTreeMap<String, Bucket>,
    counters: BTreeMap<(AccountId, usize), Counter>,
    subscriptions: Vec<Subscription>,
    late: Vec<Late>,
}

impl Trading {
    pub(super) fn new(exchange: Exchange) -> Self {
        Self {
            exchange,
            tokens: Vec::new(),
            tokens_made: 0,
            nonces: BTreeMap::new(),
            calls: BTreeMap::new(),
            counters: BTreeMap::new(),
            subscriptions: Vec::new(),
            late: Vec::new(),
        }
    }

    /// A connection is gone.
    pub(super) fn closed(&mut self, id: ConnectionId) {
        self.late.retain(|late| late.id != id);
        self.unsubscribe(id);
    }

    /// Ends the `executions` of a connection; `false` if it has none.
    pub(super) fn unsubscribe(&mut self, id: ConnectionId) -> bool {
        let before = self.subscriptions.len();
        self.subscriptions.retain(|it| it.id != id);
        self.subscriptions.len() < before
    }

    /// Whose token it is. It lives on while a subscription that was made with it does.
    fn account_of(&self, token: &str, now_ns: u64) -> Option<AccountId> {
        let alive =
            |it: &&Token| now_ns < it.expires_ns || self.subscriptions.iter().any(|sub| sub.token == it.text);
        self.tokens.iter().filter(|it| it.text == token).find(alive).map(|it| it.account)
    }

    /// Counts a new order; `false`: too many.
    fn count_place(
        &mut self,
        account: AccountId,
        instrument: usize,
        limits: &KrakenLimits,
        now_ns: u64,
    ) -> bool {
        let value = self.counters.entry((account, instrument)).or_default().now(limits, now_ns);
        let admitted = *value + PLACE_COST <= limits.rate_counter_max;
        if admitted {
            *value += PLACE_COST;
        }
        admitted
    }

    /// Counts a cancel. It is never refused: the documents refuse new orders and amendments only.
    fn count_cancel(&mut self, order: &Order, limits: &KrakenLimits, now_ns: u64) {
        let key = (order.account, order.instrument);
        *self.counters.entry(key).or_default().now(limits, now_ns) +=
            cancel_cost(now_ns.saturating_sub(order.created_ns));
    }
}

/// `OAAAAA-BBBBB-CCCCCC`: sixteen digits of base 36 behind a letter.
fn id_text(letter: char, mut number: u64) -> String {
    let mut digits = [b'0'; 16];
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[(number % 36) as usize];
        number /= 36;
    }
    let text = String::from_utf8_lossy(&digits).into_owned();
    format!("{letter}{}-{}-{}", &text[..5], &text[5..10], &text[10..])
}

fn order_id(order: u64) -> String {
    id_text('O', order)
}

/// The two orders of a match have their own.
fn execution_id(fill: &Fill) -> String {
    id_text('T', fill.trade_id * 2 + u64::from(fill.maker))
}

/// The number in an id of that letter.
fn id_number(letter: char, text: &str) -> Option<u64> {
    let digits: String = text.strip_prefix(letter)?.chars().filter(|digit| *digit != '-').collect();
    let number = u64::from_str_radix(&digits, 36).ok()?;
    (id_text(letter, number) == text).then_some(number)
}

/// The venue's text for a refusal of the exchange.
fn refused(reject: Reject) -> &'static str {
    match reject {
        Reject::Range => "EOrder:Order minimum not met",
        Reject::Tick => "EOrder:Tick size check failed",
        Reject::Lot => "EGeneral:Invalid arguments:order_qty",
        Reject::Notional => "EOrder:Cost minimum not met",
        // The exact text is not documented.
        Reject::DuplicateClientId(_) => "EOrder:cl_ord_id already in use",
        Reject::Funds => "EOrder:Insufficient funds",
        Reject::WouldTake => "EOrder:Post only order",
        Reject::OpenOrders => "EOrder:Orders limit exceeded",
        Reject::Rate(_) => "EOrder:Rate limit exceeded",
    }
}
