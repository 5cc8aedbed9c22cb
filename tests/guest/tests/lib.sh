# SPDX-License-Identifier: MIT
# For the tests in the guest: pcid with a configuration of their own.
modprobe vfio-pci
modprobe vfio_iommu_type1
export PCID_RUNTIME_DIR=/run/pcid
conf=/tmp/pcid.conf
rm -f $conf

# A test that fails leaves no pcid to the next.
pcid_pid=
leave()
{
	[ -z "$pcid_pid" ] || { kill $pcid_pid && wait $pcid_pid; tail -n 40 /tmp/pcid.log; }
}
trap leave EXIT

fail()
{
	echo "FAILED: $*"
	exit 1
}

# Functions that pcid may take from the kernel; once in a test.
take()
{
	echo "vfio { take = {$(echo "$*" | sed 's/[^ ]*/"&"/g; s/ /, /g')} }" >>$conf
}

use_nvmed()
{
	cat >>$conf <<-END
	driver "nvmed" {
		class = 1
		subclass = 8
		command = "/suite/nvmed"
		service = "nvme"
	}
	END
}

# Until the command succeeds, for at most ten seconds.
await()
{
	tries=0
	until "$@" >/dev/null 2>&1; do
		tries=$((tries + 1))
		[ $tries -lt 100 ] || fail "never true: $*"
		usleep 100000
	done
}

# Returns when pcid is ready. Its messages are in /tmp/pcid.log, and on the console.
start_pcid()
{
	grep -q ^driver $conf 2>/dev/null || use_nvmed
	rm -f /tmp/ready
	mkfifo /tmp/ready
	pcid --bus vfio --config $conf --ready-fd 3 -v "$@" 3>/tmp/ready >/tmp/pcid.log 2>&1 &
	pcid_pid=$!
	read -r line </tmp/ready || true
	cat /tmp/pcid.log
	kill -0 $pcid_pid || fail "pcid did not start"
}

stop_pcid()
{
	kill $pcid_pid
	wait $pcid_pid || fail "pcid ended with exit status $?"
	pcid_pid=
	cat /tmp/pcid.log
	! grep -q 'Sanitizer\|runtime error:' /tmp/pcid.log || fail "a sanitizer has found something"
}

# The kernel's name for an NVMe controller's first disk: which number it has is a matter of chance.
disk_of()
{
	basename "$(ls -d /sys/bus/pci/devices/$1/nvme/nvme*/nvme*n1)"
}

has_disk()
{
	test -b "/dev/$(disk_of "$1")"
}

driver_of()
{
	basename "$(readlink /sys/bus/pci/devices/$1/driver || echo none)"
}
