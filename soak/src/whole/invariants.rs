//! What must hold: at each step, and at the end of a run of the whole gateway.

use engine::ids::ProviderId;
use engine::time::ReceiveTime;

use super::auditor::Carries;
use super::control::Control;
use super::{CONSUMERS, Input, MERGED, MERGER, PROVIDERS, Whole};
use crate::ledger::{BookCopy, DEPTHS};
use crate::sim::SECOND_NS;

/// How long recovery may take when faults are over, in nanoseconds: a book that broke again and again is asked for only
/// after 300 s, and twice where the first answer fails.
const SETTLE_NS_MAX: u64 = 700 * SECOND_NS;
/// How often counters of every lane are compared, in steps; those of rings are at each.
const COUNTERS_EVERY: u64 = 64;

impl Whole {
    /// At each step.
    pub(super) fn check(&mut self) -> Result<(), String> {
        for seated in self.shards.iter().flat_map(|shard| &shard.seated) {
            if let Some(violation) = seated.audit.borrow().violations.first() {
                return Err(violation.clone());
            }
        }
        for feed in &self.feeds {
            if let Some(violation) = feed.observer().ledger().violations.first() {
                return Err(format!("the observer: {violation}"));
            }
        }
        if let Some(what) = self.broken.take() {
            return Err(what);
        }
        self.check_control()?;
        if self.steps_total.is_multiple_of(COUNTERS_EVERY) { self.check_counters() } else { Ok(()) }
    }

    pub(super) fn check_counters(&mut self) -> Result<(), String> {
        for provider in 0..=PROVIDERS {
            let from = ProviderId(provider as u8);
            let dispatcher = self.dispatcher(from);
            let state =
                |(output, shard)| (shard, dispatcher.output_counts(output), dispatcher.output_state(output));
            let states: Vec<_> = dispatcher.shards().enumerate().map(state).collect();
            for (output, (shard, (counts, in_flight), state)) in states.into_iter().enumerate() {
                let lost = counts.coalesced_total + counts.dropped_total;
                let accounted = counts.delivered_total + counts.unchanged_total + lost + in_flight;
                if counts.offered_total != accounted {
                    return Err(format!(
                        "provider {provider} output {output}: {counts:?}, in flight {in_flight}"
                    ));
                }
                let taken = match CONSUMERS.iter().position(|&id| id == shard) {
                    Some(number) => Input::taken(&self.shards[number].rings, from),
                    None if shard == MERGER => Input::taken(&self.merge_rings, from),
                    None if provider == PROVIDERS => 0,
                    None => self.feeds[provider].observed_total(),
                };
                if state.pushed_total != taken + state.ring_depth as u64 {
                    return Err(format!("provider {provider} output {output}: {state:?}, taken {taken}"));
                }
            }
        }
        for (number, shard) in self.shards.iter().enumerate() {
            let taken: u64 = shard.rings.iter().map(|input| input.taken_total).sum();
            if shard.host.delivered_total() != taken {
                let shown = shard.host.delivered_total();
                return Err(format!("shard {number}: took {taken} event parts and showed {shown}"));
            }
        }
        let (counts, held) = (*self.merger.counts(), self.merger.held_count() as u64);
        let kinds = counts.unwanted_total + counts.duplicates_total + counts.best_total;
        let came = kinds + counts.held_total + counts.no_slot_total;
        if counts.events_total != came || counts.held_total != counts.released_total + held {
            return Err(format!("the merger: {counts:?}, held {held}"));
        }
        let (merges, open) = self.merger.totals();
        let windowed = merges.late_total
            + merges.no_slot_total
            + merges.complete_events_total
            + merges.partial_events_total
            + merges.discarded_events_total
            + open;
        // Events of best prices are counted in the same place and end nowhere.
        if merges.events_total < windowed {
            return Err(format!("the merger's windows: {merges:?}, open {open}"));
        }
        if self.merger.pools().events.usage().out as u64 != held {
            let usage = self.merger.pools().events.usage();
            return Err(format!("the merger holds {held} events, its pool says {usage:?}"));
        }
        Ok(())
    }

    /// The end of every run: faults are over, the market stops, and everything must be as the venues have it.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        self.calm();
        self.settle()?;
        // A disconnect that was announced before may still come.
        self.run_until(self.now_ns + 6 * SECOND_NS, false, |_| false)?;
        self.settle()?;
        self.run_until(self.now_ns + 3 * SECOND_NS, false, |_| false)?;
        for feed in &mut self.feeds {
            feed.site().set_rate(0.0, self.now_ns);
        }
        self.run_until(self.now_ns + 4 * SECOND_NS, false, |_| false)?;
        self.merger.finish(ReceiveTime::from_ns(self.now_ns));
        for _ in 0..3 {
            self.merger.flush(|_| {});
            self.step();
        }
        self.check()?;
        self.check_counters()?;
        for feed in &self.feeds {
            feed.assert_true();
            if feed.pooled_out() > 0 {
                return Err(format!("{} pooled slots are out at the end", feed.pooled_out()));
            }
        }
        let pools = self.merger.pools();
        let out = pools.events.usage().out + pools.merged.usage().out;
        if out > 0 {
            return Err(format!("{out} slots of the merger's pools are out at the end"));
        }
        for shard in 0..self.shards.len() {
            self.check_shard(shard)?;
        }
        self.check_told()?;
        if let Some(recording) = &mut self.recording {
            recording.finish()?;
        }
        if let Some(trade) = &mut self.trade {
            trade.finish();
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), String> {
        let until_ns = self.now_ns + SETTLE_NS_MAX;
        let is_settled =
            |whole: &Self| whole.is_controlled() && whole.feeds.iter().all(|feed| feed.is_settled());
        if self.run_until(until_ns, false, is_settled)? {
            return Ok(());
        }
        let mut states: Vec<_> = self.feeds.iter().map(|feed| feed.state()).collect();
        states.extend(self.control.as_deref().map(Control::state));
        Err(format!("not recovered {} s after all faults: {states:?}", SETTLE_NS_MAX / SECOND_NS))
    }

    /// What the steady consumers of a shard have at the end is what the venues have.
    fn check_shard(&self, number: usize) -> Result<(), String> {
        let shard = &self.shards[number];
        if shard.rings.iter().any(|input| !input.ring.is_empty()) || shard.lane.is_behind() {
            return Err(format!("shard {number}: its rings are not empty at the end"));
        }
        for (seat, seated) in shard.seated.iter().enumerate().filter(|(_, seated)| seated.steady) {
            let audit = seated.audit.borrow();
            let consumer = seated.consumer.0;
            let (_, counts, _) = shard.host.seats().nth(seat).expect("it has this seat");
            if counts.events_total != audit.seen_total {
                return Err(format!("consumer {consumer}: {counts:?}, it saw {}", audit.seen_total));
            }
            let told = &self.news[usize::from(consumer)];
            if *told != audit.order_events {
                let (sent, got) = (told.len(), audit.order_events.len());
                return Err(format!(
                    "consumer {consumer}: {sent} critical events sent, {got} came, or in another order"
                ));
            }
            for ((provider, stream), carries) in audit.places() {
                if provider == MERGED {
                    continue;
                }
                let symbol = &self.facts[provider.index()][stream.index()].symbol;
                let key = crate::ledger::key(provider, symbol);
                let observer = self.feeds[provider.index()].observer();
                let ledger = observer.ledger();
                let at = format!("consumer {consumer}, {key}");
                match carries {
                    Carries::Trades => {
                        let place = (provider, stream);
                        let truth = ledger.trades.get(&key).map_or(0, |log| log.last);
                        let last = audit.last(place);
                        // Where the control shard made the route, what came after it had to come here, too.
                        let due = audit.routed_at(place).is_some_and(|routed_at| truth > routed_at);
                        if last.is_some_and(|last| last != truth) || last.is_none() && due {
                            return Err(format!("{at}: last trade {last:?}, the venue's is {truth}"));
                        }
                    }
                    Carries::Book(depth) => {
                        let levels = DEPTHS[depth];
                        let replica = shard.host.replicas().get(provider, stream);
                        let copy = replica.map(BookCopy::of);
                        let truth = &ledger.books[&key];
                        if copy.as_ref().is_none_or(|copy| !copy.same_best(truth, levels)) {
                            let how = |copy: &BookCopy| {
                                let (bids, asks) = (copy.bids.len(), copy.asks.len());
                                format!("{:?} at {}, {bids} and {asks} levels", copy.status, copy.sequence)
                            };
                            let ours = copy.as_ref().map(how);
                            return Err(format!(
                                "{at}: its book of {levels} levels is not the venue's: {ours:?}, {}",
                                how(truth)
                            ));
                        }
                    }
                    Carries::Tickers | Carries::Merged => {}
                }
            }
        }
        Ok(())
    }
}
