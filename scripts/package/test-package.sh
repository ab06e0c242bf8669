#!/usr/bin/env bash
# The package, as a host would meet it: built from a given binary, installed into a scratch root, used, looked at by systemd, removed.
#
#   scripts/package/test-package.sh BINARY
#
# What cannot be done here says SKIPPED and why.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary="${1:?BINARY is missing}"
skip() { echo "SKIPPED: $*" >&2; }
fail() {
  echo "test-package: $*" >&2
  exit 1
}
if ! command -v dpkg-deb >/dev/null; then
  skip "package: dpkg-deb is not installed"
  exit 0
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
package=$(scripts/package/build-deb.sh --binary "$binary" --out "$scratch/a" | tail -1)
again=$(scripts/package/build-deb.sh --binary "$binary" --out "$scratch/b" | tail -1)
cmp "$package" "$again" || fail "two builds of the same binary differ"

root="$scratch/root"
mkdir -p "$root"/{var/lib/dpkg,tmp,bin}
installed=extracted
# The scripts of the package would need a shell in there, and root: only files are looked at.
if [[ $(id -u) == 0 ]] && mkdir -p "$root/var/lib/dpkg/"{updates,info,triggers} && : >"$root/var/lib/dpkg/status" \
  && dpkg --root="$root" --force-depends --force-script-chrootless -i "$package" >"$scratch/dpkg.log" 2>&1; then
  installed=dpkg
else
  dpkg-deb -x "$package" "$root"
  skip "dpkg -i into a scratch root needs root; the package was extracted ($(tail -1 "$scratch/dpkg.log" 2>/dev/null || echo "not root"))"
fi
meltica="$root/usr/bin/meltica"
"$meltica" --version
mkdir "$scratch/run"
cp "$root/etc/meltica/topology.yaml" "$scratch/run/"
# The shipped topology has two cores; a smaller host may refuse it, in words.
(cd "$scratch/run" && "$meltica" topology check >check.txt) || fail "topology check: $(cat "$scratch/run/check.txt")"
(cd "$scratch/run" && "$meltica" run --duration 2s --report-dir "$scratch/run/report" >run.txt 2>&1) \
  || fail "run: $(cat "$scratch/run/run.txt")"
for page in meltica meltica-run meltica-topology; do
  [[ -s $root/usr/share/man/man1/$page.1.gz ]] || fail "no manual page $page"
done
bash -n "$root/usr/share/bash-completion/completions/meltica"
grep -q topology "$root/usr/share/bash-completion/completions/meltica" || fail "the completions do not know topology"
dropin=$(MELTICA_ONLINE=0-3 "$root/usr/share/meltica/cores.sh" "$root/etc/meltica/topology.yaml" "$meltica")
grep -q '^AllowedCPUs=0,1,2,3$' <<<"$dropin" || fail "cores.sh: $dropin"

unit="$root/lib/systemd/system/meltica.service"
if command -v systemd-analyze >/dev/null; then
  # It looks for the binary and the manual page where the package puts them on a host.
  sed "s|/usr/bin/meltica|$meltica|; s|^Documentation=.*||" "$unit" >"$scratch/meltica.service"
  said=$(systemd-analyze verify --man=no "$scratch/meltica.service" 2>&1 | grep meltica.service || true)
  [[ -z $said ]] || fail "systemd-analyze verify: $said"
  if said=$(systemd-analyze security --offline=yes --no-pager --threshold=30 "$scratch/meltica.service" 2>&1); then
    tail -1 <<<"$said"
  else
    fail "systemd-analyze security: above 3.0: $(tail -3 <<<"$said")"
  fi
else
  skip "systemd-analyze is not installed: the unit is unchecked"
fi

if [[ $installed == dpkg ]]; then
  dpkg --root="$root" --force-script-chrootless --purge meltica >"$scratch/dpkg.log" 2>&1 || fail "purge: $(cat "$scratch/dpkg.log")"
  left=$(find "$root" \( -type f -o -type l \) -path '*meltica*')
  [[ -z $left ]] || fail "left after purge: $left"
fi
echo "package: $(basename "$package"), $(du -h "$package" | cut -f1), $installed, removed without leftovers"
