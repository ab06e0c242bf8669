//! `topology.yaml` as it is written: one struct a mapping of the file, each value with its line.
//!
//! A field is `None` when its key is missing or does not fit; the problem has then been added. What one key alone cannot
//! show (names that do not exist, rings too small) is not looked at here: `resolve.rs` does that.

mod provider;

use std::net::SocketAddr;

use super::bounds::{self, Bound};
use super::keys::{At, Found, Keys};
use super::offer::{CHANNEL_KINDS, ChannelKind, Offer, Product};
use super::options::{ConsumerOptions, read_options};
use super::plan::{CapturePlan, Delivery, HostMode, MergeKind, OnPanic, OnStall, Pools, RingSizes};
use super::problem::{Problems, Spot, did_you_mean, quoted};
use super::trading::{JournalPlan, LimitsPlan, WrittenOrders, read_journal, read_limits};
use super::yaml::{Node, Value};
use provider::read_provider;
pub(super) use provider::read_url;

/// The file.
pub(super) struct WrittenTopology {
    pub host: Option<At<HostMode>>,
    pub shards: Vec<WrittenShard>,
    pub simulated: Option<At<WrittenSimulated>>,
    pub providers: Vec<WrittenProvider>,
    pub merges: Vec<WrittenMerge>,
    pub consumers: Vec<WrittenConsumer>,
    pub journal: Option<At<Option<JournalPlan>>>,
    pub control: Option<WrittenControl>,
    pub report: Option<WrittenReport>,
    pub watchdog: Option<WrittenWatchdog>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WrittenRole {
    Provider,
    Merger,
    Consumer,
}

pub(super) struct WrittenShard {
    pub spot: Spot,
    pub name: Option<At<String>>,
    pub core: Option<At<u64>>,
    pub role: Option<At<WrittenRole>>,
    pub pools: Option<Pools>,
    pub rings: Option<WrittenRings>,
    pub order_ring_requests: Option<u32>,
}

pub(super) struct WrittenRings {
    pub sizes: RingSizes,
    /// Where `ring_events` and `spill_events` stand: both must hold the largest event.
    pub ring_spot: Spot,
    pub spill_spot: Spot,
}

pub(super) struct WrittenSimulated {
    pub seed: Option<u64>,
    pub messages_per_instrument_per_s: Option<u32>,
    pub speed_permille: Option<u32>,
    pub book_levels: Option<u32>,
}

#[derive(Clone, Debug)]
pub(super) enum WrittenEndpoints {
    Simulated,
    Live,
    Testnet,
    Explicit { websocket: Option<String>, rest: Option<String>, ca_file: Option<String> },
}

pub(super) struct WrittenBook {
    pub depth_max: Option<At<u64>>,
    pub snapshot_limit: Option<At<u64>>,
    pub verify_s: Option<At<u64>>,
}

pub(super) struct WrittenReorder {
    pub lateness_ms: Option<At<u64>>,
    pub flush_ms: Option<At<u64>>,
    pub held_events_max: Option<At<u64>>,
}

pub(super) struct WrittenRoll {
    pub after_h: Option<At<u64>>,
    /// Minutes of the UTC day: from, to.
    pub quiet_min: Option<(u32, u32)>,
}

pub(super) struct WrittenProvider {
    pub spot: Spot,
    pub name: Option<At<String>>,
    pub product: Option<At<Product>>,
    pub shard: Option<At<String>>,
    pub endpoints: Option<At<WrittenEndpoints>>,
    pub lines: Option<u8>,
    pub instruments: Option<At<Vec<At<String>>>>,
    pub channels: Option<At<Vec<At<WrittenChannel>>>>,
    pub book: Option<At<WrittenBook>>,
    pub rest_weight_share_permille: Option<At<u32>>,
    pub reorder: Option<WrittenReorder>,
    pub orders: Option<WrittenOrders>,
    pub roll: Option<WrittenRoll>,
    pub capture: Option<At<Option<CapturePlan>>>,
}

/// `trade`, or `{kline: 1m}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WrittenChannel {
    pub kind: ChannelKind,
    pub parameter: Option<String>,
}

pub(super) struct WrittenMerge {
    pub name: Option<At<String>>,
    pub shard: Option<At<String>>,
    pub kind: Option<At<MergeKind>>,
    pub inputs: Vec<(At<String>, Vec<At<String>>)>,
    pub window_s: Option<u32>,
    pub count: Option<u32>,
    pub leg_age_ms: Option<u32>,
}

pub(super) struct WrittenConsumer {
    pub name: Option<At<String>>,
    pub kind: Option<At<String>>,
    pub shard: Option<At<String>>,
    pub trading: Option<bool>,
    pub limits: Option<LimitsPlan>,
    pub on_panic: Option<OnPanic>,
    pub options: Option<ConsumerOptions>,
    pub subscriptions: Vec<WrittenSubscription>,
}

pub(super) enum WrittenSubscription {
    Market {
        spot: Spot,
        provider: Option<At<String>>,
        instruments: Option<WrittenInstruments>,
        channels: Vec<At<WrittenChannel>>,
        delivery: Vec<(At<ChannelKind>, At<Delivery>)>,
        /// Where `delivery:` stands, if it does.
        delivery_spot: Option<Spot>,
        book_depth: Option<At<WrittenDepth>>,
    },
    Merged {
        merge: At<String>,
        delivery: Option<Delivery>,
    },
    /// Neither, and said so.
    Unreadable,
}

pub(super) enum WrittenInstruments {
    All,
    Listed(Vec<At<String>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WrittenDepth {
    Full,
    Levels(u64),
}

pub(super) struct WrittenControl {
    pub listen: Option<At<SocketAddr>>,
    /// `None` inside: `any`.
    pub core: Option<At<Option<u64>>>,
    pub token_file: Option<At<String>>,
}

pub(super) struct WrittenReport {
    pub dir: Option<String>,
    pub interval_ms: Option<u32>,
}

pub(super) struct WrittenWatchdog {
    pub stall_ms: Option<u32>,
    pub then: Option<OnStall>,
}

/// Reads the whole file; `kinds` are the consumers that the program knows.
pub(super) fn read(root: &Node, kinds: &[&str], problems: &mut Problems) -> Option<WrittenTopology> {
    let root = Found { spot: Spot { line: root.line, key: String::new() }, node: root };
    let mut keys = root.keys(problems)?;
    if let Some(version) = keys.must("version", problems) {
        version.integer(bounds::VERSION, problems);
    }
    let host = keys.must("host", problems).and_then(|host| {
        host.word(&[("shared", HostMode::Shared), ("dedicated", HostMode::Dedicated)], problems)
    });
    let shards = elements(&mut keys, "shards", 1, bounds::SHARDS_MAX, problems, read_shard);
    let simulated = keys.may("simulated").and_then(|found| read_simulated(&found, problems));
    let providers = elements(&mut keys, "providers", 1, bounds::PROVIDERS_MAX, problems, read_provider);
    let merges = elements(&mut keys, "merges", 0, bounds::MERGES_MAX, problems, read_merge);
    let consumers =
        elements(&mut keys, "consumers", 1, bounds::CONSUMERS_MAX, problems, |found, problems| {
            read_consumer(found, kinds, problems)
        });
    let journal = keys.may("journal").map(|found| found.at(read_journal(&found, problems)));
    let control = keys.must("control", problems).and_then(|found| read_control(&found, problems));
    let report = keys.must("report", problems).and_then(|found| read_report(&found, problems));
    let watchdog = keys.may("watchdog").and_then(|found| read_watchdog(&found, problems));
    keys.close(problems);
    Some(WrittenTopology {
        host,
        shards,
        simulated,
        providers,
        merges,
        consumers,
        journal,
        control,
        report,
        watchdog,
    })
}

/// Reads each element of the list under `name`.
fn elements<T>(
    keys: &mut Keys<'_>,
    name: &'static str,
    min: usize,
    max: usize,
    problems: &mut Problems,
    mut read: impl FnMut(&Found<'_>, &mut Problems) -> Option<T>,
) -> Vec<T> {
    let Some(list) = keys.must(name, problems) else { return Vec::new() };
    list.list(min, max, name, problems).iter().filter_map(|found| read(found, problems)).collect()
}

fn integer(
    keys: &mut Keys<'_>,
    name: &'static str,
    bound: Bound,
    problems: &mut Problems,
) -> Option<At<u64>> {
    keys.must(name, problems)?.integer(bound, problems)
}

/// The same for values whose bound fits 32 bits.
fn count(keys: &mut Keys<'_>, name: &'static str, bound: Bound, problems: &mut Problems) -> Option<u32> {
    let number = integer(keys, name, bound, problems)?.value;
    Some(u32::try_from(number).expect("the bounds of counts fit 32 bits"))
}

fn name(keys: &mut Keys<'_>, key: &'static str, problems: &mut Problems) -> Option<At<String>> {
    keys.must(key, problems)?.name(problems)
}

fn read_shard(found: &Found<'_>, problems: &mut Problems) -> Option<WrittenShard> {
    const ROLES: [(&str, WrittenRole); 3] = [
        ("provider", WrittenRole::Provider),
        ("merger", WrittenRole::Merger),
        ("consumer", WrittenRole::Consumer),
    ];
    let mut keys = found.keys(problems)?;
    let own_name = name(&mut keys, "name", problems);
    let core = integer(&mut keys, "core", bounds::CORE, problems);
    let role = keys.must("role", problems).and_then(|role| role.word(&ROLES, problems));
    let (mut pools, mut rings, mut order_ring_requests) = (None, None, None);
    let written = role.as_ref().map(|role| role.value);
    let without = |keys: &mut Keys<'_>, names: &[&'static str], why: &str, problems: &mut Problems| {
        for name in names {
            keys.must_not(name, why, problems);
        }
    };
    const RINGS: [&str; 4] = ["ring_events", "critical_ring_events", "spill_events", "fairness"];
    match written {
        Some(WrittenRole::Provider) => {
            pools = keys.must("pools", problems).and_then(|found| read_pools(&found, problems));
            order_ring_requests =
                count(&mut keys, "order_ring_requests", bounds::ORDER_RING_REQUESTS, problems);
            without(
                &mut keys,
                &RINGS,
                "event rings belong to the shards that receive: merger, consumer",
                problems,
            );
        }
        Some(WrittenRole::Merger) => {
            pools = keys.must("pools", problems).and_then(|found| read_pools(&found, problems));
            rings = read_rings(&mut keys, problems);
            without(&mut keys, &["order_ring_requests"], "order rings belong to provider shards", problems);
        }
        Some(WrittenRole::Consumer) => {
            rings = read_rings(&mut keys, problems);
            without(&mut keys, &["pools"], "pools belong to provider and merger shards", problems);
            without(&mut keys, &["order_ring_requests"], "order rings belong to provider shards", problems);
        }
        None => {
            // Without a role nobody can say which of these belong here: none of them is called unknown.
            for name in ["pools", "order_ring_requests"].iter().chain(&RINGS) {
                keys.may(name);
            }
        }
    }
    let spot = found.spot.clone();
    keys.close(problems);
    Some(WrittenShard { spot, name: own_name, core, role, pools, rings, order_ring_requests })
}

fn read_rings(keys: &mut Keys<'_>, problems: &mut Problems) -> Option<WrittenRings> {
    let events = integer(keys, "ring_events", bounds::RING_EVENTS, problems);
    let critical = count(keys, "critical_ring_events", bounds::CRITICAL_RING_EVENTS, problems);
    let spill = integer(keys, "spill_events", bounds::SPILL_EVENTS, problems);
    let fairness = keys.may("fairness").map(|found| read_fairness(&found, problems));
    let default = engine::dispatch::Fairness::DEFAULT;
    let (high_water_permille, burst_events) =
        fairness.unwrap_or(Some((default.high_water_permille, default.burst_events)))?;
    let (events, spill) = (events?, spill?);
    let sizes = RingSizes {
        ring_events: u32::try_from(events.value).expect("the bound fits 32 bits"),
        critical_ring_events: critical?,
        spill_events: u32::try_from(spill.value).expect("the bound fits 32 bits"),
        high_water_permille,
        burst_events,
    };
    Some(WrittenRings { sizes, ring_spot: events.spot, spill_spot: spill.spot })
}

fn read_fairness(found: &Found<'_>, problems: &mut Problems) -> Option<(u16, u16)> {
    let (min, max, why) = bounds::HIGH_WATER_PERMILLE;
    let mut keys = found.keys(problems)?;
    let high_water =
        keys.must("high_water", problems).and_then(|found| found.permille(min, max, why, problems));
    let burst = count(&mut keys, "burst_events", bounds::BURST_EVENTS, problems);
    keys.close(problems);
    let fits = "the bounds fit 16 bits";
    Some((u16::try_from(high_water?.value).expect(fits), u16::try_from(burst?).expect(fits)))
}

fn read_pools(found: &Found<'_>, problems: &mut Problems) -> Option<Pools> {
    let mut keys = found.keys(problems)?;
    let frames = count(&mut keys, "frames", bounds::POOL, problems);
    let raws = count(&mut keys, "raws", bounds::POOL, problems);
    let events = count(&mut keys, "events", bounds::POOL, problems);
    let merged = count(&mut keys, "merged", bounds::POOL_RARE, problems);
    let order_requests = count(&mut keys, "order_requests", bounds::POOL_RARE, problems);
    let execution_reports = count(&mut keys, "execution_reports", bounds::POOL_RARE, problems);
    keys.close(problems);
    Some(Pools {
        frames: frames?,
        raws: raws?,
        events: events?,
        merged: merged?,
        order_requests: order_requests?,
        execution_reports: execution_reports?,
    })
}

fn read_simulated(found: &Found<'_>, problems: &mut Problems) -> Option<At<WrittenSimulated>> {
    let mut keys = found.keys(problems)?;
    let seed = integer(&mut keys, "seed", bounds::SEED, problems).map(|at| at.value);
    let rate = count(&mut keys, "messages_per_instrument_per_s", bounds::SIMULATED_RATE, problems);
    let speed_permille = keys.must("speed", problems).and_then(|speed| {
        speed.permille(10, 100_000, "simulated seconds in a real one", problems).map(|at| at.value)
    });
    let book_levels = count(&mut keys, "book_levels", bounds::SIMULATED_LEVELS, problems);
    keys.close(problems);
    Some(found.at(WrittenSimulated {
        seed,
        messages_per_instrument_per_s: rate,
        speed_permille,
        book_levels,
    }))
}

/// Canonical symbols, each once.
fn read_symbols(found: &Found<'_>, problems: &mut Problems) -> Vec<At<String>> {
    let mut symbols: Vec<At<String>> = Vec::new();
    for element in found.list(1, bounds::INSTRUMENTS_MAX, "symbols", problems) {
        let Some(symbol) = read_symbol(&element, problems) else { continue };
        if let Some(first) = symbols.iter().find(|known| known.value == symbol) {
            problems.add(
                &element.spot,
                format!("{} again", quoted(&symbol)),
                format!("fits once (it is already on line {})", first.spot.line),
            );
            continue;
        }
        symbols.push(element.at(symbol));
    }
    symbols
}

fn read_symbol(found: &Found<'_>, problems: &mut Problems) -> Option<String> {
    const FITS: &str = "fits BASE-QUOTE in upper case, such as BTC-USDT";
    let part = |text: &str| {
        (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    let Value::Scalar { text, .. } = &found.node.value else { return found.misfit(FITS, problems) };
    match text.split_once('-') {
        Some((base, quote)) if part(base) && part(quote) && base != quote => Some(text.clone()),
        _ => {
            let guess = text.to_uppercase().replace(['/', '_'], "-");
            match guess.split_once('-') {
                Some((base, quote)) if part(base) && part(quote) && guess != *text => {
                    found.misfit(format!("did you mean '{guess}'? ({FITS})"), problems)
                }
                _ => found.misfit(FITS, problems),
            }
        }
    }
}

/// `[trade, {kline: 1m}]`, each once.
fn read_channels(found: &Found<'_>, problems: &mut Problems) -> Vec<At<WrittenChannel>> {
    let mut channels: Vec<At<WrittenChannel>> = Vec::new();
    for element in found.list(1, bounds::CHANNELS_MAX, "channels", problems) {
        let Some(channel) = read_channel(&element, problems) else { continue };
        if channels.iter().any(|known| known.value == channel) {
            problems.add(&element.spot, "the same channel again", "fits once");
            continue;
        }
        channels.push(element.at(channel));
    }
    channels
}

fn read_channel(found: &Found<'_>, problems: &mut Problems) -> Option<WrittenChannel> {
    match &found.node.value {
        Value::Scalar { .. } => {
            Some(WrittenChannel { kind: found.word(&CHANNEL_KINDS, problems)?.value, parameter: None })
        }
        Value::Mapping(entries) if entries.len() == 1 => {
            let entry = &entries[0];
            let kind = kind_of_key(&entry.key, &found.spot.member(entry.line, "channel"), problems)?;
            let value = Found { spot: found.spot.member(entry.line, kind.name()), node: &entry.value };
            let parameter = value.text("the channel's speed, levels or interval", problems)?.to_owned();
            Some(WrittenChannel { kind, parameter: Some(parameter) })
        }
        _ => found.misfit("fits one channel: trade, or with a parameter {kline: 1m}", problems),
    }
}

fn kind_of_key(key: &str, spot: &Spot, problems: &mut Problems) -> Option<ChannelKind> {
    let known = CHANNEL_KINDS.iter().find(|(name, _)| *name == key);
    if known.is_none() {
        let names: Vec<&str> = CHANNEL_KINDS.iter().map(|(name, _)| *name).collect();
        problems.add(spot, quoted(key), did_you_mean(key, &names));
    }
    known.map(|(_, kind)| *kind)
}

fn read_merge(found: &Found<'_>, problems: &mut Problems) -> Option<WrittenMerge> {
    const KINDS: [(&str, MergeKind); 5] = [
        ("trade", MergeKind::Trade),
        ("ticker", MergeKind::Ticker),
        ("kline", MergeKind::Kline),
        ("bbo", MergeKind::Bbo),
        ("book_bbo", MergeKind::BookBbo),
    ];
    let mut keys = found.keys(problems)?;
    let own_name = name(&mut keys, "name", problems);
    let shard = name(&mut keys, "shard", problems);
    let kind = keys.must("kind", problems).and_then(|kind| kind.word(&KINDS, problems));
    let mut inputs = Vec::new();
    if let Some(found) = keys.must("inputs", problems)
        && let Some(providers) = found.keys(problems)
    {
        for (provider, list) in providers.all() {
            let symbols = read_symbols(&list, problems);
            inputs.push((At { spot: list.spot.clone(), value: provider.to_owned() }, symbols));
        }
        if inputs.len() < 2 {
            problems.add(
                &found.spot,
                format!("{} provider", inputs.len()),
                "fits two or more: one has nothing to join",
            );
        }
    }
    let window_s = count(&mut keys, "window_s", bounds::WINDOW_S, problems);
    let merge_count = count(&mut keys, "count", bounds::MERGE_COUNT, problems);
    let is_best = kind.as_ref().is_some_and(|kind| kind.value.is_best());
    let leg_age_ms = if is_best {
        keys.may("leg_age_ms").and_then(|found| found.integer(bounds::LEG_AGE_MS, problems))
    } else {
        keys.must_not(
            "leg_age_ms",
            "it belongs to the kinds bbo and book_bbo: windows have no legs",
            problems,
        );
        None
    };
    let leg_age_ms = leg_age_ms.map(|age| age.value as u32);
    // The only policy there is; written so that a reader of the file knows what happens.
    if let Some(partial) = keys.must("partial", problems) {
        partial.word(&[("suppress", ())], problems);
    }
    keys.close(problems);
    Some(WrittenMerge { name: own_name, shard, kind, inputs, window_s, count: merge_count, leg_age_ms })
}

fn read_consumer(found: &Found<'_>, kinds: &[&str], problems: &mut Problems) -> Option<WrittenConsumer> {
    let mut keys = found.keys(problems)?;
    let own_name = name(&mut keys, "name", problems);
    let kind = name(&mut keys, "kind", problems).and_then(|kind| {
        if kinds.contains(&kind.value.as_str()) {
            return Some(kind);
        }
        problems.add(&kind.spot, quoted(&kind.value), did_you_mean(&kind.value, kinds));
        None
    });
    let shard = name(&mut keys, "shard", problems);
    let trading = keys.must("trading", problems).and_then(|found| found.boolean(problems)).map(|at| at.value);
    let limits = keys.may("limits").map_or(Some(LimitsPlan::NONE), |found| read_limits(&found, problems));
    let on_panic = keys.must("on_panic", problems).and_then(|found| {
        let words = [("restart", OnPanic::Restart), ("disable", OnPanic::Disable)];
        found.word(&words, problems).map(|at| at.value)
    });
    let options = read_options(&mut keys, kind.as_ref().map(|kind| kind.value.as_str()), problems);
    let subscriptions =
        elements(&mut keys, "subscriptions", 0, bounds::SUBSCRIPTIONS_MAX, problems, |found, problems| {
            Some(read_subscription(found, problems).unwrap_or(WrittenSubscription::Unreadable))
        });
    keys.close(problems);
    Some(WrittenConsumer { name: own_name, kind, shard, trading, limits, on_panic, options, subscriptions })
}

fn read_subscription(found: &Found<'_>, problems: &mut Problems) -> Option<WrittenSubscription> {
    const MARKET: &str = "a subscription names a merge rule or a provider, not both";
    let mut keys = found.keys(problems)?;
    if let Some(merge) = keys.may("merge") {
        let merge = merge.name(problems);
        let delivery = keys.must("delivery", problems).and_then(|found| {
            let words = [("lossless", Delivery::Lossless), ("latest", Delivery::Latest)];
            found.word(&words, problems).map(|at| at.value)
        });
        for name in ["provider", "instruments", "channels", "book_depth"] {
            keys.must_not(name, MARKET, problems);
        }
        keys.close(problems);
        return Some(WrittenSubscription::Merged { merge: merge?, delivery });
    }
    let provider = name(&mut keys, "provider", problems);
    let instruments = keys.must("instruments", problems).map(|found| match &found.node.value {
        Value::Scalar { text, .. } if text == "all" => WrittenInstruments::All,
        Value::Sequence(_) => WrittenInstruments::Listed(read_symbols(&found, problems)),
        _ => {
            let _: Option<()> = found.misfit("fits all, or a list of the provider's symbols", problems);
            WrittenInstruments::Listed(Vec::new())
        }
    });
    let channels =
        keys.must("channels", problems).map_or_else(Vec::new, |found| read_channels(&found, problems));
    let mut delivery = Vec::new();
    let mut delivery_spot = None;
    if let Some(found) = keys.must("delivery", problems)
        && let Some(classes) = found.keys(problems)
    {
        delivery_spot = Some(found.spot.clone());
        let words =
            [("lossless", Delivery::Lossless), ("book", Delivery::Book), ("latest", Delivery::Latest)];
        for (key, class) in classes.all() {
            let kind = kind_of_key(key, &class.spot, problems);
            let chosen = class.word(&words, problems);
            if let (Some(kind), Some(chosen)) = (kind, chosen) {
                delivery.push((class.at(kind), chosen));
            }
        }
    }
    let book_depth = keys.may("book_depth").and_then(|found| match &found.node.value {
        Value::Scalar { text, .. } if text == "full" => Some(found.at(WrittenDepth::Full)),
        Value::Scalar { text, plain: true } if text.parse::<u64>().is_ok() => {
            let levels = found.integer(bounds::BOOK_DEPTH, problems)?;
            Some(found.at(WrittenDepth::Levels(levels.value)))
        }
        _ => found.misfit("fits full, or a number of levels a side", problems),
    });
    let spot = found.spot.clone();
    keys.close(problems);
    Some(WrittenSubscription::Market {
        spot,
        provider,
        instruments,
        channels,
        delivery,
        delivery_spot,
        book_depth,
    })
}

fn read_control(found: &Found<'_>, problems: &mut Problems) -> Option<WrittenControl> {
    let mut keys = found.keys(problems)?;
    let listen = keys.must("listen", problems).and_then(|found| match &found.node.value {
        Value::Scalar { text, .. } if text.parse::<SocketAddr>().is_ok() => {
            text.parse().ok().map(|at| found.at(at))
        }
        _ => found.misfit("fits ADDRESS:PORT, such as 127.0.0.1:9464 (port 0: any free one)", problems),
    });
    let core = keys.must("core", problems).and_then(|found| match &found.node.value {
        Value::Scalar { text, .. } if text == "any" => Some(found.at(None)),
        Value::Scalar { text, plain: true } if text.parse::<u64>().is_ok() => {
            let core = found.integer(bounds::CORE, problems)?;
            Some(found.at(Some(core.value)))
        }
        _ => found.misfit("fits any, or a core number", problems),
    });
    let token_file = keys.may("token_file").and_then(|found| {
        let text = found.text("the path of a file that holds the token", problems)?.to_owned();
        Some(found.at(text))
    });
    keys.close(problems);
    Some(WrittenControl { listen, core, token_file })
}

fn read_report(found: &Found<'_>, problems: &mut Problems) -> Option<WrittenReport> {
    let mut keys = found.keys(problems)?;
    let dir = keys
        .must("dir", problems)
        .and_then(|found| found.text("the path of a directory", problems).map(str::to_owned));
    let interval_ms = count(&mut keys, "interval_ms", bounds::INTERVAL_MS, problems);
    keys.close(problems);
    Some(WrittenReport { dir, interval_ms })
}

fn read_watchdog(found: &Found<'_>, problems: &mut Problems) -> Option<WrittenWatchdog> {
    let mut keys = found.keys(problems)?;
    let stall_ms = count(&mut keys, "stall_ms", bounds::STALL_MS, problems);
    let then = keys
        .must("then", problems)
        .and_then(|then| then.word(&[("report", OnStall::Report), ("abort", OnStall::Abort)], problems));
    keys.close(problems);
    Some(WrittenWatchdog { stall_ms, then: then.map(|then| then.value) })
}

impl WrittenChannel {
    /// The channel that the product offers under this spelling.
    pub(super) fn of(&self, offer: &Offer) -> Result<super::offer::Channel, String> {
        offer.channel(self.kind, self.parameter.as_deref())
    }
}
