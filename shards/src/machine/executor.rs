//! Starts a shard on its core and runs its turns: the only module that names glommio.
//!
//! glommio gives placement, timers, file I/O and a pool for blocking calls. It does not carry the data path: its
//! sockets cost 4-7 allocations and some 20 us per message, where a task that reads its own non-blocking sockets is as
//! fast as a bare loop. So a shard is one task, [`drive`], that turns and turns, and lets glommio in only while
//! somebody has work open with it ([`Tasks`]).
//!
//! The loop itself takes 26 ns a turn (one clock read, the counters, the pause hint), and a poll of eight idle sockets
//! in the turn another 110: what a spinning shard that has nothing to do is made of.
//!
//! How often it is let in is a trade: one pass of glommio's reactor takes about 20 us, and nothing else makes tasks,
//! timers and files progress. [`PASS_EVERY_SPIN`] and [`PASS_EVERY_PARK`] say what was chosen.
//!
//! A pass is waited for with a timer, never with `yield_now`: glommio 0.9 (`LocalExecutor::run`) goes to sleep with runnable
//! tasks in its queue when its preemption timer expires between being set and being looked at, as it does on a core that
//! is taken away just then. Nothing wakes it from that: a shard stood still for good, once in some minutes on a crowded
//! host. So its preemption timer never expires here, and a second timer (`GUARD`) ends any such sleep.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use glommio::timer::Timer;
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement};
use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;

use super::audit::{Account, CoreTime, LongTurns, Longest, TurnAudit};
use super::clock::{Clock, elapsed_ns};
use super::idle::{Idle, IdlePolicy, Idled, Waker};
use super::place::{Place, PlaceCell};
use super::poller::Woken;

/// Files, with glommio's own documentation. For use inside of [`Tasks::spawn`].
pub use glommio::io as file_io;

/// Time between two passes of glommio's reactor in a shard that spins, while it has open work.
///
/// A pass is a hiccup of 20 us: 2 % of the time at 1 ms (it shows at p99), 0.4 % at 5 ms (only at p99.9). A step of
/// file I/O or a timer is late by as much; what is urgent is a deadline of the turn itself.
pub const PASS_EVERY_SPIN: Duration = Duration::from_millis(5);

/// The same in a shard that parks. It sleeps between turns anyway, so that files and timers come first.
pub const PASS_EVERY_PARK: Duration = Duration::from_millis(1);

/// The longest sleep of a parked shard while glommio has open work, whose completions do not reliably end the sleep.
/// Costs 3 % of a core for as long as the work is open.
pub const SLEEP_NS_MAX_WITH_TASKS: u64 = PASS_EVERY_PARK.as_nanos() as u64;

/// What a pass waits for: so short that it has passed when the reactor looks, so long that it has not before.
const PASS: Duration = Duration::from_micros(1);

/// The longest that glommio can sleep although something is ready to run.
const GUARD: Duration = Duration::from_millis(20);

/// glommio's preemption timer: never. Tasks here end their steps by waiting for something.
const PREEMPT_NEVER: Duration = Duration::from_hours(365 * 24);

/// A turn longer than this is counted: an event that came meanwhile has waited as long.
pub const LONG_TURN_NS: u64 = 1_000_000;

/// glommio's registered memory for direct file I/O. Its minimum; its default of 10 MiB is pinned three times.
const IO_MEMORY_BYTES: usize = 64 << 10;

/// Entries of each of glommio's three rings. A shard has a journal, a recorder and a few timers.
const RING_DEPTH: usize = 32;

/// `RLIMIT_MEMLOCK` below which not even one executor starts: glommio refuses less than 512 KiB, and panics at
/// exactly that much.
pub const MEMLOCK_BYTES_MIN: u64 = 1 << 20;

/// What a shard does, as the loop sees it.
pub trait Turn {
    /// One pass over everything that may have come, bounded by the shard's own limits; `now_ns` is the only clock
    /// read of the turn. Returns how much it did; 0 lets the shard idle.
    fn turn(&mut self, now_ns: u64) -> usize;

    /// When a turn is needed although nothing comes; `None` if never.
    fn next_deadline_ns(&self) -> Option<u64>;

    /// Whether a ring that ends here holds something. Asked once before each sleep, when senders already know that
    /// the shard is about to sleep: it must look at the rings themselves.
    fn ring_waiting(&self) -> bool;
}

/// Tells a shard to stop, from any thread. Cloned; all clones are one.
#[derive(Clone, Debug)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    waker: Waker,
}

impl Stop {
    /// The stop of the shard that `waker` wakes.
    pub fn new(waker: Waker) -> Self {
        Self { asked: Arc::default(), waker }
    }

    /// Asks the shard to stop after its current turn, and wakes it.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether the shard was asked to stop.
    #[inline]
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }
}

/// What a shard's loop counts. Written by the shard only; read by anyone.
#[derive(Debug, Default)]
pub struct LoopCounters {
    /// `loop_turns_total`.
    pub turns: AtomicU64,
    /// `loop_turns_idle_total`: turns that did nothing.
    pub turns_idle: AtomicU64,
    /// `loop_turns_long_total`: turns above [`LONG_TURN_NS`], whoever caused it.
    pub turns_long: AtomicU64,
    /// `loop_turn_ns_max`: the longest turn.
    pub turn_ns_max: AtomicU64,
    /// `loop_busy_ns_total`: time in turns that did something.
    pub busy_ns: AtomicU64,
    /// `loop_sleeps_total`.
    pub sleeps: AtomicU64,
    /// `loop_sleeps_woken_by_sender_total`.
    pub sleeps_woken_by_sender: AtomicU64,
    /// `loop_sleeps_woken_by_socket_total`.
    pub sleeps_woken_by_socket: AtomicU64,
    /// `loop_passes_total`: passes of glommio's reactor.
    pub passes: AtomicU64,
    /// Where the shard is.
    pub place: PlaceCell,
    /// Long turns since somebody asked, with whose doing the longest was.
    pub long: LongTurns,
    /// Set while somebody wants to know of every long turn whose doing it was; costs a system call a turn.
    pub audit: OnceLock<TurnAudit>,
}

/// One writer: a load and a store instead of a locked addition.
#[inline]
fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// Runs the turns of `shard` until `stop` is asked. One last turn follows the request, so that what was published
/// before it is seen.
///
/// # Errors
///
/// What the kernel says about the wait of a parked shard; none is expected.
pub async fn drive(
    shard: &mut impl Turn,
    idle: &mut Idle,
    tasks: &Tasks,
    stop: &Stop,
    counters: &LoopCounters,
) -> std::io::Result<()> {
    let clock = Clock::new();
    let mut now_ns = clock.now();
    let mut passing = Passing::new();
    let mut pass_at_ns = now_ns;
    #[cfg(debug_assertions)]
    let mut mishap = super::mishap::Mishap::of_this_thread(now_ns);
    let mut account: Option<Account> = None;
    let mut core_time = CoreTime::begin(now_ns);
    loop {
        let stopping = stop.asked();
        counters.place.begin_turn();
        let done = shard.turn(now_ns);
        #[cfg(debug_assertions)]
        mishap.strike(now_ns);
        let turn_start_ns = now_ns;
        now_ns = clock.now();
        count(&counters.turns);
        let took_ns = elapsed_ns(turn_start_ns, now_ns);
        note_duration(counters, took_ns, done > 0);
        if took_ns > LONG_TURN_NS {
            let on_core_ns = core_time.of_turn(took_ns, now_ns);
            counters.long.note(Longest { took_ns, on_core_ns, done, step: counters.place.longest_step() });
        }
        core_time.keep(now_ns);
        if let Some(audit) = counters.audit.get() {
            match &mut account {
                Some(account) => {
                    account.settle(audit, (turn_start_ns, now_ns), done, counters.place.longest_step());
                }
                None => account = Some(Account::open(now_ns)),
            }
        }
        if stopping {
            counters.place.set(Place::Ending);
            return Ok(());
        }

        let tasks_open = tasks.open() > 0;
        let mut time_passed = false;
        if done > 0 {
            idle.busy();
        } else {
            count(&counters.turns_idle);
            let mut deadline_ns = shard.next_deadline_ns();
            if tasks_open {
                let cap_ns = now_ns + SLEEP_NS_MAX_WITH_TASKS;
                deadline_ns = Some(deadline_ns.map_or(cap_ns, |deadline| deadline.min(cap_ns)));
            }
            counters.place.set(Place::Idle);
            if let Idled::Slept(woken) =
                idle.idle(now_ns, deadline_ns, || shard.ring_waiting() || stop.asked())?
            {
                time_passed = true;
                core_time = CoreTime::begin(clock.now());
                note_sleep(counters, woken);
            }
        }

        if tasks_open && (tasks.take_fresh() || now_ns >= pass_at_ns) {
            count(&counters.passes);
            counters.place.set(Place::Tasks);
            passing.pass(PASS).await;
            time_passed = true;
            pass_at_ns = clock.now() + tasks.pass_every_ns;
        }
        if let Some(account) = &mut account {
            account.begin(now_ns);
            time_passed = true;
        }
        if time_passed {
            now_ns = clock.now();
        }
    }
}

#[inline]
fn note_duration(counters: &LoopCounters, turn_ns: u64, busy: bool) {
    if busy {
        counters.busy_ns.store(counters.busy_ns.load(Ordering::Relaxed) + turn_ns, Ordering::Relaxed);
    }
    if turn_ns > counters.turn_ns_max.load(Ordering::Relaxed) {
        counters.turn_ns_max.store(turn_ns, Ordering::Relaxed);
    }
    if turn_ns > LONG_TURN_NS {
        count(&counters.turns_long);
    }
}

fn note_sleep(counters: &LoopCounters, woken: Woken) {
    count(&counters.sleeps);
    match woken {
        Woken::Deadline => {}
        Woken::Sender => count(&counters.sleeps_woken_by_sender),
        Woken::Socket => count(&counters.sleeps_woken_by_socket),
    }
}

/// glommio's tasks beside the turn: file I/O, timers, blocking calls. Only within the shard's thread.
///
/// Each open task makes the shard let glommio in and, when parked, sleep at most [`SLEEP_NS_MAX_WITH_TASKS`]. So a task is
/// spawned per piece of work; one that waits for ever is a cost for ever.
#[derive(Clone, Debug)]
pub struct Tasks {
    open: Rc<Cell<usize>>,
    /// Set when a task has not had its first step.
    fresh: Rc<Cell<bool>>,
    pass_every_ns: u64,
}

impl Tasks {
    fn new(pass_every: Duration) -> Self {
        let pass_every_ns = u64::try_from(pass_every.as_nanos()).unwrap_or(u64::MAX);
        Self { open: Rc::default(), fresh: Rc::default(), pass_every_ns }
    }

    /// Runs `future` beside the turn. It runs to its end even if the handle is dropped.
    ///
    /// A panic in it is a panic of the shard's thread.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> TaskHandle<T> {
        let open = OpenTask::new(self.open.clone());
        let value = Rc::new(Cell::new(None));
        let result = value.clone();
        glommio::spawn_local(async move {
            let _open = open;
            result.set(Some(future.await));
        })
        .detach();
        self.fresh.set(true);
        TaskHandle(value)
    }

    /// Runs `call` on a thread of its own, off the shard's core, and delivers what it returned.
    pub fn spawn_blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> TaskHandle<T> {
        self.spawn(glommio::executor().spawn_blocking(call))
    }

    /// How many tasks have not ended.
    #[inline]
    pub fn open(&self) -> usize {
        self.open.get()
    }

    /// Waits until every task has ended or `limit` has passed; returns how many are still open. For a shard that has
    /// stopped turning.
    pub async fn drain(&self, limit: Duration) -> usize {
        let start = Instant::now();
        let mut passing = Passing::new();
        while self.open() > 0 && start.elapsed() < limit {
            passing.pass(Duration::from_micros(200)).await;
        }
        self.open()
    }

    fn take_fresh(&self) -> bool {
        self.fresh.replace(false)
    }
}

/// Waits in a way that lets glommio's reactor pass, and cannot be forgotten by it (the module's text says how it could).
struct Passing {
    due: Timer,
    guard: Timer,
}

impl Passing {
    fn new() -> Self {
        Self { due: Timer::new(PASS), guard: Timer::new(GUARD) }
    }

    async fn pass(&mut self, wait: Duration) {
        self.guard.reset(GUARD);
        self.due.reset(wait);
        poll_fn(|context| {
            // Only there to end a sleep.
            let _ = Pin::new(&mut self.guard).poll(context);
            Pin::new(&mut self.due).poll(context).map(drop)
        })
        .await;
    }
}

/// Waits inside of a task. The turn has deadlines of its own ([`Turn::next_deadline_ns`]).
pub async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
}

/// What a task will have returned. Polled from the turn.
pub struct TaskHandle<T>(Rc<Cell<Option<T>>>);

impl<T> TaskHandle<T> {
    /// A handle of a task that other means than [`Tasks::spawn`] run, and where its result is to be put.
    pub fn pair() -> (Self, Rc<Cell<Option<T>>>) {
        let value = Rc::new(Cell::new(None));
        (Self(Rc::clone(&value)), value)
    }

    /// The task's result, once, when it has ended.
    pub fn take(&self) -> Option<T> {
        self.0.take()
    }
}

impl<T> fmt::Debug for TaskHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle").finish_non_exhaustive()
    }
}

/// Counts one task until it ends, however it ends.
struct OpenTask(Rc<Cell<usize>>);

impl OpenTask {
    fn new(open: Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        Self(open)
    }
}

impl Drop for OpenTask {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Why a shard did not start, or how it ended.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// There is no such core here, or the process may not use it.
    #[error(
        "shard {shard}: core {core} is not available to this process (available: {available:?}); \
         name one of these, or widen the cpuset"
    )]
    NoSuchCore {
        /// Which shard.
        shard: String,
        /// The core that it was to run on.
        core: usize,
        /// What the process may use.
        available: Vec<usize>,
    },
    /// The kernel pinned the thread somewhere else.
    #[error(
        "shard {shard}: asked for core {core}, the kernel granted {granted:?}; \
         something outside (cpuset, taskset) overrides the pinning"
    )]
    NotPinned {
        /// Which shard.
        shard: String,
        /// The core that it was to run on.
        core: usize,
        /// Where it may run.
        granted: Vec<usize>,
    },
    /// The executor's rings would not fit into the limit on locked memory.
    #[error(
        "shard {shard}: the limit on locked memory is {limit_kib} KiB and io_uring needs at least {needed_kib}; \
         raise it (`ulimit -l {needed_kib}`, `LimitMEMLOCK=` of the service, or `memlock` in limits.conf)"
    )]
    Memlock {
        /// Which shard.
        shard: String,
        /// The limit in force, in KiB.
        limit_kib: u64,
        /// What would do, in KiB.
        needed_kib: u64,
    },
    /// The host forbids io_uring.
    #[error(
        "shard {shard}: this host forbids io_uring (kernel.io_uring_disabled = {setting}); \
         set it to 0, or to 1 with this process' group in kernel.io_uring_group"
    )]
    IoUringDisabled {
        /// Which shard.
        shard: String,
        /// The value of the setting.
        setting: u8,
    },
    /// The executor could not be made.
    #[error(
        "shard {shard}: the executor did not start: {reason}; usually a container's seccomp profile forbids io_uring, \
         the limit on locked memory is used up (`ulimit -l`), or the kernel is older than 5.11"
    )]
    Executor {
        /// Which shard.
        shard: String,
        /// What glommio says.
        reason: String,
    },
    /// No thread could be made.
    #[error("shard {shard}: no thread: {reason}; check `ulimit -u` and the memory limit")]
    Thread {
        /// Which shard.
        shard: String,
        /// What the kernel says.
        reason: String,
    },
    /// It panicked while running.
    #[error("shard {shard} panicked: {message}")]
    Panicked {
        /// Which shard.
        shard: String,
        /// The panic's message.
        message: String,
    },
}

/// How to start a shard.
#[derive(Clone, Debug)]
pub struct ShardOptions {
    /// Name of its thread; Linux shows the first 15 bytes.
    pub name: String,
    /// The core it runs on, or `None` to leave it to the kernel.
    pub core: Option<usize>,
    /// How it will idle; it decides how often glommio is let in.
    pub idle: IdlePolicy,
}

/// What a shard's body is given on its own thread.
#[derive(Clone, Debug)]
pub struct ShardContext {
    /// The shard's name.
    pub name: String,
    /// The cores that the kernel granted: one if it is pinned.
    pub affinity: Vec<usize>,
    /// Its thread, as the kernel numbers it: `/proc/self/task/<id>` has its context switches and faults.
    pub thread_id: i32,
    /// glommio's tasks beside its turn.
    pub tasks: Tasks,
}

/// A running shard.
#[derive(Debug)]
pub struct JoinHandle<T> {
    name: String,
    affinity: Vec<usize>,
    thread_id: i32,
    /// `None` from a thread whose executor did not start; such a one never becomes a handle.
    thread: thread::JoinHandle<Option<T>>,
}

impl<T> JoinHandle<T> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cores that the kernel granted: one if it is pinned.
    pub fn affinity(&self) -> &[usize] {
        &self.affinity
    }

    /// Its thread, as the kernel numbers it.
    pub fn thread_id(&self) -> i32 {
        self.thread_id
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for it and returns what its body returned.
    ///
    /// # Errors
    ///
    /// [`ShardError::Panicked`].
    pub fn join(self) -> Result<T, ShardError> {
        match self.thread.join() {
            Ok(value) => Ok(value.expect("a handle is only made of a thread that runs its body")),
            Err(panic) => Err(ShardError::Panicked { shard: self.name, message: panic_text(&*panic) }),
        }
    }
}

/// Starts a shard: a thread on its core with an executor, which runs the future that `body` makes there.
///
/// Returns when the executor stands and its placement is proved. Several shards may share a core. Call it from a
/// thread that is not pinned itself: a pinned one sees, and may give away, only its own core.
///
/// # Errors
///
/// [`ShardError`], each saying what to change.
pub fn spawn_shard<T, F, B>(options: ShardOptions, body: B) -> Result<JoinHandle<T>, ShardError>
where
    B: FnOnce(ShardContext) -> F + Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    preflight(&options)?;
    let name = options.name.clone();
    let (started, starting) = mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name(options.name.clone())
        .spawn(move || {
            let (executor, context) = match start(&options, PREEMPT_NEVER) {
                Ok(shard) => shard,
                Err(error) => {
                    let _ = started.send(Err(error));
                    return None;
                }
            };
            let _ = started.send(Ok((context.affinity.clone(), context.thread_id)));
            drop(started);
            Some(executor.run(async move { body(context).await }))
        })
        .map_err(|error| ShardError::Thread { shard: name.clone(), reason: error.to_string() })?;
    match starting.recv() {
        Ok(Ok((affinity, thread_id))) => Ok(JoinHandle { name, affinity, thread_id, thread }),
        Ok(Err(error)) => {
            let _ = thread.join();
            Err(error)
        }
        Err(_) => {
            let message = thread.join().err().map_or_else(String::new, |panic| panic_text(&*panic));
            Err(ShardError::Panicked { shard: name, message })
        }
    }
}

/// What can be known to fail before a thread exists, with a better text than glommio's, which panics for some of it.
fn preflight(options: &ShardOptions) -> Result<(), ShardError> {
    let shard = || options.name.clone();
    if let Some(core) = options.core {
        let available = allowed_cores();
        if !available.contains(&core) {
            return Err(ShardError::NoSuchCore { shard: shard(), core, available });
        }
    }
    memlock_fits(getrlimit(Resource::Memlock).current, shard)?;
    let setting = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    // 1 allows the privileged and one group; whether that is us, the kernel says at the attempt.
    if setting.trim() == "2" {
        return Err(ShardError::IoUringDisabled { shard: shard(), setting: 2 });
    }
    Ok(())
}

/// `limit` in bytes, `None` if there is none.
fn memlock_fits(limit: Option<u64>, shard: impl FnOnce() -> String) -> Result<(), ShardError> {
    let Some(bytes) = limit else { return Ok(()) };
    // Who may lock memory at will is not charged for rings; glommio still refuses less than 512 KiB.
    let privileged =
        rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    let needed = if privileged { MEMLOCK_BYTES_MIN / 2 } else { MEMLOCK_BYTES_MIN };
    if bytes >= needed {
        return Ok(());
    }
    Err(ShardError::Memlock { shard: shard(), limit_kib: bytes >> 10, needed_kib: MEMLOCK_BYTES_MIN >> 10 })
}

/// On the shard's thread: the executor, bound to its core, and the proof that it is.
fn start(options: &ShardOptions, preempt: Duration) -> Result<(LocalExecutor, ShardContext), ShardError> {
    let pass_every = if options.idle == IdlePolicy::Spin { PASS_EVERY_SPIN } else { PASS_EVERY_PARK };
    let placement = options.core.map_or(Placement::Unbound, Placement::Fixed);
    // The pool for blocking calls is made before the thread is pinned, and so keeps the process' own cores: a name
    // that resolves slowly or a rename does not run on a core that spins.
    let make = || {
        LocalExecutorBuilder::new(placement)
            .name(&options.name)
            .io_memory(IO_MEMORY_BYTES)
            .ring_depth(RING_DEPTH)
            .preempt_timer(preempt)
            .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
            .make()
    };
    let failed = |reason: String| ShardError::Executor { shard: options.name.clone(), reason };
    let executor = match catch_unwind(AssertUnwindSafe(make)) {
        Ok(Ok(executor)) => executor,
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(panic) => return Err(failed(panic_text(&*panic))),
    };
    let affinity = allowed_cores();
    if let Some(core) = options.core {
        // Two libraries must agree: what the scheduler says, and what core_affinity sees.
        let seen: Vec<usize> =
            core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
        if affinity != [core] || seen != [core] {
            return Err(ShardError::NotPinned { shard: options.name.clone(), core, granted: affinity });
        }
    }
    let thread_id = rustix::thread::gettid().as_raw_nonzero().get();
    let context =
        ShardContext { name: options.name.clone(), affinity, thread_id, tasks: Tasks::new(pass_every) };
    Ok((executor, context))
}

/// The cores that the calling thread may run on, in order. Ask before pinning to learn of the process'.
pub fn allowed_cores() -> Vec<usize> {
    rustix::thread::sched_getaffinity(None).map_or_else(
        |_| Vec::new(),
        |set| (0..rustix::thread::CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect(),
    )
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

#[cfg(test)]
#[path = "executor_tests.rs"]
mod tests;
