//! Faults that need sockets: two venues on one provider shard, one is disturbed, the other goes on.

use simvenues::{Fault, How, Target};

use crate::rig::{Rig, plain, venue};

/// Disturbs the first of two venues and waits until `words` were told and all books are proved again.
pub fn one_is_disturbed(fault: Fault, words: &str) {
    let (server, neighbour) = (venue(1, 50.0), venue(2, 50.0));
    let mut rig = Rig::observed(&[plain("one", &server), plain("two", &neighbour)]);
    rig.wait_proved();
    let messages = |rig: &Rig| {
        rig.board
            .providers()
            .find(|status| status.provider == 1)
            .map_or(0, |status| status.counts.messages_total)
    };
    let before = messages(&rig);
    server.faults().inject(fault);
    rig.wait("the fault", |rig| rig.was_told("one", words));
    rig.wait_proved();
    rig.wait("the neighbour's messages", |rig| messages(rig) > before + 100);
    let told: Vec<_> = rig.happened.iter().filter(|(name, _)| name == "two").cloned().collect();
    assert_eq!(told.len(), 2, "the neighbour connected and proved its books, nothing else: {told:?}");
    let ended = rig.finish();
    assert!(ended.providers[0].counts.resyncs_total > 0);
    assert_eq!(ended.providers[1].counts.gaps_total + ended.providers[1].counts.resyncs_total, 0);
    assert_eq!(ended.providers[1].lost_total, 0);
}

#[test]
fn a_venue_that_drops_the_socket() {
    one_is_disturbed(Fault::Disconnect(Target::All, How::Drop), "connection lost");
}

#[test]
fn a_venue_that_closes_in_good_order() {
    one_is_disturbed(Fault::Disconnect(Target::All, How::CloseFrame(1012)), "closed by the venue with 1012");
}

#[test]
fn a_frame_that_is_cut() {
    one_is_disturbed(Fault::CutFrame(Target::All), "connection lost");
}

#[test]
fn an_oversized_frame() {
    one_is_disturbed(Fault::OversizedHeader(Target::All), "protocol error");
}

#[test]
fn a_venue_that_stops_in_the_middle_and_comes_back_as_another_market() {
    let server = venue(1, 50.0);
    let (address, spec) = (server.address(), plain("one", &server));
    let mut rig = Rig::observed(&[spec]);
    rig.wait_proved();
    server.stop();
    rig.wait("stale books", |rig| rig.board.providers().all(|status| status.books_proved == 0));
    assert!(rig.was_told("one", "connection lost"), "{:?}", rig.happened);
    let server = crate::rig::venue_at(address, 9, 50.0, simvenues::Options::default());
    rig.wait_proved();
    server.set_rate(0.0);
    let observer = rig.observer();
    rig.wait("the books of the new market", |_| {
        let ledger = observer.ledger();
        server.truth().iter().all(|truth| {
            let book = server.book(&truth.symbol).expect("listed");
            ledger.books.get(&truth.symbol).is_some_and(|copy| copy.compare(&book).is_ok())
        })
    });
    rig.finish();
}
