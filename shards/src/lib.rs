//! Where Meltica runs: pinned shards, sockets, clocks, histograms, topology, and the commands of the binary.
//!
//! ```text
//! topology.yaml -> topology -> launch -> provider shard: machine::socket -> engine::provider -> rings
//!                                     -> merge shard:    rings -> engine::merge::Merger -> rings
//!                                     -> consumer shard: rings -> engine::consumer::Host -> consumers
//!                             command::run supervises: statuses -> live, histograms -> collect -> report
//! ```
//!
//! Modules import one another in one direction only, upwards in the list below (`scripts/guards.py` holds it): read it from
//! either end. Shards share nothing but rings. A program of its own links this crate, registers its strategies
//! ([`consumers::Registry::with`]) and calls [`launch::launch`].

// Between Linux and a shard's turn.
pub mod machine;
pub mod host;
// What is measured, and what a file says. `topology` knows what venues offer and nothing of what runs.
pub mod stages;
pub mod topology;
// What is told while it runs and when it ends.
pub mod report;
pub mod collect;
pub mod watch;
pub mod happened;
pub mod log;
// What shards are made of.
pub mod io;
pub mod outputs;
pub mod markers;
pub mod orders;
pub mod consumers;
pub mod capture;
pub mod probe;
// How they stand, and who changes what they do.
pub mod status;
pub mod live;
pub mod report_of;
pub mod control;
// The shards, by the way of an event.
pub mod provider;
pub mod merger;
pub mod consumer;
// From a topology to running shards.
pub mod launch;
// What a user types.
pub mod replay;
pub mod command;
