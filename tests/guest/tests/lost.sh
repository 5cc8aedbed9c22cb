# SPDX-License-Identifier: MIT
# Functions come and go while the kernel has no room to tell pcid of it: once pcid listens again it finds them all.
. /tests/lib.sh
modprobe nvme
await has_disk 0000:00:02.0
edu=0000:00:05.0 e1000=0000:00:08.0
take 0000:00:02.0 $edu
use_nvmed
cat >>$conf <<END
driver "edu" {
	vendor = 0x1234
	device = 0x11e8
	command = "/tests/probe"
}
END
echo 1 >/sys/bus/pci/devices/$edu/remove
start_pcid
load nvme0n1
[ "$(/tests/deafen $pcid_pid)" -eq 1 ] || fail "pcid has not one netlink socket"

# what stands first in the socket is older than what is lost
while_pcid_is_deaf()
{
	kill -STOP $pcid_pid
	for i in $(seq 100); do
		echo change >/sys/bus/pci/devices/0000:00:02.0/uevent
	done
	"$@"
	: >/tmp/pcid.log
	kill -CONT $pcid_pid
	await grep 'events were lost: looking at all functions again' /tmp/pcid.log
}
edu_comes_and_another_goes()
{
	echo 1 >/sys/bus/pci/devices/$e1000/remove
	echo 1 >/sys/bus/pci/rescan
	echo 1 >/sys/bus/pci/devices/$e1000/remove
}
while_pcid_is_deaf edu_comes_and_another_goes
await grep "$edu: arrived" /tmp/pcid.log
await grep "$e1000: gone" /tmp/pcid.log
await grep 'all done' /tmp/pcid.log
pcidctl list
pcidctl list | grep $e1000 && fail "it is listed still"

# another one where it was is not the one that it was
replaced()
{
	echo 1 >/sys/bus/pci/rescan
}
while_pcid_is_deaf replaced
await grep "$e1000: arrived" /tmp/pcid.log
replaced()
{
	echo 1 >/sys/bus/pci/devices/$e1000/remove
	echo 1 >/sys/bus/pci/rescan
}
while_pcid_is_deaf replaced
await grep "$e1000: gone" /tmp/pcid.log
await grep "$e1000: arrived" /tmp/pcid.log
grep "0000:00:02.0: \(gone\|arrived\)" /tmp/pcid.log && fail "nothing has happened to it"
load_went_on
stop_pcid
is_as_before 0000:00:02.0 nvme
