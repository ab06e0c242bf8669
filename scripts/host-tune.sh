#!/usr/bin/env bash
# Prints what would tune this host for Meltica, each setting with its reason. Changes nothing, unless told to.
#
#   scripts/host-tune.sh [--cores 2-3]            what differs, and the command that would change it
#   scripts/host-tune.sh [--cores 2-3] --apply    as root: changes what can be changed back, and prints how
#
# --cores are the cores of the shards in topology.yaml, as the kernel writes lists; default: all online ones but the first.
# What needs a boot or belongs to a service's limits is only ever printed. Nothing outlives a reboot.
# `meltica topology check` looks at the same host with the eyes of one topology.
set -euo pipefail

# Another root than `/`, for trying this on a copied or made-up host.
root="${MELTICA_HOST_ROOT:-}"
apply=false
cores=""
while (($# > 0)); do
  case $1 in
    --apply) apply=true ;;
    --cores)
      cores="${2:?--cores needs a list, for example 2-3}"
      shift
      ;;
    -h | --help)
      sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"
      exit 0
      ;;
    *)
      echo "host-tune: unknown argument $1 (--cores LIST, --apply)" >&2
      exit 2
      ;;
  esac
  shift
done
if $apply && [[ -z $root && $(id -u) != 0 ]]; then
  echo "host-tune: --apply needs root; without it this only prints" >&2
  exit 1
fi

# 0-2,5 -> one number a line.
expand() {
  local part
  for part in ${1//,/ }; do
    if [[ $part =~ ^[0-9]+-[0-9]+$ ]]; then
      seq "${part%-*}" "${part#*-}"
    elif [[ $part =~ ^[0-9]+$ ]]; then
      echo "$part"
    else
      echo "host-tune: $part is not a core" >&2
      return 1
    fi
  done
}

look() { # path: its text, or nothing
  if [[ -r $root$1 ]]; then head -n 1 "$root$1" 2>/dev/null || true; fi
}

online=$(look /sys/devices/system/cpu/online)
online="${online:-0}"
[[ -n $cores ]] || cores=$(expand "$online" | tail -n +2 | paste -sd,)
[[ -n $cores ]] || cores=0
shard_cores=$(expand "$cores")
other_cores=$(expand "$online" | grep -vxF "$shard_cores" | paste -sd, || true)
kernel_command_line=$(look /proc/cmdline)

good=0
open=0
undo=()

fine() {
  good=$((good + 1))
  printf 'ok      %-22s %s\n' "$1" "$2"
}
advise() { # name, current, command or setting, why
  open=$((open + 1))
  printf 'differs %-22s %s\n        %s\n        why: %s\n' "$1" "$2" "$3" "$4"
}
unseen() {
  printf 'unseen  %-22s cannot be seen from here (container, virtual machine, or another kernel)\n' "$1"
}

# One file: fine if `test` accepts its text; otherwise changed under --apply, with the way back.
setting() { # name, path, wanted text, accepted pattern, why
  local name=$1 path=$2 wanted=$3 accepted=$4 why=$5 now previous
  now=$(look "$path")
  if [[ -z $now ]]; then
    unseen "$name"
  elif [[ $now =~ $accepted ]]; then
    fine "$name" "$now"
  else
    advise "$name" "$now" "echo $wanted > $path" "$why"
    if $apply; then
      previous=$now
      # Files that show all choices mark the current one: always [madvise] never.
      [[ $now =~ \[([^]]*)\] ]] && previous=${BASH_REMATCH[1]}
      if echo "$wanted" 2>/dev/null >"$root$path"; then
        undo+=("echo '$previous' > $path")
        echo "        changed"
      else
        echo "        REFUSED by the kernel; unchanged"
      fi
    fi
  fi
}

at_least() { # name, path, number, why
  local now
  now=$(look "$2")
  if [[ $now =~ ^[0-9]+$ ]] && ((now >= $3)); then
    fine "$1" "$now"
  else
    setting "$1" "$2" "$3" '^$' "$4"
  fi
}

boot() { # name, parameter of the kernel, why
  if [[ " $kernel_command_line " == *" $2 "* ]]; then
    fine "$1" "$2"
  else
    advise "$1" "not on the kernel's command line" "boot with $2" "$3"
  fi
}

echo "Cores of shards: $cores; all others (housekeeping): ${other_cores:-none}; online: $online"
[[ -n $other_cores ]] || echo "note    every online core is a shard's: the kernel's own work and other programs will disturb them"

echo
echo "--- needed"
setting io_uring /proc/sys/kernel/io_uring_disabled 0 '^0$' \
  "glommio starts no executor without io_uring; it is off for safety on some hosts, so decide on a host of its own"
memlock=$(ulimit -l)
if [[ $memlock == unlimited ]] || ((memlock >= 8192)); then
  fine "locked memory" "$memlock KiB"
else
  advise "locked memory" "$memlock KiB" "ulimit -l 8192, or LimitMEMLOCK=8M in the service" \
    "each executor registers its io_uring buffers; below 512 KiB none starts"
fi
files=$(ulimit -n)
if [[ $files == unlimited ]] || ((files >= 4096)); then
  fine "open files" "$files"
else
  advise "open files" "$files" "ulimit -n 4096, or LimitNOFILE=4096 in the service" \
    "a connection, its replacement and an executor's own descriptors, for every venue"
fi

echo
echo "--- cores: take everything else away from them (boot parameters; never changed from here)"
boot isolcpus "isolcpus=managed_irq,domain,$cores" "the scheduler places nothing there by itself"
boot nohz_full "nohz_full=$cores" "no timer tick while one thread runs: 250 to 1000 interruptions a second less"
boot rcu_nocbs "rcu_nocbs=$cores" "the kernel's deferred frees run on other cores"
[[ -z $other_cores ]] || boot irqaffinity "irqaffinity=$other_cores" "new interrupts begin on the other cores"

echo
echo "--- frequency"
governors=0
for core in $shard_cores; do
  path=/sys/devices/system/cpu/cpu$core/cpufreq/scaling_governor
  if [[ -e $root$path ]]; then
    governors=$((governors + 1))
    setting "governor of core $core" "$path" performance '^performance$' "a core that has slowed down takes microseconds to come back"
  fi
done
((governors > 0)) || unseen governor
clock=$(look /sys/devices/system/clocksource/clocksource0/current_clocksource)
case $clock in
  tsc | arch_sys_counter) fine "clock source" "$clock" ;;
  "") unseen "clock source" ;;
  *) advise "clock source" "$clock" "boot with tsc=reliable, if the hardware's counter is invariant" "another clock costs up to a microsecond a read" ;;
esac

echo
echo "--- interrupts"
if command -v systemctl >/dev/null && [[ -z $root ]] && systemctl is-active --quiet irqbalance 2>/dev/null; then
  advise irqbalance running "systemctl stop irqbalance (or IRQBALANCE_BANNED_CPULIST=$cores)" "it moves interrupts onto our cores"
  if $apply; then
    systemctl stop irqbalance && undo+=("systemctl start irqbalance") && echo "        changed"
  fi
else
  fine irqbalance "not running"
fi
hit=()
for file in "$root"/proc/irq/[0-9]*/smp_affinity_list; do
  [[ -r $file ]] || continue
  if expand "$(cat "$file")" | grep -qxF "$shard_cores"; then hit+=("$file"); fi
done
if ((${#hit[@]} == 0)); then
  fine "interrupt affinity" "none on $cores"
elif [[ -z $other_cores ]]; then
  advise "interrupt affinity" "${#hit[@]} on $cores" "leave a core to them" "each one stops a shard for microseconds"
else
  advise "interrupt affinity" "${#hit[@]} may run on $cores" "echo $other_cores > /proc/irq/N/smp_affinity_list, for each" \
    "each one stops a shard for microseconds"
  if $apply; then
    moved=0
    for file in "${hit[@]}"; do
      previous=$(cat "$file")
      # Timers and managed ones cannot be moved; the kernel says so.
      if (echo "$other_cores" >"$file") 2>/dev/null; then
        moved=$((moved + 1))
        undo+=("echo '$previous' > ${file#"$root"}")
      fi
    done
    echo "        changed $moved of ${#hit[@]}; the kernel keeps the others"
  fi
fi

echo
echo "--- stalls"
setting "huge pages" /sys/kernel/mm/transparent_hugepage/enabled madvise '\[(madvise|never)\]' \
  "to make huge pages unasked the kernel compacts memory and stalls threads"
setting "NMI watchdog" /proc/sys/kernel/nmi_watchdog 0 '^0$' "it interrupts every core, and takes a performance counter"
setting "timer migration" /proc/sys/kernel/timer_migration 0 '^0$' "timers of other cores may move to ours"
setting "NUMA balancing" /proc/sys/kernel/numa_balancing 0 '^0$' "it takes page faults to learn who uses a page"
setting swappiness /proc/sys/vm/swappiness 1 '^([0-9]|10)$' "a page that comes back from disk is a stall of milliseconds"
at_least "statistics interval" /proc/sys/vm/stat_interval 10 "once a second the kernel wakes every core to fold its counters"

echo
echo "--- network"
at_least "receive buffer, most" /proc/sys/net/core/rmem_max 4194304 "a burst waits in the kernel instead of closing the TCP window"
at_least "busy poll" /proc/sys/net/core/busy_poll 50 \
  "a parked shard's epoll asks the card for 50 us before it sleeps: saves the interrupt, costs processor time; no use to a spinning shard"

echo
echo "$good fine, $open differ"
if $apply; then
  echo
  echo "To undo what was changed (as root; a reboot does so too):"
  if ((${#undo[@]} == 0)); then echo "  nothing was changed"; else printf '  %s\n' "${undo[@]}"; fi
elif ((open > 0)); then
  echo "Nothing was changed. --apply changes, as root, what can be changed back; boot parameters and limits are yours."
fi
