//! What the control thread changes at a world's provider, by the code of its shard.

use std::sync::Arc;

use engine::consumer::Host;
use engine::dead_letter::DeadLetters;
use engine::directory::Directory;
use engine::dispatch::{Dispatcher, RELIEF_PARTS_MAX};
use engine::ids::{LineId, StreamId};
use engine::routing::{Delivery, Route};
use engine::time::ReceiveTime;
use engine::venue::Venue;
use shards::control::link::{NewInstrument, Reply, RollAnswer, RouteChange};
use shards::provider::changes::{ListingRun, Obey, take_routes};

use super::{MS_NS, World, catalog_of};
use crate::ledger::key;

/// How often rolls on command are looked at, as in the shard, in nanoseconds.
const LOOK_NS: u64 = 50 * MS_NS;

/// Lines that are to be rolled on command, and whether the engine has begun: what `shards::provider::Driver` keeps of them.
#[derive(Default)]
pub(super) struct Rolls {
    lines: Vec<(LineId, bool)>,
    look_at_ns: u64,
}

impl Rolls {
    /// When they are looked at next.
    pub(super) fn next_ns(&self) -> u64 {
        if self.is_over() { u64::MAX } else { self.look_at_ns }
    }

    /// Whether none is under way.
    pub(super) fn is_over(&self) -> bool {
        self.lines.is_empty()
    }
}

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

    /// Begins the rolls on command that are due, and forgets those that are over.
    pub(super) fn roll_due(&mut self) {
        if self.now_ns < self.rolls.next_ns() {
            return;
        }
        let (provider, now) = (&mut self.provider, ReceiveTime::from_ns(self.now_ns));
        self.rolls.lines.retain_mut(|(line, begun)| {
            if *begun {
                return provider.is_rolling(*line);
            }
            let is_live = provider.connections()[line.index()].is_live();
            *begun = is_live && provider.roll(*line, now);
            is_live
        });
        self.rolls.look_at_ns = self.now_ns + LOOK_NS;
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

    fn route(&mut self, change: RouteChange, now_ns: u64) -> Result<(), String> {
        let known = self.provider.pipeline.directory.streams().len();
        let begun = change.begin_at_venue.clone();
        // Who is behind a way is asked of the dispatcher; nobody sleeps here.
        let taken = take_routes(&mut self.provider, change, ReceiveTime::from_ns(now_ns), |opened| {
            if opened.markers {
                self.merge_output = Some(opened.output);
            }
        });
        self.adopt(known, &begun);
        taken
    }

    fn roll(&mut self) -> Result<RollAnswer, String> {
        let under_way = !self.rolls.is_over();
        if !under_way {
            let live = self.provider.connections().iter().filter(|connection| connection.is_live());
            let lines = live.map(|connection| (connection.line(), false)).collect();
            self.rolls = Rolls { lines, look_at_ns: self.now_ns };
        }
        match self.rolls.lines.len() {
            0 => Err("no line is up, so there is nothing to roll".to_owned()),
            lines => Ok(RollAnswer { lines, under_way }),
        }
    }

    fn letters(&self) -> &DeadLetters {
        &self.provider.pipeline.dispatcher.letters
    }
}
