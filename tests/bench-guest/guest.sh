# SPDX-License-Identifier: MIT
# In the guest, in the place of a test: measure, and say what came out on the second serial port, each line marked.
. /tests/lib.sh
modprobe nvme
await has_disk 0000:00:02.0
modprobe -a xhci-pci usb-storage uas sd_mod
has_stick()
{
	ls -d /sys/bus/pci/devices/"$1"/usb*/*-1/*/host*/target*/*/block/sd* >/dev/null
}
await has_stick 0000:00:04.0
await has_stick 0000:00:05.0
take 0000:00:03.0 0000:00:06.0 0000:00:07.0
use_nvmed
cat >>$conf <<-END
	driver "xhcid" {
		class = 0x0c
		subclass = 3
		interface = 0x30
		command = "/suite/xhcid"
		service = "xhci"
	}
END
for stick in bot:1 uas:3; do
	cat >>$conf <<-END
	driver "usbscsid-${stick%:*}" {
		below = "usb"
		vendor = 0x46f4
		device = 0x000${stick#*:}
		command = "/suite/usbscsid"
		service = "${stick%:*}"
	}
	END
done
launcher=setsid # a session of its own, as whoever manages services gives it
start_pcid >/dev/null
for disk in nvme0n1 bot0 uas0; do
	await test -S /run/pcid/disk/$disk
done
args=$(sed -n 's/.*bench\.args=\([^ ]*\).*/\1/p' /proc/cmdline | tr , ' ')
status=0
set -f
/tests/bench-guest --json /tmp/bench.json $args >/tmp/table 2>&1 || status=$?
sed 's/^/table /' /tmp/table >/dev/ttyS1
[ ! -e /tmp/bench.json ] || { sed 's/^/json /' /tmp/bench.json; echo; } >/dev/ttyS1
# While devices are given back their registers come and go, and QEMU 7.2 may crash on another CPU that reads a register of
# anything just then (two runs of five, in memory_region_dispatch_read). One CPU has nobody beside it.
echo 0 >/sys/devices/system/cpu/cpu1/online
stop_pcid
exit $status
