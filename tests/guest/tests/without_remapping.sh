# SPDX-License-Identifier: MIT
# A machine whose IOMMU does not remap interrupts: a device could send any of them. pcid comes up, refuses, and the kernel has
# what it had. That the kernel would look away does not help.
. /tests/lib.sh
modprobe nvme
for unsafe in 0 1; do
	echo $unsafe >/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts
	await has_disk 0000:00:02.0
	rm -f $conf
	take 0000:00:02.0
	start_pcid
	case $unsafe in
	0) await grep '0000:00:02.0: .*this machine does not remap interrupts, so a device might send any: refused' /tmp/pcid.log ;;
	1) await grep "0000:00:02.0: refused: the kernel's allow_unsafe_interrupts is on" /tmp/pcid.log ;;
	esac
	[ "$(grep -c "taken over" /tmp/pcid.log)" -eq 1 ] || fail "it was tried again and again"
	pcidctl list
	# at once, and not only at pcid's end
	await has_disk 0000:00:02.0
	dd if=/dev/$(disk_of 0000:00:02.0) of=/dev/null bs=1M count=4 2>/dev/null
	stop_pcid
	is_as_before 0000:00:02.0 nvme
done
