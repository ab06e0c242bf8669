#!/usr/bin/env python3
"""Writes the instruction counts of a run into the limits of `benches/instructions/`: count and 3 %, rounded up to ten.

    cargo bench -p bench --bench instructions 2>&1 | tee counts.txt; bench/accept.py counts.txt

Look at the diff: a limit that grows is a cost that somebody accepts, and the commit says what for.
"""

import math
import pathlib
import re
import sys

counts, name = {}, None
for line in open(sys.argv[1], errors="replace"):
    line = re.sub(r"\x1b\[[0-9;]*m", "", line)
    if found := re.match(r"instructions::\w+::(\w+) (\w+):", line):
        name = found.groups()
    elif (found := re.match(r"\s+Instructions:\s+(\d+)", line)) and name:
        counts[name] = int(found[1])

for path in sorted((pathlib.Path(__file__).parent / "benches" / "instructions").glob("*.rs")):
    text, pending = path.read_text(), []
    lines = text.split("\n")
    for index, line in enumerate(lines):
        if found := re.match(r"#\[bench::(\w+)\(", line):
            pending.append((index, found[1]))
        elif (found := re.match(r"fn (\w+)\(", line)) and pending:
            for at, bench in pending:
                count = counts.get((found[1], bench))
                if count is None:
                    print(f"no count of {found[1]} {bench}", file=sys.stderr)
                    continue
                limit = math.ceil(count * 1.03 / 10) * 10
                digits = f"{limit:_}" if limit >= 10_000 else str(limit)
                lines[at] = re.sub(r"at_most\([\d_]+\)", f"at_most({digits})", lines[at])
            pending = []
        elif found := re.match(r"fn ", line):
            pending = []
    path.write_text("\n".join(lines))
