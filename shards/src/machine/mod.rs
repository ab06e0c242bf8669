//! Everything between Linux and a shard's turn: clock, executor, idling, sockets, TLS, REST, name resolution.
//!
//! Knows nothing of venues, events or the topology. A shard is a [`executor::Turn`] that [`executor::drive`] runs on
//! one core; its sockets are in one [`poller::Poller`], and other shards wake it through an [`idle::Waker`].
//!
//! All descriptors are used through `rustix`' safe calls; there is no `unsafe` here. Two socket features are
//! therefore left to the host, since no safe wrapper in the dependency tree offers them: `SO_BUSY_POLL` (use
//! `net.core.busy_read`) and kernel receive timestamps (`SO_TIMESTAMPING` control messages).

pub mod audit;
pub mod clock;
pub mod executor;
pub mod http;
pub mod idle;
#[cfg(debug_assertions)]
mod mishap;
pub mod place;
pub mod poller;
pub mod resolve;
pub mod socket;
pub mod target;
pub mod tls;
pub mod usage;

#[cfg(test)]
pub(crate) mod testing;
