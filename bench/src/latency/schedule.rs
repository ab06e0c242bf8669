//! Which message leaves when: a fixed schedule, and numbers in the messages by which a reader finds the time that each
//! was meant to leave. Latency from there counts the waiting that a late sender would hide.
//!
//! Message `i` belongs to instrument `i % instruments`; of each instrument's messages every fifth is a book update, the
//! others are trades. Trade ids and update numbers of an instrument rise by one, as the venue's do, so that the gateway
//! proves what it gets.

use engine::event::{Body, Event, Flags};

use crate::messages;
use crate::wire;

/// Of this many messages of an instrument one is a book update.
const ROUNDS_PER_UPDATE: u64 = 5;
/// Numbers start here and have ten digits from then on, so that they are patched in place.
pub(crate) const FIRST_NUMBER: u64 = 1_000_000_000;
/// Digits of a number.
const DIGITS: usize = 10;
/// Different updates of one instrument, sent in turn under new numbers.
const UPDATES: usize = 32;
/// Levels a side of one update.
const UPDATE_LEVELS: usize = 5;

/// The number of the snapshot that the first update follows.
pub const SNAPSHOT_NUMBER: u64 = FIRST_NUMBER - 1;

/// When messages are meant to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Instruments that take turns.
    pub instruments: u64,
    /// Messages a second, over all of them.
    pub rate: u64,
}

impl Schedule {
    /// Nanoseconds from the schedule's begin to the moment that message `index` is meant to leave.
    #[inline]
    pub const fn due_ns(&self, index: u64) -> u64 {
        (index as u128 * 1_000_000_000 / self.rate as u128) as u64
    }

    /// How many messages are due `elapsed_ns` after the begin.
    #[inline]
    pub const fn due_count(&self, elapsed_ns: u64) -> u64 {
        (elapsed_ns as u128 * self.rate as u128 / 1_000_000_000) as u64 + 1
    }

    /// The message that an event came from; `None` for what no message of the schedule makes, and for all but the last part
    /// of an update.
    #[inline]
    pub fn index_of(&self, event: &Event) -> Option<u64> {
        let instrument = u64::from(event.header.instrument.0);
        let round = match &event.body {
            Body::Trade(trade) => {
                let trade = trade.id.checked_sub(FIRST_NUMBER)?;
                trade + trade / (ROUNDS_PER_UPDATE - 1)
            }
            Body::BookUpdate(_) if event.header.flags.has(Flags::LAST) => {
                let update = event.header.sequence_last.checked_sub(FIRST_NUMBER)?;
                update * ROUNDS_PER_UPDATE + ROUNDS_PER_UPDATE - 1
            }
            _ => return None,
        };
        Some(round * self.instruments + instrument)
    }
}

/// A frame whose numbers are written anew each time.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    /// Where the number's digits stand.
    places: Vec<usize>,
}

impl Template {
    /// Of a message with [`FIRST_NUMBER`] in it.
    pub(crate) fn new(payload: &[u8]) -> Self {
        let bytes = wire::text(payload);
        let number = FIRST_NUMBER.to_string();
        let is_number = |window: &[u8]| window == number.as_bytes();
        let places =
            bytes.windows(DIGITS).enumerate().filter(|(_, window)| is_number(window)).map(|(at, _)| at);
        Self { places: places.collect(), bytes }
    }

    /// Bytes of the frame.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the frame with `number` in it.
    pub(crate) fn write(&self, number: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        for place in &self.places {
            let mut left = number;
            for digit in out[start + place..start + place + DIGITS].iter_mut().rev() {
                *digit = b'0' + (left % 10) as u8;
                left /= 10;
            }
        }
    }
}

/// The frames of a schedule.
#[derive(Clone, Debug)]
pub struct Frames {
    schedule: Schedule,
    trades: Vec<Template>,
    updates: Vec<Vec<Template>>,
}

impl Frames {
    /// Frames for these venue symbols, as many as the schedule has instruments.
    pub fn new(schedule: Schedule, symbols: &[String]) -> Self {
        assert_eq!(symbols.len() as u64, schedule.instruments, "one symbol an instrument");
        let trade = |symbol: &String| Template::new(&messages::binance_trade(symbol, FIRST_NUMBER));
        let update = |symbol: &str, turn: usize| {
            let changes = messages::binance_changes(turn as u64, UPDATE_LEVELS);
            let (bids, asks) = (&changes.0, &changes.1);
            Template::new(&messages::binance_update(symbol, FIRST_NUMBER, FIRST_NUMBER, bids, asks))
        };
        Self {
            schedule,
            trades: symbols.iter().map(trade).collect(),
            updates: symbols
                .iter()
                .map(|symbol| (0..UPDATES).map(|turn| update(symbol, turn)).collect())
                .collect(),
        }
    }

    /// Appends message `index` as a frame.
    pub fn write(&self, index: u64, out: &mut Vec<u8>) {
        let instrument = (index % self.schedule.instruments) as usize;
        let round = index / self.schedule.instruments;
        let updates = round / ROUNDS_PER_UPDATE;
        if round % ROUNDS_PER_UPDATE == ROUNDS_PER_UPDATE - 1 {
            let turn = updates as usize % UPDATES;
            self.updates[instrument][turn].write(FIRST_NUMBER + updates, out);
        } else {
            self.trades[instrument].write(FIRST_NUMBER + round - updates, out);
        }
    }

    /// The longest frame, in bytes.
    pub fn bytes_max(&self) -> usize {
        let all = self.trades.iter().chain(self.updates.iter().flatten());
        all.map(|template| template.bytes.len()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use engine::channel::Channel;
    use engine::frame::{Frame, FrameReader};
    use engine::time::ReceiveTime;
    use engine::venue::binance::Binance;

    use super::*;
    use crate::rig::{Rig, RigOptions, symbols};

    /// No stage is looked at.
    struct Deaf;

    impl engine::time::Clock for Deaf {
        fn now(&self) -> ReceiveTime {
            ReceiveTime::from_ns(1)
        }
    }

    impl engine::probe::Probe for Deaf {
        fn stage(&mut self, _: engine::probe::PathStage, _: u64) {}
        fn handler(&mut self, _: usize, _: u64) {}
    }

    #[test]
    fn the_gateway_finds_each_message_again_in_its_turn_and_proves_its_book() {
        let names = symbols(3);
        let names_of: Vec<&str> = names.iter().map(String::as_str).collect();
        let schedule = Schedule { instruments: 3, rate: 1_000 };
        let frames = Frames::new(schedule, &names);
        let channels: [Channel; 2] = ["trade".parse().expect("ours"), "book".parse().expect("ours")];
        let options = RigOptions { symbols: &names_of, channels: &channels, rings: 1, ring_events: 1 << 14 };
        let mut rig = Rig::new(Binance::spot(), &options);
        let mut reader = FrameReader::new(64 << 10, 64 << 10);
        let mut seen = Vec::new();
        for index in 0..600 {
            let mut bytes = Vec::new();
            frames.write(index, &mut bytes);
            assert!(bytes.len() <= frames.bytes_max());
            reader.feed(&bytes);
            let Ok(Some(Frame::Text(text))) = reader.next() else { panic!("{index} is no text") };
            rig.frame(text, ReceiveTime::from_ns(1), &mut Deaf);
            if index == 20 {
                for name in &names {
                    let path = format!("/api/v3/depth?symbol={name}&limit=1000");
                    let mut body = messages::binance_snapshot(SNAPSHOT_NUMBER, 1_000);
                    rig.rest(&path, &mut body, &mut Deaf);
                }
            }
            rig.pipeline.flush(&mut Deaf, |_| ());
            rig.receivers[0].drain(usize::MAX, |event| {
                assert!(!matches!(event.body, Body::Gap(_)), "{event:?}");
                seen.extend(schedule.index_of(event));
            });
        }
        // An update before the snapshot came with it, and not in its turn.
        seen.sort_unstable();
        assert_eq!(seen, (0..600).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_due_by_count_is_due_by_time() {
        for rate in [1, 7, 1_000, 50_000, 999_983] {
            let schedule = Schedule { instruments: 1, rate };
            for index in [0, 1, 2, 10, 12_345, 1_000_000] {
                let due_ns = schedule.due_ns(index);
                assert!(schedule.due_count(due_ns + 1) > index, "{index} at {rate}");
                assert!(due_ns == 0 || schedule.due_count(due_ns - 1) <= index, "{index} at {rate}");
            }
        }
    }
}
