#!/bin/sh
# SPDX-License-Identifier: MIT
# Build and run every test, plain and under sanitizers. One line per suite; the last line is "N passed, N failed".
# Environment: B (build directory), VARIANTS ("plain asan tsan"), ONLY (a shell pattern of test names), TEST_TIMEOUT (s),
# GUEST=no (leaves out the Linux guests, which take some twenty minutes), GUEST_TESTS (only these of them).
set -u

cd "$(dirname "$0")/.." || exit 1
B=${B:-build}
MAKE=${MAKE:-make}
VARIANTS=${VARIANTS-plain asan tsan}
ONLY=${ONLY:-*}
TEST_TIMEOUT=${TEST_TIMEOUT:-900}
sanitizers=-fsanitize=address,undefined
# Under ThreadSanitizer: the library, and the daemons' parts; docs/testing.md says what it cannot see, and what is left out.
tsan_tests="abi block block_commands block_life hostile loop loop_files nvmed nvmed_io nvmed_irq nvmed_pairs order
	pci_client pcid_core pcid_irq pcid_services replay replay_disk ring ring_attach ring_processes scheme
	scheme_ends scheme_pools supervisor task threads users"
logs=$B/log
passed=0
failed=0
failures=

export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1:detect_stack_use_after_return=0}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}"

rm -rf "$logs"
mkdir -p "$logs"

jobs_option()
{
	case ${MAKEFLAGS:-} in
	*jobserver*|*-j*) ;;
	*) echo "-j$(nproc 2>/dev/null || echo 1)" ;;
	esac
}

# name passed failed log: count a suite, print its line, and its log's end when it failed
suite()
{
	passed=$((passed + $2))
	failed=$((failed + $3))
	echo "$1: $2 passed, $3 failed"
	[ "$3" -eq 0 ] && return
	failures="$failures$1: $3 failed, see $4
"
	echo "--- $4 (its end):"
	tail -n 40 "$4"
	echo "---"
}

build()
{
	variant=$1 dir=$2 flags=$3 targets=$4
	$MAKE --no-print-directory $(jobs_option) B="$dir" SAN="$flags" $targets >"$logs/build-$variant.log" 2>&1
}

# Print "passed failed" from CUnit's summary. Failed assertions outside of tests count too.
read_summary()
{
	awk '$1 == "suites" {suites = $5} $1 == "tests" {ran = $3; ok = $4; bad = $5; seen = 1}
	     END {if (seen) print ok + 0, bad + suites; else print 0, 1}' "$1"
}

run_test()
{
	variant=$1 program=$2
	name=$(basename "$program")
	log=$logs/$variant-$name.log
	timeout -k 10 "$TEST_TIMEOUT" "$program" >"$log" 2>&1 </dev/null
	status=$?
	set -- $(read_summary "$log")
	ok=$1 bad=$2
	[ "$status" -ne 124 ] || echo "$name: ended after $TEST_TIMEOUT s" >>"$log"
	# A test that ends badly although its summary is good: a sanitizer's finding, a crash at the end.
	[ "$status" -eq 0 ] || [ "$bad" -ne 0 ] || { bad=1; echo "$name: exit status $status" >>"$log"; }
	suite "$variant $name" "$ok" "$bad" "$log"
}

run_variant()
{
	variant=$1 dir=$2 flags=$3 targets=$4
	shift 4
	if ! build "$variant" "$dir" "$flags" "$targets"; then
		suite "$variant build" 0 1 "$logs/build-$variant.log"
		return
	fi
	for name; do
		case $name in
		$ONLY) run_test "$variant" "$dir/tests/$name" ;;
		esac
	done
}

all=$(ls tests/unit/test_*.c tests/qemu/test_*.c | sed 's,.*/,,; s,\.c$,,')
some=$(for name in $tsan_tests; do echo "test_$name"; done)

for variant in $VARIANTS; do
	case $variant in
	plain) run_variant plain "$B" "" tests $all ;;
	asan) run_variant asan "$B/asan" "$sanitizers" tests $all ;;
	tsan)
		programs=$(for name in $some; do echo "$B/tsan/tests/$name"; done)
		run_variant tsan "$B/tsan" "-fsanitize=thread -Wno-tsan" "$programs" $some ;;
	*) echo "check.sh: no variant \"$variant\": plain, asan, tsan" >&2; exit 1 ;;
	esac
done
# A suite that is a script: its last line is "name: N passed, N failed". With a second argument: that variant of it.
run_script()
{
	name=$1 label=${2:+$2 }$1
	case $name in
	$ONLY) ;;
	*) return ;;
	esac
	log=$logs/${2:+$2-}$name.log
	sh "tests/$name/run.sh" >"$log" 2>&1
	set -- $(sed -n "s/^$name: \([0-9]*\) passed, \([0-9]*\) failed\$/\1 \2/p" "$log")
	suite "$label" "${1:-0}" "${2:-1}" "$log"
}

run_fuzz()
{
	case fuzz in
	$ONLY) ;;
	*) return ;;
	esac
	if $MAKE --no-print-directory $(jobs_option) B="$B" fuzzers >"$logs/build-fuzz.log" 2>&1; then
		B=$B run_script fuzz
	else
		suite fuzz 0 1 "$logs/build-fuzz.log"
	fi
}

# tests/guest/check.sh TEST... runs some of it.
run_guest()
{
	case guest in
	$ONLY) ;;
	*) return ;;
	esac
	[ "${GUEST:-}" != no ] || { echo "guest: left out (GUEST=no)"; return; }
	if ! build guest "$B" "" "tests guest"; then
		suite guest 0 1 "$logs/build-guest.log"
		return
	fi
	B=$B sh tests/guest/check.sh ${GUEST_TESTS:-} >"$logs/guest.log" 2>&1
	grep '^guest: .*\(left out\|cannot be had\)' "$logs/guest.log"
	set -- $(sed -n 's/^guest: \([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$logs/guest.log")
	suite guest "${1:-0}" "${2:-1}" "$logs/guest.log"
}

run_script abi
B=$B run_script examples
case " $VARIANTS " in
*" asan "*) B=$B/asan run_script examples asan ;;
esac
B=$B run_script probes
B=$B run_script man
B=$B run_script install
run_script model
run_fuzz
run_guest

printf %s "$failures"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
