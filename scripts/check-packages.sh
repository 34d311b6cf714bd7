#!/usr/bin/env bash
# Installs the Debian package of dist/ in a bare Debian, and unpacks the tarball in another without OpenCV; each verifies
# BUNDLE there and classifies one of its golden frames. As root; requires debootstrap. CHROOT holds the bare Debian, and is
# made where it is not there; what is installed lies in layers over it, which are removed.
# Usage: scripts/check-packages.sh BUNDLE.edge CHROOT
set -euo pipefail
bundle=$(realpath "$1")
chroot=$(realpath -m "$2")
cd "$(dirname "$0")/.."
packages=$PWD/dist
[ -d "$chroot" ] || debootstrap --variant=minbase "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$chroot" >/dev/null

# A namespace of its own: its mounts end with it.
inside() {
  unshare --mount --pid --fork bash -s -- "$chroot" "$packages" "$bundle" "$1" <<'NAMESPACE'
set -euo pipefail
mkdir -p "$1.layer"
mount -t tmpfs none "$1.layer"
mkdir "$1.layer/"{upper,work,root}
root=$1.layer/root
mount -t overlay overlay -o "lowerdir=$1,upperdir=$1.layer/upper,workdir=$1.layer/work" "$root"
mkdir -p "$root/packages" "$root/bundle.edge"
mount --bind -o ro "$2" "$root/packages"
mount --bind -o ro "$3" "$root/bundle.edge"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
cp /etc/resolv.conf "$root/etc/resolv.conf"
cp -r /etc/apt/apt.conf.d "$root/etc/apt/"
mount --bind /dev "$root/dev"
env -u TMPDIR chroot "$root" /bin/bash -euc "$4"
NAMESPACE
  rmdir "$chroot.layer"
}

use='
  $program --version
  $program /bundle.edge --verify
  frame=$(ls /bundle.edge/golden/*.png | head -1)
  $program /bundle.edge --source "$frame"
'
echo "== the Debian package"
inside "
  export DEBIAN_FRONTEND=noninteractive
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
  $use"
