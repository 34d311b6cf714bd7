#!/usr/bin/env bash
# Runs the tests of what a device needs (no torch) on each Python given, or on each of 3.10 to 3.14 that is here (PATH, pyenv).
# Each has an environment in build/pythons. A Python is a command or a version such as 3.10.
# Usage: scripts/test-pythons.sh [PYTHON...] [-- PYTEST ARGUMENT...]
set -euo pipefail
cd "$(dirname "$0")/.."
extras=onnxruntime,openvino,serve,mqtt,data,multispectral,report
tools=(hypothesis onnx pytest pytest-timeout pytest-xdist scikit-learn scipy httpx jsonschema scikit-image)

export EDGEPROOF_TESTS_WITHOUT_TORCH=1 # with CI=true too, tests that need PyTorch may be skipped
source scripts/find-python.sh

pythons=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case $1 in
    3.*) pythons+=("$(find_python "$1")") || { echo "Python $1 is not on this machine (PATH, pyenv)" >&2; exit 3; } ;;
    *) pythons+=("$1") ;;
  esac
  shift
done
[ "${1:-}" = -- ] && shift
if [ ${#pythons[@]} -eq 0 ]; then
  for version in 3.10 3.11 3.12 3.13 3.14; do
    python=$(find_python "$version") && pythons+=("$python")
  done
fi
arguments=("$@")
[ ${#arguments[@]} -gt 0 ] || arguments=(--numprocesses auto --dist worksteal tests/runtime tests/toolkit)

failed=()
for python in "${pythons[@]}"; do
  version=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))')
  home=build/pythons/$version
  stamp=$home/.ready
  if [ ! -x "$home/bin/python" ]; then
    "$python" -m venv "$home"
    "$home/bin/python" -m pip install --quiet --upgrade pip
  fi
  # The compiled core belongs to the environment: an editable install of its own for each.
  if [ -n "$(find pyproject.toml CMakeLists.txt runtime/cpp/core runtime/cpp/bindings scripts/test-pythons.sh -newer "$stamp" -print -quit 2>&1)" ]; then
    "$home/bin/python" -m pip install --quiet --no-compile "${tools[@]}" --editable ".[$extras]"
    scripts/ensure-opencv.sh "$home/bin/python"
    touch "$stamp"
  fi
  echo "== Python $version: $("$home/bin/python" -VV)"
  "$home/bin/python" -m pytest -q "${arguments[@]}" || failed+=("$version")
done
[ ${#failed[@]} -eq 0 ] || { echo "failed on Python ${failed[*]}" >&2; exit 1; }
