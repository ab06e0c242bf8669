//! Streams that say nothing wrong: quiet markets, streams that died on a connection that lives, books without numbers that went
//! wrong unseen, books that cannot be proved, and instruments that are delisted. Simulated clock and network, some seeds each.

use engine::event::{BookReason, BookStatus};
use engine::provider::Happening;
use engine::time::ReceiveTime;
use engine::venue::Venue;
use simvenues::{Fault, How, Product, Target, VenueFault};
use soak::sim::{SECOND_NS, Twin, World, WorldOptions};

const SEEDS: std::ops::Range<u64> = 1..4;

/// A settled world for each seed, with 25 s of its streams' pace, and what happens in it.
fn each_seed<V: Venue>(twin: impl Fn() -> Twin<V>, scene: impl Fn(&mut World<V>)) {
    for seed in SEEDS {
        let mut world = World::with(WorldOptions::with_seed(seed), twin());
        world.settle();
        world.run_s(25.0);
        scene(&mut world);
    }
}

/// The same scene on each venue.
macro_rules! on_each_venue {
    ($binance:ident, $kraken:ident, $coinbase:ident: $scene:ident) => {
        #[test]
        fn $binance() {
            $scene(|| Twin::binance(Product::Spot));
        }
        #[test]
        fn $kraken() {
            $scene(Twin::kraken);
        }
        #[test]
        fn $coinbase() {
            $scene(Twin::coinbase);
        }
    };
}

/// The second of three.
fn hit<V: Venue>(world: &World<V>) -> String {
    world.symbols()[1].clone()
}

fn assert_neighbours_undisturbed<V: Venue>(world: &World<V>) {
    let (ledger, hit) = (world.ledger(), hit(world));
    for symbol in world.symbols().iter().filter(|symbol| **symbol != hit) {
        assert!(!ledger.disturbed(symbol), "seed {}: {symbol}: {:?}", world.options.seed, ledger.states);
    }
}

fn happened<V: Venue>(world: &World<V>, wanted: impl Fn(&Happening) -> bool) -> usize {
    world.happenings.iter().filter(|(_, happening)| wanted(happening)).count()
}

fn is_dead(happening: &Happening) -> bool {
    matches!(happening, Happening::StreamDead { .. })
}

// -- quiet ---------------------------------------------------------------------------------------------------------------

fn a_quiet_market<V: Venue>(twin: impl Fn() -> Twin<V>) {
    each_seed(twin, |world| {
        let seed = world.options.seed;
        world.site.set_rate(0.0, world.now_ns);
        world.run_s(300.0);
        assert!(world.all_proved(), "seed {seed}: {:?}", world.happenings);
        let care = *world.provider.care_counts();
        assert!(care.silence_checks_total >= 3, "seed {seed}: {care:?}");
        // Each question about one silence comes after twice the time of the one before.
        let streams = world.provider.pipeline.directory.streams().len() as u64;
        assert!(care.silence_checks_total <= 6 * streams, "seed {seed}: {care:?}");
        assert_eq!((care.dead_streams_total, happened(world, is_dead)), (0, 0), "seed {seed}");
        assert!(world.provider.connections().iter().all(|line| line.counts.lost_total == 0), "seed {seed}");
        for symbol in world.symbols() {
            assert!(!world.ledger().disturbed(&symbol), "seed {seed}: {symbol}: {:?}", world.ledger().states);
        }
        world.site.set_rate(50.0, world.now_ns);
        world.run_s(5.0);
        world.finish();
    });
}

on_each_venue!(
    a_quiet_binance_is_no_outage, a_quiet_kraken_is_no_outage, a_quiet_coinbase_is_no_outage: a_quiet_market
);

#[test]
fn a_binance_book_without_updates_is_proved_by_a_second_snapshot_of_the_same_number() {
    for seed in SEEDS {
        let mut world = World::new(WorldOptions::with_seed(seed));
        world.site.set_rate(0.0, world.now_ns);
        world.run_for("all books proved", 15.0, World::all_proved);
        let care = *world.provider.care_counts();
        assert_eq!(care.quiet_snapshots_total, 2 * 3, "seed {seed}: {care:?}");
        world.run_s(120.0);
        assert_eq!(world.provider.care_counts().quiet_snapshots_total, 2 * 3, "seed {seed}: and no more");
        let sent_at_rest = world.provider.rest_counts().sent_total;
        world.site.set_rate(50.0, world.now_ns);
        world.run_s(10.0);
        assert_eq!(world.provider.pipeline.counts().resyncs_total, 0, "seed {seed}: updates joined");
        assert!(world.provider.rest_counts().sent_total <= sent_at_rest + 1, "seed {seed}");
        world.finish();
    }
}

#[test]
fn a_binance_book_that_reconnects_in_a_quiet_market_is_proved_again() {
    for seed in SEEDS {
        let mut world = World::new(WorldOptions::with_seed(seed));
        world.settle();
        world.site.set_rate(0.0, world.now_ns);
        world.fault(&Fault::Disconnect(simvenues::Target::All, simvenues::How::Drop));
        world.run_for("the loss", 2.0, |world| !world.all_proved());
        world.run_for("the second proof", 20.0, World::all_proved);
        world.site.set_rate(50.0, world.now_ns);
        world.finish();
    }
}

// -- dead ----------------------------------------------------------------------------------------------------------------

fn a_dead_trade_stream<V: Venue>(twin: impl Fn() -> Twin<V>) {
    each_seed(twin, |world| {
        let (seed, symbol) = (world.options.seed, hit(world));
        let drop = VenueFault::DropTrades { symbol: symbol.clone(), count: u32::MAX };
        world.fault(&Fault::Venue(drop));
        world.run_s(2.0);
        let before = world.ledger().trades[&symbol];
        world.run_for("the discovery", 40.0, |world| happened(world, is_dead) > 0);
        let ledger_after = world.ledger().trades[&symbol];
        assert!(ledger_after.recovered_total > before.recovered_total, "seed {seed}: {ledger_after:?}");
        assert_neighbours_undisturbed(world);
        world.fault(&Fault::Venue(VenueFault::Clear));
        world.run_s(3.0);
        world.finish();
    });
}

#[test]
fn a_dead_binance_trade_stream_is_found_and_its_trades_are_fetched() {
    a_dead_trade_stream(|| Twin::binance(Product::Spot));
}

#[test]
fn a_dead_kraken_trade_stream_is_found_and_its_trades_are_fetched() {
    a_dead_trade_stream(Twin::kraken);
}

#[test]
fn a_dead_binance_book_stream_is_found_named_and_made_anew() {
    each_seed(
        || Twin::binance(Product::Spot),
        |world| {
            let (seed, symbol) = (world.options.seed, hit(world));
            let drop = VenueFault::DropUpdates { symbol: symbol.clone(), count: u32::MAX };
            world.fault(&Fault::Venue(drop));
            world.run_for("the discovery", 60.0, |world| happened(world, is_dead) > 0);
            let silent = world.ledger().state_count(&symbol, BookStatus::Stale, BookReason::Silent);
            assert_eq!(silent, 1, "seed {seed}: {:?}", world.ledger().states);
            assert_neighbours_undisturbed(world);
            world.fault(&Fault::Venue(VenueFault::Clear));
            world.run_for("the second proof", 70.0, World::all_proved);
            world.finish();
        },
    );
}

// -- best prices ---------------------------------------------------------------------------------------------------------

#[test]
fn a_coinbase_book_that_went_wrong_unseen_is_found_by_its_best_prices_and_subscribed_anew() {
    each_seed(Twin::coinbase, |world| {
        let (seed, symbol) = (world.options.seed, hit(world));
        let drop = VenueFault::DropUpdates { symbol: symbol.clone(), count: u32::MAX };
        world.fault(&Fault::Venue(drop));
        let failed = |world: &World<_>| {
            world.ledger().state_count(&symbol, BookStatus::Suspect, BookReason::VerificationFailed)
        };
        world.run_for("the discovery", 300.0, |world| failed(world) == 1);
        world.fault(&Fault::Venue(VenueFault::Clear));
        world.run_for("the second proof", 2.0, World::all_proved);
        let counts = *world.provider.pipeline.counts();
        assert_eq!(counts.verification_failures_total, 1, "seed {seed}: {counts:?}");
        assert!(counts.top_disagreements_total >= 3, "seed {seed}: three samples in a row: {counts:?}");
        assert_neighbours_undisturbed(world);
        world.finish();
    });
}

#[test]
fn coinbase_books_are_verified_in_turn_and_none_is_called_wrong() {
    each_seed(Twin::coinbase, |world| {
        world.run_s(400.0);
        let counts = *world.provider.pipeline.counts();
        assert!(counts.verified_total >= 6, "seed {}: {counts:?}", world.options.seed);
        assert_eq!((counts.verification_failures_total, counts.resyncs_total), (0, 0), "{counts:?}");
        world.finish();
    });
}

// -- never right ---------------------------------------------------------------------------------------------------------

#[test]
fn a_kraken_checksum_that_never_fits_is_asked_for_ever_more_rarely_and_said_so() {
    each_seed(Twin::kraken, |world| {
        let (seed, symbol) = (world.options.seed, hit(world));
        let lie = VenueFault::LieChecksum { symbol: symbol.clone(), count: u32::MAX };
        world.fault(&Fault::Venue(lie));
        let requests = world.provider.rest_counts().sent_total;
        let mismatches = |world: &World<_>| {
            world.ledger().state_count(&symbol, BookStatus::Suspect, BookReason::ChecksumMismatch)
        };
        world.run_s(60.0);
        let first = mismatches(world);
        // 0, 0, 1, 2, 4, 8, 16, 32 s.
        assert!((5..=9).contains(&first), "seed {seed}: {first} mismatches in a minute");
        world.run_s(240.0);
        let later = mismatches(world) - first;
        assert!(later <= 4, "seed {seed}: {later} mismatches in four minutes");
        let said = world.ledger().state_count(&symbol, BookStatus::Suspect, BookReason::Unprovable);
        let counts = *world.provider.pipeline.counts();
        assert!(said >= 3 && counts.unprovable_total == said as u64, "seed {seed}: {said}, {counts:?}");
        assert!(happened(world, |happening| matches!(happening, Happening::Unprovable { .. })) >= 3);
        let asked = world.provider.rest_counts().sent_total - requests;
        assert!(asked >= 3, "seed {seed}: the precision was asked for anew: {asked}");
        assert_neighbours_undisturbed(world);
        world.fault(&Fault::Venue(VenueFault::Clear));
        world.run_for("the second proof", 310.0, World::all_proved);
        world.finish();
    });
}

// -- delisted ------------------------------------------------------------------------------------------------------------

fn a_delisted_instrument<V: Venue>(twin: impl Fn() -> Twin<V>) {
    each_seed(twin, |world| {
        let (seed, symbol) = (world.options.seed, hit(world));
        world.fault(&Fault::Venue(VenueFault::Delist { symbol: symbol.clone() }));
        let delisted = |world: &World<V>| {
            happened(
                world,
                |happening| matches!(happening, Happening::Delisted { symbol, streams: 3, .. } if *symbol == hit(world)),
            )
        };
        world.run_for("the notice", 60.0, |world| delisted(world) == 1);
        world.run_s(120.0);
        assert_eq!(delisted(world), 1, "seed {seed}: said once");
        let states = world.ledger().state_count(&symbol, BookStatus::Stale, BookReason::Delisted);
        assert_eq!(states, 1, "seed {seed}: {:?}", world.ledger().states);
        assert_eq!(world.provider.pipeline.counts().delisted_total, 1, "seed {seed}");
        assert_eq!(world.provider.books_proved(), (2, 2), "seed {seed}: its book is not wanted any more");
        assert_neighbours_undisturbed(world);
        let carried = |line: &engine::connection::Connection| line.streams().len();
        assert_eq!(carried(&world.provider.connections()[0]), 6, "seed {seed}: its streams ended");
        let lost: u64 = world.provider.connections().iter().map(|line| line.counts.lost_total).sum();
        assert_eq!(lost, 0, "seed {seed}: {:?}", world.happenings);
        world.assert_balanced();
        let ledger = world.ledger();
        assert!(ledger.violations.is_empty(), "seed {seed}: {:#?}", ledger.violations);
        for truth in world.site.truth() {
            let trades = ledger.trades[&truth.symbol];
            assert!(trades.last + 200 > truth.trade_id_last.expect("it trades"), "seed {seed}: {trades:?}");
        }
    });
}

on_each_venue!(
    an_instrument_that_binance_delists_ends_alone,
    an_instrument_that_kraken_delists_ends_alone,
    an_instrument_that_coinbase_delists_ends_alone: a_delisted_instrument
);

#[test]
fn kraken_tells_itself_that_an_instrument_is_delisted_and_nobody_waits_for_a_silence() {
    each_seed(Twin::kraken, |world| {
        let ordered_ns = world.now_ns;
        world.fault(&Fault::Venue(VenueFault::Delist { symbol: hit(world) }));
        world.run_for("the notice", 2.0, |world| {
            happened(world, |happening| matches!(happening, Happening::Delisted { .. })) == 1
        });
        assert!(world.now_ns - ordered_ns < SECOND_NS);
    });
}

// -- never came ----------------------------------------------------------------------------------------------------------

/// A book breaks, and the snapshot that its new subscription begins with is lost. Nothing else of that frame is seen again, so
/// every moment is tried until one hit it.
fn a_snapshot_that_never_comes<V: Venue>(twin: impl Fn() -> Twin<V>) {
    let (mut hits, mut dead_ns_max) = (0, 0);
    for after_us in (0..6_000).step_by(100) {
        let mut world = World::with(WorldOptions::with_seed(1), twin());
        world.settle();
        while world.all_proved() {
            world.fault(&Fault::SkipSequence(Target::All));
            world.run_s(0.001);
        }
        let broke_ns = world.now_ns;
        world.run_s(f64::from(after_us) / 1e6);
        world.fault(&Fault::SkipSequence(Target::All));
        world.run_for("recovery", 40.0, World::all_proved);
        let care = *world.provider.care_counts();
        if care.absent_snapshots_total > 0 {
            hits += 1;
            dead_ns_max = dead_ns_max.max(world.now_ns - broke_ns);
            world.finish();
        }
    }
    assert!(hits > 0, "no snapshot was lost");
    assert!(dead_ns_max < 15 * SECOND_NS, "a book was dead for {dead_ns_max} ns");
}

// At Coinbase the hole that breaks all books can swallow the next snapshot, too.
#[test]
fn a_coinbase_snapshot_that_never_comes_is_asked_for_again() {
    a_snapshot_that_never_comes(Twin::coinbase);
}

/// One book breaks, and the snapshot of its new subscription is not sent, whatever else is.
fn a_snapshot_that_is_left_out<V: Venue>(twin: impl Fn() -> Twin<V>, broken_by: impl Fn(String) -> Fault) {
    each_seed(twin, |world| {
        world.fault(&Fault::Venue(VenueFault::LoseSnapshots { symbol: hit(world), count: 1 }));
        world.fault(&broken_by(hit(world)));
        world.run_for("the loss", 5.0, |world| !world.all_proved());
        let broke_ns = world.now_ns;
        world.run_for("recovery", 40.0, World::all_proved);
        let dead_ns = world.now_ns - broke_ns;
        assert_eq!(world.provider.care_counts().absent_snapshots_total, 1);
        assert!((9 * SECOND_NS..15 * SECOND_NS).contains(&dead_ns), "the book was dead for {dead_ns} ns");
        world.finish();
    });
}

#[test]
fn a_kraken_snapshot_that_is_left_out_is_asked_for_again() {
    a_snapshot_that_is_left_out(Twin::kraken, |symbol| {
        Fault::Venue(VenueFault::LieChecksum { symbol, count: 1 })
    });
}

#[test]
fn a_coinbase_snapshot_that_is_left_out_is_asked_for_again() {
    a_snapshot_that_is_left_out(Twin::coinbase, |_| Fault::SkipSequence(Target::All));
}

// -- subscriptions -------------------------------------------------------------------------------------------------------

/// The venue takes the messages and leaves one instrument out, so many times.
fn passed_over(count: u32, scene: impl Fn(&mut World<engine::venue::coinbase::Coinbase>)) {
    each_seed(Twin::coinbase, |world| {
        world.fault(&Fault::Venue(VenueFault::PassOver { symbol: hit(world), count }));
        world.fault(&Fault::Disconnect(Target::All, How::Drop));
        world.run_for("the loss", 5.0, |world| !world.all_proved());
        scene(world);
        world.finish();
    });
}

fn refusals<V: Venue>(world: &World<V>) -> Vec<String> {
    let named = |happening: &Happening| match happening {
        Happening::SubscriptionRefused { streams, .. } => streams.clone(),
        _ => Vec::new(),
    };
    world.happenings.iter().flat_map(|(_, happening)| named(happening)).collect()
}

#[test]
fn what_coinbase_leaves_out_is_asked_for_once_more() {
    passed_over(3, |world| {
        world.run_for("all streams", 15.0, World::is_settled);
        assert_eq!(refusals(world), [""; 0]);
        assert_eq!(world.lost_count("no_ack"), 0);
        world.run_s(5.0);
    });
}

#[test]
fn what_coinbase_leaves_out_again_is_named_and_costs_the_others_nothing() {
    passed_over(u32::MAX, |world| {
        world.run_for("the refusals", 60.0, |world| refusals(world).len() >= 3);
        let hit = hit(world);
        let named = refusals(world);
        assert!(named.iter().all(|stream| stream.contains(&hit)), "{named:?}");
        assert_eq!(world.lost_count("no_ack"), 0);
        let (proved, all) = world.provider.books_proved();
        assert_eq!(proved + 1, all, "the others are there");
        world.fault(&Fault::Clear);
        world.fault(&Fault::Disconnect(Target::All, How::Drop));
        world.run_s(1.0);
        world.run_for("recovery", 40.0, World::is_settled);
        world.run_s(5.0);
    });
}

/// The trades of one instrument, which the venue passes over each time that the new line asks for them.
#[test]
fn a_line_that_lacks_a_stream_takes_over_when_it_has_it_and_not_before() {
    each_seed(Twin::coinbase, |world| {
        let rolled = |world: &World<_>| happened(world, |known| matches!(known, Happening::Rolled { .. }));
        for round in 0..4 {
            world.fault(&Fault::Venue(VenueFault::PassOver { symbol: hit(world), count: 1 }));
            if round == 0 {
                let line = world.provider.connections()[0].line();
                assert!(
                    world.provider.roll(line, ReceiveTime::from_ns(world.now_ns)),
                    "a spare line is there"
                );
            }
            world.run_s(10.0);
        }
        assert_eq!((rolled(world), refusals(world).len()), (0, 1), "{:?}", world.happenings);
        world.run_for("the roll", 15.0, |world| rolled(world) == 1);
        world.run_s(3.0);
        assert_eq!(world.ledger().gaps, []);
        world.finish();
    });
}
