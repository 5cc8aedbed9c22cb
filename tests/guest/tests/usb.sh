# SPDX-License-Identifier: MIT
# Two sticks, Bulk-Only and UAS, by two ways: usbscsid over the kernel's xhci_hcd and libusb, and usbscsid below xhcid on
# the VFIO bus. Both see the same descriptors and inquiry data, byte for byte, and the same contents.
. /tests/lib.sh
share
xhci=0000:00:04.0
modprobe xhci-pci
await test "$(driver_of $xhci)" = xhci_hcd

# The kernel's names for a stick (01:002), by its port.
device_of()
{
	for device in /sys/bus/pci/devices/$xhci/usb*/*-"$1"; do
		[ ! -e "$device/busnum" ] || echo "$(cat "$device/busnum"):$(cat "$device/devnum")"
	done
}

is_there()
{
	[ -n "$(device_of 1)" ] && [ -n "$(device_of 2)" ]
}

# What usbscsid says of what the device said, without who says it.
dumped()
{
	sed -n 's/.*\(46f4:[0-9a-f]*: \(descriptor\|inquiry\|vital\).*\)/\1/p' "$1" | grep "$2:" | sort -u
}

by_libusb_pids=
leave_all()
{
	[ -z "$by_libusb_pids" ] || kill $by_libusb_pids
	leave
}
trap leave_all EXIT

start_libusb()
{
	await is_there
	for port in 1 2; do
		usbscsid --libusb "$(device_of $port)" --name libusb$port --timeout ${timeout:-30} -v -v 2>/tmp/libusb$port.log &
		by_libusb_pids="$by_libusb_pids $!"
	done
	for port in 1 2; do
		await pcidctl disk info libusb$port
		cat /tmp/libusb$port.log
	done
}

stop_libusb()
{
	for pid in $by_libusb_pids; do
		kill $pid
		wait $pid || fail "usbscsid ended with exit status $?"
	done
	by_libusb_pids=
}

start_xhcid()
{
	rm -f $conf
	take $xhci
	cat >>$conf <<-END
	driver "xhcid" {
		class = 0x0c
		subclass = 3
		interface = 0x30
		command = "/suite/xhcid"
		service = "xhci"
	}
	driver "usbscsid" {
		below = "usb"
		class = 8
		command = "/suite/usbscsid"
		service = "usb"
		args = {"-v", "-v"}
	}
	END
	start_pcid -v
	for disk in usb0 usb1; do
		await pcidctl disk info $disk
	done
}

# Which of ours is the Bulk-Only one.
name_of()
{
	for disk in usb0 usb1; do
		! pcidctl disk info $disk | grep -q "$1" || echo $disk
	done
}

dd if=/dev/urandom of=/tmp/in bs=1M count=9 2>/dev/null
start_libusb
pcidctl disk write libusb1 --input /tmp/in --offset 3M --flush
pcidctl disk write libusb2 --input /tmp/in --offset 5M --flush
for n in 1 2; do
	pcidctl disk read libusb$n --output /tmp/contents$n --bytes 24M
done
stop_libusb

start_xhcid
bot=$(name_of usb-bot) uas=$(name_of usb-uas)
echo "Bulk-Only: $bot, UAS: $uas"
pcidctl disk read $bot --output /tmp/ours1 --bytes 24M
pcidctl disk read $uas --output /tmp/ours2 --bytes 24M
cmp /tmp/contents1 /tmp/ours1
cmp /tmp/contents2 /tmp/ours2
pcidctl disk write $bot --input /tmp/in --offset 14M --flush
pcidctl disk write $uas --input /tmp/in --offset 15M --flush
# at its end usbscsid has the sticks write down what they hold: SYNCHRONIZE CACHE(10) is command 0x35
flushes()
{
	grep -c 'scsi_req_parsed .* command 53 ' /share/trace || true
}
before=$(flushes)
[ "$before" -ge 2 ] || fail "QEMU does not tell of --flush"
stop_pcid
[ "$(flushes)" -eq $((before + 2)) ] || fail "SYNCHRONIZE CACHE: $(($(flushes) - before)) at the end, not 2"
for id in 46f4:0001 46f4:0003; do
	[ $id = 46f4:0001 ] && port=1 || port=2
	dumped /tmp/libusb$port.log $id >/tmp/said.libusb
	dumped /tmp/pcid.log $id >/tmp/said.xhcid
	cat /tmp/said.xhcid
	for what in "descriptor 01" "descriptor 02" "inquiry data of LUN 00" "vital product data 83"; do
		grep -q "$what" /tmp/said.xhcid || fail "$id: nothing was said of $what"
	done
	cmp /tmp/said.libusb /tmp/said.xhcid
done

is_as_before $xhci xhci_hcd
start_libusb
pcidctl disk read libusb1 --output /tmp/out1 --offset 14M --bytes 9M
pcidctl disk read libusb2 --output /tmp/out2 --offset 15M --bytes 9M
stop_libusb
cmp /tmp/in /tmp/out1
cmp /tmp/in /tmp/out2

# A Bulk-Only command that is not answered in time: reset recovery, and the stick works again. (Not of UAS: QEMU ends
# when a transfer of its UAS device is taken back.)
throttle()
{
	qmp '{"execute": "block_set_io_throttle", "arguments": {"device": "d2", "bps": '$1', "bps_rd": 0, "bps_wr": 0,
		"iops": 0, "iops_rd": 0, "iops_wr": 0}}'
}

timeout=1
start_libusb
throttle 200000
! pcidctl disk read libusb1 --output /dev/null --bytes 4M || fail "nothing was too slow"
throttle 0
grep "reset recovery" /tmp/libusb1.log
pcidctl disk read libusb1 --output /tmp/out --offset 14M --bytes 9M
cmp /tmp/in /tmp/out

# Unplugged while nothing is under way: usbscsid and its disk go.
for id in stick uas; do
	qmp '{"execute": "device_del", "arguments": {"id": "'$id'"}}'
done
for pid in $by_libusb_pids; do
	wait $pid || fail "usbscsid ended with exit status $? when its device was unplugged"
done
by_libusb_pids=
for port in 1 2; do
	grep "the device is gone" /tmp/libusb$port.log
	! pcidctl disk info libusb$port || fail "libusb$port is still there"
done
