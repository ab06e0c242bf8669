//! What Meltica computes: bytes and time in, events and bytes out. (Code map follows as the modules land.)

pub mod channel;
pub mod decimal;
pub mod directory;
pub mod event;
pub mod ids;
pub mod json;
pub mod raw;
pub mod rfc3339;
pub mod scan;
pub mod time;
pub mod venue;
