# SPDX-License-Identifier: MIT
# Somebody takes a function away by sysfs, under load: VFIO's request interrupt, the driver stops, its client is told, the
# unbind goes through, and what is beside it goes on. Given to the kernel's driver it is left there; given to vfio-pci again,
# it is driven again.
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

# given to the kernel's driver by hand it stays there, although the configuration names it: events come in order, so that
# once vfio-pci has it again, pcid has seen both
echo >/sys/bus/pci/devices/0000:00:03.0/driver_override
echo 0000:00:03.0 >/sys/bus/pci/drivers/nvme/bind
await has_disk 0000:00:03.0
echo vfio-pci >/sys/bus/pci/devices/0000:00:03.0/driver_override
echo 0000:00:03.0 >/sys/bus/pci/drivers/nvme/unbind || fail "pcid took it at once"
echo 0000:00:03.0 >/sys/bus/pci/drivers/vfio-pci/bind
await pcidctl disk read nvme1n1 --output /dev/null --bytes 4M
[ "$(grep -c '0000:00:03.0: arrived' /tmp/pcid.log)" -eq 1 ] || fail "it arrived more than once"
load_went_on
stop_pcid
is_as_before 0000:00:02.0 nvme
is_as_before 0000:00:03.0 nvme
