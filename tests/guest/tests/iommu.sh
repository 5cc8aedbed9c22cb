# SPDX-License-Identifier: MIT
# The guest has what the others need: an IOMMU that remaps interrupts, the devices, a group each, VFIO.
fail=0
for f in 02.0 03.0 04.0 05.0; do
	group=$(readlink /sys/bus/pci/devices/0000:00:$f/iommu_group)
	echo "0000:00:$f $(cat /sys/bus/pci/devices/0000:00:$f/class) group ${group##*/}: $(ls /sys/bus/pci/devices/0000:00:$f/iommu_group/devices)"
	[ "$(ls /sys/bus/pci/devices/0000:00:$f/iommu_group/devices | wc -l)" -eq 1 ] || fail=1
done
modprobe vfio-pci
modprobe vfio_iommu_type1
[ -c /dev/vfio/vfio ]
dmesg | grep -i -E 'remap|DMAR' | tail -5
exit $fail
