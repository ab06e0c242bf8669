//! The form of a recording: what a file begins with, and the records after it. Knows no disk.
//!
//! ```text
//! file    magic "MELTICAR" | format u16 | event schema u16 | file index u32 | facts bytes u32 | facts (JSON) | crc u32
//! record  tag 4 | payload bytes u32 | event parts u32 | crc u32 over what stands before it and the payload | payload
//!   EVTS  events: each u16 length, then codec::encode_content and codec::encode_place
//!   LOST  event parts that are not in the file: count u64 (0: not known), first and last receive time u64
//!   ENDF  the file ends here: u8 (0 the next file follows, 1 the recording ends), parts in this file u64, lost in all u64
//! ```
//!
//! Little-endian. A file without an `ENDF` was cut: what stands before the cut is whole, since every record has its CRC.

use engine::catalog::{Catalog, ProviderFacts, StreamFacts};
use engine::codec;
use engine::event::{Event, SCHEMA_VERSION};
use engine::ids::InstrumentId;
use serde_json::{Value, json};

/// What every file begins with.
pub const MAGIC: &[u8; 8] = b"MELTICAR";
/// Version of this form.
pub const FORMAT_VERSION: u16 = 1;
/// Bytes before the facts.
pub const FILE_HEAD_BYTES: usize = 24;
/// Bytes before a record's payload.
pub const RECORD_HEAD_BYTES: usize = 16;
/// Longest facts that are read: 8192 streams of some hundred bytes, and as much again.
pub const FACTS_BYTES_MAX: usize = 4 << 20;
/// Longest payload of a record that is read; a writer's block is shorter.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Streams that a provider or a merge shard can have.
const STREAMS_MAX: usize = engine::merge::MERGED_STREAMS_MAX;
/// Ending of a recording's files.
pub const FILE_EXTENSION: &str = "rec";

/// Kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// Events.
    Events,
    /// Events that are not there.
    Lost,
    /// The end of the file.
    End,
}

impl Tag {
    const ALL: [(Self, [u8; 4]); 3] =
        [(Self::Events, *b"EVTS"), (Self::Lost, *b"LOST"), (Self::End, *b"ENDF")];

    const fn bytes(self) -> [u8; 4] {
        Self::ALL[self as usize].1
    }
}

/// Event parts that a recording does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// How many; 0 in a record: some, it is not known how many.
    pub parts: u64,
    /// Receive time of the first, in nanoseconds.
    pub first_receive_ns: u64,
    /// Receive time of the last, in nanoseconds.
    pub last_receive_ns: u64,
}

impl Lost {
    /// One more.
    pub fn add_event(&mut self, event: &Event) {
        let receive_ns = event.header.receive_time.ns();
        self.add(Self { parts: 1, first_receive_ns: receive_ns, last_receive_ns: receive_ns });
    }

    /// As many more.
    pub fn add(&mut self, later: Self) {
        if later.parts > 0 {
            let first = if self.parts == 0 { later.first_receive_ns } else { self.first_receive_ns };
            self.first_receive_ns = first;
            self.last_receive_ns = later.last_receive_ns;
            self.parts += later.parts;
        }
    }

    /// Whether nothing is lost.
    pub const fn is_none(&self) -> bool {
        self.parts == 0
    }

    /// The payload of a record.
    pub fn payload(&self) -> Vec<u8> {
        [self.parts, self.first_receive_ns, self.last_receive_ns]
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect()
    }

    /// From a record's payload.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_le_bytes(*payload.get(at..at + 8)?.first_chunk()?));
        Some(Self { parts: number(0)?, first_receive_ns: number(8)?, last_receive_ns: number(16)? })
    }
}

/// The last record of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The recording ends here; otherwise the next file follows.
    pub closed: bool,
    /// Event parts in this file.
    pub parts: u64,
    /// Event parts that the recording has lost until here.
    pub lost_parts: u64,
}

impl End {
    /// The payload of a record.
    pub fn payload(&self) -> Vec<u8> {
        let mut payload = vec![u8::from(self.closed)];
        payload.extend_from_slice(&self.parts.to_le_bytes());
        payload.extend_from_slice(&self.lost_parts.to_le_bytes());
        payload
    }

    /// From a record's payload.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let (closed, rest) = payload.split_first()?;
        let (parts, rest) = rest.split_first_chunk()?;
        let (parts, lost_parts) = (u64::from_le_bytes(*parts), u64::from_le_bytes(*rest.first_chunk()?));
        Some(Self { closed: *closed == 1, parts, lost_parts })
    }
}

/// Appends one event to a payload. Takes at most [`RECORDED_BYTES_MAX`].
#[inline]
pub fn put_event(event: &Event, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0, 0]);
    codec::encode_content(event, out);
    codec::encode_place(event, out);
    let length = (out.len() - start - 2) as u16;
    out[start..start + 2].copy_from_slice(&length.to_le_bytes());
}

/// Bytes of the longest recorded event.
pub const RECORDED_BYTES_MAX: usize = codec::EVENT_BYTES_MAX + 2;

/// Reads the events of a payload.
///
/// # Errors
/// The text says what is wrong: the CRC held, so it was written wrongly, or for another version.
pub fn events(mut payload: &[u8], mut take: impl FnMut(&Event)) -> Result<u64, String> {
    let mut count = 0;
    while let Some((length, rest)) = payload.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length));
        let (mut bytes, rest) = rest.split_at_checked(length).ok_or("an event ends beyond its record")?;
        let event = codec::decode(&mut bytes).map_err(|error| error.to_string())?;
        if !bytes.is_empty() {
            return Err(format!("{} bytes behind an event", bytes.len()));
        }
        // Readers keep a list by stream: a number that nobody gives out must not size it. What the control thread tells a
        // consumer is of no stream, and of no provider.
        if event.header.stream.index() >= STREAMS_MAX && !event.kind().is_critical() {
            return Err(format!(
                "an event of stream {}; there are {STREAMS_MAX} at most",
                event.header.stream.0
            ));
        }
        take(&event);
        count += 1;
        payload = rest;
    }
    if payload.is_empty() { Ok(count) } else { Err("a byte behind the last event".to_owned()) }
}

/// Writes a record's head into the first [`RECORD_HEAD_BYTES`] of `record`, whose rest is the payload.
pub fn seal(record: &mut [u8], tag: Tag, parts: u32) {
    let (head, payload) = record.split_at_mut(RECORD_HEAD_BYTES);
    head[..4].copy_from_slice(&tag.bytes());
    head[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    head[8..12].copy_from_slice(&parts.to_le_bytes());
    let crc = crc(&head[..12], payload);
    head[12..].copy_from_slice(&crc.to_le_bytes());
}

/// A record around a short payload.
pub fn record(tag: Tag, payload: &[u8]) -> Vec<u8> {
    let mut record = vec![0; RECORD_HEAD_BYTES];
    record.extend_from_slice(payload);
    seal(&mut record, tag, 0);
    record
}

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// Its kind.
    pub tag: Tag,
    /// Bytes that follow.
    pub payload_bytes: usize,
    /// Event parts in them.
    pub parts: u32,
    bytes: [u8; RECORD_HEAD_BYTES],
}

impl RecordHead {
    /// Reads one; `None` if it is none.
    pub fn read(bytes: [u8; RECORD_HEAD_BYTES]) -> Option<Self> {
        let tag = Tag::ALL.iter().find(|(_, tag)| bytes.starts_with(tag))?.0;
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (payload_bytes, parts) = (number(4) as usize, number(8));
        (payload_bytes <= PAYLOAD_BYTES_MAX).then_some(Self { tag, payload_bytes, parts, bytes })
    }

    /// Whether head and payload are as they were written.
    pub fn fits(&self, payload: &[u8]) -> bool {
        crc(&self.bytes[..12], payload).to_le_bytes() == self.bytes[12..]
    }
}

fn crc(head: &[u8], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head);
    crc.update(payload);
    crc.finalize()
}

/// What a file says of itself and of the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Place of the file in the recording, from 0.
    pub index: u32,
    /// Name of the recorder in the topology.
    pub recorder: String,
    /// When the run started, UTC.
    pub started_at: String,
    /// Version of the program.
    pub program: String,
    /// Receive time zero by the host's clock when the recording began, in nanoseconds since the Unix epoch; recordings of
    /// older programs do not have it. The two clocks drift apart by some 17 ppm.
    pub zero_unix_ns: Option<u64>,
    /// Names behind the numbers in events.
    pub catalog: Catalog,
}

impl FileFacts {
    /// The bytes of a file before its records.
    pub fn encode(&self) -> Vec<u8> {
        let stream = |facts: &StreamFacts| {
            json!([facts.symbol, facts.venue_symbol, facts.instrument.0, facts.channel.to_string()])
        };
        let provider = |facts: &ProviderFacts| {
            let streams: Vec<Value> = facts.streams.iter().map(stream).collect();
            json!({"name": facts.name, "venue": facts.venue, "streams": streams})
        };
        let providers: Vec<Value> = self.catalog.providers.iter().map(provider).collect();
        let facts = json!({
            "recorder": self.recorder,
            "started_at": self.started_at,
            "program": self.program,
            "zero_unix_ns": self.zero_unix_ns,
            "providers": providers,
            "symbols": self.catalog.symbols,
        });
        let facts = facts.to_string();
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&u16::from(SCHEMA_VERSION).to_le_bytes());
        bytes.extend_from_slice(&self.index.to_le_bytes());
        bytes.extend_from_slice(&(facts.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]); // for later versions
        assert_eq!(bytes.len(), FILE_HEAD_BYTES);
        bytes.extend_from_slice(facts.as_bytes());
        bytes.extend_from_slice(&crc(&bytes, &[]).to_le_bytes());
        bytes
    }

    /// Reads the facts of a head and the JSON behind it.
    pub(crate) fn decode(index: u32, json: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(json).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let stream = |value: &Value| {
            Some(StreamFacts {
                symbol: text(&value[0])?,
                venue_symbol: text(&value[1])?,
                instrument: InstrumentId(u16::try_from(value[2].as_u64()?).ok()?),
                channel: value[3].as_str()?.parse().ok()?,
            })
        };
        let provider = |value: &Value| {
            let streams = value["streams"].as_array()?.iter().map(stream).collect::<Option<_>>()?;
            Some(ProviderFacts { name: text(&value["name"])?, venue: text(&value["venue"])?, streams })
        };
        let providers = value["providers"].as_array()?.iter().map(provider).collect::<Option<_>>()?;
        let symbols = value["symbols"].as_array()?.iter().map(text).collect::<Option<_>>()?;
        Some(Self {
            index,
            recorder: text(&value["recorder"])?,
            started_at: text(&value["started_at"])?,
            program: text(&value["program"])?,
            zero_unix_ns: value["zero_unix_ns"].as_u64(),
            catalog: Catalog { providers, symbols },
        })
    }
}

/// Whether the CRC at the end of a file's head fits.
pub(crate) fn head_fits(head_and_facts: &[u8], crc_read: [u8; 4]) -> bool {
    crc(head_and_facts, &[]).to_le_bytes() == crc_read
}
