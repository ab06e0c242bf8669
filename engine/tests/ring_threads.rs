//! The ring between two real threads: everything arrives, once and in order, however the two run.
//!
//! Here by chance of the scheduler; `scripts/sanitize.sh threads` runs the same under `ThreadSanitizer`.

use engine::ring::ring;

/// As wide as an event, so that a torn one would show: each word says the item's number in its own way.
type Wide = [u64; 24];

fn wide(number: u64) -> Wide {
    std::array::from_fn(|word| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(word as u32))
}

fn check(capacity: usize, batch: u64, items: u64) {
    let (mut sender, mut receiver) = ring::<Wide>(capacity);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..items {
                while !sender.has_room(1) {
                    sender.publish();
                    std::thread::yield_now();
                }
                sender.push(wide(number));
                if number % batch == batch - 1 {
                    sender.publish();
                }
            }
            sender.publish();
        });
        let mut next = 0;
        while next < items {
            let seen = receiver.drain(16, |item| {
                assert_eq!(*item, wide(next), "item {next} of a ring of {capacity}");
                next += 1;
            });
            if seen == 0 {
                std::thread::yield_now();
            }
        }
        assert!(receiver.is_empty());
    });
}

#[test]
fn two_threads_see_every_item_whole_and_in_order() {
    check(64, 8, 20_000);
}

#[test]
fn a_ring_of_one_hands_over_each_item() {
    check(1, 1, 2_000);
}

#[test]
fn a_ring_smaller_than_a_batch_still_moves() {
    check(3, 100, 5_000);
}
