# SPDX-License-Identifier: MIT
# One of the tests of tests/qemu; see tests/guest/integration.sh.
. /tests/lib.sh
modprobe virtio_pci
modprobe 9pnet_virtio
modprobe 9p
mkdir -p /share /testbin
mount -t 9p -o trans=virtio,version=9p2000.L,cache=none,msize=262144 share /share
for program in /suite/*; do
	ln -sf $program /testbin/
done
ln -sf /tests/guest-pcid /testbin/pcid
unset PCID_RUNTIME_DIR
PCID_BIN_DIR=/testbin "/tests/$(cat /share/name)"
