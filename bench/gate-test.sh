#!/usr/bin/env bash
# Shows that the gate of instruction counts is one: as the code is it passes, and with a copy and a format! put into two
# benches (feature `slowdown`) it fails, naming those and no others. Needs what the benches need.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT

if ! cargo bench -p bench --bench instructions >"$log" 2>&1; then
  cat "$log"
  echo "gate-test: the gate fails as the code is; nothing is shown" >&2
  exit 1
fi
if cargo bench -p bench --features slowdown --bench instructions >"$log" 2>&1; then
  echo "gate-test: a copy and a format! passed the gate" >&2
  exit 1
fi
# The name of a bench stands above its complaint.
failed=$(sed 's/\x1b\[[0-9;]*m//g' "$log" | awk '/^instructions::/ { name = $1 } /^Performance has regressed/ { print name }' | sort -u)
echo "$failed"
expected=$'instructions::decode_group::decode_binance\ninstructions::frame_group::frame'
if [[ $failed != "$expected" ]]; then
  echo "gate-test: expected the two that were slowed down, and no others" >&2
  exit 1
fi
echo "gate-test: a copy and a format! fail the gate"
