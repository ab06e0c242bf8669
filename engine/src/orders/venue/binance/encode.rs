//! Requests of the WebSocket API: `{"id":..,"method":..,"params":{..}}`, one per frame; and the same by REST, where the
//! connection is not there.
//!
//! The signature of a frame covers all parameters but itself, sorted by name, `name=value` joined by `&`, as raw text. The
//! parameters are therefore written in that order once, as the payload, and the JSON is made from the payload.

use crate::directory::Directory;
use crate::ids::Listing;
use crate::orders::check::trimmed;
use crate::orders::ledger::Tag;
use crate::orders::order::Order;
use crate::orders::request::{OrderKind, OrderSide, TimeInForce};
use crate::orders::venue::{Outgoing, Stamp, Transport, write};

use super::{BinanceOrders, CLOCK, LOGON, SUBSCRIBE};

/// One method, both ways.
struct Call {
    method: &'static [u8],
    transport: Transport,
    path: &'static [u8],
}

const PLACE: Call = Call { method: b"order.place", transport: Transport::Post, path: b"/api/v3/order" };
const CANCEL: Call = Call { method: b"order.cancel", transport: Transport::Delete, path: b"/api/v3/order" };
const QUERY: Call = Call { method: b"order.status", transport: Transport::Get, path: b"/api/v3/order" };
const CANCEL_ALL: Call =
    Call { method: b"openOrders.cancelAll", transport: Transport::Delete, path: b"/api/v3/openOrders" };
const OPEN_ORDERS: Call =
    Call { method: b"openOrders.status", transport: Transport::Get, path: b"/api/v3/openOrders" };
const FILLS: Call = Call { method: b"myTrades", transport: Transport::Get, path: b"/api/v3/myTrades" };

/// What signs a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signed {
    /// `apiKey` and `signature` among the parameters.
    Each,
    /// The connection was logged on.
    ByLogon,
    /// A header and `signature` in the query: REST.
    ByHeader,
}

impl BinanceOrders {
    fn signed(&self, out: &Outgoing) -> Signed {
        match (out.by_http, self.logged_on) {
            (true, _) => Signed::ByHeader,
            (false, true) => Signed::ByLogon,
            (false, false) => Signed::Each,
        }
    }

    fn begin(&mut self, out: &Outgoing) {
        self.payload.clear();
        if self.signed(out) == Signed::Each {
            self.payload.extend_from_slice(b"apiKey=");
            self.payload.extend_from_slice(&self.api_key);
        }
    }

    /// Adds a parameter. Names must come in the order of their bytes.
    fn add(&mut self, name: &[u8], value: &[u8]) {
        self.name(name);
        self.payload.extend_from_slice(value);
    }

    fn name(&mut self, name: &[u8]) {
        if !self.payload.is_empty() {
            self.payload.push(b'&');
        }
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

    /// Signs the payload and writes the request, one way or the other.
    fn finish(&mut self, tag: Tag, call: &Call, out: &mut Outgoing) {
        if out.by_http { self.finish_http(call, out) } else { self.finish_frame(tag, call.method, out) }
    }

    fn finish_frame(&mut self, tag: Tag, method: &[u8], out: &mut Outgoing) {
        let signed = self.signed(out);
        out.start(Transport::Frame);
        let body = &mut out.body;
        body.extend_from_slice(b"{\"id\":");
        write::u64(tag.0, body);
        body.extend_from_slice(b",\"method\":\"");
        body.extend_from_slice(method);
        body.extend_from_slice(b"\",\"params\":{");
        for (index, parameter) in
            self.payload.split(|&byte| byte == b'&').filter(|text| !text.is_empty()).enumerate()
        {
            if index > 0 {
                body.push(b',');
            }
            let at = parameter.iter().position(|&byte| byte == b'=').unwrap_or(parameter.len());
            let (name, value) = parameter.split_at(at);
            body.push(b'"');
            body.extend_from_slice(name);
            body.extend_from_slice(b"\":");
            // Whole numbers of the API are bare; amounts are strings.
            let bare = matches!(name, b"orderId" | b"recvWindow" | b"timestamp");
            body.extend_from_slice(if bare { b"" } else { b"\"" });
            body.extend_from_slice(value.get(1..).unwrap_or_default());
            body.extend_from_slice(if bare { b"" } else { b"\"" });
        }
        if signed == Signed::Each {
            body.extend_from_slice(b",\"signature\":\"");
            self.key.sign(&self.payload, body);
            body.push(b'"');
        }
        body.extend_from_slice(b"}}");
    }

    /// All parameters are letters, digits and points: percent-encoding, which goes before signing, changes nothing.
    fn finish_http(&mut self, call: &Call, out: &mut Outgoing) {
        out.start(call.transport);
        out.headers.extend_from_slice(b"X-MBX-APIKEY: ");
        out.headers.extend_from_slice(&self.api_key);
        out.headers.extend_from_slice(b"\r\n");
        out.path.extend_from_slice(call.path);
        out.path.push(b'?');
        out.path.extend_from_slice(&self.payload);
        out.path.extend_from_slice(b"&signature=");
        // The body stays empty; until then it holds the signature.
        self.key.sign(&self.payload, &mut out.body);
        write::percent(&out.body, &mut out.path);
        out.body.clear();
    }

    /// With an Ed25519 key the connection is logged on, once; what follows on it needs no signature of its own.
    pub(super) fn write_logon(&mut self, stamp: &Stamp, out: &mut Outgoing) {
        self.begin(out);
        self.add_window();
        self.add_time(stamp);
        self.finish_frame(Tag::session(LOGON), b"session.logon", out);
    }

    pub(super) fn write_join(&mut self, stamp: &Stamp, out: &mut Outgoing) {
        if self.logged_on {
            self.payload.clear();
            self.finish_frame(Tag::session(SUBSCRIBE), b"userDataStream.subscribe", out);
            return;
        }
        self.begin(out);
        self.add_window();
        self.add_time(stamp);
        self.finish_frame(Tag::session(SUBSCRIBE), b"userDataStream.subscribe.signature", out);
    }

    /// `time` is signed by nobody.
    pub(super) fn write_clock(out: &mut Outgoing) {
        out.start(Transport::Frame);
        out.body.extend_from_slice(b"{\"id\":");
        write::u64(Tag::session(CLOCK).0, &mut out.body);
        out.body.extend_from_slice(b",\"method\":\"time\"}");
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
        self.begin(out);
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
        self.finish(tag, &PLACE, out);
    }

    /// A request about one order: by the venue's id if it is known (the faster way), else by ours.
    pub(super) fn write_named(
        &mut self,
        tag: Tag,
        cancels: bool,
        order: &Order,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) {
        self.begin(out);
        let venue_id = order.life.venue_order_id;
        if venue_id.is_empty() {
            self.add(b"origClientOrderId", order.wire_id.as_bytes());
        } else {
            self.add(b"orderId", venue_id.as_bytes());
        }
        self.add_window();
        self.add(b"symbol", directory.instrument(order.listing).venue_symbol.as_bytes());
        self.add_time(stamp);
        self.finish(tag, if cancels { &CANCEL } else { &QUERY }, out);
    }

    pub(super) fn write_cancel_all(
        &mut self,
        listing: Listing,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) {
        self.begin(out);
        self.add_window();
        self.add(b"symbol", directory.instrument(listing).venue_symbol.as_bytes());
        self.add_time(stamp);
        self.finish(Tag::cancel_all(listing), &CANCEL_ALL, out);
    }

    pub(super) fn write_open_orders(&mut self, tag: Tag, stamp: &Stamp, out: &mut Outgoing) {
        self.begin(out);
        self.add_window();
        self.add_time(stamp);
        self.finish(tag, &OPEN_ORDERS, out);
    }

    pub(super) fn write_fills(
        &mut self,
        tag: Tag,
        order: &Order,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) {
        self.begin(out);
        self.add(b"orderId", order.life.venue_order_id.as_bytes());
        self.add_window();
        self.add(b"symbol", directory.instrument(order.listing).venue_symbol.as_bytes());
        self.add_time(stamp);
        self.finish(tag, &FILLS, out);
    }
}
