#!/bin/sh
# SPDX-License-Identifier: MIT
# Everything that is tested in a guest; the last line is "guest: N passed, N failed".
# usage: check.sh [TEST...]: only these of tests/guest/tests, or of tests/qemu. Variables: those of run.sh, and
# KERNELS="6.1 6.12"
set -u
cd "$(dirname "$0")/../.."
B=${B:-build}
. tests/guest/alone.sh
alone "$B/guest/check.lock"
log=$B/guest/check.log
failures=$B/guest/failures
: >"$failures"

# Whoever fails says so, in case that it has not said what.
run()
{
	"$@" || echo "$*" >>"$failures"
}

# The newer kernel is one of backports, which not every archive has.
choose_kernels()
{
	[ -z "${KERNELS:-}" ] || { echo "$KERNELS"; return; }
	if sh tests/guest/kernel.sh 6.12 build/guest/kernel-6.12 >"$B/guest/kernel.log" 2>&1; then
		echo 6.1 6.12
	else
		echo 6.1
		echo "guest: kernel 6.12 cannot be had here, so 6.1 only:" "$(tail -n 1 "$B/guest/kernel.log")" >&2
	fi
}

# Of tests/guest/tests, what is about the kernel, and not about init or about what pcid says.
of_the_kernel()
{
	(cd tests/guest/tests && ls -- *.sh) | sed 's/\.sh$//' |
		grep -v -x "lib\|integration\|without_.*\|enumerate\|init\|initramfs\|readme\|supervised"
}

# All of it on the first kernel; on the others what depends on it: VFIO, the IOMMU, and of tests/qemu what the sandbox
# (seccomp, Landlock, io_uring's restrictions) and interrupts (VFIO's) are.
run_all()
{
	kernels=$(choose_kernels)
	for version in ${kernels#* }; do
		[ "$version" != "${kernels%% *}" ] || continue
		KERNELS=$version run tests/guest/run.sh $(of_the_kernel)
		KERNELS=$version run tests/guest/integration.sh test_irq test_sandbox
	done
	export KERNELS="${kernels%% *}"
	run tests/guest/run.sh
	GUEST_IOMMU= GUEST_NAME=without_iommu run tests/guest/run.sh without_iommu
	GUEST_IOMMU=off GUEST_NAME=without_remapping run tests/guest/run.sh without_remapping
	run tests/guest/integration.sh
	if [ "$(id -u)" -eq 0 ]; then
		run tests/guest/systemd.sh
	else
		echo "guest: systemd: left out: making a root file system takes root"
	fi
}

run_some()
{
	for test in "$@"; do
		case $test in
		test_*) run tests/guest/integration.sh "$test" ;;
		without_iommu) GUEST_IOMMU= GUEST_NAME=$test run tests/guest/run.sh "$test" ;;
		without_remapping) GUEST_IOMMU=off GUEST_NAME=$test run tests/guest/run.sh "$test" ;;
		systemd*) run tests/guest/systemd.sh "$test" ;;
		*) KERNELS=${KERNELS:-$(choose_kernels)} run tests/guest/run.sh "$test" ;;
		esac
	done
}

{
	if [ $# -gt 0 ]; then run_some "$@"; else run_all; fi
} 2>&1 | tee "$log"
passed=$(grep -c '^guest [0-9.]*: [a-z_]*: passed' "$log")
failed=$(grep -c '^guest [0-9.]*: [a-z_]*: \(FAILED\|NOT RUN\)' "$log")
[ "$failed" -gt 0 ] || failed=$(wc -l <"$failures")
if [ "$failed" -gt 0 ]; then # once more: what each of them printed stands between
	echo "guest: what failed:"
	grep '^guest [0-9.]*: [a-z_]*: \(FAILED\|NOT RUN\)' "$log" || cat "$failures"
fi
echo "guest: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
