//! What operators and consumers ask of the control shard, by seed, and what is expected to come of it.

use engine::channel::Channel;
use engine::control::{Ask, MergeWanted, Wanted, WantedRule};
use engine::ids::ProviderId;
use engine::merge::{BboSource, MergeKind};
use engine::routing::Delivery;
use fastrand::Rng;
use serde_json::{Map, Value, json};
use shards::control::controller::Origin;
use shards::control::merge_order::{JoinOrder, MergedOrder};
use shards::control::order::{Change, Changed, Order, Refusal, Symbols};
use shards::control::server::Ticket;

use super::super::{BASES, PROVIDERS, UNKNOWN, Whole};
use super::{Asked, Control, WantedBack};
use crate::sim::{MS_NS, SECOND_NS};

/// Merge rules that are there at once.
const RULES_MAX: usize = 4;
/// A base that no venue lists.
const NOWHERE: &str = "NOPE";
/// Consumers of the topology, without the observer.
const CONSUMERS: usize = 5;
/// After a change that a venue did not let happen it is asked for again, in nanoseconds.
const AGAIN_NS: u64 = SECOND_NS;

fn quote(provider: usize) -> &'static str {
    if provider == 0 { "USDT" } else { "USD" }
}

fn symbol(provider: usize, base: &str) -> String {
    format!("{base}-{}", quote(provider))
}

fn pick<T: Copy>(rng: &mut Rng, list: &[T]) -> T {
    list[rng.usize(0..list.len())]
}

impl Control {
    /// An operator asks for a change.
    fn ask(&mut self, change: Change, repeats: bool, now_ns: u64) -> Result<(), Refusal> {
        let ticket = Ticket::of(self.asked.len());
        let ahead = self.controller.changes_waiting();
        self.controller.submit(Origin::Operator(ticket), change.clone(), now_ns)?;
        let pace = super::Pace { ahead, ..self.pace.get() };
        self.open.push_back(self.asked.len());
        self.asked.push(Asked { change, pace, repeats, result: None });
        // Its turn with the socket is the controller's, too.
        self.turns_at_ns = now_ns;
        Ok(())
    }

    /// A change of an operator has ended, or nobody knows how it will.
    pub(super) fn ended(&mut self, number: usize, result: Result<Changed, Refusal>, now_ns: u64) {
        self.open.retain(|&open| open != number);
        let quiet_ns = self.asked[number].quiet_ns(self.pace.get().quiet_ns);
        let allowed_ns = self.asked[number].pace.allowed_ns();
        if quiet_ns > allowed_ns {
            let (change, took_ms) = (&self.asked[number].change, quiet_ns / MS_NS);
            let what = format!("{change:?} took {took_ms} ms, none of them waiting for a shard that stood");
            self.broke(what);
        }
        let before = number.checked_sub(1).and_then(|before| self.asked[before].result.clone());
        if let (true, Some(Ok(before)), Ok(again)) = (self.asked[number].repeats, before, &result)
            && (again.stream_count > 0 || again.version != before.version)
        {
            let change = &self.asked[number].change;
            self.broke(format!("{change:?} changed something when it was repeated: {before:?}, {again:?}"));
        }
        self.expect(number, &result);
        for wanted in self.wanted_back.iter_mut().flatten() {
            if *wanted == WantedBack::Asked(number) {
                *wanted = match &result {
                    Ok(_) => WantedBack::There,
                    Err(_) => WantedBack::From(now_ns + AGAIN_NS),
                };
            }
        }
        self.asked[number].result = Some(result);
    }

    /// Who holds what from now on, by the answer to a change.
    fn expect(&mut self, number: usize, result: &Result<Changed, Refusal>) {
        let known = match result {
            Ok(_) => true,
            // Its outcome comes later, and is told to nobody.
            Err(refusal) if refusal.status == 504 => false,
            Err(_) => return,
        };
        let change = self.asked[number].change.clone();
        match &change {
            Change::Streams(order) => {
                let symbols = match &order.symbols {
                    Symbols::Listed(symbols) => symbols.clone(),
                    Symbols::All => BASES.iter().map(|base| symbol(order.provider, base)).collect(),
                };
                for symbol in symbols {
                    for &(channel, _) in &order.channels {
                        let key = (order.consumer, order.provider, symbol.clone(), channel);
                        self.held.insert(key, known.then_some(order.subscribe));
                    }
                }
                if order.symbols == Symbols::All {
                    // Whether the provider knows that one by now is another question.
                    for &(channel, _) in &order.channels {
                        let symbol = symbol(order.provider, UNKNOWN);
                        self.held.insert((order.consumer, order.provider, symbol, channel), None);
                    }
                }
            }
            Change::Join(order) => {
                self.rules.insert(order.name.clone(), known.then_some(true));
            }
            Change::EndMerge(name) => {
                self.rules.insert(name.clone(), known.then_some(false));
            }
            Change::Merged(_) => {}
        }
    }

    /// What a consumer asks for itself is known only when it is told: nothing is expected of it here.
    fn leave_to(&mut self, ask: &Ask, consumer: usize) {
        match ask {
            Ask::Subscribe(wanted) | Ask::Unsubscribe(wanted) => {
                let (provider, symbol) = (wanted.provider.index(), wanted.symbol.to_string());
                self.own_streams.insert((consumer, provider, symbol, wanted.channel));
            }
            Ask::Merge(wanted) => {
                self.own_rules.insert(wanted.name.clone());
            }
            Ask::Unmerge(_) | Ask::Trading(_) => {}
        }
    }

    /// At the end everything is asked for that ever was there, until it is. What consumers asked for before comes first: it may
    /// end what an operator is told to be there.
    pub(super) fn want_back(&mut self, whole: &Whole) {
        let Some(mut wanted) = self.wanted_back.take() else { return };
        let is_idle = self.is_idle(whole);
        for (provider, wanted) in wanted.iter_mut().enumerate() {
            if let WantedBack::From(at_ns) = *wanted
                && whole.now_ns >= at_ns
            {
                if !is_idle {
                    *wanted = WantedBack::From(whole.now_ns + AGAIN_NS);
                    continue;
                }
                let bases = BASES.iter().chain([&UNKNOWN]);
                let symbols: Vec<_> = bases.map(|base| symbol(provider, base)).collect();
                let body = json!({"consumer": "c0", "provider": name_of(provider), "instruments": symbols,
                    "channels": ["trade", "book", "ticker"], "book_depth": 50});
                let order = Order::of_json(self.controller.topology(), true, &body).expect("it fits");
                let number = self.asked.len();
                *wanted = match self.ask(Change::Streams(order), false, whole.now_ns) {
                    Ok(()) => WantedBack::Asked(number),
                    Err(_) => WantedBack::From(whole.now_ns + AGAIN_NS),
                };
            }
        }
        self.wanted_back = Some(wanted);
    }
}

impl Asked {
    /// How long it has taken or took, by the quiet clock.
    pub(super) const fn quiet_ns(&self, now_ns: u64) -> u64 {
        now_ns - self.pace.quiet_ns
    }
}

impl super::Pace {
    /// How long a change may take by the quiet clock: a second, as specified, where few are ahead of it.
    pub(super) const fn allowed_ns(&self) -> u64 {
        SECOND_NS * (1 + self.ahead as u64 / 8)
    }
}

fn name_of(provider: usize) -> &'static str {
    ["binance", "kraken", "coinbase"][provider]
}

impl Whole {
    /// What stands in the topology: half of the subscriptions, and two merge rules.
    pub(in crate::whole) fn begin_controlled(&mut self) {
        let mut control = self.control.take().expect("there is a control shard");
        for consumer in 0..CONSUMERS {
            for provider in 0..PROVIDERS {
                let bases: Vec<&str> = BASES.into_iter().filter(|_| self.chaos.rng.bool()).collect();
                if let Some(change) = streams(&mut self.chaos.rng, &control, true, consumer, provider, &bases)
                {
                    control.ask(change, false, self.now_ns).expect("there is room at the start");
                }
            }
        }
        for _ in 0..2 {
            let (change, _) = join(&mut self.chaos.rng, &mut control);
            control.ask(change, false, self.now_ns).expect("there is room at the start");
        }
        self.control = Some(control);
    }

    /// Somebody asks the control shard for other streams. Says what, for the story.
    pub(in crate::whole) fn ask_for_streams(&mut self) -> Option<String> {
        let mut control = self.control.take()?;
        let rng = &mut self.chaos.rng;
        let (consumer, provider) = (rng.usize(0..CONSUMERS), rng.usize(0..PROVIDERS));
        let subscribe = rng.u8(0..5) < 3;
        let mut bases: Vec<&str> = BASES.into_iter().filter(|_| rng.bool()).collect();
        if rng.u8(0..6) == 0 {
            bases.push(UNKNOWN);
        }
        if rng.u8(0..30) == 0 {
            bases.push(NOWHERE);
        }
        let what = if rng.u8(0..3) == 0 {
            let wanted = wanted(rng, provider, bases.first().copied().unwrap_or(BASES[0]));
            let ask = if subscribe { Ask::Subscribe(wanted) } else { Ask::Unsubscribe(wanted) };
            Some(self.ask_from_inside(&mut control, consumer, ask))
        } else {
            let change = streams(rng, &control, subscribe, consumer, provider, &bases);
            let repeats = rng.u8(0..4) == 0;
            change.map(|change| self.ask_outside(&mut control, change, repeats))
        };
        self.control = Some(control);
        what
    }

    /// Somebody asks the control shard for a merge rule, its end, or what it joins.
    pub(in crate::whole) fn ask_for_rules(&mut self) -> Option<String> {
        let mut control = self.control.take()?;
        let rng = &mut self.chaos.rng;
        let names: Vec<String> =
            control.controller.mergers()[0].rules().iter().map(|known| known.rule.name.clone()).collect();
        let consumer = rng.usize(0..CONSUMERS);
        let what = if names.len() < RULES_MAX && rng.bool() || names.is_empty() {
            let (change, body) = join(rng, &mut control);
            if rng.u8(0..3) == 0 {
                let ask = inside(rng, &body, &change);
                self.ask_from_inside(&mut control, consumer, ask)
            } else {
                let repeats = rng.u8(0..4) == 0;
                self.ask_outside(&mut control, change, repeats)
            }
        } else {
            let name = names[rng.usize(0..names.len())].clone();
            let inside = rng.u8(0..3) == 0;
            let body = json!({"consumer": format!("c{consumer}"), "merge": name, "delivery": delivery(rng)});
            let subscribe = rng.bool();
            if rng.u8(0..3) == 0 {
                let repeats = rng.u8(0..4) == 0;
                self.ask_outside(&mut control, Change::EndMerge(name), repeats)
            } else if inside {
                let ask = if subscribe {
                    Ask::Merge(Box::new(MergeWanted { name, rule: None, delivery: None }))
                } else {
                    Ask::Unmerge(name)
                };
                self.ask_from_inside(&mut control, consumer, ask)
            } else {
                let order = MergedOrder::of_json(control.controller.topology(), subscribe, &body);
                let repeats = rng.u8(0..4) == 0;
                self.ask_outside(&mut control, Change::Merged(order.expect("it fits")), repeats)
            }
        };
        self.control = Some(control);
        Some(what)
    }

    fn ask_outside(&mut self, control: &mut Control, change: Change, repeats: bool) -> String {
        let mut what = format!("an operator asks for {change:?}");
        for again in [false, true].into_iter().take(1 + usize::from(repeats)) {
            if let Err(refusal) = control.ask(change.clone(), again, self.now_ns) {
                what = format!("{what}, refused: {}", refusal.reason);
            } else if again {
                what += ", twice";
            }
        }
        what
    }

    fn ask_from_inside(&mut self, control: &mut Control, consumer: usize, ask: Ask) -> String {
        control.leave_to(&ask, consumer);
        let seated = self.shards.iter().flat_map(|shard| &shard.seated);
        let mut seated = seated.filter(|seated| seated.consumer.index() == consumer);
        let what = format!("consumer {consumer} asks for {ask:?}");
        seated.next().expect("each has its seat").audit.borrow_mut().asks.push_back(ask);
        what
    }

    /// An operator looks at dead letters or latencies.
    pub(in crate::whole) fn ask_questions(&mut self) -> Option<String> {
        let control = self.control.as_mut()?;
        control.questions.0 += 1;
        control.turns_at_ns = self.now_ns;
        let ticket = Ticket::of(usize::MAX);
        if self.chaos.rng.bool() {
            control.controller.ask_letters(ticket, self.now_ns);
            return Some("an operator looks at the dead letters".to_owned());
        }
        control.controller.ask_latencies(ticket, self.now_ns);
        Some("an operator looks at the latencies".to_owned())
    }

    /// An operator has the lines of a provider rolled.
    pub(in crate::whole) fn ask_for_roll(&mut self, provider: usize) -> Option<String> {
        let control = self.control.as_mut()?;
        control.questions.0 += 1;
        control.turns_at_ns = self.now_ns;
        let ticket = Ticket::of(control.rolls.len());
        control.rolls.push(control.pace.get());
        control.controller.ask_roll(ticket, provider, self.now_ns);
        Some(format!("an operator has the lines of provider {provider} rolled"))
    }

    /// A shard, or the control thread, stands still and answers late.
    pub(in crate::whole) fn stand_still(&mut self) -> Option<String> {
        let (rng, now_ns) = (&mut self.chaos.rng, self.now_ns);
        let for_ms = if rng.u8(0..4) == 0 { rng.u64(5_000..7_500) } else { rng.u64(1..1_500) };
        let until_ns = now_ns + for_ms * MS_NS;
        let control = self.control.as_mut()?;
        let who = match rng.usize(0..PROVIDERS + 4) {
            number if number < PROVIDERS => {
                control.shards_stand_until_ns[number] = until_ns;
                format!("the shard of provider {number}")
            }
            PROVIDERS => {
                self.merger_stands_until_ns = until_ns;
                "the merge shard".to_owned()
            }
            number if number < PROVIDERS + 3 => {
                let number = number - PROVIDERS - 1;
                self.shards[number].asleep_until_ns = until_ns;
                format!("shard {number}")
            }
            _ => {
                control.thread_stands_until_ns = until_ns;
                "the control thread".to_owned()
            }
        };
        Some(format!("{who} stands for {for_ms} ms"))
    }

    /// A switch moves: by an operator, or by the consumer's own wish.
    pub(in crate::whole) fn ask_for_switch(&mut self) -> Option<String> {
        let mut control = self.control.take()?;
        let rng = &mut self.chaos.rng;
        let (consumer, on) = (rng.usize(0..CONSUMERS), rng.bool());
        let position = if on { "on" } else { "off" };
        let what = match rng.u8(0..3) {
            0 => {
                control.controller.set_killed(None, on, self.now_ns);
                format!("the kill switch of all is {position}")
            }
            1 => {
                control.controller.set_trading(None, consumer, on, self.now_ns);
                format!("trading of consumer {consumer} is {position}")
            }
            _ => self.ask_from_inside(&mut control, consumer, Ask::Trading(on)),
        };
        self.follow_switches(&mut control);
        self.control = Some(control);
        Some(what)
    }

    /// Faults are over: nobody stands, everybody may trade, no consumer asks for anything that it has not asked for yet, and
    /// everything is asked for again.
    pub(in crate::whole) fn calm_control(&mut self) {
        let Some(mut control) = self.control.take() else { return };
        control.shards_stand_until_ns = [0; PROVIDERS];
        control.thread_stands_until_ns = 0;
        control.controller.set_killed(None, false, self.now_ns);
        for consumer in 0..CONSUMERS {
            control.controller.set_trading(None, consumer, true, self.now_ns);
        }
        self.follow_switches(&mut control);
        for seated in self.shards.iter().flat_map(|shard| &shard.seated) {
            seated.audit.borrow_mut().asks.clear();
        }
        control.wanted_back = Some([WantedBack::From(self.now_ns); PROVIDERS]);
        self.control = Some(control);
    }

    /// Whether the control shard has nothing to do any more, and everything is there again.
    pub(in crate::whole) fn is_controlled(&self) -> bool {
        self.control.as_ref().is_none_or(|control| {
            let is_there = |wanted: &[WantedBack; PROVIDERS]| *wanted == [WantedBack::There; PROVIDERS];
            control.wanted_back.as_ref().is_some_and(is_there) && control.is_idle(self)
        })
    }
}

fn delivery(rng: &mut Rng) -> &'static str {
    pick(rng, &["lossless", "latest"])
}

/// Streams of one provider for one consumer, as an operator asks for them; `None` where that would be none.
fn streams(
    rng: &mut Rng,
    control: &Control,
    subscribe: bool,
    consumer: usize,
    provider: usize,
    bases: &[&str],
) -> Option<Change> {
    let channels: Vec<&str> = ["trade", "book", "ticker"].into_iter().filter(|_| rng.u8(0..3) > 0).collect();
    if channels.is_empty() || bases.is_empty() {
        return None;
    }
    let symbols: Vec<String> = bases.iter().map(|base| symbol(provider, base)).collect();
    let all = rng.u8(0..6) == 0;
    let mut body = Map::new();
    body.insert("consumer".to_owned(), json!(format!("c{consumer}")));
    body.insert("provider".to_owned(), json!(name_of(provider)));
    body.insert("instruments".to_owned(), if all { json!("all") } else { json!(symbols) });
    body.insert("channels".to_owned(), json!(channels));
    let mut rules = Map::new();
    if channels.contains(&"book") {
        let depth = pick(rng, &[json!(5), json!(50), json!("full")].each_ref()).clone();
        body.insert("book_depth".to_owned(), depth);
        rules.insert("book".to_owned(), json!(pick(rng, &["book", "book", "lossless"])));
    }
    if channels.contains(&"ticker") {
        rules.insert("ticker".to_owned(), json!(delivery(rng)));
    }
    body.insert("delivery".to_owned(), Value::Object(rules));
    // A whole book does not fit a small ring: that is refused before anything is asked.
    let order = Order::of_json(control.controller.topology(), subscribe, &Value::Object(body)).ok()?;
    Some(Change::Streams(order))
}

fn wanted(rng: &mut Rng, provider: usize, base: &str) -> Wanted {
    let book = if provider == 0 { "book 100ms" } else { "book" };
    let channel: Channel = pick(rng, &["trade", book, "ticker"]).parse().expect("the engine's own names");
    let mut wanted =
        Wanted::new(ProviderId(provider as u8), &symbol(provider, base), channel).expect("short");
    if channel.is_book() {
        wanted.book_depth = Some(pick(rng, &[5, 50]));
        wanted.delivery = Some(pick(rng, &[Delivery::Book, Delivery::Lossless]));
    }
    wanted
}

/// A rule of any kind over two or three providers, and perhaps a consumer of it: the change, and the body that says it.
fn join(rng: &mut Rng, control: &mut Control) -> (Change, Value) {
    let kind = pick(rng, &["trade", "ticker", "bbo", "book_bbo"]);
    control.rules_total += 1;
    let mut bases: Vec<&str> = BASES[..rng.usize(1..=BASES.len())].to_vec();
    if rng.u8(0..8) == 0 {
        bases.push(UNKNOWN);
    }
    let left_out = rng.usize(0..2 * PROVIDERS);
    let inputs = (0..PROVIDERS).filter(|&provider| provider != left_out).map(|provider| {
        let symbols = bases.iter().map(|base| json!(symbol(provider, base))).collect();
        (name_of(provider).to_owned(), Value::Array(symbols))
    });
    let mut body = json!({
        "name": format!("{kind}_{}", control.rules_total), "kind": kind, "inputs": Value::Object(inputs.collect()),
    });
    if matches!(kind, "trade" | "ticker") {
        body["window_s"] = json!(rng.u64(1..3));
        body["count"] = json!(rng.u32(3..200));
    } else if rng.bool() {
        body["leg_age_ms"] = json!(rng.u64(1_000..20_000));
    }
    if rng.u8(0..3) > 0 {
        body["consumer"] = json!(format!("c{}", rng.usize(0..CONSUMERS)));
        body["delivery"] = json!(delivery(rng));
    }
    let order = JoinOrder::of_json(control.controller.topology(), &body);
    (Change::Join(Box::new(order.unwrap_or_else(|refusal| panic!("{body}: {refusal:?}")))), body)
}

/// The same as a consumer asks for it.
fn inside(rng: &mut Rng, body: &Value, change: &Change) -> Ask {
    let Change::Join(order) = change else { unreachable!("it joins") };
    let inputs = order.inputs.iter().map(|input| (ProviderId(input.provider as u8), input.symbols.clone()));
    let kind = match order.kind {
        MergeKind::Bbo(BboSource::Book { .. }) => MergeKind::Bbo(BboSource::BEST_OF_BOOK),
        kind => kind,
    };
    let rule = WantedRule {
        kind,
        inputs: inputs.collect(),
        window_ns: order.window_ns,
        count: order.count,
        leg_age_ns_max: order.leg_age_ns_max,
    };
    let name = body["name"].as_str().expect("it has one").to_owned();
    let delivery = rng.bool().then_some(Delivery::Lossless);
    Ask::Merge(Box::new(MergeWanted { name, rule: Some(rule), delivery }))
}

/// Parts of the topology that the compiler does not hold together.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_here_are_those_of_the_topology() {
        let mut catalog = engine::catalog::Catalog { providers: Vec::new(), symbols: Vec::new() };
        let topology = super::super::plan(&mut catalog);
        assert_eq!(topology.consumers.len(), CONSUMERS + 1);
        for (provider, plan) in topology.providers.iter().enumerate() {
            let symbols: Vec<_> = plan.instruments.iter().map(|listed| topology.symbol(listed.id)).collect();
            assert_eq!(plan.name, name_of(provider));
            assert_eq!(symbols, BASES.map(|base| symbol(provider, base)));
        }
    }
}
