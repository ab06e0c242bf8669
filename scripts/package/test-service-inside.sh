#!/usr/bin/env bash
# What scripts/package/test-service.sh does inside of its container, as root. One line a step; `service: all held` at the end.
set -uo pipefail
failed=0
ok() { echo "ok    $*"; }
bad() {
  echo "BAD   $*"
  failed=1
}
# is WHAT EXPECTED FOUND
is() { if [[ $3 == "$2" ]]; then ok "$1: $3"; else bad "$1: expected $2, found $3"; fi; }
of() { systemctl show -p "$1" --value meltica; }
# Waits until a line of the unit's journal since CURSOR holds a text.
cursor=""
since() { cursor=$(journalctl -n 0 --show-cursor | sed -n 's/^-- cursor: //p'); }
said() { journalctl -u meltica -o cat --no-pager --after-cursor="$cursor" 2>/dev/null; }
waits_for() {
  for _ in $(seq 200); do
    if said | grep -q "$1"; then
      ok "says: $(said | grep -m1 "$1" | cut -c1-110)"
      return
    fi
    sleep 0.2
  done
  bad "never said: $1"
  said | tail -15
}
end() {
  if ((failed == 0)); then echo "service: all held"; fi
  exit 0
}
trap end EXIT

echo "note  systemd $(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p') of $(. /etc/os-release && echo "$PRETTY_NAME"), Linux $(uname -r)"
dpkg -i /in/meltica.deb >/tmp/dpkg.log 2>&1 && ok "installed" || bad "dpkg: $(cat /tmp/dpkg.log)"
is "not started by installing" inactive "$(systemctl is-active meltica)"
is "not enabled by installing" disabled "$(systemctl is-enabled meltica 2>/dev/null)"

# Start.
since
systemctl start meltica && ok "started" || bad "start: $(systemctl status --no-pager meltica)"
waits_for "150 books proved"
pid=$(of MainPID)
is "restarts" 0 "$(of NRestarts)"
is "capabilities" 0000000000000000 "$(sed -n 's/^CapEff:\t//p' "/proc/$pid/status")"
is "system call filter" 2 "$(sed -n 's/^Seccomp:\t//p' "/proc/$pid/status")"
if (ulimit -l 65536) 2>/dev/null; then
  is "locked memory" 67108864 "$(sed -n 's/^Max locked memory *\([0-9]*\).*/\1/p' "/proc/$pid/limits")"
else
  echo "SKIPPED: locked memory: root may not raise the limit in here"
fi
[[ $(stat -c %u "/proc/$pid") != 0 ]] && ok "runs as $(ps -o user= -p "$pid")" || bad "runs as root"
address=$(cat /var/lib/meltica/report/control-address 2>/dev/null)
meltica ctl --address "$address" status >/tmp/status 2>&1 && ok "ctl status: $(head -1 /tmp/status)" || bad "ctl: $(cat /tmp/status)"
complaints=$(said | grep -iE '^\[.*failed|denied|not permitted|panicked' | head -5)
[[ -z $complaints ]] && ok "no complaint in the journal" || bad "complaints: $complaints"
[[ -d /proc/$pid ]] && grep -q io_uring <(ls -l "/proc/$pid/fd") && ok "io_uring works under the filter" || bad "no io_uring: $(ls -l "/proc/$pid/fd" | awk '{print $NF}' | sort | uniq -c | head)"
status=$(said | grep -cE '^[0-9:]+ +[0-9]+ msg/s')
echo "note  status lines in the journal: $status"

# Stop.
began=$(date +%s%N)
since
systemctl stop meltica
took_ms=$((($(date +%s%N) - began) / 1000000))
((took_ms < 6000)) && ok "stopped after $took_ms ms" || bad "took $took_ms ms to stop"
is "result" success "$(of Result)"
is "exit code" 0 "$(of ExecMainStatus)"
reports=(/var/lib/meltica/report/*/report.json)
[[ -s ${reports[0]} ]] && ok "left ${reports[0]}" || bad "no report"
is "report's owner may read it alone" 600 "$(stat -c %a "${reports[0]}")"
meltica report "$(dirname "${reports[0]}")" >/tmp/report 2>&1 && ok "report reads it" || bad "report: $(tail -3 /tmp/report)"

# A crash.
since
systemctl start meltica
waits_for "150 books proved"
since
kill -9 "$(of MainPID)"
waits_for "150 books proved"
is "restarts after a kill" 1 "$(of NRestarts)"
systemctl stop meltica
is "stopped after all" inactive "$(systemctl is-active meltica)"

# A file that does not fit: refused once, with words, and not again and again.
cp /etc/meltica/topology.yaml /tmp/good.yaml
sed -i 's/^host: shared/host: shaerd/' /etc/meltica/topology.yaml
since
systemctl start meltica 2>/dev/null && bad "a broken topology starts" || ok "a broken topology does not start"
sleep 12 # more than twice RestartSec
is "then" failed "$(systemctl is-active meltica)"
is "tries" 1 "$(said | grep -c 'shaerd')"
echo "note  $(said | grep -m1 shaerd)"
cp /tmp/good.yaml /etc/meltica/topology.yaml
systemctl reset-failed meltica

# Exit codes: 1 is tried again, 2 is not.
mkdir -p /etc/systemd/system/meltica.service.d
for code in 1 2; do
  printf '[Service]\nExecStart=\nExecStart=/bin/sh -c "exit %s"\n' "$code" >/etc/systemd/system/meltica.service.d/ends.conf
  systemctl daemon-reload
  systemctl start meltica 2>/dev/null
  sleep 7 # more than RestartSec
  is "tries again after exit code $code" "$((2 - code))" "$(of NRestarts)"
  systemctl stop meltica
  systemctl reset-failed meltica 2>/dev/null
done
rm /etc/systemd/system/meltica.service.d/ends.conf

# Cores as the drop-in says.
/usr/share/meltica/cores.sh >/etc/systemd/system/meltica.service.d/cores.conf
systemctl daemon-reload
since
systemctl start meltica && waits_for "150 books proved"
is "cores of the unit" "$(nproc --all | awk '{print ($1 > 1 ? "0-" $1 - 1 : 0)}')" "$(of AllowedCPUs)"
if [[ ! -e /sys/fs/cgroup/system.slice/meltica.service/cpuset.cpus.effective ]]; then
  echo "SKIPPED: whether the kernel keeps it to these cores: this control group has no cpuset controller"
fi
systemctl stop meltica

# A key as a credential.
mkdir -m 700 -p /etc/meltica/keys
printf 'my-key\nnot-a-real-secret\n' >/etc/meltica/keys/binance.key
chmod 600 /etc/meltica/keys/binance.key
printf '[Service]\nLoadCredential=binance.key:/etc/meltica/keys/binance.key\n' >/etc/systemd/system/meltica.service.d/keys.conf
# A venue that is not simulated, and not there: keys are read before it is connected to.
sed -i '0,/^    endpoints: simulated/s||    endpoints: {websocket: "ws://127.0.0.1:9/", rest: "http://127.0.0.1:9/"}|
0,/^      on_session_loss:/s||      keys: {file: /run/credentials/meltica.service/binance.key}\n&|' /etc/meltica/topology.yaml
grep -q run/credentials /etc/meltica/topology.yaml || bad "the topology was not changed"
systemctl daemon-reload
since
systemctl start meltica && ok "started with a credential" || bad "start: $(said | tail -5)"
waits_for '^.binance. line 0 failed'
pid=$(of MainPID)
echo "note  the key as it is seen: $(nsenter -t "$pid" -m stat -c '%a %U %G %n' /run/credentials/meltica.service/binance.key 2>&1)"
complaints=$(said | grep -i 'key file')
[[ -z $complaints ]] && ok "the key was taken" || bad "key: $complaints"
said | grep -q not-a-real-secret && bad "the journal has the secret"
nsenter -t "$pid" -m grep -q not-a-real-secret "/proc/$pid/environ" && bad "the environment has the secret"
systemctl stop meltica
[[ -e /run/credentials/meltica.service ]] && bad "the credential stays" || ok "the credential is gone with the service"

# Away without leftovers, while it runs and is enabled.
rm -r /etc/systemd/system/meltica.service.d
cp /tmp/good.yaml /etc/meltica/topology.yaml
systemctl daemon-reload
systemctl -q enable --now meltica
is "enabled and running" active "$(systemctl is-active meltica)"
dpkg --purge meltica >/tmp/purge.log 2>&1 && ok "purged" || bad "purge: $(cat /tmp/purge.log)"
is "gone" inactive "$(systemctl is-active meltica)"
pgrep -x meltica >/dev/null && bad "a process is left"
left=$(find /etc /usr /lib/systemd /var/lib/dpkg/info /run/systemd/system -xdev -iname '*meltica*' 2>/dev/null | grep -v '^/etc/meltica/keys')
[[ -z $left || $left == /etc/meltica ]] && ok "nothing left but the key's directory" || bad "left: $left"
grep -q 'left in place' /tmp/purge.log && ok "says what it leaves" || bad "purge says nothing: $(cat /tmp/purge.log)"
id meltica >/dev/null 2>&1 && bad "the user is left"
[[ $(systemctl status meltica 2>&1) == *"could not be found"* ]] && ok "systemd has forgotten it" || bad "systemd: $(systemctl status meltica 2>&1 | head -3)"
