//! Coinbase Advanced Trade order entry: REST for orders and questions, the `user` channel for what becomes of them.
//!
//! The venue takes UUIDs as client order ids: ours become version 5 UUIDs, and the ledger knows both. It tells cumulative
//! figures and no executions; what they grew by is told as one execution, with its price derived.
//!
//! Source for all of this folder: docs.cdp.coinbase.com, Advanced Trade pages of 2026-06 and 2026-08, and
//! coinbase-advanced-py 1.8.4.

mod decode;
mod encode;
pub(super) mod sign;

pub use sign::CoinbaseKey;

use crate::directory::Directory;
use crate::ids::Listing;
use crate::json::Tape;
use crate::orders::ledger::{Purpose, Tag};
use crate::orders::order::Order;
use crate::raw::DecodeError;

use super::{EncodeError, Incoming, OrderGateway, Outgoing, Stamp};

/// Where the venue answers; part of what a token signs.
pub const LIVE_HOST: &str = "api.coinbase.com";

/// The next page of a list.
#[derive(Debug)]
struct Page {
    tag: Tag,
    cursor: Vec<u8>,
    number: u32,
}

/// An account at Coinbase.
#[derive(Debug)]
pub struct CoinbaseOrders {
    key: CoinbaseKey,
    /// `organizations/{org}/apiKeys/{id}`.
    key_name: Vec<u8>,
    host: Vec<u8>,
    /// A token for the next new order, made ahead: signing takes longer than all else together.
    prepared: Vec<u8>,
    /// When that was made, in seconds since the Unix epoch.
    prepared_s: u64,
    scratch: Vec<u8>,
    /// Last frame number of this connection.
    sequence: Option<u64>,
    joined: bool,
    /// Lists that have another page: whose, where it begins, and which it is.
    pages: Vec<Page>,
    tape: Tape,
}

impl CoinbaseOrders {
    /// For one key. `host` is [`LIVE_HOST`] but in tests.
    pub fn new(key_name: &[u8], key: CoinbaseKey, host: &str) -> Self {
        Self {
            key,
            key_name: key_name.trim_ascii().to_vec(),
            host: host.as_bytes().to_vec(),
            prepared: Vec::with_capacity(1_024),
            prepared_s: 0,
            scratch: Vec::with_capacity(1_024),
            sequence: None,
            joined: false,
            pages: Vec::new(),
            tape: Tape::default(),
        }
    }
}

impl OrderGateway for CoinbaseOrders {
    fn name(&self) -> &'static str {
        "coinbase"
    }

    /// No deadline is documented. A request that is not answered within the HTTP time-out of some seconds is not taken on
    /// later; the rest is margin for lists that lag.
    fn not_found_final_ns(&self) -> u64 {
        30_000_000_000
    }

    fn by_frame(&self, _purpose: Purpose) -> bool {
        false
    }

    fn works_without_session(&self) -> bool {
        true
    }

    /// Whether there is no token for the next new order, or one that is soon too old. An order that finds none makes its
    /// own.
    fn wants_token(&self, stamp: &Stamp) -> bool {
        !self.has_prepared(stamp)
    }

    fn prepare(&mut self, stamp: &Stamp) {
        self.write_prepared(stamp);
    }

    /// The channel, then heartbeats, without which the venue closes a quiet connection.
    fn join(&mut self, step: u32, stamp: &Stamp, out: &mut Outgoing) -> Result<bool, EncodeError> {
        match step {
            0 => {
                (self.sequence, self.joined) = (None, false);
                self.write_subscribe(b"user", stamp, out);
            }
            1 => self.write_subscribe(b"heartbeats", stamp, out),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn place(
        &mut self,
        _tag: Tag,
        order: &Order,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        self.write_place(order, directory, stamp, out);
        Ok(())
    }

    fn cancel(
        &mut self,
        _tag: Tag,
        order: &Order,
        _directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        self.write_cancel(order, stamp, out)
    }

    fn cancel_all(
        &mut self,
        _listing: Listing,
        _directory: &Directory,
        _stamp: &Stamp,
        _out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        Err(EncodeError::Unsupported("a cancel of everything: cancel one by one"))
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
        self.write_query(tag, order, directory, stamp, out);
        Ok(())
    }

    fn open_orders(&mut self, tag: Tag, stamp: &Stamp, out: &mut Outgoing) -> Result<(), EncodeError> {
        self.write_open_orders(tag, stamp, out);
        Ok(())
    }

    fn fills(
        &mut self,
        _tag: Tag,
        _order: &Order,
        _directory: &Directory,
        _stamp: &Stamp,
        _out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        Err(EncodeError::Unsupported("executions beside the cumulative figures"))
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
        decode::http(&mut self.tape, &mut self.pages, tag, status, body, incoming)
    }
}
