#!/usr/bin/env bash
# Shows that the gate of instruction counts is one:
#
#   1. as the code is it passes, twice, and both runs give the same counts in every row;
#   2. with a copy and a format! put into two benches it fails, naming those two and no others.
#
# Needs what the benches need. Two builds of the bench and three runs of half a minute each. All benches run each time: a filter by
# name, as iai-callgrind 0.16.1 documents it, runs none.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$(scripts/install-tools.sh --where):$PATH"

log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT

run() { # log, arguments of cargo bench...
  local to=$1 code=0
  shift
  cargo bench --locked -p bench "$@" --bench instructions >"$to" 2>&1 || code=$?
  sed -i 's/\x1b\[[0-9;]*m//g' "$to"
  return "$code"
}

# `bench case count`, one a line.
counts() {
  awk '/^instructions::/ { name = $1 " " $2 } /^  Instructions:/ { split($2, count, "|"); print name, count[1] }' "$1"
}

for turn in 1 2; do
  if ! run "$log/$turn"; then
    cat "$log/$turn"
    echo "gate-test: the gate fails as the code is; nothing is shown" >&2
    exit 1
  fi
  counts "$log/$turn" >"$log/$turn.counts"
done
rows=$(wc -l <"$log/1.counts")
if ((rows < 50)) || ! diff "$log/1.counts" "$log/2.counts"; then
  echo "gate-test: $rows rows, and two runs of the same code differ" >&2
  exit 1
fi
echo "gate-test: $rows counts, the same in two runs"

if run "$log/slow" --features slowdown; then
  echo "gate-test: a copy and a format! passed the gate" >&2
  exit 1
fi
# The name of a bench stands above its complaint.
failed=$(awk '/^instructions::/ { name = $1 } /^Performance has regressed/ { print name }' "$log/slow" | sort -u)
echo "$failed"
expected=$'instructions::decode_group::decode_binance\ninstructions::frame_group::frame'
if [[ $failed != "$expected" ]]; then
  tail -n 40 "$log/slow"
  echo "gate-test: expected the two that were slowed down, and no others" >&2
  exit 1
fi
echo "gate-test: a copy and a format! fail the gate"
