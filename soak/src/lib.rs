//! Wears Meltica out: simulated days in seconds, real hours under load, with faults, against what must always hold.
//!
//! [`sim`] runs one provider against one simulated venue in one thread, under a simulated clock and network; a run
//! follows from its seed. [`desk`] does the same with the orders of one account. [`ledger`] is the consumer at the far end that checks every promise a stream makes.

pub mod day;
pub mod desk;
pub mod disk;
pub mod kill9;
pub mod ledger;
pub mod lines;
pub mod orders;
pub mod overload;
pub mod rolls;
mod running;
pub mod sim;
pub mod subscribe;
mod tape;
pub mod trade;
pub mod turns;
pub mod whole;
