//! Answers of the WebSocket API and events of the user data stream.
//!
//! What an answer to `order.place` means, by status and code (errors.md and web-socket-api.md, commit a5e0bc3):
//!
//! | answer | outcome | why |
//! |---|---|---|
//! | status 200 | accepted | in the book, or filled |
//! | status 5xx; -1000, -1001, -1006, -1007 | unknown | "execution status unknown" |
//! | -1008 | unknown | overloaded; that it was not executed is not documented |
//! | -2010 "Duplicate order sent." | unknown | we send each id once, so the order is there |
//! | -1003, -1013, -1015, -1021, -1022, -11xx, -1220, -2010, -2014, -2015, -2035.. | rejected | refused before matching |
//! | any other code | unknown | not documented: ask |
//!
//! `order.cancel`: -2011 and -2013 are rejected (the order has ended, or never was); the table above for the rest.
//! `order.status`: -2013 and -2026 are "no such order"; any other error is no answer.
//! By REST the same, with the HTTP status; no answer, or one that cannot be read, is unknown.

use crate::json::{Letters, Object, Tape, Value};
use crate::orders::ledger::{Outcome, Purpose, Tag};
use crate::orders::life::{Execution, OrderNews, Terms};
use crate::orders::report::{Asset, Liquidity, Reason, ReportState};
use crate::orders::request::{OrderKind, OrderSide};
use crate::orders::text::Text;
use crate::orders::venue::{Incoming, read};
use crate::raw::DecodeError;
use crate::time::VenueTime;

use super::{CLOCK, LOGON};

/// A text frame of the WebSocket API.
pub(super) fn frame(
    tape: &mut Tape,
    frame: &mut [u8],
    incoming: &mut Vec<Incoming>,
) -> Result<(), DecodeError> {
    let parsed = tape.parse(frame)?;
    let root = parsed.root();
    if let Some(event) = root.get("event") {
        return self::event(event, incoming);
    }
    let status = root.get("status").and_then(Value::u64).ok_or(DecodeError::Missing { field: "status" })?;
    limits(root, incoming);
    // A key that was revoked is announced without an id.
    let Some(tag) = root.get("id").and_then(Value::u64).map(Tag) else {
        incoming.push(Incoming::Refused(error_news(root)));
        return Ok(());
    };
    let purpose = tag.purpose().ok_or(DecodeError::Invalid { field: "id" })?;
    if status == 200 {
        let result = root.get("result").ok_or(DecodeError::Missing { field: "result" })?;
        return success(tag, purpose, result, incoming);
    }
    let error = root.get("error");
    let news = error_news(root);
    slow_down(status, news.code, error, incoming);
    if purpose == Purpose::Session {
        incoming.push(Incoming::Refused(news));
    } else {
        let outcome = outcome(purpose, status, news.code, news.reason.as_bytes());
        incoming.push(Incoming::Answer { tag, outcome, news });
    }
    Ok(())
}

/// The answer to a REST request: the bare result, or `{"code":..,"msg":..}`.
pub(super) fn http(
    tape: &mut Tape,
    tag: Tag,
    status: u16,
    body: &mut [u8],
    incoming: &mut Vec<Incoming>,
) -> Result<(), DecodeError> {
    let purpose = tag.purpose().ok_or(DecodeError::Invalid { field: "tag" })?;
    if status == 0 {
        incoming.push(unanswered(tag));
        return Ok(());
    }
    let before = incoming.len();
    let result = tape.parse(body).and_then(|parsed| {
        let root = parsed.root();
        if status == 200 {
            return success(tag, purpose, root, incoming);
        }
        let news = news_of(root);
        slow_down(u64::from(status), news.code, None, incoming);
        let outcome = outcome(purpose, u64::from(status), news.code, news.reason.as_bytes());
        incoming.push(Incoming::Answer { tag, outcome, news });
        Ok(())
    });
    if result.is_err() {
        incoming.truncate(before);
        incoming.push(unanswered(tag));
    }
    // A proxy's page is no news to anybody.
    if status == 200 { result } else { Ok(()) }
}

/// What an error says beside that of its request: too fast, or at a wrong time.
fn slow_down(status: u64, code: i32, error: Option<Value<'_>>, incoming: &mut Vec<Incoming>) {
    if matches!(status, 418 | 429) || matches!(code, -1003 | -1015) {
        let data = error.and_then(|error| error.get("data"));
        let at = |field| data.and_then(|data| data.get(field)).and_then(Value::u64);
        let wait_ms = at("retryAfter").zip(at("serverTime")).map(|(until, now)| until.saturating_sub(now));
        incoming.push(Incoming::Limited { wait_ms });
    }
    if code == -1021 {
        incoming.push(Incoming::ClockOff);
    }
}

/// The request got no answer at all.
pub(super) fn unanswered(tag: Tag) -> Incoming {
    let outcome = match tag.purpose() {
        Some(Purpose::Place | Purpose::Cancel) => Outcome::Unknown,
        _ => Outcome::Failed,
    };
    Incoming::Answer { tag, outcome, news: OrderNews::default() }
}

/// The table above.
fn outcome(purpose: Purpose, status: u64, code: i32, text: &[u8]) -> Outcome {
    match (purpose, code) {
        (Purpose::Order, -2013 | -2026) => return Outcome::NotFound,
        (Purpose::Order | Purpose::Fills | Purpose::OpenOrders, _) => return Outcome::Failed,
        (Purpose::Cancel, -2011 | -2013) => return Outcome::Rejected,
        _ => {}
    }
    if status >= 500 {
        return Outcome::Unknown;
    }
    match code {
        -2010 if text.starts_with(b"Duplicate order") => Outcome::Unknown,
        -1003 | -1013 | -1015 | -1021 | -1022 | -1130..=-1100 | -1220 | -2010 | -2014 | -2015 | -2043 => {
            Outcome::Rejected
        }
        _ => Outcome::Unknown,
    }
}

fn error_news(root: Value<'_>) -> OrderNews {
    root.get("error").map(news_of).unwrap_or_default()
}

fn news_of(error: Value<'_>) -> OrderNews {
    let code = error.get("code").and_then(Value::i64).unwrap_or(0);
    let reason = Reason::cut(read::text(error, "msg"));
    OrderNews { code: i32::try_from(code).unwrap_or(0), reason, ..OrderNews::default() }
}

fn success(
    tag: Tag,
    purpose: Purpose,
    result: Value<'_>,
    incoming: &mut Vec<Incoming>,
) -> Result<(), DecodeError> {
    match purpose {
        Purpose::Session if tag.number() == CLOCK => {
            let time = result.get("serverTime").and_then(Value::u64);
            let unix_ms = time.ok_or(DecodeError::Missing { field: "serverTime" })?;
            incoming.push(Incoming::VenueTime { unix_ms });
        }
        Purpose::Session if tag.number() == LOGON => incoming.push(Incoming::Token),
        Purpose::Session => incoming.push(Incoming::Joined),
        Purpose::Place | Purpose::Cancel | Purpose::Order => {
            let news = order(result)?;
            incoming.push(Incoming::Answer { tag, outcome: Outcome::Accepted, news });
        }
        Purpose::OpenOrders | Purpose::Fills => {
            let items = result.items().ok_or(DecodeError::Invalid { field: "result" })?;
            for item in items {
                let news = match purpose {
                    Purpose::Fills => trade(item)?,
                    _ => OrderNews { terms: terms(item), ..order(item)? },
                };
                incoming.push(Incoming::Item { tag, news });
            }
            incoming.push(Incoming::End { tag, complete: true });
        }
        Purpose::CancelAll => {
            incoming.push(Incoming::Answer { tag, outcome: Outcome::Accepted, news: OrderNews::default() });
        }
    }
    Ok(())
}

fn state(text: &[u8]) -> Option<ReportState> {
    Some(match text {
        b"NEW" | b"PENDING_NEW" => ReportState::Ack,
        b"PARTIALLY_FILLED" => ReportState::Partial,
        b"FILLED" => ReportState::Filled,
        b"CANCELED" => ReportState::Cancelled,
        b"REJECTED" => ReportState::Rejected,
        b"EXPIRED" | b"EXPIRED_IN_MATCH" => ReportState::Expired,
        _ => return None, // PENDING_CANCEL is unused; others would be new
    })
}

fn venue_id<'a, const N: usize>(
    object: impl Object<'a>,
    field: &'static str,
) -> Result<Text<N>, DecodeError> {
    let number = object.get(field).and_then(Value::u64).ok_or(DecodeError::Missing { field })?;
    Ok(read::number_id(number))
}

/// An order in an answer: `order.place` (ACK), `order.cancel`, `order.status`, `openOrders.status`.
fn order(result: Value<'_>) -> Result<OrderNews, DecodeError> {
    // After a cancel `clientOrderId` is the cancel's own, and the order's is `origClientOrderId`.
    let original = read::text(result, "origClientOrderId");
    let own = if original.is_empty() { read::text(result, "clientOrderId") } else { original };
    let time = ["transactTime", "updateTime", "time"];
    let time = time.iter().find_map(|field| result.get(field).and_then(Value::u64)).unwrap_or(0);
    Ok(OrderNews {
        key: read::key(own),
        venue_order_id: venue_id(result, "orderId")?,
        state: state(read::text(result, "status")),
        cum_qty: read::number(result, "executedQty")?,
        cum_quote: read::number(result, "cummulativeQuoteQty")?.filter(|quote| quote.mantissa >= 0),
        reason: Reason::cut(read::text(result, "expiryReason")),
        venue_time: VenueTime::from_ms(time),
        ..OrderNews::default()
    })
}

/// What an order in a list is; `None` for kinds that we never send.
fn terms(item: Value<'_>) -> Option<Terms> {
    let kind = match read::text(item, "type") {
        b"LIMIT" | b"LIMIT_MAKER" => OrderKind::Limit,
        b"MARKET" => OrderKind::Market,
        _ => return None,
    };
    let side = match read::text(item, "side") {
        b"BUY" => OrderSide::Buy,
        b"SELL" => OrderSide::Sell,
        _ => return None,
    };
    Some(Terms {
        symbol: Text::new(read::text(item, "symbol"))?,
        side,
        kind,
        price: read::number(item, "price").ok()??,
        qty: read::number(item, "origQty").ok()??,
    })
}

/// An execution in the answer to `myTrades`.
fn trade(item: Value<'_>) -> Result<OrderNews, DecodeError> {
    let maker = item.get("isMaker").and_then(Value::bool);
    Ok(OrderNews {
        venue_order_id: venue_id(item, "orderId")?,
        execution: Some(Execution {
            id: venue_id(item, "id")?,
            qty: read::needed(item, "qty")?,
            price: read::needed(item, "price")?,
            fee: read::number(item, "commission")?.unwrap_or_default(),
            fee_asset: Asset::cut(read::text(item, "commissionAsset")),
            liquidity: liquidity(maker),
        }),
        venue_time: VenueTime::from_ms(item.get("time").and_then(Value::u64).unwrap_or(0)),
        ..OrderNews::default()
    })
}

const fn liquidity(maker: Option<bool>) -> Liquidity {
    match maker {
        Some(true) => Liquidity::Maker,
        Some(false) => Liquidity::Taker,
        None => Liquidity::Unknown,
    }
}

fn event(event: Value<'_>, incoming: &mut Vec<Incoming>) -> Result<(), DecodeError> {
    match read::text(event, "e") {
        b"executionReport" => {
            incoming.push(Incoming::News(execution_report(event)?));
            Ok(())
        }
        b"eventStreamTerminated" => {
            incoming.push(Incoming::Lost);
            Ok(())
        }
        // The connection ends soon and that is a session loss of its own; balances and lists are nobody's business here.
        b"serverShutdown"
        | b"outboundAccountPosition"
        | b"balanceUpdate"
        | b"listStatus"
        | b"externalLockUpdate" => Ok(()),
        _ => Err(DecodeError::UnknownChannel),
    }
}

fn execution_report(event: Value<'_>) -> Result<OrderNews, DecodeError> {
    // Twenty of its some 35 fields are asked for.
    let event = &Letters::of(event);
    // A report of a cancel carries the cancel's id in `c` and the order's in `C`.
    let original = read::text(event, "C");
    let own = if original.is_empty() { read::text(event, "c") } else { original };
    let reason = [read::text(event, "eR"), read::text(event, "r")];
    let reason = reason.into_iter().find(|text| !text.is_empty() && *text != b"NONE").unwrap_or_default();
    let execution = if read::text(event, "x") == b"TRADE" {
        Some(Execution {
            id: venue_id(event, "t")?,
            qty: read::needed(event, "l")?,
            price: read::needed(event, "L")?,
            fee: read::number(event, "n")?.unwrap_or_default(),
            fee_asset: Asset::cut(read::text(event, "N")),
            liquidity: liquidity(event.get("m").and_then(Value::bool)),
        })
    } else {
        None
    };
    Ok(OrderNews {
        key: read::key(own),
        venue_order_id: venue_id(event, "i")?,
        state: state(read::text(event, "X")),
        execution,
        cum_qty: Some(read::needed(event, "z")?),
        cum_quote: read::number(event, "Z")?,
        reason: Reason::cut(reason),
        venue_time: VenueTime::from_ms(event.get("T").and_then(Value::u64).unwrap_or(0)),
        ..OrderNews::default()
    })
}

/// The tightest of the limits on orders that an answer tells.
fn limits(root: Value<'_>, incoming: &mut Vec<Incoming>) {
    let Some(limits) = root.get("rateLimits").and_then(Value::items) else { return };
    let orders = limits.filter(|limit| read::text(*limit, "rateLimitType") == b"ORDERS");
    let figures = orders.filter_map(|limit| {
        let figure =
            |field| limit.get(field).and_then(Value::u64).and_then(|value| u32::try_from(value).ok());
        let unit_ms = match read::text(limit, "interval") {
            b"SECOND" => 1_000,
            b"MINUTE" => 60_000,
            b"HOUR" => 3_600_000,
            _ => 86_400_000,
        };
        Some((figure("count")?, figure("limit")?, unit_ms * u64::from(figure("intervalNum").unwrap_or(1))))
    });
    let tightest = figures.min_by_key(|&(used, limit, _)| limit.saturating_sub(used));
    if let Some((used, limit, window_ms)) = tightest {
        incoming.push(Incoming::Used { used, limit, window_ms });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::life::ClientKey;

    fn run(text: &str) -> Result<Vec<Incoming>, DecodeError> {
        let mut incoming = Vec::new();
        frame(&mut Tape::default(), &mut text.as_bytes().to_vec(), &mut incoming).map(|()| incoming)
    }

    fn check_error(purpose: Purpose, status: u64, code: i64, text: &str, expected: Outcome) {
        let tag = Tag::new(purpose, 3, 9);
        let body = format!(
            r#"{{"id":{},"status":{status},"error":{{"code":{code},"msg":"{text}"}},"rateLimits":[]}}"#,
            tag.0
        );
        match run(&body).as_deref() {
            Ok([.., Incoming::Answer { tag: found, outcome, news }]) => {
                assert_eq!((*found, *outcome), (tag, expected), "{body}");
                assert_eq!((i64::from(news.code), news.reason.as_str()), (code, text));
            }
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn the_table_of_outcomes_holds() {
        use Outcome::{Failed, NotFound, Rejected, Unknown};
        for (status, code, text, expected) in [
            (500, -1000, "An unknown error occurred while processing the request.", Unknown),
            (400, -1001, "Internal error; unable to process your request.", Unknown),
            (500, -1006, "An unexpected response was received.", Unknown),
            (504, -1007, "Timeout waiting for response from backend server.", Unknown),
            (503, -1008, "Server is currently overloaded", Unknown),
            (429, -1003, "Too many requests", Rejected),
            (418, -1003, "Way too many requests", Rejected),
            (400, -1013, "Filter failure: PRICE_FILTER", Rejected),
            (429, -1015, "Too many new orders", Rejected),
            (400, -1021, "Timestamp for this request is outside of the recvWindow.", Rejected),
            (400, -1022, "Signature for this request is not valid.", Rejected),
            (400, -1111, "Precision is over the maximum defined for this asset.", Rejected),
            (400, -1121, "Invalid symbol.", Rejected),
            (400, -2010, "Account has insufficient balance for requested action.", Rejected),
            (400, -2010, "Order would immediately match and take.", Rejected),
            (400, -2010, "Duplicate order sent.", Unknown),
            (401, -2015, "Invalid API-key, IP, or permissions for action.", Rejected),
            (400, -9999, "Something new", Unknown),
            (500, -1013, "Filter failure: LOT_SIZE", Unknown),
        ] {
            check_error(Purpose::Place, status, code, text, expected);
        }
        check_error(Purpose::Cancel, 400, -2011, "Unknown order sent.", Rejected);
        check_error(Purpose::Cancel, 504, -1007, "Timeout", Unknown);
        check_error(Purpose::Order, 400, -2013, "Order does not exist.", NotFound);
        check_error(Purpose::Order, 400, -2026, "Order was archived.", NotFound);
        check_error(Purpose::Order, 429, -1003, "Too many requests", Failed);
        check_error(Purpose::OpenOrders, 500, -1000, "x", Failed);
    }

    #[test]
    fn rest_answers_follow_the_same_table() {
        use Outcome::{Accepted, Failed, NotFound, Rejected, Unknown};
        let order =
            r#"{"symbol":"BTCUSDT","orderId":28,"clientOrderId":"a","status":"CANCELED","executedQty":"0"}"#;
        for (purpose, status, body, expected) in [
            (Purpose::Cancel, 200, order, Accepted),
            (Purpose::Order, 200, order, Accepted),
            (Purpose::Cancel, 400, r#"{"code":-2011,"msg":"Unknown order sent."}"#, Rejected),
            (Purpose::Order, 400, r#"{"code":-2013,"msg":"Order does not exist."}"#, NotFound),
            (Purpose::Cancel, 429, r#"{"code":-1003,"msg":"Too many requests"}"#, Rejected),
            (Purpose::Order, 418, r#"{"code":-1003,"msg":"Way too many requests"}"#, Failed),
            (Purpose::Cancel, 503, "<html>", Unknown),
            (Purpose::Cancel, 0, "", Unknown),
            (Purpose::Order, 0, "", Failed),
            (Purpose::OpenOrders, 502, "", Failed),
        ] {
            let (tag, mut incoming) = (Tag::new(purpose, 3, 9), Vec::new());
            let mut bytes = body.as_bytes().to_vec();
            http(&mut Tape::default(), tag, status, &mut bytes, &mut incoming).expect("no error of ours");
            assert!(
                matches!(incoming[..], [.., Incoming::Answer { tag: found, outcome, .. }] if found == tag && outcome == expected),
                "{purpose:?} {status} {body}: {incoming:?}"
            );
        }
    }

    #[test]
    fn refusals_for_the_rate_and_for_the_time_are_told() {
        let id = Tag::new(Purpose::Place, 3, 9).0;
        let text = format!(
            r#"{{"id":{id},"status":418,"error":{{"code":-1003,"msg":"Way too much","data":{{"serverTime":1783000000000,"retryAfter":1783000004500}}}}}}"#
        );
        assert_eq!(run(&text).expect("decodes")[0], Incoming::Limited { wait_ms: Some(4_500) });
        let text = format!(
            r#"{{"id":{id},"status":400,"error":{{"code":-1021,"msg":"outside of the recvWindow"}}}}"#
        );
        assert_eq!(run(&text).expect("decodes")[0], Incoming::ClockOff);
        let id = Tag::session(CLOCK).0;
        let text = format!(r#"{{"id":{id},"status":200,"result":{{"serverTime":1783000000000}}}}"#);
        assert_eq!(run(&text), Ok(vec![Incoming::VenueTime { unix_ms: 1_783_000_000_000 }]));
    }

    #[test]
    fn an_acknowledgement_names_the_order() {
        let tag = Tag::new(Purpose::Place, 0, 0);
        let text = format!(
            r#"{{"id":{},"status":200,"result":{{"symbol":"BTCUSDT","orderId":28000000123,"orderListId":-1,"clientOrderId":"m0thk7s00000000001","transactTime":1783000000004}},"rateLimits":[{{"rateLimitType":"ORDERS","interval":"SECOND","intervalNum":10,"limit":100,"count":98}},{{"rateLimitType":"ORDERS","interval":"DAY","intervalNum":1,"limit":160000,"count":500}}]}}"#,
            tag.0
        );
        let incoming = run(&text).expect("decodes");
        assert_eq!(incoming[0], Incoming::Used { used: 98, limit: 100, window_ms: 10_000 });
        let Incoming::Answer { outcome: Outcome::Accepted, news, .. } = incoming[1] else {
            panic!("{incoming:?}")
        };
        assert_eq!(news.venue_order_id.as_str(), "28000000123");
        assert!(matches!(news.key, ClientKey::Text(id) if id.as_str() == "m0thk7s00000000001"));
    }

    const REPORT: &str = r#"{"subscriptionId":0,"event":{"e":"executionReport","E":1783000002001,"s":"BTCUSDT","c":"m0thk7s00000000001","S":"BUY","o":"LIMIT","f":"GTC","q":"0.00300000","p":"64000.00000000","P":"0.00000000","F":"0.00000000","g":-1,"C":"","x":"TRADE","X":"PARTIALLY_FILLED","r":"NONE","i":28000000123,"l":"0.00100000","z":"0.00100000","L":"64000.00000000","n":"0.00000100","N":"BTC","T":1783000002000,"t":5123456790,"I":9000000001,"w":true,"m":true,"M":true,"O":1783000000004,"Z":"64.00000000","Y":"64.00000000","Q":"0.00000000","W":1783000000004,"V":"NONE"}}"#;

    #[test]
    fn a_trade_is_an_execution_with_its_fee() {
        let incoming = run(REPORT).expect("decodes");
        let [Incoming::News(news)] = incoming[..] else { panic!("{incoming:?}") };
        let execution = news.execution.expect("a trade");
        assert_eq!(
            (execution.id.as_str(), execution.qty.to_string().as_str(), execution.fee_asset.as_str()),
            ("5123456790", "0.00100000", "BTC")
        );
        assert_eq!((news.state, execution.liquidity), (Some(ReportState::Partial), Liquidity::Maker));
        assert_eq!(news.venue_time, VenueTime::from_ms(1_783_000_002_000));
    }

    #[test]
    fn the_report_of_a_cancel_belongs_to_the_order_and_not_to_the_cancel() {
        let text = REPORT
            .replace(r#""c":"m0thk7s00000000001""#, r#""c":"Qy3generated""#)
            .replace(r#""C":"""#, r#""C":"m0thk7s00000000001""#)
            .replace(r#""x":"TRADE","X":"PARTIALLY_FILLED""#, r#""x":"CANCELED","X":"CANCELED""#);
        let incoming = run(&text).expect("decodes");
        let [Incoming::News(news)] = incoming[..] else { panic!("{incoming:?}") };
        assert!(matches!(news.key, ClientKey::Text(id) if id.as_str() == "m0thk7s00000000001"));
        assert_eq!((news.state, news.execution), (Some(ReportState::Cancelled), None));
    }

    #[test]
    fn every_state_of_the_venue_is_one_of_ours() {
        for (venue, expected) in [
            ("NEW", Some(ReportState::Ack)),
            ("PENDING_NEW", Some(ReportState::Ack)),
            ("PARTIALLY_FILLED", Some(ReportState::Partial)),
            ("FILLED", Some(ReportState::Filled)),
            ("CANCELED", Some(ReportState::Cancelled)),
            ("PENDING_CANCEL", None),
            ("REJECTED", Some(ReportState::Rejected)),
            ("EXPIRED", Some(ReportState::Expired)),
            ("EXPIRED_IN_MATCH", Some(ReportState::Expired)),
        ] {
            assert_eq!(state(venue.as_bytes()), expected, "{venue}");
        }
    }

    #[test]
    fn damaged_frames_are_errors_or_less_and_never_a_panic() {
        crate::orders::venue::tests::mutate(REPORT, |text, incoming| {
            frame(&mut Tape::default(), text, incoming).is_ok()
        });
    }
}
