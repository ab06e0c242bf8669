#!/usr/bin/env bash
# Searches for data races and lost wakes with tools: loom, ThreadSanitizer, Miri, fuzzing. Minutes, so not a part of CI's check.
#
#   scripts/sanitize.sh [loom] [threads] [miri] [fuzz]      without arguments: all of them
#
# What cannot run here says SKIPPED and why. Each tool has a target directory of its own, since their flags rebuild everything.
# FUZZ_S: seconds per fuzz target, 60.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
base="${CARGO_TARGET_DIR:-target}"
skipped=()
skip() {
  echo "SKIPPED: $*" >&2
  skipped+=("$*")
}
have_nightly() { rustup toolchain list 2>/dev/null | grep -q '^nightly'; }
have_component() { rustup +nightly component list 2>/dev/null | grep -q "^$1.*(installed)"; }

# Every interleaving of our own atomics (engine::wake), and the same model finds the wake lost when a fence is left out.
run_loom() {
  RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="$base/loom" \
    timeout 900 cargo test --locked -p engine --release --test wake_loom
}

# Real threads under ThreadSanitizer: the ring between two of them, and everything in engine's unit tests.
run_threads() {
  if ! have_nightly; then
    skip "ThreadSanitizer: no nightly toolchain (rustup toolchain install nightly --component rust-src)"
    return
  fi
  local flags="-Zsanitizer=thread" std=() suppressions
  suppressions=$(mktemp)
  if have_component rust-src; then
    std=(-Zbuild-std)
  else
    # The test harness hands closures and results over inside of std, whose ordering is then not seen. Left out are the races
    # on these two values of its own, by their types; nothing of ours can be in such a frame.
    skip "ThreadSanitizer inside of std: nightly has no rust-src; our code and all other crates are still instrumented"
    flags+=" -Cunsafe-allow-abi-mismatch=sanitizer"
    printf 'race:%s\n' 'Option<test::run_test' 'test::event::CompletedTest' >"$suppressions"
  fi
  # One test at a time: the harness's own threads would be seen through std.
  RUSTUP_TOOLCHAIN=nightly RUSTFLAGS="$flags" CARGO_TARGET_DIR="$base/tsan" \
    TSAN_OPTIONS="suppressions=$suppressions halt_on_error=0" \
    timeout 900 cargo test --locked -p engine --target "$host" "${std[@]}" --lib --test ring_threads -- --test-threads=1
  rm -f "$suppressions"
}

# Undefined behaviour in what ring and pool stand on; no test here does I/O.
run_miri() {
  if ! have_nightly || ! have_component miri; then
    skip "Miri: nightly has no miri (rustup +nightly component add miri rust-src)"
    return
  fi
  CARGO_TARGET_DIR="$base/miri" timeout 1800 cargo +nightly miri test --locked -p engine --lib -- ring:: pool:: wake::
}

run_fuzz() {
  if [[ ! -d engine/fuzz ]]; then
    skip "fuzzing: engine/fuzz does not exist"
    return
  fi
  if ! command -v cargo-fuzz >/dev/null || ! have_nightly; then
    skip "fuzzing: needs nightly and cargo-fuzz (cargo install cargo-fuzz)"
    return
  fi
  local target
  for target in $(cargo +nightly fuzz list --fuzz-dir engine/fuzz); do
    cargo +nightly fuzz run --fuzz-dir engine/fuzz "$target" -- -max_total_time="${FUZZ_S:-60}"
  done
}

(($# > 0)) || set -- loom threads miri fuzz
for tool in "$@"; do
  if ! declare -F "run_$tool" >/dev/null; then
    echo "sanitize: no tool $tool (loom threads miri fuzz)" >&2
    exit 2
  fi
  echo
  echo "=== $tool"
  "run_$tool"
done
echo
echo "=== done: $*"
((${#skipped[@]} == 0)) || printf '  SKIPPED: %s\n' "${skipped[@]}"
