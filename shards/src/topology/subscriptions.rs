//! From written merge rules and consumers to planned ones: which provider, which instruments, which class of delivery.

use engine::event::MERGED_PROVIDERS_MAX;

use super::keys::At;
use super::offer::{Channel, ChannelKind};
use super::plan::{
    BookDepth, ConsumerPlan, Delivery, InstrumentId, MergeIndex, MergePlan, ProviderIndex, Subscription,
};
use super::problem::{Problems, did_you_mean, quoted};
use super::resolve::{Symbols, Told, shard_of, shown_channel};
use super::written::{
    WrittenConsumer, WrittenDepth, WrittenInstruments, WrittenMerge, WrittenProvider, WrittenRole,
    WrittenSubscription, WrittenTopology,
};

/// The provider of that name.
fn provider_of(
    name: &At<String>,
    written: &WrittenTopology,
    problems: &mut Problems,
) -> Option<(ProviderIndex, usize)> {
    let index = written
        .providers
        .iter()
        .position(|provider| provider.name.as_ref().is_some_and(|n| n.value == name.value));
    match index {
        Some(index) => {
            Some((ProviderIndex(u8::try_from(index).expect("providers are bounded below 256")), index))
        }
        None if written.providers.iter().any(|provider| provider.name.is_none()) => None, // told already
        None => {
            let known: Vec<&str> =
                written.providers.iter().filter_map(|p| Some(p.name.as_ref()?.value.as_str())).collect();
            problems.add(
                &name.spot,
                quoted(&name.value),
                format!("no such provider; {}", did_you_mean(&name.value, &known)),
            );
            None
        }
    }
}

/// The instruments of a list, each of which the provider must have.
fn instruments_of(
    list: &[At<String>],
    provider: &WrittenProvider,
    symbols: &Symbols,
    problems: &mut Problems,
) -> Vec<InstrumentId> {
    let Some(listed) = &provider.instruments else { return Vec::new() };
    let name = provider.name.as_ref().map_or("?", |name| name.value.as_str());
    let mut ids = Vec::new();
    for symbol in list {
        if listed.value.iter().any(|known| known.value == symbol.value) {
            ids.extend(symbols.ids.get(&symbol.value));
        } else {
            problems.add(
                &symbol.spot,
                quoted(&symbol.value),
                format!(
                    "provider {name} does not list it: fits one of its {} instruments",
                    listed.value.len()
                ),
            );
        }
    }
    ids
}

pub(super) fn resolve_merge(
    merge: &WrittenMerge,
    written: &WrittenTopology,
    symbols: &Symbols,
    problems: &mut Problems,
) -> Option<MergePlan> {
    let shard = shard_of(merge.shard.as_ref(), WrittenRole::Merger, written, problems);
    let mut inputs = Vec::new();
    for (name, list) in &merge.inputs {
        let Some((index, at)) = provider_of(name, written, problems) else { continue };
        let provider = &written.providers[at];
        inputs.push((index, instruments_of(list, provider, symbols, problems)));
        if let (Some(kind), Some(channels)) = (&merge.kind, &provider.channels)
            && !channels.value.iter().any(|channel| channel.value.kind == kind.value.channel())
        {
            problems.add(
                &name.spot,
                format!("a provider without the channel {}", kind.value.channel().name()),
                "fits a provider that has it: add it to its channels",
            );
        }
        if list.len() != merge.inputs[0].1.len() {
            problems.add(
                &name.spot,
                format!("{} instruments", list.len()),
                format!(
                    "fits {}, as the first provider has: the n-th of each are joined",
                    merge.inputs[0].1.len()
                ),
            );
        }
    }
    if let Some((name, _)) = merge.inputs.get(MERGED_PROVIDERS_MAX) {
        problems.add(
            &name.spot,
            format!("provider number {} of this rule", MERGED_PROVIDERS_MAX + 1),
            format!("fits up to {MERGED_PROVIDERS_MAX}: a merged event has room for as many"),
        );
    }
    Some(MergePlan {
        name: merge.name.as_ref()?.value.clone(),
        shard: shard?,
        kind: merge.kind.as_ref()?.value,
        inputs,
        window_s: merge.window_s?,
        count: merge.count?,
        leg_age_ms: merge.leg_age_ms,
        line: merge.name.as_ref()?.spot.line,
    })
}

pub(super) fn resolve_consumer(
    consumer: &WrittenConsumer,
    written: &WrittenTopology,
    symbols: &Symbols,
    problems: &mut Problems,
) -> Option<ConsumerPlan> {
    let shard = shard_of(consumer.shard.as_ref(), WrittenRole::Consumer, written, problems);
    let mut subscriptions = Vec::new();
    let mut whole = true;
    for subscription in &consumer.subscriptions {
        match resolve_subscription(subscription, written, symbols, problems) {
            Some(resolved) => subscriptions.push(resolved),
            None => whole = false,
        }
    }
    assert!(whole || !problems.is_empty(), "what did not resolve has added its problem");
    Some(ConsumerPlan {
        name: consumer.name.as_ref()?.value.clone(),
        kind: consumer.kind.as_ref()?.value.clone(),
        shard: shard?,
        trading: consumer.trading?,
        limits: consumer.limits?,
        on_panic: consumer.on_panic?,
        options: consumer.options.clone()?,
        subscriptions,
    })
}

fn resolve_subscription(
    subscription: &WrittenSubscription,
    written: &WrittenTopology,
    symbols: &Symbols,
    problems: &mut Problems,
) -> Option<Subscription> {
    let WrittenSubscription::Market {
        spot, provider, instruments, channels, delivery, delivery_spot, ..
    } = subscription
    else {
        let WrittenSubscription::Merged { merge, delivery } = subscription else { return None };
        let index =
            written.merges.iter().position(|m| m.name.as_ref().is_some_and(|n| n.value == merge.value));
        let Some(index) = index else {
            let known: Vec<&str> =
                written.merges.iter().filter_map(|m| Some(m.name.as_ref()?.value.as_str())).collect();
            problems.add(
                &merge.spot,
                quoted(&merge.value),
                format!("no such merge rule; {}", did_you_mean(&merge.value, &known)),
            );
            return None;
        };
        return Some(Subscription::Merged { merge: MergeIndex(index as u8), delivery: (*delivery)? });
    };
    let (index, at) = provider_of(provider.as_ref()?, written, problems)?;
    let from = &written.providers[at];
    let ids = match instruments.as_ref()? {
        WrittenInstruments::All => from
            .instruments
            .iter()
            .flat_map(|list| &list.value)
            .filter_map(|symbol| symbols.ids.get(&symbol.value).copied())
            .collect(),
        WrittenInstruments::Listed(list) => instruments_of(list, from, symbols, problems),
    };
    let product = from.product.as_ref()?.value;
    let offered: Vec<Channel> = from
        .channels
        .iter()
        .flat_map(|list| &list.value)
        .filter_map(|channel| channel.value.of(product.offer()).ok())
        .collect();
    let mut chosen: Vec<(Channel, Delivery)> = Vec::new();
    for written in channels {
        let kind = written.value.kind;
        // `book` alone means the provider's book at whatever speed, since it has only one.
        let channel = offered.iter().find(|offered| {
            offered.kind == kind
                && match &written.value.parameter {
                    Some(parameter) => offered.parameter == parameter,
                    None => !matches!(kind, ChannelKind::Kline | ChannelKind::PartialBook),
                }
        });
        let Some(channel) = channel else {
            let mut wrote = from.channels.iter().flat_map(|list| &list.value);
            if wrote.any(|wrote| wrote.value.kind == kind && wrote.value.of(product.offer()).is_err()) {
                continue; // the provider's own channel was refused, and that is said there
            }
            let list: Vec<String> = offered.iter().map(Channel::to_string).collect();
            let name = provider.as_ref()?.value.as_str();
            problems.add(
                &written.spot,
                shown_channel(&written.value),
                format!("provider {name} has: {}", list.join(", ")),
            );
            continue;
        };
        let Some((_, class)) = delivery.iter().find(|(of, _)| of.value == kind) else {
            let at = delivery_spot.as_ref().unwrap_or(spot);
            if delivery_spot.is_some() && !problems.has(&at.member(at.line, kind.name()).key) {
                problems.add(
                    &at.member(at.line, kind.name()),
                    "nothing",
                    format!("fits: {}", classes_shown(kind)),
                );
            }
            continue;
        };
        chosen.push((*channel, class.value));
    }
    for (of, class) in delivery {
        if !channels.iter().any(|channel| channel.value.kind == of.value) {
            problems.add(
                &of.spot,
                "a class for a channel that is not subscribed to",
                "remove it, or add the channel",
            );
        }
        if !classes(of.value).contains(&class.value) {
            problems.add(&class.spot, class.value.name(), format!("fits: {}", classes_shown(of.value)));
        }
    }
    let depth = resolve_depth(subscription, from, problems);
    Some(Subscription::Market {
        provider: index,
        instruments: ids,
        channels: chosen,
        book_depth: depth.ok()?,
    })
}

/// `Ok(None)`: rightly without a depth.
fn resolve_depth(
    subscription: &WrittenSubscription,
    from: &WrittenProvider,
    problems: &mut Problems,
) -> Result<Option<BookDepth>, Told> {
    let WrittenSubscription::Market { spot, channels, book_depth, .. } = subscription else {
        return Err(Told);
    };
    let asked = channels.iter().any(|channel| channel.value.kind == ChannelKind::Book);
    let Some(depth) = book_depth else {
        if asked && !problems.has(&spot.member(spot.line, "book_depth").key) {
            let at = spot.member(spot.line, "book_depth");
            problems.add(
                &at,
                "nothing",
                "this key must be there, since channels has book: full, or levels a side",
            );
            return Err(Told);
        }
        return if asked { Err(Told) } else { Ok(None) };
    };
    if !asked {
        problems.add(&depth.spot, "a key without use here", "fits when channels has book");
        return Err(Told);
    }
    let kept = from.book.as_ref().and_then(|book| book.value.depth_max.as_ref()).ok_or(Told)?.value;
    match depth.value {
        WrittenDepth::Full => Ok(Some(BookDepth { levels: kept as u32, full: true })),
        WrittenDepth::Levels(levels) if levels > kept => {
            problems.add(
                &depth.spot,
                levels.to_string(),
                format!("fits up to {kept}, which the provider keeps (book.depth_max), or full"),
            );
            Err(Told)
        }
        WrittenDepth::Levels(levels) => Ok(Some(BookDepth { levels: levels as u32, full: false })),
    }
}

/// The classes that a kind allows. A lost trade cannot be made up for; a newer ticker replaces an older one; book
/// diffs collapse only into a snapshot of the proved book.
fn classes(kind: ChannelKind) -> &'static [Delivery] {
    match kind {
        ChannelKind::Trade | ChannelKind::AggTrade => &[Delivery::Lossless],
        ChannelKind::Book => &[Delivery::Book, Delivery::Lossless],
        ChannelKind::PartialBook | ChannelKind::Ticker | ChannelKind::Ticker24h | ChannelKind::Kline => {
            &[Delivery::Latest, Delivery::Lossless]
        }
    }
}

fn classes_shown(kind: ChannelKind) -> String {
    classes(kind).iter().map(|class| class.name()).collect::<Vec<_>>().join(", ")
}
