#!/usr/bin/env bash
# opencv-python needs libGL, which bare machines lack: installs it, or else takes the headless wheel (no --show).
# Usage: scripts/ensure-opencv.sh PYTHON
set -euo pipefail
python=$1

"$python" -c 'import cv2' 2>/dev/null && exit 0
"$(dirname "$0")/system-packages.sh" opencv || true
"$python" -c 'import cv2' 2>/dev/null && exit 0
if ! version=$("$python" -c 'from importlib.metadata import version; print(version("opencv-python"))' 2>/dev/null); then
  "$python" -m pip install --quiet opencv-python-headless # aarch64: the package does not bring it
  exec "$python" -c 'import cv2'
fi
echo "opencv-python does not load here ($("$python" -c 'import cv2' 2>&1 | tail -1)); taking opencv-python-headless" >&2
"$python" -m pip uninstall --quiet --yes opencv-python
"$python" -m pip install --quiet "opencv-python-headless==$version"
"$python" -c 'import cv2'
