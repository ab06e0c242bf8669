//! (being written)

pub mod wake;
