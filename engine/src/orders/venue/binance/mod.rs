//! Binance Spot order entry: the WebSocket API for orders, queries and the user data stream, all on one connection; REST
//! for cancels and questions while that is not there.
//!
//! Source for all of this folder: binance-spot-api-docs, commit a5e0bc3 (2026-07-21), web-socket-api.md and
//! user-data-stream.md.

mod decode;
mod encode;
pub(super) mod sign;

pub use sign::BinanceKey;
pub(super) use sign::ed25519_from_pem;

use crate::directory::Directory;
use crate::ids::Listing;
use crate::json::Tape;
use crate::orders::ledger::{Purpose, Tag};
use crate::orders::order::Order;
use crate::raw::DecodeError;

use super::{EncodeError, Incoming, JoinStep, OrderGateway, Outgoing, Stamp};

/// Numbers of the session's own requests.
const SUBSCRIBE: u32 = 0;
const LOGON: u32 = 1;
const CLOCK: u32 = 2;

/// An account at Binance.
#[derive(Debug)]
pub struct BinanceOrders {
    key: BinanceKey,
    /// The key's public name, as the venue gave it out.
    api_key: Vec<u8>,
    /// How old a request may be when it arrives, in milliseconds.
    receive_window_ms: u64,
    /// The connection took our key: requests on it are not signed.
    logged_on: bool,
    /// Parameters in signing order, and the signature; reused.
    payload: Vec<u8>,
    tape: Tape,
}

impl BinanceOrders {
    /// For one key. `receive_window_ms` is at most 60,000; the venue's default is 5,000.
    pub fn new(api_key: &[u8], key: BinanceKey, receive_window_ms: u64) -> Self {
        Self {
            key,
            api_key: api_key.trim_ascii().to_vec(),
            receive_window_ms: receive_window_ms.clamp(1, 60_000),
            logged_on: false,
            payload: Vec::with_capacity(1_024),
            tape: Tape::default(),
        }
    }
}

impl OrderGateway for BinanceOrders {
    fn name(&self) -> &'static str {
        "binance"
    }

    /// The API gives up on a request after 10 s (-1007); the rest is margin for queries that lag.
    fn not_found_final_ns(&self) -> u64 {
        15_000_000_000
    }

    fn by_frame(&self, _purpose: Purpose) -> bool {
        true
    }

    fn works_without_session(&self) -> bool {
        true
    }

    fn join_step(&self, step: u32) -> JoinStep {
        if step == 0 && self.key.can_log_on() { JoinStep::SendAndWait } else { JoinStep::Send }
    }

    fn has_clock(&self) -> bool {
        true
    }

    fn clock(&mut self, out: &mut Outgoing) {
        Self::write_clock(out);
    }

    /// Log on, if the key can; the user data stream.
    fn join(&mut self, step: u32, stamp: &Stamp, out: &mut Outgoing) -> Result<bool, EncodeError> {
        out.by_http = false;
        if step == 0 {
            self.logged_on = false;
        }
        match (step, self.key.can_log_on()) {
            (0, true) => self.write_logon(stamp, out),
            (0, false) | (1, true) => self.write_join(stamp, out),
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
        self.write_place(tag, order, directory, stamp, out);
        Ok(())
    }

    fn cancel(
        &mut self,
        tag: Tag,
        order: &Order,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        self.write_named(tag, true, order, directory, stamp, out);
        Ok(())
    }

    fn cancel_all(
        &mut self,
        listing: Listing,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        self.write_cancel_all(listing, directory, stamp, out);
        Ok(())
    }

    fn query(
        &mut self,
        tag: Tag,
        _attempt: u32,
        order: &Order,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        self.write_named(tag, false, order, directory, stamp, out);
        Ok(())
    }

    fn open_orders(&mut self, tag: Tag, stamp: &Stamp, out: &mut Outgoing) -> Result<(), EncodeError> {
        self.write_open_orders(tag, stamp, out);
        Ok(())
    }

    fn fills(
        &mut self,
        tag: Tag,
        order: &Order,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        if order.life.venue_order_id.is_empty() {
            return Err(EncodeError::Unsupported("executions of an order whose id is not known"));
        }
        self.write_fills(tag, order, directory, stamp, out);
        Ok(())
    }

    fn decode_frame(&mut self, frame: &mut [u8], incoming: &mut Vec<Incoming>) -> Result<(), DecodeError> {
        let before = incoming.len();
        let result = decode::frame(&mut self.tape, frame, incoming);
        self.logged_on |= incoming[before..].contains(&Incoming::Token);
        result
    }

    fn decode_http(
        &mut self,
        tag: Tag,
        status: u16,
        body: &mut [u8],
        incoming: &mut Vec<Incoming>,
    ) -> Result<(), DecodeError> {
        decode::http(&mut self.tape, tag, status, body, incoming)
    }
}
