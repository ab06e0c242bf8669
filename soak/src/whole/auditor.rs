//! A consumer of the whole gateway that subscribes and unsubscribes while it runs, and believes nothing.
//!
//! It checks what streams promise from a routing version on: what was routed under an older one may have holes, because
//! nobody had asked for it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use engine::consumer::{Consumer, Context};
use engine::control::Ask;
use engine::event::{Body, BookStatus, Event, Flags};
use engine::ids::{ProviderId, StreamId};
use engine::orders::OrderEvent;
use fastrand::Rng;

use crate::ledger::{BookCopy, DEPTHS, Observer};

/// A provider's stream.
pub type Place = (ProviderId, StreamId);

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Trades with contiguous ids.
    Trades,
    /// A book; its depth is the number of one of [`DEPTHS`].
    Book(usize),
    /// Tickers.
    Tickers,
    /// Merged events.
    Merged,
}

/// Violations kept; the first is what counts.
const VIOLATIONS_MAX: usize = 8;

/// One subscription.
#[derive(Debug)]
struct Log {
    carries: Carries,
    /// Events of older versions promise nothing.
    from_version: u32,
    /// From which version on its book has how many levels, where that changed while it was subscribed to.
    depths: Vec<(u32, usize)>,
    begun: bool,
    /// Last number seen or declared missing.
    last: Option<u64>,
    /// Fragments still to come of a merged event.
    fragments_left: Option<u8>,
    /// The venue's last number when the stream was routed: whatever comes after it must come here.
    routed_at: Option<u64>,
}

/// What one consumer saw.
#[derive(Debug, Default)]
pub struct Audit {
    name: String,
    /// The far ends of the providers, which never wait and see all.
    observers: Vec<Observer>,
    logs: BTreeMap<Place, Log>,
    /// What was broken.
    pub violations: Vec<String>,
    /// Stands for everything that was seen, in its order.
    pub hash: u64,
    /// Event parts seen.
    pub seen_total: u64,
    /// Gaps seen.
    pub gaps_total: u64,
    /// Merged events seen whole.
    pub merged_total: u64,
    /// Books compared.
    pub books_total: u64,
    /// News of orders, in the order of their coming.
    pub order_events: Vec<OrderEvent>,
    /// What the control shard said, in the order of its coming, and when by the quiet clock.
    pub told: Vec<(Body, u64)>,
    /// What it asks for at its next event.
    pub asks: VecDeque<Ask>,
    /// What it has asked for: the number of the request, what, and how things stood.
    pub asked: Vec<(u64, Ask, Pace)>,
    /// How fast changes have to be.
    pub pace: Rc<Cell<Pace>>,
    /// It wants to see no market data of versions before its own changes.
    pub skips_stale: bool,
    /// By provider: the version of its last change there.
    version_min: BTreeMap<ProviderId, u32>,
}

/// How fast a change has to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// Time in which no shard stood still and no venue was waited for, in nanoseconds.
    pub quiet_ns: u64,
    /// Changes under way and waiting.
    pub ahead: usize,
}

impl Audit {
    /// One that has seen nothing.
    pub fn new(name: String, observers: Vec<Observer>) -> Self {
        Self { name, observers, ..Self::default() }
    }

    /// A subscription begins; the shard's route of the stream is of this version.
    pub fn begin(&mut self, place: Place, carries: Carries, from_version: u32) {
        let log = Log {
            carries,
            from_version,
            depths: Vec::new(),
            begun: false,
            last: None,
            fragments_left: None,
            routed_at: None,
        };
        self.logs.insert(place, log);
    }

    /// The control shard lets a subscription begin; one that is there goes on, whatever changes about it.
    pub fn subscribe(&mut self, place: Place, carries: Carries, version: u32) {
        if self.logs.contains_key(&place) {
            self.reroute(place, carries, version, None);
        } else {
            self.begin(place, carries, version);
        }
    }

    /// The shard's route of a stream is another one from this version on: only the levels of a book may be other ones. The last
    /// number of the venue is `last`, where it has one.
    pub fn reroute(&mut self, place: Place, carries: Carries, version: u32, last: Option<u64>) {
        let Some(log) = self.logs.get_mut(&place) else { return };
        log.routed_at = log.routed_at.or(last);
        if let (Carries::Book(before), Carries::Book(depth)) = (log.carries, carries)
            && before != depth
        {
            if log.depths.is_empty() {
                log.depths.push((0, before));
            }
            log.depths.retain(|&(from, _)| from < version);
            log.depths.push((version, depth));
            log.carries = carries;
        }
    }

    /// The last number that a stream had at its venue when it was routed to this consumer.
    pub fn routed_at(&self, place: Place) -> Option<u64> {
        self.logs.get(&place).and_then(|log| log.routed_at)
    }

    /// A subscription ends.
    pub fn end(&mut self, place: Place) {
        self.logs.remove(&place);
    }

    /// Last number of a stream, where it is subscribed to and something came.
    pub fn last(&self, place: Place) -> Option<u64> {
        self.logs.get(&place).and_then(|log| log.last)
    }

    /// The subscriptions.
    pub fn places(&self) -> impl Iterator<Item = (Place, Carries)> + '_ {
        self.logs.iter().map(|(&place, log)| (place, log.carries))
    }

    /// A change of its own at a provider was told to its shard: one that skips what is stale sees nothing older from now on, so that
    /// whatever it sees next may follow a hole.
    pub fn begin_version(&mut self, provider: ProviderId, version: u32) {
        if !self.skips_stale {
            return;
        }
        self.version_min.insert(provider, version);
        for ((of, _), log) in &mut self.logs {
            if *of == provider {
                (log.begun, log.from_version) = (false, version);
            }
        }
    }

    /// The consumer was made anew: what came in between is unknown to it.
    fn forget(&mut self) {
        for log in self.logs.values_mut() {
            (log.begun, log.last, log.fragments_left) = (false, None, None);
        }
    }

    fn ask(&mut self, context: &mut Context<'_>) {
        while let Some(ask) = self.asks.pop_front() {
            let asked = match ask.clone() {
                Ask::Subscribe(wanted) => context.subscribe(wanted),
                Ask::Unsubscribe(wanted) => context.unsubscribe(wanted),
                Ask::Merge(wanted) => context.merged_subscribe(*wanted),
                Ask::Unmerge(rule) => context.merged_unsubscribe(&rule),
                Ask::Trading(on) => context.set_trading(on),
            };
            match asked {
                Ok(number) => self.asked.push((number, ask, self.pace.get())),
                Err(_) => return self.asks.push_front(ask),
            }
        }
    }

    fn violated(&mut self, place: Place, text: &str) {
        if self.violations.len() < VIOLATIONS_MAX {
            let Self { name, violations, .. } = self;
            violations.push(format!("{name}: provider {} stream {}: {text}", place.0.0, place.1.0));
        }
    }

    fn take(&mut self, event: &Event, context: &Context<'_>) {
        let header = &event.header;
        let place = (header.provider, header.stream);
        self.seen_total += 1;
        for value in [
            u64::from(header.provider.0) << 32 | u64::from(header.stream.0),
            header.sequence_first,
            header.sequence_last,
            event.kind() as u64,
            u64::from(header.routing_version),
            context.now().ns(),
        ] {
            self.hash = (self.hash ^ value).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
        if let Body::ControlAck(_) | Body::ControlResult(_) = event.body {
            return self.told.push((event.body, self.pace.get().quiet_ns));
        }
        let version_min = self.version_min.get(&header.provider).copied().unwrap_or(0);
        if header.routing_version < version_min && event.kind().is_market_data() {
            let version = header.routing_version;
            return self
                .violated(place, &format!("an event of version {version}, stale before {version_min}"));
        }
        let Some(log) = self.logs.get_mut(&place) else {
            return self.violated(place, "an event that nobody subscribed to");
        };
        if !log.begun && header.routing_version < log.from_version {
            return;
        }
        if !std::mem::replace(&mut log.begun, true) {
            (log.last, log.fragments_left) = (None, None);
        }
        let outcome = match (&event.body, log.carries) {
            (Body::Gap(gap), carries) => {
                self.gaps_total += 1;
                let next = log.last.map_or(gap.from, |last| last + 1);
                log.last = log.last.max(Some(gap.to));
                let fits = if carries == Carries::Trades { gap.from == next } else { gap.from <= gap.to };
                if fits { Ok(()) } else { Err(format!("gap from {} where {next} is next", gap.from)) }
            }
            (Body::Trade(trade), Carries::Trades) => {
                let next = log.last.map_or(trade.id, |last| last + 1);
                log.last = Some(trade.id);
                if trade.id == next {
                    Ok(())
                } else {
                    Err(format!("trade {} where {next} is next", trade.id))
                }
            }
            (_, Carries::Merged) => log.merged(event),
            (_, Carries::Book(depth)) if event.completes() => {
                let depth = log.depth_of(header.routing_version).unwrap_or(depth);
                let replica = context.book(header.provider, header.stream);
                match replica.filter(|replica| replica.status() == BookStatus::Proved) {
                    Some(replica) => {
                        self.books_total += 1;
                        let copy = BookCopy::of(replica);
                        let ledger = self.observers[header.provider.index()].ledger();
                        let knows =
                            |depth| ledger.past.as_ref().is_some_and(|past| past.knows(place, &copy, depth));
                        // A state brings no levels: the copy is as deep as before until the snapshot of another depth comes.
                        let is_state = matches!(event.body, Body::BookState { .. });
                        if knows(depth) || is_state && (0..DEPTHS.len()).any(knows) {
                            Ok(())
                        } else {
                            let (at, levels) = (copy.sequence, DEPTHS[depth]);
                            Err(format!("a book at {at} that the venue never had, of {levels} levels"))
                        }
                    }
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        };
        if matches!(log.carries, Carries::Merged) && event.completes() && outcome.is_ok() {
            self.merged_total += 1;
        }
        if let Err(text) = outcome {
            self.violated(place, &text);
        }
    }
}

impl Log {
    /// The levels of a book under a version, as the number of one of [`DEPTHS`].
    fn depth_of(&self, version: u32) -> Option<usize> {
        self.depths.iter().rev().find(|(from, _)| *from <= version).map(|&(_, depth)| depth)
    }

    fn merged(&mut self, event: &Event) -> Result<(), String> {
        let id = event.header.sequence_last;
        match &event.body {
            Body::Merged(head) => {
                let left = self.fragments_left.replace(head.providers_expected);
                if left.is_some() {
                    return Err(format!("merged event {id} inside of another"));
                }
                if head.providers_present != head.providers_expected {
                    return Err(format!("merged event {id} is partial: {head:?}"));
                }
                let counted = head.event_count >= u32::from(head.providers_present);
                if head.opened > head.closed || !counted {
                    return Err(format!("merged event {id} cannot be: {head:?}"));
                }
                self.newer(id)
            }
            Body::Fragment { .. } => {
                let Some(left) = self.fragments_left else {
                    // It came in the middle of one.
                    return if self.last.is_none() {
                        Ok(())
                    } else {
                        Err("a fragment of nothing".to_owned())
                    };
                };
                self.fragments_left = (!event.completes()).then(|| left.saturating_sub(1));
                let ends = event.header.flags.has(Flags::LAST);
                if ends == (left == 1) { Ok(()) } else { Err(format!("merged event {id} lacks fragments")) }
            }
            Body::MergedBbo(best) => {
                for leg in [best.bid, best.ask].into_iter().flatten() {
                    let proved = |known: &&engine::event::Leg| {
                        known.provider == leg.provider && known.status == BookStatus::Proved
                    };
                    if best.legs().iter().find(proved).is_none() {
                        return Err(format!("best price {id} of a leg that is not proved: {best:?}"));
                    }
                }
                self.newer(id)
            }
            _ => Ok(()),
        }
    }

    fn newer(&mut self, id: u64) -> Result<(), String> {
        let before = self.last.replace(id);
        if before.is_none_or(|before| before < id) {
            Ok(())
        } else {
            Err(format!("merge id {id} after {before:?}"))
        }
    }
}

/// The consumer that writes an audit, and panics now and then where it is told to.
#[derive(Clone, Debug)]
pub struct Auditor {
    audit: Rc<RefCell<Audit>>,
    /// One handler in so many panics; 0 for never.
    panics_one_in: u32,
    rng: Rc<RefCell<Rng>>,
}

impl Auditor {
    /// One that begins to watch now.
    pub fn new(audit: &Rc<RefCell<Audit>>, panics_one_in: u32, rng: &Rc<RefCell<Rng>>) -> Self {
        audit.borrow_mut().forget();
        Self { audit: Rc::clone(audit), panics_one_in, rng: Rc::clone(rng) }
    }
}

impl Consumer for Auditor {
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        self.audit.borrow_mut().take(event, context);
        self.audit.borrow_mut().ask(context);
        if self.panics_one_in > 0 && self.rng.borrow_mut().u32(0..self.panics_one_in) == 0 {
            // Past the panic hook: a run has thousands of them, and they are no news.
            std::panic::resume_unwind(Box::new("a handler that panics"));
        }
    }

    fn on_order_event(&mut self, event: &OrderEvent, _: &mut Context<'_>) {
        self.audit.borrow_mut().order_events.push(*event);
    }

    fn skips_stale(&self) -> bool {
        self.audit.borrow().skips_stale
    }
}
