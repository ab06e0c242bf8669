//! 32 events of 192 bytes over a ring and off it, on one thread: what the code costs, not what the cores' caches do.

use std::hint::black_box;

use crossbeam_queue::ArrayQueue;
use engine::event::Event;
use engine::ring::ring;

use crate::{Case, Group};

const EVENTS: usize = 32;
const CAPACITY: usize = 1_024;

/// One group.
pub fn groups() -> Vec<Group> {
    let event = Event::default();
    let (mut sender, mut receiver) = ring::<Event>(CAPACITY);
    let ours = Case::new("ours, rtrb in batches", move || {
        for _ in 0..EVENTS {
            assert!(sender.has_room(1));
            sender.push(*black_box(&event));
        }
        sender.publish();
        receiver.drain(EVENTS, |event| {
            black_box(event);
        });
    });
    let mut queue = Box::new(heapless::spsc::Queue::<Event, CAPACITY>::new());
    let heapless = Case::new("heapless spsc", move || {
        let (mut sender, mut receiver) = queue.split();
        for _ in 0..EVENTS {
            assert!(sender.enqueue(*black_box(&event)).is_ok());
        }
        while let Some(event) = receiver.dequeue() {
            black_box(&event);
        }
    });
    let queue = ArrayQueue::<Event>::new(CAPACITY);
    let crossbeam = Case::new("crossbeam ArrayQueue", move || {
        for _ in 0..EVENTS {
            assert!(queue.push(*black_box(&event)).is_ok());
        }
        while let Some(event) = queue.pop() {
            black_box(&event);
        }
    });
    vec![Group::new("ring, on and off", EVENTS, vec![ours, heapless, crossbeam])]
}
