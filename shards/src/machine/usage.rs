//! What the kernel counted for one thread: context switches, page faults, migrations, time.
//!
//! Read from `/proc/self/task/<tid>/` before and after a run; the difference is what disturbed the shard.
//! Files that this kernel does not have leave their figures absent, which is not the same as 0.

use std::fs;

use serde::{Deserialize, Serialize};

/// Ticks per second of `utime` and `stime` in `/proc/<pid>/stat` on every Linux since 2.6 (`USER_HZ`).
const USER_HZ: u64 = 100;
/// Nanoseconds of one such tick.
const TICK_NS: u64 = 1_000_000_000 / USER_HZ;

/// Counters of one thread since it started, or the difference of two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadUsage {
    /// The thread gave the core up itself: it slept or blocked.
    pub voluntary_switches: Option<u64>,
    /// The scheduler took the core away.
    pub involuntary_switches: Option<u64>,
    /// Page faults served from memory.
    pub minor_faults: Option<u64>,
    /// Page faults that waited for a disk.
    pub major_faults: Option<u64>,
    /// Moves to another core. Needs a kernel with scheduler debugging.
    pub migrations: Option<u64>,
    /// Time on a core, in nanoseconds (in ticks of 10 ms where the kernel has no scheduler statistics).
    pub cpu_ns: Option<u64>,
    /// Time ready to run but waiting for a core, in nanoseconds.
    pub wait_ns: Option<u64>,
}

impl ThreadUsage {
    /// Reads the counters of a thread of this process; all absent if there is no such thread.
    pub fn read(tid: u32) -> Self {
        let file = |name| fs::read_to_string(format!("/proc/self/task/{tid}/{name}")).unwrap_or_default();
        Self::parse(&file("status"), &file("stat"), &file("schedstat"), &file("sched"))
    }

    /// Reads the counters of the calling thread.
    pub fn read_current() -> Self {
        Self::read(current_tid())
    }

    /// What was counted between `before` and this reading; absent where either is.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let difference = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        Self {
            voluntary_switches: difference(self.voluntary_switches, before.voluntary_switches),
            involuntary_switches: difference(self.involuntary_switches, before.involuntary_switches),
            minor_faults: difference(self.minor_faults, before.minor_faults),
            major_faults: difference(self.major_faults, before.major_faults),
            migrations: difference(self.migrations, before.migrations),
            cpu_ns: difference(self.cpu_ns, before.cpu_ns),
            wait_ns: difference(self.wait_ns, before.wait_ns),
        }
    }

    /// Source: `Documentation/filesystems/proc.rst` (status, stat), `Documentation/scheduler/sched-stats.rst`
    /// (schedstat) of Linux 6.18; `sched` is documented nowhere and is read by name.
    fn parse(status: &str, stat: &str, schedstat: &str, sched: &str) -> Self {
        // The name of the thread may hold spaces and parentheses, so fields count from the last `)`.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        // proc.rst numbers fields from 1 and `state`, the first one here, is its number 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let mut schedstat = schedstat.split_whitespace().map(|text| text.parse().ok());
        let ticks = || Some(field(14)?.saturating_add(field(15)?).saturating_mul(TICK_NS));
        Self {
            voluntary_switches: named(status, "voluntary_ctxt_switches"),
            involuntary_switches: named(status, "nonvoluntary_ctxt_switches"),
            minor_faults: field(10),
            major_faults: field(12),
            migrations: named(sched, "se.nr_migrations"),
            cpu_ns: schedstat.next().flatten().or_else(ticks),
            wait_ns: schedstat.next().flatten(),
        }
    }
}

/// The kernel's id of the calling thread, for [`ThreadUsage::read`] from another one.
pub fn current_tid() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
}

/// The value of a `name: value` line.
fn named(text: &str, name: &str) -> Option<u64> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(found, _)| found.trim() == name).and_then(|(_, value)| value.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tshard 0\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
    const STAT: &str = "77 (a) b (c) R 1 77 77 0 -1 4194304 501 0 2 0 150 50 0 0 20 0 4 0 12345 3158016 440 18446744073709551615";
    const SCHED: &str =
        "cat (7836, #threads: 1)\n---\nse.nr_migrations        :        5\nnr_switches : 15\n";

    #[test]
    fn every_file_gives_its_figures() {
        let expected = ThreadUsage {
            voluntary_switches: Some(12),
            involuntary_switches: Some(3),
            minor_faults: Some(501),
            major_faults: Some(2),
            migrations: Some(5),
            cpu_ns: Some(1_999_000_000),
            wait_ns: Some(35_740),
        };
        assert_eq!(ThreadUsage::parse(STATUS, STAT, "1999000000 35740 1\n", SCHED), expected);
    }

    #[test]
    fn without_schedstat_the_time_is_in_ticks() {
        let usage = ThreadUsage::parse(STATUS, STAT, "", "");
        assert_eq!((usage.cpu_ns, usage.wait_ns), (Some(2_000_000_000), None));
        assert_eq!(usage.migrations, None);
    }

    #[test]
    fn nonsense_is_absent() {
        for text in ["", ")", "(x", "(x) R", "voluntary_ctxt_switches: many"] {
            assert_eq!(ThreadUsage::parse(text, text, text, text), ThreadUsage::default(), "{text}");
        }
        assert_eq!(ThreadUsage::read(0), ThreadUsage::default());
    }

    #[test]
    fn a_difference_is_absent_where_either_reading_is() {
        let before = ThreadUsage { minor_faults: Some(10), major_faults: Some(1), ..ThreadUsage::default() };
        let after = ThreadUsage { minor_faults: Some(15), cpu_ns: Some(9), ..ThreadUsage::default() };
        assert_eq!(after.since(&before), ThreadUsage { minor_faults: Some(5), ..ThreadUsage::default() });
    }

    #[test]
    fn a_thread_that_sleeps_is_seen_to() {
        let before = ThreadUsage::read_current();
        std::thread::sleep(std::time::Duration::from_millis(1));
        let slept = ThreadUsage::read_current().since(&before);
        assert!(slept.voluntary_switches >= Some(1), "{slept:?}");
        assert!(ThreadUsage::read(current_tid()).since(&before).major_faults.is_some());
    }
}
