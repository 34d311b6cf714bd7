#!/usr/bin/env bash
# Cross-compiles edgeproof-run's Debian package and tarball for arm64 into dist/, as `scripts/packages.sh` makes them for this
# machine. It works in a Debian of its own in FOLDER, which has arm64's packages beside amd64's and is made where it is not there.
# As root; requires debootstrap, qemu-user-static (the man page comes from the program's --help), and the network.
# Usage: scripts/packages-arm64.sh FOLDER
set -euo pipefail
folder=$(realpath -m "$1")
cd "$(dirname "$0")/.."
[ -x /usr/bin/qemu-aarch64-static ] || { echo "qemu-user-static is not installed: sudo apt-get install qemu-user-static" >&2; exit 3; }
[ -d "$folder" ] || debootstrap --variant=minbase "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$folder" >/dev/null
if [ ! -e "$folder/.ready" ]; then
  scripts/in-chroot.sh --keep "$folder" '
    dpkg --add-architecture arm64
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends ca-certificates cmake dpkg-dev g++-aarch64-linux-gnu lintian make patchelf \
      pkg-config python3 python3-pip lib{opencv,avformat,avcodec,avfilter,avutil,swscale,webp,turbojpeg0,tiff,ssl}-dev:arm64 >/apt.log 2>&1 ||
      { tail /apt.log; exit 1; }
    python3 -m pip download --quiet --no-deps --only-binary :all: --python-version 3.11 --platform manylinux_2_31_aarch64 \
      --platform manylinux_2_35_aarch64 --dest /openvino openvino
    python3 -m zipfile -e /openvino/*.whl /openvino
    touch /.ready'
fi
mkdir -p "$folder/src"
git ls-files -z --cached --others --exclude-standard | tar --null --files-from - -cf - | tar -xf - -C "$folder/src" # with their times: only what changed is compiled
scripts/in-chroot.sh --keep "$folder" "cd /src && JOBS=${JOBS:-$(nproc)} scripts/packages.sh package-arm64 -DOpenVINO_DIR=/openvino/openvino/cmake"
mkdir -p dist
cp "$folder"/src/dist/edgeproof-run* dist/
