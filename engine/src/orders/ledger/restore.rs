//! The ledger out of its journal, and into a new one.

use crate::ids::ConsumerId;

use super::{Ledger, NONE, client_key, words};
use crate::orders::id::ClientOrderId;
use crate::orders::journal::{self, Record};
use crate::orders::life::Life;
use crate::orders::order::Order;
use crate::orders::report::{ExecutionId, Origin};

impl Ledger {
    /// Takes in one record of the journal, oldest first. Orders that were open are in doubt until the venue was asked.
    ///
    /// False if the table is too small for the orders that may be working: start with a larger one, or they are lost
    /// sight of.
    pub fn replay(&mut self, record: &Record) -> bool {
        match record {
            Record::Begin { epoch, .. } => self.ids.began(*epoch),
            Record::Used { consumer, id } => self.use_id(client_key(*consumer, id.words())),
            Record::Intent(order) => {
                self.ids.seen(&order.wire_id);
                if self.by_wire.get(&order.wire_id.words()).is_some() {
                    return true; // a checkpoint repeats what stands in an older file
                }
                let full = self.free.is_empty() && self.slots.len() == self.options.orders_max;
                if full && self.ended.is_empty() {
                    return false;
                }
                let slot = self.enter(*order);
                self.slots[slot as usize].doubt = true;
                self.took_life(slot, Origin::Venue);
            }
            Record::Progress { wire_id, origin, life, execution_id } => {
                let Some(slot) = self.by_wire.get(&wire_id.words()) else { return true };
                let was_open = self.slots[slot as usize].order.life.is_open();
                // A file begins with a checkpoint, and the batch that it was begun for says again how an order came to where it
                // stands there: one that has ended does not open again, or it would end, and be counted, twice.
                if was_open || !life.is_open() {
                    self.slots[slot as usize].order.life = *life;
                }
                if !execution_id.is_empty()
                    && self.seen.get(&Self::execution_key(slot, execution_id)).is_none()
                {
                    self.remember(slot, execution_id);
                }
                if was_open {
                    self.took_life(slot, *origin);
                }
            }
        }
        true
    }

    fn took_life(&mut self, slot: u32, origin: Origin) {
        let life = self.slots[slot as usize].order.life;
        if !life.venue_order_id.is_empty() {
            self.by_venue.insert(words(life.venue_order_id.as_bytes()), slot);
        }
        if !life.is_open() {
            self.ended(slot, origin);
        }
    }

    /// Writes what a new file must begin with, so that older ones are not needed: the runs, used ids, orders and their
    /// executions.
    pub fn checkpoint(&self, out: &mut Vec<u8>) {
        // Former runs too: the venue may list an order of one of them that its journal lost, and a process that dies before it
        // has asked must not be the last to know of that run.
        for epoch in self.ids.former().chain([self.ids.epoch()]) {
            journal::append(&Record::Begin { epoch, shard: self.shard, provider: self.provider }, out);
        }
        for key in &self.used_order {
            let mut bytes = [0; 24];
            for (chunk, word) in bytes.chunks_mut(8).zip([key[0], key[1], key[2] & 0xFFFF_FFFF]) {
                chunk.copy_from_slice(&word.to_le_bytes());
            }
            let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            if let Ok(id) = ClientOrderId::parse(&bytes[..length]) {
                let consumer = ConsumerId((key[2] >> 32) as u16);
                journal::append(&Record::Used { consumer, id }, out);
            }
        }
        // Ended ones first, the oldest first: so they are retired in the same order after a restart.
        let open = (0..self.slots.len() as u32)
            .filter(|&slot| self.slots[slot as usize].used && self.slots[slot as usize].order.life.is_open());
        for slot in self.ended.iter().copied().chain(open) {
            let entry = &self.slots[slot as usize];
            let born = Life::new(entry.order.life.qty, entry.order.life.decimals);
            journal::append(&Record::Intent(Order { life: born, ..entry.order }), out);
            let (wire_id, origin, life) = (entry.order.wire_id, entry.ended_by, entry.order.life);
            let mut node = entry.executions;
            while node != NONE {
                let seen = self.seen_list[node as usize];
                let mut bytes = [0; 24];
                for (chunk, word) in bytes.chunks_mut(8).zip(seen.key) {
                    chunk.copy_from_slice(&word.to_le_bytes());
                }
                let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
                let execution_id = ExecutionId::cut(&bytes[..length]);
                journal::append(&Record::Progress { wire_id, origin, life, execution_id }, out);
                node = seen.next;
            }
            if entry.executions == NONE {
                let execution_id = ExecutionId::EMPTY;
                journal::append(&Record::Progress { wire_id, origin, life, execution_id }, out);
            }
        }
    }

    /// The first record of a run; the journal's own order is then the order of the runs.
    pub fn begin(&mut self) {
        let record = Record::Begin { epoch: self.ids.epoch(), shard: self.shard, provider: self.provider };
        journal::append(&record, &mut self.journal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decimal::{Decimals, Price, Qty};
    use crate::ids::{InstrumentId, Listing, ProviderId, TraceId};
    use crate::orders::id::WireIds;
    use crate::orders::ledger::LedgerOptions;
    use crate::orders::report::ReportState;
    use crate::orders::request::{DecisionId, OrderKind, OrderSide, TimeInForce};

    fn progress(wire_id: ClientOrderId, mut life: Life, state: ReportState) -> Record {
        life.state = Some(state);
        Record::Progress { wire_id, origin: Origin::Venue, life, execution_id: ExecutionId::EMPTY }
    }

    /// Found by simulation with a full disk: after a rotation the order of the batch ended twice, the count of open orders went
    /// below zero, and a limit of them would have refused every order of that run.
    #[test]
    fn what_a_batch_says_behind_its_checkpoint_ends_no_order_twice() {
        let id = ClientOrderId::parse(b"own1").expect("legal");
        let born = Life::new(Qty(10), Decimals { price: 0, qty: 0 });
        let order = Order {
            client_order_id: id,
            wire_id: id,
            consumer: ConsumerId(0),
            provider: ProviderId(0),
            instrument: InstrumentId(0),
            listing: Listing(0),
            side: OrderSide::Buy,
            kind: OrderKind::Limit,
            time_in_force: TimeInForce::GoodTillCancelled,
            post_only: false,
            price: Price(100),
            decision: DecisionId(7),
            trace: TraceId::default(),
            life: born,
        };
        let mut ledger =
            Ledger::new(ProviderId(0), 1, WireIds::new(1, 1).expect("fits"), LedgerOptions::DEFAULT);
        let checkpoint = [Record::Intent(order), progress(id, born, ReportState::Cancelled)];
        let batch = [
            Record::Intent(order),
            progress(id, born, ReportState::Ack),
            progress(id, born, ReportState::Cancelled),
        ];
        for record in checkpoint.iter().chain(&batch) {
            assert!(ledger.replay(record));
            assert!(ledger.open_orders() <= 1, "{} open after {record:?}", ledger.open_orders());
        }
        assert_eq!(ledger.open_orders(), 0);
        assert!(ledger.orders().all(|(order, _)| !order.life.is_open()));
    }

    /// Found by simulation with processes that die at their start: the next one no longer knew the ids of the run before.
    #[test]
    fn a_process_that_dies_at_its_start_passes_on_the_runs_before_it() {
        let of = |epoch| {
            let ids = WireIds::new(epoch, 1).expect("fits");
            Ledger::new(ProviderId(0), 1, ids, LedgerOptions::DEFAULT)
        };
        let mut bytes = Vec::new();
        of(3).checkpoint(&mut bytes);
        for epoch in [4, 7, 8] {
            let mut ledger = of(epoch);
            for record in journal::Records::new(&bytes) {
                assert!(ledger.replay(&record));
            }
            bytes.clear();
            ledger.checkpoint(&mut bytes);
        }
        let mut last = of(9);
        for record in journal::Records::new(&bytes) {
            assert!(last.replay(&record));
        }
        assert_eq!(last.ids.former().collect::<Vec<_>>(), [3, 4, 7, 8]);
    }
}
