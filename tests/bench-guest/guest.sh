# SPDX-License-Identifier: MIT
# In the guest, in the place of a test: measure, and say what came out on the second serial port, each line marked.
. /tests/lib.sh
modprobe nvme
await has_disk 0000:00:02.0
take 0000:00:03.0
start_pcid >/dev/null
await test -S /run/pcid/disk/nvme0n1
mount -t tracefs none /sys/kernel/tracing 2>/dev/null || true
args=$(sed -n 's/.*bench\.args=\([^ ]*\).*/\1/p' /proc/cmdline | tr , ' ')
status=0
set -f
/tests/bench-guest --json /tmp/bench.json $args >/tmp/table 2>&1 || status=$?
sed 's/^/table /' /tmp/table >/dev/ttyS1
[ ! -e /tmp/bench.json ] || { sed 's/^/json /' /tmp/bench.json; echo; } >/dev/ttyS1
stop_pcid
exit $status
