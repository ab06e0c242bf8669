#!/usr/bin/env bash
# Fuzzes one target or all: guided by coverage where cargo-fuzz is installed (scripts/install-tools.sh fuzz), else the same targets
# without coverage, by `cargo test`, for the same time. Exit code 1 is a finding; the input is printed or named.
#
#   scripts/fuzz.sh                  every target, 60 s each
#   scripts/fuzz.sh kraken 600       one target, ten minutes
#   scripts/fuzz.sh all 10           every target, ten seconds each
#
# MELTICA_FUZZ_SEED repeats a run without coverage; with coverage libFuzzer writes the input to engine/fuzz/artifacts, and what it
# has learned stays in engine/fuzz/corpus, to go on from. Nothing that guides it needs an unstable flag. SANITIZER=address finds bad
# memory accesses too (simd-json has `unsafe` code), at fewer inputs a second; a nightly compiler takes that, or the pinned one with
# RUSTC_BOOTSTRAP. The last line for each target says inputs, edges of the program seen, and features.
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

PATH="$(scripts/install-tools.sh --where):$PATH"
sanitizer=${SANITIZER:-none}
fuzz=(cargo fuzz)
guided=yes
if ! cargo fuzz --version >/dev/null 2>&1; then
  guided="cargo-fuzz is not installed (scripts/install-tools.sh fuzz)"
elif [[ $sanitizer != none ]]; then
  if cargo +nightly --version >/dev/null 2>&1; then
    fuzz=(cargo +nightly fuzz)
  else
    fuzz=(env RUSTC_BOOTSTRAP=1 cargo fuzz)
    echo "no nightly toolchain: $(rustc --version) with RUSTC_BOOTSTRAP=1"
  fi
fi
[[ $guided == yes ]] || echo "SKIPPED: coverage-guided fuzzing: $guided; the targets run without coverage instead" >&2

# A run by libFuzzer. The binary writes the target's own seeds into the corpus before it is read.
guided() { # target, its crate
  local corpus="$PWD/engine/fuzz/corpus" features=() said code=0
  [[ $2 != engine ]] || features=(--no-default-features)
  said=$(mktemp)
  mkdir -p "$corpus/$1"
  MELTICA_FUZZ_CORPUS=$corpus timeout $((seconds + 1800)) \
    "${fuzz[@]}" run --fuzz-dir engine/fuzz --sanitizer "$sanitizer" "${features[@]}" "$1" "$corpus/$1" -- \
    -max_total_time="$seconds" -max_len=4096 -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 >"$said" 2>&1 || code=$?
  if ((code != 0)); then
    tail -n 60 "$said"
  else
    sed -n 's/^\(#[0-9]*\)[[:space:]]*DONE[[:space:]]*\(cov: [0-9]* ft: [0-9]*\).*/\1 inputs, \2/p' "$said" | sed "s/^/$1: /"
  fi
  rm -f "$said"
  return "$code"
}

failed=()
for target in "${targets[@]}"; do
  crate=$(crate_of "$target")
  if [[ $guided == yes ]]; then
    guided "$target" "$crate" || failed+=("$target")
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
