//! What the file says of orders: a consumer's limits, a provider's keys, the journal. Written and checked in one place.
//!
//! A key or secret never stands in the file, and what looks like one is never shown in a message.

use std::path::PathBuf;

use engine::decimal::Number;
use engine::orders::check::BookPolicy;
use engine::orders::ledger::OnSessionLoss;

use super::bounds;
use super::keys::{At, Found};
use super::offer::Product;
use super::plan::Endpoints;
use super::problem::{Problems, Spot, quoted};
use super::written::{WrittenTopology, read_url};
use super::yaml::Value;

/// What a consumer's orders may be, at each provider. `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitsPlan {
    /// Largest quantity of an order, in the base asset.
    pub qty_max: Option<Number>,
    /// Largest price times quantity of an order, in the quote asset.
    pub notional_max: Option<Number>,
    /// Most orders open at once.
    pub open_orders_max: Option<u32>,
    /// Most orders within any second.
    pub orders_per_s_max: Option<u32>,
    /// How far through the other side's best price a limit price may be, in hundredths of a percent.
    pub collar_bp: Option<u32>,
    /// Which orders need a proved book.
    pub book: BookPolicy,
}

impl LimitsPlan {
    /// No limit; market orders only on a proved book.
    pub const NONE: Self = Self {
        qty_max: None,
        notional_max: None,
        open_orders_max: None,
        orders_per_s_max: None,
        collar_bp: None,
        book: BookPolicy::MarketOrders,
    };
}

/// How a provider trades.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OrdersPlan {
    /// Whether it has a session for orders at all.
    pub enabled: bool,
    /// Where its keys are; `None` for a simulated venue, which issues its own.
    pub keys: Option<KeySource>,
    /// The connection for orders, where `endpoints` are explicit and it is not that of the market data.
    pub websocket: Option<String>,
    /// What happens to open orders when a session was lost.
    pub on_session_loss: OnSessionLoss,
    /// What happens to open orders when the gateway ends.
    pub on_stop: OnStop,
}

/// What happens to open orders when the gateway ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStop {
    /// They go on; the next run finds them through the journal.
    Keep,
    /// They are cancelled, as far as the venue answers in time.
    CancelMine,
}

/// Where a key is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file that nobody else may read.
    File(PathBuf),
    /// A variable of the environment.
    Env(String),
}

/// Where intents and outcomes of orders are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalPlan {
    /// Directory that has one directory a provider.
    pub dir: PathBuf,
    /// What a crash may cost.
    pub durability: Durability,
    /// Size from which a file is followed by the next, in bytes.
    pub rotate_bytes: u64,
    /// Files kept, the current one counted.
    pub keep: u32,
}

impl JournalPlan {
    /// A plan that no file says, for a simulation.
    pub const fn new(dir: PathBuf, durability: Durability, rotate_bytes: u64, keep: u32) -> Self {
        Self { dir, durability, rotate_bytes, keep }
    }
}

/// When an order may leave, compared with its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After its intent is on the disk: no crash, not even of the host, forgets an order.
    Sync,
    /// At once; records follow within milliseconds. The venue is asked for what a crash forgot.
    Batch,
}

// --- as written ----------------------------------------------------------------------------------------------------

/// `providers[].orders`.
pub(super) struct WrittenOrders {
    pub spot: Spot,
    pub enabled: Option<bool>,
    pub keys: Option<At<Option<KeySource>>>,
    pub websocket: Option<At<Option<String>>>,
    pub on_session_loss: Option<OnSessionLoss>,
    pub on_stop: Option<OnStop>,
}

const NEVER_HERE: &str = "fits {file: PATH} or {env: NAME}; keys and secrets are never written in this file";

pub(super) fn read_orders(found: &Found<'_>, problems: &mut Problems) -> Option<WrittenOrders> {
    let mut keys = found.keys(problems)?;
    let enabled = keys.must("enabled", problems).and_then(|found| found.boolean(problems)).map(|at| at.value);
    let source = keys.may("keys").map(|found| {
        let source = read_source(&found, problems);
        found.at(source)
    });
    let websocket = keys.may("websocket").map(|found| {
        let url = read_url(&found, "wss", "ws", problems);
        found.at(url)
    });
    let on_session_loss = keys.must("on_session_loss", problems).and_then(|found| {
        let words = [("keep", OnSessionLoss::Keep), ("cancel_mine", OnSessionLoss::CancelMine)];
        found.word(&words, problems).map(|at| at.value)
    });
    let on_stop = keys.must("on_stop", problems).and_then(|found| {
        let words = [("keep", OnStop::Keep), ("cancel_mine", OnStop::CancelMine)];
        found.word(&words, problems).map(|at| at.value)
    });
    let spot = found.spot.clone();
    keys.close(problems);
    Some(WrittenOrders { spot, enabled, keys: source, websocket, on_session_loss, on_stop })
}

/// Nothing of what stands there is shown: it may be the secret itself.
fn read_source(found: &Found<'_>, problems: &mut Problems) -> Option<KeySource> {
    let Value::Mapping(_) = found.node.value else {
        problems.add(&found.spot, "a value in the place of keys", NEVER_HERE);
        return None;
    };
    let mut keys = found.keys(problems)?;
    let (file, env) = (keys.may("file"), keys.may("env"));
    keys.close(problems);
    let scalar = |found: &Found<'_>| match &found.node.value {
        Value::Scalar { text, .. } => text.clone(),
        _ => String::new(),
    };
    match (file, env) {
        (Some(file), None) => {
            let path = scalar(&file);
            let begins = ["/", "./", "../"].iter().any(|begin| path.starts_with(begin));
            let plain = path.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            if begins && plain && path.len() <= 512 {
                return Some(KeySource::File(PathBuf::from(path)));
            }
            problems.add(
                &file.spot,
                "something that is no path",
                "fits the path of a file, beginning with /, ./ or ../; keys and secrets are never written in this file",
            );
            None
        }
        (None, Some(env)) => {
            let name = scalar(&env);
            let fits = (1..=64).contains(&name.len())
                && name.starts_with(|first: char| first.is_ascii_uppercase())
                && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            if fits {
                return Some(KeySource::Env(name));
            }
            problems.add(
                &env.spot,
                "something that is no name",
                "fits the name of a variable, A-Z, 0-9 and _, a letter first; keys and secrets are never written in this file",
            );
            None
        }
        _ => {
            problems.add(&found.spot, "not one of file and env", NEVER_HERE);
            None
        }
    }
}

pub(super) fn read_limits(found: &Found<'_>, problems: &mut Problems) -> Option<LimitsPlan> {
    let mut keys = found.keys(problems)?;
    let mut plan = LimitsPlan::NONE;
    let mut whole = true;
    for (name, slot) in [("qty_max", &mut plan.qty_max), ("notional_max", &mut plan.notional_max)] {
        if let Some(found) = keys.may(name) {
            *slot = read_number(&found, problems);
            whole &= slot.is_some();
        }
    }
    for (name, bound, slot) in [
        ("open_orders_max", bounds::OPEN_ORDERS_MAX, &mut plan.open_orders_max),
        ("orders_per_s_max", bounds::ORDERS_PER_S_MAX, &mut plan.orders_per_s_max),
        ("collar_bp", bounds::COLLAR_BP, &mut plan.collar_bp),
    ] {
        if let Some(found) = keys.may(name) {
            *slot = found.integer(bound, problems).map(|at| at.value as u32);
            whole &= slot.is_some();
        }
    }
    if let Some(found) = keys.may("book_proved_for") {
        let words = [
            ("none", BookPolicy::Ignore),
            ("market_orders", BookPolicy::MarketOrders),
            ("all_orders", BookPolicy::AllOrders),
        ];
        match found.word(&words, problems) {
            Some(policy) => plan.book = policy.value,
            None => whole = false,
        }
    }
    keys.close(problems);
    whole.then_some(plan)
}

fn read_number(found: &Found<'_>, problems: &mut Problems) -> Option<Number> {
    if let Value::Scalar { text, .. } = &found.node.value
        && let Ok(number) = Number::parse(text.as_bytes())
        && number.mantissa > 0
    {
        return Some(number);
    }
    found.misfit("fits a decimal number above 0, such as 0.5", problems)
}

pub(super) fn read_journal(found: &Found<'_>, problems: &mut Problems) -> Option<JournalPlan> {
    let mut keys = found.keys(problems)?;
    let dir = keys.must("dir", problems).and_then(|found| found.text("the path of a directory", problems));
    let durability = keys.must("durability", problems).and_then(|found| {
        let words = [("sync", Durability::Sync), ("batch", Durability::Batch)];
        found.word(&words, problems)
    });
    let rotate = keys
        .must("rotate_mib", problems)
        .and_then(|found| found.integer(bounds::JOURNAL_ROTATE_MIB, problems));
    let keep = keys.must("keep", problems).and_then(|found| found.integer(bounds::JOURNAL_KEEP, problems));
    keys.close(problems);
    Some(JournalPlan {
        dir: PathBuf::from(dir?),
        durability: durability?.value,
        rotate_bytes: rotate?.value << 20,
        keep: keep?.value as u32,
    })
}

// --- checked -------------------------------------------------------------------------------------------------------

/// What a provider's `orders` come to. `None` beside a problem that has been told, or rightly nothing.
pub(super) fn resolve_orders(
    written: Option<&WrittenOrders>,
    product: Option<Product>,
    endpoints: Option<&Endpoints>,
    problems: &mut Problems,
) -> Option<OrdersPlan> {
    let written = written?;
    let enabled = written.enabled?;
    if let (Some(product), true) = (product, enabled)
        && !matches!(product, Product::BinanceSpot | Product::KrakenSpot | Product::CoinbaseAdvanced)
    {
        problems.add(
            &written.spot,
            format!("orders at {} {}", product.venue(), product.name()),
            "fits: binance spot, kraken spot, coinbase advanced; remove it, or set enabled: false",
        );
        return None;
    }
    let simulated = matches!(endpoints, Some(Endpoints::Simulated));
    match &written.keys {
        Some(at) if simulated => problems.add(
            &at.spot,
            "a key without use here",
            "a simulated venue issues throw-away keys when it starts: remove it",
        ),
        None if enabled && endpoints.is_some() && !simulated => problems.add(
            &written.spot.member(written.spot.line, "keys"),
            "nothing",
            format!("this key must be there where orders are enabled: {NEVER_HERE}"),
        ),
        _ => {}
    }
    if let Some(at) = &written.websocket
        && !matches!(endpoints, Some(Endpoints::Explicit { .. }) | None)
    {
        problems.add(&at.spot, "a key without use here", "fits beside explicit endpoints only");
    }
    let unread = |at: &At<Option<KeySource>>| at.value.is_none();
    if written.keys.as_ref().is_some_and(unread) {
        return None; // told
    }
    Some(OrdersPlan {
        enabled,
        keys: written.keys.as_ref().and_then(|at| at.value.clone()),
        websocket: written.websocket.as_ref().and_then(|at| at.value.clone()),
        on_session_loss: written.on_session_loss?,
        on_stop: written.on_stop?,
    })
}

/// Orders need a journal, and a journal orders.
pub(super) fn check_journal(written: &WrittenTopology, problems: &mut Problems) {
    let trades = written
        .providers
        .iter()
        .find(|provider| provider.orders.as_ref().is_some_and(|orders| orders.enabled == Some(true)));
    match (trades, &written.journal) {
        (Some(provider), None) if !problems.has("journal") => {
            let name = provider.name.as_ref().map_or("?", |name| name.value.as_str());
            problems.add(
                &Spot { line: provider.spot.line, key: "journal".to_owned() },
                "nothing",
                format!("this key must be there, since provider {} sends orders", quoted(name)),
            );
        }
        _ => {}
    }
}
