#!/usr/bin/env bash
# Installs the pinned tools that the gates need, from crates.io, into a folder of their own.
#
#   scripts/install-tools.sh [deny] [runner] [coverage] [fuzz]     without arguments: deny
#   scripts/install-tools.sh --where                        prints the folder of the programs
#
# deny      cargo-deny, the dependency policy. Built without optimisation: 211 packages in 41 s of wall and 55 s of processor
#           time on 2 busy cores (measured); its own release profile (fat LTO, one codegen unit) had not finished half of them
#           after two minutes, and a check of our tree takes about a second either way.
# runner    iai-callgrind-runner, of the same version as the library; needs valgrind
# coverage  llvm-cov and llvm-profdata of the compiler's own major version (the format of profiles goes by it), from the system's
#           packages: 49 MB, 23 s (measured). scripts/coverage.sh
# fuzz      cargo-fuzz, which builds with libFuzzer: scripts/fuzz.sh
set -euo pipefail
cd "$(dirname "$0")/.."

tools="${MELTICA_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/meltica/tools}"

if [[ ${1:-} == --where ]]; then
  echo "$tools/bin"
  exit 0
fi

# A binary of another version is replaced; the same one is kept.
install_crate() { # crate, version, features of the build...
  local crate=$1 version=$2
  shift 2
  if [[ -f $tools/.crates.toml ]] && grep -q "^\"$crate $version " "$tools/.crates.toml"; then
    echo "$crate $version is there"
    return
  fi
  CARGO_PROFILE_DEV_DEBUG=0 CARGO_NET_RETRY=5 CARGO_TARGET_DIR="$tools/build" \
    cargo install "$crate" --version "$version" --locked --debug --root "$tools" "$@"
  rm -rf "$tools/build"
}

# The list of packages of a new machine is old or empty, and another installation may be under way.
install_package() {
  local root=()
  [[ $(id -u) == 0 ]] || root=(sudo -n)
  "${root[@]}" apt-get update -q
  DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get -o DPkg::Lock::Timeout=120 install -q -y --no-install-recommends "$1"
}

[[ $# -gt 0 ]] || set -- deny
for tool in "$@"; do
  case $tool in
    deny) install_crate cargo-deny 0.20.2 ;;
    runner)
      version=$(sed -n '/^name = "iai-callgrind"$/{n;s/^version = "\(.*\)"$/\1/p;}' Cargo.lock)
      install_crate iai-callgrind-runner "$version"
      ;;
    coverage)
      major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
      if [[ -x /usr/lib/llvm-$major/bin/llvm-cov ]]; then
        echo "llvm-$major is there"
      elif command -v apt-get >/dev/null && install_package "llvm-$major"; then
        echo "llvm-$major was installed"
      else
        echo "SKIPPED: llvm-$major is not to be had from the system's packages: rustup component add llvm-tools" >&2
        exit 3
      fi
      ;;
    fuzz) install_crate cargo-fuzz 0.13.2 ;;
    *)
      echo "unknown tool: $tool (deny, runner, coverage, fuzz)" >&2
      exit 2
      ;;
  esac
done
