#!/usr/bin/env bash
# Which lines of the workspace's own code its tests run; fails below the promises at the top of `summary`.
#
#   scripts/coverage.sh                               runs scripts/test.sh with counters, then reports: CI's way to run the tests
#   scripts/coverage.sh -p engine                     a part of it; any arguments of cargo test. Only the whole is judged
#   scripts/coverage.sh show FILE...                  the lines of these files with their counts, from the last run
#
# Uses the compiler's own counters, and LLVM's tools of the same major version: from LLVM_BIN, from the toolchain (rustup component
# add llvm-tools) or from the system (scripts/install-tools.sh coverage). Without them it says SKIPPED and exits with 3. Only this
# workspace's crates are built anew (scripts/cover-rustc.sh); everything else is shared with the ordinary build, whose files stay.
set -euo pipefail
cd "$(dirname "$0")/.."

# What leaves a binary to read: documentation examples run, but do not count. Who names targets has those alone.
targets=(--lib --bins --tests)
for argument in "$@"; do
  case $argument in --lib | --bin | --bins | --test | --tests) targets=() ;; esac
done

major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
host=$(rustc -vV | sed -n 's/^host: //p')
bin=""
for folder in "${LLVM_BIN:-}" "$(rustc --print sysroot)/lib/rustlib/$host/bin" "/usr/lib/llvm-$major/bin"; do
  if [[ -n $folder && -x $folder/llvm-cov && -x $folder/llvm-profdata ]]; then
    bin=$folder
    break
  fi
done
if [[ -z $bin ]]; then
  echo "SKIPPED: coverage needs llvm-cov $major: scripts/install-tools.sh coverage" >&2
  exit 3
fi

out="${CARGO_TARGET_DIR:-$PWD/target}/coverage"
mkdir -p "$out"
out=$(cd "$out" && pwd)
# One file for each binary, into which its processes merge one after another. What ends by SIGKILL writes nothing.
export RUSTC_WORKSPACE_WRAPPER="$PWD/scripts/cover-rustc.sh" LLVM_PROFILE_FILE="$out/%m.profraw"

# The test binaries and programs that these arguments build, which are built already.
binaries() {
  local scope=(--workspace) argument
  for argument in "$@"; do
    case $argument in -p | --package | -p?* | --package=*) scope=() ;; esac
  done
  cargo test --locked "${scope[@]}" "${targets[@]}" "$@" --no-run --message-format=json 2>/dev/null |
    python3 -c 'import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable"):
        print("-object=" + message["executable"])' >"$out/objects"
}

report() {
  binaries "$@"
  # A test may stop a process while that writes.
  "$bin/llvm-profdata" merge -sparse --failure-mode=all "$out"/*.profraw -o "$out/all.profdata"
  rm -f "$out"/*.profraw
  # Tests do not count as code, dependencies even less.
  local ignore='(/\.cargo/|/rustc/|/rustlib/|/tests/|/benches/|tests\.rs$)' objects
  mapfile -t objects <"$out/objects"
  "$bin/llvm-cov" export "${objects[@]}" --instr-profile "$out/all.profdata" --ignore-filename-regex "$ignore" \
    --format=lcov >"$out/lines.lcov"
  summary
}

summary() {
  python3 - "$out/lines.lcov" "$PWD" <<'PYTHON'
import collections
import pathlib
import sys

# Per cent of lines. SPEC asks for 70 of the whole, and more of the engine, which holds money, orders and books. A little under what was
# measured (93.5 and 96.3), so that a large piece without tests is noticed and a small one is not an argument.
LEAST = {"all": 90.0, "engine": 94.0}

root = pathlib.Path(sys.argv[2])


def test_lines(path: pathlib.Path) -> set[int]:
    """Numbers of the lines in the file's own test modules: as little code as a file of tests is."""
    found: set[int] = set()
    before, inside = "", False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        inside |= before == "#[cfg(test)]" and line.startswith("mod ") and line.endswith("{")
        if inside:
            found.add(number)
        inside &= line != "}"
        before = line
    return found


# By file: how often each of its lines was run, in whatever binary ran it most.
counts: dict[pathlib.Path, dict[int, int]] = collections.defaultdict(dict)
own, tests = None, set()
for line in open(sys.argv[1]):
    key, _, value = line.strip().partition(":")
    if key == "SF":
        path = pathlib.Path(value)
        own = path.relative_to(root) if path.is_relative_to(root) else None
        tests = test_lines(path) if own else set()
    elif key == "DA" and own:
        number, count = map(int, value.split(",")[:2])
        if number not in tests:
            counts[own][number] = max(counts[own].get(number, 0), count)

crates = collections.defaultdict(lambda: [0, 0])
files = []
for path, lines in counts.items():
    covered = sum(count > 0 for count in lines.values())
    for name in (str(path).split("/src/")[0], "all"):
        crates[name][0] += covered
        crates[name][1] += len(lines)
    files.append((len(lines) - covered, 100 * covered / len(lines), path))

print("lines that no test runs, by file:")
for missed, percent, path in sorted(files, reverse=True)[:20]:
    print(f"  {missed:6}  {percent:5.1f} %  {path}")
failed = False
is_whole = {"engine", "shards", "soak"} <= set(crates)
for name, (covered, count) in sorted(crates.items(), key=lambda item: (item[0] == "all", item[0])):
    percent = 100 * covered / count
    least = LEAST.get(name) if is_whole else None
    failed |= least is not None and percent < least
    wanted = "" if least is None else f", at least {least:g} % wanted"
    print(f"coverage: {name}: {percent:.1f} % of {count} lines{wanted}")
sys.exit(failed)
PYTHON
}

case ${1:-} in
  show)
    shift
    mapfile -t objects <"$out/objects"
    exec "$bin/llvm-cov" show "${objects[@]}" --instr-profile "$out/all.profdata" --show-instantiations=false --use-color=false \
      --sources "$@"
    ;;
  *)
    rm -f "$out"/*.profraw
    # A test that fails spoils the answer of a quarter of an hour no more than its own lines: it is told, and fails the run at the end.
    failed=0
    scripts/test.sh --no-fail-fast "$@" || failed=$?
    report "$@"
    if ((failed != 0)); then
      echo "coverage: tests failed, see above; the lines that they would have run are missing from these figures" >&2
      exit "$failed"
    fi
    ;;
esac
