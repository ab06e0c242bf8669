//! The journal of a [`Trade`], and what is left of it when the process dies or its host loses its power.
//!
//! The gateway's own code reads it at a start and writes it while it runs; the disk is simulated. What must hold: a start reads
//! what is there, a torn end is cut off, no order whose intent was durable is forgotten, and no run is numbered twice.

use engine::orders::ClientOrderId;
use engine::orders::desk::Durability;
use engine::orders::journal::{Record, Records, Tail};
use engine::orders::venue::OrderGateway;
use shards::orders::journal::OpenJournal;
use shards::orders::keep::Keeper;

use super::{Trade, make};
use crate::disk::Crash;
use crate::sim::{MS_NS, SECOND_NS};

/// Under `batch` a power cut may cost so much, in nanoseconds of [`Trade::ran_ns`]: what was handed over since the last sync, and
/// some steps of the disk, each of which may end only after the process stood still.
const POWER_CUT_NS_MAX: u64 = SECOND_NS + 200 * MS_NS;
/// Times that a start may fail in a row.
const STARTS_MAX: u32 = 3;

impl<G: OrderGateway> Trade<G> {
    /// The disk takes only so many more bytes. The journal that meets its end trades no more until the next start.
    pub fn fill_disk(&mut self, room: usize) {
        self.disk.fill(room);
    }

    /// The disk says from now on that it has what it has not.
    pub fn lying_disk(&mut self) {
        self.disk.lie();
    }

    /// The process dies now, and another begins with what the kernel has; often a part of a record is behind it.
    ///
    /// # Panics
    /// If the journal cannot be read, or does not say what it must.
    pub fn restart(&mut self) {
        self.crash(Crash::Kill);
    }

    /// The host loses its power now, and the process begins with what the disk has.
    ///
    /// # Panics
    /// If the journal cannot be read, or does not say what it must.
    pub fn power_cut(&mut self) {
        self.crash(Crash::Power);
    }

    fn crash(&mut self, crash: Crash) {
        self.tally.restarts += 1;
        self.tally.power_cuts += u64::from(crash == Crash::Power);
        if let Some(connection) = self.wire.take() {
            self.site.closed(connection);
        }
        for asked in self.asked.drain(..) {
            self.site.closed(asked.connection);
        }
        let promised = self.promised(crash);
        self.die(crash);
        // Room first: a gateway whose disk is full does not start, and says so.
        self.disk.clear();
        for number in 0.. {
            if number < STARTS_MAX && self.rng.u8(0..4) == 0 {
                self.disk.die_at_put();
            }
            if self.start() {
                break;
            }
            self.tally.failed_starts += 1;
            self.die(crash);
        }
        for id in promised {
            let known = self.desk.ledger().orders().any(|(order, _)| order.wire_id == id);
            assert!(known, "seed {}: {id} was durable, and the journal does not know it", self.seed);
            self.tally.remembered += 1;
        }
        self.told.clear();
        self.gap_open = false;
        if self.killed {
            self.desk.kill(None, self.now());
        }
    }

    /// Nothing of the process is left.
    fn die(&mut self, crash: Crash) {
        if let Some(journal) = self.journal.take() {
            self.tally.rotations += journal.counts.rotations_total;
        }
        self.disk.crash(crash);
    }

    /// Orders whose intent this crash may not lose.
    fn promised(&self, crash: Crash) -> Vec<ClientOrderId> {
        let since_ns = match (crash, self.options.durability) {
            (Crash::Power, Durability::Batch) => self.ran_ns.saturating_sub(POWER_CUT_NS_MAX),
            _ => u64::MAX,
        };
        let is_promised =
            |&&(_, _, durable_ns): &&(_, _, Option<u64>)| durable_ns.is_some_and(|at| at < since_ns);
        self.intents.iter().filter(is_promised).map(|&(id, _, _)| id).collect()
    }

    /// A process begins, as the gateway's launch has it. Returns whether it lived to its first turn.
    pub(super) fn start(&mut self) -> bool {
        let seed = self.seed;
        let opened =
            OpenJournal::open_on(self.disk.clone(), &self.plan, "venue", &["consumer 0 it".to_owned()]);
        let Ok(opened) = opened else { return false };
        self.tally.cut_bytes += opened.cut_bytes;
        // The clock may have gone back.
        let unix_s = self.now_ns / SECOND_NS - self.rng.u64(0..3);
        self.epoch = opened.next_epoch(unix_s);
        self.desk = make(&self.site, self.gateway, self.epoch, &self.options);
        let replayed = self.desk.replay(&opened.bytes);
        assert_eq!((replayed.refused, replayed.tail), (0, Tail::Clean), "seed {seed}: {replayed:?}");
        let mut checkpoint = Vec::new();
        self.desk.checkpoint(&mut checkpoint);
        let Ok(begun) = opened.begin(&checkpoint) else { return false };
        assert!(self.epochs.insert(self.epoch), "seed {seed}: run {} was there before", self.epoch);
        self.journal = Some(begun.writer(self.disk.clone()));
        (self.keeper, self.failed_ns) = (Keeper::default(), None);
        // What the checkpoint says is on the disk already.
        let known = self.desk.ledger().orders().map(|(order, _)| (order.wire_id, 0, Some(0)));
        self.intents = known.collect();
        self.desk.begin(self.now());
        true
    }

    /// What the shard does between its desk and its journal, and what the disk does meanwhile.
    pub(super) fn keep_journal(&mut self) {
        let (now_ns, ran_ns) = (self.now_ns, self.ran_ns);
        self.disk.run(now_ns);
        let Self { journal, keeper, desk, intents, .. } = self;
        let Some(journal) = journal else { return };
        if journal.is_free() {
            // Handed over below, if at all: what it says of orders, and where.
            let mut records = Records::new(desk.journal());
            let begins = desk.journal_end() - desk.journal().len() as u64;
            while let Some(record) = records.next() {
                if let Record::Intent(order) = record {
                    let position = begins + records.position() as u64;
                    if intents.iter().all(|&(id, _, _)| id != order.wire_id) {
                        intents.push((order.wire_id, position, None));
                    }
                }
            }
        }
        let failed = keeper.failed;
        keeper.turn(journal, desk, now_ns);
        for (_, position, durable_ns) in intents.iter_mut() {
            if *position <= keeper.durable {
                durable_ns.get_or_insert(ran_ns);
            }
        }
        if keeper.failed && !failed {
            self.failed_ns = Some(now_ns);
            self.tally.journal_failures += 1;
        }
    }
}
