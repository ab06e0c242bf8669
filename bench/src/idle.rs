//! `bench idle`: what a quiet market costs. Time on a core of parked shards; turns and system calls of spinning ones.
//!
//! System calls are counted by `strace`, where it is installed, over a run of its own: it slows the shards down, and a turn
//! is a turn at any speed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::latency::Row;

/// What one shard's thread did in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadFigures {
    /// The shard.
    pub name: String,
    /// The kernel's number of its thread.
    pub tid: u32,
    /// Time on a core.
    pub cpu_ns: u64,
    /// How long it ran.
    pub ran: Duration,
    /// Turns, those that did nothing among them.
    pub turns: u64,
    /// Turns that did nothing.
    pub turns_idle: u64,
    /// Sleeps.
    pub sleeps: u64,
}

/// How lines of [`table`] begin that [`turns_of`] reads.
const THREAD: &str = "thread";

/// A run's threads as lines.
pub fn table(row: &Row) -> String {
    let mut text = String::new();
    for thread in &row.threads {
        let seconds = thread.ran.as_secs_f64();
        let _ = writeln!(
            text,
            "{THREAD} {:>8} {:<14} {:<5} {:>7.3} % of a core; {} turns, {} idle ({:.0} ns each), {:.0} sleeps a second",
            thread.tid,
            thread.name,
            if row.setting.spin { "spin" } else { "park" },
            thread.cpu_ns as f64 / seconds / 1e7,
            thread.turns,
            thread.turns_idle,
            thread.cpu_ns as f64 / thread.turns.max(1) as f64,
            thread.sleeps as f64 / seconds,
        );
    }
    let all: u64 = row.threads.iter().map(|thread| thread.cpu_ns).sum();
    let longest = row.threads.iter().map(|thread| thread.ran.as_secs_f64()).fold(0.0, f64::max);
    let _ = writeln!(
        text,
        "all shards: {:.3} % of a core, {} messages came",
        all as f64 / longest / 1e7,
        row.messages
    );
    text
}

/// Name and turns by thread, from the lines of [`table`].
fn turns_of(text: &str) -> BTreeMap<u32, (String, u64)> {
    let one = |line: &str| {
        let mut words = line.strip_prefix(THREAD)?.split_whitespace();
        let (tid, name) = (words.next()?.parse().ok()?, words.next()?.to_owned());
        let turns = line.split_once("; ")?.1.split(' ').next()?.parse().ok()?;
        Some((tid, (name, turns)))
    };
    text.lines().filter_map(one).collect()
}

/// System calls by thread and name, from what `strace -f -o` wrote.
fn calls_of(text: &str) -> BTreeMap<u32, BTreeMap<String, u64>> {
    let mut calls: BTreeMap<u32, BTreeMap<String, u64>> = BTreeMap::new();
    for line in text.lines() {
        let Some((tid, call)) = line.split_once(' ') else { continue };
        let (Ok(tid), Some((name, _))) = (tid.parse(), call.trim_start().split_once('(')) else { continue };
        // What goes on after another thread's line was counted when it began; signals and ends are no calls.
        if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            *calls.entry(tid).or_default().entry(name.to_owned()).or_insert(0) += 1;
        }
    }
    calls
}

/// Runs this program's `idle` with `arguments` under strace, and says what each shard asked of the kernel per turn.
///
/// # Errors
/// What kept it from running, in words; that strace is not installed among it.
pub fn count_calls(arguments: &[String]) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let log = std::env::temp_dir().join(format!("meltica-idle-{}.strace", std::process::id()));
    let outcome = trace(&program, arguments, &log);
    let written = std::fs::read_to_string(&log);
    let _ = std::fs::remove_file(&log);
    let turns = turns_of(&outcome?);
    let calls = calls_of(&written.map_err(|error| format!("strace wrote nothing: {error}"))?);
    if turns.is_empty() {
        return Err("the run under strace told no turns".to_owned());
    }
    let mut text = String::new();
    for (tid, (name, turns)) in turns {
        let Some(calls) = calls.get(&tid) else {
            return Err(format!("strace saw nothing of thread {tid} ({name})"));
        };
        let sum: u64 = calls.values().sum();
        let _ = writeln!(
            text,
            "{name}: {:.4} system calls a turn over {turns} turns, its start and end among them",
            sum as f64 / turns.max(1) as f64
        );
        let mut sorted: Vec<(&String, &u64)> = calls.iter().collect();
        sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (name, count) in sorted.into_iter().take(6) {
            let _ = writeln!(text, "  {count:>9} {name} ({:.4} a turn)", *count as f64 / turns.max(1) as f64);
        }
    }
    Ok(text)
}

fn trace(program: &Path, arguments: &[String], log: &Path) -> Result<String, String> {
    let output = Command::new("strace").args(["-f", "-o"]).arg(log).arg(program).args(arguments).output();
    let output = match output {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err("system calls are counted by strace, which is not installed".to_owned());
        }
        Err(error) => return Err(format!("strace: {error}")),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("the run under strace: {}: {}", output.status, said.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_thread_and_once() {
        let text = "12 epoll_wait(5, [], 8, 0) = 0\n\
                    13  read(7,  <unfinished ...>\n\
                    12 epoll_wait(5, [], 8, 0) = 0\n\
                    13  <... read resumed>\"x\", 1) = 1\n\
                    13  --- SIGCHLD {si_signo=SIGCHLD} ---\n\
                    12 +++ exited with 0 +++\n";
        let calls = calls_of(text);
        assert_eq!(calls[&12], BTreeMap::from([("epoll_wait".to_owned(), 2)]));
        assert_eq!(calls[&13], BTreeMap::from([("read".to_owned(), 1)]));
    }

    #[test]
    fn turns_are_read_from_the_table_that_was_printed() {
        let text = "machine\nthread     4711 path_md0       spin   99.000 % of a core; 123456 turns, 123000 idle (8 ns each), 0 sleeps a second\nall shards: 1\n";
        assert_eq!(turns_of(text), BTreeMap::from([(4_711, ("path_md0".to_owned(), 123_456))]));
    }
}
