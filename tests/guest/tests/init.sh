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
/etc/init.d/pcid stop
cat $log

# one disk, then by reload another
echo 'driver "nvmed" { class = 1 subclass = 8 command = "nvmed" service = "nvme" }' >/etc/pcid.d/10-drivers.conf
echo 'vfio { take = {"0000:00:02.0"} }' >/etc/pcid.d/20-take.conf
/etc/init.d/pcid start
pcidctl disks | grep nvme0n1 || fail "start returned before the disk was there"
/etc/init.d/pcid status
[ "$(driver_of 0000:00:03.0)" = nvme ]
echo 'vfio { take = {"0000:00:03.0"} }' >/etc/pcid.d/30-more.conf
/etc/init.d/pcid reload
second_disk()
{
	pcidctl disks | grep disk1
}
await second_disk
/etc/init.d/pcid stop
[ "$(driver_of 0000:00:02.0)" = nvme ] || fail "not given back"
[ "$(driver_of 0000:00:03.0)" = nvme ] || fail "not given back"
/etc/init.d/pcid status && fail "it runs"
rm /etc/pcid.d/30-more.conf

# a bad file among good ones, and a driver that dies
echo 'driver "nvmed" {' >/etc/pcid.d/40-bad.conf
sed -i 's|command = "nvmed"|command = "/bin/false"|' /etc/pcid.d/10-drivers.conf
: >$log
/etc/init.d/pcid start
grep '40-bad.conf' $log || fail "nothing was said about the bad file"
grep 'exit status 1' $log || fail "nothing was said about the driver"
pcidctl drivers
/etc/init.d/pcid stop
[ ! -e /run/pcid.pid ]
[ "$(driver_of 0000:00:02.0)" = nvme ] || fail "not given back"
rm -r /etc/pcid.d $log
