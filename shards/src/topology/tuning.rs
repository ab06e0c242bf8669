//! What `doctor` looks at beyond what a topology needs: whose machine it is, idle states, network cards, daemons,
//! and settings of the kernel that help latency whatever the topology is.

use super::check::{Report, Severity, UNSEEN};
use super::plan::Topology;
use crate::host::{CpuSet, HostFacts, HostView, deepest_idle};

/// The longest way out of an idle state that goes unnoticed beside a park's own wake-up of some 5 us (measured).
const IDLE_EXIT_US_MAX: u64 = 10;
/// Programs that keep the clock in step.
const TIME_DAEMONS: [&str; 7] =
    ["chronyd", "ntpd", "systemd-timesyn", "ptp4l", "phc2sys", "openntpd", "ntpd-rs"];

/// Adds what was found.
pub(super) fn look(topology: &Topology, facts: &HostFacts, host: &dyn HostView, report: &mut Report) {
    let cores: CpuSet = topology.shards.iter().map(|shard| shard.core).collect();
    machine(facts, report);
    group(facts, &cores, report);
    idle_states(host, &cores, report);
    balancing(facts, &cores, report);
    cards(facts, &cores, report);
    time(facts, host, report);
    soft_watchdog(&cores, host, report);
    for tuning in &TUNING {
        tuning.look(host, report);
    }
}

fn machine(facts: &HostFacts, report: &mut Report) {
    let environment = facts.environment;
    let required = "own hardware";
    let fix = "a hypervisor and its other guests take time that nothing in here shows; measure it (wait_ns in report.json)";
    match environment.virtual_machine {
        None => report.unseen("machine", required, "compare with systemd-detect-virt on the host"),
        Some(false) if !environment.container => {
            report.add("machine", required, environment.words(), Severity::Ok, "");
        }
        Some(false) => {
            let fix = "give the container the host's cpuset, memlock and /proc/irq to look at, or run doctor on the host";
            report.add("machine", required, environment.words(), Severity::Note, fix);
        }
        Some(true) => report.add("machine", required, environment.words(), Severity::Note, fix),
    }
}

fn group(facts: &HostFacts, cores: &CpuSet, report: &mut Report) {
    let required = format!("holds {cores}");
    match &facts.cpuset {
        None => report.unseen("cgroup cpuset", required, "mount /sys/fs/cgroup"),
        Some(cpuset) => {
            let missing = cores.difference(&cpuset.cores);
            let severity = if missing.is_empty() { Severity::Ok } else { Severity::Error };
            let kind = if cpuset.isolated { " (isolated partition)" } else { "" };
            let fix = format!(
                "AllowedCPUs= of the service, or --cpuset-cpus of the container: {missing} is missing"
            );
            report.add("cgroup cpuset", required, format!("{}{kind}", cpuset.cores), severity, fix);
        }
    }
}

/// A parked shard's core falls asleep too, and comes back later the deeper it slept. A spinning one never does.
fn idle_states(host: &dyn HostView, cores: &CpuSet, report: &mut Report) {
    let required = format!("{IDLE_EXIT_US_MAX} us or less to wake");
    let states: Vec<_> = cores.iter().map(|core| (core, deepest_idle(host, core))).collect();
    if states.iter().any(|(_, state)| state.is_none()) {
        report.unseen("C-states", required, "compare with cpupower idle-info on the host");
        return;
    }
    let deepest = states.iter().filter_map(|(core, state)| Some((core, state.as_ref()?)));
    let Some((core, state)) = deepest.max_by_key(|(_, state)| state.exit_us) else { return };
    let fine = state.exit_us <= IDLE_EXIT_US_MAX;
    // Spinning cores do not idle: what remains is the first microseconds after the start.
    let severity = if fine { Severity::Ok } else { Severity::Note };
    let current = format!("{} us ({} of core {core})", state.exit_us, state.name);
    let why = if report.dedicated {
        "spinning cores do not idle, their siblings do"
    } else {
        "a parked shard wakes that late"
    };
    let fix = format!("cpupower -c {cores} idle-set -D {IDLE_EXIT_US_MAX}: {why}");
    report.add("C-states", required, current, severity, fix);
}

fn balancing(facts: &HostFacts, cores: &CpuSet, report: &mut Report) {
    let required = format!("not on {cores}");
    if facts.programs.running(&["irqbalance"]).is_some() {
        // Without a list of its own it leaves isolated and tickless cores alone. Source: irqbalance(1), IRQBALANCE_BANNED_CPULIST.
        let spared = [&facts.isolated, &facts.nohz_full]
            .iter()
            .any(|set| set.as_ref().is_some_and(|set| cores.difference(set).is_empty()));
        let (current, severity) = if spared {
            ("runs; by itself it spares isolated cores", Severity::Note)
        } else {
            ("runs", report.tuning(false))
        };
        let fix = format!(
            "IRQBALANCE_BANNED_CPULIST={cores} in its environment, or systemctl disable --now irqbalance"
        );
        report.add("irqbalance", required, current, severity, fix);
    } else if facts.programs.is_host {
        report.add("irqbalance", required, "does not run", Severity::Ok, "");
    } else {
        report.unseen("irqbalance", required, "systemctl status irqbalance on the host");
    }
}

/// Packets of a queue are handled on the core that its interrupt goes to: not a shard's.
fn cards(facts: &HostFacts, cores: &CpuSet, report: &mut Report) {
    let required = format!("handled off {cores}");
    if facts.interfaces.is_empty() {
        report.unseen("NIC queues", required, "ethtool -l and /proc/interrupts on the host");
        return;
    }
    let nodes: Vec<u32> = facts
        .nodes
        .iter()
        .filter(|(_, of)| !of.intersection(cores).is_empty())
        .map(|(node, _)| *node)
        .collect();
    for card in &facts.interfaces {
        let of_card: Vec<&(u32, CpuSet)> =
            facts.irqs.iter().filter(|(irq, _)| card.irqs.contains(irq)).collect();
        let on: CpuSet = of_card.iter().flat_map(|(_, on)| on.iter()).chain(card.steered.iter()).collect();
        let hit = on.intersection(cores);
        let queues = format!("{}: {}", card.name, super::numbered(card.rx_queues, "receive queue"));
        if of_card.is_empty() && card.steered.is_empty() {
            report.add(
                "NIC queues",
                required.clone(),
                format!("{queues}, {UNSEEN}"),
                Severity::Unknown,
                "compare /proc/interrupts with the card's name on the host",
            );
        } else {
            let fix = format!(
                "write other cores to smp_affinity_list of its interrupts and to queues/rx-*/rps_cpus; \
                 ethtool -L {} combined N with N housekeeping cores",
                card.name
            );
            let severity = report.tuning(hit.is_empty());
            report.add("NIC queues", required.clone(), format!("{queues} on {on}"), severity, fix);
        }
        if let Some(node) = card.node
            && facts.nodes.len() > 1
        {
            let fine = nodes == [node];
            let severity = report.tuning(fine);
            let current = format!("{} is on node {node}, shards on {nodes:?}", card.name);
            report.add(
                "NIC node",
                "the shards' node",
                current,
                severity,
                "put the provider shards on cores of the card's node",
            );
        }
    }
}

/// Latencies from a venue's clock to ours mean nothing without one.
fn time(facts: &HostFacts, host: &dyn HostView, report: &mut Report) {
    let required = "a time daemon, in step";
    let fix = "install chrony (chronyc tracking shows the error); venue_to_receive needs it, and signed requests are refused without";
    if host.read("/run/systemd/timesync/synchronized").is_some() {
        report.add("time", required, "in step (systemd-timesyncd)", Severity::Ok, "");
    } else if let Some(daemon) = facts.programs.running(&TIME_DAEMONS) {
        report.add(
            "time",
            required,
            format!("{daemon} runs; whether in step is unknown"),
            Severity::Note,
            "chronyc tracking, timedatectl or pmc say how far the clock is off",
        );
    } else if facts.programs.is_host {
        let severity = report.tuning(false);
        report.add("time", required, "no time daemon runs", severity, fix);
    } else {
        report.unseen("time", required, fix);
    }
}

/// The kernel's check for cores that do not schedule is a timer on each of its cores, and off by default on `nohz_full` ones.
/// Source: Linux, Documentation/admin-guide/lockup-watchdogs.rst: the timer's period is 2/5 of `watchdog_thresh`, which is 10 s.
fn soft_watchdog(cores: &CpuSet, host: &dyn HostView, report: &mut Report) {
    const CHECK: &str = "soft watchdog";
    let required = format!("off, or not on {cores}");
    let read = |file: &str| host.read(&format!("/proc/sys/kernel/{file}")).map(|text| text.trim().to_owned());
    let on = read("soft_watchdog");
    let mask = read("watchdog_cpumask").and_then(|text| CpuSet::parse(&text));
    let fix = "sysctl kernel.watchdog_cpumask=CORES without the shards', or kernel.soft_watchdog=0: its timer interrupts each core every 4 s";
    match (on.as_deref(), mask) {
        (None, _) => report.unseen(CHECK, required, fix),
        (Some("0"), _) => report.add(CHECK, required, "off", Severity::Ok, ""),
        (Some(_), Some(mask)) => {
            let spared = mask.intersection(cores).is_empty();
            let severity = if spared { Severity::Ok } else { Severity::Note };
            report.add(CHECK, required, format!("on, on {mask}"), severity, fix);
        }
        (Some(_), None) => report.add(CHECK, required, "on", Severity::Note, fix),
    }
}

/// One setting that `doctor` looks at.
struct Tuning {
    check: &'static str,
    path: &'static str,
    required: &'static str,
    fits: fn(&str) -> bool,
    fix: &'static str,
}

/// Settings that help latency whatever the topology is. Each says why in its fix.
const TUNING: [Tuning; 7] = [
    Tuning {
        check: "huge pages",
        path: "/sys/kernel/mm/transparent_hugepage/enabled",
        required: "madvise or never",
        fits: |text| !text.contains("[always]"),
        fix: "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled: compaction stalls threads",
    },
    Tuning {
        check: "watchdog",
        path: "/proc/sys/kernel/nmi_watchdog",
        required: "0",
        fits: |text| text == "0",
        fix: "sysctl kernel.nmi_watchdog=0: it interrupts every core",
    },
    Tuning {
        check: "timer migration",
        path: "/proc/sys/kernel/timer_migration",
        required: "0",
        fits: |text| text == "0",
        fix: "sysctl kernel.timer_migration=0: timers of other cores may move to ours",
    },
    Tuning {
        check: "swappiness",
        path: "/proc/sys/vm/swappiness",
        required: "10 or less",
        fits: |text| text.parse::<u32>().is_ok_and(|value| value <= 10),
        fix: "sysctl vm.swappiness=1, or no swap: a page that comes back from disk is a stall of milliseconds",
    },
    Tuning {
        check: "socket buffers",
        path: "/proc/sys/net/core/rmem_max",
        required: "1048576 or more",
        fits: |text| text.parse::<u64>().is_ok_and(|value| value >= 1 << 20),
        fix: "sysctl net.core.rmem_max=4194304: a burst waits in the kernel instead of being slowed down",
    },
    Tuning {
        check: "statistics",
        path: "/proc/sys/vm/stat_interval",
        required: "10 or more",
        fits: |text| text.parse::<u32>().is_ok_and(|value| value >= 10),
        fix: "sysctl vm.stat_interval=10: once a second the kernel wakes every core to fold its counters",
    },
    Tuning {
        check: "NUMA balancing",
        path: "/proc/sys/kernel/numa_balancing",
        required: "0",
        fits: |text| text == "0",
        fix: "sysctl kernel.numa_balancing=0: it takes page faults to learn who uses a page",
    },
];

impl Tuning {
    fn look(&self, host: &dyn HostView, report: &mut Report) {
        match host.read(self.path).map(|text| text.trim().to_owned()) {
            None => report.unseen(self.check, self.required, self.fix),
            Some(text) => {
                let severity = if (self.fits)(&text) { Severity::Ok } else { Severity::Note };
                report.add(self.check, self.required, text, severity, self.fix);
            }
        }
    }
}
