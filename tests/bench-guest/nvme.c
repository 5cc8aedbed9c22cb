// SPDX-License-Identifier: MIT
/* Random reads on a null-backed NVMe controller. */
#include "guest.h"

#define KERNEL_DISK "0000:00:02.0", "/0000:00:02.0/"
#define OUR_DISK "0000:00:03.0", "nvme0n1"

#define READS(size, bytes, text, depth, direction, goal)                                         \
	GUEST_KERNEL(kernel_##size##_##depth, "kernel_" #size "_qd" #depth, "_iops", "/s",       \
		     KERNEL_DISK, bytes, depth, false, false);                                   \
	GUEST_OURS(nvmed_##size##_##depth, "nvmed_" #size "_qd" #depth, "_iops", "/s", OUR_DISK, \
		   bytes, depth, false, false);                                                  \
	GUEST_GROUP(guest_nvme_##size##_##depth, "nvme_" #size "_qd" #depth,                     \
		    "NVMe, random reads of " text ", depth " #depth, kernel_##size##_##depth,    \
		    "kernel_" #size "_qd" #depth, nvmed_##size##_##depth,                        \
		    "nvmed_" #size "_qd" #depth, "_iops", direction, goal)

READS(512, 512, "512 bytes", 1, BENCH_AT_LEAST, 3);
READS(512, 512, "512 bytes", 32, BENCH_AT_LEAST, 6);
READS(512, 512, "512 bytes", 128, BENCH_NO_GOAL, 0);
READS(4k, 4096, "4 KiB", 1, BENCH_AT_LEAST, 3);
READS(4k, 4096, "4 KiB", 32, BENCH_AT_LEAST, 6);
READS(4k, 4096, "4 KiB", 128, BENCH_NO_GOAL, 0);
