//! Merge rules that come and go while everything runs: what each shard is told, and who uses what.
//!
//! A rule begins at its merge shard, then at the consumer that asked for it, then at the providers, which begin at their
//! venues what nobody used before. It ends the other way round: first the merge shard forgets it, then the providers stop
//! sending, then consumers stop waiting.

use std::sync::Arc;

use engine::event::Event;
use engine::ids::{ConsumerId, InstrumentId, ProviderId, StreamId};
use engine::merge::{MergeRule, RuleError, RuleInputs};
use engine::ring::Receiver;
use engine::routing::{Delivery, Route};

use super::super::link::{Command, RouteChange};
use super::super::merge_order::{JoinOrder, MergedOrder};
use super::super::order::Refusal;
use super::plan::ToList;
use super::{Controller, Held, Plan, Step};
use crate::topology::ShardIndex;
use crate::topology::bounds::MERGES_MAX;
use crate::topology::rules::facts_of;

/// What the control thread knows of one merge shard.
#[derive(Debug)]
pub struct MergerMirror {
    /// Its index in the topology.
    pub(super) shard: usize,
    /// The number under which its streams go.
    pub(super) provider: ProviderId,
    /// Shards behind its outputs.
    pub(super) outputs: Vec<u8>,
    /// Windows that may be open at once.
    windows_max: usize,
    /// Numbers of merged streams given so far; they are not used twice.
    streams_total: usize,
    /// In force.
    rules: Vec<RuleMirror>,
}

/// A rule in force.
#[derive(Debug)]
pub struct RuleMirror {
    /// What it says.
    pub rule: MergeRule,
    /// What each of its merged streams joins.
    pub joined: Vec<RuleInputs>,
    /// Its merged streams.
    pub streams: Vec<StreamId>,
    /// A consumer asked for it: it ends with its last one.
    pub from_inside: bool,
}

impl MergerMirror {
    /// A merge shard that starts with these ways to consumer shards and room for so many open windows.
    pub const fn new(shard: ShardIndex, provider: ProviderId, outputs: Vec<u8>, windows_max: usize) -> Self {
        let shard = shard.0 as usize;
        Self { shard, provider, outputs, windows_max, streams_total: 0, rules: Vec::new() }
    }

    /// Adds a rule and gives its merged streams their numbers, as the merge shard does.
    pub fn add(&mut self, rule: MergeRule, joined: Vec<RuleInputs>, from_inside: bool) -> Vec<StreamId> {
        let first = self.streams_total;
        self.streams_total += joined.len();
        let streams: Vec<_> = (first..self.streams_total).map(|stream| StreamId(stream as u32)).collect();
        self.rules.push(RuleMirror { rule, joined, streams: streams.clone(), from_inside });
        streams
    }

    /// Whether a rule joins a stream of a provider.
    pub(super) fn joins(&self, provider: usize, stream: StreamId) -> bool {
        let inputs = self.rules.iter().flat_map(|rule| rule.joined.iter().flatten());
        inputs.into_iter().any(|input| input.provider.index() == provider && input.stream == stream)
    }

    /// Windows that may be open now.
    fn windows(&self) -> usize {
        let windowed = self.rules.iter().filter(|rule| rule.rule.kind.is_windowed());
        windowed.map(|rule| rule.streams.len()).sum()
    }

    /// The index of its shard in the topology.
    pub const fn shard(&self) -> usize {
        self.shard
    }

    /// The rules in force.
    pub fn rules(&self) -> &[RuleMirror] {
        &self.rules
    }
}

impl Controller {
    /// The merge shards, each with its rules.
    pub fn mergers(&self) -> &[MergerMirror] {
        &self.mergers
    }

    /// Consumers of a rule's streams, and how they hold them.
    pub fn consumers_of<'a>(
        &'a self,
        merger: &'a MergerMirror,
        rule: &'a RuleMirror,
    ) -> impl Iterator<Item = (usize, Delivery)> + 'a {
        let first = rule.streams.first().copied().unwrap_or(StreamId(u32::MAX));
        self.held.iter().enumerate().filter_map(move |(consumer, held)| {
            held.get(&(merger.provider.index(), first)).map(|how| (consumer, how.delivery))
        })
    }

    /// Merge shard and place of a rule.
    fn find_rule(&self, name: &str) -> Option<(usize, usize)> {
        self.mergers.iter().enumerate().find_map(|(merger, mirror)| {
            let at = mirror.rules.iter().position(|known| known.rule.name == name)?;
            Some((merger, at))
        })
    }

    /// The rule of an order. Symbols that nobody knows yet have a number that no instrument has.
    fn rule_of(&self, order: &JoinOrder) -> MergeRule {
        let id = |symbol: &String| {
            let known = self.catalog.symbols.iter().position(|known| known == symbol);
            InstrumentId(known.map_or(u16::MAX, |at| at as u16))
        };
        let inputs = order.inputs.iter().map(|input| {
            (ProviderId(input.provider as u8), input.symbols.iter().map(id).collect::<Vec<_>>())
        });
        MergeRule {
            name: order.name.clone(),
            kind: order.kind,
            inputs: inputs.collect(),
            window_ns: order.window_ns,
            count: order.count,
            leg_age_ns_max: order.leg_age_ns_max,
        }
    }

    /// The merge shard that an order means.
    fn merger_of(&self, order: &JoinOrder) -> Result<usize, Refusal> {
        let at = |shard| self.mergers.iter().position(|mirror| mirror.shard == shard);
        match order.shard {
            Some(shard) => at(shard),
            None => (!self.mergers.is_empty()).then_some(0),
        }
        .ok_or_else(|| {
            let names: Vec<&str> =
                self.mergers.iter().map(|mirror| self.topology.shards[mirror.shard].name.as_str()).collect();
            let fits = if names.is_empty() {
                "a topology with a shard of role: merger".to_owned()
            } else {
                names.join(", ")
            };
            Refusal::new(422, "no such merge shard", fits)
        })
    }

    /// Checks a rule as far as that is possible before the venues are asked, and says what they must be asked.
    pub(super) fn to_list_of_merge(&self, order: &JoinOrder) -> Result<ToList, Refusal> {
        let rule = self.rule_of(order);
        if let Some((merger, at)) = self.find_rule(&order.name) {
            // An unknown symbol makes it another rule too.
            let known = &self.mergers[merger].rules[at].rule;
            let elsewhere = order.shard.is_some_and(|shard| shard != self.mergers[merger].shard);
            return if *known == rule && !elsewhere {
                Ok(ToList::new())
            } else {
                Err(name_taken(&order.name))
            };
        }
        rule.check(&self.catalog).map_err(refusal_of)?;
        let merger = self.merger_of(order)?;
        let mirror = &self.mergers[merger];
        let rules: usize = self.mergers.iter().map(|mirror| mirror.rules.len()).sum();
        if rules >= MERGES_MAX {
            let reason = format!("{rules} merge rules are in force");
            return Err(Refusal::new(422, reason, format!("{MERGES_MAX}: end one first")));
        }
        let streams = order.inputs.first().map_or(0, |input| input.symbols.len());
        let left = mirror.windows_max.saturating_sub(mirror.windows());
        if rule.kind.is_windowed() && streams > left {
            let shard = &self.topology.shards[mirror.shard].name;
            let reason = format!("{streams} more windows may be open at once on shard {shard}");
            let fits = format!("{left} more, {} in all (pools.merged of the shard)", mirror.windows_max);
            return Err(Refusal::new(422, reason, fits));
        }
        if mirror.streams_total + streams > engine::merge::MERGED_STREAMS_MAX {
            return Err(refusal_of(RuleError::NoStreamLeft(engine::merge::MERGED_STREAMS_MAX)));
        }
        if let Some(consumer) = order.consumer {
            self.check_way(mirror.provider.index(), self.shard_of(consumer))?;
        }
        let mut to_list = ToList::new();
        for input in &order.inputs {
            self.check_way(input.provider, mirror.shard)?;
            let new = self.unknown(input.provider, &input.symbols, &[input.channel])?;
            if !new.is_empty() {
                to_list.push_back((input.provider, new));
            }
        }
        Ok(to_list)
    }

    pub(super) fn plan_join(&mut self, order: &JoinOrder, plan: &mut Plan) -> Result<(), Refusal> {
        if self.find_rule(&order.name).is_some() {
            // It is the same rule: that was looked at when its turn came, and nothing has changed since.
            let Some(consumer) = order.consumer else { return Ok(()) };
            let merged = MergedOrder {
                subscribe: true,
                consumer,
                rule: order.name.clone(),
                delivery: order.delivery,
                command: order.command(),
            };
            return self.plan_merged(&merged, plan);
        }
        let merger = self.merger_of(order)?;
        let (shard, number) = (self.mergers[merger].shard, self.mergers[merger].provider);
        let rule = self.rule_of(order);
        self.version += 1;
        plan.version = self.version;
        let mut inputs: Vec<(ProviderId, Receiver<Event>)> = Vec::new();
        let mut routed = Vec::new();
        for input in &order.inputs {
            let provider = input.provider;
            let mut change = Box::new(RouteChange { version: self.version, ..RouteChange::default() });
            let output = self.output_of(provider, shard);
            for symbol in &input.symbols {
                let listing =
                    self.listing(provider, symbol).expect("the venue was asked for all that is new");
                let directory = &mut self.mirrors[provider].directory;
                let known = directory.stream(listing, input.channel);
                let stream = directory.add_stream(listing, input.channel);
                if known.is_none() {
                    change.streams.push((listing, input.channel, stream));
                }
                let is_new = !change.routes.iter().any(|(routed, _)| *routed == stream);
                if is_new && !self.mergers[merger].joins(provider, stream) {
                    change.routes.push((stream, rule.kind.route(output)));
                }
                if self.mirrors[provider].carried.insert(stream) {
                    change.begin_at_venue.push(stream);
                    plan.begun.push((provider, stream));
                }
            }
            if let Some((output, ring)) = self.open_way(provider, shard) {
                change.output = Some(output);
                inputs.push((ProviderId(provider as u8), ring));
            }
            self.extend_catalog(provider);
            routed.push((provider, change));
        }
        let joined = rule.resolve(&self.catalog).expect("it was checked, and every stream is there now");
        let facts: Vec<_> = joined.iter().map(|inputs| facts_of(&rule, inputs, &self.catalog)).collect();
        Arc::make_mut(&mut self.catalog).providers[number.index()].streams.extend(facts);
        let streams = self.mergers[merger].add(rule.clone(), joined, order.from_inside);
        plan.stream_count = streams.len();
        plan.made = Some((merger, order.name.clone()));
        let (catalog, version) = (Arc::clone(&self.catalog), self.version);
        let command = Command::Merge { catalog, rule: Box::new(rule), streams, inputs, version };
        let undo = Some((shard, Command::EndMerge { name: order.name.clone(), version }));
        plan.steps.push_back(Step { shard, command, undo });
        if let Some(consumer) = order.consumer {
            self.hold_merged(merger, &order.name, consumer, order.delivery, plan);
        }
        for (provider, change) in routed {
            let back = RouteChange {
                version,
                ended: change.routes.iter().map(|&(stream, route)| (stream, route.output)).collect(),
                end_at_venue: change.begin_at_venue.clone(),
                ..RouteChange::default()
            };
            let shard = self.shard_of_provider(provider);
            let undo = Command::Route { provider: provider as u8, change: Box::new(back) };
            let command = Command::Route { provider: provider as u8, change };
            plan.steps.push_back(Step { shard, command, undo: Some((shard, undo)) });
        }
        Ok(())
    }

    /// Lets a consumer hold the streams of a rule. Returns how many it did not hold so before.
    fn hold_merged(
        &mut self,
        merger: usize,
        name: &str,
        consumer: usize,
        delivery: Delivery,
        plan: &mut Plan,
    ) -> usize {
        let (number, shard) = (self.mergers[merger].provider, self.shard_of(consumer));
        let from = number.index();
        let rule = self.mergers[merger].rules.iter().find(|known| known.rule.name == name);
        let all = rule.map(|rule| rule.streams.clone()).unwrap_or_default();
        let output = self.output_of(from, shard);
        let mut change = Box::new(RouteChange { version: self.version, ..RouteChange::default() });
        let (mut streams, mut ended) = (Vec::new(), Vec::new());
        for stream in all {
            let how = Held { delivery, book_depth: 0 };
            let before = self.held[consumer].insert((from, stream), how);
            if before == Some(how) {
                continue;
            }
            plan.before.push((consumer, from, stream, before));
            let Held { delivery, book_depth } = self.route(shard, from, stream).expect("it was just held");
            change.routes.push((stream, Route { output, delivery, book_depth }));
            change.holders.push((stream, output, self.holders(shard, from, stream)));
            streams.push((number, stream, None));
            if before.is_none() {
                ended.push((stream, output));
            }
        }
        if streams.is_empty() {
            return 0;
        }
        let count = streams.len();
        let (way, ring) = self.open_way(from, shard).unzip();
        change.output = way;
        let command = Command::Subscribe {
            consumer: ConsumerId(consumer as u16),
            streams,
            running: Vec::new(),
            version: self.version,
            catalog: Arc::clone(&self.catalog),
            ring,
        };
        plan.steps.push_back(Step { shard, command, undo: Some(self.unsubscribe_gone(consumer, plan)) });
        let shard = self.mergers[merger].shard;
        let back = RouteChange { version: self.version, ended, ..RouteChange::default() };
        let undo = Command::Route { provider: number.0, change: Box::new(back) };
        let command = Command::Route { provider: number.0, change };
        plan.steps.push_back(Step { shard, command, undo: Some((shard, undo)) });
        count
    }

    pub(super) fn plan_merged(&mut self, order: &MergedOrder, plan: &mut Plan) -> Result<(), Refusal> {
        let Some((merger, _)) = self.find_rule(&order.rule) else {
            let rules = self.mergers.iter().flat_map(|mirror| &mirror.rules);
            let names: Vec<&str> = rules.map(|known| known.rule.name.as_str()).collect();
            let fits = if names.is_empty() { "no rule is in force".to_owned() } else { names.join(", ") };
            return Err(Refusal::new(404, format!("no merge rule {:?}", order.rule), fits));
        };
        self.check_way(self.mergers[merger].provider.index(), self.shard_of(order.consumer))?;
        self.version += 1;
        plan.version = self.version;
        plan.stream_count = self.hold_merged(merger, &order.rule, order.consumer, order.delivery, plan);
        if plan.stream_count == 0 {
            self.version -= 1;
        }
        Ok(())
    }

    pub(super) fn plan_unmerged(&mut self, order: &MergedOrder, plan: &mut Plan) {
        let Some((merger, at)) = self.find_rule(&order.rule) else { return };
        let mirror = &self.mergers[merger];
        let known = &mirror.rules[at];
        let is_last = self.consumers_of(mirror, known).all(|(consumer, _)| consumer == order.consumer);
        if known.from_inside && is_last {
            self.plan_end_merge(&order.rule, plan);
            // Whoever gives it up himself hears of it as the one who asked.
            plan.bereft.clear();
            return;
        }
        let (number, merger_shard, shard) = (mirror.provider, mirror.shard, self.shard_of(order.consumer));
        let mut change = Box::new(RouteChange::default());
        let mut streams = Vec::new();
        for stream in known.streams.clone() {
            let Some(before) = self.held[order.consumer].remove(&(number.index(), stream)) else { continue };
            plan.before.push((order.consumer, number.index(), stream, Some(before)));
            streams.push((number, stream));
            self.lessen(number.index(), stream, shard, &mut change);
        }
        if streams.is_empty() {
            return;
        }
        self.version += 1;
        (change.version, plan.version, plan.stream_count) = (self.version, self.version, streams.len());
        let command = Command::Route { provider: number.0, change };
        plan.steps.push_back(Step { shard: merger_shard, command, undo: None });
        let command = Command::Unsubscribe { consumer: ConsumerId(order.consumer as u16), streams };
        plan.steps.push_back(Step { shard, command, undo: None });
    }

    pub(super) fn plan_end_merge(&mut self, name: &str, plan: &mut Plan) {
        let Some((merger, at)) = self.find_rule(name) else { return };
        let ended = self.mergers[merger].rules.remove(at);
        let (shard, number) = (self.mergers[merger].shard, self.mergers[merger].provider);
        self.version += 1;
        let version = self.version;
        (plan.version, plan.stream_count) = (version, ended.streams.len());
        let command = Command::EndMerge { name: name.to_owned(), version };
        plan.steps.push_back(Step { shard, command, undo: None });
        for &(provider, _) in &ended.rule.inputs {
            let mut change = Box::new(RouteChange { version, ..RouteChange::default() });
            let from = provider.index();
            let output = self.output_of(from, shard);
            for input in ended.joined.iter().flatten().filter(|input| input.provider == provider) {
                if !self.mergers[merger].joins(from, input.stream) {
                    change.ended.push((input.stream, output));
                    self.leave(from, input.stream, &mut change);
                }
            }
            if !change.ended.is_empty() {
                let command = Command::Route { provider: provider.0, change };
                plan.steps.push_back(Step { shard: self.shard_of_provider(from), command, undo: None });
            }
        }
        for consumer in 0..self.held.len() {
            let held = &mut self.held[consumer];
            let gone =
                ended.streams.iter().filter(|&&stream| held.remove(&(number.index(), stream)).is_some());
            let streams: Vec<_> = gone.map(|&stream| (number, stream)).collect();
            if !streams.is_empty() {
                let command = Command::Unsubscribe { consumer: ConsumerId(consumer as u16), streams };
                plan.steps.push_back(Step { shard: self.shard_of(consumer), command, undo: None });
                plan.bereft.push(consumer);
            }
        }
    }

    /// Takes back a rule that did not come into force; `unused` if the merge shard has not numbered its streams.
    pub(super) fn forget_rule(&mut self, merger: usize, name: &str, unused: bool) {
        let mirror = &mut self.mergers[merger];
        let Some(at) = mirror.rules.iter().position(|known| known.rule.name == name) else { return };
        let known = mirror.rules.remove(at);
        if unused {
            mirror.streams_total -= known.streams.len();
            let streams = &mut Arc::make_mut(&mut self.catalog).providers[mirror.provider.index()].streams;
            streams.truncate(mirror.streams_total);
        }
    }
}

fn name_taken(name: &str) -> Refusal {
    let reason = format!("another merge rule has the name {name}");
    Refusal::new(409, reason, "another name, or the end of that rule first")
}

/// Words of the engine, which end with what fits.
fn refusal_of(error: RuleError) -> Refusal {
    let text = error.to_string();
    let (reason, fits) = text.split_once("; ").unwrap_or((&text, "another rule"));
    Refusal::new(422, reason, fits.strip_prefix("fits ").unwrap_or(fits))
}
