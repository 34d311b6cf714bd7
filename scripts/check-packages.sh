#!/usr/bin/env bash
# Installs the Debian package of dist/ in a bare Debian, and unpacks the tarball in another without OpenCV; each verifies
# BUNDLE there and classifies one of its golden frames. As root; requires debootstrap. CHROOT holds the bare Debian, and is
# made where it is not there; what is installed lies in layers over it, which are removed. ARCHITECTURE arm64 on amd64 takes
# arm64's packages, which run under qemu-user-static.
# Usage: scripts/check-packages.sh BUNDLE.edge CHROOT [ARCHITECTURE]
set -euo pipefail
bundle=$(realpath "$1")
chroot=$(realpath -m "$2")
here=$(dpkg --print-architecture)
architecture=${3:-$here}
cd "$(dirname "$0")/.."
case $architecture in
  amd64) machine=x86_64 ;;
  arm64) machine=aarch64 ;;
  *) echo "$architecture: expected amd64 or arm64" >&2; exit 2 ;;
esac
if [ "$architecture" != "$here" ] && [ ! -x "/usr/bin/qemu-$machine-static" ]; then
  echo "qemu-user-static is not installed: sudo apt-get install qemu-user-static" >&2
  exit 3
fi
[ -d "$chroot" ] || debootstrap --variant=minbase "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$chroot" >/dev/null

inside() {
  scripts/in-chroot.sh "$chroot" "
    install_packages() { apt-get install -y -qq --no-install-recommends \"\$@\" >/tmp/apt.log 2>&1 || { tail /tmp/apt.log; exit 1; }; }
    if [ $architecture != $here ]; then
      dpkg --add-architecture $architecture
      apt-get update -qq
      install_packages libc6:$architecture
      export EDGEPROOF_TRIAL_SECONDS=1800 # an emulated engine takes minutes to load
    fi
    $1" "$PWD/dist:/packages" "$bundle:/bundle.edge"
}

use='
  $program --version
  $program /bundle.edge --verify
  frame=$(ls /bundle.edge/golden/*.png | head -1)
  $program /bundle.edge --source "$frame"
'
echo "== the Debian package"
inside "
  apt-get update -qq
  install_packages /packages/edgeproof-run_*_$architecture.deb
  echo \"\$(grep -c '^Unpacking' /tmp/apt.log) packages unpacked\"
  program=edgeproof-run
  $use"
echo "== the tarball"
inside "
  ! ldconfig -p | grep opencv
  tar -xzf /packages/edgeproof-run-*-linux-$machine.tar.gz -C /opt
  program=\$(echo /opt/edgeproof-run-*/bin/edgeproof-run)
  echo \"\$(ls /opt/edgeproof-run-*/lib | wc -l) libraries, \$(ls /opt/edgeproof-run-*/licenses/*.txt | wc -l) texts\"
  $use"
