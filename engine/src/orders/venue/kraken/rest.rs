//! Kraken's answers by REST: the session's token, lists of orders, and the executions that orders name.
//!
//! One question can be about several orders; its answer tells them apart by the venue's ids. What an error means for an order
//! is the table in `decode.rs`.

use crate::json::{Value, quote_numbers};
use crate::orders::ledger::{Outcome, Purpose, Tag};
use crate::orders::life::{Execution, OrderNews};
use crate::orders::report::{ExecutionId, Liquidity, Reason, ReportState};
use crate::orders::secret::Secret;
use crate::orders::venue::{Incoming, read};
use crate::raw::DecodeError;

use super::decode::{slow_down, whole};
use super::{Asked, KrakenOrders, NAMED_MAX, Named};

/// The answer to a REST request.
pub(super) fn answer(
    gateway: &mut KrakenOrders,
    tag: Tag,
    http_status: u16,
    body: &mut [u8],
    incoming: &mut Vec<Incoming>,
) -> Result<(), DecodeError> {
    let purpose = tag.purpose().ok_or(DecodeError::Invalid { field: "tag" })?;
    let mut asked = std::mem::take(&mut gateway.asked);
    if asked.first().is_none_or(|first| first.tag != tag) {
        asked.clear();
    }
    let question = Question { tag, purpose, asked: &asked };
    let before = incoming.len();
    let answered = if http_status == 200 {
        envelope(gateway, &question, body, incoming)
    } else {
        Ok(Some(Failure { reason: Reason::cut(b"no answer"), one_of_them: false }))
    };
    let (failure, result) = match answered {
        Ok(failure) => (failure, Ok(())),
        Err(error) => {
            incoming.truncate(before);
            let reason = Reason::cut(b"undecodable answer");
            (Some(Failure { reason, one_of_them: false }), Err(error))
        }
    };
    if let Some(failure) = failure {
        // What was named holds for one answer; after a failure the order is asked anew.
        gateway.named.retain(|named| question.tags().all(|tag| tag != named.tag));
        gateway.one_by_one |= failure.one_of_them;
        incoming.extend(question.tags().map(|tag| failure.of(tag, purpose)));
    }
    asked.clear();
    gateway.asked = asked;
    result
}

/// What a REST answer is the answer to.
struct Question<'a> {
    tag: Tag,
    purpose: Purpose,
    /// The orders that it names by the venue's ids; its tag is that of the first.
    asked: &'a [Asked],
}

impl Question<'_> {
    /// All the questions that it is.
    fn tags(&self) -> impl Iterator<Item = Tag> {
        let alone = self.asked.is_empty().then_some(self.tag);
        self.asked.iter().map(|asked| asked.tag).chain(alone)
    }

    /// The one about this order, by the venue's id.
    fn about(&self, id: &str) -> Option<Tag> {
        let asked = self.asked.iter().find(|asked| asked.venue_order_id.as_bytes() == id.as_bytes());
        asked.map(|asked| asked.tag)
    }
}

/// Why nothing was answered.
struct Failure {
    reason: Reason,
    /// One of several orders is not known, and it does not say which.
    one_of_them: bool,
}

impl Failure {
    fn of(&self, tag: Tag, purpose: Purpose) -> Incoming {
        let news = OrderNews { reason: self.reason, ..OrderNews::default() };
        match purpose {
            Purpose::Session => Incoming::Refused(news),
            Purpose::Place | Purpose::Cancel => Incoming::Answer { tag, outcome: Outcome::Unknown, news },
            _ => Incoming::Answer { tag, outcome: Outcome::Failed, news },
        }
    }
}

/// The answer within its envelope: what the venue says, or why it says nothing.
fn envelope(
    gateway: &mut KrakenOrders,
    question: &Question<'_>,
    body: &[u8],
    incoming: &mut Vec<Incoming>,
) -> Result<Option<Failure>, DecodeError> {
    let KrakenOrders { tape, quoted, named, token, .. } = gateway;
    let &Question { tag, purpose, asked } = question;
    quote_numbers(body, quoted)?;
    let parsed = tape.parse(quoted)?;
    let root = parsed.root();
    // Entries that begin with `W` are warnings: the result counts.
    let errors = root.get("error").and_then(Value::items);
    let error = errors.into_iter().flatten().filter_map(Value::bytes).find(|text| !text.starts_with(b"W"));
    if let Some(error) = error {
        let not_found = purpose == Purpose::Order && error.starts_with(b"EOrder:Unknown order");
        slow_down(error, incoming);
        if not_found && asked.len() <= 1 {
            incoming.push(Incoming::Answer { tag, outcome: Outcome::NotFound, news: OrderNews::default() });
            return Ok(None);
        }
        let one_of_them = asked.len() > 1 && error.starts_with(b"EOrder:Unknown order");
        return Ok(Some(Failure { reason: Reason::cut(error), one_of_them }));
    }
    let result = root.get("result").ok_or(DecodeError::Missing { field: "result" })?;
    match purpose {
        Purpose::Session => {
            let text = read::text(result, "token");
            let plain = text.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
            if text.is_empty() || !plain {
                return Err(DecodeError::Missing { field: "token" });
            }
            *token = Some(Secret::new(text.to_vec()));
            incoming.push(Incoming::Token);
        }
        Purpose::Fills => fills(question, result, named, incoming)?,
        _ => {
            let orders = result.get("open").or_else(|| result.get("closed")).unwrap_or(result);
            for (id, row) in orders.fields().ok_or(DecodeError::Invalid { field: "result" })? {
                let tag = question.about(id).unwrap_or(tag);
                incoming.push(Incoming::Item { tag, news: order(id.as_bytes(), row)? });
                if !asked.is_empty() {
                    name(tag.about(Purpose::Fills), row, named)?;
                }
            }
            incoming.extend(question.tags().map(|tag| Incoming::End { tag, complete: true }));
        }
    }
    Ok(None)
}

/// Notes the executions that an order names, for the question `tag`. Says whether there are any.
fn name(tag: Tag, row: Value<'_>, named: &mut Vec<Named>) -> Result<bool, DecodeError> {
    named.retain(|entry| entry.tag != tag);
    let trades = row.get("trades").and_then(Value::items).into_iter().flatten().filter_map(Value::bytes);
    let ids = trades.map(|id| read::id(id, "trades")).collect::<Result<Vec<ExecutionId>, _>>()?;
    let any = !ids.is_empty();
    if any {
        if named.len() == NAMED_MAX {
            named.remove(0);
        }
        named.push(Named { tag, ids, asked: 0 });
    }
    Ok(any)
}

/// The executions of orders: named by those, then told; or the last ones of the account.
fn fills(
    question: &Question<'_>,
    result: Value<'_>,
    named: &mut Vec<Named>,
    incoming: &mut Vec<Incoming>,
) -> Result<(), DecodeError> {
    const MISSING: DecodeError = DecodeError::Missing { field: "trades" };
    let &Question { tag, asked, .. } = question;
    let first = incoming.len();
    if asked.is_empty() {
        for (id, row) in result.get("trades").and_then(Value::fields).ok_or(MISSING)? {
            incoming.push(Incoming::Item { tag, news: trade(id.as_bytes(), row)? });
        }
        incoming[first..].reverse(); // the newest comes first
        let listed = (incoming.len() - first) as u64;
        let complete = whole(read::text(result, "count")).is_none_or(|count| count <= listed);
        incoming.push(Incoming::End { tag, complete });
        return Ok(());
    }
    if !named.iter().any(|entry| entry.tag == tag) {
        for &Asked { tag, venue_order_id } in asked {
            let id = std::str::from_utf8(venue_order_id.as_bytes()).unwrap_or_default();
            let more = match result.get(id) {
                Some(row) => name(tag, row, named)?,
                None => false,
            };
            incoming.push(if more { Incoming::More { tag } } else { Incoming::End { tag, complete: true } });
        }
        return Ok(());
    }
    for &Asked { tag, .. } in asked {
        let Some(entry) = named.iter_mut().find(|entry| entry.tag == tag) else {
            incoming.push(Incoming::End { tag, complete: true });
            continue;
        };
        for id in entry.ids.drain(..entry.asked) {
            let id = std::str::from_utf8(id.as_bytes()).unwrap_or_default();
            if let Some(row) = result.get(id) {
                incoming.push(Incoming::Item { tag, news: trade(id.as_bytes(), row)? });
            }
        }
        entry.asked = 0;
        let more = !entry.ids.is_empty();
        incoming.push(if more { Incoming::More { tag } } else { Incoming::End { tag, complete: true } });
    }
    named.retain(|entry| !entry.ids.is_empty());
    Ok(())
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
    use super::super::decode::tests::gateway;
    use super::*;
    use crate::orders::text::Text;
    use crate::orders::venue::{OrderGateway, Outgoing};

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

    fn ask(gateway: &mut KrakenOrders, purpose: Purpose, orders: &[&str]) -> Vec<Tag> {
        let entries = orders.iter().zip(0..).map(|(id, slot)| Asked {
            tag: Tag::new(purpose, slot, 1),
            venue_order_id: Text::cut(id.as_bytes()),
        });
        gateway.asked = entries.collect();
        gateway.asked.iter().map(|asked| asked.tag).collect()
    }

    fn answered(gateway: &mut KrakenOrders, tag: Tag, text: &str) -> Vec<Incoming> {
        let mut incoming = Vec::new();
        gateway.decode_http(tag, 200, &mut text.as_bytes().to_vec(), &mut incoming).expect("decodes");
        incoming
    }

    const TRADE_ROW: &str =
        r#"{"ordertxid":"O1","price":"64000.0","cost":"64.0","fee":"0.1","vol":"0.001","maker":false}"#;

    #[test]
    fn executions_are_named_by_their_order_and_asked_for_twenty_at_a_time() {
        let mut gateway = gateway();
        let ids: Vec<String> = (0..21).map(|number| format!("\"T{number:02}\"")).collect();
        let order =
            format!(r#"{{"error":[],"result":{{"O1":{{"status":"closed","trades":[{}]}}}}}}"#, ids.join(","));
        let tag = ask(&mut gateway, Purpose::Fills, &["O1"])[0];
        assert_eq!(answered(&mut gateway, tag, &order), [Incoming::More { tag }]);
        for (expected, text) in [
            ("T00", format!(r#"{{"error":[],"result":{{"T00":{TRADE_ROW}}}}}"#)),
            ("T20", format!(r#"{{"error":[],"result":{{"T20":{TRADE_ROW}}}}}"#)),
        ] {
            ask(&mut gateway, Purpose::Fills, &["O1"]);
            let (stamp, mut out) =
                (crate::orders::venue::Stamp { unix_ms: 1, nonce: 1, random: 0 }, Outgoing::new());
            gateway.write_query_trades(&stamp, &mut out);
            let body = String::from_utf8(out.body).expect("ASCII");
            assert_eq!(body.matches('T').count(), if expected == "T00" { 20 } else { 1 }, "{body}");
            let incoming = answered(&mut gateway, tag, &text);
            let [Incoming::Item { news, .. }, end] = incoming[..] else { panic!("{incoming:?}") };
            assert_eq!(news.execution.expect("one").id.as_str(), expected);
            let more = expected == "T00";
            assert_eq!(
                end,
                if more { Incoming::More { tag } } else { Incoming::End { tag, complete: true } }
            );
        }
        ask(&mut gateway, Purpose::Fills, &["O1"]);
        answered(&mut gateway, tag, &order);
        ask(&mut gateway, Purpose::Fills, &["O1"]);
        answered(&mut gateway, tag, r#"{"error":["EAPI:Rate limit exceeded"]}"#);
        assert!(gateway.named.is_empty(), "asked anew");
    }

    #[test]
    fn several_orders_are_told_apart_by_their_ids_and_what_is_not_there_was_not_found() {
        let mut gateway = gateway();
        let tags = ask(&mut gateway, Purpose::Order, &["O1", "O2", "O3"]);
        let row = |trades: &str| {
            format!(r#"{{"status":"closed","vol":"1","vol_exec":"1","cost":"2","trades":[{trades}]}}"#)
        };
        let text = format!(r#"{{"error":[],"result":{{"O2":{},"O1":{}}}}}"#, row("\"T3\",\"T4\""), row(""));
        let incoming = answered(&mut gateway, tags[0], &text);
        let items: Vec<Tag> = incoming
            .iter()
            .filter_map(|said| if let Incoming::Item { tag, .. } = said { Some(*tag) } else { None })
            .collect();
        assert_eq!(items, [tags[1], tags[0]]);
        let ends = incoming.iter().filter(|said| matches!(said, Incoming::End { complete: true, .. }));
        assert_eq!(ends.count(), 3, "the third was asked for too");
        assert!(gateway.has_named(tags[1].about(Purpose::Fills)), "its executions need no second question");
        assert!(!gateway.has_named(tags[0].about(Purpose::Fills)));
    }

    #[test]
    fn if_one_of_several_is_unknown_all_are_asked_again_one_by_one() {
        let mut gateway = gateway();
        let text = r#"{"error":["EOrder:Unknown order"]}"#;
        let tags = ask(&mut gateway, Purpose::Order, &["O1", "O2"]);
        let incoming = answered(&mut gateway, tags[0], text);
        assert!(gateway.one_by_one);
        for (said, expected) in incoming.iter().zip(&tags) {
            assert!(
                matches!(said, Incoming::Answer { tag, outcome: Outcome::Failed, .. } if tag == expected),
                "{incoming:?}"
            );
        }
        let tags = ask(&mut gateway, Purpose::Order, &["O1"]);
        let incoming = answered(&mut gateway, tags[0], text);
        assert!(matches!(incoming[..], [Incoming::Answer { outcome: Outcome::NotFound, .. }]));
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
    fn damaged_answers_are_errors_or_less_and_never_a_panic() {
        let mut gateway = gateway();
        let rest = r#"{"error":[],"result":{"closed":{"O1":{"status":"closed","vol":"1","vol_exec":"1","cost":"2"}},"count":1}}"#;
        crate::orders::venue::tests::mutate(rest, |text, incoming| {
            gateway.decode_http(Tag::new(Purpose::Order, 0, 1), 200, text, incoming).is_ok()
        });
    }
}
