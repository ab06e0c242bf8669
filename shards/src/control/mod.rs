//! The operator's endpoint: status, metrics, subscriptions and switches over HTTP on loopback, never on the data path.
//!
//! ```text
//! server (sockets) -> service (routes) -> controller (who receives what) -> link (wires) -> shards, at a turn's beginning
//!                          |
//!                         view (what the supervisor saw last) -> metrics, readiness
//! ```

pub mod controller;
pub mod http;
pub mod link;
pub mod merge_order;
pub mod metrics;
pub mod openapi;
pub mod order;
pub mod server;
pub mod service;
mod shown;
pub mod thread;
pub mod view;
