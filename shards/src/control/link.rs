//! The wires between the control thread and the shards: commands one way, replies the other, each over its own ring.
//!
//! A shard takes commands at the beginning of a turn, so that a change never falls between two parts of an event.

use std::collections::VecDeque;
use std::sync::Arc;

use engine::catalog::Catalog;
use engine::channel::Channel;
use engine::consumer::StreamLatency;
use engine::control::Request;
use engine::dead_letter::DeadLetter;
use engine::dispatch::Dispatcher;
use engine::event::Event;
use engine::ids::{ConsumerId, InstrumentId, Listing, ProviderId, ShardId, StreamId};
use engine::merge::MergeRule;
use engine::provider::RollAnswer;
use engine::ring::{Receiver, Sender};
use engine::routing::Route;

use crate::machine::idle::Waker;
use crate::outputs::add_output;
use crate::topology::RingSizes;

/// Commands, and replies, that one wire holds.
pub const WIRE_ITEMS: usize = 64;

/// An instrument that a provider is to know.
#[derive(Clone, Debug)]
pub struct NewInstrument {
    /// The venue's spelling.
    pub venue_symbol: String,
    /// Canonical.
    pub symbol: String,
    /// Its number in the process.
    pub id: InstrumentId,
}

/// A way to a consumer or merge shard that a provider, or a merge shard, did not have.
#[derive(Debug)]
pub struct NewOutput {
    /// Where it leads.
    pub shard: ShardId,
    /// The ring.
    pub sender: Sender<Event>,
    /// Its size, and what may wait before it.
    pub rings: RingSizes,
    /// Wakes that shard.
    pub waker: Waker,
    /// It leads to a merge shard, which must hear how far the provider is.
    pub markers: bool,
}

/// A way that a dispatcher has from now on.
#[derive(Debug)]
pub struct Opened {
    /// Its number there.
    pub output: usize,
    /// Wakes the shard at its end.
    pub waker: Waker,
    /// That is a merge shard.
    pub markers: bool,
}

impl NewOutput {
    /// Gives it to the dispatcher of the sender.
    pub fn open(self, dispatcher: &mut Dispatcher) -> Opened {
        let output = add_output(dispatcher, self.shard, self.sender, self.rings);
        Opened { output, waker: self.waker, markers: self.markers }
    }
}

/// New routes of one provider or merge shard, taken over between two turns, all or none.
#[derive(Debug, Default)]
pub struct RouteChange {
    /// The version that contains it.
    pub version: u32,
    /// Streams that the directory does not have, with the numbers that they must get.
    pub streams: Vec<(Listing, Channel, StreamId)>,
    /// A way that is needed and not there.
    pub output: Option<NewOutput>,
    /// Routes as they are from now on.
    pub routes: Vec<(StreamId, Route)>,
    /// Whose the streams of `routes` are on those shards from now on: fair shares are counted by consumer.
    pub holders: Vec<(StreamId, usize, Vec<ConsumerId>)>,
    /// Routes that end: stream and output.
    pub ended: Vec<(StreamId, usize)>,
    /// Streams whose subscription at the venue begins.
    pub begin_at_venue: Vec<StreamId>,
    /// Streams whose subscription at the venue ends.
    pub end_at_venue: Vec<StreamId>,
}

/// A stream that a seat gets or gives up; for books the levels of the copy, and those made at once.
pub type SeatStream = (ProviderId, StreamId, Option<(usize, usize)>);

/// What a shard is told to do.
#[derive(Debug)]
pub enum Command {
    /// A provider: learn instruments and ask the venue whether it has them.
    List {
        /// Its index in the topology.
        provider: u8,
        /// Which.
        instruments: Vec<NewInstrument>,
    },
    /// A provider or a merge shard: change routes.
    Route {
        /// Its index in the topology; for a merge shard the number under which its streams go.
        provider: u8,
        /// How.
        change: Box<RouteChange>,
    },
    /// A consumer shard: a consumer begins to receive streams.
    Subscribe {
        /// Who.
        consumer: ConsumerId,
        /// What.
        streams: Vec<SeatStream>,
        /// Those that the shard receives already, at this depth: their books begin with the shard's own copy.
        running: Vec<(ProviderId, StreamId)>,
        /// The version that contains it.
        version: u32,
        /// Names, the new ones included.
        catalog: Arc<Catalog>,
        /// The end of a ring that the shard did not have.
        ring: Option<Receiver<Event>>,
    },
    /// A consumer shard: a consumer gives streams up.
    Unsubscribe {
        /// Who.
        consumer: ConsumerId,
        /// What.
        streams: Vec<(ProviderId, StreamId)>,
    },
    /// A consumer shard: show a critical event to one consumer.
    Tell {
        /// To whom.
        consumer: ConsumerId,
        /// What.
        event: Box<Event>,
    },
    /// A merge shard: join what a rule says.
    Merge {
        /// Names, those of what is joined included.
        catalog: Arc<Catalog>,
        /// The rule, which fits the shard.
        rule: Box<MergeRule>,
        /// The numbers that its merged streams must get.
        streams: Vec<StreamId>,
        /// Rings of providers that had none to this shard.
        inputs: Vec<(ProviderId, Receiver<Event>)>,
        /// The version that contains it.
        version: u32,
    },
    /// A merge shard: end a rule and its streams.
    EndMerge {
        /// The rule's name.
        name: String,
        /// The version that contains it.
        version: u32,
    },
    /// A provider: roll its lines.
    Roll {
        /// Its index in the topology.
        provider: u8,
    },
    /// Any shard: copy the dead letters.
    Letters,
    /// A consumer shard: copy the latencies of its streams.
    Latencies,
}

/// A command with its number.
#[derive(Debug)]
pub struct Numbered {
    /// The reply carries it too.
    pub number: u64,
    /// What to do.
    pub command: Command,
}

/// What a shard answers.
#[derive(Debug)]
pub enum Reply {
    /// It is done.
    Done,
    /// It cannot be done; nothing was changed.
    Refused(String),
    /// Which of the instruments the venue has, in the order of the command.
    Listed(Vec<bool>),
    /// Lines are being rolled.
    Rolling(RollAnswer),
    /// The dead letters, and how many were ever written and evicted.
    Letters {
        /// Those kept.
        letters: Vec<DeadLetter>,
        /// Written so far.
        written_total: u64,
        /// Gone for want of room.
        evicted_total: u64,
    },
    /// The latency of every stream that anything came of.
    Latencies(Vec<(ProviderId, StreamId, StreamLatency)>),
    /// Not an answer: a consumer of the shard asks for something.
    Asked(Request),
}

/// The shard's end.
#[derive(Debug)]
pub struct ShardEnd {
    commands: rtrb::Consumer<Numbered>,
    replies: rtrb::Producer<(u64, Reply)>,
    /// Replies that found the ring full; the control thread is slow, the shard goes on.
    waiting: VecDeque<(u64, Reply)>,
}

/// The control thread's end of the wire to one shard.
#[derive(Debug)]
pub struct ControlEnd {
    commands: rtrb::Producer<Numbered>,
    replies: rtrb::Consumer<(u64, Reply)>,
    waker: Waker,
}

/// A wire to the shard that `waker` wakes.
pub fn wire(waker: Waker) -> (ControlEnd, ShardEnd) {
    let (commands, commands_end) = rtrb::RingBuffer::new(WIRE_ITEMS);
    let (replies, replies_end) = rtrb::RingBuffer::new(WIRE_ITEMS);
    let shard = ShardEnd { commands: commands_end, replies, waiting: VecDeque::new() };
    (ControlEnd { commands, replies: replies_end, waker }, shard)
}

impl ShardEnd {
    /// The next command. One atomic load when there is none.
    #[inline]
    pub fn take(&mut self) -> Option<Numbered> {
        self.commands.pop().ok()
    }

    /// Whether a command waits.
    pub fn has_command(&self) -> bool {
        !self.commands.is_empty()
    }

    /// Whether the control thread has not taken what was said before.
    pub fn is_behind(&self) -> bool {
        self.replies.is_full()
    }

    /// Answers. What does not fit waits for [`flush`](Self::flush).
    #[cold]
    pub fn reply(&mut self, number: u64, reply: Reply) {
        self.waiting.push_back((number, reply));
        self.flush();
    }

    /// Sends what waits, as far as there is room.
    #[inline]
    pub fn flush(&mut self) {
        while let Some(item) = self.waiting.pop_front() {
            if let Err(rtrb::PushError::Full(item)) = self.replies.push(item) {
                self.waiting.push_front(item);
                return;
            }
        }
    }
}

impl ControlEnd {
    /// Sends a command and wakes the shard; gives it back when the wire is full.
    ///
    /// # Errors
    /// The command.
    pub fn send(&mut self, number: u64, command: Command) -> Result<(), Command> {
        match self.commands.push(Numbered { number, command }) {
            Ok(()) => {
                self.waker.wake();
                Ok(())
            }
            Err(rtrb::PushError::Full(item)) => Err(item.command),
        }
    }

    /// Commands that still fit.
    pub fn room(&self) -> usize {
        self.commands.slots()
    }

    /// The next reply.
    pub fn poll(&mut self) -> Option<(u64, Reply)> {
        self.replies.pop().ok()
    }

    /// Wakes that shard: for rings that it is to receive from.
    pub const fn waker(&self) -> &Waker {
        &self.waker
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_beyond_the_wire_wait_and_keep_their_order() {
        let (mut control, mut shard) = wire(Waker::new().expect("an eventfd"));
        for number in 0..WIRE_ITEMS as u64 + 5 {
            shard.reply(number, Reply::Done);
        }
        let mut seen = Vec::new();
        for _ in 0..3 {
            while let Some((number, _)) = control.poll() {
                seen.push(number);
            }
            shard.flush();
        }
        assert_eq!(seen, (0..WIRE_ITEMS as u64 + 5).collect::<Vec<_>>());
    }

    #[test]
    fn a_command_that_finds_the_wire_full_comes_back() {
        let (mut control, mut shard) = wire(Waker::new().expect("an eventfd"));
        for number in 0..WIRE_ITEMS as u64 {
            assert!(control.send(number, Command::Letters).is_ok());
        }
        assert!(matches!(control.send(99, Command::Letters), Err(Command::Letters)));
        assert_eq!(shard.take().map(|item| item.number), Some(0));
        assert!(control.send(99, Command::Letters).is_ok());
    }
}
