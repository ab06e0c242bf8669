//! What the control thread is asked to change, from words to checked values, and the answers to it.

use engine::channel::Channel;
use engine::control::Wanted;
use engine::event::control::Command;
use engine::routing::Delivery;
use serde_json::{Value, json};

use super::merge_order::{JoinOrder, MergedOrder};
use crate::topology::offer::{CHANNEL_KINDS, engine_channel};
use crate::topology::{ProviderPlan, Topology};

/// Symbols that one request may name.
pub const SYMBOLS_MAX: usize = 1_024;
/// Channels that one request may name.
pub const CHANNELS_MAX: usize = 32;

/// Why something cannot be done; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status that says it.
    pub status: u16,
    /// What is wrong.
    pub reason: String,
    /// What would fit.
    pub fits: String,
}

impl Refusal {
    /// A refusal with its reason and what would fit.
    pub fn new(status: u16, reason: impl Into<String>, fits: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), fits: fits.into() }
    }
}

/// Which instruments of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Symbols {
    /// All that it has now.
    All,
    /// These, by canonical symbol.
    Listed(Vec<String>),
}

/// One channel and what a full ring means for it.
pub type ChannelOrder = (Channel, Delivery);

/// What can be asked to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Streams of one provider for one consumer.
    Streams(Order),
    /// A merge rule, and perhaps a consumer of it.
    Join(Box<JoinOrder>),
    /// The end of a merge rule, by name.
    EndMerge(String),
    /// What a rule joins, for one consumer.
    Merged(MergedOrder),
}

impl Change {
    /// Whom it concerns, and who is told.
    pub fn consumer(&self) -> Option<usize> {
        match self {
            Self::Streams(order) => Some(order.consumer),
            Self::Join(order) => order.consumer,
            Self::EndMerge(_) => None,
            Self::Merged(order) => Some(order.consumer),
        }
    }

    /// What the consumer is told that was asked.
    pub fn command(&self) -> Command {
        match self {
            Self::Streams(order) if order.subscribe => Command::Subscribe,
            Self::Streams(_) | Self::EndMerge(_) => Command::Unsubscribe,
            Self::Join(order) => order.command(),
            Self::Merged(order) => order.command,
        }
    }
}

/// Streams that one consumer is to receive, or no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whether it begins or ends.
    pub subscribe: bool,
    /// Index of the consumer in the topology.
    pub consumer: usize,
    /// Index of the provider in the topology.
    pub provider: usize,
    /// Which instruments.
    pub symbols: Symbols,
    /// Which channels.
    pub channels: Vec<ChannelOrder>,
    /// Levels a side of its books.
    pub book_depth: usize,
}

impl Order {
    /// The order of a request's body.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn of_json(topology: &Topology, subscribe: bool, body: &Value) -> Result<Self, Refusal> {
        let object = body.as_object().ok_or_else(|| {
            Refusal::new(
                400,
                "the body is not a JSON object",
                "{\"consumer\": .., \"provider\": .., \"instruments\": .., \"channels\": ..}",
            )
        })?;
        let keys = ["consumer", "provider", "instruments", "channels", "delivery", "book_depth"];
        if let Some(key) = object.keys().find(|key| !keys.contains(&key.as_str())) {
            return Err(Refusal::new(400, format!("unknown key {key:?}"), keys.join(", ")));
        }
        let text = |key: &str| {
            let found = object.get(key).and_then(Value::as_str);
            found.ok_or_else(|| {
                Refusal::new(400, format!("{key} is not a text"), format!("the name of a {key}"))
            })
        };
        let consumer = consumer_of(topology, text("consumer")?)?;
        let provider = provider_of(topology, text("provider")?)?;
        let plan = &topology.providers[provider];
        let symbols = match object.get("instruments") {
            Some(Value::String(all)) if all == "all" => Symbols::All,
            Some(Value::Array(list)) if !list.is_empty() && list.len() <= SYMBOLS_MAX => {
                let symbols: Option<Vec<String>> =
                    list.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                let symbols = symbols.filter(|symbols| symbols.iter().all(|symbol| is_symbol(symbol)));
                Symbols::Listed(symbols.ok_or_else(|| {
                    Refusal::new(
                        422,
                        "an instrument is no canonical symbol",
                        "BASE-QUOTE in upper case, up to 32 bytes",
                    )
                })?)
            }
            _ => {
                let fits = format!("\"all\", or a list of 1 to {SYMBOLS_MAX} symbols");
                return Err(Refusal::new(400, "instruments does not fit", fits));
            }
        };
        let wanted = match object.get("channels") {
            Some(Value::Array(list)) if !list.is_empty() && list.len() <= CHANNELS_MAX => list,
            _ => {
                let fits =
                    format!("a list of 1 to {CHANNELS_MAX} channels, for example [\"trade\", \"kline 1m\"]");
                return Err(Refusal::new(400, "channels does not fit", fits));
            }
        };
        let rules = object.get("delivery");
        if rules.is_some_and(|rules| !rules.is_object()) {
            return Err(Refusal::new(400, "delivery is not an object", "{\"trade\": \"lossless\"}"));
        }
        let mut channels = Vec::new();
        for item in wanted {
            let text =
                item.as_str().ok_or_else(|| Refusal::new(400, "a channel is not a text", "\"trade\""))?;
            let channel = channel_of(plan, text)?;
            let kind = text.split_ascii_whitespace().next().unwrap_or_default();
            let rule = rules.and_then(|rules| rules.get(text).or_else(|| rules.get(kind)));
            let delivery = match rule {
                None => None,
                Some(rule) => Some(rule.as_str().and_then(delivery_of).ok_or_else(|| {
                    Refusal::new(
                        422,
                        format!("delivery of {text} has no such class"),
                        "lossless, latest or book",
                    )
                })?),
            };
            channels.push((channel, checked_delivery(channel, delivery)?));
        }
        let depth = match object.get("book_depth") {
            None => None,
            Some(Value::String(full)) if full == "full" => None,
            Some(value) => Some(value.as_u64().filter(|levels| *levels > 0).ok_or_else(|| {
                Refusal::new(400, "book_depth does not fit", "levels a side, 1 or more, or \"full\"")
            })? as usize),
        };
        let book_depth = checked_depth(topology, plan, consumer, &channels, depth)?;
        Ok(Self { subscribe, consumer, provider, symbols, channels, book_depth })
    }

    /// The order of a consumer's own request.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn of_wanted(
        topology: &Topology,
        subscribe: bool,
        consumer: usize,
        wanted: &Wanted,
    ) -> Result<Self, Refusal> {
        let provider = wanted.provider.index();
        let plan = topology.providers.get(provider).ok_or_else(|| {
            Refusal::new(
                404,
                "no such provider",
                format!("0 to {}", topology.providers.len().saturating_sub(1)),
            )
        })?;
        if !is_symbol(&wanted.symbol) {
            return Err(Refusal::new(422, "no canonical symbol", "BASE-QUOTE in upper case"));
        }
        let channel = channel_of(plan, &wanted.channel.to_string())?;
        let channels = vec![(channel, checked_delivery(channel, wanted.delivery)?)];
        let book_depth = checked_depth(topology, plan, consumer, &channels, wanted.book_depth)?;
        let symbols = Symbols::Listed(vec![wanted.symbol.to_string()]);
        Ok(Self { subscribe, consumer, provider, symbols, channels, book_depth })
    }
}

/// The consumer of a name.
///
/// # Errors
/// 404 with the names that there are.
pub fn consumer_of(topology: &Topology, name: &str) -> Result<usize, Refusal> {
    let names = || topology.consumers.iter().map(|consumer| consumer.name.as_str());
    names().position(|known| known == name).ok_or_else(|| {
        Refusal::new(404, format!("no consumer {name:?}"), names().collect::<Vec<_>>().join(", "))
    })
}

/// The provider of this name.
///
/// # Errors
/// 404 with the names that there are.
pub fn provider_of(topology: &Topology, name: &str) -> Result<usize, Refusal> {
    let names = || topology.providers.iter().map(|provider| provider.name.as_str());
    names().position(|known| known == name).ok_or_else(|| {
        Refusal::new(404, format!("no provider {name:?}"), names().collect::<Vec<_>>().join(", "))
    })
}

pub(super) fn is_symbol(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    text.len() <= engine::control::SYMBOL_BYTES_MAX
        && text.split_once('-').is_some_and(|(base, quote)| part(base) && quote.split('-').all(part))
}

/// A channel in the spelling of reports (`kline 1m`, `book`), among those that the provider's product offers. A book
/// without a speed is the provider's own, if it has one.
pub(super) fn channel_of(plan: &ProviderPlan, text: &str) -> Result<Channel, Refusal> {
    let mut words = text.split_ascii_whitespace();
    let kind = words.next().unwrap_or_default();
    let parameter = words.next();
    let offer = plan.product.offer();
    let fits = || {
        let offered = offer.channels.iter().map(|(kind, parameters)| match parameters {
            ["" | "realtime"] => kind.name().to_owned(),
            _ => format!("{} {}", kind.name(), parameters.join("|")),
        });
        offered.collect::<Vec<_>>().join(", ")
    };
    let refuse = || Refusal::new(422, format!("no channel {text:?} at this provider"), fits());
    let (_, kind) = CHANNEL_KINDS.iter().find(|(name, _)| *name == kind).ok_or_else(refuse)?;
    let own = plan.channels.iter().find(|own| own.kind == *kind && engine_channel(**own).is_book());
    if let (Some(own), None) = (own, parameter) {
        return Ok(engine_channel(*own));
    }
    let channel = offer.channel(*kind, parameter).map_err(|_| refuse())?;
    if words.next().is_some() {
        return Err(refuse());
    }
    if let Some(own) = own
        && *own != channel
    {
        // One instrument has one book: two speeds of it would not fit together.
        let fits = engine_channel(*own).to_string();
        return Err(Refusal::new(422, format!("{text:?} beside the provider's own book"), fits));
    }
    Ok(engine_channel(channel))
}

pub(super) fn delivery_of(text: &str) -> Option<Delivery> {
    [Delivery::Latest, Delivery::Book, Delivery::Lossless].into_iter().find(|rule| rule.name() == text)
}

fn checked_delivery(channel: Channel, wanted: Option<Delivery>) -> Result<Delivery, Refusal> {
    let delivery = wanted.unwrap_or(Delivery::default_of(channel));
    if delivery.is_allowed_for(channel) {
        return Ok(delivery);
    }
    let all = [Delivery::Latest, Delivery::Book, Delivery::Lossless];
    let fits: Vec<&str> =
        all.iter().filter(|rule| rule.is_allowed_for(channel)).map(|rule| rule.name()).collect();
    Err(Refusal::new(422, format!("{channel} cannot be delivered as {}", delivery.name()), fits.join(", ")))
}

fn checked_depth(
    topology: &Topology,
    plan: &ProviderPlan,
    consumer: usize,
    channels: &[ChannelOrder],
    wanted: Option<usize>,
) -> Result<usize, Refusal> {
    if !channels.iter().any(|(channel, _)| channel.is_book()) {
        return match wanted {
            Some(_) => Err(Refusal::new(
                422,
                "book_depth without a book",
                "a book among the channels, or no book_depth",
            )),
            None => Ok(0),
        };
    }
    let Some(book) = plan.book else {
        return Err(Refusal::new(
            422,
            format!("provider {} keeps no books", plan.name),
            "a provider with book: in the topology",
        ));
    };
    let kept = book.depth_max as usize;
    let depth = wanted.unwrap_or(kept);
    if depth > kept {
        return Err(Refusal::new(
            422,
            format!("book_depth {depth}"),
            format!("up to {kept}, which the provider keeps"),
        ));
    }
    let shard = topology.shard(topology.consumers[consumer].shard);
    let ring_events = shard.rings().map_or(0, |rings| rings.ring_events as usize);
    if 2 * engine::event::book_parts(depth, depth) > ring_events {
        let fits = ring_events / 2 * engine::event::LEVELS_PER_PART / 2;
        let reason = format!("a book of {depth} levels a side does not fit the ring of shard {}", shard.name);
        return Err(Refusal::new(422, reason, format!("book_depth up to {fits}")));
    }
    Ok(depth)
}

/// What a change led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The routing version that contains it.
    pub version: u32,
    /// Streams that it changed; 0 when all was so already.
    pub stream_count: usize,
}

impl Changed {
    /// As a document.
    pub fn to_json(self) -> Value {
        json!({
            "routing_version": self.version,
            "changed": self.stream_count > 0,
            "streams_changed": self.stream_count,
        })
    }
}
