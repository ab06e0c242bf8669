//! Allocations of the pipeline, and of one that pools nothing, under SPEC's load: three venues' worth of 50 symbols,
//! 1,000 events a second for 30 minutes.
//!
//! The unpooled one decodes with the same decoder, but owns each frame's bytes, makes each raw anew, boxes each event and
//! clones the box for each consumer: what a straightforward design does. Pace does not matter to a count, so both run as fast
//! as they can, unless minutes are asked for: then they run beside each other for so long, at SPEC's pace.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bench::messages;
use bench::rig::{Rig, RigOptions, symbols};
use engine::channel::Channel;
use engine::directory::Directory;
use engine::event::{Body, Event, Flags, Header};
use engine::ids::{InstrumentId, ProviderId};
use engine::raw::{Content, Raw};
use engine::time::{FixedClock, ReceiveTime};
use engine::venue::Venue;
use engine::venue::binance::Binance;

/// Instruments.
pub const SYMBOLS: usize = 150;
/// 1,000 a second for 30 minutes.
pub const EVENTS: usize = EVENTS_PER_S as usize * 60 * 30;
/// SPEC's pace.
pub const EVENTS_PER_S: u32 = 1_000;
/// Consumers.
pub const CONSUMERS: usize = 3;
/// Frames of one read.
const BATCH: usize = 32;

/// What one of the two took.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Allocations.
    pub count: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// How fast events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As they can.
    Free,
    /// [`EVENTS_PER_S`], by the clock.
    Real,
}

impl Pace {
    /// Waits until it is time for what follows the first `events`.
    fn wait(self, began: Instant, events: u64) {
        let due = began + Duration::from_secs(events) / EVENTS_PER_S;
        if self == Self::Real {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

/// The frames of one round: a trade, best prices and an update of ten levels for each symbol, by turns.
fn round(names: &[String], number: u64, frames: &mut Vec<Vec<u8>>) {
    frames.clear();
    for name in names {
        frames.push(match number % 3 {
            0 => messages::binance_trade(name, number / 3 + 1),
            1 => messages::binance_best(name, number),
            _ => messages::binance_update_of(name, number / 3 + 1, 5),
        });
    }
}

const CHANNELS: [Channel; 3] = [Channel::Trade, Channel::Ticker, Channel::Book { speed_ms: 100 }];

/// The pipeline as it is, over `events` events after a warm-up.
pub fn pooled(events: usize, pace: Pace) -> Taken {
    let names = symbols(SYMBOLS);
    let list: Vec<&str> = names.iter().map(String::as_str).collect();
    let options = RigOptions { symbols: &list, channels: &CHANNELS, rings: CONSUMERS, ring_events: 1 << 12 };
    let mut rig = Rig::new(Binance::spot(), &options);
    let mut clock = FixedClock::default();
    for name in &names {
        let path = format!("/api/v3/depth?symbol={name}&limit=100");
        rig.rest(&path, &mut messages::binance_snapshot(0, 100), &mut clock);
    }
    rig.pipeline.flush(&mut clock, |_| ());
    rig.drain();
    let mut frames = Vec::new();
    let mut taken = Taken { count: 0, bytes: 0 };
    let warm = 30;
    let began = Instant::now();
    for number in 0..(events / SYMBOLS + warm) as u64 {
        pace.wait(began, number * SYMBOLS as u64);
        round(&names, number, &mut frames);
        let seen = allocation_counter::measure(|| {
            for batch in frames.chunks_mut(BATCH) {
                for frame in batch {
                    rig.frame(frame, ReceiveTime::default(), &mut clock);
                }
                rig.pipeline.flush(&mut clock, |_| ());
                rig.drain();
            }
        });
        if number >= warm as u64 {
            taken.count += seen.count_total;
            taken.bytes += seen.bytes_total;
        }
    }
    taken
}

/// The same without pools.
pub fn unpooled(events: usize, pace: Pace) -> Taken {
    let names = symbols(SYMBOLS);
    let mut directory = Directory::closed(ProviderId(0));
    for (number, name) in names.iter().enumerate() {
        let listing = directory.add(name, name, InstrumentId(number as u16)).expect("a symbol of ours fits");
        for channel in CHANNELS {
            directory.add_stream(listing, channel);
        }
    }
    let mut venue = Binance::spot();
    let mut queues: Vec<VecDeque<Box<Event>>> = vec![VecDeque::new(); CONSUMERS];
    let mut frames = Vec::new();
    let mut taken = Taken { count: 0, bytes: 0 };
    let warm = 30;
    let began = Instant::now();
    for number in 0..(events / SYMBOLS + warm) as u64 {
        pace.wait(began, number * SYMBOLS as u64);
        round(&names, number, &mut frames);
        let seen = allocation_counter::measure(|| {
            for batch in frames.chunks(BATCH) {
                for frame in batch {
                    let mut owned = frame.clone();
                    let mut raw = Raw::default();
                    decode(&mut venue, &mut owned, &mut directory, &mut raw);
                    for message in &raw.messages {
                        for event in events_of(&raw, message) {
                            for queue in &mut queues {
                                queue.push_back(event.clone());
                            }
                        }
                    }
                }
                for queue in &mut queues {
                    for event in queue.drain(..) {
                        std::hint::black_box(event);
                    }
                }
            }
        });
        if number >= warm as u64 {
            taken.count += seen.count_total;
            taken.bytes += seen.bytes_total;
        }
    }
    taken
}

fn decode(venue: &mut Binance, frame: &mut [u8], directory: &mut Directory, raw: &mut Raw) {
    while let Err(error) = venue.decode(frame, directory, raw) {
        let engine::raw::DecodeError::Wider { listing, decimals } = error else { panic!("{error}") };
        directory.widen(listing, decimals);
        raw.reset();
    }
}

/// The events of a message, each in a box of its own.
fn events_of(raw: &Raw, message: &engine::raw::Message) -> Vec<Box<Event>> {
    let header = Header {
        sequence_last: message.numbers.last,
        stream: message.stream,
        decimals: message.decimals,
        flags: Flags::WHOLE,
        ..Header::default()
    };
    let whole = |body| vec![Box::new(Event { header, body })];
    match &message.content {
        Content::Trade(trade) | Content::TradeBefore(trade) => whole(Body::Trade(*trade)),
        Content::Ticker(ticker) => whole(Body::Ticker(*ticker)),
        Content::Kline(kline, _) => whole(Body::Kline(*kline)),
        Content::Book(book) => engine::event::Parts::new(
            raw.bids_of(book),
            raw.asks_of(book),
            engine::event::BookStatus::Proved,
            engine::event::Proof::Continuity,
        )
        .map(|(flags, part)| {
            Box::new(Event { header: Header { flags, ..header }, body: Body::BookUpdate(part) })
        })
        .collect(),
    }
}
