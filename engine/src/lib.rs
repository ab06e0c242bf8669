//! What Meltica computes: bytes and time in, events and bytes out. (Code map follows as the modules land.)

// What everything stands on.
pub mod channel;
pub mod counters;
pub mod decimal;
pub mod directory;
pub mod event;
pub mod ids;
pub mod json;
pub mod probe;
pub mod rfc3339;
pub mod scan;
pub mod time;
// The path, top to bottom.
pub mod book;
pub mod consumer;
pub mod dead_letter;
pub mod dispatch;
pub mod frame;
pub mod orders;
pub mod pipeline;
pub mod raw;
pub mod routing;
pub mod sequence;
pub mod venue;
// What the path runs on.
pub mod pool;
pub mod pools;
pub mod ring;
