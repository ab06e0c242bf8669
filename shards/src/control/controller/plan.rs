//! From an order to what each shard is told, before anything is sent; and back, when a shard refuses.

use std::collections::VecDeque;
use std::sync::Arc;

use engine::catalog::StreamFacts;
use engine::channel::Channel;
use engine::directory::VENUE_SYMBOL_BYTES_MAX;
use engine::event::Event;
use engine::ids::{ConsumerId, InstrumentId, Listing, ProviderId, ShardId, StreamId};
use engine::ring::{Receiver, ring};
use engine::routing::Route;

use super::super::link::{Command, NewInstrument, NewOutput, RouteChange};
use super::super::order::{Order, Refusal, Symbols};
use super::{Controller, Held, Plan, Running, STREAMS_MAX, Stage, Step, merge};
use crate::status::OUTPUTS_MAX;
use crate::topology::books::book_reserve;
use crate::topology::venues::venue_symbol;

/// Symbols, by provider, of which a venue is to be asked.
pub(super) type ToList = VecDeque<(usize, Vec<String>)>;

impl Controller {
    /// What the venue must be asked before an order can be planned.
    pub(super) fn to_list_of(&self, order: &Order) -> Result<ToList, Refusal> {
        let Symbols::Listed(symbols) = &order.symbols else { return Ok(ToList::new()) };
        let channels: Vec<Channel> = order.channels.iter().map(|&(channel, _)| channel).collect();
        let new = self.unknown(order.provider, symbols, &channels)?;
        Ok(if new.is_empty() { ToList::new() } else { [(order.provider, new)].into() })
    }

    /// Symbols that a provider does not know, or of which the venue has said nothing; `channels` of each are wanted.
    pub(super) fn unknown(
        &self,
        provider: usize,
        symbols: &[String],
        channels: &[Channel],
    ) -> Result<Vec<String>, Refusal> {
        let mirror = &self.mirrors[provider];
        let spelled = |symbol: &str| venue_symbol(self.topology.providers[provider].product, symbol);
        let is_known = |symbol: &&String| {
            mirror
                .directory
                .find(spelled(symbol).as_bytes())
                .is_some_and(|listing| !mirror.unlisted.contains(&listing))
        };
        let mut new: Vec<String> = symbols.iter().filter(|symbol| !is_known(symbol)).cloned().collect();
        new.sort_unstable();
        new.dedup();
        let new_streams = symbols.iter().flat_map(|symbol| {
            let listing = self.listing(provider, symbol);
            let is_there = move |channel: Channel| {
                listing.is_some_and(|listing| mirror.directory.stream(listing, channel).is_some())
            };
            channels.iter().filter(move |&&channel| !is_there(channel))
        });
        let count = mirror.directory.streams().len() + new_streams.count();
        if let Some(symbol) = new.iter().find(|symbol| spelled(symbol).len() > VENUE_SYMBOL_BYTES_MAX) {
            let fits = format!("up to {VENUE_SYMBOL_BYTES_MAX} bytes as the venue spells it");
            return Err(Refusal::new(422, format!("{symbol} is too long"), fits));
        }
        let count = count.max(mirror.directory.instruments().len() + new.len());
        if count > STREAMS_MAX {
            let left = STREAMS_MAX.saturating_sub(mirror.directory.streams().len());
            let reason = format!("the provider could have {count} streams or instruments");
            return Err(Refusal::new(422, reason, format!("{left} more, {STREAMS_MAX} in all")));
        }
        Ok(new)
    }

    pub(super) fn list(&mut self, mut running: Running, provider: usize, symbols: Vec<String>) {
        let mut listings = Vec::new();
        let mut instruments = Vec::new();
        for symbol in symbols {
            let venue_symbol = venue_symbol(self.topology.providers[provider].product, &symbol);
            let known = self.catalog.symbols.iter().position(|known| *known == symbol);
            let id = InstrumentId(known.unwrap_or(self.catalog.symbols.len()) as u16);
            let listing = self.mirrors[provider].directory.add(&venue_symbol, &symbol, id);
            let listing = listing.expect("length and count were checked");
            if known.is_none() {
                Arc::make_mut(&mut self.catalog).symbols.push(symbol.clone());
            }
            self.mirrors[provider].unlisted.insert(listing);
            listings.push(listing);
            instruments.push(NewInstrument { venue_symbol, symbol, id });
        }
        running.stage = Stage::List(provider, listings);
        let command = Command::List { provider: provider as u8, instruments };
        running.number = self.send(self.shard_of_provider(provider), command);
        self.running = Some(running);
    }

    /// The shard of a provider.
    pub(super) fn shard_of_provider(&self, provider: usize) -> usize {
        usize::from(self.topology.providers[provider].shard.0)
    }

    fn listings(&self, order: &Order) -> Vec<Listing> {
        let directory = &self.mirrors[order.provider].directory;
        match &order.symbols {
            Symbols::All => (0..directory.instruments().len())
                .map(|index| Listing(index as u16))
                .filter(|listing| !self.mirrors[order.provider].unlisted.contains(listing))
                .collect(),
            Symbols::Listed(symbols) => {
                symbols.iter().filter_map(|symbol| self.listing(order.provider, symbol)).collect()
            }
        }
    }

    /// The listing of a canonical symbol.
    pub(super) fn listing(&self, provider: usize, symbol: &str) -> Option<Listing> {
        let spelled = venue_symbol(self.topology.providers[provider].product, symbol);
        self.mirrors[provider].directory.find(spelled.as_bytes())
    }

    /// What one consumer shard needs of a stream: the strictest rule and the deepest book of its consumers.
    pub(super) fn route(&self, shard: usize, provider: usize, stream: StreamId) -> Option<Held> {
        let on_shard = (0..self.held.len()).filter(|&consumer| self.shard_of(consumer) == shard);
        on_shard.filter_map(|consumer| self.held[consumer].get(&(provider, stream)).copied()).reduce(
            |mut one, other| {
                merge(&mut one, other);
                one
            },
        )
    }

    /// The consumers of a shard that hold a stream.
    pub(super) fn holders(&self, shard: usize, provider: usize, stream: StreamId) -> Vec<ConsumerId> {
        let on_shard = (0..self.held.len()).filter(|&consumer| self.shard_of(consumer) == shard);
        let holding = on_shard.filter(|&consumer| self.held[consumer].contains_key(&(provider, stream)));
        holding.map(|consumer| ConsumerId(consumer as u16)).collect()
    }

    /// Whether a consumer or a merge rule uses a stream: while one does, the venue sends it.
    pub(super) fn is_used(&self, provider: usize, stream: StreamId) -> bool {
        self.held.iter().any(|held| held.contains_key(&(provider, stream)))
            || self.mergers.iter().any(|merger| merger.joins(provider, stream))
    }

    /// Refuses a way to a shard where there is none and no room for one.
    pub(super) fn check_way(&self, from: usize, shard: usize) -> Result<(), Refusal> {
        let outputs = self.outputs(from);
        if outputs.len() < OUTPUTS_MAX || outputs.iter().any(|&to| usize::from(to) == shard) {
            return Ok(());
        }
        let reason = format!("{} feeds no more shards", self.catalog.provider(ProviderId(from as u8)));
        Err(Refusal::new(422, reason, format!("{OUTPUTS_MAX} consumer and merge shards a provider")))
    }

    /// The shards behind the outputs of a provider, or of the merge shard of that number.
    fn outputs(&self, from: usize) -> &[u8] {
        match self.mirrors.get(from) {
            Some(mirror) => &mirror.outputs,
            None => &self.mergers[from - self.mirrors.len()].outputs,
        }
    }

    /// The number of the way to a shard: its own, or that of the next one that is made.
    pub(super) fn output_of(&self, from: usize, shard: usize) -> usize {
        let outputs = self.outputs(from);
        outputs.iter().position(|&to| usize::from(to) == shard).unwrap_or(outputs.len())
    }

    /// Makes the way to a shard if there is none: for the sender, and for the receiver.
    pub(super) fn open_way(&mut self, from: usize, shard: usize) -> Option<(NewOutput, Receiver<Event>)> {
        if self.output_of(from, shard) < self.outputs(from).len() {
            return None;
        }
        let plan = &self.topology.shards[shard];
        let rings = plan.rings().expect("a shard that receives has rings");
        let (sender, receiver) = ring(rings.ring_events as usize);
        let output = NewOutput {
            shard: ShardId(shard as u8),
            sender,
            rings,
            waker: self.wires[shard].as_ref().expect("every shard has a wire").waker().clone(),
            markers: self.mergers.iter().any(|merger| merger.shard == shard),
        };
        let mirrors = self.mirrors.len();
        match self.mirrors.get_mut(from) {
            Some(mirror) => mirror.outputs.push(shard as u8),
            None => self.mergers[from - mirrors].outputs.push(shard as u8),
        }
        Some((output, receiver))
    }

    pub(super) fn plan_subscribe(&mut self, order: &Order, plan: &mut Plan) -> Result<(), Refusal> {
        let (consumer, provider) = (order.consumer, order.provider);
        let shard = self.shard_of(consumer);
        self.check_way(provider, shard)?;
        let mut change = Box::new(RouteChange::default());
        let mut streams = Vec::new();
        let mut welcome = Vec::new();
        for listing in self.listings(order) {
            for &(channel, delivery) in &order.channels {
                let directory = &mut self.mirrors[provider].directory;
                let known = directory.stream(listing, channel);
                let stream = directory.add_stream(listing, channel);
                if known.is_none() {
                    change.streams.push((listing, channel, stream));
                }
                let book_depth = if channel.is_book() { order.book_depth } else { 0 };
                let how = Held { delivery, book_depth };
                let before = self.held[consumer].get(&(provider, stream)).copied();
                if before == Some(how) {
                    continue;
                }
                let routed = self.route(shard, provider, stream);
                self.held[consumer].insert((provider, stream), how);
                plan.before.push((consumer, provider, stream, before));
                let route = self.route(shard, provider, stream).expect("it was just held");
                let output = self.output_of(provider, shard);
                change
                    .routes
                    .push((stream, Route { output, delivery: route.delivery, book_depth: route.book_depth }));
                change.holders.push((stream, output, self.holders(shard, provider, stream)));
                let copy = channel.is_book().then(|| (route.book_depth, book_reserve(route.book_depth)));
                streams.push((ProviderId(provider as u8), stream, copy));
                if channel.is_book()
                    && before.is_none()
                    && routed.is_some_and(|routed| routed.book_depth == route.book_depth)
                {
                    welcome.push((ProviderId(provider as u8), stream));
                }
                if self.mirrors[provider].carried.insert(stream) {
                    change.begin_at_venue.push(stream);
                    plan.begun.push((provider, stream));
                }
            }
        }
        if streams.is_empty() {
            return Ok(());
        }
        self.version += 1;
        change.version = self.version;
        plan.version = self.version;
        plan.stream_count = streams.len();
        self.extend_catalog(provider);
        let (output, ring) = self.open_way(provider, shard).unzip();
        change.output = output;
        let command = Command::Subscribe {
            consumer: ConsumerId(consumer as u16),
            streams,
            running: welcome,
            version: self.version,
            catalog: Arc::clone(&self.catalog),
            ring,
        };
        plan.steps.push_back(Step { shard, command, undo: Some(self.unsubscribe_gone(consumer, plan)) });
        let command = Command::Route { provider: provider as u8, change };
        plan.steps.push_back(Step { shard: self.shard_of_provider(provider), command, undo: None });
        Ok(())
    }

    /// Takes from a consumer's shard what the consumer did not hold before.
    pub(super) fn unsubscribe_gone(&self, consumer: usize, plan: &Plan) -> (usize, Command) {
        let new = plan.before.iter().filter(|(of, .., before)| *of == consumer && before.is_none());
        let streams: Vec<_> =
            new.map(|&(_, provider, stream, _)| (ProviderId(provider as u8), stream)).collect();
        let command = Command::Unsubscribe { consumer: ConsumerId(consumer as u16), streams };
        (self.shard_of(consumer), command)
    }

    pub(super) fn plan_unsubscribe(&mut self, order: &Order, plan: &mut Plan) {
        let (consumer, provider) = (order.consumer, order.provider);
        let shard = self.shard_of(consumer);
        let mut change = Box::new(RouteChange::default());
        let mut streams = Vec::new();
        for listing in self.listings(order) {
            for &(channel, _) in &order.channels {
                let Some(stream) = self.mirrors[provider].directory.stream(listing, channel) else {
                    continue;
                };
                let Some(before) = self.held[consumer].remove(&(provider, stream)) else { continue };
                plan.before.push((consumer, provider, stream, Some(before)));
                streams.push((ProviderId(provider as u8), stream));
                self.lessen(provider, stream, shard, &mut change);
                self.leave(provider, stream, &mut change);
            }
        }
        if streams.is_empty() {
            return;
        }
        self.version += 1;
        change.version = self.version;
        plan.version = self.version;
        plan.stream_count = streams.len();
        let command = Command::Route { provider: provider as u8, change };
        plan.steps.push_back(Step { shard: self.shard_of_provider(provider), command, undo: None });
        let command = Command::Unsubscribe { consumer: ConsumerId(consumer as u16), streams };
        plan.steps.push_back(Step { shard, command, undo: None });
    }

    /// The route of a stream to a consumer shard after one of its consumers gave the stream up.
    pub(super) fn lessen(&self, from: usize, stream: StreamId, shard: usize, change: &mut RouteChange) {
        let output = self.output_of(from, shard);
        match self.route(shard, from, stream) {
            Some(Held { delivery, book_depth }) => {
                change.routes.push((stream, Route { output, delivery, book_depth }));
                change.holders.push((stream, output, self.holders(shard, from, stream)));
            }
            None => change.ended.push((stream, output)),
        }
    }

    /// Ends a stream at the venue if nobody uses it any more.
    pub(super) fn leave(&mut self, provider: usize, stream: StreamId, change: &mut RouteChange) {
        if !self.is_used(provider, stream) && self.mirrors[provider].carried.remove(&stream) {
            change.end_at_venue.push(stream);
        }
    }

    pub(super) fn extend_catalog(&mut self, provider: usize) {
        let directory = &self.mirrors[provider].directory;
        let known = self.catalog.providers[provider].streams.len();
        if known == directory.streams().len() {
            return;
        }
        let catalog = Arc::make_mut(&mut self.catalog);
        for stream in &directory.streams()[known..] {
            let instrument = directory.instrument(stream.listing);
            catalog.providers[provider].streams.push(StreamFacts {
                symbol: instrument.symbol.clone(),
                venue_symbol: instrument.venue_symbol.clone(),
                instrument: instrument.id,
                channel: stream.channel,
            });
        }
    }

    /// A shard refused what was planned: everything is as it was before, but for what was numbered and the ways that were made.
    /// Shards that were not told yet hear of those now.
    pub(super) fn undo(&mut self, running: &mut Running) {
        let plan = &mut running.plan;
        for &(consumer, provider, stream, before) in &plan.before {
            match before {
                Some(before) => self.held[consumer].insert((provider, stream), before),
                None => self.held[consumer].remove(&(provider, stream)),
            };
        }
        if let Some((merger, name)) = plan.made.take() {
            // Nothing is done yet when the merge shard itself refuses: it has not used up the numbers.
            self.forget_rule(merger, &name, plan.undo.is_empty());
        }
        for (provider, stream) in plan.begun.drain(..) {
            self.mirrors[provider].carried.remove(&stream);
        }
        for (shard, command) in plan.undo.drain(..).rev() {
            self.send(shard, command);
        }
        let left: Vec<Step> = plan.steps.drain(..).collect();
        for Step { shard, command, .. } in left {
            if let Some(command) = what_stays(command) {
                self.send(shard, command);
            }
        }
    }
}

/// What both sides must know of a command though the change that it belongs to was refused: numbers of streams, ways with their
/// two ends, and the version, without which a consumer that skips what is stale would see nothing any more.
fn what_stays(command: Command) -> Option<Command> {
    match command {
        Command::Route { provider, change } => {
            let RouteChange { version, streams, output, .. } = *change;
            let change = Box::new(RouteChange { version, streams, output, ..RouteChange::default() });
            Some(Command::Route { provider, change })
        }
        Command::Subscribe { consumer, version, catalog, ring: Some(ring), .. } => {
            let (streams, running, ring) = (Vec::new(), Vec::new(), Some(ring));
            Some(Command::Subscribe { consumer, streams, running, version, catalog, ring })
        }
        _ => None,
    }
}
