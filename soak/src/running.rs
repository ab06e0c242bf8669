//! What runs against the whole gateway share: taking what it tells, waiting for something, and latencies between two moments.

use std::time::{Duration, Instant};

use engine::provider::Happening;
use shards::happened::Happened;
use shards::launch::Gateway;
use shards::live::Board;
use shards::report::total::StageTotal;
use shards::stages::Stage;

/// What a running gateway has told.
#[derive(Default)]
pub(crate) struct Told {
    /// The shards' last statuses.
    pub board: Board,
    /// Lines that another one took over from, by provider.
    pub rolled: [u64; 3],
}

impl Told {
    /// Takes what is there.
    ///
    /// # Errors
    /// A shard fell.
    pub(crate) fn take(&mut self, gateway: &mut Gateway) -> Result<(), String> {
        gateway.collector.collect();
        let board = &mut self.board;
        gateway.poll_statuses(|status| board.take(status));
        while let Some(report) = gateway.poll_report() {
            if matches!(report.happening, Happened::Feed(Happening::Rolled { .. })) {
                self.rolled[usize::from(report.provider)] += 1;
            }
        }
        gateway.fallen().map_or(Ok(()), |shard| Err(format!("shard {shard} fell")))
    }
}

/// A run that has a gateway to wait for.
pub(crate) trait Run {
    /// How long one thing may take.
    const WAIT_MAX: Duration;

    fn told(&mut self) -> &mut Told;

    /// More about why something does not happen.
    fn why(&self) -> String {
        String::new()
    }

    /// Lets time pass: looks at least once.
    fn pass(&mut self, gateway: &mut Gateway, time: Duration) -> Result<(), String> {
        let began = Instant::now();
        loop {
            self.told().take(gateway)?;
            if began.elapsed() >= time {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait(
        &mut self,
        gateway: &mut Gateway,
        what: &str,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), String> {
        let began = Instant::now();
        while !done(self) {
            if began.elapsed() > Self::WAIT_MAX {
                return Err(format!("no {what} within {} s{}", Self::WAIT_MAX.as_secs(), self.why()));
            }
            self.pass(gateway, Duration::from_millis(5))?;
        }
        Ok(())
    }
}

/// What each stage has recorded so far, over all shards.
pub(crate) fn latencies<const N: usize>(gateway: &Gateway, stages: [Stage; N]) -> [StageTotal; N] {
    stages.map(|stage| {
        let mut sum = StageTotal::new();
        for (_, _, total) in gateway.collector.totals().filter(|(_, name, _)| name == stage.name()) {
            sum.add(total);
        }
        sum
    })
}

/// Percentiles of what was recorded between two moments, and the largest, in nanoseconds.
pub(crate) fn between(before: &StageTotal, after: &StageTotal) -> [u64; 4] {
    let mut histogram = after.histogram().clone();
    histogram.subtract(before.histogram()).expect("all totals have one range, and only grow");
    let at = |percentile: f64| histogram.value_at_percentile(percentile);
    [at(50.0), at(99.0), at(99.9), histogram.max()]
}
