# SPDX-License-Identifier: MIT
# What a driver has: a user of its own, no capabilities, no way to new ones, filtered system calls, no files, the registers
# without the MSI-X table's page, and not the device's fd, which would give it configuration space, interrupts and resets.
# That these locks bite shows tests/qemu/test_sandbox, which runs here, too.
. /tests/lib.sh
take 0000:00:02.0
start_pcid
await pcidctl disk info nvme0n1
pid=$(pcidctl drivers --json | tr ',{' '\n\n' | sed -n 's/.*"pid": *\([0-9][0-9]*\).*/\1/p' | head -1)
status=$(cat /proc/$pid/status)
echo "$status" | grep -E '^(Name|Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)'
has()
{
	echo "$status" | grep -qE "$1" || fail "not so: $1"
}
uid=$((0x70000000)) # of pcid.conf(5): the first driver's
has "^Uid:[[:space:]]+$uid[[:space:]]+$uid[[:space:]]+$uid[[:space:]]+$uid\$"
has "^Gid:[[:space:]]+$uid[[:space:]]+$uid[[:space:]]+$uid[[:space:]]+$uid\$"
has '^Groups:[[:space:]]*$'
has '^CapPrm:[[:space:]]+0+$'
has '^CapEff:[[:space:]]+0+$'
has '^CapInh:[[:space:]]+0+$'
has '^CapBnd:[[:space:]]+0+$'
has '^CapAmb:[[:space:]]+0+$'
has '^NoNewPrivs:[[:space:]]+1$'
has '^Seccomp:[[:space:]]+2$'
pcidctl drivers
pcidctl drivers | grep -q '  running  yes  ' || fail "a lock is missing"
for lock in user capabilities no_new_privs limits registers seccomp landlock io_uring hidden; do
	pcidctl drivers --json | grep -q "\"$lock\"" || fail "$lock does not hold"
done
ls -l /proc/$pid/fd
ls -l /proc/$pid/fd | grep -i vfio && fail "it holds VFIO's fd"
grep vfio /proc/$pid/maps || fail "the registers are not mapped"
# the table of QEMU's NVMe controller is at 0x2000 of its BAR 0, and the pending bits are at 0x3000; the kernel tells the
# address on the bus
read -r bar rest </sys/bus/pci/devices/0000:00:02.0/resource
grep vfio /proc/$pid/maps | while read -r range rights offset rest; do
	start=0x${range%-*} end=0x${range#*-}
	[ $((0x$offset - bar + end - start)) -le $((0x2000)) ] || fail "the MSI-X table is mapped: $range $offset"
done
stop_pcid
