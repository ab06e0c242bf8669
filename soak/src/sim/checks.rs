//! What must hold in a world at its end, and at any time.

use engine::book::BookRule;
use engine::ids::ProviderId;
use engine::venue::Venue;
use simvenues::Fault;

use super::World;
use crate::ledger::key;

impl<V: Venue> World<V> {
    /// The end of every run: faults are over, the market stops, and everything must be as the venue has it.
    ///
    /// # Panics
    /// If a promise was broken.
    pub fn finish(&mut self) {
        self.fault(&Fault::Clear);
        self.asleep = false;
        self.settle();
        // A disconnect that was announced before may still come.
        self.run_s(5.0);
        self.settle();
        self.run_s(3.0);
        self.site.set_rate(0.0, self.now_ns);
        self.run_s(3.0);
        self.assert_true();
    }

    /// The market stands still and everything has arrived: all is as the venue has it.
    ///
    /// # Panics
    /// If a promise was broken.
    pub fn assert_true(&self) {
        let seed = self.options.seed;
        let ledger = self.observer.ledger();
        assert!(
            ledger.violations.is_empty(),
            "seed {seed}: {:#?}; states {:?}; gaps {:?}",
            ledger.violations,
            ledger.states,
            ledger.gaps
        );
        for truth in self.site.truth() {
            let symbol = &key(ProviderId(self.options.provider), &truth.symbol);
            let mut book = self.site.book(&truth.symbol).expect("it is listed");
            let depth = self.depth.min(self.compared_levels);
            book.bids.truncate(depth);
            book.asks.truncate(depth);
            let copy = ledger.books.get(symbol);
            let copy = copy.unwrap_or_else(|| panic!("seed {seed}: no book of {symbol}"));
            let mut copy = copy.clone();
            copy.bids.truncate(self.compared_levels);
            copy.asks.truncate(self.compared_levels);
            let rule = self.provider.pipeline.venue.book_rule();
            if !matches!(rule, BookRule::RestSnapshotRange | BookRule::RestSnapshotChained) {
                // The venue has no number of its own, so the copy's is ours.
                book.update_id = copy.sequence;
            }
            if let Err(reason) = copy.compare(&book) {
                let (all, states) = (&self.happenings, &ledger.states);
                panic!("seed {seed}: the book of {symbol} {reason}; states {states:?}; happened {all:?}");
            }
            let trades = ledger.trades.get(symbol).copied().unwrap_or_default();
            if truth.trade_id_last.is_some() && self.options.product == simvenues::Product::Spot {
                assert_eq!(Some(trades.last), truth.trade_id_last, "seed {seed}: last trade of {symbol}");
            }
            // A market may have had no trade yet (seed 3892957447).
            let has_any = trades.seen_total + trades.missing_total > 0 || truth.trade_id_last.is_some();
            let span = if has_any { trades.last + 1 - trades.first } else { 0 };
            assert_eq!(trades.seen_total + trades.missing_total, span, "seed {seed}: {symbol} {trades:?}");
        }
        self.assert_balanced();
        assert_eq!(self.host.letters.written_total(), 0, "seed {seed}: a handler panicked");
        let pipeline = &self.provider.pipeline;
        assert_eq!(pipeline.dispatcher.output_state(0).ring_depth, 0, "seed {seed}: everything was taken");
    }

    /// Whether what was offered is accounted for, and what was sent was received.
    ///
    /// # Panics
    /// If not.
    pub fn assert_balanced(&self) {
        let seed = self.options.seed;
        let (counts, in_flight) = self.lane_counts();
        let lost = counts.coalesced_total + counts.dropped_total;
        let accounted = counts.delivered_total + counts.unchanged_total + lost + in_flight;
        assert_eq!(counts.offered_total, accounted, "seed {seed}: {counts:?}, in flight {in_flight}");
        let state = self.provider.pipeline.dispatcher.output_state(0);
        let in_ring = state.ring_depth as u64;
        assert_eq!(state.pushed_total, self.received_total + in_ring, "seed {seed}: the ring");
        let events = self.provider.pipeline.counts().events_total;
        assert_eq!(events, counts.offered_total, "seed {seed}: every event was offered once");
    }
}
