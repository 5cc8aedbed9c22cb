# SPDX-License-Identifier: MIT
# Interrupts of all kinds, DMA, and DMA that goes astray, by a driver made for it on simple devices.
. /tests/lib.sh
take 1234:11e8 8086:100e 0000:00:02.0
use_nvmed
cat >>$conf <<END
driver "edu" {
	vendor = 0x1234
	device = 0x11e8
	command = "/tests/probe"
}
driver "e1000" {
	vendor = 0x8086
	device = 0x100e
	command = "/tests/probe"
}
END
start_pcid
both_done()
{
	[ "$(grep -c 'all done' /tmp/pcid.log)" -eq 2 ]
}
await both_done
pcidctl irq
await pcidctl disk info nvme0n1
pcidctl disk read nvme0n1 --output /dev/null --bytes 4M
await grep -q 'edu 0000:00:05.0: the IOMMU refused a write at IOVA 0x8000000' /tmp/pcid.log
stop_pcid
dmesg | grep 'DMAR:' | tail -6
grep ' not ok ' /tmp/pcid.log && fail "see above"
[ "$(grep -c ': ok ' /tmp/pcid.log)" -eq 17 ] || fail "$(grep -c ": ok " /tmp/pcid.log) facts, not 17"
