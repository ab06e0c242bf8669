//! (being written)

pub mod collect;
pub mod report;
pub mod stages;
