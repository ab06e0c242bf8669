//! What must hold of the control shard: what is in force is what its answers say, within a second, and everybody is told.

use std::collections::{BTreeMap, BTreeSet};

use engine::event::Body;
use engine::event::control::{Command as Told, Outcome};
use engine::ids::{ConsumerId, ShardId};
use engine::provider::RollAnswer;
use engine::routing::Delivery;
use shards::control::link::ShardEnd;
use shards::control::order::Refusal;

use super::super::auditor::{Audit, Place};
use super::super::{CONSUMERS, MERGED, MERGER, PROVIDERS, Whole};
use super::Control;
use crate::sim::MS_NS;

/// What a shard gets of a stream, and for whom.
type Routed = BTreeMap<Place, (Delivery, usize, BTreeSet<u16>)>;

impl Control {
    /// Whether no change is under way, nor anything that a shard was told.
    pub(super) fn is_idle(&self, whole: &Whole) -> bool {
        let asks = whole.shards.iter().flat_map(|shard| &shard.seated);
        !self.controller.is_busy()
            && self.controller.changes_waiting() == 0
            && !self.ends.iter().flatten().any(ShardEnd::has_command)
            && self.turns_at_ns == u64::MAX
            && asks.clone().all(|seated| seated.audit.borrow().asks.is_empty() || !seated.steady)
    }

    /// Questions that were answered, by so many of the shards that should have.
    pub(super) fn answered(&mut self, tickets: usize, found: usize, all: usize) {
        self.questions.1 += tickets as u32;
        if found > all {
            self.broke(format!("{found} shards of {all} answered a question"));
        }
    }

    /// A provider answered to a roll, or nobody knows whether it will: it rolls some of its lines, or says that none is up.
    pub(super) fn rolling(&mut self, number: usize, provider: usize, answer: Result<RollAnswer, Refusal>) {
        self.questions.1 += 1;
        let asked = self.rolls[number];
        let quiet_ns = self.pace.get().quiet_ns - asked.quiet_ns;
        if quiet_ns > asked.allowed_ns() {
            let took_ms = quiet_ns / MS_NS;
            self.broke(format!("a roll of provider {provider} took {took_ms} ms in which no shard stood"));
        }
        match answer {
            Ok(answer) if answer.lines == 0 => {
                self.broke(format!("provider {provider} rolls nothing: {answer:?}"));
            }
            Err(refusal) if !matches!(refusal.status, 409 | 504) => {
                self.broke(format!("a roll of provider {provider} was refused: {refusal:?}"));
            }
            _ => {}
        }
    }

    /// What each consumer shard is to get, by what its consumers hold.
    fn wanted(&self, shard: ShardId) -> Routed {
        let mut wanted = Routed::new();
        for (consumer, plan) in self.controller.topology().consumers.iter().enumerate() {
            if plan.shard.0 != shard.0 {
                continue;
            }
            for (provider, stream, how) in self.controller.held_streams(consumer) {
                let nothing = (how.delivery, how.book_depth, BTreeSet::new());
                let entry = wanted.entry((provider, stream)).or_insert(nothing);
                entry.0 = entry.0.max(how.delivery);
                entry.1 = entry.1.max(how.book_depth);
                entry.2.insert(consumer as u16);
            }
        }
        wanted
    }

    /// Nothing is under way: every route, seat and rule is what the control thread says, and what its answers said.
    fn compare(&self, whole: &Whole) -> Result<(), String> {
        for (number, id) in CONSUMERS.into_iter().enumerate() {
            let wanted = self.wanted(id);
            let mut routed = Routed::new();
            for provider in (0..=PROVIDERS).map(|provider| engine::ids::ProviderId(provider as u8)) {
                let dispatcher = whole.dispatcher_of(provider);
                for (output, _) in dispatcher.shards().enumerate().filter(|(_, shard)| *shard == id) {
                    for (stream, route) in dispatcher.routing.to(output) {
                        let holders = dispatcher.routing.holders(stream, output);
                        let holders = holders.map(|consumer: ConsumerId| consumer.0).collect();
                        routed.insert((provider, stream), (route.delivery, route.book_depth, holders));
                    }
                }
            }
            if wanted != routed {
                let differ = |place: &&Place| wanted.get(place) != routed.get(place);
                let place = wanted.keys().chain(routed.keys()).find(differ).expect("they differ");
                let (wants, has) = (wanted.get(place), routed.get(place));
                return Err(format!("shard {number} is to get {wants:?} of {place:?}, and gets {has:?}"));
            }
            let shard = &whole.shards[number];
            for (seat, seated) in shard.seated.iter().enumerate() {
                let consumer = seated.consumer.0;
                let holds: BTreeSet<Place> = wanted
                    .iter()
                    .filter(|(_, (.., holders))| holders.contains(&consumer))
                    .map(|(&place, _)| place)
                    .collect();
                let audit = seated.audit.borrow();
                let has: BTreeSet<Place> = audit.places().map(|(place, _)| place).collect();
                let is_seated =
                    |&(provider, stream): &Place| shard.host.is_subscribed(seat, provider, stream);
                let ends = wanted.keys().find(|place| !holds.contains(place) && is_seated(place));
                if holds != has || !holds.iter().all(is_seated) || ends.is_some() {
                    return Err(format!("consumer {consumer} holds {holds:?}, its seat is another: {has:?}"));
                }
            }
        }
        self.compare_rules(whole)?;
        self.compare_answers()
    }

    fn compare_rules(&self, whole: &Whole) -> Result<(), String> {
        let rules = self.controller.mergers()[0].rules();
        let ours: BTreeSet<&str> = rules.iter().map(|known| known.rule.name.as_str()).collect();
        let theirs: BTreeSet<&str> = whole.merger.rules().map(|(rule, _)| rule.name.as_str()).collect();
        if ours != theirs {
            return Err(format!(
                "the rules {ours:?} are in force by the control shard, {theirs:?} on the merge shard"
            ));
        }
        let wanted: BTreeSet<Place> = whole.merger.wanted().collect();
        let mut routed = BTreeSet::new();
        for (provider, feed) in whole.feeds.iter().enumerate() {
            let (provider, dispatcher) = (engine::ids::ProviderId(provider as u8), feed.dispatcher_ref());
            for (output, _) in dispatcher.shards().enumerate().filter(|(_, shard)| *shard == MERGER) {
                routed.extend(dispatcher.routing.to(output).map(|(stream, _)| (provider, stream)));
            }
        }
        if wanted != routed {
            return Err(format!("the merge shard is to get {wanted:?}, and gets {routed:?}"));
        }
        let held = CONSUMERS.into_iter().flat_map(|id| self.wanted(id).into_keys());
        let used: BTreeSet<Place> = held.filter(|(provider, _)| *provider != MERGED).chain(wanted).collect();
        let missing = used.iter().find(|(provider, stream)| !whole.feeds[provider.index()].carries(*stream));
        missing.map_or(Ok(()), |place| Err(format!("{place:?} is used and not subscribed to at its venue")))
    }

    /// What was answered to operators is so.
    fn compare_answers(&self) -> Result<(), String> {
        let providers = &self.controller.topology().providers;
        let mut holds = BTreeSet::new();
        for consumer in 0..self.controller.topology().consumers.len() {
            for stream in self.controller.held(consumer) {
                if let Some(provider) = providers.iter().position(|plan| plan.name == stream.provider) {
                    holds.insert((consumer, provider, stream.symbol.to_owned(), stream.channel));
                }
            }
        }
        for (key, held) in self.held.iter().filter(|(key, _)| !self.own_streams.contains(key)) {
            if held.is_some_and(|held| held != holds.contains(key)) {
                return Err(format!(
                    "by the answers {key:?} is held: {held:?}; the control shard says otherwise"
                ));
            }
        }
        let rules = self.controller.mergers()[0].rules();
        for (name, in_force) in self.rules.iter().filter(|(name, _)| !self.own_rules.contains(*name)) {
            let is_there = rules.iter().any(|known| known.rule.name == *name);
            if in_force.is_some_and(|in_force| in_force != is_there) {
                return Err(format!(
                    "by the answers the rule {name} is in force: {in_force:?}; it is {is_there}"
                ));
            }
        }
        Ok(())
    }
}

impl Whole {
    /// At each step.
    pub(in crate::whole) fn check_control(&mut self) -> Result<(), String> {
        let Some(mut control) = self.control.take() else { return Ok(()) };
        let outcome = self.check_of(&mut control);
        self.control = Some(control);
        outcome
    }

    fn check_of(&self, control: &mut Control) -> Result<(), String> {
        if let Some(what) = control.broken.take() {
            return Err(what);
        }
        let quiet_ns = control.pace.get().quiet_ns;
        if let Some(asked) = control.open.front().map(|&number| &control.asked[number])
            && asked.quiet_ns(quiet_ns) > asked.pace.allowed_ns()
        {
            let took_ms = asked.quiet_ns(quiet_ns) / MS_NS;
            return Err(format!(
                "{:?} is not answered after {took_ms} ms in which no shard stood",
                asked.change
            ));
        }
        if !control.is_compared && control.is_idle(self) {
            control.is_compared = true;
            control.compared_total += 1;
            control.compare(self)?;
        }
        Ok(())
    }

    /// At the end: who asked was told, once, in time and in order.
    pub(in crate::whole) fn check_told(&self) -> Result<(), String> {
        let Some(control) = &self.control else { return Ok(()) };
        let (asked, answered) = control.questions;
        if asked != answered {
            return Err(format!("{answered} of {asked} questions of operators were answered"));
        }
        for seated in self.shards.iter().flat_map(|shard| &shard.seated).filter(|seated| seated.steady) {
            let audit = seated.audit.borrow();
            told_of_own(&audit)
                .and_then(|()| told_of_others(&audit))
                .map_err(|what| format!("consumer {}: {what}", seated.consumer.0))?;
        }
        Ok(())
    }
}

/// What a consumer asked for itself: one answer each, the word that it was taken before it, within the time.
fn told_of_own(audit: &Audit) -> Result<(), String> {
    for (number, ask, pace) in &audit.asked {
        let at = |wanted: bool| {
            let found = audit.told.iter().enumerate().filter(move |(_, (body, _))| match body {
                Body::ControlAck(ack) => wanted && ack.request == *number,
                Body::ControlResult(result) => !wanted && result.request == *number,
                _ => false,
            });
            found.map(|(at, _)| at).collect::<Vec<_>>()
        };
        let (acks, results) = (at(true), at(false));
        let &[result] = results.as_slice() else {
            return Err(format!("{} control results for its request {number}: {ask:?}", results.len()));
        };
        let (body, told_ns) = &audit.told[result];
        let Body::ControlResult(body) = body else { unreachable!("it is one") };
        let refused = body.outcome == Outcome::Refused;
        if acks.len() > 1 || acks.is_empty() && !refused || acks.iter().any(|&ack| ack > result) {
            return Err(format!("its request {number} was acknowledged at {acks:?}, answered at {result}"));
        }
        let quiet_ns = told_ns - pace.quiet_ns;
        if quiet_ns > pace.allowed_ns() {
            return Err(format!("{ask:?} took {} ms in which no shard stood", quiet_ns / MS_NS));
        }
    }
    Ok(())
}

/// What others asked for it: as many answers as were announced, and what it lost by the end of a rule besides.
fn told_of_others(audit: &Audit) -> Result<(), String> {
    let mut announced: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    let mut version = 0;
    for (body, _) in &audit.told {
        match body {
            Body::ControlAck(ack) if ack.request == 0 => {
                announced.entry(ack.command.name()).or_default().0 += 1;
            }
            Body::ControlResult(result) => {
                if result.routing_version < version {
                    return Err(format!("told of version {} after {version}", result.routing_version));
                }
                version = result.routing_version;
                if result.request == 0 {
                    announced.entry(result.command.name()).or_default().1 += 1;
                }
            }
            _ => {}
        }
    }
    let unsubscribe = Told::Unsubscribe.name();
    let odd = |(name, (acks, results)): &(&&str, &(u32, u32))| {
        if **name == unsubscribe { results < acks } else { results != acks }
    };
    match announced.iter().find(odd) {
        None => Ok(()),
        Some((name, (acks, results))) => {
            Err(format!("{results} control results of {acks} changes by others: {name}"))
        }
    }
}
