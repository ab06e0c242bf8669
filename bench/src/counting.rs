//! An allocator that counts what the threads of the data path take while they are watched.
//!
//! The only file of this crate with `unsafe`: an allocator cannot be written without.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Counts, and takes from the system.
pub struct Counting;

static STATE: AtomicU8 = AtomicU8::new(FRESH);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// How the names of threads of the data path begin.
pub const NAMES: &str = "path_";

thread_local! {
    /// Whether this thread counts, once it is known.
    static OURS: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Nothing was counted yet, it counts, it has counted.
const FRESH: u8 = 0;
const WATCHING: u8 = 1;
const ENDED: u8 = 2;

/// Before a run.
pub fn reset() {
    STATE.store(FRESH, Ordering::Relaxed);
    ALLOCATIONS.store(0, Ordering::Relaxed);
}

/// Counts from here on, in a run that has not counted yet.
#[inline]
pub fn begin() {
    if STATE.load(Ordering::Relaxed) == FRESH {
        STATE.store(WATCHING, Ordering::Relaxed);
    }
}

/// Stops counting, until the next run.
pub fn end() {
    STATE.store(ENDED, Ordering::Relaxed);
}

/// Allocations while it counted.
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

#[inline]
fn note() {
    if STATE.load(Ordering::Relaxed) == WATCHING && OURS.get().unwrap_or_else(look) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

#[cold]
fn look() -> bool {
    // Looking may allocate, and must not look again.
    OURS.set(Some(false));
    let ours = std::thread::current().name().is_some_and(|name| name.starts_with(NAMES));
    OURS.set(Some(ours));
    ours
}

// SAFETY: every call is handed on unchanged to the system's allocator, whose contract is the same; what is counted beside
// it touches no memory of the call and allocates nothing.
#[allow(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
