//! The shard's clock and histograms as the engine sees them.

use engine::ids::{LineId, ProviderId};
use engine::probe::{PathStage, Probe};
use engine::time::{Clock as EngineClock, ReceiveTime};

use crate::capture::Tap;
use crate::machine::clock::Clock;
use crate::machine::place::Place;
use crate::stages::{ShardStages, Stage};

/// Reads the shard's clock and records into its histograms.
pub struct ShardProbe<'a> {
    clock: &'a Clock,
    stages: &'a mut ShardStages,
    tap: Option<&'a mut Tap>,
    reports: &'a [Option<usize>],
}

impl<'a> ShardProbe<'a> {
    /// A probe over a shard's clock and histograms.
    pub fn new(clock: &'a Clock, stages: &'a mut ShardStages) -> Self {
        Self { clock, stages, tap: None, reports: &[] }
    }

    /// The same, which also keeps raw frames.
    #[must_use]
    pub fn with_tap(self, tap: Option<&'a mut Tap>) -> Self {
        Self { tap, ..self }
    }

    /// The same, for a shard that gets reports of orders: by provider, its own histogram of them.
    #[must_use]
    pub const fn with_reports(mut self, reports: &'a [Option<usize>]) -> Self {
        self.reports = reports;
        self
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
            PathStage::Reported => Stage::ReportToDelivered,
            PathStage::FannedOut => Stage::FirstToLast,
        };
        self.stages.record(stage, ns);
    }

    #[inline]
    fn frame(&mut self, line: LineId, at: ReceiveTime, text: &[u8]) {
        if let Some(tap) = &mut self.tap {
            tap.frame(line, at.ns(), text);
        }
    }

    #[inline]
    fn reported(&mut self, provider: ProviderId, ns: u64) {
        match self.reports.get(provider.index()) {
            Some(&Some(own)) => self.stages.record_own(own, ns),
            _ => self.stages.record(Stage::ReportToDelivered, ns),
        }
    }

    #[inline]
    fn entering(&mut self, seat: usize) {
        self.stages.enter(Place::Handler(seat as u16));
    }

    #[inline]
    fn handler(&mut self, seat: usize, ns: u64) {
        self.stages.record_own(seat, ns);
        self.stages.step(Place::Handler(seat as u16), ns);
    }
}
