#!/bin/sh
# SPDX-License-Identifier: MIT
# Install what the build and the tests need, by apt-get; where that is not possible, say what is missing.
# Does nothing, quickly, when everything is there. Argument: what it is for: "build" (and the demo), "check" (that and
# the tests), "bench" (build, and the peers that make bench compares with, which are left out where they cannot be had),
# or "bench-guest" (build, and its peer).
set -u

# package, what needs it, and where apt is unknown: a command, header or file that shows it is there
packages="
gcc             build cmd:gcc
libc6-dev       build hdr:stdlib.h
make            build cmd:make
liburing-dev    build hdr:liburing.h
libnvme-dev     build hdr:libnvme.h
libconfuse-dev  build hdr:confuse.h
libjson-c-dev   build hdr:json-c/json.h
libseccomp-dev  build hdr:seccomp.h
libpci-dev      build hdr:pci/pci.h
libusb-1.0-0-dev build hdr:libusb-1.0/libusb.h
libudev-dev     build hdr:libudev.h
systemtap-sdt-dev build hdr:sys/sdt.h
pci.ids         build any:/usr/share/misc/pci.ids,/usr/share/hwdata/pci.ids,/usr/share/pci.ids
qemu-system-x86 build cmd:qemu-system-x86_64
g++             check cmd:g++
libcunit1-dev   check hdr:CUnit/CUnit.h
spin            check cmd:spin
fio             bench-guest cmd:fio
libdpdk-dev     bench any:/usr/include/dpdk/rte_ring.h,/usr/local/include/rte_ring.h
clang           check cmd:clang
tshark          extra cmd:tshark
bpftrace        extra cmd:bpftrace
zsh             extra cmd:zsh
man-db          check cmd:lexgrog
pkg-config      check cmd:pkg-config
e2fsprogs       check any:/sbin/mke2fs,/usr/sbin/mke2fs
libclang-rt-14-dev check any:/usr/lib/clang,/usr/lib/llvm-14/lib/clang
"
optional=
case ${1:-check} in
build)
	packages=$(echo "$packages" | grep ' build ') ;;
bench)
	"$0" build || exit 1
	optional=yes
	packages=$(echo "$packages" | grep ' bench ') ;;
bench-guest)
	packages=$(echo "$packages" | grep ' build \| bench-guest ') ;;
extra) # of the tests: what they leave out where it is missing
	optional=yes
	packages=$(echo "$packages" | grep ' extra ') ;;
*)
	"$0" extra
	packages=$(echo "$packages" | grep -v ' bench \| bench-guest \| extra ') ;;
esac

missing_by_dpkg()
{
	names=$(echo "$packages" | awk '{print $1}')
	installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' 2>/dev/null |
		awk '$1 == "installed" {print $2}')
	for name in $names; do
		echo "$installed" | grep -qxF "$name" || echo "$name"
	done
}

there()
{
	case $1 in
	cmd:*) command -v "${1#cmd:}" >/dev/null 2>&1 ;;
	hdr:*) echo "#include <${1#hdr:}>" | ${CC:-cc} -E - >/dev/null 2>&1 ;;
	any:*) for file in $(echo "${1#any:}" | tr , ' '); do [ -e "$file" ] && return 0; done; false ;;
	esac
}

missing_by_looking()
{
	echo "$packages" | while read -r name need probe; do
		[ -z "$name" ] || there "$probe" || echo "$name"
	done
}

give_up()
{
	[ -z "$optional" ] || { echo "make deps: $1 Left out:" $missing >&2; exit 0; }
	{
		echo "make deps: $1"
		echo "Missing (by their names in Debian):"
		for name in $missing; do
			echo "  $name"
		done
		echo "Install them, for example as root: apt-get install" $missing
	} >&2
	exit 1
}

if command -v dpkg-query >/dev/null 2>&1; then
	missing=$(missing_by_dpkg)
else
	missing=$(missing_by_looking)
fi
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null 2>&1 || give_up "there is no apt-get here."
as_root=
if [ "$(id -u)" -ne 0 ]; then
	sudo -n true 2>/dev/null || give_up "not root, and there is no sudo that asks for no password."
	as_root="sudo -n"
fi

echo "make deps: installing" $missing
install="$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends"
# The package lists may be missing or older than the mirror.
$install $missing && exit 0
$as_root apt-get update -q && $install $missing && exit 0
give_up "apt-get could not install everything (its messages are above)."
