#!/usr/bin/env bash
# The package on a Debian whose first process is systemd, in a container of its own: installed, started, looked at, stopped, killed,
# refused, given a key, removed. scripts/package/test-service-inside.sh is what is done in there.
#
#   scripts/package/test-service.sh BINARY [DIR]
#
# DIR (target/package/service) keeps Debian's root from one time to the next; making it needs root, debootstrap and a mirror, and takes
# some minutes. SUITE (bookworm) and MIRROR choose it: the suite may be newer than the binary was linked for, not older. The container has
# no network but its own loopback. What cannot be done here says SKIPPED and why. Not a stage of CI: it needs root and a mirror.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary="${1:?BINARY is missing}"
suite="${SUITE:-bookworm}"
mirror="${MIRROR:-}" # debootstrap knows one of its own
dir="${2:-target/package/service}/$suite"
skip() {
  echo "SKIPPED: service under systemd: $*" >&2
  exit 0
}
for tool in systemd-nspawn debootstrap dpkg-deb; do
  command -v "$tool" >/dev/null || skip "$tool is not installed"
done
[[ $(id -u) == 0 ]] || skip "debootstrap and systemd-nspawn need root"
mkdir -p "$dir"
dir=$(realpath "$dir")
if [[ ! -f $dir/complete ]]; then
  echo "making Debian $suite in $dir" >&2
  rm -rf "$dir/root"
  debootstrap --variant=minbase --include=systemd,systemd-sysv,libgcc-s1,procps,dbus "$suite" "$dir/root" ${mirror:+"$mirror"} \
    >"$dir/debootstrap.log" 2>&1 || {
    tail -5 "$dir/debootstrap.log" >&2
    exit 1
  }
  touch "$dir/complete"
fi

scratch=$(mktemp -d)
group=""
cleanup() {
  rm -rf "$scratch"
  if [[ -n $group ]]; then find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true; fi
}
trap cleanup EXIT
mkdir "$scratch/in" "$scratch/out"
cp "$(scripts/package/build-deb.sh --binary "$binary" --out "$scratch/deb" | tail -1)" "$scratch/in/meltica.deb"
cp scripts/package/test-service-inside.sh "$scratch/in/inside.sh"
mkdir -p "$dir/root/in" "$dir/root/out"
cat >"$dir/root/etc/systemd/system/inside.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'exec /bin/bash /in/inside.sh >/out/said 2>&1'
ExecStopPost=/bin/systemctl poweroff --no-block
TimeoutStartSec=infinity
UNIT
mkdir -p "$dir/root/etc/systemd/system/multi-user.target.wants"
ln -sf ../inside.service "$dir/root/etc/systemd/system/multi-user.target.wants/inside.service"

inside=(systemd-nspawn -q -D "$dir/root" --boot --register=no --keep-unit --private-network --volatile=overlay --console=pipe
  --capability=all --bind-ro="$scratch/in:/in" --bind="$scratch/out:/out")
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_LOCK=0
if [[ -d /run/systemd/system ]]; then
  inside=(systemd-run -q --scope -p Delegate=yes "${inside[@]}")
else
  # Without a systemd to give it a control group, it needs one that is nobody else's.
  tree=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
  [[ -n $tree ]] || skip "there is no cgroup2 on this host"
  group="$tree/meltica-test-service"
  mkdir -p "$group" && inside=(bash -c "echo \$\$ >$group/cgroup.procs; exec \"\$@\"" _ "${inside[@]}")
fi
# The guest ends by itself; a container that hangs is killed.
timeout -k 10 600 "${inside[@]}" </dev/null >"$scratch/console" 2>&1 || true
cat "$scratch/out/said" 2>/dev/null || { echo "test-service: the container said nothing" >&2 && tail -5 "$scratch/console" >&2; }
grep -q '^service: all held$' "$scratch/out/said" 2>/dev/null || {
  echo "test-service: not everything held, or the container did not come to its end" >&2
  exit 1
}
