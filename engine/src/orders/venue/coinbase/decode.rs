//! Coinbase's REST answers and the `user` channel.
//!
//! What an answer to a new order means (docs.cdp.coinbase.com, Advanced Trade, 2026-08):
//!
//! | answer | outcome | why |
//! |---|---|---|
//! | 200, `success: true` with an order id | accepted | taken by the gateway; the state comes on `user` |
//! | 200, `success: false` | rejected | with its reason |
//! | 200, `success: false`, `DUPLICATE_CLIENT_ORDER_ID` | unknown | we send each id once, so the order is there |
//! | 200, `success: false`, `UNKNOWN_FAILURE_REASON` alone | unknown | the venue does not say |
//! | 400, 401, 403, 429 | rejected | refused before the engine |
//! | 5xx, any other status, none, or undecodable | unknown | ask |
//!
//! `batch_cancel`: `success: true` is queued, the end comes on `user`; `false` is rejected; statuses as above.
//! An order by its id: 404 is "no such order"; any other error is no answer.

use crate::decimal::Number;
use crate::json::{Tape, Value};
use crate::orders::id::Uuid;
use crate::orders::ledger::{Outcome, Purpose, Tag};
use crate::orders::life::{ClientKey, OrderNews, Terms};
use crate::orders::report::{Reason, ReportState};
use crate::orders::request::{OrderKind, OrderSide};
use crate::orders::text::Text;
use crate::orders::venue::{Incoming, read};
use crate::raw::DecodeError;
use crate::rfc3339;
use crate::time::VenueTime;

use super::{CoinbaseOrders, Page};

/// Pages of a list that are read: 250 orders each.
const PAGES_MAX: u32 = 20;

/// A text frame of the `user` connection.
pub(super) fn frame(
    gateway: &mut CoinbaseOrders,
    frame: &mut [u8],
    incoming: &mut Vec<Incoming>,
) -> Result<(), DecodeError> {
    let parsed = gateway.tape.parse(frame)?;
    let root = parsed.root();
    if read::text(root, "type") == b"error" {
        let reason = Reason::cut(read::text(root, "message"));
        incoming.push(Incoming::Refused(OrderNews { reason, ..OrderNews::default() }));
        return Ok(());
    }
    let sequence = root.get("sequence_num").and_then(Value::u64);
    let sequence = sequence.ok_or(DecodeError::Missing { field: "sequence_num" })?;
    // One number for all frames of the connection; lower ones are old.
    match gateway.sequence {
        Some(last) if sequence <= last => return Ok(()),
        Some(last) if sequence > last + 1 => incoming.push(Incoming::Lost),
        _ => {}
    }
    gateway.sequence = Some(sequence);
    let channel = read::text(root, "channel");
    let mut events =
        root.get("events").and_then(Value::items).ok_or(DecodeError::Missing { field: "events" })?;
    match channel {
        b"heartbeats" => return Ok(()),
        b"subscriptions" => {
            let joined = events.any(|event| {
                event.get("subscriptions").is_some_and(|channels| channels.get("user").is_some())
            });
            if joined && !gateway.joined {
                gateway.joined = true;
                incoming.push(Incoming::Joined);
            }
            return Ok(());
        }
        b"user" => {}
        _ => return Err(DecodeError::UnknownChannel),
    }
    if !gateway.joined {
        gateway.joined = true; // data may come before the answer to the subscription
        incoming.push(Incoming::Joined);
    }
    let time = rfc3339::parse(read::text(root, "timestamp")).unwrap_or(VenueTime::ABSENT);
    for event in events {
        for row in event.get("orders").and_then(Value::items).into_iter().flatten() {
            let news = order(row, &CHANNEL)?;
            incoming.push(Incoming::News(OrderNews { venue_time: time, ..news }));
        }
    }
    Ok(())
}

/// The names of the cumulative figures: the channel and REST differ.
struct Names {
    qty: &'static str,
    average: &'static str,
}

const CHANNEL: Names = Names { qty: "cumulative_quantity", average: "avg_price" };
const REST: Names = Names { qty: "filled_size", average: "average_filled_price" };

fn order(row: Value<'_>, names: &Names) -> Result<OrderNews, DecodeError> {
    let cum_qty = read::number(row, names.qty)?;
    // An average may have more digits than any number here; it matters only where the value is not told.
    let mut cum_quote = read::number(row, "filled_value")?;
    if cum_quote.is_none() {
        let average = read::number(row, names.average)?;
        cum_quote = cum_qty.zip(average).and_then(|(qty, price)| product(qty, price));
    }
    let reasons = ["reject_reason", "cancel_reason", "reject_message", "cancel_message"];
    let reason = reasons.iter().map(|name| read::text(row, name)).find(|text| !text.is_empty());
    Ok(OrderNews {
        key: Uuid::parse(read::text(row, "client_order_id")).map_or(ClientKey::Absent, ClientKey::Uuid),
        venue_order_id: read::id(read::text(row, "order_id"), "order_id")?,
        state: match read::text(row, "status") {
            b"PENDING" | b"QUEUED" | b"OPEN" => Some(ReportState::Ack),
            b"FILLED" => Some(ReportState::Filled),
            b"CANCELLED" => Some(ReportState::Cancelled),
            b"EXPIRED" => Some(ReportState::Expired),
            b"FAILED" => Some(ReportState::Rejected),
            _ => None, // CANCEL_QUEUED, EDIT_QUEUED: as it was
        },
        cum_qty,
        cum_quote,
        cumulative_fee: Some(read::number(row, "total_fees")?.unwrap_or_default()),
        reason: Reason::cut(reason.unwrap_or_default()),
        ..OrderNews::default()
    })
}

/// What an order in a list is; `None` for kinds that we never send.
fn terms(row: Value<'_>) -> Option<Terms> {
    let side = match read::text(row, "side") {
        b"BUY" => OrderSide::Buy,
        b"SELL" => OrderSide::Sell,
        _ => return None,
    };
    let (name, configuration) = row.get("order_configuration")?.fields()?.next()?;
    let kind = if name.starts_with("market") { OrderKind::Market } else { OrderKind::Limit };
    Some(Terms {
        symbol: Text::new(read::text(row, "product_id"))?,
        side,
        kind,
        price: read::number(configuration, "limit_price").ok()?.unwrap_or_default(),
        qty: read::number(configuration, "base_size").ok()??,
    })
}

/// The product of two numbers, if it fits.
fn product(first: Number, second: Number) -> Option<Number> {
    let (first, second) = (first.trimmed(), second.trimmed());
    let mantissa = first.mantissa.checked_mul(second.mantissa)?;
    Some(Number { mantissa, decimals: first.decimals.checked_add(second.decimals)? }.trimmed())
}

/// The answer to a REST request.
pub(super) fn http(
    tape: &mut Tape,
    pages: &mut Vec<Page>,
    tag: Tag,
    status: u16,
    body: &mut [u8],
    incoming: &mut Vec<Incoming>,
) -> Result<(), DecodeError> {
    let purpose = tag.purpose().ok_or(DecodeError::Invalid { field: "tag" })?;
    let before = incoming.len();
    let page = pages.iter().position(|page| page.tag == tag).map(|at| pages.swap_remove(at));
    if status == 200 {
        let number = page.map_or(0, |page| page.number) + 1;
        let result = success(tape, pages, number, tag, purpose, body, incoming);
        if result.is_err() {
            incoming.truncate(before);
            incoming.push(Incoming::Answer { tag, outcome: no_answer(purpose), news: OrderNews::default() });
        }
        return result;
    }
    let reason = match tape.parse(body) {
        Ok(parsed) => {
            let (message, error) = (read::text(parsed.root(), "message"), read::text(parsed.root(), "error"));
            Reason::cut(if message.is_empty() { error } else { message })
        }
        Err(_) => Reason::EMPTY, // a plain text, a proxy's page
    };
    let outcome = match (purpose, status) {
        (Purpose::Order, 404) => Outcome::NotFound,
        (Purpose::Place | Purpose::Cancel, 400 | 401 | 403 | 429) => Outcome::Rejected,
        _ => no_answer(purpose),
    };
    let news = OrderNews { code: i32::from(status), reason, ..OrderNews::default() };
    incoming.push(Incoming::Answer { tag, outcome, news });
    Ok(())
}

const fn no_answer(purpose: Purpose) -> Outcome {
    match purpose {
        Purpose::Place | Purpose::Cancel => Outcome::Unknown,
        _ => Outcome::Failed,
    }
}

fn success(
    tape: &mut Tape,
    pages: &mut Vec<Page>,
    number: u32,
    tag: Tag,
    purpose: Purpose,
    body: &mut [u8],
    incoming: &mut Vec<Incoming>,
) -> Result<(), DecodeError> {
    let parsed = tape.parse(body)?;
    let root = parsed.root();
    match purpose {
        Purpose::Place => {
            let (outcome, news) = placed(root)?;
            incoming.push(Incoming::Answer { tag, outcome, news });
        }
        Purpose::Cancel => {
            let result = root.get("results").and_then(|results| results.at(0));
            let result = result.ok_or(DecodeError::Missing { field: "results" })?;
            let done = result.get("success").and_then(Value::bool);
            let done = done.ok_or(DecodeError::Missing { field: "success" })?;
            let reason = if done { Reason::EMPTY } else { Reason::cut(read::text(result, "failure_reason")) };
            let outcome = if done { Outcome::Accepted } else { Outcome::Rejected };
            incoming.push(Incoming::Answer {
                tag,
                outcome,
                news: OrderNews { reason, ..OrderNews::default() },
            });
        }
        Purpose::Order if root.get("order").is_some() => {
            let row = root.get("order").ok_or(DecodeError::Missing { field: "order" })?;
            incoming.push(Incoming::Answer { tag, outcome: Outcome::Accepted, news: order(row, &REST)? });
        }
        _ => {
            let rows = root.get("orders").and_then(Value::items);
            for row in rows.ok_or(DecodeError::Missing { field: "orders" })? {
                let news = OrderNews { terms: terms(row), ..order(row, &REST)? };
                incoming.push(Incoming::Item { tag, news });
            }
            let more = root.get("has_next").and_then(Value::bool).unwrap_or(false);
            let cursor = read::text(root, "cursor");
            if more && !cursor.is_empty() && number < PAGES_MAX {
                pages.push(Page { tag, cursor: cursor.to_vec(), number });
                incoming.push(Incoming::More { tag });
            } else {
                incoming.push(Incoming::End { tag, complete: !more });
            }
        }
    }
    Ok(())
}

fn placed(root: Value<'_>) -> Result<(Outcome, OrderNews), DecodeError> {
    let success =
        root.get("success").and_then(Value::bool).ok_or(DecodeError::Missing { field: "success" })?;
    if success {
        // `failure_reason: UNKNOWN_FAILURE_REASON` may stand beside success; the id decides.
        let response =
            root.get("success_response").ok_or(DecodeError::Missing { field: "success_response" })?;
        let id = read::text(response, "order_id");
        if id.is_empty() {
            return Err(DecodeError::Missing { field: "order_id" });
        }
        let news = OrderNews {
            key: Uuid::parse(read::text(response, "client_order_id"))
                .map_or(ClientKey::Absent, ClientKey::Uuid),
            venue_order_id: read::id(id, "order_id")?,
            state: Some(ReportState::Ack),
            ..OrderNews::default()
        };
        return Ok((Outcome::Accepted, news));
    }
    let response = root.get("error_response");
    let text = |field| response.map(|response| read::text(response, field)).unwrap_or_default();
    let (error, preview) = (text("error"), text("preview_failure_reason"));
    let reason = if error.is_empty() { read::text(root, "failure_reason") } else { error };
    let news = OrderNews { reason: Reason::cut(reason), ..OrderNews::default() };
    let says_nothing =
        |text: &[u8]| matches!(text, b"" | b"UNKNOWN_FAILURE_REASON" | b"UNKNOWN_PREVIEW_FAILURE_REASON");
    let outcome = match reason {
        b"DUPLICATE_CLIENT_ORDER_ID" => Outcome::Unknown,
        reason if says_nothing(reason) && says_nothing(preview) => Outcome::Unknown,
        _ => Outcome::Rejected,
    };
    Ok((outcome, news))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::venue::OrderGateway;

    fn gateway() -> CoinbaseOrders {
        CoinbaseOrders::new(
            b"organizations/o/apiKeys/k",
            super::super::sign::tests::es256(),
            "api.coinbase.com",
        )
    }

    fn check(purpose: Purpose, status: u16, body: &str, expected: Outcome) {
        let (tag, mut incoming) = (Tag::new(purpose, 1, 2), Vec::new());
        let _ = gateway().decode_http(tag, status, &mut body.as_bytes().to_vec(), &mut incoming);
        match incoming[..] {
            [Incoming::Answer { tag: found, outcome, .. }] => {
                assert_eq!((found, outcome), (tag, expected), "{status} {body}");
            }
            _ => panic!("{status} {body}: {incoming:?}"),
        }
    }

    #[test]
    fn the_table_of_outcomes_holds() {
        use Outcome::{Accepted, Failed, NotFound, Rejected, Unknown};
        use Purpose::{Cancel, OpenOrders, Order, Place};
        let accepted = r#"{"success":true,"failure_reason":"UNKNOWN_FAILURE_REASON","success_response":{"order_id":"a1b2c3d4-0000-4000-8000-000000000001","product_id":"BTC-USD","side":"BUY","client_order_id":"6f1c2c1e-0000-4000-8000-000000000001"}}"#;
        let failed = |error: &str, preview: &str| {
            format!(
                r#"{{"success":false,"error_response":{{"error":"{error}","message":"m","error_details":"","preview_failure_reason":"{preview}","new_order_failure_reason":"{error}"}}}}"#
            )
        };
        let nothing = "UNKNOWN_PREVIEW_FAILURE_REASON";
        check(Place, 200, accepted, Accepted);
        check(Place, 200, &failed("INSUFFICIENT_FUND", "PREVIEW_INSUFFICIENT_FUND"), Rejected);
        check(Place, 200, &failed("INVALID_LIMIT_PRICE_POST_ONLY", nothing), Rejected);
        check(Place, 200, &failed("UNKNOWN_FAILURE_REASON", "PREVIEW_INVALID_BASE_SIZE_TOO_SMALL"), Rejected);
        check(Place, 200, &failed("UNKNOWN_FAILURE_REASON", nothing), Unknown);
        check(Place, 200, &failed("DUPLICATE_CLIENT_ORDER_ID", nothing), Unknown);
        check(Place, 200, r#"{"success":true}"#, Unknown);
        check(Place, 200, "<html>", Unknown);
        check(Place, 400, r#"{"error":"INVALID_ARGUMENT","code":3,"message":"bad","details":[]}"#, Rejected);
        check(Place, 401, "Unauthorized", Rejected);
        check(
            Place,
            429,
            r#"{"errors":[{"id":"rate_limit_exceeded","message":"Too many requests"}]}"#,
            Rejected,
        );
        check(Place, 500, "", Unknown);
        check(Place, 502, "<html>", Unknown);
        check(Place, 0, "", Unknown);
        check(Place, 302, "", Unknown);
        check(
            Cancel,
            200,
            r#"{"results":[{"success":true,"failure_reason":"UNKNOWN_CANCEL_FAILURE_REASON","order_id":"a"}]}"#,
            Accepted,
        );
        check(
            Cancel,
            200,
            r#"{"results":[{"success":false,"failure_reason":"UNKNOWN_CANCEL_ORDER","order_id":"a"}]}"#,
            Rejected,
        );
        check(Cancel, 503, "", Unknown);
        check(Order, 404, r#"{"error":"NOT_FOUND","message":"order not found"}"#, NotFound);
        check(Order, 500, "", Failed);
        check(OpenOrders, 429, "", Failed);
    }

    #[test]
    fn a_list_goes_on_page_by_page_and_a_failed_page_begins_anew() {
        let mut out = crate::orders::venue::Outgoing::new();
        let stamp = crate::orders::venue::Stamp { unix_ms: 1_783_000_000_000, nonce: 1, random: 2 };
        let (mut gateway, tag) = (gateway(), Tag::new(Purpose::OpenOrders, 0, 4));
        let row = r#"{"order_id":"a1","client_order_id":"6f1c2c1e-0000-4000-8000-000000000001","status":"OPEN","product_id":"BTC-USD","side":"SELL","filled_size":"0","order_configuration":{"limit_limit_gtc":{"base_size":"0.5","limit_price":"64000.00","post_only":true}}}"#;
        let page = |next: bool, cursor: &str| {
            format!(r#"{{"orders":[{row}],"has_next":{next},"cursor":"{cursor}"}}"#)
        };
        let mut ask = |gateway: &mut CoinbaseOrders, status: u16, body: &str| {
            gateway.open_orders(tag, &stamp, &mut out).expect("encodes");
            let path = String::from_utf8_lossy(&out.path).into_owned();
            let mut incoming = Vec::new();
            gateway.decode_http(tag, status, &mut body.as_bytes().to_vec(), &mut incoming).expect("decodes");
            let cursor = path.split("&cursor=").nth(1).unwrap_or("none").to_owned();
            (cursor, incoming)
        };
        let (cursor, incoming) = ask(&mut gateway, 200, &page(true, "c/2"));
        assert_eq!((cursor.as_str(), incoming[1]), ("none", Incoming::More { tag }));
        let Incoming::Item { news, .. } = incoming[0] else { panic!("{incoming:?}") };
        let terms = news.terms.expect("whole");
        assert_eq!((terms.symbol.as_str(), terms.side), ("BTC-USD", OrderSide::Sell));
        assert_eq!((terms.price.to_string(), terms.qty.to_string()), ("64000.00".into(), "0.5".into()));
        let (cursor, incoming) = ask(&mut gateway, 200, &page(false, ""));
        assert_eq!((cursor.as_str(), incoming[1]), ("c%2F2", Incoming::End { tag, complete: true }));
        ask(&mut gateway, 200, &page(true, "c3"));
        let (cursor, _) = ask(&mut gateway, 502, "");
        assert_eq!(cursor, "c3");
        let (cursor, _) = ask(&mut gateway, 200, &page(true, "same"));
        assert_eq!(cursor, "none");
        for _ in 0..PAGES_MAX - 2 {
            assert_eq!(ask(&mut gateway, 200, &page(true, "same")).1[1], Incoming::More { tag });
        }
        assert_eq!(
            ask(&mut gateway, 200, &page(true, "same")).1[1],
            Incoming::End { tag, complete: false },
            "it ends"
        );
    }

    const USER: &str = r#"{"channel":"user","timestamp":"2026-11-21T01:00:06.000000000Z","sequence_num":2,"events":[{"type":"update","orders":[{"order_id":"a1b2c3d4-0000-4000-8000-000000000001","client_order_id":"6f1c2c1e-0000-4000-8000-000000000001","product_id":"BTC-USD","order_side":"BUY","order_type":"Limit","status":"OPEN","cumulative_quantity":"0.0004","leaves_quantity":"0.0006","avg_price":"64000","limit_price":"64000","filled_value":"25.6","number_of_fills":"1","completion_percentage":"40.00","total_fees":"0.15","post_only":"true","cancel_reason":"","reject_reason":"","creation_time":"2026-11-21T00:59:55.123456Z"}]}]}"#;

    #[test]
    fn the_channel_tells_cumulative_figures() {
        let (mut gateway, mut incoming) = (gateway(), Vec::new());
        gateway.decode_frame(&mut USER.as_bytes().to_vec(), &mut incoming).expect("decodes");
        let [Incoming::Joined, Incoming::News(news)] = incoming[..] else { panic!("{incoming:?}") };
        let text = |number: Option<Number>| number.map(|number| number.to_string()).unwrap_or_default();
        assert_eq!(
            (text(news.cum_qty), text(news.cum_quote), text(news.cumulative_fee), news.execution),
            ("0.0004".into(), "25.6".into(), "0.15".into(), None)
        );
        assert!(matches!(news.key, ClientKey::Uuid(_)));
    }

    #[test]
    fn an_average_with_many_digits_does_not_matter_beside_the_value() {
        let (mut gateway, mut incoming) = (gateway(), Vec::new());
        let text = USER.replace("\"avg_price\":\"64000\"", "\"avg_price\":\"64000.3333333333333333\"");
        assert_eq!(gateway.decode_frame(&mut text.into_bytes(), &mut incoming), Ok(()));
        let [.., Incoming::News(news)] = incoming[..] else { panic!("{incoming:?}") };
        assert_eq!(news.cum_quote.map(|quote| quote.to_string()).as_deref(), Some("25.6"));
    }

    #[test]
    fn a_hole_in_the_connections_numbers_is_a_lost_session_and_old_frames_are_nothing() {
        let (mut gateway, mut incoming) = (gateway(), Vec::new());
        for (sequence, expected) in [(2, 2), (3, 1), (3, 0), (5, 2), (4, 0), (6, 1)] {
            let text = USER.replace("\"sequence_num\":2", &format!("\"sequence_num\":{sequence}"));
            incoming.clear();
            gateway.decode_frame(&mut text.into_bytes(), &mut incoming).expect("decodes");
            assert_eq!(incoming.len(), expected, "{sequence}: {incoming:?}");
            assert_eq!(incoming.contains(&Incoming::Lost), sequence == 5);
        }
    }

    #[test]
    fn every_state_of_the_venue_is_one_of_ours() {
        for (status, expected) in [
            ("PENDING", Some(ReportState::Ack)),
            ("QUEUED", Some(ReportState::Ack)),
            ("OPEN", Some(ReportState::Ack)),
            ("CANCEL_QUEUED", None),
            ("EDIT_QUEUED", None),
            ("FILLED", Some(ReportState::Filled)),
            ("CANCELLED", Some(ReportState::Cancelled)),
            ("EXPIRED", Some(ReportState::Expired)),
            ("FAILED", Some(ReportState::Rejected)),
        ] {
            let (mut gateway, mut incoming) = (gateway(), Vec::new());
            let text = USER.replace("\"OPEN\"", &format!("\"{status}\""));
            gateway.decode_frame(&mut text.into_bytes(), &mut incoming).expect("decodes");
            assert!(matches!(incoming[..], [_, Incoming::News(news)] if news.state == expected), "{status}");
        }
    }

    #[test]
    fn lists_say_whether_they_are_complete() {
        let row = r#"{"order_id":"a","client_order_id":"6f1c2c1e-0000-4000-8000-000000000001","status":"OPEN","filled_size":"0","average_filled_price":"0","filled_value":"0","total_fees":"0"}"#;
        for more in [true, false] {
            let body = format!(r#"{{"orders":[{row}],"has_next":{more},"cursor":""}}"#);
            let (tag, mut incoming) = (Tag::new(Purpose::OpenOrders, 0, 2), Vec::new());
            gateway().decode_http(tag, 200, &mut body.into_bytes(), &mut incoming).expect("decodes");
            assert!(
                matches!(incoming[..], [Incoming::Item { .. }, Incoming::End { complete, .. }] if complete != more)
            );
        }
    }

    #[test]
    fn damaged_frames_are_errors_or_less_and_never_a_panic() {
        crate::orders::venue::tests::mutate(USER, |text, incoming| {
            gateway().decode_frame(text, incoming).is_ok()
        });
        let body = r#"{"success":false,"error_response":{"error":"INSUFFICIENT_FUND","message":"m"}}"#;
        let mut gateway = gateway();
        crate::orders::venue::tests::mutate(body, |text, incoming| {
            gateway.decode_http(Tag::new(Purpose::Place, 0, 1), 200, text, incoming).is_ok()
        });
    }
}
