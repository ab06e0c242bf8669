#!/usr/bin/env python3
"""Whose doing long turns were, by the kernel's own trace: what the core did in each turn above 1 ms.

    sudo bench/trace-turns.py target/release/soak turns --rate 50000 --minutes 10

Runs the command with --marker, tracing switches, interrupts and timers, and says of each turn that
the command marked: how long another thread had the core, how long interrupts had it, the longest stretch without any event,
and how late the timers were that fell due in it. A core that runs takes an interrupt within microseconds; one that
takes it a millisecond late was stopped by the hypervisor, or the kernel had its interrupts off. Neither is the turn's work. Needs root, tracefs, and memory for the trace.
"""
import collections
import os
import re
import subprocess
import sys

TRACE = "/sys/kernel/tracing"
BUFFER_KB = 1_500_000
# What is left to the kernel afterwards, its own default.
KEPT_KB = 1_408
EVENTS = """sched/sched_switch irq/irq_handler_entry irq/irq_handler_exit irq/softirq_entry irq/softirq_exit
irq_vectors/local_timer_entry irq_vectors/local_timer_exit irq_vectors/call_function_entry irq_vectors/call_function_exit
irq_vectors/call_function_single_entry irq_vectors/call_function_single_exit irq_vectors/reschedule_entry
irq_vectors/reschedule_exit timer/hrtimer_start timer/hrtimer_expire_entry""".split()
LINE = re.compile(r"^\s*(.+)-(\d+)\s+\[(\d+)\]\s+\S+\s+(\d+)\.(\d{6}): (\w+)(.*)$")
# A turn is no longer than this, in microseconds; older events are forgotten.
WINDOW_US = 60_000
MARK = re.compile(r"meltica turn took_ns=(\d+) on_core_ns=(\d+) step_ns=(\d+) step=(\S+)")
# A turn is long above this, in microseconds.
LONG_US = 1_000
# A timer later than this, in microseconds, was not served by a core that ran.
LATE_US = 200


def put(name, text):
    with open(f"{TRACE}/{name}", "w", encoding="ascii") as file:
        file.write(text)


def trace(command):
    if not os.path.exists(f"{TRACE}/trace_marker"):
        subprocess.run(["mount", "-t", "tracefs", "nodev", TRACE], check=True)
    put("tracing_on", "0")
    put("trace", "")
    put("trace_clock", "mono")
    put("buffer_size_kb", str(BUFFER_KB))  # for each core
    try:
        for event in EVENTS:
            put(f"events/{event}/enable", "1")
        put("tracing_on", "1")
        return subprocess.run([*command, "--marker", f"{TRACE}/trace_marker"], check=False).returncode
    finally:
        put("tracing_on", "0")
        put("events/enable", "0")


def turn(events, thread, core, took_us, until_us):
    """Sums of one turn of a thread that ended on `core`, in microseconds: other threads, interrupts, the longest silence of its
    core, and how late timers came to it."""
    began_us = until_us - took_us
    switches = [event for event in events if event[3] == "sched_switch" and thread in (event[2], event[5])]
    before = [event for event in switches if event[0] < began_us]
    # Where it was when the turn began; it may have moved since.
    on_core = before[-1][1] if before else (switches[0][1] if switches else core)
    away_from, irq_from, depth = None, 0, 0
    other_us, irq_us, silent_us, late_us = 0, 0, 0, 0
    last = began_us
    for at, cpu, current, name, late, following in events:
        if at < began_us:
            continue
        if name == "sched_switch" and following == thread:
            if away_from is not None:
                other_us += at - away_from
            away_from, on_core, last, depth = None, cpu, at, 0
            continue
        if cpu != on_core or away_from is not None:
            continue
        silent_us = max(silent_us, at - last)
        late_us = max(late_us, late)
        last = at
        if name == "sched_switch" and current == thread:
            away_from = at
        elif name.endswith("_exit") and depth:
            depth -= 1
            irq_us += at - irq_from if depth == 0 else 0
        elif name.endswith("_entry") and name != "hrtimer_expire_entry":
            depth += 1
            irq_from = at if depth == 1 else irq_from
    return other_us, irq_us, max(silent_us, until_us - last), late_us


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    code = trace(sys.argv[1:])
    recent = collections.deque()
    expires = {}
    causes = collections.Counter()
    read = 0
    with open(f"{TRACE}/trace", encoding="utf-8", errors="replace") as file:
        for line in file:
            match = LINE.match(line)
            if not match:
                continue
            read += 1
            pid, cpu, name, rest = int(match[2]), match[3], match[6], match[7]
            at = int(match[4]) * 1_000_000 + int(match[5])
            mark = MARK.search(rest)
            if mark is None:
                late = 0
                if name in ("hrtimer_start", "hrtimer_expire_entry"):
                    timer = re.search(r"hrtimer=(\S+)", rest)[1]
                    if name == "hrtimer_start":
                        expires[timer] = int(re.search(r"[^t]expires=(\d+)", rest)[1])
                    else:
                        now = int(re.search(r"now=(\d+)", rest)[1])
                        late = max(0, now - expires.pop(timer, now)) // 1_000
                following = int(re.search(r"next_pid=(\d+)", rest)[1]) if name == "sched_switch" else 0
                recent.append((at, cpu, pid, name, late, following))
                while recent[0][0] < at - WINDOW_US:
                    recent.popleft()
                continue
            took_us, on_core_us, step_us = (int(mark[index]) // 1_000 for index in (1, 2, 3))
            other_us, irq_us, silent_us, late_us = turn(recent, pid, cpu, took_us, at)
            # The kernel's count of the thread's time, and no more than what the switches leave; interrupts are in both.
            own_us = min(on_core_us, took_us - other_us) - irq_us
            # A timer that came late says that the core stood still, and the silence before it for how long at the most.
            still_us = max(late_us, silent_us) if late_us > LATE_US else 0
            if on_core_us <= LONG_US and other_us > took_us - LONG_US:
                cause = "another thread had the core"
            elif on_core_us <= LONG_US:
                cause = "the hypervisor had the core, and says so"
            elif own_us <= LONG_US:
                cause = "interrupts and other threads"
            elif own_us - still_us <= LONG_US:
                cause = "the core stood still: its timers came late"
            else:
                cause = "own work"
            causes[(match[1].strip(), cause)] += 1
            print(
                f"at {at / 1e6:.3f} {match[1].strip():<6} took {took_us} us, on core {on_core_us}: another thread {other_us}, "
                f"interrupts {irq_us}, longest silence {silent_us}, timers late by {late_us}; step {step_us} {mark[4]}: {cause}"
            )
    put("trace", "")
    put("buffer_size_kb", str(KEPT_KB))
    print(f"{read} events read")
    for (thread, cause), count in sorted(causes.items()):
        print(f"{count:>6} {thread}: {cause}")
    return code


if __name__ == "__main__":
    sys.exit(main())
