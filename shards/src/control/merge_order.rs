//! What the control thread is asked about merge rules, from words to checked values.

use engine::channel::{Channel, Interval};
use engine::control::{MergeWanted, WantedRule};
use engine::event::control::Command;
use engine::merge::rules::{WINDOW_COUNT_MAX, WINDOW_NS_MAX};
use engine::merge::{BboSource, MergeKind};
use engine::routing::Delivery;
use serde_json::Value;

use super::order::{
    Change, Refusal, SYMBOLS_MAX, channel_of, consumer_of, delivery_of, is_symbol, provider_of,
};
use crate::topology::rules::interval_of;
use crate::topology::{ProviderIndex, Topology};

/// Bytes of the longest name of a rule, as of any name in the topology: it becomes a label of metrics.
const NAME_BYTES_MAX: usize = 32;
const SECOND_NS: u64 = 1_000_000_000;
/// Longest age of a leg that can be asked for, in milliseconds, as in the topology.
const LEG_AGE_MS_MAX: u64 = 3_600_000;

/// A merge rule that is to be made, or to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinOrder {
    /// Its name.
    pub name: String,
    /// Index in the topology of the merge shard that owns it; `None` for the first one.
    pub shard: Option<usize>,
    /// What is joined.
    pub kind: MergeKind,
    /// From whom.
    pub inputs: Vec<JoinInput>,
    /// Length of a window, in nanoseconds.
    pub window_ns: u64,
    /// Events that close a window early.
    pub count: u32,
    /// Age at which a leg is given up, in nanoseconds.
    pub leg_age_ns_max: u64,
    /// A consumer that is to receive what it joins.
    pub consumer: Option<usize>,
    /// What a full ring means for that.
    pub delivery: Delivery,
    /// The consumer itself asked: the rule ends with its last consumer.
    pub from_inside: bool,
}

/// What one provider gives to a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinInput {
    /// Index of the provider in the topology.
    pub provider: usize,
    /// Canonical symbols.
    pub symbols: Vec<String>,
    /// The channel that is joined.
    pub channel: Channel,
}

/// A consumer begins or ends to receive what a rule joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedOrder {
    /// Whether it begins or ends.
    pub subscribe: bool,
    /// Index of the consumer in the topology.
    pub consumer: usize,
    /// The rule's name.
    pub rule: String,
    /// What a full ring means.
    pub delivery: Delivery,
    /// What the consumer is told that was asked.
    pub command: Command,
}

impl JoinOrder {
    /// What the consumer is told that was asked.
    pub const fn command(&self) -> Command {
        Command::Merge
    }

    /// The order of a request's body.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn of_json(topology: &Topology, body: &Value) -> Result<Self, Refusal> {
        const KEYS: [&str; 10] = [
            "name",
            "shard",
            "kind",
            "inputs",
            "window_s",
            "count",
            "partial",
            "leg_age_ms",
            "consumer",
            "delivery",
        ];
        let object = body.as_object().ok_or_else(|| {
            let fits = "{\"name\": .., \"kind\": .., \"inputs\": {PROVIDER: [SYMBOL]}, \"window_s\": 10, \"count\": 1000}";
            Refusal::new(400, "the body is not a JSON object", fits)
        })?;
        if let Some(key) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(Refusal::new(400, format!("unknown key {key:?}"), KEYS.join(", ")));
        }
        let text = |key: &str, fits: &str| {
            let found = object.get(key).and_then(Value::as_str);
            found.ok_or_else(|| Refusal::new(400, format!("{key} is not a text"), fits))
        };
        let name = name_of(body)?;
        let shard = if object.contains_key("shard") {
            let wanted = text("shard", "the name of a shard with role: merger")?;
            let found = topology.shards.iter().position(|shard| shard.name == wanted);
            // The controller says which there are.
            Some(found.unwrap_or(usize::MAX))
        } else {
            None
        };
        let Some(Value::Object(inputs)) = object.get("inputs") else {
            return Err(Refusal::new(400, "inputs is not an object", "{PROVIDER: [SYMBOL, ..], ..}"));
        };
        let mut by_provider = Vec::new();
        for (provider, symbols) in inputs {
            let provider = provider_of(topology, provider)?;
            let list = symbols.as_array().ok_or_else(|| {
                Refusal::new(400, "the instruments of a provider are no list", "[\"BTC-USDT\"]")
            })?;
            let symbols: Option<Vec<String>> =
                list.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            by_provider.push((provider, symbols.unwrap_or_default()));
        }
        let providers: Vec<usize> = by_provider.iter().map(|&(provider, _)| provider).collect();
        let kind = kind_of(topology, text("kind", KINDS)?, &providers)?;
        let windowed = kind.is_windowed();
        let number = |key: &str, max: u64, needed: bool, fits: &str| match object.get(key) {
            None if !needed => Ok(None),
            value => value
                .and_then(Value::as_u64)
                .filter(|number| (1..=max).contains(number))
                .map(Some)
                .ok_or_else(|| Refusal::new(422, format!("{key} does not fit"), fits)),
        };
        let window_s_max = WINDOW_NS_MAX / SECOND_NS;
        let window_fits = format!("1 to {window_s_max} seconds");
        let window_s = number("window_s", window_s_max, windowed, &window_fits)?;
        let count_fits = format!("one event a provider to {WINDOW_COUNT_MAX}");
        let count = number("count", u64::from(WINDOW_COUNT_MAX), windowed, &count_fits)?;
        let leg_age_ms =
            number("leg_age_ms", LEG_AGE_MS_MAX, false, &format!("1 to {LEG_AGE_MS_MAX}, or left out"))?;
        if leg_age_ms.is_some() && windowed {
            return Err(Refusal::new(422, "leg_age_ms for windows", "the kinds bbo and book_bbo"));
        }
        if object.get("partial").is_some_and(|partial| partial != "suppress") {
            return Err(Refusal::new(422, "partial does not fit", "suppress"));
        }
        let consumer = match object.get("consumer") {
            None => None,
            Some(_) => Some(consumer_of(topology, text("consumer", "the name of a consumer")?)?),
        };
        Ok(Self {
            name,
            shard,
            kind,
            inputs: inputs_of(topology, kind, by_provider)?,
            window_ns: window_s.unwrap_or(0) * SECOND_NS,
            count: count.unwrap_or(0) as u32,
            leg_age_ns_max: leg_age_ms.map_or(u64::MAX, |age_ms| age_ms * 1_000_000),
            consumer,
            delivery: delivery_of_json(object.get("delivery"))?,
            from_inside: false,
        })
    }
}

impl MergedOrder {
    /// The order of a request's body with `merge`.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn of_json(topology: &Topology, subscribe: bool, body: &Value) -> Result<Self, Refusal> {
        let keys = ["consumer", "merge", "delivery"];
        let unknown =
            body.as_object().and_then(|object| object.keys().find(|key| !keys.contains(&key.as_str())));
        if let Some(key) = unknown {
            return Err(Refusal::new(400, format!("{key:?} beside merge"), keys.join(", ")));
        }
        let text = |key: &str| {
            let found = body.get(key).and_then(Value::as_str);
            found.ok_or_else(|| Refusal::new(400, format!("{key} is not a text"), format!("a {key}'s name")))
        };
        let consumer = consumer_of(topology, text("consumer")?)?;
        let delivery = delivery_of_json(body.get("delivery"))?;
        let command = if subscribe { Command::Subscribe } else { Command::Unsubscribe };
        Ok(Self { subscribe, consumer, rule: text("merge")?.to_owned(), delivery, command })
    }
}

impl Change {
    /// What a consumer asks for with `merged_subscribe`.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn of_merge_wanted(
        topology: &Topology,
        consumer: usize,
        wanted: &MergeWanted,
    ) -> Result<Self, Refusal> {
        let delivery = checked(wanted.delivery.unwrap_or(Delivery::Lossless))?;
        let Some(rule) = &wanted.rule else {
            let (rule, command) = (wanted.name.clone(), Command::Merge);
            return Ok(Self::Merged(MergedOrder { subscribe: true, consumer, rule, delivery, command }));
        };
        if !is_name(&wanted.name) {
            return Err(bad_name());
        }
        let WantedRule { kind, inputs, window_ns, count, leg_age_ns_max } = rule;
        let unknown = inputs.iter().find(|(provider, _)| provider.index() >= topology.providers.len());
        if let Some((provider, _)) = unknown {
            return Err(Refusal::new(404, format!("no provider {provider}"), "a provider of the topology"));
        }
        let kind = match *kind {
            MergeKind::Bbo(BboSource::Book { .. }) => MergeKind::Bbo(BboSource::BEST_OF_BOOK),
            kind => kind,
        };
        let by_provider =
            inputs.iter().map(|(provider, symbols)| (provider.index(), symbols.clone())).collect();
        Ok(Self::Join(Box::new(JoinOrder {
            name: wanted.name.clone(),
            shard: None,
            kind,
            inputs: inputs_of(topology, kind, by_provider)?,
            window_ns: *window_ns,
            count: *count,
            leg_age_ns_max: *leg_age_ns_max,
            consumer: Some(consumer),
            delivery,
            from_inside: true,
        })))
    }

    /// What a consumer asks for with `merged_unsubscribe`.
    pub fn of_unmerge(consumer: usize, name: &str) -> Self {
        let (rule, command) = (name.to_owned(), Command::Unsubscribe);
        Self::Merged(MergedOrder { subscribe: false, consumer, rule, delivery: Delivery::Lossless, command })
    }
}

const KINDS: &str = "trade, ticker, kline, \"kline 1m\", bbo or book_bbo";

/// The name of a rule in a body.
///
/// # Errors
/// [`Refusal`]
pub fn name_of(body: &Value) -> Result<String, Refusal> {
    let name = body
        .get("name")
        .and_then(Value::as_str)
        .ok_or_else(|| Refusal::new(400, "name is not a text", "{\"name\": ..}, the name of a merge rule"))?;
    if is_name(name) { Ok(name.to_owned()) } else { Err(bad_name()) }
}

fn bad_name() -> Refusal {
    let fits = format!("up to {NAME_BYTES_MAX} of a-z, 0-9 and _, a letter first");
    Refusal::new(422, "name does not fit", fits)
}

fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn kind_of(topology: &Topology, text: &str, providers: &[usize]) -> Result<MergeKind, Refusal> {
    let refuse = || Refusal::new(422, format!("no kind {text:?}"), KINDS);
    Ok(match text.split_once(' ') {
        None => match text {
            "trade" => MergeKind::Trade,
            "ticker" => MergeKind::Ticker,
            "bbo" => MergeKind::Bbo(BboSource::Ticker),
            "book_bbo" => MergeKind::Bbo(BboSource::BEST_OF_BOOK),
            "kline" => {
                let providers: Vec<_> =
                    providers.iter().map(|&provider| ProviderIndex(provider as u8)).collect();
                let common = interval_of(topology, &providers).ok_or_else(|| {
                    let reason = "the providers have no kline of the same length in the topology";
                    Refusal::new(422, reason, "a length, as in \"kline 1m\"")
                })?;
                MergeKind::Kline(common)
            }
            _ => return Err(refuse()),
        },
        Some(("kline", length)) => {
            MergeKind::Kline(Interval::from_bytes(length.as_bytes()).ok_or_else(refuse)?)
        }
        Some(_) => return Err(refuse()),
    })
}

/// What each provider gives: symbols that are spelled right, on a channel that it offers.
fn inputs_of(
    topology: &Topology,
    kind: MergeKind,
    by_provider: Vec<(usize, Vec<String>)>,
) -> Result<Vec<JoinInput>, Refusal> {
    let channel = match kind {
        MergeKind::Trade => "trade".to_owned(),
        MergeKind::Kline(interval) => Channel::Kline(interval).to_string(),
        MergeKind::Ticker | MergeKind::Bbo(BboSource::Ticker) => "ticker".to_owned(),
        MergeKind::Bbo(BboSource::Book { .. }) => "book".to_owned(),
    };
    let one = |(provider, symbols): (usize, Vec<String>)| {
        let plan = &topology.providers[provider];
        if symbols.is_empty()
            || symbols.len() > SYMBOLS_MAX
            || !symbols.iter().all(|symbol| is_symbol(symbol))
        {
            let reason = format!("the instruments of {} do not fit", plan.name);
            let fits = format!("1 to {SYMBOLS_MAX} of BASE-QUOTE in upper case, up to 32 bytes each");
            return Err(Refusal::new(422, reason, fits));
        }
        if channel == "book" && plan.book.is_none() {
            let reason = format!("provider {} keeps no books", plan.name);
            return Err(Refusal::new(422, reason, "a provider with book: in the topology, or the kind bbo"));
        }
        Ok(JoinInput { provider, symbols, channel: channel_of(plan, &channel)? })
    };
    by_provider.into_iter().map(one).collect()
}

fn delivery_of_json(value: Option<&Value>) -> Result<Delivery, Refusal> {
    match value {
        None => Ok(Delivery::Lossless),
        Some(value) => {
            let delivery = value.as_str().and_then(delivery_of);
            checked(delivery.ok_or_else(|| Refusal::new(422, "delivery has no such class", DELIVERIES))?)
        }
    }
}

const DELIVERIES: &str = "lossless or latest";

fn checked(delivery: Delivery) -> Result<Delivery, Refusal> {
    if delivery == Delivery::Book {
        return Err(Refusal::new(422, "merged streams cannot be delivered as book", DELIVERIES));
    }
    Ok(delivery)
}
