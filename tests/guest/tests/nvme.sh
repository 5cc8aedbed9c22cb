# SPDX-License-Identifier: MIT
# A file onto the NVMe disk and back through pcid on the VFIO bus; then the kernel's own driver finds it there too.
. /tests/lib.sh
share
modprobe nvme
await has_disk 0000:00:02.0
take 0000:00:02.0
start_pcid
await pcidctl disk info nvme0n1
[ "$(driver_of 0000:00:02.0)" = vfio-pci ]
[ "$(driver_of 0000:00:03.0)" = nvme ]
pcidctl list
pcidctl show 0000:00:02.0
pcidctl disks
dd if=/dev/urandom of=/tmp/in bs=1M count=12 2>/dev/null
pcidctl disk write nvme0n1 --input /tmp/in --offset 3M --flush
pcidctl disk read nvme0n1 --output /tmp/out --offset 3M --bytes 12M
cmp /tmp/in /tmp/out
pcidctl irq
# its vectors are masked and unmasked, by the driver, all the while
pcidctl irq | awk '$1 == "0000:00:02.0" {masks += $7; unmasks += $8}
	END {exit !(masks > 0 && unmasks > 0)}' || fail "the driver masked no vector"
shutdowns()
{
	grep -c pci_nvme_mmio_shutdown_set /share/trace || true
}
before=$(shutdowns)
stop_pcid
[ "$(shutdowns)" -eq $((before + 1)) ] || fail "the controller was not shut down as the specification asks for"
is_as_before 0000:00:02.0 nvme
await has_disk 0000:00:02.0
dd if=/dev/$(disk_of 0000:00:02.0) of=/tmp/kernel bs=1M skip=3 count=12 2>/dev/null
cmp /tmp/in /tmp/kernel

# At boot pcid may be there before the kernel's driver: that one has it afterwards.
modprobe -r nvme
[ "$(driver_of 0000:00:02.0)" = none ]
start_pcid
await pcidctl disk info nvme0n1
modprobe nvme
await has_disk 0000:00:03.0
[ "$(driver_of 0000:00:02.0)" = vfio-pci ]
stop_pcid
grep '0000:00:02.0: taken over from no driver' /tmp/pcid.log
is_as_before 0000:00:02.0 nvme
await has_disk 0000:00:02.0
