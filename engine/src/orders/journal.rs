//! The journal of orders as bytes: what was intended before it was sent, and what became of it.
//!
//! A record is `length u32 | crc32 u32 | kind u8 | body`, little endian; the checksum covers kind and body, the length
//! counts them. Zero bytes between records are padding: files that are written past the page cache grow in whole blocks. The
//! shard writes these bytes to files, decides when they are durable and when a new file begins ([`Record::Begin`] and a
//! checkpoint of the ledger stand first in each). Nothing here allocates; all input is treated as damaged until proved.

use crate::decimal::{Decimals, Number, Price, Qty};
use crate::ids::{ConsumerId, InstrumentId, Listing, ProviderId, TraceId};

use super::id::{ClientOrderId, ID_BYTES_MAX};
use super::life::Life;
use super::order::Order;
use super::report::{ExecutionId, Origin, ReportState, VenueOrderId};
use super::request::{DecisionId, OrderKind, OrderSide, TimeInForce};
use super::text::Text;

/// Version of the records; another one is refused.
pub const JOURNAL_VERSION: u8 = 1;
/// Bytes before a record's kind: length and checksum.
const HEAD_BYTES: usize = 8;
/// Largest record, head included.
pub const RECORD_BYTES_MAX: usize = 256;
/// Where a reader looks for the next record after damage: file blocks begin at multiples of this.
const BLOCK_BYTES: usize = 512;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Record {
    /// A file begins, or a run: the provider's orders follow.
    Begin {
        /// The run.
        epoch: u64,
        /// The shard that writes.
        shard: u8,
        /// Whose orders.
        provider: ProviderId,
    },
    /// An order that is about to be sent.
    Intent(Order),
    /// What is known of an order, after something changed.
    Progress {
        /// The order.
        wire_id: ClientOrderId,
        /// Who ended it, if it ended.
        origin: Origin,
        /// Where it stands.
        life: Life,
        /// The execution that changed it; empty if none did.
        execution_id: ExecutionId,
    },
    /// A client order id that must not be used again though its order is no longer kept.
    Used {
        /// By whom.
        consumer: ConsumerId,
        /// The id.
        id: ClientOrderId,
    },
}

const BEGIN: u8 = 1;
const INTENT: u8 = 2;
const PROGRESS: u8 = 3;
const USED: u8 = 4;

/// Appends the bytes of a record.
pub fn append(record: &Record, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    match record {
        Record::Begin { epoch, shard, provider } => {
            out.extend_from_slice(&[BEGIN, JOURNAL_VERSION, *shard, provider.0]);
            out.extend_from_slice(&epoch.to_le_bytes());
        }
        Record::Intent(order) => {
            out.extend_from_slice(&[INTENT, order.side as u8, order.kind as u8, order.time_in_force as u8]);
            out.extend_from_slice(&[u8::from(order.post_only), order.provider.0]);
            out.extend_from_slice(&order.consumer.0.to_le_bytes());
            out.extend_from_slice(&order.instrument.0.to_le_bytes());
            out.extend_from_slice(&order.listing.0.to_le_bytes());
            out.extend_from_slice(&order.price.0.to_le_bytes());
            out.extend_from_slice(&order.decision.0.to_le_bytes());
            out.extend_from_slice(&order.trace.line().0.to_le_bytes());
            out.extend_from_slice(&order.trace.frame().to_le_bytes());
            text(order.client_order_id.as_bytes(), out);
            text(order.wire_id.as_bytes(), out);
            put_life(&order.life, out);
        }
        Record::Progress { wire_id, origin, life, execution_id } => {
            out.extend_from_slice(&[PROGRESS, *origin as u8]);
            text(wire_id.as_bytes(), out);
            text(execution_id.as_bytes(), out);
            put_life(life, out);
        }
        Record::Used { consumer, id } => {
            out.push(USED);
            out.extend_from_slice(&consumer.0.to_le_bytes());
            text(id.as_bytes(), out);
        }
    }
    let body = &out[start + HEAD_BYTES..];
    let (length, checksum) = (body.len() as u32, crc32fast::hash(body));
    assert!(body.len() <= RECORD_BYTES_MAX - HEAD_BYTES, "a record fits its largest size");
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
}

fn text(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

fn put_life(life: &Life, out: &mut Vec<u8>) {
    out.push(life.state.map_or(0, |state| state as u8));
    out.extend_from_slice(&[life.decimals.price, life.decimals.qty, life.fees.decimals]);
    for number in [life.qty.0, life.cum_qty.0, life.executed_qty.0, life.fees.mantissa] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&life.cum_quote.to_le_bytes());
    out.extend_from_slice(&life.executed_quote.to_le_bytes());
    text(life.venue_order_id.as_bytes(), out);
}

/// How a journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// With a whole record, or padding.
    Clean,
    /// Within a record: the process or the host died while it was written. Cut the file at `at`.
    Torn {
        /// Offset of the first byte that is no whole record.
        at: usize,
    },
    /// Bytes in the middle are damaged: whole records follow. Those were not lost in a crash; somebody must look.
    Damaged {
        /// Offset of the first byte that is no whole record.
        at: usize,
        /// Offset of a whole record after it.
        resumes_at: usize,
    },
}

/// Reads a journal's records from its bytes.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    tail: Option<Tail>,
}

impl<'a> Records<'a> {
    /// From the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, tail: None }
    }

    /// How it ended, once [`next`](Iterator::next) has said `None`.
    pub const fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// Offset behind the record that came last.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Goes on after damage.
    pub const fn resume(&mut self, at: usize) {
        self.at = at;
        self.tail = None;
    }

    fn record_at(&self, at: usize) -> Option<(Record, usize)> {
        let rest = self.bytes.get(at..)?;
        let (head, rest) = rest.split_at_checked(HEAD_BYTES)?;
        let length = u32::from_le_bytes(*head.first_chunk()?) as usize;
        let checksum = u32::from_le_bytes(*head.last_chunk()?);
        if length == 0 || length > RECORD_BYTES_MAX - HEAD_BYTES {
            return None;
        }
        let body = rest.get(..length)?;
        if crc32fast::hash(body) != checksum {
            return None;
        }
        Some((decode(body)?, at + HEAD_BYTES + length))
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if self.tail.is_some() {
            return None;
        }
        if let Some((record, next)) = self.record_at(self.at) {
            self.at = next;
            return Some(record);
        }
        // A record's length is never 0, and the lowest byte comes first: a zero here is padding.
        let padding = self.bytes[self.at..].iter().take_while(|&&byte| byte == 0).count();
        let after = self.at + padding;
        if after == self.bytes.len() {
            self.tail = Some(Tail::Clean);
            return None;
        }
        if padding > 0
            && let Some((record, next)) = self.record_at(after)
        {
            self.at = next;
            return Some(record);
        }
        let at = self.at;
        let resumes_at = (at..self.bytes.len()).skip(1).find(|&offset| {
            // Whole records are looked for at block boundaries, and anywhere near: both are cheap next to a restart.
            (offset % BLOCK_BYTES == 0 || offset - at <= 4 * RECORD_BYTES_MAX)
                && self.record_at(offset).is_some()
        });
        self.tail = Some(match resumes_at {
            Some(resumes_at) => Tail::Damaged { at, resumes_at },
            None => Tail::Torn { at },
        });
        None
    }
}

/// Takes little endian fields off the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }

    fn i128(&mut self) -> Option<i128> {
        self.take().map(i128::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u8()?);
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn id(&mut self) -> Option<ClientOrderId> {
        ClientOrderId::parse(self.text()?).ok()
    }

    fn life(&mut self) -> Option<Life> {
        let state = match self.u8()? {
            0 => None,
            number => Some(ReportState::from_number(number)?),
        };
        let decimals = Decimals { price: self.u8()?, qty: self.u8()? };
        let fee_decimals = self.u8()?;
        let (qty, cum_qty, executed_qty) = (Qty(self.i64()?), Qty(self.i64()?), Qty(self.i64()?));
        let fees = Number { mantissa: self.i64()?, decimals: fee_decimals };
        let (cum_quote, executed_quote) = (self.i128()?, self.i128()?);
        let venue_order_id = VenueOrderId::new(self.text()?)?;
        let sane = qty.0 > 0 && (0..=qty.0).contains(&cum_qty.0) && (0..=qty.0).contains(&executed_qty.0);
        sane.then_some(Life {
            qty,
            decimals,
            state,
            cum_qty,
            cum_quote,
            executed_qty,
            executed_quote,
            fees,
            venue_order_id,
        })
    }
}

fn decode(body: &[u8]) -> Option<Record> {
    let mut fields = Fields(body);
    let record = match fields.u8()? {
        BEGIN => {
            if fields.u8()? != JOURNAL_VERSION {
                return None;
            }
            let (shard, provider) = (fields.u8()?, ProviderId(fields.u8()?));
            Record::Begin { epoch: fields.u64()?, shard, provider }
        }
        INTENT => {
            let side = if fields.u8()? == 0 { OrderSide::Buy } else { OrderSide::Sell };
            let kind = if fields.u8()? == 0 { OrderKind::Limit } else { OrderKind::Market };
            let time_in_force = match fields.u8()? {
                0 => TimeInForce::GoodTillCancelled,
                1 => TimeInForce::ImmediateOrCancel,
                2 => TimeInForce::FillOrKill,
                _ => return None,
            };
            let post_only = fields.u8()? == 1;
            let provider = ProviderId(fields.u8()?);
            let consumer = ConsumerId(fields.u16()?);
            let instrument = InstrumentId(fields.u16()?);
            let listing = Listing(fields.u16()?);
            let price = Price(fields.i64()?);
            let decision = DecisionId(fields.u64()?);
            let line = crate::ids::LineId(fields.u8()?);
            let trace = TraceId::new(line, fields.u64()?);
            let (client_order_id, wire_id) = (fields.id()?, fields.id()?);
            let life = fields.life()?;
            Record::Intent(Order {
                client_order_id,
                wire_id,
                consumer,
                provider,
                instrument,
                listing,
                side,
                kind,
                time_in_force,
                post_only,
                price,
                decision,
                trace,
                life,
            })
        }
        PROGRESS => {
            let origin = if fields.u8()? == 0 { Origin::Venue } else { Origin::Local };
            let wire_id = fields.id()?;
            let execution_id = Text::new(fields.text()?)?;
            Record::Progress { wire_id, origin, life: fields.life()?, execution_id }
        }
        USED => {
            let consumer = ConsumerId(fields.u16()?);
            Record::Used { consumer, id: fields.id()? }
        }
        _ => return None,
    };
    fields.0.is_empty().then_some(record)
}

const _: () = assert!(ID_BYTES_MAX < 256, "a text's length is one byte");

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        let id = |text: &str| ClientOrderId::parse(text.as_bytes()).expect("legal");
        let mut life = Life::new(Qty(1_000), Decimals { price: 2, qty: 8 });
        let order = Order {
            client_order_id: id("mine"),
            wire_id: id("m0thk7s00000000001"),
            consumer: ConsumerId(3),
            provider: ProviderId(1),
            instrument: InstrumentId(500),
            listing: Listing(7),
            side: OrderSide::Sell,
            kind: OrderKind::Limit,
            time_in_force: TimeInForce::FillOrKill,
            post_only: true,
            price: Price(6_421_010),
            decision: DecisionId(99),
            trace: TraceId::new(crate::ids::LineId(2), 12_345),
            life,
        };
        life.state = Some(ReportState::Partial);
        (life.cum_qty, life.executed_qty) = (Qty(400), Qty(300));
        (life.cum_quote, life.executed_quote) = (1 << 100, -5);
        life.fees = Number { mantissa: -7, decimals: 9 };
        life.venue_order_id = VenueOrderId::cut(b"a1b2c3d4-0000-4000-8000-000000000001");
        vec![
            Record::Begin { epoch: 1_783_000_000, shard: 4, provider: ProviderId(1) },
            Record::Intent(order),
            Record::Progress {
                wire_id: order.wire_id,
                origin: Origin::Local,
                life,
                execution_id: ExecutionId::cut(b"TAAAAA-BBBBB-CCCCCC"),
            },
            Record::Used { consumer: ConsumerId(9), id: id("old1") },
        ]
    }

    fn bytes_of(records: &[Record]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), vec![0]);
        for record in records {
            append(record, &mut bytes);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn read(bytes: &[u8]) -> (Vec<Record>, Option<Tail>) {
        let mut reader = Records::new(bytes);
        let found: Vec<Record> = reader.by_ref().collect();
        (found, reader.tail())
    }

    #[test]
    fn what_is_written_is_read() {
        let records = records();
        let (bytes, _) = bytes_of(&records);
        assert_eq!(read(&bytes), (records, Some(Tail::Clean)));
        assert_eq!(read(b""), (Vec::new(), Some(Tail::Clean)));
    }

    #[test]
    fn padding_between_records_is_skipped() {
        let records = records();
        let mut bytes = Vec::new();
        for record in &records {
            append(record, &mut bytes);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        assert_eq!(read(&bytes), (records, Some(Tail::Clean)));
    }

    #[test]
    fn a_journal_cut_anywhere_keeps_its_whole_records_and_says_where_to_cut() {
        let records = records();
        let (bytes, ends) = bytes_of(&records);
        for cut in 0..bytes.len() {
            let whole = ends.iter().rposition(|&end| end <= cut).expect("0 is an end");
            let tail = if ends[whole] == cut { Tail::Clean } else { Tail::Torn { at: ends[whole] } };
            assert_eq!(read(&bytes[..cut]), (records[..whole].to_vec(), Some(tail)), "cut at {cut}");
        }
    }

    #[test]
    fn damage_in_the_middle_is_not_taken_for_a_torn_tail() {
        let records = records();
        let (bytes, ends) = bytes_of(&records);
        for at in ends[1]..ends[2] {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x55;
            let mut reader = Records::new(&bytes);
            let before: Vec<Record> = reader.by_ref().collect();
            assert_eq!(before, records[..1], "byte {at}");
            assert_eq!(reader.tail(), Some(Tail::Damaged { at: ends[1], resumes_at: ends[2] }), "byte {at}");
            reader.resume(ends[2]);
            assert_eq!(reader.collect::<Vec<Record>>(), records[2..], "byte {at}");
        }
    }

    #[test]
    fn random_bytes_are_no_records_and_no_panic() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut bytes = vec![0; random.usize(0..2_000)];
            random.fill(&mut bytes);
            let (found, tail) = read(&bytes);
            assert!(found.is_empty() && tail.is_some(), "seed {seed}");
        }
    }
}
