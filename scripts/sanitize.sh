#!/usr/bin/env bash
# Searches for data races, lost wakes and bad memory accesses with tools. Minutes, so not a part of CI's check.
#
#   scripts/sanitize.sh [loom] [threads] [load] [load-address] [miri] [fuzz]      without arguments: all of them
#
# loom           every interleaving of our own atomics
# threads        the ring between two threads, and engine's unit tests, under ThreadSanitizer
# load           the gateway of topology.yaml under ThreadSanitizer: 150 simulated books, merges, recorder, consumers that trade
# load-address   the same under AddressSanitizer
# miri           what ring and pool stand on
# fuzz           scripts/fuzz.sh
#
# LOAD_S: seconds of each load, 300. FUZZ_S: seconds per fuzz target, 60. What cannot run here says SKIPPED and why. Each tool has a
# target directory of its own, since their flags rebuild everything. A nightly toolchain is used where there is one; otherwise the
# pinned one, which takes the same flags with RUSTC_BOOTSTRAP.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
base="${CARGO_TARGET_DIR:-$PWD/target}"
# What a sanitizer ends a program with that had findings; none of our own programs does.
finding=66
skipped=()
skip() {
  echo "SKIPPED: $*" >&2
  skipped+=("$*")
}
have_nightly() { rustup toolchain list 2>/dev/null | grep -q '^nightly'; }
have_component() { rustup +nightly component list 2>/dev/null | grep -q "^$1.*(installed)"; }

if have_nightly; then
  export RUSTUP_TOOLCHAIN=nightly
else
  export RUSTC_BOOTSTRAP=1
  echo "no nightly toolchain: $(rustc --version) with RUSTC_BOOTSTRAP=1"
fi
# Tests and the gateway share what they stand on. Optimised as tests are, so that it keeps up with some load.
export CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_INCREMENTAL=0
have_std_source() { [[ -d $(rustc --print sysroot)/lib/rustlib/src/rust/library/std ]]; }

# Every interleaving of our own atomics (engine::wake), and the same model finds the wake lost when a fence is left out.
run_loom() {
  RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="$base/loom" \
    timeout 900 cargo test --locked -p engine --release --test wake_loom
}

# Sets flags, std and suppressions for ThreadSanitizer.
prepare_tsan() {
  tsan_flags="-Zsanitizer=thread" std=()
  suppressions=$(mktemp)
  if have_std_source; then
    std=(-Zbuild-std)
    return
  fi
  skip "ThreadSanitizer inside of std: the toolchain has no rust-src; our code and all other crates are instrumented"
  tsan_flags+=" -Cunsafe-allow-abi-mismatch=sanitizer"
  # The test harness hands closures and results over inside of std, whose ordering is then not seen. Left out are the races
  # on these two values of its own, by their types; nothing of ours can be in such a frame.
  printf 'race:%s\n' 'Option<test::run_test' 'test::event::CompletedTest' >"$suppressions"
}

# The ring between two real threads, and everything in engine's unit tests.
run_threads() {
  local tsan_flags std suppressions code=0
  prepare_tsan
  # One test at a time: the harness's own threads would be seen through std.
  RUSTFLAGS="$tsan_flags" CARGO_TARGET_DIR="$base/tsan" \
    TSAN_OPTIONS="suppressions=$suppressions halt_on_error=0" \
    timeout 1800 cargo test --locked -p engine --target "$host" "${std[@]}" --lib --test ring_threads -- --test-threads=1 || code=$?
  rm -f "$suppressions"
  return "$code"
}

build_gateway() { # target directory, arguments of cargo...
  local target=$1
  shift
  CARGO_TARGET_DIR="$target" timeout 3000 cargo build --locked -p shards --bin meltica --target "$host" "$@"
}

# Runs it for LOAD_S in a directory of its own. What the run itself says of a slow machine is shown and is no finding.
load() { # binary, which reads its sanitizer's options from the environment
  local scratch code=0
  scratch=$(mktemp -d)
  cp topology.yaml "$scratch"
  (cd "$scratch" && timeout --kill-after=30 $((${LOAD_S:-300} + 120)) "$1" run --duration "${LOAD_S:-300}s" >out 2>err) || code=$?
  tail -n 40 "$scratch/out"
  if ((code == finding)); then
    grep -A 60 -m 3 -E '^(WARNING: ThreadSanitizer|==[0-9]+==ERROR)' "$scratch/err" || true
    echo "FINDINGS: $(grep -cE '^SUMMARY: ' "$scratch/err"): all in $scratch/err"
    grep -E '^SUMMARY: ' "$scratch/err" | sort | uniq -c
    return 1
  fi
  echo "${LOAD_S:-300} s of load: no finding; the run's own exit code was $code"
  tail -n 5 "$scratch/err"
  rm -rf "$scratch"
  # 1 is the run's word on itself; a signal or a time-out is not.
  ((code <= 1))
}

# Not without std's own source: what its mutexes order under contention is decided inside of std, and would be reported as a race on
# what they guard (a program of twenty lines with one std::sync::Mutex and one std::sync::mpsc shows it). The gateway's threads meet
# the supervisor in such; engine has none, so that `threads` means something without.
run_load() {
  local tsan_flags std suppressions code=0
  if ! have_std_source; then
    skip "ThreadSanitizer on the gateway: the toolchain has no rust-src (rustup component add rust-src)"
    return
  fi
  prepare_tsan
  RUSTFLAGS="$tsan_flags" build_gateway "$base/tsan" "${std[@]}"
  TSAN_OPTIONS="suppressions=$suppressions halt_on_error=0 exitcode=$finding" load "$base/tsan/$host/debug/meltica" || code=$?
  rm -f "$suppressions"
  return "$code"
}

# Needs nothing of std: every access of ours is checked, and std's heap is AddressSanitizer's.
run_load-address() {
  RUSTFLAGS="-Zsanitizer=address" build_gateway "$base/asan"
  ASAN_OPTIONS="exitcode=$finding detect_leaks=0" load "$base/asan/$host/debug/meltica"
}

# Undefined behaviour in what ring and pool stand on; no test here does I/O.
run_miri() {
  if ! have_nightly || ! have_component miri; then
    skip "Miri: nightly has no miri (rustup +nightly component add miri rust-src)"
    return
  fi
  CARGO_TARGET_DIR="$base/miri" timeout 1800 cargo +nightly miri test --locked -p engine --lib -- ring:: pool:: wake::
}

run_fuzz() { scripts/fuzz.sh all "${FUZZ_S:-60}"; }

(($# > 0)) || set -- loom threads load load-address miri fuzz
for tool in "$@"; do
  if ! declare -F "run_$tool" >/dev/null; then
    echo "sanitize: no tool $tool (loom threads load load-address miri fuzz)" >&2
    exit 2
  fi
  echo
  echo "=== $tool"
  "run_$tool"
done
echo
echo "=== done: $*"
((${#skipped[@]} == 0)) || printf '  SKIPPED: %s\n' "${skipped[@]}"
