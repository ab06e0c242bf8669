//! The whole gateway by seed (`soak simulate`): fixed seeds, as many more as a fixed time allows, and that it can fail.

use std::time::Duration;

use soak::whole::chaos::{Kind, Mix};
use soak::whole::run::{Failure, Summary, simulate, simulate_many};
use soak::whole::{Options, Sabotage};

/// Time for seeds from [`FROM`]; `SOAK_SIMULATE_S` asks for fresh ones instead, for so many seconds. What fresh seeds find must
/// not stop a change that has nothing to do with it: `scripts/check.sh simulation` runs them and says what they found.
const TIME: Duration = Duration::from_secs(8);
const FROM: u64 = 3_462_995_808;

fn good(options: &Options) -> Summary {
    simulate(options).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn every_promise_holds_for_seeds_that_are_always_run() {
    let verdict = simulate_many(1, 8, None, None, None);
    eprintln!("{}", verdict.table());
    assert!(verdict.is_good(), "{}", verdict.table());
    let sum = verdict.sum;
    assert!(sum.faults > 200 && sum.books > 1_000 && sum.merged > 1_000 && sum.critical > 10, "{sum:?}");
    assert!(sum.gaps > 0 && sum.panics > 0, "little was tried: {sum:?}");
}

#[test]
fn every_promise_holds_for_as_many_seeds_as_time_allows() {
    let seconds = std::env::var("SOAK_SIMULATE_S").ok().and_then(|text| text.parse().ok());
    let from = if seconds.is_some() { fastrand::u64(..1 << 32) } else { FROM };
    eprintln!("seeds from {from}");
    let verdict = simulate_many(from, u64::MAX, Some(seconds.map_or(TIME, Duration::from_secs)), None, None);
    eprintln!("{}", verdict.table());
    assert!(verdict.is_good(), "{}", verdict.table());
}

#[test]
fn the_same_seed_is_the_same_run_and_another_is_another() {
    let options = |seed| Options { mix: Some(Mix::ALL), ..Options::with_seed(seed) };
    let first = good(&options(3));
    assert_eq!(first, good(&options(3)));
    assert_ne!(first.hash, good(&options(4)).hash);
}

/// Each promise broken on purpose: the part of the message that names it.
#[test]
fn a_promise_that_is_broken_is_noticed() {
    // An event that is not shown, or twice, may be noticed by the counters first.
    let expected = |sabotage| match sabotage {
        Sabotage::DropEvent | Sabotage::RepeatEvent | Sabotage::SwapEvents | Sabotage::LoseGap => {
            ["is next", "and showed"]
        }
        Sabotage::WrongBook => ["a book at", "is not the venue's"],
        Sabotage::PartialMerge => ["is partial", "is partial"],
        Sabotage::LoseReport => ["critical events sent", "critical events sent"],
        // Whichever event it was.
        Sabotage::LoseUncounted => ["taken", "a book at"],
        Sabotage::LeakSlot => ["its pool says", "pools are out"],
        Sabotage::LoseRoute => ["is to get", "is to get"],
        Sabotage::LoseReply | Sabotage::ObeyLate => ["in which no shard stood", "none of them waiting"],
        // Its own request, or one of an operator.
        Sabotage::LoseAnswer => ["control results", "was acknowledged"],
        Sabotage::RecordLess => ["is another, with", "parts that were shown"],
        Sabotage::LoseWrite => ["is another, with", "has no end"],
        Sabotage::LieSynced => ["was written to its end", "was written to its end"],
        Sabotage::DisturbNeighbour => ["its seat is another", "its seat is another"],
    };
    for sabotage in Sabotage::ALL {
        let caught = |seed| {
            // A shard that takes little at a time has Gaps to lose.
            let mix = Some(Mix::ALL.without(Kind::Lines));
            simulate(&Options { mix, sabotage: Some(sabotage), ..Options::with_seed(seed) }).err()
        };
        // Not every seed has the moment for it.
        let failure: Option<Box<Failure>> = (1..20).find_map(caught);
        let failure = failure.unwrap_or_else(|| panic!("{sabotage:?} was not noticed"));
        let text = failure.to_string();
        assert!(expected(sabotage).iter().any(|text| failure.what.contains(text)), "{sabotage:?}: {text}");
        assert!(text.contains(&format!("--from {} --mix", failure.seed)), "{text}");
    }
}

/// Found by a fresh seed: after several new subscriptions within a second Coinbase refuses those of a new connection
/// (`rate limit exceeded`), and nothing asked again.
#[test]
fn a_subscription_that_was_refused_for_its_haste_is_asked_for_again() {
    let only = Some(vec![37, 45, 46, 47]);
    good(&Options { mix: Some(Mix(9107)), only, ..Options::with_seed(348_589_492) });
}

/// Found by a fresh seed: a connection that brought nothing but the trades before it, and another after it. A Gap stood for
/// what happened between them, and the hundred trades that the second one began with were missing without a word.
#[test]
fn trades_before_the_second_connection_follow_their_gap() {
    let only = Some(vec![0, 13, 27, 34, 43, 50]);
    good(&Options { mix: Some(Mix(2_099)), only, ..Options::with_seed(2_756_376_699) });
}

/// Found by a fresh seed: a snapshot that was asked for in a quiet moment found the book proved already, and the wish stood
/// on. When the book broke later, no other was asked for, ever.
#[test]
fn a_book_that_was_proved_before_its_second_snapshot_came_is_asked_for_when_it_breaks() {
    let only = Some(vec![2, 12, 23]);
    good(&Options { mix: Some(Mix(27_524)), only, ..Options::with_seed(3_172_120_793) });
}

/// Found by a fresh seed: the frame that was lost behind a broken one was the snapshot of the new subscription. The book was broken
/// and asked for already, so neither the jump nor any update asked again.
#[test]
fn a_book_whose_snapshot_was_lost_comes_back() {
    let only = Some(vec![63, 90, 99, 106]);
    good(&Options { mix: Some(Mix(231_874)), only, ..Options::with_seed(698_359_681) });
}

/// Found by a fresh seed: the line of a book was silent since a shard subscribed to it, and when another line took over the shard was
/// sent no snapshot: it went on with a mixture of two books that called itself proved.
#[test]
fn a_shard_that_came_while_a_line_was_silent_has_the_book_of_the_other() {
    let only = Some(vec![18, 65]);
    good(&Options { mix: Some(Mix(299_291)), only, ..Options::with_seed(1_957_653_914) });
}

/// Found by a fresh seed: the last of some updates with numbers that lie had those of the true one after it, to the unit, which then
/// passed for a frame that was sent twice. Its levels were missing from a book that called itself proved.
#[test]
fn an_update_with_the_numbers_of_the_one_before_it_breaks_the_book() {
    let only = Some(vec![7, 29, 34, 54, 59]);
    good(&Options { mix: Some(Mix(1_103_414)), only, ..Options::with_seed(11_000_277) });
}

/// Found with a full disk: a rotated journal ended an order that it had ended before, so trading did not come back after the start.
#[test]
fn trading_comes_back_from_a_journal_that_was_rotated_on_a_full_disk() {
    good(&Options { mix: Some(Mix(507_904)), ..Options::with_seed(5_061) });
}

/// Found by fresh seeds: what a power cut may cost was measured by the clock, also while nothing ran; and a journal in batches
/// whose disk was full never synced what it had written before.
#[test]
fn a_power_cut_costs_a_second_of_running_and_no_more() {
    for (seed, mix) in [(910_000_522, 420_780), (910_002_358, 181_008)] {
        good(&Options { mix: Some(Mix(mix)), ..Options::with_seed(seed) });
    }
}

/// Found by fresh seeds with the control shard: a shard that stood gave up a book while a snapshot of it waited for room. The snapshot
/// was built all the same, and when the shard took the book again it was sent updates without one, for ever.
#[test]
fn a_book_that_a_standing_shard_gave_up_begins_anew() {
    let only = Some(vec![0, 23, 36, 40]);
    good(&Options { mix: Some(Mix(3_811_126)), only, ..Options::with_seed(33_000_168) });
}

/// Found by fresh seeds with rolls on command: the venue announced its end right after a line had been rolled, so the line that
/// had been given up was in use again before anybody looked. The roll was called under way for ever, and no other began.
#[test]
fn a_roll_on_command_ends_though_its_line_is_in_use_again_at_once() {
    let only = Some(vec![36, 45, 51]);
    good(&Options { mix: Some(Mix(15_729_835)), only, ..Options::with_seed(4_200_000_615) });
}

/// Found by fresh seeds, a fault of the simulation: a consumer's shard stood when it was to give up a book, so it did so after the
/// end had asked for everything and was told that it was there.
#[test]
fn what_a_consumer_gives_up_late_is_asked_for_after_it() {
    let only = Some(vec![44, 61, 80]);
    good(&Options { mix: Some(Mix(12_388_855)), only, ..Options::with_seed(4_300_004_907) });
}

/// Found as soon as a venue could be without room: the second of three venues refused its streams of a merge rule, and the third
/// never heard what numbers the control thread had given to its own. The next new stream there took the shard down.
#[test]
fn a_refused_rule_leaves_every_shard_with_the_same_numbers() {
    let only = Some(vec![1, 15]);
    good(&Options { mix: Some(Mix(33_133_348)), only, ..Options::with_seed(6_000_000_113) });
}

/// Found by fresh seeds: Coinbase's subscription to trades got lost at a venue that did not hear for a while, and the answer to another
/// one ended the wait for it too. A line took over that never had the trades of two instruments.
#[test]
fn a_subscription_that_the_venue_does_not_name_is_not_taken_for_answered() {
    let only = Some(vec![65, 87, 91, 98, 113]);
    good(&Options { mix: Some(Mix(43_912_355)), only, ..Options::with_seed(7_000_001_219) });
}

/// Found by fresh seeds, a fault of the simulation: the state of a book came between a deeper route and its snapshot.
#[test]
fn a_state_says_nothing_of_the_depth_of_a_book() {
    let only = Some(vec![0, 5, 6]);
    good(&Options { mix: Some(Mix(12_698_460)), only, ..Options::with_seed(5_000_020_945) });
}

/// Found by fresh seeds: a consumer that came to a book whose deeper snapshot was still on its way to the shard was shown the shallow copy
/// as its book.
#[test]
fn a_newcomer_is_not_shown_a_book_that_is_less_deep_than_its_own() {
    let only = Some(vec![16, 19, 20, 31, 33]);
    good(&Options { mix: Some(Mix(66_999_412)), only, ..Options::with_seed(8_000_001_683) });
}

/// Found by fresh seeds with subscriptions that are passed over: the first frame of a Coinbase connection was a book, whose number 0 was
/// taken for none. Its events counted on from before, and the next update went back.
#[test]
fn a_book_in_the_first_frame_of_a_connection_has_a_number() {
    let only = Some(vec![7, 14, 17, 18, 33, 53, 55, 65, 110, 114]);
    good(&Options { mix: Some(Mix(80_229_378)), only, ..Options::with_seed(11_000_000_551) });
}

/// Found by the same: a subscription that was passed over twice was given up, and the line took over all the same.
#[test]
fn a_subscription_that_is_passed_over_twice_is_not_given_up() {
    let only = Some(vec![31, 37, 90]);
    good(&Options { mix: Some(Mix(127_585_392)), only, ..Options::with_seed(11_000_000_513) });
}

/// Found by the first seeds with the recorder: what the control thread told it made its recording unreadable; so did a power cut that
/// left zeros in a file's head, and one in a record was taken for whole.
#[test]
fn a_recording_is_read_whatever_the_control_thread_told_and_the_power_left() {
    let kill = Mix(1 << Kind::Control as u32 | 1 << Kind::Recorder as u32);
    good(&Options { mix: Some(kill), only: Some(Vec::new()), ..Options::with_seed(2) });
    let power = Mix(1 << Kind::Recorder as u32);
    good(&Options { mix: Some(power), only: Some(vec![23, 27]), ..Options::with_seed(2) });
    good(&Options { mix: Some(power), only: Some(vec![1, 4, 5, 6, 7]), ..Options::with_seed(5_002) });
}

/// With nothing else going wrong a roll on command makes no hole, whether the control shard asks for it or nobody is in between.
#[test]
fn lines_are_rolled_on_command_without_a_hole() {
    let of = |kinds: &[Kind]| Mix(kinds.iter().fold(0, |bits, &kind| bits | 1 << kind as u32));
    for mix in [
        of(&[Kind::Rolls]),
        of(&[Kind::Rolls, Kind::TwoLines]),
        of(&[Kind::Rolls, Kind::Control, Kind::Network]),
    ] {
        for seed in 1..4 {
            let sum = good(&Options { mix: Some(mix), ..Options::with_seed(seed) });
            assert!(sum.rolled > 3 && sum.gaps == 0, "seed {seed}, {:?}: {sum:?}", mix.kinds());
        }
    }
}
