// SPDX-License-Identifier: MIT
/* Random reads on a null-backed NVMe controller. */
#include "guest.h"

#define KERNEL_DISK "0000:00:02.0", "/0000:00:02.0/"
#define OUR_DISK "0000:00:03.0", "nvme0n1"

#define PAIR(size, bytes, text, depth)                                                          \
	GUEST_KERNEL(kernel_##size##_##depth, "kernel_" #size "_qd" #depth, KERNEL_DISK, bytes, \
		     depth, false);                                                             \
	GUEST_OURS(nvmed_##size##_##depth, "nvmed_" #size "_qd" #depth,                         \
		   "reads of " text ", depth " #depth, OUR_DISK, bytes, depth, false)

PAIR(512, 512, "512 bytes", 1);
PAIR(512, 512, "512 bytes", 32);
PAIR(512, 512, "512 bytes", 128);
PAIR(4k, 4096, "4 KiB", 1);
PAIR(4k, 4096, "4 KiB", 32);
PAIR(4k, 4096, "4 KiB", 128);

#define BOTH(shape) &kernel_##shape, &nvmed_##shape
#define LINES(shape, direction, goal) GUEST_LINES("nvmed_" shape, "kernel_" shape, direction, goal)

const struct bench_group guest_nvme = {
	.name = "nvme",
	.title = "Random reads, NVMe: nvmed and a client, and the kernel's driver and fio",
	.rounds = 5,
	.measurements = (const struct bench_measurement *const[]){BOTH(512_1), BOTH(512_32),
								  BOTH(512_128), BOTH(4k_1),
								  BOTH(4k_32), BOTH(4k_128), NULL},
	.lines = (const struct bench_line[]){LINES("512_qd1", BENCH_AT_LEAST, 3),
					     LINES("512_qd32", BENCH_AT_LEAST, 6),
					     LINES("512_qd128", BENCH_NO_GOAL, 0),
					     LINES("4k_qd1", BENCH_AT_LEAST, 3),
					     LINES("4k_qd32", BENCH_AT_LEAST, 6),
					     LINES("4k_qd128", BENCH_NO_GOAL, 0),
					     {0}},
};
