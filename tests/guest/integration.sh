#!/bin/sh
# SPDX-License-Identifier: MIT
# The tests of tests/qemu, unchanged, on the VFIO bus of a guest that has the devices that each of them asks for.
#
# Such a test makes its disks' images, and starts pcid with QEMU's device arguments. Here it is first started with a pcid
# that only writes down both. A guest with those devices is booted, and the test is run there, where the command pcid
# (guest-pcid) leaves the arguments out, names the functions in the configuration, and execs the real one on the VFIO
# bus. The images reach the guest's tests over 9p.
#
# usage: integration.sh [TEST...]      default: all of tests/qemu/test_*.c. Variables: those of run.sh
set -eu
cd "$(dirname "$0")/../.."
B=${B:-build}
tests=${*:-$(cd tests/qemu && ls -- test_*.c | sed 's/\.c$//')}
status=0

# VFIO pins what is mapped, and the quota is half of the memory: hence 4 GiB.
# What the test wants: its images in $share, QEMU's arguments in $share/args, one on a line.
record()
{
	rm -rf "$share"
	mkdir -p "$share/bin"
	cat >"$share/bin/pcid" <<-'END'
	#!/bin/sh
	share=$(dirname "$(dirname "$0")")
	while [ "$1" != -- ]; do
		[ "$1" != --runtime-dir ] || dir=$(dirname "$2")
		shift
	done
	shift
	cp "$dir"/*.img "$share/"
	for arg in "$@"; do
		echo "$arg"
	done | sed "s|$dir/|$share/|g" >"$share/args"
	exit 1
	END
	chmod +x "$share/bin/pcid"
	PCID_BIN_DIR=$share/bin timeout 100 "$B/tests/$1" >"$share/record.log" 2>&1 || true
	[ -s "$share/args" ] || { echo "$1: it did not start pcid:"; cat "$share/record.log"; return 1; }
}

for test in $tests; do
	share=$(pwd)/$B/guest/share
	record "$test" || { status=1; continue; }
	GUEST_MIB=4096 GUEST_SHARE=$share GUEST_NAME=$test tests/guest/run.sh integration || status=1
done
exit $status
