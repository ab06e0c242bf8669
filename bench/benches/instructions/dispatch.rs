//! Events to rings: 32 trades offered and published to 1, 4 and 16 of them, and the hop of 32 events over one ring.

use std::hint::black_box;

use engine::decimal::{Price, Qty};
use engine::dispatch::Dispatcher;
use engine::event::{Body, Event, Flags, Header, Side, Trade};
use engine::ids::{ShardId, StreamId};
use engine::ring::{Receiver, Sender, ring};
use engine::routing::{Delivery, Route};
use iai_callgrind::{library_benchmark, library_benchmark_group};

use crate::at_most;

/// A trade with all of its fields set.
pub fn trade(number: u64) -> Event {
    let header =
        Header { sequence_first: number, sequence_last: number, flags: Flags::WHOLE, ..Header::default() };
    let trade = Trade { price: Price(6_183_763), qty: Qty(2_000_000), id: number, taker_side: Side::Buy };
    Event { header, body: Body::Trade(trade) }
}

type Work = (Dispatcher, Vec<Receiver<Event>>, Vec<Event>);

fn dispatcher(rings: usize) -> Work {
    let mut dispatcher = Dispatcher::new(64);
    let mut receivers = Vec::new();
    for number in 0..rings {
        let (sender, receiver) = ring(1_024);
        let output = dispatcher.add_output(ShardId(number as u8), sender, 1_024);
        let route = Route { output, delivery: Delivery::Lossless, book_depth: usize::MAX };
        dispatcher.routing.add(StreamId(0), route);
        receivers.push(receiver);
    }
    dispatcher.reserve(StreamId(0));
    // Routes are counted at the first flush after they change, not per event.
    dispatcher.flush(&mut (), |_| {});
    (dispatcher, receivers, (0..32).map(trade).collect())
}

#[library_benchmark]
#[bench::of_32_to_1_ring(args = (1), setup = dispatcher, config = at_most(6300))]
#[bench::of_32_to_4_rings(args = (4), setup = dispatcher, config = at_most(20_870))]
#[bench::of_32_to_16_rings(args = (16), setup = dispatcher, config = at_most(79_160))]
fn dispatch((mut dispatcher, receivers, events): Work) -> Work {
    for event in &events {
        dispatcher.offer(std::slice::from_ref(black_box(event)));
    }
    dispatcher.flush(&mut (), |output| {
        black_box(output);
    });
    (dispatcher, receivers, events)
}

fn hop() -> (Sender<Event>, Receiver<Event>, Vec<Event>) {
    let (sender, receiver) = ring(1_024);
    (sender, receiver, (0..32).map(trade).collect())
}

#[library_benchmark]
#[bench::of_32_events(args = (), setup = hop, config = at_most(4140))]
fn ring_hop(
    (mut sender, mut receiver, events): (Sender<Event>, Receiver<Event>, Vec<Event>),
) -> (Sender<Event>, Receiver<Event>, Vec<Event>) {
    for event in &events {
        assert!(sender.has_room(1));
        sender.push(*black_box(event));
    }
    sender.publish();
    let taken = receiver.drain(64, |event| {
        black_box(event.header.sequence_last);
    });
    assert_eq!(taken, 32);
    (sender, receiver, events)
}

library_benchmark_group!(name = dispatch_group; benchmarks = dispatch, ring_hop);
