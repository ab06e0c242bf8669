//! A consumer that believes nothing: it checks what every stream promises, and keeps copies of the books to compare with
//! the venue's own.
//!
//! Knows no socket and no clock, so it stands at the end of simulated and of real runs alike.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::book::Replica;
use engine::consumer::{Consumer, Context};
use engine::decimal::Decimals;
use engine::event::{Body, BookReason, BookStatus, Event, Flags, GapReason};
use engine::ids::{ProviderId, StreamId};
use simvenues::BookTruth;

/// Violations kept; more say nothing new.
const VIOLATIONS_MAX: usize = 20;

/// The trades of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TradeLog {
    /// First id seen or declared missing.
    pub first: u64,
    /// Last id seen or declared missing; 0 before the first.
    pub last: u64,
    /// Trades seen.
    pub seen_total: u64,
    /// Ids that Gaps declared missing.
    pub missing_total: u64,
    /// Trades of those seen that were fetched by REST.
    pub recovered_total: u64,
}

/// A copy of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookCopy {
    /// How far it can be trusted.
    pub status: BookStatus,
    /// Last update number in it.
    pub sequence: u64,
    /// The scale of its levels.
    pub decimals: Decimals,
    /// Price and quantity from the best on.
    pub bids: Vec<(i64, i64)>,
    /// Price and quantity from the best on.
    pub asks: Vec<(i64, i64)>,
}

/// A Gap as it was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Canonical symbol.
    pub symbol: String,
    /// The stream's channel.
    pub channel: String,
    /// First number missing.
    pub from: u64,
    /// Last number missing.
    pub to: u64,
    /// Why.
    pub reason: GapReason,
}

#[derive(Debug, Default)]
struct BookLog {
    /// Last number, once a snapshot has come.
    sequence: Option<u64>,
    /// Parts of an event are missing yet.
    open: bool,
}

/// What came, and what should not have.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Trade streams by symbol.
    pub trades: BTreeMap<String, TradeLog>,
    /// Books by symbol, as they were after the last event.
    pub books: BTreeMap<String, BookCopy>,
    /// Nothing is kept that grows with time, and books are not copied: for runs of hours.
    pub brief: bool,
    /// Gaps by provider.
    pub gaps_total: BTreeMap<u8, u64>,
    /// Gaps in the order they came; none in brief.
    pub gaps: Vec<Declared>,
    /// Book states in the order they came; none in brief.
    pub states: Vec<(String, BookStatus, BookReason)>,
    /// Event parts by kind.
    pub parts: BTreeMap<&'static str, u64>,
    /// Snapshots that stand for collapsed updates.
    pub conflated_total: u64,
    /// Promises that were broken.
    pub violations: Vec<String>,
    /// Prints of every book that was proved, where that is asked for.
    pub past: Option<Past>,
    logs: BTreeMap<(ProviderId, StreamId), BookLog>,
}

impl Ledger {
    /// How often a symbol's book was announced in a state for a reason.
    pub fn state_count(&self, symbol: &str, status: BookStatus, reason: BookReason) -> usize {
        let wanted = |state: &&(String, BookStatus, BookReason)| {
            state.0 == symbol && state.1 == status && state.2 == reason
        };
        self.states.iter().filter(wanted).count()
    }

    /// Whether `symbol` ever had bad news: a gap, or a book that was not proved any more.
    pub fn disturbed(&self, symbol: &str) -> bool {
        self.gaps.iter().any(|gap| gap.symbol == symbol)
            || self.states.iter().any(|(of, status, _)| {
                of == symbol && matches!(status, BookStatus::Suspect | BookStatus::Stale)
            })
    }

    /// Gaps of a symbol's channel (`trade`, `book`).
    pub fn gaps_of(&self, symbol: &str, channel: &str) -> Vec<&Declared> {
        self.gaps.iter().filter(|gap| gap.symbol == symbol && gap.channel.starts_with(channel)).collect()
    }

    fn violated(&mut self, text: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(text);
        }
    }

    fn take(&mut self, event: &Event, context: &Context<'_>) {
        let header = &event.header;
        let Some(facts) = context.catalog().stream(header.provider, header.stream) else {
            return self.violated(format!("an event of an unknown stream {:?}", header.stream));
        };
        let symbol = key(header.provider, &facts.symbol);
        match &event.body {
            Body::Trade(trade) => {
                self.count("trade");
                let log = self.trades.entry(symbol.clone()).or_default();
                let expected = log.last + 1;
                if log.last == 0 {
                    log.first = trade.id;
                }
                log.seen_total += 1;
                log.recovered_total += u64::from(header.flags.has(Flags::RECOVERED));
                log.last = trade.id;
                if log.seen_total > 1 && trade.id != expected {
                    self.violated(format!("{symbol}: trade {} where {expected} is next", trade.id));
                }
            }
            Body::Gap(gap) => {
                self.count("gap");
                *self.gaps_total.entry(header.provider.0).or_default() += 1;
                if !self.brief {
                    self.gaps.push(Declared {
                        symbol: symbol.clone(),
                        channel: facts.channel.to_string(),
                        from: gap.from,
                        to: gap.to,
                        reason: gap.reason,
                    });
                }
                if facts.channel.is_trade() {
                    let log = self.trades.entry(symbol.clone()).or_default();
                    let expected = log.last + 1;
                    let fits = log.last == 0 || gap.from == expected;
                    if log.last == 0 {
                        log.first = gap.from;
                    }
                    log.missing_total += gap.to - gap.from + 1;
                    log.last = gap.to;
                    if !fits {
                        self.violated(format!("{symbol}: gap from {} where {expected} is next", gap.from));
                    }
                }
            }
            Body::BookState { status, reason, .. } => {
                self.count("book_state");
                if *status != BookStatus::Proved {
                    self.logs.entry((header.provider, header.stream)).or_default().sequence = None;
                }
                if !self.brief {
                    self.states.push((symbol, *status, *reason));
                }
                self.copy_book(event, context);
            }
            Body::BookSnapshot(_) => {
                self.count("book_snapshot");
                if header.flags.has(Flags::FIRST) && header.flags.has(Flags::CONFLATED) {
                    self.conflated_total += 1;
                }
                self.book_part(event, context, true, &symbol);
            }
            Body::BookUpdate(_) => {
                self.count("book_update");
                self.book_part(event, context, false, &symbol);
            }
            Body::Ticker(_) => self.count("ticker"),
            Body::Kline(_) => self.count("kline"),
            // Of streams that no provider has.
            _ => self.count("other"),
        }
    }

    fn count(&mut self, kind: &'static str) {
        *self.parts.entry(kind).or_insert(0) += 1;
    }

    fn book_part(&mut self, event: &Event, context: &Context<'_>, snapshot: bool, symbol: &str) {
        let header = &event.header;
        let (first, last) = (header.flags.has(Flags::FIRST), event.completes());
        let providers = &context.catalog().providers;
        // Coinbase numbers the frames of a connection, so a book's numbers have holes that mean nothing.
        let contiguous =
            providers.get(header.provider.index()).is_none_or(|provider| provider.venue != "coinbase");
        let log = self.logs.entry((header.provider, header.stream)).or_default();
        let (was_open, before) = (log.open, log.sequence);
        log.open = !last;
        if last {
            log.sequence = Some(header.sequence_last);
        }
        if was_open == first {
            self.violated(format!("{symbol}: part {} out of its event", header.part));
        }
        if first && !snapshot {
            match before {
                None => self.violated(format!("{symbol}: an update without a snapshot before it")),
                Some(before)
                    if (contiguous && header.sequence_first > before + 1)
                        || header.sequence_last <= before =>
                {
                    self.violated(format!(
                        "{symbol}: update {}..={} after {before}",
                        header.sequence_first, header.sequence_last
                    ));
                }
                Some(_) => {}
            }
        }
        if last {
            self.copy_book(event, context);
        }
    }

    fn copy_book(&mut self, event: &Event, context: &Context<'_>) {
        let header = &event.header;
        let Some(replica) = context.book(header.provider, header.stream) else { return };
        if self.brief && !(replica.status() == BookStatus::Proved && replica.book().is_crossed()) {
            return;
        }
        let symbol = key(header.provider, context.catalog().symbol(header.instrument));
        let copy = BookCopy::of(replica);
        if copy.status == BookStatus::Proved && crossed(&copy) {
            let (kind, flags) = (event.kind(), header.flags);
            let best = (copy.bids.first(), copy.asks.first());
            self.violated(format!(
                "{symbol}: a proved book is crossed at {}, {best:?}, after {kind:?} {flags:?} {}..={}",
                copy.sequence, header.sequence_first, header.sequence_last
            ));
        }
        if let Some(past) = &mut self.past
            && copy.status == BookStatus::Proved
        {
            past.keep((header.provider, header.stream), &copy);
        }
        self.books.insert(symbol, copy);
    }
}

/// Prints of all the books that streams ever had, by stream and number.
#[derive(Debug, Default)]
pub struct Past {
    prints: BTreeMap<(ProviderId, StreamId, u64), Vec<[u64; DEPTHS.len()]>>,
}

/// Levels a side at which books are compared; also what subscriptions ask for then.
pub const DEPTHS: [usize; 3] = [5, 50, usize::MAX];

/// How many of the last numbers may be meant by one: at Coinbase, the third provider, they begin anew with each connection,
/// so that what stands before a number may be of another one.
const NUMBERS_BACK: [usize; 2] = [1, 1_024];

impl Past {
    fn keep(&mut self, (provider, stream): (ProviderId, StreamId), copy: &BookCopy) {
        let prints = self.prints.entry((provider, stream, copy.sequence)).or_default();
        let print = DEPTHS.map(|depth| copy.print(depth));
        if !prints.contains(&print) {
            prints.push(print);
        }
    }

    /// Whether the book of the stream once was this one, at `DEPTHS[depth]` levels a side. A number that is not there is
    /// that of an update that changed nothing: the book is the one before it.
    pub fn knows(&self, place: (ProviderId, StreamId), copy: &BookCopy, depth: usize) -> bool {
        let (from, to) = ((place.0, place.1, 0), (place.0, place.1, copy.sequence));
        let print = copy.print(DEPTHS[depth]);
        let before = self.prints.range(from..=to).rev().take(NUMBERS_BACK[usize::from(place.0.0 == 2)]);
        before.flat_map(|(_, prints)| prints).any(|known| known[depth] == print)
    }

    /// Books kept.
    pub fn len(&self) -> usize {
        self.prints.len()
    }

    /// Whether nothing was kept.
    pub fn is_empty(&self) -> bool {
        self.prints.is_empty()
    }
}

/// The name under which an instrument stands in the ledger: its symbol, and for other providers than the first the
/// provider's number before it.
pub(crate) fn key(provider: ProviderId, symbol: &str) -> String {
    if provider.index() == 0 { symbol.to_owned() } else { format!("{}/{symbol}", provider.index()) }
}

fn crossed(copy: &BookCopy) -> bool {
    matches!((copy.bids.first(), copy.asks.first()), (Some(bid), Some(ask)) if bid.0 >= ask.0)
}

impl BookCopy {
    /// A number that stands for the best levels.
    fn print(&self, depth: usize) -> u64 {
        let mut print = 0xcbf2_9ce4_8422_2325_u64;
        let mut add =
            |value: i64| print = (print ^ value as u64).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
        for side in [&self.bids, &self.asks] {
            for &(price, qty) in side.iter().take(depth) {
                add(price);
                add(qty);
            }
            add(-1);
        }
        print
    }

    /// Whether both are proved and have the same best levels.
    pub fn same_best(&self, other: &Self, depth: usize) -> bool {
        let proved = |copy: &Self| copy.status == BookStatus::Proved;
        proved(self) && proved(other) && self.print(depth) == other.print(depth)
    }

    /// A copy of a replica.
    pub fn of(replica: &Replica) -> Self {
        let book = replica.book();
        let levels = |side: &engine::book::BookSide| side.iter().map(|at| (at.price.0, at.qty.0)).collect();
        Self {
            status: replica.status(),
            sequence: replica.sequence(),
            decimals: book.decimals(),
            bids: levels(&book.bids),
            asks: levels(&book.asks),
        }
    }

    /// Compares it with the venue's own book.
    ///
    /// # Errors
    /// What differs, in words.
    pub fn compare(&self, truth: &BookTruth) -> Result<(), String> {
        if self.status != BookStatus::Proved {
            return Err(format!("is {}", self.status.name()));
        }
        if self.sequence != truth.update_id {
            return Err(format!("is at {}, the venue at {}", self.sequence, truth.update_id));
        }
        let ours = (usize::from(self.decimals.price), usize::from(self.decimals.qty));
        let theirs = (truth.price_decimals, truth.qty_decimals);
        let scaled = |levels: &[(i64, i64)], from: (usize, usize)| -> Vec<(i128, i128)> {
            let up = |value: i64, digits: usize| i128::from(value) * 10_i128.pow(18 - digits as u32);
            levels.iter().map(|&(price, qty)| (up(price, from.0), up(qty, from.1))).collect()
        };
        for (side, our_levels, their_levels) in
            [("bid", &self.bids, &truth.bids), ("ask", &self.asks, &truth.asks)]
        {
            let (our_levels, their_levels) = (scaled(our_levels, ours), scaled(their_levels, theirs));
            if our_levels == their_levels {
                continue;
            }
            let at = our_levels.iter().zip(&their_levels).position(|(our, their)| our != their);
            return Err(format!(
                "differs at {side} {at:?} of {} and the venue's {}",
                our_levels.len(),
                their_levels.len()
            ));
        }
        Ok(())
    }
}

/// The consumer that writes a ledger others can read.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    ledger: Arc<Mutex<Ledger>>,
}

impl Observer {
    /// The ledger.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Consumer for Observer {
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        self.ledger().take(event, context);
    }
}
