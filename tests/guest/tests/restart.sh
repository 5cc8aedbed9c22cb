# SPDX-License-Identifier: MIT
# A driver that is killed under load comes back after a reset of its function; so does pcid, and it still knows what to
# give back.
. /tests/lib.sh
modprobe nvme
await has_disk 0000:00:02.0
take 0000:00:02.0
start_pcid
await pcidctl disk info nvme0n1
driver_pid()
{
	pcidctl drivers --json | tr ',{' '\n\n' | sed -n 's/.*"pid": *\([0-9][0-9]*\).*/\1/p' | head -1
}
old=$(driver_pid)
pcidctl disk read nvme0n1 --output /dev/null &
reader=$!
usleep 200000
kill -9 $old
wait $reader && echo "the reader was done before" || echo "the reader was told"
new_driver()
{
	new=$(driver_pid)
	[ -n "$new" ] && [ "$new" != "$old" ] && pcidctl disk info nvme0n1
}
await new_driver
echo "driver $old, then $new"
grep 'it is started again' /tmp/pcid.log
pcidctl disk read nvme0n1 --output /dev/null --bytes 8M

# pcid dies under load: its drivers die with it, its clients are told, the function can reach no memory any more and stays
# vfio-pci's, and a successor has it at once
is_master 0000:00:02.0 || fail "bus mastering is off while it is driven?"
load_until_error nvme0n1
kill -9 $pcid_pid
wait $pcid_pid || true
await test ! -e /proc/$new
wait $victim || true
cat /tmp/victim
[ "$(driver_of 0000:00:02.0)" = vfio-pci ]
! is_master 0000:00:02.0 || fail "it may access memory still"
start_pcid
await pcidctl disk info nvme0n1
pcidctl disk read nvme0n1 --output /dev/null --bytes 8M
stop_pcid
is_as_before 0000:00:02.0 nvme
