// SPDX-License-Identifier: MIT
/* Reads of null-backed sticks: Bulk-Only and UAS, by the kernel's xhci_hcd with usb-storage and
 * uas, and by xhcid with usbscsid. Of our side there are three processes for two CPUs, so who runs
 * where is left to the scheduler, as it is for everybody: for theirs, too. */
#include "guest.h"

#define KERNEL_BOT "0000:00:04.0", "/0000:00:04.0/"
#define KERNEL_UAS "0000:00:05.0", "/0000:00:05.0/"
#define OUR_BOT "0000:00:06.0", "bot0"
#define OUR_UAS "0000:00:07.0", "uas0"

#define PAIR(stick, STICK, what, rate, rate_unit, text, bytes, depth, sequential, limit)         \
	GUEST_KERNEL(kernel_##stick##_##what, "kernel_" #stick "_" #what, rate, rate_unit,       \
		     KERNEL_##STICK, bytes, depth, sequential, true);                            \
	GUEST_OURS(xhcid_##stick##_##what, "xhcid_" #stick "_" #what, rate, rate_unit,           \
		   OUR_##STICK, bytes, depth, sequential, true);                                 \
	GUEST_GROUP(guest_##stick##_##what, #stick "_" #what, "USB, " #STICK ", " text,          \
		    kernel_##stick##_##what, "kernel_" #stick "_" #what, xhcid_##stick##_##what, \
		    "xhcid_" #stick "_" #what, rate, BENCH_AT_LEAST, limit)

/* A read is 1 MiB, so that their rate is that of MiB. */
#define SEQUENTIAL(stick, STICK)                                                                   \
	PAIR(stick, STICK, seq, "_mib_s", "MiB/s", "sequential reads of 1 MiB, depth 4", 1u << 20, \
	     4, true, 1)
#define RANDOM(stick, STICK, depth)                                                             \
	PAIR(stick, STICK, 4k_qd##depth, "_iops", "/s", "random reads of 4 KiB, depth " #depth, \
	     4096, depth, false, 1.5)

SEQUENTIAL(bot, BOT);
RANDOM(bot, BOT, 1);
RANDOM(bot, BOT, 32);
SEQUENTIAL(uas, UAS);
RANDOM(uas, UAS, 1);
RANDOM(uas, UAS, 32);
