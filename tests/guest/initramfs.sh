#!/bin/sh
# SPDX-License-Identifier: MIT
# Build an initramfs: busybox, the kernel modules and tools the tests need, the suite's programs and their libraries, the
# tests. usage: initramfs.sh KERNEL_DIR BUILD_DIR OUT
set -eu
kernel=$1 build=$2 out=$3
here=$(cd "$(dirname "$0")" && pwd)
modules="vfio-pci vfio_iommu_type1 nvme e1000 xhci-pci usb-storage uas sd_mod ext4 crc32c_generic uio_pci_generic 9p 9pnet_virtio virtio_pci virtio_blk"
root=$out.root

rm -rf "$root"
for dir in bin sbin dev proc sys tmp run etc/pcid.d usr/share/misc lib64 suite tests; do
	mkdir -p "$root/$dir"
done
root=$(cd "$root" && pwd)
cp "$kernel/busybox" "$root/bin/busybox"
install -m 755 "$here/init" "$root/init"
cp -R "$here/tests/." "$root/tests/"
install -m 755 "$here/guest-pcid" "$root/tests/"
install -D -m 755 "$here/../../init/pcid.init" "$root/etc/init.d/pcid"
echo 'root:x:0:0::/:/bin/sh
nobody:x:65534:65534::/:/bin/false' >"$root/etc/passwd"
echo 'root:x:0:
nogroup:x:65534:' >"$root/etc/group"
for ids in /usr/share/misc/pci.ids /usr/share/hwdata/pci.ids; do
	[ ! -e $ids ] || cp $ids "$root/usr/share/misc/pci.ids"
done

# ---- modules, with what they depend on ----
release=$(ls "$kernel/lib/modules")
from=$kernel/lib/modules/$release
to=$root/lib/modules/$release
mkdir -p "$to"
cp "$from/modules.builtin" "$from/modules.order" "$to/"
for name in $modules; do
	# modules.dep: "path: path..."; a name may be written with _ or -
	pattern=$(echo "$name" | sed 's/[-_]/[-_]/g')
	grep -E "(^|/)$pattern\.ko(\.xz)?:" "$from/modules.dep" | tr -d : | tr ' ' '\n'
done | sort -u | while read -r path; do
	mkdir -p "$to/$(dirname "$path")"
	cp "$from/$path" "$to/$path"
done
"$kernel/busybox" depmod -b "$root" "$release"

# ---- what else starts pcid: init/, and supervisors, whose libraries this machine need not have ----
tools=build/guest/tools
ln -s ../bin "$root/usr/bin"
sh "$here/tools.sh" $tools
for program in runsv sv s6-supervise s6-svc s6-svlisten1 s6-svwait s6-svstat s6-ftrigrd lspci; do
	rm -f "$root/bin/$program"
	cp "$(find $tools/usr/bin $tools/bin -name $program 2>/dev/null)" "$root/bin/"
done
mkdir -p "$root/usr/lib"
find $tools/usr/lib -name 'lib*.so.*' -exec cp -a {} "$root/usr/lib/" \;
cp -R "$here/../../init" "$root/tests/init.d"

# ---- programs and their shared libraries ----
cp "$build"/bin/* "$root/suite/"
# as "make install" has it
MAKEFLAGS= make -s B="$build" DESTDIR="$root" install >/dev/null
cp README.md init/pcid.conf examples/edud/edud.conf "$root/tests/"
mkdir -p "$root/usr/sbin"
for program in pcid pcidctl; do
	ln -s /suite/$program "$root/usr/sbin/"
done
for test in "$build"/tests/test_* "$build"/guest/bin/* "$build"/examples/edu*; do
	[ ! -x "$test" ] || cp "$test" "$root/tests/"
done
for program in "$root"/suite/* "$root"/tests/* "$root/bin/lspci"; do
	LD_LIBRARY_PATH=$root/usr/lib ldd "$program" 2>/dev/null | grep -oE '/[^ ]+' || true
done | grep -v "^$root" | sort -u | while read -r lib; do
	mkdir -p "$root$(dirname "$lib")"
	cp -L "$lib" "$root$lib"
done
for lib in libnss_files.so.2; do # getpwnam; in newer C libraries it is part of libc
	[ ! -e /lib/x86_64-linux-gnu/$lib ] || cp -L /lib/x86_64-linux-gnu/$lib "$root/lib/x86_64-linux-gnu/"
done

# Not compressed: unpacking costs an emulated CPU more than reading it.
(cd "$root" && find . | "$OLDPWD/$kernel/busybox" cpio -o -H newc 2>/dev/null) >"$out.new"
mv "$out.new" "$out"
