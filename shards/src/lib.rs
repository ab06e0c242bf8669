//! Where Meltica runs. (Code map follows as the modules land.)

pub mod collect;
pub mod consumers;
pub mod host;
pub mod replay;
pub mod report;
pub mod stages;
pub mod topology;
pub mod machine;
pub mod command;
