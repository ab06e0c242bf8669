"""Runs a command on a terminal of its own and presses keys: the terminal's side of `meltica top`, for its test.

    terminal.py COLUMNS LINES COMMAND... <STEPS

Steps are lines of JSON: `{"wait": TEXT}` until the text stands on the screen, `{"press": KEYS}`. Prints one JSON object: the
exit code, the screen after each wait, all that was written, and whether the terminal's modes are what they were before.
"""

import fcntl
import json
import os
import pty
import re
import select
import struct
import sys
import termios
import time

LIMIT_S = 60


class Screen:
    """What stands where: as much of a terminal as programs use that place their cursor themselves."""

    CODE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b.|([^\x1b])", re.DOTALL)

    def __init__(self, columns: int, lines: int):
        self.cells = [[" "] * columns for _ in range(lines)]
        self.x = self.y = 0

    def write(self, text: str) -> None:
        for found in self.CODE.finditer(text):
            numbers, command, letter = found.groups()
            if letter is not None and letter >= " ":
                if self.y < len(self.cells) and self.x < len(self.cells[0]):
                    self.cells[self.y][self.x] = letter
                self.x += 1
            elif command == "H":
                line, column = ([int(n) for n in numbers.split(";") if n] + [1, 1])[:2]
                self.y, self.x = line - 1, column - 1
            elif command == "J":
                self.cells = [[" "] * len(line) for line in self.cells]

    def text(self) -> str:
        return "\n".join("".join(line).rstrip() for line in self.cells)


def main() -> int:
    columns, lines = int(sys.argv[1]), int(sys.argv[2])
    steps = [json.loads(line) for line in sys.stdin if line.strip()]
    # The parent holds the terminal's own end open, so that its modes can be read when the command has gone.
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    before = termios.tcgetattr(slave)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for descriptor in (0, 1, 2):
            os.dup2(slave, descriptor)
        os.environ["TERM"] = "xterm-256color"
        os.execvp(sys.argv[3], sys.argv[3:])
    deadline = time.monotonic() + LIMIT_S
    screen, screens, taken = Screen(columns, lines), [], bytearray()
    shown = 0

    def read(until=None) -> None:
        """Reads until a text is on the screen; without one until nothing comes for a while."""
        nonlocal shown
        while time.monotonic() < deadline and (until is None or until not in screen.text()):
            ready, _, _ = select.select([master], [], [], 0.3)
            if not ready:
                if until is None:
                    return
                continue
            taken.extend(os.read(master, 65536))
            # A letter or a code may be cut: up to the last whole code.
            end = max(taken.rfind(b"m"), taken.rfind(b"H"), taken.rfind(b"l"), taken.rfind(b"h")) + 1
            if end > shown:
                screen.write(taken[shown:end].decode("utf-8", "replace"))
                shown = end

    for step in steps:
        if "press" in step:
            os.write(master, step["press"].encode())
        else:
            read(step["wait"])
            screens.append(screen.text())
    read()
    code = None
    while code is None and time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if done else None
        time.sleep(0.02)
    if code is None:
        os.kill(pid, 9)
    written = taken.decode("utf-8", "replace")
    restored = before == termios.tcgetattr(slave)
    json.dump({"code": code, "screens": screens, "written": written, "restored": restored}, sys.stdout)
    return 0


sys.exit(main())
