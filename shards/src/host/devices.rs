//! What stands around the cores: whose machine it is, idle states, network cards, daemons, the control group's cores.
//!
//! The same rule as above it: what cannot be seen is `None` or empty together with a flag that says so.

use super::{CpuSet, HostView};

/// Whose machine this is, as far as it can be told from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The processor says that a hypervisor runs it; `None` if `/proc/cpuinfo` cannot be read.
    pub virtual_machine: Option<bool>,
    /// A container's own marks are there. Their absence proves nothing.
    pub container: bool,
}

impl Environment {
    pub(super) fn gather(host: &dyn HostView) -> Self {
        let cpuinfo = host.read("/proc/cpuinfo");
        let flags = cpuinfo.as_deref().and_then(|text| text.lines().find(|line| line.starts_with("flags")));
        // Processors other than x86 have no such flag: the firmware's tables name the hypervisor there.
        let product = host.read("/sys/class/dmi/id/product_name").unwrap_or_default();
        let hypervisor = host.read("/sys/hypervisor/type").is_some()
            || ["KVM", "QEMU", "VMware", "VirtualBox", "Virtual Machine", "HVM"]
                .iter()
                .any(|name| product.contains(name));
        let virtual_machine = match flags {
            Some(flags) => Some(hypervisor || flags.split_whitespace().any(|flag| flag == "hypervisor")),
            None => (hypervisor || !product.is_empty()).then_some(hypervisor),
        };
        let marks = ["/.dockerenv", "/run/.containerenv", "/run/systemd/container"];
        let groups = host.read("/proc/1/cgroup").unwrap_or_default();
        let named = ["docker", "kubepods", "lxc", "containerd", "libpod"].iter().any(|n| groups.contains(n));
        let container = named || marks.iter().any(|path| host.read(path).is_some());
        Self { virtual_machine, container }
    }

    /// The words of a table.
    pub fn words(self) -> String {
        let machine = match self.virtual_machine {
            Some(true) => "a virtual machine",
            Some(false) => "no hypervisor",
            None => "unknown machine",
        };
        if self.container { format!("a container, {machine}") } else { machine.to_owned() }
    }
}

/// One idle state of a core that the kernel may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleState {
    /// Its name: `C6`.
    pub name: String,
    /// How long the core takes to come back, in microseconds.
    pub exit_us: u64,
}

/// The deepest idle state that is switched on at a core; `None` where the machine shows none.
pub fn deepest_idle(host: &dyn HostView, core: u32) -> Option<IdleState> {
    let dir = format!("/sys/devices/system/cpu/cpu{core}/cpuidle");
    let text = |state: &str, file: &str| Some(host.read(&format!("{dir}/{state}/{file}"))?.trim().to_owned());
    let states = host.list(&dir).into_iter().filter(|name| name.starts_with("state"));
    states
        .filter(|state| text(state, "disable").as_deref() != Some("1"))
        .filter_map(|state| {
            Some(IdleState { name: text(&state, "name")?, exit_us: text(&state, "latency")?.parse().ok()? })
        })
        .max_by_key(|state| state.exit_us)
}

/// One network interface with a device behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name: `eth0`.
    pub name: String,
    /// Receive queues.
    pub rx_queues: usize,
    /// Interrupts of its device; empty where they cannot be seen.
    pub irqs: Vec<u32>,
    /// The NUMA node that it hangs on; absent where there is none or it cannot be seen.
    pub node: Option<u32>,
    /// Cores that its packets may be steered to in software, over all queues; empty if that is off.
    pub steered: CpuSet,
}

pub(super) fn interfaces(host: &dyn HostView) -> Vec<Interface> {
    let root = "/sys/class/net";
    let mut found = Vec::new();
    for name in host.list(root) {
        let dir = format!("{root}/{name}");
        if host.list(&format!("{dir}/device")).is_empty() {
            continue; // loopback, bridges and other software
        }
        let queues: Vec<String> = host
            .list(&format!("{dir}/queues"))
            .into_iter()
            .filter(|queue| queue.starts_with("rx-"))
            .collect();
        let masks = queues.iter().filter_map(|queue| host.read(&format!("{dir}/queues/{queue}/rps_cpus")));
        let steered = masks.flat_map(|mask| cores_of_mask(&mask)).collect();
        // A virtio card's interrupts belong to the PCI device above it.
        let irqs = ["device/msi_irqs", "device/../msi_irqs"]
            .iter()
            .map(|path| host.list(&format!("{dir}/{path}")))
            .find(|irqs| !irqs.is_empty())
            .unwrap_or_default();
        let node = host.read(&format!("{dir}/device/numa_node")).and_then(|text| text.trim().parse().ok());
        found.push(Interface {
            rx_queues: queues.len(),
            irqs: irqs.iter().filter_map(|irq| irq.parse().ok()).collect(),
            node,
            steered,
            name,
        });
    }
    found
}

/// `00000000,0000000f` as cores 0 to 3.
fn cores_of_mask(mask: &str) -> Vec<u32> {
    let digits: Vec<u32> = mask.chars().rev().filter_map(|digit| digit.to_digit(16)).collect();
    let bits = digits.iter().enumerate().flat_map(|(at, digit)| {
        (0..4).filter(move |bit| digit & (1 << bit) != 0).map(move |bit| at as u32 * 4 + bit)
    });
    bits.collect()
}

/// Programs that run on this host, as far as its process list shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// Names as the kernel has them, at most 15 bytes, each once, sorted.
    pub names: Vec<String>,
    /// The kernel's own threads are among them: then the list is the host's, and what is not in it does not run.
    pub is_host: bool,
}

impl Programs {
    pub(super) fn gather(host: &dyn HostView) -> Self {
        let numbers = host.list("/proc").into_iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit()));
        let mut names: Vec<String> = numbers
            .filter_map(|number| Some(host.read(&format!("/proc/{number}/comm"))?.trim().to_owned()))
            .collect();
        names.sort();
        names.dedup();
        let is_host = names.iter().any(|name| name == "kthreadd");
        Self { names, is_host }
    }

    /// The first of `wanted` that runs.
    pub fn running<'a>(&self, wanted: &[&'a str]) -> Option<&'a str> {
        wanted.iter().copied().find(|wanted| self.names.iter().any(|name| name == wanted))
    }
}

/// The cores that the control group grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpuset {
    /// Cores in force.
    pub cores: CpuSet,
    /// The group is a partition whose cores no other group has, and that the scheduler does not balance.
    pub isolated: bool,
}

pub(super) fn cpuset(host: &dyn HostView) -> Option<Cpuset> {
    let groups = host.read("/proc/self/cgroup")?;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "cpuset.cpus.effective")
        } else if controllers.split(',').any(|controller| controller == "cpuset") {
            ("/sys/fs/cgroup/cpuset", "cpuset.effective_cpus")
        } else {
            continue;
        };
        // A group without the controller has its parent's cores.
        for dir in super::upwards(root, path).into_iter().rev() {
            let Some(cores) = host.read(&format!("{dir}/{file}")).and_then(|text| CpuSet::parse(&text))
            else {
                continue;
            };
            let partition = host.read(&format!("{dir}/cpuset.cpus.partition")).unwrap_or_default();
            return Some(Cpuset { cores, isolated: partition.trim() == "isolated" });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::FixtureHost;
    use super::*;

    #[test]
    fn masks_of_the_kernel_are_read_from_their_end() {
        assert_eq!(cores_of_mask("00000000,0000000f\n"), [0, 1, 2, 3]);
        assert_eq!(cores_of_mask("1,00000000"), [32]);
        assert_eq!(cores_of_mask("0"), Vec::<u32>::new());
    }

    #[test]
    fn software_interfaces_are_left_out_and_a_card_tells_its_queues() {
        let host = FixtureHost::new([
            ("/sys/class/net/lo/mtu", "65536\n"),
            ("/sys/class/net/eth0/device/numa_node", "1\n"),
            ("/sys/class/net/eth0/device/msi_irqs/31", "msix\n"),
            ("/sys/class/net/eth0/device/msi_irqs/32", "msix\n"),
            ("/sys/class/net/eth0/queues/rx-0/rps_cpus", "3\n"),
            ("/sys/class/net/eth0/queues/rx-1/rps_cpus", "0\n"),
            ("/sys/class/net/eth0/queues/tx-0/xps_cpus", "0\n"),
        ]);
        let expected = Interface {
            name: "eth0".to_owned(),
            rx_queues: 2,
            irqs: vec![31, 32],
            node: Some(1),
            steered: [0, 1].into_iter().collect(),
        };
        assert_eq!(interfaces(&host), [expected]);
    }

    #[test]
    fn a_process_list_without_kernel_threads_proves_no_absence() {
        let container = FixtureHost::new([("/proc/1/comm", "meltica\n")]);
        assert!(!Programs::gather(&container).is_host);
        let host = container.with("/proc/2/comm", "kthreadd\n").with("/proc/88/comm", "chronyd\n");
        let programs = Programs::gather(&host);
        assert!(programs.is_host);
        assert_eq!(programs.running(&["ntpd", "chronyd"]), Some("chronyd"));
        assert_eq!(programs.running(&["irqbalance"]), None);
    }

    #[test]
    fn the_nearest_group_with_cores_counts_in_both_versions() {
        let host = FixtureHost::new([
            ("/proc/self/cgroup", "0::/a/b\n"),
            ("/sys/fs/cgroup/cpuset.cpus.effective", "0-7\n"),
            ("/sys/fs/cgroup/a/cpuset.cpus.effective", "4-7\n"),
            ("/sys/fs/cgroup/a/cpuset.cpus.partition", "isolated\n"),
        ]);
        let found = cpuset(&host).expect("it is there");
        assert_eq!((found.cores.to_string().as_str(), found.isolated), ("4-7", true));
        let first = FixtureHost::new([
            ("/proc/self/cgroup", "3:cpuset:/x\n"),
            ("/sys/fs/cgroup/cpuset/x/cpuset.effective_cpus", "2\n"),
        ]);
        assert_eq!(cpuset(&first).expect("it is there").cores.to_string(), "2");
        assert_eq!(cpuset(&FixtureHost::default()), None);
    }

    #[test]
    fn the_deepest_state_that_is_on_counts() {
        let dir = "/sys/devices/system/cpu/cpu3/cpuidle";
        let mut host = FixtureHost::default();
        for (state, name, latency, disable) in
            [(0, "POLL", "0", "0"), (1, "C1", "2", "0"), (2, "C6", "133", "1")]
        {
            for (file, text) in [("name", name), ("latency", latency), ("disable", disable)] {
                host = host.with(&format!("{dir}/state{state}/{file}"), &format!("{text}\n"));
            }
        }
        assert_eq!(deepest_idle(&host, 3), Some(IdleState { name: "C1".to_owned(), exit_us: 2 }));
        assert_eq!(deepest_idle(&host, 4), None);
    }

    #[test]
    fn whose_machine_it_is_is_told_and_not_guessed() {
        let words =
            |files: &[(&str, &str)]| Environment::gather(&FixtureHost::new(files.iter().copied())).words();
        assert_eq!(words(&[]), "unknown machine");
        assert_eq!(words(&[("/proc/cpuinfo", "flags\t: fpu tsc\n")]), "no hypervisor");
        assert_eq!(words(&[("/proc/cpuinfo", "flags\t: fpu hypervisor\n")]), "a virtual machine");
        let container = [("/proc/cpuinfo", "flags\t: fpu\n"), ("/.dockerenv", "")];
        assert_eq!(words(&container), "a container, no hypervisor");
    }
}
