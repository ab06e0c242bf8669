//! From the topology's merge rules to the engine's: who joins what, under which numbers, and what each provider must send.
//!
//! Each merge shard is a provider of its own in the catalog, numbered after the real ones: its streams are those of its
//! rules, in the order of the file, one for each place in a rule's lists of instruments. The `venue_symbol` of such a
//! stream is the name of its rule.

use std::sync::Arc;

use engine::catalog::{Catalog, ProviderFacts};
use engine::dispatch::Dispatcher;
use engine::event::Event;
use engine::ids::{ConsumerId, ProviderId, ShardId, StreamId};
use engine::merge::MergePools;
use engine::merge::{MergeKind, MergeRule, Merger, MergerOptions, PATIENCE_NS};
use engine::pools::PoolSizes;
use engine::ring::{Receiver, Sender, ring};
use engine::routing::{Delivery, Route};

use super::{LETTERS_MAX, LaunchError};
use crate::control::controller::MergerMirror;
use crate::machine::idle::Waker;
use crate::outputs::add_output;
use crate::topology::rules::{facts_of, resolved};
use crate::topology::{self, ConsumerPlan, Pools, Role, ShardIndex, Subscription, Topology};

/// The merge rules of all shards.
#[derive(Debug, Default)]
pub struct Merges {
    shards: Vec<MergeShard>,
    /// By merge index: the number under which its streams go, and the streams.
    streams: Vec<(ProviderId, Vec<StreamId>)>,
}

/// The rules of one merge shard.
#[derive(Debug)]
struct MergeShard {
    shard: ShardIndex,
    provider: ProviderId,
    rules: Vec<MergeRule>,
    /// What its rules join, each stream once, in the order of providers.
    wanted: Vec<(ProviderId, StreamId, MergeKind)>,
}

/// The parts of a merge shard that are made before its thread exists.
pub struct MergerParts {
    provider: ProviderId,
    rules: Vec<MergeRule>,
    routes: Vec<(StreamId, Route, ConsumerId)>,
    outputs: Vec<(ShardId, Sender<Event>, topology::RingSizes)>,
    /// Wakes the consumer shard behind each output.
    pub wakers: Vec<Waker>,
    /// Whose events come, one for each ring.
    pub inputs: Vec<ProviderId>,
}

impl Merges {
    /// Resolves the rules of the topology and adds the merge shards to the catalog.
    ///
    /// # Errors
    /// [`LaunchError::Merge`]
    pub fn plan(topology: &Topology, catalog: &mut Catalog) -> Result<Self, LaunchError> {
        let mut merges =
            Self { shards: Vec::new(), streams: vec![Default::default(); topology.merges.len()] };
        let number = |shard: usize| ProviderId((topology.providers.len() + shard) as u8);
        for (index, plan) in topology.shards.iter().enumerate() {
            let Role::Merger { pools, .. } = plan.role else { continue };
            let (shard, provider) = (ShardIndex(index as u8), number(merges.shards.len()));
            let mut own = MergeShard { shard, provider, rules: Vec::new(), wanted: Vec::new() };
            let (mut facts, mut windows) = (Vec::new(), 0);
            for (at, merge) in topology.merges.iter().enumerate().filter(|(_, merge)| merge.shard == shard) {
                let refused = |reason: String| LaunchError::Merge { merge: merge.name.clone(), reason };
                let (rule, joined) =
                    resolved(topology, merge, catalog, pools, &mut windows).map_err(refused)?;
                own.wanted
                    .extend(joined.iter().flatten().map(|input| (input.provider, input.stream, rule.kind)));
                let first = facts.len();
                facts.extend(joined.iter().map(|inputs| facts_of(&rule, inputs, catalog)));
                let streams = (first..facts.len()).map(|stream| StreamId(stream as u32)).collect();
                merges.streams[at] = (provider, streams);
                own.rules.push(rule);
            }
            own.wanted.sort_unstable_by_key(|&(provider, stream, _)| (provider, stream));
            // Kinds that join the same stream have the same route to it.
            own.wanted.dedup_by_key(|&mut (provider, stream, _)| (provider, stream));
            catalog.providers.push(ProviderFacts {
                name: plan.name.clone(),
                venue: "merge".to_owned(),
                streams: facts,
            });
            merges.shards.push(own);
        }
        Ok(merges)
    }

    /// The streams of a provider that a merge shard wants.
    pub fn wanted(
        &self,
        shard: ShardIndex,
        provider: usize,
    ) -> impl Iterator<Item = (StreamId, MergeKind)> + '_ {
        let own = self.shards.iter().filter(move |own| own.shard == shard);
        own.flat_map(|own| &own.wanted)
            .filter(move |(wanted, ..)| wanted.index() == provider)
            .map(|&(_, stream, kind)| (stream, kind))
    }

    /// What the control thread must know of the merge shards.
    pub fn mirrors(
        &self,
        topology: &Topology,
        catalog: &Catalog,
        parts: &[(ShardIndex, MergerParts)],
    ) -> Vec<MergerMirror> {
        let mirror = |own: &MergeShard| {
            let (_, parts) = parts.iter().find(|(shard, _)| *shard == own.shard).expect("each has its parts");
            let capacity = match topology.shard(own.shard).role {
                Role::Merger { pools, .. } => pools.merged as usize,
                _ => 0,
            };
            let outputs = parts.outputs.iter().map(|(shard, ..)| shard.0).collect();
            let mut mirror = MergerMirror::new(own.shard, own.provider, outputs, capacity);
            for rule in &own.rules {
                let joined = rule.resolve(catalog).expect("it was resolved against the same catalog");
                mirror.add(rule.clone(), joined, false);
            }
            mirror
        };
        self.shards.iter().map(mirror).collect()
    }

    /// The merged streams that a consumer wants, with their provider number and delivery.
    pub fn subscribed<'a>(
        &'a self,
        consumer: &'a ConsumerPlan,
    ) -> impl Iterator<Item = (ProviderId, StreamId, Delivery)> + 'a {
        consumer.subscriptions.iter().flat_map(|subscription| {
            let (provider, streams, delivery) = match subscription {
                Subscription::Merged { merge, delivery } => {
                    let (provider, streams) = &self.streams[usize::from(merge.0)];
                    let delivery = match delivery {
                        topology::Delivery::Latest => Delivery::Latest,
                        _ => Delivery::Lossless,
                    };
                    (*provider, streams.as_slice(), delivery)
                }
                Subscription::Market { .. } => (ProviderId::default(), &[][..], Delivery::Lossless),
            };
            streams.iter().map(move |&stream| (provider, stream, delivery))
        })
    }

    /// Makes the rings from each merge shard to each consumer shard that wants any of its streams. The result has the
    /// parts of every merge shard, with the shard's index.
    pub fn wire(
        &self,
        topology: &Topology,
        wakers: &[Waker],
        receivers: &mut [Vec<Receiver<Event>>],
    ) -> Vec<(ShardIndex, MergerParts)> {
        let mut all = Vec::new();
        for own in &self.shards {
            let mut inputs: Vec<ProviderId> = own.wanted.iter().map(|&(provider, ..)| provider).collect();
            inputs.dedup();
            let mut parts = MergerParts {
                provider: own.provider,
                rules: own.rules.clone(),
                routes: Vec::new(),
                outputs: Vec::new(),
                wakers: Vec::new(),
                inputs,
            };
            for (number, shard) in topology.shards.iter().enumerate() {
                let Role::Consumer { rings } = shard.role else { continue };
                let output = parts.outputs.len();
                let consumers = topology.consumers_on(ShardIndex(number as u8));
                let routes: Vec<_> = consumers
                    .flat_map(|(holder, consumer)| {
                        let holder = ConsumerId(holder as u16);
                        self.subscribed(consumer).map(move |wanted| (wanted, holder))
                    })
                    .filter(|((provider, ..), _)| *provider == own.provider)
                    .map(|((_, stream, delivery), holder)| {
                        (stream, Route { output, delivery, book_depth: 0 }, holder)
                    })
                    .collect();
                if routes.is_empty() {
                    continue;
                }
                let (sender, receiver) = ring(rings.ring_events as usize);
                receivers[number].push(receiver);
                parts.outputs.push((ShardId(number as u8), sender, rings));
                parts.wakers.push(wakers[number].clone());
                parts.routes.extend(routes);
            }
            all.push((own.shard, parts));
        }
        all
    }
}

impl MergerParts {
    /// The merger with its inputs, rules and routes; called on its shard.
    pub fn merger(&mut self, pools: Pools, catalog: Arc<Catalog>) -> Merger {
        let sizes = PoolSizes {
            frames: pools.frames as usize,
            raws: pools.raws as usize,
            events: pools.events as usize,
            merged: pools.merged as usize,
            order_requests: pools.order_requests as usize,
            execution_reports: pools.execution_reports as usize,
        };
        let mut dispatcher = Dispatcher::new(LETTERS_MAX);
        for (shard, sender, rings) in self.outputs.drain(..) {
            add_output(&mut dispatcher, shard, sender, rings);
        }
        let options = MergerOptions { provider: self.provider, patience_ns: PATIENCE_NS };
        let mut merger = Merger::new(options, catalog, MergePools::new(&sizes), dispatcher);
        for &provider in &self.inputs {
            merger.add_input(provider);
        }
        for rule in &self.rules {
            merger.add_rule(rule).expect("every rule was resolved against the same catalog before the start");
        }
        merger.dispatcher.routing.begin_version(1);
        for (stream, route, holder) in self.routes.drain(..) {
            merger.dispatcher.routing.add(stream, route);
            merger.dispatcher.routing.add_holder(stream, route.output, holder);
            merger.dispatcher.reserve(stream);
        }
        merger
    }
}
