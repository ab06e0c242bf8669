//! Bounded slabs of reusable objects, one set per shard: no allocator, no atomics, nothing shared.
//!
//! A [`Handle`] owns its slot. Dropping it resets the object and puts the slot back, so a double return cannot be
//! written down. The pool still keeps books of who is out; if they are ever wrong it stops the process and names both
//! places, because from then on two owners could see one object.
//!
//! ```
//! use engine::pool::{Pool, Reset};
//!
//! struct Line(String);
//!
//! impl Reset for Line {
//!     fn reset(&mut self) {
//!         self.0.clear(); // its memory stays
//!     }
//! }
//!
//! let pool = Pool::new("lines", 1, || Line(String::with_capacity(64)));
//! let mut line = pool.take().expect("one is free");
//! line.0.push_str("of the first user");
//! assert!(pool.take().is_none(), "bounded: an empty pool is an answer, not an allocation");
//! assert_eq!(pool.outstanding().len(), 1, "who took it is known, with file and line");
//!
//! drop(line); // the only way back
//! let line = pool.take().expect("free again");
//! assert!(line.0.is_empty() && line.0.capacity() >= 64);
//! ```

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::rc::Rc;

use crate::time::ReceiveTime;

/// How long a taker waits for a slot before it gets an error, in nanoseconds (SPEC F-02).
pub const TAKE_WAIT_NS_MAX: u64 = 100_000_000;

/// What a pool can hold.
pub trait Reset {
    /// Makes it as new, keeping its memory: nothing of the former use may be left.
    fn reset(&mut self);

    /// Fills it with what nobody may rely on. Debug builds do so while a slot lies in the pool.
    fn poison(&mut self) {}
}

/// A bounded set of `T`, allocated when it is made.
#[derive(Debug)]
pub struct Pool<T: Reset> {
    shared: Rc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    name: &'static str,
    free: RefCell<Vec<Box<Slot<T>>>>,
    ledger: RefCell<Vec<Entry>>,
    taken_total: Cell<u64>,
    empty_total: Cell<u64>,
    out_max: Cell<usize>,
}

#[derive(Debug)]
struct Slot<T> {
    index: usize,
    generation: u64,
    value: T,
}

/// What the pool knows of a slot.
#[derive(Clone, Copy, Debug)]
struct Entry {
    generation: u64,
    out: bool,
    /// Where it was taken, or, while it is in, where it was returned from (the place that had taken it).
    place: &'static Location<'static>,
}

/// A slot that is out, for the report at shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outstanding {
    /// The pool.
    pub pool: &'static str,
    /// Where the slot was taken.
    pub taken_at: &'static Location<'static>,
}

impl fmt::Display for Outstanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, taken at {}", self.pool, self.taken_at)
    }
}

/// How a pool was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Slots in all.
    pub capacity: usize,
    /// Slots that are out now.
    pub out: usize,
    /// Most slots that were ever out at once.
    pub out_max: usize,
    /// Slots taken so far.
    pub taken_total: u64,
    /// Takes that found the pool empty.
    pub empty_total: u64,
}

/// What a taker with patience gets.
#[derive(Debug)]
pub enum Taken<T: Reset> {
    /// The slot.
    Handle(Handle<T>),
    /// None is free: ask again before the deadline.
    Wait {
        /// When the wait ends in an error.
        deadline: ReceiveTime,
    },
    /// None came free for [`TAKE_WAIT_NS_MAX`]: backpressure begins.
    TimedOut,
}

impl<T: Reset> Pool<T> {
    /// A pool of `capacity` objects, each made by `make`. All its memory is taken here.
    pub fn new(name: &'static str, capacity: usize, mut make: impl FnMut() -> T) -> Self {
        let place = Location::caller();
        let free = (0..capacity)
            .rev()
            .map(|index| {
                let mut value = make();
                value.reset();
                Box::new(Slot { index, generation: 0, value })
            })
            .collect();
        let ledger = vec![Entry { generation: 0, out: false, place }; capacity];
        Self {
            shared: Rc::new(Shared {
                name,
                free: RefCell::new(free),
                ledger: RefCell::new(ledger),
                taken_total: Cell::new(0),
                empty_total: Cell::new(0),
                out_max: Cell::new(0),
            }),
        }
    }

    /// Takes a slot if one is free.
    #[inline]
    #[track_caller]
    pub fn take(&self) -> Option<Handle<T>> {
        let shared = &*self.shared;
        let Some(mut slot) = shared.free.borrow_mut().pop() else {
            shared.empty_total.set(shared.empty_total.get() + 1);
            return None;
        };
        if cfg!(debug_assertions) {
            slot.value.reset();
        }
        let mut ledger = shared.ledger.borrow_mut();
        let entry = &mut ledger[slot.index];
        if entry.out || entry.generation != slot.generation {
            broken(shared.name, slot.index, entry.place, Location::caller());
        }
        slot.generation += 1;
        *entry = Entry { generation: slot.generation, out: true, place: Location::caller() };
        shared.taken_total.set(shared.taken_total.get() + 1);
        let out = ledger.len() - shared.free.borrow().len();
        shared.out_max.set(shared.out_max.get().max(out));
        Some(Handle { slot: Some(slot), shared: Rc::clone(&self.shared) })
    }

    /// Takes a slot, or says how long to wait. `waiting_since` is the taker's own memory of its wait; it is cleared when
    /// the wait ends either way.
    #[track_caller]
    pub fn take_patiently(&self, waiting_since: &mut Option<ReceiveTime>, now: ReceiveTime) -> Taken<T> {
        if let Some(handle) = self.take() {
            *waiting_since = None;
            return Taken::Handle(handle);
        }
        let deadline = waiting_since.get_or_insert(now).plus_ns(TAKE_WAIT_NS_MAX);
        if now < deadline {
            return Taken::Wait { deadline };
        }
        *waiting_since = None;
        Taken::TimedOut
    }

    /// How it was used.
    pub fn usage(&self) -> Usage {
        let capacity = self.shared.ledger.borrow().len();
        Usage {
            capacity,
            out: capacity - self.shared.free.borrow().len(),
            out_max: self.shared.out_max.get(),
            taken_total: self.shared.taken_total.get(),
            empty_total: self.shared.empty_total.get(),
        }
    }

    /// The slots that are out, and since where: what shutdown reports after its wait.
    pub fn outstanding(&self) -> Vec<Outstanding> {
        let ledger = self.shared.ledger.borrow();
        let out = ledger.iter().filter(|entry| entry.out);
        out.map(|entry| Outstanding { pool: self.shared.name, taken_at: entry.place }).collect()
    }
}

/// The pool's own rule is broken: two owners could see one object. Nothing that follows can be trusted.
#[cold]
fn broken(pool: &str, index: usize, first: &Location<'_>, second: &Location<'_>) -> ! {
    eprintln!(
        "meltica: pool {pool} slot {index} returned twice: first from {first}, then from {second}; stopping"
    );
    std::process::abort()
}

/// One slot, owned. Dropping it resets the object and returns the slot, and nothing else does, so that returning twice does
/// not compile:
///
/// ```compile_fail,E0382
/// # use engine::pools::{PoolSizes, Pools};
/// let frame = Pools::new(&PoolSizes::SPEC).frames.take().expect("free");
/// drop(frame);
/// drop(frame);
/// ```
#[derive(Debug)]
pub struct Handle<T: Reset> {
    /// `None` only inside `drop`.
    slot: Option<Box<Slot<T>>>,
    shared: Rc<Shared<T>>,
}

impl<T: Reset> Deref for Handle<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.slot.as_ref().expect("a handle has its slot until it is dropped").value
    }
}

impl<T: Reset> DerefMut for Handle<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.slot.as_mut().expect("a handle has its slot until it is dropped").value
    }
}

impl<T: Reset> Drop for Handle<T> {
    #[inline]
    fn drop(&mut self) {
        let Some(mut slot) = self.slot.take() else { return };
        slot.value.reset();
        if cfg!(debug_assertions) {
            slot.value.poison();
        }
        let mut ledger = self.shared.ledger.borrow_mut();
        let entry = &mut ledger[slot.index];
        if !entry.out || entry.generation != slot.generation {
            broken(self.shared.name, slot.index, entry.place, Location::caller());
        }
        entry.out = false;
        drop(ledger);
        self.shared.free.borrow_mut().push(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Buffer(Vec<u8>);

    impl Reset for Buffer {
        fn reset(&mut self) {
            self.0.clear();
        }

        fn poison(&mut self) {
            self.0.push(0xDE);
        }
    }

    fn pool(capacity: usize) -> Pool<Buffer> {
        Pool::new("test", capacity, || Buffer(Vec::with_capacity(16)))
    }

    #[test]
    fn what_is_taken_again_has_nothing_of_the_former_use() {
        let pool = pool(1);
        let mut handle = pool.take().expect("free");
        handle.0.extend_from_slice(b"secret");
        drop(handle);
        assert_eq!(*pool.take().expect("free again"), Buffer(Vec::new()));
    }

    #[cfg(debug_assertions)]
    #[test]
    fn a_returned_slot_is_poisoned_while_it_lies_in_the_pool() {
        let pool = pool(1);
        drop(pool.take());
        assert_eq!(pool.shared.free.borrow()[0].value, Buffer(vec![0xDE]));
    }

    #[test]
    fn an_empty_pool_makes_its_taker_wait_exactly_100_ms() {
        let pool = pool(1);
        let held = pool.take().expect("free");
        let mut since = None;
        let start = ReceiveTime::from_ns(5_000);
        let deadline = start.plus_ns(100_000_000);
        for now in [start, start.plus_ns(1), start.plus_ns(99_999_999)] {
            assert!(
                matches!(pool.take_patiently(&mut since, now), Taken::Wait { deadline: at } if at == deadline)
            );
        }
        assert!(matches!(pool.take_patiently(&mut since, deadline), Taken::TimedOut));
        assert_eq!(since, None);
        assert_eq!(pool.usage().empty_total, 4);
        drop(held);
        assert!(matches!(pool.take_patiently(&mut since, deadline), Taken::Handle(_)));
    }

    /// Names, for the process that this test starts of itself, the rule to break.
    const BREAKS: &str = "MELTICA_TEST_BREAKS_POOL";

    /// Breaks the pool's rule from inside, as only a bug in this file could: the same slot is put in twice, or a slot is
    /// returned that is not out.
    fn break_rule(how: &str) {
        let pool = pool(2);
        let mut handle = pool.take().expect("free");
        let slot = handle.slot.as_ref().expect("held");
        let (index, generation) = (slot.index, slot.generation);
        let twin = || Box::new(Slot { index, generation, value: Buffer(Vec::new()) });
        if how == "return" {
            drop(Handle { slot: Some(twin()), shared: Rc::clone(&pool.shared) });
            drop(handle);
        } else {
            pool.shared.free.borrow_mut().push(twin());
            let second = pool.take();
            handle.0.push(1);
            drop((second, handle));
        }
    }

    #[test]
    fn a_slot_with_two_owners_stops_the_process_and_names_both_places() {
        if let Ok(how) = std::env::var(BREAKS) {
            break_rule(&how);
            return;
        }
        for how in ["return", "take"] {
            let itself = std::env::current_exe().expect("a test runs from a file");
            let name = "pool::tests::a_slot_with_two_owners_stops_the_process_and_names_both_places";
            let output = std::process::Command::new(itself)
                .args([name, "--exact", "--nocapture"])
                .env(BREAKS, how)
                .output()
                .expect("the test starts itself");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success(), "{how}: it went on: {said}");
            assert!(said.contains("pool test slot"), "{how}: {said}");
            assert_eq!(said.matches(file!()).count(), 2, "{how}: both places, and no panic instead: {said}");
        }
    }

    #[test]
    fn random_takes_and_returns_agree_with_a_model_and_never_grow() {
        for seed in 0..40 {
            let mut random = fastrand::Rng::with_seed(seed);
            let capacity = random.usize(1..20);
            let pool = pool(capacity);
            let mut out: Vec<(u8, Handle<Buffer>)> = Vec::new();
            let (mut taken, mut empty, mut out_max) = (0, 0, 0);
            for step in 0..3_000_u32 {
                if random.bool() {
                    if let Some(mut handle) = pool.take() {
                        assert!(handle.0.is_empty() && out.len() < capacity, "seed {seed} step {step}");
                        assert!(handle.0.capacity() >= 16, "seed {seed} step {step}");
                        let mark = random.u8(..);
                        handle.0.push(mark);
                        out.push((mark, handle));
                        taken += 1;
                    } else {
                        assert_eq!(out.len(), capacity, "seed {seed} step {step}");
                        empty += 1;
                    }
                    out_max = out_max.max(out.len());
                } else if !out.is_empty() {
                    let (mark, handle) = out.swap_remove(random.usize(..out.len()));
                    assert_eq!(handle.0, [mark], "nobody else wrote to it: seed {seed} step {step}");
                }
                let usage =
                    Usage { capacity, out: out.len(), out_max, taken_total: taken, empty_total: empty };
                assert_eq!(pool.usage(), usage, "seed {seed} step {step}");
                assert_eq!(pool.outstanding().len(), out.len(), "seed {seed} step {step}");
                assert!(pool.shared.free.borrow().capacity() <= capacity, "seed {seed} step {step}");
            }
        }
    }

    #[test]
    fn what_is_out_is_named_with_the_place_that_took_it() {
        let pool = pool(3);
        let first = pool.take();
        let line = line!() - 1;
        drop(pool.take());
        let outstanding = pool.outstanding();
        assert_eq!(outstanding.len(), 1);
        assert_eq!((outstanding[0].taken_at.file(), outstanding[0].taken_at.line()), (file!(), line));
        assert_eq!(pool.usage(), Usage { capacity: 3, out: 1, out_max: 2, taken_total: 2, empty_total: 0 });
        drop(first);
        assert!(pool.outstanding().is_empty());
    }
}
