//! What this machine is: cores, their siblings and isolation, clocks, limits. Reads, never changes; needs no privilege.
//!
//! Everything comes through [`HostView`], which is three small questions, so that a recorded host ([`FixtureHost`]) can stand in for the
//! real one. What cannot be seen (no such file in a container, a virtual machine without frequency control) is `None`
//! and is reported as such: unknown is never taken for fine.

mod devices;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use devices::{Cpuset, Environment, IdleState, Interface, Programs, deepest_idle};

/// How facts are asked for.
pub trait HostView {
    /// The text of a file; `None` if it is not there or may not be read.
    fn read(&self, path: &str) -> Option<String>;

    /// Names in a directory, sorted; empty if it cannot be read.
    fn list(&self, dir: &str) -> Vec<String>;

    /// Cores that the calling thread may run on. Once a thread is pinned it shows only its own: ask before.
    fn allowed(&self) -> Option<CpuSet>;

    /// Online and allowed cores together.
    fn cores(&self) -> Option<HostCores> {
        let allowed = self.allowed();
        let online = self.read("/sys/devices/system/cpu/online").and_then(|text| CpuSet::parse(&text));
        match (online, allowed) {
            (Some(online), Some(allowed)) => Some(HostCores { online, allowed }),
            (Some(one), None) | (None, Some(one)) => Some(HostCores { online: one.clone(), allowed: one }),
            (None, None) => None,
        }
    }
}

/// Cores that there are, and those that we may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCores {
    /// Powered and scheduled by the kernel.
    pub online: CpuSet,
    /// Granted to this process by affinity or cpuset.
    pub allowed: CpuSet,
}

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealHost;

impl HostView for RealHost {
    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(path).ok()
    }

    fn list(&self, dir: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    fn allowed(&self) -> Option<CpuSet> {
        let cores = core_affinity::get_core_ids()?;
        Some(cores.into_iter().filter_map(|core| u32::try_from(core.id).ok()).collect())
    }
}

/// A recorded host: paths and their text.
#[derive(Clone, Debug, Default)]
pub struct FixtureHost {
    files: BTreeMap<String, String>,
}

impl FixtureHost {
    /// A host of these files.
    pub fn new<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let files = files.into_iter().map(|(path, text)| (path.to_owned(), text.to_owned())).collect();
        Self { files }
    }

    /// The same host with one file more, or other text in it.
    #[must_use]
    pub fn with(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.to_owned(), text.to_owned());
        self
    }

    /// The same host without a file.
    #[must_use]
    pub fn without(mut self, path: &str) -> Self {
        self.files.remove(path);
        self
    }
}

impl HostView for FixtureHost {
    fn read(&self, path: &str) -> Option<String> {
        self.files.get(path).cloned()
    }

    fn list(&self, dir: &str) -> Vec<String> {
        let prefix = format!("{}/", dir.trim_end_matches('/'));
        let names: BTreeSet<String> = self
            .files
            .keys()
            .filter_map(|path| path.strip_prefix(&prefix)?.split('/').next().map(str::to_owned))
            .collect();
        names.into_iter().collect()
    }

    fn allowed(&self) -> Option<CpuSet> {
        status_field(self, "Cpus_allowed_list").and_then(|text| CpuSet::parse(&text))
    }
}

/// A set of core numbers, shown as the kernel does: `0-3,8`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuSet(BTreeSet<u32>);

impl CpuSet {
    /// Parses a kernel list such as `0-3,8`; an empty text is the empty set. `None` if it is no list.
    pub fn parse(text: &str) -> Option<Self> {
        /// No machine has more; a wild range must not fill memory.
        const CORES_MAX: u32 = 1 << 16;
        let mut cores = BTreeSet::new();
        for range in text.trim().split(',').filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
            if last >= CORES_MAX {
                return None;
            }
            cores.extend(first..=last);
        }
        Some(Self(cores))
    }

    /// Whether the core is in it.
    pub fn contains(&self, core: u32) -> bool {
        self.0.contains(&core)
    }

    /// The cores, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }

    /// Number of cores.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Cores in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.0.intersection(&other.0).copied().collect()
    }

    /// Cores in this one and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.0.difference(&other.0).copied().collect()
    }
}

impl FromIterator<u32> for CpuSet {
    fn from_iter<I: IntoIterator<Item = u32>>(cores: I) -> Self {
        Self(cores.into_iter().collect())
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return out.write_str("none");
        }
        let mut cores = self.iter().peekable();
        let mut comma = "";
        while let Some(first) = cores.next() {
            let mut last = first;
            while cores.next_if_eq(&(last + 1)).is_some() {
                last += 1;
            }
            if first == last {
                write!(out, "{comma}{first}")?;
            } else {
                write!(out, "{comma}{first}-{last}")?;
            }
            comma = ",";
        }
        Ok(())
    }
}

/// A limit of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// None is set.
    Unlimited,
    /// The soft limit.
    AtMost(u64),
}

/// What can be seen of a host. `None`: it cannot be seen from here.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// Online and allowed cores.
    pub cores: Option<HostCores>,
    /// Cores that the scheduler leaves alone (`isolcpus`, isolated cpuset).
    pub isolated: Option<CpuSet>,
    /// Cores without the tick while one task runs.
    pub nohz_full: Option<CpuSet>,
    /// Cores whose RCU callbacks run elsewhere.
    pub rcu_nocbs: Option<CpuSet>,
    /// The kernel's clock source.
    pub clocksource: Option<String>,
    /// Lockable memory, bytes.
    pub memlock: Option<Limit>,
    /// Open files.
    pub nofile: Option<Limit>,
    /// `kernel.io_uring_disabled`: 0 allowed, 1 only for privileged or one group, 2 for nobody. Kernels before 6.6 have no such switch.
    pub io_uring_disabled: Option<u32>,
    /// A system call filter is active (containers): it may refuse `io_uring`.
    pub seccomp: Option<bool>,
    /// May lock memory beyond the limit (`CAP_IPC_LOCK`).
    pub cap_ipc_lock: bool,
    /// `CAP_SYS_ADMIN`: exempt from `io_uring_disabled` 1.
    pub cap_sys_admin: bool,
    /// Major and minor number of the kernel, and its whole name.
    pub kernel: Option<(u32, u32, String)>,
    /// Cores of each NUMA node.
    pub nodes: Vec<(u32, CpuSet)>,
    /// Cores' worth of time that the control group grants, in thousandths of a core.
    pub quota_permille: Option<Limit>,
    /// Memory that can be had without swapping, bytes.
    pub memory_available: Option<u64>,
    /// Interrupts and the cores that they may arrive on; empty if they cannot be seen.
    pub irqs: Vec<(u32, CpuSet)>,
    /// The control group's cores.
    pub cpuset: Option<Cpuset>,
    /// Whose machine it is.
    pub environment: Environment,
    /// Network cards; empty if none can be seen.
    pub interfaces: Vec<Interface>,
    /// What runs here.
    pub programs: Programs,
}

impl HostFacts {
    /// Asks for everything once.
    pub fn gather(host: &dyn HostView) -> Self {
        let set = |path: &str| host.read(path).and_then(|text| CpuSet::parse(&text));
        let command_line = host.read("/proc/cmdline");
        let boot = |name: &str| {
            let line = command_line.as_deref()?;
            let option = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            option.map_or(Some(CpuSet::default()), CpuSet::parse)
        };
        let capabilities =
            status_field(host, "CapEff").and_then(|text| u64::from_str_radix(&text, 16).ok()).unwrap_or(0);
        Self {
            cores: host.cores(),
            isolated: set("/sys/devices/system/cpu/isolated"),
            // The file says `(null)` on kernels that could do it and were not asked to.
            nohz_full: match host.read("/sys/devices/system/cpu/nohz_full") {
                Some(text) if text.contains("null") => Some(CpuSet::default()),
                Some(text) => CpuSet::parse(&text),
                None => boot("nohz_full"),
            },
            rcu_nocbs: boot("rcu_nocbs"),
            clocksource: host
                .read("/sys/devices/system/clocksource/clocksource0/current_clocksource")
                .map(|text| text.trim().to_owned()),
            memlock: limit(host, "Max locked memory"),
            nofile: limit(host, "Max open files"),
            io_uring_disabled: host
                .read("/proc/sys/kernel/io_uring_disabled")
                .and_then(|text| text.trim().parse().ok()),
            seccomp: status_field(host, "Seccomp").map(|text| text != "0"),
            cap_ipc_lock: capabilities & (1 << 14) != 0,
            cap_sys_admin: capabilities & (1 << 21) != 0,
            kernel: host.read("/proc/sys/kernel/osrelease").and_then(|text| kernel_version(text.trim())),
            nodes: nodes(host),
            quota_permille: quota(host),
            memory_available: memory_available(host),
            irqs: irqs(host),
            cpuset: devices::cpuset(host),
            environment: Environment::gather(host),
            interfaces: devices::interfaces(host),
            programs: Programs::gather(host),
        }
    }
}

/// Threads of the same physical core, this one among them.
pub fn siblings(host: &dyn HostView, core: u32) -> Option<CpuSet> {
    let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
    host.read(&path).and_then(|text| CpuSet::parse(&text))
}

/// The frequency governor of a core; `None` where the machine shows no frequency control.
pub fn governor(host: &dyn HostView, core: u32) -> Option<String> {
    let path = format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
    host.read(&path).map(|text| text.trim().to_owned())
}

/// A line of `/proc/self/status`, without its name.
fn status_field<H: HostView + ?Sized>(host: &H, name: &str) -> Option<String> {
    let status = host.read("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// The soft limit of a line of `/proc/self/limits`.
fn limit(host: &dyn HostView, name: &str) -> Option<Limit> {
    let limits = host.read("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(Limit::Unlimited),
        number => number.parse().ok().map(Limit::AtMost),
    }
}

/// `6.18.44-generic` as (6, 18, whole).
fn kernel_version(text: &str) -> Option<(u32, u32, String)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    let (major, minor) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    Some((major, minor, text.to_owned()))
}

fn nodes(host: &dyn HostView) -> Vec<(u32, CpuSet)> {
    let dir = "/sys/devices/system/node";
    host.list(dir)
        .iter()
        .filter_map(|name| {
            let number = name.strip_prefix("node")?.parse().ok()?;
            let cores = CpuSet::parse(&host.read(&format!("{dir}/{name}/cpulist"))?)?;
            Some((number, cores))
        })
        .collect()
}

/// The tightest CPU quota of this process's control group and those above it.
fn quota(host: &dyn HostView) -> Option<Limit> {
    let groups = host.read("/proc/self/cgroup")?;
    let mut tightest: Option<Limit> = None;
    let mut saw = |limit: Limit| {
        tightest = Some(match (tightest, limit) {
            (Some(Limit::AtMost(a)), Limit::AtMost(b)) => Limit::AtMost(a.min(b)),
            (None | Some(Limit::Unlimited), limit) => limit,
            (Some(known), Limit::Unlimited) => known,
        });
    };
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        if controllers.is_empty() {
            // Version 2: `0::/path`, the file `cpu.max` says `quota period` or `max period`.
            for dir in upwards("/sys/fs/cgroup", path) {
                if let Some(text) = host.read(&format!("{dir}/cpu.max")) {
                    let mut words = text.split_whitespace();
                    saw(share(words.next(), words.next()));
                }
            }
        } else if controllers.split(',').any(|controller| controller == "cpu") {
            for dir in upwards("/sys/fs/cgroup/cpu", path) {
                if let Some(quota) = host.read(&format!("{dir}/cpu.cfs_quota_us")) {
                    let period = host.read(&format!("{dir}/cpu.cfs_period_us"));
                    saw(share(Some(quota.trim()), period.as_deref().map(str::trim)));
                }
            }
        }
    }
    tightest
}

/// A quota over its period in thousandths; there is none where it says `max` or `-1`.
fn share(quota: Option<&str>, period: Option<&str>) -> Limit {
    let permille = || {
        let (quota, period): (u64, u64) = (quota?.parse().ok()?, period?.parse().ok()?);
        quota.checked_mul(1000)?.checked_div(period)
    };
    permille().map_or(Limit::Unlimited, Limit::AtMost)
}

/// `MemAvailable` of the machine. A control group's own limit is not looked at.
fn memory_available(host: &dyn HostView) -> Option<u64> {
    let meminfo = host.read("/proc/meminfo")?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The directory of a control group and those above it.
fn upwards(root: &str, path: &str) -> Vec<String> {
    let mut dirs = vec![root.to_owned()];
    let mut dir = root.to_owned();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        dir = format!("{dir}/{part}");
        dirs.push(dir.clone());
    }
    dirs
}

fn irqs(host: &dyn HostView) -> Vec<(u32, CpuSet)> {
    let mut irqs: Vec<(u32, CpuSet)> = host
        .list("/proc/irq")
        .iter()
        .filter_map(|name| {
            let number: u32 = name.parse().ok()?;
            // Where it arrives now, if the kernel says so; else where it may.
            let cores = ["effective_affinity_list", "smp_affinity_list"]
                .iter()
                .filter_map(|file| CpuSet::parse(&host.read(&format!("/proc/irq/{name}/{file}"))?))
                .find(|cores| !cores.is_empty())?;
            Some((number, cores))
        })
        .collect();
    irqs.sort_by_key(|(number, _)| *number);
    irqs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_lists_are_read_and_written_as_the_kernel_does() {
        for (text, shown) in
            [("0-3,8\n", "0-3,8"), ("", "none"), ("\n", "none"), ("5", "5"), ("0,1,2,7-8", "0-2,7-8")]
        {
            assert_eq!(CpuSet::parse(text).unwrap().to_string(), shown, "{text:?}");
        }
        for text in ["x", "1-", "-1", "0-4294967295", "(null)"] {
            assert_eq!(CpuSet::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_tightest_quota_above_counts() {
        let host = FixtureHost::new([
            ("/proc/self/cgroup", "0::/a/b\n"),
            ("/sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
            ("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
        ]);
        assert_eq!(quota(&host), Some(Limit::AtMost(1500)));
        let host = host.with("/sys/fs/cgroup/a/cpu.max", "max 100000");
        assert_eq!(quota(&host), Some(Limit::Unlimited));
        let first_version = FixtureHost::new([
            ("/proc/self/cgroup", "4:cpu,cpuacct:/x\n"),
            ("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "50000\n"),
            ("/sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(quota(&first_version), Some(Limit::AtMost(500)));
        assert_eq!(quota(&FixtureHost::default()), None);
    }

    #[test]
    fn this_machine_has_a_core_that_we_may_use() {
        let cores = RealHost.cores().expect("Linux shows its cores");
        assert!(!cores.allowed.intersection(&cores.online).is_empty(), "{cores:?}");
        let facts = HostFacts::gather(&RealHost);
        assert!(facts.kernel.is_some());
        assert!(facts.nofile.is_some());
    }
}
