#!/bin/sh
# SPDX-License-Identifier: MIT
# Run the fuzz targets that `make fuzzers` built. The last line is "fuzz: N passed, N failed", one for each target.
# Without FUZZ_SECONDS: the corpus and FUZZ_RUNS inputs made from it, the same in every run. With it: so long each, with
# new inputs in every run; what they reach is kept in $B/fuzz-corpus.
# Environment: B, FUZZ_SECONDS, FUZZ_RUNS, FUZZ_ONLY (a shell pattern of target names without "fuzz_").
set -u

cd "$(dirname "$0")/../.." || exit 1
B=${B:-build}
MAKE=${MAKE:-make}
corpus=tests/fuzz/corpus
artifacts=$B/fuzz-artifacts
options="-timeout=25 -rss_limit_mb=1500 -max_len=2048 -print_final_stats=1 -verbosity=1"
passed=0
failed=0

export ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=0"
export UBSAN_OPTIONS="print_stacktrace=1"

run_target()
{
	name=$1
	log=$B/log/fuzz-$name.log
	mkdir -p "$artifacts" "$B/fuzz-corpus/$name" "$B/log"
	if [ -n "${FUZZ_SECONDS:-}" ]; then
		set -- "-max_total_time=$FUZZ_SECONDS" "$B/fuzz-corpus/$name" "$corpus/$name"
	else
		rm -rf "$B/fuzz-scratch" # what is found is not kept: the next run shall be the same
		mkdir -p "$B/fuzz-scratch"
		set -- -seed=1 "-runs=${FUZZ_RUNS:-10000}" -max_total_time=20 "$B/fuzz-scratch" "$corpus/$name"
	fi
	"$B/clang/fuzz/fuzz_$name" $options "-artifact_prefix=$artifacts/$name-" "$@" >"$log" 2>&1
	status=$?
	rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	if [ "$status" -eq 0 ]; then
		passed=$((passed + 1))
		echo "$name: ${runs:-?} inputs, ${rate:-?} a second"
	else
		failed=$((failed + 1))
		echo "$name: exit status $status; the input lies in $artifacts, its log's end:"
		tail -n 60 "$log"
	fi
}

for target in "$B"/clang/fuzz/fuzz_*; do
	name=${target##*/fuzz_}
	case $name in
	*.*) ;;
	${FUZZ_ONLY:-*}) run_target "$name" ;;
	esac
done
echo "fuzz: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
