//! What Meltica computes: bytes and time in, events and bytes out. (Code map follows as the modules land.)

pub mod book;
pub mod channel;
pub mod counters;
pub mod dead_letter;
pub mod decimal;
pub mod directory;
pub mod dispatch;
pub mod event;
pub mod ids;
pub mod pipeline;
pub mod pool;
pub mod pools;
pub mod probe;
pub mod raw;
pub mod ring;
pub mod routing;
pub mod sequence;
pub mod time;
pub mod venue;
