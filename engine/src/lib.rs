//! What Meltica computes: bytes and time in, events and bytes out.
//!
//! No thread, socket, clock, file or environment: time, randomness and bytes are arguments, so the same code runs live, in
//! a replay and in a simulation. Read the path from the top:
//!
//! ```text
//! provider -> connection -> frame -> venue -> raw -> pipeline -> sequence, book -> dispatch ==ring==> consumer
//!                                                                               \\==ring==> merge ==ring==> consumer
//! ```
//!
//! A venue is a folder in [`venue`]; a consumer implements [`consumer::Consumer`]. [`orders`] is the way back to the
//! venues, without I/O. Deliberately absent: a runtime, floats for money, locks, and `unsafe`.

// What everything stands on.
pub mod ids;
pub mod time;
pub mod decimal;
pub mod channel;
pub mod event;
pub mod directory;
pub mod catalog;
pub mod counters;
pub mod probe;
// The path, top to bottom.
pub mod provider;
pub mod connection;
pub mod frame;
pub mod venue;
pub mod raw;
pub mod pipeline;
pub mod sequence;
pub mod book;
pub mod routing;
pub mod dispatch;
pub mod merge;
pub mod consumer;
pub mod control;
pub mod dead_letter;
pub mod orders;
// What the path stands on.
pub mod scan;
pub mod json;
pub mod rfc3339;
pub mod pool;
pub mod pools;
pub mod ring;
pub mod wake;
// What leaves the process.
pub mod codec;
// For tests of this crate and of those above it.
#[cfg(feature = "testing")]
pub mod testing;
