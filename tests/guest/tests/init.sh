# SPDX-License-Identifier: MIT
# pcid from init: the sysvinit script starts it and returns when the disk is there; reload; stop. A boot comes up in any
# case: without hardware, with a bad configuration, with a dead driver.
. /tests/lib.sh
modprobe nvme
await has_disk 0000:00:02.0
await has_disk 0000:00:03.0
unset PCID_RUNTIME_DIR
rm -rf /etc/pcid.d
mkdir -p /etc/pcid.d /var/log
log=/var/log/pcid.log
rm -f $log

# no hardware: nothing is named
/etc/init.d/pcid start
pcidctl list
grep 'no function is driven' $log || fail "nothing was said about there being none"
/etc/init.d/pcid stop
cat $log
: >$log

# one disk, then by reload another
echo 'driver "nvmed" { class = 1 subclass = 8 command = "nvmed" service = "nvme" }' >/etc/pcid.d/10-drivers.conf
echo 'vfio { take = {"0000:00:02.0"} }' >/etc/pcid.d/20-take.conf
/etc/init.d/pcid start
there_or_told nvme0n1 $log
/etc/init.d/pcid status
[ "$(driver_of 0000:00:03.0)" = nvme ]
echo 'vfio { take = {"0000:00:03.0"} }' >/etc/pcid.d/30-more.conf
/etc/init.d/pcid reload
await pcidctl disk info nvme1n1
/etc/init.d/pcid stop
is_as_before 0000:00:02.0 nvme
is_as_before 0000:00:03.0 nvme
/etc/init.d/pcid status && fail "it runs"

# a pidfile that was left behind: its number is nobody's, somebody else's (this shell's), or none
sh -c 'echo $$' >/tmp/dead
for stale in "$(cat /tmp/dead)" $$ "" "0 garbage"; do
	echo "$stale" >/run/pcid.pid
	/etc/init.d/pcid status && fail "'$stale' passes for pcid"
	/etc/init.d/pcid reload && fail "'$stale' was told to reload"
	/etc/init.d/pcid stop || fail "there is nothing to stop, and that failed"
done
/etc/init.d/pcid start
[ "$(cat /run/pcid.pid)" = "$(pidof pcid)" ] || fail "the pidfile is old still"
await pcidctl disk info nvme0n1
/etc/init.d/pcid stop
is_as_before 0000:00:02.0 nvme
rm /etc/pcid.d/30-more.conf

# a bad file among good ones, and a driver that dies
echo 'driver "nvmed" {' >/etc/pcid.d/40-bad.conf
sed -i 's|command = "nvmed"|command = "/bin/false"|' /etc/pcid.d/10-drivers.conf
: >$log
/etc/init.d/pcid start
grep '40-bad.conf' $log || fail "nothing was said about the bad file"
await grep 'exit status 1' $log
pcidctl drivers
/etc/init.d/pcid stop
[ ! -e /run/pcid.pid ]
is_as_before 0000:00:02.0 nvme
rm -r /etc/pcid.d $log
