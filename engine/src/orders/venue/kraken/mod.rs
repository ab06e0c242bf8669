//! Kraken Spot order entry: WebSocket v2 for orders and the `executions` channel, REST for questions.
//!
//! Source for all of this folder: docs.kraken.com (`add_order` page of 2026-07-23, executions of 2026-05-27, REST
//! authentication). Where the documents leave something open the code says so.

mod decode;
mod encode;
mod rest;
pub(super) mod sign;

pub use sign::KrakenKey;

use crate::directory::Directory;
use crate::ids::Listing;
use crate::json::Tape;
use crate::orders::ledger::{Ledger, Purpose, Tag};
use crate::orders::order::Order;
use crate::orders::report::{ExecutionId, VenueOrderId};
use crate::orders::secret::Secret;
use crate::raw::DecodeError;

use super::{Batch, EncodeError, Incoming, JoinStep, OrderGateway, Outgoing, Stamp};

/// Orders in one question. Source: docs.kraken.com, `QueryOrders`, 2026.
const ORDERS_PER_QUERY: usize = 50;
/// Executions in one question. Source: docs.kraken.com, `QueryTrades`, 2026.
const TRADES_PER_QUERY: usize = 20;
/// Orders whose executions were named and not asked for that are remembered.
const NAMED_MAX: usize = 256;

/// An order in the question under way that names orders, or their executions, by the venue's ids.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// The question about this order.
    tag: Tag,
    venue_order_id: VenueOrderId,
}

/// Executions that an order named, oldest first, and that are not yet told.
#[derive(Debug)]
struct Named {
    /// The question for this order's executions.
    tag: Tag,
    ids: Vec<ExecutionId>,
    /// The first so many stand in the question under way.
    asked: usize,
}

/// An account at Kraken.
#[derive(Debug)]
pub struct KrakenOrders {
    key: KrakenKey,
    /// The key's public name.
    api_key: Vec<u8>,
    /// Given by the venue for each connection; it opens the account, so it is as secret as the key.
    token: Option<Secret>,
    /// Orders in the question under way; none if it names none by the venue's ids. There is one call at a time.
    asked: Vec<Asked>,
    named: Vec<Named>,
    /// The venue refused a question about several orders because it does not know one: ask for each until the next session.
    one_by_one: bool,
    /// Last number of the `executions` channel on this connection.
    sequence: Option<u64>,
    /// Copy of a frame with its numbers between quotes; reused.
    quoted: Vec<u8>,
    tape: Tape,
}

impl KrakenOrders {
    /// For one key.
    pub fn new(api_key: &[u8], key: KrakenKey) -> Self {
        Self {
            key,
            api_key: api_key.trim_ascii().to_vec(),
            token: None,
            asked: Vec::with_capacity(ORDERS_PER_QUERY),
            named: Vec::new(),
            one_by_one: false,
            sequence: None,
            quoted: Vec::with_capacity(4_096),
            tape: Tape::default(),
        }
    }
}

impl OrderGateway for KrakenOrders {
    fn name(&self) -> &'static str {
        "kraken"
    }

    /// Each order carries a deadline of `encode::DEADLINE_MS` after which the engine refuses it; the rest is margin.
    fn not_found_final_ns(&self) -> u64 {
        15_000_000_000
    }

    fn by_frame(&self, purpose: Purpose) -> bool {
        matches!(purpose, Purpose::Place | Purpose::Cancel | Purpose::CancelAll)
    }

    fn works_without_session(&self) -> bool {
        false // its cancels need the token of a connection
    }

    /// Nonces must arrive in order.
    fn calls_max(&self) -> usize {
        1
    }

    fn join_step(&self, step: u32) -> JoinStep {
        if step == 0 { JoinStep::Call } else { JoinStep::Send }
    }

    /// A token by REST, then the subscription on the private connection.
    fn join(&mut self, step: u32, stamp: &Stamp, out: &mut Outgoing) -> Result<bool, EncodeError> {
        match step {
            0 => self.write_token_request(stamp, out),
            1 => self.write_subscribe(out)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn place(
        &mut self,
        tag: Tag,
        order: &Order,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        self.write_place(tag, order, directory, stamp, out)
    }

    fn cancel(
        &mut self,
        tag: Tag,
        order: &Order,
        _directory: &Directory,
        _stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        self.write_cancel(tag, order, out)
    }

    fn cancel_all(
        &mut self,
        listing: Listing,
        _directory: &Directory,
        _stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        self.write_cancel_all(listing, out)
    }

    fn query(
        &mut self,
        tag: Tag,
        attempt: u32,
        order: &Order,
        _directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        self.write_query(tag, attempt, order, stamp, out);
        Ok(())
    }

    fn open_orders(&mut self, _tag: Tag, stamp: &Stamp, out: &mut Outgoing) -> Result<(), EncodeError> {
        self.asked.clear();
        self.write_post(b"/0/private/OpenOrders", stamp, out, |_| {});
        Ok(())
    }

    fn fills(
        &mut self,
        tag: Tag,
        order: &Order,
        _directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        self.write_fills(tag, order, stamp, out);
        Ok(())
    }

    /// Orders by the venue's ids go 50 at a time, executions that were named 20 at a time.
    fn batch(&self, tag: Tag, order: &Order) -> Option<Batch> {
        if self.one_by_one || order.life.venue_order_id.is_empty() {
            return None;
        }
        match tag.purpose()? {
            Purpose::Order => Some(Batch { kind: 0, orders_max: ORDERS_PER_QUERY }),
            Purpose::Fills if self.has_named(tag) => Some(Batch { kind: 1, orders_max: TRADES_PER_QUERY }),
            Purpose::Fills => Some(Batch { kind: 2, orders_max: ORDERS_PER_QUERY }),
            _ => None,
        }
    }

    fn query_batch(
        &mut self,
        tags: &[Tag],
        orders: &Ledger,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        self.write_batch(tags, orders, stamp, out);
        Ok(())
    }

    fn decode_frame(&mut self, frame: &mut [u8], incoming: &mut Vec<Incoming>) -> Result<(), DecodeError> {
        decode::frame(self, frame, incoming)
    }

    fn decode_http(
        &mut self,
        tag: Tag,
        status: u16,
        body: &mut [u8],
        incoming: &mut Vec<Incoming>,
    ) -> Result<(), DecodeError> {
        rest::answer(self, tag, status, body, incoming)
    }
}
