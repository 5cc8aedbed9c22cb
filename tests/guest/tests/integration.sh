# SPDX-License-Identifier: MIT
# One of the tests of tests/qemu, whose name is the argument; see tests/guest/integration.sh.
. /tests/lib.sh
share
# The disks as the test made them. QEMU has these files open, and keeps nothing of them.
for image in /share/"$1"/*.img; do
	dd if="$image" of="/share/${image##*/}" bs=1M conv=notrunc 2>/dev/null
done
mkdir -p /testbin
for program in /suite/*; do
	ln -sf $program /testbin/
done
ln -sf /tests/guest-pcid /testbin/pcid
unset PCID_RUNTIME_DIR
PATH=$PATH:/tests RIG_BUS=vfio PCID_BIN_DIR=/testbin "/tests/$1"
