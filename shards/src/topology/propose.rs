//! `topology plan`: a file for this host and a wish. What it writes is read back by the same reader as any file.
//!
//! Cores are given out by four rules, each said in the file beside what it decided: isolated cores first; the network card's NUMA
//! node first; one thread of a physical core only; and the lowest core stays with the kernel, the supervisor and the control
//! endpoint.

use std::fmt::Write as _;

use super::numbered;
use super::offer::{ChannelKind, Product};
use crate::host::{CpuSet, HostFacts, HostView, siblings};

/// Base currencies, the most traded first; what simulated venues list too.
pub const BASES: [&str; 50] = [
    "BTC", "ETH", "SOL", "BNB", "XRP", "DOGE", "ADA", "AVAX", "LINK", "DOT", "LTC", "BCH", "TRX", "UNI",
    "ATOM", "ETC", "XLM", "NEAR", "APT", "FIL", "ARB", "OP", "SUI", "INJ", "AAVE", "MKR", "RUNE", "GRT",
    "ALGO", "ICP", "HBAR", "VET", "SAND", "MANA", "AXS", "EGLD", "XTZ", "THETA", "EOS", "FTM", "GALA", "CRV",
    "LDO", "IMX", "STX", "TIA", "SEI", "PEPE", "WIF", "SHIB",
];

/// Fewest and most slots of a proposed ring.
const RING_EVENTS: std::ops::RangeInclusive<usize> = 4_096..=65_536;
/// Slots of a ring for each stream's instrument that feeds it: 8192 for the shipped file's 150.
const RING_EVENTS_PER_INSTRUMENT: usize = 54;

/// How shards are to idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// As the host allows: dedicated if isolated cores suffice, else shared.
    Fitting,
    /// Every shard spins on a core of its own.
    Latency,
    /// Shards park when idle.
    Shared,
}

/// What a topology is wanted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// One provider each.
    pub venues: Vec<Product>,
    /// Instruments of each venue, at most [`BASES`].
    pub instruments: usize,
    /// Consumers.
    pub consumers: usize,
    /// How shards idle.
    pub aim: Aim,
    /// The venues as they are; else simulated ones.
    pub live: bool,
}

/// Where things go.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Placement {
    dedicated: bool,
    /// Cores of provider shards, then of consumer shards.
    providers: Vec<u32>,
    consumers: Vec<u32>,
    housekeeping: CpuSet,
    reasons: Vec<String>,
}

/// A topology for this host, as the text of a file.
///
/// # Errors
///
/// What does not fit, in words.
pub fn propose(wish: &Wish, host: &dyn HostView) -> Result<String, String> {
    if wish.venues.is_empty() {
        return Err("no venue: --venues binance,kraken,coinbase".to_owned());
    }
    let bookless = wish
        .venues
        .iter()
        .find(|venue| !venue.offer().channels.iter().any(|(kind, _)| *kind == ChannelKind::Book));
    if let Some(product) = bookless {
        return Err(format!(
            "{} {} has no books: write its provider by hand",
            product.venue(),
            product.name()
        ));
    }
    if !(1..=BASES.len()).contains(&wish.instruments) {
        return Err(format!(
            "{} instruments: 1 to {} fit, more have to be named in the file",
            wish.instruments,
            BASES.len()
        ));
    }
    if !(1..=32).contains(&wish.consumers) {
        return Err(format!("{} consumers: 1 to 32 fit", wish.consumers));
    }
    let facts = HostFacts::gather(host);
    let placement = place(wish, &facts, host)?;
    Ok(write(wish, &placement))
}

/// The cores that may be used, the best first: isolated, on the card's node, one thread of each physical core.
fn candidates(facts: &HostFacts, host: &dyn HostView, reasons: &mut Vec<String>) -> Result<Vec<u32>, String> {
    let cores = facts.cores.as_ref().ok_or("the cores of this host cannot be seen: mount /sys and /proc")?;
    let usable = cores.online.intersection(&cores.allowed);
    let booted = facts.isolated.clone().unwrap_or_default();
    let partition = facts.cpuset.as_ref().filter(|group| group.isolated).map(|group| group.cores.clone());
    let isolated: CpuSet = booted.iter().chain(partition.unwrap_or_default().iter()).collect();
    let isolated = isolated.intersection(&usable);
    let node = facts.interfaces.iter().find_map(|card| Some((card.name.as_str(), card.node?)));
    let near = match node {
        Some((card, node)) if facts.nodes.len() > 1 => {
            reasons.push(format!("{card} hangs on NUMA node {node}: its cores come first"));
            facts.nodes.iter().find(|(number, _)| *number == node).map(|(_, cores)| cores.clone())
        }
        _ => None,
    };
    let mut physical: Vec<u32> = Vec::new();
    let mut threads_left_out = Vec::new();
    for core in usable.iter() {
        let taken = siblings(host, core).is_some_and(|of| of.iter().any(|other| physical.contains(&other)));
        if taken { threads_left_out.push(core) } else { physical.push(core) }
    }
    if !threads_left_out.is_empty() {
        let cores: CpuSet = threads_left_out.into_iter().collect();
        reasons.push(format!(
            "cores {cores} are second threads of other cores and stay idle: a busy sibling costs up to half"
        ));
    }
    physical.sort_by_key(|core| {
        let far = near.as_ref().is_some_and(|near| !near.contains(*core));
        (!isolated.contains(*core), far, *core)
    });
    if isolated.is_empty() {
        reasons.push("no core is isolated: meltica doctor says how".to_owned());
    } else {
        reasons.push(format!("cores {isolated} are isolated and come first"));
    }
    Ok(physical)
}

fn place(wish: &Wish, facts: &HostFacts, host: &dyn HostView) -> Result<Placement, String> {
    let mut reasons = Vec::new();
    let order = candidates(facts, host, &mut reasons)?;
    let isolated = |core: u32| facts.isolated.as_ref().is_some_and(|set| set.contains(core));
    // The lowest core takes what nobody placed: interrupts, timers, this program's supervisor.
    let kernel_core = order.iter().copied().filter(|core| !isolated(*core)).min();
    let spare: Vec<u32> = order.iter().copied().filter(|core| Some(*core) != kernel_core).collect();
    let isolated_count = spare.iter().filter(|core| isolated(**core)).count();
    let dedicated = match wish.aim {
        Aim::Latency => true,
        Aim::Shared => false,
        Aim::Fitting => isolated_count >= 2,
    };
    if dedicated && spare.len() < 2 {
        return Err(format!(
            "latency needs 3 physical cores (one a provider shard, one a consumer shard, one for everything else); this process has {}; --shared fits",
            order.len()
        ));
    }
    let (venues, consumers) = (wish.venues.len(), wish.consumers);
    if dedicated {
        // Each gets one at least; the rest goes where it helps most: providers have the most to do.
        let room = spare.len();
        let mut provider_shards = venues.min(room - 1);
        let consumer_shards = consumers.min(room - provider_shards);
        if provider_shards > 1
            && consumer_shards < consumers
            && venues > 1
            && consumer_shards * venues < provider_shards * consumers
        {
            provider_shards = (room / 2).clamp(1, provider_shards);
        }
        let consumer_shards = consumers.min(room - provider_shards);
        reasons.push(format!(
            "{} of {} free cores: {provider_shards} for providers, {consumer_shards} for consumers; each spins",
            provider_shards + consumer_shards,
            room
        ));
        let used: Vec<u32> = spare[..provider_shards + consumer_shards].to_vec();
        let housekeeping = order.iter().copied().filter(|core| !used.contains(core)).collect();
        let (providers, consumers) = used.split_at(provider_shards);
        return Ok(Placement {
            dedicated,
            providers: providers.to_vec(),
            consumers: consumers.to_vec(),
            housekeeping,
            reasons,
        });
    }
    let mut order = order;
    order.sort_unstable();
    let count = order.len();
    let provider_shards = venues.min((count / 2).max(1));
    let consumer_shards = consumers.min((count - count.min(provider_shards)).max(1));
    reasons.push("shards park when idle; others may work on their cores too".to_owned());
    let at = |index: usize| order[index % count];
    Ok(Placement {
        dedicated,
        providers: (0..provider_shards).map(at).collect(),
        consumers: (0..consumer_shards).map(|index| at(provider_shards + index)).collect(),
        housekeeping: order.iter().copied().skip(provider_shards + consumer_shards).collect(),
        reasons,
    })
}

/// The provider's name: the venue's, with its product where a venue comes twice.
fn provider_name(wish: &Wish, product: Product) -> String {
    let twice = wish.venues.iter().filter(|other| other.venue() == product.venue()).count() > 1;
    if twice { format!("{}_{}", product.venue(), product.name()) } else { product.venue().to_owned() }
}

fn write(wish: &Wish, placement: &Placement) -> String {
    let mut text = String::new();
    let venues: Vec<String> = wish.venues.iter().map(|product| provider_name(wish, *product)).collect();
    let _ = writeln!(
        text,
        "# Proposed by `meltica topology plan` for this host: {} with {} each, {}.\n\
         # Every key is explained in the shipped topology.yaml; `meltica topology explain FILE` draws this one.\n#",
        venues.join(", "),
        numbered(wish.instruments, "instrument"),
        numbered(wish.consumers, "consumer")
    );
    for reason in &placement.reasons {
        let _ = writeln!(text, "# - {reason}");
    }
    let rest = if placement.housekeeping.is_empty() {
        "no core is left to the kernel and the supervisor alone: they share those of the shards".to_owned()
    } else {
        format!(
            "cores {} stay with the kernel, the supervisor and the control endpoint",
            placement.housekeeping
        )
    };
    let _ = writeln!(text, "# - {rest}\nversion: 1");
    let _ = writeln!(text, "host: {}", if placement.dedicated { "dedicated" } else { "shared" });
    let _ = writeln!(text, "\nshards:");
    let on = |shards: usize, item: usize| item % shards;
    for (index, core) in placement.providers.iter().enumerate() {
        let own: Vec<&str> = venues
            .iter()
            .enumerate()
            .filter(|(item, _)| on(placement.providers.len(), *item) == index)
            .map(|(_, name)| name.as_str())
            .collect();
        let _ = writeln!(
            text,
            "  - name: md{index}                   # {}\n    core: {core}\n    role: provider\n    \
             pools: {{frames: 200, raws: 200, events: 300, merged: 50, order_requests: 20, execution_reports: 20}}\n    \
             order_ring_requests: 64",
            own.join(", ")
        );
    }
    let wanted = wish.instruments * wish.venues.len() * RING_EVENTS_PER_INSTRUMENT;
    let ring = wanted.next_power_of_two().clamp(*RING_EVENTS.start(), *RING_EVENTS.end());
    for (index, core) in placement.consumers.iter().enumerate() {
        let own: Vec<String> = (0..wish.consumers)
            .filter(|item| on(placement.consumers.len(), *item) == index)
            .map(|item| format!("consumer{item}"))
            .collect();
        let _ = writeln!(
            text,
            "  - name: strategies{index}           # {}\n    core: {core}\n    role: consumer\n    ring_events: {ring}\n    \
             critical_ring_events: 256\n    spill_events: {ring}",
            own.join(", ")
        );
    }
    if !wish.live {
        let _ = writeln!(
            text,
            "\nsimulated: {{seed: 1, messages_per_instrument_per_s: 20, speed: 1.0, book_levels: 500}}"
        );
    }
    let _ = writeln!(text, "\nproviders:");
    for (index, product) in wish.venues.iter().enumerate() {
        write_provider(&mut text, wish, *product, on(placement.providers.len(), index));
    }
    let _ = writeln!(text, "\nmerges: []\n\nconsumers:");
    for index in 0..wish.consumers {
        let shard = on(placement.consumers.len(), index);
        let _ = writeln!(
            text,
            "  - name: consumer{index}\n    kind: stats                   # or the name of a strategy that your program registers\n    \
             shard: strategies{shard}\n    trading: false\n    on_panic: restart\n    subscriptions:"
        );
        for name in &venues {
            let _ = writeln!(
                text,
                "      - provider: {name}\n        instruments: all\n        channels: [trade, book, ticker]\n        \
                 delivery: {{trade: lossless, book: book, ticker: latest}}\n        book_depth: 50"
            );
        }
    }
    let _ = writeln!(
        text,
        "\ncontrol: {{listen: '127.0.0.1:0', core: any}}\nreport: {{dir: report, interval_ms: 1000}}\n\
         watchdog: {{stall_ms: 2000, then: report}}"
    );
    text
}

fn write_provider(text: &mut String, wish: &Wish, product: Product, shard: usize) {
    let offer = product.offer();
    let quote = if product.venue() == "binance" { "USDT" } else { "USD" };
    let symbols: Vec<String> =
        BASES[..wish.instruments].iter().map(|base| format!("{base}-{quote}")).collect();
    let klines =
        offer.channels.iter().find(|(kind, _)| *kind == ChannelKind::Kline).map(|(_, intervals)| *intervals);
    let kline = match klines {
        Some(intervals) if intervals.contains(&"1m") => ", {kline: 1m}",
        _ => "",
    };
    let depth = if offer.book_depths.is_empty() { 10_000 } else { 100 };
    let snapshot = if offer.rest_snapshot { ", snapshot_limit: 1000" } else { "" };
    let (endpoints, lines) = if wish.live { ("live", 2) } else { ("simulated", 1) };
    let _ = writeln!(
        text,
        "  - name: {}\n    venue: {}\n    product: {}\n    shard: md{shard}\n    endpoints: {endpoints}\n    lines: {lines}\n    instruments: [",
        provider_name(wish, product),
        product.venue(),
        product.name()
    );
    for (index, row) in symbols.chunks(10).enumerate() {
        let end = if (index + 1) * 10 >= symbols.len() { "]" } else { "," };
        let _ = writeln!(text, "      {}{end}", row.join(", "));
    }
    let _ = writeln!(
        text,
        "    channels: [trade, book, ticker{kline}]\n    book: {{depth_max: {depth}{snapshot}, verify_s: 180}}\n    \
         rest_weight_share: {}\n    reorder: {{lateness_ms: 150, flush_ms: 50, held_events_max: 200}}",
        // Two products of one venue share its weight by address.
        if wish.venues.iter().filter(|other| other.venue() == product.venue()).count() > 1 {
            "0.4"
        } else {
            "0.8"
        }
    );
}
