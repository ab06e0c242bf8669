//! `bench fanout`: how long after the first consumer's handler the last one's begins, by the gateway's own figures.
//!
//! On one shard every event is in its histogram of the stage `first_to_last`; over several shards the newest of the sampled
//! events (one frame in 32) are joined by their trace, as in `report.json`.

use std::fmt::Write as _;

use engine::consumer::FanOutSamples;
use shards::launch::{Ended, Gateway};
use shards::report::total::StageTotal;
use shards::stages::Stage;

use super::{Row, Setting};

/// From the first handler to the last, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct FanOut {
    /// Events counted.
    pub events: u64,
    /// The shortest, percentiles 50 and 95, and the longest.
    pub figures_ns: [u64; 4],
}

impl FanOut {
    /// What a run that has ended says. The warm-up is in it.
    pub(super) fn of(setting: &Setting, gateway: &Gateway, ended: &Ended) -> Option<Self> {
        if setting.shards > 1 {
            let spans = FanOutSamples::join(ended.consumers.iter().map(|shard| &shard.fan_out));
            let at = |percent: usize| {
                let rank = (spans.len() * percent).div_ceil(100).max(1);
                spans.get(rank - 1).copied()
            };
            let figures_ns = [at(0)?, at(50)?, at(95)?, at(100)?];
            return Some(Self { events: spans.len() as u64, figures_ns });
        }
        let mut sum = StageTotal::new();
        let totals = gateway.collector.totals();
        for (_, _, total) in totals.filter(|(_, stage, _)| *stage == Stage::FirstToLast.name()) {
            sum.add(total);
        }
        let histogram = sum.histogram();
        let at = |percentile: f64| histogram.value_at_percentile(percentile);
        let figures_ns = [histogram.min(), at(50.0), at(95.0), histogram.max()];
        (!histogram.is_empty()).then_some(Self { events: histogram.len(), figures_ns })
    }
}

/// The heading of [`line()`].
pub const HEADING: &str = "shards consumers   messages | first to last handler (us)              events | receive -> handler, all \
    consumers (us)\n                             |     min     p50     p95       max            |     p50     p95       max";

/// A row as a line.
pub fn line(row: &Row) -> String {
    let us = |ns: u64| ns as f64 / 1e3;
    let fan_out = row.fan_out.map_or_else(
        || format!("{:>45}", "one consumer"),
        |FanOut { events, figures_ns }| {
            let [min, p50, p95, max] = figures_ns.map(us);
            format!("{min:>7.2} {p50:>7.2} {p95:>7.2} {max:>9.1} {events:>10}")
        },
    );
    let receive = &row.seen.receive;
    let mut text = format!(
        "{:>6} {:>9} {:>10} | {fan_out} | {:>7.2} {:>7.2} {:>9.1}",
        row.setting.shards,
        row.setting.consumers,
        row.messages,
        us(receive.value_at_quantile(0.5)),
        us(receive.value_at_quantile(0.95)),
        us(receive.max()),
    );
    if row.messages != row.expected {
        let _ = write!(text, "  {} of {} messages came", row.messages, row.expected);
    }
    text
}
