#!/bin/sh
# SPDX-License-Identifier: MIT
# The tests of tests/qemu, unchanged, on the VFIO bus of a guest that has the devices that each of them asks for.
#
# Such a test makes its disks' images, and starts pcid with QEMU's device arguments. Here it is first started with a pcid
# that only writes down both. A guest with those devices is booted, one for all tests that want the same, and each test is
# run there, where the command pcid (guest-pcid) leaves the arguments out, names the functions in the configuration, and
# execs the real one on the VFIO bus. Where the test asks its QEMU (QMP), the QEMU that the guest runs on answers
# (qemu_outside). The images reach the guest's tests over 9p.
#
# What makes sense with a QEMU of pcid's only is left out by the tests themselves, which ask rig_on_vfio():
#   test_successor	QEMU is killed under load	here it is the machine
#   test_badpcid	QEMU refuses its arguments	the guest has no QEMU to start
#
# usage: integration.sh [TEST...]      default: all of tests/qemu/test_*.c. Variables: those of run.sh
set -eu
cd "$(dirname "$0")/../.."
B=${B:-build}
tests=${*:-$(cd tests/qemu && ls -- test_*.c | sed 's/\.c$//')}
recorded=$(pwd)/$B/guest/recorded
status=0
. tests/guest/alone.sh
alone "$recorded.lock"

# What the test wants: its images in $recorded/TEST, QEMU's arguments in $recorded/TEST/args, one on a line.
record()
{
	into=$recorded/$1
	mkdir -p "$into/bin"
	cat >"$into/bin/pcid" <<-'END'
	#!/bin/sh
	into=$(dirname "$(dirname "$0")")
	while [ "$1" != -- ]; do
		[ "$1" != --runtime-dir ] || dir=$(dirname "$2")
		shift
	done
	shift
	cp "$dir"/*.img "$into/"
	for arg in "$@"; do
		echo "$arg"
	done | sed "s|$dir/|SHARE/|g" >"$into/args"
	exit 1
	END
	chmod +x "$into/bin/pcid"
	PCID_BIN_DIR=$into/bin timeout 100 "$B/tests/$1" >"$into/record.log" 2>&1 || true
	[ -s "$into/args" ] || { echo "$1: it did not start pcid:"; cat "$into/record.log"; return 1; }
}

# One word for the arguments, and the images' sizes.
machine_of()
{
	(cd "$recorded/$1" && cat args && stat -c '%n %s' -- *.img) | cksum | cut -d ' ' -f 1
}

# VFIO pins what is mapped, and the quota is half of the memory: hence 4 GiB.
run_machine()
{
	share=$recorded/$1
	shift
	for test in "$@"; do
		mv "$recorded/$test" "$share/"
		cp "$share/$test"/*.img "$share/"
	done
	sed "s|SHARE/|$share/|g" "$share/$1/args" >"$share/args"
	LIMIT=700 BOOT_LIMIT=3000 GUEST_MIB=4096 GUEST_SHARE=$share GUEST_NAME=$1 GUEST_THREADS=multi \
		tests/guest/run.sh "$@"
}

rm -rf "$recorded"
mkdir -p "$recorded"
: >"$recorded/machines"
for test in $tests; do
	record "$test" && echo "$(machine_of "$test") $test" >>"$recorded/machines" || status=1
done
for machine in $(cut -d ' ' -f 1 "$recorded/machines" | sort -u); do
	mkdir "$recorded/$machine"
	run_machine "$machine" $(sed -n "s/^$machine //p" "$recorded/machines") || status=1
	rm -rf "${recorded:?}/$machine"
done
exit $status
