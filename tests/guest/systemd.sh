#!/bin/sh
# SPDX-License-Identifier: MIT
# Boot a real Debian with systemd and pcid.service enabled, and look at what became of it (guest-systemd, in there).
# Variables: those of run.sh.
set -eu
cd "$(dirname "$0")/../.."
B=${B:-build}
root=$(pwd)/$B/guest/systemd-root
image=$(pwd)/$B/guest/systemd.img
version=${KERNELS:-6.1}

sh tests/guest/rootfs.sh build/guest/debian
sh tests/guest/kernel.sh "$version" "build/guest/kernel-$version"
rm -rf "$root" "$image"
cp -a build/guest/debian/root "$root"
MAKEFLAGS= make -s B="$B" DESTDIR="$root" PREFIX=/usr install >/dev/null

# the modules that the initramfs has
sh tests/guest/initramfs.sh "build/guest/kernel-$version" "$B" "$B/guest/systemd.initramfs"
mkdir -p "$root/usr/lib/modules"
cp -a "$B/guest/systemd.initramfs.root/lib/modules/." "$root/usr/lib/modules/"

chroot "$root" /sbin/depmod "$(ls "$root/usr/lib/modules")" # kmod reads an index that busybox does not write

echo 'vfio { take = {"0000:00:02.0"} }' >"$root/etc/pcid.d/take.conf"
install -m 755 tests/guest/guest-systemd "$root/usr/local/bin/"
cat >"$root/etc/systemd/system/guest-systemd.service" <<END
[Unit]
Description=The test
After=pcid.service
[Service]
Type=oneshot
ExecStart=/usr/local/bin/guest-systemd
StandardOutput=journal+console
StandardError=journal+console
[Install]
WantedBy=multi-user.target
END
for unit in pcid guest-systemd; do
	dir=/etc/systemd/system
	[ -e "$root$dir/$unit.service" ] || dir=/usr/lib/systemd/system
	mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
	ln -s $dir/$unit.service "$root/etc/systemd/system/multi-user.target.wants/"
done
echo guest >"$root/etc/hostname"
PATH=$PATH:/sbin:/usr/sbin mke2fs -q -t ext4 -d "$root" "$image" 900M
rm -rf "$root"
GUEST_ROOT=$image GUEST_NAME=systemd tests/guest/run.sh systemd
