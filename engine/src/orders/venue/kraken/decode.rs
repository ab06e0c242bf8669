//! What Kraken says on the private connection: answers to requests, and the `executions` channel. REST is in `rest.rs`.
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

use crate::json::{Value, quote_numbers};
use crate::orders::ledger::{Outcome, Purpose, Tag};
use crate::orders::life::{Execution, OrderNews, Terms};
use crate::orders::report::{Asset, Liquidity, Reason, ReportState};
use crate::orders::request::{OrderKind, OrderSide};
use crate::orders::text::Text;
use crate::orders::venue::{Incoming, read};
use crate::raw::DecodeError;
use crate::rfc3339;
use crate::time::VenueTime;

use super::KrakenOrders;

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

/// A whole number.
pub(super) fn whole(text: &[u8]) -> Option<u64> {
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
pub(super) fn slow_down(error: &[u8], incoming: &mut Vec<Incoming>) {
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::orders::life::ClientKey;
    use crate::orders::secret::Secret;
    use crate::orders::venue::OrderGateway;

    pub(in super::super) fn gateway() -> KrakenOrders {
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
    fn damaged_frames_are_errors_or_less_and_never_a_panic() {
        let mut gateway = gateway();
        crate::orders::venue::tests::mutate(TRADE, |text, incoming| {
            gateway.decode_frame(text, incoming).is_ok()
        });
    }
}
