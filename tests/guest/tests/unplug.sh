# SPDX-License-Identifier: MIT
# The kernel wants a function back: VFIO's request interrupt, the driver stops, the unbind goes through. The function is
# removed, and found again.
. /tests/lib.sh
take 0000:00:02.0
start_pcid
await pcidctl disk info nvme0n1
pcidctl disk read nvme0n1 --output /dev/null --bytes 4M
echo 1 >/sys/bus/pci/devices/0000:00:02.0/remove
await grep -q '0000:00:02.0: gone' /tmp/pcid.log
pcidctl list | grep 0000:00:02.0 && fail "it is listed still"
grep '0000:00:02.0: is to be removed' /tmp/pcid.log
echo 1 >/sys/bus/pci/rescan
await grep -q '0000:00:02.0: arrived' /tmp/pcid.log
await pcidctl disk read nvme0n1 --output /dev/null --bytes 4M
stop_pcid
