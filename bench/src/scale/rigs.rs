//! A provider, its rings and the consumers' hosts behind them, on one thread.

use std::sync::Arc;

use engine::catalog::Catalog;
use engine::channel::Channel;
use engine::consumer::{Consumer, Context, Host, OnPanic};
use engine::event::{Body, Event};
use engine::frame::{Frame, FrameReader};
use engine::ids::{ConsumerId, ProviderId, StreamId};
use engine::ring::STAGED_MAX;
use engine::time::{FixedClock, ReceiveTime};
use engine::venue::binance::Binance;

use super::feed::{Feed, Shape};
use crate::latency::schedule::SNAPSHOT_NUMBER;
use crate::messages;
use crate::rig::{Rig, RigOptions, symbols};

/// Consumer shards that one provider is given here at the most: a ring of 4,096 events each.
pub const RINGS_MAX: usize = 16;
/// Events that a ring holds.
const RING_EVENTS: usize = 4_096;

/// Counts what it is shown, as the smallest consumer.
#[derive(Debug, Default)]
struct Counter(u64);

impl Consumer for Counter {
    fn on_event(&mut self, event: &Event, _: &mut Context<'_>) {
        self.0 = self.0.wrapping_add(event.header.sequence_last);
    }
}

/// From bytes to handlers.
pub struct Whole {
    /// What is sent.
    pub feed: Feed,
    reader: FrameReader,
    rig: Rig<Binance>,
    hosts: Vec<Host>,
    clock: FixedClock,
    gaps: u64,
}

impl Whole {
    /// One provider with `instruments`, whose every event goes to `consumers`, divided between `shards`; books begin with
    /// `depth` levels a side.
    ///
    /// # Panics
    /// If there are more shards than consumers or than [`RINGS_MAX`].
    pub fn new(instruments: usize, shards: usize, consumers: usize, shape: Shape, depth: usize) -> Self {
        assert!(shards <= consumers.min(RINGS_MAX), "every shard has a consumer and a ring");
        let names = symbols(instruments);
        let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
        let channel = match shape {
            Shape::Trades => Channel::Trade,
            Shape::Updates { .. } => Channel::Book { speed_ms: 100 },
        };
        let channels = [channel];
        let options =
            RigOptions { symbols: &borrowed, channels: &channels, rings: shards, ring_events: RING_EVENTS };
        let mut hosts: Vec<Host> = (0..shards).map(|_| Host::new(Arc::new(Catalog::default()), 8)).collect();
        for number in 0..consumers {
            let host = &mut hosts[number % shards];
            let id = ConsumerId(number as u16);
            let seat = host.add("counter", id, OnPanic::Disable, Box::new(|| Box::new(Counter::default())));
            for stream in 0..instruments {
                let replica = channel.is_book().then_some((10_000, depth));
                host.subscribe(seat, ProviderId(0), StreamId(stream as u32), replica);
            }
        }
        let mut whole = Self {
            feed: Feed::new(shape, &names),
            reader: FrameReader::new(256 << 10, 4 << 20),
            rig: Rig::new(Binance::spot(), &options),
            hosts,
            clock: FixedClock(ReceiveTime::from_ns(1)),
            gaps: 0,
        };
        if channel.is_book() {
            let snapshot = messages::binance_snapshot(SNAPSHOT_NUMBER, depth);
            // One after another: updates that wait for their snapshot come out of one pool.
            let mut first = Vec::new();
            for name in &names {
                first.clear();
                whole.feed.write(1, &mut first);
                whole.turn(&first);
                let path = format!("/api/v3/depth?symbol={name}&limit=5000");
                whole.rig.rest(&path, &mut snapshot.clone(), &mut whole.clock);
                whole.publish();
            }
        }
        whole
    }

    /// Bytes of a message as it comes.
    pub fn message_bytes(&self) -> f64 {
        self.feed.message_bytes()
    }

    /// One read's bytes, to the last handler.
    ///
    /// # Panics
    /// If what we made ourselves is no good frame.
    pub fn turn(&mut self, mut bytes: &[u8]) {
        let at = self.clock.0;
        while !bytes.is_empty() {
            bytes = &bytes[self.reader.feed(bytes)..];
            while let Some(frame) = self.reader.next().expect("a good frame") {
                let Frame::Text(text) = frame else { panic!("a text") };
                if !self.rig.pipeline.dispatcher.has_room(STAGED_MAX) {
                    publish(&mut self.rig, &mut self.hosts, &mut self.clock, &mut self.gaps);
                }
                self.rig.frame(text, at, &mut self.clock);
            }
        }
        self.publish();
    }

    fn publish(&mut self) {
        publish(&mut self.rig, &mut self.hosts, &mut self.clock, &mut self.gaps);
    }

    /// Whether what was measured is what was meant: every message came, as what it is, to every shard. An update of which
    /// nothing is new for the book (it removes levels that are not there) is no event; of those there are few.
    ///
    /// # Panics
    /// If not.
    pub fn check(&self) {
        let counts = self.rig.pipeline.counts();
        assert_eq!(
            (self.gaps, counts.decode_errors_total, counts.gaps_total, counts.resyncs_total),
            (0, 0, 0, 0)
        );
        for host in &self.hosts {
            let (written, delivered) = (self.feed.written(), host.delivered_total());
            assert!(delivered * 10 >= written * 9, "{delivered} events of {written} messages");
        }
    }
}

fn publish(rig: &mut Rig<Binance>, hosts: &mut [Host], clock: &mut FixedClock, gaps: &mut u64) {
    rig.pipeline.flush(clock, |_| ());
    for (receiver, host) in rig.receivers.iter_mut().zip(hosts) {
        host.begin_turn();
        let count = receiver.drain(usize::MAX, |event| {
            *gaps += u64::from(matches!(event.body, Body::Gap(_)));
            host.deliver(event, clock);
        });
        host.batch_end(count, clock.0);
    }
}
