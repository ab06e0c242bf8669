#!/usr/bin/env bash
# Prints the drop-in that makes the service's cores agree with its topology, and the one that keeps everybody else off them.
#
#   scripts/package/cores.sh [TOPOLOGY] [MELTICA]     to standard output; nothing is changed
#
# Cores come from `meltica topology explain`, so that a file that does not fit prints nothing.
set -euo pipefail
topology="${1:-/etc/meltica/topology.yaml}"
meltica="${2:-meltica}"
online="${MELTICA_ONLINE:-$(cat /sys/devices/system/cpu/online)}"

explained=$("$meltica" topology explain "$topology")
mapfile -t shards < <(sed -n 's/^core \([0-9]*\) .*/\1/p' <<<"$explained" | sort -nu)
((${#shards[@]} > 0)) || {
  echo "cores.sh: $topology names no core" >&2
  exit 1
}
join() { (IFS=,; echo "$*"); }
# 0-2,5 -> one number a line.
expand() {
  local part
  for part in ${1//,/ }; do seq "${part%-*}" "${part#*-}"; done
}
own=" ${shards[*]} "
others=()
for core in $(expand "$online"); do [[ $own == *" $core "* ]] || others+=("$core"); done

cat <<DROPIN
# /etc/systemd/system/meltica.service.d/cores.conf, made of $topology
[Service]
# The cores of the shards, and one at least for the supervisor, the control endpoint and writers. Shards pin themselves.
AllowedCPUs=$(join "${shards[@]}" "${others[@]}")
DROPIN
if ((${#others[@]} > 0)); then
  cat <<DROPIN
# The check refuses a shard core that the process may not use, so all of them stand here too.
CPUAffinity=$(join "${shards[@]}" "${others[@]}")

# /etc/systemd/system/{system,user,machine}.slice.d/meltica.conf: everybody else stays off the shards' cores. The service must then be in a
# slice of its own: Slice=meltica.slice above.
# [Slice]
# AllowedCPUs=$(join "${others[@]}")
DROPIN
else
  echo "# No core is left for anybody else: keep host: shared, or use fewer shard cores."
fi
