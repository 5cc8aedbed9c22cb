#!/bin/sh
# SPDX-License-Identifier: MIT
# Boot a Linux guest that has PCI devices behind an IOMMU, run tests in it, and tell what failed and in which log.
# usage: run.sh [TEST...]        the tests are tests/guest/tests/*.sh; default: all of them
# Variables: B=build  KERNELS="6.1"  LIMIT=300 (seconds of a test)  BOOT_LIMIT=1500 (of all of them)
#   GUEST_IOMMU: interrupt remapping is "on", or "off"; empty: there is no IOMMU
#   GUEST_DEVICES: empty: there are none
#   GUEST_SHARE, GUEST_ROOT, GUEST_NAME, GUEST_MIB, GUEST_THREADS: set by the other scripts
set -eu
cd "$(dirname "$0")/../.."
B=${B:-build}
here=tests/guest
work=$B/guest
tests=${*:-$(cd $here/tests && ls -- *.sh | grep -v -x "lib.sh\|integration.sh\|without_.*" | sed 's/\.sh$//')}
status=0
mkdir -p "$work/bin"
. $here/alone.sh

# What is behind the IOMMU. Addresses are fixed, so that tests can name functions:
#   0000:00:02.0 NVMe, "disk0"; 03.0 NVMe, "disk1"; 04.0 xHCI with a Bulk-Only and a UAS stick; 05.0 edu (MSI without
#   mask bits, INTx), which reaches all of this guest's memory if it is let
#   06.0 a conventional bridge, below it two edus that share an IOMMU group
#   07.0 a root port with hot-plug, and the drive d3 for what is plugged into it; 08.0 e1000 (INTx)
devices()
{
	[ "${GUEST_IOMMU-on}" = "" ] || echo "-device intel-iommu,intremap=${GUEST_IOMMU:-on},caching-mode=on"
	# what guests can read and write, among it what QEMU traces
	echo "-fsdev local,id=share,path=$share,security_model=none
	-device virtio-9p-pci,fsdev=share,mount_tag=share,addr=1e
	-D $share/trace -trace pci_nvme_mmio_shutdown_set"
	if [ -n "${GUEST_SHARE:-}" ]; then
		cat "$share/args"
		return
	fi
	echo "-trace scsi_req_parsed"
	# each boot has the root file system as it was made
	[ -z "${GUEST_ROOT:-}" ] || echo "-drive file=$GUEST_ROOT,if=virtio,format=raw,cache=unsafe,snapshot=on"
	[ "${GUEST_DEVICES-all}" != "" ] || return 0
	echo "-drive file=$run/disk0.img,if=none,id=d0,format=raw,cache=unsafe -device nvme,drive=d0,serial=disk0,addr=2
	-drive file=$run/disk1.img,if=none,id=d1,format=raw,cache=unsafe -device nvme,drive=d1,serial=disk1,addr=3
	-drive file=$run/stick.img,if=none,id=d2,format=raw,cache=unsafe
	-drive file=$run/uas.img,if=none,id=d4,format=raw,cache=unsafe
	-device qemu-xhci,id=xhci,addr=4 -device usb-storage,id=stick,bus=xhci.0,port=1,drive=d2,serial=stick
	-device usb-uas,id=uas,bus=xhci.0,port=2 -device scsi-hd,bus=uas.0,drive=d4,serial=uas
	-device edu,addr=5,dma_mask=0xffffffff
	-device pcie-pci-bridge,id=bridge0,addr=6 -device edu,bus=bridge0,addr=1 -device edu,bus=bridge0,addr=2
	-device pcie-root-port,id=port0,addr=7,chassis=1
	-drive file=$run/disk2.img,if=none,id=d3,format=raw,cache=unsafe
	-device e1000,romfile=,addr=8"
}

# The third serial port is wired to the monitor: a test in the guest can plug its own machine's devices.
wired_monitor()
{
	echo "-chardev socket,id=monitor,path=$run/monitor.sock,server=on,wait=off -mon chardev=monitor,mode=control
	-chardev socket,id=port,path=$run/monitor.sock -serial chardev:port"
}

# One thread emulates both CPUs. With one for each, QEMU 7.2 lets one CPU's access to a register go astray while the other
# enables or disables a BAR, as drivers that start at the same time do: now and then the guest's HPET was found switched off
# (a configuration register of 0), and with it all of the guest's time stood still. GUEST_THREADS=multi: where drivers start
# one after another, and two processes that spin for each other would keep each other from a CPU.
boot()
{
	timeout -k 5 "${BOOT_LIMIT:-1500}" qemu-system-x86_64 -machine q35 -accel tcg,thread=${GUEST_THREADS:-single} -cpu max -smp 2 -m "${GUEST_MIB:-1536}" \
		-nodefaults -display none -no-reboot $(devices) \
		-kernel "$kernel/vmlinuz" -initrd "$run/initramfs" \
		-append "console=ttyS0 panic=-1 oops=panic intel_iommu=on no_timer_check quiet loglevel=4 guest.tests=$(echo $tests |
			tr ' ' ,) guest.limit=${LIMIT:-300}${GUEST_ROOT:+ guest.root=/dev/vda}" \
		-serial "file:$run/console.log" -serial "file:$run/report" $(wired_monitor) \
		-qmp "unix:$run/qmp.sock,server=on,wait=off" </dev/null >"$run/qemu.log" 2>&1
}

# QEMU 7.2 crashes now and then when functions come or go while a CPU reads a register, for the reason above; its main thread
# plugs them. That says nothing of what is tested, so what did not come to its end is run in another boot, twice at most.
# Whether the last one ended by itself: in $ended.
boot_until_done()
{
	asked=$tests crashes=0
	: >"$run/reported"
	while :; do
		ended=0
		boot || ended=$?
		cat "$run/report" >>"$run/reported"
		[ $ended -eq 139 ] && [ $crashes -lt 2 ] || break
		crashes=$((crashes + 1))
		mv "$run/console.log" "$run/console.log.$crashes"
		tests=$(for name in $tests; do grep -q "^\(pass\|fail\) $name " "$run/reported" || echo "$name"; done)
		echo "guest $version: QEMU crashed (SIGSEGV; $run/console.log.$crashes), another boot runs" $tests
	done
	mv "$run/reported" "$run/report"
	tests=$asked
}

tell_end_of_log()
{
	echo "---- the end of $run/console.log"
	tail -n "${1:-40}" "$run/console.log" | tr -d '\r'
	echo "----"
}

# What the guest did not report it did not do.
judge()
{
	for name in $tests; do
		if grep -q "^pass $name " "$run/report"; then
			echo "guest $version: $name: passed ($(sed -n "s/^pass $name //p" "$run/report") s)"
		elif grep -q "^fail $name " "$run/report"; then
			echo "guest $version: $name: FAILED (exit status $(sed -n "s/^fail $name //p" "$run/report"))," \
				"see $run/console.log"
			sed -n "/^==== $name/,/^==== end $name/p" "$run/console.log" | tr -d '\r' | tail -n 80
			status=1
		else
			echo "guest $version: $name: NOT RUN or not finished; the report:" $(tr '\n' ';' <"$run/report" | cat -v)
			status=1
		fi
	done
	if ! grep -q '^done' "$run/report"; then
		status=1
		if [ "$1" -eq 124 ] || [ "$1" -eq 137 ]; then
			echo "guest $version: it did not end in ${BOOT_LIMIT:-1500} s and was stopped"
		else
			echo "guest $version: it ended before its tests did"
		fi
		grep -a -m1 -A3 'Kernel panic\|BUG:' "$run/console.log" | tr -d '\r' || true
		cat "$run/qemu.log"
		tell_end_of_log
	fi
}

for version in ${KERNELS:-6.1}; do
	kernel=build/guest/kernel-$version # the same for every variant of the build
	run=$work/run-$version${GUEST_NAME:+-$GUEST_NAME}
	sh $here/kernel.sh "$version" "$kernel"
	alone "$run.lock"
	rm -rf "$run"
	share=${GUEST_SHARE:-$run/share}
	mkdir -p "$run" "$share"
	: >"$share/trace"
	truncate -s 256M "$run/disk0.img"
	truncate -s 64M "$run/disk1.img" "$run/disk2.img" "$run/stick.img" "$run/uas.img"
	sh $here/initramfs.sh "$kernel" "$B" "$run/initramfs"
	: >"$run/report"
	boot_until_done
	judge $ended
done
exit $status
