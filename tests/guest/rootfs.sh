#!/bin/sh
# SPDX-License-Identifier: MIT
# A Debian root file system with systemd, by debootstrap, which is unpacked and not installed. usage: rootfs.sh DIR
# Does nothing when it is there already, with these packages. As root.
set -eu
mirror=$("$(dirname "$0")/mirror.sh")
. "$(dirname "$0")/alone.sh"
alone "$1.lock"
mkdir -p "$1"
dir=$(cd "$1" && pwd)
# what the suite's programs link, too
packages=systemd,systemd-sysv,udev,kmod,libpci3,libconfuse2,libjson-c5,libnvme1,liburing2,libudev1,libusb-1.0-0,pci.ids
[ "$(cat "$dir/complete" 2>/dev/null)" != "$packages" ] || exit 0
[ "$(id -u)" -eq 0 ] || { echo "rootfs.sh: debootstrap must run as root" >&2; exit 1; }

rm -rf "$dir"
mkdir -p "$dir/deb"
(cd "$dir/deb" && apt-get download -q debootstrap 2>/dev/null && dpkg-deb -x debootstrap_*.deb ../debootstrap)
echo "rootfs.sh: installing Debian into $dir/root"
DEBOOTSTRAP_DIR=$dir/debootstrap/usr/share/debootstrap "$dir/debootstrap/usr/sbin/debootstrap" --variant=minbase \
	--include=$packages bookworm "$dir/root" "$mirror" >"$dir/log" 2>&1 ||
	{ tail -n 20 "$dir/log" >&2; exit 1; }
rm -rf "$dir/root/var/cache/apt" "$dir/root/var/lib/apt/lists" "$dir/deb" "$dir/debootstrap"
echo "$packages" >"$dir/complete"
