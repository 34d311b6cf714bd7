#!/usr/bin/env bash
# Runs units of `edgeproof service install` under a real systemd: an engine that hangs must be restarted by the watchdog, and a
# service whose camera is away must not. systemd runs as a user's manager in namespaces and cgroups of its own, so that the
# machine needs none; a user's manager has no DynamicUser and no sandbox, so these lines are left out of the units.
# As root; requires systemd, and edgeproof with ONNX Runtime in PYTHON (default .venv/bin/python).
# Usage: [PYTHON=.venv/bin/python] scripts/check-service.sh [WATCHDOG_S]
set -euo pipefail
cd "$(dirname "$0")/.."
limit_s=${1:-20}
PYTHON=$(realpath -s "${PYTHON:-.venv/bin/python}")
export PYTHON

if [ "${2:-}" != inside ]; then
  [ -x /lib/systemd/systemd ] || { echo "systemd is not installed" >&2; exit 3; }
  work=$(mktemp -d)
  groups=()
  for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    if [ -e "$hierarchy/cgroup.procs" ]; then groups+=("$hierarchy/$(basename "$work")"); fi
  done
  trap 'find "${groups[@]}" -depth -type d -exec rmdir {} + || true; rm -rf "$work"' EXIT
  mkdir "${groups[@]}"
  export work
  (
    for group in "${groups[@]}"; do echo "$BASHPID" >"$group/cgroup.procs"; done
    exec unshare --mount --pid --cgroup --fork --kill-child "$0" "$limit_s" inside
  ) # what lives ends with it
  exit
fi

mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
export XDG_RUNTIME_DIR=/run/user/0 HOME=$work
units=$work/.config/systemd/user
mkdir -p /run/systemd/system "$XDG_RUNTIME_DIR" "$units"
"$PYTHON" -m zipfile -e tests/golden/bundles-0.1.0.zip "$work"
cat >"$work/hangs.py" <<'PYTHON'
import sys, time
from edgeproof.cli import main
from edgeproof_runtime.engines.onnxruntime import OnnxRuntimeEngine
run, runs = OnnxRuntimeEngine._run, []
def hangs(engine, batch):
    runs.append(1)
    while len(runs) > 50:
        time.sleep(1)
    return run(engine, batch)
OnnxRuntimeEngine._run = hangs
sys.exit(main())
PYTHON

unit() { # NAME SOURCE COMMAND...: the unit that `service install` writes, started by COMMAND
  "$PYTHON" -m edgeproof service install "$work/classify.edge" --name "$1" --source "$2" --watchdog "${limit_s}s" \
    --output "$work/$1" -- --engine onnxruntime --health off  >"$work/said" 2>&1 || { cat "$work/said" >&2; exit 1; }
  sed -e "s|^ExecStart=.* run |ExecStart=${*:3} run |" \
    -e '/^\(DynamicUser\|SupplementaryGroups\|.*Directory\|Environment\|Protect\|Restrict\|Lock\|SystemCall\|NoNew\|MemoryMax\)/d' \
    "$work/$1" >"$units/$1.service"
  cat >"$work/lines" <<UNIT
Environment=EDGEPROOF_CACHE=$work/cache
ExecStopPost=/bin/sh -c 'echo "\$SERVICE_RESULT, \$EXIT_CODE \$EXIT_STATUS" >>$work/$1.ended'
UNIT
  sed -i "/^\[Service\]/r $work/lines" "$units/$1.service"
}
unit hangs synthetic://64x48@30 "$PYTHON" "$work/hangs.py"
unit away rtsp://127.0.0.1:9/none "$PYTHON" -m edgeproof
# Not as process 1: a user's manager refuses to be.
/lib/systemd/systemd --user --unit=basic.target &
until systemctl --user is-system-running 2>/dev/null | grep -qE 'running|degraded'; do sleep 0.2; done
fails() {
  systemctl --user status hangs away >&2 || true
  echo "$1" >&2
  exit 1
}
value() { systemctl --user show "$1" --property "$2" --value; }
systemctl --user start --no-block hangs away
until [ "$(value away SubState)" = running ] && [ "$(value hangs NRestarts)" -ge 1 ]; do
  sleep 1
  [ "$SECONDS" -lt 600 ] || fails "the engine that hangs was not restarted"
done
echo "hangs ended: $(head -1 "$work/hangs.ended")"
grep -q '^watchdog' "$work/hangs.ended" || fails "the engine that hangs was not ended by the watchdog"
sleep $((limit_s * 3))
for name in hangs away; do
  echo "$name: $(value $name ActiveState), restarts $(value $name NRestarts), status: $(value $name StatusText)"
done
[ "$(value away NRestarts)" = 0 ] && [ "$(value away SubState)" = running ] || fails "the service whose camera is away was restarted"
