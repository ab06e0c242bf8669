//! What the benches share: messages to decode, frames to cut, pipelines to drive, recordings to replay.
//!
//! Measures nothing itself. `benches/` counts instructions and measures throughput, `baselines/` compares with other
//! libraries; README.md says what each figure means and how to accept a change.

pub mod capture;
pub mod counting;
pub mod decoding;
pub mod idle;
pub mod joining;
pub mod latency;
pub mod levels;
pub mod messages;
pub mod orders;
pub mod rig;
pub mod round_trip;
pub mod scale;
pub mod stalls;
pub mod trading;
pub mod wire;
