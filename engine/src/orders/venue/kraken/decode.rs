//! Kraken's answers, the `executions` channel, and REST envelopes.
//!
//! What an answer to `add_order` means (docs.kraken.com, errors page, 2026; texts change, so the part before the second
//! colon decides):
//!
//! | answer | outcome | why |
//! |---|---|---|
//! | `success: true` | accepted | taken by the gateway; the state comes on `executions` |
//! | `EOrder:*`, `EGeneral:Invalid arguments`, `EGeneral:Permission denied`, `EGeneral:Temporary lockout`, `EAPI:*`, `EAuth:*`, `EQuery:*` | rejected | refused by a check |
//! | `EService:Market in ..`, `EService:Deadline elapsed` | rejected | the engine did not match it |
//! | `EOrder:cl_ord_id ..` | unknown | a duplicate: we send each id once, so the order is there |
//! | `EService:Unavailable`, `Busy`, `Timeout`, `EGeneral:Internal error` | unknown | "the order may be live" |
//! | no `E` in front | rejected if about a field, symbol or token; else unknown | seen on recordings of 2026-08 |
//! | HTTP status not 200 (REST) | unknown for orders, no answer for questions | 502, 520, 524 |
//!
//! `cancel_order`: `EOrder:Unknown order` is rejected (the order has ended); the table above for the rest.

use crate::json::{Tape, Value, quote_numbers};
use crate::orders::ledger::{Outcome, Purpose, Tag};
use crate::orders::life::{Execution, OrderNews, Terms};
use crate::orders::report::{Asset, Liquidity, Reason, ReportState};
use crate::orders::request::{OrderKind, OrderSide};
use crate::orders::secret::Secret;
use crate::orders::text::Text;
use crate::orders::venue::{Incoming, read};
use crate::raw::DecodeError;
use crate::rfc3339;
use crate::time::VenueTime;

use super::KrakenOrders;
use super::encode::first_trades;

/// A text frame of the private connection.
pub(super) fn frame(
    gateway: &mut KrakenOrders,
    frame: &mut [u8],
    incoming: &mut Vec<Incoming>,
) -> Result<(), DecodeError> {
    quote_numbers(frame, &mut gateway.quoted)?;
    let parsed = gateway.tape.parse(&mut gateway.quoted)?;
    let root = parsed.root();
    match read::text(root, "channel") {
        b"" => answer(root, incoming),
        b"executions" => {
            let sequence = read::text(root, "sequence");
            if !sequence.is_empty() {
                let sequence = whole(sequence).ok_or(DecodeError::Invalid { field: "sequence" })?;
                let gap = gateway.sequence.is_some_and(|last| sequence > last + 1);
                gateway.sequence = Some(sequence);
                if gap {
                    incoming.push(Incoming::Lost);
                }
            }
            let rows =
                root.get("data").and_then(Value::items).ok_or(DecodeError::Missing { field: "data" })?;
            for row in rows {
                incoming.push(Incoming::News(execution(row)?));
            }
            Ok(())
        }
        b"heartbeat" | b"status" | b"balances" => Ok(()),
        _ => Err(DecodeError::UnknownChannel),
    }
}

fn whole(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn answer(root: Value<'_>, incoming: &mut Vec<Incoming>) -> Result<(), DecodeError> {
    if read::text(root, "method") == b"pong" {
        return Ok(());
    }
    let error = read::text(root, "error");
    let news = OrderNews { reason: Reason::cut(error), ..OrderNews::default() };
    let Some(tag) = whole(read::text(root, "req_id")).map(Tag) else {
        // Without a number it cannot be told which request it answers.
        incoming.push(Incoming::Refused(news));
        return Ok(());
    };
    let purpose = tag.purpose().ok_or(DecodeError::Invalid { field: "req_id" })?;
    let success = root.get("success").and_then(Value::bool);
    match (purpose, success) {
        (Purpose::Session, Some(true)) => incoming.push(Incoming::Joined),
        (Purpose::Session, _) => incoming.push(Incoming::Refused(news)),
        (_, Some(true)) => {
            let result = root.get("result");
            let text = |field| result.map(|result| read::text(result, field)).unwrap_or_default();
            let news = OrderNews {
                key: read::key(text("cl_ord_id")),
                venue_order_id: read::id(text("order_id"), "order_id")?,
                ..OrderNews::default()
            };
            incoming.push(Incoming::Answer { tag, outcome: Outcome::Accepted, news });
        }
        _ => {
            slow_down(error, incoming);
            incoming.push(Incoming::Answer { tag, outcome: outcome(purpose, error), news });
        }
    }
    Ok(())
}

/// Too many requests: what was refused counts too, so a pause is the only way out.
fn slow_down(error: &[u8], incoming: &mut Vec<Incoming>) {
    const LIMITED: [&[u8]; 4] = [
        b"EOrder:Rate limit exceeded",
        b"EAPI:Rate limit exceeded",
        b"Exceeded msg rate",
        b"EService:Throttled",
    ];
    // Source: docs.kraken.com, API errors, 2026: 15 minutes after too many wrong signatures or nonces.
    const LOCKOUT_MS: u64 = 900_000;
    if LIMITED.iter().any(|text| error.starts_with(text)) {
        incoming.push(Incoming::Limited { wait_ms: None });
    } else if error.starts_with(b"EGeneral:Temporary lockout") {
        incoming.push(Incoming::Limited { wait_ms: Some(LOCKOUT_MS) });
    }
}

/// The table above.
fn outcome(purpose: Purpose, error: &[u8]) -> Outcome {
    if matches!(purpose, Purpose::Order | Purpose::Fills | Purpose::OpenOrders) {
        return Outcome::Failed;
    }
    const UNKNOWN: [&[u8]; 6] = [
        b"EService:Unavailable",
        b"EService:Busy",
        b"EService:Timeout",
        b"EGeneral:Internal error",
        b"EOrder:cl_ord_id",
        b"EService:Throttled",
    ];
    const REJECTED: [&[u8]; 15] = [
        b"EOrder:",
        b"EAPI:",
        b"EAuth:",
        b"EQuery:",
        b"EGeneral:Invalid arguments",
        b"EGeneral:Permission denied",
        b"EGeneral:Temporary lockout",
        b"EService:Market in",
        b"EService:Deadline elapsed",
        b"Currency pair not supported",
        b"Token(s) not found",
        b"Unsupported event",
        b"Unsupported field",
        b"Limit_price field",
        b"Exceeded msg rate",
    ];
    if UNKNOWN.iter().any(|text| error.starts_with(text)) {
        Outcome::Unknown
    } else if REJECTED.iter().any(|text| error.starts_with(text)) {
        Outcome::Rejected
    } else {
        Outcome::Unknown
    }
}

/// A row of `executions`: what it leaves out is unchanged.
fn execution(row: Value<'_>) -> Result<OrderNews, DecodeError> {
    let kind = read::text(row, "exec_type");
    let status = read::text(row, "order_status");
    // A trade's status may say `partially_filled` although it completes the order: quantities decide, or `filled`.
    let state = match kind {
        b"pending_new" | b"new" => Some(ReportState::Ack),
        b"trade" => Some(ReportState::Partial),
        b"filled" => Some(ReportState::Filled),
        b"canceled" => Some(ReportState::Cancelled),
        b"expired" => Some(ReportState::Expired),
        b"amended" | b"restated" | b"iceberg_refill" => None,
        _ => self::status(status),
    };
    let execution = if kind == b"trade" {
        let fee = row.get("fees").and_then(|fees| fees.at(0));
        Some(Execution {
            id: read::id(read::text(row, "exec_id"), "exec_id")?,
            qty: read::needed(row, "last_qty")?,
            price: read::needed(row, "last_price")?,
            fee: fee.map(|fee| read::number(fee, "qty")).transpose()?.flatten().unwrap_or_default(),
            fee_asset: fee.map(|fee| Asset::cut(read::text(fee, "asset"))).unwrap_or_default(),
            liquidity: match read::text(row, "liquidity_ind") {
                b"m" => Liquidity::Maker,
                b"t" => Liquidity::Taker,
                _ => Liquidity::Unknown,
            },
        })
    } else {
        None
    };
    if execution.is_some_and(|execution| execution.id.is_empty()) {
        return Err(DecodeError::Missing { field: "exec_id" });
    }
    let reason = read::text(row, "reason");
    Ok(OrderNews {
        key: read::key(read::text(row, "cl_ord_id")),
        venue_order_id: read::id(read::text(row, "order_id"), "order_id")?,
        state,
        // Post-only orders that would take, and orders without cover, are accepted and then cancelled.
        ends_unborn: reason.starts_with(b"Post only") || reason.starts_with(b"Insufficient"),
        execution,
        cum_qty: read::number(row, "cum_qty")?,
        cum_quote: read::number(row, "cum_cost")?,
        reason: Reason::cut(reason),
        venue_time: rfc3339::parse(read::text(row, "timestamp")).unwrap_or(VenueTime::ABSENT),
        terms: terms(row),
        ..OrderNews::default()
    })
}

/// What an order is, where a row says it whole: the snapshot of the channel, and new orders.
fn terms(row: Value<'_>) -> Option<Terms> {
    let kind = match read::text(row, "order_type") {
        b"limit" => OrderKind::Limit,
        b"market" => OrderKind::Market,
        _ => return None,
    };
    let side = match read::text(row, "side") {
        b"buy" => OrderSide::Buy,
        b"sell" => OrderSide::Sell,
        _ => return None,
    };
    Some(Terms {
        symbol: Text::new(read::text(row, "symbol"))?,
        side,
        kind,
        price: read::number(row, "limit_price").ok()?.unwrap_or_default(),
        qty: read::number(row, "order_qty").ok()??,
    })
}

fn status(text: &[u8]) -> Option<ReportState> {
    Some(match text {
        b"pending_new" | b"new" => ReportState::Ack,
        b"partially_filled" => ReportState::Partial,
        b"filled" => ReportState::Filled,
        b"canceled" => ReportState::Cancelled,
        b"expired" => ReportState::Expired,
        _ => return None,
    })
}

/// The answer to a REST request.
pub(super) fn http(
    gateway: &mut KrakenOrders,
    tag: Tag,
    http_status: u16,
    body: &mut [u8],
    incoming: &mut Vec<Incoming>,
) -> Result<(), DecodeError> {
    let purpose = tag.purpose().ok_or(DecodeError::Invalid { field: "tag" })?;
    let failed = |reason: &[u8]| {
        let news = OrderNews { reason: Reason::cut(reason), ..OrderNews::default() };
        match purpose {
            Purpose::Session => Incoming::Refused(news),
            Purpose::Place | Purpose::Cancel => Incoming::Answer { tag, outcome: Outcome::Unknown, news },
            _ => Incoming::Answer { tag, outcome: Outcome::Failed, news },
        }
    };
    // What was named holds for one answer; after a failure the order is asked anew.
    let named = gateway.trades.iter().position(|(whose, _)| *whose == tag);
    let named = named.map(|at| gateway.trades.swap_remove(at).1);
    if http_status != 200 {
        incoming.push(failed(b"no answer"));
        return Ok(());
    }
    let before = incoming.len();
    let answered = rest(&mut gateway.tape, &mut gateway.quoted, tag, purpose, named, body, incoming, &failed);
    match answered {
        Ok(Rest::Trades(ids)) => {
            gateway.trades.push((tag, ids));
            incoming.push(Incoming::More { tag });
            Ok(())
        }
        Ok(Rest::Token(token)) => {
            gateway.token = Some(token);
            incoming.push(Incoming::Token);
            Ok(())
        }
        Ok(Rest::Done) => Ok(()),
        Err(error) => {
            incoming.truncate(before);
            incoming.push(failed(b"undecodable answer"));
            Err(error)
        }
    }
}

/// What a REST answer leads to, beside what it says.
enum Rest {
    Done,
    Token(Secret),
    /// The executions to ask for, with commas between.
    Trades(Vec<u8>),
}

#[expect(clippy::too_many_arguments, reason = "parts of the gateway that are borrowed apart")]
fn rest(
    tape: &mut Tape,
    quoted: &mut Vec<u8>,
    tag: Tag,
    purpose: Purpose,
    named: Option<Vec<u8>>,
    body: &[u8],
    incoming: &mut Vec<Incoming>,
    failed: &dyn Fn(&[u8]) -> Incoming,
) -> Result<Rest, DecodeError> {
    quote_numbers(body, quoted)?;
    let parsed = tape.parse(quoted)?;
    let root = parsed.root();
    // Entries that begin with `W` are warnings: the result counts.
    let errors = root.get("error").and_then(Value::items);
    let error = errors.into_iter().flatten().filter_map(Value::bytes).find(|text| !text.starts_with(b"W"));
    if let Some(error) = error {
        let not_found = purpose == Purpose::Order && error.starts_with(b"EOrder:Unknown order");
        slow_down(error, incoming);
        if not_found {
            incoming.push(Incoming::Answer { tag, outcome: Outcome::NotFound, news: OrderNews::default() });
        } else {
            incoming.push(failed(error));
        }
        return Ok(Rest::Done);
    }
    let result = root.get("result").ok_or(DecodeError::Missing { field: "result" })?;
    if purpose == Purpose::Session {
        let token = read::text(result, "token");
        let plain = token.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
        if token.is_empty() || !plain {
            return Err(DecodeError::Missing { field: "token" });
        }
        return Ok(Rest::Token(Secret::new(token.to_vec())));
    }
    if purpose == Purpose::Fills {
        return fills(tag, result, named, incoming);
    }
    let orders = result.get("open").or_else(|| result.get("closed")).unwrap_or(result);
    for (id, row) in orders.fields().ok_or(DecodeError::Invalid { field: "result" })? {
        incoming.push(Incoming::Item { tag, news: order(id.as_bytes(), row)? });
    }
    incoming.push(Incoming::End { tag, complete: true });
    Ok(Rest::Done)
}

/// The executions of an order: named by it, then told; or the last ones of the account.
fn fills(
    tag: Tag,
    result: Value<'_>,
    named: Option<Vec<u8>>,
    incoming: &mut Vec<Incoming>,
) -> Result<Rest, DecodeError> {
    const MISSING: DecodeError = DecodeError::Missing { field: "trades" };
    let first = incoming.len();
    if let Some(named) = named {
        for (id, row) in result.fields().ok_or(MISSING)? {
            incoming.push(Incoming::Item { tag, news: trade(id.as_bytes(), row)? });
        }
        let asked = first_trades(&named).len();
        if let Some(rest) = named.get(asked + 1..).filter(|rest| !rest.is_empty()) {
            return Ok(Rest::Trades(rest.to_vec()));
        }
        incoming.push(Incoming::End { tag, complete: true });
        return Ok(Rest::Done);
    }
    if let Some(trades) = result.get("trades").and_then(Value::fields) {
        for (id, row) in trades {
            incoming.push(Incoming::Item { tag, news: trade(id.as_bytes(), row)? });
        }
        incoming[first..].reverse(); // the newest comes first
        let listed = (incoming.len() - first) as u64;
        let complete = whole(read::text(result, "count")).is_none_or(|count| count <= listed);
        incoming.push(Incoming::End { tag, complete });
        return Ok(Rest::Done);
    }
    let (_, order) = result.fields().and_then(|mut orders| orders.next()).ok_or(MISSING)?;
    let mut ids = Vec::new();
    for id in order.get("trades").and_then(Value::items).into_iter().flatten().filter_map(Value::bytes) {
        if !ids.is_empty() {
            ids.push(b',');
        }
        ids.extend_from_slice(id);
    }
    if ids.is_empty() {
        incoming.push(Incoming::End { tag, complete: true });
        return Ok(Rest::Done);
    }
    Ok(Rest::Trades(ids))
}

/// An order of `OpenOrders`, `ClosedOrders`, `QueryOrders`.
fn order(id: &[u8], row: Value<'_>) -> Result<OrderNews, DecodeError> {
    let qty = read::needed(row, "vol")?;
    let executed = read::needed(row, "vol_exec")?;
    let all = qty.trimmed() == executed.trimmed();
    Ok(OrderNews {
        key: read::key(read::text(row, "cl_ord_id")),
        venue_order_id: read::id(id, "txid")?,
        state: match read::text(row, "status") {
            b"pending" | b"open" => Some(ReportState::Ack),
            b"closed" if all => Some(ReportState::Filled),
            // Closed short of its quantity: the engine ended it (rounding, immediate or cancel).
            b"closed" | b"canceled" => Some(ReportState::Cancelled),
            b"expired" => Some(ReportState::Expired),
            _ => None,
        },
        cum_qty: Some(executed),
        cum_quote: read::number(row, "cost")?,
        reason: Reason::cut(read::text(row, "reason")),
        ..OrderNews::default()
    })
}

/// An execution of `TradesHistory`. The fee is in the quote asset, whose name is not given.
fn trade(id: &[u8], row: Value<'_>) -> Result<OrderNews, DecodeError> {
    Ok(OrderNews {
        venue_order_id: read::id(read::text(row, "ordertxid"), "ordertxid")?,
        execution: Some(Execution {
            id: read::id(id, "txid")?,
            qty: read::needed(row, "vol")?,
            price: read::needed(row, "price")?,
            fee: read::number(row, "fee")?.unwrap_or_default(),
            liquidity: match row.get("maker").and_then(Value::bool) {
                Some(true) => Liquidity::Maker,
                Some(false) => Liquidity::Taker,
                None => Liquidity::Unknown,
            },
            ..Execution::default()
        }),
        ..OrderNews::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::life::ClientKey;
    use crate::orders::venue::OrderGateway;

    fn gateway() -> KrakenOrders {
        let secret = Secret::new(super::super::sign::tests::SECRET.to_vec());
        KrakenOrders::new(b"key", super::super::KrakenKey::new(&secret).expect("a key"))
    }

    fn run(text: &str) -> Vec<Incoming> {
        let mut incoming = Vec::new();
        let result = gateway().decode_frame(&mut text.as_bytes().to_vec(), &mut incoming);
        assert_eq!(result, Ok(()), "{text}");
        incoming
    }

    #[test]
    fn the_table_of_outcomes_holds() {
        use Outcome::{Rejected, Unknown};
        for (error, expected) in [
            ("EOrder:Insufficient funds", Rejected),
            ("EOrder:Order minimum not met", Rejected),
            ("EOrder:Tick size check failed", Rejected),
            ("EOrder:Rate limit exceeded", Rejected),
            ("EOrder:Post only order", Rejected),
            ("EOrder:cl_ord_id already in use", Unknown),
            ("EGeneral:Invalid arguments:cl_ord_id", Rejected),
            ("EGeneral:Permission denied", Rejected),
            ("EGeneral:Internal error", Unknown),
            ("EAPI:Rate limit exceeded", Rejected),
            ("EAuth:Invalid token", Rejected),
            ("EService:Unavailable", Unknown),
            ("EService:Busy", Unknown),
            ("EService:Timeout", Unknown),
            ("EService:Market in cancel_only mode", Rejected),
            ("EService:Deadline elapsed", Rejected),
            ("Currency pair not supported WWW/USD", Rejected),
            ("Limit_price field must be a number_float", Rejected),
            ("Something new", Unknown),
        ] {
            let tag = Tag::new(Purpose::Place, 1, 2);
            let text = format!(
                r#"{{"method":"add_order","req_id":{},"success":false,"error":"{error}","time_in":"x","time_out":"y"}}"#,
                tag.0
            );
            let news = OrderNews { reason: Reason::cut(error.as_bytes()), ..OrderNews::default() };
            let incoming = run(&text);
            assert_eq!(incoming.last(), Some(&Incoming::Answer { tag, outcome: expected, news }), "{error}");
            let limited = incoming.contains(&Incoming::Limited { wait_ms: None });
            assert_eq!(limited, error.contains("Rate limit"), "{error}");
        }
        assert_eq!(outcome(Purpose::Cancel, b"EOrder:Unknown order"), Rejected);
        for (status, purpose, expected) in [
            (0, Purpose::Place, Unknown),
            (502, Purpose::Cancel, Unknown),
            (520, Purpose::Order, Outcome::Failed),
            (524, Purpose::OpenOrders, Outcome::Failed),
        ] {
            let (tag, mut incoming) = (Tag::new(purpose, 1, 2), Vec::new());
            gateway().decode_http(tag, status, &mut [], &mut incoming).expect("no body is no error");
            assert!(
                matches!(incoming[..], [Incoming::Answer { outcome, .. }] if outcome == expected),
                "{status}"
            );
        }
    }

    const TRADE: &str = r#"{"channel":"executions","type":"update","sequence":10,"data":[{"order_id":"OAAAAA-BBBBB-CCCCCC","cl_ord_id":"m0thk7s00000000001","exec_id":"TAAAAA-BBBBB-CCCCCC","exec_type":"trade","trade_id":98765433,"symbol":"BTC/USD","side":"buy","last_qty":0.001,"last_price":64000.0,"liquidity_ind":"m","cost":64.0,"order_type":"limit","order_status":"partially_filled","cum_qty":0.001,"cum_cost":64.0,"avg_price":64000.0,"fees":[{"asset":"USD","qty":0.16}],"fee_usd_equiv":0.16,"timestamp":"2026-11-21T01:00:03.709993Z"}]}"#;

    #[test]
    fn a_trade_keeps_the_text_of_its_numbers() {
        let [Incoming::News(news)] = run(TRADE)[..] else { panic!("one row") };
        let execution = news.execution.expect("a trade");
        assert_eq!(
            (
                execution.price.to_string().as_str(),
                execution.fee.to_string().as_str(),
                execution.fee_asset.as_str()
            ),
            ("64000.0", "0.16", "USD")
        );
        assert!(matches!(news.key, ClientKey::Text(id) if id.as_str() == "m0thk7s00000000001"));
        assert_eq!((execution.id.as_str(), execution.liquidity), ("TAAAAA-BBBBB-CCCCCC", Liquidity::Maker));
    }

    #[test]
    fn every_kind_of_row_has_its_state() {
        for (kind, reason, expected, unborn) in [
            ("pending_new", "", Some(ReportState::Ack), false),
            ("new", "", Some(ReportState::Ack), false),
            ("filled", "", Some(ReportState::Filled), false),
            ("canceled", "User requested", Some(ReportState::Cancelled), false),
            ("canceled", "Post only order", Some(ReportState::Cancelled), true),
            ("expired", "", Some(ReportState::Expired), false),
            ("amended", "", None, false),
            ("restated", "", None, false),
        ] {
            let text = format!(
                r#"{{"channel":"executions","type":"update","sequence":1,"data":[{{"order_id":"O1","exec_type":"{kind}","order_status":"new","reason":"{reason}","timestamp":"2026-11-21T01:00:03Z"}}]}}"#
            );
            let [Incoming::News(news)] = run(&text)[..] else { panic!("one row") };
            assert_eq!((news.state, news.ends_unborn), (expected, unborn), "{kind}");
        }
    }

    #[test]
    fn a_hole_in_the_channels_numbers_is_a_lost_session() {
        let (mut gateway, mut incoming) = (gateway(), Vec::new());
        for (sequence, lost) in [(10, false), (11, false), (13, true), (14, false)] {
            let text = TRADE.replace("\"sequence\":10", &format!("\"sequence\":{sequence}"));
            incoming.clear();
            gateway.decode_frame(&mut text.into_bytes(), &mut incoming).expect("decodes");
            assert_eq!(incoming.contains(&Incoming::Lost), lost, "{sequence}");
        }
    }

    #[test]
    fn rest_answers_are_lists() {
        let tag = Tag::new(Purpose::OpenOrders, 0, 1);
        let text = r#"{"error":["WGeneral:Danger"],"result":{"open":{"OAAAAA-BBBBB-CCCCCC":{"refid":null,"cl_ord_id":"m0thk7s00000000001","status":"open","opentm":1783000000.1234,"vol":"0.00300000","vol_exec":"0.00100000","cost":"64.00000","fee":"0.16","price":"64000.0"}}}}"#;
        let mut incoming = Vec::new();
        gateway().decode_http(tag, 200, &mut text.as_bytes().to_vec(), &mut incoming).expect("decodes");
        let [Incoming::Item { news, .. }, Incoming::End { complete: true, .. }] = incoming[..] else {
            panic!("{incoming:?}")
        };
        assert_eq!(
            (news.state, news.cum_qty.map(|qty| qty.mantissa)),
            (Some(ReportState::Ack), Some(100_000))
        );

        let tag = Tag::new(Purpose::Fills, 0, 1);
        let text = r#"{"error":[],"result":{"trades":{"T2":{"ordertxid":"O1","pair":"XXBTZUSD","time":1783000002.1,"type":"buy","price":"64000.0","cost":"64.0","fee":"0.1","vol":"0.001","maker":true},"T1":{"ordertxid":"O1","time":1783000001.1,"price":"64000.0","cost":"64.0","fee":"0.1","vol":"0.001","maker":false}},"count":2}}"#;
        incoming.clear();
        gateway().decode_http(tag, 200, &mut text.as_bytes().to_vec(), &mut incoming).expect("decodes");
        let ids: Vec<String> = incoming
            .iter()
            .filter_map(|item| match item {
                Incoming::Item { news, .. } => news.execution.map(|execution| execution.id.to_string()),
                _ => None,
            })
            .collect();
        assert_eq!(ids, ["T1", "T2"], "oldest first");
    }

    #[test]
    fn executions_are_named_by_their_order_and_asked_for_twenty_at_a_time() {
        let (mut gateway, tag) = (gateway(), Tag::new(Purpose::Fills, 0, 1));
        let mut incoming = Vec::new();
        let mut answer = |text: &str, incoming: &mut Vec<Incoming>| {
            incoming.clear();
            gateway.decode_http(tag, 200, &mut text.as_bytes().to_vec(), incoming).expect("decodes");
            gateway.trades.first().map(|(_, ids)| ids.split(|&byte| byte == b',').count())
        };
        let ids: Vec<String> = (0..21).map(|number| format!("\"T{number}\"")).collect();
        let order =
            format!(r#"{{"error":[],"result":{{"O1":{{"status":"closed","trades":[{}]}}}}}}"#, ids.join(","));
        assert_eq!(answer(&order, &mut incoming), Some(21));
        assert_eq!(incoming, [Incoming::More { tag }]);
        let trades = r#"{"error":[],"result":{"T1":{"ordertxid":"O1","price":"64000.0","cost":"64.0","fee":"0.1","vol":"0.001","maker":false}}}"#;
        assert_eq!(answer(trades, &mut incoming), Some(1));
        assert!(matches!(incoming[..], [Incoming::Item { .. }, Incoming::More { .. }]));
        assert_eq!(answer(trades, &mut incoming), None);
        assert!(matches!(incoming[..], [Incoming::Item { .. }, Incoming::End { complete: true, .. }]));
        assert_eq!(answer(&order, &mut incoming), Some(21));
        assert_eq!(answer(r#"{"error":["EAPI:Rate limit exceeded"]}"#, &mut incoming), None, "asked anew");
    }

    #[test]
    fn a_token_is_kept_and_not_shown() {
        let (mut gateway, mut incoming) = (gateway(), Vec::new());
        let mut body = br#"{"error":[],"result":{"token":"1DwcSecretToken","expires":900}}"#.to_vec();
        gateway.decode_http(Tag::session(0), 200, &mut body, &mut incoming).expect("decodes");
        assert_eq!(incoming, [Incoming::Token]);
        assert!(!format!("{gateway:?}").contains("1Dwc"));
    }

    #[test]
    fn damaged_frames_are_errors_or_less_and_never_a_panic() {
        let mut gateway = gateway();
        crate::orders::venue::tests::mutate(TRADE, |text, incoming| {
            gateway.decode_frame(text, incoming).is_ok()
        });
        let rest = r#"{"error":[],"result":{"closed":{"O1":{"status":"closed","vol":"1","vol_exec":"1","cost":"2"}},"count":1}}"#;
        crate::orders::venue::tests::mutate(rest, |text, incoming| {
            gateway.decode_http(Tag::new(Purpose::Order, 0, 1), 200, text, incoming).is_ok()
        });
    }
}
