#!/bin/sh
# SPDX-License-Identifier: MIT
# Boot a guest with pairs of devices, one of each for the kernel's driver and one for ours, and measure both there.
# usage: run.sh [--only PATTERN] [--rounds N]...      options of tests/bench, given to the program in the guest
# Variables: B=build  KERNEL=6.12 (6.1)  LIMIT=600 (seconds)  PLACE=1 (0): the host CPU of the device, see prefer_device
# A table goes to the terminal, the numbers to $B/bench-guest.json.
set -eu
cd "$(dirname "$0")/../.."
B=${B:-build}
run=$B/guest/bench
limit=${LIMIT:-600}
place=${PLACE:-1}

# As tests/guest does, and with it: an archive of its own behind that of the tests.
pack_program()
{
	root=$run/root
	rm -rf "$root"
	mkdir -p "$root/tests" "$root/bin"
	cp "$B/tests/bench-guest" "$root/tests/bench-guest"
	cp tests/bench-guest/guest.sh "$root/tests/bench.sh"
	cp "$(command -v fio)" "$root/bin/fio"
	ldd "$root/tests/bench-guest" "$root/bin/fio" | grep -oE ' /[^ ]+' | sort -u | while read -r lib; do
		mkdir -p "$root$(dirname "$lib")"
		cp -L "$lib" "$root$lib"
	done
	busybox=$(pwd)/$kernel/busybox
	(cd "$root" && find . | "$busybox" cpio -o -H newc 2>/dev/null) >>"$run/initramfs"
	rm -rf "$root"
}

# Addresses are fixed, so that measurements can name functions.
#   0000:00:02.0 NVMe, for the kernel; 03.0 NVMe, for nvmed
#   04.0 xHCI with a Bulk-Only stick, 05.0 xHCI with a UAS stick, for the kernel; 06.0 and 07.0 the same, for xhcid
devices()
{
	echo "-device intel-iommu,intremap=on,caching-mode=on"
	for addr in 2 3; do
		echo "-drive driver=null-co,size=1G,read-zeroes=off,if=none,id=d$addr
		-device nvme,drive=d$addr,serial=bench$addr,addr=$addr"
	done
	for addr in 4 5 6 7; do
		echo "-drive driver=null-co,size=1G,read-zeroes=off,if=none,id=d$addr -device qemu-xhci,id=x$addr,addr=$addr"
	done
	for addr in 4 6; do
		echo "-device usb-storage,bus=x$addr.0,port=1,drive=d$addr"
	done
	for addr in 5 7; do
		echo "-device usb-uas,id=uas$addr,bus=x$addr.0,port=1 -device scsi-hd,bus=uas$addr.0,drive=d$addr"
	done
}

# iommu=pt: the kernel's own driver reaches memory untranslated.
boot()
{
	timeout -k 5 "$limit" qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -smp 2 -m 1536 \
		-pidfile "$run/pid" -name bench,debug-threads=on -nodefaults -display none -no-reboot $(devices) ${QEMU_ARGS:-} \
		-kernel "$kernel/vmlinuz" -initrd "$run/initramfs" \
		-append "console=ttyS0 panic=-1 oops=panic intel_iommu=on iommu=pt no_timer_check quiet loglevel=4 \
guest.tests=bench guest.limit=$limit bench.args=$(echo "$*" | tr ' ' ,) ${KERNEL_ARGS:-}" \
		-serial "file:$run/console.log" -serial "file:$run/report" </dev/null >"$run/qemu.log" 2>&1 &
	guest=$!
	prefer_device
	wait $guest
}

# QEMU's main thread is the device. It must not wait for a CPU until the guest's two leave one, when both of them spin:
# no device does. And the guest's CPUs must be two: the host's scheduler may else have both threads on one CPU, in one
# round and not in the next. So each has a CPU to itself, but for the device, which is beside CPU 1 (fio, and our client,
# run for NVMe on CPU 0), or with PLACE=0 beside CPU 0. Both sides of a comparison have the same; docs/performance.md has the
# numbers of both places.
prefer_device()
{
	tries=0
	while [ "$(guest_cpus)" -lt 2 ] && [ $tries -lt 50 ] && kill -0 $guest 2>/dev/null; do
		tries=$((tries + 1))
		sleep 0.1
	done
	chrt -R -f -p 1 "$(cat "$run/pid")" 2>/dev/null ||
		echo "bench-guest: QEMU's main thread has no real-time priority (chrt, as root): nvmed's numbers will be low"
	pin_threads
}

guest_cpus()
{
	cat "/proc/$(cat "$run/pid" 2>/dev/null)/task/"*/comm 2>/dev/null | grep -c "^CPU "
}

# Where the host has more CPUs there is room, and its scheduler knows better.
pin_threads()
{
	[ "$(nproc)" -eq 2 ] || return 0
	for task in "/proc/$(cat "$run/pid")/task/"*; do
		case $(cat "$task/comm") in
		"CPU 0/"*) cpu=0 ;;
		"CPU 1/"*) cpu=1 ;;
		*) cpu=$place ;;
		esac
		taskset -pc $cpu "${task##*/}" >/dev/null
	done
}

version=${KERNEL:-6.12}
kernel=build/guest/kernel-$version
mkdir -p "$run" "$B/guest/bin"
. tests/guest/alone.sh
alone "$run.lock"
rm -f "$run/pid" "$B/bench-guest.json" # an old one must not pass for this one's
sh tests/guest/kernel.sh "$version" "$kernel" || {
	[ "$version" = 6.1 ] || echo "bench-guest: kernel $version, of bookworm-backports, cannot be had here." \
		"KERNEL=6.1 make bench-guest measures on Debian 12's own."
	exit 1
}
sh tests/guest/initramfs.sh "$kernel" "$B" "$run/initramfs"
rm -rf "$run/initramfs.root"
pack_program
: >"$run/report"
boot "$@" || true
tr -d '\r' <"$run/report" | sed -n 's/^table //p'
tr -d '\r' <"$run/report" | sed -n 's/^json //p' >"$run/json"
[ ! -s "$run/json" ] || mv "$run/json" "$B/bench-guest.json"
grep -q '^pass bench ' "$run/report" && exit 0
echo "bench-guest: FAILED; the end of $run/console.log:"
cat "$run/qemu.log"
tail -n 40 "$run/console.log" | tr -d '\r'
exit 1
