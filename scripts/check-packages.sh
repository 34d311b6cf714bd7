#!/usr/bin/env bash
# Installs the Debian package of dist/ in a bare Debian, and unpacks the tarball in another without OpenCV; each verifies
# BUNDLE there and classifies one of its golden frames. As root; requires debootstrap. CHROOT holds the bare Debian, and is
# made where it is not there; what is installed lies in layers over it, which are removed.
# Usage: scripts/check-packages.sh BUNDLE.edge CHROOT
set -euo pipefail
bundle=$(realpath "$1")
chroot=$(realpath -m "$2")
cd "$(dirname "$0")/.."
[ -d "$chroot" ] || debootstrap --variant=minbase "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$chroot" >/dev/null

inside() {
  scripts/in-chroot.sh "$chroot" "$1" "$PWD/dist:/packages" "$bundle:/bundle.edge"
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
  apt-get install -y -qq --no-install-recommends /packages/edgeproof-run_*.deb >/tmp/apt.log 2>&1 || { tail /tmp/apt.log; exit 1; }
  echo \"\$(grep -c '^Unpacking' /tmp/apt.log) packages unpacked\"
  program=edgeproof-run
  $use"
echo "== the tarball"
inside "
  ! ldconfig -p | grep opencv
  tar -xzf /packages/edgeproof-run-*.tar.gz -C /opt
  program=\$(echo /opt/edgeproof-run-*/bin/edgeproof-run)
  echo \"\$(ls /opt/edgeproof-run-*/lib | wc -l) libraries, \$(ls /opt/edgeproof-run-*/licenses/*.txt | wc -l) texts\"
  $use"
