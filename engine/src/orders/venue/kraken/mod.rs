//! Kraken Spot order entry: WebSocket v2 for orders and the `executions` channel, REST for questions.
//!
//! Source for all of this folder: docs.kraken.com (`add_order` page of 2026-07-23, executions of 2026-05-27, REST
//! authentication). Where the documents leave something open the code says so.

mod decode;
mod encode;
pub(super) mod sign;

pub use sign::KrakenKey;

use crate::directory::Directory;
use crate::ids::Listing;
use crate::json::Tape;
use crate::orders::ledger::{Order, Purpose, Tag};
use crate::orders::secret::Secret;
use crate::raw::DecodeError;

use super::{EncodeError, Incoming, JoinStep, OrderGateway, Outgoing, Stamp};

/// An account at Kraken.
#[derive(Debug)]
pub struct KrakenOrders {
    key: KrakenKey,
    /// The key's public name.
    api_key: Vec<u8>,
    /// Given by the venue for each connection; it opens the account, so it is as secret as the key.
    token: Option<Secret>,
    /// Executions of orders that were named and are asked for next: whose, and ids with commas between.
    trades: Vec<(Tag, Vec<u8>)>,
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
            trades: Vec::new(),
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
        _tag: Tag,
        attempt: u32,
        order: &Order,
        _directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        self.write_query(attempt, order, stamp, out);
        Ok(())
    }

    fn open_orders(&mut self, _tag: Tag, stamp: &Stamp, out: &mut Outgoing) -> Result<(), EncodeError> {
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
        decode::http(self, tag, status, body, incoming)
    }
}
