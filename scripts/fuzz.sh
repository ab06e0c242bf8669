#!/usr/bin/env bash
# Fuzzes one target or all: with coverage (cargo-fuzz on a nightly toolchain) where that is installed, else the same targets
# without coverage, by `cargo test`, for the same time. Exit code 1 is a finding; the input is printed or named.
#
#   scripts/fuzz.sh                  every target, 60 s each
#   scripts/fuzz.sh kraken 600       one target, ten minutes
#   scripts/fuzz.sh all 10           every target, ten seconds each
#
# MELTICA_FUZZ_SEED repeats a run without coverage; with coverage libFuzzer writes the input to engine/fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."

targets_of() { sed -n 's/^run! { \(.*\) }$/\1/p' "$1/tests/fuzz/main.rs"; }
crate_of() {
  local crate
  for crate in engine shards; do
    [[ " $(targets_of "$crate") " == *" $1 "* ]] && echo "$crate" && return
  done
  echo "no target $1: $(targets_of engine) $(targets_of shards)" >&2
  return 2
}

wanted=${1:-all} seconds=${2:-60}
if [[ $wanted == all ]]; then
  read -ra targets <<<"$(targets_of engine) $(targets_of shards)"
else
  crate_of "$wanted" >/dev/null
  targets=("$wanted")
fi

guided=yes
if ! cargo fuzz --version >/dev/null 2>&1; then
  guided="cargo-fuzz is not installed (cargo install --locked cargo-fuzz)"
elif ! cargo +nightly --version >/dev/null 2>&1; then
  guided="no nightly toolchain (rustup toolchain install nightly)"
fi
[[ $guided == yes ]] || echo "SKIPPED: coverage-guided fuzzing: $guided; the targets run without coverage instead" >&2

failed=()
for target in "${targets[@]}"; do
  crate=$(crate_of "$target")
  if [[ $guided == yes ]]; then
    corpus="$PWD/engine/fuzz/corpus"
    MELTICA_FUZZ_CORPUS="$corpus" cargo test --locked --quiet -p "$crate" --test fuzz -- --exact "$target" >/dev/null
    cargo +nightly fuzz run --fuzz-dir engine/fuzz "$target" "$corpus/$target" -- \
      -max_total_time="$seconds" -max_len=4096 -rss_limit_mb=2048 || failed+=("$target")
  else
    seed=${MELTICA_FUZZ_SEED:-$((RANDOM * 32768 + RANDOM))}
    echo "$target: seed $seed, $seconds s"
    MELTICA_FUZZ_SEED=$seed MELTICA_FUZZ_SECONDS=$seconds \
      cargo test --locked --quiet -p "$crate" --test fuzz -- --exact "$target" --nocapture || failed+=("$target")
  fi
done
if ((${#failed[@]} > 0)); then
  echo "FINDINGS in: ${failed[*]}" >&2
  exit 1
fi
