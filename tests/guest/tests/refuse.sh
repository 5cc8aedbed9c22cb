# SPDX-License-Identifier: MIT
# What pcid must leave alone: a mounted disk, one that is swap, a network interface that is up, a function in a group with
# others, one that nobody named.
. /tests/lib.sh
modprobe nvme
modprobe ext4
await has_disk 0000:00:02.0
await has_disk 0000:00:03.0
disk=$(disk_of 0000:00:03.0)
expect()
{
	await grep -q "$1" /tmp/pcid.log
}

# mounted: the second one stays the kernel's, and its file system goes on; the other disk is driven
mke2fs /dev/$disk >/dev/null 2>&1
mkdir -p /tmp/mnt
mount -t ext4 /dev/$disk /tmp/mnt
take 0000:00:02.0 0000:00:03.0 0000:01:01.0
use_nvmed
cat >>$conf <<END
driver "edu" {
	vendor = 0x1234
	device = 0x11e8
	command = "/suite/nvmed"
}
END
start_pcid
expect "0000:00:03.0: refused: the kernel uses its disk $disk: it is mounted on /tmp/mnt"
[ "$(driver_of 0000:00:03.0)" = nvme ]
[ "$(grep -c 0000:00:03.0 /tmp/pcid.log)" -eq 2 ] || fail "a refusal is told once, and that nothing was started"
dd if=/dev/zero of=/tmp/mnt/file bs=1M count=4 2>/dev/null
sync
await pcidctl disk info nvme0n1
pcidctl disk read nvme0n1 --output /dev/null --bytes 1M

# two functions behind a conventional bridge
expect '0000:01:01.0: refused: it shares IOMMU group [0-9]* with 0000:01:02.0'
[ "$(driver_of 0000:01:01.0)" = none ]

# not named, so not even tried
grep 0000:00:05.0 /tmp/pcid.log && fail "0000:00:05.0 is not named, and was touched"
[ "$(driver_of 0000:00:05.0)" = none ]
stop_pcid
umount /tmp/mnt
is_as_before 0000:00:02.0 nvme

# swap, and a network interface that is up; once it is down, it may be had
await has_disk 0000:00:03.0
disk=$(disk_of 0000:00:03.0)
mkswap /dev/$disk
swapon /dev/$disk
net=0000:00:08.0
modprobe e1000
await test "$(driver_of $net)" = e1000
name=$(ls /sys/bus/pci/devices/$net/net)
ip link set "$name" up
rm $conf
take 0000:00:03.0 $net
use_nvmed
cat >>$conf <<END
driver "e1000" {
	vendor = 0x8086
	device = 0x100e
	command = "/tests/probe"
}
END
start_pcid
expect "0000:00:03.0: refused: the kernel uses its disk $disk"
expect "$net: refused: the kernel uses its network interface $name, which is up"
[ "$(driver_of 0000:00:03.0)" = nvme ]
[ "$(driver_of $net)" = e1000 ]
swapoff /dev/$disk
ip link set "$name" down
pcidctl restart 0000:00:03.0
pcidctl restart $net
await pcidctl disk info nvme0n1
await grep "$net: taken over from e1000" /tmp/pcid.log
stop_pcid
is_as_before 0000:00:03.0 nvme
is_as_before $net e1000
modprobe -r e1000

# a driver of the kernel's has the other one of the group: that the configuration allows sharing does not help
other=0000:01:02.0
modprobe uio_pci_generic
echo uio_pci_generic >/sys/bus/pci/devices/$other/driver_override
echo $other >/sys/bus/pci/drivers_probe
[ "$(driver_of $other)" = uio_pci_generic ]
cat >$conf <<END
vfio {
	take = {"0000:01:01.0"}
	shared_groups = true
}
driver "edu" {
	vendor = 0x1234
	device = 0x11e8
	command = "/tests/probe"
}
END
start_pcid
expect "0000:01:01.0: refused: it shares IOMMU group [0-9]* with $other, which the kernel's driver uio_pci_generic has"
stop_pcid
is_as_before 0000:01:01.0 none
[ "$(driver_of $other)" = uio_pci_generic ]
echo $other >/sys/bus/pci/drivers/uio_pci_generic/unbind
echo >/sys/bus/pci/devices/$other/driver_override
