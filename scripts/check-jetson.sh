#!/usr/bin/env bash
# Follows docs/jetson.md: its line for each JetPack, in a bare Ubuntu of the same version, with the wheels of dist/. Then
# `edgeproof doctor` must find no fault in what was installed, a GStreamer source must run, and BUNDLE must be verified.
# What stands in: Ubuntu's python3-opencv for JetPack's OpenCV, an empty nvidia-jetpack that requires it, `videotestsrc` for
# the camera; on x86-64 its wheels for aarch64's, while pip takes conditions such as platform_machine for aarch64's.
# FOLDER keeps the Ubuntus, which are made where they are not there. As root; requires debootstrap.
# Usage: scripts/check-jetson.sh FOLDER BUNDLE.edge [6.2|7.2]...
set -euo pipefail
folder=$(realpath -m "$1")
bundle=$(realpath "$2")
shift 2
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- 6.2 7.2

stand_in=$(mktemp -d)
trap 'rm -rf "$stand_in"' EXIT
mkdir -p "$stand_in/nvidia-jetpack/DEBIAN"
cat >"$stand_in/nvidia-jetpack/DEBIAN/control" <<'CONTROL'
Package: nvidia-jetpack
Version: 0
Architecture: all
Maintainer: none <none@packages.invalid>
Depends: python3-opencv, gstreamer1.0-plugins-base
Description: stands for JetPack
CONTROL
dpkg-deb --build "$stand_in/nvidia-jetpack" "$stand_in/nvidia-jetpack.deb" >/dev/null
cat >"$stand_in/as-aarch64.pth" <<'PYTHON'
import platform, sys; any(a.endswith("/pip") for a in sys.orig_argv) and setattr(platform, "machine", lambda: "aarch64")
PYTHON

for jetpack in "$@"; do
  case $jetpack in
    6.2) suite=jammy ;;
    7.2) suite=noble ;;
    *) echo "JetPack $jetpack: expected 6.2 or 7.2" >&2; exit 2 ;;
  esac
  line=$(grep -A2 "^JetPack ${jetpack//./\\.}:\$" docs/jetson.md | grep -oP '^    \K.*')
  if [ ! -d "$folder/$suite" ]; then
    recipe=/usr/share/debootstrap/scripts/$suite
    [ -e "$recipe" ] || recipe=/usr/share/debootstrap/scripts/jammy # debootstrap may be older than the suite
    # Of the recipe: where Ubuntu's keys are not installed, debootstrap would ask Debian's.
    case $(uname -m) in x86_64) kind=archive ;; *) kind=ports ;; esac
    mirror=$(grep -oP "default_mirror \K\S*$kind\S*" "$recipe" | head -1)
    mkdir -p "$folder"
    debootstrap --variant=minbase --components=main,universe "$suite" "$folder/$suite" \
      "$mirror" "$recipe" >"$folder/$suite.log" || { tail "$folder/$suite.log"; rm -rf "${folder:?}/$suite"; exit 1; }
  fi
  echo "== JetPack $jetpack, in Ubuntu's $suite: $line"
  # shellcheck disable=SC2016 # expanded inside
  scripts/in-chroot.sh "$folder/$suite" '
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends sudo python3 /stand-in/nvidia-jetpack.deb >/tmp/apt.log 2>&1 || { tail /tmp/apt.log; exit 1; }
    [ "$(uname -m)" = aarch64 ] || cp /stand-in/as-aarch64.pth /usr/lib/python3/dist-packages/
    mkdir ~/here && cd ~/here
    cp /dist/*.whl .
    '"$line"'
    export PATH=~/edgeproof/bin:$PATH
    source ~/edgeproof/bin/activate
    edgeproof doctor --json doctor.json
    python - <<PYTHON
import json
of_this_machine = {"clocks", "cpu vectors", "load", "memory", "swap", "temperature"}
with open("doctor.json") as file:
    state = {f["subject"]: f["state"] for f in json.load(file)["findings"]}
wrong = {subject for subject, found in state.items() if found == "problem"} - of_this_machine
wrong |= {s for s in ("opencv", "opencv GStreamer", "pyav", "engine onnxruntime", "engine opencv") if state[s] != "ok"}
assert not wrong, wrong
PYTHON
    edgeproof run /bundle.edge --max-frames 30 \
      --source "videotestsrc num-buffers=30 ! video/x-raw,width=640,height=480 ! videoconvert ! video/x-raw,format=BGR ! appsink"
    edgeproof verify /bundle.edge
  ' "$PWD/dist:/dist" "$bundle:/bundle.edge" "$stand_in:/stand-in"
done
