//! Kraken's requests: frames `{"method":..,"params":{..,"token":..},"req_id":n}`, and signed REST forms.
//!
//! Prices and quantities are JSON numbers, written from their decimal text: strings are refused.

use crate::directory::Directory;
use crate::ids::Listing;
use crate::orders::check::trimmed;
use crate::orders::ledger::{Ledger, Tag};
use crate::orders::order::Order;
use crate::orders::request::{OrderKind, OrderSide, TimeInForce};
use crate::orders::venue::{EncodeError, Outgoing, Stamp, Transport, write};

use super::{Asked, ExecutionId, KrakenOrders, TRADES_PER_QUERY};

/// How long the engine may take to match a new order, in milliseconds: 500 to 60,000, the venue's default.
pub(super) const DEADLINE_MS: u64 = 5_000;

impl KrakenOrders {
    pub(super) fn write_token_request(&mut self, stamp: &Stamp, out: &mut Outgoing) {
        (self.token, self.sequence, self.one_by_one) = (None, None, false);
        self.asked.clear();
        self.named.clear();
        self.write_post(b"/0/private/GetWebSocketsToken", stamp, out, |_| {});
    }

    pub(super) fn write_subscribe(&mut self, out: &mut Outgoing) -> Result<(), EncodeError> {
        self.sequence = None;
        let tag = Tag::session(1);
        Self::begin(b"subscribe", out);
        out.body.extend_from_slice(
            b"\"channel\":\"executions\",\"snap_orders\":true,\"snap_trades\":true,\"order_status\":true",
        );
        self.finish(tag, out)
    }

    pub(super) fn write_place(
        &mut self,
        tag: Tag,
        order: &Order,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        let decimals = order.life.decimals;
        let limit = order.kind == OrderKind::Limit;
        Self::begin(b"add_order", out);
        let body = &mut out.body;
        body.extend_from_slice(if limit {
            b"\"order_type\":\"limit\""
        } else {
            b"\"order_type\":\"market\""
        });
        let buy = order.side == OrderSide::Buy;
        body.extend_from_slice(if buy { b",\"side\":\"buy\"" } else { b",\"side\":\"sell\"" });
        body.extend_from_slice(b",\"symbol\":\"");
        body.extend_from_slice(directory.instrument(order.listing).venue_symbol.as_bytes());
        body.extend_from_slice(b"\",\"order_qty\":");
        write::number(trimmed(order.life.qty.0, decimals.qty), body);
        if limit {
            body.extend_from_slice(b",\"limit_price\":");
            write::number(trimmed(order.price.0, decimals.price), body);
            body.extend_from_slice(match order.time_in_force {
                TimeInForce::GoodTillCancelled => b",\"time_in_force\":\"gtc\"",
                TimeInForce::ImmediateOrCancel => b",\"time_in_force\":\"ioc\"",
                TimeInForce::FillOrKill => b",\"time_in_force\":\"fok\"",
            });
        }
        if order.post_only {
            body.extend_from_slice(b",\"post_only\":true");
        }
        body.extend_from_slice(b",\"cl_ord_id\":\"");
        body.extend_from_slice(order.wire_id.as_bytes());
        body.extend_from_slice(b"\",\"deadline\":\"");
        rfc3339(stamp.unix_ms + DEADLINE_MS, body);
        body.push(b'"');
        self.finish(tag, out)
    }

    pub(super) fn write_cancel(
        &mut self,
        tag: Tag,
        order: &Order,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        Self::begin(b"cancel_order", out);
        let venue_id = order.life.venue_order_id;
        if venue_id.is_empty() {
            out.body.extend_from_slice(b"\"cl_ord_id\":[\"");
            out.body.extend_from_slice(order.wire_id.as_bytes());
        } else {
            out.body.extend_from_slice(b"\"order_id\":[\"");
            out.body.extend_from_slice(venue_id.as_bytes());
        }
        out.body.extend_from_slice(b"\"]");
        self.finish(tag, out)
    }

    /// The venue has no cancel per instrument: this one ends all orders of the account.
    pub(super) fn write_cancel_all(
        &mut self,
        listing: Listing,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        Self::begin(b"cancel_all", out);
        self.finish(Tag::cancel_all(listing), out)
    }

    /// By the venue's id if it is known. By ours, open and closed orders are two places; `attempt` alternates.
    pub(super) fn write_query(
        &mut self,
        tag: Tag,
        attempt: u32,
        order: &Order,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) {
        self.ask_for(tag, order);
        if !self.asked.is_empty() {
            self.write_query_orders(stamp, out);
            return;
        }
        let path: &[u8] =
            if attempt.is_multiple_of(2) { b"/0/private/OpenOrders" } else { b"/0/private/ClosedOrders" };
        self.write_post(path, stamp, out, |body| {
            body.extend_from_slice(b"&cl_ord_id=");
            body.extend_from_slice(order.wire_id.as_bytes());
        });
    }

    /// In two steps: the order names its executions, then those are asked for. History has no filter by order, and shows
    /// 50 executions of the account.
    pub(super) fn write_fills(&mut self, tag: Tag, order: &Order, stamp: &Stamp, out: &mut Outgoing) {
        self.ask_for(tag, order);
        if self.has_named(tag) {
            self.write_query_trades(stamp, out);
        } else if self.asked.is_empty() {
            self.write_post(b"/0/private/TradesHistory", stamp, out, |_| {});
        } else {
            self.write_query_orders(stamp, out);
        }
    }

    /// Questions of one kind as one: see [`OrderGateway::batch`](crate::orders::venue::OrderGateway::batch).
    pub(super) fn write_batch(&mut self, tags: &[Tag], orders: &Ledger, stamp: &Stamp, out: &mut Outgoing) {
        self.asked.clear();
        for &tag in tags {
            // The answer is told apart by the first tag, so that one stays even if its order is gone.
            let venue_order_id = orders.order(tag).map(|order| order.life.venue_order_id).unwrap_or_default();
            self.asked.push(Asked { tag, venue_order_id });
        }
        if tags.first().is_some_and(|&tag| self.has_named(tag)) {
            self.write_query_trades(stamp, out);
        } else {
            self.write_query_orders(stamp, out);
        }
    }

    pub(super) fn has_named(&self, tag: Tag) -> bool {
        self.named.iter().any(|named| named.tag == tag)
    }

    fn ask_for(&mut self, tag: Tag, order: &Order) {
        self.asked.clear();
        let venue_order_id = order.life.venue_order_id;
        if !venue_order_id.is_empty() {
            self.asked.push(Asked { tag, venue_order_id });
        }
    }

    /// The orders of `self.asked`, with the names of their executions, which are most often what is asked for next.
    fn write_query_orders(&mut self, stamp: &Stamp, out: &mut Outgoing) {
        let asked = std::mem::take(&mut self.asked);
        self.write_post(b"/0/private/QueryOrders", stamp, out, |body| {
            body.extend_from_slice(b"&trades=true&txid=");
            let ids = asked.iter().map(|asked| asked.venue_order_id.as_bytes());
            join(ids.filter(|id| !id.is_empty()), body);
        });
        self.asked = asked;
    }

    /// The first executions that the orders of `self.asked` have named, as many as fit.
    pub(super) fn write_query_trades(&mut self, stamp: &Stamp, out: &mut Outgoing) {
        let mut named = std::mem::take(&mut self.named);
        let mut room = TRADES_PER_QUERY;
        for entry in &mut named {
            let is_asked = self.asked.iter().any(|asked| asked.tag == entry.tag);
            entry.asked = if is_asked { entry.ids.len().min(room) } else { 0 };
            room -= entry.asked;
        }
        self.write_post(b"/0/private/QueryTrades", stamp, out, |body| {
            body.extend_from_slice(b"&txid=");
            join(named.iter().flat_map(|entry| &entry.ids[..entry.asked]).map(ExecutionId::as_bytes), body);
        });
        self.named = named;
    }

    /// A signed REST request; `fields` appends `&name=value`s to the body.
    pub(super) fn write_post(
        &mut self,
        path: &[u8],
        stamp: &Stamp,
        out: &mut Outgoing,
        fields: impl FnOnce(&mut Vec<u8>),
    ) {
        out.start(Transport::Post);
        out.path.extend_from_slice(path);
        out.body.extend_from_slice(b"nonce=");
        let nonce_at = out.body.len();
        write::u64(stamp.nonce, &mut out.body);
        let nonce_end = out.body.len();
        fields(&mut out.body);
        let headers = &mut out.headers;
        headers.extend_from_slice(b"Content-Type: application/x-www-form-urlencoded\r\nAPI-Key: ");
        headers.extend_from_slice(&self.api_key);
        headers.extend_from_slice(b"\r\nAPI-Sign: ");
        self.key.sign(path, &out.body[nonce_at..nonce_end], &out.body, headers);
        headers.extend_from_slice(b"\r\n");
    }

    fn begin(method: &[u8], out: &mut Outgoing) {
        out.start(Transport::Frame);
        out.body.extend_from_slice(b"{\"method\":\"");
        out.body.extend_from_slice(method);
        out.body.extend_from_slice(b"\",\"params\":{");
    }

    fn finish(&mut self, tag: Tag, out: &mut Outgoing) -> Result<(), EncodeError> {
        let Some(token) = &self.token else {
            out.body.clear();
            return Err(EncodeError::NoToken);
        };
        let body = &mut out.body;
        if body.last() != Some(&b'{') {
            body.push(b',');
        }
        body.extend_from_slice(b"\"token\":\"");
        body.extend_from_slice(token.expose());
        body.extend_from_slice(b"\"},\"req_id\":");
        write::u64(tag.0, body);
        body.push(b'}');
        Ok(())
    }
}

/// Ids with commas between, escaped.
fn join<'a>(ids: impl Iterator<Item = &'a [u8]>, body: &mut Vec<u8>) {
    for (at, id) in ids.enumerate() {
        if at > 0 {
            body.extend_from_slice(b"%2C");
        }
        write::percent(id, body);
    }
}

/// `2026-11-21T01:00:05.000Z`.
fn rfc3339(unix_ms: u64, out: &mut Vec<u8>) {
    let (days, ms_of_day) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    // Civil date from days, after Howard Hinnant's `civil_from_days`: years begin in March, eras have 400 of them.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let seconds = ms_of_day / 1_000;
    let mut field = |value: u64, digits: u32, after: u8| {
        for place in (0..digits).rev() {
            out.push(b'0' + (value / 10_u64.pow(place) % 10) as u8);
        }
        out.push(after);
    };
    field(year, 4, b'-');
    field(month, 2, b'-');
    field(day, 2, b'T');
    field(seconds / 3_600, 2, b':');
    field(seconds / 60 % 60, 2, b':');
    field(seconds % 60, 2, b'.');
    field(ms_of_day % 1_000, 3, b'Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_as_the_parser_reads_them() {
        for unix_ms in [1_783_000_000_123, 1_709_164_800_000, 951_782_399_999, 4_107_542_400_000] {
            let mut text = Vec::new();
            rfc3339(unix_ms, &mut text);
            let parsed = crate::rfc3339::parse(&text).and_then(crate::time::VenueTime::ns);
            assert_eq!(parsed, Some(unix_ms * 1_000_000), "{}", String::from_utf8_lossy(&text));
        }
    }
}
