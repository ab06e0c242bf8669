#!/usr/bin/env bash
# Makes a .deb: binary, service, manual pages, completions, documents, example topologies.
#
#   scripts/package/build-deb.sh [--binary PATH] [--out DIR]
#
# Without --binary it builds a release. Needs dpkg-deb; the same binary and tree give the same bytes (SOURCE_DATE_EPOCH: the last commit).
set -euo pipefail
cd "$(dirname "$0")/../.."
binary="" out=target/package
while (($# > 0)); do
  case $1 in
    --binary) binary="${2:?--binary needs a path}" && shift ;;
    --out) out="${2:?--out needs a directory}" && shift ;;
    *)
      echo "build-deb: unknown argument $1 (--binary PATH, --out DIR)" >&2
      exit 2
      ;;
  esac
  shift
done
if [[ -z $binary ]]; then
  cargo build --release --locked -p shards --bin meltica
  binary="${CARGO_TARGET_DIR:-target}/release/meltica"
fi
version=$("$binary" --version | sed -n 's/^meltica[^ ]* \([0-9][^ ]*\).*/\1/p')
[[ -n $version ]] || {
  echo "build-deb: $binary does not say its version" >&2
  exit 1
}
architecture=$(dpkg --print-architecture)
SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}"
export SOURCE_DATE_EPOCH

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"
share="$tree/usr/share" doc="$tree/usr/share/doc/meltica"
install -D -m 755 "$binary" "$tree/usr/bin/meltica"
# Debug information is for those who build it.
if command -v strip >/dev/null; then strip --strip-debug "$tree/usr/bin/meltica"; fi
install -D -m 644 scripts/package/meltica.service "$tree/lib/systemd/system/meltica.service"
install -D -m 755 scripts/package/cores.sh "$share/meltica/cores.sh"
install -D -m 755 scripts/host-tune.sh "$share/meltica/host-tune.sh"
install -D -m 644 topology.yaml "$doc/examples/topology.yaml"
install -D -m 644 scripts/topology.live.yaml "$doc/examples/topology.live.yaml"
install -D -m 644 scripts/grafana/meltica.json "$doc/examples/grafana.json"
install -D -m 644 README.md "$doc/README.md"
install -D -m 644 LICENSE "$doc/copyright"
mkdir -p "$doc/docs" "$tree/etc/meltica" "$share/man/man1"
install -m 644 docs/*.md "$doc/docs/"
gzip -9nc CHANGELOG.md >"$doc/changelog.gz"
"$binary" man --dir "$share/man/man1"
gzip -9n "$share/man/man1"/*.1
install -d "$share/bash-completion/completions" "$share/zsh/vendor-completions" "$share/fish/vendor_completions.d"
"$binary" completions bash >"$share/bash-completion/completions/meltica"
"$binary" completions zsh >"$share/zsh/vendor-completions/_meltica"
"$binary" completions fish >"$share/fish/vendor_completions.d/meltica.fish"
# A host that was just set up starts on simulated venues: nothing is traded by installing a package.
install -m 644 topology.yaml "$tree/etc/meltica/topology.yaml"

mkdir -p "$tree/DEBIAN"
cat >"$tree/DEBIAN/control" <<CONTROL
Package: meltica
Version: $version
Architecture: $architecture
Maintainer: Meltica <meltica@localhost>
Installed-Size: $(du -sk --exclude=DEBIAN "$tree" | cut -f1)
Depends: libc6, libgcc-s1
Recommends: ca-certificates, chrony
Section: net
Priority: optional
Description: market-data and execution gateway for crypto venues
 One process, thread-per-core, nothing shared: reads venues by WebSocket and REST, proves order books, delivers
 events to consumers on other cores, and says how long each step took.
CONTROL
echo /etc/meltica/topology.yaml >"$tree/DEBIAN/conffiles"
cat >"$tree/DEBIAN/postinst" <<'SCRIPT'
#!/bin/sh
set -e
# Not started: the topology has to be this host's first.
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
SCRIPT
cat >"$tree/DEBIAN/prerm" <<'SCRIPT'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then systemctl disable --now meltica.service || true; fi
SCRIPT
cat >"$tree/DEBIAN/postrm" <<'SCRIPT'
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
# Reports, journals and keys are somebody's: purge says where they are and leaves them.
if [ "$1" = purge ] && [ -d /var/lib/private/meltica ]; then echo "meltica: /var/lib/private/meltica is left in place" >&2; fi
SCRIPT
chmod 755 "$tree/DEBIAN"/p*
find "$tree" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$out"
package="$out/meltica_${version}_$architecture.deb"
dpkg-deb --root-owner-group -Zxz -z1 --build "$tree" "$package" >/dev/null
echo "$package"
