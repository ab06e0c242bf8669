//! A provider of the whole gateway, whatever its venue: [`World`] behind one type.

use engine::catalog::StreamFacts;
use engine::directory::Directory;
use engine::dispatch::Dispatcher;
use engine::ids::{InstrumentId, ProviderId, StreamId};
use engine::merge::marker::{MarkerPace, marker, passed};
use engine::provider::Happening;
use engine::sequence::Patience;
use engine::time::{FixedClock, ReceiveTime};
use engine::venue::Venue;
use shards::provider::changes::Obey;
use simvenues::Fault;
use simvenues::site::Site;

use crate::ledger::Observer;
use crate::sim::World;

/// What the whole gateway does with a provider.
pub(super) trait Feed: Obey {
    /// Whether there is something to do at `now_ns`.
    fn is_due(&mut self, now_ns: u64) -> bool;
    /// Does it.
    fn step(&mut self, now_ns: u64);
    /// Says to the merge shard, if there is a way to it, how far the provider is, where that is due.
    fn mark(&mut self, pace: &mut MarkerPace, now_ns: u64);
    /// The way to the merge shard is this one.
    fn mark_to(&mut self, output: usize);
    /// Whether there is one.
    fn marks(&self) -> bool;
    /// Whether a stream is wanted at the venue.
    fn carries(&self, stream: StreamId) -> bool;
    /// When there is something to do next.
    fn next_ns(&self) -> u64;
    fn fault(&mut self, fault: &Fault);
    /// A book that is half out goes where it was to go: what a shard does before it takes routes over.
    fn finish_books(&mut self);
    fn dispatcher(&mut self) -> &mut Dispatcher;
    fn dispatcher_ref(&self) -> &Dispatcher;
    fn site(&mut self) -> &mut Site;
    /// The venue's bytes stand still until then.
    fn stall_until(&mut self, until_ns: u64);
    /// Event parts taken by the far end that never waits.
    fn observed_total(&self) -> u64;
    fn is_settled(&self) -> bool;
    /// From now on no more levels than these are what the venue proves.
    fn compare_only(&mut self, levels: usize);
    /// The market stands still and everything has arrived: all is as the venue has it.
    fn assert_true(&self);
    fn observer(&self) -> Observer;
    /// Names and numbers of its streams.
    fn directory(&self) -> Directory;
    /// By stream number.
    fn streams(&self) -> Vec<StreamFacts>;
    /// Whether its connections have no room for another stream.
    fn fill(&mut self, is_full: bool);
    /// Pooled slots that are out.
    fn pooled_out(&self) -> usize;
    /// Where the provider stands, for a story.
    fn state(&self) -> String;
    fn symbols(&self) -> Vec<String>;
    /// Lines from which another took over.
    fn rolled_total(&self) -> u64;
}

impl<V: Venue> Feed for World<V> {
    fn is_due(&mut self, now_ns: u64) -> bool {
        World::next_ns(self) <= now_ns || self.provider.pipeline.dispatcher.is_congested()
    }

    fn step(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        World::step(self);
    }

    fn mark(&mut self, pace: &mut MarkerPace, now_ns: u64) {
        let now = ReceiveTime::from_ns(now_ns);
        if let Some(output) = self.merge_output.filter(|_| pace.due(now)) {
            let hole = self.provider.pipeline.deadline();
            let event =
                marker(ProviderId(self.options.provider), passed(now, hole, Patience::SPEC.lateness_ns));
            self.provider.pipeline.dispatcher.offer_marker(output, event);
            let relief_parts = self.relief_parts();
            self.provider.flush(&mut FixedClock(now), relief_parts, |_| {});
            pace.sent(now);
        }
    }

    fn mark_to(&mut self, output: usize) {
        self.merge_output = Some(output);
    }

    fn marks(&self) -> bool {
        self.merge_output.is_some()
    }

    fn carries(&self, stream: StreamId) -> bool {
        self.provider.carries(stream)
    }

    fn next_ns(&self) -> u64 {
        World::next_ns(self)
    }

    fn fault(&mut self, fault: &Fault) {
        World::fault(self, fault);
    }

    fn finish_books(&mut self) {
        self.provider.pipeline.finish_books();
    }

    fn dispatcher(&mut self) -> &mut Dispatcher {
        &mut self.provider.pipeline.dispatcher
    }

    fn dispatcher_ref(&self) -> &Dispatcher {
        &self.provider.pipeline.dispatcher
    }

    fn site(&mut self) -> &mut Site {
        &mut self.site
    }

    fn stall_until(&mut self, until_ns: u64) {
        self.stalled_until_ns = until_ns;
    }

    fn observed_total(&self) -> u64 {
        self.received_total
    }

    fn is_settled(&self) -> bool {
        World::is_settled(self)
    }

    fn compare_only(&mut self, levels: usize) {
        self.compared_levels = levels;
    }

    fn assert_true(&self) {
        World::assert_true(self);
    }

    fn observer(&self) -> Observer {
        self.observer()
    }

    fn directory(&self) -> Directory {
        self.provider.pipeline.directory.clone()
    }

    fn streams(&self) -> Vec<StreamFacts> {
        let directory = &self.provider.pipeline.directory;
        let facts = |stream: &engine::directory::Stream| {
            let instrument = directory.instrument(stream.listing);
            StreamFacts {
                symbol: instrument.symbol.clone(),
                venue_symbol: instrument.venue_symbol.clone(),
                instrument: InstrumentId(instrument.id.0),
                channel: stream.channel,
            }
        };
        directory.streams().iter().map(facts).collect()
    }

    fn fill(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    fn pooled_out(&self) -> usize {
        let pools = self.provider.pipeline.pools();
        // One raw is always in hand, for the next frame.
        pools.frames.usage().out + pools.raws.usage().out.saturating_sub(1) + pools.events.usage().out
    }

    fn state(&self) -> String {
        let (proved, all) = self.provider.books_proved();
        let lines: Vec<_> =
            self.provider.connections().iter().map(engine::connection::Connection::is_subscribed).collect();
        let last = self.happenings.last();
        format!("{proved} of {all} books proved, lines subscribed: {lines:?}, last happened {last:?}")
    }

    fn symbols(&self) -> Vec<String> {
        World::symbols(self)
    }

    fn rolled_total(&self) -> u64 {
        let rolled = |(_, happening): &&(u64, Happening)| matches!(happening, Happening::Rolled { .. });
        self.happenings.iter().filter(rolled).count() as u64
    }
}
