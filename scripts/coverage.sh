#!/usr/bin/env bash
# Line coverage of the workspace's own code by its tests; fails below the promise (70 %).
#
#   scripts/coverage.sh [arguments of cargo test]       for example: scripts/coverage.sh -p engine
#
# Uses the compiler's own instrumentation and LLVM's tools of the same major version: from the toolchain
# (rustup component add llvm-tools), from the system (apt-get install llvm-22), or from LLVM_BIN.
set -euo pipefail
cd "$(dirname "$0")/.."

lines_percent_min="${COVERAGE_MIN:-70}"
host=$(rustc -vV | sed -n 's/^host: //p')
major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')

profdata="" cov=""
for folder in "${LLVM_BIN:-}" "$(rustc --print sysroot)/lib/rustlib/$host/bin" "/usr/lib/llvm-$major/bin"; do
  if [[ -n $folder && -x $folder/llvm-cov && -x $folder/llvm-profdata ]]; then
    profdata=$folder/llvm-profdata cov=$folder/llvm-cov
    break
  fi
done
if [[ -z $cov ]]; then
  echo "SKIPPED: coverage needs llvm-cov $major: rustup component add llvm-tools, or apt-get install llvm-$major" >&2
  exit 3
fi

out="${CARGO_TARGET_DIR:-target}/coverage"
mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -f "$out"/*.profraw
export CARGO_TARGET_DIR="$out/build" CARGO_INCREMENTAL=0
export RUSTFLAGS="-C instrument-coverage" LLVM_PROFILE_FILE="$out/%p-%m.profraw"

# Documentation examples are programs of their own that leave no binary to read.
targets=(--lib --bins --tests)
scripts/test.sh "${targets[@]}" "$@"

scope=(--workspace)
for argument in "$@"; do
  case $argument in -p | --package | -p?* | --package=*) scope=() ;; esac
done
objects=()
while IFS= read -r binary; do
  objects+=(--object "$binary")
done < <(
  cargo test --locked "${scope[@]}" "${targets[@]}" "$@" --no-run --message-format=json 2>/dev/null |
    python3 -c 'import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable"):
        print(message["executable"])'
)

"$profdata" merge -sparse "$out"/*.profraw -o "$out/all.profdata"
rm -f "$out"/*.profraw
# Tests do not count as code, dependencies even less.
ignore='(/\.cargo/|/rustc/|/rustlib/|/tests/|/benches/|tests\.rs$)'
"$cov" report "${objects[@]}" --instr-profile "$out/all.profdata" --ignore-filename-regex "$ignore" | tee "$out/report.txt"
"$cov" export "${objects[@]}" --instr-profile "$out/all.profdata" --ignore-filename-regex "$ignore" --summary-only >"$out/summary.json"
python3 - "$out/summary.json" "$lines_percent_min" <<'PYTHON'
import json
import sys

lines = json.load(open(sys.argv[1]))["data"][0]["totals"]["lines"]
print(f"coverage: {lines['percent']:.1f} % of {lines['count']} lines, {sys.argv[2]} % promised")
sys.exit(lines["percent"] < float(sys.argv[2]))
PYTHON
