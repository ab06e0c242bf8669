//! What the host alone does to a shard: the executor's loop with turns that do nothing but pass a little time, audited like
//! those of the gateway. A turn of it above 1 ms is nobody's work, also where the kernel counts it as time on the core: a
//! hypervisor that does not say what it takes. The same causes, the same limits, the same cores, nothing else running.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shards::machine::audit::TurnAudit;
use shards::machine::clock::Clock;
use shards::machine::executor::{LoopCounters, ShardOptions, Stop, Turn, allowed_cores, drive, spawn_shard};
use shards::machine::idle::{Idle, IdlePolicy, Waker};
use shards::machine::poller::Poller;

use super::Row;

/// How long a turn is, in nanoseconds: a busy one of the gateway.
const TURN_NS: u64 = 50_000;

/// A shard that does nothing.
struct Bare {
    clock: Clock,
}

impl Turn for Bare {
    fn turn(&mut self, now_ns: u64) -> usize {
        while self.clock.now() < now_ns + TURN_NS {
            std::hint::spin_loop();
        }
        1
    }

    fn next_deadline_ns(&self) -> Option<u64> {
        None
    }

    fn ring_waiting(&self) -> bool {
        false
    }
}

/// Runs one on each core that the process may use, for so long. By core.
///
/// # Errors
/// What kept one from running, in words.
pub fn run(time: Duration) -> Result<BTreeMap<String, Row>, String> {
    let mut shards = Vec::new();
    for core in allowed_cores() {
        let counters = Arc::new(LoopCounters::default());
        counters.audit.get_or_init(TurnAudit::default);
        let waker = Waker::new().map_err(|error| error.to_string())?;
        let stop = Stop::new(waker.clone());
        let (theirs, asked) = (Arc::clone(&counters), stop.clone());
        let options = ShardOptions { name: format!("bare{core}"), core: Some(core), idle: IdlePolicy::Spin };
        let shard = spawn_shard(options, move |context| async move {
            let mut idle = Idle::new(IdlePolicy::Spin, waker, &Poller::new()?)?;
            let mut bare = Bare { clock: Clock::new() };
            drive(&mut bare, &mut idle, &context.tasks, &asked, &theirs).await
        });
        shards.push((core, shard.map_err(|error| error.to_string())?, stop, counters));
    }
    std::thread::sleep(time);
    for (_, _, stop, _) in &shards {
        stop.ask();
    }
    let mut rows = BTreeMap::new();
    for (core, shard, _, counters) in shards {
        shard.join().map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let mut row = Row::default();
        if let Some(audit) = counters.audit.get() {
            row.take(audit.take());
        }
        rows.insert(format!("core {core}"), row);
    }
    Ok(rows)
}
