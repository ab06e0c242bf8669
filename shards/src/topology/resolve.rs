//! From what is written to what will run: names become indices, and what only several keys together show is checked.
//!
//! Each part builds as much as it can and adds a problem for what it cannot, so that the parts after it still find theirs.

use std::collections::HashMap;
use std::path::PathBuf;

use super::bounds;
use super::keys::At;
use super::memory::{largest_event_parts, ring_events_min};
use super::offer::{Channel, ChannelKind, Offer, Product};
use super::plan::{
    BookPlan, ConsumerPlan, ControlPlan, Endpoints, HostMode, InstrumentId, ListedInstrument, MergePlan,
    ProviderPlan, ReorderPlan, ReportPlan, Role, RollPlan, ShardIndex, ShardPlan, SimulatedPlan,
    Subscription, Topology, WatchdogPlan,
};
use super::problem::{Problems, Spot, did_you_mean, quoted};
use super::subscriptions::{resolve_consumer, resolve_merge};
use super::trading::{check_journal, resolve_orders};
use super::written::{
    WrittenChannel, WrittenEndpoints, WrittenProvider, WrittenRole, WrittenShard, WrittenTopology,
};
use super::{Against, check};

/// Resolves the file. `None` or any problem: there is no topology.
pub(super) fn resolve(
    file: &str,
    written: &WrittenTopology,
    against: Against<'_>,
    problems: &mut Problems,
) -> Option<Topology> {
    unique_names(written, problems);
    cores(written, against, problems);
    idle_shards(written, problems);
    control(written, problems);
    rest_weight(written, problems);
    check_journal(written, problems);

    let mut symbols = Symbols::default();
    let mut streams = 0;
    let mut providers = Vec::new();
    for provider in &written.providers {
        let plan = resolve_provider(provider, written, against, &mut symbols, problems);
        if let Some(plan) = &plan {
            streams += plan.instruments.len() * plan.channels.len();
        }
        providers.push(plan);
    }
    if streams > bounds::STREAMS_MAX {
        let spot = written.providers.last().map(|provider| provider.spot.clone());
        problems.add(
            &spot.expect("streams come from providers"),
            format!("{streams} streams in all providers"),
            format!("fits up to {} (instruments x channels)", bounds::STREAMS_MAX),
        );
    }
    let merges: Vec<Option<MergePlan>> =
        written.merges.iter().map(|merge| resolve_merge(merge, written, &symbols, problems)).collect();
    let consumers: Vec<Option<ConsumerPlan>> = written
        .consumers
        .iter()
        .map(|consumer| resolve_consumer(consumer, written, &symbols, problems))
        .collect();
    let shards: Vec<Option<ShardPlan>> = written.shards.iter().map(resolve_shard).collect();
    rings(written, &consumers, problems);
    if !problems.is_empty() {
        return None;
    }
    let control = written.control.as_ref()?;
    let report = written.report.as_ref()?;
    Some(Topology {
        file: file.to_owned(),
        host: written.host.as_ref()?.value,
        shards: shards.into_iter().collect::<Option<_>>()?,
        simulated: match &written.simulated {
            None => None,
            Some(simulated) => Some(SimulatedPlan {
                seed: simulated.value.seed?,
                messages_per_instrument_per_s: simulated.value.messages_per_instrument_per_s?,
                speed_permille: simulated.value.speed_permille?,
                book_levels: simulated.value.book_levels?,
            }),
        },
        providers: providers.into_iter().collect::<Option<_>>()?,
        symbols: symbols.names,
        merges: merges.into_iter().collect::<Option<_>>()?,
        consumers: consumers.into_iter().collect::<Option<_>>()?,
        journal: match &written.journal {
            None => None,
            Some(journal) => Some(journal.value.clone()?),
        },
        control: ControlPlan {
            listen: control.listen.as_ref()?.value,
            core: control.core.as_ref()?.value.map(|core| core as u32),
            token_file: control.token_file.as_ref().map(|file| PathBuf::from(&file.value)),
        },
        report: ReportPlan { dir: PathBuf::from(report.dir.as_ref()?), interval_ms: report.interval_ms? },
        watchdog: match &written.watchdog {
            None => WatchdogPlan::LEFT_OUT,
            Some(watchdog) => WatchdogPlan { stall_ms: watchdog.stall_ms?, then: watchdog.then? },
        },
    })
}

/// There is no result, and the problem that is the reason has been added.
pub(super) struct Told;

/// The table of canonical symbols over all providers.
#[derive(Default)]
pub(super) struct Symbols {
    names: Vec<String>,
    pub ids: HashMap<String, InstrumentId>,
}

impl Symbols {
    fn id(&mut self, symbol: &str) -> InstrumentId {
        if let Some(id) = self.ids.get(symbol) {
            return *id;
        }
        const _: () = assert!(bounds::PROVIDERS_MAX * bounds::INSTRUMENTS_MAX <= u16::MAX as usize);
        let id = InstrumentId(u16::try_from(self.names.len()).expect("providers x instruments fit 16 bits"));
        self.names.push(symbol.to_owned());
        self.ids.insert(symbol.to_owned(), id);
        id
    }
}

const _: () = assert!(bounds::SHARDS_MAX <= 256 && bounds::PROVIDERS_MAX <= 256 && bounds::MERGES_MAX <= 256);

// -- what concerns several parts of the file -------------------------------------------------------------------------

fn unique_names(written: &WrittenTopology, problems: &mut Problems) {
    let mut check = |what: &str, names: Vec<&Option<At<String>>>| {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for name in names.into_iter().flatten() {
            if let Some(line) = seen.get(name.value.as_str()) {
                problems.add(
                    &name.spot,
                    format!("{} again", quoted(&name.value)),
                    format!("fits a name that no other {what} has (line {line} has this one)"),
                );
            } else {
                seen.insert(&name.value, name.spot.line);
            }
        }
    };
    check("shard", written.shards.iter().map(|shard| &shard.name).collect());
    check("provider", written.providers.iter().map(|provider| &provider.name).collect());
    check("merge", written.merges.iter().map(|merge| &merge.name).collect());
    check("consumer", written.consumers.iter().map(|consumer| &consumer.name).collect());
}

/// Each core is the host's, and under `dedicated` nobody else's.
fn cores(written: &WrittenTopology, against: Against<'_>, problems: &mut Problems) {
    let control = written.control.as_ref().and_then(|control| control.core.as_ref());
    let control = control.and_then(|core| core.value.map(|value| At { spot: core.spot.clone(), value }));
    let dedicated = matches!(&written.host, Some(host) if host.value == HostMode::Dedicated);
    let mut users: HashMap<u64, String> = HashMap::new();
    for (core, user) in written
        .shards
        .iter()
        .filter_map(|shard| {
            let name = shard.name.as_ref().map_or("a shard without a name", |name| name.value.as_str());
            Some((shard.core.clone()?, format!("shard {name}")))
        })
        .chain(control.map(|core| (core, "the control endpoint".to_owned())))
    {
        if let Some(cores) = against.cores
            && let Some(why) = check::core_misfit(core.value as u32, cores)
        {
            problems.add(&core.spot, core.value.to_string(), why);
        }
        if !dedicated {
            continue;
        }
        if let Some(other) = users.get(&core.value) {
            problems.add(
                &core.spot,
                format!("{}, on which {other} spins", core.value),
                "fits a core of its own (or host: shared, where shards park and may share cores)",
            );
        } else {
            users.insert(core.value, user);
        }
    }
}

/// A shard that nothing runs on is a core lost, most likely to a mistyped name elsewhere.
fn idle_shards(written: &WrittenTopology, problems: &mut Problems) {
    for shard in &written.shards {
        let (Some(name), Some(role)) = (&shard.name, &shard.role) else { continue };
        let named = |at: &Option<At<String>>| at.as_ref().is_some_and(|at| at.value == name.value);
        let (used, what) = match role.value {
            WrittenRole::Provider => (written.providers.iter().any(|p| named(&p.shard)), "provider"),
            // Its rules may come while it runs.
            WrittenRole::Merger => continue,
            WrittenRole::Consumer => (written.consumers.iter().any(|c| named(&c.shard)), "consumer"),
        };
        if !used {
            problems.add(
                &shard.spot,
                format!("no {what} with 'shard: {}'", name.value),
                format!("fits a shard that a {what} names: name it there, or remove it here"),
            );
        }
    }
}

fn control(written: &WrittenTopology, problems: &mut Problems) {
    let Some(control) = &written.control else { return };
    if let Some(listen) = &control.listen
        && !listen.value.ip().is_loopback()
        && control.token_file.is_none()
    {
        problems.add(
            &listen.spot,
            format!("{}, which other hosts can reach", listen.value),
            "fits a loopback address (127.0.0.1, [::1]), or add token_file: a request must then carry that token",
        );
    }
}

/// Shares of one venue's REST weight, counted by address, and what verification of books needs of them.
fn rest_weight(written: &WrittenTopology, problems: &mut Problems) {
    let mut shares: HashMap<String, u32> = HashMap::new();
    for provider in &written.providers {
        let (Some(product), Some(share), Some(endpoints)) =
            (&provider.product, &provider.rest_weight_share_permille, &provider.endpoints)
        else {
            continue;
        };
        let network = match &endpoints.value {
            WrittenEndpoints::Simulated => "simulated",
            WrittenEndpoints::Live => "live",
            WrittenEndpoints::Testnet => "testnet",
            WrittenEndpoints::Explicit { rest, .. } => rest.as_deref().unwrap_or("?"),
        };
        let sum = shares.entry(format!("{:?} {network}", product.value.rest_owner())).or_default();
        *sum += share.value;
        let decimal = |permille: u32| f64::from(permille) / 1000.0;
        if *sum > bounds::REST_WEIGHT_SHARES_PERMILLE_MAX {
            problems.add(
                &share.spot,
                format!("{}, {} together with the providers of the same venue above", decimal(share.value), decimal(*sum)),
                format!(
                    "fits up to {} together: the limit counts by address, and the rest is the reserve for orders",
                    decimal(bounds::REST_WEIGHT_SHARES_PERMILLE_MAX)
                ),
            );
        }
        if let Some(weight) = product.value.offer().rest_weight_per_minute
            && let Some(book) = &provider.book
            && let (Some(limit), Some(verify_s)) = (&book.value.snapshot_limit, &book.value.verify_s)
            && let Some(instruments) = &provider.instruments
        {
            let instruments = instruments.value.len() as u64;
            let needed = instruments * Offer::snapshot_weight(limit.value) * 60 / verify_s.value;
            let granted = weight * u64::from(share.value) / 1000;
            if needed > granted {
                problems.add(
                    &verify_s.spot,
                    format!(
                        "{} s, so {instruments} snapshots of {} levels take weight {needed} a minute",
                        verify_s.value, limit.value
                    ),
                    format!("rest_weight_share grants {granted} of {weight}: verify less often, or smaller snapshots"),
                );
            }
        }
    }
}

/// Each ring holds twice the largest event that its subscriptions can bring.
fn rings(written: &WrittenTopology, consumers: &[Option<ConsumerPlan>], problems: &mut Problems) {
    for (index, shard) in written.shards.iter().enumerate() {
        let (Some(rings), Some(WrittenRole::Consumer)) =
            (&shard.rings, shard.role.as_ref().map(|role| role.value))
        else {
            continue;
        };
        let largest = consumers
            .iter()
            .flatten()
            .filter(|consumer| usize::from(consumer.shard.0) == index)
            .flat_map(|consumer| {
                consumer.subscriptions.iter().map(move |subscription| (consumer, subscription))
            })
            .max_by_key(|(_, subscription)| largest_event_parts(subscription));
        let Some((consumer, subscription)) = largest else { continue };
        let parts = largest_event_parts(subscription);
        let asks = match subscription {
            Subscription::Market { book_depth: Some(depth), .. } => {
                format!(
                    "consumer {} gets book snapshots of {} levels a side: {parts} slots",
                    consumer.name, depth.levels
                )
            }
            _ => format!("events of {parts} slot"),
        };
        let sizes = rings.sizes;
        if u64::from(sizes.ring_events) < ring_events_min(parts) {
            problems.add(
                &rings.ring_spot,
                sizes.ring_events.to_string(),
                format!("fits {} and more, twice the largest event ({asks})", ring_events_min(parts)),
            );
        }
        if u64::from(sizes.spill_events) < parts {
            problems.add(
                &rings.spill_spot,
                sizes.spill_events.to_string(),
                format!("fits {parts} and more, the largest event ({asks})"),
            );
        }
    }
}

// -- one part each ------------------------------------------------------------------------------------------------------

fn resolve_shard(shard: &WrittenShard) -> Option<ShardPlan> {
    let role = match shard.role.as_ref()?.value {
        WrittenRole::Provider => {
            Role::Provider { pools: shard.pools?, order_ring_requests: shard.order_ring_requests? }
        }
        WrittenRole::Merger => Role::Merger { pools: shard.pools?, rings: shard.rings.as_ref()?.sizes },
        WrittenRole::Consumer => Role::Consumer { rings: shard.rings.as_ref()?.sizes },
    };
    Some(ShardPlan {
        name: shard.name.as_ref()?.value.clone(),
        core: shard.core.as_ref()?.value as u32,
        role,
        line: shard.spot.line,
    })
}

/// The shard of that name, if it has the role that this user needs.
pub(super) fn shard_of(
    name: Option<&At<String>>,
    role: WrittenRole,
    written: &WrittenTopology,
    problems: &mut Problems,
) -> Option<ShardIndex> {
    let name = name?;
    let fitting: Vec<&str> = written
        .shards
        .iter()
        .filter(|shard| shard.role.as_ref().is_some_and(|of| of.value == role))
        .filter_map(|shard| Some(shard.name.as_ref()?.value.as_str()))
        .collect();
    let word = match role {
        WrittenRole::Provider => "provider",
        WrittenRole::Merger => "merger",
        WrittenRole::Consumer => "consumer",
    };
    let index =
        written.shards.iter().position(|shard| shard.name.as_ref().is_some_and(|n| n.value == name.value));
    match index {
        None if written.shards.iter().any(|shard| shard.name.is_none()) => None, // its problem is told already
        None => {
            let fits = did_you_mean(&name.value, &fitting);
            problems.add(&name.spot, quoted(&name.value), format!("no such shard; {fits}"));
            None
        }
        Some(index) => match &written.shards[index].role {
            Some(of) if of.value != role => {
                let found = format!("{}, which has another role", quoted(&name.value));
                let list = if fitting.is_empty() { "there is none".to_owned() } else { fitting.join(", ") };
                problems.add(&name.spot, found, format!("fits a shard with role: {word} ({list})"));
                None
            }
            _ => Some(ShardIndex(u8::try_from(index).expect("shards are bounded below 256"))),
        },
    }
}

fn resolve_provider(
    provider: &WrittenProvider,
    written: &WrittenTopology,
    against: Against<'_>,
    symbols: &mut Symbols,
    problems: &mut Problems,
) -> Option<ProviderPlan> {
    let shard = shard_of(provider.shard.as_ref(), WrittenRole::Provider, written, problems);
    let endpoints = resolve_endpoints(provider, written, problems);
    let mut instruments = Vec::new();
    for at in provider.instruments.iter().flat_map(|list| &list.value) {
        instruments.push(ListedInstrument { id: symbols.id(&at.value), line: at.spot.line });
        if let (Some(lists), Some(Endpoints::Simulated), Some(product)) =
            (against.simulated_lists, &endpoints, &provider.product)
            && !lists(product.value, &at.value)
        {
            add_unlisted(&at.spot, &at.value, product.value, problems);
        }
    }
    let mut channels: Vec<Channel> = Vec::new();
    if let (Some(product), Some(list)) = (&provider.product, &provider.channels) {
        let offer = product.value.offer();
        for at in &list.value {
            match at.value.of(offer) {
                Ok(channel) if channels.contains(&channel) => {
                    problems.add(&at.spot, format!("{channel} again"), "fits once");
                }
                Ok(channel)
                    if channel.kind == ChannelKind::Book
                        && channels.iter().any(|c| c.kind == channel.kind) =>
                {
                    problems.add(
                        &at.spot,
                        "a second book channel",
                        "fits one: a provider proves one book an instrument",
                    );
                }
                Ok(channel) => match super::venues::supports(product.value, channel) {
                    Ok(()) => channels.push(channel),
                    Err(fits) => problems.add(&at.spot, channel.to_string(), format!("fits: {fits}")),
                },
                Err(fits) => problems.add(&at.spot, shown_channel(&at.value), fits),
            }
        }
    }
    let book = resolve_book(provider, &channels, problems);
    let reorder = resolve_reorder(provider, shard, written, problems);
    let orders = resolve_orders(
        provider.orders.as_ref(),
        provider.product.as_ref().map(|product| product.value),
        endpoints.as_ref(),
        problems,
    );
    Some(ProviderPlan {
        name: provider.name.as_ref()?.value.clone(),
        product: provider.product.as_ref()?.value,
        shard: shard?,
        endpoints: endpoints?,
        lines: provider.lines?,
        instruments,
        channels,
        book: book.ok()?,
        rest_weight_share_permille: provider.rest_weight_share_permille.as_ref()?.value,
        reorder: reorder?,
        orders,
        roll: match &provider.roll {
            None => None,
            Some(roll) => {
                let (quiet_from_min, quiet_to_min) = roll.quiet_min?;
                let after_h = roll.after_h.as_ref()?.value as u32;
                Some(RollPlan { after_h, quiet_from_min, quiet_to_min })
            }
        },
        capture: match &provider.capture {
            None => None,
            Some(at) => Some(at.value.clone()?),
        },
        line: provider.spot.line,
    })
}

pub(super) fn shown_channel(channel: &WrittenChannel) -> String {
    match &channel.parameter {
        None => channel.kind.name().to_owned(),
        Some(parameter) => format!("{{{}: {}}}", channel.kind.name(), quoted(parameter).trim_matches('\'')),
    }
}

pub(super) fn add_unlisted(spot: &Spot, symbol: &str, product: Product, problems: &mut Problems) {
    problems.add(
        spot,
        quoted(symbol),
        format!("fits a symbol that {} {} lists", product.venue(), product.name()),
    );
}

fn resolve_endpoints(
    provider: &WrittenProvider,
    written: &WrittenTopology,
    problems: &mut Problems,
) -> Option<Endpoints> {
    let endpoints = provider.endpoints.as_ref()?;
    match &endpoints.value {
        WrittenEndpoints::Simulated => {
            if written.simulated.is_none() {
                problems.add(
                    &endpoints.spot,
                    "simulated",
                    "the file must then have the key 'simulated' with a seed and a rate",
                );
            }
            Some(Endpoints::Simulated)
        }
        WrittenEndpoints::Live => Some(Endpoints::Live),
        WrittenEndpoints::Testnet => {
            let product = provider.product.as_ref()?.value;
            if !product.offer().testnet {
                problems.add(
                    &endpoints.spot,
                    "testnet",
                    format!("{} {} has none; fits: simulated, live", product.venue(), product.name()),
                );
                return None;
            }
            Some(Endpoints::Testnet)
        }
        WrittenEndpoints::Explicit { websocket, rest, ca_file } => Some(Endpoints::Explicit {
            websocket: websocket.clone()?,
            rest: rest.clone()?,
            ca_file: ca_file.as_ref().map(PathBuf::from),
        }),
    }
}

/// `Ok(None)`: rightly without books.
fn resolve_book(
    provider: &WrittenProvider,
    channels: &[Channel],
    problems: &mut Problems,
) -> Result<Option<BookPlan>, Told> {
    let asked = channels.iter().any(|channel| channel.kind == ChannelKind::Book);
    let (book, product) = match (&provider.book, &provider.product) {
        (Some(book), Some(product)) => (book, product.value),
        (None, _) if asked => {
            let spot = provider.spot.member(provider.spot.line, "book");
            problems.add(&spot, "nothing", "this key must be there, since channels has book");
            return Err(Told);
        }
        (None, _) => return Ok(None),
        (Some(_), None) => return Err(Told),
    };
    if !asked && provider.channels.is_some() {
        problems.add(&book.spot, "a key without use here", "fits when channels has book");
        return Err(Told);
    }
    let offer = product.offer();
    let written = &book.value;
    if let Some(depth) = &written.depth_max
        && !offer.book_depths.is_empty()
        && !offer.book_depths.contains(&depth.value)
    {
        let list: Vec<String> = offer.book_depths.iter().map(u64::to_string).collect();
        problems.add(
            &depth.spot,
            depth.value.to_string(),
            format!("the venue has books of {}", list.join(", ")),
        );
    }
    match (&written.snapshot_limit, offer.rest_snapshot) {
        (None, true) => {
            let spot = book.spot.member(book.spot.line, "snapshot_limit");
            problems.add(
                &spot,
                "nothing",
                "this key must be there: a book of this venue starts from a REST snapshot",
            );
            return Err(Told);
        }
        (Some(limit), false) => {
            problems.add(
                &limit.spot,
                "a key without use here",
                "the venue's stream brings the snapshot: remove it",
            );
            return Err(Told);
        }
        (Some(limit), true) => {
            if let Some(depth) = &written.depth_max
                && limit.value > depth.value
            {
                problems.add(
                    &limit.spot,
                    limit.value.to_string(),
                    format!("fits up to depth_max ({}): what is beyond would be cut at once", depth.value),
                );
            }
        }
        (None, false) => {}
    }
    Ok(Some(BookPlan {
        depth_max: written.depth_max.as_ref().ok_or(Told)?.value as u32,
        snapshot_limit: written.snapshot_limit.as_ref().map(|limit| limit.value as u32),
        verify_s: written.verify_s.as_ref().ok_or(Told)?.value as u32,
    }))
}

fn resolve_reorder(
    provider: &WrittenProvider,
    shard: Option<ShardIndex>,
    written: &WrittenTopology,
    problems: &mut Problems,
) -> Option<ReorderPlan> {
    let reorder = provider.reorder.as_ref()?;
    if let (Some(lateness), Some(flush)) = (&reorder.lateness_ms, &reorder.flush_ms)
        && flush.value > lateness.value
    {
        problems.add(
            &flush.spot,
            flush.value.to_string(),
            format!(
                "fits up to lateness_ms ({}): a hole would be noticed later than it may last",
                lateness.value
            ),
        );
    }
    if let (Some(held), Some(shard)) = (&reorder.held_events_max, shard)
        && let Some(pools) = written.shards[usize::from(shard.0)].pools
        && held.value > u64::from(pools.events)
    {
        problems.add(
            &held.spot,
            held.value.to_string(),
            format!("fits up to the pool it is held in (pools.events of its shard: {})", pools.events),
        );
    }
    Some(ReorderPlan {
        lateness_ms: reorder.lateness_ms.as_ref()?.value as u32,
        flush_ms: reorder.flush_ms.as_ref()?.value as u32,
        held_events_max: reorder.held_events_max.as_ref()?.value as u32,
    })
}
