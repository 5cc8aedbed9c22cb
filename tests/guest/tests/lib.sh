# SPDX-License-Identifier: MIT
# For the tests in the guest: pcid with a configuration of their own.
modprobe vfio-pci
modprobe vfio_iommu_type1
export PCID_RUNTIME_DIR=/run/pcid
conf=/tmp/pcid.conf
rm -f $conf

# A test that fails leaves no pcid to the next.
pcid_pid=
load_pid=
leave()
{
	end_load
	[ -z "$pcid_pid" ] || { kill $pcid_pid && wait $pcid_pid; tail -n 40 /tmp/pcid.log; }
}
trap leave EXIT

# Files that the host has too, in /share.
share()
{
	! grep -q ' /share ' /proc/mounts || return 0
	modprobe -a virtio_pci 9pnet_virtio 9p
	mkdir -p /share
	mount -t 9p -o trans=virtio,version=9p2000.L,cache=none,msize=262144 share /share
}

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

# Until the command succeeds, for at most a minute: the host may be busy.
await()
{
	tries=0
	until "$@" >/dev/null 2>&1; do
		tries=$((tries + 1))
		[ $tries -lt 600 ] || fail "never true: $*"
		usleep 100000
	done
}

# Returns when pcid is ready, which on a busy host may be before the disks are there: who needs one awaits it. Its messages are in /tmp/pcid.log, and on the console.
# usage: [launcher=PROGRAM] start_pcid [OPTION...]
start_pcid()
{
	grep -q ^driver $conf 2>/dev/null || use_nvmed
	rm -f /tmp/ready /tmp/pcid.log
	mkfifo /tmp/ready
	${launcher:-} pcid --bus vfio --config $conf --ready-fd 3 -v "$@" 3>/tmp/ready >>/tmp/pcid.log 2>&1 &
	pcid_pid=$!
	read -r line </tmp/ready || true
	cat /tmp/pcid.log
	kill -0 $pcid_pid || fail "pcid did not start"
}

# Once pcid is ready: the disk is there, or the log says that pcid waited for it no longer (5 s, which a busy host can take
# for itself), and then it comes. usage: there_or_told DISK LOG
there_or_told()
{
	pcidctl disks | grep -q "$1" || grep 'serves nothing yet' "$2" || fail "ready, and $1 is neither there nor late"
	await pcidctl disk info "$1"
}

stop_pcid()
{
	end_load
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

# Given back to this driver, with nothing of pcid's left on it.
is_as_before()
{
	[ "$(driver_of $1)" = "$2" ] || fail "$1 was not given back to $2 but to $(driver_of $1)"
	override=$(cat /sys/bus/pci/devices/$1/driver_override)
	[ "$override" = "(null)" ] || fail "the driver_override of $1 is $override still"
}

# Bus mastering: whether the function may access memory.
is_master()
{
	[ $(($(od -An -tu1 -j4 -N1 /sys/bus/pci/devices/$1/config) & 4)) -ne 0 ]
}

# ---- load ----

# Read a disk over and over in the background; a line in /tmp/load for each time.
load()
{
	end_load
	rm -f /tmp/load
	await pcidctl disk info $1
	while pcidctl disk read $1 --output /dev/null --bytes 8M 2>/tmp/load.last; do
		echo >>/tmp/load
	done &
	load_pid=$!
	await test -s /tmp/load
}

end_load()
{
	[ -n "$load_pid" ] || return 0
	kill $load_pid 2>/dev/null || true
	wait $load_pid || true
	load_pid=
}

more_load()
{
	[ "$(wc -l </tmp/load)" -gt "$loads" ]
}

# Without an error, from now on as before.
load_went_on()
{
	loads=$(($(wc -l </tmp/load) + 1))
	await more_load
	kill -0 $load_pid || fail "the load beside it ended: $(cat /tmp/load.last)"
}

# The same until it fails; what it said is in /tmp/victim then.
load_until_error()
{
	rm -f /tmp/victim.times
	await pcidctl disk info $1
	while pcidctl disk read $1 --output /dev/null --bytes 8M; do
		echo >>/tmp/victim.times
	done >/tmp/victim 2>&1 &
	victim=$!
	await test -s /tmp/victim.times
}

# ---- the machine ----

# What the monitor says until it has answered a query of that name; asked again each 5 s, for what stood in the port, or
# came while nobody had it open, may have taken the query or the answer along. usage: qmp_until NAME [PREFIX]
qmp_until()
{
	while :; do
		printf "${2:-}"'{"execute": "query-version", "id": "%s"}\n' "$1" >&9
		while read -r -t 5 answer <&9; do
			case $answer in
			*"\"$1\""*) return ;;
			*CommandNotFound*) ;; # qmp_capabilities, the second time
			*'"error"'*) [ "$1" = first ] || fail "$answer" ;;
			esac
		done
	done
}

# A command to the monitor of the QEMU that this guest runs on; a failure is one here.
qmp()
{
	stty -F /dev/ttyS2 raw -echo
	exec 9<>/dev/ttyS2
	# 0xff has its parser forget what it has, which may be what the port echoed of its greeting before it was raw.
	qmp_until first '\377'
	echo '{"execute": "qmp_capabilities"}' >&9
	echo "$1" | tr -d '\n\t' >&9
	qmp_until last
	exec 9>&-
}
