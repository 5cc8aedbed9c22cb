#!/bin/sh
# SPDX-License-Identifier: MIT
# The whole suite in a minute: a bus of QEMU's device models, an NVMe disk on it, a file moved onto the disk and back.
# Needs no root, no hardware and no guest. Every command is shown as it could be typed. Environment: B.
set -u

cd "$(dirname "$0")/.." || exit 1
B=$(realpath "${B:-build}") || exit 1
PATH=$B/bin:$PATH
dir=$(mktemp -d "${TMPDIR:-/tmp}/pcid-demo.XXXXXX") || exit 1
pcid=
done=

clean_up()
{
	trap - EXIT
	[ -z "$pcid" ] || { kill "$pcid" && wait "$pcid"; } 2>/dev/null
	if [ -z "$done" ] && [ -e "$dir/pcid.log" ]; then
		echo "--- pcid's log:" >&2
		tail -n 50 "$dir/pcid.log" >&2
	fi
	rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say()
{
	printf '\n# %s\n' "$*"
}

fail()
{
	echo "demo: $*" >&2
	exit 1
}

# Show a command and run it.
run()
{
	printf '$ %s\n' "$*"
	"$@" || fail "this failed: $*"
}

# what, file: is there such a file within 30 s?
await()
{
	tries=0
	until [ -e "$2" ]; do
		kill -0 "$pcid" 2>/dev/null || fail "pcid ended before $1"
		tries=$((tries + 1))
		[ $tries -le 300 ] || fail "waited 30 s in vain: $1"
		sleep 0.1
	done
}

say "A disk's image, 256 MiB, and 128 MiB of random data to put on it"
run cd "$dir"
run truncate -s 256M disk.img
printf '$ %s\n' 'head -c 128M /dev/urandom >input'
head -c 128M /dev/urandom >input || fail "no room for 128 MiB in $dir"

say "pcid with a bus of QEMU's device models: a bridge, and an NVMe controller behind it"
printf '$ export PCID_RUNTIME_DIR=%s/run\n' "$dir"
export PCID_RUNTIME_DIR="$dir/run"
set -- -device pcie-root-port,id=port1 -drive file=disk.img,if=none,id=disk0,format=raw \
	-device nvme,bus=port1,drive=disk0,serial=demo1
printf '$ pcid --bus qemu -- %s &\n' "$*"
mkfifo ready || exit 1
pcid --bus qemu --ready-fd 9 -- "$@" 9>ready >pcid.log 2>&1 </dev/null &
pcid=$!
[ "$(timeout 60 head -c 1 ready | wc -c)" -eq 1 ] || fail "pcid did not get ready"
await "its disk appeared" run/disk/nvme0n1

say "What it found, and which driver it started"
run pcidctl list
run pcidctl tree
run pcidctl disks

say "The file onto the disk. The device reads it straight from pcidctl's memory"
run pcidctl disk write nvme0n1 --input input --flush

say "And back"
run pcidctl disk read nvme0n1 --bytes 128M --output output

say "The same three times: what was written, what was read, what the image file holds"
printf '$ %s\n' 'sha256sum input output; head -c 128M disk.img | sha256sum'
sums=$(sha256sum input output && head -c 128M disk.img | sha256sum) || fail "sha256sum failed"
echo "$sums"
[ "$(echo "$sums" | cut -c 1-64 | sort -u | wc -l)" -eq 1 ] || fail "the checksums differ"

say "The controller's interrupts: masked while its driver works, unmasked when it is idle"
run pcidctl irq

say "That is all: stop pcid, which stops the driver and QEMU"
printf '$ kill %s\n' "$pcid"
kill "$pcid" && wait "$pcid"
status=$?
pcid=
[ $status -eq 0 ] || fail "pcid's exit status was $status"
done=yes

cat <<END

It works. From here:
  README.md                 how it is put together, how to use it
  docs/architecture.md      the life of a request and of an interrupt
  docs/driver-guide.md      how to write a driver
  docs/ring-abi.md          the rings, to the byte
  man -l docs/man/pcid.8    pcid's options; also pcidctl.1, nvmed.8, pcid.conf.5
  make check                every test
END
