//! Between a desk and its journal: what has to be written is handed over, what is durable is told back.

use engine::orders::desk::Desk;
use engine::orders::venue::OrderGateway;
use engine::time::ReceiveTime;

use super::disk::Writes;
use super::journal::JournalWriter;

/// What a look at the journal changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing.
    Same,
    /// Something was handed over, or is durable now.
    Moved,
    /// It has just failed: the desk sends nothing new any more and cancels what is open.
    Failed,
}

/// How far the journal of one desk is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keeper {
    /// Position in bytes of this run before which all is durable.
    pub durable: u64,
    /// Nothing can be written any more: no new order may be taken.
    pub failed: bool,
}

impl Keeper {
    /// Hands over what the journal has to write, and takes note of what is durable.
    pub fn turn<G: OrderGateway, W: Writes>(
        &mut self,
        journal: &mut JournalWriter<W>,
        desk: &mut Desk<G>,
        now_ns: u64,
    ) -> Kept {
        let mut kept = Kept::Same;
        if let Some(position) = journal.poll(now_ns) {
            self.durable = position;
            desk.journal_durable(position);
            kept = Kept::Moved;
        }
        if journal.failure().is_some() {
            desk.journal_written(desk.journal().len());
            if std::mem::replace(&mut self.failed, true) {
                return kept;
            }
            // What cannot be remembered must not be sent, and what is open must not be left alone.
            desk.kill(None, ReceiveTime::from_ns(now_ns));
            return Kept::Failed;
        }
        if journal.is_free() && !desk.journal().is_empty() {
            let checkpoint = journal.wants_rotation().then(|| {
                let mut bytes = Vec::new();
                desk.checkpoint(&mut bytes);
                bytes
            });
            let (count, end) = (desk.journal().len(), desk.journal_end());
            journal.write(desk.journal(), end, checkpoint, now_ns);
            desk.journal_written(count);
            kept = Kept::Moved;
        }
        if journal.is_free() && journal.sync_due_ns().is_some_and(|at| now_ns >= at) {
            journal.sync(now_ns);
            kept = Kept::Moved;
        }
        kept
    }
}
