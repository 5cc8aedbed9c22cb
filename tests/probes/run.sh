#!/bin/sh
# SPDX-License-Identifier: MIT
# The static probes: the library has those that libpcidipc/src/probes.h documents, each is a nop, and bpftrace, where it is
# installed and may run, sees a driver at work by them. The last line is "probes: N passed, N failed". Environment: B.
set -u

cd "$(dirname "$0")/../.." || exit 1
B=$(realpath "${B:-build}") || exit 1
lib=$B/lib/libpcidipc.so
dir=$(mktemp -d "${TMPDIR:-/tmp}/pcid-probes.XXXXXX") || exit 1
chmod 755 "$dir"
export PCID_RUNTIME_DIR="$dir/run"
pcid=
tracer=
. tests/count.sh

clean_up()
{
	for pid in $tracer $pcid; do
		kill -INT "$pid" && wait "$pid"
	done 2>/dev/null
	rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 143' INT TERM HUP

# "name arguments" of each place: how many arguments, as they stand in the note
probes_in()
{
	LC_ALL=C readelf -n "$1" | awk '
		/Provider:/ {provider = $2}
		/Name:/ {name = $2}
		/Arguments:/ && provider == "pcidipc" {print name, NF - 1}' | LC_ALL=C sort -u
}

documented()
{
	sed -n 's/.*DTRACE_PROBE\([0-9]\)(pcidipc, \([a-z_]*\).*/\2 \1/p' libpcidipc/src/probes.h | LC_ALL=C sort
}

documented >"$dir/documented"
probes_in "$lib" >"$dir/built"
diff "$dir/documented" "$dir/built"
count $? "the library has the probes of probes.h (<), no others (>), with as many arguments"
[ "$(wc -l <"$dir/documented")" -ge 20 ]
count $? "probes.h has $(wc -l <"$dir/documented") probes, at least 20 expected"

# An untraced probe costs this and no more.
places=$(LC_ALL=C readelf -n "$lib" | awk -F '[ ,]+' '/Location:/ {print $3}')
for place in $places; do
	objdump -d --start-address="$place" --stop-address="$((place + 1))" "$lib" | grep 'nop$'
done >"$dir/nops"
[ "$(wc -l <"$dir/nops")" -eq "$(echo "$places" | wc -l)" ]
count $? "of $(echo "$places" | wc -l) probes $(wc -l <"$dir/nops") are a nop"

# The suite's programs are linked with the static library.
for program in pcid nvmed xhcid usbscsid; do
	probes_in "$B/bin/$program" | grep -q '^session_open 3'
	count $? "$program has probes"
done

start_pcid()
{
	truncate -s 1M "$dir/disk.img"
	echo 'driver "nvmed" { class = 1 subclass = 8 interface = 2 command = "nvmed" service = "nvme" }' >"$dir/conf"
	mkfifo "$dir/ready" || exit 1
	"$B/bin/pcid" --driver-dir "$B/bin" --config "$dir/conf" --ready-fd 9 -- \
		-drive "file=$dir/disk.img,if=none,id=d,format=raw" -device nvme,drive=d,serial=1 9>"$dir/ready" \
		>"$dir/log" 2>&1 </dev/null &
	pcid=$!
	timeout 60 head -c 1 "$dir/ready" >/dev/null
}

# When its probes are in place bpftrace does not say: until it tells of a client there come new ones.
await_trace()
{
	tries=0
	until grep -q 'disk/nvme0n1 opened by process' "$dir/traced" || [ $tries -ge 300 ]; do
		tries=$((tries + 1))
		timeout 60 "$B/bin/pcidctl" disk info nvme0n1 >/dev/null || return
		kill -0 "$tracer" 2>/dev/null || return
		sleep 0.1
	done
}

trace()
{
	: >"$dir/traced"
	start_pcid
	bpftrace -B line examples/probes.bt "$B/bin/nvmed" >"$dir/traced" 2>&1 &
	tracer=$!
	await_trace
	timeout 60 "$B/bin/pcidctl" disk read nvme0n1 --output /dev/null 2>/dev/null
	kill -INT $tracer && wait $tracer
	tracer=
	for seen in 'disk/nvme0n1 opened by process [0-9]' '@request_us' '^\[.*@' '@register_writes\[0, [0-9]*\]: [1-9]' \
		'@interrupts: [1-9]' '@sleeps: [1-9]'; do
		grep -q "$seen" "$dir/traced"
		count $? "bpftrace: $seen is not in $(cat "$dir/traced")"
	done
}

if ! command -v bpftrace >/dev/null; then
	echo "probes: bpftrace is not installed: nothing is traced"
elif ! timeout -s KILL 60 bpftrace -e "usdt:$lib:pcidipc:irq {} interval:ms:1 {exit();}" >/dev/null 2>&1; then
	echo "probes: bpftrace may not run here (it takes root, and a kernel with uprobes): nothing is traced"
else
	trace
fi
summary probes
