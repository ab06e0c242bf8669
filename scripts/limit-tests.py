#!/usr/bin/env python3
"""Cargo's runner for test binaries: gives every single test a time limit, with plain `cargo test`.

libtest has no limit of its own, but it says "test <name> has been running for over 60 seconds". From that line on a test has
the rest of its limit; if its result is not there by then, the whole binary is stopped and the test is named. A binary that hangs
without that line (one thread, or before its first test) is stopped at its own limit. `scripts/test.sh` sets this up.

    limit-tests.py BINARY [ARGUMENTS]      settings: TEST_LIMIT_S (one test), TEST_BINARY_LIMIT_S (one binary)
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading

WARNED_AFTER_S = 60  # libtest's own constant
TEST_LIMIT_S = max(int(os.environ.get("TEST_LIMIT_S", "120")), WARNED_AFTER_S)
BINARY_LIMIT_S = int(os.environ.get("TEST_BINARY_LIMIT_S", "600"))

SLOW = re.compile(rb"^test (.+?) has been running for over \d+ seconds")
DONE = re.compile(rb"^test (.+?)(?: - should panic)? \.\.\. ")


def main() -> int:
    # A group of its own, so that what a test started ends with it.
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, process_group=0)
    timers: dict[bytes, threading.Timer] = {}

    def kill(*_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)

    def stop(what: str) -> None:
        print(f"\nTIME LIMIT: {what}; stopped {sys.argv[1]}", file=sys.stderr, flush=True)
        kill()

    def start(seconds: float, what: str) -> threading.Timer:
        timer = threading.Timer(seconds, stop, [what])
        timer.daemon = True
        timer.start()
        return timer

    whole = start(BINARY_LIMIT_S, f"this binary ran longer than {BINARY_LIMIT_S} s")
    signal.signal(signal.SIGTERM, kill)
    signal.signal(signal.SIGINT, kill)
    assert child.stdout is not None
    for line in child.stdout:
        sys.stdout.buffer.write(line)
        sys.stdout.flush()
        if slow := SLOW.match(line):
            name = slow[1]
            timers[name] = start(TEST_LIMIT_S - WARNED_AFTER_S, f"test {name.decode()} ran longer than {TEST_LIMIT_S} s")
        elif (done := DONE.match(line)) and done[1] in timers:
            timers.pop(done[1]).cancel()
    code = child.wait()
    whole.cancel()
    if code < 0:
        print(f"{sys.argv[1]} ended by {signal.Signals(-code).name}", file=sys.stderr, flush=True)
        return 101
    return code


if __name__ == "__main__":
    sys.exit(main())
