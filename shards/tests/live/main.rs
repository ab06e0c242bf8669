//! The running gateway over real sockets on the loopback, against simulated venues that this program owns and disturbs.
//!
//! What a fault of a venue does is tested by seed in `soak`; here is what needs sockets and threads.

#![cfg(feature = "simulate")]

#[path = "../../../soak/src/ledger.rs"]
#[allow(dead_code, reason = "shared with the simulation, which asks it more")]
mod ledger;
mod rig;

mod answers;
mod consumers;
mod faults;
mod hostile;
mod merges;
mod steady;
mod tls;
