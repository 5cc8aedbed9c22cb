/* SPDX-License-Identifier: MIT */
/*
 * The same reads by the kernel's driver, with fio, and by ours, with a client of this project, each
 * on a controller of its own of the same kind. A set of rows is one file with a struct bench_group
 * (nvme.c), and a line in groups.c; what it needs of QEMU stands in run.sh.
 */
#ifndef GUEST_H
#define GUEST_H

#include "tests/bench/bench.h"

struct workload {
	const char *function; /* "0000:00:02.0": its interrupts are counted */
	/* Ours: a service, "nvme0n1". The kernel's: part of the disk's path in sysfs. */
	const char *disk;
	uint32_t bytes, depth;
	bool sequential;
};

/* How long a round measures, after BENCH_GUEST_SETTLE_NS that do not count. */
#define GUEST_ROUND_NS 1000000000u
#define GUEST_SETTLE_NS 200000000u

/* ---- kernel.c, ours.c: the functions of a struct bench_measurement whose arg is a workload ----
 */

/* Results: reads per second, CPU time of the whole guest per read (us), interrupts per read. */
int kernel_setup(const struct bench_measurement *m, void **state);
int kernel_round(void *state, double *results);
void kernel_teardown(void *state);
/* The same, and the system calls of client and driver per read. */
int ours_setup(const struct bench_measurement *m, void **state);
int ours_round(void *state, double *results);
void ours_teardown(void *state);

/* `key` is the prefix of the names in the JSON file. */
#define GUEST_KERNEL(variable, key, ...)                                                       \
	static const struct bench_measurement variable = {                                     \
		.values = (const struct bench_value[]){{key "_iops", "kernel, fio", "/s"},     \
						       {key "_cpu_us", "kernel, fio", "us"},   \
						       {key "_interrupts", "kernel, fio", ""}, \
						       {0}},                                   \
		.arg = &(const struct workload){__VA_ARGS__},                                  \
		.setup = kernel_setup,                                                         \
		.round = kernel_round,                                                         \
		.teardown = kernel_teardown,                                                   \
	}

#define GUEST_OURS(variable, key, text, ...)                                                    \
	static const struct bench_measurement variable = {                                      \
		.values = (const struct bench_value[]){{key "_iops", text, "/s"},               \
						       {key "_cpu_us", "  CPU time", "us"},     \
						       {key "_interrupts", "  interrupts", ""}, \
						       {key "_syscalls", "  system calls", ""}, \
						       {0}},                                    \
		.arg = &(const struct workload){__VA_ARGS__},                                   \
		.setup = ours_setup,                                                            \
		.round = ours_round,                                                            \
		.teardown = ours_teardown,                                                      \
	}

/* A pair of the above in the table; their IOPS' ratio is `ours`_ratio, and should be `goal` at
 * least. */
#define GUEST_LINES(ours, kernel, direction, goal)                                  \
	{ours "_iops", kernel "_iops", ours "_ratio", direction, goal},             \
		{ours "_cpu_us", kernel "_cpu_us", NULL, BENCH_NO_GOAL, 0},         \
		{ours "_interrupts", kernel "_interrupts", NULL, BENCH_NO_GOAL, 0}, \
	{                                                                           \
		ours "_syscalls", NULL, NULL, BENCH_NO_GOAL, 0                      \
	}

/* ---- counters.c: what the guest's kernel counts ---- */

struct counters {
	uint64_t now; /* ns */
	double idle;  /* ns, of all CPUs together */
	double interrupts;
};
/* `function`: whose interrupts. */
void counters_read(struct counters *c, const char *function);
/* CPU time in ns that all of the guest spent from one to the other. */
double counters_busy(const struct counters *before, const struct counters *after);

/* Every process of this name: put it onto the CPU of what we talk to. Returns the first, 0: none.
 */
pid_t pin_daemon(const char *name);

extern const struct bench_group guest_nvme;

#endif
