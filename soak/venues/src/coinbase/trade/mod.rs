//! Order entry of Advanced Trade: tokens, orders by REST, the `user` channel.
//!
//! The order of reading: this file (state, ids), `token` (who asks), `rest` (orders and questions), `user` (the channel),
//! `encode`.
//!
//! Source: docs.cdp.coinbase.com, Advanced Trade pages of 2026-06 to 2026-08, and coinbase-advanced-py 1.8.4. What they
//! leave open is said where it is decided.
//!
//! Not simulated: stop, bracket, GTD, TWAP and scaled orders, sizes in the quote asset, previews, edits, portfolios. The
//! venue's hosts are one here.

mod encode;
mod rest;
#[cfg(test)]
mod tests;
mod token;
mod user;

use std::collections::BTreeMap;

use crate::exchange::{AccountId, Exchange};
use crate::limits::Bucket;
use crate::output::ConnectionId;

/// A subscription of the `user` channel.
#[derive(Debug)]
struct User {
    id: ConnectionId,
    account: AccountId,
    /// Instruments; none: all.
    products: Vec<usize>,
}

/// Everything behind the private calls.
#[derive(Debug)]
pub(super) struct Trading {
    pub(super) exchange: Exchange,
    users: Vec<User>,
    /// Private REST calls of each account.
    calls: BTreeMap<AccountId, Bucket>,
}

impl Trading {
    pub(super) fn new(exchange: Exchange) -> Self {
        Self { exchange, users: Vec::new(), calls: BTreeMap::new() }
    }

    /// Ends the `user` channel of a connection, if it has it.
    pub(super) fn unsubscribe(&mut self, id: ConnectionId) {
        self.users.retain(|user| user.id != id);
    }

    /// The user whose channel a connection has.
    pub(super) fn user_of(&self, id: ConnectionId) -> Option<String> {
        self.users.iter().find(|user| user.id == id).map(|user| user_id(user.account))
    }
}

fn user_id(account: AccountId) -> String {
    uuid(0x0075_5e12, account.0 as u64)
}

fn uuid(space: u32, number: u64) -> String {
    format!("{space:08x}-0000-4000-8000-{number:012x}")
}

/// What stands in front of the ids of orders.
const ORDERS: u32 = 0x00_0d_e2_00;
/// What stands in front of the ids of executions.
const FILLS: u32 = 0x00_f1_11_00;

fn order_id(order: u64) -> String {
    uuid(ORDERS, order)
}

/// The number in an order's id.
fn order_number(text: &str) -> Option<u64> {
    let number = u64::from_str_radix(text.rsplit('-').next()?, 16).ok()?;
    (order_id(number) == text).then_some(number)
}
