//! (being written)
pub mod frame;
