//! Each fault of a venue or of the network, one at a time: the right event, counter and recovery, and no trace of it in
//! the neighbours' streams. Simulated clock and network, several seeds each.

use engine::event::{BookReason, BookStatus, GapReason};
use engine::pools::PoolSizes;
use engine::provider::Happening;
use simvenues::{Fault, How, RestFault, Target, VenueFault};
use soak::sim::{MS_NS, SECOND_NS, World, WorldOptions};

const SEEDS: std::ops::Range<u64> = 1..6;
const SYMBOL: &str = "ETH-USDT";
const NEIGHBOURS: [&str; 2] = ["BTC-USDT", "SOL-USDT"];

/// Runs a quiet start, what `scene` does, and the end with all its checks, for each seed.
fn each_seed(change: impl Fn(&mut WorldOptions), scene: impl Fn(&mut World)) {
    for seed in SEEDS {
        let mut options = WorldOptions::with_seed(seed);
        change(&mut options);
        let mut world = World::new(options);
        world.settle();
        world.run_s(1.0);
        scene(&mut world);
        world.finish();
    }
}

/// The neighbours never noticed.
fn assert_neighbours_undisturbed(world: &World) {
    for symbol in NEIGHBOURS {
        assert!(!world.ledger().disturbed(symbol), "seed {}: {symbol} was disturbed", world.options.seed);
    }
}

fn of_venue(fault: VenueFault) -> Fault {
    Fault::Venue(fault)
}

#[test]
fn a_quiet_run_has_no_gap_no_resync_and_no_loss() {
    each_seed(
        |_| {},
        |world| {
            world.run_s(120.0);
            let counts = *world.provider.pipeline.counts();
            assert_eq!((counts.gaps_total, counts.resyncs_total, counts.decode_errors_total), (0, 0, 0));
            assert!(counts.messages_total > 10_000, "{counts:?}");
            assert!(world.provider.connections()[0].counts.pongs_total >= 5, "the venue pings every 20 s");
            assert_eq!(world.ledger().gaps, []);
        },
    );
}

#[test]
fn two_runs_of_one_seed_are_the_same() {
    let run = || {
        let mut world = World::new(WorldOptions::with_seed(7));
        world.settle();
        world.fault(&Fault::Disconnect(Target::All, How::Drop));
        world.run_s(20.0);
        let parts = world.ledger().parts.clone();
        (parts, *world.provider.pipeline.counts(), world.happenings.clone())
    };
    assert_eq!(run(), run());
}

#[test]
fn a_dropped_connection_makes_books_stale_and_comes_back_with_each_missing_trade_declared() {
    for how in [How::Drop, How::CloseFrame(1001), How::CloseFrame(1012)] {
        each_seed(
            |_| {},
            |world| {
                world.fault(&Fault::Disconnect(Target::All, how.clone()));
                world.run_for("the loss", 1.0, |world| !world.all_proved());
                world.run_for("recovery", 5.0, World::all_proved);
                world.run_s(5.0);
                let reason = if how == How::Drop { "socket" } else { "closed_by_venue" };
                assert_eq!(world.lost_count(reason), 1, "{:?}", world.happenings);
                for symbol in world.symbols() {
                    let ledger = world.ledger();
                    let stale = ledger.state_count(&symbol, BookStatus::Stale, BookReason::ConnectionLost);
                    assert_eq!(stale, 1, "{symbol}");
                    // None where nothing was traded meanwhile; the end counts every id.
                    assert!(ledger.gaps_of(&symbol, "trade").len() <= 1, "{symbol}: {:?}", ledger.gaps);
                }
                assert_eq!(world.provider.connections()[0].counts.opened_total, 2);
            },
        );
    }
}

#[test]
fn a_frame_cut_in_the_middle_is_never_decoded() {
    each_seed(
        |_| {},
        |world| {
            world.fault(&Fault::CutFrame(Target::All));
            world.run_for("the loss", 2.0, |world| world.lost_count("socket") == 1);
            world.run_for("recovery", 5.0, World::all_proved);
            world.run_s(5.0);
            assert_eq!(world.provider.pipeline.counts().decode_errors_total, 0);
        },
    );
}

#[test]
fn a_frame_that_comes_twice_is_dropped_once() {
    each_seed(
        |_| {},
        |world| {
            for _ in 0..20 {
                world.fault(&Fault::DuplicateFrame(Target::All));
                world.run_s(0.1);
            }
            let counts = *world.provider.pipeline.counts();
            assert!(counts.stale_total >= 10, "{counts:?}");
            assert_eq!((counts.gaps_total, counts.resyncs_total), (0, 0));
        },
    );
}

#[test]
fn garbage_and_unknown_events_are_counted_and_disturb_nothing() {
    each_seed(
        |_| {},
        |world| {
            let before = *world.provider.pipeline.counts();
            let letters = world.provider.pipeline.dispatcher.letters.written_total();
            world.fault(&Fault::Garbage(Target::All));
            world.run_s(0.5);
            let counts = *world.provider.pipeline.counts();
            assert_eq!(counts.decode_errors_total, before.decode_errors_total + 1);
            assert_eq!(world.provider.pipeline.dispatcher.letters.written_total(), letters + 1);
            world.fault(&Fault::UnknownEvent(Target::All));
            world.run_s(0.5);
            let errors: Vec<_> = world.provider.pipeline.errors().iter().collect();
            let skipped: Vec<_> = world.provider.pipeline.skipped().iter().collect();
            let named = errors.iter().chain(&skipped).any(|(name, _)| name.contains("unknown"));
            assert!(named, "{errors:?} {skipped:?}");
            assert_eq!(world.provider.pipeline.counts().resyncs_total, 0);
            assert_neighbours_undisturbed(world);
            assert!(!world.ledger().disturbed(SYMBOL));
        },
    );
}

#[test]
fn an_oversized_frame_ends_the_connection_at_its_header() {
    each_seed(
        |_| {},
        |world| {
            world.fault(&Fault::OversizedHeader(Target::All));
            world.run_for("the loss", 1.0, |world| world.lost_count("protocol_error") == 1);
            world.run_for("recovery", 5.0, World::all_proved);
            world.run_s(5.0);
        },
    );
}

#[test]
fn a_gap_in_one_book_resyncs_that_book_alone() {
    each_seed(
        |_| {},
        |world| {
            world.fault(&of_venue(VenueFault::DropUpdates { symbol: SYMBOL.to_owned(), count: 2 }));
            world.run_for("the gap", 5.0, |world| !world.all_proved());
            let at_ns = world.now_ns;
            world.run_for("recovery", 1.0, World::all_proved);
            assert!(world.now_ns - at_ns < SECOND_NS, "proved again within a second");
            world.run_s(2.0);
            {
                let ledger = world.ledger();
                let gaps = ledger.gaps_of(SYMBOL, "book");
                assert_eq!(gaps.len(), 1, "{:?}", ledger.gaps);
                assert_eq!(gaps[0].reason, GapReason::Sequence);
                assert_eq!(ledger.state_count(SYMBOL, BookStatus::Suspect, BookReason::SequenceGap), 1);
            }
            let counts = *world.provider.pipeline.counts();
            assert_eq!((counts.gaps_total, counts.resyncs_total), (1, 1));
            assert_neighbours_undisturbed(world);
            assert_eq!(world.provider.connections()[0].counts.lost_total, 0);
        },
    );
}

#[test]
fn update_ids_that_lie_never_leave_a_wrong_book_proved() {
    for by in [1_000, -1_000, 3, -3] {
        each_seed(
            |_| {},
            |world| {
                let shift = VenueFault::ShiftUpdateIds { symbol: SYMBOL.to_owned(), by, count: 3 };
                world.fault(&of_venue(shift));
                world.run_s(10.0);
                let counts = *world.provider.pipeline.counts();
                assert!(counts.resyncs_total + counts.stale_total > 0, "by {by}: {counts:?}");
                assert_neighbours_undisturbed(world);
                world.run_for("recovery", 10.0, World::all_proved);
            },
        );
    }
}

#[test]
fn trades_that_the_venue_leaves_out_are_declared_one_by_one() {
    each_seed(
        |options| options.fill_trades = false,
        |world| {
            world.fault(&of_venue(VenueFault::DropTrades { symbol: SYMBOL.to_owned(), count: 4 }));
            world.run_s(5.0);
            let ledger = world.ledger();
            assert_eq!(ledger.trades[SYMBOL].missing_total, 4, "{:?}", ledger.gaps);
            for symbol in NEIGHBOURS {
                assert!(!ledger.disturbed(symbol), "{symbol}");
            }
        },
    );
}

#[test]
fn trades_that_the_venue_leaves_out_are_fetched() {
    each_seed(
        |_| {},
        |world| {
            world.fault(&of_venue(VenueFault::DropTrades { symbol: SYMBOL.to_owned(), count: 4 }));
            world.run_s(5.0);
            let ledger = world.ledger();
            assert_eq!(ledger.trades[SYMBOL].missing_total, 0, "{:?}", ledger.gaps);
            assert_eq!(ledger.gaps, []);
        },
    );
}

#[test]
fn a_snapshot_older_than_what_waits_is_fetched_again() {
    each_seed(
        |_| {},
        |world| {
            world.fault(&of_venue(VenueFault::StaleSnapshots { symbol: SYMBOL.to_owned(), count: 3 }));
            world.run_s(5.0);
            let before = world.provider.rest_counts().sent_total;
            world.fault(&of_venue(VenueFault::DropUpdates { symbol: SYMBOL.to_owned(), count: 1 }));
            world.run_for("the gap", 5.0, |world| !world.all_proved());
            world.run_for("recovery", 20.0, World::all_proved);
            let asked = world.provider.rest_counts().sent_total - before;
            assert_eq!(asked, 4, "three that are too old and a good one");
            assert_neighbours_undisturbed(world);
        },
    );
}

#[test]
fn snapshots_that_stay_too_old_do_not_spend_the_weight_of_all() {
    each_seed(
        |_| {},
        |world| {
            world.fault(&of_venue(VenueFault::StaleSnapshots { symbol: SYMBOL.to_owned(), count: 100_000 }));
            world.run_s(2.0);
            let before = *world.provider.rest_counts();
            world.fault(&of_venue(VenueFault::DropUpdates { symbol: SYMBOL.to_owned(), count: 1 }));
            world.run_s(60.0);
            let sent = world.provider.rest_counts().sent_total - before.sent_total;
            assert!((4..=20).contains(&sent), "{sent} requests in a minute");
            assert_eq!(world.ledger().books[SYMBOL].status, BookStatus::Suspect);
            assert_neighbours_undisturbed(world);
        },
    );
}

#[test]
fn refused_connections_and_upgrades_are_tried_again_with_growing_pauses() {
    let refuse = Fault::RefuseConnections { for_ns: 20 * SECOND_NS };
    let reject = Fault::RejectUpgrades { status: 503, for_ns: 20 * SECOND_NS };
    for (fault, name) in [(refuse, "connect_failed"), (reject, "handshake_refused")] {
        each_seed(
            |_| {},
            |world| {
                world.fault(&fault);
                world.fault(&Fault::Disconnect(Target::All, How::Drop));
                world.run_s(19.0);
                let tries = world.lost_count(name);
                assert!((4..=20).contains(&tries), "{tries} tries in 19 s: {:?}", world.happenings);
                world.run_for("recovery", 60.0, World::all_proved);
                world.run_s(5.0);
            },
        );
    }
}

#[test]
fn a_connection_that_falls_silent_is_dead_after_three_missed_pings() {
    each_seed(
        |_| {},
        |world| {
            world.fault(&Fault::Silence { target: Target::All, for_ns: 3_600 * SECOND_NS });
            world.run_s(50.0);
            assert_eq!(world.lost_count("silent"), 0, "not before the limit of 60 s");
            world.run_for("the loss", 15.0, |world| world.lost_count("silent") == 1);
            world.run_for("recovery", 5.0, World::all_proved);
            world.run_s(5.0);
            for symbol in world.symbols() {
                let silent = world.ledger().state_count(&symbol, BookStatus::Stale, BookReason::Silent);
                assert_eq!(silent, 1, "{symbol}");
            }
        },
    );
}

#[test]
fn a_network_that_stands_still_for_a_while_loses_nothing() {
    each_seed(
        |_| {},
        |world| {
            world.stalled_until_ns = world.now_ns + 30 * SECOND_NS;
            world.run_s(35.0);
            let counts = *world.provider.pipeline.counts();
            assert_eq!((counts.gaps_total, counts.resyncs_total), (0, 0));
            assert_eq!(world.provider.connections()[0].counts.lost_total, 0);
        },
    );
}

#[test]
fn a_planned_shutdown_is_announced_and_survived() {
    each_seed(
        |_| {},
        |world| {
            world.fault(&Fault::PlannedShutdown { target: Target::All, after_ns: 5 * SECOND_NS });
            world.run_s(1.0);
            let told = |world: &World| {
                world.happenings.iter().filter(|(_, it)| matches!(it, Happening::ShutdownSoon(_))).count()
            };
            assert_eq!(told(world), 1, "{:?}", world.happenings);
            world.run_s(10.0);
            world.run_for("recovery", 5.0, World::all_proved);
            world.run_s(5.0);
        },
    );
}

#[test]
fn a_connection_is_made_anew_before_the_venue_ends_it() {
    let mut world = World::new(WorldOptions { lines: 1, ..WorldOptions::with_seed(1) });
    world.settle();
    world.site.set_rate(0.05, world.now_ns);
    world.run_s(24.5 * 3_600.0);
    let rolled = world.happenings.iter().filter(|(_, it)| matches!(it, Happening::Rolled { .. })).count();
    assert_eq!(rolled, 1, "{:?}", world.happenings);
    for symbol in world.symbols() {
        assert!(!world.ledger().disturbed(&symbol), "{symbol}: a planned change costs nothing");
    }
    assert_eq!(world.site.stats().disconnects_total.get("age"), None);
    world.site.set_rate(50.0, world.now_ns);
    world.run_s(5.0);
    world.finish();
}

#[test]
fn every_way_in_which_rest_fails_is_named_and_tried_again() {
    let status = |status, retry_after_s| RestFault::Status { status, retry_after_s };
    for (kind, word) in [
        (RestFault::Delay(3 * SECOND_NS), ""),
        (status(500, 0), "HTTP 500"),
        (status(429, 7), "HTTP 429"),
        (status(418, 30), "HTTP 418"),
        (RestFault::Html(502), "HTTP 502"),
        (RestFault::Html(200), "GET /api/v3/depth failed"),
        (RestFault::TruncatedJson, "GET /api/v3/depth failed"),
        (RestFault::CutAnswer, "the answer was cut"),
        (RestFault::NoAnswer, "no answer within 10 s"),
    ] {
        each_seed(
            |_| {},
            |world| {
                let before = world.now_ns;
                world.fault(&Fault::Rest { path: "depth".to_owned(), kind: kind.clone(), count: 1 });
                world.fault(&of_venue(VenueFault::DropUpdates { symbol: SYMBOL.to_owned(), count: 1 }));
                world.run_for("the gap", 5.0, |world| !world.all_proved());
                let broke_ns = world.now_ns;
                world.run_for("recovery", 60.0, World::all_proved);
                let took_ns = world.now_ns - broke_ns;
                if let RestFault::Status { status: 429 | 418, retry_after_s } = kind {
                    assert!(took_ns >= retry_after_s * SECOND_NS, "{kind:?} was not obeyed: {took_ns}");
                }
                let said = world.happenings.iter().filter(|(at_ns, _)| *at_ns >= before);
                let said: Vec<String> = said.map(|(_, happening)| happening.to_string()).collect();
                assert!(word.is_empty() || said.iter().any(|line| line.contains(word)), "{kind:?}: {said:?}");
                assert_neighbours_undisturbed(world);
            },
        );
    }
}

#[test]
fn not_one_request_is_sent_while_the_venue_wants_quiet() {
    for (status, retry_after_s) in [(429, 7), (418, 11)] {
        each_seed(
            |_| {},
            |world| {
                let kind = RestFault::Status { status, retry_after_s };
                world.fault(&Fault::Rest { path: String::new(), kind, count: 1_000 });
                world.fault(&Fault::Disconnect(Target::All, How::Drop));
                let (mut quiet_until_ns, mut sent_before, mut told, mut pauses) = (0, 0, 0, 0);
                for _ in 0..1_200 {
                    world.run_s(0.05);
                    let sent = world.provider.rest_counts().sent_total;
                    if world.now_ns < quiet_until_ns {
                        assert_eq!(sent, sent_before, "seed {}: HTTP {status}", world.options.seed);
                    }
                    for (at_ns, happening) in &world.happenings[told..] {
                        if matches!(happening, Happening::RestPaused { .. }) {
                            quiet_until_ns = quiet_until_ns.max(at_ns + retry_after_s * SECOND_NS);
                            pauses += 1;
                        }
                    }
                    (told, sent_before) = (world.happenings.len(), sent);
                }
                assert!(pauses >= 3, "seed {}: HTTP {status}: {pauses}", world.options.seed);
                world.fault(&Fault::Clear);
                world.run_for("recovery", 60.0, World::all_proved);
            },
        );
    }
}

#[test]
fn rest_that_only_fails_is_asked_ever_more_rarely_and_leaves_the_orders_their_share() {
    let kinds = [
        RestFault::Status { status: 500, retry_after_s: 0 },
        RestFault::TruncatedJson,
        RestFault::CutAnswer,
        RestFault::NoAnswer,
    ];
    for kind in kinds {
        each_seed(
            |_| {},
            |world| {
                world.fault(&Fault::Rest { path: String::new(), kind: kind.clone(), count: 100_000 });
                world.fault(&Fault::Disconnect(Target::All, How::Drop));
                let mut minutes = Vec::new();
                for _ in 0..5 {
                    let before = *world.provider.rest_counts();
                    world.run_s(60.0);
                    let counts = world.provider.rest_counts();
                    minutes.push(counts.sent_total - before.sent_total);
                    let weight = counts.weight_total - before.weight_total;
                    // Of 6,000 a minute, orders have a fifth for themselves.
                    assert!(weight <= 4_800, "seed {}: {kind:?}: weight {weight}", world.options.seed);
                }
                // Three books and the trades of three streams: pauses of 0.2, 0.4, ... 51, 60 s each, with jitter.
                assert!(minutes[0] <= 6 * 10, "seed {}: {kind:?}: {minutes:?}", world.options.seed);
                assert!(minutes[4] <= 6 * 3, "seed {}: {kind:?}: {minutes:?}", world.options.seed);
                world.fault(&Fault::Clear);
                world.run_for("recovery", 120.0, World::all_proved);
            },
        );
    }
}

#[test]
fn an_instrument_list_that_fails_does_not_keep_the_gateway_from_starting() {
    for kind in
        [RestFault::TruncatedJson, RestFault::Status { status: 500, retry_after_s: 0 }, RestFault::NoAnswer]
    {
        for seed in SEEDS {
            let mut world = World::new(WorldOptions::with_seed(seed));
            world.fault(&Fault::Rest { path: "exchangeInfo".to_owned(), kind: kind.clone(), count: 3 });
            world.settle();
            world.run_s(30.0);
            world.finish();
        }
    }
}

#[test]
fn a_consumer_that_sleeps_gets_whole_books_and_declared_gaps() {
    each_seed(
        |options| {
            options.ring_events = 512;
            options.spill_events = 64;
            options.rate = 200.0;
        },
        |world| {
            world.asleep = true;
            world.run_s(30.0);
            world.assert_balanced();
            let (counts, _) = world.lane_counts();
            assert!(counts.dropped_total > 0 && counts.coalesced_total > 0, "{counts:?}");
            world.asleep = false;
            world.run_s(5.0);
            let ledger = world.ledger();
            assert!(ledger.conflated_total > 0, "a snapshot stands for what collapsed");
            for symbol in world.symbols() {
                let gaps = ledger.gaps_of(&symbol, "trade");
                assert!(gaps.iter().any(|gap| gap.reason == GapReason::SlowConsumer), "{symbol}: {gaps:?}");
                assert_eq!(ledger.gaps_of(&symbol, "book"), Vec::<&soak::ledger::Declared>::new());
            }
        },
    );
}

#[test]
fn a_consumer_that_sleeps_through_a_disconnect_ends_with_true_books() {
    each_seed(
        |options| {
            options.ring_events = 512;
            options.spill_events = 64;
            options.rate = 200.0;
        },
        |world| {
            world.asleep = true;
            world.run_s(5.0);
            world.fault(&Fault::Disconnect(Target::All, How::Drop));
            world.run_s(0.05);
            world.asleep = false;
            world.run_s(0.02);
            world.asleep = true;
            world.run_s(10.0);
            world.asleep = false;
            world.run_s(5.0);
        },
    );
}

#[test]
fn with_two_lines_losing_one_loses_no_trade() {
    each_seed(
        |options| options.lines = 3,
        |world| {
            for target in [Target::Oldest, Target::Newest] {
                world.fault(&Fault::Disconnect(target, How::Drop));
                world.run_s(10.0);
            }
            assert_eq!(
                world.provider.connections().iter().map(|line| line.counts.lost_total).sum::<u64>(),
                2
            );
            let ledger = world.ledger();
            assert_eq!(ledger.gaps, [], "seed {}", world.options.seed);
            for symbol in world.symbols() {
                assert!(!ledger.disturbed(&symbol), "{symbol}");
            }
        },
    );
}

#[test]
fn empty_pools_never_leave_frames_behind() {
    each_seed(
        |options| {
            options.pools = PoolSizes { raws: 4, ..PoolSizes::SPEC };
            options.bases = vec!["BTC", "ETH", "SOL", "BNB", "XRP", "DOGE", "ADA"];
        },
        |world| {
            world.fault(&Fault::Rest {
                path: "depth".to_owned(),
                kind: RestFault::Delay(3 * SECOND_NS),
                count: 20,
            });
            world.fault(&Fault::Disconnect(Target::All, How::Drop));
            world.run_s(20.0);
            let counts = *world.provider.pipeline.counts();
            assert!(counts.pool_timeouts_total > 0, "{counts:?}");
            // The market stops: what was sent must arrive although nothing follows that would push it through.
            world.site.set_rate(0.0, world.now_ns);
            world.run_s(5.0);
            for truth in world.site.truth() {
                let trades = world.ledger().trades[&truth.symbol];
                assert_eq!(Some(trades.last), truth.trade_id_last, "{}", truth.symbol);
            }
            world.site.set_rate(50.0, world.now_ns);
        },
    );
}

#[test]
fn each_ping_is_answered() {
    each_seed(
        |_| {},
        |world| {
            for _ in 0..200 {
                world.fault(&Fault::Ping(Target::All));
                world.run_s(1.1);
            }
            let line = &world.provider.connections()[0];
            assert!(line.counts.pongs_total >= 200, "{:?}", line.counts);
            assert_eq!(line.counts.lost_total, 0);
        },
    );
}

#[test]
fn many_faults_in_any_order_end_with_true_books_and_balanced_counters() {
    for seed in seeds() {
        let mut options = WorldOptions::with_seed(seed);
        options.lines = 1 + (seed % 2) as u8;
        options.ring_events = if seed % 3 == 0 { 1_024 } else { 8_192 };
        options.delay_ns = (1 + seed % 40) * MS_NS;
        let mut world = World::new(options);
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..40 {
            world.run_s(rng.f64() * 4.0);
            world.assert_balanced();
            let symbol = world.symbols()[rng.usize(..3)].clone();
            let count = rng.u32(1..5);
            let target = if rng.bool() { Target::Newest } else { Target::Oldest };
            let fault = match rng.u32(..17) {
                0 => Fault::Disconnect(target, How::Drop),
                1 => Fault::Disconnect(target, How::CloseFrame(1001)),
                2 => Fault::RefuseConnections { for_ns: rng.u64(..5 * SECOND_NS) },
                3 => Fault::RejectUpgrades { status: 503, for_ns: rng.u64(..5 * SECOND_NS) },
                4 => Fault::Silence { target, for_ns: rng.u64(..90 * SECOND_NS) },
                5 => Fault::CutFrame(target),
                6 => Fault::DuplicateFrame(target),
                7 => Fault::Garbage(target),
                8 => Fault::UnknownEvent(target),
                9 => Fault::OversizedHeader(target),
                10 => Fault::PlannedShutdown { target, after_ns: rng.u64(..3 * SECOND_NS) },
                11 => Fault::Rest { path: String::new(), kind: rest_fault(&mut rng), count },
                12 => of_venue(VenueFault::DropUpdates { symbol, count }),
                13 => of_venue(VenueFault::ShiftUpdateIds { symbol, by: rng.i64(-2_000..2_000), count }),
                14 => of_venue(VenueFault::DropTrades { symbol, count }),
                15 => of_venue(VenueFault::StaleSnapshots { symbol, count }),
                _ => {
                    world.asleep = !world.asleep;
                    continue;
                }
            };
            world.fault(&fault);
        }
        world.finish();
    }
}

/// Ten seeds, or those of `SOAK_SEEDS` (`100..1000`): a failure names its own.
fn seeds() -> std::ops::Range<u64> {
    let wanted = std::env::var("SOAK_SEEDS").ok();
    let range = wanted.as_deref().and_then(|text| text.split_once(".."));
    match range.map(|(from, to)| (from.parse(), to.parse())) {
        Some((Ok(from), Ok(to))) => from..to,
        _ => 100..110,
    }
}

fn rest_fault(rng: &mut fastrand::Rng) -> RestFault {
    match rng.u32(..7) {
        0 => RestFault::Delay(rng.u64(..12 * SECOND_NS)),
        1 => RestFault::Status { status: 500, retry_after_s: 0 },
        2 => RestFault::Status { status: 429, retry_after_s: 2 },
        3 => RestFault::Html(200),
        4 => RestFault::TruncatedJson,
        5 => RestFault::CutAnswer,
        _ => RestFault::NoAnswer,
    }
}
