# SPDX-License-Identifier: MIT
# A driver whose device writes and reads outside of its pools: into memory of another process, round its own pools, and at the
# ends of the address space. Nothing is changed or read there, pcid tells of it, and the disk beside it goes on.
. /tests/lib.sh
edu=0000:00:05.0
mkfifo /tmp/victim.in /tmp/victim.out
/tests/victim hold </tmp/victim.in >/tmp/victim.out &
exec 7>/tmp/victim.in 8</tmp/victim.out
read -r address <&8
[ $((address)) -ne 0 ] || fail "no physical address"
page_is()
{
	echo >&7
	read -r state <&8
	[ "$state" = "$1" ] || fail "the other process's memory is $state"
}

# The control: where the kernel lets the device reach all memory, it reaches this page, too.
page_is intact
type=/sys/kernel/iommu_groups/$(basename "$(readlink /sys/bus/pci/devices/$edu/iommu_group)")/type
before=$(cat $type)
echo identity >$type
/tests/victim strike $edu $address
page_is changed
echo "$before" >$type
page_is intact

take $edu 0000:00:02.0
use_nvmed
cat >>$conf <<END
driver "edu" {
	vendor = 0x1234
	device = 0x11e8
	command = "/tests/probe"
	args = {"$address"}
}
END
rm -f /tmp/go
start_pcid
await pcidctl disk info nvme0n1
dd if=/dev/urandom of=/tmp/data bs=1M count=4 2>/dev/null
pcidctl disk write nvme0n1 --input /tmp/data --flush
load nvme0n1
pcidctl restart $edu # from now on beside the load
strays_done()
{
	[ "$(grep -c 'all done' /tmp/pcid.log)" -eq 2 ]
}
await strays_done
load_went_on
page_is intact
pcidctl disk read nvme0n1 --output /tmp/read --bytes 4M
cmp /tmp/data /tmp/read || fail "the disk's data are others"
told()
{
	await grep -q "edu $edu: the IOMMU refused a $1 at IOVA $2" /tmp/pcid.log
}
told write "$address:"
told read "$address:"
told write 0: # of those that follow the kernel keeps some to itself: it tells of about three in five seconds
stop_pcid
exec 7>&-
grep ' not ok ' /tmp/pcid.log && fail "see above"
for fact in 'nothing of foreign memory is read' 'it works on after stray writes'; do
	[ "$(grep -c ": ok DMA: $fact" /tmp/pcid.log)" -eq 2 ] || fail "not twice: $fact"
done
