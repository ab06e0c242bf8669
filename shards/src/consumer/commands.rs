//! What a consumer shard does for the control thread: subscriptions that begin and end, and events for one consumer alone.
//! Over a trait, so that the simulation runs the same.

use engine::consumer::Host;
use engine::event::Event;
use engine::ids::{ConsumerId, ProviderId, StreamId};
use engine::ring::Receiver;

use crate::control::link::{Command, Reply, ShardEnd};

/// What commands need of a consumer shard.
pub trait Seats {
    /// Its consumers.
    fn host(&mut self) -> &mut Host;
    /// One more ring to receive from.
    fn add_ring(&mut self, ring: Receiver<Event>);
    /// Takes from the rings what a turn takes; returns how much that was.
    fn drain(&mut self) -> usize;
    /// [`Host::welcome`], with the shard's clock.
    fn welcome(&mut self, seat: usize, place: (ProviderId, StreamId), depth: usize, version: u32);
    /// [`Host::show`], with the shard's clock.
    fn show(&mut self, seat: usize, event: &Event);
}

/// Does what a command says, at the beginning of a turn. Events for a consumer are not answered.
#[cold]
pub fn obey(shard: &mut impl Seats, command: Command) -> Option<Reply> {
    Some(match command {
        Command::Subscribe { consumer, streams, running, version, catalog, ring } => {
            if let Some(ring) = ring {
                shard.add_ring(ring);
            }
            shard.host().set_catalog(catalog);
            let Some(seat) = shard.host().seat_of(consumer) else { return Some(not_here(consumer)) };
            complete(shard, &running);
            for &(provider, stream, book) in &streams {
                shard.host().subscribe_under(seat, provider, stream, book, version);
                shard.host().begin_version(seat, provider, version);
            }
            for (provider, stream, book) in streams {
                if let Some((depth, _)) = book.filter(|_| running.contains(&(provider, stream))) {
                    shard.welcome(seat, (provider, stream), depth, version);
                }
            }
            Reply::Done
        }
        Command::Unsubscribe { consumer, streams } => {
            let Some(seat) = shard.host().seat_of(consumer) else { return Some(not_here(consumer)) };
            for (provider, stream) in streams {
                shard.host().unsubscribe(seat, provider, stream);
            }
            Reply::Done
        }
        Command::Tell { consumer, event } => {
            if let Some(seat) = shard.host().seat_of(consumer) {
                shard.show(seat, &event);
            }
            return None;
        }
        Command::Letters => {
            let letters = &shard.host().letters;
            let (written_total, evicted_total) = (letters.written_total(), letters.evicted_total());
            Reply::Letters { letters: letters.iter().cloned().collect(), written_total, evicted_total }
        }
        Command::Latencies => {
            let latencies = shard.host().latencies();
            let latencies = latencies.map(|(provider, stream, latency)| (provider, stream, *latency));
            Reply::Latencies(latencies.collect())
        }
        Command::List { .. }
        | Command::Route { .. }
        | Command::Roll { .. }
        | Command::Merge { .. }
        | Command::EndMerge { .. } => Reply::Refused("a consumer shard has no routes".to_owned()),
    })
}

/// Passes on what consumers ask for, as far as the control thread keeps up. Returns how many there were.
#[inline]
pub fn pass_on_requests(host: &mut Host, wire: &mut ShardEnd) -> usize {
    let mut passed = 0;
    while !host.requests_mut().is_empty() && !wire.is_behind() {
        let Some(request) = host.requests_mut().poll() else { break };
        wire.reply(0, Reply::Asked(request));
        passed += 1;
    }
    passed
}

/// A newcomer's book begins between two events: a turn may have ended among the parts of one, whose rest is in the
/// ring, since parts enter it together.
fn complete(shard: &mut impl Seats, streams: &[(ProviderId, StreamId)]) {
    let is_open = |host: &Host| {
        let copies = streams.iter().filter_map(|&(provider, stream)| host.replicas().get(provider, stream));
        copies.into_iter().any(|copy| !copy.is_whole())
    };
    while is_open(shard.host()) && shard.drain() > 0 {}
}

fn not_here(consumer: ConsumerId) -> Reply {
    Reply::Refused(format!("consumer {consumer} is not on this shard"))
}
