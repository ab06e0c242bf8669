//! The shard's clock and histograms as the engine sees them.

use engine::probe::{PathStage, Probe};
use engine::time::{Clock as EngineClock, ReceiveTime};

use crate::machine::clock::Clock;
use crate::machine::place::Place;
use crate::stages::{ShardStages, Stage};

/// Reads the shard's clock and records into its histograms.
pub struct ShardProbe<'a> {
    clock: &'a Clock,
    stages: &'a mut ShardStages,
}

impl<'a> ShardProbe<'a> {
    /// A probe over a shard's clock and histograms.
    pub fn new(clock: &'a Clock, stages: &'a mut ShardStages) -> Self {
        Self { clock, stages }
    }
}

impl EngineClock for ShardProbe<'_> {
    #[inline]
    fn now(&self) -> ReceiveTime {
        ReceiveTime::from_ns(self.clock.now())
    }
}

impl Probe for ShardProbe<'_> {
    #[inline]
    fn stage(&mut self, stage: PathStage, ns: u64) {
        let stage = match stage {
            PathStage::Decoded => Stage::ReceiveToDecoded,
            PathStage::Ordered => Stage::ReceiveToOrdered,
            PathStage::Enqueued => Stage::ReceiveToEnqueued,
            PathStage::Delivered => Stage::ReceiveToDelivered,
            PathStage::FannedOut => Stage::FirstToLast,
        };
        self.stages.record(stage, ns);
    }

    #[inline]
    fn entering(&mut self, seat: usize) {
        self.stages.enter(Place::Handler(seat as u16));
    }

    #[inline]
    fn handler(&mut self, seat: usize, ns: u64) {
        self.stages.record_handler(seat, ns);
    }
}
