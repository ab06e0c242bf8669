//! Coinbase's requests: REST with a bearer token each, and the subscription of the `user` channel.

use crate::directory::Directory;
use crate::orders::check::trimmed;
use crate::orders::ledger::Tag;
use crate::orders::order::Order;
use crate::orders::request::{OrderKind, OrderSide, TimeInForce};
use crate::orders::venue::{EncodeError, Outgoing, Stamp, Transport, write};

use super::CoinbaseOrders;
use super::sign::{Claims, TOKEN_LIFE_S};

const ORDERS: &[u8] = b"/api/v3/brokerage/orders";
const BATCH_CANCEL: &[u8] = b"/api/v3/brokerage/orders/batch_cancel";
const HISTORICAL: &[u8] = b"/api/v3/brokerage/orders/historical/";
const BATCH: &[u8] = b"/api/v3/brokerage/orders/historical/batch";

/// A token made ahead is used up to this age, in seconds: it must still be good when it arrives.
const PREPARED_AGE_S_MAX: u64 = TOKEN_LIFE_S - 30;

impl CoinbaseOrders {
    pub(super) fn has_prepared(&self, stamp: &Stamp) -> bool {
        let now_s = stamp.unix_ms / 1_000;
        !self.prepared.is_empty() && now_s.abs_diff(self.prepared_s) <= PREPARED_AGE_S_MAX
    }

    pub(super) fn write_prepared(&mut self, stamp: &Stamp) {
        self.prepared.clear();
        self.prepared_s = stamp.unix_ms / 1_000;
        let claims = Claims {
            key_name: &self.key_name,
            random: stamp.random,
            now_s: self.prepared_s,
            uri: Some((b"POST", &self.host, ORDERS)),
        };
        self.key.token(&claims, &mut self.scratch, &mut self.prepared);
    }

    /// Starts an HTTP request with its token; `out.path` holds the path without query when it returns.
    fn begin(&mut self, transport: Transport, path: &[&[u8]], stamp: &Stamp, out: &mut Outgoing) {
        out.start(transport);
        for part in path {
            out.path.extend_from_slice(part);
        }
        out.headers.extend_from_slice(b"Authorization: Bearer ");
        let method: &[u8] = if transport == Transport::Get { b"GET" } else { b"POST" };
        let claims = Claims {
            key_name: &self.key_name,
            random: stamp.random,
            now_s: stamp.unix_ms / 1_000,
            uri: Some((method, &self.host, &out.path)),
        };
        self.key.token(&claims, &mut self.scratch, &mut out.headers);
        end_headers(transport, out);
    }

    pub(super) fn write_subscribe(&mut self, channel: &[u8], stamp: &Stamp, out: &mut Outgoing) {
        out.start(Transport::Frame);
        out.body.extend_from_slice(b"{\"type\":\"subscribe\",\"channel\":\"");
        out.body.extend_from_slice(channel);
        out.body.extend_from_slice(b"\",\"jwt\":\"");
        let claims = Claims {
            key_name: &self.key_name,
            random: stamp.random,
            now_s: stamp.unix_ms / 1_000,
            uri: None,
        };
        self.key.token(&claims, &mut self.scratch, &mut out.body);
        out.body.extend_from_slice(b"\"}");
    }

    pub(super) fn write_place(
        &mut self,
        order: &Order,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) {
        let configuration: &[u8] = match (order.kind, order.time_in_force) {
            (OrderKind::Market, _) => b"market_market_ioc",
            (OrderKind::Limit, TimeInForce::GoodTillCancelled) => b"limit_limit_gtc",
            (OrderKind::Limit, TimeInForce::ImmediateOrCancel) => b"sor_limit_ioc",
            (OrderKind::Limit, TimeInForce::FillOrKill) => b"limit_limit_fok",
        };
        if self.has_prepared(stamp) {
            out.start(Transport::Post);
            out.path.extend_from_slice(ORDERS);
            out.headers.extend_from_slice(b"Authorization: Bearer ");
            out.headers.extend_from_slice(&self.prepared);
            self.prepared.clear(); // one request, one token
            end_headers(Transport::Post, out);
        } else {
            self.begin(Transport::Post, &[ORDERS], stamp, out);
        }
        let decimals = order.life.decimals;
        let body = &mut out.body;
        body.extend_from_slice(b"{\"client_order_id\":\"");
        body.extend_from_slice(&order.wire_id.uuid().text());
        body.extend_from_slice(b"\",\"product_id\":\"");
        body.extend_from_slice(directory.instrument(order.listing).venue_symbol.as_bytes());
        let buy = order.side == OrderSide::Buy;
        body.extend_from_slice(if buy { b"\",\"side\":\"BUY\"" } else { b"\",\"side\":\"SELL\"" });
        body.extend_from_slice(b",\"order_configuration\":{\"");
        body.extend_from_slice(configuration);
        body.extend_from_slice(b"\":{\"base_size\":\"");
        write::number(trimmed(order.life.qty.0, decimals.qty), body);
        body.push(b'"');
        if order.kind == OrderKind::Limit {
            body.extend_from_slice(b",\"limit_price\":\"");
            write::number(trimmed(order.price.0, decimals.price), body);
            body.push(b'"');
            if order.time_in_force == TimeInForce::GoodTillCancelled {
                body.extend_from_slice(if order.post_only {
                    b",\"post_only\":true"
                } else {
                    b",\"post_only\":false"
                });
            }
        }
        body.extend_from_slice(b"}}}");
    }

    pub(super) fn write_cancel(
        &mut self,
        order: &Order,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        let id = order.life.venue_order_id;
        if id.is_empty() {
            return Err(EncodeError::Unsupported("a cancel by client order id: ask for the order first"));
        }
        self.begin(Transport::Post, &[BATCH_CANCEL], stamp, out);
        out.body.extend_from_slice(b"{\"order_ids\":[\"");
        out.body.extend_from_slice(id.as_bytes());
        out.body.extend_from_slice(b"\"]}");
        Ok(())
    }

    /// By the venue's id if it is known. There is no question by ours: the newest orders on the instrument are listed.
    pub(super) fn write_query(
        &mut self,
        tag: Tag,
        order: &Order,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) {
        let id = order.life.venue_order_id;
        if id.is_empty() {
            self.begin(Transport::Get, &[BATCH], stamp, out);
            out.path.extend_from_slice(b"?limit=250&product_ids=");
            write::percent(directory.instrument(order.listing).venue_symbol.as_bytes(), &mut out.path);
            self.write_cursor(tag, out);
        } else {
            self.begin(Transport::Get, &[HISTORICAL, id.as_bytes()], stamp, out);
        }
    }

    pub(super) fn write_open_orders(&mut self, tag: Tag, stamp: &Stamp, out: &mut Outgoing) {
        self.begin(Transport::Get, &[BATCH], stamp, out);
        // The filter misses orders that are pending or queued; those are asked for one by one.
        out.path.extend_from_slice(b"?order_status=OPEN&limit=250");
        self.write_cursor(tag, out);
    }

    /// Where the next page of this list begins, if it is that which is asked for.
    fn write_cursor(&self, tag: Tag, out: &mut Outgoing) {
        if let Some(page) = self.pages.iter().find(|page| page.tag == tag) {
            out.path.extend_from_slice(b"&cursor=");
            write::percent(&page.cursor, &mut out.path);
        }
    }
}

fn end_headers(transport: Transport, out: &mut Outgoing) {
    out.headers.extend_from_slice(b"\r\n");
    if transport == Transport::Post {
        out.headers.extend_from_slice(b"Content-Type: application/json\r\n");
    }
}
