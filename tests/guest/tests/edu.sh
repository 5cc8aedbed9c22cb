# SPDX-License-Identifier: MIT
# The example driver and its client, as they stand, on VFIO: an edu that is plugged in, whose DMA reaches 28 bits, and whose
# MSI has no mask bits. Pools lie where it reaches them, also when the addresses there have been used before.
. /tests/lib.sh
edu=0000:02:00.0
take $edu
cat /tests/edud.conf >>$conf
start_pcid --driver-dir /tests
qmp '{"execute": "device_add", "arguments": {"driver": "edu", "id": "narrow", "bus": "port0"}}'
serves()
{
	pcidctl drivers | grep "$edu .*calc/edu0"
}
await serves
pcidctl show $edu | grep 'DMA  *28 bits'
is()
{
	said=$(/tests/educlient $1 "$2")
	[ "$said" = "$3" ] || fail "$1, $2: $said"
}
is 5 hello "120
hello"
is 12 "there and back again" "479001600
there and back again"

! /tests/educlient 13 || fail "13! has more than 31 bits"
await grep -q '13!, at most 12!' /tmp/pcid.log # before many other messages: then it might be one too many
for i in $(seq 130); do # pools of 2 MiB each, and 256 MiB of addresses
	! /tests/educlient 1 "" 2>/dev/null || fail "no bytes were copied"
done
is 3 "round the addresses" "6
round the addresses"
await grep -q '0 bytes, not 1 to 2048' /tmp/pcid.log

# 3 and 130 factorials, and 3 times DMA there and back
pcidctl irq
pcidctl irq --json | tr -d ' \n' | grep '"kind":"msi".*"masks":139,"unmasks":139'
! grep 'the IOMMU refused' /tmp/pcid.log || fail "its DMA went astray"

pcidctl restart $edu
is 4 again "24
again"
qmp '{"execute": "device_del", "arguments": {"id": "narrow"}}'
await grep -q "$edu: gone" /tmp/pcid.log
! /tests/educlient 5 || fail "there is no edu any more"
stop_pcid
