//! Nothing happens: everything arrives, once, and is true.

use crate::rig::{Rig, plain, venue};

#[test]
fn every_trade_comes_once_and_every_book_is_the_venues() {
    let server = venue(1, 100.0);
    let mut rig = Rig::observed(&[plain("one", &server)]);
    rig.wait_proved();
    let observer = rig.observer();
    rig.wait("a thousand trades", |_| {
        observer.ledger().trades.values().map(|log| log.seen_total).sum::<u64>() >= 1_000
    });
    rig.wait_equal(&server);
    {
        let ledger = observer.ledger();
        assert_eq!(ledger.gaps, []);
        for truth in server.truth() {
            let log = ledger.trades[&truth.symbol];
            assert_eq!(log.missing_total, 0);
            assert_eq!(Some(log.first), truth.trade_id_first, "{}", truth.symbol);
            assert_eq!(log.seen_total, truth.trades_published_total, "{}", truth.symbol);
        }
    }
    let ended = rig.finish();
    let counts = &ended.providers[0].counts;
    assert_eq!((counts.gaps_total, counts.resyncs_total, counts.decode_errors_total), (0, 0, 0));
    assert_eq!(ended.providers[0].books_by_state.get("proved"), Some(&3));
}

#[test]
fn a_venue_that_is_not_there_is_named_and_waited_for() {
    let server = venue(2, 50.0);
    let address = server.address();
    let spec = plain("one", &server);
    server.stop();
    let mut rig = Rig::observed(&[spec]);
    rig.wait("three tries", |rig| {
        rig.happened.iter().filter(|(_, text)| text.contains("connect failed")).count() >= 3
    });
    assert!(
        rig.was_told("one", &address.to_string()) || rig.was_told("one", "refused"),
        "{:?}",
        rig.happened
    );
    let server = crate::rig::venue_at(address, 2, 50.0, simvenues::Options::default());
    rig.wait_proved();
    rig.wait_equal(&server);
    rig.finish();
}

/// A kept REST connection whose end nobody took note of was due in every turn: a parked shard had its core for itself for as long as
/// the venue was away.
#[test]
fn a_shard_whose_venue_has_died_sleeps_again() {
    let server = venue(3, 50.0);
    let mut rig = Rig::observed(&[plain("one", &server)]);
    rig.wait_proved();
    server.stop();
    rig.wait("three tries", |rig| {
        rig.happened.iter().filter(|(_, text)| text.contains("connect failed")).count() >= 3
    });
    // Only what it does after the venue is gone counts: one that spins has no sleep at all between two tries.
    let sleeps = |rig: &Rig| {
        let (_, _, counters) = rig.gateway.threads().next().expect("the provider's shard");
        counters.sleeps.load(std::sync::atomic::Ordering::Relaxed)
    };
    let before = sleeps(&rig);
    rig.wait("a sleep", |rig| sleeps(rig) > before);
    rig.finish();
}
