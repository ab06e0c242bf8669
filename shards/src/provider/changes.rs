//! The control thread's half of a provider shard: routes that change, instruments that are asked for, dead letters.
//!
//! All of it happens between two turns, and none of it is on the path.

use engine::dead_letter::DeadLetters;
use engine::ids::{Listing, StreamId};
use engine::time::ReceiveTime;
use engine::venue::Venue;

use super::lines::LineSocket;
use super::{Drive, Driver, ProviderShard};
use crate::control::link::{Command, NewInstrument, Numbered, Reply, RouteChange};
use crate::outputs::add_output;

/// A question for instruments under way.
#[derive(Debug)]
pub(super) struct ListingRun {
    number: u64,
    listings: Vec<Listing>,
    lists_before: (u64, u64),
}

impl ProviderShard {
    /// Does what the control thread says.
    #[cold]
    pub(super) fn command(&mut self, command: Numbered, now_ns: u64) {
        let Numbered { number, command } = command;
        let reply = match command {
            Command::List { provider, instruments } => match self.driver(provider) {
                Some(driver) => match driver.list(number, &instruments, now_ns) {
                    Ok(()) => {
                        self.listing = true;
                        return;
                    }
                    Err(reason) => Reply::Refused(reason),
                },
                None => Reply::Refused("no such provider on this shard".to_owned()),
            },
            Command::Route { provider, change } => match self.driver(provider) {
                Some(driver) => driver.route(*change, now_ns).map_or_else(Reply::Refused, |()| Reply::Done),
                None => Reply::Refused("no such provider on this shard".to_owned()),
            },
            Command::Roll { provider } => match self.driver(provider) {
                Some(driver) => driver.roll().map_or_else(Reply::Refused, Reply::Rolling),
                None => Reply::Refused("no such provider on this shard".to_owned()),
            },
            Command::Letters => {
                let all = || self.drivers.iter().map(|driver| driver.letters());
                Reply::Letters {
                    letters: all().flat_map(DeadLetters::iter).cloned().collect(),
                    written_total: all().map(DeadLetters::written_total).sum(),
                    evicted_total: all().map(DeadLetters::evicted_total).sum(),
                }
            }
            Command::Subscribe { .. }
            | Command::Unsubscribe { .. }
            | Command::Tell { .. }
            | Command::Latencies
            | Command::Merge { .. }
            | Command::EndMerge { .. } => {
                Reply::Refused("a provider shard has no consumers and no merge rules".to_owned())
            }
        };
        self.wire.reply(number, reply);
    }

    fn driver(&mut self, provider: u8) -> Option<&mut Box<dyn Drive>> {
        let at = *self.driver_of.get(usize::from(provider))?;
        self.drivers.get_mut(at)
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

impl<V: Venue> Driver<V> {
    #[cold]
    pub(super) fn begin_listing(
        &mut self,
        number: u64,
        instruments: &[NewInstrument],
        now_ns: u64,
    ) -> Result<(), String> {
        let now = ReceiveTime::from_ns(now_ns);
        let lists_before = self.provider.lists_total();
        let mut listings = Vec::new();
        for NewInstrument { venue_symbol, symbol, id } in instruments {
            let listing = self.provider.list(venue_symbol, symbol, *id, now);
            listings.push(listing.map_err(|error| error.to_string())?);
        }
        self.listing = Some(ListingRun { number, listings, lists_before });
        self.deadline_ns = 0;
        Ok(())
    }

    #[inline]
    pub(super) fn end_listing(&mut self) -> Option<(u64, Reply)> {
        let ListingRun { number, listings, lists_before: (came, failed) } = self.listing.as_ref()?;
        let (came_now, failed_now) = self.provider.lists_total();
        let reply = if came_now > *came {
            let directory = &self.provider.pipeline.directory;
            Reply::Listed(listings.iter().map(|&listing| directory.instrument(listing).trading).collect())
        } else if failed_now > *failed {
            Reply::Refused("the venue did not give its list of instruments".to_owned())
        } else {
            return None;
        };
        let number = *number;
        self.listing = None;
        Some((number, reply))
    }

    #[cold]
    pub(super) fn take_routes(&mut self, change: RouteChange, now_ns: u64) -> Result<(), String> {
        let now = ReceiveTime::from_ns(now_ns);
        // A book that is half out goes where it was to go.
        self.provider.pipeline.finish_books();
        // Numbers and ways first: the control thread counts on them whatever becomes of the rest.
        for (listing, channel, stream) in change.streams {
            let made = self.provider.pipeline.add_stream(listing, channel);
            assert_eq!(made, stream, "both sides add the same streams in the same order");
        }
        if let Some(output) = change.output {
            let number =
                add_output(&mut self.provider.pipeline.dispatcher, output.shard, output.sender, output.rings);
            if output.markers {
                self.markers.add(number);
            }
            self.wakers.push(output.waker);
        }
        self.deadline_ns = 0;
        let mut begun: Vec<StreamId> = Vec::new();
        for stream in change.begin_at_venue {
            if let Err(error) = self.provider.carry(stream, true, now) {
                for stream in begun {
                    let _ = self.provider.carry(stream, false, now);
                }
                return Err(error.to_string());
            }
            begun.push(stream);
        }
        self.sockets.resize_with(self.provider.connections().len(), LineSocket::default);
        let routing = &mut self.provider.pipeline.dispatcher.routing;
        routing.begin_version(change.version);
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
            let ended = self.provider.carry(stream, false, now);
            debug_assert!(ended.is_ok(), "only a new subscription needs room");
        }
        Ok(())
    }
}
