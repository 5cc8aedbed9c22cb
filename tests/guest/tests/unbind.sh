# SPDX-License-Identifier: MIT
# Somebody takes a function away by sysfs, under load: VFIO's request interrupt, the driver stops, its client is told, the
# unbind goes through, and what is beside it goes on. Given to vfio-pci again, it is driven again.
. /tests/lib.sh
modprobe nvme
await has_disk 0000:00:02.0
await has_disk 0000:00:03.0
take 0000:00:02.0 0000:00:03.0
start_pcid
load nvme0n1
load_until_error nvme1n1
echo 0000:00:03.0 >/sys/bus/pci/drivers/vfio-pci/unbind
[ "$(driver_of 0000:00:03.0)" = none ]
wait $victim || true
cat /tmp/victim
grep '0000:00:03.0: is to be removed' /tmp/pcid.log
load_went_on
echo 0000:00:03.0 >/sys/bus/pci/drivers/vfio-pci/bind
await pcidctl disk read nvme1n1 --output /dev/null --bytes 4M
load_went_on
stop_pcid
is_as_before 0000:00:02.0 nvme
is_as_before 0000:00:03.0 nvme
