//! The recording side of the latency histograms: one [`ShardStages`] per shard, always on.
//!
//! A shard records nanoseconds per [`Stage`] into a set of histograms that is its own. About once per
//! period it hands the full set to the collector through a ring and takes a cleared one from another
//! ring; if none has come back yet it goes on with the one it has, so a slow collector makes an interval
//! longer and never loses a count. Recording and exchanging allocate nothing, lock nothing and never wait.
//!
//! This module reads no clock and knows nothing of files, tables or percentiles ([`crate::collect`]).

use std::sync::Arc;

use hdrhistogram::Histogram;
use rtrb::{Consumer, Producer, RingBuffer};

use crate::machine::place::{Place, PlaceCell};

/// Significant decimal digits of every histogram: a value is off by less than 1 %.
///
/// Two digits and `u32` counts are 15 KiB a stage; three and `u64` were 221 KiB, more than the first
/// level cache holds.
pub const SIGNIFICANT_DIGITS: u8 = 2;

/// The longest latency a histogram tells apart, in nanoseconds. A longer one counts as this and, beside,
/// in [`StageCell::over_count`]; the largest value itself is kept exactly.
pub const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// Sets of histograms per shard: one being recorded, one with the collector, two for a collector that is
/// late by up to two periods before intervals begin to grow.
pub const SETS_PER_SHARD: usize = 4;

/// How long one interval lasts unless asked otherwise, in nanoseconds.
pub const INTERVAL_NS: u64 = 1_000_000_000;

/// Declares [`Stage`] from one list: variant, name, doc.
macro_rules! stages {
    ($( $(#[doc = $doc:literal])+ $variant:ident = $name:literal, )+) => {
        /// A stretch of the way of a message that has a histogram on every shard. All are in nanoseconds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Stage {
            $( $(#[doc = $doc])+ $variant, )+
        }

        impl Stage {
            /// Every stage, in the order of the path, which is the order of tables and reports.
            pub const ALL: &'static [Stage] = &[$( Stage::$variant, )+];

            /// The name in tables, files, tags and metrics: `receive_to_delivered`.
            pub const fn name(self) -> &'static str {
                match self { $( Stage::$variant => $name, )+ }
            }

            /// What the stage spans, in words, for the report.
            pub const fn description(self) -> &'static str {
                match self { $( Stage::$variant => concat!($($doc,)+).trim_ascii(), )+ }
            }
        }
    };
}

stages! {
    /// From the venue's event time to our read. Two clocks: means nothing without the clock's error bound.
    VenueToReceive = "venue_to_receive",
    /// From the kernel's receive time to our read: waiting in the socket. Sampled.
    KernelToReceive = "kernel_to_receive",
    /// From the bytes read to the canonical event.
    ReceiveToDecoded = "receive_to_decoded",
    /// From the bytes read to the event in its place in the sequence.
    ReceiveToOrdered = "receive_to_ordered",
    /// From the bytes read to the event in the ring of a consumer's shard.
    ReceiveToEnqueued = "receive_to_enqueued",
    /// From the end of a merge window, or the bytes that changed a best price, to the merged event in its ring.
    ReceiveToMerged = "receive_to_merged",
    /// From the bytes read to the call of the consumer.
    ReceiveToDelivered = "receive_to_delivered",
    /// From the call of the first consumer of the shard to the call of its last one, for the same event.
    FirstToLast = "first_to_last",
    /// One call of a consumer; all consumers of the shard together.
    Handler = "handler",
    /// From a consumer's order to its signed bytes ready for the socket.
    SubmitToReady = "submit_to_ready",
    /// From an order's bytes ready to the socket having them: the system call.
    ReadyToWritten = "ready_to_written",
    /// From a consumer's order to its bytes written to the socket.
    SubmitToWritten = "submit_to_written",
    /// From an order's bytes written to the first that the venue says of it read.
    WrittenToAck = "written_to_ack",
    /// From the bytes of an execution report read to the call of its consumer.
    ReportToDelivered = "report_to_delivered",
    /// One turn of the shard's loop that had work.
    Turn = "turn",
}

impl Stage {
    /// How many stages there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The unit of every stage, for files that must say it.
    pub const UNIT: &'static str = "ns";

    /// The place of the stage in a [`StageSet`].
    #[inline]
    const fn index(self) -> usize {
        self as usize
    }
}

/// Which histograms a shard has: every [`Stage`], and own ones beside it that count a part of a stage, each with its
/// name: `handler:<consumer>`, `written_to_ack:<provider>-<signature>`.
#[derive(Clone, Debug, Default)]
pub struct StageLayout {
    own: Arc<[(Stage, String)]>,
}

impl StageLayout {
    /// The layout of a shard that hosts `consumers`; their order gives the index of
    /// [`ShardStages::record_own`].
    pub fn new<S: Into<String>>(consumers: impl IntoIterator<Item = S>) -> Self {
        Self { own: consumers.into_iter().map(|name| (Stage::Handler, name.into())).collect() }
    }

    /// The same with one more own histogram of `stage`, and its index for [`ShardStages::record_own`].
    #[must_use]
    pub fn with(&self, stage: Stage, name: &str) -> (Self, usize) {
        let own = self.own.iter().cloned().chain([(stage, name.to_owned())]).collect();
        (Self { own }, self.own.len())
    }

    /// The histograms of a set that count a part of `stage`, beside its own.
    pub fn parts_of(&self, stage: Stage) -> impl Iterator<Item = usize> + '_ {
        let own = self.own.iter().enumerate().filter(move |(_, (of, _))| *of == stage);
        own.map(|(index, _)| Stage::COUNT + index)
    }

    /// How many histograms a set has.
    pub fn cell_count(&self) -> usize {
        Stage::COUNT + self.own.len()
    }

    /// The name of one histogram: a stage's, or `<stage>:<name>`.
    pub fn cell_name(&self, index: usize) -> String {
        if let Some(stage) = Stage::ALL.get(index) {
            return stage.name().to_owned();
        }
        let (stage, name) = &self.own[index - Stage::COUNT];
        format!("{}:{name}", stage.name())
    }
}

/// One histogram with what it cannot hold: the exact maximum, and what was over its range.
#[derive(Clone, Debug)]
pub struct StageCell {
    histogram: Histogram<u32>,
    latency_ns_max: u64,
    over_count: u64,
}

impl StageCell {
    fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS)
            .expect("the bounds are constants that the histogram accepts");
        let mut cell = Self { histogram, latency_ns_max: 0, over_count: 0 };
        // Touches every page now, so that the first record of a value is not a page fault on the path.
        std::hint::black_box(&mut cell.histogram);
        cell.reset();
        cell
    }

    #[inline]
    fn record(&mut self, latency_ns: u64, count: u32) {
        self.latency_ns_max = self.latency_ns_max.max(latency_ns);
        if latency_ns > LATENCY_NS_MAX {
            self.over_count += u64::from(count);
        }
        self.histogram.saturating_record_n(latency_ns.min(LATENCY_NS_MAX), count);
    }

    fn reset(&mut self) {
        self.histogram.reset();
        self.latency_ns_max = 0;
        self.over_count = 0;
    }

    /// The counts.
    pub fn histogram(&self) -> &Histogram<u32> {
        &self.histogram
    }

    /// The largest latency recorded, exactly and even beyond [`LATENCY_NS_MAX`]; 0 when nothing was.
    pub fn latency_ns_max(&self) -> u64 {
        self.latency_ns_max
    }

    /// How many latencies were longer than [`LATENCY_NS_MAX`].
    pub fn over_count(&self) -> u64 {
        self.over_count
    }
}

/// The histograms of one shard over one interval.
#[derive(Clone, Debug)]
pub struct StageSet {
    start_ns: u64,
    end_ns: u64,
    cells: Box<[StageCell]>,
}

impl StageSet {
    /// A cleared set of this layout.
    pub fn new(layout: &StageLayout) -> Self {
        Self { start_ns: 0, end_ns: 0, cells: (0..layout.cell_count()).map(|_| StageCell::new()).collect() }
    }

    /// Counts one latency of `stage`.
    #[inline]
    pub fn record(&mut self, stage: Stage, latency_ns: u64) {
        self.cells[stage.index()].record(latency_ns, 1);
    }

    /// Counts `count` times the same latency, for a batch that went one way together.
    #[inline]
    pub fn record_n(&mut self, stage: Stage, latency_ns: u64, count: u32) {
        if count == 0 {
            return; // an empty batch has no latency: it must not move the maximum
        }
        self.cells[stage.index()].record(latency_ns, count);
    }

    /// Counts one latency into the own histogram at `index` of the [`StageLayout`]: a consumer's call, an order's way
    /// through one provider.
    ///
    /// Only there; the collector adds it to the stage that it is a part of.
    ///
    /// # Panics
    ///
    /// If the layout has no such histogram: the shard was built wrongly.
    #[inline]
    pub fn record_own(&mut self, index: usize, latency_ns: u64) {
        self.cells[Stage::COUNT + index].record(latency_ns, 1);
    }

    /// Start of the interval, in nanoseconds of the run's monotonic clock.
    pub fn start_ns(&self) -> u64 {
        self.start_ns
    }

    /// End of the interval, in nanoseconds of the run's monotonic clock.
    pub fn end_ns(&self) -> u64 {
        self.end_ns
    }

    /// The histograms, in the order of [`StageLayout::cell_name`].
    pub fn cells(&self) -> &[StageCell] {
        &self.cells
    }

    /// Forgets everything that was recorded. Touches only what was used.
    pub fn clear(&mut self) {
        for cell in self.cells.iter_mut().filter(|cell| !cell.histogram.is_empty()) {
            cell.reset();
        }
    }
}

/// What a shard holds to record its latencies.
///
/// When it is dropped without [`ShardStages::finish`], as when a shard's thread unwinds, the last set goes
/// to the collector all the same.
#[derive(Debug)]
pub struct ShardStages {
    current: Box<StageSet>,
    full: Producer<Box<StageSet>>,
    cleared: Consumer<Box<StageSet>>,
    interval_ns: u64,
    exchange_at_ns: u64,
    exchanges_deferred: u64,
    place: PlaceCell,
}

impl ShardStages {
    /// The two ends of one shard's exchange: this one for the shard, the other for
    /// [`crate::collect::Collector::register`].
    ///
    /// `now_ns` is the run's monotonic clock, `interval_ns` how long one interval lasts
    /// ([`INTERVAL_NS`]). All memory is taken here: [`SETS_PER_SHARD`] sets.
    pub fn new(layout: &StageLayout, interval_ns: u64, now_ns: u64) -> (Self, CollectorEnd) {
        // Every set fits into either ring, so a push never meets a full one.
        let (full, full_receiver) = RingBuffer::new(SETS_PER_SHARD);
        let (mut cleared_sender, cleared) = RingBuffer::new(SETS_PER_SHARD);
        for _ in 1..SETS_PER_SHARD {
            let pushed = cleared_sender.push(Box::new(StageSet::new(layout)));
            assert!(pushed.is_ok(), "the ring holds every set of its shard");
        }
        let mut current = Box::new(StageSet::new(layout));
        current.start_ns = now_ns;
        current.end_ns = now_ns;
        let stages = Self {
            current,
            full,
            cleared,
            interval_ns,
            exchange_at_ns: now_ns.saturating_add(interval_ns),
            exchanges_deferred: 0,
            place: PlaceCell::default(),
        };
        (stages, CollectorEnd { layout: layout.clone(), full: full_receiver, cleared: cleared_sender })
    }

    /// From now on [`ShardStages::enter`] shows in `place`: what begins is known where its time is recorded.
    pub fn show_place(&mut self, place: PlaceCell) {
        self.place = place;
    }

    /// The shard begins something.
    #[inline]
    pub fn enter(&self, place: Place) {
        self.place.set(place);
    }

    /// The shard has taken a step of its turn, between two reads of the clock.
    #[inline]
    pub fn step(&self, place: Place, took_ns: u64) {
        self.place.step(place, took_ns);
    }

    /// Counts one latency of `stage`. A difference of two clock reads must saturate at 0: reads on
    /// different cores run backwards by some tens of nanoseconds.
    #[inline]
    pub fn record(&mut self, stage: Stage, latency_ns: u64) {
        self.current.record(stage, latency_ns);
    }

    /// Counts `count` times the same latency.
    #[inline]
    pub fn record_n(&mut self, stage: Stage, latency_ns: u64, count: u32) {
        self.current.record_n(stage, latency_ns, count);
    }

    /// Counts one latency into an own histogram; see [`StageSet::record_own`].
    #[inline]
    pub fn record_own(&mut self, index: usize, latency_ns: u64) {
        self.current.record_own(index, latency_ns);
    }

    /// Hands the set over when its interval has passed. Call it once per turn: it is a comparison.
    #[inline]
    pub fn turn(&mut self, now_ns: u64) {
        if now_ns >= self.exchange_at_ns {
            self.exchange(now_ns);
        }
    }

    /// Hands the current set to the collector now, if a cleared one is there to go on with.
    #[cold]
    pub fn exchange(&mut self, now_ns: u64) {
        self.exchange_at_ns = now_ns.saturating_add(self.interval_ns);
        let Ok(mut next) = self.cleared.pop() else {
            self.exchanges_deferred += 1;
            return;
        };
        next.start_ns = now_ns;
        next.end_ns = now_ns;
        self.current.end_ns = now_ns;
        let full = std::mem::replace(&mut self.current, next);
        let pushed = self.full.push(full);
        assert!(pushed.is_ok(), "the ring holds every set of its shard");
    }

    /// How often an interval was prolonged because the collector had not returned a set.
    pub fn exchanges_deferred(&self) -> u64 {
        self.exchanges_deferred
    }

    /// Sends the last set. The collector knows from then on that the shard is done.
    pub fn finish(mut self, now_ns: u64) {
        self.current.end_ns = now_ns;
    }
}

impl Drop for ShardStages {
    fn drop(&mut self) {
        let nothing = StageSet { start_ns: 0, end_ns: 0, cells: Box::new([]) };
        let mut last = std::mem::replace(&mut self.current, Box::new(nothing));
        if last.end_ns <= last.start_ns {
            // Dropped without `finish`: the end is not known, the planned one is the best guess.
            last.end_ns = self.exchange_at_ns;
        }
        // A full ring is impossible here as everywhere, and a drop must not panic: ignoring is right.
        let _ = self.full.push(last);
    }
}

/// What the collector holds of one shard.
#[derive(Debug)]
pub struct CollectorEnd {
    layout: StageLayout,
    full: Consumer<Box<StageSet>>,
    cleared: Producer<Box<StageSet>>,
}

impl CollectorEnd {
    /// Which histograms the shard's sets have.
    pub fn layout(&self) -> &StageLayout {
        &self.layout
    }

    /// The next full set, if there is one. Give it back with [`CollectorEnd::give_back`].
    pub fn take(&mut self) -> Option<Box<StageSet>> {
        self.full.pop().ok()
    }

    /// Clears a set and returns it to its shard.
    pub fn give_back(&mut self, mut set: Box<StageSet>) {
        set.clear();
        // Only a set of another shard could find the ring full; it is dropped and nothing is lost.
        let _ = self.cleared.push(set);
    }

    /// Whether the shard is gone. What it sent before that can still be taken.
    pub fn is_ended(&self) -> bool {
        self.full.is_abandoned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_list_makes_names_indices_and_descriptions() {
        assert_eq!(Stage::COUNT, 15);
        for (index, stage) in Stage::ALL.iter().enumerate() {
            assert_eq!(stage.index(), index);
            assert!(stage.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", stage.name());
            assert!(stage.name().len() <= 20, "{} must fit the narrow table", stage.name());
            assert!(!stage.description().is_empty());
            assert!(!stage.description().starts_with(' '));
        }
        let mut names: Vec<_> = Stage::ALL.iter().map(|stage| stage.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Stage::COUNT);
    }

    #[test]
    fn a_layout_names_its_consumers_after_the_stages() {
        let layout = StageLayout::new(["alpha", "beta"]);
        assert_eq!(layout.cell_count(), Stage::COUNT + 2);
        assert_eq!(layout.cell_name(0), "venue_to_receive");
        assert_eq!(layout.cell_name(Stage::COUNT), "handler:alpha");
        assert_eq!(layout.cell_name(Stage::COUNT + 1), "handler:beta");
        let (layout, index) = layout.with(Stage::WrittenToAck, "binance-hmac");
        assert_eq!(layout.cell_name(Stage::COUNT + index), "written_to_ack:binance-hmac");
        assert_eq!(layout.parts_of(Stage::Handler).collect::<Vec<_>>(), [Stage::COUNT, Stage::COUNT + 1]);
        assert_eq!(layout.parts_of(Stage::WrittenToAck).collect::<Vec<_>>(), [Stage::COUNT + 2]);
    }

    #[test]
    fn percentiles_agree_with_a_sorted_vector_within_the_precision() {
        let mut random = fastrand::Rng::with_seed(0x5eed);
        let mut set = StageSet::new(&StageLayout::default());
        // Log-uniform from 1 ns to about 17 s, so that every bucket is hit.
        let mut oracle: Vec<u64> = (0..50_000).map(|_| random.u64(..) >> random.u32(30..64)).collect();
        for &latency_ns in &oracle {
            set.record(Stage::ReceiveToDelivered, latency_ns);
        }
        oracle.sort_unstable();
        let cell = &set.cells()[Stage::ReceiveToDelivered.index()];
        for percentile in [1.0, 10.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0] {
            let rank = ((percentile / 100.0 * oracle.len() as f64).ceil() as usize).clamp(1, oracle.len());
            let exact = oracle[rank - 1];
            let found = cell.histogram().value_at_percentile(percentile);
            assert!(found >= exact, "p{percentile}: {found} is below {exact}");
            assert!(found - exact <= exact / 100 + 1, "p{percentile}: {found} is too far from {exact}");
        }
        assert_eq!(cell.latency_ns_max(), *oracle.last().unwrap());
        let mean = oracle.iter().sum::<u64>() as f64 / oracle.len() as f64;
        assert!((cell.histogram().mean() / mean - 1.0).abs() < 0.01);
        assert_eq!(cell.over_count(), 0);
    }

    #[test]
    fn what_is_over_the_range_is_counted_and_its_maximum_kept() {
        let mut set = StageSet::new(&StageLayout::default());
        set.record(Stage::Turn, 0);
        set.record(Stage::Turn, LATENCY_NS_MAX);
        set.record(Stage::Turn, LATENCY_NS_MAX + 1);
        set.record_n(Stage::Turn, u64::MAX, 3);
        let cell = &set.cells()[Stage::Turn.index()];
        assert_eq!(cell.histogram().len(), 6);
        assert_eq!(cell.over_count(), 4);
        assert_eq!(cell.latency_ns_max(), u64::MAX);
        let buckets = cell.histogram().distinct_values();
        assert_eq!(buckets, StageCell::new().histogram().distinct_values(), "nothing resized");
    }

    #[test]
    fn an_empty_batch_leaves_no_trace() {
        let mut set = StageSet::new(&StageLayout::default());
        set.record_n(Stage::Turn, 77, 0);
        let cell = &set.cells()[Stage::Turn.index()];
        assert_eq!((cell.latency_ns_max(), cell.over_count()), (0, 0));
    }

    #[test]
    fn a_cleared_set_is_like_a_new_one() {
        let mut set = StageSet::new(&StageLayout::new(["alpha"]));
        set.record_n(Stage::Handler, 500, 7);
        set.record_own(0, 90);
        set.clear();
        for cell in set.cells() {
            assert_eq!(cell.histogram(), StageCell::new().histogram());
            assert_eq!((cell.latency_ns_max(), cell.over_count()), (0, 0));
        }
    }

    #[test]
    fn without_a_returned_set_the_interval_grows_and_nothing_is_lost() {
        let (mut shard, mut end) = ShardStages::new(&StageLayout::default(), 10, 0);
        for now_ns in 1..=100_u64 {
            shard.record(Stage::Turn, now_ns);
            shard.turn(now_ns);
        }
        assert_eq!(shard.exchanges_deferred(), 7, "ten intervals, three spare sets");
        shard.finish(105);
        assert!(end.is_ended());
        let mut spans = Vec::new();
        let mut counts = 0;
        while let Some(set) = end.take() {
            spans.push((set.start_ns(), set.end_ns()));
            counts += set.cells()[Stage::Turn.index()].histogram().len();
        }
        assert_eq!(spans, [(0, 10), (10, 20), (20, 30), (30, 105)]);
        assert_eq!(counts, 100);
    }

    #[test]
    fn a_returned_set_comes_back_cleared() {
        let (mut shard, mut end) = ShardStages::new(&StageLayout::default(), 10, 0);
        for round in 0..10 {
            shard.record(Stage::Turn, 1);
            shard.exchange(round);
            let set = end.take().expect("a set was just sent");
            assert_eq!(set.cells()[Stage::Turn.index()].histogram().len(), 1);
            end.give_back(set);
        }
        assert_eq!(shard.exchanges_deferred(), 0);
        assert!(end.take().is_none());
        assert!(!end.is_ended());
    }

    #[test]
    fn a_shard_that_is_dropped_still_sends_its_last_set() {
        let (mut shard, mut end) = ShardStages::new(&StageLayout::default(), 10, 5);
        shard.record(Stage::Turn, 1);
        drop(shard);
        let set = end.take().expect("the last set");
        assert_eq!((set.start_ns(), set.end_ns()), (5, 15));
        assert_eq!(set.cells()[Stage::Turn.index()].histogram().len(), 1);
    }

    #[test]
    fn the_exchange_goes_on_when_the_collector_is_gone() {
        let (mut shard, end) = ShardStages::new(&StageLayout::default(), 1, 0);
        drop(end);
        for now_ns in 0..100 {
            shard.record(Stage::Turn, 1);
            shard.turn(now_ns);
        }
        assert_eq!(shard.exchanges_deferred(), 96);
        shard.finish(100);
    }
}
