#!/bin/sh
# SPDX-License-Identifier: MIT
# Check the models of the wake-up protocol with spin, whole and with each of their parts taken out.
# The last line is "model: N passed, N failed".
set -u
cd "$(dirname "$0")/../.." || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT INT TERM
passed=0
failed=0

# model name expected-errors(0|some) flags...
check()
{
	model=$1.pml name=$2 expected=$3
	shift 3
	cp "tests/model/$model" "$work"
	if ! (cd "$work" && spin "$@" -a "$model" && gcc -O2 -DSAFETY -o pan pan.c) >"$work/build" 2>&1; then
		echo "$name: spin or its compiler failed:"
		cat "$work/build"
		failed=$((failed + 1))
		return
	fi
	(cd "$work" && ./pan) >"$work/out" 2>&1
	errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' "$work/out")
	complete=yes
	grep -q 'Search not completed\|max search depth too small' "$work/out" && [ "$expected" = 0 ] && complete=no
	case $expected-${errors:-none}-$complete in
	0-0-yes | some-[1-9]*)
		passed=$((passed + 1))
		echo "$name: errors: $errors, as it must be"
		;;
	*)
		failed=$((failed + 1))
		echo "$name: errors: ${errors:-none}, expected $expected; search complete: $complete"
		cat "$work/out"
		;;
	esac
}

check wakeup "the protocol" 0
check wakeup "without the waker's fence" some -DNO_WAKER_FENCE
check wakeup "without the sleeper's fence" some -DNO_SLEEPER_FENCE
check wakeup "without the last look" some -DNO_LAST_LOOK
check wakeup "with a plain store for the exchange" some -DPLAIN_CLEAR
check space "space" 0
check space "space in a longer queue" 0 -DE=4 -DM=7
check space "space in the SQ is never looked for" some -DNEVER_SQ
check space "space in the SQ is looked for too seldom" some -DTOO_SELDOM
check space "space in the SQ is looked for when it was full" some -DONLY_FULL
check space "space in the CQ is never looked for" some -DNEVER_CQ
echo "model: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
