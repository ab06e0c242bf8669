//! Where Meltica runs. (Code map follows as the modules land.)

pub mod collect;
pub mod host;
pub mod replay;
pub mod report;
pub mod stages;
pub mod topology;
pub mod machine;
pub mod command;
pub mod consumer;
pub mod control;
pub mod probe;
pub mod provider;
pub mod report_of;
pub mod status;
pub mod launch;
pub mod consumers;
pub mod live;
