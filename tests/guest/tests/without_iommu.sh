# SPDX-License-Identifier: MIT
# A machine without IOMMU: pcid comes up, refuses what its configuration names, says why, and leaves it to the kernel.
. /tests/lib.sh
modprobe nvme
await has_disk 0000:00:02.0
[ ! -e /sys/bus/pci/devices/0000:00:02.0/iommu_group ]
take 0000:00:02.0
start_pcid
await grep '0000:00:02.0: refused: no IOMMU confines it' /tmp/pcid.log
is_as_before 0000:00:02.0 nvme
dd if=/dev/$(disk_of 0000:00:02.0) of=/dev/null bs=1M count=4 2>/dev/null
pcidctl list
stop_pcid
is_as_before 0000:00:02.0 nvme
