//! Consolidated best bid and offer: which leg wins, and which does not compete.

use super::*;

fn best_world(source: BboSource, leg_age_ns_max: u64) -> World {
    let mut world = World::new(3, PoolSizes::SPEC);
    world.add(&MergeRule { leg_age_ns_max, ..rule("best", MergeKind::Bbo(source), 3, 0, 0) });
    world
}

/// The best bids and offers since the last call, as `bid provider/price ask provider/price statuses`.
fn bests(world: &mut World) -> Vec<String> {
    let text = |event: Event| {
        let Body::MergedBbo(bbo) = event.body else { panic!("{event:?}") };
        let side = |leg: Option<crate::event::BestLeg>| {
            leg.map_or("-".to_owned(), |leg| format!("{}/{}", leg.provider, leg.price.0))
        };
        let statuses: String = bbo.legs().iter().map(|leg| &leg.status.name()[..2]).collect();
        format!("{} {} {statuses}", side(bbo.bid), side(bbo.ask))
    };
    world.events.drain(..).map(text).collect()
}

#[test]
fn the_best_of_all_legs_is_told_at_every_change() {
    let mut world = best_world(BboSource::Ticker, u64::MAX);
    // Prices of provider n have 2 + n decimals.
    for event in [
        ticker(0, 10, 1, (10_000, 5), (10_010, 5)),
        ticker(1, 11, 1, (100_001, 5), (100_101, 5)),
        ticker(1, 12, 2, (100_001, 5), (100_102, 5)),
        ticker(2, 13, 1, (1_000_010, 9_000), (1_000_990, 1)),
        ticker(0, 14, 2, (9_000, 5), (0, 0)),
    ] {
        world.event(&event);
    }
    assert_eq!(
        bests(&mut world),
        [
            "0/10000 0/10010 prsysy",
            "1/100001 0/10010 prprsy",
            // An ask that is not the best moved: nothing to tell. The third leg ties in price and has more.
            "2/1000010 2/1000990 prprpr",
            // The first leg was best at nothing any more.
        ]
    );
    world.event(&ticker(2, 15, 2, (1, 1), (0, 0)));
    assert_eq!(bests(&mut world), ["1/100001 1/100102 prprpr"]);
    let counts = world.merger.merge_counts(StreamId(0)).0;
    assert_eq!((counts.events_total, counts.best_changes_total), (6, 4));
    world.check_sums();
}

#[test]
fn a_leg_with_a_gap_does_not_compete_until_it_is_heard_again() {
    let mut world = best_world(BboSource::Ticker, u64::MAX);
    world.event(&ticker(0, 10, 1, (10_000, 5), (10_010, 5)));
    world.event(&ticker(1, 11, 1, (90_000, 5), (110_000, 5)));
    let gap = Gap { from: 2, to: 3, event_count: 0, reason: GapReason::SlowConsumer };
    world.event(&on(0, Channel::Ticker, 12, 3, Body::Gap(gap)));
    world.event(&ticker(0, 13, 4, (10_000, 5), (10_010, 5)));
    assert_eq!(
        bests(&mut world),
        [
            "0/10000 0/10010 prsysy",
            "0/10000 0/10010 prprsy",
            "1/90000 1/110000 suprsy",
            "0/10000 0/10010 prprsy"
        ]
    );
}

#[test]
fn a_leg_that_grew_too_old_does_not_compete() {
    let mut world = best_world(BboSource::Ticker, 50);
    world.event(&ticker(0, 10, 1, (10_000, 5), (10_010, 5)));
    world.event(&ticker(1, 40, 1, (90_000, 5), (110_000, 5)));
    assert_eq!(world.merger.deadline(), Some(at(60)));
    world.run("t59");
    assert_eq!(bests(&mut world).len(), 2);
    world.run("t60");
    let [Event { body: Body::MergedBbo(MergedBbo { legs, .. }), .. }] = world.events[..] else {
        panic!("one change")
    };
    assert_eq!(legs[0].age_ms, 0, "milliseconds");
    assert_eq!(bests(&mut world), ["1/90000 1/110000 stprsy"]);
    assert_eq!(world.merger.deadline(), Some(at(90)));
    world.run("t90");
    assert_eq!(bests(&mut world), ["- - ststsy"]);
    assert_eq!(world.merger.deadline(), None);
}

fn part(status: BookStatus, bids: &[(i64, i64)], asks: &[(i64, i64)]) -> BookPart {
    let mut levels = [Level::default(); LEVELS_PER_PART];
    for (level, &(price, qty)) in levels.iter_mut().zip(bids.iter().chain(asks)) {
        *level = Level { price: Price(price), qty: Qty(qty) };
    }
    let (bid_count, ask_count) = (bids.len() as u8, asks.len() as u8);
    BookPart { status, proof: Proof::Continuity, bid_count, ask_count, levels }
}

#[test]
fn books_compete_while_they_are_proved() {
    let mut world = best_world(BboSource::Book { depth_max: 100, reserve: 10 }, u64::MAX);
    let book = Channel::Book { speed_ms: 100 };
    let proved = |bids: &[(i64, i64)], asks: &[(i64, i64)]| part(BookStatus::Proved, bids, asks);
    let state =
        |status| Body::BookState { status, proof: Proof::Continuity, reason: BookReason::SequenceGap };
    let mut half = on(0, book, 9, 1, Body::BookSnapshot(proved(&[(9_900, 1)], &[])));
    half.header.flags = Flags::FIRST;
    let mut rest = on(0, book, 9, 1, Body::BookSnapshot(proved(&[(10_000, 1)], &[(10_100, 1)])));
    rest.header.flags = Flags::LAST;
    world.event(&half);
    assert_eq!(bests(&mut world), [""; 0], "half a book is no book");
    world.event(&rest);
    world.event(&on(1, book, 10, 1, Body::BookSnapshot(proved(&[(100_005, 1)], &[(100_995, 1)]))));
    world.event(&on(0, book, 11, 2, Body::BookUpdate(proved(&[(9_900, 4)], &[]))));
    world.event(&on(1, book, 12, 2, Body::BookUpdate(proved(&[(100_005, 0), (99_999, 2)], &[]))));
    world.event(&on(0, book, 13, 2, state(BookStatus::Suspect)));
    world.event(&on(0, book, 14, 9, Body::BookSnapshot(proved(&[(10_001, 1)], &[(10_100, 1)]))));
    assert_eq!(
        bests(&mut world),
        [
            "0/10000 0/10100 prsysy",
            "1/100005 1/100995 prprsy",
            "0/10000 1/100995 prprsy",
            "1/99999 1/100995 suprsy",
            "0/10001 1/100995 prprsy"
        ]
    );
    let gap = Gap { from: 10, to: 11, event_count: 0, reason: GapReason::SlowConsumer };
    world.event(&on(0, book, 15, 11, Body::Gap(gap)));
    world.event(&on(0, book, 16, 12, Body::BookUpdate(proved(&[(10_002, 1)], &[]))));
    assert_eq!(bests(&mut world), ["1/99999 1/100995 suprsy"], "updates after a gap make no book");
    world.event(&on(0, book, 17, 13, Body::BookSnapshot(proved(&[(10_003, 1)], &[]))));
    assert_eq!(bests(&mut world), ["0/10003 1/100995 prprsy"]);
}

#[test]
fn any_interleaving_ends_with_the_same_best_bid_and_offer() {
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let feed: Vec<Vec<Event>> = (0..3_u8)
            .map(|provider| {
                let scale = 10_i64.pow(u32::from(provider));
                let quote = |random: &mut fastrand::Rng| (random.i64(100..110) * scale, random.i64(0..5));
                let ticks = (1..20).map(|n| ticker(provider, n, n, quote(&mut random), quote(&mut random)));
                ticks.collect()
            })
            .collect();
        let mut first = None;
        for _ in 0..5 {
            let mut world = best_world(BboSource::Ticker, u64::MAX);
            let mut next = [0; 3];
            while next.iter().any(|&next| next < 19) {
                let input = random.usize(0..3);
                if let Some(event) = feed[input].get(next[input]) {
                    next[input] += 1;
                    world.event(event);
                }
            }
            let last = bests(&mut world).pop().expect("at least one");
            assert_eq!(*first.get_or_insert_with(|| last.clone()), last, "seed {seed}");
        }
    }
}
