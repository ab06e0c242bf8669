//! What the tests of fair shares offer to a shard: events of one part or of several, and books of one level a side.

use engine::decimal::{Price, Qty};
use engine::dispatch::BookSource;
use engine::event::{Body, BookStatus, Event, Flags, Header, Level, Parts, Proof, Side, Trade};
use engine::ids::StreamId;
use engine::routing::Delivery;

/// Books of one level a side, so that a snapshot is one part, for the streams that have a book.
pub struct Books<'a>(pub &'a [Delivery]);

impl BookSource for Books<'_> {
    fn conflated(&mut self, stream: StreamId, _: usize, parts: &mut Vec<Event>) {
        parts.clear();
        if self.0[stream.index()] != Delivery::Book {
            return;
        }
        let level = Level { price: Price(1), qty: Qty(1) };
        for (flags, part) in Parts::new(&[level], &[level], BookStatus::Proved, Proof::Continuity) {
            let header = Header { stream, flags, ..Header::default() };
            parts.push(Event { header, body: Body::BookSnapshot(part) });
        }
    }
}

/// An event that is whole.
pub fn event(stream: usize, sequence: u64, book: bool) -> Event {
    let header = Header {
        stream: StreamId(stream as u32),
        sequence_first: sequence,
        sequence_last: sequence,
        flags: Flags::WHOLE,
        ..Header::default()
    };
    if book {
        let (_, part) =
            Parts::new(&[], &[], BookStatus::Proved, Proof::Continuity).next().expect("one part at least");
        return Event { header, body: Body::BookUpdate(part) };
    }
    let (price, qty) = (Price(1), Qty(1));
    Event { header, body: Body::Trade(Trade { price, qty, id: sequence, taker_side: Side::Buy }) }
}
