//! Orders on the shards: keys, rings, the journal's files, and the private connection of each provider that trades.
//!
//! What decides is `engine::orders::desk`; this moves bytes. Read [`driver`] first.

pub mod account;
pub mod chance;
pub mod consumer_end;
pub mod critical;
pub mod disk;
pub mod driver;
pub mod journal;
pub mod keep;
pub mod keys;
pub mod session;
pub mod status;
pub mod switches;
