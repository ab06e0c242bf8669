//! A script that would mend what `doctor` found: each setting with its reason and the way back. Printed, never run from here.
//!
//! What needs a boot, a service file or another machine stands in it as a comment.

use std::fmt::Write as _;

use super::check::{Finding, Severity};
use super::plan::Topology;
use crate::host::{CpuSet, HostFacts, HostView};

/// The script. It is a valid one even when there is nothing to mend.
pub fn fix_script(topology: &Topology, host: &dyn HostView, findings: &[Finding]) -> String {
    let facts = HostFacts::gather(host);
    let cores: CpuSet = topology.shards.iter().map(|shard| shard.core).collect();
    let online = facts.cores.as_ref().map_or_else(CpuSet::default, |cores| cores.online.clone());
    let others = online.difference(&cores);
    let mut text = format!(
        "#!/bin/sh\n\
         # What would tune this host for {}: cores of shards {cores}, all others {others}.\n\
         # Printed by `meltica doctor --fix-script`, which changed nothing. Read it, then run it as root.\n\
         # Nothing in it outlives a reboot; lines that begin with `# boot:` and `# service:` are yours to do.\n\
         set -u\n",
        topology.file.replace(char::is_control, "?")
    );
    for finding in findings.iter().filter(|finding| finding.severity > Severity::Ok) {
        let _ = writeln!(
            text,
            "\n# {} ({}): required {}; found {}\n# {}",
            finding.check,
            finding.severity.name(),
            finding.required,
            finding.current,
            finding.fix
        );
        if finding.severity == Severity::Unknown {
            continue; // nobody mends what nobody sees
        }
        for line in commands(finding, &facts, &cores, &others) {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

/// Writes a value into a file of the kernel, after a comment that says what stood there.
fn set(path: &str, value: &str) -> Vec<String> {
    vec![format!("echo \"# undo: echo '$(cat {path})' > {path}\""), format!("echo {value} > {path}")]
}

fn commands(finding: &Finding, facts: &HostFacts, cores: &CpuSet, others: &CpuSet) -> Vec<String> {
    let sysctl = |name: &str, value: &str| set(&format!("/proc/sys/{}", name.replace('.', "/")), value);
    let boot = |option: String| vec![format!("# boot: {option}")];
    let each_core = |file: &str, value: &str| {
        cores
            .iter()
            .flat_map(|core| set(&format!("/sys/devices/system/cpu/cpu{core}/{file}"), value))
            .collect()
    };
    if matches!(finding.check, "isolated cores" | "nohz_full" | "rcu_nocbs") && others.is_empty() {
        return Vec::new(); // the kernel needs a core for itself
    }
    match finding.check {
        "isolated cores" => boot(format!("isolcpus=managed_irq,domain,{cores}")),
        "nohz_full" | "rcu_nocbs" => boot(format!("{}={cores}", finding.check)),
        "clock source" => boot("tsc=reliable".to_owned()),
        "governor" => each_core("cpufreq/scaling_governor", "performance"),
        "C-states" => {
            vec![format!("cpupower -c {cores} idle-set -D 10  # undo: cpupower -c {cores} idle-set -E")]
        }
        "locked memory" | "open files" => vec![format!("# service: {}", finding.fix)],
        "io_uring" if finding.severity == Severity::Error => sysctl("kernel.io_uring_disabled", "0"),
        "irqbalance" => vec!["systemctl stop irqbalance  # undo: systemctl start irqbalance".to_owned()],
        "interrupts" if others.is_empty() => vec!["# no core is left to move them to".to_owned()],
        "interrupts" => facts
            .irqs
            .iter()
            .filter(|(_, on)| !on.intersection(cores).is_empty())
            // Timers and managed ones cannot be moved; the kernel says so, and the script goes on.
            .flat_map(|(irq, _)| set(&format!("/proc/irq/{irq}/smp_affinity_list"), &others.to_string()))
            .collect(),
        "huge pages" => set("/sys/kernel/mm/transparent_hugepage/enabled", "madvise"),
        "watchdog" => sysctl("kernel.nmi_watchdog", "0"),
        "soft watchdog" if others.is_empty() => sysctl("kernel.soft_watchdog", "0"),
        "soft watchdog" => sysctl("kernel.watchdog_cpumask", &others.to_string()),
        "timer migration" => sysctl("kernel.timer_migration", "0"),
        "statistics" => sysctl("vm.stat_interval", "10"),
        "swappiness" => sysctl("vm.swappiness", "1"),
        "socket buffers" => sysctl("net.core.rmem_max", "4194304"),
        "NUMA balancing" => sysctl("kernel.numa_balancing", "0"),
        _ => Vec::new(),
    }
}
