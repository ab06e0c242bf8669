//! What a desk needs of its ledger beside requests and answers: refusals of its own, orders that never left, positions
//! of the journal, orders of former runs.

use crate::ids::ProviderId;
use crate::time::ReceiveTime;

use super::{Cancel, Ledger, Purpose, Submitted, Tag};
use crate::orders::check::Rule;
use crate::orders::id::{ClientOrderId, WireId};
use crate::orders::journal::{self, Record};
use crate::orders::life::{ClientKey, OrderNews};
use crate::orders::order::Order;
use crate::orders::request::OrderRequest;

impl Ledger {
    /// The provider whose orders these are.
    pub const fn provider(&self) -> ProviderId {
        self.provider
    }

    /// Position behind the last record of the journal, in bytes of this run.
    pub const fn journal_end(&self) -> u64 {
        self.journal_start + self.journal.len() as u64
    }

    /// The first `bytes` of the journal were handed over.
    pub fn journal_written(&mut self, bytes: usize) {
        let bytes = bytes.min(self.journal.len());
        self.journal.drain(..bytes);
        self.journal_start += bytes as u64;
    }

    /// Refuses a request for a reason that only the caller knows; told as any refusal.
    pub fn refuse(&mut self, request: &OrderRequest, rule: Rule, now: ReceiveTime) -> Submitted {
        self.refused(request, rule, now);
        Submitted::Refused(rule)
    }

    /// A new order was not sent and will not be: it ends, REJECTED of local origin.
    pub fn not_sent(&mut self, tag: Tag, rule: Rule, now: ReceiveTime) {
        let Some(slot) = self.slot_of(tag) else { return };
        let life = &self.slots[slot as usize].order.life;
        if tag.purpose() == Some(Purpose::Place) && life.state.is_none() {
            self.end_locally(slot, rule, now);
        }
    }

    /// Whether cancels and questions reach the venue although there is no session: by REST.
    pub fn set_reach(&mut self, without_session: bool) {
        self.reaches_without_session = without_session;
    }

    /// Whether cancels and questions reach the venue now.
    pub fn can_reach(&self) -> bool {
        self.session.is_live() || self.reaches_without_session
    }

    /// Orders whose cancel is to be sent.
    pub const fn cancels_wanted(&self) -> u32 {
        self.cancels_wanted
    }

    /// A cancel could not leave now: it is wanted again.
    pub fn postpone_cancel(&mut self, tag: Tag) {
        if let Some(slot) = self.slot_of(tag) {
            let entry = &mut self.slots[slot as usize];
            if entry.order.life.is_open() && entry.cancel == Cancel::Sent {
                entry.cancel = Cancel::Wanted;
                self.cancels_wanted += 1;
            }
        }
    }

    /// A cancel needs to know more of the order than we do: the venue is asked for it first, then it is cancelled.
    pub fn ask_before_cancel(&mut self, tag: Tag, now: ReceiveTime) {
        if let Some(slot) = self.slot_of(tag) {
            self.doubt(slot, now);
        }
    }

    /// The open orders are compared with the venue's at once, and not when it is time.
    pub fn compare_now(&mut self, now: ReceiveTime) {
        self.session.list_by(now);
    }

    /// The list that was asked for has another page, which is asked for now.
    pub fn list_goes_on(&mut self, tag: Tag, now: ReceiveTime) {
        let at = now.plus_ns(self.options.answer_wait_ns);
        if tag.purpose() == Some(Purpose::OpenOrders) {
            self.session.list_waits_until(tag == self.list_tag(), at);
        } else if let Some(slot) = self.slot_of(tag) {
            self.slots[slot as usize].ask_at = at;
        }
    }

    // --- orders of former runs ------------------------------------------------------------------------------------

    /// Our id in a statement, if it is one that was made by this shard.
    pub fn wire_id_of(&self, news: &OrderNews) -> Option<ClientOrderId> {
        match news.key {
            ClientKey::Text(id) => WireId::decode(&id).filter(|found| found.shard == self.shard).map(|_| id),
            ClientKey::Uuid(uuid) => self.ids.find(&uuid),
            ClientKey::Absent => None,
        }
    }

    /// Whether an open order at the venue carries an id of this shard and is not known.
    pub fn is_foreign_of_ours(&self, news: &OrderNews) -> bool {
        self.resolve(news).is_none() && self.wire_id_of(news).is_some()
    }

    /// Takes on an open order that the venue has and the journal lost: in doubt, so that the venue is asked for it.
    /// False if it is known, or there is no room.
    pub fn adopt(&mut self, order: &Order, now: ReceiveTime) -> bool {
        let known = self.by_wire.get(&order.wire_id.words()).is_some();
        let full = self.free.is_empty() && self.slots.len() == self.options.orders_max;
        if known || full && self.ended.is_empty() {
            return false;
        }
        journal::append(&Record::Intent(*order), &mut self.journal);
        self.ids.seen(&order.wire_id);
        let slot = self.enter(*order);
        let entry = &mut self.slots[slot as usize];
        (entry.doubt, entry.sent_at, entry.told_at, entry.ask_at) = (true, now, now, now);
        self.session.adopted(now);
        true
    }
}
