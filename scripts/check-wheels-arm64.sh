#!/usr/bin/env bash
# Runs the golden and bit-exactness tests of preprocessing on dist/'s aarch64 wheels, under qemu-user: those for Python 3.10 and
# 3.12 on Ubuntu 22.04's and 24.04's Pythons, which are JetPack 6's and 7's, that for 3.11 on Debian 12's. Ubuntu's arm64
# archive is another than amd64's and often not mirrored, so its Pythons are cross-compiled from their source packages, without
# modules that need a library (OpenSSL, SQLite). FOLDER keeps the systems, which are made where they are not there.
# As root; requires debootstrap, qemu-user-static, and the network.
# Usage: scripts/check-wheels-arm64.sh FOLDER [3.10|3.11|3.12]...
set -euo pipefail
folder=$(realpath -m "$1")
shift
cd "$(dirname "$0")/.."
source scripts/find-python.sh
[ -x /usr/bin/qemu-aarch64-static ] || { echo "qemu-user-static is not installed: sudo apt-get install qemu-user-static" >&2; exit 3; }
[ $# -gt 0 ] || set -- 3.10 3.11 3.12
mkdir -p "$folder"

# A Python of arm64 in an amd64 system of the suite, called python-arm64 there.
# shellcheck disable=SC2016 # expanded inside
from_debian='
  dpkg --add-architecture arm64
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends {libpython3-stdlib,libstdc++6,python3-minimal}:arm64 >/apt.log 2>&1 || { tail /apt.log; exit 1; }
  ln -sf python3 /usr/bin/python-arm64'
# shellcheck disable=SC2016
from_source='
  sed "s/^deb /deb-src /" /etc/apt/sources.list >/etc/apt/sources.list.d/source.list
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends autoconf automake dpkg-dev g++-aarch64-linux-gnu libltdl-dev libtool make python3 libpython3-stdlib \
    $(apt-cache search --names-only "^python3-distutils\$" | cut -d" " -f1) >/apt.log 2>&1 || { tail /apt.log; exit 1; }
  mkdir -p /src && cd /src
  trap "tail -n 20 /src/*.log" ERR
  apt-get source -qq --download-only zlib libffi "python$version" >/dev/null
  for archive in *.orig.tar.*; do tar -xf "$archive"; done
  export CC=aarch64-linux-gnu-gcc CFLAGS="-O2 -fPIC" CPPFLAGS=-I/arm64/include LDFLAGS="-L/arm64/lib"
  (cd zlib-* && CHOST=aarch64-linux-gnu ./configure --prefix=/arm64 && make install) >/src/zlib.log 2>&1
  (cd libffi-* && { [ -x configure ] || autoreconf -i; } && ./configure --host=aarch64-linux-gnu --disable-shared --disable-docs --libdir=/arm64/lib --prefix=/arm64 && make install) >/src/libffi.log 2>&1
  (cd [Pp]ython-"$version"* && ac_cv_file__dev_ptmx=yes ac_cv_file__dev_ptc=no ac_cv_buggy_getaddrinfo=no ./configure --host=aarch64-linux-gnu \
    --build=x86_64-linux-gnu --prefix=/arm64 --with-system-ffi --with-build-python="python$version" --without-ensurepip --disable-test-modules &&
    make -j"$(nproc)" && make install) >/src/python.log 2>&1
  cp -rT /usr/aarch64-linux-gnu/lib /lib/aarch64-linux-gnu # C and C++ libraries
  cp -P /arm64/lib/libz.so* /lib/aarch64-linux-gnu/ # NumPy requires it
  ln -sf aarch64-linux-gnu/ld-linux-aarch64.so.1 /lib/
  ln -sf "/arm64/bin/python$version" /usr/bin/python-arm64'

for version in "$@"; do
  case $version in
    3.10) suite=jammy make=$from_source ;;
    3.11) suite=bookworm make=$from_debian ;;
    3.12) suite=noble make=$from_source ;;
    *) echo "Python $version: expected 3.10, 3.11 or 3.12" >&2; exit 2 ;;
  esac
  system=$folder/$suite
  if [ ! -d "$system" ]; then
    arguments=(--variant=minbase "$suite" "$system")
    if [ "$suite" != bookworm ]; then # the recipe names Ubuntu's mirror; debootstrap may be older than the suite
      recipe=/usr/share/debootstrap/scripts/jammy
      arguments=(--components=main,universe "${arguments[@]}" "$(grep -oP 'default_mirror \K\S*archive\S*' "$recipe" | head -1)" "$recipe")
    fi
    debootstrap "${arguments[@]}" >"$system.log" || { tail "$system.log"; rm -rf "$system"; exit 1; }
  fi
  [ -e "$system/.ready" ] || scripts/in-chroot.sh --keep "$system" "version=$version$make"$'\ntouch /.ready'
  # pip of this machine fetches what the tests import.
  packages=$folder/packages-$version
  rm -rf "$packages"
  fetch=("$(find_python "$version")" -m pip install --quiet --disable-pip-version-check --no-compile --target "$packages"
    --only-binary :all: --python-version "$version" --implementation cp --abi "cp${version/./}" --abi abi3 --abi none)
  for glibc in 2_35 2_31 2_28 2_27 2_26 2_17; do fetch+=(--platform "manylinux_${glibc}_aarch64"); done
  "${fetch[@]}" av numpy psutil rich typer opencv-python-headless hypothesis pytest pytest-timeout scikit-image
  "${fetch[@]}" --upgrade --no-deps --no-index --find-links dist edgeproof # pip would ask for x86-64's OpenCV too
  echo "== Python $version, $(basename "$(ls -d "$packages"/edgeproof_runtime/_native*.so)")"
  scripts/in-chroot.sh "$system" '
    export PYTHONPATH=/packages PYTHONDONTWRITEBYTECODE=1 EDGEPROOF_TESTS_WITHOUT_TORCH=1 HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis
    python-arm64 -c "import platform, sys, edgeproof_runtime as e; print(platform.machine(), sys.version.split()[0], *platform.libc_ver(), e.__file__)"
    cd /checkout/tests && python-arm64 -m pytest -q --timeout 300 -p no:cacheprovider --confcutdir=. -c ../pyproject.toml runtime/contract' \
    "$packages:/packages" "$PWD/tests:/checkout/tests" "$PWD/pyproject.toml:/checkout/pyproject.toml"
done
