//! A merge shard without threads: joins the streams of several providers in windows, and their best prices at once.
//!
//! | what | how |
//! |---|---|
//! | order | all inputs become one order by receive time ([`order`]); an event waits until every input has passed its time, 150 ms at most |
//! | window | opens on its first event, covers receive times `opened .. opened + length`, closes there or at its count |
//! | complete | every provider of the rule is in it: one Merged event, in parts: the window, then each provider's latest event |
//! | partial | suppressed, counted, and told to the shard with who was missing ([`Merger::poll_suppressed`]) |
//! | late | an event for a span already closed: dropped and counted |
//! | best bid and offer | at every change of a leg, without waiting; legs that are not proved do not compete |
//!
//! So the same events give the same merged events in whatever order the inputs are read, as long as no input is more than
//! the patience behind. A merger that is made anew knows nothing of the windows before: they are discarded.
//!
//! A shard's turn: read at most [`room`](Merger::room) events of each ring into [`on_event`](Merger::on_event), call
//! [`timeout`](Merger::timeout) when [`deadline`](Merger::deadline) has come, and [`flush`](Merger::flush). Providers route
//! what is [`wanted`](Merger::wanted) here, trades and klines as `lossless`, books as `book` (one level is enough), and send
//! markers as [`marker`] says. Cost, 3 providers of 50 instruments (two-core VM, release): 45 ns an event held and put in
//! its window, 82 ns a ticker of which two in three change the best; both with the consumer's end of the ring.
//!
//! Merged streams are numbered under a provider number of the shard's own, and leave through a [`Dispatcher`] like any
//! provider's. The merge id is the event's sequence: the receive time that opened the window, or one more than the last.

pub mod bbo;
mod counts;
pub mod joined;
pub mod marker;
pub mod order;
mod pools;
pub mod rules;
mod window;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::catalog::Catalog;
use crate::dispatch::Dispatcher;
use crate::event::{Body, Event, Flags, Header, MERGED_PROVIDERS_MAX, SCHEMA_VERSION};
use crate::ids::{InstrumentId, ProviderId, StreamId};
use crate::pool::Handle;
use crate::time::ReceiveTime;

use bbo::Bbo;
pub use counts::{MergeCounts, MergerCounts, Suppressed};
use order::Order;
pub use pools::MergePools;
pub use rules::{BboSource, MergeKind, MergeRule, RuleError, RuleInput, RuleInputs};
pub use window::MergedEvent;
use window::{Closed, StreamFacts, Taken, Window};

/// How long an event waits for inputs that have not passed its time, in nanoseconds (SPEC: lateness 150 ms).
pub const PATIENCE_NS: u64 = 150_000_000;
/// Merged streams of one merge shard in one run; their numbers are not used twice.
pub const MERGED_STREAMS_MAX: usize = 65_536;
/// Suppressed windows of which the shard was not told yet; beyond it the oldest are only counted.
const SUPPRESSED_MAX: usize = 256;
/// Latencies kept until they are drained; beyond it only their sum and the longest are.
const LATENCIES_MAX: usize = 1_024;
/// Sequences that a stream remembers to know an event that comes twice. Streams arrive in sequence, so a repetition
/// stands near; numbers that a venue starts anew are not mistaken for one.
const RECENT_MAX: usize = 8;

/// What a merger is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergerOptions {
    /// The number under which its merged streams go to consumers.
    pub provider: ProviderId,
    /// [`PATIENCE_NS`]
    pub patience_ns: u64,
}

/// One merged stream.
#[derive(Debug)]
struct Merge {
    inputs: RuleInputs,
    counts: MergeCounts,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Window(Window),
    Bbo(Box<Bbo>),
    /// Its rule was removed.
    Gone,
}

impl Merge {
    /// Ends it; its open window is discarded.
    fn end(&mut self) {
        if let Work::Window(window) = std::mem::replace(&mut self.work, Work::Gone)
            && window.end().is_some()
        {
            self.counts.windows_discarded_total += 1;
            self.counts.discarded_events_total += window.open_count();
        }
    }
}

/// Who joins a provider's stream: merged streams, each with the place of the provider in its rule.
#[derive(Debug, Default)]
struct Wanted {
    windows: Vec<(StreamId, u8)>,
    bests: Vec<(StreamId, u8)>,
    /// Sequences that came last, and where the next one is put.
    recent: [Option<u64>; RECENT_MAX],
    recent_next: usize,
}

/// Rules and streams of one merge shard.
#[derive(Debug)]
pub struct Merger {
    options: MergerOptions,
    catalog: Arc<Catalog>,
    pools: MergePools,
    /// The way of merged streams to consumers. Routes are changed between turns only.
    pub dispatcher: Dispatcher,
    order: Order<Handle<Event>>,
    /// The provider of each input.
    inputs: Vec<ProviderId>,
    rules: Vec<(MergeRule, Vec<StreamId>)>,
    /// By stream number.
    merges: Vec<Merge>,
    /// By provider, then by stream.
    wanted: Vec<Vec<Wanted>>,
    /// No open window ends before this.
    next_end: ReceiveTime,
    /// No leg of a best bid and offer grows too old before this.
    next_expiry: ReceiveTime,
    counts: MergerCounts,
    suppressed: VecDeque<Suppressed>,
    latencies: Vec<u64>,
    /// Reused: parts of one merged event; windows that end together.
    parts: Vec<Event>,
    ending: Vec<(ReceiveTime, StreamId)>,
}

const NEVER: ReceiveTime = ReceiveTime::from_ns(u64::MAX);

impl Merger {
    /// A merger without inputs and rules. `catalog` knows the streams of all providers.
    pub fn new(
        options: MergerOptions,
        catalog: Arc<Catalog>,
        pools: MergePools,
        dispatcher: Dispatcher,
    ) -> Self {
        Self {
            options,
            catalog,
            pools,
            dispatcher,
            order: Order::default(),
            inputs: Vec::new(),
            rules: Vec::new(),
            merges: Vec::new(),
            wanted: Vec::new(),
            next_end: NEVER,
            next_expiry: NEVER,
            counts: MergerCounts::default(),
            suppressed: VecDeque::with_capacity(SUPPRESSED_MAX),
            latencies: Vec::with_capacity(LATENCIES_MAX),
            parts: Vec::with_capacity(1 + MERGED_PROVIDERS_MAX),
            ending: Vec::new(),
        }
    }

    /// New names; the old numbers mean the same in them.
    pub fn set_catalog(&mut self, catalog: Arc<Catalog>) {
        self.catalog = catalog;
    }

    /// Adds the ring of a provider and returns the input's number. An input comes before the first rule that joins it.
    pub fn add_input(&mut self, provider: ProviderId) -> usize {
        self.inputs.push(provider);
        self.order.add_input(self.pools.events.usage().capacity)
    }

    /// Adds a rule and returns its merged streams, one for each place in the lists of instruments. The same rule again
    /// changes nothing. Afterwards the providers must send [`wanted`](Self::wanted) here.
    ///
    /// # Errors
    /// [`RuleError`]; nothing was applied then.
    pub fn add_rule(&mut self, rule: &MergeRule) -> Result<Vec<StreamId>, RuleError> {
        if let Some((known, streams)) = self.rules.iter().find(|(known, _)| known.name == rule.name) {
            let same = known == rule;
            return if same {
                Ok(streams.clone())
            } else {
                Err(RuleError::NameTaken { name: rule.name.clone() })
            };
        }
        let joined = rule.resolve(&self.catalog)?;
        if let Some(&(provider, _)) = rule.inputs.iter().find(|(provider, _)| !self.inputs.contains(provider))
        {
            return Err(RuleError::UnknownProvider(provider));
        }
        if rule.kind.is_windowed() {
            let windowed = |merge: &&Merge| matches!(merge.work, Work::Window(_));
            let needed = self.merges.iter().filter(windowed).count() + joined.len();
            let capacity = self.pools.merged.usage().capacity;
            if needed > capacity {
                return Err(RuleError::PoolTooSmall { needed, capacity });
            }
        }
        if self.merges.len() + joined.len() > MERGED_STREAMS_MAX {
            return Err(RuleError::NoStreamLeft(MERGED_STREAMS_MAX));
        }
        let mut streams = Vec::with_capacity(joined.len());
        for inputs in joined {
            let stream = StreamId(self.merges.len() as u32);
            for (leg, &input) in inputs.iter().enumerate() {
                let wanted = self.wanted_mut(input);
                let list = if rule.kind.is_windowed() { &mut wanted.windows } else { &mut wanted.bests };
                list.push((stream, leg as u8));
            }
            let work = match rule.kind {
                MergeKind::Bbo(source) => Work::Bbo(Box::new(Bbo::new(&inputs, source, rule.leg_age_ns_max))),
                _ => Work::Window(Window::new(rule.window_ns, rule.count)),
            };
            self.merges.push(Merge { inputs, counts: MergeCounts::default(), work });
            self.dispatcher.reserve(stream);
            streams.push(stream);
        }
        self.ending.reserve(self.merges.len());
        self.rules.push((rule.clone(), streams.clone()));
        self.await_inputs();
        Ok(streams)
    }

    /// Removes a rule: its open windows are discarded, its streams end, their routes too. Returns whether there was one.
    pub fn remove_rule(&mut self, name: &str) -> bool {
        let Some(at) = self.rules.iter().position(|(rule, _)| rule.name == name) else { return false };
        let (_, streams) = self.rules.remove(at);
        for stream in streams {
            let merge = &mut self.merges[stream.index()];
            merge.end();
            let inputs = merge.inputs.clone();
            for &input in &inputs {
                let wanted = self.wanted_mut(input);
                wanted.windows.retain(|&(known, _)| known != stream);
                wanted.bests.retain(|&(known, _)| known != stream);
            }
            for output in 0..self.dispatcher.shards().count() {
                self.dispatcher.routing.remove(stream, output);
            }
        }
        self.await_inputs();
        true
    }

    /// The rules in force, with their merged streams.
    pub fn rules(&self) -> impl Iterator<Item = (&MergeRule, &[StreamId])> + '_ {
        self.rules.iter().map(|(rule, streams)| (rule, streams.as_slice()))
    }

    /// The streams that providers must send here, each once.
    pub fn wanted(&self) -> impl Iterator<Item = (ProviderId, StreamId)> + '_ {
        self.wanted.iter().enumerate().flat_map(|(provider, streams)| {
            streams
                .iter()
                .enumerate()
                .filter(|(_, wanted)| !wanted.is_empty())
                .map(move |(stream, _)| (ProviderId(provider as u8), StreamId(stream as u32)))
        })
    }

    /// The instruments that a merged stream joins: those of its inputs, in the order of the rule.
    pub fn joined_by(&self, stream: StreamId) -> Option<&RuleInputs> {
        self.merges.get(stream.index()).map(|merge| &merge.inputs)
    }

    fn wanted_mut(&mut self, input: RuleInput) -> &mut Wanted {
        let (provider, stream) = (input.provider.index(), input.stream.index());
        if self.wanted.len() <= provider {
            self.wanted.resize_with(provider + 1, Vec::new);
        }
        let streams = &mut self.wanted[provider];
        if streams.len() <= stream {
            streams.resize_with(stream + 1, Wanted::default);
        }
        &mut streams[stream]
    }

    /// Only inputs with windowed streams are waited for.
    fn await_inputs(&mut self) {
        for (input, provider) in self.inputs.iter().enumerate() {
            let streams = self.wanted.get(provider.index()).map_or(&[][..], Vec::as_slice);
            self.order.set_awaited(input, streams.iter().any(|wanted| !wanted.windows.is_empty()));
        }
    }

    /// Events that may be read from an input's ring now. One that is ahead of the others leaves its events in the ring,
    /// so that it cannot take the slots that the others need to catch up.
    pub fn room(&self, input: usize) -> usize {
        self.share().saturating_sub(self.order.held(input))
    }

    /// Slots that one input may hold.
    fn share(&self) -> usize {
        self.pools.events.usage().capacity / self.inputs.len().max(1)
    }

    /// Takes one event, or one part, from an input's ring.
    #[inline]
    pub fn on_event(&mut self, input: usize, event: &Event, now: ReceiveTime) {
        let at = event.header.receive_time;
        if matches!(event.body, Body::Marker) {
            return self.on_marker(input, at, now);
        }
        self.counts.events_total += 1;
        self.take(input, event, now);
        self.order.pass(input, at);
        self.release(now);
    }

    /// An input has passed a receive time: what was received before it has come.
    pub fn on_marker(&mut self, input: usize, passed: ReceiveTime, now: ReceiveTime) {
        self.counts.markers_total += 1;
        self.order.pass(input, passed);
        self.release(now);
    }

    #[inline]
    fn take(&mut self, input: usize, event: &Event, now: ReceiveTime) {
        let (provider, stream) = (event.header.provider.index(), event.header.stream.index());
        let Some(wanted) = self.wanted.get_mut(provider).and_then(|streams| streams.get_mut(stream)) else {
            self.counts.unwanted_total += 1;
            return;
        };
        let joins = matches!(event.body, Body::Trade(_) | Body::Ticker(_) | Body::Kline(_));
        let windowed = joins && !wanted.windows.is_empty();
        if !windowed && wanted.bests.is_empty() {
            self.counts.unwanted_total += 1;
            return;
        }
        if joins && !wanted.is_new(event.header.sequence_last) {
            self.counts.duplicates_total += 1;
            return;
        }
        for index in 0..wanted.bests.len() {
            let (merge, leg) = self.wanted[provider][stream].bests[index];
            self.best(merge, leg, event, now);
        }
        if windowed {
            self.hold(input, event, now);
        } else {
            self.counts.best_total += 1;
        }
    }

    /// Holds an event until its turn. Whoever reads no more than [`room`](Self::room) never finds it empty.
    #[inline]
    fn hold(&mut self, input: usize, event: &Event, now: ReceiveTime) {
        if self.room(input) == 0 {
            self.make_room(input, now);
        }
        let Some(mut slot) = self.pools.events.take() else {
            self.counts.no_slot_total += 1;
            return;
        };
        *slot = *event;
        self.order.hold(input, event.header.receive_time, slot);
        self.counts.held_total += 1;
    }

    #[cold]
    fn make_room(&mut self, input: usize, now: ReceiveTime) {
        if let Some(oldest) = self.order.oldest_of(input) {
            self.counts.forced_by_room_total += 1;
            self.order.force(oldest.plus_ns(1));
            self.release(now);
        }
    }

    /// Does what the order allows now: events whose turn has come, windows whose end has come.
    #[inline]
    fn release(&mut self, now: ReceiveTime) {
        while let Some((at, event)) = self.order.pop() {
            self.counts.released_total += 1;
            if self.next_end <= at {
                self.close_until(at, now);
            }
            self.turn(at, &event, now);
        }
        let frontier = self.order.frontier();
        if self.next_end <= frontier {
            self.close_until(frontier, now);
        }
    }

    /// An event's turn has come, at `at` in the order of all.
    #[inline]
    fn turn(&mut self, at: ReceiveTime, event: &Event, now: ReceiveTime) {
        let (provider, stream) = (event.header.provider.index(), event.header.stream.index());
        let Some(wanted) = self.wanted.get(provider).and_then(|streams| streams.get(stream)) else { return };
        for index in 0..wanted.windows.len() {
            let (number, leg) = self.wanted[provider][stream].windows[index];
            let merge = &mut self.merges[number.index()];
            let Work::Window(window) = &mut merge.work else { continue };
            merge.counts.events_total += 1;
            match window.take(leg, event, &self.pools.merged) {
                Taken::In => {}
                Taken::Opened { end } => {
                    merge.counts.windows_opened_total += 1;
                    self.next_end = self.next_end.min(end);
                }
                Taken::Late => merge.counts.late_total += 1,
                Taken::NoSlot => merge.counts.no_slot_total += 1,
            }
            if let Some(closed) = window.close_by_count(at) {
                self.end(number, closed, now);
            }
        }
    }

    /// Closes the windows that end at `until` or before, in the order of their ends.
    #[cold]
    fn close_until(&mut self, until: ReceiveTime, now: ReceiveTime) {
        let mut ending = std::mem::take(&mut self.ending);
        ending.clear();
        self.next_end = NEVER;
        for (number, merge) in self.merges.iter().enumerate() {
            let Work::Window(window) = &merge.work else { continue };
            match window.end() {
                Some(end) if end <= until => ending.push((end, StreamId(number as u32))),
                Some(end) => self.next_end = self.next_end.min(end),
                None => {}
            }
        }
        ending.sort_unstable();
        for &(_, number) in &ending {
            let Work::Window(window) = &mut self.merges[number.index()].work else { continue };
            if let Some(closed) = window.close_by_length(until) {
                self.end(number, closed, now);
            }
        }
        self.ending = ending;
    }

    /// Publishes a window that is over, or suppresses it.
    fn end(&mut self, number: StreamId, closed: Closed, now: ReceiveTime) {
        let merge = &mut self.merges[number.index()];
        let events = u64::from(closed.event_count());
        if usize::from(closed.providers_present()) < merge.inputs.len() {
            merge.counts.windows_partial_total += 1;
            merge.counts.partial_events_total += events;
            return self.suppress(number, &closed);
        }
        merge.counts.windows_complete_total += 1;
        merge.counts.complete_events_total += events;
        let facts = StreamFacts {
            provider: self.options.provider,
            stream: number,
            instrument: instrument_of(&merge.inputs),
            routing_version: self.dispatcher.routing.version(),
            providers_expected: merge.inputs.len() as u8,
        };
        let over = closed.closed();
        closed.build(&facts, now, &mut self.parts);
        self.offer(over, now);
    }

    #[cold]
    fn suppress(&mut self, stream: StreamId, closed: &Closed) {
        if self.suppressed.len() == SUPPRESSED_MAX {
            self.suppressed.pop_front();
            self.counts.suppressed_untold_total += 1;
        }
        let inputs = &self.merges[stream.index()].inputs;
        let missing = inputs.iter().enumerate().filter(|(leg, _)| !closed.has(*leg));
        self.suppressed.push_back(Suppressed {
            stream,
            merge_id: closed.id(),
            opened: closed.opened(),
            closed: closed.closed(),
            event_count: closed.event_count(),
            missing: missing.map(|(_, input)| input.provider).collect(),
        });
    }

    /// Takes an event for a best bid and offer.
    #[inline]
    fn best(&mut self, number: StreamId, leg: u8, event: &Event, now: ReceiveTime) {
        let merge = &mut self.merges[number.index()];
        let Work::Bbo(bbo) = &mut merge.work else { return };
        merge.counts.events_total += 1;
        let Header { trace, venue_time, receive_time, .. } = event.header;
        if bbo.age_ns_max < u64::MAX {
            self.next_expiry = self.next_expiry.min(receive_time.plus_ns(bbo.age_ns_max));
        }
        if bbo.take(leg, event) {
            let cause = Header { trace, venue_time, receive_time, ..Header::default() };
            self.offer_best(number, cause, now);
        }
    }

    /// Offers the best bid and offer of a stream; the header has the times and the trace of what changed it.
    fn offer_best(&mut self, number: StreamId, cause: Header, now: ReceiveTime) {
        let merge = &mut self.merges[number.index()];
        let Work::Bbo(bbo) = &mut merge.work else { return };
        merge.counts.best_changes_total += 1;
        let at = cause.receive_time;
        bbo.last_id = (bbo.last_id + 1).max(at.ns());
        let header = Header {
            sequence_first: bbo.last_id,
            sequence_last: bbo.last_id,
            stream: number,
            routing_version: self.dispatcher.routing.version(),
            ordered_after_ns: u32::try_from(now.since_ns(at)).unwrap_or(u32::MAX),
            instrument: instrument_of(&merge.inputs),
            flags: Flags::WHOLE,
            provider: self.options.provider,
            schema: SCHEMA_VERSION,
            ..cause
        };
        self.parts.clear();
        self.parts.push(Event { header, body: bbo.body(at) });
        self.offer(at, now);
    }

    #[inline]
    fn offer(&mut self, over: ReceiveTime, now: ReceiveTime) {
        self.dispatcher.offer(&self.parts);
        let latency_ns = now.since_ns(over);
        self.counts.merged_total += 1;
        self.counts.latency_ns_total += latency_ns;
        self.counts.latency_ns_max = self.counts.latency_ns_max.max(latency_ns);
        if self.latencies.len() < LATENCIES_MAX {
            self.latencies.push(latency_ns);
        }
    }

    /// Ends waits that have lasted too long. Call it when [`deadline`](Self::deadline) has come.
    pub fn timeout(&mut self, now: ReceiveTime) {
        if self.order_deadline().is_some_and(|at| now >= at) {
            self.counts.forced_by_patience_total += 1;
            self.order.give_up(ReceiveTime::from_ns(now.ns().saturating_sub(self.options.patience_ns)));
            self.release(now);
        }
        if now >= self.next_expiry {
            self.expire(now);
        }
    }

    #[cold]
    fn expire(&mut self, now: ReceiveTime) {
        self.next_expiry = NEVER;
        for index in 0..self.merges.len() {
            let Work::Bbo(bbo) = &mut self.merges[index].work else { continue };
            let changed = bbo.expire(now);
            self.next_expiry = self.next_expiry.min(bbo.expires().unwrap_or(NEVER));
            if changed {
                self.offer_best(
                    StreamId(index as u32),
                    Header { receive_time: now, ..Header::default() },
                    now,
                );
            }
        }
    }

    /// The end of the input: nothing follows. What is held takes its turn, windows that are over close, and those still
    /// open are discarded, since nobody knows what else would have come into them. Then [`flush`](Self::flush).
    pub fn finish(&mut self, now: ReceiveTime) {
        self.order.force(now.plus_ns(1));
        self.release(now);
        self.merges.iter_mut().for_each(Merge::end);
        self.next_end = NEVER;
        self.next_expiry = NEVER;
    }

    /// When an event, or the end of a window, has waited long enough for inputs that do not pass it.
    fn order_deadline(&self) -> Option<ReceiveTime> {
        // What was received at T leaves when everything up to and including T is forced.
        let oldest = self.order.oldest().map(|at| at.plus_ns(self.options.patience_ns.saturating_add(1)));
        let end = (self.next_end < NEVER).then(|| self.next_end.plus_ns(self.options.patience_ns));
        oldest.into_iter().chain(end).min()
    }

    /// When [`timeout`](Self::timeout) has something to do.
    pub fn deadline(&self) -> Option<ReceiveTime> {
        let expiry = (self.next_expiry < NEVER).then_some(self.next_expiry);
        self.order_deadline().into_iter().chain(expiry).min()
    }

    /// Ends a batch: serves what waits and publishes to the rings. `published` is called with each output that has
    /// something new.
    pub fn flush(&mut self, published: impl FnMut(usize)) {
        self.dispatcher.flush(&mut (), published);
    }

    /// The next window that was suppressed, for the log.
    pub fn poll_suppressed(&mut self) -> Option<Suppressed> {
        self.suppressed.pop_front()
    }

    /// Hands over the latencies of merged events since the last call, in nanoseconds, for the shard's histogram.
    pub fn drain_latencies(&mut self, record: impl FnMut(u64)) {
        self.latencies.drain(..).for_each(record);
    }

    /// What was counted.
    pub const fn counts(&self) -> &MergerCounts {
        &self.counts
    }

    /// What was counted of a merged stream, and the events in its open window.
    pub fn merge_counts(&self, stream: StreamId) -> (MergeCounts, u64) {
        let Some(merge) = self.merges.get(stream.index()) else { return Default::default() };
        let open = match &merge.work {
            Work::Window(window) => window.open_count(),
            _ => 0,
        };
        (merge.counts, open)
    }

    /// What was counted of all merged streams, those of removed rules included, and the events in open windows.
    pub fn totals(&self) -> (MergeCounts, u64) {
        let mut totals = (MergeCounts::default(), 0);
        for stream in 0..self.merges.len() {
            let (counts, open) = self.merge_counts(StreamId(stream as u32));
            totals.0.add(&counts);
            totals.1 += open;
        }
        totals
    }

    /// Whether an input is not waited for because it did not pass in time: its provider's shard stands still or is gone.
    pub fn is_lagging(&self, input: usize) -> bool {
        self.order.is_lagging(input)
    }

    /// Events that wait for their turn.
    pub fn held_count(&self) -> usize {
        (0..self.order.input_count()).map(|input| self.order.held(input)).sum()
    }

    /// The pools, for reports and for what is out at shutdown.
    pub const fn pools(&self) -> &MergePools {
        &self.pools
    }
}

/// The instrument under which a merged stream goes: that of its first input.
fn instrument_of(inputs: &RuleInputs) -> InstrumentId {
    inputs.first().map_or(InstrumentId::default(), |input| input.instrument)
}

impl Wanted {
    fn is_empty(&self) -> bool {
        self.windows.is_empty() && self.bests.is_empty()
    }

    /// Whether an event with this number has not just been here. Remembers it.
    #[inline]
    fn is_new(&mut self, sequence: u64) -> bool {
        if self.recent.contains(&Some(sequence)) {
            return false;
        }
        self.recent[self.recent_next] = Some(sequence);
        self.recent_next = (self.recent_next + 1) % RECENT_MAX;
        true
    }
}
