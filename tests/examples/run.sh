#!/bin/sh
# SPDX-License-Identifier: MIT
# The programs of examples/ do what they say, on a QEMU bus; so do the commands that README.md and docs/driver-guide.md give
# to try it. The last line is "examples: N passed, N failed". Environment: B.
set -u

cd "$(dirname "$0")/../.." || exit 1
B=$(realpath "${B:-build}") || exit 1
dir=$(mktemp -d "${TMPDIR:-/tmp}/pcid-examples.XXXXXX") || exit 1
chmod 755 "$dir"
export PCID_RUNTIME_DIR="$dir/run"
pcid=
. tests/count.sh

clean_up()
{
	for left in "$dir"/*/*.pid "$dir"/*/*/pid; do
		[ ! -e "$left" ] || kill "$(cat "$left")"
	done
	[ -z "$pcid" ] || { kill "$pcid" && wait "$pcid"; } 2>/dev/null
	rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 143' INT TERM HUP

# pattern, how many lines have it: what a driver says reaches the log through pcid, and so later than the driver's answer
await_log()
{
	timeout 60 sh -c "until [ \$(grep -c '$1' '$dir/log') -ge $2 ]; do sleep 0.1; done"
}

# config, QEMU's arguments ...
start_pcid()
{
	config=$1
	shift
	mkfifo "$dir/ready" || exit 1
	"$B/bin/pcid" --driver-dir "$driver_dir" --config "$config" --ready-fd 9 -- "$@" 9>"$dir/ready" >>"$dir/log" 2>&1 \
		</dev/null &
	pcid=$!
	timeout 60 head -c 1 "$dir/ready" >/dev/null
	rm "$dir/ready"
}

stop_pcid()
{
	kill "$pcid" && wait "$pcid"
	pcid=
}

# file, heading, what must be printed: the commands of the first block there, as they stand; but all is made already, and
# the runtime directory must not be one that others use too
follow()
{
	place=$dir/$(basename "$1")
	mkdir "$place"
	ln -s "$B" "$place/build"
	ln -s "$PWD/examples" "$place/"
	awk -v heading="## $2" '$0 == heading {on = 1} on && /^```/ {fences++; next} fences == 1' "$1" |
		grep -v '^make' | sed "s|=/tmp/[a-z-]*\$|=$place/run|" >"$place/commands"
	prints "$1, $2" "$3" sh -c "cd '$place' && { sh -e commands 2>said || cat said; } | grep -x '$3'"
	tries=0
	while [ -e "$(echo "$place"/*.pid)" ] && [ $tries -lt 300 ]; do
		tries=$((tries + 1))
		sleep 0.1
	done
	prints "$1, $2: pcid has ended" "" sh -c "ls '$place' | grep pid$ || true"
}

# The library as it would be installed. A sanitizer's variant of it wants that sanitizer in everything.
pkg_config()
{
	flags=$(nm "$B/lib/libpcidipc.a" 2>/dev/null | grep -q 'U __asan_init' && echo -fsanitize=address,undefined)
	mkdir "$1"
	printf '%s\n' 'Name: libpcidipc' 'Version: 0' 'Description: of the build tree' \
		"Cflags: -I$PWD -I$PWD/libpcidipc/include $flags" \
		"Libs: $B/lib/libpcidipc.a -luring -lseccomp -lpthread $flags" >"$1/libpcidipc.pc"
}

# docs/driver-guide.md, word by word: what each block prints, and that it ends with examples/edud.
guide()
{
	place=$dir/guide
	mkdir "$place"
	pkg_config "$place/pc"
	without=
	{ command -v gdb && [ "$(id -u)" -eq 0 ]; } >/dev/null || without=gdb # a sandbox hides its process from its own user
	awk -v to="$place" -v without=$without -f tests/examples/guide.awk docs/driver-guide.md >"$place/commands"
	limit=300 prints "the driver guide's commands" "" sh -c "cd '$place' && PKG_CONFIG_PATH=$place/pc PATH=$B/bin:\$PATH \
		sh -e commands 2>&1 || cat \$(ls -t said.* edud/log | head -n 3)"
	for expected in "$place"/expected.*; do
		n=${expected##*.}
		prints "the driver guide's block $n" "$(cat "$expected")" sed 's/pid [0-9]*:/pid N:/' "$place/said.$n"
	done
	for file in Makefile edu.h educlient.c edud.c edud.conf; do
		prints "the driver guide's $file" "" diff "$place/edud/$file" "examples/edud/$file"
	done
}

follow README.md "Use it" hello
guide

driver_dir=$B/examples
start_pcid examples/edud/edud.conf -device edu
prints "5!" 120 "$B/examples/educlient" 5
prints "12!" 479001600 "$B/examples/educlient" 12
prints "0!" 1 "$B/examples/educlient" 0
prints "through the device" "6
there and back again" "$B/examples/educlient" 3 "there and back again"
prints "the driver's interrupts: four for factorials, two for DMA" \
	"masked 6, unmasked 6" sh -c "'$B/bin/pcidctl' irq --json | tr -d ' \n' |
		sed 's/.*\"masks\":\([0-9]*\),\"unmasks\":\([0-9]*\).*/masked \1, unmasked \2/'"
fails "13!" "educlient: Numerical result out of range" "$B/examples/educlient" 13
fails "too many bytes" "educlient: Numerical result out of range
6" "$B/examples/educlient" 3 "$(head -c 2049 /dev/zero | tr '\0' x)"
await_log ': opcode 46, ' 2
prints "what the log says of it" "edu 0000:00:01.0: edud: calc/edu0: pid N: opcode 46, cmd_op 0x7f01: 13!, at most 12!
edu 0000:00:01.0: edud: calc/edu0: pid N: opcode 46, cmd_op 0x7f02: 2049 bytes, not 1 to 2048" \
	sh -c "sed -n 's/ pid [0-9]*:/ pid N:/; s/.*\(edu 0000.*: opcode 46, .*\) (.*/\1/p' '$dir/log'"
prints "it lives" 2 "$B/examples/educlient" 2
# edu has no reset: what its driver had begun when it ended goes on. Two interrupts have come when the device begins to write,
# which takes it 100 ms; the client's memory it must not reach any more, and least of all the next one's.
stop_pcid
start_pcid examples/edud/edud.conf -device edu
for try in 1 2 3 4 5 6 7 8 9 10; do # perhaps this machine is too busy, and it has ended already
	"$B/bin/pcidctl" restart 00:01.0 >"$dir/restarted"
	"$B/examples/educlient" 3 AAAA >"$dir/first" 2>&1 &
	first=$!
	until "$B/bin/pcidctl" irq --json | tr -d ' \n' | grep -q '"masks":2,'; do
		kill -0 $first 2>/dev/null || break
	done
	"$B/bin/pcidctl" restart 00:01.0 >"$dir/restarted"
	"$B/examples/educlient" 4 bbbb >"$dir/second" 2>&1
	wait $first || break
done
prints "a restart" "0000:00:01.0: its driver is being restarted" cat "$dir/restarted"
prints "a copy that a restart cuts off" "educlient: Transport endpoint is not connected
6" cat "$dir/first"
prints "the next copy" "24
bbbb" cat "$dir/second"
# Pools of 2 MiB each, and 256 MiB of addresses that edu's DMA reaches: those that were used before come again.
prints "round the addresses" "1
round the addresses" sh -c "for i in \$(seq 130); do '$B/examples/educlient' 1 '' >/dev/null 2>&1 && exit 1; done
	'$B/examples/educlient' 1 'round the addresses'"
prints "no stray DMA" "" sh -c "! grep 'the IOMMU refused' '$dir/log'"
stop_pcid

driver_dir=$B/bin
head -c 1048576 /dev/urandom >"$dir/disk.img"
cat >"$dir/nvme.conf" <<END
driver "nvmed" { class = 1 subclass = 8 interface = 2 command = "nvmed" service = "nvme" }
END
start_pcid "$dir/nvme.conf" -drive "file=$dir/disk.img,if=none,id=d,format=raw" -device nvme,drive=d,serial=1
prints "the disk's first bytes" "$(head -c 4096 "$dir/disk.img" | sha256sum)" \
	sh -c "'$B/examples/disk' nvme0n1 | sha256sum"
fails "a disk that is not there" "disk: No such file or directory" "$B/examples/disk" nvme9n1
stop_pcid

[ $failed -eq 0 ] || tail -n 30 "$dir/log"
summary examples
