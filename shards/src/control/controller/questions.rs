//! Questions to shards that change nothing: dead letters, latencies, and the command to roll lines. One of each kind is under
//! way at a time for all who ask; what a shard does not answer in time is missing.

use std::collections::BTreeSet;

use engine::consumer::StreamLatency;
use engine::dead_letter::DeadLetter;
use engine::ids::{ProviderId, StreamId};
use engine::provider::RollAnswer;

use super::{ANSWER_NS_MAX, Controller};
use crate::control::link::Command;
use crate::control::order::Refusal;
use crate::control::server::Ticket;

/// A question to several shards that is under way.
#[derive(Debug)]
pub(super) struct Asked<T> {
    /// Of its first command.
    pub(super) number: u64,
    pub(super) tickets: Vec<Ticket>,
    pub(super) missing: BTreeSet<usize>,
    pub(super) since_ns: u64,
    pub(super) found: Vec<T>,
}

impl<T> Asked<T> {
    pub(super) fn found(&mut self, shard: usize, number: u64, answer: T) {
        if number >= self.number && self.missing.remove(&shard) {
            self.found.push(answer);
        }
    }

    /// Its end, once all have answered or waited long enough.
    pub(super) fn poll(this: &mut Option<Self>, now_ns: u64) -> Option<(Vec<Ticket>, Vec<T>)> {
        let over =
            |run: &mut Self| run.missing.is_empty() || now_ns.saturating_sub(run.since_ns) >= ANSWER_NS_MAX;
        this.take_if(over).map(|run| (run.tickets, run.found))
    }
}

/// A command to roll lines whose shard has not answered.
#[derive(Debug)]
pub(super) struct RollRun {
    pub(super) number: u64,
    pub(super) ticket: Ticket,
    pub(super) provider: usize,
    pub(super) since_ns: u64,
}

/// What came of a command to roll lines: who asked, the provider's index, and its answer.
pub type RollAnswered = (Ticket, usize, Result<RollAnswer, Refusal>);

/// The dead letters of one shard.
#[derive(Debug)]
pub struct ShardLetters {
    /// Index of the shard in the topology.
    pub shard: usize,
    /// Those kept.
    pub letters: Vec<DeadLetter>,
    /// Written so far.
    pub written_total: u64,
    /// Gone for want of room.
    pub evicted_total: u64,
}

/// The latencies of one consumer shard's streams, since its start.
#[derive(Debug)]
pub struct ShardLatencies {
    /// Index of the shard in the topology.
    pub shard: usize,
    /// By provider and stream.
    pub streams: Vec<(ProviderId, StreamId, StreamLatency)>,
}

impl Controller {
    /// Asks every shard for its dead letters; [`poll_letters`](Self::poll_letters) gives them.
    pub fn ask_letters(&mut self, ticket: Ticket, now_ns: u64) {
        if let Some(run) = &mut self.letters {
            run.tickets.push(ticket);
            return;
        }
        let shards: BTreeSet<usize> =
            (0..self.wires.len()).filter(|&shard| self.wires[shard].is_some()).collect();
        let first = self.number + 1;
        for &shard in &shards {
            self.send(shard, Command::Letters);
        }
        self.letters = Some(Asked {
            number: first,
            tickets: vec![ticket],
            missing: shards,
            since_ns: now_ns,
            found: Vec::new(),
        });
    }

    /// Asks every consumer shard for its streams' latencies; [`poll_latencies`](Self::poll_latencies) gives them.
    pub fn ask_latencies(&mut self, ticket: Ticket, now_ns: u64) {
        if let Some(run) = &mut self.latencies {
            run.tickets.push(ticket);
            return;
        }
        let shards = self.topology.consumers.iter().map(|plan| usize::from(plan.shard.0));
        let shards: BTreeSet<usize> = shards.filter(|&shard| self.wires[shard].is_some()).collect();
        let first = self.number + 1;
        for &shard in &shards {
            self.send(shard, Command::Latencies);
        }
        self.latencies = Some(Asked {
            number: first,
            tickets: vec![ticket],
            missing: shards,
            since_ns: now_ns,
            found: Vec::new(),
        });
    }

    /// Latencies that were asked for, and by whom.
    pub fn poll_latencies(&mut self) -> Option<(Vec<Ticket>, Vec<ShardLatencies>)> {
        self.latencies_ready.pop_front()
    }

    /// Dead letters that were asked for, and by whom.
    pub fn poll_letters(&mut self) -> Option<(Vec<Ticket>, Vec<ShardLetters>)> {
        self.letters_ready.pop_front()
    }

    /// Tells a provider to roll its lines; [`poll_rolls`](Self::poll_rolls) gives its answer.
    pub fn ask_roll(&mut self, ticket: Ticket, provider: usize, now_ns: u64) {
        let shard = usize::from(self.topology.providers[provider].shard.0);
        let number = self.send(shard, Command::Roll { provider: provider as u8 });
        self.rolls.push(RollRun { number, ticket, provider, since_ns: now_ns });
    }

    /// What providers answered to [`ask_roll`](Self::ask_roll).
    pub fn poll_rolls(&mut self) -> Option<RollAnswered> {
        self.rolls_ready.pop_front()
    }
}
