#!/usr/bin/env bash
# Runs the tests of sources, sinks and pipelines on the system's OpenCV instead of PyPI's: Debian 12 and Ubuntu 24.04 have 4.6,
# built for NumPy 1, with GStreamer, whose pipelines then run for real. The environment is build/system-opencv.
# PYTHON must be the system's own (default /usr/bin/python3): its packages are those that it shows.
# Exit code 3 if this OpenCV is not there or has no GStreamer.
# Usage: [PYTHON=/usr/bin/python3] scripts/test-system-opencv.sh [PYTEST ARGUMENT...]
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHON=${PYTHON:-/usr/bin/python3}
export EDGEPROOF_TESTS_WITHOUT_TORCH=1 # with CI=true too, tests that need PyTorch may be skipped
tools=(hypothesis onnx httpx jsonschema pytest pytest-timeout pytest-xdist scikit-image)
tests=(tests/runtime/sources tests/runtime/sinks tests/runtime/live)

scripts/system-packages.sh python build test system-opencv
"$PYTHON" -c 'import cv2' 2>/dev/null || { echo "$PYTHON has no cv2: sudo apt-get install python3-opencv" >&2; exit 3; }
home=build/system-opencv
stamp=$home/.ready
[ -x "$home/bin/python" ] || "$PYTHON" -m venv --system-site-packages "$home"
if [ -n "$(find pyproject.toml CMakeLists.txt runtime/cpp/core runtime/cpp/bindings scripts/test-system-opencv.sh -newer "$stamp" -print -quit 2>&1)" ]; then
  "$home/bin/python" -m pip install --quiet --no-compile "${tools[@]}" --editable ".[mqtt,onnxruntime,serve]" "numpy<2"
  "$home/bin/python" -m pip uninstall --quiet --yes opencv-python opencv-python-headless # as docs/jetson.md says: it hides the system's
  touch "$stamp"
fi
"$home/bin/python" - <<'PYTHON' || exit 3
import sys, cv2, numpy
print(f"== OpenCV {cv2.__version__} ({cv2.__file__}), NumPy {numpy.__version__}, Python {sys.version.split()[0]}", flush=True)
if cv2.__file__.startswith(sys.prefix):
    sys.exit("this is PyPI's OpenCV")
if "GStreamer:                   YES" not in cv2.getBuildInformation():
    sys.exit("this OpenCV has no GStreamer")
PYTHON
"$home/bin/python" -m pytest -q --numprocesses auto --dist worksteal "${tests[@]}" "$@"
