//! The topology against the host: will it start, and will it run as written?
//!
//! Each check is one [`Finding`]: what is required, what is there, how bad, and what to do. Under `host: dedicated` shards
//! spin, so whatever takes their core away is at least a warning; under `host: shared` the same is a note. [`doctor`] is
//! [`check`] and, after it, tuning that no topology asks for.

use serde::Serialize;

use super::memory::{memory_budget, shown_bytes};
use super::plan::{HostMode, Topology};
use super::tuning;
use crate::host::{CpuSet, HostCores, HostFacts, HostView, Limit, governor, siblings};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As required.
    Ok,
    /// Good to know.
    Note,
    /// It cannot be seen from here whether it is as required: look on the host itself.
    Unknown,
    /// It starts and will be slower or less steady than written.
    Warning,
    /// It does not start, or does not run as written.
    Error,
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// What the topology needs.
    pub required: String,
    /// What the host has.
    pub current: String,
    /// How bad the difference is.
    pub severity: Severity,
    /// What to do; empty when nothing is.
    pub fix: String,
}

/// The exit code of the findings: 2 with an error, else 0.
pub fn exit_code(findings: &[Finding]) -> i32 {
    if findings.iter().any(|finding| finding.severity == Severity::Error) { 2 } else { 0 }
}

/// Kernel lockable memory of one executor: 24 of them started within 8 MiB and more did not, reliably (measured,
/// 64 KiB of I/O memory each, unprivileged): 8192 / 24, rounded up.
pub const EXECUTOR_MEMLOCK_BYTES: u64 = 352 * 1024;
/// The runtime refuses to start below this, and panics at exactly 512 KiB (measured).
pub const MEMLOCK_BYTES_MIN: u64 = 1024 * 1024;
/// Files of one executor (4, measured), its poll set and its wake-up.
pub const EXECUTOR_FILES: u64 = 6;
/// Files of one provider besides its connections: REST, both ends if simulated.
pub const PROVIDER_FILES: u64 = 6;
/// Standard streams, control endpoint and its clients, reports, journals.
pub const PROCESS_FILES: u64 = 64;
/// `io_uring` with what the runtime uses of it. Source: glommio 0.9, README, requirements.
pub const KERNEL_MIN: (u32, u32) = (5, 8);

/// What stands in the column of what was found where nothing can be.
pub(super) const UNSEEN: &str = "unknown (cannot be seen from here)";

/// Compares the topology with the host. Reads only.
pub fn check(topology: &Topology, host: &dyn HostView) -> Vec<Finding> {
    checked(topology, &HostFacts::gather(host), host).findings
}

fn checked(topology: &Topology, facts: &HostFacts, host: &dyn HostView) -> Report {
    let mut report = Report { dedicated: topology.host == HostMode::Dedicated, findings: Vec::new() };
    let cores: CpuSet = topology.shards.iter().map(|shard| shard.core).collect();
    start(topology, facts, &cores, &mut report);
    placement(topology, facts, host, &cores, &mut report);
    kernel_noise(facts, &cores, &mut report);
    report
}

/// [`check`], and tuning that helps latency on any host.
pub fn doctor(topology: &Topology, host: &dyn HostView) -> Vec<Finding> {
    let facts = HostFacts::gather(host);
    let mut report = checked(topology, &facts, host);
    tuning::look(topology, &facts, host, &mut report);
    report.findings
}

/// Why a core cannot be used, as the rest of a message; `None` if it can.
pub(super) fn core_misfit(core: u32, cores: &HostCores) -> Option<String> {
    if !cores.online.contains(core) {
        return Some(format!("the host has cores {}", cores.online));
    }
    if !cores.allowed.contains(core) {
        return Some(format!("this process may use cores {} (the host has {})", cores.allowed, cores.online));
    }
    None
}

/// The findings so far.
pub(super) struct Report {
    /// Shards spin.
    pub(super) dedicated: bool,
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn add(
        &mut self,
        check: &'static str,
        required: impl Into<String>,
        current: impl Into<String>,
        severity: Severity,
        fix: impl Into<String>,
    ) {
        let fix = if severity == Severity::Ok { String::new() } else { fix.into() };
        self.findings.push(Finding {
            check,
            required: required.into(),
            current: current.into(),
            severity,
            fix,
        });
    }

    /// What only a spinning shard suffers from.
    pub(super) fn tuning(&self, fine: bool) -> Severity {
        match (fine, self.dedicated) {
            (true, _) => Severity::Ok,
            (false, true) => Severity::Warning,
            (false, false) => Severity::Note,
        }
    }

    pub(super) fn unseen(
        &mut self,
        check: &'static str,
        required: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(check, required, UNSEEN, Severity::Unknown, fix);
    }
}

/// What decides whether it starts.
fn start(topology: &Topology, facts: &HostFacts, cores: &CpuSet, report: &mut Report) {
    let wanted: CpuSet = cores.iter().chain(topology.control.core).collect();
    match &facts.cores {
        None => report.unseen("cores", format!("{wanted} online"), "mount /sys and /proc"),
        Some(host) => {
            let missing: CpuSet = wanted.iter().filter(|core| core_misfit(*core, host).is_some()).collect();
            let severity = if missing.is_empty() { Severity::Ok } else { Severity::Error };
            let current = format!("{} online, {} allowed", host.online, host.allowed);
            let fix = format!("cores {missing}: name others in the file, or grant them (taskset, cpuset)");
            report.add("cores", format!("{wanted} online and allowed"), current, severity, fix);
        }
    }
    if let Some((major, minor, name)) = &facts.kernel {
        let fine = (*major, *minor) >= KERNEL_MIN;
        let severity = if fine { Severity::Ok } else { Severity::Error };
        let required = format!("{}.{} or newer", KERNEL_MIN.0, KERNEL_MIN.1);
        report.add("kernel", required, name.clone(), severity, "a newer kernel");
    } else {
        report.unseen("kernel", format!("{}.{} or newer", KERNEL_MIN.0, KERNEL_MIN.1), "mount /proc");
    }
    io_uring(facts, report);

    let executors = topology.shards.len() as u64 + 1; // and the control shard
    let memlock = (executors * EXECUTOR_MEMLOCK_BYTES).max(MEMLOCK_BYTES_MIN);
    let required = format!("{} for {executors} executors", shown_bytes(memlock));
    match facts.memlock {
        _ if facts.cap_ipc_lock => {
            report.add("locked memory", required, "no limit (CAP_IPC_LOCK)", Severity::Ok, "");
        }
        None => report.unseen("locked memory", required, "mount /proc"),
        Some(Limit::Unlimited) => report.add("locked memory", required, "no limit", Severity::Ok, ""),
        Some(Limit::AtMost(bytes)) => {
            let severity = if bytes >= memlock { Severity::Ok } else { Severity::Error };
            let kib = memlock.div_ceil(1024);
            let fix = format!("ulimit -l {kib}, or LimitMEMLOCK={kib}K in the service");
            report.add("locked memory", required, shown_bytes(bytes), severity, fix);
        }
    }

    let connections: usize = topology.providers.iter().map(super::venues::connections).sum();
    let files = executors * EXECUTOR_FILES
        + 2 * connections as u64
        + topology.providers.len() as u64 * PROVIDER_FILES
        + PROCESS_FILES;
    let required = format!("{files}");
    match facts.nofile {
        None => report.unseen("open files", required, "mount /proc"),
        Some(Limit::Unlimited) => report.add("open files", required, "no limit", Severity::Ok, ""),
        Some(Limit::AtMost(limit)) => {
            let severity = if limit >= files { Severity::Ok } else { Severity::Error };
            let fix = format!("ulimit -n {files}, or LimitNOFILE={files} in the service");
            report.add("open files", required, limit.to_string(), severity, fix);
        }
    }

    let budget = memory_budget(topology).total_bytes_max();
    let required = format!("{} for pools, rings, spills and books", shown_bytes(budget));
    match facts.memory_available {
        None => report.unseen("memory", required, "mount /proc"),
        Some(available) => {
            let severity = if available >= budget { Severity::Ok } else { Severity::Error };
            let fix = "smaller rings, spills or books: the sum is printed before start";
            report.add("memory", required, format!("{} available", shown_bytes(available)), severity, fix);
        }
    }
}

fn io_uring(facts: &HostFacts, report: &mut Report) {
    const REQUIRED: &str = "allowed";
    const FIX: &str = "sysctl kernel.io_uring_disabled=0";
    /// Source: Documentation/admin-guide/sysctl/kernel.rst of Linux 6.6.
    const SWITCH_SINCE: (u32, u32) = (6, 6);
    match facts.io_uring_disabled {
        Some(2) => report.add("io_uring", REQUIRED, "disabled for everyone (2)", Severity::Error, FIX),
        Some(1) if !facts.cap_sys_admin => report.add(
            "io_uring",
            REQUIRED,
            "only for a privileged group (1)",
            Severity::Error,
            format!("{FIX}, or put the user into the group of kernel.io_uring_group"),
        ),
        _ if facts.seccomp == Some(true) => report.add(
            "io_uring",
            REQUIRED,
            "a system call filter is active",
            Severity::Warning,
            "containers: allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile",
        ),
        Some(value) => report.add("io_uring", REQUIRED, format!("allowed ({value})"), Severity::Ok, ""),
        None if facts.kernel.as_ref().is_none_or(|(major, minor, _)| (*major, *minor) >= SWITCH_SINCE) => {
            report.unseen("io_uring", REQUIRED, "mount /proc");
        }
        None => report.add("io_uring", REQUIRED, "this kernel has no switch for it", Severity::Ok, ""),
    }
}

/// Whether a shard has its core for itself.
fn placement(
    topology: &Topology,
    facts: &HostFacts,
    host: &dyn HostView,
    cores: &CpuSet,
    report: &mut Report,
) {
    let shards = topology.shards.len();
    if cores.len() < shards {
        // Under `dedicated` the reader has refused this already.
        let severity = report.tuning(false);
        let current = format!("{shards} shards on {} cores ({cores})", cores.len());
        report.add(
            "cores shared by shards",
            "a core a shard",
            current,
            severity,
            "more cores, or fewer shards",
        );
    } else {
        report.add("cores shared by shards", "a core a shard", "none", Severity::Ok, "");
    }

    let quota_needed = cores.len() as u64 * 1000;
    let shown = |permille: u64| format!("{}.{} cores", permille / 1000, permille % 1000 / 100);
    let required = if report.dedicated { "no CPU quota below the shards" } else { "no CPU quota" };
    match facts.quota_permille {
        None => report.unseen("CPU quota", required, "mount /sys/fs/cgroup"),
        Some(Limit::Unlimited) => report.add("CPU quota", required, "none", Severity::Ok, ""),
        Some(Limit::AtMost(permille)) => {
            let severity = match (report.dedicated, permille >= quota_needed) {
                (_, true) => Severity::Note,
                (true, false) => Severity::Error, // a spinning shard uses all it gets and is then stopped for the rest of the period
                (false, false) => Severity::Warning,
            };
            let fix = format!(
                "grant {} or none (cpu.max, --cpus): a shard is stopped when the quota is used up",
                shown(quota_needed)
            );
            report.add("CPU quota", required, shown(permille), severity, fix);
        }
    }

    // An isolated partition of the control group does the same as the boot option.
    let partition = facts.cpuset.as_ref().filter(|cpuset| cpuset.isolated).map(|cpuset| cpuset.cores.clone());
    let isolated: Option<CpuSet> = match (&facts.isolated, partition) {
        (Some(booted), Some(partition)) => Some(booted.iter().chain(partition.iter()).collect()),
        (booted, partition) => booted.clone().or(partition),
    };
    let isolated = isolated.as_ref();
    let required = format!("{cores} isolated");
    match isolated {
        None => report.unseen("isolated cores", required, "mount /sys"),
        Some(isolated) => {
            let open = cores.difference(isolated);
            let severity = report.tuning(open.is_empty());
            let fix = match unisolatable(facts, cores) {
                Some(reason) => reason,
                None => {
                    format!("boot with isolcpus=managed_irq,domain,{cores}, or an isolated cpuset partition")
                }
            };
            report.add("isolated cores", required, isolated.to_string(), severity, fix);
        }
    }

    smt(host, cores, isolated, report);
    frequency(host, cores, report);

    let used: Vec<String> = facts
        .nodes
        .iter()
        .filter(|(_, of)| !of.intersection(cores).is_empty())
        .map(|(node, of)| format!("node {node}: {}", of.intersection(cores)))
        .collect();
    if facts.nodes.is_empty() {
        report.unseen("NUMA node", "all shards on one", "compare with lscpu on the host");
    } else {
        let severity = report.tuning(used.len() <= 1);
        let fix = "shards that exchange events belong on cores of one node, the network card's";
        report.add("NUMA node", "all shards on one", used.join("; "), severity, fix);
    }
}

/// Why cores cannot be taken from the kernel: it needs one for itself.
pub(super) fn unisolatable(facts: &HostFacts, cores: &CpuSet) -> Option<String> {
    let online = &facts.cores.as_ref()?.online;
    online.difference(cores).is_empty().then(|| {
        "not on this host: the shards have every core, and the kernel needs one; fewer shards' cores, or more cores".to_owned()
    })
}

/// Siblings share one core's execution units: a busy one slows the other down by up to half.
fn smt(host: &dyn HostView, cores: &CpuSet, isolated: Option<&CpuSet>, report: &mut Report) {
    let mut pairs = Vec::new();
    let mut noisy = Vec::new();
    let mut seen = false;
    for core in cores.iter() {
        let Some(siblings) = siblings(host, core) else { continue };
        seen = true;
        for sibling in siblings.iter().filter(|sibling| *sibling != core) {
            if cores.contains(sibling) {
                if core < sibling {
                    pairs.push(format!("{core} and {sibling} are one core"));
                }
            } else if isolated.is_none_or(|isolated| !isolated.contains(sibling)) {
                noisy.push(format!("{sibling} beside {core} takes other work"));
            }
        }
    }
    let required = "no busy sibling";
    if !seen {
        report.unseen("SMT siblings", required, "compare with lscpu -e on the host");
        return;
    }
    let current = if pairs.is_empty() && noisy.is_empty() {
        "none".to_owned()
    } else {
        pairs.iter().chain(&noisy).cloned().collect::<Vec<_>>().join("; ")
    };
    let severity = report.tuning(pairs.is_empty() && noisy.is_empty());
    report.add(
        "SMT siblings",
        required,
        current,
        severity,
        "one shard a physical core; isolate the sibling or switch SMT off",
    );
}

/// A governor that lowers the frequency of a core that looks idle makes the first event after a pause slow.
fn frequency(host: &dyn HostView, cores: &CpuSet, report: &mut Report) {
    let slow: Vec<(u32, Option<String>)> = cores
        .iter()
        .map(|core| (core, governor(host, core)))
        .filter(|(_, governor)| governor.as_deref() != Some("performance"))
        .collect();
    if !slow.is_empty() && slow.iter().all(|(_, governor)| governor.is_none()) {
        // Virtual machines show none, and nothing can be done inside of them.
        report.unseen(
            "governor",
            "performance",
            "the host of a virtual machine decides: ask for performance there",
        );
        return;
    }
    let current = if slow.is_empty() {
        "performance".to_owned()
    } else {
        let list = slow
            .iter()
            .map(|(core, governor)| format!("{core}: {}", governor.as_deref().unwrap_or("not shown")));
        list.collect::<Vec<_>>().join(", ")
    };
    let severity = report.tuning(slow.is_empty());
    report.add(
        "governor",
        "performance",
        current,
        severity,
        format!("cpupower -c {cores} frequency-set -g performance"),
    );
}

/// What the kernel does on the cores of the shards.
fn kernel_noise(facts: &HostFacts, cores: &CpuSet, report: &mut Report) {
    let sets = [
        ("nohz_full", &facts.nohz_full, "boot with nohz_full="),
        ("rcu_nocbs", &facts.rcu_nocbs, "boot with rcu_nocbs="),
    ];
    for (name, set, fix) in sets {
        match set {
            None => report.unseen(name, cores.to_string(), format!("{fix}{cores}")),
            Some(set) => {
                let severity = report.tuning(cores.difference(set).is_empty());
                let fix = unisolatable(facts, cores).unwrap_or_else(|| format!("{fix}{cores}"));
                report.add(name, cores.to_string(), set.to_string(), severity, fix);
            }
        }
    }
    match &facts.clocksource {
        None => report.unseen("clock source", "tsc", "mount /sys"),
        Some(source) => {
            // A paravirtual clock still reads the TSC without a system call; others cost a microsecond a read.
            let fine = source == "tsc" || source == "arch_sys_counter";
            let severity = report.tuning(fine);
            report.add(
                "clock source",
                "tsc",
                source.clone(),
                severity,
                "boot with tsc=reliable if the hardware's TSC is invariant",
            );
        }
    }
    if facts.irqs.is_empty() {
        report.unseen("interrupts", format!("none on {cores}"), "compare with /proc/interrupts on the host");
    } else {
        let hit: Vec<&(u32, CpuSet)> =
            facts.irqs.iter().filter(|(_, of)| !of.intersection(cores).is_empty()).collect();
        let current = match hit.as_slice() {
            [] => "none".to_owned(),
            [(first, _), ..] => format!("{} of {} (IRQ {first}, ...)", hit.len(), facts.irqs.len()),
        };
        let severity = report.tuning(hit.is_empty());
        let fix = format!(
            "write other cores to /proc/irq/N/smp_affinity_list (not {cores}) and stop irqbalance for them"
        );
        report.add("interrupts", format!("none on {cores}"), current, severity, fix);
    }
}
