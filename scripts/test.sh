#!/usr/bin/env bash
# The README's test command: `cargo test --workspace`, with a time limit for each test, for each test binary and for the whole.
#
#   scripts/test.sh [arguments of cargo test]        for example: scripts/test.sh -p engine book
#
# Plain cargo test and not nextest, so that a new machine needs nothing else and documentation examples run too;
# .config/nextest.toml gives the same limits to those who have it.
set -euo pipefail
cd "$(dirname "$0")/.."

# One test; one binary; everything, including its compilation from nothing.
export TEST_LIMIT_S="${TEST_LIMIT_S:-120}" TEST_BINARY_LIMIT_S="${TEST_BINARY_LIMIT_S:-600}"
run_limit_s="${TEST_RUN_LIMIT_S:-2400}"

# Recordings of the venues are not part of the repository. Conformance tests replay them where they are.
export MELTICA_CAPTURES="${MELTICA_CAPTURES:-$PWD/../shared/captures}"
if [[ ! -d $MELTICA_CAPTURES ]]; then
  echo "SKIPPED: no recordings at $MELTICA_CAPTURES (MELTICA_CAPTURES): conformance against recorded sessions does not run" >&2
fi

# libtest watches the clock only when it has more than one thread.
threads=$(nproc)
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$((threads > 1 ? threads : 2))}"

target=$(rustc -vV | sed -n 's/^host: //p')
runner="CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$target")_RUNNER"
export "$runner=python3 $PWD/scripts/limit-tests.py"

scope=(--workspace)
for argument in "$@"; do
  case $argument in -p | --package | -p?* | --package=*) scope=() ;; esac
done

# In a terminal Ctrl-C must reach cargo; otherwise the whole process group is timed out.
foreground=()
[[ -t 0 ]] && foreground=(--foreground)
code=0
timeout "${foreground[@]}" --kill-after=10 "$run_limit_s" cargo test --locked "${scope[@]}" "$@" || code=$?
if ((code == 124 || code == 137)); then
  echo "TIME LIMIT: the whole run took longer than $run_limit_s s" >&2
fi
exit "$code"
