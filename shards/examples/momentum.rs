//! An example strategy, on nothing but Meltica's public API: where does the book lean, and do trades follow?
//!
//! It shows the four things that every strategy meets: a book that can be trusted or not, numbers that stay exact, a hole
//! in the stream, and facts for the final report. A program of yours would register it by name,
//! `Registry::built_in(dir).with("momentum", |_| Ok(Box::new(|| Box::new(Momentum::default()))))`, and name it in the topology.
//!
//! Run it on a small generated session: `cargo run --example momentum`.

use std::sync::Arc;

use engine::book::Replica;
use engine::consumer::{Consumer, Context, Host, OnPanic};
use engine::decimal::{Decimals, Price, Qty};
use engine::event::{
    Body, BookReason, BookStatus, Event, Flags, Gap, GapReason, Header, Level, Parts, Proof, Side, Trade,
};
use engine::ids::{ConsumerId, ProviderId, StreamId};
use engine::time::{FixedClock, ReceiveTime};

/// The book leans when one side of the touch has more than this share of both, in thousandths.
const LEAN_PERMILLE: i128 = 700;

/// Where the book leans now, and what trades did while it leaned.
#[derive(Debug, Default)]
pub struct Momentum {
    lean: Option<Side>,
    /// Trades whose taker went the way the book leaned.
    pub followed: u64,
    /// Trades whose taker went against it.
    pub opposed: u64,
    /// Trades that came while there was no book to compare them with.
    pub unjudged: u64,
    /// Holes in its streams.
    pub gaps: u64,
    /// The microprice, times 10^decimals of the price.
    pub microprice: Option<i128>,
}

impl Momentum {
    /// No opinion until a proved book comes: after a hole, and whenever the book is not to be trusted.
    fn forget(&mut self) {
        (self.lean, self.microprice) = (None, None);
    }

    /// Weighs the best levels. All integers: 128 bits hold the product of any price and quantity, so nothing is rounded
    /// but the last division, and a replay gives the same answers on every machine.
    fn weigh(&mut self, bid: Level, ask: Level) {
        let (bid_qty, ask_qty) = (i128::from(bid.qty.0), i128::from(ask.qty.0));
        let both = bid_qty + ask_qty;
        if both <= 0 {
            return self.forget();
        }
        // A large bid pushes the price towards the ask, hence the crossed weights.
        let weighted = i128::from(bid.price.0) * ask_qty + i128::from(ask.price.0) * bid_qty;
        self.microprice = Some(weighted / both);
        self.lean = match bid_qty * 1_000 / both {
            share if share > LEAN_PERMILLE => Some(Side::Buy),
            share if share < 1_000 - LEAN_PERMILLE => Some(Side::Sell),
            _ => None,
        };
    }
}

impl Consumer for Momentum {
    // The event is borrowed for this call. To keep something of it, copy the fields you need: they are plain numbers.
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        match &event.body {
            Body::Trade(trade) => match self.lean {
                Some(side) if side == trade.taker_side => self.followed += 1,
                Some(_) => self.opposed += 1,
                None => self.unjudged += 1,
            },
            // The host has applied the event to the shard's copy of the book before this call. A long event comes in
            // parts; only behind the last one is the book one that the venue ever had.
            Body::BookSnapshot(_) | Body::BookUpdate(_) if event.completes() => {
                let book = context.book(event.header.provider, event.header.stream);
                let proved = book.filter(|book| book.status() == BookStatus::Proved).map(Replica::book);
                match proved.and_then(|book| Some((book.bids.best()?, book.asks.best()?))) {
                    Some((bid, ask)) => self.weigh(bid, ask),
                    None => self.forget(),
                }
            }
            // The book stopped being what the venue has; a snapshot will follow.
            Body::BookState { status, .. } if *status != BookStatus::Proved => self.forget(),
            // Events are missing, and the stream says so. What was concluded from "nothing happened" is void.
            Body::Gap(_) => {
                self.gaps += 1;
                self.forget();
            }
            _ => {}
        }
    }

    // Printed and written to the report when the run ends.
    fn summary(&self) -> Vec<(String, String)> {
        let Self { followed, opposed, unjudged, gaps, .. } = self;
        [("followed", followed), ("opposed", opposed), ("unjudged", unjudged), ("gaps", gaps)]
            .map(|(name, count)| (name.to_owned(), count.to_string()))
            .to_vec()
    }
}

/// Stream numbers of the generated session.
const TRADES: u32 = 0;
const BOOK: u32 = 1;

/// Runs the strategy over `events` on a host of its own, as a consumer shard does, and returns its summary.
pub fn run(events: &[Event]) -> Vec<(String, String)> {
    // A running gateway has the names of all streams in the catalog; this strategy needs none of them.
    let mut host = Host::new(Arc::default(), 8);
    let make = Box::new(|| -> Box<dyn Consumer> { Box::new(Momentum::default()) });
    let seat = host.add("momentum", ConsumerId(0), OnPanic::Disable, make);
    host.subscribe(seat, ProviderId(0), StreamId(TRADES), None);
    host.subscribe(seat, ProviderId(0), StreamId(BOOK), Some((50, 50))); // a copy of 50 levels a side
    for event in events {
        host.deliver(event, &mut FixedClock(event.header.receive_time));
    }
    host.stop(ReceiveTime::default());
    host.summaries().remove(0).1
}

/// A book that leans to buyers, trades, a hole, and a book again: what a venue may send.
pub fn session() -> Vec<Event> {
    let level = |price, qty| Level { price: Price(price), qty: Qty(qty) };
    let decimals = Decimals { price: 2, qty: 3 };
    let event = |stream, flags, body| {
        let header = Header { stream: StreamId(stream), flags, decimals, ..Header::default() };
        Event { header, body }
    };
    let book = |bid_qty, ask_qty| {
        let (bids, asks) = ([level(6_421_000, bid_qty)], [level(6_421_010, ask_qty)]);
        let mut parts = Parts::new(&bids, &asks, BookStatus::Proved, Proof::Continuity);
        let (flags, part) = parts.next().expect("two levels fit one part");
        event(BOOK, flags, Body::BookSnapshot(part))
    };
    let trade = |taker_side| {
        let trade = Trade { price: Price(6_421_010), qty: Qty(5), id: 1, taker_side };
        event(TRADES, Flags::WHOLE, Body::Trade(trade))
    };
    let gap = Body::Gap(Gap { from: 3, to: 4, event_count: 0, reason: GapReason::Sequence });
    let (status, proof, reason) = (BookStatus::Suspect, Proof::None, BookReason::SequenceGap);
    vec![
        trade(Side::Buy), // no book yet
        book(900, 100),
        trade(Side::Buy),
        trade(Side::Buy),
        trade(Side::Sell),
        event(TRADES, Flags::WHOLE, gap),
        trade(Side::Buy), // after the hole, before a new book
        book(100, 900),
        trade(Side::Sell),
        event(BOOK, Flags::WHOLE, Body::BookState { status, proof, reason }),
        trade(Side::Sell), // the book is suspect
        book(500, 500),
        trade(Side::Sell), // it leans nowhere
    ]
}

fn main() {
    for (name, value) in run(&session()) {
        println!("{name} {value}");
    }
}
