//! Requests of the WebSocket API: `{"id":..,"method":..,"params":{..}}`, one per frame.
//!
//! The signature covers all parameters but itself, sorted by name, `name=value` joined by `&`, as raw text. The
//! parameters are therefore written in that order once, as the payload, and the JSON is made from the payload.

use crate::directory::Directory;
use crate::ids::Listing;
use crate::orders::check::trimmed;
use crate::orders::ledger::{Order, Tag};
use crate::orders::request::{OrderKind, OrderSide, TimeInForce};
use crate::orders::venue::{Outgoing, Stamp, Transport, write};

use super::BinanceOrders;

impl BinanceOrders {
    fn begin(&mut self) {
        self.payload.clear();
        self.payload.extend_from_slice(b"apiKey=");
        self.payload.extend_from_slice(&self.api_key);
    }

    /// Adds a parameter. Names must come in the order of their bytes.
    fn add(&mut self, name: &[u8], value: &[u8]) {
        self.name(name);
        self.payload.extend_from_slice(value);
    }

    fn name(&mut self, name: &[u8]) {
        self.payload.push(b'&');
        self.payload.extend_from_slice(name);
        self.payload.push(b'=');
    }

    fn add_window(&mut self) {
        self.name(b"recvWindow");
        write::u64(self.receive_window_ms, &mut self.payload);
    }

    fn add_time(&mut self, stamp: &Stamp) {
        self.name(b"timestamp");
        write::u64(stamp.unix_ms, &mut self.payload);
    }

    /// Signs the payload and writes the frame.
    fn finish(&mut self, tag: Tag, method: &[u8], out: &mut Outgoing) {
        out.start(Transport::Frame);
        let body = &mut out.body;
        body.extend_from_slice(b"{\"id\":");
        write::u64(tag.0, body);
        body.extend_from_slice(b",\"method\":\"");
        body.extend_from_slice(method);
        body.extend_from_slice(b"\",\"params\":{");
        for parameter in self.payload.split(|&byte| byte == b'&') {
            let at = parameter.iter().position(|&byte| byte == b'=').unwrap_or(parameter.len());
            let (name, value) = parameter.split_at(at);
            body.push(b'"');
            body.extend_from_slice(name);
            body.extend_from_slice(b"\":");
            // Whole numbers of the API are bare; amounts are strings.
            let bare = matches!(name, b"orderId" | b"recvWindow" | b"timestamp");
            body.extend_from_slice(if bare { b"" } else { b"\"" });
            body.extend_from_slice(value.get(1..).unwrap_or_default());
            body.extend_from_slice(if bare { b"," } else { b"\"," });
        }
        body.extend_from_slice(b"\"signature\":\"");
        self.key.sign(&self.payload, body);
        body.extend_from_slice(b"\"}}");
    }

    pub(super) fn write_join(&mut self, stamp: &Stamp, out: &mut Outgoing) {
        self.begin();
        self.add_window();
        self.add_time(stamp);
        self.finish(Tag::session(0), b"userDataStream.subscribe.signature", out);
    }

    pub(super) fn write_place(
        &mut self,
        tag: Tag,
        order: &Order,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) {
        let decimals = order.life.decimals;
        self.begin();
        self.add(b"newClientOrderId", order.wire_id.as_bytes());
        self.add(b"newOrderRespType", b"ACK"); // states come on the user stream, with their execution ids
        if order.kind == OrderKind::Limit {
            self.name(b"price");
            write::number(trimmed(order.price.0, decimals.price), &mut self.payload);
        }
        self.name(b"quantity");
        write::number(trimmed(order.life.qty.0, decimals.qty), &mut self.payload);
        self.add_window();
        self.add(b"side", if order.side == OrderSide::Buy { b"BUY" } else { b"SELL" });
        self.add(b"symbol", directory.instrument(order.listing).venue_symbol.as_bytes());
        if order.kind == OrderKind::Limit && !order.post_only {
            self.add(
                b"timeInForce",
                match order.time_in_force {
                    TimeInForce::GoodTillCancelled => b"GTC",
                    TimeInForce::ImmediateOrCancel => b"IOC",
                    TimeInForce::FillOrKill => b"FOK",
                },
            );
        }
        self.add_time(stamp);
        let kind: &[u8] = match (order.kind, order.post_only) {
            (OrderKind::Market, _) => b"MARKET",
            (OrderKind::Limit, false) => b"LIMIT",
            (OrderKind::Limit, true) => b"LIMIT_MAKER",
        };
        self.add(b"type", kind);
        self.finish(tag, b"order.place", out);
    }

    /// A request about one order: by the venue's id if it is known (the faster way), else by ours.
    pub(super) fn write_named(
        &mut self,
        tag: Tag,
        method: &[u8],
        order: &Order,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) {
        self.begin();
        let venue_id = order.life.venue_order_id;
        if venue_id.is_empty() {
            self.add(b"origClientOrderId", order.wire_id.as_bytes());
        } else {
            self.add(b"orderId", venue_id.as_bytes());
        }
        self.add_window();
        self.add(b"symbol", directory.instrument(order.listing).venue_symbol.as_bytes());
        self.add_time(stamp);
        self.finish(tag, method, out);
    }

    pub(super) fn write_cancel_all(
        &mut self,
        listing: Listing,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) {
        self.begin();
        self.add_window();
        self.add(b"symbol", directory.instrument(listing).venue_symbol.as_bytes());
        self.add_time(stamp);
        self.finish(Tag::cancel_all(listing), b"openOrders.cancelAll", out);
    }

    pub(super) fn write_open_orders(&mut self, tag: Tag, stamp: &Stamp, out: &mut Outgoing) {
        self.begin();
        self.add_window();
        self.add_time(stamp);
        self.finish(tag, b"openOrders.status", out);
    }

    pub(super) fn write_fills(
        &mut self,
        tag: Tag,
        order: &Order,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) {
        self.begin();
        self.add(b"orderId", order.life.venue_order_id.as_bytes());
        self.add_window();
        self.add(b"symbol", directory.instrument(order.listing).venue_symbol.as_bytes());
        self.add_time(stamp);
        self.finish(tag, b"myTrades", out);
    }
}
