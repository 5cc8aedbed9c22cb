#!/bin/sh
# SPDX-License-Identifier: MIT
# The whole suite in a minute: a bus of QEMU's device models, an NVMe disk and a USB stick on it, a file moved onto the
# disk, from there onto the stick, and back.
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

say "Images of a disk and of a stick, 256 MiB each, and 128 MiB of random data to put on them"
run cd "$dir"
run truncate -s 256M disk.img stick.img
printf '$ %s\n' 'head -c 128M /dev/urandom >input'
head -c 128M /dev/urandom >input || fail "no room for 128 MiB in $dir"

say "pcid with a bus of QEMU's device models: an NVMe controller behind a bridge, a USB controller with a stick"
printf '$ export PCID_RUNTIME_DIR=%s/run\n' "$dir"
export PCID_RUNTIME_DIR="$dir/run"
set -- -device pcie-root-port,id=port1 -drive file=disk.img,if=none,id=disk0,format=raw \
	-device nvme,bus=port1,drive=disk0,serial=demo1 \
	-device qemu-xhci,id=xhci -drive file=stick.img,if=none,id=stick0,format=raw \
	-device usb-storage,bus=xhci.0,drive=stick0,serial=demo2
printf '$ pcid --bus qemu -- %s &\n' "$*"
mkfifo ready || exit 1
pcid --bus qemu --ready-fd 9 -- "$@" 9>ready >pcid.log 2>&1 </dev/null &
pcid=$!
[ "$(timeout 60 head -c 1 ready | wc -c)" -eq 1 ] || fail "pcid did not get ready"
await "its disk appeared" run/disk/nvme0n1
await "its stick appeared" run/disk/usb0

say "What it found, and which drivers it started: usbscsid sits on xhcid, which sits on pcid"
run pcidctl list
run pcidctl tree
run pcidctl drivers

say "The disks, side by side: who uses them cannot tell them apart"
run pcidctl disks

say "The file onto the disk. The device reads it straight from pcidctl's memory"
run pcidctl disk write nvme0n1 --input input --flush

say "From the disk onto the stick, and back from there"
run pcidctl disk read nvme0n1 --bytes 128M --output copy
run pcidctl disk write usb0 --input copy --flush
run pcidctl disk read usb0 --bytes 128M --output output

say "The same five times: what was written, what was read from either, what the image files hold"
printf '$ %s\n' 'sha256sum input copy output' 'for i in disk.img stick.img; do head -c 128M $i | sha256sum; done'
sums=$(sha256sum input copy output && for i in disk.img stick.img; do
	head -c 128M $i | sha256sum || exit
done) || fail "sha256sum failed"
echo "$sums"
[ "$(echo "$sums" | wc -l)" -eq 5 ] || fail "there must be five checksums"
[ "$(echo "$sums" | cut -c 1-64 | sort -u | wc -l)" -eq 1 ] || fail "the checksums differ"

say "The controllers' interrupts, and how often their drivers masked them while they were busy: nvmed seldom, where the disk is this quick"
run pcidctl irq

say "That is all: stop pcid, which stops the drivers and QEMU"
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
  man -l docs/man/pcid.8    pcid's options; also pcidctl.1, pcid.conf.5, nvmed.8, xhcid.8,
                            usbscsid.8
  make check                every test
END
