//! A topology's merge rules in the engine's terms: what each joins, and which of them cannot be applied.

use engine::catalog::{Catalog, StreamFacts};
use engine::channel::{Channel, Interval};
use engine::ids::{InstrumentId, ProviderId};
use engine::merge::{BboSource, MergeKind, MergeRule, RuleError, RuleInputs};

use super::catalog::catalog_of;
use super::offer::engine_channel;
use super::plan::{self, MergePlan, Pools, ProviderIndex, Role, Topology};

/// The rules that cannot be applied, by index, and why: all of them, for whoever checks a file.
pub fn problems(topology: &Topology) -> Vec<(usize, String)> {
    let catalog = &catalog_of(topology).0;
    let mut problems = Vec::new();
    for (index, plan) in topology.shards.iter().enumerate() {
        let Role::Merger { pools, .. } = plan.role else { continue };
        let mut windows = 0;
        let own = topology.merges.iter().enumerate();
        for (at, merge) in own.filter(|(_, merge)| usize::from(merge.shard.0) == index) {
            if let Err(reason) = resolved(topology, merge, catalog, pools, &mut windows) {
                problems.push((at, reason));
            }
        }
    }
    problems
}

/// A rule as the engine's, with what it joins; `windows` are those that the rules of its shard may have open.
pub fn resolved(
    topology: &Topology,
    merge: &MergePlan,
    catalog: &Catalog,
    pools: Pools,
    windows: &mut usize,
) -> Result<(MergeRule, Vec<RuleInputs>), String> {
    let rule = rule_of(topology, merge)?;
    let joined = rule.resolve(catalog).map_err(|error| error.to_string())?;
    *windows += if rule.kind.is_windowed() { joined.len() } else { 0 };
    let capacity = pools.merged as usize;
    if *windows > capacity {
        return Err(RuleError::PoolTooSmall { needed: *windows, capacity }.to_string());
    }
    Ok((rule, joined))
}

/// A rule of the topology as the engine's.
fn rule_of(topology: &Topology, plan: &MergePlan) -> Result<MergeRule, String> {
    let kind = match plan.kind {
        plan::MergeKind::Trade => MergeKind::Trade,
        plan::MergeKind::Ticker => MergeKind::Ticker,
        plan::MergeKind::Kline => MergeKind::Kline(common_interval(topology, plan)?),
        plan::MergeKind::Bbo => MergeKind::Bbo(BboSource::Ticker),
        plan::MergeKind::BookBbo => MergeKind::Bbo(BboSource::BEST_OF_BOOK),
    };
    let inputs = plan.inputs.iter().map(|(provider, instruments)| {
        (ProviderId(provider.0), instruments.iter().map(|id| InstrumentId(id.0)).collect())
    });
    Ok(MergeRule {
        name: plan.name.clone(),
        kind,
        inputs: inputs.collect(),
        window_ns: u64::from(plan.window_s) * 1_000_000_000,
        count: plan.count,
        leg_age_ns_max: plan.leg_age_ms.map_or(u64::MAX, |age_ms| u64::from(age_ms) * 1_000_000),
    })
}

/// The first kline length of the first provider that all others have too.
fn common_interval(topology: &Topology, plan: &MergePlan) -> Result<Interval, String> {
    let providers: Vec<ProviderIndex> = plan.inputs.iter().map(|(provider, _)| *provider).collect();
    interval_of(topology, &providers)
        .ok_or_else(|| "its providers have no kline of the same length; add one to their channels".to_owned())
}

/// The first kline length of the first provider that all others have too.
pub fn interval_of(topology: &Topology, providers: &[ProviderIndex]) -> Option<Interval> {
    let intervals = |provider: ProviderIndex| {
        let channels = topology.provider(provider).channels.iter();
        channels.filter_map(|channel| match engine_channel(*channel) {
            Channel::Kline(interval) => Some(interval),
            _ => None,
        })
    };
    let (first, others) = providers.split_first()?;
    intervals(*first).find(|&wanted| others.iter().all(|&other| intervals(other).any(|i| i == wanted)))
}

/// The name of a merged stream.
pub fn facts_of(rule: &MergeRule, inputs: &RuleInputs, catalog: &Catalog) -> StreamFacts {
    let instrument = inputs.first().map_or(InstrumentId::default(), |input| input.instrument);
    StreamFacts {
        symbol: catalog.symbol(instrument).to_owned(),
        venue_symbol: rule.name.clone(),
        instrument,
        channel: Channel::Merged(rule.kind.joined()),
    }
}
