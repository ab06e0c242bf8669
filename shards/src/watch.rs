//! The affinity and stall watchdog: what happened to the shards' threads, and when.
//!
//! The supervisor looks often ([`Watch::look`]) at counters that the shards publish without locks, and once a second at what
//! the kernel says of their threads. What changed becomes an [`Incident`] with its time, so that a report can put it
//! beside the latencies that it overlaps. A shard that stops turning is a [`Stall`] with its last known place.
//!
//! [`Watch`] reads no clock and no file: [`Sight`]s are handed in ([`sight`] makes one of a thread).

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use crate::host::CpuSet;
use crate::machine::audit::LongSince;
use crate::machine::executor::LoopCounters;
use crate::machine::place::{Place, Step};
use crate::machine::usage::ThreadUsage;
use crate::report::table::latency;
use crate::report::{DisturbanceKind as Kind, Incident};
use crate::topology::{ShardIndex, Topology};

/// Incidents that are kept; the oldest go first and are counted.
pub const INCIDENTS_MAX: usize = 8_192;
/// Between two questions to the kernel, in nanoseconds.
const ASK_EVERY_NS: u64 = 1_000_000_000;
/// A look counts as this long at the most towards a stall: when the supervisor itself did not run, nobody saw anything.
const LOOK_NS_MAX: u64 = 200_000_000;

/// A shard that does not turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Index of the shard.
    pub shard: usize,
    /// How long it has not turned, in nanoseconds, as far as anybody looked.
    pub stalled_ns: u64,
    /// The last thing that it began.
    pub place: Place,
    /// It turns again: `stalled_ns` is how long it did not.
    pub over: bool,
}

/// What was seen of one shard.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// Turns so far.
    pub turns_total: u64,
    /// Turns above 1 ms so far.
    pub turns_long_total: u64,
    /// The longest of them since the last look, in words; may be empty.
    pub long_words: String,
    /// The last thing that it began.
    pub place: Option<Place>,
    /// What the kernel says; absent between two questions.
    pub kernel: Option<KernelSight>,
}

/// A place in the topology's words: `in the handler of consumer alpha`.
pub fn place_words(topology: &Topology, shard: ShardIndex, place: Place) -> String {
    let named = |what: &str, name: Option<&str>, number: u16| match name {
        Some(name) => format!("{what} {name}"),
        None => format!("{what} {number}"),
    };
    let provider = |what: &str, index: u16| {
        let plan = topology.providers.get(usize::from(index));
        named(what, plan.map(|plan| plan.name.as_str()), index)
    };
    match place {
        Place::Starting => "starting".to_owned(),
        Place::Turn => "in its turn".to_owned(),
        Place::Idle => "idle".to_owned(),
        Place::Tasks => "in files and timers of the executor".to_owned(),
        Place::Provider(index) => provider("handling provider", index),
        Place::Handler(seat) => {
            let plan = topology.consumers_on(shard).nth(usize::from(seat));
            named("in the handler of consumer", plan.map(|(_, plan)| plan.name.as_str()), seat)
        }
        Place::Ending => "ending".to_owned(),
        Place::Due(index) => provider("with timers and requests of provider", index),
        Place::Relief(index) => provider("giving out what waits of provider", index),
        Place::Orders(index) => provider("with the orders of provider", index),
    }
}

/// Long turns with their cause: `2 of own work; 3.1ms, 3.0ms of it on the core, 12 done, 2.2ms of it in one step: handling
/// provider kraken`.
pub fn long_words(topology: &Topology, shard: ShardIndex, long: &LongSince) -> String {
    let Some(longest) = long.longest else { return String::new() };
    let cause = match long.own_count {
        0 => "off its core: another thread or the hypervisor had it, or it slept".to_owned(),
        count => format!("{count} of own work"),
    };
    let (took, on_core) = (latency(longest.took_ns), latency(longest.on_core_ns));
    let step = step_words(topology, shard, longest.step);
    format!("{cause}; {took}, {on_core} of it on the core, {} done, {step}", longest.done)
}

/// The longest step of a turn: `2.2ms of it in one step: handling provider kraken`.
pub fn step_words(topology: &Topology, shard: ShardIndex, step: Step) -> String {
    let place = place_words(topology, shard, step.place);
    match step.took_ns {
        0 => place,
        took_ns => format!("{} of it in one step: {place}", latency(took_ns)),
    }
}

/// What the kernel says of one thread.
#[derive(Clone, Debug, Default)]
pub struct KernelSight {
    /// Switches, faults, time.
    pub usage: ThreadUsage,
    /// The core that it ran on last.
    pub core: Option<u32>,
    /// The cores that it may run on.
    pub allowed: Option<CpuSet>,
}

/// What is looked at.
pub fn sight(counters: &LoopCounters, thread: u32, ask_kernel: bool) -> Sight {
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    Sight {
        turns_total: read(&counters.turns),
        turns_long_total: read(&counters.turns_long),
        long_words: String::new(),
        place: Some(counters.place.get()),
        kernel: ask_kernel.then(|| KernelSight::of(thread)),
    }
}

impl KernelSight {
    fn of(thread: u32) -> Self {
        let read = |file| std::fs::read_to_string(format!("/proc/self/task/{thread}/{file}"));
        // `processor` is field 39 of proc.rst; the name of the thread may hold blanks, so fields count from its end.
        let core = read("stat")
            .ok()
            .and_then(|text| text.rsplit_once(')')?.1.split_whitespace().nth(39 - 3)?.parse().ok());
        let allowed = read("status").ok().and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
            CpuSet::parse(line)
        });
        Self { usage: ThreadUsage::read(thread), core, allowed }
    }
}

#[derive(Debug)]
struct Watched {
    name: String,
    core: Option<u32>,
    turns_total: u64,
    turns_long_total: u64,
    still_ns: u64,
    stalled: bool,
    kernel: Option<KernelSight>,
    pinned: bool,
}

/// What happened to the shards' threads.
#[derive(Debug)]
pub struct Watch {
    shards: Vec<Watched>,
    spins: bool,
    stall_ns: u64,
    looked_ns: u64,
    asked_ns: u64,
    incidents: VecDeque<Incident>,
    dropped_total: u64,
    stalls_total: Vec<u64>,
}

impl Watch {
    /// Watches shards of these names and cores; `spins` says that they never sleep by themselves. Times count from `0`.
    pub fn new(shards: impl IntoIterator<Item = (String, Option<u32>)>, spins: bool, stall_ns: u64) -> Self {
        let shards: Vec<Watched> = shards
            .into_iter()
            .map(|(name, core)| Watched {
                name,
                core,
                turns_total: 0,
                turns_long_total: 0,
                still_ns: 0,
                stalled: false,
                kernel: None,
                pinned: true,
            })
            .collect();
        Self {
            stalls_total: vec![0; shards.len()],
            shards,
            spins,
            stall_ns,
            looked_ns: 0,
            asked_ns: 0,
            incidents: VecDeque::new(),
            dropped_total: 0,
        }
    }

    /// Whether the kernel is to be asked at the look of `run_ns`. It is at the first: what is said later is the difference to that,
    /// and the first second of a run is the one in which most happens.
    pub fn asks_kernel(&self, run_ns: u64) -> bool {
        run_ns >= self.asked_ns + ASK_EVERY_NS || self.shards.iter().all(|shard| shard.kernel.is_none())
    }

    /// Takes what was seen of every shard, in their order, `run_ns` after the start. Returns stalls that began or ended.
    pub fn look(&mut self, run_ns: u64, sights: &[Sight]) -> Vec<Stall> {
        let since_ns = run_ns.saturating_sub(self.looked_ns);
        let (looked_ms, asked_ms, now_ms) =
            (self.looked_ns / 1_000_000, self.asked_ns / 1_000_000, run_ns.div_ceil(1_000_000));
        self.looked_ns = run_ns;
        let mut found = Vec::new();
        let mut stalls = Vec::new();
        let mut asked = false;
        for (index, (shard, sight)) in self.shards.iter_mut().zip(sights).enumerate() {
            let mut add = |from_ms: u64, what: Kind, count: u64, detail: &str| {
                if count > 0 {
                    let shard = shard.name.clone();
                    found.push(Incident {
                        from_ms,
                        to_ms: now_ms,
                        shard,
                        what,
                        count,
                        detail: detail.to_owned(),
                    });
                }
            };
            add(
                looked_ms,
                Kind::LongTurns,
                sight.turns_long_total.saturating_sub(shard.turns_long_total),
                &sight.long_words,
            );
            if let Some(kernel) = &sight.kernel {
                asked = true;
                if let Some(before) = &shard.kernel {
                    let used = kernel.usage.since(&before.usage);
                    add(asked_ms, Kind::InvoluntarySwitches, used.involuntary_switches.unwrap_or(0), "");
                    add(asked_ms, Kind::MajorFaults, used.major_faults.unwrap_or(0), "");
                    add(asked_ms, Kind::MinorFaults, used.minor_faults.unwrap_or(0), "");
                    if self.spins {
                        add(asked_ms, Kind::VoluntarySwitches, used.voluntary_switches.unwrap_or(0), "");
                    }
                    let moved = u64::from(
                        before.core.is_some() && kernel.core.is_some() && before.core != kernel.core,
                    );
                    let moves = used.migrations.unwrap_or(0).max(moved);
                    let to = kernel.core.map_or(String::new(), |core| format!("to core {core}"));
                    add(asked_ms, Kind::Migrations, moves, &to);
                }
                let wanted = shard.core.map(|core| CpuSet::from_iter([core]));
                let pinned = wanted.is_none() || kernel.allowed.is_none() || kernel.allowed == wanted;
                if shard.pinned && !pinned {
                    let now = kernel.allowed.as_ref().map_or(String::new(), CpuSet::to_string);
                    let detail = format!("may run on {now} now; something outside changed its affinity");
                    add(asked_ms, Kind::LostPinning, 1, &detail);
                }
                shard.pinned = pinned;
                shard.kernel = Some(kernel.clone());
            }
            if sight.turns_total == shard.turns_total && sight.place != Some(Place::Ending) {
                shard.still_ns += since_ns.min(LOOK_NS_MAX);
                if shard.still_ns > self.stall_ns && !shard.stalled {
                    shard.stalled = true;
                    self.stalls_total[index] += 1;
                    let place = sight.place.unwrap_or(Place::Starting);
                    stalls.push(Stall { shard: index, stalled_ns: shard.still_ns, place, over: false });
                }
            } else {
                if shard.stalled {
                    let place = sight.place.unwrap_or(Place::Starting);
                    stalls.push(Stall { shard: index, stalled_ns: shard.still_ns, place, over: true });
                    let from_ms = now_ms.saturating_sub(shard.still_ns / 1_000_000);
                    let (what, shard) = (Kind::Stalls, shard.name.clone());
                    let detail = "the shard did not turn".to_owned();
                    found.push(Incident { from_ms, to_ms: now_ms, shard, what, count: 1, detail });
                }
                shard.stalled = false;
                shard.still_ns = 0;
            }
            shard.turns_total = sight.turns_total;
            shard.turns_long_total = sight.turns_long_total;
        }
        if asked {
            self.asked_ns = run_ns;
        }
        self.keep(found);
        stalls
    }

    /// Ends the watch: stalls that are not over become incidents too. Returns all that were kept, by time, and how many were not.
    pub fn finish(mut self) -> (Vec<Incident>, u64) {
        let now_ms = self.looked_ns / 1_000_000;
        let open: Vec<Incident> = self
            .shards
            .iter()
            .filter(|shard| shard.stalled)
            .map(|shard| Incident {
                from_ms: now_ms.saturating_sub(shard.still_ns / 1_000_000),
                to_ms: now_ms,
                shard: shard.name.clone(),
                what: Kind::Stalls,
                count: 1,
                detail: "the shard did not turn any more".to_owned(),
            })
            .collect();
        self.keep(open);
        (self.incidents.into(), self.dropped_total)
    }

    /// What is known of one shard now: stalled, how often, and whether it has its core.
    pub fn standing(&self, shard: usize) -> Standing {
        let watched = &self.shards[shard];
        Standing {
            stalled_ns: if watched.stalled { watched.still_ns } else { 0 },
            stalls_total: self.stalls_total[shard],
            pinned: watched.pinned,
            usage: watched.kernel.as_ref().map(|kernel| kernel.usage).unwrap_or_default(),
        }
    }

    /// The newest incidents, newest first.
    pub fn newest(&self, count: usize) -> impl Iterator<Item = &Incident> {
        self.incidents.iter().rev().take(count)
    }

    fn keep(&mut self, found: Vec<Incident>) {
        for incident in found {
            if self.incidents.len() == INCIDENTS_MAX {
                self.incidents.pop_front();
                self.dropped_total += 1;
            }
            self.incidents.push_back(incident);
        }
    }
}

/// How a shard's thread stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// For how long it has not turned, in nanoseconds; 0 while it turns.
    pub stalled_ns: u64,
    /// How often it stalled.
    pub stalls_total: u64,
    /// It may run on its core and on no other.
    pub pinned: bool,
    /// The kernel's counters since its start.
    pub usage: ThreadUsage,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn watch(spins: bool) -> Watch {
        Watch::new([("md0".to_owned(), Some(0)), ("strategies".to_owned(), Some(1))], spins, 500 * MS)
    }

    fn turns(turns_total: u64, place: Place) -> Sight {
        Sight { turns_total, place: Some(place), ..Sight::default() }
    }

    fn kernel(core: u32, allowed: &str, switches: u64) -> KernelSight {
        let usage = ThreadUsage {
            involuntary_switches: Some(switches),
            voluntary_switches: Some(switches * 2),
            ..ThreadUsage::default()
        };
        KernelSight { usage, core: Some(core), allowed: CpuSet::parse(allowed) }
    }

    #[test]
    fn a_shard_that_stops_turning_is_named_once_with_its_place_and_again_when_it_goes_on() {
        let mut watch = watch(false);
        let mut said = Vec::new();
        for look in 1..=40_u64 {
            let stuck = if (10..30).contains(&look) { 10 } else { look };
            let place = if stuck == 10 { Place::Handler(2) } else { Place::Turn };
            let sights = [turns(look, Place::Idle), turns(stuck, place)];
            said.extend(watch.look(look * 50 * MS, &sights));
        }
        let expected = [
            Stall { shard: 1, stalled_ns: 550 * MS, place: Place::Handler(2), over: false },
            Stall { shard: 1, stalled_ns: 950 * MS, place: Place::Turn, over: true },
        ];
        assert_eq!(said, expected);
        assert_eq!(watch.standing(1).stalls_total, 1);
        let (incidents, dropped) = watch.finish();
        let shown: Vec<_> =
            incidents.iter().map(|one| (one.from_ms, one.to_ms, one.what, one.shard.as_str())).collect();
        assert_eq!(shown, [(550, 1500, Kind::Stalls, "strategies")]);
        assert_eq!(dropped, 0);
    }

    #[test]
    fn a_supervisor_that_did_not_run_accuses_nobody() {
        let mut watch = watch(false);
        let sights = [turns(5, Place::Turn), turns(5, Place::Turn)];
        assert_eq!(watch.look(50 * MS, &sights), []);
        assert_eq!(watch.look(60_000 * MS, &sights), [], "one look proves 200 ms at the most");
        assert_eq!(watch.look(60_050 * MS, &sights), []);
        assert_eq!(watch.look(60_250 * MS, &sights), []);
        assert_eq!(watch.look(60_450 * MS, &sights).len(), 2);
    }

    #[test]
    fn a_stall_that_never_ends_is_in_the_report() {
        let mut watch = watch(false);
        for look in 1..=20_u64 {
            watch.look(look * 50 * MS, &[turns(look, Place::Turn), turns(0, Place::Provider(1))]);
        }
        assert!(watch.standing(1).stalled_ns > 500 * MS);
        let (incidents, _) = watch.finish();
        assert_eq!(incidents.len(), 1);
        assert_eq!(incidents[0].what, Kind::Stalls);
    }

    #[test]
    fn an_ending_shard_does_not_stall() {
        let mut watch = watch(false);
        for look in 1..=40_u64 {
            let said = watch.look(look * 50 * MS, &[turns(7, Place::Ending), turns(look, Place::Idle)]);
            assert_eq!(said, []);
        }
    }

    #[test]
    fn what_the_kernel_did_to_a_thread_has_its_second() {
        let mut watch = watch(true);
        assert!(
            watch.asks_kernel(50 * MS),
            "what comes in the first second has to be compared with something"
        );
        let look = |watch: &mut Watch, run_ms: u64, kernel: KernelSight| {
            let sight = Sight { kernel: Some(kernel), turns_total: run_ms, ..Sight::default() };
            watch.look(run_ms * MS, &[sight]);
        };
        look(&mut watch, 1_000, kernel(0, "0", 5));
        assert!(!watch.asks_kernel(1_999 * MS));
        assert!(watch.asks_kernel(2_000 * MS));
        look(&mut watch, 2_000, kernel(0, "0", 8));
        look(&mut watch, 3_000, kernel(1, "0-1", 8));
        look(&mut watch, 4_000, kernel(1, "0-1", 8));
        assert!(!watch.standing(0).pinned);
        let (incidents, _) = watch.finish();
        let shown: Vec<_> =
            incidents.iter().map(|one| (one.from_ms, one.to_ms, one.what.name(), one.count)).collect();
        let expected = [
            (1_000, 2_000, "involuntary_switches", 3),
            (1_000, 2_000, "voluntary_switches", 6),
            (2_000, 3_000, "migrations", 1),
            (2_000, 3_000, "lost_pinning", 1),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut watch = watch(false);
        for look in 1..=INCIDENTS_MAX as u64 + 3 {
            let sight = Sight { turns_total: look, turns_long_total: look, ..Sight::default() };
            watch.look(look * MS, &[sight]);
        }
        assert_eq!(watch.newest(1).next().map(|one| one.to_ms), Some(INCIDENTS_MAX as u64 + 3));
        let (incidents, dropped) = watch.finish();
        assert_eq!((incidents.len(), dropped), (INCIDENTS_MAX, 3));
    }

    #[test]
    fn this_thread_can_be_seen() {
        let thread = crate::machine::usage::current_tid();
        let seen = KernelSight::of(thread);
        assert!(seen.allowed.is_some_and(|cores| cores.contains(seen.core.expect("the kernel tells it"))));
    }
}
