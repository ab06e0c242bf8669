//! Shards that start, turn, sleep, stop and fail.

use super::*;
use crate::machine::poller::Poller;
use crate::machine::testing::{WAIT_MAX, until};

/// A shard that counts its turns and does as much as `work` says.
#[derive(Default)]
struct Counter {
    turns: u64,
    work: usize,
    stop_after: Option<(u64, Stop)>,
    deadline_ns: Option<u64>,
}

impl Turn for Counter {
    fn turn(&mut self, _now_ns: u64) -> usize {
        self.turns += 1;
        if let Some((turns, stop)) = &self.stop_after
            && self.turns == *turns
        {
            stop.ask();
        }
        self.work
    }
    fn next_deadline_ns(&self) -> Option<u64> {
        self.deadline_ns
    }
    fn ring_waiting(&self) -> bool {
        false
    }
}

fn options(name: &str, core: Option<usize>, idle: IdlePolicy) -> ShardOptions {
    ShardOptions { name: name.to_owned(), core, idle }
}

fn core() -> usize {
    allowed_cores()[0]
}

/// Runs one shard until it stops itself; returns its turns as it and as its counters saw them.
fn run(idle_policy: IdlePolicy, work: usize, turns: u64) -> (u64, Arc<LoopCounters>) {
    let counters = Arc::new(LoopCounters::default());
    let theirs = counters.clone();
    let shard = spawn_shard(options("run", Some(core()), idle_policy), move |context| async move {
        let waker = Waker::new().unwrap();
        let poller = Poller::new().unwrap();
        let mut idle = Idle::new(idle_policy, waker.clone(), &poller).unwrap();
        let stop = Stop::new(waker);
        let mut shard = Counter { work, stop_after: Some((turns, stop.clone())), ..Counter::default() };
        drive(&mut shard, &mut idle, &context.tasks, &stop, &theirs).await.unwrap();
        shard.turns
    });
    (shard.unwrap().join().unwrap(), counters)
}

#[test]
fn a_shard_runs_where_it_is_told_and_returns_its_value() {
    let core = core();
    let shard = spawn_shard(options("pinned", Some(core), IdlePolicy::Spin), |context| async move {
        (context.name, context.affinity, std::thread::current().name().map(str::to_owned))
    });
    let shard = shard.unwrap();
    assert_eq!(shard.affinity(), [core]);
    assert!(shard.thread_id() > 0);
    assert_eq!(shard.name(), "pinned");
    assert_eq!(shard.join().unwrap(), ("pinned".to_owned(), vec![core], Some("pinned".to_owned())));
}

#[test]
fn two_shards_may_share_a_core() {
    let shards: Vec<_> = (0..2)
        .map(|_| spawn_shard(options("shared", Some(core()), IdlePolicy::PARK), |_| async {}).unwrap())
        .collect();
    for shard in shards {
        assert_eq!(shard.affinity(), [core()]);
        shard.join().unwrap();
    }
}

#[test]
fn a_shard_without_a_core_keeps_those_of_the_process() {
    let shard = spawn_shard(options("free", None, IdlePolicy::PARK), |_| async {}).unwrap();
    assert_eq!(shard.affinity(), allowed_cores());
    shard.join().unwrap();
}

#[test]
fn a_core_that_is_not_there_is_named_with_those_that_are() {
    let error = spawn_shard(options("far", Some(1000), IdlePolicy::Spin), |_| async {}).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ShardError::NoSuchCore { core: 1000, .. }), "{text}");
    assert!(text.contains(&format!("{:?}", allowed_cores())), "{text}");
}

#[test]
fn a_limit_on_locked_memory_that_is_too_small_is_named_before_glommio_panics() {
    let shard = || "small".to_owned();
    let error = memlock_fits(Some(64 << 10), shard).unwrap_err();
    assert!(error.to_string().contains("ulimit -l 1024"), "{error}");
    assert!(memlock_fits(Some(8 << 20), shard).is_ok());
    assert!(memlock_fits(None, shard).is_ok());
}

#[test]
fn a_panic_is_an_error_that_names_the_shard() {
    let shard =
        spawn_shard(options("broken", None, IdlePolicy::PARK), |_| async { panic!("by {}", "design") });
    let error = shard.unwrap().join().unwrap_err();
    assert_eq!(error.to_string(), "shard broken panicked: by design");
}

#[test]
fn turns_are_counted_and_one_more_follows_the_stop() {
    for (work, idle_turns) in [(1, 0), (0, 999)] {
        let (turns, counters) = run(IdlePolicy::Spin, work, 999);
        assert_eq!(turns, 1000);
        assert_eq!(counters.turns.load(Ordering::Relaxed), 1000);
        assert_eq!(counters.turns_idle.load(Ordering::Relaxed), idle_turns);
        assert_eq!(counters.sleeps.load(Ordering::Relaxed), 0);
        assert_eq!(counters.passes.load(Ordering::Relaxed), 0, "nothing is open with glommio");
        assert!(counters.turn_ns_max.load(Ordering::Relaxed) > 0);
    }
}

#[test]
fn a_parked_shard_sleeps_between_idle_turns() {
    let policy = IdlePolicy::Park { spin_ns: 0, sleep_ns_max: 10_000 };
    let (turns, counters) = run(policy, 0, 5);
    assert_eq!(turns, 6);
    assert_eq!(counters.sleeps.load(Ordering::Relaxed), 4, "none after the turn in which the stop was asked");
    let (_, counters) = run(policy, 1, 5);
    assert_eq!(counters.sleeps.load(Ordering::Relaxed), 0, "turns that do something are not slept between");
}

#[test]
fn a_stop_ends_a_long_sleep() {
    let waker = Waker::new().unwrap();
    let stop = Stop::new(waker.clone());
    let stop_of_shard = stop.clone();
    let counters = Arc::new(LoopCounters::default());
    let seen = counters.clone();
    let policy = IdlePolicy::Park { spin_ns: 0, sleep_ns_max: 100 * WAIT_MAX.as_nanos() as u64 };
    let shard = spawn_shard(options("sleeper", None, policy), move |context| async move {
        let poller = Poller::new().unwrap();
        let mut idle = Idle::new(policy, waker, &poller).unwrap();
        drive(&mut Counter::default(), &mut idle, &context.tasks, &stop_of_shard, &seen).await.unwrap();
    })
    .unwrap();
    until("it turned once", || (counters.turns.load(Ordering::Relaxed) > 0).then_some(()));
    stop.ask();
    until("it stopped", || shard.is_finished().then_some(()));
    shard.join().unwrap();
    assert!(counters.sleeps.load(Ordering::Relaxed) < 10);
}

/// Turns until the task beside it has ended.
struct UntilTaken {
    task: TaskHandle<&'static str>,
    result: Option<&'static str>,
    work: usize,
    stop: Stop,
}

impl Turn for UntilTaken {
    fn turn(&mut self, _now_ns: u64) -> usize {
        if let Some(result) = self.task.take() {
            self.result = Some(result);
            self.stop.ask();
        }
        self.work
    }
    fn next_deadline_ns(&self) -> Option<u64> {
        None
    }
    fn ring_waiting(&self) -> bool {
        false
    }
}

#[test]
fn timers_files_and_blocking_calls_progress_beside_any_turn() {
    for (policy, work) in [(IdlePolicy::Spin, 0), (IdlePolicy::Spin, 1), (IdlePolicy::PARK, 0)] {
        let shard = spawn_shard(options("tasks", Some(core()), policy), move |context| async move {
            let (waker, poller) = (Waker::new().unwrap(), Poller::new().unwrap());
            let mut idle = Idle::new(policy, waker.clone(), &poller).unwrap();
            let stop = Stop::new(waker);
            let tasks = context.tasks.clone();
            let path = std::env::temp_dir().join(format!("meltica-test-tasks-{}-{work}", context.thread_id));
            let task = context.tasks.spawn(async move {
                sleep(Duration::from_millis(2)).await;
                let file = file_io::BufferedFile::create(&path).await.unwrap();
                file.write_at(b"journal".to_vec(), 0).await.unwrap();
                file.fdatasync().await.unwrap();
                file.close().await.unwrap();
                let read = glommio::executor().spawn_blocking(move || {
                    let read = std::fs::read(&path).unwrap();
                    std::fs::remove_file(path).unwrap();
                    read
                });
                assert_eq!(read.await, b"journal");
                "done"
            });
            assert_eq!(tasks.open(), 1);
            let mut shard = UntilTaken { task, result: None, work, stop: stop.clone() };
            let counters = LoopCounters::default();
            drive(&mut shard, &mut idle, &tasks, &stop, &counters).await.unwrap();
            assert_eq!(tasks.open(), 0);
            assert!(counters.passes.load(Ordering::Relaxed) > 0);
            shard.result
        })
        .unwrap();
        until("the task ended", || shard.is_finished().then_some(()));
        assert_eq!(shard.join().unwrap(), Some("done"));
    }
}

#[test]
fn blocking_calls_run_on_the_cores_of_the_process() {
    let shard = spawn_shard(options("blocking", Some(core()), IdlePolicy::PARK), |context| async move {
        let call = context.tasks.spawn_blocking(allowed_cores);
        assert_eq!(context.tasks.drain(WAIT_MAX).await, 0);
        call.take()
    });
    assert_eq!(shard.unwrap().join().unwrap(), Some(allowed_cores()));
}

#[test]
fn draining_ends_at_its_limit_and_says_what_is_left() {
    let shard = spawn_shard(options("drain", None, IdlePolicy::PARK), |context| async move {
        let _endless = context.tasks.spawn(sleep(10 * WAIT_MAX));
        context.tasks.drain(Duration::from_millis(5)).await
    });
    assert_eq!(shard.unwrap().join().unwrap(), 1);
}

/// What glommio 0.9 does when its preemption timer expires before its loop looks: it forgets what is ready to run. Here
/// the timer expires early enough to meet that often (without the guard this does not end; with a timer below some 20 us
/// glommio never runs anything); in a shard it never does, but the guard is to hold even then.
#[test]
fn a_runtime_that_forgets_what_is_ready_is_woken_again() {
    let thread = std::thread::spawn(|| {
        let preempt = Duration::from_micros(34);
        let (executor, context) = start(&options("forgets", None, IdlePolicy::PARK), preempt).unwrap();
        executor.run(async move {
            let _open = context.tasks.spawn(sleep(10 * WAIT_MAX));
            let mut passing = Passing::new();
            for _ in 0..300 {
                passing.pass(PASS).await;
            }
        });
    });
    until("three hundred passes", || thread.is_finished().then_some(()));
    thread.join().unwrap();
}
