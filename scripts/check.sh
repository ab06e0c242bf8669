#!/usr/bin/env bash
# Everything that CI does, in CI's order: what is cheap and says most comes first. `.ci/run` installs the tools and calls this.
#
#   scripts/check.sh                 all stages
#   scripts/check.sh format guards   some of them: format guards policy lint docs tests simulation package counts
#
# A stage that cannot run says SKIPPED and why, at once and in the summary; it never passes silently.
set -euo pipefail
cd "$(dirname "$0")/.."

export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}" CARGO_NET_RETRY="${CARGO_NET_RETRY:-5}"
# Incremental files and full debug information cost time and gigabytes in a build that happens once.
[[ ${CI:-} != true ]] || export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=line-tables-only
PATH="$(scripts/install-tools.sh --where):$PATH"

skipped=()
skip() {
  echo "SKIPPED: $*" >&2
  skipped+=("$*")
}

stage_format() {
  cargo fmt --all --check
  local script
  while IFS= read -r script; do bash -n "$script"; done < <(git ls-files '*.sh' .ci/run)
  if command -v shellcheck >/dev/null; then
    git ls-files '*.sh' .ci/run | xargs shellcheck
  fi
}

stage_guards() {
  python3 scripts/guards.py --self-test
  python3 scripts/guards.py
  # Running them is for scripts/mutations.py without arguments; here only whether they still can.
  python3 scripts/mutations.py --check
  # It must run anywhere, and change nothing.
  scripts/host-tune.sh >/dev/null
}

stage_policy() {
  python3 scripts/policy/policy.py
  python3 scripts/policy/test_policy.py
  if ! command -v cargo-deny >/dev/null; then
    skip "licences and sources: cargo-deny is not installed (scripts/install-tools.sh deny)"
    skip "advisories: cargo-deny is not installed"
    return
  fi
  # Wrappers that nobody uses yet (bench's comparison with tokio-tungstenite) are not news.
  cargo deny --locked check --allow unused-wrapper bans licenses sources
  local said code=0
  said=$(GIT_TERMINAL_PROMPT=0 timeout 120 cargo deny --locked check advisories 2>&1) || code=$?
  if ((code == 124)) || grep -q 'failed to fetch advisory database' <<<"$said"; then
    skip "advisories: the RustSec database cannot be reached from here; the exceptions in deny.toml are unchecked"
  else
    printf '%s\n' "$said"
    return "$code"
  fi
}

stage_lint() {
  cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
}

stage_docs() {
  RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --all-features
}

# The README's test command, with the compiler's counters where they can be read: built and run once, it says both.
stage_tests() {
  [[ -d ${MELTICA_CAPTURES:-../shared/captures} ]] || skip "conformance against recordings: none found (MELTICA_CAPTURES)"
  local before
  before=$(git status --porcelain 2>/dev/null || true)
  local code=0
  scripts/coverage.sh || code=$?
  if ((code == 3)); then
    skip "coverage: no llvm-cov of the compiler's major version (scripts/install-tools.sh coverage)"
    code=0
    scripts/test.sh || code=$?
  fi
  ((code == 0)) || return "$code"
  if [[ $(git status --porcelain 2>/dev/null || true) != "$before" ]]; then
    echo "the tests wrote into the working tree; a test's files belong into a temporary directory:" >&2
    git status --porcelain >&2
    return 1
  fi
}

# The whole gateway by seed; shares its build with the counts. What fresh seeds find is no fault of the change that met them: it is
# said here and in the summary, with the command that shows it again, and stops nothing.
stage_simulation() {
  cargo run --locked --release -p soak -- simulate --from 3462995808 --seeds 600
  cargo run --locked --release -p soak -- simulate --seeds 1500 || skip "fresh seeds found a broken promise, see above: it wants its own issue"
}

# The binary as it is shipped; shares its build with the simulation.
stage_package() {
  local line
  cargo build --locked --release -p soak -p shards --bin meltica
  local said code=0
  said=$(mktemp)
  scripts/package/test-package.sh "${CARGO_TARGET_DIR:-target}/release/meltica" 2>"$said" || code=$?
  cat "$said" >&2
  while IFS= read -r line; do skipped+=("$line"); done < <(sed -n 's/^SKIPPED: //p' "$said")
  rm -f "$said"
  return "$code"
}

# Instruction counts against their limits. They hold for CPUs with AVX2 (bench/README.md).
stage_counts() {
  if ! command -v valgrind >/dev/null || ! command -v iai-callgrind-runner >/dev/null; then
    skip "instruction counts: valgrind or its runner is not installed (scripts/install-tools.sh runner)"
    return
  fi
  if [[ -r /proc/cpuinfo ]] && ! grep -qw avx2 /proc/cpuinfo; then
    skip "instruction counts: this CPU has no AVX2, the limits do not hold for it"
    return
  fi
  local said code=0
  said=$(mktemp)
  # A table of thousands of lines is for who looks into it; the gate says which limits broke.
  CARGO_PROFILE_BENCH_DEBUG=line-tables-only cargo bench --locked -p bench --bench instructions >"$said" 2>&1 || code=$?
  if ((code != 0)); then
    sed 's/\x1b\[[0-9;]*m//g' "$said" | sed -n '/^Regressions:/,$p'
    grep -q '^Regressions:' <(sed 's/\x1b\[[0-9;]*m//g' "$said") || tail -n 40 "$said"
  else
    tail -n 2 "$said"
  fi
  rm -f "$said"
  return "$code"
}

all=(format guards policy lint docs tests simulation package counts)
(($# > 0)) || set -- "${all[@]}"

summary=()
report() {
  echo
  echo "=== summary, ${SECONDS} s in all"
  printf '  %s\n' "${summary[@]}"
  ((${#skipped[@]} == 0)) || printf '  SKIPPED: %s\n' "${skipped[@]}"
}

for stage in "$@"; do
  if ! declare -F "stage_$stage" >/dev/null; then
    echo "no stage $stage (${all[*]})" >&2
    exit 2
  fi
  echo
  echo "=== $stage"
  begin=$SECONDS
  running=$stage
  # Not `if stage`: that would switch `set -e` off inside of the stage.
  trap 'summary+=("FAILED  $running after $((SECONDS - begin)) s"); report' EXIT
  "stage_$stage"
  trap - EXIT
  summary+=("ok      $stage, $((SECONDS - begin)) s")
done
report
