//! What goes wrong between an exchange and its clients: the fault script, and the queue of reports it acts on.

use std::collections::VecDeque;

use fastrand::Rng;

use super::order::{Report, ReportKind};
use crate::clock::MS_NS;

/// A report held back for the one after it waits at most this long.
const HELD_NS_MAX: u64 = 50 * MS_NS;
/// The lateness of a slow answer where chance made it slow.
const SLOW_NS: u64 = 4_000 * MS_NS;
/// The lateness of an answer that comes after its reports.
const BEHIND_REPORTS_NS: u64 = 20 * MS_NS;

/// A fault of order entry. Counts are of the next accepted orders or of the next reports, over all accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderFault {
    /// The order is accepted and its answer never sent.
    AckLost {
        /// Orders.
        count: u32,
    },
    /// The order is accepted and the answer comes late; reports are in time.
    SlowAck {
        /// Nanoseconds.
        delay_ns: u64,
        /// Orders.
        count: u32,
    },
    /// The order is accepted and the answer is the venue's 5xx.
    ErrorAfterAccept {
        /// Orders.
        count: u32,
    },
    /// The order is accepted and its first report comes before the answer.
    ReportBeforeAck {
        /// Orders.
        count: u32,
    },
    /// The order is accepted and the connection that it came on is dropped instead of an answer.
    KillSession {
        /// Orders.
        count: u32,
    },
    /// A report is sent twice.
    DuplicateReport {
        /// Reports.
        count: u32,
    },
    /// A report is sent after the one that follows it (or 50 ms late if none does).
    OutOfOrderReports {
        /// Pairs of reports.
        count: u32,
    },
    /// The report of a fill is never sent.
    FillReportLost {
        /// Reports of fills.
        count: u32,
    },
    /// Fills this share of what is left of each resting order now, at its own price.
    Fill {
        /// 1 to 100; at least a lot of each order.
        percent: u8,
    },
    /// All private connections are dropped and none is let in for this long; meanwhile each resting order is filled by
    /// `percent`, and nobody is told.
    FillDuringOutage {
        /// As above; 0 fills nothing.
        percent: u8,
        /// Nanoseconds.
        for_ns: u64,
    },
    /// The venue's clock is off by this much: it refuses timestamps that are right.
    ClockSkew {
        /// Added to the venue's clock, milliseconds.
        by_ms: i64,
        /// Nanoseconds.
        for_ns: u64,
    },
    /// Ends the faults above; what was held back is sent.
    Clear,
}

/// What a client hears of its accepted order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The truth, now.
    Now,
    /// The truth, so many nanoseconds later.
    After(u64),
    /// Nothing.
    Never,
    /// That the server failed.
    ServerError,
    /// Nothing: its connection is dropped.
    Drop,
}

/// Faults that wait, in the order in which one order is hit by at most one of them.
#[derive(Debug, Default)]
struct Armed {
    ack_lost: u32,
    slow: (u64, u32),
    error: u32,
    report_first: u32,
    kill: u32,
    duplicate: u32,
    out_of_order: u32,
    fill_lost: u32,
}

fn take(count: &mut u32) -> bool {
    let armed = *count > 0;
    *count = count.saturating_sub(1);
    armed
}

/// The faults of one exchange.
#[derive(Debug)]
pub(super) struct Script {
    armed: Armed,
    /// Of a thousand accepted orders, so many meet a fault by chance.
    permille: u32,
    rng: Rng,
    pub(super) outage_until_ns: u64,
    skew: (i64, u64),
    kill: bool,
}

impl Script {
    pub(super) fn new(permille: u32, rng: Rng) -> Self {
        Self { armed: Armed::default(), permille, rng, outage_until_ns: 0, skew: (0, 0), kill: false }
    }

    /// Arms a fault. [`OrderFault::Fill`] and the fills of an outage are the exchange's part.
    pub(super) fn arm(&mut self, fault: &OrderFault, now_ns: u64) {
        let armed = &mut self.armed;
        match *fault {
            OrderFault::AckLost { count } => armed.ack_lost = count,
            OrderFault::SlowAck { delay_ns, count } => armed.slow = (delay_ns, count),
            OrderFault::ErrorAfterAccept { count } => armed.error = count,
            OrderFault::ReportBeforeAck { count } => armed.report_first = count,
            OrderFault::KillSession { count } => armed.kill = count,
            OrderFault::DuplicateReport { count } => armed.duplicate = count,
            OrderFault::OutOfOrderReports { count } => armed.out_of_order = count,
            OrderFault::FillReportLost { count } => armed.fill_lost = count,
            OrderFault::Fill { .. } => {}
            OrderFault::FillDuringOutage { for_ns, .. } => {
                self.kill = true;
                self.outage_until_ns = now_ns.saturating_add(for_ns);
            }
            OrderFault::ClockSkew { by_ms, for_ns } => self.skew = (by_ms, now_ns.saturating_add(for_ns)),
            OrderFault::Clear => {
                self.armed = Armed::default();
                (self.outage_until_ns, self.skew, self.kill) = (0, (0, 0), false);
            }
        }
    }

    /// The fate of the answer to an order that was just accepted.
    pub(super) fn answer(&mut self) -> Answer {
        if self.permille > 0 && self.rng.u32(0..1_000) < self.permille {
            let armed = &mut self.armed;
            match self.rng.u8(0..8) {
                0 => armed.ack_lost += 1,
                1 => armed.slow = (SLOW_NS, 1),
                2 => armed.error += 1,
                3 => armed.report_first += 1,
                4 => armed.kill += 1,
                5 => armed.duplicate += 1,
                6 => armed.out_of_order += 1,
                _ => armed.fill_lost += 1,
            }
        }
        let armed = &mut self.armed;
        if take(&mut armed.kill) {
            Answer::Drop
        } else if take(&mut armed.ack_lost) {
            Answer::Never
        } else if take(&mut armed.error) {
            Answer::ServerError
        } else if take(&mut armed.slow.1) {
            Answer::After(armed.slow.0)
        } else if take(&mut armed.report_first) {
            Answer::After(BEHIND_REPORTS_NS)
        } else {
            Answer::Now
        }
    }

    /// The venue's clock, milliseconds since 1970.
    pub(super) fn clock_ms(&self, now_ns: u64) -> u64 {
        let by_ms = if now_ns < self.skew.1 { self.skew.0 } else { 0 };
        (now_ns / MS_NS).saturating_add_signed(by_ms)
    }

    /// Whether all private connections are to be dropped now; once.
    pub(super) fn take_kill(&mut self) -> bool {
        std::mem::take(&mut self.kill)
    }
}

/// Reports on their way.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Report>,
    /// Waits for the next one, or for this time.
    held: Option<(u64, Report)>,
}

impl Outbox {
    pub(super) fn push(&mut self, report: Report, script: &mut Script, now_ns: u64) {
        let armed = &mut script.armed;
        if report.kind == ReportKind::Trade && take(&mut armed.fill_lost) {
            return;
        }
        if self.held.is_none() && take(&mut armed.out_of_order) {
            self.held = Some((now_ns + HELD_NS_MAX, report));
            return;
        }
        if take(&mut armed.duplicate) {
            self.queue.push_back(report.clone());
        }
        self.queue.push_back(report);
        self.queue.extend(self.held.take().map(|(_, report)| report));
    }

    pub(super) fn pop(&mut self, now_ns: u64) -> Option<Report> {
        if self.held.as_ref().is_some_and(|(due_ns, _)| *due_ns <= now_ns) {
            self.release();
        }
        self.queue.pop_front()
    }

    pub(super) fn release(&mut self) {
        self.queue.extend(self.held.take().map(|(_, report)| report));
    }

    pub(super) fn next_wake_ns(&self) -> u64 {
        let held_ns = self.held.as_ref().map_or(u64::MAX, |(due_ns, _)| *due_ns);
        if self.queue.is_empty() { held_ns } else { 0 }
    }
}
