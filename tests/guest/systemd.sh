#!/bin/sh
# SPDX-License-Identifier: MIT
# Boot a real Debian with systemd and pcid.service enabled, and look at what became of it (guest-systemd, in there): as it
# should be, and without hardware, with a bad configuration, with drivers that do not work. A boot each.
# usage: systemd.sh [BOOT...]        of those below; default: all. Variables: those of run.sh
set -eu
cd "$(dirname "$0")/../.."
B=${B:-build}
root=$(pwd)/$B/guest/systemd-root
image=$(pwd)/$B/guest/systemd.img
version=${KERNELS:-6.1}
. tests/guest/alone.sh
alone "$image.lock"
boots=${*:-systemd systemd_no_hardware systemd_bad_configuration systemd_dead_driver}
status=0

# The configuration of each boot, beside what "make install" installs; the initramfs puts it in place.
configure()
{
	for boot in systemd systemd_no_hardware systemd_bad_configuration systemd_dead_driver; do
		mkdir -p "$root/etc/guest/$boot"
		echo 'vfio { take = {"0000:00:02.0"} }' >"$root/etc/guest/$boot/take.conf"
	done
	echo 'driver "nvmed" {' >"$root/etc/guest/systemd_bad_configuration/50-bad.conf"
	cat >"$root/etc/guest/systemd_dead_driver/50-dead.conf" <<-END
	driver "dead" { vendor = 0x1b36 device = 0x0010 command = "/bin/false" service = "nvme" restart_limit = 2 }
	driver "missing" { vendor = 0x1234 device = 0x11e8 command = "/usr/bin/no-such-program" restart_limit = 2 }
	driver "silent" { vendor = 0x8086 device = 0x100e command = "/bin/sleep" args = {"infinity"} service = "none" }
	vfio { take = {"0000:00:05.0", "0000:00:08.0"} }
	END
}

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

configure
install -m 755 tests/guest/guest-systemd "$root/usr/local/bin/"
cat >"$root/etc/systemd/system/guest-systemd.service" <<END
[Unit]
Description=The test
After=pcid.service
[Service]
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
for boot in $boots; do
	export GUEST_ROOT=$image GUEST_NAME=$boot
	case $boot in
	systemd_no_hardware) GUEST_IOMMU= GUEST_DEVICES= tests/guest/run.sh "$boot" || status=1 ;;
	*) tests/guest/run.sh "$boot" || status=1 ;;
	esac
done
exit $status
