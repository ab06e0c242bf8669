//! The tables behind the ledger: orders enter, are found, change, end and make room; each change is told and written down.

use crate::ids::TraceId;
use crate::time::{ReceiveTime, VenueTime};

use super::{Cancel, Ledger, NONE, Seen, Slot, client_key, uuid_key, words};
use crate::orders::check::Rule;
use crate::orders::journal::{self, Record};
use crate::orders::life::{ClientKey, OrderNews, Step};
use crate::orders::order::Order;
use crate::orders::report::{
    ExecReport, ExecutionId, OrderEvent, OrderNotice, Origin, Reason, ReportFlags, ReportState,
};

impl Ledger {
    /// Enters an order. There is room: a free slot, a new one, or that of the oldest ended order.
    pub(super) fn enter(&mut self, order: Order) -> u32 {
        if self.free.is_empty() && self.slots.len() == self.options.orders_max {
            self.retire_oldest();
        }
        let generation = self.free.last().map_or(0, |&slot| self.slots[slot as usize].generation + 1);
        let entry = Slot {
            order,
            generation,
            used: true,
            ended_by: Origin::Venue,
            cancel: Cancel::No,
            doubt: false,
            doubt_told: false,
            waits: false,
            sent_at: ReceiveTime::default(),
            told_at: ReceiveTime::default(),
            ask_at: ReceiveTime::default(),
            asks: 0,
            not_found: 0,
            asking: false,
            fill_asks: 0,
            fill_failures: 0,
            answered: 0,
            listed: 0,
            held: None,
            executions: NONE,
        };
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = entry;
            slot
        } else {
            self.slots.push(entry);
            (self.slots.len() - 1) as u32
        };
        let key = client_key(order.consumer, order.client_order_id.words());
        self.by_client.insert(key, slot);
        self.by_wire.insert(order.wire_id.words(), slot);
        self.by_wire.insert(uuid_key(&order.wire_id.uuid()), slot);
        if order.client_order_id != order.wire_id {
            self.use_id(key); // ids of ours are never made twice anyway
        }
        self.open += 1;
        if let Some(seat) = self.seats.get_mut(order.consumer.index()) {
            seat.open += 1;
        }
        slot
    }

    pub(super) fn use_id(&mut self, key: [u64; 3]) {
        if self.used.get(&key).is_some() {
            return;
        }
        if self.used.is_full()
            && let Some(oldest) = self.used_order.pop_front()
        {
            self.used.remove(&oldest);
            self.counts.ids_forgotten_total += 1;
        }
        if self.used.insert(key, 0) {
            self.used_order.push_back(key);
        }
    }

    fn retire_oldest(&mut self) {
        let Some(slot) = self.ended.pop_front() else { return };
        let entry = &mut self.slots[slot as usize];
        entry.used = false;
        let (order, mut node) = (entry.order, entry.executions);
        entry.executions = NONE;
        entry.held = None;
        self.by_client.remove(&client_key(order.consumer, order.client_order_id.words()));
        self.by_wire.remove(&order.wire_id.words());
        self.by_wire.remove(&uuid_key(&order.wire_id.uuid()));
        if !order.life.venue_order_id.is_empty() {
            self.by_venue.remove(&words(order.life.venue_order_id.as_bytes()));
        }
        while node != NONE {
            let seen = self.seen_list[node as usize];
            self.seen.remove(&seen.key);
            self.seen_free.push(node);
            node = seen.next;
        }
        self.free.push(slot);
    }

    pub(super) fn execution_key(slot: u32, id: &ExecutionId) -> [u64; 4] {
        let [first, second, third] = words(id.as_bytes());
        [first, second, third, u64::from(slot)]
    }

    pub(super) fn remember(&mut self, slot: u32, id: &ExecutionId) {
        let key = Self::execution_key(slot, id);
        let seen = Seen { key, next: self.slots[slot as usize].executions };
        let node = match self.seen_free.pop() {
            Some(node) => {
                self.seen_list[node as usize] = seen;
                node
            }
            None if self.seen_list.len() < self.options.executions_max => {
                self.seen_list.push(seen);
                (self.seen_list.len() - 1) as u32
            }
            None => {
                self.counts.executions_unremembered_total += 1;
                return;
            }
        };
        self.seen.insert(key, node);
        self.slots[slot as usize].executions = node;
    }

    /// The order that a statement is about: by our id, else by the venue's.
    pub(super) fn resolve(&self, news: &OrderNews) -> Option<u32> {
        let by_key = match news.key {
            ClientKey::Absent => None,
            ClientKey::Text(id) => self.by_wire.get(&id.words()),
            ClientKey::Uuid(uuid) => self.by_wire.get(&uuid_key(&uuid)),
        };
        by_key.or_else(|| {
            if news.venue_order_id.is_empty() {
                return None;
            }
            self.by_venue.get(&words(news.venue_order_id.as_bytes()))
        })
    }

    /// Applies a statement to its order and tells the consumer what is new. False if it was not believed.
    pub(super) fn apply(
        &mut self,
        slot: u32,
        news: &OrderNews,
        flags: ReportFlags,
        at: (TraceId, ReceiveTime),
    ) -> bool {
        let fresh = match &news.execution {
            Some(execution) => self.seen.get(&Self::execution_key(slot, &execution.id)).is_none(),
            None => true,
        };
        let entry = &mut self.slots[slot as usize];
        let had_venue_id = !entry.order.life.venue_order_id.is_empty();
        let was_open = entry.order.life.is_open();
        let step = entry.order.life.apply(news, fresh);
        let life = entry.order.life;
        if !had_venue_id && !life.venue_order_id.is_empty() {
            self.by_venue.insert(words(life.venue_order_id.as_bytes()), slot);
        }
        if !fresh {
            self.counts.duplicate_executions_total += 1;
        }
        let Ok(step) = step else {
            self.counts.contradictions_total += 1;
            return false;
        };
        let entry = &mut self.slots[slot as usize];
        if entry.ended_by == Origin::Local && !was_open && step.is_some() {
            // We had given it up, and the venue has it after all.
            self.counts.contradictions_total += 1;
        }
        entry.told_at = at.1;
        let Some(step) = step else {
            self.counts.stale_news_total += 1;
            return true;
        };
        if let Some(execution) = news.execution.as_ref().filter(|_| fresh) {
            self.remember(slot, &execution.id);
        }
        self.report(slot, Origin::Venue, news, &Step { flags: step.flags.with(flags), ..step }, at);
        if was_open && !life.is_open() {
            self.ended(slot, Origin::Venue);
        }
        let entry = &mut self.slots[slot as usize];
        if life.misses_executions() {
            let ask_at = at.1.plus_ns(self.options.ask_every_ns);
            if !entry.asking {
                entry.ask_at = ask_at;
            }
            self.session.ask_by(ask_at);
        } else {
            (entry.fill_asks, entry.fill_failures) = (0, 0); // those that are missing after the next outage are asked for as often
        }
        true
    }

    pub(super) fn ended(&mut self, slot: u32, by: Origin) {
        let entry = &mut self.slots[slot as usize];
        entry.ended_by = by;
        (entry.doubt, entry.waits, entry.held) = (false, false, None);
        if entry.cancel == Cancel::Wanted {
            self.cancels_wanted -= 1;
        }
        entry.cancel = Cancel::No;
        let consumer = entry.order.consumer;
        self.ended.push_back(slot);
        self.open -= 1;
        if let Some(seat) = self.seats.get_mut(consumer.index()) {
            seat.open = seat.open.saturating_sub(1);
        }
    }

    /// Tells the consumer, and writes it down.
    fn report(
        &mut self,
        slot: u32,
        origin: Origin,
        news: &OrderNews,
        step: &Step,
        at: (TraceId, ReceiveTime),
    ) {
        let order = self.slots[slot as usize].order;
        let life = order.life;
        self.sequence += 1;
        self.counts.reports_total += 1;
        self.counts.recovered_reports_total += u64::from(step.flags.has(ReportFlags::RECOVERED));
        self.events.push_back(OrderEvent::Report(ExecReport {
            cum_quote: life.cum_quote,
            state: life.state.unwrap_or(ReportState::Ack),
            origin,
            flags: step.flags,
            liquidity: step.liquidity,
            side: order.side,
            decimals: life.decimals,
            provider: order.provider,
            consumer: order.consumer,
            instrument: order.instrument,
            code: news.code,
            sequence: self.sequence,
            decision: order.decision,
            order_trace: order.trace,
            trace: at.0,
            venue_time: news.venue_time,
            receive_time: at.1,
            price: order.price,
            qty: life.qty,
            last_price: step.last_price,
            last_qty: step.last_qty,
            cum_qty: life.cum_qty,
            remaining_qty: life.remaining(),
            fee: step.fee,
            fee_asset: step.fee_asset,
            client_order_id: order.client_order_id,
            wire_id: order.wire_id,
            venue_order_id: life.venue_order_id,
            execution_id: step.execution_id,
            reason: news.reason,
        }));
        let record =
            Record::Progress { wire_id: order.wire_id, origin, life, execution_id: step.execution_id };
        journal::append(&record, &mut self.journal);
    }

    /// Ends an order that never arrived at the venue.
    pub(super) fn end_locally(&mut self, slot: u32, rule: Rule, now: ReceiveTime) {
        self.slots[slot as usize].order.life.state = Some(ReportState::Rejected);
        let news = OrderNews { reason: rule.reason(), venue_time: VenueTime::ABSENT, ..OrderNews::default() };
        self.report(slot, Origin::Local, &news, &Step::default(), (TraceId::default(), now));
        self.ended(slot, Origin::Local);
    }

    pub(super) fn notice(&self, slot: u32, code: i32, reason: Reason, now: ReceiveTime) -> OrderNotice {
        let order = &self.slots[slot as usize].order;
        OrderNotice {
            consumer: order.consumer,
            provider: order.provider,
            client_order_id: order.client_order_id,
            decision: order.decision,
            code,
            reason,
            receive_time: now,
        }
    }
}
