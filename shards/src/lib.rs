//! Where Meltica runs: pinned shards, sockets, clocks, histograms, topology, and the commands of the binary.
//!
//! ```text
//! topology.yaml -> topology -> launch -> provider shard: machine::socket -> engine::provider -> rings
//!                                     -> merge shard:    rings -> engine::merge::Merger -> rings
//!                                     -> consumer shard: rings -> engine::consumer::Host -> consumers
//!                             command::run supervises: statuses -> live, histograms -> collect -> report
//! ```
//!
//! Shards share nothing but rings. A program of its own links this crate, registers its strategies
//! ([`consumers::Registry::with`]) and calls [`launch::launch`].

// From a file to running shards.
pub mod topology;
pub mod host;
pub mod control;
pub mod launch;
// The shards, by the way of an event.
pub mod orders;
pub mod provider;
pub mod capture;
pub mod markers;
pub mod merger;
pub mod consumer;
pub mod consumers;
// What they tell while they run and when they end.
pub mod probe;
pub mod stages;
pub mod status;
pub mod live;
pub mod log;
pub mod watch;
pub mod collect;
pub mod report_of;
pub mod report;
// Between Linux and a shard's turn.
pub mod machine;
// What a user types.
pub mod command;
pub mod replay;
