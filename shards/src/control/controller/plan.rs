//! From an order to what each shard is told, before anything is sent; and back, when a shard refuses.

use std::sync::Arc;

use engine::consumer::StreamFacts;
use engine::directory::VENUE_SYMBOL_BYTES_MAX;
use engine::ids::{ConsumerId, InstrumentId, Listing, ProviderId, ShardId, StreamId};
use engine::ring::ring;
use engine::routing::Route;

use super::super::link::{Command, NewInstrument, NewOutput, RouteChange};
use super::super::order::{Changed, Order, Refusal, Symbols};
use super::{Controller, Held, Running, STREAMS_MAX, Stage, merge};
use crate::launch::{book_reserve, venue_symbol};
use crate::status::OUTPUTS_MAX;

impl Controller {
    /// Symbols of an order that the provider does not know, or of which the venue has said nothing.
    pub(super) fn unknown(&self, order: &Order) -> Result<Vec<String>, Refusal> {
        let mirror = &self.mirrors[order.provider];
        let Symbols::Listed(symbols) = &order.symbols else { return Ok(Vec::new()) };
        let is_known = |symbol: &&String| {
            let venue_symbol = venue_symbol(&self.topology.providers[order.provider], symbol);
            mirror
                .directory
                .find(venue_symbol.as_bytes())
                .is_some_and(|listing| !mirror.unlisted.contains(&listing))
        };
        let mut new: Vec<String> = symbols.iter().filter(|symbol| !is_known(symbol)).cloned().collect();
        new.sort_unstable();
        new.dedup();
        let count = mirror.directory.streams().len() + new.len() * order.channels.len();
        let long = new.iter().find(|symbol| {
            venue_symbol(&self.topology.providers[order.provider], symbol).len() > VENUE_SYMBOL_BYTES_MAX
        });
        if let Some(symbol) = long {
            let fits = format!("up to {VENUE_SYMBOL_BYTES_MAX} bytes as the venue spells it");
            return Err(Refusal::new(422, format!("{symbol} is too long"), fits));
        }
        let count = count.max(mirror.directory.instruments().len() + new.len());
        if count > STREAMS_MAX {
            let left = STREAMS_MAX.saturating_sub(mirror.directory.streams().len());
            let reason = format!("the provider would have {count} streams or instruments");
            return Err(Refusal::new(422, reason, format!("{left} more, {STREAMS_MAX} in all")));
        }
        Ok(new)
    }

    pub(super) fn list(&mut self, mut running: Running, symbols: Vec<String>) {
        let provider = running.order.provider;
        let mut listings = Vec::new();
        let mut instruments = Vec::new();
        for symbol in symbols {
            let venue_symbol = venue_symbol(&self.topology.providers[provider], &symbol);
            let mut catalog = (*self.catalog).clone();
            let known = catalog.symbols.iter().position(|known| *known == symbol);
            let id = known.unwrap_or(catalog.symbols.len());
            let id = InstrumentId(id as u16);
            let listing = self.mirrors[provider].directory.add(&venue_symbol, &symbol, id);
            let listing = listing.expect("length and count were checked");
            if known.is_none() {
                catalog.symbols.push(symbol.clone());
                self.catalog = Arc::new(catalog);
            }
            self.mirrors[provider].unlisted.insert(listing);
            listings.push(listing);
            instruments.push(NewInstrument { venue_symbol, symbol, id });
        }
        let shard = usize::from(self.topology.providers[provider].shard.0);
        running.stage = Stage::List(listings);
        running.number = self.send(shard, Command::List { provider: provider as u8, instruments });
        self.running = Some(running);
    }

    fn listings(&self, order: &Order) -> Vec<Listing> {
        let directory = &self.mirrors[order.provider].directory;
        let plan = &self.topology.providers[order.provider];
        match &order.symbols {
            Symbols::All => (0..directory.instruments().len())
                .map(|index| Listing(index as u16))
                .filter(|listing| !self.mirrors[order.provider].unlisted.contains(listing))
                .collect(),
            Symbols::Listed(symbols) => {
                let found =
                    symbols.iter().map(|symbol| directory.find(venue_symbol(plan, symbol).as_bytes()));
                found.flatten().collect()
            }
        }
    }

    /// What one shard needs of a stream: the strictest rule and the deepest book of its consumers.
    fn route(&self, shard: usize, provider: usize, stream: StreamId) -> Option<Held> {
        let on_shard = (0..self.held.len()).filter(|&consumer| self.shard_of(consumer) == shard);
        on_shard.filter_map(|consumer| self.held[consumer].get(&(provider, stream)).copied()).reduce(
            |mut one, other| {
                merge(&mut one, other);
                one
            },
        )
    }

    pub(super) fn plan_subscribe(&mut self, mut running: Running, now_ns: u64) {
        let (consumer, provider) = (running.order.consumer, running.order.provider);
        let shard = self.shard_of(consumer);
        let listings = self.listings(&running.order);
        let has_output = self.mirrors[provider].outputs.iter().any(|&to| usize::from(to) == shard);
        if !has_output && self.mirrors[provider].outputs.len() >= OUTPUTS_MAX {
            let fits = format!("{OUTPUTS_MAX} consumer shards a provider");
            return self.finish(
                running,
                Err(Refusal::new(422, "the provider feeds no more shards", fits)),
                now_ns,
            );
        }
        let mut change = Box::new(RouteChange::default());
        let mut streams = Vec::new();
        let mut welcome = Vec::new();
        for listing in listings {
            for &(channel, delivery) in &running.order.channels {
                let directory = &mut self.mirrors[provider].directory;
                let known = directory.stream(listing, channel);
                let stream = directory.add_stream(listing, channel);
                if known.is_none() {
                    change.streams.push((listing, channel, stream));
                }
                let book_depth = if channel.is_book() { running.order.book_depth } else { 0 };
                let how = Held { delivery, book_depth };
                let before = self.held[consumer].get(&(provider, stream)).copied();
                if before == Some(how) {
                    continue;
                }
                let routed = self.route(shard, provider, stream);
                self.held[consumer].insert((provider, stream), how);
                running.plan.before.push((stream, before));
                let route = self.route(shard, provider, stream).expect("it was just held");
                let output = self.output_of(provider, shard);
                change
                    .routes
                    .push((stream, Route { output, delivery: route.delivery, book_depth: route.book_depth }));
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
                }
            }
        }
        if streams.is_empty() {
            let changed = Changed { version: self.version, stream_count: 0 };
            return self.finish(running, Ok(changed), now_ns);
        }
        self.version += 1;
        change.version = self.version;
        running.plan.version = self.version;
        running.plan.streams = streams.iter().map(|(_, stream, _)| *stream).collect();
        self.extend_catalog(provider);
        let mut receiver = None;
        if !has_output {
            let rings = self.topology.shards[shard].rings().expect("a consumer shard has rings");
            let (sender, end) = ring(rings.ring_events as usize);
            let waker = self.wires[shard].as_ref().expect("every shard has a wire").waker().clone();
            receiver = Some(end);
            change.output = Some(NewOutput { shard: ShardId(shard as u8), sender, rings, waker });
            self.mirrors[provider].outputs.push(shard as u8);
        }
        running.plan.route = Some(change);
        running.stage = Stage::Consumer;
        running.number = self.send(
            shard,
            Command::Subscribe {
                consumer: ConsumerId(consumer as u16),
                streams,
                running: welcome,
                version: self.version,
                catalog: Arc::clone(&self.catalog),
                ring: receiver,
            },
        );
        self.running = Some(running);
    }

    pub(super) fn plan_unsubscribe(&mut self, mut running: Running, now_ns: u64) {
        let (consumer, provider) = (running.order.consumer, running.order.provider);
        let shard = self.shard_of(consumer);
        let mut change = Box::new(RouteChange::default());
        for listing in self.listings(&running.order) {
            for &(channel, _) in &running.order.channels {
                let Some(stream) = self.mirrors[provider].directory.stream(listing, channel) else {
                    continue;
                };
                let Some(before) = self.held[consumer].remove(&(provider, stream)) else { continue };
                running.plan.before.push((stream, Some(before)));
                running.plan.streams.push(stream);
                let output = self.output_of(provider, shard);
                match self.route(shard, provider, stream) {
                    Some(Held { delivery, book_depth }) => {
                        change.routes.push((stream, Route { output, delivery, book_depth }));
                    }
                    None => change.ended.push((stream, output)),
                }
                if self.held.iter().all(|held| !held.contains_key(&(provider, stream))) {
                    self.mirrors[provider].carried.remove(&stream);
                    change.end_at_venue.push(stream);
                }
            }
        }
        if running.plan.streams.is_empty() {
            let changed = Changed { version: self.version, stream_count: 0 };
            return self.finish(running, Ok(changed), now_ns);
        }
        self.version += 1;
        change.version = self.version;
        running.plan.version = self.version;
        running.plan.route = Some(change);
        running.stage = Stage::Provider;
        self.send_route(running);
    }

    pub(super) fn send_route(&mut self, mut running: Running) {
        let provider = running.order.provider;
        let change = running.plan.route.take().expect("a plan has its routes");
        let shard = usize::from(self.topology.providers[provider].shard.0);
        running.number = self.send(shard, Command::Route { provider: provider as u8, change });
        self.running = Some(running);
    }

    /// The number of the way from a provider to a shard: its own, or that of the next one that is made.
    fn output_of(&self, provider: usize, shard: usize) -> usize {
        let outputs = &self.mirrors[provider].outputs;
        outputs.iter().position(|&to| usize::from(to) == shard).unwrap_or(outputs.len())
    }

    fn extend_catalog(&mut self, provider: usize) {
        let directory = &self.mirrors[provider].directory;
        let known = self.catalog.providers[provider].streams.len();
        if known == directory.streams().len() {
            return;
        }
        let mut catalog = (*self.catalog).clone();
        for stream in &directory.streams()[known..] {
            let instrument = directory.instrument(stream.listing);
            catalog.providers[provider].streams.push(StreamFacts {
                symbol: instrument.symbol.clone(),
                venue_symbol: instrument.venue_symbol.clone(),
                instrument: instrument.id,
                channel: stream.channel,
            });
        }
        self.catalog = Arc::new(catalog);
    }

    /// A shard refused what was planned: everything is as it was before.
    pub(super) fn undo(&mut self, running: &Running) {
        let (consumer, provider) = (running.order.consumer, running.order.provider);
        let mut gone = Vec::new();
        for &(stream, before) in &running.plan.before {
            if let Some(before) = before {
                self.held[consumer].insert((provider, stream), before);
            } else {
                self.held[consumer].remove(&(provider, stream));
                gone.push((ProviderId(provider as u8), stream));
            }
            if self.held.iter().all(|held| !held.contains_key(&(provider, stream))) {
                self.mirrors[provider].carried.remove(&stream);
            }
        }
        if !gone.is_empty() {
            let consumer_id = ConsumerId(consumer as u16);
            let shard = self.shard_of(consumer);
            self.send(shard, Command::Unsubscribe { consumer: consumer_id, streams: gone });
        }
    }
}
