#!/bin/sh
# SPDX-License-Identifier: MIT
# Everything that is tested in a guest; the last line is "guest: N passed, N failed".
# usage: check.sh [TEST...]: only these of tests/guest/tests. Variables: those of run.sh, and KERNELS="6.1 6.12"
set -u
cd "$(dirname "$0")/../.."
B=${B:-build}
mkdir -p "$B/guest"
log=$B/guest/check.log

# The tests of the QEMU bus and systemd are the same for every kernel: on the older one.
{
	KERNELS=${KERNELS:-6.1 6.12} tests/guest/run.sh "$@"
	[ $# -gt 0 ] || KERNELS=6.1 tests/guest/integration.sh
	[ $# -gt 0 ] || KERNELS=6.1 tests/guest/systemd.sh
} 2>&1 | tee "$log"
passed=$(grep -c '^guest [0-9.]*: [a-z_]*: passed' "$log")
failed=$(grep -c '^guest [0-9.]*: [a-z_]*: \(FAILED\|NOT RUN\)\|it did not start pcid' "$log")
echo "guest: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
