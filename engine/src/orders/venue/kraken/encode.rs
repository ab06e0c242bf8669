//! Kraken's requests: frames `{"method":..,"params":{..,"token":..},"req_id":n}`, and signed REST forms.
//!
//! Prices and quantities are JSON numbers, written from their decimal text: strings are refused.

use crate::directory::Directory;
use crate::ids::Listing;
use crate::orders::check::trimmed;
use crate::orders::ledger::{Order, Tag};
use crate::orders::request::{OrderKind, OrderSide, TimeInForce};
use crate::orders::venue::{EncodeError, Outgoing, Stamp, Transport, write};

use super::KrakenOrders;

/// How long the engine may take to match a new order, in milliseconds: 500 to 60,000, the venue's default.
pub(super) const DEADLINE_MS: u64 = 5_000;

/// Executions in one question. Source: docs.kraken.com, `QueryTrades`, 2026.
const TRADES_PER_QUERY: usize = 20;

impl KrakenOrders {
    pub(super) fn write_token_request(&mut self, stamp: &Stamp, out: &mut Outgoing) {
        (self.token, self.sequence) = (None, None);
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
    pub(super) fn write_query(&mut self, attempt: u32, order: &Order, stamp: &Stamp, out: &mut Outgoing) {
        let venue_id = order.life.venue_order_id;
        if !venue_id.is_empty() {
            self.write_post(b"/0/private/QueryOrders", stamp, out, |body| {
                body.extend_from_slice(b"&txid=");
                write::percent(venue_id.as_bytes(), body);
            });
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
        let named = self.trades.iter().position(|(whose, _)| *whose == tag);
        if let Some(at) = named {
            let ids = std::mem::take(&mut self.trades[at].1);
            self.write_post(b"/0/private/QueryTrades", stamp, out, |body| {
                body.extend_from_slice(b"&txid=");
                write::percent(first_trades(&ids), body);
            });
            self.trades[at].1 = ids;
            return;
        }
        let venue_id = order.life.venue_order_id;
        if venue_id.is_empty() {
            self.write_post(b"/0/private/TradesHistory", stamp, out, |_| {});
            return;
        }
        self.write_post(b"/0/private/QueryOrders", stamp, out, |body| {
            body.extend_from_slice(b"&trades=true&txid=");
            write::percent(venue_id.as_bytes(), body);
        });
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

/// The part of a list of ids, with commas between, that one question may have.
pub(super) fn first_trades(ids: &[u8]) -> &[u8] {
    let commas = ids.iter().enumerate().filter(|&(_, &byte)| byte == b',');
    let end = commas.map(|(at, _)| at).nth(TRADES_PER_QUERY - 1).unwrap_or(ids.len());
    &ids[..end]
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
