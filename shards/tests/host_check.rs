//! The topology check on recorded hosts: what each is told, and how bad it is.

use shards::host::{FixtureHost, RealHost};
use shards::topology::check::{Finding, Severity, check, doctor, exit_code};
use shards::topology::{self, Against, CONSUMER_KINDS, Topology, fix_script, json, table};

/// A two-shard topology on these cores.
fn plan(host: &str, provider: u32, consumer: u32) -> Topology {
    let text = format!(
        "version: 1
host: {host}
shards:
  - {{name: md0, core: {provider}, role: provider, pools: {{frames: 200, raws: 200, events: 300, merged: 50, order_requests: 20, execution_reports: 20}}, order_ring_requests: 64}}
  - {{name: strategies, core: {consumer}, role: consumer, ring_events: 1024, critical_ring_events: 64, spill_events: 1024}}
providers:
  - name: kraken
    venue: kraken
    product: spot
    shard: md0
    endpoints: live
    lines: 1
    instruments: [BTC-USD]
    channels: [trade]
    rest_weight_share: 0.5
    reorder: {{lateness_ms: 150, flush_ms: 50, held_events_max: 200}}
merges: []
consumers:
  - {{name: stats, kind: stats, shard: strategies, trading: false, on_panic: restart, subscriptions: []}}
control: {{listen: '127.0.0.1:0', core: any}}
report: {{dir: report, interval_ms: 1000}}
"
    );
    let against = Against { cores: None, consumer_kinds: &CONSUMER_KINDS, simulated_lists: None };
    topology::read("t.yaml", &text, against).unwrap_or_else(|errors| panic!("{errors}"))
}

const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units
Max open files            1024                 524288               files
Max locked memory         8388608              8388608              bytes
";

/// A tuned dedicated server: eight cores, four of them isolated, no SMT.
fn tuned() -> FixtureHost {
    let mut host = FixtureHost::new([
        ("/sys/devices/system/cpu/online", "0-7\n"),
        ("/sys/devices/system/cpu/isolated", "4-7\n"),
        ("/sys/devices/system/cpu/nohz_full", "4-7\n"),
        ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
        ("/sys/devices/system/node/node0/cpulist", "0-7\n"),
        ("/proc/meminfo", "MemTotal:       64000000 kB\nMemAvailable:   60000000 kB\n"),
        ("/proc/cmdline", "quiet isolcpus=managed_irq,domain,4-7 nohz_full=4-7 rcu_nocbs=4-7\n"),
        (
            "/proc/self/status",
            "Name:\tmeltica\nCapEff:\t0000000000000000\nSeccomp:\t0\nCpus_allowed_list:\t0-7\n",
        ),
        ("/proc/self/limits", LIMITS),
        ("/proc/self/cgroup", "0::/system.slice/meltica.service\n"),
        ("/sys/fs/cgroup/system.slice/meltica.service/cpu.max", "max 100000\n"),
        ("/proc/sys/kernel/io_uring_disabled", "0\n"),
        ("/proc/sys/kernel/osrelease", "6.12.3-lowlatency\n"),
        ("/proc/irq/24/smp_affinity_list", "0-3\n"),
        ("/proc/irq/25/smp_affinity_list", "0-7\n"),
        ("/proc/irq/25/effective_affinity_list", "2\n"),
    ]);
    for core in 0..8 {
        host = host
            .with(
                &format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"),
                &format!("{core}\n"),
            )
            .with(&format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"), "performance\n");
    }
    host
}

/// A laptop: four cores with two threads each (0 and 4 are one), nothing tuned, small limits.
fn laptop() -> FixtureHost {
    let mut host = FixtureHost::new([
        ("/sys/devices/system/cpu/online", "0-7\n"),
        ("/sys/devices/system/cpu/isolated", "\n"),
        ("/sys/devices/system/cpu/nohz_full", "(null)\n"),
        ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n"),
        ("/sys/devices/system/node/node0/cpulist", "0-7\n"),
        ("/proc/meminfo", "MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\n"),
        ("/proc/cmdline", "quiet splash\n"),
        ("/proc/self/status", "CapEff:\t0000000000000000\nSeccomp:\t0\nCpus_allowed_list:\t0-7\n"),
        (
            "/proc/self/limits",
            "Max open files            1024   4096   files\nMax locked memory         65536   65536   bytes\n",
        ),
        ("/proc/self/cgroup", "0::/user.slice\n"),
        ("/sys/fs/cgroup/user.slice/cpu.max", "max 100000\n"),
        ("/proc/sys/kernel/io_uring_disabled", "0\n"),
        ("/proc/sys/kernel/osrelease", "6.8.0-31-generic\n"),
        ("/proc/irq/24/smp_affinity_list", "0-7\n"),
    ]);
    for core in 0..8 {
        let (first, second) = (core % 4, core % 4 + 4);
        host = host
            .with(
                &format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"),
                &format!("{first},{second}\n"),
            )
            .with(&format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"), "powersave\n");
    }
    host
}

/// A container with a filter, one and a half cores and cores 2-3 of the host; /proc/irq is hidden.
fn container() -> FixtureHost {
    FixtureHost::new([
        ("/sys/devices/system/cpu/online", "0-15\n"),
        ("/sys/devices/system/cpu/isolated", "\n"),
        ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
        ("/proc/meminfo", "MemTotal:       64000000 kB\nMemAvailable:   60000000 kB\n"),
        ("/proc/cmdline", "quiet\n"),
        ("/proc/self/status", "CapEff:\t00000000a80425fb\nSeccomp:\t2\nCpus_allowed_list:\t2-3\n"),
        (
            "/proc/self/limits",
            "Max open files            1048576  1048576  files\nMax locked memory         unlimited  unlimited  bytes\n",
        ),
        ("/proc/self/cgroup", "0::/\n"),
        ("/sys/fs/cgroup/cpu.max", "150000 100000\n"),
        ("/proc/sys/kernel/io_uring_disabled", "0\n"),
        ("/proc/sys/kernel/osrelease", "6.1.0-cloud-amd64\n"),
    ])
}

/// The findings that are not fine, as `check: severity: current`.
fn told(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .filter(|finding| finding.severity != Severity::Ok)
        .map(|finding| format!("{}: {}: {}", finding.check, finding.severity.name(), finding.current))
        .collect()
}

#[test]
fn a_tuned_dedicated_host_has_nothing_to_tell() {
    let findings = check(&plan("dedicated", 4, 5), &tuned());
    assert_eq!(told(&findings), Vec::<String>::new());
    assert_eq!(exit_code(&findings), 0);
    for finding in &findings {
        assert!(finding.fix.is_empty(), "nothing to fix: {finding:?}");
    }
}

#[test]
fn cores_outside_of_the_tuned_set_are_warned_about() {
    let findings = check(&plan("dedicated", 2, 5), &tuned());
    assert_eq!(
        told(&findings),
        [
            "isolated cores: warning: 4-7",
            "nohz_full: warning: 4-7",
            "rcu_nocbs: warning: 4-7",
            "interrupts: warning: 2 of 2 (IRQ 24, ...)",
        ]
    );
    assert_eq!(exit_code(&findings), 0);
}

#[test]
fn a_laptop_gets_notes_when_shared_and_warnings_when_dedicated() {
    let expected = |word: &str| {
        vec![
            "locked memory: error: 64.0 KiB".to_owned(),
            format!("isolated cores: {word}: none"),
            format!("SMT siblings: {word}: 0 and 4 are one core"),
            format!("governor: {word}: 0: powersave, 4: powersave"),
            format!("nohz_full: {word}: none"),
            format!("rcu_nocbs: {word}: none"),
            format!("clock source: {word}: hpet"),
            format!("interrupts: {word}: 1 of 1 (IRQ 24, ...)"),
        ]
    };
    let shared = check(&plan("shared", 0, 4), &laptop());
    assert_eq!(told(&shared), expected("note"));
    let dedicated = check(&plan("dedicated", 0, 4), &laptop());
    assert_eq!(told(&dedicated), expected("warning"));
    assert_eq!(exit_code(&shared), 2, "an executor cannot lock its memory");
    let fix = &shared.iter().find(|finding| finding.check == "locked memory").unwrap().fix;
    assert_eq!(fix, "ulimit -l 1056, or LimitMEMLOCK=1056K in the service");
    let enough = laptop().with("/proc/self/limits", LIMITS);
    assert_eq!(exit_code(&check(&plan("shared", 0, 4), &enough)), 0);
}

#[test]
fn a_sibling_that_takes_other_work_is_named() {
    let findings = check(&plan("dedicated", 0, 1), &laptop());
    let finding = findings.iter().find(|finding| finding.check == "SMT siblings").unwrap();
    assert_eq!(finding.current, "4 beside 0 takes other work; 5 beside 1 takes other work");
}

#[test]
fn a_container_is_told_what_cannot_be_seen_and_what_stops_it() {
    let findings = check(&plan("dedicated", 2, 3), &container());
    assert_eq!(
        told(&findings),
        [
            "io_uring: warning: a system call filter is active",
            "CPU quota: error: 1.5 cores",
            "isolated cores: warning: none",
            "SMT siblings: unknown: unknown (cannot be seen from here)",
            "governor: unknown: unknown (cannot be seen from here)",
            "NUMA node: unknown: unknown (cannot be seen from here)",
            "nohz_full: warning: none",
            "rcu_nocbs: warning: none",
            "interrupts: unknown: unknown (cannot be seen from here)",
        ]
    );
    assert_eq!(exit_code(&findings), 2, "spinning shards are stopped when the quota is used up");
    let shared = check(&plan("shared", 2, 3), &container());
    assert_eq!(exit_code(&shared), 0);
    let other_cores = check(&plan("shared", 0, 3), &container());
    let cores = &other_cores[0];
    assert_eq!((cores.severity, cores.current.as_str()), (Severity::Error, "0-15 online, 2-3 allowed"));
    assert_eq!(cores.fix, "cores 0: name others in the file, or grant them (taskset, cpuset)");
}

#[test]
fn shards_on_two_numa_nodes_are_told() {
    let host = tuned()
        .with("/sys/devices/system/node/node0/cpulist", "0-4\n")
        .with("/sys/devices/system/node/node1/cpulist", "5-7\n");
    assert_eq!(told(&check(&plan("dedicated", 4, 5), &host)), ["NUMA node: warning: node 0: 4; node 1: 5"]);
    assert_eq!(told(&check(&plan("dedicated", 5, 6), &host)), Vec::<String>::new());
}

#[test]
fn a_virtual_machine_without_frequency_control_is_unknown_and_no_warning() {
    let mut host = tuned();
    for core in 0..8 {
        host = host.without(&format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"));
    }
    assert_eq!(
        told(&check(&plan("dedicated", 4, 5), &host)),
        ["governor: unknown: unknown (cannot be seen from here)"]
    );
}

#[test]
fn io_uring_switched_off_is_an_error_where_it_applies_to_us() {
    let switch = "/proc/sys/kernel/io_uring_disabled";
    let severity = |host: &FixtureHost| {
        check(&plan("shared", 4, 5), host)
            .iter()
            .find(|finding| finding.check == "io_uring")
            .unwrap()
            .severity
    };
    let privileged = "CapEff:\t000001ffffffffff\nSeccomp:\t0\nCpus_allowed_list:\t0-7\n";
    assert_eq!(severity(&tuned().with(switch, "1\n")), Severity::Error);
    assert_eq!(severity(&tuned().with(switch, "1\n").with("/proc/self/status", privileged)), Severity::Ok);
    assert_eq!(severity(&tuned().with(switch, "2\n").with("/proc/self/status", privileged)), Severity::Error);
    let older = tuned().without(switch).with("/proc/sys/kernel/osrelease", "6.1.0\n");
    assert_eq!(severity(&older), Severity::Ok, "kernels before 6.6 have no switch");
}

#[test]
fn an_old_kernel_little_memory_and_few_files_are_errors() {
    let old = tuned().with("/proc/sys/kernel/osrelease", "5.4.0-150-generic\n");
    assert_eq!(told(&check(&plan("shared", 4, 5), &old)), ["kernel: error: 5.4.0-150-generic"]);
    let full = tuned().with("/proc/meminfo", "MemAvailable:    1000 kB\n");
    assert_eq!(told(&check(&plan("shared", 4, 5), &full)), ["memory: error: 1000.0 KiB available"]);
    let few = tuned().with(
        "/proc/self/limits",
        "Max open files            64   64   files\nMax locked memory         unlimited   unlimited   bytes\n",
    );
    assert_eq!(told(&check(&plan("shared", 4, 5), &few)), ["open files: error: 64"]);
}

#[test]
fn a_host_of_which_nothing_can_be_seen_is_not_called_fine() {
    let findings = check(&plan("dedicated", 0, 1), &FixtureHost::default());
    for check in [
        "cores",
        "kernel",
        "io_uring",
        "memory",
        "NUMA node",
        "locked memory",
        "open files",
        "isolated cores",
        "interrupts",
    ] {
        let finding = findings.iter().find(|finding| finding.check == check).unwrap();
        assert_eq!(
            (finding.severity, finding.current.as_str()),
            (Severity::Unknown, "unknown (cannot be seen from here)"),
            "{check}"
        );
    }
}

/// The rest of a tuned server as `doctor` sees it: own hardware, a card on the housekeeping cores, chrony in step.
fn tuned_throughout() -> FixtureHost {
    let mut host = tuned();
    for (path, text) in [
        ("/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu tsc constant_tsc\n"),
        ("/proc/2/comm", "kthreadd\n"),
        ("/proc/640/comm", "systemd-timesyn\n"),
        ("/run/systemd/timesync/synchronized", ""),
        ("/sys/fs/cgroup/system.slice/meltica.service/cpuset.cpus.effective", "0-7\n"),
        ("/sys/class/net/lo/mtu", "65536\n"),
        ("/sys/class/net/eth0/device/numa_node", "0\n"),
        ("/sys/class/net/eth0/device/msi_irqs/24", "msix\n"),
        ("/sys/class/net/eth0/queues/rx-0/rps_cpus", "00\n"),
        ("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
        ("/proc/sys/kernel/nmi_watchdog", "0\n"),
        ("/proc/sys/kernel/soft_watchdog", "1\n"),
        ("/proc/sys/kernel/watchdog_cpumask", "0-1\n"),
        ("/proc/sys/kernel/timer_migration", "0\n"),
        ("/proc/sys/kernel/numa_balancing", "0\n"),
        ("/proc/sys/vm/swappiness", "10\n"),
        ("/proc/sys/vm/stat_interval", "120\n"),
        ("/proc/sys/net/core/rmem_max", "4194304\n"),
    ] {
        host = host.with(path, text);
    }
    for core in 0..8 {
        let state = format!("/sys/devices/system/cpu/cpu{core}/cpuidle/state1");
        for (file, text) in [("name", "C1\n"), ("latency", "2\n"), ("disable", "0\n")] {
            host = host.with(&format!("{state}/{file}"), text);
        }
    }
    host
}

#[test]
fn doctor_is_check_and_tuning_after_it() {
    let topology = plan("dedicated", 4, 5);
    assert_eq!(
        told(&doctor(&topology, &tuned_throughout())),
        Vec::<String>::new(),
        "a tuned host has nothing to tell"
    );
    let host =
        tuned_throughout().with("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
    let (checked, all) = (check(&topology, &host), doctor(&topology, &host));
    assert_eq!(all[..checked.len()], checked[..]);
    assert_eq!(told(&all), ["huge pages: note: [always] madvise never"]);
    assert_eq!(exit_code(&all), 0, "tuning is never an error");
}

#[test]
fn doctor_tells_what_runs_beside_and_where_packets_arrive() {
    let host = tuned_throughout()
        .without("/run/systemd/timesync/synchronized")
        .with("/proc/640/comm", "chronyd\n")
        .with("/proc/700/comm", "irqbalance\n")
        .with("/proc/irq/24/smp_affinity_list", "0-4\n")
        .with("/sys/class/net/eth0/queues/rx-0/rps_cpus", "30\n")
        .with("/sys/devices/system/cpu/cpu5/cpuidle/state1/latency", "133\n");
    assert_eq!(
        told(&doctor(&plan("dedicated", 4, 5), &host)),
        [
            "interrupts: warning: 1 of 2 (IRQ 24, ...)",
            "C-states: note: 133 us (C1 of core 5)",
            "irqbalance: note: runs; by itself it spares isolated cores",
            "NIC queues: warning: eth0: 1 receive queue on 0-5",
            "time: note: chronyd runs; whether in step is unknown",
        ]
    );
    let findings = doctor(&plan("dedicated", 2, 3), &host);
    assert!(told(&findings).contains(&"irqbalance: warning: runs".to_owned()), "2 and 3 are not isolated");
    let without = host.without("/proc/640/comm");
    assert!(
        told(&doctor(&plan("dedicated", 4, 5), &without))
            .contains(&"time: warning: no time daemon runs".to_owned())
    );
}

#[test]
fn the_soft_watchdog_may_run_where_no_shard_is() {
    let soft = |host: &FixtureHost| {
        let findings = doctor(&plan("dedicated", 4, 5), host);
        let found = findings.iter().find(|finding| finding.check == "soft watchdog").unwrap();
        (found.severity, found.current.clone())
    };
    let host = tuned_throughout();
    assert_eq!(soft(&host), (Severity::Ok, "on, on 0-1".to_owned()));
    let (mask, switch) = ("/proc/sys/kernel/watchdog_cpumask", "/proc/sys/kernel/soft_watchdog");
    let host = host.with(mask, "0-7\n");
    assert_eq!(soft(&host), (Severity::Note, "on, on 0-7".to_owned()));
    let topology = plan("dedicated", 4, 5);
    let script = fix_script(&topology, &host, &doctor(&topology, &host));
    assert!(script.contains("echo 0-3,6-7 > /proc/sys/kernel/watchdog_cpumask"), "{script}");
    assert_eq!(
        soft(&host.clone().without(mask)),
        (Severity::Note, "on".to_owned()),
        "an old kernel has no mask"
    );
    assert_eq!(soft(&host.with(switch, "0\n")), (Severity::Ok, "off".to_owned()));
}

/// Two sockets of four cores; the card hangs on the second one.
fn two_sockets() -> FixtureHost {
    tuned_throughout()
        .with("/sys/devices/system/node/node0/cpulist", "0-3\n")
        .with("/sys/devices/system/node/node1/cpulist", "4-7\n")
        .with("/sys/class/net/eth0/device/numa_node", "1\n")
        .with("/sys/devices/system/cpu/isolated", "2-3,4-7\n")
        .with("/sys/devices/system/cpu/nohz_full", "2-7\n")
        .with("/proc/cmdline", "rcu_nocbs=2-7\n")
        .with("/proc/irq/24/smp_affinity_list", "0-1\n")
        .with("/proc/irq/25/effective_affinity_list", "0\n")
}

#[test]
fn on_two_sockets_the_cards_node_counts() {
    assert_eq!(told(&doctor(&plan("dedicated", 4, 5), &two_sockets())), Vec::<String>::new());
    assert_eq!(
        told(&doctor(&plan("dedicated", 2, 3), &two_sockets())),
        ["NIC node: warning: eth0 is on node 1, shards on [0]"]
    );
}

#[test]
fn in_a_container_doctor_calls_unknown_what_belongs_to_the_host() {
    let host = container()
        .with("/run/.containerenv", "")
        .with("/proc/1/comm", "meltica\n")
        .with("/sys/fs/cgroup/cpuset.cpus.effective", "2-3\n");
    let findings = doctor(&plan("shared", 2, 3), &host);
    for check in
        ["machine", "C-states", "irqbalance", "NIC queues", "time", "watchdog", "interrupts", "governor"]
    {
        let finding = findings.iter().find(|finding| finding.check == check).unwrap();
        assert_eq!(finding.severity, Severity::Unknown, "{finding:?}");
        assert!(!finding.fix.is_empty(), "it says where to look: {finding:?}");
    }
    let outside = host.with("/sys/fs/cgroup/cpuset.cpus.effective", "3\n");
    let findings = doctor(&plan("shared", 2, 3), &outside);
    let group = findings.iter().find(|finding| finding.check == "cgroup cpuset").unwrap();
    assert_eq!((group.severity, group.current.as_str()), (Severity::Error, "3"));
}

#[test]
fn an_isolated_partition_counts_as_isolation() {
    let group = "/sys/fs/cgroup/system.slice/meltica.service";
    let host = tuned_throughout()
        .with("/sys/devices/system/cpu/isolated", "\n")
        .with(&format!("{group}/cpuset.cpus.effective"), "4-7\n")
        .with(&format!("{group}/cpuset.cpus.partition"), "isolated\n");
    assert_eq!(told(&doctor(&plan("dedicated", 4, 5), &host)), Vec::<String>::new());
}

#[test]
fn a_kernel_that_should_show_its_switch_for_io_uring_and_does_not_is_unknown() {
    let host = tuned().without("/proc/sys/kernel/io_uring_disabled");
    assert_eq!(
        told(&check(&plan("shared", 4, 5), &host)),
        ["io_uring: unknown: unknown (cannot be seen from here)"]
    );
}

#[test]
fn the_script_mends_what_can_be_mended_and_leaves_the_rest_as_comments() {
    let topology = plan("dedicated", 0, 4);
    let host =
        laptop().with("/proc/sys/vm/swappiness", "60\n").with("/proc/irq/24/smp_affinity_list", "0-1\n");
    let script = fix_script(&topology, &host, &doctor(&topology, &host));
    let commands: Vec<&str> = script
        .lines()
        .filter(|line| !line.starts_with('#') && !line.starts_with("echo \"# undo") && !line.is_empty())
        .collect();
    assert_eq!(
        commands,
        [
            "set -u",
            "echo performance > /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
            "echo performance > /sys/devices/system/cpu/cpu4/cpufreq/scaling_governor",
            "echo 1-3,5-7 > /proc/irq/24/smp_affinity_list",
            "echo 1 > /proc/sys/vm/swappiness",
        ]
    );
    for line in ["# boot: nohz_full=0,4", "# service: ulimit -l 1056, or LimitMEMLOCK=1056K in the service"] {
        assert!(script.lines().any(|found| found == line), "{script}");
    }
    let fine = fix_script(
        &plan("dedicated", 4, 5),
        &tuned_throughout(),
        &doctor(&plan("dedicated", 4, 5), &tuned_throughout()),
    );
    assert_eq!(fine.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>(), ["set -u"]);
}

#[test]
fn tables_keep_to_their_width_and_json_holds_every_finding() {
    let findings = doctor(&plan("dedicated", 0, 4), &laptop());
    for columns in [80, 140] {
        let text = table(&findings, columns);
        for line in text.lines() {
            assert!(line.chars().count() <= columns, "{} of {columns} columns: {line}", line.chars().count());
        }
        assert!(text.starts_with("Check"), "{text}");
        // Every severity starts in the same column.
        let at = text.lines().next().unwrap().find("Severity").unwrap();
        for finding in &findings {
            let row = text.lines().find(|line| line.starts_with(finding.check)).unwrap();
            assert!(row[at..].starts_with(finding.severity.name()), "{row}");
        }
        assert_eq!(text.lines().last(), Some("1 errors, 7 warnings, 14 unknown, 0 notes"));
        println!("{text}");
    }
    let object: serde_json::Value = serde_json::from_str(&json(&findings)).unwrap();
    assert_eq!(object["exit_code"], 2);
    assert_eq!(object["findings"].as_array().unwrap().len(), findings.len());
    assert_eq!(object["findings"][0]["severity"], "ok");
}

#[test]
fn this_machine_can_be_checked() {
    let findings = check(&plan("shared", 0, 0), &RealHost);
    assert!(
        findings
            .iter()
            .any(|finding| finding.check == "cores shared by shards" && finding.severity == Severity::Note)
    );
    println!("{}", table(&doctor(&plan("shared", 0, 0), &RealHost), 140));
}
