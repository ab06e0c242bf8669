//! Facts about the machine that a latency figure means nothing without.
//!
//! Read from `/proc` and `/sys`, leniently: what is not there is absent from the report, never an error.

use std::fs;

use serde::{Deserialize, Serialize};

/// The machine of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Release of the kernel: `6.18.2`.
    pub kernel: Option<String>,
    /// Model of the processor, as it calls itself.
    pub cpu_model: Option<String>,
    /// How many CPUs are online; SMT siblings count.
    pub cpus_online: Option<u32>,
    /// The kernel's clock source: `tsc` where clocks are cheap.
    pub clock_source: Option<String>,
    /// Whether a hypervisor runs below, which adds pauses that no kernel setting removes.
    pub virtual_machine: Option<bool>,
}

impl HostFacts {
    /// Reads them from this machine.
    pub fn read() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            kernel: line("/proc/sys/kernel/osrelease"),
            cpu_model: cpuinfo_field(&cpuinfo, "model name").or_else(|| cpuinfo_field(&cpuinfo, "Model")),
            cpus_online: line("/sys/devices/system/cpu/online").and_then(|list| cpu_count(&list)),
            clock_source: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            virtual_machine: cpuinfo_field(&cpuinfo, "flags")
                .map(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor")),
        }
    }

    /// One line for titles: `Intel(R) Xeon(R) Processor, 2 CPUs, virtual, Linux 6.18.2, clock tsc`.
    pub fn line(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.cpu_model.clone());
        parts.extend(self.cpus_online.map(|count| format!("{count} CPUs")));
        parts.extend(self.virtual_machine.filter(|&is| is).map(|_| "virtual".to_owned()));
        parts.extend(self.kernel.as_ref().map(|kernel| format!("Linux {kernel}")));
        parts.extend(self.clock_source.as_ref().map(|source| format!("clock {source}")));
        parts.join(", ")
    }
}

/// The first line of a file; absent if there is none or it is empty.
fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().next().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned)
}

/// A field of the first CPU in `/proc/cpuinfo`.
fn cpuinfo_field(text: &str, name: &str) -> Option<String> {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let mut values = fields.filter(|(found, _)| found.trim() == name);
    // Some firmware pads the model with blanks.
    values.next().map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// How many CPUs a kernel list like `0-3,8,10-11` names.
fn cpu_count(list: &str) -> Option<u32> {
    list.trim().split(',').try_fold(0_u32, |count, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        count.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_list_is_counted() {
        assert_eq!(cpu_count("0"), Some(1));
        assert_eq!(cpu_count("0-1\n"), Some(2));
        assert_eq!(cpu_count("0-3,8,10-11"), Some(7));
        for wrong in ["", "a", "3-1", "0-", "0-4294967295"] {
            assert_eq!(cpu_count(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_field_of_cpuinfo_is_found_by_its_whole_name() {
        let text = "processor\t: 0\nmodel\t\t: 167\nmodel name\t: Intel(R)  Xeon(R)   CPU\nflags\t\t: fpu hypervisor\n";
        assert_eq!(cpuinfo_field(text, "model name").as_deref(), Some("Intel(R) Xeon(R) CPU"));
        assert_eq!(cpuinfo_field(text, "name"), None);
    }

    #[test]
    fn absent_facts_leave_no_trace_in_the_line() {
        assert_eq!(HostFacts::default().line(), "");
        let facts = HostFacts { cpus_online: Some(2), virtual_machine: Some(false), ..HostFacts::default() };
        assert_eq!(facts.line(), "2 CPUs");
    }

    #[test]
    fn this_host_has_a_kernel() {
        assert!(HostFacts::read().kernel.is_some());
    }
}
