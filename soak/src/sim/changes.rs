//! What the control thread changes at a world's provider, by the code of its shard.

use std::sync::Arc;

use engine::consumer::Host;
use engine::dead_letter::DeadLetters;
use engine::directory::Directory;
use engine::dispatch::{Dispatcher, RELIEF_PARTS_MAX};
use engine::ids::StreamId;
use engine::provider::{NoRoom, RollAnswer};
use engine::routing::{Delivery, Route};
use engine::time::ReceiveTime;
use engine::venue::Venue;
use shards::control::link::{NewInstrument, Opened, Reply, RouteChange};
use shards::provider::changes::{ListingRun, Obey, take_numbers, take_routes};

use super::{World, catalog_of};
use crate::ledger::key;

/// The observer sees all streams of a provider from the number `from` on.
pub(super) fn observe(directory: &Directory, from: usize, dispatcher: &mut Dispatcher, host: &mut Host) {
    for (index, stream) in directory.streams().iter().enumerate().skip(from) {
        let id = StreamId(index as u32);
        let delivery = Delivery::default_of(stream.channel);
        dispatcher.routing.add(id, Route { output: 0, delivery, book_depth: usize::MAX });
        dispatcher.reserve(id);
        host.subscribe(0, directory.provider(), id, stream.channel.is_book().then_some((10_000, 1_024)));
    }
}

impl<V: Venue> World<V> {
    /// What the shard's other providers leave this one to give out, of what waits for room: at one time in four nothing, one
    /// event, some, all of it.
    pub(crate) const fn relief_parts(&self) -> usize {
        let mixed = (self.now_ns ^ self.options.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62;
        [0, 1, 64, RELIEF_PARTS_MAX][mixed as usize]
    }

    /// The observer sees streams that are new, too, and a stream that begins at the venue begins for it.
    fn adopt(&mut self, known: usize, begun: &[StreamId]) {
        let pipeline = &mut self.provider.pipeline;
        if pipeline.directory.streams().len() > known {
            let catalog = catalog_of(self.options.provider, &pipeline.directory, pipeline.venue.name());
            self.host.set_catalog(Arc::new(catalog));
            observe(&pipeline.directory, known, &mut pipeline.dispatcher, &mut self.host);
        }
        for &stream in begun {
            let directory = &self.provider.pipeline.directory;
            let facts = directory.carries(stream);
            if facts.channel.is_trade() {
                let symbol = &directory.instrument(facts.listing).symbol;
                self.observer.ledger().trades.remove(&key(directory.provider(), symbol));
            }
        }
    }
}

impl<V: Venue> Obey for World<V> {
    fn list(&mut self, number: u64, instruments: &[NewInstrument], now_ns: u64) -> Result<(), String> {
        let now = ReceiveTime::from_ns(now_ns);
        self.listing = Some(ListingRun::begin(&mut self.provider, number, instruments, now)?);
        Ok(())
    }

    fn listed(&mut self) -> Option<(u64, Reply)> {
        ListingRun::poll(&mut self.listing, &self.provider)
    }

    fn route(&mut self, mut change: RouteChange, now_ns: u64) -> Result<(), String> {
        let known = self.provider.pipeline.directory.streams().len();
        let begun = change.begin_at_venue.clone();
        // Who is behind a way is asked of the dispatcher; nobody sleeps here.
        let opened = |opened: Opened| {
            if opened.markers {
                self.merge_output = Some(opened.output);
            }
        };
        let taken = if self.is_full && !begun.is_empty() {
            take_numbers(&mut self.provider, &mut change, opened);
            Err(NoRoom.to_string())
        } else {
            take_routes(&mut self.provider, change, ReceiveTime::from_ns(now_ns), opened)
        };
        self.adopt(known, &begun);
        taken
    }

    fn roll(&mut self) -> Option<RollAnswer> {
        self.provider.roll_all()
    }

    fn letters(&self) -> &DeadLetters {
        &self.provider.pipeline.dispatcher.letters
    }
}
