# SPDX-License-Identifier: MIT
# A controller is plugged into a slot, is found, works, and is pulled out under load; the one beside it goes on all the while.
. /tests/lib.sh
take 1b36:0010
modprobe nvme
await has_disk 0000:00:02.0
await has_disk 0000:00:03.0
start_pcid
late()
{
	pcidctl drivers | grep 'nvmed 0000:02:00.0'
}

# QEMU has taken what was in it: with the power, which the kernel takes from the slot a while after its driver's removal.
slot_is_off()
{
	slot=$(grep -l 0000:02:00 /sys/bus/pci/slots/*/address)
	[ "$(cat "${slot%address}power")" = 0 ]
}

for round in 1 2; do
	load nvme0n1
	qmp '{"execute": "device_add", "arguments": {"driver": "nvme", "id": "late'$round'", "bus": "port0", "drive": "d3",
		"serial": "late"}}'
	await grep -q '0000:02:00.0: arrived' /tmp/pcid.log
	await pcidctl disk info nvme2n1
	dd if=/dev/urandom of=/tmp/in bs=1M count=4 2>/dev/null
	pcidctl disk write nvme2n1 --input /tmp/in --flush
	pcidctl disk read nvme2n1 --output /tmp/out --bytes 4M
	cmp /tmp/in /tmp/out
	[ "$(driver_of 0000:02:00.0)" = vfio-pci ]

	load_until_error nvme2n1
	qmp '{"execute": "device_del", "arguments": {"id": "late'$round'"}}'
	await grep -q '0000:02:00.0: gone' /tmp/pcid.log
	wait $victim || true
	cat /tmp/victim
	grep -q '0000:02:00.0: is to be removed' /tmp/pcid.log || fail "the driver was not asked to stop"
	[ ! -e /sys/bus/pci/devices/0000:02:00.0 ]
	await test ! -e /run/pcid/disk/nvme2n1
	load_went_on
	await slot_is_off
	# the second round must find its lines anew
	cat /tmp/pcid.log
	: >/tmp/pcid.log
done
stop_pcid
