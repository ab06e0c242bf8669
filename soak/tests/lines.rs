//! Redundant lines, rolls, filled holes and REST trouble on all three venues, under a simulated clock: no Gap where there
//! are two lines, every trade exactly once, and a book that is wrong is found, named and proved again.
//!
//! Scenes count the spare line of a roll: one of `lines: 2` of a topology has 3 here.

use engine::event::{BookReason, BookStatus};
use engine::provider::Happening;
use engine::venue::Venue;
use simvenues::{Fault, How, Product, RestFault, Target, VenueFault};
use soak::sim::{SECOND_NS, Twin, World, WorldOptions};

const SEEDS: std::ops::Range<u64> = 1..4;

/// A settled world of a venue for each seed, what happens in it, and the end with all its checks.
fn each_seed<V: Venue>(twin: impl Fn() -> Twin<V>, lines: u8, scene: impl Fn(&mut World<V>)) {
    for seed in SEEDS {
        let options = WorldOptions { lines: lines.max(2) - 1, ..WorldOptions::with_seed(seed) };
        let mut world = World::with(options, twin());
        world.settle();
        world.run_s(1.0);
        scene(&mut world);
        world.finish();
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

/// Neither a Gap, nor a book that was not proved any more, nor a trade less or more than the venue had.
fn assert_seamless<V: Venue>(world: &World<V>) {
    let seed = world.options.seed;
    let ledger = world.ledger();
    assert_eq!(ledger.gaps, [], "seed {seed}: {:?}", world.happenings);
    assert!(ledger.violations.is_empty(), "seed {seed}: {:#?}", ledger.violations);
    for symbol in world.symbols() {
        assert!(!ledger.disturbed(&symbol), "seed {seed}: {symbol}: {:?}", ledger.states);
        let trades = ledger.trades[&symbol];
        assert_eq!(trades.seen_total, trades.last + 1 - trades.first, "seed {seed}: {symbol} {trades:?}");
    }
}

// -- one book that is wrong ----------------------------------------------------------------------------------------------

/// Orders a fault; the books of `hit` break for `reason` and are proved again within a second, the others never notice.
fn broken_and_proved_again<V: Venue>(
    world: &mut World<V>,
    fault: &Fault,
    hit: &[String],
    reason: BookReason,
) {
    let suspects = |world: &World<V>| {
        let of = |symbol: &&String| world.ledger().state_count(symbol, BookStatus::Suspect, reason) == 1;
        hit.iter().filter(of).count()
    };
    world.fault(fault);
    world.run_for("the broken books", 5.0, |world| suspects(world) == hit.len());
    world.run_for("the second proof", 1.0, World::all_proved);
    world.run_s(3.0);
    assert_eq!(suspects(world), hit.len(), "seed {}: {:?}", world.options.seed, world.ledger().states);
    for symbol in world.symbols().iter().filter(|symbol| !hit.contains(symbol)) {
        assert!(!world.ledger().disturbed(symbol), "seed {}: {symbol} was disturbed", world.options.seed);
    }
}

#[test]
fn a_kraken_update_with_one_wrong_digit_breaks_its_book_alone_for_less_than_a_second() {
    each_seed(Twin::kraken, 2, |world| {
        let symbol = "ETH-USD".to_owned();
        let fault = Fault::Venue(VenueFault::LieChecksum { symbol: symbol.clone(), count: 1 });
        broken_and_proved_again(world, &fault, &[symbol], BookReason::ChecksumMismatch);
    });
}

#[test]
fn a_binance_update_that_is_missing_breaks_its_book_alone_for_less_than_a_second() {
    each_seed(
        || Twin::binance(Product::Spot),
        2,
        |world| {
            let symbol = "ETH-USDT".to_owned();
            let fault = Fault::Venue(VenueFault::DropUpdates { symbol: symbol.clone(), count: 1 });
            broken_and_proved_again(world, &fault, &[symbol], BookReason::SequenceGap);
        },
    );
}

/// Found by seed 2084403453: three updates numbered 155 too high waited as a hole that the other line would fill, until the
/// true numbers had come so far. Then they fitted, nothing was missing, and the book was wrong until its verification.
#[test]
fn update_numbers_that_lie_never_fit_what_comes_later() {
    for by in [1, 2, 7, 20, 40, 80, 155, -1, -7, -40, -155] {
        each_seed(
            || Twin::binance(Product::Spot),
            3,
            |world| {
                let symbol = "ETH-USDT".to_owned();
                let fault = Fault::Venue(VenueFault::ShiftUpdateIds { symbol: symbol.clone(), by, count: 3 });
                world.fault(&fault);
                world.run_s(8.0);
                assert!(world.ledger().disturbed(&symbol), "by {by}: nobody noticed");
            },
        );
    }
}

#[test]
fn a_coinbase_frame_that_is_missing_breaks_every_book_of_its_connection_for_less_than_a_second() {
    each_seed(Twin::coinbase, 2, |world| {
        let symbols = world.symbols();
        broken_and_proved_again(
            world,
            &Fault::SkipSequence(Target::Oldest),
            &symbols,
            BookReason::ConnectionGap,
        );
    });
}

#[test]
fn with_two_lines_a_wrong_digit_on_one_is_answered_by_the_book_of_the_other() {
    each_seed(Twin::coinbase, 3, |world| {
        world.fault(&Fault::SkipSequence(Target::Oldest));
        world.run_s(3.0);
        assert_eq!(world.provider.pipeline.counts().connection_gaps_total, 1);
        assert_eq!(world.ledger().gaps, []);
    });
}

// -- two lines -----------------------------------------------------------------------------------------------------------

/// The line that has been open longest is ended, again and again, once the other is whole.
fn alternating_disconnects<V: Venue>(twin: impl Fn() -> Twin<V>) {
    each_seed(twin, 3, |world| {
        for number in 0..12 {
            let how = if number % 3 == 2 { How::CloseFrame(1001) } else { How::Drop };
            world.fault(&Fault::Disconnect(Target::Oldest, how));
            world.run_for("the loss", 1.0, |world| losses(world) == number + 1);
            world.run_for("both lines whole", 40.0, whole);
            world.run_s(1.5);
        }
        assert_seamless(world);
        let won: Vec<u64> = world.provider.pipeline.races().map(|race| race.won_total).collect();
        assert!(won[0] > 0 && won[1] > 0, "seed {}: each line wins sometimes: {won:?}", world.options.seed);
    });
}

fn losses<V: Venue>(world: &World<V>) -> usize {
    world.happenings.iter().filter(|(_, happening)| matches!(happening, Happening::Lost(..))).count()
}

/// Every line but the spare one has its subscriptions and has proved its books.
fn whole<V: Venue>(world: &World<V>) -> bool {
    let lines = world.provider.connections().iter().filter(|line| !line.is_spare());
    world.all_proved()
        && lines.clone().all(|line| {
            line.is_subscribed() && world.provider.pipeline.line_is_proved(line.line(), line.streams())
        })
}

on_each_venue!(
    binance_loses_nothing_while_its_two_lines_are_ended_in_turn,
    kraken_loses_nothing_while_its_two_lines_are_ended_in_turn,
    coinbase_loses_nothing_while_its_two_lines_are_ended_in_turn: alternating_disconnects
);

// -- one line ------------------------------------------------------------------------------------------------------------

/// With one line, what was traded meanwhile is fetched by REST, or declared missing with its range: the sum is exact.
fn holes_of_one_line<V: Venue>(twin: impl Fn() -> Twin<V>) {
    each_seed(twin, 2, |world| {
        for number in 0..4 {
            world.fault(&Fault::Disconnect(Target::All, How::Drop));
            world.run_for("the loss", 1.0, |world| losses(world) == number + 1);
            world.run_for("the line whole", 40.0, whole);
            world.run_s(12.0);
        }
        let recovered: u64 = world.ledger().trades.values().map(|trades| trades.recovered_total).sum();
        assert!(recovered > 0, "seed {}: {:?}", world.options.seed, world.ledger().gaps);
        let ledger = world.ledger();
        assert!(ledger.violations.is_empty(), "seed {}: {:#?}", world.options.seed, ledger.violations);
    });
}

on_each_venue!(
    binance_with_one_line_has_each_missing_trade_fetched_or_declared,
    kraken_with_one_line_has_each_missing_trade_fetched_or_declared,
    coinbase_with_one_line_has_each_missing_trade_fetched_or_declared: holes_of_one_line
);

/// Trades that the venue's stream leaves out are fetched and marked, or declared where they cannot be had by number.
fn dropped_trades<V: Venue>(twin: impl Fn() -> Twin<V>) {
    each_seed(twin, 2, |world| {
        let symbol = world.symbols()[1].clone();
        world.fault(&Fault::Venue(VenueFault::DropTrades { symbol: symbol.clone(), count: 3 }));
        world.run_s(15.0);
        let ledger = world.ledger();
        let trades = ledger.trades[&symbol];
        let can_fill = world.provider.pipeline.venue.name() != "coinbase";
        let expected = if can_fill { (3, 0) } else { (0, 3) };
        let found = (trades.recovered_total, trades.missing_total);
        assert_eq!(found, expected, "seed {}: {:?}", world.options.seed, ledger.gaps);
    });
}

on_each_venue!(
    trades_that_binance_leaves_out_are_fetched,
    trades_that_kraken_leaves_out_are_fetched,
    trades_that_coinbase_leaves_out_are_declared: dropped_trades
);

// -- rolls ---------------------------------------------------------------------------------------------------------------

/// Each line is rolled in its turn, and nobody sees it.
fn rolls<V: Venue>(lines: u8, twin: impl Fn() -> Twin<V>) {
    each_seed(twin, lines, |world| {
        for number in 0..6 {
            let now = engine::time::ReceiveTime::from_ns(world.now_ns);
            let live = world.provider.connections().iter().filter(|line| line.is_live());
            let line = live.map(engine::connection::Connection::line).nth(number % usize::from(lines - 1));
            assert!(world.provider.roll(line.expect("all lines live"), now), "a spare line is there");
            world.run_for("the roll", 20.0, |world| rolled(world) == number + 1);
            world.run_s(1.5);
        }
        assert_seamless(world);
        assert_eq!(losses(world), 0, "{:?}", world.happenings);
    });
}

fn rolled<V: Venue>(world: &World<V>) -> usize {
    world.happenings.iter().filter(|(_, happening)| matches!(happening, Happening::Rolled { .. })).count()
}

fn rolls_of_one_line<V: Venue>(twin: impl Fn() -> Twin<V>) {
    rolls(2, twin);
}

fn rolls_of_two_lines<V: Venue>(twin: impl Fn() -> Twin<V>) {
    rolls(3, twin);
}

on_each_venue!(
    a_roll_of_binance_s_line_is_seamless,
    a_roll_of_kraken_s_line_is_seamless,
    a_roll_of_coinbase_s_line_is_seamless: rolls_of_one_line
);
on_each_venue!(
    a_roll_of_each_of_two_lines_of_binance_is_seamless,
    a_roll_of_each_of_two_lines_of_kraken_is_seamless,
    a_roll_of_each_of_two_lines_of_coinbase_is_seamless: rolls_of_two_lines
);

/// A busy market, and a line whose bytes are a second old when they are read: the new line begins far ahead of it, with
/// hundreds of trades between. It waits until the old one has brought them, and takes over.
fn rolls_of_a_late_line<V: Venue>(twin: impl Fn() -> Twin<V>) {
    for seed in SEEDS {
        let options = WorldOptions { rate: 1_500.0, ..WorldOptions::with_seed(seed) };
        let mut world = World::with(options, twin());
        world.settle();
        let line =
            world.provider.connections().iter().find(|line| line.is_live()).expect("it is live").line();
        world.late = Some((line, SECOND_NS));
        world.run_s(3.0);
        let now = engine::time::ReceiveTime::from_ns(world.now_ns);
        assert!(world.provider.roll(line, now), "a spare line is there");
        world.run_for("the roll", 20.0, |world| rolled(world) == 1);
        world.run_s(1.5);
        assert_seamless(&world);
        let left = world.provider.pipeline.counts().left_to_older_total;
        assert!(left > 0, "seed {seed}: the new line was ahead");
        assert_eq!(losses(&world), 0, "{:?}", world.happenings);
        assert_eq!(world.provider.pipeline.counts().pool_empty_total, 0, "seed {seed}: nothing had to wait");
        world.finish();
    }
}

on_each_venue!(
    a_roll_of_a_late_line_of_binance_is_seamless,
    a_roll_of_a_late_line_of_kraken_is_seamless,
    a_roll_of_a_late_line_of_coinbase_is_seamless: rolls_of_a_late_line
);

/// The old line dies while the new one waits for it: what only the old one would have brought is fetched, or declared.
fn a_late_line_dies<V: Venue>(twin: impl Fn() -> Twin<V>) {
    for seed in SEEDS {
        let options = WorldOptions { rate: 1_500.0, ..WorldOptions::with_seed(seed) };
        let mut world = World::with(options, twin());
        world.settle();
        let line =
            world.provider.connections().iter().find(|line| line.is_live()).expect("it is live").line();
        world.late = Some((line, SECOND_NS));
        world.run_s(3.0);
        let now = engine::time::ReceiveTime::from_ns(world.now_ns);
        assert!(world.provider.roll(line, now), "a spare line is there");
        world.run_for("the wait", 20.0, |world| {
            world.provider.connections().iter().any(|line| world.provider.pipeline.is_ahead(line.line()))
        });
        world.late = None;
        world.cut(line);
        world.run_s(10.0);
        // Every trade is there, or declared.
        world.finish();
    }
}

on_each_venue!(
    a_late_line_of_binance_that_dies_while_it_is_rolled_leaves_an_exact_account,
    a_late_line_of_kraken_that_dies_while_it_is_rolled_leaves_an_exact_account,
    a_late_line_of_coinbase_that_dies_while_it_is_rolled_leaves_an_exact_account: a_late_line_dies
);

/// The old line says nothing any more, and nobody knows yet: the new one waits two seconds for it, and not for ever.
fn a_roll_of_a_silent_line<V: Venue>(twin: impl Fn() -> Twin<V>) {
    for seed in SEEDS {
        let options = WorldOptions { rate: 1_500.0, ..WorldOptions::with_seed(seed) };
        let mut world = World::with(options, twin());
        world.settle();
        world.fault(&Fault::Silence { target: Target::Oldest, for_ns: 30 * SECOND_NS });
        world.run_s(1.0);
        let line =
            world.provider.connections().iter().find(|line| line.is_live()).expect("it is live").line();
        let now = engine::time::ReceiveTime::from_ns(world.now_ns);
        assert!(world.provider.roll(line, now), "a spare line is there");
        let is_ahead = |world: &World<V>| {
            let mut lines = world.provider.connections().iter();
            lines.any(|line| world.provider.pipeline.is_ahead(line.line()))
        };
        world.run_for("the wait", 5.0, is_ahead);
        world.run_for("the end of the wait", 3.0, |world| !is_ahead(world));
        world.run_for("the roll", 10.0, |world| rolled(world) == 1);
        world.run_s(10.0);
        world.finish();
    }
}

on_each_venue!(
    a_roll_of_a_silent_line_of_binance_leaves_an_exact_account,
    a_roll_of_a_silent_line_of_kraken_leaves_an_exact_account,
    a_roll_of_a_silent_line_of_coinbase_leaves_an_exact_account: a_roll_of_a_silent_line
);

#[test]
fn an_announced_shutdown_of_binance_is_seamless() {
    each_seed(
        || Twin::binance(Product::Spot),
        2,
        |world| {
            world.fault(&Fault::PlannedShutdown { target: Target::All, after_ns: 30 * SECOND_NS });
            world.run_for("the roll", 20.0, |world| rolled(world) == 1);
            world.run_s(40.0);
            assert_seamless(world);
            assert_eq!(losses(world), 0, "the old line is gone before the venue ends it");
        },
    );
}

#[test]
fn a_connection_of_a_day_is_rolled_before_the_venue_ends_it() {
    let mut world = World::with(
        WorldOptions { lines: 1, rate: 0.02, bases: vec!["BTC"], ..WorldOptions::with_seed(1) },
        Twin::binance(Product::Spot),
    );
    world.settle();
    world.run_s(25.0 * 3600.0);
    assert_eq!((rolled(&world), losses(&world)), (1, 0), "{:?}", world.happenings);
    assert_seamless(&world);
    world.finish();
}

// -- REST ----------------------------------------------------------------------------------------------------------------

/// Every answer of the REST interface fails while a hole is to be filled and a book to be fetched: few requests, and all
/// well once it is over.
fn rest_trouble<V: Venue>(twin: impl Fn() -> Twin<V>) {
    let kinds = [
        RestFault::Status { status: 429, retry_after_s: 3 },
        RestFault::Status { status: 418, retry_after_s: 5 },
        RestFault::Status { status: 500, retry_after_s: 0 },
        RestFault::TruncatedJson,
        RestFault::CutAnswer,
        RestFault::Html(502),
        RestFault::NoAnswer,
    ];
    for kind in kinds {
        each_seed(&twin, 2, |world| {
            let before = world.provider.rest_counts().sent_total;
            world.fault(&Fault::Rest { path: String::new(), kind: kind.clone(), count: 1_000 });
            world.fault(&Fault::Disconnect(Target::All, How::Drop));
            world.run_s(20.0);
            let sent = world.provider.rest_counts().sent_total - before;
            // Three books and three holes, each tried again after 0.2 s, 0.4 s, ... with jitter; less where the venue
            // said for how long to keep quiet.
            let sent_max = match kind {
                RestFault::Status { status: 429 | 418, .. } => 20,
                _ => 6 * 9,
            };
            assert!(sent <= sent_max, "seed {}: {kind:?}: {sent} requests in 20 s", world.options.seed);
            world.fault(&Fault::Clear);
            world.run_for("recovery", 60.0, whole);
        });
    }
}

on_each_venue!(
    binance_rest_in_trouble_is_not_stormed,
    kraken_rest_in_trouble_is_not_stormed,
    coinbase_rest_in_trouble_is_not_stormed: rest_trouble
);
