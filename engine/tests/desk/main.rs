//! The desk against a venue that follows a script: orders, lost answers, lost sessions, switches, durability, restarts.
//! What consumers are told stands in each test as one line of text.

mod rig;
mod venue;

use engine::connection::Lost;
use engine::ids::{ConsumerId, ProviderId};
use engine::orders::check::Limits;
use engine::orders::desk::{Desk, DeskOptions, Durability};
use engine::orders::ledger::{LedgerOptions, OnSessionLoss, SessionState};
use engine::orders::request::Command;
use engine::orders::secret::Secret;
use engine::orders::venue::binance::{BinanceKey, BinanceOrders};
use engine::orders::{Submitted, WireIds};

use rig::{ME, OTHER, Rig, options};
use venue::Resting;

#[test]
fn an_order_is_acknowledged_and_filled() {
    let mut rig = Rig::live(options());
    assert!(matches!(rig.place("a", 10), Submitted::Place(_)));
    assert!(!rig.desk.bytes_to_send().is_empty(), "ready when `submit` returns");
    rig.run();
    rig.fill(0, 4);
    rig.fill(0, 6);
    assert_eq!(rig.told(), "a:ACK:0 a:PARTIAL:4 a:FILLED:10");
    rig.place("b", 666);
    rig.run();
    assert_eq!(rig.told(), "b:REJECTED:0");
    rig.place("c", 5);
    rig.run();
    rig.command(Command::Cancel, "c");
    rig.run();
    assert_eq!(rig.told(), "c:ACK:0 c:CANCELLED:0");
    rig.command(Command::Cancel, "c");
    rig.command(Command::Cancel, "nobody");
    assert!(matches!(rig.command(Command::Query, "c"), Submitted::Query(_)));
    rig.run();
    assert_eq!(rig.told(), "c:cancel_rejected nobody:cancel_rejected");
    rig.check_no_duplicates();
}

#[test]
fn an_answer_that_is_lost_is_asked_for_and_never_resent() {
    let mut rig = Rig::live(options());
    (rig.venue.loses_answers, rig.venue.loses_reports) = (true, true);
    rig.place("a", 10);
    rig.run();
    rig.venue.fill(0, 3);
    rig.wait(2_900);
    assert_eq!(rig.told(), "");
    rig.wait(2_000);
    assert_eq!(rig.told(), "a:unknown a:PARTIAL:3@recovered");
    assert_eq!(rig.venue.placed.len(), 1);

    rig.venue.loses_requests = true;
    rig.place("b", 10);
    rig.run();
    rig.venue.loses_requests = false;
    rig.wait(14_000);
    assert_eq!(rig.told(), "b:unknown", "the venue may yet place it");
    rig.wait(60_000);
    assert_eq!(rig.told(), "b:REJECTED:0@never_arrived");
    assert_eq!(rig.venue.placed.len(), 1, "not resent");
}

#[test]
fn what_happens_during_an_outage_is_told_between_gap_and_restored() {
    let mut rig = Rig::live(options());
    for (id, qty) in [("a", 10), ("b", 10), ("c", 10)] {
        rig.place(id, qty);
    }
    rig.run();
    rig.told();
    rig.venue.up = false;
    rig.cut();
    rig.venue.fill(0, 10);
    rig.venue.fill(1, 4);
    rig.venue.orders[2].status = "CANCELED";
    rig.wait(5_000);
    assert_eq!(rig.told(), "gap:3", "once, however often the connection fails");
    assert!(matches!(rig.place("d", 1), Submitted::Refused(_)));
    assert_eq!((rig.told.pop_back(), rig.told()), (None, String::new()));
    rig.run();
    assert_eq!(rig.told(), "d:REJECTED:0@no_session");
    rig.venue.up = true;
    rig.wait(40_000);
    let told = rig.told();
    let mut words: Vec<&str> = told.split(' ').collect();
    assert_eq!(words.pop(), Some("restored:3/0/0"));
    words.sort_unstable();
    assert_eq!(words, ["a:FILLED:10@recovered", "b:PARTIAL:4@recovered", "c:CANCELLED:0@recovered"]);
}

#[test]
fn two_hundred_outages_lose_no_fill_and_pair_their_marks() {
    let mut rig = Rig::live(DeskOptions { queries_per_s_max: 100, ..options() });
    let (mut gaps, mut restored, mut filled) = (0, 0, 0);
    for round in 0..200 {
        rig.venue.used = 0;
        rig.place(&format!("o{round}"), 9);
        rig.run();
        rig.fill(round, 2);
        rig.cut();
        rig.venue.fill(round, 3);
        rig.venue.fill(round, 4);
        rig.wait(12_000);
        for word in rig.told().split(' ') {
            gaps += u64::from(word.starts_with("gap:1"));
            restored += u64::from(word.starts_with("restored:"));
            filled += u64::from(word == format!("o{round}:FILLED:9@recovered"));
        }
    }
    assert_eq!((gaps, restored, filled), (200, 200, 200));
    rig.check_no_duplicates();
    assert_eq!(rig.desk.ledger().counts.reports_total, 200 * 4, "ack, and each of three executions once");
}

#[test]
fn on_session_loss_cancels_mine_when_the_venue_is_reached_again() {
    let ledger = LedgerOptions { on_session_loss: OnSessionLoss::CancelMine, ..LedgerOptions::DEFAULT };
    let mut rig = Rig::live(DeskOptions { ledger, ..options() });
    rig.place("a", 10);
    rig.place("b", 10);
    rig.run();
    rig.told();
    rig.cut();
    rig.wait(5_000);
    assert_eq!(rig.told(), "gap:2 restored:0/0/0 a:CANCELLED:0 b:CANCELLED:0");
    assert!(rig.venue.orders.iter().all(|order| order.status == "CANCELED"));
}

#[test]
fn sync_holds_an_order_until_its_intent_is_on_the_disk() {
    let mut rig = Rig::live(DeskOptions { durability: Durability::Sync, ..options() });
    rig.disk_works = false;
    rig.place("a", 10);
    rig.place("b", 10);
    rig.place_as(OTHER, "c", 10);
    rig.run();
    assert!(rig.venue.placed.is_empty(), "nothing left");
    rig.command(Command::Cancel, "a");
    assert_eq!(rig.told(), "");
    rig.desk.set_trading(OTHER, false, rig.now);
    rig.run();
    assert_eq!(rig.told(), "a:REJECTED:0@cancelled_unsent c:REJECTED:0@trading_off", "neither was sent");
    rig.disk_works = true;
    rig.run();
    assert_eq!(rig.told(), "b:ACK:0");
    assert_eq!(rig.venue.placed.len(), 1);

    rig.disk_works = false;
    rig.place("d", 10);
    rig.cut();
    rig.wait(5_000);
    assert_eq!(rig.told(), "d:REJECTED:0@no_session gap:1 restored:0/0/0");
}

#[test]
fn the_kill_switch_cancels_and_blocks_until_it_is_lifted() {
    let mut rig = Rig::live(options());
    rig.place("a", 10);
    rig.place_as(OTHER, "b", 10);
    rig.run();
    rig.told();
    assert_eq!(rig.desk.kill(Some(ME), rig.now), 1);
    rig.run();
    rig.place("c", 10);
    rig.place_as(OTHER, "d", 10);
    rig.run();
    assert_eq!(rig.told(), "a:CANCELLED:0 c:REJECTED:0@killed d:ACK:0");
    assert_eq!(rig.desk.kill(None, rig.now), 2);
    rig.run();
    rig.desk.lift(None);
    rig.place("e", 10);
    rig.desk.lift(Some(ME));
    rig.place("f", 10);
    rig.run();
    assert_eq!(rig.told(), "b:CANCELLED:0 d:CANCELLED:0 e:REJECTED:0@killed f:ACK:0");
    assert_eq!(rig.desk.ledger().counts.suppressed_total, 2);
}

#[test]
fn a_switch_that_is_off_lets_nothing_out() {
    let mut rig = Rig::live(options());
    rig.desk.set_trading(ME, false, rig.now);
    let before = rig.venue.methods.len();
    rig.place("a", 10);
    rig.place_as(ConsumerId(60), "x", 10);
    rig.run();
    assert_eq!(rig.told(), "a:REJECTED:0@trading_off x:REJECTED:0@trading_off");
    assert_eq!(rig.venue.methods.len(), before);
    rig.desk.set_trading(ME, true, rig.now);
    rig.place("b", 10);
    rig.run();
    assert_eq!(rig.desk.consumer_lost(ME, rig.now), 1);
    rig.place("c", 10);
    rig.run();
    assert_eq!(rig.told(), "b:ACK:0 c:REJECTED:0@trading_off b:CANCELLED:0");
}

#[test]
fn without_the_connection_cancels_and_questions_go_by_rest() {
    let mut rig = Rig::live(options());
    rig.place("a", 10);
    rig.place("b", 10);
    rig.run();
    rig.told();
    rig.venue.up = false;
    rig.cut();
    rig.run();
    rig.venue.fill(1, 10);
    rig.venue.methods.clear();
    rig.command(Command::Cancel, "a");
    rig.command(Command::Query, "b");
    rig.run();
    assert_eq!(rig.venue.methods, ["DELETE /api/v3/order", "GET /api/v3/order"]);
    assert_eq!(rig.told(), "gap:2 a:CANCELLED:0");
    rig.venue.rest_status = Some(429);
    rig.command(Command::CancelAll, "");
    rig.wait(15_000);
    let tries = rig.venue.methods.iter().filter(|method| method.starts_with("DELETE")).count();
    assert!(tries <= 3, "a 429 without a time pauses for ten seconds: {:?}", rig.venue.methods);
    assert!(rig.desk.counts.limited_total >= 1);
    (rig.venue.rest_status, rig.venue.up) = (None, true);
    rig.wait(60_000);
    assert!(rig.told().contains("b:FILLED:10@recovered"));
    assert_eq!(rig.desk.session(), SessionState::Live);
}

#[test]
fn stamps_follow_the_venues_clock_and_orders_stop_before_its_limit() {
    let mut rig = Rig::new(DeskOptions { headroom_percent: 10, ..options() });
    rig.venue.ahead_ms = -30_000;
    rig.desk.begin(rig.now);
    rig.run();
    rig.told();
    assert_eq!(rig.desk.clock_ahead_ms(), -30_000);
    let refused = (0..30).filter(|number| {
        let submitted = rig.place(&format!("o{number}"), 1);
        rig.run();
        matches!(submitted, Submitted::Refused(engine::orders::Rule::VenueRate))
    });
    assert_eq!(refused.count(), 12, "18 of the venue's 20 in ten seconds");
    assert_eq!(rig.venue.placed.len(), 18);
}

#[test]
fn after_a_restart_orders_are_known_and_ids_are_not_used_again() {
    let mut rig = Rig::live(DeskOptions { durability: Durability::Sync, ..options() });
    rig.place("a", 10);
    rig.place("b", 10);
    rig.run();
    let bytes = rig.file.len();
    rig.restart(bytes);
    rig.venue.fill(0, 10);
    rig.wait(3_000);
    let told = rig.told();
    assert!(told.contains("a:FILLED:10@recovered") && told.ends_with("restored:1/0/0"), "{told}");
    rig.place("a", 1);
    rig.place("b", 1);
    rig.place("c", 1);
    rig.run();
    assert_eq!(rig.told(), "a:REJECTED:0@duplicate_id b:REJECTED:0@duplicate_id c:ACK:0");
    rig.command(Command::Cancel, "b");
    rig.run();
    assert_eq!(rig.told(), "b:CANCELLED:0");
    rig.check_no_duplicates();
}

#[test]
fn an_order_that_a_batched_journal_lost_is_adopted_and_a_strangers_is_left_alone() {
    let mut rig = Rig::live(options());
    rig.place("a", 10);
    rig.run();
    let bytes = rig.file.len();
    rig.place("b", 10);
    rig.place("c", 10);
    rig.run();
    rig.venue.fill(1, 4);
    rig.restart(bytes);
    let stranger = Resting { name: "by_hand".into(), id: 5, ..rig.venue.orders[0].clone() };
    rig.venue.orders.push(stranger);
    rig.wait(5_000);
    let told = rig.told();
    let mut words: Vec<&str> = told.split(' ').collect();
    words.sort_unstable();
    assert_eq!(
        words,
        ["adopted:ACK:0@recovered", "adopted:PARTIAL:4@recovered", "restored:2/0/1"],
        "the stranger's is counted"
    );
    assert_eq!(rig.desk.counts.adopted_total, 2);
    rig.desk.kill(None, rig.now);
    rig.run();
    let states: Vec<&str> = rig.venue.orders.iter().map(|order| order.status).collect();
    assert_eq!(states, ["CANCELED", "CANCELED", "CANCELED", "NEW"]);
    // They are in the journal now.
    let bytes = rig.file.len();
    rig.restart(bytes);
    rig.wait(5_000);
    assert_eq!(rig.desk.counts.adopted_total, 0);
}

#[test]
fn an_ed25519_key_logs_on_once_and_signs_nothing_after() {
    let pem = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7\n-----END PRIVATE KEY-----\n";
    let mut rig = Rig::new(options());
    let key = BinanceKey::ed25519_pem(&Secret::new(pem.to_vec())).expect("a key");
    let ids = WireIds::new(9, 0).expect("fits");
    rig.desk = Desk::new(ProviderId(0), 0, ids, BinanceOrders::new(b"api", key, 5_000), rig.options.clone());
    rig.desk.set_limits(ME, Limits { book: engine::orders::check::BookPolicy::Ignore, ..Limits::OPEN });
    rig.desk.begin(rig.now);
    rig.run();
    assert_eq!(rig.venue.methods[..3], ["time", "session.logon", "userDataStream.subscribe"]);
    rig.told();
    rig.place("a", 10);
    rig.run();
    assert_eq!(rig.told(), "a:ACK:0");
}

#[test]
fn a_silent_connection_is_pinged_then_given_up() {
    let mut rig = Rig::live(options());
    rig.venue.loses_requests = true;
    rig.wait(40_000);
    assert!(rig.told().starts_with("gap:0"));
    assert!(
        matches!(rig.desk.last_lost(), Some(Lost::Silent(_) | Lost::NoAck)),
        "{:?}",
        rig.desk.last_lost()
    );
}
