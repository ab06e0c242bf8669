//! A provider's pipeline without sockets: frames in from memory, events out to rings.

use engine::channel::Channel;
use engine::directory::Directory;
use engine::dispatch::Dispatcher;
use engine::event::Event;
use engine::ids::{InstrumentId, LineId, ProviderId, ShardId};
use engine::pipeline::{FrameOutcome, Pipeline, PipelineOptions};
use engine::pools::PoolSizes;
use engine::probe::Probe;
use engine::ring::{Receiver, ring};
use engine::routing::{Delivery, Route};
use engine::sequence::Patience;
use engine::time::ReceiveTime;
use engine::venue::Venue;

/// What a rig is made of.
#[derive(Clone, Debug)]
pub struct RigOptions<'a> {
    /// Venue symbols.
    pub symbols: &'a [&'a str],
    /// Channels of each.
    pub channels: &'a [Channel],
    /// Rings, each of which gets every event.
    pub rings: usize,
    /// Events that a ring holds.
    pub ring_events: usize,
}

/// A pipeline and the receiving ends of its rings.
pub struct Rig<V: Venue> {
    /// The pipeline.
    pub pipeline: Pipeline<V>,
    /// One receiver a ring; a bench may take them to another thread.
    pub receivers: Vec<Receiver<Event>>,
}

/// Symbols that look like Binance's: `AAAUSDT`, `AABUSDT`, ...
pub fn symbols(count: usize) -> Vec<String> {
    let letter = |index: usize| char::from(b'A' + (index % 26) as u8);
    (0..count)
        .map(|index| format!("{}{}{}USDT", letter(index / 676), letter(index / 26), letter(index)))
        .collect()
}

impl<V: Venue> Rig<V> {
    /// A pipeline that knows its streams, as a live one does, and delivers each of them to every ring, losslessly.
    pub fn new(venue: V, options: &RigOptions) -> Self {
        let mut directory = Directory::closed(ProviderId(0));
        let mut dispatcher = Dispatcher::new(64);
        let mut receivers = Vec::new();
        for number in 0..options.rings {
            let (sender, receiver) = ring(options.ring_events);
            dispatcher.add_output(ShardId(number as u8), sender, 1 << 16);
            receivers.push(receiver);
        }
        for (number, symbol) in options.symbols.iter().enumerate() {
            let id = InstrumentId(number as u16);
            let listing = directory.add(symbol, symbol, id).expect("a symbol of ours fits");
            for &channel in options.channels {
                let stream = directory.add_stream(listing, channel);
                for output in 0..options.rings {
                    let route = Route { output, delivery: Delivery::Lossless, book_depth: usize::MAX };
                    dispatcher.routing.add(stream, route);
                }
            }
        }
        let options = PipelineOptions {
            pools: PoolSizes::SPEC,
            patience: Patience::SPEC,
            book_depth_max: 10_000,
            book_reserve: 10_000,
            book_waiting_max: 100,
            letters_max: 64,
            lines: 1,
            snapshot_levels: usize::MAX,
            fill_trades: false,
            share: (0, 1),
            route_all_to: None,
        };
        Self { pipeline: Pipeline::new(venue, directory, dispatcher, options), receivers }
    }

    /// One frame through the pipeline, as a shard's turn takes it. Events are staged, not published.
    ///
    /// # Panics
    /// If the frame cannot be decoded: a bench measures the path of data.
    #[inline]
    pub fn frame(&mut self, payload: &mut [u8], at: ReceiveTime, probe: &mut impl Probe) {
        self.pipeline.readiness(at);
        let outcome = self.pipeline.frame(LineId(0), payload, at, probe);
        assert!(matches!(outcome, FrameOutcome::Done), "{outcome:?}");
    }

    /// The body of an answer to a GET.
    ///
    /// # Panics
    /// If it cannot be decoded.
    pub fn rest(&mut self, path: &str, body: &mut [u8], probe: &mut impl Probe) {
        let outcome = self.pipeline.rest(path, body, ReceiveTime::default(), probe);
        assert!(matches!(outcome, FrameOutcome::Done), "{outcome:?}");
    }

    /// Takes everything off every ring and returns how many events that were.
    pub fn drain(&mut self) -> usize {
        self.receivers
            .iter_mut()
            .map(|receiver| {
                receiver.drain(usize::MAX, |event| {
                    std::hint::black_box(event);
                })
            })
            .sum()
    }
}
