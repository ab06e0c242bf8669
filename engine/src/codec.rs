//! Events as bytes: what the recorder writes and what replay hashes are taken over.
//!
//! Little-endian, no padding, no numbers that depend on where the event ran (those are in [`encode_place`] alone).

use crate::channel::Interval;
use crate::decimal::{DECIMALS_MAX, Decimals, Price, Qty};
use crate::event::control::{Command, ControlAck, ControlResult, Outcome};
use crate::event::{
    Amount, BestLeg, Body, BookPart, BookReason, BookStatus, Event, Flags, FragmentValue, Gap, GapReason,
    Header, Kind, Kline, LEVELS_PER_PART, Leg, Level, MERGED_PROVIDERS_MAX, MergedBbo, MergedHead, Proof,
    Side, Ticker, TickerFields, Trade, WindowEnd,
};
use crate::ids::{InstrumentId, LineId, ProviderId, StreamId, TraceId};
use crate::time::{ReceiveTime, VenueTime};

/// Bytes of the longest encoded event, place included.
pub const EVENT_BYTES_MAX: usize = 256;

/// Why bytes are not an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// They end in the middle of one.
    #[error("the record ends early")]
    Short,
    /// A number is none that its field may have.
    #[error("{field} has the unknown value {value}")]
    Unknown {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u8,
    },
}

/// Appends what identifies the event's content: kind, flags, scale, sequence, both times, body. Not the shard, the
/// ring, the routing or numeric ids, so that the same session gives the same bytes on any number of shards. (Merged events
/// name their providers by number: that is their content, and the topology's order, not a shard's.)
pub fn encode_content(event: &Event, out: &mut Vec<u8>) {
    let Header { sequence_first, sequence_last, venue_time, receive_time, flags, decimals, .. } =
        event.header;
    out.extend_from_slice(&[event.kind() as u8, flags.0, decimals.price, decimals.qty]);
    for number in [sequence_first, sequence_last, venue_time.raw_ns(), receive_time.ns()] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    encode_body(&event.body, out);
}

/// Appends where the event ran: provider, instrument, stream, part, trace, routing version, stage times.
pub fn encode_place(event: &Event, out: &mut Vec<u8>) {
    let header = &event.header;
    out.extend_from_slice(&[header.provider.0, header.schema, header.trace.line().0]);
    out.extend_from_slice(&header.part.to_le_bytes());
    out.extend_from_slice(&header.instrument.0.to_le_bytes());
    out.extend_from_slice(&header.stream.0.to_le_bytes());
    out.extend_from_slice(&header.trace.frame().to_le_bytes());
    for number in
        [header.routing_version, header.decoded_after_ns, header.ordered_after_ns, header.enqueued_after_ns]
    {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn encode_body(body: &Body, out: &mut Vec<u8>) {
    let mut put = |number: i64| out.extend_from_slice(&number.to_le_bytes());
    match body {
        Body::Trade(trade) => encode_trade(trade, out),
        Body::BookSnapshot(part) | Body::BookUpdate(part) => {
            out.extend_from_slice(&[part.status as u8, part.proof as u8, part.bid_count, part.ask_count]);
            for level in part.bids().iter().chain(part.asks()) {
                out.extend_from_slice(&level.price.0.to_le_bytes());
                out.extend_from_slice(&level.qty.0.to_le_bytes());
            }
        }
        Body::Ticker(ticker) => encode_ticker(ticker, out),
        Body::Kline(kline) => encode_kline(kline, out),
        Body::Gap(gap) => {
            for number in [gap.from, gap.to, gap.event_count] {
                put(number as i64);
            }
            out.push(gap.reason as u8);
        }
        Body::BookState { status, proof, reason } => {
            out.extend_from_slice(&[*status as u8, *proof as u8, *reason as u8]);
        }
        Body::Merged(head) => {
            out.push(MERGED_HEAD);
            for number in [head.opened.ns(), head.closed.ns()] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&head.event_count.to_le_bytes());
            out.extend_from_slice(&[head.providers_expected, head.providers_present, head.end as u8]);
        }
        Body::Fragment { provider, sequence, receive_time, value } => {
            out.extend_from_slice(&[MERGED_FRAGMENT, provider.0]);
            for number in [*sequence, receive_time.ns()] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            match value {
                FragmentValue::Trade(trade) => {
                    out.push(Kind::Trade as u8);
                    encode_trade(trade, out);
                }
                FragmentValue::Ticker(ticker) => {
                    out.push(Kind::Ticker as u8);
                    encode_ticker(ticker, out);
                }
                FragmentValue::Kline(kline) => {
                    out.push(Kind::KlineSummary as u8);
                    encode_kline(kline, out);
                }
            }
        }
        Body::MergedBbo(bbo) => {
            for best in [&bbo.bid, &bbo.ask] {
                out.push(u8::from(best.is_some()));
                if let Some(leg) = best {
                    out.extend_from_slice(&leg.price.0.to_le_bytes());
                    out.extend_from_slice(&leg.qty.0.to_le_bytes());
                    let BestLeg { decimals, provider, proof, .. } = leg;
                    out.extend_from_slice(&[decimals.price, decimals.qty, provider.0, *proof as u8]);
                }
            }
            out.push(bbo.legs().len() as u8);
            for leg in bbo.legs() {
                out.extend_from_slice(&leg.age_ms.to_le_bytes());
                out.extend_from_slice(&[leg.provider.0, leg.status as u8, leg.proof as u8]);
            }
        }
        Body::Marker => {}
        Body::ControlAck(ack) => {
            put(ack.request as i64);
            out.push(ack.command as u8);
        }
        Body::ControlResult(result) => {
            put(result.request as i64);
            out.extend_from_slice(&[result.command as u8, result.outcome as u8]);
            out.extend_from_slice(&result.stream_count.to_le_bytes());
            out.extend_from_slice(&result.routing_version.to_le_bytes());
        }
    }
}

/// The two bodies of [`Kind::Merged`].
const MERGED_HEAD: u8 = 0;
const MERGED_FRAGMENT: u8 = 1;

fn encode_trade(trade: &Trade, out: &mut Vec<u8>) {
    for number in [trade.price.0, trade.qty.0, trade.id as i64] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.push(trade.taker_side as u8);
}

fn encode_ticker(t: &Ticker, out: &mut Vec<u8>) {
    for price in [t.bid, t.ask, t.last, t.open, t.high, t.low] {
        out.extend_from_slice(&price.0.to_le_bytes());
    }
    for qty in [t.bid_qty, t.ask_qty, t.last_qty, t.volume] {
        out.extend_from_slice(&qty.0.to_le_bytes());
    }
    out.extend_from_slice(&t.fields.0.to_le_bytes());
}

fn encode_kline(k: &Kline, out: &mut Vec<u8>) {
    for price in [k.open, k.high, k.low, k.close] {
        out.extend_from_slice(&price.0.to_le_bytes());
    }
    let numbers = [k.volume.0, k.taker_buy_volume.0, k.quote_volume.mantissa, k.trade_count as i64];
    for number in numbers.into_iter().chain([k.open_time, k.close_time].map(|time| time.raw_ns() as i64)) {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&[k.quote_volume.decimals, k.interval as u8]);
}

/// Reads what [`encode_content`] and then [`encode_place`] wrote, from the front of `bytes`, which is moved on.
///
/// # Errors
/// [`CodecError`]; `bytes` may then stand anywhere.
pub fn decode(bytes: &mut &[u8]) -> Result<Event, CodecError> {
    let kind = take::<1>(bytes)?[0];
    let [flags, price, qty] = take(bytes)?;
    let mut header = Header {
        flags: Flags(flags),
        decimals: scale(price, qty)?,
        sequence_first: number(bytes)?,
        sequence_last: number(bytes)?,
        venue_time: VenueTime::from_ns(number(bytes)?),
        receive_time: ReceiveTime::from_ns(number(bytes)?),
        ..Header::default()
    };
    let kind = *Kind::ALL.get(usize::from(kind)).ok_or(CodecError::Unknown { field: "kind", value: kind })?;
    let body = decode_body(kind, bytes)?;
    let [provider, schema, line] = take(bytes)?;
    header.provider = ProviderId(provider);
    header.schema = schema;
    header.part = u16::from_le_bytes(take(bytes)?);
    header.instrument = InstrumentId(u16::from_le_bytes(take(bytes)?));
    header.stream = StreamId(u32::from_le_bytes(take(bytes)?));
    header.trace = TraceId::new(LineId(line), number(bytes)?);
    header.routing_version = u32::from_le_bytes(take(bytes)?);
    header.decoded_after_ns = u32::from_le_bytes(take(bytes)?);
    header.ordered_after_ns = u32::from_le_bytes(take(bytes)?);
    header.enqueued_after_ns = u32::from_le_bytes(take(bytes)?);
    Ok(Event { header, body })
}

fn decode_body(kind: Kind, bytes: &mut &[u8]) -> Result<Body, CodecError> {
    Ok(match kind {
        Kind::Trade => Body::Trade(decode_trade(bytes)?),
        Kind::BookSnapshot => Body::BookSnapshot(decode_part(bytes)?),
        Kind::BookUpdate => Body::BookUpdate(decode_part(bytes)?),
        Kind::Ticker => Body::Ticker(decode_ticker(bytes)?),
        Kind::KlineSummary => Body::Kline(decode_kline(bytes)?),
        Kind::Gap => {
            let (from, to, event_count) = (number(bytes)?, number(bytes)?, number(bytes)?);
            let reason = match take::<1>(bytes)?[0] {
                0 => GapReason::Sequence,
                1 => GapReason::SlowConsumer,
                2 => GapReason::PoolEmpty,
                3 => GapReason::Undecodable,
                value => return Err(CodecError::Unknown { field: "gap reason", value }),
            };
            Body::Gap(Gap { from, to, event_count, reason })
        }
        Kind::BookState => {
            let [status, proof, reason] = take(bytes)?;
            let known = BookReason::ALL.get(usize::from(reason));
            let reason = *known.ok_or(CodecError::Unknown { field: "book reason", value: reason })?;
            Body::BookState { status: decode_status(status)?, proof: decode_proof(proof)?, reason }
        }
        Kind::Merged => match take::<1>(bytes)?[0] {
            MERGED_HEAD => {
                let [opened, closed] = [number(bytes)?, number(bytes)?].map(ReceiveTime::from_ns);
                let event_count = u32::from_le_bytes(take(bytes)?);
                let [providers_expected, providers_present, end] = take(bytes)?;
                let end = match end {
                    0 => WindowEnd::Length,
                    1 => WindowEnd::Count,
                    value => return Err(CodecError::Unknown { field: "window end", value }),
                };
                Body::Merged(MergedHead {
                    opened,
                    closed,
                    event_count,
                    providers_expected,
                    providers_present,
                    end,
                })
            }
            MERGED_FRAGMENT => Body::Fragment {
                provider: ProviderId(take::<1>(bytes)?[0]),
                sequence: number(bytes)?,
                receive_time: ReceiveTime::from_ns(number(bytes)?),
                value: decode_fragment(bytes)?,
            },
            value => return Err(CodecError::Unknown { field: "merged part", value }),
        },
        Kind::MergedBbo => Body::MergedBbo(decode_bbo(bytes)?),
        Kind::Marker => Body::Marker,
        Kind::ControlAck => Body::ControlAck(ControlAck {
            request: number(bytes)?,
            command: decode_command(take::<1>(bytes)?[0])?,
        }),
        Kind::ControlResult => {
            let request = number(bytes)?;
            let [command, outcome] = take(bytes)?;
            let known = Outcome::ALL.get(usize::from(outcome));
            Body::ControlResult(ControlResult {
                request,
                command: decode_command(command)?,
                outcome: *known.ok_or(CodecError::Unknown { field: "outcome", value: outcome })?,
                stream_count: u32::from_le_bytes(take(bytes)?),
                routing_version: u32::from_le_bytes(take(bytes)?),
            })
        }
    })
}

fn decode_fragment(bytes: &mut &[u8]) -> Result<FragmentValue, CodecError> {
    let kind = take::<1>(bytes)?[0];
    Ok(match Kind::ALL.get(usize::from(kind)) {
        Some(Kind::Trade) => FragmentValue::Trade(decode_trade(bytes)?),
        Some(Kind::Ticker) => FragmentValue::Ticker(decode_ticker(bytes)?),
        Some(Kind::KlineSummary) => FragmentValue::Kline(decode_kline(bytes)?),
        _ => return Err(CodecError::Unknown { field: "fragment kind", value: kind }),
    })
}

/// The scale of prices and quantities; none that a number of ours cannot have.
fn scale(price: u8, qty: u8) -> Result<Decimals, CodecError> {
    match price.max(qty) {
        0..=DECIMALS_MAX => Ok(Decimals { price, qty }),
        value => Err(CodecError::Unknown { field: "decimals", value }),
    }
}

fn decode_bbo(bytes: &mut &[u8]) -> Result<MergedBbo, CodecError> {
    let mut bbo = MergedBbo::default();
    for best in [&mut bbo.bid, &mut bbo.ask] {
        *best = match take::<1>(bytes)?[0] {
            0 => None,
            1 => {
                let (leg_price, leg_qty) = (Price(signed(bytes)?), Qty(signed(bytes)?));
                let [price, qty, provider, proof] = take(bytes)?;
                Some(BestLeg {
                    price: leg_price,
                    qty: leg_qty,
                    decimals: scale(price, qty)?,
                    provider: ProviderId(provider),
                    proof: decode_proof(proof)?,
                })
            }
            value => return Err(CodecError::Unknown { field: "best leg", value }),
        };
    }
    bbo.leg_count = take::<1>(bytes)?[0];
    if usize::from(bbo.leg_count) > MERGED_PROVIDERS_MAX {
        return Err(CodecError::Unknown { field: "leg count", value: bbo.leg_count });
    }
    for leg in &mut bbo.legs[..usize::from(bbo.leg_count)] {
        let age_ms = u16::from_le_bytes(take(bytes)?);
        let [provider, status, proof] = take(bytes)?;
        let (status, proof) = (decode_status(status)?, decode_proof(proof)?);
        *leg = Leg { age_ms, provider: ProviderId(provider), status, proof };
    }
    Ok(bbo)
}

fn decode_trade(bytes: &mut &[u8]) -> Result<Trade, CodecError> {
    Ok(Trade {
        price: Price(signed(bytes)?),
        qty: Qty(signed(bytes)?),
        id: number(bytes)?,
        taker_side: match take::<1>(bytes)?[0] {
            0 => Side::Buy,
            1 => Side::Sell,
            value => return Err(CodecError::Unknown { field: "taker_side", value }),
        },
    })
}

fn decode_ticker(bytes: &mut &[u8]) -> Result<Ticker, CodecError> {
    let mut ticker = Ticker::default();
    for price in [
        &mut ticker.bid,
        &mut ticker.ask,
        &mut ticker.last,
        &mut ticker.open,
        &mut ticker.high,
        &mut ticker.low,
    ] {
        *price = Price(signed(bytes)?);
    }
    for qty in [&mut ticker.bid_qty, &mut ticker.ask_qty, &mut ticker.last_qty, &mut ticker.volume] {
        *qty = Qty(signed(bytes)?);
    }
    ticker.fields = TickerFields(u16::from_le_bytes(take(bytes)?));
    Ok(ticker)
}

fn decode_kline(bytes: &mut &[u8]) -> Result<Kline, CodecError> {
    let [open, high, low, close] =
        [signed(bytes)?, signed(bytes)?, signed(bytes)?, signed(bytes)?].map(Price);
    let (volume, taker_buy_volume) = (Qty(signed(bytes)?), Qty(signed(bytes)?));
    let (mantissa, trade_count) = (signed(bytes)?, number(bytes)?);
    let (open_time, close_time) = (VenueTime::from_ns(number(bytes)?), VenueTime::from_ns(number(bytes)?));
    let [decimals, interval] = take(bytes)?;
    let known = Interval::ALL.get(usize::from(interval));
    let interval = known.ok_or(CodecError::Unknown { field: "interval", value: interval })?.0;
    // Of a price times a quantity.
    if decimals > 2 * DECIMALS_MAX {
        return Err(CodecError::Unknown { field: "decimals", value: decimals });
    }
    let quote_volume = Amount { mantissa, decimals };
    Ok(Kline {
        open_time,
        close_time,
        open,
        high,
        low,
        close,
        volume,
        taker_buy_volume,
        quote_volume,
        trade_count,
        interval,
    })
}

fn decode_command(value: u8) -> Result<Command, CodecError> {
    let known = Command::ALL.get(usize::from(value));
    known.copied().ok_or(CodecError::Unknown { field: "command", value })
}

fn decode_part(bytes: &mut &[u8]) -> Result<BookPart, CodecError> {
    let [status, proof, bid_count, ask_count] = take(bytes)?;
    let count = usize::from(bid_count) + usize::from(ask_count);
    if count > LEVELS_PER_PART {
        return Err(CodecError::Unknown { field: "level count", value: count.min(255) as u8 });
    }
    let mut levels = [Level::default(); LEVELS_PER_PART];
    for level in &mut levels[..count] {
        *level = Level { price: Price(signed(bytes)?), qty: Qty(signed(bytes)?) };
    }
    Ok(BookPart { status: decode_status(status)?, proof: decode_proof(proof)?, bid_count, ask_count, levels })
}

fn decode_status(value: u8) -> Result<BookStatus, CodecError> {
    Ok(match value {
        0 => BookStatus::Syncing,
        1 => BookStatus::Proved,
        2 => BookStatus::Suspect,
        3 => BookStatus::Stale,
        _ => return Err(CodecError::Unknown { field: "book status", value }),
    })
}

fn decode_proof(value: u8) -> Result<Proof, CodecError> {
    Ok(match value {
        0 => Proof::None,
        1 => Proof::Continuity,
        2 => Proof::Checksum,
        _ => return Err(CodecError::Unknown { field: "proof", value }),
    })
}

fn take<const COUNT: usize>(bytes: &mut &[u8]) -> Result<[u8; COUNT], CodecError> {
    let (front, rest) = bytes.split_first_chunk::<COUNT>().ok_or(CodecError::Short)?;
    *bytes = rest;
    Ok(*front)
}

fn number(bytes: &mut &[u8]) -> Result<u64, CodecError> {
    take(bytes).map(u64::from_le_bytes)
}

fn signed(bytes: &mut &[u8]) -> Result<i64, CodecError> {
    take(bytes).map(i64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies() -> Vec<Body> {
        let level = |price| Level { price: Price(price), qty: Qty(-price * 3) };
        let mut levels = [Level::default(); LEVELS_PER_PART];
        levels[..3].copy_from_slice(&[level(7), level(8), level(9)]);
        let part = BookPart {
            status: BookStatus::Proved,
            proof: Proof::Checksum,
            bid_count: 2,
            ask_count: 1,
            levels,
        };
        let kline = Kline {
            open_time: VenueTime::from_ns(1),
            close_time: VenueTime::from_ns(2),
            open: Price(3),
            high: Price(4),
            low: Price(5),
            close: Price(6),
            volume: Qty(7),
            taker_buy_volume: Qty(8),
            quote_volume: Amount { mantissa: 9, decimals: 10 },
            trade_count: 11,
            interval: Interval::Mo1,
        };
        let ticker = Ticker {
            bid: Price(1),
            volume: Qty(i64::MIN),
            fields: TickerFields::BEST.with(TickerFields::VOLUME),
            ..Ticker::default()
        };
        let trade = Trade { price: Price(i64::MAX), qty: Qty(1), id: u64::MAX, taker_side: Side::Sell };
        let fragment = |value| Body::Fragment {
            provider: ProviderId(3),
            sequence: 12,
            receive_time: ReceiveTime::from_ns(13),
            value,
        };
        let head = MergedHead {
            opened: ReceiveTime::from_ns(1),
            closed: ReceiveTime::from_ns(2),
            event_count: 3,
            providers_expected: 4,
            providers_present: 5,
            end: WindowEnd::Count,
        };
        let best = BestLeg {
            price: Price(5),
            qty: Qty(6),
            decimals: Decimals { price: 7, qty: 8 },
            provider: ProviderId(9),
            proof: Proof::Continuity,
        };
        let leg = |provider| Leg {
            age_ms: u16::MAX,
            provider: ProviderId(provider),
            status: BookStatus::Suspect,
            proof: Proof::Checksum,
        };
        let mut legs = [Leg::default(); MERGED_PROVIDERS_MAX];
        legs[..2].copy_from_slice(&[leg(1), leg(2)]);
        vec![
            Body::Trade(trade),
            Body::Merged(head),
            fragment(FragmentValue::Trade(trade)),
            fragment(FragmentValue::Ticker(ticker)),
            fragment(FragmentValue::Kline(kline)),
            Body::MergedBbo(MergedBbo { bid: Some(best), ask: None, leg_count: 2, legs }),
            Body::MergedBbo(MergedBbo {
                bid: None,
                ask: Some(best),
                leg_count: 0,
                legs: [Leg::default(); 8],
            }),
            Body::Marker,
            Body::BookSnapshot(part),
            Body::BookUpdate(part),
            Body::Ticker(ticker),
            Body::Kline(kline),
            Body::Gap(Gap { from: 1, to: 2, event_count: 3, reason: GapReason::Undecodable }),
            Body::BookState {
                status: BookStatus::Stale,
                proof: Proof::None,
                reason: BookReason::ConnectionGap,
            },
            Body::ControlAck(ControlAck { request: 7, command: Command::Trading }),
            Body::ControlResult(ControlResult {
                request: 7,
                command: Command::Kill,
                outcome: Outcome::Unknown,
                stream_count: 8,
                routing_version: 9,
            }),
        ]
    }

    fn event(body: Body) -> Event {
        let header = Header {
            trace: TraceId::new(LineId(2), 77),
            sequence_first: 5,
            sequence_last: 6,
            venue_time: VenueTime::from_ns(7),
            receive_time: ReceiveTime::from_ns(8),
            stream: StreamId(9),
            routing_version: 10,
            decoded_after_ns: 11,
            ordered_after_ns: 12,
            enqueued_after_ns: 13,
            instrument: InstrumentId(14),
            part: 15,
            flags: Flags::WHOLE,
            decimals: Decimals { price: 2, qty: 8 },
            provider: ProviderId(16),
            schema: 1,
        };
        Event { header, body }
    }

    #[test]
    fn every_kind_reads_back_as_it_was() {
        for body in bodies() {
            let event = event(body);
            let mut bytes = Vec::new();
            encode_content(&event, &mut bytes);
            encode_place(&event, &mut bytes);
            assert!(bytes.len() <= EVENT_BYTES_MAX);
            let mut rest = &bytes[..];
            assert_eq!(decode(&mut rest), Ok(event));
            assert!(rest.is_empty());
            for cut in 0..bytes.len() {
                assert_eq!(
                    decode(&mut &bytes[..cut]),
                    Err(CodecError::Short),
                    "{:?} cut at {cut}",
                    event.kind()
                );
            }
        }
    }

    /// Found by the fuzz target `recording`: sums over such events left 128 bits.
    #[test]
    fn a_scale_that_no_number_has_is_refused() {
        let mut event = event(bodies().remove(0));
        for decimals in [Decimals { price: 19, qty: 8 }, Decimals { price: 2, qty: 255 }] {
            event.header.decimals = decimals;
            let mut bytes = Vec::new();
            encode_content(&event, &mut bytes);
            encode_place(&event, &mut bytes);
            let value = decimals.price.max(decimals.qty);
            assert_eq!(decode(&mut &bytes[..]), Err(CodecError::Unknown { field: "decimals", value }));
        }
    }

    #[test]
    fn changed_bytes_are_an_event_or_an_error() {
        let mut random = fastrand::Rng::with_seed(7);
        for body in bodies() {
            let mut bytes = Vec::new();
            encode_content(&event(body), &mut bytes);
            encode_place(&event(body), &mut bytes);
            for _ in 0..2_000 {
                let mut changed = bytes.clone();
                let at = random.usize(0..changed.len());
                changed[at] = random.u8(..);
                let _ = decode(&mut &changed[..]);
            }
        }
    }

    #[test]
    fn content_does_not_depend_on_where_the_event_ran() {
        let here = event(bodies()[0]);
        let mut there = here;
        there.header.stream = StreamId(99);
        there.header.instrument = InstrumentId(98);
        there.header.decoded_after_ns = 97;
        let (mut first, mut second) = (Vec::new(), Vec::new());
        encode_content(&here, &mut first);
        encode_content(&there, &mut second);
        assert_eq!(first, second);
    }
}
