//! Panics, restarts, requests, routing versions and newcomers.

use super::seat::RESTART_PAUSE_NS;
use super::*;
use crate::channel::Channel;
use crate::control::{Ask, Request, Wanted};
use crate::time::{Clock, FixedClock};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

type Seen = Rc<RefCell<Vec<(u16, u64)>>>;

/// Notes what it gets and panics on one sequence.
struct Noter {
    seen: Seen,
    id: u16,
    panics_on: u64,
}

impl Consumer for Noter {
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        assert_eq!(context.consumer(), ConsumerId(self.id));
        assert!(event.header.sequence_last != self.panics_on, "this is the panic that the test asks for");
        self.seen.borrow_mut().push((self.id, event.header.sequence_last));
    }
}

fn host(on_panic: OnPanic) -> (Host, Seen) {
    let seen = Seen::default();
    let mut host = Host::new(Arc::new(Catalog::default()), 8);
    for (id, panics_on) in [(0, 2), (1, 0)] {
        let seen = Rc::clone(&seen);
        let make: MakeConsumer = Box::new(move || Box::new(Noter { seen: Rc::clone(&seen), id, panics_on }));
        let seat = host.add(&format!("noter{id}"), ConsumerId(id), on_panic, make);
        host.subscribe(seat, ProviderId(0), StreamId(3), None);
    }
    (host, seen)
}

fn deliver(host: &mut Host, sequence: u64, at_ns: u64) {
    let mut event = Event::default();
    event.header.stream = StreamId(3);
    event.header.sequence_last = sequence;
    let mut clock = FixedClock(ReceiveTime::from_ns(at_ns));
    host.deliver(&event, &mut clock);
    host.batch_end(1, ReceiveTime::from_ns(at_ns));
}

#[test]
fn a_panic_takes_down_one_consumer_and_nobody_else() {
    let (mut host, seen) = host(OnPanic::Disable);
    for sequence in 1..=3 {
        deliver(&mut host, sequence, sequence);
    }
    assert_eq!(*seen.borrow(), [(0, 1), (1, 1), (1, 2), (1, 3)]);
    let states: Vec<_> =
        host.seats().map(|(_, counts, up)| (counts.panics_total, counts.missed_total, up)).collect();
    assert_eq!(states, [(1, 1, false), (0, 0, true)]);
    assert_eq!(host.letters.iter().next().map(|letter| letter.consumer), Some(Some(ConsumerId(0))));
}

#[test]
fn a_consumer_that_panicked_comes_back_after_its_pause() {
    let (mut host, seen) = host(OnPanic::Restart);
    deliver(&mut host, 2, 1);
    deliver(&mut host, 3, 2);
    host.batch_end(0, ReceiveTime::from_ns(1 + RESTART_PAUSE_NS));
    deliver(&mut host, 4, RESTART_PAUSE_NS + 2);
    assert_eq!(*seen.borrow(), [(1, 2), (1, 3), (0, 4), (1, 4)]);
}

#[test]
fn a_consumer_that_panics_while_it_is_made_anew_takes_down_nobody() {
    let (mut host, seen) = host(OnPanic::Restart);
    let made = Rc::new(RefCell::new(0));
    let counted = Rc::clone(&made);
    let make: MakeConsumer = Box::new(move || {
        *counted.borrow_mut() += 1;
        assert!(*counted.borrow() != 2, "this is the panic that the test asks for");
        Box::new(Noter { seen: Seen::default(), id: 2, panics_on: 1 })
    });
    let seat = host.add("fragile", ConsumerId(2), OnPanic::Restart, make);
    host.subscribe(seat, ProviderId(0), StreamId(3), None);
    deliver(&mut host, 1, 1);
    deliver(&mut host, 3, 1 + RESTART_PAUSE_NS);
    let up = |host: &Host| host.seats().nth(2).map(|(_, counts, up)| (counts.panics_total, up));
    assert_eq!(up(&host), Some((2, false)));
    host.batch_end(0, ReceiveTime::from_ns(1 + 3 * RESTART_PAUSE_NS));
    assert_eq!((up(&host), *made.borrow()), (Some((2, true)), 3));
    assert_eq!(*seen.borrow(), [(0, 1), (1, 1), (0, 3), (1, 3)]);
}

/// Panics outside of events: in its timer, at a batch's end, or at the stop.
struct Outside(&'static str);

impl Outside {
    fn at(&self, place: &str) {
        assert!(self.0 != place, "this is the panic that the test asks for");
    }
}

impl Consumer for Outside {
    fn on_event(&mut self, _: &Event, _: &mut Context<'_>) {}

    fn on_batch_end(&mut self, _: &mut Context<'_>) {
        self.at("batch end");
    }

    fn timer_every_ns(&self) -> Option<u64> {
        Some(10)
    }

    fn on_timer(&mut self, _: &mut Context<'_>) {
        self.at("timer");
    }

    fn on_stop(&mut self, _: &mut Context<'_>) {
        self.at("stop");
    }
}

#[test]
fn a_panic_outside_of_an_event_has_a_dead_letter_that_names_the_consumer() {
    for (place, at_ns) in [("batch end", 1), ("timer", 11), ("stop", 20)] {
        let mut host = Host::new(Arc::new(Catalog::default()), 8);
        for (id, place) in [(0, "nowhere"), (1, place)] {
            let make: MakeConsumer = Box::new(move || Box::new(Outside(place)));
            let seat = host.add(&format!("outside{id}"), ConsumerId(id), OnPanic::Disable, make);
            host.subscribe(seat, ProviderId(0), StreamId(3), None);
        }
        deliver(&mut host, 1, 1);
        host.batch_end(0, ReceiveTime::from_ns(11));
        host.stop(ReceiveTime::from_ns(20));
        let letters = host.letters.iter();
        let letters: Vec<_> = letters
            .map(|letter| (letter.reason.name(), letter.at.ns(), letter.consumer, letter.stream))
            .collect();
        let expected = (DeadReason::HandlerPanicked.name(), at_ns, Some(ConsumerId(1)), None);
        assert_eq!(letters, [expected], "{place}");
        let panics: Vec<u64> = host.seats().map(|(_, counts, _)| counts.panics_total).collect();
        assert_eq!(panics, [0, 1], "{place}");
    }
}

/// A probe whose clock goes on by so much at each look.
struct Ticking(Cell<u64>, u64);

impl Clock for Ticking {
    fn now(&self) -> ReceiveTime {
        self.0.set(self.0.get() + self.1);
        ReceiveTime::from_ns(self.0.get())
    }
}

impl Probe for Ticking {
    fn stage(&mut self, _: PathStage, _: u64) {}

    fn handler(&mut self, _: usize, _: u64) {}
}

#[test]
fn a_turn_ends_when_one_consumer_has_used_its_share_and_the_count_says_whose() {
    let (mut host, _) = host(OnPanic::Disable);
    host.unsubscribe(1, ProviderId(0), StreamId(3));
    let share_ns = host.share_ns;
    let mut event = Event::default();
    event.header.stream = StreamId(3);
    let used = |host: &Host| host.seats().map(|(_, counts, _)| counts.share_used_total).collect::<Vec<_>>();
    // Handlers of 40 % of the share: the third one uses it up, the fourth changes nothing more.
    let mut clock = Ticking(Cell::new(0), share_ns * 2 / 5);
    for over in [false, false, true, true] {
        event.header.sequence_last += 10;
        host.deliver(&event, &mut clock);
        assert_eq!(host.is_turn_over(), over);
    }
    assert_eq!(used(&host), [1, 0]);
    host.begin_turn();
    assert!(!host.is_turn_over());
    host.deliver(&event, &mut clock);
    assert_eq!((host.is_turn_over(), used(&host)), (false, vec![1, 0]));
}

/// Asks for things and notes the kinds that it is shown.
struct Asker(Shown);

/// Kinds and routing versions.
type Shown = Rc<RefCell<Vec<(&'static str, u32)>>>;

impl Consumer for Asker {
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        self.0.borrow_mut().push((event.kind().name(), event.header.routing_version));
        let wanted = Wanted::new(ProviderId(0), "ETH-USDT", Channel::Trade).expect("a short symbol");
        let _ = context.subscribe(wanted);
        let _ = context.set_trading(false);
    }

    fn skips_stale(&self) -> bool {
        true
    }
}

fn asker() -> (Host, Shown) {
    let seen = Rc::default();
    let mut host = Host::new(Arc::new(Catalog::default()), 8);
    let shared = Rc::clone(&seen);
    let make: MakeConsumer = Box::new(move || Box::new(Asker(Rc::clone(&shared))));
    host.add("asker", ConsumerId(7), OnPanic::Disable, make);
    host.subscribe(0, ProviderId(0), StreamId(3), Some((5, 5)));
    (host, seen)
}

#[test]
fn a_request_waits_until_the_shard_takes_it() {
    let (mut host, _) = asker();
    deliver(&mut host, 1, 1);
    let asked: Vec<Request> = std::iter::from_fn(|| host.requests_mut().poll()).collect();
    assert_eq!(
        asked.iter().map(|request| (request.number, request.consumer)).collect::<Vec<_>>(),
        [(1, ConsumerId(7)), (2, ConsumerId(7))]
    );
    assert_eq!(asked[1].ask, Ask::Trading(false));
}

#[test]
fn market_data_of_an_older_version_is_skipped_and_nothing_else() {
    use crate::event::control::{Command, ControlAck};
    let (mut host, seen) = asker();
    host.begin_version(0, ProviderId(0), 5);
    let trade = crate::event::Trade {
        price: crate::decimal::Price(1),
        qty: crate::decimal::Qty(1),
        id: 1,
        taker_side: crate::event::Side::Buy,
    };
    let gap = Event::default().body;
    let ack = Body::ControlAck(ControlAck { request: 1, command: Command::Subscribe });
    for (version, body) in [(4, Body::Trade(trade)), (4, gap), (4, ack), (5, Body::Trade(trade))] {
        let mut event = Event { body, ..Event::default() };
        (event.header.stream, event.header.routing_version) = (StreamId(3), version);
        host.deliver(&event, &mut FixedClock::default());
    }
    assert_eq!(*seen.borrow(), [("Gap", 4), ("ControlAck", 4), ("Trade", 5)]);
    assert_eq!(host.seats().next().map(|(_, counts, _)| counts.stale_skipped_total), Some(1));
}

#[test]
fn a_newcomer_to_a_running_book_begins_with_a_snapshot_that_nobody_else_sees() {
    let (mut host, first) = asker();
    let second = Rc::default();
    let shared = Rc::clone(&second);
    let make: MakeConsumer = Box::new(move || Box::new(Asker(Rc::clone(&shared))));
    let seat = host.add("late", ConsumerId(8), OnPanic::Disable, make);
    let clock = &mut FixedClock::default();
    host.subscribe(seat, ProviderId(0), StreamId(3), Some((5, 5)));
    host.welcome(seat, (ProviderId(0), StreamId(3)), 5, 7, clock);
    assert!(second.borrow().is_empty(), "there is no book yet");
    host.unsubscribe(seat, ProviderId(0), StreamId(3));
    let level = Level { price: crate::decimal::Price(5), qty: crate::decimal::Qty(1) };
    let (flags, part) =
        Parts::new(&[level], &[], crate::event::BookStatus::Proved, crate::event::Proof::Continuity)
            .next()
            .expect("one part");
    let header = Header { stream: StreamId(3), flags, ..Header::default() };
    host.deliver(&Event { header, body: Body::BookSnapshot(part) }, clock);
    host.subscribe(seat, ProviderId(0), StreamId(3), Some((5, 5)));
    host.welcome(seat, (ProviderId(0), StreamId(3)), 5, 7, clock);
    assert_eq!(*second.borrow(), [("BookSnapshot", 7)]);
    assert_eq!(first.borrow().len(), 1);
    // A deeper one, whose snapshot has not come here yet.
    host.subscribe_under(seat, ProviderId(0), StreamId(3), Some((10, 10)), 8);
    host.welcome(seat, (ProviderId(0), StreamId(3)), 10, 9, clock);
    assert_eq!(second.borrow().len(), 1);
    for (version, shown) in [(7, 2), (8, 4)] {
        let header = Header { routing_version: version, ..header };
        host.deliver(&Event { header, body: Body::BookSnapshot(part) }, clock);
        host.welcome(seat, (ProviderId(0), StreamId(3)), 10, 9, clock);
        assert_eq!(second.borrow().len(), shown, "version {version}");
    }
}

#[test]
fn a_stream_that_nobody_wants_is_shown_to_nobody() {
    let (mut host, seen) = host(OnPanic::Disable);
    let mut event = Event::default();
    event.header.stream = StreamId(9);
    host.deliver(&event, &mut FixedClock::default());
    host.unsubscribe(1, ProviderId(0), StreamId(3));
    deliver(&mut host, 1, 1);
    assert_eq!(*seen.borrow(), [(0, 1)]);
}

/// Counts what it gets, and panics when it is asked what that was.
struct Counter(Seen, u16);

impl Consumer for Counter {
    fn on_event(&mut self, event: &Event, _: &mut Context<'_>) {
        self.0.borrow_mut().push((self.1, event.header.sequence_last));
    }

    fn summary(&self) -> Vec<(String, String)> {
        panic!("this is the panic that the test asks for");
    }
}

#[test]
fn fifty_consumers_get_every_event_in_order_and_none_takes_the_report_of_the_others() {
    let seen = Seen::default();
    let mut host = Host::new(Arc::new(Catalog::default()), 8);
    for id in 0..50 {
        let seen = Rc::clone(&seen);
        let make: MakeConsumer = Box::new(move || Box::new(Counter(Rc::clone(&seen), id)));
        let seat = host.add(&format!("counter{id}"), ConsumerId(id), OnPanic::Disable, make);
        host.subscribe(seat, ProviderId(0), StreamId(3), None);
    }
    for sequence in 1..=20 {
        deliver(&mut host, sequence, sequence);
    }
    let expected: Vec<_> = (1..=20).flat_map(|sequence| (0..50).map(move |id| (id, sequence))).collect();
    assert_eq!(*seen.borrow(), expected);
    let said = host.summaries();
    assert_eq!(said.len(), 50);
    assert_eq!(said[49].1, [("summary".to_owned(), "panicked".to_owned())]);
}
