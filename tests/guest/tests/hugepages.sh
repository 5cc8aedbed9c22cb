# SPDX-License-Identifier: MIT
# A pool of huge pages, pinned and mapped for the device as any other.
. /tests/lib.sh
take 0000:00:02.0
start_pcid
await pcidctl disk info nvme0n1
for when in advise never; do
	echo $when >/sys/kernel/mm/transparent_hugepage/shmem_enabled
	/tests/huge nvme0n1 >/tmp/facts 2>&1 || true
	cat /tmp/facts
	[ "$(grep -c '^ok\|^not ok' /tmp/facts)" -eq 8 ]
	# the same without them, so that what the first round saw is not always there
	[ "$(grep -c '^not ok' /tmp/facts)" -eq "$([ $when = never ] && echo 2 || echo 0)" ] || fail "see above"
done
pcidctl stats
stop_pcid
