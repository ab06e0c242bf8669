//! Consumers that sleep, are slow, panic or block: their own shard pays, the others do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engine::consumer::{Consumer, Context};
use engine::event::{Body, Event, GapReason};

use crate::ledger::Observer;
use crate::rig::{ConsumerSpec, Rig, plain, venue};

/// Observes, and sleeps while told so.
#[derive(Clone)]
struct Sleeper {
    observer: Observer,
    asleep: Arc<AtomicBool>,
}

impl Consumer for Sleeper {
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        while self.asleep.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.observer.on_event(event, context);
    }
}

fn special(shard: &'static str) -> ConsumerSpec {
    ConsumerSpec { shard, kind: "special", ..ConsumerSpec::observer() }
}

#[test]
fn a_consumer_that_sleeps_loses_only_its_own_events_and_is_told_which() {
    let server = venue(1, 400.0);
    let sleeper = Sleeper { observer: Observer::default(), asleep: Arc::new(AtomicBool::new(false)) };
    let small = ConsumerSpec { ring_events: 512, spill_events: 512, book_depth: "50", ..special("sleepy") };
    let made = sleeper.clone();
    let mut rig = Rig::start(&[plain("one", &server)], &[ConsumerSpec::observer(), small], move |_| {
        Box::new(made.clone())
    });
    rig.wait_proved();
    sleeper.asleep.store(true, Ordering::Relaxed);
    rig.wait("drops", |rig| {
        rig.board.providers().any(|status| {
            status.outputs[..usize::from(status.output_count)]
                .iter()
                .any(|output| output.counts.dropped_total > 20 && output.counts.coalesced_total > 20)
        })
    });
    sleeper.asleep.store(false, Ordering::Relaxed);
    server.set_rate(20.0);
    rig.wait("the gaps in the sleeper's streams", |_| {
        let ledger = sleeper.observer.ledger();
        ledger.conflated_total > 0 && ledger.gaps.iter().any(|gap| gap.reason == GapReason::SlowConsumer)
    });
    rig.wait_equal(&server);
    assert_eq!(sleeper.observer.ledger().violations, Vec::<String>::new());
    let awake = rig.observer();
    assert_eq!(awake.ledger().gaps, [], "the other shard has everything");
    assert_eq!(awake.ledger().conflated_total, 0);
    let ended = rig.finish();
    for (shard, _, counts, _) in &ended.providers[0].outputs {
        let lost = counts.dropped_total + counts.coalesced_total;
        assert_eq!(lost > 0, shard.index() == 2, "shard {shard}: {counts:?}");
    }
}

/// Sleeps a little for each trade.
struct Slow(Duration);

impl Consumer for Slow {
    fn on_event(&mut self, event: &Event, _: &mut Context<'_>) {
        if matches!(event.body, Body::Trade(_)) {
            std::thread::sleep(self.0);
        }
    }
}

#[test]
fn a_slow_handler_is_named_and_timed() {
    let server = venue(1, 20.0);
    let mut rig = Rig::start(&[plain("one", &server)], &[special("slow")], |_| {
        Box::new(Slow(Duration::from_millis(20)))
    });
    rig.wait("a slow handler in the status", |rig| {
        rig.board.consumers().any(|shard| shard.seats[0].counts.busy_ns_max >= 20_000_000)
    });
    let ended = rig.finish();
    let consumer = &ended.consumers[0].consumers[0];
    assert_eq!(consumer["name"], "slow_special");
    assert!(consumer["counts"]["busy_ns_max"].as_u64().expect("a count") >= 20_000_000, "{consumer}");
}

#[test]
fn the_end_does_not_wait_for_all_that_a_slow_consumer_has_before_it() {
    let server = venue(1, 500.0);
    let mut rig = Rig::start(&[plain("one", &server)], &[special("slow")], |_| {
        Box::new(Slow(Duration::from_millis(100)))
    });
    rig.wait("a full ring", |rig| {
        rig.board.providers().any(|status| status.outputs[0].state.ring_depth >= 2_000)
    });
    let ended = rig.finish();
    assert!(ended.consumers[0].left_total > 0, "what it had before it is named, not handled");
}

#[test]
fn a_consumer_that_blocks_for_ever_does_not_keep_the_gateway_from_ending() {
    let server = venue(1, 50.0);
    let sleeper = Sleeper { observer: Observer::default(), asleep: Arc::new(AtomicBool::new(true)) };
    let made = sleeper.clone();
    let mut rig = Rig::start(&[plain("one", &server)], &[special("stuck")], move |_| Box::new(made.clone()));
    rig.wait("events before it", |rig| {
        rig.board.providers().any(|status| status.outputs[0].state.ring_depth > 10)
    });
    let began = Instant::now();
    let ended = rig.gateway.stop();
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "a hang, and no more than that, is what this guards against"
    );
    assert_eq!(ended.panicked.len(), 1);
    let (shard, reason) = &ended.panicked[0];
    assert_eq!(shard, "stuck");
    assert!(reason.contains("did not end"), "{reason}");
    sleeper.asleep.store(false, Ordering::Relaxed);
}

/// Panics on its n-th event.
struct Fragile(Arc<AtomicU64>);

impl Consumer for Fragile {
    fn on_event(&mut self, _: &Event, _: &mut Context<'_>) {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) != 100, "the hundredth event is too much");
    }
}

#[test]
fn a_consumer_that_panics_is_made_anew_and_the_others_go_on() {
    let server = venue(1, 50.0);
    let handled = Arc::new(AtomicU64::new(0));
    let made = Arc::clone(&handled);
    let fragile = ConsumerSpec { on_panic: "restart", ..special("fragile") };
    let mut rig = Rig::start(&[plain("one", &server)], &[ConsumerSpec::observer(), fragile], move |_| {
        Box::new(Fragile(Arc::clone(&made)))
    });
    rig.wait("events after the panic", |_| handled.load(Ordering::Relaxed) > 300);
    rig.wait("the count", |rig| {
        rig.board
            .consumers()
            .any(|shard| shard.seats[0].counts.panics_total == 1 && shard.seats[0].counts.restarts_total == 1)
    });
    rig.wait_equal(&server);
    let ended = rig.finish();
    assert_eq!(ended.consumers.iter().map(|shard| shard.panics_total).sum::<u64>(), 1);
}

/// Panics with something that panics again when it is dropped: the one way for a consumer to reach its shard's loop.
struct Bomber;

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("by design");
    }
}

impl Consumer for Bomber {
    fn on_event(&mut self, _: &Event, _: &mut Context<'_>) {
        std::panic::panic_any(Bomb);
    }
}

#[test]
fn a_shard_that_falls_is_named_and_the_others_hand_in_what_they_have() {
    let server = venue(1, 50.0);
    let specs = [ConsumerSpec::observer(), special("bombed")];
    let mut rig = Rig::start(&[plain("one", &server)], &specs, |_| Box::new(Bomber));
    let began = Instant::now();
    while rig.gateway.fallen().is_none() {
        rig.poll();
        assert!(began.elapsed() < crate::rig::WAIT_MAX, "nothing fell");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(rig.gateway.fallen().is_some_and(|name| name.contains("bombed")), "{:?}", rig.gateway.fallen());
    let ended = rig.gateway.stop();
    let [(shard, reason)] = &ended.panicked[..] else { panic!("{:?}", ended.panicked) };
    assert_eq!(shard, "bombed");
    assert!(reason.contains("by design"), "{reason}");
    // The provider's counters add up, and what it sent to the other shard was received there.
    assert_eq!(ended.providers[0].unbalanced(), None);
    assert_eq!(ended.providers[0].outstanding, Vec::<String>::new());
    let [watch] = &ended.consumers[..] else { panic!("one shard is left") };
    let outputs = ended.providers[0].outputs.iter();
    let sent = outputs.filter(|(to, ..)| to.index() == usize::from(watch.index));
    let sent: u64 = sent.map(|(_, state, ..)| state.pushed_total).sum();
    assert_eq!(sent, watch.received_total + watch.left_total);
}
