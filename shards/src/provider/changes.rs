//! The control thread's half of a provider shard: routes that change, instruments that are asked for, dead letters.
//!
//! All of it happens between two turns, and none of it is on the path. What a command does is here without sockets, so that
//! the simulation runs the same: [`obey`] over any [`Providers`], [`take_routes`] and [`ListingRun`] over the engine's provider.

use engine::dead_letter::DeadLetters;
use engine::ids::{Listing, StreamId};
use engine::provider::{Provider, RollAnswer};
use engine::time::ReceiveTime;
use engine::venue::Venue;

use super::lines::LineSocket;
use super::{Driver, ProviderShard};
use crate::control::link::{Command, NewInstrument, Numbered, Opened, Reply, RouteChange};

/// What a provider does for the control thread.
pub trait Obey {
    /// Begins to learn instruments; [`listed`](Self::listed) says what came of it.
    fn list(&mut self, number: u64, instruments: &[NewInstrument], now_ns: u64) -> Result<(), String>;
    /// The end of what [`list`](Self::list) began.
    fn listed(&mut self) -> Option<(u64, Reply)>;
    /// Takes new routes over, all or none.
    fn route(&mut self, change: RouteChange, now_ns: u64) -> Result<(), String>;
    /// Rolls its lines; says what is under way, `None` if none is up.
    fn roll(&mut self) -> Option<RollAnswer>;
    /// Its dead letters.
    fn letters(&self) -> &DeadLetters;
}

/// The providers of a shard.
pub trait Providers {
    /// That of this index in the topology, if it is here.
    fn provider(&mut self, index: u8) -> Option<&mut dyn Obey>;
    /// The dead letters of all.
    fn letters(&self) -> Vec<&DeadLetters>;
}

/// Does what a command says. `None`: the venue is asked first, and [`Obey::listed`] has the reply.
#[cold]
pub fn obey(shard: &mut impl Providers, command: Numbered, now_ns: u64) -> Option<Reply> {
    let Numbered { number, command } = command;
    let provider = match &command {
        Command::List { provider, .. } | Command::Route { provider, .. } | Command::Roll { provider } => {
            shard.provider(*provider)
        }
        _ => None,
    };
    Some(match (command, provider) {
        (Command::List { instruments, .. }, Some(provider)) => {
            match provider.list(number, &instruments, now_ns) {
                Ok(()) => return None,
                Err(reason) => Reply::Refused(reason),
            }
        }
        (Command::Route { change, .. }, Some(provider)) => {
            provider.route(*change, now_ns).map_or_else(Reply::Refused, |()| Reply::Done)
        }
        (Command::Roll { .. }, Some(provider)) => match provider.roll() {
            Some(answer) => Reply::Rolling(answer),
            None => Reply::Refused("no line is up, so there is nothing to roll".to_owned()),
        },
        (Command::List { .. } | Command::Route { .. } | Command::Roll { .. }, None) => {
            Reply::Refused("no such provider on this shard".to_owned())
        }
        (Command::Letters, _) => {
            let all = shard.letters();
            Reply::Letters {
                letters: all.iter().flat_map(|letters| letters.iter()).cloned().collect(),
                written_total: all.iter().map(|letters| letters.written_total()).sum(),
                evicted_total: all.iter().map(|letters| letters.evicted_total()).sum(),
            }
        }
        (
            Command::Subscribe { .. }
            | Command::Unsubscribe { .. }
            | Command::Tell { .. }
            | Command::Latencies
            | Command::Merge { .. }
            | Command::EndMerge { .. },
            _,
        ) => Reply::Refused("a provider shard has no consumers and no merge rules".to_owned()),
    })
}

/// A question for instruments under way.
#[derive(Debug)]
pub struct ListingRun {
    number: u64,
    listings: Vec<Listing>,
    lists_before: (u64, u64),
}

impl ListingRun {
    /// Makes instruments known and asks the venue whether it has them.
    ///
    /// # Errors
    /// What does not fit, in words.
    #[cold]
    pub fn begin<V: Venue>(
        provider: &mut Provider<V>,
        number: u64,
        instruments: &[NewInstrument],
        now: ReceiveTime,
    ) -> Result<Self, String> {
        let lists_before = provider.lists_total();
        let mut listings = Vec::new();
        for NewInstrument { venue_symbol, symbol, id } in instruments {
            let listing = provider.list(venue_symbol, symbol, *id, now);
            listings.push(listing.map_err(|error| error.to_string())?);
        }
        Ok(Self { number, listings, lists_before })
    }

    /// The venue's answer to the question under way, once it is there.
    pub fn poll<V: Venue>(run: &mut Option<Self>, provider: &Provider<V>) -> Option<(u64, Reply)> {
        let Self { number, listings, lists_before: (came, failed) } = run.as_ref()?;
        let (came_now, failed_now) = provider.lists_total();
        let reply = if came_now > *came {
            let directory = &provider.pipeline.directory;
            Reply::Listed(listings.iter().map(|&listing| directory.instrument(listing).trading).collect())
        } else if failed_now > *failed {
            Reply::Refused("the venue did not give its list of instruments".to_owned())
        } else {
            return None;
        };
        let number = *number;
        *run = None;
        Some((number, reply))
    }
}

/// What comes before the routes: new numbers, ways and the version, on which the control thread counts whatever becomes of the
/// rest.
#[cold]
pub fn take_numbers<V: Venue>(
    provider: &mut Provider<V>,
    change: &mut RouteChange,
    opened: impl FnOnce(Opened),
) {
    // A book that is half out goes where it was to go.
    provider.pipeline.finish_books();
    for (listing, channel, stream) in change.streams.drain(..) {
        let made = provider.pipeline.add_stream(listing, channel);
        assert_eq!(made, stream, "both sides add the same streams in the same order");
    }
    if let Some(output) = change.output.take() {
        opened(output.open(&mut provider.pipeline.dispatcher));
    }
    provider.pipeline.dispatcher.routing.begin_version(change.version);
}

/// Takes new routes over, all or none; `opened` learns of a new way.
///
/// # Errors
/// What does not fit, in words: nothing but what [`take_numbers`] takes is new then.
#[cold]
pub fn take_routes<V: Venue>(
    provider: &mut Provider<V>,
    mut change: RouteChange,
    now: ReceiveTime,
    opened: impl FnOnce(Opened),
) -> Result<(), String> {
    take_numbers(provider, &mut change, opened);
    let mut begun: Vec<StreamId> = Vec::new();
    for stream in change.begin_at_venue {
        if let Err(error) = provider.carry(stream, true, now) {
            for stream in begun {
                let _ = provider.carry(stream, false, now);
            }
            return Err(error.to_string());
        }
        begun.push(stream);
    }
    let routing = &mut provider.pipeline.dispatcher.routing;
    for (stream, route) in change.routes {
        routing.set(stream, route);
    }
    for (stream, output, holders) in change.holders {
        routing.set_holders(stream, output, &holders);
    }
    for (stream, output) in change.ended {
        routing.remove(stream, output);
    }
    for stream in change.end_at_venue {
        let ended = provider.carry(stream, false, now);
        debug_assert!(ended.is_ok(), "only a new subscription needs room");
    }
    Ok(())
}

impl Providers for ProviderShard {
    fn provider(&mut self, index: u8) -> Option<&mut dyn Obey> {
        let at = *self.driver_of.get(usize::from(index))?;
        self.drivers.get_mut(at).map(|driver| &mut **driver as &mut dyn Obey)
    }

    fn letters(&self) -> Vec<&DeadLetters> {
        self.drivers.iter().map(|driver| driver.letters()).collect()
    }
}

impl ProviderShard {
    /// Does what the control thread says.
    #[cold]
    pub(super) fn command(&mut self, command: Numbered, now_ns: u64) {
        let number = command.number;
        match obey(self, command, now_ns) {
            Some(reply) => self.wire.reply(number, reply),
            None => self.listing = true,
        }
    }

    /// Answers questions for instruments that venues have answered.
    #[cold]
    pub(super) fn poll_listed(&mut self) {
        for driver in &mut self.drivers {
            if let Some((number, reply)) = driver.listed() {
                self.listing = false;
                self.wire.reply(number, reply);
            }
        }
    }
}

impl<V: Venue> Obey for Driver<V> {
    fn list(&mut self, number: u64, instruments: &[NewInstrument], now_ns: u64) -> Result<(), String> {
        let now = ReceiveTime::from_ns(now_ns);
        self.listing = Some(ListingRun::begin(&mut self.provider, number, instruments, now)?);
        self.deadline_ns = 0;
        Ok(())
    }

    #[inline]
    fn listed(&mut self) -> Option<(u64, Reply)> {
        ListingRun::poll(&mut self.listing, &self.provider)
    }

    fn route(&mut self, change: RouteChange, now_ns: u64) -> Result<(), String> {
        let (markers, wakers) = (&mut self.markers, &mut self.wakers);
        self.deadline_ns = 0;
        let taken = take_routes(&mut self.provider, change, ReceiveTime::from_ns(now_ns), |opened| {
            if opened.markers {
                markers.add(opened.output);
            }
            wakers.push(opened.waker);
        });
        // Also where it was refused: connections that were made on the way stay.
        self.sockets.resize_with(self.provider.connections().len(), LineSocket::default);
        taken
    }

    fn roll(&mut self) -> Option<RollAnswer> {
        self.deadline_ns = 0;
        self.provider.roll_all()
    }

    fn letters(&self) -> &DeadLetters {
        &self.provider.pipeline.dispatcher.letters
    }
}

/// A venue without room: connections of one shard are numbered by a byte.
#[cfg(test)]
mod tests {
    use engine::book::BookRule;
    use engine::channel::Channel;
    use engine::dispatch::Dispatcher;
    use engine::ids::InstrumentId;
    use engine::pipeline::{Pipeline, PipelineOptions};
    use engine::provider::ProviderOptions;
    use engine::routing::{Delivery, Route};
    use engine::testing::{self, CHANNELS, TextVenue};

    use super::*;

    const NOW: ReceiveTime = ReceiveTime::from_ns(1);
    /// Instruments whose five streams fill a connection of the test venue.
    const FILLS: u32 = 20;
    const STREAMS: u32 = FILLS * CHANNELS.len() as u32;

    /// A provider of as many lines as let two groups of connections fit; the first group is full.
    fn provider() -> Provider<TextVenue> {
        let symbols: Vec<String> = (0..=2 * FILLS).map(|number| format!("S{number}")).collect();
        let known: Vec<&str> = symbols.iter().take(FILLS as usize).map(String::as_str).collect();
        let mut directory = testing::directory(&known);
        for (number, symbol) in symbols.iter().enumerate() {
            directory.add(symbol, symbol, InstrumentId(number as u16)).expect("a short symbol");
        }
        let options = PipelineOptions { lines: 127, ..testing::options() };
        let venue = TextVenue { book_rule: BookRule::RestSnapshotRange };
        let options_of_provider = ProviderOptions {
            websocket_host: "localhost".to_owned(),
            message_bytes_max: 1_000,
            snapshot_levels: 100,
            rest_share_permille: 1_000,
            verify_every_ns: 0,
            seed: 1,
        };
        Provider::new(Pipeline::new(venue, directory, Dispatcher::new(0), options), options_of_provider, NOW)
    }

    fn route() -> Route {
        Route { output: 0, delivery: Delivery::Lossless, book_depth: 0 }
    }

    /// New streams of these instruments, routed and begun; `streams` counts those before.
    fn begin(
        version: u32,
        instruments: std::ops::Range<u32>,
        channels: &[Channel],
        streams: u32,
    ) -> RouteChange {
        let all =
            instruments.flat_map(|instrument| channels.iter().map(move |&channel| (instrument, channel)));
        let new: Vec<_> = all
            .zip(streams..)
            .map(|((instrument, channel), stream)| (Listing(instrument as u16), channel, StreamId(stream)))
            .collect();
        RouteChange {
            version,
            routes: new.iter().map(|&(.., stream)| (stream, route())).collect(),
            begin_at_venue: new.iter().map(|&(.., stream)| stream).collect(),
            streams: new,
            ..RouteChange::default()
        }
    }

    #[test]
    fn what_finds_no_room_is_refused_whole_and_only_its_numbers_stay() {
        let mut provider = provider();
        let mut take = |change| take_routes(&mut provider, change, NOW, |_| panic!("no way is new"));
        take(begin(2, FILLS..2 * FILLS, &CHANNELS, STREAMS)).expect("a second group of connections fits");
        let reason =
            take(begin(3, 2 * FILLS..2 * FILLS + 1, &CHANNELS[..2], 2 * STREAMS)).expect_err("a third");
        assert_eq!(reason, "no connection has room for another stream");
        let one = StreamId(2 * STREAMS);
        let other = StreamId(2 * STREAMS + 1);
        let state = |provider: &Provider<TextVenue>| {
            let routing = &provider.pipeline.dispatcher.routing;
            [one, other].map(|stream| (provider.carries(stream), routing.route(stream, 0).is_some()))
        };
        assert_eq!(state(&provider), [(false, false); 2]);
        assert_eq!(provider.pipeline.dispatcher.routing.version(), 3, "consumers were told of it");
        assert_eq!(provider.pipeline.directory.streams().len(), 2 * STREAMS as usize + 2);

        // Room for one of the two: none of them begins. Then for both.
        let ends = |version, stream: u32| RouteChange {
            version,
            end_at_venue: vec![StreamId(stream)],
            ..RouteChange::default()
        };
        let again = |version| RouteChange {
            version,
            routes: vec![(one, route()), (other, route())],
            begin_at_venue: vec![one, other],
            ..RouteChange::default()
        };
        let mut take = |change| take_routes(&mut provider, change, NOW, |_| panic!("no way is new"));
        take(ends(4, STREAMS)).expect("an end needs no room");
        take(again(5)).expect_err("there is room for one");
        assert_eq!(state(&provider), [(false, false); 2]);
        let mut take = |change| take_routes(&mut provider, change, NOW, |_| panic!("no way is new"));
        take(ends(6, STREAMS + 1)).expect("an end needs no room");
        take(again(7)).expect("there is room for both");
        assert_eq!(state(&provider), [(true, true); 2]);
        assert_eq!(provider.connections().len(), 254);
    }
}
