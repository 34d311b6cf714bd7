#!/usr/bin/env bash
# Runs a bash COMMAND in the Debian or Ubuntu of ROOT, in namespaces that end with it. ROOT is left as it is: what COMMAND
# changes lies in memory and is lost, except with --keep. Each FROM:TO shows a file or folder of this machine, read-only.
# Programs of another architecture run under qemu-user-static, which is registered in these namespaces only. As root.
# Usage: scripts/in-chroot.sh [--keep] ROOT COMMAND [FROM:TO]...
set -euo pipefail

case ${1:-} in
  --mapped) # the user namespace's half of what is below
    until grep -q . /proc/self/gid_map; do sleep 0.02; done
    exec unshare --mount --pid --fork --kill-child "$0" --mounted "${@:2}" ;;
  --mounted) shift ;;
  *)
    layer=$(mktemp -d)
    export layer
    trap 'rmdir "$layer"' EXIT
    unshare --user "$0" --mapped "$@" <&0 &
    child=$!
    while [ "$(readlink "/proc/$child/ns/user")" = "$(readlink /proc/self/ns/user)" ]; do sleep 0.02; done
    echo "0 0 65536" >"/proc/$child/uid_map" # as it is here; what is registered below is this namespace's
    echo "0 0 65536" >"/proc/$child/gid_map"
    wait "$child" # its status is this script's
    exit ;;
esac

keep=
[ "$1" != --keep ] || { keep=1; shift; }
root=$(realpath "$1")
command=$2
shift 2
mount -t proc proc /proc
emulator=/usr/bin/qemu-aarch64-static
if [ "$(uname -m)" = x86_64 ] && [ -x "$emulator" ]; then
  mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
  # ELF's magic and machine number 183. F: the emulator is opened now, so it need not be in ROOT.
  head='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
  mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
  printf '%s' ":aarch64:M::$head:$mask:$emulator:F" >/proc/sys/fs/binfmt_misc/register
fi
if [ -z "$keep" ]; then
  mount -t tmpfs none "$layer"
  mkdir "$layer"/{upper,work,root}
  # userxattr: a user namespace has no other attributes, and without any dpkg cannot rename folders.
  mount -t overlay overlay -o "userxattr,lowerdir=$root,upperdir=$layer/upper,workdir=$layer/work" "$layer/root"
  root=$layer/root
fi
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t proc proc "$root/proc"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cp -r /etc/apt/apt.conf.d "$root/etc/apt/"
certificates=/etc/ssl/certs/ca-certificates.crt # this machine may trust more, such as a proxy
[ ! -e "$certificates" ] || install -D -m 644 "$certificates" "$root/etc/ssl/this-machine.crt"
for shown in "$@"; do
  from=${shown%%:*}
  to=$root${shown#*:}
  if [ -d "$from" ]; then mkdir -p "$to"; else mkdir -p "$(dirname "$to")" && touch "$to"; fi
  mount --bind "$from" "$to"
  mount -o remount,bind,ro "$to"
done
exec env -i container=lxc DEBIAN_FRONTEND=noninteractive HOME=/root LC_ALL=C.UTF-8 \
  PIP_CERT=/etc/ssl/this-machine.crt PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" /bin/bash -euc "$command"
