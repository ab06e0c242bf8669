//! What a measurement sends, and when: messages made here at an even rate, or a recorded session at a multiple of its pace.
//!
//! A recorded session is one instrument of Binance Spot with trades, best prices and book updates, and the REST snapshot that
//! its recorder asked for. The first messages, to a few after the snapshot, leave at once; then nothing for
//! `PROOF_NS`, in which the gateway asks for that snapshot and proves its book; then the rest at the pace.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use engine::event::{Body, Event, Flags};
use shards::replay::{Origin, Session};

use super::schedule::{Frames, Schedule};
use crate::{capture, wire};

/// Recordings that are one session.
const FILES: [&str; 2] = ["binance/spot_btcusdt_20240808.tsv.gz", "binance/spot_btcusdt_20240809.tsv.gz"];
/// What they are of, as the venue spells it.
pub const RECORDED_SYMBOL: &str = "BTCUSDT";
/// Messages after the snapshot that leave with the first.
const AFTER_SNAPSHOT: usize = 16;
/// From the first messages to the rest.
const PROOF_NS: u64 = 1_000_000_000;

/// How fast a recording is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As fast as the gateway takes it. Latency from the intended time is then only the length of the queue.
    Line,
    /// So many times as fast as it was recorded.
    Times(u32),
}

impl std::fmt::Display for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line => f.write_str("line"),
            Self::Times(times) => write!(f, "{times}x"),
        }
    }
}

impl std::str::FromStr for Pace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "line" {
            return Ok(Self::Line);
        }
        let times = text.strip_suffix('x').and_then(|times| times.parse().ok()).filter(|times| *times > 0);
        times.map(Self::Times).ok_or_else(|| format!("{text}: `line`, or a multiple as `10x`"))
    }
}

/// A recorded session in memory.
#[derive(Debug)]
pub struct Recording {
    /// When each message was received, in nanoseconds after the first, and its frame.
    messages: Vec<(u64, Vec<u8>)>,
    /// The REST snapshot.
    pub snapshot: Vec<u8>,
    /// Messages before the snapshot and a few after it.
    first: usize,
}

impl Recording {
    /// The recordings of a Spot session; `None`, and a line that says so, where they are not there.
    ///
    /// # Errors
    /// If a recording cannot be read or is none of such a session.
    pub fn load() -> Result<Option<Self>, String> {
        let files: Vec<PathBuf> =
            capture::folder().iter().flat_map(|at| FILES.map(|file| at.join(file))).collect();
        if files.is_empty() || files.iter().any(|file| !file.is_file()) {
            eprintln!("SKIPPED: no recordings {}; set MELTICA_CAPTURES", FILES.join(", "));
            return Ok(None);
        }
        let mut session = Session::open(&files).map_err(|error| error.to_string())?;
        let (mut messages, mut snapshot, mut began_ns) = (Vec::new(), None, None);
        while let Some(line) = session.next_line().map_err(|error| error.to_string())? {
            match line.origin {
                Origin::WebSocket => {
                    let at_ns = line.receive_ns.saturating_sub(*began_ns.get_or_insert(line.receive_ns));
                    messages.push((at_ns, wire::text(line.payload)));
                }
                Origin::Rest(path) if path.contains("/depth") && snapshot.is_none() => {
                    snapshot = Some((messages.len() + AFTER_SNAPSHOT, line.payload.to_vec()));
                }
                Origin::Rest(_) => {}
            }
        }
        let (first, snapshot) = snapshot.ok_or("the recording has no snapshot of a book")?;
        Self { messages, snapshot, first }.checked().map(Some)
    }

    fn checked(self) -> Result<Self, String> {
        if self.messages.len() <= self.first {
            return Err("the recording ends with its snapshot".to_owned());
        }
        Ok(self)
    }

    /// What leaves at a pace within so many nanoseconds.
    pub fn at_pace(&self, pace: Pace, time_ns: u64) -> Recorded {
        let begin_ns = self.messages[self.first].0;
        let due_ns = |index: usize| match pace {
            _ if index < self.first => 0,
            Pace::Line => PROOF_NS,
            Pace::Times(times) => PROOF_NS + (self.messages[index].0 - begin_ns) / u64::from(times),
        };
        let last = (0..self.messages.len()).find(|&index| due_ns(index) > PROOF_NS + time_ns);
        let count = last.unwrap_or(self.messages.len());
        let mut made = Recorded {
            due_ns: (0..count).map(due_ns).collect(),
            frames: Vec::new(),
            of: HashMap::new(),
            first: self.first,
        };
        for (index, (_, frame)) in self.messages[..count].iter().enumerate() {
            made.frames.push(frame.clone());
            if let Some(key) = key_of_text(frame) {
                made.of.insert(key, index as u64);
            }
        }
        made
    }
}

/// By what a message is found again in its event: the channel, and the number that the venue gave it.
type Key = (u8, u64);

/// The key of a frame; `None` for one that makes no event of ours.
fn key_of_text(frame: &[u8]) -> Option<Key> {
    let text = String::from_utf8_lossy(frame);
    let number = |name: &str| -> Option<u64> {
        let digits = text.split_once(name)?.1;
        digits[..digits.find(|c: char| !c.is_ascii_digit())?].parse().ok()
    };
    let (_, rest) = text.split_once("\"stream\":\"")?;
    let channel = rest.split('"').next()?.split_once('@')?.1;
    match channel {
        "trade" => Some((0, number("\"t\":")?)),
        "bookTicker" => Some((1, number("\"u\":")?)),
        "depth@100ms" => Some((2, number("\"u\":")?)),
        _ => None,
    }
}

/// A recorded session at a pace.
#[derive(Debug)]
pub struct Recorded {
    due_ns: Vec<u64>,
    frames: Vec<Vec<u8>>,
    of: HashMap<Key, u64>,
    first: usize,
}

/// What is sent.
#[derive(Debug)]
pub enum Load {
    /// Made here.
    Made(Schedule, Frames),
    /// Recorded.
    Recorded(Recorded),
}

/// A load that readers and the sender share.
pub type SharedLoad = Arc<Load>;

impl Load {
    /// Messages of a recording, and those before the pace begins; `None` for what has no end of its own.
    pub fn recorded(&self) -> Option<(u64, u64)> {
        match self {
            Self::Made(..) => None,
            Self::Recorded(recorded) => Some((recorded.frames.len() as u64, recorded.first as u64)),
        }
    }

    /// From the begin to the moment that message `index` is meant to leave, in nanoseconds.
    #[inline]
    pub fn due_ns(&self, index: u64) -> u64 {
        match self {
            Self::Made(schedule, _) => schedule.due_ns(index),
            Self::Recorded(recorded) => recorded.due_ns.get(index as usize).copied().unwrap_or(u64::MAX),
        }
    }

    /// How many messages are due so long after the begin.
    #[inline]
    pub fn due_count(&self, elapsed_ns: u64) -> u64 {
        match self {
            Self::Made(schedule, _) => schedule.due_count(elapsed_ns),
            Self::Recorded(recorded) => {
                recorded.due_ns.partition_point(|&due_ns| due_ns <= elapsed_ns) as u64
            }
        }
    }

    /// The message that an event came from; `None` for what no message makes, and for all but the last part of an update.
    #[inline]
    pub fn index_of(&self, event: &Event) -> Option<u64> {
        match self {
            Self::Made(schedule, _) => schedule.index_of(event),
            Self::Recorded(recorded) => {
                let key = match &event.body {
                    Body::Trade(trade) => (0, trade.id),
                    Body::Ticker(_) => (1, event.header.sequence_last),
                    Body::BookUpdate(_) if event.header.flags.has(Flags::LAST) => {
                        (2, event.header.sequence_last)
                    }
                    _ => return None,
                };
                recorded.of.get(&key).copied()
            }
        }
    }

    /// Appends message `index` as a frame.
    pub fn write(&self, index: u64, out: &mut Vec<u8>) {
        match self {
            Self::Made(_, frames) => frames.write(index, out),
            Self::Recorded(recorded) => out.extend_from_slice(&recorded.frames[index as usize]),
        }
    }

    /// The longest frame, in bytes.
    pub fn bytes_max(&self) -> usize {
        match self {
            Self::Made(_, frames) => frames.bytes_max(),
            Self::Recorded(recorded) => recorded.frames.iter().map(Vec::len).max().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages;

    fn recording() -> Recording {
        let trade = |id: u64| (id * 1_000, wire::text(&messages::binance_trade(RECORDED_SYMBOL, id)));
        Recording { messages: (0..100).map(trade).collect(), snapshot: Vec::new(), first: 20 }
    }

    #[test]
    fn a_recording_waits_for_its_book_and_goes_on_at_the_pace() {
        let load = Load::Recorded(recording().at_pace(Pace::Times(10), 5_000));
        assert_eq!(load.recorded(), Some((71, 20)), "a twentieth microsecond a message, 5 us");
        assert_eq!(
            [0, 19, 20, 21, 70].map(|index| load.due_ns(index)),
            [0, 0, PROOF_NS, PROOF_NS + 100, PROOF_NS + 5_000]
        );
        assert_eq!(
            [0, PROOF_NS, PROOF_NS + 99, PROOF_NS + 100].map(|ns| load.due_count(ns)),
            [20, 21, 21, 22]
        );
        let line = Load::Recorded(recording().at_pace(Pace::Line, 0));
        assert_eq!((line.due_count(0), line.due_count(PROOF_NS)), (20, 100));
    }

    #[test]
    fn a_message_is_found_again_by_the_venues_number() {
        let (bids, asks) = messages::binance_changes(1, 2);
        let of = |payload: &[u8]| key_of_text(&wire::text(payload));
        assert_eq!(of(&messages::binance_trade("BTCUSDT", 77)), Some((0, 77)));
        assert_eq!(of(&messages::binance_best("BTCUSDT", 78)), Some((1, 78)));
        assert_eq!(of(&messages::binance_update("BTCUSDT", 70, 79, &bids, &asks)), Some((2, 79)));
        assert_eq!(of(br#"{"result":null,"id":1}"#), None);
    }

    #[test]
    fn paces_are_read_as_they_are_written() {
        for pace in [Pace::Line, Pace::Times(1), Pace::Times(100)] {
            assert_eq!(pace.to_string().parse(), Ok(pace));
        }
        for wrong in ["0x", "10", "x", "fast"] {
            assert!(wrong.parse::<Pace>().is_err(), "{wrong}");
        }
    }
}
